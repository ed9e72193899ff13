/* Runs the kernels of a target, launch by launch, in fenced memory. It runs generated code, so it
 * must be used in a child process (verify/jobs.h). A walk lives in the arena of its plan and is for
 * one thread. */
#ifndef URZA_VERIFY_WALK_H
#define URZA_VERIFY_WALK_H

#include "verify/launch.h"
#include "verify/sample.h"
#include "verify/sizes.h"

/* Size of a text that says what is being done; the part before its first ':' belongs to the
 * caller. */
#define STAGE_BYTES 240

/* Findings for one launch at all sizes. */
struct kernel_result {
    double ratio;
    double not_checked; /* on the network's values: the largest undetermined share of a result */
    /* The undetermined share of all results, and of those that are floats, on the arguments where
     * it is smallest: the network's values, exact ones or small ones. Valid if `tried`. */
    double least, floats_least;
    bool tried;
    int64_t elements, checked;
    uint32_t samples;
};

/* Findings at one size. */
struct size_result {
    char dims[SIZE_BYTES], why[SIZE_BYTES];
    int64_t elements, checked; /* of results of distinct kernels; those compared and determined */
    bool partial;              /* of some launch only a share of the iterations ran */
    bool runtime;              /* the runtime was called */
};

/* Bytes of params, and of what is prepared of them, that stay open between launches. */
#define WALK_KEPT_BYTES ((size_t)256 << 20)

struct walk;
/* Maps the code and places parameters. stage, of STAGE_BYTES, is kept up to date with the launch
 * that is running. NULL after failing *err. walk_close unmaps everything. */
struct walk *walk_open(const struct target_case *target, uint32_t threads, bool thorough,
                       struct kernel_result *results, char *stage, struct error *err);
void walk_close(struct walk *walk);
/* Runs every launch at one size on the results of the launches before it, twice (whole, and in
 * chunks from the last to the first with other memory and another fill). Both runs must give the
 * same bits. A launch is then judged, unless an equal one was at this size. outputs: the outputs of
 * the graph, in arena. False after failing the outcome. */
enum judging {
    JUDGE_GLANCE = 1, /* the fewest drawn elements of each result */
    JUDGE_DRAWN,      /* a few drawn elements */
    JUDGE_USUAL,      /* drawn elements, or all where that is cheap */
    JUDGE_CLOSELY     /* all elements where that is affordable */
};
bool walk_run(struct walk *walk, const struct sample *sample, enum judging judging,
              struct arena *arena, void ***outputs, struct outcome *outcome);
/* Returns the findings at the last size: elements, checked, partial. */
void walk_note(const struct walk *walk, struct size_result *out);
/* Runs every distinct launch by itself on test arguments of this fill, and judges it. Exact
 * arguments are used only where they test more, or where too little was checked so far; small ones
 * only where too little of the floats was. one_fill: each launch gets only the fill that tests it
 * better, exact numbers if it has sums of products, special ones otherwise. */
bool walk_alone(struct walk *walk, const int64_t *dims, enum fill fill, bool one_fill,
                uint64_t seed, struct outcome *outcome);

/* Whether a launch may skip keys that are hidden by a mask which depends on indices only: the
 * values of masked keys then do not matter, infinities and NaNs included (docs/architecture.md). */
bool may_skip_keys(const struct graph *graph, struct arena *arena);

/* Runs a few iterations of every distinct launch by itself (far.c), and compares few elements of
 * its results. */
bool walk_far(struct walk *walk, const int64_t *dims, uint64_t seed, struct outcome *outcome);

#endif
