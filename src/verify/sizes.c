/* Chooses the sizes to test.
 *
 * The typical and the smallest size are always there. What they leave of the budget, at least half
 * of it, goes to an odd size and the ends of ranges, up to a third; then to edges of kernels, where
 * their code path changes (from the plan), the cheapest first, up to five sixths; then to random
 * sizes; and what is left over to larger ends. So no kind of size uses up what others need.
 *
 * Thorough verification does all this with the budget of a usual one, and once more with what there
 * is beyond it: it judges the sizes that a usual one judges, and others.
 *
 * Sizes at which kernels run, but few elements are judged, do not count against the budget. */
#include "verify/dims.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "verify/sizes_priv.h"
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
#define SIZE_SHARE 8     /* for one size */
#define TYPICAL_COST 2e6 /* limit on the reference of the typical size */
#define BARE_COST 2e7    /* limit on a size that is hardly judged */
#define BARE_COST_THOROUGH 4e9
#define THOROUGH_FAR 2
#define ENDS_SHARE (1.0 / 3)  /* of what a round has: this may be spent behind ends … */
#define EDGES_SHARE (5.0 / 6) /* … and behind edges */
#define ROUNDS 2
#define GENERAL_SIZES 128
#define BARE_SIZES (2 * LIMIT_NAMED_DIMS + 6) /* at which few elements are judged */
/* For each specialisation that leaves dims free: so many sizes, and this part of the budget. */
#define SPECIAL_SIZES 24
#define SPECIAL_JUDGED 12 /* of these; at the others few elements are */
#define SPECIAL_SHARE 8
/* Limits on a size that a specialisation gives all dims: to run its kernels, or some iterations of
 * them; and on its buffers, to run them. */
#define SPECIAL_COST 4e9
#define SPECIAL_BYTES 5e8
#define BYTE_COST 0.05      /* of memory that is written or read */
#define LAUNCH_COST 20000.0 /* of a launch in addition to its reference: pages, protection */

/* The legal value of a dim that is nearest to the wish, or the only one of the specialisation. */
int64_t sizes_legal(const struct chooser *c, uint32_t name, int64_t wish)
{
    return c->pinned[name] != DIM_ANY ? c->pinned[name]
                                      : dims_legal(&c->dims->names.items[name], wish);
}

uint32_t sizes_special_at(const struct chooser *c, const int64_t *dims)
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
double sizes_launches_cost(const struct chooser *c)
{
    return c->plan ? LAUNCH_COST * (double)(c->plan->forward.count + c->plan->prepare.count) : 0;
}

double sizes_cost(const struct chooser *c, const int64_t *dims)
{
    double cost = graph_cost(&c->contents->graph, dims);
    if (c->plan)
        cost = cost * distinct_share(c, dims) + BYTE_COST * plan_bytes(c->plan, dims);
    if (cost > JUDGE_COST) /* most launches are then judged at drawn elements */
        cost = JUDGE_COST + (cost - JUDGE_COST) / DRAWN_SHARE;
    return cost + sizes_launches_cost(c);
}

static bool is_taken(const struct chooser *c, const int64_t *dims)
{
    size_t bytes = c->dims->names.count * sizeof *dims;
    for (uint32_t i = 0; i < c->out->count; i++)
        if (bytes == 0 || memcmp(c->out->items[i].dims, dims, bytes) == 0)
            return true;
    return false;
}

bool sizes_take(struct chooser *c, const int64_t *dims, const char *why, bool must)
{
    size_t bytes = c->dims->names.count * sizeof *dims;
    uint32_t special = sizes_special_at(c, dims);
    if (c->out->count >= c->most || is_taken(c, dims) ||
        (c->out->count > 0 && special != c->special))
        return false;
    double cost = sizes_cost(c, dims);
    if (!must && !(c->spent + cost <= c->limit))
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
            dims[i] = sizes_legal(c, i, wish[i] / shrink);
    double spent = c->spent;
    if (is_bare(c, dims) && sizes_take(c, dims, why, true))
        c->out->items[c->out->count - 1].way = SIZE_BARE;
    c->spent = spent;
}

