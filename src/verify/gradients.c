/* Whether the graph of a training step is that of the block and its gradients.
 *
 * That compiled code computes the step's graph is judged as for every package. Here that graph is
 * judged: forward mode (graph/tangent.h), which shares nothing with the rules of reverse mode,
 * gives the derivative J·v of the block's results along a direction v, and
 *
 *     ⟨cotangents, J·v⟩ = ⟨gradients, v⟩
 *
 * must hold, in unrounded float64, to 1e-9 of the magnitude of the terms: along one drawn direction
 * for each input and param. Where there are more than GROUPS_MOST, some share one, and a gradient
 * that is a billionth of another may be lost beside it. Central differences of the block's results
 * along the same directions check both, as far as they can: their own error is estimated by a
 * second step. They say nothing of a block that detaches values on the way, whose gradient is not
 * that of its results. The results of the step's first part must be the block's, bit for bit.
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
#include "graph/loops.h"
#include "graph/tangent.h"
#include "verify/scene.h"

#define GROUPS_MOST 12
#define SHARE_MOST 1e-9      /* of the terms' magnitude: many roundings of float64 */
#define WIDE_SHARE_MOST 1e-6 /* the same where inputs are large, and so are inner values, */
#define WIDE_FLOOR                                                                              \
    1e-9               /* and this part of the terms' magnitude at usual inputs: functions that \
                          are flat there have slopes of which roundings leave nothing */
#define WIDE 16        /* the largest of these inputs */
#define LARGE_COST 4e9 /* operations of a step that is judged along one direction only */
#define STEP 0x1p-20   /* of central differences, */
#define DIFFERENCE_MOST 1e-3 /* and how far they may be off, beside four times their own error */

struct gradients {
    struct verification *v;
    const struct graph *step, *block;
    struct scene scene; /* of the step */
    struct arena *arena;
    struct interp_options options;
    uint32_t sources;                   /* of the block, which are the step's first inputs */
    const struct tangent_tensor *found; /* the step's results */
    uint32_t groups;
    bool finite;               /* all results of the block are, at this point */
    bool detaches;             /* a value that hangs on what is differentiated is detached */
    bool large;                /* there is one direction, without differences */
    bool wide, widely;         /* inputs are of the larger range; that was judged somewhere */
    double usual[GROUPS_MOST]; /* by direction: the largest magnitude of terms at usual inputs */
    struct error err;
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
    for (uint32_t i = g->sources; i < g->step->inputs.count; i++)
        if (strcmp(graph_node(g->step, g->step->inputs.items[i])->attrs->name +
                       strlen(PACKAGE_COTANGENT),
                   g->block->outputs.items[output].name) == 0)
            return &g->scene.sources[i];
    return NULL;
}

/* Whether the block detaches a value that hangs on what is differentiated. */
static bool detaches(const struct gradients *g)
{
    const struct graph *block = g->block;
    bool *hangs = ARENA_ARRAY(g->arena, bool, block->nodes.count), any = false;
    for (uint32_t s = 0; s < g->sources; s++) {
        uint32_t inputs = block->inputs.count, output;
        if (gradient_of(g, s, &output))
            hangs[s < inputs ? block->inputs.items[s] : block->params.items[s - inputs]] = true;
    }
    for (value_id v = 1; v < block->nodes.count; v++) {
        const struct node *n = graph_node(block, v);
        for (uint32_t i = 0; i < n->operand_count; i++)
            hangs[v] |= dtype_is_float((enum dtype)n->dtype) && hangs[n->operands[i]];
        any |= hangs[v] && n->prim == PRIM_DETACH;
    }
    return any;
}

