/* Counts of scalar operations: those that a graph requires, and those that kernels do.
 *
 * What a value requires follows from its definition, not from the kernels: one operation for each
 * element of an elementwise prim, one for each element that a reduction takes in, two for each
 * product of a contraction. Views and other moves require none, nor does widening bytes that are
 * loaded. What a kernel does is counted as lowering places it: an operation runs as often as the
 * loops around the innermost one that it depends on, because code generation places it there. */
#include "compiler/lower/lower_priv.h"

/* operations of an elementary function: reduction of the argument, and a polynomial */
#define ELEMENTARY 16

/* Per element of the result; for reductions, scans and windows, per element taken in. */
static int64_t operations_of(const struct graph *graph, value_id value)
{
    enum prim prim = (enum prim)graph_node(graph, value)->prim;
    if (widens_bytes(graph, value))
        return 0;
    switch (prim) {
    case PRIM_RANDOM:
    case PRIM_POW: return ELEMENTARY;
    case PRIM_CONTRACT:
    case PRIM_CONV: return 2;
    case PRIM_ARGMAX: /* in each of two passes: compare, test for NaN, select */
    case PRIM_ARGMIN: return 3;
    case PRIM_ARGSORT: return 6; /* per pair: both comparisons, NaN, the tie */
    case PRIM_SCATTER: return 1;
    default: break;
    }
    if (prim >= PRIM_RSQRT && prim <= PRIM_ERFC)
        return ELEMENTARY;
    return prim_is_elementwise(prim) || (prim >= PRIM_REDUCE_SUM && prim <= PRIM_CUM_MAX) ||
           (prim >= PRIM_CONTRACT && prim <= PRIM_WINDOW_MAX);
}

bool work_moves_only(const struct graph *graph, value_id value)
{
    return operations_of(graph, value) == 0;
}

dim_id work_asked(struct graph *graph, value_id value)
{
    const struct node *n = graph_node(graph, value);
    struct dim_table *dims = &graph->dims;
    enum prim prim = (enum prim)n->prim;
    dim_id each = dim_const(dims, operations_of(graph, value)),
           count = graph_elements(graph, value);
    const struct node *x = n->operand_count ? graph_node(graph, n->operands[0]) : NULL;
    const struct node *w = n->operand_count > 1 ? graph_node(graph, n->operands[1]) : NULL;
    switch (prim) {
    case PRIM_ARGMAX:
    case PRIM_ARGMIN:
        count = dim_mul(dims, dim_const(dims, 2), graph_elements(graph, n->operands[0]));
        break;
    case PRIM_REDUCE_SUM:
    case PRIM_REDUCE_PROD:
    case PRIM_REDUCE_MAX:
    case PRIM_REDUCE_MIN: count = graph_elements(graph, n->operands[0]); break;
    case PRIM_SCATTER: count = graph_elements(graph, n->operands[2]); break;
    case PRIM_ARGSORT: count = dim_mul(dims, count, n->shape[n->attrs->axis]); break;
    case PRIM_CONTRACT:
        for (uint32_t i = x->rank - n->attrs->contract; i < x->rank; i++)
            count = dim_mul(dims, count, x->shape[i]);
        break;
    case PRIM_CONV:
        count = dim_mul(dims, count, dim_product(dims, w->shape + 1, w->rank - 1u));
        break;
    case PRIM_WINDOW_SUM:
    case PRIM_WINDOW_MAX:
        for (uint32_t i = 0; i < n->attrs->window_count; i++)
            count = dim_mul(dims, count, dim_const(dims, n->attrs->window[i].size));
        break;
    default: break;
    }
    return dim_mul(dims, each, count);
}

static dim_id runs(const struct lowering *l, struct dim_table *dims, uint32_t depth)
{
    dim_id product = dim_const(dims, 1);
    for (uint32_t d = 0; d < depth; d++)
        product = dim_mul(dims, product, l->extent[l->open[d]->var]);
    return product;
}

void work_add(struct lowering *l, value_id value, uint32_t depth)
{
    struct dim_table *dims = (struct dim_table *)&l->graph->dims;
    struct kernel_work *work = l->work;
    if (!work)
        return;
    if (!work->made[value]) {
        work->made[value] = true;
        work->done[value] = dim_const(dims, 0);
        VEC_PUSH(l->nest->arena, &work->values, value);
    }
    if (work->asked[value] == DIM_NONE)
        work->asked[value] = work_asked(l->graph, value);
    dim_id each = dim_const(dims, operations_of(l->graph, value));
    dim_id done = dim_mul(dims, each, runs(l, dims, depth));
    dim_id all = dim_mul(dims, each, runs(l, dims, l->depth));
    if (all == work->asked[value]) /* no more than required, also at sizes where an inner loop has
                                      no iteration */
        done = all;
    work->done[value] = dim_add(dims, work->done[value], done);
}

void work_clear(struct kernel_work *work)
{
    for (uint32_t i = 0; i < work->values.count; i++)
        work->made[work->values.items[i]] = false;
    work->values.count = 0;
}
