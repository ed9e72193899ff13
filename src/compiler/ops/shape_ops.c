/* Joining, splitting and rearranging. Indices follow Python: negative ones count from the end, and
 * slices are clamped to the dim. Named dims stay symbolic wherever the arithmetic allows it. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

bool expand_concat(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    return axis >= 0 && op_return(call, b_concat(call->b, call->in, call->in_count, axis));
}

bool expand_cat(struct op_call *call)
{
    return expand_concat(call);
}

/* The axis of a new dim in a result with one dim more than x; -1 after failing. */
static int new_axis(struct op_call *call, value_id x)
{
    int64_t axis = op_int(call, "dim"), rank = ops_rank(call->b, x);
    if (axis < -rank - 1 || axis > rank) {
        ops_attr_fail(call, "dim", "%lld is outside %lld … %lld", (long long)axis,
                      (long long)-rank - 1, (long long)rank);
        return -1;
    }
    return (int)(axis < 0 ? axis + rank + 1 : axis);
}

bool expand_stack(struct op_call *call)
{
    value_id parts[LIMIT_OPERANDS];
    int axis = new_axis(call, call->in[0]);
    if (axis < 0) {
        return false;
    }
    for (uint32_t i = 0; i < call->in_count; i++) {
        if (ops_rank(call->b, call->in[i]) != ops_rank(call->b, call->in[0])) {
            return fail(call->b->err, ERR_SHAPE, "'stack' needs operands of one shape");
        }
        parts[i] = b_unsqueeze(call->b, call->in[i], axis);
    }
    return op_return(call, b_concat(call->b, parts, call->in_count, axis));
}

/* Splits axis into count pieces of the given sizes. */
static bool cut(struct op_call *call, int axis, const dim_id *sizes, uint32_t count)
{
    struct builder *b = call->b;
    dim_id start = b_dim_const(b, 0);
    for (uint32_t i = 0; i < count; i++) {
        call->out[i] = ops_head(b, call->in[0], axis, start, sizes[i]);
        start = b_dim_add(b, start, sizes[i]);
        if (call->out[i] == VALUE_NONE) {
            return false;
        }
    }
    call->out_count = count;
    if (start != b_dim(b, call->in[0], axis)) {
        return fail(b->err, ERR_SHAPE, "'%s': the sizes do not add up to dim %d", call->row->name,
                    axis);
    }
    return true;
}

/* Splits a dim of n into pieces of `size` elements, the last one shorter. */
static bool cut_evenly(struct op_call *call, int axis, int64_t n, int64_t size, const char *name)
{
    dim_id sizes[OP_MAX_OUTPUTS];
    uint32_t count = 0;
    int64_t left = n;
    do {
        if (count == OP_MAX_OUTPUTS) {
            return ops_attr_fail(call, name, "more than %d pieces", OP_MAX_OUTPUTS);
        }
        sizes[count++] = b_dim_const(call->b, left < size ? left : size);
        left -= size;
    } while (left > 0);
    return cut(call, axis, sizes, count);
}

bool expand_split(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    const struct op_value *value = op_attr(call, "split_size");
    int64_t n = 0;
    if (axis < 0) {
        return false;
    }
    if (value->kind == OP_INT) {
        if (value->i < 1) {
            return ops_attr_fail(call, "split_size", "%lld is less than 1", (long long)value->i);
        }
        if (!ops_const_dim(call->b, call->in[0], axis, &n)) {
            return fail(call->b->err, ERR_UNSUPPORTED,
                        "'split' of a dim that is not known needs a list of sizes");
        }
        return cut_evenly(call, axis, n, value->i, "split_size");
    }
    if (value->int_count == 0 || value->int_count > OP_MAX_OUTPUTS) {
        return ops_attr_fail(call, "split_size", "%u pieces", value->int_count);
    }
    dim_id sizes[OP_MAX_OUTPUTS];
    for (uint32_t i = 0; i < value->int_count; i++) {
        if (value->ints[i] < 0 || value->ints[i] > LIMIT_DIM_VALUE) {
            return ops_attr_fail(call, "split_size", "a size of %lld", (long long)value->ints[i]);
        }
        sizes[i] = b_dim_const(call->b, value->ints[i]);
    }
    return cut(call, axis, sizes, value->int_count);
}

