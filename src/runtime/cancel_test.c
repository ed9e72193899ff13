#include "runtime/test_util.h"

#include <dirent.h>
#include <pthread.h>
#include <unistd.h>

/* A thread that is cancelled before it calls anything. */
struct doomed {
    const char *path;
    const char *temp_elements; /* NULL: interpreted */
    uint32_t threads;
    bool parallel;
    int callbacks;
    bool loaded, called, unloaded;
    int state; /* cancellation state after the calls */
};

static void on_event(void *user, const urza_event *event)
{
    (void)event;
    pthread_testcancel();
    ((struct doomed *)user)->callbacks++;
}

static void parallel(void *user, pool_task *task, void *argument, uint32_t count)
{
    pthread_testcancel();
    ((struct doomed *)user)->callbacks++;
    for (uint32_t i = 0; i < count; i++)
        task(argument, i);
}

static void *use_module(void *argument)
{
    struct doomed *doomed = argument;
    urza_load_options options = {
        .trust = URZA_TRUST_ALLOW_UNSIGNED,
        .threads = doomed->threads,
        .on_event = on_event,
        .parallel = doomed->parallel ? parallel : NULL,
        .user = doomed,
    };
    static float x[40001 * 4], y[2][40001 * 4];
    struct test_tensor in, out[2];
    test_tensor_init(&in, x, 40001);
    test_tensor_init(&out[0], y[0], 40001);
    test_tensor_init(&out[1], y[1], 40001);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    urza_module *module = NULL;
    urza_error err;
    pthread_cancel(pthread_self());
    doomed->loaded = urza_load(doomed->path, &options, &module, &err) == 0;
    doomed->called = doomed->loaded && urza_call(module, &in.dl, 1, outputs, 2, NULL, &err) == 0;
    urza_unload(module);
    doomed->unloaded = true;
    /* The thread then ends normally: sanitizers cannot follow the unwinding of a cancelled one. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &doomed->state);
    return NULL;
}

static int open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    int count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void check_cancelled(struct doomed *doomed)
{
    struct test_package package;
    test_package_make(&package, doomed->temp_elements, NULL);
    char path[] = "urza-cancel-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    ssize_t written = write(fd, package.bytes.data, package.bytes.size_bytes);
    close(fd);
    int before = open_files();
    doomed->path = path;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use_module, doomed), 0);
    pthread_join(thread, NULL);
    unlink(path);
    assert_int_equal(written, package.bytes.size_bytes);
    assert_int_equal(open_files(), before);
    assert_true(doomed->loaded);
    assert_true(doomed->called);
    assert_true(doomed->unloaded);
    assert_int_equal(doomed->state, PTHREAD_CANCEL_ENABLE);
    test_package_free(&package);
}

static void loading_and_unloading_are_whole(void **state)
{
    (void)state;
    struct doomed doomed = {.temp_elements = "4*B", .threads = 3};
    check_cancelled(&doomed);
}

static void a_callback_is_no_way_out_of_a_call(void **state)
{
    (void)state;
    struct doomed interpreted = {0};
    check_cancelled(&interpreted);
    assert_int_equal(interpreted.callbacks, 1);
    struct doomed in_parallel = {.temp_elements = "4*B", .threads = 3, .parallel = true};
    check_cancelled(&in_parallel);
    assert_int_equal(in_parallel.callbacks, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_and_unloading_are_whole),
        cmocka_unit_test(a_callback_is_no_way_out_of_a_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
