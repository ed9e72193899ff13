/* Graphs in attributes, the bodies of Loop, Scan and If: nodes are translated in a scope of their
 * own, which sees the names around. Results are the body's outputs, in order; *out_refused is set
 * where one of them comes from a node that was refused. False on errors. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_BODIES_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_BODIES_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

bool onnx_body(struct onnx_call *c, const Onnx__GraphProto *body, const value_id *in,
               uint32_t in_count, value_id out[OP_MAX_OUTPUTS], bool *out_refused);

/* The same in a scope that has names already, of a body without inputs. */
bool onnx_body_in(struct onnx_call *c, const Onnx__GraphProto *body, struct onnx_scope *scope,
                  value_id out[OP_MAX_OUTPUTS], bool *out_refused);

#endif
