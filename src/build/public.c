/* The public interface. A job is a thread that runs build_run, and its result.
 *
 * Jobs run on threads of their own, which have a sufficient stack and the default rounding mode,
 * and block all signals. A host may cancel a thread (pthread_cancel) that waits in urza_job_wait;
 * in the other functions cancellation is disabled. */
#include "urza/compile.h"

#include <errno.h>
#include <fenv.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/child.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "build/build.h"
#include "build/spawner.h"

#define JOBS_MOST 256
#define STACK_BYTES ((size_t)2 << 20)

struct urza_compiler {
    struct spawner *spawner;
    struct cache *cache; /* NULL: none */
    char *home;          /* NULL: packages are unsigned */
    char *keys;          /* its folder of keys */
    uint8_t public_key[32];
    pthread_mutex_t lock;
    pthread_cond_t changed; /* signalled when `running` or a job changes */
    uint32_t jobs_max, running;
    bool closing;
    struct urza_job *jobs; /* not freed yet, linked by next */
};

struct urza_job {
    urza_compiler *compiler; /* NULL once it is closed */
    struct urza_job *next;
    pthread_t thread;
    struct arena arena;
    jmp_buf no_memory;
    void (*on_step)(void *user, const char *step);
    void *user;
    atomic_bool cancelled;
    struct build_request request;
    /* Protected by the compiler's lock while `done` is false. */
    bool done, joined, ok;
    struct build_result result;
    struct error error;
    const char *details;
};

static int put_off_cancelling(void)
{
    int before;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

static int give(const struct error *from, urza_error *err)
{
    if (err) {
        *err = (urza_error){.code = (int)from->code};
        memcpy(err->place, from->place, sizeof err->place);
        memcpy(err->message, from->message, sizeof err->message);
        child_clean(err->place, false); /* for hosts that print it */
        child_clean(err->message, false);
    }
    return (int)from->code;
}

static bool open_key(void *context, struct signing_key *out, struct error *err)
{
    const struct urza_job *job = context;
    return keys_open(job->compiler->home, out, err);
}

static void step(void *context, enum build_step at)
{
    const struct urza_job *job = context;
    if (job->on_step)
        job->on_step(job->user, build_step_name(at));
}

/* Makes a path absolute now, since the current folder may be another one when it is used. */
static bool absolute(const char *path, char out[PATH_MAX], struct error *err)
{
    char folder[PATH_MAX] = "";
    if (*path != '/' && !getcwd(folder, sizeof folder))
        return fail(err, ERR_IO, "the current folder: %s", strerror(errno));
    int length = snprintf(out, PATH_MAX, "%s%s%s", folder, *path == '/' ? "" : "/", path);
    return (length > 0 && length < PATH_MAX) ||
           fail(err, ERR_LIMIT, "the path '%.200s' is too long", path);
}

static bool make_compiler(const urza_compiler_options *options, urza_compiler *c, struct error *err)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    c->jobs_max = options->jobs_max ? options->jobs_max : cores > 0 ? (uint32_t)cores : 1;
    if (!(c->spawner = spawner_start(err)))
        return false;
    char path[PATH_MAX];
    if (options->home) {
        struct signing_key key;
        bool ok = absolute(options->home, path, err) && keys_open(path, &key, err);
        if (ok)
            memcpy(c->public_key, key.public_key, sizeof c->public_key);
        explicit_bzero(&key, sizeof key);
        if (!ok)
            return false;
        if (!(c->home = strdup(path)) || asprintf(&c->keys, "%s/keys", path) < 0)
            return fail(err, ERR_NOMEM, "no memory for a compiler");
    }
    if (!options->cache_dir)
        return true;
    return absolute(options->cache_dir, path, err) &&
           ((c->cache = cache_new(&(struct cache_options){.folder = path})) ||
            fail(err, ERR_NOMEM, "no memory for a cache"));
}

static void drop_compiler(urza_compiler *c)
{
    spawner_stop(c->spawner);
    cache_free(c->cache);
    free(c->home);
    free(c->keys);
    free(c);
}

