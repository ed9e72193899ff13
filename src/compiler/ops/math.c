/* Prims under PyTorch's names, and reductions with PyTorch's keyword arguments. */
#include "compiler/ops/ops_priv.h"

#include <math.h>
#include <string.h>

#define UNARY(name, prim)                                            \
    bool expand_##name(struct op_call *call)                         \
    {                                                                \
        return op_return(call, b_unary(call->b, prim, call->in[0])); \
    }
#define BINARY(name, prim)                                                         \
    bool expand_##name(struct op_call *call)                                       \
    {                                                                              \
        return op_return(call, b_binary(call->b, prim, call->in[0], call->in[1])); \
    }
#define BINARY_TURNED(name, prim)                                                  \
    bool expand_##name(struct op_call *call)                                       \
    {                                                                              \
        return op_return(call, b_binary(call->b, prim, call->in[1], call->in[0])); \
    }

UNARY(neg, PRIM_NEG)
UNARY(abs, PRIM_ABS)
UNARY(sign, PRIM_SIGN)
UNARY(floor, PRIM_FLOOR)
UNARY(ceil, PRIM_CEIL)
UNARY(round, PRIM_ROUND)
UNARY(trunc, PRIM_TRUNC)
UNARY(sqrt, PRIM_SQRT)
UNARY(rsqrt, PRIM_RSQRT)
UNARY(exp, PRIM_EXP)
UNARY(exp2, PRIM_EXP2)
UNARY(expm1, PRIM_EXPM1)
UNARY(log, PRIM_LOG)
UNARY(log2, PRIM_LOG2)
UNARY(log1p, PRIM_LOG1P)
UNARY(sin, PRIM_SIN)
UNARY(cos, PRIM_COS)
UNARY(tan, PRIM_TAN)
UNARY(atan, PRIM_ATAN)
UNARY(erf, PRIM_ERF)
UNARY(erfc, PRIM_ERFC)
UNARY(isnan, PRIM_IS_NAN)
UNARY(detach, PRIM_DETACH)
UNARY(bitwise_not, PRIM_NOT)
BINARY(add, PRIM_ADD)
BINARY(sub, PRIM_SUB)
BINARY(mul, PRIM_MUL)
BINARY(remainder, PRIM_REM)
BINARY(pow, PRIM_POW)
BINARY(maximum, PRIM_MAX)
BINARY(minimum, PRIM_MIN)
BINARY(bitwise_and, PRIM_AND)
BINARY(bitwise_or, PRIM_OR)
BINARY(bitwise_xor, PRIM_XOR)
BINARY(eq, PRIM_EQ)
BINARY(ne, PRIM_NE)
BINARY(lt, PRIM_LT)
BINARY(le, PRIM_LE)
BINARY_TURNED(gt, PRIM_LT)
BINARY_TURNED(ge, PRIM_LE)

bool expand_identity(struct op_call *call)
{
    return op_return(call, call->in[0]);
}

bool expand_reciprocal(struct op_call *call)
{
    return op_return(call, b_div(call->b, b_const_like(call->b, call->in[0], 1), call->in[0]));
}

bool expand_square(struct op_call *call)
{
    return op_return(call, b_mul(call->b, call->in[0], call->in[0]));
}

value_id op_is_negative(struct builder *b, value_id x)
{
    value_id zero = b_const_like(b, x, 0), inverse = b_div(b, b_const_like(b, x, 1), x);
    return b_binary(b, PRIM_OR, b_binary(b, PRIM_LT, x, zero), b_binary(b, PRIM_LT, inverse, zero));
}

/* |x| by a select: abs has no slope at 0. */
static value_id turned_positive(struct builder *b, value_id x, value_id negative)
{
    return b_select(b, negative, b_neg(b, x), x);
}

value_id op_fmod(struct builder *b, value_id x, value_id y)
{
    bool is_float = dtype_is_float(ops_dtype(b, x));
    value_id down =
        is_float ? op_is_negative(b, x) : b_binary(b, PRIM_LT, x, b_const_like(b, x, 0));
    value_id under = b_binary(b, PRIM_LT, y, b_const_like(b, y, 0));
    value_id size =
        b_binary(b, PRIM_REM, turned_positive(b, x, down), turned_positive(b, y, under));
    return b_select(b, down, b_neg(b, size), size);
}

