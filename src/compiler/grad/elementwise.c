/* Rules of prims that work element by element. y is the value, g its cotangent, x its operands. */
#include "compiler/grad/grad_priv.h"

#include <math.h>

#define LN2 0.69314718055994530942
#define TWO_OVER_SQRT_PI 1.12837916709551257390

/* x · factor, where a dtype of few digits would round the factor by more than the result: in f32.
 * The factor comes from f64, by a cast that is folded later: in unrounded numbers, where the graph
 * is judged, it is exact. */
static value_id scale_precisely(struct builder *b, value_id x, double factor)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    enum dtype dtype = (enum dtype)b_node(b, x)->dtype;
    enum dtype wide = dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    value_id number = b_cast(b, b_const(b, DTYPE_F64, factor), wide);
    return b_cast(b, b_mul(b, b_cast(b, x, wide), number), dtype);
}

/* Gives an operand the product of g and a slope. Where a select did not take what was computed, g
 * is 0, and 0 it stays, whatever the slope: so formulas that a select keeps from poles have
 * gradients. Elsewhere 0 times an infinity is NaN, and no time is spent on it. */
static bool give_slope(struct grad_call *c, uint32_t operand, value_id product)
{
    value_id zero = b_const_like(c->b, c->g, 0);
    if (c->grad->guarded[c->y])
        product = b_select(c->b, b_binary(c->b, PRIM_EQ, c->g, zero), zero, product);
    return grad_give(c, operand, product);
}

/* Whether a value is one constant, neither infinite nor NaN: a slope that needs no care. */
static bool is_finite_constant(const struct builder *b, value_id v)
{
    while (b_node(b, v)->prim == PRIM_BROADCAST || b_node(b, v)->prim == PRIM_RESHAPE)
        v = b_node(b, v)->operands[0];
    return b_node(b, v)->prim == PRIM_CONST && isfinite(b_node(b, v)->attrs->value);
}

bool grad_neg(struct grad_call *c)
{
    return grad_give(c, 0, b_neg(c->b, c->g));
}

bool grad_abs(struct grad_call *c)
{
    return give_slope(c, 0, b_mul(c->b, c->g, b_unary(c->b, PRIM_SIGN, c->x[0])));
}

static bool is_zero(const struct builder *b, value_id v)
{
    return b_node(b, v)->prim == PRIM_CONST && b_node(b, v)->attrs->value == 0;
}

/* Whether a value is a sum of squares, perhaps times a constant, as in norms, deviations and
 * pooling. */
static bool is_sum_of_squares(const struct builder *b, value_id v)
{
    for (;;) {
        const struct node *n = b_node(b, v);
        bool scaled = n->prim == PRIM_DIV || n->prim == PRIM_MUL;
        bool sums = n->prim == PRIM_RESHAPE || n->prim == PRIM_REDUCE_SUM ||
                    n->prim == PRIM_WINDOW_SUM || n->prim == PRIM_CAST ||
                    (n->prim == PRIM_PAD && is_zero(b, n->operands[1]));
        if (n->prim == PRIM_MUL && n->operands[0] == n->operands[1])
            return dtype_is_float((enum dtype)n->dtype);
        if (scaled ? !b_node(b, n->operands[1])->constant : !sums)
            return false;
        v = n->operands[0];
    }
}

/* 1/(2y). Where a sum of squares is 0, so are the squares' slopes, and 0 is a subgradient. */
bool grad_sqrt(struct grad_call *c)
{
    value_id slope = b_div(c->b, b_scale(c->b, c->g, 0.5), c->y),
             zero = b_const_like(c->b, c->y, 0);
    if (is_sum_of_squares(c->b, c->x[0]))
        slope = b_select(c->b, b_binary(c->b, PRIM_EQ, c->y, zero), zero, slope);
    return give_slope(c, 0, slope);
}

/* -y³/2 */
bool grad_rsqrt(struct grad_call *c)
{
    value_id square = b_mul(c->b, c->y, c->y);
    return give_slope(c, 0, b_mul(c->b, b_scale(c->b, b_mul(c->b, c->g, c->y), -0.5), square));
}

