/* Two modules share threads and memory, and one takes the other's place while another thread calls.
 * Usage: share PACKAGE OTHER KEY, packages of the same block of one input and one output. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "urza/run.h"

static _Atomic long calls;
static _Atomic int stopping;

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

/* Calls whatever module is in the handle. */
static void *work(void *handle)
{
    static float x[2 * 784];
    int64_t shape[8] = {2, 784}, room[8];
    DLTensor in = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    in.shape = shape;
    for (; !stopping; calls++) {
        DLTensor out = {.shape = room};
        urza_result *held;
        urza_error err;
        check(urza_handle_call(handle, &in, 1, &out, 1, &held, &err), &err);
        urza_result_release(held);
    }
    return NULL;
}

static void wait_for_calls(long more)
{
    for (long until = calls + more; calls < until;)
        ;
}

int main(int argc, char **argv)
{
    const urza_runtime_options shared = {.threads = 2};
    uint8_t key[1][32];
    urza_runtime *runtime;
    urza_runtime_stats stats;
    urza_module *module, *other;
    urza_handle *handle;
    urza_error err;
    pthread_t thread;
    if (argc != 4 || strlen(argv[3]) != 64)
        return 64;
    for (int i = 0; i < 32; i++)
        sscanf(argv[3] + 2 * i, "%2hhx", &key[0][i]);

    check(urza_runtime_new(&shared, &runtime, &err), &err);
    const urza_load_options options = {
        .trusted_keys = key, .trusted_key_count = 1, .runtime = runtime};
    check(urza_load(argv[1], &options, &module, &err), &err);
    check(urza_load(argv[2], &options, &other, &err), &err);

    check(urza_handle_new(module, &handle, &err), &err);
    urza_unload(module); /* the handle has a reference of its own */
    if (pthread_create(&thread, NULL, work, handle) != 0)
        return 1;
    wait_for_calls(100);
    check(urza_handle_replace(handle, other, &err), &err); /* the next call runs the other one */
    urza_unload(other);
    wait_for_calls(100);
    stopping = 1;
    pthread_join(thread, NULL);

    urza_runtime_stats_get(runtime, &stats);
    printf("%u module is left\n", stats.modules);
    urza_handle_free(handle);
    urza_runtime_stats_get(runtime, &stats);
    printf("%u modules are left, %llu bytes of working memory\n", stats.modules,
           (unsigned long long)urza_runtime_trim(runtime, 0));
    urza_runtime_release(runtime);
    return 0;
}
