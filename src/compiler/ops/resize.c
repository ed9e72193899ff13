/* interpolate. Axes are resized one after the other.
 *
 * Source positions are exact fractions in i64, numerator / denominator, so the choice of a
 * neighbour never depends on rounding: the neighbour is the quotient, and its weight follows from
 * the remainder. The scale is a fraction, too: input size over output size, or 1 / scale_factor if
 * the caller gave one. */
#include "compiler/ops/ops_priv.h"

#include <math.h>
#include <string.h>

/* One axis: its new size, and input elements per output element as numerator / denominator (i64
 * 0-d). */
struct resize {
    dim_id in, out;
    value_id numerator, denominator;
    int64_t whole_factor; /* out = in × whole_factor; 0: the factor is not a whole number, or not
                             known */
};

static bool scale_by(struct op_call *call, double factor, struct resize *r)
{
    struct builder *b = call->b;
    struct dim_table *dims = &b->graph->dims;
    if (!(factor > 0) || factor > 65536) {
        return ops_attr_fail(call, "scale_factor", "%g is outside (0, 65536]", factor);
    }
    for (int64_t q = 1; q <= 64; q++) {
        double p = factor * (double)q;
        if (p == floor(p)) {
            dim_id scaled = b_dim_mul(b, r->in, b_dim_const(b, (int64_t)p));
            r->out = dim_floordiv(dims, scaled, b_dim_const(b, q));
            r->numerator = b_const(b, DTYPE_I64, (double)q);
            r->denominator = b_const(b, DTYPE_I64, p);
            r->whole_factor = q == 1 ? (int64_t)p : 0;
            return r->out != DIM_NONE;
        }
    }
    int64_t in = 0;
    if (!dim_is_const(dims, r->in, &in)) {
        return fail(
            b->err, ERR_UNSUPPORTED,
            "scale_factor %g of a dim that is not known is no fraction with denominator ≤ 64",
            factor);
    }
    /* Positions use 1 / factor, as a fraction with numerator 2^20. */
    r->out = b_dim_const(b, (int64_t)floor((double)in * factor));
    r->numerator = b_const(b, DTYPE_I64, 0x1p20);
    r->denominator = b_const(b, DTYPE_I64, nearbyint(factor * 0x1p20));
    return true;
}

static void scale_to(struct builder *b, int64_t size, struct resize *r)
{
    int64_t in = 0;
    r->out = b_dim_const(b, size);
    r->numerator = ops_dim_value(b, r->in);
    r->denominator = b_const(b, DTYPE_I64, (double)size);
    if (dim_is_const(&b->graph->dims, r->in, &in) && in > 0 && size % in == 0) {
        r->whole_factor = size / in;
    }
}

/* The position that output element i reads: numerators over *out_denominator, clamped to ≥ 0,
 * [out]. */
static value_id positions(struct builder *b, const struct resize *r, bool align_corners,
                          bool centred, value_id *out_denominator)
{
    value_id i = b_iota(b, DTYPE_I64, &r->out, 1, 0);
    if (align_corners) {
        value_id gaps = b_max_const(b, b_shift(b, ops_dim_value(b, r->out), -1), 1);
        *out_denominator = gaps;
        return b_mul(b, i, b_max_const(b, b_shift(b, ops_dim_value(b, r->in), -1), 0));
    }
    if (!centred) {
        *out_denominator = r->denominator;
        return b_mul(b, i, r->numerator);
    }
    /* (i + 1/2) * n/d - 1/2 = ((2i + 1) * n - d) / 2d */
    value_id odd = b_shift(b, b_scale(b, i, 2), 1);
    *out_denominator = b_scale(b, r->denominator, 2);
    return b_max_const(b, b_sub(b, b_mul(b, odd, r->numerator), r->denominator), 0);
}

