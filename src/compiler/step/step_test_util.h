/* For tests of steps: the graph of a step, run in the interpreter, with the memory that it
 * updates. Helpers end the test where what they do must work. */
#ifndef URZA_COMPILER_STEP_STEP_TEST_UTIL_H
#define URZA_COMPILER_STEP_STEP_TEST_UTIL_H

#include "base/arena.h"
#include "base/error.h"
#include "compiler/step/step_priv.h"
#include "graph/interp.h"

#define STEP_DIM 4 /* the value of each named dim */

struct stepped {
    struct arena arena;
    struct graph graph;
    enum interp_mode mode;
    struct step_spec spec;
    struct interp_tensor *inputs, *outputs;
};

/* The block's text; wrt: names with spaces between them; NULL: all of its params. */
bool stepped_try(struct stepped *s, const char *block, const char *optimizer, const char *loss,
                 const char *wrt, struct error *err);
void stepped_begin(struct stepped *s, const char *block, const char *optimizer, const char *loss,
                   const char *wrt);
void stepped_release(struct stepped *s);

bool stepped_has(const struct stepped *s, const char *input);
/* Inputs, which begin as zeros. */
struct interp_tensor *stepped_input(struct stepped *s, const char *name);
void stepped_set(struct stepped *s, const char *name, const double *values);
double stepped_get(struct stepped *s, const char *name, int64_t at);
/* One step; then inputs hold what updates them. */
void stepped_advance(struct stepped *s);
/* Of the last step. */
double stepped_output(struct stepped *s, const char *name);

#endif
