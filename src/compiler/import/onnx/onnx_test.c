/* Models built with the packer generated from the schema: names, dims, folding, refusals, external
 * data, and invalid files. What each op computes is tested in tests/onnx_test.c. */
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/import/onnx/onnx_kit_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <onnx.pb-c.h>
#include <cmocka.h>

/* x[batch, seq 1, 12] → [batch, seq 1, 3, 4], with a shape computed by Shape, Gather and Concat. */
static void folds_shapes(void **state)
{
    struct model *m = *state;
    static const int64_t zero[] = {0, 1}, heads[] = {3, -1};
    add_input(m, "x", 1, (const char *const[]){"batch", "seq 1", "12", NULL});
    add_initializer(m, "zero", 7, 2, zero, sizeof zero);
    add_initializer(m, "heads", 7, 2, heads, sizeof heads);
    add_node(m, "Shape", "x", NULL, "shape");
    add_node(m, "Gather", "shape", "zero", "rows");
    add_int(m, add_node(m, "Concat", "rows", "heads", "target"), "axis", 0);
    add_node(m, "Reshape", "x", "target", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "batch,seq_1,3,4");
    assert_int_equal(m->blueprint.graph.params.count, 0);
}

static void dims_have_names_and_ranges(void **state)
{
    struct model *m = *state;
    struct dim_name dims[] = {{.name = "n", .min = 3, .max = 3, .multiple_of = 1},
                              {.name = "d1", .min = 2, .max = 9, .multiple_of = 1}};
    add_input(m, "x", 1, (const char *const[]){"n", "?", "2*k", NULL});
    add_node(m, "Relu", "x", NULL, "y");
    add_output(m, "y");
    m->options.dims = dims;
    m->options.dim_count = 2;
    assert_true(read_model(m));
    assert_shape(m, "3,d1,d2_k");
    assert_int_equal(m->blueprint.graph.dims.names.items[0].max, 9);
}

static void initializers_become_params(void **state)
{
    struct model *m = *state;
    static const float data[] = {1, 2, 3};
    struct package_param found;
    add_input(m, "x", 1, (const char *const[]){"3", NULL});
    add_initializer(m, "w", 1, 3, data, sizeof data);
    add_node(m, "Mul", "x", "w", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.graph.params.count, 1);
    assert_true(blueprint_param_data(&m->blueprint, 0, NULL, &m->arena, &found, &m->err));
    assert_int_equal(found.data_bytes, sizeof data);
    assert_memory_equal(found.data, data, sizeof data);
    m->initializers[0]->dims[0] = 4;
    assert_refused(m, ERR_PARSE, "bytes");
    m->initializers[0]->dims[0] = INT64_MAX / 2;
    assert_refused(m, ERR_LIMIT, "bytes");
    m->initializers[0]->dims[0] = -1;
    assert_refused(m, ERR_SHAPE, "-1");
}

static void given_inputs_become_constants(void **state)
{
    struct model *m = *state;
    static const int64_t shape[] = {2, 3};
    struct import_tensor fixed = {.name = "shape",
                                  .dtype = DTYPE_I64,
                                  .rank = 1,
                                  .shape = {2},
                                  .data = shape,
                                  .bytes = sizeof shape};
    add_input(m, "x", 1, (const char *const[]){"6", NULL});
    add_input(m, "shape", 7, (const char *const[]){"2", NULL});
    add_node(m, "Reshape", "x", "shape", "y");
    add_output(m, "y");
    assert_refused(m, ERR_UNSUPPORTED, "not known at compile time");
    m->options.fixed = &fixed;
    m->options.fixed_count = 1;
    assert_true(read_model(m));
    assert_shape(m, "2,3");
    assert_int_equal(m->blueprint.graph.inputs.count, 1);
}

