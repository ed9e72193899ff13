/* Named dims that a caller gives. */
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/import_priv.h"

#define DIM_FORMS "expected NAME=SIZE, NAME=LEAST..MOST, NAME=FACTOR* or NAME=LEAST..MOST/FACTOR"

static bool take_number(const char **at, int64_t *out)
{
    int64_t value = 0;
    const char *start = *at;
    for (; **at >= '0' && **at <= '9' && value <= LIMIT_DIM_VALUE; (*at)++)
        value = 10 * value + (**at - '0');
    *out = value;
    return *at > start && value <= LIMIT_DIM_VALUE;
}

/* Parses the text behind "NAME=". */
static bool parse_range(const char *at, struct dim_name *out)
{
    if (!take_number(&at, &out->min))
        return false;
    if (strcmp(at, "*") == 0) {
        out->multiple_of = out->min;
        out->max = out->min < DIM_MAX_DEFAULT ? DIM_MAX_DEFAULT : out->min;
        return out->min >= 1;
    }
    out->max = out->min;
    if (strncmp(at, "..", 2) == 0) {
        at += 2;
        if (!take_number(&at, &out->max) || out->max < out->min)
            return false;
    }
    if (*at == '/') {
        at++;
        if (!take_number(&at, &out->multiple_of) || out->multiple_of < 1)
            return false;
    }
    return *at == '\0';
}

bool import_dims_parse(const char *text, struct arena *arena, struct dim_name **out,
                       uint32_t *out_count, struct error *err)
{
    uint32_t most = 1, count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        most++;
    struct dim_name *dims = ARENA_ARRAY(arena, struct dim_name, most);
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        const char *line = arena_strndup(arena, text, length), *equals = strrchr(line, '=');
        struct dim_name dim = {.multiple_of = 1};
        if (!equals || equals == line || !parse_range(equals + 1, &dim))
            return fail(err, ERR_USAGE, "'%.100s', " DIM_FORMS, line);
        dim.name = arena_strndup(arena, line, (size_t)(equals - line));
        for (uint32_t i = 0; i < count; i++)
            if (strcmp(dims[i].name, dim.name) == 0)
                return fail(err, ERR_USAGE, "the dim '%.100s' is given twice", dim.name);
        dims[count++] = dim;
        text += length;
        text += *text == '\n';
    }
    *out = dims;
    *out_count = count;
    return true;
}

/* Name i of those that a user may give; NULL behind the last. */
static const char *name_at(const struct dim_table *dims, uint32_t i)
{
    if (i < dims->names.count)
        return dims->names.items[i].name;
    i -= dims->names.count;
    return i < dims->aliases.count ? dims->aliases.items[i].name : NULL;
}

bool import_check_dims(const struct import_options *options, struct dim_table *dims,
                       struct error *err)
{
    for (uint32_t i = 0; i < options->dim_count; i++) {
        const char *name = options->dims[i].name, *known;
        struct strbuf names;
        if (dim_of_name(dims, name) != DIM_NONE)
            continue;
        strbuf_init(&names, dims->arena);
        for (uint32_t k = 0; (known = name_at(dims, k)) != NULL; k++)
            strbuf_printf(&names, "%s'%s'", k > 0 ? ", " : "", known);
        if (names.size_bytes == 0)
            return fail(err, ERR_USAGE, "'%.100s' is no dim: this model has no named dims", name);
        return fail(err, ERR_USAGE, "'%.100s' is no dim of this model, which has %.300s", name,
                    names.data);
    }
    return true;
}

static bool names(const char *expression, const char *name)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_.0123456789";
    size_t length = strlen(name);
    while (*expression != '\0') {
        size_t word = strspn(expression, letters);
        if (word == length && memcmp(expression, name, length) == 0)
            return true;
        expression += word + strcspn(expression + word, letters);
    }
    return false;
}

static bool lies_within(struct dim_table *dims, dim_id dim, const struct dim_name *range)
{
    dim_id over = dim_sub(dims, dim, dim_const(dims, range->min));
    dim_id under = dim_sub(dims, dim_const(dims, range->max), dim);
    dim_id by = dim_const(dims, range->multiple_of);
    dim_id whole = dim_mul(dims, by, dim_floordiv(dims, dim, by));
    if (!dim_never_negative(dims, over))
        return dim_needs_not_negative(dims, over);
    if (range->max != DIM_MAX_DEFAULT && !dim_never_negative(dims, under))
        return dim_needs_not_negative(dims, under);
    return whole == dim || dim_needs_equal(dims, dim, whole);
}

bool import_declare_equal(struct dim_table *dims, const struct import_options *options,
                          const struct dim_name *range, const char *expression, struct error *err)
{
    dim_id dim = DIM_NONE;
    const char *at = expression;
    for (uint32_t i = 0; i < options->dim_count; i++) {
        const struct dim_name *name = &options->dims[i];
        uint32_t index;
        if (names(expression, name->name) && dim_of_name(dims, name->name) == DIM_NONE &&
            !dim_declare(dims, name, &index, err))
            return false;
    }
    if (!dim_parse(dims, &at, &dim, err))
        return false;
    if (*at != '\0')
        return fail(err, ERR_PARSE, "'%.32s' behind the expression", at);
    if (!lies_within(dims, dim, range))
        return fail(err, ERR_SHAPE, "the dim '%.64s' is %.100s, whose values leave its range",
                    range->name, expression);
    return dim_declare_alias(dims, range->name, dim, err);
}
