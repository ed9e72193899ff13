/* Index maps of views, backwards (where an element comes from) and, for reshape and transpose,
 * forwards. */
#include "compiler/lower/lower_priv.h"

static expr_id dim_expr(struct lowering *l, dim_id dim)
{
    return expr_dim(l->nest, dim);
}

/* One segment of a reshape: dims [f0, f1) of the source hold the same elements as dims [t0, t1) of
 * the target. */
static void map_segment(struct lowering *l, const dim_id *from_shape, uint32_t f0, uint32_t f1,
                        const expr_id *from, const dim_id *to_shape, uint32_t t0, uint32_t t1,
                        expr_id *to)
{
    struct nest *nest = l->nest;
    expr_id flat = index_const(nest, 0);
    for (uint32_t i = f0; i < f1; i++)
        flat = index_add(nest, index_mul(nest, flat, dim_expr(l, from_shape[i])), from[i]);
    for (uint32_t i = t1; i-- > t0;) {
        expr_id size = dim_expr(l, to_shape[i]);
        to[i] = i == t0 ? flat : index_mod(nest, flat, size);
        flat = i == t0 ? flat : index_div(nest, flat, size);
    }
}

/* Reshapes segment by segment, so that dims that stay as they are keep their index untouched. */
void reshape_index(struct lowering *l, const dim_id *from_shape, uint32_t from_rank,
                   const expr_id *from, const dim_id *to_shape, uint32_t to_rank, expr_id *to)
{
    struct dim_table *dims = &l->graph->dims;
    uint32_t f = 0, t = 0;
    while (f < from_rank || t < to_rank) {
        uint32_t f0 = f, t0 = t;
        dim_id pf = f < from_rank ? from_shape[f++] : dim_const(dims, 1);
        dim_id pt = t < to_rank ? to_shape[t++] : dim_const(dims, 1);
        while (pf != pt && (f < from_rank || t < to_rank)) {
            bool grow_from =
                f < from_rank && (t == to_rank || dim_div_exact(dims, pt, pf) != DIM_NONE);
            if (grow_from)
                pf = dim_mul(dims, pf, from_shape[f++]);
            else
                pt = dim_mul(dims, pt, to_shape[t++]);
        }
        map_segment(l, from_shape, f0, f, from, to_shape, t0, t, to);
    }
}

static expr_id clamp_index(struct lowering *l, value_id index, const struct at *at, dim_id extent)
{
    struct nest *nest = l->nest;
    expr_id i = expr_cast(nest, gen(l, index, at), DTYPE_I64);
    expr_id last = index_sub(nest, dim_expr(l, extent), index_const(nest, 1));
    return index_max(nest, index_min(nest, i, last), index_const(nest, 0));
}

static void take_source(struct lowering *l, const struct node *node, const struct at *at,
                        struct at *out)
{
    const struct node *data = graph_node(l->graph, node->operands[0]);
    const struct node *index = graph_node(l->graph, node->operands[1]);
    uint32_t axis = (uint32_t)node->attrs->axis;
    struct at index_at = {.guard = at->guard};
    for (uint32_t i = 0; i < index->rank; i++)
        index_at.idx[i] = at->idx[axis + i];
    for (uint32_t i = 0; i < data->rank; i++)
        if (i != axis)
            out->idx[i] = i < axis ? at->idx[i] : at->idx[i + index->rank - 1u];
    out->idx[axis] = clamp_index(l, node->operands[1], &index_at, data->shape[axis]);
}

bool view_source(struct lowering *l, const struct node *node, const struct at *at, struct at *out)
{
    struct nest *nest = l->nest;
    const struct attrs *a = node->attrs;
    const struct node *x = graph_node(l->graph, node->operands[0]);
    *out = *at;
    switch ((enum prim)node->prim) {
    case PRIM_COPY: return true;
    case PRIM_RESHAPE:
        reshape_index(l, node->shape, node->rank, at->idx, x->shape, x->rank, out->idx);
        return true;
    case PRIM_TRANSPOSE:
        for (uint32_t i = 0; i < node->rank; i++)
            out->idx[a->axes[i]] = at->idx[i];
        return true;
    case PRIM_BROADCAST:
        for (uint32_t i = 0; i < x->rank; i++) {
            int64_t n;
            bool one = dim_is_const(&l->graph->dims, x->shape[i], &n) && n == 1;
            out->idx[i] = one ? index_const(nest, 0) : at->idx[a->axes[i]];
        }
        return true;
    case PRIM_SLICE:
        for (uint32_t i = 0; i < node->rank; i++)
            out->idx[i] = index_add(nest, dim_expr(l, a->start[i]),
                                    index_mul(nest, at->idx[i], index_const(nest, a->step[i])));
        return true;
    case PRIM_REVERSE:
        for (uint32_t i = 0; i < a->axis_count; i++) {
            expr_id last = index_sub(nest, dim_expr(l, x->shape[a->axes[i]]), index_const(nest, 1));
            out->idx[a->axes[i]] = index_sub(nest, last, at->idx[a->axes[i]]);
        }
        return true;
    case PRIM_TAKE: take_source(l, node, at, out); return true;
    case PRIM_GATHER:
        out->idx[a->axis] = clamp_index(l, node->operands[1], at, x->shape[a->axis]);
        return true;
    default: return false;
    }
}

void view_forward(struct lowering *l, const struct node *view, const struct at *operand_at,
                  struct at *out)
{
    const struct node *x = graph_node(l->graph, view->operands[0]);
    *out = *operand_at;
    if (view->prim == PRIM_RESHAPE)
        reshape_index(l, x->shape, x->rank, operand_at->idx, view->shape, view->rank, out->idx);
    else if (view->prim == PRIM_TRANSPOSE)
        for (uint32_t i = 0; i < view->rank; i++)
            out->idx[i] = operand_at->idx[view->attrs->axes[i]];
}