/* An initialiser that is an input too has a default value, which a call cannot change here. */
static void defaults_are_told(void **state)
{
    struct model *m = *state;
    static const float data[] = {1, 2, 3}, other[] = {7, 8};
    struct import_tensor fixed = {.name = "w",
                                  .dtype = DTYPE_F32,
                                  .rank = 1,
                                  .shape = {2},
                                  .data = other,
                                  .bytes = sizeof other};
    add_input(m, "x", 1, (const char *const[]){"n", "1", NULL});
    add_input(m, "w", 1, (const char *const[]){"k", NULL});
    add_initializer(m, "w", 1, 3, data, sizeof data);
    add_node(m, "Add", "x", "w", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "n,3");
    assert_int_equal(m->blueprint.graph.inputs.count, 1);
    assert_non_null(strstr(m->blueprint.warnings, "input 'w' keeps its value"));
    assert_int_equal(strlen(m->blueprint.warnings) + 1, m->blueprint.warnings_bytes);
    m->options.fixed = &fixed;
    m->options.fixed_count = 1;
    assert_true(read_model(m));
    assert_shape(m, "n,2");
    assert_int_equal(m->blueprint.warnings_bytes, 0);
    m->options.fixed_count = 0;
    m->proto->ir_version = 3;
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.warnings_bytes, 0);
    m->inputs[0]->name = (char *)"v";
    m->inputs[1]->name = (char *)"v";
    assert_refused(m, ERR_BLUEPRINT, "taken");
}

/* One message has all reasons; what depends on a refused node gives no further reason. */
static void lists_all_refusals(void **state)
{
    struct model *m = *state;
    add_input(m, "x", 1, (const char *const[]){"3", NULL});
    add_node(m, "Sparkle", "x", NULL, "a");
    add_node(m, "Sparkle", "x", NULL, "b");
    add_node(m, "Relu", "a", NULL, "c");
    add_int(m, add_node(m, "Relu", "x", NULL, "d"), "leak", 1);
    add_output(m, "c");
    assert_refused(m, ERR_UNSUPPORTED,
                   "Sparkle 'a' (2 times): no such op; Relu 'd': attribute 'leak'");
    m->opset->version = ONNX_NEWEST_OPSET + 1;
    assert_refused(m, ERR_UNSUPPORTED, "opset 29");
}

static void refuses_bad_names(void **state)
{
    struct model *m = *state;
    add_input(m, "x", 1, (const char *const[]){"3", NULL});
    Onnx__NodeProto *node = add_node(m, "Relu", "x", NULL, "y");
    add_output(m, "y");
    node->output[0] = (char *)"x";
    assert_refused(m, ERR_BLUEPRINT, "taken");
    node->output[0] = (char *)"\xff";
    assert_refused(m, ERR_PARSE, "UTF-8");
    node->output[0] = (char *)"z";
    assert_refused(m, ERR_BLUEPRINT, "output 'y'");
    node->input[0] = (char *)"nowhere";
    assert_refused(m, ERR_BLUEPRINT, "'nowhere'");
}

static char *name_of(struct model *m, char letter, size_t bytes)
{
    char *name = arena_alloc(&m->arena, bytes + 1, 1);
    memset(name, letter, bytes);
    name[bytes] = '\0';
    return name;
}

/* Names of inputs, params, outputs and nodes, also after reading the native form. */
static void names_may_be_long(void **state)
{
    struct model *m = *state;
    static const float data[] = {1, 2, 3};
    static const size_t sizes[] = {256, 257, 4096, 100000};
    struct import_options options = {.seed = 0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct blueprint again;
        char *x = name_of(m, 'x', sizes[i]), *w = name_of(m, 'w', sizes[i]),
             *y = name_of(m, '"', sizes[i]), *v = name_of(m, '\n', sizes[i]);
        start_over(m);
        add_input(m, x, 1, (const char *const[]){"3", NULL});
        add_initializer(m, w, 1, 3, data, sizeof data);
        add_node(m, "Mul", x, w, v)->name = name_of(m, 'n', sizes[i]);
        add_node(m, "Relu", v, NULL, y)->name = name_of(m, 'n', sizes[i]);
        add_output(m, y);
        assert_true(read_model(m));
        assert_true(blueprint_read(m->blueprint.json, m->blueprint.json_bytes, &options, &m->arena,
                                   &again, &m->err));
        assert_string_equal(graph_node(&again.graph, again.graph.inputs.items[0])->attrs->name, x);
        assert_string_equal(graph_node(&again.graph, again.graph.params.items[0])->attrs->name, w);
        assert_string_equal(again.graph.outputs.items[0].name, y);
        add_int(m, m->nodes[1], name_of(m, 'a', sizes[i]), 1);
        assert_refused(m, ERR_UNSUPPORTED, "': attribute 'aaaa");
        m->nodes[1]->op_type = name_of(m, 'o', sizes[i]);
        assert_refused(m, ERR_UNSUPPORTED, "': no such op");
    }
}

