/* Finds where a compilation goes wrong: the first stage whose result does not agree with that of
 * the stage before it.
 *
 * The graph is compiled again, and the result of each stage is judged on random inputs of several
 * sizes and kinds. Each judge compares one stage with the one before it, so the stage found is the
 * one that has the fault, not one where it becomes visible:
 *
 *   pass   graph beside graph in float64, within the bounds of float64 arithmetic
 *   lower  each naive nest, evaluated (loop/nest_eval.h), beside the interpretation of its part of
 *          the graph, within the validator's bounds
 *   step   the same nest after each step of its schedule; the bounds allow sums in any order
 *   code   each kernel's machine code by itself, called as its nest says, by the validator
 *   plan   the whole package by the validator, if all other stages are right
 *
 * Compiles on the calling thread, where LLVM may end the process, and forks to run generated code:
 * call it in a child process with one thread. Everything lives in the arena. */
#ifndef URZA_DEBUG_DEBUG_H
#define URZA_DEBUG_DEBUG_H

#include "package/package.h"

struct compile_observer;
struct error;

enum fault_place {
    FAULT_NONE, /* no fault was found */
    FAULT_PASS,
    FAULT_LOWER,
    FAULT_STEP,
    FAULT_CODE,
    FAULT_PLAN,
    FAULT_COUNT
};
const char *fault_place_name(enum fault_place place); /* "pass"; "none" */

struct bisect_request {
    const struct package_contents *contents; /* graph and params to compile */
    /* The package that contents were read from, whose code and plan are judged; NULL: those of the
     * package that is compiled here are. */
    const void *package;
    size_t package_bytes;
    const struct trusted_keys *trusted; /* keys trusted for the package; may be NULL */
    const char *targets;                /* comma-separated; NULL: all */
    const char *dims;                   /* "B=3": only these sizes; NULL: several */
    uint64_t seed;                      /* of the random inputs */
    bool no_blueprint;                  /* do not search for a small blueprint */
    /* Plants a fault, for tests: sees every compilation before the judges do, and must act alike in
     * each. NULL: none. */
    const struct compile_observer *fault;
};

/* Texts are never NULL, except for the blueprint. */
struct bisect_finding {
    enum fault_place place;
    const char *target; /* "x86-64-v3" */
    /* The pass, step, or check that fails. "read" is the state before the first pass, "optimise"
     * the state after the last one, "schedule" the state after the last step. */
    const char *what;
    const char *kernel; /* its label; "" if the fault is in no single kernel, or if the package's
                           kernels differ from those compiled here (the detail says which) */
    const char *detail; /* "output 'y' at [3, 5]: 0.5 before, 0.7 after" */
    const char *sample; /* "B=3 S=2, special values" */
    /* A small blueprint that has the fault, native, as JSON; NULL: none smaller than the whole
     * graph was found. */
    const char *blueprint;
    bool again; /* whether the blueprint, compiled and judged by itself, fails at the same stage */
    /* What was judged: passes and distinct kernels of all targets; and those kernels that are too
     * large to be evaluated, of which only the code was judged. */
    uint32_t passes, kernels, too_large;
};

/* False when there is no answer: the graph does not compile although every stage before the error
 * is right (the error says which stage failed), ERR_USAGE for dims, ERR_NOMEM. */
bool bisect_package(const struct bisect_request *request, struct arena *arena,
                    struct bisect_finding *out, struct error *err);

#endif
