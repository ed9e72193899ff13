/* Whether the graph of a training step is that of the block and its gradients.
 *
 * That compiled code computes the step's graph is judged as for every package. Here that graph is
 * judged, by forward mode and differences (directions.h). The results of the step's first part must
 * be the block's, bit for bit.
 *
 * Normal numbers meet few of the corners of a block. So one more point has inputs of a larger
 * range, half of them multiples of 1/2, on which hardtanh and others have corners: forward mode
 * alone judges there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "verify/directions.h"
#include "verify/scene.h"

#define WIDE 16 /* the largest of the inputs of a larger range */

struct gradients {
    struct directions d; /* in the block, whose sources are the step's first inputs */
    const struct graph *step, *block;
    struct scene scene;                 /* of the step */
    const struct tangent_tensor *found; /* the step's results */
};

/* Whether the step gives the gradient by the block's source; which result that is. */
static bool gradient_of(const struct gradients *g, uint32_t source, uint32_t *out)
{
    const char *name = graph_node(g->step, g->step->inputs.items[source])->attrs->name;
    for (uint32_t i = g->block->outputs.count; i < g->step->outputs.count; i++)
        if (strcmp(g->step->outputs.items[i].name + strlen(PACKAGE_GRAD), name) == 0) {
            *out = i;
            return true;
        }
    return false;
}

/* The cotangent of a result of the block, among the step's sources; NULL: it has none. */
static const struct interp_tensor *cotangent_of(const struct gradients *g, uint32_t output)
{
    for (uint32_t i = g->d.sources; i < g->step->inputs.count; i++)
        if (strcmp(graph_node(g->step, g->step->inputs.items[i])->attrs->name +
                       strlen(PACKAGE_COTANGENT),
                   g->block->outputs.items[output].name) == 0)
            return &g->scene.sources[i];
    return NULL;
}

/* The results of forward_train are those of the block. */
static bool judge_results(struct gradients *g, struct outcome *outcome)
{
    const struct tangent_tensor *results;
    if (!directions_run(&g->d, g->block, g->scene.sources, NULL, &results))
        return false;
    g->d.finite = true;
    for (uint32_t o = 0; o < g->block->outputs.count; o++)
        for (int64_t i = 0; i < results[o].value.count; i++) {
            union cell a = results[o].value.cells[i], b = g->found[o].value.cells[i];
            bool is_float = dtype_is_float(results[o].value.dtype);
            g->d.finite &= !is_float || isfinite(a.f);
            if (a.i != b.i && !(is_float && isnan(a.f) && isnan(b.f)))
                return outcome_fail(outcome, "output '%s', element %lld: %.17g, in the block %.17g",
                                    g->block->outputs.items[o].name, (long long)i,
                                    is_float ? b.f : (double)b.i, is_float ? a.f : (double)a.i);
        }
    return true;
}

/* Draws the block's inputs in [0.1, 0.9): logarithms, roots and inverse functions have derivatives
 * there, which normal numbers mostly miss. */
static void draw_tame(struct gradients *g)
{
    for (uint32_t s = 0; s < g->block->inputs.count; s++) {
        struct interp_tensor *source = &g->scene.sources[s];
        uint64_t key = rng_key(g->d.v->options->seed * 31 + s);
        for (int64_t i = 0; dtype_is_float(source->dtype) && i < source->count; i++)
            source->cells[i].f =
                dtype_round(source->dtype, 0.1 + 0.8 * rng_uniform(key, (uint64_t)i));
    }
}

/* Draws the block's inputs in a larger range; half of them are multiples of 1/2. */
static void draw_wide(struct gradients *g)
{
    for (uint32_t s = 0; s < g->block->inputs.count; s++) {
        struct interp_tensor *source = &g->scene.sources[s];
        uint64_t key = rng_key(g->d.v->options->seed * 37 + s);
        for (int64_t i = 0; dtype_is_float(source->dtype) && i < source->count; i++) {
            double x = WIDE * (2 * rng_uniform(key, (uint64_t)i) - 1);
            source->cells[i].f = dtype_round(source->dtype, i % 2 ? nearbyint(2 * x) / 2 : x);
        }
    }
}

