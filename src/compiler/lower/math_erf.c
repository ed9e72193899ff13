/* The error function and its complement.
 *
 * erfc a = e^(-a²) w(a); w is a polynomial in 1/(a+k), which maps [0, ∞) to (0, 1/k]. The
 * exponential turns the absolute error of a² into a relative one, so a² is a sum of two numbers: a²
 * = h² + (a-h)(a+h), where h has half the bits of a. */
#include "compiler/lower/math_priv.h"

/* erf x = x + x P(x² - 0.45) on [0, 1], error 2^-28.4. The shift by 0.45 halves the terms of P, and
 * so their rounding errors. */
#define ERF_SHIFT32 0.45
static const double erf_p32[] = {
    -0.0202768184, -0.289152086,    0.0822053552,   -0.0189935118,
    0.00362489931, -0.000589967007, 7.85004668e-05,
};
/* erf x = x + x P(x²) on [0, 1], error 2^-56. */
static const double erf_p64[] = {
    0.12837916709551259,     -0.37612638903183748,    0.11283791670954854,
    -0.026866170645072338,   0.0052239776247751711,   -0.00085483269784002777,
    0.00012055331023933483,  -1.4925593184235918e-05, 1.6460967475372689e-06,
    -1.6349966949267379e-07, 1.4657477519808359e-08,  -1.1364073199864924e-09,
    5.9425074895396241e-11,
};
/* ln erfc a = a Q(a) - a on [0.925, 4]; error of erf 2^-30. */
static const double erf_q32[] = {
    -0.128651351,   -0.635139704,   -0.106256075,    0.0237785913,
    -0.00365027017, 0.000324724067, -1.14230706e-05,
};

/* f32: w(a) = v + a v² P(v) with v = k/(a+k), on a in [0, 9.2], error 2^-25.3. Near 0, where w
 * falls the fastest, a itself is a factor, so rounding errors of v count little. k minimises that
 * error and has few bits, so that a+k is exact more often. */
#define ERFC_K32 1.328125
static const double erfc_p32[] = {
    -0.433066368, -0.113990977, 0.125768334,  0.0929547176, 0.324500054,
    -0.998932719, 1.03784096,   -0.513103843, 0.102594614,
};
/* f64: w(a) = P(t) / (a+k) with t = (a-k)/(a+k), on a in [0.79, 26.7], error 2^-53.9. */
#define ERFC_K64 2.5
static const double erfc_p64[] = {
    1.054031820305718,       -0.80465184943914891,    0.4539141166480975,
    -0.17125114524604609,    0.028361550131909039,    0.0083930443024275835,
    -0.0048187855210943611,  -0.00043920826506442176, 0.0007026936939235175,
    5.8307761957844451e-05,  -0.00011260455576240565, -1.953180224762868e-05,
    1.8242620633555967e-05,  6.7525333345014411e-06,  -2.3248630098321874e-06,
    -1.9601437239517084e-06, -2.5539941499381641e-08, 4.5345637971296159e-07,
    1.6534071500541428e-07,  -9.3451796522175228e-08, -6.3046865371138929e-08,
    2.8628413722949879e-08,
};

/* erf x where |x| is at most 1. */
static expr_id erf_small(struct nest *nest, expr_id x)
{
    bool f64 = math_is_f64(nest, x);
    expr_id z = expr_fma(nest, x, x, math_num(nest, x, f64 ? 0 : -ERF_SHIFT32));
    return expr_fma(nest, x, f64 ? MATH_POLY(nest, z, erf_p64) : MATH_POLY(nest, z, erf_p32), x);
}

/* erfc |x| for f64 and |x| ≥ 0.8. */
static expr_id erfc_f64(struct nest *nest, expr_id x)
{
    const double k = ERFC_K64;
    /* The limit is where the power of two is built as 0; the result is 0 from 27.3 on. */
    expr_id a = math_at_most(nest, math_abs(nest, x), 27.45);
    expr_id sum = math_addk(nest, a, k);
    expr_id inverse = math_div(nest, math_num(nest, a, 1), sum);
    /* (a-k)/(a+k) in the form with the smaller rounding error. */
    expr_id t = expr_select(nest, math_less(nest, a, 3 * k),
                            math_mul(nest, math_addk(nest, a, -k), inverse),
                            math_fmak(nest, inverse, -2 * k, math_num(nest, a, 1)));
    expr_id h = math_truncate(nest, a, 27);
    expr_id high = math_mul(nest, h, expr_unary(nest, EXPR_NEG, h));
    expr_id low = math_mul(nest, math_sub(nest, h, a), math_add(nest, a, h));
    struct math_exp e = math_exp_reduced(nest, high, low, 64);
    expr_id p = MATH_POLY(nest, t, erfc_p64);
    expr_id product = expr_fma(nest, p, e.part, p); /* p e.p would round once more */
    expr_id result = math_mul(nest, math_div(nest, product, sum), e.scale);
    return math_mulk(nest, result, 0x1p-64);
}

/* erfc |x| for f32; error at most 3.88 ULP, with FMA and without. */
static expr_id erfc_f32(struct nest *nest, expr_id x)
{
    /* The limit is where the power of two is built as 0; the result is 0 from 10.06 on. */
    expr_id a = math_at_most(nest, math_abs(nest, x), 10.5);
    expr_id h = math_truncate(nest, a, 12);
    expr_id low = math_mul(nest, math_sub(nest, a, h), math_add(nest, a, h));
    struct math_exp e = math_exp_minus(nest, math_mul(nest, h, h), low, 32);
    expr_id v = math_div(nest, math_num(nest, a, ERFC_K32), math_addk(nest, a, ERFC_K32));
    expr_id avv = math_mul(nest, math_mul(nest, a, v), v);
    expr_id w = expr_fma(nest, avv, MATH_POLY(nest, v, erfc_p32), v);
    expr_id p = expr_fma(nest, w, e.part, w); /* w e.p would round once more */
    return math_mulk(nest, math_mul(nest, p, e.scale), 0x1p-32);
}

expr_id math_erfc(struct nest *nest, expr_id x)
{
    bool f64 = math_is_f64(nest, x);
    expr_id v = f64 ? erfc_f64(nest, x) : erfc_f32(nest, x);
    expr_id mirrored = math_sub(nest, math_num(nest, x, 2), v);
    v = expr_select(nest, math_less(nest, x, 0), mirrored, v);
    if (!f64)
        return v;
    expr_id small = math_sub(nest, math_num(nest, x, 1), erf_small(nest, x));
    return expr_select(nest, math_less(nest, math_abs(nest, x), 0.8), small, v);
}

expr_id math_erf(struct nest *nest, expr_id x)
{
    bool f64 = math_is_f64(nest, x);
    expr_id a = math_abs(nest, x), one = math_num(nest, x, 1), complement;
    if (f64) {
        complement = erfc_f64(nest, x);
    } else {
        expr_id limited = math_at_most(nest, a, 4);
        expr_id q = MATH_POLY(nest, limited, erf_q32);
        expr_id high = expr_unary(nest, EXPR_NEG, limited);
        struct math_exp e = math_exp_reduced(nest, high, math_mul(nest, limited, q), 0);
        complement = math_mul(nest, e.p, e.scale);
    }
    expr_id large = math_with_sign(nest, math_sub(nest, one, complement), x);
    return expr_select(nest, math_less(nest, a, 1), erf_small(nest, x), large);
}
