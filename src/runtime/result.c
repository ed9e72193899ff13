/* Results: a new one is made when none is free, and it is reused after its release. The pool is not
 * part of the module, because hosts may hold results longer than the module: the last reference
 * that is released frees it. */
#include <stdlib.h>

#include "runtime/runtime_priv.h"

struct result_pool *results_new(void)
{
    struct result_pool *pool = calloc(1, sizeof *pool);
    if (pool)
        pool->references = 1;
    return pool;
}

static void unref(struct result_pool *pool)
{
    if (atomic_fetch_sub(&pool->references, 1) != 1)
        return;
    uint32_t count = atomic_load(&pool->stack.count);
    for (uint32_t i = 0; i < count; i++) {
        struct urza_result *result = (struct urza_result *)pool->stack.items[i];
        if (!result) /* another thread had registered the index but not stored the result when the
                        process forked */
            continue;
        free(result->memory);
        free(result);
    }
    free(pool);
}

static void drop_memory(struct urza_result *result)
{
    free(result->memory);
    result->memory = NULL;
    result->memory_bytes = 0;
}

struct urza_result *result_take(struct result_pool *pool, size_t size, struct error *err)
{
    struct urza_result *result = (struct urza_result *)stack_take(&pool->stack);
    if (!result) {
        result = calloc(1, sizeof *result);
        if (!result) {
            fail(err, ERR_NOMEM, "no memory for a result");
            return NULL;
        }
        result->pool = pool;
        /* If the pool is full the result is not registered, and is freed on its release. */
        stack_register(&pool->stack, &result->pooled);
    }
    atomic_fetch_add(&pool->references, 1);
    if (result->memory_bytes >= size && result->memory)
        return result;
    drop_memory(result);
    result->memory = block_new(size);
    result->memory_bytes = result->memory ? size : 0;
    if (result->memory)
        return result;
    result_put(result);
    fail(err, ERR_NOMEM, "no memory for %zu bytes of outputs", size);
    return NULL;
}

void result_put(struct urza_result *result)
{
    struct result_pool *pool = result->pool;
    if (atomic_load(&pool->unloaded))
        drop_memory(result);
    if (result->pooled.number != 0) {
        stack_put(&pool->stack, &result->pooled);
    } else {
        free(result->memory);
        free(result);
    }
    unref(pool);
}

void results_trim(struct result_pool *pool)
{
    struct urza_result *without = NULL;
    for (struct urza_result *result; (result = (struct urza_result *)stack_take(&pool->stack));) {
        drop_memory(result);
        result->below = without;
        without = result;
    }
    while (without) {
        struct urza_result *result = without;
        without = result->below;
        stack_put(&pool->stack, &result->pooled);
    }
}

void results_unload(struct result_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->unloaded, true);
    for (struct pooled *item; (item = stack_take(&pool->stack));)
        drop_memory((struct urza_result *)item);
    unref(pool);
}
