#include "runtime/test_util.h"

#include <pthread.h>

#define ROWS 40001 /* more than one chunk where there are threads */
#define COUNT ((size_t)ROWS * 4)

#if URZA_HAS_MXCSR

static const struct {
    const char *name;
    uint32_t word;
} modes[] = {
    {"default", 0x1f80},
    {"default, all flags", 0x1fbf},
    {"flush to zero", 0x9f80},
    {"denormals are zero", 0x1fc0},
    {"up", 0x5f80},
    {"down, inexact flag", 0x3fa0},
    {"towards zero", 0x7f80},
    {"all exceptions are signals", 0x0000},
    {"overflow is a signal, flush to zero, up", 0xdb80},
};
#define MODES (sizeof modes / sizeof modes[0])

/* The values of the params, and the first rows of x: sums of subnormals, sums that must be rounded,
 * sums and doublings that overflow. */
static const float w[4] = {1e-40f, 3e38f, 0.1f, -1e-3f};
static const float x[] = {2e-39f, 3e38f, 0.3f,    7.77f, -1e-40f, 1,
                          1e-8f,  1e9f,  -1e-40f, 1e8f,  1.f / 3, -5};
#define FIRST (sizeof x / sizeof x[0])

static float input[COUNT], right[2 * COUNT], found[2 * COUNT];

static urza_module *load(const char *temp_elements, const urza_load_options *options, uint32_t word,
                         uint32_t *out_word)
{
    struct test_package package;
    urza_module *module = NULL;
    urza_error err;
    test_package_make(&package, temp_elements, NULL);
    URZA_MXCSR_SET(word);
    int code =
        urza_load_memory(package.bytes.data, package.bytes.size_bytes, options, &module, &err);
    *out_word = URZA_MXCSR_GET();
    URZA_MXCSR_SET(modes[0].word);
    must_work(code, &err);
    test_package_free(&package);
    return module;
}

/* Loads, prepares and calls with this MXCSR value; each function must restore it. */
static void work_in_mode(uint32_t word, const char *temp_elements, const urza_load_options *options,
                         float *out)
{
    struct test_tensor given, in, results[2];
    urza_error err;
    uint32_t after[4];
    urza_module *module = load(temp_elements, options, word, &after[0]);
    test_tensor_init(&given, (float *)(uintptr_t)w, 4);
    given.dl.ndim = 1;
    test_tensor_init(&in, input, ROWS);
    test_tensor_init(&results[0], out, ROWS);
    test_tensor_init(&results[1], out + COUNT, ROWS);
    DLTensor outputs[2] = {results[0].dl, results[1].dl};

    URZA_MXCSR_SET(word);
    int set = urza_param_set(module, "w", &given.dl, &err);
    after[1] = URZA_MXCSR_GET();
    int prepare = urza_prepare(module, &err);
    after[2] = URZA_MXCSR_GET();
    int call = urza_call(module, &in.dl, 1, outputs, 2, NULL, &err);
    after[3] = URZA_MXCSR_GET();
    URZA_MXCSR_SET(modes[0].word);

    must_work(set, &err);
    must_work(prepare, &err);
    must_work(call, &err);
    for (int i = 0; i < 4; i++)
        assert_int_equal(after[i], word);
    urza_unload(module);
}

/* The expected results of float arithmetic: the double sum of two floats, rounded to float, equals
 * the float sum, since double has more than twice the digits. */
static void check_first(const float *y, const float *s)
{
    for (size_t i = 0; i < FIRST; i++) {
        float doubled = (float)(2 * (double)w[i % 4]);
        float sum = (float)((double)x[i] + (double)doubled);
        float expected_y = (float)((double)sum + (double)x[i]);
        float expected_s = (float)(2 * (double)sum);
        assert_memory_equal(&y[i], &expected_y, sizeof expected_y);
        assert_memory_equal(&s[i], &expected_s, sizeof expected_s);
    }
}

static void check_all_modes(const char *temp_elements, urza_load_options *options)
{
    for (size_t i = 0; i < COUNT; i++)
        input[i] = x[i % FIRST];
    options->trust = URZA_TRUST_ALLOW_UNSIGNED;
    work_in_mode(modes[0].word, temp_elements, options, right);
    check_first(right, right + COUNT);
    for (size_t i = 0; i < MODES; i++) {
        memset(found, 0, sizeof found);
        work_in_mode(modes[i].word, temp_elements, options, found);
        if (memcmp(right, found, sizeof right) != 0)
            TEST_FAILED("the mode '%s' changes results", modes[i].name);
    }
}

static void the_callers_mode_changes_nothing(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads += 2) {
        urza_load_options options = {.threads = threads};
        check_all_modes("4*B", &options);
    }
}

static void the_interpreter_has_one_mode_too(void **state)
{
    (void)state;
    urza_load_options options = {0};
    check_all_modes(NULL, &options);
}

struct host_task {
    pool_task *run;
    void *argument;
    uint32_t index, word, after;
};

static void *run_one(void *argument)
{
    struct host_task *task = argument;
    URZA_MXCSR_SET(task->word);
    task->run(task->argument, task->index);
    task->after = URZA_MXCSR_GET();
    return NULL;
}

/* Runs each task on a thread with another floating-point mode. */
static void host_parallel(void *user, pool_task *run, void *argument, uint32_t count)
{
    *(uint32_t *)user = URZA_MXCSR_GET();
    for (uint32_t i = 0; i < count; i++) {
        struct host_task task = {run, argument, i, modes[(i + 2) % MODES].word, 0};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_one, &task), 0);
        pthread_join(thread, NULL);
        assert_int_equal(task.after, task.word);
    }
}

static void host_threads_keep_their_modes(void **state)
{
    (void)state;
    uint32_t seen = 0;
    urza_load_options options = {.threads = 8, .parallel = host_parallel, .user = &seen};
    check_all_modes("4*B", &options);
    assert_int_equal(seen, modes[MODES - 1].word); /* the host's function runs in the host's mode */
}

static void note_mode(void *user, const urza_event *event)
{
    (void)event;
    *(uint32_t *)user = URZA_MXCSR_GET();
}

static void events_come_in_the_hosts_mode(void **state)
{
    (void)state;
    uint32_t seen = 0;
    urza_load_options options = {.on_event = note_mode, .user = &seen};
    check_all_modes(NULL, &options);
    assert_int_equal(seen, modes[MODES - 1].word);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_mode_changes_nothing),
        cmocka_unit_test(the_interpreter_has_one_mode_too),
        cmocka_unit_test(host_threads_keep_their_modes),
        cmocka_unit_test(events_come_in_the_hosts_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 77; /* skipped: the modes above exist on x86-64 only */
}

#endif
