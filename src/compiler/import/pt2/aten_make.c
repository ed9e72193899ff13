/* Ops that create tensors: ranges, constants, identity matrices. */
#include <math.h>
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define RANGE_MAX 1e9

/* start + i*step, in floats. */
static bool float_range(struct aten_call *c, enum dtype dtype)
{
    struct builder *b = c->b;
    double start = aten_float(c, "start", 0), end = aten_float(c, "end", 0);
    double step = aten_float(c, "step", 1), size = ceil((end - start) / step);
    if (aten_failed(c))
        return false;
    if (!(size >= 0 && size <= RANGE_MAX))
        return b_fail(b, ERR_LIMIT, "%g elements", size);
    dim_id count = b_dim_const(b, (int64_t)size);
    value_id index = b_iota(b, DTYPE_I64, &count, 1, 0);
    value_id x = b_shift(b, b_scale(b, b_cast(b, index, DTYPE_F64), step), start);
    return aten_return(c, b_cast(b, x, dtype));
}

static bool is_float_arg(struct aten_call *c, const char *name)
{
    const char *kind;
    return aten_arg(c, name, &kind) && strcmp(kind, "as_float") == 0;
}

bool aten_arange(struct aten_call *c)
{
    struct builder *b = c->b;
    struct dim_table *dims = &c->p->graph->dims;
    bool floats = is_float_arg(c, "start") || is_float_arg(c, "end") || is_float_arg(c, "step");
    enum dtype dtype = aten_dtype(c, "dtype", floats ? DTYPE_F32 : DTYPE_I64);
    if (floats)
        return float_range(c, dtype);
    dim_id start = aten_dim(c, "start", 0), end = aten_dim(c, "end", 0);
    int64_t step = aten_int(c, "step", 1);
    if (aten_failed(c) || c->refused)
        return false;
    if (step == 0 || step < -RANGE_MAX || step > RANGE_MAX)
        return b_fail(b, ERR_SHAPE, "step %lld", (long long)step);
    dim_id way = step > 0 ? dim_sub(dims, end, start) : dim_sub(dims, start, end);
    dim_id count = dim_ceildiv(dims, way, dim_const(dims, step > 0 ? step : -step));
    count = dim_max(dims, count, dim_const(dims, 0));
    if (count == DIM_NONE)
        return b_fail(b, ERR_LIMIT, "the size cannot be expressed");
    value_id index = b_iota(b, DTYPE_I64, &count, 1, 0);
    value_id stride = b_const(b, DTYPE_I64, (double)step);
    index = step == 1 ? index : b_mul(b, index, stride);
    if (aten_has(c, "start"))
        index = b_add(b, index, b_size(b, start));
    return aten_return(c, b_cast(b, index, dtype));
}

/* `steps` evenly spaced numbers from start to end. */
bool aten_linspace(struct aten_call *c)
{
    struct builder *b = c->b;
    int64_t steps = aten_int(c, "steps", 100);
    double start = aten_float(c, "start", 0), end = aten_float(c, "end", 0);
    enum dtype dtype = aten_dtype(c, "dtype", DTYPE_F32);
    if (aten_failed(c) || aten_is_tensor(c, "start") || aten_is_tensor(c, "end"))
        return aten_refuse(c, "bounds in tensors");
    if (steps < 0 || (double)steps > RANGE_MAX)
        return b_fail(b, ERR_LIMIT, "%lld elements", (long long)steps);
    dim_id count = b_dim_const(b, steps);
    value_id i = b_cast(b, b_iota(b, DTYPE_I64, &count, 1, 0), DTYPE_F64);
    double step = steps > 1 ? (end - start) / (double)(steps - 1) : 0;
    return aten_return(c, b_cast(b, b_shift(b, b_scale(b, i, step), start), dtype));
}

