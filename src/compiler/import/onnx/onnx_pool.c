/* Pooling over the dims behind the channels.
 *
 * ceil_mode is more padding behind the data: as much as the last window may hang over, and never so
 * much that a window would lie in padding alone. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

struct pool {
    uint32_t count;
    struct window windows[LIMIT_RANK]; /* with what ceil_mode adds in high */
    int64_t pad_high[LIMIT_RANK];      /* without */
    bool padded, hangs_over;
};

static bool read_pool(struct onnx_call *c, struct pool *out)
{
    uint32_t rank = onnx_rank(c, c->in[0]), given = 0;
    const int64_t *sizes = onnx_ints(c, "kernel_shape", &given);
    *out = (struct pool){.count = rank - 2};
    if (rank < 3 || !sizes || given != out->count)
        return b_fail(c->b, ERR_SHAPE, "rank %u, a kernel of %u dims", rank, given);
    if (!onnx_windows(c, sizes, given, out->windows))
        return false;
    for (uint32_t i = 0; i < given; i++) {
        struct window *w = &out->windows[i];
        int64_t reach = w->dilation * (w->size - 1);
        out->pad_high[i] = w->high;
        out->padded |= w->low + w->high > 0;
        if (w->low > reach || w->high > reach)
            return onnx_refuse(c, "a window in padding alone");
        if (onnx_int(c, "ceil_mode", 0) != 0) {
            int64_t hang = w->high + w->stride - 1;
            w->high = hang < reach ? hang : reach;
            out->hangs_over |= w->high != out->pad_high[i];
        }
    }
    return true;
}

bool onnx_max_pool(struct onnx_call *c)
{
    struct pool pool;
    if (onnx_wanted(c, 1))
        return onnx_refuse(c, "the output Indices");
    return read_pool(c, &pool) &&
           onnx_return(c, b_window(c->b, PRIM_WINDOW_MAX, c->in[0], pool.windows, pool.count));
}

/* How many elements each window averages over: in the data, or in data and padding. */
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
    value_id power = b_const_like(b, x, p), root = b_const_like(b, x, 1 / p);
    x = p == 1 ? x : p == 2 ? b_mul(b, x, x) : b_binary(b, PRIM_POW, x, power);
    value_id sum = b_window(b, PRIM_WINDOW_SUM, x, pool.windows, pool.count);
    return onnx_return(c, p == 1   ? sum
                          : p == 2 ? b_unary(b, PRIM_SQRT, sum)
                                   : b_binary(b, PRIM_POW, sum, root));
}
