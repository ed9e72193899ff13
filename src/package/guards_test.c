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
                               "dim B 1..64 multiple 1\n"
                               "dim C 1..64 multiple 1\n"
                               "%1 = input \"x\" : f32[2*B + 1, B*C]\n"
                               "output \"y\" %1\n";
    struct graph graph;
    must(graph_parse(&graph, &f->arena, text, strlen(text), &f->err), &f->err);
    must_fail(guards_complete(&graph, &f->err), &f->err, ERR_BLUEPRINT, "'C'");
    const int64_t shape[] = {9, 8};
    const struct guard_input input = {DTYPE_F32, 2, shape};
    int64_t dims[LIMIT_NAMED_DIMS];
    must_fail(guards_bind(&graph, &input, 1, dims, &f->err), &f->err, ERR_INPUT, "'C'");
}

/* One name in an expression is enough: 2*B + 1 = 9 makes B 4; an even size fits no B. */
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
    struct guard_input inputs[2] = {{DTYPE_F32, 1, nine}, {DTYPE_F32, 1, four}};
    must(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err);
    assert_int_equal(dims[0], 4);
    inputs[1].shape = five;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT, "where it stood");
    inputs[0].shape = eight;
    inputs[1].shape = four;
    must_fail(guards_bind(&graph, inputs, 2, dims, &f->err), &f->err, ERR_INPUT, "expected 9");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(binds),    TEST(refuses_shapes),      TEST(refuses_dtypes_ranks_counts),
        TEST(complete), TEST(solves_for_one_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
