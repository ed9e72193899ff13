/* Elementary functions as expressions: polynomials over add, mul, fma, bit operations and selects, so that any
 * target runs them and nothing is called. Exact about special values (NaN, ±inf, ±0, domain errors as in C99).
 * Error bounds for f32: the ulp column of graph/prims.def, proven by running all 2^32 inputs (math_test.c
 * --exhaustive); f64: a few ULP, checked on samples. Each bound holds with FMA and without. Results below the
 * smallest normal number may flush to zero. */
#ifndef URZA_COMPILER_LOWER_MATH_H
#define URZA_COMPILER_LOWER_MATH_H

#include "compiler/loop/loop.h"
#include "graph/graph.h"

/* prim: a unary float prim (EXP … ERFC, RSQRT); x: f32 or f64; the result has x's dtype. */
expr_id math_unary(struct nest *nest, enum prim prim, expr_id x);
/* PRIM_POW. */
expr_id math_pow(struct nest *nest, expr_id x, expr_id y);

#endif
