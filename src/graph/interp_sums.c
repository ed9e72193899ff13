/* Finishes many float sums at once: plain loops over values and bounds, with the formulas of
 * fold_put and rounding_error. */
#include "base/compiler.h"
#include "graph/interp_sums_priv.h"

#define CHUNK 64

/* The same for all sums of one length. */
struct sum_error {
    struct rounding rounding;
    double relative, tiny; /* error of all additions together */
};

/* Computes the errors; false when one is not finite before the last rounding. */
URZA_VECTORISED
static bool sum_errors(const struct sum_error *e, int64_t count, const double *restrict values,
                       const double *restrict magnitudes, const double *restrict errors,
                       double *restrict out)
{
    struct rounding r = e->rounding;
    double relative = e->relative, tiny = e->tiny, most_of_all = 0;
    for (int64_t i = 0; i < count; i++) {
        double most = magnitudes[i] + errors[i];
        double error = finite_rounding_error(&r, values[i], errors[i] + relative * most + tiny);
        out[i] = most <= r.sum_max && error < INFINITY ? error : INFINITY;
        most_of_all = most < INFINITY ? most_of_all : INFINITY;
    }
    return most_of_all < INFINITY;
}

URZA_VECTORISED
static void round_f32(int64_t count, const double *restrict values, double *restrict out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (double)(float)values[i];
}

/* Sums of exact terms that are exact in every order have the last rounding as their only error, if
 * they need one. */
static void find_exact(const struct op *op, int64_t count, const double *values,
                       const double *magnitudes, const double *errors, double *out)
{
    const struct rounding *r = &op->rounding;
    for (int64_t i = 0; i < count; i++)
        if (errors[i] == 0 && magnitudes[i] <= r->exact_sums)
            out[i] = dtype_round(op->out->dtype, values[i]) == values[i]
                         ? 0
                         : rounding_error(r, values[i], 0);
}

/* Stores values, rounded unless the mode is REFERENCE. */
static void put_values(const struct op *op, int64_t at, int64_t stride, int64_t count,
                       const double *values)
{
    enum dtype dtype = op->out->dtype;
    double rounded[CHUNK];
    if (!op->reference && dtype == DTYPE_F32) {
        round_f32(count, values, rounded);
        values = rounded;
    } else if (!op->reference) {
        for (int64_t i = 0; i < count; i++)
            rounded[i] = round_native(dtype, values[i]);
        values = rounded;
    }
    union cell *to = op->out->cells + at;
    if (stride == 1) {
        memcpy(to, values, (size_t)count * sizeof *values);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        to[i * stride].f = values[i];
}

/* Narrow floats are rounded in a separate step, one by one. */
static bool put_narrow(const struct op *op, int64_t at, int64_t stride, const struct sums *sums,
                       const struct sum_error *e)
{
    bool plain = true;
    for (int64_t i = 0; i < sums->count; i++) {
        double error = sums->errors[i], most = sums->magnitudes[i] + error;
        bool exact = error == 0 && most <= op->rounding.exact_sums;
        double bound = exact ? 0 : error + e->relative * most + e->tiny;
        op_put_narrow(
            op, at + i * stride,
            (struct approx){sums->values[i], most <= op->rounding.sum_max ? bound : INFINITY});
        plain &= most < INFINITY;
    }
    return plain;
}

bool sums_put(const struct op *op, int64_t at, int64_t stride, const struct sums *sums)
{
    const struct rounding *r = &op->rounding;
    struct sum_error e = {.rounding = *r,
                          .relative = INTERP_SAFETY * roundings_error(sums->terms, r->sum_unit),
                          .tiny = INTERP_SAFETY * (double)sums->terms * r->sum_tiny};
    bool plain = true;
    if (op->reference && r->narrow)
        return put_narrow(op, at, stride, sums, &e);
    for (int64_t i = 0; i < sums->count; i += CHUNK) {
        const double *values = sums->values + i, *magnitudes = sums->magnitudes + i;
        const double *errors = sums->errors + i;
        int64_t size = sums->count - i < CHUNK ? sums->count - i : CHUNK;
        double bounds[CHUNK];
        put_values(op, at + i * stride, stride, size, values);
        if (!op->out->bounds)
            continue;
        double *to = stride == 1 ? op->out->bounds + at + i : bounds;
        plain &= sum_errors(&e, size, values, magnitudes, errors, to);
        if (r->exact_sums > 0)
            find_exact(op, size, values, magnitudes, errors, to);
        for (int64_t k = 0; stride != 1 && k < size; k++)
            op->out->bounds[at + (i + k) * stride] = bounds[k];
    }
    return plain;
}
