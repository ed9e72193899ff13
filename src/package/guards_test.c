#include "package/test_util.h"

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
};

/* dims B 1..64 multiple 4, S 0..9; x f32[B, S, 3], m bool[2*B + 1, S], seed i64[] */
static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    arena_init(&f.arena);
    static const char text[] = "graph \"g\"\n"
                               "dim B 1..64 multiple 4\n"
                               "dim S 0..9 multiple 1\n"
                               "%1 = input \"x\" : f32[B, S, 3]\n"
                               "%2 = input \"m\" : bool[2*B + 1, S]\n"
                               "%3 = input \"seed\" : i64[]\n"
                               "output \"y\" %1\n";
    must(graph_parse(&f.graph, &f.arena, text, strlen(text), &f.err), &f.err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

struct shapes {
    int64_t x[3], m[2];
};

static bool bind(struct fixture *f, struct shapes shapes, int64_t dims[LIMIT_NAMED_DIMS])
{
    const struct guard_input inputs[] = {{DTYPE_F32, 3, shapes.x, NULL},
                                         {DTYPE_BOOL, 2, shapes.m, NULL},
                                         {DTYPE_I64, 0, NULL, NULL}};
    return guards_bind(&f->graph, inputs, 3, dims, &f->err);
}

static void binds(void **state)
{
    struct fixture *f = *state;
    int64_t dims[LIMIT_NAMED_DIMS];
    memset(dims, 0x55, sizeof dims);
    int64_t untouched = dims[2];
    must(bind(f, (struct shapes){{8, 5, 3}, {17, 5}}, dims), &f->err);
    assert_int_equal(dims[0], 8);
    assert_int_equal(dims[1], 5);
    assert_int_equal(dims[2], untouched);
    must(bind(f, (struct shapes){{64, 0, 3}, {129, 0}}, dims), &f->err);
    assert_int_equal(dims[1], 0);
}

static void refuses_shapes(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct shapes shapes;
        const char *place, *text;
    } rows[] = {
        {{{8, 5, 4}, {17, 5}}, "input 'x'", "dim 2 is 4, expected 3"},
        {{{8, 5, 3}, {16, 5}}, "input 'm'", "dim 0 is 16, expected 17"},
        {{{8, 5, 3}, {17, 6}}, "input 'm'", "'S'"},
        {{{6, 5, 3}, {13, 5}}, "input 'x'", "multiple of 4"},
        {{{0, 5, 3}, {1, 5}}, "input 'x'", "expected 1 to 64"},
        {{{68, 5, 3}, {137, 5}}, "input 'x'", "expected 1 to 64"},
        {{{8, 10, 3}, {17, 10}}, "input 'x'", "expected 0 to 9"},
        {{{-4, 5, 3}, {-7, 5}}, "input 'x'", "'B' is -4"},
        {{{INT64_MAX, 5, 3}, {17, 5}}, "input 'x'", "'B'"},
        {{{8, INT64_MIN, 3}, {17, 5}}, "input 'x'", "'S'"},
        {{{8, 5, 3}, {-1, 5}}, "input 'm'", "dim 0 is -1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {-7};
        bool ok = bind(f, rows[i].shapes, dims);
        must_fail(ok, &f->err, ERR_INPUT, rows[i].text);
        assert_string_equal(f->err.place, rows[i].place);
        assert_int_equal(dims[0], -7);
    }
}

static void refuses_dtypes_ranks_counts(void **state)
{
    struct fixture *f = *state;
    const int64_t x[] = {8, 5, 3}, m[] = {17, 5};
    int64_t dims[LIMIT_NAMED_DIMS];
    struct guard_input inputs[] = {
        {DTYPE_F32, 3, x, NULL}, {DTYPE_BOOL, 2, m, NULL}, {DTYPE_I64, 0, NULL, NULL}};
    must_fail(guards_bind(&f->graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT, "2 inputs");
    must_fail(guards_bind(&f->graph, inputs, 4, dims, &f->err), &f->err, ERR_INPUT, "4 inputs");
    inputs[1].dtype = DTYPE_U8;
    must_fail(guards_bind(&f->graph, inputs, 3, dims, &f->err), &f->err, ERR_INPUT,
              "dtype u8, expected bool");
    inputs[1].dtype = (enum dtype)77;
    must_fail(guards_bind(&f->graph, inputs, 3, dims, &f->err), &f->err, ERR_INPUT,
              "expected bool");
    inputs[1] = (struct guard_input){DTYPE_BOOL, 1, m, NULL};
    must_fail(guards_bind(&f->graph, inputs, 3, dims, &f->err), &f->err, ERR_INPUT,
              "1 dims, expected 2");
    inputs[1] = (struct guard_input){DTYPE_BOOL, 2, m, NULL};
    inputs[2].rank = 2;
    inputs[2].shape = x;
    must_fail(guards_bind(&f->graph, inputs, 3, dims, &f->err), &f->err, ERR_INPUT, "'seed'");
}

static void complete(void **state)
{
    struct fixture *f = *state;
    must(guards_complete(&f->graph, &f->err), &f->err);
    static const char text[] = "graph \"g\"\n"
                               "dim B 1..64 multiple 1\n"
                               "dim C 1..64 multiple 1\n"
                               "%1 = input \"x\" : f32[2*B + 1, B*C]\n"
                               "output \"y\" %1\n";
    struct graph graph;
    must(graph_parse(&graph, &f->arena, text, strlen(text), &f->err), &f->err);
    must_fail(guards_complete(&graph, &f->err), &f->err, ERR_BLUEPRINT, "'C'");
    const int64_t shape[] = {9, 8};
    const struct guard_input input = {DTYPE_F32, 2, shape, NULL};
    int64_t dims[LIMIT_NAMED_DIMS];
    must_fail(guards_bind(&graph, &input, 1, dims, &f->err), &f->err, ERR_INPUT, "'C'");
}

/* An expression with one name is enough: from 2*B + 1 = 9 follows B = 4; an even size fits no B. */
static void solves_for_one_name(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "graph \"g\"\n"
                               "dim B 1..64 multiple 1\n"
                               "%1 = input \"x\" : f32[2*B + 1]\n"
                               "%2 = input \"z\" : f32[B]\n"
                               "output \"y\" %1\n";
    struct graph graph;
    must(graph_parse(&graph, &f->arena, text, strlen(text), &f->err), &f->err);
    int64_t nine[] = {9}, four[] = {4}, five[] = {5}, eight[] = {8}, dims[LIMIT_NAMED_DIMS];
    struct guard_input inputs[2] = {{DTYPE_F32, 1, nine, NULL}, {DTYPE_F32, 1, four, NULL}};
    must(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err);
    assert_int_equal(dims[0], 4);
    inputs[1].shape = five;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT,
              "must be 'B', which is 4");
    inputs[0].shape = eight;
    inputs[1].shape = four;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT, "expected 9");
}

