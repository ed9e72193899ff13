/* Queries of a module, its statistics, and conversion of errors to public ones. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "graph/element.h"
#include "runtime/runtime_priv.h"

int public_result(bool ok, const struct error *from, urza_error *err)
{
    if (ok)
        return 0;
    if (err) {
        err->code = (int)from->code;
        snprintf(err->place, sizeof err->place, "%s", from->place);
        snprintf(err->message, sizeof err->message, "%s", from->message);
    }
    return (int)from->code;
}

URZA_EXPORT const char *urza_error_name(int code)
{
    return code >= 0 && code < ERR_COUNT ? error_name((enum error_code)code) : "UnknownError";
}

URZA_EXPORT const char *urza_version(void)
{
    return URZA_VERSION;
}

URZA_EXPORT const char *urza_kernel_id(const urza_module *module)
{
    return module->package.id;
}

URZA_EXPORT const char *urza_target(const urza_module *module)
{
    return module->target ? module->target->name : "interpreter";
}

URZA_EXPORT uint32_t urza_input_count(const urza_module *module)
{
    return module->package.graph.inputs.count;
}

URZA_EXPORT uint32_t urza_output_count(const urza_module *module)
{
    return module->package.graph.outputs.count;
}

URZA_EXPORT uint32_t urza_param_count(const urza_module *module)
{
    return module->package.graph.params.count;
}

URZA_EXPORT uint32_t urza_dim_count(const urza_module *module)
{
    return module->package.graph.dims.names.count;
}

URZA_EXPORT const urza_tensor_info *urza_input_info(const urza_module *module, uint32_t index)
{
    return index < urza_input_count(module) ? &module->inputs[index] : NULL;
}

URZA_EXPORT const urza_tensor_info *urza_output_info(const urza_module *module, uint32_t index)
{
    return index < urza_output_count(module) ? &module->outputs[index] : NULL;
}

URZA_EXPORT const urza_tensor_info *urza_param_info(const urza_module *module, uint32_t index)
{
    return index < urza_param_count(module) ? &module->param_infos[index] : NULL;
}

URZA_EXPORT const void *urza_param_data(const urza_module *module, uint32_t index)
{
    return index < urza_param_count(module) ? module->params[index] : NULL;
}

URZA_EXPORT const char *urza_step_text(const urza_module *module)
{
    return module ? module->step_text : NULL;
}

URZA_EXPORT uint32_t urza_output_updates(const urza_module *module, uint32_t output)
{
    return output < urza_output_count(module) ? module->updates[output] : URZA_NO_INPUT;
}

URZA_EXPORT const urza_dim_info *urza_dim(const urza_module *module, uint32_t index)
{
    return index < urza_dim_count(module) ? &module->dim_infos[index] : NULL;
}

URZA_EXPORT int urza_input_shape(const urza_module *module, uint32_t input,
                                 const int64_t *dim_values, int64_t *shape, urza_error *err)
{
    struct error e;
    const struct graph *graph = &module->package.graph;
    if (input >= graph->inputs.count)
        return public_result(fail(&e, ERR_USAGE, "input %u of %u", input, graph->inputs.count), &e,
                             err);
    const struct node *node = graph_node(graph, graph->inputs.items[input]);
    int64_t found[LIMIT_RANK];
    for (uint32_t i = 0; i < node->rank; i++)
        if (!dim_eval(&graph->dims, node->shape[i], dim_values, &found[i])) {
            fail(&e, ERR_INPUT, "dim %u has no value", i);
            return public_result(fail_at(&e, "input '%s'", node->attrs->name), &e, err);
        }
    if (node->rank > 0)
        memcpy(shape, found, node->rank * sizeof *shape);
    return 0;
}

URZA_EXPORT int urza_input_decides(const urza_module *module, uint32_t input)
{
    return input < urza_input_count(module) && module->input_integers[input] > 0;
}

URZA_EXPORT void urza_input_fill(const urza_module *module, uint32_t input,
                                 const int64_t *dim_values, void *values)
{
    if (input < urza_input_count(module))
        elements_store(&module->package.graph, input, dim_values, values);
}

static uint64_t stat_get(const _Atomic uint64_t *stat)
{
    return atomic_load_explicit(stat, memory_order_relaxed);
}

static void add_stats(const urza_module *module, urza_stats *sum)
{
    uint32_t count = atomic_load(&module->contexts.count);
    for (uint32_t i = 0; i < count; i++) {
        const struct call_context *context =
            (const struct call_context *)atomic_load(&module->contexts.items[i]);
        if (!context)
            continue;
        sum->calls += stat_get(&context->stats.calls);
        sum->native_calls += stat_get(&context->stats.native_calls);
        sum->fallback_calls += stat_get(&context->stats.fallback_calls);
        sum->launches += stat_get(&context->stats.launches);
        sum->shape_misses += stat_get(&context->stats.shape_misses);
        sum->copied_inputs += stat_get(&context->stats.copied_inputs);
    }
}

URZA_EXPORT void urza_stats_get(const urza_module *module, urza_stats *out)
{
    urza_stats sum = {
        .arena_bytes = stat_get(&module->arena_bytes),
        .intermediate_bytes = stat_get(&module->intermediate_bytes),
    };
    add_stats(module, &sum);
    if (module->step)
        add_stats(module->step, &sum);
    const char *reason = atomic_load(&module->last_fallback);
    snprintf(sum.last_fallback, sizeof sum.last_fallback, "%s", reason ? reason : "");
    *out = sum;
}
