/* Pooling over the dims after the channels.
 *
 * ceil_mode is more padding at the end: as much as the last window can extend beyond the data, but
 * not so much that a window would have padding only. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

struct pool {
    uint32_t count;
    struct window windows[LIMIT_RANK]; /* high includes the padding of ceil_mode */
    int64_t pad_high[LIMIT_RANK];      /* padding without that of ceil_mode */
    struct onnx_around around;
    bool padded, hangs_over;
};

static bool read_pool(struct onnx_call *c, struct pool *out)
{
    uint32_t rank = onnx_rank(c, c->in[0]), given = 0;
    const int64_t *sizes = onnx_ints(c, "kernel_shape", &given);
    *out = (struct pool){.count = rank - 2};
    if (rank < 3 || !sizes || given != out->count)
        return b_fail(c->b, ERR_SHAPE, "rank %u, a kernel of %u dims", rank, given);
    if (!onnx_windows(c, sizes, given, out->windows, &out->around))
        return false;
    out->padded = out->around.any;
    for (uint32_t i = 0; i < given; i++) {
        struct window *w = &out->windows[i];
        int64_t reach = w->dilation * (w->size - 1);
        out->pad_high[i] = w->high;
        out->padded |= w->low + w->high > 0;
        if (w->low > reach || w->high > reach)
            return onnx_refuse(c, "a window that lies in the padding only");
        if (onnx_int(c, "ceil_mode", 0) != 0) {
            int64_t hang = w->high + w->stride - 1;
            w->high = hang < reach ? hang : reach;
            out->hangs_over |= w->high != out->pad_high[i];
        }
    }
    return true;
}

#define MAX_TAPS 64 /* largest window whose Indices can be computed */

/* The identity of the maximum: the least value. */
static double least_of(struct onnx_call *c)
{
    enum dtype type = onnx_type(c, c->in[0]);
    return dtype_is_float(type) ? (double)-INFINITY : (double)dtype_least(type);
}

/* Pads the operand with the least value. */
static value_id surround(struct onnx_call *c, const struct pool *pool)
{
    struct builder *b = c->b;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    for (uint32_t i = 0; i < pool->count + 2; i++) {
        low[i] = b_dim_const(b, i < 2 ? 0 : pool->windows[i - 2].low);
        high[i] = b_dim_const(b, i < 2 ? 0 : pool->windows[i - 2].high);
    }
    return b_pad(b, c->in[0], low, high, least_of(c));
}

/* The tap of each window that has its first maximum: i64 in the shape of the result. */
static value_id best_taps(struct onnx_call *c, const struct pool *pool, value_id y, uint32_t taps)
{
    struct builder *b = c->b;
    value_id parts[MAX_TAPS], padded = surround(c, pool);
    for (uint32_t t = 0; t < taps; t++) {
        value_id part = padded;
        for (uint32_t i = pool->count, rest = t; i-- > 0;) {
            const struct window *w = &pool->windows[i];
            int64_t at = rest % w->size * w->dilation;
            rest /= (uint32_t)w->size;
            part = b_slice(b, part, 2 + i, b_dim_const(b, at), b_dim(b, y, 2 + i), w->stride);
        }
        parts[t] = part;
    }
    if (onnx_failed(c))
        return VALUE_NONE;
    value_id all = onnx_stack(c, parts, taps, pool->count + 2);
    struct attrs attrs = {.axis = (int32_t)pool->count + 2};
    return all == VALUE_NONE ? all : graph_add(b->graph, PRIM_ARGMAX, &all, 1, &attrs, b->err);
}

/* Positions of the maxima in the whole operand, in row-major order or, with storage_order 1,
 * column-major. */
