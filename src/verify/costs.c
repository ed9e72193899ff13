/* What testing at a size costs, in operations of the reference and in memory. */
#include <math.h>

#include "base/error.h"
#include "graph/loops.h"
#include "verify/verify_priv.h"

/* Largest buffers at the same time: what a launch reads, two results of it, and as much in the pool
 * of fenced memory; in the interpreter a param, what is computed of it, and the like of a memo. */
#define WALK_COPIES 4
#define CELL_COPIES 4

/* Number of elements of a value; INFINITY when a dim has no value. */
static double value_elements(const struct graph *graph, const struct node *n, const int64_t *dims)
{
    double elements = 1;
    int64_t dim = 0;
    for (uint32_t i = 0; i < n->rank; i++)
        elements *= dim_eval(&graph->dims, n->shape[i], dims, &dim) ? (double)dim : INFINITY;
    return elements;
}

static bool reduces(const struct node *n)
{
    return n->prim >= PRIM_REDUCE_SUM && n->prim <= PRIM_ARGSORT && n->operand_count > 0;
}

/* The number of elements that one element of a node is computed from; for sums of products the
 * number of pairs. */
static double node_depth(const struct graph *graph, const struct node *n, const int64_t *dims)
{
    double depth = 1;
    int64_t dim = 0;
    if (n->prim == PRIM_CONV || n->prim == PRIM_CONTRACT) {
        const struct node *w = graph_node(graph, n->operands[1]);
        uint32_t first = n->prim == PRIM_CONV ? 1 : (uint32_t)w->rank - n->attrs->contract;
        for (uint32_t i = first; i < w->rank; i++)
            depth *= dim_eval(&graph->dims, w->shape[i], dims, &dim) ? (double)dim : INFINITY;
    } else if (reduces(n)) {
        double own = value_elements(graph, n, dims);
        depth = own > 0 ? value_elements(graph, graph_node(graph, n->operands[0]), dims) / own : 0;
    }
    for (uint32_t i = 0; i < n->attrs->window_count && n->prim != PRIM_CONV; i++)
        depth *= (double)n->attrs->window[i].size;
    return depth;
}

/* The cost of a node: elements times the depth of each. */
static double node_cost(const struct graph *graph, const struct node *n, const int64_t *dims)
{
    double elements = value_elements(graph, n, dims);
    double cost = elements * node_depth(graph, n, dims);
    int64_t dim = 0;
    if (n->prim == PRIM_ARGSORT && dim_eval(&graph->dims, n->shape[n->attrs->axis], dims, &dim))
        cost *= 1 + (double)dim / 20; /* compiled code compares each element with each other */
    /* The interpreter blocks sums of products, which makes them cheaper per term than other
     * prims. */
    return n->prim == PRIM_CONV || n->prim == PRIM_CONTRACT ? cost / 4 + elements : cost;
}

double graph_cost(const struct graph *graph, const int64_t *dims)
{
    double cost = 0;
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        if (n->prim != PRIM_PARAM)
            cost += node_cost(graph, n, dims);
    }
    return isnan(cost) ? INFINITY : cost;
}

double graph_cost_whole(const struct graph *graph, const int64_t *dims)
{
    struct graph_loops loops;
    struct error err;
    struct arena arena;
    double cost = 0;
    if (!graph_has_loops(graph))
        return graph_cost(graph, dims);
    arena_init(&arena);
    bool known = graph_find_loops(graph, &arena, &loops, &err);
    for (value_id v = 1; known && v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        int64_t trips = 1;
        uint32_t loop = loops.of[v];
        if (loop > 0 && !dim_eval(&graph->dims, loops.items.items[loop - 1].trips, dims, &trips))
            known = false;
        if (loop > 0 && loops.items.items[loop - 1].condition > 0 && trips > LOOP_TRIED_TRIPS)
            trips = LOOP_TRIED_TRIPS;
        if (n->prim != PRIM_PARAM)
            cost += node_cost(graph, n, dims) * (double)trips;
    }
    arena_release(&arena);
    return !known || isnan(cost) ? INFINITY : cost;
}

