/* Reductions, sorting and scans. */
#include "compiler/export/export_priv.h"

static const char *axes_list(struct export *e, const struct attrs *attrs)
{
    int64_t axes[LIMIT_RANK];
    for (uint32_t i = 0; i < attrs->axis_count; i++)
        axes[i] = attrs->axes[i];
    return export_list(e, axes, attrs->axis_count);
}

/* The operand in a type that reductions take: i32 for bool. */
static const char *counted(struct export *e, const struct node *node)
{
    const char *x = export_wide(e, node->operands[0]);
    return export_dtype(e, node, 0) == DTYPE_BOOL ? export_cast(e, x, DTYPE_I32) : x;
}

static const char *reduce_name(enum prim prim)
{
    if (prim == PRIM_REDUCE_SUM)
        return "ReduceSum";
    if (prim == PRIM_REDUCE_PROD)
        return "ReduceProd";
    return prim == PRIM_REDUCE_MAX ? "ReduceMax" : "ReduceMin";
}

/* TopK of all elements; equal elements stay in order. */
const char *export_argsort(struct export *e, const struct node *node)
{
    const struct attrs *attrs = node->attrs;
    const char *x = counted(e, node);
    const char *count = export_dims(e, &node->shape[attrs->axis], 1);
    NODE(e, "TopK", x, count);
    export_int(e, "axis", attrs->axis);
    export_int(e, "largest", attrs->reverse);
    export_int(e, "sorted", 1);
    return export_second(e);
}

/* Shifts x by `by` along axis, filling with `fill`. */
static const char *moved(struct export *e, const struct node *node, const char *x, int64_t by,
                         const char *fill)
{
    struct dim_table *dims = &e->graph->dims;
    int32_t axis = node->attrs->axis;
    dim_id none = dim_const(dims, 0), step = dim_const(dims, by), size = node->shape[axis];
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    for (uint32_t d = 0; d < node->rank; d++)
        low[d] = high[d] = none;
    if (node->attrs->reverse)
        high[axis] = step;
    else
        low[axis] = step;
    x = export_pad(e, x, low, high, node->rank, fill);
    if (node->attrs->reverse)
        return export_slice(e, x, axis, step, dim_add(dims, size, step), 1);
    return export_slice(e, x, axis, none, size, 1);
}

/* Running products and maxima in log2(size) steps: after step k, an element combines the last 2^k
 * elements. */
static const char *doubled(struct export *e, const struct node *node, const char *x)
{
    enum dtype dtype = (enum dtype)node->dtype, carrier = export_carrier(dtype);
    bool is_max = node->prim == PRIM_CUM_MAX;
    dim_id size = node->shape[node->attrs->axis];
    int64_t least, most = 1;
    const char *fill =
        is_max ? export_extreme(e, dtype, carrier, false) : export_whole(e, carrier, 1);
    if (size == DIM_NONE)
        return export_dim(e, size); /* refused */
    dim_range(&e->graph->dims, size, &least, &most);
    for (int64_t by = 1; by < most; by *= 2) {
        const char *other = moved(e, node, x, by, fill);
        x = !is_max                 ? NODE(e, "Mul", x, other)
            : dtype_is_float(dtype) ? NODE(e, "Max", x, other)
                                    : export_bound(e, x, other, true);
    }
    return node->attrs->exclusive ? moved(e, node, x, 1, fill) : x;
}

/* The result of reducing no elements. */
static const char *identity(struct export *e, enum prim prim, enum dtype dtype, enum dtype as)
{
    if (prim == PRIM_REDUCE_SUM || prim == PRIM_REDUCE_PROD)
        return export_whole(e, as, prim == PRIM_REDUCE_PROD);
    return export_extreme(e, dtype, as, prim == PRIM_REDUCE_MIN);
}

/* Other runtimes refuse to reduce an empty axis, so an axis that may be empty is extended by one
 * element. */
static const char *guarded(struct export *e, const struct node *node, const char *x,
                           const uint8_t *axes, uint32_t count, const char *fill)
{
    const struct node *operand = export_operand(e, node, 0);
    dim_id low[LIMIT_RANK], high[LIMIT_RANK];
    for (uint32_t d = 0; d < operand->rank; d++)
        low[d] = high[d] = dim_const(&e->graph->dims, 0);
    for (uint32_t i = 0; i < count; i++) {
        bool extra = export_may_be_empty(e, operand->shape[axes[i]]);
        high[axes[i]] = dim_const(&e->graph->dims, extra);
    }
    return export_pad(e, x, low, high, operand->rank, fill);
}