/* Runs a graph in unrounded float64; direction: by source, NULL for 0. */
static bool run(struct gradients *g, const struct graph *graph, const struct interp_tensor *sources,
                const double *const *direction, const struct tangent_tensor **out)
{
    uint32_t count = graph->inputs.count + graph->params.count;
    struct tangent_tensor *results =
        ARENA_ARRAY(g->arena, struct tangent_tensor, graph->outputs.count + 1);
    const double **none = ARENA_ARRAY(g->arena, const double *, count + 1);
    const struct tangent_arguments arguments = {{g->scene.sample.dims, sources, count},
                                                direction ? direction : none};
    *out = results;
    return tangent_run(graph, &g->options, &arguments, g->arena, results, &g->err);
}

/* A direction in the sources of one group, in [-1, 1). */
static const double **draw_direction(struct gradients *g, uint32_t group)
{
    const double **all = ARENA_ARRAY(g->arena, const double *, g->sources + 1);
    for (uint32_t s = 0; s < g->sources; s++) {
        uint32_t output;
        const struct interp_tensor *source = &g->scene.sources[s];
        if (s % g->groups != group || !gradient_of(g, s, &output))
            continue;
        double *v = ARENA_ARRAY(g->arena, double, source->count + 1);
        uint64_t key = rng_key(g->v->options->seed * 1009 + s);
        for (int64_t i = 0; i < source->count; i++)
            v[i] = rng_uniform(key, (uint64_t)i) * 2 - 1;
        all[s] = v;
    }
    return all;
}

/* ⟨cotangents, t⟩ for numbers t beside the block's results; adds the terms' magnitude. */
static double against_cotangents(const struct gradients *g, const struct tangent_tensor *results,
                                 double *magnitude)
{
    double sum = 0;
    for (uint32_t o = 0; o < g->block->outputs.count; o++) {
        const struct interp_tensor *c = cotangent_of(g, o);
        for (int64_t i = 0; c && results[o].tangent && i < c->count; i++) {
            double term = c->cells[i].f * results[o].tangent[i];
            sum += term;
            *magnitude += fabs(term);
        }
    }
    return sum;
}

static double against_gradients(const struct gradients *g, const double *const *direction,
                                double *magnitude)
{
    double sum = 0;
    for (uint32_t s = 0; s < g->sources; s++) {
        uint32_t output;
        if (!direction[s] || !gradient_of(g, s, &output))
            continue;
        for (int64_t i = 0; i < g->found[output].value.count; i++) {
            double term = g->found[output].value.cells[i].f * direction[s][i];
            sum += term;
            *magnitude += fabs(term);
        }
    }
    return sum;
}

/* ⟨cotangents, (f(x + h·v) - f(x - h·v)) / 2h⟩ */
static bool by_differences(struct gradients *g, const double *const *direction, double h,
                           double *out)
{
    const struct tangent_tensor *side[2];
    for (int k = 0; k < 2; k++) {
        struct interp_tensor *moved =
            arena_memdup(g->arena, g->scene.sources, (g->sources + 1) * sizeof *moved);
        for (uint32_t s = 0; s < g->sources; s++) {
            if (!direction[s])
                continue;
            moved[s].cells = ARENA_ARRAY(g->arena, union cell, moved[s].count + 1);
            for (int64_t i = 0; i < moved[s].count; i++)
                moved[s].cells[i].f =
                    g->scene.sources[s].cells[i].f + (k ? -h : h) * direction[s][i];
        }
        if (!run(g, g->block, moved, NULL, &side[k]))
            return false;
    }
    *out = 0;
    for (uint32_t o = 0; o < g->block->outputs.count; o++) {
        const struct interp_tensor *c = cotangent_of(g, o);
        for (int64_t i = 0; c && i < c->count; i++)
            *out += c->cells[i].f * (side[0][o].value.cells[i].f - side[1][o].value.cells[i].f) /
                    (2 * h);
    }
    return true;
}

