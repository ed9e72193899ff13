/* Contexts: a new one is made when none is free, and all are reused until the module is freed, so
 * in steady state calls allocate nothing. Their working memory is the runtime's between calls, if
 * the module shares it with others.
 *
 *     block of a context: [ struct | table | key | tensors | data | given ]
 *     its temporaries:    [ temporaries | scratch of chunk 0 | scratch of chunk 1 | … ] */
#include <stdlib.h>

#include "runtime/runtime_priv.h"

static size_t carve_context(struct carve *carve, const struct urza_module *module,
                            struct call_context *out)
{
    const struct graph *graph = &module->package.graph;
    size_t inputs = graph->inputs.count, tensors = inputs + graph->outputs.count;
    carve_take(carve, 1, sizeof(struct call_context));
    struct call_context context = {
        .table = carve_take(carve, module->slot_count, sizeof(void *)),
        .key = carve_take(carve, module->key_count, sizeof(int64_t)),
        .tensors = carve_take(carve, tensors, sizeof(struct tensor)),
        .data = carve_take(carve, tensors, sizeof(void *)),
        .given = carve_take(carve, inputs, sizeof(struct guard_input)),
    };
    if (out)
        *out = context;
    return carve->used_bytes;
}

static struct call_context *context_new(struct urza_module *module, struct error *err)
{
    struct call_context *context = block_new(carve_context(&(struct carve){0}, module, NULL));
    if (!context) {
        fail(err, ERR_NOMEM, "no memory for one more call at a time");
        return NULL;
    }
    carve_context(&(struct carve){.base = (char *)context}, module, context);
    if (!stack_register(&module->contexts, &context->pooled)) {
        free(context);
        fail(err, ERR_LIMIT, "more than %d calls at the same time", POOLED_MAX);
        return NULL;
    }
    return context;
}

struct call_context *context_take(struct urza_module *module, struct error *err)
{
    struct pooled *free_one = stack_take(&module->contexts);
    struct call_context *context =
        free_one ? (struct call_context *)free_one : context_new(module, err);
    if (!context || context->working)
        return context;
    context->working = working_take(module->runtime, err);
    if (context->working)
        return context;
    stack_put(&module->contexts, &context->pooled);
    return NULL;
}

void context_put(struct urza_module *module, struct call_context *context)
{
    working_end(module->runtime, context->working);
    if (module->runtime->shared) {
        working_put(module->runtime, context->working);
        context->working = NULL;
    }
    stack_put(&module->contexts, &context->pooled);
}

char *context_reserve(const struct urza_module *module, struct call_context *context,
                      enum working_kind kind, size_t size, struct error *err)
{
    return working_reserve(module->runtime, context->working, kind, size, err)
               ? context->working->parts[kind].memory
               : NULL;
}

bool context_ready(const struct urza_module *module, struct call_context *context,
                   struct error *err)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    const struct working_part *part = &context->working->parts[WORKING_TEMPORARIES];
    if (context->table_filled && part->memory == context->table_memory &&
        part->bytes >= entry->memory_bytes) {
        working_need(context->working, WORKING_TEMPORARIES, entry->memory_bytes);
        return true;
    }
    if (!working_reserve(module->runtime, context->working, WORKING_TEMPORARIES,
                         entry->memory_bytes, err))
        return false;
    context->table_memory = part->memory;
    const struct plan *plan = &module->target->plan;
    for (uint32_t i = 0; i < module->slot_count; i++) {
        uint32_t buffer = module->slot_buffer[i];
        if (buffer == PLAN_NONE)
            continue;
        context->table[i] = plan->buffers.items[buffer].kind == BUFFER_TEMP
                                ? part->memory + entry->temp_offsets[buffer]
                                : module->fixed[buffer];
    }
    context->table_filled = true;
    return true;
}

void contexts_release(struct urza_module *module)
{
    uint32_t count = atomic_load(&module->contexts.count);
    for (uint32_t i = 0; i < count; i++) {
        struct call_context *context = (struct call_context *)module->contexts.items[i];
        if (!context) /* another thread had registered the index but not stored the context when the
                         process forked */
            continue;
        if (context->working && context->working->pooled.number == 0)
            working_free(module->runtime, context->working); /* others go with the runtime */
        free(context);
    }
}
