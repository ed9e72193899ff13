/* jansson parses; this file adds checks and the canonical form.
 *
 * 1. Nesting is checked before jansson recurses, so hostile depth costs a scan but no stack.
 * 2. Numbers are exact or refused: an integer that does not fit int64 and a real that overflows a
 * double are ERR_JSON, never rounded.
 * 3. The canonical form sorts keys by UTF-16 code units. UTF-8 order agrees with it except that
 * characters from U+10000 (surrogates D800..DFFF in UTF-16) come before U+E000..U+FFFF.
 * 4. An integral real from 2^63 up to 1e21 has a canonical form without exponent, as the RFC
 * demands; by (2) json_read refuses that form. Integers that json_read accepts are not affected. */
#include "base/json.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/child.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/strbuf.h"

static bool fail_here(struct error *err, enum error_code code, const char *text, size_t at,
                      const char *message)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    fail(err, code, "%s", message);
    return fail_at(err, "line %zu, column %zu", line, column);
}

/* Refuses NUL bytes, and nesting beyond the limit. Brackets in strings are not counted; for text
 * that is not JSON the count may be wrong, but never less than the depth to which jansson would
 * recurse. */
static bool check_nesting(const char *text, size_t size, struct error *err)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '\0')
            return fail_here(err, ERR_JSON, text, i, "found a NUL byte, expected JSON text");
        if (in_string) {
            if (c == '\\' && i + 1 < size && text[i + 1] != '\0')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > LIMIT_JSON_DEPTH)
                return fail_here(err, ERR_LIMIT, text, i, "JSON is nested too deep");
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return true;
}

size_t json_count(const char *text, size_t size)
{
    size_t count = 1;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else
            count += c == ',' || c == '[' || c == '{';
    }
    return count;
}

/* Whether there is memory for parsing a text of this size. */
static bool has_memory(size_t size)
{
    void *volatile probe = malloc(2 * size + 4096);
    bool has = probe != NULL;
    free(probe);
    return has;
}

/* When jansson fails without a message, an allocation has failed inside. Its lexer reports that as
 * a bad token; so a text that fails is parsed once more, and is a bad text only if memory is
 * available and it fails again.
 */
static json_t *load(const char *text, size_t size, json_error_t *why, bool *out_no_memory)
{
    json_t *value = NULL;
    *out_no_memory = false;
    for (int i = 0; i < 2 && !value && !*out_no_memory; i++) {
        value =
            json_loadb(size > 0 ? text : "", size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, why);
        *out_no_memory = !value && (json_error_code(why) == json_error_out_of_memory ||
                                    why->text[0] == '\0' || !has_memory(size));
    }
    return value;
}

json_t *json_read(const char *text, size_t size, struct error *err)
{
    if (size > LIMIT_JSON_BYTES) {
        fail(err, ERR_LIMIT, "JSON text has %zu bytes, at most %zu are allowed", size,
             LIMIT_JSON_BYTES);
        return NULL;
    }
    if (!check_nesting(text, size, err))
        return NULL;
    json_error_t why;
    bool no_memory;
    json_t *value = load(text, size, &why, &no_memory);
    if (!value) {
        if (no_memory)
            fail(err, ERR_NOMEM, "no memory for the JSON text");
        else
            fail(err, ERR_JSON, "%s", why.text);
        if (why.line > 0)
            fail_at(err, "line %d, column %d", why.line, why.column);
    }
    return value;
}

static void *memory_or_end(size_t size)
{
    void *made = malloc(size);
    if (!made && size > 0)
        child_no_memory();
    return made;
}

void json_end_without_memory(void)
{
    json_set_alloc_funcs(memory_or_end, free);
}

static void give_up(void *value)
{
    json_decref(value);
}

json_t *json_read_in(struct arena *arena, const char *text, size_t size, struct error *err)
{
    json_t *value = json_read(text, size, err);
    if (value)
        arena_own(arena, give_up, value);
    return value;
}

