/* Convolutions and transposed convolutions with any number of spatial dims. */
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

#define MAX_WINDOW ((int64_t)1 << 20) /* so that arithmetic on windows cannot overflow */

static bool read_list(struct onnx_call *c, const char *name, int64_t low, int64_t absent,
                      uint32_t count, int64_t *out)
{
    uint32_t given = 0;
    const int64_t *ints = onnx_ints(c, name, &given);
    if (onnx_failed(c))
        return false;
    if (ints && given != count)
        return b_fail(c->b, ERR_SHAPE, "attribute '%s' has %u numbers, expected %u", name, given,
                      count);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = ints ? ints[i] : absent;
        if (out[i] < low || out[i] > MAX_WINDOW)
            return b_fail(c->b, ERR_SHAPE, "attribute '%s': %lld", name, (long long)out[i]);
    }
    return true;
}

/* Padding of a dim whose size is not known: the last window starts at (size - 1)//stride*stride and
 * ends with the padding. */
static bool pad_open(struct onnx_call *c, const struct window *w, dim_id size, bool upper,
                     dim_id *out_low, dim_id *out_high)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id stride = dim_const(dims, w->stride), one = dim_const(dims, 1);
    int64_t reach = w->dilation * (w->size - 1) + 1;
    dim_id last = dim_mul(dims, dim_floordiv(dims, dim_sub(dims, size, one), stride), stride);
    dim_id total = dim_sub(dims, dim_add(dims, last, dim_const(dims, reach)), size);
    if (reach < w->stride)
        total = dim_max(dims, total, dim_const(dims, 0));
    dim_id half = dim_floordiv(dims, total, dim_const(dims, 2));
    *out_low = upper ? half : dim_sub(dims, total, half);
    *out_high = dim_sub(dims, total, *out_low);
    return *out_high != DIM_NONE ||
           b_fail(c->b, ERR_LIMIT, "auto_pad of a dim that is too long to write down");
}

/* Padding for ceil(dim / stride) windows. */
static bool pad_same(struct onnx_call *c, struct window *w, uint32_t axis, bool upper,
                     struct onnx_around *around)
{
    dim_id size = b_dim(c->b, c->in[0], axis);
    int64_t value = 0, total = 0, reach = w->dilation * (w->size - 1) + 1;
    if (onnx_is_const(&c->o->graph->dims, size, &value))
        total = ((value + w->stride - 1) / w->stride - 1) * w->stride + reach - value;
    else if (size != DIM_NONE && dim_known_multiple(&c->o->graph->dims, size) % w->stride == 0)
        total = reach - w->stride;
    else if (around && size != DIM_NONE)
        return around->any = pad_open(c, w, size, upper, &around->low[axis], &around->high[axis]);
    else
        return onnx_refuse(c, "auto_pad of a dim that is not constant");
    total = total > 0 ? total : 0;
    w->low = upper ? total / 2 : total - total / 2;
    w->high = total - w->low;
    return true;
}

bool onnx_windows(struct onnx_call *c, const int64_t *sizes, uint32_t count, struct window *out,
                  struct onnx_around *out_around)
{
    int64_t strides[LIMIT_RANK], dilations[LIMIT_RANK], pads[2 * LIMIT_RANK];
    const char *rule = onnx_text(c, "auto_pad", "NOTSET");
    bool upper = strcmp(rule, "SAME_UPPER") == 0, same = upper || strcmp(rule, "SAME_LOWER") == 0;
    bool valid = strcmp(rule, "VALID") == 0;
    uint32_t first = onnx_rank(c, c->in[0]) - count;
    if (out_around)
        *out_around = (struct onnx_around){.any = false};
    for (uint32_t i = 0; i < first + count && out_around; i++)
        out_around->low[i] = out_around->high[i] = b_dim_const(c->b, 0);
    if (!same && !valid && strcmp(rule, "NOTSET") != 0)
        return b_fail(c->b, ERR_BLUEPRINT, "auto_pad '%.40s'", rule);
    if (!read_list(c, "strides", 1, 1, count, strides) ||
        !read_list(c, "dilations", 1, 1, count, dilations) ||
        !read_list(c, "pads", -MAX_WINDOW, 0, 2 * count, pads))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (sizes[i] < 1 || sizes[i] > MAX_WINDOW)
            return b_fail(c->b, ERR_SHAPE, "a kernel of %lld elements", (long long)sizes[i]);
        bool none = same || valid;
        out[i] = (struct window){
            sizes[i], strides[i], none ? 0 : pads[i], none ? 0 : pads[count + i], dilations[i], 1};
        if (same && !pad_same(c, &out[i], first + i, upper, out_around))
            return false;
        if (out[i].low < 0 || out[i].high < 0)
            return onnx_refuse(c, "negative padding");
    }
    return true;
}

