/* Constants, and tensors that depend on shapes. */
#include <onnx.pb-c.h>
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"
#include "compiler/import/onnx/onnx_told_priv.h"

/* A constant: a vector, or for rank 0 a scalar. */
static value_id numbers(struct onnx_call *c, enum dtype dtype, const void *data, size_t count,
                        uint32_t rank)
{
    struct import_tensor tensor = {.name = c->node->output[0],
                                   .dtype = dtype,
                                   .rank = rank,
                                   .shape = {(int64_t)count},
                                   .data = data,
                                   .bytes = count * dtype_bytes(dtype)};
    return onnx_initializer(c->o, tensor.name, &tensor, true, c->b->err);
}

bool onnx_constant(struct onnx_call *c)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, "value");
    struct import_tensor tensor;
    if (attr && attr->t) {
        if (!onnx_tensor(attr->t, c->o->options->folder, c->o->arena, &tensor, c->b->err))
            return false;
        c->out_small[0] = onnx_small_type(attr->t);
        return onnx_return(c, onnx_initializer(c->o, c->node->output[0], &tensor, true, c->b->err));
    }
    if ((attr = onnx_attr(c, "value_float")) != NULL)
        return onnx_return(c, numbers(c, DTYPE_F32, &attr->f, 1, 0));
    if ((attr = onnx_attr(c, "value_int")) != NULL)
        return onnx_return(c, numbers(c, DTYPE_I64, &attr->i, 1, 0));
    if ((attr = onnx_attr(c, "value_floats")) != NULL)
        return onnx_return(c, numbers(c, DTYPE_F32, attr->floats, attr->n_floats, 1));
    if ((attr = onnx_attr(c, "value_ints")) != NULL)
        return onnx_return(c, numbers(c, DTYPE_I64, attr->ints, attr->n_ints, 1));
    return b_fail(c->b, ERR_BLUEPRINT, "a constant without a value");
}

bool onnx_constant_of_shape(struct onnx_call *c)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, "value");
    struct onnx_sizes sizes = {0};
    value_id value = VALUE_NONE;
    bool counted = onnx_counted_sizes(c, 0, &sizes);
    if (!counted && !onnx_dims(c, 0, sizes.dims, LIMIT_RANK, &sizes.count))
        return false;
    if (attr && attr->t) {
        struct import_tensor tensor;
        if (!onnx_tensor(attr->t, c->o->options->folder, c->o->arena, &tensor, c->b->err))
            return false;
        c->out_small[0] = onnx_small_type(attr->t);
        value = b_reshape(c->b, onnx_initializer(c->o, "", &tensor, true, c->b->err), NULL, 0);
    } else {
        value = b_const(c->b, DTYPE_F32, 0);
    }
    value = b_broadcast_to(c->b, value, sizes.dims, sizes.count);
    return onnx_return(c, counted ? onnx_bound_sizes(c, value, &sizes) : value);
}

/* Clamps a position to 0 … rank; negative ones count from the end. */
static uint32_t position(int64_t at, uint32_t rank)
{
    at = at < 0 ? at + rank : at;
    return at < 0 ? 0 : at > rank ? rank : (uint32_t)at;
}

bool onnx_shape(struct onnx_call *c)
{
    struct builder *b = c->b;
    uint32_t rank = onnx_rank(c, c->in[0]), count = 0;
    uint32_t start = position(onnx_int(c, "start", 0), rank);
    uint32_t end = position(onnx_int(c, "end", rank), rank);
    value_id parts[LIMIT_RANK];
    dim_id one = b_dim_const(b, 1);
    for (uint32_t i = start; i < end; i++)
        parts[count++] = b_reshape(b, onnx_extent(c, c->in[0], (int)i), &one, 1);
    if (count == 0)
        return onnx_return(c, b_literal(b, DTYPE_I64, (int64_t[]){0}, 1, NULL));
    return onnx_return(c, b_concat(b, parts, count, 0));
}

bool onnx_size(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id counted = VALUE_NONE;
    dim_id rest = b_dim_const(b, 1);
    for (uint32_t i = 0; i < onnx_rank(c, c->in[0]); i++) {
        value_id count = onnx_count(c->o, c->in[0], (int)i);
        if (count == VALUE_NONE)
            rest = b_dim_mul(b, rest, b_dim(b, c->in[0], i));
        else
            counted = counted == VALUE_NONE ? count : b_mul(b, counted, count);
    }
    value_id size = b_size(b, rest);
    return onnx_return(c, counted == VALUE_NONE ? size : b_mul(b, size, counted));
}

/* start + i*delta for i < count; both operands are 0-d. */
static value_id progression(struct onnx_call *c, dim_id count)
{
    struct builder *b = c->b;
    enum dtype type = onnx_type(c, c->in[0]);
    value_id steps = b_cast(b, b_iota(b, DTYPE_I64, &count, 1, 0), type);
    return b_add(b, b_mul(b, steps, b_reshape(b, c->in[2], NULL, 0)),
                 b_reshape(b, c->in[0], NULL, 0));
}

static bool real_range(struct onnx_call *c)
{
    double bounds[3];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (!onnx_const_reals(c, i, &bounds[i], 1, &count))
            return false;
    double steps = ceil((bounds[1] - bounds[0]) / bounds[2]);
    if (!(fabs(steps) < (double)LIMIT_DIM_VALUE))
        return b_fail(c->b, ERR_LIMIT, "the range has %g elements", steps);
    return onnx_return(c, progression(c, b_dim_const(c->b, steps > 0 ? (int64_t)steps : 0)));
}

