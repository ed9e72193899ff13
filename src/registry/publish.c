/* Publishing: first objects, then one commit of all records that refer to them.
 *
 *   1. A kernel that is published again is put again, expecting its revision: an eviction that
 *      has read it before then conflicts, or this commit does and starts over.
 *   2. Its blueprint is put with each new kernel, likewise, so versions are assigned in sequence.
 *   3. The caller's arena is used only when no object is in flight any more: if it runs out of
 *      memory, its jump cannot leave a flight behind. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "registry/queue_priv.h"
#include "registry/registry_priv.h"

#define BLUEPRINT_PREFIX "blueprint-"
#define ID_BYTES_MOST 200

struct publishing {
    struct registry *registry;
    const struct publication *given;
    char package[SHA256_HEX_BYTES], source[SHA256_HEX_BYTES]; /* digests; source "": no source */
    char blueprint_id[ID_BYTES_MOST + 1];
    struct blueprint_record blueprint;
    struct kernel_record kernel;
    struct key_record key;
    struct compilation_record compilation;
};

/* The first blueprint with this content; NULL: there is none. */
static bool blueprint_of_content(struct edit *edit, const char *content,
                                 struct blueprint_record **out, struct error *err)
{
    const struct filter filter = {"digest", FILTER_IS, content, 0};
    const struct query query = {
        .kind = RECORD_blueprint, .filters = &filter, .filter_count = 1, .limit = 1};
    struct records found;
    if (!catalogue_list(edit->catalogue, &query, edit->arena, &found, err))
        return false;
    *out = found.count ? found.items[0] : NULL;
    return true;
}

/* Finds p->blueprint, by name or by content, or makes a new one; its status becomes VALIDATED. */
static bool meet_blueprint(struct edit *edit, struct publishing *p, bool *out_is_new,
                           struct error *err)
{
    const struct publication *given = p->given;
    struct blueprint_record *old = NULL;
    void *found = NULL;
    if (given->blueprint[0] != '\0'
            ? !edit_get(edit, RECORD_blueprint, given->blueprint, &found, err)
            : !blueprint_of_content(edit, given->content, &old, err))
        return false;
    old = found ? found : old;
    *out_is_new = !old;
    if (old) {
        p->blueprint = *old;
    } else {
        snprintf(p->blueprint_id, sizeof p->blueprint_id, BLUEPRINT_PREFIX "%.64s", given->content);
        p->blueprint = (struct blueprint_record){.head.id = p->blueprint_id,
                                                 .name = given->blueprint_name,
                                                 .status = "",
                                                 .digest = given->content,
                                                 .source = "",
                                                 .reason = "",
                                                 .parent = "",
                                                 .tags = "",
                                                 .metadata = "",
                                                 .created_ms = edit->now_ms};
    }
    struct blueprint_record *blueprint = &p->blueprint;
    if (blueprint->digest[0] != '\0' && strcmp(blueprint->digest, given->content) != 0)
        return fail(err, ERR_CONFLICT,
                    "blueprint '%.200s' has other content than the kernel was made "
                    "from",
                    blueprint->head.id);
    blueprint->digest = given->content;
    blueprint->source = blueprint->source[0] != '\0' ? blueprint->source : p->source;
    if (strcmp(blueprint->status, "VALIDATED") != 0) {
        edit_history(edit, blueprint->head.id, blueprint->status, "VALIDATED", "", given->client);
        blueprint->status = "VALIDATED";
        blueprint->reason = "";
        blueprint->updated_ms = edit->now_ms;
    }
    return true;
}

static bool new_kernel(struct edit *edit, struct publishing *p, struct error *err)
{
    struct kernel_record *kernel = &p->kernel, *last;
    *kernel = *p->given->kernel;
    kernel->blueprint = p->blueprint.head.id;
    kernel->status = "VALIDATED";
    kernel->reason = "";
    kernel->object = p->package;
    kernel->size_bytes = (int64_t)p->given->package_bytes;
    kernel->created_ms = kernel->used_ms = edit->now_ms;
    kernel->uses = 0;
    if (!version_find(edit->catalogue, kernel, INT64_MAX, edit->arena, &last, err))
        return false;
    kernel->version = last ? last->version + 1 : 1;
    edit_history(edit, kernel->head.id, "", "VALIDATED", "", p->given->client);
    return true;
}

