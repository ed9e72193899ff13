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
#include "profile/profile.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mlp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
