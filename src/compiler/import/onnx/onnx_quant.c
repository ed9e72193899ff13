/* Quantised tensors: integers that represent (integer - zero point) * scale.
 *
 * Their products are exact in i32; a cast to an integer type saturates, as quantisation
 * requires. */
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

/* Reshapes a scalar, or a vector along an axis, to broadcast with values of a rank. */
static value_id along(struct onnx_call *c, value_id x, int64_t axis, uint32_t rank)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK], one = b_dim_const(b, 1);
    if (onnx_rank(c, x) == 0)
        return x;
    if (onnx_rank(c, x) == 1 && b_dim(b, x, 0) == one)
        return b_reshape(b, x, NULL, 0);
    axis = axis < 0 ? axis + rank : axis;
    if (onnx_rank(c, x) != 1 || axis < 0 || axis >= rank)
        return b_fail(b, ERR_SHAPE, "scales of rank %u along axis %lld", onnx_rank(c, x),
                      (long long)axis);
    for (uint32_t i = 0; i < rank - axis; i++)
        shape[i] = i == 0 ? b_dim(b, x, 0) : one;
    return b_reshape(b, x, shape, rank - (uint32_t)axis);
}

/* Broadcasts scales or zero points to the elements of operand 0: along an axis, or one for each
 * block along it. */
static value_id by_element(struct onnx_call *c, value_id x)
{
    struct builder *b = c->b;
    int64_t axis = onnx_int(c, "axis", 1), block = onnx_int(c, "block_size", 0);
    uint32_t rank = onnx_rank(c, c->in[0]);
    if (block < 1)
        return along(c, x, axis, rank);
    int at = b_axis(b, x, axis);
    if (at < 0 || onnx_rank(c, x) != rank || rank == LIMIT_RANK)
        return onnx_failed(c) ? VALUE_NONE : b_fail(b, ERR_SHAPE, "blocks of another rank");
    x = onnx_repeat(c, x, (uint32_t)at, b_dim_const(b, block));
    return b_slice(b, x, at, b_dim_const(b, 0), b_dim(b, c->in[0], at), 1);
}

value_id onnx_quantized(struct onnx_call *c, value_id x, value_id scale, value_id zero,
                        enum dtype type)
{
    struct builder *b = c->b;
    value_id y = b_unary(b, PRIM_ROUND, b_div(b, x, scale));
    if (zero != VALUE_NONE)
        y = b_add(b, y, b_cast(b, zero, onnx_type(c, y)));
    return b_cast(b, y, type);
}

/* Quantises to a small type: integers saturate at its limits; floats are rounded once, in encoding.
 * The zero point of a float8 is 0 and is not added, because -0 + 0 would lose the sign. */
static value_id quantize_small(struct onnx_call *c, value_id x, value_id scale, value_id zero,
                               uint8_t small)
{
    struct builder *b = c->b;
    double least, greatest;
    if (onnx_small_is_float(small)) {
        value_id y = b_div(b, x, scale);
        if (zero != VALUE_NONE && onnx_small_bits(small) < 8)
            y = b_add(b, y, b_cast(b, onnx_small_decode(c, zero, small), onnx_type(c, y)));
        return onnx_failed(c) ? VALUE_NONE : onnx_small_encode(c, y, small);
    }
    enum dtype carrier = DTYPE_NONE;
    onnx_small_find(small, &small, &carrier);
    onnx_small_range(small, &least, &greatest);
    value_id y = onnx_quantized(c, x, scale, zero, DTYPE_I32);
    y = b_min_const(b, b_max_const(b, y, least), greatest);
    return b_cast(b, y, carrier);
}

