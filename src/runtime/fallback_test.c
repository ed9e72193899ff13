#include "runtime/test_util.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct events {
    int count;
    char reason[256], id[KERNEL_ID_BYTES];
};

static void on_event(void *user, const urza_event *event)
{
    struct events *events = user;
    events->count++;
    assert_string_equal(event->kind, "fallback");
    snprintf(events->reason, sizeof events->reason, "%s", event->reason);
    snprintf(events->id, sizeof events->id, "%s", event->kernel_id);
}

static urza_load_options listening(struct events *events)
{
    return (urza_load_options){
        .trust = URZA_TRUST_ALLOW_UNSIGNED, .on_event = on_event, .user = events};
}

/* test_call compares the results with those of native code. */
static void check_interpreted(urza_module *module, struct events *events, const char *reason)
{
    assert_string_equal(urza_target(module), "interpreter");
    test_call(module, 5);
    test_call(module, 0);
    test_call(module, 5);
    urza_stats stats = test_stats(module);
    assert_int_equal(stats.fallback_calls, 3);
    assert_int_equal(stats.native_calls, 0);
    assert_int_equal(stats.launches, 0);
    assert_string_equal(stats.last_fallback, reason);
    assert_int_equal(events->count, 3);
    assert_string_equal(events->reason, reason);
    assert_string_equal(events->id, urza_kernel_id(module));
}

static void a_package_without_code_is_interpreted(void **state)
{
    (void)state;
    struct events events = {0};
    urza_load_options options = listening(&events);
    options.threads = 2;
    urza_module *module = test_load(NULL, &options);
    check_interpreted(module, &events, "the package has no native code");
    urza_unload(module);
}

static void the_interpreter_can_be_asked_for(void **state)
{
    (void)state;
    struct events events = {0};
    urza_load_options options = listening(&events);
    options.target = "interpreter";
    urza_module *module = test_load("4*B", &options);
    check_interpreted(module, &events, "the interpreter was asked for");
    urza_unload(module);
}

static void code_that_cannot_be_mapped_is_no_error(void **state)
{
    (void)state;
    struct events events = {0};
    urza_load_options options = listening(&events);
    struct rlimit files, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    none = files;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    urza_module *module = test_load("4*B", &options);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    check_interpreted(module, &events, "no memory file for code: Too many open files");
    urza_unload(module);
}

/* In a child process, since the limit cannot be raised again, and the signal would end the
 * process. */
static void load_with_small_files(bool host_has_one_waiting)
{
    struct events events = {0};
    urza_load_options options = listening(&events);
    sigset_t too_large, before, after;
    sigemptyset(&too_large);
    sigaddset(&too_large, SIGXFSZ);
    signal(SIGXFSZ, SIG_DFL);
    pthread_sigmask(host_has_one_waiting ? SIG_BLOCK : SIG_UNBLOCK, &too_large, NULL);
    if (host_has_one_waiting)
        raise(SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    const struct rlimit limit = {64, 64}; /* smaller than the code */
    bool ok = setrlimit(RLIMIT_FSIZE, &limit) == 0;
    urza_module *module = test_load("4*B", &options);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    ok = ok && sigismember(&before, SIGXFSZ) == sigismember(&after, SIGXFSZ);
    test_call(module, 3);
    ok = ok && strcmp(events.reason, "code cannot be mapped: File too large") == 0;
    urza_unload(module);
    sigpending(&after);
    _exit(ok && sigismember(&after, SIGXFSZ) == host_has_one_waiting ? 0 : 1);
}

static void a_limit_on_files_is_no_signal(void **state)
{
    (void)state;
    for (int waiting = 0; waiting < 2; waiting++) {
        pid_t child = fork();
        if (child == 0)
            load_with_small_files(waiting == 1);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

static void sizes_beyond_the_plan_are_interpreted(void **state)
{
    (void)state;
    struct events events = {0};
    urza_load_options options = listening(&events);
    /* Legal for the graph, but from B = 3 on the temporary exceeds LIMIT_TENSOR_BYTES. */
    urza_module *module = test_load("1000000000000*B*B", &options);
    test_call(module, 1000);
    test_call(module, 0);
    urza_stats stats = test_stats(module);
    assert_int_equal(stats.fallback_calls, 1);
    assert_int_equal(stats.native_calls, 1);
    assert_string_equal(events.reason, "sizes of the plan do not fit");
    assert_string_equal(urza_target(module), "x86-64-v2");
    urza_unload(module);
}

static void params_change_for_the_interpreter_too(void **state)
{
    (void)state;
    urza_module *module = test_load(NULL, NULL);
    float w[4] = {1, 2, 3, 4}, x[4] = {10, 20, 30, 40}, y[4], s[4];
    struct test_tensor given, in, out[2];
    urza_error err;
    test_tensor_init(&given, w, 4);
    given.dl.ndim = 1;
    test_tensor_init(&in, x, 1);
    test_tensor_init(&out[0], y, 1);
    test_tensor_init(&out[1], s, 1);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    must_work(urza_param_set(module, "w", &given.dl, &err), &err);
    must_work(urza_prepare(module, &err), &err);
    must_work(urza_call(module, &in.dl, 1, outputs, 2, NULL, &err), &err);
    for (int i = 0; i < 4; i++)
        assert_true(y[i] == x[i] + 2 * w[i] + x[i]);
    urza_unload(module);
}

static void refused_input_is_no_fallback(void **state)
{
    (void)state;
    struct events events = {0};
    urza_load_options options = listening(&events);
    urza_module *module = test_load(NULL, &options);
    float x[20];
    struct test_tensor in;
    urza_error err;
    test_tensor_init(&in, x, 4);
    in.shape[1] = 5;
    must_give(urza_call(module, &in.dl, 1, NULL, 2, NULL, &err), ERR_INPUT, &err, "input 'x'");
    assert_int_equal(events.count, 0);
    assert_int_equal(test_stats(module).calls, 1);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_package_without_code_is_interpreted),
        cmocka_unit_test(the_interpreter_can_be_asked_for),
        cmocka_unit_test(code_that_cannot_be_mapped_is_no_error),
        cmocka_unit_test(a_limit_on_files_is_no_signal),
        cmocka_unit_test(sizes_beyond_the_plan_are_interpreted),
        cmocka_unit_test(params_change_for_the_interpreter_too),
        cmocka_unit_test(refused_input_is_no_fallback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
