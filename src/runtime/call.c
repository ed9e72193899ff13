/* One call: check the tensors, find the shape entry, copy strided tensors to staging memory, run,
 * copy strided outputs back.
 *
 * The caller's memory is written only after all arguments have been accepted. After that only the
 * interpreter can fail, and it writes outputs last. */
#include <inttypes.h>
#include <string.h>

#include "base/compiler.h"
#include "graph/element.h"
#include "runtime/inside.h"
#include "runtime/runtime_priv.h"

/* The arguments of urza_call. */
struct request {
    const DLTensor *inputs;
    uint32_t input_count;
    DLTensor *outputs;
    uint32_t output_count;
    urza_result **hold; /* NULL: every output has memory of the caller's */
};

static const struct node *input_node(const struct urza_module *module, uint32_t input)
{
    const struct graph *graph = &module->package.graph;
    return graph_node(graph, graph->inputs.items[input]);
}

/* Reads the elements of a tensor of rank 0 or 1. */
static bool read_integers(const struct tensor *tensor, uint32_t count, int64_t *out,
                          struct error *err)
{
    int64_t dense[LIMIT_ELEMENTS];
    if (tensor->elements != count)
        return fail(err, ERR_INPUT, "has %" PRId64 " elements, expected %u", tensor->elements,
                    count);
    copy_to_dense(dense, tensor);
    for (uint32_t i = 0; i < count; i++)
        if (!element_integer(tensor->dtype, dense, i, &out[i]))
            return fail(err, ERR_INPUT, "element %u decides a dim, and is no whole number of it",
                        i);
    return true;
}

bool call_check_input(const struct urza_module *module, struct call_context *context,
                      uint32_t input, const DLTensor *given, bool need_data, struct error *err)
{
    struct tensor *tensor = &context->tensors[input];
    const struct node *node = input_node(module, input);
    uint32_t integers = module->input_integers[input];
    bool ok = tensor_check(given, need_data || integers > 0, tensor, err);
    if (ok && tensor->dtype != node->dtype)
        ok = fail(err, ERR_INPUT, "has dtype %s, expected %s", dtype_name(tensor->dtype),
                  dtype_name(node->dtype));
    if (ok && tensor->rank != node->rank)
        ok = fail(err, ERR_INPUT, "has %u dims, expected %u", tensor->rank, node->rank);
    for (uint32_t axis = 0; ok && axis < tensor->rank; axis++)
        *context->key_end++ = tensor->shape[axis];
    ok = ok && (integers == 0 || read_integers(tensor, integers, context->key_end, err));
    if (!ok)
        return fail_at(err, "input '%s'", node->attrs->name);
    context->given[input] = (struct guard_input){tensor->dtype, tensor->rank, tensor->shape,
                                                 integers > 0 ? context->key_end : NULL};
    context->key_end += integers;
    return true;
}

bool call_check_inputs(const struct urza_module *module, struct call_context *context,
                       const DLTensor *inputs, uint32_t count, bool need_data, struct error *err)
{
    uint32_t expected = module->package.graph.inputs.count;
    if (count != expected || (!inputs && count > 0))
        return fail(err, ERR_INPUT, "%u inputs are given, expected %u", inputs ? count : 0,
                    expected);
    context->key_end = context->key;
    for (uint32_t i = 0; i < count; i++)
        if (!call_check_input(module, context, i, &inputs[i], need_data, err))
            return false;
    return true;
}

bool call_check_written(const DLTensor *given, const urza_tensor_info *info, const int64_t *shape,
                        struct tensor *out, struct error *err)
{
    DLDataType dtype = info->dtype;
    if (!tensor_check(given, true, out, err))
        return false;
    if (given->dtype.code != dtype.code || given->dtype.bits != dtype.bits)
        return fail(err, ERR_INPUT, "has another dtype than the module's");
    if (out->rank != (uint32_t)info->rank)
        return fail(err, ERR_INPUT, "has %u dims, expected %d", out->rank, info->rank);
    for (uint32_t i = 0; i < out->rank; i++)
        if (out->shape[i] != shape[i])
            return fail(err, ERR_INPUT, "dim %u is %" PRId64 ", expected %" PRId64, i,
                        out->shape[i], shape[i]);
    return !tensor_meets_itself(out) ||
           fail(err, ERR_INPUT, "several elements have the same address");
}

