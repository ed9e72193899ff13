/* What the float64 reference of a network costs that must be computed whole, as where the largest
 * of all elements is a result: the graphs of the targets differ in how weights are laid out, and
 * are run once. Counted are bytes and nodes, with a memo that may keep nothing, which is what large
 * values come to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "compiler/compile.h"
#include "graph/interp_memo.h"
#include "package/package.h"
#include "verify/sample.h"

#include <cmocka.h>

#define WINDOW                                               \
    "{window [size 3 stride 1 low 1 high 1 dilation 1 base " \
    "1, size 3 stride 1 low 1 high 1 dilation 1 base 1], groups 1}"

static const char text[] = "graph \"listener\"\n"
                           "%1 = param \"w\" : f32[32, 1, 3, 3]\n"
                           "%2 = param \"v\" : f32[48, 32, 3, 3]\n"
                           "%3 = input \"x\" : f32[1, 1, 60, 40]\n"
                           "%4 = conv %3, %1 " WINDOW " : f32[1, 32, 60, 40]\n"
                           "%5 = const 0 : f32[]\n"
                           "%6 = broadcast %5 {axes []} : f32[1, 32, 60, 40]\n"
                           "%7 = max %4, %6 : f32[1, 32, 60, 40]\n"
                           "%8 = conv %7, %2 " WINDOW " : f32[1, 48, 60, 40]\n"
                           "%9 = broadcast %5 {axes []} : f32[1, 48, 60, 40]\n"
                           "%10 = max %8, %9 : f32[1, 48, 60, 40]\n"
                           "%11 = reduce_max %10 {axes [2, 3]} : f32[1, 48]\n"
                           "output \"y\" %11\n";
/* Bytes of cells and bounds of an image in the middle of it. */
#define IMAGE_BYTES ((size_t)2 * 8 * 32 * 60 * 40)

struct bed {
    struct arena arena;
    struct error err;
    struct package_contents contents;
    struct sample sample;
    struct interp_tensor sources[3];
};

static void must(bool ok, const struct error *err)
{
    if (!ok)
        fail_msg("%s: %s: %s", error_name(err->code), err->place, err->message);
}

static int setup(void **state)
{
    static float w[32 * 9], v[48 * 32 * 9];
    static struct bed bed;
    struct graph graph;
    struct package_param params[2] = {{.dtype = DTYPE_F32, .data = w, .data_bytes = sizeof w},
                                      {.dtype = DTYPE_F32, .data = v, .data_bytes = sizeof v}};
    const struct compile_options options = {.strategy = STRATEGY_FAST,
                                            .targets = "x86-64-v2,x86-64-v3,x86-64-v4"};
    struct compile_result compiled;
    bed = (struct bed){0};
    arena_init(&bed.arena);
    random_fill(DTYPE_F32, sizeof w / sizeof w[0], 1, FILL_NORMAL, 0, w);
    random_fill(DTYPE_F32, sizeof v / sizeof v[0], 2, FILL_NORMAL, 0, v);
    must(graph_parse(&graph, &bed.arena, text, sizeof text - 1, &bed.err), &bed.err);
    must(compile_graph(&(struct compile_source){&graph, params, NULL}, &options, &bed.arena,
                       &compiled, &bed.err),
         &bed.err);
    const struct trust trust = {.policy = TRUST_ALLOW_UNSIGNED};
    must(package_read(compiled.package, compiled.package_bytes, &trust, &bed.arena, &bed.contents,
                      &bed.err),
         &bed.err);
    static const int64_t dims[LIMIT_NAMED_DIMS];
    const struct sample_request request = {
        .graph = &bed.contents.graph, .params = bed.contents.params, .dims = dims, .seed = 3};
    must(sample_make(&bed.sample, &request, &bed.arena, &bed.err), &bed.err);
    must(sample_sources(&bed.sample, NULL, bed.sources, &bed.arena, &bed.err), &bed.err);
    *state = &bed;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct bed *)*state)->arena);
    return 0;
}

