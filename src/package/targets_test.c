#include "base/compiler.h"
#include "package/test_util.h"

static void table(void **state)
{
    (void)state;
    assert_string_equal(target_name_at(0), "x86-64-v2");
    uint32_t count = 0;
    for (; target_name_at(count); count++) {
        const char *name = target_name_at(count);
        assert_true(target_rank(name) >= 0);
        assert_non_null(target_features(name));
        assert_true(zip_name_ok(name, strlen(name)));
        for (uint32_t k = 0; k < count; k++)
            assert_int_not_equal(target_rank(name), target_rank(target_name_at(k)));
    }
    assert_null(target_name_at(count + 1));
    assert_int_equal(target_rank("x86-64-v9"), -1);
    assert_null(target_features("skylake-avx512"));
    assert_false(target_supported_here("x86-64-v9"));
    assert_false(target_supported_here(""));
}

/* The C compiler's run-time library detects features independently, and must agree. */
static void agrees_with_the_compiler(void **state)
{
    (void)state;
#if URZA_HAS_MXCSR /* x86-64 */
    bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    assert_int_equal(target_supported_here("x86-64-v2"), v2);
    assert_int_equal(target_supported_here("x86-64-v3"), v3);
    assert_int_equal(target_supported_here("x86-64-v4"), v4);
#else
    assert_false(target_supported_here("x86-64-v2"));
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(agrees_with_the_compiler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
