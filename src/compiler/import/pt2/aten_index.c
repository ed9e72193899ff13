/* Indexing by tensors: embedding, gathering and scattering along a dim, x[i, j]. */
#include <string.h>

#include "compiler/import/pt2/aten_detach_priv.h"

value_id aten_wrap_index(struct aten_call *c, value_id index, dim_id size)
{
    struct builder *b = c->b;
    bool may_be_negative = true;
    index = b_cast(b, index, DTYPE_I64);
    if (!aten_check_index(c, index, size, true, &may_be_negative))
        return VALUE_NONE;
    if (!may_be_negative)
        return index;
    value_id negative = b_binary(b, PRIM_LT, index, b_const_like(b, index, 0));
    return b_select(b, negative, b_add(b, index, b_size(b, size)), index);
}

bool aten_check_along(struct aten_call *c, value_id x, value_id index, int64_t dim)
{
    if (aten_rank(c, x) == 0 || index == VALUE_NONE)
        return !aten_failed(c);
    int axis = b_axis(c->b, x, dim);
    return axis >= 0 && aten_check_index(c, index, b_dim(c->b, x, axis), false, NULL);
}

bool aten_embedding(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[2] = {aten_in(c, "indices"), aten_in(c, "weight")};
    int64_t padding = aten_int(c, "padding_idx", -1);
    if (aten_bool(c, "scale_grad_by_freq", false) && c->p->options->backward)
        return aten_refuse(c, "gradients that are scaled by frequency (scale_grad_by_freq)");
    if (in[1] == VALUE_NONE || !aten_check_along(c, in[1], in[0], 0))
        return false;
    value_id y = aten_expand(c, "embedding", in, 2, NULL);
    if (padding < 0 || y == VALUE_NONE)
        return aten_return(c, y);
    /* The row of the padding is a constant. */
    value_id pads = b_binary(b, PRIM_EQ, in[0], b_const_like(b, in[0], (double)padding));
    return aten_return(c, b_select(b, b_unsqueeze(b, pads, -1), aten_detached(b, y), y));
}

static bool along_dim(struct aten_call *c, const char *op)
{
    value_id in[2] = {aten_in(c, "self"), aten_in(c, "index")};
    int64_t dim = aten_int(c, "dim", 0);
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim}, {0}};
    return in[1] != VALUE_NONE && aten_check_along(c, in[0], in[1], dim) &&
           aten_return(c, aten_expand(c, op, in, 2, attrs));
}

bool aten_index_select(struct aten_call *c)
{
    return along_dim(c, "index_select");
}

bool aten_gather(struct aten_call *c)
{
    return along_dim(c, "gather");
}

bool aten_scatter(struct aten_call *c)
{
    value_id in[3] = {aten_in(c, "self"), aten_in(c, "index"), aten_in(c, "src")};
    int64_t dim = aten_int(c, "dim", 0);
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim},
                               {.name = "reduce", .kind = OP_TEXT, .text = c->op->with},
                               {0}};
    if (aten_has(c, "reduce"))
        return aten_refuse(c, "reduce");
    if (in[0] == VALUE_NONE || in[1] == VALUE_NONE || aten_failed(c))
        return false;
    if (in[2] == VALUE_NONE) {
        const struct node *node = graph_node(c->p->graph, in[1]);
        value_id value = b_cast(c->b, aten_in(c, "value"), aten_type(c, in[0]));
        in[2] = b_broadcast_to(c->b, value, node->shape, node->rank);
    }
    return in[2] != VALUE_NONE && aten_check_along(c, in[0], in[1], dim) &&
           aten_return(c, aten_expand(c, "scatter", in, 3, attrs));
}

value_id aten_move_dims(struct builder *b, value_id x, uint32_t from, uint32_t count, uint32_t to)
{
    uint8_t axes[LIMIT_RANK], rest[LIMIT_RANK];
    uint32_t rank = x == VALUE_NONE ? 0 : b_node(b, x)->rank, left = 0, at = 0;
    if (from == to || x == VALUE_NONE)
        return x;
    for (uint8_t i = 0; i < rank; i++)
        if (i < from || i >= from + count)
            rest[left++] = i;
    for (uint32_t i = 0; i <= left; i++) {
        for (uint32_t k = 0; i == to && k < count; k++)
            axes[at++] = (uint8_t)(from + k);
        if (i < left)
            axes[at++] = rest[i];
    }
    return b_transpose(b, x, axes);
}

bool aten_places(struct aten_call *c, value_id x, const value_id *list, uint32_t count,
                 struct aten_places *out)
{
    struct builder *b = c->b;
    uint32_t rank = aten_rank(c, x), used = 0, ends = 0;
    *out = (struct aten_places){.index = VALUE_NONE};
    if (count > rank)
        return b_fail(b, ERR_SHAPE, "%u indices for rank %u", count, rank);
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] == VALUE_NONE)
            continue;
        if (aten_type(c, list[i]) == DTYPE_BOOL || aten_type(c, list[i]) == DTYPE_U8)
            return aten_refuse(c, "a result whose size depends on data");
        dim_id size = b_dim(b, x, i);
        value_id index = aten_wrap_index(c, list[i], size);
        out->index = used == 0 ? index : b_add(b, b_mul(b, out->index, b_size(b, size)), index);
        out->first = used == 0 ? i : ends == i ? out->first : 0;
        ends = i + 1;
        out->axes[used++] = (uint8_t)i;
    }
    out->indexed = used;
    if (used == 0)
        return b_fail(b, ERR_SHAPE, "no index is given");
    for (uint32_t i = 0, to = used; i < rank; i++)
        if (i >= count || list[i] == VALUE_NONE)
            out->axes[to++] = (uint8_t)i;
    out->table = b_flatten(b, b_transpose(b, x, out->axes), 0, used - 1);
    return !aten_failed(c);
}

