/* Both sides of the identity by which gradients are judged. */
#include "compiler/grad/grad_test_util.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "graph/tangent.h"
#include "package/package.h"

double grad_drawn(uint64_t key, int64_t at)
{
    return rng_uniform(key, (uint64_t)at) * 2 - 1;
}

/* Cotangent of output i, direction of source i. */
static uint64_t cotangent_key(const struct point *p, uint32_t output)
{
    return rng_key(p->seed * 1000 + 500 + output);
}

static uint64_t direction_key(const struct point *p, uint32_t source)
{
    return rng_key(p->seed * 1000 + source);
}

static double cotangent(const struct point *p, uint32_t output, int64_t at)
{
    return p->ones ? 1 : grad_drawn(cotangent_key(p, output), at);
}

const char *grad_text(const struct graph *graph, struct arena *arena)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    graph_print(graph, &out);
    return out.data;
}

value_id grad_source(const struct graph *graph, uint32_t index)
{
    return index < graph->inputs.count ? graph->inputs.items[index]
                                       : graph->params.items[index - graph->inputs.count];
}

struct interp_tensor grad_tensor(const struct point *p, const struct graph *graph, value_id id)
{
    const struct node *node = graph_node(graph, id);
    struct interp_tensor t = {.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t i = 0; i < node->rank; i++) {
        dim_eval(&graph->dims, node->shape[i], p->dims, &t.shape[i]);
        t.count *= t.shape[i];
    }
    t.cells = ARENA_ARRAY(p->arena, union cell, (size_t)t.count + 1);
    return t;
}

void grad_point_init(struct point *p)
{
    p->source_count = p->graph->inputs.count + p->graph->params.count;
    p->sources = ARENA_ARRAY(p->arena, struct interp_tensor, p->source_count + 1);
    for (uint32_t i = 0; i < p->source_count; i++)
        p->sources[i] = grad_tensor(p, p->graph, grad_source(p->graph, i));
}

/* Values that are not rounded, and tangents where there are directions. */
static struct tangent_tensor *run(const struct point *p, const struct graph *graph,
                                  const struct interp_tensor *sources, uint32_t count,
                                  const double *const *directions, struct error *err)
{
    struct tangent_tensor *out =
        ARENA_ARRAY(p->arena, struct tangent_tensor, graph->outputs.count + 1);
    if (!directions)
        directions = ARENA_ARRAY(p->arena, const double *, count + 1);
    const struct tangent_arguments arguments = {{p->dims, sources, count}, directions};
    const struct interp_options options = {.threads = 1};
    return tangent_run(graph, &options, &arguments, p->arena, out, err) ? out : NULL;
}

/* The sources of the training graph: those of the block, and cotangents by the names of outputs. */
static struct interp_tensor *training_sources(const struct point *p, const struct graph *training)
{
    uint32_t count = training->inputs.count;
    struct interp_tensor *sources = ARENA_ARRAY(p->arena, struct interp_tensor, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        value_id id = training->inputs.items[i];
        sources[i] = i < p->source_count ? p->sources[i] : grad_tensor(p, training, id);
        if (i < p->source_count)
            continue;
        const char *name = graph_node(training, id)->attrs->name + strlen(PACKAGE_COTANGENT);
        for (uint32_t k = 0; k < p->graph->outputs.count; k++)
            for (int64_t e = 0;
                 strcmp(p->graph->outputs.items[k].name, name) == 0 && e < sources[i].count; e++)
                sources[i].cells[e].f = cotangent(p, k, e);
    }
    return sources;
}

bool grad_backward(const struct point *p, struct sides *out, struct interp_tensor *gradients,
                   struct error *err)
{
    struct graph training;
    const struct grad_training asked = {.wrt = p->wrt ? &p->wrt : NULL,
                                        .wrt_count = p->wrt ? 1 : 0};
    if (!grad_training_graph(&training, p->arena, p->graph, &asked, err) ||
        !graph_verify(&training, err))
        return false;
    uint32_t blocks = p->graph->outputs.count;
    struct tangent_tensor *results =
        run(p, &training, training_sources(p, &training), training.inputs.count, NULL, err);
    for (uint32_t i = blocks; results && i < training.outputs.count; i++) {
        const char *name = training.outputs.items[i].name + strlen(PACKAGE_GRAD);
        const struct interp_tensor *result = &results[i].value;
        for (uint32_t s = 0; s < p->source_count; s++) {
            const char *source = graph_node(p->graph, grad_source(p->graph, s))->attrs->name;
            if (strcmp(source, name) != 0)
                continue;
            if (gradients)
                gradients[s] = *result;
            for (int64_t e = 0; e < result->count; e++) {
                double term = result->cells[e].f * grad_drawn(direction_key(p, s), e);
                out->backward += term;
                out->magnitude += fabs(term);
            }
        }
    }
    return results != NULL;
}

