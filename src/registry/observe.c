/* How long calls take, as reported by the processes that run kernels, and whether a version is
 * slower than the one before: by the Mann-Whitney test on both samples, and a difference of at
 * least 5 %. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "registry/registry_priv.h"

#define SAMPLE_MOST 1000
#define SAMPLE_LEAST 20
#define EFFECT_LEAST 1.05
/* Of the test statistic: one false alarm in about 700 comparisons. */
#define DEVIATIONS_LEAST 3.0
#define TRIES 20

struct value {
    double number;
    bool newer;
};

static int compare(const void *a, const void *b)
{
    double x = ((const struct value *)a)->number, y = ((const struct value *)b)->number;
    return (x > y) - (x < y);
}

static uint32_t read_sample(const char *text, bool newer, struct value *out)
{
    json_t *sample = json_loads(text, 0, NULL);
    uint32_t count = 0;
    for (size_t i = 0; i < json_array_size(sample) && count < SAMPLE_MOST; i++)
        out[count++] = (struct value){json_number_value(json_array_get(sample, i)), newer};
    json_decref(sample);
    return count;
}

/* By how many standard deviations the rank sum of the newer sample exceeds its expectation,
 * corrected for ties. */
static double rank_deviation(struct value *values, uint32_t older, uint32_t newer)
{
    uint32_t count = older + newer;
    double sum = 0, ties = 0;
    qsort(values, count, sizeof *values, compare);
    for (uint32_t i = 0, end; i < count; i = end) {
        uint32_t mine = 0;
        for (end = i; end < count && !(values[end].number > values[i].number); end++)
            mine += values[end].newer;
        double same = end - i;
        sum += mine * (i + (same + 1) / 2);
        ties += same * same * same - same;
    }
    double n = count, mean = newer * (n + 1) / 2;
    double variance = (double)older * newer / 12 * (n + 1 - ties / (n * (n - 1)));
    return variance > 0 ? (sum - mean) / sqrt(variance) : 0;
}

bool observation_slower(const struct observation_record *older,
                        const struct observation_record *newer)
{
    struct value *values = malloc(2 * SAMPLE_MOST * sizeof *values);
    if (!values)
        return false;
    uint32_t before = read_sample(older->sample_us, false, values);
    uint32_t after = read_sample(newer->sample_us, true, values + before);
    bool slower = before >= SAMPLE_LEAST && after >= SAMPLE_LEAST &&
                  newer->p50_us >= EFFECT_LEAST * older->p50_us &&
                  rank_deviation(values, before, after) >= DEVIATIONS_LEAST;
    free(values);
    return slower;
}

/* The last observation of a kernel at a profile on a host; NULL: none. */
static struct observation_record *last_of(struct registry *registry, const char *kernel,
                                          const struct observation_record *like,
                                          struct arena *arena)
{
    const struct filter filters[] = {{.field = "kernel", .op = FILTER_IS, .text = kernel},
                                     {.field = "profile", .op = FILTER_IS, .text = like->profile},
                                     {.field = "host", .op = FILTER_IS, .text = like->host}};
    const struct query query = {.kind = RECORD_observation,
                                .filters = filters,
                                .filter_count = 3,
                                .newest_first = true,
                                .limit = 1};
    struct records records;
    struct error err;
    bool ok = catalogue_list(registry_catalogue(registry), &query, arena, &records, &err);
    return ok && records.count > 0 ? records.items[0] : NULL;
}

bool registry_before(struct registry *registry, const struct kernel_record *kernel,
                     struct arena *arena, struct kernel_record **out, struct error *err)
{
    void *found = NULL;
    if (kernel->parent[0] == '\0')
        return version_find(registry->catalogue, kernel, kernel->version, arena, out, err);
    if (!catalogue_get(registry->catalogue, RECORD_kernel, kernel->parent, arena, &found, err))
        return false;
    *out = found;
    return true;
}

static void look_for_regression(struct registry *registry, const struct kernel_record *kernel,
                                const struct observation_record *now, struct arena *arena)
{
    struct kernel_record *before;
    struct error ignored;
    struct strbuf text;
    if (!version_find(registry->catalogue, kernel, kernel->version, arena, &before, &ignored))
        return;
    const struct observation_record *then =
        before ? last_of(registry, before->head.id, now, arena) : NULL;
    if (!then || !observation_slower(then, now))
        return;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%.1f us a call at '%s' on '%s', %.1f us with %s before it", now->p50_us,
                  now->profile, now->host, then->p50_us, before->head.id);
    registry_event(registry, "regression", kernel->head.id, text.data);
}

bool registry_observe(struct registry *registry, const char *kernel,
                      struct observation_record *observation, struct arena *arena,
                      struct error *err)
{
    for (int tries = 0; tries < TRIES; tries++) {
        struct kernel_record *record;
        if (!registry_kernel(registry, kernel, arena, &record, err))
            return false;
        observation->kernel = record->head.id;
        record->latency_us = observation->p50_us;
        const struct change changes[] = {
            {.kind = RECORD_observation, .expect = EXPECT_NEW, .record = observation},
            {.kind = RECORD_kernel, .expect = EXPECT_SAME, .record = record}};
        if (catalogue_commit(registry_catalogue(registry), changes, 2, err)) {
            look_for_regression(registry, record, observation, arena);
            return true;
        }
        if (err->code != ERR_CONFLICT)
            return false;
    }
    return fail(err, ERR_BUSY, "others change the same kernel without end");
}
