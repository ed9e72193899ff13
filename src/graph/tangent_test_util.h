/* Tangents beside differences: for the tests of tangent_run, and of whatever builds graphs.
 *
 * f(x + s·v) is computed at s = ±h, ±h/2 and ±5h/16. With D(s) = (f(x + s·v) - f(x - s·v)) / 2s,
 * the distance of D(h/2) from the derivative is a third of D(h) - D(h/2) where f is smooth and h
 * small. Where a kink or a jump lies between the points, D(h) and D(h/2) differ by about as much as
 * it moves them; where there are many jumps, as of rem by a small number, these two may agree by
 * chance, but not with D(5h/16). A kink at x itself moves none of them, but the second difference,
 * which shrinks to a quarter with half the step where f is smooth: what its two quotients by h lack
 * to that is the kink. So the tolerance of an element is
 *
 *     2·|D(h) - D(h/2)| + 2·|D(5h/16) - D(h/2)| + 2·|kink| + the bounds of f's float64 results
 *     (REFERENCE, wide) · 8/h
 *
 * and where it is greater than SHARP · max(1, |tangent|) an element is not compared. Tests say how
 * many must be. A bitcast to an integer is a number that moves with its operand, which has no
 * derivative all the same: graphs that are compared have none. Where an output has an infinity or a
 * NaN, tangents that are NaN are not compared: what reads infinities may have any slope. */
#ifndef URZA_GRAPH_TANGENT_TEST_UTIL_H
#define URZA_GRAPH_TANGENT_TEST_UTIL_H

#include "graph/tangent.h"

#define TANGENT_STEP 0x1p-13 /* h */
#define TANGENT_SHARP 1e-5

struct tangent_tally {
    int64_t elements; /* floats of which f is finite at all points */
    int64_t sharp;    /* of these, those that were compared */
    int64_t moving;   /* of these, those whose tangent is not 0 */
};

/* Along one drawn direction; the floats of the point are rounded to f32, so that steps are exact.
 * False with ERR_VERIFY where a tangent is wrong; where a value is not that of interp_run in
 * NATIVE, if the graph has no floats but f64; or as the runs fail. Adds to the tally of each
 * output. */
bool tangent_compare(const struct graph *graph, const struct interp_arguments *point, uint64_t seed,
                     struct arena *arena, struct tangent_tally *tally, struct error *err);

#endif
