/* Rules of prims that move elements by index. What was read from one place by many is added up
 * there, in the order of the indices. */
#include "compiler/grad/grad_priv.h"

/* Indices of reading clamp to the dim. */
static value_id clamped(struct builder *b, value_id index, dim_id size)
{
    index = b_cast(b, index, DTYPE_I64);
    value_id last = b_sub(b, b_size(b, size), b_const(b, DTYPE_I64, 1));
    return b_max_const(b, b_binary(b, PRIM_MIN, index, last), 0);
}

static value_id scatter(struct builder *b, const value_id operands[3], int32_t axis,
                        enum scatter_mode mode)
{
    for (uint32_t i = 0; i < 3; i++)
        if (operands[i] == VALUE_NONE)
            return VALUE_NONE;
    const struct attrs attrs = {.axis = axis, .mode = (uint8_t)mode};
    return graph_add(b->graph, PRIM_SCATTER, operands, 3, &attrs, b->err);
}

value_id grad_scatter_add(struct builder *b, value_id data, value_id index, value_id g,
                          uint32_t axis)
{
    if (g == VALUE_NONE)
        return VALUE_NONE;
    enum dtype dtype = (enum dtype)b_node(b, g)->dtype;
    enum dtype wide = dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    value_id operands[] = {b_cast(b, grad_zeros_like(b, data), wide), index, b_cast(b, g, wide)};
    return b_cast(b, scatter(b, operands, (int32_t)axis, SCATTER_ADD), dtype);
}

/* g has the index's dims in place of the axis: they become one, and the index is repeated over all
 * other dims. */
value_id grad_take_data(struct builder *b, value_id data, value_id index, value_id g, uint32_t axis)
{
    dim_id size = b_dim(b, data, axis), shape[LIMIT_RANK], entries = b_dim_const(b, 1);
    index = clamped(b, index, size);
    if (index == VALUE_NONE || g == VALUE_NONE)
        return VALUE_NONE;
    const struct node *to = b_node(b, data), *at = b_node(b, index);
    uint32_t rank = to->rank;
    for (uint32_t i = 0; i < at->rank; i++)
        entries = b_dim_mul(b, entries, at->shape[i]);
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = d == axis ? entries : to->shape[d];
    g = b_reshape(b, g, shape, rank);
    index = b_reshape(b, index, &entries, 1);
    if (index == VALUE_NONE)
        return VALUE_NONE;
    struct attrs attrs = {.rank = (uint8_t)rank, .axis_count = 1, .axes = {(uint8_t)axis}};
    for (uint32_t d = 0; d < rank; d++)
        attrs.shape[d] = shape[d];
    index = graph_add(b->graph, PRIM_BROADCAST, &index, 1, &attrs, b->err);
    return grad_scatter_add(b, data, index, g, axis);
}

bool grad_take(struct grad_call *c)
{
    return grad_give(c, 0,
                     grad_take_data(c->b, c->x[0], c->x[1], c->g, (uint32_t)c->node.attrs->axis));
}

bool grad_gather(struct grad_call *c)
{
    uint32_t axis = (uint32_t)c->node.attrs->axis;
    value_id index = clamped(c->b, c->x[1], b_dim(c->b, c->x[0], axis));
    return grad_give(c, 0, grad_scatter_add(c->b, c->x[0], index, c->g, axis));
}

/* Of scatter(base, index, updates): values of the result where each update went; 0 where the index
 * is out of range. */
static value_id fetched(struct grad_call *c, value_id from)
{
    struct builder *b = c->b;
    int32_t axis = c->node.attrs->axis;
    dim_id size = b_dim(b, c->x[0], axis);
    value_id index = b_cast(b, c->x[1], DTYPE_I64), zero = b_const(b, DTYPE_I64, 0);
    value_id inside = b_binary(b, PRIM_AND, b_binary(b, PRIM_LE, zero, index),
                               b_binary(b, PRIM_LT, index, b_size(b, size)));
    value_id got = b_gather(b, grad_readable(b, from, (uint32_t)axis), index, axis);
    return b_select(b, inside, got, b_const_like(b, from, 0));
}

/* The number of each update, from 1, in the order in which they are written. */
static value_id numbers(struct builder *b, value_id updates)
{
    const struct node *n = b_node(b, updates);
    dim_id shape[LIMIT_RANK], count = b_dim_const(b, 1);
    uint32_t rank = n->rank;
    for (uint32_t d = 0; d < rank; d++) {
        shape[d] = n->shape[d];
        count = b_dim_mul(b, count, shape[d]);
    }
    value_id flat = b_iota(b, DTYPE_I64, &count, 1, 0);
    return b_reshape(b, b_add(b, flat, b_const(b, DTYPE_I64, 1)), shape, rank);
}

/* The base keeps what no update overwrote; an update counts where it was the last one. */
static bool scatter_set(struct grad_call *c)
{
    struct builder *b = c->b;
    int32_t axis = c->node.attrs->axis;
    value_id zeros = grad_zeros_like(b, c->x[2]);
    if (grad_wants(c, 0) &&
        !grad_give(c, 0, scatter(b, (value_id[]){c->g, c->x[1], zeros}, axis, SCATTER_SET)))
        return false;
    if (!grad_wants(c, 2))
        return true;
    value_id number = numbers(b, c->x[2]);
    const struct node *y = b_node(b, c->y);
    value_id nobody = b_broadcast_to(b, b_const(b, DTYPE_I64, 0), y->shape, y->rank);
    value_id last = scatter(b, (value_id[]){nobody, c->x[1], number}, axis, SCATTER_SET);
    if (last == VALUE_NONE)
        return false;
    value_id mine = b_binary(b, PRIM_EQ, fetched(c, last), number);
    return grad_give(c, 2, b_select(b, mine, fetched(c, c->g), b_const_like(b, c->g, 0)));
}

/* All that are equal to the result share its cotangent. */
static bool scatter_limit(struct grad_call *c)
{
    struct builder *b = c->b;
    enum dtype wide = c->node.dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    value_id one = b_const(b, wide, 1), none = b_const(b, wide, 0);
    value_id zero = b_const_like(b, c->g, 0);
    value_id of_base = b_binary(b, PRIM_EQ, c->x[0], c->y);
    value_id of_updates = b_binary(b, PRIM_EQ, c->x[2], fetched(c, c->y));
    value_id ones[] = {b_select(b, of_base, one, none), c->x[1],
                       b_select(b, of_updates, one, none)};
    value_id count = scatter(b, ones, c->node.attrs->axis, SCATTER_ADD);
    value_id share = b_cast(b, b_div(b, b_cast(b, c->g, wide), count), (enum dtype)c->node.dtype);
    if (share == VALUE_NONE)
        return false;
    return grad_give(c, 0, b_select(b, of_base, share, zero)) &&
           grad_give(c, 2, b_select(b, of_updates, fetched(c, share), zero));
}

bool grad_scatter(struct grad_call *c)
{
    switch ((enum scatter_mode)c->node.attrs->mode) {
    case SCATTER_SET: return scatter_set(c);
    case SCATTER_ADD:
        return grad_give(c, 0, c->g) && (!grad_wants(c, 2) || grad_give(c, 2, fetched(c, c->g)));
    case SCATTER_MAX:
    case SCATTER_MIN: return scatter_limit(c);
    }
    return false;
}
