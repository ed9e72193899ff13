/* Convolutions and transposed convolutions of 1, 2 and 3 spatial dims.
 *
 * A transposed convolution is a convolution, with the flipped kernel, of the input with zeros
 * inserted between elements (base_dilation = stride). Padding p becomes dilation*(size-1) - p;
 * where that is negative, the result is cropped.
 *
 * All but 1/stride of the products would be with inserted zeros. These are avoided: results at
 * indices with the same remainder r modulo the stride, a phase, depend on the original input and
 * every stride-th weight: y[h*s + r] = sum over q of x[h - q] * w[q*s + r]. So the phases are
 * computed as channels of one convolution where strides divide sizes, else each by itself, and
 * interleaved afterwards. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

/* Small enough that arithmetic on windows cannot overflow. */
#define MAX_WINDOW ((int64_t)1 << 20)
#define MOST_PHASES 16 /* that are convolutions of their own */

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

/* Reads padding: one number per dim, or all low ones and then all high ones, or a rule. */
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

/* Adds the bias, and removes the batch dim that was added to an unbatched operand. */
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

/* [C, O/groups, window…] → [O, C/groups, window…]. */
static value_id turn_kernel(struct builder *b, value_id w, uint32_t n, int64_t groups)
{
    struct dim_table *dims = &b->graph->dims;
    dim_id group_count = b_dim_const(b, groups), outputs = b_dim(b, w, 1);
    dim_id inputs = groups < 1 ? DIM_NONE : dim_div_exact(dims, b_dim(b, w, 0), group_count);
    if (inputs == DIM_NONE || n + 3 > LIMIT_RANK) {
        return b_fail(b, ERR_SHAPE, "the input channels do not divide into %lld groups",
                      (long long)groups);
    }
    dim_id split[LIMIT_RANK] = {group_count, inputs, outputs};
    dim_id merged[LIMIT_RANK] = {b_dim_mul(b, group_count, outputs), inputs};
    for (uint32_t i = 0; i < n; i++) {
        split[3 + i] = merged[2 + i] = b_dim(b, w, 2 + i);
    }
    value_id turned = b_swap(b, b_reshape(b, w, split, n + 3), 1, 2);
    return b_reshape(b, turned, merged, n + 2);
}

/* How many phases there are; 0: it is not to be computed by phases. *divide: strides divide all
 * sizes. */
static int64_t count_phases(const struct window *windows, uint32_t n, bool *divide)
{
    int64_t count = 1;
    *divide = true;
    if (2 + 2 * n > LIMIT_RANK) {
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        *divide &= windows[i].size % windows[i].stride == 0;
        if (windows[i].dilation != 1) {
            return 0;
        }
        count = count > MAX_WINDOW ? count : count * windows[i].stride;
    }
    return count == 1 || (!*divide && count > MOST_PHASES) ? 0 : count;
}

/* [O, C, q*s…] → [O*s…, C, q…], with q reversed. */
static value_id split_kernel(struct builder *b, value_id w, const struct window *windows,
                             uint32_t n)
{
    dim_id split[LIMIT_RANK] = {b_dim(b, w, 0), b_dim(b, w, 1)}, outputs = split[0];
    dim_id merged[LIMIT_RANK] = {DIM_NONE, split[1]};
    uint8_t order[LIMIT_RANK] = {0};
    order[1 + n] = 1;
    for (uint32_t i = 0; i < n; i++) {
        split[2 + 2 * i] = merged[2 + i] = b_dim_const(b, windows[i].size / windows[i].stride);
        split[3 + 2 * i] = b_dim_const(b, windows[i].stride);
        outputs = b_dim_mul(b, outputs, split[3 + 2 * i]);
        order[1 + i] = (uint8_t)(3 + 2 * i);
        order[2 + n + i] = (uint8_t)(2 + 2 * i);
    }
    merged[0] = outputs;
    w = b_reshape(b, w, split, 2 + 2 * n);
    for (uint32_t i = 0; i < n; i++) {
        w = b_reverse(b, w, 2 + 2 * i);
    }
    return b_reshape(b, b_transpose(b, w, order), merged, 2 + n);
}

/* Phases as channels, [N, O*s…, L…] → results, [N, O, L*s…]. */
static value_id interleave(struct builder *b, value_id y, dim_id outputs,
                           const struct window *windows, uint32_t n)
{
    if (y == VALUE_NONE) {
        return VALUE_NONE;
    }
    dim_id split[LIMIT_RANK] = {b_dim(b, y, 0), outputs};
    dim_id merged[LIMIT_RANK] = {split[0], split[1]};
    uint8_t order[LIMIT_RANK] = {0, 1};
    for (uint32_t i = 0; i < n; i++) {
        split[2 + i] = b_dim_const(b, windows[i].stride);
        split[2 + n + i] = b_dim(b, y, 2 + i);
        merged[2 + i] = b_dim_mul(b, split[2 + i], split[2 + n + i]);
        order[2 + 2 * i] = (uint8_t)(2 + n + i);
        order[3 + 2 * i] = (uint8_t)(2 + i);
    }
    y = b_transpose(b, b_reshape(b, y, split, 2 + 2 * n), order);
    return b_reshape(b, y, merged, 2 + n);
}

/* Computes all results by phases, including those that padding crops. */
static value_id phases(struct builder *b, value_id x, value_id w, const struct window *windows,
                       uint32_t n, int64_t groups)
{
    struct window taps[3];
    for (uint32_t i = 0; i < n; i++) {
        int64_t size = windows[i].size / windows[i].stride;
        taps[i] = (struct window){size, 1, size - 1, size - 1, 1, 1};
    }
    value_id y = b_conv(b, x, split_kernel(b, w, windows, n), taps, n, groups);
    return interleave(b, y, b_dim(b, w, 0), windows, n);
}

