/* For tests of gradients: a graph at a point, and both sides of
 *
 *     <cotangent, J v> = <Jᵀ cotangent, v>
 *
 * for drawn cotangents and directions v. J v comes from forward mode (graph/tangent.h) on the
 * block, Jᵀ cotangent from the training graph. Both are computed in float64 and not rounded,
 * whatever the dtypes: tangent_run without a direction gives the values of any graph so. What is
 * left between the sides is the roundings of float64, so they agree to 1e-9 of the magnitude of
 * their terms; a graph whose inner values are far greater than its results needs them compared
 * elsewhere. */
#ifndef URZA_COMPILER_GRAD_GRAD_TEST_UTIL_H
#define URZA_COMPILER_GRAD_GRAD_TEST_UTIL_H

#include "compiler/grad/grad.h"
#include "graph/interp.h"

#define GRAD_TOLERANCE 1e-9

struct point {
    struct arena *arena;
    const struct graph *graph;
    const int64_t *dims;
    struct interp_tensor *sources; /* inputs, then params */
    uint32_t source_count;
    uint64_t seed;   /* of cotangents and directions, which are in [-1, 1) */
    bool ones;       /* cotangents are 1 */
    const char *wrt; /* the only source that is differentiated; NULL: all */
};

/* Both sides, and the magnitude of their terms. */
struct sides {
    double forward, backward, magnitude;
};

/* In [-1, 1). */
double grad_drawn(uint64_t key, int64_t at);
value_id grad_source(const struct graph *graph, uint32_t index);
/* Zeros for a source, in its dtype and in its shape at these dims. */
struct interp_tensor grad_tensor(const struct point *p, const struct graph *graph, value_id id);
/* Zeros for all sources of the graph. */
void grad_point_init(struct point *p);
const char *grad_text(const struct graph *graph, struct arena *arena);

/* The backward side. gradients, if not NULL: by source; count 0 where there is none. ERR_BLUEPRINT
 * where no output hangs on a float; ERR_BUG where the training graph breaks a rule of graphs. */
bool grad_backward(const struct point *p, struct sides *out, struct interp_tensor *gradients,
                   struct error *err);
/* The forward side. */
bool grad_forward(const struct point *p, struct sides *out, struct error *err);
/* The forward side by central differences, with an error of about 1e-5 of the magnitude, to which
 * this adds; all floats must be f64. */
bool grad_differences(const struct point *p, struct sides *out, struct error *err);

/* Whether an error says that there is nothing to differentiate. */
bool grad_is_nothing(const struct error *err);
/* The identity. ERR_VERIFY where it does not hold. Nothing is compared where the forward side is
 * not finite, or there is nothing to differentiate. *moving is set where the sides are not 0. */
bool grad_compare(const struct point *p, bool *moving, struct error *err);

#endif
