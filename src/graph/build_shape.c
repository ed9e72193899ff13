/* Building graphs: prims that work along axes. Negative axes count from the end. */
#include "graph/build_priv.h"

#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

const char *build_dim_text(struct builder *b, dim_id dim)
{
    struct strbuf text;
    strbuf_init(&text, b->graph->arena);
    dim_print(&b->graph->dims, dim, &text);
    return text.data;
}

/* axis in 0 … rank-1, or -1 after failing. */
static int axis_of_rank(struct builder *b, uint32_t rank, int64_t axis)
{
    if (axis >= -(int64_t)rank && axis < (int64_t)rank)
        return (int)(axis < 0 ? axis + rank : axis);
    fail(b->err, ERR_SHAPE, "axis %lld, expected %d … %d for rank %u", (long long)axis, -(int)rank,
         (int)rank - 1, rank);
    return -1;
}

int b_axis(struct builder *b, value_id x, int64_t axis)
{
    return x == VALUE_NONE ? -1 : axis_of_rank(b, b_node(b, x)->rank, axis);
}

static bool ascending_axes(struct builder *b, value_id x, const int64_t *axes, uint32_t count,
                           struct attrs *out)
{
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < count; i++) {
        int axis = b_axis(b, x, axes[i]);
        if (axis < 0)
            return false;
        if (chosen >> axis & 1)
            return fail(b->err, ERR_SHAPE, "axis %lld is named twice", (long long)axes[i]);
        chosen |= 1u << axis;
    }
    for (uint8_t axis = 0; axis < LIMIT_RANK; axis++)
        if (chosen >> axis & 1)
            out->axes[out->axis_count++] = axis;
    return true;
}

value_id b_reduce(struct builder *b, enum prim prim, value_id x, const int64_t *axes,
                  uint32_t count, bool keep_dims)
{
    struct attrs attrs = {0};
    if (x == VALUE_NONE || !ascending_axes(b, x, axes, count, &attrs))
        return VALUE_NONE;
    if (count == 0)
        return x;
    value_id reduced = build_add1(b, prim, x, &attrs);
    if (reduced == VALUE_NONE || !keep_dims)
        return reduced;
    const struct node *node = b_node(b, x);
    dim_id shape[LIMIT_RANK];
    memcpy(shape, node->shape, node->rank * sizeof *shape);
    for (uint32_t i = 0; i < attrs.axis_count; i++)
        shape[attrs.axes[i]] = dim_const(&b->graph->dims, 1);
    return b_reshape(b, reduced, shape, node->rank);
}

/* The number of elements over which x is reduced, as a 0-d value. */
static value_id count_elements(struct builder *b, value_id x, const int64_t *axes, uint32_t count,
                               enum dtype dtype)
{
    dim_id elements = b_dim_const(b, 1);
    int64_t known;
    for (uint32_t i = 0; i < count; i++)
        elements = b_dim_mul(b, elements, b_dim(b, x, axes[i]));
    if (elements != DIM_NONE && dim_is_const(&b->graph->dims, elements, &known))
        return b_const(b, dtype, (double)known);
    return b_cast(b, b_size(b, elements), dtype);
}

value_id b_mean(struct builder *b, value_id x, const int64_t *axes, uint32_t count, bool keep_dims)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    enum dtype dtype = (enum dtype)b_node(b, x)->dtype;
    if (!dtype_is_float(dtype))
        return b_fail(b, ERR_SHAPE, "mean: operand 0 is %s, expected a float dtype",
                      dtype_name(dtype));
    /* In a narrow type the sum and the count overflow long before the mean does, so f32 is used. */
    enum dtype wide = dtype_bytes(dtype) < sizeof(float) ? DTYPE_F32 : dtype;
    value_id sum = b_reduce(b, PRIM_REDUCE_SUM, b_cast(b, x, wide), axes, count, keep_dims);
    if (sum == VALUE_NONE || count == 0)
        return sum == VALUE_NONE ? sum : x;
    return b_cast(b, b_div(b, sum, count_elements(b, x, axes, count, wide)), dtype);
}

