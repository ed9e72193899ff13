/* Elementwise ops, as formulas over primitives. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define PI 3.141592653589793
#define LOG2_10 3.321928094887362

static value_id one_minus(struct builder *b, value_id x)
{
    return b_sub(b, b_const_like(b, x, 1), x);
}

/* 2*atan(over/under); under is 0 only where over > 0. */
static value_id twice_atan(struct builder *b, value_id over, value_id under)
{
    return b_scale(b, b_unary(b, PRIM_ATAN, b_div(b, over, under)), 2);
}

static value_id square_root(struct builder *b, value_id x)
{
    return b_unary(b, PRIM_SQRT, x);
}

/* sqrt(1 - x²) */
static value_id height(struct builder *b, value_id x)
{
    return square_root(b, b_mul(b, one_minus(b, x), b_shift(b, x, 1)));
}

static value_id hyperbolic(struct builder *b, value_id x, bool sine)
{
    if (!sine)
        return b_scale(b, b_add(b, b_exp(b, x), b_exp(b, b_neg(b, x))), 0.5);
    /* Selects, not |x| and a sign, whose gradients are 0 at 0. */
    value_id negative = b_binary(b, PRIM_LT, x, b_const_like(b, x, 0));
    value_id e = b_unary(b, PRIM_EXPM1, b_select(b, negative, b_neg(b, x), x));
    value_id half = b_scale(b, b_add(b, e, b_div(b, e, b_shift(b, e, 1))), 0.5);
    return b_select(b, negative, b_neg(b, half), half);
}

static value_id infinite(struct builder *b, value_id x)
{
    return b_binary(b, PRIM_EQ, b_unary(b, PRIM_ABS, x), b_const_like(b, x, (double)INFINITY));
}

/* False for infinities and NaN. */
static value_id not_infinite(struct builder *b, value_id x)
{
    return b_binary(b, PRIM_LT, b_unary(b, PRIM_ABS, x), b_const_like(b, x, (double)INFINITY));
}

/* The formula that the row names. */
bool aten_formula(struct aten_call *c)
{
    struct builder *b = c->b;
    const char *word = c->op->with;
    value_id x = aten_as_float(c, aten_in(c, "self"));
    if (x == VALUE_NONE)
        return false;
    if (strcmp(word, "log10") == 0)
        return aten_return(c, b_scale(b, b_unary(b, PRIM_LOG2, x), 1 / LOG2_10));
    if (strcmp(word, "asin") == 0)
        return aten_return(c, twice_atan(b, x, b_shift(b, height(b, x), 1)));
    if (strcmp(word, "acos") == 0)
        return aten_return(
            c, twice_atan(b, square_root(b, one_minus(b, x)), square_root(b, b_shift(b, x, 1))));
    if (strcmp(word, "sinh") == 0 || strcmp(word, "cosh") == 0)
        return aten_return(c, hyperbolic(b, x, word[0] == 's'));
    if (strcmp(word, "isinf") == 0)
        return aten_return(c, infinite(b, x));
    if (strcmp(word, "isfinite") == 0)
        return aten_return(c, not_infinite(b, x));
    value_id whole = b_unary(b, PRIM_TRUNC, x); /* the op frac */
    return aten_return(c, b_sub(b, x, whole));
}

/* The angle of the point (x, y): atan(y/x), plus or minus π if x < 0; where |x| < |y| ±π/2 -
 * atan(x/y), whose slopes are right also at x = 0. The zeros' signs are those of IEEE 754; the
 * slopes at the origin are 0. */
