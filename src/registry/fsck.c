/* Checks everything: for each record the records and objects that it refers to, for each object its
 * bytes.
 *
 * It may run while others work. A record that was changed since it was read is not reported, and a
 * repair expects the record to be unchanged. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "registry/registry_priv.h"

#define PAGE 200

struct checking {
    struct registry *registry;
    bool repair;
    void (*say)(void *context, const char *text);
    void *context;
    struct checked checked;
    struct error *err; /* of the walk over objects */
    bool ok;
};

static void tell(struct checking *c, const char *repair, const char *fmt, ...) URZA_PRINTF(3, 4);

/* Reports a fault. repair: what was done about it; NULL: nothing. */
static void tell(struct checking *c, const char *repair, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->checked.faults++;
    c->checked.repaired += repair != NULL;
    if (repair && length > 0 && (size_t)length < sizeof text)
        snprintf(text + length, sizeof text - (size_t)length, ": %s", repair);
    if (c->say)
        c->say(c->context, text);
}

/* The repair of one record: `change` changes it, unless it was changed since it was read. */
struct fix {
    enum record_kind kind;
    const struct record *seen;
    void (*change)(struct edit *edit, void *record);
    bool done;
};

static bool fix_body(struct edit *edit, void *context, struct error *err)
{
    struct fix *fix = context;
    void *found = NULL;
    if (!edit_find(edit, fix->kind, fix->seen->id, &found, err))
        return false;
    const struct record *record = found;
    fix->done = record && record->revision == fix->seen->revision;
    if (fix->done)
        fix->change(edit, found);
    return true;
}

/* Whether the record is unchanged since it was read; if repairing, changes it. */
static bool confirm(struct checking *c, enum record_kind kind, const void *seen,
                    void (*change)(struct edit *edit, void *record), bool *out_confirmed,
                    struct error *err)
{
    static const struct record none;
    struct arena arena;
    void *found = NULL;
    if (c->repair && change) {
        struct fix fix = {.kind = kind, .seen = seen, .change = change};
        bool ok = registry_edit(c->registry, fix_body, &fix, err);
        *out_confirmed = fix.done;
        return ok;
    }
    arena_init(&arena);
    bool ok = catalogue_get(c->registry->catalogue, kind, ((const struct record *)seen)->id, &arena,
                            &found, err);
    const struct record *record = found ? found : &none;
    *out_confirmed = ok && record->revision == ((const struct record *)seen)->revision;
    arena_release(&arena);
    return ok;
}

static bool exists(struct checking *c, enum record_kind kind, const char *id, bool *out,
                   struct error *err)
{
    struct arena arena;
    void *found = NULL;
    arena_init(&arena);
    bool ok = catalogue_get(c->registry->catalogue, kind, id, &arena, &found, err);
    *out = found != NULL;
    arena_release(&arena);
    return ok;
}

/* Removes a damaged object after the last reference to it is gone. */
static bool drop_object(struct checking *c, const char *digest, struct error *err)
{
    bool removed;
    return !c->repair || object_forget(c->registry, digest, &removed, err);
}

static const char *state_name(enum object_state state)
{
    return state == OBJECT_GONE ? "lost" : "damaged";
}

static void evict_kernel(struct edit *edit, void *record)
{
    struct kernel_record *kernel = record;
    kernel->object = "";
    kernel->lost_ms = 0;
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
}

static bool check_package(struct checking *c, const struct kernel_record *kernel, struct error *err)
{
    enum object_state state;
    bool confirmed;
    if (!object_look(c->registry, kernel->object, &state, NULL, err))
        return false;
    if (state == OBJECT_WHOLE)
        return true;
    if (!confirm(c, RECORD_kernel, kernel, evict_kernel, &confirmed, err))
        return false;
    if (!confirmed)
        return true;
    tell(c, c->repair ? "marked as evicted" : NULL,
         "kernel '%.200s': its package, object %.64s, is %s", kernel->head.id, kernel->object,
         state_name(state));
    if (c->repair)
        registry_event(c->registry, "damage", kernel->head.id, "its package was lost: evicted");
    return drop_object(c, kernel->object, err);
}