/* floor(x/y) for floats, as NumPy and PyTorch define it: NaN for an infinite x unless y is 0. The
 * rounded x/y may be a whole number although the exact quotient is less; then the remainder is
 * nearly y, and 1 is subtracted. x/y may also have underflowed. Rounded quotients from `whole` on
 * are always whole numbers, and stay. */
static value_id floor_quotient(struct builder *b, value_id x, value_id y)
{
    double whole = ops_dtype(b, x) == DTYPE_F64 ? 0x1p53 : 0x1p24;
    value_id quotient = b_div(b, x, y), down = b_unary(b, PRIM_FLOOR, quotient);
    value_id rest = b_binary(b, PRIM_REM, x, y), size = b_unary(b, PRIM_ABS, rest);
    value_id missing = b_sub(b, b_unary(b, PRIM_ABS, y), size); /* NaN where both are infinite */
    value_id most = b_unary(b, PRIM_NOT, b_binary(b, PRIM_LT, size, missing));
    value_id up = b_binary(b, PRIM_AND, most, b_binary(b, PRIM_EQ, quotient, down));
    value_id few = b_binary(b, PRIM_LT, b_unary(b, PRIM_ABS, down), b_const_like(b, down, whole));
    down = b_select(b, b_binary(b, PRIM_AND, up, few), b_shift(b, down, -1), down);
    value_id divides = b_binary(b, PRIM_NE, y, b_const_like(b, y, 0));
    value_id undefined = b_binary(b, PRIM_AND, b_unary(b, PRIM_IS_NAN, rest), divides);
    return b_select(b, undefined, rest, down);
}

/* True division of integers is done in f32, as PyTorch does. */
bool expand_div(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0], y = call->in[1];
    bool is_float = dtype_is_float(ops_dtype(b, x));
    if (!op_has(call, "rounding_mode")) {
        x = is_float ? x : b_cast(b, x, DTYPE_F32);
        y = dtype_is_float(ops_dtype(b, y)) ? y : b_cast(b, y, DTYPE_F32);
        return op_return(call, b_div(b, x, y));
    }
    bool down = strcmp(op_text(call, "rounding_mode"), "floor") == 0;
    if (is_float && down) {
        value_id floored = floor_quotient(b, ops_wide(b, x), ops_wide(b, y));
        return op_return(call, b_cast(b, floored, ops_dtype(b, x)));
    }
    if (is_float) {
        return op_return(call, b_unary(b, PRIM_TRUNC, b_div(b, x, y)));
    }
    value_id quotient = b_div(b, x, y);
    if (!down) {
        return op_return(call, quotient);
    }
    /* The quotient was rounded up, towards zero, where the remainders of truncating and of floor
     * division differ.
     */
    value_id truncated = b_sub(b, x, b_mul(b, quotient, y));
    value_id up = b_binary(b, PRIM_NE, truncated, b_binary(b, PRIM_REM, x, y));
    return op_return(call, b_sub(b, quotient, b_cast(b, up, ops_dtype(b, quotient))));
}

static value_id as_bool(struct builder *b, value_id x)
{
    return b_cast(b, x, DTYPE_BOOL);
}

bool expand_logical_and(struct op_call *call)
{
    struct builder *b = call->b;
    return op_return(call, b_binary(b, PRIM_AND, as_bool(b, call->in[0]), as_bool(b, call->in[1])));
}

bool expand_logical_or(struct op_call *call)
{
    struct builder *b = call->b;
    return op_return(call, b_binary(b, PRIM_OR, as_bool(b, call->in[0]), as_bool(b, call->in[1])));
}

bool expand_logical_xor(struct op_call *call)
{
    struct builder *b = call->b;
    return op_return(call, b_binary(b, PRIM_XOR, as_bool(b, call->in[0]), as_bool(b, call->in[1])));
}

