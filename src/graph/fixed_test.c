/* Graphs at values of some dims: every shape and attribute has the value that it has there, and the
 * result is a graph by the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "graph/graph.h"

#include <cmocka.h> /* after error.h: cmocka has a macro named fail */

static const char text[] = "graph \"g\"\n"
                           "dim B 1..64 multiple 1 typical 8\n"
                           "dim S 4..256 multiple 4\n"
                           "%1 = input \"x\" : f32[B, S, 8]\n"
                           "%2 = param \"w\" : f32[8, 8]\n"
                           "%3 = contract %1, %2 {batch 0, contract 1} : f32[B, S, 8]\n"
                           "%4 = reshape %3 : f32[B, S//2, 16]\n"
                           "%5 = slice %4 {start [0, S//4, 0], step [1, 1, 1]} : f32[B, S//4, 16]\n"
                           "%6 = iota {axis 0} : i64[B*S + 1]\n"
                           "%7 = size {dim [2*S]} : i64[]\n"
                           "%8 = reduce_sum %5 {axes [1]} : f32[B, 16]\n"
                           "output \"y\" %8\n"
                           "output \"i\" %6\n"
                           "output \"s\" %7\n";

struct fixture {
    struct arena arena;
    struct graph graph, fixed;
    struct error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    arena_init(&f.arena);
    if (!graph_parse(&f.graph, &f.arena, text, strlen(text), &f.err))
        fail_msg("%s: %s", f.err.place, f.err.message);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

static const char *print(struct fixture *f, const struct graph *graph)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    graph_print(graph, &out);
    return out.data;
}

/* All shapes have one value before and after, at these sizes. */
static void check_shapes(struct fixture *f, const int64_t *dims)
{
    assert_int_equal(f->fixed.nodes.count, f->graph.nodes.count);
    for (value_id v = 1; v < f->graph.nodes.count; v++) {
        const struct node *a = graph_node(&f->graph, v), *b = graph_node(&f->fixed, v);
        int64_t x, y;
        assert_int_equal(a->prim, b->prim);
        assert_int_equal(a->rank, b->rank);
        for (uint32_t i = 0; i < a->rank; i++) {
            assert_true(dim_eval(&f->graph.dims, a->shape[i], dims, &x));
            assert_true(dim_eval(&f->fixed.dims, b->shape[i], dims, &y));
            assert_int_equal(x, y);
        }
    }
}

static void values_take_the_place_of_names(void **state)
{
    struct fixture *f = *state;
    const int64_t values[] = {3, 12};
    struct graph parsed;
    if (!graph_fix_dims(&f->fixed, &f->arena, &f->graph, values, &f->err))
        fail_msg("%s: %s", f->err.place, f->err.message);
    check_shapes(f, values);
    const char *printed = print(f, &f->fixed);
    assert_non_null(strstr(printed, "%4 = reshape %3 : f32[3, 6, 16]\n"));
    assert_non_null(strstr(printed, "%5 = slice %4 {start [0, 3, 0], "));
    assert_non_null(strstr(printed, "%6 = iota {axis 0} : i64[37]"));
    assert_non_null(strstr(printed, "%7 = size {dim [24]} : i64[]\n"));
    assert_true(graph_parse(&parsed, &f->arena, printed, strlen(printed), &f->err));
    assert_string_equal(print(f, &parsed), printed);
    assert_string_equal(print(f, &f->graph), text); /* it is as it was */
}

static void other_names_stay(void **state)
{
    struct fixture *f = *state;
    const int64_t values[] = {5, DIM_ANY}, dims[] = {5, 64};
    struct graph parsed;
    assert_true(graph_fix_dims(&f->fixed, &f->arena, &f->graph, values, &f->err));
    check_shapes(f, dims);
    const char *printed = print(f, &f->fixed);
    assert_non_null(strstr(printed, "%3 = contract %1, %2 {batch 0, contract 1} : f32[5, S, 8]\n"));
    assert_non_null(strstr(printed, "%6 = iota {axis 0} : i64[5*S + 1]"));
    assert_true(graph_parse(&parsed, &f->arena, printed, strlen(printed), &f->err));
    const int64_t none[] = {DIM_ANY, DIM_ANY};
    assert_true(graph_fix_dims(&f->fixed, &f->arena, &f->graph, none, &f->err));
    assert_string_equal(print(f, &f->fixed), text);
}

/* With one name given, the other or both, a dim has the value that it has at both. */
static void dims_at_values(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {
        "7",
        "B",
        "B*S + 1",
        "(S + 1)//3",
        "max(B, S//4)",
        "2*(B//3)*S - B*B",
        "min(B*S, 40)//(B + 1)",
        "S//4*B - max(S - 9, 0)",
    };
    struct dim_table *table = &f->graph.dims;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *at = texts[i];
        dim_id dim;
        assert_true(dim_parse(table, &at, &dim, &f->err));
        for (int64_t b = 1; b < 12; b++) {
            const int64_t all[] = {b, 4 * (b % 7 + 1)};
            int64_t expected, value;
            assert_true(dim_eval(table, dim, all, &expected));
            for (int given = 0; given < 4; given++) {
                const int64_t some[] = {given & 1 ? all[0] : DIM_ANY, given & 2 ? all[1] : DIM_ANY};
                dim_id fixed = dim_import_at(table, table, some, dim);
                assert_true(dim_eval(table, fixed, all, &value));
                assert_int_equal(value, expected);
                assert_true(given < 3 || dim_is_const(table, fixed, &value));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_take_the_place_of_names, setup, teardown),
        cmocka_unit_test_setup_teardown(other_names_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(dims_at_values, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
