/* Exponentials: e^x, 2^x, e^x - 1, tanh.
 *
 * x = n ln 2 + r with |r| ≤ ln 2 / 2; e^r is a polynomial; 2^n is made of exponent bits. n comes
 * from adding a number so large that the unit in the last place of the sum is 1. If that number
 * also contains the exponent's bias, the low bits of the sum, shifted into the exponent field, are
 * 2^n without further arithmetic. Where 2^n may not be representable, the factor is applied in two
 * halves (math_scale). */
#include "compiler/lower/math_priv.h"

#include <math.h>

/* e^r = 1 + r + r² q(r) on |r| ≤ 0.3475. exp_q32: error relative to e^r 2^-28.2; the others
 * relative to e^r - 1: 2^-28 and 2^-60. */
static const double exp_q32[] = {
    0.49999994, 0.166665137, 0.0416680686, 0.00836945698, 0.00138412591,
};
static const double expm1_q32[] = {
    0.5, 0.166666359, 0.0416665114, 0.00834161416, 0.00139305647, 0.000149336367,
};
static const double exp_q64[] = {
    0.5,
    0.16666666666666677,
    0.041666666666666505,
    0.0083333333333214504,
    0.001388888888896394,
    0.00019841269886657469,
    2.4801587170473998e-05,
    2.7557243603029994e-06,
    2.7557403540026526e-07,
    2.5109271447546617e-08,
    2.087531496873183e-09,
};

/* 2^r = 1 + (r/2 + r q(r)) on |r| ≤ 1/2; r/2 is exact, and r q small beside it. Errors 2^-31 and
 * 2^-55. */
static const double exp2_q32[] = {
    0.193147182,   0.240226507,    0.0555040091,   0.00961808302,
    0.00133427803, 0.000154539026, 1.30189901e-05,
};
static const double exp2_q64[] = {
    0.19314718055994531,    0.24022650695910072,    0.055504108664821736,   0.0096181291076285619,
    0.0013333558146381669,  0.00015403530393171715, 1.5252733864912921e-05, 1.3215487003482104e-06,
    1.0178047502336782e-07, 7.0548148260777992e-09, 4.4572437307246319e-10, 2.5855219901122127e-11,
};

/* ln 2 as a sum of two numbers; n times the first is exact. */
static const double ln2_high[] = {0x1.62e4p-1, 0x1.62e42feep-1};
static const double ln2_low[] = {0x1.7f7d1cf79abcap-20, 0x1.a39ef35793c76p-33};

/* n + scale_bias in two halves, each the exponent field of a factor. At n = 1 - scale_bias, where
 * the result rounds to 0, the lesser half and so its factor are 0: the product is exactly 0 then
 * and does not underflow, which would be slow. */
expr_id math_scale(struct nest *nest, expr_id p, expr_id rounded)
{
    int shift = math_layout(nest, p)->mantissa;
    expr_id bits = math_bits(nest, rounded), half = math_bitop(nest, EXPR_LSHR, bits, 1);
    expr_id rest = math_sub(nest, bits, half);
    expr_id first = math_from_bits(nest, math_bitop(nest, EXPR_SHL, half, shift));
    expr_id second = math_from_bits(nest, math_bitop(nest, EXPR_SHL, rest, shift));
    return math_mul(nest, math_mul(nest, p, first), second);
}

double math_scale_power(const struct float_layout *l)
{
    return ldexp(1, (int)(2 * l->bias - l->scale_bias));
}

expr_id math_power_of_two(struct nest *nest, expr_id rounded)
{
    int shift = math_layout(nest, rounded)->mantissa;
    expr_id bits = math_bits(nest, rounded);
    return math_from_bits(nest, math_bitop(nest, EXPR_SHL, bits, shift));
}

/* bias: added to n in the exponent field of scale. minus_one: the result is `part`, so its error
 * counts relative to itself. */
