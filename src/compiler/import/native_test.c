/* The native dialect: what is valid, what is refused, and the place of each error. */
#include "compiler/import/import_test_util.h"

#define HEAD "{\"format\": \"urza.blueprint/1\", \"dims\": {\"B\": {\"max\": 64}}, "
#define X "\"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 4]}], "
#define NODES(nodes) HEAD X "\"nodes\": [" nodes "], \"outputs\": [\"y\"]}"

static void test_order_is_free(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint a =
        must_read(&arena, NODES("{\"id\": \"h\", \"op\": \"relu\", \"in\": [\"x\"]}, "
                                "{\"id\": \"y\", \"op\": \"neg\", \"in\": [\"h\"]}"));
    struct blueprint b =
        must_read(&arena, NODES("{\"id\": \"y\", \"op\": \"neg\", \"in\": [\"h\"]}, "
                                "{\"op\": \"relu\", \"in\": [\"x\"], \"id\": \"h\"}"));
    assert_string_equal(graph_text(&a), graph_text(&b));
    assert_string_equal(output_type(&a, 0), "f32[B, 4]");
    assert_string_equal(a.graph.dims.names.items[0].name, "B");
    assert_int_equal(a.graph.dims.names.items[0].min, 1);
    assert_int_equal(a.graph.dims.names.items[0].max, 64);
    arena_release(&arena);
}

static void test_updates(void **state)
{
    (void)state;
#define STEP(updates)                                                                            \
    HEAD X                                                                                       \
        "\"nodes\": [{\"id\": \"y\", \"op\": \"neg\", \"in\": [\"x\"]}, {\"id\": \"s\", "        \
        "\"op\": \"sum\", \"in\": [\"x\"]}], \"outputs\": [\"s\", \"y\"], \"updates\": " updates \
        "}"
    struct arena arena;
    arena_init(&arena);
    struct blueprint b = must_read(&arena, STEP("{\"x\": \"y\"}"));
    assert_int_equal(b.graph.updates.count, 1);
    assert_int_equal(graph_updates_input(&b.graph, 1), 0);
    assert_int_equal(graph_updates_input(&b.graph, 0), UPDATE_NONE);
    struct blueprint again = must_read(&arena, b.json);
    assert_string_equal(graph_text(&again), graph_text(&b));
    must_refuse(STEP("{\"x\": \"s\"}"), ERR_BLUEPRINT, "updates", "another type");
    must_refuse(STEP("{\"x\": \"q\"}"), ERR_BLUEPRINT, "", "'x' names no output");
    must_refuse(STEP("{\"x\": 1}"), ERR_BLUEPRINT, "", "'x' names no output");
    must_refuse(STEP("{\"s\": \"y\"}"), ERR_BLUEPRINT, "", "no input");
    must_refuse(STEP("[]"), ERR_JSON, "", "expected an object");
    arena_release(&arena);
}

static void test_canonical(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const char *one =
        "{\"format\": \"urza.blueprint/1\", \"dims\": {\"S\": {}, \"B\": {\"min\": 2, \"max\": 8}},"
        "\"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", \"S\"]}],"
        "\"id\": \"one\", \"tags\": [\"a\"], \"metadata\": {\"k\": 1}, \"version\": 3,"
        "\"nodes\": [], \"outputs\": [\"x\"], \"name\": \"n\"}";
    const char *two =
        "{\"outputs\":[\"x\"],\"name\":\"n\",\"nodes\":[],"
        "\"inputs\":[{\"shape\":[\"B\",\"S\"],\"dtype\":\"f32\",\"id\":\"x\"}],"
        "\"dims\":{\"B\":{\"max\":8,\"min\":2},\"S\":{}},\"format\":\"urza.blueprint/1\"}";
    struct blueprint a = must_read(&arena, one), b = must_read(&arena, two);
    assert_string_equal(a.json, b.json);
    assert_int_equal(a.json_bytes, strlen(a.json));
    assert_string_equal(graph_text(&a), graph_text(&b));
    assert_string_equal(a.graph.dims.names.items[0].name, "B"); /* in alphabetical order, not that
                                                                   of the document */
    assert_string_equal(a.graph.name, "n");
    struct blueprint again = must_read(&arena, a.json);
    assert_string_equal(again.json, a.json);
    arena_release(&arena);
}

