/* Regular maintenance: writes uses to the catalogue, evicts packages beyond the limits of age and
 * size, removes orphans and surplus records.
 *
 * Eviction: first the object is removed from the kernel's record, expecting the record's revision.
 * Any change that makes the kernel needed (a status, an alias, a publication) puts the record, so
 * the eviction then conflicts. Only after that the object is removed, unless another record refers
 * to it (object.c). If the process dies in between, the object is an orphan, for a later round. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "registry/registry_priv.h"

#define PAGE 200

/* Kernels that have a package. */
static const struct filter kept = {"object", FILTER_IS_NOT, "", 0};

bool kernel_is_needed(struct registry *registry, const struct kernel_record *kernel, bool *out,
                      struct error *err)
{
    const struct filter filter = {"kernel", FILTER_IS, kernel->head.id, 0};
    const struct query query = {.kind = RECORD_alias, .filters = &filter, .filter_count = 1};
    struct totals aliases = {0};
    bool deployed = strcmp(kernel->status, "DEPLOYED") == 0;
    if (!deployed && !catalogue_total(registry->catalogue, &query, NULL, &aliases, err))
        return false;
    *out = deployed || aliases.count > 0;
    return true;
}

static bool kept_bytes(struct registry *registry, uint64_t *out, struct error *err)
{
    const struct query query = {.kind = RECORD_kernel, .filters = &kept, .filter_count = 1};
    struct totals totals;
    if (!catalogue_total(registry->catalogue, &query, "size_bytes", &totals, err))
        return false;
    *out = (uint64_t)totals.sum;
    return true;
}

struct candidate {
    const char *id;
    int64_t used_ms, size_bytes;
};

struct eviction {
    struct registry *registry;
    const struct candidate *candidate;
    char object[SHA256_HEX_BYTES]; /* the object that it had; "": it was not evicted */
};

static bool evict_body(struct edit *edit, void *context, struct error *err)
{
    struct eviction *eviction = context;
    const struct candidate *candidate = eviction->candidate;
    void *found = NULL;
    bool needed;
    eviction->object[0] = '\0';
    if (!edit_find(edit, RECORD_kernel, candidate->id, &found, err))
        return false;
    struct kernel_record *kernel = found;
    if (!kernel || kernel->object[0] == '\0' || kernel->used_ms > candidate->used_ms ||
        uses_pending(&eviction->registry->uses, candidate->id))
        return true;
    if (!kernel_is_needed(eviction->registry, kernel, &needed, err))
        return false;
    if (needed)
        return true;
    snprintf(eviction->object, sizeof eviction->object, "%s", kernel->object);
    kernel->object = "";
    kernel->lost_ms = 0;
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    return true;
}

/* Evicts a kernel, unless it is needed, or was used since it became a candidate. */
static bool evict(struct registry *registry, const struct candidate *candidate,
                  struct tended *tended, bool *out_evicted, struct error *err)
{
    struct eviction eviction = {.registry = registry, .candidate = candidate};
    bool removed = false;
    if (!registry_edit(registry, evict_body, &eviction, err))
        return false;
    *out_evicted = eviction.object[0] != '\0';
    tended->evicted += *out_evicted;
    if (*out_evicted && registry->alone && !object_forget(registry, eviction.object, &removed, err))
        return false;
    tended->objects_removed += removed;
    return true;
}

static bool evict_aged(struct registry *registry, struct tended *tended, struct error *err)
{
    int64_t before_ms = registry_time_ms(registry) - registry->ttl_ms;
    const struct filter filters[] = {kept, {"used_ms", FILTER_AT_MOST, NULL, (double)before_ms}};
    struct query query = {
        .kind = RECORD_kernel, .filters = filters, .filter_count = 2, .limit = PAGE};
    struct records page = {.count = PAGE};
    while (page.count == PAGE) {
        struct arena arena;
        arena_init(&arena);
        bool evicted, ok = catalogue_list(registry->catalogue, &query, &arena, &page, err);
        for (uint32_t i = 0; ok && i < page.count; i++) {
            const struct kernel_record *kernel = page.items[i];
            ok = evict(registry, &(struct candidate){kernel->head.id, kernel->used_ms, 0}, tended,
                       &evicted, err);
            query.after = kernel->head.serial;
        }
        arena_release(&arena);
        if (!ok)
            return false;
    }
    return true;
}

struct candidates {
    struct candidate *items; /* each id is malloc'd */
    size_t count, capacity;
};

static bool candidates_add(struct candidates *list, const struct kernel_record *kernel)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : PAGE;
        struct candidate *grown = realloc(list->items, capacity * sizeof *grown);
        if (!grown)
            return false;
        list->items = grown;
        list->capacity = capacity;
    }
    char *id = strdup(kernel->head.id);
    if (id)
        list->items[list->count++] = (struct candidate){id, kernel->used_ms, kernel->size_bytes};
    return id != NULL;
}

static bool candidates_gather(struct registry *registry, struct candidates *list, struct error *err)
{
    struct query query = {
        .kind = RECORD_kernel, .filters = &kept, .filter_count = 1, .limit = PAGE};
    struct records page = {.count = PAGE};
    while (page.count == PAGE) {
        struct arena arena;
        arena_init(&arena);
        bool ok = catalogue_list(registry->catalogue, &query, &arena, &page, err);
        for (uint32_t i = 0; ok && i < page.count; i++) {
            const struct kernel_record *kernel = page.items[i];
            ok = candidates_add(list, kernel) ||
                 fail(err, ERR_NOMEM, "no memory for a list of all kernels");
            query.after = kernel->head.serial;
        }
        arena_release(&arena);
        if (!ok)
            return false;
    }
    return true;
}

