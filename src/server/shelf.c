/* Shards, each a hash table and an LRU list under its own lock. All shards share one limit: adding
 * evicts least recently used values, first of the value's own shard, then of others. */
#include "server/shelf.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SHARDS 16
#define CHAINS 4096
#define ENTRY_BYTES 256 /* overhead counted for each entry */

struct entry {
    uint8_t key[SHA256_BYTES];
    struct shelf_value *value;
    struct entry *chain;
    struct entry *newer, *older;
};

struct shard {
    pthread_mutex_t lock;
    struct entry *chains[CHAINS];
    struct entry *newest, *oldest;
    size_t bytes;
    uint64_t count;
};

struct shelf {
    size_t most;
    atomic_size_t bytes; /* sum over all shards */
    atomic_ullong epoch;
    struct shard shards[SHARDS];
};

struct shelf *shelf_new(size_t bytes)
{
    struct shelf *shelf = calloc(1, sizeof *shelf);
    if (!shelf)
        return NULL;
    shelf->most = bytes;
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_init(&shelf->shards[i].lock, NULL);
    return shelf;
}

struct shelf_value *shelf_value_new(const char *data, size_t size)
{
    struct shelf_value *value = calloc(1, sizeof *value);
    if (!value)
        return NULL;
    value->data = data;
    value->size_bytes = size;
    atomic_init(&value->refs, 1);
    return value;
}

void shelf_unref(struct shelf_value *value)
{
    if (!value || atomic_fetch_sub(&value->refs, 1) != 1)
        return;
    if (value->release)
        value->release(value);
    else
        free((void *)(uintptr_t)value->data);
    free(value);
}

void shelf_give_back(void *value)
{
    shelf_unref(value);
}

static struct shard *shard_of(struct shelf *shelf, const uint8_t *key)
{
    return &shelf->shards[key[0] % SHARDS];
}

static struct entry **chain_of(struct shard *shard, const uint8_t *key)
{
    return &shard->chains[(key[1] | (uint32_t)key[2] << 8) % CHAINS];
}

static void unlink_use(struct shard *shard, struct entry *entry)
{
    *(entry->newer ? &entry->newer->older : &shard->newest) = entry->older;
    *(entry->older ? &entry->older->newer : &shard->oldest) = entry->newer;
}

static void link_newest(struct shard *shard, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = shard->newest;
    *(shard->newest ? &shard->newest->newer : &shard->oldest) = entry;
    shard->newest = entry;
}

/* The counted size of a value; one whose data is in a mapped file and not in this process's memory
 * counts only in part. */
static size_t counted(const struct shelf *shelf, const struct shelf_value *value)
{
    size_t part = shelf->most / 4, bytes = value->size_bytes + ENTRY_BYTES;
    return value->release && bytes > part ? part : bytes;
}

static void drop(struct shelf *shelf, struct shard *shard, struct entry *entry)
{
    size_t bytes = counted(shelf, entry->value);
    struct entry **at = chain_of(shard, entry->key);
    while (*at != entry)
        at = &(*at)->chain;
    *at = entry->chain;
    unlink_use(shard, entry);
    shard->bytes -= bytes;
    atomic_fetch_sub(&shelf->bytes, bytes);
    shard->count--;
    shelf_unref(entry->value);
    free(entry);
}

static struct entry *look(struct shard *shard, const uint8_t *key)
{
    struct entry *entry = *chain_of(shard, key);
    while (entry && memcmp(entry->key, key, SHA256_BYTES) != 0)
        entry = entry->chain;
    return entry;
}

struct shelf_value *shelf_find(struct shelf *shelf, const uint8_t key[SHA256_BYTES])
{
    struct shard *shard = shard_of(shelf, key);
    struct shelf_value *value = NULL;
    pthread_mutex_lock(&shard->lock);
    struct entry *entry = look(shard, key);
    if (entry) {
        value = entry->value;
        atomic_fetch_add(&value->refs, 1);
        unlink_use(shard, entry);
        link_newest(shard, entry);
    }
    pthread_mutex_unlock(&shard->lock);
    return value;
}

uint64_t shelf_epoch(const struct shelf *shelf)
{
    return atomic_load(&shelf->epoch);
}

/* Evicts least recently used values of other shards while the limit is exceeded. */
static void shrink(struct shelf *shelf, const struct shard *but)
{
    for (int i = 0; i < SHARDS && atomic_load(&shelf->bytes) > shelf->most; i++) {
        struct shard *shard = &shelf->shards[i];
        if (shard == but)
            continue;
        pthread_mutex_lock(&shard->lock);
        while (shard->oldest && atomic_load(&shelf->bytes) > shelf->most)
            drop(shelf, shard, shard->oldest);
        pthread_mutex_unlock(&shard->lock);
    }
}

void shelf_add(struct shelf *shelf, const uint8_t key[SHA256_BYTES], struct shelf_value *value,
               uint64_t epoch)
{
    struct shard *shard = shard_of(shelf, key);
    size_t bytes = counted(shelf, value);
    struct entry *entry = bytes <= shelf->most / 2 ? calloc(1, sizeof *entry) : NULL;
    if (!entry)
        return; /* too large: not stored */
    pthread_mutex_lock(&shard->lock);
    if (atomic_load(&shelf->epoch) != epoch) { /* a kernel that the value was made from may have
                                                  been forgotten meanwhile */
        pthread_mutex_unlock(&shard->lock);
        free(entry);
        return;
    }
    struct entry *before = look(shard, key);
    if (before)
        drop(shelf, shard, before);
    memcpy(entry->key, key, SHA256_BYTES);
    entry->value = value;
    atomic_fetch_add(&value->refs, 1);
    struct entry **chain = chain_of(shard, key);
    entry->chain = *chain;
    *chain = entry;
    link_newest(shard, entry);
    shard->bytes += bytes;
    shard->count++;
    atomic_fetch_add(&shelf->bytes, bytes);
    while (atomic_load(&shelf->bytes) > shelf->most && shard->oldest != entry)
        drop(shelf, shard, shard->oldest);
    pthread_mutex_unlock(&shard->lock);
    shrink(shelf, shard);
}

void shelf_forget(struct shelf *shelf, const char *kernel)
{
    atomic_fetch_add(&shelf->epoch, 1);
    for (int i = 0; i < SHARDS; i++) {
        struct shard *shard = &shelf->shards[i];
        pthread_mutex_lock(&shard->lock);
        for (struct entry *entry = shard->newest, *older; entry; entry = older) {
            older = entry->older;
            if (!kernel || strcmp(entry->value->kernel, kernel) == 0)
                drop(shelf, shard, entry);
        }
        pthread_mutex_unlock(&shard->lock);
    }
}

void shelf_size(struct shelf *shelf, uint64_t *out_count, uint64_t *out_bytes)
{
    *out_count = *out_bytes = 0;
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&shelf->shards[i].lock);
        *out_count += shelf->shards[i].count;
        *out_bytes += shelf->shards[i].bytes;
        pthread_mutex_unlock(&shelf->shards[i].lock);
    }
}

void shelf_free(struct shelf *shelf)
{
    if (!shelf)
        return;
    shelf_forget(shelf, NULL);
    for (int i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&shelf->shards[i].lock);
    free(shelf);
}