bool grad_exp(struct grad_call *c)
{
    return give_slope(c, 0, b_mul(c->b, c->g, c->y));
}

bool grad_exp2(struct grad_call *c)
{
    return give_slope(c, 0, b_mul(c->b, c->g, scale_precisely(c->b, c->y, LN2)));
}

bool grad_expm1(struct grad_call *c)
{
    return give_slope(c, 0, b_mul(c->b, c->g, b_shift(c->b, c->y, 1)));
}

bool grad_log(struct grad_call *c)
{
    return give_slope(c, 0, b_div(c->b, c->g, c->x[0]));
}

bool grad_log2(struct grad_call *c)
{
    return give_slope(c, 0, b_div(c->b, c->g, scale_precisely(c->b, c->x[0], LN2)));
}

bool grad_log1p(struct grad_call *c)
{
    return give_slope(c, 0, b_div(c->b, c->g, b_shift(c->b, c->x[0], 1)));
}

bool grad_sin(struct grad_call *c)
{
    return give_slope(c, 0, b_mul(c->b, c->g, b_unary(c->b, PRIM_COS, c->x[0])));
}

bool grad_cos(struct grad_call *c)
{
    value_id sine = b_unary(c->b, PRIM_SIN, c->x[0]);
    return give_slope(c, 0, b_neg(c->b, b_mul(c->b, c->g, sine)));
}

/* 1 + y² */
bool grad_tan(struct grad_call *c)
{
    value_id slope = b_shift(c->b, b_mul(c->b, c->y, c->y), 1);
    return give_slope(c, 0, b_mul(c->b, c->g, slope));
}

bool grad_atan(struct grad_call *c)
{
    value_id square = b_mul(c->b, c->x[0], c->x[0]);
    return give_slope(c, 0, b_div(c->b, c->g, b_shift(c->b, square, 1)));
}

/* 1 - y² */
bool grad_tanh(struct grad_call *c)
{
    value_id slope = b_sub(c->b, b_const_like(c->b, c->y, 1), b_mul(c->b, c->y, c->y));
    return give_slope(c, 0, b_mul(c->b, c->g, slope));
}

/* g · sign · 2/√π · e^(-x²) */
static bool gaussian(struct grad_call *c, double sign)
{
    value_id square = b_mul(c->b, c->x[0], c->x[0]);
    value_id slope =
        scale_precisely(c->b, b_exp(c->b, b_neg(c->b, square)), sign * TWO_OVER_SQRT_PI);
    return give_slope(c, 0, b_mul(c->b, c->g, slope));
}

bool grad_erf(struct grad_call *c)
{
    return gaussian(c, 1);
}

bool grad_erfc(struct grad_call *c)
{
    return gaussian(c, -1);
}

bool grad_plus(struct grad_call *c)
{
    return grad_give(c, 0, c->g) && grad_give(c, 1, c->g);
}

bool grad_sub(struct grad_call *c)
{
    return grad_give(c, 0, c->g) && (!grad_wants(c, 1) || grad_give(c, 1, b_neg(c->b, c->g)));
}

bool grad_mul(struct grad_call *c)
{
    for (uint32_t i = 0; i < 2; i++) {
        value_id slope = c->x[1 - i];
        if (!grad_wants(c, i))
            continue;
        value_id product = b_mul(c->b, c->g, slope);
        bool given =
            is_finite_constant(c->b, slope) ? grad_give(c, i, product) : give_slope(c, i, product);
        if (!given)
            return false;
    }
    return true;
}

/* g/b and -(g/b)·y, unless it is the end of a softmax. */
bool grad_div(struct grad_call *c)
{
    value_id source = grad_softmax_source(c);
    if (source != VALUE_NONE)
        return grad_softmax(c, source);
    value_id share = b_div(c->b, c->g, c->x[1]);
    bool given =
        is_finite_constant(c->b, c->x[1]) ? grad_give(c, 0, share) : give_slope(c, 0, share);
    return given && (!grad_wants(c, 1) || give_slope(c, 1, b_neg(c->b, b_mul(c->b, share, c->y))));
}

