/* clang-format off */
/* The nodes and outputs of a native document, in four steps over one table of names:
 *
 *   declare   the ids of nodes and the names in "out"
 *   resolve   references to sources
 *   expand    nodes, depth first
 *   outputs
 *
 * Invariants: a node is expanded once, after all nodes that it uses; nodes are expanded in the
 * order of the document unless that contradicts the first; the traversal has an explicit stack, so
 * a deep graph cannot overflow the C stack. */
/* clang-format on */
#include "compiler/import/import_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "base/strbuf.h"
#include "compiler/ops/ops.h"

/* The meaning of a name or a reference. */
struct source {
    value_id value; /* an input or param; VALUE_NONE: a result of a node */
    uint32_t node;  /* index of the node, if value is VALUE_NONE */
    uint32_t result;
    bool absent; /* null: the operand is omitted */
};

enum node_state { NODE_NEW, NODE_OPEN, NODE_DONE };

struct pending {
    const json_t *json;
    const char *id;
    const struct op_row *row;
    struct source *operands;
    uint32_t operand_count;
    uint32_t next; /* the operand to visit next */
    enum node_state state;
    value_id *results; /* set in state NODE_DONE */
    uint32_t result_count;
};

/* A param with a running statistic, and its next value. */
struct statistic {
    value_id param, next;
};

struct reader {
    struct blueprint *out;
    struct graph *graph;
    const struct import_options *options;
    struct strmap names; /* → sources */
    VEC(struct source) sources;
    struct pending *nodes;
    uint32_t node_count;
    value_id seed; /* the input "seed" for dropout in training; VALUE_NONE until it is needed */
    VEC(struct statistic) statistics;
    struct error *err;
};

static bool declare(struct reader *r, const char *name, struct source source)
{
    struct arena *arena = r->graph->arena;
    if (!strmap_add(&r->names, arena, name, r->sources.count))
        return fail(r->err, ERR_BLUEPRINT, "the name '%.200s' is taken already", name);
    VEC_PUSH(arena, &r->sources, source);
    return true;
}

static bool declare_tensors(struct reader *r, const value_id *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *name = graph_node(r->graph, values[i])->attrs->name;
        if (!declare(r, name, (struct source){.value = values[i]}))
            return fail_at(r->err, "param '%s'", name);
    }
    return true;
}

static bool declare_results(struct reader *r, uint32_t index)
{
    struct pending *node = &r->nodes[index];
    json_t *names = json_object_get(node->json, "out");
    if (!declare(r, node->id, (struct source){.node = index}))
        return false;
    if (!names)
        return true;
    if (!json_get_array(node->json, "out", &names, r->err))
        return false;
    for (uint32_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (!name || name[0] == '\0')
            return fail(r->err, ERR_BLUEPRINT, "field 'out': expected names");
        if (i == 0 && strcmp(name, node->id) == 0)
            continue;
        if (!declare(r, name, (struct source){.node = index, .result = i}))
            return false;
    }
    return true;
}

static const char *op_name_at(uint32_t index)
{
    const struct op_row *row = op_at(index);
    return row ? row->name : NULL;
}

static bool declare_node(struct reader *r, uint32_t index, const json_t *json)
{
    static const char *const keys[] = {"id",    "op",       "in",    "attrs", "out",
                                       "shape", "in_shape", "dtype", NULL};
    struct pending *node = &r->nodes[index];
    const char *op = NULL;
    node->json = json;
    if (!import_id(json, "id", &node->id, r->err))
        return fail_at(r->err, "nodes[%u]", index);
    if (!json_only_keys(json, keys, r->err) || !json_get_string(json, "op", &op, r->err))
        return fail_at(r->err, "node '%s'", node->id);
    node->row = op_find(op);
    if (!node->row) {
        fail(r->err, ERR_BLUEPRINT, "unknown op '%.64s', the nearest is '%s'; see urza ops", op,
             name_nearest(op, op_name_at));
        return fail_at(r->err, "node '%s'", node->id);
    }
    return declare_results(r, index) || fail_at(r->err, "node '%s'", node->id);
}

/* Splits "id.k"; false if text does not have that form. */
static bool split_reference(struct arena *arena, const char *text, const char **out_id,
                            uint32_t *out_result)
{
    const char *dot = strrchr(text, '.');
    if (!dot)
        return false;
    size_t digits = strspn(dot + 1, "0123456789");
    if (digits == 0 || digits > 3 || dot[1 + digits] != '\0' || (digits > 1 && dot[1] == '0'))
        return false;
    *out_id = arena_strndup(arena, text, (size_t)(dot - text));
    *out_result = (uint32_t)strtoul(dot + 1, NULL, 10);
    return true;
}

