/* A loop whose iterations ("turns") may run in parallel, on threads that live as long as the loop.
 *
 * For loops that take milliseconds: creating a thread costs tens of microseconds. Workers take the
 * next turn as they become free, so which worker runs a turn varies, but not what the turn
 * computes. Thread-safe. */
#ifndef URZA_BASE_PARALLEL_H
#define URZA_BASE_PARALLEL_H

#include <stdint.h>

#define PARALLEL_WORKERS_MOST 64

/* Runs one turn on a worker < parallel_workers(…). A worker runs one turn at a time, so memory
 * indexed by the worker needs no lock. */
typedef void parallel_turn(void *context, int64_t turn, uint32_t worker);

/* The largest number of workers that parallel_for uses, the caller included. threads 0 counts as
 * 1. */
uint32_t parallel_workers(uint32_t threads, int64_t turns);

/* Runs turn(context, i, …) once for each i < turns. The caller is one of the workers; where no
 * thread can be created it is the only one. */
void parallel_for(uint32_t threads, int64_t turns, parallel_turn *turn, void *context);

#endif
