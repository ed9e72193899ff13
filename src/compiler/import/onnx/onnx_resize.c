/* Resize and Upsample, an axis at a time.
 *
 * Along an axis each element of the result is a weighted sum of a few elements of the operand, the
 * taps; which ones and with which weights follows from sizes that are constant, so it is worked out
 * here. A tap over all elements of the result is a slice, a repetition, or else a gather with a
 * constant index. */
#include <math.h>
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_told_priv.h"

#define MAX_TAPS 64

struct resize {
    const char *mode, *transform, *nearest;
    bool antialias, exclude_outside;
    double cubic_a, outside; /* value of elements beyond, for tf_crop_and_resize */
};

/* One axis. */
struct axis {
    uint32_t index;
    int64_t in, out;
    double scale, length; /* of the result, not rounded */
    double start, end;    /* region of interest, in parts of the size */
};

/* Where element i of the result lies in the operand. */
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

/* Taps of one element: *first is the index of the first, which may lie outside. */
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

/* x[index[i]] along the axis; index within its size. */
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

/* A vector of weights along the axis, as an operand of x's rank and type. */
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

/* The taps of all elements of an axis: tap k of element i stands at k*out + i. */
struct taps {
    uint32_t count;
    int64_t *indices; /* within the operand */
    double *weights;
    uint8_t *beyond; /* the element lies outside of the operand */
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
    value_id sum = taps->count == 0 ? onnx_refuse(c, "more than %d taps", MAX_TAPS) : VALUE_NONE;
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
    struct arena scratch; /* taps take far more memory than what says so in the file */
    struct taps taps;
    if (a->in < 1 || a->out < 1 || a->out > LIMIT_LITERAL_ELEMENTS)
        return onnx_refuse(c, "%lld elements from %lld", (long long)a->out, (long long)a->in);
    arena_init(&scratch);
    make_taps(r, a, &scratch, &taps);
    value_id y = sum_taps(c, x, r, a, &taps);
    arena_release(&scratch);
    return y;
}

/* What the node asks for along each axis of the operand; NaN and 0 where it says nothing. */
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

/* Not larger, or not smaller, than sizes, with one scale for all axes. */
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

/* Sizes; those that an input tells are what the model states of the result. */
static bool read_sizes(struct onnx_call *c, const int64_t *axes, uint32_t chosen, bool stretch,
                       dim_id *out, uint32_t *count)
{
    dim_id shape[LIMIT_RANK];
    uint32_t input, rank = 0;
    int64_t size;
    if (!stretch && onnx_may_tell(c, 3, &input, count))
        return onnx_refuse(
            c, "input 3 is not known at compile time, by this keep_aspect_ratio_policy");
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

/* A dim that is not constant: whole factors of nearest are repetitions whatever the size. */
static value_id resize_symbolic(struct onnx_call *c, value_id x, const struct resize *r,
                                const struct axis *a, dim_id wanted)
{
    struct axis sample = {.index = a->index, .in = 64, .scale = a->scale, .end = 1};
    double factor = a->scale;
    dim_id size = b_dim(c->b, x, a->index), exact = DIM_NONE;
    int64_t whole = 0;
    if (wanted != DIM_NONE)
        exact = dim_div_exact(&c->o->graph->dims, wanted, size);
    if (exact != DIM_NONE && onnx_is_const(&c->o->graph->dims, exact, &whole))
        factor = (double)whole;
    if ((wanted != DIM_NONE && exact == DIM_NONE) || factor != rint(factor) || factor < 1 ||
        factor > 64 || strcmp(r->mode, "nearest") != 0)
        return onnx_refuse(c, "a dim that is not constant, but for whole factors of nearest");
    sample.scale = factor;
    sample.out = sample.in * (int64_t)factor;
    sample.length = (double)sample.out;
    for (int64_t i = 0; i < sample.out; i++) {
        double weights[MAX_TAPS];
        int64_t first = 0;
        find_taps(r, &sample, i, &first, weights);
        first = first < 0 ? 0 : first;
        if (first != i / (int64_t)factor)
            return onnx_refuse(c, "a dim that is not constant, by '%s'", r->transform);
    }
    return onnx_repeat(c, x, a->index, b_dim_const(c->b, (int64_t)factor));
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
            x = resize_symbolic(c, x, r, &a, to);
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
