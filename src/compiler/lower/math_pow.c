/* a^b = 2^(b log2 |a|), then sign and special values.
 *
 * f32 is computed in f64. f64 has the logarithm as a sum of two numbers, of about 68 bits (the
 * scheme of fdlibm's e_pow.c): factors are cut to 21 bits in the mantissa so that their products
 * are exact without FMA. */
#include "compiler/lower/math_priv.h"

#include <math.h>

/* log2(1+f) = f P(f) on [√½ - 1, √2 - 1]; error 2^-38.5. */
static const double log2_p[] = {
    1.4426950408865857,  -0.72134752032720328, 0.48089834880075472, -0.36067379321293497,
    0.2885387958270666,  -0.24044642935582486, 0.20610711863958253, -0.18043685060805612,
    0.16021681167717103, -0.14249759021540692, 0.13027349288172002, -0.13463281100375793,
    0.13252284424676802, -0.06974505233550117,
};
/* ln((1+s)/(1-s)) = 2/3 s (3 + z + z² L(z)), z = s² on [0, 0.0102]; error 2^-70. */
static const double log_l[] = {
    0.59999999999999465, 0.42857142857853875, 0.3333333298219559,
    0.27272812326956253, 0.23066078514998387, 0.2069738954981391,
};
/* e^z = 1 + z + z² q(z) on |z| ≤ ln 2 / 2; error 2^-60. */
static const double exp_q[] = {
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

static expr_id pow_f32(struct nest *nest, expr_id a, expr_id b)
{
    expr_id x = expr_cast(nest, a, DTYPE_F64), y = expr_cast(nest, b, DTYPE_F64);
    struct math_split s = math_decompose(nest, x, 0x3fe6a09e667f3bcd);
    expr_id f = math_addk(nest, s.m, -1);
    expr_id log2 = expr_fma(nest, f, MATH_POLY(nest, f, log2_p), s.exponent);
    /* y is limited, because 1^∞ = 1 but log2(1) × ∞ would be NaN; such a y overflows f32 or gives 0
     * in any case. */
    y = math_at_least(nest, math_at_most(nest, y, 0x1p200), -0x1p200);
    expr_id power = math_mul(nest, y, log2);
    power = math_at_least(nest, math_at_most(nest, power, 200), -200);
    return expr_cast(nest, math_exp2_coarse(nest, power), DTYPE_F32);
}

static expr_id cut(struct nest *nest, expr_id x)
{
    return math_truncate(nest, x, 32);
}

/* log2 a = out_high + out_low, with out_high cut; a is positive and finite. */
static void log2_f64(struct nest *nest, expr_id a, expr_id *out_high, expr_id *out_low)
{
    const double scale = 0x1.ec709dc3a03fdp-1; /* 2 / (3 ln 2), and the same as a sum */
    const double scale_high = 0x1.ec709cp-1, scale_low = 0x1.c3a03fd749fc1p-25;
    const double log2_base_high = 0x1.2b8034p-1, log2_base_low = 0x1.cfdeb43cfd006p-27;
    expr_id shift, zero = math_num(nest, a, 0), one = math_num(nest, a, 1);
    expr_id normal = math_normalize(nest, a, &shift);
    struct math_split split = math_decompose(nest, normal, 0x3febb67ae8584caa); /* √3/2 */
    expr_id n = math_add(nest, split.exponent, shift);
    /* base is 1 or 3/2, whichever is nearer to m, so that |s| < 0.101. */
    expr_id upper = math_greater(nest, split.m, 0x1.3988e1409212ep0); /* √(3/2) */
    expr_id base = expr_select(nest, upper, math_num(nest, a, 1.5), one);
    expr_id base_high = expr_select(nest, upper, math_num(nest, a, log2_base_high), zero);
    expr_id base_low = expr_select(nest, upper, math_num(nest, a, log2_base_low), zero);

    /* s = (m - base)/(m + base) = s_high + s_low. */
    expr_id top = math_sub(nest, split.m, base), sum = math_add(nest, split.m, base);
    expr_id inverse = math_div(nest, one, sum);
    expr_id s = math_mul(nest, top, inverse), s_high = cut(nest, s), sum_high = cut(nest, sum);
    expr_id sum_low = math_sub(nest, split.m, math_sub(nest, sum_high, base));
    expr_id rest = math_sub(nest, top, math_mul(nest, s_high, sum_high));
    rest = math_sub(nest, rest, math_mul(nest, s_high, sum_low));
    expr_id s_low = math_mul(nest, inverse, rest);

    /* t = 3 + s² + s⁴ L = t_high + t_low. */
    expr_id z = math_mul(nest, s, s), z_high = math_mul(nest, s_high, s_high);
    expr_id r = math_mul(nest, math_mul(nest, z, z), MATH_POLY(nest, z, log_l));
    r = expr_fma(nest, s_low, math_add(nest, s_high, s), r);
    expr_id t_high = cut(nest, math_add(nest, math_addk(nest, z_high, 3), r));
    expr_id t_low = math_sub(nest, r, math_sub(nest, math_addk(nest, t_high, -3), z_high));

    /* p = s t, then log2 a = n + log2 base + scale p. */
    expr_id u = math_mul(nest, s_high, t_high);
    expr_id v = expr_fma(nest, s_low, t_high, math_mul(nest, t_low, s));
    expr_id p_high = cut(nest, math_add(nest, u, v));
    expr_id p_low = math_sub(nest, v, math_sub(nest, p_high, u));
    expr_id l_high = math_mulk(nest, p_high, scale_high);
    expr_id l_low = math_fmak(nest, p_high, scale_low, math_fmak(nest, p_low, scale, base_low));
    expr_id total = math_add(nest, math_add(nest, math_add(nest, l_high, l_low), base_high), n);
    *out_high = cut(nest, total);
    expr_id left = math_sub(nest, math_sub(nest, *out_high, n), base_high);
    *out_low = math_sub(nest, l_low, math_sub(nest, left, l_high));
}

static expr_id pow_f64(struct nest *nest, expr_id a, expr_id y)
{
    const double ln2 = 0x1.62e42fefa39efp-1, ln2_high = 0x1.62e42ep-1;
    const double ln2_low = 0x1.efa39ef35793cp-25;
    expr_id log_high, log_low;
    log2_f64(nest, a, &log_high, &log_low);
    /* Unless log2 a is 0, it is above 2^-53 in magnitude, so a result with |y| > 2^80 overflows or
     * is 0. */
    y = math_at_least(nest, math_at_most(nest, y, 0x1p80), -0x1p80);
    expr_id y_high = cut(nest, y);
    expr_id low = expr_fma(nest, math_sub(nest, y, y_high), log_high, math_mul(nest, y, log_low));
    expr_id high = math_mul(nest, y_high, log_high);
    expr_id power = math_add(nest, high, low);

    const struct float_layout *l = math_layout(nest, y);
    expr_id magic = math_num(nest, y, l->integer_magic + (double)l->scale_bias);
    double least = (double)(1 - l->scale_bias), greatest = (double)(l->bias + 2);
    expr_id limited = math_at_least(nest, math_at_most(nest, power, greatest), least);
    expr_id rounded = math_add(nest, limited, magic);
    high = math_sub(nest, high, math_sub(nest, rounded, magic));
    /* (high + low) ln 2 = z + w. */
    expr_id t = cut(nest, math_add(nest, high, low));
    low = math_sub(nest, low, math_sub(nest, t, high));
    expr_id u = math_mulk(nest, t, ln2_high);
    expr_id v = math_fmak(nest, low, ln2, math_mulk(nest, t, ln2_low));
    expr_id z = math_add(nest, u, v), w = math_sub(nest, v, math_sub(nest, z, u));
    expr_id q = MATH_POLY(nest, z, exp_q);
    expr_id p = math_add(nest, z, expr_fma(nest, math_mul(nest, z, z), q, w));
    /* Where power was limited, z is huge and p undefined, but the result overflows or is 0 in any
     * case. */
    p = math_at_least(nest, math_at_most(nest, p, 1), -0.5);
    double one = math_scale_power(l);
    return math_scale(nest, math_fmak(nest, p, one, math_num(nest, y, one)), rounded);
}

static expr_id both(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_AND, a, b);
}

