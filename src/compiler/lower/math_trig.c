/* sin, cos, tan and atan.
 *
 * f32 arguments are reduced, and the polynomials evaluated, in f64. Reduction works in turns, x /
 * 2π modulo 1, for every finite x: 1/2π is cut into chunks of 27 bits, so that a chunk times the 24
 * bits of x is exact and whole turns can be dropped from each product. Four chunks suffice for x <
 * 2^50; a greater x is scaled to an integer below 2^50, x 2^-k, which multiplies the chunks of
 * 2^k/2π modulo 1. Quarter turns are dropped as soon as they appear, because a sum near 1 would
 * lose low bits.
 *
 * f64 arguments up to 2^29 are reduced by π/2 as a sum of four numbers, of which three have 24
 * bits: their products are exact while the quotient has 29 bits. Greater ones, which are rare, are
 * reduced as math_huge_angle.c says. */
#include "compiler/lower/math_priv.h"

/* sin 2πs = s S(s²) and cos 2πs = 1 + s² C(s²) on |s| ≤ 1/8, errors 2^-37 and 2^-34; at 3/16, which
 * only huge x reach, 2^-31 and 2^-29. */
static const double sin_turn[] = {
    6.2831853071503438, -41.341702148835978, 81.605203144286861,
    -76.69769542220277, 41.467034461876068,
};
static const double cos_turn[] = {
    -19.739208691565093,
    64.939325499457667,
    -85.443616765859673,
    59.241216073874554,
};
/* sin r = r + r³ S(r²) and cos r = 1 - r²/2 + r⁴ C(r²) on |r| ≤ π/4; errors 2^-56.8 and 2^-59.6. */
static const double sin_s64[] = {
    -0.16666666666666632,  0.0083333333333223212,   -0.00019841269829730789,
    2.755731366412191e-06, -2.5050753605309234e-08, 1.5896525587629501e-10,
};
static const double cos_c64[] = {
    0.041666666666666602,    -0.001388888888887399,  2.4801587289394489e-05,
    -2.7557314325912447e-07, 2.0875719546370027e-09, -1.1359448330148273e-11,
};

/* An angle as quarter turns and the sine and cosine of the rest. */
struct angle {
    expr_id sin, cos; /* f64 */
    expr_id quarters; /* i64; its two low bits count */
};

/* Adding it rounds to quarters; the low bits of the sum are their number. */
#define QUARTER_MAGIC 0x1.8p50

static expr_id quarters_of(struct nest *nest, expr_id s)
{
    return math_addk(nest, math_addk(nest, s, QUARTER_MAGIC), -QUARTER_MAGIC);
}

static expr_id drop_turns(struct nest *nest, expr_id v)
{
    return math_sub(nest, v, expr_unary(nest, EXPR_ROUND, v));
}

static struct angle reduce_f32(struct nest *nest, expr_id narrow)
{
    static const double chunks[4][4] = {
        {0x1.45f306p-3, 0x1.b939104p-28, 0x1.4a7f098p-56, 0x1.57d1f534ddc0ep-82},
        {0x1.b939104p-1, 0x1.4a7f098p-29, 0x1.57d1f5p-55, 0x1.a6ee06db14acdp-82},
        {0x1.529fc24p-1, 0x1.abe8fa8p-28, 0x1.a6ee068p-56, 0x1.6c52b32788721p-82},
        {0x1.d5f47d4p-1, 0x1.a6ee06p-30, 0x1.b629598p-55, 0x1.3c439041fe516p-83},
    };
    static const double least[4] = {0, 0x1p50, 0x1p76, 0x1p102};
    static const double scales[4] = {1, 0x1p-27, 0x1p-53, 0x1p-79};
    expr_id x = expr_cast(nest, narrow, DTYPE_F64);
    expr_id a = math_abs(nest, x);
    expr_id chunk[4], scale = math_num(nest, x, 1);
    for (int i = 0; i < 4; i++)
        chunk[i] = math_num(nest, x, chunks[0][i]);
    for (int set = 1; set < 4; set++) {
        expr_id above = math_greater(nest, a, least[set]);
        for (int i = 0; i < 4; i++)
            chunk[i] = expr_select(nest, above, math_num(nest, x, chunks[set][i]), chunk[i]);
        scale = expr_select(nest, above, math_num(nest, x, scales[set]), scale);
    }
    x = math_mul(nest, x, scale);

