#include "trained.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/file.h"
#include "compiler/compile.h"
#include "case.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#define PATTERN 0x5a

static void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

static void must_run(int code, const urza_error *err)
{
    if (code != 0)
        TEST_FAILED("%s: %s: %s", urza_error_name(code), err->place, err->message);
}

static void read_package(struct trained *t, const struct compile_result *result)
{
    struct error err;
    const struct trust any = {TRUST_ALLOW_UNSIGNED, NULL};
    char *copy = arena_alloc(&t->arena, result->package_bytes, 64);
    memcpy(copy, result->package, result->package_bytes);
    t->package = copy;
    t->package_bytes = result->package_bytes;
    must(package_read(copy, t->package_bytes, &any, &t->arena, &t->contents, &err), &err);
    assert_non_null(t->contents.step);
    t->step = &t->contents.step->graph;
    t->input_count = t->contents.graph.inputs.count;
    t->param_count = t->contents.graph.params.count;
    t->output_count = t->contents.graph.outputs.count;
}

static struct compile_options options_of(const char *wrt)
{
    const char *best = target_best_here();
    return (struct compile_options){.strategy = best ? STRATEGY_FAST : STRATEGY_EMERGENCY,
                                    .targets = best,
                                    .backward = true,
                                    .wrt = wrt,
                                    .folder = "examples"};
}

void trained_compile_text(struct trained *t, const char *text, const char *wrt)
{
    struct error err;
    struct compile_result result;
    const struct compile_options options = options_of(wrt);
    *t = (struct trained){0};
    arena_init(&t->arena);
    struct graph *graph = ARENA_NEW(&t->arena, struct graph);
    must(graph_parse(graph, &t->arena, text, strlen(text), &err), &err);
    const struct package_param *params = case_params(graph, 5, &t->arena, &err);
    must(params != NULL, &err);
    must(compile_graph(&(struct compile_source){graph, params, NULL}, &options, &t->arena, &result,
                       &err),
         &err);
    read_package(t, &result);
}

void trained_compile_file(struct trained *t, const char *path)
{
    struct error err;
    struct compile_result result;
    char *text;
    size_t size;
    const struct compile_options options = options_of(NULL);
    *t = (struct trained){0};
    arena_init(&t->arena);
    must(file_read(path, LIMIT_JSON_BYTES, &text, &size, &err), &err);
    must(compile_blueprint(text, size, &options, &t->arena, &result, &err), &err);
    read_package(t, &result);
    free(text);
}

void trained_release(struct trained *t)
{
    arena_release(&t->arena);
}

static DLTensor tensor_of(const struct tensor *tensor, const urza_tensor_info *info, void *data)
{
    return (DLTensor){.data = data,
                      .device = {.device_type = kDLCPU},
                      .ndim = (int32_t)tensor->rank,
                      .dtype = info->dtype,
                      .shape = (int64_t *)tensor->shape};
}

static const char *input_name(const struct graph *graph, uint32_t index)
{
    return graph_node(graph, graph->inputs.items[index])->attrs->name;
}

/* The types that the runtime gives: those of a module that is thrown away. */
static void make_lists(struct trained *t)
{
    urza_module *module = trained_load(t, NULL);
    uint32_t sources = t->input_count + t->param_count;
    t->inputs = ARENA_ARRAY(&t->arena, DLTensor, t->input_count + 1);
    t->params = ARENA_ARRAY(&t->arena, DLTensor, t->param_count + 1);
    t->outputs = ARENA_ARRAY(&t->arena, DLTensor, t->output_count + 1);
    t->cotangents = ARENA_ARRAY(&t->arena, DLTensor, t->output_count + 1);
    t->input_grads = ARENA_ARRAY(&t->arena, DLTensor, t->input_count + 1);
    t->param_grads = ARENA_ARRAY(&t->arena, DLTensor, t->param_count + 1);
    for (uint32_t i = 0; i < sources; i++) {
        bool input = i < t->input_count;
        const urza_tensor_info *info =
            input ? urza_input_info(module, i) : urza_param_info(module, i - t->input_count);
        DLTensor *to = input ? &t->inputs[i] : &t->params[i - t->input_count];
        DLTensor *grad = input ? &t->input_grads[i] : &t->param_grads[i - t->input_count];
        const struct tensor *tensor = &t->sample.inputs[i];
        *to = tensor_of(tensor, info, tensor->data);
        *grad = tensor_of(tensor, info, NULL);
        for (uint32_t k = t->output_count; k < t->step->outputs.count; k++)
            if (strcmp(t->step->outputs.items[k].name + strlen(PACKAGE_GRAD), info->name) == 0)
                grad->data = t->results[k];
    }
    for (uint32_t i = 0; i < t->output_count; i++) {
        const urza_tensor_info *info = urza_output_info(module, i);
        t->outputs[i] = tensor_of(&t->sample.outputs[i], info, t->results[i]);
        t->cotangents[i] = tensor_of(&t->sample.outputs[i], info, NULL);
        for (uint32_t k = sources; k < t->step->inputs.count; k++)
            if (strcmp(input_name(t->step, k) + strlen(PACKAGE_COTANGENT), info->name) == 0)
                t->cotangents[i].data = t->sample.inputs[k].data;
    }
    urza_unload(module);
}

