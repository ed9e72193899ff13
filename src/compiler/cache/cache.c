/* The memory level, and the combination of both levels.
 *
 *   find   memory, then the folder; what the folder had is added to memory
 *   add    both
 *
 * Invariants:
 * 1. The mutex guards the table, the list by last use and all reference counts; files are read and
 *    written outside of it.
 * 2. An entry in the table has one reference for that. Whoever drops the last one frees the entry.
 * 3. used_bytes is the sum over the entries in the table; evicted ones that callers hold do not
 *    count. */
#include "compiler/cache/cache_priv.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define BUCKETS 1024

struct cache {
    pthread_mutex_t mutex;
    char *folder; /* NULL: memory only */
    size_t memory_bytes, used_bytes;
    uint64_t disk_bytes;
    struct cache_entry *buckets[BUCKETS];
    struct cache_entry *newest, *oldest;
};

struct cache *cache_new(const struct cache_options *options)
{
    struct cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    pthread_mutex_init(&cache->mutex, NULL);
    cache->memory_bytes = options->memory_bytes ? options->memory_bytes : (size_t)128 << 20;
    cache->disk_bytes = options->disk_bytes ? options->disk_bytes : (uint64_t)1 << 30;
    if (options->folder && folder_usable(options->folder))
        cache->folder = strdup(options->folder);
    return cache;
}

static struct cache_entry **bucket_of(struct cache *cache, const uint8_t *key)
{
    return &cache->buckets[(key[0] | key[1] << 8) % BUCKETS]; /* the bytes of a digest are
                                                                 uniform */
}

static void list_remove(struct cache *cache, struct cache_entry *e)
{
    *(e->newer ? &e->newer->older : &cache->newest) = e->older;
    *(e->older ? &e->older->newer : &cache->oldest) = e->newer;
}

static void list_push(struct cache *cache, struct cache_entry *e)
{
    e->newer = NULL;
    e->older = cache->newest;
    *(e->older ? &e->older->newer : &cache->oldest) = e;
    cache->newest = e;
}

static void drop(struct cache_entry *e)
{
    assert(e->refs > 0);
    if (--e->refs > 0)
        return;
    free(e->file);
    free(e);
}

static void table_remove(struct cache *cache, struct cache_entry *e)
{
    struct cache_entry **at = bucket_of(cache, e->file->key);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    list_remove(cache, e);
    cache->used_bytes -= e->value.size_bytes;
    drop(e);
}

const char *cache_folder(const struct cache *cache)
{
    return cache->folder;
}

void cache_free(struct cache *cache)
{
    if (!cache)
        return;
    while (cache->oldest)
        table_remove(cache, cache->oldest);
    pthread_mutex_destroy(&cache->mutex);
    free(cache->folder);
    free(cache);
}

/* Finds key in memory, and adds a reference for the caller. */
static struct cache_entry *table_find(struct cache *cache, const uint8_t *key)
{
    struct cache_entry *e = *bucket_of(cache, key);
    while (e && memcmp(e->file->key, key, SHA256_BYTES) != 0)
        e = e->next;
    if (!e)
        return NULL;
    list_remove(cache, e);
    list_push(cache, e);
    e->refs++;
    return e;
}

/* Takes ownership of file. Returns the entry for its key, with a reference for the caller: an older
 * one if the key was there. NULL: no memory. */
static struct cache_entry *table_add(struct cache *cache, struct cache_file *file)
{
    struct cache_entry *e = calloc(1, sizeof *e);
    if (!e) {
        free(file);
        return NULL;
    }
    *e = (struct cache_entry){
        .value = {cache_file_data(file), file->size_bytes}, .file = file, .refs = 1};
    pthread_mutex_lock(&cache->mutex);
    struct cache_entry *known = table_find(cache, file->key);
    if (!known && file->size_bytes <= cache->memory_bytes) {
        while (cache->used_bytes > cache->memory_bytes - file->size_bytes)
            table_remove(cache, cache->oldest);
        struct cache_entry **bucket = bucket_of(cache, file->key);
        e->refs++;
        e->next = *bucket;
        *bucket = e;
        list_push(cache, e);
        cache->used_bytes += file->size_bytes;
    }
    if (known)
        drop(e);
    pthread_mutex_unlock(&cache->mutex);
    return known ? known : e;
}

const struct cache_value *cache_find(struct cache *cache, const uint8_t key[SHA256_BYTES],
                                     enum cache_level *out_level)
{
    enum cache_level level = CACHE_MEMORY;
    pthread_mutex_lock(&cache->mutex);
    struct cache_entry *e = table_find(cache, key);
    pthread_mutex_unlock(&cache->mutex);
    if (!e && cache->folder) {
        struct cache_file *file = folder_read(cache->folder, key);
        level = CACHE_DISK;
        e = file ? table_add(cache, file) : NULL;
    }
    if (out_level)
        *out_level = e ? level : CACHE_NONE;
    return e ? &e->value : NULL;
}

void cache_release(struct cache *cache, const struct cache_value *value)
{
    if (!value)
        return;
    pthread_mutex_lock(&cache->mutex);
    drop((struct cache_entry *)value); /* value is the entry's first member */
    pthread_mutex_unlock(&cache->mutex);
}

void cache_add(struct cache *cache, const uint8_t key[SHA256_BYTES], const struct iovec *parts,
               int part_count)
{
    size_t size = 0, at = 0;
    for (int i = 0; i < part_count; i++)
        size += parts[i].iov_len;
    if (size > cache->memory_bytes && size > cache->disk_bytes / 4)
        return;
    struct cache_file *file = cache_file_new(size);
    if (!file)
        return;
    memcpy(file->key, key, SHA256_BYTES);
    for (int i = 0; i < part_count; i++) {
        if (parts[i].iov_len > 0)
            memcpy(cache_file_data(file) + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    struct cache_entry *e = table_add(cache, file);
    if (e && cache->folder && size <= cache->disk_bytes / 4 && !folder_has(cache->folder, key)) {
        folder_write(cache->folder, e->file);
        /* One in sixteen keys, in whichever process, causes a check of the folder's size. */
        if (key[SHA256_BYTES - 1] % 16 == 0 || size > cache->disk_bytes / 64)
            folder_trim(cache->folder, cache->disk_bytes);
    }
    if (e)
        cache_release(cache, &e->value);
}
