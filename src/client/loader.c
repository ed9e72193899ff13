/* The loader: entries by name, and threads that work on those that are queued. Everything of an
 * entry is under the lock; a thread that loads has copies of what it needs. Entries that are
 * queued, worked on or waited for are not removed. */
#include "urza/loader.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/limits.h"
#include "client/client_priv.h"
#include "client/loader_priv.h"

#define BUCKETS 256
#define TARGET_BYTES 64
#define QUEUED_MOST 1024
#define FAILED_MOST 1024
#define KEEP 64
#define DEADLINE_MS 30000
#define FAILURES 3
#define PAUSE_MS 1000

struct entry {
    struct entry *next; /* of its bucket */
    char name[NAME_BYTES], kernel_id[KERNEL_ID_BYTES];
    urza_module *module;    /* NULL: none yet */
    urza_error why;         /* code 0: it did not fail the last time */
    uint64_t retry_ns;      /* when what failed may be tried again */
    uint64_t queued, asked; /* ordinal numbers; queued 0: it is not */
    uint32_t waiters;
    bool running; /* until on_ready has returned, so that it is called in order */
    bool again;   /* wanted meanwhile: of an alias another answer may have come by then */
};

struct urza_loader {
    urza_loader_options options;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    bool stop;
    uint32_t inside;           /* calls of urza_loader_get, which may wait */
    char target[TARGET_BYTES]; /* options.load.target */
    struct breaker breaker;
    struct entry *buckets[BUCKETS];
    uint64_t ordinal;
    urza_loader_stats stats;
    uint32_t thread_count;
    pthread_t threads[LIMIT_THREADS];
};

static struct entry **bucket_of(struct urza_loader *loader, const char *name)
{
    return &loader->buckets[hash64(name, strlen(name), 0) % BUCKETS];
}

static struct entry *find(struct urza_loader *loader, const char *name)
{
    struct entry *entry = *bucket_of(loader, name);
    while (entry && strcmp(entry->name, name) != 0)
        entry = entry->next;
    return entry;
}

/* Finds the entry with the least number; which: what number an entry has, 0: it does not count. */
static struct entry *find_least(struct urza_loader *loader, uint64_t (*which)(const struct entry *),
                                uint32_t *out_count)
{
    struct entry *least = NULL;
    *out_count = 0;
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = loader->buckets[i]; entry; entry = entry->next) {
            uint64_t number = which(entry);
            if (number == 0)
                continue;
            ++*out_count;
            if (!least || number < which(least))
                least = entry;
        }
    return least;
}

static uint64_t queued(const struct entry *entry)
{
    return entry->queued;
}

static bool is_idle(const struct entry *entry)
{
    return !entry->queued && !entry->running && entry->waiters == 0;
}

static uint64_t kept(const struct entry *entry)
{
    return entry->module && is_idle(entry) ? entry->asked : 0;
}

static uint64_t failed(const struct entry *entry)
{
    return !entry->module && is_idle(entry) ? entry->asked : 0;
}

static void remove_entry(struct urza_loader *loader, struct entry *entry)
{
    struct entry **at = bucket_of(loader, entry->name);
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    urza_unload(entry->module);
    free(entry);
}

/* Removes what nobody has asked for for the longest time. */
static void evict(struct urza_loader *loader)
{
    uint32_t count;
    for (struct entry *least; (least = find_least(loader, kept, &count)) != NULL;) {
        if (count <= loader->options.keep)
            break;
        remove_entry(loader, least);
        loader->stats.evicted++;
    }
    for (struct entry *least; (least = find_least(loader, failed, &count)) != NULL;) {
        if (count <= FAILED_MOST)
            break;
        remove_entry(loader, least);
    }
}

/* A module of that kernel which is there under another name; NULL: there is none. */
static urza_module *share(struct urza_loader *loader, const char *kernel_id)
{
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct entry *entry = loader->buckets[i]; entry; entry = entry->next)
            if (entry->module && strcmp(entry->kernel_id, kernel_id) == 0)
                return urza_retain(entry->module);
    return NULL;
}

/* What a thread has found out, without the lock. */
struct loaded {
    char name[NAME_BYTES], kernel_id[KERNEL_ID_BYTES];
    urza_module *module; /* NULL: it failed, or is what was there before */
    urza_error why;
    bool fetched;
};

