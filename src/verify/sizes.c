/* Chooses the sizes to test: around the edges of kernels, where their code path changes (from the
 * plan), the smallest, the typical, odd ones, and the ends of the ranges, as far as the budget
 * allows. */
#include "verify/dims.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "graph/loops.h"
#include "verify/verify_priv.h"

#define ODD_SIZE 13     /* not a multiple of any vector width */
#define RANDOM_SIZES 48 /* random sizes are below this, where ranges allow */
/* Running a kernel and judging drawn elements costs so much less than its whole reference. */
#define DRAWN_SHARE 20
/* Larger than most blocks: each dim reaches it if that is affordable at all. */
#define LARGE_SIZE 67
#define FAR_SIZE 4099 /* larger than nearly all blocks */
#define FAR_OTHERS 3  /* value of the other dims, while one is far out */
#define FAR_SHRINK ((int64_t)1 << 40)
#define FAR_COST 3e8     /* limit on some iterations of each kernel */
#define END_SHARE 12     /* part of the budget, for each dim */
#define TYPICAL_COST 2e6 /* limit on the reference of the typical size */
#define BARE_COST 2e7    /* limit on a size that is hardly judged */
#define BARE_COST_THOROUGH 4e9
#define THOROUGH_FAR 2
#define BYTE_COST 0.05 /* of memory that is written or read */
/* Largest buffers at the same time: what a launch reads, two results of it, and as much in the pool
 * of fenced memory; in the interpreter a param, what is computed of it, and the like of a memo. */
#define WALK_COPIES 4
#define CELL_COPIES 4
#define LAUNCH_COST 20000.0 /* of a launch in addition to its reference: pages, protection */

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

/* State of choosing sizes for one target. */
struct chooser {
    const struct package_contents *contents;
    const struct dim_table *dims;
    const struct plan *plan; /* NULL: the graph alone */
    const bool *distinct;    /* by forward launch */
    double budget, spent;
    double bare; /* limit on the cost of a size at which only kernels run */
    double far;  /* limit where only some iterations run */
    struct arena *arena;
    struct sizes *out;
    const struct plan_edge **edges; /* distinct edges of all launches */
    uint32_t edge_count;
};

/* Bytes of the buffers that are filled anew at each size. */
static double plan_bytes(const struct plan *plan, const int64_t *dims)
{
    double bytes = 0;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        int64_t elements = 0;
        if (buffer->kind == BUFFER_PARAM || buffer->kind == BUFFER_PREPARED)
            continue;
        if (!dim_eval(plan->dims, buffer->elements, dims, &elements))
            return INFINITY;
        bytes += (double)elements * (double)dtype_bytes(buffer->dtype);
    }
    return bytes;
}

/* By forward launch: whether it is the first of its kernel. Equal launches are judged once. */
static const bool *find_distinct(const struct plan *plan, struct arena *arena)
{
    bool *seen = ARENA_ARRAY(arena, bool, plan->kernel_count + 1);
    bool *distinct = ARENA_ARRAY(arena, bool, plan->forward.count + 1);
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        distinct[i] = !seen[plan->forward.items[i].kernel];
        seen[plan->forward.items[i].kernel] = true;
    }
    return distinct;
}

/* The share of the total work that is in distinct launches. */
static double distinct_share(const struct chooser *c, const int64_t *dims)
{
    double all = 0, distinct = 0;
    for (uint32_t i = 0; i < c->plan->forward.count; i++) {
        int64_t work = 0;
        if (!dim_eval(c->plan->dims, c->plan->forward.items[i].work, dims, &work))
            return 1;
        all += (double)work;
        distinct += c->distinct[i] ? (double)work : 0;
    }
    return all > 0 ? distinct / all : 1;
}

/* The part of the cost that every size has. */
static double launches_cost(const struct chooser *c)
{
    return c->plan ? LAUNCH_COST * (double)(c->plan->forward.count + c->plan->prepare.count) : 0;
}

