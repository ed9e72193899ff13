/* Errors of a node in the model's own terms: its inputs by their names. Both fill the error of the
 * call's builder, in the way of the other translators (onnx_priv.h). */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_FAILURE_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_FAILURE_PRIV_H

#include "compiler/import/onnx/onnx_priv.h"

/* Adds to an error of shapes, ERR_SHAPE, what the node's inputs are: their shapes, and the elements
 * of short lists that are known. Other errors stay as they are. */
void onnx_add_shapes(struct onnx_call *c);
/* Whether an operand has a shape of `rank` dims, or is left out; fails the builder otherwise. what:
 * its name in the op, "W". */
bool onnx_expect_shape(struct onnx_call *c, uint32_t index, const char *what, const dim_id *shape,
                       uint32_t rank);

#endif