/* a - y is a multiple of b: floor(a/b) is their quotient, rounded to a whole number. */
bool grad_rem(struct grad_call *c)
{
    if (!grad_give(c, 0, c->g) || !grad_wants(c, 1))
        return c->g != VALUE_NONE;
    value_id whole = b_div(c->b, b_sub(c->b, c->x[0], c->y), c->x[1]);
    whole = b_unary(c->b, PRIM_ROUND, whole);
    return give_slope(c, 1, b_neg(c->b, b_mul(c->b, c->g, whole)));
}

/* b·a^(b-1), 0 where b is 0. */
static value_id power_of_base(struct grad_call *c)
{
    struct builder *b = c->b;
    value_id zero = b_const_like(b, c->g, 0), exponent = c->x[1];
    value_id less = b_binary(b, PRIM_POW, c->x[0], b_shift(b, exponent, -1));
    value_id slope = b_mul(b, exponent, less);
    return b_select(b, b_binary(b, PRIM_EQ, exponent, zero), zero, b_mul(b, c->g, slope));
}

/* y·ln(a), 0 where a is 0 and b is not negative. */
static value_id power_of_exponent(struct grad_call *c)
{
    struct builder *b = c->b;
    value_id zero = b_const_like(b, c->g, 0);
    value_id flat = b_binary(b, PRIM_AND, b_binary(b, PRIM_EQ, c->x[0], zero),
                             b_binary(b, PRIM_LE, zero, c->x[1]));
    value_id slope = b_mul(b, c->y, b_unary(b, PRIM_LOG, c->x[0]));
    return b_select(b, flat, zero, b_mul(b, c->g, slope));
}

bool grad_pow(struct grad_call *c)
{
    return (!grad_wants(c, 0) || give_slope(c, 0, power_of_base(c))) &&
           (!grad_wants(c, 1) || give_slope(c, 1, power_of_exponent(c)));
}

/* Whether an operand of min or max takes nothing and leaves nothing where both are equal. */
static bool bounds(const struct builder *b, value_id v)
{
    return b_node(b, v)->constant && !graph_is_detached_constant(b->graph, v);
}

/* Each operand gets g where it is the result alone, and half where both are; but beside a constant
 * nothing there: the slope of relu is 0 at 0. There the result is compared with the constant, which
 * says the same of all numbers, NaN included: relu's result is mostly stored for what reads it, so
 * its operand need not be. */
bool grad_min_max(struct grad_call *c)
{
    struct builder *b = c->b;
    bool bounded = bounds(b, c->x[0]) || bounds(b, c->x[1]);
    value_id zero = b_const_like(b, c->g, 0), shared = c->g;
    if (!bounded)
        shared = b_select(b, b_binary(b, PRIM_EQ, c->x[0], c->x[1]), b_scale(b, c->g, 0.5), c->g);
    for (uint32_t i = 0; i < 2; i++) {
        value_id mine = bounded ? c->y : c->x[i], other = c->x[1 - i];
        bool maximum = c->node.prim == PRIM_MAX;
        value_id less = maximum ? mine : other, more = maximum ? other : mine;
        value_id loses = b_binary(b, bounded ? PRIM_LE : PRIM_LT, less, more);
        if (grad_wants(c, i) && !grad_give(c, i, b_select(b, loses, zero, shared)))
            return false;
    }
    return true;
}

bool grad_select(struct grad_call *c)
{
    value_id zero = b_const_like(c->b, c->g, 0);
    return (!grad_wants(c, 1) || grad_give(c, 1, b_select(c->b, c->x[0], c->g, zero))) &&
           (!grad_wants(c, 2) || grad_give(c, 2, b_select(c->b, c->x[0], zero, c->g)));
}

bool grad_cast(struct grad_call *c)
{
    return grad_give(c, 0, b_cast(c->b, c->g, (enum dtype)b_node(c->b, c->x[0])->dtype));
}

bool grad_copy(struct grad_call *c)
{
    return grad_give(c, 0, c->g);
}