/* The first element along axes, or 0 where that is huge or not finite. It is a constant for
 * gradients: a mean does not depend on what is subtracted before it is taken, and added again.
 * VALUE_NONE where an axis may be empty, and for narrow types, where it would not help because the
 * mean is rounded anyway. */
static value_id first_element(struct builder *b, value_id x, const int64_t *axes, uint32_t count)
{
    enum dtype dtype = (enum dtype)b_node(b, x)->dtype;
    value_id first = x;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F64)
        return VALUE_NONE;
    for (uint32_t i = 0; i < count; i++) {
        int64_t lo, hi;
        dim_id dim = b_dim(b, x, axes[i]);
        if (dim == DIM_NONE)
            return VALUE_NONE;
        dim_range(&b->graph->dims, dim, &lo, &hi);
        if (lo < 1)
            return VALUE_NONE;
        first = b_slice(b, first, axes[i], b_dim_const(b, 0), b_dim_const(b, 1), 1);
    }
    value_id most = b_const(b, dtype, dtype == DTYPE_F32 ? 0x1p100 : 0x1p1000);
    value_id small = b_binary(b, PRIM_LT, b_unary(b, PRIM_ABS, first), most);
    return b_unary(b, PRIM_DETACH, b_select(b, small, first, b_const(b, dtype, 0)));
}

value_id b_centred(struct builder *b, value_id x, const int64_t *axes, uint32_t count,
                   value_id *out_mean)
{
    *out_mean = VALUE_NONE;
    if (x == VALUE_NONE)
        return x;
    value_id first = first_element(b, x, axes, count);
    *out_mean = first == VALUE_NONE
                    ? b_mean(b, x, axes, count, true)
                    : b_add(b, first, b_mean(b, b_sub(b, x, first), axes, count, true));
    return b_sub(b, x, *out_mean);
}

value_id b_reshape(struct builder *b, value_id x, const dim_id *shape, uint32_t rank)
{
    if (x == VALUE_NONE || !build_rank_fits(b, PRIM_RESHAPE, rank) ||
        !build_dims_known(b, shape, rank))
        return VALUE_NONE;
    const struct node *node = b_node(b, x);
    if (node->rank == rank && (rank == 0 || memcmp(node->shape, shape, rank * sizeof *shape) == 0))
        return x;
    struct attrs attrs = {.rank = (uint8_t)rank};
    if (rank > 0)
        memcpy(attrs.shape, shape, rank * sizeof *shape);
    return build_add1(b, PRIM_RESHAPE, x, &attrs);
}

value_id b_reshape_infer(struct builder *b, value_id x, const dim_id *shape, uint32_t rank,
                         uint32_t infer)
{
    struct dim_table *dims = &b->graph->dims;
    if (x == VALUE_NONE || !build_rank_fits(b, PRIM_RESHAPE, rank))
        return VALUE_NONE;
    if (infer >= rank)
        return b_fail(b, ERR_SHAPE,
                      "reshape: dim %u is to be inferred, expected 0 … rank-1 for rank %u", infer,
                      rank);
    dim_id full[LIMIT_RANK];
    memcpy(full, shape, rank * sizeof *shape);
    full[infer] = dim_const(dims, 1);
    if (!build_dims_known(b, full, rank))
        return VALUE_NONE;
    dim_id others = dim_product(dims, full, rank), total = graph_elements(b->graph, x);
    if (others == DIM_NONE)
        return b_fail(b, ERR_LIMIT, "reshape: the number of elements cannot be represented");
    full[infer] = others == dim_const(dims, 0) ? DIM_NONE : dim_div_exact(dims, total, others);
    if (full[infer] == DIM_NONE) {
        dim_id whole = dim_mul(dims, others, dim_floordiv(dims, total, others));
        if (whole == DIM_NONE)
            dim_needs_not_negative(dims, dim_sub(dims, others, dim_const(dims, 1)));
        else
            dim_needs_equal(dims, total, whole);
        return b_fail(b, ERR_SHAPE, "reshape: %s elements, expected a multiple of %s",
                      build_dim_text(b, total), build_dim_text(b, others));
    }
    return b_reshape(b, x, full, rank);
}

