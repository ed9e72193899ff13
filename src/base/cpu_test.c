/* What must hold of any processor: lists of features, and the mode of floating point, which C's own
 * functions set. */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include <cmocka.h>

static void names(void **state)
{
    (void)state;
    char model[64] = "";
    assert_true(strlen(cpu_family()) > 0);
    cpu_model(model, sizeof model);
    assert_true(strlen(model) > 0);
    assert_true(cpu_has(""));
    assert_false(cpu_has("no-such-feature"));
}

static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

/* One third, rounded at run time. */
static double third(void)
{
    volatile double one = 1, three = 3;
    return one / three;
}

static void work_is_in_the_default_mode(void **state)
{
    (void)state;
    double nearest = third(), outside[sizeof modes / sizeof modes[0]];
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct cpu_fp before;
        assert_int_equal(fesetround(modes[i]), 0);
        outside[i] = third();
        cpu_fp_begin(&before);
        double within = third();
        cpu_fp_end(&before);
        double after = third();
        fesetround(FE_TONEAREST);
        assert_true(within == nearest);
        assert_true(after == outside[i]);
    }
    assert_true(outside[1] > outside[2] && outside[2] == outside[3]);
}

/* Those that were raised before stay, and work raises none. */
static void flags_are_the_callers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct cpu_fp before;
        volatile double zero = 0, out;
        feclearexcept(FE_ALL_EXCEPT);
        feraiseexcept(FE_OVERFLOW);
        int raised = fetestexcept(FE_ALL_EXCEPT);
        assert_int_equal(fesetround(modes[i]), 0);
        cpu_fp_begin(&before);
        out = 1 / zero;
        out = third();
        cpu_fp_end(&before);
        int after = fetestexcept(FE_ALL_EXCEPT);
        fesetround(FE_TONEAREST);
        (void)out;
        assert_int_equal(after, raised);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(work_is_in_the_default_mode),
        cmocka_unit_test(flags_are_the_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
