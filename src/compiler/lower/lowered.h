/* For tests: an example of an op, optimised, cut and lowered, with random inputs and memory for
 * every stored value. */
#ifndef URZA_COMPILER_LOWER_LOWERED_H
#define URZA_COMPILER_LOWER_LOWERED_H

#include "base/arena.h"
#include "compiler/lower/lower.h"
#include "compiler/ops/ops.h"
#include "graph/interp.h"

struct error;
struct target;

struct lowered_kernel {
    const struct group *group;
    struct nest nest;
};

struct lowered {
    struct arena arena;
    struct graph graph; /* after the passes */
    struct op_example example;
    struct interp_tensor expected[OP_MAX_OUTPUTS]; /* results of the graph before the passes, in
                                                      REFERENCE mode */
    struct partition partition;
    struct lowered_kernel *kernels; /* in the order in which they run */
    uint32_t kernel_count;
    void **memory; /* by value of graph; NULL for inlined values */
    size_t *bytes; /* by value */
};

/* Initialises *out in any case; release it with lowered_release. A stage that fails fills err, with
 * the stage as place. Dims of the example that are letters take sizes up to max_dim. */
bool lowered_build(struct lowered *out, const struct op_row *row,
                   const struct op_example_request *request, const struct target *target,
                   struct error *err);
void lowered_release(struct lowered *lowered);

/* Lowers one kernel again, into a new nest of the same text. */
bool lowered_again(struct lowered *lowered, uint32_t kernel, struct nest *out, struct error *err);
/* Memory of a kernel's arguments. */
void lowered_arguments(const struct lowered *lowered, uint32_t kernel, void **out);
/* Runs all kernels in nest_eval, with fused multiply-add. */
bool lowered_evaluate(struct lowered *lowered, struct error *err);
/* Compares the outputs in memory with the reference; NULL when all are within bounds, else a
 * message. */
const char *lowered_check(struct lowered *lowered);

#endif
