/* Gradients at the limits of graphs: narrow sums of many terms, nodes of many operands, values with
 * many users, and deep graphs. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "compiler/grad/grad_test_util.h"
#include "graph/build.h"
#include "graph/interp_test_util.h"
#include "graph/loops.h"

#define MANY 5000

/* The first gradient of a graph as its dtypes have it, where all cotangents and sources are 1. */
static double native_gradient(struct bed *bed, const struct graph *graph)
{
    struct graph training;
    if (!grad_training_graph(&training, &bed->arena, graph, &(struct grad_training){0}, &bed->err))
        fail_msg("%s", bed->err.message);
    struct point p = {&bed->arena, &training, NULL, NULL, 0, 0, true, NULL};
    grad_point_init(&p);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < p.sources[s].count; e++)
            if (dtype_is_float(p.sources[s].dtype))
                p.sources[s].cells[e].f = 1;
    struct interp_tensor *out =
        ARENA_ARRAY(&bed->arena, struct interp_tensor, training.outputs.count);
    const struct interp_arguments arguments = {NULL, p.sources, p.source_count};
    if (!interp_run(&training, &(struct interp_options){.mode = INTERP_NATIVE}, &arguments,
                    &bed->arena, out, &bed->err))
        fail_msg("%s", bed->err.message);
    return out[graph->outputs.count].cells[0].f;
}

struct built {
    struct graph graph;
    struct builder b;
    value_id x;
};

static void begin(struct bed *bed, struct built *t, enum dtype dtype, int64_t size)
{
    arena_release(&bed->arena);
    bed->err = (struct error){0};
    graph_init(&t->graph, &bed->arena);
    t->b = (struct builder){&t->graph, &bed->err};
    dim_id shape = b_dim_const(&t->b, size);
    t->x = graph_input(&t->graph, "x", dtype, &shape, 1, &bed->err);
}

static void end(struct built *t, value_id y)
{
    if (!graph_output(&t->graph, "y", y, t->b.err))
        fail_msg("%s", t->b.err->message);
}

/* MANY times 1 is MANY to within one rounding; added up one after the other it is 2048 in f16 and
 * 256 in bf16. */
static void expect_many(struct bed *bed, struct built *t, enum dtype dtype)
{
    double got = native_gradient(bed, &t->graph), expected = dtype_round(dtype, MANY);
    if (got != expected)
        fail_msg("%.15g, expected %.15g", got, expected);
}

static void test_narrow_sums(void **state)
{
    struct bed *bed = *state;
    static const enum dtype dtypes[] = {DTYPE_F16, DTYPE_BF16};
    for (int i = 0; i < 2; i++) {
        struct built t;
        dim_id many;
        begin(bed, &t, dtypes[i], 2);
        many = b_dim_const(&t.b, MANY);
        value_id index = graph_input(&t.graph, "i", DTYPE_I64, &many, 1, &bed->err);
        end(&t, b_take(&t.b, t.x, index, 0));
        expect_many(bed, &t, dtypes[i]);

        begin(bed, &t, dtypes[i], 2);
        many = b_dim_const(&t.b, MANY);
        index = graph_input(&t.graph, "i", DTYPE_I64, &many, 1, &bed->err);
        end(&t, b_gather(&t.b, t.x, index, 0));
        expect_many(bed, &t, dtypes[i]);

        begin(bed, &t, dtypes[i], 1);
        many = b_dim_const(&t.b, MANY);
        end(&t, b_broadcast_to(&t.b, t.x, &many, 1));
        expect_many(bed, &t, dtypes[i]);

        /* x, which each trip adds to the state, as a factor of 1 of it. */
        begin(bed, &t, dtypes[i], 1);
        uint32_t loop = b_loop_begin(&t.b);
        value_id s = b_state(&t.b, loop, 0, b_loop_value(&t.b, b_scale(&t.b, t.x, 0)));
        value_id next = b_add(&t.b, b_scale(&t.b, s, 0), t.x);
        const struct loop_spec spec = {.loop = loop,
                                       .trips = b_dim_const(&t.b, MANY),
                                       .state = &s,
                                       .next = &next,
                                       .row = &next,
                                       .states = 1,
                                       .rows = 1};
        value_id results[2];
        assert_true(b_loop_end(&t.b, &spec, results));
        end(&t, results[1]);
        expect_many(bed, &t, dtypes[i]);
    }
}

