/* Guards are derived from the graph alone: an input dim that is an expression of one name only (S,
 * S + 2, 4*D) gives that name its value, and so does an element that tells a name alone; all other
 * dims and elements are checked when all names have values. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "graph/element.h"
#include "package/package.h"

/* Whether dim is scale × one named dim + offset with scale ≥ 1; the named dim then follows from the
 * dim's value.
 */
static bool one_name(const struct dim_table *dims, dim_id dim, uint32_t *out_index,
                     int64_t *out_scale, int64_t *out_offset)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(dims, dim, &count);
    if (count < 1 || count > 2 || terms[0].coefficient < 1 || terms[0].atom_count != 1 ||
        terms[0].atoms[0].kind != DIM_ATOM_NAME || terms[0].atoms[0].divisor != 1 ||
        (count == 2 && terms[1].atom_count != 0))
        return false;
    *out_index = terms[0].atoms[0].name;
    *out_scale = terms[0].coefficient;
    *out_offset = count == 2 ? terms[1].coefficient : 0;
    return true;
}

static const char *input_name(const struct graph *graph, uint32_t input)
{
    return graph_node(graph, graph->inputs.items[input])->attrs->name;
}

static const char *name_text(const struct graph *graph, uint32_t name)
{
    return dim_shown(&graph->dims, name);
}

/* Checks a named dim's range and divisor. */
static bool check_value(const struct dim_table *dims, uint32_t index, int64_t value,
                        struct error *err)
{
    const struct dim_name *name = &dims->names.items[index];
    const char *open = name->why ? " (" : "", *why = name->why ? name->why : "";
    const char *close = name->why ? ")" : "";
    if (value < name->min || value > name->max)
        return fail(err, ERR_INPUT,
                    "dim '%s' is %" PRId64 ", expected %" PRId64 " to %" PRId64 "%s%s%s",
                    dim_shown(dims, index), value, name->min, name->max, open, why, close);
    if (value % name->multiple_of != 0)
        return fail(err, ERR_INPUT,
                    "dim '%s' is %" PRId64 ", expected a multiple of %" PRId64 "%s%s%s",
                    dim_shown(dims, index), value, name->multiple_of, open, why, close);
    return true;
}

bool guards_bind_shape(const struct graph *graph, value_id value, const struct guard_input *given,
                       int64_t *values, uint64_t *bound, struct error *err)
{
    const struct node *node = graph_node(graph, value);
    if (given->dtype != node->dtype)
        return fail(err, ERR_INPUT, "has dtype %s, expected %s",
                    given->dtype > DTYPE_NONE && given->dtype < DTYPE_COUNT
                        ? dtype_name(given->dtype)
                        : "none",
                    dtype_name(node->dtype));
    if (given->rank != node->rank)
        return fail(err, ERR_INPUT, "has %u dims, expected %u", given->rank, node->rank);
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        uint32_t name;
        int64_t scale, offset, size;
        if (!one_name(&graph->dims, node->shape[axis], &name, &scale, &offset))
            continue;
        bool plain = scale == 1 && offset == 0, known = *bound >> name & 1;
        if (URZA_SUB_OVERFLOW(given->shape[axis], offset, &size) || size % scale != 0)
            continue; /* reported by check_shape, once all names have values */
        size /= scale;
        if (known && !plain)
            continue;
        if (known && values[name] != size)
            return fail(err, ERR_INPUT,
                        "dim %u is %" PRId64 ", but must be '%s', which is %" PRId64
                        " by what was given before",
                        axis, size, name_text(graph, name), values[name]);
        if (!check_value(&graph->dims, name, size, err))
            return false;
        values[name] = size;
        *bound |= (uint64_t)1 << name;
    }
    return true;
}

