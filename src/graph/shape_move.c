/* Shape rules of prims that move elements: reshape, transpose, broadcast, slice, pad, concat,
 * reverse, take, gather, scatter. */
#include "graph/shape_priv.h"

#include "base/error.h"

static bool push_attr_shape(struct shape_query *q)
{
    for (uint32_t i = 0; i < q->attrs->rank; i++)
        if (!shape_push(q, q->attrs->shape[i]))
            return false;
    return true;
}

bool shape_reshape(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    struct dim_table *dims = &q->graph->dims;
    q->dtype = (enum dtype)x->dtype;
    if (!push_attr_shape(q))
        return false;
    dim_id from = dim_product(dims, x->shape, x->rank), to = dim_product(dims, q->shape, q->rank);
    if (from == DIM_NONE || to == DIM_NONE)
        return fail(q->err, ERR_LIMIT, "reshape: the number of elements cannot be represented");
    return from == to || dim_needs_equal(dims, from, to) ||
           shape_bad(q, "%s elements, expected %s as the shape says", shape_dim_text(q, from),
                     shape_dim_text(q, to));
}

bool shape_transpose(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    uint32_t seen = 0;
    if (q->attrs->axis_count != x->rank)
        return shape_bad(q, "%u axes, expected %u as operand 0 has dims", q->attrs->axis_count,
                         x->rank);
    q->dtype = (enum dtype)x->dtype;
    for (uint32_t i = 0; i < x->rank; i++) {
        uint32_t axis = q->attrs->axes[i];
        if (axis >= x->rank || (seen >> axis & 1))
            return shape_bad(q, "axes[%u] is %u, expected a permutation of %u axes", i, axis,
                             x->rank);
        seen |= 1u << axis;
        if (!shape_push(q, x->shape[axis]))
            return false;
    }
    return true;
}

bool shape_broadcast(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    if (q->attrs->axis_count != x->rank)
        return shape_bad(q, "%u axes, expected %u as operand 0 has dims", q->attrs->axis_count,
                         x->rank);
    if (!shape_expect_axes(q, q->attrs->rank))
        return false;
    q->dtype = (enum dtype)x->dtype;
    if (!push_attr_shape(q))
        return false;
    for (uint32_t i = 0; i < x->rank; i++) {
        int64_t size;
        bool stretches = dim_is_const(&q->graph->dims, x->shape[i], &size) && size == 1;
        if (stretches || shape_expect_dim(q, 0, i, q->shape[q->attrs->axes[i]]))
            continue;
        return dim_needs_broadcast(&q->graph->dims, x->shape[i], q->shape[q->attrs->axes[i]]);
    }
    return true;
}

/* Proves start + (count-1)*step < dim wherever count > 0. Interval arithmetic ignores that two
 * terms share a dim, so equivalent forms may succeed where one fails. Three are tried: the
 * inequality itself, count ≤ ceil((dim - start) / step), and the stronger count ≤ floor((dim -
 * start) / step). */
static bool slice_fits(struct shape_query *q, dim_id dim, dim_id start, dim_id count, int64_t step)
{
    struct dim_table *dims = &q->graph->dims;
    int64_t min, max;
    dim_range(dims, count, &min, &max);
    if (max <= 0)
        return true;
    dim_id one = dim_const(dims, 1), by = dim_const(dims, step);
    dim_id available = dim_sub(dims, dim, start);
    dim_id reach = dim_mul(dims, dim_sub(dims, count, one), by);
    return shape_at_least(q, dim_sub(dims, dim_sub(dims, available, one), reach), 0) ||
           shape_at_least(q, dim_sub(dims, dim_ceildiv(dims, available, by), count), 0) ||
           shape_at_least(q, dim_sub(dims, dim_floordiv(dims, available, by), count), 0) ||
           dim_needs_not_negative(dims, dim_sub(dims, dim_sub(dims, available, one), reach));
}

bool shape_slice(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    const struct attrs *attrs = q->attrs;
    if (!shape_expect_rank(q, 0, attrs->rank))
        return false;
    q->dtype = (enum dtype)x->dtype;
    if (!push_attr_shape(q))
        return false;
    for (uint32_t i = 0; i < x->rank; i++) {
        if (attrs->step[i] < 1 || attrs->step[i] > LIMIT_DIM_VALUE)
            return shape_bad(q, "step[%u] is %lld, expected at least 1", i,
                             (long long)attrs->step[i]);
        if (attrs->start[i] == DIM_NONE)
            return fail(q->err, ERR_LIMIT, "slice: start[%u] cannot be represented", i);
        if (!shape_at_least(q, attrs->start[i], 0))
            return shape_bad(q, "start[%u] is %s, expected at least 0", i,
                             shape_dim_text(q, attrs->start[i]));
        if (!slice_fits(q, x->shape[i], attrs->start[i], q->shape[i], attrs->step[i]))
            return shape_bad(
                q, "%s elements from %s on by steps of %lld do not end inside dim %u, which has %s",
                shape_dim_text(q, q->shape[i]), shape_dim_text(q, attrs->start[i]),
                (long long)attrs->step[i], i, shape_dim_text(q, x->shape[i]));
    }
    return true;
}

