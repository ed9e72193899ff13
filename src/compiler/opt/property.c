/* The properties of graphs (properties.def) and their checks. */
#include "compiler/opt/opt_priv.h"

/* By value: whether an output needs it. */
static bool *needed_values(const struct graph *g, struct arena *arena)
{
    bool *needed = ARENA_ARRAY(arena, bool, g->nodes.count);
    for (uint32_t i = 0; i < g->outputs.count; i++)
        needed[g->outputs.items[i].value] = true;
    for (value_id v = g->nodes.count; v-- > 1;)
        for (uint32_t i = 0; needed[v] && i < graph_node(g, v)->operand_count; i++)
            needed[graph_node(g, v)->operands[i]] = true;
    return needed;
}

static value_id find_unneeded(const struct graph *g, struct arena *arena)
{
    const bool *needed = needed_values(g, arena);
    for (value_id v = 1; v < g->nodes.count; v++) {
        enum prim prim = (enum prim)graph_node(g, v)->prim;
        if (!needed[v] && prim != PRIM_INPUT && prim != PRIM_PARAM)
            return v;
    }
    return VALUE_NONE;
}

static value_id find_unjoined(const struct graph *g, struct arena *arena)
{
    const bool *needed = needed_values(g, arena);
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        bool joins = n->prim == PRIM_RESHAPE || n->prim == PRIM_TRANSPOSE ||
                     n->prim == PRIM_BROADCAST || n->prim == PRIM_REVERSE;
        if (needed[v] && joins && graph_node(g, n->operands[0])->prim == n->prim)
            return v;
    }
    return VALUE_NONE;
}

static value_id find_shared(const struct graph *g, struct arena *arena)
{
    const bool *per_call = values_per_call(g, arena);
    for (uint32_t i = 0; i < g->outputs.count; i++)
        if (output_is_shared(g, i, per_call))
            return g->outputs.items[i].value;
    return VALUE_NONE;
}

static const struct {
    const char *name, *doc;
    value_id (*find)(const struct graph *g, struct arena *arena);
} rows[] = {
#define PROPERTY(id, name, find, doc) {name, doc, find},
#include "compiler/opt/properties.def"
#undef PROPERTY
};

const char *property_name(enum property property)
{
    return rows[property].name;
}

const char *property_doc(enum property property)
{
    return rows[property].doc;
}

bool property_holds(enum property property, const struct graph *graph, struct arena *arena,
                    value_id *out_where)
{
    value_id where = rows[property].find(graph, arena);
    if (where != VALUE_NONE)
        *out_where = where;
    return where == VALUE_NONE;
}