static value_id places(struct onnx_call *c, const struct pool *pool, value_id y)
{
    struct builder *b = c->b;
    int64_t taps = 1;
    bool columns = onnx_int(c, "storage_order", 0) != 0;
    for (uint32_t i = 0; i < pool->count && taps <= MAX_TAPS; i++)
        taps *= pool->windows[i].size;
    if (taps > MAX_TAPS || pool->count + 3 > LIMIT_RANK)
        return onnx_refuse(c, "Indices of windows of more than %d elements", MAX_TAPS);
    if (dtype_bytes(onnx_type(c, y)) > 2 && !dtype_is_float(onnx_type(c, y)))
        return onnx_refuse(c, "Indices of wide integers");
    value_id tap = best_taps(c, pool, y, (uint32_t)taps), index = VALUE_NONE;
    if (tap == VALUE_NONE)
        return VALUE_NONE;
    const struct node *node = graph_node(b->graph, y);
    dim_id shape[LIMIT_RANK], area = b_dim_const(b, 1);
    memcpy(shape, node->shape, node->rank * sizeof *shape);
    for (uint32_t n = 0; n < pool->count; n++) {
        uint32_t i = columns ? pool->count - 1 - n : n;
        const struct window *w = &pool->windows[i];
        int64_t inner = 1;
        for (uint32_t k = i + 1; k < pool->count; k++)
            inner *= pool->windows[k].size;
        value_id at = b_div(b, tap, b_const(b, DTYPE_I64, (double)inner));
        at = b_binary(b, PRIM_REM, at, b_const(b, DTYPE_I64, (double)w->size));
        value_id start =
            b_scale(b, b_iota(b, DTYPE_I64, shape, pool->count + 2, 2 + i), (double)w->stride);
        at = b_shift(b, b_add(b, start, b_scale(b, at, (double)w->dilation)), (double)-w->low);
        dim_id size = b_dim(b, c->in[0], 2 + i);
        index = n == 0 ? at : b_add(b, b_mul(b, index, b_size(b, size)), at);
        area = b_dim_mul(b, area, size);
    }
    value_id channel = b_iota(b, DTYPE_I64, shape, pool->count + 2, 0);
    channel = b_mul(b, channel, b_size(b, shape[1]));
    channel = b_add(b, channel, b_iota(b, DTYPE_I64, shape, pool->count + 2, 1));
    return b_add(b, b_mul(b, channel, b_size(b, area)), index);
}

bool onnx_max_pool(struct onnx_call *c)
{
    struct pool pool;
    if (!read_pool(c, &pool))
        return false;
    if (pool.around.any && onnx_wanted(c, 1))
        return onnx_refuse(c, "Indices with auto_pad of a dim that is not constant");
    value_id x = onnx_put_around(c, c->in[0], &pool.around, pool.count + 2, least_of(c));
    c->out[0] = b_window(c->b, PRIM_WINDOW_MAX, x, pool.windows, pool.count);
    if (onnx_wanted(c, 1))
        c->out[1] = places(c, &pool, c->out[0]);
    c->out_count = 2;
    return !onnx_failed(c);
}

/* Scatters values to the positions of their maxima, zeros elsewhere. */
bool onnx_max_unpool(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct pool pool;
    int64_t wanted[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, c->in[0]), count = 0;
    dim_id shape[LIMIT_RANK], low[LIMIT_RANK], high[LIMIT_RANK], zero = b_dim_const(b, 0);
    if (!read_pool(c, &pool) ||
        (onnx_given(c, 2) && !onnx_const_ints(c, 2, wanted, LIMIT_RANK, &count)))
        return false;
    for (uint32_t i = 0; i < rank; i++) {
        const struct window *w = &pool.windows[i < 2 ? 0 : i - 2];
        shape[i] = b_dim(b, c->in[0], i);
        if (i < 2)
            continue;
        shape[i] =
            b_dim_mul(b, b_dim_sub(b, shape[i], b_dim_const(b, 1)), b_dim_const(b, w->stride));
        shape[i] = b_dim_add(b, shape[i], b_dim_const(b, w->size - w->low - w->high));
    }
    dim_id all = dim_product(&b->graph->dims, shape, rank);
    dim_id own = graph_elements(b->graph, c->in[0]);
    value_id zeros = b_broadcast_to(b, b_const_like(b, c->in[0], 0), &all, 1);
    value_id operands[3] = {zeros, b_reshape(b, b_cast(b, c->in[1], DTYPE_I64), &own, 1),
                            b_reshape(b, c->in[0], &own, 1)};
    if (onnx_failed(c))
        return false;
    value_id y = graph_add(b->graph, PRIM_SCATTER, operands, 3,
                           &(struct attrs){.axis = 0, .mode = SCATTER_SET}, b->err);
    y = b_reshape(b, y, shape, rank);
    if (count == 0)
        return onnx_return(c, y);
    if (count != rank)
        return b_fail(b, ERR_SHAPE, "output_shape has %u dims", count);
    for (uint32_t i = 0; i < rank; i++) {
        low[i] = zero;
        high[i] = b_dim_sub(b, b_dim_const(b, wanted[i]), shape[i]);
    }
    return onnx_return(c, b_pad(b, y, low, high, 0));
}

