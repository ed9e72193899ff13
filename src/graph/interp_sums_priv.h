/* Sums, maxima and minima of floats, many at a time: what folds tell of them one by one, for the
 * common case that all is finite. */
#ifndef URZA_GRAPH_INTERP_SUMS_PRIV_H
#define URZA_GRAPH_INTERP_SUMS_PRIV_H

#include "graph/interp_priv.h"

/* Float sums of as many terms each. */
struct sums {
    int64_t count; /* of sums */
    int64_t terms; /* of each, > 0 */
    const double *values;
    const double *magnitudes; /* Σ|terms|, and */
    const double *errors;     /* Σ errors of the terms: both count in REFERENCE mode only */
};
/* Stores sums at `at`, stride apart. False when one of them is special, that is has a Σ that is not
 * finite: what was stored there does not count, and a fold has to tell. */
bool sums_put(const struct op *op, int64_t at, int64_t stride, const struct sums *sums);

/* Folds of floats side by side: sums, maxima or minima of the columns of rows. */
#define COLUMNS_MOST 64
struct columns {
    enum fold_kind kind; /* not FOLD_PROD */
    int64_t width;
    double value[COLUMNS_MOST];
    double magnitude[COLUMNS_MOST]; /* sums: Σ|terms|; maxima: the largest of x - error */
    double error[COLUMNS_MOST];     /* sums: Σ errors; maxima: of those that may be the largest */
    double special[COLUMNS_MOST];   /* maxima: INFINITY where a fold has to tell; else 0 */
};
void columns_begin(struct columns *columns, enum fold_kind kind, int64_t width);
/* Rows of columns->width elements each, stride apart; errors may be NULL. */
void columns_add(struct columns *columns, const double *x, const double *errors, int64_t rows,
                 int64_t stride);
/* Maxima of elements with errors take a second pass over the same rows, after all are in. */
void columns_add_errors(struct columns *columns, const double *x, const double *errors,
                        int64_t rows, int64_t stride);
/* All columns into the first. Maxima: before the second pass and after it. */
void columns_join(struct columns *columns);
/* Stores columns first … first+count-1, of `terms` each, at `at` and on; false like sums_put. */
bool columns_put(const struct columns *columns, const struct op *op, int64_t at, int64_t first,
                 int64_t count, int64_t terms);

#endif
