/* The verifier: every node is inferred again and must equal the result. A failure is a bug of the
 * code that built or changed the graph, so it is ERR_BUG, with the value as place. */
#include "graph/element.h"
#include "graph/graph_priv.h"
#include "graph/loops.h"

#include <string.h>

#include "base/error.h"

static bool bad(struct error *err, value_id id, const char *what)
{
    fail(err, ERR_BUG, "%s", what);
    return fail_at(err, "value %%%u", id);
}

static bool dims_exist(const struct graph *graph, const dim_id *dims, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (dims[i] == DIM_NONE || dims[i] >= graph->dims.exprs.count)
            return false;
    return true;
}

/* Conditions that must hold before a shape rule may read the node. */
static bool check_form(const struct graph *graph, value_id id, struct error *err)
{
    const struct node *node = graph_node(graph, id);
    if (node->prim == PRIM_NONE || node->prim >= PRIM_COUNT)
        return bad(err, id, "no such prim");
    if (node->dtype == DTYPE_NONE || node->dtype >= DTYPE_COUNT)
        return bad(err, id, "no such dtype");
    if (node->rank > LIMIT_RANK || !dims_exist(graph, node->shape, node->rank))
        return bad(err, id, "the shape holds no dims of this graph");
    if (node->operand_count > LIMIT_OPERANDS)
        return bad(err, id, "too many operands");
    if (node->origin != ORIGIN_NONE && node->origin >= graph->origins.items.count)
        return bad(err, id, "no such origin");
    for (uint32_t i = 0; i < node->operand_count; i++)
        if (node->operands[i] == VALUE_NONE || node->operands[i] >= id)
            return bad(err, id, "an operand is not an earlier value");
    return true;
}

static bool check_attrs(const struct graph *graph, value_id id, struct error *err)
{
    const struct node *node = graph_node(graph, id);
    enum prim prim = (enum prim)node->prim;
    const struct attrs *attrs = node->attrs;
    uint32_t bits = prim_info(prim)->attrs;
    struct attrs normal;
    if (!attrs_normalise(prim, attrs, &normal, err))
        return bad(err, id, err->message);
    if (!attrs_equal(&normal, attrs))
        return bad(err, id, "the attributes are not in normal form");
    if ((bits & ATTR_NAME) && !attrs->name)
        return bad(err, id, "no name");
    if (((bits & (ATTR_SHAPE | ATTR_DIM)) && !dims_exist(graph, attrs->shape, attrs->rank)) ||
        ((bits & ATTR_START) && !dims_exist(graph, attrs->start, attrs->rank)) ||
        ((bits & ATTR_LOW) && !dims_exist(graph, attrs->low, attrs->rank)) ||
        ((bits & ATTR_HIGH) && !dims_exist(graph, attrs->high, attrs->rank)))
        return bad(err, id, "an attribute holds no dims of this graph");
    return true;
}

static bool check_node(struct graph *graph, value_id id, struct error *err)
{
    if (!check_form(graph, id, err) || !check_attrs(graph, id, err))
        return false;
    const struct node *node = graph_node(graph, id);
    struct shape_query q = {
        .graph = graph,
        .prim = (enum prim)node->prim,
        .operands = node->operands,
        .operand_count = node->operand_count,
        .attrs = node->attrs,
        .err = err,
    };
    if (!shape_infer(&q))
        return bad(err, id, err->message);
    if (q.dtype != node->dtype)
        return bad(err, id, "not the dtype that the rule infers");
    if (q.rank != node->rank || memcmp(q.shape, node->shape, q.rank * sizeof *q.shape) != 0)
        return bad(err, id, "not the shape that the rule infers");
    if (graph_find(graph, q.prim, node->operands, node->operand_count, node->attrs) != id)
        return bad(err, id, "not interned, or there twice");
    return true;
}

bool graph_verify(struct graph *graph, struct error *err)
{
    uint32_t inputs = 0, params = 0;
    for (value_id id = 1; id < graph->nodes.count; id++) {
        if (!check_node(graph, id, err))
            return false;
        uint8_t prim = graph_node(graph, id)->prim;
        if (prim == PRIM_INPUT &&
            (inputs >= graph->inputs.count || graph->inputs.items[inputs++] != id))
            return bad(err, id, "an input that is not in the list of inputs");
        if (prim == PRIM_PARAM &&
            (params >= graph->params.count || graph->params.items[params++] != id))
            return bad(err, id, "a param that is not in the list of params");
    }
    if (inputs != graph->inputs.count || params != graph->params.count)
        return fail(err, ERR_BUG, "the lists of inputs and params hold other values");
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const struct graph_output *output = &graph->outputs.items[i];
        if (!output->name || output->value == VALUE_NONE || output->value >= graph->nodes.count)
            return fail(err, ERR_BUG, "output %u is not a value of the graph", i);
    }
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *element = &graph->elements.items[i];
        if (element->input >= graph->inputs.count || !dims_exist(graph, &element->of, 1) ||
            !dims_exist(graph, &element->dim, 1) ||
            element->element >= elements_of_input(graph, element->input))
            return fail(err, ERR_BUG, "element %u is none of an input", i);
    }
    for (uint32_t i = 0; i < graph->updates.count; i++) {
        struct error why;
        struct graph before = *graph;
        before.updates.count = i;
        if (!update_is_sound(&before, &graph->updates.items[i], &why))
            return fail(err, ERR_BUG, "update %u: %s", i, why.message);
    }
    struct graph_loops loops;
    return graph_find_loops(graph, graph->arena, &loops, err);
}
