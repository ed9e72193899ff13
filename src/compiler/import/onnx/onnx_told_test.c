/* Inputs whose elements tell sizes, positions and axes: for each value the result is that of a
 * model with that value known, or the call is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <onnx.pb-c.h>
/* cmocka defines a macro fail, so our headers come first. */
#include "base/rng.h"
#include "compiler/import/onnx/onnx_kit_priv.h"
#include "graph/element.h"
#include "package/package.h"
#include <cmocka.h>

#define MOST_TOLD 4
#define DRAWS 120

/* An input that tells dims: i64 of rank 1; count 0: of rank 0. */
struct told {
    const char *name;
    uint32_t count;
    int64_t values[LIMIT_RANK];
};

struct subject {
    const char *op;
    const char *const *shape; /* shape of x, whose elements are the floats 1, 2, 3 … */
    const char *inputs[8];    /* names; NULL terminates */
    struct told told[MOST_TOLD];
    uint32_t told_count;
    int64_t least, most;   /* range of random values */
    const char *attribute; /* NULL: none */
    int64_t value;
    const char *const *stated; /* stated shape of the result; NULL: none */
    uint32_t outputs;
    int64_t opset;
};

static void build(struct model *m, const struct subject *s)
{
    start_over(m);
    m->opset->version = s->opset ? s->opset : 18;
    if (s->shape)
        add_input(m, "x", 1, s->shape);
    for (uint32_t i = 0; i < s->told_count; i++) {
        static const char *const counts[] = {NULL, "1", "2", "3", "4", "5", "6"};
        const char *dims[] = {counts[s->told[i].count], NULL};
        add_input(m, s->told[i].name, 7, dims);
    }
    Onnx__NodeProto *node = add_node(m, s->op, s->inputs[0], NULL, "y0");
    static char *const names[] = {(char *)"y0", (char *)"y1", (char *)"y2"};
    node->input = ARENA_ARRAY(&m->arena, char *, 8);
    for (node->n_input = 0; s->inputs[node->n_input]; node->n_input++)
        node->input[node->n_input] = (char *)s->inputs[node->n_input];
    node->output = ARENA_ARRAY(&m->arena, char *, 3);
    node->n_output = s->outputs ? s->outputs : 1;
    if (s->attribute)
        add_int(m, node, s->attribute, s->value);
    for (size_t i = 0; i < node->n_output; i++) {
        node->output[i] = names[i];
        add_output(m, names[i]);
    }
    if (s->stated) {
        add_input(m, "y0", 1, s->stated);
        m->outputs[0] = m->inputs[--m->graph->n_input];
    }
}

static void add_list(struct model *m, const char *name, const int64_t *values, int64_t count)
{
    add_initializer(m, name, 7, count, values, (size_t)count * sizeof *values);
}

static int64_t count_of(const struct told *told)
{
    return told->count ? told->count : 1;
}

/* Loads the inputs that the graph has: x, then those whose values were not known. */
static bool load_inputs(struct model *m, const struct subject *s, struct guard_input *given,
                        struct interp_tensor *sources)
{
    static float x[512];
    static const int64_t no_dims[LIMIT_NAMED_DIMS];
    const struct graph *graph = &m->blueprint.graph;
    for (uint32_t i = 0; i < 512; i++)
        x[i] = (float)i + 1;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        int64_t *shape = ARENA_ARRAY(&m->arena, int64_t, LIMIT_RANK);
        struct native_tensor native = {(enum dtype)node->dtype, node->rank, shape, x};
        for (uint32_t d = 0; d < node->rank; d++)
            assert_true(dim_eval(&graph->dims, node->shape[d], no_dims, &shape[d]));
        given[i] = (struct guard_input){native.dtype, node->rank, shape, NULL};
        for (uint32_t t = 0; t < s->told_count; t++)
            if (strcmp(s->told[t].name, node->attrs->name) == 0) {
                native.data = s->told[t].values;
                given[i].integers = s->told[t].values;
            }
        if (!interp_load(&sources[i], &m->arena, &native, &m->err))
            return false;
    }
    return true;
}

/* Runs the model; false: the call is refused. */
static bool run(struct model *m, const struct subject *s, struct interp_tensor *out)
{
    const struct graph *graph = &m->blueprint.graph;
    struct guard_input given[8];
    struct interp_tensor sources[8];
    int64_t dims[LIMIT_NAMED_DIMS];
    struct error refused = {.code = ERR_NONE};
    assert_true(load_inputs(m, s, given, sources));
    if (!guards_bind(graph, given, graph->inputs.count, dims, &refused)) {
        assert_int_equal(refused.code, ERR_INPUT);
        assert_non_null(strstr(refused.place, "input '"));
        return false;
    }
    if (!interp_run(graph, &(struct interp_options){.mode = INTERP_NATIVE},
                    &(struct interp_arguments){dims, sources, graph->inputs.count}, &m->arena, out,
                    &m->err))
        fail_msg("%s: %s", m->err.place, m->err.message);
    return true;
}

