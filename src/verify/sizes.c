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
#define GENERAL_SIZES 128
#define EDGES_MOST 128
/* For each specialisation that leaves dims free: so many sizes, and this part of the budget. */
#define SPECIAL_SIZES 24
#define SPECIAL_SHARE 8
/* Limits on a size that a specialisation gives all dims: to run its kernels, or some iterations of
 * them; and on its buffers, to run them. */
#define SPECIAL_COST 4e9
#define SPECIAL_BYTES 5e8
#define BYTE_COST 0.05      /* of memory that is written or read */
#define LAUNCH_COST 20000.0 /* of a launch in addition to its reference: pages, protection */

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
    uint32_t most;                  /* limit on the number of sizes */
    uint32_t special;               /* sizes are sought at which this one's kernels run; PLAN_NONE:
                                       those for all sizes */
    const int64_t *pinned;          /* its values, by dim; DIM_ANY: not given */
    const struct plan_edge **edges; /* distinct edges of its launches */
    uint32_t edge_count;
};

/* The legal value of a dim that is nearest to the wish, or the only one of the specialisation. */
static int64_t legal(const struct chooser *c, uint32_t name, int64_t wish)
{
    return c->pinned[name] != DIM_ANY ? c->pinned[name]
                                      : dims_legal(&c->dims->names.items[name], wish);
}

static uint32_t special_at(const struct chooser *c, const int64_t *dims)
{
    return c->plan ? plan_special_at(c->plan, dims) : PLAN_NONE;
}

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
        distinct[i] = !seen[plan->forward.items[i].code.kernel];
        seen[plan->forward.items[i].code.kernel] = true;
    }
    return distinct;
}

