/* Resize and Upsample, one axis at a time.
 *
 * Along an axis each element of the result is a weighted sum of a few elements of the operand, the
 * taps. If the sizes are constant, their indices and weights are computed here. Tap k of all
 * elements of the result is then a slice, a repetition, or a gather with a constant index.
 *
 * If a size is a named dim, a few nodes compute indices and weights at each call, on vectors as
 * long as the axis. Repetitions, the most frequent case in networks, remain repetitions. */
#include <math.h>
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_told_priv.h"

#define MAX_TAPS 64
#define MOST_FRACTION (1 << 24) /* largest numerator and denominator of a scale of named dims */

struct resize {
    const char *mode, *transform, *nearest;
    bool antialias, exclude_outside;
    double cubic_a, outside; /* value of elements outside, for tf_crop_and_resize */
};

/* One axis. */
struct axis {
    uint32_t index;
    int64_t in, out;
    double scale, length; /* length: of the result, before rounding */
    double start, end;    /* region of interest, as fractions of the size */
};

/* The position in the operand of element i of the result. */
static double place(const struct resize *r, const struct axis *a, int64_t i)
{
    double x = (double)i, in = (double)a->in;
    if (strcmp(r->transform, "asymmetric") == 0)
        return x / a->scale;
    if (strcmp(r->transform, "align_corners") == 0)
        return a->length == 1 ? 0 : x * (in - 1) / (a->length - 1);
    if (strcmp(r->transform, "tf_half_pixel_for_nn") == 0)
        return (x + 0.5) / a->scale;
    if (strcmp(r->transform, "pytorch_half_pixel") == 0 && a->length <= 1)
        return 0;
    if (strcmp(r->transform, "tf_crop_and_resize") == 0)
        return a->length > 1
                   ? a->start * (in - 1) + x * (a->end - a->start) * (in - 1) / (a->length - 1)
                   : 0.5 * (a->start + a->end) * (in - 1);
    double half = (x + 0.5) / a->scale - 0.5;
    if (strcmp(r->transform, "half_pixel_symmetric") == 0)
        half += in / 2 * (1 - (double)a->out / (a->scale * in));
    return half;
}

static double nearest(const struct resize *r, double x)
{
    if (strcmp(r->nearest, "floor") == 0)
        return floor(x);
    if (strcmp(r->nearest, "ceil") == 0)
        return ceil(x);
    return strcmp(r->nearest, "round_prefer_ceil") == 0 ? floor(x + 0.5) : ceil(x - 0.5);
}

static double cubic(double x, double a)
{
    x = fabs(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* The taps of one element; *first: the index of the first one, which may be outside the operand. */
static uint32_t find_taps(const struct resize *r, const struct axis *a, int64_t i, int64_t *first,
                          double weights[MAX_TAPS])
{
    double x = place(r, a, i), sum = 0;
    if (strcmp(r->mode, "nearest") == 0) {
        *first = (int64_t)nearest(r, x);
        weights[0] = 1;
        return 1;
    }
    bool linear = strcmp(r->mode, "linear") == 0;
    double shrink = r->antialias && a->scale < 1 ? a->scale : 1;
    double before = floor(-(linear ? 1 : 2) / shrink) + 1, base = floor(x), ratio = x - base;
    double count = 2 - 2 * before;
    if (count > MAX_TAPS)
        return 0;
    *first = (int64_t)(base + before);
    for (uint32_t k = 0; k < (uint32_t)count; k++) {
        double distance = (before + k - ratio) * shrink;
        weights[k] = linear ? fmax(1 - fabs(distance), 0) : cubic(distance, r->cubic_a);
        bool inside = *first + k >= 0 && *first + k < a->in;
        if (r->exclude_outside && !inside)
            weights[k] = 0;
        sum += weights[k];
    }
    for (uint32_t k = 0; k < (uint32_t)count; k++)
        weights[k] /= sum;
    return (uint32_t)count;
}

/* x[index[i]] along the axis; all indices are inside. */
static value_id pick(struct onnx_call *c, value_id x, const struct axis *a, const int64_t *index)
{
    struct builder *b = c->b;
    int64_t step = a->out > 1 ? index[1] - index[0] : 1, times = a->out / (a->in > 0 ? a->in : 1);
    bool even = step >= 1, repeats = times >= 1 && times * a->in == a->out;
    for (int64_t i = 0; i < a->out; i++) {
        even = even && index[i] == index[0] + i * step;
        repeats = repeats && index[i] == i / times;
    }
    if (even)
        return b_slice(b, x, a->index, b_dim_const(b, index[0]), b_dim_const(b, a->out), step);
    if (!repeats || onnx_rank(c, x) == LIMIT_RANK)
        return b_take(b, x, b_literal(b, DTYPE_I64, &a->out, 1, index), a->index);
    return onnx_repeat(c, x, a->index, b_dim_const(b, times));
}

/* A vector of weights along the axis, shaped to broadcast with x, in x's dtype. */
static value_id weigh(struct onnx_call *c, value_id x, const struct axis *a, const double *weights)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x) - a->index;
    value_id vector = b_cast(b, b_literal(b, DTYPE_F64, &a->out, 1, weights), onnx_type(c, x));
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = b_dim_const(b, i == 0 ? a->out : 1);
    return b_mul(b, x, b_reshape(b, vector, shape, rank));
}

