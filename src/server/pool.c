/* Which task is next, and which requests join a task; task.c has what a slot then does. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "build/build.h"
#include "build/spawner.h"
#include "server/metrics.h"
#include "server/pool_priv.h"

#define CHAINS 1024

struct pool {
    struct server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct turns turns;          /* waiting tasks */
    struct task *chains[CHAINS]; /* all tasks by key, linked by `chain` */
    uint32_t active, slots;
    bool stopping;
    pthread_t threads[];
};

struct task *task_new(void)
{
    struct task *task = calloc(1, sizeof *task);
    if (!task)
        return NULL;
    arena_init(&task->arena);
    task->client = task->blueprint = task->parent = task->miss = "";
    return task;
}

void task_free(struct task *task)
{
    if (!task)
        return;
    arena_release(&task->arena);
    free(task);
}

static struct task **chain_of(struct pool *pool, const char *key)
{
    return &pool->chains[hash64(key, strlen(key), 0) % CHAINS];
}

static void unchain(struct pool *pool, struct task *task)
{
    struct task **at = chain_of(pool, task->ask.key);
    while (*at != task)
        at = &(*at)->chain;
    *at = task->chain;
}

static bool refuse_stopping(struct error *err)
{
    return fail(err, ERR_BUSY, "the service is being stopped");
}

/* Whether the pool accepts tasks of this client. */
static bool is_open(struct pool *pool, const char *client, struct error *err)
{
    if (pool->stopping)
        return refuse_stopping(err);
    if (!spawner_alive(pool->server->spawner))
        return fail(err, ERR_BUSY, "no compiler can be started until the service is restarted");
    return turns_room(&pool->turns, client, err) || fail_at(err, "compilations");
}

static bool enqueue(struct pool *pool, struct task *task, struct error *err)
{
    if (!is_open(pool, task->client, err))
        return false;
    task->turn = (struct turn){.priority = task->priority, .item = task};
    if (!turns_add(&pool->turns, task->client, &task->turn, err))
        return fail_at(err, "compilations");
    task->chain = *chain_of(pool, task->ask.key);
    *chain_of(pool, task->ask.key) = task;
    return true;
}

static struct task *find(struct pool *pool, const char *key)
{
    struct task *task = *chain_of(pool, key);
    while (task && (strcmp(task->ask.key, key) != 0 || atomic_load(&task->cancelled)))
        task = task->chain;
    return task;
}

/* Counts a client that finds no room; refusals because the service stops are not counted. */
static void count_refusal(struct pool *pool, const struct error *err)
{
    if (err->code == ERR_BUSY && !pool->stopping)
        metrics_add(pool->server->metrics, METRIC_REFUSED, "queue", 1);
}

bool pool_admits(struct pool *pool, const char *client, const char *key, struct error *err)
{
    pthread_mutex_lock(&pool->lock);
    bool ok = find(pool, key) || is_open(pool, client, err);
    if (!ok)
        count_refusal(pool, err);
    pthread_mutex_unlock(&pool->lock);
    return ok;
}

bool pool_submit(struct pool *pool, struct task *task, struct waiter *waiter, struct error *err)
{
    pthread_mutex_lock(&pool->lock);
    struct task *other = find(pool, task->ask.key);
    bool ok = other != NULL;
    waiter->joined = ok;
    if (!ok) {
        ok = enqueue(pool, task, err);
        other = task;
        task = ok ? NULL : task;
    }
    if (ok) {
        waiter->next = other->waiters;
        other->waiters = waiter;
        pthread_cond_signal(&pool->changed);
    } else
        count_refusal(pool, err);
    pthread_mutex_unlock(&pool->lock);
    task_free(task);
    return ok;
}

/* Ends a task: nobody can join it any more, and its waiters are called. */
static void settle(struct pool *pool, struct task *task, struct outcome *outcome)
{
    pthread_mutex_lock(&pool->lock);
    unchain(pool, task);
    struct waiter *waiter = task->waiters;
    pthread_mutex_unlock(&pool->lock);
    while (waiter) {
        struct waiter *next = waiter->next; /* done may free the waiter */
        outcome->joined = waiter->joined;
        waiter->done(waiter->context, outcome);
        waiter = next;
    }
    task_free(task);
}

/* Called under the lock; if true, nobody joins the task afterwards. */
static bool nobody_waits(struct task *task)
{
    for (const struct waiter *waiter = task->waiters; waiter; waiter = waiter->next)
        if (!waiter->gone || !waiter->gone(waiter->context))
            return false;
    atomic_store(&task->cancelled, true);
    return true;
}

/* Drops a task that nobody waits for any more. */
static void drop(struct pool *pool, struct task *task)
{
    struct outcome outcome = {.ok = false, .blueprint_id = task->ask.blueprint_id};
    fail(&outcome.error, ERR_CANCELLED, "whoever asked for it has gone");
    metrics_add(pool->server->metrics, METRIC_COMPILATIONS, "cancelled", 1);
    settle(pool, task, &outcome);
}

