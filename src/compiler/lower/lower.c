/* A kernel's outer loops, over the elements of the anchor or, without one, of the root, with one
 * store inside. */
#include <stdlib.h>

#include "compiler/lower/lower_priv.h"

struct block *block_here(struct lowering *l)
{
    return l->depth ? &l->open[l->depth - 1]->body : &l->nest->body;
}

/* open_loop with a given name. */
static uint32_t open_named(struct lowering *l, const char *name, enum loop_role role, dim_id extent,
                           bool independent, expr_id *out_index)
{
    int64_t n;
    if (dim_is_const(&l->graph->dims, extent, &n) && n == 1) {
        *out_index = index_const(l->nest, 0);
        return VAR_NONE;
    }
    if (l->nest->vars.count >= NEST_MAX_VARS - 16 || l->depth == MAX_OPEN) { /* schedule steps make
                                                                                more */
        l->failed = l->failed || !fail(l->err, ERR_LIMIT, "a kernel with more than %d loops",
                                       NEST_MAX_VARS - 16);
        *out_index = index_const(l->nest, 0);
        return VAR_NONE;
    }
    uint32_t var = nest_var(l->nest, name, role, expr_dim(l->nest, extent));
    l->extent[var] = extent;
    l->open[l->depth++] = stmt_for(l->nest, var, independent);
    *out_index = expr_var(l->nest, var);
    return var;
}

uint32_t open_loop(struct lowering *l, enum loop_role role, dim_id extent, bool independent,
                   expr_id *out_index)
{
    return open_named(l, loop_role_stem(role), role, extent, independent, out_index);
}

void close_loops(struct lowering *l, uint32_t depth)
{
    while (l->depth > depth) {
        struct stmt *loop = l->open[--l->depth];
        block_add(l->nest, block_here(l), loop);
    }
}

/* The values of the kernel from one of them to the root. Ids between the two are those of any
 * kernel, so nothing here is as long as their difference. */
struct span {
    value_id *values; /* ascending: from the first one to the root */
    bool *reached;    /* by place in values: computed from the first, which is */
    uint32_t count;
};

static int compare_values(const void *a, const void *b)
{
    value_id x = *(const value_id *)a, y = *(const value_id *)b;
    return (x > y) - (x < y);
}

/* Whether the value is computed from the span's first. */
static bool is_reached(const struct span *span, value_id v)
{
    const value_id *at =
        bsearch(&v, span->values, span->count, sizeof *span->values, compare_values);
    return at && span->reached[at - span->values];
}

static struct span span_from(struct lowering *l, value_id first)
{
    struct arena *arena = l->nest->arena;
    VEC(value_id) values = {0};
    struct map met = {0};
    VEC_PUSH(arena, &values, l->group->root);
    for (uint32_t i = 0; i < values.count; i++) {
        const struct node *node = graph_node(l->graph, values.items[i]);
        for (uint32_t k = 0; k < node->operand_count; k++) {
            value_id o = node->operands[k];
            uint32_t cursor = 0, same;
            if (o < first || l->partition->values[o].place != PLACE_INLINE ||
                map_next(&met, o, &cursor, &same))
                continue;
            map_add(&met, arena, o, o);
            VEC_PUSH(arena, &values, o);
        }
    }
    qsort(values.items, values.count, sizeof *values.items, compare_values);
    struct span span = {values.items, ARENA_ARRAY(arena, bool, values.count), values.count};
    for (uint32_t i = 0; i < span.count; i++) {
        const struct node *node = graph_node(l->graph, span.values[i]);
        span.reached[i] = span.values[i] == first;
        for (uint32_t k = 0; k < node->operand_count && !span.reached[i]; k++)
            span.reached[i] = is_reached(&span, node->operands[k]);
    }
    return span;
}

/* The root's index at an index of the anchor: follows a chain of elementwise prims, reshapes and
 * transposes from the anchor to the root. If there are several chains, all give the same index. */