static const double *const *directions_of(const struct point *p)
{
    const double **all = ARENA_ARRAY(p->arena, const double *, p->source_count + 1);
    for (uint32_t s = 0; s < p->source_count; s++) {
        const char *name = graph_node(p->graph, grad_source(p->graph, s))->attrs->name;
        if (p->wrt && strcmp(name, p->wrt) != 0)
            continue;
        double *own = ARENA_ARRAY(p->arena, double, (size_t)p->sources[s].count + 1);
        for (int64_t e = 0; e < p->sources[s].count; e++)
            own[e] = grad_drawn(direction_key(p, s), e);
        all[s] = own;
    }
    return all;
}

bool grad_forward(const struct point *p, struct sides *out, struct error *err)
{
    struct tangent_tensor *results =
        run(p, p->graph, p->sources, p->source_count, directions_of(p), err);
    for (uint32_t k = 0; results && k < p->graph->outputs.count; k++) {
        for (int64_t e = 0; results[k].tangent && e < results[k].value.count; e++) {
            double term = cotangent(p, k, e) * results[k].tangent[e];
            out->forward += term;
            out->magnitude += fabs(term);
        }
    }
    return results != NULL;
}

bool grad_differences(const struct point *p, struct sides *out, struct error *err)
{
    const double h = 1e-6;
    struct tangent_tensor *results[2];
    for (int side = 0; side < 2; side++) {
        struct interp_tensor *moved =
            ARENA_ARRAY(p->arena, struct interp_tensor, p->source_count + 1);
        for (uint32_t s = 0; s < p->source_count; s++) {
            moved[s] = p->sources[s];
            if (!dtype_is_float(moved[s].dtype))
                continue;
            moved[s].cells = ARENA_ARRAY(p->arena, union cell, (size_t)moved[s].count + 1);
            for (int64_t e = 0; e < moved[s].count; e++)
                moved[s].cells[e].f =
                    p->sources[s].cells[e].f + (side ? -h : h) * grad_drawn(direction_key(p, s), e);
        }
        results[side] = run(p, p->graph, moved, p->source_count, NULL, err);
        if (!results[side])
            return false;
    }
    for (uint32_t k = 0; k < p->graph->outputs.count; k++) {
        const struct interp_tensor *up = &results[0][k].value, *down = &results[1][k].value;
        for (int64_t e = 0; dtype_is_float(up->dtype) && e < up->count; e++) {
            double c = cotangent(p, k, e), difference = up->cells[e].f - down->cells[e].f;
            out->forward += up->cells[e].f == down->cells[e].f ? 0 : c * difference / (2 * h);
            out->magnitude += 1e-3 * fabs(c * up->cells[e].f); /* what differences lose */
        }
    }
    return true;
}

bool grad_is_nothing(const struct error *err)
{
    return strstr(err->message, "no output hangs") || strstr(err->message, "is a float");
}

bool grad_compare(const struct point *p, bool *moving, struct error *err)
{
    struct sides sides = {0};
    if (!grad_forward(p, &sides, err))
        return false;
    bool finite = isfinite(sides.forward);
    if (!grad_backward(p, &sides, NULL, err)) {
        if (!grad_is_nothing(err))
            return false;
        /* A block that has no gradient has no tangent either. */
        *err = (struct error){0};
        return sides.forward == 0 ||
               fail(err, ERR_VERIFY, "no gradient, but forward %.12g", sides.forward);
    }
    if (!finite)
        return true;
    *moving |= sides.forward != 0;
    if (fabs(sides.forward - sides.backward) <= GRAD_TOLERANCE * sides.magnitude)
        return true;
    return fail(err, ERR_VERIFY, "%.15g forward, %.15g backward, magnitude %.3g", sides.forward,
                sides.backward, sides.magnitude);
}
