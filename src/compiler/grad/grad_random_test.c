/* Gradients of each prim alone, of random programs and of random recurrences, beside forward mode;
 * and where there is no derivative. */
#include "compiler/grad/grad.h"
#include "compiler/grad/cases_test_util.h"
#include "graph/prims_test_util.h"

static void test_prims(void **state)
{
    struct bed *bed = *state;
    int failures = 0;
    for (int prim = PRIM_NEG; prim < PRIM_COUNT; prim++) {
        uint32_t moving = 0;
        if (prim >= PRIM_ITER && prim <= PRIM_LOOP)
            continue;
        for (uint64_t seed = 0; seed < 200; seed++) {
            bed->err = (struct error){0};
            if (!grad_case_prim(bed, (enum prim)prim, seed, &moving)) {
                print_error("%s: %s\n", bed->err.place, bed->err.message);
                failures++;
            }
        }
        if (moving < (grad_differentiable((enum prim)prim) ? 60 : 0))
            fail_msg("%s: %u moving", prim_info((enum prim)prim)->name, moving);
    }
    assert_int_equal(failures, 0);
}

static void check_seeds(struct bed *bed, bool (*check)(struct bed *, uint64_t, uint32_t *),
                        uint64_t seeds, uint32_t least)
{
    int failures = 0;
    uint32_t moving = 0;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        bed->err = (struct error){0};
        if (!check(bed, seed, &moving)) {
            print_error("%s: %s\n", bed->err.place, bed->err.message);
            failures++;
        }
    }
    if (failures > 0 || moving < least)
        fail_msg("%d failures, %u with a derivative that is not 0", failures, moving);
}

static void test_loops(void **state)
{
    check_seeds(*state, grad_case_loop, 600, 550);
}

static void test_programs(void **state)
{
    check_seeds(*state, grad_case_program, 1000, 950);
}

static void test_guards(void **state)
{
    check_seeds(*state, grad_case_guard, 1000, 700);
}

static void test_named_dims(void **state)
{
    check_seeds(*state, grad_case_named, 600, 3000);
}

static void test_ties(void **state)
{
    struct bed *bed = *state;
    int failures = 0;
    for (uint32_t i = 0; grad_case_tie_name(i); i++) {
        bed->err = (struct error){0};
        if (!grad_case_tie(bed, i)) {
            print_error("%s: %s\n", bed->err.place, bed->err.message);
            failures++;
        }
    }
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_prims, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_ties, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_programs, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_guards, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_named_dims, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_loops, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
