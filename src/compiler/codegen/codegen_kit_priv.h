/* For tests: a hand-made nest, compiled for every target, run on those this CPU supports, and
 * compared with nest_eval. Every buffer of the machine code ends at an inaccessible page. */
#ifndef URZA_COMPILER_CODEGEN_CODEGEN_KIT_PRIV_H
#define URZA_COMPILER_CODEGEN_CODEGEN_KIT_PRIV_H

#include "base/arena.h"
#include "compiler/loop/loop.h"

#define KIT_BUFFERS 8
struct kit_buffer {
    enum dtype dtype;
    bool out;
    int64_t per_s, more; /* elements: per_s * S + more */
    const void *data;    /* initial content, at least that many elements; NULL: bytes of 0xcc */
};

struct kit {
    struct arena arena;
    struct dim_table dims;
    struct nest nest;
    expr_id S; /* a named dim, 0 … 2^20 */
    struct kit_buffer buffers[KIT_BUFFERS];
    uint32_t count;
};

void kit_init(struct kit *kit);
void kit_release(struct kit *kit);
/* Declares a buffer, outputs first; returns the nest's buffer. */
uint32_t kit_buffer(struct kit *kit, enum dtype dtype, bool out, int64_t per_s, int64_t more,
                    const void *data);
/* Adds a loop over *out_var to parent (NULL: to the nest's body); lanes 0: serial. */
struct stmt *kit_loop(struct kit *kit, struct stmt *parent, expr_id extent, uint32_t lanes,
                      bool independent, expr_id *out_var);

/* Compiles for each target and compares every written element with nest_eval, for each S given.
 * Floats must agree in all bits, NaN with NaN, or within a tolerance: |a - b| ≤ tolerance * (1 +
 * |b|). pieces: the number of calls that share the parallel range [0, extent). Fails the test with
 * target, S and element. */
struct kit_check {
    const int64_t *s;
    uint32_t s_count;
    double tolerance;
    int64_t extent, pieces; /* 0: one call with the range [0, 1) */
    size_t scratch_bytes;
};
void kit_check(struct kit *kit, const char *what, const struct kit_check *check);

#endif
