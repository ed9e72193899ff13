/* Memory that tells when somebody leaves it.
 *
 * A fenced block lies between two protected pages, flush against one of them or a chosen number of
 * bytes away. Touching a protected page is a SIGSEGV at once; the slack that whole pages leave
 * around the block is filled with canaries, which fenced_intact looks at afterwards. A closed block
 * cannot be touched either. Every block has its own owner; a pool is for one thread at a time. */
#ifndef URZA_VERIFY_FENCED_H
#define URZA_VERIFY_FENCED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

enum fence_side { FENCE_END = 1, FENCE_START };

/* Mappings of closed blocks, protected, for blocks to come: what was there once costs no page
 * faults again. Starts at {0}. */
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
    struct fence_pool *pool; /* where it goes when it is closed; NULL: nowhere */
};

#define FENCED_FILL 0xa5 /* what a fresh block holds: a value that no kernel computes by chance */

/* offset: bytes between the block and the protected page on that side; 0 is flush. ERR_NOMEM. */
bool fenced_open(struct fenced *out, size_t bytes, enum fence_side side, size_t offset,
                 struct error *err);
/* The same without the fill: the block holds anything. From the pool, if it has what fits; NULL:
 * there is none. */
bool fenced_place(struct fenced *out, struct fence_pool *pool, size_t bytes, enum fence_side side,
                  size_t offset, struct error *err);
/* From now on writing the block is a SIGSEGV. ERR_IO. */
bool fenced_seal(struct fenced *block, struct error *err);
/* Whether all canaries stand. Otherwise *out_at is the place of a changed byte relative to data. */
bool fenced_intact(const struct fenced *block, ptrdiff_t *out_at);
void fenced_close(struct fenced *block); /* a zeroed block is fine */

#endif
