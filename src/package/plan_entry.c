/* The entries of a plan. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "package/plan_priv.h"

#define MOST_ENTRIES 8

bool plan_find_entry(const struct plan *plan, const char *name, struct plan_entry *out)
{
    for (uint32_t i = 0; i < plan->entries.count; i++) {
        *out = plan->entries.items[i];
        if (strcmp(out->name, name) == 0)
            return true;
    }
    *out = (struct plan_entry){"forward", 0, plan->forward.count};
    return plan->entries.count == 0 && strcmp(name, out->name) == 0;
}

bool plan_entries_check(const struct plan *plan, struct error *err)
{
    uint32_t next = 0, count = plan->entries.count;
    if (count > MOST_ENTRIES)
        return fail(err, ERR_LIMIT, "the plan has more than %d entries", MOST_ENTRIES);
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_entry *entry = &plan->entries.items[i];
        if (entry->name[0] == '\0' || strlen(entry->name) > LIMIT_NAME)
            return fail(err, ERR_PACKAGE, "entry %u has no name of 1 to %d bytes", i, LIMIT_NAME);
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(plan->entries.items[k].name, entry->name) == 0)
                return fail(err, ERR_PACKAGE, "entries %u and %u have one name", k, i);
        if (entry->first != next || entry->count > plan->forward.count - next)
            return fail(err, ERR_PACKAGE, "entry %u does not begin where the one before ends", i);
        next += entry->count;
        for (uint32_t k = 0; k < plan->loops.count; k++) {
            const struct plan_loop *loop = &plan->loops.items[k];
            if (loop->first < next && loop->first + loop->count > next)
                return fail(err, ERR_PACKAGE, "entry %u ends within a loop", i);
        }
    }
    return count == 0 || next == plan->forward.count ||
           fail(err, ERR_PACKAGE, "%u launches belong to no entry", plan->forward.count - next);
}

void plan_entries_print(const struct plan *plan, struct strbuf *out)
{
    for (uint32_t i = 0; i < plan->entries.count; i++) {
        const struct plan_entry *entry = &plan->entries.items[i];
        strbuf_printf(out, "%s{\"count\":%u,\"name\":", i > 0 ? "," : ",\"entries\":[",
                      entry->count);
        json_write_string(entry->name, strlen(entry->name), out);
        strbuf_puts(out, i + 1 < plan->entries.count ? "}" : "}]");
    }
}

bool plan_entries_parse(struct plan *plan, const json_t *array, struct error *err)
{
    static const char *const keys[] = {"count", "name", NULL};
    size_t count = json_array_size(array);
    uint64_t next = 0;
    if (count == 0 || count > MOST_ENTRIES)
        return fail(err, ERR_PACKAGE, "%zu entries, expected 1 to %d", count, MOST_ENTRIES);
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(array, i);
        struct plan_entry entry = {.first = (uint32_t)next};
        if (!json_get_string(object, "name", &entry.name, err) ||
            !json_only_keys(object, keys, err) || !plan_get_u32(object, "count", &entry.count, err))
            return fail_at(err, "entry %zu", i);
        next += entry.count;
        if (next > LIMIT_LAUNCHES)
            return fail(err, ERR_PACKAGE, "entry %zu has more launches than there are", i);
        entry.name = arena_strdup(plan->arena, entry.name);
        VEC_PUSH(plan->arena, &plan->entries, entry);
    }
    return true;
}
