/* Elementwise ops: arithmetic, comparisons, logic, elementary functions, casts. */
#include <math.h>
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

#define POWER_BITS 16 /* bits of an integer exponent */
#define LN_2 0.69314718055994530942

bool onnx_composite(struct onnx_call *c)
{
    return onnx_return(c, onnx_expand(c, c->op->with, c->in, c->in_count, NULL));
}

bool onnx_identity(struct onnx_call *c)
{
    return onnx_return(c, c->in[0]);
}

/* Before opset 7 the second operand is broadcast only if an attribute says so, from a given axis
 * on. */
static bool align(struct onnx_call *c)
{
    int64_t axis = onnx_int(c, "axis", -1);
    uint32_t rank = onnx_rank(c, c->in[0]), own = onnx_rank(c, c->in[1]);
    dim_id shape[LIMIT_RANK];
    if (c->opset >= 7 || onnx_int(c, "broadcast", 0) == 0 || axis < 0 || onnx_failed(c))
        return !onnx_failed(c);
    if ((uint64_t)axis + own > rank)
        return b_fail(c->b, ERR_SHAPE, "axis %lld for rank %u", (long long)axis, rank);
    for (uint32_t i = 0; i < rank - (uint32_t)axis; i++)
        shape[i] = i < own ? b_dim(c->b, c->in[1], i) : b_dim_const(c->b, 1);
    c->in[1] = b_reshape(c->b, c->in[1], shape, rank - (uint32_t)axis);
    return c->in[1] != VALUE_NONE;
}

bool onnx_binary(struct onnx_call *c)
{
    return align(c) && onnx_composite(c);
}

bool onnx_divide(struct onnx_call *c)
{
    return align(c) && onnx_return(c, b_div(c->b, c->in[0], c->in[1]));
}

bool onnx_mod(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], y = c->in[1];
    bool whole = dtype_is_int(onnx_type(c, x));
    if (onnx_int(c, "fmod", 0) == 0) {
        value_id rest = b_binary(b, PRIM_REM, x, y);
        if (whole)
            return onnx_return(c, rest);
        value_id below = b_binary(b, PRIM_LT, y, b_const_like(b, y, 0));
        rest = b_select(b, below, b_neg(b, rest), rest);
        rest = b_add(b, rest, b_const_like(b, rest, 0)); /* -0 becomes 0; |x| has no slope there */
        return onnx_return(c, b_select(b, below, b_neg(b, rest), rest)); /* 0 with the sign of y */
    }
    if (whole)
        return onnx_return(c, b_sub(b, x, b_mul(b, b_div(b, x, y), y)));
    return onnx_return(c, op_fmod(b, x, y));
}

/* By repeated squaring; overflow wraps, as in integer arithmetic. */
static value_id integer_power(struct onnx_call *c, value_id x, value_id y)
{
    struct builder *b = c->b;
    value_id one = b_const_like(b, x, 1), result = one;
    for (int bit = 0; bit < POWER_BITS; bit++) {
        value_id mask = b_const_like(b, y, (double)(1 << bit)), none = b_const_like(b, y, 0);
        value_id set = b_binary(b, PRIM_NE, b_binary(b, PRIM_AND, y, mask), none);
        result = b_mul(b, result, b_select(b, set, x, one));
        x = b_mul(b, x, x);
    }
    return result;
}

/* Computes frequent exponents without pow. */
static value_id known_power(struct onnx_call *c, value_id x, double exponent)
{
    struct builder *b = c->b;
    if (exponent == 1)
        return x;
    if (exponent == 2)
        return b_mul(b, x, x);
    if (exponent == 3)
        return b_mul(b, b_mul(b, x, x), x);
    return exponent == 0.5 ? b_unary(b, PRIM_SQRT, x) : VALUE_NONE;
}

