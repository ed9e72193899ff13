/* A sample at which whole graphs are interpreted: everywhere, or where that takes too much, at
 * drawn elements of each output. For one thread; all lies in the arena of its `whole`. */
#ifndef URZA_VERIFY_SCENE_H
#define URZA_VERIFY_SCENE_H

#include "verify/verify_priv.h"

/* What is kept while the whole is judged. */
struct whole {
    struct verification *v;
    struct arena *arena;
    struct interp_tensor *params; /* loaded once; NULL: not yet */
};

/* A sample at which graphs are compared. */
struct scene {
    struct whole *whole;
    struct sample sample;          /* its params may be others than the package's */
    bool drawn;                    /* elements of each output */
    struct interp_tensor *sources; /* where all are */
    const char *what;              /* its values */
};

/* Whether interpreting all of it at these sizes takes too much. */
bool is_too_much(const struct graph *graph, const int64_t *dims);
/* What the inputs of a scene hold. */
struct scene_values {
    const char *what; /* "random" */
    enum fill fill;
    uint64_t seed; /* added to that of the options */
};
/* ERR_LIMIT, ERR_INPUT as sample_make. */
bool scene_make(struct scene *out, struct whole *whole, const int64_t *dims,
                const struct scene_values *values, struct error *err);
/* The same one, each float of inputs and params moved to a neighbour in its dtype, or not. */
bool scene_nudge(struct scene *out, const struct scene *from, uint64_t seed, struct error *err);
/* A graph with the sample's inputs and params, into arena. The first one interpreted, which is the
 * one before the passes, decides whether elements can be drawn at all. A graph that needs more for
 * an element than others has fewer of the same ones. */
bool interpret(const struct graph *graph, const struct interp_options *options, struct scene *scene,
               struct arena *arena, struct interp_tensor **out, struct error *err);

#endif
