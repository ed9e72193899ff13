/* Descriptions of sources (notes.h). */
#include "compiler/import/notes.h"

#include <string.h>

const char *import_fate_name(enum import_fate fate)
{
    static const char *const names[] = {"kernel", "constant", "sizes", "loaded", "same"};
    return names[fate];
}

void import_notes_init(struct import_notes *notes, struct arena *arena)
{
    *notes = (struct import_notes){.arena = arena};
}

struct import_op *import_note_op(struct import_notes *notes, const char *name)
{
    uint32_t index;
    if (!strmap_find(&notes->op_names, name, &index)) {
        index = notes->ops.count;
        VEC_PUSH(notes->arena, &notes->ops,
                 ((struct import_op){.name = arena_strdup(notes->arena, name)}));
        strmap_add(&notes->op_names, notes->arena, notes->ops.items[index].name, index);
    }
    return &notes->ops.items[index];
}

/* What a value depends on. */
enum { ON_INPUTS = 1, ON_PARAMS = 2, ON_DIMS = 4 };

static bool is_dynamic(const struct graph *graph, const struct node *node)
{
    for (uint32_t i = 0; i < node->rank; i++)
        if (!dim_is_const(&graph->dims, node->shape[i], NULL))
            return true;
    return false;
}

uint8_t *import_fates(const struct graph *graph, struct arena *arena)
{
    uint8_t *fates = arena_alloc(arena, graph->nodes.count, 1);
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *node = graph_node(graph, v);
        uint8_t on = node->prim == PRIM_INPUT   ? ON_INPUTS
                     : node->prim == PRIM_PARAM ? ON_PARAMS
                                                : 0;
        if (on == 0 && (node->prim == PRIM_SIZE || is_dynamic(graph, node)))
            on = ON_DIMS;
        for (uint32_t i = 0; i < node->operand_count; i++)
            on |= fates[node->operands[i]];
        fates[v] = on;
    }
    for (value_id v = 1; v < graph->nodes.count; v++)
        fates[v] = fates[v] & ON_INPUTS   ? IMPORT_KERNEL
                   : fates[v] & ON_DIMS   ? (fates[v] & ON_PARAMS ? IMPORT_KERNEL : IMPORT_SIZES)
                   : fates[v] & ON_PARAMS ? IMPORT_LOADED
                                          : IMPORT_CONSTANT;
    return fates;
}