bool expand_logical_not(struct op_call *call)
{
    return op_return(call, b_unary(call->b, PRIM_NOT, as_bool(call->b, call->in[0])));
}

bool expand_where(struct op_call *call)
{
    return op_return(call, b_select(call->b, call->in[0], call->in[1], call->in[2]));
}

bool expand_clamp(struct op_call *call)
{
    value_id x = call->in[0];
    if (op_has(call, "min")) {
        x = b_max_const(call->b, x, op_float(call, "min"));
    }
    if (op_has(call, "max")) {
        x = b_min_const(call->b, x, op_float(call, "max"));
    }
    return op_return(call, x);
}

bool expand_to(struct op_call *call)
{
    enum dtype dtype = dtype_from_name(op_text(call, "dtype"));
    if (dtype == DTYPE_NONE) {
        return ops_attr_fail(call, "dtype", "'%s' is not a dtype", op_text(call, "dtype"));
    }
    return op_return(call, b_cast(call->b, call->in[0], dtype));
}

bool expand_masked_fill(struct op_call *call)
{
    struct builder *b = call->b;
    value_id value = b_const_like(b, call->in[0], op_float(call, "value"));
    return op_return(call, b_select(b, call->in[1], value, call->in[0]));
}

/* The dtype in which sums and products are computed: f32 for narrow floats, i64 for integers and
 * bool. */
static value_id accumulator(struct builder *b, value_id x)
{
    enum dtype dtype = ops_dtype(b, x);
    return x == VALUE_NONE || dtype_is_float(dtype) ? ops_wide(b, x) : b_cast(b, x, DTYPE_I64);
}

/* Casts back to x's dtype, except for sums of integers, which stay i64. */
static value_id back(struct builder *b, value_id y, value_id x)
{
    return dtype_is_float(ops_dtype(b, x)) ? b_cast(b, y, ops_dtype(b, x)) : y;
}

static value_id reduce(struct op_call *call, enum prim prim, value_id x)
{
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!ops_axes(call, "dim", x, axes, &count)) {
        return VALUE_NONE;
    }
    return b_reduce(call->b, prim, x, axes, count, op_bool(call, "keepdim"));
}

static bool accumulate(struct op_call *call, enum prim prim)
{
    value_id y = reduce(call, prim, accumulator(call->b, call->in[0]));
    return op_return(call, back(call->b, y, call->in[0]));
}

bool expand_sum(struct op_call *call)
{
    return accumulate(call, PRIM_REDUCE_SUM);
}

bool expand_prod(struct op_call *call)
{
    return accumulate(call, PRIM_REDUCE_PROD);
}

bool expand_amax(struct op_call *call)
{
    return op_return(call, reduce(call, PRIM_REDUCE_MAX, call->in[0]));
}

bool expand_amin(struct op_call *call)
{
    return op_return(call, reduce(call, PRIM_REDUCE_MIN, call->in[0]));
}

bool expand_any(struct op_call *call)
{
    return op_return(call, reduce(call, PRIM_REDUCE_MAX, as_bool(call->b, call->in[0])));
}

bool expand_all(struct op_call *call)
{
    return op_return(call, reduce(call, PRIM_REDUCE_MIN, as_bool(call->b, call->in[0])));
}

bool expand_mean(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!ops_axes(call, "dim", x, axes, &count)) {
        return false;
    }
    return op_return(call,
                     back(b, b_mean(b, x, axes, count, op_bool(call, "keepdim")), call->in[0]));
}

/* Σ(x - mean)² / max(n - correction, 0). */
static value_id variance(struct op_call *call, value_id x)
{
    struct builder *b = call->b;
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!ops_axes(call, "dim", x, axes, &count)) {
        return VALUE_NONE;
    }
    double correction = op_float(call, "correction");
    bool keep = op_bool(call, "keepdim");
    value_id mean, centred = b_centred(b, x, axes, count, &mean);
    value_id square = b_mul(b, centred, centred);
    if (correction == 0) {
        return b_mean(b, square, axes, count, keep);
    }
    dim_id elements = b_dim_const(b, 1);
    for (uint32_t i = 0; i < count; i++) {
        elements = b_dim_mul(b, elements, b_dim(b, x, axes[i]));
    }
    value_id n = b_cast(b, ops_dim_value(b, elements), ops_dtype(b, x));
    n = b_max_const(b, b_shift(b, n, -correction), 0);
    return b_div(b, b_reduce(b, PRIM_REDUCE_SUM, square, axes, count, keep), n);
}

