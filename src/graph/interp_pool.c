/* Memory of a run: buffers that go from value to value, and the cells of sources that are lazy.
 *
 * How much a buffer can hold stands in front of it: a value may fill only a part, and what comes
 * back must be all of it. Otherwise each smaller value would take memory away for good. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "graph/interp_run_priv.h"

/* A free buffer above LARGE_CELLS takes no value that would fill less than a part of it. */
#define LARGE_CELLS ((int64_t)1 << 19)
#define LARGE_TIMES 4

/* In front of the cells of each buffer, which so keep the alignment of the arena's arrays. */
struct head {
    int64_t count; /* of cells that there is room for */
    int64_t unused;
};

/* Whether a free buffer may hold so many cells: not if it is large and they would fill little of
 * it, since the next large value would take another. */
static bool fits(const struct buffer *buffer, int64_t count)
{
    return buffer->count >= count &&
           (buffer->count <= LARGE_CELLS || buffer->count / LARGE_TIMES <= count);
}

bool take_memory(struct run *run, int64_t count, void **out_data)
{
    struct buffer *items = run->pool->buffers.items;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < run->pool->buffers.count; i++)
        if (fits(&items[i], count) && (best == UINT32_MAX || items[i].count < items[best].count))
            best = i;
    if (best != UINT32_MAX) {
        *out_data = items[best].data;
        items[best] = items[--run->pool->buffers.count];
        return true;
    }
    size_t bytes = (size_t)count * sizeof(union cell);
    if (run->limit_bytes > 0 && bytes > run->limit_bytes - run->used_bytes)
        return fail(run->err, ERR_LIMIT, "values need more than the limit of %zu bytes of memory",
                    run->limit_bytes);
    struct head *head = arena_raw(run->memory, sizeof *head + bytes, 16);
    *head = (struct head){.count = count};
    *out_data = head + 1;
    run->used_bytes += run->limit_bytes > 0 ? bytes : 0;
    return true;
}

void give_memory(struct run *run, void *data)
{
    if (!data)
        return;
    const struct head *head = (const struct head *)data - 1;
    const struct buffer buffer = {data, head->count};
    if (buffer.count > 0)
        VEC_PUSH(run->memory, &run->pool->buffers, buffer);
}

void trim_pool(const struct pool *pool)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 0; i < pool->buffers.count; i++) {
        const struct buffer *buffer = &pool->buffers.items[i];
        uintptr_t from = ((uintptr_t)buffer->data + page - 1) / page * page;
        uintptr_t to = ((uintptr_t)buffer->data + (size_t)buffer->count * sizeof(union cell));
        if (buffer->count > LARGE_CELLS)
            madvise((void *)from, (to - from) / page * page, MADV_DONTNEED);
    }
}

bool is_absent(const struct interp_tensor *tensor)
{
    return tensor->lazy && !tensor->cells && tensor->count > 0;
}

bool bring(struct run *run, value_id id)
{
    struct value *value = &run->values[id];
    struct interp_tensor *tensor = &value->tensor;
    void *memory;
    size_t limit = run->limit_bytes;
    if (!is_absent(tensor))
        return true;
    run->limit_bytes = 0; /* it holds for values, whatever memory sources have */
    bool ok = take_memory(run, tensor->count, &memory);
    run->limit_bytes = limit;
    if (!ok)
        return false;
    tensor->cells = memory;
    tensor->lazy->load(tensor->lazy, 0, tensor->count, tensor->cells);
    value->owned = true;
    if (run->memo && value->number == MEMO_UNKNOWN)
        value->number = memo_source(run->memo, tensor);
    return true;
}
