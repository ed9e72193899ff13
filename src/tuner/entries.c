/* What a tuner knows, for people and other machines: lists, export and import, forgetting; and
 * measuring what was recorded. */
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package.h"
#include "tuner/tuner_priv.h"

/* Memory and cache together, in a table of its own. */
static void gather(urza_tuner *tuner, struct arena *arena, struct table *out)
{
    struct warner warner = tuner_warner(tuner);
    table_init(out, arena);
    tuner_lock(tuner);
    cache_file_read(&tuner->file, &tuner->disk, &warner);
    for (uint32_t i = 0; i < tuner->disk.entries.count; i++)
        table_merge(out, tuner->disk.entries.items[i]);
    for (uint32_t i = 0; i < tuner->known.entries.count; i++)
        table_merge(out, tuner->known.entries.items[i]);
    tuner_unlock(tuner);
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

static json_t *summary(const struct listed *l)
{
    json_t *out = json_object();
    json_object_set_new(out, "key", json_string(l->entry->key));
    for (const char *const *field =
             (const char *const[]){"op", "result", "operands", "target", NULL};
         *field; field++)
        json_object_set(out, *field, json_object_get(l->invocation, *field));
    if (l->entry->measured) {
        struct arena arena;
        struct strbuf config;
        arena_init(&arena);
        strbuf_init(&config, &arena);
        config_print(&l->entry->config, &config);
        json_object_set_new(out, "config", json_loads(config.data, 0, NULL));
        json_object_set_new(out, "ns", json_real(l->entry->ns));
        json_object_set_new(out, "heuristic_ns", json_real(l->entry->heuristic_ns));
        json_object_set_new(out, "at", json_integer(l->entry->at));
        arena_release(&arena);
    }
    return out;
}

/* Entries with their invocations read, by op and key. */
static struct listed *sorted(const struct table *table, struct arena *arena)
{
    struct listed *list = ARENA_ARRAY(arena, struct listed, table->entries.count + 1);
    for (uint32_t i = 0; i < table->entries.count; i++) {
        list[i].entry = table->entries.items[i];
        list[i].invocation = json_loads(list[i].entry->invocation, 0, NULL);
    }
    qsort(list, table->entries.count, sizeof *list, compare_listed);
    return list;
}

URZA_EXPORT int urza_tuner_list(urza_tuner *tuner, char **list, urza_error *err)
{
    struct arena arena;
    struct table all;
    struct strbuf text;
    struct error e;
    arena_init(&arena);
    gather(tuner, &arena, &all);
    struct listed *items = sorted(&all, &arena);
    json_t *array = json_array();
    for (uint32_t i = 0; i < all.entries.count; i++) {
        json_array_append_new(array, summary(&items[i]));
        json_decref(items[i].invocation);
    }
    strbuf_init(&text, &arena);
    json_write_canonical(array, &text);
    json_decref(array);
    bool ok = tune_give(&text, list, &e);
    arena_release(&arena);
    return tune_result(ok, &e, err);
}

/* The one entry whose key begins like this. */
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

URZA_EXPORT int urza_tuner_show(urza_tuner *tuner, const char *key, char **entry, urza_error *err)
{
    struct arena arena;
    struct table all;
    struct strbuf text;
    struct error e;
    arena_init(&arena);
    gather(tuner, &arena, &all);
    const struct entry *found = find_beginning(&all, key, &e);
    strbuf_init(&text, &arena);
    if (found)
        entry_print(found, &text);
    bool ok = found && tune_give(&text, entry, &e);
    arena_release(&arena);
    return tune_result(ok, &e, err);
}

URZA_EXPORT int urza_tuner_export(urza_tuner *tuner, char **text, urza_error *err)
{
    struct arena arena;
    struct table all;
    struct strbuf printed;
    struct error e;
    arena_init(&arena);
    gather(tuner, &arena, &all);
    strbuf_init(&printed, &arena);
    cache_print(&all, &printed);
    bool ok = tune_give(&printed, text, &e);
    arena_release(&arena);
    return tune_result(ok, &e, err);
}

/* Entries of another device go to that device's file, and not to memory. */
static void import_foreign(urza_tuner *tuner, const struct table *all, struct arena *arena)
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
        table_init(&same, arena);
        for (uint32_t j = i; j < all->entries.count; j++)
            if (strcmp(all->entries.items[j]->device, first->device) == 0)
                table_merge(&same, all->entries.items[j]);
        cache_file_init(&file, arena, tuner->file.folder, first->device);
        cache_file_merge(&file, &same, &warner);
    }
}

