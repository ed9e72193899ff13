/* Memory that detects accesses outside of it.
 *
 * A fenced block lies between two protected pages, flush against one of them or a chosen number of
 * bytes away. Accessing a protected page is a SIGSEGV at once; the rest of the pages around the
 * block is filled with canaries, which fenced_intact checks afterwards. Accessing a closed block is
 * a SIGSEGV, too. Every block has its own owner; a pool is for one thread at a time. */
#ifndef URZA_VERIFY_FENCED_H
#define URZA_VERIFY_FENCED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum fence_side { FENCE_END = 1, FENCE_START };

/* Protected mappings of closed blocks, for reuse: their pages cause no new page faults. {0} is an
 * empty pool. */
#define FENCE_POOL_MOST 32
struct fence_pool {
    struct fence_spare {
        uint8_t *map;
        size_t map_bytes;
    } spares[FENCE_POOL_MOST]; /* the oldest first */
    uint32_t count;
    size_t bytes;
};
void fence_pool_release(struct fence_pool *pool);

struct fenced {
    uint8_t *data; /* data_bytes */
    size_t data_bytes;
    uint8_t *map; /* the mapping, protected pages included; NULL: closed */
    size_t map_bytes;
    size_t page_bytes;
    struct fence_pool *pool; /* where the mapping goes when the block is closed; NULL: it is
                                unmapped */
};

/* Initial content of a new block: a value that no kernel computes by chance. */
#define FENCED_FILL 0xa5

/* offset: bytes between the block and the protected page on that side; 0: flush. ERR_NOMEM. */
bool fenced_open(struct fenced *out, size_t bytes, enum fence_side side, size_t offset,
                 struct error *err);
/* As fenced_open, but the content is undefined, and the mapping comes from the pool if it has one
 * of the size; pool NULL: there is no pool. */
bool fenced_place(struct fenced *out, struct fence_pool *pool, size_t bytes, enum fence_side side,
                  size_t offset, struct error *err);
/* Makes the block read-only: writing it is a SIGSEGV from now on. ERR_IO. */
bool fenced_seal(struct fenced *block, struct error *err);
/* Whether all canaries are unchanged. If not, *out_at is the place of a changed byte relative to
 * data. */
bool fenced_intact(const struct fenced *block, ptrdiff_t *out_at);
void fenced_close(struct fenced *block); /* accepts a zeroed block */

#endif