/* Fetches from the registry, if that is not left alone at the moment; else from the folder. */
static bool fetch(struct urza_loader *loader, const char *name, struct urza_package **out,
                  struct error *err)
{
    struct urza_client *client = loader->options.client;
    uint64_t deadline = deadline_after(loader->options.deadline_ms);
    if (name_is_id(name) && fetch_package(client, name, URZA_FETCH_LOCAL, deadline, out, err))
        return true;
    pthread_mutex_lock(&loader->lock);
    bool allowed = breaker_allows(&loader->breaker, clock_ns());
    uint32_t failures = loader->breaker.failures;
    pthread_mutex_unlock(&loader->lock);
    if (!allowed)
        return fetch_package(client, name, URZA_FETCH_LOCAL, deadline, out, err) ||
               fail(err, ERR_CONNECTION,
                    "the registry failed %u times in a row and is left alone for a while",
                    failures);
    bool ok = fetch_package(client, name, URZA_FETCH_DEFAULT, deadline, out, err);
    bool reached =
        ok || (err->code != ERR_CONNECTION && err->code != ERR_BUSY && err->code != ERR_PROTOCOL);
    pthread_mutex_lock(&loader->lock);
    breaker_report(&loader->breaker, reached, clock_ns());
    pthread_mutex_unlock(&loader->lock);
    return ok;
}

/* Loads a package, unless the kernel is the one that the name has had before. */
static void load_package(struct urza_loader *loader, struct urza_package *package,
                         const char *before, struct loaded *out)
{
    urza_load_options options = loader->options.load;
    size_t size;
    const void *bytes = urza_package_bytes(package, &size);
    memcpy(out->kernel_id, package->kernel_id, sizeof out->kernel_id);
    if (strcmp(before, out->kernel_id) == 0)
        return;
    pthread_mutex_lock(&loader->lock);
    out->module = share(loader, out->kernel_id);
    pthread_mutex_unlock(&loader->lock);
    if (out->module)
        return;
    options.trusted_keys = urza_client_keys(loader->options.client, &options.trusted_key_count);
    if (urza_load_memory(bytes, size, &options, &out->module, &out->why) != 0)
        return;
    if (!warm_module(out->module, &out->why)) {
        urza_unload(out->module);
        out->module = NULL;
    }
}

static void load(struct urza_loader *loader, const char *before, struct loaded *out)
{
    struct urza_package *package = NULL;
    struct error err = {0};
    if (!fetch(loader, out->name, &package, &err)) {
        client_result(false, &err, &out->why);
        return;
    }
    out->fetched = !urza_package_from_cache(package);
    load_package(loader, package, before, out);
    urza_package_free(package);
}

/* Puts what was found out into its entry, and tells who waits. */
static void publish(struct urza_loader *loader, struct loaded *found)
{
    struct entry *entry = find(loader, found->name);
    loader->stats.fetched += found->fetched;
    loader->stats.loaded += found->module != NULL;
    loader->stats.failed += found->why.code != 0;
    entry->why = found->why;
    if (found->why.code != 0)
        entry->retry_ns = clock_ns() + loader->options.pause_ms * UINT64_C(1000000);
    if (found->module) {
        urza_unload(entry->module);
        entry->module = urza_retain(found->module);
        memcpy(entry->kernel_id, found->kernel_id, sizeof entry->kernel_id);
    }
    pthread_cond_broadcast(&loader->done);
}

/* What follows when everybody knows. */
static void finish(struct urza_loader *loader, struct entry *entry)
{
    entry->running = false;
    if (entry->again && entry->why.code == 0) {
        entry->queued = ++loader->ordinal;
        pthread_cond_signal(&loader->work);
    }
    entry->again = false;
    evict(loader);
}

/* Takes the entry that has waited longest, works on it, and tells what came of it. */
static void work_on(struct urza_loader *loader, struct entry *entry)
{
    struct loaded found = {.why = {0}};
    char before[KERNEL_ID_BYTES];
    memcpy(found.name, entry->name, sizeof found.name);
    memcpy(before, entry->kernel_id, sizeof before);
    entry->queued = 0;
    entry->running = true;
    pthread_mutex_unlock(&loader->lock);
    load(loader, before, &found);
    pthread_mutex_lock(&loader->lock);
    publish(loader, &found);
    pthread_mutex_unlock(&loader->lock);
    if (loader->options.on_ready && (found.module || found.why.code != 0))
        loader->options.on_ready(loader->options.user, found.name, found.module,
                                 found.module ? NULL : &found.why);
    urza_unload(found.module);
    pthread_mutex_lock(&loader->lock);
    finish(loader, entry);
}

