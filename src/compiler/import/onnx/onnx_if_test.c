/* Ifs whose condition is not known: which branch is read, and what is said where a branch restricts
 * dims or is refused. What branches compute is tested in tests/onnx_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <onnx.pb-c.h>
/* cmocka defines a macro fail, so our headers come first. */
#include "compiler/import/notes.h"
#include "compiler/import/onnx/onnx_kit_priv.h"
#include "graph/graph.h"
#include <cmocka.h>

/* One branch if the condition is known, otherwise both and a select. */
static void takes_branches(void **state)
{
    struct model *m = *state;
    static const uint8_t truth[] = {1};
    add_input(m, "x", 1, (const char *const[]){"2", "3", NULL});
    Onnx__AttributeProto *attrs[] = {add_branch(m, "then_branch", "Relu"),
                                     add_branch(m, "else_branch", "Abs")};
    Onnx__NodeProto *node = add_node(m, "If", "c", NULL, "y");
    node->n_attribute = 2;
    node->attribute = attrs;
    add_output(m, "y");
    add_input(m, "c", 9, (const char *const[]){NULL});
    assert_true(read_model(m));
    const struct graph *graph = &m->blueprint.graph;
    assert_int_equal(graph_node(graph, graph->outputs.items[0].value)->prim, PRIM_SELECT);
    m->graph->n_input = 1;
    add_initializer(m, "c", 9, 1, truth, sizeof truth);
    assert_true(read_model(m));
    assert_int_equal(graph_node(graph, graph->outputs.items[0].value)->prim, PRIM_MAX);
    attrs[1]->g->node[0]->op_type = (char *)"Shape";
    assert_true(read_model(m)); /* the other branch is not translated */
    m->graph->n_initializer = 0;
    add_input(m, "c", 9, (const char *const[]){NULL});
    assert_refused(m, ERR_UNSUPPORTED, "branches of different shapes");
}

/* x[b, n] without n, or as `other` gives it where the least element of op(rate) is not 1. */
static void build(struct model *m, const char *n, const char *op, const char *rate_dim,
                  const char *other)
{
    static const int64_t number[] = {1};
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){"b", n, NULL});
    add_input(m, "rate", 7, (const char *const[]){rate_dim, NULL});
    add_initializer(m, "one", 7, 1, number, sizeof number);
    Onnx__AttributeProto **attrs = ARENA_ARRAY(&m->arena, Onnx__AttributeProto *, 2);
    attrs[0] = add_branch(m, "then_branch", "Squeeze");
    attrs[1] = add_branch(m, "else_branch", other);
    for (int i = 0; i < 2; i++) {
        Onnx__NodeProto *node = attrs[i]->g->node[0];
        node->name = (char *)"inner";
        node->input[1] = (char *)"one";
        node->n_input = strcmp(node->op_type, "Squeeze") == 0 ? 2 : 1;
    }
    add_node(m, op, "rate", NULL, "v");
    add_int(m, add_node(m, "ReduceMin", "v", NULL, "least"), "keepdims", 0);
    add_node(m, "Equal", "least", "one", "c");
    Onnx__NodeProto *node = add_node(m, "If", "c", NULL, "y");
    node->name = (char *)"choice";
    node->n_attribute = 2;
    node->attribute = attrs;
    add_output(m, "y");
}

/* The reason why n is restricted, "" for none. */
static const char *why_of(const struct model *m)
{
    return m->blueprint.warnings_bytes > 0 ? m->blueprint.warnings : "";
}

static void assert_says(const char *text, const char *part)
{
    if (!strstr(text, part))
        assert_string_equal(text, part);
}

/* A restriction, an error and a refusal in a branch name what decides the condition. */
static void says_what_decides(void **state)
{
    struct model *m = *state;
    static const char cure[] = "; --known rate=VALUE reads one branch of If 'choice' only";
    const struct import_tensor known = {.name = "rate", .numbers = "2"};
    struct import_notes notes;
    build(m, "n", "Abs", "1", "Squeeze");
    assert_true(read_model(m));
    assert_shape(m, "b");
    assert_says(why_of(m), "exactly 1: Squeeze 'inner'");
    assert_says(why_of(m), cure);
    build(m, "3", "Abs", "1", "Squeeze");
    assert_refused(m, ERR_SHAPE, "dim 1 is not 1 ('x' is [b, 3], 'one' = [1]); --known rate=VALUE");
    assert_null(strstr(m->err.message, "'c'")); /* nothing of the If itself */
    import_notes_init(&notes, &m->arena);
    m->options.notes = &notes;
    build(m, "n", "Abs", "1", "Mish");
    assert_refused(m, ERR_UNSUPPORTED, "opset 13, read from 18 on");
    assert_string_equal(notes.refused.items[0].cure, cure + 2);
    m->options.notes = NULL;
    build(m, "n", "Abs", "1", "Identity");
    assert_refused(m, ERR_UNSUPPORTED, "branches of different shapes");
    assert_says(m->err.message, cure);
    m->options.fixed = &known;
    m->options.fixed_count = 1;
    assert_true(read_model(m));
    assert_shape(m, "b,n");
    assert_string_equal(why_of(m), "");
}

/* A dim that decides is named; what no option can give is not. */
static void names_what_an_option_gives(void **state)
{
    struct model *m = *state;
    build(m, "n", "Size", "k", "Squeeze");
    assert_true(read_model(m));
    assert_says(why_of(m), "; --dim k=SIZE reads one branch of If 'choice' only");
    build(m, "n", "Abs", "k", "Squeeze");
    assert_true(read_model(m));
    assert_says(why_of(m), "exactly 1: Squeeze 'inner'");
    assert_null(strstr(why_of(m), "--"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(takes_branches),
        TEST(says_what_decides),
        TEST(names_what_an_option_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
