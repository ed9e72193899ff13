/* Sizes around the edges of kernels.
 *
 * For each edge and each value beside it, the cheapest size found at which the edge's expression
 * has that value is a candidate. Candidates are taken in the order of their costs until the budget
 * ends; one whose value is reached by then is left out. So an expensive edge cannot displace cheap
 * ones, and a greater budget reaches what a smaller one does. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "verify/dims.h"
#include "verify/sizes_priv.h"
#include "verify/verify_priv.h"

#define EDGES_MOST 128
#define VALUES 4 /* that are tried of an edge */

struct candidate {
    const struct plan_edge *edge;
    int64_t value;
    int64_t dims[LIMIT_NAMED_DIMS];
    double cost;
    uint32_t order; /* among candidates of the same cost */
};

static int64_t edge_value(const struct chooser *c, const struct plan_edge *edge,
                          const int64_t *dims)
{
    int64_t value;
    return dim_eval(c->dims, edge->size, dims, &value) ? value : -1;
}

/* Whether at one of the sizes so far the edge's expression has this value. */
static bool is_reached(const struct chooser *c, const struct plan_edge *edge, int64_t value)
{
    for (uint32_t i = 0; i < c->out->count; i++)
        if (c->out->items[i].special == c->special &&
            edge_value(c, edge, c->out->items[i].dims) == value)
            return true;
    return false;
}

/* Finds the smallest legal value of one dim, with the others fixed, at which the edge's size is
 * `value` or more. By bisection, as sizes grow with their dims; where they do not, the result may
 * not be the smallest. */
static void solve_dim(const struct chooser *c, const struct plan_edge *edge, int64_t value,
                      uint32_t name, int64_t *dims)
{
    const struct dim_name *dim = &c->dims->names.items[name];
    int64_t by = dim->multiple_of, low = dims_legal(dim, dim->min) / by,
            high = dims_legal(dim, dim->max) / by;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        dims[name] = middle * by;
        int64_t at = edge_value(c, edge, dims);
        if (at < 0 || at >= value)
            high = middle;
        else
            low = middle + 1;
    }
    dims[name] = low * by;
}

/* The cheapest size found at which the edge's size is `value`: one dim is solved for, the others
 * are small. False: none was found. */
static bool find_size(const struct chooser *c, struct candidate *out)
{
    static const int64_t others[] = {1, 2, 3, 5};
    out->cost = INFINITY;
    for (uint32_t name = 0; name < c->dims->names.count; name++) {
        for (size_t o = 0; c->pinned[name] == DIM_ANY && o < sizeof others / sizeof others[0];
             o++) {
            int64_t dims[LIMIT_NAMED_DIMS] = {0};
            for (uint32_t i = 0; i < c->dims->names.count; i++)
                dims[i] = sizes_legal(c, i, others[o]);
            solve_dim(c, out->edge, out->value, name, dims);
            if (edge_value(c, out->edge, dims) != out->value ||
                sizes_special_at(c, dims) != c->special)
                continue;
            double cost = sizes_cost(c, dims);
            if (cost < out->cost) {
                out->cost = cost;
                memcpy(out->dims, dims, sizeof dims);
            }
        }
    }
    return out->cost < INFINITY;
}

/* Writes the distinct edges of the kernels that sizes are sought for; returns how many. */
static uint32_t find_edges(const struct chooser *c, const struct plan_edge **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->plan->forward.count; i++) {
        const struct plan_code *code = plan_code_of(&c->plan->forward.items[i], c->special);
        for (uint32_t e = 0; e < code->edge_count; e++) {
            const struct plan_edge *edge = &code->edges[e];
            bool known = false;
            for (uint32_t k = 0; k < count; k++)
                known |= out[k]->size == edge->size && out[k]->at == edge->at;
            if (!known && count < EDGES_MOST)
                out[count++] = edge;
        }
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

void sizes_take_edges(struct chooser *c)
{
    const struct plan_edge **edges = ARENA_ARRAY(c->arena, const struct plan_edge *, EDGES_MOST);
    uint32_t edge_count = find_edges(c, edges), count = 0;
    struct candidate *candidates =
        ARENA_ARRAY(c->arena, struct candidate, (size_t)VALUES * edge_count + 1);
    if (!(c->spent + sizes_launches_cost(c) <= c->limit))
        return;
    for (uint32_t i = 0; i < VALUES * edge_count; i++) {
        const struct plan_edge *edge = edges[i % edge_count];
        const int64_t values[VALUES] = {edge->at + 1, edge->at, edge->at - 1, 2 * edge->at + 1};
        struct candidate *next = &candidates[count];
        *next = (struct candidate){.edge = edge, .value = values[i / edge_count], .order = i};
        if (next->value >= 1 && !is_reached(c, edge, next->value) && find_size(c, next))
            count++;
    }
    qsort(candidates, count, sizeof *candidates, compare);
    for (uint32_t i = 0; i < count && c->spent + candidates[i].cost <= c->limit; i++) {
        struct strbuf why;
        if (is_reached(c, candidates[i].edge, candidates[i].value))
            continue;
        strbuf_init(&why, c->arena);
        strbuf_printf(&why, "around %lld of ", (long long)candidates[i].edge->at);
        dim_print(c->dims, candidates[i].edge->size, &why);
        sizes_take(c, candidates[i].dims, why.data, false);
    }
}
