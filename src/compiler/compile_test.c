/* The whole pipeline: the same input gives the same bytes, limits hold, and failures in the
 * compiler's process are errors in the caller's. */
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
#include "compiler/compile.h"
#include "compiler/loop/loop.h"
#include "compiler/opt/opt.h"
#include "compiler/sched/sched.h"

#include <cmocka.h>

static const char *const examples[] = {
    "mlp",          "resnet_bottleneck", "mobilenet_inverted_residual",
    "custom_graph", "transformer_block", "conv_arch",
};
#define EXAMPLES (sizeof examples / sizeof examples[0])

static char *read_example(const char *name, size_t *size)
{
    char path[128], *text;
    struct error err = {0};
    snprintf(path, sizeof path, "examples/%s.json", name);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, size, &err))
        fail_msg("%s: %s", path, err.message);
    return text;
}

static void same_input_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLES; i++) {
        struct arena a, b;
        struct error err = {0};
        struct compile_options options = {.strategy = STRATEGY_FAST};
        struct compile_result first = {0}, second = {0};
        size_t size;
        char *text = read_example(examples[i], &size);
        arena_init(&a);
        arena_init(&b);
        assert_true(compile_blueprint(text, size, &options, &a, &first, &err));
        assert_true(compile_isolated(text, size, &options, &b, &second, &err));
        assert_string_equal(first.kernel_id, second.kernel_id);
        assert_int_equal(first.package_bytes, second.package_bytes);
        assert_memory_equal(first.package, second.package, first.package_bytes);
        arena_release(&a);
        arena_release(&b);
        free(text);
    }
}

static void options_decide_the_id(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    size_t size;
    char *text = read_example("mlp", &size);
    struct compile_options v3 = {.strategy = STRATEGY_FAST, .targets = "x86-64-v3"};
    struct compile_options v4 = {.strategy = STRATEGY_FAST, .targets = "x86-64-v4"};
    struct compile_result a = {0}, b = {0};
    arena_init(&arena);
    assert_true(compile_blueprint(text, size, &v3, &arena, &a, &err));
    assert_true(compile_blueprint(text, size, &v4, &arena, &b, &err));
    assert_string_not_equal(a.kernel_id, b.kernel_id);
    arena_release(&arena);
    free(text);
}

/* Counts the calls; with damage it sets the extent of the first launch to zero. */
struct watcher {
    uint32_t seen[STAGE_COUNT], nests, passes, steps;
    bool damage;
};

static void watch(void *context, const struct compile_view *view)
{
    struct watcher *w = context;
    w->seen[view->stage]++;
    assert_non_null(view->target);
    assert_true(view->graph->outputs.count > 0);
    for (uint32_t i = 0; i < view->nest_count; i++)
        w->nests += view->nests[i]->body.stmts.count > 0;
    if (view->stage == STAGE_PACKAGE && w->damage)
        view->plan->forward.items[0].code.extent = dim_const(view->plan->dims, 0);
}

/* Expects passes in their order, for one target after the other. */
static void watch_pass(void *context, const struct compile_view *view)
{
    struct watcher *w = context;
    uint32_t count = 0;
    while (pass_at(count))
        count++;
    assert_ptr_equal(view->pass, pass_at(w->passes++ % count));
    assert_int_equal(view->stage, STAGE_OPTIMISE);
    assert_true(view->graph->outputs.count > 0);
}

static void watch_step(void *context, const struct compile_view *view)
{
    struct watcher *w = context;
    w->steps++;
    assert_true(view->kernel < view->nest_count && view->step->kind != STEP_NONE);
    assert_true(view->nests[view->kernel]->body.stmts.count > 0);
    assert_non_null(view->labels[view->kernel]);
}

static void an_observer_sees_every_stage_and_may_change_it(void **state)
{
    (void)state;
    static const uint32_t once[STAGE_COUNT] = {[STAGE_READ] = 2,
                                               [STAGE_OPTIMISE] = 2,
                                               [STAGE_LOWER] = 2,
                                               [STAGE_SCHEDULE] = 2,
                                               [STAGE_PACKAGE] = 2};
    struct arena arena;
    struct error err = {0};
    size_t size;
    char *text = read_example("mlp", &size);
    struct watcher watcher = {.damage = false}, damager = {.damage = true};
    struct compile_observer watching = {watch, &watcher, watch_pass, watch_step},
                            damaging = {.see = watch, .context = &damager};
    struct compile_options alone = {.strategy = STRATEGY_FAST, .targets = "x86-64-v3,x86-64-v2"},
                           watched = alone, damaged = alone;
    struct compile_result a = {0}, b = {0}, c = {0};
    watched.observer = &watching;
    damaged.observer = &damaging;
    arena_init(&arena);
    assert_true(compile_blueprint(text, size, &alone, &arena, &a, &err));
    assert_true(compile_blueprint(text, size, &watched, &arena, &b, &err));
    assert_true(compile_blueprint(text, size, &damaged, &arena, &c, &err));
    assert_memory_equal(watcher.seen, once, sizeof once);
    assert_true(watcher.nests > 0 && watcher.passes > 0 && watcher.steps > watcher.nests / 2);
    assert_string_equal(a.kernel_id, b.kernel_id);
    assert_string_not_equal(a.kernel_id, c.kernel_id);
    arena_release(&arena);
    free(text);
}

