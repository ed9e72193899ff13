/* Finds float results that are exact because the prim rounds nothing on these operands.
 *
 * add, sub, mul, div and sqrt are rounded correctly (their ulp in prims.def is 1/2). So where the
 * exact result is representable, correct native code returns it, and its bound is 0: sums of a few
 * whole numbers, anything times 0, x + 0. Comparisons of such results are therefore determined,
 * ties included. */
#ifndef URZA_GRAPH_INTERP_EXACT_PRIV_H
#define URZA_GRAPH_INTERP_EXACT_PRIV_H

#include "graph/interp_priv.h"

static URZA_ALWAYS_INLINE bool is_f32(double x)
{
    return (double)(float)x == x;
}

/* Whether the float64 product of a and b is exact, for finite a, b and product: factors of 24
 * digits each suffice. */
static URZA_ALWAYS_INLINE bool is_exact_product(double a, double b)
{
    return (is_f32(a) & is_f32(b)) | (a == 0) | (b == 0);
}

/* Whether y, the finite result of a prim on exact operands, is the exact result, and is
 * representable in the type it is computed in. A correctly rounded prim then returns exactly y.
 * False for prims that are not rounded correctly, and where it is not known. For unary prims b is
 * ignored. */
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
