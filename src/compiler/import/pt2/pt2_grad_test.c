/* Gradients of programs of PyTorch beside those of its autograd (tests/data/make_pt2.py), and what
 * has none. */
#include "base/error.h"
#include "base/file.h"
#include "base/npy.h"
#include "compiler/grad/grad.h"
#include "compiler/import/pt2/pt2_priv.h"
#include "graph/tangent.h"

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
/* The gradients are those of float64, but constants and casts of the program are f32. */
#define TOLERANCE 2e-6

static void *read_all(struct arena *arena, const char *name, size_t *size)
{
    char path[96], *bytes;
    struct error err;
    snprintf(path, sizeof path, FOLDER "%s", name);
    assert_true(file_read(path, (size_t)1 << 20, &bytes, size, &err));
    void *copy = arena_memdup(arena, bytes, *size);
    free(bytes);
    return copy;
}

static struct npy read_npy(struct arena *arena, const char *name)
{
    struct npy npy;
    struct error err;
    size_t size;
    void *bytes = read_all(arena, name, &size);
    assert_true(npy_parse(bytes, size, arena, &npy, &err));
    return npy;
}

static bool read_program(struct arena *arena, const char *name, bool backward,
                         struct blueprint *out, struct error *err)
{
    size_t size;
    void *bytes = read_all(arena, name, &size);
    const struct import_options with = {.seed = 1, .backward = backward};
    err->code = ERR_NONE;
    return blueprint_read(bytes, size, &with, arena, out, err);
}

/* The place of a param. */
static uint32_t param_of(const struct blueprint *blueprint, const char *name)
{
    const struct graph *graph = &blueprint->graph;
    for (uint32_t i = 0; i < graph->params.count; i++)
        if (strcmp(graph_node(graph, graph->params.items[i])->attrs->name, name) == 0)
            return i;
    fail_msg("no param is called '%s'", name);
    return 0;
}

/* Values of the step's inputs: x, params, and ones as cotangents. */
static void fill_sources(struct arena *arena, struct npy x, const struct blueprint *blueprint,
                         const struct graph *step, struct interp_tensor *sources)
{
    struct error err;
    int64_t shape[LIMIT_RANK];
    for (uint32_t i = 0; i < step->inputs.count; i++) {
        const struct node *n = graph_node(step, step->inputs.items[i]);
        bool param = i > 0 && i <= blueprint->graph.params.count;
        for (uint32_t k = 0; k < n->rank; k++)
            assert_true(dim_is_const(&step->dims, n->shape[k], &shape[k]));
        const struct native_tensor native = {(enum dtype)n->dtype, n->rank, shape,
                                             i == 0  ? x.data
                                             : param ? blueprint->inits[i - 1].data
                                                     : NULL};
        if (native.data) {
            assert_true(interp_load(&sources[i], arena, &native, &err));
            continue;
        }
        assert_int_equal(n->rank, 1);
        sources[i] = (struct interp_tensor){
            .dtype = DTYPE_F32, .rank = 1, .shape = {shape[0]}, .count = shape[0]};
        sources[i].cells = ARENA_ARRAY(arena, union cell, shape[0]);
        for (int64_t k = 0; k < shape[0]; k++)
            sources[i].cells[k].f = 1;
    }
}

/* What make_pt2.py writes the gradients of, in its order. */
static const struct program {
    const char *name;
    uint32_t count;
    const char *of[4];
} programs[] = {
    {"learned", 4, {"x", "scale", "down.weight", "table.weight"}},
    {"decomposed", 1, {"x"}},
};

