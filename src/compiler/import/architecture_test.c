/* Architecture shorthands: what they expand to, and what is refused. */
#include "compiler/import/import_test_util.h"

#define ARCH(type, config) "{\"architecture\": {\"type\": \"" type "\", \"config\": " config "}}"

static void expect(const char *text, const char *in, const char *out, uint32_t params)
{
    struct arena arena;
    arena_init(&arena);
    struct blueprint b = must_read(&arena, text);
    struct strbuf shape;
    strbuf_init(&shape, &arena);
    const struct node *x = graph_node(&b.graph, b.graph.inputs.items[0]);
    for (uint32_t i = 0; i < x->rank; i++) {
        strbuf_puts(&shape, i > 0 ? ", " : "");
        dim_print(&b.graph.dims, x->shape[i], &shape);
    }
    assert_int_equal(b.graph.inputs.count, 1);
    assert_int_equal(b.graph.outputs.count, 1);
    assert_string_equal(x->attrs->name, "x");
    assert_string_equal(b.graph.outputs.items[0].name, "y");
    assert_string_equal(shape.data, in);
    assert_string_equal(output_type(&b, 0), out);
    assert_int_equal(b.graph.params.count, params);
    struct blueprint again = must_read(&arena, b.json);
    assert_string_equal(again.json, b.json);
    arena_release(&arena);
}

static void test_defaults(void **state)
{
    (void)state;
    expect("{\"architecture\": {\"type\": \"linear\"}}", "B, 128", "f32[B, 128]", 6);
    expect("{\"architecture\": {\"type\": \"conv\"}}", "B, 3, 32, 32", "f32[B, 256]", 18);
    expect("{\"architecture\": {\"type\": \"attention\"}}", "B, S, 256", "f32[B, S, 256]", 4);
    expect("{\"architecture\": {\"type\": \"custom\"}}", "B, 256", "f32[B, 256]", 8);
}

static void test_configs(void **state)
{
    (void)state;
    expect(ARCH("linear", "{\"input_size\": 4, \"hidden_sizes\": [], \"output_size\": 3}"), "B, 4",
           "f32[B, 3]", 2);
    expect(ARCH("linear", "{\"input_size\": 4, \"hidden_sizes\": [7, 6, 5], \"output_size\": 3, "
                          "\"activation\": \"tanh\", \"dropout\": 0.5}"),
           "B, 4", "f32[B, 3]", 8);
    expect(ARCH("conv", "{\"in_channels\": 1, \"out_channels\": [4, 8], \"kernel_sizes\": [5, 3], "
                        "\"strides\": [2, 1], \"paddings\": 2, \"activation\": \"gelu\", "
                        "\"pool_type\": \"avg\", \"pool_size\": 3, \"input_shape\": [1, 28, 30]}"),
           "B, 1, 28, 30", "f32[B, 8]", 12);
    expect(ARCH("attention", "{\"embed_dim\": 12, \"num_heads\": 3, \"dropout\": 0}"), "B, S, 12",
           "f32[B, S, 12]", 4);
    expect(ARCH("custom", "{\"dim\": 5, \"num_blocks\": 3}"), "B, 5", "f32[B, 5]", 12);
    expect(ARCH("custom", "{\"num_blocks\": 0}"), "B, 256", "f32[B, 256]", 0);
    expect(ARCH("custom",
                "{\"graph\": {\"nodes\": [{\"id\": \"x\", \"op_type\": \"input\", \"attributes\": "
                "{\"shape\": [2]}}, {\"id\": \"y\", \"op_type\": \"output\"}], "
                "\"edges\": [{\"source\": \"x\", \"target\": \"y\"}]}}"),
           "2", "f32[2]", 0);
    expect(ARCH("custom",
                "{\"graph\": {\"format\": \"urza.blueprint/1\", \"inputs\": [{\"id\": \"x\", "
                "\"dtype\": \"f32\", \"shape\": [2]}], \"nodes\": [], "
                "\"outputs\": [{\"name\": \"y\", \"value\": \"x\"}]}}"),
           "2", "f32[2]", 0);
}