static bool is_one(const double *weights, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (weights[i] != 1)
            return false;
    return true;
}

/* The taps of all elements of an axis: tap k of element i is at index k*out + i. */
struct taps {
    uint32_t count;
    int64_t *indices; /* clamped to the operand */
    double *weights;
    uint8_t *beyond; /* the element's position is outside the operand */
    bool any_beyond;
};

static void make_taps(const struct resize *r, const struct axis *a, struct arena *arena,
                      struct taps *out)
{
    *out = (struct taps){.indices = ARENA_ARRAY(arena, int64_t, a->out *MAX_TAPS),
                         .weights = ARENA_ARRAY(arena, double, a->out *MAX_TAPS),
                         .beyond = ARENA_ARRAY(arena, uint8_t, a->out)};
    for (int64_t i = 0; i < a->out; i++) {
        double weights[MAX_TAPS], at = place(r, a, i);
        int64_t first = 0;
        out->count = find_taps(r, a, i, &first, weights);
        for (uint32_t k = 0; k < out->count; k++) {
            int64_t index = first + k;
            out->indices[k * a->out + i] = index < 0 ? 0 : index >= a->in ? a->in - 1 : index;
            out->weights[k * a->out + i] = weights[k];
        }
        out->beyond[i] =
            strcmp(r->transform, "tf_crop_and_resize") == 0 && (at < 0 || at > (double)(a->in - 1));
        out->any_beyond |= out->beyond[i] != 0;
    }
}

static value_id sum_taps(struct onnx_call *c, value_id x, const struct resize *r,
                         const struct axis *a, const struct taps *taps)
{
    struct builder *b = c->b;
    value_id sum =
        taps->count == 0
            ? onnx_refuse(c, "an element of the result needs more than %d elements", MAX_TAPS)
            : VALUE_NONE;
    for (uint32_t k = 0; k < taps->count; k++) {
        value_id tap = pick(c, x, a, taps->indices + k * a->out);
        if (!is_one(taps->weights + k * a->out, a->out))
            tap = weigh(c, tap, a, taps->weights + k * a->out);
        sum = k == 0 ? tap : b_add(b, sum, tap);
    }
    if (!taps->any_beyond || sum == VALUE_NONE)
        return sum;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x) - a->index;
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = b_dim_const(b, i == 0 ? a->out : 1);
    value_id outside = b_literal(b, DTYPE_BOOL, &a->out, 1, taps->beyond);
    outside = b_reshape(b, outside, shape, rank);
    return b_select(b, outside, b_const_like(b, sum, r->outside), sum);
}

static value_id resize_axis(struct onnx_call *c, value_id x, const struct resize *r,
                            const struct axis *a)
{
    struct arena scratch; /* taps need much more memory than the node in the file */
    struct taps taps;
    if (a->in < 1 || a->out < 1 || a->out > LIMIT_LITERAL_ELEMENTS)
        return onnx_refuse(c, "%lld elements from %lld", (long long)a->out, (long long)a->in);
    arena_init(&scratch);
    make_taps(r, a, &scratch, &taps);
    value_id y = sum_taps(c, x, r, a, &taps);
    arena_release(&scratch);
    return y;
}

/* The scales, sizes and regions that the node gives for each axis; NaN or 0: none. */
struct wanted {
    double scales[LIMIT_RANK], starts[LIMIT_RANK], ends[LIMIT_RANK];
    dim_id sizes[LIMIT_RANK];
};

