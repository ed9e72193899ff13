/* What lies under windows: elements of x by output position and tap, for conv and the windows. */
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
    const int64_t *shape, *out_shape; /* spatial */
    int64_t stride[LIMIT_RANK];
    int64_t plane, out_plane; /* elements of x and results in one channel */
    int64_t taps;             /* of a window, with those on padding */
    struct tap *known;        /* NULL, or all taps of eight positions after those of eight others */
    int64_t *counts;          /* with them: taps of each position that find an element */
};
/* False when a window has too many taps to speak of (conv's are elements of its filters). */
bool windows_init(struct windows *windows, const struct op *op);
/* Finds all taps ahead, where they are not too many, for more than one use of each. */
void windows_find(struct windows *windows, const struct op *op);

/* Taps that find an element, of the window at a flat output position. */
int64_t windows_count(const struct windows *windows, int64_t position);

/* Fills a panel whose lanes are output positions and whose terms are taps, channel after channel;
 * start: the first channel's first element. Where a tap finds padding or a lane does not exist
 * stands `padding`, which has no error. */
void windows_fill(const struct windows *windows, const struct panel *panel, int64_t start,
                  union cell padding);

#endif
