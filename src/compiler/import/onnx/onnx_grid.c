/* Sampling images at computed positions: GridSample, RoiAlign, CropAndResize and DeformConv.
 *
 * The spatial dims are merged into one, into which the neighbours of a position are indices. A
 * neighbour outside the image is clamped for the gather; its weight is 0 if it counts as zero. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

#define MAX_SPATIAL 3
#define MAX_TAPS 4            /* neighbours along one dim */
#define MAX_TAPS_DEFORMED 256 /* elements of a DeformConv kernel */

struct grid {
    struct onnx_call *c;
    uint32_t spatial;
    bool align, zeros, border, reflect;
    enum dtype type;
    dim_id sizes[MAX_SPATIAL]; /* spatial sizes of the image */
    dim_id n, channels, places;
    value_id image; /* [N, C, merged spatial dims] */
};

static value_id size_of(struct grid *g, uint32_t d)
{
    return b_cast(g->c->b, b_size(g->c->b, g->sizes[d]), g->type);
}

/* Reflects x at both ends of low … low + span as often as needed. */
static value_id fold_back(struct grid *g, value_id x, value_id low, value_id span)
{
    struct builder *b = g->c->b;
    value_id none = b_binary(b, PRIM_EQ, span, b_const_like(b, span, 0));
    value_id safe = b_select(b, none, b_const_like(b, span, 1), span);
    value_id at = b_binary(b, PRIM_REM, b_sub(b, x, low), b_scale(b, safe, 2));
    value_id back = b_sub(b, b_scale(b, safe, 2), at);
    value_id folded = b_add(b, low, b_binary(b, PRIM_MIN, at, back));
    return b_select(b, none, low, folded);
}

static value_id reflected(struct grid *g, value_id x, uint32_t d)
{
    struct builder *b = g->c->b;
    value_id size = size_of(g, d);
    value_id low = b_const(b, g->type, g->align ? 0 : -0.5);
    return fold_back(g, x, low, g->align ? b_shift(b, size, -1) : size);
}

static value_id clamped(struct grid *g, value_id x, uint32_t d)
{
    struct builder *b = g->c->b;
    value_id last = b_shift(b, size_of(g, d), -1);
    return b_max_const(b, b_binary(b, PRIM_MIN, x, last), 0);
}

/* Converts a coordinate in -1 … 1 to a position in the image. */
static value_id unscale(struct grid *g, value_id x, uint32_t d)
{
    struct builder *b = g->c->b;
    value_id size = size_of(g, d), up = b_shift(b, x, 1);
    if (g->align)
        return b_scale(b, b_mul(b, up, b_shift(b, size, -1)), 0.5);
    return b_scale(b, b_shift(b, b_mul(b, up, size), -1), 0.5);
}

static value_id cubic(struct builder *b, value_id x, double a)
{
    value_id near = b_shift(b, b_scale(b, x, a + 2), -(a + 3));
    near = b_shift(b, b_mul(b, b_mul(b, near, x), x), 1);
    value_id far = b_shift(b, b_scale(b, x, a), -5 * a);
    far = b_shift(b, b_mul(b, b_shift(b, b_mul(b, far, x), 8 * a), x), -4 * a);
    return b_select(b, b_binary(b, PRIM_LE, x, b_const_like(b, x, 1)), near, far);
}

/* The neighbours along one dim, as floats, and their weights; weights[0] VALUE_NONE stands for
 * 1. */