/* Whether a Range of floats has only integers, as one up to a dim that was cast to float does;
 * exporters that decompose ops write such ranges. */
static bool is_whole(struct onnx_call *c)
{
    for (uint32_t i = 0; i < 3; i++) {
        const struct known *known = onnx_known(c->o, c->in[i]);
        bool input = graph_node(c->o->graph, c->in[i])->prim == PRIM_INPUT;
        if (known->is_known &&
            (known->count != 1 || (!known->dims && rint(known->reals[0]) != known->reals[0])))
            return false;
        if (!known->is_known && (i == 2 || input || !onnx_tell_sizes(c, c->in[i])))
            return false;
    }
    return true;
}

/* 0, 1, 2 … below a count. */
static bool range_of_count(struct onnx_call *c)
{
    const value_id in[] = {c->in[0], c->in[2]};
    struct onnx_sizes limit;
    for (int64_t i = 0; i < 2; i++) {
        const struct known *known = onnx_known(c->o, in[i]);
        int64_t value = 0;
        if (!known->is_known || !known->dims || known->count != 1 ||
            !onnx_is_const(&c->o->graph->dims, known->dims[0], &value) || value != i)
            return false;
    }
    if (!dtype_is_int(onnx_type(c, c->in[0])) || !onnx_counted_sizes(c, 1, &limit) ||
        limit.count != 1)
        return false;
    value_id steps = b_iota(c->b, DTYPE_I64, limit.dims, 1, 0);
    steps = b_cast(c->b, steps, onnx_type(c, c->in[0]));
    return onnx_return(c, onnx_bound_sizes(c, steps, &limit));
}

bool onnx_range(struct onnx_call *c)
{
    struct dim_table *dims = &c->o->graph->dims;
    dim_id bounds[2];
    int64_t delta = 0;
    uint32_t count = 0;
    if (range_of_count(c))
        return true;
    if (dtype_is_float(onnx_type(c, c->in[0])) && !is_whole(c))
        return real_range(c);
    if (!onnx_dims(c, 0, &bounds[0], 1, &count) || !onnx_dims(c, 1, &bounds[1], 1, &count) ||
        !onnx_const_ints(c, 2, &delta, 1, &count))
        return false;
    if (delta == 0 || delta == INT64_MIN)
        return b_fail(c->b, ERR_BLUEPRINT, "delta is %lld", (long long)delta);
    dim_id reach =
        delta > 0 ? dim_sub(dims, bounds[1], bounds[0]) : dim_sub(dims, bounds[0], bounds[1]);
    reach = dim_max(dims, reach, dim_const(dims, 0));
    return onnx_return(
        c, progression(c, dim_ceildiv(dims, reach, dim_const(dims, delta > 0 ? delta : -delta))));
}

bool onnx_eye_like(struct onnx_call *c)
{
    struct builder *b = c->b;
    enum dtype dtype = onnx_type(c, c->in[0]);
    if (onnx_rank(c, c->in[0]) != 2)
        return b_fail(b, ERR_SHAPE, "rank %u, expected 2", onnx_rank(c, c->in[0]));
    if (onnx_has(c, "dtype") && !onnx_dtype((int32_t)onnx_int(c, "dtype", 0), &dtype, NULL, b->err))
        return false;
    dim_id shape[2] = {b_dim(b, c->in[0], 0), b_dim(b, c->in[0], 1)};
    value_id rows = b_iota(b, DTYPE_I64, shape, 2, 0), columns = b_iota(b, DTYPE_I64, shape, 2, 1);
    value_id k = b_const(b, DTYPE_I64, (double)onnx_int(c, "k", 0));
    return onnx_return(c, b_cast(b, b_binary(b, PRIM_EQ, b_sub(b, columns, rows), k), dtype));
}

static value_id pick(struct builder *b, value_id values, int64_t index)
{
    value_id one = b_slice(b, values, 0, b_dim_const(b, index), b_dim_const(b, 1), 1);
    return b_reshape(b, one, NULL, 0);
}

bool onnx_one_hot(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t axis = onnx_int(c, "axis", -1), rank = onnx_rank(c, c->in[0]) + 1;
    dim_id depth = DIM_NONE;
    uint32_t count = 0;
    if (!onnx_dims(c, 1, &depth, 1, &count))
        return false;
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis >= rank || count != 1)
        return b_fail(b, ERR_SHAPE, "axis %lld for rank %lld", (long long)axis, (long long)rank);
    dim_id shape[LIMIT_RANK] = {depth};
    for (int64_t i = 1; i < rank - axis && i < LIMIT_RANK; i++)
        shape[i] = b_dim_const(b, 1);
    value_id classes = b_iota(b, DTYPE_I64, &depth, 1, 0);
    classes = b_reshape(b, classes, shape, (uint32_t)(rank - axis));
    value_id index = b_cast(b, c->in[0], DTYPE_I64);
    value_id from_end = b_add(b, index, b_size(b, depth));
    index = b_select(b, b_binary(b, PRIM_LT, index, b_const(b, DTYPE_I64, 0)), from_end, index);
    value_id hit = b_binary(b, PRIM_EQ, b_unsqueeze(b, index, axis), classes);
    return onnx_return(c, b_select(b, hit, pick(b, c->in[2], 1), pick(b, c->in[2], 0)));
}