/* Elements give names their values behind shapes, in order, and say what is known otherwise. */
static void binds_elements(void **state)
{
    struct fixture *f = *state;
    static const char text[] = "graph \"g\"\n"
                               "dim B 1..64 multiple 1\n"
                               "dim s 0..64 multiple 1\n"
                               "%1 = input \"places\" : i64[3]\n"
                               "%2 = input \"x\" : f32[B, 3]\n"
                               "element \"places\" 0 place B tells s\n"
                               "element \"places\" 1 size 0 tells B\n"
                               "element \"places\" 2 size 0 tells 2*s + 1\n"
                               "output \"y\" %2\n";
    struct graph graph;
    must(graph_parse(&graph, &f->arena, text, strlen(text), &f->err), &f->err);
    must(guards_complete(&graph, &f->err), &f->err);
    int64_t three[] = {3}, x[] = {7, 3}, places[] = {-2, 7, 11}, dims[LIMIT_NAMED_DIMS];
    struct guard_input inputs[2] = {{DTYPE_I64, 1, three, places}, {DTYPE_F32, 2, x, NULL}};
    must(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err);
    assert_int_equal(dims[0], 7);
    assert_int_equal(dims[1], 5);
    places[1] = 8;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT,
              "element 1 is 8, expected 7");
    places[1] = 7;
    places[2] = 12;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT, "'places'");
    inputs[0].integers = NULL;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT, "are not given");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(binds),    TEST(refuses_shapes),      TEST(refuses_dtypes_ranks_counts),
        TEST(complete), TEST(solves_for_one_name), TEST(binds_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