static uint32_t neighbours(struct grid *g, const char *mode, value_id x, value_id *at,
                           value_id *weights)
{
    struct builder *b = g->c->b;
    if (strcmp(mode, "nearest") == 0) {
        at[0] = b_unary(b, PRIM_ROUND, x);
        weights[0] = VALUE_NONE;
        return 1;
    }
    value_id base = b_unary(b, PRIM_FLOOR, x), ratio = b_sub(b, x, base);
    bool linear = strcmp(mode, "bilinear") == 0 || strcmp(mode, "linear") == 0;
    if (linear) {
        at[0] = base;
        at[1] = b_shift(b, base, 1);
        weights[0] = b_sub(b, b_const_like(b, ratio, 1), ratio);
        weights[1] = ratio;
        return 2;
    }
    for (uint32_t k = 0; k < MAX_TAPS; k++) {
        double offset = (double)k - 1;
        at[k] = b_shift(b, base, offset);
        weights[k] = cubic(b, b_unary(b, PRIM_ABS, b_shift(b, ratio, -offset)), -0.75);
    }
    return MAX_TAPS;
}

/* Clamps a neighbour to the image; its weight becomes 0 if it is outside and counts as zero. */
static value_id inside(struct grid *g, value_id at, uint32_t d, value_id *weight)
{
    struct builder *b = g->c->b;
    if (g->reflect)
        return clamped(g, reflected(g, at, d), d);
    value_id kept = clamped(g, at, d);
    if (!g->zeros)
        return kept;
    value_id one = b_const_like(b, at, 1), zero = b_const_like(b, at, 0);
    value_id hit = b_binary(b, PRIM_EQ, at, kept);
    *weight = b_select(b, hit, *weight == VALUE_NONE ? one : *weight, zero);
    return kept;
}

/* image[n, c, index[n, p]] */
static value_id fetch(struct grid *g, value_id index)
{
    struct builder *b = g->c->b;
    dim_id shape[3] = {g->n, g->channels, g->places};
    value_id wide = b_broadcast_to(b, b_unsqueeze(b, index, 1), shape, 3);
    return b_gather(b, g->image, wide, 2);
}

/* The weighted sum of all neighbours. coordinates: positions by spatial dim, [N, places]. */
static value_id sample(struct grid *g, const char *mode, const value_id *coordinates)
{
    struct builder *b = g->c->b;
    value_id at[MAX_SPATIAL][MAX_TAPS], weights[MAX_SPATIAL][MAX_TAPS], sum = VALUE_NONE;
    uint32_t taps = 0, all = 1;
    for (uint32_t d = 0; d < g->spatial; d++) {
        taps = neighbours(g, mode, coordinates[d], at[d], weights[d]);
        for (uint32_t k = 0; k < taps; k++)
            at[d][k] = inside(g, at[d][k], d, &weights[d][k]);
        all *= taps;
    }
    for (uint32_t i = 0; i < all && !onnx_failed(g->c); i++) {
        value_id index = VALUE_NONE, weight = VALUE_NONE;
        for (uint32_t d = 0, rest = i; d < g->spatial; d++, rest /= taps) {
            value_id own = weights[d][rest % taps];
            value_id place = b_cast(b, at[d][rest % taps], DTYPE_I64);
            index = d == 0 ? place : b_add(b, b_mul(b, index, b_size(b, g->sizes[d])), place);
            if (own != VALUE_NONE)
                weight = weight == VALUE_NONE ? own : b_mul(b, weight, own);
        }
        value_id part = fetch(g, index);
        if (weight != VALUE_NONE)
            part = b_mul(b, part, b_unsqueeze(b, weight, 1));
        sum = i == 0 ? part : b_add(b, sum, part);
    }
    return sum;
}

static bool begin(struct grid *g, value_id image)
{
    struct builder *b = g->c->b;
    dim_id flat[3];
    uint32_t rank = onnx_rank(g->c, image);
    g->spatial = rank - 2;
    if (rank < 3 || g->spatial > MAX_SPATIAL)
        return b_fail(b, ERR_SHAPE, "rank %u, expected 3 to %d", rank, MAX_SPATIAL + 2);
    g->type = onnx_type(g->c, image);
    flat[0] = g->n = b_dim(b, image, 0);
    flat[1] = g->channels = b_dim(b, image, 1);
    flat[2] = b_dim_const(b, 1);
    for (uint32_t d = 0; d < g->spatial; d++) {
        g->sizes[d] = b_dim(b, image, 2 + d);
        flat[2] = b_dim_mul(b, flat[2], g->sizes[d]);
    }
    g->image = b_reshape(b, image, flat, 3);
    return !onnx_failed(g->c);
}

