/* Training: the two parts of a step, and the tape between them.
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
#include "runtime/runtime_priv.h"

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
                              int64_t *key, struct error *err)
{
    const struct graph *graph = &block->step->package.graph;
    uint32_t inputs = block->package.graph.inputs.count;
    int64_t dims[LIMIT_NAMED_DIMS];
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

static bool check_source(const struct urza_module *block, struct call_context *context,
                         uint32_t index, const DLTensor *given, int64_t **key, struct error *err)
{
    const struct call_input input = {index, given, true};
    return call_check_input(block->step, context, &input, key, err);
}

static bool check_sources(const struct urza_module *block, struct call_context *context,
                          const struct request *request, struct error *err)
{
    const struct graph *graph = &block->package.graph;
    int64_t *key = context->key;
    if (request->input_count != graph->inputs.count)
        return fail(err, ERR_INPUT, "%u inputs are given, expected %u", request->input_count,
                    graph->inputs.count);
    if (request->params && request->param_count != graph->params.count)
        return fail(err, ERR_INPUT, "%u params are given, expected %u", request->param_count,
                    graph->params.count);
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        if (!check_source(block, context, i, &request->inputs[i], &key, err))
            return false;
    for (uint32_t i = 0; i < graph->params.count; i++) {
        DLTensor given = request->params ? request->params[i] : own_param(block, i);
        if (!check_source(block, context, graph->inputs.count + i, &given, &key, err))
            return false;
    }
    return expect_cotangents(block, context, key, err);
}

/* Whether a tensor that is written shares a byte with one of the first `count` tensors. */
static bool meets_any(const struct call_context *context, const struct tensor *tensor,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (context->tensors[i].data && &context->tensors[i] != tensor &&
            tensors_meet(tensor, &context->tensors[i]))
            return true;
    return false;
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
            (meets_any(context, tensor, inputs + i) &&
             !fail(err, ERR_INPUT, "shares memory with an input or another output")))
            return fail_at(err, "output '%s'", block->outputs[i].name);
    }
    return true;
}

static size_t rounded(size_t size)
{
    return (size + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
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
        staged += context->tensors[i].dense ? 0 : rounded(context->tensors[i].size_bytes);
    if (staged > 0 && !context_reserve_staging(context, staged, err))
        return false;
    char *stage = context->staging;
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor *tensor = &context->tensors[i];
        context->data[i] = tensor->data;
        if (tensor->dense)
            continue;
        context->data[i] = stage;
        stage += rounded(tensor->size_bytes);
        if (i < inputs) {
            copy_to_dense(context->data[i], tensor);
            stat_add(&context->stats.copied_inputs, 1);
        }
    }
    return true;
}

/* Runs one entry of the step. */
static bool run_entry(struct urza_module *step, struct call_context *context, const char *name,
                      uint64_t wanted, struct error *err)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    struct plan_entry of;
    if (entry->reason)
        return fallback_run(step, context, entry->reason, err);
    plan_find_entry(&step->target->plan, name, &of);
    const struct part part = {of.first, of.count, wanted};
    if (!execute_part(step, context, &part, err))
        return false;
    stat_add(&context->stats.native_calls, 1);
    return true;
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
        !run_entry(step, context, "forward_train", UINT64_MAX, err))
        return false;
    uint32_t inputs = step->package.graph.inputs.count;
    for (uint32_t i = 0; i < request->output_count; i++)
        if (!context->tensors[inputs + i].dense)
            copy_from_dense(&context->tensors[inputs + i], context->data[inputs + i]);
    context->tape = (struct urza_tape){.module = block, .forward_done = true};
    return true;
}

URZA_EXPORT int urza_has_backward(const urza_module *module)
{
    return module && module->step;
}

URZA_EXPORT int urza_has_gradient(const urza_module *module, const char *name)
{
    uint32_t source =
        urza_has_backward(module) && name ? training_find_source(module, name) : PLAN_NONE;
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
    if (!module || !out_tape || (!inputs && input_count > 0) || (!outputs && output_count > 0))
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (!module->step)
        return public_result(fail(&e, ERR_UNSUPPORTED,
                                  "the package has no backward pass: compile it with --backward"),
                             &e, err);
    const struct request request = {inputs,      params,  input_count,
                                    param_count, outputs, output_count};
    struct call_context *context = context_take(module->step, &e);
    if (!context)
        return public_result(false, &e, err);
    bool ok = forward(module, context, &request, &e);
    if (ok)
        *out_tape = &context->tape;
    else
        context_put(module->step, context);
    return public_result(ok, &e, err);
}

static struct call_context *context_of(urza_tape *tape)
{
    return (struct call_context *)(void *)((char *)tape - offsetof(struct call_context, tape));
}