/* A name with a zero byte is refused: C would read it as another name. */
static void names_hold_no_zero_byte(void **state)
{
    struct model *m = *state;
    size_t size;
    add_input(m, "x", 1, (const char *const[]){"3", NULL});
    add_node(m, "Relu", "x", NULL, "y")->doc_string = (char *)"#";
    add_output(m, "y");
    m->outputs[0]->doc_string = (char *)"Q";
    uint8_t *bytes = pack(m, &size);
    *(uint8_t *)memchr(bytes, 'Q', size) = 0;
    assert_true(read_bytes(m, bytes, size));
    m->outputs[0]->name = (char *)"yQ";
    m->outputs[0]->doc_string = NULL;
    bytes = pack(m, &size);
    *(uint8_t *)memchr(bytes, 'Q', size) = 0;
    assert_false(read_bytes(m, bytes, size));
    assert_int_equal(m->err.code, ERR_PARSE);
    assert_non_null(strstr(m->err.message, "zero byte"));
}

/* Two names that become the same legal name, or have the same first 256 bytes, are two dims. */
static void dims_stay_apart(void **state)
{
    struct model *m = *state;
    char *long_a = name_of(m, 'a', 1000), *long_b = name_of(m, 'a', 1000);
    long_b[999] = 'b';
    add_input(m, "x", 1, (const char *const[]){"a b", "a_b", "a b", "?", "d1", NULL});
    add_node(m, "Relu", "x", NULL, "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "a_b,a_b_2,a_b,d2,d1");
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){long_a, long_b, long_a, NULL});
    add_node(m, "Relu", "x", NULL, "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.graph.dims.names.count, 2);
}

/* Only the dim that decides a product is restricted; equal dims may be declared in any order, and a
 * caller may use the name in the file. */
static void restricts_what_decides(void **state)
{
    struct model *m = *state;
    const int64_t heads[] = {0, 0, 2, 4}, windows[] = {0, -1, 7, 3};
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){"n", "t", "d", NULL});
    add_initializer(m, "shape", 7, 4, heads, sizeof heads);
    add_node(m, "Reshape", "x", "shape", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "n,t,2,4");
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){"n", "h", "3", NULL});
    add_initializer(m, "shape", 7, 4, windows, sizeof windows);
    add_node(m, "Reshape", "x", "shape", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "n,h//7,7,3");
    assert_int_equal(m->blueprint.graph.dims.names.items[0].multiple_of, 1);
    start_over(m);
    add_input(m, "mask", 1, (const char *const[]){"T", NULL});
    add_input(m, "past", 1, (const char *const[]){"P", NULL});
    add_input(m, "now", 1, (const char *const[]){"S", NULL});
    add_node(m, "Concat", "past", "now", "all");
    add_int(m, m->nodes[0], "axis", 0);
    add_node(m, "Add", "mask", "all", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "P + S");
}