bool onnx_pow(struct onnx_call *c)
{
    struct builder *b = c->b;
    if (!align(c))
        return false;
    value_id x = c->in[0], y = c->in[1];
    enum dtype type = onnx_type(c, x);
    const struct known *known = onnx_known(c->o, y);
    if (dtype_is_int(type) && dtype_is_int(onnx_type(c, y)))
        return onnx_return(c, integer_power(c, x, b_cast(b, y, DTYPE_I64)));
    if (dtype_is_int(type)) {
        value_id power = b_binary(b, PRIM_POW, b_cast(b, x, DTYPE_F64), b_cast(b, y, DTYPE_F64));
        /* An integer power must not be truncated to the next lower integer. */
        power = b_add(b, power, b_scale(b, power, 0x1p-50));
        return onnx_return(c, b_cast(b, power, type));
    }
    if (known->is_known && known->count == 1 && known->reals && known->rank == 0) {
        value_id short_form = known_power(c, x, known->reals[0]);
        if (short_form != VALUE_NONE)
            return onnx_return(c, short_form);
    }
    return onnx_return(c, b_binary(b, PRIM_POW, x, b_cast(b, y, type)));
}

bool onnx_bit_shift(struct onnx_call *c)
{
    const char *direction = onnx_text(c, "direction", "");
    bool left = strcmp(direction, "LEFT") == 0;
    if (!left && strcmp(direction, "RIGHT") != 0)
        return b_fail(c->b, ERR_BLUEPRINT, "direction '%.40s'", direction);
    return onnx_return(c, b_binary(c->b, left ? PRIM_SHL : PRIM_SHR, c->in[0], c->in[1]));
}

bool onnx_is_inf(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    value_id above = b_binary(b, PRIM_EQ, x, b_const_like(b, x, (double)INFINITY));
    value_id below = b_binary(b, PRIM_EQ, x, b_const_like(b, x, (double)-INFINITY));
    bool positive = onnx_int(c, "detect_positive", 1) != 0;
    bool negative = onnx_int(c, "detect_negative", 1) != 0;
    if (positive && negative)
        return onnx_return(c, b_binary(b, PRIM_OR, above, below));
    if (!positive && !negative)
        return onnx_return(c, b_binary(b, PRIM_AND, above, below));
    return onnx_return(c, positive ? above : below);
}

bool onnx_fold_many(struct onnx_call *c)
{
    value_id all = c->in[0];
    for (uint32_t i = 1; i < c->in_count; i++)
        all = onnx_expand(c, c->op->with, (value_id[]){all, c->in[i]}, 2, NULL);
    return onnx_return(c, all);
}

bool onnx_mean_many(struct onnx_call *c)
{
    value_id sum = c->in[0];
    for (uint32_t i = 1; i < c->in_count; i++)
        sum = b_add(c->b, sum, c->in[i]);
    return onnx_return(c, b_div(c->b, sum, b_const_like(c->b, sum, c->in_count)));
}

bool onnx_where(struct onnx_call *c)
{
    return onnx_return(c, b_select(c->b, c->in[0], c->in[1], c->in[2]));
}

bool onnx_clip(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    if (onnx_has(c, "min"))
        x = b_max_const(b, x, onnx_float(c, "min", 0));
    if (onnx_has(c, "max"))
        x = b_min_const(b, x, onnx_float(c, "max", 0));
    if (onnx_given(c, 1))
        x = b_binary(b, PRIM_MAX, x, c->in[1]);
    if (onnx_given(c, 2))
        x = b_binary(b, PRIM_MIN, x, c->in[2]);
    return onnx_return(c, x);
}

static bool convert(struct onnx_call *c, enum dtype dtype, uint8_t small)
{
    c->out_small[0] = small;
    if (small == c->small[0] && small != 0)
        return onnx_return(c, c->in[0]);
    value_id x = onnx_small_decode(c, c->in[0], c->small[0]);
    return onnx_return(c, small ? onnx_small_encode(c, x, small) : b_cast(c->b, x, dtype));
}

bool onnx_bit_cast(struct onnx_call *c)
{
    enum dtype dtype = DTYPE_NONE;
    if (!onnx_dtype((int32_t)onnx_int(c, "to", 0), &dtype, NULL, c->b->err))
        return false;
    return onnx_return(c, b_bitcast(c->b, c->in[0], dtype));
}

bool onnx_cast(struct onnx_call *c)
{
    enum dtype dtype = DTYPE_NONE;
    uint8_t small;
    int32_t to = (int32_t)onnx_int(c, "to", 0);
    if (to == ONNX__TENSOR_PROTO__DATA_TYPE__STRING)
        return onnx_refuse(c, "to strings, and there are no tensors of strings");
    return onnx_dtype(to, &dtype, &small, c->b->err) && convert(c, dtype, small);
}