static bool resolve(struct reader *r, const json_t *reference, struct source *out)
{
    const char *text = json_string_value(reference), *id = NULL;
    uint32_t index = 0, result = 0;
    if (!text)
        return fail(r->err, ERR_JSON, "found %s, expected the name of a value",
                    import_type_text(reference));
    if (strmap_find(&r->names, text, &index)) {
        *out = r->sources.items[index];
        return true;
    }
    if (split_reference(r->graph->arena, text, &id, &result) &&
        strmap_find(&r->names, id, &index) && r->sources.items[index].value == VALUE_NONE) {
        *out = (struct source){.node = r->sources.items[index].node, .result = result};
        return true;
    }
    return fail(r->err, ERR_BLUEPRINT, "'%.200s' is no input, param or node", text);
}

static bool resolve_operands(struct reader *r, struct pending *node)
{
    json_t *list = json_object_get(node->json, "in");
    if (list && !json_get_array(node->json, "in", &list, r->err))
        return fail_at(r->err, "node '%s'", node->id);
    size_t count = json_array_size(list);
    if (count > LIMIT_OPERANDS) {
        fail(r->err, ERR_LIMIT, "%zu operands, at most %d", count, LIMIT_OPERANDS);
        return fail_at(r->err, "node '%s'", node->id);
    }
    node->operand_count = (uint32_t)count;
    node->operands = ARENA_ARRAY(r->graph->arena, struct source, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *reference = json_array_get(list, i);
        node->operands[i].absent = json_is_null(reference);
        if (!json_is_null(reference) && !resolve(r, reference, &node->operands[i]))
            return fail_at(r->err, "node '%s', operand %zu", node->id, i);
    }
    return true;
}

/* The value of a source whose node was expanded. */
static bool value_of(struct reader *r, const struct source *source, value_id *out)
{
    *out = source->value;
    if (source->value != VALUE_NONE || source->absent)
        return true;
    const struct pending *node = &r->nodes[source->node];
    if (source->result >= node->result_count)
        return fail(r->err, ERR_BLUEPRINT, "'%s' has no result %u, it has %u", node->id,
                    source->result, node->result_count);
    *out = node->results[source->result];
    return true;
}

static bool read_ints(struct arena *arena, const json_t *list, struct op_value *out)
{
    size_t count = json_array_size(list);
    int64_t *ints = ARENA_ARRAY(arena, int64_t, count);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item))
            return false;
        ints[i] = json_integer_value(item);
    }
    out->kind = OP_INTS;
    out->ints = ints;
    out->int_count = (uint32_t)count;
    return true;
}

static bool read_attr(struct arena *arena, const json_t *json, struct op_value *out)
{
    switch (json_typeof(json)) {
    case JSON_INTEGER:
        out->kind = OP_INT;
        out->i = json_integer_value(json);
        out->f = (double)out->i;
        return true;
    case JSON_REAL:
        out->kind = OP_FLOAT;
        out->f = json_real_value(json);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        out->kind = OP_BOOL;
        out->i = json_is_true(json);
        return true;
    case JSON_STRING:
        out->kind = OP_TEXT;
        out->text = arena_strdup(arena, json_string_value(json));
        return true;
    case JSON_ARRAY: return read_ints(arena, json, out);
    case JSON_OBJECT:
    case JSON_NULL: return false;
    }
    return false;
}

static bool read_attrs(struct reader *r, const struct pending *node,
                       struct op_value attrs[OP_MAX_ATTRS], uint32_t *out_count)
{
    json_t *object = json_object_get(node->json, "attrs"), *item;
    const char *name;
    uint32_t count = 0;
    *out_count = 0;
    if (!object)
        return true;
    if (!json_get_object(node->json, "attrs", &object, r->err))
        return false;
    if (json_object_size(object) > OP_MAX_ATTRS)
        return fail(r->err, ERR_LIMIT, "%zu attributes, at most %d", json_object_size(object),
                    OP_MAX_ATTRS);
    json_object_foreach(object, name, item)
    {
        attrs[count] = (struct op_value){.name = name};
        if (!read_attr(r->graph->arena, item, &attrs[count++])) {
            fail(r->err, ERR_BLUEPRINT,
                 "found %s, expected a number, a boolean, a string or a list of integers",
                 json_is_array(item) ? "a list with other items" : import_type_text(item));
            return fail_at(r->err, "attribute '%.64s'", name);
        }
    }
    *out_count = count;
    return true;
}

