/* Examples of composite operations as cases: what their graphs lack, and what their inputs hold. */
#ifndef URZA_TESTS_SUPPORT_OP_CASE_H
#define URZA_TESTS_SUPPORT_OP_CASE_H

#include "compiler/ops/ops.h"
#include "verify/sample.h"

/* Where no input tells the value of a named dim, one more input does. */
bool op_case_bind(struct graph *graph, struct error *err);
/* Legal elements of input `index`; those of an input that binds a dim do not count and stay. */
void op_case_fill(const struct op_example *example, uint32_t index, const struct tensor *tensor,
                  uint64_t seed);
bool op_case_has(const struct op_example *example, enum dtype dtype); /* an operand of this dtype */

#endif
