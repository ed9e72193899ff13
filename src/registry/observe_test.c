/* Observations are stored with their kernel; a version that is slower than the one before raises an
 * event, noise does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "registry/registry.h"

#include <cmocka.h>

struct bed {
    struct arena arena;
    struct registry *registry;
    struct error err;
};

static int setup(void **state)
{
    static struct bed bed;
    const struct registry_options options = {
        .catalogue = "memory:", .blobs = "memory:", .alone = true};
    *state = &bed;
    arena_init(&bed.arena);
    return registry_open(&options, &bed.registry, &bed.err) ? 0 : -1;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    registry_close(bed->registry);
    arena_release(&bed->arena);
    return 0;
}

/* Random times around a median, with a spread in percent, as a JSON list. */
static struct observation_record *times(struct bed *bed, double median_us, double spread,
                                        uint32_t count, uint64_t seed)
{
    struct observation_record *out = record_new(RECORD_observation, &bed->arena);
    struct strbuf text;
    strbuf_init(&text, &bed->arena);
    for (uint32_t i = 0; i < count; i++)
        strbuf_printf(&text, "%s%.4f", i == 0 ? "[" : ",",
                      median_us * (1 + spread * rng_normal(rng_key(seed), i)));
    strbuf_puts(&text, count > 0 ? "]" : "");
    out->sample_us = text.data;
    out->p50_us = median_us;
    out->p95_us = median_us * 1.1;
    out->calls = count > 0 ? count : 1;
    out->profile = "B=32";
    out->host = "host";
    return out;
}

static void told_apart(void **state)
{
    struct bed *bed = *state;
    uint32_t alarms = 0;
    assert_true(observation_slower(times(bed, 100, 0.05, 50, 1), times(bed, 110, 0.05, 50, 2)));
    assert_false(observation_slower(times(bed, 110, 0.05, 50, 1), times(bed, 100, 0.05, 50, 2)));
    /* A difference of 3 % is ignored, however significant. */
    assert_false(
        observation_slower(times(bed, 100, 0.001, 500, 1), times(bed, 103, 0.001, 500, 2)));
    /* The reported medians differ, but the samples do not. */
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct observation_record *newer = times(bed, 100, 0.2, 40, 2 * seed + 1);
        newer->p50_us = 106;
        alarms += observation_slower(times(bed, 100, 0.2, 40, 2 * seed), newer);
    }
    assert_true(alarms <= 2);
    /* Too few samples, equal ones, or values that are not numbers. */
    assert_false(observation_slower(times(bed, 100, 0.05, 5, 1), times(bed, 200, 0.05, 5, 2)));
    assert_false(observation_slower(times(bed, 100, 0, 50, 1), times(bed, 100, 0, 50, 2)));
    struct observation_record *odd = times(bed, 200, 0, 0, 1);
    odd->sample_us = "{\"no\": \"list\"}";
    assert_false(observation_slower(times(bed, 100, 0.05, 50, 1), odd));
}

/* Publishes a kernel, version 1 or 2 of the same blueprint. */
static const char *publish(struct bed *bed, const char *id, const char *key)
{
    struct kernel_record *kernel = record_new(RECORD_kernel, &bed->arena);
    struct key_record *wanted = record_new(RECORD_key, &bed->arena);
    kernel->head.id = id;
    kernel->targets = ",x86-64-v3,";
    kernel->evidence = "verified";
    kernel->strategy = "standard";
    wanted->head.id = key;
    wanted->content = "content";
    const struct publication publication = {.package = id,
                                            .package_bytes = strlen(id),
                                            .source = "{}",
                                            .source_bytes = 2,
                                            .content = "content",
                                            .kernel = kernel,
                                            .key = wanted,
                                            .blueprint_name = "",
                                            .blueprint = "",
                                            .client = "test"};
    assert_true(registry_publish(bed->registry, &publication, &bed->arena, NULL, &bed->err));
    return id;
}

static uint32_t events(struct bed *bed)
{
    const struct filter filter = {.field = "kind", .op = FILTER_IS, .text = "regression"};
    const struct query query = {.kind = RECORD_event, .filters = &filter, .filter_count = 1};
    struct totals totals;
    assert_true(
        catalogue_total(registry_catalogue(bed->registry), &query, NULL, &totals, &bed->err));
    return (uint32_t)totals.count;
}

static void observe(struct bed *bed, const char *kernel, double median_us, uint64_t seed)
{
    struct observation_record *times_of = times(bed, median_us, 0.03, 60, seed);
    assert_true(registry_observe(bed->registry, kernel, times_of, &bed->arena, &bed->err));
    assert_string_equal(times_of->kernel, kernel);
}

static void regressions_are_events(void **state)
{
    struct bed *bed = *state;
    struct kernel_record *kernel;
    const char *first = publish(bed, "kernel-1", "key-1");
    const char *second = publish(bed, "kernel-2", "key-2");
    observe(bed, first, 100, 1);
    observe(bed, second, 101, 2);
    assert_int_equal(events(bed), 0);
    observe(bed, second, 130, 3);
    assert_int_equal(events(bed), 1);
    assert_true(registry_kernel(bed->registry, second, &bed->arena, &kernel, &bed->err));
    assert_true(kernel->latency_us > 129 && kernel->latency_us < 131);
    observe(bed, first, 200, 4); /* the first version has none before it */
    assert_int_equal(events(bed), 1);
    assert_false(registry_observe(bed->registry, "kernel-3", times(bed, 1, 0, 1, 1), &bed->arena,
                                  &bed->err));
    assert_int_equal(bed->err.code, ERR_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(told_apart), TEST(regressions_are_events)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
