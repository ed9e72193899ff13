/* Values that several translators of ONNX build.
 *
 * Functions build values with the call's builder; VALUE_NONE after a failure, which is in its
 * error. */
#ifndef URZA_COMPILER_IMPORT_ONNX_ONNX_BUILD_PRIV_H
#define URZA_COMPILER_IMPORT_ONNX_ONNX_BUILD_PRIV_H

#include "graph/graph.h"

struct onnx_call;

/* Padding by auto_pad of dims whose remainder modulo the stride is not known, which struct window
 * cannot express: amounts by dim of operand 0, 0 where the windows have the padding. */
struct onnx_around {
    bool any;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
};
/* The windows over the last count dims of operand 0, from strides, dilations, pads and auto_pad.
 * out_around NULL: padding that windows cannot express is refused. */
bool onnx_windows(struct onnx_call *c, const int64_t *sizes, uint32_t count, struct window *out,
                  struct onnx_around *out_around);
/* Pads x, which has operand 0's shape or its last `rank` dims, with value. */
value_id onnx_put_around(struct onnx_call *c, value_id x, const struct onnx_around *around,
                         uint32_t rank, double value);

/* Concatenates up to LIMIT_OPERANDS² values of one shape along a new axis. */
value_id onnx_stack(struct onnx_call *c, const value_id *parts, uint32_t count, int64_t axis);
/* Moves the first dim to axis; the other dims keep their order. */
value_id onnx_move_first(struct onnx_call *c, value_id x, int64_t axis);
/* Transposes images [N, …, C] to channels second, and back. */
value_id onnx_channels_second(struct onnx_call *c, value_id x);
value_id onnx_channels_last(struct onnx_call *c, value_id x);
/* The result of Gather along this axis for operands 0 and 1. */
value_id onnx_take_rows(struct onnx_call *c, int axis);
/* Repeats each element `times` times along an axis; x has fewer than LIMIT_RANK dims. */
value_id onnx_repeat(struct onnx_call *c, value_id x, uint32_t axis, dim_id times);

/* round(x / scale) + zero (VALUE_NONE: 0), saturated. */
value_id onnx_quantized(struct onnx_call *c, value_id x, value_id scale, value_id zero,
                        enum dtype type);
/* Quantises to u8, with scale and zero point from the range of the elements, extended to include 0;
 * the scale is 1 if all elements are 0. */
value_id onnx_quantize_by_range(struct onnx_call *c, value_id x, value_id *out_scale,
                                value_id *out_zero);

/* Translators of ops that other translators use. */
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
