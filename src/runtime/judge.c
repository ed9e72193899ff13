/* Judging a call's outputs: the graph in float64, with a running bound on what any correct code may
 * differ. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/cpu.h"
#include "graph/interp.h"
#include "runtime/runtime_priv.h"

/* A call that is judged. */
struct judging {
    struct urza_module *module;
    struct call_context *context;
    const DLTensor *inputs, *outputs;
    uint32_t input_count, output_count;
    bool some; /* outputs without data are not judged */
    struct arena arena;
    urza_verdict verdict;
};

/* Dense copies of all inputs. */
static bool stage(struct judging *j, struct error *err)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < j->input_count; i++)
        bytes += staged_bytes(j->context->tensors[i].size_bytes);
    char *at =
        bytes > 0 ? context_reserve(j->module, j->context, WORKING_STAGED, bytes, err) : NULL;
    if (bytes > 0 && !at)
        return false;
    for (uint32_t i = 0; i < j->input_count; i++) {
        const struct tensor *tensor = &j->context->tensors[i];
        j->context->data[i] = at;
        copy_to_dense(at, tensor);
        at += staged_bytes(tensor->size_bytes);
    }
    return true;
}

static bool reference(struct judging *j, struct interp_tensor *out, struct error *err)
{
    const struct graph *graph = &j->module->package.graph;
    uint32_t count = graph->inputs.count + graph->params.count;
    int64_t dims[LIMIT_NAMED_DIMS];
    bool unsure = false;
    struct interp_tensor *sources = arena_array(&j->arena, count, sizeof *sources);
    const struct interp_options options = {.mode = INTERP_REFERENCE,
                                           .memory_limit = memory_half(),
                                           .most_trips = j->module->most_trips,
                                           .unsure = &unsure};
    return guards_bind(graph, j->context->given, graph->inputs.count, dims, err) && stage(j, err) &&
           interpreter_sources(j->module, j->context, &j->arena, sources, err) &&
           interp_run(graph, &options, &(struct interp_arguments){dims, sources, count}, &j->arena,
                      out, err);
}

/* Compares one output; false where it cannot be, or lies outside. */
static bool compare(struct judging *j, uint32_t output, const struct interp_tensor *expected,
                    struct error *err)
{
    struct tensor tensor;
    struct interp_difference found;
    if (!tensor_check(&j->outputs[output], true, &tensor, err))
        return false;
    bool same = tensor.dtype == expected->dtype && tensor.rank == expected->rank;
    for (uint32_t i = 0; same && i < tensor.rank; i++)
        same = tensor.shape[i] == expected->shape[i];
    if (!same)
        return fail(err, ERR_INPUT, "is not of the shape and dtype that the inputs give");
    void *dense = arena_alloc(&j->arena, tensor.size_bytes + 1, BLOCK_ALIGN);
    copy_to_dense(dense, &tensor);
    interp_compare(expected, dense, &found);
    j->verdict.elements += (uint64_t)expected->count;
    j->verdict.undetermined += (uint64_t)found.undetermined;
    if (found.worst_ratio > j->verdict.worst_ratio)
        j->verdict.worst_ratio = found.worst_ratio;
    return found.worst_ratio <= 1 ||
           fail(err, ERR_VERIFY, "element %lld is off by %.3g, at most %.3g is right",
                (long long)found.worst_index, found.worst_absolute, found.worst_bound);
}

static bool judge(struct judging *j, struct error *err)
{
    const struct graph *graph = &j->module->package.graph;
    if (!call_check_inputs(j->module, j->context, j->inputs, j->input_count, true, err))
        return false;
    if (j->output_count != graph->outputs.count || !j->outputs)
        return fail(err, ERR_INPUT, "%u outputs are given, expected %u", j->output_count,
                    graph->outputs.count);
    struct interp_tensor *expected =
        arena_array(&j->arena, graph->outputs.count + 1, sizeof *expected);
    if (!reference(j, expected, err))
        return false;
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if ((j->outputs[i].data || !j->some) && !compare(j, i, &expected[i], err))
            return fail_at(err, "output '%s'", j->module->outputs[i].name);
    return true;
}

/* A function of its own, so that no local variable of the caller can be lost when setjmp returns a
 * second time. */
static bool judge_guarded(struct judging *j, struct error *err)
{
    jmp_buf out_of_memory;
    if (setjmp(out_of_memory) != 0)
        return fail(err, ERR_NOMEM, "no memory to judge the call");
    j->arena.oom = &out_of_memory;
    return judge(j, err);
}

static int judge_public(struct judging *j, urza_error *err)
{
    struct error e;
    struct cpu_fp before;
    int cancel;
    j->context = context_take(j->module, &e);
    if (!j->context)
        return public_result(false, &e, err);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    arena_init(&j->arena);
    j->arena.limit_bytes = memory_half();
    cpu_fp_begin(&before);
    bool ok = judge_guarded(j, &e);
    cpu_fp_end(&before);
    arena_release(&j->arena);
    pthread_setcancelstate(cancel, &cancel);
    context_put(j->module, j->context);
    return public_result(ok, &e, err);
}

URZA_EXPORT int urza_judge(urza_module *module, const DLTensor *inputs, uint32_t input_count,
                           const DLTensor *outputs, uint32_t output_count, urza_verdict *out,
                           urza_error *err)
{
    struct error e;
    struct judging j = {.module = module,
                        .inputs = inputs,
                        .outputs = outputs,
                        .input_count = input_count,
                        .output_count = output_count};
    if (!module)
        return public_result(fail(&e, ERR_USAGE, "the module is NULL"), &e, err);
    int code = judge_public(&j, err);
    if (out)
        *out = j.verdict;
    return code;
}

/* The step's own lists: its sources are the block's, then cotangents; its results the block's
 * outputs, then gradients. */
int judge_training_step(urza_module *module, const struct step_tensors *t, urza_error *err)
{
    const struct urza_module *step = module->step;
    const struct graph *block = &module->package.graph, *graph = &step->package.graph;
    uint32_t inputs = block->inputs.count, params = block->params.count;
    DLTensor *list = calloc((size_t)graph->inputs.count + graph->outputs.count + 1, sizeof *list);
    struct error e;
    if (!list)
        return public_result(fail(&e, ERR_NOMEM, "no memory to judge a step"), &e, err);
    DLTensor *results = list + graph->inputs.count;
    for (uint32_t i = 0; i < graph->inputs.count; i++)
        list[i] = i < inputs            ? t->inputs[i]
                  : i < inputs + params ? t->params[i - inputs]
                                        : t->cotangents[step->cotangent_of[i]];
    for (uint32_t i = 0; i < graph->outputs.count; i++) {
        uint32_t of = step->gradient_of[i];
        results[i] = of == PLAN_NONE ? t->outputs[i]
                     : of < inputs   ? t->input_gradients[of]
                                     : t->param_gradients[of - inputs];
    }
    struct judging j = {.module = module->step,
                        .inputs = list,
                        .outputs = results,
                        .input_count = graph->inputs.count,
                        .output_count = graph->outputs.count,
                        .some = true};
    int code = judge_public(&j, err);
    free(list);
    return code;
}
