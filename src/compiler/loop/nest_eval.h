/* Runs a nest statement by statement, one scalar at a time: for tests, and for who looks for the
 * place where a compilation goes wrong (debug/). Slow.
 *
 * It gives every expression the meaning that exprs.def states and runs every kind of loop in order
 * from 0, a parallel one over its whole extent; so it judges lowering, schedule steps and generated
 * code, with none of which it shares anything but the nest. Loops that are marked vector or jam
 * give what the unmarked ones give, bit for bit; generated code may differ from that where it
 * merges the lanes of a sum. */
#ifndef URZA_COMPILER_LOOP_NEST_EVAL_H
#define URZA_COMPILER_LOOP_NEST_EVAL_H

#include "compiler/loop/loop.h"

/* arguments: memory of the ROLE_OUT and ROLE_IN buffers, in order, in their dtypes' own layout; it
 * must hold as many elements as the buffer says. Scratch starts as zeros. dims: values of the named
 * dims by index. fused: FMA rounds once. Any load or store outside its buffer fails with ERR_BUG
 * and names buffer and index. What exprs.def leaves open (a quotient of a negative index, a shift
 * past the width) gives some value. */
bool nest_eval(const struct nest *nest, void *const *arguments, const int64_t *dims, bool fused,
               struct error *err);

/* One operation on values as the evaluator holds them: floats as the double that equals them,
 * integers and bool as int64. from: dtype of the first operand. */
union nest_value {
    double f;
    int64_t i;
};
union nest_value nest_eval_operation(enum expr_op op, enum dtype from, enum dtype to,
                                     const union nest_value v[3], bool fused);
union nest_value nest_eval_combine(enum combine combine, enum dtype dtype, union nest_value old,
                                   union nest_value v);
/* One element of memory; narrow floats widen and round by graph/dtype.h. */
union nest_value nest_eval_load(enum dtype dtype, const void *data, int64_t index);
void nest_eval_store(enum dtype dtype, void *data, int64_t index, union nest_value v);

#endif