value_id onnx_put_around(struct onnx_call *c, value_id x, const struct onnx_around *around,
                         uint32_t rank, double value)
{
    uint32_t skip = onnx_rank(c, c->in[0]) - rank;
    return around->any ? b_pad(c->b, x, around->low + skip, around->high + skip, value) : x;
}

/* The kernel's size, from the weights, where it must be constant; checks that kernel_shape is the
 * same. */
static bool kernel_sizes(struct onnx_call *c, uint32_t count, int64_t *out)
{
    int64_t stated[LIMIT_RANK];
    if (!read_list(c, "kernel_shape", 0, 0, count, stated))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        dim_id dim = b_dim(c->b, c->in[1], 2 + i);
        if (!onnx_is_const(&c->o->graph->dims, dim, &out[i]))
            return onnx_refuse(c, "a kernel whose size is not constant");
        if (onnx_has(c, "kernel_shape") && stated[i] != out[i])
            return b_fail(c->b, ERR_SHAPE, "kernel_shape differs from the weights' shape");
    }
    return true;
}

static bool check_ranks(struct onnx_call *c, uint32_t *out_count)
{
    uint32_t rank = onnx_rank(c, c->in[0]);
    *out_count = rank - 2;
    return (rank >= 3 && onnx_rank(c, c->in[1]) == rank) ||
           b_fail(c->b, ERR_SHAPE, "ranks %u and %u, expected the same of 3 or more", rank,
                  onnx_rank(c, c->in[1]));
}

static bool add_bias(struct onnx_call *c, value_id y)
{
    dim_id shape[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, c->in[0]);
    if (!onnx_given(c, 2))
        return onnx_return(c, y);
    if (onnx_rank(c, c->in[2]) != 1)
        return b_fail(c->b, ERR_SHAPE, "the bias is no vector");
    shape[0] = b_dim(c->b, c->in[2], 0);
    for (uint32_t i = 1; i + 1 < rank; i++)
        shape[i] = b_dim_const(c->b, 1);
    return onnx_return(c, b_add(c->b, y, b_reshape(c->b, c->in[2], shape, rank - 1)));
}

bool onnx_conv(struct onnx_call *c)
{
    struct window windows[LIMIT_RANK];
    struct onnx_around around;
    int64_t sizes[LIMIT_RANK], groups = onnx_int(c, "group", 1);
    uint32_t count = 0;
    if (!check_ranks(c, &count) || !kernel_sizes(c, count, sizes) ||
        !onnx_windows(c, sizes, count, windows, &around))
        return false;
    value_id x = onnx_put_around(c, c->in[0], &around, count + 2, 0);
    return add_bias(c, b_conv(c->b, x, c->in[1], windows, count, groups));
}

/* Padding of a transposed convolution whose output has a given size. */
static bool pad_to(struct onnx_call *c, struct window *w, uint32_t axis, int64_t extra,
                   int64_t wanted)
{
    int64_t size = 0, reach = w->dilation * (w->size - 1) + 1;
    bool upper = strcmp(onnx_text(c, "auto_pad", "NOTSET"), "SAME_UPPER") == 0;
    if (!onnx_is_const(&c->o->graph->dims, b_dim(c->b, c->in[0], axis), &size))
        return onnx_refuse(c, "output_shape or auto_pad of a dim that is not constant");
    wanted = wanted < 0 ? size * w->stride : wanted;
    int64_t total = w->stride * (size - 1) + extra + reach - wanted;
    w->low = total < 0 ? 0 : upper ? total / 2 : total - total / 2;
    w->high = total - w->low; /* negative: zeros after the last element that the kernel reaches */
    return true;
}

/* The windows; low and high are what ONNX crops. */
static bool transposed_windows(struct onnx_call *c, uint32_t count, struct window *out,
                               int64_t *extra)
{
    int64_t sizes[LIMIT_RANK], wanted[LIMIT_RANK], strides[LIMIT_RANK], dilations[LIMIT_RANK];
    int64_t pads[2 * LIMIT_RANK];
    const char *rule = onnx_text(c, "auto_pad", "NOTSET");
    bool fitted = strncmp(rule, "SAME", 4) == 0 || onnx_has(c, "output_shape");
    if (!kernel_sizes(c, count, sizes) || !read_list(c, "output_padding", 0, 0, count, extra) ||
        !read_list(c, "output_shape", -1, -1, count, wanted) ||
        !read_list(c, "strides", 1, 1, count, strides) ||
        !read_list(c, "dilations", 1, 1, count, dilations) ||
        !read_list(c, "pads", 0, 0, 2 * count, pads))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (struct window){sizes[i], strides[i], pads[i], pads[count + i], dilations[i], 1};
        if (sizes[i] < 1 || sizes[i] > MAX_WINDOW)
            return b_fail(c->b, ERR_SHAPE, "a kernel of %lld elements", (long long)sizes[i]);
        if (fitted && !pad_to(c, &out[i], 2 + i, extra[i], wanted[i]))
            return false;
    }
    return true;
}

