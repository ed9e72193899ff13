/* Where a float prim on exact operands rounds nothing.
 *
 * add, sub, mul, div and sqrt round correctly (their ulp in prims.def is 1/2). So where the result
 * is a number as it stands, correct native code gives just that, and its bound is 0: sums of a few
 * whole numbers, anything times 0, x + 0. Ties between such results are decided then. */
#ifndef URZA_GRAPH_INTERP_EXACT_PRIV_H
#define URZA_GRAPH_INTERP_EXACT_PRIV_H

#include "graph/interp_priv.h"

static URZA_ALWAYS_INLINE bool is_f32(double x)
{
    return (double)(float)x == x;
}

/* Whether float64 gives a·b as it is, for finite a, b and product: 24 digits each are enough. */
static URZA_ALWAYS_INLINE bool is_exact_product(double a, double b)
{
    return (is_f32(a) & is_f32(b)) | (a == 0) | (b == 0);
}

/* Whether the finite result y of a prim on exact operands is what the prim means, without rounding,
 * and a number of what it is computed in. What rounds correctly then gives just that. False for
 * prims that do not, and where it is not known. b: that of unary prims is anything. */
static URZA_ALWAYS_INLINE bool rounds_nothing(enum prim prim, const struct rounding *r, double a,
                                              double b, double y)
{
    double rest = y - a, other = prim == PRIM_SUB ? -b : b;
    bool exact = false;
    if (prim == PRIM_ADD || prim == PRIM_SUB) /* Knuth's two-sum */
        exact = (a - (y - rest)) + (other - rest) == 0;
    else if (prim == PRIM_MUL)
        exact = is_exact_product(a, b);
    else if (prim == PRIM_DIV)
        exact = is_exact_product(y, b) & (y * b == a);
    else if (prim == PRIM_SQRT)
        exact = is_f32(y) & (y * y == a);
    return exact & (fabs(y) <= r->max) & (!r->single | is_f32(y));
}

#endif
