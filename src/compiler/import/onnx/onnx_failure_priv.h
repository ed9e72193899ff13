/* Errors of a node in the model's terms: inputs are called by their names. Functions that take a
 * call fill the error of its builder, as translators do (onnx_priv.h). */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_FAILURE_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_FAILURE_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

/* Appends the shapes of the node's inputs to an ERR_SHAPE, the elements of short lists that are
 * known and, in a branch that is chosen at run time, what reads one branch only. Other errors are
 * not changed. */
void onnx_add_shapes(struct onnx_call *c);
/* Whether an operand has this shape of `rank` dims, or is omitted; otherwise fails the builder.
 * what: the operand's name in the op's definition, "W". */
bool onnx_expect_shape(struct onnx_call *c, uint32_t index, const char *what, const dim_id *shape,
                       uint32_t rank);
/* An operand's name that stands for no value so far. Returns false. */
bool onnx_no_value(struct onnx_call *c, const char *name);
/* Notes that there is no such op. */
void onnx_refuse_op(struct onnx *o, const char *domain, const Onnx__NodeProto *node);
/* The name of a node, otherwise that of its first result, otherwise its op. */
const char *onnx_node_name(const Onnx__NodeProto *node);

#endif
