#include "server/behind.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "build/build.h"
#include "build/order.h"
#include "server/metrics.h"
#include "server/pool_priv.h"
#include "server/server_priv.h"
#include "server/shelf.h"

#define WAITING_MOST 1024
#define MEASURE_SECONDS 0.1
#define PAUSE_NS 20000000

struct waiting {
    struct waiting *next;
    char kernel[SHELF_NAME_BYTES];
};

struct behind {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiting *first, **last;
    uint32_t count;
    bool stopping, joined;
    atomic_bool cancelled;
};

static bool open_key(void *context, struct signing_key *out, struct error *err)
{
    const struct behind *behind = context;
    return keys_open(behind->server->home, out, err);
}

static struct build_request request_of(struct behind *behind)
{
    return (struct build_request){.compile = task_limits(&behind->server->settings),
                                  .open_key = open_key,
                                  .context = behind,
                                  .spawner = behind->server->spawner,
                                  .cancelled = &behind->cancelled};
}

/* Copies the package's bytes into arena, 64-aligned, since the object may be replaced meanwhile. */
static bool read_package(struct behind *behind, const struct kernel_record *kernel,
                         struct arena *arena, const void **out, size_t *out_size, struct error *err)
{
    struct registry *registry = behind->server->registry;
    struct blob blob;
    if (!registry_package(registry, kernel, &blob, err))
        return false;
    void *copy = arena_raw(arena, blob.size_bytes, 64);
    memcpy(copy, blob.data, blob.size_bytes);
    *out = copy;
    *out_size = blob.size_bytes;
    blobs_release(registry_blobs(registry), &blob);
    return true;
}

/* Retires a kernel that failed verification; it is not returned any more. */
static void retire(struct server *server, const char *id, const struct error *why)
{
    struct error err;
    registry_event(server->registry, "evidence", id, why->message);
    if (!registry_refute(server->registry, id, why->message, &err))
        log_line(server, LOG_ERROR, "cannot retire a kernel that did not pass",
                 json_pack("{s:s, s:s*}", "kernel", id, "message", err.message));
}

/* Verification exceeded its limits: it is not tried again. */
static void give_up(struct server *server, const char *id, const struct error *why)
{
    struct error err;
    registry_event(server->registry, "evidence", id, why->message);
    if (!registry_give_up_evidence(server->registry, id, &err)) /* the record is still pending, and
                                                                   will be found again */
        log_line(server, LOG_WARNING, "cannot note that a kernel stays unverified",
                 json_pack("{s:s, s:s*}", "kernel", id, "message", err.message));
}

static void forget(struct server *server, const char *id)
{
    shelf_forget(server->answers, id);
    shelf_forget(server->packages, id);
}

static bool verify(struct behind *behind, const struct kernel_record *kernel, struct arena *arena,
                   struct error *err)
{
    struct server *server = behind->server;
    const struct build_request request = request_of(behind);
    struct build_result built;
    const void *package;
    size_t size;
    bool ok = read_package(behind, kernel, arena, &package, &size, err) &&
              build_verify(&request, package, size, arena, &built, err) &&
              registry_replace(server->registry, kernel->head.id, built.package,
                               built.package_bytes, "verified", err);
    bool refuted = !ok && err->code == ERR_VERIFY;
    bool beyond =
        !ok && (err->code == ERR_LIMIT || err->code == ERR_COMPILER_DIED || err->code == ERR_NOMEM);
    if (refuted)
        retire(server, kernel->head.id, err);
    if (beyond)
        give_up(server, kernel->head.id, err);
    if (ok || refuted || beyond)
        forget(server, kernel->head.id);
    metrics_add(server->metrics, METRIC_VERIFICATIONS,
                ok        ? "passed"
                : refuted ? "failed"
                          : "undone",
                1);
    return ok;
}

/* Measuring. */

static double measured_us(const struct kernel_record *kernel)
{
    json_t *figures = kernel->measured[0] != '\0' ? json_loads(kernel->measured, 0, NULL) : NULL;
    double p50_us = json_number_value(json_object_get(figures, "p50_us"));
    json_decref(figures);
    return p50_us;
}

/* Compares the time with that of the kernel before. */
static void note_speedup(struct server *server, const struct kernel_record *kernel, double p50_us,
                         struct arena *arena)
{
    struct kernel_record *before = NULL;
    struct error ignored;
    double before_us = registry_before(server->registry, kernel, arena, &before, &ignored) && before
                           ? measured_us(before)
                           : 0;
    if (before_us > 0 && p50_us > 0)
        metrics_set(server->metrics, METRIC_SPEEDUP, "version", before_us / p50_us);
}

static bool measure(struct behind *behind, const struct kernel_record *kernel, struct arena *arena,
                    struct error *err)
{
    struct server *server = behind->server;
    const struct build_request request = request_of(behind);
    struct order_profiled profile;
    const void *package;
    size_t size;
    if (!read_package(behind, kernel, arena, &package, &size, err) ||
        !build_profile(&request,
                       &(struct build_measured){package, size, server->public_key, MEASURE_SECONDS},
                       arena, &profile, err) ||
        !registry_note_measured(
            server->registry, kernel->head.id,
            &(struct measurement){.json = profile.json,
                                  .memory_bytes = (int64_t)profile.temporaries_bytes,
                                  .p50_us = profile.p50_us},
            err))
        return false;
    note_speedup(server, kernel, profile.p50_us, arena);
    metrics_add(server->metrics, METRIC_MEASURED, NULL, 1);
    return true;
}

static bool is_pending(const struct kernel_record *kernel)
{
    return strcmp(kernel->evidence, "pending") == 0;
}