static bool check_shape(const struct graph *graph, uint32_t input, const int64_t *shape,
                        const int64_t *values, struct error *err)
{
    const struct node *node = graph_node(graph, graph->inputs.items[input]);
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        int64_t expected;
        if (!dim_eval(&graph->dims, node->shape[axis], values, &expected))
            return fail(err, ERR_INPUT, "dim %u is %" PRId64 ", its expression has no value", axis,
                        shape[axis]);
        if (shape[axis] != expected || expected < 0)
            return fail(err, ERR_INPUT, "dim %u is %" PRId64 ", expected %" PRId64, axis,
                        shape[axis], expected);
    }
    return true;
}

bool guards_bind_element(const struct graph *graph, const struct graph_element *element,
                         const struct guard_input *given, int64_t *values, uint64_t *bound,
                         struct error *err)
{
    uint32_t name;
    int64_t value;
    if (!given->integers)
        return fail(err, ERR_INPUT, "its elements decide dims, and are not given");
    if (!dim_is_name(&graph->dims, element->dim, &name) || (*bound >> name & 1) != 0)
        return true;
    if (!element_read(graph, element, given->integers, values, &value, err))
        return false;
    if (!check_value(&graph->dims, name, value, err))
        return false;
    values[name] = value;
    *bound |= (uint64_t)1 << name;
    return true;
}

static bool bind_elements(const struct graph *graph, const struct guard_input *inputs,
                          int64_t *values, uint64_t *bound, struct error *err)
{
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *element = &graph->elements.items[i];
        if (!guards_bind_element(graph, element, &inputs[element->input], values, bound, err))
            return fail_at(err, "input '%s'", input_name(graph, element->input));
    }
    return true;
}

bool guards_bind(const struct graph *graph, const struct guard_input *inputs, uint32_t input_count,
                 int64_t out_dims[LIMIT_NAMED_DIMS], struct error *err)
{
    if (input_count != graph->inputs.count)
        return fail(err, ERR_INPUT, "%u inputs are given, expected %u", input_count,
                    graph->inputs.count);
    int64_t values[LIMIT_NAMED_DIMS] = {0};
    uint64_t bound = 0;
    for (uint32_t i = 0; i < input_count; i++)
        if (!guards_bind_shape(graph, graph->inputs.items[i], &inputs[i], values, &bound, err))
            return fail_at(err, "input '%s'", input_name(graph, i));
    if (!bind_elements(graph, inputs, values, &bound, err))
        return false;
    uint32_t name_count = graph->dims.names.count;
    for (uint32_t i = 0; i < name_count; i++) {
        if ((bound >> i & 1) == 0)
            return fail(err, ERR_INPUT, "no input has a dim that tells the value of '%s'",
                        graph->dims.names.items[i].name);
    }
    for (uint32_t i = 0; i < input_count; i++)
        if (!check_shape(graph, i, inputs[i].shape, values, err))
            return fail_at(err, "input '%s'", input_name(graph, i));
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *element = &graph->elements.items[i];
        if (!element_check(graph, element, inputs[element->input].integers, values, err))
            return fail_at(err, "input '%s'", input_name(graph, element->input));
    }
    memcpy(out_dims, values, name_count * sizeof values[0]);
    return true;
}

bool guards_complete(const struct graph *graph, struct error *err)
{
    uint64_t bound = 0;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        for (uint32_t axis = 0; axis < node->rank; axis++) {
            uint32_t name;
            int64_t scale, offset;
            if (one_name(&graph->dims, node->shape[axis], &name, &scale, &offset))
                bound |= (uint64_t)1 << name;
        }
    }
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        uint32_t name;
        if (dim_is_name(&graph->dims, graph->elements.items[i].dim, &name))
            bound |= (uint64_t)1 << name;
    }
    for (uint32_t i = 0; i < graph->dims.names.count; i++)
        if ((bound >> i & 1) == 0)
            return fail(err, ERR_BLUEPRINT,
                        "no input has a dim or an element that tells the value of '%s' alone",
                        graph->dims.names.items[i].name);
    return true;
}
