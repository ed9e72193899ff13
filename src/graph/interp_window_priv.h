/* The elements of x under windows, by output position and tap: for conv and the window prims. */
#ifndef URZA_GRAPH_INTERP_WINDOW_PRIV_H
#define URZA_GRAPH_INTERP_WINDOW_PRIV_H

#include "graph/interp_product_priv.h"

/* The elements that lie under windows over the last dims of x.
 *
 *     positions of one dim:  low + high elements of padding around x, x spread by base_dilation
 *     window at output o:    positions o*stride + t*dilation - low for t < size
 *     tap:                   a t in each dim, flat; it finds an element of x, or padding */
struct windows {
    uint32_t rank;
    const struct window *window;
    const struct interp_tensor *x;
    const int64_t *shape, *out_shape; /* of the spatial dims */
    int64_t stride[LIMIT_RANK];
    int64_t plane, out_plane; /* elements of x and of the result in one channel */
    int64_t taps;             /* taps of a window, those on padding included */
    struct tap *known; /* NULL, or the taps of all output positions: of the first eight positions,
                          then of the next eight … */
    int64_t *counts;   /* set with it: for each position, how many taps find an element */
};
/* False when a window has more taps than can be counted; for conv that cannot happen, since taps
 * are elements of its filters. */
bool windows_init(struct windows *windows, const struct op *op);
/* Finds the taps of all positions ahead, unless they are too many, where each is used more than
 * once. */
void windows_find(struct windows *windows, const struct op *op);

/* The number of taps that find an element, for the window at a flat output position. */
int64_t windows_count(const struct windows *windows, int64_t position);

/* Fills a panel whose lanes are output positions and whose terms are taps, channel after channel;
 * start: the first element of the first channel. Taps on padding, and lanes that do not exist, get
 * the value `padding`, with no error. */
void windows_fill(const struct windows *windows, const struct panel *panel, int64_t start,
                  union cell padding);

#endif