static struct math_exp reduce(struct nest *nest, expr_id high, expr_id low, int64_t bias,
                              bool minus_one, expr_id *out_rounded)
{
    bool f64 = math_is_f64(nest, high);
    expr_id magic = math_num(nest, high, math_layout(nest, high)->integer_magic + (double)bias);
    struct math_exp e;
    expr_id sum = low == EXPR_NONE ? high : math_add(nest, high, low);
    *out_rounded = math_fmak(nest, sum, 0x1.71547652b82fep0, magic);
    e.n = math_sub(nest, *out_rounded, magic);
    /* r = r_high + r_low; r_high is exact, and is added last, unrounded. */
    expr_id r_high = math_fmak(nest, e.n, -ln2_high[f64], high);
    expr_id r_low = low == EXPR_NONE ? math_mulk(nest, e.n, -ln2_low[f64])
                                     : math_fmak(nest, e.n, -ln2_low[f64], low);
    expr_id r = math_add(nest, r_high, r_low);
    expr_id q = f64         ? MATH_POLY(nest, r, exp_q64)
                : minus_one ? MATH_POLY(nest, r, expm1_q32)
                            : MATH_POLY(nest, r, exp_q32);
    expr_id rest = expr_fma(nest, math_mul(nest, r, r), q, r_low);
    e.part = math_add(nest, r_high, rest);
    e.p = math_addk(nest, e.part, 1);
    e.scale = math_power_of_two(nest, *out_rounded);
    return e;
}

struct math_exp math_exp_reduced(struct nest *nest, expr_id high, expr_id low, int shift)
{
    expr_id rounded;
    return reduce(nest, high, low, math_layout(nest, high)->bias + shift, false, &rounded);
}

/* e^-r = 1 + r q(r) on r in [-0.347, 0.419], error 2^-27.4. */
static const double exp_minus_q32[] = {
    -1, 0.499999672, -0.166665018, 0.0416761376, -0.00837048423, 0.00133350841,
};

struct math_exp math_exp_minus(struct nest *nest, expr_id high, expr_id low, int shift)
{
    const struct float_layout *l = math_layout(nest, high);
    expr_id magic = math_num(nest, high, l->integer_magic + (double)(l->bias + shift));
    expr_id rounded = math_fmak(nest, high, -0x1.71547652b82fep0, magic);
    struct math_exp e;
    e.n = math_sub(nest, rounded, magic);
    expr_id r_low = math_fmak(nest, e.n, ln2_low[0], low);
    expr_id r = math_add(nest, math_fmak(nest, e.n, ln2_high[0], high), r_low);
    e.part = math_mul(nest, r, MATH_POLY(nest, r, exp_minus_q32));
    e.p = math_addk(nest, e.part, 1);
    e.scale = math_power_of_two(nest, rounded);
    return e;
}

/* Limits x to the exponents that math_scale takes; beyond them the result is infinity or 0. */
static expr_id limit_exp(struct nest *nest, expr_id x, double least, double greatest)
{
    return math_at_least(nest, math_at_most(nest, x, greatest), least);
}

expr_id math_exp(struct nest *nest, expr_id x)
{
    const struct float_layout *l = math_layout(nest, x);
    bool f64 = math_is_f64(nest, x);
    expr_id rounded, limited = limit_exp(nest, x, f64 ? -746 : -105, f64 ? 710 : 89);
    struct math_exp e = reduce(nest, limited, EXPR_NONE, l->scale_bias, false, &rounded);
    double power = math_scale_power(l);
    return math_scale(nest, math_fmak(nest, e.part, power, math_num(nest, x, power)), rounded);
}

