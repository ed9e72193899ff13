/* For tests of gradients: cases that are drawn or written down, each judged by the identity of
 * grad_test_util.h. All return false with the error, whose place names the case. */
#ifndef URZA_COMPILER_GRAD_CASES_TEST_UTIL_H
#define URZA_COMPILER_GRAD_CASES_TEST_UTIL_H

#include "graph/graph.h"

struct bed;

/* A prim alone, at a drawn point, with drawn shapes, attributes and dtypes. Adds to *moving where a
 * derivative that is not 0 was compared. */
bool grad_case_prim(struct bed *bed, enum prim prim, uint64_t seed, uint32_t *moving);
/* A program of up to VALUES_MOST values. */
bool grad_case_program(struct bed *bed, uint64_t seed, uint32_t *moving);
/* A recurrence. */
bool grad_case_loop(struct bed *bed, uint64_t seed, uint32_t *moving);
/* A prim over named dims, at several of their values. */
bool grad_case_named(struct bed *bed, uint64_t seed, uint32_t *moving);
/* A formula behind a select, at points where it has poles. */
bool grad_case_guard(struct bed *bed, uint64_t seed, uint32_t *moving);
/* Points without a derivative, and others at which rules are easily wrong: gradients as numbers,
 * and the identity. NULL: there is no such case. */
const char *grad_case_tie_name(uint32_t index);
bool grad_case_tie(struct bed *bed, uint32_t index);

#endif
