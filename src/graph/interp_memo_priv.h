/* The memo's interface to the interpreter's driver. */
#ifndef URZA_GRAPH_INTERP_MEMO_PRIV_H
#define URZA_GRAPH_INTERP_MEMO_PRIV_H

#include "base/arena.h"
#include "graph/interp_memo.h"
#include "graph/interp_priv.h"

/* A free buffer with room for count cells or bounds. */
struct buffer {
    void *data;
    int64_t count;
};
struct pool {
    VEC(struct buffer) buffers;
};

struct pool *memo_pool(struct interp_memo *memo);
struct arena *memo_arena(const struct interp_memo *memo);
/* Of a source whose cells were never loaded: no number is this large. */
#define MEMO_UNKNOWN UINT32_MAX
/* The number of a source that was loaded by another run; MEMO_UNKNOWN: by none. */
uint32_t memo_lazy(const struct interp_memo *memo, const struct interp_lazy *lazy);
/* The number of a source; equal sources have the same number. Of a lazy one only the number is
 * kept, and not the cells. */
uint32_t memo_source(struct interp_memo *memo, const struct interp_tensor *source);
/* Whether the node of op, with these operand numbers, has been run; *out_number: its result's
 * number. op->out must have its shape. */
bool memo_number(const struct interp_memo *memo, const struct op *op, const uint32_t *operands,
                 uint32_t *out_number);
/* The tensor of a number; false if its elements were not kept. */
bool memo_elements(const struct interp_memo *memo, uint32_t number, struct interp_tensor *out);
/* Both: whether the result of a node is there. */
bool memo_find(struct interp_memo *memo, const struct op *op, const uint32_t *operands,
               uint32_t *out_number, struct interp_tensor *result);
/* A result of a run, whose memory stays as long as the memo: it is kept without counting. */
void memo_result(struct interp_memo *memo, uint32_t number, const struct interp_tensor *result);
void memo_set_found(struct interp_memo *memo, uint32_t count);
/* Records the result of a node and its number. LEFT: *result stays the caller's. KEPT: *result now
 * belongs to the memo and must not be written to. KNOWN: *result was replaced by an equal tensor of
 * the memo, not to be written to; the original memory is still the caller's. */
enum memo_kept { MEMO_LEFT = 1, MEMO_KEPT, MEMO_KNOWN };
enum memo_kept memo_keep(struct interp_memo *memo, const struct op *op, const uint32_t *operands,
                         uint32_t *out_number, struct interp_tensor *result);

#endif
