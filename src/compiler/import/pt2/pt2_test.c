/* Archives that PyTorch wrote (tests/data/make_pt2.py): their results in the interpreter, what is
 * refused, and damaged files. */
#include "base/error.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/strbuf.h"
#include "compiler/import/pt2/pt2_priv.h"
#include "graph/interp.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FOLDER "tests/data/pt2/"
#define MAX_SOURCES 64
#define RELATIVE 1e-5
#define ABSOLUTE 1e-6

static const struct import_options options = {.seed = 1};

static void *read_all(struct arena *arena, const char *name, const char *ending, size_t *size)
{
    char path[96], *bytes;
    struct error err;
    snprintf(path, sizeof path, FOLDER "%s%s", name, ending);
    assert_true(file_read(path, (size_t)1 << 20, &bytes, size, &err));
    void *copy = arena_memdup(arena, bytes, *size);
    free(bytes);
    return copy;
}

static struct npy read_npy(struct arena *arena, const char *name, const char *ending)
{
    struct npy npy;
    struct error err;
    size_t size;
    void *bytes = read_all(arena, name, ending, &size);
    assert_true(npy_parse(bytes, size, arena, &npy, &err));
    return npy;
}

static struct blueprint must_read(struct arena *arena, const char *name,
                                  const struct import_options *with)
{
    struct blueprint blueprint;
    struct error err = {.code = ERR_NONE};
    size_t size;
    void *bytes = read_all(arena, name, ".pt2", &size);
    if (!blueprint_read(bytes, size, with, arena, &blueprint, &err))
        print_error("%s: %s: %s\n", name, err.place, err.message);
    assert_int_equal(err.code, ERR_NONE);
    assert_true(graph_verify(&blueprint.graph, &err));
    return blueprint;
}

/* Compares the interpreter's result for the first input with PyTorch's. */
static void compare(struct arena *arena, const char *name, const struct blueprint *blueprint)
{
    const struct graph *graph = &blueprint->graph;
    struct npy in = read_npy(arena, name, ".in.npy"), out = read_npy(arena, name, ".out.npy");
    struct interp_tensor sources[MAX_SOURCES], result;
    struct error err = {.code = ERR_NONE};
    int64_t dims[LIMIT_NAMED_DIMS] = {0}, shape[LIMIT_RANK];
    const struct node *input = graph_node(graph, graph->inputs.items[0]);
    uint32_t index;
    const struct native_tensor x = {(enum dtype)input->dtype, in.rank, in.shape, in.data};
    assert_true(interp_load(&sources[0], arena, &x, &err));
    for (uint32_t i = 0; i < input->rank; i++) {
        uint32_t count = 0;
        const struct dim_term *terms = dim_terms(&graph->dims, input->shape[i], &count);
        if (count == 1 && terms[0].atom_count == 1) {
            index = terms[0].atoms[0].name;
            dims[index] = in.shape[i];
        }
    }
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *param = graph_node(graph, graph->params.items[i]);
        for (uint32_t k = 0; k < param->rank; k++)
            assert_true(dim_is_const(&graph->dims, param->shape[k], &shape[k]));
        const struct native_tensor native = {(enum dtype)param->dtype, param->rank, shape,
                                             blueprint->inits[i].data};
        assert_true(interp_load(&sources[1 + i], arena, &native, &err));
    }
    assert_true(interp_run(graph, &(struct interp_options){.mode = INTERP_NATIVE},
                           &(struct interp_arguments){dims, sources, 1 + graph->params.count},
                           arena, &result, &err));
    assert_int_equal(result.count, out.data_bytes / sizeof(float));
    for (int64_t i = 0; i < result.count; i++) {
        double want = (double)((const float *)out.data)[i];
        if (!(fabs(result.cells[i].f - want) <= ABSOLUTE + RELATIVE * fabs(want)))
            print_error("%s: element %lld is %g, not %g\n", name, (long long)i, result.cells[i].f,
                        want);
        assert_true(fabs(result.cells[i].f - want) <= ABSOLUTE + RELATIVE * fabs(want));
    }
}

