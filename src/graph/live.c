/* Rebuilding a graph from the nodes that are needed. Ids are a topological order, so one walk from
 * the highest id down marks all nodes that outputs depend on, and one walk up adds them again, each
 * through the caller's rule. */
#include "graph/graph_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

static void mark(const struct graph *from, bool *live)
{
    for (uint32_t i = 0; i < from->outputs.count; i++)
        live[from->outputs.items[i].value] = true;
    for (uint32_t i = 0; i < from->inputs.count; i++)
        live[from->inputs.items[i]] = true;
    for (uint32_t i = 0; i < from->params.count; i++)
        live[from->params.items[i]] = true;
    for (value_id id = from->nodes.count - 1; id > VALUE_NONE; id--) {
        const struct node *node = graph_node(from, id);
        for (uint32_t i = 0; live[id] && i < node->operand_count; i++)
            live[node->operands[i]] = true;
    }
}

static bool import(struct graph *to, const struct graph *from, uint32_t count, dim_id *dims,
                   struct error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        dims[i] = dim_import(&to->dims, &from->dims, dims[i]);
        if (dims[i] == DIM_NONE)
            return fail(err, ERR_LIMIT, "a dim cannot be represented in the copy");
    }
    return true;
}

static value_id copy_node(struct graph *to, const struct graph *from, const struct node *node,
                          const value_id *copies, struct error *err)
{
    enum prim prim = (enum prim)node->prim;
    uint32_t bits = prim_info(prim)->attrs;
    struct attrs attrs = *node->attrs;
    if (((bits & (ATTR_SHAPE | ATTR_DIM)) && !import(to, from, attrs.rank, attrs.shape, err)) ||
        ((bits & ATTR_START) && !import(to, from, attrs.rank, attrs.start, err)) ||
        ((bits & ATTR_LOW) && !import(to, from, attrs.rank, attrs.low, err)) ||
        ((bits & ATTR_HIGH) && !import(to, from, attrs.rank, attrs.high, err)))
        return VALUE_NONE;
    value_id operands[LIMIT_OPERANDS];
    for (uint32_t i = 0; i < node->operand_count; i++)
        operands[i] = copies[node->operands[i]];
    return graph_add(to, prim, operands, node->operand_count, &attrs, err);
}

bool graph_rewrite(struct graph *to, struct arena *arena, const struct graph *from,
                   graph_rule *rule, void *context, struct error *err)
{
    graph_init(to, arena);
    to->name = arena_strdup(arena, from->name);
    for (uint32_t i = 0; i < from->dims.names.count; i++) {
        struct dim_name name = from->dims.names.items[i];
        uint32_t index;
        name.name = arena_strdup(arena, name.name);
        if (!dim_declare(&to->dims, &name, &index, err))
            return false;
    }
    bool *live = ARENA_ARRAY(arena, bool, from->nodes.count);
    value_id *copies = ARENA_ARRAY(arena, value_id, from->nodes.count);
    mark(from, live);
    for (value_id id = 1; id < from->nodes.count; id++) {
        if (!live[id])
            continue;
        value_id copy = copy_node(to, from, graph_node(from, id), copies, err);
        if (copy != VALUE_NONE && rule)
            copy = rule(to, copy, from, id, context, err);
        if (copy == VALUE_NONE)
            return false;
        copies[id] = copy;
    }
    for (uint32_t i = 0; i < from->outputs.count; i++) {
        const struct graph_output *output = &from->outputs.items[i];
        if (!graph_output(to, output->name, copies[output->value], err))
            return false;
    }
    return true;
}

bool graph_copy_live(struct graph *to, struct arena *arena, const struct graph *from,
                     struct error *err)
{
    return graph_rewrite(to, arena, from, NULL, NULL, err);
}

static const char *numbered(struct arena *arena, char letter, uint32_t number)
{
    char name[16];
    snprintf(name, sizeof name, "%c%u", letter, number);
    return arena_strdup(arena, name);
}

/* Turns the node into an input of that name. */
static void become_input(struct node *node, const char *name, struct arena *arena)
{
    struct attrs *attrs = ARENA_NEW(arena, struct attrs);
    attrs->name = name;
    attrs->dtype = node->dtype;
    attrs->rank = node->rank;
    memcpy(attrs->shape, node->shape, node->rank * sizeof node->shape[0]);
    node->prim = PRIM_INPUT;
    node->operand_count = 0;
    node->attrs = attrs;
}

/* Whether outputs depend only on inputs of the view and on constants. */
static bool closed(const struct graph *view, struct arena *arena, struct error *err)
{
    bool *live = ARENA_ARRAY(arena, bool, view->nodes.count),
         *given = ARENA_ARRAY(arena, bool, view->nodes.count);
    mark(view, live);
    for (uint32_t i = 0; i < view->inputs.count; i++)
        given[view->inputs.items[i]] = true;
    for (value_id id = 1; id < view->nodes.count; id++) {
        const struct node *node = graph_node(view, id);
        bool source = node->prim == PRIM_INPUT || node->prim == PRIM_PARAM;
        if (live[id] && source && !given[id])
            return fail(err, ERR_VERIFY, "it needs %s '%s', which it is not given",
                        prim_info((enum prim)node->prim)->name, node->attrs->name);
    }
    return true;
}

bool graph_extract(struct graph *to, struct arena *arena, const struct graph *from,
                   const struct graph_part *part, struct error *err)
{
    struct graph view = *from; /* shares all nodes but those that change */
    view.name = "";
    memset(&view.inputs, 0, sizeof view.inputs);
    memset(&view.params, 0, sizeof view.params);
    memset(&view.outputs, 0, sizeof view.outputs);
    view.nodes.items =
        arena_memdup(arena, from->nodes.items, from->nodes.count * sizeof *from->nodes.items);
    for (uint32_t i = 0; i < part->leaf_count; i++) {
        become_input(&view.nodes.items[part->leaves[i]], numbered(arena, 'a', i), arena);
        VEC_PUSH(arena, &view.inputs, part->leaves[i]);
    }
    for (uint32_t i = 0; i < part->root_count; i++) {
        struct graph_output output = {numbered(arena, 'y', i), part->roots[i]};
        for (uint32_t k = 0; k < part->leaf_count; k++)
            if (part->leaves[k] == part->roots[i])
                return fail(err, ERR_VERIFY, "it reads what it writes");
        VEC_PUSH(arena, &view.outputs, output);
    }
    return closed(&view, arena, err) && graph_copy_live(to, arena, &view, err);
}
