/* What translators of ONNX build together: values that more than one of them makes.
 *
 * Values come from the call's builder, VALUE_NONE after a failure, which stands in its error. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_BUILD_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_BUILD_PRIV_H

#include "graph/graph.h"

struct onnx_call;

/* What auto_pad puts around dims whose rest by the stride is not known, which no window says: by
 * dim of operand 0, zeros where windows say it. */
struct onnx_around {
    bool any;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
};
/* Windows over the last count dims of operand 0, from strides, dilations, pads and auto_pad. With
 * out_around NULL, what windows cannot say is refused. */
bool onnx_windows(struct onnx_call *c, const int64_t *sizes, uint32_t count, struct window *out,
                  struct onnx_around *out_around);
/* A value of operand 0's shape, or of its last rank dims, with that around it. */
value_id onnx_put_around(struct onnx_call *c, value_id x, const struct onnx_around *around,
                         uint32_t rank, double value);

/* Up to LIMIT_OPERANDS² values of one shape side by side along a new axis. */
value_id onnx_stack(struct onnx_call *c, const value_id *parts, uint32_t count, int64_t axis);
/* The first dim becomes dim axis; the others keep their order. */
value_id onnx_move_first(struct onnx_call *c, value_id x, int64_t axis);
/* Images [N, …, C] with the channels second, and back. */
value_id onnx_channels_second(struct onnx_call *c, value_id x);
value_id onnx_channels_last(struct onnx_call *c, value_id x);
/* What Gather with this axis gives of operands 0 and 1. */
value_id onnx_take_rows(struct onnx_call *c, int axis);
/* Each element `times` times in a row along an axis of less than LIMIT_RANK dims. */
value_id onnx_repeat(struct onnx_call *c, value_id x, uint32_t axis, dim_id times);

/* round(x / scale) + zero (VALUE_NONE: 0), saturated. */
value_id onnx_quantized(struct onnx_call *c, value_id x, value_id scale, value_id zero,
                        enum dtype type);
/* As u8, with a scale and a zero point from the least and the greatest element, 0 among them; the
 * scale of zeros is 1. */
value_id onnx_quantize_by_range(struct onnx_call *c, value_id x, value_id *out_scale,
                                value_id *out_zero);

/* Translators for those of ops that are these with something around them. */
bool onnx_average_pool(struct onnx_call *c);
bool onnx_conv(struct onnx_call *c);
bool onnx_gemm(struct onnx_call *c);
bool onnx_group_norm(struct onnx_call *c);
bool onnx_layer_norm(struct onnx_call *c);
bool onnx_matmul_integer(struct onnx_call *c);
bool onnx_qlinear_conv(struct onnx_call *c);
bool onnx_reduce(struct onnx_call *c);
bool onnx_rms_norm(struct onnx_call *c);
bool onnx_rotary_embedding(struct onnx_call *c);
bool onnx_softmax(struct onnx_call *c);

#endif