static void index_of_root(struct lowering *l, const struct at *anchor_at, struct at *out)
{
    value_id anchor = l->group->anchor, root = l->group->root;
    const struct span span = span_from(l, anchor);
    value_id *chain = ARENA_ARRAY(l->nest->arena, value_id, span.count);
    uint32_t count = 0;
    for (value_id v = root; v != anchor;) {
        const struct node *node = graph_node(l->graph, v);
        value_id next = VALUE_NONE;
        for (uint32_t i = 0; i < node->operand_count && next == VALUE_NONE; i++)
            if (is_reached(&span, node->operands[i]))
                next = node->operands[i];
        assert(next != VALUE_NONE &&
               "the partition lets an anchor in only if it leads to the root");
        chain[count++] = v;
        v = next;
    }
    *out = *anchor_at;
    while (count-- > 0) {
        struct at before = *out;
        const struct node *node = graph_node(l->graph, chain[count]);
        if (!view_forward(l, node, &before, out) && !l->failed)
            l->failed = !fail(l->err, ERR_BUG, "the cut put '%s' between an anchor and its root",
                              prim_info((enum prim)node->prim)->name);
    }
}

static const char *dim_name(uint32_t i)
{
    static const char *const names[] = {"i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7"};
    return names[i];
}

/* The role of the loop over a dim of the domain. */
static enum loop_role dim_role(const struct lowering *l, uint32_t dim)
{
    const struct node *anchor = graph_node(l->graph, l->group->anchor);
    if (l->group->anchor == VALUE_NONE)
        return OVER_ELEMENT;
    if (anchor->prim == PRIM_CONV)
        return dim == 0 ? OVER_IMAGE : dim == 1 ? OVER_CHANNEL : OVER_PIXEL;
    if (anchor->prim != PRIM_CONTRACT)
        return OVER_ELEMENT;
    uint32_t batch = anchor->attrs->batch;
    uint32_t rows =
        graph_node(l->graph, anchor->operands[0])->rank - batch - anchor->attrs->contract;
    return dim < batch ? OVER_BATCH : dim < batch + rows ? OVER_ROW : OVER_COLUMN;
}

/* Stores what the rows of the product are made of, before the product: first the staged value,
 * whose mask may limit all loops over keys; then the reductions of the row in order, because each
 * keeps what later ones load; then the operand of the product. */
static void lower_rows(struct lowering *l, const struct at *at)
{
    value_id staged = l->group->staged;
    uint32_t last = graph_node(l->graph, staged)->rank - 1u;
    struct at row = *at;
    row.idx[last] = index_const(l->nest, 0);
    stage_value(l, staged, &row);
    const struct span span = span_from(l, staged);
    for (uint32_t i = 0; i < span.count; i++) {
        value_id v = span.values[i];
        enum prim prim = (enum prim)graph_node(l->graph, v)->prim;
        if (v != staged && span.reached[i] && l->partition->values[v].in_rows &&
            (prim == PRIM_REDUCE_MAX || prim == PRIM_REDUCE_SUM))
            gen(l, v, at);
    }
    value_id weights = graph_node(l->graph, l->group->anchor)->operands[0];
    if (l->partition->values[weights].kept)
        return;
    l->weights = weights;
    stage_value(l, weights, &row);
}

/* The loop over a dim; two loops, over blocks of `size` and inside them, where size is not 0. */
static expr_id open_dim(struct lowering *l, uint32_t dim, dim_id extent, int64_t size)
{
    struct dim_table *dims = &l->graph->dims;
    enum loop_role role = dim_role(l, dim);
    dim_id blocks = size ? dim_div_exact(dims, extent, dim_const(dims, size)) : DIM_NONE;
    uint32_t before = l->nest->vars.count;
    struct pieces pieces = {.count = 0};
    expr_id index, inside;
    if (blocks == DIM_NONE && l->group->anchor == VALUE_NONE)
        find_pieces(l, l->group->root, dim, &pieces);
    if (pieces.count > 0) {
        index = open_pieces(l, role, extent, &pieces);
    } else if (blocks == DIM_NONE) {
        l->dim_var[dim] = open_named(l, dim_name(dim), role, extent, true, &index);
    } else {
        open_named(l, dim_name(dim), role, blocks, true, &index);
        open_named(l, dim_name(dim), role, dim_const(dims, size), true, &inside);
        index = index_add(l->nest, index_mul(l->nest, index, index_const(l->nest, size)), inside);
    }
    l->dim_vars[dim] = 0;
    for (uint32_t var = before; var < l->nest->vars.count; var++)
        l->dim_vars[dim] |= UINT64_C(1) << var;
    return index;
}

