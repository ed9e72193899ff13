/* One thread. Only it accesses leases, except for `over`, which slots set, and `woken`, which the
 * lock protects.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "build/spawner.h"
#include "registry/queue.h"
#include "server/feeder.h"
#include "server/pool.h"
#include "server/streams.h"

#define LEASE_SECONDS 60
#define BEAT_NS UINT64_C(10000000000)
#define WAKE_NS 200000000L
#define PAUSE_NS UINT64_C(5000000000) /* after a failure that is not the job's */

/* A job leased by this server. */
struct lease {
    struct feeder *feeder;
    struct lease *next;
    struct waiter waiter;
    char job[72], token[80], blueprint[208]; /* blueprint: id of a submitted one; "" */
    uint64_t beat_ns;
    atomic_bool over; /* the slot does not use it any more */
};

struct feeder {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char worker[80];
    bool stopping, woken;
    struct lease *leases;
    uint32_t lease_count;
    _Atomic uint64_t paused_until_ns;
};

/* The kind of failure that is reported for a job. */
static enum job_failure failure_of(enum error_code code)
{
    if (code == ERR_NOT_FOUND) /* the request's object is missing, and will not come back */
        return JOB_FAILURE_COMPILE;
    switch (failure_blames(code)) {
    case BLAMES_NOBODY: return JOB_FAILURE_DRAINED;
    case BLAMES_BLUEPRINT: return JOB_FAILURE_COMPILE;
    case BLAMES_COMPILER: break;
    }
    return code == ERR_LIMIT ? JOB_FAILURE_MEMORY : JOB_FAILURE_CRASH;
}

/* Sets the status of a submitted blueprint whose job has ended. */
static void note_blueprint(struct server *server, const char *blueprint, const char *status,
                           const char *reason)
{
    struct error err;
    const struct setting setting = {.kind = RECORD_blueprint,
                                    .id = blueprint,
                                    .status = status,
                                    .reason = reason,
                                    .client = ""};
    if (blueprint[0] != '\0' && !registry_set(server->registry, &setting, &err))
        log_line(server, LOG_WARNING, "cannot note what became of a blueprint",
                 json_pack("{s:s, s:s}", "blueprint", blueprint, "message", err.message));
}

static void fail_job(struct feeder *feeder, const char *job, const char *token,
                     const char *blueprint, const char *own_id, const struct error *why)
{
    struct server *server = feeder->server;
    struct error err;
    struct arena arena;
    struct job_record *after;
    jmp_buf no_memory;
    json_t *value = error_value(why, own_id);
    char *text = json_dumps(value, JSON_COMPACT);
    if (failure_blames(why->code) == BLAMES_NOBODY && why->code != ERR_CANCELLED)
        atomic_store(&feeder->paused_until_ns, clock_ns() + PAUSE_NS);
    queue_fail(server->queue, job, token, failure_of(why->code), text ? text : "", &err);
    free(text);
    json_decref(value);
    arena_init(&arena);
    if (setjmp(no_memory) == 0) {
        arena.oom = &no_memory;
        if (queue_find(server->queue, job, &arena, &after, &err) &&
            (strcmp(after->state, "FAILED") == 0 || strcmp(after->state, "POISON") == 0))
            note_blueprint(server, blueprint, "FAILED", why->message);
    }
    arena.oom = NULL;
    arena_release(&arena);
}

/* Reports the end of a job; called on a slot's thread. */
static void on_done(void *context, const struct outcome *outcome)
{
    struct lease *lease = context;
    struct feeder *feeder = lease->feeder;
    struct server *server = feeder->server;
    struct error err;
    if (!outcome->ok)
        fail_job(feeder, lease->job, lease->token, lease->blueprint, outcome->blueprint_id,
                 &outcome->error);
    else if (queue_complete(server->queue, lease->job, lease->token, outcome->kernel, &err))
        note_blueprint(server, lease->blueprint, "VALIDATED", "");
    atomic_store(&lease->over, true);
    feeder_wake(feeder);
}

