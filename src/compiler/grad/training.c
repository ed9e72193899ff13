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

/* Inputs, then params, in declaration order; and their places in the order of ids, in which a copy
 * declares them. */
static value_id *sources(const struct graph *from, struct arena *arena, uint32_t **out_places)
{
    uint32_t count = from->inputs.count + from->params.count;
    value_id *all = ARENA_ARRAY(arena, value_id, count + 1);
    *out_places = ARENA_ARRAY(arena, uint32_t, count + 1);
    for (uint32_t i = 0; i < count; i++)
        all[i] = i < from->inputs.count ? from->inputs.items[i]
                                        : from->params.items[i - from->inputs.count];
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < count; k++)
            (*out_places)[i] += all[k] < all[i];
    return all;
}

/* The block, prepared, whose params are inputs. */
static bool copy_block(struct joining *j, const struct graph *from)
{
    uint32_t *places, count = from->inputs.count + from->params.count;
    value_id *all = sources(from, j->arena, &places);
    struct graph view = *from;
    view.nodes.items =
        arena_memdup(j->arena, from->nodes.items, from->nodes.count * sizeof *from->nodes.items);
    view.inputs.items = ARENA_ARRAY(j->arena, value_id, count + 1);
    view.inputs.count = view.inputs.capacity = count;
    view.params.count = 0;
    view.elements.items = arena_memdup(j->arena, from->elements.items,
                                       from->elements.count * sizeof *from->elements.items);
    for (uint32_t i = 0; i < count; i++) {
        view.nodes.items[all[i]].prim = PRIM_INPUT;
        view.inputs.items[places[i]] = all[i];
    }
    for (uint32_t i = 0; i < view.elements.count; i++)
        view.elements.items[i].input = places[from->elements.items[i].input];
    if (!grad_prepare(j->graph, j->arena, &view, j->err))
        return false;
    value_id *declared = arena_memdup(j->arena, j->graph->inputs.items, count * sizeof *declared);
    for (uint32_t i = 0; i < count; i++)
        j->graph->inputs.items[i] = declared[places[i]];
    for (uint32_t i = 0; i < from->elements.count; i++)
        j->graph->elements.items[i].input = from->elements.items[i].input;
    return true;
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
    for (uint32_t i = 0; i < g->outputs.count; i++) {
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
    if (!copy_block(&j, from) || !find_wrt(&j) || !add_cotangents(&j))
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