bool onnx_grid_sample(struct onnx_call *c)
{
    struct builder *b = c->b;
    const char *padding = onnx_text(c, "padding_mode", "zeros");
    const char *mode = onnx_text(c, "mode", c->opset < 20 ? "bilinear" : "linear");
    struct grid g = {.c = c,
                     .align = onnx_int(c, "align_corners", 0) != 0,
                     .zeros = strcmp(padding, "zeros") == 0,
                     .border = strcmp(padding, "border") == 0,
                     .reflect = strcmp(padding, "reflection") == 0};
    value_id coordinates[MAX_SPATIAL], grid = c->in[1];
    dim_id shape[LIMIT_RANK], flat[2];
    if (!begin(&g, c->in[0]))
        return false;
    if (onnx_rank(c, grid) != g.spatial + 2)
        return b_fail(b, ERR_SHAPE, "a grid of rank %u", onnx_rank(c, grid));
    shape[0] = g.n;
    shape[1] = g.channels;
    g.places = b_dim_const(b, 1);
    for (uint32_t d = 0; d < g.spatial; d++) {
        shape[2 + d] = b_dim(b, grid, 1 + d);
        g.places = b_dim_mul(b, g.places, shape[2 + d]);
    }
    flat[0] = g.n;
    flat[1] = g.places;
    for (uint32_t d = 0; d < g.spatial; d++) {
        dim_id from = b_dim_const(b, g.spatial - 1 - d); /* coordinates are in the order x, y, z:
                                                            the last dim is first */
        value_id x = b_slice(b, grid, -1, from, b_dim_const(b, 1), 1);
        x = unscale(&g, b_cast(b, b_reshape(b, x, flat, 2), g.type), d);
        bool cubic_mode = strcmp(mode, "bicubic") == 0 || strcmp(mode, "cubic") == 0;
        if (!cubic_mode && g.border)
            x = clamped(&g, x, d);
        if (!cubic_mode && g.reflect)
            x = reflected(&g, x, d);
        coordinates[d] = x;
    }
    return onnx_return(c, b_reshape(b, sample(&g, mode, coordinates), shape, g.spatial + 2));
}

/* From boxes [R, 4] of x1, y1, x2, y2: start and length of one side of each box, [R, 1]. */
static void box_side(struct grid *g, uint32_t axis, double scale, bool half, value_id *start,
                     value_id *length)
{
    struct onnx_call *c = g->c;
    struct builder *b = c->b;
    dim_id one = b_dim_const(b, 1);
    value_id low = b_slice(b, c->in[1], 1, b_dim_const(b, 1 - axis), one, 1);
    value_id high = b_slice(b, c->in[1], 1, b_dim_const(b, 3 - axis), one, 1);
    *start = b_shift(b, b_scale(b, low, scale), half ? -0.5 : 0);
    *length = b_sub(b, b_shift(b, b_scale(b, high, scale), half ? -0.5 : 0), *start);
    if (!half)
        *length = b_max_const(b, *length, 1);
}

/* The sampling points along one side: [R, bins * ratio]. */
static value_id points(struct grid *g, uint32_t axis, double scale, bool half, int64_t bins,
                       int64_t ratio)
{
    struct builder *b = g->c->b;
    value_id start, length;
    dim_id count = b_dim_const(b, bins * ratio);
    box_side(g, axis, scale, half, &start, &length);
    value_id steps = b_cast(b, b_iota(b, DTYPE_I64, &count, 1, 0), g->type);
    steps = b_scale(b, b_shift(b, steps, 0.5), 1 / (double)(bins * ratio));
    return b_add(b, start, b_mul(b, length, steps));
}

