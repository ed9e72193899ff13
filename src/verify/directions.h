/* Whether gradients are the derivative of a graph's results, in unrounded float64.
 *
 * Forward mode (graph/tangent.h), which shares nothing with the rules of reverse mode, gives the
 * derivative J·v of the results along a direction v, and
 *
 *     ⟨cotangents, J·v⟩ = ⟨gradients, v⟩
 *
 * must hold to 1e-9 of the magnitude of the terms: along one drawn direction for each source that
 * is differentiated; or to 1e-13 of all results and gradients, since roundings leave as much of one
 * that is exactly 0. Where there are more than DIRECTIONS_MOST, some share one, and a gradient that
 * is a billionth of another may be lost beside it. Central differences of the results along the
 * same directions check both, as far as they can: their own error is estimated by a second step.
 * They say nothing of a graph that detaches values on the way, whose gradient is not that of its
 * results.
 *
 * For one thread; everything lives in the arena of the struct. */
#ifndef URZA_VERIFY_DIRECTIONS_H
#define URZA_VERIFY_DIRECTIONS_H

#include "base/error.h"
#include "graph/tangent.h"
#include "verify/verify_priv.h"

#define DIRECTIONS_MOST 12

struct directions {
    struct verification *v;
    struct arena *arena;
    const struct graph *graph; /* whose results are differentiated */
    uint32_t sources;          /* of the graph: inputs, then params */
    /* Set for each point: */
    const int64_t *dims;
    const struct interp_tensor *values;   /* by source */
    const struct tangent_tensor *results; /* by output of the graph */
    /* By output, NULL: zeros; by source, NULL: it is not differentiated, at all points alike. */
    const struct interp_tensor *const *cotangents, *const *gradients;
    bool finite; /* all results are, at this point */
    bool wide;   /* sources are larger than usual; forward mode alone judges */
    bool large;  /* the size is: there is one direction, without differences */
    /* Set by directions_begin, or while judging: */
    struct interp_options options;
    uint32_t count;                /* of directions, where the size is not large */
    double scale;                  /* what roundings are a part of */
    bool detaches;                 /* a value that hangs on what is differentiated is detached */
    bool widely;                   /* something was judged where sources are large */
    double usual[DIRECTIONS_MOST]; /* the largest magnitude of terms at usual sources */
    struct error err;
};
/* Of graph, sources, v and arena; differentiated: by source. */
void directions_begin(struct directions *d, const bool *differentiated);
/* Runs a graph with the same dims in unrounded float64; values: by its source; direction: by
 * source, NULL for 0. Failures are in d->err. */
bool directions_run(struct directions *d, const struct graph *graph,
                    const struct interp_tensor *values, const double *const *direction,
                    const struct tangent_tensor **out);
/* Judges the gradients at a point. outcome->figure is how much of the allowed difference there is;
 * it ran where some derivative is finite. False with d->err, or with the outcome failed. */
bool directions_judge(struct directions *d, struct outcome *outcome);
/* The sizes at which gradients are judged, where `whole` contains their graph: the one that was
 * asked for, or as far as they are affordable
 *   - the smallest;
 *   - an odd one;
 *   - one at which no dim is 1 and each loop makes several trips, where these have not: what goes
 *     wrong between rows, or from trip to trip, shows at no smaller one. Where that is too large,
 *     dims on which no loop hangs are at their least; or nothing is added.
 * ERR_USAGE in d->err, where what was asked for is no size. */
#define DIRECTION_SIZES 3
struct direction_size {
    struct size size;
    bool large; /* one direction is judged */
};
bool directions_sizes(struct directions *d, const struct graph *whole,
                      struct direction_size out[DIRECTION_SIZES], uint32_t *out_count);
/* The detail of an outcome that passed: what was judged at which sizes, and what was not; what:
 * "the block". */
void directions_describe(const struct directions *d, const struct direction_size *at,
                         uint32_t count, const char *what, struct outcome *outcome);

#endif
