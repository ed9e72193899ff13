/* A fenced block:
 *
 *   | protected | canaries  data  canaries | protected |
 *   map         map + page                 map + map_bytes - page
 *
 * With FENCE_END there are `offset` bytes of canaries after the data, with FENCE_START as many
 * before it. A canary is a byte derived from its address in the mapping, so copying canaries to
 * another place is detected. */
#include "verify/fenced.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"

#define HUGE_BYTES ((size_t)4 << 20)
#define POOL_BYTES ((size_t)512 << 20)

static uint8_t canary(size_t at)
{
    return (uint8_t)(0x5b ^ at * 29);
}

/* The bytes between the protected pages that are not data: begin ≤ at < end, relative to map. */
struct span {
    size_t begin, end;
};

static void slack(const struct fenced *block, struct span out[2])
{
    size_t data = (size_t)(block->data - block->map);
    out[0] = (struct span){block->page_bytes, data};
    out[1] = (struct span){data + block->data_bytes, block->map_bytes - block->page_bytes};
}

/* Takes a mapping of that size from the pool; NULL when it has none. The newest comes first, as its
 * pages are warm. */
static uint8_t *take_spare(struct fence_pool *pool, size_t total)
{
    for (uint32_t i = pool ? pool->count : 0; i-- > 0;) {
        uint8_t *map = pool->spares[i].map;
        if (pool->spares[i].map_bytes != total)
            continue;
        pool->count--;
        memmove(&pool->spares[i], &pool->spares[i + 1], (pool->count - i) * sizeof pool->spares[0]);
        pool->bytes -= total;
        return map;
    }
    return NULL;
}

static void drop_oldest(struct fence_pool *pool)
{
    munmap(pool->spares[0].map, pool->spares[0].map_bytes);
    pool->bytes -= pool->spares[0].map_bytes;
    pool->count--;
    memmove(&pool->spares[0], &pool->spares[1], pool->count * sizeof pool->spares[0]);
}

void fence_pool_release(struct fence_pool *pool)
{
    while (pool->count > 0)
        drop_oldest(pool);
}

bool fenced_place(struct fenced *out, struct fence_pool *pool, size_t bytes, enum fence_side side,
                  size_t offset, struct error *err)
{
    long page_size = sysconf(_SC_PAGESIZE);
    size_t page = page_size > 0 ? (size_t)page_size : 4096, inner, total;
    if (!checked_add_size(bytes, offset, &inner) || !checked_add_size(inner, 3 * page, &total))
        return fail(err, ERR_NOMEM, "no room for %zu bytes between protected pages", bytes);
    inner = inner == 0 ? page : (inner + page - 1) / page * page;
    total = inner + 2 * page;
    uint8_t *spare = take_spare(pool, total);
    uint8_t *map = spare ? spare : mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return fail(err, ERR_NOMEM, "no room for %zu bytes between protected pages", bytes);
    if (mprotect(map + page, inner, PROT_READ | PROT_WRITE) != 0) {
        munmap(map, total);
        return fail(err, ERR_NOMEM, "no room for %zu bytes between protected pages", bytes);
    }
    if (inner >= HUGE_BYTES && !spare)
        madvise(map + page, inner, MADV_HUGEPAGE); /* saves page faults where the system has huge
                                                      pages */
    size_t at = side == FENCE_END ? page + inner - offset - bytes : page + offset;
    struct fenced block = {map + at, bytes, map, total, page, pool};
    struct span spans[2];
    slack(&block, spans);
    for (uint32_t i = 0; i < 2; i++)
        for (size_t byte = spans[i].begin; byte < spans[i].end; byte++)
            map[byte] = canary(byte);
    *out = block;
    return true;
}

bool fenced_open(struct fenced *out, size_t bytes, enum fence_side side, size_t offset,
                 struct error *err)
{
    if (!fenced_place(out, NULL, bytes, side, offset, err))
        return false;
    memset(out->data, FENCED_FILL, bytes);
    return true;
}

bool fenced_seal(struct fenced *block, struct error *err)
{
    if (mprotect(block->map + block->page_bytes, block->map_bytes - 2 * block->page_bytes,
                 PROT_READ) != 0)
        return fail(err, ERR_IO, "cannot protect memory: %s", strerror(errno));
    return true;
}

bool fenced_intact(const struct fenced *block, ptrdiff_t *out_at)
{
    struct span spans[2];
    slack(block, spans);
    for (uint32_t i = 0; i < 2; i++) {
        for (size_t byte = spans[i].begin; byte < spans[i].end; byte++) {
            if (block->map[byte] != canary(byte)) {
                *out_at = block->map + byte - block->data;
                return false;
            }
        }
    }
    return true;
}

void fenced_close(struct fenced *block)
{
    struct fence_pool *pool = block->pool;
    uint8_t *map = block->map;
    size_t total = block->map_bytes, page = block->page_bytes;
    *block = (struct fenced){0};
    if (!map)
        return;
    if (!pool || total > POOL_BYTES || mprotect(map + page, total - 2 * page, PROT_NONE) != 0) {
        munmap(map, total);
        return;
    }
    while (pool->count == FENCE_POOL_MOST || pool->bytes + total > POOL_BYTES)
        drop_oldest(pool);
    pool->spares[pool->count++] = (struct fence_spare){map, total};
    pool->bytes += total;
}
