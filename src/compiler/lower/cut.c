/* The cut, with a bound on what is computed again.
 *
 *   cut ─► lower, count ─► a kernel does more than 5/4 of what is asked of it?
 *    ▲                                        │ yes
 *    └─── store the worst value of each ◄─────┘
 *
 * The rules of the cut (opt/partition.c) say what may be inlined; what that costs is only known
 * where lowering has placed everything: a reduction behind padding runs for each element where its
 * index is a flattened one, and before the loops where it is not. So it is counted there, and what
 * does not keep the bound is cut again, until all do. Each round stores one more value at least, of
 * each kernel that is over the bound; what is left at last is computed once.
 *
 * The bound is proved for all legal sizes, by terms of polynomials that outweigh each other. What
 * cannot be proved is taken for broken.
 *
 * Worst is the value whose storing saves the most operations at typical sizes, or else at the
 * least; among those that save more than half as much, the one with the fewest elements, and then
 * the last: a reduction rather than what it reads. */
#include <math.h>
#include <stdlib.h>

#include "compiler/lower/lower_priv.h"

#define DONE_MOST 5 /* quarters of what is asked */
#define QUARTERS 4

struct cutter {
    struct graph *graph;
    struct arena *arena;
    struct partition *partition;
    bool *stored;    /* by value: by this file's decision */
    bool *asked_for; /* by value: of an earlier kernel of a call */
    bool prepare;    /* this kernel is no part of a call */
    struct kernel_work work;
    value_id *user; /* by value: the one that reads it in this kernel; VALUE_NONE, SEVERAL */
    double *saving; /* by value */
};

#define SEVERAL UINT32_MAX

enum sizes { SIZES_TYPICAL, SIZES_LEAST, SIZES_COUNT };

static double size_of(const struct dim_table *dims, dim_id dim, enum sizes sizes)
{
    int64_t values[LIMIT_NAMED_DIMS], value;
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *n = &dims->names.items[i];
        bool typical = sizes == SIZES_TYPICAL && n->typical > 0;
        values[i] = typical ? n->typical : n->min;
    }
    return dim != DIM_NONE && dim_eval(dims, dim, values, &value) ? (double)value : INFINITY;
}

static int compare_values(const void *a, const void *b)
{
    value_id x = *(const value_id *)a, y = *(const value_id *)b;
    return (x > y) - (x < y);
}

static dim_id asked_here(const struct cutter *c, value_id v)
{
    return c->asked_for[v] && !c->prepare ? dim_const(&c->graph->dims, 0) : c->work.asked[v];
}

/* How many operations more than asked; not more than 0 where that is none. */
static double excess(const struct cutter *c, value_id v, enum sizes sizes)
{
    struct dim_table *dims = &c->graph->dims;
    dim_id asked = asked_here(c, v), done = c->work.done[v];
    if (sizes == SIZES_COUNT) /* at some size, perhaps */
        return asked != done;
    double most = size_of(dims, done, sizes);
    return isinf(most) ? most : most - size_of(dims, asked, sizes);
}

static void find_users(struct cutter *c)
{
    for (uint32_t i = 0; i < c->work.values.count; i++)
        c->user[c->work.values.items[i]] = VALUE_NONE;
    for (uint32_t i = 0; i < c->work.values.count; i++) {
        value_id v = c->work.values.items[i];
        const struct node *n = graph_node(c->graph, v);
        for (uint32_t k = 0; k < n->operand_count; k++) {
            value_id *user = &c->user[n->operands[k]];
            *user = *user == VALUE_NONE || *user == v ? v : SEVERAL;
        }
    }
}

/* By value: an estimate of what storing it saves: what it computes again itself, and what those of
 * its producers do that have one user and as many elements. */
static void find_savings(struct cutter *c, enum sizes sizes)
{
    for (uint32_t i = 0; i < c->work.values.count; i++)
        c->saving[c->work.values.items[i]] = 0;
    for (uint32_t i = 0; i < c->work.values.count; i++) { /* operands come first */
        value_id v = c->work.values.items[i], user = c->user[v];
        double more = excess(c, v, sizes);
        c->saving[v] += more > 0 ? more : 0;
        if (user != VALUE_NONE && user != SEVERAL &&
            graph_elements(c->graph, user) == graph_elements(c->graph, v))
            c->saving[user] += c->saving[v];
    }
}

static bool may_be_stored(const struct cutter *c, value_id v, value_id root, enum sizes sizes)
{
    return v != root && !work_moves_only(c->graph, v) && excess(c, v, sizes) > 0;
}

