/* Shape inference: running a query, helpers of the rules, and the rules of sources, elementwise
 * prims, reductions and contractions. The other rules are in shape_move.c and shape_window.c.
 *
 * Dims are equal if and only if their ids are. Conditions must hold for every value of the named
 * dims: they are proved from the declared ranges, and a graph for which one cannot be proved is
 * refused. */
#include "graph/shape_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"

bool shape_bad(struct shape_query *q, const char *fmt, ...)
{
    char text[sizeof q->err->message];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return fail(q->err, ERR_SHAPE, "%s: %s", prim_info(q->prim)->name, text);
}

const char *shape_dim_text(struct shape_query *q, dim_id dim)
{
    struct strbuf text;
    strbuf_init(&text, q->graph->arena);
    if (dim == DIM_NONE)
        strbuf_puts(&text, "not representable");
    else
        dim_print(&q->graph->dims, dim, &text);
    return text.data;
}

static const char *kinds_text(int kinds)
{
    switch (kinds) {
    case KIND_FLOAT: return "a float dtype";
    case KIND_INT: return "an integer dtype";
    case KIND_BITS: return "bool or an integer dtype";
    case KIND_NUM: return "a float or integer dtype";
    default: return "another dtype";
    }
}

bool shape_expect_kind(struct shape_query *q, uint32_t operand, int kinds)
{
    enum dtype dtype = (enum dtype)shape_operand(q, operand)->dtype;
    if (kinds >> dtype_kind(dtype) & 1)
        return true;
    return shape_bad(q, "operand %u is %s, expected %s", operand, dtype_name(dtype),
                     kinds_text(kinds));
}

bool shape_expect_dtype(struct shape_query *q, uint32_t operand, enum dtype dtype)
{
    const struct node *node = shape_operand(q, operand);
    return node->dtype == dtype ||
           shape_bad(q, "operand %u is %s, expected %s", operand,
                     dtype_name((enum dtype)node->dtype), dtype_name(dtype));
}

bool shape_expect_rank(struct shape_query *q, uint32_t operand, uint32_t rank)
{
    const struct node *node = shape_operand(q, operand);
    return node->rank == rank ||
           shape_bad(q, "operand %u has rank %u, expected %u", operand, node->rank, rank);
}

bool shape_expect_dim(struct shape_query *q, uint32_t operand, uint32_t index, dim_id expected)
{
    dim_id dim = shape_operand(q, operand)->shape[index];
    return dim == expected || dim_needs_equal(&q->graph->dims, dim, expected) ||
           shape_bad(q, "dim %u of operand %u is %s, expected %s", index, operand,
                     shape_dim_text(q, dim), shape_dim_text(q, expected));
}

bool shape_expect_shape(struct shape_query *q, uint32_t operand, const struct node *like)
{
    if (!shape_expect_rank(q, operand, like->rank))
        return false;
    for (uint32_t i = 0; i < like->rank; i++)
        if (!shape_expect_dim(q, operand, i, like->shape[i]))
            return false;
    return true;
}

bool shape_expect_axis(struct shape_query *q, uint32_t rank)
{
    int32_t axis = q->attrs->axis;
    return (axis >= 0 && axis < (int32_t)rank) ||
           shape_bad(q, "axis %d, expected 0 … rank-1 for rank %u", axis, rank);
}

bool shape_expect_axes(struct shape_query *q, uint32_t rank)
{
    for (uint32_t i = 0; i < q->attrs->axis_count; i++) {
        if (q->attrs->axes[i] >= rank)
            return shape_bad(q, "axes[%u] is %u, expected 0 … rank-1 for rank %u", i,
                             q->attrs->axes[i], rank);
        if (i > 0 && q->attrs->axes[i] <= q->attrs->axes[i - 1])
            return shape_bad(q, "axes[%u] is %u after %u, expected ascending axes", i,
                             q->attrs->axes[i], q->attrs->axes[i - 1]);
    }
    return true;
}

