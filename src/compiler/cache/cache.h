/* What was compiled before: values by the digest of all that decides their bytes.
 *
 * Two levels: memory, for this process, and a folder, for all processes of a user and for later.
 * Both are bounded and drop what was not used for longest. A cache never makes anything fail: no
 * memory, a full or read-only disk, a damaged or truncated file are misses (and such a file is
 * removed). The folder is used only while it belongs to this user and nobody else may write it,
 * because what lies in it ends up as code that runs.
 *
 * Any number of threads and processes may use one folder; any number of threads one struct cache.
 * A process that forks has the memory level in the child as it was, and shares the folder. The
 * child must not be forked while another thread is inside a call. */
#ifndef URZA_COMPILER_CACHE_CACHE_H
#define URZA_COMPILER_CACHE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

struct cache;
struct iovec;

struct cache_options {
    size_t memory_bytes; /* 0: 128 MiB */
    const char *folder;  /* copied; made when it is missing; NULL: memory only */
    uint64_t disk_bytes; /* 0: 1 GiB; may be passed for a moment */
};

enum cache_level { CACHE_NONE, CACHE_MEMORY, CACHE_DISK };

struct cache_value {
    const uint8_t *data; /* 64-aligned */
    size_t size_bytes;
};

struct cache *cache_new(const struct cache_options *options); /* NULL: no memory */
const char *cache_folder(const struct cache *cache); /* that is in use; NULL: memory only */
/* After all values were released; NULL is fine. */
void cache_free(struct cache *cache);

/* NULL when nothing is kept under key. The value stays as it is until cache_release. out_level, if
 * given, says where it was. */
const struct cache_value *cache_find(struct cache *cache, const uint8_t key[SHA256_BYTES],
                                     enum cache_level *out_level);
void cache_release(struct cache *cache, const struct cache_value *value); /* NULL is fine */

/* Keeps the parts, one behind the other, under key, if it can. One key has one value for ever: what
 * is there already stays. */
void cache_add(struct cache *cache, const uint8_t key[SHA256_BYTES], const struct iovec *parts,
               int part_count);

/* A digest of the sources of the compiler and all below it: part of every key, so that no value
 * outlives the code that made it. */
const char *cache_revision(void);

#endif
