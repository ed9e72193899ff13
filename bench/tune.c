/* How near three seconds of tuning come to the best of all configs.
 *
 * For each product: every config of the space is tried until none can be told from the best, then
 * the tuner gets three seconds, from nothing. Both count processor time of one thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "tuner/tuner.h"

static const struct {
    int m, n, k;
} products[] = {{512, 512, 512}, {197, 768, 768}, {32, 1024, 1024}, {1024, 64, 256}};

struct found {
    struct arena *arena;
    const char *record;
};

static bool see(void *context, const char *record, struct error *err)
{
    struct found *found = context;
    (void)err;
    if (strstr(record, "contract"))
        found->record = arena_strdup(found->arena, record);
    return true;
}

/* The product as a linear layer has it, weights packed ahead. */
static const char *record_of(struct arena *arena, int m, int n, int k)
{
    struct found found = {arena, NULL};
    struct recorder recorder = {see, &found};
    struct config_chooser chooser = recorder_chooser(&recorder);
    struct compile_options options = {
        .chooser = &chooser, .targets = target_best_here(), .strategy = STRATEGY_FAST};
    struct compile_result result;
    struct error err = {0};
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text,
                  "{\"format\":\"urza.blueprint/1\","
                  "\"inputs\":[{\"id\":\"x\",\"dtype\":\"f32\",\"shape\":[%d,%d]}],"
                  "\"params\":[{\"id\":\"w\",\"dtype\":\"f32\",\"shape\":[%d,%d],"
                  "\"init\":{\"kind\":\"normal\",\"seed\":1}}],"
                  "\"nodes\":[{\"id\":\"y\",\"op\":\"linear\",\"in\":[\"x\",\"w\"]}],"
                  "\"outputs\":[\"y\"]}",
                  m, k, n, k);
    if (!compile_blueprint(text.data, text.size_bytes, &options, arena, &result, &err)) {
        fprintf(stderr, "bench: %s: %s\n", err.place, err.message);
        exit(1);
    }
    return found.record;
}

/* Nanoseconds of the best config. */
static double tune(const char *record, double budget_s, uint32_t candidates_max, double *out_took_s)
{
    urza_tuner_options options = {.candidates_max = candidates_max};
    urza_tuner *tuner;
    urza_error err;
    char *entry;
    uint64_t begin = clock_ns();
    if (urza_tuner_open(&options, &tuner, &err) != 0 ||
        urza_tuner_tune(tuner, record, budget_s, &entry, &err) != 0) {
        fprintf(stderr, "bench: %s: %s\n", err.place, err.message);
        exit(1);
    }
    *out_took_s = (double)(clock_ns() - begin) * 1e-9;
    json_t *value = json_loads(entry, 0, NULL);
    double ns = json_number_value(json_object_get(json_object_get(value, "measured"), "ns"));
    json_decref(value);
    urza_tune_free(entry);
    urza_tuner_close(tuner);
    return ns;
}

int main(void)
{
    printf("%-16s %14s %8s %14s %8s %8s\n", "product", "sweep GFLOP/s", "s", "tuned GFLOP/s", "s",
           "of best");
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        struct arena arena;
        int m = products[i].m, n = products[i].n, k = products[i].k;
        double flops = 2.0 * m * n * k, sweep_s, tuned_s;
        char name[32];
        arena_init(&arena);
        const char *record = record_of(&arena, m, n, k);
        double sweep = tune(record, 60, 4096, &sweep_s), tuned = tune(record, 3, 0, &tuned_s);
        snprintf(name, sizeof name, "%dx%dx%d", m, n, k);
        printf("%-16s %14.1f %8.1f %14.1f %8.1f %7.1f%%\n", name, flops / sweep, sweep_s,
               flops / tuned, tuned_s, 100 * sweep / tuned);
        fflush(stdout);
        arena_release(&arena);
    }
    return 0;
}