static void test_results(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b = must_read(
        &arena, HEAD X
        "\"nodes\": [{\"id\": \"s\", \"op\": \"split\", \"in\": [\"x\"], \"out\": [\"low\"],"
        "\"attrs\": {\"split_size\": [1, 3], \"dim\": 1}}],"
        "\"outputs\": [\"s\", {\"name\": \"second\", \"value\": \"s.1\", \"shape\": [-1, 3]},"
        "{\"name\": \"first\", \"value\": \"low\", \"dtype\": \"float32\"}]}");
    assert_int_equal(b.graph.outputs.count, 3);
    assert_string_equal(output_type(&b, 0), "f32[B, 1]");
    assert_string_equal(output_type(&b, 1), "f32[B, 3]");
    assert_int_equal(b.graph.outputs.items[0].value, b.graph.outputs.items[2].value);
    assert_string_equal(b.graph.outputs.items[1].name, "second");
    arena_release(&arena);
    must_refuse(HEAD X "\"nodes\": [{\"id\": \"s\", \"op\": \"chunk\", \"in\": [\"x\"],"
                       "\"attrs\": {\"chunks\": 2, \"dim\": 1}}], \"outputs\": [\"s.2\"]}",
                ERR_BLUEPRINT, "output 's.2'", "'s' has no result 2, it has 2");
    must_refuse(
        NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"], \"out\": [\"a\", \"b\"]}"),
        ERR_BLUEPRINT, "node 'y'", "names 2 results");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"], \"out\": [\"x\"]}"),
                ERR_BLUEPRINT, "node 'y'", "'x' is taken");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"geluu\", \"in\": [\"x\"]}"), ERR_BLUEPRINT,
                "node 'y'", "unknown op 'geluu', the nearest is 'gelu'");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x.0\"]}"), ERR_BLUEPRINT,
                "node 'y', operand 0", "'x.0' is no input, param or node");
}

static void test_shapes(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b =
        must_read(&arena, HEAD
                  "\"inputs\": [{\"id\": \"none\", \"dtype\": \"f32\", \"shape\": []},"
                  "{\"id\": \"zero\", \"dtype\": \"f32\", \"shape\": [0, 3]},"
                  "{\"id\": \"big\", \"dtype\": \"u8\", \"shape\": [2147483648, 4]},"
                  "{\"id\": \"e\", \"dtype\": \"bf16\", \"shape\": [\"2*B + 1\", \" B \"]}],"
                  "\"nodes\": [{\"id\": \"a\", \"op\": \"relu\", \"in\": [\"none\"]},"
                  "{\"id\": \"b\", \"op\": \"sum\", \"in\": [\"zero\"], \"attrs\": {\"dim\": 0}}],"
                  "\"outputs\": [\"a\", \"b\", \"big\", \"e\"]}");
    assert_string_equal(output_type(&b, 0), "f32[]");
    assert_string_equal(output_type(&b, 1), "f32[3]");
    assert_string_equal(output_type(&b, 2), "u8[2147483648, 4]");
    assert_string_equal(output_type(&b, 3), "bf16[2*B + 1, B]");
    arena_release(&arena);
#define SHAPE(shape)                                                                 \
    HEAD "\"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": " shape "}], " \
         "\"nodes\": [], \"outputs\": [\"x\"]}"
    must_refuse(SHAPE("[-1]"), ERR_SHAPE, "input 'x', shape, dim 0", "found -1");
    must_refuse(SHAPE("[2.5]"), ERR_JSON, "input 'x', shape, dim 0", "a real number");
    must_refuse(SHAPE("[\"Q\"]"), ERR_BLUEPRINT, "input 'x', shape, dim 0, 'Q'", "Q");
    must_refuse(SHAPE("[\"B +\"]"), ERR_BLUEPRINT, "input 'x', shape, dim 0, 'B +'", "");
    must_refuse(SHAPE("[\"B B\"]"), ERR_BLUEPRINT, "input 'x', shape, dim 0", "behind");
    must_refuse(SHAPE("[2199023255552]"), ERR_LIMIT, "input 'x', shape, dim 0", "larger");
    must_refuse(SHAPE("[1,1,1,1,1,1,1,1,1]"), ERR_LIMIT, "input 'x'", "9 dims");
    must_refuse(SHAPE("[2147483648, 2147483648, 2147483648]"), ERR_LIMIT, "input 'x'", "");
    must_refuse(SHAPE("[2147483648, 2147483648]"), ERR_LIMIT, "input 'x'", "");
    must_refuse(SHAPE("[99999999999999999999]"), ERR_JSON, "line 1, column 128", "");
    must_refuse(SHAPE("3"), ERR_JSON, "input 'x'", "expected an array");
}