bool onnx_cast_like(struct onnx_call *c)
{
    return convert(c, onnx_type(c, c->in[1]), c->small[1]);
}

/* Computes in f32 or wider; the result is cast to x's dtype. */
static value_id wide(struct onnx_call *c)
{
    enum dtype type = onnx_type(c, c->in[0]);
    return b_cast(c->b, c->in[0], dtype_bytes(type) < 4 ? DTYPE_F32 : type);
}

static bool narrow(struct onnx_call *c, value_id y)
{
    return onnx_return(c, b_cast(c->b, y, onnx_type(c, c->in[0])));
}

static value_id sqrt_of(struct builder *b, value_id x)
{
    return b_unary(b, PRIM_SQRT, x);
}

static value_id one_minus(struct builder *b, value_id x)
{
    return b_sub(b, b_const_like(b, x, 1), x);
}

bool onnx_asin(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c);
    value_id rest = sqrt_of(b, b_mul(b, one_minus(b, x), b_shift(b, x, 1)));
    return narrow(c, b_unary(b, PRIM_ATAN, b_div(b, x, rest)));
}

bool onnx_acos(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c);
    value_id half = sqrt_of(b, b_div(b, one_minus(b, x), b_shift(b, x, 1)));
    return narrow(c, b_scale(b, b_unary(b, PRIM_ATAN, half), 2));
}

/* Extends y, an odd function of |x|, to x; 0 keeps its sign. */
static bool narrow_odd(struct onnx_call *c, value_id x, value_id y)
{
    struct builder *b = c->b;
    value_id zero = b_const_like(b, x, 0);
    y = b_select(b, b_binary(b, PRIM_LT, x, zero), b_neg(b, y), y);
    return narrow(c, b_select(b, b_binary(b, PRIM_EQ, x, zero), x, y));
}

/* e^a is computed as two factors e^(a/2), which do not overflow before the result does: with m =
 * e^(a/2) - 1 and a = |x|, sinh a = m/2 (m + 2) (1 + e^-a). */
bool onnx_sinh(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c), a = b_unary(b, PRIM_ABS, x);
    value_id m = b_unary(b, PRIM_EXPM1, b_scale(b, a, 0.5));
    value_id inverse = b_div(b, b_const_like(b, x, 1), b_shift(b, m, 1));
    value_id more = b_shift(b, b_mul(b, inverse, inverse), 1);
    value_id half = b_mul(b, b_scale(b, m, 0.5), more);
    return narrow_odd(c, x, b_mul(b, half, b_shift(b, m, 2)));
}

bool onnx_cosh(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c);
    value_id e = b_exp(b, b_scale(b, b_unary(b, PRIM_ABS, x), 0.5));
    value_id inverse = b_div(b, b_const_like(b, x, 1), e);
    value_id up = b_mul(b, b_scale(b, e, 0.5), e);
    return narrow(c, b_add(b, up, b_mul(b, b_scale(b, inverse, 0.5), inverse)));
}

/* near: the result if a² does not overflow; for larger a the result is ln(2a). a ≥ 0. */
static value_id log_beyond(struct onnx_call *c, value_id a, value_id near)
{
    struct builder *b = c->b;
    double border = onnx_type(c, a) == DTYPE_F64 ? 0x1p28 : 0x1p12;
    value_id far = b_shift(b, b_unary(b, PRIM_LOG, a), LN_2);
    return b_select(b, b_binary(b, PRIM_LT, a, b_const_like(b, a, border)), near, far);
}

bool onnx_asinh(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c), a = b_unary(b, PRIM_ABS, x), square = b_mul(b, a, a);
    value_id root = b_shift(b, sqrt_of(b, b_shift(b, square, 1)), 1);
    value_id near = b_unary(b, PRIM_LOG1P, b_add(b, a, b_div(b, square, root)));
    return narrow_odd(c, x, log_beyond(c, a, near));
}

/* sqrt(x - 1) and sqrt(x + 1) separately: below -1 the first is NaN, but (x - 1)(x + 1) would be
 * positive. */
