/* The entry point: finds the dialect of a document and translates it to the native one. */
#include "compiler/import/import_priv.h"

#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/notes.h"

/* Translates the document to the native dialect; a new reference. */
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

/* The fields that determine the graph, and no others. */
static json_t *content_of(const json_t *native)
{
    static const char *const keys[] = {"format", "name",    "dims",    "inputs", "params",
                                       "nodes",  "outputs", "updates", "graph",  "step",
                                       "graft",  "running", "draws"};
    json_t *content = import_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *value = json_object_get(native, keys[i]);
        if (value)
            import_set(content, keys[i], import_copy(value));
    }
    return content;
}

/* Writes the ranges that were derived or that the caller gives into the document's dims. */
static void write_dims(json_t *native, const struct import_options *options)
{
    json_t *dims = json_object_get(native, "dims");
    for (uint32_t i = 0; dims && i < options->dim_count; i++) {
        const struct dim_name *name = &options->dims[i];
        json_t *range = import_object();
        if (!json_object_get(dims, name->name)) {
            json_decref(range);
            continue;
        }
        import_set(dims, name->name, range);
        if (name->min == name->max)
            import_set(range, "equals", import_textf("%lld", (long long)name->min));
        import_set(range, "min", import_int(name->min));
        import_set(range, "max", import_int(name->max));
        if (name->multiple_of != 1)
            import_set(range, "multiple_of", import_int(name->multiple_of));
        if (name->typical != 0)
            import_set(range, "typical", import_int(name->typical));
        if (name->why)
            import_set(range, "why", import_text(name->why));
    }
    for (uint32_t i = 0; dims && i < options->equal_count; i++) {
        json_t *range = json_object_get(dims, options->equal[i].name);
        if (!range)
            continue;
        json_object_del(range, "why");
        import_set(range, "equals", import_text(options->equal[i].expression));
    }
}

/* Counts the nodes by the document's op names. */
static void note_document(const json_t *document, struct import_notes *notes)
{
    const json_t *nodes = json_object_get(document, "nodes"), *node;
    size_t i;
    notes->format = json_object_get(document, "format")         ? "blueprint"
                    : json_object_get(document, "architecture") ? "architecture"
                                                                : "BlueprintIR";
    json_array_foreach(nodes, i, node)
    {
        const char *op = json_string_value(json_object_get(node, "op_type"));
        op = op ? op : json_string_value(json_object_get(node, "op"));
        import_note_op(notes, op ? op : "?")->count++;
    }
}

static bool read_native(json_t *native, const struct import_options *options, struct arena *arena,
                        struct blueprint *out, struct error *err)
{
    struct derivation d;
    if (options->dim_count > 0 && json_object_get(native, "graph"))
        return fail(
            err, ERR_USAGE,
            "the dims of a graph in text are part of it: give --dim to the import of its model");
    if (options->training && json_object_get(native, "graph"))
        return fail(err, ERR_UNSUPPORTED,
                    "training mode is for blueprints with nodes: a graph in text has the mode that "
                    "it was made in");
    derive_begin(&d, options, arena);
    for (;;) {
        struct strbuf why;
        struct error failure = {.code = ERR_NONE};
        *out = (struct blueprint){.json = NULL};
        write_dims(native, &d.options);
        bool ok = native_read(native, options, arena, out, &failure);
        strbuf_init(&why, arena);
        if (ok) {
            derive_warn(&d, &why);
            out->warnings = why.data;
            out->warnings_bytes = why.size_bytes;
            return import_check_dims(options, &out->graph.dims, err);
        }
        strbuf_printf(&why, "%s: %s", failure.place, failure.message);
        if (failure.code != ERR_SHAPE ||
            !derive_more(&d, &out->graph.dims, &out->graph.dims.unproved, why.data)) {
            *err = failure;
            return false;
        }
    }
}

bool blueprint_read(const char *text, size_t size, const struct import_options *options,
                    struct arena *arena, struct blueprint *out, struct error *err)
{
    bool ok = false;
    struct blueprint *read = ARENA_NEW(arena, struct blueprint);
    if (options->training && (onnx_looks_like(text, size) || pt2_looks_like(text, size)))
        return fail(
            err, ERR_UNSUPPORTED,
            "training mode is for blueprints: a model has the mode that it was exported in");
    if (onnx_looks_like(text, size))
        return onnx_read(text, size, options, arena, out, err);
    if (pt2_looks_like(text, size))
        return pt2_check(text, size, arena, err) && pt2_read(text, size, options, arena, out, err);
    if (!import_check_kind(text, size, err) || !import_check_known(options, NULL, 0, err))
        return false;
    json_t *native = NULL, *document = json_read(text, size, err);
    if (!document)
        return false;
    native = to_native(document, options, err);
    if (options->notes) {
        note_document(document, options->notes);
        options->notes->graph = &read->graph;
    }
    if (!native || !read_native(native, options, arena, read, err))
        goto out;
    struct strbuf canonical;
    strbuf_init(&canonical, arena);
    json_t *content = content_of(native);
    json_write_canonical(content, &canonical);
    json_decref(content);
    read->json = canonical.data;
    read->json_bytes = canonical.size_bytes;
    *out = *read;
    if (options->notes)
        options->notes->graph = &out->graph;
    ok = true;
out:
    json_decref(native);
    json_decref(document);
    return ok;
}
