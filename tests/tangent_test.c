/* Tangents of random programs and networks, of all dtypes, with composites, beside differences
 * (graph/tangent_test_util.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "graph/tangent_test_util.h"
#include "support/random_graph.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define COUNT 400
#define OUTPUTS_MOST 64

/* Its bits move with a float, whose derivative they have not. */
static bool has_bits(const struct graph *graph)
{
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *node = graph_node(graph, v);
        if (node->prim == PRIM_BITCAST &&
            dtype_is_float((enum dtype)graph_node(graph, node->operands[0])->dtype))
            return true;
    }
    return false;
}

static bool draw(const struct graph *graph, const int64_t *dims, uint64_t seed, struct arena *arena,
                 struct interp_tensor *out)
{
    uint32_t inputs = graph->inputs.count, count = inputs + graph->params.count;
    for (uint32_t s = 0; s < count; s++) {
        value_id id = s < inputs ? graph->inputs.items[s] : graph->params.items[s - inputs];
        const struct node *node = graph_node(graph, id);
        uint64_t key = rng_key(seed * 100 + s);
        out[s] = (struct interp_tensor){
            .dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
        for (uint32_t d = 0; d < node->rank; d++) {
            if (!dim_eval(&graph->dims, node->shape[d], dims, &out[s].shape[d]))
                return false;
            out[s].count *= out[s].shape[d];
        }
        out[s].cells = ARENA_ARRAY(arena, union cell, out[s].count);
        for (int64_t i = 0; i < out[s].count; i++)
            if (dtype_is_float(out[s].dtype))
                out[s].cells[i].f = rng_normal(key, (uint64_t)i);
            else
                out[s].cells[i].i =
                    rng_u32(key, (uint64_t)i) % (out[s].dtype == DTYPE_BOOL ? 2 : 5);
    }
    return true;
}

static void check_seed(uint64_t seed, struct tangent_tally *all)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    struct tangent_tally tally[OUTPUTS_MOST] = {0};
    int64_t sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS] = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    bool made = seed % 10 == 3 ? random_network(&graph, seed, sizes, &err)
                               : random_graph(&graph, seed, sizes, &err);
    if (!made)
        fail_msg("seed %llu: no graph: %s", (unsigned long long)seed, err.message);
    uint32_t count = graph.inputs.count + graph.params.count;
    struct interp_tensor *in = ARENA_ARRAY(&arena, struct interp_tensor, count);
    const struct interp_arguments point = {sizes[0], in, count};
    assert_true(graph.outputs.count <= OUTPUTS_MOST && draw(&graph, sizes[0], seed, &arena, in));
    if (!has_bits(&graph) && !tangent_compare(&graph, &point, seed, &arena, tally, &err))
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.message);
    for (uint32_t o = 0; o < graph.outputs.count; o++) {
        all->elements += tally[o].elements;
        all->sharp += tally[o].sharp;
        all->moving += tally[o].moving;
    }
    arena_release(&arena);
}

static void test_random_graphs(void **state)
{
    struct tangent_tally all = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= COUNT; seed++)
        check_seed(seed, &all);
    print_message("%lld elements, %lld compared, %lld with a tangent\n", (long long)all.elements,
                  (long long)all.sharp, (long long)all.moving);
    assert_true(10 * all.sharp > 7 * all.elements && 10 * all.moving > 3 * all.elements);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
