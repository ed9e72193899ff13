/* The nodes of the source that launches come from, in packages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "compiler/compile.h"

#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct package_contents contents;
    const struct plan *plan;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.plan = NULL};
    arena_init(&f.arena);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

static void compile(struct fixture *f, const char *text, size_t size)
{
    const struct compile_options options = {.strategy = STRATEGY_STANDARD, .targets = "x86-64-v3"};
    const struct trust trust = {.policy = TRUST_ALLOW_UNSIGNED};
    struct compile_result result;
    struct error err = {.code = ERR_NONE};
    if (!compile_blueprint(text, size, &options, &f->arena, &result, &err) ||
        !package_read(result.package, result.package_bytes, &trust, &f->arena, &f->contents, &err))
        fail_msg("%s: %s", err.place, err.message);
    f->plan = &f->contents.targets[0].plan;
}

static void compile_file(struct fixture *f, const char *path)
{
    struct error err;
    size_t size;
    char *text;
    assert_true(file_read(path, LIMIT_JSON_BYTES, &text, &size, &err));
    compile(f, text, size);
    free(text);
}

/* "a, b" */
static const char *nodes_of(struct fixture *f, const struct plan_launch *launch)
{
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    for (uint32_t i = 0; i < launch->node_count; i++)
        strbuf_printf(&out, "%s%s", i > 0 ? ", " : "", launch->nodes[i]);
    return out.data;
}

static void expect_calls(struct fixture *f, const char *const *expected, uint32_t count)
{
    assert_int_equal(f->plan->forward.count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_string_equal(nodes_of(f, &f->plan->forward.items[i]), expected[i]);
}

/* A document of x and y, f32[64, 64]. */
#define DOCUMENT(params, nodes, outputs)                                                  \
    "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\"," \
    " \"shape\": [64, 64]}, {\"id\": \"y\", \"dtype\": \"f32\", \"shape\": [64, 64]}],"   \
    " \"params\": [" params "], \"nodes\": [" nodes "], \"outputs\": [" outputs "]}"
#define UNARY(id, op, in) "{\"id\": \"" id "\", \"op\": \"" op "\", \"in\": [\"" in "\"]}"
#define BINARY(id, op, x, y) \
    "{\"id\": \"" id "\", \"op\": \"" op "\", \"in\": [\"" x "\", \"" y "\"]}"

/* Nodes that say the same become one value, which comes from both. */
static void same_nodes_are_both_there(void **state)
{
    struct fixture *f = *state;
    static const char text[] = DOCUMENT("",
                                        UNARY("one", "exp", "x") "," UNARY("two", "exp", "x") "," //
                                        BINARY("product", "matmul", "one", "y") ","               //
                                        BINARY("again", "matmul", "two", "y"),
                                        "\"product\", \"again\"");
    compile(f, text, strlen(text));
    uint32_t products = 0;
    for (uint32_t i = 0; i < f->plan->forward.count; i++)
        products += strcmp(nodes_of(f, &f->plan->forward.items[i]), "again, product") == 0;
    assert_true(products >= 1); /* and a copy, as there are two outputs */
    assert_string_equal(nodes_of(f, &f->plan->forward.items[0]), "one, two");
}

/* What a kernel computes again of a value that others share is there for its own node. */
static void composites_and_shared_values(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        DOCUMENT("{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [64],"
                 " \"init\": {\"kind\": \"ones\"}}",
                 UNARY("soft", "softmax",
                       "x") "," //
                            "{\"id\": \"norm\", \"op\": \"rms_norm\", \"in\": [\"y\", \"w\"],"
                            " \"attrs\": {\"normalized_shape\": [64]}}," //
                            "{\"id\": \"shifted\", \"op\": \"silu\", \"in\": [\"norm\"]}",
                 "\"soft\", \"shifted\"");
    compile(f, text, strlen(text));
    static const char *const expected[] = {"soft", "norm, shifted"};
    expect_calls(f, expected, 2);
}

/* At most LAUNCH_NODES names, and a number. */
static void long_lists_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct strbuf nodes, text;
    strbuf_init(&nodes, &f->arena);
    strbuf_init(&text, &f->arena);
    for (int i = 0; i < 20; i++)
        strbuf_printf(&nodes, "%s{\"id\": \"n%02d\", \"op\": \"add\", \"in\": [\"%s%02d\", \"y\"]}",
                      i > 0 ? "," : "", i, i > 0 ? "n" : "x", i > 0 ? i - 1 : 0);
    strbuf_printf(
        &text,
        "{\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x00\", \"dtype\": "
        "\"f32\", \"shape\": [64]}, {\"id\": \"y\", \"dtype\": \"f32\", \"shape\": [64]}],"
        " \"nodes\": [%s], \"outputs\": [\"n19\"]}",
        nodes.data);
    compile(f, text.data, text.size_bytes);
    assert_int_equal(f->plan->forward.count, 1);
    const struct plan_launch *launch = &f->plan->forward.items[0];
    assert_int_equal(launch->node_count, LAUNCH_NODES);
    assert_int_equal(launch->more_nodes, 20 - LAUNCH_NODES);
    assert_string_equal(launch->nodes[0], "n00"); /* in the order in which they are computed */
    assert_string_equal(launch->nodes[LAUNCH_NODES - 1], "n15");
}

static void a_transformer(void **state)
{
    struct fixture *f = *state;
    static const char *const prepared[] = {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"};
    static const char *const expected[] = {"norm1",
                                           "q_proj",
                                           "k_proj",
                                           "v_proj",
                                           "k, attention",
                                           "q, v, attention",
                                           "heads, merged, out_proj, r",
                                           "norm2",
                                           "fc1, g",
                                           "fc2, y"};
    compile_file(f, "examples/transformer_block.json");
    expect_calls(f, expected, sizeof expected / sizeof *expected);
    assert_int_equal(f->plan->prepare.count, sizeof prepared / sizeof *prepared);
    for (uint32_t i = 0; i < f->plan->prepare.count; i++)
        assert_string_equal(nodes_of(f, &f->plan->prepare.items[i]), prepared[i]);
}

/* Passes move and join these: no node is lost, and no launch is without one. */
static void convolutions(void **state)
{
    struct fixture *f = *state;
    static const char *const expected[] = {"conv1", "conv1, bn1, a1, conv2", "conv2, bn2, a2",
                                           "conv3, bn3, sum, y"};
    compile_file(f, "examples/resnet_bottleneck.json");
    expect_calls(f, expected, sizeof expected / sizeof *expected);
    for (uint32_t i = 0; i < f->plan->prepare.count; i++)
        assert_int_equal(f->plan->prepare.items[i].node_count, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(same_nodes_are_both_there),
        TEST(composites_and_shared_values),
        TEST(long_lists_are_bounded),
        TEST(a_transformer),
        TEST(convolutions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
