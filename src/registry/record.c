/* Records as rows of records.def: descriptions of their fields, copying and checking. */
#include "registry/catalogue_priv.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"

#define ID_BYTES_MOST 200

enum use { USE_PLAIN, USE_FIND, USE_ONE_OF, USE_OBJECT, USE_KNOWN, USE_SECRET };

#define RECORD(kind, doc) static const struct record_field kind##_fields[] = {
#define FIELD(kind, form, field, use, text)                     \
    {.name = #field,                                            \
     .type = FIELD_##form,                                      \
     .find = USE_##use != USE_PLAIN && USE_##use != USE_SECRET, \
     .one_of = USE_##use == USE_ONE_OF,                         \
     .object = USE_##use == USE_OBJECT,                         \
     .known = USE_##use == USE_KNOWN,                           \
     .secret = USE_##use == USE_SECRET,                         \
     .offset = offsetof(struct kind##_record, field),           \
     .doc = text},
#define END(kind) \
    }             \
    ;
#include "registry/records.def"
#undef RECORD
#undef FIELD
#undef END

static const struct record_type types[RECORD_COUNT] = {
#define RECORD(kind, doc)                                                       \
    [RECORD_##kind] = {#kind, doc, sizeof(struct kind##_record), kind##_fields, \
                       (uint32_t)(sizeof kind##_fields / sizeof kind##_fields[0])},
#define FIELD(kind, type, name, use, doc)
#define END(kind)
#include "registry/records.def"
#undef RECORD
#undef FIELD
#undef END
};

const struct record_type *record_type(enum record_kind kind)
{
    assert(kind > RECORD_NONE && kind < RECORD_COUNT);
    return &types[kind];
}

const struct record_field *record_field(enum record_kind kind, const char *name)
{
    const struct record_type *type = record_type(kind);
    for (uint32_t i = 0; i < type->field_count; i++)
        if (strcmp(type->fields[i].name, name) == 0)
            return &type->fields[i];
    return NULL;
}

void *record_new(enum record_kind kind, struct arena *arena)
{
    const struct record_type *type = record_type(kind);
    struct record *record = arena_alloc(arena, type->size, _Alignof(max_align_t));
    record->id = "";
    for (uint32_t i = 0; i < type->field_count; i++)
        if (field_is_text(&type->fields[i]))
            *record_text(record, &type->fields[i]) = "";
    return record;
}

size_t record_bytes(enum record_kind kind, const void *record)
{
    const struct record_type *type = record_type(kind);
    size_t size = type->size + strlen(((const struct record *)record)->id) + 1;
    for (uint32_t i = 0; i < type->field_count; i++)
        if (field_is_text(&type->fields[i]))
            size += strlen(*record_text(record, &type->fields[i])) + 1;
    return size;
}

/* Copies a text to *at, and moves *at past it. */
static const char *pack_text(const char *text, char **at)
{
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

void record_pack(enum record_kind kind, const void *record, void *out)
{
    const struct record_type *type = record_type(kind);
    struct record *copy = memcpy(out, record, type->size);
    char *at = (char *)out + type->size;
    copy->id = pack_text(copy->id, &at);
    for (uint32_t i = 0; i < type->field_count; i++) {
        if (!field_is_text(&type->fields[i]))
            continue;
        const char **text = record_text(copy, &type->fields[i]);
        *text = pack_text(*text, &at);
    }
}

void *record_copy(enum record_kind kind, const void *record, struct arena *arena)
{
    void *copy = arena_raw(arena, record_bytes(kind, record), _Alignof(max_align_t));
    record_pack(kind, record, copy);
    return copy;
}

/* The length of the UTF-8 character at text, by table 3-7 of the Unicode standard; 0: invalid. */
static size_t utf8_size(const unsigned char *text)
{
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    if (first < 0x80)
        return first != 0;
    size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < size; i++) {
        if (text[i] < low || text[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return size;
}

static bool is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (size_t size; *at != '\0'; at += size)
        if ((size = utf8_size(at)) == 0)
            return false;
    return true;
}

/* Whether the text is "" or words, each between commas. */
static bool is_list(const char *text)
{
    size_t length = strlen(text);
    return length == 0 ||
           (length > 2 && text[0] == ',' && text[length - 1] == ',' && strstr(text, ",,") == NULL);
}

static bool check_id(const struct record_type *type, const char *id, struct error *err)
{
    if (!id || strlen(id) > ID_BYTES_MOST || !is_utf8(id))
        return fail(err, ERR_BUG, "the id of a %s is not a text of at most %d bytes", type->name,
                    ID_BYTES_MOST);
    for (const char *at = id; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return fail(err, ERR_BUG, "the id of a %s has a control character", type->name);
    return true;
}

static bool check_field(const struct record_type *type, const struct record_field *field,
                        const void *record, struct error *err)
{
    const char *wrong = NULL;
    if (field_is_text(field)) {
        const char *text = *record_text(record, field);
        if (!text)
            wrong = "NULL";
        else if (!is_utf8(text))
            wrong = "not UTF-8";
        else if (field->type == FIELD_LIST && !is_list(text))
            wrong = "no list of words";
    } else if (field->type == FIELD_REAL && isnan(*record_real(record, field))) {
        wrong = "not a number";
    }
    return !wrong || fail(err, ERR_BUG, "%s.%s is %s", type->name, field->name, wrong);
}

bool record_check(enum record_kind kind, const void *record, struct error *err)
{
    const struct record_type *type = record_type(kind);
    bool ok = check_id(type, ((const struct record *)record)->id, err);
    for (uint32_t i = 0; ok && i < type->field_count; i++)
        ok = check_field(type, &type->fields[i], record, err);
    if (ok && record_bytes(kind, record) > LIMIT_RECORD_BYTES)
        ok = fail(err, ERR_LIMIT, "a %s of %zu bytes, at most %zu are kept", type->name,
                  record_bytes(kind, record), LIMIT_RECORD_BYTES);
    return ok;
}

bool expectation_holds(const struct change *change, int64_t revision, struct error *err)
{
    const struct record *record = change->record;
    const char *kind = record_type(change->kind)->name;
    if (change->expect == EXPECT_NEW && revision != 0)
        return fail(err, ERR_CONFLICT, "there is a %s '%s' already", kind, record->id);
    if (change->expect == EXPECT_SAME && revision == 0)
        return fail(err, ERR_CONFLICT, "%s '%s' is gone", kind, record->id);
    if (change->expect == EXPECT_SAME && revision != record->revision)
        return fail(err, ERR_CONFLICT, "%s '%s' was changed meanwhile", kind, record->id);
    return true;
}
