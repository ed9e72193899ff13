/* Nests whose outermost loop divides their arguments into slices (package/plan.h: slices). */
#ifndef URZA_COMPILER_LOOP_SLICES_H
#define URZA_COMPILER_LOOP_SLICES_H

#include "compiler/loop/loop.h"

/* The loop's variable where a nest is one independent loop; else VAR_NONE. */
uint32_t nest_outermost(const struct nest *nest);

/* Whether each iteration of that loop loads and stores nothing of an argument but a slice of its
 * own. shares: by argument, the elements of a slice, without loop variables; EXPR_NONE: it has no
 * slices. */
void nest_find_slices(struct nest *nest, const expr_id *shares, bool *out_sliced);

#endif
