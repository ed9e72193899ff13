/* Tracing: every launch is traced once a call, in order and completely; the figures of launches;
 * the printed forms. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "profile/profile.h"

#include <cmocka.h>

struct bed {
    struct arena arena;
    void *package;
    size_t size;
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof *bed);
    struct error err = {.code = ERR_NONE};
    struct compile_result compiled;
    const struct compile_options options = {.strategy = STRATEGY_STANDARD, .targets = "x86-64-v2"};
    char *blueprint;
    size_t size;
    arena_init(&bed->arena);
    assert_true(file_read("examples/mlp.json", 1 << 20, &blueprint, &size, &err));
    assert_true(compile_blueprint(blueprint, size, &options, &bed->arena, &compiled, &err));
    free(blueprint);
    bed->size = compiled.package_bytes;
    bed->package = arena_alloc(&bed->arena, bed->size, 64);
    memcpy(bed->package, compiled.package, bed->size);
    *state = bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    arena_release(&bed->arena);
    free(bed);
    return 0;
}

static struct profile_options options_of(uint32_t threads, uint32_t chunks)
{
    return (struct profile_options){
        .load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = threads, .chunks = chunks},
        .dims = "B=64",
        .seconds = 0.02};
}

/* The chunks of a launch are consecutive, launch after launch. */
static void check_chunks(const struct trace_profile *p, uint32_t first, uint32_t count,
                         uint32_t launches_from, uint32_t launches_to)
{
    uint32_t *seen = calloc(p->launch_count, sizeof *seen);
    for (uint32_t i = first; i < first + count; i++) {
        const struct chunk_profile *c = &p->chunks[i];
        assert_in_range(c->launch, launches_from, launches_to - 1);
        assert_true(c->begin_us >= 0 && c->end_us >= c->begin_us);
        assert_true(c->thread < p->threads);
        seen[c->launch]++;
        for (uint32_t k = first; k < first + count; k++)
            if (p->chunks[k].launch < c->launch)
                assert_true(p->chunks[k].end_us <= c->begin_us);
    }
    for (uint32_t l = launches_from; l < launches_to; l++)
        assert_int_equal(seen[l], p->launches[l].chunks);
    free(seen);
}

static void launches(void **state)
{
    struct bed *bed = *state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct error err = {.code = ERR_NONE};
        struct trace_profile p;
        struct profile_options options = options_of(threads, threads == 3 ? 7 : 0);
        assert_true(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
        assert_string_equal(p.dims, "B=64");
        assert_string_equal(p.target, "x86-64-v2");
        assert_true(p.calls > 0 && p.launch_count > p.prepare_count && p.prepare_count > 0);
        check_chunks(&p, 0, p.prepare_chunk_count, 0, p.prepare_count);
        check_chunks(&p, p.prepare_chunk_count, p.chunk_count - p.prepare_chunk_count,
                     p.prepare_count, p.launch_count);
        double asked = 0, share = 0, us = 0;
        uint32_t most = 0;
        for (uint32_t l = p.prepare_count; l < p.launch_count; l++) {
            assert_in_range(p.launches[l].chunks, 1, threads == 3 ? 7 : threads == 1 ? 1 : 8);
            most = p.launches[l].chunks > most ? p.launches[l].chunks : most;
            assert_true(p.launches[l].done >= p.launches[l].asked);
            asked += p.launches[l].asked;
            share += p.launches[l].share;
            us += p.launches[l].us;
        }
        assert_true(threads == 3 ? most == 7 : most >= threads);
        /* 2 · 64 rows · all weights, not counting a bias and a maximum */
        double products = 2.0 * 64 * (784 * 256 + 256 * 128 + 128 * 10);
        assert_true(asked >= products && asked <= 1.01 * products);
        assert_true(share > 0.999 && share < 1.001);
        assert_true(p.call_us > 0 && p.outside_us <= p.call_us);
        assert_true(us <= 2 * p.call_us); /* the sum of medians may exceed the median of the sum */
        assert_true(p.launches[p.prepare_count].percent == 0); /* no peak was measured */
    }
}

/* Large launches are split into more chunks than there are threads, since iterations need not take
 * equally long. */