static double size_cost(const struct chooser *c, const int64_t *dims)
{
    double cost = graph_cost(&c->contents->graph, dims);
    if (c->plan)
        cost = cost * distinct_share(c, dims) + BYTE_COST * plan_bytes(c->plan, dims);
    if (cost > JUDGE_COST) /* most launches are then judged at drawn elements */
        cost = JUDGE_COST + (cost - JUDGE_COST) / DRAWN_SHARE;
    return cost + launches_cost(c);
}

static bool is_taken(const struct chooser *c, const int64_t *dims)
{
    size_t bytes = c->dims->names.count * sizeof *dims;
    for (uint32_t i = 0; i < c->out->count; i++)
        if (bytes == 0 || memcmp(c->out->items[i].dims, dims, bytes) == 0)
            return true;
    return false;
}

/* Adds the size, unless it is there already or costs too much; `must`: whatever it costs. */
static bool take(struct chooser *c, const int64_t *dims, const char *why, bool must)
{
    size_t bytes = c->dims->names.count * sizeof *dims;
    if (c->out->count == SIZES_MAX || is_taken(c, dims))
        return false;
    double cost = size_cost(c, dims);
    if (!must && !(c->spent + cost <= c->budget))
        return false;
    struct size *size = &c->out->items[c->out->count++];
    *size = (struct size){.why = why, .cost = cost};
    if (bytes > 0)
        memcpy(size->dims, dims, bytes);
    c->spent += cost;
    return true;
}

/* Whether running only the kernels is affordable in time and memory. */
static bool is_bare(const struct chooser *c, const int64_t *dims)
{
    return graph_cost(&c->contents->graph, dims) <= c->bare &&
           graph_cells(&c->contents->graph, dims) <= CELLS_MOST;
}

/* Adds a size at which only kernels run and few elements are compared: it is cheap, and still
 * detects elements that a kernel leaves unwritten. The wish is halved until it is affordable. */
static void take_bare(struct chooser *c, const int64_t *wish, const char *why)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    memcpy(dims, wish, sizeof dims);
    for (int64_t shrink = 2; !is_bare(c, dims) && shrink <= 4096; shrink *= 2)
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = dims_legal(&c->dims->names.items[i], wish[i] / shrink);
    double spent = c->spent;
    if (is_bare(c, dims) && take(c, dims, why, true))
        c->out->items[c->out->count - 1].way = SIZE_BARE;
    c->spent = spent;
}

/* As take_bare, with one dim large and the others small. */
static void take_bare_ends(struct chooser *c)
{
    for (uint32_t name = 0; name < c->dims->names.count; name++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = dims_legal(&c->dims->names.items[i], 2);
        for (int64_t far = FAR_SIZE; far > LARGE_SIZE; far /= 4) {
            dims[name] = dims_legal(&c->dims->names.items[name], far);
            if (graph_cost(&c->contents->graph, dims) > c->bare / 4)
                continue;
            take_bare(c, dims, "far");
            break;
        }
    }
}

/* Adds a size at which only some iterations of each kernel run; it does not count against the
 * budget. */
static bool take_far(struct chooser *c, const int64_t *dims, const char *why)
{
    double spent = c->spent;
    if (far_cost(c->plan, c->distinct, dims) > c->far || !take(c, dims, why, true))
        return false;
    c->out->items[c->out->count - 1].way = SIZE_FAR;
    c->spent = spent;
    return true;
}

/* Adds sizes with each dim alone as large as its range and far_cost allow; then one with all dims
 * large, in proportion to their ranges. */