static void test_models(void **state)
{
    static const char *const names[] = {"mlp",     "conv",    "attention",  "tagger",    "modes",
                                        "views",   "places",  "windows",    "formulas",  "made",
                                        "layers",  "pickled", "positions",  "recurrent", "similar",
                                        "learned", "unseen",  "decomposed", "copied"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct arena arena;
        arena_init(&arena);
        struct blueprint blueprint = must_read(&arena, names[i], &options);
        compare(&arena, names[i], &blueprint);
        arena_release(&arena);
    }
}

static void test_names_and_ranges(void **state)
{
    struct arena arena;
    (void)state;
    arena_init(&arena);
    struct blueprint read = must_read(&arena, "attention", &options);
    assert_int_equal(read.graph.dims.names.count, 2);
    assert_int_equal(read.graph.dims.names.items[0].min, 1);
    assert_int_equal(read.graph.dims.names.items[0].max, 64);
    assert_int_equal(read.graph.dims.names.items[1].max, 15);
    assert_string_equal(graph_node(&read.graph, read.graph.inputs.items[0])->attrs->name, "x");
    assert_string_equal(graph_node(&read.graph, read.graph.params.items[0])->attrs->name,
                        "norm.weight");
    const struct dim_name narrow[] = {
        {.name = read.graph.dims.names.items[0].name, .min = 2, .max = 2, .multiple_of = 1},
        {.name = read.graph.dims.names.items[1].name, .min = 3, .max = 7, .multiple_of = 1}};
    struct import_options with = {.dims = narrow, .dim_count = 2};
    struct blueprint narrowed = must_read(&arena, "attention", &with);
    assert_int_equal(narrowed.graph.dims.names.count, 1);
    assert_int_equal(narrowed.graph.dims.names.items[0].min, 3);
    compare(&arena, "attention", &narrowed);
    arena_release(&arena);
}

/* All results for an input, params of the archive and a seed, in float64 or as integers. */
static struct interp_tensor *run_all(struct arena *arena, const struct blueprint *blueprint,
                                     const struct npy *in, const int64_t *seed)
{
    const struct graph *graph = &blueprint->graph;
    uint32_t inputs = graph->inputs.count, params = graph->params.count;
    struct interp_tensor sources[MAX_SOURCES],
        *results = ARENA_ARRAY(arena, struct interp_tensor, graph->outputs.count);
    struct error err = {.code = ERR_NONE};
    assert_true(inputs + params <= MAX_SOURCES);
    for (uint32_t i = 0; i < inputs + params; i++) {
        const struct node *n = graph_node(graph, i < inputs ? graph->inputs.items[i]
                                                            : graph->params.items[i - inputs]);
        int64_t shape[LIMIT_RANK];
        for (uint32_t k = 0; k < n->rank; k++)
            assert_true(dim_is_const(&graph->dims, n->shape[k], &shape[k]));
        const struct native_tensor native = {(enum dtype)n->dtype, n->rank, shape,
                                             i == 0       ? in->data
                                             : i < inputs ? seed
                                                          : blueprint->inits[i - inputs].data};
        assert_true(interp_load(&sources[i], arena, &native, &err));
    }
    assert_true(interp_run(graph, &(struct interp_options){.mode = INTERP_NATIVE},
                           &(struct interp_arguments){NULL, sources, inputs + params}, arena,
                           results, &err));
    return results;
}

