/* Launches, one after the other. A launch is split into contiguous chunks of its iterations; what
 * an iteration computes does not depend on the chunk it is in, so neither does the result. Each
 * chunk has its own scratch memory. */
#include "runtime/runtime_priv.h"

struct split {
    const struct shape_launch *launch;
    void *const *buffers;
    const int64_t *dims;
    char *scratch;
};

static void run_kernel(const struct split *split, char *scratch, int64_t begin, int64_t end)
{
    struct fp_mode before = fp_mode_begin();
    split->launch->kernel(split->buffers, split->dims, scratch, begin, end);
    fp_mode_end(&before);
}

static void run_chunk(void *argument, uint32_t index)
{
    const struct split *split = argument;
    const struct shape_launch *launch = split->launch;
    int64_t each = launch->extent / launch->chunks, more = launch->extent % launch->chunks;
    int64_t begin = each * index + (index < more ? index : more);
    int64_t end = begin + each + (index < more);
    run_kernel(split, split->scratch + index * launch->scratch_stride, begin, end);
}

void launch_run(struct pool *pool, const struct shape_launch *launch, void *const *buffers,
                const int64_t *dims, char *scratch)
{
    struct split split = {launch, buffers, dims, scratch};
    if (launch->chunks == 1)
        run_kernel(&split, scratch, 0, launch->extent);
    else
        pool_run(pool, run_chunk, &split, launch->chunks);
}

void execute(const struct urza_module *module, struct call_context *context)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    for (uint32_t i = 0; i < module->patch_count; i++)
        context->table[module->patches[i].slot] = context->data[module->patches[i].tensor];
    char *scratch = context->memory + entry->scratch_offset;
    for (uint32_t i = 0; i < entry->launch_count; i++) {
        const struct shape_launch *launch = &entry->launches[i];
        launch_run(module->pool, launch, context->table + launch->first_slot, entry->dims, scratch);
    }
}
