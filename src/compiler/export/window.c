/* Windows: as MaxPool, or as Conv with a kernel of ones, where possible; otherwise by slices, one
 * dim after the other, since sums and maxima over a box are separable. */
#include "compiler/export/export_priv.h"

#define MAX_SLICES 256 /* per window */

const char *export_spread(struct export *e, const char *x, const struct attrs *attrs, dim_id *shape,
                          uint32_t rank, const char *fill)
{
    struct dim_table *dims = &e->graph->dims;
    dim_id none = dim_const(dims, 0), one = dim_const(dims, 1);
    for (uint32_t w = 0; w < attrs->window_count; w++) {
        uint32_t axis = rank - attrs->window_count + w;
        int64_t by = attrs->window[w].base_dilation;
        dim_id low[LIMIT_RANK + 1], high[LIMIT_RANK + 1], split[LIMIT_RANK + 1];
        if (by == 1)
            continue;
        for (uint32_t d = 0, to = 0; d < rank; d++) {
            low[to] = high[to] = none;
            split[to++] = shape[d];
            if (d != axis)
                continue;
            low[to] = none;
            high[to] = dim_const(dims, by - 1);
            split[to++] = one;
        }
        x = export_reshape(e, x, split, rank + 1);
        x = export_pad(e, x, low, high, rank + 1, fill);
        dim_id all = dim_mul(dims, shape[axis], dim_const(dims, by));
        shape[axis] = all;
        x = export_reshape(e, x, shape, rank);
        shape[axis] = dim_sub(dims, all, dim_const(dims, by - 1));
        x = export_slice(e, x, axis, none, shape[axis], 1);
    }
    return x;
}

const char *export_plane(struct export *e, const char *x, const dim_id *shape, uint32_t rank,
                         uint32_t count)
{
    dim_id plane[EXPORT_RANK];
    plane[0] = dim_product(&e->graph->dims, shape, rank - count);
    plane[1] = dim_const(&e->graph->dims, 1);
    for (uint32_t d = 0; d < count; d++)
        plane[2 + d] = shape[rank - count + d];
    return export_reshape(e, x, plane, 2 + count);
}

void export_window_attrs(struct export *e, const struct attrs *attrs, bool kernel_shape)
{
    int64_t sizes[LIMIT_RANK], strides[LIMIT_RANK], dilations[LIMIT_RANK], pads[2 * LIMIT_RANK];
    uint32_t count = attrs->window_count;
    for (uint32_t w = 0; w < count; w++) {
        sizes[w] = attrs->window[w].size;
        strides[w] = attrs->window[w].stride;
        dilations[w] = attrs->window[w].dilation;
        pads[w] = attrs->window[w].low;
        pads[count + w] = attrs->window[w].high;
    }
    if (kernel_shape)
        export_ints(e, "kernel_shape", sizes, count);
    export_ints(e, "strides", strides, count);
    export_ints(e, "dilations", dilations, count);
    export_ints(e, "pads", pads, 2 * count);
}

/* The windows along one dim: the sum or maximum of slices that are one dilation apart. */
static const char *along(struct export *e, const struct node *node, const char *x, uint32_t w)
{
    struct dim_table *dims = &e->graph->dims;
    const struct window *window = &node->attrs->window[w];
    const char *op = node->prim == PRIM_WINDOW_SUM ? "Add" : "Max", *all = NULL;
    uint32_t axis = node->rank - node->attrs->window_count + w;
    dim_id last = dim_sub(dims, node->shape[axis], dim_const(dims, 1));
    dim_id span =
        dim_add(dims, dim_mul(dims, last, dim_const(dims, window->stride)), dim_const(dims, 1));
    for (int64_t i = 0; i < window->size; i++) {
        dim_id start = dim_const(dims, i * window->dilation);
        const char *part =
            export_slice(e, x, axis, start, dim_add(dims, start, span), window->stride);
        all = all ? export_node(e, op, (const char *const[]){all, part}, 2) : part;
    }
    return all;
}

static const char *sliced(struct export *e, const struct node *node, const char *x,
                          const char *fill)
{
    const struct attrs *attrs = node->attrs;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    for (uint32_t d = 0; d < node->rank; d++)
        low[d] = high[d] = dim_const(&e->graph->dims, 0);
    for (uint32_t w = 0; w < attrs->window_count; w++) {
        uint32_t axis = node->rank - attrs->window_count + w;
        low[axis] = dim_const(&e->graph->dims, attrs->window[w].low);
        high[axis] = dim_const(&e->graph->dims, attrs->window[w].high);
        if (attrs->window[w].size > MAX_SLICES)
            return export_refuse(e, "a window this large, of this type, has no operation");
    }
    x = export_pad(e, x, low, high, node->rank, fill);
    for (uint32_t w = 0; w < attrs->window_count; w++)
        x = along(e, node, x, w);
    return x;
}

/* Runtimes pool over one to three dims, and refuse padding as large as a window. */
static bool is_pool(const struct attrs *attrs)
{
    for (uint32_t w = 0; w < attrs->window_count; w++)
        if (attrs->window[w].low >= attrs->window[w].size ||
            attrs->window[w].high >= attrs->window[w].size)
            return false;
    return attrs->window_count >= 1 && attrs->window_count <= 3;
}

/* A convolution of each plane with a kernel of ones. */
static const char *summed(struct export *e, const struct attrs *attrs, const char *x)
{
    int64_t shape[LIMIT_RANK] = {1};
    for (uint32_t w = 0; w < attrs->window_count; w++)
        shape[w] = attrs->window[w].size;
    int64_t weights[EXPORT_RANK] = {1, 1};
    for (uint32_t w = 0; w < attrs->window_count; w++)
        weights[2 + w] = shape[w];
    const char *sizes = export_list(e, weights, 2 + attrs->window_count);
    const char *kernel = NODE(e, "Expand", export_real(e, DTYPE_F32, 1), sizes);
    const char *result = NODE(e, "Conv", x, kernel);
    export_window_attrs(e, attrs, true);
    return result;
}

const char *export_window(struct export *e, const struct node *node)
{
    const struct attrs *attrs = node->attrs;
    enum dtype dtype = (enum dtype)node->dtype, carrier = export_carrier(dtype);
    const struct node *operand = export_operand(e, node, 0);
    bool is_sum = node->prim == PRIM_WINDOW_SUM, is_conv = is_sum && carrier == DTYPE_F32;
    bool is_max = !is_sum && dtype_is_float(dtype);
    dim_id shape[LIMIT_RANK];
    for (uint32_t d = 0; d < node->rank; d++)
        shape[d] = operand->shape[d];
    const char *fill =
        is_sum ? export_whole(e, carrier, 0) : export_extreme(e, dtype, carrier, false);
    const char *x = export_wide(e, node->operands[0]);
    x = export_spread(e, x, attrs, shape, node->rank, fill);
    if (!(is_conv || is_max) || !is_pool(attrs))
        return export_narrow(e, sliced(e, node, x, fill), dtype);
    x = export_plane(e, x, shape, node->rank, attrs->window_count);
    if (is_conv) {
        x = summed(e, attrs, x);
    } else {
        x = export_node(e, "MaxPool", &x, 1);
        export_window_attrs(e, attrs, true);
    }
    return export_narrow(e, export_reshape(e, x, node->shape, node->rank), dtype);
}
