#include "verify/scene.h"

#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "graph/loops.h"

#define NUDGED_AT_ONCE 256

/* The package's params are the same source in all scenes: memos know them again. */
bool scene_load(struct scene *scene, struct error *err)
{
    struct whole *whole = scene->whole;
    const struct graph *graph = scene->sample.graph;
    bool own = scene->sample.other_params != NULL;
    scene->drawn = false;
    scene->sources = ARENA_ARRAY(whole->arena, struct interp_tensor,
                                 graph->inputs.count + graph->params.count + 1);
    if (!sample_sources(&scene->sample, own ? NULL : whole->params, scene->sources, whole->arena,
                        err))
        return false;
    if (!own)
        whole->params = scene->sources + graph->inputs.count;
    return true;
}

bool is_too_much(const struct graph *graph, const int64_t *dims)
{
    return graph_cost_whole(graph, dims) > WHOLE_COST || graph_cells(graph, dims) > CELLS_MOST;
}

bool scene_make(struct scene *out, struct whole *whole, const int64_t *dims,
                const struct scene_values *values, struct error *err)
{
    const struct package_contents *contents = whole->v->contents;
    const struct graph *graph = whole->graph;
    out->whole = whole;
    out->what = values->what;
    out->sources = NULL;
    const struct sample_request request = {graph,        contents->params,
                                           dims,         whole->v->options->seed + values->seed,
                                           values->fill, whole->v->block};
    if (!sample_make(&out->sample, &request, whole->arena, err))
        return false;
    out->drawn = is_too_much(graph, dims);
    return out->drawn || scene_load(out, err);
}

/* Interprets a graph everywhere. */
static bool interpret_whole(const struct graph *graph, const struct interp_options *options,
                            const struct scene *scene, struct arena *arena,
                            struct interp_tensor *out, struct error *err)
{
    const struct interp_arguments arguments = {scene->sample.dims, scene->sources,
                                               graph->inputs.count + graph->params.count};
    struct interp_options with = *options;
    with.most_trips = LOOP_TRIED_TRIPS;
    return interp_run(graph, &with, &arguments, arena, out, err);
}

bool interpret(const struct graph *graph, const struct interp_options *options, struct scene *scene,
               struct arena *arena, struct interp_tensor **out, struct error *err)
{
    struct error why;
    uint32_t count = graph->outputs.count;
    bool drawn = scene->drawn;
    *out = ARENA_ARRAY(arena, struct interp_tensor, count + 1);
    if (drawn && draw_outputs(graph, options, &scene->sample, arena, *out, &why))
        return true;
    if (drawn && !scene->sources && !scene_load(scene, err))
        return false;
    if (!drawn || graph == scene->sample.graph)
        return interpret_whole(graph, options, scene, arena, *out, err);
    /* Elements of the first graph were drawn, and those of this one depend on more others, of
     * packed copies and views: the same are taken of all. */
    struct interp_tensor *whole = ARENA_ARRAY(arena, struct interp_tensor, count + 1);
    scene->drawn = true;
    if (!interpret_whole(graph, options, scene, arena, whole, err))
        return false;
    draw_from_whole(&scene->sample, whole, count, arena, *out);
    return true;
}

/* Moves a float to a neighbour: neighbouring floats have neighbouring bits, except for zeros,
 * infinities and NaNs. */
static uint64_t nudged(uint64_t bits, uint64_t exponent, uint32_t random)
{
    uint64_t magnitude = bits & (exponent | ((exponent & (~exponent + 1)) - 1)); /* no sign */
    if (magnitude < 2 || (bits & exponent) == exponent || random % 3 == 0)
        return bits;
    return random % 3 == 1 ? bits - 1 : bits + 1;
}

static void nudge(enum dtype dtype, const void *from, int64_t count, uint64_t key, int64_t first,
                  void *to)
{
    memcpy(to, from, (size_t)count * dtype_bytes(dtype));
    for (int64_t i = 0; dtype_is_float(dtype) && i < count; i++) {
        uint32_t random = rng_u32(key, (uint64_t)(first + i)) >> 8;
        uint64_t *f64 = (uint64_t *)to + (dtype == DTYPE_F64 ? i : 0);
        uint32_t *f32 = (uint32_t *)to + (dtype == DTYPE_F32 ? i : 0);
        uint16_t *half = (uint16_t *)to + i;
        switch (dtype) {
        case DTYPE_F64: *f64 = nudged(*f64, 0x7ff0000000000000u, random); break;
        case DTYPE_F32: *f32 = (uint32_t)nudged(*f32, 0x7f800000u, random); break;
        case DTYPE_F16: *half = (uint16_t)nudged(*half, 0x7c00u, random); break;
        default: *half = (uint16_t)nudged(*half, 0x7f80u, random);
        }
    }
}

/* A param of which each element is nudged when it is read. */
struct nudged_param {
    struct interp_lazy lazy;
    enum dtype dtype;
    const char *data;
    uint64_t key;
};

static void load_nudged(const struct interp_lazy *lazy, int64_t first, int64_t count,
                        union cell *out)
{
    const struct nudged_param *param = (const struct nudged_param *)(const void *)lazy;
    size_t item = dtype_bytes(param->dtype);
    uint64_t moved[NUDGED_AT_ONCE];
    for (int64_t done = 0; done < count; done += NUDGED_AT_ONCE) {
        int64_t left = count - done, now = left < NUDGED_AT_ONCE ? left : NUDGED_AT_ONCE;
        nudge(param->dtype, param->data + (size_t)(first + done) * item, now, param->key,
              first + done, moved);
        interp_cells(param->dtype, now, moved, out + done);
    }
}

static const struct interp_lazy *nudge_param(const struct package_param *param, uint64_t key,
                                             struct arena *arena)
{
    struct nudged_param *nudged = ARENA_NEW(arena, struct nudged_param);
    *nudged = (struct nudged_param){{load_nudged}, param->dtype, param->data, key};
    return &nudged->lazy;
}

bool scene_nudge(struct scene *out, const struct scene *from, uint64_t seed, struct error *err)
{
    const struct sample *sample = &from->sample;
    uint32_t count = sample->graph->params.count;
    struct arena *arena = from->whole->arena;
    const struct interp_lazy **params = ARENA_ARRAY(arena, const struct interp_lazy *, count + 1);
    *out = *from;
    out->sources = NULL;
    out->sample.inputs =
        arena_memdup(arena, sample->inputs, (sample->input_count + 1) * sizeof sample->inputs[0]);
    for (uint32_t i = 0; i < sample->input_count; i++) {
        struct tensor *t = &out->sample.inputs[i];
        t->data = arena_raw(arena, t->bytes, 64);
        nudge(t->dtype, sample->inputs[i].data, t->count, rng_key(seed + i), 0, t->data);
    }
    for (uint32_t i = 0; i < count; i++)
        params[i] = nudge_param(&sample->params[i], rng_key(~(seed + i)), arena);
    out->sample.other_params = params;
    return from->drawn || scene_load(out, err);
}
