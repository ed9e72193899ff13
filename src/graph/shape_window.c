/* Shape rules of convolutions and windows. The output size is the formula at struct window. */
#include "graph/shape_priv.h"

#include "base/error.h"

/* Requires the numbers of a window to be small enough that arithmetic on them does not overflow. */
static bool check_window(struct shape_query *q, uint32_t index)
{
    const struct window *w = &q->attrs->window[index];
    const struct {
        const char *name;
        int64_t value, least;
    } fields[] = {
        {"size", w->size, 1}, {"stride", w->stride, 1},     {"low", w->low, 0},
        {"high", w->high, 0}, {"dilation", w->dilation, 1}, {"base_dilation", w->base_dilation, 1},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].value < fields[i].least)
            return shape_bad(q, "%s of window %u is %lld, expected at least %lld", fields[i].name,
                             index, (long long)fields[i].value, (long long)fields[i].least);
        if (fields[i].value > LIMIT_DIM_VALUE)
            return fail(q->err, ERR_LIMIT, "%s: %s of window %u is %lld, at most %lld",
                        prim_info(q->prim)->name, fields[i].name, index, (long long)fields[i].value,
                        (long long)LIMIT_DIM_VALUE);
    }
    return true;
}

/* Appends the output dim of window `index`, over dim `d` of operand 0. */
static bool push_window(struct shape_query *q, uint32_t index, uint32_t d)
{
    struct dim_table *dims = &q->graph->dims;
    const struct window *w = &q->attrs->window[index];
    dim_id x = shape_operand(q, 0)->shape[d], one = dim_const(dims, 1);
    if (!check_window(q, index))
        return false;
    if (!shape_at_least(q, x, 1))
        return shape_bad(q, "dim %u of operand 0 is %s, expected at least 1", d,
                         shape_dim_text(q, x));
    dim_id spread = dim_mul(dims, dim_const(dims, w->base_dilation), dim_sub(dims, x, one));
    dim_id extent = dim_add(dims, dim_add(dims, spread, one), dim_const(dims, w->low + w->high));
    dim_id reach = dim_mul(dims, dim_const(dims, w->dilation), dim_const(dims, w->size - 1));
    dim_id rest = dim_sub(dims, extent, dim_add(dims, reach, one));
    if (rest == DIM_NONE)
        return shape_push(q, DIM_NONE);
    if (!shape_at_least(q, rest, 0))
        return shape_bad(
            q, "window %u reaches over %s elements, and dim %u has %s with its padding", index,
            shape_dim_text(q, dim_add(dims, reach, one)), d, shape_dim_text(q, extent));
    return shape_push(q, dim_add(dims, dim_floordiv(dims, rest, dim_const(dims, w->stride)), one));
}

bool shape_window(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    uint32_t count = q->attrs->window_count;
    if (!shape_expect_kind(q, 0, KIND_NUM))
        return false;
    if (count == 0 || count > x->rank)
        return shape_bad(q, "%u windows, expected 1 … rank %u", count, x->rank);
    q->dtype = (enum dtype)x->dtype;
    uint32_t first = x->rank - count;
    if (!shape_push_range(q, x, 0, first))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!push_window(q, i, first + i))
            return false;
    return true;
}

/* Checks the channels of x[N, C, …] and w[O, C/groups, …]. */
static bool check_channels(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0), *w = shape_operand(q, 1);
    const struct dim_table *dims = &q->graph->dims;
    int64_t groups = q->attrs->groups, in, out;
    if (groups < 1)
        return shape_bad(q, "groups is %lld, expected at least 1", (long long)groups);
    if (!dim_is_const(dims, x->shape[1], &in))
        return shape_bad(q, "dim 1 of operand 0 is %s, expected a constant",
                         shape_dim_text(q, x->shape[1]));
    if (!dim_is_const(dims, w->shape[0], &out))
        return shape_bad(q, "dim 0 of operand 1 is %s, expected a constant",
                         shape_dim_text(q, w->shape[0]));
    if (in % groups != 0)
        return shape_bad(q, "dim 1 of operand 0 is %lld, expected a multiple of %lld groups",
                         (long long)in, (long long)groups);
    if (out % groups != 0)
        return shape_bad(q, "dim 0 of operand 1 is %lld, expected a multiple of %lld groups",
                         (long long)out, (long long)groups);
    return shape_expect_dim(q, 1, 1, dim_const(&q->graph->dims, in / groups));
}

bool shape_conv(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0), *w = shape_operand(q, 1);
    uint32_t count = q->attrs->window_count;
    if (!shape_expect_kind(q, 0, KIND_NUM) || !shape_expect_dtype(q, 1, (enum dtype)x->dtype))
        return false;
    if (count == 0)
        return shape_bad(q, "no windows, expected one for each spatial dim");
    if (!shape_expect_rank(q, 0, count + 2) || !shape_expect_rank(q, 1, count + 2) ||
        !check_channels(q))
        return false;
    q->dtype = (enum dtype)x->dtype;
    if (!shape_push(q, x->shape[0]) || !shape_push(q, w->shape[0]))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (!check_window(q, i) ||
            !shape_expect_dim(q, 1, 2 + i, dim_const(&q->graph->dims, q->attrs->window[i].size)) ||
            !push_window(q, i, 2 + i))
            return false;
    }
    return true;
}
