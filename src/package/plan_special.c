/* Specialisations of a plan: sizes at which its launches may have kernels of their own.
 *
 * Each names some dims, each with a value; a call belongs to the first one that fits it. One that
 * comes behind another that has all of its calls would never be used, which is an error: so no two
 * are equal, and the more exact stands before the less exact. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "package/plan_priv.h"

static bool fits(const struct plan_special *special, const int64_t *dims, uint32_t names)
{
    for (uint32_t i = 0; i < names; i++)
        if (special->values[i] != DIM_ANY && special->values[i] != dims[i])
            return false;
    return true;
}

uint32_t plan_special_at(const struct plan *plan, const int64_t *dims)
{
    for (uint32_t i = 0; i < plan->specials.count; i++)
        if (fits(&plan->specials.items[i], dims, plan->dims->names.count))
            return i;
    return PLAN_NONE;
}

const struct plan_code *plan_code_of(const struct plan_launch *launch, uint32_t special)
{
    for (uint32_t i = 0; i < launch->variant_count; i++)
        if (launch->variants[i].special == special)
            return &launch->variants[i].code;
    return &launch->code;
}

uint32_t plan_special_count(const struct plan *plan, uint32_t special)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->forward.count; i++)
        count += plan_code_of(&plan->forward.items[i], special) != &plan->forward.items[i].code;
    return count;
}

bool plan_special_covers(const struct plan_special *a, const struct plan_special *b, uint32_t names)
{
    for (uint32_t i = 0; i < names; i++)
        if (a->values[i] != DIM_ANY && a->values[i] != b->values[i])
            return false;
    return true;
}

void plan_special_print(const struct plan *plan, uint32_t special, struct strbuf *out)
{
    const int64_t *values = plan->specials.items[special].values;
    const char *gap = "";
    for (uint32_t i = 0; i < plan->dims->names.count; i++) {
        if (values[i] == DIM_ANY)
            continue;
        strbuf_printf(out, "%s%s=%" PRId64, gap, plan->dims->names.items[i].name, values[i]);
        gap = " ";
    }
}

static bool check_special(const struct plan *plan, uint32_t index, struct error *err)
{
    const struct dim_table *dims = plan->dims;
    const struct plan_special *special = &plan->specials.items[index];
    uint32_t given = 0;
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *name = &dims->names.items[i];
        int64_t value = special->values[i];
        if (value == DIM_ANY)
            continue;
        given++;
        if (value < name->min || value > name->max || value % name->multiple_of != 0)
            return fail(err, ERR_PACKAGE, "'%s' is never %" PRId64, name->name, value);
    }
    if (given == 0)
        return fail(err, ERR_PACKAGE, "names no dim");
    for (uint32_t i = 0; i < index; i++)
        if (plan_special_covers(&plan->specials.items[i], special, dims->names.count))
            return fail(err, ERR_PACKAGE, "specialisation %u has all of its sizes", i);
    return true;
}

bool plan_specials_check(const struct plan *plan, struct error *err)
{
    if (plan->specials.count > LIMIT_SPECIALS)
        return fail(err, ERR_LIMIT, "the plan has more than %d specialisations", LIMIT_SPECIALS);
    for (uint32_t i = 0; i < plan->specials.count; i++)
        if (!check_special(plan, i, err))
            return fail_at(err, "specialisation %u", i);
    return true;
}

/* Names in the order of canonical JSON. */
static uint32_t next_name(const struct plan *plan, const int64_t *values, uint32_t last)
{
    const struct dim_name *names = plan->dims->names.items;
    uint32_t next = PLAN_NONE;
    for (uint32_t i = 0; i < plan->dims->names.count; i++)
        if (values[i] != DIM_ANY &&
            (last == PLAN_NONE || strcmp(names[i].name, names[last].name) > 0) &&
            (next == PLAN_NONE || strcmp(names[i].name, names[next].name) < 0))
            next = i;
    return next;
}

void plan_specials_print(const struct plan *plan, struct strbuf *out)
{
    for (uint32_t i = 0; i < plan->specials.count; i++) {
        const int64_t *values = plan->specials.items[i].values;
        strbuf_puts(out, i > 0 ? "," : ",\"specials\":[");
        char before = '{';
        for (uint32_t k = next_name(plan, values, PLAN_NONE); k != PLAN_NONE;
             k = next_name(plan, values, k)) {
            strbuf_printf(out, "%c\"%s\":%" PRId64, before, plan->dims->names.items[k].name,
                          values[k]);
            before = ',';
        }
        strbuf_puts(out, i + 1 < plan->specials.count ? "}" : "}]");
    }
}

static bool parse_special(struct plan *plan, json_t *object, struct plan_special *out,
                          struct error *err)
{
    uint32_t names = plan->dims->names.count, index;
    int64_t *values = ARENA_ARRAY(plan->arena, int64_t, names + 1);
    const char *key;
    json_t *value;
    for (uint32_t i = 0; i < names; i++)
        values[i] = DIM_ANY;
    if (!json_is_object(object))
        return fail(err, ERR_PACKAGE, "is no object");
    json_object_foreach(object, key, value)
    {
        if (!dim_find_name(plan->dims, key, &index))
            return fail(err, ERR_PACKAGE, "no dim is called '%s'", key);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return fail(err, ERR_PACKAGE, "the value of '%s' is no size", key);
        values[index] = json_integer_value(value);
    }
    *out = (struct plan_special){values};
    return true;
}

bool plan_specials_parse(struct plan *plan, const json_t *array, struct error *err)
{
    size_t count = json_array_size(array);
    if (count == 0 || count > LIMIT_SPECIALS)
        return fail(err, ERR_PACKAGE, "%zu specialisations, expected 1 to %d", count,
                    LIMIT_SPECIALS);
    for (size_t i = 0; i < count; i++) {
        struct plan_special special = {NULL};
        if (!parse_special(plan, json_array_get(array, i), &special, err))
            return fail_at(err, "specialisation %zu", i);
        VEC_PUSH(plan->arena, &plan->specials, special);
    }
    return true;
}
