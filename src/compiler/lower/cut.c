/* The cut, with a bound on recomputation.
 *
 *   cut ─► lower, count ─► does a kernel do more than 5/4 of the operations required of it?
 *    ▲                                        │ yes
 *    └─── store the worst value of each ◄─────┘
 *
 * The rules of the cut (opt/partition.c) say what may be inlined, but how often an inlined value is
 * computed is known only after lowering. A reduction behind padding, for example, runs once per
 * element if its index is a flattened one, and once before the loops otherwise. So operations are
 * counted in the lowered nests, and the graph is cut again until all kernels are within the bound.
 * Each round stores at least one more value of each kernel over the bound, so the rounds end: a
 * stored value is computed once.
 *
 * The bound is proved for all legal sizes, by terms of polynomials that outweigh each other. A
 * kernel for which the proof fails counts as over the bound.
 *
 * The worst value is one whose storing saves many operations at typical sizes, or else at the least
 * sizes, or else one whose operations may exceed those required at some size. Among those that save
 * more than half of the most it is the one with the fewest elements, and of equal ones the last,
 * which is a reduction rather than its operand. */
#include <math.h>
#include <stdlib.h>

#include "compiler/lower/lower_priv.h"

#define DONE_MOST 5 /* quarters of what is required */
#define QUARTERS 4

struct cutter {
    struct graph *graph;
    struct arena *arena;
    struct partition *partition;
    bool *stored;    /* by value: stored because of the bound */
    bool *asked_for; /* by value: required of an earlier kernel of the call */
    bool prepare;    /* the kernel runs at load, not in a call */
    struct kernel_work work;
    value_id *user; /* by value: its only user in this kernel; VALUE_NONE, SEVERAL */
    double *saving; /* by value: operations that storing it saves */
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

/* Operations done beyond those required; ≤ 0 if there are none. */
static double excess(const struct cutter *c, value_id v, enum sizes sizes)
{
    struct dim_table *dims = &c->graph->dims;
    dim_id asked = asked_here(c, v), done = c->work.done[v];
    if (sizes == SIZES_COUNT) /* whether they may differ at any size */
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

/* Estimates what storing each value saves: its own excess, and that of producers that have it as
 * their only user and as many elements. */
static void find_savings(struct cutter *c, enum sizes sizes)
{
    for (uint32_t i = 0; i < c->work.values.count; i++)
        c->saving[c->work.values.items[i]] = 0;
    for (uint32_t i = 0; i < c->work.values.count; i++) { /* in the order operands first */
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

/* Whether this round stored a value of the kernel, so that the next one cuts it anew in any
 * case. */
static bool changes(const struct cutter *c, value_id root)
{
    for (uint32_t i = 0; i < c->work.values.count; i++)
        if (c->work.values.items[i] != root && c->stored[c->work.values.items[i]])
            return true;
    return false;
}

/* Sums up the kernel just lowered; returns a value to store if it is over the bound. */
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
