/* Warnings about things in a blueprint that its author may not have meant: those of reading, and
 * those that are found in the graph as it was read, before passes remove what is not needed. */
#include "base/strbuf.h"
#include "compiler/compile_priv.h"
#include "compiler/import/import.h"
#include "graph/element.h"

struct uses {
    bool *needed;  /* by value: an output depends on it */
    bool *changes; /* by value: it depends on an input */
};

static struct uses find_uses(const struct graph *graph, struct arena *arena)
{
    struct uses uses = {ARENA_ARRAY(arena, bool, graph->nodes.count),
                        ARENA_ARRAY(arena, bool, graph->nodes.count)};
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        uses.needed[graph->outputs.items[i].value] = true;
    for (value_id v = graph->nodes.count - 1; v > VALUE_NONE; v--)
        for (uint32_t i = 0; uses.needed[v] && i < graph_node(graph, v)->operand_count; i++)
            uses.needed[graph_node(graph, v)->operands[i]] = true;
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        uses.changes[graph->inputs.items[i]] = true;
    for (value_id v = 1; v < graph->nodes.count; v++)
        for (uint32_t i = 0; i < graph_node(graph, v)->operand_count; i++)
            uses.changes[v] |= uses.changes[graph_node(graph, v)->operands[i]];
    return uses;
}

/* Whether a dim of the value is symbolic, as in a tensor of ones with B rows. */
static bool has_dynamic_dim(const struct graph *graph, value_id value)
{
    const struct node *node = graph_node(graph, value);
    for (uint32_t i = 0; i < node->rank; i++)
        if (!dim_is_const(&graph->dims, node->shape[i], NULL))
            return true;
    return false;
}

/* Whether an output is the next value of a param: a caller that gives params has it change. */
static bool is_update(const struct job *job, const char *output)
{
    for (uint32_t i = 0; job->blueprint && i < job->blueprint->running_count; i++)
        if (strcmp(job->blueprint->running[i].output, output) == 0)
            return true;
    return false;
}

void job_warn(struct job *job, const struct graph *graph)
{
    struct uses uses = find_uses(graph, job->arena);
    struct strbuf text;
    /* In training, ops do not read some params that they read otherwise. */
    uint32_t params = job->options->training ? 0 : graph->params.count;
    strbuf_init(&text, job->arena);
    strbuf_add(&text, job->read_warnings, job->read_warnings_bytes);
    for (uint32_t i = 0; i < graph->inputs.count + params; i++) {
        bool input = i < graph->inputs.count;
        value_id value =
            input ? graph->inputs.items[i] : graph->params.items[i - graph->inputs.count];
        if (uses.needed[value] || (input && elements_of_input(graph, i) > 0))
            continue;
        strbuf_printf(&text, "%s '%s' is not used: no output depends on it",
                      input ? "input" : "param", graph_node(graph, value)->attrs->name);
        strbuf_add(&text, "", 1);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        const struct graph_output *output = &graph->outputs.items[i];
        if (uses.changes[output->value] || has_dynamic_dim(graph, output->value) ||
            is_update(job, output->name))
            continue;
        strbuf_printf(&text, "output '%s' is the same on every call: it depends on no input",
                      output->name);
        strbuf_add(&text, "", 1);
    }
    job->result.warnings = text.data;
    job->result.warnings_bytes = text.size_bytes;
}
