/* Optimizers, schedules and clipping in float64, written from their definitions: those of PyTorch
 * 2.15 (torch.optim.SGD, Adam, AdamW, RMSprop, the branches for single tensors), and of Lion (Chen
 * et al., arXiv:2302.06675, algorithm 2). They share nothing with compiler/ops, and are what steps
 * are judged by (stepping.c).
 *
 * Pure functions. */
#ifndef URZA_VERIFY_OPTIMIZERS_H
#define URZA_VERIFY_OPTIMIZERS_H

#include "package/step_spec.h"

#define OPTIMIZER_STATES 2

/* One element of a param: itself, and the optimizer's states in the order of optimizer.states. */
struct optimized {
    double w, state[OPTIMIZER_STATES];
};
/* What one step is of. */
struct optimizing {
    const struct step_spec *spec;
    double rate, t; /* the learning rate and the number of this step, from 1 on */
    bool narrow;    /* constants of the formulas are f32 */
};
struct optimizer {
    const char *name;
    const char *states[OPTIMIZER_STATES]; /* "m": that of param W is called m.W; NULL: none. One
                                             called "buf" is there only with momentum */
    /* Which power of the gradients' size states have, and the rate at which params move by about
     * their own size. */
    int powers[OPTIMIZER_STATES], rate_power;
    void (*apply)(const struct optimizing *o, double g, struct optimized *x);
    /* The gradient that a step used, from its results and the param before; its states began as
     * zeros. Exact to some roundings where the rate is large. */
    double (*gradient)(const struct optimizing *o, double w, const struct optimized *after);
    /* What that reads: the param too where there is no "buf"; states, as bits. */
    bool from_param;
    unsigned from_states;
    /* The first state at which the formula jumps; NULL: it does not. */
    double (*corner)(const struct step_spec *spec, double g);
};
const struct optimizer *optimizer_find(const char *name); /* NULL: there is none */

/* The factor of the learning rate in step t; docs/training.md. */
double schedule_factor(const struct step_spec *spec, double t);
/* The factor of all gradients whose norm is this: torch.nn.utils.clip_grad_norm_. */
double clip_factor(const struct step_spec *spec, double norm, bool narrow);

#endif
