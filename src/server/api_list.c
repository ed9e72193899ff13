/* Records as JSON, and listings of them: both are derived from the rows of records.def. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/api.h"

#define LIMIT_DEFAULT 50
#define LIMIT_MOST 500
#define NAME_BYTES 80
#define FETCHED 20 /* records at a time */
#define PAGE_BYTES ((size_t)2 << 20)

json_t *list_value(const char *list)
{
    json_t *array = json_array();
    for (const char *at = list; *at != '\0';) {
        size_t length = strcspn(at, ",");
        if (length > 0)
            json_array_append_new(array, json_stringn(at, length));
        at += length + (at[length] == ',');
    }
    return array;
}

static json_t *field_value(const struct record_field *field, const void *at)
{
    json_t *value = NULL;
    switch (field->type) {
    case FIELD_TEXT: return json_string(*(const char *const *)at);
    case FIELD_LIST: return list_value(*(const char *const *)at);
    case FIELD_JSON:
        value = json_loads(*(const char *const *)at, JSON_DECODE_ANY, NULL);
        return value ? value : json_null();
    case FIELD_INTEGER: return json_integer(*(const int64_t *)at);
    case FIELD_REAL: return json_real(*(const double *)at);
    case FIELD_NONE: break;
    }
    return json_null();
}

json_t *record_value(enum record_kind kind, const void *record)
{
    const struct record_type *type = record_type(kind);
    json_t *value = json_object();
    json_object_set_new(value, "id", json_string(((const struct record *)record)->id));
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct record_field *field = &type->fields[i];
        if (!field->secret)
            json_object_set_new(value, field->name,
                                field_value(field, (const char *)record + field->offset));
    }
    return value;
}

/* Query arguments of a field. TEXT: its name. LIST: one word, under the name without its plural s.
 * Number: min_NAME, max_NAME. */
struct argument {
    char name[NAME_BYTES];
    enum filter_op op;
};

static uint32_t arguments_of(const struct record_field *field, struct argument out[2])
{
    size_t length = strlen(field->name);
    if (!field->find)
        return 0;
    if (field->type == FIELD_TEXT || field->type == FIELD_LIST) {
        bool list = field->type == FIELD_LIST;
        out[0].op = list ? FILTER_HAS : FILTER_IS;
        snprintf(out[0].name, NAME_BYTES, "%.*s",
                 (int)(list && field->name[length - 1] == 's' ? length - 1 : length), field->name);
        return 1;
    }
    out[0].op = FILTER_AT_LEAST;
    out[1].op = FILTER_AT_MOST;
    snprintf(out[0].name, NAME_BYTES, "min_%s", field->name);
    snprintf(out[1].name, NAME_BYTES, "max_%s", field->name);
    return 2;
}

static bool parse_number(const char *name, const char *text, double *out, struct error *err)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(*out) ||
        strspn(text, "0123456789+-.eE") != strlen(text))
        return fail(err, ERR_JSON, "query argument '%s' is no number", name);
    return true;
}

static bool is_one_of(const struct record_field *field, const char *text, struct error *err)
{
    size_t length = strlen(text);
    const char *at = length > 0 ? strstr(field->doc, text) : NULL;
    for (; at; at = strstr(at + 1, text))
        if ((at == field->doc || at[-1] == ' ') && (at[length] == ',' || at[length] == '\0'))
            return true;
    return fail(err, ERR_JSON, "query argument '%s' is '%.60s', and none of %s", field->name, text,
                field->doc);
}

struct listing {
    struct filter filters[FILTERS_MOST];
    uint32_t filter_count;
    struct strbuf allowed;
};

static bool add_filters(struct request *request, const struct record_field *field,
                        struct listing *listing, struct error *err)
{
    struct argument arguments[2];
    uint32_t count = arguments_of(field, arguments);
    for (uint32_t i = 0; i < count; i++) {
        const char *name = arena_strdup(&request->arena, arguments[i].name);
        const char *text = request_query(request, name);
        struct filter filter = {.field = field->name, .op = arguments[i].op, .text = text};
        strbuf_printf(&listing->allowed, " %s", name);
        if (!text)
            continue;
        if (arguments[i].op != FILTER_IS && arguments[i].op != FILTER_HAS &&
            !parse_number(name, text, &filter.number, err))
            return false;
        if (field->one_of && !is_one_of(field, text, err))
            return false;
        if (listing->filter_count == FILTERS_MOST)
            return fail(err, ERR_LIMIT, "more than %d filters", FILTERS_MOST);
        listing->filters[listing->filter_count++] = filter;
        if (field->known && filter.op == FILTER_AT_MOST && listing->filter_count < FILTERS_MOST)
            listing->filters[listing->filter_count++] =
                (struct filter){.field = field->name, .op = FILTER_AT_LEAST, .number = DBL_MIN};
    }
    return true;
}

