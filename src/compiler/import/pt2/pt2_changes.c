/* What a program changes: buffers and inputs that it writes to.
 *
 * A program as exported writes with in-place calls, batch norm in training mode among them; after
 * run_decompositions() its signature says which results are the next values. Either way these
 * values become outputs "new.NAME", and whoever runs the graph stores them.
 *
 * Small weights of integers become constants where they are used, so which ones are written to must
 * be known before: pt2_find_writes follows views through the calls by their names alone. */
#include <stdio.h>
#include <string.h>

#include "compiler/import/pt2/pt2_training_priv.h"

/* Finding writes. */

struct scan {
    struct pt2 *p;
    struct strmap roots; /* name → index of the weight that it is a view of */
    const char *const *labels;
};

static const char *tensor_name(const json_t *arg)
{
    return json_string_value(json_object_get(json_object_get(arg, "as_tensor"), "name"));
}

static bool root_of(const struct scan *s, const json_t *arg, uint32_t *out)
{
    const char *name = tensor_name(arg);
    return name && strmap_find(&s->roots, name, out);
}

static void add_root(struct scan *s, const json_t *output, uint32_t root)
{
    const json_t *list = json_object_get(output, "as_tensors"), *part;
    const char *name = tensor_name(output);
    size_t i;
    if (name)
        strmap_add(&s->roots, s->p->arena, name, root);
    json_array_foreach(list, i, part)
    {
        name = json_string_value(json_object_get(part, "name"));
        if (name)
            strmap_add(&s->roots, s->p->arena, name, root);
    }
}

static bool scan_nodes(struct scan *s, const json_t *body, struct error *err);

/* A call with an inner graph: the inputs of the graph are the last operands. */
static bool scan_inner(struct scan *s, const json_t *node, const json_t *graph, struct error *err)
{
    struct scan inner = {.p = s->p, .labels = s->labels};
    const json_t *given = json_object_get(node, "inputs"), *inputs, *results, *output;
    size_t i, offset;
    uint32_t root;
    inputs = json_object_get(graph, "inputs");
    results = json_object_get(graph, "outputs");
    offset = json_array_size(given) - json_array_size(inputs);
    for (i = 0; i < json_array_size(inputs) && json_array_size(given) >= offset; i++)
        if (root_of(s, json_object_get(json_array_get(given, offset + i), "arg"), &root))
            add_root(&inner, json_array_get(inputs, i), root);
    if (!scan_nodes(&inner, graph, err))
        return false;
    json_array_foreach(json_object_get(node, "outputs"), i, output)
    {
        if (root_of(&inner, json_array_get(results, i), &root))
            add_root(s, output, root);
    }
    return true;
}

static bool scan_nodes(struct scan *s, const json_t *body, struct error *err)
{
    const json_t *nodes = json_object_get(body, "nodes"), *node, *input, *output;
    size_t i, k;
    if (json_array_size(nodes) > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "more than %d nodes", LIMIT_NODES);
    json_array_foreach(nodes, i, node)
    {
        const char *target = json_string_value(json_object_get(node, "target"));
        const json_t *inputs = json_object_get(node, "inputs");
        uint32_t root;
        bool in_place = false;
        json_array_foreach(inputs, k, input)
        {
            const json_t *graph = json_object_get(
                json_object_get(json_object_get(input, "arg"), "as_graph"), "graph");
            if (graph && !scan_inner(s, node, graph, err))
                return false;
        }
        if (!target || !root_of(s, json_object_get(json_array_get(inputs, 0), "arg"), &root) ||
            !aten_aliases(target, &in_place))
            continue;
        if (in_place)
            strmap_add(&s->p->training->written, s->p->arena, s->labels[root], 1);
        json_array_foreach(json_object_get(node, "outputs"), k, output)
        {
            add_root(s, output, root);
        }
    }
    return true;
}

/* The label and the name of an input_spec that is a weight; false: it is none. */
static bool weight_spec(const json_t *spec, const char **label, const char **name)
{
    const char *kind = json_object_iter_key(json_object_iter((json_t *)spec));
    const json_t *arg = json_object_get(json_object_get(spec, kind ? kind : ""), "arg");
    *label = json_string_value(json_object_get(arg, "name"));
    *name = pt2_weight_name(spec);
    return *label && *name;
}

/* The name of what an output_spec is the next value of; NULL: it is a result. */
static const char *changed_name(const json_t *body)
{
    static const char *const keys[] = {"buffer_name", "parameter_name", "user_input_name"};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && !name; i++)
        name = json_string_value(json_object_get(body, keys[i]));
    return name;
}

bool pt2_find_writes(struct pt2 *p, struct error *err)
{
    const json_t *specs = json_object_get(p->signature, "input_specs"), *spec, *output;
    struct scan scan = {.p = p};
    const char **labels = ARENA_ARRAY(p->arena, const char *, json_array_size(specs) + 1), *name;
    uint32_t count = 0;
    size_t i, k;
    scan.labels = labels;
    json_array_foreach(specs, i, spec)
    {
        if (!weight_spec(spec, &labels[count], &name))
            continue;
        json_array_foreach(json_object_get(p->signature, "output_specs"), k, output)
        {
            const char *kind = json_object_iter_key(json_object_iter((json_t *)output));
            const char *changed = changed_name(json_object_get(output, kind ? kind : ""));
            if (changed && strcmp(changed, name) == 0)
                strmap_add(&p->training->written, p->arena, labels[count], 1);
        }
        strmap_add(&scan.roots, p->arena, labels[count], count);
        count++;
    }
    return scan_nodes(&scan, p->body, err);
}

