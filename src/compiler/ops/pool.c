/* Pooling over the last dims. ceil_mode adds padding after the data, as much as the last window
 * needs, but never so much that a window would start beyond the data and its low padding.
 */
#include "compiler/ops/ops_priv.h"

#define MAX_WINDOW ((int64_t)1 << 20)

/* One pooling call. high of the windows includes the padding for ceil_mode; pad_high is the padding
 * as given. */
struct pool {
    uint32_t n;
    struct window windows[3];
    int64_t pad_high[3];
    bool hangs_over; /* ceil_mode added padding */
};

static bool read_pool(struct op_call *call, uint32_t n, bool dilated, struct pool *pool)
{
    int64_t size[3], stride[3], padding[6], dilation[3] = {1, 1, 1};
    const struct op_value *pads = op_attr(call, "padding");
    bool both = pads->kind == OP_INTS && pads->int_count == 2 * n;
    const char *stride_name = op_has(call, "stride") ? "stride" : "kernel_size";
    *pool = (struct pool){.n = n};
    if (!ops_check_rank(call, call->in[0], n, LIMIT_RANK) ||
        !ops_ints_in(call, "kernel_size", n, 1, MAX_WINDOW, size) ||
        !ops_ints_in(call, stride_name, n, 1, MAX_WINDOW, stride) ||
        !ops_ints_in(call, "padding", both ? 2 * n : n, 0, MAX_WINDOW, padding) ||
        (dilated && !ops_ints_in(call, "dilation", n, 1, MAX_WINDOW, dilation))) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        int64_t low = padding[i], high = padding[both ? n + i : i];
        int64_t reach = dilation[i] * (size[i] - 1);
        if (low > reach || high > reach) {
            return ops_attr_fail(call, "padding", "a window would lie in padding alone");
        }
        pool->pad_high[i] = high;
        if (op_bool(call, "ceil_mode")) {
            int64_t hang = high + stride[i] - 1;
            high = hang < reach ? hang : reach;
        }
        pool->hangs_over |= high != pool->pad_high[i];
        pool->windows[i] = (struct window){size[i], stride[i], low, high, dilation[i], 1};
    }
    return true;
}

static bool max_pool(struct op_call *call, uint32_t n)
{
    struct pool pool;
    return read_pool(call, n, true, &pool) &&
           op_return(call, b_window(call->b, PRIM_WINDOW_MAX, call->in[0], pool.windows, n));
}

/* The number of elements that each window averages over: in the data, or in data and padding. */
static value_id count_elements(struct op_call *call, const struct pool *pool, enum dtype dtype)
{
    struct builder *b = call->b;
    bool padding_counts = op_bool(call, "count_include_pad");
    struct window windows[3];
    dim_id shape[3];
    uint32_t first = ops_rank(b, call->in[0]) - pool->n;
    for (uint32_t i = 0; i < pool->n; i++) {
        windows[i] = pool->windows[i];
        shape[i] = b_dim(b, call->in[0], first + i);
        if (padding_counts) {
            dim_id pads = b_dim_const(b, windows[i].low + pool->pad_high[i]);
            shape[i] = b_dim_add(b, shape[i], pads);
            windows[i].low = 0;
            windows[i].high -= pool->pad_high[i];
        }
    }
    value_id ones = ops_full(b, dtype, 1, shape, pool->n);
    return b_window(b, PRIM_WINDOW_SUM, ones, windows, pool->n);
}

static bool avg_pool(struct op_call *call, uint32_t n)
{
    struct builder *b = call->b;
    struct pool pool;
    int64_t elements = 1;
    if (!read_pool(call, n, false, &pool)) {
        return false;
    }
    bool padded = false;
    for (uint32_t i = 0; i < n; i++) {
        elements *= pool.windows[i].size;
        padded |= pool.windows[i].low + pool.pad_high[i] > 0;
    }
    value_id x = ops_wide(b, call->in[0]);
    value_id sum = b_window(b, PRIM_WINDOW_SUM, x, pool.windows, n), count = VALUE_NONE;
    if (op_has(call, "divisor_override")) {
        if (!ops_int_in(call, "divisor_override", 1, INT32_MAX, &elements)) {
            return false;
        }
        count = b_const_like(b, x, (double)elements);
    } else if (pool.hangs_over || (padded && !op_bool(call, "count_include_pad"))) {
        count = count_elements(call, &pool, ops_dtype(b, x));
    } else {
        count = b_const_like(b, x, (double)elements);
    }
    return op_return(call, b_cast(b, b_div(b, sum, count), ops_dtype(b, call->in[0])));
}