/* The share of the total work that is in distinct launches. */
static double distinct_share(const struct chooser *c, const int64_t *dims)
{
    double all = 0, distinct = 0;
    uint32_t special = plan_special_at(c->plan, dims);
    for (uint32_t i = 0; i < c->plan->forward.count; i++) {
        int64_t work = 0;
        const struct plan_code *code = plan_code_of(&c->plan->forward.items[i], special);
        if (!dim_eval(c->plan->dims, code->work, dims, &work))
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

/* Adds the size, unless it is there already, costs too much or has other kernels than those that
 * sizes are sought for, which the first size may have; `must`: whatever it costs. */
static bool take(struct chooser *c, const int64_t *dims, const char *why, bool must)
{
    size_t bytes = c->dims->names.count * sizeof *dims;
    uint32_t special = special_at(c, dims);
    if (c->out->count >= c->most || is_taken(c, dims) ||
        (c->out->count > 0 && special != c->special))
        return false;
    double cost = size_cost(c, dims);
    if (!must && !(c->spent + cost <= c->budget))
        return false;
    struct size *size = &c->out->items[c->out->count++];
    *size = (struct size){.why = why, .cost = cost, .special = special};
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
            dims[i] = legal(c, i, wish[i] / shrink);
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
            dims[i] = legal(c, i, 2);
        for (int64_t far = FAR_SIZE; far > LARGE_SIZE; far /= 4) {
            dims[name] = legal(c, name, far);
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
                int64_t end = c->dims->names.items[i].max;
                bool is_far = name == i || name == names;
                dims[i] = legal(c, i, is_far ? end / shrink : FAR_OTHERS);
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
 * is affordable. False: there is one already, or it has other kernels. */
static bool take_wish(struct chooser *c, int64_t wish, uint64_t key, const char *why)
{
    for (int64_t shrink = 1; shrink <= RANDOM_SIZES; shrink *= 2) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++) {
            int64_t at = key != 0 ? 1 + rng_u32(key, i) % RANDOM_SIZES : wish;
            dims[i] = legal(c, i, at / shrink);
        }
        if (size_cost(c, dims) <= c->budget / 8)
            return take(c, dims, why, false);
    }
    return false;
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
        for (size_t o = 0; c->pinned[name] == DIM_ANY && o < sizeof others / sizeof others[0];
             o++) {
            int64_t dims[LIMIT_NAMED_DIMS] = {0};
            for (uint32_t i = 0; i < c->dims->names.count; i++)
                dims[i] = legal(c, i, others[o]);
            solve_dim(c, edge, value, name, dims);
            if (edge_value(c, edge, dims) != value || special_at(c, dims) != c->special)
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

/* Finds the edges of the kernels that sizes are sought for. */
static void find_edges(struct chooser *c)
{
    c->edges = ARENA_ARRAY(c->arena, const struct plan_edge *, EDGES_MOST);
    c->edge_count = 0;
    for (uint32_t i = 0; i < c->plan->forward.count; i++) {
        const struct plan_code *code = plan_code_of(&c->plan->forward.items[i], c->special);
        for (uint32_t e = 0; e < code->edge_count; e++) {
            const struct plan_edge *edge = &code->edges[e];
            bool known = false;
            for (uint32_t k = 0; k < c->edge_count; k++)
                known |= c->edges[k]->size == edge->size && c->edges[k]->at == edge->at;
            if (!known && c->edge_count < EDGES_MOST)
                c->edges[c->edge_count++] = edge;
        }
    }
}

static void take_edges(struct chooser *c)
{
    find_edges(c);
    for (int64_t beyond = 1; beyond >= -1; beyond--)
        for (uint32_t i = 0; i < c->edge_count; i++)
            take_edge(c, c->edges[i], c->edges[i]->at + beyond);
    for (uint32_t i = 0; i < c->edge_count; i++)
        take_edge(c, c->edges[i], 2 * c->edges[i]->at + 1);
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
            dims[i] = legal(c, i, 1);
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
            dims[i] = legal(c, i, typical[i] / shrink);
    take(c, dims, memcmp(dims, typical, sizeof dims) == 0 ? "typical" : "typical, made smaller",
         true);
}

/* An odd size; where others have kernels of their own, one near it. */
static void take_odd(struct chooser *c)
{
    bool others = c->plan && c->plan->specials.count > 0;
    bool found = take_wish(c, ODD_SIZE, 0, "odd");
    for (int64_t odd = ODD_SIZE - 2; others && !found && odd > ODD_SIZE - 8; odd -= 2)
        found = take_wish(c, odd, 0, "odd");
}

/* The closest way of judging that is affordable where kernels were asked for. */
static enum size_way way_of(const struct chooser *c, const int64_t *dims)
{
    const struct graph *graph = &c->contents->graph;
    if (size_cost(c, dims) <= c->budget / 8)
        return SIZE_USUAL;
    bool bare =
        graph_cost(graph, dims) <= SPECIAL_COST && plan_bytes(c->plan, dims) <= SPECIAL_BYTES;
    return bare ? SIZE_BARE : SIZE_FAR;
}

/* Adds the size of a specialisation that gives every dim a value. It does not count against the
 * budget: whoever asks for kernels for a size wants to know that they are right there. */
static bool take_exact(struct chooser *c, struct error *err)
{
    enum size_way way = way_of(c, c->pinned);
    double spent = c->spent;
    if (way == SIZE_FAR && !(far_cost(c->plan, c->distinct, c->pinned) <= SPECIAL_COST))
        return fail(err, ERR_LIMIT, "it is too large to be verified");
    if (take(c, c->pinned, "specialised", true))
        c->out->items[c->out->count - 1].way = way;
    c->spent = spent;
    return true;
}

/* Adds sizes for a specialisation that leaves some dims free. */
static void take_partly(struct chooser *c, const int64_t *typical)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    for (uint32_t i = 0; i < c->dims->names.count; i++)
        dims[i] = legal(c, i, typical[i]);
    take_wish(c, 0, 0, "smallest");
    take_odd(c);
    take_bare(c, dims, "typical");
    take_far(c, dims, "typical");
    take_bare_ends(c);
    take_far_ends(c);
    take_edges(c);
}

static bool take_specials(struct chooser *c, const int64_t *typical, struct error *err)
{
    const int64_t *pinned = c->pinned;
    double budget = c->budget, spent = c->spent;
    for (uint32_t s = 0; s < c->plan->specials.count; s++) {
        bool partly = false;
        c->special = s;
        c->pinned = c->plan->specials.items[s].values;
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            partly |= c->pinned[i] == DIM_ANY;
        c->budget = partly ? budget / SPECIAL_SHARE : budget;
        c->spent = 0;
        c->most = c->out->count + SPECIAL_SIZES;
        if (partly)
            take_partly(c, typical);
        else if (!take_exact(c, err))
            return fail_at(err, "specialisation %u", s);
    }
    c->special = PLAN_NONE;
    c->pinned = pinned;
    c->budget = budget;
    c->spent = spent;
    c->most = c->out->count + GENERAL_SIZES;
    return true;
}

/* Adds sizes at which the kernels for all sizes run. */
static void take_general(struct chooser *c, const int64_t *typical)
{
    take_wish(c, 0, 0, "smallest");
    take_odd(c);
    take_ends(c);
    for (int64_t all = 2; c->plan && all <= LARGE_SIZE; all = all == 2 ? LARGE_SIZE : INT64_MAX) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = legal(c, i, all);
        take_bare(c, dims, all == 2 ? "small" : "larger");
        struct size *last = &c->out->items[c->out->count - 1];
        last->way = last->way == SIZE_BARE ? SIZE_GLANCE : last->way;
    }
    if (!c->plan)
        return;
    take_bare(c, typical, "typical");
    take_far(c, typical, "typical");
    take_bare_ends(c);
    take_far_ends(c);
    take_edges(c);
}

bool sizes_choose(const struct size_wish *wish, struct arena *arena, struct sizes *out,
                  struct error *err)
{
    const struct package_contents *contents = wish->contents;
    const struct package_target *target = wish->target;
    const struct verify_options *options = wish->options;
    int64_t typical[LIMIT_NAMED_DIMS] = {0}, any[LIMIT_NAMED_DIMS];
    struct chooser c = {.contents = contents,
                        .dims = &contents->graph.dims,
                        .plan = target ? &target->plan : NULL,
                        .distinct = target ? find_distinct(&target->plan, arena) : NULL,
                        .budget = wish->budget,
                        .bare = options->thorough ? BARE_COST_THOROUGH : BARE_COST,
                        .far = options->thorough ? THOROUGH_FAR * FAR_COST : FAR_COST,
                        .arena = arena,
                        .out = out,
                        .most = GENERAL_SIZES,
                        .special = PLAN_NONE,
                        .pinned = any};
    for (uint32_t i = 0; i < LIMIT_NAMED_DIMS; i++)
        any[i] = DIM_ANY;
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
    if (c.plan && !take_specials(&c, typical, err))
        return false;
    take_general(&c, typical);
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
