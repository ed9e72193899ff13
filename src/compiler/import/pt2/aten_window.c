/* Windows of tensors (unfold and fold), and resampling of images: bicubic resizing, sampling at the
 * points of a grid. */
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define PLANE 2
#define MAX_SIDE 64 /* largest window along one dim */
#define CUBIC (-0.75)
#define MAX_TAPS 4

/* Splits a dim in two: the element of a window, and the window. */
static value_id windows(struct builder *b, value_id x, int64_t axis, dim_id count,
                        const struct window *w)
{
    dim_id shape[] = {b_dim_const(b, w->size), count};
    value_id element = b_iota(b, DTYPE_I64, shape, 2, 0),
             window = b_iota(b, DTYPE_I64, shape, 2, 1);
    element = w->dilation == 1 ? element : b_scale(b, element, (double)w->dilation);
    window = w->stride == 1 ? window : b_scale(b, window, (double)w->stride);
    return b_take(b, x, b_add(b, element, window), axis);
}

static dim_id window_count(struct builder *b, dim_id size, const struct window *w)
{
    struct dim_table *dims = &b->graph->dims;
    dim_id room =
        b_dim_add(b, size, b_dim_const(b, w->low + w->high - w->dilation * (w->size - 1) - 1));
    dim_id count = dim_floordiv(dims, room, b_dim_const(b, w->stride));
    return count == DIM_NONE ? DIM_NONE : b_dim_add(b, count, b_dim_const(b, 1));
}

/* Tensor.unfold: windows along one dim; their elements become a new last dim. */
bool aten_unfold(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dimension", 0);
    struct window w = {.size = aten_int(c, "size", 1), .stride = aten_int(c, "step", 1)};
    w.dilation = 1;
    int axis = x == VALUE_NONE || aten_failed(c) ? -1 : b_axis(b, x, dim);
    if (axis < 0)
        return false;
    if (w.size < 1 || w.size > LIMIT_DIM_VALUE || w.stride < 1 || w.stride > LIMIT_DIM_VALUE)
        return aten_refuse(c, "size %lld, step %lld", (long long)w.size, (long long)w.stride);
    value_id y = windows(b, x, axis, window_count(b, b_dim(b, x, axis), &w), &w);
    return aten_return(c, aten_move_dims(b, y, (uint32_t)axis, 1, aten_rank(c, x)));
}

static bool read_pair(struct aten_call *c, const char *name, int64_t out[PLANE])
{
    uint32_t count = aten_ints(c, name, out, PLANE);
    if (count == 1)
        out[1] = out[0];
    return count > 0 && !aten_failed(c);
}

static bool read_plane(struct aten_call *c, struct window w[PLANE])
{
    int64_t size[PLANE], dilation[PLANE], padding[PLANE], stride[PLANE];
    if (!read_pair(c, "kernel_size", size) || !read_pair(c, "dilation", dilation) ||
        !read_pair(c, "padding", padding) || !read_pair(c, "stride", stride))
        return false;
    for (int i = 0; i < PLANE; i++) {
        if (size[i] < 1 || size[i] > MAX_SIDE || dilation[i] < 1 || dilation[i] > LIMIT_DIM_VALUE ||
            padding[i] < 0 || padding[i] > LIMIT_DIM_VALUE || stride[i] < 1 ||
            stride[i] > LIMIT_DIM_VALUE)
            return aten_refuse(c, "kernel_size, dilation, padding or stride is out of range");
        w[i] = (struct window){.size = size[i],
                               .stride = stride[i],
                               .low = padding[i],
                               .high = padding[i],
                               .dilation = dilation[i],
                               .base_dilation = 1};
    }
    return true;
}