    expr_id s = drop_turns(nest, math_mul(nest, x, chunk[0]));
    expr_id q0 = quarters_of(nest, s);
    s = math_sub(nest, s, q0);
    s = math_add(nest, s, drop_turns(nest, math_mul(nest, x, chunk[1])));
    expr_id q1 = quarters_of(nest, s);
    s = math_sub(nest, s, q1);
    s = math_add(nest, s, math_mul(nest, x, chunk[2])); /* below 1/16 */
    s = expr_fma(nest, x, chunk[3], s);

    struct angle angle;
    expr_id z = math_mul(nest, s, s);
    angle.sin = math_mul(nest, s, MATH_POLY(nest, z, sin_turn));
    angle.cos = expr_fma(nest, z, MATH_POLY(nest, z, cos_turn), math_num(nest, z, 1));
    angle.quarters = math_bits(nest, math_addk(nest, math_add(nest, q0, q1), QUARTER_MAGIC));
    return angle;
}

/* The sine and cosine of the rest r, |r| ≤ π/4. */
static struct angle angle_f64(struct nest *nest, expr_id r, expr_id quarters)
{
    struct angle angle = {.quarters = quarters};
    expr_id z = math_mul(nest, r, r);
    expr_id cube = math_mul(nest, r, z);
    angle.sin = expr_fma(nest, cube, MATH_POLY(nest, z, sin_s64), r);
    expr_id c =
        math_fmak(nest, z, -0.5, math_mul(nest, math_mul(nest, z, z), MATH_POLY(nest, z, cos_c64)));
    angle.cos = math_addk(nest, c, 1);
    return angle;
}

static struct angle reduce_f64(struct nest *nest, expr_id x)
{
    static const double half_pi[4] = {0x1.921fb4p0, 0x1.4442dp-24, 0x1.846988p-48,
                                      0x1.8cc51701b839ap-72};
    expr_id magic = math_num(nest, x, math_layout(nest, x)->integer_magic);
    expr_id rounded = math_fmak(nest, x, 0x1.45f306dc9c883p-1, magic);
    expr_id n = math_sub(nest, rounded, magic);
    expr_id r = x;
    for (int i = 0; i < 4; i++)
        r = math_fmak(nest, n, -half_pi[i], r);
    return angle_f64(nest, r, math_bits(nest, rounded));
}

/* A function of x, given its formula of an angle. */
static expr_id of_angle(struct nest *nest, expr_id x,
                        expr_id (*formula)(struct nest *nest, struct angle a))
{
    if (!math_is_f64(nest, x))
        return expr_cast(nest, formula(nest, reduce_f32(nest, x)), math_dtype(nest, x));
    expr_id usual = formula(nest, reduce_f64(nest, x));
    struct math_huge_angle h = math_huge_angle(nest, expr_param(nest, DTYPE_F64));
    expr_id other = formula(nest, angle_f64(nest, h.rest, h.quarters));
    expr_id huge = math_greater(nest, math_abs(nest, x), 0x1p29);
    return expr_select(nest, huge, expr_apply(nest, x, other), usual);
}

/* v, negated if `bit` is set in quarters. */
static expr_id negate_if(struct nest *nest, expr_id v, expr_id quarters, int bit)
{
    expr_id sign = math_bitop(nest, EXPR_AND, quarters, (int64_t)1 << bit);
    sign = math_bitop(nest, EXPR_SHL, sign, 63 - bit);
    return math_from_bits(nest, expr_binary(nest, EXPR_XOR, math_bits(nest, v), sign));
}

static expr_id is_odd(struct nest *nest, expr_id quarters)
{
    expr_id low = math_bitop(nest, EXPR_AND, quarters, 1);
    return expr_binary(nest, EXPR_NE, low, math_int(nest, low, 0));
}

static expr_id sine(struct nest *nest, struct angle a)
{
    expr_id v = expr_select(nest, is_odd(nest, a.quarters), a.cos, a.sin);
    return negate_if(nest, v, a.quarters, 1);
}

expr_id math_sin(struct nest *nest, expr_id x)
{
    expr_id v = of_angle(nest, x, sine);
    return expr_select(nest, math_equal(nest, x, 0), x, v); /* -0 */
}

