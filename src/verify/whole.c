/* The graph as a whole: what the passes made of it, and how good results are from end to end.
 *
 * Passes: both graphs are interpreted in float64 from the same inputs, with running bounds of
 * float64 arithmetic. They must agree within the two bounds, which is some ten digits closer than
 * anything computed in f32 could: a pass changes roundings, never meaning.
 *
 * Quality: the error of compiled results beside that of a plain loop in the same dtypes, both
 * against float64. Bounds add up over a deep graph until they bound nothing; this does not. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/interp_memo.h"
#include "verify/verify_priv.h"

#define TRIMMED 0.01     /* where single elements jump: the share of the worst left out */
#define TRIMMED_FROM 100 /* elements; of fewer those are left out that may jump */

#define WEIGHTY 1000 /* elements of which a root mean square is no chance any more */

#define WHOLE_COST 1e8 /* of a reference; beyond it elements are drawn, where prims allow */
#define DRAWN_MOST 64  /* of each output, as far as they do not need more than so many others */
#define DRAWN_LEAST 4
#define DRAWN_ELEMENTS 1000000
#define MEMO_BYTES ((size_t)512 << 20) /* of values that several graphs have */

/* What is kept while the whole is judged. */
struct whole {
    struct verification *v;
    struct arena *arena;
    struct interp_tensor *params; /* loaded once; NULL: not yet */
};

/* A sample at which graphs are compared. */
struct scene {
    struct whole *whole;
    struct sample sample;
    bool drawn;                    /* elements of each output */
    struct interp_tensor *sources; /* where all are */
    const char *what;              /* its values */
};

/* The outputs of a graph at drawn elements, as tensors of these. A graph that needs more for an
 * element has fewer of the same ones. */
static bool interpret_points(const struct graph *graph, const struct interp_options *options,
                             const struct sample *sample, struct arena *arena,
                             struct interp_tensor *out, struct error *err)
{
    uint32_t inputs = graph->inputs.count;
    struct points_source *sources =
        ARENA_ARRAY(arena, struct points_source, inputs + graph->params.count + 1);
    for (uint32_t i = 0; i < inputs + graph->params.count; i++)
        sources[i].data = i < inputs ? sample->inputs[i].data : sample->params[i - inputs].data;
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        const struct tensor *t = &sample->outputs[o];
        const struct drawing drawing = {
            graph,          options,       sample->dims, sources, graph->outputs.items[o].value,
            DRAWN_ELEMENTS, POINT_ELEMENTS};
        int64_t points[DRAWN_MOST];
        out[o] = (struct interp_tensor){.dtype = t->dtype, .rank = 1};
        out[o].cells = ARENA_ARRAY(arena, union cell, DRAWN_MOST);
        out[o].bounds = ARENA_ARRAY(arena, double, DRAWN_MOST);
        out[o].count = draw_points(t->shape, t->rank, NULL, o + 1, DRAWN_MOST, points);
        if (!draw_interpret(&drawing, points, &out[o].count, DRAWN_LEAST, out[o].cells,
                            out[o].bounds, err))
            return false;
        out[o].shape[0] = out[o].count;
    }
    return true;
}

static bool load_sources(struct scene *scene, struct error *err)
{
    struct arena *arena = scene->whole->arena;
    const struct graph *graph = scene->sample.graph;
    scene->drawn = false;
    scene->sources =
        ARENA_ARRAY(arena, struct interp_tensor, graph->inputs.count + graph->params.count + 1);
    if (!sample_sources(&scene->sample, scene->whole->params, scene->sources, arena, err))
        return false;
    scene->whole->params = scene->sources + graph->inputs.count;
    return true;
}

/* To be interpreted as a whole. */
static bool is_too_much(const struct graph *graph, const int64_t *dims)
{
    return graph_cost(graph, dims) > WHOLE_COST || graph_cells(graph, dims) > CELLS_MOST;
}