double graph_cells(const struct graph *graph, const int64_t *dims)
{
    double cells = 0;
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        cells += n->prim == PRIM_PARAM ? 0 : value_elements(graph, n, dims);
    }
    return isnan(cells) ? INFINITY : cells;
}

double graph_depth(const struct graph *graph, const int64_t *dims)
{
    double most = 1;
    for (value_id v = 1; v < graph->nodes.count; v++)
        most = fmax(most, node_depth(graph, graph_node(graph, v), dims));
    return most;
}

int64_t graph_terms(const struct graph *graph, const int64_t *dims)
{
    size_t from, to;
    int64_t most = 0;
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        if (n->prim == PRIM_REDUCE_SUM && value_bytes(graph, n->operands[0], dims, &from) &&
            value_bytes(graph, v, dims, &to) && to > 0 && (int64_t)(from / to) > most)
            most = (int64_t)(from / to);
    }
    return most;
}

/* The largest number of copies of a buffer that exist at the same time. */
static double buffer_copies(enum buffer_kind kind)
{
    switch (kind) {
    case BUFFER_INPUT:  /* of the sample, of the walk, of a call in fenced memory */
    case BUFFER_OUTPUT: /* of two runs and the expected one, which a call's replaces later */
        return 3;
    case BUFFER_PREPARED:
    case BUFFER_PARAM: return 0; /* kept_memory */
    default: return 2;
    }
}

/* Params, and what is prepared of them: in modules; in the walk, which keeps few of those that it
 * can have again; and, one by one, as cells of the interpreter. */
static double kept_memory(const struct package_contents *contents,
                          const struct package_target *target)
{
    static const int64_t none[LIMIT_NAMED_DIMS];
    double modules = job_modules(contents), walk = 0, largest = 0, cells = 0, bytes = 0;
    for (uint32_t i = 0; i < target->plan.buffers.count; i++) {
        const struct plan_buffer *buffer = &target->plan.buffers.items[i];
        int64_t elements = 0;
        if ((buffer->kind != BUFFER_PREPARED && buffer->kind != BUFFER_PARAM) ||
            !dim_eval(target->plan.dims, buffer->elements, none, &elements))
            continue;
        double own = (double)elements * (double)dtype_bytes(buffer->dtype);
        cells = fmax(cells, (double)elements * (double)sizeof(union cell));
        largest = fmax(largest, own);
        walk += own;
        if (buffer->kind == BUFFER_PREPARED || !runtime_borrows(&contents->params[buffer->index]))
            bytes += modules * own;
    }
    walk = fmin(walk, (double)WALK_KEPT_BYTES) + WALK_COPIES * largest;
    return bytes + fmax(walk, CELL_COPIES * cells);
}

double sizes_memory(const struct package_contents *contents, const struct package_target *target,
                    const struct sizes *sizes)
{
    double most = 0;
    for (uint32_t s = 0; s < sizes->count; s++) {
        const int64_t *dims = sizes->items[s].dims;
        if (sizes->items[s].way == SIZE_FAR) /* it has its own memory */
            continue;
        double cells = graph_cells(&contents->graph, dims), bytes = 0;
        bytes += CELL_BYTES * (cells < CELLS_MOST ? cells : CELLS_MOST);
        for (uint32_t i = 0; i < target->plan.buffers.count; i++) {
            const struct plan_buffer *buffer = &target->plan.buffers.items[i];
            int64_t elements = 0;
            if (dim_eval(target->plan.dims, buffer->elements, dims, &elements))
                bytes += buffer_copies(buffer->kind) * (double)elements *
                         (double)dtype_bytes(buffer->dtype);
        }
        most = fmax(most, bytes);
    }
    return most + kept_memory(contents, target);
}
