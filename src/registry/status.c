/* Statuses and aliases, and the history of both. */
#include <assert.h>
#include <string.h>

#include "registry/registry_priv.h"

#define ALIAS_BYTES_MOST 100
#define STATUSES 4

/* One row per status, with those that may follow it. */
struct status {
    const char *name;
    const char *after[STATUSES];
};

static const struct status kernel_statuses[STATUSES] = {
    {"VALIDATED", {"TESTING", "DEPLOYED", "RETIRED"}},
    {"TESTING", {"VALIDATED", "DEPLOYED", "RETIRED"}},
    {"DEPLOYED", {"VALIDATED", "TESTING", "RETIRED"}},
    {"RETIRED", {"VALIDATED"}},
};

static const struct status blueprint_statuses[STATUSES] = {
    {"UNVALIDATED", {"COMPILING", "VALIDATED", "FAILED"}},
    {"COMPILING", {"UNVALIDATED", "VALIDATED", "FAILED"}},
    {"VALIDATED", {NULL}},
    {"FAILED", {"UNVALIDATED", "COMPILING", "VALIDATED"}},
};

static const struct status *find(const struct status statuses[STATUSES], const char *name)
{
    for (int i = 0; i < STATUSES; i++)
        if (strcmp(statuses[i].name, name) == 0)
            return &statuses[i];
    return NULL;
}

static bool may_follow(const struct status statuses[STATUSES], const char *before,
                       const char *after)
{
    const struct status *from = find(statuses, before);
    if (from && strcmp(before, after) == 0)
        return true;
    for (int i = 0; from && i < STATUSES && from->after[i]; i++)
        if (strcmp(from->after[i], after) == 0)
            return true;
    return false;
}

bool kernel_status_known(const char *status)
{
    return find(kernel_statuses, status) != NULL;
}

bool blueprint_status_known(const char *status)
{
    return find(blueprint_statuses, status) != NULL;
}

static bool refuse(const struct setting *setting, const char *before, struct error *err)
{
    return fail(err, ERR_CONFLICT, "%s '%.200s' is %.50s and cannot become %.50s",
                record_type(setting->kind)->name, setting->id, before, setting->status);
}

static bool status_body(struct edit *edit, void *context, struct error *err)
{
    const struct setting *setting = context;
    bool is_kernel = setting->kind == RECORD_kernel;
    void *found;
    if (!edit_get(edit, setting->kind, setting->id, &found, err))
        return false;
    struct kernel_record *kernel = is_kernel ? found : NULL;
    struct blueprint_record *blueprint = is_kernel ? NULL : found;
    const char **status = is_kernel ? &kernel->status : &blueprint->status;
    const char *before = *status;
    bool changes = setting->status && strcmp(before, setting->status) != 0;
    if (kernel && setting->tags)
        kernel->tags = setting->tags;
    if (!changes && !(kernel && setting->tags))
        return true;
    edit_put(edit, setting->kind, EXPECT_SAME, found);
    if (!changes)
        return true;
    if (!may_follow(is_kernel ? kernel_statuses : blueprint_statuses, before, setting->status))
        return refuse(setting, before, err);
    if (is_kernel && kernel->object[0] == '\0' && strcmp(setting->status, "DEPLOYED") == 0)
        return fail(err, ERR_CONFLICT,
                    "kernel '%.200s' was evicted: it is deployed once it is "
                    "compiled again",
                    setting->id);
    *status = setting->status;
    if (is_kernel) {
        kernel->reason = setting->reason;
    } else {
        blueprint->reason = setting->reason;
        blueprint->updated_ms = edit->now_ms;
    }
    edit_history(edit, setting->id, before, setting->status, setting->reason, setting->client);
    return true;
}

bool registry_set(struct registry *registry, const struct setting *setting, struct error *err)
{
    assert(setting->kind == RECORD_kernel || setting->kind == RECORD_blueprint);
    return registry_edit(registry, status_body, (void *)(uintptr_t)setting, err);
}

struct refuting {
    const char *id, *reason;
};