/* Whether a position is more than `margin` before the first element or behind the last one. */
static value_id beyond(struct grid *g, value_id at, uint32_t d, double margin)
{
    struct builder *b = g->c->b;
    value_id low = b_binary(b, PRIM_LT, at, b_const_like(b, at, -margin));
    value_id most = b_shift(b, size_of(g, d), margin - 1);
    return b_binary(b, PRIM_OR, low, b_binary(b, PRIM_LT, most, at));
}

/* The image of each box at its rows and columns, at[d] being [R, count]: [R, C, rows * columns].
 * What is more than `margin` beyond the image's first or last element is `outside`. */
static value_id sample_boxes(struct grid *g, const char *mode, const value_id *at, double margin,
                             value_id outside)
{
    struct builder *b = g->c->b;
    dim_id grid[3] = {b_dim(b, at[0], 0), b_dim(b, at[0], 1), b_dim(b, at[1], 1)};
    value_id lines[2] = {b_unsqueeze(b, at[0], 2), b_unsqueeze(b, at[1], 1)}, far[2], places[2];
    g->places = b_dim_mul(b, grid[1], grid[2]);
    dim_id flat[2] = {grid[0], g->places};
    if (onnx_failed(g->c))
        return VALUE_NONE;
    for (uint32_t d = 0; d < 2; d++) {
        value_id kept = b_broadcast_to(b, clamped(g, lines[d], d), grid, 3);
        places[d] = b_reshape(b, kept, flat, 2);
        far[d] = beyond(g, lines[d], d, margin);
    }
    value_id gone = b_reshape(b, b_binary(b, PRIM_OR, far[0], far[1]), flat, 2);
    return b_select(b, b_unsqueeze(b, gone, 1), outside, sample(g, mode, places));
}

/* Pools the sampling points of each bin, by mean or maximum: [R, C, h*ratio, w*ratio] to [R, C, h,
 * w]. */
static value_id pool(struct grid *g, value_id x, const int64_t *bins, int64_t ratio, bool mean)
{
    struct builder *b = g->c->b;
    dim_id part = b_dim_const(b, ratio);
    dim_id split[6] = {b_dim(b, g->c->in[1], 0), g->channels, b_dim_const(b, bins[0]), part,
                       b_dim_const(b, bins[1]),  part};
    const int64_t axes[2] = {3, 5};
    x = b_reshape(b, x, split, 6);
    return mean ? b_mean(b, x, axes, 2, false) : b_reduce(b, PRIM_REDUCE_MAX, x, axes, 2, false);
}

bool onnx_roi_align(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct grid g = {.c = c};
    int64_t bins[2] = {onnx_int(c, "output_height", 1), onnx_int(c, "output_width", 1)};
    int64_t ratio = onnx_int(c, "sampling_ratio", 0);
    double scale = onnx_float(c, "spatial_scale", 1);
    const char *usual = c->opset < 16 ? "output_half_pixel" : "half_pixel";
    bool half = strcmp(onnx_text(c, "coordinate_transformation_mode", usual), "half_pixel") == 0;
    bool mean = strcmp(onnx_text(c, "mode", "avg"), "avg") == 0;
    if (ratio < 1)
        return onnx_refuse(c, "sampling_ratio 0, which depends on the boxes");
    if (!mean)
        return onnx_refuse(c, "mode 'max'");
    if (bins[0] < 1 || bins[1] < 1 || bins[0] > 4096 || bins[1] > 4096 || ratio > 64 ||
        onnx_rank(c, c->in[0]) != 4 || onnx_rank(c, c->in[1]) != 2)
        return b_fail(b, ERR_SHAPE, "ranks of the inputs or output sizes are out of range");
    value_id image = b_take(b, c->in[0], b_cast(b, c->in[2], DTYPE_I64), 0);
    if (image == VALUE_NONE || !begin(&g, image))
        return false;
    const value_id at[2] = {points(&g, 0, scale, half, bins[0], ratio),
                            points(&g, 1, scale, half, bins[1], ratio)};
    value_id found = sample_boxes(&g, "linear", at, 1, b_const(b, g.type, 0));
    return onnx_return(c, pool(&g, found, bins, ratio, mean));
}

