/* Packing: views around a stored copy with an operand's elements in the order in which vectors read
 * them.
 *
 *   b[batch…, n, k]
 *     ->  pad n to panels of P columns, [batch…, N/P, P, k]
 *     ->  [batch…, N/P, k, P]
 *
 * They are ordinary prims: lowering needs no knowledge of packing. */
#include "base/error.h"
#include "compiler/opt/opt_priv.h"
#include "graph/build.h"

#define LINE_ELEMENTS 16 /* of a cache line, where they are f32 */

/* The operand's dim in which a step is a step in dim `dim` of a reshape's result, or -1. */
static int reshape_source(struct graph *g, const struct node *view, const struct node *x, int dim)
{
    uint32_t f = 0, t = 0;
    while (f < x->rank && t < view->rank) {
        dim_id pf = x->shape[f++], pt = view->shape[t++];
        while (pf != pt && (f < x->rank || t < view->rank)) {
            if (f < x->rank && (t == view->rank || dim_div_exact(&g->dims, pt, pf) != DIM_NONE))
                pf = dim_mul(&g->dims, pf, x->shape[f++]);
            else
                pt = dim_mul(&g->dims, pt, view->shape[t++]);
        }
        if ((int)t - 1 == dim)
            return (int)f - 1;
    }
    return -1;
}

bool columns_contiguous(struct graph *g, value_id v, int dim)
{
    const struct node *n = graph_node(g, v);
    while (dim >= 0) {
        const struct node *x = n->operand_count ? graph_node(g, n->operands[0]) : NULL;
        switch ((enum prim)n->prim) {
        case PRIM_TRANSPOSE: dim = n->attrs->axes[dim]; break;
        case PRIM_RESHAPE: dim = reshape_source(g, n, x, dim); break;
        case PRIM_SLICE:
            if (n->attrs->step[dim] != 1)
                return false;
            break;
        default: return dim == n->rank - 1;
        }
        n = x;
    }
    return false;
}

value_id columns_last(struct builder *b, value_id v, uint32_t column)
{
    uint32_t rank = b_node(b, v)->rank;
    uint8_t there[LIMIT_RANK], back[LIMIT_RANK];
    for (uint32_t i = 0; i < rank; i++)
        there[i] = (uint8_t)(i < column ? i : i + 1u < rank ? i + 1 : column);
    for (uint32_t i = 0; i < rank; i++)
        back[there[i]] = (uint8_t)i;
    return b_transpose(b, b_unary(b, PRIM_COPY, b_transpose(b, v, there)), back);
}

value_id rows_apart(struct builder *b, value_id v)
{
    struct dim_table *dims = &b->graph->dims;
    uint32_t rank = b_node(b, v)->rank;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK], zero = b_dim_const(b, 0);
    dim_id depth = b_node(b, v)->shape[rank - 1], line = dim_const(dims, LINE_ELEMENTS);
    dim_id two = dim_const(dims, 2 * LINE_ELEMENTS), padded = dim_add(dims, depth, line);
    int64_t lo, hi;
    padded = dim_sub(dims, dim_mul(dims, dim_ceildiv(dims, padded, two), two), line);
    for (uint32_t i = 0; i < rank; i++)
        low[i] = high[i] = zero;
    high[rank - 1] = dim_sub(dims, padded, depth);
    if (high[rank - 1] == DIM_NONE)
        return b_unary(b, PRIM_COPY, v);
    dim_range(dims, high[rank - 1], &lo, &hi);
    if (lo < 0)
        return b_unary(b, PRIM_COPY, v);
    value_id stored = b_unary(b, PRIM_COPY, b_pad(b, v, low, high, 0));
    return b_slice(b, stored, rank - 1, zero, depth, 1);
}

value_id columns_in_panels(struct builder *b, value_id v, int64_t panel)
{
    struct graph *g = b->graph;
    uint32_t rank = b_node(b, v)->rank, n = rank - 2;
    dim_id whole[LIMIT_RANK], split[LIMIT_RANK], low[LIMIT_RANK], high[LIMIT_RANK];
    uint8_t swap[LIMIT_RANK];
    dim_id zero = b_dim_const(b, 0), width = b_dim_const(b, panel);
    memcpy(whole, b_node(b, v)->shape, sizeof(dim_id) * rank);
    dim_id columns = whole[n], count = dim_ceildiv(&g->dims, columns, width);
    dim_id padded = dim_mul(&g->dims, count, width);
    for (uint32_t i = 0; i < rank; i++)
        low[i] = high[i] = zero;
    high[n] = b_dim_sub(b, padded, columns);
    if (padded != columns)
        v = b_pad(b, v, low, high, 0);
    for (uint32_t i = 0; i <= rank; i++) {
        split[i] = i < n ? whole[i] : i == n ? count : i == n + 1 ? width : whole[rank - 1];
        swap[i] = (uint8_t)(i <= n ? i : i == n + 1 ? n + 2 : n + 1);
    }
    value_id packed = b_transpose(b, b_reshape(b, v, split, rank + 1), swap);
    whole[n] = padded;
    value_id back = b_transpose(b, b_unary(b, PRIM_COPY, packed), swap);
    back = b_reshape(b, back, whole, rank);
    return padded == columns ? back : b_slice(b, back, n, zero, columns, 1);
}

value_id pack_param(struct builder *b, value_id w, int64_t panel)
{
    const struct node *n = b_node(b, w);
    uint32_t rank = n->rank;
    dim_id original[LIMIT_RANK];
    memcpy(original, n->shape, sizeof(dim_id) * rank);
    if (rank == 2)
        return columns_in_panels(b, w, panel);
    value_id flat = b_flatten(b, w, 1, (int64_t)rank - 1);
    return b_reshape(b, columns_in_panels(b, flat, panel), original, rank);
}

bool fits_panels(struct builder *b, value_id v, int64_t panel)
{
    struct dim_table *dims = &b->graph->dims;
    const struct node *n = b_node(b, v);
    if (n->rank == LIMIT_RANK)
        return false;
    dim_id columns = n->shape[n->rank - 2], width = dim_const(dims, panel);
    dim_id padded = dim_mul(dims, dim_ceildiv(dims, columns, width), width);
    int64_t lo, hi;
    if (padded == DIM_NONE || dim_sub(dims, padded, columns) == DIM_NONE)
        return false;
    dim_range(dims, dim_sub(dims, padded, columns), &lo, &hi);
    return lo >= 0;
}
