/* Grafts: a seed, which is any block that keeps the type of its input, blended into the value of a
 * host network at that place.
 *
 * The block of a graft has the seed's inputs, then "h", the host's value, then "alpha", f32 (f64
 * with values in f64), one number for each row of h. The host gives h as the seed's input, too. It
 * stands twice so that its gradient comes in two parts: "grad.h" through the blend, and that of the
 * seed's input through the seed, which a host leaves out where the seed is isolated. With s what
 * the seed gives for its input x, the output is
 *
 *   residual  h + alpha·s
 *   lerp      h + alpha·(s − h), computed as s − (1 − alpha)·(s − h) from alpha = ½ on, so that at
 *             alpha = 1 it is s
 *   multiply  h·(1 + alpha·tanh(s − h))
 *   gate      h + alpha·g·(s − h), with g = sigmoid(gate.weight · features of x + gate.bias), a
 *             number for each position. Features are dim 1 of four dims or more, else the last.
 * Both are params of the graft, and begin as zeros.
 *
 * A row whose alpha is 0 is h, bit for bit, whatever the seed gives; NaN does not cross. f16 and
 * bf16 are blended in f32. */
#ifndef URZA_COMPILER_GRAFT_GRAFT_H
#define URZA_COMPILER_GRAFT_GRAFT_H

#include "graph/graph.h"
#include "package/graft_spec.h"

/* *to is initialised in the arena; params of the gate are the last ones. spec: blend and chunks are
 * given; the rest is filled. Of more chunks than one, the features of h are so many seeds' features
 * one behind another, and params but the gate's have a dim for the chunks at their front
 * (graph/stack.h). ERR_BLUEPRINT: the block cannot be a seed, or a name is taken; ERR_UNSUPPORTED:
 * it cannot be stacked. */
bool graft_graph(struct graph *to, struct arena *arena, const struct graph *from,
                 struct graft_spec *spec, struct error *err);

#endif