static struct task *make_task(struct feeder *feeder, const struct job_record *job,
                              struct error *err)
{
    struct server *server = feeder->server;
    struct task *task = task_new();
    struct blob source = {.data = NULL};
    jmp_buf no_memory;
    if (!task || setjmp(no_memory) != 0) {
        blobs_release(registry_blobs(server->registry), &source);
        task_free(task);
        fail(err, ERR_NOMEM, "no memory for a job");
        return NULL;
    }
    task->arena.oom = &no_memory;
    json_t *hints = json_loads(job->hints, 0, NULL);
    drop_unsaid(hints);
    bool ok = ask_hints(&server->settings, hints, &task->arena, &task->ask, err) &&
              blobs_get(registry_blobs(server->registry), job->request, &source, err);
    json_decref(hints);
    if (ok) {
        ask_bytes(arena_memdup(&task->arena, source.data, source.size_bytes), source.size_bytes,
                  &task->arena, &task->ask);
        task->client = arena_strdup(&task->arena, job->client);
        task->blueprint = arena_strdup(&task->arena, job->blueprint);
        task->priority = (uint32_t)job->priority;
        task->miss = "asked for as a job";
    }
    blobs_release(registry_blobs(server->registry), &source);
    task->arena.oom = NULL;
    if (ok)
        return task;
    task_free(task);
    return NULL;
}

static void begin(struct feeder *feeder, const struct job_record *job)
{
    struct error err;
    struct lease *lease = calloc(1, sizeof *lease);
    struct task *task = lease ? make_task(feeder, job, &err) : NULL;
    if (!lease)
        fail(&err, ERR_NOMEM, "no memory for a job");
    if (!task) {
        free(lease);
        fail_job(feeder, job->head.id, job->token, job->blueprint, NULL, &err);
        return;
    }
    lease->feeder = feeder;
    lease->waiter = (struct waiter){.done = on_done, .context = lease, .job = lease->job};
    lease->beat_ns = clock_ns();
    snprintf(lease->job, sizeof lease->job, "%s", job->head.id);
    snprintf(lease->token, sizeof lease->token, "%s", job->token);
    snprintf(lease->blueprint, sizeof lease->blueprint, "%s", job->blueprint);
    lease->next = feeder->leases;
    feeder->leases = lease;
    feeder->lease_count++;
    if (pool_submit(feeder->server->pool, task, &lease->waiter, &err))
        return;
    fail_job(feeder, job->head.id, job->token, job->blueprint, NULL, &err);
    atomic_store(&lease->over, true);
}

/* Leases as many jobs as there are free slots. */
static void take_jobs(struct feeder *feeder)
{
    struct server *server = feeder->server;
    struct arena arena;
    struct job_record **jobs;
    uint32_t active, waiting, slots, count;
    struct error err;
    jmp_buf no_memory;
    if (!spawner_alive(server->spawner) || clock_ns() < atomic_load(&feeder->paused_until_ns))
        return; /* leave them to other workers */
    pool_count(server->pool, &active, &waiting, &slots);
    uint32_t mine = feeder->lease_count;
    uint32_t busy = active + waiting > mine ? active + waiting : mine;
    if (busy >= slots)
        return;
    arena_init(&arena);
    if (setjmp(no_memory) == 0) {
        arena.oom = &no_memory;
        const struct lease_request request = {feeder->worker, slots - busy, LEASE_SECONDS};
        if (queue_lease(server->queue, &request, &arena, &jobs, &count, &err))
            for (uint32_t i = 0; i < count; i++)
                begin(feeder, jobs[i]);
    }
    arena.oom = NULL;
    arena_release(&arena);
}