void json_write_string(const char *text, size_t size, struct strbuf *out)
{
    static const char short_escapes[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    strbuf_puts(out, "\"");
    size_t start = 0; /* start of the characters not yet written */
    for (size_t i = 0; i < size; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c >= 32 && c != '"' && c != '\\')
            continue;
        strbuf_add(out, text + start, i - start);
        start = i + 1;
        if (c >= 32)
            strbuf_printf(out, "\\%c", c);
        else if (short_escapes[c] != 0)
            strbuf_printf(out, "\\%c", short_escapes[c]);
        else
            strbuf_printf(out, "\\u%04x", c);
    }
    strbuf_add(out, text + start, size - start);
    strbuf_puts(out, "\"");
}

struct member {
    const char *key;
    size_t key_bytes;
    const json_t *value;
};

/* Compares valid UTF-8 in the order of UTF-16 code units. */
static int compare_members(const void *a_, const void *b_)
{
    const struct member *a = a_, *b = b_;
    size_t common = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    for (size_t i = 0; i < common; i++) {
        uint8_t x = (uint8_t)a->key[i], y = (uint8_t)b->key[i];
        if (x == y)
            continue;
        /* Lead bytes from 0xf0 on start characters that are surrogate pairs in UTF-16 (D800 …
         * DFFF), which order before 0xee and 0xef, the lead bytes of U+E000 … U+FFFF. */
        bool x_pair = x >= 0xf0, y_pair = y >= 0xf0;
        if (x >= 0xee && y >= 0xee && x_pair != y_pair)
            return x_pair ? -1 : 1;
        return x < y ? -1 : 1;
    }
    return (a->key_bytes > b->key_bytes) - (a->key_bytes < b->key_bytes);
}

static void write_object(const json_t *object, struct strbuf *out)
{
    size_t count = json_object_size(object), at = 0;
    struct member *members = ARENA_ARRAY(out->arena, struct member, count);
    json_t *walked = (json_t *)object; /* jansson's iterators take non-const pointers; nothing is
                                          changed */
    for (void *it = json_object_iter(walked); it; it = json_object_iter_next(walked, it)) {
        assert(at < count);
        members[at++] = (struct member){json_object_iter_key(it), json_object_iter_key_len(it),
                                        json_object_iter_value(it)};
    }
    qsort(members, at, sizeof *members, compare_members);
    strbuf_puts(out, "{");
    for (size_t i = 0; i < at; i++) {
        if (i > 0)
            strbuf_puts(out, ",");
        json_write_string(members[i].key, members[i].key_bytes, out);
        strbuf_puts(out, ":");
        json_write_canonical(members[i].value, out);
    }
    strbuf_puts(out, "}");
}

static void write_array(const json_t *array, struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            strbuf_puts(out, ",");
        json_write_canonical(json_array_get(array, i), out);
    }
    strbuf_puts(out, "]");
}

void json_write_canonical(const json_t *value, struct strbuf *out)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: write_object(value, out); break;
    case JSON_ARRAY: write_array(value, out); break;
    case JSON_STRING:
        json_write_string(json_string_value(value), json_string_length(value), out);
        break;
    case JSON_INTEGER:
        strbuf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL: {
        double real = json_real_value(value);
        strbuf_double(out, real == 0 ? 0.0 : real); /* ECMAScript has no "-0" */
        break;
    }
    case JSON_TRUE: strbuf_puts(out, "true"); break;
    case JSON_FALSE: strbuf_puts(out, "false"); break;
    case JSON_NULL: strbuf_puts(out, "null"); break;
    }
}

