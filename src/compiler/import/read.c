/* The door: which dialect a document is in, and its translation to the native one. */
#include "compiler/import/import_priv.h"

#include <string.h>

#include "base/strbuf.h"

/* The document in the native dialect, a new reference. */
static json_t *to_native(const json_t *document, const struct import_options *options,
                         struct error *err)
{
    if (json_object_get(document, "format"))
        return import_copy(document);
    if (json_object_get(document, "architecture"))
        return dialect_from_architecture(document, options, err);
    if (json_object_get(document, "nodes"))
        return dialect_from_blueprint_ir(document, options, err);
    fail(err, ERR_JSON,
         "expected an object with a field 'format' (%s), 'architecture' or 'nodes', found %s",
         NATIVE_FORMAT, json_is_object(document) ? "none of them" : import_type_text(document));
    return NULL;
}

/* What the graph is made of, and nothing else. */
static json_t *content_of(const json_t *native)
{
    static const char *const keys[] = {"format", "name",  "dims",    "inputs",
                                       "params", "nodes", "outputs", "graph"};
    json_t *content = import_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(native, keys[i]);
        if (value)
            import_set(content, keys[i], import_copy(value));
    }
    return content;
}

/* Doubles the least value of the dims that BlueprintIR's -1 makes of image sides ("d2" …); false
 * when there are none or they have reached MAX_LEAST_SIDE. */
#define MAX_LEAST_SIDE 256
static bool raise_least_sides(json_t *native)
{
    json_t *dims = json_object_get(native, "dims"), *range;
    const char *name;
    bool raised = false;
    json_object_foreach(dims, name, range)
    {
        int64_t least = json_integer_value(json_object_get(range, "min"));
        if (name[0] != 'd' || strcmp(name, "d1") == 0 || least >= MAX_LEAST_SIDE)
            continue;
        import_set(range, "min", import_int(2 * least));
        raised = true;
    }
    return raised;
}

/* BlueprintIR gives a dynamic dim no range, but a window must fit its image: the least power of two
 * for which all shapes are legal becomes the least value. When there is none, the first attempt's
 * error stands. */
static bool read_native(const json_t *document, json_t *native,
                        const struct import_options *options, struct arena *arena,
                        struct blueprint *out, struct error *err)
{
    if (native_read(native, options, arena, out, err))
        return true;
    struct error again = *err;
    bool guess = !json_object_get(document, "format") && json_object_get(document, "nodes");
    while (guess && again.code == ERR_SHAPE && raise_least_sides(native)) {
        *out = (struct blueprint){.json = NULL};
        if (native_read(native, options, arena, out, &again))
            return true;
    }
    return false;
}

bool blueprint_read(const char *text, size_t size, const struct import_options *options,
                    struct arena *arena, struct blueprint *out, struct error *err)
{
    bool ok = false;
    struct blueprint read = {.json = NULL};
    if (onnx_looks_like(text, size))
        return onnx_read(text, size, options, arena, out, err);
    if (pt2_looks_like(text, size))
        return pt2_read(text, size, options, arena, out, err);
    json_t *native = NULL, *document = json_read(text, size, err);
    if (!document)
        return false;
    native = to_native(document, options, err);
    if (!native || !read_native(document, native, options, arena, &read, err))
        goto out;
    struct strbuf canonical;
    strbuf_init(&canonical, arena);
    json_t *content = content_of(native);
    json_write_canonical(content, &canonical);
    json_decref(content);
    read.json = canonical.data;
    read.json_bytes = canonical.size_bytes;
    *out = read;
    ok = true;
out:
    json_decref(native);
    json_decref(document);
    return ok;
}