static void expect_identity(struct bed *bed, const struct graph *graph)
{
    struct point p = {&bed->arena, graph, NULL, NULL, 0, 3, false, NULL};
    bool moving = false;
    grad_point_init(&p);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < p.sources[s].count; e++)
            p.sources[s].cells[e].f = grad_drawn(s, e);
    if (!grad_compare(&p, &moving, &bed->err))
        fail_msg("%s: %s", bed->err.place, bed->err.message);
    assert_true(moving);
}

/* As many operands as a node can have, and a value that is cut into as many pieces. */
static void test_many_operands(void **state)
{
    struct bed *bed = *state;
    struct built t;
    value_id parts[LIMIT_OPERANDS];
    begin(bed, &t, DTYPE_F64, LIMIT_OPERANDS);
    dim_id one = b_dim_const(&t.b, 1);
    for (uint32_t i = 0; i < LIMIT_OPERANDS; i++) {
        parts[i] = b_slice(&t.b, t.x, 0, b_dim_const(&t.b, LIMIT_OPERANDS - 1 - i), one, 1);
        parts[i] = b_scale(&t.b, parts[i], 1 + i);
    }
    end(&t, b_concat(&t.b, parts, LIMIT_OPERANDS, 0));
    expect_identity(bed, &t.graph);
}

/* A convolution whose window has more places than a node has operands. */
static void test_large_window(void **state)
{
    struct bed *bed = *state;
    struct built t;
    begin(bed, &t, DTYPE_F64, 1);
    int64_t side = 2;
    while (side * side <= LIMIT_OPERANDS)
        side++;
    dim_id x[] = {b_dim_const(&t.b, 2), b_dim_const(&t.b, 1), b_dim_const(&t.b, side + 1),
                  b_dim_const(&t.b, side)};
    dim_id w[] = {b_dim_const(&t.b, 2), b_dim_const(&t.b, 1), b_dim_const(&t.b, side),
                  b_dim_const(&t.b, side)};
    const struct window windows[] = {{side, 1, 1, 0, 1, 1}, {side, 2, 1, 2, 1, 1}};
    end(&t, b_conv(&t.b, graph_input(&t.graph, "image", DTYPE_F64, x, 4, &bed->err),
                   graph_param(&t.graph, "w", DTYPE_F64, w, 4, &bed->err), windows, 2, 1));
    expect_identity(bed, &t.graph);
}

/* Seconds for the gradient of a chain of so many nodes, in which all read x. */
static double chain(struct bed *bed, uint32_t nodes)
{
    struct built t;
    struct graph training;
    begin(bed, &t, DTYPE_F32, 4);
    value_id y = t.x;
    for (uint32_t i = 0; i < nodes / 2; i++)
        y = b_mul(&t.b, b_unary(&t.b, PRIM_SIN, y), t.x);
    end(&t, y);
    double start = ((double)clock_ns() * 1e-9);
    if (!grad_training_graph(&training, &bed->arena, &t.graph, &(struct grad_training){0},
                             &bed->err))
        fail_msg("%s", bed->err.message);
    return ((double)clock_ns() * 1e-9) - start;
}

static void test_deep_graphs(void **state)
{
    double few = chain(*state, 5000), many = chain(*state, 50000);
    print_message("%.1f ms for 5000 nodes, %.1f ms for 50000\n", few * 1e3, many * 1e3);
    assert_true(many < 40 * few + 0.1); /* not squared */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_narrow_sums, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_many_operands, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_large_window, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_deep_graphs, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
