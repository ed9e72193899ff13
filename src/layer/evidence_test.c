/* What follows from counts, beside definitions and drawn histories. */
#include "layer/rollout_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/rng.h"

#define RUNS 1000

/* Nanoseconds of a call that typically takes so long, with lognormal noise. */
static uint64_t drawn_ns(double typical, double noise, uint64_t key, uint64_t counter)
{
    return (uint64_t)(typical * exp(noise * rng_normal(key, counter)));
}

/* The number of the pair that alarms; 0: none does. */
static uint64_t first_alarm(double slowdown, double noise, uint64_t pairs, uint64_t seed)
{
    struct counts counts = {0};
    for (uint64_t i = 0; i < pairs; i++)
        if (counts_add_pair(&counts, drawn_ns(1e5, noise, rng_key(seed), 2 * i),
                            drawn_ns(1e5 * slowdown, noise, rng_key(seed), 2 * i + 1)) ==
            ALARM_SLOWER)
            return i + 1;
    return 0;
}

static void equal_pairs_never_alarm(void **state)
{
    (void)state;
    static const double noise[] = {0.001, 0.02, 0.2, 1};
    for (uint64_t run = 0; run < RUNS; run++)
        assert_int_equal(first_alarm(1, noise[run % 4], 5000, run), 0);
}

static void a_tenth_slower_is_found_in_100_pairs(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        uint64_t found = first_alarm(1.1, 0.02, 5000, 7000 + run);
        assert_true(found > 0 && found <= 100);
    }
}

/* If one of both is slower by more than a twentieth in half of the pairs, which no equal ones are,
 * one run in a thousand may alarm. */
static void the_worst_case_keeps_its_promise(void **state)
{
    (void)state;
    uint32_t alarms = 0;
    for (uint64_t run = 0; run < 5 * RUNS; run++) {
        struct counts counts = {0};
        for (uint64_t i = 0; i < 1000; i++)
            if (counts_add_pair(&counts, 100, rng_u32(rng_key(run), i) & 1 ? 200 : 50)) {
                alarms++;
                break;
            }
    }
    assert_true(alarms <= 5 + 7); /* three standard deviations */
}

/* The e-value is the product of predictions: each pair doubles what was betted on it. */
static void the_e_value_is_a_product_of_bets(void **state)
{
    (void)state;
    double log_e = 0;
    uint64_t slower = 0;
    for (uint64_t n = 0; n < 20000; n++) {
        bool is = rng_uniform(rng_key(5), n) < 0.6;
        double share = ((double)slower + 0.5) / ((double)n + 1);
        log_e += log(2 * (is ? share : 1 - share));
        slower += is;
        assert_true(fabs(evidence_log_e(n + 1, slower) - log_e) < 1e-6);
    }
    assert_true(evidence_log_e(0, 0) == 0);
}

/* Counts failures until one of both ends is reached. */
static enum alarm run_failures(double probability, uint64_t seed)
{
    struct counts counts = {0};
    const struct counted none = {0};
    for (uint64_t i = 0;; i++) {
        bool failed = rng_uniform(rng_key(seed), i) < probability;
        if (counts_add_call(&counts, failed) == ALARM_FAILS)
            return ALARM_FAILS;
        struct counted now = counts_read(&counts);
        now.pairs = now.no_slower = now.judged = 1;
        if (evidence_suffices(&now, &none, 1, true))
            return ALARM_NONE;
    }
}

static void failures_are_told_apart(void **state)
{
    (void)state;
    uint32_t good = 0, bad = 0;
    for (uint64_t run = 0; run < RUNS; run++) {
        good += run_failures(1e-4, run) == ALARM_FAILS;
        bad += run_failures(1e-3, RUNS + run) == ALARM_NONE;
    }
    assert_true(good <= RUNS / 100 + 10); /* three standard deviations */
    assert_true(bad <= RUNS / 20 + 21);
    struct counts counts = {0};
    assert_int_equal(counts_add_call(&counts, true), ALARM_NONE);
    assert_int_equal(counts_add_call(&counts, true), ALARM_FAILS);
}

static void going_on_needs_enough_of_everything(void **state)
{
    (void)state;
    const struct counted from = {100, 20, 60, 5000, 1, 7};
    struct counted now = {599, 20, 400, 9000, 1, 27};
    assert_false(evidence_suffices(&now, &from, 500, false)); /* a pair too few */
    now.pairs++;
    assert_true(evidence_suffices(&now, &from, 500, false));
    assert_true(evidence_suffices(&now, &from, 500, true));
    now.judged--;
    assert_false(evidence_suffices(&now, &from, 500, false)); /* a result too few */
    assert_true(evidence_suffices(&now, &from, 19, false));
    now.judged++;
    now.no_slower = from.no_slower + 249;
    assert_false(evidence_suffices(&now, &from, 500, false));
    now.no_slower++;
    assert_true(evidence_suffices(&now, &from, 500, false));
    now.challenger_calls = from.challenger_calls + 3000;
    assert_true(evidence_suffices(&now, &from, 500, false));
    assert_false(evidence_suffices(&now, &from, 500, true)); /* too few calls */
    now.challenger_calls += 1000;
    now.failures++;
    assert_false(evidence_suffices(&now, &from, 500, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_pairs_never_alarm),
        cmocka_unit_test(a_tenth_slower_is_found_in_100_pairs),
        cmocka_unit_test(the_worst_case_keeps_its_promise),
        cmocka_unit_test(the_e_value_is_a_product_of_bets),
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(going_on_needs_enough_of_everything),
    };
    return cmocka_run_group_tests_name("evidence", tests, NULL, NULL);
}
