/* Aligned memory, and arrays carved out of it. */
#include <stdlib.h>
#include <unistd.h>

#include "base/checked.h"
#include "runtime/parts_priv.h"

bool block_round(int64_t size, int64_t *out)
{
    int64_t padded;
    if (!checked_add_i64(size, (int64_t)BLOCK_ALIGN - 1, &padded))
        return false;
    *out = padded & -(int64_t)BLOCK_ALIGN;
    return true;
}

void *block_new(size_t size)
{
    int64_t rounded;
    if (size > INT64_MAX || !block_round((int64_t)size, &rounded))
        return NULL;
    return aligned_alloc(BLOCK_ALIGN, rounded > 0 ? (size_t)rounded : BLOCK_ALIGN);
}

size_t memory_half(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages / 2 * (size_t)page : (size_t)1 << 30;
}

void *carve_take(struct carve *carve, size_t count, size_t size)
{
    size_t start = (carve->used_bytes + 15) & ~(size_t)15;
    carve->used_bytes = start + count * size;
    return carve->base ? carve->base + start : NULL;
}
