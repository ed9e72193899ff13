/* For tests of gradients: a graph at a drawn point along a drawn direction, three ways. */
#ifndef URZA_COMPILER_GRAD_GRAD_TEST_UTIL_H
#define URZA_COMPILER_GRAD_GRAD_TEST_UTIL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/grad/grad.h"
#include "compiler/ops/ops.h"
#include "graph/build.h"
#include "graph/interp.h"
#include "graph/loops.h"
#include "package/package.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define UTIL static inline __attribute__((unused))

/* A graph of float64, with the values of its sources. */
struct point {
    struct arena *arena;
    const struct graph *graph;
    const int64_t *dims;
    struct interp_tensor *sources; /* inputs, then params */
    uint32_t source_count;
    uint64_t seed;
};

UTIL const char *text_of(const struct graph *graph, struct arena *arena)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    graph_print(graph, &out);
    return out.data;
}

UTIL struct interp_tensor tensor_for(const struct point *p, const struct graph *graph, value_id id)
{
    const struct node *node = graph_node(graph, id);
    struct interp_tensor t = {.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t i = 0; i < node->rank; i++) {
        assert_true(dim_eval(&graph->dims, node->shape[i], p->dims, &t.shape[i]));
        t.count *= t.shape[i];
    }
    t.cells = ARENA_ARRAY(p->arena, union cell, t.count + 1);
    return t;
}

UTIL value_id source_id(const struct graph *graph, uint32_t index)
{
    return index < graph->inputs.count ? graph->inputs.items[index]
                                       : graph->params.items[index - graph->inputs.count];
}

UTIL struct interp_tensor *run_at(const struct point *p, const struct graph *graph,
                                  const struct interp_tensor *sources, uint32_t count)
{
    struct interp_tensor *out = ARENA_ARRAY(p->arena, struct interp_tensor, graph->outputs.count);
    struct error err = {0};
    if (!interp_run(graph, &(struct interp_options){.mode = INTERP_NATIVE},
                    &(struct interp_arguments){p->dims, sources, count}, p->arena, out, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, text_of(graph, p->arena));
    return out;
}

/* In [-1, 1). */
UTIL double drawn(uint64_t key, int64_t at)
{
    return rng_uniform(key, (uint64_t)at) * 2 - 1;
}

/* What both sides of <cotangent, J v> = <Jᵀ cotangent, v> are, and the magnitude of their terms. */
struct sides {
    double forward, backward, magnitude;
};

/* Cotangent of output i, direction of source i. */
UTIL uint64_t cotangent_key(const struct point *p, uint32_t output)
{
    return rng_key(p->seed * 1000 + 500 + output);
}
UTIL uint64_t direction_key(const struct point *p, uint32_t source)
{
    return rng_key(p->seed * 1000 + source);
}

/* The backward side: the training graph at the point. False, with the error, where there is none.
 */
UTIL bool run_backward(const struct point *p, struct sides *out, struct error *err)
{
    struct graph training;
    const struct grad_training all = {0};
    if (!grad_training_graph(&training, p->arena, p->graph, &all, err))
        return false;
    if (!graph_verify(&training, err))
        fail_msg("%s: %s\n%s", err->place, err->message, text_of(&training, p->arena));
    uint32_t count = training.inputs.count, blocks = p->graph->outputs.count;
    struct interp_tensor *sources = ARENA_ARRAY(p->arena, struct interp_tensor, count);
    for (uint32_t i = 0; i < p->source_count; i++)
        sources[i] = p->sources[i];
    for (uint32_t i = p->source_count; i < count; i++) {
        value_id id = training.inputs.items[i];
        const char *name = graph_node(&training, id)->attrs->name + strlen(PACKAGE_COTANGENT);
        sources[i] = tensor_for(p, &training, id);
        for (uint32_t k = 0; k < blocks; k++)
            for (int64_t e = 0;
                 strcmp(p->graph->outputs.items[k].name, name) == 0 && e < sources[i].count; e++)
                sources[i].cells[e].f = drawn(cotangent_key(p, k), e);
    }
    struct interp_tensor *results = run_at(p, &training, sources, count);
    for (uint32_t i = blocks; i < training.outputs.count; i++) {
        const char *name = training.outputs.items[i].name + strlen(PACKAGE_GRAD);
        for (uint32_t s = 0; s < p->source_count; s++) {
            const char *source = graph_node(p->graph, source_id(p->graph, s))->attrs->name;
            for (int64_t e = 0; strcmp(source, name) == 0 && e < results[i].count; e++) {
                double term = results[i].cells[e].f * drawn(direction_key(p, s), e);
                out->backward += term;
                out->magnitude += fabs(term);
            }
        }
    }
    return true;
}

/* The forward side by central differences, of which the error is about 1e-9 of the magnitude. */
UTIL void run_differences(const struct point *p, struct sides *out)
{
    const double h = 1e-6;
    struct interp_tensor *results[2];
    for (int side = 0; side < 2; side++) {
        struct interp_tensor *moved = ARENA_ARRAY(p->arena, struct interp_tensor, p->source_count);
        for (uint32_t s = 0; s < p->source_count; s++) {
            moved[s] = p->sources[s];
            if (!dtype_is_float(moved[s].dtype))
                continue;
            moved[s].cells = ARENA_ARRAY(p->arena, union cell, moved[s].count + 1);
            for (int64_t e = 0; e < moved[s].count; e++)
                moved[s].cells[e].f =
                    p->sources[s].cells[e].f + (side ? -h : h) * drawn(direction_key(p, s), e);
        }
        results[side] = run_at(p, p->graph, moved, p->source_count);
    }
    for (uint32_t k = 0; k < p->graph->outputs.count; k++) {
        if (!dtype_is_float(results[0][k].dtype))
            continue;
        for (int64_t e = 0; e < results[0][k].count; e++) {
            double up = results[0][k].cells[e].f, down = results[1][k].cells[e].f;
            double c = drawn(cotangent_key(p, k), e);
            out->forward += up == down ? 0 : c * (up - down) / (2 * h);
            out->magnitude += 1e-3 * fabs(c * up); /* what differences lose */
        }
    }
}

#endif