/* Updates an existing kernel. It keeps its package, unless that was evicted or is lost, or only the
 * new one is verified. */
static bool old_kernel(struct edit *edit, struct publishing *p, const struct kernel_record *old,
                       struct error *err)
{
    const struct kernel_record *given = p->given->kernel;
    struct kernel_record *kernel = &p->kernel;
    enum object_state state = OBJECT_WHOLE; /* the same bytes have just been put */
    bool verified = strcmp(given->evidence, "verified") == 0;
    if (strcmp(old->evidence, "failed") == 0 && !verified)
        return fail(err, ERR_VERIFY, "%.400s", old->reason);
    *kernel = *old;
    kernel->used_ms = edit->now_ms;
    kernel->lost_ms = 0;
    if (strcmp(old->object, p->package) != 0 &&
        !object_look(p->registry, old->object, &state, NULL, err))
        return false;
    if (state != OBJECT_WHOLE || (verified && strcmp(old->evidence, "verified") != 0)) {
        kernel->object = p->package;
        kernel->size_bytes = (int64_t)p->given->package_bytes;
        kernel->evidence = given->evidence;
        kernel->degraded = given->degraded;
        kernel->details = given->details;
        kernel->compile_ms = given->compile_ms;
    }
    if (strcmp(old->status, "RETIRED") == 0) {
        kernel->status = "VALIDATED";
        kernel->reason = "";
        edit_history(edit, old->head.id, old->status, "VALIDATED", "published again",
                     p->given->client);
    }
    return true;
}

static void put_compilation(struct edit *edit, struct publishing *p)
{
    if (!p->given->compilation)
        return;
    p->compilation = *p->given->compilation;
    p->compilation.kernel = p->kernel.head.id;
    p->compilation.at_ms = p->compilation.at_ms ? p->compilation.at_ms : edit->now_ms;
    edit_put(edit, RECORD_compilation, EXPECT_NEW, &p->compilation);
}

static bool publish_body(struct edit *edit, void *context, struct error *err)
{
    struct publishing *p = context;
    const char *id = p->given->kernel->head.id;
    void *kernel = NULL, *key = NULL;
    bool blueprint_is_new;
    if (!edit_find(edit, RECORD_kernel, id, &kernel, err) ||
        !edit_find(edit, RECORD_key, p->given->key->head.id, &key, err) ||
        !meet_blueprint(edit, p, &blueprint_is_new, err) ||
        !(kernel ? old_kernel(edit, p, kernel, err) : new_kernel(edit, p, err)))
        return false;
    const struct key_record *old_key = key;
    p->key = *p->given->key;
    p->key.head.revision = old_key ? old_key->head.revision : 0;
    p->key.kernel = id;
    p->key.content = p->given->content;
    p->key.created_ms = edit->now_ms;
    edit_put(edit, RECORD_blueprint, blueprint_is_new ? EXPECT_NEW : EXPECT_SAME, &p->blueprint);
    edit_put(edit, RECORD_kernel, kernel ? EXPECT_SAME : EXPECT_NEW, &p->kernel);
    edit_put(edit, RECORD_key, old_key ? EXPECT_SAME : EXPECT_NEW, &p->key);
    put_compilation(edit, p);
    return true;
}

struct cargo {
    const char *digest;
    const void *data;
    size_t size;
};

struct putting {
    struct registry *registry;
    const struct cargo *cargo;
    struct error err;
    bool ok;
};

static void *put(void *context)
{
    struct putting *putting = context;
    const struct cargo *cargo = putting->cargo;
    putting->ok =
        object_put(putting->registry, cargo->digest, cargo->data, cargo->size, &putting->err);
    return NULL;
}

/* Puts one or two objects in parallel, since each waits for the disk, then runs an edit. The
 * objects are in flight all the time. */
