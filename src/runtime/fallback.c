/* Runs calls in the interpreter where native code cannot: correct, but slow. Each such call is
 * counted, with the reason, and reported to the host. */
#include <pthread.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "graph/interp.h"
#include "runtime/runtime_priv.h"

static bool zeros(const struct native_tensor *of, struct arena *arena, struct interp_tensor *out,
                  struct error *err)
{
    *out = (struct interp_tensor){.dtype = of->dtype, .rank = of->rank, .count = 1};
    for (uint32_t i = 0; i < of->rank; i++) {
        out->shape[i] = of->shape[i];
        if (!checked_mul_i64(out->count, of->shape[i], &out->count))
            return fail(err, ERR_LIMIT, "the tensor would be too large");
    }
    out->cells = arena_array(arena, (size_t)out->count, sizeof *out->cells);
    return true;
}

bool interpreter_sources(const struct urza_module *module, const struct call_context *context,
                         struct arena *arena, struct interp_tensor *out, struct error *err)
{
    const struct graph *graph = &module->package.graph;
    uint32_t inputs = graph->inputs.count;
    for (uint32_t i = 0; i < inputs; i++) {
        const struct tensor *tensor = &context->tensors[i];
        const struct native_tensor native = {tensor->dtype, tensor->rank, tensor->shape,
                                             context->data[i]};
        if (!context->data[i] && tensor->size_bytes > 0) { /* a cotangent that is not there yet */
            if (!zeros(&native, arena, &out[i], err))
                return false;
            continue;
        }
        if (!interp_load(&out[i], arena, &native, err))
            return false;
    }
    for (uint32_t i = 0; i < graph->params.count; i++) {
        const struct node *node = graph_node(graph, graph->params.items[i]);
        const urza_tensor_info *info = &module->param_infos[i];
        const struct native_tensor native = {node->dtype, node->rank, info->shape,
                                             module->params[i]};
        if (!interp_borrow(&out[inputs + i], arena, &native, err))
            return false;
    }
    return true;
}

struct calling {
    const struct urza_module *module;
    const struct call_context *context;
};

static bool is_stopped(const void *user)
{
    const struct calling *calling = user;
    return is_interrupted(calling->module, calling->context);
}

static bool interpret(struct urza_module *module, struct call_context *context, struct arena *arena,
                      struct error *err)
{
    const struct graph *graph = &module->package.graph;
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    uint32_t source_count = graph->inputs.count + graph->params.count;
    struct interp_tensor *sources = ARENA_ARRAY(arena, struct interp_tensor, source_count);
    struct interp_tensor *outputs = ARENA_ARRAY(arena, struct interp_tensor, graph->outputs.count);
    const struct calling calling = {module, context};
    const struct interp_options options = {.mode = INTERP_NATIVE,
                                           .memory_limit = memory_half(),
                                           .most_trips = module->most_trips,
                                           .tried_trips = module->tried_trips,
                                           .is_stopped = is_stopped,
                                           .user = &calling};
    if (!interpreter_sources(module, context, arena, sources, err) ||
        !interp_run(graph, &options, &(struct interp_arguments){entry->dims, sources, source_count},
                    arena, outputs, err))
        return false;
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (outputs[i].count > 0 && context->data[graph->inputs.count + i])
            interp_store(&outputs[i], context->data[graph->inputs.count + i]);
    return true;
}

/* A function of its own, so that no local variable of the caller can be lost when setjmp returns a
 * second time. */
static bool interpret_guarded(struct urza_module *module, struct call_context *context,
                              struct arena *arena, struct error *err)
{
    jmp_buf out_of_memory;
    if (setjmp(out_of_memory) != 0)
        return fail(err, ERR_NOMEM, "no memory to interpret the call");
    arena->oom = &out_of_memory;
    return interpret(module, context, arena, err);
}

/* reason must live as long as the module. */
static void report(struct urza_module *module, const char *reason)
{
    struct urza_module *owner = module->owner;
    atomic_store(&owner->last_fallback, reason);
    if (module->on_event) {
        urza_event event = {.kind = "fallback", .kernel_id = owner->package.id, .reason = reason};
        module->on_event(module->user, &event);
    }
}

bool fallback_run(struct urza_module *module, struct call_context *context, const char *reason,
                  struct error *err)
{
    struct arena arena;
    int cancel;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    arena_init(&arena);
    arena.limit_bytes = memory_half(); /* the interpreter takes eight bytes for each element */
    stat_add(&context->stats.fallback_calls, 1);
    report(module, reason);
    struct cpu_fp before;
    cpu_fp_begin(&before);
    bool ok = interpret_guarded(module, context, &arena, err);
    cpu_fp_end(&before);
    arena_release(&arena);
    pthread_setcancelstate(cancel, &cancel);
    return ok;
}
