/* The model around its nodes: inputs, parameters, outputs, and its serialisation. */
#include "compiler/export/export.h"

#include <onnx.pb-c.h>
#include <string.h>

#include "base/error.h"
#include "base/map.h"
#include "base/strbuf.h"
#include "compiler/export/export_priv.h"

#define IR_VERSION 8              /* the version that belongs to opset 18 */
#define MODEL_BYTES_MAX INT32_MAX /* limit of protocol buffer parsers */

/* Names of values are "v1", "v2" …, with as many underscores after the v as needed to differ from
 * every name of the graph. */
static const char *choose_prefix(const struct export *e)
{
    struct strbuf prefix;
    bool taken = true;
    strbuf_init(&prefix, e->arena);
    strbuf_puts(&prefix, "v");
    while (taken) {
        taken = false;
        for (value_id v = 1; v < e->graph->nodes.count; v++) {
            const char *name = graph_node(e->graph, v)->attrs->name;
            taken = taken || (name && strncmp(name, prefix.data, prefix.size_bytes) == 0);
        }
        for (uint32_t i = 0; i < e->graph->outputs.count; i++) {
            const char *name = e->graph->outputs.items[i].name;
            taken = taken || strncmp(name, prefix.data, prefix.size_bytes) == 0;
        }
        if (taken)
            strbuf_puts(&prefix, "_");
    }
    return prefix.data;
}

static Onnx__TensorShapeProto__Dimension *describe_dim(struct export *e, dim_id dim)
{
    Onnx__TensorShapeProto__Dimension *proto =
        ARENA_NEW(e->arena, Onnx__TensorShapeProto__Dimension);
    uint32_t name;
    int64_t value;
    onnx__tensor_shape_proto__dimension__init(proto);
    if (dim_is_const(&e->graph->dims, dim, &value)) {
        proto->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        proto->dim_value = value;
    } else if (dim_is_name(&e->graph->dims, dim, &name)) {
        proto->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        proto->dim_param = (char *)e->graph->dims.names.items[name].name;
    }
    return proto;
}

static Onnx__ValueInfoProto *describe(struct export *e, const char *name, value_id value)
{
    const struct node *node = graph_node(e->graph, value);
    Onnx__ValueInfoProto *info = ARENA_NEW(e->arena, Onnx__ValueInfoProto);
    Onnx__TypeProto *type = ARENA_NEW(e->arena, Onnx__TypeProto);
    Onnx__TypeProto__Tensor *tensor = ARENA_NEW(e->arena, Onnx__TypeProto__Tensor);
    Onnx__TensorShapeProto *shape = ARENA_NEW(e->arena, Onnx__TensorShapeProto);
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type);
    onnx__type_proto__tensor__init(tensor);
    onnx__tensor_shape_proto__init(shape);
    shape->n_dim = node->rank;
    shape->dim = ARENA_ARRAY(e->arena, Onnx__TensorShapeProto__Dimension *, node->rank);
    for (uint32_t d = 0; d < node->rank; d++)
        shape->dim[d] = describe_dim(e, node->shape[d]);
    tensor->has_elem_type = 1;
    tensor->elem_type = export_type((enum dtype)node->dtype);
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = (char *)name;
    info->type = type;
    return info;
}

static Onnx__TensorProto *initializer(struct export *e, value_id value,
                                      const struct package_param *param)
{
    const struct node *node = graph_node(e->graph, value);
    Onnx__TensorProto *t = ARENA_NEW(e->arena, Onnx__TensorProto);
    onnx__tensor_proto__init(t);
    t->name = (char *)node->attrs->name;
    t->has_data_type = 1;
    t->data_type = export_type((enum dtype)node->dtype);
    t->n_dims = node->rank;
    t->dims = ARENA_ARRAY(e->arena, int64_t, node->rank);
    for (uint32_t d = 0; d < node->rank; d++)
        dim_is_const(&e->graph->dims, node->shape[d], &t->dims[d]);
    t->has_raw_data = 1;
    t->raw_data.data = (uint8_t *)(uintptr_t)param->data;
    t->raw_data.len = param->data_bytes;
    return t;
}

