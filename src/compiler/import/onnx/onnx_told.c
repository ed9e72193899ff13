/* Dims that inputs of the model tell: their elements give the values at each call
 * (graph/element.h).
 *
 * An input tells a dim only if a node needs it as a size and nothing else gives it; other integer
 * inputs remain data. Each element has a named dim, called after the input: k, or starts.0 and
 * starts.1. There is one for each rule and operand by which the element is read. Then it is known
 * like any other dim, and folding finds what is computed from it. */
#include <stdio.h>
#include <string.h>

#include "compiler/import/onnx/onnx_told_priv.h"

static bool place_of(const struct graph *graph, value_id x, uint32_t *out)
{
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        if (graph->inputs.items[i] == x) {
            *out = i;
            return true;
        }
    return false;
}

/* The number of elements of an input that can tell dims; 0: it cannot. */
static uint32_t count_of(const struct onnx *o, value_id x)
{
    const struct node *node = graph_node(o->graph, x);
    int64_t count = 1;
    if (node->rank > 1 ||
        (node->rank == 1 && !onnx_is_const(&o->graph->dims, node->shape[0], &count)) || count < 1 ||
        count > LIMIT_ELEMENTS)
        return 0;
    return (uint32_t)count;
}

bool onnx_is_short(const struct onnx *o, value_id input)
{
    return count_of(o, input) > 0;
}

bool onnx_may_tell(struct onnx_call *c, uint32_t index, uint32_t *out_input, uint32_t *out_count)
{
    if (!onnx_given(c, index) || !place_of(c->o->graph, c->in[index], out_input) ||
        onnx_known(c->o, c->in[index])->is_known)
        return false;
    *out_count = count_of(c->o, c->in[index]);
    return *out_count > 0;
}

static bool add(struct onnx_call *c, const struct graph_element *element)
{
    struct error failure = {.code = ERR_NONE};
    return graph_element(c->o->graph, element, &failure) ||
           b_fail(c->b, failure.code, "%s", failure.message);
}

bool onnx_require(struct onnx_call *c, const struct graph_element *element)
{
    for (uint32_t i = 0; i < c->o->graph->elements.count; i++) {
        const struct graph_element *other = &c->o->graph->elements.items[i];
        if (memcmp(other, element, sizeof *other) == 0)
            return true;
    }
    return add(c, element);
}

/* The values that the rule accepts. */
static void legal_range(const struct onnx *o, const struct graph_element *element, uint32_t count,
                        struct dim_name *out)
{
    int64_t least = 0, most = DIM_MAX_DEFAULT;
    onnx_dim_range(&o->graph->dims, element->of, &least, &most);
    most = most < LIMIT_DIM_VALUE ? most : LIMIT_DIM_VALUE - 1;
    switch ((enum element_rule)element->rule) {
    case ELEMENT_PLACE: out->max = most; break;
    case ELEMENT_BACK: out->max = most + 1; break;
    case ELEMENT_AXIS: out->max = most - 1; break;
    case ELEMENT_CHOICE: out->max = choice_count((uint32_t)most, count) - 1; break;
    default: out->max = DIM_MAX_DEFAULT;
    }
    out->max = out->max < 0 ? 0 : out->max;
}

dim_id onnx_tell(struct onnx_call *c, struct graph_element element)
{
    struct onnx *o = c->o;
    value_id x = o->graph->inputs.items[element.input];
    const char *name = graph_node(o->graph, x)->attrs->name;
    uint32_t count = count_of(o, x);
    struct dim_name range = {.multiple_of = 1};
    struct strbuf wish;
    for (uint32_t i = 0; i < o->graph->elements.count; i++) {
        const struct graph_element *other = &o->graph->elements.items[i];
        if (other->input == element.input && other->element == element.element &&
            other->rule == element.rule && other->of == element.of)
            return other->dim;
    }
    strbuf_init(&wish, o->arena);
    strbuf_puts(&wish, name);
    if (count > 1 && element.rule != ELEMENT_CHOICE)
        strbuf_printf(&wish, ".%u", element.element);
    legal_range(o, &element, count, &range);
    struct error failure = {.code = ERR_NONE};
    if (!onnx_declare_told(o, wish.data, &range, &element.dim, &failure))
        return b_fail(c->b, failure.code, "%s", failure.message), DIM_NONE;
    return add(c, &element) ? element.dim : DIM_NONE;
}

