/* Building graphs: constants, elementwise prims with NumPy's broadcasting, arithmetic on dims.
 *
 * A failure is reported once, where it happens; later calls pass VALUE_NONE or DIM_NONE on and
 * leave the error as it is. */
#include "graph/build_priv.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

const struct node *b_node(const struct builder *b, value_id x)
{
    return graph_node(b->graph, x);
}

value_id b_fail(struct builder *b, int error_code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_v(b->err, (enum error_code)error_code, fmt, args);
    va_end(args);
    return VALUE_NONE;
}

bool build_dims_known(struct builder *b, const dim_id *dims, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (dims[i] != DIM_NONE)
            continue;
        if (b->err->code == ERR_NONE)
            fail(b->err, ERR_LIMIT, "a dim cannot be represented");
        return false;
    }
    return true;
}

bool build_rank_fits(struct builder *b, enum prim prim, uint32_t rank)
{
    return rank <= LIMIT_RANK || fail(b->err, ERR_LIMIT, "%s: rank %u, at most %d",
                                      prim_info(prim)->name, rank, LIMIT_RANK);
}

value_id build_add1(struct builder *b, enum prim prim, value_id x, const struct attrs *attrs)
{
    return graph_add(b->graph, prim, &x, 1, attrs, b->err);
}

value_id build_add2(struct builder *b, enum prim prim, value_id x, value_id y,
                    const struct attrs *attrs)
{
    return graph_add(b->graph, prim, (value_id[]){x, y}, 2, attrs, b->err);
}

/* As the cast prim: truncates toward zero, saturates, and maps NaN to 0. */
static int64_t to_integer(double value)
{
    if (isnan(value))
        return 0;
    if (value >= 0x1p63)
        return INT64_MAX;
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}

value_id b_const(struct builder *b, enum dtype dtype, double value)
{
    struct attrs attrs = {.dtype = (uint8_t)dtype, .value = value, .integer = to_integer(value)};
    return graph_add(b->graph, PRIM_CONST, NULL, 0, &attrs, b->err);
}

value_id b_const_like(struct builder *b, value_id x, double value)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    return b_const(b, (enum dtype)b_node(b, x)->dtype, value);
}

value_id b_literal(struct builder *b, enum dtype dtype, const int64_t *shape, uint32_t rank,
                   const void *data)
{
    struct attrs attrs = {.dtype = (uint8_t)dtype, .rank = (uint8_t)rank, .data = data};
    int64_t bytes = (int64_t)dtype_bytes(dtype);
    if (!build_rank_fits(b, PRIM_LITERAL, rank))
        return VALUE_NONE;
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] < 0)
            return b_fail(b, ERR_SHAPE, "literal: dim %u is negative", i);
        attrs.shape[i] = dim_const(&b->graph->dims, shape[i]);
        if (!checked_mul_i64(bytes, shape[i], &bytes))
            return b_fail(b, ERR_LIMIT, "literal: more than %d elements", LIMIT_LITERAL_ELEMENTS);
    }
    if (bytes > UINT32_MAX)
        return b_fail(b, ERR_LIMIT, "literal: more than %d elements", LIMIT_LITERAL_ELEMENTS);
    attrs.data_bytes = bytes > 0 ? (uint32_t)bytes : 0;
    return graph_add(b->graph, PRIM_LITERAL, NULL, 0, &attrs, b->err);
}

value_id b_size(struct builder *b, dim_id dim)
{
    if (!build_dims_known(b, &dim, 1))
        return VALUE_NONE;
    struct attrs attrs = {.rank = 1, .shape = {dim}};
    if (dim_is_const(&b->graph->dims, dim, &attrs.integer)) {
        attrs.dtype = DTYPE_I64;
        return graph_add(b->graph, PRIM_CONST, NULL, 0, &attrs, b->err);
    }
    return graph_add(b->graph, PRIM_SIZE, NULL, 0, &attrs, b->err);
}

value_id b_unary(struct builder *b, enum prim prim, value_id x)
{
    return build_add1(b, prim, x, NULL);
}

static bool is_one(const struct builder *b, dim_id dim)
{
    int64_t value;
    return dim_is_const(&b->graph->dims, dim, &value) && value == 1;
}

struct shape {
    uint32_t rank;
    dim_id dims[LIMIT_RANK];
};

/* Widens *shape so that x broadcasts to it; if the shapes do not match, the error names prim. */
static bool widen(struct builder *b, enum prim prim, struct shape *shape, const struct node *x)
{
    if (x->rank > shape->rank) {
        uint32_t more = x->rank - shape->rank;
        memmove(shape->dims + more, shape->dims, shape->rank * sizeof *shape->dims);
        memcpy(shape->dims, x->shape, more * sizeof *shape->dims);
        shape->rank = x->rank;
    }
    for (uint32_t i = 0; i < x->rank; i++) {
        dim_id *out = &shape->dims[shape->rank - x->rank + i];
        if (is_one(b, *out))
            *out = x->shape[i];
        else if (x->shape[i] != *out && !is_one(b, x->shape[i]))
            return dim_needs_broadcast(&b->graph->dims, x->shape[i], *out) ||
                   fail(b->err, ERR_SHAPE, "%s: dims %s and %s do not broadcast",
                        prim_info(prim)->name, build_dim_text(b, *out),
                        build_dim_text(b, x->shape[i]));
    }
    return true;
}

