/* Reductions, contractions, convolutions and windows: each becomes a local and loops that update
 * it, in the body of the innermost loop that the result's index depends on. */
#include <stdio.h>

#include "compiler/lower/lower_priv.h"

uint32_t depth_of_expr(const struct lowering *l, expr_id e)
{
    const struct expr *x;
    uint32_t depth = 0;
    if (e == EXPR_NONE)
        return 0;
    x = expr_at(l->nest, e);
    for (uint32_t d = 0; d < l->depth; d++)
        if (x->vars >> l->open[d]->var & 1)
            depth = d + 1;
    for (uint32_t i = 0; x->locals && i < l->nest->locals.count; i++)
        if (x->locals >> i % 64 & 1 && l->local_depth[i] > depth)
            depth = l->local_depth[i];
    return depth;
}

/* Where a reduction is indexed by i / size, as one over groups of channels is, the loop over i
 * should be two, over i / size and over i % size: then the reduction runs once per block, not once
 * per i. */
static void note_blocks(struct lowering *l, expr_id index)
{
    const struct expr *x = expr_at(l->nest, index);
    int64_t size;
    if (x->op != EXPR_FLOORDIV || expr_at(l->nest, x->operand[0])->op != EXPR_VAR ||
        !index_is_const(l->nest, x->operand[1], &size))
        return;
    for (uint32_t d = 0; d < LIMIT_RANK; d++)
        if (l->dim_var[d] == expr_at(l->nest, x->operand[0])->index)
            l->parts[d] = size;
}

static uint32_t depth_of_index(const struct lowering *l, const struct at *at, uint32_t rank)
{
    uint32_t depth = depth_of_expr(l, at->guard);
    for (uint32_t i = 0; i < rank; i++) {
        uint32_t d = depth_of_expr(l, at->idx[i]);
        depth = d > depth ? d : depth;
    }
    return depth;
}

static void go_to(struct lowering *l, uint32_t depth, struct place *saved)
{
    saved->depth = l->depth;
    memcpy(saved->open, l->open, sizeof saved->open);
    l->depth = depth;
}

void go_out(struct lowering *l, const struct at *at, uint32_t rank, struct place *saved)
{
    uint64_t vars = at->guard == EXPR_NONE ? 0 : expr_at(l->nest, at->guard)->vars;
    for (uint32_t i = 0; i < rank; i++) {
        vars |= expr_at(l->nest, at->idx[i])->vars;
        note_blocks(l, at->idx[i]);
    }
    VEC_PUSH(l->nest->arena, &l->row_vars, vars);
    go_to(l, depth_of_index(l, at, rank), saved);
}

void come_back(struct lowering *l, const struct place *saved)
{
    l->depth = saved->depth;
    memcpy(l->open, saved->open, sizeof saved->open);
}

static uint32_t declare_local(struct lowering *l, const char *stem, enum dtype dtype, expr_id init)
{
    char name[24];
    if (l->nest->locals.count == NEST_MAX_LOCALS) {
        l->failed = l->failed || !fail(l->err, ERR_LIMIT, "a kernel with more than %d reductions",
                                       NEST_MAX_LOCALS);
        return 0;
    }
    snprintf(name, sizeof name, "%s%u", stem, l->nest->locals.count);
    uint32_t local = nest_local(l->nest, arena_strdup(l->nest->arena, name), dtype);
    l->local_depth[local] = l->depth;
    block_add(l->nest, block_here(l), stmt_local(l->nest, local, init));
    return local;
}

/* Whether reductions declared locals directly in the body of loop number `depth`. */
static bool has_locals(const struct lowering *l, uint32_t depth)
{
    for (uint32_t i = 0; i < l->nest->locals.count; i++)
        if (l->local_depth[i] == depth)
            return true;
    return false;
}

expr_id gen_once(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    uint32_t depth = depth_of_index(l, at, node->rank);
    bool rows = l->group->staged != VALUE_NONE; /* in a staged kernel locals may go through memory
                                                   (sched/part.c) */
    struct place saved;
    if (depth == l->depth || !has_locals(l, depth) || (rows && node->prim != PRIM_DIV))
        return gen_node(l, value, at);
    go_to(l, depth, &saved);
    expr_id e = gen_node(l, value, at);
    const struct expr *x = expr_at(l->nest, e);
    if ((x->loads || rows) && x->op != EXPR_LOAD && x->dtype != DTYPE_BOOL &&
        l->nest->locals.count < NEST_MAX_LOCALS / 2)
        e = expr_local(l->nest, declare_local(l, "once", (enum dtype)x->dtype, e));
    come_back(l, &saved);
    return e;
}

