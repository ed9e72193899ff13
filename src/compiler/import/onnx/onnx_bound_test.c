/* Results whose size hangs on values: which outputs a model has for them, and what is refused
 * behind them. What they hold is compared in tests/data/make_onnx.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <onnx.pb-c.h>
/* cmocka defines a macro fail, so our headers come first. */
#include "compiler/import/onnx/onnx_kit_priv.h"
#include <cmocka.h>

#define FLOAT 1
#define INT64 7
#define BOOL 9

static const char *const list[] = {"N", NULL}, *const table[] = {"N", "4", NULL};

/* The places p of what is not 0 in x, and g, the elements there. */
static void find(struct model *m)
{
    static const int64_t zero[] = {0};
    start_over(m);
    add_input(m, "x", FLOAT, list);
    add_initializer(m, "zero", INT64, 1, zero, sizeof zero);
    add_node(m, "NonZero", "x", NULL, "found");
    add_node(m, "Squeeze", "found", "zero", "p");
    add_node(m, "Gather", "x", "p", "g");
}

static void assert_outputs(struct model *m, const char *const *names, uint32_t count)
{
    if (!read_model(m))
        fail_msg("%s %s", m->err.place, m->err.message);
    const struct graph *graph = &m->blueprint.graph;
    assert_int_equal(graph->outputs.count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_string_equal(graph->outputs.items[i].name, names[i]);
}

/* Counts stand behind all outputs of the model, in their order. */
static void test_counts_are_outputs(void **state)
{
    static const char *const names[] = {"g", "x2", "p", "g.count", "p.count"};
    static const int64_t first[] = {1};
    struct model *m = *state;
    find(m);
    add_node(m, "Neg", "x", NULL, "x2");
    add_output(m, "g");
    add_output(m, "x2");
    add_output(m, "p");
    assert_outputs(m, names, 5);
    assert_shape(m, "N");

    /* Two dims with counts are told apart by their axes. */
    static const char *const pairs[] = {"less", "less.count.0", "less.count.1"};
    find(m);
    add_initializer(m, "one", INT64, 1, first, sizeof first);
    add_node(m, "Unsqueeze", "p", "zero", "rows");
    add_node(m, "Unsqueeze", "p", "one", "columns");
    add_node(m, "Less", "columns", "rows", "less");
    add_output(m, "less");
    assert_outputs(m, pairs, 3);
    assert_shape(m, "N,N");
}

static void test_size_that_is_known(void **state)
{
    static const char *const names[] = {"y"};
    static const uint8_t flags[] = {1, 0, 1, 1};
    struct model *m = *state;
    start_over(m);
    add_input(m, "x", FLOAT, table);
    add_initializer(m, "c", BOOL, 4, flags, sizeof flags);
    add_int(m, add_node(m, "Compress", "x", "c", "y"), "axis", 1);
    add_output(m, "y");
    assert_outputs(m, names, 1);
    assert_shape(m, "N,3");
}

/* A name that a count takes is no output of the model's, too. */
static void test_name_that_is_taken(void **state)
{
    struct model *m = *state;
    find(m);
    add_node(m, "Neg", "x", NULL, "g.count");
    add_output(m, "g");
    add_output(m, "g.count");
    assert_refused(m, ERR_BLUEPRINT, "g.count");
}

static void refuse(struct model *m, const char *op, const char *in, const char *in2,
                   const char *part)
{
    find(m);
    add_node(m, op, in, in2, "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, part);
}

/* No result is made of filler. */
static void test_refuses_what_mixes(void **state)
{
    struct model *m = *state;
    static const int64_t back[] = {-3}, far[] = {INT64_MAX}, shape[] = {3, -1};
    refuse(m, "Add", "g", "x", "an operand as long as the other can be at most meets it");
    refuse(m, "MatMul", "g", "x", "a sum of products along the dim");
    refuse(m, "EyeLike", "found", NULL, "this op is not read of such a value");
    refuse(m, "Unique", "g", NULL, "this op is not read of such a value");

    find(m);
    Onnx__NodeProto *node = add_node(m, "Slice", "g", NULL, "y");
    node->input = ARENA_ARRAY(&m->arena, char *, 3);
    node->n_input = 3;
    node->input[0] = (char *)"g";
    node->input[1] = (char *)"back";
    node->input[2] = (char *)"far";
    add_initializer(m, "back", INT64, 1, back, sizeof back);
    add_initializer(m, "far", INT64, 1, far, sizeof far);
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "places counted from the end");

    /* The size that is said could be that of the whole dim, which is no count. */
    static const char *const three[] = {"3", NULL};
    start_over(m);
    add_input(m, "x", FLOAT, three);
    add_node(m, "NonZero", "x", NULL, "found");
    add_node(m, "Transpose", "found", NULL, "p");
    add_initializer(m, "to", INT64, 2, shape, sizeof shape);
    add_node(m, "Reshape", "p", "to", "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "element 0 of the shape");
}

/* A size is a count itself, or it is not read. */
static void test_sizes(void **state)
{
    static const char *const names[] = {"y", "y.count"};
    static const int64_t two[] = {2};
    struct model *m = *state;
    find(m);
    add_node(m, "Shape", "g", NULL, "s");
    add_node(m, "ConstantOfShape", "s", NULL, "y");
    add_output(m, "y");
    assert_outputs(m, names, 2);
    assert_shape(m, "N");

    find(m);
    add_initializer(m, "two", INT64, 1, two, sizeof two);
    add_node(m, "Shape", "g", NULL, "s");
    add_node(m, "Mul", "s", "two", "twice");
    add_node(m, "ConstantOfShape", "twice", NULL, "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "is not known at compile time");

    find(m);
    add_node(m, "Shape", "g", NULL, "s");
    add_node(m, "Expand", "x", "s", "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "a dim that is not 1");

    find(m);
    add_node(m, "Shape", "g", NULL, "s");
    add_node(m, "Reshape", "x", "s", "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "element 0 of the shape");
}

static void test_counts_that_differ(void **state)
{
    struct model *m = *state;
    find(m);
    add_input(m, "c", BOOL, list);
    add_node(m, "Compress", "x", "c", "q");
    add_node(m, "Add", "g", "q", "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "results with different counts meet");
}

/* 1, 0, 3, 0 … through a chain of nodes. */
static void test_values(void **state)
{
    static const float x[] = {1, 0, 3, 0, 0, -6};
    struct model *m = *state;
    static const char *const six[] = {"6", NULL};
    static const int64_t zero[] = {0};
    add_input(m, "x", FLOAT, six);
    add_initializer(m, "zero", INT64, 1, zero, sizeof zero);
    add_node(m, "NonZero", "x", NULL, "found");
    add_node(m, "Squeeze", "found", "zero", "p");
    add_node(m, "Gather", "x", "p", "g");
    add_node(m, "Exp", "g", NULL, "e");
    add_node(m, "ReduceSum", "g", "zero", "y");
    add_output(m, "y");
    struct interp_tensor sum = run_model(m, DTYPE_F32, 6, x);
    assert_int_equal(sum.count, 1);
    assert_float_equal(sum.cells[0].f, -2, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(test_counts_are_outputs),
        TEST(test_size_that_is_known),
        TEST(test_name_that_is_taken),
        TEST(test_refuses_what_mixes),
        TEST(test_sizes),
        TEST(test_counts_that_differ),
        TEST(test_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