/* A dump of all levels has sections with the same texts as dumps of each level. */
static void a_dump_of_all_levels_has_sections(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    struct compile_options all = {
        .strategy = STRATEGY_FAST, .targets = "x86-64-v3", .dump = DUMP_ALL};
    struct compile_options loops = all;
    struct compile_result result = {0}, alone = {0};
    struct dump_section s;
    size_t size, at = 0;
    uint32_t kernels = 0, assemblies = 0;
    char *text = read_example("mlp", &size);
    loops.dump = "loops";
    arena_init(&arena);
    assert_true(compile_blueprint(text, size, &all, &arena, &result, &err));
    assert_true(compile_blueprint(text, size, &loops, &arena, &alone, &err));
    const char *dump = result.dump;
    while (dump_next(&dump, &s)) {
        bool is_loops = strcmp(s.level, "loops") == 0;
        assemblies += strcmp(s.level, "asm") == 0 && s.size > 0;
        assert_string_equal(s.target, strcmp(s.level, "graph") == 0 ? "" : "x86-64-v3");
        if (!is_loops)
            continue;
        assert_int_equal(s.kernel, kernels++);
        assert_true(s.label[0] != 0);
        assert_memory_equal(s.text, alone.dump + at, s.size);
        at += s.size;
    }
    assert_int_equal(*dump, 0);
    assert_int_equal(at, strlen(alone.dump));
    assert_true(kernels > 0 && assemblies == kernels);
    static const char *const damaged[] = {"",
                                          "loops",
                                          "\x1eloops",
                                          "\x1eloops x86-64-v3 0 5 a\nabc",
                                          "\x1eloops x86-64-v3 0\nabc",
                                          "\x1eloops x86-64-v3 0 18446744073709551615 a\nabc",
                                          "\x1e\n"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        dump = damaged[i];
        assert_false(dump_next(&dump, &s));
        assert_ptr_equal(dump, damaged[i]);
    }
    arena_release(&arena);
    free(text);
}

static void bad_targets_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *targets;
        enum error_code code;
    } rows[] = {
        {"x86-64-v9", ERR_TARGET},
        {"x86-64-v4,x86-64-v4", ERR_USAGE},
        {"x86-64-v4,,x86-64-v3", ERR_USAGE},
    };
    size_t size;
    char *text = read_example("custom_graph", &size);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena;
        struct error err = {0};
        struct compile_options options = {.strategy = STRATEGY_FAST, .targets = rows[i].targets};
        struct compile_result result = {0};
        arena_init(&arena);
        assert_false(compile_blueprint(text, size, &options, &arena, &result, &err));
        assert_int_equal(err.code, rows[i].code);
        arena_release(&arena);
    }
    free(text);
}

static void emergency_has_no_code(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    size_t size;
    char *text = read_example("mlp", &size);
    struct compile_options options = {.strategy = STRATEGY_EMERGENCY};
    struct compile_result result = {0};
    arena_init(&arena);
    assert_true(compile_blueprint(text, size, &options, &arena, &result, &err));
    const uint8_t *data;
    size_t bytes;
    assert_true(package_entry(result.package, result.package_bytes, "graph", &data, &bytes, &err));
    assert_false(
        package_entry(result.package, result.package_bytes, "code/x86-64-v4", &data, &bytes, &err));
    arena_release(&arena);
    free(text);
}

static void time_of_the_child_is_limited(void **state)
{
    (void)state;
    size_t size;
    char *text = read_example("transformer_block", &size);
    struct compile_options late = {.strategy = STRATEGY_FAST, .timeout_ms = 1};
    struct arena arena;
    struct error err = {0};
    struct compile_result result = {0};
    arena_init(&arena);
    assert_false(compile_isolated(text, size, &late, &arena, &result, &err));
    assert_int_equal(err.code, ERR_COMPILER_DIED);
    assert_null(result.package);
    arena_release(&arena);
    free(text);
}

/* Running out of memory in an arena, in LLVM or in the C++ library is reported as such; with enough
 * memory there is a package. */
