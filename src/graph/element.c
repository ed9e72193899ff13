#include "graph/element.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

static const char *const names[ELEMENT_RULES] = {
#define RULE(id, name, doc) [ELEMENT_##id] = name,
#include "graph/element_rules.def"
#undef RULE
};

const char *element_rule_name(unsigned rule)
{
    return rule < ELEMENT_RULES ? names[rule] : NULL;
}

unsigned element_rule_from_name(const char *name)
{
    for (unsigned rule = 1; rule < ELEMENT_RULES; rule++)
        if (strcmp(names[rule], name) == 0)
            return rule;
    return ELEMENT_NONE;
}

static const struct node *input_node(const struct graph *graph, uint32_t input)
{
    return graph_node(graph, graph->inputs.items[input]);
}

/* Elements of an input, if it is one whose elements may tell dims; 0: it is not. */
static uint32_t count_of(const struct graph *graph, uint32_t input)
{
    int64_t count = 1;
    const struct node *node = input_node(graph, input);
    if (node->rank > 1 || (node->rank == 1 && !dim_is_const(&graph->dims, node->shape[0], &count)))
        return 0;
    return count >= 1 && count <= LIMIT_ELEMENTS ? (uint32_t)count : 0;
}

static bool has_dim(const struct graph *graph, dim_id dim)
{
    return dim != DIM_NONE && dim < graph->dims.exprs.count;
}

bool graph_element(struct graph *graph, const struct graph_element *element, struct error *err)
{
    int64_t rank;
    if (element->input >= graph->inputs.count)
        return fail(err, ERR_BLUEPRINT, "there is no input %u", element->input);
    uint32_t count = count_of(graph, element->input);
    if (count == 0)
        return fail(err, ERR_BLUEPRINT, "only lists of 1 … %d elements tell dims", LIMIT_ELEMENTS);
    if (element->element >= count || element->rule == ELEMENT_NONE ||
        element->rule >= ELEMENT_RULES || !has_dim(graph, element->of) ||
        !has_dim(graph, element->dim))
        return fail(err, ERR_BLUEPRINT, "element %u of %u by rule %u", element->element, count,
                    element->rule);
    if (element->rule == ELEMENT_CHOICE &&
        (!dim_is_const(&graph->dims, element->of, &rank) || rank < count || rank > LIMIT_RANK))
        return fail(err, ERR_BLUEPRINT, "a choice of %u axes", count);
    if (element->rule == ELEMENT_PADDED && (count % 2 != 0 || element->element >= count / 2))
        return fail(err, ERR_BLUEPRINT, "element %u of %u pads", element->element, count);
    if (graph->elements.count >= LIMIT_NODES)
        return fail(err, ERR_LIMIT, "the graph has %d elements that tell dims already",
                    LIMIT_NODES);
    VEC_PUSH(graph->arena, &graph->elements, *element);
    return true;
}

uint32_t elements_of_input(const struct graph *graph, uint32_t input)
{
    for (uint32_t i = 0; i < graph->elements.count; i++)
        if (graph->elements.items[i].input == input)
            return count_of(graph, input);
    return 0;
}

static bool whole(double value, int64_t *out)
{
    if (!(fabs(value) < 0x1p62) || rint(value) != value)
        return false;
    *out = (int64_t)value;
    return true;
}

/* One element, in the layout of any dtype. */
union item {
    double f64;
    float f32;
    uint16_t u16;
    int64_t i64;
    int32_t i32;
    uint32_t u32;
    int16_t i16;
    uint8_t u8;
    int8_t i8;
};

