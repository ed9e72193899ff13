/* Tangents beside differences. */
#include "graph/tangent_test_util.h"

#include <math.h>

#include "base/error.h"
#include "base/rng.h"

#define POINTS 7
static const double STEPS[POINTS] = {0, 1, -1, 0.5, -0.5, 0.3125, -0.3125}; /* in h */

struct comparison {
    const struct graph *graph;
    const struct interp_arguments *given;
    struct arena *arena;
    uint32_t sources, outputs;
    struct interp_tensor *at; /* the point */
    double **direction;
    struct tangent_tensor *out[POINTS];
    struct interp_tensor *bounded[2]; /* at h and -h, with bounds */
    bool special;                     /* an output has an infinity or a NaN */
};

/* Directions have 12 binary digits. One source in four stays, unless it is the only one. */
static void draw(struct comparison *c, uint64_t seed)
{
    uint32_t floats = 0;
    for (uint32_t s = 0; s < c->sources; s++)
        floats += dtype_is_float(c->given->sources[s].dtype);
    for (uint32_t s = 0; s < c->sources; s++) {
        const struct interp_tensor *source = &c->given->sources[s];
        uint64_t key = rng_key(seed * 1000 + s);
        struct interp_tensor *at = &c->at[s];
        *at = *source;
        at->bounds = NULL;
        if (!dtype_is_float(source->dtype))
            continue;
        at->cells = ARENA_ARRAY(c->arena, union cell, source->count);
        for (int64_t i = 0; i < source->count; i++)
            at->cells[i].f = (double)(float)source->cells[i].f;
        if (floats > 1 && rng_u32(key, 1u << 30) % 4 == 0)
            continue;
        c->direction[s] = ARENA_ARRAY(c->arena, double, source->count);
        for (int64_t i = 0; i < source->count; i++)
            c->direction[s][i] = nearbyint(rng_normal(key, (uint64_t)i) * 0x1p10) * 0x1p-10;
    }
}

/* The sources at x + step·h·v. */
static struct interp_tensor *sources_at(const struct comparison *c, double step)
{
    struct interp_tensor *sources = ARENA_ARRAY(c->arena, struct interp_tensor, c->sources);
    for (uint32_t s = 0; s < c->sources; s++) {
        sources[s] = c->at[s];
        if (!c->direction[s])
            continue;
        sources[s].cells = ARENA_ARRAY(c->arena, union cell, sources[s].count);
        for (int64_t i = 0; i < sources[s].count; i++)
            sources[s].cells[i].f = c->at[s].cells[i].f + step * TANGENT_STEP * c->direction[s][i];
    }
    return sources;
}

static bool run(struct comparison *c, struct error *err)
{
    for (int p = 0; p < POINTS; p++) {
        const struct tangent_arguments arguments = {
            {c->given->dims, sources_at(c, STEPS[p]), c->sources},
            (const double *const *)c->direction};
        c->out[p] = ARENA_ARRAY(c->arena, struct tangent_tensor, c->outputs);
        if (!tangent_run(c->graph, &(struct interp_options){0}, &arguments, c->arena, c->out[p],
                         err))
            return false;
        if (p != 1 && p != 2)
            continue;
        c->bounded[p - 1] = ARENA_ARRAY(c->arena, struct interp_tensor, c->outputs);
        if (!interp_run(c->graph, &(struct interp_options){.mode = INTERP_REFERENCE, .wide = true},
                        &arguments.point, c->arena, c->bounded[p - 1], err))
            return false;
    }
    return true;
}