static bool refute_body(struct edit *edit, void *context, struct error *err)
{
    const struct refuting *refuting = context;
    void *found;
    if (!edit_get(edit, RECORD_kernel, refuting->id, &found, err))
        return false;
    struct kernel_record *kernel = found;
    const char *before = kernel->status;
    kernel->status = "RETIRED";
    kernel->reason = refuting->reason;
    kernel->evidence = "failed";
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    if (strcmp(before, "RETIRED") != 0)
        edit_history(edit, refuting->id, before, "RETIRED", refuting->reason, "");
    return true;
}

bool registry_refute(struct registry *registry, const char *id, const char *reason,
                     struct error *err)
{
    struct refuting refuting = {id, reason};
    return registry_edit(registry, refute_body, &refuting, err);
}

static bool give_up_body(struct edit *edit, void *context, struct error *err)
{
    void *found;
    if (!edit_get(edit, RECORD_kernel, context, &found, err))
        return false;
    struct kernel_record *kernel = found;
    if (strcmp(kernel->evidence, "pending") != 0)
        return true;
    kernel->evidence = "none";
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    return true;
}

bool registry_give_up_evidence(struct registry *registry, const char *id, struct error *err)
{
    return registry_edit(registry, give_up_body, (void *)(uintptr_t)id, err);
}

struct measuring {
    const char *id;
    const struct measurement *found;
};

static bool measure_body(struct edit *edit, void *context, struct error *err)
{
    const struct measuring *measuring = context;
    void *found;
    if (!edit_get(edit, RECORD_kernel, measuring->id, &found, err))
        return false;
    struct kernel_record *kernel = found;
    kernel->measured = measuring->found->json;
    kernel->memory_bytes = measuring->found->memory_bytes;
    if (!(kernel->latency_us > 0))
        kernel->latency_us = measuring->found->p50_us;
    edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    return true;
}

bool registry_note_measured(struct registry *registry, const char *id,
                            const struct measurement *measurement, struct error *err)
{
    struct measuring measuring = {id, measurement};
    return registry_edit(registry, measure_body, &measuring, err);
}

static bool is_alias(const char *name)
{
    static const char bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(name);
    return length > 0 && length <= ALIAS_BYTES_MOST && *name != '.' &&
           strspn(name, bytes) == length && strncmp(name, "kernel-", 7) != 0;
}

struct naming {
    const char *name, *kernel, *client;
    struct alias_record alias;
};

/* The kernel is put as well, unchanged: an eviction that has read it before then conflicts, and if
 * the eviction was first, this conflicts. */
static bool alias_body(struct edit *edit, void *context, struct error *err)
{
    struct naming *naming = context;
    void *found = NULL, *target = NULL;
    bool points = naming->kernel[0] != '\0';
    if (!edit_find(edit, RECORD_alias, naming->name, &found, err) ||
        (points && !edit_get(edit, RECORD_kernel, naming->kernel, &target, err)))
        return false;
    const struct alias_record *old = found;
    const struct kernel_record *kernel = target;
    if (!points && !old)
        return fail(err, ERR_NOT_FOUND, "there is no alias '%.100s'", naming->name);
    if (old && strcmp(old->kernel, naming->kernel) == 0)
        return true;
    if (kernel && kernel->object[0] == '\0')
        return fail(err, ERR_CONFLICT,
                    "kernel '%.200s' was evicted: it gets an alias once it is compiled again",
                    naming->kernel);
    naming->alias = (struct alias_record){.head.id = naming->name,
                                          .head.revision = old ? old->head.revision : 0,
                                          .kernel = naming->kernel,
                                          .updated_ms = edit->now_ms};
    if (points) {
        edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
        edit_put(edit, RECORD_alias, old ? EXPECT_SAME : EXPECT_NEW, &naming->alias);
    } else {
        edit_remove(edit, RECORD_alias, old);
    }
    edit_history(edit, naming->name, old ? old->kernel : "", naming->kernel, "", naming->client);
    return true;
}

bool registry_set_alias(struct registry *registry, const char *name, const char *kernel,
                        const char *client, struct error *err)
{
    struct naming naming = {.name = name, .kernel = kernel, .client = client};
    if (!is_alias(name))
        return fail(err, ERR_INPUT,
                    "'%.100s' is no name for a kernel: at most %d letters, digits and ._- that do "
                    "not begin with a dot or \"kernel-\"",
                    name, ALIAS_BYTES_MOST);
    return registry_edit(registry, alias_body, &naming, err);
}
