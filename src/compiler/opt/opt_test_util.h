/* For tests of passes: graphs from text, random sources, results before and after. */
#ifndef URZA_COMPILER_OPT_OPT_TEST_UTIL_H
#define URZA_COMPILER_OPT_OPT_TEST_UTIL_H

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/opt/opt_priv.h"
#include "graph/build.h"
#include "graph/interp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* last: it defines fail as a macro */

#define UTIL static inline __attribute__((unused))

UTIL const char *graph_text(const struct graph *graph, struct arena *arena)
{
    struct strbuf out;
    strbuf_init(&out, arena);
    graph_print(graph, &out);
    return out.data;
}

/* Runs the pass and checks what holds for every pass: the result is legal, and running it again
 * changes nothing. */
UTIL void run_pass(pass_fn *pass, struct graph *to, struct arena *arena, struct graph *from)
{
    struct graph again;
    struct error err = {0};
    if (!graph_verify(from, &err) || !pass(to, arena, from, NULL, &err) ||
        !graph_verify(to, &err) || !pass(&again, arena, to, NULL, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, graph_text(from, arena));
    assert_string_equal(graph_text(to, arena), graph_text(&again, arena));
}

/* Fills with random elements; with `special`, NaN, infinities, zeros and bounds are frequent. */
UTIL void fill_source(struct interp_tensor *tensor, bool special, uint64_t key)
{
    static const double odd[] = {0.0, -0.0, NAN, INFINITY, -INFINITY, 1, -1, 0.5, 65504, 1e-7};
    static const int64_t odd_ints[] = {0, 1, -1, 127, -128, INT64_MAX, INT64_MIN, 255};
    for (int64_t i = 0; i < tensor->count; i++) {
        uint64_t c = (uint64_t)i * 2;
        bool strange = special && rng_u32(key, c) % 3 == 0;
        uint32_t pick = rng_u32(key, c + 1);
        double value = strange ? odd[pick % 10] : rng_uniform(key, c + 1) * 4 - 1.5;
        int64_t integer = strange ? odd_ints[pick % 8] : (int64_t)(pick % 7) - 2;
        if (dtype_is_float(tensor->dtype))
            tensor->cells[i].f = dtype_round(tensor->dtype, value);
        else
            tensor->cells[i].i = dtype_wrap(tensor->dtype, integer);
    }
}

/* Makes a source's tensor, with its shape at these dims. */
UTIL void make_source(const struct graph *graph, value_id id, const int64_t *dims,
                      struct arena *arena, struct interp_tensor *out)
{
    const struct node *node = graph_node(graph, id);
    *out = (struct interp_tensor){.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
    for (uint32_t i = 0; i < node->rank; i++) {
        assert_true(dim_eval(&graph->dims, node->shape[i], dims, &out->shape[i]));
        out->count *= out->shape[i];
    }
    out->cells = ARENA_ARRAY(arena, union cell, out->count);
}

UTIL struct interp_tensor *run_graph(const struct graph *graph, enum interp_mode mode,
                                     const int64_t *dims, bool special, uint64_t seed,
                                     struct arena *arena)
{
    uint32_t count = graph->inputs.count + graph->params.count;
    struct interp_tensor *sources = ARENA_ARRAY(arena, struct interp_tensor, count + 1);
    struct interp_tensor *out = ARENA_ARRAY(arena, struct interp_tensor, graph->outputs.count + 1);
    struct error err = {0};
    for (uint32_t i = 0; i < count; i++) {
        bool input = i < graph->inputs.count;
        value_id id = input ? graph->inputs.items[i] : graph->params.items[i - graph->inputs.count];
        make_source(graph, id, dims, arena, &sources[i]);
        fill_source(&sources[i], special, rng_key(seed + i));
    }
    if (!interp_run(graph, &(struct interp_options){.mode = mode},
                    &(struct interp_arguments){dims, sources, count}, arena, out, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, graph_text(graph, arena));
    return out;
}

UTIL void expect_same_bits(const struct interp_tensor *a, const struct interp_tensor *b,
                           const char *what)
{
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        bool nans = dtype_is_float(a->dtype) && isnan(a->cells[i].f) && isnan(b->cells[i].f);
        if (!nans && a->cells[i].i != b->cells[i].i)
            fail_msg("element %lld: %.17g, expected %.17g (%lld, %lld)\n%s", (long long)i,
                     b->cells[i].f, a->cells[i].f, (long long)b->cells[i].i,
                     (long long)a->cells[i].i, what);
    }
}

UTIL uint32_t count_prim(const struct graph *graph, enum prim prim)
{
    uint32_t count = 0;
    for (value_id id = 1; id < graph->nodes.count; id++)
        count += graph_node(graph, id)->prim == prim;
    return count;
}

#endif