URZA_EXPORT int urza_tuner_import(urza_tuner *tuner, const char *text, size_t size,
                                  uint32_t *entries, urza_error *err)
{
    struct arena arena;
    struct table all, own;
    struct cache_damage found;
    struct error e;
    struct warner warner = tuner_warner(tuner);
    arena_init(&arena);
    table_init(&all, &arena);
    table_init(&own, &arena);
    bool ok = cache_parse(text, size, NULL, &all, &found, &e);
    if (ok && found.lines > 0)
        ok = fail(&e, ERR_JSON, "%s", found.message);
    if (ok) {
        tuner_lock(tuner);
        for (uint32_t i = 0; i < all.entries.count; i++) {
            const struct entry *entry = all.entries.items[i];
            if (strcmp(entry->device, tuner->device.fingerprint) != 0)
                continue;
            table_merge(&own, entry);
            table_merge(&tuner->known, entry);
        }
        cache_file_merge(&tuner->file, &own, &warner);
        tuner_unlock(tuner);
        import_foreign(tuner, &all, &arena);
        if (entries)
            *entries = all.entries.count;
    }
    arena_release(&arena);
    return tune_result(ok, &e, err);
}

static bool matches(void *context, const struct entry *entry)
{
    const char *match = context;
    struct arena arena;
    struct invocation invocation;
    struct error err;
    size_t size = strlen(match);
    if (strcmp(match, "*") == 0 || (size >= 8 && strncmp(entry->key, match, size) == 0))
        return true;
    arena_init(&arena);
    bool same = invocation_read(entry->invocation, strlen(entry->invocation), &arena, &invocation,
                                NULL, &err) &&
                strcmp(invocation.op, match) == 0;
    arena_release(&arena);
    return same;
}

/* Takes matching entries out of a table, whose keys are then those of the rest. */
static void forget(struct table *table, const char *match, struct arena *dropped,
                   struct table *out_dropped)
{
    struct table rest;
    table_init(&rest, table->arena);
    table_init(out_dropped, dropped);
    for (uint32_t i = 0; i < table->entries.count; i++) {
        const struct entry *entry = table->entries.items[i];
        table_merge(matches((void *)(uintptr_t)match, entry) ? out_dropped : &rest, entry);
    }
    *table = rest;
}

URZA_EXPORT int urza_tuner_clear(urza_tuner *tuner, const char *match, uint32_t *entries,
                                 urza_error *err)
{
    struct arena arena;
    struct table known, disk;
    struct error e;
    struct warner warner = tuner_warner(tuner);
    if (strspn(match, "0123456789abcdef") == strlen(match) && strlen(match) < 8) {
        fail(&e, ERR_USAGE, "'%.64s' is too short for a key: 8 digits at least", match);
        return tune_result(false, &e, err);
    }
    arena_init(&arena);
    tuner_lock(tuner);
    cache_file_read(&tuner->file, &tuner->disk, &warner);
    forget(&tuner->known, match, &arena, &known);
    forget(&tuner->disk, match, &arena, &disk);
    cache_file_remove(&tuner->file, matches, (void *)(uintptr_t)match, &warner);
    tuner_unlock(tuner);
    for (uint32_t i = 0; i < known.entries.count; i++)
        table_merge(&disk, known.entries.items[i]);
    if (entries)
        *entries = disk.entries.count;
    arena_release(&arena);
    return 0;
}

URZA_EXPORT int urza_tuner_tune(urza_tuner *tuner, const char *invocation, double budget_s,
                                char **entry, urza_error *err)
{
    struct arena arena;
    struct invocation found;
    struct entry measured;
    struct strbuf text;
    struct error e;
    arena_init(&arena);
    bool ok = invocation_read(invocation, strlen(invocation), &arena, &found, NULL, &e) &&
              tuner_measure(tuner, &found, budget_s, &arena, &measured, &e);
    if (ok && entry) {
        strbuf_init(&text, &arena);
        entry_print(&measured, &text);
        ok = tune_give(&text, entry, &e);
    }
    arena_release(&arena);
    return tune_result(ok, &e, err);
}

static bool wants_tuning(const struct listed *l)
{
    const json_t *target = json_object_get(l->invocation, "target");
    const char *name = json_string_value(target);
    return !l->entry->measured && name && target_supported_here(name);
}

URZA_EXPORT int urza_tuner_tune_recorded(urza_tuner *tuner, double budget_s, uint32_t *tuned,
                                         urza_error *err)
{
    struct arena arena;
    struct table all;
    urza_error problem;
    uint32_t wanted = 0, done = 0;
    struct warner warner = tuner_warner(tuner);
    (void)err;
    arena_init(&arena);
    gather(tuner, &arena, &all);
    struct listed *items = sorted(&all, &arena);
    for (uint32_t i = 0; i < all.entries.count; i++)
        wanted += wants_tuning(&items[i]);
    for (uint32_t i = 0; i < all.entries.count; i++) {
        if (wants_tuning(&items[i])) {
            double share_s = budget_s / wanted;
            if (urza_tuner_tune(tuner, items[i].entry->invocation, share_s, NULL, &problem) == 0)
                done++;
            else if (warner.warn)
                warner.warn(warner.context, problem.message);
        }
        json_decref(items[i].invocation);
    }
    arena_release(&arena);
    if (tuned)
        *tuned = done;
    return 0;
}