static bool scene_make(struct scene *out, struct whole *whole, const int64_t *dims, uint64_t seed,
                       enum fill fill, const char *what, struct error *err)
{
    const struct package_contents *contents = whole->v->contents;
    const struct graph *graph = &contents->graph;
    out->whole = whole;
    out->what = what;
    if (!sample_make(&out->sample, graph, contents->params, dims, whole->v->options->seed + seed,
                     fill, whole->arena, err))
        return false;
    out->drawn = is_too_much(graph, dims);
    return out->drawn || load_sources(out, err);
}

/* A graph with the sample's inputs and params. The first one interpreted, which is the one before
 * the passes, decides whether elements can be drawn at all. */
static bool interpret(const struct graph *graph, const struct interp_options *options,
                      struct scene *scene, struct arena *arena, struct interp_tensor **out,
                      struct error *err)
{
    struct error why;
    *out = ARENA_ARRAY(arena, struct interp_tensor, graph->outputs.count + 1);
    if (scene->drawn) {
        if (interpret_points(graph, options, &scene->sample, arena, *out, &why))
            return true;
        if (graph != scene->sample.graph) {
            *err = why;
            return false;
        }
        if (!load_sources(scene, err))
            return false;
    }
    return interp_run(graph, options, scene->sample.dims, scene->sources,
                      graph->inputs.count + graph->params.count, arena, *out, err);
}

/* Whether b, of the optimised graph, is a within both bounds. */
static void compare_passes(const struct graph *graph, const struct interp_tensor *before,
                           const struct interp_tensor *after, const struct scene *scene,
                           struct outcome *outcome)
{
    const char *what = scene->what;
    int64_t fewest = DRAWN_MOST;
    outcome->bound = 1;
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        const struct interp_tensor *a = &before[o], *b = &after[o];
        int64_t lost = 0, count = a->count < b->count ? a->count : b->count;
        fewest = count < fewest ? count : fewest;
        for (int64_t i = 0; i < count; i++) {
            double reach = a->bounds ? a->bounds[i] : 0;
            double more = b->bounds ? b->bounds[i] : 0;
            if (!(reach < INFINITY))
                continue;
            if (!(more < INFINITY)) {
                lost++;
                continue;
            }
            bool is_float = dtype_is_float(a->dtype);
            double x = is_float ? a->cells[i].f : (double)a->cells[i].i;
            double y = is_float ? b->cells[i].f : (double)b->cells[i].i;
            bool equal =
                is_float ? x == y || (isnan(x) && isnan(y)) : a->cells[i].i == b->cells[i].i;
            double ratio = equal ? 0 : fabs(x - y) / (reach + more);
            if (!(ratio <= 1)) {
                outcome_fail(outcome,
                             "output '%s', element %lld of %s values: %.17g before the passes, "
                             "%.17g after",
                             graph->outputs.items[o].name, (long long)i, what, x, y);
                return;
            }
            outcome->figure = fmax(outcome->figure, ratio);
        }
        if ((double)lost > TRIMMED * (double)count && lost > 4) {
            outcome_fail(outcome, "output '%s': %lld elements are no longer determined",
                         graph->outputs.items[o].name, (long long)lost);
            return;
        }
    }
    outcome->ran = outcome->pass = true;
    if (scene->drawn && outcome->detail[0] == 0)
        snprintf(outcome->detail, sizeof outcome->detail, "at %lld drawn elements of each output",
                 (long long)fewest);
}

/* The graph of a target as the one before it with the same text was judged. */
static bool is_judged(struct verification *v, uint32_t t)
{
    const struct package_target *targets = v->contents->targets;
    for (uint32_t i = 0; i < t; i++)
        if (targets[i].optimised_bytes == targets[t].optimised_bytes &&
            memcmp(targets[i].optimised, targets[t].optimised, targets[t].optimised_bytes) == 0) {
            v->result.passes[t] = v->result.passes[i];
            return true;
        }
    return false;
}

