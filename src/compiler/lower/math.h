/* Elementary functions as expressions: polynomials over add, mul, fma, bit operations and selects,
 * so that every target runs them without a library call. Special values (NaN, ±inf, ±0, domain
 * errors) are as in C99. Each bound holds with FMA and without; below the least normal number it is
 * in units of the least subnormal one.
 *
 * f32: the ulp column of graph/prims.def, proven by running all 2^32 inputs of the unary functions
 * (math_test --exhaustive). f64, in ULP, checked on samples (math_test.c holds the same numbers):
 *     exp, log, pow               1
 *     exp2, log1p, rsqrt          1.5
 *     expm1, log2, atan, erf      2
 *     sin, cos, tanh              3
 *     tan, erfc                   4
 *
 * The bounds of sin, cos and tan hold for every finite x. Past 2^29, f64 arguments are reduced by
 * other code, one element at a time, which costs as much as tens of smaller arguments. */
#ifndef URZA_COMPILER_LOWER_MATH_H
#define URZA_COMPILER_LOWER_MATH_H

#include "compiler/loop/loop.h"
#include "graph/graph.h"

/* prim: a unary float prim (EXP … ERFC, RSQRT); x: f32 or f64; the result has x's dtype. */
expr_id math_unary(struct nest *nest, enum prim prim, expr_id x);
/* PRIM_POW; x and y have one dtype, f32 or f64. */
expr_id math_pow(struct nest *nest, expr_id x, expr_id y);

#endif
