/* Ops that change only shapes. */
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_told_priv.h"

/* Reshapes to a target shape: 0 stands for the dim of the operand, -1 is inferred. counts: of those
 * that are counts (onnx_bound_priv.h); NULL: none is. */
static bool reshape_to(struct onnx_call *c, dim_id *shape, uint32_t rank, bool allow_zero,
                       const value_id *counts)
{
    struct builder *b = c->b;
    uint32_t infer = rank, open = 0;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t value = 1;
        bool known = onnx_is_const(&c->o->graph->dims, shape[i], &value);
        if (known && value == -1 && infer == rank)
            infer = i;
        else if (known && value == -1)
            return b_fail(b, ERR_SHAPE, "elements %u and %u of the shape are -1", infer, i);
        else if (known && value < 0)
            return b_fail(b, ERR_SHAPE, "element %u of the shape is %lld", i, (long long)value);
        else if (known && value == 0 && !allow_zero)
            shape[i] = b_dim(b, c->in[0], i);
        if (shape[i] == DIM_NONE)
            return false;
        open |= (uint32_t)(known && value <= 0) << i;
    }
    value_id y = infer < rank ? b_reshape_infer(b, c->in[0], shape, rank, infer)
                              : b_reshape(b, c->in[0], shape, rank);
    /* A size that is said is not the count, which is inferred, kept, or said itself. */
    for (uint32_t i = 0; i < rank && y != VALUE_NONE; i++) {
        value_id count = onnx_count(c->o, y, (int)i), said = counts ? counts[i] : VALUE_NONE;
        if (said != VALUE_NONE ? said != count : count != VALUE_NONE && (open >> i & 1) == 0)
            return onnx_refuse(c,
                               "element %u of the shape is the size of a dim of which how much "
                               "counts is known when it runs only; that count, -1 and 0 are read",
                               i);
    }
    return onnx_return(c, y);
}

/* The shape that the model states for the result; an input must give it at each call. */
static bool told_shape(struct onnx_call *c, bool allow_zero, dim_id *out, uint32_t *out_rank)
{
    uint32_t input, count, rank = 0;
    if (onnx_bound_of(c->o, c->in[0]) || !onnx_may_tell(c, 1, &input, &count) ||
        !onnx_stated_shape(c, out, &rank) || count != rank)
        return false;
    for (uint32_t i = 0; i < rank; i++) {
        bool keeps = i < onnx_rank(c, c->in[0]) && !allow_zero;
        struct graph_element element = {input, i, ELEMENT_KEEP, DIM_NONE, out[i]};
        element.of = keeps ? b_dim(c->b, c->in[0], i) : b_dim_const(c->b, -1);
        if (!onnx_require(c, &element))
            return false;
    }
    *out_rank = rank;
    return true;
}

bool onnx_reshape(struct onnx_call *c)
{
    bool allow_zero = onnx_int(c, "allowzero", 0) != 0;
    dim_id shape[LIMIT_RANK];
    struct onnx_sizes sizes;
    uint32_t rank = 0, input, count;
    const int64_t *ints = onnx_ints(c, "shape", &rank);
    if (ints) {
        if (rank > LIMIT_RANK)
            return b_fail(c->b, ERR_LIMIT, "rank %u, at most %d", rank, LIMIT_RANK);
        for (uint32_t i = 0; i < rank; i++)
            shape[i] = b_dim_const(c->b, ints[i]);
    } else if (onnx_counted_sizes(c, 1, &sizes)) {
        return reshape_to(c, sizes.dims, sizes.count, allow_zero, sizes.counts);
    } else if (told_shape(c, allow_zero, shape, &rank)) {
        return onnx_return(c, b_reshape(c->b, c->in[0], shape, rank));
    } else if (onnx_failed(c)) {
        return false;
    } else if (onnx_may_tell(c, 1, &input, &count)) {
        return onnx_refuse(c,
                           "input 1 ('%.60s') is not known at compile time, and the model does "
                           "not state the shape of the result",
                           c->node->input[1]);
    } else if (!onnx_dims(c, 1, shape, LIMIT_RANK, &rank)) {
        return false;
    }
    return reshape_to(c, shape, rank, allow_zero, NULL);
}