/* Differences of the block's results beside the derivative that forward mode gives. */
static bool judge_differences(struct gradients *g, uint32_t group, const double *const *direction,
                              double forward, double magnitude, struct outcome *outcome)
{
    double near, wide;
    if (!by_differences(g, direction, STEP, &near) ||
        !by_differences(g, direction, 2 * STEP, &wide))
        return false;
    double off = fabs(near - forward), own = 4 * fabs(near - wide);
    if (isfinite(near) && isfinite(wide) && !(off <= DIFFERENCE_MOST * magnitude + own))
        return outcome_fail(outcome,
                            "along direction %u of %u: %.6g by differences, %.6g by "
                            "forward mode",
                            group, g->groups, near, forward);
    return true;
}

/* One direction: figure is how much of the allowed difference there is. */
static bool judge_direction(struct gradients *g, uint32_t group, struct outcome *outcome)
{
    const double **direction = draw_direction(g, group);
    const struct tangent_tensor *results;
    double magnitude = 0;
    if (!run(g, g->block, g->scene.sources, direction, &results))
        return false;
    double forward = against_cotangents(g, results, &magnitude);
    double backward = against_gradients(g, direction, &magnitude);
    /* Where the block has no finite derivative, or results that are not finite, these numbers say
     * nothing. A gradient that alone is not finite is wrong, unless an infinite slope met a zero:
     * among wide inputs there are zeros.
     */
    bool wrong = isfinite(forward) && forward != 0 && g->finite && !g->wide;
    if (!isfinite(forward) || (!isfinite(backward) && !wrong))
        return true;
    double most = SHARE_MOST * magnitude;
    if (g->wide)
        most = WIDE_SHARE_MOST * magnitude + WIDE_FLOOR * g->usual[group];
    else
        g->usual[group] = fmax(g->usual[group], magnitude);
    double ratio = fabs(forward - backward) / (most + 1e-300);
    outcome->figure = fmax(outcome->figure, forward == backward ? 0 : ratio);
    outcome->ran = true;
    g->widely |= g->wide;
    if (!(ratio <= 1) && forward != backward)
        return outcome_fail(outcome,
                            "along direction %u of %u%s: %.12g by forward mode, %.12g by the "
                            "step's gradients",
                            group, g->groups, g->wide ? ", at wide inputs" : "", forward, backward);
    return g->detaches || g->large || g->wide ||
           judge_differences(g, group, direction, forward, magnitude, outcome);
}

/* The results of forward_train are those of the block. */
static bool judge_results(struct gradients *g, struct outcome *outcome)
{
    const struct tangent_tensor *results;
    if (!run(g, g->block, g->scene.sources, NULL, &results))
        return false;
    g->finite = true;
    for (uint32_t o = 0; o < g->block->outputs.count; o++)
        for (int64_t i = 0; i < results[o].value.count; i++) {
            union cell a = results[o].value.cells[i], b = g->found[o].value.cells[i];
            bool is_float = dtype_is_float(results[o].value.dtype);
            g->finite &= !is_float || isfinite(a.f);
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
        uint64_t key = rng_key(g->v->options->seed * 31 + s);
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
        uint64_t key = rng_key(g->v->options->seed * 37 + s);
        for (int64_t i = 0; dtype_is_float(source->dtype) && i < source->count; i++) {
            double x = WIDE * (2 * rng_uniform(key, (uint64_t)i) - 1);
            source->cells[i].f = dtype_round(source->dtype, i % 2 ? nearbyint(2 * x) / 2 : x);
        }
    }
}

enum range { RANGE_NORMAL, RANGE_TAME, RANGE_WIDE };

static bool judge_at(struct gradients *g, const struct size *size, enum range range,
                     struct outcome *outcome)
{
    struct whole whole = {.v = g->v, .graph = g->step, .arena = g->arena};
    if (!scene_make(&g->scene, &whole, size->dims, &(struct scene_values){"random", FILL_NORMAL, 7},
                    &g->err))
        return false;
    if (g->scene.drawn && !scene_load(&g->scene, &g->err))
        return false;
    g->wide = range == RANGE_WIDE;
    if (range == RANGE_TAME)
        draw_tame(g);
    if (range == RANGE_WIDE)
        draw_wide(g);
    if (!run(g, g->step, g->scene.sources, NULL, &g->found) || !judge_results(g, outcome))
        return false;
    for (uint32_t i = 0; i < g->groups; i++)
        if (!judge_direction(g, i, outcome))
            return false;
    return true;
}

