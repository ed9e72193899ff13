/* Counts compared with numbers computed by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/error.h"
#include "profile/profile.h"

static struct work count(const char *text, const int64_t *dims)
{
    struct arena arena;
    struct graph graph;
    struct error err;
    struct work work = {.flops = -1};
    arena_init(&arena);
    if (!graph_parse(&graph, &arena, text, strlen(text), &err) ||
        !work_count(&graph, dims, &arena, &work, &err))
        print_error("%s: %s\n", err.place, err.message);
    arena_release(&arena);
    return work;
}

static void test_contract(void **state)
{
    (void)state;
    static const int64_t dims[] = {7};
    struct work work = count("graph \"\"\n"
                             "dim B 1..64 multiple 1\n"
                             "%1 = input \"x\" : f32[2, B, 6]\n"
                             "%2 = param \"w\" : f32[2, 5, 6]\n"
                             "%3 = contract %1, %2 {batch 1, contract 1} : f32[2, B, 5]\n"
                             "%4 = neg %3 : f32[2, B, 5]\n"
                             "output \"y\" %4\n",
                             dims);
    assert_true(work.flops == 2 * 2 * 7 * 5 * 6 + 2 * 7 * 5);
    assert_true(work.bytes == 4 * (2 * 7 * 6 + 2 * 5 * 6 + 2 * 7 * 5));
}

static void test_work_on_params_is_done_ahead(void **state)
{
    (void)state;
    struct work work = count("graph \"\"\n"
                             "%1 = input \"x\" : f32[8]\n"
                             "%2 = param \"w\" : f32[8]\n"
                             "%3 = exp %2 : f32[8]\n"
                             "%4 = mul %1, %3 : f32[8]\n"
                             "output \"y\" %4\n",
                             NULL);
    assert_true(work.flops == 8);
    assert_true(work.bytes == 4 * (8 + 8 + 8));
}

static void test_dead_values_do_not_count(void **state)
{
    (void)state;
    struct work work = count("graph \"\"\n"
                             "%1 = input \"x\" : f32[8]\n"
                             "%2 = input \"unused\" : f32[100]\n"
                             "%3 = exp %2 : f32[100]\n"
                             "%4 = reduce_sum %1 {axes [0]} : f32[]\n"
                             "output \"y\" %4\n",
                             NULL);
    assert_true(work.flops == 8); /* a reduction reads 8 elements */
    assert_true(work.bytes == 4 * (8 + 1));
}

static void test_tables_count_what_is_taken(void **state)
{
    (void)state;
    struct work work = count("graph \"\"\n"
                             "%1 = input \"i\" : i64[3]\n"
                             "%2 = param \"table\" : f32[1000, 4]\n"
                             "%3 = take %2, %1 {axis 0} : f32[3, 4]\n"
                             "output \"y\" %3\n",
                             NULL);
    assert_true(work.flops == 0);
    assert_true(work.bytes == 3 * 8 + 4 * (3 * 4) + 4 * (3 * 4));
}

static void test_grouped_convolution(void **state)
{
    (void)state;
    struct error err;
    struct arena arena;
    struct graph graph;
    struct work work;
    arena_init(&arena);
    graph_init(&graph, &arena);
    dim_id x[4], w[4];
    static const int64_t x_sizes[4] = {1, 4, 9, 9}, w_sizes[4] = {6, 2, 3, 3};
    for (int i = 0; i < 4; i++) {
        x[i] = dim_const(&graph.dims, x_sizes[i]);
        w[i] = dim_const(&graph.dims, w_sizes[i]);
    }
    struct window window = {.size = 3, .stride = 1, .dilation = 1, .base_dilation = 1};
    struct attrs attrs = {.window_count = 2, .window = {window, window}, .groups = 2};
    value_id operands[2] = {graph_input(&graph, "x", DTYPE_F32, x, 4, &err),
                            graph_param(&graph, "w", DTYPE_F32, w, 4, &err)};
    value_id y = graph_add(&graph, PRIM_CONV, operands, 2, &attrs, &err);
    assert_int_not_equal(y, VALUE_NONE);
    assert_true(graph_output(&graph, "y", y, &err));
    assert_true(work_count(&graph, NULL, &arena, &work, &err));
    /* 6 channels of 7 × 7 results, each from 2 channels (4 in 2 groups) of a 3 × 3 window */
    assert_true(work.flops == 2 * 6 * 7 * 7 * 2 * 9);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contract),
        cmocka_unit_test(test_work_on_params_is_done_ahead),
        cmocka_unit_test(test_dead_values_do_not_count),
        cmocka_unit_test(test_tables_count_what_is_taken),
        cmocka_unit_test(test_grouped_convolution),
    };
    return cmocka_run_group_tests_name("flops", tests, NULL, NULL);
}
