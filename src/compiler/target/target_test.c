/* The two tables of targets agree: what the compiler may use of a target (targets.def here), and
 * what a machine must have for it (package/targets.def). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include "compiler/target/target.h"
#include "package/package.h"
#include <cmocka.h>

static void tables_agree(void **state)
{
    (void)state;
    uint32_t count = 0, others = 0;
    for (; target_at(count); count++) {
        const struct target *t = target_at(count);
        assert_true(target_rank(t->name) >= 0);
        assert_int_equal(target_of_this_family(t->name), strcmp(t->family, cpu_family()) == 0);
        assert_true(strncmp(t->name, t->family, strlen(t->family)) == 0);
        if (count > 0 && strcmp(t->family, target_at(count - 1)->family) == 0)
            assert_true(target_rank(t->name) > target_rank(target_at(count - 1)->name));
    }
    while (target_name_at(others))
        assert_non_null(target_find(target_name_at(others++)));
    assert_int_equal(count, others);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