/* As take_bare, with one dim large and the others small. */
static void take_bare_ends(struct chooser *c)
{
    for (uint32_t name = 0; name < c->dims->names.count; name++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = sizes_legal(c, i, 2);
        for (int64_t far = FAR_SIZE; far > LARGE_SIZE; far /= 4) {
            dims[name] = sizes_legal(c, name, far);
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
    if (far_cost(c->plan, c->distinct, dims) > c->far || !sizes_take(c, dims, why, true))
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
                dims[i] = sizes_legal(c, i, is_far ? end / shrink : FAR_OTHERS);
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
 * costs at most `most`. False: there is one already, or it has other kernels. */
static bool take_wish(struct chooser *c, int64_t wish, uint64_t key, double most, const char *why)
{
    for (int64_t shrink = 1; shrink <= RANDOM_SIZES; shrink *= 2) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++) {
            int64_t at = key != 0 ? 1 + rng_u32(key, i) % RANDOM_SIZES : wish;
            dims[i] = sizes_legal(c, i, at / shrink);
        }
        if (sizes_cost(c, dims) <= most)
            return sizes_take(c, dims, why, false);
    }
    return false;
}

/* Adds sizes with one dim as large as possible and the others small: the end of its range, or the
 * largest value with an affordable reference. Each dim may cost an equal part of what those before
 * it left. */
static void take_ends(struct chooser *c)
{
    uint32_t names = c->dims->names.count;
    for (uint32_t name = 0; name < names; name++) {
        const struct dim_name *dim = &c->dims->names.items[name];
        int64_t by = dim->multiple_of, dims[LIMIT_NAMED_DIMS] = {0};
        int64_t low = dims_legal(dim, 1) / by, high = dims_legal(dim, INT64_MAX) / by;
        double share = (c->limit - c->spent) / (names - name);
        for (uint32_t i = 0; i < names; i++)
            dims[i] = sizes_legal(c, i, 1);
        while (low < high) {
            int64_t middle = low + (high - low + 1) / 2;
            dims[name] = middle * by;
            if (sizes_cost(c, dims) <= fmin(share, c->budget / END_SHARE))
                low = middle;
            else
                high = middle - 1;
        }
        dims[name] = low * by;
        int64_t large[LIMIT_NAMED_DIMS];
        memcpy(large, dims, sizeof large);
        large[name] = dims_legal(dim, LARGE_SIZE);
        if (large[name] > dims[name] && sizes_cost(c, large) <= share)
            dims[name] = large[name];
        bool whole = dims[name] == dims_legal(dim, INT64_MAX);
        sizes_take(c, dims, whole ? "end of range" : "large", false);
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
            dims[i] = sizes_legal(c, i, typical[i] / shrink);
    sizes_take(c, dims,
               memcmp(dims, typical, sizeof dims) == 0 ? "typical" : "typical, made smaller", true);
}

/* An odd size; where others have kernels of their own, one near it. */
static void take_odd(struct chooser *c)
{
    bool others = c->plan && c->plan->specials.count > 0;
    double most = c->budget / SIZE_SHARE;
    bool found = take_wish(c, ODD_SIZE, 0, most, "odd");
    for (int64_t odd = ODD_SIZE - 2; others && !found && odd > ODD_SIZE - 8; odd -= 2)
        found = take_wish(c, odd, 0, most, "odd");
}

/* Random sizes, each for an equal part of what those before it left. */
static void take_random(struct chooser *c)
{
    uint32_t count = c->options->size_count;
    for (uint32_t i = 0; i < count; i++) {
        double share = fmin((c->limit - c->spent) / (count - i), c->budget / SIZE_SHARE);
        take_wish(c, 0, rng_key(c->options->seed + i), share, "random");
    }
}

/* Adds sizes at which results are judged as a whole, for what is left up to `end`. */
static void take_round(struct chooser *c, double end)
{
    double start = c->spent, left = end - start;
    c->limit = start + ENDS_SHARE * left;
    take_odd(c);
    if (c->special == PLAN_NONE)
        take_ends(c);
    c->limit = start + EDGES_SHARE * left;
    if (c->plan)
        sizes_take_edges(c);
    c->limit = end;
    if (c->special != PLAN_NONE)
        return;
    take_random(c);
    take_ends(c);
}

/* The rounds for a budget of which something is spent; of each round's at least half is left. */
static void take_rounds(struct chooser *c, double budget)
{
    double must = c->spent;
    double usual = budget / SIZES_THOROUGH;
    double budgets[ROUNDS] = {c->options->thorough ? usual : budget, budget};
    for (uint32_t i = 0; i < (c->options->thorough ? ROUNDS : 1); i++) {
        double end = must + fmax(budgets[i] - must, budgets[i] / 2);
        c->budget = budgets[i];
        if (end > c->spent)
            take_round(c, end);
    }
    c->budget = budget;
    c->limit = INFINITY;
}

/* The closest way of judging that is affordable where kernels were asked for. */
static enum size_way way_of(const struct chooser *c, const int64_t *dims)
{
    const struct graph *graph = &c->contents->graph;
    if (sizes_cost(c, dims) <= c->budget / SIZE_SHARE)
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
    if (sizes_take(c, c->pinned, "specialised", true))
        c->out->items[c->out->count - 1].way = way;
    c->spent = spent;
    return true;
}

/* Adds sizes for a specialisation that leaves some dims free. */
static void take_partly(struct chooser *c, const int64_t *typical)
{
    int64_t dims[LIMIT_NAMED_DIMS];
    for (uint32_t i = 0; i < c->dims->names.count; i++)
        dims[i] = sizes_legal(c, i, typical[i]);
    uint32_t most = c->most;
    c->limit = c->budget;
    take_wish(c, 0, 0, c->budget / SIZE_SHARE, "smallest");
    c->most -= SPECIAL_SIZES - SPECIAL_JUDGED;
    take_rounds(c, c->budget);
    c->most = most;
    take_bare(c, dims, "typical");
    take_far(c, dims, "typical");
    take_bare_ends(c);
    take_far_ends(c);
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
    int64_t least[LIMIT_NAMED_DIMS] = {0};
    for (uint32_t i = 0; i < c->dims->names.count; i++)
        least[i] = sizes_legal(c, i, 0);
    sizes_take(c, least, "smallest", true);
    take_rounds(c, c->budget);
    if (!c->plan)
        return;
    c->most += BARE_SIZES;
    for (int64_t all = 2; all <= LARGE_SIZE; all = all == 2 ? LARGE_SIZE : INT64_MAX) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < c->dims->names.count; i++)
            dims[i] = sizes_legal(c, i, all);
        take_bare(c, dims, all == 2 ? "small" : "larger");
        struct size *last = &c->out->items[c->out->count - 1];
        last->way = last->way == SIZE_BARE ? SIZE_GLANCE : last->way;
    }
    take_bare(c, typical, "typical");
    take_far(c, typical, "typical");
    take_bare_ends(c);
    take_far_ends(c);
}

static_assert(LIMIT_SPECIALS * SPECIAL_SIZES + 1 + GENERAL_SIZES + BARE_SIZES <= SIZES_MAX,
              "all sizes have a place");

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
                        .limit = INFINITY,
                        .options = options,
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
        sizes_take(&c, typical, "asked for", true);
        return true;
    }
    take_typical(&c, typical);
    if (c.dims->names.count == 0)
        return true;
    if (c.plan && !take_specials(&c, typical, err))
        return false;
    take_general(&c, typical);
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