bool call_meets(const struct call_context *context, const struct tensor *tensor, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (context->tensors[i].data && &context->tensors[i] != tensor &&
            tensors_meet(tensor, &context->tensors[i]))
            return true;
    return false;
}

static bool check_output(const struct urza_module *module, struct call_context *context,
                         const struct shape_entry *entry, const struct request *request,
                         uint32_t index, struct error *err)
{
    struct tensor *tensors = context->tensors + module->package.graph.inputs.count;
    uint32_t before = module->package.graph.inputs.count + index;
    const DLTensor *given = &request->outputs[index];
    struct tensor *tensor = &tensors[index];
    if (!given->data && request->hold) {
        if (!given->shape && module->outputs[index].rank > 0)
            return fail(err, ERR_INPUT, "has no room for its shape");
        *tensor = (struct tensor){.dense = true, .size_bytes = entry->output_bytes[index]};
        return true;
    }
    if (!given->data && entry->output_bytes[index] > 0)
        return fail(err, ERR_INPUT, "has no data, and nothing to hold the result");
    if (!call_check_written(given, &module->outputs[index], entry->output_shapes[index], tensor,
                            err))
        return false;
    return !call_meets(context, tensor, before) ||
           fail(err, ERR_INPUT, "shares memory with an input or another output");
}

static bool check_outputs(const struct urza_module *module, struct call_context *context,
                          const struct shape_entry *entry, const struct request *request,
                          struct error *err)
{
    uint32_t count = request->output_count, expected = module->package.graph.outputs.count;
    if (count != expected || (!request->outputs && count > 0))
        return fail(err, ERR_INPUT, "%u outputs are given, expected %u",
                    request->outputs ? count : 0, expected);
    for (uint32_t i = 0; i < count; i++)
        if (!check_output(module, context, entry, request, i, err))
            return fail_at(err, "output '%s'", module->outputs[i].name);
    return true;
}

/* Gives every tensor dense memory: its own, staging memory, or memory of the result. */
static bool place_tensors(struct urza_module *module, struct call_context *context,
                          const DLTensor *outputs, bool may_hold, struct urza_result **out_result,
                          struct error *err)
{
    uint32_t inputs = module->package.graph.inputs.count;
    uint32_t count = inputs + module->package.graph.outputs.count;
    size_t staged = 0, held = 0;
    bool hold = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor *tensor = &context->tensors[i];
        if (!tensor->dense)
            staged += staged_bytes(tensor->size_bytes);
        if (i >= inputs && may_hold && !outputs[i - inputs].data) {
            held += staged_bytes(tensor->size_bytes);
            hold = true;
        }
    }
    char *stage = NULL;
    if (staged > 0 && !(stage = context_reserve(module, context, WORKING_STAGED, staged, err)))
        return false;
    if (hold && !(*out_result = result_take(module->runtime->results, held, err)))
        return false;
    char *result = hold ? (*out_result)->memory : NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor *tensor = &context->tensors[i];
        context->data[i] = tensor->data;
        if (!tensor->dense) {
            context->data[i] = stage;
            stage += staged_bytes(tensor->size_bytes);
        } else if (i >= inputs && may_hold && !outputs[i - inputs].data) {
            context->data[i] = result;
            result += staged_bytes(tensor->size_bytes);
        }
    }
    return true;
}

static void copy_strided_inputs(const struct urza_module *module, struct call_context *context)
{
    for (uint32_t i = 0; i < module->package.graph.inputs.count; i++) {
        if (context->tensors[i].dense)
            continue;
        copy_to_dense(context->data[i], &context->tensors[i]);
        stat_add(&context->stats.copied_inputs, 1);
    }
}

/* Copies strided outputs from staging memory to the caller's, and fills the DLTensors of outputs
 * held by the result. */
static void hand_out(const struct urza_module *module, struct call_context *context,
                     const struct shape_entry *entry, DLTensor *outputs, bool may_hold)
{
    uint32_t inputs = module->package.graph.inputs.count;
    for (uint32_t i = 0; i < module->package.graph.outputs.count; i++) {
        const struct tensor *tensor = &context->tensors[inputs + i];
        if (!tensor->dense)
            copy_from_dense(tensor, context->data[inputs + i]);
        if (outputs[i].data || !may_hold)
            continue;
        const urza_tensor_info *info = &module->outputs[i];
        int64_t *shape = outputs[i].shape;
        if (info->rank > 0)
            memcpy(shape, entry->output_shapes[i], (size_t)info->rank * sizeof *shape);
        outputs[i] = (DLTensor){
            .data = context->data[inputs + i],
            .device = {.device_type = kDLCPU},
            .ndim = info->rank,
            .dtype = info->dtype,
            .shape = shape,
        };
    }
}

