/* Training: the step of a block, and its first part, which makes a tape for the second one
 * (backward.c).
 *
 * The package of a step (package.h) is a module inside the block's. A tape is a context of that
 * module that stays taken: its temporaries are what is saved. Sources of the step are the block's
 * inputs, its params, and cotangents; results are the block's outputs, and gradients. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/compiler.h"
#include "graph/element.h"
#include "runtime/training_priv.h"

/* The block's source of that name; PLAN_NONE: none. */
static uint32_t find_source(const struct urza_module *block, const char *name)
{
    uint32_t inputs = block->package.graph.inputs.count;
    for (uint32_t i = 0; i < inputs + block->package.graph.params.count; i++) {
        const urza_tensor_info *info =
            i < inputs ? &block->inputs[i] : &block->param_infos[i - inputs];
        if (strcmp(info->name, name) == 0)
            return i;
    }
    return PLAN_NONE;
}

static uint32_t find_output(const struct urza_module *block, const char *name)
{
    for (uint32_t i = 0; i < block->package.graph.outputs.count; i++)
        if (strcmp(block->outputs[i].name, name) == 0)
            return i;
    return PLAN_NONE;
}

static void match_names(struct urza_module *step, const struct urza_module *block)
{
    const struct graph *graph = &step->package.graph;
    uint32_t sources = block->package.graph.inputs.count + block->package.graph.params.count;
    uint32_t results = block->package.graph.outputs.count;
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        step->cotangent_of[i] =
            i < sources ? PLAN_NONE
                        : find_output(block, step->inputs[i].name + strlen(PACKAGE_COTANGENT));
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        step->gradient_of[i] =
            i < results ? PLAN_NONE
                        : find_source(block, step->outputs[i].name + strlen(PACKAGE_GRAD));
}

/* What hangs on the buffers that a launch, or all launches of a loop, write. */
static uint64_t written_bits(const struct plan_launch *launch, const uint64_t *bits)
{
    uint64_t all = 0;
    for (uint32_t k = 0; k < launch->arg_count; k++)
        if (launch_writes(launch, k))
            all |= bits[launch->args[k]];
    return all;
}

static void mark(uint64_t *bits, uint32_t buffer, uint64_t with)
{
    if (buffer != PLAN_NONE)
        bits[buffer] |= with;
}

/* All of a loop is run, or nothing. */
static uint64_t loop_bits(const struct plan *plan, const struct plan_loop *loop, uint64_t *bits)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < loop->state_count; i++)
        all |= loop->states[i].result == PLAN_NONE ? 0 : bits[loop->states[i].result];
    for (uint32_t i = 0; i < loop->row_count; i++)
        all |= bits[loop->rows[i].result];
    for (uint32_t i = 0; i < loop->count; i++)
        all |= written_bits(&plan->forward.items[loop->first + i], bits);
    for (uint32_t i = 0; i < loop->state_count; i++) {
        mark(bits, loop->states[i].from, all);
        mark(bits, loop->states[i].next, all);
    }
    for (uint32_t i = 0; i < loop->row_count; i++)
        mark(bits, loop->rows[i].row, all);
    return all;
}

/* From the last launch to the first: a launch feeds what its results feed, and so what it reads
 * does. */
static bool find_feeds(struct urza_module *step, struct error *err)
{
    const struct plan *plan = &step->target->plan;
    uint64_t *bits = calloc(plan->buffers.count + 1, sizeof *bits);
    if (!bits)
        return fail(err, ERR_NOMEM, "no memory for a training step");
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_OUTPUT)
            bits[i] = output_bit(plan->buffers.items[i].index);
    for (uint32_t i = plan->forward.count; i-- > 0;) {
        const struct plan_launch *launch = &plan->forward.items[i];
        uint32_t loop = plan_loop_of(plan, i);
        const struct plan_loop *of = loop > 0 ? &plan->loops.items[loop - 1] : NULL;
        if (!of)
            step->feeds[i] = written_bits(launch, bits);
        else if (i + 1 == of->first + of->count)
            step->feeds[i] = loop_bits(plan, of, bits);
        else
            step->feeds[i] = step->feeds[i + 1];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            bits[launch->args[k]] |= step->feeds[i];
    }
    free(bits);
    return true;
}

