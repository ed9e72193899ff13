/* The interpreter at points: computes some elements of one value of a graph, from the elements that
 * they depend on only. For judging kernels whose whole reference result costs too much.
 *
 * The cells and bounds are those of interp_run in REFERENCE mode, with four differences, all of
 * which bounds allow: sums may add their terms in another order; whether a sum is exact is decided
 * from the terms of the points instead of from whole tensors; a maximum of zeros of both signs may
 * be the other zero; and where there are infinities, the bounds of maxima may differ. Time and
 * memory are proportional to the number of elements that the points depend on (times its logarithm,
 * for sorting), independent of the sizes of the tensors.
 *
 * Every prim but scatter can be computed at points: the updates of an element of scatter are found
 * only by reading all indices. Indices of take and gather are computed first, by a nested
 * evaluation; lookups of indices by other looked-up indices may be nested 16 deep.
 *
 * Memory comes from the arena, about 50 bytes for each element that is needed. Thread-safe on
 * distinct arenas. */
#ifndef URZA_GRAPH_INTERP_POINTS_H
#define URZA_GRAPH_INTERP_POINTS_H

#include "graph/interp.h"

/* An input or param in native memory, dense and row-major in its declared shape; borrowed. Only
 * needed elements are read. */
struct points_source {
    const void *data;               /* NULL: no element is needed, or there are none */
    const struct interp_lazy *lazy; /* gives the elements in place of data; NULL: data is read */
};

/* The requested elements of a value; everything is borrowed. */
struct points_request {
    const int64_t *dims;                 /* a value for each named dim */
    const struct points_source *sources; /* the graph's inputs, then its params */
    value_id value;
    const int64_t *points; /* flat row-major indices in any order, which may repeat */
    int64_t count;         /* of points */
    int64_t element_limit; /* limit on the number of needed elements, summed over all values, each
                              counted as often as it is read */
};
/* The results and their bounds, in the caller's memory, by point. */
struct points_result {
    union cell *cells;
    double *bounds;
};

/* Of the options, mode, wide and constants are used; memory limit, threads and memo are not.
 *
 * Fails with ERR_UNSUPPORTED when the points depend on an element of a scatter; ERR_LIMIT when they
 * depend on too many elements, a tensor is larger than LIMIT_TENSOR_BYTES or lookups are nested too
 * deep; ERR_INPUT when a point is outside the value, a dim has no legal value, or a needed source
 * is NULL. */
bool interp_points(const struct graph *graph, const struct interp_options *options,
                   const struct points_request *request, struct arena *arena,
                   struct points_result out, struct error *err);

#endif
