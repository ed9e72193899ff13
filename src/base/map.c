/* Open addressing with linear probing over a power-of-two table.
 *
 * Invariants:
 * 1. At most 3/4 of the slots are full, so every probe sequence meets an empty one.
 * 2. Entries are never removed, so an empty slot ends a probe sequence.
 * 3. A cursor counts the probes made so far; adding an entry invalidates it. */
#include "base/map.h"

#include <assert.h>
#include <string.h>

#include "base/arena.h"
#include "base/hash.h"

/* The caller's hash may be weak in its low bits, so it is mixed once more. */
static uint32_t home_of(const struct map *map, uint64_t hash)
{
    return (uint32_t)(((hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15u) >> 32) & (map->capacity - 1);
}

bool map_next(const struct map *map, uint64_t hash, uint32_t *cursor, uint32_t *out_id)
{
    if (map->capacity == 0)
        return false;
    uint32_t home = home_of(map, hash);
    for (uint32_t probe = *cursor; probe < map->capacity; probe++) {
        const struct map_slot *slot = &map->slots[(home + probe) & (map->capacity - 1)];
        if (slot->id_plus_1 == 0)
            return false;
        if (slot->hash == hash) {
            *cursor = probe + 1;
            *out_id = slot->id_plus_1 - 1;
            return true;
        }
    }
    return false;
}

static void put(struct map *map, struct map_slot slot)
{
    uint32_t at = home_of(map, slot.hash);
    while (map->slots[at].id_plus_1 != 0)
        at = (at + 1) & (map->capacity - 1);
    map->slots[at] = slot;
}

static void grow(struct map *map, struct arena *arena)
{
    struct map old = *map;
    assert(old.capacity <= UINT32_MAX / 4);
    uint32_t capacity = old.capacity > 0 ? 2 * old.capacity : 16;
    map->slots = ARENA_ARRAY(arena, struct map_slot, capacity);
    map->capacity = capacity;
    for (uint32_t i = 0; i < old.capacity; i++)
        if (old.slots[i].id_plus_1 != 0)
            put(map, old.slots[i]);
}

void map_add(struct map *map, struct arena *arena, uint64_t hash, uint32_t id)
{
    assert(id != UINT32_MAX);
    if (map->count >= map->capacity / 4 * 3)
        grow(map, arena);
    put(map, (struct map_slot){.hash = hash, .id_plus_1 = id + 1});
    map->count++;
}

static bool find_index(const struct strmap *map, uint64_t hash, const char *key, uint32_t *out)
{
    uint32_t cursor = 0, index;
    while (map_next(&map->map, hash, &cursor, &index)) {
        if (strcmp(map->keys[index], key) == 0) {
            *out = index;
            return true;
        }
    }
    return false;
}

bool strmap_find(const struct strmap *map, const char *key, uint32_t *out_value)
{
    uint32_t index;
    if (!find_index(map, hash64(key, strlen(key), 0), key, &index))
        return false;
    *out_value = map->values[index];
    return true;
}

bool strmap_add(struct strmap *map, struct arena *arena, const char *key, uint32_t value)
{
    uint64_t hash = hash64(key, strlen(key), 0);
    uint32_t index;
    if (find_index(map, hash, key, &index))
        return false;
    if (map->count == map->capacity) {
        uint32_t capacity = map->capacity;
        map->keys = vec_grow(arena, map->keys, &capacity, sizeof *map->keys);
        map->values = vec_grow(arena, map->values, &map->capacity, sizeof *map->values);
    }
    map_add(&map->map, arena, hash, map->count);
    map->keys[map->count] = key;
    map->values[map->count] = value;
    map->count++;
    return true;
}
