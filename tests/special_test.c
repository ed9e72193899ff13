/* Packages with kernels for given sizes beside those for all sizes: results are right at both, with
 * any number of threads and with the same bits each time; the kernels that were made for a size run
 * there and nowhere else; verification runs them, and notices damage in any of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "package/package.h"
#include "verify/sample.h"
#include "verify/verify.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

/* A package of an example, and what it holds. */
struct bed {
    struct arena arena;
    struct package_contents contents;
    const void *package;
    size_t bytes;
};

static bool compile(struct bed *bed, const char *example, struct compile_options *options,
                    struct error *err)
{
    const struct trust any = {TRUST_ALLOW_UNSIGNED, NULL};
    char path[128], *text;
    size_t size;
    struct compile_result result;
    *bed = (struct bed){0};
    arena_init(&bed->arena);
    snprintf(path, sizeof path, "examples/%s.json", example);
    must(file_read(path, LIMIT_JSON_BYTES, &text, &size, err), err);
    options->strategy = STRATEGY_STANDARD;
    options->targets = target_best_here();
    bool ok = compile_blueprint(text, size, options, &bed->arena, &result, err);
    if (ok) {
        char *copy = arena_alloc(&bed->arena, result.package_bytes, 64);
        memcpy(copy, result.package, result.package_bytes);
        bed->package = copy;
        bed->bytes = result.package_bytes;
        must(package_read(copy, bed->bytes, &any, &bed->arena, &bed->contents, err), err);
    }
    free(text);
    return ok;
}

static void make(struct bed *bed, const char *example, const char *specialise)
{
    struct error err = {0};
    struct compile_options options = {.specialise = specialise};
    must(compile(bed, example, &options, &err), &err);
}

static struct plan *plan_of(struct bed *bed)
{
    return &bed->contents.targets[0].plan;
}

/* Writes the contents, which the caller has changed. */
static struct strbuf rewrite(struct bed *bed)
{
    struct error err = {0};
    struct strbuf out;
    char id[KERNEL_ID_BYTES];
    strbuf_init(&out, &bed->arena);
    must(package_write(&bed->contents, NULL, &out, id, &err), &err);
    char *copy = arena_alloc(&bed->arena, out.size_bytes, 64);
    memcpy(copy, out.data, out.size_bytes);
    out.data = copy;
    return out;
}

static urza_module *load(const void *package, size_t bytes, uint32_t threads)
{
    const urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = threads};
    urza_module *module = NULL;
    urza_error err;
    if (urza_load_memory(package, bytes, &options, &module, &err) != 0)
        TEST_FAILED("%s: %s", err.place, err.message);
    return module;
}

static void sample_at(struct bed *bed, const int64_t *dims, struct sample *out)
{
    struct error err = {0};
    const struct sample_request request = {
        &bed->contents.graph, bed->contents.params, dims, 7, FILL_NORMAL, NULL};
    must(sample_make(out, &request, &bed->arena, &err), &err);
}

/* Outputs of one call, with bytes in them beforehand that no result has. */
static void **call(struct bed *bed, const struct sample *sample, urza_module *module)
{
    struct error err = {0};
    void **inputs = ARENA_ARRAY(&bed->arena, void *, sample->input_count + 1);
    void **outputs = ARENA_ARRAY(&bed->arena, void *, sample->output_count + 1);
    for (uint32_t i = 0; i < sample->input_count; i++)
        inputs[i] = sample->inputs[i].data;
    for (uint32_t i = 0; i < sample->output_count; i++) {
        outputs[i] = arena_alloc(&bed->arena, sample->outputs[i].bytes + 1, 64);
        memset(outputs[i], 0xa5, sample->outputs[i].bytes);
    }
    must(sample_call(sample, module, inputs, outputs, &err), &err);
    return outputs;
}

static bool same(const struct sample *sample, void *const *a, void *const *b)
{
    uint32_t output;
    size_t element;
    return !sample_differs(sample, a, b, &output, &element);
}