static void test_structure(void **state)
{
    (void)state;
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"frob\", \"in\": [\"x\"]}"), ERR_BLUEPRINT,
                "node 'y'", "unknown op 'frob'");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"inn\": [\"x\"]}"), ERR_JSON, "node 'y'",
                "unknown field 'inn'");
    must_refuse(NODES("{\"op\": \"relu\", \"in\": [\"x\"]}"), ERR_JSON, "nodes[0]",
                "'id' is missing");
    must_refuse(NODES("17"), ERR_JSON, "nodes[0]", "expected an object");
    must_refuse(NODES("{\"id\": \"\", \"op\": \"relu\"}"), ERR_BLUEPRINT, "nodes[0]", "empty");
    must_refuse(NODES("{\"id\": \"x\", \"op\": \"relu\", \"in\": [\"x\"]}"), ERR_BLUEPRINT,
                "node 'x'", "taken");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"z\"]}"), ERR_BLUEPRINT,
                "node 'y', operand 0", "'z' is no input, param or node");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [3]}"), ERR_JSON,
                "node 'y', operand 0", "an integer");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"add\", \"in\": [\"x\"]}"), ERR_BLUEPRINT,
                "node 'y'", "operand 'y'");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\", \"x\"]}"), ERR_BLUEPRINT,
                "node 'y'", "at most 1 operands");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"add\", \"in\": [\"x\", null]}"), ERR_BLUEPRINT,
                "node 'y'", "needs operand 'y'");
    must_refuse(NODES("{\"id\": \"a\", \"op\": \"relu\", \"in\": [\"x\"]}"), ERR_BLUEPRINT,
                "output 'y'", "'y' is no input, param or node");
    must_refuse(HEAD X "\"nodes\": [], \"outputs\": []}", ERR_BLUEPRINT, "", "no outputs");
    must_refuse(HEAD X "\"nodes\": [], \"outputs\": [\"x\", \"x\"]}", ERR_BLUEPRINT, "output 'x'",
                "taken");
    must_refuse(HEAD X "\"nodes\": [], \"outputs\": [{\"name\": \"o\"}]}", ERR_JSON, "output 'o'",
                "found nothing");
    must_refuse(HEAD X "\"nodes\": [], \"outputs\": [\"x\"], \"extra\": 1}", ERR_JSON, "",
                "unknown field 'extra'");
    must_refuse("{\"format\": \"urza.blueprint/2\"}", ERR_UNSUPPORTED, "", "urza.blueprint/1");
    must_refuse("{\"format\": 1}", ERR_JSON, "", "'format': expected a string");
    must_refuse(HEAD
                "\"inputs\": [{\"id\": \"x\", \"dtype\": \"f33\", \"shape\": []}], \"nodes\": [],"
                "\"outputs\": [\"x\"]}",
                ERR_BLUEPRINT, "input 'x'", "unknown dtype 'f33'");
    must_refuse("{\"format\": \"urza.blueprint/1\", \"dims\": {\"B\": {\"min\": 3, \"max\": 2}},"
                "\"inputs\": [], \"nodes\": [], \"outputs\": []}",
                ERR_BLUEPRINT, "dim 'B'", "range");
}

static void test_cycles(void **state)
{
    (void)state;
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"y\"]}"), ERR_BLUEPRINT,
                "node 'y'", "cycle through 'y'");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"a\"]},"
                      "{\"id\": \"a\", \"op\": \"relu\", \"in\": [\"b\"]},"
                      "{\"id\": \"b\", \"op\": \"add\", \"in\": [\"x\", \"a\"]}"),
                ERR_BLUEPRINT, "node 'b'", "cycle through 'a'");
}

