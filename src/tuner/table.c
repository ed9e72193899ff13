/* What is known, by key, and which of two entries stays. */
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
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

/* A total order, so that merging in any order ends in the same table. */
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

bool table_merge(struct table *table, const struct entry *entry)
{
    struct entry *known = table_find(table, entry->key);
    if (known && compare(entry, known) <= 0)
        return false;
    if (!known) {
        known = ARENA_NEW(table->arena, struct entry);
        memcpy(known->key, entry->key, sizeof known->key);
        strmap_add(&table->by_key, table->arena, known->key, table->entries.count);
        VEC_PUSH(table->arena, &table->entries, known);
    }
    *known = *entry;
    known->invocation = arena_strdup(table->arena, entry->invocation);
    known->timings = entry->timings ? arena_strdup(table->arena, entry->timings) : NULL;
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
        json_t *measured = json_pack("{s:I, s:f, s:f}", "at", (json_int_t)entry->at, "heuristic_ns",
                                     entry->heuristic_ns, "ns", entry->ns);
        strbuf_puts(out, ",\"measured\":");
        json_write_canonical(measured, out);
        json_decref(measured);
        out->data[--out->size_bytes] = '\0'; /* the bracket, for one more field */
        strbuf_printf(out, ",\"timings\":%s}", entry->timings);
    }
    strbuf_puts(out, "}");
}