/* Reads the model with known values and runs it. False: it is refused. */
static bool run_known(struct model *m, const struct subject *s, struct interp_tensor *out)
{
    struct import_tensor fixed[MOST_TOLD];
    for (uint32_t i = 0; i < s->told_count; i++)
        fixed[i] = (struct import_tensor){.name = s->told[i].name,
                                          .dtype = DTYPE_I64,
                                          .rank = s->told[i].count > 0,
                                          .shape = {count_of(&s->told[i])},
                                          .data = s->told[i].values,
                                          .bytes = (size_t)count_of(&s->told[i]) * sizeof(int64_t)};
    m->options.fixed = fixed;
    m->options.fixed_count = s->told_count;
    bool read = read_model(m);
    m->options.fixed = NULL;
    m->options.fixed_count = 0;
    return read && run(m, s, out);
}

static void same_tensor(const struct interp_tensor *a, const struct interp_tensor *b)
{
    assert_int_equal(a->rank, b->rank);
    for (uint32_t i = 0; i < a->rank; i++)
        assert_int_equal(a->shape[i], b->shape[i]);
    for (int64_t i = 0; i < (int64_t)a->count; i++)
        assert_true(dtype_is_float(a->dtype) ? a->cells[i].f == b->cells[i].f
                                             : a->cells[i].i == b->cells[i].i);
}

/* Compares both for random values; counts the calls that were accepted and those that were
 * refused. */
static void compare(struct model *m, struct subject *s, uint32_t *taken, uint32_t *refused)
{
    uint64_t key = rng_key(strlen(s->op));
    *taken = *refused = 0;
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        struct interp_tensor told[3], known[3];
        uint32_t outputs = s->outputs ? s->outputs : 1;
        for (uint32_t i = 0; i < s->told_count; i++)
            for (uint32_t k = 0; k < LIMIT_RANK; k++)
                s->told[i].values[k] = s->least + (int64_t)(rng_u32(key, draw * 64 + i * 8 + k) %
                                                            (uint64_t)(s->most - s->least + 1));
        if (!read_model(m))
            fail_msg("%s: %s: %s", s->op, m->err.place, m->err.message);
        if (!run(m, s, told)) {
            ++*refused;
            continue;
        }
        if (!run_known(m, s, known))
            fail_msg("%s takes what is refused where it is known: %s", s->op, m->err.message);
        for (uint32_t i = 0; i < outputs; i++)
            same_tensor(&told[i], &known[i]);
        ++*taken;
    }
}

static const char *const four_six[] = {"4", "6", NULL};
static const char *const three_dims[] = {"2", "3", "4", NULL};

/* Every value that is accepted if it is known is accepted by the call. */
static void takes_all(struct model *m, struct subject s)
{
    uint32_t taken, refused;
    build(m, &s);
    compare(m, &s, &taken, &refused);
    if (refused > 0)
        fail_msg("%s refuses %u of %u", s.op, refused, taken + refused);
}

/* Some random values are not legal. */
static void takes_some(struct model *m, struct subject s)
{
    uint32_t taken, refused;
    build(m, &s);
    compare(m, &s, &taken, &refused);
    if (taken < DRAWS / 40 || refused < DRAWS / 40)
        fail_msg("%s takes %u and refuses %u", s.op, taken, refused);
}

static void tells_places(void **state)
{
    struct subject s = {.op = "Slice",
                        .shape = four_six,
                        .inputs = {"x", "starts", "ends"},
                        .told = {{"starts", 2, {0}}, {"ends", 2, {0}}},
                        .told_count = 2,
                        .least = -9,
                        .most = 9};
    takes_all(*state, s);
    s.least = INT64_MIN / 2 + 1;
    s.most = INT64_MAX / 2;
    takes_all(*state, s);
}

static void tells_places_of_steps(void **state)
{
    struct model *m = *state;
    static const int64_t axes[] = {1, 0}, steps[] = {-1, 2};
    struct subject s = {.op = "Slice",
                        .shape = four_six,
                        .inputs = {"x", "starts", "ends", "axes", "steps"},
                        .told = {{"starts", 2, {0}}, {"ends", 2, {0}}},
                        .told_count = 2,
                        .least = -9,
                        .most = 9};
    uint32_t taken, refused;
    build(m, &s);
    add_list(m, "axes", axes, 2);
    add_list(m, "steps", steps, 2);
    compare(m, &s, &taken, &refused);
    assert_int_equal(refused, 0);
}