/* Known indices, and positions that are ranges, restrict the dim that they index. */
static void indices_bound_dims(void **state)
{
    struct model *m = *state;
    static const int64_t indices[][2] = {{0, 7}, {-2, -5}}, number[] = {0, 1};
    static const int64_t least[] = {8, 5};
    static const float table[20] = {0};
    static char *range[] = {"zero", "length", "one"};
    for (uint32_t i = 0; i < 2; i++) {
        start_over(m);
        add_input(m, "x", 1, (const char *const[]){"t", NULL});
        add_initializer(m, "i", 7, 2, indices[i], sizeof indices[i]);
        add_node(m, "Gather", "x", "i", "y");
        add_output(m, "y");
        assert_true(read_model(m));
        assert_int_equal(m->blueprint.graph.dims.names.items[0].min, least[i]);
    }
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){"t", NULL});
    add_initializer(m, "table", 1, 20, table, sizeof table);
    add_initializer(m, "zero", 7, 1, &number[0], sizeof number[0]);
    add_initializer(m, "one", 7, 1, &number[1], sizeof number[1]);
    add_node(m, "Shape", "x", NULL, "length");
    Onnx__NodeProto *node = add_node(m, "Range", "zero", "length", "i");
    node->input = range;
    node->n_input = 3;
    add_node(m, "Gather", "table", "i", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.graph.dims.names.items[0].max, 20);
    start_over(m); /* for a constant dim it is an error */
    add_input(m, "x", 1, (const char *const[]){"7", NULL});
    add_initializer(m, "i", 7, 2, indices[0], sizeof indices[0]);
    add_node(m, "Gather", "x", "i", "y");
    add_output(m, "y");
    assert_refused(m, ERR_SHAPE, "beyond the dim");
}

/* Without axes: a dim that may be 1 becomes 1, or ≥ 2 if the stated rank requires it. */
static void squeeze_settles_ones(void **state)
{
    struct model *m = *state;
    for (int stated = 0; stated < 2; stated++) {
        start_over(m);
        add_input(m, "x", 1, (const char *const[]){"batch", "1", "2", NULL});
        add_input(m, "like", 1, (const char *const[]){"3", "2", NULL});
        add_node(m, "Squeeze", "x", NULL, "y");
        add_output(m, "y");
        if (stated)
            m->outputs[0]->type = m->inputs[1]->type;
        assert_true(read_model(m));
        assert_shape(m, stated ? "batch,2" : "2");
        assert_non_null(strstr(m->blueprint.warnings,
                               stated ? "'batch' is restricted: at least 2: Squeeze 'y': without "
                                        "axes dims of 1 go: dim 0 is taken for more and stays, by "
                                        "the stated rank; --dim batch=1 lets it go"
                                      : "'batch' is restricted: exactly 1: Squeeze 'y': without "
                                        "axes dims of 1 go: dim 0 is taken for 1 and goes; --dim "
                                        "batch=SIZE keeps it"));
        if (stated)
            assert_int_equal(m->blueprint.graph.dims.names.items[0].min, 2);
    }
}

static void reads_external_data(void **state)
{
    struct model *m = *state;
    static const float data[] = {7, 8, 9, 10};
    char folder[] = "/tmp/urza-onnx-XXXXXX", path[64];
    Onnx__StringStringEntryProto where, offset, *entries[] = {&where, &offset};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/w.bin", folder);
    assert_true(file_write_atomic(path, data, sizeof data, 0644, &m->err));
    onnx__string_string_entry_proto__init(&where);
    onnx__string_string_entry_proto__init(&offset);
    where.key = (char *)"location";
    where.value = (char *)"w.bin";
    offset.key = (char *)"offset";
    offset.value = (char *)"4";
    add_input(m, "x", 1, (const char *const[]){"3", NULL});
    Onnx__TensorProto *w = add_initializer(m, "w", 1, 3, NULL, 0);
    w->has_raw_data = 0;
    w->has_data_location = 1;
    w->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    w->n_external_data = 2;
    w->external_data = entries;
    add_node(m, "Mul", "x", "w", "y");
    add_output(m, "y");
    assert_refused(m, ERR_IO, "folder");
    m->options.folder = folder;
    assert_true(read_model(m));
    assert_memory_equal(m->blueprint.inits[0].data, data + 1, 3 * sizeof *data);
    offset.value = (char *)"8";
    assert_refused(m, ERR_PARSE, "ends before");
    offset.value = (char *)"-4";
    assert_refused(m, ERR_PARSE, "offset");
    where.value = (char *)"../w.bin";
    assert_refused(m, ERR_BLUEPRINT, "does not lie below");
    where.value = (char *)"w.bin";
    offset.value = (char *)"4";
    unlink(path);
    assert_int_equal(symlink("/proc/self/cmdline", path), 0);
    assert_refused(m, ERR_BLUEPRINT, "leads out of the folder");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* no process writes to it: opening must not wait */
    assert_refused(m, ERR_IO, "not a regular file");
    unlink(path);
    rmdir(folder);
}