bool expand_chunk(struct op_call *call)
{
    struct builder *b = call->b;
    int axis = ops_axis(call, "dim", call->in[0]);
    int64_t chunks = 0, n = 0;
    if (axis < 0 || !ops_int_in(call, "chunks", 1, OP_MAX_OUTPUTS, &chunks)) {
        return false;
    }
    if (ops_const_dim(b, call->in[0], axis, &n)) {
        int64_t size = (n + chunks - 1) / chunks;
        return cut_evenly(call, axis, n, size > 0 ? size : 1, "chunks");
    }
    dim_id whole = b_dim(b, call->in[0], axis), sizes[OP_MAX_OUTPUTS];
    dim_id size = dim_div_exact(&b->graph->dims, whole, b_dim_const(b, chunks));
    if (size == DIM_NONE) {
        return fail(b->err, ERR_UNSUPPORTED, "'chunk' of a dim that is not known to divide evenly");
    }
    for (int64_t i = 0; i < chunks; i++) {
        sizes[i] = size;
    }
    return cut(call, axis, sizes, (uint32_t)chunks);
}

bool expand_unbind(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    int64_t n = 0;
    if (axis < 0) {
        return false;
    }
    if (!ops_const_dim(call->b, call->in[0], axis, &n) || n < 1) {
        return fail(call->b->err, ERR_UNSUPPORTED, "'unbind' needs a constant dim ≥ 1");
    }
    if (!cut_evenly(call, axis, n, 1, "dim")) {
        return false;
    }
    for (uint32_t i = 0; i < call->out_count; i++) {
        call->out[i] = b_squeeze(call->b, call->out[i], axis);
    }
    return call->out[call->out_count - 1] != VALUE_NONE;
}

bool expand_flatten(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    if (ops_rank(b, x) == 0) {
        x = b_unsqueeze(b, x, 0);
    }
    int first = ops_axis(call, "start_dim", x);
    int last = first < 0 ? -1 : ops_axis(call, "end_dim", x);
    if (last < 0) {
        return false;
    }
    if (first > last) {
        return ops_attr_fail(call, "start_dim", "stands behind end_dim");
    }
    return op_return(call, b_flatten(b, x, first, last));
}

/* sizes with at most one -1 (computed) as dims of the result, in place of dims first … first + skip
 * - 1 of x */
static bool reshape(struct op_call *call, const char *name, uint32_t first, uint32_t skip)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    int64_t sizes[LIMIT_RANK];
    dim_id shape[LIMIT_RANK];
    uint32_t count = 0, rank = ops_rank(b, x), to = 0, infer = LIMIT_RANK;
    if (!ops_list(call, name, sizes, &count)) {
        return false;
    }
    if (rank - skip + count > LIMIT_RANK) {
        return ops_attr_fail(call, name, "the result has more than %d dims", LIMIT_RANK);
    }
    for (uint32_t i = 0; i < first; i++) {
        shape[to++] = b_dim(b, x, i);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (sizes[i] < -1 || sizes[i] > LIMIT_DIM_VALUE || (sizes[i] == -1 && infer < LIMIT_RANK)) {
            return ops_attr_fail(call, name, "%s",
                                 sizes[i] == -1 ? "-1 stands twice" : "a size out of range");
        }
        infer = sizes[i] == -1 ? to : infer;
        shape[to++] = b_dim_const(b, sizes[i] == -1 ? 1 : sizes[i]);
    }
    for (uint32_t i = first + skip; i < rank; i++) {
        shape[to++] = b_dim(b, x, i);
    }
    return op_return(call, infer < LIMIT_RANK ? b_reshape_infer(b, x, shape, to, infer)
                                              : b_reshape(b, x, shape, to));
}