/* Next values. */

struct change {
    value_id source, next; /* source: the input or param */
    bool weight;
};

struct changes {
    struct pt2 *p;
    VEC(struct change) items;
};

/* What an entry's tensor is after the program; refuses what is not known. */
static bool add_change(struct changes *c, const char *name, const struct pt2_name *source,
                       uint32_t next, struct error *err)
{
    struct pt2 *p = c->p;
    if (!pt2_refresh(p, next, err))
        return false;
    const struct pt2_name *entry = &p->entries.items[next];
    if (entry->why)
        pt2_refuse(p, name,
                   "what the program leaves in it is not known: whether a tensor that it "
                   "writes to is a view of it, only strides say");
    if (p->refusals.count > 0 || entry->value == source->first)
        return true;
    struct change change = {source->first, entry->value, false};
    const struct node *n = graph_node(p->graph, change.next);
    if (n->prim == PRIM_DETACH)
        change.next = n->operands[0]; /* no cotangent comes from outside */
    n = graph_node(p->graph, change.source);
    for (uint32_t i = 0; i < p->graph->params.count; i++) {
        if (p->graph->params.items[i] != change.source)
            continue;
        change.weight = true;
        if (!p->frozen.items[i])
            pt2_refuse(p, name, "the program writes to a parameter that requires gradients");
    }
    if (n->prim != PRIM_PARAM && n->prim != PRIM_INPUT)
        pt2_refuse(p, name, "the program writes to what is a constant here");
    else
        VEC_PUSH(p->arena, &c->items, change);
    return true;
}

/* In-place calls: what was written to has another version. */
static bool find_written(struct changes *c, struct error *err)
{
    struct pt2 *p = c->p;
    const json_t *specs = json_object_get(p->signature, "input_specs"), *spec;
    size_t i;
    json_array_foreach(specs, i, spec)
    {
        const char *label, *name;
        uint32_t index;
        if (!weight_spec(spec, &label, &name))
            name = label = tensor_name(json_object_get(json_object_get(spec, "user_input"), "arg"));
        if (!label || !strmap_find(&p->names, label, &index))
            continue;
        const struct pt2_name entry = p->entries.items[index];
        if (entry.spec || entry.refused || entry.first == VALUE_NONE)
            continue;
        const struct pt2_storage *storage = &p->storages.items[entry.storage];
        if ((storage->version > 0 || storage->lost) && !add_change(c, name, &entry, index, err))
            return false;
    }
    return true;
}

/* The entry of the weight or input that has a name in the module or graph; NULL: there is none, or
 * after failing. */
static const struct pt2_name *named(struct pt2 *p, const char *name, struct error *err)
{
    const json_t *specs = json_object_get(p->signature, "input_specs"), *spec;
    size_t i;
    json_array_foreach(specs, i, spec)
    {
        const char *label, *own;
        if (weight_spec(spec, &label, &own) && strcmp(own, name) == 0)
            return pt2_find(p, label, err);
    }
    return pt2_find(p, name, err);
}

/* The signature of a decomposed program. */
static bool find_signed(struct changes *c, struct error *err)
{
    struct pt2 *p = c->p;
    const json_t *specs = json_object_get(p->signature, "output_specs"), *spec;
    size_t i;
    json_array_foreach(specs, i, spec)
    {
        const char *kind = json_object_iter_key(json_object_iter((json_t *)spec));
        const json_t *body = json_object_get(spec, kind ? kind : "");
        const char *name = changed_name(body), *value;
        if (!name)
            continue;
        value = json_string_value(json_object_get(json_object_get(body, "arg"), "name"));
        const struct pt2_name *found = named(p, name, err);
        const struct pt2_name source = found ? *found : (struct pt2_name){.value = VALUE_NONE};
        const struct pt2_name *next = found && value ? pt2_find(p, value, err) : NULL;
        if (!next || next->dim != DIM_NONE)
            return err->code != ERR_NONE
                       ? false
                       : fail(err, ERR_BLUEPRINT, "the next value of '%.100s' is no value", name);
        if (!source.refused && !next->refused && source.first != VALUE_NONE &&
            !add_change(c, name, &source, (uint32_t)(next - p->entries.items), err))
            return false;
    }
    return true;
}

static bool give(struct pt2 *p, const struct change *change, struct import_running *out,
                 struct error *err)
{
    const char *name = graph_node(p->graph, change->source)->attrs->name;
    size_t bytes = strlen(name) + sizeof "new.";
    char *output = arena_array(p->arena, bytes, 1);
    snprintf(output, bytes, "new.%s", name);
    *out = (struct import_running){name, output};
    return graph_output(p->graph, output, change->next, err);
}

bool pt2_changes(struct pt2 *p, struct blueprint *out, struct error *err)
{
    struct changes c = {.p = p};
    if (!(p->decomposed ? find_signed(&c, err) : find_written(&c, err)))
        return false;
    struct import_running *running =
        ARENA_ARRAY(p->arena, struct import_running, c.items.count + 1);
    uint32_t count = 0;
    for (int weights = 0; weights < 2 && p->refusals.count == 0; weights++)
        for (uint32_t i = 0; i < c.items.count; i++) {
            if (c.items.items[i].weight != (weights == 1))
                continue;
            if (!give(p, &c.items.items[i], &running[count], err))
                return false;
            count += weights == 1;
        }
    out->running = running;
    out->running_count = count;
    out->draws = p->training->seed != VALUE_NONE;
    return true;
}