value_id aten_places_back(struct aten_call *c, value_id x, const struct aten_places *at,
                          value_id table)
{
    struct builder *b = c->b;
    const struct node node = *b_node(b, x);
    dim_id shape[LIMIT_RANK];
    uint8_t back[LIMIT_RANK];
    for (uint8_t i = 0; i < node.rank; i++) {
        shape[i] = node.shape[at->axes[i]];
        back[at->axes[i]] = i;
    }
    return b_transpose(b, b_reshape(b, table, shape, node.rank), back);
}

bool aten_index(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), list[LIMIT_RANK];
    uint32_t count = aten_tensors(c, "indices", list, LIMIT_RANK);
    struct aten_places at;
    if (x == VALUE_NONE || aten_failed(c) || c->refused || !aten_places(c, x, list, count, &at))
        return false;
    uint32_t first = at.axes[0], last = at.axes[at.indexed - 1];
    if (last - first + 1 != at.indexed) { /* not adjacent: the dims of the index come first in the
                                             result */
        return aten_return(c, b_take(b, at.table, at.index, 0));
    }
    value_id merged = last > first ? b_flatten(b, x, first, last) : x;
    return aten_return(c, b_take(b, merged, at.index, first));
}

/* take: positions among all elements. */
bool aten_take(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), index = aten_in(c, "index");
    if (x == VALUE_NONE || index == VALUE_NONE)
        return false;
    x = aten_rank(c, x) == 0 ? b_unsqueeze(b, x, 0) : b_flatten(b, x, 0, -1);
    return aten_return(c, b_take(b, x, aten_wrap_index(c, index, b_dim(b, x, 0)), 0));
}

/* take_along_dim: all dims but `dim` are broadcast. */
bool aten_along(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), index = aten_in(c, "indices");
    if (x == VALUE_NONE || index == VALUE_NONE)
        return false;
    if (!aten_has(c, "dim")) {
        x = aten_rank(c, x) == 1 ? x : b_flatten(b, x, 0, -1);
        index = aten_rank(c, index) == 1 ? index : b_flatten(b, index, 0, -1);
        return aten_return(c, b_gather(b, x, aten_wrap_index(c, index, b_dim(b, x, 0)), 0));
    }
    int axis = b_axis(b, x, aten_int(c, "dim", 0));
    dim_id own[LIMIT_RANK], other[LIMIT_RANK], one = b_dim_const(b, 1);
    if (axis < 0 || aten_failed(c))
        return false;
    const struct node node = *b_node(b, x), places = *b_node(b, index);
    if (node.rank != places.rank)
        return b_fail(b, ERR_SHAPE, "indices of rank %u for rank %u", places.rank, node.rank);
    for (int i = 0; i < node.rank; i++) {
        own[i] = i == axis || node.shape[i] != one ? node.shape[i] : places.shape[i];
        other[i] = i == axis || places.shape[i] != one ? places.shape[i] : node.shape[i];
    }
    index = b_broadcast_to(b, aten_wrap_index(c, index, node.shape[axis]), other, node.rank);
    return aten_return(c, b_gather(b, b_broadcast_to(b, x, own, node.rank), index, axis));
}

/* The position of each value among sorted boundaries: the number of boundaries before it. */
bool aten_bucketize(struct aten_call *c)
{
    struct builder *b = c->b;
    bool swapped = strcmp(c->op->name, "searchsorted") == 0;
    const char *edges = swapped ? "sorted_sequence" : "boundaries";
    bool right = aten_bool(c, "right", false) || strcmp(aten_text(c, "side", "left"), "right") == 0;
    bool narrow = aten_bool(c, "out_int32", false);
    value_id in[2];
    int64_t last = -1;
    if (!aten_promote(c, "self", edges, in))
        return false;
    value_id x = b_unsqueeze(b, in[0], -1), at = in[1];
    if (swapped && aten_rank(c, at) > 1) /* each row of x has its own boundaries */
        at = b_unsqueeze(b, at, -2);
    value_id before = right ? b_binary(b, PRIM_LE, at, x) : b_binary(b, PRIM_LT, at, x);
    value_id count = b_reduce(b, PRIM_REDUCE_SUM, b_cast(b, before, DTYPE_I64), &last, 1, false);
    return aten_return(c, b_cast(b, count, narrow ? DTYPE_I32 : DTYPE_I64));
}

bool aten_isin(struct aten_call *c)
{
    struct builder *b = c->b;
    const char *element = aten_has(c, "elements") ? "elements" : "element";
    const char *test = aten_has(c, "test_elements") ? "test_elements" : "test_element";
    bool invert = aten_bool(c, "invert", false);
    value_id in[2];
    int64_t last = -1;
    (void)aten_bool(c, "assume_unique", false);
    if (!aten_promote(c, element, test, in))
        return false;
    value_id among = aten_rank(c, in[1]) < 2 ? in[1] : b_flatten(b, in[1], 0, -1);
    if (aten_rank(c, among) == 0)
        among = b_unsqueeze(b, among, 0);
    value_id same = b_binary(b, PRIM_EQ, b_unsqueeze(b, in[0], -1), among);
    value_id any = b_reduce(b, PRIM_REDUCE_MAX, same, &last, 1, false);
    return aten_return(c, invert ? b_unary(b, PRIM_NOT, any) : any);
}