/* The name of an output; underscores are appended where an input, a param or another output has the
 * same name. */
static const char *output_name(struct export *e, struct strmap *taken, const char *name)
{
    struct strbuf text;
    strbuf_init(&text, e->arena);
    strbuf_puts(&text, name);
    while (!strmap_add(taken, e->arena, arena_strdup(e->arena, text.data), 0))
        strbuf_puts(&text, "_");
    return text.data;
}

static void add_outputs(struct export *e, Onnx__GraphProto *graph)
{
    const struct graph *from = e->graph;
    struct strmap taken = {0};
    for (value_id v = 1; v < from->nodes.count; v++)
        if (graph_node(from, v)->attrs->name)
            strmap_add(&taken, e->arena, graph_node(from, v)->attrs->name, 0);
    graph->n_output = from->outputs.count;
    graph->output = ARENA_ARRAY(e->arena, Onnx__ValueInfoProto *, from->outputs.count);
    for (uint32_t i = 0; i < from->outputs.count; i++) {
        value_id value = from->outputs.items[i].value;
        const char *name = output_name(e, &taken, from->outputs.items[i].name);
        NODE(e, "Identity", e->names[value]);
        e->nodes.items[e->nodes.count - 1]->output[0] = (char *)name;
        graph->output[i] = describe(e, name, value);
    }
}

/* Adds the nodes, except those whose results are not used. */
static void add_nodes(struct export *e, Onnx__GraphProto *graph)
{
    struct strmap needed = {0};
    uint32_t first = e->nodes.count;
    Onnx__NodeProto **kept = ARENA_ARRAY(e->arena, Onnx__NodeProto *, e->nodes.count);
    for (size_t i = 0; i < graph->n_output; i++)
        strmap_add(&needed, e->arena, graph->output[i]->name, 0);
    for (uint32_t i = e->nodes.count; i-- > 0;) {
        Onnx__NodeProto *node = e->nodes.items[i];
        uint32_t found;
        bool live = false;
        for (size_t o = 0; o < node->n_output; o++)
            live = live || strmap_find(&needed, node->output[o], &found);
        if (!live)
            continue;
        for (size_t o = 0; o < node->n_input; o++)
            strmap_add(&needed, e->arena, node->input[o], 0);
        kept[--first] = node;
    }
    graph->node = kept + first;
    graph->n_node = e->nodes.count - first;
}

static bool check_refusals(struct export *e, struct strbuf *refused, struct error *err)
{
    struct strbuf text;
    if (e->refusals.count == 0)
        return true;
    strbuf_init(&text, e->arena);
    strbuf_puts(&text, "not in ONNX:");
    for (uint32_t i = 0; i < e->refusals.count; i++) {
        const struct export_refusal *r = &e->refusals.items[i];
        strbuf_printf(&text, "%s %s (%s)", i > 0 ? "," : "", r->op, r->why);
        if (r->count > 1)
            strbuf_printf(&text, " %u times", r->count);
    }
    if (refused)
        strbuf_puts(refused, text.data);
    return fail(err, ERR_UNSUPPORTED, "%s", text.data);
}

/* ONNX has no ranges of dims; they are stored in the metadata, where onnx_read finds them. */
static void add_ranges(struct export *e, Onnx__ModelProto *model)
{
    uint32_t count = e->graph->dims.names.count;
    model->n_metadata_props = count;
    model->metadata_props = ARENA_ARRAY(e->arena, Onnx__StringStringEntryProto *, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct dim_name *name = &e->graph->dims.names.items[i];
        Onnx__StringStringEntryProto *entry = ARENA_NEW(e->arena, Onnx__StringStringEntryProto);
        struct strbuf key, value;
        strbuf_init(&key, e->arena);
        strbuf_init(&value, e->arena);
        strbuf_printf(&key, "urza.dim.%s", name->name);
        strbuf_printf(&value, "%lld..%lld multiple %lld typical %lld", (long long)name->min,
                      (long long)name->max, (long long)name->multiple_of, (long long)name->typical);
        onnx__string_string_entry_proto__init(entry);
        entry->key = key.data;
        entry->value = value.data;
        model->metadata_props[i] = entry;
    }
}

