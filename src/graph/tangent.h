/* Forward mode: the interpreter in float64 with a tangent beside each value, the derivative along
 * one direction of the arguments. It is the judge of gradients: what a backward graph computes is
 * right when <cotangent, J v> = <J^T cotangent, v> for drawn v, and this gives J v. Each prim's
 * tangent is written here from the prim's definition; nothing is shared with compiler/grad.
 *
 * Floats are computed in float64 whatever their dtype, without rounding to it: the values are those
 * of the mode NATIVE on the same graph with f64 in the place of every float dtype. Constants,
 * literals and arguments are numbers as they stand; a bitcast sees its operand rounded to its
 * dtype. Values of integer dtypes and bool have no tangent, and what is computed from them has
 * tangent 0, as have floor, ceil, round, trunc, sign and the results of bitcast and detach. Where a
 * prim has no derivative, its tangent is the one that gives a cotangent by these rules, which are
 * PyTorch's where PyTorch has the operation:
 *
 *   abs at 0                        0
 *   min, max (two operands) equal   half of each; 0 where one is a constant, as in relu, if it is
 *                                   not detached
 *   reduce_max, reduce_min, ties    the mean over all elements that are equal to the result
 *   window_max, ties                the first of them in row-major order of the window
 *   cum_max, ties                   the last of them in the order in which it runs; with exclusive,
 *                                   the first result (-inf) has tangent 0
 *   scatter set                     an element has the tangent of the update that is written last
 *   scatter max, min, ties          the mean over all that are equal to the result, base included
 *   pow(a, b)                       in a: b*a^(b-1), 0 where b is 0;
 *                                   in b: a^b*ln(a), 0 where a is 0 and b >= 0
 *   rem(a, b)                       in a: 1; in b: -floor(a/b)
 *   select                          that of the operand that is taken, whatever the other is
 *   cast                            float to float: that of the operand; else 0
 *
 * Products of reductions (reduce_prod, cum_prod) are differentiated as products of the others, so
 * zeros are right. A tangent of exactly 0 stays 0 in products with infinities and NaN: what does
 * not depend on the direction has no tangent, whatever its slope. What a tangent is beside a value
 * that is NaN is not said.
 *
 * Thread-safe on distinct arenas. */
#ifndef URZA_GRAPH_TANGENT_H
#define URZA_GRAPH_TANGENT_H

#include "graph/interp.h"

struct tangent_arguments {
    struct interp_arguments point;
    /* For each source as many numbers as it has elements, or NULL for 0; borrowed. Those of
     * integers and bool do not count. */
    const double *const *direction;
};

struct tangent_tensor {
    struct interp_tensor value; /* without bounds */
    double *tangent;            /* for each element; NULL: no floats */
};

/* Runs the graph at a point along a direction; out: one tensor per graph output, in the arena.
 * Loops carry tangents of their states, and make as many trips as the values say. Of options,
 * memory_limit (of values and tangents), threads, most_trips, is_stopped and user count. Fails as
 * interp_run does. */
bool tangent_run(const struct graph *graph, const struct interp_options *options,
                 const struct tangent_arguments *arguments, struct arena *arena,
                 struct tangent_tensor *out, struct error *err);

#endif