/* Evenly spaced positions from one end of each box to the other, [R, count]; of one, the centre.
 * Boxes [R, 4] are y1, x1, y2, x2 in parts of the image. */
static value_id ends_and_between(struct grid *g, uint32_t axis, int64_t count)
{
    struct onnx_call *c = g->c;
    struct builder *b = c->b;
    dim_id one = b_dim_const(b, 1), size = b_dim_const(b, count);
    value_id start = b_slice(b, c->in[1], 1, b_dim_const(b, axis), one, 1);
    value_id end = b_slice(b, c->in[1], 1, b_dim_const(b, 2 + axis), one, 1);
    value_id last = b_shift(b, size_of(g, axis), -1);
    if (count == 1)
        return b_mul(b, b_scale(b, b_add(b, start, end), 0.5), last);
    value_id i = b_cast(b, b_iota(b, DTYPE_I64, &size, 1, 0), g->type);
    value_id step = b_scale(b, b_mul(b, b_sub(b, end, start), last), 1 / (double)(count - 1));
    value_id between = b_add(b, b_mul(b, start, last), b_mul(b, i, step));
    value_id at_end = b_binary(b, PRIM_EQ, i, b_const_like(b, i, (double)(count - 1)));
    return b_select(b, at_end, b_mul(b, end, last), between); /* else roundings may leave the image
                                                               */
}

/* The nearest whole number; halves go up. */
static value_id rounded(struct builder *b, value_id x)
{
    value_id base = b_unary(b, PRIM_FLOOR, x), half = b_const_like(b, x, 0.5);
    value_id up = b_binary(b, PRIM_LE, half, b_sub(b, x, base));
    return b_select(b, up, b_shift(b, base, 1), base);
}

bool onnx_crop_and_resize(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct grid g = {.c = c};
    int64_t sizes[2];
    uint32_t count = 0;
    bool nearest = strcmp(onnx_text(c, "mode", "bilinear"), "nearest") == 0;
    double outside = onnx_float(c, "extrapolation_value", 0);
    if (!onnx_const_ints(c, 3, sizes, 2, &count))
        return false;
    if (count != 2 || sizes[0] < 1 || sizes[1] < 1 || sizes[0] > 4096 || sizes[1] > 4096 ||
        onnx_rank(c, c->in[0]) != 4 || onnx_rank(c, c->in[1]) != 2)
        return b_fail(b, ERR_SHAPE, "ranks of the inputs or crop_size are out of range");
    value_id image = b_take(b, c->in[0], b_cast(b, c->in[2], DTYPE_I64), 0);
    if (image == VALUE_NONE || !begin(&g, image))
        return false;
    value_id at[2] = {ends_and_between(&g, 0, sizes[0]), ends_and_between(&g, 1, sizes[1])};
    for (uint32_t d = 0; d < 2 && nearest; d++) {
        value_id whole = rounded(b, at[d]);
        value_id in = b_binary(b, PRIM_EQ, at[d], clamped(&g, at[d], d));
        at[d] = b_select(b, in, whole, at[d]);
    }
    value_id found =
        sample_boxes(&g, nearest ? "nearest" : "linear", at, 0, b_const(b, g.type, outside));
    dim_id shape[4] = {b_dim(b, c->in[1], 0), g.channels, b_dim_const(b, sizes[0]),
                       b_dim_const(b, sizes[1])};
    return onnx_return(c, b_reshape(b, found, shape, 4));
}

/* The positions that a deformable convolution reads along one spatial dim: [N * groups, taps *
 * places], from offsets [N * groups, taps, 2, OH, OW]. Tap t is at coordinate at[t] of the
 * kernel. */