static value_id nearest_axis(struct builder *b, value_id x, int axis, const struct resize *r,
                             bool exact)
{
    value_id denominator = VALUE_NONE;
    if (r->whole_factor > 0 && ops_rank(b, x) < LIMIT_RANK) {
        return r->whole_factor == 1 ? x : ops_repeat(b, x, axis, r->whole_factor, true);
    }
    value_id numerator = positions(b, r, false, false, &denominator);
    if (exact) { /* floor((i + 1/2) * n/d) */
        numerator = b_add(b, b_scale(b, numerator, 2), r->numerator);
        denominator = b_scale(b, denominator, 2);
    }
    return b_take(b, x, b_div(b, numerator, denominator), axis);
}

static value_id linear_axis(struct builder *b, value_id x, int axis, const struct resize *r,
                            bool align_corners)
{
    value_id denominator = VALUE_NONE;
    value_id numerator = positions(b, r, align_corners, true, &denominator);
    value_id lower = b_div(b, numerator, denominator);
    value_id rest = b_sub(b, numerator, b_mul(b, lower, denominator));
    value_id last = b_shift(b, ops_dim_value(b, r->in), -1);
    value_id upper = b_binary(b, PRIM_MIN, b_shift(b, lower, 1), last);
    enum dtype dtype = ops_dtype(b, x);
    value_id weight = b_div(b, b_cast(b, rest, dtype), b_cast(b, denominator, dtype));
    weight = ops_along(b, weight, ops_rank(b, x), axis);
    value_id rest_weight = b_sub(b, b_const(b, dtype, 1), weight);
    return b_add(b, b_mul(b, b_take(b, x, lower, axis), rest_weight),
                 b_mul(b, b_take(b, x, upper, axis), weight));
}

/* Fills r[i] for each spatial dim i of x, from size or scale_factor. */
static bool read_sizes(struct op_call *call, value_id x, uint32_t n, struct resize *r)
{
    struct builder *b = call->b;
    int64_t numbers[LIMIT_RANK];
    bool has_size = op_has(call, "size");
    if (has_size == op_has(call, "scale_factor")) {
        return ops_attr_fail(call, "size", "'interpolate' needs it or scale_factor, not both");
    }
    const char *name = has_size ? "size" : "scale_factor";
    bool is_fraction = op_attr(call, name)->kind == OP_FLOAT;
    if (!is_fraction && !ops_ints_in(call, name, n, 1, INT32_MAX, numbers)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        r[i] = (struct resize){.in = b_dim(b, x, 2 + (int64_t)i)};
        if (has_size) {
            scale_to(b, numbers[i], &r[i]);
        } else if (!scale_by(call, is_fraction ? op_float(call, name) : (double)numbers[i],
                             &r[i])) {
            return false;
        }
    }
    return true;
}

bool expand_interpolate(struct op_call *call)
{
    struct builder *b = call->b;
    const char *mode = op_text(call, "mode");
    bool align_corners = op_bool(call, "align_corners");
    bool nearest = strncmp(mode, "nearest", 7) == 0;
    value_id x = call->in[0];
    struct resize r[LIMIT_RANK];
    if (!ops_check_rank(call, x, 3, 5)) {
        return false;
    }
    uint32_t n = ops_rank(b, x) - 2;
    uint32_t wanted = strcmp(mode, "linear") == 0      ? 1
                      : strcmp(mode, "bilinear") == 0  ? 2
                      : strcmp(mode, "trilinear") == 0 ? 3
                                                       : n;
    if (n != wanted) {
        return ops_attr_fail(call, "mode", "'%s' resizes %u dims, the operand has %u", mode, wanted,
                             n);
    }
    if (nearest && align_corners) {
        return ops_attr_fail(call, "align_corners", "has no meaning for '%s'", mode);
    }
    if (!read_sizes(call, x, n, r)) {
        return false;
    }
    x = nearest ? x : ops_wide(b, x);
    for (uint32_t i = 0; i < n && x != VALUE_NONE; i++) {
        int axis = 2 + (int)i;
        x = nearest ? nearest_axis(b, x, axis, &r[i], mode[7] != '\0')
                    : linear_axis(b, x, axis, &r[i], align_corners);
    }
    return op_return(call, b_cast(b, x, ops_dtype(b, call->in[0])));
}
