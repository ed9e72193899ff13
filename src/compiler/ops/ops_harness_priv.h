/* For tests: runs one call of an op, written as an example, on random operands in the
 * interpreter. */
#ifndef URZA_COMPILER_OPS_OPS_HARNESS_PRIV_H
#define URZA_COMPILER_OPS_OPS_HARNESS_PRIV_H

#include "base/arena.h"
#include "compiler/ops/ops.h"
#include "graph/interp.h"

struct op_run {
    struct arena arena;
    struct op_example example;
    struct interp_tensor in[LIMIT_OPERANDS]; /* in the order of the text */
    struct interp_tensor out[OP_MAX_OUTPUTS];
};

/* text: one example in the notation of struct op_row, with constant dims. Floats are f64, in which
 * the interpreter's reference mode computes. Fails the test when the op cannot be run. */
void op_run(struct op_run *run, const char *op, const char *text);
void op_run_release(struct op_run *run);

/* The element at an index with one number per dim; 0 when the index is outside. Integers and bool
 * are converted. */
double op_at_index(const struct interp_tensor *tensor, const int64_t *index);
double op_at_flat(const struct interp_tensor *tensor, int64_t flat);
/* Fails the test unless |a - b| ≤ 1e-9 (1 + |b|), or both are NaN. */
void op_expect_near(const char *what, double a, double b);
void op_expect_shape(const struct interp_tensor *tensor, uint32_t rank, const int64_t *shape);
/* Advances the index in row-major order; false at the end. */
bool op_next_index(int64_t *index, uint32_t rank, const int64_t *shape);

#define GET(tensor, ...) op_at_index(&(tensor), (const int64_t[]){__VA_ARGS__})

#endif
