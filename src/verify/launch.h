/* One launch of a plan: what it must compute, running it, and judging its results.
 *
 * Graphs and arrays live in the arenas they were made with; the caller that runs a launch closes
 * its results. Nothing here is shared between threads. */
#ifndef URZA_VERIFY_LAUNCH_H
#define URZA_VERIFY_LAUNCH_H

#include "base/compiler.h"
#include "base/hash.h"
#include "graph/interp_points.h"
#include "package/package.h"
#include "verify/fenced.h"

#define DETAIL_BYTES 480

/* The outcome of a check, in memory without pointers. */
struct outcome {
    bool ran, pass;
    double figure, bound;
    char detail[DETAIL_BYTES];
};
/* Sets pass = false and the detail, unless there was a failure before. Returns false. */
bool outcome_fail(struct outcome *outcome, const char *fmt, ...) URZA_PRINTF(2, 3);
/* As outcome_fail, by the error's message. But lack of memory is no verdict: then this process,
 * which runs one job, ends. */
bool outcome_error(struct outcome *outcome, const struct error *err);

/* launch.c: what a launch must compute. */
struct launch_case {
    const struct plan_launch *launch;
    struct graph *graph;      /* inputs: the buffers that it reads; outputs: those that it writes */
    uint32_t *reads, *writes; /* by input, by output of the graph: index among launch->args */
    const char *config;       /* the kernel's schedule as text */
    uint64_t seed;            /* for drawing elements */
    uint32_t first; /* the first launch with the same code and the same function of its arguments;
                       it has the same graph, reads and writes */
    bool prepare;
};
struct target_case {
    const struct package_contents *contents;
    const struct package_target *target;
    struct graph optimised;
    struct launch_case *launches; /* prepare, then forward */
    uint32_t prepare_count, count;
    struct board *board; /* of verify_options; set by the caller, or NULL */
};
/* Derives the launches of a target. ERR_VERIFY when the plan does not fit its optimised graph, or
 * that graph does not have the package's inputs, params and outputs; place names the launch or
 * buffer. */
bool target_case_make(struct target_case *out, const struct package_contents *contents,
                      const struct package_target *target, struct arena *arena, struct error *err);

/* draw.c: chooses `count` elements of a result of that shape, as flat indices: corners, both sides
 * of the boundaries of the kernel's tiles, blocks and lanes (config is its schedule as text; NULL:
 * none), and random places; all elements, if there are no more. Returns how many. */
int64_t draw_points(const int64_t *shape, uint32_t rank, const char *config, uint64_t seed,
                    int64_t count, int64_t *out_points);
/* Computes a value at points, as interp_points, in portions: a portion is made smaller if it
 * depends on more than `elements` elements. Stops after a portion when `least` points are done, or
 * the work is large: *count, the number of points on entry, becomes the number of points computed
 * (at least one). ERR_LIMIT only if a single point depends on more than `most` elements. */
struct drawing {
    const struct graph *graph;
    const struct interp_options *options;
    const int64_t *dims;
    const struct points_source *sources;
    value_id value;
    int64_t elements; /* that a portion may depend on */
    int64_t most;     /* that one point may depend on */
};
#define POINT_ELEMENTS 16000000 /* the usual value of `most`: some 800 MB */
bool draw_interpret(const struct drawing *drawing, const int64_t *points, int64_t *count,
                    int64_t least, struct points_result out, struct error *err);
/* Interprets the outputs of a graph on a sample at up to OUTPUT_DRAWN elements each, and returns
 * these as tensors; their order is that of draw_points with the number of the output + 1 as seed.
 * If elements depend on too many others, fewer are computed: the first ones of the same order. out:
 * by output, in arena. */
#define OUTPUT_DRAWN 64
struct sample;
bool draw_outputs(const struct graph *graph, const struct interp_options *options,
                  const struct sample *sample, struct arena *arena, struct interp_tensor *out,
                  struct error *err);

/* The same elements of outputs that were computed whole. */
void draw_from_whole(const struct sample *sample, const struct interp_tensor *whole,
                     uint32_t output_count, struct arena *arena, struct interp_tensor *out);

/* judge.c: compares the results of one launch with the interpretation of its graph on the very
 * buffers that it read. */
