/* What a call costs beside its kernels: loading a package, the first call, and every later call of
 * a package whose one kernel has next to nothing to do, also of a module that shares its runtime,
 * and by a handle; and what each further launch adds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "compiler/compile.h"
#include "urza/run.h"

#define RUNS 41
#define CALLS 20000

static const char one_launch[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"trivial\","
    " \"dims\": {\"B\": {\"min\": 1, \"max\": 64}},"
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 4]}],"
    " \"nodes\": [{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"]}], \"outputs\": [\"y\"]}";

/* Sums of sums of sums: nine kernels, since each is read out of order by the next. */
static const char nine_launches[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"nine\","
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [2, 4]}], \"nodes\": ["
#define SUM(out, in) \
    "{\"id\": \"" out "\", \"op\": \"cumsum\", \"in\": [\"" in "\"], \"attrs\": {\"dim\": 1}}"
    SUM("a", "x") "," SUM("b", "a") "," SUM("c", "b") "," SUM("d", "c") "," SUM("e", "d") "," SUM(
        "f", "e") "," SUM("g", "f") "," SUM("h", "g") "," SUM("y", "h") "], \"outputs\": [\"y\"]}";
static const char one_sum[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"one\","
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [2, 4]}], \"nodes\": [" SUM(
        "y", "x") "], \"outputs\": [\"y\"]}";

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values)
{
    qsort(values, RUNS, sizeof *values, compare);
    return values[RUNS / 2];
}

static float in[64 * 4], out_elements[64 * 4];

static DLTensor tensor(float *data, int64_t *shape)
{
    DLTensor t = {0};
    t.data = data;
    t.device.device_type = kDLCPU;
    t.ndim = 2;
    t.dtype = (DLDataType){kDLFloat, 32, 1};
    t.shape = shape;
    return t;
}

static int fail_with(const urza_error *err)
{
    fprintf(stderr, "%s: %s\n", err->place, err->message);
    return 1;
}

struct times {
    double load_us[RUNS], first_us[RUNS], call_ns[RUNS], shared_ns[RUNS], handle_ns[RUNS];
    size_t package_bytes;
};

/* Nanoseconds of a call, or of one by a handle. */
static double time_calls(urza_module *module, urza_handle *handle)
{
    int64_t shape[2] = {2, 4};
    DLTensor x = tensor(in, shape), y = tensor(out_elements, shape);
    uint64_t start = clock_ns();
    for (int i = 0; i < CALLS; i++)
        if (handle)
            urza_handle_call(handle, &x, 1, &y, 1, NULL, NULL);
        else
            urza_call(module, &x, 1, &y, 1, NULL, NULL);
    return (double)(clock_ns() - start) / CALLS;
}

/* The same of a module that shares its runtime; it is the one in a handle. */
static int measure_shared(const struct compile_result *compiled, int run, struct times *out)
{
    urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    urza_error err = {0};
    urza_module *module;
    urza_handle *handle;
    if (urza_runtime_new(NULL, &load.runtime, &err) != 0 ||
        urza_load_memory(compiled->package, compiled->package_bytes, &load, &module, &err) != 0 ||
        urza_handle_new(module, &handle, &err) != 0)
        return fail_with(&err);
    time_calls(module, NULL);
    out->shared_ns[run] = time_calls(module, NULL);
    out->handle_ns[run] = time_calls(NULL, handle);
    urza_handle_free(handle);
    urza_unload(module);
    urza_runtime_release(load.runtime);
    return 0;
}

static int measure(const char *blueprint, struct times *out)
{
    struct arena arena;
    struct error err = {0};
    struct compile_result result = {0};
    struct compile_options options = {.strategy = STRATEGY_FAST};
    urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    urza_error uerr = {0};
    int64_t shape[2] = {2, 4};
    arena_init(&arena);
    if (!compile_blueprint(blueprint, strlen(blueprint), &options, &arena, &result, &err)) {
        fprintf(stderr, "%s: %s\n", err.place, err.message);
        return error_exit(err.code);
    }
    out->package_bytes = result.package_bytes;
    for (int run = 0; run < RUNS; run++) {
        urza_module *module;
        DLTensor x = tensor(in, shape), y = tensor(out_elements, shape);
        uint64_t start = clock_ns();
        if (urza_load_memory(result.package, result.package_bytes, &load, &module, &uerr) != 0)
            return fail_with(&uerr);
        uint64_t loaded = clock_ns();
        if (urza_call(module, &x, 1, &y, 1, NULL, &uerr) != 0)
            return fail_with(&uerr);
        uint64_t called = clock_ns();
        out->load_us[run] = (double)(loaded - start) * 1e-3;
        out->first_us[run] = (double)(called - loaded) * 1e-3;
        out->call_ns[run] = time_calls(module, NULL);
        urza_unload(module);
        if (measure_shared(&result, run, out) != 0)
            return 1;
    }
    arena_release(&arena);
    return 0;
}

int main(void)
{
    static struct times one, sum, nine;
    int status = measure(one_launch, &one);
    status = status ? status : measure(one_sum, &sum);
    status = status ? status : measure(nine_launches, &nine);
    if (status)
        return status;
    printf("load        %8.1f us   (package of %zu bytes, three targets)\n", median(one.load_us),
           one.package_bytes);
    printf("first call  %8.1f us\n", median(one.first_us));
    printf("later calls %8.1f ns   (one launch of 8 elements, the kernel included)\n",
           median(one.call_ns));
    printf("  shared    %8.1f ns   (with working memory of a shared runtime)\n",
           median(one.shared_ns));
    printf("  by handle %8.1f ns   (the same, of the module that is in a handle)\n",
           median(one.handle_ns));
    printf("a launch    %8.1f ns   (each further one, its kernel of 8 elements included)\n",
           (median(nine.call_ns) - median(sum.call_ns)) / 8);
    return 0;
}
