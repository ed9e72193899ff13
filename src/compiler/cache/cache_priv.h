/* Shared by the files of this room: entries, and the folder. */
#ifndef URZA_COMPILER_CACHE_CACHE_PRIV_H
#define URZA_COMPILER_CACHE_CACHE_PRIV_H

#include <stdbool.h>

#include "compiler/cache/cache.h"

/* A file of the folder: this header, then the value. In memory both are one allocation, so that a
 * file is read into it as it is. */
struct cache_file {
    char magic[8];
    uint64_t size_bytes; /* of the value, which follows */
    uint8_t key[SHA256_BYTES];
    uint8_t digest[SHA256_BYTES]; /* SHA-256 of the value */
    uint8_t padding[48];          /* zero; makes the value 64-aligned */
};

struct cache_entry {
    struct cache_value value; /* first, because callers hold a pointer to it */
    struct cache_file *file;
    uint32_t refs;                     /* one of the table, and one of each caller that holds it */
    struct cache_entry *next;          /* in its bucket */
    struct cache_entry *newer, *older; /* list in the order of last use */
};

/* Memory for a value of that size, its header zero and the value not initialised; NULL: no memory.
 * Released by free. */
struct cache_file *cache_file_new(size_t size);
static inline uint8_t *cache_file_data(struct cache_file *file)
{
    return (uint8_t *)(file + 1);
}

/* folder.c. Paths are folder/KK/K…, with 2 and 62 hex digits of the key. */
/* Creates the folder if needed; false if it must not be used. */
bool folder_usable(const char *folder);
struct cache_file *folder_read(const char *folder, const uint8_t key[SHA256_BYTES]);
bool folder_has(const char *folder, const uint8_t key[SHA256_BYTES]);
void folder_write(const char *folder, const struct cache_file *file);
/* If there are more than limit_bytes, removes the least recently used values until at most 3/4 of
 * that are left. Also removes abandoned temporary files. */
void folder_trim(const char *folder, uint64_t limit_bytes);

#endif