static void judge_passes(struct verification *v, struct scene *scene,
                         const struct interp_tensor *before, const struct interp_options *options)
{
    for (uint32_t t = 0; t < v->contents->target_count; t++) {
        const struct package_target *target = &v->contents->targets[t];
        struct outcome *outcome = &v->result.passes[t];
        struct graph graph;
        struct interp_tensor *after;
        struct error err;
        struct arena arena;
        if ((outcome->ran && !outcome->pass) || is_judged(v, t))
            continue;
        arena_init(&arena);
        snprintf(v->result.stage, STAGE_BYTES, "passes of %s on %s values", target->name,
                 scene->what);
        /* Constants as they stand; then those that passes may have folded with their error. */
        for (int folded = 0; folded < 2; folded++) {
            struct interp_options with = *options;
            struct outcome found = *outcome;
            with.constants = folded ? &v->contents->graph : NULL;
            if (!graph_parse(&graph, &arena, target->optimised, target->optimised_bytes, &err) ||
                !interpret(&graph, &with, scene, &arena, &after, &err))
                outcome_fail(&found, "cannot be judged: %s", err.message);
            else
                compare_passes(&v->contents->graph, before, after, scene, &found);
            bool pass = found.pass;
            if (folded == 1 || pass)
                *outcome = found;
            if (pass)
                break;
        }
        arena_release(&arena);
    }
}

bool prim_jumps(enum prim prim)
{
    switch (prim) {
    case PRIM_SIGN:
    case PRIM_FLOOR:
    case PRIM_CEIL:
    case PRIM_ROUND:
    case PRIM_TRUNC:
    case PRIM_REM:
    case PRIM_EQ:
    case PRIM_NE:
    case PRIM_LT:
    case PRIM_LE:
    case PRIM_BITCAST:
    case PRIM_ARGMAX:
    case PRIM_ARGMIN:
    case PRIM_ARGSORT: return true;
    default: return false;
    }
}

static bool jumps(const struct graph *graph, const struct node *node)
{
    bool from_float =
        node->operand_count > 0 && dtype_is_float(graph_node(graph, node->operands[0])->dtype);
    bool to_whole = node->prim == PRIM_CAST && !dtype_is_float(node->dtype);
    return from_float && (to_whole || prim_jumps((enum prim)node->prim));
}

static bool any_jumps(const struct graph *graph)
{
    bool any = false;
    for (value_id v = 1; v < graph->nodes.count; v++)
        any |= jumps(graph, graph_node(graph, v));
    return any;
}

static bool any_exponentials(const struct graph *graph)
{
    bool any = false;
    for (value_id v = 1; v < graph->nodes.count; v++)
        any |= graph_node(graph, v)->prim == PRIM_EXP || graph_node(graph, v)->prim == PRIM_EXP2;
    return any;
}

/* At a small size: values that passes must not treat otherwise; many ties, where these matter;
 * large ones where a power must be kept from overflowing. */
static void judge_passes_apart(struct whole *whole, const struct interp_options *options)
{
    struct verification *v = whole->v;
    struct arena *arena = whole->arena;
    static const struct {
        enum fill fill;
        const char *name;
        bool (*matters)(const struct graph *graph); /* NULL: always */
    } fills[] = {{FILL_SPECIAL, "special", NULL},
                 {FILL_EXACT, "few different", any_jumps},
                 {FILL_FINITE, "large", any_exponentials}};
    struct sizes sizes;
    struct error err;
    for (size_t f = 0; f < sizeof fills / sizeof fills[0]; f++) {
        struct scene scene = {0};
        struct interp_tensor *before;
        if (fills[f].matters && !fills[f].matters(&v->contents->graph))
            continue;
        bool ok = sizes_choose(v->contents, NULL, v->options, v->budget / 8, arena, &sizes, &err);
        const struct size *size = &sizes.items[0];
        for (uint32_t i = 0; ok && i < sizes.count; i++)
            if (strcmp(sizes.items[i].why, "odd") == 0)
                size = &sizes.items[i];
        ok = ok &&
             scene_make(&scene, whole, size->dims, 11 + f, fills[f].fill, fills[f].name, &err) &&
             interpret(&v->contents->graph, options, &scene, arena, &before, &err);
        if (ok)
            judge_passes(v, &scene, before, options);
        for (uint32_t t = 0; !ok && t < v->contents->target_count; t++)
            outcome_fail(&v->result.passes[t], "cannot be judged: %s", err.message);
    }
}