URZA_EXPORT int urza_compiler_open(const urza_compiler_options *options, urza_compiler **out,
                                   urza_error *err)
{
    static const urza_compiler_options defaults;
    struct error error = {.code = ERR_NOMEM, .message = "no memory for a compiler"};
    urza_compiler *c = calloc(1, sizeof *c);
    if (!c)
        return give(&error, err);
    int before = put_off_cancelling();
    bool ok = make_compiler(options ? options : &defaults, c, &error);
    if (!ok)
        drop_compiler(c);
    pthread_setcancelstate(before, NULL);
    if (!ok)
        return give(&error, err);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = c;
    return 0;
}

URZA_EXPORT int urza_compiler_key(const urza_compiler *compiler, uint8_t out[32])
{
    if (compiler->home)
        memcpy(out, compiler->public_key, sizeof compiler->public_key);
    return compiler->home != NULL;
}

static void wait_done(urza_job *job)
{
    while (!job->done)
        pthread_cond_wait(&job->compiler->changed, &job->compiler->lock);
}

URZA_EXPORT void urza_compiler_close(urza_compiler *c)
{
    if (!c)
        return;
    int before = put_off_cancelling();
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    for (urza_job *job = c->jobs; job; job = job->next)
        atomic_store(&job->cancelled, true);
    pthread_cond_broadcast(&c->changed);
    for (urza_job *job = c->jobs; job; job = job->next)
        wait_done(job);
    pthread_mutex_unlock(&c->lock);
    for (urza_job *job = c->jobs; job; job = job->next) {
        pthread_join(job->thread, NULL);
        job->joined = true;
        job->compiler = NULL;
    }
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    drop_compiler(c);
    pthread_setcancelstate(before, NULL);
}

static void add_text(struct strbuf *out, const char *before, const char *text)
{
    strbuf_puts(out, before);
    json_write_string(text, strlen(text), out);
}

/* The JSON of urza_job_details. Its texts are UTF-8: those from children are cleaned when they are
 * read. */
static const char *describe(const struct build_request *request, const struct build_result *result,
                            struct arena *arena)
{
    static const char *const levels[] = {"null", "\"memory\"", "\"disk\""};
    const struct compile_result *compiled = &result->compiled;
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "{\"cache\":%s,\"degraded\":[", levels[compiled->found]);
    for (uint32_t i = 0; i < result->degraded_count; i++) {
        add_text(&text, i > 0 ? ",{\"what\":" : "{\"what\":", result->degraded[i].what);
        add_text(&text, ",\"why\":", result->degraded[i].why);
        strbuf_puts(&text, "}");
    }
    add_text(&text, "],\"kernel_id\":", compiled->kernel_id);
    strbuf_printf(&text, ",\"kernels\":%u,\"stages_ms\":{", compiled->kernels);
    for (int i = 0; i < STAGE_COUNT; i++) {
        add_text(&text, i > 0 ? "," : "", stage_name((enum stage)i));
        strbuf_puts(&text, ":");
        strbuf_double(&text, compiled->stages_ms[i]);
    }
    if (result->verify_ms >= 0) {
        strbuf_puts(&text, ",\"verify\":");
        strbuf_double(&text, result->verify_ms);
    }
    add_text(&text, "},\"strategy\":", strategy_name(request->compile.strategy));
    strbuf_puts(&text, ",\"warnings\":[");
    const char *end = compiled->warnings + compiled->warnings_bytes;
    for (const char *at = compiled->warnings; at < end; at += strlen(at) + 1)
        add_text(&text, at == compiled->warnings ? "" : ",", at);
    strbuf_puts(&text, "]}");
    return text.data;
}

/* The whole job, on its thread. The arena jumps back to here when it is out of memory. */
static bool run(urza_job *job)
{
    if (setjmp(job->no_memory) != 0)
        return fail(&job->error, ERR_NOMEM, "out of memory");
    job->arena.oom = &job->no_memory;
    struct build_result *result = &job->result;
    if (!build_run(&job->request, &job->arena, result, &job->error))
        return false;
    job->details = describe(&job->request, result, &job->arena);
    if (result->compiled.held) { /* the cache may be freed before the job */
        const void *package = arena_memdup(&job->arena, result->package, result->package_bytes);
        build_release(&job->request, result);
        result->package = package;
    }
    return true;
}

