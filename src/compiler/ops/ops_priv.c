/* Helpers of the expansions; the contracts are in ops_priv.h. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

bool ops_attr_fail(struct op_call *call, const char *name, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_v(call->b->err, ERR_BLUEPRINT, fmt, args);
    va_end(args);
    return fail_at(call->b->err, "attribute '%s'", name);
}

bool ops_ints_in(struct op_call *call, const char *name, uint32_t count, int64_t min, int64_t max,
                 int64_t *out)
{
    if (!op_ints(call, name, count, out)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (out[i] < min || out[i] > max) {
            return ops_attr_fail(call, name, "%lld is outside %lld … %lld", (long long)out[i],
                                 (long long)min, (long long)max);
        }
    }
    return true;
}

bool ops_int_in(struct op_call *call, const char *name, int64_t min, int64_t max, int64_t *out)
{
    return ops_ints_in(call, name, 1, min, max, out);
}

bool ops_list(struct op_call *call, const char *name, int64_t out[LIMIT_RANK], uint32_t *out_count)
{
    const struct op_value *value = op_attr(call, name);
    uint32_t count = value->kind == OP_INT ? 1 : value->int_count;
    if (count > LIMIT_RANK) {
        return ops_attr_fail(call, name, "%u integers; at most %d dims are supported", count,
                             LIMIT_RANK);
    }
    *out_count = count;
    return op_ints(call, name, count, out);
}

bool ops_axes(struct op_call *call, const char *name, value_id x, int64_t out[LIMIT_RANK],
              uint32_t *out_count)
{
    uint32_t count = 0;
    if (op_has(call, name) && !ops_list(call, name, out, &count)) {
        return false;
    }
    if (count == 0) {
        *out_count = ops_rank(call->b, x);
        for (uint32_t i = 0; i < *out_count; i++) {
            out[i] = i;
        }
        return true;
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        int axis = b_axis(call->b, x, out[i]);
        if (axis < 0) {
            return fail_at(call->b->err, "attribute '%s'", name);
        }
        if (seen >> axis & 1) {
            return ops_attr_fail(call, name, "axis %d stands twice", axis);
        }
        seen |= 1u << axis;
        out[i] = axis;
    }
    *out_count = count;
    return true;
}

int ops_axis(struct op_call *call, const char *name, value_id x)
{
    int axis = b_axis(call->b, x, op_int(call, name));
    if (axis < 0) {
        fail_at(call->b->err, "attribute '%s'", name);
    }
    return axis;
}

uint32_t ops_rank(const struct builder *b, value_id x)
{
    return x == VALUE_NONE ? 0 : b_node(b, x)->rank;
}

enum dtype ops_dtype(const struct builder *b, value_id x)
{
    return x == VALUE_NONE ? DTYPE_NONE : (enum dtype)b_node(b, x)->dtype;
}

bool ops_check_rank(struct op_call *call, value_id x, uint32_t min, uint32_t max)
{
    uint32_t rank = ops_rank(call->b, x);
    if (rank < min || rank > max) {
        return fail(call->b->err, ERR_SHAPE, "'%s' expects an operand with %u … %u dims, not %u",
                    call->row->name, min, max, rank);
    }
    return true;
}

bool ops_const_dim(const struct builder *b, value_id x, int64_t axis, int64_t *out)
{
    const struct node *node = b_node(b, x);
    return dim_is_const(&b->graph->dims, node->shape[axis < 0 ? axis + node->rank : axis], out);
}

value_id ops_wide(struct builder *b, value_id x)
{
    enum dtype dtype = ops_dtype(b, x);
    return b_cast(b, x, dtype == DTYPE_F16 || dtype == DTYPE_BF16 ? DTYPE_F32 : dtype);
}

value_id ops_full(struct builder *b, enum dtype dtype, double value, const dim_id *shape,
                  uint32_t rank)
{
    return b_broadcast_to(b, b_const(b, dtype, value), shape, rank);
}

value_id ops_dim_value(struct builder *b, dim_id dim)
{
    return dim == DIM_NONE ? VALUE_NONE : b_size(b, dim);
}

value_id ops_along(struct builder *b, value_id x, uint32_t rank, int axis)
{
    if (x == VALUE_NONE) {
        return x;
    }
    dim_id shape[LIMIT_RANK] = {b_dim(b, x, 0)};
    uint32_t count = rank - (uint32_t)axis;
    for (uint32_t i = 1; i < count; i++) {
        shape[i] = b_dim_const(b, 1);
    }
    return b_reshape(b, x, shape, count);
}

value_id ops_head(struct builder *b, value_id x, int64_t axis, dim_id start, dim_id count)
{
    return b_slice(b, x, axis, start, count, 1);
}

value_id ops_argsort(struct builder *b, value_id x, int axis, bool descending)
{
    struct attrs attrs = {.axis = axis, .reverse = descending};
    return graph_add(b->graph, PRIM_ARGSORT, &x, 1, &attrs, b->err);
}

value_id ops_repeat(struct builder *b, value_id x, int64_t axis, int64_t times, bool inside)
{
    dim_id shape[LIMIT_RANK];
    uint32_t rank = ops_rank(b, x), to = 0;
    if (rank == LIMIT_RANK) {
        return b_fail(b, ERR_LIMIT, "repeating needs a dim more than %d", LIMIT_RANK);
    }
    int64_t added = inside ? axis + 1 : axis;
    value_id y = b_unsqueeze(b, x, added);
    for (uint32_t i = 0; i <= rank; i++) {
        shape[to] = i == added ? b_dim_const(b, times) : b_dim(b, x, i - (i > added ? 1 : 0));
        to++;
    }
    return b_flatten(b, b_broadcast_to(b, y, shape, rank + 1), axis, axis + 1);
}

/* sigmoid v = top / bottom, both from e^-|v|, which may be subnormal but cannot overflow. -|v| is a
 * select, as is the top: at 0 they take the same side, and the gradient is that of the sigmoid.
 * That of an absolute value would be 0 there. */