/* Floats of all outputs, one behind the other; zeros for other dtypes. Notes how many there are. */
static void keep(const struct sample *sample, const struct interp_tensor *tensors, double *to,
                 int64_t *counts)
{
    for (uint32_t o = 0; o < sample->output_count; o++) {
        for (int64_t i = 0; i < tensors[o].count; i++)
            to[i] = dtype_is_float(tensors[o].dtype) ? tensors[o].cells[i].f : 0;
        to += sample->outputs[o].count;
        counts[o] = tensors[o].count < counts[o] ? tensors[o].count : counts[o];
    }
}

/* Of outputs of few elements none is left out for being among the worst, but those whose bound is
 * infinite: a comparison or a rounding step may go either way. Of the others a plain loop may be
 * right by luck, where large terms cancel, too. So its error counts as what that many roundings
 * come to when they add up as a random walk does: their bound over the root of their number. */
static void judge_few(struct verification *v, struct scene *scene, struct arena *arena)
{
    const struct graph *graph = &v->contents->graph;
    const struct interp_options bounded = {
        .mode = INTERP_REFERENCE, .memory_limit = REFERENCE_BYTES, .threads = v->threads};
    double *reference = v->result.reference, *plain = v->result.plain;
    double roundings = (double)(graph->nodes.count + graph_terms(graph, scene->sample.dims));
    struct interp_tensor *tensors;
    struct error err;
    bool few = false;
    for (uint32_t o = 0; o < graph->outputs.count; o++)
        few |= v->result.drawn[o] < TRIMMED_FROM;
    if (!few || !any_jumps(graph))
        return;
    bool known = interpret(graph, &bounded, scene, arena, &tensors, &err);
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        int64_t count = v->result.drawn[o];
        for (int64_t i = 0; count < TRIMMED_FROM && i < count; i++) {
            double bound = known && i < tensors[o].count ? 0 : INFINITY;
            if (bound == 0 && tensors[o].bounds)
                bound = tensors[o].bounds[i];
            double error = fmax(fabs(plain[i] - reference[i]), bound / sqrt(roundings));
            plain[i] = reference[i] + error;
            if (!(bound < INFINITY))
                reference[i] = (double)NAN;
        }
        reference += scene->sample.outputs[o].count;
        plain += scene->sample.outputs[o].count;
    }
}

static const struct size *cheapest(const struct sizes *sizes)
{
    const struct size *least = &sizes->items[0];
    for (uint32_t i = 1; i < sizes->count; i++)
        if (sizes->items[i].cost < least->cost)
            least = &sizes->items[i];
    return least;
}

/* The runtime's interpreter, loaded and called as a user would, gives what the interpreter does. */
static void judge_interpreter(struct whole *whole)
{
    struct verification *v = whole->v;
    struct subject subject = {v->bytes, v->size, v->options, "interpreter"};
    const struct graph *graph = &v->contents->graph;
    struct outcome *outcome = &v->result.interpreter;
    const struct interp_options options = {.mode = INTERP_NATIVE, .memory_limit = REFERENCE_BYTES};
    struct sizes sizes;
    struct scene scene = {0};
    struct interp_tensor *results;
    struct error err;
    struct arena *arena = whole->arena;
    urza_module *module = NULL;
    bool ok = sizes_choose(v->contents, NULL, v->options, v->budget, arena, &sizes, &err);
    const struct size *size = ok ? cheapest(&sizes) : NULL;
    if (ok && is_too_much(graph, size->dims)) { /* it would be run twice */
        snprintf(outcome->detail, sizeof outcome->detail, "not run: too large");
        outcome->ran = outcome->pass = true;
        return;
    }
    ok = ok && scene_make(&scene, whole, size->dims, 5, FILL_NORMAL, "random", &err) &&
         interpret(graph, &options, &scene, arena, &results, &err);
    if (!ok) {
        outcome_fail(outcome, "%s", err.message);
    } else {
        const struct sample *sample = &scene.sample;
        void **expected = ARENA_ARRAY(arena, void *, sample->output_count + 1);
        for (uint32_t i = 0; i < sample->output_count; i++) {
            expected[i] = arena_alloc(arena, sample->outputs[i].bytes, 64);
            interp_store(&results[i], expected[i]);
        }
        snprintf(v->result.stage, STAGE_BYTES, "the interpreter");
        outcome->pass = subject_load(&subject, 1, 0, &module, outcome) &&
                        subject_call(&subject, sample, module, expected, "interpreted", outcome);
        outcome->ran = true;
    }
    urza_unload(module);
}

