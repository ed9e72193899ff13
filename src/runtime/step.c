/* A call that writes some outputs over the inputs that they update.
 *
 * Kernels write into the input itself where the plan says that they may; otherwise into staging
 * memory, which is copied to the input behind the last launch. */
#include <string.h>

#include "base/compiler.h"
#include "runtime/runtime_priv.h"

/* A step: its arguments, and its tensors. */
struct stepping {
    struct urza_module *module;
    const DLTensor *given_inputs;
    DLTensor *given_outputs;
    uint32_t given_input_count, given_output_count;
    struct call_context *context;
    const struct shape_entry *entry;
    uint32_t inputs, outputs;
};

static struct tensor *output_tensor(const struct stepping *s, uint32_t output)
{
    return &s->context->tensors[s->inputs + output];
}

/* An input that is updated is the tensor of its output, too. */
static bool check_updated(const struct stepping *s, uint32_t output, const DLTensor *given,
                          struct error *err)
{
    uint32_t input = s->module->updates[output];
    struct tensor *tensor = &s->context->tensors[input];
    if (!call_check_written(given, &s->module->outputs[output], s->entry->output_shapes[output],
                            tensor, err) ||
        (call_meets(s->context, tensor, s->inputs) &&
         !fail(err, ERR_INPUT, "is updated, and shares memory with another input")))
        return fail_at(err, "input '%s'", s->module->inputs[input].name);
    *output_tensor(s, output) = *tensor;
    return true;
}

static bool check_output(const struct stepping *s, uint32_t output, const DLTensor *given,
                         struct error *err)
{
    struct tensor *tensor = output_tensor(s, output);
    if (!call_check_written(given, &s->module->outputs[output], s->entry->output_shapes[output],
                            tensor, err) ||
        (call_meets(s->context, tensor, s->inputs + output) &&
         !fail(err, ERR_INPUT, "shares memory with an input or another output")))
        return fail_at(err, "output '%s'", s->module->outputs[output].name);
    return true;
}

/* Inputs that are updated come first, so that outputs meet what is written in any case. */
static bool check_outputs(const struct stepping *s, struct error *err)
{
    uint32_t count = s->given_output_count;
    const uint32_t *updates = s->module->updates;
    uint32_t expected = 0, next = 0;
    for (uint32_t i = 0; i < s->outputs; i++)
        expected += updates[i] == UPDATE_NONE;
    if (count != expected || (!s->given_outputs && count > 0))
        return fail(err, ERR_INPUT, "%u outputs are given, expected %u",
                    s->given_outputs ? count : 0, expected);
    for (uint32_t i = 0; i < s->outputs; i++)
        if (updates[i] != UPDATE_NONE && !check_updated(s, i, &s->given_inputs[updates[i]], err))
            return false;
    for (uint32_t i = 0; i < s->outputs; i++)
        if (updates[i] == UPDATE_NONE && !check_output(s, i, &s->given_outputs[next++], err))
            return false;
    return true;
}

/* Whether kernels write an output to staging memory that is not its input's. */
static bool is_aside(const struct stepping *s, uint32_t output)
{
    if (s->module->updates[output] == UPDATE_NONE)
        return !output_tensor(s, output)->dense;
    return !s->entry->reason && !s->module->in_place[output]; /* the interpreter writes last */
}

/* A first pass with `at` NULL measures, a second one places, and copies inputs that are not
 * dense. */
static size_t place(const struct stepping *s, char *at)
{
    struct call_context *c = s->context;
    size_t used = 0;
    for (uint32_t i = 0; i < s->inputs; i++) {
        const struct tensor *tensor = &c->tensors[i];
        if (at)
            c->data[i] = tensor->dense ? tensor->data : at + used;
        if (at && !tensor->dense) {
            copy_to_dense(at + used, tensor);
            stat_add(&c->stats.copied_inputs, 1);
        }
        used += tensor->dense ? 0 : staged_bytes(tensor->size_bytes);
    }
    for (uint32_t i = 0; i < s->outputs; i++) {
        bool aside = is_aside(s, i), updates = s->module->updates[i] != UPDATE_NONE;
        if (at)
            c->data[s->inputs + i] = aside     ? at + used
                                     : updates ? c->data[s->module->updates[i]]
                                               : output_tensor(s, i)->data;
        used += aside ? staged_bytes(output_tensor(s, i)->size_bytes) : 0;
    }
    return used;
}

static void hand_out(const struct stepping *s)
{
    for (uint32_t i = 0; i < s->outputs; i++)
        if (is_aside(s, i) || !output_tensor(s, i)->dense)
            copy_from_dense(output_tensor(s, i), s->context->data[s->inputs + i]);
}

static bool run(struct stepping *s, struct error *err)
{
    struct urza_module *module = s->module;
    struct call_context *context = s->context;
    static char none; /* placing without bytes still fills the table */
    stat_add(&context->stats.calls, 1);
    context->interrupts = atomic_load(&module->interrupts);
    if (module->package.graph.updates.count == 0)
        return fail(err, ERR_UNSUPPORTED,
                    "no output of the package updates an input: it is no training step, which "
                    "compile --step makes%s",
                    module->step ? "; urza_forward_train and urza_backward run its two parts" : "");
    if (!call_check_inputs(module, context, s->given_inputs, s->given_input_count, true, err) ||
        !(s->entry = shapes_find(module, context, err)) || !check_outputs(s, err) ||
        (!s->entry->reason && !context_ready(module, context, err)))
        return false;
    char *staging = &none;
    size_t bytes = place(s, NULL);
    if (bytes > 0 && !(staging = context_reserve(module, context, WORKING_STAGED, bytes, err)))
        return false;
    place(s, staging);
    if (!(s->entry->reason ? fallback_run(module, context, s->entry->reason, err)
                           : execute(module, context, err)))
        return false;
    hand_out(s);
    stat_add(&context->stats.native_calls, !s->entry->reason);
    return true;
}

URZA_EXPORT int urza_step(urza_module *module, const DLTensor *inputs, uint32_t input_count,
                          DLTensor *outputs, uint32_t output_count, urza_error *err)
{
    struct error e;
    struct call_context *context = module ? context_take(module, &e) : NULL;
    if (!module)
        fail(&e, ERR_USAGE, "the module is NULL");
    if (!context)
        return public_result(false, &e, err);
    struct stepping s = {.module = module,
                         .given_inputs = inputs,
                         .given_outputs = outputs,
                         .given_input_count = input_count,
                         .given_output_count = output_count,
                         .context = context,
                         .inputs = module->package.graph.inputs.count,
                         .outputs = module->package.graph.outputs.count};
    bool ok = run(&s, &e);
    context_put(module, context);
    return public_result(ok, &e, err);
}
