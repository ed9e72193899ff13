/* Loading a package and making tensors for it. */
#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"
#include "package/package.h"
#include "profile/profile_priv.h"
#include "verify/verify.h"

bool fail_as(const urza_error *from, struct error *err)
{
    bool known = from->code > ERR_NONE && from->code < ERR_COUNT;
    fail(err, known ? (enum error_code)from->code : ERR_BUG, "%s", from->message);
    return from->place[0] == '\0' ? false : fail_at(err, "%s", from->place);
}

static bool make_tensors(struct loaded *loaded, struct arena *arena, struct error *err)
{
    const struct graph *graph = &loaded->graph;
    loaded->inputs = ARENA_ARRAY(arena, DLTensor, graph->inputs.count);
    loaded->outputs = ARENA_ARRAY(arena, DLTensor, graph->outputs.count);
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        if (!tensor_make(arena, graph, graph->inputs.items[i], loaded->dims,
                         urza_input_info(loaded->module, i)->dtype, &loaded->inputs[i], err))
            return fail_at(err, "input '%s'", node->attrs->name);
        tensor_random(&loaded->inputs[i], node->dtype, node->attrs->name, 0);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (!tensor_make(arena, graph, graph->outputs.items[i].value, loaded->dims,
                         urza_output_info(loaded->module, i)->dtype, &loaded->outputs[i], err))
            return fail_at(err, "output '%s'", graph->outputs.items[i].name);
    return true;
}

bool loaded_open(struct loaded *out, const void *bytes, size_t size,
                 const struct profile_options *options, struct arena *arena, struct error *err)
{
    urza_error problem = {.code = 0};
    const uint8_t *text;
    size_t text_size;
    *out = (struct loaded){0};
    if (urza_load_memory(bytes, size, &options->load, &out->module, &problem) != 0)
        return fail_as(&problem, err);
    return package_entry(bytes, size, "graph", &text, &text_size, err) &&
           graph_parse(&out->graph, arena, (const char *)text, text_size, err) &&
           dims_choose(&out->graph.dims, options->dims, out->dims, err) &&
           make_tensors(out, arena, err);
}

bool loaded_call(struct loaded *loaded, struct error *err)
{
    urza_error problem = {.code = 0};
    return urza_call(loaded->module, loaded->inputs, loaded->graph.inputs.count, loaded->outputs,
                     loaded->graph.outputs.count, NULL, &problem) == 0 ||
           fail_as(&problem, err);
}

void loaded_close(struct loaded *loaded)
{
    urza_unload(loaded->module);
}

void print_dims(const struct dim_table *dims, const int64_t *values, char *out, size_t size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < dims->names.count && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s=%lld", i > 0 ? "," : "",
                                 dims->names.items[i].name, (long long)values[i]);
}
