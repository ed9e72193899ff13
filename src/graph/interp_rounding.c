/* How results of a node are rounded, and which sums are exact in any order. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "graph/interp_op_priv.h"

static bool is_sum(enum prim prim)
{
    return prim == PRIM_REDUCE_SUM || prim == PRIM_CUM_SUM || prim == PRIM_CONTRACT ||
           prim == PRIM_CONV || prim == PRIM_WINDOW_SUM;
}

/* How results of prim in dtype are rounded. wide: as if every float dtype had float64's precision,
 * but its own range. */
static struct rounding rounding_of(enum prim prim, enum dtype dtype, bool wide)
{
    double ulp = prim_ulp(prim, dtype);
    enum dtype precision = wide || dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    double unit = dtype_unit_roundoff(precision) + INTERP_UNIT;
    bool narrow = !wide && (dtype == DTYPE_F16 || dtype == DTYPE_BF16);
    struct rounding r = {.narrow = narrow,
                         .single = precision == DTYPE_F32,
                         .max = dtype_max(narrow ? DTYPE_F32 : dtype),
                         .sum_unit = unit,
                         .sum_tiny = dtype_min_subnormal(precision) + 0x1p-1074,
                         .sum_max = dtype_max(dtype == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32)};
    if (!prim_rounds(prim))
        return r;
    /* A sum's additions are counted separately, by the fold; what is left is its last rounding. */
    bool once = is_sum(prim) || ulp <= 0.5;
    if (narrow && once) { /* computed in f32 and rounded again: f32 has enough digits that both
                             roundings act as one */
        r.max = INFINITY;
        return r;
    }
    r.relative = once ? unit : 2 * ulp * unit;
    r.past_max = once ? 0 : 1;
    if (once && dtype != DTYPE_F64) /* values less than half a unit above the largest number still
                                       round to it */
        r.max *= 1 + 0.49 * unit;
    r.tiny = fmax(ulp, 1) * dtype_min_subnormal(precision) + 0x1p-1074;
    return r;
}

/* The exponents of the lowest and the highest binary digit of a finite number other than 0. */
static void digit_range(double value, int *out_low, int *out_high)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t digits = bits & (((uint64_t)1 << 52) - 1);
    if (exponent == 0)
        exponent = 1;
    else
        digits |= (uint64_t)1 << 52;
    *out_low = exponent - 1075 + __builtin_ctzll(digits);
    *out_high = exponent - 1075 + 63 - __builtin_clzll(digits);
}

#define GRID_DIGITS 24

/* The largest power of two of which all elements are multiples; 0 when an element is not exact, or
 * when that power is more than 2^GRID_DIGITS below the largest element. On random elements it
 * returns at the second. */
static double tensor_grid(const struct interp_tensor *x)
{
    int low = INT_MAX, high = INT_MIN;
    for (int64_t i = 0; i < x->count; i++) {
        int from, to;
        double value = x->cells[i].f;
        if (!isfinite(value) || bound_at(x, i) > 0)
            return 0;
        if (value == 0)
            continue;
        digit_range(value, &from, &to);
        low = from < low ? from : low;
        high = to > high ? to : high;
        if (high - low > GRID_DIGITS)
            return 0;
    }
    return low == INT_MAX ? (double)INFINITY : ldexp(1, low);
}

/* Computes rounding.exact_sums. Terms are elements, or products of two elements. Zero is a multiple
 * of every number. */
static double exact_sums(const struct op *op)
{
    double grid = tensor_grid(op->in[0]), other = op->in_count == 2 ? tensor_grid(op->in[1]) : 1;
    /* An accumulator of p bits holds multiples of this unit exactly up to 2^p of them. */
    return grid > 0 && other > 0 ? grid * other / (2 * (op->rounding.sum_unit - INTERP_UNIT)) : 0;
}

void op_round(struct op *op, bool wide)
{
    if (!dtype_is_float(op->out->dtype))
        return;
    op->rounding = rounding_of(op->prim, op->out->dtype, wide);
    if (op->reference && is_sum(op->prim))
        op->rounding.exact_sums = exact_sums(op);
}
