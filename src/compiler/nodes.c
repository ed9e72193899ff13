/* Which nodes of the source a kernel computes: those that the values of its group come from. What
 * asks for a value is looked at before the value itself, so that of the nodes that share a value
 * only those of this kernel are named (origin_set_add). Constants count where all is constant. */
#include "compiler/compile_priv.h"

#include <stdlib.h>

void nodes_init(struct node_finder *finder, const struct unit *unit, struct arena *arena)
{
    *finder = (struct node_finder){
        .unit = unit,
        .arena = arena,
        .seen = ARENA_ARRAY(arena, uint32_t, unit->graph.nodes.count),
    };
    origin_set_init(&finder->set, &unit->graph, arena);
}

static int later_first(const void *a, const void *b)
{
    value_id x = *(const value_id *)a, y = *(const value_id *)b;
    return (x < y) - (x > y);
}

/* The group's values, users before their operands. */
static void gather(struct node_finder *f, value_id root)
{
    const struct graph *graph = &f->unit->graph;
    f->values.count = 0;
    f->walk++;
    VEC_PUSH(f->arena, &f->values, root);
    for (uint32_t i = 0; i < f->values.count; i++) {
        const struct node *node = graph_node(graph, f->values.items[i]);
        for (uint32_t k = 0; k < node->operand_count; k++) {
            value_id operand = node->operands[k];
            if (f->unit->partition.values[operand].place != PLACE_INLINE ||
                f->seen[operand] == f->walk)
                continue;
            f->seen[operand] = f->walk;
            VEC_PUSH(f->arena, &f->values, operand);
        }
    }
    qsort(f->values.items, f->values.count, sizeof *f->values.items, later_first);
}

void nodes_find(struct node_finder *f, const struct group *group, struct plan_launch *out)
{
    const struct node *root = graph_node(&f->unit->graph, group->root);
    uint32_t left = LAUNCH_NODES, end;
    gather(f, group->root);
    f->ends.count = 0;
    origin_set_clear(&f->set);
    for (uint32_t i = 0; i < f->values.count; i++) {
        const struct node *node = graph_node(&f->unit->graph, f->values.items[i]);
        if (root->constant || !node->constant)
            origin_set_add(&f->set, node->origin);
        VEC_PUSH(f->arena, &f->ends, f->set.names.count);
    }
    end = f->set.names.count;
    out->node_count = end < left ? end : left;
    out->more_nodes = end - out->node_count;
    const char **names = ARENA_ARRAY(f->arena, const char *, out->node_count);
    out->nodes = names;
    for (uint32_t i = f->values.count; i-- > 0 && left > 0;) { /* as they are computed */
        uint32_t begin = i > 0 ? f->ends.items[i - 1] : 0;
        uint32_t count = f->ends.items[i] - begin;
        count = count < left ? count : left;
        for (uint32_t k = 0; k < count; k++)
            names[k] = arena_strdup(f->arena, f->set.names.items[begin + k]);
        names += count;
        left -= count;
    }
}