static void finer(void **state)
{
    struct bed *bed = *state;
    struct error err = {.code = ERR_NONE};
    struct trace_profile p;
    struct profile_options options = options_of(2, 0);
    uint32_t most = 0;
    options.dims = "B=4096";
    assert_true(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
    for (uint32_t l = p.prepare_count; l < p.launch_count; l++)
        most = p.launches[l].chunks > most ? p.launches[l].chunks : most;
    assert_int_equal(most, 8);
    options.dims = "B=1";
    assert_true(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
    assert_int_equal(p.launches[p.launch_count - 1].chunks, 1); /* 2,560 operations */
}

static void prints(void **state)
{
    struct bed *bed = *state;
    struct error err = {.code = ERR_NONE};
    struct trace_profile p;
    struct strbuf text, svg;
    struct profile_options options = options_of(2, 0);
    assert_true(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
    strbuf_init(&text, &bed->arena);
    launches_print(&p, &text);
    json_t *value = json_loads(text.data, 0, NULL);
    json_t *rows = json_object_get(value, "launches");
    assert_int_equal(json_array_size(rows), p.launch_count);
    json_t *first = json_array_get(rows, p.prepare_count);
    json_t *nodes = json_object_get(first, "nodes");
    assert_int_equal(json_array_size(nodes), 2);
    assert_string_equal(json_string_value(json_array_get(nodes, 0)), "fc1");
    assert_string_equal(json_string_value(json_array_get(nodes, 1)), "h1");
    assert_int_equal(json_integer_value(json_object_get(first, "more_nodes")), 0);
    json_t *timeline = json_object_get(value, "timeline");
    assert_int_equal(json_array_size(json_object_get(timeline, "prepare")), p.prepare_chunk_count);
    assert_int_equal(json_array_size(json_object_get(timeline, "call")),
                     p.chunk_count - p.prepare_chunk_count);
    json_decref(value);
    p.launches[p.prepare_count].label = "a<b&c>";
    strbuf_init(&svg, &bed->arena);
    timeline_print(&p, &svg);
    uint32_t boxes = 0;
    for (const char *at = svg.data; (at = strstr(at, "<title>")) != NULL; at++)
        boxes++;
    assert_int_equal(boxes, p.chunk_count);
    assert_non_null(strstr(svg.data, "a&lt;b&amp;c&gt;"));
    assert_null(strstr(svg.data, "a<b"));
}

static void refuses(void **state)
{
    struct bed *bed = *state;
    struct error err = {.code = ERR_NONE};
    struct trace_profile p;
    struct profile_options options = options_of(1, 0);
    options.load.target = "interpreter";
    assert_false(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    options = options_of(1, 0);
    options.dims = "B=100000";
    assert_false(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
    assert_int_equal(err.code, ERR_USAGE);
    options.load.trust = URZA_TRUST_REQUIRE;
    assert_false(profile_launches(bed->package, bed->size, &options, &bed->arena, &p, &err));
    assert_int_equal(err.code, ERR_SIGNATURE);
}

/* Spans beyond the array's end are counted but not stored; untraced calls are not recorded. */
static void room(void **state)
{
    struct bed *bed = *state;
    const urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 1};
    urza_module *module;
    urza_error err;
    urza_span spans[2] = {{.launch = 99}, {.launch = 99}};
    assert_int_equal(urza_load_memory(bed->package, bed->size, &load, &module, &err), 0);
    assert_int_equal(urza_trace_begin(NULL, spans, 1, &err), ERR_USAGE);
    assert_int_equal(urza_trace_begin(module, NULL, 1, &err), ERR_USAGE);
    assert_int_equal(urza_trace_begin(module, spans, 1, &err), 0);
    assert_int_equal(urza_trace_begin(module, spans, 1, &err), ERR_USAGE);
    assert_int_equal(urza_prepare(module, &err), 0);
    assert_true(urza_trace_end(module) > 1);
    assert_int_equal(spans[0].launch, 0);
    assert_int_equal(spans[1].launch, 99);
    assert_int_equal(urza_trace_end(module), 0);
    spans[0].launch = 99;
    assert_int_equal(urza_prepare(module, &err), 0);
    assert_int_equal(spans[0].launch, 99);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launches), cmocka_unit_test(finer), cmocka_unit_test(prints),
        cmocka_unit_test(refuses),  cmocka_unit_test(room),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
