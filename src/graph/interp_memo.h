/* Finds results that were computed before: for runs of graphs that differ little and read the same
 * sources, such as a graph before and after a pass.
 *
 * A node is identified by its prim, attributes, shape and the numbers of its operands. Values with
 * the same elements and bounds share one number, however they were computed. So a weight that is
 * packed and unpacked again has the number of the original weight, and nodes that read it are
 * found.
 *
 * Numbers stay where elements were not kept, and results of runs are always kept. So a graph that
 * computes the same as another one, but for how its params are laid out, is not run again, however
 * large its values are: of such a graph only what depends on params alone is computed. */
#ifndef URZA_GRAPH_INTERP_MEMO_H
#define URZA_GRAPH_INTERP_MEMO_H

#include <stddef.h>

#include "graph/interp.h"

struct interp_memo;

/* Stores values of up to `bytes` of cells and bounds in the arena; values that do not fit are
 * computed again. All runs must have the same options, except `constants`, one thread at a time.
 * Sources are identified by address, so their memory must stay unchanged while the memo lives.
 * Results of a run are in the memo's arena and must not be written to. */
struct interp_memo *interp_memo_new(struct arena *arena, size_t bytes);
/* The number of nodes so far whose results were found instead of computed, or needed no elements as
 * the results of their graph were there. */
uint32_t interp_memo_found(const struct interp_memo *memo);

#endif
