/* Keeping a row.
 *
 * Softmax computes e^(x - max) for the sum and again for the result. Where such a value is dear,
 * the reduction that computes it first also stores it in scratch memory, indexed by its own loops;
 * what comes later in the same row loads it. That is done for the last axes of a value only: rows
 * are then what runs in lanes, and no two rows share the memory at a time. And only where the row
 * begins: a reduction further inside would store it again and again, behind the place where a
 * reduction of the row alone reads it. */
#include <stdio.h>

#include "compiler/lower/lower_priv.h"

/* The open reduction loop whose variable the index is, when it runs over the whole dim. */
static bool whole_loop(struct lowering *l, expr_id index, dim_id dim)
{
    const struct expr *x = expr_at(l->nest, index);
    if (x->op != EXPR_VAR)
        return false;
    for (uint32_t d = 0; d < l->depth; d++)
        if (l->open[d]->var == x->index)
            return !l->open[d]->independent &&
                   l->nest->vars.items[x->index].extent == expr_dim(l->nest, dim);
    return false;
}

static bool depends_on_reduction(const struct lowering *l, expr_id index)
{
    for (uint32_t d = 0; d < l->depth; d++)
        if (!l->open[d]->independent && expr_at(l->nest, index)->vars >> l->open[d]->var & 1)
            return true;
    return false;
}

/* Whether the loops over the kept axes stand directly in the innermost loop that the rest of the
 * index depends on. */
static bool begins_row(const struct lowering *l, const struct at *at, uint32_t first, uint32_t rank)
{
    uint32_t depth = 0;
    for (uint32_t i = 0; i < first; i++) {
        uint32_t d = depth_of_expr(l, at->idx[i]);
        depth = d > depth ? d : depth;
    }
    for (uint32_t i = first; i < rank; i++)
        if (l->open[depth]->var == expr_at(l->nest, at->idx[i])->index)
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

/* Whether the reduction that stores it is done. */
static bool complete(const struct lowering *l, const struct kept *k, uint32_t rank)
{
    for (uint32_t i = k->first_axis; i < rank; i++)
        for (uint32_t d = 0; d < l->depth; d++)
            if (l->open[d]->var == expr_at(l->nest, k->at.idx[i])->index)
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
