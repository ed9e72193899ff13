/* The gradient of a softmax as a whole:
 *
 *      e = exp(x − m)    m the same along the axes of the sum, such as the row's maximum
 *      y = e / Σ e       or something else instead of the sum, where all x of a row are -inf
 *      dx = y · (dy − Σ dy·y)
 *
 * y does not hang on m, by which e and its sum change alike. The rules of the prims would come to
 * the same, but for roundings: they read e beside y, and x, to tell which element gets the slope of
 * the maximum, which cancels. So x, e and y would be saved for the backward pass, which in
 * attention are the largest tensors there are. Where all x of a row are -inf, as in attention to
 * keys that are all masked, e is 0 or NaN, and with it y and dx by both. */
#include <math.h>
#include <string.h>

#include "compiler/grad/grad_priv.h"

static bool is_minus_infinity(const struct graph *g, value_id v)
{
    const struct node *n = graph_node(g, v);
    if (n->prim == PRIM_BROADCAST)
        n = graph_node(g, n->operands[0]);
    return n->prim == PRIM_CONST && isinf(n->attrs->value) && n->attrs->value < 0;
}

/* What a value of each row is where not all x are -inf: the last operand of a select by whether
 * their maximum is that; of anything else, itself. */
static value_id where_open(const struct graph *g, value_id v, value_id x, const struct attrs *over)
{
    const struct node *n = graph_node(g, v);
    if (n->prim != PRIM_SELECT)
        return v;
    const struct node *equal = graph_node(g, n->operands[0]);
    if (equal->prim != PRIM_EQ || !is_minus_infinity(g, equal->operands[1]))
        return v;
    const struct node *max = graph_node(g, equal->operands[0]);
    if (max->prim == PRIM_RESHAPE)
        max = graph_node(g, max->operands[0]);
    bool closes = max->prim == PRIM_REDUCE_MAX && max->operands[0] == x &&
                  max->attrs->axis_count == over->axis_count &&
                  memcmp(max->attrs->axes, over->axes, over->axis_count) == 0;
    return closes ? n->operands[2] : v;
}

/* Whether v is the sum `of` without the reduced axes, spread over these: broadcast at once, or
 * behind a reshape that gives each of them the size 1. */
static bool is_spread(const struct graph *g, value_id v, value_id of, value_id x)
{
    const struct node *wide = graph_node(g, v);
    const struct attrs *over = graph_node(g, of)->attrs;
    if (wide->prim != PRIM_BROADCAST)
        return false;
    value_id row = where_open(g, wide->operands[0], x, over);
    const struct node *from = graph_node(g, row);
    bool reshaped = from->prim == PRIM_RESHAPE && from->operands[0] == of;
    return (reshaped || row == of) && grad_along_rows(g, wide, over);
}

/* Whether v is a broadcast whose elements are equal along the axes. */
static bool is_equal_along(const struct graph *g, value_id v, const struct attrs *axes)
{
    const struct node *wide = graph_node(g, v);
    if (wide->prim != PRIM_BROADCAST)
        return false;
    const struct node *from = graph_node(g, wide->operands[0]);
    for (uint32_t i = 0; i < axes->axis_count; i++)
        for (uint32_t d = 0; d < from->rank; d++) {
            int64_t size = 0;
            if (wide->attrs->axes[d] == axes->axes[i] &&
                (!dim_is_const(&g->dims, from->shape[d], &size) || size != 1))
                return false;
        }
    return true;
}

/* The reduce_sum behind a value that may be its spread; VALUE_NONE: none. */
static value_id sum_behind(const struct graph *g, value_id v)
{
    const struct node *n = graph_node(g, v);
    if (n->prim == PRIM_BROADCAST)
        v = n->operands[0];
    n = graph_node(g, v);
    if (n->prim == PRIM_SELECT)
        v = n->operands[2];
    n = graph_node(g, v);
    if (n->prim == PRIM_RESHAPE)
        v = n->operands[0];
    return graph_node(g, v)->prim == PRIM_REDUCE_SUM ? v : VALUE_NONE;
}

value_id grad_softmax_source(const struct grad_call *c)
{
    const struct graph *g = c->b->graph;
    value_id e = c->x[0], sum = sum_behind(g, c->x[1]);
    if (c->grad->guarded[c->y] || graph_node(g, e)->prim != PRIM_EXP || sum == VALUE_NONE ||
        graph_node(g, sum)->operands[0] != e)
        return VALUE_NONE;
    value_id centred = graph_node(g, e)->operands[0];
    const struct node *sub = graph_node(g, centred);
    if (sub->prim != PRIM_SUB || !is_spread(g, c->x[1], sum, sub->operands[0]) ||
        !is_equal_along(g, sub->operands[1], graph_node(g, sum)->attrs))
        return VALUE_NONE;
    /* What is asked for itself gets all of its cotangent. */
    const bool *asked = c->grad->asked;
    value_id row = graph_node(g, c->x[1])->operands[0];
    value_id open = where_open(g, row, sub->operands[0], graph_node(g, sum)->attrs);
    return asked[e] || asked[sum] || asked[centred] || asked[c->x[1]] || asked[row] || asked[open]
               ? VALUE_NONE
               : sub->operands[0];
}

bool grad_softmax(const struct grad_call *c, value_id source)
{
    struct builder *b = c->b;
    const struct attrs *axes = b_node(b, sum_behind(b->graph, c->x[1]))->attrs;
    struct attrs over = {.axis_count = axes->axis_count};
    for (uint32_t i = 0; i < axes->axis_count; i++)
        over.axes[i] = axes->axes[i];
    value_id product = b_mul(b, c->g, c->y);
    if (product == VALUE_NONE)
        return false;
    value_id sum = graph_add(b->graph, PRIM_REDUCE_SUM, &product, 1, &over, b->err);
    sum = grad_expand(b, sum, c->y, over.axes, over.axis_count);
    return grad_give_to(c->grad, source, b_mul(b, c->y, b_sub(b, c->g, sum)));
}