bool onnx_quantize(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t wanted = onnx_int(c, "output_dtype", 0);
    enum dtype type = onnx_given(c, 2) ? onnx_type(c, c->in[2]) : DTYPE_U8;
    uint8_t small = c->small[2];
    if (wanted != 0 && !onnx_given(c, 2) && !onnx_dtype((int32_t)wanted, &type, &small, b->err))
        return false;
    if (dtype_is_float(type) || c->small[0] || c->small[1])
        return onnx_refuse(c, "quantisation to or from such floats");
    value_id scale = by_element(c, c->in[1]);
    value_id zero = onnx_given(c, 2) ? by_element(c, c->in[2]) : VALUE_NONE;
    value_id x = b_cast(b, c->in[0], onnx_type(c, c->in[1]));
    c->out_small[0] = small;
    if (onnx_failed(c))
        return false;
    return onnx_return(c, small ? quantize_small(c, x, scale, zero, small)
                                : onnx_quantized(c, x, scale, zero, type));
}

/* Operand 0 or 2 in a dtype in which differences are exact: i32, or f32 for small floats. */
static value_id numbers(struct onnx_call *c, value_id x, uint8_t small)
{
    if (small == 0 || !onnx_small_is_float(small))
        return b_cast(c->b, x, DTYPE_I32);
    return onnx_small_decode(c, x, small);
}

bool onnx_dequantize(struct onnx_call *c)
{
    struct builder *b = c->b;
    if (c->small[1] || (onnx_given(c, 2) && c->small[2] != c->small[0]))
        return b_fail(b, ERR_SHAPE, "the zero point is of another type");
    value_id scale = by_element(c, c->in[1]);
    value_id x = numbers(c, c->in[0], c->small[0]);
    if (onnx_given(c, 2))
        x = b_sub(b, x, numbers(c, by_element(c, c->in[2]), c->small[2]));
    enum dtype type = onnx_type(c, c->in[1]), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    value_id y = b_mul(b, b_cast(b, x, wide), b_cast(b, scale, wide));
    int64_t wanted = onnx_int(c, "output_dtype", 0);
    c->out_small[0] = 0;
    if (wanted != 0 && !onnx_dtype((int32_t)wanted, &type, NULL, b->err))
        return false;
    return onnx_return(c, b_cast(b, y, type));
}

value_id onnx_quantize_by_range(struct onnx_call *c, value_id x, value_id *out_scale,
                                value_id *out_zero)
{
    struct builder *b = c->b;
    int64_t axes[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x);
    for (uint32_t i = 0; i < rank; i++)
        axes[i] = i;
    value_id most = b_reduce(b, PRIM_REDUCE_MAX, x, axes, rank, false);
    value_id least = b_reduce(b, PRIM_REDUCE_MIN, x, axes, rank, false);
    most = b_max_const(b, most, 0);
    least = b_min_const(b, least, 0);
    value_id scale = b_div(b, b_sub(b, most, least), b_const_like(b, most, 255));
    value_id none = b_binary(b, PRIM_EQ, most, least);
    scale = b_select(b, none, b_const_like(b, most, 1), scale);
    value_id point = b_unary(b, PRIM_ROUND, b_neg(b, b_div(b, least, scale)));
    *out_scale = scale;
    *out_zero = b_cast(b, point, DTYPE_U8);
    return onnx_quantized(c, x, scale, *out_zero, DTYPE_U8);
}

bool onnx_dynamic_quantize(struct onnx_call *c)
{
    c->out[0] = onnx_quantize_by_range(c, c->in[0], &c->out[1], &c->out[2]);
    c->out_count = 3;
    return !onnx_failed(c);
}

/* x - zero, in i32; zero is a scalar, or a vector along an axis. */
static value_id centred(struct onnx_call *c, uint32_t x, uint32_t zero, int64_t axis)
{
    struct builder *b = c->b;
    value_id wide = b_cast(b, c->in[x], DTYPE_I32);
    if (!onnx_given(c, zero))
        return wide;
    value_id point = b_cast(b, c->in[zero], DTYPE_I32);
    if (onnx_rank(c, point) < 2)
        point = along(c, point, axis, onnx_rank(c, wide));
    return b_sub(b, wide, point);
}

static value_id integer_product(struct onnx_call *c, uint32_t a, uint32_t a_zero, uint32_t w,
                                uint32_t w_zero)
{
    value_id in[2] = {centred(c, a, a_zero, -2), centred(c, w, w_zero, -1)};
    return onnx_failed(c) ? VALUE_NONE : onnx_expand(c, "matmul", in, 2, NULL);
}