bool expand_reshape(struct op_call *call)
{
    return reshape(call, "shape", 0, ops_rank(call->b, call->in[0]));
}

bool expand_unflatten(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    return axis >= 0 && reshape(call, "sizes", (uint32_t)axis, 1);
}

bool expand_permute(struct op_call *call)
{
    int64_t axes[LIMIT_RANK];
    uint8_t order[LIMIT_RANK];
    uint32_t count = 0, rank = ops_rank(call->b, call->in[0]);
    if (!ops_axes(call, "dims", call->in[0], axes, &count)) {
        return false;
    }
    if (count != rank) {
        return ops_attr_fail(call, "dims", "%u axes for %u dims", count, rank);
    }
    for (uint32_t i = 0; i < rank; i++) {
        order[i] = (uint8_t)axes[i];
    }
    return op_return(call, b_transpose(call->b, call->in[0], order));
}

bool expand_transpose(struct op_call *call)
{
    int first = ops_axis(call, "dim0", call->in[0]);
    int second = first < 0 ? -1 : ops_axis(call, "dim1", call->in[0]);
    return second >= 0 && op_return(call, b_swap(call->b, call->in[0], first, second));
}

bool expand_squeeze(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    int64_t axes[LIMIT_RANK], size = 0;
    dim_id shape[LIMIT_RANK];
    uint32_t count = 0, rank = ops_rank(b, x), to = 0, gone = 0;
    if (!ops_axes(call, "dim", x, axes, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (ops_const_dim(b, x, axes[i], &size) && size == 1) {
            gone |= 1u << axes[i];
        }
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (!(gone >> i & 1)) {
            shape[to++] = b_dim(b, x, i);
        }
    }
    return op_return(call, b_reshape(b, x, shape, to));
}

bool expand_unsqueeze(struct op_call *call)
{
    int axis = new_axis(call, call->in[0]);
    return axis >= 0 && op_return(call, b_unsqueeze(call->b, call->in[0], axis));
}

/* A size of -1 keeps the dim. New dims come first. */
bool expand_expand(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    int64_t sizes[LIMIT_RANK];
    dim_id shape[LIMIT_RANK];
    uint32_t count = 0, rank = ops_rank(b, x);
    if (!ops_list(call, "size", sizes, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        bool keep = sizes[i] == -1 && i + rank >= count;
        if (!keep && (sizes[i] < 0 || sizes[i] > LIMIT_DIM_VALUE)) {
            return ops_attr_fail(call, "size", "%lld for dim %u", (long long)sizes[i], i);
        }
        shape[i] = keep ? b_dim(b, x, (int64_t)(i + rank - count)) : b_dim_const(b, sizes[i]);
    }
    return op_return(call, b_broadcast_to(b, x, shape, count));
}

bool expand_repeat(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    int64_t repeats[LIMIT_RANK];
    uint32_t count = 0;
    if (!ops_list(call, "repeats", repeats, &count)) {
        return false;
    }
    if (count < ops_rank(b, x)) {
        return ops_attr_fail(call, "repeats", "fewer numbers than dims");
    }
    while (x != VALUE_NONE && ops_rank(b, x) < count) {
        x = b_unsqueeze(b, x, 0);
    }
    for (uint32_t i = 0; i < count && x != VALUE_NONE; i++) {
        if (repeats[i] < 0 || repeats[i] > LIMIT_DIM_VALUE) {
            return ops_attr_fail(call, "repeats", "%lld", (long long)repeats[i]);
        }
        x = repeats[i] == 1 ? x : ops_repeat(b, x, i, repeats[i], false);
    }
    return op_return(call, x);
}

bool expand_repeat_interleave(struct op_call *call)
{
    int64_t repeats = 0;
    int axis = ops_axis(call, "dim", call->in[0]);
    return axis >= 0 && ops_int_in(call, "repeats", 0, LIMIT_DIM_VALUE, &repeats) &&
           op_return(call, ops_repeat(call->b, call->in[0], axis, repeats, true));
}

bool expand_flip(struct op_call *call)
{
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    value_id x = call->in[0];
    if (!ops_axes(call, "dims", x, axes, &count)) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        x = b_reverse(call->b, x, axes[i]);
    }
    return op_return(call, x);
}

static bool triangle(struct op_call *call, bool lower)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    int64_t diagonal = 0;
    if (!ops_check_rank(call, x, 2, LIMIT_RANK) ||
        !ops_int_in(call, "diagonal", -LIMIT_DIM_VALUE, LIMIT_DIM_VALUE, &diagonal)) {
        return false;
    }
    dim_id shape[2] = {b_dim(b, x, -2), b_dim(b, x, -1)};
    value_id limit = b_shift(b, b_iota(b, DTYPE_I64, shape, 2, 0), (double)diagonal);
    value_id column = b_iota(b, DTYPE_I64, shape, 2, 1);
    value_id inside =
        lower ? b_binary(b, PRIM_LE, column, limit) : b_binary(b, PRIM_LE, limit, column);
    return op_return(call, b_select(b, inside, x, b_const_like(b, x, 0)));
}

