/* Reduction of huge f64 arguments of sin, cos and tan modulo π/2, after Payne and Hanek ("Radian
 * reduction for trigonometric functions", 1983).
 *
 * x = m 2^k with m of 53 bits. Bits of 2/π above 2^(1-k), times x, are multiples of 4 quarters,
 * that is whole turns, and are left out. The next 192 bits, as an integer times m modulo 2^192, are
 * x 2/π modulo 4: two bits of quarters, then 190 of the fraction. The bits below change it by less
 * than 2^-137. No f64 is nearer to a multiple of π/2 than 2^-62 of a quarter, so at least 75 bits
 * of the fraction behind its leading sign bits are right.
 *
 * All integers are u64, and digits of the product have 32 bits, so no sum or product overflows. */
#include "compiler/lower/math_priv.h"

#define LEAST_EXPONENT 1052 /* the biased exponent of 2^29 */
#define WORDS 19
#define DIGITS 6
#define DIGIT_MASK 0xffffffff

/* 25 zeros, which are in the window of the least x, then the bits of 2/π. */
static const uint64_t two_over_pi[WORDS] = {
    0x000000517cc1b727, 0x220a94fe13abe8fa, 0x9a6ee06db14acc9e, 0x21c820ff28b1d5ef,
    0x5de2b0db92371d21, 0x26e9700324977504, 0xe8c90e7f0ef58e58, 0x94d39f74411afa97,
    0x5da24274ce38135a, 0x2fbf209cc8eb1cc1, 0xa99cfa4e422fc5de, 0xfc941d8ffc4bffef,
    0x02cc07f79788c5ad, 0x05368fb69b3f6793, 0xe584dba7a31fb34f, 0x2ff516ba93dd63f5,
    0xf2f8bd9e839cfbc5, 0x29497535fdafd88f, 0xc6ae842b0198237e,
};

static expr_id word(struct nest *nest, uint64_t value)
{
    return expr_int(nest, DTYPE_U64, (int64_t)value);
}

static expr_id left(struct nest *nest, expr_id v, int64_t bits)
{
    return math_bitop(nest, EXPR_SHL, v, bits);
}

static expr_id right(struct nest *nest, expr_id v, int64_t bits)
{
    return math_bitop(nest, EXPR_LSHR, v, bits);
}

static expr_id low_digit(struct nest *nest, expr_id v)
{
    return math_bitop(nest, EXPR_AND, v, DIGIT_MASK);
}

static expr_id either(struct nest *nest, expr_id a, expr_id b)
{
    return expr_binary(nest, EXPR_OR, a, b);
}

/* 192 bits of the table from bit `first` on, as digits, the lowest first. */
static void table_window(struct nest *nest, expr_id first, expr_id digits[DIGITS])
{
    expr_id words[WORDS], shift = math_bitop(nest, EXPR_AND, first, 63);
    expr_id other_shift = math_bitop(nest, EXPR_XOR, shift, 63);
    for (int i = 0; i < WORDS; i++)
        words[i] = word(nest, two_over_pi[i]);
    /* Moves the words from first / 64 on to the front; four of them are used. */
    for (int step = 8; step > 0; step /= 2) {
        expr_id bit = math_bitop(nest, EXPR_AND, first, 64 * step);
        expr_id set = expr_binary(nest, EXPR_NE, bit, word(nest, 0));
        for (int i = 0; i < step + 3; i++)
            words[i] = expr_select(nest, set, words[i + step], words[i]);
    }
    for (int i = 0; i < DIGITS / 2; i++) {
        expr_id high = expr_binary(nest, EXPR_SHL, words[i], shift);
        expr_id next = right(nest, words[i + 1], 1);
        expr_id v = either(nest, high, expr_binary(nest, EXPR_LSHR, next, other_shift));
        digits[DIGITS - 1 - 2 * i] = right(nest, v, 32);
        digits[DIGITS - 2 - 2 * i] = low_digit(nest, v);
    }
}

/* Adds digits times factor (less than 2^32) to product, from digit `at` on. */
static void add_multiple(struct nest *nest, const expr_id digits[DIGITS], expr_id factor, int at,
                         expr_id product[DIGITS])
{
    expr_id carry = word(nest, 0);
    for (int i = at; i < DIGITS; i++) {
        expr_id sum = math_mul(nest, digits[i - at], factor);
        sum = math_add(nest, math_add(nest, sum, product[i]), carry);
        product[i] = low_digit(nest, sum);
        carry = right(nest, sum, 32);
    }
}

