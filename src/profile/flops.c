/* Counts the operations and bytes that a graph needs, independent of how it is compiled.
 *
 * Only values that an output depends on and that depend on an input are counted; the others are
 * computed once, by prepare. Prims that only move elements (reshape, slice, concat, take …) count
 * as no work, since a good kernel reads the elements in place. Values of loops count in each trip,
 * those of a loop that has a condition in as many as it makes at most in a profile. */
#include <string.h>

#include "base/error.h"
#include "graph/loops.h"
#include "profile/profile.h"

struct count {
    const struct graph *graph;
    const int64_t *dims;
    bool *needed;  /* by value: an output depends on it */
    bool *dynamic; /* by value: it depends on an input */
    struct graph_loops loops;
};

static bool elements_of(const struct count *count, value_id value, double *out, struct error *err)
{
    const struct node *node = graph_node(count->graph, value);
    double elements = 1;
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        int64_t size;
        if (!dim_eval(&count->graph->dims, node->shape[axis], count->dims, &size))
            return fail(err, ERR_LIMIT, "the size of value %%%u overflows", value);
        elements *= (double)size;
    }
    *out = elements;
    return true;
}

static bool extent_of(const struct count *count, dim_id dim, double *out, struct error *err)
{
    int64_t size;
    if (!dim_eval(&count->graph->dims, dim, count->dims, &size))
        return fail(err, ERR_LIMIT, "a size overflows");
    *out = (double)size;
    return true;
}

/* Multiply-adds for one element of a contraction or convolution. */
static bool inner_products(const struct count *count, const struct node *node, double *out,
                           struct error *err)
{
    const struct attrs *attrs = node->attrs;
    bool is_contract = node->prim == PRIM_CONTRACT;
    const struct node *operand = graph_node(count->graph, node->operands[is_contract ? 0 : 1]);
    uint32_t first = is_contract ? (uint32_t)(operand->rank - attrs->contract) : 1;
    *out = 1; /* convolution: all dims of the weights but the first, that is channels and window */
    for (uint32_t axis = first; axis < operand->rank; axis++) {
        double size = 0;
        if (!extent_of(count, operand->shape[axis], &size, err))
            return false;
        *out *= size;
    }
    return true;
}

static bool add_flops(const struct count *count, value_id value, double *flops, struct error *err)
{
    const struct node *node = graph_node(count->graph, value);
    double results = 0, each = 0;
    if (!elements_of(count, value, &results, err))
        return false;
    if (node->prim == PRIM_CONTRACT || node->prim == PRIM_CONV) {
        if (!inner_products(count, node, &each, err))
            return false;
        each *= 2;
    } else if (node->prim == PRIM_WINDOW_SUM || node->prim == PRIM_WINDOW_MAX) {
        each = 1;
        for (uint32_t i = 0; i < node->attrs->window_count; i++)
            each *= (double)node->attrs->window[i].size;
    } else if (node->prim >= PRIM_REDUCE_SUM && node->prim <= PRIM_CUM_MAX) {
        each = 1;
        if (!elements_of(count, node->operands[0], &results, err))
            return false;
    } else if (prim_is_elementwise((enum prim)node->prim)) {
        each = 1;
    }
    uint32_t loop = count->loops.of[value];
    double trips = 1;
    if (loop > 0 && !extent_of(count, count->loops.items.items[loop - 1].trips, &trips, err))
        return false;
    if (loop > 0 && count->loops.items.items[loop - 1].condition > 0)
        trips = trips < LOOP_TRIED_TRIPS ? trips : LOOP_TRIED_TRIPS;
    *flops += results * each * trips;
    return true;
}

static void mark(const struct count *count)
{
    const struct graph *graph = count->graph;
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        count->needed[graph->outputs.items[i].value] = true;
    for (value_id value = graph->nodes.count - 1; value > 0; value--)
        for (uint32_t k = 0; count->needed[value] && k < graph_node(graph, value)->operand_count;
             k++)
            count->needed[graph_node(graph, value)->operands[k]] = true;
    for (value_id value = 1; value < graph->nodes.count; value++) {
        const struct node *node = graph_node(graph, value);
        count->dynamic[value] = node->prim == PRIM_INPUT || node->prim == PRIM_ITER;
        for (uint32_t k = 0; k < node->operand_count; k++)
            if (count->dynamic[node->operands[k]])
                count->dynamic[value] = true;
    }
}

/* Whether all users of the table take elements of it: then only the elements taken are counted, not
 * the table. */
static bool only_taken(const struct count *count, value_id table)
{
    bool used = false;
    for (value_id user = table + 1; user < count->graph->nodes.count; user++) {
        const struct node *node = graph_node(count->graph, user);
        for (uint32_t k = 0; count->needed[user] && k < node->operand_count; k++) {
            if (node->operands[k] != table)
                continue;
            if (node->prim != PRIM_TAKE || k != 0)
                return false;
            used = true;
        }
    }
    return used;
}

static bool add_bytes(const struct count *count, value_id value, double *bytes, struct error *err)
{
    double elements = 0;
    if (!elements_of(count, value, &elements, err))
        return false;
    *bytes += elements * (double)dtype_bytes(graph_node(count->graph, value)->dtype);
    return true;
}

static bool add_source(const struct count *count, value_id source, double *bytes, struct error *err)
{
    if (!count->needed[source])
        return true;
    if (!only_taken(count, source))
        return add_bytes(count, source, bytes, err);
    for (value_id user = source + 1; user < count->graph->nodes.count; user++) {
        const struct node *node = graph_node(count->graph, user);
        if (count->needed[user] && node->operand_count > 0 && node->operands[0] == source &&
            !add_bytes(count, user, bytes, err))
            return false;
    }
    return true;
}

bool work_count(const struct graph *graph, const int64_t *dims, struct arena *arena,
                struct work *out, struct error *err)
{
    struct count count = {.graph = graph,
                          .dims = dims,
                          .needed = ARENA_ARRAY(arena, bool, graph->nodes.count),
                          .dynamic = ARENA_ARRAY(arena, bool, graph->nodes.count)};
    struct work work = {0};
    if (!graph_find_loops(graph, arena, &count.loops, err))
        return false;
    mark(&count);
    for (value_id value = 1; value < graph->nodes.count; value++)
        if (count.needed[value] && count.dynamic[value] &&
            !add_flops(&count, value, &work.flops, err))
            return false;
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        if (!add_source(&count, graph->inputs.items[i], &work.bytes, err))
            return false;
    for (uint32_t i = 0; i < graph->params.count; i++)
        if (!add_source(&count, graph->params.items[i], &work.bytes, err))
            return false;
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (!add_bytes(&count, graph->outputs.items[i].value, &work.bytes, err))
            return false;
    *out = work;
    return true;
}
