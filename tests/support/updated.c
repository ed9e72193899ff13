#include "updated.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

static void must(bool ok, const struct error *err)
{
    if (!ok)
        TEST_FAILED("%s: %s: %s", error_name(err->code), err->place, err->message);
}

void updated_compile(struct updated *u, const char *text, const struct compile_observer *observer)
{
    struct error err = {0};
    struct compile_result result;
    const char *best = target_best_here();
    const struct compile_options options = {.strategy =
                                                best ? STRATEGY_STANDARD : STRATEGY_EMERGENCY,
                                            .targets = best,
                                            .observer = observer};
    *u = (struct updated){0};
    arena_init(&u->arena);
    if (!graph_parse(&u->graph, &u->arena, text, strlen(text), &err))
        TEST_FAILED("%s: %s\n%s", err.place, err.message, text);
    must(compile_graph(&(struct compile_source){&u->graph, NULL, NULL}, &options, &u->arena,
                       &result, &err),
         &err);
    char *copy = arena_alloc(&u->arena, result.package_bytes, 64);
    memcpy(copy, result.package, result.package_bytes);
    u->package = copy;
    u->package_bytes = result.package_bytes;
}

void updated_release(struct updated *u)
{
    arena_release(&u->arena);
}

void updated_size(struct updated *u, int64_t size, uint64_t seed)
{
    struct error err = {0};
    int64_t dims[LIMIT_NAMED_DIMS];
    for (size_t i = 0; i < LIMIT_NAMED_DIMS; i++)
        dims[i] = size;
    const struct sample_request request = {&u->graph, NULL, dims, seed, FILL_NORMAL, NULL};
    must(sample_make(&u->sample, &request, &u->arena, &err), &err);
    uint32_t count = u->sample.output_count;
    u->called = ARENA_ARRAY(&u->arena, void *, count);
    u->stepped = ARENA_ARRAY(&u->arena, void *, count);
    for (uint32_t i = 0; i < count; i++) {
        u->called[i] = arena_alloc(&u->arena, u->sample.outputs[i].bytes + 1, 64);
        u->stepped[i] = arena_alloc(&u->arena, u->sample.outputs[i].bytes + 1, 64);
    }
}

urza_module *updated_load(const struct updated *u, const urza_load_options *options)
{
    urza_load_options own = options ? *options : (urza_load_options){0};
    urza_module *module = NULL;
    urza_error err;
    own.trust = URZA_TRUST_ALLOW_UNSIGNED;
    if (urza_load_memory(u->package, u->package_bytes, &own, &module, &err) != 0)
        TEST_FAILED("%s: %s", err.place, err.message);
    return module;
}

bool updated_in_place(struct updated *u, uint32_t index)
{
    struct error err = {0};
    struct package_contents contents;
    const struct trust any = {TRUST_ALLOW_UNSIGNED, NULL};
    must(package_read(u->package, u->package_bytes, &any, &u->arena, &contents, &err), &err);
    for (uint32_t i = 0; contents.target_count > 0 && i < contents.targets[0].plan.buffers.count;
         i++) {
        const struct plan_buffer *buffer = &contents.targets[0].plan.buffers.items[i];
        if (buffer->kind == BUFFER_OUTPUT && buffer->index == index)
            return buffer->in_place;
    }
    return false;
}

static DLTensor tensor_of(const struct tensor *tensor, const urza_tensor_info *info, void *data)
{
    return (DLTensor){.data = data,
                      .device = {.device_type = kDLCPU},
                      .ndim = (int32_t)tensor->rank,
                      .dtype = info->dtype,
                      .shape = (int64_t *)tensor->shape};
}

DLTensor updated_input(struct updated *u, urza_module *module, uint32_t index, void *data)
{
    return tensor_of(&u->sample.inputs[index], urza_input_info(module, index), data);
}

DLTensor updated_output(struct updated *u, urza_module *module, uint32_t index, void *data)
{
    return tensor_of(&u->sample.outputs[index], urza_output_info(module, index), data);
}