bool shape_push(struct shape_query *q, dim_id dim)
{
    const char *name = prim_info(q->prim)->name;
    if (dim == DIM_NONE)
        return fail(q->err, ERR_LIMIT, "%s: dim %u of the result cannot be represented", name,
                    q->rank);
    if (q->rank == LIMIT_RANK)
        return fail(q->err, ERR_LIMIT, "%s: the result has more than %d dims", name, LIMIT_RANK);
    q->shape[q->rank++] = dim;
    return true;
}

bool shape_push_range(struct shape_query *q, const struct node *node, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        if (!shape_push(q, node->shape[i]))
            return false;
    return true;
}

bool shape_like(struct shape_query *q, const struct node *node)
{
    q->dtype = (enum dtype)node->dtype;
    return shape_push_range(q, node, 0, node->rank);
}

bool shape_at_least(struct shape_query *q, dim_id dim, int64_t bound)
{
    struct dim_table *dims = &q->graph->dims;
    dim_id over = dim_sub(dims, dim, dim_const(dims, bound));
    return dim_never_negative(dims, over) || dim_needs_not_negative(dims, over);
}

/* The result has the shape and dtype of the attributes. */
static bool like_attrs(struct shape_query *q)
{
    q->dtype = (enum dtype)q->attrs->dtype;
    for (uint32_t i = 0; i < q->attrs->rank; i++)
        if (!shape_push(q, q->attrs->shape[i]))
            return false;
    return true;
}

bool shape_source(struct shape_query *q)
{
    return like_attrs(q);
}

bool shape_const(struct shape_query *q)
{
    return like_attrs(q);
}

bool shape_literal(struct shape_query *q)
{
    const struct attrs *attrs = q->attrs;
    enum dtype dtype = (enum dtype)attrs->dtype;
    if (!like_attrs(q))
        return false;
    for (uint32_t i = 0; i < q->rank; i++)
        if (!dim_is_const(&q->graph->dims, q->shape[i], NULL))
            return shape_bad(q, "dim %u is %s, expected a constant", i,
                             shape_dim_text(q, q->shape[i]));
    int64_t count;
    dim_id elements = dim_product(&q->graph->dims, q->shape, q->rank);
    if (elements == DIM_NONE || !dim_is_const(&q->graph->dims, elements, &count) ||
        count > LIMIT_LITERAL_ELEMENTS)
        return fail(q->err, ERR_LIMIT, "literal: more than %d elements", LIMIT_LITERAL_ELEMENTS);
    int64_t bytes = count * (int64_t)dtype_bytes(dtype);
    if (attrs->data_bytes != bytes)
        return shape_bad(q, "%u bytes of data, expected %lld", attrs->data_bytes, (long long)bytes);
    if (bytes > 0 && !attrs->data)
        return shape_bad(q, "no data, expected %lld bytes", (long long)bytes);
    const uint8_t *data = attrs->data;
    for (int64_t i = 0; dtype == DTYPE_BOOL && i < count; i++)
        if (data[i] > 1)
            return shape_bad(q, "element %lld is %u, expected 0 or 1 for bool", (long long)i,
                             data[i]);
    return true;
}

bool shape_iota(struct shape_query *q)
{
    if (q->attrs->dtype == DTYPE_BOOL)
        return shape_bad(q, "dtype is bool, expected a float or integer dtype");
    return shape_expect_axis(q, q->attrs->rank) && like_attrs(q);
}

bool shape_size(struct shape_query *q)
{
    const struct attrs *attrs = q->attrs;
    if (attrs->rank != 1)
        return shape_bad(q, "%u dims, expected one", attrs->rank);
    if (attrs->shape[0] == DIM_NONE)
        return fail(q->err, ERR_LIMIT, "size: the dim cannot be represented");
    q->dtype = DTYPE_I64;
    return shape_at_least(q, attrs->shape[0], 0) ||
           shape_bad(q, "%s, expected at least 0", shape_dim_text(q, attrs->shape[0]));
}

