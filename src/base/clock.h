/* Monotonic time. */
#ifndef URZA_BASE_CLOCK_H
#define URZA_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void);        /* CLOCK_MONOTONIC */
uint64_t clock_thread_ns(void); /* processor time of this thread */

#endif