value_id b_broadcast_to(struct builder *b, value_id x, const dim_id *shape, uint32_t rank)
{
    if (x == VALUE_NONE || !build_rank_fits(b, PRIM_BROADCAST, rank) ||
        !build_dims_known(b, shape, rank))
        return VALUE_NONE;
    const struct node *node = b_node(b, x);
    if (node->rank > rank)
        return b_fail(b, ERR_SHAPE, "broadcast: rank %u does not broadcast to rank %u", node->rank,
                      rank);
    size_t size = rank * sizeof *shape;
    if (node->rank == rank && (rank == 0 || memcmp(node->shape, shape, size) == 0))
        return x;
    struct attrs attrs = {.rank = (uint8_t)rank, .axis_count = node->rank};
    if (rank > 0)
        memcpy(attrs.shape, shape, size);
    for (uint32_t i = 0; i < node->rank; i++)
        attrs.axes[i] = (uint8_t)(rank - node->rank + i);
    return build_add1(b, PRIM_BROADCAST, x, &attrs);
}

value_id b_binary(struct builder *b, enum prim prim, value_id x, value_id y)
{
    struct shape shape = {0};
    if (x == VALUE_NONE || y == VALUE_NONE || !widen(b, prim, &shape, b_node(b, x)) ||
        !widen(b, prim, &shape, b_node(b, y)))
        return VALUE_NONE;
    x = b_broadcast_to(b, x, shape.dims, shape.rank);
    y = b_broadcast_to(b, y, shape.dims, shape.rank);
    return build_add2(b, prim, x, y, NULL);
}

value_id b_select(struct builder *b, value_id c, value_id x, value_id y)
{
    struct shape shape = {0};
    value_id operands[3] = {c, x, y};
    for (uint32_t i = 0; i < 3; i++)
        if (operands[i] == VALUE_NONE || !widen(b, PRIM_SELECT, &shape, b_node(b, operands[i])))
            return VALUE_NONE;
    for (uint32_t i = 0; i < 3; i++)
        operands[i] = b_broadcast_to(b, operands[i], shape.dims, shape.rank);
    return graph_add(b->graph, PRIM_SELECT, operands, 3, NULL, b->err);
}

/* DTYPE_NONE is that of a value that failed, and said why. */
value_id b_cast(struct builder *b, value_id x, enum dtype dtype)
{
    if (x == VALUE_NONE || dtype == DTYPE_NONE)
        return VALUE_NONE;
    if (b_node(b, x)->dtype == dtype)
        return x;
    return build_add1(b, PRIM_CAST, x, &(struct attrs){.dtype = (uint8_t)dtype});
}

value_id b_bitcast(struct builder *b, value_id x, enum dtype dtype)
{
    if (x == VALUE_NONE || b_node(b, x)->dtype == dtype)
        return x;
    return build_add1(b, PRIM_BITCAST, x, &(struct attrs){.dtype = (uint8_t)dtype});
}

value_id b_add(struct builder *b, value_id x, value_id y)
{
    return b_binary(b, PRIM_ADD, x, y);
}

value_id b_sub(struct builder *b, value_id x, value_id y)
{
    return b_binary(b, PRIM_SUB, x, y);
}

value_id b_mul(struct builder *b, value_id x, value_id y)
{
    return b_binary(b, PRIM_MUL, x, y);
}

value_id b_div(struct builder *b, value_id x, value_id y)
{
    return b_binary(b, PRIM_DIV, x, y);
}

value_id b_scale(struct builder *b, value_id x, double factor)
{
    return b_mul(b, x, b_const_like(b, x, factor));
}

value_id b_shift(struct builder *b, value_id x, double offset)
{
    return b_add(b, x, b_const_like(b, x, offset));
}

value_id b_neg(struct builder *b, value_id x)
{
    return b_unary(b, PRIM_NEG, x);
}

value_id b_exp(struct builder *b, value_id x)
{
    return b_unary(b, PRIM_EXP, x);
}

value_id b_max_const(struct builder *b, value_id x, double bound)
{
    return b_binary(b, PRIM_MAX, x, b_const_like(b, x, bound));
}

value_id b_min_const(struct builder *b, value_id x, double bound)
{
    return b_binary(b, PRIM_MIN, x, b_const_like(b, x, bound));
}

dim_id b_dim(struct builder *b, value_id x, int64_t axis)
{
    int at = b_axis(b, x, axis);
    return at < 0 ? DIM_NONE : b_node(b, x)->shape[at];
}

static dim_id known(struct builder *b, dim_id dim)
{
    return build_dims_known(b, &dim, 1) ? dim : DIM_NONE;
}

dim_id b_dim_const(struct builder *b, int64_t value)
{
    return known(b, dim_const(&b->graph->dims, value));
}

dim_id b_dim_add(struct builder *b, dim_id x, dim_id y)
{
    return known(b, dim_add(&b->graph->dims, x, y));
}

dim_id b_dim_sub(struct builder *b, dim_id x, dim_id y)
{
    return known(b, dim_sub(&b->graph->dims, x, y));
}

dim_id b_dim_mul(struct builder *b, dim_id x, dim_id y)
{
    return known(b, dim_mul(&b->graph->dims, x, y));
}
