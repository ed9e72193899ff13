/* The entries of a tuner: listing, exporting, importing and deleting them; and measuring recorded
 * invocations. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "tuner/visit_priv.h"

/* Merges the entries in memory and in the cache into one table. */
static void gather(struct visit *visit, struct table *out)
{
    const urza_tuner *tuner = visit->tuner;
    table_init(out, &visit->arena);
    tuner_refresh(visit);
    visit_lock(visit);
    for (uint32_t i = 0; i < tuner->disk.table.entries.count; i++)
        table_merge(out, tuner->disk.table.entries.items[i]);
    for (uint32_t i = 0; i < tuner->memory->known.entries.count; i++)
        table_merge(out, tuner->memory->known.entries.items[i]);
    visit_unlock(visit);
}

static const char *op_of(const json_t *invocation)
{
    const char *op = json_string_value(json_object_get(invocation, "op"));
    return op ? op : "";
}

struct listed {
    const struct entry *entry;
    json_t *invocation;
};

static int compare_listed(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    int order = strcmp(op_of(x->invocation), op_of(y->invocation));
    return order != 0 ? order : strcmp(x->entry->key, y->entry->key);
}

static void print_summary(const struct listed *l, struct strbuf *out)
{
    static const char *const fields[] = {"op", "operands", "result", "target"};
    strbuf_puts(out, "{");
    if (l->entry->measured) {
        strbuf_printf(out, "\"at\":%" PRId64 ",\"config\":", l->entry->at);
        config_print(&l->entry->config, out);
        strbuf_puts(out, ",\"heuristic_ns\":");
        strbuf_double(out, l->entry->heuristic_ns);
        strbuf_puts(out, ",");
    }
    strbuf_printf(out, "\"key\":\"%s\"", l->entry->key);
    if (l->entry->measured) {
        strbuf_puts(out, ",\"ns\":");
        strbuf_double(out, l->entry->ns);
    }
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        strbuf_printf(out, ",\"%s\":", fields[i]);
        json_write_canonical(json_object_get(l->invocation, fields[i]), out);
    }
    strbuf_puts(out, "}");
}

/* The entries with their invocations read, sorted by op and key. */
static bool sorted(const struct table *table, struct listed **out, struct error *err)
{
    struct listed *list = ARENA_ARRAY(table->arena, struct listed, table->entries.count + 1);
    for (uint32_t i = 0; i < table->entries.count; i++) {
        const char *invocation = table->entries.items[i]->invocation;
        list[i].entry = table->entries.items[i];
        list[i].invocation = json_read_in(table->arena, invocation, strlen(invocation), err);
        if (!list[i].invocation)
            return false;
    }
    qsort(list, table->entries.count, sizeof *list, compare_listed);
    *out = list;
    return true;
}

static bool list_entries(struct visit *visit, void *context, struct error *err)
{
    struct table all;
    struct listed *items;
    struct strbuf text;
    gather(visit, &all);
    if (!sorted(&all, &items, err))
        return false;
    strbuf_init(&text, &visit->arena);
    strbuf_puts(&text, "[");
    for (uint32_t i = 0; i < all.entries.count; i++) {
        strbuf_puts(&text, i > 0 ? "," : "");
        print_summary(&items[i], &text);
    }
    strbuf_puts(&text, "]");
    return tune_give(&text, context, err);
}

URZA_EXPORT int urza_tuner_list(urza_tuner *tuner, char **list, urza_error *err)
{
    struct error e;
    return tune_result(visit_run(tuner, list_entries, list, &e), &e, err);
}

/* The only entry whose key has this prefix. */
static const struct entry *find_beginning(const struct table *table, const char *key,
                                          struct error *err)
{
    const struct entry *found = NULL;
    for (uint32_t i = 0; key[0] && i < table->entries.count; i++) {
        const struct entry *entry = table->entries.items[i];
        if (strncmp(entry->key, key, strlen(key)) != 0)
            continue;
        if (found) {
            fail(err, ERR_USAGE, "more than one key begins with '%.64s'", key);
            return NULL;
        }
        found = entry;
    }
    if (!found)
        fail(err, ERR_NOT_FOUND, "nothing is known of a key '%.64s'", key);
    return found;
}

struct showing {
    const char *key;
    char **entry;
};

