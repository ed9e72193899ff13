/* Convolutions and transposed convolutions of 1, 2 and 3 spatial dims.
 *
 * A transposed convolution is a convolution of the input spread with zeros (base_dilation = stride)
 * with the flipped kernel; padding p becomes dilation*(size-1) - p, and what that leaves below zero
 * is cropped. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

#define MAX_WINDOW ((int64_t)1 << 20) /* keeps the arithmetic of windows far from overflow */

/* Kernel sizes from the last dims of w, strides and dilations from the attributes. */
static bool read_windows(struct op_call *call, value_id w, uint32_t n, struct window *windows)
{
    int64_t stride[3], dilation[3];
    if (!ops_ints_in(call, "stride", n, 1, MAX_WINDOW, stride) ||
        !ops_ints_in(call, "dilation", n, 1, MAX_WINDOW, dilation)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        int64_t size = 0;
        if (!ops_const_dim(call->b, w, 2 + i, &size) || size < 1 || size > MAX_WINDOW) {
            return fail(call->b->err, ERR_SHAPE, "'%s' needs kernels of a constant size ≥ 1",
                        call->row->name);
        }
        windows[i] = (struct window){size, stride[i], 0, 0, dilation[i], 1};
    }
    return true;
}

/* padding: one number per dim, or all low ones and then all high ones, or a rule. */
static bool read_padding(struct op_call *call, uint32_t n, struct window *windows)
{
    const struct op_value *value = op_attr(call, "padding");
    if (value->kind == OP_TEXT) {
        for (uint32_t i = 0; i < n && strcmp(value->text, "same") == 0; i++) {
            if (windows[i].stride != 1) {
                return ops_attr_fail(call, "padding", "'same' needs stride 1");
            }
            int64_t total = windows[i].dilation * (windows[i].size - 1);
            windows[i].low = total / 2;
            windows[i].high = total - total / 2;
        }
        return true;
    }
    bool both = value->kind == OP_INTS && value->int_count == 2 * n;
    int64_t padding[6];
    if (!ops_ints_in(call, "padding", both ? 2 * n : n, 0, MAX_WINDOW, padding)) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        windows[i].low = padding[i];
        windows[i].high = padding[both ? n + i : i];
    }
    return true;
}

/* Adds the bias and takes away the batch dim that an unbatched call was given. */
static bool finish(struct op_call *call, value_id y, uint32_t n, bool unbatched)
{
    struct builder *b = call->b;
    if (call->in[2] != VALUE_NONE) {
        if (!ops_check_rank(call, call->in[2], 1, 1)) {
            return false;
        }
        y = b_add(b, y, ops_along(b, call->in[2], n + 2, 1));
    }
    return op_return(call, unbatched ? b_squeeze(b, y, 0) : y);
}

static bool conv(struct op_call *call, uint32_t n)
{
    struct builder *b = call->b;
    value_id x = call->in[0], w = call->in[1];
    struct window windows[3];
    int64_t groups = 0;
    if (!ops_check_rank(call, x, n + 1, n + 2) || !ops_check_rank(call, w, n + 2, n + 2) ||
        !read_windows(call, w, n, windows) || !read_padding(call, n, windows) ||
        !ops_int_in(call, "groups", 1, INT32_MAX, &groups)) {
        return false;
    }
    bool unbatched = ops_rank(b, x) == n + 1;
    x = unbatched ? b_unsqueeze(b, x, 0) : x;
    return finish(call, b_conv(b, x, w, windows, n, groups), n, unbatched);
}

/* [C, O/groups, window…] → [O, C/groups, window…], each window back to front. */
static value_id turn_kernel(struct builder *b, value_id w, uint32_t n, int64_t groups)
{
    struct dim_table *dims = &b->graph->dims;
    dim_id group_count = b_dim_const(b, groups);
    dim_id inputs = dim_div_exact(dims, b_dim(b, w, 0), group_count);
    dim_id outputs = b_dim(b, w, 1);
    if (inputs == DIM_NONE) {
        return b_fail(b, ERR_SHAPE, "the input channels do not divide into %lld groups",
                      (long long)groups);
    }
    dim_id split[LIMIT_RANK] = {group_count, inputs, outputs};
    dim_id merged[LIMIT_RANK] = {b_dim_mul(b, group_count, outputs), inputs};
    for (uint32_t i = 0; i < n; i++) {
        split[3 + i] = merged[2 + i] = b_dim(b, w, 2 + i);
    }
    value_id turned = b_swap(b, b_reshape(b, w, split, n + 3), 1, 2);
    turned = b_reshape(b, turned, merged, n + 2);
    for (uint32_t i = 0; i < n; i++) {
        turned = b_reverse(b, turned, 2 + i);
    }
    return turned;
}

static bool conv_transpose(struct op_call *call, uint32_t n)
{
    struct builder *b = call->b;
    value_id x = call->in[0], w = call->in[1];
    struct window windows[3];
    int64_t padding[3], extra[3], groups = 0;
    if (!ops_check_rank(call, x, n + 1, n + 2) || !ops_check_rank(call, w, n + 2, n + 2) ||
        !read_windows(call, w, n, windows) ||
        !ops_ints_in(call, "padding", n, 0, MAX_WINDOW, padding) ||
        !ops_ints_in(call, "output_padding", n, 0, MAX_WINDOW, extra) ||
        !ops_int_in(call, "groups", 1, INT32_MAX, &groups)) {
        return false;
    }
    bool unbatched = ops_rank(b, x) == n + 1;
    x = unbatched ? b_unsqueeze(b, x, 0) : x;
    int64_t crop_low[3], crop_high[3];
    for (uint32_t i = 0; i < n; i++) {
        struct window *window = &windows[i];
        if (extra[i] >= window->stride && extra[i] >= window->dilation) {
            return ops_attr_fail(call, "output_padding", "must be less than stride or dilation");
        }
        int64_t reach = window->dilation * (window->size - 1);
        int64_t low = reach - padding[i], high = low + extra[i];
        window->base_dilation = window->stride;
        window->stride = 1;
        window->low = low > 0 ? low : 0;
        window->high = high > 0 ? high : 0;
        crop_low[i] = low < 0 ? -low : 0;
        crop_high[i] = high < 0 ? -high : 0;
    }
    value_id y = b_conv(b, x, turn_kernel(b, w, n, groups), windows, n, groups);
    for (uint32_t i = 0; i < n && y != VALUE_NONE; i++) {
        if (crop_low[i] + crop_high[i] > 0) {
            dim_id crop = b_dim_const(b, crop_low[i] + crop_high[i]);
            dim_id count = b_dim_sub(b, b_dim(b, y, 2 + i), crop);
            y = ops_head(b, y, 2 + i, b_dim_const(b, crop_low[i]), count);
        }
    }
    return finish(call, y, n, unbatched);
}

bool expand_conv1d(struct op_call *call)
{
    return conv(call, 1);
}

bool expand_conv2d(struct op_call *call)
{
    return conv(call, 2);
}

bool expand_conv3d(struct op_call *call)
{
    return conv(call, 3);
}

bool expand_conv_transpose1d(struct op_call *call)
{
    return conv_transpose(call, 1);
}

bool expand_conv_transpose2d(struct op_call *call)
{
    return conv_transpose(call, 2);
}

bool expand_conv_transpose3d(struct op_call *call)
{
    return conv_transpose(call, 3);
}