value_id b_squeeze(struct builder *b, value_id x, int64_t axis)
{
    int at = b_axis(b, x, axis);
    if (at < 0)
        return VALUE_NONE;
    const struct node *node = b_node(b, x);
    if (node->shape[at] != dim_const(&b->graph->dims, 1))
        return b_fail(b, ERR_SHAPE, "squeeze: dim %d of operand 0 is %s, expected 1", at,
                      build_dim_text(b, node->shape[at]));
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    for (uint32_t i = 0; i < node->rank; i++)
        if (i != (uint32_t)at)
            shape[rank++] = node->shape[i];
    return b_reshape(b, x, shape, rank);
}

value_id b_unsqueeze(struct builder *b, value_id x, int64_t axis)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *node = b_node(b, x);
    uint32_t rank = node->rank + 1u;
    int at = axis_of_rank(b, rank, axis);
    if (at < 0 || !build_rank_fits(b, PRIM_RESHAPE, rank))
        return VALUE_NONE;
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0, next = 0; i < rank; i++)
        shape[i] = i == (uint32_t)at ? dim_const(&b->graph->dims, 1) : node->shape[next++];
    return b_reshape(b, x, shape, rank);
}

value_id b_flatten(struct builder *b, value_id x, int64_t first, int64_t last)
{
    int from = b_axis(b, x, first), to = from < 0 ? -1 : b_axis(b, x, last);
    if (from < 0 || to < 0)
        return VALUE_NONE;
    if (from > to)
        return b_fail(b, ERR_SHAPE, "flatten: dims %d to %d, expected first ≤ last", from, to);
    const struct node *node = b_node(b, x);
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    for (int i = 0; i < node->rank; i++) {
        if (i == from) {
            shape[rank++] =
                dim_product(&b->graph->dims, node->shape + from, (uint32_t)(to - from + 1));
            i = to;
        } else {
            shape[rank++] = node->shape[i];
        }
    }
    return b_reshape(b, x, shape, rank);
}

value_id b_transpose(struct builder *b, value_id x, const uint8_t *axes)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    struct attrs attrs = {.axis_count = b_node(b, x)->rank};
    if (attrs.axis_count > 0)
        memcpy(attrs.axes, axes, attrs.axis_count);
    return build_add1(b, PRIM_TRANSPOSE, x, &attrs);
}

value_id b_swap(struct builder *b, value_id x, int64_t axis_a, int64_t axis_b)
{
    int from = b_axis(b, x, axis_a), to = from < 0 ? -1 : b_axis(b, x, axis_b);
    if (from < 0 || to < 0)
        return VALUE_NONE;
    uint8_t axes[LIMIT_RANK];
    for (uint8_t i = 0; i < LIMIT_RANK; i++)
        axes[i] = i == from ? (uint8_t)to : i == to ? (uint8_t)from : i;
    return from == to ? x : b_transpose(b, x, axes);
}

value_id b_slice(struct builder *b, value_id x, int64_t axis, dim_id start, dim_id count,
                 int64_t step)
{
    int at = b_axis(b, x, axis);
    if (at < 0 || !build_dims_known(b, (dim_id[]){start, count}, 2))
        return VALUE_NONE;
    const struct node *node = b_node(b, x);
    struct attrs attrs = {.rank = node->rank};
    for (uint32_t i = 0; i < node->rank; i++) {
        bool here = i == (uint32_t)at;
        attrs.start[i] = here ? start : dim_const(&b->graph->dims, 0);
        attrs.shape[i] = here ? count : node->shape[i];
        attrs.step[i] = here ? step : 1;
    }
    return build_add1(b, PRIM_SLICE, x, &attrs);
}

