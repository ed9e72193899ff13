/* An interpreter for nests, one scalar at a time: for tests, and for the search for the stage at
 * which a compilation goes wrong (debug/). Slow.
 *
 * It gives every expression the meaning that exprs.def states and runs every loop, whatever its
 * kind, from 0 to its whole extent. It shares nothing but the nest with lowering, schedule steps
 * and code generation, so it can judge them. A loop marked vector or jam gives the same bits as an
 * unmarked one; generated code may differ from that where it merges the lanes of a sum. */
#ifndef URZA_COMPILER_LOOP_NEST_EVAL_H
#define URZA_COMPILER_LOOP_NEST_EVAL_H

#include "compiler/loop/loop.h"

/* arguments: memory of the ROLE_OUT and ROLE_IN buffers, in order, in native layout, with as many
 * elements as each buffer says. Scratch memory starts as zeros. dims: values of the named dims by
 * index. fused: FMA rounds once. A load or store outside of its buffer fails with ERR_BUG and names
 * buffer and index. Where exprs.def leaves a result undefined (division of a negative index, a
 * shift past the width), it is some value. */
bool nest_eval(const struct nest *nest, void *const *arguments, const int64_t *dims, bool fused,
               struct error *err);

/* One operation. A float is held as the double that equals it, integers and bool as int64. from:
 * the dtype of the first operand. */
union nest_value {
    double f;
    int64_t i;
};
union nest_value nest_eval_operation(enum expr_op op, enum dtype from, enum dtype to,
                                     const union nest_value v[3], bool fused);
union nest_value nest_eval_combine(enum combine combine, enum dtype dtype, union nest_value old,
                                   union nest_value v);
/* One element of memory; f16 and bf16 are converted as in graph/dtype.h. */
union nest_value nest_eval_load(enum dtype dtype, const void *data, int64_t index);
void nest_eval_store(enum dtype dtype, void *data, int64_t index, union nest_value v);

#endif
