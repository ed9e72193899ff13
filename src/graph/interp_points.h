/* The interpreter at points: some elements of one value of a graph, computed from what they need
 * and nothing else. For kernels whose whole reference costs too much to be judged by.
 *
 * The cells and bounds are those of interp_run in REFERENCE mode, with four differences, all within
 * what a bound promises: sums may add their terms in another order; a sum is known to be exact by
 * the terms of the points rather than by whole tensors; a maximum of zeros of either sign may be
 * the other zero; and among infinities the bounds of maxima may differ. Time and memory go with
 * the elements that the points need (times the logarithm, for sorting), whatever the sizes of the
 * tensors.
 *
 * Every prim but scatter can be computed at points: what an element of scatter needs is found only
 * by reading all its indices. Indices of take and gather are computed first, by themselves; of
 * indices that are looked up by indices that are looked up … there may be 16.
 *
 * Memory comes from the arena, about 50 bytes for each element that is needed. Thread-safe on
 * distinct arenas. */
#ifndef URZA_GRAPH_INTERP_POINTS_H
#define URZA_GRAPH_INTERP_POINTS_H

#include "graph/interp.h"

/* An input or param in native memory, dense and row-major in its declared shape; borrowed. Only
 * elements that are needed are read. */
struct points_source {
    const void *data; /* NULL: never needed, or without elements */
};

/* Elements of a value; all is borrowed. */
struct points_request {
    const int64_t *dims;                 /* a value for each named dim */
    const struct points_source *sources; /* the graph's inputs, then its params */
    value_id value;
    const int64_t *points; /* flat row-major indices in any order, which may repeat */
    int64_t count;         /* of points */
    int64_t element_limit; /* the most elements that may be needed, of all values together, each as
                              often as another element needs it */
};
/* Where they go, with their bounds: the caller's memory, by point. */
struct points_result {
    union cell *cells;
    double *bounds;
};

/* options: mode and wide count; memory and threads do not.
 *
 * Fails with ERR_UNSUPPORTED when the points need an element of a scatter; ERR_LIMIT when they need
 * too many elements, a tensor is larger than LIMIT_TENSOR_BYTES or lookups are nested too deep;
 * ERR_INPUT when a point lies outside the value, a dim has no legal value, or a source that is
 * needed is NULL. */
bool interp_points(const struct graph *graph, const struct interp_options *options,
                   const struct points_request *request, struct arena *arena,
                   struct points_result out, struct error *err);

#endif
