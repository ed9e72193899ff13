/* Roots that are not one store per element: cumulative sums, sorting, scattering. */
#include "compiler/lower/lower_priv.h"

static enum combine scan_combine(enum prim prim)
{
    return prim == PRIM_CUM_PROD ? COMBINE_PROD : prim == PRIM_CUM_MAX ? COMBINE_MAX : COMBINE_SUM;
}

/* Opens a loop over every dim but axis (-1: all). Those over updates depend on each other. */
static void open_all(struct lowering *l, const struct node *node, int32_t axis, enum loop_role role,
                     struct at *at)
{
    bool independent = role != OVER_UPDATE;
    at->guard = EXPR_NONE;
    for (uint32_t i = 0; i < node->rank; i++)
        if ((int32_t)i != axis)
            open_loop(l, role, node->shape[i], independent, &at->idx[i]);
}

#define SCAN_BLOCK 32 /* elements in a block, or blocks in the next larger block */
#define MAX_SCAN_LEVELS 5

/* A cumulative sum along an axis. Sums of floats run in blocks, and blocks of blocks. Each block
 * has a running sum of its own, to which the sum before the block is added when an element is
 * stored, so the error grows with the logarithm of the length and not with the length:
 *
 *   local run1 = 0
 *   for s1
 *     local run0 = 0, before = run1
 *     for s0: run0 += x; y = before + run0
 *     run1 += run0
 *
 * An exclusive sum is stored before the update. */
struct scan {
    const struct node *node;
    enum combine combine;
    enum dtype dtype;
    uint32_t out;
    dim_id extent; /* of the axis: the outermost loop is counted with this extent and those inside
                      with 1, because all blocks together run over the axis once */
    struct at at;
};

static uint32_t scan_local(struct lowering *l, const char *name, enum dtype dtype, expr_id value)
{
    uint32_t local = nest_local(l->nest, name, dtype);
    l->local_depth[local] = l->depth;
    block_add(l->nest, block_here(l), stmt_local(l->nest, local, value));
    return local;
}

/* Stores element i of the axis. before: the sum of all blocks before its own; EXPR_NONE: none. */
static void scan_element(struct lowering *l, struct scan *s, uint32_t run, expr_id before,
                         expr_id i)
{
    struct nest *n = l->nest;
    const struct attrs *attrs = s->node->attrs;
    uint32_t axis = (uint32_t)attrs->axis;
    expr_id last = index_sub(n, expr_dim(n, s->node->shape[axis]), index_const(n, 1));
    s->at.idx[axis] = attrs->reverse ? index_sub(n, last, i) : i;
    expr_id flat = gen_flat(l, s->node, s->at.idx), v = gen(l, s->node->operands[0], &s->at);
    expr_id sum = expr_local(n, run);
    if (before != EXPR_NONE)
        sum = expr_binary(n, EXPR_ADD, before, sum);
    struct stmt *store = stmt_store(n, s->out, flat, sum, EXPR_NONE);
    if (attrs->exclusive)
        block_add(n, block_here(l), store);
    block_add(n, block_here(l), stmt_update(n, run, s->combine, v));
    work_add(l, l->group->root, l->depth);
    if (!attrs->exclusive)
        block_add(n, block_here(l), store);
}

/* Sums elements [first, first + extent) of the axis, in blocks of `size` of the next level. Returns
 * the local with their sum. */
static uint32_t scan_level(struct lowering *l, struct scan *s, expr_id first, expr_id extent,
                           int64_t size, expr_id before)
{
    struct nest *n = l->nest;
    uint32_t run = scan_local(l, "run", s->dtype, combine_identity(n, s->combine, s->dtype));
    expr_id blocks =
        index_div(n, index_add(n, extent, index_const(n, size - 1)), index_const(n, size));
    uint32_t var = nest_var(n, loop_role_stem(OVER_SCAN), OVER_SCAN, blocks), depth = l->depth;
    l->extent[var] = before == EXPR_NONE ? s->extent : dim_const(&l->graph->dims, 1);
    l->open[l->depth++] = stmt_for(n, var, false);
    expr_id start = index_mul(n, expr_var(n, var), index_const(n, size));
    expr_id place = index_add(n, first, start);
    if (size == 1) {
        scan_element(l, s, run, before, place);
    } else {
        expr_id sum = expr_local(n, run);
        sum = before == EXPR_NONE ? sum : expr_binary(n, EXPR_ADD, before, sum);
        expr_id all = expr_local(n, scan_local(l, "before", s->dtype, sum));
        expr_id left = index_min(n, index_const(n, size), index_sub(n, extent, start));
        uint32_t block = scan_level(l, s, place, left, size / SCAN_BLOCK, all);
        block_add(n, block_here(l), stmt_update(n, run, s->combine, expr_local(n, block)));
    }
    close_loops(l, depth);
    return run;
}

static void lower_scan(struct lowering *l, const struct node *node)
{
    dim_id extent = node->shape[node->attrs->axis];
    struct scan s = {.node = node,
                     .combine = scan_combine((enum prim)node->prim),
                     .dtype = compute_dtype(node->dtype),
                     .extent = extent,
                     .out = gen_output(l)};
    int64_t lo, hi, size = 1;
    open_all(l, node, node->attrs->axis, OVER_ELEMENT, &s.at);
    dim_range(&l->graph->dims, extent, &lo, &hi);
    bool blocks = s.combine == COMBINE_SUM && dtype_is_float(s.dtype);
    for (int level = 1; blocks && level < MAX_SCAN_LEVELS && hi / size > 2 * SCAN_BLOCK; level++)
        size *= SCAN_BLOCK;
    scan_level(l, &s, index_const(l->nest, 0), expr_dim(l->nest, extent), size, EXPR_NONE);
    close_loops(l, 0);
}

