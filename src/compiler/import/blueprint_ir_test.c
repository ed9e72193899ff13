/* BlueprintIR: every op type, operands by edges, checks, and the place of each error. */
#include "compiler/import/import_test_util.h"

/* x → node → y */
#define ONE(input, node)                                                                     \
    "{\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": " input "}, " node \
    ", {\"id\": \"y\", \"op_type\": \"output\"}], \"edges\": ["                              \
    "{\"source\": \"x\", \"target\": \"n\"}, {\"source\": \"n\", \"target\": \"y\"}]}"
#define N(op, attributes) "{\"id\": \"n\", \"op_type\": \"" op "\", \"attributes\": " attributes "}"
#define ROW "{\"shape\": [-1, 8]}"
#define IMAGE "{\"shape\": [-1, 4, 6, 6]}"

static void expect(const char *text, const char *type, const char *params)
{
    struct arena arena;
    arena_init(&arena);
    struct blueprint b = must_read(&arena, text);
    struct strbuf names;
    strbuf_init(&names, &arena);
    for (uint32_t i = 0; i < b.graph.params.count; i++)
        strbuf_printf(&names, "%s%s", i > 0 ? " " : "", param_name(&b, i));
    assert_string_equal(b.graph.outputs.items[0].name, "y");
    assert_string_equal(output_type(&b, 0), type);
    assert_string_equal(names.data, params);
    struct blueprint again = must_read(&arena, b.json); /* the canonical native form reads as the
                                                           same graph */
    assert_string_equal(again.json, b.json);
    assert_string_equal(graph_text(&again), graph_text(&b));
    arena_release(&arena);
}

static void test_ops(void **state)
{
    (void)state;
    expect(ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": 3}")), "f32[B, 3]",
           "n.weight n.bias");
    expect(ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": 3, \"bias\": false}")),
           "f32[B, 3]", "n.weight");
    expect(ONE(IMAGE, N("conv2d", "{\"in_channels\": 4, \"out_channels\": 6, \"kernel_size\": 3}")),
           "f32[B, 6, 4, 4]", "n.weight n.bias");
    expect(ONE(IMAGE, N("conv2d",
                        "{\"in_channels\": 4, \"out_channels\": 6, \"kernel_size\": [3, 1], "
                        "\"stride\": [2, 1], \"padding\": [1, 0], \"dilation\": 1, \"groups\": 2, "
                        "\"bias\": false}")),
           "f32[B, 6, 3, 6]", "n.weight");
    static const char *const activations[] = {"relu",    "gelu",      "silu",        "tanh",
                                              "sigmoid", "hardswish", "hardsigmoid", "softmax"};
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        char text[512];
        snprintf(text, sizeof text, ONE(ROW, N("activation", "{\"type\": \"%s\"}")),
                 activations[i]);
        expect(text, "f32[B, 8]", "");
    }
    expect(ONE(ROW, N("activation", "{\"type\": \"softmax\", \"dim\": 0}")), "f32[B, 8]", "");
    expect(ONE(ROW, N("normalization", "{\"type\": \"layer_norm\", \"normalized_shape\": [8]}")),
           "f32[B, 8]", "n.weight n.bias");
    expect(ONE(ROW, N("layer_norm", "{\"normalized_shape\": 8, \"eps\": 0.1}")), "f32[B, 8]",
           "n.weight n.bias");
    expect(ONE(IMAGE, N("batch_norm", "{\"num_features\": 4, \"type\": \"batch_norm\"}")),
           "f32[B, 4, 6, 6]", "n.weight n.bias n.running_mean n.running_var");
    expect(ONE(IMAGE, N("normalization", "{\"type\": \"batch_norm\", \"num_features\": 4}")),
           "f32[B, 4, 6, 6]", "n.weight n.bias n.running_mean n.running_var");
    expect(ONE(IMAGE, N("pooling", "{\"type\": \"max\", \"kernel_size\": [3, 2]}")),
           "f32[B, 4, 2, 3]", "");
    expect(ONE(IMAGE, N("pooling",
                        "{\"type\": \"avg\", \"kernel_size\": 3, \"stride\": 1, \"padding\": 1}")),
           "f32[B, 4, 6, 6]", "");
    expect(ONE(IMAGE, N("pooling", "{\"type\": \"adaptive_avg_pool2d\", \"output_size\": [1, 2]}")),
           "f32[B, 4, 1, 2]", "");
    expect(ONE("{\"shape\": [-1, -1, 8]}", N("attention", "{\"embed_dim\": 8, \"num_heads\": 2}")),
           "f32[B, d1, 8]", "n.in_proj_weight n.in_proj_bias n.out_proj.weight n.out_proj.bias");
    expect(ONE("{\"shape\": [5, -1, 8]}",
               N("multi_head_attention", "{\"embed_dim\": 8, \"num_heads\": 2, \"bias\": false, "
                                         "\"batch_first\": false, \"dropout\": 0.5}")),
           "f32[5, d1, 8]", "n.in_proj_weight n.out_proj.weight");
    expect(ONE(ROW, N("dropout", "{\"p\": 0.1}")), "f32[B, 8]", "");
    expect(ONE(ROW, N("identity", "{}")), "f32[B, 8]", "");
    expect(ONE(IMAGE, N("flatten", "{}")), "f32[B, 144]", "");
    expect(ONE(IMAGE, N("flatten", "{\"start_dim\": 2, \"end_dim\": -1}")), "f32[B, 4, 36]", "");
    expect(ONE(ROW, N("concat", "{\"dim\": 1}")), "f32[B, 8]", "");
    expect(ONE(IMAGE, N("reduce", "{\"operation\": \"mean\", \"dim\": [2, 3]}")), "f32[B, 4]", "");
    expect(ONE(IMAGE, N("reduce", "{\"operation\": \"sum\", \"dim\": 1, \"keepdim\": true}")),
           "f32[B, 1, 6, 6]", "");
    expect(ONE(IMAGE, N("reduce", "{\"operation\": \"max\"}")), "f32[]", "");
    expect(ONE(IMAGE, N("reduce", "{\"operation\": \"std\", \"dim\": -1}")), "f32[B, 4, 6]", "");
    expect(ONE("{\"shape\": [-1], \"dtype\": \"int64\"}",
               N("embedding", "{\"num_embeddings\": 10, \"embedding_dim\": 3}")),
           "f32[B, 3]", "n.weight");
}

