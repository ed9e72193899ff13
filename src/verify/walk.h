/* The kernels of a target, launch by launch, in fenced memory. Runs generated code, so it is for a
 * child process (verify/jobs.h). A walk lives in the arena of its plan and is for one thread. */
#ifndef URZA_VERIFY_WALK_H
#define URZA_VERIFY_WALK_H

#include "verify/launch.h"
#include "verify/sample.h"
#include "verify/sizes.h"

/* Of a text that says what is being done; the part before its first ':' is the caller's. */
#define STAGE_BYTES 240

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
/* Every distinct launch by itself, on arguments filled so; judged as above, normal ones as usual.
 * Exact ones only where they say more, or too little was checked so far; small ones only where too
 * little of floats was. once: of two fills only the one that says more, exact numbers where there
 * are sums of products, special ones elsewhere. */
bool walk_apart(struct walk *walk, const int64_t *dims, enum fill fill, bool once, uint64_t seed,
                struct outcome *outcome);

/* Whether a launch may leave out keys that a mask made of indices alone hides: what these hold
 * counts for nothing there, an infinity or a NaN included, as docs/architecture.md says. */
bool may_skip_keys(const struct graph *graph, struct arena *arena);

/* A few iterations of every distinct launch by itself (far.c), few elements of its results. */
bool walk_far(struct walk *walk, const int64_t *dims, uint64_t seed, struct outcome *outcome);

#endif
