/* Ops of com.microsoft into which ONNX Runtime's optimisers fuse several: sums, norms and
 * convolutions with an activation, and ops on images with channels last. */
#include <onnx.pb-c.h>
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

/* Applies an activation by its ONNX name; numbers: its attributes, in order. */
static value_id activate(struct onnx_call *c, value_id x, const char *name, const double *numbers)
{
    struct builder *b = c->b;
    if (strcmp(name, "") == 0)
        return x;
    if (strcmp(name, "Relu") == 0)
        return b_max_const(b, x, 0);
    if (strcmp(name, "Tanh") == 0)
        return b_unary(b, PRIM_TANH, x);
    if (strcmp(name, "Sigmoid") == 0)
        return onnx_expand(c, "sigmoid", &x, 1, NULL);
    if (strcmp(name, "LeakyRelu") == 0)
        return b_select(b, b_binary(b, PRIM_LT, x, b_const_like(b, x, 0)),
                        b_scale(b, x, numbers[0]), x);
    if (strcmp(name, "Clip") == 0)
        return b_min_const(b, b_max_const(b, x, numbers[0]), numbers[1]);
    if (strcmp(name, "HardSigmoid") == 0)
        return b_min_const(b, b_max_const(b, b_shift(b, b_scale(b, x, numbers[0]), numbers[1]), 0),
                           1);
    return onnx_refuse(c, "activation '%.40s'", name);
}

/* activation(Conv(X, W, B) + Z) */
bool onnx_fused_conv(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    const Onnx__AttributeProto *given = onnx_attr(c, "activation_params");
    const char *name = onnx_text(c, "activation", "");
    bool clip = strcmp(name, "Clip") == 0;
    double numbers[2] = {clip                             ? (double)-INFINITY
                         : strcmp(name, "LeakyRelu") == 0 ? 0.01
                                                          : 0.2,
                         clip ? (double)INFINITY : 0.5};
    for (size_t i = 0; given && i < 2 && i < given->n_floats; i++)
        numbers[i] = (double)given->floats[i];
    inner.in_count = c->in_count < 3 ? c->in_count : 3;
    if (!onnx_conv(&inner))
        return false;
    value_id y = inner.out[0];
    if (onnx_given(c, 3))
        y = b_add(c->b, y, c->in[3]);
    return onnx_return(c, activate(c, y, name, numbers));
}

bool onnx_fused_gemm(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    const char *name = onnx_text(c, "activation", "");
    bool leaky = strcmp(name, "LeakyRelu") == 0;
    const double numbers[2] = {onnx_float(c, "activation_alpha", leaky ? 0.01 : 0.2),
                               onnx_float(c, "activation_beta", 0.5)};
    if (strcmp(name, "Clip") == 0)
        return onnx_refuse(c, "activation 'Clip'");
    return onnx_gemm(&inner) && onnx_return(c, activate(c, inner.out[0], name, numbers));
}

/* A convolution whose operand and weights have channels last. */
bool onnx_nhwc_conv(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    inner.in[0] = onnx_channels_second(c, c->in[0]);
    inner.in[1] = onnx_channels_second(c, c->in[1]);
    return !onnx_failed(c) && onnx_conv(&inner) &&
           onnx_return(c, onnx_channels_last(c, inner.out[0]));
}

/* A group norm of x, which has channels last unless the node says otherwise. */
static value_id norm(struct onnx_call *c, value_id x)
{
    struct onnx_call inner = *c;
    bool last = onnx_int(c, "channels_last", 1) != 0;
    inner.in[0] = last ? onnx_channels_second(c, x) : x;
    inner.opset = 21; /* from opset 21 on scale and bias are by channel */
    if (onnx_failed(c) || !onnx_group_norm(&inner))
        return VALUE_NONE;
    value_id y = last ? onnx_channels_last(c, inner.out[0]) : inner.out[0];
    if (onnx_int(c, "activation", 0) == 0)
        return y;
    return b_mul(c->b, y, onnx_expand(c, "sigmoid", &y, 1, NULL));
}

