/* Shared by the files of forward mode: one node whose values are known and whose tangents are
 * computed from their definition. */
#ifndef URZA_GRAPH_TANGENT_PRIV_H
#define URZA_GRAPH_TANGENT_PRIV_H

#include "graph/interp_op_priv.h"

struct tangent_op {
    const struct op *op;              /* evaluated; floats have the dtype f64; nothing has bounds */
    const double *in[LIMIT_OPERANDS]; /* of operands that are floats, never NULL; of others NULL */
    double *out;                      /* for each element of the result, which is a float */
};

/* A slope times a tangent. What does not depend on the direction has tangent 0, whatever its slope:
 * 0 times an infinity is 0 here. */
static inline double tangent_times(double slope, double tangent)
{
    return tangent == 0 ? 0 : slope * tangent;
}

/* Whether an element is the one that an extremum found. */
static inline bool tangent_same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* An array of `count` zeros, until the next node. */
static inline double *tangent_scratch(const struct tangent_op *t, int64_t count)
{
    double *data = op_scratch(t->op, SCRATCH_TANGENTS, (size_t)count * sizeof *data);
    for (int64_t i = 0; i < count; i++)
        data[i] = 0;
    return data;
}

void tangent_unary(const struct tangent_op *t);
void tangent_binary(const struct tangent_op *t);
void tangent_extremum(const struct tangent_op *t); /* of two operands */
void tangent_reduce_prod(const struct tangent_op *t);
void tangent_reduce_extremum(const struct tangent_op *t);
void tangent_cum_prod(const struct tangent_op *t);
void tangent_cum_max(const struct tangent_op *t);
void tangent_contract(const struct tangent_op *t);
void tangent_conv(const struct tangent_op *t);
void tangent_window_max(const struct tangent_op *t);
void tangent_scatter_extremum(const struct tangent_op *t);

#endif
