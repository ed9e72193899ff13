/* Notes of a model for people (import/notes.h), as its reader takes them: only where the caller
 * asked for them, which is the reader's to see. What they point at lives in the arena of the
 * import. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_NOTES_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_NOTES_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

/* What the file is made of; once, before it is translated. The model has a graph. */
void onnx_note_file(struct import_notes *notes, const Onnx__ModelProto *model);
/* A node of the main graph whose results were just named, from values[first_value] on; before: how
 * many values the graph had before the node. */
void onnx_note_node(struct onnx *o, const Onnx__NodeProto *node, uint32_t first_value,
                    value_id before);
/* What became of those nodes; once, after a reading that succeeded. */
void onnx_note_fates(struct onnx *o, struct import_notes *notes);
/* What the last reading refused. */
void onnx_note_refused(const struct onnx *o, struct import_notes *notes);

#endif
