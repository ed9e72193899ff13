/* The checks before every driver of catalogues: it selects the driver by URL, and checks arguments
 * once, so that drivers can rely on them. */
#include "registry/catalogue_priv.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LIST_MOST 1000

static const struct catalogue_driver *const drivers[] = {&catalogue_sqlite, &catalogue_memory};

bool catalogue_open(const char *url, struct catalogue **out, struct error *err)
{
    size_t length = strcspn(url, ":");
    for (size_t i = 0; url[length] == ':' && i < sizeof drivers / sizeof drivers[0]; i++)
        if (strlen(drivers[i]->name) == length && memcmp(drivers[i]->name, url, length) == 0)
            return drivers[i]->open(url + length + 1, out, err);
    return fail(err, ERR_USAGE, "'%.200s' names no catalogue: 'sqlite:PATH' or 'memory:' would",
                url);
}

void catalogue_close(struct catalogue *catalogue)
{
    if (catalogue)
        catalogue->driver->close(catalogue);
}

/* For a removal only the id is used. */
static bool check_change(const struct change *change, struct error *err)
{
    assert(change->kind > RECORD_NONE && change->kind < RECORD_COUNT);
    const struct record *record = change->record;
    bool is_new = change->expect == EXPECT_NEW;
    if (change->remove && (is_new || !record->id || record->id[0] == '\0'))
        return fail(err, ERR_BUG, "a removal without an id, or of something new");
    if (change->remove)
        return true;
    if (!record_check(change->kind, record, err))
        return false;
    if (record->id[0] == '\0' && !is_new)
        return fail(err, ERR_BUG, "a %s without an id that is not put as new",
                    record_type(change->kind)->name);
    return true;
}

bool catalogue_commit(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                      struct error *err)
{
    for (uint32_t i = 0; i < count; i++)
        if (!check_change(&changes[i], err))
            return false;
    return count == 0 || catalogue->driver->commit(catalogue, changes, count, err);
}

bool catalogue_get(struct catalogue *catalogue, enum record_kind kind, const char *id,
                   struct arena *arena, void **out, struct error *err)
{
    assert(kind > RECORD_NONE && kind < RECORD_COUNT);
    return catalogue->driver->get(catalogue, kind, id, arena, out, err);
}

static bool op_fits(enum filter_op op, enum field_type type)
{
    bool number = type == FIELD_INTEGER || type == FIELD_REAL;
    switch (op) {
    case FILTER_IS:
    case FILTER_IS_NOT: return type == FIELD_TEXT || type == FIELD_INTEGER;
    case FILTER_HAS: return type == FIELD_LIST;
    case FILTER_AT_LEAST:
    case FILTER_AT_MOST: return number;
    case FILTER_NONE: break;
    }
    return false;
}

static bool check_query(const struct query *query, struct error *err)
{
    const struct record_type *type = record_type(query->kind);
    if (query->filter_count > FILTERS_MOST)
        return fail(err, ERR_BUG, "%u filters, at most %d are possible", query->filter_count,
                    FILTERS_MOST);
    for (uint32_t i = 0; i < query->filter_count; i++) {
        const struct filter *filter = &query->filters[i];
        const struct record_field *field = record_field(query->kind, filter->field);
        if (!field || !field->find)
            return fail(err, ERR_BUG, "%s.%s is no field to find records by", type->name,
                        filter->field);
        if (!op_fits(filter->op, field->type) || (field_is_text(field) && !filter->text) ||
            isnan(filter->number))
            return fail(err, ERR_BUG, "a filter that does not fit %s.%s", type->name, field->name);
    }
    return true;
}

/* Whether a filter asks for a word that no list can contain. */
static bool is_vain(const struct query *query)
{
    for (uint32_t i = 0; i < query->filter_count; i++) {
        const struct filter *filter = &query->filters[i];
        if (filter->op == FILTER_HAS && (filter->text[0] == '\0' || strchr(filter->text, ',')))
            return true;
    }
    return false;
}

bool catalogue_list(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                    struct records *out, struct error *err)
{
    if (query->limit == 0 || query->limit > LIST_MOST || query->after < 0)
        return fail(err, ERR_BUG, "a listing of %u records behind %lld", query->limit,
                    (long long)query->after);
    if (!check_query(query, err))
        return false;
    if (!is_vain(query))
        return catalogue->driver->list(catalogue, query, arena, out, err);
    *out = (struct records){0};
    return true;
}

bool catalogue_total(struct catalogue *catalogue, const struct query *query, const char *field,
                     struct totals *out, struct error *err)
{
    if (!check_query(query, err))
        return false;
    const struct record_field *summed = field ? record_field(query->kind, field) : NULL;
    if (field && (!summed || field_is_text(summed)))
        return fail(err, ERR_BUG, "%s.%s is nothing to add up", record_type(query->kind)->name,
                    field);
    if (!is_vain(query))
        return catalogue->driver->total(catalogue, query, field, out, err);
    *out = (struct totals){0};
    return true;
}

bool catalogue_check(struct catalogue *catalogue, struct error *err)
{
    return catalogue->driver->check(catalogue, err);
}
