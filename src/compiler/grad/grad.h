/* Gradients: reverse mode, as more of the same graph.
 *
 * grad_add takes values of a graph and their cotangents, and adds the nodes that compute the
 * cotangents of other values: the product of the transposed Jacobian and a vector. Each prim has
 * one rule (grads.def); nothing behind this room knows what is a gradient and what is not. Where a
 * prim has no derivative, its rule says which subgradient it takes; these are PyTorch's where
 * PyTorch has the operation. What hangs on integers, comparisons or roundings (floor, sign …) is a
 * constant. Cotangents have the dtype and shape of their values.
 *
 * A cotangent of 0 times an infinite slope is NaN, as in PyTorch, with one exception: in what a
 * select reads, directly or through prims that work element by element, 0 stays 0. So a formula
 * that a select keeps from its poles, select(x > 0, log(x), 0), has a gradient everywhere; in
 * PyTorch it is NaN at 0.
 *
 * A loop is differentiated as a loop that runs its trips from the last to the first. It needs the
 * states as they were at the beginning of each trip, which a loop does not keep: grad_prepare makes
 * a graph whose loops keep them as rows. */
#ifndef URZA_COMPILER_GRAD_GRAD_H
#define URZA_COMPILER_GRAD_GRAD_H

#include "graph/graph.h"

struct builder;

/* From grads.def: whether operands of a prim can get something, and which subgradient the rule
 * takes
 * ("" where there is nothing to say). */
bool grad_differentiable(enum prim prim);
const char *grad_doc(enum prim prim);

/* The same graph, whose loops keep what gradients need; *to is initialised in the arena. Inputs,
 * params and outputs are those of *from, in their order. */
bool grad_prepare(struct graph *to, struct arena *arena, const struct graph *from,
                  struct error *err);

struct grad_request {
    const value_id *of, *cotangents; /* of: floats; a value may be there twice */
    uint32_t of_count;
    const value_id *wrt; /* floats, any values of the graph */
    uint32_t wrt_count;
};
/* Adds the cotangents of wrt to the builder's graph, one for each; zeros where nothing depends on
 * it. A wrt that other wrt depend on is part of their paths. Loops must be prepared. ERR_BLUEPRINT
 * where a prim or loop on the way has no gradient, with what it is; ERR_LIMIT. Scratch memory is
 * the arena's. */
bool grad_add(struct builder *b, const struct grad_request *request, struct arena *arena,
              value_id *out);

/* The block, prepared, with its params as inputs behind its inputs; without updates. *to is
 * initialised in the arena. */
bool grad_block_graph(struct graph *to, struct arena *arena, const struct graph *from,
                      struct error *err);

/* A block with its backward pass, as one graph, which training runs in two parts.
 *
 * Inputs: those of the block; its params, as inputs; and for each float output NAME that hangs on
 * what is differentiated, next values of params apart, an input "cotangent.NAME" of its shape.
 * Outputs: those of the block, and "grad.NAME" for each input and param that is differentiated. No
 * params: what changes from step to step is read where it lies. */
struct grad_training {
    const char *const *wrt; /* names of inputs and params; NULL: all that are floats */
    uint32_t wrt_count;
    uint32_t updates; /* how many of the last outputs are next values of params, which have no
                         cotangents */
};
/* *to is initialised in the arena. ERR_BLUEPRINT where a name is unknown or no float, no output
 * hangs on anything that is differentiated, a name is taken, or as grad_add. */
bool grad_training_graph(struct graph *to, struct arena *arena, const struct graph *from,
                         const struct grad_training *training, struct error *err);

#endif