/* Programs in training mode: results, and the next values of buffers as PyTorch leaves them. */
static void test_training(void **state)
{
    static const char *const names[] = {"trained", "functional"};
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct arena arena;
        arena_init(&arena);
        struct blueprint read = must_read(&arena, names[k], &options);
        struct npy in = read_npy(&arena, names[k], ".in.npy"),
                   out = read_npy(&arena, names[k], ".out.npy");
        assert_int_equal(read.graph.outputs.count, 1 + read.running_count);
        assert_int_equal(read.running_count, 8);
        assert_false(read.draws);
        struct blueprint again;
        struct error err = {.code = ERR_NONE};
        assert_true(blueprint_read(read.json, read.json_bytes, &options, &arena, &again, &err));
        assert_int_equal(again.running_count, read.running_count);
        const struct interp_tensor *found = run_all(&arena, &read, &in, NULL);
        int64_t at = 0;
        for (uint32_t o = 0; o <= read.running_count; o++) {
            if (o > 0) {
                const struct import_running *running = &read.running[o - 1];
                assert_string_equal(read.graph.outputs.items[o].name, running->output);
                assert_memory_equal(running->output, "new.", 4);
                assert_string_equal(running->output + 4, running->param);
            }
            for (int64_t i = 0; i < found[o].count; i++, at++) {
                double want = (double)((const float *)out.data)[at];
                double got = dtype_is_float(found[o].dtype) ? found[o].cells[i].f
                                                            : (double)found[o].cells[i].i;
                if (!(fabs(got - want) <= ABSOLUTE + RELATIVE * fabs(want)))
                    fail_msg("%s: %s, element %lld is %g, not %g", names[k],
                             read.graph.outputs.items[o].name, (long long)i, got, want);
            }
        }
        assert_int_equal(at, out.data_bytes / sizeof(float));
        arena_release(&arena);
    }
}

/* The share of zeros in a result whose elements are else `kept`. */
static double share_of_zeros(const struct interp_tensor *x, double kept)
{
    int64_t zeros = 0;
    for (int64_t i = 0; i < x->count; i++) {
        assert_true(x->cells[i].f == 0 || fabs(x->cells[i].f - kept) < ABSOLUTE);
        zeros += x->cells[i].f == 0;
    }
    return (double)zeros / (double)x->count;
}

static bool same_cells(const struct interp_tensor *x, const struct interp_tensor *y)
{
    for (int64_t i = 0; i < x->count; i++)
        if (x->cells[i].f != y->cells[i].f)
            return false;
    return true;
}

/* Elements are dropped at the rates of the calls; a seed repeats them, another draws others. */
static void test_dropped(void **state)
{
    static const int64_t seeds[] = {5, 5, 6};
    struct arena arena;
    struct interp_tensor *found[3];
    (void)state;
    arena_init(&arena);
    struct blueprint read = must_read(&arena, "dropped", &options);
    struct npy in = read_npy(&arena, "dropped", ".in.npy");
    const struct graph *graph = &read.graph;
    assert_true(read.draws);
    assert_int_equal(graph->inputs.count, 2);
    assert_string_equal(graph_node(graph, graph->inputs.items[1])->attrs->name, "seed");
    for (int i = 0; i < 3; i++)
        found[i] = run_all(&arena, &read, &in, &seeds[i]);
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        assert_true(same_cells(&found[0][o], &found[1][o]));
        assert_false(same_cells(&found[0][o], &found[2][o]));
    }
    /* Of 1024 elements, and of 64 channels: within five deviations. */
    assert_true(fabs(share_of_zeros(&found[0][0], 1 / 0.75) - 0.25) < 5 * sqrt(0.1875 / 1024));
    assert_true(fabs(share_of_zeros(&found[0][1], 2) - 0.5) < 5 * sqrt(0.25 / 64));
    for (int64_t i = 0; i < found[0][1].count; i++)
        assert_true(found[0][1].cells[i].f == found[0][1].cells[i / 16 * 16].f);
    arena_release(&arena);
}

/* A dim that decides how many rows of a table are read is at most the number of its rows. */
static void test_positions(void **state)
{
    static const int64_t most[] = {4, 6, 10, 12, 4, 10, 14};
    struct arena arena;
    uint32_t index = 0;
    (void)state;
    arena_init(&arena);
    struct blueprint read = must_read(&arena, "positions", &options);
    const struct graph *graph = &read.graph;
    const struct node *x = graph_node(graph, graph->inputs.items[0]);
    assert_int_equal(x->rank, sizeof most / sizeof *most);
    for (uint32_t i = 0; i < x->rank; i++) {
        assert_true(dim_is_name(&graph->dims, x->shape[i], &index));
        assert_int_equal(graph->dims.names.items[index].max, most[i]);
    }
    assert_non_null(strstr(graph->dims.names.items[0].why, "of a dim of size"));
    arena_release(&arena);
}

