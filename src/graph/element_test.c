/* Elements that tell dims: each rule reads and writes, and the text form. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "graph/element.h"

#include <cmocka.h> /* after error.h: cmocka has a macro named fail */

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
};

static const char text[] = "graph \"g\"\n"
                           "dim N 1..100 multiple 1\n"
                           "dim k 0..50 multiple 1\n"
                           "dim s 0..100 multiple 1\n"
                           "dim e 0..101 multiple 1\n"
                           "dim c 0..5 multiple 1\n"
                           "%1 = input \"x\" : f32[N]\n"
                           "%2 = input \"k\" : f32[]\n"
                           "%3 = input \"places\" : i64[2]\n"
                           "%4 = input \"axes\" : i32[2]\n"
                           "%5 = input \"shape\" : i64[3]\n"
                           "element \"k\" 0 size 0 tells k\n"
                           "element \"places\" 0 place N tells s\n"
                           "element \"places\" 1 back N tells e\n"
                           "element \"axes\" 0 choice 4 tells c\n"
                           "element \"shape\" 0 keep N tells N\n"
                           "element \"shape\" 1 stretch 0 tells 7\n"
                           "element \"shape\" 2 keep 0 tells k + 1\n"
                           "output \"y\" %1\n";

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
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static void prints_what_it_parsed(void **state)
{
    struct fixture *f = *state;
    struct strbuf out;
    struct graph copy;
    strbuf_init(&out, &f->arena);
    graph_print(&f->graph, &out);
    assert_string_equal(out.data, text);
    assert_true(graph_verify(&f->graph, &f->err));
    assert_true(graph_copy_live(&copy, &f->arena, &f->graph, &f->err));
    strbuf_init(&out, &f->arena);
    graph_print(&copy, &out);
    assert_non_null(strstr(out.data, "element \"shape\" 2 keep 0 tells k + 1\n"));
}

static void refuses_text(void **state)
{
    static const char *const bad[] = {
        "element \"z\" 0 size 0 tells N\n",      "element \"x\" 0 size 0 tells N\n",
        "element \"k\" 1 size 0 tells N\n",      "element \"k\" 0 guess 0 tells N\n",
        "element \"axes\" 0 choice 1 tells N\n", "element \"axes\" 0 choice N tells N\n",
        "element \"k\" 0 size 0 tells M\n",      "element \"k\" 0 size 0 N\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char changed[sizeof text + 64];
        struct graph graph;
        struct error err = {.code = ERR_NONE};
        size_t before = (size_t)(strstr(text, "element") - text);
        snprintf(changed, sizeof changed, "%.*s%soutput \"y\" %%1\n", (int)before, text, bad[i]);
        assert_false(graph_parse(&graph, &f->arena, changed, strlen(changed), &err));
        assert_non_null(strstr(err.place, "line 12"));
    }
}

/* N, k, s, e, c */
enum { N, K, S, E, C };

static int64_t read(struct fixture *f, uint32_t at, const int64_t *integers, const int64_t *dims)
{
    int64_t out = -1;
    if (!element_read(&f->graph, &f->graph.elements.items[at], integers, dims, &out, &f->err))
        fail_msg("%s", f->err.message);
    return out;
}

static void reads_places(void **state)
{
    struct fixture *f = *state;
    static const int64_t dims[] = {10, 0, 0, 0, 0};
    /* v, as a place, as one of a walk to the front + 1 */
    static const int64_t cases[][3] = {{0, 0, 1},        {3, 3, 4},         {10, 10, 11},
                                       {1000, 100, 101}, {-1, 9, 10},       {-10, 0, 1},
                                       {-11, 0, 0},      {INT64_MIN, 0, 0}, {INT64_MAX, 100, 101}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read(f, 1, (int64_t[]){cases[i][0], 0}, dims), cases[i][1]);
        assert_int_equal(read(f, 2, (int64_t[]){0, cases[i][0]}, dims), cases[i][2]);
    }
}

static void reads_choices(void **state)
{
    struct fixture *f = *state;
    static const int64_t dims[5] = {1};
    static const int64_t bad[][2] = {{0, 0}, {1, -3}, {4, 0}, {0, -5}};
    assert_int_equal(choice_count(4, 2), 6);
    assert_int_equal(choice_count(8, 4), 70);
    assert_int_equal(choice_count(2, 3), 0);
    for (uint32_t rank = 1; rank <= LIMIT_RANK; rank++)
        for (uint32_t count = 1; count <= rank; count++) {
            uint32_t before[LIMIT_RANK] = {0}, axes[LIMIT_RANK];
            for (int64_t n = 0; n < choice_count(rank, count); n++) {
                choice_axes(rank, count, n, axes);
                uint32_t differs = 0;
                while (n > 0 && differs < count && axes[differs] == before[differs])
                    differs++;
                assert_true(n == 0 || (differs < count && axes[differs] > before[differs]));
                for (uint32_t i = 0; i < count; i++)
                    assert_true(axes[i] < rank && (i == 0 || axes[i] > axes[i - 1]));
                memcpy(before, axes, sizeof before);
            }
        }
    for (int64_t n = 0; n < 6; n++) {
        uint32_t axes[LIMIT_RANK];
        choice_axes(4, 2, n, axes);
        assert_int_equal(read(f, 3, (int64_t[]){axes[0], axes[1]}, dims), n);
        assert_int_equal(read(f, 3, (int64_t[]){(int64_t)axes[1] - 4, axes[0]}, dims), n);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t out;
        struct error err = {.code = ERR_NONE};
        assert_false(
            element_read(&f->graph, &f->graph.elements.items[3], bad[i], dims, &out, &err));
        assert_int_equal(err.code, ERR_INPUT);
    }
}

