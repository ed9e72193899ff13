/* From a kernel group to a naive but correct loop nest.
 *
 * The root's value at an index is generated on demand: elementwise prims become operations, views
 * become index arithmetic, stored values become loads. A reduction becomes a local and a loop,
 * placed in the outermost loop body where its index is known. So softmax over rows becomes loops
 * inside the loop over rows, without any rule of fusion. */
#ifndef URZA_COMPILER_LOWER_LOWER_H
#define URZA_COMPILER_LOWER_LOWER_H

#include "compiler/loop/loop.h"
#include "compiler/opt/opt.h"

/* The nest of one group. Its arguments are the root, then the stored values and sources that it
 * reads. The graph's nodes do not change; its table of dims may grow, and the nest's extents refer
 * to it. ERR_LIMIT. */
struct lower_task {
    struct graph *graph;
    const struct partition *partition;
    const struct group *group;
    struct arena *arena; /* of the nest */
};
bool lower_group(const struct lower_task *task, struct nest *out, struct error *err);

/* A lowered kernel with two counts of scalar operations, as dims: those that the graph requires,
 * and those that the kernel does, where what it computes several times counts several times. A
 * value that several kernels compute is required of the first of them only. */
struct lowered_group {
    struct nest *nest;
    dim_id asked, done; /* DIM_NONE: not representable */
};

/* Cuts a graph into groups and lowers them all; *out: by group (arena). For all legal sizes, no
 * kernel does more than 5/4 of the operations required of it: a value whose recomputation would
 * exceed that is stored instead (cut.c). Adds dims to the graph's table. ERR_LIMIT. */
bool lower_graph(struct graph *graph, struct arena *arena, struct partition *out_partition,
                 struct lowered_group **out, struct error *err);

#endif
