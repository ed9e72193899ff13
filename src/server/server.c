/* The life cycle of the service: everything is started in order of dependence, maintained
 * regularly, and stopped: first the parts that bring work, then those that do it, then those that
 * both use. */
#include "server/server.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "build/spawner.h"
#include "compiler/compile.h"
#include "registry/queue.h"
#include "server/api.h"
#include "server/behind.h"
#include "server/feeder.h"
#include "server/shelf.h"
#include "server/metrics.h"
#include "server/pool.h"
#include "server/shares.h"
#include "server/streams.h"
#include "server/tokens.h"

#define TEND_SECONDS 15
#define SWEEP_NS UINT64_C(600000000000)
#define STOP_NS UINT64_C(8000000000) /* for requests and compilations in progress */
#define GIB ((uint64_t)1 << 30)
#define MIB ((uint64_t)1 << 20)
#define ARENAS 4
#define JSON_SMALL 65536
#define MS_PER_HOUR INT64_C(3600000)

struct life {
    struct server server;
    int lock_fd;
    pthread_t tender;
    pthread_mutex_t lock;
    pthread_cond_t ends;
    bool tended, ending; /* ending: protected by the lock */
};

static const char *join(struct arena *arena, const char *a, const char *b)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s%s", a, b);
    return text.data;
}

/* Locks the data folder, which one process at a time uses. make: creates a missing one; otherwise
 * it must be a service's data folder. */
