/* The shape cache: a set-associative table of immutable entries, read and written without locks,
 * since a lock that one thread holds while another forks would stay locked in the child.
 *
 * Entries are replaced, so a reader must prevent the one it uses from being freed. Each context
 * points to its entry; that pointer is a hazard pointer, called the context's claim. It is not
 * cleared after the call, so that the next call with the same shapes only has to compare the key.
 *
 * 1. A reader claims an entry, then checks that the slot still holds it. Only then does it read the
 *    entry.
 * 2. A writer first removes an entry from its slot, then puts it on the retired list. A thread that
 *    frees entries takes the whole list, so that it alone has them, and then reads all claims.
 *    These operations are sequentially consistent, so either the reader sees the slot change or the
 *    freeing thread sees the claim.
 * 3. Claimed entries go back to the retired list for the next writer; there is at most one for each
 *    context.
 * 4. Threads that lay out the same shape at the same time may each publish an entry, and two
 *    writers of one slot may leave the entry of one with the hash of the other. Either only costs
 *    laying out a shape again. In the child of a fork, entries that other threads had taken are
 *    leaked, but nothing else happens. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "runtime/runtime_priv.h"

static bool same_key(const struct urza_module *module, const struct shape_entry *entry,
                     const int64_t *key)
{
    return module->key_count == 0 || memcmp(entry->key, key, module->key_count * sizeof *key) == 0;
}

static void claim(struct call_context *context, struct shape_entry *entry)
{
    atomic_store(&context->entry, entry);
    context->table_filled = false;
}

/* Finds and claims the entry in the set with the context's key; NULL when there is none. */
static struct shape_entry *find_in_set(struct urza_module *module, struct call_context *context,
                                       uint64_t hash, uint32_t set)
{
    struct shape_cache *cache = &module->shapes;
    for (uint32_t way = 0; way < SHAPE_WAYS; way++) {
        if (atomic_load_explicit(&cache->hashes[set][way], memory_order_relaxed) != hash)
            continue;
        struct shape_entry *entry = atomic_load(&cache->entries[set][way]);
        if (!entry)
            continue;
        claim(context, entry);
        if (atomic_load(&cache->entries[set][way]) == entry &&
            same_key(module, entry, context->key))
            return entry;
        claim(context, NULL);
    }
    return NULL;
}

static bool claimed(struct urza_module *module, const struct shape_entry *entry)
{
    uint32_t count = atomic_load(&module->contexts.count);
    for (uint32_t i = 0; i < count; i++) {
        struct call_context *context =
            (struct call_context *)atomic_load(&module->contexts.items[i]);
        if (context && atomic_load(&context->entry) == entry)
            return true;
    }
    return false;
}

static void retire(struct shape_cache *cache, struct shape_entry *entry)
{
    struct shape_entry *first = atomic_load(&cache->retired);
    do
        entry->older = first;
    while (!atomic_compare_exchange_weak(&cache->retired, &first, entry));
}

static void free_unclaimed(struct urza_module *module)
{
    struct shape_entry *entry = atomic_exchange(&module->shapes.retired, NULL);
    while (entry) {
        struct shape_entry *older = entry->older;
        if (claimed(module, entry))
            retire(&module->shapes, entry);
        else
            free(entry);
        entry = older;
    }
}

/* Replaces the oldest entry of the set. */
static void publish(struct urza_module *module, struct shape_entry *entry, uint32_t set)
{
    struct shape_cache *cache = &module->shapes;
    uint32_t way = atomic_fetch_add(&cache->oldest[set], 1) % SHAPE_WAYS;
    struct shape_entry *old = atomic_exchange(&cache->entries[set][way], entry);
    atomic_store_explicit(&cache->hashes[set][way], entry->hash, memory_order_relaxed);
    if (old)
        retire(cache, old);
    free_unclaimed(module);
}

/* Makes an entry for a new shape; if another thread has published one meanwhile, that one is
 * used. */
static struct shape_entry *add_entry(struct urza_module *module, struct call_context *context,
                                     uint64_t hash, uint32_t set, struct error *err)
{
    struct shape_entry *entry = shape_entry_new(module, context, hash, err);
    if (!entry)
        return NULL;
    struct shape_entry *found = find_in_set(module, context, hash, set);
    if (!found) {
        claim(context, entry);
        publish(module, entry, set);
    }
    stat_add(&context->stats.shape_misses, 1);
    if (found) {
        free(entry);
        return found;
    }
    atomic_store_explicit(&module->owner->arena_bytes, entry->scratch_offset, memory_order_relaxed);
    atomic_store_explicit(&module->owner->intermediate_bytes, entry->intermediate_bytes,
                          memory_order_relaxed);
    return entry;
}

const struct shape_entry *shapes_find(struct urza_module *module, struct call_context *context,
                                      struct error *err)
{
    struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    if (entry && same_key(module, entry, context->key))
        return entry;
    uint64_t hash = hash64(context->key, module->key_count * sizeof *context->key, 0);
    uint32_t set = (uint32_t)(hash % SHAPE_SETS);
    entry = find_in_set(module, context, hash, set);
    return entry ? entry : add_entry(module, context, hash, set, err);
}

void shapes_release(struct urza_module *module)
{
    for (uint32_t set = 0; set < SHAPE_SETS; set++)
        for (uint32_t way = 0; way < SHAPE_WAYS; way++)
            free(module->shapes.entries[set][way]);
    for (struct shape_entry *entry = module->shapes.retired; entry;) {
        struct shape_entry *older = entry->older;
        free(entry);
        entry = older;
    }
}
