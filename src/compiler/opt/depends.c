/* Which values depend on inputs or sizes of a call, and which on parameters only. */
#include "compiler/opt/opt_priv.h"

bool *values_per_call(const struct graph *graph, struct arena *arena)
{
    bool *marks = ARENA_ARRAY(arena, bool, graph->nodes.count);
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *n = graph_node(graph, v);
        marks[v] = n->prim == PRIM_INPUT || n->prim == PRIM_SIZE || n->prim == PRIM_ITER ||
                   n->prim == PRIM_STATE;
        for (uint32_t i = 0; i < n->rank; i++)
            marks[v] |= !dim_is_const(&graph->dims, n->shape[i], NULL);
        for (uint32_t i = 0; i < n->operand_count; i++)
            marks[v] |= marks[n->operands[i]];
    }
    return marks;
}
