/* Rules of prims that move elements: views, padding, concatenation. */
#include "compiler/grad/grad_priv.h"

#include <string.h>

bool grad_reshape(struct grad_call *c)
{
    const struct node *x = b_node(c->b, c->x[0]);
    return grad_give(c, 0, b_reshape(c->b, c->g, x->shape, x->rank));
}

bool grad_transpose(struct grad_call *c)
{
    uint8_t back[LIMIT_RANK] = {0};
    for (uint8_t d = 0; d < c->node.rank; d++)
        back[c->node.attrs->axes[d]] = d;
    return grad_give(c, 0, b_transpose(c->b, c->g, back));
}

bool grad_reverse(struct grad_call *c)
{
    return grad_give(c, 0,
                     graph_add(c->b->graph, PRIM_REVERSE, &c->g, 1, c->node.attrs, c->b->err));
}

/* The sum over what the operand was repeated along: new dims, and dims of 1 that are no longer 1.
 * Where a dim of unknown size stays as it is, nothing was repeated. */
bool grad_broadcast(struct grad_call *c)
{
    const struct attrs *attrs = c->node.attrs;
    const struct node *x = b_node(c->b, c->x[0]);
    bool kept[LIMIT_RANK] = {false};
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    for (uint32_t i = 0; i < x->rank; i++)
        kept[attrs->axes[i]] = x->shape[i] == c->node.shape[attrs->axes[i]];
    for (uint32_t d = 0; d < c->node.rank; d++)
        if (!kept[d])
            axes[count++] = d;
    value_id sum = count > 0 ? b_reduce(c->b, PRIM_REDUCE_SUM, c->g, axes, count, false) : c->g;
    return grad_give(c, 0, sum == VALUE_NONE ? sum : b_reshape(c->b, sum, x->shape, x->rank));
}

/* With a step, each element becomes one of a row of `step` of which the others are 0; then what is
 * before the start and behind the last row is added, and the zeros that are too many are dropped.
 */
value_id grad_place(struct builder *b, value_id part, const struct grad_place *place)
{
    if (part == VALUE_NONE)
        return VALUE_NONE;
    struct graph *graph = b->graph;
    const struct node *node = b_node(b, part);
    uint32_t rank = node->rank, axis = place->axis;
    dim_id zero = b_dim_const(b, 0), step = b_dim_const(b, place->step);
    dim_id low[LIMIT_RANK], high[LIMIT_RANK], shape[LIMIT_RANK + 1];
    dim_id count = b_dim_mul(b, node->shape[axis], step);
    if (place->step > 1) {
        memcpy(shape, node->shape, rank * sizeof *shape);
        shape[axis] = count;
        part = b_unsqueeze(b, part, axis + 1);
        for (uint32_t d = 0; d <= rank; d++)
            low[d] = high[d] = zero;
        high[axis + 1] = b_dim_const(b, place->step - 1);
        part = b_reshape(b, b_pad(b, part, low, high, 0), shape, rank);
    }
    for (uint32_t d = 0; d < rank; d++)
        low[d] = high[d] = zero;
    low[axis] = place->start;
    dim_id rest = dim_sub(&graph->dims, dim_sub(&graph->dims, place->size, place->start), count);
    high[axis] = b_dim_add(b, rest, b_dim_const(b, place->step - 1));
    if (high[axis] == DIM_NONE)
        return VALUE_NONE;
    if (high[axis] != zero || place->start != zero)
        part = b_pad(b, part, low, high, 0);
    return place->step > 1 ? b_slice(b, part, axis, zero, place->size, 1) : part;
}

bool grad_slice(struct grad_call *c)
{
    const struct attrs *attrs = c->node.attrs;
    value_id part = c->g;
    for (uint32_t d = 0; d < c->node.rank; d++) {
        const struct grad_place place = {d, attrs->start[d], b_node(c->b, c->x[0])->shape[d],
                                         attrs->step[d]};
        part = grad_place(c->b, part, &place);
    }
    return grad_give(c, 0, part);
}

/* The padded value gets the sum of the cotangents around. */
static value_id around(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct node *x = b_node(b, c->x[0]);
    value_id inside = b_broadcast_to(b, b_const(b, DTYPE_BOOL, 0), x->shape, x->rank);
    value_id outside[] = {inside, b_const(b, DTYPE_BOOL, 1)};
    if (inside == VALUE_NONE || outside[1] == VALUE_NONE)
        return VALUE_NONE;
    value_id mask = graph_add(b->graph, PRIM_PAD, outside, 2, c->node.attrs, b->err);
    value_id rest = b_select(b, mask, c->g, b_const_like(b, c->g, 0));
    int64_t axes[LIMIT_RANK];
    for (uint32_t d = 0; d < c->node.rank; d++)
        axes[d] = d;
    return b_reduce(b, PRIM_REDUCE_SUM, rest, axes, c->node.rank, false);
}

bool grad_pad(struct grad_call *c)
{
    const struct attrs *attrs = c->node.attrs;
    value_id part = c->g;
    for (uint32_t d = 0; d < c->node.rank && part != VALUE_NONE; d++)
        part = b_slice(c->b, part, d, attrs->low[d], b_node(c->b, c->x[0])->shape[d], 1);
    return grad_give(c, 0, part) && (!grad_wants(c, 1) || grad_give(c, 1, around(c)));
}

bool grad_concat(struct grad_call *c)
{
    int32_t axis = c->node.attrs->axis;
    dim_id start = b_dim_const(c->b, 0);
    for (uint32_t i = 0; i < c->node.operand_count; i++) {
        dim_id count = b_dim(c->b, c->x[i], axis);
        if (grad_wants(c, i) && !grad_give(c, i, b_slice(c->b, c->g, axis, start, count, 1)))
            return false;
        start = b_dim_add(c->b, start, count);
    }
    return true;
}

value_id grad_readable(struct builder *b, value_id x, uint32_t axis)
{
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    int64_t least, most;
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *n = b_node(b, x);
    dim_range(&b->graph->dims, n->shape[axis], &least, &most);
    if (least > 0)
        return x;
    for (uint32_t d = 0; d < n->rank; d++)
        low[d] = high[d] = b_dim_const(b, 0);
    high[axis] = b_dim_const(b, 1);
    return b_pad(b, x, low, high, 0);
}
