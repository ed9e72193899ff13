/* Compares the results of one launch with the interpreter's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "verify/verify_priv.h"

/* Up to so many undetermined elements of a result are not counted: of a small result they would be
 * a large share.
 */
#define UNCHECKED_FEW 4
/* The fewest elements that are drawn of a result, unless they cost too much. */
#define DRAWN_LEAST 16
/* Cost of an element that a drawn one depends on, in elements of a whole reference. */
#define ELEMENT_COST 100
#define WHOLE_MOST 1.5e7
/* After a launch of which a share ran, so many times more elements are drawn, and the written
 * ones are kept. */
#define SHARE_DRAWN 64

/* Prints "[3,17]". */
static void print_place(const int64_t *shape, uint32_t rank, int64_t flat, char *out, size_t size)
{
    int64_t index[LIMIT_RANK];
    for (uint32_t i = rank; i-- > 0;) {
        int64_t dim = shape[i] > 0 ? shape[i] : 1;
        index[i] = flat % dim;
        flat /= dim;
    }
    int used = snprintf(out, size, "[");
    for (uint32_t i = 0; i < rank; i++)
        used += snprintf(out + used, size - (size_t)used, "%s%lld", i > 0 ? "," : "",
                         (long long)index[i]);
    snprintf(out + used, size - (size_t)used, "]");
}

/* Bools must be 0 or 1: readers treat other bytes differently. */
static bool bools_clean(const struct interp_tensor *tensor, const uint8_t *data, int64_t *out_at)
{
    for (int64_t i = 0; tensor->dtype == DTYPE_BOOL && i < tensor->count; i++) {
        if (data[i] > 1) {
            *out_at = i;
            return false;
        }
    }
    return true;
}

/* The drawn elements of a result; `expected` and the native elements then hold these only. */
struct drawn {
    uint32_t rank;
    int64_t shape[LIMIT_RANK], *points;
};

static void print_element(const struct interp_tensor *expected, const struct drawn *drawn,
                          int64_t index, char *out, size_t size)
{
    if (drawn)
        print_place(drawn->shape, drawn->rank, drawn->points[index], out, size);
    else
        print_place(expected->shape, expected->rank, index, out, size);
}

static bool judge_result(const struct interp_tensor *expected, const struct drawn *drawn,
                         const void *native, struct verdict *verdict, struct outcome *outcome)
{
    struct interp_difference found = {0};
    int64_t at = 0;
    char place[200];
    if (!bools_clean(expected, native, &at)) {
        print_element(expected, drawn, at, place, sizeof place);
        return outcome_fail(outcome, "the bool at %s is the byte %u", place,
                            ((const uint8_t *)native)[at]);
    }
    interp_compare(expected, native, &found);
    double unchecked =
        expected->count > 0 ? (double)found.undetermined / (double)expected->count : 0;
    int64_t all = expected->count;
    for (uint32_t i = 0; drawn && i < drawn->rank; i++)
        all = (i == 0 ? 1 : all) * drawn->shape[i];
    verdict->elements += all;
    verdict->checked += expected->count - found.undetermined;
    if (found.undetermined > UNCHECKED_FEW) {
        verdict->not_checked = fmax(verdict->not_checked, unchecked);
        if (dtype_is_float(expected->dtype))
            verdict->floats_not_checked = fmax(verdict->floats_not_checked, unchecked);
    }
    verdict->ratio = fmax(verdict->ratio, isnan(found.worst_ratio) ? INFINITY : found.worst_ratio);
    if (!(found.worst_ratio <= 1)) {
        print_element(expected, drawn, found.worst_index, place, sizeof place);
        return outcome_fail(outcome, "%s is off by %.3g, bound %.3g", place, found.worst_absolute,
                            found.worst_bound);
    }
    return true;
}

static bool shape_of(const struct graph *g, value_id value, const int64_t *dims, int64_t *out,
                     struct error *err)
{
    const struct node *node = graph_node(g, value);
    for (uint32_t d = 0; d < node->rank; d++)
        if (!dim_eval(&g->dims, node->shape[d], dims, &out[d]) || out[d] < 0)
            return fail(err, ERR_LIMIT, "a dim has no value");
    return true;
}

/* Computes the whole reference of a launch and compares every element. */
static bool judge_whole(const struct launch_case *c, const struct launch_memory *memory,
                        uint32_t threads, struct arena *arena, struct verdict *verdict,
                        struct outcome *outcome)
{
    const struct graph *g = c->graph;
    const struct interp_options options = {
        .mode = INTERP_REFERENCE, .memory_limit = REFERENCE_BYTES, .threads = threads};
    struct interp_tensor *sources = ARENA_ARRAY(arena, struct interp_tensor, g->inputs.count + 1);
    struct interp_tensor *expected = ARENA_ARRAY(arena, struct interp_tensor, g->outputs.count);
    const struct interp_arguments arguments = {memory->dims, sources, g->inputs.count};
    struct error err;
    bool ok = true;
    for (uint32_t i = 0; ok && i < g->inputs.count; i++) {
        const struct node *node = graph_node(g, g->inputs.items[i]);
        int64_t shape[LIMIT_RANK];
        const struct native_tensor native = {(enum dtype)node->dtype, node->rank, shape,
                                             memory->reads[i]};
        ok = shape_of(g, g->inputs.items[i], memory->dims, shape, &err) &&
             interp_load(&sources[i], arena, &native, &err);
    }
    ok = ok && interp_run(g, &options, &arguments, arena, expected, &err);
    if (!ok)
        return outcome_fail(outcome, "cannot be judged: %s: %s", error_name(err.code), err.message);
    for (uint32_t i = 0; ok && i < g->outputs.count; i++)
        ok = judge_result(&expected[i], NULL, memory->writes[i], verdict, outcome);
    return ok;
}