/* Mean or maximum of the parts floor(i*in/out) … ceil((i+1)*in/out) along one axis. */
static value_id adaptive_axis(struct builder *b, value_id x, int64_t axis, int64_t out, bool mean)
{
    if (x == VALUE_NONE) {
        return x;
    }
    uint32_t rank = ops_rank(b, x);
    dim_id size = b_dim(b, x, axis);
    dim_id ratio = dim_div_exact(&b->graph->dims, size, b_dim_const(b, out));
    int64_t in = 0, part = axis + 1;
    if (ratio != DIM_NONE && rank < LIMIT_RANK) {
        dim_id shape[LIMIT_RANK];
        for (uint32_t i = 0, to = 0; i < rank; i++) {
            shape[to++] = i == axis ? b_dim_const(b, out) : b_dim(b, x, i);
            if (i == axis) {
                shape[to++] = ratio;
            }
        }
        value_id parts = b_reshape(b, x, shape, rank + 1);
        return mean ? b_mean(b, parts, &part, 1, false)
                    : b_reduce(b, PRIM_REDUCE_MAX, parts, &part, 1, false);
    }
    if (!ops_const_dim(b, x, axis, &in)) {
        return b_fail(b, ERR_UNSUPPORTED, "adaptive pooling to %lld of a dim that is not known",
                      (long long)out);
    }
    if (in == 0 || in > LIMIT_DIM_VALUE || out > LIMIT_OPERANDS) {
        return b_fail(b, ERR_UNSUPPORTED, "adaptive pooling of %lld elements to %lld",
                      (long long)in, (long long)out);
    }
    value_id parts[LIMIT_OPERANDS];
    for (int64_t i = 0; i < out; i++) {
        int64_t from = i * in / out, to = ((i + 1) * in + out - 1) / out;
        value_id piece = ops_head(b, x, axis, b_dim_const(b, from), b_dim_const(b, to - from));
        parts[i] = mean ? b_mean(b, piece, &axis, 1, true)
                        : b_reduce(b, PRIM_REDUCE_MAX, piece, &axis, 1, true);
    }
    return b_concat(b, parts, (uint32_t)out, axis);
}

static bool adaptive_pool(struct op_call *call, uint32_t n, bool mean)
{
    struct builder *b = call->b;
    int64_t out[3];
    if (!ops_check_rank(call, call->in[0], n, LIMIT_RANK) ||
        !ops_ints_in(call, "output_size", n, 1, MAX_WINDOW, out)) {
        return false;
    }
    value_id x = ops_wide(b, call->in[0]);
    uint32_t first = ops_rank(b, x) - n;
    for (uint32_t i = 0; i < n; i++) {
        x = adaptive_axis(b, x, first + i, out[i], mean);
    }
    return op_return(call, b_cast(b, x, ops_dtype(b, call->in[0])));
}

/* Pools over all dims after the channels; they stay, with size 1. */
static bool global_pool(struct op_call *call, bool mean)
{
    struct builder *b = call->b;
    int64_t axes[LIMIT_RANK];
    uint32_t rank = ops_rank(b, call->in[0]);
    if (!ops_check_rank(call, call->in[0], 3, LIMIT_RANK)) {
        return false;
    }
    for (uint32_t i = 2; i < rank; i++) {
        axes[i - 2] = i;
    }
    value_id x = ops_wide(b, call->in[0]);
    x = mean ? b_mean(b, x, axes, rank - 2, true)
             : b_reduce(b, PRIM_REDUCE_MAX, x, axes, rank - 2, true);
    return op_return(call, b_cast(b, x, ops_dtype(b, call->in[0])));
}

bool expand_max_pool1d(struct op_call *call)
{
    return max_pool(call, 1);
}

bool expand_max_pool2d(struct op_call *call)
{
    return max_pool(call, 2);
}

bool expand_max_pool3d(struct op_call *call)
{
    return max_pool(call, 3);
}

bool expand_avg_pool1d(struct op_call *call)
{
    return avg_pool(call, 1);
}

bool expand_avg_pool2d(struct op_call *call)
{
    return avg_pool(call, 2);
}

bool expand_avg_pool3d(struct op_call *call)
{
    return avg_pool(call, 3);
}

bool expand_adaptive_avg_pool1d(struct op_call *call)
{
    return adaptive_pool(call, 1, true);
}

bool expand_adaptive_avg_pool2d(struct op_call *call)
{
    return adaptive_pool(call, 2, true);
}

bool expand_adaptive_avg_pool3d(struct op_call *call)
{
    return adaptive_pool(call, 3, true);
}

bool expand_adaptive_max_pool1d(struct op_call *call)
{
    return adaptive_pool(call, 1, false);
}

bool expand_adaptive_max_pool2d(struct op_call *call)
{
    return adaptive_pool(call, 2, false);
}

bool expand_adaptive_max_pool3d(struct op_call *call)
{
    return adaptive_pool(call, 3, false);
}

bool expand_global_avg_pool(struct op_call *call)
{
    return global_pool(call, true);
}

bool expand_global_max_pool(struct op_call *call)
{
    return global_pool(call, false);
}