/* The number of elements in each window's mean: in the data, or in data and padding. */
static value_id count_elements(struct onnx_call *c, const struct pool *pool, enum dtype dtype)
{
    struct builder *b = c->b;
    bool padding_counts = onnx_int(c, "count_include_pad", 0) != 0;
    struct window windows[LIMIT_RANK];
    dim_id shape[LIMIT_RANK];
    double whole = 1;
    for (uint32_t i = 0; i < pool->count; i++) {
        windows[i] = pool->windows[i];
        whole *= (double)windows[i].size;
        shape[i] = b_dim(b, c->in[0], 2 + i);
        if (!padding_counts)
            continue;
        shape[i] = b_dim_add(b, shape[i], b_dim_const(b, windows[i].low + pool->pad_high[i]));
        windows[i].low = 0;
        windows[i].high -= pool->pad_high[i];
    }
    if (!pool->hangs_over && (!pool->padded || padding_counts))
        return b_const(b, dtype, whole);
    value_id ones = b_broadcast_to(b, b_const(b, dtype, 1), shape, pool->count);
    ones = onnx_put_around(c, ones, &pool->around, pool->count, padding_counts ? 1 : 0);
    return b_window(b, PRIM_WINDOW_SUM, ones, windows, pool->count);
}

bool onnx_average_pool(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct pool pool;
    enum dtype type = onnx_type(c, c->in[0]), wide = dtype_bytes(type) < 4 ? DTYPE_F32 : type;
    if (!read_pool(c, &pool))
        return false;
    value_id x = b_cast(b, c->in[0], wide);
    x = onnx_put_around(c, x, &pool.around, pool.count + 2, 0);
    value_id sum = b_window(b, PRIM_WINDOW_SUM, x, pool.windows, pool.count);
    return onnx_return(c, b_cast(b, b_div(b, sum, count_elements(c, &pool, wide)), type));
}

bool onnx_lp_pool(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct pool pool;
    double p = (double)onnx_int(c, "p", 2);
    value_id x = b_unary(b, PRIM_ABS, c->in[0]);
    if (!read_pool(c, &pool))
        return false;
    x = onnx_put_around(c, x, &pool.around, pool.count + 2, 0);
    value_id power = b_const_like(b, x, p), root = b_const_like(b, x, 1 / p);
    x = p == 1 ? x : p == 2 ? b_mul(b, x, x) : b_binary(b, PRIM_POW, x, power);
    value_id sum = b_window(b, PRIM_WINDOW_SUM, x, pool.windows, pool.count);
    if (p == 1 || p == 2)
        return onnx_return(c, p == 1 ? sum : b_unary(b, PRIM_SQRT, sum));
    /* A root's slope is infinite at 0, where that of the norm is 0. */
    value_id zero = b_const_like(b, sum, 0), none = b_binary(b, PRIM_EQ, sum, zero);
    return onnx_return(c, b_select(b, none, zero, b_binary(b, PRIM_POW, sum, root)));
}
