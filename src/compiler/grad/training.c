/* A block with its backward pass as one graph. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/grad/grad_priv.h"
#include "package/package.h"

struct joining {
    struct graph *graph;
    struct arena *arena;
    struct error *err;
    const struct grad_training *training;
    VEC(value_id) wrt;
    VEC(const char *) names;
    VEC(value_id) of, cotangents;
};

/* The numbers of values once the inputs come first, and then the params, in declaration order:
 * copies and texts of graphs have their inputs in the order of ids. */
static value_id *renumber(const struct graph *from, struct arena *arena)
{
    value_id *number = ARENA_ARRAY(arena, value_id, from->nodes.count), next = 1;
    for (uint32_t i = 0; i < from->inputs.count; i++)
        number[from->inputs.items[i]] = next++;
    for (uint32_t i = 0; i < from->params.count; i++)
        number[from->params.items[i]] = next++;
    for (value_id v = 1; v < from->nodes.count; v++)
        if (number[v] == VALUE_NONE)
            number[v] = next++;
    return number;
}

bool grad_block_graph(struct graph *to, struct arena *arena, const struct graph *from,
                      struct error *err)
{
    uint32_t count = from->inputs.count + from->params.count;
    const value_id *number = renumber(from, arena);
    struct graph view = *from;
    view.nodes.items = ARENA_ARRAY(arena, struct node, from->nodes.count);
    view.nodes.items[0] = from->nodes.items[0];
    for (value_id v = 1; v < from->nodes.count; v++) {
        struct node *node = &view.nodes.items[number[v]];
        *node = *graph_node(from, v);
        value_id *operands =
            arena_memdup(arena, node->operands, node->operand_count * sizeof *operands);
        for (uint32_t i = 0; i < node->operand_count; i++)
            operands[i] = number[operands[i]];
        node->operands = operands;
    }
    view.inputs.items = ARENA_ARRAY(arena, value_id, count + 1);
    view.inputs.count = view.inputs.capacity = count;
    view.params.count = view.updates.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        view.inputs.items[i] = i + 1;
        view.nodes.items[i + 1].prim = PRIM_INPUT;
    }
    view.outputs.items =
        arena_memdup(arena, from->outputs.items, from->outputs.count * sizeof *from->outputs.items);
    for (uint32_t i = 0; i < view.outputs.count; i++)
        view.outputs.items[i].value = number[view.outputs.items[i].value];
    return grad_prepare(to, arena, &view, err);
}

static bool is_float(const struct joining *j, value_id v)
{
    return dtype_is_float((enum dtype)graph_node(j->graph, v)->dtype);
}

static bool add_wrt(struct joining *j, value_id v)
{
    VEC_PUSH(j->arena, &j->wrt, v);
    VEC_PUSH(j->arena, &j->names, graph_node(j->graph, v)->attrs->name);
    return true;
}

static bool find_wrt(struct joining *j)
{
    const struct graph *g = j->graph;
    const struct grad_training *t = j->training;
    for (uint32_t i = 0; !t->wrt && i < g->inputs.count; i++)
        if (is_float(j, g->inputs.items[i]))
            add_wrt(j, g->inputs.items[i]);
    for (uint32_t i = 0; t->wrt && i < t->wrt_count; i++) {
        value_id found = VALUE_NONE;
        for (uint32_t k = 0; k < g->inputs.count; k++)
            if (strcmp(graph_node(g, g->inputs.items[k])->attrs->name, t->wrt[i]) == 0)
                found = g->inputs.items[k];
        if (found == VALUE_NONE)
            return fail(j->err, ERR_BLUEPRINT, "no input or parameter is called '%s'", t->wrt[i]);
        if (!is_float(j, found))
            return fail(j->err, ERR_BLUEPRINT, "'%s' has dtype %s: only floats have a gradient",
                        t->wrt[i], dtype_name((enum dtype)graph_node(g, found)->dtype));
        for (uint32_t k = 0; k < j->wrt.count; k++)
            if (j->wrt.items[k] == found)
                return fail(j->err, ERR_BLUEPRINT, "'%s' is asked for twice", t->wrt[i]);
        add_wrt(j, found);
    }
    return j->wrt.count > 0 || fail(j->err, ERR_BLUEPRINT, "no input or parameter is a float");
}

static const char *prefixed(struct joining *j, const char *prefix, const char *name)
{
    size_t bytes = strlen(prefix) + strlen(name) + 1;
    char *text = arena_array(j->arena, bytes, 1);
    snprintf(text, bytes, "%s%s", prefix, name);
    return text;
}

/* Cotangents of the outputs that hang on what is differentiated. */
static bool add_cotangents(struct joining *j)
{
    struct graph *g = j->graph;
    bool *hangs = ARENA_ARRAY(j->arena, bool, g->nodes.count);
    for (uint32_t i = 0; i < j->wrt.count; i++)
        hangs[j->wrt.items[i]] = true;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        bool can = is_float(j, v) && grad_differentiable((enum prim)n->prim);
        for (uint32_t i = 0; can && i < n->operand_count; i++)
            hangs[v] |= hangs[n->operands[i]];
    }
    for (uint32_t i = 0; i + j->training->updates < g->outputs.count; i++) {
        const struct graph_output *output = &g->outputs.items[i];
        const struct node *n = graph_node(g, output->value);
        if (!hangs[output->value])
            continue;
        value_id cotangent = graph_input(g, prefixed(j, PACKAGE_COTANGENT, output->name),
                                         (enum dtype)n->dtype, n->shape, n->rank, j->err);
        if (cotangent == VALUE_NONE)
            return false;
        VEC_PUSH(j->arena, &j->of, output->value);
        VEC_PUSH(j->arena, &j->cotangents, cotangent);
    }
    return j->of.count > 0 ||
           fail(j->err, ERR_BLUEPRINT, "no output hangs on what is differentiated");
}

bool grad_training_graph(struct graph *to, struct arena *arena, const struct graph *from,
                         const struct grad_training *training, struct error *err)
{
    struct graph *joint = ARENA_NEW(arena, struct graph);
    struct joining j = {.graph = joint, .arena = arena, .err = err, .training = training};
    if (!grad_block_graph(joint, arena, from, err) || !find_wrt(&j) || !add_cotangents(&j))
        return false;
    struct builder b = {joint, err};
    const struct grad_request request = {.of = j.of.items,
                                         .cotangents = j.cotangents.items,
                                         .of_count = j.of.count,
                                         .wrt = j.wrt.items,
                                         .wrt_count = j.wrt.count};
    value_id *grads = ARENA_ARRAY(arena, value_id, j.wrt.count);
    if (!grad_add(&b, &request, arena, grads))
        return false;
    for (uint32_t i = 0; i < j.wrt.count; i++)
        if (!graph_output(joint, prefixed(&j, PACKAGE_GRAD, j.names.items[i]), grads[i], err))
            return false;
    return graph_copy_live(to, arena, joint, err);
}
