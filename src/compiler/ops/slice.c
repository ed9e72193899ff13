/* Slices and padding along axes, in Python's and PyTorch's terms. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

/* Python's interpretation of a slice bound for a dim of n: negative bounds count from the end, then
 * the bound is clamped to 0 … n. Where the range of n already guarantees that, no maximum is
 * added. */
static dim_id clamp_bound(struct builder *b, dim_id n, int64_t bound)
{
    struct dim_table *dims = &b->graph->dims;
    int64_t min = 0, max = 0;
    dim_range(dims, n, &min, &max);
    if (bound >= max) {
        return n;
    }
    if (bound >= 0) {
        dim_id at = dim_const(dims, bound);
        return bound <= min ? at : dim_min(dims, at, n);
    }
    if (bound <= -max) {
        return dim_const(dims, 0);
    }
    dim_id at = dim_add(dims, n, dim_const(dims, bound));
    return -bound <= min ? at : dim_max(dims, at, dim_const(dims, 0));
}

bool expand_slice(struct op_call *call)
{
    struct builder *b = call->b;
    struct dim_table *dims = &b->graph->dims;
    value_id x = call->in[0];
    int axis = ops_axis(call, "dim", x);
    int64_t step = 0, min = 0, max = 0;
    if (axis < 0 || !ops_int_in(call, "step", 1, LIMIT_DIM_VALUE, &step)) {
        return false;
    }
    dim_id n = b_dim(b, x, axis);
    dim_id start = clamp_bound(b, n, op_int(call, "start"));
    dim_id end = op_has(call, "end") ? clamp_bound(b, n, op_int(call, "end")) : n;
    dim_id length = dim_sub(dims, end, start);
    if (length == DIM_NONE) {
        return fail(b->err, ERR_LIMIT, "'slice': the dims are too large");
    }
    dim_range(dims, length, &min, &max);
    if (min < 0) {
        length = dim_max(dims, length, dim_const(dims, 0));
    }
    if (max <= 0) {
        start = dim_const(dims, 0); /* an empty slice may start after the end */
    }
    dim_id count = dim_ceildiv(dims, length, dim_const(dims, step));
    return op_return(call, b_slice(b, x, axis, start, count, step));
}

/* `size` elements made from x, to be put before or after it along axis. */
static value_id border(struct builder *b, value_id x, int axis, int64_t size, bool behind,
                       const char *mode)
{
    dim_id n = b_dim(b, x, axis), amount = b_dim_const(b, size), zero = b_dim_const(b, 0);
    dim_id one = b_dim_const(b, 1);
    if (strcmp(mode, "replicate") == 0) {
        dim_id shape[LIMIT_RANK];
        uint32_t rank = ops_rank(b, x);
        memcpy(shape, b_node(b, x)->shape, rank * sizeof shape[0]);
        shape[axis] = amount;
        value_id edge = ops_head(b, x, axis, behind ? b_dim_sub(b, n, one) : zero, one);
        return b_broadcast_to(b, edge, shape, rank);
    }
    if (strcmp(mode, "circular") == 0) {
        return ops_head(b, x, axis, behind ? zero : b_dim_sub(b, n, amount), amount);
    }
    dim_id start = behind ? b_dim_sub(b, b_dim_sub(b, n, one), amount) : one;
    return b_reverse(b, ops_head(b, x, axis, start, amount), axis);
}

/* Negative amounts of padding crop. */
static value_id crop(struct builder *b, value_id x, int axis, int64_t *low, int64_t *high)
{
    int64_t front = *low < 0 ? -*low : 0, back = *high < 0 ? -*high : 0;
    if (front + back > 0) {
        dim_id count = b_dim_sub(b, b_dim(b, x, axis), b_dim_const(b, front + back));
        x = ops_head(b, x, axis, b_dim_const(b, front), count);
    }
    *low += front;
    *high += back;
    return x;
}

static value_id pad_axis(struct op_call *call, value_id x, int axis, int64_t low, int64_t high)
{
    struct builder *b = call->b;
    const char *mode = op_text(call, "mode");
    uint32_t rank = ops_rank(b, x);
    x = crop(b, x, axis, &low, &high);
    if (x == VALUE_NONE || low + high == 0) {
        return x;
    }
    if (strcmp(mode, "constant") == 0) {
        dim_id lows[LIMIT_RANK], highs[LIMIT_RANK];
        for (uint32_t i = 0; i < rank; i++) {
            lows[i] = b_dim_const(b, (int)i == axis ? low : 0);
            highs[i] = b_dim_const(b, (int)i == axis ? high : 0);
        }
        return b_pad(b, x, lows, highs, op_float(call, "value"));
    }
    value_id parts[3];
    uint32_t count = 0;
    if (low > 0) {
        parts[count++] = border(b, x, axis, low, false, mode);
    }
    parts[count++] = x;
    if (high > 0) {
        parts[count++] = border(b, x, axis, high, true, mode);
    }
    return b_concat(b, parts, count, axis);
}

/* pad: low and high of the last dim, then of the one before it, and so on. */
bool expand_pad(struct op_call *call)
{
    const struct op_value *value = op_attr(call, "pad");
    value_id x = call->in[0];
    uint32_t rank = ops_rank(call->b, x);
    uint32_t count = value->kind == OP_INT ? 2 : value->int_count;
    if (count % 2 != 0 || count > 2 * rank) {
        return ops_attr_fail(call, "pad", "%u numbers for %u dims", count, rank);
    }
    int64_t pads[2 * LIMIT_RANK];
    if (!ops_ints_in(call, "pad", count, -LIMIT_DIM_VALUE, LIMIT_DIM_VALUE, pads)) {
        return false;
    }
    for (uint32_t i = 0; i < count / 2 && x != VALUE_NONE; i++) {
        x = pad_axis(call, x, (int)(rank - 1 - i), pads[2 * i], pads[2 * i + 1]);
    }
    return op_return(call, x);
}
