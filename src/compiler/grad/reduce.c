/* Rules of reductions and running sums, products and maxima. */
#include "compiler/grad/grad_priv.h"

#include "base/error.h"

value_id grad_expand(struct builder *b, value_id x, value_id like, const uint8_t *axes,
                     uint32_t axis_count)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct node *to = b_node(b, like);
    struct attrs attrs = {.rank = to->rank};
    bool reduced[LIMIT_RANK] = {false};
    for (uint32_t i = 0; i < axis_count; i++)
        reduced[axes[i]] = true;
    for (uint8_t d = 0; d < to->rank; d++) {
        attrs.shape[d] = to->shape[d];
        if (!reduced[d])
            attrs.axes[attrs.axis_count++] = d;
    }
    return graph_add(b->graph, PRIM_BROADCAST, &x, 1, &attrs, b->err);
}

static value_id expand(struct grad_call *c, value_id x)
{
    return grad_expand(c->b, x, c->x[0], c->node.attrs->axes, c->node.attrs->axis_count);
}

bool grad_reduce_sum(struct grad_call *c)
{
    return grad_give(c, 0, expand(c, c->g));
}

/* The elements that are equal to the result share g. */
bool grad_reduce_limit(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    value_id equal = b_binary(b, PRIM_EQ, c->x[0], expand(c, c->y));
    value_id one = b_const_like(b, c->g, 1), zero = b_const_like(b, c->g, 0);
    /* Counted in f32 or wider: in f16 more than 2048 equal elements would not be told apart. */
    enum dtype wide = c->node.dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    value_id ones = b_select(b, equal, b_cast(b, one, wide), b_cast(b, zero, wide));
    struct attrs over = {.axis_count = attrs->axis_count};
    for (uint32_t i = 0; i < attrs->axis_count; i++)
        over.axes[i] = attrs->axes[i];
    if (ones == VALUE_NONE)
        return false;
    value_id count = graph_add(b->graph, PRIM_REDUCE_SUM, &ones, 1, &over, b->err);
    value_id share = b_div(b, b_cast(b, c->g, wide), count);
    share = b_cast(b, share, (enum dtype)c->node.dtype);
    return grad_give(c, 0, b_select(b, equal, expand(c, share), zero));
}

static value_id running(struct builder *b, enum prim prim, value_id x, const struct attrs *attrs)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    const struct attrs own = {
        .axis = attrs->axis, .exclusive = attrs->exclusive, .reverse = attrs->reverse};
    return graph_add(b->graph, prim, &x, 1, &own, b->err);
}

/* The product of the others: of those before an element times those behind it, with the reduced
 * axes as one. */
bool grad_reduce_prod(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    const struct node *x = b_node(b, c->x[0]);
    uint8_t order[LIMIT_RANK], back[LIMIT_RANK];
    dim_id moved[LIMIT_RANK], merged[LIMIT_RANK], size = b_dim_const(b, 1);
    uint32_t rank = x->rank, left = 0;
    bool reduced[LIMIT_RANK] = {false};
    for (uint32_t i = 0; i < attrs->axis_count; i++)
        reduced[attrs->axes[i]] = true;
    for (uint8_t d = 0; d < rank; d++)
        if (!reduced[d])
            order[left++] = d;
    for (uint8_t d = 0, at = (uint8_t)left; d < rank; d++)
        if (reduced[d])
            order[at++] = d;
    for (uint8_t d = 0; d < rank; d++) {
        moved[d] = x->shape[order[d]];
        back[order[d]] = d;
        merged[d < left ? d : left] = d < left ? moved[d] : (size = b_dim_mul(b, size, moved[d]));
    }
    if (left == rank)
        return grad_give(c, 0, c->g);
    value_id rows = b_reshape(b, b_transpose(b, c->x[0], order), merged, left + 1);
    struct attrs before = {.axis = (int32_t)left, .exclusive = true}, behind = before;
    behind.reverse = true;
    value_id others = b_mul(b, running(b, PRIM_CUM_PROD, rows, &before),
                            running(b, PRIM_CUM_PROD, rows, &behind));
    others = b_transpose(b, b_reshape(b, others, moved, rank), back);
    return grad_give(c, 0, b_mul(b, expand(c, c->g), others));
}

bool grad_cum_sum(struct grad_call *c)
{
    struct attrs attrs = *c->node.attrs;
    attrs.reverse = !attrs.reverse;
    return grad_give(c, 0, running(c->b, PRIM_CUM_SUM, c->g, &attrs));
}

/* The axis in front, in the order in which the product runs; and back. */
static value_id to_front(struct builder *b, value_id x, uint32_t axis, bool reverse)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    uint8_t order[LIMIT_RANK] = {(uint8_t)axis};
    for (uint8_t d = 0, at = 1; d < b_node(b, x)->rank; d++)
        if (d != axis)
            order[at++] = d;
    x = b_transpose(b, x, order);
    return reverse ? b_reverse(b, x, 0) : x;
}

