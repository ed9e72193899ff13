/* Ops of com.microsoft on quantised tensors, as ONNX Runtime's static quantisation writes them:
 * each dequantises its operands, computes and quantises the result. */
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

/* Operand `index`, which has one element, as a scalar. */
static value_id scalar(struct onnx_call *c, uint32_t index)
{
    return b_reshape(c->b, c->in[index], NULL, 0);
}

/* Dequantises operand x; its scale and zero point are the next operands. */
static value_id numbers(struct onnx_call *c, uint32_t x)
{
    struct builder *b = c->b;
    value_id wide = b_cast(b, c->in[x], DTYPE_I32);
    if (onnx_given(c, x + 2))
        wide = b_sub(b, wide, b_cast(b, scalar(c, x + 2), DTYPE_I32));
    value_id scale = scalar(c, x + 1);
    return b_mul(b, b_cast(b, wide, onnx_type(c, scale)), scale);
}

/* Quantises and returns y, by operand `scale` and the zero point after it; without a zero point the
 * type is that of operand `like`. */
static bool quantised(struct onnx_call *c, value_id y, uint32_t scale, uint32_t like)
{
    bool given = onnx_given(c, scale + 1);
    enum dtype type = onnx_type(c, c->in[given ? scale + 1 : like]);
    value_id zero = given ? scalar(c, scale + 1) : VALUE_NONE;
    return !onnx_failed(c) && onnx_return(c, onnx_quantized(c, y, scalar(c, scale), zero, type));
}

bool onnx_qlinear_binary(struct onnx_call *c)
{
    value_id x = numbers(c, 0), y = numbers(c, 3);
    bool sum = strcmp(c->op->with, "add") == 0;
    return quantised(c, sum ? b_add(c->b, x, y) : b_mul(c->b, x, y), 6, 0);
}

bool onnx_qlinear_where(struct onnx_call *c)
{
    return quantised(c, b_select(c->b, c->in[0], numbers(c, 1), numbers(c, 4)), 7, 1);
}

bool onnx_qlinear_sigmoid(struct onnx_call *c)
{
    value_id x = numbers(c, 0);
    return quantised(c, onnx_expand(c, "sigmoid", &x, 1, NULL), 3, 0);
}

bool onnx_qlinear_leaky_relu(struct onnx_call *c)
{
    value_id x = numbers(c, 0), below = b_binary(c->b, PRIM_LT, x, b_const_like(c->b, x, 0));
    value_id scaled = b_scale(c->b, x, onnx_float(c, "alpha", 0.01));
    return quantised(c, b_select(c->b, below, scaled, x), 3, 0);
}

bool onnx_qlinear_softmax(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    inner.in[0] = numbers(c, 0);
    inner.in_count = 1;
    inner.opset = onnx_int(c, "opset", 13);
    return !onnx_failed(c) && onnx_softmax(&inner) && quantised(c, inner.out[0], 3, 0);
}

bool onnx_qlinear_concat(struct onnx_call *c)
{
    value_id parts[LIMIT_OPERANDS];
    uint32_t count = 0;
    if ((c->in_count - 2) % 3 != 0)
        return b_fail(c->b, ERR_BLUEPRINT, "%u inputs", c->in_count);
    for (uint32_t i = 2; i < c->in_count; i += 3)
        parts[count++] = numbers(c, i);
    return quantised(c, b_concat(c->b, parts, count, onnx_int(c, "axis", 0)), 0, 2);
}

/* Average pooling by windows or over whole channels; channels are second or last. */
bool onnx_qlinear_pool(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    bool last = onnx_int(c, "channels_last", 0) != 0;
    value_id x = numbers(c, 0);
    inner.in[0] = x = last ? onnx_channels_second(c, x) : x;
    inner.in_count = 1;
    if (onnx_failed(c))
        return false;
    if (strcmp(c->op->with, "global_avg_pool") == 0)
        inner.out[0] = onnx_expand(c, c->op->with, &x, 1, NULL);
    else if (!onnx_average_pool(&inner))
        return false;
    return quantised(c, last ? onnx_channels_last(c, inner.out[0]) : inner.out[0], 3, 0);
}

/* (A·B + C) * alpha * scale of A * scale of B; A·B + C in integers. Without a scale the result
 * remains a float. */
bool onnx_qgemm(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id in[2] = {b_cast(b, c->in[0], DTYPE_I32), b_cast(b, c->in[3], DTYPE_I32)};
    if (onnx_int(c, "transA", 0) != 0)
        in[0] = b_swap(b, in[0], 0, 1);
    if (onnx_int(c, "transB", 0) != 0)
        in[1] = b_swap(b, in[1], 0, 1);
    in[0] = b_sub(b, in[0], b_cast(b, scalar(c, 2), DTYPE_I32));
    in[1] = b_sub(b, in[1], b_cast(b, c->in[5], DTYPE_I32)); /* one zero point, or one for each
                                                                column */
    if (onnx_failed(c))
        return false;
    value_id product = onnx_expand(c, "matmul", in, 2, NULL);
    if (onnx_given(c, 6))
        product = b_add(b, product, c->in[6]);
    value_id scale = b_mul(b, scalar(c, 1), c->in[4]);
    scale = b_scale(b, scale, onnx_float(c, "alpha", 1));
    value_id y = b_mul(b, b_cast(b, product, onnx_type(c, scale)), scale);
    return onnx_given(c, 7) ? quantised(c, y, 7, 0) : onnx_return(c, y);
}

/* QLinearConv on images that may have channels last; the weights have them second. */
bool onnx_ms_qlinear_conv(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    if (onnx_int(c, "channels_last", 0) == 0)
        return onnx_qlinear_conv(c);
    inner.in[0] = onnx_channels_second(c, c->in[0]);
    return !onnx_failed(c) && onnx_qlinear_conv(&inner) &&
           onnx_return(c, onnx_channels_last(c, inner.out[0]));
}
