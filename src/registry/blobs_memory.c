/* Objects in memory, for tests: a list under one lock. An object counts its openers, plus one for
 * being in the list; it is freed when the count is 0. */
#include "registry/blobs_priv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct object {
    struct object *next;
    char *data; /* 64-aligned */
    size_t size_bytes;
    int64_t put_ms;
    uint32_t refs;
    char digest[SHA256_HEX_BYTES];
};

struct memory {
    struct blobs blobs;
    pthread_mutex_t mutex;
    struct object *objects; /* newest first */
};

static bool memory_open(const char *place, struct blobs **out, struct error *err)
{
    (void)place;
    struct memory *memory = calloc(1, sizeof *memory);
    if (!memory)
        return fail(err, ERR_NOMEM, "no memory for a store of objects");
    memory->blobs.driver = &blobs_memory;
    pthread_mutex_init(&memory->mutex, NULL);
    *out = &memory->blobs;
    return true;
}

static void unref(struct object *object)
{
    if (!object || --object->refs > 0)
        return;
    free(object->data);
    free(object);
}

static void memory_close(struct blobs *blobs)
{
    struct memory *memory = (struct memory *)blobs;
    for (struct object *object = memory->objects, *next; object; object = next) {
        next = object->next;
        unref(object);
    }
    pthread_mutex_destroy(&memory->mutex);
    free(memory);
}

/* The pointer that points to the object; the NULL pointer at the end of the list if it is
 * absent. */
static struct object **find(struct memory *memory, const char *digest)
{
    struct object **at = &memory->objects;
    while (*at && strcmp((*at)->digest, digest) != 0)
        at = &(*at)->next;
    return at;
}

static struct object *object_new(const char *digest, const void *data, size_t size)
{
    struct object *object = calloc(1, sizeof *object);
    char *copy = size <= SIZE_MAX - 64 ? aligned_alloc(64, (size + 64) / 64 * 64) : NULL;
    if (!object || !copy) {
        free(object);
        free(copy);
        return NULL;
    }
    if (size > 0)
        memcpy(copy, data, size);
    memcpy(object->digest, digest, SHA256_HEX_BYTES);
    object->data = copy;
    object->size_bytes = size;
    object->refs = 1;
    return object;
}

static bool memory_put(struct blobs *blobs, const char *digest, const void *data, size_t size,
                       struct error *err)
{
    struct memory *memory = (struct memory *)blobs;
    struct object *made = object_new(digest, data, size);
    if (!made)
        return fail(err, ERR_NOMEM, "no memory for an object of %zu bytes", size);
    made->put_ms = blobs_now_ms();
    pthread_mutex_lock(&memory->mutex);
    struct object **at = find(memory, digest), *old = *at;
    made->next = old ? old->next : NULL;
    *at = made;
    unref(old);
    pthread_mutex_unlock(&memory->mutex);
    return true;
}

static bool memory_get(struct blobs *blobs, const char *digest, struct blob *out, struct error *err)
{
    struct memory *memory = (struct memory *)blobs;
    pthread_mutex_lock(&memory->mutex);
    struct object *found = *find(memory, digest);
    if (found) {
        found->refs++;
        *out = (struct blob){found->data, found->size_bytes, found};
    }
    pthread_mutex_unlock(&memory->mutex);
    return found || fail(err, ERR_NOT_FOUND, "there is no object %s", digest);
}

static void memory_release(struct blobs *blobs, struct blob *blob)
{
    struct memory *memory = (struct memory *)blobs;
    pthread_mutex_lock(&memory->mutex);
    unref(blob->held);
    pthread_mutex_unlock(&memory->mutex);
}

static bool memory_remove(struct blobs *blobs, const char *digest, struct error *err)
{
    (void)err;
    struct memory *memory = (struct memory *)blobs;
    pthread_mutex_lock(&memory->mutex);
    struct object **at = find(memory, digest), *gone = *at;
    if (gone)
        *at = gone->next;
    unref(gone);
    pthread_mutex_unlock(&memory->mutex);
    return true;
}

/* Lists a copy, since visit may remove objects. */
static bool memory_list(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err)
{
    struct memory *memory = (struct memory *)blobs;
    size_t count = 0;
    pthread_mutex_lock(&memory->mutex);
    for (const struct object *object = memory->objects; object; object = object->next)
        count++;
    struct object *copies = calloc(count + 1, sizeof *copies);
    size_t at = 0;
    for (const struct object *object = memory->objects; copies && object; object = object->next)
        copies[at++] = *object;
    pthread_mutex_unlock(&memory->mutex);
    if (!copies)
        return fail(err, ERR_NOMEM, "no memory for a list of %zu objects", count);
    for (size_t i = 0; i < count; i++)
        if (!visit(context, copies[i].digest, copies[i].size_bytes, copies[i].put_ms))
            break;
    free(copies);
    return true;
}

const struct blobs_driver blobs_memory = {
    .name = "memory",
    .open = memory_open,
    .close = memory_close,
    .put = memory_put,
    .get = memory_get,
    .release = memory_release,
    .remove = memory_remove,
    .list = memory_list,
};