bool expand_var(struct op_call *call)
{
    struct builder *b = call->b;
    return op_return(call, back(b, variance(call, ops_wide(b, call->in[0])), call->in[0]));
}

bool expand_std(struct op_call *call)
{
    struct builder *b = call->b;
    value_id var = variance(call, ops_wide(b, call->in[0]));
    return op_return(call, back(b, b_unary(b, PRIM_SQRT, var), call->in[0]));
}

bool expand_logsumexp(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!ops_axes(call, "dim", x, axes, &count)) {
        return false;
    }
    bool keep = op_bool(call, "keepdim");
    /* The difference to an infinite maximum would be NaN, so 0 is subtracted instead. */
    value_id max = b_reduce(b, PRIM_REDUCE_MAX, x, axes, count, true);
    value_id finite = b_binary(b, PRIM_LT, b_unary(b, PRIM_ABS, max), b_const_like(b, x, INFINITY));
    value_id offset = b_select(b, finite, max, b_const_like(b, x, 0));
    value_id e = b_exp(b, b_sub(b, x, offset));
    value_id sum = b_unary(b, PRIM_LOG, b_reduce(b, PRIM_REDUCE_SUM, e, axes, count, keep));
    if (!keep && count > 0 && offset != VALUE_NONE) {
        offset = b_reduce(b, PRIM_REDUCE_MAX, offset, axes, count, false);
    }
    return op_return(call, back(b, b_add(b, sum, offset), call->in[0]));
}

static bool arg_reduce(struct op_call *call, enum prim prim)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    bool keep = op_bool(call, "keepdim"), flat = !op_has(call, "dim");
    uint32_t rank = ops_rank(b, x);
    if (rank == 0) {
        return op_return(call, b_const(b, DTYPE_I64, 0));
    }
    int axis = flat ? 0 : ops_axis(call, "dim", x);
    if (axis < 0) {
        return false;
    }
    struct attrs attrs = {.axis = axis};
    x = flat ? b_flatten(b, x, 0, -1) : x;
    value_id y = graph_add(b->graph, prim, &x, 1, &attrs, b->err);
    if (keep) {
        for (uint32_t i = 0; i < (flat ? rank : 1); i++) {
            y = b_unsqueeze(b, y, axis);
        }
    }
    return op_return(call, y);
}

bool expand_argmax(struct op_call *call)
{
    return arg_reduce(call, PRIM_ARGMAX);
}

bool expand_argmin(struct op_call *call)
{
    return arg_reduce(call, PRIM_ARGMIN);
}

static bool scan(struct op_call *call, enum prim prim)
{
    struct builder *b = call->b;
    value_id x = accumulator(b, call->in[0]);
    int axis = ops_axis(call, "dim", x);
    if (axis < 0) {
        return false;
    }
    struct attrs attrs = {.axis = axis};
    return op_return(call, back(b, graph_add(b->graph, prim, &x, 1, &attrs, b->err), call->in[0]));
}

bool expand_cumsum(struct op_call *call)
{
    return scan(call, PRIM_CUM_SUM);
}

bool expand_cumprod(struct op_call *call)
{
    return scan(call, PRIM_CUM_PROD);
}

bool expand_argsort(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    bool descending = op_bool(call, "descending");
    return axis >= 0 && op_return(call, ops_argsort(call->b, call->in[0], axis, descending));
}

bool expand_sort(struct op_call *call)
{
    if (!expand_argsort(call)) {
        return false;
    }
    value_id indices = call->out[0];
    call->out[0] = b_gather(call->b, call->in[0], indices, op_int(call, "dim"));
    call->out[1] = indices;
    call->out_count = 2;
    return call->out[0] != VALUE_NONE;
}