static void *work(void *argument)
{
    struct urza_loader *loader = argument;
    uint32_t count;
    struct cpu_fp inherited;
    cpu_fp_begin(&inherited);
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop) {
        struct entry *entry = find_least(loader, queued, &count);
        if (entry && !entry->running)
            work_on(loader, entry);
        else
            pthread_cond_wait(&loader->work, &loader->lock);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Opening and closing. */

static void init_locks(struct urza_loader *loader)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value > 0 ? value : otherwise;
}

static bool check_options(const urza_loader_options *options, struct error *err)
{
    if (!options || !options->client)
        return fail(err, ERR_USAGE, "a loader needs a client");
    if (options->load.trusted_keys || options->load.trusted_key_count > 0)
        return fail(err, ERR_USAGE, "keys that are trusted are those of the client");
    if (options->load.target && strlen(options->load.target) >= TARGET_BYTES)
        return fail(err, ERR_USAGE, "'%.60s…' is no target", options->load.target);
    return options->threads <= LIMIT_THREADS ||
           fail(err, ERR_LIMIT, "%u threads, at most %d are possible", options->threads,
                LIMIT_THREADS);
}

URZA_EXPORT int urza_loader_open(const urza_loader_options *options, urza_loader **out,
                                 urza_error *err)
{
    struct error e;
    if (!check_options(options, &e))
        return client_result(false, &e, err);
    struct urza_loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return client_result(fail(&e, ERR_NOMEM, "no memory for a loader"), &e, err);
    loader->options = *options;
    urza_runtime_retain(options->load.runtime);
    if (options->load.target) {
        snprintf(loader->target, sizeof loader->target, "%s", options->load.target);
        loader->options.load.target = loader->target;
    }
    loader->options.keep = or_default(options->keep, KEEP);
    loader->options.deadline_ms = or_default(options->deadline_ms, DEADLINE_MS);
    loader->options.pause_ms = or_default(options->pause_ms, PAUSE_MS);
    loader->breaker.failures_most = or_default(options->failures, FAILURES);
    loader->breaker.pause_ns = loader->options.pause_ms * UINT64_C(1000000);
    init_locks(loader);
    uint32_t threads = or_default(options->threads, 1);
    sigset_t all, before; /* signals are for the host's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (loader->thread_count < threads &&
           pthread_create(&loader->threads[loader->thread_count], NULL, work, loader) == 0)
        loader->thread_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (loader->thread_count == threads) {
        *out = loader;
        return 0;
    }
    urza_loader_close(loader);
    return client_result(fail(&e, ERR_NOMEM, "a thread cannot be started"), &e, err);
}

URZA_EXPORT void urza_loader_close(urza_loader *loader)
{
    int cancel;
    if (!loader)
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_cond_broadcast(&loader->done);
    while (loader->inside > 0)
        pthread_cond_wait(&loader->done, &loader->lock);
    pthread_mutex_unlock(&loader->lock);
    for (uint32_t i = 0; i < loader->thread_count; i++)
        pthread_join(loader->threads[i], NULL);
    for (uint32_t i = 0; i < BUCKETS; i++)
        while (loader->buckets[i])
            remove_entry(loader, loader->buckets[i]);
    pthread_mutex_destroy(&loader->lock);
    pthread_cond_destroy(&loader->work);
    pthread_cond_destroy(&loader->done);
    urza_runtime_release(loader->options.load.runtime);
    free(loader);
    pthread_setcancelstate(cancel, &cancel);
}

/* Asking. */

static struct entry *find_or_add(struct urza_loader *loader, const char *name, struct error *err)
{
    struct entry *entry = find(loader, name), **bucket = bucket_of(loader, name);
    if (!entry) {
        entry = calloc(1, sizeof *entry);
        if (!entry) {
            fail(err, ERR_NOMEM, "no memory for one more kernel");
            return NULL;
        }
        memcpy(entry->name, name, strlen(name));
        entry->next = *bucket;
        *bucket = entry;
    }
    entry->asked = ++loader->ordinal;
    return entry;
}

/* Queues an entry, unless it is, or what failed may not be tried again yet. */
static bool enqueue(struct urza_loader *loader, struct entry *entry, struct error *err)
{
    uint32_t count;
    entry->again |= entry->running && !name_is_id(entry->name);
    if (entry->queued || entry->running || (entry->why.code != 0 && clock_ns() < entry->retry_ns))
        return true;
    find_least(loader, queued, &count);
    if (count >= QUEUED_MOST) {
        evict(loader);
        return fail(err, ERR_BUSY, "%u kernels are waited for already", count);
    }
    entry->why = (urza_error){0};
    entry->queued = ++loader->ordinal;
    pthread_cond_signal(&loader->work);
    return true;
}

static bool want(struct urza_loader *loader, const char *kernel, struct entry **out,
                 struct error *err)
{
    struct entry *entry = find_or_add(loader, kernel, err);
    *out = entry;
    return entry && ((entry->module && name_is_id(kernel)) || enqueue(loader, entry, err));
}

static bool check_name(const urza_loader *loader, const char *kernel, struct error *err)
{
    if (!loader || !kernel)
        return fail(err, ERR_USAGE, "an argument is NULL");
    return name_is_fit(kernel) ||
           fail(err, ERR_USAGE, "'%.100s' is not the name of a kernel", kernel);
}

URZA_EXPORT int urza_loader_want(urza_loader *loader, const char *kernel, urza_error *err)
{
    struct error e;
    struct entry *entry;
    if (!check_name(loader, kernel, &e))
        return client_result(false, &e, err);
    pthread_mutex_lock(&loader->lock);
    bool ok = want(loader, kernel, &entry, &e);
    pthread_mutex_unlock(&loader->lock);
    return client_result(ok, &e, err);
}

static struct timespec time_after(uint32_t ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += (long)(ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

/* Waits until the entry has a module, failed, or time is up. */
static void wait_for(struct urza_loader *loader, struct entry *entry, uint32_t wait_ms)
{
    const struct timespec until = time_after(wait_ms);
    int code = 0;
    entry->waiters++;
    while (wait_ms > 0 && code != ETIMEDOUT && !loader->stop && !entry->module &&
           (entry->queued || (entry->running && entry->why.code == 0)))
        code = pthread_cond_timedwait(&loader->done, &loader->lock, &until);
    entry->waiters--;
}

static int get(struct urza_loader *loader, const char *kernel, uint32_t wait_ms, urza_module **out,
               urza_error *err)
{
    struct error e;
    struct entry *entry = find(loader, kernel);
    if (entry && entry->module)
        entry->asked = ++loader->ordinal;
    else if (!want(loader, kernel, &entry, &e))
        return client_result(false, &e, err);
    bool ready = entry->module != NULL;
    if (!ready)
        wait_for(loader, entry, wait_ms);
    if (entry->module) {
        *out = urza_retain(entry->module);
        if (!ready) /* what is waited for was not evicted */
            evict(loader);
        return 0;
    }
    if (loader->stop)
        return client_result(fail(&e, ERR_CANCELLED, "the loader is closed"), &e, err);
    if (entry->why.code == 0)
        return client_result(fail(&e, ERR_BUSY, "%s is being loaded", kernel), &e, err);
    if (err)
        *err = entry->why;
    return entry->why.code;
}

URZA_EXPORT int urza_loader_get(urza_loader *loader, const char *kernel, uint32_t wait_ms,
                                urza_module **out, urza_error *err)
{
    struct error e;
    if (!check_name(loader, kernel, &e))
        return client_result(false, &e, err);
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pthread_mutex_lock(&loader->lock);
    loader->inside++;
    int code = get(loader, kernel, wait_ms, out, err);
    loader->inside--;
    if (loader->stop)
        pthread_cond_broadcast(&loader->done);
    pthread_mutex_unlock(&loader->lock);
    pthread_setcancelstate(cancel, &cancel);
    return code;
}

URZA_EXPORT void urza_loader_stats_get(urza_loader *loader, urza_loader_stats *out)
{
    pthread_mutex_lock(&loader->lock);
    *out = loader->stats;
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (const struct entry *entry = loader->buckets[i]; entry; entry = entry->next) {
            out->kept += entry->module != NULL;
            out->waiting += entry->queued || entry->running;
        }
    out->resting = loader->breaker.failures >= loader->breaker.failures_most;
    pthread_mutex_unlock(&loader->lock);
}