bool shape_random(struct shape_query *q)
{
    if (!shape_expect_dtype(q, 0, DTYPE_I64) || !shape_expect_rank(q, 0, 0) || !like_attrs(q))
        return false;
    q->dtype = DTYPE_I64;
    return true;
}

bool shape_unary_num(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_NUM) && shape_like(q, shape_operand(q, 0));
}

bool shape_unary_bool(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_BITS) && shape_like(q, shape_operand(q, 0));
}

bool shape_unary_float(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_FLOAT) && shape_like(q, shape_operand(q, 0));
}

bool shape_unary_any(struct shape_query *q)
{
    return shape_like(q, shape_operand(q, 0));
}

bool shape_is_nan(struct shape_query *q)
{
    if (!shape_unary_float(q))
        return false;
    q->dtype = DTYPE_BOOL;
    return true;
}

static bool same_operands(struct shape_query *q)
{
    const struct node *first = shape_operand(q, 0);
    return shape_expect_dtype(q, 1, (enum dtype)first->dtype) && shape_expect_shape(q, 1, first) &&
           shape_like(q, first);
}

bool shape_binary_num(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_NUM) && same_operands(q);
}

bool shape_binary_float(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_FLOAT) && same_operands(q);
}

bool shape_binary_bool(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_BITS) && same_operands(q);
}

bool shape_binary_int(struct shape_query *q)
{
    return shape_expect_kind(q, 0, KIND_INT) && same_operands(q);
}

bool shape_compare(struct shape_query *q)
{
    if (!same_operands(q))
        return false;
    q->dtype = DTYPE_BOOL;
    return true;
}

bool shape_select(struct shape_query *q)
{
    const struct node *first = shape_operand(q, 1);
    return shape_expect_dtype(q, 0, DTYPE_BOOL) && shape_expect_shape(q, 0, first) &&
           shape_expect_dtype(q, 2, (enum dtype)first->dtype) && shape_expect_shape(q, 2, first) &&
           shape_like(q, first);
}

bool shape_cast(struct shape_query *q)
{
    if (!shape_like(q, shape_operand(q, 0)))
        return false;
    q->dtype = (enum dtype)q->attrs->dtype;
    return true;
}

bool shape_bitcast(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    enum dtype from = (enum dtype)x->dtype, to = (enum dtype)q->attrs->dtype;
    if (dtype_bytes(from) != dtype_bytes(to))
        return shape_bad(q, "%s has another width than %s", dtype_name(from), dtype_name(to));
    if (!shape_like(q, x))
        return false;
    q->dtype = to;
    return true;
}

bool shape_reduce(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    bool order = q->prim == PRIM_REDUCE_MAX || q->prim == PRIM_REDUCE_MIN;
    if (!shape_expect_kind(q, 0, order ? KIND_NUM | KIND_BOOL : KIND_NUM) ||
        !shape_expect_axes(q, x->rank))
        return false;
    if (q->attrs->axis_count == 0)
        return shape_bad(q, "no axes, expected at least one");
    q->dtype = (enum dtype)x->dtype;
    uint32_t next = 0;
    for (uint32_t i = 0; i < x->rank; i++) {
        if (next < q->attrs->axis_count && q->attrs->axes[next] == i)
            next++;
        else if (!shape_push(q, x->shape[i]))
            return false;
    }
    return true;
}

bool shape_arg_reduce(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    if (!shape_expect_kind(q, 0, KIND_NUM) || !shape_expect_axis(q, x->rank))
        return false;
    uint32_t axis = (uint32_t)q->attrs->axis;
    q->dtype = DTYPE_I64;
    return shape_push_range(q, x, 0, axis) && shape_push_range(q, x, axis + 1, x->rank);
}

bool shape_arg_sort(struct shape_query *q)
{
    if (!shape_scan(q))
        return false;
    q->dtype = DTYPE_I64;
    return true;
}

bool shape_scan(struct shape_query *q)
{
    const struct node *x = shape_operand(q, 0);
    return shape_expect_kind(q, 0, KIND_NUM) && shape_expect_axis(q, x->rank) && shape_like(q, x);
}

