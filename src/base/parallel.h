/* A loop whose turns may run at the same time, on threads that live as long as the loop.
 *
 * For work of milliseconds: a thread costs tens of microseconds. Turns are taken by whoever comes
 * first, which decides where but not what they compute. Thread-safe. */
#ifndef URZA_BASE_PARALLEL_H
#define URZA_BASE_PARALLEL_H

#include <stdint.h>

#define PARALLEL_WORKERS_MOST 64

/* One turn, by a worker < parallel_workers(…): what belongs to a worker is used by one turn at a
 * time. */
typedef void parallel_turn(void *context, int64_t turn, uint32_t worker);

/* How many workers parallel_for takes at most: the caller is one of them. threads 0 counts as 1. */
uint32_t parallel_workers(uint32_t threads, int64_t turns);

/* Runs turn(context, i, …) once for each i < turns. The caller works, too; where no thread can be
 * created it works alone. */
void parallel_for(uint32_t threads, int64_t turns, parallel_turn *turn, void *context);

#endif
