/* Ops on shapes, whose sizes may be expressions over named dims. */
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define PAST_ANY_DIM (INT64_C(1) << 40) /* as a bound: "to the end" */

static bool is_minus_one(struct aten_call *c, dim_id dim)
{
    int64_t value;
    return dim != DIM_NONE && dim_is_const(&c->p->graph->dims, dim, &value) && value == -1;
}

static value_id reshape(struct aten_call *c, value_id x, const dim_id *dims, uint32_t rank)
{
    uint32_t infer = rank;
    for (uint32_t i = 0; i < rank; i++) {
        if (!is_minus_one(c, dims[i]))
            continue;
        if (infer < rank)
            return b_fail(c->b, ERR_SHAPE, "two sizes are -1");
        infer = i;
    }
    if (aten_failed(c) || x == VALUE_NONE)
        return VALUE_NONE;
    return infer < rank ? b_reshape_infer(c->b, x, dims, rank, infer)
                        : b_reshape(c->b, x, dims, rank);
}

bool aten_reshape(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), other = aten_in(c, "other");
    dim_id dims[LIMIT_RANK];
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    if (aten_has(c, "dtype"))
        return aten_refuse(c, "the same bits in another dtype");
    if (other != VALUE_NONE) {
        const struct node *node = graph_node(c->p->graph, other);
        return aten_return(c, b_reshape(c->b, x, node->shape, node->rank));
    }
    uint32_t rank = aten_dims(c, c->op->with, dims, LIMIT_RANK);
    return aten_return(c, reshape(c, x, dims, rank));
}

bool aten_unflatten(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    dim_id sizes[LIMIT_RANK], dims[2 * LIMIT_RANK];
    uint32_t count = aten_dims(c, "sizes", sizes, LIMIT_RANK), rank = 0;
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    int axis = b_axis(c->b, x, aten_int(c, "dim", 0));
    if (axis < 0)
        return false;
    for (int i = 0; i < (int)aten_rank(c, x); i++) {
        for (uint32_t k = 0; i == axis && k < count; k++)
            dims[rank++] = sizes[k];
        if (i != axis)
            dims[rank++] = b_dim(c->b, x, i);
    }
    if (rank > LIMIT_RANK)
        return b_fail(c->b, ERR_LIMIT, "rank %u", rank);
    return aten_return(c, reshape(c, x, dims, rank));
}

bool aten_flatten(struct aten_call *c)
{
    return aten_expand_row(c, c->op->with);
}

/* permute reads its dims itself: a list with one element would become a number. */
bool aten_permute(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    return aten_rank(c, x) == 1 ? aten_return(c, x) : aten_expand_row(c, c->op->with);
}

bool aten_turn(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    if (aten_rank(c, x) > 2 && strcmp(c->op->name, "mT") != 0)
        return aten_refuse(c, "rank %u", aten_rank(c, x));
    return x != VALUE_NONE && aten_return(c, aten_rank(c, x) < 2 ? x : b_swap(c->b, x, -2, -1));
}

bool aten_stretch(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), other = aten_in(c, "other");
    dim_id dims[LIMIT_RANK];
    uint32_t own = aten_rank(c, x), rank = aten_dims(c, "size", dims, LIMIT_RANK);
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    if (other != VALUE_NONE) {
        const struct node *node = graph_node(c->p->graph, other);
        return aten_return(c, b_broadcast_to(c->b, x, node->shape, node->rank));
    }
    for (uint32_t i = 0; i < rank; i++) {
        if (!is_minus_one(c, dims[i]))
            continue;
        if (i + own < rank)
            return b_fail(c->b, ERR_SHAPE, "size -1 for a new dim");
        dims[i] = b_dim(c->b, x, (int64_t)i + own - rank);
    }
    return aten_return(c, b_broadcast_to(c->b, x, dims, rank));
}

/* Broadcasts all tensors to their common shape. */
bool aten_broadcast_tensors(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[LIMIT_OPERANDS];
    uint32_t count = aten_tensors(c, "tensors", in, LIMIT_OPERANDS), rank = 0;
    dim_id shape[LIMIT_RANK], one = b_dim_const(b, 1);
    if (aten_failed(c) || c->refused)
        return false;
    for (uint32_t i = 0; i < count; i++)
        rank = aten_rank(c, in[i]) > rank ? aten_rank(c, in[i]) : rank;
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = one;
    for (uint32_t i = 0; i < count; i++) {
        const struct node node = *b_node(b, in[i]);
        for (uint32_t k = 0, to = rank - node.rank; k < node.rank; k++, to++)
            shape[to] = shape[to] == one ? node.shape[k] : shape[to];
    }
    for (uint32_t i = 0; i < count; i++)
        c->out[i] = b_broadcast_to(b, in[i], shape, rank);
    c->out_count = count;
    return count > 0 && !aten_failed(c);
}

