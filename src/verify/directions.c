#include "verify/directions.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "graph/loops.h"
#include "verify/scene.h"

#define SHARE_MOST 1e-9 /* of the terms' magnitude: many roundings of float64 */
#define FLOOR                                                                           \
    1e-13 /* of the magnitude of all results and gradients: what roundings leave of one \
             that is exactly 0 */
#define WIDE_SHARE_MOST 1e-6 /* the same where inputs are large, and so are inner values, */
#define WIDE_FLOOR                                                                            \
    1e-9             /* and this part of the terms' magnitude at usual inputs: functions that \
                        are flat there have slopes of which roundings leave nothing */
#define STEP 0x1p-20 /* of central differences, */
#define DIFFERENCE_MOST 1e-3 /* and how far they may be off, beside four times their own error */

/* Whether the graph detaches a value that hangs on what is differentiated. */
static bool detaches(const struct directions *d, const bool *differentiated)
{
    const struct graph *graph = d->graph;
    bool *hangs = ARENA_ARRAY(d->arena, bool, graph->nodes.count), any = false;
    for (uint32_t s = 0; s < d->sources; s++) {
        uint32_t inputs = graph->inputs.count;
        if (differentiated[s])
            hangs[s < inputs ? graph->inputs.items[s] : graph->params.items[s - inputs]] = true;
    }
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        for (uint32_t i = 0; i < n->operand_count; i++)
            hangs[v] |= dtype_is_float((enum dtype)n->dtype) && hangs[n->operands[i]];
        any |= hangs[v] && n->prim == PRIM_DETACH;
    }
    return any;
}

void directions_begin(struct directions *d, const bool *differentiated)
{
    d->options = (struct interp_options){.mode = INTERP_NATIVE,
                                         .memory_limit = REFERENCE_BYTES,
                                         .threads = d->v->threads,
                                         .most_trips = LOOP_TRIED_TRIPS};
    d->count = 0;
    for (uint32_t s = 0; s < d->sources && d->count < DIRECTIONS_MOST; s++)
        d->count += differentiated[s];
    d->detaches = detaches(d, differentiated);
}

bool directions_run(struct directions *d, const struct graph *graph,
                    const struct interp_tensor *values, const double *const *direction,
                    const struct tangent_tensor **out)
{
    uint32_t count = graph->inputs.count + graph->params.count;
    struct tangent_tensor *results =
        ARENA_ARRAY(d->arena, struct tangent_tensor, graph->outputs.count + 1);
    const double **none = ARENA_ARRAY(d->arena, const double *, count + 1);
    const struct tangent_arguments arguments = {{d->dims, values, count},
                                                direction ? direction : none};
    *out = results;
    return tangent_run(graph, &d->options, &arguments, d->arena, results, &d->err);
}

/* How many there are at this size. */
static uint32_t directions_at(const struct directions *d)
{
    return d->large && d->count > 1 ? 1 : d->count;
}

/* A direction in the sources of one group, in [-1, 1). */
static const double **draw_direction(struct directions *d, uint32_t group)
{
    const double **all = ARENA_ARRAY(d->arena, const double *, d->sources + 1);
    for (uint32_t s = 0, number = 0; s < d->sources; s++) {
        const struct interp_tensor *source = &d->values[s];
        if (!d->gradients[s] || number++ % directions_at(d) != group)
            continue;
        double *v = ARENA_ARRAY(d->arena, double, source->count + 1);
        uint64_t key = rng_key(d->v->options->seed * 1009 + s);
        for (int64_t i = 0; i < source->count; i++)
            v[i] = rng_uniform(key, (uint64_t)i) * 2 - 1;
        all[s] = v;
    }
    return all;
}

/* ⟨cotangents, t⟩ for numbers t beside the results; adds the terms' magnitude. */
static double against_cotangents(const struct directions *d, const struct tangent_tensor *results,
                                 double *magnitude)
{
    double sum = 0;
    for (uint32_t o = 0; o < d->graph->outputs.count; o++) {
        const struct interp_tensor *c = d->cotangents[o];
        for (int64_t i = 0; c && results[o].tangent && i < c->count; i++) {
            double term = c->cells[i].f * results[o].tangent[i];
            sum += term;
            *magnitude += fabs(term);
        }
    }
    return sum;
}

static double against_gradients(const struct directions *d, const double *const *direction,
                                double *magnitude)
{
    double sum = 0;
    for (uint32_t s = 0; s < d->sources; s++) {
        const struct interp_tensor *g = d->gradients[s];
        for (int64_t i = 0; direction[s] && i < g->count; i++) {
            double term = g->cells[i].f * direction[s][i];
            sum += term;
            *magnitude += fabs(term);
        }
    }
    return sum;
}

/* ⟨cotangents, (f(x + h·v) - f(x - h·v)) / 2h⟩ */
static bool by_differences(struct directions *d, const double *const *direction, double h,
                           double *out)
{
    const struct tangent_tensor *side[2];
    for (int k = 0; k < 2; k++) {
        struct interp_tensor *moved =
            arena_memdup(d->arena, d->values, (d->sources + 1) * sizeof *moved);
        for (uint32_t s = 0; s < d->sources; s++) {
            if (!direction[s])
                continue;
            moved[s].cells = ARENA_ARRAY(d->arena, union cell, moved[s].count + 1);
            for (int64_t i = 0; i < moved[s].count; i++)
                moved[s].cells[i].f = d->values[s].cells[i].f + (k ? -h : h) * direction[s][i];
        }
        if (!directions_run(d, d->graph, moved, NULL, &side[k]))
            return false;
    }
    *out = 0;
    for (uint32_t o = 0; o < d->graph->outputs.count; o++) {
        const struct interp_tensor *c = d->cotangents[o];
        for (int64_t i = 0; c && i < c->count; i++)
            *out += c->cells[i].f * (side[0][o].value.cells[i].f - side[1][o].value.cells[i].f) /
                    (2 * h);
    }
    return true;
}

