/* Elementary functions: the table of functions, and what they share.
 *
 * All coefficients are minimax polynomials found by the Remez exchange in 50 digits; for f32 each
 * coefficient was rounded and the others fitted again. The comment at a table gives the interval
 * and the relative error of the function that it approximates, rounded coefficients included.
 *
 * Without FMA each product rounds. Where that would cost too much accuracy, constants have trailing
 * zeros so that the product is exact, and sums run from small to large. */
#include "compiler/lower/math_priv.h"

#include <assert.h>
#include <float.h>

const struct float_layout *math_layout(const struct nest *nest, expr_id x)
{
    static const struct float_layout f32 = {
        .integer = DTYPE_I32,
        .mantissa = 23,
        .bias = 127,
        .one = 0x3f800000,
        .mantissa_mask = 0x7fffff,
        .sign = INT32_MIN,
        .min_normal = FLT_MIN,
        .scale_bias = 152,
        .integer_magic = 0x1.8p23,
    };
    static const struct float_layout f64 = {
        .integer = DTYPE_I64,
        .mantissa = 52,
        .bias = 1023,
        .one = 0x3ff0000000000000,
        .mantissa_mask = 0xfffffffffffff,
        .sign = INT64_MIN,
        .min_normal = DBL_MIN,
        .scale_bias = 1077,
        .integer_magic = 0x1.8p52,
    };
    assert(math_dtype(nest, x) == DTYPE_F32 || math_dtype(nest, x) == DTYPE_F64);
    return math_is_f64(nest, x) ? &f64 : &f32;
}

expr_id math_poly(struct nest *nest, expr_id x, const double *c, uint32_t count)
{
    expr_id sum = math_num(nest, x, c[count - 1]);
    for (uint32_t i = count - 1; i-- > 0;)
        sum = expr_fma(nest, sum, x, math_num(nest, x, c[i]));
    return sum;
}

expr_id math_with_sign(struct nest *nest, expr_id magnitude, expr_id x)
{
    expr_id sign = math_bitop(nest, EXPR_AND, math_bits(nest, x), math_layout(nest, x)->sign);
    return math_from_bits(nest, expr_binary(nest, EXPR_OR, math_bits(nest, magnitude), sign));
}

expr_id math_truncate(struct nest *nest, expr_id x, int bits)
{
    return math_from_bits(nest,
                          math_bitop(nest, EXPR_AND, math_bits(nest, x), -((int64_t)1 << bits)));
}

struct math_split math_decompose(struct nest *nest, expr_id x, int64_t low_bits)
{
    const struct float_layout *l = math_layout(nest, x);
    struct math_split split;
    /* Adding 1 - low in bits makes the exponent field step where m wraps. */
    expr_id moved = math_bitop(nest, EXPR_ADD, math_bits(nest, x), l->one - low_bits);
    split.biased = math_bitop(nest, EXPR_LSHR, moved, l->mantissa);
    expr_id fraction = math_bitop(nest, EXPR_AND, moved, l->mantissa_mask);
    split.m = math_from_bits(nest, math_bitop(nest, EXPR_ADD, fraction, low_bits));
    /* To float by placing the integer in the mantissa of 2^mantissa, which is cheaper than a 64-bit
     * conversion. */
    int64_t unit = (l->bias + l->mantissa) << l->mantissa;
    expr_id placed = math_from_bits(nest, math_bitop(nest, EXPR_OR, split.biased, unit));
    double offset = (double)(((int64_t)1 << l->mantissa) + l->bias);
    split.exponent = math_sub(nest, placed, math_num(nest, x, offset));
    return split;
}

expr_id math_normalize(struct nest *nest, expr_id x, expr_id *out_exponent)
{
    const struct float_layout *l = math_layout(nest, x);
    expr_id small = math_less(nest, x, l->min_normal);
    double shift = l->mantissa + 1;
    expr_id scaled = math_mulk(nest, x, (double)((int64_t)2 << l->mantissa));
    *out_exponent = expr_select(nest, small, math_num(nest, x, -shift), math_num(nest, x, 0));
    return expr_select(nest, small, scaled, x);
}

static expr_id math_rsqrt(struct nest *nest, expr_id x)
{
    return math_div(nest, math_num(nest, x, 1), expr_unary(nest, EXPR_SQRT, x));
}

expr_id math_unary(struct nest *nest, enum prim prim, expr_id x)
{
    static const struct {
        enum prim prim;
        expr_id (*build)(struct nest *nest, expr_id x);
    } functions[] = {
        {PRIM_EXP, math_exp},   {PRIM_EXP2, math_exp2},   {PRIM_EXPM1, math_expm1},
        {PRIM_LOG, math_log},   {PRIM_LOG2, math_log2},   {PRIM_LOG1P, math_log1p},
        {PRIM_SIN, math_sin},   {PRIM_COS, math_cos},     {PRIM_TAN, math_tan},
        {PRIM_ATAN, math_atan}, {PRIM_TANH, math_tanh},   {PRIM_ERF, math_erf},
        {PRIM_ERFC, math_erfc}, {PRIM_RSQRT, math_rsqrt},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (functions[i].prim == prim)
            return functions[i].build(nest, x);
    assert(false);
    return EXPR_NONE;
}