/* Drops leases that are over, and extends the others. */
static void keep_leases(struct feeder *feeder)
{
    uint64_t now = clock_ns();
    for (struct lease **at = &feeder->leases; *at;) {
        struct lease *lease = *at;
        if (atomic_load(&lease->over)) {
            *at = lease->next;
            feeder->lease_count--;
            free(lease);
            continue;
        }
        if (now - lease->beat_ns > BEAT_NS) {
            struct error err;
            bool cancel = false;
            const char *stage = pool_stage(feeder->server->pool, lease->job);
            lease->beat_ns = now;
            if (!queue_heartbeat(feeder->server->queue, lease->job, lease->token,
                                 stage ? stage : "waiting", &cancel, &err))
                cancel = err.code == ERR_CONFLICT || err.code == ERR_NOT_FOUND;
            if (cancel)
                pool_cancel(feeder->server->pool, lease->job);
        }
        at = &lease->next;
    }
}

static void *feed(void *context)
{
    struct feeder *feeder = context;
    uint32_t turns = 0;
    pthread_mutex_lock(&feeder->lock);
    while (!feeder->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAKE_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (!feeder->woken)
            pthread_cond_timedwait(&feeder->changed, &feeder->lock, &until);
        bool woken = feeder->woken;
        feeder->woken = false;
        pthread_mutex_unlock(&feeder->lock);
        keep_leases(feeder);
        if (woken || turns++ % 5 == 0) { /* periodically, too, since other servers also add jobs */
            if (feeder->server->settings.compile_submitted)
                adopt_submitted(feeder->server);
            take_jobs(feeder);
        }
        streams_look(feeder->server->streams);
        pthread_mutex_lock(&feeder->lock);
    }
    pthread_mutex_unlock(&feeder->lock);
    return NULL;
}

/* The worker's name, from the host and the data folder: the same after a restart, and unique. */
static void name_worker(const struct server *server, char *out, size_t size)
{
    char host[64] = "", folder[SHA256_HEX_BYTES];
    char *path = realpath(server->settings.data, NULL);
    const char *place = path ? path : server->settings.data;
    if (gethostname(host, sizeof host - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof host, "server");
    sha256_hex(place, strlen(place), folder);
    snprintf(out, size, "%s-%.8s", host, folder);
    free(path);
}

struct feeder *feeder_start(struct server *server, struct error *err)
{
    struct feeder *feeder = calloc(1, sizeof *feeder);
    pthread_condattr_t attributes;
    if (!feeder) {
        fail(err, ERR_NOMEM, "no memory for jobs");
        return NULL;
    }
    feeder->server = server;
    name_worker(server, feeder->worker, sizeof feeder->worker);
    pthread_mutex_init(&feeder->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&feeder->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    bool ok = queue_take_back(server->queue, feeder->worker, err);
    if (ok && pthread_create(&feeder->thread, NULL, feed, feeder) != 0)
        ok = fail(err, ERR_NOMEM, "cannot start a thread");
    if (ok)
        return feeder;
    free(feeder);
    return NULL;
}

void feeder_wake(struct feeder *feeder)
{
    pthread_mutex_lock(&feeder->lock);
    feeder->woken = true;
    pthread_cond_signal(&feeder->changed);
    pthread_mutex_unlock(&feeder->lock);
}

void feeder_stop(struct feeder *feeder)
{
    if (!feeder || feeder->stopping)
        return;
    pthread_mutex_lock(&feeder->lock);
    feeder->stopping = true;
    pthread_cond_signal(&feeder->changed);
    pthread_mutex_unlock(&feeder->lock);
    pthread_join(feeder->thread, NULL);
}

void feeder_free(struct feeder *feeder)
{
    if (!feeder)
        return;
    for (struct lease *lease = feeder->leases, *next; lease; lease = next) {
        next = lease->next;
        free(lease);
    }
    pthread_cond_destroy(&feeder->changed);
    pthread_mutex_destroy(&feeder->lock);
    free(feeder);
}
