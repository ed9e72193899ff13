/* Dims as values of the model: constants where they are constant, otherwise computed from an
 * input's shape. */

#include "base/strbuf.h"
#include "compiler/export/export_priv.h"

static const char *dim_item(struct export *e, dim_id dim);

/* Whether dim = coefficient · name + rest. */
static bool is_linear(const struct dim_table *dims, dim_id dim, uint32_t name,
                      int64_t *out_coefficient, int64_t *out_rest)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(dims, dim, &count);
    *out_coefficient = *out_rest = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct dim_atom *atom = terms[i].atoms;
        if (terms[i].atom_count == 0)
            *out_rest = terms[i].coefficient;
        else if (terms[i].atom_count == 1 && atom->kind == DIM_ATOM_NAME && atom->name == name &&
                 atom->divisor == 1)
            *out_coefficient = terms[i].coefficient;
        else
            return false;
    }
    return *out_coefficient != 0;
}

/* The value of a named dim, from the input dim with the simplest expression in it. */
static const char *named(struct export *e, uint32_t name)
{
    const struct graph *graph = e->graph;
    for (int direct = 1; direct >= 0; direct--)
        for (uint32_t i = 0; i < graph->inputs.count; i++) {
            const struct node *input = graph_node(graph, graph->inputs.items[i]);
            for (uint32_t axis = 0; axis < input->rank; axis++) {
                int64_t coefficient, rest;
                if (!is_linear(&graph->dims, input->shape[axis], name, &coefficient, &rest) ||
                    (direct && (coefficient != 1 || rest != 0)))
                    continue;
                const char *x = NODE(e, "Shape", e->names[graph->inputs.items[i]]);
                export_int(e, "start", axis);
                export_int(e, "end", axis + 1);
                if (rest != 0)
                    x = NODE(e, "Sub", x, export_list(e, &rest, 1));
                if (coefficient != 1)
                    x = NODE(e, "Div", x, export_list(e, &coefficient, 1));
                return x;
            }
        }
    struct strbuf why;
    strbuf_init(&why, e->arena);
    strbuf_printf(&why, "no input's shape tells the dim '%s'", graph->dims.names.items[name].name);
    return export_refuse(e, why.data);
}

static const char *atom_item(struct export *e, const struct dim_atom *atom)
{
    int64_t least, most;
    if (atom->kind == DIM_ATOM_NAME) {
        const char *name = dim_item(e, dim_named(&e->graph->dims, atom->name));
        return atom->divisor == 1 ? name : NODE(e, "Div", name, export_list(e, &atom->divisor, 1));
    }
    const char *a = dim_item(e, atom->a), *b = dim_item(e, atom->b);
    if (atom->kind == DIM_ATOM_MAX)
        return NODE(e, "Max", a, b);
    /* Div rounds toward zero; Mod has the sign of the divisor. */
    dim_range(&e->graph->dims, atom->a, &least, &most);
    if (least < 0)
        a = NODE(e, "Sub", a, NODE(e, "Mod", a, b));
    return NODE(e, "Div", a, b);
}

static const char *term_item(struct export *e, const struct dim_term *term)
{
    const char *x = NULL;
    for (uint32_t i = 0; i < term->atom_count; i++) {
        const char *atom = atom_item(e, &term->atoms[i]);
        x = x ? NODE(e, "Mul", x, atom) : atom;
    }
    if (!x)
        return export_list(e, &term->coefficient, 1);
    if (term->coefficient == 1)
        return x;
    return NODE(e, "Mul", x, export_list(e, &term->coefficient, 1));
}

static const char *computed(struct export *e, dim_id dim)
{
    uint32_t count;
    const struct dim_term *terms = dim_terms(&e->graph->dims, dim, &count);
    const char *x = NULL;
    uint32_t name;
    if (dim_is_name(&e->graph->dims, dim, &name))
        return named(e, name);
    for (uint32_t i = 0; i < count; i++) {
        const char *term = term_item(e, &terms[i]);
        x = x ? NODE(e, "Add", x, term) : term;
    }
    return x;
}

static bool is_const(const struct export *e, dim_id dim, int64_t *out)
{
    return dim != DIM_NONE && dim_is_const(&e->graph->dims, dim, out);
}

/* i64[1] */
static const char *dim_item(struct export *e, dim_id dim)
{
    int64_t value;
    if (dim == DIM_NONE)
        return export_refuse(e, "a size that it needs is too long an expression");
    if (dim_is_const(&e->graph->dims, dim, &value))
        return export_list(e, &value, 1);
    for (uint32_t i = 0; i < e->dims.count; i++)
        if (e->dims.items[i].dim == dim)
            return e->dims.items[i].name;
    struct export_dim found = {dim, computed(e, dim)};
    VEC_PUSH(e->arena, &e->dims, found);
    return found.name;
}

const char *export_dims(struct export *e, const dim_id *dims, uint32_t count)
{
    int64_t values[2 * EXPORT_RANK];
    const char *items[2 * EXPORT_RANK];
    uint32_t known = 0;
    while (known < count && is_const(e, dims[known], &values[known]))
        known++;
    if (known == count)
        return export_list(e, values, count);
    for (uint32_t i = 0; i < count; i++)
        items[i] = dim_item(e, dims[i]);
    if (count == 1)
        return items[0];
    const char *list = export_node(e, "Concat", items, count);
    export_int(e, "axis", 0);
    return list;
}

const char *export_dim(struct export *e, dim_id dim)
{
    int64_t value;
    if (is_const(e, dim, &value))
        return export_whole(e, DTYPE_I64, value);
    const char *item = dim_item(e, dim);
    return NODE(e, "Squeeze", item, export_list(e, (int64_t[]){0}, 1));
}

bool export_may_be_empty(const struct export *e, dim_id dim)
{
    int64_t least = 0, most;
    if (dim != DIM_NONE)
        dim_range(&e->graph->dims, dim, &least, &most);
    return least <= 0;
}

const char *export_reshape(struct export *e, const char *x, const dim_id *shape, uint32_t rank)
{
    bool may_be_empty = false;
    for (uint32_t d = 0; d < rank; d++) {
        may_be_empty = may_be_empty || export_may_be_empty(e, shape[d]);
    }
    const char *result = export_dims(e, shape, rank);
    result = NODE(e, "Reshape", x, result);
    if (may_be_empty)
        export_int(e, "allowzero", 1); /* otherwise a 0 means the operand's dim */
    return result;
}

const char *export_slice(struct export *e, const char *x, int64_t axis, dim_id start, dim_id end,
                         int64_t step)
{
    const char *from = export_dims(e, &start, 1), *to = export_dims(e, &end, 1);
    const char *axes = export_list(e, &axis, 1);
    return NODE(e, "Slice", x, from, to, axes, export_list(e, &step, 1));
}

const char *export_pad(struct export *e, const char *x, const dim_id *low, const dim_id *high,
                       uint32_t rank, const char *value)
{
    dim_id sides[2 * EXPORT_RANK];
    bool any = false;
    for (uint32_t d = 0; d < rank; d++) {
        int64_t l = 1, h = 1;
        sides[d] = low[d];
        sides[rank + d] = high[d];
        any = any || !is_const(e, low[d], &l) || l != 0 || !is_const(e, high[d], &h) || h != 0;
    }
    if (!any)
        return x;
    const char *pads = export_dims(e, sides, 2 * rank);
    return NODE(e, "Pad", x, pads, value);
}