/* A bound clamped to 0 … size; negative ones count from the end, as in Python. */
static dim_id place(struct aten_call *c, dim_id bound, dim_id size)
{
    struct dim_table *dims = &c->p->graph->dims;
    int64_t least, most;
    if (bound == DIM_NONE || size == DIM_NONE)
        return DIM_NONE;
    dim_range(dims, bound, &least, &most);
    if (least >= PAST_ANY_DIM)
        return size;
    if (most < 0)
        bound = dim_add(dims, bound, size);
    else if (least < 0)
        return aten_refuse(c, "it is not known whether a bound is negative"), DIM_NONE;
    return dim_max(dims, dim_min(dims, bound, size), dim_const(dims, 0));
}

static dim_id bound_arg(struct aten_call *c, const char *name)
{
    const char *kind;
    const json_t *arg = aten_arg(c, name, &kind);
    if (json_is_integer(arg) && json_integer_value(arg) >= PAST_ANY_DIM)
        return b_dim_const(c->b, PAST_ANY_DIM);
    if (json_is_integer(arg) && json_integer_value(arg) < -PAST_ANY_DIM)
        return b_dim_const(c->b, -PAST_ANY_DIM);
    return aten_dim(c, name, PAST_ANY_DIM);
}

bool aten_slice_range(struct aten_call *c, value_id x, int64_t dim, struct aten_range *out)
{
    struct dim_table *dims = &c->p->graph->dims;
    int64_t step = aten_int(c, "step", 1);
    int axis = aten_failed(c) ? -1 : b_axis(c->b, x, dim);
    if (axis < 0)
        return false;
    if (step < 1 || step > PAST_ANY_DIM)
        return b_fail(c->b, ERR_SHAPE, "step %lld", (long long)step);
    dim_id size = b_dim(c->b, x, axis);
    dim_id start =
        place(c, aten_has(c, "start") ? bound_arg(c, "start") : b_dim_const(c->b, 0), size);
    dim_id end = place(c, bound_arg(c, "end"), size);
    if (aten_failed(c))
        return false;
    dim_id count = dim_ceildiv(dims, dim_sub(dims, end, start), dim_const(dims, step));
    if (count == DIM_NONE)
        return b_fail(c->b, ERR_LIMIT, "the size cannot be expressed");
    *out = (struct aten_range){start, dim_max(dims, count, dim_const(dims, 0)), step};
    return true;
}

bool aten_slice(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dim", 0);
    struct aten_range range;
    return x != VALUE_NONE && aten_slice_range(c, x, dim, &range) &&
           aten_return(c, b_slice(c->b, x, dim, range.start, range.count, range.step));
}

bool aten_narrow(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dim", 0);
    dim_id count = aten_dim(c, "length", 0);
    if (x == VALUE_NONE || aten_failed(c) || aten_is_tensor(c, "start"))
        return aten_refuse(c, "a start that depends on data");
    dim_id start = place(c, aten_dim(c, "start", 0), b_dim(c->b, x, dim));
    return !aten_failed(c) && aten_return(c, b_slice(c->b, x, dim, start, count, 1));
}

bool aten_select_place(struct aten_call *c, value_id x, int64_t dim, dim_id *out)
{
    int64_t least, most;
    dim_id index = aten_dim(c, "index", 0);
    if (aten_failed(c))
        return false;
    dim_range(&c->p->graph->dims, index, &least, &most);
    if (most < 0)
        index = b_dim_add(c->b, index, b_dim(c->b, x, dim));
    else if (least < 0)
        return aten_refuse(c, "it is not known whether an index is negative");
    *out = index;
    return true;
}

bool aten_select(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dim", 0);
    dim_id index;
    if (x == VALUE_NONE || !aten_select_place(c, x, dim, &index))
        return false;
    value_id part = b_slice(c->b, x, dim, index, b_dim_const(c->b, 1), 1);
    return aten_return(c, b_squeeze(c->b, part, dim));
}

/* cat and stack promote their operands to one dtype; cat ignores operands that are empty and of
 * rank 1. */