expr_id math_exp2(struct nest *nest, expr_id x)
{
    const struct float_layout *l = math_layout(nest, x);
    bool f64 = math_is_f64(nest, x);
    expr_id magic = math_num(nest, x, l->integer_magic + (double)l->scale_bias);
    x = limit_exp(nest, x, (double)(1 - l->scale_bias), (double)(l->bias + 1));
    expr_id rounded = math_add(nest, x, magic);
    expr_id r = math_sub(nest, x, math_sub(nest, rounded, magic));
    expr_id q = f64 ? MATH_POLY(nest, r, exp2_q64) : MATH_POLY(nest, r, exp2_q32);
    double power = math_scale_power(l);
    expr_id part = expr_fma(nest, r, q, math_mulk(nest, r, 0.5));
    return math_scale(nest, math_fmak(nest, part, power, math_num(nest, x, power)), rounded);
}

/* 2^r = 1 + r q(r) on |r| ≤ 1/2; error 2^-32. */
static const double exp2_coarse_q[] = {
    0.69314718382017459,   0.240226509210654,      0.055504003668049015,  0.0096180568424321794,
    0.0013341954092502609, 0.00015461398581786457, 1.336002460913297e-05,
};

expr_id math_exp2_coarse(struct nest *nest, expr_id x)
{
    const struct float_layout *l = math_layout(nest, x);
    expr_id magic = math_num(nest, x, l->integer_magic + (double)l->bias);
    expr_id rounded = math_add(nest, x, magic);
    expr_id r = math_sub(nest, x, math_sub(nest, rounded, magic));
    expr_id p = expr_fma(nest, r, MATH_POLY(nest, r, exp2_coarse_q), math_num(nest, x, 1));
    return math_mul(nest, p, math_power_of_two(nest, rounded));
}

expr_id math_expm1(struct nest *nest, expr_id x)
{
    bool f64 = math_is_f64(nest, x);
    expr_id limited = math_at_most(nest, x, f64 ? 709.9 : 89);
    limited = math_at_least(nest, limited, f64 ? -40 : -20); /* the result is -1 there */
    /* scale is 2^(n-1), because 2^n may be too large; the result is doubled at the end. */
    expr_id rounded;
    struct math_exp e =
        reduce(nest, limited, EXPR_NONE, math_layout(nest, x)->bias - 1, true, &rounded);
    expr_id half = expr_fma(nest, e.scale, e.part, math_addk(nest, e.scale, -0.5));
    expr_id result = math_add(nest, half, half);
    result = expr_select(nest, math_equal(nest, e.n, 0), e.part, result);
    return expr_select(nest, math_equal(nest, x, 0), x, result); /* -0 */
}

/* tanh x = x + x P(x² - 17/32) on [0, 1], error 2^-30. The shift keeps the terms of P, and so their
 * rounding errors, small. */
#define TANH_SHIFT 0.53125
static const double tanh_p32[] = {
    -0.146111399,   -0.227046251,  0.07435406,      -0.0247438755,  0.00824846514,
    -0.00274580112, 0.00092120457, -0.000328823779, 0.000100342564,
};

expr_id math_tanh(struct nest *nest, expr_id x)
{
    expr_id a = math_abs(nest, x);
    if (math_is_f64(nest, x)) {
        expr_id m = math_expm1(nest, math_mulk(nest, math_at_most(nest, a, 22), 2));
        return math_with_sign(nest, math_div(nest, m, math_addk(nest, m, 2)), x);
    }
    expr_id z = expr_fma(nest, a, a, math_num(nest, a, -TANH_SHIFT));
    expr_id small = expr_fma(nest, a, MATH_POLY(nest, z, tanh_p32), a);
    /* 1 - 2 / (e^2a + 1). The quotient is below 1/4 here, so its error counts little. */
    expr_id twice = math_mulk(nest, math_at_most(nest, a, 10), 2);
    struct math_exp e = math_exp_reduced(nest, twice, EXPR_NONE, 0);
    expr_id power = expr_fma(nest, e.p, e.scale, math_num(nest, x, 1));
    expr_id quotient = math_div(nest, math_num(nest, x, 2), power);
    expr_id large = math_sub(nest, math_num(nest, x, 1), quotient);
    return math_with_sign(nest, expr_select(nest, math_less(nest, a, 1), small, large), x);
}
