/* Selections by value: which of the elements they find, and how many, is known when they run. Where
 * what decides is known at compile time the result has its true size; else it is as long as it can
 * be at most, and how much of it counts is a value (onnx_bound_priv.h). */
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_select_priv.h"
#include "graph/loops.h"

/* The places of what is true, when that is known; false without failing, too. */
static bool true_places(struct onnx_call *c, value_id x, int64_t *out, uint32_t *out_count)
{
    const struct known *known = onnx_known(c->o, x);
    *out_count = 0;
    for (uint32_t i = 0; i < known->count && known->is_known; i++) {
        int64_t value = known->reals ? known->reals[i] != 0 : 0;
        if (!known->reals && !onnx_is_const(&c->o->graph->dims, known->dims[i], &value))
            return false;
        if (value != 0)
            out[(*out_count)++] = i;
    }
    return known->is_known;
}

static value_id scan_sum(struct builder *b, value_id x)
{
    struct attrs attrs = {.axis = 0};
    return x == VALUE_NONE ? x : graph_add(b->graph, PRIM_CUM_SUM, &x, 1, &attrs, b->err);
}

static value_id spread(struct builder *b, enum dtype type, int64_t value, dim_id length)
{
    return b_broadcast_to(b, b_const(b, type, (double)value), &length, 1);
}

/* Updates written to places of zeros; a place that is no element's is none. */
static value_id put(struct builder *b, value_id places, value_id updates, enum scatter_mode mode)
{
    if (places == VALUE_NONE || updates == VALUE_NONE)
        return VALUE_NONE;
    value_id zeros = spread(b, DTYPE_I64, 0, b_dim(b, places, 0));
    value_id in[] = {zeros, places, updates};
    return graph_add(b->graph, PRIM_SCATTER, in, 3, &(struct attrs){.mode = mode}, b->err);
}

static value_id count_true(struct builder *b, value_id flags)
{
    return b_reduce(b, PRIM_REDUCE_SUM, b_cast(b, flags, DTYPE_I64), (int64_t[]){0}, 1, false);
}

static value_id number(struct builder *b, value_id list)
{
    dim_id length = b_dim(b, list, 0);
    return b_iota(b, DTYPE_I64, &length, 1, 0);
}

/* place where flags, else one that no element has. */
static value_id where_true(struct builder *b, value_id flags, value_id place)
{
    return b_select(b, flags, place, b_size(b, b_dim(b, flags, 0)));
}

value_id onnx_take_any(struct onnx_call *c, value_id x, value_id places, int axis)
{
    struct builder *b = c->b;
    int64_t least, most;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    if (x == VALUE_NONE)
        return x;
    onnx_dim_range(&b->graph->dims, b_dim(b, x, axis), &least, &most);
    for (uint32_t d = 0; d < onnx_rank(c, x); d++) {
        low[d] = b_dim_const(b, 0);
        high[d] = b_dim_const(b, d == (uint32_t)axis);
    }
    return b_take(b, least > 0 ? x : b_pad(b, x, low, high, 0), places, axis);
}

value_id onnx_true_places(struct onnx_call *c, value_id flags, value_id *out_count)
{
    struct builder *b = c->b;
    value_id rank = b_shift(b, scan_sum(b, b_cast(b, flags, DTYPE_I64)), -1);
    *out_count = count_true(b, flags);
    value_id places = put(b, where_true(b, flags, rank), number(b, flags), SCATTER_SET);
    return onnx_bound(c, places, 0, *out_count, true);
}

/* Rows of a dim; flags beyond it, and those of rows that do not count, choose nothing. */
static bool compress_counted(struct onnx_call *c, value_id x, int axis)
{
    struct builder *b = c->b;
    struct dim_table *dims = &b->graph->dims;
    value_id flags = c->in[1], count = VALUE_NONE;
    if (onnx_rank(c, flags) != 1)
        return b_fail(b, ERR_SHAPE, "the condition has rank %u, expected 1", onnx_rank(c, flags));
    flags = onnx_fill(c, b_cast(b, flags, DTYPE_BOOL), 0, FILL_ZERO);
    if (onnx_failed(c))
        return false;
    dim_id length = dim_min(dims, b_dim(b, flags, 0), b_dim(b, x, axis));
    if (length != b_dim(b, flags, 0))
        flags = b_slice(b, flags, 0, b_dim_const(b, 0), length, 1);
    value_id rows = onnx_count(c->o, x, axis);
    if (rows != VALUE_NONE)
        flags = b_binary(b, PRIM_AND, flags, b_binary(b, PRIM_LT, number(b, flags), rows));
    value_id places = onnx_true_places(c, flags, &count);
    x = onnx_take_any(c, onnx_fill(c, x, axis, FILL_ZERO), places, axis);
    return onnx_return(c, onnx_bound(c, x, axis, count, false));
}