/* Returns the product times both scales, one or one for each column, plus a bias. */
static bool scaled_product(struct onnx_call *c, value_id product, value_id scale, uint32_t bias)
{
    value_id y = b_mul(c->b, b_cast(c->b, product, onnx_type(c, scale)), scale);
    return onnx_return(c, onnx_given(c, bias) ? b_add(c->b, y, c->in[bias]) : y);
}

bool onnx_matmul_integer_to_float(struct onnx_call *c)
{
    value_id product = integer_product(c, 0, 4, 1, 5);
    return product != VALUE_NONE && scaled_product(c, product, b_mul(c->b, c->in[2], c->in[3]), 6);
}

/* The first operand is quantised by its range. */
bool onnx_dynamic_quantize_matmul(struct onnx_call *c)
{
    struct onnx_call inner = *c;
    value_id scale = VALUE_NONE;
    inner.in[0] = onnx_quantize_by_range(c, c->in[0], &scale, &inner.in[2]);
    inner.in[3] = onnx_given(c, 3) ? c->in[3] : VALUE_NONE;
    inner.in_count = 4;
    value_id product = onnx_failed(c) ? VALUE_NONE : integer_product(&inner, 0, 2, 1, 3);
    return product != VALUE_NONE && scaled_product(c, product, b_mul(c->b, scale, c->in[2]), 4);
}

bool onnx_matmul_integer(struct onnx_call *c)
{
    return onnx_return(c, integer_product(c, 0, 2, 1, 3));
}

/* Quantises the i32 product. */
static bool requantize(struct onnx_call *c, value_id product, value_id scale_a, value_id scale_w,
                       uint32_t scale_y)
{
    struct builder *b = c->b;
    value_id factor = b_div(b, b_mul(b, scale_a, scale_w), along(c, c->in[scale_y], 0, 1));
    value_id y = b_mul(b, b_cast(b, product, onnx_type(c, factor)), factor);
    value_id zero = along(c, c->in[scale_y + 1], 0, 1);
    y = b_add(b, b_unary(b, PRIM_ROUND, y), b_cast(b, zero, onnx_type(c, y)));
    return onnx_return(c, b_cast(b, y, onnx_type(c, zero)));
}

bool onnx_qlinear_matmul(struct onnx_call *c)
{
    value_id product = integer_product(c, 0, 2, 3, 5);
    if (product == VALUE_NONE)
        return false;
    uint32_t rank = onnx_rank(c, product);
    value_id scale_a = along(c, c->in[1], -2, rank), scale_w = along(c, c->in[4], -1, rank);
    return !onnx_failed(c) && requantize(c, product, scale_a, scale_w, 6);
}

/* A convolution in i32, with the attributes of Conv. */
static value_id integer_conv(struct onnx_call *c, uint32_t x, uint32_t x_zero, uint32_t w,
                             uint32_t w_zero)
{
    struct onnx_call inner = *c;
    inner.in[0] = centred(c, x, x_zero, 1);
    inner.in[1] = centred(c, w, w_zero, 0);
    inner.in_count = 2;
    if (onnx_failed(c) || !onnx_conv(&inner))
        return VALUE_NONE;
    return inner.out[0];
}

bool onnx_conv_integer(struct onnx_call *c)
{
    return onnx_return(c, integer_conv(c, 0, 2, 1, 3));
}

bool onnx_qlinear_conv(struct onnx_call *c)
{
    value_id y = integer_conv(c, 0, 2, 3, 5);
    if (y == VALUE_NONE)
        return false;
    uint32_t rank = onnx_rank(c, y);
    if (onnx_given(c, 8))
        y = b_add(c->b, y, along(c, c->in[8], 1, rank));
    value_id scale_x = along(c, c->in[1], 1, rank), scale_w = along(c, c->in[4], 1, rank);
    return !onnx_failed(c) && requantize(c, y, scale_x, scale_w, 6);
}
