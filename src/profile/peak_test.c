/* Speeds depend on the machine, so only what holds on any machine is tested. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/error.h"
#include "package/package.h"
#include "profile/profile.h"

static void test_every_target(void **state)
{
    (void)state;
    struct error err;
    struct peak peak;
    for (uint32_t i = 0; target_name_at(i); i++) {
        assert_true(peak_measure(target_name_at(i), 1, 65536, i % 2 == 0, &peak, &err));
        assert_true(peak.flops > 1e8 && peak.flops < 1e13);
        assert_true(peak.bytes_per_s > 1e7 && peak.bytes_per_s < 1e13);
    }
}

static void test_odd_sizes_and_names(void **state)
{
    (void)state;
    struct error err;
    struct peak peak;
    assert_true(peak_measure("interpreter", 3, 0, true, &peak, &err));
    assert_true(peak.flops > 1e8 && peak.bytes_per_s > 1e7);
    assert_true(peak_measure("", 2, 1e6 + 1, true, &peak, &err));
    assert_true(peak.flops > 1e8 && peak.bytes_per_s > 1e7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_target),
        cmocka_unit_test(test_odd_sizes_and_names),
    };
    return cmocka_run_group_tests_name("peak", tests, NULL, NULL);
}