static bool pack(struct export *e, Onnx__GraphProto *graph, struct onnx_file *out,
                 struct error *err)
{
    Onnx__ModelProto *model = ARENA_NEW(e->arena, Onnx__ModelProto);
    Onnx__OperatorSetIdProto *opset = ARENA_NEW(e->arena, Onnx__OperatorSetIdProto);
    onnx__model_proto__init(model);
    onnx__operator_set_id_proto__init(opset);
    opset->domain = "";
    opset->has_version = 1;
    opset->version = EXPORT_OPSET;
    model->has_ir_version = 1;
    model->ir_version = IR_VERSION;
    model->producer_name = "urza";
    model->opset_import = &opset;
    model->n_opset_import = 1;
    model->graph = graph;
    add_ranges(e, model);
    size_t size = onnx__model_proto__get_packed_size(model);
    if (size > MODEL_BYTES_MAX)
        return fail(err, ERR_LIMIT, "the model would have %zu bytes, more than 2 GiB", size);
    uint8_t *bytes = arena_alloc(e->arena, size, 1);
    onnx__model_proto__pack(model, bytes);
    *out = (struct onnx_file){bytes, size};
    return true;
}

/* Translates each value to nodes, and notes the name of its result. */
static void translate(struct export *e)
{
    uint32_t count = e->graph->nodes.count;
    e->names = ARENA_ARRAY(e->arena, const char *, count);
    e->wide = ARENA_ARRAY(e->arena, const char *, count);
    e->thin = ARENA_ARRAY(e->arena, const char *, count);
    for (uint32_t i = 0; i < e->graph->inputs.count; i++) { /* so that dims can be read from their
                                                               shapes */
        value_id input = e->graph->inputs.items[i];
        e->names[input] = graph_node(e->graph, input)->attrs->name;
    }
    for (e->now = 1; e->now < count; e->now++) {
        struct node node = *graph_node(e->graph, e->now);
        e->names[e->now] = export_prim(e, &node);
    }
}

bool onnx_write(const struct graph *graph, const struct package_param *params, struct arena *arena,
                struct strbuf *refused, struct onnx_file *out, struct error *err)
{
    struct graph *live = ARENA_NEW(arena, struct graph);
    struct export *e = ARENA_NEW(arena, struct export);
    Onnx__GraphProto *proto = ARENA_NEW(arena, Onnx__GraphProto);
    if (!graph_copy_live(live, arena, graph, err))
        return false;
    *e = (struct export){.graph = live, .arena = arena};
    e->prefix = choose_prefix(e);
    translate(e);
    onnx__graph_proto__init(proto);
    proto->name = (char *)(live->name[0] ? live->name : "graph");
    proto->n_input = live->inputs.count;
    proto->input = ARENA_ARRAY(arena, Onnx__ValueInfoProto *, live->inputs.count);
    for (uint32_t i = 0; i < live->inputs.count; i++) {
        value_id input = live->inputs.items[i];
        proto->input[i] = describe(e, e->names[input], input);
    }
    proto->n_initializer = live->params.count;
    proto->initializer = ARENA_ARRAY(arena, Onnx__TensorProto *, live->params.count);
    for (uint32_t i = 0; i < live->params.count; i++)
        proto->initializer[i] = initializer(e, live->params.items[i], &params[i]);
    add_outputs(e, proto);
    add_nodes(e, proto);
    return check_refusals(e, refused, err) && pack(e, proto, out, err);
}
