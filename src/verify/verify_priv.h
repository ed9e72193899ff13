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
#include "verify/verify.h"

struct verification;

/* Elements of all values of a graph that is interpreted as a whole; beyond it some are drawn, where
 * prims allow. Each takes so many bytes. */
#define CELLS_MOST 4e7
#define CELL_BYTES 16.0

/* sizes.c: which sizes are tried. */
#define SIZES_MAX 128
#define SIZE_BYTES 80 /* of its text */
struct size {
    int64_t dims[LIMIT_NAMED_DIMS];
    const char *why; /* "typical", "around 12 of B*S" */
    enum size_way {
        SIZE_USUAL,  /* kernels, then the runtime */
        SIZE_BARE,   /* kernels only, few elements of their results compared */
        SIZE_GLANCE, /* still fewer */
        SIZE_FAR     /* a few iterations of kernels by themselves (far.c) */
    } way;
    double cost; /* of the reference: operations, roughly */
};
/* From this cost on a size is run no more often than it must be. */
#define SIZE_HEAVY 5e7
struct sizes {
    struct size items[SIZES_MAX];
    uint32_t count; /* the typical one first */
};
/* What the interpreter computes, roughly: operations. Elements of all values, but for parameters.
 * INFINITY when a dim has no value. */
double graph_cost(const struct graph *graph, const int64_t *dims);
double graph_cells(const struct graph *graph, const int64_t *dims);
/* What one element of one node takes, at most: terms of a sum, of products or not, or of a window.
 */
double graph_depth(const struct graph *graph, const int64_t *dims);
/* Terms of the longest sum that is no sum of products; 0: there is none. */
int64_t graph_terms(const struct graph *graph, const int64_t *dims);
/* Memory that checking a target takes at these sizes, roughly: bytes. */
double sizes_memory(const struct package_contents *contents, const struct package_target *target,
                    const struct sizes *sizes);
/* Sizes that reach every way through the code of a target, as far as `budget` operations of the
 * reference go; target NULL: for the graph alone. With options->dims that one. Of v contents and
 * options count. ERR_USAGE. */
bool sizes_choose(const struct verification *v, const struct package_target *target, double budget,
                  struct arena *arena, struct sizes *out, struct error *err);
/* "B=8 S=3" */
void size_print(const struct dim_table *dims, const struct size *size, char *out, size_t bytes);

/* More of a result, and it has not been checked. */
#define UNCHECKED_MOST 0.01

/* What is known of one launch after all sizes. */
struct kernel_result {
    double ratio;
    double not_checked; /* on what a network makes: the largest share of a result */
    /* The same of all results, and of those that are floats, at the sample where it is least: on
     * what a network makes, exact arguments or small ones. If `tried`. */
    double least, floats_least;
    bool tried;
    int64_t elements, checked;
    uint32_t samples;
};

/* What was done at one size. */
struct size_result {
    char dims[SIZE_BYTES], why[SIZE_BYTES];
    int64_t elements, checked; /* of results of distinct kernels; drawn and determined */
    bool partial;              /* some launch did a share of its iterations */
    bool runtime;              /* the runtime was called */
};

/* walk.c: a target's plan, launch by launch, in fenced memory. */
struct walk;
/* Maps the code, places parameters. stage, of STAGE_BYTES, always says which launch is at work.
 * NULL after failing *err. walk_close unmaps all. */
struct walk *walk_open(const struct target_case *target, uint32_t threads, bool thorough,
                       struct kernel_result *results, char *stage, struct error *err);
void walk_close(struct walk *walk);
/* One size: every launch runs on what really arrives from the launches before it, twice (whole, and
 * in chunks from the last to the first, elsewhere, over another fill), with the same bits, and is
 * judged unless an equal one was at this size. outputs: the results of the whole, by output of the
 * graph, in arena. False after failing the outcome. */
enum judging {
    JUDGE_GLANCE = 1, /* fewest drawn elements of each result */
    JUDGE_DRAWN,      /* a few */
    JUDGE_USUAL,      /* drawn or whole */
    JUDGE_CLOSELY     /* whole where that can be paid */
};
bool walk_run(struct walk *walk, const struct sample *sample, enum judging judging,
              struct arena *arena, void ***outputs, struct outcome *outcome);
/* What the last size came to: elements, checked, partial. */
void walk_note(const struct walk *walk, struct size_result *out);
/* Every distinct launch by itself, on arguments filled so; judged as above. Exact ones only where
 * they say more, or too little was checked so far; small ones only where too little of floats was.
 * once: of two fills only the one that says more, exact numbers where there are sums of products,
 * special ones elsewhere. */
bool walk_apart(struct walk *walk, const int64_t *dims, enum fill fill, bool once, uint64_t seed,
                struct outcome *outcome);

/* A few iterations of every distinct launch by itself (far.c), few elements of its results. */
bool walk_far(struct walk *walk, const int64_t *dims, uint64_t seed, struct outcome *outcome);

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

/* What the jobs of one verification share with the driver: one mapping, no pointers of children. */
#define STAGE_BYTES 240
/* A target is one job, or two where processors would have nothing to do: the first size with what
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