static void lower_store(struct lowering *l, const uint8_t *order, const int64_t *parts)
{
    const struct node *root = graph_node(l->graph, l->group->root);
    value_id domain_value = l->group->anchor != VALUE_NONE ? l->group->anchor : l->group->root;
    const struct node *domain = graph_node(l->graph, domain_value);
    struct at at = {.guard = EXPR_NONE}, root_at;
    for (uint32_t i = 0; i < domain->rank; i++)
        at.idx[order[i]] = open_dim(l, order[i], domain->shape[order[i]], parts[order[i]]);
    root_at = at;
    if (l->group->anchor != VALUE_NONE)
        index_of_root(l, &at, &root_at);
    uint32_t out = gen_output(l);
    if (l->group->staged != VALUE_NONE)
        lower_rows(l, &at);
    expr_id index = gen_flat(l, root, root_at.idx);
    expr_id value = gen(l, l->group->root, &root_at);
    block_add(l->nest, block_here(l), stmt_store(l->nest, out, index, value, EXPR_NONE));
    close_loops(l, 0);
}

static void begin(struct lowering *l, const struct lowering *like, struct arena *arena,
                  struct nest *nest)
{
    *l = (struct lowering){.graph = like->graph,
                           .partition = like->partition,
                           .group = like->group,
                           .nest = nest,
                           .work = like->work,
                           .err = like->err};
    nest_init(nest, arena, &like->graph->dims, like->group->label);
    memset(l->dim_var, 0xff, sizeof l->dim_var);
    if (l->work)
        work_clear(l->work);
}

/* Better loops than those in natural order: dims are divided into blocks where reductions are
 * indexed by blocks, and loops that indices of reductions depend on come first, because a reduction
 * is computed again in every loop around it. */
static bool better_loops(const struct lowering *l, uint8_t *order, int64_t *parts)
{
    const struct node *root = graph_node(l->graph, l->group->root);
    uint32_t score[LIMIT_RANK] = {0};
    for (uint32_t i = 0; i < root->rank; i++)
        for (uint32_t r = 0; r < l->row_vars.count; r++)
            score[i] += (l->row_vars.items[r] & l->dim_vars[i]) != 0;
    bool changed = false;
    for (uint32_t i = 0; i < root->rank; i++) {
        parts[i] = l->parts[i];
        changed |= parts[i] > 0;
    }
    for (uint32_t i = 1; i < root->rank; i++) { /* stable insertion sort, highest score first */
        for (uint32_t j = i; j > 0 && score[order[j]] > score[order[j - 1]]; j--) {
            uint8_t t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
            changed = true;
        }
    }
    return changed;
}

bool lower_counted(const struct lower_task *task, struct kernel_work *work, struct nest *out,
                   struct error *err)
{
    struct lowering like = {.graph = task->graph,
                            .partition = task->partition,
                            .group = task->group,
                            .work = work,
                            .err = err},
                    l;
    uint8_t order[LIMIT_RANK] = {0, 1, 2, 3, 4, 5, 6, 7};
    int64_t parts[LIMIT_RANK] = {0};
    begin(&l, &like, task->arena, out);
    if (!lower_special(&l)) {
        lower_store(&l, order, parts);
        if (!l.failed && l.group->anchor == VALUE_NONE && l.row_vars.count > 0 &&
            better_loops(&l, order, parts)) {
            begin(&l, &like, task->arena, out);
            lower_store(&l, order, parts);
        }
    }
    if (l.failed)
        return fail_at(err, "kernel '%s'", l.group->label);
    return nest_verify(out, err);
}

bool lower_group(const struct lower_task *task, struct nest *out, struct error *err)
{
    return lower_counted(task, NULL, out, err);
}