/* A digit times 2^scale, exactly: the digit is placed in the mantissa of 2^(52 + scale). */
static expr_id digit_value(struct nest *nest, expr_id digit, int scale)
{
    uint64_t unit = (uint64_t)(1023 + 52 + scale) << 52;
    expr_id placed = expr_bitcast(nest, either(nest, digit, word(nest, unit)), DTYPE_F64);
    expr_id base = expr_bitcast(nest, word(nest, unit), DTYPE_F64);
    return math_sub(nest, placed, base);
}

/* (high 2^-64 + low 2^-128) π/2. The leading half of the fraction times that of π/2 is exact. So
 * all roundings but the last are of terms at most 2^-26 of the result, or of a fraction of few bits
 * that is at most a quarter of it. */
static expr_id times_half_pi(struct nest *nest, expr_id high, expr_id low)
{
    const double half_pi = 0x1.921fb54442d18p0, leading = 0x1.921fb54p0,
                 rest = 0x1.10b4611a62633p-30;
    expr_id a = digit_value(nest, right(nest, high, 32), -32);
    expr_id b = digit_value(nest, low_digit(nest, high), -64);
    expr_id c = math_add(nest, digit_value(nest, right(nest, low, 32), -96),
                         digit_value(nest, low_digit(nest, low), -128));
    expr_id sum = math_add(nest, a, b);
    expr_id head = math_truncate(nest, sum, 27);
    expr_id tail = math_add(nest, math_sub(nest, b, math_sub(nest, sum, a)), c);
    tail = math_add(nest, math_sub(nest, sum, head), tail);
    expr_id small = math_fmak(nest, head, rest, math_mulk(nest, tail, half_pi));
    return math_add(nest, math_mulk(nest, head, leading), small);
}

struct math_huge_angle math_huge_angle(struct nest *nest, expr_id x)
{
    const struct float_layout *l = math_layout(nest, x);
    expr_id bits = expr_bitcast(nest, x, DTYPE_U64), minus = right(nest, bits, 63);
    expr_id biased = right(nest, left(nest, bits, 1), 1 + l->mantissa);
    expr_id m = math_bitop(nest, EXPR_AND, bits, l->mantissa_mask);
    m = math_bitop(nest, EXPR_OR, m, l->mantissa_mask + 1);
    expr_id digits[DIGITS], p[DIGITS];
    table_window(nest, math_bitop(nest, EXPR_SUB, biased, LEAST_EXPONENT), digits);
    for (int i = 0; i < DIGITS; i++)
        p[i] = word(nest, 0);
    add_multiple(nest, digits, low_digit(nest, m), 0, p);
    add_multiple(nest, digits, right(nest, m, 32), 1, p);

    /* The nearest quarter: a fraction from 1/2 on is negative. */
    expr_id high = either(nest, left(nest, p[5], 34), left(nest, p[4], 2));
    expr_id low = either(nest, left(nest, p[3], 34), left(nest, p[2], 2));
    high = either(nest, high, right(nest, p[3], 30));
    low = either(nest, low, right(nest, p[1], 30));
    expr_id negative = right(nest, high, 63);
    expr_id quarters = math_add(nest, right(nest, p[5], 30), negative);
    expr_id flip = math_sub(nest, word(nest, 0), negative);
    high = expr_binary(nest, EXPR_XOR, high, flip); /* off by 2^-128: negligible */
    low = expr_binary(nest, EXPR_XOR, low, flip);
    expr_id rest = times_half_pi(nest, high, low);
    rest = math_add(nest, rest, math_sub(nest, x, x)); /* NaN for infinity */

    struct math_huge_angle out;
    expr_id sign = left(nest, expr_binary(nest, EXPR_XOR, negative, minus), 63);
    sign = expr_binary(nest, EXPR_XOR, expr_bitcast(nest, rest, DTYPE_U64), sign);
    out.rest = expr_bitcast(nest, sign, DTYPE_F64);
    /* Negated for negative x: (q ^ -1) + 1. */
    flip = math_sub(nest, word(nest, 0), minus);
    quarters = math_add(nest, expr_binary(nest, EXPR_XOR, quarters, flip), minus);
    out.quarters = expr_bitcast(nest, quarters, DTYPE_I64);
    return out;
}