static bool run(struct urza_module *module, struct call_context *context,
                const struct shape_entry *entry, struct error *err)
{
    copy_strided_inputs(module, context);
    if (entry->reason)
        return fallback_run(module, context, entry->reason, err);
    if (!execute(module, context, err))
        return false;
    stat_add(&context->stats.native_calls, 1);
    return true;
}

static bool call(struct urza_module *module, struct call_context *context,
                 const struct request *request, struct error *err)
{
    struct urza_result *result = NULL;
    bool may_hold = request->hold != NULL;
    stat_add(&context->stats.calls, 1);
    context->interrupts = atomic_load(&module->interrupts);
    if (!call_check_inputs(module, context, request->inputs, request->input_count, true, err))
        return false;
    const struct shape_entry *entry = shapes_find(module, context, err);
    if (!entry || !check_outputs(module, context, entry, request, err))
        return false;
    if ((!entry->reason && !context_ready(module, context, err)) ||
        !place_tensors(module, context, request->outputs, may_hold, &result, err))
        return false;
    if (!run(module, context, entry, err)) {
        urza_result_release(result);
        return false;
    }
    hand_out(module, context, entry, request->outputs, may_hold);
    if (may_hold)
        *request->hold = result;
    return true;
}

static int call_public(urza_module *module, const struct request *request, bool *out_interpreted,
                       urza_error *err)
{
    struct error e;
    struct call_context *context = module ? context_take(module, &e) : NULL;
    if (!module)
        fail(&e, ERR_USAGE, "the module is NULL");
    if (!context)
        return public_result(false, &e, err);
    bool ok = call(module, context, request, &e);
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    *out_interpreted = ok && entry->reason;
    context_put(module, context);
    return public_result(ok, &e, err);
}

URZA_EXPORT int urza_call(urza_module *module, const DLTensor *inputs, uint32_t input_count,
                          DLTensor *outputs, uint32_t output_count, urza_result **hold,
                          urza_error *err)
{
    const struct request request = {inputs, input_count, outputs, output_count, hold};
    bool interpreted;
    return call_public(module, &request, &interpreted, err);
}

int call_told(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
              uint32_t output_count, bool *out_interpreted, urza_error *err)
{
    const struct request request = {inputs, input_count, outputs, output_count, NULL};
    return call_public(module, &request, out_interpreted, err);
}

int call_check(urza_module *module, const DLTensor *inputs, uint32_t input_count, DLTensor *outputs,
               uint32_t output_count, urza_error *err)
{
    const struct request request = {inputs, input_count, outputs, output_count, NULL};
    struct error e;
    struct call_context *context = context_take(module, &e);
    if (!context)
        return public_result(false, &e, err);
    bool ok = call_check_inputs(module, context, inputs, input_count, true, &e);
    const struct shape_entry *entry = ok ? shapes_find(module, context, &e) : NULL;
    ok = entry && check_outputs(module, context, entry, &request, &e);
    context_put(module, context);
    return public_result(ok, &e, err);
}

URZA_EXPORT int urza_output_shapes(urza_module *module, const DLTensor *inputs,
                                   uint32_t input_count, int64_t (*shapes)[8], urza_error *err)
{
    struct error e;
    struct call_context *context = module ? context_take(module, &e) : NULL;
    if (!module)
        fail(&e, ERR_USAGE, "the module is NULL");
    if (!context)
        return public_result(false, &e, err);
    bool ok = call_check_inputs(module, context, inputs, input_count, false, &e);
    const struct shape_entry *entry = ok ? shapes_find(module, context, &e) : NULL;
    for (uint32_t i = 0; entry && i < module->package.graph.outputs.count; i++)
        memcpy(shapes[i], entry->output_shapes[i],
               (size_t)module->outputs[i].rank * sizeof shapes[i][0]);
    context_put(module, context);
    return public_result(entry != NULL, &e, err);
}

URZA_EXPORT void urza_result_release(urza_result *hold)
{
    if (hold)
        result_put(hold);
}
