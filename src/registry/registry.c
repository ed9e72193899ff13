/* The registry's opening and closing, edits, and reading by key, id and alias. */
#include "registry/registry_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "registry/blobs_priv.h"

#define EDIT_TRIES 100
#define PAUSE_NS_MOST 20000000u /* between two tries */
#define SAME_EVENT_MS ((int64_t)3600 * 1000)

static int64_t wall_clock(void *context)
{
    (void)context;
    return blobs_now_ms();
}

int64_t registry_now_ms(void)
{
    return blobs_now_ms();
}

bool registry_open_over(const struct registry_options *options, struct catalogue *catalogue,
                        struct blobs *blobs, struct registry **out, struct error *err)
{
    struct registry *registry = calloc(1, sizeof *registry);
    if (!registry) {
        catalogue_close(catalogue);
        blobs_close(blobs);
        return fail(err, ERR_NOMEM, "no memory for a registry");
    }
    registry->catalogue = catalogue;
    registry->blobs = blobs;
    registry->size_limit_bytes = options->size_limit_bytes;
    registry->ttl_ms = options->ttl_ms;
    registry->alone = options->alone;
    registry->clock = wall_clock;
    pthread_mutex_init(&registry->flights_mutex, NULL);
    pthread_cond_init(&registry->flight_ended, NULL);
    uses_init(&registry->uses);
    *out = registry;
    return true;
}

bool registry_open(const struct registry_options *options, struct registry **out, struct error *err)
{
    struct catalogue *catalogue;
    struct blobs *blobs;
    if (!catalogue_open(options->catalogue, &catalogue, err))
        return false;
    if (!blobs_open(options->blobs, &blobs, err)) {
        catalogue_close(catalogue);
        return false;
    }
    return registry_open_over(options, catalogue, blobs, out, err);
}

void registry_close(struct registry *registry)
{
    struct error ignored;
    if (!registry)
        return;
    assert(!registry->flights);
    uses_write(registry, &ignored);
    uses_release(&registry->uses);
    catalogue_close(registry->catalogue);
    blobs_close(registry->blobs);
    pthread_mutex_destroy(&registry->flights_mutex);
    pthread_cond_destroy(&registry->flight_ended);
    free(registry);
}

struct catalogue *registry_catalogue(struct registry *registry)
{
    return registry->catalogue;
}

struct blobs *registry_blobs(struct registry *registry)
{
    return registry->blobs;
}

void registry_set_clock(struct registry *registry, registry_clock *clock, void *context)
{
    registry->clock = clock;
    registry->clock_context = context;
}

int64_t registry_time_ms(struct registry *registry)
{
    return registry->clock(registry->clock_context);
}

/* Longer after each conflict, and differently long in each thread. */
static void pause_before(uint32_t attempt)
{
    uint64_t most = (uint64_t)20000 << (attempt < 10 ? attempt : 10);
    most = most < PAUSE_NS_MOST ? most : PAUSE_NS_MOST;
    nanosleep(&(struct timespec){.tv_nsec = (long)(clock_ns() * HASH64_K1 % most)}, NULL);
}

bool registry_edit(struct registry *registry, edit_body *body, void *context, struct error *err)
{
    struct error failure = {0};
    for (uint32_t attempt = 0; attempt < EDIT_TRIES; attempt++) {
        struct arena arena;
        struct edit edit = {.registry = registry, .arena = &arena};
        arena_init(&arena);
        edit.now_ms = registry_time_ms(registry);
        bool meant = body(&edit, context, &failure);
        bool ok =
            meant && catalogue_commit(registry->catalogue, edit.changes, edit.count, &failure);
        arena_release(&arena);
        if (ok)
            return true;
        if (!meant || failure.code != ERR_CONFLICT) {
            *err = failure;
            return false;
        }
        pause_before(attempt);
    }
    return fail(err, ERR_BUSY, "%.400s, %d times", failure.message, EDIT_TRIES);
}

void edit_put(struct edit *edit, enum record_kind kind, enum expect expect, const void *record)
{
    assert(edit->count < EDIT_CHANGES_MOST);
    edit->changes[edit->count++] =
        (struct change){.kind = kind, .expect = expect, .record = record};
}

void edit_remove(struct edit *edit, enum record_kind kind, const void *record)
{
    edit_put(edit, kind, EXPECT_SAME, record);
    edit->changes[edit->count - 1].remove = true;
}

void edit_history(struct edit *edit, const char *subject, const char *before, const char *after,
                  const char *reason, const char *client)
{
    assert(edit->count < EDIT_CHANGES_MOST);
    struct change_record *record = &edit->history[edit->count];
    *record = (struct change_record){.head.id = "",
                                     .subject = subject,
                                     .before = before,
                                     .after = after,
                                     .reason = reason,
                                     .client = client,
                                     .at_ms = edit->now_ms};
    edit_put(edit, RECORD_change, EXPECT_NEW, record);
}

