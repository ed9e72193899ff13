/* CLOCK_MONOTONIC: unaffected by changes of the wall clock, comparable between the threads of a
 * machine. */
#include "base/clock.h"

#include <assert.h>
#include <time.h>

uint64_t clock_ns(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    assert(rc == 0);
    (void)rc;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