struct verdict {
    double ratio;              /* largest |difference| / bound; INFINITY: beyond any bound */
    int64_t elements, checked; /* of all results; those compared and determined */
    double not_checked;        /* largest share of undetermined elements in one result */
    double floats_not_checked; /* the same, over results that are floats */
};
/* How thoroughly to judge: a result whose reference costs more than `cost` is judged at up to
 * `drawn` drawn elements, if the interpreter can compute its prims at points. */
struct care {
    double cost;
    int64_t drawn;
    uint32_t threads;
    int64_t elements;    /* that a portion of drawn elements may depend on */
    int64_t most;        /* that one drawn element may depend on */
    bool drawn_only;     /* if elements cannot be drawn, the result is not judged */
    int64_t share_drawn; /* after a launch of which a share ran: so many are drawn, and the first
                            `drawn` ones that were written are compared; 0: SHARE_DRAWN times
                            `drawn` */
};
#define JUDGE_COST 2e6 /* the usual `cost` */
/* The buffers that a launch read and wrote: dense native memory. */
struct launch_memory {
    const int64_t *dims;
    void *const *reads;      /* by input of the launch's graph */
    void *const *writes;     /* by output */
    uint8_t *const *written; /* by output, by element: whether it was written; NULL: all were */
};
bool judge_launch(const struct launch_case *c, const struct launch_memory *memory,
                  const struct care *care, struct verdict *out, struct outcome *outcome);

/* run.c: runs one launch at one size, with memory for its results. */
struct run {
    const struct launch_case *launch;
    const int64_t *dims;
    struct fence_pool *pool; /* set by the caller, */
    urza_kernel_fn *kernel;  /* and this, */
    double share_work;       /* and this: limit on operations, above which only a share runs */
    void *pointers[LIMIT_KERNEL_BUFFERS]; /* by argument; the caller sets those that are read */
    int64_t extent, share;                /* iterations; how many of them run */
    size_t scratch_bytes;
    struct fenced *results; /* by output of the launch's graph; the caller closes them */
    size_t *result_bytes;
    uint8_t **written;     /* by output, by element, if only a share runs; NULL: all run */
    struct fenced scratch; /* open between run_place and run_seal */
};
/* Evaluates the sizes of the plan. */
bool run_begin(struct run *run, const struct plan *plan, const struct launch_case *c,
               const int64_t *dims, struct arena *arena, struct outcome *outcome);
/* Runs the launch twice; afterwards run->results holds its results, sealed. */
bool run_twice(struct run *run, struct arena *arena, struct outcome *outcome);
/* Any number of runs into the same results, for trips of a loop between those that are judged:
 * run_place opens results and scratch memory, run_in_place runs, run_seal checks that nothing was
 * written around them, closes scratch memory, and seals the results. */
bool run_place(struct run *run, struct outcome *outcome);
void run_in_place(const struct run *run);
bool run_seal(struct run *run, struct outcome *outcome);

/* far.c: blocks of random numbers, shared by the arguments of all launches; starts at {0}. */
#define FAR_BLOCKS 16
struct far_blocks {
    struct far_block {
        enum dtype dtype;
        int64_t extent; /* size of the dim that its integers index; 0: none */
        uint8_t *map;
        size_t bytes;
    } items[FAR_BLOCKS];
    uint32_t count;
};
void far_blocks_close(struct far_blocks *blocks);
#define FAR_POINTS 16 /* elements drawn of a result, which may be known to be written */
/* One launch at a size where far_cost is finite. care->share_drawn is FAR_POINTS. */
struct far_request {
    const struct launch_case *launch;
    const struct plan *plan; /* the plan of the launch */
    urza_kernel_fn *kernel;
    const int64_t *dims;
    uint64_t seed; /* of its arguments */
    struct far_blocks *blocks;
    const struct care *care;
};
/* Runs some of its iterations: each piece must write something, and the drawn elements that were
 * written must be right. */
bool far_launch(const struct far_request *request, struct verdict *out, struct outcome *outcome);
/* The size of a value in bytes; false if a dim has no value. */
bool value_bytes(const struct graph *g, value_id value, const int64_t *dims, size_t *out);

#endif
