/* Judges the graph as a whole: the graph passes, and the accuracy of results from end to end.
 *
 * Passes: both graphs are interpreted in float64 from the same inputs, with running bounds of
 * float64 arithmetic. They must agree within the two bounds. A pass may change roundings but
 * nothing else, and these bounds are about ten digits tighter than those of f32 arithmetic.
 *
 * Quality: references for it are made here; see quality.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/interp_memo.h"
#include "graph/loops.h"
#include "runtime/borrow.h"
#include "verify/quality.h"
#include "verify/scene.h"

#define LOST 0.01                      /* share of elements that a pass may leave undetermined, */
#define LOST_FEW 4                     /* or this many */
#define MEMO_BYTES ((size_t)512 << 20) /* of values that several graphs have in common */

/* Whether the outputs of the optimised graph equal those before the passes within both bounds. */
static void compare_passes(const struct graph *graph, const struct interp_tensor *before,
                           const struct interp_tensor *after, const struct scene *scene,
                           struct outcome *outcome)
{
    const char *what = scene->what;
    int64_t fewest = OUTPUT_DRAWN;
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
        if ((double)lost > LOST * (double)count && lost > LOST_FEW) {
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

/* Whether any element is determined: with the others every graph agrees. Special values leave none
 * where each result depends on all inputs. */
static bool is_telling(const struct graph *graph, const struct interp_tensor *results)
{
    for (uint32_t o = 0; o < graph->outputs.count; o++)
        for (int64_t i = 0; i < results[o].count; i++)
            if (!results[o].bounds || results[o].bounds[i] < INFINITY)
                return true;
    return false;
}

/* Whether a target before t has a graph with the same text, which was judged. */
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

static bool same_names(const struct graph *a, const struct graph *b)
{
    if (a->inputs.count != b->inputs.count || a->outputs.count != b->outputs.count)
        return false;
    for (uint32_t i = 0; i < a->inputs.count; i++)
        if (strcmp(graph_node(a, a->inputs.items[i])->attrs->name,
                   graph_node(b, b->inputs.items[i])->attrs->name) != 0)
            return false;
    for (uint32_t i = 0; i < a->outputs.count; i++)
        if (strcmp(a->outputs.items[i].name, b->outputs.items[i].name) != 0)
            return false;
    return true;
}

/* A target's graph; with its loops open, and the same ones as `like`, if it has any. */
static bool read_optimised(struct graph *out, struct arena *arena,
                           const struct package_target *target, const struct graph *like,
                           struct error *err)
{
    struct graph *closed = ARENA_NEW(arena, struct graph);
    if (!graph_parse(closed, arena, target->optimised, target->optimised_bytes, err))
        return false;
    *out = *closed;
    if (!graph_has_loops(closed))
        return true;
    return graph_open_loops(out, arena, closed, err) &&
           (same_names(out, like) || fail(err, ERR_VERIFY, "its loops are not the package's"));
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
        /* First with constants taken as exact; then with the error that folding in native
         * arithmetic may have caused. */
        for (int folded = 0; folded < 2; folded++) {
            struct interp_options with = *options;
            struct outcome found = *outcome;
            with.constants = folded ? &v->contents->graph : NULL;
            if (!read_optimised(&graph, &arena, target, scene->whole->graph, &err) ||
                !interpret(&graph, &with, scene, &arena, &after, &err))
                outcome_fail(&found, "cannot be judged: %s", err.message);
            else
                compare_passes(scene->whole->graph, before, after, scene, &found);
            bool pass = found.pass;
            if (folded == 1 || pass)
                *outcome = found;
            if (pass)
                break;
        }
        arena_release(&arena);
    }
}

static bool any_exponentials(const struct graph *graph)
{
    bool any = false;
    for (value_id v = 1; v < graph->nodes.count; v++)
        any |= graph_node(graph, v)->prim == PRIM_EXP || graph_node(graph, v)->prim == PRIM_EXP2;
    return any;
}

/* At a small size: special values, which passes must treat alike; many ties, where comparisons
 * matter; and large values, where a power must not overflow. */
static void judge_passes_alone(struct whole *whole, const struct interp_options *options)
{
    struct verification *v = whole->v;
    struct arena *arena = whole->arena;
    static const struct {
        struct scene_values values;
        bool (*matters)(const struct graph *graph); /* NULL: always */
    } rows[] = {{{"special", FILL_SPECIAL, 11}, NULL},
                {{"few different", FILL_EXACT, 12}, any_jumps},
                {{"large", FILL_FINITE, 13}, any_exponentials}};
    struct sizes sizes;
    struct error err;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct scene scene = {0};
        struct interp_tensor *before;
        struct interp_options with = *options;
        struct arena values; /* of this scene: there is nothing to find in those of another */
        if (rows[r].matters && !rows[r].matters(&v->contents->graph))
            continue;
        const struct size_wish wish = {v->contents, NULL, v->options, v->budget / 8};
        bool ok = sizes_choose(&wish, arena, &sizes, &err);
        const struct size *size = &sizes.items[0];
        for (uint32_t i = 0; ok && i < sizes.count; i++)
            if (strcmp(sizes.items[i].why, "odd") == 0)
                size = &sizes.items[i];
        arena_init(&values);
        with.memo = interp_memo_new(&values, MEMO_BYTES);
        ok = ok && scene_make(&scene, whole, size->dims, &rows[r].values, &err) &&
             interpret(whole->graph, &with, &scene, arena, &before, &err);
        if (ok && is_telling(whole->graph, before))
            judge_passes(v, &scene, before, &with);
        for (uint32_t t = 0; !ok && t < v->contents->target_count; t++)
            outcome_fail(&v->result.passes[t], "cannot be judged: %s", err.message);
        arena_release(&values);
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

/* The runtime's interpreter, loaded and called as a user would, must give the same results as the
 * interpreter here. Both are the same code, so of long loops some trips say as much as all. */
static void judge_interpreter(struct whole *whole)
{
    struct verification *v = whole->v;
    struct subject subject = {v->bytes, v->size, v->options, "interpreter"};
    const struct graph *graph = &v->contents->graph;
    struct outcome *outcome = &v->result.interpreter;
    const struct interp_options options = {
        .mode = INTERP_NATIVE, .memory_limit = REFERENCE_BYTES, .tried_trips = LOOP_TRIED_TRIPS};
    struct sizes sizes;
    struct scene scene = {0};
    struct interp_tensor *results;
    struct error err;
    struct arena *arena = whole->arena;
    urza_module *module = NULL;
    const struct size_wish wish = {v->contents, NULL, v->options, v->budget};
    bool ok = sizes_choose(&wish, arena, &sizes, &err);
    const struct size *size = ok ? cheapest(&sizes) : NULL;
    if (ok && is_too_much(graph, size->dims)) { /* interpreting twice would cost too much */
        snprintf(outcome->detail, sizeof outcome->detail, "not run: too large");
        outcome->ran = outcome->pass = true;
        return;
    }
    ok = ok &&
         scene_make(&scene, whole, size->dims, &(struct scene_values){"random", FILL_NORMAL, 5},
                    &err) &&
         interpret(graph, &options, &scene, arena, &results, &err);
    if (!ok) {
        outcome_error(outcome, &err);
    } else {
        const struct sample *sample = &scene.sample;
        void **expected = ARENA_ARRAY(arena, void *, sample->output_count + 1);
        for (uint32_t i = 0; i < sample->output_count; i++) {
            expected[i] = arena_alloc(arena, sample->outputs[i].bytes, 64);
            interp_store(&results[i], expected[i]);
        }
        snprintf(v->result.stage, STAGE_BYTES, "the interpreter");
        outcome->pass = subject_load(&subject, 1, 0, &module, outcome);
        if (outcome->pass)
            urza_try_trips(module, LOOP_TRIED_TRIPS);
        outcome->pass = outcome->pass &&
                        subject_call(&subject, sample, module, expected, "interpreted", outcome);
        outcome->ran = true;
    }
    urza_unload(module);
}

/* Keeps the results for quality: in float64, and as plain loops give them. */
static bool judge_quality(struct whole *whole, struct scene *scene,
                          const struct interp_tensor *before, struct error *err)
{
    struct verification *v = whole->v;
    const struct interp_options plain = {
        .mode = INTERP_PLAIN, .memory_limit = REFERENCE_BYTES, .threads = v->threads};
    struct interp_tensor *loops;
    struct arena arena;
    arena_init(&arena);
    snprintf(v->result.stage, STAGE_BYTES, "the plain interpretation of the whole");
    bool ok = interpret(whole->graph, &plain, scene, &arena, &loops, err);
    if (ok)
        quality_keep(scene, before, loops);
    arena_release(&arena);
    return ok;
}

/* The quality of a graph with loops, which cannot be computed at points: where all of it is too
 * much, quality is not judged. */
static bool judge_closed(struct whole *whole, const struct interp_options *wide, struct error *err)
{
    struct verification *v = whole->v;
    struct scene scene = {0};
    struct interp_tensor *before;
    if (is_too_much(whole->graph, v->whole.dims))
        return true;
    if (!scene_make(&scene, whole, v->whole.dims, &(struct scene_values){"random", FILL_NORMAL, 0},
                    err) ||
        !interpret(whole->graph, wide, &scene, whole->arena, &before, err))
        return false;
    v->result.is_drawn = scene.drawn;
    return judge_quality(whole, &scene, before, err);
}

void job_whole(struct verification *v)
{
    const struct graph *graph = &v->contents->graph;
    bool loops = graph_has_loops(graph);
    struct interp_tensor *before;
    struct scene scene = {0};
    struct graph open;
    struct error err;
    struct arena arena;
    struct whole whole = {.v = v, .graph = graph, .arena = &arena}, passes = whole;
    arena_init(&arena);
    const struct interp_options wide = {.mode = INTERP_REFERENCE,
                                        .memory_limit = REFERENCE_BYTES,
                                        .threads = v->threads,
                                        .wide = true,
                                        .memo = interp_memo_new(&arena, MEMO_BYTES)};
    snprintf(v->result.stage, STAGE_BYTES, "the reference of the whole");
    if (loops)
        passes.graph = &open;
    bool ok = (!loops || graph_open_loops(&open, &arena, graph, &err)) &&
              scene_make(&scene, &passes, v->whole.dims,
                         &(struct scene_values){"random", FILL_NORMAL, 0}, &err) &&
              interpret(passes.graph, &wide, &scene, &arena, &before, &err);
    v->result.is_drawn = scene.drawn;
    if (ok) {
        judge_passes(v, &scene, before, &wide);
        judge_passes_alone(&passes, &wide);
        ok =
            loops ? judge_closed(&whole, &wide, &err) : judge_quality(&whole, &scene, before, &err);
    }
    for (uint32_t t = 0; !ok && t < v->contents->target_count; t++)
        if (!v->result.passes[t].ran)
            outcome_fail(&v->result.passes[t], "cannot be judged: %s", err.message);
    judge_interpreter(&whole);
    if (v->block)
        judge_gradients(v);
    if (v->spec)
        judge_step(v);
    arena_release(&arena);
    v->result.done = true;
}

void job_floor(struct verification *v)
{
    struct scene scene = {0};
    struct error err;
    struct arena arena;
    struct whole whole = {.v = v, .graph = &v->contents->graph, .arena = &arena};
    arena_init(&arena);
    snprintf(v->result.stage, STAGE_BYTES, "the errors of a plain loop");
    if (scene_make(&scene, &whole, v->whole.dims, &(struct scene_values){"random", FILL_NORMAL, 0},
                   &err))
        quality_floor(&scene);
    arena_release(&arena);
}