/* Updates the local with one element, and closes the loops down to `depth`. */
static expr_id finish(struct lowering *l, value_id value, uint32_t local, uint32_t depth,
                      enum combine combine, expr_id element)
{
    work_add(l, value, l->depth);
    block_add(l->nest, block_here(l), stmt_update(l->nest, local, combine, element));
    close_loops(l, depth);
    return expr_local(l->nest, local);
}

/* The operand's index: that of the result, with new loops at the reduced axes. */
static void open_axes(struct lowering *l, const struct node *node, const struct node *x,
                      const struct at *at, struct at *out)
{
    bool reduced[LIMIT_RANK] = {0};
    if (prim_info((enum prim)node->prim)->attrs & ATTR_AXES)
        for (uint32_t i = 0; i < node->attrs->axis_count; i++)
            reduced[node->attrs->axes[i]] = true;
    else
        reduced[node->attrs->axis] = true;
    uint32_t from = 0;
    out->guard = at->guard;
    for (uint32_t i = 0; i < x->rank; i++) {
        struct pieces pieces = {.count = 0};
        if (reduced[i])
            find_pieces(l, node->operands[0], i, &pieces);
        if (pieces.count > 0)
            out->idx[i] = open_pieces(l, OVER_REDUCED, x->shape[i], &pieces);
        else if (reduced[i])
            limit_row(l, node->operands[0], at,
                      open_loop(l, OVER_REDUCED, x->shape[i], false, &out->idx[i]));
        else
            out->idx[i] = at->idx[from++];
    }
}

static enum combine combine_of_prim(enum prim prim)
{
    switch (prim) {
    case PRIM_REDUCE_PROD: return COMBINE_PROD;
    case PRIM_REDUCE_MAX:
    case PRIM_ARGMAX:
    case PRIM_WINDOW_MAX: return COMBINE_MAX;
    case PRIM_REDUCE_MIN:
    case PRIM_ARGMIN: return COMBINE_MIN;
    default: return COMBINE_SUM;
    }
}

static expr_id gen_reduce(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    const struct node *x = graph_node(l->graph, node->operands[0]);
    enum combine combine = combine_of_prim((enum prim)node->prim);
    enum dtype dtype = compute_dtype(x->dtype);
    uint32_t depth = l->depth;
    struct at inner;
    uint32_t local = declare_local(l, "acc", dtype, combine_identity(l->nest, combine, dtype));
    open_axes(l, node, x, at, &inner);
    return finish(l, value, local, depth, combine, gen(l, node->operands[0], &inner));
}

/* Arg-max: first the maximum, then the least index of an element that is equal to it or NaN. */
static expr_id gen_arg(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    struct nest *n = l->nest;
    const struct node *x = graph_node(l->graph, node->operands[0]);
    enum dtype dtype = compute_dtype(x->dtype);
    dim_id extent = x->shape[node->attrs->axis];
    expr_id best = gen_reduce(l, value, at), size = expr_dim(n, extent);
    uint32_t depth = l->depth;
    struct at inner;
    uint32_t local = declare_local(l, "arg", DTYPE_I64, size);
    open_axes(l, node, x, at, &inner);
    expr_id v = gen(l, node->operands[0], &inner), hit = expr_binary(n, EXPR_EQ, v, best);
    if (dtype_is_float(dtype))
        hit = expr_binary(n, EXPR_OR, hit, expr_binary(n, EXPR_NE, v, v));
    expr_id found = finish(l, value, local, depth, COMBINE_MIN,
                           expr_select(n, hit, inner.idx[node->attrs->axis], size));
    int64_t lo, hi;
    dim_range(&l->graph->dims, extent, &lo, &hi);
    return lo > 0 ? found
                  : expr_select(n, expr_binary(n, EXPR_EQ, size, index_const(n, 0)),
                                index_const(n, 0), found);
}