static dim_id product(struct onnx_call *c, uint32_t from, uint32_t to)
{
    dim_id all = b_dim_const(c->b, 1);
    for (uint32_t i = from; i < to; i++)
        all = b_dim_mul(c->b, all, b_dim(c->b, c->in[0], i));
    return all;
}

bool onnx_flatten(struct onnx_call *c)
{
    uint32_t rank = onnx_rank(c, c->in[0]);
    int64_t axis = onnx_int(c, "axis", 1);
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis > rank)
        return b_fail(c->b, ERR_SHAPE, "axis %lld for rank %u", (long long)axis, rank);
    dim_id shape[2] = {product(c, 0, (uint32_t)axis), product(c, (uint32_t)axis, rank)};
    return onnx_return(c, b_reshape(c->b, c->in[0], shape, 2));
}

/* Reads the target shape. If an input tells it: a dim of 1 gets the size that the input gives; for
 * any other dim the input must give its size or 1. */
static bool told_stretches(struct onnx_call *c, dim_id *out, uint32_t *out_count)
{
    dim_id one = b_dim_const(c->b, 1), none = b_dim_const(c->b, 0);
    uint32_t own = onnx_rank(c, c->in[0]), input, count;
    if (!onnx_may_tell(c, 1, &input, &count) || count > LIMIT_RANK)
        return onnx_dims(c, 1, out, LIMIT_RANK, out_count);
    for (uint32_t i = 0; i < count; i++) {
        struct graph_element element = {input, i, ELEMENT_SIZE, none, DIM_NONE};
        dim_id x = i + own >= count ? b_dim(c->b, c->in[0], i + own - count) : one;
        if (x == one) {
            out[i] = onnx_tell(c, element);
            continue;
        }
        element.rule = ELEMENT_STRETCH;
        out[i] = element.dim = x;
        onnx_require(c, &element);
    }
    *out_count = count;
    return !onnx_failed(c);
}

bool onnx_expand_to(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK];
    struct onnx_sizes sizes = {0};
    uint32_t own = onnx_rank(c, c->in[0]);
    bool counted = onnx_counted_sizes(c, 1, &sizes);
    if (!counted && !told_stretches(c, sizes.dims, &sizes.count))
        return false;
    uint32_t count = sizes.count;
    uint32_t rank = own > count ? own : count;
    dim_id one = b_dim_const(b, 1);
    for (uint32_t i = 0; i < rank; i++) {
        dim_id x = i + own >= rank ? b_dim(b, c->in[0], i + own - rank) : one;
        dim_id to = i + count >= rank ? sizes.dims[i + count - rank] : one;
        shape[i] = to == one ? x : to;
        if (counted && x != one && i + count >= rank &&
            sizes.counts[i + count - rank] != VALUE_NONE)
            return onnx_refuse(c, "a dim that is not 1, by a size that is known when it runs only");
    }
    value_id y = b_broadcast_to(b, c->in[0], shape, rank);
    return onnx_return(c, counted ? onnx_bound_sizes(c, y, &sizes) : y);
}

/* Repeats along one axis: inserts a dim before it, broadcasts and merges both. */
static value_id tile_axis(struct onnx_call *c, value_id x, uint32_t axis, dim_id repeats)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK], merged[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x);
    if (repeats == b_dim_const(b, 1) || x == VALUE_NONE)
        return x;
    x = b_unsqueeze(b, x, axis);
    if (x == VALUE_NONE)
        return x;
    for (uint32_t i = 0; i <= rank; i++)
        shape[i] = i == axis ? repeats : b_dim(b, x, i);
    x = b_broadcast_to(b, x, shape, rank + 1);
    for (uint32_t i = 0; i < rank; i++)
        merged[i] = i < axis    ? shape[i]
                    : i == axis ? b_dim_mul(b, repeats, shape[i + 1])
                                : shape[i + 1];
    return b_reshape(b, x, merged, rank);
}

value_id onnx_stack(struct onnx_call *c, const value_id *parts, uint32_t count, int64_t axis)
{
    value_id rows[LIMIT_OPERANDS], groups[LIMIT_OPERANDS];
    uint32_t group_count = 0;
    for (uint32_t from = 0; from < count && group_count < LIMIT_OPERANDS; from += LIMIT_OPERANDS) {
        uint32_t n = count - from < LIMIT_OPERANDS ? count - from : LIMIT_OPERANDS;
        for (uint32_t i = 0; i < n; i++)
            rows[i] = b_unsqueeze(c->b, parts[from + i], axis);
        groups[group_count++] = b_concat(c->b, rows, n, axis);
    }
    return group_count == 1 ? groups[0] : b_concat(c->b, groups, group_count, axis);
}