/* Reverse mode in float64, without roundings, beside autograd's gradients. */
static void check_gradients(struct arena *arena, const struct program *program)
{
    char name[3][32];
    struct blueprint blueprint;
    struct graph step;
    struct error err;
    struct interp_tensor sources[MAX_SOURCES];
    struct tangent_tensor out[5];
    const double *directions[MAX_SOURCES] = {NULL};
    uint32_t at = 0, wrong = 0;
    static const char *const endings[] = {".pt2", ".in.npy", ".grad.npy"};
    for (int i = 0; i < 3; i++)
        snprintf(name[i], sizeof name[i], "%s%s", program->name, endings[i]);
    assert_true(read_program(arena, name[0], true, &blueprint, &err));
    assert_true(grad_training_graph(
        &step, arena, &blueprint.graph,
        &(struct grad_training){.wrt = program->of, .wrt_count = program->count}, &err));
    assert_true(step.inputs.count < MAX_SOURCES);
    fill_sources(arena, read_npy(arena, name[1]), &blueprint, &step, sources);
    const struct tangent_arguments arguments = {{NULL, sources, step.inputs.count}, directions};
    assert_true(tangent_run(&step, &(struct interp_options){.mode = INTERP_NATIVE}, &arguments,
                            arena, out, &err));
    struct npy right = read_npy(arena, name[2]);
    for (uint32_t g = 0; g < program->count; g++)
        for (int64_t i = 0; i < out[1 + g].value.count; i++, at++) {
            double got = out[1 + g].value.cells[i].f, want = ((const double *)right.data)[at];
            if (fabs(got - want) <= TOLERANCE * (1 + fabs(want)))
                continue;
            print_error("%s: %s, element %lld: %.9g, autograd %.9g\n", program->name,
                        program->of[g], (long long)i, got, want);
            wrong++;
        }
    assert_int_equal(at, right.data_bytes / sizeof(double));
    assert_int_equal(wrong, 0);
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        struct arena arena;
        arena_init(&arena);
        check_gradients(&arena, &programs[i]);
        arena_release(&arena);
    }
}

/* A program after run_decompositions() may have hidden more than it tells. */
static void test_decomposed(void **state)
{
    struct arena arena;
    struct blueprint blueprint;
    struct error err;
    (void)state;
    arena_init(&arena);
    assert_true(read_program(&arena, "decomposed.pt2", true, &blueprint, &err));
    assert_true(blueprint.warnings_bytes > 0);
    assert_non_null(strstr(blueprint.warnings, "run_decompositions() leaves nothing of"));
    assert_true(read_program(&arena, "decomposed.pt2", false, &blueprint, &err));
    assert_int_equal(blueprint.warnings_bytes, 0);
    assert_true(read_program(&arena, "unseen.pt2", false, &blueprint, &err));
    assert_int_equal(blueprint.warnings_bytes, 0);
    arena_release(&arena);
}

/* Which params are trained, and the names of tied ones. */
static void test_params(void **state)
{
    static const struct {
        const char *name;
        bool frozen;
    } params[] = {{"scale", false},
                  {"fixed", true},
                  {"down.weight", false},
                  {"table.weight", false},
                  {"mean", true}};
    struct arena arena;
    struct blueprint blueprint, again;
    struct error err;
    (void)state;
    arena_init(&arena);
    assert_true(read_program(&arena, "learned.pt2", true, &blueprint, &err));
    assert_int_equal(blueprint.graph.params.count, sizeof params / sizeof *params);
    const struct import_options options = {.seed = 1};
    assert_true(
        blueprint_read(blueprint.json, blueprint.json_bytes, &options, &arena, &again, &err));
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        uint32_t at = param_of(&blueprint, params[i].name);
        assert_int_equal(blueprint.inits[at].frozen, params[i].frozen);
        assert_int_equal(again.inits[param_of(&again, params[i].name)].frozen, params[i].frozen);
    }
    assert_int_equal(blueprint.alias_count, 1);
    assert_string_equal(blueprint.aliases[0].name, "up.weight");
    assert_string_equal(blueprint.aliases[0].of, "down.weight");
    assert_non_null(strstr(blueprint.warnings, "'up.weight' is another name of 'down.weight'"));
    arena_release(&arena);
}

/* What has other gradients than the graph's is refused if gradients are wanted, and else read. */
static void test_refused(void **state)
{
    static const char *const rows[][2] = {{"unseen.pt2", "written to where gradients are off"},
                                          {"frequent.pt2", "scale_grad_by_freq"}};
    struct arena arena;
    struct blueprint blueprint;
    struct error err;
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(read_program(&arena, rows[i][0], false, &blueprint, &err));
        assert_false(read_program(&arena, rows[i][0], true, &blueprint, &err));
        assert_int_equal(err.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, rows[i][1]));
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_decomposed),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