static value_id worst_at(struct cutter *c, value_id root, enum sizes sizes)
{
    value_id worst = VALUE_NONE;
    double most = 0, fewest = INFINITY;
    find_savings(c, sizes);
    for (uint32_t i = 0; i < c->work.values.count; i++) {
        value_id v = c->work.values.items[i];
        if (may_be_stored(c, v, root, sizes) && c->saving[v] > most)
            most = c->saving[v];
    }
    for (uint32_t i = 0; i < c->work.values.count; i++) {
        value_id v = c->work.values.items[i];
        double elements = size_of(&c->graph->dims, graph_elements(c->graph, v), SIZES_TYPICAL);
        bool saves = c->saving[v] > most / 2 || isinf(c->saving[v]);
        if (!may_be_stored(c, v, root, sizes) || !saves || elements > fewest)
            continue;
        worst = v;
        fewest = elements;
    }
    return worst;
}

static value_id worst_value(struct cutter *c, value_id root)
{
    value_id worst = VALUE_NONE;
    qsort(c->work.values.items, c->work.values.count, sizeof(value_id), compare_values);
    find_users(c);
    for (int sizes = 0; sizes <= SIZES_COUNT && worst == VALUE_NONE; sizes++)
        worst = worst_at(c, root, (enum sizes)sizes);
    return worst;
}

/* Whether this round stored a value of the kernel: then the next one cuts it anew anyway. */
static bool changes(const struct cutter *c, value_id root)
{
    for (uint32_t i = 0; i < c->work.values.count; i++)
        if (c->work.values.items[i] != root && c->stored[c->work.values.items[i]])
            return true;
    return false;
}

/* Adds up the kernel just lowered; a value to store where it is over the bound. */
static value_id judge(struct cutter *c, const struct group *group, struct lowered_group *out)
{
    struct dim_table *dims = &c->graph->dims;
    out->asked = out->done = dim_const(dims, 0);
    c->prepare = group->prepare;
    for (uint32_t i = 0; i < c->work.values.count; i++) {
        value_id v = c->work.values.items[i];
        out->asked = dim_add(dims, out->asked, asked_here(c, v));
        out->done = dim_add(dims, out->done, c->work.done[v]);
    }
    dim_id most = dim_mul(dims, out->asked, dim_const(dims, DONE_MOST));
    dim_id done = dim_mul(dims, out->done, dim_const(dims, QUARTERS));
    value_id worst = VALUE_NONE;
    if (!changes(c, group->root) && !dim_never_negative(dims, dim_sub(dims, most, done)))
        worst = worst_value(c, group->root);
    for (uint32_t i = 0; i < c->work.values.count && !c->prepare; i++)
        c->asked_for[c->work.values.items[i]] = true;
    return worst;
}

static bool lower_round(struct cutter *c, struct lowered_group *out, bool *out_again,
                        struct error *err)
{
    *out_again = false;
    for (uint32_t i = 0; i < c->partition->groups.count; i++) {
        const struct group *group = &c->partition->groups.items[i];
        struct lowered_group *k = &out[i];
        k->nest = ARENA_NEW(c->arena, struct nest);
        const struct lower_task task = {c->graph, c->partition, group, c->arena};
        if (!lower_counted(&task, &c->work, k->nest, err))
            return false;
        value_id worst = judge(c, group, k);
        if (worst != VALUE_NONE)
            c->stored[worst] = *out_again = true;
    }
    return true;
}

bool lower_graph(struct graph *graph, struct arena *arena, struct partition *out_partition,
                 struct lowered_group **out, struct error *err)
{
    uint32_t count = graph->nodes.count;
    struct cutter c = {.graph = graph,
                       .arena = arena,
                       .partition = out_partition,
                       .stored = ARENA_ARRAY(arena, bool, count),
                       .asked_for = ARENA_ARRAY(arena, bool, count),
                       .user = ARENA_ARRAY(arena, value_id, count),
                       .saving = ARENA_ARRAY(arena, double, count)};
    c.work.made = ARENA_ARRAY(arena, bool, count);
    c.work.done = ARENA_ARRAY(arena, dim_id, count);
    c.work.asked = ARENA_ARRAY(arena, dim_id, count);
    for (bool again = true; again;) {
        partition_storing(graph, c.stored, arena, out_partition);
        memset(c.asked_for, 0, count * sizeof *c.asked_for);
        *out = ARENA_ARRAY(arena, struct lowered_group, out_partition->groups.count + 1);
        if (!lower_round(&c, *out, &again, err))
            return false;
    }
    return true;
}
