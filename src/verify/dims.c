#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "verify/dims.h"
#include "verify/verify.h"

#define DIM_WORDS 255 /* of a name as a model spells it */

int64_t dims_legal(const struct dim_name *name, int64_t wish)
{
    return dim_legal(name, wish);
}

static bool is_legal(const struct dim_name *name, int64_t value)
{
    return value >= name->min && value <= name->max && value % name->multiple_of == 0;
}

/* "expected 2 to 64, a multiple of 2 (Concat 'y': …)" */
static bool refuse_value(const struct dim_name *dim, const char *name, int64_t value,
                         struct error *err)
{
    char multiple[48] = "";
    const char *why = dim->why ? dim->why : "";
    if (dim->multiple_of > 1)
        snprintf(multiple, sizeof multiple, ", a multiple of %lld", (long long)dim->multiple_of);
    return fail(err, ERR_USAGE, "dim '%.100s' is %lld, expected %lld to %lld%s%s%s%s", name,
                (long long)value, (long long)dim->min, (long long)dim->max, multiple,
                *why ? " (" : "", why, *why ? ")" : "");
}

/* Parses one "NAME=VALUE" up to a comma or the end; *text moves past it. */
static bool read_one(const struct dim_table *dims, const char **text, int64_t *values,
                     uint32_t *seen, struct error *err)
{
    size_t length = strcspn(*text, ",");
    const char *equals = memrchr(*text, '=', length), *start = *text;
    char name[DIM_WORDS + 1] = "";
    uint32_t index;
    if (!equals || equals == start || (size_t)(equals - start) > DIM_WORDS)
        return fail(err, ERR_USAGE, "'%.*s' in dims, expected NAME=VALUE",
                    (int)(length < 64 ? length : 64), start);
    memcpy(name, start, (size_t)(equals - start));
    if (!dim_find_shown(dims, name, &index))
        return dim_refuse_shown(dims, name, err);
    char *end;
    errno = 0;
    long long value = strtoll(equals + 1, &end, 10);
    if (equals[1] < '0' || equals[1] > '9' || errno != 0 || end != start + length)
        return fail(err, ERR_USAGE, "'%.*s' in dims, expected a whole number",
                    (int)(length < 64 ? length : 64), start);
    const struct dim_name *dim = &dims->names.items[index];
    if (*seen >> index & 1)
        return fail(err, ERR_USAGE, "dim '%s' is given twice", name);
    if (!is_legal(dim, value))
        return refuse_value(dim, name, value, err);
    values[index] = value;
    *seen |= 1u << index;
    *text = start + length;
    return true;
}

bool dims_choose(const struct dim_table *dims, const char *text, int64_t *out_values,
                 struct error *err)
{
    int64_t values[LIMIT_NAMED_DIMS] = {0};
    uint32_t seen = 0;
    while (text && *text) {
        if (!read_one(dims, &text, values, &seen, err))
            return false;
        if (*text == ',' && *++text == '\0')
            return fail(err, ERR_USAGE, "dims end with a comma");
    }
    for (uint32_t i = 0; i < dims->names.count; i++) {
        const struct dim_name *name = &dims->names.items[i];
        if ((seen >> i & 1) == 0)
            values[i] = dim_typical(name);
    }
    memcpy(out_values, values, dims->names.count * sizeof values[0]);
    return true;
}
