/* Warm compile times in process, one core: every example, one target, median of many; also with a
 * cache that holds every kernel, and one that holds the package. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "compiler/cache/cache.h"
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

struct input {
    const char *name, *target;
    char *text; /* as many spaces behind it as there are runs */
    size_t size;
};

/* Medians of one way to compile, ms. */
struct times {
    double stages[STAGE_COUNT], total, least;
    uint32_t kernels;
};

enum way { WAY_ALL, WAY_KERNELS_KEPT, WAY_PACKAGE_KEPT };

/* With a cache the first run fills it. A space more makes another blueprint of the same kernels. */
static bool measure(const struct input *input, enum way way, struct times *out, struct error *err)
{
    double stages[STAGE_COUNT][RUNS], total[RUNS];
    struct cache *cache = way == WAY_ALL ? NULL : cache_new(&(struct cache_options){0});
    struct compile_options options = {
        .targets = input->target, .strategy = STRATEGY_FAST, .cache = cache};
    bool ok = true;
    for (int run = -1; ok && run < RUNS; run++) { /* the first warms up */
        struct arena arena;
        struct compile_result result = {0};
        size_t spaces = way == WAY_KERNELS_KEPT ? (size_t)run + 1 : 0;
        arena_init(&arena);
        ok = compile_blueprint(input->text, input->size + spaces, &options, &arena, &result, err);
        for (int s = 0; run >= 0 && s < STAGE_COUNT; s++)
            stages[s][run] = result.stages_ms[s];
        if (run >= 0)
            total[run] = result.total_ms;
        out->kernels = result.kernels;
        compile_release(&options, &result);
        arena_release(&arena);
    }
    cache_free(cache);
    for (int s = 0; ok && s < STAGE_COUNT; s++)
        out->stages[s] = median(stages[s]);
    if (ok)
        out->total = median(total), out->least = total[0];
    return ok;
}

static bool bench(const char *name, const char *target, struct error *err)
{
    char path[128], *text;
    struct input input = {.name = name, .target = target};
    struct times all, kernels, package;
    snprintf(path, sizeof path, "examples/%s.json", name);
    if (!file_read(path, LIMIT_JSON_BYTES, &text, &input.size, err))
        return false;
    input.text = realloc(text, input.size + RUNS);
    if (!input.text) {
        free(text);
        return fail(err, ERR_NOMEM, "no memory for '%s'", path);
    }
    memset(input.text + input.size, ' ', RUNS);
    bool ok = measure(&input, WAY_ALL, &all, err) &&
              measure(&input, WAY_KERNELS_KEPT, &kernels, err) &&
              measure(&input, WAY_PACKAGE_KEPT, &package, err);
    free(input.text);
    if (!ok)
        return fail_at(err, "%s", name);
    printf("%-28s %7u", name, all.kernels);
    for (int s = 0; s < STAGE_COUNT; s++)
        printf(" %8.2f", all.stages[s]);
    printf(" %8.2f %8.2f | %8.2f %8.2f | %8.3f\n", all.total, all.least,
           kernels.stages[STAGE_CODEGEN], kernels.total, package.total);
    return true;
}

int main(int argc, char **argv)
{
    const char *target = argc > 1 ? argv[1] : "x86-64-v4";
    struct error err = {0};
    printf(
        "compile, %s, ms: median of %d in a warm process; least: of all runs; kernels kept: their\n"
        "code is in the cache's memory; package kept: the package is\n%-28s %7s",
        target, RUNS, "", "");
    printf(" %*s | %17s | %8s\n%-28s %7s", 9 * (STAGE_COUNT + 2) - 1, "", "kernels kept", "package",
           "example", "kernels");
    for (int s = 0; s < STAGE_COUNT; s++)
        printf(" %8s", stage_name((enum stage)s));
    printf(" %8s %8s | %8s %8s | %8s\n", "total", "least", "codegen", "total", "kept");
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        if (bench(examples[i], target, &err))
            continue;
        fprintf(stderr, "%s: %s\n", err.place, err.message);
        return error_exit(err.code);
    }
    return 0;
}