/* The sizes at which everything can be computed: the cheapest, and an odd one. A block of which the
 * cheapest is large is judged along one direction. */
static uint32_t choose(struct gradients *g, const struct sizes *sizes, const struct size *out[2])
{
    const struct size *least = &sizes->items[0], *odd = NULL;
    for (uint32_t i = 0; i < sizes->count; i++) {
        if (sizes->items[i].cost < least->cost)
            least = &sizes->items[i];
        if (strcmp(sizes->items[i].why, "odd") == 0)
            odd = &sizes->items[i];
    }
    uint32_t count = 0;
    if (!is_too_much(g->step, least->dims))
        out[count++] = least;
    if (odd && odd != least && !is_too_much(g->step, odd->dims))
        out[count++] = odd;
    if (count == 0 && graph_cost_whole(g->step, least->dims) <= LARGE_COST &&
        graph_cells(g->step, least->dims) <= CELLS_MOST) {
        out[count++] = least;
        g->large = true;
        g->groups = 1;
    }
    return count;
}

/* What was judged, and what was not. */
static void describe(const struct gradients *g, uint32_t count, struct outcome *outcome)
{
    const char *why = g->large ? "the block is large" : "the block detaches values";
    if (!outcome->ran)
        snprintf(outcome->detail, sizeof outcome->detail, "not judged: %s",
                 count == 0 ? "the block is too large" : "no finite derivative was met");
    else
        snprintf(outcome->detail, sizeof outcome->detail,
                 "at %u sizes, along %u directions each%s%s%s", count, g->groups,
                 g->widely ? ", and at inputs of a larger range" : "",
                 g->large || g->detaches ? "; differences not judged: " : "",
                 g->large || g->detaches ? why : "");
}

void judge_gradients(struct verification *v)
{
    struct outcome *outcome = &v->result.gradients;
    struct arena arena;
    struct sizes sizes;
    const struct size *at[2];
    arena_init(&arena);
    struct gradients g = {.v = v,
                          .step = &v->contents->graph,
                          .block = &v->block->graph,
                          .arena = &arena,
                          .options = {.mode = INTERP_NATIVE,
                                      .memory_limit = REFERENCE_BYTES,
                                      .threads = v->threads,
                                      .most_trips = LOOP_TRIED_TRIPS}};
    g.sources = g.block->inputs.count + g.block->params.count;
    g.groups = g.sources < GROUPS_MOST ? g.sources : GROUPS_MOST;
    g.detaches = detaches(&g);
    outcome->bound = 1;
    snprintf(v->result.stage, STAGE_BYTES, "gradients");
    const struct size_wish wish = {v->contents, NULL, v->options, v->budget / 8};
    bool ok = sizes_choose(&wish, &arena, &sizes, &g.err);
    uint32_t count = ok ? choose(&g, &sizes, at) : 0;
    for (uint32_t i = 0; ok && i < count; i++)
        ok = judge_at(&g, at[i], RANGE_NORMAL, outcome);
    for (uint32_t i = 0; ok && !outcome->ran && i < count; i++)
        ok = judge_at(&g, at[i], RANGE_TAME, outcome);
    for (uint32_t i = 0; ok && !g.large && i < count; i++)
        ok = judge_at(&g, at[i], RANGE_WIDE, outcome);
    if (!ok && outcome->detail[0] == '\0')
        outcome_fail(outcome, "cannot be judged: %s", g.err.message);
    if (ok) {
        describe(&g, count, outcome);
        outcome->ran = outcome->pass = true;
    }
    arena_release(&arena);
}
