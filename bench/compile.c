/* Warm compile times in process, one core: every example, one target, median of many. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "compiler/compile.h"

#define RUNS 21

static const char *const examples[] = {
    "mlp",          "resnet_bottleneck", "mobilenet_inverted_residual",
    "custom_graph", "transformer_block", "gated_mlp_rmsnorm",
    "conv_arch",    "attention_arch",
};

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

static int bench(const char *name, const char *target)
{
    char path[128], *text;
    size_t size;
    struct error err = {0};
    double stages[STAGE_COUNT][RUNS], total[RUNS];
    struct compile_result result = {0};
    snprintf(path, sizeof path, "examples/%s.json", name);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &size, &err)) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return error_exit(err.code);
    }
    for (int run = -1; run < RUNS; run++) { /* the first warms up */
        struct arena arena;
        struct compile_options options = {.targets = target, .strategy = STRATEGY_FAST};
        arena_init(&arena);
        if (!compile_blueprint(text, size, &options, &arena, &result, &err)) {
            fprintf(stderr, "%s: %s: %s\n", name, err.place, err.message);
            return error_exit(err.code);
        }
        for (int s = 0; run >= 0 && s < STAGE_COUNT; s++)
            stages[s][run] = result.stages_ms[s];
        if (run >= 0)
            total[run] = result.total_ms;
        arena_release(&arena);
    }
    free(text);
    printf("%-28s %7u", name, result.kernels);
    for (int s = 0; s < STAGE_COUNT; s++)
        printf(" %9.2f", median(stages[s]));
    double p50 = median(total);
    printf(" %9.2f %9.2f\n", p50, total[0]);
    return 0;
}

int main(int argc, char **argv)
{
    const char *target = argc > 1 ? argv[1] : "x86-64-v4";
    printf("compile, %s, ms: median of %d (last column: least)\n%-28s %7s", target, RUNS, "example",
           "kernels");
    for (int s = 0; s < STAGE_COUNT; s++)
        printf(" %9s", stage_name((enum stage)s));
    printf(" %9s %9s\n", "total", "least");
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        int status = bench(examples[i], target);
        if (status != 0)
            return status;
    }
    return 0;
}
