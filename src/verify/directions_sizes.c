/* The sizes at which gradients are judged. */
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/loops.h"
#include "verify/dims.h"
#include "verify/directions.h"
#include "verify/scene.h"

#define TRIPS 3 /* of a loop, to tell what goes wrong from trip to trip */
#define ODD_SIZE 13
#define LARGE_COST 4e9 /* limit on the operations of a size, */
#define FULL_COST 2e7  /* and above this it is judged along one direction only, if not the first */

/* What is asked of a size at which loops make several trips. */
struct several {
    const struct graph *graph;
    struct graph_loops loops;
    int64_t largest[LIMIT_NAMED_DIMS]; /* of each dim */
};

/* Whether each loop makes several trips at these dims, or as many as it ever does. */
static bool are_several(const struct several *s, const int64_t *dims)
{
    bool all = true;
    for (uint32_t i = 0; i < s->loops.items.count; i++) {
        int64_t trips = 0, most = TRIPS;
        dim_id count = s->loops.items.items[i].trips;
        bool known = dim_eval(&s->graph->dims, count, dims, &trips);
        if (!dim_eval(&s->graph->dims, count, s->largest, &most) || most > TRIPS)
            most = TRIPS;
        all &= known && trips >= most;
    }
    return all;
}

/* Raises one dim to its least value at which loops make several trips; false: there is none. By
 * bisection, as trips grow with dims. */
static bool raise_dim(const struct several *s, uint32_t name, int64_t *dims)
{
    int64_t by = s->graph->dims.names.items[name].multiple_of;
    int64_t low = dims[name] / by, high = s->largest[name] / by;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        dims[name] = middle * by;
        if (are_several(s, dims))
            high = middle;
        else
            low = middle + 1;
    }
    dims[name] = low * by;
    return are_several(s, dims);
}

/* The cheapest size with dims at `wish` but for one, if need be, at which loops make several trips.
 * False: there is none. */
static bool find_several(const struct several *s, int64_t wish, struct size *out)
{
    const struct dim_table *table = &s->graph->dims;
    out->cost = INFINITY;
    for (uint32_t name = 0; name < table->names.count; name++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < table->names.count; i++)
            dims[i] = dims_legal(&table->names.items[i], wish);
        if (!are_several(s, dims) && !raise_dim(s, name, dims))
            continue;
        double cost = graph_cost_whole(s->graph, dims);
        if (cost < out->cost) {
            out->cost = cost;
            memcpy(out->dims, dims, sizeof dims);
        }
    }
    return out->cost < INFINITY;
}

/* Whether no dim is smaller than at another size. */
static bool is_as_large(const struct graph *graph, const int64_t *dims, const int64_t *as)
{
    for (uint32_t i = 0; i < graph->dims.names.count; i++)
        if (dims[i] < as[i])
            return false;
    return true;
}

/* Adds a size, unless it costs more than `most`; one that costs more than `full` is large. */
static uint32_t add_size(const struct graph *whole, const struct size *size, double full,
                         double most, uint32_t count, struct direction_size *out)
{
    double cost = graph_cost_whole(whole, size->dims);
    if (cost > most || graph_cells(whole, size->dims) > CELLS_MOST)
        return count;
    out[count] = (struct direction_size){*size, cost > full};
    return count + 1;
}

/* Adds the size with all dims at the wish, unless one that is there is as large. */
static uint32_t add_wish(const struct graph *whole, int64_t wish, uint32_t count,
                         struct direction_size *out)
{
    struct size size = {0};
    for (uint32_t i = 0; i < whole->dims.names.count; i++)
        size.dims[i] = dims_legal(&whole->dims.names.items[i], wish);
    for (uint32_t i = 0; i < count; i++)
        if (is_as_large(whole, out[i].size.dims, size.dims))
            return count;
    return count == 0 ? add_size(whole, &size, WHOLE_COST, LARGE_COST, count, out)
                      : add_size(whole, &size, FULL_COST, WHOLE_COST, count, out);
}

/* Adds one at which loops make several trips, unless they do at one that is there. */
static uint32_t add_several(const struct directions *d, const struct graph *whole, uint32_t count,
                            struct direction_size *out)
{
    struct several s = {.graph = whole};
    struct error none;
    if (!graph_find_loops(whole, d->arena, &s.loops, &none))
        return count;
    for (uint32_t i = 0; i < whole->dims.names.count; i++)
        s.largest[i] = dims_legal(&whole->dims.names.items[i], INT64_MAX);
    for (int64_t wish = 2; wish >= 1; wish--) {
        struct size size = {0};
        bool found = find_several(&s, wish, &size), known = false;
        for (uint32_t i = 0; found && i < count; i++)
            known |= is_as_large(whole, out[i].size.dims, size.dims);
        uint32_t more = count;
        if (found && !known)
            more = add_size(whole, &size, FULL_COST, LARGE_COST, count, out);
        if (known || more > count)
            return more;
    }
    return count;
}

bool directions_sizes(struct directions *d, const struct graph *whole,
                      struct direction_size out[DIRECTION_SIZES], uint32_t *out_count)
{
    const char *asked = d->v->options->dims;
    struct size size = {0};
    uint32_t count = 0;
    if (asked && !dims_choose(&whole->dims, asked, size.dims, &d->err))
        return false;
    if (asked) {
        *out_count = add_size(whole, &size, WHOLE_COST, LARGE_COST, 0, out);
        return true;
    }
    count = add_wish(whole, 1, count, out);
    count = add_wish(whole, ODD_SIZE, count, out);
    *out_count = add_several(d, whole, count, out);
    return true;
}
