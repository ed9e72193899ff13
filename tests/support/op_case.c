#include "op_case.h"

#include "base/error.h"
#include "package/package.h"

bool op_case_bind(struct graph *graph, struct error *err)
{
    struct error incomplete = {0};
    if (guards_complete(graph, &incomplete))
        return true;
    for (uint32_t n = 0; n < graph->dims.names.count; n++) {
        dim_id dim = dim_named(&graph->dims, n);
        bool bound = false;
        for (uint32_t i = 0; i < graph->inputs.count; i++) {
            const struct node *node = graph_node(graph, graph->inputs.items[i]);
            for (uint32_t d = 0; d < node->rank; d++)
                bound = bound || node->shape[d] == dim;
        }
        char name[] = {'b', 'i', 'n', 'd', graph->dims.names.items[n].name[0], '\0'};
        if (!bound && graph_input(graph, name, DTYPE_U8, &dim, 1, err) == VALUE_NONE)
            return false;
    }
    return true;
}

void op_case_fill(const struct op_example *example, uint32_t index, const struct tensor *tensor,
                  uint64_t seed)
{
    if (index >= example->operand_count)
        return;
    struct op_example_operand operand = example->operands[index];
    operand.count = tensor->count;
    op_example_fill(&operand, seed, tensor->data);
}

bool op_case_has(const struct op_example *example, enum dtype dtype)
{
    for (uint32_t i = 0; i < example->operand_count; i++)
        if (example->operands[i].dtype == dtype)
            return true;
    return false;
}