bool edit_get(struct edit *edit, enum record_kind kind, const char *id, void **out,
              struct error *err)
{
    void *found = NULL;
    if (!catalogue_get(edit->registry->catalogue, kind, id, edit->arena, &found, err))
        return false;
    if (!found)
        return fail(err, ERR_NOT_FOUND, "there is no %s '%.200s'", record_type(kind)->name, id);
    *out = found;
    return true;
}

bool registry_find(struct registry *registry, const char *key, struct arena *arena,
                   struct key_record **out_key, struct kernel_record **out_kernel,
                   struct error *err)
{
    void *found = NULL, *kernel = NULL;
    if (!catalogue_get(registry->catalogue, RECORD_key, key, arena, &found, err))
        return false;
    const struct key_record *record = found;
    if (record &&
        !catalogue_get(registry->catalogue, RECORD_kernel, record->kernel, arena, &kernel, err))
        return false;
    const struct kernel_record *answer = kernel;
    bool answers = answer && answer->object[0] != '\0' && strcmp(answer->status, "RETIRED") != 0;
    *out_key = found;
    *out_kernel = answers ? kernel : NULL;
    return true;
}

bool registry_kernel(struct registry *registry, const char *id_or_alias, struct arena *arena,
                     struct kernel_record **out, struct error *err)
{
    void *kernel = NULL, *found = NULL;
    if (!catalogue_get(registry->catalogue, RECORD_kernel, id_or_alias, arena, &kernel, err))
        return false;
    if (!kernel &&
        !catalogue_get(registry->catalogue, RECORD_alias, id_or_alias, arena, &found, err))
        return false;
    const struct alias_record *alias = found;
    if (alias &&
        !catalogue_get(registry->catalogue, RECORD_kernel, alias->kernel, arena, &kernel, err))
        return false;
    if (!kernel)
        return fail(err, ERR_NOT_FOUND, "there is no kernel '%.200s'", id_or_alias);
    *out = kernel;
    return true;
}

/* One event an hour and kernel, however often it is asked for. */
static void tell_damage(struct registry *registry, const char *id, const char *message)
{
    struct arena arena;
    struct error ignored;
    struct records found = {0};
    const struct filter filters[] = {{"kind", FILTER_IS, "damage", 0},
                                     {"subject", FILTER_IS, id, 0}};
    const struct query query = {.kind = RECORD_event,
                                .filters = filters,
                                .filter_count = 2,
                                .newest_first = true,
                                .limit = 1};
    arena_init(&arena);
    bool looked = catalogue_list(registry->catalogue, &query, &arena, &found, &ignored);
    const struct event_record *last = found.count ? found.items[0] : NULL;
    if (!looked || !last || last->at_ms + SAME_EVENT_MS <= registry_time_ms(registry))
        registry_event(registry, "damage", id, message);
    arena_release(&arena);
}

/* What an object that the record names has become: replaced or evicted since it was read, or lost.
 */
static bool open_again(struct registry *registry, const char *id, struct blob *out,
                       struct error *err)
{
    struct arena arena;
    void *found = NULL;
    enum object_state state = OBJECT_NONE;
    arena_init(&arena);
    bool ok = catalogue_get(registry->catalogue, RECORD_kernel, id, &arena, &found, err);
    const struct kernel_record *kernel = found;
    if (ok && (!kernel || kernel->object[0] == '\0'))
        ok = fail(err, ERR_NOT_FOUND, "kernel '%.200s' was evicted", id);
    ok = ok && object_look(registry, kernel->object, &state, out, err);
    if (ok && state != OBJECT_WHOLE) {
        ok = fail(err, ERR_BUSY, "the package of '%.200s', object %.64s, is %s", id, kernel->object,
                  state == OBJECT_GONE ? "lost" : "damaged");
        tell_damage(registry, id, err->message);
    }
    arena_release(&arena);
    return ok;
}

bool registry_package(struct registry *registry, const struct kernel_record *kernel,
                      struct blob *out, struct error *err)
{
    enum object_state state = OBJECT_NONE;
    if (kernel->object[0] != '\0' && !object_look(registry, kernel->object, &state, out, err))
        return false;
    return state == OBJECT_WHOLE || open_again(registry, kernel->head.id, out, err);
}

void registry_event(struct registry *registry, const char *kind, const char *subject,
                    const char *message)
{
    struct error ignored;
    const struct event_record event = {.head.id = "",
                                       .kind = kind,
                                       .subject = subject,
                                       .message = message,
                                       .at_ms = registry_time_ms(registry)};
    const struct change change = {.kind = RECORD_event, .expect = EXPECT_NEW, .record = &event};
    catalogue_commit(registry->catalogue, &change, 1, &ignored);
}

bool registry_record(struct registry *registry, const struct compilation_record *compilation,
                     struct error *err)
{
    struct compilation_record record = *compilation;
    const struct change change = {
        .kind = RECORD_compilation, .expect = EXPECT_NEW, .record = &record};
    record.at_ms = record.at_ms ? record.at_ms : registry_time_ms(registry);
    return catalogue_commit(registry->catalogue, &change, 1, err);
}