bool element_integer(enum dtype dtype, const void *data, uint32_t at, int64_t *out)
{
    union item item;
    size_t size = dtype_bytes(dtype);
    memcpy(&item, (const char *)data + at * size, size);
    switch (dtype) {
    case DTYPE_F64: return whole(item.f64, out);
    case DTYPE_F32: return whole((double)item.f32, out);
    case DTYPE_F16: return whole(f16_to_double(item.u16), out);
    case DTYPE_BF16: return whole(bf16_to_double(item.u16), out);
    case DTYPE_I64:
    case DTYPE_U64: *out = item.i64; return dtype == DTYPE_I64 || *out >= 0;
    case DTYPE_I32: *out = item.i32; return true;
    case DTYPE_U32: *out = item.u32; return true;
    case DTYPE_I16: *out = item.i16; return true;
    case DTYPE_U16: *out = item.u16; return true;
    case DTYPE_I8: *out = item.i8; return true;
    case DTYPE_U8:
    case DTYPE_BOOL: *out = item.u8; return true;
    case DTYPE_NONE:
    case DTYPE_COUNT: break;
    }
    return false;
}

static void store(enum dtype dtype, void *data, uint32_t at, int64_t value)
{
    union item item = {.i64 = value};
    size_t size = dtype_bytes(dtype);
    switch (dtype) {
    case DTYPE_F64: item.f64 = (double)value; break;
    case DTYPE_F32: item.f32 = (float)value; break;
    case DTYPE_F16: item.u16 = f16_from_double((double)value); break;
    case DTYPE_BF16: item.u16 = bf16_from_double((double)value); break;
    case DTYPE_I32:
    case DTYPE_U32: item.i32 = (int32_t)value; break;
    case DTYPE_I16:
    case DTYPE_U16: item.i16 = (int16_t)value; break;
    case DTYPE_I8:
    case DTYPE_U8:
    case DTYPE_BOOL: item.i8 = (int8_t)value; break;
    case DTYPE_I64:
    case DTYPE_U64:
    case DTYPE_NONE:
    case DTYPE_COUNT: break;
    }
    memcpy((char *)data + at * size, &item, size);
}

int64_t choice_count(uint32_t rank, uint32_t count)
{
    int64_t sets = count <= rank;
    for (uint32_t i = 0; i < count; i++)
        sets = sets * (rank - i) / (i + 1);
    return sets;
}

void choice_axes(uint32_t rank, uint32_t count, int64_t number, uint32_t axes[LIMIT_RANK])
{
    for (uint32_t i = 0, axis = 0; i < count; i++, axis++) {
        for (int64_t with; number >= (with = choice_count(rank - axis - 1, count - i - 1)); axis++)
            number -= with;
        axes[i] = axis;
    }
}

/* The number of the set of the elements, which must be different axes. */
static bool read_choice(const int64_t *integers, uint32_t count, uint32_t rank, int64_t *out,
                        struct error *err)
{
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < count; i++) {
        int64_t axis = integers[i];
        if (axis < -(int64_t)rank || axis >= (int64_t)rank)
            return fail(err, ERR_INPUT, "element %u is axis %" PRId64 " of %u", i, axis, rank);
        axis = axis < 0 ? axis + rank : axis;
        if (chosen >> axis & 1)
            return fail(err, ERR_INPUT, "element %u is axis %" PRId64 " again", i, axis);
        chosen |= 1u << axis;
    }
    int64_t number = 0;
    for (uint32_t axis = 0, left = count; axis < rank && left > 0; axis++) {
        if (chosen >> axis & 1)
            left--;
        else
            number += choice_count(rank - axis - 1, left - 1);
    }
    *out = number;
    return true;
}

/* Of a dim of `size`; first: where a walk ends that goes to the front, -1, or 0. */
static int64_t place(int64_t v, int64_t size, int64_t first, int64_t most)
{
    v = v < 0 ? (v < -size ? first : v + size) : v;
    return (v < most ? v : most) - first;
}

/* The rule's operand is a size, or -1, which no size is. */
static bool is_operand(int64_t of)
{
    return of >= -1 && of <= LIMIT_DIM_VALUE;
}