static bool show(struct visit *visit, void *context, struct error *err)
{
    const struct showing *showing = context;
    struct table all;
    struct strbuf text;
    gather(visit, &all);
    const struct entry *found = find_beginning(&all, showing->key, err);
    if (!found)
        return false;
    strbuf_init(&text, &visit->arena);
    entry_print(found, &text);
    return tune_give(&text, showing->entry, err);
}

URZA_EXPORT int urza_tuner_show(urza_tuner *tuner, const char *key, char **entry, urza_error *err)
{
    struct error e;
    struct showing showing = {key, entry};
    return tune_result(visit_run(tuner, show, &showing, &e), &e, err);
}

static bool print_all(struct visit *visit, void *context, struct error *err)
{
    struct table all;
    struct strbuf printed;
    gather(visit, &all);
    strbuf_init(&printed, &visit->arena);
    cache_print(&all, &printed);
    return tune_give(&printed, context, err);
}

URZA_EXPORT int urza_tuner_export(urza_tuner *tuner, char **text, urza_error *err)
{
    struct error e;
    return tune_result(visit_run(tuner, print_all, text, &e), &e, err);
}

/* Writes entries of other devices to the files of those devices; memory has only entries of this
 * one. */
static void import_foreign(urza_tuner *tuner, const struct table *all)
{
    struct warner warner = tuner_warner(tuner);
    for (uint32_t i = 0; i < all->entries.count; i++) {
        const struct entry *first = all->entries.items[i];
        bool done = strcmp(first->device, tuner->device.fingerprint) == 0;
        for (uint32_t j = 0; j < i && !done; j++)
            done = strcmp(all->entries.items[j]->device, first->device) == 0;
        if (done || !tuner->file.folder)
            continue;
        struct table same;
        struct cache_file file;
        table_init(&same, all->arena);
        for (uint32_t j = i; j < all->entries.count; j++)
            if (strcmp(all->entries.items[j]->device, first->device) == 0)
                table_merge(&same, all->entries.items[j]);
        cache_file_init(&file, all->arena, tuner->file.folder, first->device);
        cache_file_merge(&file, &same, true, &warner);
    }
}

struct import {
    const char *text;
    size_t size;
    uint32_t entries;
};

static bool import(struct visit *visit, void *context, struct error *err)
{
    struct import *import = context;
    urza_tuner *tuner = visit->tuner;
    struct table all;
    struct cache_damage found;
    table_init(&all, &visit->arena);
    if (!cache_parse(import->text, import->size, NULL, &all, &found, err))
        return false;
    if (found.lines > 0)
        return fail(err, ERR_JSON, "%s", found.message);
    visit_lock(visit);
    struct memory *memory = tuner->memory;
    for (uint32_t i = 0; i < all.entries.count; i++) {
        const struct entry *entry = all.entries.items[i];
        if (strcmp(entry->device, tuner->device.fingerprint) != 0)
            continue;
        table_merge(&memory->known, entry);
        table_merge(&memory->pending, entry);
        memory->pending_count++;
    }
    visit_unlock(visit);
    tuner_flush(visit, true);
    import_foreign(tuner, &all);
    import->entries = all.entries.count;
    return true;
}

URZA_EXPORT int urza_tuner_import(urza_tuner *tuner, const char *text, size_t size,
                                  uint32_t *entries, urza_error *err)
{
    struct error e;
    struct import wanted = {text, size, 0};
    bool ok = visit_run(tuner, import, &wanted, &e);
    if (ok && entries)
        *entries = wanted.entries;
    return tune_result(ok, &e, err);
}

struct match {
    const char *text;
    struct arena *arena; /* scratch memory for reading one entry */
    uint32_t count;      /* entries that matched */
};

static bool matches(void *context, const struct entry *entry)
{
    const struct match *match = context;
    struct invocation invocation;
    struct error err;
    size_t size = strlen(match->text);
    if (strcmp(match->text, "*") == 0 || (size >= 8 && strncmp(entry->key, match->text, size) == 0))
        return true;
    bool same = invocation_read(entry->invocation, strlen(entry->invocation), match->arena,
                                &invocation, NULL, &err) &&
                strcmp(invocation.op, match->text) == 0;
    arena_release(match->arena);
    return same;
}

/* Adds matching entries to dropped and the others to rest; NULL: not needed. */
static void divide(const struct table *table, struct match *match, struct table *dropped,
                   struct table *rest)
{
    for (uint32_t i = 0; i < table->entries.count; i++) {
        const struct entry *entry = table->entries.items[i];
        if (matches(match, entry))
            table_merge(dropped, entry);
        else if (rest)
            table_merge(rest, entry);
    }
}

