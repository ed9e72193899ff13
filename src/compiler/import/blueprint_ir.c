/* clang-format off */
/* BlueprintIR: nodes and edges.
 *
 *   document  {"id"?, "name"?, "version"?, "tags"?, "metadata"?,
 *              "nodes": [node…], "edges": [edge…]}
 *   node      {"id", "op_type", "attributes"?, "input_shape"?, "output_shape"?, "precision"?}
 *   edge      {"id"?, "source", "target", "port"?, "dtype"?, "connection_type"?}
 *
 * The port of an edge is the index of the operand of its target. Edges without a port take the
 * free operands in the order of the list. connection_type is checked, but does not affect the
 * graph. In an input's shape, -1 at index i is the dim "B" (i = 0) or "d<i>", the same dim for all
 * inputs; in input_shape and output_shape it stands for any size.
 *
 * precision is the dtype in which a node computes: its parameters have that dtype, and if the
 * document has more than one float dtype, its operands are cast to it. The parameters of a node
 * without a precision have the dtype of the first float input. */
/* clang-format on */
#include "compiler/import/blueprint_ir_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

struct document {
    struct arena arena;
    struct ir ir;
    struct ir_node *nodes;
    uint32_t node_count;
    struct strmap ids;
    struct error *err;
};

static bool read_node(struct document *d, const json_t *json, struct ir_node *node)
{
    static const char *const keys[] = {"id",           "op_type",   "attributes", "input_shape",
                                       "output_shape", "precision", NULL};
    const char *op = NULL, *precision = NULL;
    json_t *attributes = json_object_get(json, "attributes");
    if (!json_only_keys(json, keys, d->err) || !json_get_string(json, "op_type", &op, d->err) ||
        (attributes && !json_get_object(json, "attributes", &attributes, d->err)) ||
        !json_opt_string(json, "precision", &precision, d->err) ||
        (precision && !import_dtype(precision, &node->precision, d->err)))
        return false;
    node->attributes = attributes;
    node->op = ir_op_find(op);
    if (!node->op)
        return fail(d->err, ERR_BLUEPRINT, "unknown op_type '%.64s', the nearest is '%s'", op,
                    name_nearest(op, ir_op_name_at));
    if (precision && !ir_is_input(node->op) && !dtype_is_float(node->precision))
        return fail(d->err, ERR_UNSUPPORTED, "precision '%s', only floats can be computed in",
                    precision);
    return true;
}

static bool read_nodes(struct document *d, const json_t *list)
{
    if (json_array_size(list) > LIMIT_NODES)
        return fail(d->err, ERR_LIMIT, "%zu nodes, at most %d", json_array_size(list), LIMIT_NODES);
    d->node_count = (uint32_t)json_array_size(list);
    d->nodes = ARENA_ARRAY(&d->arena, struct ir_node, d->node_count);
    for (uint32_t i = 0; i < d->node_count; i++) {
        struct ir_node *node = &d->nodes[i];
        node->json = json_array_get(list, i);
        if (!import_id(node->json, "id", &node->id, d->err))
            return fail_at(d->err, "nodes[%u]", i);
        if (!read_node(d, node->json, node))
            return fail_at(d->err, "node '%s'", node->id);
        if (!strmap_add(&d->ids, &d->arena, node->id, i)) {
            fail(d->err, ERR_BLUEPRINT, "the id '%.200s' is taken by another node", node->id);
            return fail_at(d->err, "node '%s'", node->id);
        }
    }
    return true;
}

static bool find_end(struct document *d, const json_t *edge, const char *key, struct ir_node **out)
{
    const char *id = NULL;
    uint32_t index = 0;
    if (!json_get_string(edge, key, &id, d->err))
        return false;
    if (!strmap_find(&d->ids, id, &index))
        return fail(d->err, ERR_BLUEPRINT, "%s '%.200s' is no node", key, id);
    *out = &d->nodes[index];
    return true;
}

