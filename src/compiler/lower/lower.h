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

/* The nest of one group. Its arguments are the root, then the stored values and sources it reads.
 * The graph's nodes are left alone; its table of dims may grow, and the nest's extents are of that
 * table. ERR_LIMIT. */
struct lower_task {
    struct graph *graph;
    const struct partition *partition;
    const struct group *group;
    struct arena *arena; /* of the nest */
};
bool lower_group(const struct lower_task *task, struct nest *out, struct error *err);

/* A kernel as it was lowered, and its operations as dims: what the graph asks of it, and what it
 * does, in which what it computes several times counts several times. A value that several
 * kernels compute is asked of the first of them. */
struct lowered_group {
    struct nest *nest;
    dim_id asked, done; /* DIM_NONE: cannot be expressed */
};

/* Cuts a graph into groups and lowers them all; *out: by group (arena). For all legal sizes, no
 * kernel does more than 5/4 of what is asked of it: what would be computed again for more is
 * stored (cut.c). Adds dims to the graph's table. ERR_LIMIT. */
bool lower_graph(struct graph *graph, struct arena *arena, struct partition *out_partition,
                 struct lowered_group **out, struct error *err);

#endif