bool shape_pad(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    const struct attrs *attrs = q->attrs;
    struct dim_table *dims = &q->graph->dims;
    if (!shape_expect_dtype(q, 1, (enum dtype)x->dtype) || !shape_expect_rank(q, 1, 0) ||
        !shape_expect_rank(q, 0, attrs->rank))
        return false;
    q->dtype = (enum dtype)x->dtype;
    for (uint32_t i = 0; i < x->rank; i++) {
        const dim_id sides[2] = {attrs->low[i], attrs->high[i]};
        for (uint32_t side = 0; side < 2; side++)
            if (sides[side] != DIM_NONE && !shape_at_least(q, sides[side], 0))
                return shape_bad(q, "%s[%u] is %s, expected at least 0", side == 0 ? "low" : "high",
                                 i, shape_dim_text(q, sides[side]));
        if (!shape_push(q, dim_add(dims, dim_add(dims, x->shape[i], sides[0]), sides[1])))
            return false;
    }
    return true;
}

bool shape_concat(struct shape_query *q)
{
    const struct node *first = shape_operand(q, 0);
    if (!shape_expect_axis(q, first->rank) || !shape_like(q, first))
        return false;
    uint32_t axis = (uint32_t)q->attrs->axis;
    for (uint32_t i = 1; i < q->operand_count; i++) {
        const struct node *part = shape_operand(q, i);
        if (!shape_expect_dtype(q, i, q->dtype) || !shape_expect_rank(q, i, first->rank))
            return false;
        for (uint32_t d = 0; d < first->rank; d++)
            if (d != axis && !shape_expect_dim(q, i, d, first->shape[d]))
                return false;
        q->shape[axis] = dim_add(&q->graph->dims, q->shape[axis], part->shape[axis]);
        if (q->shape[axis] == DIM_NONE)
            return fail(q->err, ERR_LIMIT, "concat: dim %u of the result cannot be represented",
                        axis);
    }
    return true;
}

bool shape_reverse(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    if (q->attrs->axis_count == 0)
        return shape_bad(q, "no axes, expected at least one");
    return shape_expect_axes(q, x->rank) && shape_like(q, x);
}

/* Any integer dtype but u64, whose largest values cannot be indices. */
static bool expect_index(struct shape_query *q)
{
    return shape_expect_kind(q, 1, KIND_INT) &&
           (shape_operand(q, 1)->dtype != DTYPE_U64 ||
            shape_bad(q, "operand 1 is u64, expected another integer dtype"));
}

/* Indices are clamped to the dim, so the dim must not be empty. */
static bool expect_indexable(struct shape_query *q)
{
    const struct node *data = shape_operand(q, 0);
    if (!expect_index(q) || !shape_expect_axis(q, data->rank))
        return false;
    dim_id dim = data->shape[q->attrs->axis];
    return shape_at_least(q, dim, 1) ||
           shape_bad(q, "dim %d of operand 0 is %s, expected at least 1", q->attrs->axis,
                     shape_dim_text(q, dim));
}

bool shape_take(struct shape_query *q)
{
    const struct node *data = shape_operand(q, 0), *index = shape_operand(q, 1);
    if (!expect_indexable(q))
        return false;
    uint32_t axis = (uint32_t)q->attrs->axis;
    q->dtype = (enum dtype)data->dtype;
    return shape_push_range(q, data, 0, axis) && shape_push_range(q, index, 0, index->rank) &&
           shape_push_range(q, data, axis + 1, data->rank);
}

/* In the other dims, operand 1 must not be larger than operand 0. */
static bool expect_index_inside(struct shape_query *q)
{
    const struct node *data = shape_operand(q, 0), *index = shape_operand(q, 1);
    if (!shape_expect_rank(q, 1, data->rank))
        return false;
    for (uint32_t i = 0; i < data->rank; i++) {
        if (i == (uint32_t)q->attrs->axis || data->shape[i] == index->shape[i])
            continue;
        if (!shape_at_least(q, dim_sub(&q->graph->dims, data->shape[i], index->shape[i]), 0))
            return shape_bad(q, "dim %u of operand 1 is %s, expected at most %s", i,
                             shape_dim_text(q, index->shape[i]), shape_dim_text(q, data->shape[i]));
    }
    return true;
}

bool shape_gather(struct shape_query *q)
{
    const struct node *index = shape_operand(q, 1);
    if (!expect_indexable(q) || !expect_index_inside(q))
        return false;
    q->dtype = (enum dtype)shape_operand(q, 0)->dtype;
    return shape_push_range(q, index, 0, index->rank);
}

bool shape_scatter(struct shape_query *q)
{
    const struct node *base = shape_operand(q, 0);
    unsigned mode = q->attrs->mode;
    if (!scatter_mode_name(mode))
        return shape_bad(q, "mode is %u, expected set, add, max or min", mode);
    if (mode != SCATTER_SET && !shape_expect_kind(q, 0, KIND_NUM))
        return false;
    return expect_index(q) && shape_expect_axis(q, base->rank) && expect_index_inside(q) &&
           shape_expect_dtype(q, 2, (enum dtype)base->dtype) &&
           shape_expect_shape(q, 2, shape_operand(q, 1)) && shape_like(q, base);
}
