/* Interning, names, limits, the verifier on damaged graphs, copying live nodes. */
#include "base/error.h"
#include "base/strbuf.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
    value_id x, y;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    uint32_t index;
    *f = (struct fixture){0};
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    struct dim_name name = {.name = "B", .min = 1, .max = 8, .multiple_of = 1};
    assert_true(dim_declare(&f->graph.dims, &name, &index, &f->err));
    dim_id shape[2] = {dim_named(&f->graph.dims, index), dim_const(&f->graph.dims, 4)};
    f->x = graph_input(&f->graph, "x", DTYPE_F32, shape, 2, &f->err);
    f->y = graph_param(&f->graph, "y", DTYPE_F32, shape, 2, &f->err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

static value_id constant(struct fixture *f, enum dtype dtype, double value, int64_t integer)
{
    struct attrs attrs = {.dtype = (uint8_t)dtype, .value = value, .integer = integer};
    return graph_add(&f->graph, PRIM_CONST, NULL, 0, &attrs, &f->err);
}

static void test_same_content_same_value(void **state)
{
    struct fixture *f = *state;
    value_id xy[2] = {f->x, f->y}, yx[2] = {f->y, f->x};
    value_id sum = graph_add(&f->graph, PRIM_ADD, xy, 2, NULL, &f->err);
    assert_int_equal(graph_add(&f->graph, PRIM_ADD, xy, 2, NULL, &f->err), sum);
    assert_int_not_equal(graph_add(&f->graph, PRIM_ADD, yx, 2, NULL, &f->err), sum);
    assert_int_not_equal(graph_add(&f->graph, PRIM_SUB, xy, 2, NULL, &f->err), sum);

    struct attrs axis0 = {.axis_count = 1}, axis1 = {.axis_count = 1, .axes = {1}};
    struct attrs garbage;
    memset(&garbage, 0x5a, sizeof garbage); /* fields that a reduction does not have */
    garbage.axis_count = 1;
    garbage.axes[0] = 0;
    value_id sum0 = graph_add(&f->graph, PRIM_REDUCE_SUM, &f->x, 1, &axis0, &f->err);
    assert_int_not_equal(graph_add(&f->graph, PRIM_REDUCE_SUM, &f->x, 1, &axis1, &f->err), sum0);
    assert_int_equal(graph_add(&f->graph, PRIM_REDUCE_SUM, &f->x, 1, &garbage, &f->err), sum0);
    assert_int_equal(graph_add(&f->graph, PRIM_ADD, xy, 2, &garbage, &f->err), sum);
    assert_ptr_equal(graph_node(&f->graph, sum)->attrs,
                     graph_node(&f->graph, VALUE_NONE)->attrs); /* the shared attributes of nodes
                                                                   that have none */
    assert_true(graph_verify(&f->graph, &f->err));
}

static void test_constants_are_normal(void **state)
{
    struct fixture *f = *state;
    value_id one = constant(f, DTYPE_F32, 1, 77);
    assert_int_equal(constant(f, DTYPE_F32, 1, 78), one);
    assert_int_not_equal(constant(f, DTYPE_F64, 1, 0), one);
    assert_int_not_equal(constant(f, DTYPE_F32, 0.0, 0), constant(f, DTYPE_F32, -0.0, 0));
    assert_int_equal(constant(f, DTYPE_F32, (double)NAN, 0),
                     constant(f, DTYPE_F32, -(double)NAN, 0));
    assert_int_equal(constant(f, DTYPE_F32, 0.1, 0), constant(f, DTYPE_F32, (double)0.1f, 0));
    assert_int_equal(constant(f, DTYPE_U8, 3.5, -1), constant(f, DTYPE_U8, 0, 255));
    assert_int_equal(constant(f, DTYPE_BOOL, 0, 9), constant(f, DTYPE_BOOL, 0, 1));
    struct attrs literal = {.dtype = DTYPE_U8, .rank = 1, .data_bytes = 2, .data = "ab"};
    literal.shape[0] = dim_const(&f->graph.dims, 2);
    char data[] = "ab";
    value_id ab = graph_add(&f->graph, PRIM_LITERAL, NULL, 0, &literal, &f->err);
    literal.data = data;
    assert_int_equal(graph_add(&f->graph, PRIM_LITERAL, NULL, 0, &literal, &f->err), ab);
    data[1] = 'c';
    assert_int_not_equal(graph_add(&f->graph, PRIM_LITERAL, NULL, 0, &literal, &f->err), ab);
    assert_memory_equal(graph_node(&f->graph, ab)->attrs->data, "ab", 2);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    char name[4000]; /* of any length */
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    value_id longest = graph_input(&f->graph, name, DTYPE_I8, NULL, 0, &f->err);
    assert_int_not_equal(longest, VALUE_NONE);
    assert_string_equal(graph_node(&f->graph, longest)->attrs->name, name);
    name[0] = 'b'; /* changed after the call: the name was copied */
    assert_int_equal(graph_node(&f->graph, longest)->attrs->name[0], 'a');
    assert_int_equal(graph_param(&f->graph, "x", DTYPE_I8, NULL, 0, &f->err), VALUE_NONE);
    assert_int_equal(f->err.code, ERR_BLUEPRINT);
    assert_int_equal(graph_input(&f->graph, NULL, DTYPE_I8, NULL, 0, &f->err), VALUE_NONE);
    assert_int_equal(f->err.code, ERR_BLUEPRINT);
    name[0] = 'a';
    assert_int_equal(graph_param(&f->graph, name, DTYPE_I8, NULL, 0, &f->err), VALUE_NONE);
    assert_int_equal(f->err.code, ERR_BLUEPRINT);
    assert_int_equal(f->graph.inputs.count, 2);
    assert_int_equal(f->graph.params.count, 1);

    assert_true(graph_output(&f->graph, "x", f->x, &f->err)); /* outputs have a namespace of their
                                                                 own */
    assert_false(graph_output(&f->graph, "x", f->y, &f->err));
    assert_int_equal(f->err.code, ERR_BLUEPRINT);
    assert_false(graph_output(&f->graph, "", f->y, &f->err));
    f->err = (struct error){0};
    assert_false(graph_output(&f->graph, "z", VALUE_NONE, &f->err));
    assert_int_equal(f->err.code, ERR_NONE);
    assert_int_equal(f->graph.outputs.count, 1);
}

static void test_none_passes_through(void **state)
{
    struct fixture *f = *state;
    value_id operands[2] = {f->x, VALUE_NONE};
    assert_int_equal(graph_add(&f->graph, PRIM_ADD, operands, 2, NULL, &f->err), VALUE_NONE);
    assert_int_equal(f->err.code, ERR_NONE);
}

static void test_node_limit(void **state)
{
    struct fixture *f = *state;
    value_id last = f->x;
    while (f->graph.nodes.count <= LIMIT_NODES)
        last = graph_add(&f->graph, PRIM_NEG, &last, 1, NULL, &f->err);
    assert_int_equal(last, LIMIT_NODES);
    assert_int_equal(graph_add(&f->graph, PRIM_NEG, &last, 1, NULL, &f->err), VALUE_NONE);
    assert_int_equal(f->err.code, ERR_LIMIT);
    assert_int_not_equal(graph_add(&f->graph, PRIM_NEG, &f->x, 1, NULL, &f->err), VALUE_NONE);
}

static void test_prims(void **state)
{
    (void)state;
    for (enum prim prim = PRIM_NONE + 1; prim < PRIM_COUNT; prim++)
        assert_int_equal(prim_from_name(prim_info(prim)->name), prim);
    assert_int_equal(prim_from_name("linear"), PRIM_NONE);
    assert_int_equal(prim_from_name(""), PRIM_NONE);
    assert_int_equal(prim_info(PRIM_CONCAT)->operands, -1);
}

static void test_elements(void **state)
{
    struct fixture *f = *state;
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    dim_print(&f->graph.dims, graph_elements(&f->graph, f->x), &text);
    assert_string_equal(text.data, "4*B");
}

static void expect_bug(struct fixture *f, const char *place, const char *message)
{
    f->err = (struct error){0};
    assert_false(graph_verify(&f->graph, &f->err));
    assert_int_equal(f->err.code, ERR_BUG);
    assert_string_equal(f->err.place, place);
    if (!strstr(f->err.message, message))
        fail_msg("'%s', expected '%s'", f->err.message, message);
}

static void test_verifier_finds_damage(void **state)
{
    struct fixture *f = *state;
    struct attrs axis = {.axis_count = 1};
    value_id sum = graph_add(&f->graph, PRIM_REDUCE_SUM, &f->x, 1, &axis, &f->err);
    value_id both = graph_add(&f->graph, PRIM_ADD, (value_id[]){sum, sum}, 2, NULL, &f->err);
    struct node *node = &f->graph.nodes.items[both];
    const struct node good = *node;
    assert_true(graph_verify(&f->graph, &f->err));

    node->prim = PRIM_COUNT;
    expect_bug(f, "value %4", "prim");
    *node = good, node->dtype = DTYPE_NONE;
    expect_bug(f, "value %4", "no such dtype");
    *node = good, node->dtype = DTYPE_F64;
    expect_bug(f, "value %4", "not the dtype");
    *node = good, node->shape = (dim_id[]){DIM_NONE};
    expect_bug(f, "value %4", "no dims of this graph");
    *node = good, node->shape = (dim_id[]){f->graph.dims.exprs.count};
    expect_bug(f, "value %4", "no dims of this graph");
    *node = good, node->shape = (dim_id[]){dim_const(&f->graph.dims, 5)};
    expect_bug(f, "value %4", "not the shape");
    *node = good, node->rank = 0;
    expect_bug(f, "value %4", "not the shape");
    *node = good, node->operands = (value_id[]){sum, both};
    expect_bug(f, "value %4", "not an earlier value");
    *node = good, node->operands = (value_id[]){sum, VALUE_NONE};
    expect_bug(f, "value %4", "not an earlier value");
    *node = good, node->operands = (value_id[]){sum, f->x};
    expect_bug(f, "value %4", "rank 2, expected 1");
    *node = good, node->operand_count = 1;
    expect_bug(f, "value %4", "1 operands, expected 2");
    *node = good, node->operand_count = LIMIT_OPERANDS + 1;
    expect_bug(f, "value %4", "too many operands");
    *node = good, node->attrs = &axis;
    expect_bug(f, "value %4", "not in normal form");
    *node = good, node->prim = PRIM_SUB;
    expect_bug(f, "value %4", "not interned");
    *node = good;

    f->graph.inputs.items[0] = f->y;
    expect_bug(f, "value %1", "list of inputs");
    f->graph.inputs.items[0] = f->x;
    f->graph.params.count = 0;
    expect_bug(f, "value %2", "list of params");
    f->graph.params.count = 1;
    assert_true(graph_output(&f->graph, "z", both, &f->err));
    f->graph.outputs.items[0].value = both + 1;
    expect_bug(f, "", "output 0");
    f->graph.outputs.items[0].value = both;
    assert_true(graph_verify(&f->graph, &f->err));
}

static void test_copy_live(void **state)
{
    struct fixture *f = *state;
    value_id dead = graph_add(&f->graph, PRIM_NEG, &f->x, 1, NULL, &f->err);
    graph_add(&f->graph, PRIM_NEG, &dead, 1, NULL, &f->err);
    value_id kept = graph_add(&f->graph, PRIM_EXP, &f->x, 1, NULL, &f->err);
    assert_true(graph_output(&f->graph, "z", kept, &f->err));
    f->graph.name = "g";
    struct arena arena;
    struct graph live;
    arena_init(&arena);
    assert_true(graph_copy_live(&live, &arena, &f->graph, &f->err));
    teardown(state); /* the copy does not use memory of the old graph */
    struct strbuf text;
    strbuf_init(&text, &arena);
    graph_print(&live, &text);
    assert_string_equal(text.data, "graph \"g\"\ndim B 1..8 multiple 1\n"
                                   "%1 = input \"x\" : f32[B, 4]\n%2 = param \"y\" : f32[B, 4]\n"
                                   "%3 = exp %1 : f32[B, 4]\noutput \"z\" %3\n");
    arena_release(&arena);
}

/* x - y, then each minus y again, `count` times; the last is returned. */
static value_id chain(struct fixture *f, uint32_t count)
{
    value_id operands[2] = {f->x, f->y};
    for (uint32_t i = 0; i < count; i++)
        operands[0] = graph_add(&f->graph, PRIM_SUB, operands, 2, NULL, &f->err);
    return operands[0];
}

/* The part is what lies between leaves and roots, with its inputs in the order of their ids,
 * and costs the same in a large graph. */
static void test_a_part_of_a_graph(void **state)
{
    struct fixture *f = *state;
    struct graph part;
    struct strbuf text;
    size_t bytes[2];
    for (int i = 0; i < 2; i++) {
        value_id begin = chain(f, i == 0 ? 1 : 5000), operands[2] = {begin, f->y};
        value_id end = graph_add(&f->graph, PRIM_MUL, operands, 2, NULL, &f->err);
        value_id root = graph_add(&f->graph, PRIM_NEG, &end, 1, NULL, &f->err);
        const value_id leaves[] = {begin, f->y};
        const struct graph_part which = {&root, 1, leaves, 2};
        size_t before = f->arena.used_bytes;
        assert_true(graph_extract(&part, &f->arena, &f->graph, &which, &f->err));
        bytes[i] = f->arena.used_bytes - before;
        strbuf_init(&text, &f->arena);
        graph_print(&part, &text);
        assert_string_equal(text.data, "graph \"\"\n"
                                       "dim B 1..8 multiple 1\n"
                                       "%1 = input \"a1\" : f32[B, 4]\n"
                                       "%2 = input \"a0\" : f32[B, 4]\n"
                                       "%3 = mul %2, %1 : f32[B, 4]\n"
                                       "%4 = neg %3 : f32[B, 4]\n"
                                       "output \"y0\" %4\n");
    }
    assert_true(bytes[1] < bytes[0] + bytes[0] / 8);
    const value_id end = f->graph.nodes.count - 1;
    assert_false(graph_extract(&part, &f->arena, &f->graph, &(struct graph_part){&end, 1, &f->x, 1},
                               &f->err));
    assert_int_equal(f->err.code, ERR_VERIFY); /* y is no leaf */
    assert_false(graph_extract(&part, &f->arena, &f->graph, &(struct graph_part){&end, 1, &end, 1},
                               &f->err));
    assert_int_equal(f->err.code, ERR_VERIFY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_part_of_a_graph),
        TEST(test_same_content_same_value),
        TEST(test_constants_are_normal),
        TEST(test_names),
        TEST(test_none_passes_through),
        TEST(test_node_limit),
        TEST(test_prims),
        TEST(test_elements),
        TEST(test_verifier_finds_damage),
        TEST(test_copy_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