value_id onnx_move_first(struct onnx_call *c, value_id x, int64_t axis)
{
    uint8_t axes[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x);
    int to = b_axis(c->b, x, axis);
    if (to < 0)
        return VALUE_NONE;
    for (uint32_t i = 0; i < rank; i++)
        axes[i] = (uint8_t)(i < (uint32_t)to ? i + 1 : i == (uint32_t)to ? 0 : i);
    return b_transpose(c->b, x, axes);
}

value_id onnx_channels_second(struct onnx_call *c, value_id x)
{
    uint8_t axes[LIMIT_RANK] = {0};
    uint32_t rank = onnx_rank(c, x);
    if (x == VALUE_NONE || rank < 2)
        return x;
    for (uint32_t i = 1; i < rank; i++)
        axes[i] = (uint8_t)(i == 1 ? rank - 1 : i - 1);
    return b_transpose(c->b, x, axes);
}

value_id onnx_channels_last(struct onnx_call *c, value_id x)
{
    uint8_t axes[LIMIT_RANK] = {0};
    uint32_t rank = onnx_rank(c, x);
    if (x == VALUE_NONE || rank < 2)
        return x;
    for (uint32_t i = 1; i < rank; i++)
        axes[i] = (uint8_t)(i + 1 < rank ? i + 1 : 1);
    return b_transpose(c->b, x, axes);
}

value_id onnx_repeat(struct onnx_call *c, value_id x, uint32_t axis, dim_id times)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK], merged[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x);
    x = b_unsqueeze(b, x, axis + 1);
    if (x == VALUE_NONE)
        return x;
    for (uint32_t i = 0; i <= rank; i++)
        shape[i] = i == axis + 1 ? times : b_dim(b, x, i);
    x = b_broadcast_to(b, x, shape, rank + 1);
    for (uint32_t i = 0; i < rank; i++)
        merged[i] = i < axis ? shape[i] : i == axis ? b_dim_mul(b, times, shape[i]) : shape[i + 1];
    return b_reshape(b, x, merged, rank);
}

bool onnx_tile(struct onnx_call *c)
{
    dim_id repeats[LIMIT_RANK];
    uint32_t count = 0;
    value_id x = c->in[0];
    if (!onnx_dims(c, 1, repeats, LIMIT_RANK, &count))
        return false;
    if (count != onnx_rank(c, x))
        return b_fail(c->b, ERR_SHAPE, "%u repeats for rank %u", count, onnx_rank(c, x));
    for (uint32_t i = 0; i < count; i++)
        x = tile_axis(c, x, i, repeats[i]);
    return onnx_return(c, x);
}

/* Parts of which not all counts: what does stands one behind the other all the same. Element i
 * comes from place i of all parts side by side, and for each part that ends before it from one
 * further by what did not count there. */
static value_id concat_counted(struct onnx_call *c, int axis)
{
    struct builder *b = c->b;
    value_id end = b_const(b, DTYPE_I64, 0), skipped[LIMIT_OPERANDS], ends[LIMIT_OPERANDS];
    for (uint32_t i = 0; i < c->in_count; i++) {
        value_id extent = onnx_extent(c, c->in[i], axis);
        ends[i] = end = b_add(b, end, extent);
        skipped[i] = b_sub(b, b_size(b, b_dim(b, c->in[i], axis)), extent);
        c->in[i] = onnx_fill(c, c->in[i], axis, FILL_ZERO);
    }
    value_id all = b_concat(b, c->in, c->in_count, axis);
    dim_id length = b_dim(b, all, axis);
    value_id place = b_iota(b, DTYPE_I64, &length, 1, 0), from = place;
    for (uint32_t i = 0; i + 1 < c->in_count; i++)
        from = b_add(b, from,
                     b_select(b, b_binary(b, PRIM_LE, ends[i], place), skipped[i],
                              b_const(b, DTYPE_I64, 0)));
    return onnx_bound(c, b_take(b, all, from, axis), axis, end, false);
}

