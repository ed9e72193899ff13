/* The params of a seed's last layer. A value is 0 where the params that it is a product with are,
 * and where all terms of a sum are; so the search goes from the result back to the nearest params.
 */
#include "base/arena.h"
#include "compiler/graft/graft_priv.h"

struct search {
    const struct graph *graph;
    struct arena *arena;
    uint32_t visits; /* values may be reached by many ways */
    VEC(value_id) found;
};
#define VISITS_MOST 10000

static bool vanishes(struct search *s, value_id v);

static bool all_vanish(struct search *s, const struct node *n, uint32_t first, uint32_t end)
{
    bool ok = true;
    for (uint32_t i = first; ok && i < end; i++)
        ok = vanishes(s, n->operands[i]);
    return ok;
}

/* A param behind views, or VALUE_NONE. */
static value_id param_of(const struct graph *graph, value_id v)
{
    const struct node *n = graph_node(graph, v);
    while (n->prim == PRIM_RESHAPE || n->prim == PRIM_TRANSPOSE || n->prim == PRIM_BROADCAST ||
           n->prim == PRIM_CAST || n->prim == PRIM_COPY) {
        v = n->operands[0];
        n = graph_node(graph, v);
    }
    return n->prim == PRIM_PARAM ? v : VALUE_NONE;
}

/* One factor suffices: the weights of this layer before those of another one, which are behind the
 * other factor. */
static bool factor_vanishes(struct search *s, const struct node *n)
{
    uint32_t before = s->found.count;
    for (uint32_t i = n->operand_count; i-- > 0;)
        if (param_of(s->graph, n->operands[i]) != VALUE_NONE)
            return vanishes(s, n->operands[i]);
    for (uint32_t i = n->operand_count; i-- > 0;) {
        if (vanishes(s, n->operands[i]))
            return true;
        s->found.count = before;
    }
    return false;
}

static bool add_param(struct search *s, value_id v)
{
    for (uint32_t i = 0; i < s->found.count; i++)
        if (s->found.items[i] == v)
            return true;
    VEC_PUSH(s->arena, &s->found, v);
    return true;
}

static bool vanishes(struct search *s, value_id v)
{
    const struct node *n = graph_node(s->graph, v);
    if (s->visits++ > VISITS_MOST)
        return false;
    switch ((enum prim)n->prim) {
    case PRIM_PARAM: return dtype_is_float((enum dtype)n->dtype) && add_param(s, v);
    case PRIM_CONST: return dtype_is_float((enum dtype)n->dtype) && n->attrs->value == 0;
    case PRIM_MUL:
    case PRIM_CONTRACT:
    case PRIM_CONV: return factor_vanishes(s, n);
    case PRIM_ADD:
    case PRIM_SUB:
    case PRIM_CONCAT:
    case PRIM_PAD: return all_vanish(s, n, 0, n->operand_count);
    case PRIM_SELECT: return all_vanish(s, n, 1, 3);
    case PRIM_NEG:
    case PRIM_ABS:
    case PRIM_TANH:
    case PRIM_RESHAPE:
    case PRIM_TRANSPOSE:
    case PRIM_BROADCAST:
    case PRIM_SLICE:
    case PRIM_REVERSE:
    case PRIM_REDUCE_SUM:
    case PRIM_WINDOW_SUM:
    case PRIM_CAST:
    case PRIM_COPY:
    case PRIM_DIV: /* where what it is divided by is not 0 */ return vanishes(s, n->operands[0]);
    default: return false;
    }
}

void graft_find_last(const struct graph *graph, value_id value, struct arena *arena,
                     struct graft_spec *out)
{
    struct search s = {.graph = graph, .arena = arena};
    if (!vanishes(&s, value))
        s.found.count = 0;
    const char **names = ARENA_ARRAY(arena, const char *, s.found.count + 1);
    for (uint32_t i = 0; i < s.found.count; i++)
        names[i] = graph_node(graph, s.found.items[i])->attrs->name;
    out->last = names;
    out->last_count = s.found.count;
}