void job_whole(struct verification *v)
{
    const struct graph *graph = &v->contents->graph;
    const struct interp_options plain = {
        .mode = INTERP_PLAIN, .memory_limit = REFERENCE_BYTES, .threads = v->threads};
    struct interp_tensor *before, *loops;
    struct scene scene = {0};
    struct error err;
    struct arena arena;
    struct whole whole = {.v = v, .arena = &arena};
    arena_init(&arena);
    const struct interp_options wide = {.mode = INTERP_REFERENCE,
                                        .memory_limit = REFERENCE_BYTES,
                                        .threads = v->threads,
                                        .wide = true,
                                        .memo = interp_memo_new(&arena, MEMO_BYTES)};
    snprintf(v->result.stage, STAGE_BYTES, "the reference of the whole");
    bool ok = scene_make(&scene, &whole, v->whole.dims, 0, FILL_NORMAL, "random", &err) &&
              interpret(graph, &wide, &scene, &arena, &before, &err);
    v->result.is_drawn = scene.drawn;
    if (ok) {
        judge_passes(v, &scene, before, &wide);
        judge_passes_apart(&whole, &wide);
        snprintf(v->result.stage, STAGE_BYTES, "the plain interpretation of the whole");
        ok = interpret(graph, &plain, &scene, &arena, &loops, &err);
    }
    if (ok) {
        for (uint32_t o = 0; o < graph->outputs.count; o++)
            v->result.drawn[o] = before[o].count;
        keep(&scene.sample, before, v->result.reference, v->result.drawn);
        keep(&scene.sample, loops, v->result.plain, v->result.drawn);
        judge_few(v, &scene, &arena);
        v->result.referenced = true;
    }
    for (uint32_t t = 0; !ok && t < v->contents->target_count; t++)
        if (!v->result.passes[t].ran)
            outcome_fail(&v->result.passes[t], "cannot be judged: %s", err.message);
    judge_interpreter(&whole);
    arena_release(&arena);
    v->result.done = true;
}

