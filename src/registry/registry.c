/* Opening and closing the registry, and reading by key, id and alias. */
#include "registry/registry_priv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "registry/blobs_priv.h"

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
    registry->on_event = options->on_event;
    registry->event_context = options->context;
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

bool registry_edit(struct registry *registry, edit_body *body, void *context, struct error *err)
{
    return edit_run(registry->catalogue, registry_time_ms(registry), body, context, err);
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
    bool answers = answer && answer->object[0] != '\0' && answer->lost_ms == 0 &&
                   strcmp(answer->status, "RETIRED") != 0;
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

/* Writes an event about a damaged package, at most one per hour and kernel. */
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

struct losing {
    const char *id, *object;
};

/* Marks the kernel's package as lost: its keys then return nothing, so that it is compiled
 * again. */
static bool lose_body(struct edit *edit, void *context, struct error *err)
{
    const struct losing *losing = context;
    void *found = NULL;
    if (!edit_find(edit, RECORD_kernel, losing->id, &found, err))
        return false;
    struct kernel_record *kernel = found;
    if (!kernel || strcmp(kernel->object, losing->object) != 0 || kernel->lost_ms != 0)
        return true;
    kernel->lost_ms = edit->now_ms;
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    return true;
}

/* A kernel's record, and what is found where it says its package is. */
struct look {
    const char *object;
    int64_t revision;
    enum object_state state;
};

/* ERR_NOT_FOUND: the package was evicted. */
static bool look(struct registry *registry, const char *id, struct arena *arena, struct look *found,
                 struct blob *out, struct error *err)
{
    void *record = NULL;
    if (!catalogue_get(registry->catalogue, RECORD_kernel, id, arena, &record, err))
        return false;
    const struct kernel_record *kernel = record;
    if (!kernel || kernel->object[0] == '\0')
        return fail(err, ERR_NOT_FOUND, "kernel '%.200s' was evicted", id);
    *found = (struct look){.object = kernel->object, .revision = kernel->head.revision};
    return object_look(registry, kernel->object, &found->state, out, err);
}

/* Opens a kernel's package when the object named in the record that was read is not there or
 * damaged: it may have been replaced or evicted since, more than once, or is lost. It is lost if
 * the record did not change between two looks. */
static bool open_again(struct registry *registry, const char *id, struct blob *out,
                       struct error *err)
{
    struct arena arena;
    struct look found = {.state = OBJECT_NONE};
    int64_t before;
    arena_init(&arena);
    bool ok = look(registry, id, &arena, &found, out, err);
    do {
        before = found.revision;
        ok = ok && (found.state == OBJECT_WHOLE || look(registry, id, &arena, &found, out, err));
    } while (ok && found.state != OBJECT_WHOLE && found.revision != before);
    if (ok && found.state != OBJECT_WHOLE) {
        ok = fail(err, ERR_BUSY, "the package of '%.200s', object %.64s, is %s", id, found.object,
                  found.state == OBJECT_GONE ? "lost" : "damaged");
        struct losing losing = {id, found.object};
        struct error ignored; /* the next reader will find the loss again */
        tell_damage(registry, id, err->message);
        registry_edit(registry, lose_body, &losing, &ignored);
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
    if (catalogue_commit(registry->catalogue, &change, 1, &ignored) && registry->on_event)
        registry->on_event(registry->event_context, kind);
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
