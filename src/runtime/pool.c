/* A pool of threads that serves one call at a time.
 *
 * A job is a ticket, one word with the generation, the number of tasks and the next task. A thread
 * takes a task by advancing the ticket with compare-and-swap, so it cannot mistake a task of an old
 * job for one of the new job. While it runs the task, the job's other fields do not change, because
 * the caller waits for all tasks. Which thread runs a task varies, but not what the task computes.
 *
 * Threads spin for some microseconds before they sleep on a futex; the wake-up call is skipped if
 * no thread sleeps. After a fork the child has no threads, and its callers run all tasks
 * themselves. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compiler.h"
#include "runtime/parts_priv.h"

#define SPINS 500

struct pool {
    pool_parallel *parallel;
    void *user;
    pid_t owner; /* the process that the threads belong to */
    uint32_t thread_count;
    pthread_t *threads;
    pool_task *task;
    void *argument;
    _Atomic bool busy, stop;
    _Alignas(64) _Atomic uint64_t ticket;  /* generation << 32 | count << 16 | next */
    _Alignas(64) _Atomic uint32_t pending; /* tasks not done; a futex */
    _Atomic uint32_t caller_sleeps;
    _Alignas(64) _Atomic uint32_t generation; /* a futex */
    _Atomic uint32_t sleepers;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static uint32_t ticket_count(uint64_t ticket)
{
    return (uint32_t)(ticket >> 16 & 0xffff);
}

static uint32_t ticket_next(uint64_t ticket)
{
    return (uint32_t)(ticket & 0xffff);
}

/* Takes and runs tasks until no task is left. */
static void drain(struct pool *pool)
{
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    while (ticket_next(ticket) < ticket_count(ticket)) {
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1,
                                                   memory_order_acquire, memory_order_acquire))
            continue;
        pool->task(pool->argument, ticket_next(ticket));
        if (atomic_fetch_sub(&pool->pending, 1) == 1 && atomic_load(&pool->caller_sleeps) != 0)
            futex_wake(&pool->pending, 1);
        ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    }
}

/* Waits until *word differs from value. */
static void wait_change(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value)
            return;
        URZA_CPU_RELAX();
    }
    atomic_fetch_add(sleepers, 1);
    while (atomic_load(word) == value)
        futex_wait(word, value);
    atomic_fetch_sub(sleepers, 1);
}

static void *worker(void *argument)
{
    struct pool *pool = argument;
    uint32_t seen = 0;
    while (!atomic_load(&pool->stop)) {
        drain(pool);
        wait_change(&pool->generation, seen, &pool->sleepers);
        seen = atomic_load(&pool->generation);
    }
    return NULL;
}

static void start_threads(struct pool *pool, uint32_t count)
{
    while (pool->thread_count < count &&
           thread_start(&pool->threads[pool->thread_count], NULL, worker, pool))
        pool->thread_count++;
}

struct pool *pool_new(uint32_t threads, pool_parallel *parallel, void *user)
{
    struct pool *pool = block_new(sizeof *pool);
    if (!pool)
        return NULL;
    *pool = (struct pool){.parallel = parallel, .user = user, .owner = getpid()};
    if (parallel || threads <= 1)
        return pool;
    pool->threads = calloc(threads - 1, sizeof *pool->threads);
    if (!pool->threads) {
        free(pool);
        return NULL;
    }
    start_threads(pool, threads - 1);
    return pool;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    if (pool->owner == getpid()) {
        atomic_store(&pool->stop, true);
        atomic_fetch_add(&pool->generation, 1);
        futex_wake(&pool->generation, INT_MAX);
        for (uint32_t i = 0; i < pool->thread_count; i++)
            pthread_join(pool->threads[i], NULL);
    }
    free(pool->threads);
    free(pool);
}

static void run_alone(pool_task *task, void *argument, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        task(argument, i);
}

void pool_run(struct pool *pool, pool_task *task, void *argument, uint32_t count)
{
    if (count > 1 && pool->parallel) {
        /* If the host's function were cancelled, tasks might still run on other threads and use
         * memory that ends with the caller's stack. */
        int cancel;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
        pool->parallel(pool->user, task, argument, count);
        pthread_setcancelstate(cancel, &cancel);
        return;
    }
    if (count <= 1 || pool->thread_count == 0 ||
        atomic_exchange_explicit(&pool->busy, true, memory_order_acquire)) {
        run_alone(task, argument, count);
        return;
    }
    pool->task = task;
    pool->argument = argument;
    atomic_store_explicit(&pool->pending, count, memory_order_relaxed);
    uint64_t generation = atomic_load_explicit(&pool->generation, memory_order_relaxed) + 1u;
    atomic_store(&pool->ticket, generation << 32 | (uint64_t)count << 16);
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers) > 0)
        futex_wake(&pool->generation, (int)count - 1);
    drain(pool);
    for (uint32_t left; (left = atomic_load(&pool->pending)) != 0;)
        wait_change(&pool->pending, left, &pool->caller_sleeps);
    atomic_store_explicit(&pool->busy, false, memory_order_release);
}
