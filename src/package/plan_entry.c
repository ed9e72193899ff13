/* The entries of a plan. */
#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
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

/* The value that a launch writes first; 0: it writes none. */
static uint32_t written_value(const struct plan *plan, const struct plan_launch *launch)
{
    for (uint32_t i = 0; i < launch->arg_count; i++)
        if (launch_writes(launch, i))
            return plan->buffers.items[launch->args[i]].value;
    return 0;
}

/* Scalar operations of a launch in all of its trips. */
static bool launch_operations(const struct plan *plan, uint32_t index, const int64_t *dims,
                              int64_t *out)
{
    const struct plan_launch *launch = &plan->forward.items[index];
    int64_t done, trips;
    return launch->done != DIM_NONE && dim_eval(plan->dims, launch->done, dims, &done) &&
           plan_trips(plan, index, dims, &trips) && checked_mul_i64(done, trips, out);
}

bool plan_count_again(const struct plan *plan, const int64_t *dims, struct arena *arena,
                      struct plan_again *out)
{
    struct plan_again count = {0};
    struct plan_entry backward;
    uint32_t values = 1;
    if (!plan_find_entry(plan, "backward", &backward))
        return false;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].value >= values)
            values = plan->buffers.items[i].value + 1;
    uint32_t *kernels = ARENA_ARRAY(arena, uint32_t, values); /* 1 + that which computed a value */
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        uint32_t value = written_value(plan, launch);
        bool again = i >= backward.first && value != 0 && kernels[value] == launch->code.kernel + 1;
        int64_t operations;
        kernels[value] = launch->code.kernel + 1;
        if (!launch_operations(plan, i, dims, &operations) ||
            !checked_add_i64(again ? count.operations : count.others, operations,
                             again ? &count.operations : &count.others))
            return false;
        count.launches += again;
    }
    *out = count;
    return true;
}
