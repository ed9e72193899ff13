/* Short names for building float expressions, and what several functions share. Operands of one
 * call have one float dtype; constants have it, too, and integers the width of it. */
#ifndef URZA_COMPILER_LOWER_MATH_PRIV_H
#define URZA_COMPILER_LOWER_MATH_PRIV_H

#include "compiler/lower/math.h"

/* Bit layout of a float dtype. */
struct float_layout {
    enum dtype integer;
    int mantissa;      /* stored bits */
    int64_t bias, one; /* bias of the exponent; the bits of 1.0 */
    int64_t mantissa_mask, sign;
    double min_normal;
    int64_t scale_bias;   /* the bias that math_scale expects */
    double integer_magic; /* 1.5 × 2^mantissa: adding it rounds to an integer, which is then in the
                             low bits */
};
const struct float_layout *math_layout(const struct nest *nest, expr_id x);

static inline enum dtype math_dtype(const struct nest *nest, expr_id x)
{
    return (enum dtype)expr_at(nest, x)->dtype;
}
static inline bool math_is_f64(const struct nest *nest, expr_id x)
{
    return math_dtype(nest, x) == DTYPE_F64;
}
/* A constant of x's dtype (and, for floats, rounded to it). */
static inline expr_id math_num(struct nest *nest, expr_id x, double value)
{
    return expr_const(nest, math_dtype(nest, x), value);
}
static inline expr_id math_int(struct nest *nest, expr_id x, int64_t value)
{
    return expr_int(nest, math_dtype(nest, x), value);
}
static inline expr_id math_add(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_ADD, a, b);
}
static inline expr_id math_sub(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_SUB, a, b);
}
static inline expr_id math_mul(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_MUL, a, b);
}
static inline expr_id math_div(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_DIV, a, b);
}
static inline expr_id math_abs(struct nest *nest, expr_id a)
{
    return expr_unary(nest, EXPR_ABS, a);
}
/* a*k + c for a constant k. */
static inline expr_id math_fmak(struct nest *nest, expr_id a, double k, expr_id c)
{
    return expr_fma(nest, a, math_num(nest, a, k), c);
}
static inline expr_id math_addk(struct nest *nest, expr_id a, double k)
{
    return math_add(nest, a, math_num(nest, a, k));
}
static inline expr_id math_mulk(struct nest *nest, expr_id a, double k)
{
    return math_mul(nest, a, math_num(nest, a, k));
}
static inline expr_id math_less(struct nest *nest, expr_id a, double k)
{
    return expr_binary(nest, EXPR_LT, a, math_num(nest, a, k));
}
static inline expr_id math_greater(struct nest *nest, expr_id a, double k)
{
    return expr_binary(nest, EXPR_LT, math_num(nest, a, k), a);
}
static inline expr_id math_equal(struct nest *nest, expr_id a, double k)
{
    return expr_binary(nest, EXPR_EQ, a, math_num(nest, a, k));
}
/* The constant is the first operand, because MIN and MAX give their second operand if either is
 * NaN: a NaN in a stays NaN. */
static inline expr_id math_at_most(struct nest *nest, expr_id a, double k)
{
    return expr_binary(nest, EXPR_MIN, math_num(nest, a, k), a);
}
static inline expr_id math_at_least(struct nest *nest, expr_id a, double k)
{
    return expr_binary(nest, EXPR_MAX, math_num(nest, a, k), a);
}
static inline expr_id math_bits(struct nest *nest, expr_id x)
{
    return expr_bitcast(nest, x, math_layout(nest, x)->integer);
}
static inline expr_id math_from_bits(struct nest *nest, expr_id bits)
{
    return expr_bitcast(nest, bits, math_dtype(nest, bits) == DTYPE_I64 ? DTYPE_F64 : DTYPE_F32);
}
/* An integer operation with a constant. */
static inline expr_id math_bitop(struct nest *nest, enum expr_op op, expr_id bits, int64_t k)
{
    return expr_binary(nest, op, bits, math_int(nest, bits, k));
}

