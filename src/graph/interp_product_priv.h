/* Many dot products, of rows of one operand with rows of the other: for contract and conv.
 *
 * The rows of one operand are contiguous in a tensor. Those of the other, called lanes, are packed
 * by a function, eight at a time and side by side. */
#ifndef URZA_GRAPH_INTERP_PRODUCT_PRIV_H
#define URZA_GRAPH_INTERP_PRODUCT_PRIV_H

#include "graph/interp_sums_priv.h"

#define PANEL_LANES 8
#define PANEL_TERMS 256 /* at most */

/* Terms first … first+count-1 of lanes lane … lane+7, as [count][8]. */
struct panel {
    int64_t batch, lane, first, count;
    union cell *cells;
    double *errors; /* NULL: not wanted */
};

struct product {
    const struct op *op;
    /* The result [batches, rows, lanes] is at batch*rows*lanes + row*row_stride + lane*lane_stride.
     */
    int64_t batches, rows, lanes, terms;
    int64_t row_stride, lane_stride;
    const struct interp_tensor *row_side; /* [row_batches, rows, terms] */
    int64_t row_batches;                  /* batch b takes the rows of b % row_batches */
    bool lane_errors;                     /* lanes have errors */
    const void *source;
    /* Fills a panel, with zeros for lanes that do not exist. Called on several threads. */
    void (*fill)(const struct product *product, const struct panel *panel);
    /* Whether a native program may skip terms of a lane because they are padding. NULL: never. */
    bool (*padded)(const struct product *product, int64_t batch, int64_t lane);
};

void product_run(const struct product *product);

#endif