bool onnx_compress(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t places[ONNX_KNOWN_MAX];
    uint32_t count = 0;
    int axis = 0;
    value_id x = c->in[0];
    if (onnx_has(c, "axis"))
        axis = b_axis(b, x, onnx_int(c, "axis", 0));
    else
        x = onnx_rank(c, x) > 0 ? b_flatten(b, x, 0, -1)
                                : b_reshape(b, x, (dim_id[]){b_dim_const(b, 1)}, 1);
    if (axis < 0 || x == VALUE_NONE)
        return false;
    const struct onnx_bound *bound = onnx_bound_of(c->o, x);
    if ((bound && bound->count[axis] != VALUE_NONE) || !true_places(c, c->in[1], places, &count))
        return compress_counted(c, x, axis);
    value_id index = b_literal(b, DTYPE_I64, (int64_t[]){count}, 1, places);
    return onnx_return(c, onnx_take_any(c, x, index, axis));
}

/* The coordinates of places in the row-major order of a shape, a row each. */
static value_id coordinates(struct onnx_call *c, value_id places, const dim_id *shape,
                            uint32_t rank)
{
    struct builder *b = c->b;
    value_id rows[LIMIT_RANK];
    for (uint32_t d = 0; d < rank; d++) {
        dim_id each = dim_product(&b->graph->dims, shape + d + 1, rank - d - 1);
        rows[d] = d + 1 < rank ? b_div(b, places, b_size(b, each)) : places;
        if (d > 0)
            rows[d] = b_binary(b, PRIM_REM, rows[d], b_size(b, shape[d]));
    }
    return onnx_stack(c, rows, rank, 0);
}

static bool non_zero_counted(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = onnx_fill_all(c, c->in[0], FILL_ZERO), count = VALUE_NONE;
    if (x == VALUE_NONE)
        return false;
    struct node node = *b_node(b, x);
    value_id zero = b_const_like(b, x, 0);
    value_id flags = node.dtype == DTYPE_BOOL ? x : b_binary(b, PRIM_NE, x, zero);
    value_id places = onnx_true_places(c, b_flatten(b, flags, 0, -1), &count);
    value_id y = coordinates(c, places, node.shape, node.rank);
    return onnx_return(c, onnx_bound(c, y, 1, count, true));
}

bool onnx_non_zero(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t places[ONNX_KNOWN_MAX];
    uint32_t count = 0, rank = onnx_rank(c, c->in[0]);
    value_id rows[LIMIT_RANK];
    if (rank == 0)
        return onnx_refuse(c, "rank 0");
    if (onnx_bound_of(c->o, c->in[0]) || !true_places(c, c->in[0], places, &count))
        return non_zero_counted(c);
    const struct known *known = onnx_known(c->o, c->in[0]);
    int64_t *row = ARENA_ARRAY(c->o->arena, int64_t, count), stride = known->count;
    for (uint32_t d = 0; d < rank; d++) {
        stride = known->shape[d] > 0 ? stride / known->shape[d] : 0;
        for (uint32_t i = 0; i < count; i++)
            row[i] = places[i] / stride % known->shape[d];
        rows[d] = b_literal(b, DTYPE_I64, (int64_t[]){count}, 1, row);
    }
    return onnx_return(c, onnx_stack(c, rows, rank, 0));
}

static value_id sorting(struct builder *b, value_id keys)
{
    struct attrs attrs = {.axis = 0};
    return keys == VALUE_NONE ? keys : graph_add(b->graph, PRIM_ARGSORT, &keys, 1, &attrs, b->err);
}

/* Rows [n, m] in the order of their first elements, then their second, and so on; of equal ones the
 * first comes first. Sorting by each column, from the last to the first, gives that, since sorting
 * keeps the order of equals: a trip for each. */
static value_id sort_rows(struct onnx_call *c, value_id rows)
{
    struct builder *b = c->b;
    dim_id n = b_dim(b, rows, 0), m = b_dim(b, rows, 1);
    value_id order = b_iota(b, DTYPE_I64, &n, 1, 0), sorted = VALUE_NONE;
    if (m == b_dim_const(b, 1))
        return sorting(b, b_squeeze(b, rows, 1));
    if (c->o->in_loop > 0)
        return onnx_refuse(c, "rows, in the body of a loop");
    uint32_t loop = b_loop_begin(b);
    value_id columns = b_swap(b, rows, 0, 1), state = b_state(b, loop, 0, order);
    value_id last = b_shift(b, b_size(b, m), -1);
    value_id column = onnx_take_any(c, columns, b_sub(b, last, b_iter(b, loop)), 0);
    value_id next = onnx_take_any(c, state, sorting(b, onnx_take_any(c, column, state, 0)), 0);
    const struct loop_spec spec = {
        .loop = loop, .trips = m, .state = &state, .next = &next, .states = 1};
    return b_loop_end(b, &spec, &sorted) ? sorted : VALUE_NONE;
}

