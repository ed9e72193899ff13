/* Each output owns its memory and is written by every call: one that is a source, a leaf, or the
 * same value as an earlier output is copied, and so is one that depends on parameters only. */
#include "compiler/opt/opt_priv.h"

bool output_is_shared(const struct graph *g, uint32_t output, const bool *per_call)
{
    value_id v = g->outputs.items[output].value;
    enum prim prim = (enum prim)graph_node(g, v)->prim;
    if (!per_call[v] && prim != PRIM_COPY)
        return true;
    for (uint32_t i = 0; i < output; i++)
        if (g->outputs.items[i].value == v)
            return true;
    return prim == PRIM_INPUT || prim == PRIM_PARAM || prim == PRIM_CONST || prim == PRIM_LITERAL ||
           prim == PRIM_IOTA || prim == PRIM_SIZE;
}

bool pass_own_outputs(struct graph *to, struct arena *arena, const struct graph *from,
                      const struct target *target, struct error *err)
{
    (void)target;
    if (!graph_copy_live(to, arena, from, err))
        return false;
    for (uint32_t i = 0; i < to->outputs.count; i++) {
        const bool *per_call = values_per_call(to, arena);
        while (output_is_shared(to, i, per_call)) {
            value_id copy = graph_add(to, PRIM_COPY, &to->outputs.items[i].value, 1, NULL, err);
            per_call = values_per_call(to, arena);
            if (copy == VALUE_NONE)
                return false;
            to->outputs.items[i].value = copy;
        }
    }
    return true;
}