static void memory_of_the_child_is_limited(void **state)
{
    (void)state;
    size_t size;
    uint32_t refused = 0;
    bool ok = URZA_SANITIZED;
    char *text = read_example("transformer_block", &size);
    for (uint64_t mib = 1; !ok && mib < 8192; mib += mib / 8 + 1) {
        struct compile_options small = {
            .strategy = STRATEGY_FAST, .targets = "x86-64-v3", .memory_bytes = mib << 20};
        struct arena arena;
        struct error err = {0};
        struct compile_result result = {0};
        char expected[80];
        arena_init(&arena);
        ok = compile_isolated(text, size, &small, &arena, &result, &err);
        snprintf(expected, sizeof expected, "the compiler ran out of memory: it may take %d MiB",
                 (int)mib);
        if (!ok) {
            assert_string_equal(err.message, expected);
            assert_int_equal(err.code, ERR_NOMEM);
            assert_null(result.package);
            refused++;
            print_message("%s\n", err.message);
        }
        arena_release(&arena);
    }
    assert_true(ok && (refused > 3 || URZA_SANITIZED));
    free(text);
}

static void errors_cross_the_pipe(void **state)
{
    (void)state;
    static const char text[] = "{\"format\": \"urza.blueprint/1\", \"inputs\": [], \"nodes\": "
                               "[{\"id\": \"y\", \"op\": \"nonsense\", \"in\": []}], "
                               "\"outputs\": [\"y\"]}";
    struct arena arena;
    struct error here = {0}, there = {0};
    struct compile_options options = {.strategy = STRATEGY_FAST};
    struct compile_result result = {0};
    arena_init(&arena);
    assert_false(compile_blueprint(text, sizeof text - 1, &options, &arena, &result, &here));
    assert_false(compile_isolated(text, sizeof text - 1, &options, &arena, &result, &there));
    assert_int_equal(here.code, ERR_BLUEPRINT);
    assert_int_equal(there.code, here.code);
    assert_string_equal(there.place, here.place);
    assert_string_equal(there.message, here.message);
    arena_release(&arena);
}

static void warns(void **state)
{
    (void)state;
    static const char text[] =
        "{\"format\": \"urza.blueprint/1\", \"inputs\": ["
        "{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [3]}, "
        "{\"id\": \"idle\", \"dtype\": \"f32\", \"shape\": [2]}], \"params\": ["
        "{\"id\": \"w\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"ones\"}}, "
        "{\"id\": \"v\", \"dtype\": \"f32\", \"shape\": [3], \"init\": {\"kind\": \"ones\"}}], "
        "\"nodes\": [{\"id\": \"y\", \"op\": \"add\", \"in\": [\"x\", \"w\"]}, "
        "{\"id\": \"z\", \"op\": \"relu\", \"in\": [\"w\"]}, "
        "{\"id\": \"dead\", \"op\": \"add\", \"in\": [\"x\", \"v\"]}], "
        "\"outputs\": [\"y\", \"z\"]}";
    static const char expected[] = "input 'idle' is not used: no output depends on it\0"
                                   "param 'v' is not used: no output depends on it\0"
                                   "output 'z' is the same on every call: it depends on no input";
    struct compile_options options = {.strategy = STRATEGY_FAST, .targets = "x86-64-v3"};
    for (int isolated = 0; isolated < 2; isolated++) {
        struct arena arena;
        struct error err = {0};
        struct compile_result result = {0};
        arena_init(&arena);
        bool ok = isolated
                      ? compile_isolated(text, sizeof text - 1, &options, &arena, &result, &err)
                      : compile_blueprint(text, sizeof text - 1, &options, &arena, &result, &err);
        assert_true(ok);
        assert_int_equal(result.warnings_bytes, sizeof expected);
        assert_memory_equal(result.warnings, expected, sizeof expected);
        arena_release(&arena);
    }
    size_t size;
    char *fine = read_example("mlp", &size);
    struct arena arena;
    struct error err = {0};
    struct compile_result result = {0};
    arena_init(&arena);
    assert_true(compile_isolated(fine, size, &options, &arena, &result, &err));
    assert_int_equal(result.warnings_bytes, 0);
    arena_release(&arena);
    free(fine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: later tests leave free memory behind, which a child has, too, and which no limit
         * counts. */
        cmocka_unit_test(memory_of_the_child_is_limited),
        cmocka_unit_test(warns),
        cmocka_unit_test(same_input_same_bytes),
        cmocka_unit_test(options_decide_the_id),
        cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(emergency_has_no_code),
        cmocka_unit_test(time_of_the_child_is_limited),
        cmocka_unit_test(errors_cross_the_pipe),
        cmocka_unit_test(an_observer_sees_every_stage_and_may_change_it),
        cmocka_unit_test(a_dump_of_all_levels_has_sections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