bool onnx_concat(struct onnx_call *c)
{
    int64_t axis = onnx_int(c, "axis", 1);
    for (uint32_t i = 1; i < c->in_count; i++)
        if (c->small[i] != c->small[0])
            return b_fail(c->b, ERR_SHAPE, "operand %u is of another type than operand 0", i);
    for (uint32_t i = 0; i < c->in_count; i++) {
        int at = b_axis(c->b, c->in[i], axis);
        if (at >= 0 && onnx_count(c->o, c->in[i], at) != VALUE_NONE)
            return onnx_return(c, concat_counted(c, at));
    }
    return onnx_return(c, b_concat(c->b, c->in, c->in_count, axis));
}

/* Sizes that an input tells: each is limited to what is left of the dim; the last must be the
 * rest. */
static bool told_parts(struct onnx_call *c, uint32_t input, dim_id whole, dim_id *sizes,
                       uint32_t count)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id at = b_dim_const(c->b, 0);
    for (uint32_t i = 0; i < count; i++) {
        struct graph_element element = {input, i, ELEMENT_SIZE, b_dim_const(c->b, 0), DIM_NONE};
        dim_id next = whole;
        if (i + 1 < count)
            next = dim_min(dims, dim_add(dims, at, onnx_tell(c, element)), whole);
        sizes[i] = element.dim = b_dim_sub(c->b, next, at);
        if (sizes[i] == DIM_NONE || !onnx_require(c, &element))
            return false;
        at = next;
    }
    return !onnx_failed(c);
}

/* Reads the sizes of the parts: a list, or equal sizes except for the last. */
static bool split_sizes(struct onnx_call *c, dim_id whole, dim_id *sizes, uint32_t count)
{
    struct dim_table *dims = &c->o->graph->dims;
    struct builder *b = c->b;
    uint32_t listed = 0;
    const int64_t *ints = onnx_ints(c, "split", &listed);
    if (ints && listed == count) {
        for (uint32_t i = 0; i < count; i++)
            sizes[i] = b_dim_const(b, ints[i]);
        return true;
    }
    uint32_t input;
    if (onnx_may_tell(c, 1, &input, &listed) && listed == count)
        return told_parts(c, input, whole, sizes, count);
    if (onnx_given(c, 1)) {
        if (!onnx_dims(c, 1, sizes, OP_MAX_OUTPUTS, &listed))
            return false;
        return listed == count || b_fail(b, ERR_SHAPE, "%u sizes for %u outputs", listed, count);
    }
    if (ints)
        return b_fail(b, ERR_SHAPE, "%u sizes for %u outputs", listed, count);
    dim_id parts = b_dim_const(b, count), equal = dim_div_exact(dims, whole, parts);
    if (equal == DIM_NONE)
        equal = dim_ceildiv(dims, whole, parts);
    dim_id left = whole;
    for (uint32_t i = 0; i < count; i++) {
        sizes[i] = i + 1 < count ? equal : left;
        left = b_dim_sub(b, left, equal);
    }
    return !onnx_failed(c);
}

bool onnx_split(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id sizes[OP_MAX_OUTPUTS], at = b_dim_const(b, 0);
    int axis = b_axis(b, c->in[0], onnx_int(c, "axis", 0));
    c->out_count = (uint32_t)c->node->n_output;
    if (axis < 0 || c->out_count == 0)
        return false;
    if (onnx_int(c, "num_outputs", c->out_count) != c->out_count)
        return b_fail(b, ERR_BLUEPRINT, "attribute 'num_outputs' is %lld, and there are %u outputs",
                      (long long)onnx_int(c, "num_outputs", 0), c->out_count);
    dim_id whole = b_dim(b, c->in[0], axis);
    if (!split_sizes(c, whole, sizes, c->out_count))
        return false;
    for (uint32_t i = 0; i < c->out_count; i++) {
        c->out[i] = b_slice(b, c->in[0], axis, at, sizes[i], 1);
        at = b_dim_add(b, at, sizes[i]);
    }
    if (onnx_failed(c) || at == whole || dim_needs_equal(&b->graph->dims, at, whole))
        return !onnx_failed(c);
    return b_fail(b, ERR_SHAPE, "the parts are not all of dim %d", axis);
}