static value_id deformed(struct grid *g, value_id offsets, uint32_t d, const struct window *w,
                         const double *at, int64_t taps)
{
    struct builder *b = g->c->b;
    const int64_t shape[4] = {1, taps, 1, 1};
    dim_id one = b_dim_const(b, 1), out[2] = {b_dim(b, offsets, 3), b_dim(b, offsets, 4)};
    dim_id line[2] = {d == 0 ? out[0] : one, d == 1 ? out[1] : one}, flat[2] = {g->n, g->places};
    value_id x = b_squeeze(b, b_slice(b, offsets, 2, b_dim_const(b, d), one, 1), 2);
    value_id start = b_cast(b, b_iota(b, DTYPE_I64, line, 2, (int)d), g->type);
    start = b_shift(b, b_scale(b, start, (double)w->stride), -(double)w->low);
    value_id tap = b_cast(b, b_literal(b, DTYPE_F64, shape, 4, at), g->type);
    x = b_add(b, b_add(b, b_cast(b, x, g->type), start), tap);
    return b_reshape(b, x, flat, 2);
}

/* The elements that all taps read, as an image with taps as rows and places as columns: [N, C,
 * taps, places]. */
static value_id read_taps(struct onnx_call *c, const struct window *windows, int64_t groups)
{
    struct builder *b = c->b;
    struct grid g = {.c = c, .zeros = true};
    const int64_t taps = windows[0].size * windows[1].size;
    dim_id n = b_dim(b, c->in[0], 0), channels = b_dim(b, c->in[0], 1),
           tap_dim = b_dim_const(b, taps);
    dim_id all = b_dim_mul(b, n, b_dim_const(b, groups)), out = b_dim(b, c->in[2], 2);
    dim_id places = b_dim_mul(b, out, b_dim(b, c->in[2], 3));
    dim_id part = dim_div_exact(&b->graph->dims, channels, b_dim_const(b, groups));
    if (taps > MAX_TAPS_DEFORMED || part == DIM_NONE || onnx_failed(c))
        return onnx_failed(c)
                   ? VALUE_NONE
                   : b_fail(b, ERR_SHAPE, "kernel_shape or offset_group is out of range");
    dim_id image[4] = {all, part, b_dim(b, c->in[0], 2), b_dim(b, c->in[0], 3)};
    dim_id split[5] = {all, tap_dim, b_dim_const(b, 2), out, b_dim(b, c->in[2], 3)};
    dim_id merged[4] = {n, channels, tap_dim, places};
    dim_id masked[3] = {all, b_dim_const(b, 1), b_dim_mul(b, tap_dim, places)};
    double at[2][MAX_TAPS_DEFORMED];
    for (int64_t t = 0; t < taps; t++) {
        at[0][t] = (double)(t / windows[1].size * windows[0].dilation);
        at[1][t] = (double)(t % windows[1].size * windows[1].dilation);
    }
    value_id offsets = b_reshape(b, c->in[2], split, 5);
    if (!begin(&g, b_reshape(b, c->in[0], image, 4)) || onnx_failed(c))
        return VALUE_NONE;
    g.places = masked[2];
    value_id coordinates[2];
    for (uint32_t d = 0; d < 2; d++)
        coordinates[d] = deformed(&g, offsets, d, &windows[d], at[d], taps);
    value_id found = sample(&g, "linear", coordinates);
    if (onnx_given(c, 4))
        found = b_mul(b, found, b_reshape(b, c->in[4], masked, 3));
    return b_reshape(b, found, merged, 4);
}

