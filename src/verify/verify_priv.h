/* Inside the validator.
 *
 * A package is judged in jobs, each a child process: one for each target (its kernels one by one,
 * then the package in the runtime), one for the graph passes, the references of the whole and the
 * interpreter. A job writes its findings to memory shared with the driver as it goes, so that after
 * its death the driver has its findings so far, and knows what it was doing. */
#ifndef URZA_VERIFY_PRIV_H
#define URZA_VERIFY_PRIV_H

#include "package/package.h"
#include "verify/launch.h"
#include "verify/sample.h"
#include "verify/sizes.h"
#include "verify/verify.h"
#include "verify/walk.h"

struct step_spec;
struct verification;

/* Limit on the elements of all values of a graph that is interpreted as a whole; above it elements
 * are drawn, where the prims allow that. Each takes CELL_BYTES. */
#define CELLS_MOST 4e7
#define CELL_BYTES 16.0

/* A result of which a larger share is undetermined counts as not checked. */
#define UNCHECKED_MOST 0.01

/* far.c: the cost of four iterations of every distinct launch at a size, in operations. INFINITY:
 * they take too much memory, or a dim has no value there. */
double far_cost(const struct plan *plan, const bool *distinct, const int64_t *dims);

/* loops.c: whether the loops of the plan are those of the optimised graph, and whether launches
 * that compute values of a body are the launches of its loop. ERR_VERIFY. */
bool loops_check(const struct target_case *t, struct arena *arena, struct error *err);

/* runtime.c: the package as it is tested in the runtime. */
struct subject {
    const void *bytes; /* of the package */
    size_t size;
    const struct verify_options *options;
    const char *target; /* a target, or "interpreter" */
};
/* Loads the package for the subject's target; chunks as in urza_load_options. False after failing
 * the outcome; otherwise the caller calls urza_unload. */
bool subject_load(const struct subject *subject, uint32_t threads, uint32_t chunks,
                  urza_module **out, struct outcome *outcome);
/* Calls with dense copies of the inputs; the results must have the expected bits, else the outcome
 * names `what`. Falling back to the interpreter is a failure, too. */
bool subject_call(const struct subject *subject, const struct sample *sample, urza_module *module,
                  void *const *expected, const char *what, struct outcome *outcome);
/* As subject_call, with all tensors in fenced memory, at several alignments. */
bool subject_bounds(const struct subject *subject, const struct sample *sample, urza_module *module,
                    void *const *expected, bool heavy, struct outcome *outcome);

/* The memory that the jobs of one verification share with the driver: one mapping, without pointers
 * into memory of children.
 *
 * A target is one job, or two where processors would otherwise be idle: one for the first size and
 * the test arguments, one for the other sizes. */
#define PARTS 2
struct target_result {
    char stage[STAGE_BYTES]; /* what it is doing; after its death also the cause */
    bool done;
    struct size_result sizes[SIZES_MAX];
    uint32_t size_count;
    bool outputs_partial; /* at the size of the whole, only a share of some launch ran */
    struct outcome kernels, runtime, threads, bounds;
    struct kernel_result *results; /* by launch */
    uint8_t *outputs;              /* at the size of the whole, one after the other */
};
struct whole_result {
    char stage[STAGE_BYTES];
    bool done;
    bool referenced; /* reference and plain are filled */
    struct outcome passes[PACKAGE_TARGETS], interpreter, gradients, optimizer;
    /* Elements of all outputs, one output after the other. If they cost too much, only the first
     * elements of draw_points are computed, and are at the start of their output's range. */
    double *reference, *plain;
    int64_t *drawn; /* by output: how many elements there are */
    bool is_drawn;
};
struct verification {
    const struct verify_options *options;
    const void *bytes;
    size_t size;
    const struct package_contents *contents;
    const struct package_contents *block; /* of a training step: the package that it is part of */
    const struct step_spec *spec;         /* of a package of a whole step: what it says of itself */
    struct size whole;                    /* size at which passes and quality are judged */
    double budget;                        /* operations of the reference, for one target */
    uint32_t threads;                     /* threads of a job's interpreter */
    struct target_result targets[PACKAGE_TARGETS][PARTS]; /* the parts are merged into the first */
    uint32_t parts;
    struct whole_result result;
};
/* runtime.c: whether a module reads the param in the package, and has no copy of it. */
bool runtime_borrows(const struct package_param *param);
/* job.c: how many modules of the package a job has loaded at the same time. */
uint32_t job_modules(const struct package_contents *contents);
/* job.c: judges one part of a target, or all of it. Runs in a child. */
void job_target(struct verification *v, uint32_t target, uint32_t part);
/* gradients.c: of a training step, whether its graph computes the block's results and gradients. */
void judge_gradients(struct verification *v);
/* stepping.c: of a package of a whole training step, whether its graph is what it says. */
void judge_step(struct verification *v);
/* quality.c: whether a result may jump when a float operand moves by a little; for casts that
 * depends on the dtypes. */
bool prim_jumps(enum prim prim);
/* quality.c: whether elements of an output may jump, because a comparison or a rounding step
 * decides. */
bool output_jumps(const struct verification *v, uint32_t output);
/* quality.c: whether an output has too few elements to leave out the largest errors. There a plain
 * loop may be right by luck: large terms may cancel, or a comparison may go as it does in float64.
 */
bool quality_is_chance(const struct verification *v, uint32_t output);
/* whole.c: judges the passes, makes the references for quality, judges the interpreter. Runs in a
 * child. */
void job_whole(struct verification *v);
/* whole.c: finds what errors a plain loop must be expected to have, behind job_whole. It takes as
 * long, so it is done only where an output looks worse than a plain loop and that may be chance.
 * Runs in a child. */
void job_floor(struct verification *v);
/* quality.c: the quality of a target's output at the size of the whole: its rms error over that of
 * the plain native interpretation, both against float64. False where it is not defined: no float
 * below float64, or no finite element. *out_excess: the largest error over the largest of the plain
 * one's; 0 where single elements may jump because of rounding steps and comparisons. */
bool whole_quality(const struct verification *v, uint32_t target, uint32_t output,
                   double *out_quality, double *out_limit, double *out_excess);

#endif