/* The index of the operand "seed" in an op's schema; -1: it has none. */
static int seed_place(const struct op_row *row)
{
    int place = 0;
    for (const char *word = row->operands; *word != '\0'; place++) {
        size_t size = strcspn(word, " ");
        if (size == 5 && strncmp(word, "seed?", 5) == 0)
            return place;
        word += size;
        word += strspn(word, " ");
    }
    return -1;
}

/* Whether a node drops elements: its probability, given or by default, is not 0. */
static bool drops(const struct op_row *row, const struct op_value *attrs, uint32_t attr_count)
{
    static const char *const names[] = {"p", "dropout_p"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        for (uint32_t i = 0; i < attr_count; i++)
            if (strcmp(attrs[i].name, names[k]) == 0)
                return attrs[i].f != 0;
        char schema[32];
        int size = snprintf(schema, sizeof schema, "%s:float=", names[k]);
        const char *at = strstr(row->attrs, schema);
        if (at && (at == row->attrs || at[-1] == ' '))
            return strtod(at + size, NULL) != 0;
    }
    return false;
}

/* In training, an op that draws random numbers gets its own seed, unless the document gives one:
 * seed * LIMIT_NODES + index of the node, where `seed` is an input that is added to the graph (i64,
 * 0-d). */
static bool supply_seed(struct reader *r, const struct pending *node,
                        value_id operands[LIMIT_OPERANDS], uint32_t *count)
{
    int place = seed_place(node->row);
    if (place < 0 || ((uint32_t)place < *count && operands[place] != VALUE_NONE))
        return true;
    struct builder b = {.graph = r->graph, .err = r->err};
    if (r->seed == VALUE_NONE)
        r->seed = graph_input(r->graph, "seed", DTYPE_I64, NULL, 0, r->err);
    value_id scaled = b_mul(&b, r->seed, b_const(&b, DTYPE_I64, LIMIT_NODES));
    value_id index = b_const(&b, DTYPE_I64, (double)(node - r->nodes));
    for (; *count <= (uint32_t)place; ++*count)
        operands[*count] = VALUE_NONE;
    operands[place] = b_add(&b, scaled, index);
    return operands[place] != VALUE_NONE;
}

static bool check_shape(struct reader *r, const json_t *expected, value_id value)
{
    const struct node *node = graph_node(r->graph, value);
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    if (!expected)
        return true;
    if (!native_read_shape(r->graph, expected, true, shape, &rank, r->err))
        return false;
    bool same = rank == node->rank;
    for (uint32_t i = 0; same && i < rank; i++)
        same = shape[i] == DIM_NONE || shape[i] == node->shape[i];
    if (same)
        return true;
    struct strbuf found;
    strbuf_init(&found, r->graph->arena);
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&found, i > 0 ? ", " : "");
        dim_print(&r->graph->dims, node->shape[i], &found);
    }
    struct strbuf text;
    strbuf_init(&text, r->graph->arena);
    json_write_canonical(expected, &text);
    return fail(r->err, ERR_SHAPE, "the shape is [%.200s], the blueprint says %.200s", found.data,
                text.data);
}

/* Compares a result with the shape and dtype that the document gives for it. */
static bool check_result(struct reader *r, const json_t *json, value_id value)
{
    const char *text = NULL;
    enum dtype dtype = (enum dtype)graph_node(r->graph, value)->dtype, expected = dtype;
    if (!check_shape(r, json_object_get(json, "shape"), value) ||
        !json_opt_string(json, "dtype", &text, r->err) ||
        (text && !import_dtype(text, &expected, r->err)))
        return false;
    if (dtype != expected)
        return fail(r->err, ERR_SHAPE, "the dtype is %s, the blueprint says %s", dtype_name(dtype),
                    dtype_name(expected));
    return true;
}