static bool lock_data(struct life *life, bool make, struct error *err)
{
    const char *data = life->server.settings.data;
    const char *path = join(&life->server.arena, data, "/lock");
    struct stat info;
    if (make && !file_make_dirs(data, 0700, err))
        return false;
    if (stat(data, &info) == 0 && !file_is_ours(&info, data, err))
        return false;
    life->lock_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (make ? O_CREAT : 0), 0600);
    if (life->lock_fd < 0 && errno == ENOENT)
        return fail(err, ERR_NOT_FOUND, "'%s' holds no data of a registry", data);
    if (life->lock_fd < 0)
        return fail(err, ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    if (flock(life->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return fail(err, ERR_IO, "'%s' is used by another process", data);
    return true;
}

static void count_event(void *context, const char *kind)
{
    const struct server *server = context;
    if (server->metrics)
        metrics_add(server->metrics, METRIC_EVENTS, kind, 1);
}

static bool open_registry(struct server *server, struct error *err)
{
    const struct settings *settings = &server->settings;
    struct arena *arena = &server->arena;
    const char *catalogue = settings->catalogue, *blobs = settings->blobs;
    if (catalogue[0] == '\0')
        catalogue = join(arena, join(arena, "sqlite:", settings->data), "/catalogue.db");
    if (blobs[0] == '\0')
        blobs = join(arena, join(arena, "file:", settings->data), "/objects");
    const struct registry_options options = {
        .catalogue = catalogue,
        .blobs = blobs,
        .size_limit_bytes = (uint64_t)(settings->max_cache_size_gb * (double)GIB),
        .ttl_ms = settings->cache_ttl_hours * MS_PER_HOUR,
        .on_event = count_event,
        .context = server,
        .alone = settings->catalogue[0] == '\0' && settings->blobs[0] == '\0'};
    return registry_open(&options, &server->registry, err);
}

static bool open_keys(struct server *server, const char *home, struct error *err)
{
    struct signing_key key;
    server->home = home ? home : join(&server->arena, server->settings.data, "/home");
    if (!keys_open(server->home, &key, err))
        return false;
    memcpy(server->public_key, key.public_key, sizeof server->public_key);
    OPENSSL_cleanse(&key, sizeof key);
    return true;
}

static uint32_t cores(uint32_t asked)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return asked > 0 ? asked : count > 0 ? (uint32_t)count : 1;
}

static bool make_memory(struct server *server, struct error *err)
{
    size_t bytes = server->settings.answer_cache_mb * MIB;
    server->metrics = metrics_new();
    server->shares = shares_new(server->settings.max_bodies_mb * MIB);
    server->answers = shelf_new(bytes / 4);
    server->packages = shelf_new(bytes / 4 * 3);
    if (!server->metrics || !server->shares || !server->answers || !server->packages)
        return fail(err, ERR_NOMEM, "no memory for the service");
    metrics_set(server->metrics, METRIC_START, NULL, (double)server->started_ms * 1e-3);
    metrics_set(server->metrics, METRIC_INFO, URZA_VERSION, 1);
    return true;
}

/* Checks the default hints, which are settings. */
static bool check_hints(struct server *server, struct error *err)
{
    struct ask ask;
    if (ask_hints(&server->settings, NULL, &server->arena, &ask, err))
        return true;
    err->code = ERR_USAGE;
    return false;
}

static void sweep(struct server *server)
{
    struct error err;
    uint32_t removed;
    if (!registry_sweep(server->registry, &removed, &err))
        log_line(server, LOG_WARNING, "cannot look for objects that nobody needs",
                 json_pack("{s:s}", "message", err.message));
}

static void tend(struct server *server)
{
    struct tended tended;
    struct error err;
    if (!registry_tend(server->registry, &tended, &err)) {
        log_line(server, LOG_WARNING, "cannot tend the registry",
                 json_pack("{s:s}", "message", err.message));
        return;
    }
    if (tended.evicted > 0) { /* answers in memory must not name evicted kernels */
        shelf_forget(server->answers, NULL);
        shelf_forget(server->packages, NULL);
    }
    metrics_add(server->metrics, METRIC_EVICTED, NULL, tended.evicted);
    behind_look(server->behind);
    malloc_trim(0);
}

/* Runs on its own thread, since it waits for the disk. */
static void *tend_on(void *context)
{
    struct life *life = context;
    uint64_t swept_ns = 0;
    struct timespec until;
    pthread_mutex_lock(&life->lock);
    while (!life->ending) {
        pthread_mutex_unlock(&life->lock);
        tend(&life->server);
        if (clock_ns() - swept_ns > SWEEP_NS) {
            sweep(&life->server);
            swept_ns = clock_ns();
        }
        pthread_mutex_lock(&life->lock);
        clock_gettime(CLOCK_MONOTONIC, &until); /* unaffected by changes of the wall clock */
        until.tv_sec += TEND_SECONDS;
        if (!life->ending)
            pthread_cond_clockwait(&life->ends, &life->lock, CLOCK_MONOTONIC, &until);
    }
    pthread_mutex_unlock(&life->lock);
    return NULL;
}

static bool start_tender(struct life *life, struct error *err)
{
    life->tended = pthread_create(&life->tender, NULL, tend_on, life) == 0;
    return life->tended || fail(err, ERR_NOMEM, "cannot start a thread");
}

static void stop_tender(struct life *life)
{
    if (!life->tended)
        return;
    pthread_mutex_lock(&life->lock);
    life->ending = true;
    pthread_cond_signal(&life->ends);
    pthread_mutex_unlock(&life->lock);
    pthread_join(life->tender, NULL);
}

/* The spawner is started before any thread, since it is a copy of this process. */
static bool start(struct life *life, const char *home, struct error *err)
{
    struct server *server = &life->server;
    const struct settings *settings = &server->settings;
    if (!settings_check(settings, err) || !check_hints(server, err) ||
        !lock_data(life, true, err) || !open_keys(server, home, err) ||
        (settings->tokens[0] != '\0' &&
         !tokens_read(settings->tokens, &server->arena, &server->tokens, err)) ||
        !openapi_make(server, err))
        return false;
    server->spawner = spawner_start(err);
    if (!server->spawner || !make_memory(server, err) || !open_registry(server, err))
        return false;
    server->queue = queue_new(registry_catalogue(server->registry), settings->queue_limit);
    if (!server->queue)
        return fail(err, ERR_NOMEM, "no memory for the service");
    server->behind = behind_start(server, err);
    if (!server->behind)
        return false;
    server->pool = pool_start(server, cores(settings->max_concurrent_compilations), err);
    if (!server->pool)
        return false;
    server->workers = workers_start(cores(settings->workers) + 2, err);
    if (!server->workers)
        return false;
    server->streams = streams_new(server);
    if (!server->streams)
        return fail(err, ERR_NOMEM, "no memory for the service");
    server->feeder = feeder_start(server, err);
    return server->feeder && http_start(server, err) && start_tender(life, err);
}

/* If memory for what lives as long as the service runs out, the service does not start. */
static bool start_guarded(struct life *life, const char *home, struct error *err)
{
    jmp_buf no_memory;
    bool ok = false;
    if (setjmp(no_memory) != 0)
        fail(err, ERR_NOMEM, "no memory for the service");
    else {
        life->server.arena.oom = &no_memory;
        ok = start(life, home, err);
    }
    life->server.arena.oom = NULL;
    return ok;
}

/* Requests that were read are answered; running compilations get a grace period. */
static void stop(struct life *life)
{
    struct server *server = &life->server;
    uint64_t deadline = clock_ns() + STOP_NS;
    atomic_store(&server->stopping, true);
    if (server->http)
        http_quiesce(server);
    stop_tender(life);
    feeder_stop(server->feeder);
    if (server->streams)
        streams_end(server->streams);
    behind_stop(server->behind);
    pool_stop(server->pool, deadline - STOP_NS / 4);
    workers_stop(server->workers);
    while (server->http && http_busy(server) > 0 && clock_ns() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    http_stop(server);
    feeder_free(server->feeder);
    streams_free(server->streams);
    shares_free(server->shares);
    shelf_free(server->answers);
    shelf_free(server->packages);
    behind_free(server->behind);
    pool_close(server->pool);
    workers_free(server->workers);
    queue_free(server->queue);
    registry_close(server->registry);
    spawner_stop(server->spawner);
    metrics_free(server->metrics);
    arena_release(&server->arena);
    if (life->lock_fd >= 0)
        close(life->lock_fd);
}

/* If the spawner has died, cached kernels are still served, but compiling and readiness are 503. A
 * new spawner would be a copy of a process with threads and secrets, so the service must be
 * restarted. */
static void look_after_spawner(struct server *server, bool *was_alive)
{
    if (*was_alive && !spawner_alive(server->spawner)) {
        log_line(server, LOG_ERROR, "the process that starts compilers died: restart the service",
                 NULL);
        *was_alive = false;
    }
}

static void serve(struct server *server, const sigset_t *signals)
{
    bool was_alive = true;
    for (;;) {
        int number = sigtimedwait(signals, NULL, &(struct timespec){.tv_sec = 1});
        if (number == SIGTERM || number == SIGINT)
            return;
        http_close_late(server);
        look_after_spawner(server, &was_alive);
    }
}

static void announce(struct server *server, const struct server_options *options)
{
    bool v6 = strchr(server->settings.host, ':') != NULL;
    char url[320];
    snprintf(url, sizeof url, "http%s://%s%.255s%s:%u",
             server->settings.tls_key[0] != '\0' ? "s" : "", v6 ? "[" : "", server->settings.host,
             v6 ? "]" : "", http_port(server));
    log_line(server, LOG_INFO, "listening",
             json_pack("{s:s, s:s}", "url", url, "version", compiler_version()));
    if (options->on_ready)
        options->on_ready(options->context, url);
}

/* jansson's allocator. Values built by this program are small, and a failed allocation in building
 * one is not noticed: half of an answer would be sent and stored. So a failed small allocation is
 * retried for a while, as other threads free memory, and then the service ends; everything
 * acknowledged is there after a restart. Large allocations come from parsing requests, where
 * jansson reports the failure and it is distinguished from an error of the text. */
static void *json_memory(size_t size)
{
    static const char said[] = "{\"level\":\"error\",\"event\":\"out of memory\"}\n";
    void *made = malloc(size);
    for (int i = 0; !made && size <= JSON_SMALL && i < 100; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        made = malloc(size);
    }
    if (made || size > JSON_SMALL)
        return made;
    file_write_all(STDERR_FILENO, said, sizeof said - 1);
    _exit(error_exit(ERR_NOMEM));
}

/* Makes freed memory of large requests go back to the system: large blocks are always mapped (by
 * default the threshold rises with each freed one), and few arenas hold small ones. */
static void keep_memory_small(void)
{
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 1 << 20);
    mallopt(M_ARENA_MAX, ARENAS);
}

bool server_run(const struct server_options *options, struct error *err)
{
    struct life *life = calloc(1, sizeof *life);
    sigset_t signals;
    if (!life)
        return fail(err, ERR_NOMEM, "no memory for the service");
    struct server *server = &life->server;
    keep_memory_small();
    json_set_alloc_funcs(json_memory, free);
    life->lock_fd = -1;
    pthread_mutex_init(&life->lock, NULL);
    pthread_cond_init(&life->ends, NULL);
    server->settings = options->settings;
    server->log_level = log_level_from_name(options->settings.log_level);
    server->started_ms = registry_now_ms();
    arena_init(&server->arena);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    bool ok = start_guarded(life, options->home, err);
    if (ok) {
        announce(server, options);
        serve(server, &signals);
        log_line(server, LOG_INFO, "stopping", NULL);
    }
    stop(life);
    free(life);
    return ok;
}

/* Tools for a stopped service. */

static void say(void *context, const char *text)
{
    (void)context;
    puts(text);
}

static bool open_stopped(struct life *life, const struct settings *settings, struct error *err)
{
    *life = (struct life){.server = {.settings = *settings}, .lock_fd = -1};
    arena_init(&life->server.arena);
    return lock_data(life, false, err) && open_registry(&life->server, err);
}

static void close_stopped(struct life *life)
{
    registry_close(life->server.registry);
    arena_release(&life->server.arena);
    if (life->lock_fd >= 0)
        close(life->lock_fd);
}

bool server_fsck(const struct settings *settings, bool repair, unsigned long *out_faults,
                 struct error *err)
{
    struct life life;
    struct checked checked = {0};
    bool ok = open_stopped(&life, settings, err) &&
              registry_fsck(life.server.registry, repair, say, NULL, &checked, err);
    close_stopped(&life);
    if (!ok)
        return false;
    printf(
        "%llu kernels, %llu objects, %llu faults, %llu repaired, %llu objects that nobody needs\n",
        (unsigned long long)checked.kernels, (unsigned long long)checked.objects,
        (unsigned long long)checked.faults, (unsigned long long)checked.repaired,
        (unsigned long long)checked.orphans);
    *out_faults = (unsigned long)(checked.faults - checked.repaired);
    return true;
}

bool server_gc(const struct settings *settings, struct error *err)
{
    struct life life;
    struct tended tended = {0};
    uint32_t swept = 0;
    bool ok = open_stopped(&life, settings, err) &&
              registry_tend(life.server.registry, &tended, err) &&
              registry_sweep(life.server.registry, &swept, err);
    close_stopped(&life);
    if (ok)
        printf("%u packages evicted, %u objects removed, %llu bytes kept\n", tended.evicted,
               tended.objects_removed + swept, (unsigned long long)tended.bytes);
    return ok;
}