bool expand_tril(struct op_call *call)
{
    return triangle(call, true);
}

bool expand_triu(struct op_call *call)
{
    return triangle(call, false);
}

/* x [..., C*r², H, W] → [..., C, H*r, W*r], or back. */
static bool shuffle(struct op_call *call, const char *name, bool up)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    int64_t factor = 0;
    if (!ops_check_rank(call, x, 3, LIMIT_RANK) || !ops_int_in(call, name, 1, 65536, &factor)) {
        return false;
    }
    uint32_t rank = ops_rank(b, x), lead = rank - 3;
    struct dim_table *dims = &b->graph->dims;
    dim_id r = b_dim_const(b, factor), one = b_dim_const(b, 1);
    dim_id c = b_dim(b, x, -3), h = b_dim(b, x, -2), w = b_dim(b, x, -1);
    dim_id batch = one;
    for (uint32_t i = 0; i < lead; i++) {
        batch = b_dim_mul(b, batch, b_dim(b, x, i));
    }
    dim_id result[LIMIT_RANK];
    memcpy(result, b_node(b, x)->shape, rank * sizeof result[0]);
    value_id y = VALUE_NONE;
    if (up) {
        dim_id inner = dim_div_exact(dims, c, b_dim_mul(b, r, r));
        result[lead] = inner;
        result[lead + 1] = b_dim_mul(b, h, r);
        result[lead + 2] = b_dim_mul(b, w, r);
        if (inner != DIM_NONE) {
            y = b_reshape(b, x, (dim_id[]){batch, inner, r, r, h, w}, 6);
            y = b_transpose(b, y, (uint8_t[]){0, 1, 4, 2, 5, 3});
        }
    } else {
        dim_id rows = dim_div_exact(dims, h, r), columns = dim_div_exact(dims, w, r);
        result[lead] = b_dim_mul(b, c, b_dim_mul(b, r, r));
        result[lead + 1] = rows;
        result[lead + 2] = columns;
        if (rows != DIM_NONE && columns != DIM_NONE) {
            y = b_reshape(b, x, (dim_id[]){batch, c, rows, r, columns, r}, 6);
            y = b_transpose(b, y, (uint8_t[]){0, 1, 3, 5, 2, 4});
        }
    }
    if (result[lead] == DIM_NONE || result[lead + 1] == DIM_NONE || result[lead + 2] == DIM_NONE) {
        return fail(b->err, ERR_SHAPE, "'%s': a dim does not divide by the factor",
                    call->row->name);
    }
    return op_return(call, b_reshape(b, y, result, rank));
}

bool expand_pixel_shuffle(struct op_call *call)
{
    return shuffle(call, "upscale_factor", true);
}

bool expand_pixel_unshuffle(struct op_call *call)
{
    return shuffle(call, "downscale_factor", false);
}