bool onnx_ms_group_norm(struct onnx_call *c)
{
    return onnx_return(c, norm(c, c->in[0]));
}

bool onnx_skip_group_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], skip = c->in[3];
    bool last = onnx_int(c, "channels_last", 1) != 0;
    dim_id one = b_dim_const(b, 1);
    if (onnx_rank(c, skip) == 2) {
        dim_id n = b_dim(b, skip, 0), channels = b_dim(b, skip, 1);
        const dim_id shapes[2][4] = {{n, channels, one, one}, {n, one, one, channels}};
        skip = b_reshape(b, skip, shapes[last], 4);
    }
    value_id sum = b_add(b, x, skip);
    if (onnx_given(c, 4)) {
        dim_id shape[3] = {b_dim(b, c->in[4], 0), one, one};
        sum = b_add(b, sum, last ? c->in[4] : b_reshape(b, c->in[4], shape, 3));
    }
    c->out[0] = norm(c, sum);
    c->out[1] = sum;
    c->out_count = 2;
    return !onnx_failed(c);
}

bool onnx_bias_add(struct onnx_call *c)
{
    return onnx_return(c, b_add(c->b, b_add(c->b, c->in[0], c->in[1]), c->in[2]));
}

/* The first half of the last dim times the Gelu of the second half. */
bool onnx_bias_split_gelu(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = b_add(b, c->in[0], c->in[1]);
    dim_id half = x == VALUE_NONE
                      ? DIM_NONE
                      : dim_div_exact(&b->graph->dims, b_dim(b, x, -1), b_dim_const(b, 2));
    if (half == DIM_NONE)
        return onnx_failed(c) ? false : b_fail(b, ERR_SHAPE, "the last dim has no halves");
    value_id right = b_slice(b, x, -1, half, half, 1);
    value_id left = b_slice(b, x, -1, b_dim_const(b, 0), half, 1);
    struct op_value attrs[] = {{.name = "approximate", .kind = OP_TEXT, .text = "none"}, {0}};
    return !onnx_failed(c) &&
           onnx_return(c, b_mul(b, left, onnx_expand(c, "gelu", &right, 1, attrs)));
}

bool onnx_bias_softmax(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    inner.in[0] = b_add(c->b, c->in[0], c->in[1]);
    inner.in_count = 1;
    inner.opset = 1; /* in opset 1 over all dims from axis on */
    return !onnx_failed(c) && onnx_softmax(&inner) && onnx_return(c, inner.out[0]);
}

bool onnx_expand_dims(struct onnx_call *c)
{
    int64_t axis[1];
    uint32_t count = 0, rank = onnx_rank(c, c->in[0]);
    if (!onnx_const_ints(c, 1, axis, 1, &count))
        return false;
    if (count != 1 || axis[0] < -(int64_t)rank - 1 || axis[0] > (int64_t)rank)
        return b_fail(c->b, ERR_SHAPE, "no axis, or beyond rank %u", rank);
    return onnx_return(c, b_unsqueeze(c->b, c->in[0], axis[0] < 0 ? axis[0] + rank + 1 : axis[0]));
}

/* Distances between all rows of two matrices. */
bool onnx_cdist(struct onnx_call *c)
{
    struct builder *b = c->b;
    const char *metric = onnx_text(c, "metric", "sqeuclidean");
    bool root = strcmp(metric, "euclidean") == 0;
    if (!root && strcmp(metric, "sqeuclidean") != 0)
        return onnx_refuse(c, "metric '%.40s'", metric);
    value_id difference = b_sub(b, b_unsqueeze(b, c->in[0], 1), b_unsqueeze(b, c->in[1], 0));
    value_id sum =
        b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, difference, difference), (int64_t[]){2}, 1, false);
    return onnx_return(c, root ? b_unary(b, PRIM_SQRT, sum) : sum);
}

bool onnx_reduce_sum_integer(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    inner.in[0] = b_cast(c->b, c->in[0], DTYPE_I32);
    return !onnx_failed(c) && onnx_reduce(&inner) && onnx_return(c, inner.out[0]);
}