/* x and z are inputs; the edges give the operands of n. */
#define TWO(node, edges)                                                                           \
    "{\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": {\"shape\": [-1, 4]}}, " \
    "{\"id\": \"z\", \"op_type\": \"input\", \"attributes\": {\"shape\": [-1, 3]}}, " node         \
    ", {\"id\": \"y\", \"op_type\": \"output\"}], \"edges\": [" edges                              \
    "{\"source\": \"n\", \"target\": \"y\"}]}"
#define XN "{\"source\": \"x\", \"target\": \"n\"}, "
#define ZN "{\"source\": \"z\", \"target\": \"n\"}, "

/* Both texts must give the same graph. */
static void same(const char *a, const char *b)
{
    struct arena arena;
    arena_init(&arena);
    struct blueprint first = must_read(&arena, a), second = must_read(&arena, b);
    assert_string_equal(graph_text(&first), graph_text(&second));
    arena_release(&arena);
}

static void test_edges(void **state)
{
    (void)state;
    const char *cat = N("concat", "{\"dim\": -1}");
    char in_order[1024], by_port[1024], half[1024], turned[1024];
    const char *form = TWO("%s", "%s");
    snprintf(in_order, sizeof in_order, form, cat, XN ZN);
    snprintf(
        by_port, sizeof by_port, form, cat,
        "{\"source\": \"z\", \"target\": \"n\", \"port\": 1}, "
        "{\"source\": \"x\", \"target\": \"n\", \"port\": 0, \"connection_type\": \"residual\"}, ");
    snprintf(half, sizeof half, form, cat,
             ZN "{\"source\": \"x\", \"target\": \"n\", \"port\": 0}, ");
    snprintf(turned, sizeof turned, form, cat, ZN XN);
    same(in_order, by_port);
    same(in_order, half);
    struct arena arena;
    arena_init(&arena);
    struct blueprint a = must_read(&arena, in_order), b = must_read(&arena, turned);
    assert_string_not_equal(graph_text(&a), graph_text(&b));
    assert_string_equal(output_type(&a, 0), "f32[B, 7]");
    assert_int_equal(a.graph.dims.names.count, 1);
    arena_release(&arena);
    expect(TWO(N("multiply", "{}"), XN XN), "f32[B, 4]", "");

    must_refuse(TWO(N("add", "{}"), XN), ERR_BLUEPRINT, "node 'n'",
                "'add' needs 2 operands, 1 edges");
    must_refuse(TWO(N("ad", "{}"), XN), ERR_BLUEPRINT, "node 'n'", "the nearest is 'add'");
    must_refuse(TWO(N("add", "{}"), XN XN XN), ERR_BLUEPRINT, "edges[2]", "takes at most 2");
    must_refuse(TWO(N("add", "{}"), XN ZN), ERR_SHAPE, "node 'n'", "");
    must_refuse(TWO(N("attention", "{\"embed_dim\": 4, \"num_heads\": 1}"), XN XN), ERR_BLUEPRINT,
                "node 'n'", "2 edges");
    must_refuse(TWO(N("add", "{}"), XN "{\"source\": \"q\", \"target\": \"n\"}, "), ERR_BLUEPRINT,
                "edges[1]", "source 'q' is no node");
    must_refuse(TWO(N("add", "{}"), XN "{\"id\": \"e\", \"source\": \"x\", \"target\": \"q\"}, "),
                ERR_BLUEPRINT, "edge 'e'", "target 'q' is no node");
    must_refuse(TWO(N("add", "{}"), XN "{\"source\": \"x\", \"target\": \"z\"}, "), ERR_BLUEPRINT,
                "edges[1]", "'input' takes at most 0");
    must_refuse(TWO(N("add", "{}"), XN "{\"source\": \"y\", \"target\": \"n\"}, "), ERR_BLUEPRINT,
                "edges[1]", "'y' is an output");
    must_refuse(TWO(N("add", "{}"), "{\"source\": \"x\", \"target\": \"n\", \"port\": 1}, "
                                    "{\"source\": \"z\", \"target\": \"n\", \"port\": 1}, "),
                ERR_BLUEPRINT, "edges[1]", "port 1 of 'n' has two edges");
    must_refuse(
        TWO(N("concat", "{\"dim\": 1}"), "{\"source\": \"x\", \"target\": \"n\", \"port\": 1}, "),
        ERR_BLUEPRINT, "node 'n'", "no edge leads to port 0");
    must_refuse(
        TWO(N("concat", "{\"dim\": 1}"), "{\"source\": \"x\", \"target\": \"n\", \"port\": 64}, "),
        ERR_LIMIT, "edges[0]", "at most 64");
    must_refuse(TWO(N("add", "{}"), "{\"source\": \"x\", \"target\": \"n\", \"port\": -1}, "),
                ERR_BLUEPRINT, "edges[0]", "port -1");
    must_refuse(TWO(N("add", "{}"), XN "{\"source\": \"x\", \"target\": \"n\", \"weight\": 1}, "),
                ERR_JSON, "edges[1]", "unknown field 'weight'");
    must_refuse(TWO(N("add", "{}"),
                    XN "{\"source\": \"x\", \"target\": \"n\", \"connection_type\": \"skip\"}, "),
                ERR_BLUEPRINT, "edges[1]", "'skip'");
    must_refuse(TWO(N("identity", "{}"), XN) "x", ERR_JSON, "line 1, column 309", "");
}

static void test_attributes(void **state)
{
    (void)state;
    must_refuse(ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": 3, \"bias\": 1}")),
                ERR_BLUEPRINT, "node 'n', attribute 'bias'", "found 1, expected true or false");
    must_refuse(ONE(ROW, N("linear", "{\"in_features\": 8}")), ERR_BLUEPRINT,
                "node 'n', attribute 'out_features'", "is missing");
    must_refuse(ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": -3}")), ERR_BLUEPRINT,
                "node 'n', attribute 'out_features'", "found -3");
    must_refuse(
        ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": 3, \"biased\": true}")),
        ERR_BLUEPRINT, "node 'n', attribute 'biased'", "no such attribute");
    must_refuse(
        ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": 3, \"in_features bias\": 1}")),
        ERR_BLUEPRINT, "node 'n', attribute 'in_features bias'", "no such attribute");
    must_refuse(ONE(ROW, N("linear", "{\"in_features\": 9, \"out_features\": 3}")), ERR_SHAPE,
                "node 'n'", "");
    must_refuse(ONE(ROW, N("linear", "{\"in_features\": 8, \"out_features\": 99999999999999}")),
                ERR_LIMIT, "node 'n', attribute 'out_features'", "at most");
    must_refuse(
        ONE(ROW, N("linear", "{\"in_features\": 1099511627776, \"out_features\": 1099511627776}")),
        ERR_LIMIT, "param 'n.weight'", "");
    must_refuse(ONE(ROW, N("activation", "{\"type\": \"swoosh\"}")), ERR_BLUEPRINT,
                "node 'n', attribute 'type'", "found 'swoosh'");
    must_refuse(ONE(ROW, N("activation", "{}")), ERR_BLUEPRINT, "node 'n', attribute 'type'",
                "missing");
    must_refuse(ONE(ROW, N("activation", "{\"type\": \"relu\", \"dim\": 1}")), ERR_BLUEPRINT,
                "node 'n', attribute 'dim'", "softmax");
    must_refuse(
        ONE(IMAGE, N("conv2d", "{\"in_channels\": 4, \"out_channels\": 6, \"kernel_size\": [3]}")),
        ERR_BLUEPRINT, "node 'n', attribute 'kernel_size'", "a list of two");
    must_refuse(
        ONE(IMAGE, N("conv2d", "{\"in_channels\": 4, \"out_channels\": 6, \"kernel_size\": 3, "
                               "\"groups\": 4}")),
        ERR_BLUEPRINT, "node 'n', attribute 'groups'", "divisor");
    must_refuse(
        ONE(IMAGE, N("conv2d", "{\"in_channels\": 4, \"out_channels\": 6, \"kernel_size\": 9}")),
        ERR_SHAPE, "node 'n'", "");
    must_refuse(ONE(ROW, N("layer_norm", "{\"num_features\": 8}")), ERR_BLUEPRINT,
                "node 'n', attribute 'num_features'", "batch_norm");
    must_refuse(ONE(ROW, N("layer_norm", "{\"type\": \"batch_norm\", \"normalized_shape\": 8}")),
                ERR_BLUEPRINT, "node 'n', attribute 'type'", "expected layer_norm");
    must_refuse(ONE(ROW, N("layer_norm", "{\"normalized_shape\": [\"a\"]}")), ERR_BLUEPRINT,
                "node 'n', attribute 'normalized_shape'", "integers");
    must_refuse(ONE(ROW, N("layer_norm", "{\"normalized_shape\": 7}")), ERR_SHAPE,
                "node 'n', attribute 'normalized_shape'", "8, not 7");
    must_refuse(ONE(IMAGE, N("pooling", "{\"type\": \"adaptive_avg_pool2d\", \"output_size\": 1, "
                                        "\"stride\": 1}")),
                ERR_BLUEPRINT, "node 'n', attribute 'stride'", "output_size");
    must_refuse(ONE(ROW, N("attention", "{\"embed_dim\": 8, \"num_heads\": 3}")), ERR_BLUEPRINT,
                "node 'n', attribute 'num_heads'", "divisor");
    must_refuse(ONE(ROW, N("reduce", "{\"operation\": \"median\"}")), ERR_BLUEPRINT,
                "node 'n', attribute 'operation'", "'median'");
    must_refuse(ONE(ROW, N("concat", "{}")), ERR_BLUEPRINT, "node 'n', attribute 'dim'", "missing");
    must_refuse(ONE(ROW, N("dropout", "{\"p\": \"a\"}")), ERR_BLUEPRINT, "node 'n', attribute 'p'",
                "float");
    must_refuse(ONE("{}", N("identity", "{}")), ERR_BLUEPRINT, "node 'x', attribute 'shape'",
                "missing");
    must_refuse(ONE("{\"shape\": [-2]}", N("identity", "{}")), ERR_BLUEPRINT,
                "node 'x', attribute 'shape'", "found -2");
    must_refuse(ONE("{\"shape\": [1,1,1,1,1,1,1,1,1]}", N("identity", "{}")), ERR_LIMIT,
                "node 'x', attribute 'shape'", "9 dims");
    must_refuse(ONE("{\"shape\": [1], \"dtype\": \"f31\"}", N("identity", "{}")), ERR_BLUEPRINT,
                "node 'x', attribute 'dtype'", "'f31'");
}