/* A slice with a negative step starts no earlier than at the first element, as ONNX defines. */
static void walks_to_the_front_begin_inside(void **state)
{
    struct model *m = *state;
    static const int64_t axes[] = {1}, steps[] = {-2};
    struct subject s = {.op = "Slice",
                        .shape = four_six,
                        .inputs = {"x", "starts", "ends", "axes", "steps"},
                        .told = {{"starts", 1, {-9}}, {"ends", 1, {-7}}},
                        .told_count = 2};
    struct interp_tensor told, known;
    build(m, &s);
    add_list(m, "axes", axes, 1);
    add_list(m, "steps", steps, 1);
    assert_true(read_model(m) && run(m, &s, &told));
    assert_true(run_known(m, &s, &known));
    same_tensor(&told, &known);
    assert_int_equal(told.shape[1], 1);
    assert_true(told.cells[1].f == 7);
}

/* k may be anything up to a dim that is itself only known at a call. */
static void tells_k_of_an_open_dim(void **state)
{
    static const char *const open[] = {"b", "n", NULL};
    struct model *m = *state;
    build(m, &(struct subject){.op = "TopK",
                               .shape = open,
                               .inputs = {"x", "k"},
                               .told = {{"k", 1, {0}}},
                               .told_count = 1,
                               .outputs = 2});
    assert_true(read_model(m));
    const struct graph *graph = &m->blueprint.graph;
    const struct node *y = graph_node(graph, graph->outputs.items[0].value);
    uint32_t n = 0, k = 0;
    assert_true(dim_find_name(&graph->dims, "n", &n) && dim_find_name(&graph->dims, "k", &k));
    assert_true(graph->dims.names.items[n].max >= (int64_t)1 << 24);
    assert_true(graph->dims.names.items[k].max >= 1000);
    assert_int_equal(graph->elements.count, 2);
    for (int64_t asked = 0; asked < 9; asked++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {1, 1, 1}, size = 0;
        dims[n] = 6;
        dims[k] = asked;
        assert_true(dim_eval(&graph->dims, y->shape[1], dims, &size));
        assert_int_equal(size, asked < 6 ? asked : 6);
        assert_true(element_check(graph, &graph->elements.items[1], &asked, dims, &m->err) ==
                    (asked <= 6));
    }
}

static void tells_sizes(void **state)
{
    static const char *const ones[] = {"1", "3", NULL};
    takes_some(*state, (struct subject){.op = "TopK",
                                        .shape = four_six,
                                        .inputs = {"x", "k"},
                                        .told = {{"k", 1, {0}}},
                                        .told_count = 1,
                                        .least = -2,
                                        .most = 8,
                                        .outputs = 2});
    takes_some(*state, (struct subject){.op = "Expand",
                                        .shape = ones,
                                        .inputs = {"x", "sizes"},
                                        .told = {{"sizes", 3, {0}}},
                                        .told_count = 1,
                                        .least = -1,
                                        .most = 3});
    takes_some(*state, (struct subject){.op = "Tile",
                                        .shape = four_six,
                                        .inputs = {"x", "repeats"},
                                        .told = {{"repeats", 2, {0}}},
                                        .told_count = 1,
                                        .least = -1,
                                        .most = 4});
    takes_some(*state, (struct subject){.op = "ConstantOfShape",
                                        .inputs = {"sizes"},
                                        .told = {{"sizes", 3, {0}}},
                                        .told_count = 1,
                                        .least = -1,
                                        .most = 3});
    takes_some(*state, (struct subject){.op = "Split",
                                        .shape = four_six,
                                        .inputs = {"x", "split"},
                                        .told = {{"split", 3, {0}}},
                                        .told_count = 1,
                                        .least = 0,
                                        .most = 4,
                                        .attribute = "axis",
                                        .value = 1,
                                        .outputs = 3});
    takes_some(*state, (struct subject){.op = "CenterCropPad",
                                        .shape = four_six,
                                        .inputs = {"x", "sizes"},
                                        .told = {{"sizes", 2, {0}}},
                                        .told_count = 1,
                                        .least = -1,
                                        .most = 11});
    takes_some(*state, (struct subject){.op = "HannWindow",
                                        .inputs = {"size"},
                                        .told = {{"size", 0, {0}}},
                                        .told_count = 1,
                                        .least = -2,
                                        .most = 12});
}

static void tells_pads(void **state)
{
    takes_some(*state, (struct subject){.op = "Pad",
                                        .shape = four_six,
                                        .inputs = {"x", "pads"},
                                        .told = {{"pads", 4, {0}}},
                                        .told_count = 1,
                                        .least = -4,
                                        .most = 4});
}