static void run(struct pool *pool, struct task *task)
{
    struct outcome outcome = {.ok = false, .blueprint_id = task->ask.blueprint_id};
    json_t *answer = NULL;
    char kernel[SHELF_NAME_BYTES];
    outcome.ok = task_run(pool, task, &answer, kernel, &outcome.error);
    pthread_mutex_lock(&pool->lock);
    pool->active--; /* before the waiters are called, so that a client that has its answer finds the
                       slot free */
    pthread_mutex_unlock(&pool->lock);
    if (!outcome.ok && outcome.error.code == ERR_CANCELLED && pool_stopping(pool))
        refuse_stopping(&outcome.error);
    outcome.answer = answer;
    outcome.kernel = kernel;
    settle(pool, task, &outcome);
    json_decref(answer);
}

static void *serve(void *context)
{
    struct pool *pool = context;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct task *task = turns_take(&pool->turns);
        if (!task) {
            if (pool->stopping)
                break;
            pthread_cond_wait(&pool->changed, &pool->lock);
            continue;
        }
        bool wanted = !nobody_waits(task);
        pool->active += wanted;
        pthread_mutex_unlock(&pool->lock);
        if (wanted)
            run(pool, task);
        else
            drop(pool, task);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct server *pool_server(struct pool *pool)
{
    return pool->server;
}

bool pool_stopping(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    bool stopping = pool->stopping;
    pthread_mutex_unlock(&pool->lock);
    return stopping;
}

struct pool *pool_start(struct server *server, uint32_t slots, struct error *err)
{
    struct pool *pool = calloc(1, sizeof *pool + slots * sizeof pool->threads[0]);
    if (!pool) {
        fail(err, ERR_NOMEM, "no memory for the pool");
        return NULL;
    }
    pool->server = server;
    pool->turns.most = server->settings.queue_limit;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->changed, NULL);
    for (; pool->slots < slots; pool->slots++)
        if (pthread_create(&pool->threads[pool->slots], NULL, serve, pool) != 0)
            break;
    if (pool->slots > 0)
        return pool;
    pool_close(pool);
    fail(err, ERR_NOMEM, "cannot start a thread");
    return NULL;
}

static void for_all(struct pool *pool, void (*visit)(struct task *task))
{
    for (uint32_t i = 0; i < CHAINS; i++)
        for (struct task *task = pool->chains[i]; task; task = task->chain)
            visit(task);
}

static void cancel(struct task *task)
{
    atomic_store(&task->cancelled, true);
}

static void refuse_waiting(struct pool *pool)
{
    struct outcome outcome = {.ok = false};
    refuse_stopping(&outcome.error);
    for (struct task *task; (task = turns_take(&pool->turns)) != NULL;) {
        pthread_mutex_unlock(&pool->lock);
        settle(pool, task, &outcome);
        pthread_mutex_lock(&pool->lock);
    }
}

void pool_stop(struct pool *pool, uint64_t deadline_ns)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    refuse_waiting(pool);
    pthread_cond_broadcast(&pool->changed);
    while (pool->active > 0 && clock_ns() < deadline_ns) {
        pthread_mutex_unlock(&pool->lock);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        pthread_mutex_lock(&pool->lock);
    }
    for_all(pool, cancel);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->slots; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_mutex_lock(&pool->lock);
    pool->slots = 0;
    pthread_mutex_unlock(&pool->lock);
}

void pool_close(struct pool *pool)
{
    if (!pool)
        return;
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static bool has_job(const struct task *task, const char *job)
{
    for (const struct waiter *waiter = task->waiters; waiter; waiter = waiter->next)
        if (waiter->job && strcmp(waiter->job, job) == 0)
            return true;
    return false;
}

static struct task *find_job(struct pool *pool, const char *job)
{
    for (uint32_t i = 0; i < CHAINS; i++)
        for (struct task *task = pool->chains[i]; task; task = task->chain)
            if (has_job(task, job))
                return task;
    return NULL;
}

void pool_cancel(struct pool *pool, const char *job)
{
    pthread_mutex_lock(&pool->lock);
    struct task *task = find_job(pool, job);
    if (task && !task->waiters->next)
        cancel(task);
    pthread_mutex_unlock(&pool->lock);
}

const char *pool_stage(struct pool *pool, const char *job)
{
    pthread_mutex_lock(&pool->lock);
    const struct task *task = find_job(pool, job);
    int step = task ? atomic_load(&task->step) : -1;
    pthread_mutex_unlock(&pool->lock);
    return step < 0 ? NULL : step == 0 ? "waiting" : build_step_name((enum build_step)step);
}

void pool_count(struct pool *pool, uint32_t *out_active, uint32_t *out_waiting, uint32_t *out_slots)
{
    pthread_mutex_lock(&pool->lock);
    *out_active = pool->active;
    *out_waiting = pool->turns.count;
    *out_slots = pool->slots;
    pthread_mutex_unlock(&pool->lock);
}
