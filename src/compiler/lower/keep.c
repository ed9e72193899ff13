/* Rows in scratch memory.
 *
 * Softmax needs exp(x - max) for the sum and again for the result. Where recomputing such a value
 * is expensive, the reduction that computes it first also stores it in scratch memory, indexed by
 * the reduction's own loops, and what follows in the same row loads it: the value is kept.
 *
 *
 * Conditions:
 * (1) The stored axes are the last ones of the value, so that vector lanes run along the row and
 *     the memory is that of one row, used again for the next one.
 * (2) The reduction's loop is directly in the innermost loop that the other axes depend on.
 *     Further inside, it would store the row once per iteration, and after reductions that read it.
 *
 * In an attention kernel (opt/rows.c) one value, the staged one, is stored as a row by a loop of
 * its own before anything reads it, so that this loop can be scheduled like any product. If a mask
 * leaves only the first keys of each row, loops over keys stop there. */
#include <math.h>
#include <stdio.h>

#include "compiler/lower/lower_priv.h"

static bool depends_on(const struct lowering *l, expr_id index, const struct stmt *loop)
{
    return expr_at(l->nest, index)->vars >> loop->var & 1;
}

/* Whether the index is that of several open loops that together run over the whole dim. */
static bool whole_loops(const struct lowering *l, expr_id index, dim_id dim)
{
    uint64_t closed = expr_at(l->nest, index)->vars;
    for (uint32_t d = 0; d < l->depth; d++)
        closed &= ~(UINT64_C(1) << l->open[d]->var);
    for (uint32_t i = 0; i < l->wholes.count && closed == 0; i++)
        if (l->wholes.items[i].index == index && l->wholes.items[i].extent == dim)
            return true;
    return false;
}

/* Whether the index is the variable of an open reduction loop that runs over the whole dim, or that
 * of several. */
static bool whole_loop(struct lowering *l, expr_id index, dim_id dim)
{
    const struct expr *x = expr_at(l->nest, index);
    if (x->op != EXPR_VAR)
        return whole_loops(l, index, dim);
    for (uint32_t d = 0; d < l->depth; d++)
        if (l->open[d]->var == x->index)
            return !l->open[d]->independent &&
                   (l->nest->vars.items[x->index].extent == expr_dim(l->nest, dim) ||
                    l->nest->vars.items[x->index].full == expr_dim(l->nest, dim));
    return false;
}

static bool dim_is_one(const struct lowering *l, dim_id dim)
{
    int64_t n;
    return dim_is_const(&l->graph->dims, dim, &n) && n == 1;
}

static bool depends_on_reduction(const struct lowering *l, expr_id index)
{
    for (uint32_t d = 0; d < l->depth; d++)
        if (!l->open[d]->independent && depends_on(l, index, l->open[d]))
            return true;
    return false;
}

/* Condition (2) of keep.c: whether the loops over the axes from `first` on are directly inside the
 * innermost loop that the other indices depend on. */
static bool begins_row(const struct lowering *l, const struct at *at, uint32_t first, uint32_t rank)
{
    uint32_t depth = 0;
    for (uint32_t i = 0; i < first; i++) {
        uint32_t d = depth_of_expr(l, at->idx[i]);
        depth = d > depth ? d : depth;
    }
    for (uint32_t i = first; i < rank; i++)
        if (depends_on(l, at->idx[i], l->open[depth]))
            return true;
    return false;
}

static expr_id scratch_index(struct lowering *l, const struct node *node, uint32_t first,
                             const expr_id *idx)
{
    expr_id flat = index_const(l->nest, 0);
    for (uint32_t i = first; i < node->rank; i++)
        flat =
            index_add(l->nest, index_mul(l->nest, flat, expr_dim(l->nest, node->shape[i])), idx[i]);
    return flat;
}

void keep_value(struct lowering *l, value_id value, const struct at *at, expr_id expr)
{
    const struct node *node = graph_node(l->graph, value);
    uint32_t first = node->rank;
    char name[16];
    while (first > 0 && whole_loop(l, at->idx[first - 1], node->shape[first - 1]))
        first--;
    for (uint32_t i = 0; i < first; i++)
        if (depends_on_reduction(l, at->idx[i]))
            return;
    if (first == node->rank || at->guard != EXPR_NONE || expr_at(l->nest, expr)->op == EXPR_CONST ||
        !begins_row(l, at, first, node->rank))
        return;
    expr_id elements = index_const(l->nest, 1);
    for (uint32_t i = first; i < node->rank; i++)
        elements = index_mul(l->nest, elements, expr_dim(l->nest, node->shape[i]));
    snprintf(name, sizeof name, "row%u", l->kept.count);
    struct nest_buffer buffer = {.name = arena_strdup(l->nest->arena, name),
                                 .dtype = expr_at(l->nest, expr)->dtype,
                                 .role = ROLE_SCRATCH,
                                 .elements = elements};
    struct kept kept = {value, *at, first, nest_buffer(l->nest, &buffer)};
    expr_id index = scratch_index(l, node, first, at->idx);
    block_add(l->nest, block_here(l), stmt_store(l->nest, kept.buffer, index, expr, EXPR_NONE));
    VEC_PUSH(l->nest->arena, &l->kept, kept);
}

