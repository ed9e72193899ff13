/* An evaluator of loop expressions for tests: on floats and integers of their width, a block of
 * values at a time, with exactly the meaning of exprs.def. */
#ifndef URZA_COMPILER_LOWER_MATH_EVAL_H
#define URZA_COMPILER_LOWER_MATH_EVAL_H

#include "compiler/loop/loop.h"

#define BLOCK 512u
#define MAX_STEPS 1024u
#define MAX_REGISTERS 128u

union value_block {
    float f32[BLOCK];
    double f64[BLOCK];
    int32_t i32[BLOCK];
    int64_t i64[BLOCK];
    uint8_t b[BLOCK];
};

struct step {
    uint8_t op, dtype, from; /* from: dtype of the first operand */
    uint32_t out, in[3];     /* registers */
    struct expr expr;
};

/* An expression as a list of operations on registers; read-only once built. */
struct program {
    uint32_t count, result, registers;
    struct step steps[MAX_STEPS];
};

/* Local 0 is x, local 1 is y. Asserts that there are at most MAX_STEPS operations. */
void program_init(struct program *p, const struct nest *nest, expr_id root);
/* registers: MAX_REGISTERS of them. fused: FMA rounds once, else twice. Returns one of the
 * registers. */
const union value_block *program_run(const struct program *p, union value_block *registers,
                                     const union value_block *x, const union value_block *y,
                                     bool fused);

#endif
