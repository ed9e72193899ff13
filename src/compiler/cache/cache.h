/* A cache of compilation results. A key is a digest of everything that decides a value's bytes.
 *
 * It has two levels: memory, for this process, and a folder, for all processes of a user and for
 * later ones. Both are bounded and evict the least recently used values. A cache never makes a
 * compilation fail: out of memory, a full or read-only disk, a damaged or truncated file are misses
 * (and such a file is removed). The folder is used only if it belongs to this user and nobody else
 * may write to it, because its contents are executed.
 *
 * Any number of threads may use one struct cache, and any number of processes one folder. After a
 * fork, the child has a copy of the memory level and shares the folder. A process must not fork
 * while another thread is inside a call. */
#ifndef URZA_COMPILER_CACHE_CACHE_H
#define URZA_COMPILER_CACHE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

struct cache;
struct iovec;

struct cache_options {
    size_t memory_bytes; /* 0: 128 MiB */
    const char *folder;  /* copied; created if it does not exist; NULL: memory only */
    uint64_t disk_bytes; /* 0: 1 GiB; may be exceeded for a short time */
};

enum cache_level { CACHE_NONE, CACHE_MEMORY, CACHE_DISK };

struct cache_value {
    const uint8_t *data; /* 64-aligned */
    size_t size_bytes;
};

struct cache *cache_new(const struct cache_options *options); /* NULL: no memory */
/* The folder in use; NULL: memory only. */
const char *cache_folder(const struct cache *cache);
/* All values must have been released. NULL is allowed. */
void cache_free(struct cache *cache);

/* NULL when there is no value for key. The value does not change until cache_release. out_level, if
 * given, says where it was found. */
const struct cache_value *cache_find(struct cache *cache, const uint8_t key[SHA256_BYTES],
                                     enum cache_level *out_level);
void cache_release(struct cache *cache, const struct cache_value *value); /* NULL is allowed */

/* Adds a value, the concatenation of the parts, if possible. A key has one value for ever: an
 * existing one is not replaced. */
void cache_add(struct cache *cache, const uint8_t key[SHA256_BYTES], const struct iovec *parts,
               int part_count);

/* A digest of the sources of the compiler and of everything below it. It is part of every key, so
 * that a changed compiler does not find old values. */
const char *cache_revision(void);

#endif
