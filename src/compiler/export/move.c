/* Constants, views, and moves by index. */
#include "compiler/export/export_priv.h"

static const char *name_of(struct export *e, const struct node *node, uint32_t index)
{
    return e->names[node->operands[index]];
}

const char *export_const(struct export *e, const struct node *node)
{
    enum dtype dtype = (enum dtype)node->dtype;
    return dtype_is_float(dtype) ? export_real(e, dtype, node->attrs->value)
                                 : export_whole(e, dtype, node->attrs->integer);
}

const char *export_literal(struct export *e, const struct node *node)
{
    int64_t shape[LIMIT_RANK] = {0};
    for (uint32_t d = 0; d < node->rank; d++)
        dim_is_const(&e->graph->dims, node->shape[d], &shape[d]);
    return export_tensor(e, (enum dtype)node->dtype, node->rank, shape, node->attrs->data,
                         node->attrs->data_bytes);
}

const char *export_iota(struct export *e, const struct node *node)
{
    int32_t axis = node->attrs->axis;
    dim_id shape[LIMIT_RANK];
    const char *zero = export_whole(e, DTYPE_I64, 0), *one = export_whole(e, DTYPE_I64, 1);
    const char *range = NODE(e, "Range", zero, export_dim(e, node->shape[axis]), one);
    if (node->dtype != DTYPE_I64)
        range = export_cast(e, range, (enum dtype)node->dtype);
    if (node->rank == 1)
        return range;
    for (uint32_t d = 0; d < node->rank; d++)
        shape[d] = dim_const(&e->graph->dims, 1);
    shape[axis] = node->shape[axis];
    range = export_reshape(e, range, shape, node->rank);
    return NODE(e, "Expand", range, export_dims(e, node->shape, node->rank));
}

const char *export_reshape_prim(struct export *e, const struct node *node)
{
    return export_reshape(e, name_of(e, node, 0), node->shape, node->rank);
}

const char *export_transpose(struct export *e, const struct node *node)
{
    int64_t axes[LIMIT_RANK] = {0};
    for (uint32_t d = 0; d < node->rank; d++)
        axes[d] = node->attrs->axes[d];
    const char *result = NODE(e, "Transpose", name_of(e, node, 0));
    export_ints(e, "perm", axes, node->rank);
    return result;
}

/* Inserts a dim of 1 for each axis that the operand lacks, except for leading ones. */
static const char *aligned(struct export *e, const struct node *node, const char *x)
{
    int64_t missing[LIMIT_RANK];
    uint32_t count = 0, next = 0;
    for (uint32_t d = 0; d < node->rank; d++) {
        if (next < node->attrs->axis_count && node->attrs->axes[next] == d)
            next++;
        else if (next > 0)
            missing[count++] = d - (node->attrs->axes[0]);
    }
    return count == 0 ? x : NODE(e, "Unsqueeze", x, export_list(e, missing, count));
}

/* Users that broadcast operands themselves take `thin`. Not every runtime expands a dim of 1 to 0,
 * so it is expanded to 1 and then sliced to 0. */
const char *export_broadcast(struct export *e, const struct node *node)
{
    enum dtype dtype = (enum dtype)node->dtype;
    const char *thin = aligned(e, node, name_of(e, node, 0));
    e->thin[e->now] = thin;
    dim_id some[LIMIT_RANK], none = dim_const(&e->graph->dims, 0);
    for (uint32_t d = 0; d < node->rank; d++)
        some[d] = node->shape[d] == none ? dim_const(&e->graph->dims, 1) : node->shape[d];
    for (uint32_t i = 0; i < node->attrs->axis_count; i++) /* a dim of 0 stays 0 */
        if (export_operand(e, node, 0)->shape[i] == none)
            some[node->attrs->axes[i]] = none;
    const char *shape = export_dims(e, some, node->rank);
    if (dtype != export_carrier(dtype))
        thin = export_cast(e, thin, export_carrier(dtype));
    const char *full = NODE(e, "Expand", thin, shape);
    for (uint32_t d = 0; d < node->rank; d++)
        if (some[d] != node->shape[d])
            full = export_slice(e, full, d, node->shape[d], node->shape[d], 1);
    return export_narrow(e, full, dtype);
}

const char *export_slice_prim(struct export *e, const struct node *node)
{
    struct dim_table *dims = &e->graph->dims;
    const struct attrs *attrs = node->attrs;
    const struct node *operand = export_operand(e, node, 0);
    const char *x = name_of(e, node, 0);
    for (uint32_t d = 0; d < node->rank; d++) {
        dim_id start = attrs->start[d], size = node->shape[d];
        int64_t first = 1, least, most;
        if (dim_is_const(dims, start, &first) && first == 0 && size == operand->shape[d] &&
            attrs->step[d] == 1)
            continue;
        /* The end may be anywhere between the last element and the next one. With size 0 it must
         * equal the start, so size × step is used where the size may be 0. */
        dim_range(dims, size, &least, &most);
        dim_id step = dim_const(dims, attrs->step[d]), end;
        if (least > 0)
            end = dim_add(dims, dim_mul(dims, dim_sub(dims, size, dim_const(dims, 1)), step),
                          dim_const(dims, 1));
        else
            end = dim_mul(dims, size, step);
        x = export_slice(e, x, d, start, dim_add(dims, start, end), attrs->step[d]);
    }
    return x;
}

