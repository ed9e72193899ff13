/* Copies of a graph side by side, each with parameters of its own, as one graph: every value that
 * an input or a parameter decides gets a dim of `count` at its front, one copy along each index. So
 * `count` products become one product with a batch dim, and so on for all prims.
 *
 * Float inputs and outputs have the copies' values one behind another along a dim: x [B, 3] becomes
 * x [B, 6], of which the first copy reads [:, :3]. Parameters get the dim at their front. Other
 * inputs are the same for all copies; random numbers are each copy's own. */
#ifndef URZA_GRAPH_STACK_H
#define URZA_GRAPH_STACK_H

#include "graph/graph.h"

/* *to is initialised in the arena. axis: the dim of float inputs and outputs along which the copies
 * lie; a constant one. ERR_UNSUPPORTED: a loop, or an index that differs between copies; ERR_SHAPE:
 * a float input or an output has no such dim; ERR_LIMIT. */
bool graph_stack(struct graph *to, struct arena *arena, const struct graph *from, int64_t count,
                 uint32_t axis, struct error *err);

#endif