/* c[0] + c[1] x + … + c[count-1] x^(count-1). */
expr_id math_poly(struct nest *nest, expr_id x, const double *c, uint32_t count);
#define MATH_POLY(nest, x, c) math_poly(nest, x, c, (uint32_t)(sizeof(c) / sizeof(c)[0]))
/* magnitude, which is not negative, with the sign bit of x. */
expr_id math_with_sign(struct nest *nest, expr_id magnitude, expr_id x);
/* x with the low bits of its mantissa cleared. */
expr_id math_truncate(struct nest *nest, expr_id x, int bits);

/* x = 2^e m with m in [low, 2 low), where low_bits are the bits of low in [1/2, 1). Undefined for
 * subnormal, zero, negative and non-finite x. */
struct math_split {
    expr_id exponent, m;
    expr_id biased; /* e + bias, an integer */
};
struct math_split math_decompose(struct nest *nest, expr_id x, int64_t low_bits);
/* x, times 2^shift if x is below the least normal number; out_exponent: -shift or 0. */
expr_id math_normalize(struct nest *nest, expr_id x, expr_id *out_exponent);

/* 2^n p = e^(high + low); p in [0.7, 1.42]. low may be EXPR_NONE. */
struct math_exp {
    expr_id n, p;
    expr_id part;  /* p - 1, without cancellation */
    expr_id scale; /* 2^(n + shift) if that is a normal number; 0 at the exponent below the least
                      normal one */
};
struct math_exp math_exp_reduced(struct nest *nest, expr_id high, expr_id low, int shift);
/* 2^n p = e^-(high + low) for f32, high ≥ 0 and low in [0, 0.07], with fewer operations; p has an
 * error of 1.5 ULP. */
struct math_exp math_exp_minus(struct nest *nest, expr_id high, expr_id low, int shift);
/* 2^n, made of exponent bits. rounded: a number whose low bits are n + bias. */
expr_id math_power_of_two(struct nest *nest, expr_id rounded);
/* 2^n q for q in [0.7, 1.42], rounded once if it is subnormal. p: q math_scale_power(), which is
 * exact. rounded: a number whose low bits are n + scale_bias, with n from 1 - scale_bias (where the
 * result is 0) to bias + 2. */
expr_id math_scale(struct nest *nest, expr_id p, expr_id rounded);
double math_scale_power(const struct float_layout *l);
/* 2^x for f64, |x| < 1000, with an error of 2^-31: enough for a result in f32. */
expr_id math_exp2_coarse(struct nest *nest, expr_id x);

/* x = quarters π/2 + rest, |rest| ≤ π/4, for f64 x of magnitude 2^29 or more. rest is NaN for
 * infinity; both are undefined for smaller x. */
struct math_huge_angle {
    expr_id rest;     /* f64, exact to 1 ULP */
    expr_id quarters; /* i64; its two low bits count */
};
struct math_huge_angle math_huge_angle(struct nest *nest, expr_id x);

expr_id math_exp(struct nest *nest, expr_id x);
expr_id math_exp2(struct nest *nest, expr_id x);
expr_id math_expm1(struct nest *nest, expr_id x);
expr_id math_tanh(struct nest *nest, expr_id x);
expr_id math_log(struct nest *nest, expr_id x);
expr_id math_log2(struct nest *nest, expr_id x);
expr_id math_log1p(struct nest *nest, expr_id x);
expr_id math_sin(struct nest *nest, expr_id x);
expr_id math_cos(struct nest *nest, expr_id x);
expr_id math_tan(struct nest *nest, expr_id x);
expr_id math_atan(struct nest *nest, expr_id x);
expr_id math_erf(struct nest *nest, expr_id x);
expr_id math_erfc(struct nest *nest, expr_id x);

#endif