bool onnx_conv_transpose(struct onnx_call *c)
{
    struct window windows[LIMIT_RANK];
    int64_t extra[LIMIT_RANK], groups = onnx_int(c, "group", 1);
    uint32_t count = 0;
    if (!check_ranks(c, &count) || !transposed_windows(c, count, windows, extra))
        return false;
    for (uint32_t i = 0; i < count; i++)
        windows[i].high -= extra[i];
    return add_bias(c, op_conv_transpose(c->b, c->in[0], c->in[1], windows, count, groups));
}

/* Col2Im is a transposed convolution by kernels with a single 1. */
bool onnx_col2im(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct onnx_call inner = *c;
    int64_t image[LIMIT_RANK], block[LIMIT_RANK], strides[LIMIT_RANK], dilations[LIMIT_RANK];
    int64_t pads[2 * LIMIT_RANK], size = 1;
    uint32_t count = 0, blocks = 0;
    if (!onnx_const_ints(c, 1, image, LIMIT_RANK - 3, &count) ||
        !onnx_const_ints(c, 2, block, LIMIT_RANK - 3, &blocks))
        return false;
    if (blocks != count || count == 0 || onnx_rank(c, c->in[0]) != 3)
        return b_fail(b, ERR_SHAPE, "%u dims of the image, %u of the block", count, blocks);
    if (!read_list(c, "strides", 1, 1, count, strides) ||
        !read_list(c, "dilations", 1, 1, count, dilations) ||
        !read_list(c, "pads", 0, 0, 2 * count, pads))
        return false;
    dim_id columns[LIMIT_RANK], kernel[LIMIT_RANK], shape[LIMIT_RANK], high[LIMIT_RANK];
    for (uint32_t i = 0; i < count; i++) {
        int64_t reach = dilations[i] * (block[i] - 1) + 1;
        int64_t room = image[i] + pads[i] + pads[count + i] - reach;
        if (block[i] < 1 || block[i] > MAX_WINDOW || image[i] > MAX_WINDOW || room < 0)
            return b_fail(b, ERR_SHAPE, "a block of %lld", (long long)block[i]);
        size *= block[i];
        if (size > MAX_WINDOW)
            return b_fail(b, ERR_LIMIT, "a block of %lld", (long long)size);
        columns[2 + i] = b_dim_const(b, room / strides[i] + 1);
        kernel[2 + i] = b_dim_const(b, block[i]);
    }
    dim_id all = b_dim_const(b, size), one = b_dim_const(b, 1), zero = b_dim_const(b, 0);
    dim_id channels = dim_div_exact(&b->graph->dims, b_dim(b, c->in[0], 1), all);
    if (channels == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "the channels are no multiple of %lld", (long long)size);
    columns[0] = b_dim_mul(b, b_dim(b, c->in[0], 0), channels);
    columns[1] = kernel[0] = all;
    kernel[1] = one;
    dim_id square[2] = {all, all};
    value_id eye = b_binary(b, PRIM_EQ, b_iota(b, DTYPE_I64, square, 2, 0),
                            b_iota(b, DTYPE_I64, square, 2, 1));
    inner.in[0] = b_reshape(b, c->in[0], columns, count + 2);
    inner.in[1] = b_reshape(b, b_cast(b, eye, onnx_type(c, c->in[0])), kernel, count + 2);
    inner.in_count = 2;
    if (onnx_failed(c) || !onnx_conv_transpose(&inner))
        return false;
    dim_id low[LIMIT_RANK];
    shape[0] = b_dim(b, c->in[0], 0);
    shape[1] = channels;
    for (uint32_t i = 0; i < count + 2; i++)
        low[i] = high[i] = zero;
    for (uint32_t i = 0; i < count; i++) {
        shape[2 + i] = b_dim_const(b, image[i]);
        high[2 + i] = b_dim_sub(b, shape[2 + i], b_dim(b, inner.out[0], 2 + i));
    }
    return onnx_return(c, b_reshape(b, b_pad(b, inner.out[0], low, high, 0), shape, count + 2));
}