/* im2col: [N, C, H, W] to [N, C*kh*kw, windows]. */
bool aten_im2col(struct aten_call *c)
{
    struct builder *b = c->b;
    struct window w[PLANE];
    value_id x = aten_in(c, "self");
    if (x == VALUE_NONE || !read_plane(c, w))
        return false;
    if (aten_rank(c, x) != 4)
        return aten_refuse(c, "rank %u, expected 4", aten_rank(c, x));
    dim_id zero = b_dim_const(b, 0), low[4] = {zero, zero}, high[4] = {zero, zero}, counts[PLANE];
    for (int i = 0; i < PLANE; i++) {
        low[2 + i] = high[2 + i] = b_dim_const(b, w[i].low);
        counts[i] = window_count(b, b_dim(b, x, 2 + i), &w[i]);
    }
    dim_id shape[] = {b_dim(b, x, 0), DIM_NONE, b_dim_mul(b, counts[0], counts[1])};
    shape[1] = b_dim_mul(b, b_dim(b, x, 1), b_dim_const(b, w[0].size * w[1].size));
    x = w[0].low + w[1].low > 0 ? b_pad(b, x, low, high, 0) : x;
    x = windows(b, windows(b, x, 2, counts[0], &w[0]), 4, counts[1], &w[1]);
    return aten_return(c, b_reshape(b, b_swap(b, x, 3, 4), shape, 3)); /* of [N, C, kh, kw, h, w] */
}

/* Fold is a transposed convolution; its weight has a single 1 for each of the kh*kw channels, at
 * its position in the window. */
bool aten_col2im(struct aten_call *c)
{
    struct builder *b = c->b;
    struct window w[PLANE];
    value_id x = aten_in(c, "self");
    int64_t size[PLANE], channels, groups;
    if (x == VALUE_NONE || !read_plane(c, w) || !read_pair(c, "output_size", size))
        return false;
    int64_t places = w[0].size * w[1].size;
    if (aten_rank(c, x) != 3 || !dim_is_const(&b->graph->dims, b_dim(b, x, 1), &channels) ||
        channels % places != 0)
        return aten_refuse(c, "expected [N, C * kernel_size, windows] with constant channels");
    groups = channels / places;
    dim_id counts[PLANE], shape[4], kernel[3];
    for (int i = 0; i < PLANE; i++) {
        counts[i] = window_count(b, b_dim_const(b, size[i]), &w[i]);
        int64_t count, covered;
        if (counts[i] == DIM_NONE || !dim_is_const(&b->graph->dims, counts[i], &count))
            return aten_refuse(c, "output_size does not fit the windows");
        covered = (count - 1) * w[i].stride + w[i].dilation * (w[i].size - 1) + 1;
        w[i].high = covered - w[i].low - size[i]; /* cropped; negative: added zeros */
    }
    memcpy(shape, (dim_id[]){b_dim(b, x, 0), b_dim(b, x, 1), counts[0], counts[1]}, sizeof shape);
    kernel[0] = b_dim_const(b, groups);
    kernel[1] = kernel[2] = b_dim_const(b, places);
    value_id own = b_binary(b, PRIM_EQ, b_iota(b, DTYPE_I64, kernel, 3, 1),
                            b_iota(b, DTYPE_I64, kernel, 3, 2));
    dim_id weight[] = {b_dim_const(b, channels), b_dim_const(b, 1), b_dim_const(b, w[0].size),
                       b_dim_const(b, w[1].size)};
    own = b_reshape(b, b_cast(b, own, aten_type(c, x)), weight, 4);
    return aten_return(c, op_conv_transpose(b, b_reshape(b, x, shape, 4), own, w, PLANE, groups));
}

/* Weight of one of the four elements around a point. ratio: the distance from the second one, 0 …
 * 1. */
static value_id cubic_weight(struct builder *b, value_id ratio, int tap)
{
    value_id x = b_unary(b, PRIM_ABS, b_shift(b, ratio, 1 - tap));
    if (tap == 1 || tap == 2) { /* ((a + 2)x - (a + 3))x² + 1 */
        value_id inner = b_shift(b, b_scale(b, x, CUBIC + 2), -(CUBIC + 3));
        return b_shift(b, b_mul(b, inner, b_mul(b, x, x)), 1);
    }
    /* ((ax - 5a)x + 8a)x - 4a */
    value_id inner = b_shift(b, b_scale(b, x, CUBIC), -5 * CUBIC);
    inner = b_shift(b, b_mul(b, inner, x), 8 * CUBIC);
    return b_shift(b, b_mul(b, inner, x), -4 * CUBIC);
}