bool onnx_acosh(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c), t = b_shift(b, x, -1);
    value_id root = b_mul(b, sqrt_of(b, t), sqrt_of(b, b_shift(b, t, 2)));
    return narrow(c, log_beyond(c, x, b_unary(b, PRIM_LOG1P, b_add(b, t, root))));
}

bool onnx_atanh(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = wide(c), a = b_unary(b, PRIM_ABS, x);
    value_id log = b_unary(b, PRIM_LOG1P, b_div(b, b_scale(b, a, 2), one_minus(b, a)));
    return narrow_odd(c, x, b_scale(b, log, 0.5));
}

#define MAX_ROWS 4 /* of a determinant and an inverse */

/* x[…, row, column] */
static value_id cell(struct builder *b, value_id x, int64_t row, int64_t column)
{
    dim_id one = b_dim_const(b, 1);
    value_id part = b_slice(b, x, -2, b_dim_const(b, row), one, 1);
    part = b_slice(b, part, -1, b_dim_const(b, column), one, 1);
    return b_squeeze(b, b_squeeze(b, part, -1), -1);
}

/* The determinant of the rows and columns in the masks, as many of each, expanded along the first
 * row; VALUE_NONE, which stands for 1, of none. */
static value_id minor(struct builder *b, value_id x, uint32_t rows, uint32_t columns)
{
    value_id sum = VALUE_NONE;
    bool negative = false;
    int64_t row = 0;
    while (rows != 0 && (rows >> row & 1) == 0)
        row++;
    for (int64_t i = 0; i < MAX_ROWS && rows != 0; i++) {
        if ((columns >> i & 1) == 0)
            continue;
        value_id rest = minor(b, x, rows & ~(1u << row), columns & ~(1u << i));
        value_id part = cell(b, x, row, i);
        part = rest == VALUE_NONE ? part : b_mul(b, part, rest);
        part = negative ? b_neg(b, part) : part;
        sum = sum == VALUE_NONE ? part : b_add(b, sum, part);
        negative = !negative;
    }
    return sum;
}

/* The number of rows of square matrices; 0 after failing. */
static uint32_t square_rows(struct onnx_call *c)
{
    int64_t size = 0;
    dim_id rows = onnx_rank(c, c->in[0]) < 2 ? DIM_NONE : b_dim(c->b, c->in[0], -2);
    if (rows == DIM_NONE || b_dim(c->b, c->in[0], -1) != rows)
        return b_fail(c->b, ERR_SHAPE, "no square matrices"), 0;
    if (!onnx_is_const(&c->o->graph->dims, rows, &size) || size < 1 || size > MAX_ROWS)
        return onnx_refuse(c, "matrices of more than %d rows", MAX_ROWS), 0;
    return (uint32_t)size;
}

bool onnx_det(struct onnx_call *c)
{
    uint32_t size = square_rows(c), all = (1u << size) - 1;
    return size > 0 && onnx_return(c, minor(c->b, c->in[0], all, all));
}

/* The matrix of cofactors, transposed, by the determinant, all in f64: their differences cancel. */
bool onnx_inverse(struct onnx_call *c)
{
    struct builder *b = c->b;
    uint32_t size = square_rows(c), all = (1u << size) - 1;
    value_id x = b_cast(b, c->in[0], DTYPE_F64), cells[MAX_ROWS * MAX_ROWS];
    if (size == 0)
        return false;
    value_id whole = minor(b, x, all, all);
    for (uint32_t i = 0; i < size * size; i++) {
        uint32_t row = i / size, column = i % size;
        value_id of = minor(b, x, all & ~(1u << column), all & ~(1u << row));
        of = of == VALUE_NONE ? b_const_like(b, whole, 1) : of;
        cells[i] = b_div(b, (row + column) % 2 == 1 ? b_neg(b, of) : of, whole);
        cells[i] = b_unsqueeze(b, b_cast(b, cells[i], onnx_type(c, c->in[0])), -1);
    }
    if (onnx_failed(c))
        return false;
    const struct node like = *b_node(b, c->in[0]);
    return onnx_return(c, b_reshape(b, b_concat(b, cells, size * size, -1), like.shape, like.rank));
}