bool onnx_require_const(struct onnx_call *c, uint32_t input, uint32_t at, enum element_rule rule,
                        int64_t value)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id of = dim_const(dims, rule == ELEMENT_AXIS ? onnx_rank(c, c->in[0]) : 0);
    return onnx_require(
        c, &(struct graph_element){input, at, (uint8_t)rule, of, dim_const(dims, value)});
}

bool onnx_told_axes(struct onnx_call *c, uint32_t index, uint32_t count, int64_t *out)
{
    dim_id shape[LIMIT_RANK];
    uint32_t input, told, rank = onnx_rank(c, c->in[0]), stated = 0;
    uint32_t chosen = 0, differ = 0, left = count;
    if (!onnx_may_tell(c, index, &input, &told) || told != count || count > rank)
        return false;
    bool known = onnx_stated_shape(c, shape, &stated) && stated == rank;
    for (uint32_t i = 0; i < rank && known; i++)
        differ |= (uint32_t)(shape[i] != b_dim(c->b, c->in[0], i)) << i;
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < rank && left > 0; i++)
            if ((pass == 0 ? differ : ~chosen) >> i & 1) {
                chosen |= 1u << i;
                left--;
            }
    for (uint32_t i = 0, at = 0; i < rank && at < count; i++)
        if (chosen >> i & 1) {
            out[at] = i;
            if (!onnx_require_const(c, input, at++, ELEMENT_AXIS, i))
                return false;
        }
    return true;
}

/* Makes dims of all elements of an input, as sizes. */
static bool tell_sizes(struct onnx_call *c, value_id x)
{
    dim_id dims[LIMIT_ELEMENTS], none = dim_const(&c->o->graph->dims, 0);
    uint32_t input = 0, count = count_of(c->o, x);
    if (count == 0 || !place_of(c->o->graph, x, &input))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        dims[i] = onnx_tell(c, (struct graph_element){
                                   .input = input, .element = i, .rule = ELEMENT_SIZE, .of = none});
        if (dims[i] == DIM_NONE)
            return false;
    }
    onnx_know_dims(c->o, x, dims);
    return true;
}

bool onnx_tell_sizes(struct onnx_call *c, value_id x)
{
    struct onnx *o = c->o;
    bool *needed = ARENA_ARRAY(o->arena, bool, o->graph->nodes.count);
    bool any = false;
    needed[x] = true;
    for (value_id v = x; v > VALUE_NONE; v--) {
        const struct node *node = graph_node(o->graph, v);
        if (!needed[v] || onnx_known(o, v)->is_known)
            continue;
        if (node->prim == PRIM_INPUT && count_of(o, v) == 0)
            return false;
        for (uint32_t i = 0; i < node->operand_count; i++)
            needed[node->operands[i]] = true;
    }
    for (value_id v = 1; v <= x; v++) {
        if (!needed[v] || graph_node(o->graph, v)->prim != PRIM_INPUT || onnx_known(o, v)->is_known)
            continue;
        if (!tell_sizes(c, v))
            return false;
        any = true;
    }
    if (any)
        onnx_forget(o);
    return any;
}

void onnx_hint_told(const struct graph *graph, struct error *err)
{
    char text[sizeof err->message];
    size_t used = (size_t)snprintf(text, sizeof text, "%.300s; --known gives the values of inputs",
                                   err->message);
    uint32_t last = UINT32_MAX;
    for (uint32_t i = 0; i < graph->elements.count && used < sizeof text; i++) {
        uint32_t input = graph->elements.items[i].input;
        if (input != last)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s '%.60s'",
                                     last == UINT32_MAX ? " that decide sizes here:" : ",",
                                     graph_node(graph, graph->inputs.items[input])->attrs->name);
        last = input;
    }
    if (last != UINT32_MAX)
        memcpy(err->message, text, sizeof text);
}
