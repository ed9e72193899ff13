/* The table of entries by key, and which of two entries with the same key it has. */
#include <inttypes.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

void table_init(struct table *table, struct arena *arena)
{
    *table = (struct table){.arena = arena};
}

struct entry *table_find(const struct table *table, const char *key)
{
    uint32_t at;
    return strmap_find(&table->by_key, key, &at) ? table->entries.items[at] : NULL;
}

/* A total order, so that merging in any order gives the same table. */
static int compare(const struct entry *a, const struct entry *b)
{
    if (a->measured != b->measured)
        return a->measured ? 1 : -1;
    if (!a->measured)
        return 0;
    if (a->at != b->at)
        return a->at > b->at ? 1 : -1;
    if (a->ns < b->ns || a->ns > b->ns)
        return a->ns < b->ns ? 1 : -1;
    int order = memcmp(&a->config, &b->config, sizeof a->config);
    if (order == 0 && (a->heuristic_ns < b->heuristic_ns || a->heuristic_ns > b->heuristic_ns))
        order = a->heuristic_ns < b->heuristic_ns ? 1 : -1;
    return order != 0 ? order : strcmp(a->timings, b->timings);
}

/* All allocations come first, so the table is unchanged if memory runs out. */
bool table_merge(struct table *table, const struct entry *entry)
{
    struct entry *known = table_find(table, entry->key);
    if (known && compare(entry, known) <= 0)
        return false;
    struct entry copy = *entry;
    copy.invocation = arena_strdup(table->arena, entry->invocation);
    copy.timings = entry->timings ? arena_strdup(table->arena, entry->timings) : NULL;
    if (known) {
        *known = copy;
        return true;
    }
    known = arena_memdup(table->arena, &copy, sizeof copy);
    VEC_PUSH(table->arena, &table->entries, known);
    table->entries.count--; /* until it can be found: the map's allocation may fail */
    strmap_add(&table->by_key, table->arena, known->key, table->entries.count);
    table->entries.count++;
    return true;
}

void entry_print(const struct entry *entry, struct strbuf *out)
{
    strbuf_puts(out, "{");
    if (entry->measured) {
        strbuf_puts(out, "\"config\":");
        config_print(&entry->config, out);
        strbuf_puts(out, ",");
    }
    strbuf_printf(out, "\"device\":\"%s\",\"invocation\":%s", entry->device, entry->invocation);
    if (entry->measured) {
        strbuf_printf(out, ",\"measured\":{\"at\":%" PRId64 ",\"heuristic_ns\":", entry->at);
        strbuf_double(out, entry->heuristic_ns);
        strbuf_puts(out, ",\"ns\":");
        strbuf_double(out, entry->ns);
        strbuf_printf(out, ",\"timings\":%s}", entry->timings);
    }
    strbuf_puts(out, "}");
}
