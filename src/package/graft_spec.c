#include "package/graft_spec.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "package/package.h"

static const char *const blend_names[GRAFT_BLEND_COUNT] = {"residual", "lerp", "multiply", "gate"};

const char *graft_blend_name(enum graft_blend blend)
{
    return blend_names[blend];
}

static bool find_blend(const char *name, enum graft_blend *out)
{
    for (int i = 0; i < GRAFT_BLEND_COUNT; i++)
        if (strcmp(blend_names[i], name) == 0) {
            *out = (enum graft_blend)i;
            return true;
        }
    return false;
}

static bool read_chunks(const char *text, uint32_t *out)
{
    size_t digits = strspn(text, "0123456789");
    unsigned long number = digits > 0 && digits < 8 ? strtoul(text, NULL, 10) : 0;
    *out = (uint32_t)number;
    return text[digits] == '\0' && number >= 1 && number <= GRAFT_CHUNKS_MOST;
}

bool graft_spec_ask(const char *text, struct graft_spec *out, struct error *err)
{
    size_t length = strcspn(text, "/");
    char name[16] = "";
    if (length < sizeof name)
        memcpy(name, text, length);
    out->chunks = 1;
    if (!find_blend(name, &out->blend))
        return fail(err, ERR_USAGE, "'%.40s' is no blend: " GRAFT_BLENDS, text);
    if (text[length] == '/' && !read_chunks(text + length + 1, &out->chunks))
        return fail(err, ERR_USAGE, "'%.40s' is no number of chunks: 1 to %d", text + length + 1,
                    GRAFT_CHUNKS_MOST);
    return true;
}

json_t *graft_spec_json(const struct graft_spec *spec)
{
    json_t *object = json_object(), *last = json_array();
    for (uint32_t i = 0; i < spec->last_count; i++)
        json_array_append_new(last, json_string(spec->last[i]));
    json_object_set_new(object, "blend", json_string(graft_blend_name(spec->blend)));
    if (spec->chunks > 1)
        json_object_set_new(object, "chunks", json_integer(spec->chunks));
    json_object_set_new(object, "last", last);
    return object;
}

bool graft_spec_parse(const json_t *object, struct arena *arena, struct graft_spec *out,
                      struct error *err)
{
    static const char *const keys[] = {"blend", "chunks", "last", NULL};
    struct graft_spec spec = {0};
    const char *blend, **names;
    int64_t chunks = 1;
    json_t *last, *item;
    size_t i;
    if (!json_is_object(object))
        return fail(err, ERR_JSON, "is no object");
    if (!json_only_keys(object, keys, err) || !json_get_string(object, "blend", &blend, err) ||
        !json_opt_int(object, "chunks", &chunks, err) ||
        !json_get_array(object, "last", &last, err))
        return false;
    if (chunks < 1 || chunks > GRAFT_CHUNKS_MOST)
        return fail(err, ERR_JSON, "'chunks' is not from 1 to %d", GRAFT_CHUNKS_MOST);
    spec.chunks = (uint32_t)chunks;
    if (!find_blend(blend, &spec.blend))
        return fail(err, ERR_JSON, "'blend' is '%.40s', expected " GRAFT_BLENDS, blend);
    names = ARENA_ARRAY(arena, const char *, json_array_size(last) + 1);
    json_array_foreach(last, i, item)
    {
        if (!json_is_string(item))
            return fail(err, ERR_JSON, "'last' is no list of names");
        names[spec.last_count++] = arena_strdup(arena, json_string_value(item));
    }
    spec.last = names;
    *out = spec;
    return true;
}

static const char *input_name(const struct graph *graph, uint32_t from_end)
{
    return graph->inputs.count < from_end
               ? ""
               : graph_node(graph, graph->inputs.items[graph->inputs.count - from_end])
                     ->attrs->name;
}

static bool same_type(const struct node *a, const struct node *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->shape, b->shape, a->rank * sizeof *a->shape) == 0;
}

/* What a graft's block is (graft_spec.h). */
static bool check_block(const struct graph *graph, struct error *err)
{
    const value_id *inputs = graph->inputs.items;
    uint32_t count = graph->inputs.count, floats = 0, others = 0;
    const struct node *h = graph_node(graph, inputs[count - 2]), *seed = NULL;
    const struct node *alpha = graph_node(graph, inputs[count - 1]);
    for (uint32_t i = 0; i + 2 < count; i++)
        if (dtype_is_float((enum dtype)graph_node(graph, inputs[i])->dtype)) {
            seed = graph_node(graph, inputs[i]);
            floats++;
        } else {
            const struct node *n = graph_node(graph, inputs[i]);
            others += n->dtype == DTYPE_I64 && n->rank == 0 ? 1 : 2;
        }
    if (floats != 1 || others > 1 || graph->outputs.count != 1 || h->rank == 0 ||
        !same_type(seed, h) || !same_type(graph_node(graph, graph->outputs.items[0].value), h) ||
        alpha->rank != 1 || alpha->shape[0] != h->shape[0] ||
        alpha->dtype != (h->dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32))
        return fail(err, ERR_PACKAGE, "the package says it is a graft, but its block is none");
    return true;
}

bool graft_spec_of(const struct package_contents *contents, struct arena *arena,
                   const struct graft_spec **out, struct error *err)
{
    *out = NULL;
    if (contents->graph.inputs.count < 3 ||
        strcmp(input_name(&contents->graph, 1), GRAFT_ALPHA) != 0 ||
        strcmp(input_name(&contents->graph, 2), GRAFT_HOST) != 0)
        return true;
    json_t *root = json_read(contents->blueprint_json, contents->blueprint_bytes, err);
    if (!root)
        return false;
    const json_t *object = json_object_get(root, "graft");
    struct graft_spec *spec = ARENA_NEW(arena, struct graft_spec);
    bool ok =
        !object || graft_spec_parse(object, arena, spec, err) || fail_at(err, "field 'graft'");
    json_decref(root);
    ok = ok && (!object || check_block(&contents->graph, err));
    if (ok && object)
        *out = spec;
    return ok;
}
