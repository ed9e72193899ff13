/* Aligned memory, and arrays carved out of it. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "runtime/parts_priv.h"

/* Kernels walk large tensors in strides of pages: a translation of an address for each 4 KiB costs
 * them up to a tenth. So large blocks ask for large pages, where the system leaves that to programs
 * (transparent_hugepage: madvise). */
#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_LEAST ((int64_t)(2 * HUGE_PAGE))

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
    if (rounded < HUGE_LEAST)
        return aligned_alloc(BLOCK_ALIGN, rounded > 0 ? (size_t)rounded : BLOCK_ALIGN);
    void *block = aligned_alloc(HUGE_PAGE, (size_t)rounded);
#ifdef MADV_HUGEPAGE
    if (block)
        madvise(block, (size_t)rounded, MADV_HUGEPAGE); /* a hint: it may fail */
#endif
    return block;
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
