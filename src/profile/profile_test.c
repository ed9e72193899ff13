/* Measuring a package: counts that follow from its graph, the order of the times, the printed
 * form. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "profile/profile_priv.h"

#include <cmocka.h>

static void mlp(void **state)
{
    struct arena arena;
    struct error err = {.code = ERR_NONE};
    struct compile_result compiled;
    struct strbuf text;
    char *blueprint;
    size_t size;
    (void)state;
    arena_init(&arena);
    struct profile *profile = ARENA_NEW(&arena, struct profile);
    const struct compile_options compile = {.strategy = STRATEGY_FAST, .targets = "x86-64-v2"};
    assert_true(file_read("examples/mlp.json", 1 << 20, &blueprint, &size, &err));
    assert_true(compile_blueprint(blueprint, size, &compile, &arena, &compiled, &err));
    free(blueprint);
    void *package = arena_alloc(&arena, compiled.package_bytes, 64);
    memcpy(package, compiled.package, compiled.package_bytes);
    struct profile_options options = {
        .load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 1}, .dims = "B=4", .seconds = 0.02};
    assert_true(profile_package(package, compiled.package_bytes, &options, &arena, profile, &err));
    assert_string_equal(profile->target, "x86-64-v2");
    assert_string_equal(profile->dims, "B=4");
    assert_true(profile->calls > 10 && profile->sample_count > 10);
    assert_true(profile->min_us > 0 && profile->min_us <= profile->p50_us &&
                profile->p50_us <= profile->p95_us);
    assert_true(profile->work.flops > 1e6); /* 4 rows of 784, 256 … */
    assert_true(profile->traffic_bytes >= 0.9 * profile->work.bytes);
    assert_true(profile->percent_of_peak < 1e-9); /* no peak was measured */
    strbuf_init(&text, &arena);
    profile_print(profile, &text);
    json_t *value = json_loads(text.data, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(value, "sample_us")), profile->sample_count);
    assert_true(json_is_null(json_object_get(value, "fallback")));
    json_decref(value);

    options.dims = "B=100000"; /* beyond its range */
    assert_false(profile_package(package, compiled.package_bytes, &options, &arena, profile, &err));
    assert_int_equal(err.code, ERR_USAGE);
    options.load.trust = URZA_TRUST_REQUIRE;
    assert_false(profile_package(package, compiled.package_bytes, &options, &arena, profile, &err));
    assert_int_equal(err.code, ERR_SIGNATURE);
    arena_release(&arena);
}

/* Of a package that updates inputs, steps are measured: they follow each other in its memory, on
 * numbers that stay what an optimizer leaves behind. */
static void steps_in_place(void **state)
{
    static const char text[] = "graph \"g\"\n"
                               "%1 = input \"w\" : f32[64]\n%2 = input \"v\" : bf16[64]\n"
                               "%3 = input \"lr\" : f32[]\n%4 = input \"t\" : i64[]\n"
                               "%5 = input \"x\" : f32[64]\n"
                               "%6 = broadcast %3 {axes []} : f32[64]\n%7 = mul %5, %6 : f32[64]\n"
                               "%8 = sub %1, %7 : f32[64]\n%9 = sqrt %2 : bf16[64]\n"
                               "%10 = const 1 : i64[]\n%11 = add %4, %10 : i64[]\n"
                               "output \"w2\" %8\noutput \"y\" %7\noutput \"v2\" %9\n"
                               "output \"t2\" %11\nupdate \"w\" by \"w2\"\n"
                               "update \"v\" by \"v2\"\nupdate \"t\" by \"t2\"\n";
    struct arena arena;
    struct error err = {.code = ERR_NONE};
    struct compile_result compiled;
    struct loaded loaded;
    struct graph graph;
    (void)state;
    arena_init(&arena);
    const struct compile_options compile = {.strategy = STRATEGY_FAST, .targets = "x86-64-v2"};
    assert_true(graph_parse(&graph, &arena, text, strlen(text), &err));
    assert_true(compile_graph(&(struct compile_source){&graph, NULL, NULL}, &compile, &arena,
                              &compiled, &err));
    void *package = arena_alloc(&arena, compiled.package_bytes, 64);
    memcpy(package, compiled.package, compiled.package_bytes);
    const struct profile_options options = {
        .load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 1}, .seconds = 0.02};
    assert_true(loaded_open(&loaded, package, compiled.package_bytes, &options, &arena, &err));
    assert_int_equal(loaded.output_count, 1);
    float *w = loaded.inputs[0].data, w0[64];
    const uint16_t *v = loaded.inputs[1].data;
    memcpy(w0, w, sizeof w0);
    assert_true(*(const float *)loaded.inputs[2].data == 0);
    int64_t *t = loaded.inputs[3].data, t0 = *t;
    bool negative = false;
    for (int i = 0; i < 64; i++) {
        assert_true(w[i] >= 0);
        assert_int_equal(v[i] >> 15, 0);
        negative |= ((const float *)loaded.inputs[4].data)[i] < 0; /* it is only read */
    }
    assert_true(negative);
    for (int i = 0; i < 3; i++)
        assert_true(loaded_call(&loaded, &err));
    assert_int_equal(*t, t0 + 3);
    assert_memory_equal(w, w0, sizeof w0);
    loaded_close(&loaded);
    struct profile *profile = ARENA_NEW(&arena, struct profile);
    if (!profile_package(package, compiled.package_bytes, &options, &arena, profile, &err))
        fail_msg("%s: %s", err.place, err.message);
    assert_true(profile->calls > 0);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mlp), cmocka_unit_test(steps_in_place)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
