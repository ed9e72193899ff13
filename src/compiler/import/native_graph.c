/* clang-format off */
/* A native document that has its graph as text (graph/graph.h) instead of nodes: the canonical form
 * of models whose formats have ops of their own, ONNX and PyTorch.
 *
 *   {"format": "urza.blueprint/1",
 *    "graph": "graph \"net\"\ndim B …",
 *    "params"?: [{"id", "init"?, "trainable"?}…]    of the graph's params, by name: initial values,
 *                                          and whether they have a gradient unless asked for (true)
 *    "step"?: {…},                         of a training step (package/step_spec.h)
 *    "graft"?: {…}}                        of a graft (package/graft_spec.h)
 */
/* clang-format on */
#include "compiler/import/import_priv.h"

#include <string.h>

#include "base/strbuf.h"
#include "package/graft_spec.h"
#include "package/step_spec.h"

static bool read_init(struct blueprint *out, const json_t *item, struct error *err)
{
    static const char *const keys[] = {"id", "init", "trainable", NULL};
    const struct graph *graph = &out->graph;
    const json_t *trainable = json_object_get(item, "trainable");
    const char *id = NULL;
    if (!json_only_keys(item, keys, err) || !import_id(item, "id", &id, err))
        return false;
    if (trainable && !json_is_boolean(trainable))
        return fail(err, ERR_JSON, "'trainable' of param '%.100s' is not true or false", id);
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *node = graph_node(graph, graph->params.items[i]);
        const json_t *init = json_object_get(item, "init");
        if (strcmp(node->attrs->name, id) != 0)
            continue;
        bool ok = !init || init_read(init, (enum dtype)node->dtype, node->rank, graph->arena,
                                     &out->inits[i], err);
        out->inits[i].frozen = json_is_false(trainable);
        return ok;
    }
    return fail(err, ERR_BLUEPRINT, "the graph has no param '%.100s'", id);
}

bool native_read_graph(const json_t *document, struct arena *arena, struct blueprint *out,
                       struct error *err)
{
    static const char *const keys[] = {"format", "graph",       "params", "step",
                                       "graft",  DOCUMENT_KEYS, NULL};
    const char *text = NULL;
    const json_t *step = json_object_get(document, "step");
    const json_t *graft = json_object_get(document, "graft");
    json_t *params = json_object_get(document, "params"), *item;
    size_t i;
    if (!json_only_keys(document, keys, err) || !import_check_document(document, err) ||
        !json_get_string(document, "graph", &text, err) ||
        (params && !json_get_array(document, "params", &params, err)))
        return false;
    if (!graph_parse(&out->graph, arena, text, strlen(text), err))
        return fail_at(err, "field 'graph'");
    struct step_spec *spec = ARENA_NEW(arena, struct step_spec);
    if (step && !step_spec_parse(step, arena, spec, err))
        return fail_at(err, "field 'step'");
    out->step = step ? spec : NULL;
    struct graft_spec *grafted = ARENA_NEW(arena, struct graft_spec);
    if (graft && !graft_spec_parse(graft, arena, grafted, err))
        return fail_at(err, "field 'graft'");
    out->graft = graft ? grafted : NULL;
    out->inits = ARENA_ARRAY(arena, struct param_init, out->graph.params.count);
    json_array_foreach(params, i, item)
    {
        if (!read_init(out, item, err))
            return fail_at(err, "params[%zu]", i);
    }
    return true;
}

/* The params of which there is more to say than the graph does; NULL: none. */
static json_t *list_frozen(const struct blueprint *blueprint)
{
    json_t *list = NULL;
    for (uint32_t i = 0; i < blueprint->graph.params.count; i++) {
        if (!blueprint->inits[i].frozen)
            continue;
        json_t *item = import_object();
        const struct node *node = graph_node(&blueprint->graph, blueprint->graph.params.items[i]);
        import_set(item, "id", import_text(node->attrs->name));
        import_set(item, "trainable", json_false());
        list = list ? list : import_array();
        import_append(list, item);
    }
    return list;
}

void import_graph_json(struct blueprint *blueprint, struct arena *arena)
{
    struct strbuf text, canonical;
    strbuf_init(&text, arena);
    strbuf_init(&canonical, arena);
    graph_print(&blueprint->graph, &text);
    json_t *document = import_object();
    import_set(document, "format", import_text(NATIVE_FORMAT));
    import_set(document, "graph", import_text(text.data));
    json_t *frozen = list_frozen(blueprint);
    if (frozen)
        import_set(document, "params", frozen);
    if (blueprint->step)
        import_set(document, "step", step_spec_json(blueprint->step));
    if (blueprint->graft)
        import_set(document, "graft", graft_spec_json(blueprint->graft));
    json_write_canonical(document, &canonical);
    json_decref(document);
    blueprint->json = canonical.data;
    blueprint->json_bytes = canonical.size_bytes;
}