/* Whether the row is complete: none of the loops that store it is open. */
static bool complete(const struct lowering *l, const struct kept *k, uint32_t rank)
{
    for (uint32_t i = k->first_axis; i < rank; i++)
        for (uint32_t d = 0; d < l->depth; d++)
            if (depends_on(l, k->at.idx[i], l->open[d]))
                return false;
    return true;
}

expr_id keep_find(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    for (uint32_t i = 0; i < l->kept.count; i++) {
        const struct kept *k = &l->kept.items[i];
        if (k->value == value && at->guard == EXPR_NONE && complete(l, k, node->rank) &&
            memcmp(k->at.idx, at->idx, k->first_axis * sizeof(expr_id)) == 0)
            return expr_load(l->nest, k->buffer, scratch_index(l, node, k->first_axis, at->idx),
                             EXPR_NONE);
    }
    return EXPR_NONE;
}

/* The number of keys that a mask select(var ≤ bound and …, x, -inf) leaves, EXPR_NONE if cond has
 * another form: bound + 1. */
static expr_id masked_extent(struct nest *nest, expr_id cond, expr_id var)
{
    struct expr x = *expr_at(nest, cond);
    if (x.op == EXPR_AND) {
        expr_id left = masked_extent(nest, x.operand[0], var);
        return left != EXPR_NONE ? left : masked_extent(nest, x.operand[1], var);
    }
    int64_t lo, hi;
    if (x.op != EXPR_LE || x.operand[0] != var || expr_at(nest, x.operand[1])->loads ||
        (expr_at(nest, x.operand[1])->vars & expr_at(nest, var)->vars))
        return EXPR_NONE;
    index_range(nest, x.operand[1], &lo, &hi);
    return lo < 0 ? EXPR_NONE : index_add(nest, x.operand[1], index_const(nest, 1));
}

/* Sets the row limit if value is a masked key. A masked key contributes exp(-inf) = 0, whatever its
 * value is (even an infinity or NaN), so loops over keys may stop before it. */
static void find_limit(struct lowering *l, const struct at *at, uint32_t rank, dim_id full,
                       expr_id value)
{
    struct nest *nest = l->nest;
    struct expr x = *expr_at(nest, value);
    if (x.op != EXPR_SELECT)
        return;
    struct expr other = *expr_at(nest, x.operand[2]);
    if (other.op != EXPR_CONST || other.value != -INFINITY)
        return;
    expr_id extent = masked_extent(nest, x.operand[0], at->idx[rank - 1]);
    if (extent == EXPR_NONE)
        return;
    l->row_limit = (struct row_limit){.limit = index_min(nest, extent, expr_dim(nest, full)),
                                      .full = full,
                                      .row_rank = rank - 1,
                                      .row = *at};
}

void limit_row(struct lowering *l, value_id row, const struct at *at, uint32_t var)
{
    const struct row_limit *r = &l->row_limit;
    if (var == VAR_NONE || r->limit == EXPR_NONE || !l->partition->values[row].in_rows ||
        l->nest->vars.items[var].extent != expr_dim(l->nest, r->full) ||
        memcmp(at->idx, r->row.idx, r->row_rank * sizeof(expr_id)) != 0)
        return;
    l->nest->vars.items[var].full = l->nest->vars.items[var].extent;
    l->nest->vars.items[var].extent = r->limit;
}

expr_id stage_value(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    uint32_t last = node->rank - 1u;
    struct at row = *at;
    struct place saved;
    char name[16];
    if (at->guard != EXPR_NONE || dim_is_one(l, node->shape[last]))
        return gen_node(l, value, at);
    go_out(l, at, last, &saved);
    uint32_t depth = l->depth;
    uint32_t var = open_loop(l, OVER_KEY, node->shape[last], true, &row.idx[last]);
    expr_id expr = gen_node(l, value, &row);
    snprintf(name, sizeof name, "row%u", l->kept.count);
    struct nest_buffer buffer = {.name = arena_strdup(l->nest->arena, name),
                                 .dtype = expr_at(l->nest, expr)->dtype,
                                 .role = ROLE_SCRATCH,
                                 .elements = expr_dim(l->nest, node->shape[last])};
    struct kept kept = {value, row, last, nest_buffer(l->nest, &buffer)};
    block_add(l->nest, block_here(l),
              stmt_store(l->nest, kept.buffer, row.idx[last], expr, EXPR_NONE));
    find_limit(l, &row, node->rank, node->shape[last], expr);
    limit_row(l, value, &row, var);
    close_loops(l, depth);
    come_back(l, &saved);
    VEC_PUSH(l->nest->arena, &l->kept, kept);
    return expr_load(l->nest, kept.buffer, at->idx[last], EXPR_NONE);
}