/* Whether nothing is compiled: measuring in parallel would slow compilations down, and be disturbed
 * by them. */
static bool pool_is_quiet(struct server *server)
{
    uint32_t active, waiting, slots;
    pool_count(server->pool, &active, &waiting, &slots);
    return active + waiting == 0;
}

/* *out_later: the kernel is still to be measured, at a quieter time. */
static bool look_after(struct behind *behind, const char *id, struct arena *arena, bool *out_later,
                       struct error *err)
{
    struct server *server = behind->server;
    struct kernel_record *kernel;
    if (!registry_kernel(server->registry, id, arena, &kernel, err))
        return false;
    if (strcmp(kernel->status, "RETIRED") == 0 || kernel->object[0] == '\0')
        return true;
    if (is_pending(kernel) && (!verify(behind, kernel, arena, err) ||
                               !registry_kernel(server->registry, id, arena, &kernel, err)))
        return false;
    if (!server->settings.measure || kernel->measured[0] != '\0')
        return true;
    *out_later = !pool_is_quiet(server);
    return *out_later || measure(behind, kernel, arena, err);
}

static void handle(struct behind *behind, const char *id, bool *out_later)
{
    struct arena arena;
    struct error err = {.code = ERR_NONE};
    jmp_buf no_memory;
    volatile bool ok = false;
    *out_later = false;
    arena_init(&arena);
    if (setjmp(no_memory) != 0)
        fail(&err, ERR_NOMEM, "no memory");
    else {
        arena.oom = &no_memory;
        ok = look_after(behind, id, &arena, out_later, &err);
    }
    arena.oom = NULL;
    if (!ok && err.code != ERR_CANCELLED)
        log_line(behind->server, LOG_WARNING, "a kernel could not be verified or measured",
                 json_pack("{s:s, s:s*}", "kernel", id, "message", err.message));
    arena_release(&arena);
}

static void *work(void *context)
{
    struct behind *behind = context;
    pthread_mutex_lock(&behind->lock);
    while (!behind->stopping) {
        struct waiting *waiting = behind->first;
        if (!waiting) {
            pthread_cond_wait(&behind->changed, &behind->lock);
            continue;
        }
        behind->first = waiting->next;
        behind->last = behind->first ? behind->last : &behind->first;
        behind->count--;
        pthread_mutex_unlock(&behind->lock);
        bool later;
        handle(behind, waiting->kernel, &later);
        if (later) {
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
            behind_add(behind, waiting->kernel);
        }
        free(waiting);
        pthread_mutex_lock(&behind->lock);
    }
    pthread_mutex_unlock(&behind->lock);
    return NULL;
}

struct behind *behind_start(struct server *server, struct error *err)
{
    struct behind *behind = calloc(1, sizeof *behind);
    if (!behind) {
        fail(err, ERR_NOMEM, "no memory for the service");
        return NULL;
    }
    behind->server = server;
    behind->last = &behind->first;
    pthread_mutex_init(&behind->lock, NULL);
    pthread_cond_init(&behind->changed, NULL);
    if (pthread_create(&behind->thread, NULL, work, behind) == 0)
        return behind;
    behind->joined = true;
    behind_free(behind);
    fail(err, ERR_NOMEM, "cannot start a thread");
    return NULL;
}

void behind_add(struct behind *behind, const char *kernel)
{
    struct waiting *waiting = behind ? calloc(1, sizeof *waiting) : NULL;
    if (!waiting)
        return;
    snprintf(waiting->kernel, sizeof waiting->kernel, "%s", kernel);
    pthread_mutex_lock(&behind->lock);
    bool ok = behind->count < WAITING_MOST && !behind->stopping;
    for (const struct waiting *at = behind->first; ok && at; at = at->next)
        ok = strcmp(at->kernel, kernel) != 0;
    if (ok) {
        *behind->last = waiting;
        behind->last = &waiting->next;
        behind->count++;
        pthread_cond_signal(&behind->changed);
    }
    pthread_mutex_unlock(&behind->lock);
    if (!ok)
        free(waiting);
}

void behind_look(struct behind *behind)
{
    const struct filter filters[] = {{.field = "evidence", .op = FILTER_IS, .text = "pending"},
                                     {.field = "status", .op = FILTER_IS_NOT, .text = "RETIRED"},
                                     {.field = "object", .op = FILTER_IS_NOT, .text = ""}};
    const struct query query = {
        .kind = RECORD_kernel, .filters = filters, .filter_count = 3, .limit = 100};
    struct catalogue *catalogue = registry_catalogue(behind->server->registry);
    struct records records;
    struct arena arena;
    struct error err;
    jmp_buf no_memory;
    arena_init(&arena);
    if (setjmp(no_memory) == 0) {
        arena.oom = &no_memory;
        if (catalogue_list(catalogue, &query, &arena, &records, &err))
            for (uint32_t i = 0; i < records.count; i++)
                behind_add(behind, ((const struct record *)records.items[i])->id);
    }
    arena.oom = NULL;
    arena_release(&arena);
}

void behind_stop(struct behind *behind)
{
    if (!behind || behind->joined)
        return;
    pthread_mutex_lock(&behind->lock);
    behind->stopping = true;
    pthread_cond_signal(&behind->changed);
    pthread_mutex_unlock(&behind->lock);
    atomic_store(&behind->cancelled, true);
    pthread_join(behind->thread, NULL);
    behind->joined = true;
}

void behind_free(struct behind *behind)
{
    if (!behind)
        return;
    for (struct waiting *waiting = behind->first, *next; waiting; waiting = next) {
        next = waiting->next;
        free(waiting);
    }
    pthread_cond_destroy(&behind->changed);
    pthread_mutex_destroy(&behind->lock);
    free(behind);
}