value_id b_pad(struct builder *b, value_id x, const dim_id *low, const dim_id *high, double value)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    uint32_t rank = b_node(b, x)->rank;
    if (!build_dims_known(b, low, rank) || !build_dims_known(b, high, rank))
        return VALUE_NONE;
    struct attrs attrs = {.rank = (uint8_t)rank};
    if (rank > 0) {
        memcpy(attrs.low, low, rank * sizeof *low);
        memcpy(attrs.high, high, rank * sizeof *high);
    }
    return build_add2(b, PRIM_PAD, x, b_const_like(b, x, value), &attrs);
}

value_id b_concat(struct builder *b, const value_id *parts, uint32_t count, int64_t axis)
{
    for (uint32_t i = 0; i < count; i++)
        if (parts[i] == VALUE_NONE)
            return VALUE_NONE;
    int at = count > 0 ? b_axis(b, parts[0], axis) : 0;
    if (at < 0)
        return VALUE_NONE;
    return graph_add(b->graph, PRIM_CONCAT, parts, count, &(struct attrs){.axis = at}, b->err);
}

value_id b_reverse(struct builder *b, value_id x, int64_t axis)
{
    int at = b_axis(b, x, axis);
    if (at < 0)
        return VALUE_NONE;
    return build_add1(b, PRIM_REVERSE, x, &(struct attrs){.axis_count = 1, .axes = {(uint8_t)at}});
}

value_id b_take(struct builder *b, value_id data, value_id index, int64_t axis)
{
    int at = b_axis(b, data, axis);
    return at < 0 ? VALUE_NONE : build_add2(b, PRIM_TAKE, data, index, &(struct attrs){.axis = at});
}

value_id b_gather(struct builder *b, value_id data, value_id index, int64_t axis)
{
    int at = b_axis(b, data, axis);
    return at < 0 ? VALUE_NONE
                  : build_add2(b, PRIM_GATHER, data, index, &(struct attrs){.axis = at});
}

value_id b_iota(struct builder *b, enum dtype dtype, const dim_id *shape, uint32_t rank,
                int64_t axis)
{
    if (!build_rank_fits(b, PRIM_IOTA, rank) || !build_dims_known(b, shape, rank))
        return VALUE_NONE;
    int at = axis_of_rank(b, rank, axis);
    if (at < 0)
        return VALUE_NONE;
    struct attrs attrs = {.dtype = (uint8_t)dtype, .rank = (uint8_t)rank, .axis = at};
    memcpy(attrs.shape, shape, rank * sizeof *shape);
    return graph_add(b->graph, PRIM_IOTA, NULL, 0, &attrs, b->err);
}

value_id b_contract(struct builder *b, value_id x, value_id y, uint32_t batch, uint32_t contract)
{
    if (!build_rank_fits(b, PRIM_CONTRACT, batch) || !build_rank_fits(b, PRIM_CONTRACT, contract))
        return VALUE_NONE;
    struct attrs attrs = {.batch = (uint8_t)batch, .contract = (uint8_t)contract};
    return build_add2(b, PRIM_CONTRACT, x, y, &attrs);
}

value_id b_conv(struct builder *b, value_id x, value_id w, const struct window *windows,
                uint32_t count, int64_t groups)
{
    if (!build_rank_fits(b, PRIM_CONV, count))
        return VALUE_NONE;
    struct attrs attrs = {.window_count = (uint8_t)count, .groups = groups};
    if (count > 0)
        memcpy(attrs.window, windows, count * sizeof *windows);
    return build_add2(b, PRIM_CONV, x, w, &attrs);
}

value_id b_window(struct builder *b, enum prim prim, value_id x, const struct window *windows,
                  uint32_t count)
{
    if (!build_rank_fits(b, prim, count))
        return VALUE_NONE;
    struct attrs attrs = {.window_count = (uint8_t)count};
    if (count > 0)
        memcpy(attrs.window, windows, count * sizeof *windows);
    return build_add1(b, prim, x, &attrs);
}