/* DepthToSpace and SpaceToDepth move blocks between the channels and the spatial dims. */
static bool block_size(struct onnx_call *c, int64_t *out)
{
    *out = onnx_int(c, "blocksize", 0);
    if (onnx_rank(c, c->in[0]) != 4 || *out < 1 || *out > 65536)
        return b_fail(c->b, ERR_SHAPE, "rank %u, block size %lld", onnx_rank(c, c->in[0]),
                      (long long)*out);
    return true;
}

static dim_id part(struct onnx_call *c, int64_t axis, int64_t divisor)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id dim = b_dim(c->b, c->in[0], axis), by = dim_const(dims, divisor);
    dim_id exact = dim_div_exact(dims, dim, by);
    if (exact == DIM_NONE)
        dim_needs_equal(dims, dim, dim_mul(dims, by, dim_floordiv(dims, dim, by)));
    if (exact == DIM_NONE)
        b_fail(c->b, ERR_SHAPE, "dim %lld is no multiple of %lld", (long long)axis,
               (long long)divisor);
    return exact;
}

bool onnx_depth_to_space(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t size = 0;
    bool rows = strcmp(onnx_text(c, "mode", "DCR"), "CRD") == 0;
    if (!block_size(c, &size))
        return false;
    dim_id n = b_dim(b, c->in[0], 0), channels = part(c, 1, size * size),
           block = b_dim_const(b, size);
    dim_id height = b_dim(b, c->in[0], 2), width = b_dim(b, c->in[0], 3);
    if (channels == DIM_NONE)
        return false;
    dim_id depth_first[6] = {n, block, block, channels, height, width};
    dim_id column_first[6] = {n, channels, block, block, height, width};
    value_id x = b_reshape(b, c->in[0], rows ? column_first : depth_first, 6);
    x = b_transpose(b, x, rows ? (uint8_t[]){0, 1, 4, 2, 5, 3} : (uint8_t[]){0, 3, 4, 1, 5, 2});
    dim_id shape[4] = {n, channels, b_dim_mul(b, height, block), b_dim_mul(b, width, block)};
    return onnx_return(c, b_reshape(b, x, shape, 4));
}

bool onnx_space_to_depth(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t size = 0;
    if (!block_size(c, &size))
        return false;
    dim_id n = b_dim(b, c->in[0], 0), channels = b_dim(b, c->in[0], 1);
    dim_id height = part(c, 2, size), width = part(c, 3, size), block = b_dim_const(b, size);
    if (height == DIM_NONE || width == DIM_NONE)
        return false;
    dim_id split[6] = {n, channels, height, block, width, block};
    value_id x = b_reshape(b, c->in[0], split, 6);
    bool rows = strcmp(onnx_text(c, "mode", "DCR"), "CRD") == 0;
    x = b_transpose(b, x, rows ? (uint8_t[]){0, 1, 3, 5, 2, 4} : (uint8_t[]){0, 3, 5, 1, 2, 4});
    dim_id shape[4] = {n, b_dim_mul(b, channels, b_dim_const(b, size * size)), height, width};
    return onnx_return(c, b_reshape(b, x, shape, 4));
}

bool onnx_trilu(struct onnx_call *c)
{
    struct builder *b = c->b;
    uint32_t rank = onnx_rank(c, c->in[0]);
    if (rank < 2)
        return b_fail(b, ERR_SHAPE, "rank %u, expected 2 or more", rank);
    dim_id shape[2] = {b_dim(b, c->in[0], -2), b_dim(b, c->in[0], -1)};
    value_id rows = b_iota(b, DTYPE_I64, shape, 2, 0), columns = b_iota(b, DTYPE_I64, shape, 2, 1);
    value_id k = onnx_given(c, 1) ? b_reshape(b, c->in[1], NULL, 0) : b_const(b, DTYPE_I64, 0);
    value_id border = b_sub(b, columns, rows);
    value_id kept = onnx_int(c, "upper", 1) != 0 ? b_binary(b, PRIM_LE, k, border)
                                                 : b_binary(b, PRIM_LE, border, k);
    return onnx_return(c, b_select(b, kept, c->in[0], b_const_like(b, c->in[0], 0)));
}