/* A transposed convolution whose strides do not divide sizes: phases have different numbers of
 * weights, so that each is a convolution of its own. */
struct apart {
    struct builder *b;
    value_id x, w;
    const struct window *windows;
    uint32_t n;
    int64_t groups;
};

/* One phase: every stride-th weight from `at` on. All phases are as long as the longest; a phase
 * without weights is 0. */
static value_id phase(const struct apart *t, const int64_t *at)
{
    struct builder *b = t->b;
    struct window taps[3];
    dim_id shape[LIMIT_RANK] = {b_dim(b, t->x, 0), b_dim(b, t->w, 0)};
    value_id w = t->w;
    bool empty = false;
    for (uint32_t i = 0; i < t->n; i++) {
        int64_t stride = t->windows[i].stride, most = (t->windows[i].size + stride - 1) / stride;
        int64_t size = (t->windows[i].size - at[i] + stride - 1) / stride;
        empty |= size <= 0;
        taps[i] = (struct window){size, 1, size - 1, most - 1, 1, 1};
        shape[2 + i] = b_dim_add(b, b_dim(b, t->x, 2 + i), b_dim_const(b, most - 1));
        if (!empty) {
            w = b_slice(b, w, 2 + i, b_dim_const(b, at[i]), b_dim_const(b, size), stride);
            w = b_reverse(b, w, 2 + i);
        }
    }
    return empty ? b_broadcast_to(b, b_const_like(b, t->x, 0), shape, 2 + t->n)
                 : b_conv(b, t->x, w, taps, t->n, t->groups);
}

static value_id separate_phases(const struct apart *t)
{
    struct builder *b = t->b;
    value_id parts[MOST_PHASES];
    int64_t at[3] = {0};
    uint32_t count = 0;
    for (bool more = true; more;) {
        value_id y = phase(t, at);
        parts[count++] = y == VALUE_NONE ? y : b_unsqueeze(b, y, 2);
        more = false;
        for (uint32_t i = t->n; i-- > 0 && !more;) {
            at[i] = (at[i] + 1) % t->windows[i].stride;
            more = at[i] > 0;
        }
    }
    value_id y = b_concat(b, parts, count, 2);
    y = y == VALUE_NONE ? y : b_flatten(b, y, 1, 2);
    return interleave(b, y, b_dim(b, t->w, 0), t->windows, t->n);
}

/* Computes the convolution of the input with zeros inserted; results that would be cropped are not
 * computed where possible. */
static value_id spread(struct builder *b, value_id x, value_id w, struct window *windows,
                       uint32_t n, int64_t groups)
{
    struct window spreading[LIMIT_RANK];
    for (uint32_t i = 0; i < n; i++) {
        struct window *window = &windows[i];
        int64_t reach = window->dilation * (window->size - 1);
        int64_t low = reach - window->low, high = reach - window->high;
        spreading[i] = (struct window){.size = window->size,
                                       .stride = 1,
                                       .low = low > 0 ? low : 0,
                                       .high = high > 0 ? high : 0,
                                       .dilation = window->dilation,
                                       .base_dilation = window->stride};
        window->low = low < 0 ? -low : 0;
        window->high = high < 0 ? -high : 0;
        w = b_reverse(b, w, 2 + i);
    }
    return b_conv(b, x, w, spreading, n, groups);
}

/* Crops results at both ends; a negative amount adds zeros. */
static value_id crop(struct builder *b, value_id y, const struct window *windows, uint32_t n)
{
    dim_id none[LIMIT_RANK], more[LIMIT_RANK];
    bool pads = false;
    for (uint32_t i = 0; i < n + 2; i++) {
        int64_t high = i < 2 ? 0 : windows[i - 2].high;
        none[i] = b_dim_const(b, 0);
        more[i] = b_dim_const(b, high < 0 ? -high : 0);
        pads = pads || high < 0;
    }
    y = pads ? b_pad(b, y, none, more, 0) : y;
    for (uint32_t i = 0; i < n && y != VALUE_NONE; i++) {
        int64_t low = windows[i].low, away = low + (windows[i].high > 0 ? windows[i].high : 0);
        if (away > 0) {
            dim_id count = b_dim_sub(b, b_dim(b, y, 2 + i), b_dim_const(b, away));
            y = ops_head(b, y, 2 + i, b_dim_const(b, low), count);
        }
    }
    return y;
}

value_id op_conv_transpose(struct builder *b, value_id x, value_id w, const struct window *windows,
                           uint32_t n, int64_t groups)
{
    struct window left[LIMIT_RANK];
    memcpy(left, windows, n * sizeof *windows);
    w = turn_kernel(b, w, n, groups);
    if (x == VALUE_NONE || w == VALUE_NONE) {
        return VALUE_NONE;
    }
    bool divide;
    bool by_phases = count_phases(left, n, &divide) > 0;
    value_id y = !by_phases ? spread(b, x, w, left, n, groups)
                 : divide   ? phases(b, x, w, left, n, groups)
                            : separate_phases(&(struct apart){b, x, w, left, n, groups});
    for (uint32_t i = 0; i < n && by_phases && !divide; i++) {
        left[i].high += (left[i].stride - left[i].size % left[i].stride) % left[i].stride;
    }
    return crop(b, y, left, n);
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
    for (uint32_t i = 0; i < n; i++) {
        if (extra[i] >= windows[i].stride && extra[i] >= windows[i].dilation) {
            return ops_attr_fail(call, "output_padding", "must be less than stride or dilation");
        }
        windows[i].low = padding[i];
        windows[i].high = padding[i] - extra[i];
    }
    return finish(call, op_conv_transpose(b, x, w, windows, n, groups), n, unbatched);
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