static bool expand_operands(struct reader *r, struct pending *node,
                            value_id operands[LIMIT_OPERANDS])
{
    for (uint32_t i = 0; i < node->operand_count; i++)
        if (!value_of(r, &node->operands[i], &operands[i]))
            return fail_at(r->err, "operand %u", i);
    json_t *in_shape = json_object_get(node->json, "in_shape");
    if (in_shape && (node->operand_count == 0 || operands[0] == VALUE_NONE))
        return fail(r->err, ERR_BLUEPRINT, "field 'in_shape' of a node without operands");
    return !in_shape || check_shape(r, in_shape, operands[0]) || fail_at(r->err, "operand 0");
}

/* In training, batch_norm has the next values of its running mean and variance as results. Those
 * that are params have no other way out. */
static bool keep_statistics(struct reader *r, const struct pending *node, const value_id *operands,
                            const value_id *results)
{
    if (!r->options->training || strcmp(node->row->name, "batch_norm") != 0)
        return true;
    for (uint32_t i = 1; i < node->result_count; i++) {
        const struct node *running = graph_node(r->graph, operands[i]);
        const struct statistic statistic = {operands[i], results[i]};
        for (uint32_t k = 0; k < r->statistics.count; k++)
            if (r->statistics.items[k].param == operands[i])
                return fail(r->err, ERR_BLUEPRINT,
                            "'%.100s' is the running statistic of another node, too: in training "
                            "each has its own",
                            running->attrs->name);
        if (running->prim == PRIM_PARAM)
            VEC_PUSH(r->graph->arena, &r->statistics, statistic);
    }
    return true;
}

static void freeze(struct reader *r, value_id param)
{
    for (uint32_t i = 0; i < r->graph->params.count; i++)
        if (r->graph->params.items[i] == param)
            r->out->inits[i].frozen = true;
}

static bool give_statistics(struct reader *r)
{
    struct arena *arena = r->graph->arena;
    struct import_running *running =
        ARENA_ARRAY(arena, struct import_running, r->statistics.count + 1);
    for (uint32_t i = 0; i < r->statistics.count; i++) {
        const struct statistic *s = &r->statistics.items[i];
        const char *name = graph_node(r->graph, s->param)->attrs->name;
        size_t bytes = strlen(name) + sizeof "new.";
        char *output = arena_array(arena, bytes, 1);
        snprintf(output, bytes, "new.%s", name);
        running[i] = (struct import_running){name, output};
        freeze(r, s->param);
        if (!graph_output(r->graph, output, s->next, r->err))
            return false;
    }
    r->out->running = running;
    r->out->running_count = r->statistics.count;
    r->out->draws = r->seed != VALUE_NONE;
    return true;
}

static bool expand(struct reader *r, struct pending *node)
{
    value_id operands[LIMIT_OPERANDS], results[OP_MAX_OUTPUTS];
    struct op_value attrs[OP_MAX_ATTRS];
    uint32_t attr_count = 0, count = node->operand_count;
    struct builder b = {.graph = r->graph, .err = r->err};
    r->graph->dims.unproved.need = DIM_NEEDS_NOTHING;
    if (!expand_operands(r, node, operands) || !read_attrs(r, node, attrs, &attr_count) ||
        (r->options->training && drops(node->row, attrs, attr_count) &&
         !supply_seed(r, node, operands, &count)) ||
        !op_expand(&b, node->row,
                   &(struct op_arguments){operands, count, attrs, attr_count, r->options->training},
                   results, &node->result_count, r->err) ||
        !check_result(r, node->json, results[0]) || !keep_statistics(r, node, operands, results))
        return false;
    size_t names = json_array_size(json_object_get(node->json, "out"));
    if (names > node->result_count)
        return fail(r->err, ERR_BLUEPRINT, "field 'out' names %zu results, '%s' has %u", names,
                    node->row->name, node->result_count);
    node->results = arena_memdup(r->graph->arena, results, node->result_count * sizeof *results);
    node->state = NODE_DONE;
    return true;
}

/* Expands node `start` after all nodes that it needs. stack has room for all nodes. */
static bool walk(struct reader *r, uint32_t start, uint32_t *stack)
{
    uint32_t depth = 0;
    if (r->nodes[start].state == NODE_DONE)
        return true;
    stack[depth++] = start;
    while (depth > 0) {
        struct pending *node = &r->nodes[stack[depth - 1]];
        node->state = NODE_OPEN;
        if (node->next == node->operand_count) {
            r->graph->origin = origin_of_node(r->graph, node->id, ORIGIN_NONE);
            if (!expand(r, node))
                return fail_at(r->err, "node '%s'", node->id);
            depth--;
            continue;
        }
        const struct source *operand = &node->operands[node->next++];
        if (operand->value != VALUE_NONE || operand->absent)
            continue;
        struct pending *needed = &r->nodes[operand->node];
        if (needed->state == NODE_OPEN) {
            fail(r->err, ERR_BLUEPRINT, "the node needs its own result: a cycle through '%s'",
                 needed->id);
            return fail_at(r->err, "node '%s'", node->id);
        }
        if (needed->state == NODE_NEW)
            stack[depth++] = operand->node;
    }
    return true;
}

