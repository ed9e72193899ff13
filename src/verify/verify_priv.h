/* What the checks share. A check runs in a child process: it looks at one target of a package at
 * one size and fills an outcome, which the driver turns into a row of the report. It may crash; it
 * must not print. */
#ifndef URZA_VERIFY_VERIFY_PRIV_H
#define URZA_VERIFY_VERIFY_PRIV_H

#include "base/compiler.h"
#include "verify/fenced.h"
#include "verify/sample.h"
#include "verify/verify.h"

struct outcome {
    bool pass;
    double figure, bound;
    char detail[480];
};

struct subject {
    const void *bytes; /* of the package */
    size_t size;
    const struct verify_options *options;
    const char *target;          /* or "interpreter" */
    const struct sample *sample; /* with its reference results */
    const struct sample *other;  /* another size, without reference; NULL: none */
};

typedef void check_fn(const struct subject *subject, struct outcome *out);

check_fn check_function;  /* every element within the running bound of the reference */
check_fn check_bounds;    /* nothing beside the tensors is touched, inputs are not written */
check_fn check_repeat;    /* the same bits on every call */
check_fn check_threads;   /* the same bits on 1, 2 and 3 threads */
check_fn check_reshaping; /* the same bits after a call at another size */

/* Loads the package for the subject's target. False after failing the outcome; urza_unload
 * otherwise. */
bool subject_load(const struct subject *subject, uint32_t threads, urza_module **out,
                  struct outcome *outcome);
/* Calls with dense copies of the inputs. *outputs: memory of each output, made in arena, filled
 * with FENCED_FILL before the call. False after failing the outcome; falling back to the
 * interpreter fails too. */
bool subject_call(const struct subject *subject, const struct sample *sample, urza_module *module,
                  struct arena *arena, void ***outputs, struct outcome *outcome);
/* After calls at addresses of one's own: whether they ran what they should. */
bool subject_ran(const struct subject *subject, urza_module *module, struct outcome *outcome);
/* Whether two results are the same bits; fails the outcome where they are not, naming `what`
 * differs. */
bool outcome_same(const struct sample *sample, void *const *a, void *const *b, const char *what,
                  struct outcome *outcome);
/* pass = false with a detail; false. */
bool outcome_fail(struct outcome *outcome, const char *fmt, ...) URZA_PRINTF(2, 3);

#endif