/* Reads the dtype that an edge gives for its source's result. */
static bool read_edge_dtype(struct document *d, const json_t *edge, const char *place,
                            struct ir_node *source)
{
    const char *text = NULL;
    enum dtype dtype = DTYPE_NONE;
    if (!json_opt_string(edge, "dtype", &text, d->err))
        return false;
    if (!text)
        return true;
    if (!import_dtype(text, &dtype, d->err))
        return false;
    if (source->edge_dtype != DTYPE_NONE && source->edge_dtype != dtype)
        return fail(d->err, ERR_SHAPE, "dtype %s, but %s says %s of the same value",
                    dtype_name(dtype), source->edge, dtype_name(source->edge_dtype));
    source->edge_dtype = dtype;
    source->edge = place;
    return true;
}

static bool check_connection(struct document *d, const json_t *edge)
{
    const char *type = "forward";
    if (!json_opt_string(edge, "connection_type", &type, d->err))
        return false;
    if (strcmp(type, "forward") != 0 && strcmp(type, "residual") != 0 &&
        strcmp(type, "attention") != 0)
        return fail(d->err, ERR_BLUEPRINT,
                    "connection_type '%.64s', expected forward, residual or attention", type);
    return true;
}

static bool connect(struct document *d, struct ir_node *source, struct ir_node *target,
                    int64_t port)
{
    uint32_t max = target->op->max_operands;
    if (ir_is_output(source->op))
        return fail(d->err, ERR_BLUEPRINT, "source '%.200s' is an output", source->id);
    if (port < 0) {
        while (target->used < target->operands.count && target->operands.items[target->used])
            target->used++;
        port = target->used;
    }
    if (port >= max)
        return fail(d->err, max < LIMIT_OPERANDS ? ERR_BLUEPRINT : ERR_LIMIT,
                    "operand %lld of '%.200s': '%s' takes at most %u", (long long)port, target->id,
                    target->op->name, max);
    while (target->operands.count <= port)
        VEC_PUSH(&d->arena, &target->operands, NULL);
    if (target->operands.items[port])
        return fail(d->err, ERR_BLUEPRINT, "port %lld of '%.200s' has two edges", (long long)port,
                    target->id);
    target->operands.items[port] = source->id;
    return true;
}

/* Reads an edge, if it has a port and with_port is true, or if neither; there is a pass for
 * each. */
static bool read_edge(struct document *d, const json_t *edge, const char *place, bool with_port)
{
    static const char *const keys[] = {"id",    "source",          "target", "port",
                                       "dtype", "connection_type", NULL};
    struct ir_node *source = NULL, *target = NULL;
    const char *id = NULL;
    int64_t port = 0;
    if (with_port && (!json_only_keys(edge, keys, d->err) ||
                      !json_opt_string(edge, "id", &id, d->err) || !check_connection(d, edge)))
        return false;
    bool has_port = json_object_get(edge, "port") != NULL;
    if (has_port != with_port)
        return true;
    if (!find_end(d, edge, "source", &source) || !find_end(d, edge, "target", &target) ||
        !json_opt_int(edge, "port", &port, d->err))
        return false;
    if (port < 0)
        return fail(d->err, ERR_BLUEPRINT, "port %lld, expected 0 or more", (long long)port);
    return connect(d, source, target, has_port ? port : -1) &&
           read_edge_dtype(d, edge, place, source);
}

static const char *edge_place(struct document *d, const json_t *edge, size_t index)
{
    const char *id = json_string_value(json_object_get(edge, "id"));
    char text[96];
    if (id)
        snprintf(text, sizeof text, "edge '%.64s'", id);
    else
        snprintf(text, sizeof text, "edges[%zu]", index);
    return arena_strdup(&d->arena, text);
}

static bool read_edges(struct document *d, const json_t *list)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *edge = json_array_get(list, i);
            const char *place = edge_place(d, edge, i);
            if (!read_edge(d, edge, place, pass == 0))
                return fail_at(d->err, "%s", place);
        }
    return true;
}