/* Differences of the results beside the derivative that forward mode gives. */
static bool judge_differences(struct directions *d, uint32_t group, const double *const *direction,
                              double forward, double magnitude, struct outcome *outcome)
{
    double near, wide;
    if (!by_differences(d, direction, STEP, &near) ||
        !by_differences(d, direction, 2 * STEP, &wide))
        return false;
    double off = fabs(near - forward), own = 4 * fabs(near - wide);
    if (isfinite(near) && isfinite(wide) && !(off <= DIFFERENCE_MOST * magnitude + own))
        return outcome_fail(outcome,
                            "along direction %u of %u: %.6g by differences, %.6g by "
                            "forward mode",
                            group, directions_at(d), near, forward);
    return true;
}

/* One direction: figure is how much of the allowed difference there is. */
static bool judge_direction(struct directions *d, uint32_t group, struct outcome *outcome)
{
    const double **direction = draw_direction(d, group);
    const struct tangent_tensor *results;
    double magnitude = 0;
    if (!directions_run(d, d->graph, d->values, direction, &results))
        return false;
    double forward = against_cotangents(d, results, &magnitude);
    double backward = against_gradients(d, direction, &magnitude);
    /* Where there is no finite derivative, or results that are not finite, these numbers say
     * nothing. A gradient that alone is not finite is wrong, unless an infinite slope met a zero:
     * among wide inputs there are zeros.
     */
    bool wrong = isfinite(forward) && forward != 0 && d->finite && !d->wide;
    if (!isfinite(forward) || (!isfinite(backward) && !wrong))
        return true;
    double most = SHARE_MOST * magnitude + FLOOR * d->scale;
    if (d->wide)
        most += WIDE_SHARE_MOST * magnitude + WIDE_FLOOR * d->usual[group];
    else if (!d->large)
        d->usual[group] = fmax(d->usual[group], magnitude);
    double ratio = fabs(forward - backward) / (most + 1e-300);
    outcome->figure = fmax(outcome->figure, forward == backward ? 0 : ratio);
    outcome->ran = true;
    d->widely |= d->wide;
    if (!(ratio <= 1) && forward != backward)
        return outcome_fail(outcome,
                            "along direction %u of %u%s: %.12g by forward mode, %.12g by the "
                            "step's gradients",
                            group, directions_at(d), d->wide ? ", at wide inputs" : "", forward,
                            backward);
    return d->detaches || d->large || d->wide ||
           judge_differences(d, group, direction, forward, magnitude, outcome);
}

/* The sum of |cotangent · result| and of |gradient|, as far as they are finite. */
static void find_scale(struct directions *d)
{
    d->scale = 0;
    for (uint32_t o = 0; o < d->graph->outputs.count; o++) {
        const struct interp_tensor *c = d->cotangents[o];
        for (int64_t i = 0; c && i < c->count; i++) {
            double term = fabs(c->cells[i].f * d->results[o].value.cells[i].f);
            d->scale += isfinite(term) ? term : 0;
        }
    }
    for (uint32_t s = 0; s < d->sources; s++) {
        const struct interp_tensor *g = d->gradients[s];
        for (int64_t i = 0; g && i < g->count; i++)
            d->scale += isfinite(g->cells[i].f) ? fabs(g->cells[i].f) : 0;
    }
}

bool directions_judge(struct directions *d, struct outcome *outcome)
{
    find_scale(d);
    for (uint32_t i = 0; i < directions_at(d); i++)
        if (!judge_direction(d, i, outcome))
            return false;
    return true;
}

/* "B=1 S=1 and B=13 S=13": the sizes that are large, or the others. */
static const char *name_sizes(const struct directions *d, const struct direction_size *at,
                              uint32_t count, bool large)
{
    char text[SIZE_BYTES];
    struct strbuf names;
    strbuf_init(&names, d->arena);
    for (uint32_t i = 0; i < count; i++) {
        if (at[i].large != large)
            continue;
        size_print(&d->graph->dims, &at[i].size, text, sizeof text);
        strbuf_printf(&names, "%s%s", names.size_bytes > 0 ? " and " : "",
                      text[0] ? text : "the only size");
    }
    return names.data;
}

void directions_describe(const struct directions *d, const struct direction_size *at,
                         uint32_t count, const char *what, struct outcome *outcome)
{
    const char *few = name_sizes(d, at, count, true), *many = name_sizes(d, at, count, false);
    struct strbuf text;
    strbuf_init(&text, d->arena);
    if (!outcome->ran)
        strbuf_printf(&text, "not judged: %s%s", count == 0 ? what : "",
                      count == 0 ? " is too large" : "no finite derivative was met");
    if (outcome->ran && *many)
        strbuf_printf(&text, "at %s, along %u direction%s%s%s", many, d->count,
                      d->count == 1 ? "" : "s each",
                      d->widely ? ", and at inputs of a larger range" : "", *few ? "; " : "");
    if (outcome->ran && *few)
        strbuf_printf(&text, "at %s, which is large, along one, without differences", few);
    if (outcome->ran && d->detaches)
        strbuf_printf(&text, "; differences not judged: %s detaches values", what);
    snprintf(outcome->detail, sizeof outcome->detail, "%s", text.data);
}