static expr_id cosine(struct nest *nest, struct angle a)
{
    expr_id v = expr_select(nest, is_odd(nest, a.quarters), a.sin, a.cos);
    /* Negative in the second and third quarter: where the two bits differ. */
    expr_id next = math_bitop(nest, EXPR_SHL, a.quarters, 1);
    next = expr_binary(nest, EXPR_XOR, next, a.quarters);
    return negate_if(nest, v, next, 1);
}

expr_id math_cos(struct nest *nest, expr_id x)
{
    return of_angle(nest, x, cosine);
}

static expr_id tangent(struct nest *nest, struct angle a)
{
    expr_id odd = is_odd(nest, a.quarters);
    expr_id v =
        math_div(nest, expr_select(nest, odd, a.cos, a.sin), expr_select(nest, odd, a.sin, a.cos));
    return negate_if(nest, v, a.quarters, 0);
}

expr_id math_tan(struct nest *nest, expr_id x)
{
    expr_id v = of_angle(nest, x, tangent);
    return expr_select(nest, math_equal(nest, x, 0), x, v); /* -0 */
}

/* atan z = z + z³ P(z²) on [0, 1], error 2^-28.4, and on [0, tan π/8], error 2^-57. */
static const double atan_p32[] = {
    -0.333332986, 0.199985296,   -0.142641261, 0.109522536,    -0.0840557292,
    0.0580222979, -0.0312655456, 0.0109717697, -0.00180821668,
};
static const double atan_p64[] = {
    -0.33333333333333198,  0.19999999999953086,  -0.14285714280149442,  0.1111111078125824,
    -0.090908976984138815, 0.076920592231219664, -0.066630934088759391, 0.058478159250645499,
    -0.050389901508197187, 0.038056933922863904, -0.017899217622412148,
};

/* atan a = π/2 - atan 1/a past 1. */
static expr_id atan_f32(struct nest *nest, expr_id a)
{
    expr_id z = math_div(nest, math_at_most(nest, a, 1), math_at_least(nest, a, 1));
    expr_id square = math_mul(nest, z, z);
    expr_id cube = math_mul(nest, z, square);
    expr_id p = expr_fma(nest, cube, MATH_POLY(nest, square, atan_p32), z);
    const double half_pi = 0x1.921fb6p0, half_pi_low = -0x1.777a5cf72cecep-25;
    expr_id rest = math_sub(nest, math_num(nest, a, half_pi),
                            math_sub(nest, p, math_num(nest, a, half_pi_low)));
    return expr_select(nest, math_greater(nest, a, 1), rest, p);
}

/* atan a = π/4 + atan (a-1)/(a+1) past tan π/8, π/2 + atan -1/a past tan 3π/8. */
static expr_id atan_f64(struct nest *nest, expr_id a)
{
    const double half_pi = 0x1.921fb54442d18p0, half_pi_low = 0x1.1a62633145c07p-54;
    expr_id one = math_num(nest, a, 1), zero = math_num(nest, a, 0);
    expr_id middle = math_greater(nest, a, 0x1.a827999fcef32p-2);
    expr_id far = math_greater(nest, a, 0x1.3504f333f9de6p1);
    expr_id top = expr_select(nest, middle, math_sub(nest, a, one), a);
    expr_id bottom = expr_select(nest, middle, math_add(nest, a, one), one);
    expr_id base = expr_select(nest, middle, math_num(nest, a, half_pi / 2), zero);
    expr_id base_low = expr_select(nest, middle, math_num(nest, a, half_pi_low / 2), zero);
    top = expr_select(nest, far, math_num(nest, a, -1), top);
    bottom = expr_select(nest, far, a, bottom);
    base = expr_select(nest, far, math_num(nest, a, half_pi), base);
    base_low = expr_select(nest, far, math_num(nest, a, half_pi_low), base_low);
    expr_id t = math_div(nest, top, bottom);
    expr_id square = math_mul(nest, t, t);
    expr_id cube = math_mul(nest, t, square);
    expr_id rest = expr_fma(nest, cube, MATH_POLY(nest, square, atan_p64), base_low);
    return math_add(nest, base, math_add(nest, t, rest));
}

expr_id math_atan(struct nest *nest, expr_id x)
{
    expr_id a = math_abs(nest, x);
    expr_id v = math_is_f64(nest, x) ? atan_f64(nest, a) : atan_f32(nest, a);
    return math_with_sign(nest, v, x);
}