/* Sizes of the transformer block, and the specialisation that they belong to. */
#define SPECIALISE "B=3\nB=2,S=21\nB=1,S=40"
static const struct {
    int64_t dims[2];
    uint32_t special;
} SIZES[] = {
    {{2, 21}, 0},         {{1, 40}, 1},         {{3, 21}, 2},         {{3, 7}, 2},
    {{2, 20}, PLAN_NONE}, {{2, 22}, PLAN_NONE}, {{1, 21}, PLAN_NONE}, {{4, 40}, PLAN_NONE},
};
#define SIZE_COUNT (sizeof SIZES / sizeof *SIZES)

static void results_are_right_and_repeat(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    make(&bed, "transformer_block", SPECIALISE);
    urza_module *one = load(bed.package, bed.bytes, 1), *two = load(bed.package, bed.bytes, 2);
    for (size_t i = 0; i < SIZE_COUNT; i++) {
        struct sample sample;
        struct interp_difference difference;
        uint32_t output;
        assert_int_equal(plan_special_at(plan_of(&bed), SIZES[i].dims), SIZES[i].special);
        sample_at(&bed, SIZES[i].dims, &sample);
        must(sample_expect(&sample, &bed.arena, &err), &err);
        void **first = call(&bed, &sample, one);
        sample_compare(&sample, first, &difference, &output);
        if (!(difference.worst_ratio <= 1))
            TEST_FAILED("size %zu: off by %g, bound %g", i, difference.worst_absolute,
                        difference.worst_bound);
        assert_true(same(&sample, first, call(&bed, &sample, one)));
        assert_true(same(&sample, first, call(&bed, &sample, two)));
        assert_true(same(&sample, first, call(&bed, &sample, two)));
    }
    urza_unload(one);
    urza_unload(two);
    arena_release(&bed.arena);
}

/* The variant of a specialisation, to be damaged; NULL: the launch has none. */
static struct plan_code *variant(const struct plan_launch *launch, uint32_t special)
{
    const struct plan_code *code = plan_code_of(launch, special);
    return code == &launch->code ? NULL : (struct plan_code *)(uintptr_t)code;
}

/* The launch that writes the output has a kernel of its own in each specialisation. It is shortened
 * in one, and results change in calls of that one only. */
static void each_size_has_its_own_kernels(void **state)
{
    (void)state;
    static const char *const names[] = {" at B=2 S=21", " at B=1 S=40", " at B=3"};
    struct bed bed;
    make(&bed, "transformer_block", SPECIALISE);
    struct plan *plan = plan_of(&bed);
    const struct plan_launch *last = &plan->forward.items[plan->forward.count - 1];
    urza_module *whole = load(bed.package, bed.bytes, 1);
    for (uint32_t s = 0; s < plan->specials.count; s++) {
        struct plan_code *code = variant(last, s), was;
        assert_non_null(code);
        assert_int_not_equal(code->kernel, last->code.kernel);
        assert_non_null(strstr(bed.contents.targets[0].kernel_names[code->kernel], names[s]));
        was = *code;
        code->extent = dim_sub(plan->dims, code->extent, dim_const(plan->dims, 1));
        struct strbuf damaged = rewrite(&bed);
        *code = was;
        urza_module *module = load(damaged.data, damaged.size_bytes, 1);
        for (size_t i = 0; i < SIZE_COUNT; i++) {
            struct sample sample;
            sample_at(&bed, SIZES[i].dims, &sample);
            assert_true(same(&sample, call(&bed, &sample, whole), call(&bed, &sample, module)) ==
                        (SIZES[i].special != s));
        }
        urza_unload(module);
    }
    urza_unload(whole);
    arena_release(&bed.arena);
}

/* What failed checks say, without those that were not run; "" where the package passes. */
static const char *faults_of(struct bed *bed, const void *package, size_t bytes,
                             struct verify_report *report)
{
    struct strbuf said;
    struct error err = {0};
    const struct verify_options options = {.seed = 4, .allow_unsigned = true};
    strbuf_init(&said, &bed->arena);
    if (!verify_package(package, bytes, &options, &bed->arena, report, &err))
        return arena_strdup(&bed->arena, err.message);
    for (uint32_t i = 0; i < report->count; i++)
        if (!report->checks[i].pass && !strstr(report->checks[i].detail, "not run"))
            strbuf_printf(&said, "%s: %s; ", report->checks[i].name, report->checks[i].detail);
    return said.size_bytes > 0 ? said.data : "";
}

