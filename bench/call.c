/* What a call costs beside its kernels: loading a package, the first call, and every later call of
 * a package whose one kernel has next to nothing to do. */
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

static const char blueprint[] =
    "{\"format\": \"urza.blueprint/1\", \"name\": \"trivial\","
    " \"dims\": {\"B\": {\"min\": 1, \"max\": 64}},"
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 4]}],"
    " \"nodes\": [{\"id\": \"y\", \"op\": \"relu\", \"in\": [\"x\"]}], \"outputs\": [\"y\"]}";

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

static float in[64 * 4], out[64 * 4];

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

int main(void)
{
    struct arena arena;
    struct error err = {0};
    struct compile_result result = {0};
    struct compile_options options = {.strategy = STRATEGY_FAST};
    urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    urza_error uerr = {0};
    double load_us[RUNS], first_us[RUNS], call_ns[RUNS];
    int64_t shape[2] = {2, 4};
    arena_init(&arena);
    if (!compile_blueprint(blueprint, strlen(blueprint), &options, &arena, &result, &err)) {
        fprintf(stderr, "%s: %s\n", err.place, err.message);
        return error_exit(err.code);
    }
    for (int run = 0; run < RUNS; run++) {
        urza_module *module;
        DLTensor x = tensor(in, shape), y = tensor(out, shape);
        uint64_t start = clock_ns();
        if (urza_load_memory(result.package, result.package_bytes, &load, &module, &uerr) != 0)
            return fail_with(&uerr);
        uint64_t loaded = clock_ns();
        if (urza_call(module, &x, 1, &y, 1, NULL, &uerr) != 0)
            return fail_with(&uerr);
        uint64_t called = clock_ns();
        for (int i = 0; i < CALLS; i++)
            urza_call(module, &x, 1, &y, 1, NULL, NULL);
        uint64_t end = clock_ns();
        load_us[run] = (double)(loaded - start) * 1e-3;
        first_us[run] = (double)(called - loaded) * 1e-3;
        call_ns[run] = (double)(end - called) / CALLS;
        urza_unload(module);
    }
    printf("load        %8.1f us   (package of %zu bytes, three targets)\n", median(load_us),
           result.package_bytes);
    printf("first call  %8.1f us\n", median(first_us));
    printf("later calls %8.1f ns   (one launch of 8 elements, the kernel included)\n",
           median(call_ns));
    arena_release(&arena);
    return 0;
}
