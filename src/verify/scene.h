/* A sample for interpreting whole graphs: everywhere, or, where that costs too much, at drawn
 * elements of each output. For one thread; everything lives in the arena of its `whole`. */
#ifndef URZA_VERIFY_SCENE_H
#define URZA_VERIFY_SCENE_H

#include "verify/verify_priv.h"

/* State of judging the graph as a whole. */
struct whole {
    struct verification *v;
    const struct graph *graph; /* the package's, or that with its loops open */
    struct arena *arena;
    struct interp_tensor *params; /* converted for the first scene; NULL: not yet */
};

/* A sample on which graphs are compared. */
struct scene {
    struct whole *whole;
    struct sample sample;          /* its params may differ from the package's */
    bool drawn;                    /* only drawn elements of each output are computed */
    struct interp_tensor *sources; /* if all elements are computed */
    const char *what;              /* kind of its values, as text */
};

/* Limit on the cost of a whole reference; above it elements are drawn, where the prims allow
 * that. */
#define WHOLE_COST 1e8
/* Whether interpreting the whole graph at these sizes costs too much. */
bool is_too_much(const struct graph *graph, const int64_t *dims);
/* The kind of values of a scene's inputs. */
struct scene_values {
    const char *what; /* "random" */
    enum fill fill;
    uint64_t seed; /* added to the seed of the options */
};
/* Fails as sample_make: ERR_LIMIT, ERR_INPUT. */
bool scene_make(struct scene *out, struct whole *whole, const int64_t *dims,
                const struct scene_values *values, struct error *err);
/* Makes the sources of a scene of which elements are drawn, so that all can be computed. */
bool scene_load(struct scene *scene, struct error *err);
/* A copy of a scene in which each float of inputs and params is moved to a neighbour in its dtype,
 * or left, at random. */
bool scene_nudge(struct scene *out, const struct scene *from, uint64_t seed, struct error *err);
/* Interprets a graph on the sample's inputs and params; results are in arena. The first graph, the
 * one before the passes, decides whether elements can be drawn. If a graph's elements depend on
 * more others than the limit allows, it has fewer of the same elements. */
bool interpret(const struct graph *graph, const struct interp_options *options, struct scene *scene,
               struct arena *arena, struct interp_tensor **out, struct error *err);

#endif
