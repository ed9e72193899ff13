/* Working memory: taken from the runtime for a call and given back behind it. A module with a
 * runtime of its own leaves it to its contexts instead, one piece to each. The last piece that was
 * given is the first taken, so modules that are called in turn use the same one. */
#include <stdlib.h>

#include "runtime/runtime_priv.h"

#define SHRINK_SHARE 4
#define SHRINK_BYTES ((size_t)1 << 20) /* less is not worth it */

struct working *working_take(struct urza_runtime *runtime, struct error *err)
{
    struct working *working = (struct working *)stack_take(&runtime->working);
    if (working) {
        atomic_fetch_sub_explicit(&runtime->idle_bytes, working->total_bytes, memory_order_relaxed);
        return working;
    }
    working = calloc(1, sizeof *working);
    if (!working) {
        fail(err, ERR_NOMEM, "no memory for one more call at a time");
        return NULL;
    }
    /* If the stack is full it is not registered, and is freed when it is given back. */
    stack_register(&runtime->working, &working->pooled);
    return working;
}

/* Replaces the memory of a part. */
static bool resize(struct urza_runtime *runtime, struct working *working, struct working_part *part,
                   size_t size)
{
    atomic_fetch_sub_explicit(&runtime->working_bytes, part->bytes, memory_order_relaxed);
    working->total_bytes -= part->bytes;
    free(part->memory);
    part->memory = size > 0 ? block_new(size) : NULL;
    part->bytes = part->memory ? size : 0;
    working->total_bytes += part->bytes;
    atomic_fetch_add_explicit(&runtime->working_bytes, part->bytes, memory_order_relaxed);
    return part->memory || size == 0;
}

bool working_reserve(struct urza_runtime *runtime, struct working *working, enum working_kind kind,
                     size_t size, struct error *err)
{
    static const char *const names[] = {"temporaries", "copies of strided tensors",
                                        "tensors of a backward pass"};
    struct working_part *part = &working->parts[kind];
    working_need(working, kind, size);
    return part->bytes >= size || resize(runtime, working, part, size) ||
           fail(err, ERR_NOMEM, "no memory for %zu bytes of %s", size, names[kind]);
}

void working_shrink(struct urza_runtime *runtime, struct working *working)
{
    working->uses = 0;
    for (int kind = 0; kind < WORKING_KINDS; kind++) {
        struct working_part *part = &working->parts[kind];
        if (part->bytes / SHRINK_SHARE > part->needed_bytes && part->bytes > SHRINK_BYTES)
            resize(runtime, working, part, 0);
        part->needed_bytes = 0;
    }
}

static void drop(struct urza_runtime *runtime, struct working *working)
{
    for (int kind = 0; kind < WORKING_KINDS; kind++)
        resize(runtime, working, &working->parts[kind], 0);
}

void working_put(struct urza_runtime *runtime, struct working *working)
{
    uint64_t idle = atomic_load_explicit(&runtime->idle_bytes, memory_order_relaxed);
    if (working->total_bytes > runtime->idle_most ||
        idle > runtime->idle_most - working->total_bytes)
        drop(runtime, working);
    if (working->pooled.number == 0) {
        drop(runtime, working);
        free(working);
        return;
    }
    atomic_fetch_add_explicit(&runtime->idle_bytes, working->total_bytes, memory_order_relaxed);
    stack_put(&runtime->working, &working->pooled);
}

uint64_t working_trim(struct urza_runtime *runtime, uint64_t keep_bytes)
{
    struct pooled *kept = NULL, *item;
    uint64_t left = 0;
    /* The pieces that were used last are kept, and put back in the order that they had. Their link
     * is another one than the stack's, which a thread that has just lost a race may still read. */
    while ((item = stack_take(&runtime->working))) {
        struct working *working = (struct working *)item;
        atomic_fetch_sub_explicit(&runtime->idle_bytes, working->total_bytes, memory_order_relaxed);
        if (working->total_bytes > keep_bytes - left)
            drop(runtime, working);
        left += working->total_bytes;
        working->below = kept;
        kept = item;
    }
    while ((item = kept)) {
        struct working *working = (struct working *)item;
        kept = working->below;
        atomic_fetch_add_explicit(&runtime->idle_bytes, working->total_bytes, memory_order_relaxed);
        stack_put(&runtime->working, item);
    }
    return left;
}

void working_free(struct urza_runtime *runtime, struct working *working)
{
    drop(runtime, working);
    free(working);
}
