/* The second part of a training step: from a tape and cotangents to gradients. All tensors are
 * checked before anything is written. */
#include <string.h>

#include "base/compiler.h"
#include "runtime/training_priv.h"

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
            (call_meets(p->context, tensor, inputs + i) &&
             !fail(err, ERR_INPUT, "shares memory with another tensor of the call")))
            return fail_at(err, "%s", p->step->outputs[i].name);
        p->wanted |= output_bit(i);
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

/* Whether there is room behind a staged gradient for a dense copy of what it is added to. */
static bool is_added_strided(const struct pass *p, uint32_t output)
{
    const struct tensor *tensor =
        &p->context->tensors[p->step->package.graph.inputs.count + output];
    return tensor->data && !tensor->dense && (p->given->flags & URZA_ACCUMULATE) != 0;
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
        used += own ? 0 : staged_bytes(tensor->size_bytes);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        if (p->step->gradient_of[i] == PLAN_NONE)
            continue;
        bool staged = is_staged(p, i);
        if (at)
            p->context->data[graph->inputs.count + i] =
                staged ? at + used : p->context->tensors[graph->inputs.count + i].data;
        used += staged ? staged_bytes(p->entry->output_bytes[i]) : 0;
        used += is_added_strided(p, i) ? staged_bytes(p->entry->output_bytes[i]) : 0;
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
static void hand_out(struct pass *p)
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
            void *held = (char *)data + staged_bytes(tensor->size_bytes);
            copy_to_dense(held, tensor);
            add(tensor->dtype, data, held, tensor->elements);
        }
        copy_from_dense(tensor, data);
    }
}

static bool backward(struct pass *p, struct error *err)
{
    size_t bytes;
    stat_add(&p->context->stats.calls, 1);
    if (!check_counts(p, err) || !check_asked(p, err) || !check_cotangents(p, err) ||
        !check_gradients(p, err))
        return false;
    static char none; /* placing without bytes still fills the table */
    char *staging = &none;
    if ((bytes = stage(p, NULL)) > 0 &&
        !(staging = context_reserve(p->step, p->context, WORKING_BACK_STAGED, bytes, err)))
        return false;
    stage(p, staging);
    p->context->interrupts = atomic_load(&p->step->interrupts);
    if (!p->tape->forward_done && !p->entry->reason &&
        !training_run(p->step, p->context, "forward_train", UINT64_MAX, err))
        return false;
    p->tape->forward_done = false;
    if (!training_run(p->step, p->context, "backward", p->wanted, err))
        return false;
    hand_out(p);
    stat_add(&p->context->stats.native_calls, !p->entry->reason);
    return true;
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
    if (!tape)
        return;
    struct urza_module *module = tape->module;
    context_put(module->step, context_of(tape));
    urza_unload(module);
}