static bool read_output(struct reader *r, const json_t *item, const char *name)
{
    static const char *const keys[] = {"name", "value", "shape", "dtype", NULL};
    struct source source = {.value = VALUE_NONE};
    value_id value = VALUE_NONE;
    bool plain = json_is_string(item);
    const json_t *reference = plain ? item : json_object_get(item, "value");
    if (!plain && !json_only_keys(item, keys, r->err))
        return false;
    return resolve(r, reference, &source) && value_of(r, &source, &value) &&
           (plain || check_result(r, item, value)) && graph_output(r->graph, name, value, r->err);
}

static bool read_outputs(struct reader *r, const json_t *list)
{
    size_t count = json_array_size(list);
    if (count == 0)
        return fail(r->err, ERR_BLUEPRINT, "the blueprint has no outputs");
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        const char *name = json_string_value(item);
        if (!name && !import_id(item, "name", &name, r->err))
            return fail_at(r->err, "outputs[%zu]", i);
        if (!read_output(r, item, name))
            return fail_at(r->err, "output '%.64s'", name);
    }
    return true;
}

static bool read_updates(struct reader *r, const json_t *document)
{
    const json_t *updates = json_object_get(document, "updates");
    struct graph *g = r->graph;
    size_t found = 0;
    if (updates && !json_is_object(updates))
        return fail(r->err, ERR_JSON, "field 'updates' is %s, expected an object",
                    import_type_text(updates));
    for (uint32_t i = 0; i < g->inputs.count; i++) {
        const char *name = graph_node(g, g->inputs.items[i])->attrs->name;
        const json_t *by = json_object_get(updates, name);
        struct graph_update update = {.input = i};
        if (!by)
            continue;
        found++;
        while (update.output < g->outputs.count && json_is_string(by) &&
               strcmp(g->outputs.items[update.output].name, json_string_value(by)) != 0)
            update.output++;
        if (!json_is_string(by) || update.output == g->outputs.count)
            return fail(r->err, ERR_BLUEPRINT, "updates: '%.64s' names no output", name);
        if (!graph_update(g, &update, r->err))
            return fail_at(r->err, "updates");
    }
    return found == json_object_size(updates) ||
           fail(r->err, ERR_BLUEPRINT, "updates: a name is no input's");
}

bool native_read_nodes(const json_t *document, const struct import_options *options,
                       struct blueprint *out, struct error *err)
{
    struct reader r = {.out = out, .graph = &out->graph, .options = options, .err = err};
    struct arena *arena = r.graph->arena;
    json_t *nodes = NULL, *outputs = NULL;
    if (!json_get_array(document, "nodes", &nodes, err) ||
        !json_get_array(document, "outputs", &outputs, err))
        return false;
    if (json_array_size(nodes) > LIMIT_NODES)
        return fail(err, ERR_LIMIT, "%zu nodes, at most %d", json_array_size(nodes), LIMIT_NODES);
    r.node_count = (uint32_t)json_array_size(nodes);
    r.nodes = ARENA_ARRAY(arena, struct pending, r.node_count);
    uint32_t *stack = ARENA_ARRAY(arena, uint32_t, r.node_count);
    if (!declare_tensors(&r, r.graph->inputs.items, r.graph->inputs.count) ||
        !declare_tensors(&r, r.graph->params.items, r.graph->params.count))
        return false;
    for (uint32_t i = 0; i < r.node_count; i++)
        if (!declare_node(&r, i, json_array_get(nodes, i)))
            return false;
    for (uint32_t i = 0; i < r.node_count; i++)
        if (!resolve_operands(&r, &r.nodes[i]))
            return false;
    for (uint32_t i = 0; i < r.node_count; i++)
        if (!walk(&r, i, stack))
            return false;
    r.graph->origin = ORIGIN_NONE;
    return read_outputs(&r, outputs) && read_updates(&r, document) && give_statistics(&r);
}