static void take_far_ends(struct chooser *c)
{
    uint32_t names = c->dims->names.count;
    for (uint32_t name = 0; name < names + (names > 1); name++) {
        for (int64_t shrink = 1; shrink <= FAR_SHRINK; shrink *= 2) {
            int64_t dims[LIMIT_NAMED_DIMS] = {0}, least = 0;
            for (uint32_t i = 0; i < names; i++) {
                const struct dim_name *dim = &c->dims->names.items[i];
                bool is_far = name == i || name == names;
                dims[i] = dims_legal(dim, is_far ? dim->max / shrink : FAR_OTHERS);
                if (is_far && dims[i] > least)
                    least = dims[i];
            }
            if (least <= LARGE_SIZE || is_taken(c, dims) ||
                take_far(c, dims, shrink == 1 ? "end of range" : "far out"))
                break;
        }
    }
}

/* Adds a size with every dim at the legal value nearest to wish, or drawn by key; halved until it
 * is affordable.
 */
static void take_wish(struct chooser *c, int64_t wish, uint64_t key, const char *why)
{
    for (int64_t shrink = 1; shrink <= RANDOM_SIZES; shrink *= 2) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++) {
            int64_t at = key != 0 ? 1 + rng_u32(key, i) % RANDOM_SIZES : wish;
            dims[i] = dims_legal(&c->dims->names.items[i], at / shrink);
        }
        if (size_cost(c, dims) <= c->budget / 8) {
            take(c, dims, why, false);
            return;
        }
    }
}

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
        if (edge_value(c, edge, c->out->items[i].dims) == value)
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

/* Adds the cheapest size found at which the edge's size is `value`: one dim is solved for, the
 * others are small. */
static void take_edge(struct chooser *c, const struct plan_edge *edge, int64_t value)
{
    static const int64_t others[] = {1, 2, 3, 5};
    int64_t best[LIMIT_NAMED_DIMS] = {0};
    double best_cost = INFINITY;
    if (value < 1 || !(c->spent + launches_cost(c) <= c->budget) || is_reached(c, edge, value))
        return;
    for (uint32_t name = 0; name < c->dims->names.count; name++) {
        for (size_t o = 0; o < sizeof others / sizeof others[0]; o++) {
            int64_t dims[LIMIT_NAMED_DIMS] = {0};
            for (uint32_t i = 0; i < c->dims->names.count; i++)
                dims[i] = dims_legal(&c->dims->names.items[i], others[o]);
            solve_dim(c, edge, value, name, dims);
            if (edge_value(c, edge, dims) != value)
                continue;
            double cost = size_cost(c, dims);
            if (cost < best_cost) {
                best_cost = cost;
                memcpy(best, dims, sizeof best);
            }
        }
    }
    if (!(best_cost < INFINITY))
        return;
    struct strbuf why;
    strbuf_init(&why, c->arena);
    strbuf_printf(&why, "around %lld of ", (long long)edge->at);
    dim_print(c->dims, edge->size, &why);
    take(c, best, why.data, false);
}

static void find_edges(struct chooser *c, const struct plan_launch *launches, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t e = 0; e < launches[i].edge_count; e++) {
            const struct plan_edge *edge = &launches[i].edges[e];
            bool known = false;
            for (uint32_t k = 0; k < c->edge_count; k++)
                known |= c->edges[k]->size == edge->size && c->edges[k]->at == edge->at;
            if (!known && c->edge_count < SIZES_MAX)
                c->edges[c->edge_count++] = edge;
        }
    }
}

/* Adds sizes with one dim as large as possible and the others small: the end of its range, or the
 * largest value with an affordable reference. */
static void take_ends(struct chooser *c)
{
    for (uint32_t name = 0; name < c->dims->names.count; name++) {
        const struct dim_name *dim = &c->dims->names.items[name];
        int64_t by = dim->multiple_of, dims[LIMIT_NAMED_DIMS] = {0};
        int64_t low = dims_legal(dim, 1) / by, high = dims_legal(dim, INT64_MAX) / by;
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = dims_legal(&c->dims->names.items[i], 1);
        while (low < high) {
            int64_t middle = low + (high - low + 1) / 2;
            dims[name] = middle * by;
            if (size_cost(c, dims) <= c->budget / END_SHARE)
                low = middle;
            else
                high = middle - 1;
        }
        dims[name] = low * by;
        int64_t large[LIMIT_NAMED_DIMS];
        memcpy(large, dims, sizeof large);
        large[name] = dims_legal(dim, LARGE_SIZE);
        if (large[name] > dims[name] && size_cost(c, large) <= c->budget / 2)
            dims[name] = large[name];
        low = dims[name] / by;
        take(c, dims, low * by == dims_legal(dim, INT64_MAX) ? "end of range" : "large", true);
    }
}

