/* Inside the cache: entries, and the folder. */
#ifndef URZA_COMPILER_CACHE_CACHE_PRIV_H
#define URZA_COMPILER_CACHE_CACHE_PRIV_H

#include <stdbool.h>

#include "compiler/cache/cache.h"

/* A value, with what a file says ahead of it. Both are one piece of memory, so that a file is read
 * as it is. */
struct cache_file {
    char magic[8];
    uint64_t size_bytes; /* of the value, behind this header */
    uint8_t key[SHA256_BYTES];
    uint8_t digest[SHA256_BYTES]; /* SHA-256 of the value */
    uint8_t padding[48];          /* zero; keeps the value 64-aligned */
};

struct cache_entry {
    struct cache_value value; /* first: what callers hold */
    struct cache_file *file;
    uint32_t refs;                     /* the table's, and one for each caller that holds it */
    struct cache_entry *next;          /* in its bucket */
    struct cache_entry *newer, *older; /* by last use */
};

/* Uninitialised memory for a value of that size; NULL: none. Released by free. */
struct cache_file *cache_file_new(size_t size);
static inline uint8_t *cache_file_data(struct cache_file *file)
{
    return (uint8_t *)(file + 1);
}

/* folder.c. Paths are folder/KK/K…, 2 and 62 hex digits of the key. */
bool folder_usable(const char *folder); /* makes it */
struct cache_file *folder_read(const char *folder, const uint8_t key[SHA256_BYTES]);
bool folder_has(const char *folder, const uint8_t key[SHA256_BYTES]);
void folder_write(const char *folder, const struct cache_file *file);
/* Removes the values used least recently until at most 3/4 of limit_bytes are left, if there are
 * more than limit_bytes; and temporary files that were left behind. */
void folder_trim(const char *folder, uint64_t limit_bytes);

#endif