/* Resamples one axis of x: `size` elements, the first at `first`, at distances of step. */
static value_id cubic_axis(struct builder *b, value_id x, int axis, dim_id size, double first,
                           value_id step)
{
    enum dtype dtype = (enum dtype)b_node(b, x)->dtype;
    value_id i = b_cast(b, b_iota(b, DTYPE_I64, &size, 1, 0), DTYPE_F64), sum = VALUE_NONE;
    value_id at = b_shift(b, b_mul(b, b_shift(b, i, first), step), -first);
    value_id base = b_unary(b, PRIM_FLOOR, at), ratio = b_cast(b, b_sub(b, at, base), dtype);
    value_id place = b_cast(b, base, DTYPE_I64),
             last = b_shift(b, b_size(b, b_dim(b, x, axis)), -1);
    for (int tap = 0; tap < MAX_TAPS; tap++) {
        value_id from = b_max_const(b, b_binary(b, PRIM_MIN, b_shift(b, place, tap - 1), last), 0);
        value_id weight = cubic_weight(b, ratio, tap);
        for (int k = axis + 1; k < b_node(b, x)->rank && weight != VALUE_NONE; k++)
            weight = b_unsqueeze(b, weight, -1);
        value_id part = b_mul(b, b_take(b, x, from, axis), weight);
        sum = tap == 0 ? part : b_add(b, sum, part);
    }
    return sum;
}

/* A given scale factor is used; otherwise the ratio of the sizes. */
bool aten_bicubic(struct aten_call *c)
{
    struct builder *b = c->b;
    bool vec = aten_has(c, "input"), align = aten_bool(c, "align_corners", false);
    value_id x = aten_in(c, vec ? "input" : "self");
    const char *kind, *const sides[] = {"scales_h", "scales_w"};
    const json_t *list = aten_arg(c, "scale_factors", &kind);
    dim_id sizes[PLANE];
    uint32_t count = aten_dims(c, "output_size", sizes, PLANE);
    if (x == VALUE_NONE || aten_failed(c) || aten_rank(c, x) != 4)
        return aten_refuse(c, "rank %u, expected 4", aten_rank(c, x));
    for (int d = 0; d < PLANE; d++) {
        dim_id own = b_dim(b, x, 2 + d);
        int64_t in, out;
        double factor =
            list ? json_number_value(json_array_get(list, (size_t)d)) : aten_float(c, sides[d], 0);
        if (own == DIM_NONE || !dim_is_const(&b->graph->dims, own, &in))
            return aten_refuse(c, "a dim that is not constant");
        if (count == PLANE && !dim_is_const(&b->graph->dims, sizes[d], &out))
            return aten_refuse(c, "a size that is not constant");
        if (count != PLANE && !(factor > 0 && factor * (double)in < LIMIT_DIM_VALUE))
            return b_fail(b, ERR_BLUEPRINT, "factor %g", factor);
        out = count == PLANE ? out : (int64_t)((double)in * factor);
        double step = factor > 0 ? 1 / factor : (double)in / (double)(out > 0 ? out : 1);
        if (align)
            step = out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
        x = cubic_axis(b, x, 2 + d, b_dim_const(b, out), align ? 0 : 0.5,
                       b_const(b, DTYPE_F64, step));
    }
    return aten_return(c, x);
}

/* For converting a grid coordinate, -1 … 1, to a position among `size` elements. */
struct side {
    struct builder *b;
    value_id size; /* the size as a float */
    bool align;
    int64_t padding; /* outside the image: 0 zeros, 1 the border, 2 reflection */
};

static value_id clamp_place(const struct side *s, value_id x)
{
    return b_max_const(s->b, b_binary(s->b, PRIM_MIN, x, b_shift(s->b, s->size, -1)), 0);
}

static value_id place_of(const struct side *s, value_id x)
{
    struct builder *b = s->b;
    value_id up = b_shift(b, x, 1), half;
    if (s->align)
        half = b_scale(b, b_mul(b, up, b_shift(b, s->size, -1)), 0.5);
    else
        half = b_scale(b, b_shift(b, b_mul(b, up, s->size), -1), 0.5);
    if (s->padding == 0)
        return half;
    if (s->padding == 2) { /* reflect at both ends: a triangle wave */
        value_id low = b_const_like(b, half, s->align ? 0 : -0.5);
        value_id span = s->align ? b_max_const(b, b_shift(b, s->size, -1), 1) : s->size;
        value_id at = b_binary(b, PRIM_REM, b_sub(b, half, low), b_scale(b, span, 2));
        value_id back = b_sub(b, b_scale(b, span, 2), at);
        half = b_add(b, low, b_binary(b, PRIM_MIN, at, back));
    }
    return clamp_place(s, half);
}