/* Adds the typical size, halved until its reference is affordable; dims with a fixed value cannot
 * shrink.
 */
static void take_typical(struct chooser *c, const int64_t *typical)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    memcpy(dims, typical, sizeof dims);
    for (int64_t shrink = 2; graph_cost(&c->contents->graph, dims) > TYPICAL_COST && shrink <= 4096;
         shrink *= 2)
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = dims_legal(&c->dims->names.items[i], typical[i] / shrink);
    take(c, dims, memcmp(dims, typical, sizeof dims) == 0 ? "typical" : "typical, made smaller",
         true);
}

bool sizes_choose(const struct size_wish *wish, struct arena *arena, struct sizes *out,
                  struct error *err)
{
    const struct package_contents *contents = wish->contents;
    const struct package_target *target = wish->target;
    const struct verify_options *options = wish->options;
    struct chooser c = {.contents = contents,
                        .dims = &contents->graph.dims,
                        .plan = target ? &target->plan : NULL,
                        .distinct = target ? find_distinct(&target->plan, arena) : NULL,
                        .budget = wish->budget,
                        .bare = options->thorough ? BARE_COST_THOROUGH : BARE_COST,
                        .far = options->thorough ? THOROUGH_FAR * FAR_COST : FAR_COST,
                        .arena = arena,
                        .out = out};
    int64_t typical[LIMIT_NAMED_DIMS] = {0};
    out->count = 0;
    if (!dims_choose(c.dims, options->dims, typical, err))
        return false;
    if (options->dims) {
        take(&c, typical, "asked for", true);
        return true;
    }
    take_typical(&c, typical);
    if (c.dims->names.count == 0)
        return true;
    take_wish(&c, 0, 0, "smallest");
    take_wish(&c, ODD_SIZE, 0, "odd");
    take_ends(&c);
    for (int64_t all = 2; target && all <= LARGE_SIZE; all = all == 2 ? LARGE_SIZE : INT64_MAX) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c.dims->names.count; i++)
            dims[i] = dims_legal(&c.dims->names.items[i], all);
        take_bare(&c, dims, all == 2 ? "small" : "larger");
        struct size *last = &out->items[out->count - 1];
        last->way = last->way == SIZE_BARE ? SIZE_GLANCE : last->way;
    }
    if (target) {
        take_bare(&c, typical, "typical");
        take_far(&c, typical, "typical");
        take_bare_ends(&c);
        take_far_ends(&c);
    }
    c.edges = ARENA_ARRAY(arena, const struct plan_edge *, SIZES_MAX);
    if (target) {
        find_edges(&c, target->plan.forward.items, target->plan.forward.count);
        for (int64_t beyond = 1; beyond >= -1; beyond--)
            for (uint32_t i = 0; i < c.edge_count; i++)
                take_edge(&c, c.edges[i], c.edges[i]->at + beyond);
        for (uint32_t i = 0; i < c.edge_count; i++)
            take_edge(&c, c.edges[i], 2 * c.edges[i]->at + 1);
    }
    for (uint32_t i = 0; i < options->size_count; i++)
        take_wish(&c, 0, rng_key(options->seed + i), "random");
    return true;
}

void size_print(const struct dim_table *dims, const struct size *size, char *out, size_t bytes)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t i = 0; i < dims->names.count && used < bytes; i++) {
        int n = snprintf(out + used, bytes - used, "%s%.40s=%lld", i > 0 ? " " : "",
                         dims->names.items[i].name, (long long)size->dims[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}