/* Whether x sorts before y by value: ascending with NaN last, or the mirror image. */
static expr_id sorts_before(struct nest *n, expr_id x, expr_id y, bool descending)
{
    if (descending) {
        expr_id t = x;
        x = y;
        y = t;
    }
    expr_id less = expr_binary(n, EXPR_LT, x, y);
    if (!dtype_is_float(expr_at(n, x)->dtype))
        return less;
    expr_id x_nan = expr_binary(n, EXPR_NE, x, x), y_nan = expr_binary(n, EXPR_NE, y, y);
    return expr_binary(n, EXPR_OR, less,
                       expr_binary(n, EXPR_AND, expr_unary(n, EXPR_NOT, x_nan), y_nan));
}

/* An element's rank is the number of elements that sort before it; its index is stored there. */
static void lower_argsort(struct lowering *l, const struct node *node)
{
    struct nest *n = l->nest;
    uint32_t out = gen_output(l), axis = (uint32_t)node->attrs->axis;
    struct at at, other;
    open_all(l, node, -1, OVER_ELEMENT, &at);
    expr_id i = at.idx[axis], mine = gen(l, node->operands[0], &at), j;
    uint32_t local = nest_local(n, "rank", DTYPE_I64), depth = l->depth;
    l->local_depth[local] = l->depth;
    block_add(n, block_here(l), stmt_local(n, local, expr_int(n, DTYPE_I64, 0)));
    open_loop(l, OVER_RIVAL, node->shape[axis], false, &j);
    other = at;
    other.idx[axis] = j;
    expr_id theirs = gen(l, node->operands[0], &other);
    expr_id before = sorts_before(n, theirs, mine, node->attrs->reverse),
            after = sorts_before(n, mine, theirs, node->attrs->reverse);
    expr_id tie =
        expr_binary(n, EXPR_AND, expr_unary(n, EXPR_NOT, after), expr_binary(n, EXPR_LT, j, i));
    expr_id counts = expr_cast(n, expr_binary(n, EXPR_OR, before, tie), DTYPE_I64);
    block_add(n, block_here(l), stmt_update(n, local, COMBINE_SUM, counts));
    work_add(l, l->group->root, l->depth);
    close_loops(l, depth);
    struct at place = at;
    place.idx[axis] = expr_local(n, local);
    block_add(n, block_here(l), stmt_store(n, out, gen_flat(l, node, place.idx), i, EXPR_NONE));
    close_loops(l, 0);
}

static expr_id scattered(struct nest *n, enum scatter_mode mode, expr_id old, expr_id new)
{
    switch (mode) {
    case SCATTER_ADD: return expr_binary(n, EXPR_ADD, old, new);
    case SCATTER_MAX: return expr_binary(n, EXPR_MAX, old, new);
    case SCATTER_MIN: return expr_binary(n, EXPR_MIN, old, new);
    case SCATTER_SET: break;
    }
    return new;
}

/* A copy of the base, then the updates one by one in row-major order. */
static void lower_scatter(struct lowering *l, const struct node *node)
{
    struct nest *n = l->nest;
    const struct node *updates = graph_node(l->graph, node->operands[2]);
    uint32_t out = gen_output(l), axis = (uint32_t)node->attrs->axis;
    struct at at;
    open_all(l, node, -1, OVER_ELEMENT, &at);
    expr_id base = gen(l, node->operands[0], &at);
    block_add(n, block_here(l), stmt_store(n, out, gen_flat(l, node, at.idx), base, EXPR_NONE));
    close_loops(l, 0);
    open_all(l, updates, -1, OVER_UPDATE, &at);
    expr_id index = expr_cast(n, gen(l, node->operands[1], &at), DTYPE_I64),
            new = gen(l, node->operands[2], &at);
    expr_id low = expr_binary(n, EXPR_LE, index_const(n, 0), index);
    expr_id high = expr_binary(n, EXPR_LT, index, expr_dim(n, node->shape[axis]));
    expr_id inside = expr_binary(n, EXPR_AND, low, high);
    at.idx[axis] = index;
    expr_id flat = gen_flat(l, node, at.idx), old = expr_load(n, out, flat, inside);
    if (node->attrs->mode == SCATTER_MAX || node->attrs->mode == SCATTER_MIN) { /* a NaN wins, as in
                                                                                   prims min and
                                                                                   max */
        expr_id nan = expr_binary(n, EXPR_NE, old, old);
        expr_id v = scattered(n, (enum scatter_mode)node->attrs->mode, old, new);
        new = dtype_is_float(node->dtype) ? expr_select(n, nan, old, v) : v;
    } else
        new = scattered(n, (enum scatter_mode)node->attrs->mode, old, new);
    block_add(n, block_here(l), stmt_store(n, out, flat, new, inside));
    work_add(l, l->group->root, l->depth);
    close_loops(l, 0);
}

bool lower_special(struct lowering *l)
{
    const struct node *node = graph_node(l->graph, l->group->root);
    switch ((enum prim)node->prim) {
    case PRIM_CUM_SUM:
    case PRIM_CUM_PROD:
    case PRIM_CUM_MAX: lower_scan(l, node); return true;
    case PRIM_ARGSORT: lower_argsort(l, node); return true;
    case PRIM_SCATTER: lower_scatter(l, node); return true;
    default: return false;
    }
}