/* Element i of output o. */
static bool compare_element(const struct comparison *c, uint32_t o, int64_t i,
                            struct tangent_tally *tally, struct error *err)
{
    double f[POINTS], bound = 0, h = TANGENT_STEP, tangent = c->out[0][o].tangent[i];
    for (int p = 0; p < POINTS; p++) {
        f[p] = c->out[p][o].value.cells[i].f;
        if (!isfinite(f[p]))
            return true;
    }
    for (int p = 0; p < 2; p++)
        bound += c->bounded[p][o].bounds ? c->bounded[p][o].bounds[i] : 0;
    double whole = (f[1] - f[2]) / (2 * h), half = (f[3] - f[4]) / h;
    double third = (f[5] - f[6]) / (2 * STEPS[5] * h);
    double kink = (f[1] + f[2] - 2 * f[0]) / h - 4 * (f[3] + f[4] - 2 * f[0]) / h;
    double tolerance =
        2 * fabs(whole - half) + 2 * fabs(third - half) + 2 * fabs(kink) + 8 * bound / h;
    if (c->special && isnan(tangent))
        return true;
    tally->elements++;
    if (!(tolerance <= TANGENT_SHARP * fmax(1, fabs(half))))
        return true;
    tally->sharp++;
    tally->moving += tangent != 0;
    if (fabs(tangent - half) <= tolerance)
        return true;
    return fail(err, ERR_VERIFY,
                "output '%s', element %lld: tangent %.17g, difference %.17g, tolerance %g",
                c->graph->outputs.items[o].name, (long long)i, tangent, half, tolerance);
}

static bool is_wide(const struct graph *graph)
{
    for (value_id v = 1; v < graph->nodes.count; v++) {
        enum dtype dtype = (enum dtype)graph_node(graph, v)->dtype;
        if (dtype_is_float(dtype) && dtype != DTYPE_F64)
            return false;
    }
    return true;
}

static bool same(enum dtype dtype, union cell a, union cell b)
{
    return a.i == b.i || (dtype_is_float(dtype) && isnan(a.f) && isnan(b.f));
}

static bool compare_values(const struct comparison *c, struct error *err)
{
    struct interp_tensor *native = ARENA_ARRAY(c->arena, struct interp_tensor, c->outputs);
    const struct interp_arguments arguments = {c->given->dims, c->at, c->sources};
    if (!interp_run(c->graph, &(struct interp_options){.mode = INTERP_NATIVE}, &arguments, c->arena,
                    native, err))
        return false;
    for (uint32_t o = 0; o < c->outputs; o++)
        for (int64_t i = 0; i < native[o].count; i++)
            if (!same(native[o].dtype, native[o].cells[i], c->out[0][o].value.cells[i]))
                return fail(err, ERR_VERIFY, "output '%s', element %lld: %.17g, natively %.17g",
                            c->graph->outputs.items[o].name, (long long)i,
                            c->out[0][o].value.cells[i].f, native[o].cells[i].f);
    return true;
}

static bool has_special(const struct comparison *c)
{
    for (uint32_t o = 0; o < c->outputs; o++) {
        const struct interp_tensor *value = &c->out[0][o].value;
        for (int64_t i = 0; dtype_is_float(value->dtype) && i < value->count; i++)
            if (!isfinite(value->cells[i].f))
                return true;
    }
    return false;
}

bool tangent_compare(const struct graph *graph, const struct interp_arguments *point, uint64_t seed,
                     struct arena *arena, struct tangent_tally *tally, struct error *err)
{
    struct comparison c = {.graph = graph,
                           .given = point,
                           .arena = arena,
                           .sources = point->source_count,
                           .outputs = graph->outputs.count};
    c.at = ARENA_ARRAY(arena, struct interp_tensor, c.sources);
    c.direction = ARENA_ARRAY(arena, double *, c.sources);
    draw(&c, seed);
    if (!run(&c, err) || (is_wide(graph) && !compare_values(&c, err)))
        return false;
    c.special = has_special(&c);
    for (uint32_t o = 0; o < c.outputs; o++)
        for (int64_t i = 0; c.out[0][o].tangent && i < c.out[0][o].value.count; i++)
            if (!compare_element(&c, o, i, &tally[o], err))
                return false;
    return true;
}