bool onnx_deform_conv(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct window windows[2], columns[2];
    int64_t sizes[2], groups = onnx_int(c, "group", 1),
                      offset_groups = onnx_int(c, "offset_group", 1);
    if (onnx_rank(c, c->in[0]) != 4 || onnx_rank(c, c->in[1]) != 4 || onnx_rank(c, c->in[2]) != 4)
        return onnx_refuse(c, "images with other than two spatial dims");
    for (uint32_t d = 0; d < 2; d++)
        if (!onnx_is_const(&b->graph->dims, b_dim(b, c->in[1], 2 + d), &sizes[d]))
            return onnx_refuse(c, "a kernel whose size is not constant");
    if (offset_groups < 1 || !onnx_windows(c, sizes, 2, windows, NULL))
        return onnx_failed(c) ? false : b_fail(b, ERR_SHAPE, "offset_group is below 1");
    value_id x = read_taps(c, windows, offset_groups);
    for (uint32_t d = 0; d < 2; d++)
        columns[d] = (struct window){d == 0 ? sizes[0] * sizes[1] : 1, 1, 0, 0, 1, 1};
    dim_id one = b_dim_const(b, 1), outputs = b_dim(b, c->in[1], 0);
    dim_id kernel[4] = {outputs, b_dim(b, c->in[1], 1), b_dim_const(b, columns[0].size), one};
    value_id y = b_conv(b, x, b_reshape(b, c->in[1], kernel, 4), columns, 2, groups);
    dim_id shape[4] = {b_dim(b, c->in[0], 0), outputs, b_dim(b, c->in[2], 2),
                       b_dim(b, c->in[2], 3)};
    dim_id bias[4] = {one, outputs, one, one};
    y = b_reshape(b, y, shape, 4);
    if (onnx_given(c, 3))
        y = b_add(b, y, b_reshape(b, c->in[3], bias, 4));
    return onnx_return(c, y);
}

/* Evenly spaced coordinates from -1 to 1 along one dim of a grid: from the first to the last
 * element, or the centres of cells. */
static value_id spread(struct onnx_call *c, const dim_id *shape, uint32_t rank, uint32_t axis,
                       enum dtype type, bool align)
{
    struct builder *b = c->b;
    value_id i = b_cast(b, b_iota(b, DTYPE_I64, shape, rank, axis), type);
    value_id size = b_cast(b, b_size(b, shape[axis]), type);
    if (align)
        return b_shift(b, b_div(b, b_scale(b, i, 2), b_shift(b, size, -1)), -1);
    return b_shift(b, b_div(b, b_shift(b, b_scale(b, i, 2), 1), size), -1);
}

bool onnx_affine_grid(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id sizes[LIMIT_RANK];
    uint32_t count = 0;
    bool align = onnx_int(c, "align_corners", 0) != 0;
    enum dtype type = onnx_type(c, c->in[0]);
    value_id columns[MAX_SPATIAL + 1];
    if (!onnx_dims(c, 1, sizes, LIMIT_RANK, &count))
        return false;
    if (count < 4 || count > 5 || onnx_rank(c, c->in[0]) != 3)
        return b_fail(b, ERR_SHAPE, "%u sizes", count);
    if (sizes[0] != b_dim(b, c->in[0], 0)) {
        dim_needs_equal(&b->graph->dims, sizes[0], b_dim(b, c->in[0], 0));
        return b_fail(b, ERR_SHAPE, "the batch is not that of input 0");
    }
    uint32_t spatial = count - 2;
    dim_id places = dim_product(&b->graph->dims, sizes + 2, spatial), shape[LIMIT_RANK];
    for (uint32_t d = 0; d < spatial; d++) {
        value_id x = spread(c, sizes + 2, spatial, spatial - 1 - d, type, align);
        columns[d] = b_reshape(b, x, &places, 1);
    }
    columns[spatial] = b_broadcast_to(b, b_const(b, type, 1), &places, 1);
    if (onnx_failed(c))
        return false;
    value_id grid = onnx_stack(c, columns, spatial + 1, 1);
    value_id y = b_swap(b, b_contract(b, c->in[0], grid, 0, 1), 1, 2);
    shape[0] = sizes[0];
    for (uint32_t d = 0; d < spatial; d++)
        shape[1 + d] = sizes[2 + d];
    shape[spatial + 1] = b_dim_const(b, spatial);
    return onnx_return(c, b_reshape(b, y, shape, spatial + 2));
}
