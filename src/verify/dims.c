#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/limits.h"
#include "verify/dims.h"
#include "verify/verify.h"

int64_t dims_legal(const struct dim_name *name, int64_t wish)
{
    return dim_legal(name, wish);
}

static bool is_legal(const struct dim_name *name, int64_t value)
{
    return value >= name->min && value <= name->max && value % name->multiple_of == 0;
}

/* Parses one "NAME=VALUE" up to a comma or the end; *text moves past it. */
static bool read_one(const struct dim_table *dims, const char **text, int64_t *values,
                     uint32_t *seen, struct error *err)
{
    size_t length = strcspn(*text, ",");
    const char *equals = memchr(*text, '=', length), *start = *text;
    char name[LIMIT_NAME + 1] = "";
    uint32_t index;
    if (!equals || equals == start || (size_t)(equals - start) > LIMIT_NAME)
        return fail(err, ERR_USAGE, "'%.*s' in dims, expected NAME=VALUE",
                    (int)(length < 64 ? length : 64), start);
    memcpy(name, start, (size_t)(equals - start));
    if (!dim_find_name(dims, name, &index))
        return fail(err, ERR_USAGE, "no dim is named '%s'", name);
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
        return fail(err, ERR_USAGE,
                    "dim '%s' is %lld, expected %lld to %lld, a multiple of %lld%s%s%s", name,
                    value, (long long)dim->min, (long long)dim->max, (long long)dim->multiple_of,
                    dim->why ? " (" : "", dim->why ? dim->why : "", dim->why ? ")" : "");
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