static bool read_axes(struct onnx_call *c, uint32_t rank, int64_t *axes, uint32_t *count)
{
    const int64_t *given = onnx_ints(c, "axes", count);
    if (!given)
        *count = rank;
    if (*count > rank)
        return b_fail(c->b, ERR_SHAPE, "%u axes for rank %u", *count, rank);
    for (uint32_t i = 0; i < *count; i++) {
        int axis = b_axis(c->b, c->in[0], given ? given[i] : i);
        if (axis < 0)
            return false;
        axes[i] = axis;
    }
    return true;
}

/* Replaces the sizes so that all axes have one scale, the least, or with `larger` the greatest. */
static void keep_aspect(struct onnx_call *c, const int64_t *axes, uint32_t count, bool larger,
                        struct wanted *out)
{
    struct dim_table *dims = &c->o->graph->dims;
    double scale = larger ? 0 : INFINITY;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < count; i++) {
            int64_t in = 0, size = 0;
            if (!onnx_is_const(dims, b_dim(c->b, c->in[0], axes[i]), &in) || in < 1 ||
                !onnx_is_const(dims, out->sizes[axes[i]], &size))
                return;
            double own = (double)size / (double)in;
            if (pass == 0)
                scale = larger ? fmax(scale, own) : fmin(scale, own);
            else {
                out->sizes[axes[i]] = dim_const(dims, (int64_t)floor(scale * (double)in + 0.5));
                out->scales[axes[i]] = scale;
            }
        }
    }
}

/* Reads the sizes. If an input tells them, they are the sizes that the model states for the
 * result. */
static bool read_sizes(struct onnx_call *c, const int64_t *axes, uint32_t chosen, bool stretch,
                       dim_id *out, uint32_t *count)
{
    dim_id shape[LIMIT_RANK];
    uint32_t input, rank = 0;
    int64_t size;
    if (!stretch && onnx_may_tell(c, 3, &input, count))
        return onnx_refuse(
            c, "input 3 is not known at compile time, as this keep_aspect_ratio_policy requires");
    if (!stretch || !onnx_may_tell(c, 3, &input, count) || *count != chosen ||
        !onnx_stated_shape(c, shape, &rank) || rank != onnx_rank(c, c->in[0]))
        return onnx_dims(c, 3, out, LIMIT_RANK, count);
    for (uint32_t i = 0; i < chosen; i++) {
        out[i] = shape[axes[i]];
        if (!onnx_is_const(&c->o->graph->dims, out[i], &size))
            return onnx_refuse(c, "input 3 is not known at compile time, nor is the result's size");
        if (!onnx_require_const(c, input, i, ELEMENT_SIZE, size))
            return false;
    }
    return true;
}

static bool read_wanted(struct onnx_call *c, struct wanted *out)
{
    double numbers[2 * LIMIT_RANK];
    dim_id sizes[LIMIT_RANK];
    int64_t axes[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, c->in[0]), chosen = 0, count = 0;
    uint32_t scales = c->opset < 11 ? 1 : 2;
    const char *policy = onnx_text(c, "keep_aspect_ratio_policy", "stretch");
    bool roi = c->opset >= 11 && onnx_given(c, 1);
    for (uint32_t i = 0; i < rank; i++)
        out->scales[i] = out->ends[i] = 1;
    if (!read_axes(c, rank, axes, &chosen) ||
        (roi && !onnx_const_reals(c, 1, numbers, 2 * LIMIT_RANK, &count)))
        return false;
    for (uint32_t i = 0; i < chosen && count == 2 * chosen; i++) {
        out->starts[axes[i]] = numbers[i];
        out->ends[axes[i]] = numbers[chosen + i];
    }
    count = 0;
    if (onnx_given(c, scales) && !onnx_const_reals(c, scales, numbers, LIMIT_RANK, &count))
        return false;
    for (uint32_t i = 0; i < chosen && count == chosen; i++)
        out->scales[axes[i]] = numbers[i];
    if (count > 0 || !onnx_given(c, 3))
        return count == chosen || b_fail(c->b, ERR_SHAPE, "%u scales for %u axes", count, chosen);
    if (!read_sizes(c, axes, chosen, strcmp(policy, "stretch") == 0, sizes, &count))
        return false;
    if (count != chosen)
        return b_fail(c->b, ERR_SHAPE, "%u sizes for %u axes", count, chosen);
    for (uint32_t i = 0; i < chosen; i++)
        out->sizes[axes[i]] = sizes[i];
    if (strcmp(policy, "stretch") != 0)
        keep_aspect(c, axes, chosen, strcmp(policy, "not_smaller") == 0, out);
    return true;
}

