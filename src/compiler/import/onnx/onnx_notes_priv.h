/* Describing a model for people (import/notes.h). The reader calls these functions only if the
 * caller asked for notes. What notes point at is allocated in the arena of the import. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_NOTES_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_NOTES_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

/* Records the contents of the file; called once, before it is translated. The model has a graph. */
void onnx_note_file(struct import_notes *notes, const Onnx__ModelProto *model);
/* Records a node of the main graph after its results, values[first_value] and following, were
 * named. before: the number of values in the graph before the node. */
void onnx_note_node(struct onnx *o, const Onnx__NodeProto *node, uint32_t first_value,
                    value_id before);
/* Records the fate of those nodes; called once, after a successful reading. */
void onnx_note_fates(struct onnx *o, struct import_notes *notes);
/* Records what the last reading refused. */
void onnx_note_refused(const struct onnx *o, struct import_notes *notes);

#endif