static bool check_kernel(struct checking *c, const void *record, struct error *err)
{
    const struct kernel_record *kernel = record;
    bool has_blueprint;
    c->checked.kernels++;
    if (!exists(c, RECORD_blueprint, kernel->blueprint, &has_blueprint, err))
        return false;
    if (!has_blueprint)
        tell(c, NULL, "kernel '%.200s': there is no blueprint '%.200s'", kernel->head.id,
             kernel->blueprint);
    if (!kernel_status_known(kernel->status))
        tell(c, NULL, "kernel '%.200s': '%.50s' is no status", kernel->head.id, kernel->status);
    return kernel->object[0] == '\0' || check_package(c, kernel, err);
}

static void forget_key(struct edit *edit, void *record)
{
    edit_remove(edit, RECORD_key, record);
}

static bool check_key(struct checking *c, const void *record, struct error *err)
{
    const struct key_record *key = record;
    bool leads, confirmed;
    if (!exists(c, RECORD_kernel, key->kernel, &leads, err))
        return false;
    if (leads)
        return true;
    if (!confirm(c, RECORD_key, key, forget_key, &confirmed, err))
        return false;
    if (confirmed)
        tell(c, c->repair ? "forgotten" : NULL, "key '%.200s': there is no kernel '%.200s'",
             key->head.id, key->kernel);
    return true;
}

static void forget_alias(struct edit *edit, void *record)
{
    const struct alias_record *alias = record;
    edit_remove(edit, RECORD_alias, alias);
    edit_history(edit, alias->head.id, alias->kernel, "", "there is no such kernel", "");
}

static bool check_alias(struct checking *c, const void *record, struct error *err)
{
    const struct alias_record *alias = record;
    bool leads, confirmed;
    if (!exists(c, RECORD_kernel, alias->kernel, &leads, err))
        return false;
    if (leads)
        return true;
    if (!confirm(c, RECORD_alias, alias, forget_alias, &confirmed, err))
        return false;
    if (confirmed)
        tell(c, c->repair ? "forgotten" : NULL, "alias '%.200s': there is no kernel '%.200s'",
             alias->head.id, alias->kernel);
    return true;
}

static bool is_submitted(const struct blueprint_record *blueprint)
{
    return strcmp(blueprint->status, "UNVALIDATED") == 0 ||
           strcmp(blueprint->status, "COMPILING") == 0;
}

static void fail_blueprint(struct edit *edit, void *record)
{
    struct blueprint_record *blueprint = record;
    blueprint->source = "";
    if (is_submitted(blueprint)) {
        edit_history(edit, blueprint->head.id, blueprint->status, "FAILED", "its source was lost",
                     "");
        blueprint->status = "FAILED";
        blueprint->reason = "its source was lost";
        blueprint->updated_ms = edit->now_ms;
    }
    edit_put(edit, RECORD_blueprint, EXPECT_SAME, blueprint);
}

static bool check_blueprint(struct checking *c, const void *record, struct error *err)
{
    const struct blueprint_record *blueprint = record;
    bool none = blueprint->source[0] == '\0', confirmed;
    enum object_state state = OBJECT_GONE;
    if (!blueprint_status_known(blueprint->status))
        tell(c, NULL, "blueprint '%.200s': '%.50s' is no status", blueprint->head.id,
             blueprint->status);
    if (none && !is_submitted(blueprint))
        return true;
    if (!object_look(c->registry, blueprint->source, &state, NULL, err))
        return false;
    if (state == OBJECT_WHOLE)
        return true;
    if (!confirm(c, RECORD_blueprint, blueprint, fail_blueprint, &confirmed, err))
        return false;
    if (!confirmed)
        return true;
    const char *done = is_submitted(blueprint) ? "FAILED" : "forgotten";
    tell(c, c->repair ? done : NULL, "blueprint '%.200s': its source, object '%.64s', is %s",
         blueprint->head.id, blueprint->source, state_name(state));
    return none || drop_object(c, blueprint->source, err);
}

