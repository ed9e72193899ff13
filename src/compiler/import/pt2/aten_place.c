/* Writing parts of a tensor: ranges of a dim, elements by index, elements under a mask. */
#include <math.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

static value_id scatter(struct aten_call *c, const value_id in[3], int64_t dim, const char *mode)
{
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = dim, .f = (double)dim},
                               {.name = "reduce", .kind = OP_TEXT, .text = mode},
                               {0}};
    for (int i = 0; i < 3; i++)
        if (in[i] == VALUE_NONE)
            return VALUE_NONE;
    return aten_expand(c, "scatter", in, 3, attrs);
}

static value_id filled_like(struct builder *b, value_id x, value_id value)
{
    const struct node node = *b_node(b, x);
    return b_broadcast_to(b, b_cast(b, value, (enum dtype)node.dtype), node.shape, node.rank);
}

/* The values to write to elements of x, in x's dtype. */
static value_id source(struct aten_call *c, const char *name, value_id x)
{
    value_id from = aten_in(c, name);
    return x == VALUE_NONE || from == VALUE_NONE ? VALUE_NONE : b_cast(c->b, from, aten_type(c, x));
}

/* slice_scatter: the range is read as for a call of slice. */
bool aten_slice_scatter(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), part = source(c, "src", x);
    int64_t dim = aten_int(c, "dim", 0);
    struct aten_range range;
    if (part == VALUE_NONE || aten_failed(c) || !aten_slice_range(c, x, dim, &range))
        return false;
    dim_id shape[LIMIT_RANK];
    const struct node node = *b_node(c->b, x);
    int axis = b_axis(c->b, x, dim);
    memcpy(shape, node.shape, node.rank * sizeof *shape);
    shape[axis] = range.count;
    part = b_broadcast_to(c->b, part, shape, node.rank);
    return aten_return(c, aten_write_slice(c->b, x, dim, &range, part));
}

bool aten_select_scatter(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), part = source(c, "src", x);
    int64_t dim = aten_int(c, "dim", 0);
    struct aten_range range = {DIM_NONE, b_dim_const(c->b, 1), 1};
    int axis = part == VALUE_NONE || aten_failed(c) ? -1 : b_axis(c->b, x, dim);
    if (axis < 0 || !aten_select_place(c, x, axis, &range.start))
        return false;
    return aten_return(c, aten_write_slice(c->b, x, axis, &range, b_unsqueeze(c->b, part, axis)));
}

/* Broadcasts an index along dim to the shape of the source. */
static value_id spread_index(struct builder *b, value_id index, int64_t dim, value_id from)
{
    const struct node node = *b_node(b, from);
    int axis = b_axis(b, from, dim);
    for (int i = axis + 1; i < node.rank; i++)
        index = b_unsqueeze(b, index, -1);
    return axis < 0 ? VALUE_NONE : b_broadcast_to(b, index, node.shape, node.rank);
}

/* index_add, index_copy, index_fill: the row's `with` is the mode of scattering. */
bool aten_index_write(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), index = aten_in(c, "index");
    int64_t dim = aten_int(c, "dim", 0);
    bool fills = strcmp(c->op->name, "index_fill") == 0;
    value_id from = source(c, fills ? "value" : "source", x);
    double alpha = aten_float(c, "alpha", 1);
    if (index == VALUE_NONE || from == VALUE_NONE || aten_failed(c))
        return false;
    int axis = b_axis(b, x, dim);
    if (axis < 0)
        return false;
    index = aten_wrap_index(c, index, b_dim(b, x, axis));
    if (fills) {
        dim_id shape[LIMIT_RANK];
        const struct node node = *b_node(b, x);
        memcpy(shape, node.shape, node.rank * sizeof *shape);
        shape[axis] = aten_rank(c, index) == 0 ? b_dim_const(b, 1) : b_dim(b, index, 0);
        from = b_broadcast_to(b, from, shape, node.rank);
    }
    from = alpha == 1 ? from : b_scale(b, from, alpha);
    const value_id in[] = {x, spread_index(b, index, axis, from), from};
    return aten_return(c, scatter(c, in, axis, c->op->with));
}

/* The initial value of an element that is written, if the old value is not included. */
static bool neutral(const char *reduce, double *out)
{
    if (strcmp(reduce, "sum") == 0)
        *out = 0;
    else if (strcmp(reduce, "amax") == 0)
        *out = -(double)INFINITY;
    else if (strcmp(reduce, "amin") == 0)
        *out = (double)INFINITY;
    else
        return false;
    return true;
}