static void test_attributes(void **state)
{
    (void)state;
#define SOFTMAX(attrs) \
    NODES("{\"id\": \"y\", \"op\": \"softmax\", \"in\": [\"x\"], \"attrs\": " attrs "}")
    must_refuse(SOFTMAX("{\"axis\": 1}"), ERR_BLUEPRINT, "node 'y', attribute 'axis'",
                "no such attribute");
    must_refuse(SOFTMAX("{\"dim\": 1.5}"), ERR_BLUEPRINT, "node 'y', attribute 'dim'",
                "expects int");
    must_refuse(SOFTMAX("{\"dim\": null}"), ERR_BLUEPRINT, "node 'y', attribute 'dim'",
                "found null");
    must_refuse(SOFTMAX("{\"dim\": [1, \"a\"]}"), ERR_BLUEPRINT, "node 'y', attribute 'dim'",
                "list");
    must_refuse(SOFTMAX("[1]"), ERR_JSON, "node 'y'", "'attrs': expected an object");
    must_refuse(SOFTMAX("{\"dim\": 7}"), ERR_SHAPE, "node 'y', attribute 'dim'", "axis 7");
    must_refuse(
        SOFTMAX("{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,"
                "\"k\":1,\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,\"q\":1}"),
        ERR_LIMIT, "node 'y'", "17 attributes");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"], \"shape\": [\"B\", 5]}"),
                ERR_SHAPE, "node 'y'", "the shape is [B, 4], the blueprint says [\"B\",5]");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"], \"in_shape\": [4]}"),
                ERR_SHAPE, "node 'y', operand 0", "the shape is [B, 4]");
    must_refuse(NODES("{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"], \"dtype\": \"f16\"}"),
                ERR_SHAPE, "node 'y'", "the dtype is f32, the blueprint says f16");
}

static void test_params(void **state)
{
    (void)state;
#define PARAM(fields) \
    HEAD X "\"params\": [{\"id\": \"w\", " fields "}], \"nodes\": [], \"outputs\": [\"x\"]}"
    must_refuse(PARAM("\"dtype\": \"f32\", \"shape\": [\"B\"]"), ERR_SHAPE, "param 'w'",
                "constant shape");
    must_refuse(PARAM("\"dtype\": \"f32\", \"shape\": [1], \"trainable\": true"), ERR_JSON,
                "param 'w'", "unknown field");
    must_refuse(PARAM("\"dtype\": \"f32\", \"shape\": [1], \"init\": {\"kind\": \"spiral\"}"),
                ERR_BLUEPRINT, "param 'w', init", "'spiral'");
    must_refuse(HEAD X
                "\"params\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": []}], \"nodes\": [],"
                "\"outputs\": [\"x\"]}",
                ERR_BLUEPRINT, "param 'x'", "taken");
}

/* In training, dropout takes its seed from an added input, each node another seed; in inference it
 * changes nothing. */
static void test_training(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const char *text =
        NODES("{\"id\": \"a\", \"op\": \"dropout\", \"in\": [\"x\"]},"
              "{\"id\": \"b\", \"op\": \"dropout\", \"in\": [\"x\"], \"attrs\": {\"p\": 0}},"
              "{\"id\": \"c\", \"op\": \"dropout\", \"in\": [\"x\"], \"attrs\": {\"p\": 0.5}},"
              "{\"id\": \"d\", \"op\": \"add\", \"in\": [\"a\", \"b\"]},"
              "{\"id\": \"y\", \"op\": \"add\", \"in\": [\"c\", \"d\"]}");
    struct import_options training = {.training = true};
    struct blueprint b = must_read(&arena, text), t = must_read_with(&arena, text, &training);
    assert_int_equal(b.graph.inputs.count, 1);
    assert_int_equal(t.graph.inputs.count, 2);
    assert_string_equal(graph_node(&t.graph, t.graph.inputs.items[1])->attrs->name, "seed");
    assert_string_equal(b.json, t.json);
    uint32_t randoms = 0;
    for (value_id id = 1; id < t.graph.nodes.count; id++)
        randoms += graph_node(&t.graph, id)->prim == PRIM_RANDOM;
    assert_int_equal(randoms, 2);
    arena_release(&arena);
}

/* A chain that recursion could not handle, in reverse order. */
static void test_deep(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct strbuf text;
    strbuf_init(&text, &arena);
    strbuf_puts(&text, HEAD X "\"nodes\": [");
    for (int i = 30000; i > 0; i--)
        strbuf_printf(&text, "{\"id\": \"n%d\", \"op\": \"neg\", \"in\": [\"%s%d\"]},", i, "n",
                      i - 1);
    strbuf_puts(&text,
                "{\"id\": \"n0\", \"op\": \"neg\", \"in\": [\"x\"]}], \"outputs\": [\"n30000\"]}");
    struct error err = {0};
    struct blueprint b;
    assert_true(blueprint_read(text.data, text.size_bytes, &test_options, &arena, &b, &err));
    assert_int_equal(b.graph.nodes.count, 30003);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_free), cmocka_unit_test(test_updates),
        cmocka_unit_test(test_canonical),     cmocka_unit_test(test_results),
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_cycles),        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_params),        cmocka_unit_test(test_training),
        cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