/* image[n, c, y[n, p], x[n, p]] times the weights; elements outside count as zero if padding is
 * 0. */
static value_id pick(struct builder *b, value_id image, const struct side sides[PLANE],
                     const value_id at[PLANE], value_id weight)
{
    const struct node node = *b_node(b, image);
    value_id index = VALUE_NONE;
    for (int d = 0; d < PLANE; d++) {
        value_id kept = clamp_place(&sides[d], at[d]);
        if (sides[d].padding == 0) {
            value_id zero = b_const_like(b, weight, 0);
            weight = b_select(b, b_binary(b, PRIM_EQ, kept, at[d]), weight, zero);
        }
        value_id place = b_cast(b, kept, DTYPE_I64);
        index = d == 0 ? place : b_add(b, b_mul(b, index, b_size(b, node.shape[3])), place);
    }
    dim_id flat[] = {node.shape[0], node.shape[1], b_dim_mul(b, node.shape[2], node.shape[3])};
    dim_id wide[] = {node.shape[0], node.shape[1], b_dim(b, index, 1)};
    index = b_broadcast_to(b, b_unsqueeze(b, index, 1), wide, 3);
    return b_mul(b, b_gather(b, b_reshape(b, image, flat, 3), index, 2), b_unsqueeze(b, weight, 1));
}

/* The weighted sum of the neighbours of each point. */
static value_id sample(struct builder *b, value_id image, const struct side sides[PLANE],
                       const value_id places[PLANE], bool nearest)
{
    value_id near[PLANE][2], weights[PLANE][2], sum = VALUE_NONE;
    for (int d = 0; d < PLANE; d++) {
        value_id x = places[d], one = b_const_like(b, x, 1);
        near[d][0] = b_unary(b, nearest ? PRIM_ROUND : PRIM_FLOOR, x);
        near[d][1] = b_add(b, near[d][0], one);
        weights[d][1] = b_sub(b, x, near[d][0]);
        weights[d][0] = b_sub(b, one, weights[d][1]);
    }
    if (nearest) {
        const value_id at[] = {near[0][0], near[1][0]};
        value_id one = b_const_like(b, at[0], 1);
        return pick(b, image, sides, at, b_select(b, b_binary(b, PRIM_EQ, at[0], at[0]), one, one));
    }
    for (int i = 0; i < 4; i++) {
        const value_id at[] = {near[0][i >> 1], near[1][i & 1]};
        value_id weight = b_mul(b, weights[0][i >> 1], weights[1][i & 1]);
        value_id part = pick(b, image, sides, at, weight);
        sum = i == 0 ? part : b_add(b, sum, part);
    }
    return sum;
}

bool aten_grid_sampler(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id image = aten_in(c, "input"), grid = aten_in(c, "grid"), places[PLANE];
    int64_t mode = aten_int(c, "interpolation_mode", 0), padding = aten_int(c, "padding_mode", 0);
    bool align = aten_bool(c, "align_corners", false);
    struct side sides[PLANE];
    if (image == VALUE_NONE || grid == VALUE_NONE || aten_failed(c))
        return false;
    if (aten_rank(c, image) != 4 || aten_rank(c, grid) != 4 || mode < 0 || mode > 1 ||
        padding < 0 || padding > 2)
        return aten_refuse(c, "3-d grids, or bicubic interpolation");
    const struct node node = *b_node(b, image), at = *b_node(b, grid);
    dim_id flat[] = {at.shape[0], b_dim_mul(b, at.shape[1], at.shape[2])};
    for (int d = 0; d < PLANE; d++) {
        value_id size = b_cast(b, b_size(b, node.shape[2 + d]), (enum dtype)at.dtype);
        sides[d] = (struct side){b, size, align, padding};
        value_id x = b_slice(b, grid, -1, b_dim_const(b, 1 - d), b_dim_const(b, 1), 1);
        places[d] = place_of(&sides[d], b_reshape(b, x, flat, 2));
    }
    if (aten_failed(c))
        return false;
    dim_id shape[] = {node.shape[0], node.shape[1], at.shape[1], at.shape[2]};
    return aten_return(c, b_reshape(b, sample(b, image, sides, places, mode == 1), shape, 4));
}