bool training_init(struct urza_module *step, const struct urza_module *block, struct error *err)
{
    const struct graph *graph = &step->package.graph;
    uint32_t launches = step->target ? step->target->plan.forward.count : 0;
    jmp_buf out_of_memory;
    if (setjmp(out_of_memory) != 0) {
        step->arena.oom = NULL;
        return fail(err, ERR_NOMEM, "no memory for a training step");
    }
    step->arena.oom = &out_of_memory;
    step->cotangent_of = ARENA_ARRAY(&step->arena, uint32_t, graph->inputs.count);
    step->gradient_of = ARENA_ARRAY(&step->arena, uint32_t, graph->outputs.count);
    if (step->target)
        step->feeds = ARENA_ARRAY(&step->arena, uint64_t, launches + 1);
    step->arena.oom = NULL;
    match_names(step, block);
    return !step->target || find_feeds(step, err);
}

/* The arguments of urza_forward_train. */
struct request {
    const DLTensor *inputs, *params;
    uint32_t input_count, param_count;
    DLTensor *outputs;
    uint32_t output_count;
};

static DLTensor own_param(const struct urza_module *block, uint32_t index)
{
    const urza_tensor_info *info = &block->param_infos[index];
    return (DLTensor){.data = block->params[index],
                      .device = {.device_type = kDLCPU},
                      .ndim = info->rank,
                      .dtype = info->dtype,
                      .shape = (int64_t *)(uintptr_t)info->shape};
}

/* Cotangents have the shapes of their outputs, which follow from the block's inputs. Their tensors
 * point to these shapes in the key. */
static bool expect_cotangents(const struct urza_module *block, struct call_context *context,
                              struct error *err)
{
    const struct graph *graph = &block->step->package.graph;
    uint32_t inputs = block->package.graph.inputs.count;
    int64_t dims[LIMIT_NAMED_DIMS], *key = context->key_end;
    if (!guards_bind(&block->package.graph, context->given, inputs, dims, err))
        return false;
    for (uint32_t i = inputs + block->package.graph.params.count; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        struct tensor *tensor = &context->tensors[i];
        *tensor = (struct tensor){.dtype = node->dtype, .rank = node->rank, .shape = key};
        tensor->dense = true;
        tensor->elements = 1;
        for (uint32_t d = 0; d < node->rank; d++, key++)
            if (!dim_eval(&graph->dims, node->shape[d], dims, key) || *key < 0 ||
                !checked_mul_i64(tensor->elements, *key, &tensor->elements))
                return fail(err, ERR_LIMIT, "the shape of '%s' has no value",
                            block->step->inputs[i].name);
        tensor->size_bytes = (size_t)tensor->elements * dtype_bytes(node->dtype);
        context->given[i] = (struct guard_input){tensor->dtype, tensor->rank, tensor->shape, NULL};
    }
    return true;
}

static bool check_sources(const struct urza_module *block, struct call_context *context,
                          const struct request *request, struct error *err)
{
    const struct graph *graph = &block->package.graph;
    context->key_end = context->key;
    if (request->input_count != graph->inputs.count)
        return fail(err, ERR_INPUT, "%u inputs are given, expected %u", request->input_count,
                    graph->inputs.count);
    if (request->params && request->param_count != graph->params.count)
        return fail(err, ERR_INPUT, "%u params are given, expected %u", request->param_count,
                    graph->params.count);
    for (uint32_t i = 0; i < graph->inputs.count + graph->params.count; i++) {
        uint32_t param = i - graph->inputs.count;
        DLTensor given = i < graph->inputs.count ? request->inputs[i]
                         : request->params       ? request->params[param]
                                                 : own_param(block, param);
        const int64_t *shape = context->key_end;
        if (!call_check_input(block->step, context, i, &given, true, err))
            return false;
        context->tensors[i].shape = context->given[i].shape = shape; /* the caller's may go */
    }
    return expect_cotangents(block, context, err);
}

static bool check_results(const struct urza_module *block, struct call_context *context,
                          const struct shape_entry *entry, const struct request *request,
                          struct error *err)
{
    const struct urza_module *step = block->step;
    uint32_t inputs = step->package.graph.inputs.count;
    uint32_t outputs = block->package.graph.outputs.count;
    if (request->output_count != outputs)
        return fail(err, ERR_INPUT, "%u outputs are given, expected %u", request->output_count,
                    outputs);
    for (uint32_t i = 0; i < step->package.graph.outputs.count; i++) {
        struct tensor *tensor = &context->tensors[inputs + i];
        *tensor = (struct tensor){.dense = true};
        if (i >= outputs)
            continue;
        if (!call_check_written(&request->outputs[i], &step->outputs[i], entry->output_shapes[i],
                                tensor, err) ||
            (call_meets(context, tensor, inputs + i) &&
             !fail(err, ERR_INPUT, "shares memory with an input or another output")))
            return fail_at(err, "output '%s'", block->outputs[i].name);
    }
    return true;
}

/* Dense memory of all tensors: their own, or staging memory. Cotangents and gradients have none
 * yet. */