static expr_id either(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_OR, a, b);
}

/* Whether y is no integer: its truncation differs from it. Infinities count as even integers. */
static expr_id has_fraction(struct nest *nest, expr_id y)
{
    return expr_binary(nest, EXPR_NE, expr_unary(nest, EXPR_TRUNC, y), y);
}

expr_id math_pow(struct nest *nest, expr_id x, expr_id y)
{
    expr_id zero = math_num(nest, x, 0), one = math_num(nest, x, 1);
    expr_id infinity = math_num(nest, x, INFINITY);
    expr_id a = math_abs(nest, x);
    expr_id power = math_is_f64(nest, x) ? pow_f64(nest, a, y) : pow_f32(nest, a, y);

    expr_id at_zero = math_equal(nest, a, 0), at_infinity = math_equal(nest, a, INFINITY);
    expr_id inverse = expr_select(nest, at_zero, infinity, zero);
    expr_id edge = expr_select(nest, math_less(nest, y, 0), inverse, a);
    power = expr_select(nest, either(nest, at_zero, at_infinity), edge, power);

    expr_id fraction = has_fraction(nest, y);
    expr_id odd = both(nest, has_fraction(nest, math_mulk(nest, y, 0.5)),
                       expr_unary(nest, EXPR_NOT, fraction));
    expr_id negative = math_with_sign(nest, power, x);
    power = expr_select(nest, odd, negative, power);
    expr_id no_root = both(nest, math_less(nest, x, 0), math_greater(nest, x, -INFINITY));
    expr_id undefined = both(nest, no_root, fraction);
    undefined = either(nest, undefined, expr_binary(nest, EXPR_NE, x, x));
    undefined = either(nest, undefined, expr_binary(nest, EXPR_NE, y, y));
    power = expr_select(nest, undefined, math_num(nest, x, NAN), power);
    expr_id always = either(nest, math_equal(nest, x, 1), math_equal(nest, y, 0));
    return expr_select(nest, always, one, power);
}
