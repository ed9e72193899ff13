/* Folds, one term at a time: sums, products, maxima and minima of terms with errors.
 *
 * A native program may combine terms in any order, so the error of a fold holds for all orders:
 *
 *     sum      γ·Σ|terms|, γ for n roundings of the accumulator, plus the errors of the terms
 *     product  γ·|product|, plus Π(|x| + e) - Π|x|
 *     maximum  the largest error of the elements that may be the maximum
 *
 * A product is not determined where a partial product of some order may overflow. Where one may
 * underflow, the error includes n times the smallest number, enlarged by the other factors. */
#include "graph/interp_priv.h"

void fold_begin(struct fold *fold, enum fold_kind kind, enum dtype dtype)
{
    *fold = (struct fold){.kind = kind, .dtype = dtype, .is_float = dtype_is_float(dtype)};
    if (kind == FOLD_PROD)
        fold->magnitude = fold->least = 1;
    if (fold->is_float) {
        static const double empty[] = {
            [FOLD_SUM] = 0, [FOLD_PROD] = 1, [FOLD_MAX] = -INFINITY, [FOLD_MIN] = INFINITY};
        fold->value.f = empty[kind];
        return;
    }
    fold->value.i = kind == FOLD_SUM    ? 0
                    : kind == FOLD_PROD ? 1
                    : kind == FOLD_MAX  ? dtype_least(dtype)
                                        : dtype_greatest(dtype);
}

static void float_prod_add(struct fold *fold, double x, double error)
{
    double p = fabs(fold->value.f), size = fabs(x);
    fold->value.f *= x;
    if (!(error < INFINITY && fold->error < INFINITY)) {
        fold->error = INFINITY;
    } else if (!isfinite(x)) {
        fold->special = true;
        fold->nan |= isnan(x);
    } else {
        if (isfinite(p))
            fold->error = p * error + size * fold->error + fold->error * error;
        fold->zero |= x == 0 && error == 0;
        fold->magnitude *= fmax(size + error, 1);
        if (x != 0 || error > 0)
            fold->least *= fmin(fmax(size - error, 0), 1);
    }
}

static void float_add(struct fold *fold, double x, double error)
{
    struct approx a = {fold->value.f, fold->error}, b = {x, error};
    if (fold->kind == FOLD_PROD) {
        float_prod_add(fold, x, error);
        return;
    }
    a = fold->kind == FOLD_MAX ? approx_max(a, b) : approx_min(a, b);
    fold->value.f = a.value;
    fold->error = a.error;
}

static void int_add(struct fold *fold, int64_t x, double error)
{
    int64_t value = fold->value.i;
    switch (fold->kind) {
    case FOLD_SUM:
        fold->value.i = (int64_t)((uint64_t)value + (uint64_t)x);
        fold->magnitude += fabs(dtype_int_value(fold->dtype, x));
        fold->error += error;
        return;
    case FOLD_PROD:
        fold->value.i = (int64_t)((uint64_t)value * (uint64_t)x);
        fold->error = fold->error > 0 || error > 0 ? INFINITY : 0;
        return;
    case FOLD_MAX: fold->value.i = dtype_int_less(fold->dtype, value, x) ? x : value; break;
    case FOLD_MIN: fold->value.i = dtype_int_less(fold->dtype, x, value) ? x : value; break;
    }
    fold->error = fmax(fold->error, error);
}

void fold_add_other(struct fold *fold, union cell x, double error)
{
    fold->count++;
    if (fold->is_float)
        float_add(fold, x.f, error);
    else
        int_add(fold, x.i, error);
}

static double sum_error(const struct fold *fold, const struct rounding *r)
{
    double most = fold->magnitude + fold->error;
    if (!(most <= r->sum_max))
        return INFINITY;
    bool exact = fold->error == 0 && r->exact_sums > 0 && most <= r->exact_sums;
    if (fold->special || exact)
        return 0;
    return fold->error + INTERP_SAFETY * (roundings_error(fold->count, r->sum_unit) * most +
                                          (double)fold->count * r->sum_tiny);
}

static double prod_error(const struct fold *fold, const struct rounding *r)
{
    if (isnan(fold->value.f) && (fold->nan || (fold->zero && fold->special)))
        return 0;
    if (!(fold->magnitude <= r->max))
        return INFINITY;
    /* The product stays infinite as long as no partial product of the other factors can become
     * zero. */
    if (fold->special)
        return fold->least >= 0x1p30 * r->tiny ? 0 : INFINITY;
    return fold->error + INTERP_SAFETY * (roundings_error(fold->count, r->relative) *
                                              (fabs(fold->value.f) + fold->error) +
                                          (double)fold->count * r->tiny * fold->magnitude);
}

/* The error before the last rounding. */
static double float_error(const struct fold *fold, const struct rounding *r)
{
    if (!(fold->error < INFINITY))
        return INFINITY;
    switch (fold->kind) {
    case FOLD_SUM: return sum_error(fold, r);
    case FOLD_PROD: return prod_error(fold, r);
    case FOLD_MAX:
    case FOLD_MIN: return fold->error;
    }
    return INFINITY;
}

void fold_put(const struct fold *fold, const struct op *op, int64_t index)
{
    enum dtype dtype = op->out->dtype;
    double error = fold->error;
    if (!fold->is_float) {
        double most = fmin(dtype_int_value(dtype, dtype_greatest(dtype)), 0x1p53);
        bool may_wrap = fold->kind == FOLD_SUM && !(fold->magnitude + error <= most);
        if (error > 0 && may_wrap)
            error = INFINITY;
        op_put_exact(op, index, (union cell){.i = dtype_wrap(dtype, fold->value.i)}, error);
        return;
    }
    if (fold->count == 0) {
        op_put_exact(op, index, fold->value, 0);
        return;
    }
    if (op->out->bounds)
        error = float_error(fold, &op->rounding);
    /* As sums_put: a result that is exact before its last rounding may be exact after it, too. */
    if (fold->kind == FOLD_SUM)
        op_put_representable(op, index, (struct approx){fold->value.f, error});
    else
        op_put(op, index, (struct approx){fold->value.f, error});
}

int64_t shape_product(const int64_t *shape, uint32_t first, uint32_t end)
{
    int64_t product = 1;
    for (uint32_t i = first; i < end; i++)
        product *= shape[i];
    return product;
}

void row_strides(const int64_t *shape, uint32_t rank, int64_t *out_stride)
{
    int64_t stride = 1;
    for (uint32_t d = rank; d-- > 0;) {
        out_stride[d] = stride;
        stride *= shape[d];
    }
}
