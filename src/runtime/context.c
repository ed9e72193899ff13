/* Contexts: a new one is made when none is free, and all are reused until the module is unloaded,
 * so in steady state calls allocate nothing. A context's memory only grows, to the needs of the
 * largest shape.
 *
 *     block of a context: [ struct | table | key | tensors | data | given ]
 *     its memory:         [ temporaries | scratch of chunk 0 | scratch of chunk 1 | … ] */
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
    return free_one ? (struct call_context *)free_one : context_new(module, err);
}

void context_put(struct urza_module *module, struct call_context *context)
{
    stack_put(&module->contexts, &context->pooled);
}

/* Replaces the memory by size bytes or more; its content is lost. */
static bool grow(char **memory, size_t *bytes, size_t size, const char *what, struct error *err)
{
    if (*bytes >= size)
        return true;
    free(*memory);
    *memory = block_new(size);
    *bytes = *memory ? size : 0;
    return *memory || fail(err, ERR_NOMEM, "no memory for %zu bytes of %s", size, what);
}

bool context_reserve_staging(struct call_context *context, size_t size, struct error *err)
{
    return grow(&context->staging, &context->staging_bytes, size, "copies of strided tensors", err);
}

bool context_reserve_back_staging(struct call_context *context, size_t size, struct error *err)
{
    return grow(&context->back_staging, &context->back_staging_bytes, size,
                "tensors of a backward pass", err);
}

bool context_ready(const struct urza_module *module, struct call_context *context,
                   struct error *err)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    if (context->table_filled)
        return true;
    if (!grow(&context->memory, &context->memory_bytes, entry->memory_bytes, "temporaries", err))
        return false;
    const struct plan *plan = &module->target->plan;
    for (uint32_t i = 0; i < module->slot_count; i++) {
        uint32_t buffer = module->slot_buffer[i];
        if (buffer == PLAN_NONE)
            continue;
        context->table[i] = plan->buffers.items[buffer].kind == BUFFER_TEMP
                                ? context->memory + entry->temp_offsets[buffer]
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
        free(context->memory);
        free(context->staging);
        free(context->back_staging);
        free(context);
    }
}
