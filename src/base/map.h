/* Hash tables in an arena: `map` finds u32 ids by a 64-bit hash (the caller compares the keys),
 * `strmap` finds them by a string. Tables only grow; {0} is an empty one. One thread at a time. */
#ifndef URZA_BASE_MAP_H
#define URZA_BASE_MAP_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

struct arena;

struct map_slot {
    uint64_t hash;
    uint32_t id_plus_1; /* 0: empty */
};

struct map {
    struct map_slot *slots;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t count;
};

/* Iterates over the ids stored under hash: start with *cursor = 0; false when there are no more. */
bool map_next(const struct map *map, uint64_t hash, uint32_t *cursor, uint32_t *out_id);
void map_add(struct map *map, struct arena *arena, uint64_t hash, uint32_t id);

struct strmap {
    struct map map;
    const char **keys; /* borrowed from the caller for the life of the map; in the order in which
                          they were added */
    uint32_t *values;
    uint32_t count, capacity;
};

bool strmap_find(const struct strmap *map, const char *key, uint32_t *out_value);
/* Adds key (not copied). False, and no change, when it is already there. */
bool strmap_add(struct strmap *map, struct arena *arena, const char *key, uint32_t value);

#endif