/* The integer factor by which mode nearest repeats each element, whatever the size; 0: there is
 * none. */
static int64_t repetitions(struct onnx_call *c, const struct resize *r, const struct axis *a,
                           dim_id size, dim_id wanted)
{
    struct axis sample = {.index = a->index, .in = 64, .scale = a->scale, .end = 1};
    double factor = a->scale;
    dim_id exact = DIM_NONE;
    int64_t whole = 0;
    if (wanted != DIM_NONE)
        exact = dim_div_exact(&c->o->graph->dims, wanted, size);
    if (exact != DIM_NONE && onnx_is_const(&c->o->graph->dims, exact, &whole))
        factor = (double)whole;
    if ((wanted != DIM_NONE && exact == DIM_NONE) || factor != rint(factor) || factor < 1 ||
        factor > 64 || strcmp(r->mode, "nearest") != 0)
        return 0;
    sample.scale = factor;
    sample.out = sample.in * (int64_t)factor;
    sample.length = (double)sample.out;
    for (int64_t i = 0; i < sample.out; i++) {
        double weights[MAX_TAPS];
        int64_t first = 0;
        find_taps(r, &sample, i, &first, weights);
        first = first < 0 ? 0 : first;
        if (first != i / (int64_t)factor)
            return 0;
    }
    return (int64_t)factor;
}

/* An axis whose size is a named dim. The scale is p/q; positions are fractions of integers, so that
 * rounding of quotients cannot change which elements are the taps. */
struct open_axis {
    value_id index, in, out, p, q; /* i64; index a vector, the others 0-d */
    bool by_size;                  /* the scale is out/in */
};

/* The positions of all elements in the operand, as fractions above/below. */
struct fraction {
    value_id above, below;
};

/* floor(size * scale), and the scale as *out_p / *out_q; DIM_NONE if it is no such fraction. */
static dim_id scaled_size(struct onnx_call *c, dim_id size, double scale, int64_t *out_p,
                          int64_t *out_q)
{
    struct dim_table *dims = &c->o->graph->dims;
    for (*out_q = 1; scale != rint(scale) && *out_q < MOST_FRACTION; *out_q *= 2)
        scale *= 2;
    if (scale != rint(scale) || !(scale > 0 && scale < MOST_FRACTION))
        return DIM_NONE;
    *out_p = (int64_t)scale;
    return dim_floordiv(dims, dim_mul(dims, size, dim_const(dims, *out_p)),
                        dim_const(dims, *out_q));
}

/* As place(), for all elements. */
static struct fraction open_place(struct builder *b, const struct resize *r,
                                  const struct open_axis *a)
{
    value_id x = a->index, middle = b_shift(b, b_scale(b, x, 2), 1), p2 = b_scale(b, a->p, 2);
    /* (length - 1)*q, where length is p/q*in */
    value_id last = a->by_size ? b_shift(b, a->out, -1) : b_sub(b, b_mul(b, a->in, a->p), a->q);
    if (strcmp(r->transform, "asymmetric") == 0)
        return (struct fraction){b_mul(b, x, a->q), a->p};
    if (strcmp(r->transform, "align_corners") == 0) { /* a single element is at 0/1 */
        value_id above = b_mul(b, x, b_shift(b, a->in, -1));
        return (struct fraction){a->by_size ? above : b_mul(b, above, a->q),
                                 b_max_const(b, last, 1)};
    }
    value_id above = b_mul(b, middle, a->q);
    if (strcmp(r->transform, "tf_half_pixel_for_nn") == 0)
        return (struct fraction){above, p2};
    above = b_sub(b, above, a->p);
    if (strcmp(r->transform, "pytorch_half_pixel") == 0) {
        value_id zero = b_const(b, DTYPE_I64, 0);
        above = b_select(b, b_binary(b, PRIM_LT, zero, last), above, zero);
    } else if (strcmp(r->transform, "half_pixel_symmetric") == 0) {
        above = b_add(b, above, b_sub(b, b_mul(b, a->in, a->p), b_mul(b, a->out, a->q)));
    }
    return (struct fraction){above, p2};
}

/* Floor division: returns the remainder; *out_quotient is the quotient. */
static value_id divide(struct builder *b, value_id above, value_id below, value_id *out_quotient)
{
    value_id rest = b_binary(b, PRIM_REM, above, below);
    *out_quotient = b_div(b, b_sub(b, above, rest), below);
    return rest;
}