bool shape_contract(struct shape_query *q)
{
    const struct node *a = shape_operand(q, 0), *b = shape_operand(q, 1);
    uint32_t batch = q->attrs->batch, contract = q->attrs->contract;
    if (!shape_expect_kind(q, 0, KIND_NUM) || !shape_expect_dtype(q, 1, (enum dtype)a->dtype))
        return false;
    for (uint32_t i = 0; i < 2; i++)
        if (shape_operand(q, i)->rank < batch + contract)
            return shape_bad(q, "operand %u has rank %u, expected at least batch %u + contract %u",
                             i, shape_operand(q, i)->rank, batch, contract);
    for (uint32_t i = 0; i < batch; i++)
        if (!shape_expect_dim(q, 1, i, a->shape[i]))
            return false;
    for (uint32_t i = 0; i < contract; i++)
        if (!shape_expect_dim(q, 1, b->rank - contract + i, a->shape[a->rank - contract + i]))
            return false;
    q->dtype = (enum dtype)a->dtype;
    return shape_push_range(q, a, 0, a->rank - contract) &&
           shape_push_range(q, b, batch, b->rank - contract);
}

/* Dims must be ≥ 0 for every value of the named dims. Dims, the number of elements and the size in
 * bytes must be within their limits at the smallest values of the named dims. */
static bool check_size(struct shape_query *q)
{
    const char *name = prim_info(q->prim)->name;
    struct dim_table *dims = &q->graph->dims;
    int64_t min, max;
    for (uint32_t i = 0; i < q->rank; i++) {
        dim_range(dims, q->shape[i], &min, &max);
        if (!shape_at_least(q, q->shape[i], 0))
            return shape_bad(q, "dim %u of the result, %s, %s negative", i,
                             shape_dim_text(q, q->shape[i]), max < 0 ? "is" : "may be");
        if (min > LIMIT_DIM_VALUE)
            return fail(q->err, ERR_LIMIT, "%s: dim %u of the result, %s, is too large", name, i,
                        shape_dim_text(q, q->shape[i]));
    }
    dim_id elements = dim_product(dims, q->shape, q->rank);
    if (elements == DIM_NONE)
        return fail(q->err, ERR_LIMIT, "%s: the number of elements cannot be represented", name);
    dim_range(dims, elements, &min, &max);
    if (min > LIMIT_TENSOR_BYTES / (int64_t)dtype_bytes(q->dtype))
        return fail(q->err, ERR_LIMIT, "%s: the result has %s elements of %s, more than %lld bytes",
                    name, shape_dim_text(q, elements), dtype_name(q->dtype),
                    (long long)LIMIT_TENSOR_BYTES);
    return true;
}

bool shape_infer(struct shape_query *q)
{
    typedef bool rule(struct shape_query *);
    static rule *const rules[PRIM_COUNT] = {
#define PRIM(id, name, n, rule, attrs, ulp, doc) [PRIM_##id] = shape_##rule,
#include "graph/prims.def"
#undef PRIM
    };
    const struct prim_info *info = prim_info(q->prim);
    if (q->operand_count > LIMIT_OPERANDS)
        return fail(q->err, ERR_LIMIT, "%s: %u operands, at most %d", info->name, q->operand_count,
                    LIMIT_OPERANDS);
    if (info->operands < 0 && q->operand_count == 0)
        return shape_bad(q, "no operands, expected at least one");
    if (info->operands >= 0 && q->operand_count != (uint32_t)info->operands)
        return shape_bad(q, "%u operands, expected %d", q->operand_count, info->operands);
    /* The first failure counts: a composite goes on with other operands. */
    struct dim_demand *unproved = &q->graph->dims.unproved, before = *unproved;
    q->rank = 0;
    unproved->need = DIM_NEEDS_NOTHING;
    bool ok = rules[q->prim](q) && check_size(q);
    if (ok || before.need != DIM_NEEDS_NOTHING)
        *unproved = before;
    return ok;
}