static void *run_job(void *context)
{
    urza_job *job = context;
    urza_compiler *c = job->compiler;
    fesetenv(FE_DFL_ENV);
    pthread_mutex_lock(&c->lock);
    while (c->running >= c->jobs_max && !atomic_load(&job->cancelled))
        pthread_cond_wait(&c->changed, &c->lock);
    c->running++;
    pthread_mutex_unlock(&c->lock);
    bool ok = run(job);
    pthread_mutex_lock(&c->lock);
    c->running--;
    job->ok = ok;
    job->done = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* Blocks all signals in the thread, so that the host's threads handle them. */
static bool start_thread(urza_job *job)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool ok = pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
              pthread_create(&job->thread, &attributes, run_job, job) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return ok;
}

static const char *copy_text(struct arena *arena, const char *text)
{
    return text ? arena_strdup(arena, text) : NULL;
}

/* Fills job->request. False with job->error filled. */
static bool fill_request(urza_job *job, const void *source, size_t size,
                         const urza_compile_options *options)
{
    const char *name = options->strategy ? options->strategy : "standard";
    enum strategy strategy = strategy_from_name(name);
    if (setjmp(job->no_memory) != 0)
        return fail(&job->error, ERR_NOMEM, "out of memory");
    job->arena.oom = &job->no_memory;
    if (strategy == STRATEGY_NONE || strategy == STRATEGY_AGGRESSIVE)
        return fail(&job->error, ERR_USAGE, "'%.40s' is no strategy: standard, fast or emergency",
                    name);
    char folder[PATH_MAX]; /* the spawner may have another current folder */
    if (options->folder && !absolute(options->folder, folder, &job->error))
        return false;
    job->on_step = options->on_step;
    job->user = options->user;
    job->request = (struct build_request){
        .source = size > 0 ? arena_memdup(&job->arena, source, size) : "",
        .size = size,
        .compile = {.targets = copy_text(&job->arena, options->targets),
                    .strategy = strategy,
                    .seed = options->seed,
                    .folder = copy_text(&job->arena, options->folder ? folder : NULL),
                    .timeout_ms = options->timeout_ms,
                    .memory_bytes = options->memory_bytes,
                    .cache = job->compiler->cache},
        .dims = copy_text(&job->arena, options->dims),
        .degrade = options->degrade != 0,
        .closed = job->compiler->keys,
        .open_key = job->compiler->home ? open_key : NULL,
        .on_step = step,
        .context = job,
        .spawner = job->compiler->spawner,
        .cancelled = &job->cancelled};
    return true;
}

static void drop_job(urza_job *job)
{
    arena_release(&job->arena);
    free(job);
}

static bool launch(urza_job *job)
{
    urza_compiler *c = job->compiler;
    pthread_mutex_lock(&c->lock);
    uint32_t jobs = 0;
    for (const urza_job *other = c->jobs; other; other = other->next)
        jobs += !other->done;
    bool ok = (!c->closing || fail(&job->error, ERR_CANCELLED, "the compiler is being closed")) &&
              (jobs < JOBS_MOST ||
               fail(&job->error, ERR_LIMIT, "%u jobs are running or waiting already", jobs));
    if (ok && !start_thread(job))
        ok = fail(&job->error, ERR_NOMEM, "cannot start a thread");
    if (ok) {
        job->next = c->jobs;
        c->jobs = job;
    }
    pthread_mutex_unlock(&c->lock);
    return ok;
}

URZA_EXPORT int urza_compile_start(urza_compiler *compiler, const void *source, size_t size,
                                   const urza_compile_options *options, urza_job **out,
                                   urza_error *err)
{
    static const urza_compile_options defaults;
    struct error error = {.code = ERR_NOMEM, .message = "no memory for a job"};
    urza_job *job = calloc(1, sizeof *job);
    if (!job)
        return give(&error, err);
    job->compiler = compiler;
    arena_init(&job->arena);
    if (!fill_request(job, source, size, options ? options : &defaults) || !launch(job)) {
        error = job->error;
        drop_job(job);
        return give(&error, err);
    }
    *out = job;
    return 0;
}

