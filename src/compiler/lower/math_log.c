/* Logarithms: x = 2^e (1 + f) with 1 + f in [√½, √2); ln x = e ln 2 + f - f²/2 + tail(f).
 *
 * f is exact and the rest is small beside it, so the rounding of the last sum dominates. */
#include "compiler/lower/math_priv.h"

#include <math.h>

/* ln(1+f) = f - f²/2 + f³ P(f) on [√½ - 1, √2 - 1]; error 2^-29.9. */
static const double log_p32[] = {
    0.333333135,  -0.250000119, 0.200020567,  -0.166672811, 0.142197609,
    -0.124238871, 0.119112946,  -0.115556553, 0.0652536228,
};
/* ln((1+s)/(1-s)) = 2 s + s z L(z) with z = s² on [0, (3 - √8)²]; error 2^-58.8. */
static const double log_l64[] = {
    0.66666666666667351, 0.39999999999413266, 0.28571428742762733, 0.22222198529407008,
    0.18183566831486608, 0.15313981375286351, 0.14796686910296156,
};

static const double ln2_high[] = {0x1.62e4p-1, 0x1.62e42feep-1};
static const double ln2_low[] = {0x1.7f7d1cf79abcap-20, 0x1.a39ef35793c76p-33};
static const int64_t sqrt_half_bits[] = {0x3f3504f3, 0x3fe6a09e667f3bcd};

/* ln(1+f) = f - (half_square - tail). */
static void kernel(struct nest *nest, expr_id f, expr_id *out_half_square, expr_id *out_tail)
{
    expr_id square = math_mul(nest, f, f);
    *out_half_square = math_mulk(nest, square, 0.5);
    if (!math_is_f64(nest, f)) {
        expr_id cube = math_mul(nest, square, f);
        *out_tail = math_mul(nest, cube, MATH_POLY(nest, f, log_p32));
        return;
    }
    /* s = f/(2+f): 2 s = f - s f, and s f = f²/2 - s f²/2. */
    expr_id s = math_div(nest, f, math_addk(nest, f, 2));
    expr_id z = math_mul(nest, s, s);
    expr_id sum = expr_fma(nest, z, MATH_POLY(nest, z, log_l64), *out_half_square);
    *out_tail = math_mul(nest, s, sum);
}

static expr_id log_sum(struct nest *nest, expr_id e, expr_id f)
{
    bool f64 = math_is_f64(nest, f);
    expr_id half_square, tail;
    kernel(nest, f, &half_square, &tail);
    tail = math_fmak(nest, e, ln2_low[f64], tail);
    expr_id y = math_sub(nest, f, math_sub(nest, half_square, tail));
    return math_fmak(nest, e, ln2_high[f64], y);
}

/* Replaces the result at 0, below 0, at infinity and at NaN. */
static expr_id log_special(struct nest *nest, expr_id x, expr_id result)
{
    result = expr_select(nest, math_less(nest, x, INFINITY), result, x);
    expr_id low = expr_select(nest, math_equal(nest, x, 0), math_num(nest, x, -INFINITY),
                              math_num(nest, x, NAN));
    return expr_select(nest, math_greater(nest, x, 0), result, low);
}

/* e and f of x, which may be subnormal. */
static void split(struct nest *nest, expr_id x, expr_id *out_e, expr_id *out_f)
{
    expr_id shift;
    expr_id normal = math_normalize(nest, x, &shift);
    struct math_split s = math_decompose(nest, normal, sqrt_half_bits[math_is_f64(nest, x)]);
    *out_e = math_add(nest, s.exponent, shift);
    *out_f = math_addk(nest, s.m, -1);
}

expr_id math_log(struct nest *nest, expr_id x)
{
    expr_id e, f;
    split(nest, x, &e, &f);
    return log_special(nest, x, log_sum(nest, e, f));
}

expr_id math_log2(struct nest *nest, expr_id x)
{
    expr_id e, f, half_square, tail;
    split(nest, x, &e, &f);
    kernel(nest, f, &half_square, &tail);
    expr_id y = math_sub(nest, f, math_sub(nest, half_square, tail));
    return log_special(nest, x, math_fmak(nest, y, 0x1.71547652b82fep0, e));
}

expr_id math_log1p(struct nest *nest, expr_id x)
{
    const struct float_layout *l = math_layout(nest, x);
    expr_id u = math_addk(nest, x, 1);
    struct math_split s = math_decompose(nest, u, sqrt_half_bits[math_is_f64(nest, x)]);
    /* f = (1+x) 2^-e - 1 is computed from x, because 1 + x would lose low bits of x. Where x is so
     * large that the 1 does not count, 2^-e may not be representable, and is not used. */
    expr_id negated = math_sub(nest, math_int(nest, s.biased, 2 * l->bias), s.biased);
    expr_id scale = math_from_bits(nest, math_bitop(nest, EXPR_SHL, negated, l->mantissa));
    expr_id f = expr_fma(nest, x, scale, math_addk(nest, scale, -1));
    expr_id moderate = math_less(nest, x, (double)((int64_t)4 << l->mantissa));
    f = expr_select(nest, moderate, f, math_addk(nest, s.m, -1));
    expr_id result = log_special(nest, u, log_sum(nest, s.exponent, f));
    return expr_select(nest, math_equal(nest, x, 0), x, result); /* -0 */
}