static const struct verify_size *find_size(const struct verify_report *report, const char *dims)
{
    for (uint32_t i = 0; i < report->size_count; i++)
        if (strcmp(report->sizes[i].dims, dims) == 0)
            return &report->sizes[i];
    return NULL;
}

static void verification_covers_every_size(void **state)
{
    (void)state;
    static const char *const examples[] = {"transformer_block", "gated_mlp_rmsnorm"};
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct bed bed;
        struct verify_report report;
        make(&bed, examples[i], "B=3\nB=2,S=21\nB=64,S=512");
        const char *fault = faults_of(&bed, bed.package, bed.bytes, &report);
        if (fault[0] != '\0')
            TEST_FAILED("%s: %s", examples[i], fault);
        const struct verify_size *exact = find_size(&report, "B=2 S=21");
        assert_non_null(exact);
        assert_true(exact->runtime && exact->checked > 0);
        const struct verify_size *large = find_size(&report, "B=64 S=512");
        assert_non_null(large);
        assert_true(large->checked > 0);
        uint32_t partly = 0, general = 0;
        for (uint32_t k = 0; k < report.size_count; k++) {
            bool of_three = strncmp(report.sizes[k].dims, "B=3 ", 4) == 0;
            partly += of_three && report.sizes[k].runtime;
            general += !of_three && &report.sizes[k] != exact && report.sizes[k].runtime;
        }
        assert_true(partly >= 2 && general >= 2);
        arena_release(&bed.arena);
    }
}

enum damage { SHORTENED, OF_ANOTHER_SIZE, WITHOUT_SCRATCH, DAMAGES };

/* False: there is nothing to damage. */
static bool plant(const struct plan *plan, const struct plan_launch *launch, uint32_t special,
                  enum damage damage, struct plan_code *code)
{
    int64_t scratch;
    switch (damage) {
    case SHORTENED:
        code->extent = dim_sub(plan->dims, code->extent, dim_const(plan->dims, 1));
        return true;
    case OF_ANOTHER_SIZE: /* one that works row by row is right with any number of rows */
        code->kernel = variant(launch, 1 - special)->kernel;
        return strstr(launch->label, "contract") != NULL;
    default:
        if (!dim_is_const(plan->dims, code->scratch_bytes, &scratch) || scratch == 0)
            return false;
        code->scratch_bytes = dim_const(plan->dims, 0);
        return true;
    }
}

static void damage_is_noticed(void **state)
{
    (void)state;
    struct bed bed;
    struct verify_report report;
    uint32_t planted[DAMAGES] = {0};
    make(&bed, "transformer_block", "B=2,S=21\nB=3,S=33");
    struct plan *plan = plan_of(&bed);
    for (uint32_t l = 0; l < plan->forward.count; l++) {
        const struct plan_launch *launch = &plan->forward.items[l];
        for (int d = 0; d < DAMAGES; d++) {
            uint32_t special = (l + (uint32_t)d) % 2;
            struct plan_code *code = variant(launch, special), was;
            assert_non_null(code);
            was = *code;
            bool is_planted = plant(plan, launch, special, (enum damage)d, code);
            struct strbuf damaged = rewrite(&bed);
            *code = was;
            if (!is_planted)
                continue;
            planted[d]++;
            const char *fault = faults_of(&bed, damaged.data, damaged.size_bytes, &report);
            if (!strstr(fault, special == 0 ? "B=2 S=21" : "B=3 S=33"))
                TEST_FAILED("launch %u, damage %d: %s", l, d, fault[0] ? fault : "passes");
        }
    }
    for (int d = 0; d < DAMAGES; d++)
        assert_true(planted[d] > 0);
    arena_release(&bed.arena);
}