/* Sets ir.dtype and ir.mixed. */
static bool find_dtypes(struct document *d)
{
    struct ir *ir = &d->ir;
    enum dtype dtype = DTYPE_NONE;
    for (uint32_t i = 0; i < d->node_count; i++) {
        if (!ir_is_input(d->nodes[i].op))
            continue;
        if (!ir_input_dtype(ir, &d->nodes[i], &dtype))
            return fail_at(d->err, "node '%s'", d->nodes[i].id);
        if (!dtype_is_float(dtype))
            continue;
        ir->mixed |= ir->dtype != DTYPE_NONE && ir->dtype != dtype;
        ir->dtype = ir->dtype == DTYPE_NONE ? dtype : ir->dtype;
    }
    ir->dtype = ir->dtype == DTYPE_NONE ? DTYPE_F32 : ir->dtype;
    for (uint32_t i = 0; i < d->node_count; i++)
        ir->mixed |= d->nodes[i].precision != DTYPE_NONE && !ir_is_input(d->nodes[i].op) &&
                     d->nodes[i].precision != ir->dtype;
    return true;
}

static bool check_operands(struct document *d, const struct ir_node *node)
{
    uint32_t count = node->operands.count;
    for (uint32_t i = 0; i < count; i++)
        if (!node->operands.items[i])
            return fail(d->err, ERR_BLUEPRINT, "no edge leads to port %u", i);
    if (count < node->op->min_operands)
        return fail(d->err, ERR_BLUEPRINT, "'%s' needs %u operands, %u edges lead to it",
                    node->op->name, node->op->min_operands, count);
    return true;
}

static bool translate(struct document *d, const json_t *document)
{
    static const char *const keys[] = {"nodes", "edges", DOCUMENT_KEYS, NULL};
    json_t *nodes = NULL, *edges = NULL;
    if (!json_only_keys(document, keys, d->err) || !import_check_document(document, d->err) ||
        !json_get_array(document, "nodes", &nodes, d->err) ||
        !json_get_array(document, "edges", &edges, d->err) || !read_nodes(d, nodes) ||
        !read_edges(d, edges) || !find_dtypes(d))
        return false;
    for (uint32_t i = 0; i < d->node_count; i++) {
        struct ir_node *node = &d->nodes[i];
        if (!check_operands(d, node) || !ir_translate_node(&d->ir, node))
            return fail_at(d->err, "node '%s'", node->id);
    }
    if (json_array_size(d->ir.outputs) == 0)
        return fail(d->err, ERR_BLUEPRINT, "no node has op_type output");
    return true;
}

json_t *dialect_from_blueprint_ir(const json_t *document, const struct import_options *options,
                                  struct error *err)
{
    struct document d = {.err = err};
    struct ir *ir = &d.ir;
    *ir = (struct ir){.dims = import_object(),
                      .inputs = import_array(),
                      .params = import_array(),
                      .nodes = import_array(),
                      .outputs = import_array(),
                      .seed = options->seed,
                      .err = err};
    arena_init(&d.arena);
    bool ok = translate(&d, document);
    json_t *native = NULL;
    if (ok) {
        json_t *name = json_object_get(document, "name");
        native = import_object();
        import_set(native, "format", import_text(NATIVE_FORMAT));
        if (name)
            import_set(native, "name", import_copy(name));
        import_set(native, "dims", import_copy(ir->dims));
        import_set(native, "inputs", import_copy(ir->inputs));
        import_set(native, "params", import_copy(ir->params));
        import_set(native, "nodes", import_copy(ir->nodes));
        import_set(native, "outputs", import_copy(ir->outputs));
    }
    json_decref(ir->dims);
    json_decref(ir->inputs);
    json_decref(ir->params);
    json_decref(ir->nodes);
    json_decref(ir->outputs);
    arena_release(&d.arena);
    return native;
}