static value_id from_front(struct builder *b, value_id x, uint32_t axis, bool reverse)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    x = reverse ? b_reverse(b, x, 0) : x;
    uint8_t order[LIMIT_RANK];
    for (uint8_t d = 0, at = 1; d < b_node(b, x)->rank; d++)
        order[d] = d == axis ? 0 : at++;
    return x == VALUE_NONE ? VALUE_NONE : b_transpose(b, x, order);
}

/* r[i] = Σ over results j behind i of g[j] · Π of x between i and j: a recurrence that runs back,
 * r[i] = g[i] + x[i+1]·r[i+1], or g[i+1] + x[i+1]·r[i+1] where the product is exclusive. A trip
 * computes g[i] + carry, and carry = x[i]·that; exclusive: it gives the carry, and carry = g[i] +
 * x[i]·carry. x and g: [T, …] in the order in which the product runs. */
static value_id back_recurrence(struct builder *b, value_id x, value_id g, bool exclusive)
{
    if (x == VALUE_NONE || g == VALUE_NONE)
        return VALUE_NONE;
    dim_id trips = b_dim(b, x, 0);
    uint32_t loop = b_loop_begin(b);
    value_id last = b_sub(b, b_size(b, trips), b_const(b, DTYPE_I64, 1));
    value_id at = b_sub(b, last, b_iter(b, loop));
    value_id x_at = b_take(b, grad_readable(b, x, 0), at, 0);
    value_id g_at = b_take(b, grad_readable(b, g, 0), at, 0);
    if (x_at == VALUE_NONE || g_at == VALUE_NONE)
        return VALUE_NONE;
    const struct node *row_node = b_node(b, x_at);
    value_id zeros = b_broadcast_to(b, b_const_like(b, x, 0), row_node->shape, row_node->rank);
    value_id carry = b_state(b, loop, 0, zeros);
    value_id sum = b_loop_value(b, b_add(b, g_at, exclusive ? b_mul(b, x_at, carry) : carry));
    value_id next = exclusive ? sum : b_mul(b, x_at, sum), row = exclusive ? carry : sum;
    const struct loop_spec spec = {
        .loop = loop, .trips = trips, .state = &carry, .next = &next, .row = &row, 1, 1};
    value_id results[2];
    return next != VALUE_NONE && b_loop_end(b, &spec, results) ? b_reverse(b, results[1], 0)
                                                               : VALUE_NONE;
}

/* dx[i] = (product of those before i) · r[i]. */
bool grad_cum_prod(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    uint32_t axis = (uint32_t)attrs->axis;
    if (c->grad->in_body)
        return b_fail(b, ERR_BLUEPRINT,
                      "a running product in the body of a loop has no gradient") != VALUE_NONE;
    struct attrs before = *attrs;
    before.exclusive = true;
    value_id prefix = running(b, PRIM_CUM_PROD, c->x[0], &before);
    value_id r = back_recurrence(b, to_front(b, c->x[0], axis, attrs->reverse),
                                 to_front(b, c->g, axis, attrs->reverse), attrs->exclusive);
    return grad_give(c, 0, b_mul(b, prefix, from_front(b, r, axis, attrs->reverse)));
}

/* The place of the last element equal to the running maximum is itself a running maximum: of the
 * places, in the order in which it runs, of elements that are the maximum when they come. */
bool grad_cum_max(struct grad_call *c)
{
    struct builder *b = c->b;
    const struct attrs *attrs = c->node.attrs;
    const struct node *node = b_node(b, c->x[0]);
    dim_id size = node->shape[attrs->axis], shape[LIMIT_RANK];
    uint32_t rank = node->rank;
    for (uint32_t d = 0; d < rank; d++)
        shape[d] = node->shape[d];
    struct attrs inclusive = *attrs;
    inclusive.exclusive = false;
    value_id reached = running(b, PRIM_CUM_MAX, c->x[0], &inclusive);
    value_id place = b_iota(b, DTYPE_I64, shape, rank, attrs->axis);
    value_id last = b_sub(b, b_size(b, size), b_const(b, DTYPE_I64, 1));
    place = attrs->reverse ? b_sub(b, last, place) : place;
    value_id is_reached = b_binary(b, PRIM_EQ, c->x[0], reached);
    value_id from = b_select(b, is_reached, place, b_const(b, DTYPE_I64, -1));
    from = running(b, PRIM_CUM_MAX, from, attrs);
    /* -1 stays so, and what an exclusive one starts from is negative: nothing is added there. */
    value_id none = b_const(b, DTYPE_I64, -1);
    value_id known = b_binary(b, PRIM_LE, b_const(b, DTYPE_I64, 0), from);
    value_id index = b_select(b, known, attrs->reverse ? b_sub(b, last, from) : from, none);
    return grad_give(c, 0, grad_scatter_add(b, c->x[0], index, c->g, (uint32_t)attrs->axis));
}