static const char *type_text(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

static bool check_object(const json_t *object, struct error *err)
{
    if (json_is_object(object))
        return true;
    return fail(err, ERR_JSON, "expected an object, found %s",
                object ? type_text(object) : "nothing");
}

static bool fail_type(struct error *err, const char *key, const char *expected, const json_t *found)
{
    return fail(err, ERR_JSON, "field '%s': expected %s, found %s", key, expected,
                type_text(found));
}

/* Sets *out to the field, or to NULL when it is absent and not required. */
static bool find(const json_t *object, const char *key, bool required, json_t **out,
                 struct error *err)
{
    if (!check_object(object, err))
        return false;
    *out = json_object_get(object, key);
    if (!*out && required)
        return fail(err, ERR_JSON, "field '%s' is missing", key);
    return true;
}

static bool read_string(const json_t *object, const char *key, bool required, const char **out,
                        struct error *err)
{
    json_t *value;
    if (!find(object, key, required, &value, err))
        return false;
    if (!value)
        return true;
    if (!json_is_string(value))
        return fail_type(err, key, "a string", value);
    *out = json_string_value(value);
    return true;
}

static bool read_int(const json_t *object, const char *key, bool required, int64_t *out,
                     struct error *err)
{
    json_t *value;
    if (!find(object, key, required, &value, err))
        return false;
    if (!value)
        return true;
    if (!json_is_integer(value))
        return fail_type(err, key, "an integer", value);
    *out = json_integer_value(value);
    return true;
}

bool json_get_string(const json_t *object, const char *key, const char **out, struct error *err)
{
    return read_string(object, key, true, out, err);
}

bool json_opt_string(const json_t *object, const char *key, const char **out, struct error *err)
{
    return read_string(object, key, false, out, err);
}

bool json_get_int(const json_t *object, const char *key, int64_t *out, struct error *err)
{
    return read_int(object, key, true, out, err);
}

bool json_opt_int(const json_t *object, const char *key, int64_t *out, struct error *err)
{
    return read_int(object, key, false, out, err);
}

bool json_get_array(const json_t *object, const char *key, json_t **out, struct error *err)
{
    json_t *value;
    if (!find(object, key, true, &value, err))
        return false;
    if (!json_is_array(value))
        return fail_type(err, key, "an array", value);
    *out = value;
    return true;
}

bool json_get_object(const json_t *object, const char *key, json_t **out, struct error *err)
{
    json_t *value;
    if (!find(object, key, true, &value, err))
        return false;
    if (!json_is_object(value))
        return fail_type(err, key, "an object", value);
    *out = value;
    return true;
}

bool json_opt_double(const json_t *object, const char *key, double *out, struct error *err)
{
    json_t *value;
    if (!find(object, key, false, &value, err))
        return false;
    if (!value)
        return true;
    if (!json_is_number(value))
        return fail_type(err, key, "a number", value);
    *out = json_number_value(value);
    return true;
}

bool json_opt_bool(const json_t *object, const char *key, bool *out, struct error *err)
{
    json_t *value;
    if (!find(object, key, false, &value, err))
        return false;
    if (!value)
        return true;
    if (!json_is_boolean(value))
        return fail_type(err, key, "a boolean", value);
    *out = json_is_true(value);
    return true;
}

static bool refuse_field(const char *key, const char *const *allowed, struct error *err)
{
    char names[400] = "";
    size_t used = 0;
    for (uint32_t i = 0; allowed[i] && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                                 allowed[i]);
    return fail(err, ERR_JSON, "unknown field '%.100s': %s%s", key,
                allowed[0] ? "these are known: " : "none is known here", names);
}

bool json_only_keys(const json_t *object, const char *const *allowed, struct error *err)
{
    if (!check_object(object, err))
        return false;
    json_t *walked = (json_t *)object;
    for (void *it = json_object_iter(walked); it; it = json_object_iter_next(walked, it)) {
        const char *key = json_object_iter_key(it);
        const char *const *name = allowed;
        while (*name && strcmp(*name, key) != 0)
            name++;
        if (!*name)
            return refuse_field(key, allowed, err);
    }
    return true;
}
