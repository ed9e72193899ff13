/* What the driver of the interpreter asks of a memo. */
#ifndef URZA_GRAPH_INTERP_MEMO_PRIV_H
#define URZA_GRAPH_INTERP_MEMO_PRIV_H

#include "base/arena.h"
#include "graph/interp_memo.h"
#include "graph/interp_priv.h"

/* Memory that no value has any more: for count cells or bounds. */
struct buffer {
    void *data;
    int64_t count;
};
struct pool {
    VEC(struct buffer) buffers;
};

struct pool *memo_pool(struct interp_memo *memo);
struct arena *memo_arena(const struct interp_memo *memo);
/* The number of a source; of equal ones the same. */
uint32_t memo_source(struct interp_memo *memo, const struct interp_tensor *source);
/* Whether the node of op, whose operands have these numbers, has been run. Then *out_number is its
 * result's number, and *result its cells and bounds. op->out has its shape. */
bool memo_find(struct interp_memo *memo, const struct op *op, const uint32_t *operands,
               uint32_t *out_number, struct interp_tensor *result);
/* Notes what the node gave, and its number. LEFT: *result is the caller's as before. KEPT: it is
 * the memo's, not to be written to. KNOWN: so is what *result now is, an equal one; its own memory
 * is the caller's. */
enum memo_kept { MEMO_LEFT = 1, MEMO_KEPT, MEMO_KNOWN };
enum memo_kept memo_keep(struct interp_memo *memo, const struct op *op, const uint32_t *operands,
                         uint32_t *out_number, struct interp_tensor *result);

#endif
