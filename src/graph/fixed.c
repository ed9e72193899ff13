/* A graph at values of some of its named dims.
 *
 * Nodes are copied as they are, not added again: adding would find that some of them are equal at
 * these values, and the copy is for asking the same of the same values by the same ids. */
#include <string.h>

#include "base/error.h"
#include "graph/graph.h"

struct fixing {
    struct graph *to;
    const struct graph *from;
    const int64_t *values;
    dim_id *dims; /* by dim of from: the one of to; DIM_NONE: not asked for so far */
};

static bool fix(struct fixing *f, const dim_id *from, uint32_t count, dim_id *out,
                struct error *err)
{
    for (uint32_t i = 0; i < count; i++) {
        dim_id *known = &f->dims[from[i]];
        if (*known == DIM_NONE)
            *known = dim_import_at(&f->to->dims, &f->from->dims, f->values, from[i]);
        if (*known == DIM_NONE)
            return fail(err, ERR_LIMIT, "a dim has no value at these sizes");
        out[i] = *known;
    }
    return true;
}

static bool fix_attrs(struct fixing *f, const struct node *node, const struct attrs **out,
                      struct error *err)
{
    uint32_t bits = prim_info((enum prim)node->prim)->attrs;
    const struct attrs *from = node->attrs;
    if (from->rank == 0 || !(bits & (ATTR_SHAPE | ATTR_DIM | ATTR_START | ATTR_LOW | ATTR_HIGH)))
        return true;
    struct attrs *attrs = arena_memdup(f->to->arena, from, sizeof *from);
    *out = attrs;
    return (!(bits & (ATTR_SHAPE | ATTR_DIM)) ||
            fix(f, from->shape, from->rank, attrs->shape, err)) &&
           (!(bits & ATTR_START) || fix(f, from->start, from->rank, attrs->start, err)) &&
           (!(bits & ATTR_LOW) || fix(f, from->low, from->rank, attrs->low, err)) &&
           (!(bits & ATTR_HIGH) || fix(f, from->high, from->rank, attrs->high, err));
}

static bool declare_all(struct graph *to, const struct graph *from, struct error *err)
{
    uint32_t index;
    for (uint32_t i = 0; i < from->dims.names.count; i++)
        if (!dim_declare(&to->dims, &from->dims.names.items[i], &index, err))
            return false;
    return true;
}

bool graph_fix_dims(struct graph *to, struct arena *arena, const struct graph *from,
                    const int64_t *values, struct error *err)
{
    struct fixing f = {to, from, values, ARENA_ARRAY(arena, dim_id, from->dims.exprs.count)};
    graph_init(to, arena);
    if (!declare_all(to, from, err))
        return false;
    to->name = from->name;
    to->loops = from->loops;
    to->inputs.items = from->inputs.items; /* nothing is added to any of them */
    to->inputs.count = from->inputs.count;
    to->params.items = from->params.items;
    to->params.count = from->params.count;
    to->outputs.items = from->outputs.items;
    to->outputs.count = from->outputs.count;
    to->updates.items = from->updates.items;
    to->updates.count = from->updates.count;
    struct node *nodes = ARENA_ARRAY(arena, struct node, from->nodes.count);
    for (value_id v = 1; v < from->nodes.count; v++) {
        struct node *node = &nodes[v];
        *node = *graph_node(from, v);
        dim_id *shape = ARENA_ARRAY(arena, dim_id, node->rank + 1u);
        if (!fix(&f, node->shape, node->rank, shape, err) ||
            !fix_attrs(&f, node, &node->attrs, err))
            return fail_at(err, "value %u", v);
        node->shape = shape;
        node->origin = ORIGIN_NONE;
    }
    to->nodes.items = nodes;
    to->nodes.count = from->nodes.count;
    return true;
}