static void test_structure(void **state)
{
    (void)state;
    must_refuse(ONE(ROW, N("transmogrify", "{}")), ERR_BLUEPRINT, "node 'n'",
                "unknown op_type 'transmogrify'");
    must_refuse(ONE(ROW, "{\"id\": \"n\", \"op_type\": \"identity\", \"attrs\": {}}"), ERR_JSON,
                "node 'n'", "unknown field 'attrs'");
    must_refuse(ONE(ROW, "{\"id\": \"x\", \"op_type\": \"identity\"}"), ERR_BLUEPRINT, "node 'x'",
                "taken");
    must_refuse(ONE(ROW, "{\"op_type\": \"identity\"}"), ERR_JSON, "nodes[1]", "'id' is missing");
    must_refuse("{\"nodes\": [], \"edges\": []}", ERR_BLUEPRINT, "", "no node has op_type output");
    must_refuse("{\"nodes\": []}", ERR_JSON, "", "'edges' is missing");
    must_refuse("{\"nodes\": {}, \"edges\": []}", ERR_JSON, "", "'nodes': expected an array");
    must_refuse("{\"nodes\": [], \"edges\": [], \"tags\": [1]}", ERR_JSON, "", "tags");
    must_refuse("{\"nodes\": [], \"edges\": [], \"author\": 1}", ERR_JSON, "",
                "unknown field 'author'");
    must_refuse("{\"nodes\": [{\"id\": \"y\", \"op_type\": \"output\"}, {\"id\": \"a\", "
                "\"op_type\": \"identity\"},"
                "{\"id\": \"b\", \"op_type\": \"identity\"}], \"edges\": ["
                "{\"source\": \"a\", \"target\": \"b\"}, {\"source\": \"b\", \"target\": \"a\"},"
                "{\"source\": \"b\", \"target\": \"y\"}]}",
                ERR_BLUEPRINT, "node 'b'", "cycle through 'a'");
    struct arena arena;
    struct strbuf text;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    strbuf_puts(&text, "{\"edges\": [], \"nodes\": [0");
    for (int i = 0; i < LIMIT_NODES; i++)
        strbuf_puts(&text, ",0");
    strbuf_puts(&text, "]}");
    must_refuse(text.data, ERR_LIMIT, "", "1048577 nodes");
    arena_release(&arena);
}