/* Runs on a thread of the host, which may have floating-point traps enabled. */
static struct timespec deadline_in(double seconds)
{
    struct timespec at;
    fenv_t traps;
    feholdexcept(&traps);
    clock_gettime(CLOCK_MONOTONIC, &at);
    double most = seconds < 1e8 ? seconds : 1e8;
    at.tv_sec += (time_t)most;
    at.tv_nsec += (long)((most - (double)(time_t)most) * 1e9);
    fesetenv(&traps);
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static void unlock(void *mutex)
{
    pthread_mutex_unlock(mutex);
}

/* If the thread is cancelled here, the lock is released. */
static bool wait_until(urza_job *job, bool for_ever, const struct timespec *deadline)
{
    urza_compiler *c = job->compiler;
    bool done;
    int late = 0;
    pthread_mutex_lock(&c->lock);
    pthread_cleanup_push(unlock, &c->lock);
    while (!job->done && late == 0)
        late = for_ever ? pthread_cond_wait(&c->changed, &c->lock)
                        : pthread_cond_timedwait(&c->changed, &c->lock, deadline);
    done = job->done;
    pthread_cleanup_pop(1);
    return done;
}

URZA_EXPORT int urza_job_wait(urza_job *job, double timeout_s, urza_error *err)
{
    struct timespec deadline = deadline_in(timeout_s > 0 ? timeout_s : 0);
    if (job->compiler && !wait_until(job, timeout_s < 0, &deadline))
        return -1;
    return job->ok ? 0 : give(&job->error, err);
}

URZA_EXPORT void urza_job_cancel(urza_job *job)
{
    atomic_store(&job->cancelled, true);
    if (!job->compiler)
        return;
    pthread_mutex_lock(&job->compiler->lock); /* wakes a job that waits for its turn */
    pthread_cond_broadcast(&job->compiler->changed);
    pthread_mutex_unlock(&job->compiler->lock);
}

URZA_EXPORT void urza_job_free(urza_job *job)
{
    if (!job)
        return;
    urza_compiler *c = job->compiler;
    int before = put_off_cancelling();
    urza_job_cancel(job);
    if (!job->joined)
        pthread_join(job->thread, NULL);
    if (c) {
        pthread_mutex_lock(&c->lock);
        for (urza_job **at = &c->jobs; *at; at = &(*at)->next) {
            if (*at == job) {
                *at = job->next;
                break;
            }
        }
        pthread_mutex_unlock(&c->lock);
    }
    drop_job(job);
    pthread_setcancelstate(before, NULL);
}

static bool has_result(const urza_job *job)
{
    return urza_job_wait((urza_job *)(uintptr_t)job, 0, NULL) == 0;
}

URZA_EXPORT const void *urza_job_package(const urza_job *job, size_t *out_size)
{
    bool has = has_result(job);
    *out_size = has ? job->result.package_bytes : 0;
    return has ? job->result.package : NULL;
}

URZA_EXPORT const char *urza_job_kernel_id(const urza_job *job)
{
    return has_result(job) ? job->result.compiled.kernel_id : NULL;
}

URZA_EXPORT const char *urza_job_evidence(const urza_job *job)
{
    return has_result(job) ? job->result.evidence : NULL;
}

URZA_EXPORT const char *urza_job_details(const urza_job *job)
{
    return has_result(job) ? job->details : NULL;
}

URZA_EXPORT int urza_compile(urza_compiler *compiler, const void *source, size_t size,
                             const urza_compile_options *options, urza_job **out, urza_error *err)
{
    urza_job *job;
    int code = urza_compile_start(compiler, source, size, options, &job, err);
    if (code != 0)
        return code;
    int before = put_off_cancelling();
    code = urza_job_wait(job, -1, err);
    if (code != 0)
        urza_job_free(job);
    else
        *out = job;
    pthread_setcancelstate(before, NULL);
    return code;
}
