/* From a kernel group to a naive loop nest that is right.
 *
 * The root's value at an index is generated on demand: elementwise prims become operations, views
 * become index arithmetic, stored values become loads. A reduction becomes a local and a loop,
 * placed in the outermost loop body where its index is known; so softmax over rows becomes two
 * loops inside the loop over rows, and nothing is said about fusion anywhere. */
#ifndef URZA_COMPILER_LOWER_LOWER_H
#define URZA_COMPILER_LOWER_LOWER_H

#include "compiler/loop/loop.h"
#include "compiler/opt/opt.h"

/* The nest of one group. Its buffers are the root, then the stored values and sources it reads;
 * out_args[i] is the value whose memory buffer i of the kernel's arguments is (arena). The graph's
 * nodes are left alone; its table of dims may grow, and the nest's extents are of that table.
 * ERR_LIMIT. */
bool lower_group(struct graph *graph, const struct partition *partition, const struct group *group,
                 struct arena *arena, struct nest *out, value_id **out_args,
                 uint32_t *out_arg_count, struct error *err);

#endif