bool aten_join(struct aten_call *c)
{
    value_id in[LIMIT_OPERANDS], kept[LIMIT_OPERANDS];
    uint32_t all = aten_tensors(c, "tensors", in, LIMIT_OPERANDS), count = 0;
    int64_t dim = aten_int(c, "dim", 0), size;
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim}, {0}};
    enum dtype best = DTYPE_NONE;
    if (aten_failed(c) || c->refused)
        return false;
    for (uint32_t i = 0; i < all; i++) {
        const struct node *node = graph_node(c->p->graph, in[i]);
        if (node->rank == 1 && all > 1 && dim_is_const(&c->p->graph->dims, node->shape[0], &size) &&
            size == 0)
            continue;
        best = aten_join_types(best, (enum dtype)node->dtype);
        kept[count++] = in[i];
    }
    for (uint32_t i = 0; i < count; i++)
        kept[i] = b_cast(c->b, kept[i], best);
    return count > 0 && aten_return(c, aten_expand(c, c->op->with, kept, count, attrs));
}

/* split: pieces of given sizes, which may be dims; a single size is repeated, for which the dim
 * must be constant. */
bool aten_split(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dim", 0);
    dim_id sizes[OP_MAX_OUTPUTS], start = b_dim_const(b, 0);
    const char *name = aten_has(c, "split_sizes") ? "split_sizes" : "split_size";
    const char *kind;
    bool single = !json_is_array(aten_arg(c, name, &kind));
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    if (single) {
        int64_t size = aten_int(c, name, 0);
        struct op_value attrs[] = {
            {.name = "split_size", .kind = OP_INT, .i = size, .f = (double)size},
            {.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim}};
        return !aten_failed(c) &&
               op_expand(b, op_find("split"), &(struct op_arguments){&x, 1, attrs, 2, false},
                         c->out, &c->out_count, b->err);
    }
    c->out_count = aten_dims(c, name, sizes, OP_MAX_OUTPUTS);
    for (uint32_t i = 0; i < c->out_count; i++) {
        c->out[i] = b_slice(b, x, dim, start, sizes[i], 1);
        start = b_dim_add(b, start, sizes[i]);
    }
    return c->out_count > 0 && !aten_failed(c);
}

/* tensor_split: at given indices, or into a number of parts, of which the first are longer by one
 * if the size is not a multiple. */
bool aten_tensor_split(struct aten_call *c)
{
    struct builder *b = c->b;
    struct dim_table *dims = &c->p->graph->dims;
    value_id x = aten_in(c, "self");
    int64_t dim = aten_int(c, "dim", 0), size = 0, parts = aten_int(c, "sections", 0);
    dim_id ends[OP_MAX_OUTPUTS], whole, start = dim_const(dims, 0);
    uint32_t count = aten_dims(c, "indices", ends, OP_MAX_OUTPUTS - 1);
    if (x == VALUE_NONE || aten_failed(c) || c->refused)
        return false;
    whole = b_dim(b, x, dim);
    if (whole == DIM_NONE)
        return false;
    if (aten_has(c, "sections")) {
        if (parts < 1 || parts > OP_MAX_OUTPUTS || !dim_is_const(dims, whole, &size))
            return aten_refuse(c, "%lld parts of a dim that is not constant", (long long)parts);
        count = (uint32_t)parts - 1;
        for (int64_t i = 0, end = 0; i < count; i++)
            ends[i] = dim_const(dims, end += size / parts + (i < size % parts));
    }
    ends[count] = whole;
    for (uint32_t i = 0; i <= count; i++) {
        dim_id end = place(c, ends[i], whole);
        dim_id length = aten_failed(c) ? DIM_NONE : b_dim_sub(b, end, start);
        c->out[i] = b_slice(b, x, dim, start, dim_max(dims, length, dim_const(dims, 0)), 1);
        start = end;
    }
    c->out_count = count + 1;
    return !aten_failed(c);
}