static value_id open_nearest(struct builder *b, const struct resize *r, struct fraction at)
{
    value_id quotient = VALUE_NONE, twice = b_scale(b, at.above, 2);
    if (strcmp(r->nearest, "ceil") == 0)
        at.above = b_shift(b, b_add(b, at.above, at.below), -1);
    else if (strcmp(r->nearest, "floor") != 0) {
        bool up = strcmp(r->nearest, "round_prefer_ceil") == 0;
        at.above = b_shift(b, b_add(b, twice, at.below), up ? 0 : -1);
        at.below = b_scale(b, at.below, 2);
    }
    divide(b, at.above, at.below, &quotient);
    return quotient;
}

/* As cubic(), of distances in 0 … 1 (inner) or in 1 … 2. */
static value_id open_cubic(struct builder *b, value_id x, double a, bool inner)
{
    value_id y = inner ? b_mul(b, b_shift(b, b_scale(b, x, a + 2), -(a + 3)), x)
                       : b_shift(b, b_mul(b, b_shift(b, b_scale(b, x, a), -5 * a), x), 8 * a);
    return b_shift(b, b_mul(b, y, x), inner ? 1 : -4 * a);
}

/* The weight of tap k; ratio: the distance of the element from the tap before it. */
static value_id open_weight(struct builder *b, const struct resize *r, value_id ratio, uint32_t k)
{
    value_id rest = b_shift(b, b_neg(b, ratio), 1);
    if (strcmp(r->mode, "linear") == 0)
        return k == 0 ? rest : ratio;
    value_id near = k < 2 ? ratio : rest;
    bool inner = k == 1 || k == 2;
    return open_cubic(b, inner ? near : b_shift(b, near, 1), r->cubic_a, inner);
}

static value_id sum_open_taps(struct onnx_call *c, value_id x, const struct resize *r,
                              const struct axis *a, struct fraction at)
{
    struct builder *b = c->b;
    value_id base = VALUE_NONE, sum = VALUE_NONE;
    if (strcmp(r->mode, "nearest") == 0)
        return b_take(b, x, b_unary(b, PRIM_COPY, open_nearest(b, r, at)), a->index);
    value_id rest = divide(b, at.above, at.below, &base);
    value_id ratio = b_div(b, b_cast(b, rest, DTYPE_F64), b_cast(b, at.below, DTYPE_F64));
    uint32_t count = strcmp(r->mode, "linear") == 0 ? 2 : 4, rank = onnx_rank(c, x) - a->index;
    dim_id shape[LIMIT_RANK] = {b_dim(b, ratio, 0)};
    for (uint32_t i = 1; i < rank; i++)
        shape[i] = b_dim_const(b, 1);
    base = b_unary(b, PRIM_COPY, base);
    for (uint32_t k = 0; k < count; k++) {
        value_id index = b_shift(b, base, (double)k + 1 - count / 2); /* the take clamps it to the
                                                                         operand */
        value_id weight = b_cast(b, open_weight(b, r, ratio, k), onnx_type(c, x));
        weight = b_reshape(b, b_unary(b, PRIM_COPY, weight), shape, rank);
        value_id tap = b_mul(b, b_take(b, x, index, a->index), weight);
        sum = k == 0 ? tap : b_add(b, sum, tap);
    }
    return sum;
}

static value_id resize_open(struct onnx_call *c, value_id x, const struct resize *r,
                            const struct axis *a, dim_id wanted)
{
    struct builder *b = c->b;
    dim_id size = b_dim(b, x, a->index);
    int64_t times = repetitions(c, r, a, size, wanted), p = 0, q = 0;
    if (times > 0)
        return onnx_repeat(c, x, a->index, b_dim_const(b, times));
    bool by_size = wanted != DIM_NONE && a->scale == 1;
    dim_id to = by_size ? wanted : scaled_size(c, size, a->scale, &p, &q);
    if (to == DIM_NONE || strcmp(r->transform, "tf_crop_and_resize") == 0 ||
        (r->exclude_outside && strcmp(r->mode, "nearest") != 0) ||
        (r->antialias && !(!by_size && a->scale >= 1)))
        return onnx_refuse(c, "a dim that is not constant, by '%s'%s%s%s", r->transform,
                           to == DIM_NONE ? " and a scale that is not a fraction p/q" : "",
                           r->exclude_outside ? ", exclude_outside" : "",
                           r->antialias ? ", antialias" : "");
    struct open_axis open = {.index = b_iota(b, DTYPE_I64, &to, 1, 0),
                             .in = b_size(b, size),
                             .out = b_size(b, to),
                             .by_size = by_size};
    open.p = by_size ? open.out : b_const(b, DTYPE_I64, (double)p);
    open.q = by_size ? open.in : b_const(b, DTYPE_I64, (double)q);
    return sum_open_taps(c, x, r, a, open_place(b, r, &open));
}

