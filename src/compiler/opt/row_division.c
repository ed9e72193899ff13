/* One division per row of softmax.
 *
 *   exp(t - max) / sum
 *     ->  exp(t - max) · (1 / sum)
 *
 * Condition, proven from the graph: max is the maximum of the row itself, so the largest
 * exponential is 1, the sum is at least 1, and its reciprocal is a normal number. So nothing
 * overflows or underflows that did not before. The result has one rounding more, which is less than
 * the error of the sum itself. f16 and bf16, which round only once, are not changed. */
#include "compiler/opt/opt_priv.h"
#include "graph/build.h"

/* The value that v broadcasts along rows; VALUE_NONE if v is no broadcast. */
static value_id of_rows(const struct graph *g, value_id v)
{
    const struct node *n = graph_node(g, v);
    if (n->prim != PRIM_BROADCAST)
        return VALUE_NONE;
    v = n->operands[0];
    n = graph_node(g, v);
    return n->prim == PRIM_RESHAPE ? n->operands[0] : v;
}

/* Whether v, a broadcast, gives each row of x the result of a reduction of that row over axes. */
static bool along_rows(const struct graph *g, value_id v, const struct attrs *reduce)
{
    const struct node *n = graph_node(g, v), *source = graph_node(g, n->operands[0]);
    bool reduced[LIMIT_RANK] = {0}, kept = source->rank == n->rank;
    for (uint32_t i = 0; i < reduce->axis_count; i++)
        reduced[reduce->axes[i]] = true;
    if (!kept && source->rank + reduce->axis_count != n->rank)
        return false;
    for (uint32_t axis = 0, i = 0; axis < n->rank; axis++) {
        int64_t size;
        if (reduced[axis] && !kept)
            continue;
        if (n->attrs->axes[i] != axis)
            return false;
        if (reduced[axis] && !(dim_is_const(&g->dims, source->shape[i], &size) && size == 1))
            return false;
        i++;
    }
    return true;
}

/* Whether v is exp(t - max t), and sum its sum over the same axes. */
static bool is_softmax(const struct graph *g, value_id v, value_id sum)
{
    const struct node *exp = graph_node(g, v), *s = graph_node(g, sum);
    if (exp->prim != PRIM_EXP || s->prim != PRIM_REDUCE_SUM || s->operands[0] != v)
        return false;
    const struct node *sub = graph_node(g, exp->operands[0]);
    value_id most = sub->prim == PRIM_SUB ? of_rows(g, sub->operands[1]) : VALUE_NONE;
    const struct node *max = most == VALUE_NONE ? NULL : graph_node(g, most);
    return max && max->prim == PRIM_REDUCE_MAX && max->operands[0] == sub->operands[0] &&
           max->attrs->axis_count == s->attrs->axis_count &&
           memcmp(max->attrs->axes, s->attrs->axes, s->attrs->axis_count) == 0 &&
           along_rows(g, sub->operands[1], max->attrs);
}

static value_id rule(struct graph *to, value_id copy, const struct graph *from, value_id old,
                     void *context, struct error *err)
{
    struct builder b = {to, err};
    struct node n = *graph_node(to, copy);
    (void)from, (void)old, (void)context;
    if (n.prim != PRIM_DIV || (n.dtype != DTYPE_F32 && n.dtype != DTYPE_F64))
        return copy;
    value_id sum = of_rows(to, n.operands[1]);
    if (sum == VALUE_NONE || !is_softmax(to, n.operands[0], sum))
        return copy;
    struct node spread = *graph_node(to, n.operands[1]);
    value_id inverse = b_div(&b, b_const_like(&b, sum, 1), spread.operands[0]);
    if (inverse == VALUE_NONE)
        return inverse;
    return b_mul(&b, n.operands[0], graph_add(to, PRIM_BROADCAST, &inverse, 1, spread.attrs, err));
}

bool pass_row_division(struct graph *to, struct arena *arena, const struct graph *from,
                       const struct target *target, struct error *err)
{
    struct graph divided;
    (void)target;
    return graph_rewrite(&divided, arena, from, rule, NULL, err) &&
           graph_copy_live(to, arena, &divided, err);
}
