/* Indices in tensors: rows of a table, gathering, x[i, j]. */
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

value_id aten_wrap_index(struct aten_call *c, value_id index, dim_id size)
{
    struct builder *b = c->b;
    index = b_cast(b, index, DTYPE_I64);
    value_id negative = b_binary(b, PRIM_LT, index, b_const_like(b, index, 0));
    return b_select(b, negative, b_add(b, index, b_size(b, size)), index);
}

bool aten_embedding(struct aten_call *c)
{
    value_id in[2] = {aten_in(c, "indices"), aten_in(c, "weight")};
    return in[1] != VALUE_NONE && aten_return(c, aten_expand(c, "embedding", in, 2, NULL));
}

static bool along_dim(struct aten_call *c, const char *op)
{
    value_id in[2] = {aten_in(c, "self"), aten_in(c, "index")};
    int64_t dim = aten_int(c, "dim", 0);
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim}, {0}};
    return in[1] != VALUE_NONE && aten_return(c, aten_expand(c, op, in, 2, attrs));
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
    return in[2] != VALUE_NONE && aten_return(c, aten_expand(c, "scatter", in, 3, attrs));
}

/* Dims first … first+count-1 of x as one, and the index into it that the given ones make. */
bool aten_index(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), list[LIMIT_RANK], all = VALUE_NONE;
    uint32_t count = aten_tensors(c, "indices", list, LIMIT_RANK), first = 0, last = 0;
    if (x == VALUE_NONE || aten_failed(c) || c->refused)
        return false;
    if (count > aten_rank(c, x))
        return b_fail(b, ERR_SHAPE, "%u indices for rank %u", count, aten_rank(c, x));
    while (first < count && list[first] == VALUE_NONE)
        first++;
    for (last = first; last < count && list[last] != VALUE_NONE; last++) {
        dim_id size = b_dim(b, x, last);
        if (aten_type(c, list[last]) == DTYPE_BOOL)
            return aten_refuse(c, "a result whose size depends on data");
        value_id index = aten_wrap_index(c, list[last], size);
        all = last == first ? index : b_add(b, b_mul(b, all, b_size(b, size)), index);
    }
    for (uint32_t i = last; i < count; i++)
        if (list[i] != VALUE_NONE)
            return aten_refuse(c, "indices with gaps between them");
    if (all == VALUE_NONE)
        return aten_return(c, x);
    if (last - first > 1)
        x = b_flatten(b, x, first, last - 1);
    return aten_return(c, b_take(b, x, all, first));
}