/* Keeps the first `most` points that were written, in order, and returns how many there are. */
static int64_t keep_written(const uint8_t *written, int64_t count, int64_t *points, int64_t most)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count && kept < most; i++)
        if (!written || written[points[i]])
            points[kept++] = points[i];
    return kept;
}

/* A launch being judged at drawn elements. */
struct trial {
    const struct launch_case *c;
    const struct launch_memory *memory;
    const struct care *care;
    struct points_source *sources; /* the arguments that it read */
    struct arena *arena;
    struct verdict *verdict;
    struct outcome *outcome;
    bool failed; /* a result was found wrong */
};

/* Judges one result. False, without setting `failed`, if the interpreter cannot compute its
 * elements at points. */
static bool judge_drawn(struct trial *t, uint32_t output)
{
    const struct interp_options options = {.mode = INTERP_REFERENCE};
    const struct graph *g = t->c->graph;
    const int64_t *dims = t->memory->dims;
    const uint8_t *written = t->memory->written ? t->memory->written[output] : NULL;
    value_id value = g->outputs.items[output].value;
    const struct node *node = graph_node(g, value);
    int64_t most = t->care->drawn;
    struct drawn drawn = {.rank = node->rank};
    struct error err;
    if (!shape_of(g, value, dims, drawn.shape, &err))
        return false;
    size_t item = dtype_bytes((enum dtype)node->dtype);
    const struct drawing drawing = {g,     &options,          dims,         t->sources,
                                    value, t->care->elements, t->care->most};
    struct interp_tensor expected = {.dtype = (enum dtype)node->dtype, .rank = 1};
    int64_t drawn_count = !written                   ? most
                          : t->care->share_drawn > 0 ? t->care->share_drawn
                                                     : most * SHARE_DRAWN;
    drawn.points = ARENA_ARRAY(t->arena, int64_t, drawn_count);
    expected.cells = ARENA_ARRAY(t->arena, union cell, most);
    expected.bounds = ARENA_ARRAY(t->arena, double, most);
    drawn_count = draw_points(drawn.shape, drawn.rank, t->c->config, t->c->seed + output + 1,
                              drawn_count, drawn.points);
    most = keep_written(written, drawn_count, drawn.points, most);
    if (!draw_interpret(&drawing, drawn.points, &most, DRAWN_LEAST,
                        (struct points_result){expected.cells, expected.bounds}, &err))
        return false;
    expected.count = expected.shape[0] = most;
    uint8_t *native = arena_alloc(t->arena, (size_t)most * item, 64);
    for (int64_t i = 0; i < most; i++)
        memcpy(native + (size_t)i * item,
               (const uint8_t *)t->memory->writes[output] + (size_t)drawn.points[i] * item, item);
    t->failed = !judge_result(&expected, &drawn, native, t->verdict, t->outcome);
    return true;
}

/* False if one of the results cannot be judged at drawn elements. */
static bool judge_points(struct trial *t)
{
    const struct graph *g = t->c->graph;
    t->sources = ARENA_ARRAY(t->arena, struct points_source, g->inputs.count + 1);
    for (uint32_t i = 0; i < g->inputs.count; i++)
        t->sources[i].data = t->memory->reads[i];
    for (uint32_t i = 0; i < g->outputs.count && !t->failed; i++)
        if (!judge_drawn(t, i))
            return false;
    return true;
}

/* The whole reference is also computed where drawn elements would cost more, as for long sums. */
static bool is_whole(const struct graph *graph, const int64_t *dims, const struct care *care)
{
    double cost = graph_cost(graph, dims);
    double drawn = ELEMENT_COST * graph_depth(graph, dims) * (double)care->drawn;
    return graph_cells(graph, dims) <= CELLS_MOST &&
           (cost <= care->cost || (!care->drawn_only && cost <= fmin(drawn, WHOLE_MOST)));
}

bool judge_launch(const struct launch_case *c, const struct launch_memory *memory,
                  const struct care *care, struct verdict *out, struct outcome *outcome)
{
    struct verdict verdict = {0};
    struct arena arena;
    arena_init(&arena);
    struct trial trial = {.c = c,
                          .memory = memory,
                          .care = care,
                          .arena = &arena,
                          .verdict = &verdict,
                          .outcome = outcome};
    bool whole = !memory->written && is_whole(c->graph, memory->dims, care);
    bool failed;
    if (!whole && judge_points(&trial)) {
        failed = trial.failed;
    } else {
        verdict = (struct verdict){0};
        failed = !memory->written && (whole || !care->drawn_only) &&
                 !judge_whole(c, memory, care->threads, &arena, &verdict, outcome);
    }
    arena_release(&arena);
    *out = verdict;
    return !failed;
}