/* Entries are deleted from the file first: otherwise another thread could read them from it again
 * in between. */
static bool clear(struct visit *visit, void *context, struct error *err)
{
    urza_tuner *tuner = visit->tuner;
    struct match *match = context;
    struct table dropped, known, pending;
    struct warner warner = tuner_warner(tuner);
    (void)err;
    match->arena = arena_inside(&visit->arena);
    table_init(&dropped, &visit->arena);
    tuner_refresh(visit);
    cache_file_remove(&tuner->file, &visit->arena, matches, match, &warner);
    visit_lock(visit);
    struct memory *memory = tuner->memory;
    table_init(&known, &memory->arena);
    table_init(&pending, &memory->arena);
    divide(&tuner->disk.table, match, &dropped, NULL);
    divide(&memory->pending, match, &dropped, &pending);
    divide(&memory->known, match, &dropped, &known);
    memory->known = known;
    memory->pending = pending;
    memory->pending_count++;
    arena_release(&tuner->disk.arena); /* the file will be read again */
    table_init(&tuner->disk.table, &tuner->disk.arena);
    tuner->disk.seen = (struct cache_stamp){0};
    tuner->clears++;
    visit_unlock(visit);
    match->count = dropped.entries.count;
    return true;
}

URZA_EXPORT int urza_tuner_clear(urza_tuner *tuner, const char *match, uint32_t *entries,
                                 urza_error *err)
{
    struct error e;
    struct match wanted = {.text = match};
    if (strspn(match, "0123456789abcdef") == strlen(match) && strlen(match) < 8) {
        fail(&e, ERR_USAGE, "'%.64s' is too short for a key: 8 digits at least", match);
        return tune_result(false, &e, err);
    }
    bool ok = visit_run(tuner, clear, &wanted, &e);
    if (ok && entries)
        *entries = wanted.count;
    return tune_result(ok, &e, err);
}

struct tuning {
    const char *invocation;
    double budget_s;
    char **entry;
};

static bool tune(struct visit *visit, void *context, struct error *err)
{
    const struct tuning *tuning = context;
    struct invocation found;
    struct entry measured;
    struct strbuf text;
    if (!invocation_read(tuning->invocation, strlen(tuning->invocation), &visit->arena, &found,
                         NULL, err) ||
        !tuner_measure(visit, &found, tuning->budget_s, &measured, err))
        return false;
    if (!tuning->entry)
        return true;
    strbuf_init(&text, &visit->arena);
    entry_print(&measured, &text);
    return tune_give(&text, tuning->entry, err);
}

URZA_EXPORT int urza_tuner_tune(urza_tuner *tuner, const char *invocation, double budget_s,
                                char **entry, urza_error *err)
{
    struct error e;
    struct tuning tuning = {invocation, budget_s, entry};
    return tune_result(visit_run(tuner, tune, &tuning, &e), &e, err);
}

static bool wants_tuning(const struct listed *l)
{
    const json_t *target = json_object_get(l->invocation, "target");
    const char *name = json_string_value(target);
    return !l->entry->measured && name && target_supported_here(name);
}

struct recorded {
    double budget_s;
    uint32_t tuned;
};

static bool tune_recorded(struct visit *visit, void *context, struct error *err)
{
    struct recorded *recorded = context;
    struct table all;
    struct listed *items;
    uint32_t wanted = 0;
    struct warner warner = tuner_warner(visit->tuner);
    gather(visit, &all);
    if (!sorted(&all, &items, err))
        return false;
    for (uint32_t i = 0; i < all.entries.count; i++)
        wanted += wants_tuning(&items[i]);
    for (uint32_t i = 0; i < all.entries.count; i++) {
        urza_error problem;
        if (!wants_tuning(&items[i]))
            continue;
        if (urza_tuner_tune(visit->tuner, items[i].entry->invocation, recorded->budget_s / wanted,
                            NULL, &problem) == 0)
            recorded->tuned++;
        else
            warner.warn(warner.context, problem.message);
    }
    return true;
}

URZA_EXPORT int urza_tuner_tune_recorded(urza_tuner *tuner, double budget_s, uint32_t *tuned,
                                         urza_error *err)
{
    struct error e;
    struct recorded recorded = {.budget_s = budget_s};
    bool ok = visit_run(tuner, tune_recorded, &recorded, &e);
    if (ok && tuned)
        *tuned = recorded.tuned;
    return tune_result(ok, &e, err);
}