static value_id sigmoid_top(struct builder *b, value_id v, value_id *out_bottom)
{
    value_id negative = b_binary(b, PRIM_LT, v, b_const_like(b, v, 0));
    value_id e = b_exp(b, b_select(b, negative, v, b_neg(b, v)));
    *out_bottom = b_shift(b, e, 1);
    return b_select(b, negative, e, b_const_like(b, v, 1));
}

value_id ops_sigmoid(struct builder *b, value_id x)
{
    value_id bottom, top = sigmoid_top(b, x, &bottom);
    return b_div(b, top, bottom);
}

value_id ops_gated(struct builder *b, value_id x, value_id v)
{
    value_id bottom, top = sigmoid_top(b, v, &bottom);
    return b_div(b, b_mul(b, x, top), bottom);
}

value_id ops_softmax(struct builder *b, value_id x, int64_t axis)
{
    value_id max = b_reduce(b, PRIM_REDUCE_MAX, x, &axis, 1, true);
    value_id e = b_exp(b, b_sub(b, x, max));
    return b_div(b, e, b_reduce(b, PRIM_REDUCE_SUM, e, &axis, 1, true));
}

value_id ops_log_softmax(struct builder *b, value_id x, int64_t axis)
{
    value_id max = b_reduce(b, PRIM_REDUCE_MAX, x, &axis, 1, true);
    value_id centred = b_sub(b, x, max);
    value_id sum = b_reduce(b, PRIM_REDUCE_SUM, b_exp(b, centred), &axis, 1, true);
    return b_sub(b, centred, b_unary(b, PRIM_LOG, sum));
}

/* max(x, 0) + ln(1 + e^-|x|). At 0 the first term has the gradient 0, so the second one must have
 * that of x < 0, and -|x| is a select. */
value_id ops_softplus(struct builder *b, value_id x)
{
    value_id positive = b_binary(b, PRIM_LT, b_const_like(b, x, 0), x);
    value_id tail = b_unary(b, PRIM_LOG1P, b_exp(b, b_select(b, positive, b_neg(b, x), x)));
    return b_add(b, b_max_const(b, x, 0), tail);
}

value_id ops_linear(struct builder *b, value_id x, value_id w, value_id bias, bool has_bias)
{
    value_id y = b_contract(b, x, w, 0, 1);
    return has_bias ? b_add(b, y, bias) : y;
}

value_id ops_dropout(struct op_call *call, value_id x, double p, value_id seed)
{
    struct builder *b = call->b;
    if (!(p >= 0 && p <= 1)) {
        return b_fail(b, ERR_BLUEPRINT, "'%s': the dropout probability %g is outside 0 … 1",
                      call->row->name, p);
    }
    if (!call->training || p == 0 || x == VALUE_NONE) {
        return x;
    }
    if (seed == VALUE_NONE) {
        return b_fail(b, ERR_BLUEPRINT, "'%s' needs operand 'seed' in training", call->row->name);
    }
    const struct node *node = b_node(b, x);
    struct attrs attrs = {.rank = node->rank};
    enum dtype dtype = (enum dtype)node->dtype;
    memcpy(attrs.shape, node->shape, node->rank * sizeof attrs.shape[0]);
    value_id random = graph_add(b->graph, PRIM_RANDOM, &seed, 1, &attrs, b->err);
    value_id threshold = b_const(b, DTYPE_I64, p * 0x1p32);
    value_id kept = b_scale(b, ops_wide(b, x), p == 1 ? 0 : 1 / (1 - p));
    kept = b_cast(b, kept, dtype);
    return b_select(b, b_binary(b, PRIM_LE, threshold, random), kept, b_const_like(b, x, 0));
}

value_id ops_reduce_loss(struct op_call *call, value_id loss)
{
    const char *reduction = op_text(call, "reduction");
    int64_t axes[LIMIT_RANK];
    uint32_t rank = ops_rank(call->b, loss);
    for (uint32_t i = 0; i < rank; i++) {
        axes[i] = i;
    }
    if (strcmp(reduction, "mean") == 0) {
        return b_mean(call->b, loss, axes, rank, false);
    }
    if (strcmp(reduction, "sum") == 0) {
        return b_reduce(call->b, PRIM_REDUCE_SUM, loss, axes, rank, false);
    }
    return loss;
}