static void tells_axes(void **state)
{
    for (uint32_t count = 1; count <= 3; count++)
        for (int64_t keep = 0; keep < 2; keep++)
            takes_some(*state, (struct subject){.op = "ReduceSum",
                                                .shape = three_dims,
                                                .inputs = {"x", "axes"},
                                                .told = {{"axes", count, {0}}},
                                                .told_count = 1,
                                                .least = -4,
                                                .most = 3,
                                                .attribute = "keepdims",
                                                .value = keep});
    takes_some(*state, (struct subject){.op = "CumSum",
                                        .shape = three_dims,
                                        .inputs = {"x", "axis"},
                                        .told = {{"axis", 0, {0}}},
                                        .told_count = 1,
                                        .least = -4,
                                        .most = 3,
                                        .attribute = "reverse",
                                        .value = 1});
    takes_some(*state, (struct subject){.op = "Unsqueeze",
                                        .shape = three_dims,
                                        .inputs = {"x", "axes"},
                                        .told = {{"axes", 2, {0}}},
                                        .told_count = 1,
                                        .least = -6,
                                        .most = 5});
}

/* The stated shape of a result must be what the input gives. */
static void requires_what_is_stated(void **state)
{
    static const char *const stated[] = {"4", "2", "3", NULL}, *const squeezed[] = {"3", "1", NULL},
                             *const ones[] = {"1", "3", "1", NULL};
    takes_some(*state, (struct subject){.op = "Reshape",
                                        .shape = three_dims,
                                        .inputs = {"x", "shape"},
                                        .told = {{"shape", 3, {0}}},
                                        .told_count = 1,
                                        .least = 2,
                                        .most = 4,
                                        .stated = stated});
    takes_some(*state, (struct subject){.op = "Squeeze",
                                        .shape = ones,
                                        .inputs = {"x", "axes"},
                                        .told = {{"axes", 1, {0}}},
                                        .told_count = 1,
                                        .least = -3,
                                        .most = 2,
                                        .stated = squeezed});
}

/* -1 stands for the remaining size, and 0 for the operand's dim. */
static void reshape_takes_what_stands_for_a_size(void **state)
{
    struct model *m = *state;
    static const char *const stated[] = {"2", "12", NULL};
    static const struct {
        int64_t shape[2];
        bool taken;
    } cases[] = {{{2, 12}, true},  {{0, 12}, true}, {{2, -1}, true},
                 {{-1, 12}, true}, {{0, -1}, true}, {{-1, -1}, false},
                 {{2, 0}, false},  {{4, 6}, false}, {{-2, 12}, false}};
    struct subject s = {.op = "Reshape",
                        .shape = three_dims,
                        .inputs = {"x", "shape"},
                        .told = {{"shape", 2, {0}}},
                        .told_count = 1,
                        .stated = stated};
    build(m, &s);
    assert_true(read_model(m));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct interp_tensor out;
        memcpy(s.told[0].values, cases[i].shape, sizeof cases[i].shape);
        assert_int_equal(run(m, &s, &out), cases[i].taken);
    }
    s.stated = NULL;
    build(m, &s);
    assert_refused(m, ERR_UNSUPPORTED, "not known at compile time, and the model does not state");
}

/* Integer inputs that are data tell no dims; those from which sizes are computed do. */
static void asks_only_where_it_must(void **state)
{
    struct model *m = *state;
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){"4", NULL});
    add_input(m, "ids", 7, (const char *const[]){"2", NULL});
    add_node(m, "Gather", "x", "ids", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.graph.elements.count, 0);
    start_over(m);
    add_input(m, "x", 1, (const char *const[]){"1", NULL});
    add_input(m, "n", 7, (const char *const[]){"1", NULL});
    add_node(m, "Add", "n", "n", "twice");
    add_node(m, "Expand", "x", "twice", "y");
    add_output(m, "y");
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.graph.elements.count, 1);
    assert_shape(m, "2*n");
    m->options.dims = &(struct dim_name){.name = "n", .min = 1, .max = 3, .multiple_of = 1};
    m->options.dim_count = 1;
    assert_true(read_model(m));
    assert_int_equal(m->blueprint.graph.dims.names.items[0].max, 3);
    m->options.dims = &(struct dim_name){.name = "n", .min = 3, .max = 3, .multiple_of = 1};
    assert_true(read_model(m));
    assert_shape(m, "6");
    assert_int_equal(m->blueprint.graph.elements.count, 1); /* a call must still have 3 there */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tells_places),
        TEST(tells_places_of_steps),
        TEST(walks_to_the_front_begin_inside),
        TEST(tells_sizes),
        TEST(tells_k_of_an_open_dim),
        TEST(tells_pads),
        TEST(tells_axes),
        TEST(requires_what_is_stated),
        TEST(reshape_takes_what_stands_for_a_size),
        TEST(asks_only_where_it_must),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