/* Appends a 1 to the last dim, if that may be empty. */
static const char *lengthened(struct export *e, const char *x, dim_id *shape, uint32_t rank,
                              enum dtype dtype)
{
    struct dim_table *dims = &e->graph->dims;
    dim_id low[LIMIT_RANK + 1], high[LIMIT_RANK + 1];
    if (!export_may_be_empty(e, shape[rank - 1]))
        return x;
    for (uint32_t d = 0; d < rank; d++)
        low[d] = high[d] = dim_const(dims, 0);
    high[rank - 1] = dim_const(dims, 1);
    shape[rank - 1] = dim_add(dims, shape[rank - 1], high[rank - 1]);
    return export_pad(e, x, low, high, rank, export_whole(e, dtype, 1));
}

/* A product of integers must wrap, but ReduceProd of other runtimes saturates. So it is the last
 * element of a running product over the axes. */
static const char *whole_product(struct export *e, const struct node *node, const char *x)
{
    const struct node *operand = export_operand(e, node, 0);
    int64_t order[LIMIT_RANK];
    dim_id shape[LIMIT_RANK + 1], all = dim_const(&e->graph->dims, 1);
    uint32_t kept = 0;
    for (uint32_t d = 0, next = 0; d < operand->rank; d++)
        if (next < node->attrs->axis_count && node->attrs->axes[next] == d) {
            order[node->rank + next++] = d;
            all = dim_mul(&e->graph->dims, all, operand->shape[d]);
        } else {
            shape[kept] = operand->shape[d];
            order[kept++] = d;
        }
    shape[kept] = all;
    x = export_node(e, "Transpose", &x, 1);
    export_ints(e, "perm", order, operand->rank);
    x = export_reshape(e, x, shape, kept + 1);
    x = lengthened(e, x, shape, kept + 1, export_carrier((enum dtype)node->dtype));
    const struct attrs along = {.axis = (int32_t)kept};
    const struct node scan = {.prim = PRIM_CUM_PROD,
                              .dtype = node->dtype,
                              .rank = (uint8_t)(kept + 1),
                              .shape = shape,
                              .attrs = &along};
    x = doubled(e, &scan, x);
    const char *last = export_whole(e, DTYPE_I64, -1);
    x = NODE(e, "Gather", x, last);
    export_int(e, "axis", kept);
    return x;
}

const char *export_reduce(struct export *e, const struct node *node)
{
    enum dtype dtype = (enum dtype)node->dtype, carrier = export_carrier(dtype);
    enum prim prim = (enum prim)node->prim;
    const char *fill = identity(e, prim, dtype, carrier == DTYPE_BOOL ? DTYPE_I32 : carrier);
    const char *x = counted(e, node);
    if (prim == PRIM_REDUCE_PROD && dtype_is_int(dtype))
        return export_narrow(e, whole_product(e, node, x), dtype);
    x = guarded(e, node, x, node->attrs->axes, node->attrs->axis_count, fill);
    const char *axes = axes_list(e, node->attrs);
    const char *result = export_node(e, reduce_name(prim), (const char *const[]){x, axes}, 2);
    export_int(e, "keepdims", 0);
    return dtype == DTYPE_BOOL ? export_cast(e, result, dtype) : export_narrow(e, result, dtype);
}

const char *export_arg_reduce(struct export *e, const struct node *node)
{
    uint8_t axis = (uint8_t)node->attrs->axis;
    enum dtype dtype = export_dtype(e, node, 0), carrier = export_carrier(dtype);
    const char *fill = export_extreme(e, dtype, carrier == DTYPE_BOOL ? DTYPE_I32 : carrier,
                                      node->prim == PRIM_ARGMIN);
    const char *x = guarded(e, node, counted(e, node), &axis, 1, fill);
    const char *result = export_node(e, node->prim == PRIM_ARGMAX ? "ArgMax" : "ArgMin", &x, 1);
    export_int(e, "axis", axis);
    export_int(e, "keepdims", 0);
    return result;
}

const char *export_scan(struct export *e, const struct node *node)
{
    const char *x = export_wide(e, node->operands[0]);
    if (node->prim != PRIM_CUM_SUM)
        return export_narrow(e, doubled(e, node, x), (enum dtype)node->dtype);
    const char *axis = export_whole(e, DTYPE_I64, node->attrs->axis);
    const char *result = NODE(e, "CumSum", x, axis);
    export_int(e, "exclusive", node->attrs->exclusive);
    export_int(e, "reverse", node->attrs->reverse);
    return export_narrow(e, result, (enum dtype)node->dtype);
}