/* local.Mine(x) = Flatten(x, axis), where axis is the caller's attribute a. */
static void opens_functions(void **state)
{
    struct model *m = *state;
    Onnx__FunctionProto function, *functions[] = {&function};
    Onnx__AttributeProto axis, *attrs[] = {&axis};
    Onnx__NodeProto body, *nodes[] = {&body};
    char *in[] = {(char *)"p"}, *out[] = {(char *)"q"};
    onnx__function_proto__init(&function);
    onnx__attribute_proto__init(&axis);
    onnx__node_proto__init(&body);
    axis.name = (char *)"axis";
    axis.ref_attr_name = (char *)"a";
    axis.has_type = 1;
    axis.type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    body.op_type = (char *)"Flatten";
    body.n_input = body.n_output = body.n_attribute = 1;
    body.input = function.input = in;
    body.output = function.output = out;
    body.attribute = attrs;
    function.name = (char *)"Mine";
    function.domain = (char *)"local";
    function.n_input = function.n_output = function.n_node = 1;
    function.node = nodes;
    m->proto->n_functions = 1;
    m->proto->functions = functions;
    add_input(m, "x", 1, (const char *const[]){"2", "3", "4", NULL});
    Onnx__NodeProto *call = add_node(m, "Mine", "x", NULL, "y");
    call->domain = (char *)"local";
    add_int(m, call, "a", 2);
    add_output(m, "y");
    assert_true(read_model(m));
    assert_shape(m, "6,4");
    in[0] = (char *)"elsewhere"; /* the body does not see the caller's names */
    assert_true(read_model(m));
    body.input = (char *[]){(char *)"x"};
    assert_refused(m, ERR_BLUEPRINT, "'x'");
    /* A function that calls itself. */
    body.input = function.input;
    body.op_type = (char *)"Mine";
    body.domain = (char *)"local";
    assert_refused(m, ERR_LIMIT, "deep");
}

/* The node names in the origin of output 0: "a b". */
static const char *nodes_of_output(struct model *m)
{
    const struct graph *graph = &m->blueprint.graph;
    struct origin_set set;
    struct strbuf out;
    origin_set_init(&set, graph, &m->arena);
    strbuf_init(&out, &m->arena);
    origin_set_add(&set, graph_node(graph, graph->outputs.items[0].value)->origin);
    for (uint32_t i = 0; i < set.names.count; i++)
        strbuf_printf(&out, "%s%s", i > 0 ? " " : "", set.names.items[i]);
    return out.data;
}

/* A node's name, otherwise that of its first result; in bodies with the outer node's in front. */
static void values_know_their_nodes(void **state)
{
    struct model *m = *state;
    static const uint8_t truth[] = {1};
    add_input(m, "x", 1, (const char *const[]){"2", "3", NULL});
    Onnx__AttributeProto *attrs[] = {add_branch(m, "then_branch", "Exp"),
                                     add_branch(m, "else_branch", "Abs")};
    Onnx__NodeProto *node = add_node(m, "If", "c", NULL, "y");
    node->n_attribute = 2;
    node->attribute = attrs;
    add_output(m, "y");
    add_initializer(m, "c", 9, 1, truth, sizeof truth);
    assert_true(read_model(m));
    assert_string_equal(nodes_of_output(m), "y/z");
    node->name = (char *)"choice";
    attrs[0]->g->node[0]->name = (char *)"inner";
    assert_true(read_model(m));
    assert_string_equal(nodes_of_output(m), "choice/inner");
    node->name = (char *)"\xff"; /* not UTF-8: not used as a name */
    assert_true(read_model(m));
    assert_string_equal(nodes_of_output(m), "y/inner");
}