static void fail_job(struct edit *edit, void *record)
{
    struct job_record *job = record;
    job->state = "FAILED";
    job->error = "{\"error\":\"IoError\",\"message\":\"its request was lost\"}";
    job->token = "";
    job->updated_ms = edit->now_ms;
    edit_put(edit, RECORD_job, EXPECT_SAME, job);
}

static bool check_job(struct checking *c, const void *record, struct error *err)
{
    const struct job_record *job = record;
    enum object_state state;
    bool confirmed;
    bool waits = strcmp(job->state, "QUEUED") == 0 || strcmp(job->state, "LEASED") == 0;
    if (!waits || job->request[0] == '\0')
        return true;
    if (!object_look(c->registry, job->request, &state, NULL, err))
        return false;
    if (state == OBJECT_WHOLE)
        return true;
    if (!confirm(c, RECORD_job, job, fail_job, &confirmed, err))
        return false;
    if (confirmed)
        tell(c, c->repair ? "FAILED" : NULL, "job '%.200s': its request, object %.64s, is %s",
             job->head.id, job->request, state_name(state));
    return true;
}

static bool walk(struct checking *c, enum record_kind kind,
                 bool (*check)(struct checking *c, const void *record, struct error *err),
                 struct error *err)
{
    struct query query = {.kind = kind, .limit = PAGE};
    struct records page = {.count = PAGE};
    while (page.count == PAGE) {
        struct arena arena;
        arena_init(&arena);
        bool ok = catalogue_list(c->registry->catalogue, &query, &arena, &page, err);
        for (uint32_t i = 0; ok && i < page.count; i++) {
            query.after = ((const struct record *)page.items[i])->serial;
            ok = check(c, page.items[i], err);
        }
        arena_release(&arena);
        if (!ok)
            return false;
    }
    return true;
}

/* Objects that records refer to have been checked with their records. */
static bool check_object(void *context, const char *digest, uint64_t size, int64_t put_ms)
{
    struct checking *c = context;
    enum object_state state = OBJECT_WHOLE;
    bool referenced, removed = false;
    (void)size;
    (void)put_ms;
    c->checked.objects++;
    c->ok = object_referenced(c->registry, digest, &referenced, c->err) &&
            (referenced || object_look(c->registry, digest, &state, NULL, c->err));
    if (!c->ok || referenced)
        return c->ok;
    c->checked.orphans++;
    if (state != OBJECT_DAMAGED)
        return true;
    c->ok = !c->repair || object_forget(c->registry, digest, &removed, c->err);
    if (c->ok)
        tell(c, removed ? "removed" : NULL, "object %.64s, which nothing refers to, is damaged",
             digest);
    return c->ok;
}

bool registry_fsck(struct registry *registry, bool repair,
                   void (*say)(void *context, const char *text), void *context, struct checked *out,
                   struct error *err)
{
    struct checking c = {.registry = registry,
                         .repair = repair,
                         .say = say,
                         .context = context,
                         .err = err,
                         .ok = true};
    struct error damage;
    if (!catalogue_check(registry->catalogue, &damage))
        tell(&c, NULL, "the catalogue: %s", damage.message);
    if (!walk(&c, RECORD_kernel, check_kernel, err) || !walk(&c, RECORD_key, check_key, err) ||
        !walk(&c, RECORD_alias, check_alias, err) ||
        !walk(&c, RECORD_blueprint, check_blueprint, err) ||
        !walk(&c, RECORD_job, check_job, err) ||
        !blobs_list(registry->blobs, check_object, &c, err) || !c.ok)
        return false;
    *out = c.checked;
    return true;
}