static bool place_tensors(const struct urza_module *step, struct call_context *context,
                          struct error *err)
{
    uint32_t inputs = step->package.graph.inputs.count;
    uint32_t count = inputs + step->package.graph.outputs.count;
    size_t staged = 0;
    for (uint32_t i = 0; i < count; i++)
        staged += context->tensors[i].dense ? 0 : staged_bytes(context->tensors[i].size_bytes);
    char *stage = NULL;
    if (staged > 0 && !(stage = context_reserve(step, context, WORKING_STAGED, staged, err)))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor *tensor = &context->tensors[i];
        context->data[i] = tensor->data;
        if (tensor->dense)
            continue;
        context->data[i] = stage;
        stage += staged_bytes(tensor->size_bytes);
        if (i < inputs) {
            copy_to_dense(context->data[i], tensor);
            stat_add(&context->stats.copied_inputs, 1);
        }
    }
    return true;
}

bool training_run(struct urza_module *step, struct call_context *context, const char *name,
                  uint64_t wanted, struct error *err)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    struct plan_entry of;
    if (entry->reason)
        return fallback_run(step, context, entry->reason, err);
    plan_find_entry(&step->target->plan, name, &of);
    const struct part part = {of.first, of.count, wanted};
    return execute_part(step, context, &part, err);
}

/* What backward needs to know of the tensors of forward_train, without the caller's arrays of
 * shapes and strides. Those that are not dense are copied, so their memory is not used again. */
static void keep_tensors(const struct urza_module *step, struct call_context *context,
                         const struct shape_entry *entry)
{
    uint32_t inputs = step->package.graph.inputs.count;
    for (uint32_t i = 0; i < inputs + step->package.graph.outputs.count; i++) {
        struct tensor *tensor = &context->tensors[i];
        if (i >= inputs)
            tensor->shape = entry->output_shapes[i - inputs];
        if (!tensor->dense)
            tensor->data = NULL;
        tensor->strides = NULL;
    }
}

static bool forward(struct urza_module *block, struct call_context *context,
                    const struct request *request, struct error *err)
{
    struct urza_module *step = block->step;
    stat_add(&context->stats.calls, 1);
    context->interrupts = atomic_load(&step->interrupts);
    if (!check_sources(block, context, request, err))
        return false;
    const struct shape_entry *entry = shapes_find(step, context, err);
    if (!entry || !check_results(block, context, entry, request, err) ||
        (!entry->reason && !context_ready(step, context, err)) ||
        !place_tensors(step, context, err) ||
        !training_run(step, context, "forward_train", UINT64_MAX, err))
        return false;
    uint32_t inputs = step->package.graph.inputs.count;
    for (uint32_t i = 0; i < request->output_count; i++)
        if (!context->tensors[inputs + i].dense)
            copy_from_dense(&context->tensors[inputs + i], context->data[inputs + i]);
    keep_tensors(step, context, entry);
    stat_add(&context->stats.native_calls, !entry->reason);
    context->tape = (struct urza_tape){.module = block, .forward_done = true};
    return true;
}

URZA_EXPORT int urza_has_backward(const urza_module *module)
{
    return module && module->step;
}

URZA_EXPORT int urza_has_gradient(const urza_module *module, const char *name)
{
    uint32_t source = urza_has_backward(module) && name ? find_source(module, name) : PLAN_NONE;
    if (source == PLAN_NONE)
        return 0;
    for (uint32_t i = 0; i < module->step->package.graph.outputs.count; i++)
        if (module->step->gradient_of[i] == source)
            return 1;
    return 0;
}

URZA_EXPORT int urza_forward_train(urza_module *module, const DLTensor *inputs,
                                   uint32_t input_count, const DLTensor *params,
                                   uint32_t param_count, DLTensor *outputs, uint32_t output_count,
                                   urza_tape **out_tape, urza_error *err)
{
    struct error e;
    if (!module || !out_tape || (!inputs && input_count > 0) || (!params && param_count > 0) ||
        (!outputs && output_count > 0))
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (!module->step)
        return public_result(
            fail(&e, ERR_UNSUPPORTED,
                 module->step_text
                     ? "the package is a whole training step: urza_step runs it"
                     : "the package has no backward pass: compile it with --backward"),
            &e, err);
    const struct request request = {inputs,      params,  input_count,
                                    param_count, outputs, output_count};
    struct call_context *context = context_take(module->step, &e);
    if (!context)
        return public_result(false, &e, err);
    bool ok = forward(module, context, &request, &e);
    if (ok) {
        urza_retain(module);
        *out_tape = &context->tape;
    } else
        context_put(module->step, context);
    return public_result(ok, &e, err);
}