/* Inserts a dim of the repeats, which may be a named dim, before each dim, and merges both. */
bool aten_repeat(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    const char *name = strcmp(c->op->name, "tile") == 0 ? "dims" : "repeats";
    dim_id times[LIMIT_RANK], wide[LIMIT_RANK], shape[LIMIT_RANK], one = b_dim_const(b, 1);
    uint32_t count = aten_dims(c, name, times, LIMIT_RANK), own = aten_rank(c, x);
    if (x == VALUE_NONE || aten_failed(c) || c->refused)
        return false;
    const struct node node = *b_node(b, x);
    uint32_t rank = count > own ? count : own;
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = i < rank - own ? one : node.shape[i - (rank - own)];
    x = b_reshape(b, x, shape, rank);
    for (uint32_t i = rank; i-- > 0 && x != VALUE_NONE;) { /* one dim at a time, so that the rank
                                                              grows by one only */
        dim_id by = i < rank - count ? one : times[i - (rank - count)];
        if (by == one)
            continue;
        if (rank == LIMIT_RANK)
            return b_fail(b, ERR_LIMIT, "rank %u", rank);
        for (uint32_t k = 0, to = 0; k < rank; k++) {
            if (k == i)
                wide[to++] = by;
            wide[to++] = b_dim(b, x, k);
        }
        shape[i] = b_dim_mul(b, shape[i], by);
        x = b_broadcast_to(b, b_unsqueeze(b, x, i), wide, rank + 1);
        x = b_reshape(b, x, shape, rank);
    }
    return aten_return(c, x);
}

/* movedim of one or several dims. */
bool aten_movedim(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t from[LIMIT_RANK], to[LIMIT_RANK];
    uint32_t count = aten_ints(c, "source", from, LIMIT_RANK), rank = aten_rank(c, x);
    uint8_t axes[LIMIT_RANK];
    uint32_t taken = 0, filled = 0;
    if (x == VALUE_NONE || aten_failed(c) || aten_ints(c, "destination", to, LIMIT_RANK) != count)
        return b_fail(c->b, ERR_SHAPE, "source and destination differ in length");
    for (uint32_t i = 0; i < count; i++) {
        int own = b_axis(c->b, x, from[i]), place = b_axis(c->b, x, to[i]);
        if (own < 0 || place < 0)
            return false;
        axes[place] = (uint8_t)own;
        taken |= 1u << own;
        filled |= 1u << place;
    }
    for (uint8_t i = 0, next = 0; i < rank; i++) {
        if (filled >> i & 1)
            continue;
        while (next < rank && (taken >> next & 1))
            next++;
        if (next == rank)
            return b_fail(c->b, ERR_SHAPE, "a dim is named twice");
        axes[i] = next++;
    }
    return aten_return(c, b_transpose(c->b, x, axes));
}

bool aten_roll(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    int64_t shifts[LIMIT_RANK], axes[LIMIT_RANK], size;
    uint32_t count = aten_ints(c, "shifts", shifts, LIMIT_RANK);
    uint32_t dims = aten_ints(c, "dims", axes, LIMIT_RANK);
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    const struct node node = *b_node(b, x);
    if (dims == 0) { /* roll the flattened tensor */
        axes[0] = 0;
        x = node.rank == 1 ? x : b_flatten(b, x, 0, -1);
    } else if (dims != count) {
        return b_fail(b, ERR_SHAPE, "%u shifts for %u dims", count, dims);
    }
    for (uint32_t i = 0; i < count && x != VALUE_NONE; i++) {
        dim_id dim = b_dim(b, x, axes[i]);
        if (dim != DIM_NONE && !dim_is_const(&c->p->graph->dims, dim, &size)) {
            value_id from = b_shift(b, b_iota(b, DTYPE_I64, &dim, 1, 0), -(double)shifts[i]);
            from = b_binary(b, PRIM_REM, from, b_size(b, dim));
            x = b_take(b, x, from, axes[i]);
            continue;
        }
        if (dim == DIM_NONE || size == 0)
            continue;
        int64_t cut = (shifts[i] % size + size) % size;
        dim_id back = b_dim_const(b, size - cut);
        value_id parts[] = {b_slice(b, x, axes[i], back, b_dim_const(b, cut), 1),
                            b_slice(b, x, axes[i], b_dim_const(b, 0), back, 1)};
        x = cut == 0 ? x : b_concat(b, parts, 2, axes[i]);
    }
    return aten_return(c, dims == 0 ? b_reshape(b, x, node.shape, node.rank) : x);
}

bool aten_pad(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    int64_t amounts[2 * LIMIT_RANK];
    bool named = aten_has(c, "padding");
    uint32_t count = aten_ints(c, named ? "padding" : "pad", amounts, 2 * LIMIT_RANK);
    const char *mode = c->op->with[0] ? c->op->with : aten_text(c, "mode", "constant");
    struct op_value attrs[] = {
        {.name = "pad", .kind = OP_INTS, .ints = amounts, .int_count = count},
        {.name = "mode", .kind = OP_TEXT, .text = mode},
        {.name = "value", .kind = OP_FLOAT, .f = aten_float(c, "value", 0)},
        {0}};
    return x != VALUE_NONE && aten_return(c, aten_expand(c, "pad", &x, 1, attrs));
}
