/* Threads that take loop iterations from a shared counter. They block all signals, so that handlers
 * run on the host's own threads. */
#include "base/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct loop {
    parallel_turn *turn;
    void *context;
    int64_t turns;
    _Atomic int64_t next;
};

struct worker {
    struct loop *loop;
    uint32_t index;
    pthread_t thread;
};

static void *work(void *argument)
{
    const struct worker *worker = argument;
    struct loop *loop = worker->loop;
    for (;;) {
        int64_t i = atomic_fetch_add_explicit(&loop->next, 1, memory_order_relaxed);
        if (i >= loop->turns)
            return NULL;
        loop->turn(loop->context, i, worker->index);
    }
}

uint32_t parallel_workers(uint32_t threads, int64_t turns)
{
    uint32_t most = threads < PARALLEL_WORKERS_MOST ? threads : PARALLEL_WORKERS_MOST;
    most = turns < (int64_t)most ? (uint32_t)(turns > 0 ? turns : 0) : most;
    return most > 0 ? most : 1;
}

void parallel_for(uint32_t threads, int64_t turns, parallel_turn *turn, void *context)
{
    struct loop loop = {.turn = turn, .context = context, .turns = turns};
    struct worker workers[PARALLEL_WORKERS_MOST];
    uint32_t most = parallel_workers(threads, turns), count = 1;
    workers[0] = (struct worker){.loop = &loop};
    if (most > 1) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (; count < most; count++) {
            workers[count] = (struct worker){.loop = &loop, .index = count};
            if (pthread_create(&workers[count].thread, NULL, work, &workers[count]) != 0)
                break;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    work(&workers[0]);
    for (uint32_t i = 1; i < count; i++)
        pthread_join(workers[i].thread, NULL);
}