static void test_meaning(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b =
        must_read(&arena, "{\"name\": \"mha\", \"architecture\": {\"type\": \"attention\"}}");
    assert_string_equal(b.graph.name, "mha");
    assert_int_equal(b.graph.dims.names.count, 2);
    assert_string_equal(b.graph.dims.names.items[0].name, "B");
    assert_int_equal(b.graph.dims.names.items[0].typical, 8);
    assert_string_equal(b.graph.dims.names.items[1].name, "S");
    assert_int_equal(b.graph.dims.names.items[1].typical, 16);

    struct blueprint custom = must_read(&arena, ARCH("custom", "{\"dim\": 5, \"num_blocks\": 1}"));
    struct blueprint spelled = must_read(
        &arena,
        "{\"format\": \"urza.blueprint/1\", \"dims\": {\"B\": {\"typical\": 8}}, \"inputs\": "
        "[{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 5]}], \"params\": ["
        "{\"id\": \"block1.fc1.weight\", \"dtype\": \"f32\", \"shape\": [5, 5]},"
        "{\"id\": \"block1.fc1.bias\", \"dtype\": \"f32\", \"shape\": [5]},"
        "{\"id\": \"block1.fc2.weight\", \"dtype\": \"f32\", \"shape\": [5, 5]},"
        "{\"id\": \"block1.fc2.bias\", \"dtype\": \"f32\", \"shape\": [5]}], \"nodes\": ["
        "{\"id\": \"a\", \"op\": \"linear\", \"in\": [\"x\", \"block1.fc1.weight\", "
        "\"block1.fc1.bias\"]},"
        "{\"id\": \"b\", \"op\": \"relu\", \"in\": [\"a\"]},"
        "{\"id\": \"c\", \"op\": \"linear\", \"in\": [\"b\", \"block1.fc2.weight\", "
        "\"block1.fc2.bias\"]},"
        "{\"id\": \"d\", \"op\": \"add\", \"in\": [\"c\", \"x\"]}],"
        "\"outputs\": [{\"name\": \"y\", \"value\": \"d\"}]}");
    assert_string_equal(graph_text(&custom), graph_text(&spelled));
    arena_release(&arena);
}

static void test_refused(void **state)
{
    (void)state;
    must_refuse(ARCH("rnn", "{}"), ERR_BLUEPRINT, "architecture", "unknown type 'rnn'");
    must_refuse("{\"architecture\": {}}", ERR_JSON, "architecture", "'type' is missing");
    must_refuse("{\"architecture\": 1}", ERR_JSON, "architecture", "expected an object");
    must_refuse("{\"architecture\": {\"type\": \"conv\"}, \"nodes\": []}", ERR_JSON, "",
                "unknown field 'nodes'");
    must_refuse(ARCH("linear", "[]"), ERR_JSON, "architecture", "'config': expected an object");
    must_refuse(ARCH("linear", "{\"hidden\": [3]}"), ERR_JSON, "architecture, config",
                "unknown field 'hidden'");
    must_refuse(ARCH("linear", "{\"hidden_sizes\": [3, 0]}"), ERR_BLUEPRINT,
                "architecture, config 'hidden_sizes'", "integers ≥ 1");
    must_refuse(ARCH("linear", "{\"activation\": \"silu\"}"), ERR_BLUEPRINT,
                "architecture, config 'activation'", "found silu");
    must_refuse(ARCH("linear", "{\"input_size\": \"4\"}"), ERR_BLUEPRINT,
                "architecture, config 'input_size'", "found a string");
    must_refuse(ARCH("linear", "{\"dropout\": \"4\"}"), ERR_BLUEPRINT,
                "architecture, config 'dropout'", "found a string");
    must_refuse(ARCH("linear", "{\"dropout\": 2}"), ERR_BLUEPRINT, "node 'drop1'", "");
    must_refuse(ARCH("conv", "{\"kernel_sizes\": [3, 3]}"), ERR_BLUEPRINT,
                "architecture, config 'kernel_sizes'", "2 items for 3 blocks");
    must_refuse(ARCH("conv", "{\"strides\": 1.5}"), ERR_BLUEPRINT, "architecture, config 'strides'",
                "a real number");
    must_refuse(ARCH("conv", "{\"input_shape\": [4, 32, 32]}"), ERR_BLUEPRINT,
                "architecture, config 'input_shape'", "[in_channels, height, width]");
    must_refuse(ARCH("conv", "{\"out_channels\": 5}"), ERR_BLUEPRINT,
                "architecture, config 'out_channels'", "a list");
    must_refuse(ARCH("conv", "{\"out_channels\": [4, 4, 4, 4, 4, 4]}"), ERR_SHAPE, "node 'pool6'",
                "");
    must_refuse(ARCH("attention", "{\"num_heads\": 7}"), ERR_BLUEPRINT,
                "architecture, node 'attn', attribute 'num_heads'", "divisor");
    must_refuse(ARCH("attention", "{\"num_heads\": 0}"), ERR_BLUEPRINT,
                "architecture, config 'num_heads'", "≥ 1");
    must_refuse(ARCH("custom", "{\"num_blocks\": 1000000}"), ERR_LIMIT,
                "architecture, config 'num_blocks'", "");
    must_refuse(ARCH("custom", "{\"graph\": {}, \"dim\": 4}"), ERR_JSON, "architecture",
                "unknown field 'dim'");
    must_refuse(ARCH("custom", "{\"graph\": {}}"), ERR_JSON, "architecture, config 'graph'",
                "'nodes'");
    must_refuse(ARCH("custom", "{\"graph\": {\"architecture\": {}}}"), ERR_JSON,
                "architecture, config 'graph'", "unknown field 'architecture'");
    must_refuse(ARCH("linear", "{\"graph\": {}}"), ERR_JSON, "architecture, config",
                "unknown field 'graph'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_meaning),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