/* A grid whose axes are the given vectors: result i varies along its own dim only. */
bool aten_meshgrid(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id in[OP_MAX_OUTPUTS];
    uint32_t count = aten_tensors(c, "tensors", in, LIMIT_RANK);
    bool swaps = strcmp(aten_text(c, "indexing", "ij"), "xy") == 0 && count > 1;
    dim_id shape[LIMIT_RANK], own[LIMIT_RANK], one = b_dim_const(b, 1);
    if (aten_failed(c) || c->refused)
        return false;
    for (uint32_t i = 0; i < count; i++)
        shape[swaps && i < 2 ? 1 - i : i] = aten_rank(c, in[i]) == 0 ? one : b_dim(b, in[i], 0);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = swaps && i < 2 ? 1 - i : i;
        for (uint32_t k = 0; k < count; k++)
            own[k] = k == at ? shape[at] : one;
        c->out[i] = b_broadcast_to(b, b_reshape(b, in[i], own, count), shape, count);
    }
    c->out_count = count;
    return count > 0 && !aten_failed(c);
}

/* zeros, ones and full, of a given size or of the size of another tensor. */
bool aten_full(struct aten_call *c)
{
    struct builder *b = c->b;
    bool sized = c->op->with[0] != '\0', ones = strstr(c->op->name, "ones") != NULL;
    value_id like = aten_in(c, "self");
    value_id value =
        aten_has(c, "fill_value") ? aten_in(c, "fill_value") : b_const(b, DTYPE_F32, ones ? 1 : 0);
    enum dtype own = aten_has(c, "fill_value") ? aten_type(c, value) : DTYPE_F32;
    dim_id dims[LIMIT_RANK];
    uint32_t rank = sized ? aten_dims(c, "size", dims, LIMIT_RANK) : aten_rank(c, like);
    own = own == DTYPE_F64 ? DTYPE_F32 : own;
    enum dtype dtype = aten_dtype(c, "dtype", like != VALUE_NONE ? aten_type(c, like) : own);
    if (aten_failed(c) || c->refused || value == VALUE_NONE || (!sized && like == VALUE_NONE))
        return false;
    const dim_id *shape = sized ? dims : graph_node(c->p->graph, like)->shape;
    return aten_return(c, b_broadcast_to(b, b_cast(b, value, dtype), shape, rank));
}

bool aten_scalar_tensor(struct aten_call *c)
{
    value_id x = aten_in(c, "s");
    enum dtype own = aten_type(c, x) == DTYPE_F64 ? DTYPE_F32 : aten_type(c, x);
    enum dtype dtype = aten_dtype(c, "dtype", own);
    return x != VALUE_NONE && !aten_failed(c) && aten_return(c, b_cast(c->b, x, dtype));
}

bool aten_eye(struct aten_call *c)
{
    struct builder *b = c->b;
    dim_id rows = aten_dim(c, "n", 0);
    dim_id shape[] = {rows, aten_has(c, "m") ? aten_dim(c, "m", 0) : rows};
    enum dtype dtype = aten_dtype(c, "dtype", DTYPE_F32);
    if (aten_failed(c) || c->refused)
        return false;
    value_id row = b_iota(b, DTYPE_I64, shape, 2, 0), column = b_iota(b, DTYPE_I64, shape, 2, 1);
    return aten_return(c, b_cast(b, b_binary(b, PRIM_EQ, row, column), dtype));
}

/* A tensor of the operand's shape and dtype, all of whose elements are one value. */
bool aten_fill(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x = aten_in(c, "self");
    if (x == VALUE_NONE)
        return false;
    value_id value = aten_has(c, "value") ? aten_in(c, "value") : b_const_like(b, x, 0);
    const struct node *node = graph_node(c->p->graph, x);
    value = b_cast(b, value, (enum dtype)node->dtype);
    return aten_return(c, b_broadcast_to(b, value, node->shape, node->rank));
}

bool aten_copy(struct aten_call *c)
{
    value_id x = aten_in(c, "self"), from = aten_in(c, "src");
    if (x == VALUE_NONE || from == VALUE_NONE)
        return false;
    const struct node *node = graph_node(c->p->graph, x);
    from = b_cast(c->b, from, (enum dtype)node->dtype);
    return aten_return(c, b_broadcast_to(c->b, from, node->shape, node->rank));
}