static bool take_page(struct request *request, struct query *query, struct error *err)
{
    const char *limit = request_query(request, "limit"), *cursor = request_query(request, "cursor");
    char *end = NULL;
    query->limit = LIMIT_DEFAULT;
    if (limit) {
        unsigned long value = strtoul(limit, &end, 10);
        if (strspn(limit, "0123456789") != strlen(limit) || strlen(limit) > 9 || value < 1 ||
            value > LIMIT_MOST)
            return fail(err, ERR_JSON, "query argument 'limit' is not from 1 to %d", LIMIT_MOST);
        query->limit = (uint32_t)value;
    }
    if (cursor) {
        errno = 0;
        query->after = strtoll(cursor, &end, 10);
        if (*cursor == '\0' || strspn(cursor, "0123456789") != strlen(cursor) || errno != 0 ||
            query->after < 1)
            return fail(err, ERR_JSON, "query argument 'cursor' is none that a listing gave");
    }
    return true;
}

/* A page ends when it has enough records or enough bytes, whichever comes first, since records may
 * be large.
 */
static enum handled reply_page(struct request *request, struct query *query, struct error *err)
{
    struct strbuf text;
    uint32_t left = query->limit;
    bool more = true;
    strbuf_init(&text, &request->arena);
    strbuf_puts(&text, "{\"items\":[");
    for (bool first = true; more && left > 0 && text.size_bytes < PAGE_BYTES;) {
        struct records records;
        query->limit = left < FETCHED ? left : FETCHED;
        if (!catalogue_list(registry_catalogue(request->server->registry), query, &request->arena,
                            &records, err))
            return HANDLED_FAILED;
        for (uint32_t i = 0; i < records.count; i++, first = false) {
            json_t *value = record_value(query->kind, records.items[i]);
            strbuf_puts(&text, first ? "" : ",");
            json_write_canonical(value, &text);
            json_decref(value);
            query->after = ((const struct record *)records.items[i])->serial;
        }
        more = records.count == query->limit;
        left -= records.count;
    }
    if (more)
        strbuf_printf(&text, "],\"next\":\"%lld\"}", (long long)query->after);
    else
        strbuf_puts(&text, "],\"next\":null}");
    return reply_text(request, 200, "application/json", text.data, text.size_bytes);
}

enum handled list_records(struct request *request, enum record_kind kind,
                          const struct filter *fixed, uint32_t fixed_count, struct error *err)
{
    const struct record_type *type = record_type(kind);
    struct listing listing = {.filter_count = 0};
    struct query query = {.kind = kind, .newest_first = true};
    strbuf_init(&listing.allowed, &request->arena);
    strbuf_puts(&listing.allowed, "limit cursor");
    for (uint32_t i = 0; i < fixed_count; i++)
        listing.filters[listing.filter_count++] = fixed[i];
    for (uint32_t i = 0; i < type->field_count; i++)
        if (!add_filters(request, &type->fields[i], &listing, err))
            return HANDLED_FAILED;
    query.filters = listing.filters;
    query.filter_count = listing.filter_count;
    if (!request_only_queries(request, listing.allowed.data, err) ||
        !take_page(request, &query, err))
        return HANDLED_FAILED;
    return reply_page(request, &query, err);
}

json_t *field_values(const struct record_field *field)
{
    json_t *values = json_array();
    for (const char *at = field->doc; *at != '\0';) {
        size_t length = strcspn(at, ",");
        json_array_append_new(values, json_stringn(at, length));
        at += length + strspn(at + length, ", ");
    }
    return values;
}

static json_t *argument_schema(const struct record_field *field)
{
    if (field->one_of)
        return json_pack("{s:o}", "enum", field_values(field));
    if (field->type == FIELD_TEXT || field->type == FIELD_LIST)
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[^\\u0000]*$");
    return json_pack("{s:s}", "type", "number");
}

void list_parameters(enum record_kind kind, json_t *parameters)
{
    const struct record_type *type = record_type(kind);
    for (uint32_t i = 0; i < type->field_count; i++) {
        struct argument arguments[2];
        uint32_t count = arguments_of(&type->fields[i], arguments);
        for (uint32_t a = 0; a < count; a++) {
            json_array_append_new(parameters,
                                  json_pack("{s:s, s:s, s:s, s:o}", "name", arguments[a].name, "in",
                                            "query", "description", type->fields[i].doc, "schema",
                                            argument_schema(&type->fields[i])));
        }
    }
    json_array_append_new(parameters,
                          json_pack("{s:s, s:s, s:{s:s, s:i, s:i, s:i}}", "name", "limit", "in",
                                    "query", "schema", "type", "integer", "minimum", 1, "maximum",
                                    LIMIT_MOST, "default", LIMIT_DEFAULT));
    json_array_append_new(parameters,
                          json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "name", "cursor", "in",
                                    "query", "description", "`next` of the page before", "schema",
                                    "type", "string", "pattern", "^[1-9][0-9]{0,17}$"));
}