bool aten_atan2(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[2];
    if (!aten_promote(c, "self", "other", in))
        return false;
    value_id y = aten_as_float(c, in[0]), x = aten_as_float(c, in[1]);
    value_id zero = b_const_like(b, x, 0), one = b_const_like(b, x, 1);
    value_id wide = b_unary(b, PRIM_ABS, x), high = b_unary(b, PRIM_ABS, y);
    value_id steep = b_binary(b, PRIM_LT, wide, high);
    value_id down = op_is_negative(b, y), left = op_is_negative(b, x);
    value_id ratio = b_div(b, b_select(b, steep, b_neg(b, x), y), b_select(b, steep, y, x));
    value_id far = b_binary(b, PRIM_AND, infinite(b, x), infinite(b, y));
    value_id diagonal = b_select(b, b_binary(b, PRIM_XOR, down, left), b_const_like(b, x, -1), one);
    value_id angle = b_unary(b, PRIM_ATAN, b_select(b, far, diagonal, ratio));
    value_id half = b_select(b, down, b_const_like(b, x, -PI / 2), b_const_like(b, x, PI / 2));
    value_id turn = b_select(b, down, b_const_like(b, x, -PI), b_const_like(b, x, PI));
    value_id turned = b_add(b, angle, b_select(b, steep, half, turn));
    angle = b_select(b, b_binary(b, PRIM_OR, steep, left), turned, angle);
    value_id none = b_select(b, down, b_const_like(b, x, -0.0), zero);
    value_id origin = b_binary(b, PRIM_EQ, b_binary(b, PRIM_MAX, wide, high), zero);
    return aten_return(c, b_select(b, origin, b_select(b, left, turn, none), angle));
}

/* a - trunc(a/b)*b, exactly: the remainder of |a| by |b|, with the sign of a. */
bool aten_fmod(struct aten_call *c)
{
    value_id in[2];
    return aten_promote(c, "self", "other", in) && aten_return(c, op_fmod(c->b, in[0], in[1]));
}

/* self + value*a*b, or self + value*a/b. */
bool aten_add_product(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), in[2];
    double value = aten_float(c, "value", 1);
    if (x == VALUE_NONE || !aten_promote(c, "tensor1", "tensor2", in))
        return false;
    value_id y = c->op->with[0] == '/' ? b_div(b, in[0], in[1]) : b_mul(b, in[0], in[1]);
    y = b_cast(b, value == 1 ? y : b_scale(b, y, value), aten_type(c, x));
    return aten_return(c, b_add(b, x, y));
}

bool aten_lerp(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[2], weight = aten_in(c, "weight");
    if (weight == VALUE_NONE || !aten_promote(c, "self", "end", in))
        return false;
    weight = b_cast(b, weight, aten_type(c, in[0]));
    return aten_return(c, b_add(b, in[0], b_mul(b, weight, b_sub(b, in[1], in[0]))));
}

bool aten_nan_to_num(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    if (x == VALUE_NONE || !dtype_is_float(aten_type(c, x)))
        return aten_return(c, x);
    if (aten_type(c, x) != DTYPE_F32 && aten_type(c, x) != DTYPE_F64)
        return aten_refuse(c, "narrow floats");
    double most = aten_type(c, x) == DTYPE_F32 ? (double)FLT_MAX : DBL_MAX;
    double nan = aten_float(c, "nan", 0), high = aten_float(c, "posinf", most);
    double low = aten_float(c, "neginf", -most);
    value_id y = b_select(b, b_unary(b, PRIM_IS_NAN, x), b_const_like(b, x, nan), x);
    value_id up = b_const_like(b, x, (double)INFINITY),
             down = b_const_like(b, x, -(double)INFINITY);
    y = b_select(b, b_binary(b, PRIM_EQ, x, up), b_const_like(b, x, high), y);
    return aten_return(c, b_select(b, b_binary(b, PRIM_EQ, x, down), b_const_like(b, x, low), y));
}

bool aten_logaddexp(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[2];
    if (!aten_promote(c, "self", "other", in))
        return false;
    value_id most = b_binary(b, PRIM_MAX, in[0], in[1]);
    value_id distance = b_neg(b, b_unary(b, PRIM_ABS, b_sub(b, in[0], in[1])));
    value_id same = b_binary(b, PRIM_EQ, in[0], in[1]); /* also for equal infinities, whose
                                                           difference is NaN */
    distance = b_select(b, same, b_const_like(b, distance, 0), distance);
    return aten_return(c, b_add(b, most, b_unary(b, PRIM_LOG1P, b_exp(b, distance))));
}

bool aten_threshold(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    double edge = aten_float(c, "threshold", 0), value = aten_float(c, "value", 0);
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    value_id low = b_binary(b, PRIM_LE, x, b_const_like(b, x, edge));
    return aten_return(c, b_select(b, low, b_const_like(b, x, value), x));
}