const char *export_pad_prim(struct export *e, const struct node *node)
{
    const char *x = export_wide(e, node->operands[0]), *value = export_wide(e, node->operands[1]);
    x = export_pad(e, x, node->attrs->low, node->attrs->high, node->rank, value);
    return export_narrow(e, x, (enum dtype)node->dtype);
}

const char *export_concat(struct export *e, const struct node *node)
{
    const char **in = ARENA_ARRAY(e->arena, const char *, node->operand_count);
    for (uint32_t i = 0; i < node->operand_count; i++)
        in[i] = name_of(e, node, i);
    const char *result = export_node(e, "Concat", in, node->operand_count);
    export_int(e, "axis", node->attrs->axis);
    return result;
}

const char *export_reverse(struct export *e, const struct node *node)
{
    int64_t from[LIMIT_RANK], to[LIMIT_RANK], axes[LIMIT_RANK], steps[LIMIT_RANK];
    uint32_t count = node->attrs->axis_count;
    if (count == 0)
        return name_of(e, node, 0);
    for (uint32_t i = 0; i < count; i++) {
        from[i] = steps[i] = -1;
        to[i] = INT64_MIN;
        axes[i] = node->attrs->axes[i];
    }
    const char *starts = export_list(e, from, count), *ends = export_list(e, to, count);
    const char *along = export_list(e, axes, count);
    return NODE(e, "Slice", name_of(e, node, 0), starts, ends, along, export_list(e, steps, count));
}

static const char *index_of(struct export *e, const struct node *node)
{
    bool is_i64 = export_dtype(e, node, 1) == DTYPE_I64;
    const char *index = name_of(e, node, 1);
    return is_i64 ? index : export_cast(e, index, DTYPE_I64);
}

/* Indices clamped to the dim, since ONNX counts negative indices from the end. */
static const char *clamped(struct export *e, const struct node *node)
{
    struct dim_table *dims = &e->graph->dims;
    dim_id size = export_operand(e, node, 0)->shape[node->attrs->axis];
    const char *last = export_dim(e, dim_sub(dims, size, dim_const(dims, 1)));
    const char *index = index_of(e, node);
    index = export_bound(e, index, export_whole(e, DTYPE_I64, 0), true);
    return export_bound(e, index, last, false);
}

const char *export_take(struct export *e, const struct node *node)
{
    const char *result = NODE(e, "Gather", name_of(e, node, 0), clamped(e, node));
    export_int(e, "axis", node->attrs->axis);
    return result;
}

const char *export_gather(struct export *e, const struct node *node)
{
    const char *result = NODE(e, "GatherElements", name_of(e, node, 0), clamped(e, node));
    export_int(e, "axis", node->attrs->axis);
    return result;
}

static const char *scatter_mode(enum scatter_mode mode)
{
    static const char *const names[] = {
        [SCATTER_ADD] = "add", [SCATTER_MAX] = "max", [SCATTER_MIN] = "min"};
    return names[mode];
}

/* The operand in a type that scatter can combine: i32 for bool. */
static const char *scattered(struct export *e, const struct node *node, uint32_t index)
{
    const char *x = export_wide(e, node->operands[index]);
    bool counts = node->dtype == DTYPE_BOOL && node->attrs->mode != SCATTER_SET;
    return counts ? export_cast(e, x, DTYPE_I32) : x;
}

/* Updates that are out of range are written to an additional row, which is then cut off. */
const char *export_scatter(struct export *e, const struct node *node)
{
    struct dim_table *dims = &e->graph->dims;
    const struct attrs *attrs = node->attrs;
    enum dtype dtype = (enum dtype)node->dtype, carrier = export_carrier(dtype);
    if (dtype == DTYPE_BOOL && attrs->mode != SCATTER_SET)
        carrier = DTYPE_I32;
    dim_id low[LIMIT_RANK], high[LIMIT_RANK], size = node->shape[attrs->axis];
    for (uint32_t d = 0; d < node->rank; d++)
        low[d] = high[d] = dim_const(dims, 0);
    high[attrs->axis] = dim_const(dims, 1);
    const char *base = scattered(e, node, 0), *updates = scattered(e, node, 2);
    base = export_pad(e, base, low, high, node->rank, export_whole(e, carrier, 0));
    const char *index = index_of(e, node), *end = export_dim(e, size);
    const char *below = NODE(e, "Less", index, export_whole(e, DTYPE_I64, 0));
    const char *outside = NODE(e, "Or", below, NODE(e, "LessOrEqual", end, index));
    index = NODE(e, "Where", outside, end, index);
    const char *result = NODE(e, "ScatterElements", base, index, updates);
    export_int(e, "axis", attrs->axis);
    if (attrs->mode != SCATTER_SET)
        export_text(e, "reduction", scatter_mode((enum scatter_mode)attrs->mode));
    result = export_slice(e, result, attrs->axis, dim_const(dims, 0), size, 1);
    return carrier == dtype ? result : export_cast(e, result, dtype);
}