static void training_steps_have_them_too(void **state)
{
    (void)state;
    struct bed bed;
    struct error err = {0};
    struct verify_report report;
    struct compile_options options = {.specialise = "B=2,S=21", .backward = true};
    must(compile(&bed, "transformer_block", &options, &err), &err);
    const struct plan *step = &bed.contents.step->targets[0].plan;
    assert_int_equal(step->specials.count, 1);
    assert_true(plan_special_count(step, 0) > step->forward.count * 9 / 10);
    const char *fault = faults_of(&bed, bed.package, bed.bytes, &report);
    if (fault[0] != '\0')
        TEST_FAILED("%s", fault);
    arena_release(&bed.arena);

    struct compile_options whole = {
        .specialise = "B=2,T=21", .step = "adamw", .loss = "cross_entropy(logits)"};
    must(compile(&bed, "char_transformer", &whole, &err), &err);
    assert_true(plan_special_count(plan_of(&bed), 0) > 0);
    fault = faults_of(&bed, bed.package, bed.bytes, &report);
    if (fault[0] != '\0')
        TEST_FAILED("%s", fault);
    assert_non_null(find_size(&report, "B=2 T=21"));
    arena_release(&bed.arena);
}

static void wrong_sizes_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *specialise, *said;
    } rows[] = {
        {"", "'', expected NAME=SIZE"},
        {"B", "'B', expected NAME=SIZE"},
        {"=2", "'=2', expected NAME=SIZE"},
        {"B=2,", "'', expected NAME=SIZE"},
        {"B=2;S=3", "no dim is named 'B=2;S'"},
        {"B=2x", "'2x' is no size of 'B'"},
        {"B=", "'' is no size of 'B'"},
        {"B=-1", "'-1' is no size of 'B'"},
        {"B=99999999999999999999", "'99999999999999999999' is no size of 'B'"},
        {"B=0", "'B' is 1 to 256, never 0"},
        {"B=257", "'B' is 1 to 256, never 257"},
        {"C=2", "no dim is named 'C'; there are 'B', 'S'"},
        {"B=2,B=3", "'B' is given twice"},
        {"S=3,B=2\nB=2,S=3", "the specialisation 'B=2,S=3' is given twice"},
        {"B=1\nB=2\nB=3\nB=4\nB=5\nB=6\nB=7\nB=8\nB=9\nB=10\nB=11\nB=12\nB=13\nB=14\nB=15\nB=16\n"
         "B=17",
         "more than 16 specialisations"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bed bed;
        struct error err = {0};
        struct compile_options options = {.specialise = rows[i].specialise};
        assert_false(compile(&bed, "transformer_block", &options, &err));
        if (err.code != ERR_USAGE || !strstr(err.message, rows[i].said))
            TEST_FAILED("'%s': %s: %s", rows[i].specialise, err.place, err.message);
        arena_release(&bed.arena);
    }
}

/* A size at which a launch has more memory than can be reserved has kernels, but no evidence. */
static void what_cannot_be_verified_is_refused(void **state)
{
    (void)state;
    static const char text[] = "graph \"g\"\ndim N 1..1000000000000 multiple 1 typical 8\n"
                               "%1 = input \"x\" : f32[N]\n%2 = exp %1 : f32[N]\noutput \"y\" %2\n";
    static const char *const sizes[] = {"N=1000", "N=1000000000", "N=1000000000000"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bed bed = {0};
        struct graph graph;
        struct error err = {0};
        struct verify_report report;
        struct compile_result result;
        const struct compile_options options = {.specialise = sizes[i],
                                                .targets = target_best_here()};
        arena_init(&bed.arena);
        must(graph_parse(&graph, &bed.arena, text, sizeof text - 1, &err), &err);
        must(compile_graph(&(struct compile_source){.graph = &graph}, &options, &bed.arena, &result,
                           &err),
             &err);
        const char *fault = faults_of(&bed, result.package, result.package_bytes, &report);
        if (strstr(fault, "too large to be verified") ? i < 2 : i == 2 || fault[0] != '\0')
            TEST_FAILED("%s: %s", sizes[i], fault);
        arena_release(&bed.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_right_and_repeat),
        cmocka_unit_test(each_size_has_its_own_kernels),
        cmocka_unit_test(verification_covers_every_size),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(training_steps_have_them_too),
        cmocka_unit_test(what_cannot_be_verified_is_refused),
        cmocka_unit_test(wrong_sizes_are_refused),
    };
    if (!target_best_here()) {
        print_message("no native code here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
