/* Time goes forward, in nanoseconds. */
#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static void test_monotonic(void **state)
{
    (void)state;
    uint64_t last = clock_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_ns();
        assert_true(now >= last);
        last = now;
    }
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    uint64_t waited = clock_ns() - last;
    assert_true(waited >= 1900000 && waited < 60000000000u);
}

/* A thread that sleeps does not run, and one that computes does. */
static void test_thread_time(void **state)
{
    (void)state;
    uint64_t begin = clock_thread_ns();
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    assert_true(clock_thread_ns() - begin < 10000000);
    while (clock_thread_ns() - begin < 10000000)
        ;
    assert_true(clock_thread_ns() - begin >= 10000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_monotonic),
        cmocka_unit_test(test_thread_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
