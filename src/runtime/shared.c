/* A runtime: its threads and working memory, and its references. */
#include <pthread.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "runtime/runtime_priv.h"

struct urza_runtime *runtime_new(const struct urza_runtime_options *options, bool shared,
                                 struct error *err)
{
    struct urza_runtime *runtime = calloc(1, sizeof *runtime);
    if (!runtime) {
        fail(err, ERR_NOMEM, "no memory for a runtime");
        return NULL;
    }
    runtime->references = 1;
    runtime->shared = shared;
    runtime->threads = options->threads > 0 ? options->threads : 1;
    runtime->idle_most = options->idle_bytes > 0 ? options->idle_bytes : UINT64_MAX;
    runtime->pool = pool_new(runtime->threads, options->parallel, options->user);
    runtime->results = results_new();
    if (runtime->pool && runtime->results)
        return runtime;
    fail(err, ERR_NOMEM, "no memory for the threads of a runtime");
    runtime_unref(runtime);
    return NULL;
}

struct urza_runtime *runtime_ref(struct urza_runtime *runtime)
{
    atomic_fetch_add(&runtime->references, 1);
    return runtime;
}

void runtime_unref(struct urza_runtime *runtime)
{
    if (!runtime || atomic_fetch_sub(&runtime->references, 1) != 1)
        return;
    pool_free(runtime->pool);
    results_unload(runtime->results);
    uint32_t count = atomic_load(&runtime->working.count);
    for (uint32_t i = 0; i < count; i++) {
        struct working *working = (struct working *)runtime->working.items[i];
        if (working) /* otherwise another thread had the index but not stored its piece when the
                        process forked */
            working_free(runtime, working);
    }
    free(runtime);
}

URZA_EXPORT int urza_runtime_new(const urza_runtime_options *options, urza_runtime **out,
                                 urza_error *err)
{
    static const urza_runtime_options defaults = {.threads = 1};
    struct error e;
    int cancel;
    if (!out)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (!options)
        options = &defaults;
    if (options->threads > LIMIT_THREADS)
        return public_result(fail(&e, ERR_LIMIT, "%u threads, at most %d are possible",
                                  options->threads, LIMIT_THREADS),
                             &e, err);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    struct urza_runtime *runtime = runtime_new(options, true, &e);
    pthread_setcancelstate(cancel, &cancel);
    if (runtime)
        *out = runtime;
    return public_result(runtime != NULL, &e, err);
}

URZA_EXPORT urza_runtime *urza_runtime_retain(urza_runtime *runtime)
{
    return runtime ? runtime_ref(runtime) : NULL;
}

URZA_EXPORT void urza_runtime_release(urza_runtime *runtime)
{
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    runtime_unref(runtime);
    pthread_setcancelstate(cancel, &cancel);
}

URZA_EXPORT uint64_t urza_runtime_trim(urza_runtime *runtime, uint64_t keep_bytes)
{
    if (!runtime)
        return 0;
    results_trim(runtime->results);
    return working_trim(runtime, keep_bytes);
}

URZA_EXPORT void urza_runtime_stats_get(const urza_runtime *runtime, urza_runtime_stats *out)
{
    *out = (urza_runtime_stats){
        .modules = atomic_load(&runtime->modules),
        .threads = runtime->threads,
        .working_bytes = atomic_load(&runtime->working_bytes),
        .idle_bytes = atomic_load(&runtime->idle_bytes),
    };
}