/* Whether each of sorted elements, or rows, is another than the one before it. NaN is equal to NaN,
 * as NumPy has it. */
static value_id is_new(struct onnx_call *c, value_id x)
{
    struct builder *b = c->b;
    if (x == VALUE_NONE)
        return x;
    value_id place = number(b, x);
    value_id before = onnx_take_any(c, x, b_max_const(b, b_shift(b, place, -1), 0), 0);
    value_id other = b_binary(b, PRIM_NE, x, before);
    if (dtype_is_float(onnx_type(c, x))) {
        value_id both =
            b_binary(b, PRIM_AND, b_unary(b, PRIM_IS_NAN, x), b_unary(b, PRIM_IS_NAN, before));
        other = b_binary(b, PRIM_AND, other, b_unary(b, PRIM_NOT, both));
    }
    if (onnx_rank(c, x) > 1)
        other = b_reduce(b, PRIM_REDUCE_MAX, other, (int64_t[]){1}, 1, false);
    return b_binary(b, PRIM_OR, other, b_binary(b, PRIM_EQ, place, b_const(b, DTYPE_I64, 0)));
}

/* What is equal is a group; groups are numbered in the order of the result. */
struct groups {
    value_id order; /* of elements, sorted */
    value_id of;    /* the group of each of these */
    value_id first; /* by group: the place of its first element; 0 behind the last group */
    value_id count;
};

/* Groups in the order of their first elements instead of sorted. */
static void by_appearance(struct onnx_call *c, struct groups *g)
{
    struct builder *b = c->b;
    value_id is_group = b_binary(b, PRIM_LT, number(b, g->first), g->count);
    value_id ones = spread(b, DTYPE_I64, 1, b_dim(b, g->first, 0));
    value_id begins = put(b, where_true(b, is_group, g->first), ones, SCATTER_SET);
    value_id to = onnx_take_any(c, b_shift(b, scan_sum(b, begins), -1), g->first, 0);
    g->first = put(b, where_true(b, is_group, to), g->first, SCATTER_SET);
    g->of = onnx_take_any(c, to, g->of, 0);
}

static bool find_groups(struct onnx_call *c, value_id rows, struct groups *g)
{
    struct builder *b = c->b;
    value_id keys = onnx_type(c, rows) == DTYPE_BOOL ? b_cast(b, rows, DTYPE_U8) : rows;
    g->order = onnx_rank(c, rows) > 1 ? sort_rows(c, keys) : sorting(b, keys);
    if (g->order == VALUE_NONE)
        return false;
    value_id starts = is_new(c, onnx_take_any(c, keys, g->order, 0));
    g->of = b_shift(b, scan_sum(b, b_cast(b, starts, DTYPE_I64)), -1);
    g->count = count_true(b, starts);
    g->first = put(b, where_true(b, starts, g->of), g->order, SCATTER_SET);
    if (onnx_int(c, "sorted", 1) == 0)
        by_appearance(c, g);
    return !onnx_failed(c);
}

bool onnx_unique(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct groups g;
    value_id x = c->in[0], rows;
    uint32_t rank = onnx_rank(c, x);
    int axis = onnx_has(c, "axis") ? b_axis(b, x, onnx_int(c, "axis", 0)) : 0;
    if (axis < 0)
        return false;
    if (!onnx_has(c, "axis"))
        x = b_reshape(b, x, (dim_id[]){graph_elements(b->graph, x)}, 1);
    rank = onnx_has(c, "axis") ? rank : 1;
    rows = x;
    if (rank > 1) {
        uint8_t axes[LIMIT_RANK] = {(uint8_t)axis};
        for (uint32_t d = 0, to = 1; d < rank; d++)
            if (d != (uint32_t)axis)
                axes[to++] = (uint8_t)d;
        rows = b_flatten(b, b_transpose(b, x, axes), 1, -1);
    }
    if (rows == VALUE_NONE || !find_groups(c, rows, &g))
        return false;
    value_id ones = spread(b, DTYPE_I64, 1, b_dim(b, rows, 0));
    value_id inverse = put(b, g.order, g.of, SCATTER_SET);
    value_id counts = put(b, g.of, ones, SCATTER_ADD);
    c->out[0] = onnx_bound(c, onnx_take_any(c, x, g.first, axis), axis, g.count, false);
    c->out[1] = onnx_bound(c, g.first, 0, g.count, true);
    c->out[2] = inverse;
    c->out[3] = onnx_bound(c, counts, 0, g.count, true);
    c->out_count = 4;
    return !onnx_failed(c);
}
