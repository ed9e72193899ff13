/* Modules that share a runtime: its threads, its working memory, how long it lives. */
#include "runtime/test_util.h"

#include <pthread.h>

#define MODULES 12
#define THREADS 4
#define ROWS 1000
#define LARGE_ROWS 200000

static const urza_runtime_options two_threads = {.threads = 2};

static urza_runtime *new_runtime(const urza_runtime_options *options)
{
    urza_runtime *runtime = NULL;
    urza_error err;
    must_work(urza_runtime_new(options, &runtime, &err), &err);
    return runtime;
}

static urza_module *load_with(urza_runtime *runtime)
{
    const urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .runtime = runtime};
    return test_load("4*B", &options);
}

static urza_runtime_stats stats_of(const urza_runtime *runtime)
{
    urza_runtime_stats stats;
    urza_runtime_stats_get(runtime, &stats);
    return stats;
}

static uint64_t working_alone(int64_t rows)
{
    urza_runtime *runtime = new_runtime(&two_threads);
    urza_module *module = load_with(runtime);
    test_call(module, rows);
    uint64_t bytes = stats_of(runtime).working_bytes;
    urza_unload(module);
    urza_runtime_release(runtime);
    return bytes;
}

static void modules_use_the_same_memory(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(&two_threads);
    urza_module *modules[MODULES];
    uint64_t alone = working_alone(ROWS + MODULES);
    for (int i = 0; i < MODULES; i++)
        modules[i] = load_with(runtime);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < MODULES; i++)
            test_call(modules[i], ROWS + i * round);
    urza_runtime_stats stats = stats_of(runtime);
    assert_int_equal(stats.modules, MODULES);
    assert_int_equal(stats.threads, 2);
    assert_int_equal(stats.idle_bytes, stats.working_bytes);
    assert_true(stats.working_bytes > 0 && stats.working_bytes <= 2 * alone);
    for (int i = 0; i < MODULES; i++)
        urza_unload(modules[i]);
    assert_int_equal(stats_of(runtime).modules, 0);
    urza_runtime_release(runtime);
}

struct caller {
    urza_module **modules;
    uint32_t first;
};

static void *call_all(void *argument)
{
    const struct caller *caller = argument;
    for (uint32_t i = 0; i < 50 * MODULES; i++)
        test_call(caller->modules[(caller->first + i) % MODULES], 1 + i % ROWS);
    return NULL;
}

