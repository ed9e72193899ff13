/* Parallel loops: each turn runs once, and workers are in their range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/parallel.h"

#include <cmocka.h>

#define TURNS 1000

struct seen {
    _Atomic int turns[TURNS];
    _Atomic int busy[PARALLEL_WORKERS_MOST];
    _Atomic int wrong;
    uint32_t workers;
};

static void see(void *context, int64_t turn, uint32_t worker)
{
    struct seen *seen = context;
    if (worker >= seen->workers || atomic_fetch_add(&seen->busy[worker], 1) != 0)
        atomic_fetch_add(&seen->wrong, 1);
    atomic_fetch_add(&seen->turns[turn], 1);
    atomic_fetch_sub(&seen->busy[worker], 1);
}

static void test_each_turn_once(void **state)
{
    static const uint32_t threads[] = {0, 1, 2, 5, 1000};
    static const int64_t turns[] = {0, 1, 3, TURNS};
    struct seen *seen = malloc(sizeof *seen);
    (void)state;
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        for (size_t n = 0; n < sizeof turns / sizeof *turns; n++) {
            memset(seen, 0, sizeof *seen);
            seen->workers = parallel_workers(threads[t], turns[n]);
            assert_true(seen->workers >= 1 && seen->workers <= PARALLEL_WORKERS_MOST);
            assert_true(seen->workers <= 1 || seen->workers <= turns[n]);
            parallel_for(threads[t], turns[n], see, seen);
            for (int64_t i = 0; i < TURNS; i++)
                assert_int_equal(atomic_load(&seen->turns[i]), i < turns[n]);
            assert_int_equal(atomic_load(&seen->wrong), 0);
        }
    }
    free(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_turn_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