static void test_said_shapes(void **state)
{
    (void)state;
#define SAID(in, out)                                                                \
    "{\"id\": \"n\", \"op_type\": \"linear\", \"attributes\": {\"in_features\": 8, " \
    "\"out_features\": 3}, \"input_shape\": " in ", \"output_shape\": " out "}"
    expect(ONE(ROW, SAID("[-1, 8]", "[-1, 3]")), "f32[B, 3]", "n.weight n.bias");
    expect(ONE("{\"shape\": [5, 8]}", SAID("[-1, 8]", "[5, 3]")), "f32[5, 3]", "n.weight n.bias");
    must_refuse(ONE(ROW, SAID("[-1, 8]", "[-1, 4]")), ERR_SHAPE, "node 'n'",
                "[B, 3], the blueprint says [-1,4]");
    must_refuse(ONE(ROW, SAID("[-1]", "[-1, 3]")), ERR_SHAPE, "node 'n', operand 0", "[B, 8]");
    must_refuse(ONE(ROW, SAID("[-1, 8]", "[2, 3]")), ERR_SHAPE, "node 'n'", "[B, 3]");
    must_refuse(ONE(ROW, SAID("\"any\"", "[2, 3]")), ERR_JSON, "node 'n'", "'input_shape'");
    must_refuse(
        "{\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": {\"shape\": [4]}, "
        "\"output_shape\": [5]}], \"edges\": []}",
        ERR_SHAPE, "node 'x'", "differ");
    must_refuse(
        "{\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": {\"shape\": [4]}}, "
        "{\"id\": \"y\", \"op_type\": \"output\", \"output_shape\": [5]}], "
        "\"edges\": [{\"source\": \"x\", \"target\": \"y\"}]}",
        ERR_SHAPE, "output 'y'", "[4]");
}

static void test_dtypes(void **state)
{
    (void)state;
#define LINEAR(more)                                                                 \
    "{\"id\": \"n\", \"op_type\": \"linear\", \"attributes\": {\"in_features\": 8, " \
    "\"out_features\": 3}, \"precision\": " more "}"
    expect(ONE(ROW, LINEAR("\"float32\"")), "f32[B, 3]", "n.weight n.bias");
    expect(ONE(ROW, LINEAR("\"fp16\"")), "f16[B, 3]", "n.weight n.bias");
    expect(ONE("{\"shape\": [-1, 8], \"dtype\": \"bfloat16\"}",
               N("linear", "{\"in_features\": 8, \"out_features\": 3}")),
           "bf16[B, 3]", "n.weight n.bias");
    must_refuse(ONE(ROW, LINEAR("\"float31\"")), ERR_BLUEPRINT, "node 'n'",
                "unknown dtype 'float31'");
    must_refuse(ONE(ROW, LINEAR("\"int8\"")), ERR_UNSUPPORTED, "node 'n'", "int8");
    must_refuse(ONE(ROW, LINEAR("8")), ERR_JSON, "node 'n'", "'precision': expected a string");
    must_refuse(
        TWO(N("identity", "{}"), "{\"source\": \"x\", \"target\": \"n\", \"dtype\": \"f16\"}, "),
        ERR_SHAPE, "node 'x'", "edges[0] says f16");
    must_refuse(
        "{\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": {\"shape\": [4]}}, "
        "{\"id\": \"n\", \"op_type\": \"identity\"}, {\"id\": \"y\", \"op_type\": \"output\"}], "
        "\"edges\": [{\"source\": \"x\", \"target\": \"n\", \"dtype\": \"float32\"}, "
        "{\"source\": \"n\", \"target\": \"y\", \"dtype\": \"i64\"}]}",
        ERR_SHAPE, "node 'n'", "the dtype is f32, the blueprint says i64");
}

/* The sides of an image of dynamic size become at least as large as its windows. */
static void test_dynamic_sides(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b = must_read(
        &arena, ONE("{\"shape\": [-1, 4, -1, -1]}",
                    N("conv2d", "{\"in_channels\": 4, \"out_channels\": 6, \"kernel_size\": 3}")));
    assert_string_equal(output_type(&b, 0), "f32[B, 6, d2 - 2, d3 - 2]");
    assert_int_equal(b.graph.dims.names.items[0].min, 1);
    assert_int_equal(b.graph.dims.names.items[1].min, 3);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),           cmocka_unit_test(test_edges),
        cmocka_unit_test(test_attributes),    cmocka_unit_test(test_structure),
        cmocka_unit_test(test_said_shapes),   cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_dynamic_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