/* What PyTorch raises an error for is an error here. */
static void test_outside(void **state)
{
    struct arena arena;
    struct blueprint blueprint;
    struct error err = {.code = ERR_NONE};
    size_t size;
    (void)state;
    arena_init(&arena);
    void *bytes = read_all(&arena, "outside", ".pt2", &size);
    assert_false(pt2_read(bytes, size, &options, &arena, &blueprint, &err));
    assert_int_equal(err.code, ERR_SHAPE);
    assert_non_null(strstr(err.place, "index"));
    assert_string_equal(err.message, "index -4 of a dim of size 3");
    arena_release(&arena);
}

/* Whether a value has an origin of that name. */
static bool has_node(struct arena *arena, const struct graph *graph, const char *name)
{
    struct origin_set set;
    origin_set_init(&set, graph, arena);
    for (value_id v = 1; v < graph->nodes.count; v++)
        origin_set_add(&set, graph_node(graph, v)->origin);
    for (uint32_t i = 0; i < set.names.count; i++)
        if (strcmp(set.names.items[i], name) == 0)
            return true;
    return false;
}

/* Origins are node names of the document, also in inner graphs. */
static void test_nodes(void **state)
{
    static const char *const rows[][2] = {{"mlp", "linear_1"},
                                          {"mlp", "gelu"},
                                          {"attention", "scaled_dot_product_attention"},
                                          {"modes", "mul"},
                                          {"pickled", "relu_"}};
    struct arena arena;
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct blueprint read = must_read(&arena, rows[i][0], &options);
        if (!has_node(&arena, &read.graph, rows[i][1]))
            print_error("%s: no value comes from '%s'\n", rows[i][0], rows[i][1]);
        assert_true(has_node(&arena, &read.graph, rows[i][1]));
        assert_false(has_node(&arena, &read.graph, "no such node"));
    }
    arena_release(&arena);
}