/* Runs a graph and returns the bytes that this took. */
static size_t run(struct bed *bed, const char *graph_text, size_t bytes, struct interp_memo *memo,
                  struct interp_tensor *out)
{
    const struct interp_options options = {.mode = INTERP_REFERENCE, .wide = true, .memo = memo};
    const struct interp_arguments arguments = {bed->sample.dims, bed->sources, 3};
    struct graph graph;
    must(graph_parse(&graph, &bed->arena, graph_text, bytes, &bed->err), &bed->err);
    size_t before = bed->arena.used_bytes;
    must(interp_run(&graph, &options, &arguments, &bed->arena, out, &bed->err), &bed->err);
    return bed->arena.used_bytes - before;
}

static void assert_same(const struct interp_tensor *a, const struct interp_tensor *b)
{
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->cells, b->cells, (size_t)a->count * sizeof *a->cells);
    assert_int_equal(a->bounds != NULL, b->bounds != NULL);
    if (a->bounds)
        assert_memory_equal(a->bounds, b->bounds, (size_t)a->count * sizeof *a->bounds);
}

static const struct package_target *target_of(const struct bed *bed, const char *name)
{
    for (uint32_t t = 0; t < bed->contents.target_count; t++)
        if (strcmp(bed->contents.targets[t].name, name) == 0)
            return &bed->contents.targets[t];
    fail_msg("no target %s", name);
    return NULL;
}

static void graphs_that_differ_in_layout_run_once(void **state)
{
    struct bed *bed = *state;
    struct interp_memo *memo = interp_memo_new(&bed->arena, 0);
    const struct package_target *v2 = target_of(bed, "x86-64-v2");
    const struct package_target *v4 = target_of(bed, "x86-64-v4");
    struct interp_tensor before, first, again;
    assert_false(v2->optimised_bytes == v4->optimised_bytes &&
                 memcmp(v2->optimised, v4->optimised, v2->optimised_bytes) == 0);
    assert_true(run(bed, text, sizeof text - 1, memo, &before) > IMAGE_BYTES);
    run(bed, v2->optimised, v2->optimised_bytes, memo, &first);
    uint32_t found = interp_memo_found(memo);
    assert_true(run(bed, v4->optimised, v4->optimised_bytes, memo, &again) < IMAGE_BYTES / 2);
    assert_true(interp_memo_found(memo) >= found + 10);
    assert_same(&again, &first);
    assert_true(run(bed, v4->optimised, v4->optimised_bytes, NULL, &first) > IMAGE_BYTES);
    assert_same(&again, &first);
}

/* Replaces the n-th occurrence of a word; NULL: there are fewer. */
static char *replaced(struct bed *bed, const struct package_target *target, const char *word,
                      const char *by, uint32_t n)
{
    char *copy = arena_strndup(&bed->arena, target->optimised, target->optimised_bytes);
    char *at = copy;
    for (uint32_t i = 0; at && i <= n; i++)
        at = strstr(i > 0 ? at + 1 : at, word);
    if (at)
        memcpy(at, by, strlen(by));
    return at ? copy : NULL;
}

/* A graph of one target that is another function: it is run, and its result is its own. */
static void damage_is_seen(void **state)
{
    static const struct {
        const char *word, *by;
    } rows[] = {{" max ", " min "}, {" conv ", " conv "}, {"const 0 ", "const 1 "}};
    struct bed *bed = *state;
    const struct package_target *v2 = target_of(bed, "x86-64-v2");
    const struct package_target *v4 = target_of(bed, "x86-64-v4");
    uint32_t damages = 0;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        bool harmless = strcmp(rows[r].word, rows[r].by) == 0;
        char *damaged;
        for (uint32_t n = 0; (damaged = replaced(bed, v4, rows[r].word, rows[r].by, n)); n++) {
            struct interp_memo *memo = interp_memo_new(&bed->arena, 0);
            struct interp_tensor right, out, alone;
            run(bed, v2->optimised, v2->optimised_bytes, memo, &right);
            size_t bytes = run(bed, damaged, strlen(damaged), memo, &out);
            run(bed, damaged, strlen(damaged), NULL, &alone);
            assert_same(&out, &alone);
            size_t size = (size_t)out.count * sizeof *out.cells;
            bool differs = memcmp(out.cells, right.cells, size) != 0;
            assert_int_equal(differs, !harmless);
            assert_int_equal(bytes < IMAGE_BYTES / 2, harmless);
            damages += !harmless;
        }
    }
    assert_true(damages >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(graphs_that_differ_in_layout_run_once, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_seen, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