static expr_id gen_contract(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    const struct node *a = graph_node(l->graph, node->operands[0]),
                      *b = graph_node(l->graph, node->operands[1]);
    uint32_t batch = node->attrs->batch, contract = node->attrs->contract, depth = l->depth;
    uint32_t m = a->rank - batch - contract, n = b->rank - batch - contract;
    enum dtype dtype = compute_dtype(node->dtype);
    struct at at_a = *at, at_b = *at;
    uint32_t local = declare_local(l, "acc", dtype, expr_const(l->nest, dtype, 0));
    for (uint32_t i = 0; i < n; i++)
        at_b.idx[batch + i] = at->idx[batch + m + i];
    for (uint32_t i = 0; i < contract; i++) {
        limit_row(
            l, node->operands[0], at,
            open_loop(l, OVER_DEPTH, a->shape[batch + m + i], false, &at_a.idx[batch + m + i]));
        at_b.idx[batch + n + i] = at_a.idx[batch + m + i];
    }
    expr_id x = gen(l, node->operands[0], &at_a), y = gen(l, node->operands[1], &at_b);
    return finish(l, value, local, depth, COMBINE_SUM, expr_binary(l->nest, EXPR_MUL, x, y));
}

/* The operand's index that window element k of output o reads: o*stride + k*dilation - low. inside:
 * and the condition that there is such an element. */
static expr_id window_position(struct lowering *l, const struct window *w, expr_id o, expr_id k,
                               dim_id extent, expr_id *inside)
{
    struct nest *n = l->nest;
    expr_id p = index_add(n, index_mul(n, o, index_const(n, w->stride)),
                          index_mul(n, k, index_const(n, w->dilation)));
    p = index_sub(n, p, index_const(n, w->low));
    expr_id zero = index_const(n, 0), ok = expr_binary(n, EXPR_LE, zero, p);
    if (w->base_dilation > 1) {
        expr_id step = index_const(n, w->base_dilation);
        ok = expr_binary(n, EXPR_AND, ok,
                         expr_binary(n, EXPR_EQ, index_mod(n, index_max(n, p, zero), step), zero));
        p = index_div(n, index_max(n, p, zero), step);
    }
    ok = expr_binary(n, EXPR_AND, ok, expr_binary(n, EXPR_LT, p, expr_dim(n, extent)));
    *inside = *inside == EXPR_NONE ? ok : expr_binary(n, EXPR_AND, *inside, ok);
    return p;
}

static expr_id known_or_none(struct lowering *l, expr_id guard)
{
    const struct expr *x = expr_at(l->nest, guard);
    return x->op == EXPR_CONST && x->integer ? EXPR_NONE : guard;
}

/* Shortens a window's loop to the elements inside the image:
 *
 *   max(0, low - o·stride) ≤ k < min(size, extent + low - o·stride)
 *
 * Returns the number k of the element. No further condition is needed for it to lie inside. */
static expr_id limit_window(struct lowering *l, const struct window *w, uint32_t var, expr_id o,
                            dim_id extent)
{
    struct nest *n = l->nest;
    expr_id start =
        index_sub(n, index_mul(n, o, index_const(n, w->stride)), index_const(n, w->low));
    expr_id zero = index_const(n, 0), size = n->vars.items[var].extent;
    expr_id below = index_sub(n, expr_dim(n, extent), start), above = index_sub(n, zero, start);
    expr_id first = index_le(n, above, zero) ? zero : index_max(n, zero, above);
    expr_id end = index_le(n, size, below) ? size : index_min(n, size, below);
    n->vars.items[var].extent = index_sub(n, end, first);
    return index_add(n, expr_var(n, var), first);
}

/* The loops of a convolution over channels and windows. If the image is stored channels last, the
 * loop over channels is innermost, and all window loops but the last are shortened at the borders.
 * The last one keeps its guard: vector or row loops are around it, for whose iterations its extent
 * would differ. */
static void open_conv(struct lowering *l, const struct node *node, const struct at *at,
                      expr_id *weight, expr_id *position, expr_id *inside)
{
    const struct node *x = graph_node(l->graph, node->operands[0]),
                      *w = graph_node(l->graph, node->operands[1]);
    uint32_t count = node->attrs->window_count;
    bool last = x->prim == PRIM_TRANSPOSE && x->attrs->axes[1] + 1 == x->rank;
    if (!last)
        open_loop(l, OVER_INPUT, w->shape[1], false, &weight[1]);
    for (uint32_t i = 0; i < count; i++) {
        const struct window *window = &node->attrs->window[i];
        expr_id o = at->idx[2 + i], ignored = EXPR_NONE;
        uint32_t var = open_loop(l, OVER_WINDOW, w->shape[2 + i], false, &weight[2 + i]);
        bool limited = last && i + 1 < count && var != VAR_NONE && window->base_dilation == 1 &&
                       window->dilation == 1;
        if (limited)
            weight[2 + i] = limit_window(l, window, var, o, x->shape[2 + i]);
        position[2 + i] = window_position(l, window, o, weight[2 + i], x->shape[2 + i],
                                          limited ? &ignored : inside);
    }
    if (last)
        open_loop(l, OVER_INPUT, w->shape[1], false, &weight[1]);
}

