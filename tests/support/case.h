/* One graph through the whole compiler and the runtime, judged by the reference.
 *
 * A case is compiled for one target, loaded as a package, and called at every size given, with
 * tensors that lie against protected pages. Everything that compiles or runs does so in a child
 * process: a crash or an assertion is a failure with its signal, like a wrong value. No shared
 * state. */
#ifndef URZA_TESTS_SUPPORT_CASE_H
#define URZA_TESTS_SUPPORT_CASE_H

#include "compiler/compile.h"
#include "verify/sample.h"

struct test_case {
    const struct graph *graph;
    const char *target;     /* a row of targets.def that this CPU has, or "interpreter" */
    enum strategy strategy; /* STRATEGY_NONE: standard */
    uint64_t seed;          /* of parameters and inputs, and of where tensors lie */
    bool special;           /* as random_fill */
    const char *specialise; /* as compile_options.specialise */
    bool exact; /* of a graph without params: outputs equal what the interpreter gives in native
                   types in all bits, a NaN any NaN */
    uint32_t size_count;                      /* 0: one call of a graph without named dims */
    const int64_t (*sizes)[LIMIT_NAMED_DIMS]; /* values of the named dims */
    /* Writes input `index` instead of random_fill; may be NULL. */
    void (*fill)(const void *user, uint32_t index, const struct tensor *tensor, uint64_t seed);
    const void *user;
    /* Why more of an output than 1 % (and than 4 elements) may be undetermined; NULL: no more may.
     * Not asked of exact cases: what they compare in all bits is checked. */
    const char *unchecked;
};

struct case_result {
    struct interp_difference worst; /* over all sizes */
    char place[96];                 /* of the worst: "output 'y' at N=17" */
    int64_t elements;               /* of outputs, all sizes together */
    int64_t undetermined;
    uint32_t repeated;  /* calls on other numbers, because of so many undetermined elements */
    uint32_t excused;   /* sizes where those did not help: test_case.unchecked */
    char unchecked[96]; /* "16 of 16 elements of 'p'": the last such output */
};

/* Random values for the params of a graph, in the arena; NULL when one has a dynamic dim. */
const struct package_param *case_params(const struct graph *graph, uint64_t seed,
                                        struct arena *arena, struct error *err);

/* False when it does not compile, load or run (the error of that step), dies, writes where it must
 * not, when an element lies outside its bound, when too many elements are undetermined, or when a
 * kernel computes too much again (ERR_VERIFY). *out is filled as far as the case came. */
bool case_check(const struct test_case *test, struct case_result *out, struct error *err);

/* The targets this CPU has, and "interpreter"; returns how many. */
#define CASE_TARGETS (PACKAGE_TARGETS + 1)
uint32_t case_targets(const char *out[CASE_TARGETS]);

/* For a case that fails: the first value, in order of computation, that fails as the only output.
 * Fills *out, in arena, with its graph (all inputs and params stay, so the tensors stay the same).
 * False when no value fails by itself: what is wrong lies in how they go together. */
bool case_shrink(const struct test_case *test, struct arena *arena, struct graph *out);

/* What a whole test counts and prints. A case that fails is printed with its name, its graph in
 * text form and what went wrong. */
struct tally {
    uint32_t cases, failures;
    int64_t elements, undetermined;
    uint32_t repeated; /* calls, as case_result */
    uint32_t excused;  /* cases */
    double worst_ratio;
    char worst_name[160];
};
void tally_run(struct tally *tally, const struct test_case *test, const char *name);
int tally_finish(const struct tally *tally, const char *what); /* prints the totals; exit status */

#endif