bool element_read(const struct graph *graph, const struct graph_element *element,
                  const int64_t *integers, const int64_t *dims, int64_t *out, struct error *err)
{
    int64_t v = integers[element->element], of = 0, least, most;
    if (!dim_eval(&graph->dims, element->of, dims, &of) || !is_operand(of))
        return fail(err, ERR_INPUT, "element %u: the dim it is read for has no value",
                    element->element);
    dim_range(&graph->dims, element->dim, &least, &most);
    most = most < LIMIT_DIM_VALUE ? most : LIMIT_DIM_VALUE;
    switch ((enum element_rule)element->rule) {
    case ELEMENT_PLACE: *out = place(v, of, 0, most); return true;
    case ELEMENT_BACK: *out = place(v, of, -1, most - 1); return true;
    case ELEMENT_AXIS:
        if (v < -of || v >= of)
            return fail(err, ERR_INPUT, "element %u is axis %" PRId64 " of %" PRId64,
                        element->element, v, of);
        *out = v < 0 ? v + of : v;
        return true;
    case ELEMENT_CHOICE:
        return read_choice(integers, count_of(graph, element->input), (uint32_t)of, out, err);
    case ELEMENT_PADDED:
        if (!checked_add_i64(v, integers[element->element + count_of(graph, element->input) / 2],
                             &v) ||
            !checked_add_i64(v, of, &v))
            return fail(err, ERR_INPUT, "element %u pads too much", element->element);
        break;
    case ELEMENT_NONE:
    case ELEMENT_SIZE:
    case ELEMENT_STRETCH:
    case ELEMENT_KEEP:
    case ELEMENT_RULES: break;
    }
    *out = v;
    return true;
}

/* Values that a rule accepts beside the dim itself. */
static bool stands_for_dim(const struct graph *graph, const struct graph_element *element,
                           const int64_t *integers, int64_t dim, const int64_t *dims)
{
    int64_t v = integers[element->element], of;
    if (element->rule == ELEMENT_STRETCH)
        return v == 1;
    if (element->rule != ELEMENT_KEEP)
        return false;
    for (uint32_t i = 0; v == -1 && i < element->element; i++)
        if (integers[i] == -1)
            return false;
    return v == -1 || (v == 0 && dim_eval(&graph->dims, element->of, dims, &of) && of == dim);
}

bool element_check(const struct graph *graph, const struct graph_element *element,
                   const int64_t *integers, const int64_t *dims, struct error *err)
{
    int64_t says, expected;
    if (!dim_eval(&graph->dims, element->dim, dims, &expected))
        return fail(err, ERR_INPUT, "element %u tells a dim that has no value", element->element);
    if (!element_read(graph, element, integers, dims, &says, err))
        return false;
    return says == expected || stands_for_dim(graph, element, integers, expected, dims) ||
           fail(err, ERR_INPUT, "element %u is %" PRId64 ", expected %" PRId64, element->element,
                integers[element->element], expected);
}

void elements_store(const struct graph *graph, uint32_t input, const int64_t *dims, void *data)
{
    enum dtype dtype = (enum dtype)input_node(graph, input)->dtype;
    for (uint32_t i = 0; i < graph->elements.count; i++) {
        const struct graph_element *element = &graph->elements.items[i];
        int64_t value, of;
        if (element->input != input || !dim_eval(&graph->dims, element->dim, dims, &value) ||
            !dim_eval(&graph->dims, element->of, dims, &of) || !is_operand(of) || value < 0 ||
            value > LIMIT_DIM_VALUE)
            continue;
        if (element->rule == ELEMENT_CHOICE) {
            uint32_t axes[LIMIT_RANK], count = count_of(graph, input);
            int64_t sets = choice_count((uint32_t)of, count);
            value = value < sets ? value : sets - 1;
            choice_axes((uint32_t)of, count, value, axes);
            for (uint32_t k = 0; k < count; k++)
                store(dtype, data, k, axes[k]);
        } else if (element->rule == ELEMENT_PADDED) {
            store(dtype, data, element->element, (value - of) / 2);
            store(dtype, data, element->element + count_of(graph, input) / 2,
                  value - of - (value - of) / 2);
        } else {
            bool before = element->rule == ELEMENT_BACK && value == 0;
            store(dtype, data, element->element,
                  element->rule != ELEMENT_BACK ? value
                  : before                      ? -of - 1
                                                : value - 1);
        }
    }
}