/* A backward pass: what its tensors are. */
struct pass {
    struct urza_tape *tape;
    struct urza_module *step;
    struct call_context *context;
    const struct shape_entry *entry;
    const urza_gradients *given;
    uint64_t wanted;
};

static const DLTensor *given_cotangent(const struct pass *p, uint32_t input)
{
    uint32_t output = p->step->cotangent_of[input];
    const DLTensor *list = p->given->cotangents;
    return output != PLAN_NONE && list && list[output].data ? &list[output] : NULL;
}

static DLTensor *given_gradient(const struct pass *p, uint32_t output)
{
    uint32_t source = p->step->gradient_of[output];
    uint32_t inputs = p->tape->module->package.graph.inputs.count;
    if (source == PLAN_NONE)
        return NULL;
    DLTensor *list = source < inputs ? p->given->inputs : p->given->params;
    DLTensor *tensor = list ? &list[source < inputs ? source : source - inputs] : NULL;
    return tensor && tensor->data ? tensor : NULL;
}

static bool check_counts(const struct pass *p, struct error *err)
{
    const struct graph *graph = &p->tape->module->package.graph;
    const struct {
        const void *list;
        uint32_t given, expected;
        const char *what;
    } lists[] = {
        {p->given->cotangents, p->given->cotangent_count, graph->outputs.count, "cotangents"},
        {p->given->inputs, p->given->input_count, graph->inputs.count, "gradients of inputs"},
        {p->given->params, p->given->param_count, graph->params.count, "gradients of params"},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i].list && lists[i].given != lists[i].expected)
            return fail(err, ERR_INPUT, "%u %s are given, expected %u", lists[i].given,
                        lists[i].what, lists[i].expected);
    return true;
}

/* A gradient that is asked for must be one of the package's. */
static bool check_asked(const struct pass *p, struct error *err)
{
    struct urza_module *block = p->tape->module;
    uint32_t inputs = block->package.graph.inputs.count;
    for (uint32_t i = 0; i < inputs + block->package.graph.params.count; i++) {
        const DLTensor *list = i < inputs ? p->given->inputs : p->given->params;
        const urza_tensor_info *info =
            i < inputs ? &block->inputs[i] : &block->param_infos[i - inputs];
        if (list && list[i < inputs ? i : i - inputs].data && !urza_has_gradient(block, info->name))
            return fail(err, ERR_INPUT, "the package has no gradient by '%s'", info->name);
    }
    return true;
}

static bool check_cotangents(const struct pass *p, struct error *err)
{
    const struct graph *graph = &p->step->package.graph;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        struct tensor *tensor = &p->context->tensors[i], found;
        const DLTensor *given = given_cotangent(p, i);
        if (p->step->cotangent_of[i] == PLAN_NONE)
            continue;
        tensor->data = NULL;
        tensor->dense = true;
        if (!given)
            continue;
        bool ok = tensor_check(given, true, &found, err);
        if (ok && (found.dtype != tensor->dtype || found.rank != tensor->rank ||
                   (found.rank > 0 &&
                    memcmp(found.shape, tensor->shape, found.rank * sizeof *found.shape) != 0)))
            ok = fail(err, ERR_INPUT, "has another type or shape than its output");
        if (!ok)
            return fail_at(err, "cotangent of '%s'",
                           p->tape->module->outputs[p->step->cotangent_of[i]].name);
        found.shape = tensor->shape; /* which stays where it is */
        *tensor = found;
    }
    return true;
}

static bool check_gradients(struct pass *p, struct error *err)
{
    uint32_t inputs = p->step->package.graph.inputs.count;
    for (uint32_t i = 0; i < p->step->package.graph.outputs.count; i++) {
        struct tensor *tensor = &p->context->tensors[inputs + i];
        const DLTensor *given = given_gradient(p, i);
        if (p->step->gradient_of[i] == PLAN_NONE)
            continue;
        *tensor = (struct tensor){.dense = true};
        if (!given)
            continue;
        if (!call_check_written(given, &p->step->outputs[i], p->entry->output_shapes[i], tensor,
                                err) ||
            (meets_any(p->context, tensor, inputs + i) &&
             !fail(err, ERR_INPUT, "shares memory with another tensor of the call")))
            return fail_at(err, "%s", p->step->outputs[i].name);
        p->wanted |= training_output_bit(i);
    }
    return true;
}

/* Whether a gradient is computed in staging memory: it is added to something, or not dense, or
 * nobody wants it, and its kernel may run for others. */
static bool is_staged(const struct pass *p, uint32_t output)
{
    const struct tensor *tensor =
        &p->context->tensors[p->step->package.graph.inputs.count + output];
    return !tensor->data || !tensor->dense || (p->given->flags & URZA_ACCUMULATE) != 0;
}