static bool resize(struct onnx_call *c, const struct resize *r, const struct wanted *wanted)
{
    struct dim_table *dims = &c->o->graph->dims;
    enum dtype type = onnx_type(c, c->in[0]);
    bool weighs = strcmp(r->mode, "nearest") != 0 && dtype_is_float(type) && dtype_bytes(type) < 4;
    value_id x = weighs ? b_cast(c->b, c->in[0], DTYPE_F32) : c->in[0];
    bool crop = strcmp(r->transform, "tf_crop_and_resize") == 0;
    for (uint32_t i = 0; i < onnx_rank(c, c->in[0]) && x != VALUE_NONE; i++) {
        struct axis a = {.index = i,
                         .scale = wanted->scales[i],
                         .start = wanted->starts[i],
                         .end = wanted->ends[i]};
        dim_id size = b_dim(c->b, x, i), to = wanted->sizes[i];
        bool same = to == DIM_NONE ? a.scale == 1 : to == size;
        if (same && !(crop && (a.start != 0 || a.end != 1)))
            continue;
        if (!onnx_is_const(dims, size, &a.in) ||
            (to != DIM_NONE && !onnx_is_const(dims, to, &a.out))) {
            x = resize_open(c, x, r, &a, to);
            continue;
        }
        if (to != DIM_NONE && a.scale == 1)
            a.scale = (double)a.out / (double)a.in;
        double part = crop ? a.end - a.start : 1;
        a.length = to != DIM_NONE ? (double)a.out : a.scale * part * (double)a.in;
        if (!(a.length >= 0 && a.length < (double)LIMIT_DIM_VALUE))
            return b_fail(c->b, ERR_SHAPE, "a scale of %g", a.scale);
        if (to == DIM_NONE)
            a.out = (int64_t)floor(a.length);
        x = resize_axis(c, x, r, &a);
    }
    return onnx_return(c, weighs ? b_cast(c->b, x, type) : x);
}

bool onnx_resize(struct onnx_call *c)
{
    struct resize r = {
        .mode = onnx_text(c, "mode", "nearest"),
        .transform = onnx_text(c, "coordinate_transformation_mode",
                               c->opset < 11 ? "asymmetric" : "half_pixel"),
        .nearest = onnx_text(c, "nearest_mode", c->opset < 11 ? "floor" : "round_prefer_floor"),
        .antialias = onnx_int(c, "antialias", 0) != 0,
        .exclude_outside = onnx_int(c, "exclude_outside", 0) != 0,
        .cubic_a = onnx_float(c, "cubic_coeff_a", -0.75),
        .outside = onnx_float(c, "extrapolation_value", 0),
    };
    struct wanted wanted = {0};
    if (strcmp(r.mode, "nearest") != 0 && !dtype_is_float(onnx_type(c, c->in[0])))
        return onnx_refuse(c, "mode '%s' of integers", r.mode);
    return read_wanted(c, &wanted) && resize(c, &r, &wanted);
}

bool onnx_upsample(struct onnx_call *c)
{
    struct resize r = {.mode = onnx_text(c, "mode", "nearest"),
                       .transform = "asymmetric",
                       .nearest = "floor",
                       .cubic_a = -0.75};
    struct wanted wanted = {0};
    uint32_t rank = onnx_rank(c, c->in[0]), count = 0;
    const Onnx__AttributeProto *attr = onnx_attr(c, "scales");
    for (uint32_t i = 0; i < rank; i++)
        wanted.scales[i] = wanted.ends[i] = 1;
    if (attr) {
        for (count = 0; count < attr->n_floats && count < rank; count++)
            wanted.scales[count] = (double)attr->floats[count];
    } else if (!onnx_const_reals(c, 1, wanted.scales, LIMIT_RANK, &count)) {
        return false;
    }
    return count == rank ? resize(c, &r, &wanted)
                         : b_fail(c->b, ERR_SHAPE, "%u scales for rank %u", count, rank);
}