static expr_id gen_conv(struct lowering *l, value_id value, const struct at *at)
{
    struct nest *n = l->nest;
    const struct node *node = graph_node(l->graph, value);
    const struct node *w = graph_node(l->graph, node->operands[1]);
    const struct attrs *a = node->attrs;
    uint32_t depth = l->depth;
    enum dtype dtype = compute_dtype(node->dtype);
    struct at at_x = *at, at_w = {.guard = EXPR_NONE};
    uint32_t local = declare_local(l, "acc", dtype, expr_const(n, dtype, 0));
    expr_id inside = at->guard;
    open_conv(l, node, at, at_w.idx, at_x.idx, &inside);
    at_w.idx[0] = at->idx[1];
    at_x.idx[1] = at_w.idx[1];
    if (a->groups > 1) {
        int64_t per_group = 0;
        dim_is_const(&l->graph->dims, w->shape[0], &per_group);
        expr_id group = index_div(n, at->idx[1], index_const(n, per_group / a->groups));
        at_x.idx[1] = index_add(n, index_mul(n, group, expr_dim(n, w->shape[1])), at_w.idx[1]);
    }
    at_x.guard = inside == EXPR_NONE ? EXPR_NONE : known_or_none(l, inside);
    expr_id v = gen(l, node->operands[0], &at_x), weight = gen(l, node->operands[1], &at_w);
    const struct expr *load = expr_at(n, v); /* a load under the same guard gives 0 outside of the
                                                image by itself */
    if (at_x.guard != EXPR_NONE && !(load->op == EXPR_LOAD && load->operand[1] == at_x.guard))
        v = expr_select(n, at_x.guard, v, expr_const(n, dtype, 0));
    return finish(l, value, local, depth, COMBINE_SUM, expr_binary(n, EXPR_MUL, v, weight));
}

static expr_id gen_window(struct lowering *l, value_id value, const struct at *at)
{
    struct nest *n = l->nest;
    const struct node *node = graph_node(l->graph, value);
    const struct node *x = graph_node(l->graph, node->operands[0]);
    enum combine combine = combine_of_prim((enum prim)node->prim);
    enum dtype dtype = compute_dtype(node->dtype);
    uint32_t depth = l->depth, first = x->rank - node->attrs->window_count;
    struct dim_table *dims = &l->graph->dims;
    struct at inner = *at;
    expr_id inside = at->guard, identity = combine_identity(n, combine, dtype);
    uint32_t local = declare_local(l, "acc", dtype, identity);
    for (uint32_t i = 0; i < node->attrs->window_count; i++) {
        const struct window *w = &node->attrs->window[i];
        expr_id k;
        open_loop(l, OVER_WINDOW, dim_const(dims, w->size), false, &k);
        inner.idx[first + i] =
            window_position(l, w, at->idx[first + i], k, x->shape[first + i], &inside);
    }
    inner.guard = inside == EXPR_NONE ? EXPR_NONE : known_or_none(l, inside);
    expr_id v = gen(l, node->operands[0], &inner);
    if (inner.guard != EXPR_NONE)
        v = expr_select(n, inner.guard, v, identity);
    return finish(l, value, local, depth, combine, v);
}

expr_id gen_reduction(struct lowering *l, value_id value, const struct at *at)
{
    const struct node *node = graph_node(l->graph, value);
    struct place saved;
    expr_id out;
    go_out(l, at, node->rank, &saved);
    switch ((enum prim)node->prim) {
    case PRIM_ARGMAX:
    case PRIM_ARGMIN: out = gen_arg(l, value, at); break;
    case PRIM_CONTRACT: out = gen_contract(l, value, at); break;
    case PRIM_CONV: out = gen_conv(l, value, at); break;
    case PRIM_WINDOW_SUM:
    case PRIM_WINDOW_MAX: out = gen_window(l, value, at); break;
    default: out = gen_reduce(l, value, at); break;
    }
    come_back(l, &saved);
    return out;
}