void trained_size(struct trained *t, const int64_t *dims, uint64_t seed, enum fill fill)
{
    struct error err;
    const struct sample_request request = {t->step, NULL, dims, seed, fill, NULL};
    must(sample_make(&t->sample, &request, &t->arena, &err), &err);
    for (uint32_t i = 0; i < t->param_count; i++)
        if (t->sample.inputs[t->input_count + i].bytes > 0)
            memcpy(t->sample.inputs[t->input_count + i].data, t->contents.params[i].data,
                   t->sample.inputs[t->input_count + i].bytes);
    t->results = ARENA_ARRAY(&t->arena, void *, t->step->outputs.count);
    for (uint32_t i = 0; i < t->step->outputs.count; i++)
        t->results[i] = arena_alloc(&t->arena, t->sample.outputs[i].bytes + 1, 64);
    make_lists(t);
}

double trained_judge(struct trained *t, bool *out_open)
{
    struct error err;
    struct interp_difference found;
    double worst = 0;
    must(sample_expect(&t->sample, &t->arena, &err), &err);
    for (uint32_t i = 0; i < t->sample.output_count; i++) {
        const struct interp_tensor *expected = &t->sample.expected[i];
        interp_compare(expected, t->results[i], &found);
        if (!(found.worst_ratio <= 1))
            TEST_FAILED("'%s'[%lld] is off by %g, bound %g", t->step->outputs.items[i].name,
                        (long long)found.worst_index, found.worst_absolute, found.worst_bound);
        worst = fmax(worst, found.worst_ratio);
        if (out_open)
            out_open[i] = found.undetermined > 4 &&
                          (double)found.undetermined > 0.01 * (double)expected->count;
    }
    return worst;
}

urza_module *trained_load(const struct trained *t, const urza_load_options *options)
{
    urza_load_options own = options ? *options : (urza_load_options){0};
    urza_module *module = NULL;
    urza_error err;
    own.trust = URZA_TRUST_ALLOW_UNSIGNED;
    must_run(urza_load_memory(t->package, t->package_bytes, &own, &module, &err), &err);
    return module;
}

int trained_forward(struct trained *t, urza_module *module, bool params, urza_tape **out,
                    urza_error *err)
{
    return urza_forward_train(module, t->inputs, t->input_count, params ? t->params : NULL,
                              params ? t->param_count : 0, t->outputs, t->output_count, out, err);
}

int trained_backward(struct trained *t, urza_tape *tape, uint32_t flags, urza_error *err)
{
    const urza_gradients gradients = {
        .cotangents = t->cotangents,
        .cotangent_count = t->output_count,
        .inputs = t->input_grads,
        .input_count = t->input_count,
        .params = t->param_grads,
        .param_count = t->param_count,
        .flags = flags,
    };
    return urza_backward(tape, &gradients, err);
}

void trained_clear(struct trained *t)
{
    for (uint32_t i = 0; i < t->sample.output_count; i++)
        memset(t->results[i], PATTERN, t->sample.outputs[i].bytes);
}

void trained_step(struct trained *t, urza_module *module, uint32_t flags)
{
    urza_tape *tape = NULL;
    urza_error err;
    trained_clear(t);
    must_run(trained_forward(t, module, true, &tape, &err), &err);
    must_run(trained_backward(t, tape, flags, &err), &err);
    urza_tape_release(tape);
}

void *trained_copy(struct trained *t, size_t *out_bytes)
{
    size_t bytes = 0, at = 0;
    for (uint32_t i = 0; i < t->sample.output_count; i++)
        bytes += t->sample.outputs[i].bytes;
    char *copy = arena_alloc(&t->arena, bytes + 1, 64);
    for (uint32_t i = 0; i < t->sample.output_count; i++) {
        if (t->sample.outputs[i].bytes > 0)
            memcpy(copy + at, t->results[i], t->sample.outputs[i].bytes);
        at += t->sample.outputs[i].bytes;
    }
    *out_bytes = bytes;
    return copy;
}
