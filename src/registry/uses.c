/* Uses of kernels: every answer is one, so they are counted in memory and written to the catalogue
 * regularly.
 *
 * A use is written at least once, and twice if a commit was done but reported as failed. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "registry/registry_priv.h"

#define ID_BYTES_MOST 200
#define CHAINS (sizeof((struct uses *)0)->chains / sizeof(struct use *))

void uses_init(struct uses *uses)
{
    *uses = (struct uses){0};
    pthread_mutex_init(&uses->mutex, NULL);
}

void uses_release(struct uses *uses)
{
    for (size_t i = 0; i < CHAINS; i++)
        for (struct use *use = uses->chains[i], *next; use; use = next) {
            next = use->next;
            free(use);
        }
    pthread_mutex_destroy(&uses->mutex);
}

/* The pointer that points to the use; the NULL pointer at the end of the chain if there is none. */
static struct use **find(struct uses *uses, const char *id)
{
    struct use **at = &uses->chains[hash64(id, strlen(id), 0) % CHAINS];
    while (*at && strcmp((*at)->id, id) != 0)
        at = &(*at)->next;
    return at;
}

static void add(struct uses *uses, const char *id, int64_t count, int64_t last_ms)
{
    size_t length = strlen(id);
    pthread_mutex_lock(&uses->mutex);
    struct use **at = find(uses, id);
    if (!*at && uses->count < USES_MOST && length <= ID_BYTES_MOST &&
        (*at = calloc(1, sizeof **at + length + 1)) != NULL) {
        memcpy((*at)->id, id, length + 1);
        uses->count++;
    }
    struct use *use = *at;
    if (use) {
        use->count += count;
        use->last_ms = last_ms > use->last_ms ? last_ms : use->last_ms;
    }
    pthread_mutex_unlock(&uses->mutex);
}

void registry_used(struct registry *registry, const char *id)
{
    add(&registry->uses, id, 1, registry_time_ms(registry));
}

bool uses_pending(struct uses *uses, const char *id)
{
    pthread_mutex_lock(&uses->mutex);
    bool found = *find(uses, id) != NULL;
    pthread_mutex_unlock(&uses->mutex);
    return found;
}

/* Removes a chain from the table and returns it. */
static struct use *take(struct uses *uses, size_t chain)
{
    pthread_mutex_lock(&uses->mutex);
    struct use *first = uses->chains[chain];
    uses->chains[chain] = NULL;
    for (const struct use *use = first; use; use = use->next)
        uses->count--;
    pthread_mutex_unlock(&uses->mutex);
    return first;
}

/* Writes a list of uses in one commit. */
static bool write_body(struct edit *edit, void *context, struct error *err)
{
    uint32_t count = 0;
    for (const struct use *use = context; use && count < EDIT_CHANGES_MOST; use = use->next) {
        void *found = NULL;
        count++;
        if (!edit_find(edit, RECORD_kernel, use->id, &found, err))
            return false;
        struct kernel_record *kernel = found;
        if (!kernel)
            continue;
        kernel->uses += use->count;
        kernel->used_ms = use->last_ms > kernel->used_ms ? use->last_ms : kernel->used_ms;
        edit_put(edit, RECORD_kernel, EXPECT_SAME, kernel);
    }
    return true;
}

bool uses_write(struct registry *registry, struct error *err)
{
    bool ok = true;
    struct use *list = NULL;
    for (size_t i = 0; i < CHAINS; i++)
        for (struct use *use = take(&registry->uses, i), *next; use; use = next) {
            next = use->next;
            use->next = list;
            list = use;
        }
    while (list) {
        ok = ok && registry_edit(registry, write_body, list, err);
        for (uint32_t i = 0; list && i < EDIT_CHANGES_MOST; i++) {
            struct use *use = list;
            list = use->next;
            if (!ok)
                add(&registry->uses, use->id, use->count, use->last_ms);
            free(use);
        }
    }
    return ok;
}