bool aten_scatter_reduce(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), in[] = {x, aten_in(c, "index"), source(c, "src", x)};
    int64_t dim = aten_int(c, "dim", 0);
    const char *reduce = aten_text(c, "reduce", "");
    bool keeps = aten_bool(c, "include_self", true);
    double start = 0;
    if (in[1] == VALUE_NONE || in[2] == VALUE_NONE || aten_failed(c) ||
        !aten_check_along(c, x, in[1], dim))
        return false;
    if (!neutral(reduce, &start))
        return aten_refuse(c, "reduce %.20s", reduce);
    if (!keeps && !dtype_is_float(aten_type(c, x)))
        return aten_refuse(c, "integers without include_self");
    if (!keeps) {
        value_id fresh = filled_like(c->b, in[2], b_const(c->b, aten_type(c, x), start));
        const value_id clear[] = {x, in[1], fresh};
        in[0] = scatter(c, clear, dim, "none");
    }
    return aten_return(c, scatter(c, in, dim, strcmp(reduce, "sum") == 0 ? "add" : reduce));
}

/* Element k of the source goes to the k-th position at which the mask is true. */
bool aten_masked_scatter(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), mask = aten_in(c, "mask"), from = source(c, "source", x);
    if (mask == VALUE_NONE || from == VALUE_NONE)
        return false;
    const struct node node = *b_node(b, x);
    dim_id all = graph_elements(b->graph, x), places = graph_elements(b->graph, from);
    if (all == DIM_NONE || places == DIM_NONE)
        return b_fail(b, ERR_LIMIT, "the size cannot be expressed");
    mask = b_broadcast_to(b, b_cast(b, mask, DTYPE_BOOL), node.shape, node.rank);
    value_id flat = b_cast(b, b_reshape(b, mask, &all, 1), DTYPE_I64);
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = 0, .f = 0}, {0}};
    value_id number = b_shift(b, aten_expand(c, "cumsum", &flat, 1, attrs), -1);
    value_id picked = b_take(b, b_reshape(b, from, &places, 1), b_max_const(b, number, 0), 0);
    return aten_return(c, b_select(b, mask, b_reshape(b, picked, node.shape, node.rank), x));
}

/* x[mask] = value: one value for all, or one for each element of the dims after the mask's. */
static bool put_masked(struct aten_call *c, value_id x, value_id mask, value_id values, bool adds)
{
    struct builder *b = c->b;
    const struct node node = *b_node(b, x), given = *b_node(b, values);
    uint32_t behind = node.rank - aten_rank(c, mask);
    int64_t rows = 1;
    if (given.rank > behind + 1 ||
        (given.rank == behind + 1 &&
         (!dim_is_const(&b->graph->dims, given.shape[0], &rows) || rows != 1)))
        return aten_refuse(c, "values whose number depends on data");
    for (uint32_t i = 0; i < behind; i++)
        mask = b_unsqueeze(b, mask, -1);
    if (given.rank == behind + 1)
        values = b_squeeze(b, values, 0);
    values = adds ? b_add(b, x, values) : values;
    return aten_return(c, b_select(b, b_broadcast_to(b, mask, node.shape, node.rank), values, x));
}

/* The indexed dims are moved to the front and merged into one; rows of the remaining dims are
 * written. */
bool aten_index_put(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self"), values = source(c, "values", x), list[LIMIT_RANK];
    uint32_t count = aten_tensors(c, "indices", list, LIMIT_RANK);
    bool adds = aten_bool(c, "accumulate", false);
    struct aten_places at;
    if (x == VALUE_NONE || values == VALUE_NONE || aten_failed(c) || c->refused)
        return false;
    if (count > 0 && list[0] != VALUE_NONE && aten_type(c, list[0]) == DTYPE_BOOL) {
        for (uint32_t i = 1; i < count; i++)
            if (list[i] != VALUE_NONE)
                return aten_refuse(c, "a mask among indices");
        return put_masked(c, x, list[0], values, adds);
    }
    if (!aten_places(c, x, list, count, &at))
        return false;
    const struct node index = *b_node(b, at.index), table = *b_node(b, at.table);
    dim_id shape[2 * LIMIT_RANK], rows[LIMIT_RANK];
    uint32_t rank = 0;
    if (index.rank + table.rank - 1u > LIMIT_RANK)
        return b_fail(b, ERR_LIMIT, "rank %u", index.rank + table.rank - 1u);
    rows[0] = dim_product(&b->graph->dims, index.shape, index.rank);
    for (uint32_t i = 1; i <= table.rank; i++) {
        for (uint32_t k = 0; i == at.first + 1 && k < index.rank; k++)
            shape[rank++] = index.shape[k];
        if (i < table.rank)
            shape[rank++] = rows[i] = table.shape[i];
    }
    values = b_broadcast_to(b, values, shape, rank);
    values = b_reshape(b, aten_move_dims(b, values, at.first, index.rank, 0), rows, table.rank);
    if (values == VALUE_NONE)
        return false;
    value_id flat = b_reshape(b, at.index, rows, 1);
    const value_id in[] = {at.table, spread_index(b, flat, 0, values), values};
    value_id written = scatter(c, in, 0, adds ? "add" : "none");
    return aten_return(c, aten_places_back(c, x, &at, written));
}