/* A first pass with `at` NULL measures, a second one places. */
static size_t stage(struct pass *p, char *at)
{
    const struct graph *graph = &p->step->package.graph;
    size_t used = 0;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct tensor *tensor = &p->context->tensors[i];
        if (p->step->cotangent_of[i] == PLAN_NONE)
            continue;
        bool own = tensor->data && tensor->dense;
        if (at)
            p->context->data[i] = own ? tensor->data : at + used;
        if (at && !own && tensor->data)
            copy_to_dense(at + used, tensor);
        else if (at && !own)
            memset(at + used, 0, tensor->size_bytes);
        used += own ? 0 : rounded(tensor->size_bytes);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        if (p->step->gradient_of[i] == PLAN_NONE)
            continue;
        bool staged = is_staged(p, i);
        if (at)
            p->context->data[graph->inputs.count + i] =
                staged ? at + used : p->context->tensors[graph->inputs.count + i].data;
        used += staged ? rounded(p->entry->output_bytes[i]) : 0;
    }
    return used;
}

static double element(enum dtype dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case DTYPE_F32: return ((const float *)data)[i];
    case DTYPE_F16: return f16_to_double(((const uint16_t *)data)[i]);
    case DTYPE_BF16: return bf16_to_double(((const uint16_t *)data)[i]);
    default: return ((const double *)data)[i];
    }
}

/* sum[i] += to[i], rounded once. */
static void add(enum dtype dtype, void *sum, const void *to, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double value = element(dtype, sum, i) + element(dtype, to, i);
        switch (dtype) {
        case DTYPE_F32: ((float *)sum)[i] = ((float *)sum)[i] + ((const float *)to)[i]; break;
        case DTYPE_F16: ((uint16_t *)sum)[i] = f16_from_double(value); break;
        case DTYPE_BF16: ((uint16_t *)sum)[i] = bf16_from_double(value); break;
        default: ((double *)sum)[i] = value;
        }
    }
}

/* Hands gradients in staging memory over to the caller's tensors. */
static bool hand_out(struct pass *p, struct error *err)
{
    uint32_t inputs = p->step->package.graph.inputs.count;
    bool accumulate = (p->given->flags & URZA_ACCUMULATE) != 0;
    for (uint32_t i = 0; i < p->step->package.graph.outputs.count; i++) {
        const struct tensor *tensor = &p->context->tensors[inputs + i];
        void *data = p->context->data[inputs + i];
        if (!given_gradient(p, i) || !is_staged(p, i))
            continue;
        if (accumulate && tensor->dense) {
            add(tensor->dtype, tensor->data, data, tensor->elements);
            continue;
        }
        if (accumulate) {
            void *held = block_new(tensor->size_bytes);
            if (!held)
                return fail(err, ERR_NOMEM, "no memory to add to a strided gradient");
            copy_to_dense(held, tensor);
            add(tensor->dtype, data, held, tensor->elements);
            free(held);
        }
        copy_from_dense(tensor, data);
    }
    return true;
}

static bool backward(struct pass *p, struct error *err)
{
    size_t bytes;
    if (!check_counts(p, err) || !check_asked(p, err) || !check_cotangents(p, err) ||
        !check_gradients(p, err))
        return false;
    if ((bytes = stage(p, NULL)) > 0 && !context_reserve_back_staging(p->context, bytes, err))
        return false;
    static char none; /* placing without bytes still fills the table */
    stage(p, bytes > 0 ? p->context->back_staging : &none);
    p->context->interrupts = atomic_load(&p->step->interrupts);
    if (!p->tape->forward_done && !p->entry->reason &&
        !run_entry(p->step, p->context, "forward_train", UINT64_MAX, err))
        return false;
    p->tape->forward_done = false;
    return run_entry(p->step, p->context, "backward", p->wanted, err) && hand_out(p, err);
}

URZA_EXPORT int urza_backward(urza_tape *tape, const urza_gradients *gradients, urza_error *err)
{
    struct error e;
    if (!tape || !gradients)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (tape->spent)
        return public_result(
            fail(&e, ERR_USAGE, "the tape was used: URZA_KEEP_TAPE keeps it for another pass"), &e,
            err);
    if (gradients->flags & ~(URZA_ACCUMULATE | URZA_KEEP_TAPE))
        return public_result(fail(&e, ERR_USAGE, "flags %#x are unknown", gradients->flags), &e,
                             err);
    struct call_context *context = context_of(tape);
    struct pass pass = {.tape = tape,
                        .step = tape->module->step,
                        .context = context,
                        .entry = atomic_load_explicit(&context->entry, memory_order_relaxed),
                        .given = gradients};
    bool ok = backward(&pass, &e);
    tape->spent = (gradients->flags & URZA_KEEP_TAPE) == 0;
    return public_result(ok, &e, err);
}

URZA_EXPORT void urza_tape_release(urza_tape *tape)
{
    if (tape)
        context_put(tape->module->step, context_of(tape));
}