enum range { RANGE_NORMAL, RANGE_TAME, RANGE_WIDE };

/* What the step computes at this point. */
static void give(struct gradients *g)
{
    struct arena *arena = g->d.arena;
    const struct interp_tensor **cotangents =
        ARENA_ARRAY(arena, const struct interp_tensor *, g->block->outputs.count + 1);
    const struct interp_tensor **gradients =
        ARENA_ARRAY(arena, const struct interp_tensor *, g->d.sources + 1);
    uint32_t output;
    for (uint32_t o = 0; o < g->block->outputs.count; o++)
        cotangents[o] = cotangent_of(g, o);
    for (uint32_t s = 0; s < g->d.sources; s++)
        if (gradient_of(g, s, &output))
            gradients[s] = &g->found[output].value;
    g->d.cotangents = cotangents;
    g->d.gradients = gradients;
}

static bool judge_at(struct gradients *g, const struct direction_size *at, enum range range,
                     struct outcome *outcome)
{
    struct whole whole = {.v = g->d.v, .graph = g->step, .arena = g->d.arena};
    if (!scene_make(&g->scene, &whole, at->size.dims,
                    &(struct scene_values){"random", FILL_NORMAL, 7}, &g->d.err))
        return false;
    if (g->scene.drawn && !scene_load(&g->scene, &g->d.err))
        return false;
    g->d.dims = g->scene.sample.dims;
    g->d.values = g->scene.sources;
    g->d.wide = range == RANGE_WIDE;
    g->d.large = at->large;
    if (range == RANGE_TAME)
        draw_tame(g);
    if (range == RANGE_WIDE)
        draw_wide(g);
    if (!directions_run(&g->d, g->step, g->scene.sources, NULL, &g->found) ||
        !judge_results(g, outcome))
        return false;
    g->d.results = g->found;
    give(g);
    return directions_judge(&g->d, outcome);
}

/* At each size, until something fails. */
static bool judge_all(struct gradients *g, const struct direction_size *at, uint32_t count,
                      struct outcome *outcome)
{
    bool ok = true;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = judge_at(g, &at[i], RANGE_NORMAL, outcome);
    for (uint32_t i = 0; ok && !outcome->ran && i < count; i++)
        ok = judge_at(g, &at[i], RANGE_TAME, outcome);
    for (uint32_t i = 0; ok && i < count; i++)
        ok = at[i].large || judge_at(g, &at[i], RANGE_WIDE, outcome);
    return ok;
}

void judge_gradients(struct verification *v)
{
    struct outcome *outcome = &v->result.gradients;
    struct arena arena;
    struct direction_size at[DIRECTION_SIZES];
    arena_init(&arena);
    struct gradients g = {.step = &v->contents->graph, .block = &v->block->graph};
    g.d = (struct directions){.v = v, .arena = &arena, .graph = g.block};
    g.d.sources = g.block->inputs.count + g.block->params.count;
    bool *differentiated = ARENA_ARRAY(&arena, bool, g.d.sources + 1);
    for (uint32_t s = 0, output; s < g.d.sources; s++)
        differentiated[s] = gradient_of(&g, s, &output);
    directions_begin(&g.d, differentiated);
    outcome->bound = 1;
    snprintf(v->result.stage, STAGE_BYTES, "gradients");
    uint32_t count = 0;
    bool ok = directions_sizes(&g.d, g.step, at, &count) && judge_all(&g, at, count, outcome);
    if (!ok && outcome->detail[0] == '\0')
        outcome_fail(outcome, "cannot be judged: %s", g.d.err.message);
    if (ok) {
        directions_describe(&g.d, at, count, "the block", outcome);
        outcome->ran = outcome->pass = true;
    }
    arena_release(&arena);
}