static bool checks(struct fixture *f, uint32_t at, int64_t a, int64_t b, int64_t c)
{
    static const int64_t dims[] = {10, 3, 0, 0, 0};
    struct error err = {.code = ERR_NONE};
    return element_check(&f->graph, &f->graph.elements.items[at], (int64_t[]){a, b, c}, dims, &err);
}

static void checks_what_stands_for_a_dim(void **state)
{
    struct fixture *f = *state;
    assert_true(checks(f, 4, 10, 0, 0));
    assert_true(checks(f, 4, 0, 0, 0)); /* 0 keeps N */
    assert_true(checks(f, 4, -1, 0, 0));
    assert_false(checks(f, 4, 9, 0, 0));
    assert_false(checks(f, 4, -2, 0, 0));
    assert_true(checks(f, 5, 0, 7, 0));
    assert_true(checks(f, 5, 0, 1, 0));
    assert_false(checks(f, 5, 0, 0, 0));
    assert_true(checks(f, 6, 10, 0, 4));
    assert_true(checks(f, 6, 10, 0, -1));
    assert_false(checks(f, 6, -1, 0, -1)); /* only one size is left open */
    assert_false(checks(f, 6, 10, 0, 0));  /* 0 would keep another size */
}

static void reads_numbers_of_any_dtype(void **state)
{
    (void)state;
    int64_t out = 0;
    const double doubles[] = {-3, 2.5, 0x1p63, (double)NAN};
    const float floats[] = {7, 0.5f};
    const uint16_t halves[] = {f16_from_double(12), f16_from_double(0.25)};
    const uint64_t large[] = {5, UINT64_MAX};
    const int32_t ints[] = {-9};
    const uint8_t bytes[] = {200};
    assert_true(element_integer(DTYPE_F64, doubles, 0, &out) && out == -3);
    for (uint32_t i = 1; i < 4; i++)
        assert_false(element_integer(DTYPE_F64, doubles, i, &out));
    assert_true(element_integer(DTYPE_F32, floats, 0, &out) && out == 7);
    assert_false(element_integer(DTYPE_F32, floats, 1, &out));
    assert_true(element_integer(DTYPE_F16, halves, 0, &out) && out == 12);
    assert_false(element_integer(DTYPE_F16, halves, 1, &out));
    assert_true(element_integer(DTYPE_U64, large, 0, &out) && out == 5);
    assert_false(element_integer(DTYPE_U64, large, 1, &out));
    assert_true(element_integer(DTYPE_I32, ints, 0, &out) && out == -9);
    assert_true(element_integer(DTYPE_U8, bytes, 0, &out) && out == 200);
    assert_true(element_integer(DTYPE_I8, bytes, 0, &out) && out == -56);
}

/* What is stored for dims says these dims. */
static void stores_what_says_the_dims(void **state)
{
    struct fixture *f = *state;
    uint64_t key = rng_key(5);
    for (uint32_t round = 0; round < 200; round++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {0};
        for (uint32_t i = 0; i < f->graph.dims.names.count; i++) {
            const struct dim_name *name = &f->graph.dims.names.items[i];
            int64_t wish = rng_u32(key, round * 8 + i) % (name->max - name->min + 1);
            dims[i] = name->min + wish;
        }
        for (uint32_t i = 0; i < f->graph.elements.count; i++) {
            const struct graph_element *element = &f->graph.elements.items[i];
            int64_t data[LIMIT_ELEMENTS], integers[LIMIT_ELEMENTS], expected;
            uint32_t count = elements_of_input(&f->graph, element->input);
            enum dtype dtype =
                (enum dtype)graph_node(&f->graph, f->graph.inputs.items[element->input])->dtype;
            elements_store(&f->graph, element->input, dims, data);
            for (uint32_t k = 0; k < count; k++)
                assert_true(element_integer(dtype, data, k, &integers[k]));
            assert_true(dim_eval(&f->graph.dims, element->dim, dims, &expected));
            assert_int_equal(read(f, i, integers, dims), expected);
            assert_true(element_check(&f->graph, element, integers, dims, &f->err));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(prints_what_it_parsed, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_text, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_places, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_choices, setup, teardown),
        cmocka_unit_test_setup_teardown(checks_what_stands_for_a_dim, setup, teardown),
        cmocka_unit_test_setup_teardown(reads_numbers_of_any_dtype, setup, teardown),
        cmocka_unit_test_setup_teardown(stores_what_says_the_dims, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
