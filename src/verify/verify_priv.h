/* Inside the validator.
 *
 * A package is judged in jobs, each a child process: one for each target (its kernels one by one,
 * then the runtime on the whole), one for the graph passes and the references of the whole, one for
 * the interpreter. What a job finds it writes into memory shared with the driver, as it goes, so
 * that a job that dies leaves what it found before and where it was. */
#ifndef URZA_VERIFY_PRIV_H
#define URZA_VERIFY_PRIV_H

#include "package/package.h"
#include "verify/launch.h"
#include "verify/sample.h"
#include "verify/sizes.h"
#include "verify/verify.h"
#include "verify/walk.h"

struct verification;

/* Elements of all values of a graph that is interpreted as a whole; beyond it some are drawn, where
 * prims allow. Each takes so many bytes. */
#define CELLS_MOST 4e7
#define CELL_BYTES 16.0

/* More of a result, and it has not been checked. */
#define UNCHECKED_MOST 0.01

/* far.c: what four iterations of every distinct launch come to at a size, in operations. INFINITY:
 * they take too much memory, or have no size there. */
double far_cost(const struct plan *plan, const bool *distinct, const int64_t *dims);

/* runtime.c: the package in the runtime. */
struct subject {
    const void *bytes; /* of the package */
    size_t size;
    const struct verify_options *options;
    const char *target; /* or "interpreter" */
};
/* Loads the package for the subject's target; chunks as in urza_load_options. False after failing
 * the outcome; urza_unload otherwise. */
bool subject_load(const struct subject *subject, uint32_t threads, uint32_t chunks,
                  urza_module **out, struct outcome *outcome);
/* One call on dense copies of the inputs must give the expected bits; otherwise `what` differs.
 * Falling back to the interpreter fails too. */
bool subject_call(const struct subject *subject, const struct sample *sample, urza_module *module,
                  void *const *expected, const char *what, struct outcome *outcome);
/* The same with all tensors between protected pages, at several places. */
bool subject_bounds(const struct subject *subject, const struct sample *sample, urza_module *module,
                    void *const *expected, bool heavy, struct outcome *outcome);

/* What the jobs of one verification share with the driver: one mapping, no pointers of children.
 *
 * A target is one job, or two where processors would have nothing to do: the first size with what
 * is judged apart, and the other sizes. */
#define PARTS 2
struct target_result {
    char stage[STAGE_BYTES]; /* what it is doing: of a job that died, what it died of */
    bool done;
    struct size_result sizes[SIZES_MAX];
    uint32_t size_count;
    bool outputs_partial; /* at the size of the whole */
    struct outcome kernels, runtime, threads, bounds;
    struct kernel_result *results; /* by launch */
    uint8_t *outputs;              /* at the size of the whole, one behind the other */
};
struct whole_result {
    char stage[STAGE_BYTES];
    bool done;
    bool referenced; /* reference and plain hold what they should */
    struct outcome passes[PACKAGE_TARGETS], interpreter;
    /* Elements of all outputs, one behind the other; where they are too dear the first of
     * draw_points, so many of each output, at the start of its place. */
    double *reference, *plain;
    int64_t *drawn; /* by output */
    bool is_drawn;
};
struct verification {
    const struct verify_options *options;
    const void *bytes;
    size_t size;
    const struct package_contents *contents;
    struct size whole; /* at which passes and quality are judged */
    double budget;     /* operations of the reference, for one target */
    uint32_t threads;  /* of one job's interpreter */
    struct target_result targets[PACKAGE_TARGETS][PARTS]; /* the first is all of it in the end */
    uint32_t parts;
    struct whole_result result;
};
/* job.c: one part of a target, or all of it. Runs in a child. */
void job_target(struct verification *v, uint32_t target, uint32_t part);
/* quality.c: whether a result may jump where a float operand moves by little; of a cast it hangs on
 * the dtypes. */
bool prim_jumps(enum prim prim);
/* whole.c: the passes, the references for quality, the interpreter's path. Runs in a child. */
void job_whole(struct verification *v);
/* quality.c: the quality of a target's output at the size of the whole: its rms error over that of
 * the plain native interpretation, against float64. False where there is nothing to compare: no
 * float below float64, or no finite element. *out_excess: the largest error over the largest of the
 * plain one's; 0 where rounding steps and comparisons make single elements jump. */
bool whole_quality(const struct verification *v, uint32_t target, uint32_t output,
                   double *out_quality, double *out_limit, double *out_excess);

#endif
