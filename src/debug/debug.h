/* Where a compilation goes wrong: the first stage whose result is not what the stage before it
 * says.
 *
 * The graph is compiled again, and what each stage makes of it is judged on random inputs of
 * several sizes and kinds. Each judge looks at one stage only, so what is found is where the fault
 * comes in and not where it shows:
 *
 *   pass   graph beside graph in float64, within the bounds of float64 arithmetic
 *   lower  each naive nest, evaluated (loop/nest_eval.h), beside the interpretation of its part of
 *          the graph, within the validator's bounds
 *   step   the same nest after each step of its schedule; the bounds allow sums in any order
 *   code   each kernel's machine code by itself, called as its nest says, by the validator
 *   plan   the whole package by the validator, where all of that is right
 *
 * Compiles on the calling thread, where LLVM may end the process, and forks for whatever runs
 * generated code: call it in a child that has one thread. Everything lives in the arena. */
#ifndef URZA_DEBUG_DEBUG_H
#define URZA_DEBUG_DEBUG_H

#include "package/package.h"

struct compile_observer;
struct error;

enum fault_place {
    FAULT_NONE, /* nothing is wrong */
    FAULT_PASS,
    FAULT_LOWER,
    FAULT_STEP,
    FAULT_CODE,
    FAULT_PLAN,
    FAULT_COUNT
};
const char *fault_place_name(enum fault_place place); /* "pass"; "none" */

struct bisect_request {
    const struct package_contents *contents; /* its graph and params are compiled */
    /* The package that contents were read from, whose code and plan are judged; NULL: the one that
     * is compiled now. */
    const void *package;
    size_t package_bytes;
    const struct trusted_keys *trusted; /* of the package; or NULL */
    const char *targets;                /* comma-separated; NULL: all */
    const char *dims;                   /* "B=3": at these sizes; NULL: several */
    uint64_t seed;                      /* of the random inputs */
    bool no_blueprint;                  /* no small one is looked for */
    /* Plants a fault, for tests: sees every compilation before it is judged, and must do the same
     * in each. NULL: none. */
    const struct compile_observer *fault;
};

/* Texts are never NULL, but for the blueprint. */
struct bisect_finding {
    enum fault_place place;
    const char *target; /* "x86-64-v3" */
    /* The pass, the step, or the check that fails. A pass that is none of the table is "read"
     * (before the first) or "optimise" (behind the last); a step that is none is "schedule" (behind
     * the last). */
    const char *what;
    const char *kernel; /* its label; "" where it is no kernel, or one of a package whose kernels
                           are others than those compiled here: the detail says which */
    const char *detail; /* "output 'y' at [3, 5]: 0.5 before, 0.7 after" */
    const char *sample; /* "B=3 S=2, special values" */
    /* A small blueprint around the fault, native, as JSON; NULL: the whole graph is needed. */
    const char *blueprint;
    bool again; /* compiled and judged by itself, it fails in the same place */
    /* What was judged: passes and distinct kernels of all targets, and those among them that are
     * too large to be evaluated, of which only the code was judged. */
    uint32_t passes, kernels, too_large;
};

/* False when there is no answer: a graph that does not compile though every stage before the error
 * is right (the error says which stage), ERR_USAGE for dims, ERR_NOMEM. */
bool bisect_package(const struct bisect_request *request, struct arena *arena,
                    struct bisect_finding *out, struct error *err);

#endif