/* The complete list of what is refused. */
static const char *refusal(struct arena *arena, const char *name)
{
    struct blueprint blueprint = {.json = "untouched"};
    struct error err = {.code = ERR_NONE};
    struct strbuf *all = ARENA_NEW(arena, struct strbuf);
    size_t size;
    strbuf_init(all, arena);
    struct import_options with = {.refused = all};
    void *bytes = read_all(arena, name, ".pt2", &size);
    assert_false(pt2_read(bytes, size, &with, arena, &blueprint, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_string_equal(blueprint.json, "untouched");
    return all->data;
}

static void test_refusals(void **state)
{
    struct arena arena;
    (void)state;
    arena_init(&arena);
    const char *all = refusal(&arena, "refused");
    assert_non_null(strstr(all, "index.Tensor 'index': a result whose size depends on data"));
    assert_non_null(strstr(all, "fft_fft.default 'fft_fft': no such op"));
    assert_non_null(
        strstr(refusal(&arena, "mixed"), "wrap_with_autocast 'matmul': computed in another"));
    assert_non_null(strstr(refusal(&arena, "written"), "a tensor that is written to later"));
    arena_release(&arena);
}

/* An archive of an older PyTorch whose pickle refers to something other than tensors. */
static void test_foreign_pickle(void **state)
{
    static const char name[] = "torch._utils\n_rebuild_tensor_v2",
                      other[] = "posix_spawn1\nsystem_command_123";
    struct arena arena;
    struct blueprint blueprint;
    struct error err = {.code = ERR_NONE};
    size_t size, changed = 0;
    (void)state;
    arena_init(&arena);
    char *bytes = read_all(&arena, "pickled", ".pt2", &size);
    assert_int_equal(sizeof name, sizeof other);
    for (size_t i = 0; i + sizeof name <= size; i++)
        if (memcmp(bytes + i, name, sizeof name - 1) == 0) {
            memcpy(bytes + i, other, sizeof other - 1);
            changed++;
        }
    assert_int_not_equal(changed, 0);
    assert_false(pt2_read(bytes, size, &options, &arena, &blueprint, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "posix_spawn1 system_command_123"));
    arena_release(&arena);
}

/* Truncates the file and changes bytes, every `step` bytes: reading gives an error or a graph. */
static void damage(const char *name, size_t step)
{
    struct arena arena;
    size_t size;
    arena_init(&arena);
    uint8_t *bytes = read_all(&arena, name, ".pt2", &size);
    for (size_t i = 0; i < size; i += step + i % 7) {
        struct arena own;
        struct blueprint blueprint;
        struct error err = {.code = ERR_NONE};
        uint8_t before = bytes[i];
        arena_init(&own);
        assert_false(pt2_read(bytes, i, &options, &own, &blueprint, &err));
        assert_int_not_equal(err.code, ERR_NONE);
        err.code = ERR_NONE;
        bytes[i] = (uint8_t)(before ^ (1u << i % 8));
        if (pt2_read(bytes, size, &options, &own, &blueprint, &err))
            assert_true(graph_verify(&blueprint.graph, &err));
        else
            assert_int_not_equal(err.code, ERR_BUG);
        bytes[i] = before;
        arena_release(&own);
    }
    arena_release(&arena);
}

static void test_damaged(void **state)
{
    (void)state;
    damage("mlp", 1);
    damage("modes", 13);
    damage("views", 61);
    damage("places", 211);
    damage("windows", 211);
    damage("layers", 211);
    damage("positions", 4001);
    damage("pickled", 1);
    damage("trained", 211);
    damage("functional", 211);
    damage("dropped", 211);
}

static dim_id size_of(struct pt2 *p, const char *text, struct error *err)
{
    dim_id dim = DIM_NONE;
    json_t *json = json_pack("{s:{s:s}}", "as_expr", "expr_str", text);
    pt2_sym_int(p, json, true, &dim, err);
    json_decref(json);
    return dim;
}

static void test_sizes(void **state)
{
    static const char *const pairs[][2] = {
        {"2*s0 + 1", "Add(Mul(Integer(2), Symbol('s0', positive=True, integer=True)), Integer(1))"},
        {"(s0 + s1)*s0", "s0**2 + s0*s1"},
        {"s0 - (s0//4)*4", "Mod(s0, 4)"},
        {"-s0 + 3", "3 - s0"},
        {"torch.utils._sympy.functions.FloorDiv(Symbol('s1', integer=True), Integer(2))", "s1//2"},
    };
    static const char *const bad[] = {"",           "s0 +",   "s0 s1", "s0//0",
                                      "Symbol(s0)", "s0**s1", "(s0",   "99999999999999999999",
                                      "Sin(s0, s1)"};
    struct graph graph;
    struct arena arena;
    struct pt2 p = {.graph = &graph, .arena = &arena, .options = &options};
    (void)state;
    arena_init(&arena);
    graph_init(&graph, &arena);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct error err = {.code = ERR_NONE};
        dim_id first = size_of(&p, pairs[i][0], &err), second = size_of(&p, pairs[i][1], &err);
        assert_int_equal(err.code, ERR_NONE);
        assert_int_not_equal(first, DIM_NONE);
        assert_int_equal(first, second);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error err = {.code = ERR_NONE};
        assert_int_equal(size_of(&p, bad[i], &err), DIM_NONE);
        assert_int_not_equal(err.code, ERR_NONE);
    }
    char deep[256] = {0};
    struct error err = {.code = ERR_NONE};
    memset(deep, '(', sizeof deep - 1);
    assert_int_equal(size_of(&p, deep, &err), DIM_NONE);
    assert_int_equal(err.code, ERR_LIMIT);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),   cmocka_unit_test(test_names_and_ranges),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_sizes),    cmocka_unit_test(test_foreign_pickle),
        cmocka_unit_test(test_nodes),    cmocka_unit_test(test_positions),
        cmocka_unit_test(test_outside),  cmocka_unit_test(test_training),
        cmocka_unit_test(test_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