static double element(enum dtype dtype, const uint8_t *data, int64_t i)
{
    switch (dtype) {
    case DTYPE_F64: return ((const double *)(const void *)data)[i];
    case DTYPE_F32: return (double)((const float *)(const void *)data)[i];
    case DTYPE_F16: return f16_to_double(((const uint16_t *)(const void *)data)[i]);
    default: return bf16_to_double(((const uint16_t *)(const void *)data)[i]);
    }
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Root mean square and maximum of errors, the worst left out where single elements jump. */
static void summarise(double *errors, int64_t count, bool trim, double *out_rms, double *out_most)
{
    int64_t skip = 0;
    double sum = 0, most = 0;
    if (trim) {
        qsort(errors, (size_t)count, sizeof *errors, descending);
        skip = (int64_t)ceil(TRIMMED * (double)count);
    }
    for (int64_t i = skip; i < count; i++) {
        sum += errors[i] * errors[i];
        most = fmax(most, errors[i]);
    }
    *out_rms = count > skip ? sqrt(sum / (double)(count - skip)) : 0;
    *out_most = most;
}

/* How many elements make up a root mean square, whose errors are in proportion to them: equal ones,
 * as of a value that is spread or gathered, count once, and small ones beside large ones nothing.
 * Sorts them. */
static double count_weighty(double *sizes, int64_t count)
{
    double squares = 0, fourths = 0;
    qsort(sizes, (size_t)count, sizeof *sizes, descending);
    for (int64_t i = 0; i < count && sizes[0] > 0; i++) {
        double share = sizes[i] / sizes[0], square = share * share;
        if (i > 0 && sizes[i] == sizes[i - 1])
            continue;
        squares += square;
        fourths += square * square;
    }
    return fourths > 0 ? squares * squares / fourths : (double)count;
}

/* The same up to WEIGHTY, which some of very many mostly show. */
static double enough_weighty(double *sizes, int64_t count)
{
    double some[8 * WEIGHTY];
    int64_t most = sizeof some / sizeof some[0];
    if (count > most)
        for (int64_t i = 0; i < most; i++)
            some[i] = sizes[i * (count / most)];
    if (count > most && count_weighty(some, most) >= WEIGHTY)
        return WEIGHTY;
    return count_weighty(sizes, count);
}

/* Where an output's elements start among all, its count, shape and dtype. */
static int64_t output_place(const struct verification *v, uint32_t output, int64_t *out_count,
                            int64_t *out_shape, enum dtype *out_dtype, size_t *out_byte)
{
    const struct graph *graph = &v->contents->graph;
    int64_t first = 0, count = 0;
    size_t byte = 0;
    for (uint32_t o = 0; o <= output; o++) {
        const struct node *node = graph_node(graph, graph->outputs.items[o].value);
        first += count;
        byte += (size_t)count * (o > 0 ? dtype_bytes(*out_dtype) : 0);
        count = 1;
        for (uint32_t i = 0; i < node->rank; i++) {
            int64_t dim = 0;
            dim_eval(&graph->dims, node->shape[i], v->whole.dims, &dim);
            out_shape[i] = dim;
            count *= dim;
        }
        *out_dtype = (enum dtype)node->dtype;
    }
    *out_count = count;
    *out_byte = byte;
    return first;
}

bool whole_quality(const struct verification *v, uint32_t target, uint32_t output,
                   double *out_quality, double *out_limit, double *out_excess)
{
    const struct graph *graph = &v->contents->graph;
    int64_t count, used = 0;
    enum dtype dtype = DTYPE_NONE;
    size_t byte;
    int64_t shape[LIMIT_RANK], points[DRAWN_MOST];
    int64_t first = output_place(v, output, &count, shape, &dtype, &byte);
    if (!dtype_is_float(dtype) || dtype == DTYPE_F64 || count == 0)
        return false; /* of f64 the reference has errors of the same size */
    bool drawn = v->result.is_drawn;
    if (drawn) {
        count = v->result.drawn[output];
        draw_points(shape, graph_node(graph, graph->outputs.items[output].value)->rank, NULL,
                    output + 1, DRAWN_MOST, points);
    }
    bool trim = count >= TRIMMED_FROM && any_jumps(graph);
    double *ours = malloc((size_t)count * sizeof *ours),
           *plain = malloc((size_t)count * sizeof *plain),
           *sizes = malloc((size_t)count * sizeof *sizes);
    double size = 0, largest = 0;
    for (int64_t i = 0; ours && plain && sizes && i < count; i++) {
        double right = v->result.reference[first + i], other = v->result.plain[first + i];
        double mine = element(dtype, v->targets[target][0].outputs + byte, drawn ? points[i] : i);
        if (!isfinite(right) || !isfinite(other) || !isfinite(mine))
            continue; /* kernels are judged on these one by one */
        sizes[used] = fabs(right);
        ours[used] = fabs(mine - right);
        plain[used++] = fabs(other - right);
        size += right * right;
        largest = fmax(largest, fabs(right));
    }
    double rms, most, plain_rms, plain_most, unit = dtype_unit_roundoff(dtype);
    if (used > 0) {
        summarise(ours, used, trim, &rms, &most);
        summarise(plain, used, trim, &plain_rms, &plain_most);
        /* The plain result may be right by luck; one rounding of each element is no error. */
        double floor_rms = unit * sqrt(size / (double)used) + dtype_min_subnormal(dtype);
        *out_quality = rms / fmax(plain_rms, floor_rms / 2);
        *out_excess =
            trim ? 0 : most / fmax(plain_most, unit * largest + dtype_min_subnormal(dtype));
        /* The fewer elements, the more either error is chance. A sort, where it may matter. */
        bool worse = *out_quality > 1 || *out_excess > 1;
        double weighty = worse ? enough_weighty(sizes, used) : (double)used;
        *out_limit = weighty >= WEIGHTY ? 1 : 1 + 30 / weighty;
    }
    free(ours);
    free(plain);
    free(sizes);
    return used > 0;
}
