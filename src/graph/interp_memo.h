/* What was computed once is found again: for graphs that differ in little and read the same
 * sources, as a graph before and after a pass.
 *
 * A node is known by its prim, attributes, shape and the numbers of its operands; values get one
 * number when they have the same elements with the same bounds, however they came to have them. So
 * a weight that one graph packs and unpacks again is the weight, and what reads it is the same. */
#ifndef URZA_GRAPH_INTERP_MEMO_H
#define URZA_GRAPH_INTERP_MEMO_H

#include <stddef.h>

#include "graph/interp.h"

struct interp_memo;

/* Keeps values of up to `bytes` of cells and bounds in the arena; what does not fit is computed
 * anew. For runs with the same options but `constants`, on one thread at a time. Sources are known
 * by their memory: while the memo lives they stay there, unchanged. Results of a run are in the
 * memo's arena, not to be written to. */
struct interp_memo *interp_memo_new(struct arena *arena, size_t bytes);
/* Nodes that were found and not run, so far. */
uint32_t interp_memo_found(const struct interp_memo *memo);

#endif