static void as_much_as_calls_at_the_same_time_need(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(&two_threads);
    urza_module *modules[MODULES];
    struct caller callers[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < MODULES; i++)
        modules[i] = load_with(runtime);
    for (uint32_t i = 0; i < THREADS; i++) {
        callers[i] = (struct caller){modules, 3 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, call_all, &callers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    urza_runtime_stats stats = stats_of(runtime);
    assert_int_equal(stats.idle_bytes, stats.working_bytes);
    assert_true(stats.working_bytes <= THREADS * working_alone(ROWS));
    for (int i = 0; i < MODULES; i++)
        urza_unload(modules[i]);
    urza_runtime_release(runtime);
}

static void trimming_frees_what_is_idle(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(NULL);
    urza_module *module = load_with(runtime);
    test_call(module, LARGE_ROWS);
    uint64_t before = stats_of(runtime).idle_bytes;
    assert_true(before >= LARGE_ROWS * 16);
    assert_int_equal(urza_runtime_trim(runtime, before), before);
    assert_int_equal(stats_of(runtime).idle_bytes, before);
    assert_int_equal(urza_runtime_trim(runtime, before - 1), 0);
    assert_int_equal(stats_of(runtime).idle_bytes, 0);
    assert_int_equal(stats_of(runtime).working_bytes, 0);
    test_call(module, LARGE_ROWS);
    test_call(module, 3);
    assert_int_equal(urza_runtime_trim(runtime, 0), 0);
    urza_unload(module);
    urza_runtime_release(runtime);
}

static void results_are_trimmed_unless_held(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(NULL);
    urza_module *module = load_with(runtime);
    float x[4] = {test_x(0), test_x(1), test_x(2), test_x(3)};
    urza_result *held[2];
    urza_error err;
    DLTensor outputs[2][2];
    int64_t shapes[2][2][8];
    for (int i = 0; i < 2; i++) {
        struct test_tensor in;
        test_tensor_init(&in, x, 1);
        for (int o = 0; o < 2; o++)
            outputs[i][o] = (DLTensor){.shape = shapes[i][o]};
        must_work(urza_call(module, &in.dl, 1, outputs[i], 2, &held[i], &err), &err);
    }
    urza_result_release(held[1]);
    urza_runtime_trim(runtime, 0);
    assert_non_null(held[0]->memory);
    assert_null(held[1]->memory);
    for (int i = 0; i < 4; i++)
        assert_true(((const float *)outputs[0][0].data)[i] == test_y(i));
    urza_unload(module);
    urza_runtime_release(runtime);
    for (int i = 0; i < 4; i++)
        assert_true(((const float *)outputs[0][1].data)[i] == test_s(i));
    urza_result_release(held[0]);
}

static void no_more_is_idle_than_the_limit(void **state)
{
    (void)state;
    const urza_runtime_options options = {.idle_bytes = 1 << 16};
    urza_runtime *runtime = new_runtime(&options);
    urza_module *module = load_with(runtime);
    test_call(module, LARGE_ROWS);
    assert_int_equal(stats_of(runtime).working_bytes, 0);
    test_call(module, 100);
    urza_runtime_stats stats = stats_of(runtime);
    assert_true(stats.idle_bytes > 0 && stats.idle_bytes <= 1 << 16);
    urza_unload(module);
    urza_runtime_release(runtime);
}

/* Also of a module that has a runtime of its own. */
static void one_large_call_is_forgotten(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        urza_runtime *runtime = shared ? new_runtime(NULL) : NULL;
        urza_module *module = load_with(runtime);
        test_call(module, LARGE_ROWS);
        for (int i = 0; i < 63 + 63; i++)
            test_call(module, 2);
        assert_true(stats_of(module->runtime).working_bytes >= LARGE_ROWS * 16);
        test_call(module, 2);
        test_call(module, 2);
        assert_true(stats_of(module->runtime).working_bytes < 4096);
        test_call(module, LARGE_ROWS);
        for (int i = 0; i < 300; i++)
            test_call(module, i % 50 == 0 ? LARGE_ROWS : 2);
        assert_true(stats_of(module->runtime).working_bytes >= LARGE_ROWS * 16);
        urza_unload(module);
        urza_runtime_release(runtime);
    }
}

/* Memory comes back at the same address for another module, or for a smaller size. */
static void sizes_and_modules_alternate(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(&two_threads);
    urza_module *a = load_with(runtime), *b = load_with(runtime);
    for (int i = 0; i < 200; i++) {
        test_call(i % 3 ? a : b, i % 7 == 0 ? LARGE_ROWS / 10 : i % 5);
        if (i % 11 == 0)
            urza_runtime_trim(runtime, 0);
    }
    urza_unload(a);
    urza_unload(b);
    urza_runtime_release(runtime);
}

static void the_runtime_outlives_its_owner(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(&two_threads);
    urza_module *module = load_with(runtime);
    urza_runtime_release(runtime);
    test_call(module, LARGE_ROWS);
    urza_unload(module);
    urza_runtime_release(NULL);
}

static void refuses_options_that_contradict(void **state)
{
    (void)state;
    urza_runtime *runtime = new_runtime(NULL), *none;
    urza_module *module;
    urza_error err;
    struct test_package package;
    const urza_load_options options = {
        .trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 2, .runtime = runtime};
    test_package_make(&package, "4*B", NULL);
    must_give(
        urza_load_memory(package.bytes.data, package.bytes.size_bytes, &options, &module, &err),
        ERR_USAGE, &err, "threads are those of the runtime");
    test_package_free(&package);
    const urza_runtime_options many = {.threads = LIMIT_THREADS + 1};
    must_give(urza_runtime_new(&many, &none, &err), ERR_LIMIT, &err, "at most");
    must_give(urza_runtime_new(NULL, NULL, &err), ERR_USAGE, &err, "NULL");
    assert_int_equal(stats_of(runtime).modules, 0);
    urza_runtime_release(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_use_the_same_memory),
        cmocka_unit_test(as_much_as_calls_at_the_same_time_need),
        cmocka_unit_test(trimming_frees_what_is_idle),
        cmocka_unit_test(results_are_trimmed_unless_held),
        cmocka_unit_test(no_more_is_idle_than_the_limit),
        cmocka_unit_test(one_large_call_is_forgotten),
        cmocka_unit_test(sizes_and_modules_alternate),
        cmocka_unit_test(the_runtime_outlives_its_owner),
        cmocka_unit_test(refuses_options_that_contradict),
    };
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
