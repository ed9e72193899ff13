/* Index maps of views, backwards (where an element comes from) and, for reshape and transpose,
 * forwards (where it goes). */
#include "compiler/lower/lower_priv.h"

static expr_id dim_expr(struct lowering *l, dim_id dim)
{
    return expr_dim(l->nest, dim);
}

/* Dims [first, end) of a value. */
struct segment {
    const struct node *of;
    uint32_t first, end;
};

/* One segment of a reshape: dims of the source with as many elements as dims of the target. */
static void map_segment(struct nest *nest, const struct segment *from, const expr_id *at,
                        const struct segment *to, expr_id *out)
{
    expr_id flat = index_const(nest, 0);
    for (uint32_t i = from->first; i < from->end; i++)
        flat = index_add(nest, index_mul(nest, flat, expr_dim(nest, from->of->shape[i])), at[i]);
    for (uint32_t i = to->end; i-- > to->first;) {
        expr_id size = expr_dim(nest, to->of->shape[i]);
        out[i] = i == to->first ? flat : index_mod(nest, flat, size);
        flat = i == to->first ? flat : index_div(nest, flat, size);
    }
}

/* Extends a segment by one dim and returns that dim; 1 behind the last. */
static dim_id next_dim(struct dim_table *dims, struct segment *s)
{
    return s->end < s->of->rank ? s->of->shape[s->end++] : dim_const(dims, 1);
}

/* Segment by segment, so that the index of an unchanged dim stays as it is. */
void reshape_index(struct lowering *l, const struct node *from, const expr_id *at,
                   const struct node *to, expr_id *out)
{
    struct dim_table *dims = &l->graph->dims;
    struct segment f = {.of = from}, t = {.of = to};
    while (f.end < from->rank || t.end < to->rank) {
        f.first = f.end;
        t.first = t.end;
        dim_id pf = next_dim(dims, &f), pt = next_dim(dims, &t);
        while (pf != pt && (f.end < from->rank || t.end < to->rank)) {
            bool grow_from = f.end < from->rank &&
                             (t.end == to->rank || dim_div_exact(dims, pt, pf) != DIM_NONE);
            if (grow_from)
                pf = dim_mul(dims, pf, next_dim(dims, &f));
            else
                pt = dim_mul(dims, pt, next_dim(dims, &t));
        }
        map_segment(l->nest, &f, at, &t, out);
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
    case PRIM_RESHAPE: reshape_index(l, node, at->idx, x, out->idx); return true;
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

bool view_forward(struct lowering *l, const struct node *user, const struct at *operand_at,
                  struct at *out)
{
    const struct node *x = graph_node(l->graph, user->operands[0]);
    *out = *operand_at;
    if (user->prim == PRIM_RESHAPE)
        reshape_index(l, x, operand_at->idx, user, out->idx);
    else if (user->prim == PRIM_TRANSPOSE)
        for (uint32_t i = 0; i < user->rank; i++)
            out->idx[i] = operand_at->idx[user->attrs->axes[i]];
    else
        return prim_is_elementwise((enum prim)user->prim) || user->prim == PRIM_COPY;
    return true;
}
