/* Reading and building JSON: functions that all dialects share. */
#include "compiler/import/import_priv.h"

#include <string.h>

#include "base/child.h"

static json_t *must(json_t *value)
{
    if (!value)
        child_no_memory();
    return value;
}

void import_set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, must(value)) != 0)
        child_no_memory();
}

void import_append(json_t *array, json_t *value)
{
    if (json_array_append_new(array, must(value)) != 0)
        child_no_memory();
}

json_t *import_object(void)
{
    return must(json_object());
}

json_t *import_array(void)
{
    return must(json_array());
}

json_t *import_text(const char *text)
{
    return must(json_string(text));
}

json_t *import_textf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    json_t *text = json_vsprintf(fmt, args);
    va_end(args);
    return must(text);
}

json_t *import_int(int64_t value)
{
    return must(json_integer(value));
}

json_t *import_real(double value)
{
    return must(json_real(value));
}

json_t *import_copy(const json_t *value)
{
    return json_incref((json_t *)value); /* the count of references is no part of the value */
}

const char *import_type_text(const json_t *value)
{
    static const char *const texts[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array",     [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a real number", [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",    [JSON_NULL] = "null",
    };
    return value ? texts[json_typeof(value)] : "nothing";
}

bool import_dtype(const char *name, enum dtype *out, struct error *err)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } precisions[] = {{"fp64", DTYPE_F64}, {"fp32", DTYPE_F32}, {"fp16", DTYPE_F16}};
    enum dtype dtype = dtype_from_name(name);
    for (size_t i = 0; i < sizeof precisions / sizeof *precisions && dtype == DTYPE_NONE; i++)
        if (strcmp(precisions[i].name, name) == 0)
            dtype = precisions[i].dtype;
    if (dtype == DTYPE_NONE)
        return fail(err, ERR_BLUEPRINT, "unknown dtype '%.64s', expected f32, float32, i64 …",
                    name);
    *out = dtype;
    return true;
}

bool import_id(const json_t *object, const char *key, const char **out, struct error *err)
{
    const char *id = NULL;
    if (!json_get_string(object, key, &id, err))
        return false;
    if (id[0] == '\0')
        return fail(err, ERR_BLUEPRINT, "field '%s' is empty, expected a name", key);
    *out = id;
    return true;
}

bool import_check_document(const json_t *document, struct error *err)
{
    const char *text = NULL;
    json_t *version = json_object_get(document, "version");
    json_t *tags = json_object_get(document, "tags"), *tag;
    size_t i;
    if (!json_opt_string(document, "id", &text, err) ||
        !json_opt_string(document, "name", &text, err))
        return false;
    if (text && strlen(text) > LIMIT_NAME)
        return fail(err, ERR_LIMIT, "field 'name' has %zu bytes, at most %d", strlen(text),
                    LIMIT_NAME);
    if (version && !json_is_string(version) && !json_is_number(version))
        return fail(err, ERR_JSON, "field 'version': expected a string or a number, found %s",
                    import_type_text(version));
    if (tags && !json_is_array(tags))
        return fail(err, ERR_JSON, "field 'tags': expected an array, found %s",
                    import_type_text(tags));
    json_array_foreach(tags, i, tag)
    {
        if (!json_is_string(tag))
            return fail(err, ERR_JSON, "field 'tags': expected strings, found %s",
                        import_type_text(tag));
    }
    json_t *metadata = json_object_get(document, "metadata");
    if (metadata && !json_is_object(metadata))
        return fail(err, ERR_JSON, "field 'metadata': expected an object, found %s",
                    import_type_text(metadata));
    return true;
}

void import_plain(struct error *err)
{
    size_t length = strcspn(err->message, ":");
    for (int prim = PRIM_NONE + 1; prim < PRIM_COUNT; prim++) {
        const char *name = prim_info((enum prim)prim)->name;
        if (strlen(name) != length || memcmp(err->message, name, length) != 0 ||
            err->message[length + 1] != ' ')
            continue;
        size_t rest = strlen(err->message + length + 2);
        memmove(err->message, err->message + length + 2, rest + 1);
        return;
    }
}