static bool edit_with(struct registry *registry, const struct cargo *cargo, uint32_t count,
                      edit_body *body, void *context, struct error *err)
{
    struct flight flights[2] = {0};
    struct putting second = {.registry = registry, .cargo = &cargo[1], .ok = true};
    pthread_t thread;
    for (uint32_t i = 0; i < count; i++)
        flight_begin(registry, &flights[i], cargo[i].digest);
    bool threaded = count > 1 && pthread_create(&thread, NULL, put, &second) == 0;
    if (count > 1 && !threaded)
        put(&second);
    bool ok = object_put(registry, cargo[0].digest, cargo[0].data, cargo[0].size, err);
    if (threaded)
        pthread_join(thread, NULL);
    if (ok && !second.ok) {
        *err = second.err;
        ok = false;
    }
    ok = ok && registry_edit(registry, body, context, err);
    for (uint32_t i = 0; i < count; i++)
        flight_end(registry, &flights[i]);
    return ok;
}

bool registry_publish(struct registry *registry, const struct publication *publication,
                      struct arena *arena, struct kernel_record **out, struct error *err)
{
    struct publishing p = {.registry = registry, .given = publication};
    uint32_t count = publication->source ? 2 : 1;
    void *found = NULL;
    sha256_hex(publication->package, publication->package_bytes, p.package);
    if (publication->source)
        sha256_hex(publication->source, publication->source_bytes, p.source);
    const struct cargo cargo[] = {
        {p.package, publication->package, publication->package_bytes},
        {p.source, publication->source, publication->source_bytes},
    };
    if (!edit_with(registry, cargo, count, publish_body, &p, err))
        return false;
    if (!out)
        return true;
    if (!catalogue_get(registry->catalogue, RECORD_kernel, publication->kernel->head.id, arena,
                       &found, err))
        return false;
    if (!found)
        return fail(err, ERR_BUSY, "kernel '%.200s' was removed at once",
                    publication->kernel->head.id);
    *out = found;
    return true;
}

struct replacing {
    const char *id, *object, *evidence;
    size_t size;
    char old[SHA256_HEX_BYTES];
};

static bool replace_body(struct edit *edit, void *context, struct error *err)
{
    struct replacing *replacing = context;
    void *found;
    if (!edit_get(edit, RECORD_kernel, replacing->id, &found, err))
        return false;
    struct kernel_record *kernel = found;
    snprintf(replacing->old, sizeof replacing->old, "%s", kernel->object);
    kernel->object = replacing->object;
    kernel->lost_ms = 0;
    kernel->size_bytes = (int64_t)replacing->size;
    kernel->evidence = replacing->evidence;
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    return true;
}

bool registry_replace(struct registry *registry, const char *id, const void *package, size_t size,
                      const char *evidence, struct error *err)
{
    char digest[SHA256_HEX_BYTES];
    struct replacing replacing = {.id = id, .object = digest, .evidence = evidence, .size = size};
    const struct cargo cargo = {digest, package, size};
    bool removed;
    struct error ignored;
    sha256_hex(package, size, digest);
    if (!edit_with(registry, &cargo, 1, replace_body, &replacing, err))
        return false;
    if (registry->alone && strcmp(replacing.old, digest) != 0) /* otherwise it stays an orphan for a
                                                                  while */
        object_forget(registry, replacing.old, &removed, &ignored);
    return true;
}

/* State of a submission. */
struct submitting {
    struct registry *registry;
    struct blueprint_record blueprint;
    char id[ID_BYTES_MOST + 1];
};

/* Compares the canonical form if both have one, else the bytes. If the bytes of the old one were
 * lost, the contents count as equal, as nothing shows otherwise. */
static bool same_content(const struct blueprint_record *old, const struct blueprint_record *given)
{
    if (old->digest[0] != '\0' && given->digest[0] != '\0')
        return strcmp(old->digest, given->digest) == 0;
    return old->source[0] == '\0' || strcmp(old->source, given->source) == 0;
}

/* Submits an existing blueprint again: its record stays, and its source is restored if it was
 * lost. */
