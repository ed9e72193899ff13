/* Outputs that take the places of inputs. */
#include <string.h>

#include "base/error.h"
#include "graph/graph_priv.h"

uint32_t graph_updates_input(const struct graph *graph, uint32_t output)
{
    for (uint32_t i = 0; i < graph->updates.count; i++)
        if (graph->updates.items[i].output == output)
            return graph->updates.items[i].input;
    return UPDATE_NONE;
}

static bool same_type(const struct node *x, const struct node *y)
{
    return x->dtype == y->dtype && x->rank == y->rank &&
           (x->rank == 0 || memcmp(x->shape, y->shape, x->rank * sizeof *x->shape) == 0);
}

bool update_is_sound(const struct graph *graph, const struct graph_update *update,
                     struct error *err)
{
    if (update->input >= graph->inputs.count || update->output >= graph->outputs.count)
        return fail(err, ERR_BLUEPRINT, "an update names no %s of the graph",
                    update->input >= graph->inputs.count ? "input" : "output");
    const struct node *input = graph_node(graph, graph->inputs.items[update->input]);
    const struct graph_output *output = &graph->outputs.items[update->output];
    for (uint32_t i = 0; i < graph->updates.count; i++)
        if (graph->updates.items[i].input == update->input ||
            graph->updates.items[i].output == update->output)
            return fail(err, ERR_BLUEPRINT, "two updates of input '%s' or by output '%s'",
                        input->attrs->name, output->name);
    return same_type(input, graph_node(graph, output->value)) ||
           fail(err, ERR_BLUEPRINT, "output '%s' updates input '%s', which has another type",
                output->name, input->attrs->name);
}

bool graph_update(struct graph *graph, const struct graph_update *update, struct error *err)
{
    if (!update_is_sound(graph, update, err))
        return false;
    VEC_PUSH(graph->arena, &graph->updates, *update);
    return true;
}

bool graph_copy_updates(struct graph *to, const struct graph *from, struct error *err)
{
    for (uint32_t i = 0; i < from->updates.count; i++)
        if (!graph_update(to, &from->updates.items[i], err))
            return false;
    return true;
}