/* Graphs in attributes, nested. */
static void bounds_nesting(void **state)
{
    struct model *m = *state;
    Onnx__GraphProto *graph = m->graph;
    for (int i = 0; i < 40; i++) {
        Onnx__NodeProto *node = ARENA_NEW(&m->arena, Onnx__NodeProto);
        Onnx__AttributeProto *attr = ARENA_NEW(&m->arena, Onnx__AttributeProto);
        Onnx__GraphProto *inner = ARENA_NEW(&m->arena, Onnx__GraphProto);
        onnx__node_proto__init(node);
        onnx__attribute_proto__init(attr);
        onnx__graph_proto__init(inner);
        attr->g = inner;
        node->n_attribute = 1;
        node->attribute = arena_memdup(&m->arena, &attr, sizeof attr);
        graph->n_node = 1;
        graph->node = arena_memdup(&m->arena, &node, sizeof node);
        graph = inner;
    }
    assert_refused(m, ERR_LIMIT, "deep");
}

/* Mod is NumPy's: the result has the divisor's sign, even if it is zero; with fmod it is C's. */
static void remainders_have_a_sign(void **state)
{
    struct model *m = *state;
    static const float x[] = {0, -0.0f, 3, -3},
                       right[2][2][4] = {{{0, 0, 1, 1}, {0, -0.0f, 1, -1}},
                                         {{-0.0f, -0.0f, -1, -1}, {0, -0.0f, 1, -1}}};
    for (int negative = 0; negative < 2; negative++) {
        for (int fmod = 0; fmod < 2; fmod++) {
            int64_t divisor = negative ? -2 : 2;
            start_over(m);
            add_input(m, "x", 1, (const char *const[]){"4", NULL});
            add_initializer(m, "w", 7, 1, &divisor, sizeof divisor);
            add_int(m, add_node(m, "Cast", "w", NULL, "v"), "to", 1);
            add_int(m, add_node(m, "Mod", "x", "v", "y"), "fmod", fmod);
            add_output(m, "y");
            struct interp_tensor y = run_model(m, DTYPE_F32, 4, x);
            for (int i = 0; i < 4; i++) {
                assert_true(y.cells[i].f == (double)right[negative][fmod][i]);
                assert_true(!signbit(y.cells[i].f) == !signbit(right[negative][fmod][i]));
            }
        }
    }
}

/* Every prefix of a file is refused or read, and no byte after it is read. */
static void survives_damage(void **state)
{
    struct model *m = *state;
    static const float data[] = {1, 2, 3};
    size_t size;
    add_input(m, "x", 1, (const char *const[]){"n", "3", NULL});
    add_initializer(m, "w", 1, 3, data, sizeof data);
    add_node(m, "Mul", "x", "w", "y");
    add_output(m, "y");
    uint8_t *bytes = pack(m, &size);
    assert_true(onnx_looks_like(bytes, size));
    assert_true(read_bytes(m, bytes, size));
    for (size_t i = 0; i < size; i++)
        read_bytes(m, bytes, i);
    for (size_t i = 0; i < 8 * size; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        if (!read_bytes(m, bytes, size))
            assert_true(m->err.code != ERR_NONE && m->err.code != ERR_BUG);
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(folds_shapes),
        TEST(dims_have_names_and_ranges),
        TEST(initializers_become_params),
        TEST(given_inputs_become_constants),
        TEST(defaults_are_told),
        TEST(lists_all_refusals),
        TEST(refuses_bad_names),
        TEST(names_may_be_long),
        TEST(names_hold_no_zero_byte),
        TEST(restricts_what_decides),
        TEST(indices_bound_dims),
        TEST(squeeze_settles_ones),
        TEST(dims_stay_apart),
        TEST(reads_external_data),
        TEST(opens_functions),
        TEST(values_know_their_nodes),
        TEST(bounds_nesting),
        TEST(remainders_have_a_sign),
        TEST(survives_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