static int by_use(const void *a, const void *b)
{
    int64_t first = ((const struct candidate *)a)->used_ms;
    int64_t second = ((const struct candidate *)b)->used_ms;
    return (first > second) - (first < second);
}

/* Evicts the least recently used packages first. */
static bool evict_beyond_size(struct registry *registry, struct tended *tended, struct error *err)
{
    struct candidates list = {0};
    uint64_t bytes;
    if (!kept_bytes(registry, &bytes, err))
        return false;
    if (bytes <= registry->size_limit_bytes)
        return true;
    bool ok = candidates_gather(registry, &list, err);
    if (ok && list.count > 0)
        qsort(list.items, list.count, sizeof *list.items, by_use);
    for (size_t i = 0; ok && i < list.count && bytes > registry->size_limit_bytes; i++) {
        bool evicted = false;
        ok = evict(registry, &list.items[i], tended, &evicted, err);
        uint64_t size = evicted ? (uint64_t)list.items[i].size_bytes : 0;
        bytes -= size < bytes ? size : bytes;
    }
    for (size_t i = 0; i < list.count; i++)
        free((void *)(uintptr_t)list.items[i].id);
    free(list.items);
    return ok;
}

struct sweep {
    struct registry *registry;
    uint32_t *removed;
    int64_t put_before_ms;
    bool ok;
    struct error *err;
};

static bool sweep_object(void *context, const char *digest, uint64_t size, int64_t put_ms)
{
    struct sweep *sweep = context;
    bool removed = false;
    (void)size;
    if (put_ms > sweep->put_before_ms)
        return true;
    sweep->ok = object_forget(sweep->registry, digest, &removed, sweep->err);
    *sweep->removed += removed;
    return sweep->ok;
}

bool registry_sweep(struct registry *registry, uint32_t *out_removed, struct error *err)
{
    struct sweep sweep = {.registry = registry,
                          .removed = out_removed,
                          .put_before_ms = registry_time_ms(registry) - GRACE_MS,
                          .ok = true,
                          .err = err};
    *out_removed = 0;
    return blobs_list(registry->blobs, sweep_object, &sweep, err) && sweep.ok;
}

/* Kinds that only grow, and how many of the newest records of each are kept. */
static const struct filter ended[] = {{"state", FILTER_IS_NOT, "QUEUED", 0},
                                      {"state", FILTER_IS_NOT, "LEASED", 0}};
static const struct growing {
    enum record_kind kind;
    int64_t most;
    const struct filter *filters; /* other records are not removed */
    uint32_t filter_count;
} growing_kinds[] = {
    {RECORD_compilation, COMPILATIONS_KEPT, NULL, 0}, {RECORD_event, EVENTS_KEPT, NULL, 0},
    {RECORD_failure, FAILURES_KEPT, NULL, 0},         {RECORD_job, JOBS_KEPT, ended, 2},
    {RECORD_change, CHANGES_KEPT, NULL, 0},           {RECORD_tuning, TUNINGS_KEPT, NULL, 0},
    {RECORD_observation, OBSERVATIONS_KEPT, NULL, 0},
};

/* Removes up to a page of the oldest records of a kind; *left: how many are too many. */
static bool remove_oldest(struct registry *registry, const struct growing *growing, int64_t *left,
                          struct error *err)
{
    const struct query query = {.kind = growing->kind,
                                .filters = growing->filters,
                                .filter_count = growing->filter_count,
                                .limit = *left < PAGE ? (uint32_t)*left : PAGE};
    struct change changes[PAGE];
    struct records page;
    struct arena arena;
    arena_init(&arena);
    bool ok = catalogue_list(registry->catalogue, &query, &arena, &page, err);
    for (uint32_t i = 0; ok && i < page.count; i++)
        changes[i] = (struct change){
            .kind = growing->kind, .expect = EXPECT_SAME, .remove = true, .record = page.items[i]};
    bool done = ok && catalogue_commit(registry->catalogue, changes, page.count, err);
    *left = done && page.count > 0 ? *left - page.count : 0;
    ok = done || (ok && err->code == ERR_CONFLICT); /* a record was changed meanwhile: retried the
                                                       next time */
    arena_release(&arena);
    return ok;
}

static bool forget_old(struct registry *registry, struct error *err)
{
    for (size_t i = 0; i < sizeof growing_kinds / sizeof *growing_kinds; i++) {
        const struct growing *growing = &growing_kinds[i];
        const struct query query = {.kind = growing->kind,
                                    .filters = growing->filters,
                                    .filter_count = growing->filter_count};
        struct totals totals;
        if (!catalogue_total(registry->catalogue, &query, NULL, &totals, err))
            return false;
        for (int64_t left = totals.count - growing->most; left > 0;)
            if (!remove_oldest(registry, growing, &left, err))
                return false;
    }
    return true;
}

bool registry_tend(struct registry *registry, struct tended *out, struct error *err)
{
    struct tended tended = {0};
    if (!uses_write(registry, err) ||
        (registry->ttl_ms > 0 && !evict_aged(registry, &tended, err)) ||
        (registry->size_limit_bytes > 0 && !evict_beyond_size(registry, &tended, err)) ||
        !forget_old(registry, err) || !kept_bytes(registry, &tended.bytes, err))
        return false;
    *out = tended;
    return true;
}
