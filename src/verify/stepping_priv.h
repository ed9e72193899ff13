/* Judging a whole training step (stepping.c): what it has. */
#ifndef URZA_VERIFY_STEPPING_PRIV_H
#define URZA_VERIFY_STEPPING_PRIV_H

#include "verify/directions.h"
#include "verify/optimizers.h"
#include "verify/scene.h"

#define NONE UINT32_MAX

/* An input that the step updates, and the output that takes its place. */
struct place {
    uint32_t input, output; /* NONE: there is none */
};
struct trained {
    struct place w, low, states[OPTIMIZER_STATES];
    bool narrow;
    struct interp_tensor gradient; /* before it is clipped */
    double size;                   /* root mean square of it */
};

struct stepping {
    struct directions d; /* in the loss */
    struct arena *keep;  /* for all points; that of d is for one */
    const struct step_spec *spec;
    const struct optimizer *optimizer;
    const struct graph *step;
    struct graph loss;   /* the step's loss alone; inputs are the step's */
    struct graph source; /* the step, as far as gradients are found from it: other outputs are what
                            they update */
    struct trained *trained;
    struct place number, scale, good;
    uint32_t lr, norm_output;
    bool moves; /* the loss hangs on the number of the step: it draws numbers by it */
    struct place *running;
    double norm; /* of all gradients, by the definition */
    bool narrow; /* it is f32 */
    struct scene scene;
    const struct tangent_tensor *found;
    bool *is_own, *is_trained, *is_frozen; /* by input: own: states, lr and the like */
};

/* stepping_find.c: finds what the spec names in the step's graph, and makes the graphs. Of d, keep,
 * spec, optimizer and step; failures are in d.err. */
bool stepping_find(struct stepping *s);

#endif
