/* One launch of a plan: what it must compute, running it, and judging what it computed.
 *
 * Graphs and arrays live in the arenas they were made with; whoever runs a launch closes its
 * results. Nothing here is shared by threads. */
#ifndef URZA_VERIFY_LAUNCH_H
#define URZA_VERIFY_LAUNCH_H

#include "base/compiler.h"
#include "base/hash.h"
#include "graph/interp_points.h"
#include "package/package.h"
#include "verify/fenced.h"

#define DETAIL_BYTES 480

/* A check's outcome, in memory without pointers. */
struct outcome {
    bool ran, pass;
    double figure, bound;
    char detail[DETAIL_BYTES];
};
/* pass = false with a detail, the first failure only; false. */
bool outcome_fail(struct outcome *outcome, const char *fmt, ...) URZA_PRINTF(2, 3);

/* launch.c: what a launch must compute. */
struct launch_case {
    const struct plan_launch *launch;
    struct graph graph;        /* inputs: the arguments it reads; outputs: those it writes */
    uint32_t *reads, *writes;  /* by input, by output of the graph: index among launch->args */
    const char *config;        /* the kernel's schedule, text */
    uint64_t seed;             /* of elements that are drawn */
    uint8_t key[SHA256_BYTES]; /* equal: the same code, meant to compute the same of its arguments
                                */
    bool prepare;
};
struct target_case {
    const struct package_contents *contents;
    const struct package_target *target;
    struct graph optimised;
    struct launch_case *launches; /* prepare, then forward */
    uint32_t prepare_count, count;
};
/* Takes a target apart. ERR_VERIFY when the plan is not one for its optimised graph, or that graph
 * not one with the package's inputs, params and outputs; place names the launch or buffer. */
bool target_case_make(struct target_case *out, const struct package_contents *contents,
                      const struct package_target *target, struct arena *arena, struct error *err);

/* draw.c: `count` elements of a result of that shape as flat indices: corners, both sides of what
 * the kernel's schedule (its text; NULL: none) cuts it into, and anywhere; all, if it has no more.
 * Returns how many. */
int64_t draw_points(const int64_t *shape, uint32_t rank, const char *config, uint64_t seed,
                    int64_t count, int64_t *out_points);
/* A value at points, as interp_points. The first of them that `elements` allow; where these are
 * fewer than `least`, portion by portion until there are so many, or it took too long: *count, of
 * the points on entry, is of those computed then, one or more. ERR_LIMIT only when one element
 * alone needs too much. */
struct drawing {
    const struct graph *graph;
    const struct interp_options *options;
    const int64_t *dims;
    const struct points_source *sources;
    value_id value;
    int64_t elements; /* that a portion may need */
    int64_t most;     /* that one element may need */
};
#define POINT_ELEMENTS 16000000 /* of these, usually: some 800 MB */
bool draw_interpret(const struct drawing *drawing, const int64_t *points, int64_t *count,
                    int64_t least, struct points_result out, struct error *err);
/* The outputs of a graph on a sample, at up to OUTPUT_DRAWN elements of each, as tensors of these;
 * in which order they are is draw_points' with the number of the output + 1 as seed. A graph that
 * needs more for an element has fewer of the same ones. out: by output, in arena. */
#define OUTPUT_DRAWN 64
struct sample;
bool draw_outputs(const struct graph *graph, const struct interp_options *options,
                  const struct sample *sample, struct arena *arena, struct interp_tensor *out,
                  struct error *err);

/* judge.c: the results of one launch against the interpretation of its graph on the very buffers
 * that it read. */
struct verdict {
    double ratio;              /* worst |difference| over its bound; INFINITY: beyond any */
    int64_t elements, checked; /* of all results; drawn and determined */
    double not_checked;        /* largest share of one result that was not determined */
    double floats_not_checked; /* the same of results that are floats */
};
/* How closely: a result whose reference costs more is judged by drawn elements, where its prims
 * allow, up to so many. */
struct care {
    double cost;
    int64_t drawn;
    uint32_t threads;
    int64_t elements; /* that a portion of drawn ones may need */
    int64_t most;     /* that one drawn element may need */
    bool drawn_only;  /* where elements cannot be drawn there is no judgement, of no element */
};
#define JUDGE_COST 2e6 /* for arguments of its own */
/* What a launch read and wrote: dense native memory. */
struct launch_memory {
    const int64_t *dims;
    void *const *reads;      /* by input of the launch's graph */
    void *const *writes;     /* by output */
    uint8_t *const *written; /* by output, by element: which there are; NULL: all */
};
bool judge_launch(const struct launch_case *c, const struct launch_memory *memory,
                  const struct care *care, struct verdict *out, struct outcome *outcome);

/* run.c: one launch at one size, with memory for what it writes. */
struct run {
    const struct launch_case *launch;
    const int64_t *dims;
    struct fence_pool *pool;              /* set by the caller, */
    urza_kernel_fn *kernel;               /* this too, */
    double share_work;                    /* and what it may take: operations */
    void *pointers[LIMIT_KERNEL_BUFFERS]; /* by argument: of those it reads, by the caller */
    int64_t extent, share;                /* iterations, and how many of them are done */
    size_t scratch_bytes;
    struct fenced *results; /* by output of the launch's graph; the caller closes them */
    size_t *result_bytes;
    uint8_t **written; /* by output, by element, where only a share is done; NULL: it is all */
};
/* Sizes, as the plan has them. */
bool run_begin(struct run *run, const struct plan *plan, const struct launch_case *c,
               const int64_t *dims, struct arena *arena, struct outcome *outcome);
/* Both runs; afterwards run->results holds what was written, sealed. */
bool run_twice(struct run *run, struct arena *arena, struct outcome *outcome);

/* far.c: what arguments of all launches are made of; starts at {0}. */
#define FAR_BLOCKS 16
struct far_blocks {
    struct far_block {
        enum dtype dtype;
        int64_t extent; /* that its numbers index; 0: none */
        uint8_t *map;
        size_t bytes;
    } items[FAR_BLOCKS];
    uint32_t count;
};
void far_blocks_close(struct far_blocks *blocks);
/* One launch at a size of which far_cost is finite. */
struct far_request {
    const struct launch_case *launch;
    const struct plan *plan; /* that it is of */
    urza_kernel_fn *kernel;
    const int64_t *dims;
    uint64_t seed; /* of its arguments */
    struct far_blocks *blocks;
    const struct care *care;
};
/* Some of its iterations: all must write, and what was drawn of them is right. */
bool far_launch(const struct far_request *request, struct verdict *out, struct outcome *outcome);
/* The size of a value; false: it has none. */
bool value_bytes(const struct graph *g, value_id value, const int64_t *dims, size_t *out);

#endif
