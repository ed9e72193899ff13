/* Sums, maxima and minima of floats, many at a time: the same results as folding one by one, for
 * the usual case that everything is finite. */
#ifndef URZA_GRAPH_INTERP_SUMS_PRIV_H
#define URZA_GRAPH_INTERP_SUMS_PRIV_H

#include "graph/interp_priv.h"

/* Float sums of equally many terms. */
struct sums {
    int64_t count; /* of sums */
    int64_t terms; /* of each, > 0 */
    const double *values;
    const double *magnitudes; /* Σ|terms| */
    const double *errors; /* Σ errors of the terms; used, as magnitudes are, in REFERENCE mode only
                           */
};
/* Stores sums at `at`, stride apart. False when one of them is special, that is has a Σ that is not
 * finite: the stored results are then not valid, and must be computed by folds. */
bool sums_put(const struct op *op, int64_t at, int64_t stride, const struct sums *sums);

/* Folds of floats side by side: the sums, maxima or minima of the columns of a matrix. */
#define COLUMNS_MOST 64
struct columns {
    enum fold_kind kind; /* not FOLD_PROD */
    int64_t width;
    double value[COLUMNS_MOST];
    double magnitude[COLUMNS_MOST]; /* sums: Σ|terms|; maxima: the largest of value - error */
    double error[COLUMNS_MOST]; /* sums: Σ errors; maxima: the largest error of elements that may be
                                   the maximum */
    double special[COLUMNS_MOST]; /* maxima: INFINITY where the result must be computed by a fold;
                                     else 0 */
};
void columns_begin(struct columns *columns, enum fold_kind kind, int64_t width);
/* Adds rows of columns->width elements each, stride apart; errors may be NULL. */
void columns_add(struct columns *columns, const double *x, const double *errors, int64_t rows,
                 int64_t stride);
/* Maxima of elements with errors take a second pass over the same rows, after all rows were
 * added. */
void columns_add_errors(struct columns *columns, const double *x, const double *errors,
                        int64_t rows, int64_t stride);
/* Joins all columns into the first. For maxima, before the second pass and after it. */
void columns_join(struct columns *columns);
/* Stores columns first … first+count-1, of `terms` each, from `at` on; false as in sums_put. */
bool columns_put(const struct columns *columns, const struct op *op, int64_t at, int64_t first,
                 int64_t count, int64_t terms);

#endif
