/* clang-format off */
/* A native document that has its graph as text (graph/graph.h) instead of nodes: the canonical form
 * of models whose formats have ops of their own, ONNX and PyTorch.
 *
 *   {"format": "urza.blueprint/1",
 *    "graph": "graph \"net\"\ndim B …",
 *    "params"?: [{"id", "init"?, "trainable"?}…]    of the graph's params, by name: initial values,
 *                                          and whether they have a gradient unless asked for (true)
 *    "running"?: {"PARAM": "OUTPUT"…},     the last outputs, which are next values of params
 *    "draws"?: true,                       the last input is the seed of random numbers
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

/* The index of the param whose next value an output is; false: of none. */
static bool find_running(const struct graph *graph, json_t *list, const char *output, uint32_t *out)
{
    const char *param;
    json_t *name;
    json_object_foreach(list, param, name)
    {
        if (!json_is_string(name) || strcmp(json_string_value(name), output) != 0)
            continue;
        for (uint32_t i = 0; i < graph->params.count; i++)
            if (strcmp(graph_node(graph, graph->params.items[i])->attrs->name, param) == 0)
                return (*out = i, true);
    }
    return false;
}

static bool read_running(json_t *list, struct arena *arena, struct blueprint *out,
                         struct error *err)
{
    const struct graph *graph = &out->graph;
    size_t count = json_object_size(list);
    struct import_running *running = ARENA_ARRAY(arena, struct import_running, count + 1);
    if (count > graph->outputs.count)
        return fail(err, ERR_BLUEPRINT, "%zu running statistics, the graph has %u outputs", count,
                    graph->outputs.count);
    for (size_t i = 0; i < count; i++) {
        const struct graph_output *output = &graph->outputs.items[graph->outputs.count - count + i];
        const struct node *next = graph_node(graph, output->value), *old;
        uint32_t param;
        if (!find_running(graph, list, output->name, &param))
            return fail(err, ERR_BLUEPRINT, "output '%.100s' is the next value of no param",
                        output->name);
        old = graph_node(graph, graph->params.items[param]);
        if (old->dtype != next->dtype || old->rank != next->rank ||
            (old->rank > 0 && memcmp(old->shape, next->shape, old->rank * sizeof *old->shape) != 0))
            return fail(err, ERR_BLUEPRINT, "'%.100s' has another type than '%.100s'", output->name,
                        old->attrs->name);
        running[i] = (struct import_running){old->attrs->name, output->name};
        out->inits[param].frozen = true;
    }
    out->running = running;
    out->running_count = (uint32_t)count;
    return true;
}

static bool read_training(const json_t *document, struct arena *arena, struct blueprint *out,
                          struct error *err)
{
    const struct graph *graph = &out->graph;
    json_t *list = json_object_get(document, "running");
    if ((list && !json_get_object(document, "running", &list, err)) ||
        !json_opt_bool(document, "draws", &out->draws, err))
        return false;
    const struct node *last = graph->inputs.count > 0
                                  ? graph_node(graph, graph->inputs.items[graph->inputs.count - 1])
                                  : NULL;
    if (out->draws && (!last || strcmp(last->attrs->name, "seed") != 0 ||
                       last->dtype != DTYPE_I64 || last->rank > 0))
        return fail(err, ERR_BLUEPRINT, "'draws' goes with a last input 'seed' (i64, 0-d)");
    return !list || read_running(list, arena, out, err) || fail_at(err, "field 'running'");
}

bool native_read_graph(const json_t *document, struct arena *arena, struct blueprint *out,
                       struct error *err)
{
    static const char *const keys[] = {"format", "graph", "params",      "running", "draws",
                                       "step",   "graft", DOCUMENT_KEYS, NULL};
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
    return read_training(document, arena, out, err);
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

static json_t *list_running(const struct blueprint *blueprint)
{
    json_t *list = import_object();
    for (uint32_t i = 0; i < blueprint->running_count; i++)
        import_set(list, blueprint->running[i].param, import_text(blueprint->running[i].output));
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
    if (blueprint->running_count > 0 && !blueprint->step)
        import_set(document, "running", list_running(blueprint));
    if (blueprint->draws && !blueprint->step)
        import_set(document, "draws", json_true());
    if (blueprint->step)
        import_set(document, "step", step_spec_json(blueprint->step));
    if (blueprint->graft)
        import_set(document, "graft", graft_spec_json(blueprint->graft));
    json_write_canonical(document, &canonical);
    json_decref(document);
    blueprint->json = canonical.data;
    blueprint->json_bytes = canonical.size_bytes;
}