static bool submit_again(struct edit *edit, const struct submitting *submitting,
                         struct blueprint_record *old, struct error *err)
{
    const struct blueprint_record *blueprint = &submitting->blueprint;
    enum object_state state;
    bool was_lost = old->source[0] == '\0' && strcmp(old->status, "FAILED") == 0;
    if (!same_content(old, blueprint))
        return fail(err, ERR_CONFLICT, "there is a blueprint '%.200s' with other content",
                    old->head.id);
    if (strcmp(old->source, blueprint->source) == 0)
        return true;
    if (!object_look(submitting->registry, old->source, &state, NULL, err))
        return false;
    if (state == OBJECT_WHOLE)
        return true;
    old->source = blueprint->source;
    if (was_lost) {
        edit_history(edit, old->head.id, old->status, "UNVALIDATED", "its source was sent again",
                     "");
        old->status = "UNVALIDATED";
        old->reason = "";
        old->updated_ms = edit->now_ms;
    }
    edit_put(edit, RECORD_blueprint, EXPECT_SAME, old);
    return true;
}

static bool submit_body(struct edit *edit, void *context, struct error *err)
{
    struct submitting *submitting = context;
    struct blueprint_record *blueprint = &submitting->blueprint;
    void *found = NULL;
    if (!edit_find(edit, RECORD_blueprint, blueprint->head.id, &found, err))
        return false;
    if (found)
        return submit_again(edit, submitting, found, err);
    blueprint->created_ms = blueprint->updated_ms = edit->now_ms;
    edit_put(edit, RECORD_blueprint, EXPECT_NEW, blueprint);
    edit_history(edit, blueprint->head.id, "", "UNVALIDATED", "", "");
    return true;
}

bool registry_submit(struct registry *registry, const struct submission *submission,
                     struct arena *arena, struct blueprint_record **out, struct error *err)
{
    struct submitting submitting = {.registry = registry, .blueprint = *submission->blueprint};
    struct blueprint_record *made = &submitting.blueprint;
    char digest[SHA256_HEX_BYTES];
    const struct cargo cargo = {digest, submission->source, submission->source_bytes};
    void *found = NULL;
    sha256_hex(submission->source, submission->source_bytes, digest);
    snprintf(submitting.id, sizeof submitting.id, BLUEPRINT_PREFIX "%.64s",
             made->digest[0] != '\0' ? made->digest : digest);
    if (made->head.id[0] == '\0')
        made->head.id = submitting.id;
    else if (strncmp(made->head.id, BLUEPRINT_PREFIX, sizeof BLUEPRINT_PREFIX - 1) == 0 &&
             strcmp(made->head.id, submitting.id) != 0)
        return fail(err, ERR_CONFLICT, "'%.200s' is the id of a blueprint with other content",
                    made->head.id);
    made->status = "UNVALIDATED";
    made->reason = "";
    made->source = digest;
    if (!edit_with(registry, &cargo, 1, submit_body, &submitting, err))
        return false;
    if (!catalogue_get(registry->catalogue, RECORD_blueprint, made->head.id, arena, &found, err))
        return false;
    *out = found;
    return found || fail(err, ERR_BUSY, "blueprint '%.200s' was removed at once", made->head.id);
}

bool registry_enqueue(struct registry *registry, struct queue *queue, const struct job_order *order,
                      struct arena *arena, struct job_record **out, struct error *err)
{
    char digest[SHA256_HEX_BYTES], id[JOB_ID_BYTES];
    struct flight flight = {0};
    struct error ignored;
    bool joined, removed;
    sha256_hex(order->source, order->source_bytes, digest);
    order->job->request = digest;
    flight_begin(registry, &flight, digest);
    bool ok = object_put(registry, digest, order->source, order->source_bytes, err) &&
              queue_put(queue, order->job, id, &joined, err);
    flight_end(registry, &flight);
    order->job->request = "";
    if (!ok) /* a refused submission takes no space */
        object_forget(registry, digest, &removed, &ignored);
    return ok && queue_find(queue, id, arena, out, err);
}
