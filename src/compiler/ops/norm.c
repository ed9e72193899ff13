/* Normalisations. Moments take two passes (the mean, then centred squares), in f32 or wider; weight
 * and bias are applied in the same dtype, and the result is rounded once. */
#include "compiler/ops/ops_priv.h"

#include <math.h>
#include <string.h>

#include "base/strbuf.h"

struct moments {
    value_id centred, mean, var; /* mean and var keep the reduced dims as 1; var is biased */
};

static struct moments find_moments(struct builder *b, value_id x, const int64_t *axes,
                                   uint32_t count)
{
    struct moments m;
    m.centred = b_centred(b, x, axes, count, &m.mean);
    m.var = b_mean(b, b_mul(b, m.centred, m.centred), axes, count, true);
    return m;
}

static value_id inverse_deviation(struct builder *b, value_id var, double eps)
{
    return b_unary(b, PRIM_RSQRT, b_shift(b, var, eps));
}

/* Normalises x over axes. */
static value_id normalize(struct op_call *call, value_id x, const int64_t *axes, uint32_t count)
{
    struct moments m = find_moments(call->b, x, axes, count);
    value_id inverse = inverse_deviation(call->b, m.var, op_float(call, "eps"));
    return b_mul(call->b, m.centred, inverse);
}

/* y * weight + bias, where present, cast to the dtype of the call's x. Both broadcast to y, or are
 * along axis 1 (by_channel). */
static bool finish(struct op_call *call, value_id y, value_id weight, value_id bias,
                   bool by_channel)
{
    struct builder *b = call->b;
    uint32_t rank = ops_rank(b, y);
    if (weight != VALUE_NONE) {
        weight = b_cast(b, weight, ops_dtype(b, y));
        y = b_mul(b, y, by_channel ? ops_along(b, weight, rank, 1) : weight);
    }
    if (bias != VALUE_NONE) {
        bias = b_cast(b, bias, ops_dtype(b, y));
        y = b_add(b, y, by_channel ? ops_along(b, bias, rank, 1) : bias);
    }
    return op_return(call, b_cast(b, y, ops_dtype(b, call->in[0])));
}

/* Checks that weight and bias of a norm by channel have one dim. */
static bool check_vectors(struct op_call *call, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (call->in[i] != VALUE_NONE && !ops_check_rank(call, call->in[i], 1, 1)) {
            return false;
        }
    }
    return true;
}

/* old + momentum * (statistic of the batch - old); for the variance that is the unbiased one. */
static value_id update_running(struct op_call *call, value_id running, value_id statistic)
{
    struct builder *b = call->b;
    double momentum = op_float(call, "momentum");
    dim_id shape = b_dim(b, running, 0);
    value_id old = ops_wide(b, running);
    value_id fresh = b_cast(b, b_reshape(b, statistic, &shape, 1), ops_dtype(b, old));
    value_id mixed = b_add(b, b_scale(b, old, 1 - momentum), b_scale(b, fresh, momentum));
    return b_cast(b, mixed, ops_dtype(b, running));
}

/* In training each channel needs two values, as in PyTorch: of one, the unbiased variance is 0/0,
 * and all that is left of it is the bias. */
static bool check_batch(struct op_call *call, dim_id elements)
{
    struct builder *b = call->b;
    struct dim_table *dims = &b->graph->dims;
    dim_id more = b_dim_sub(b, elements, b_dim_const(b, 2));
    struct strbuf text;
    if (more == DIM_NONE) {
        return false;
    }
    if (dim_never_negative(dims, more)) {
        return true;
    }
    dim_needs_not_negative(dims, more);
    strbuf_init(&text, b->graph->arena);
    dim_print(dims, elements, &text);
    return fail(b->err, ERR_SHAPE,
                "'batch_norm' in training mode needs 2 values of each channel or more: there are "
                "%s",
                text.data);
}

static bool batch_norm_by_batch(struct op_call *call, value_id x)
{
    struct builder *b = call->b;
    int64_t axes[LIMIT_RANK] = {0};
    uint32_t rank = ops_rank(b, x);
    dim_id elements = b_dim(b, x, 0);
    for (uint32_t i = 2; i < rank; i++) {
        axes[i - 1] = i;
        elements = b_dim_mul(b, elements, b_dim(b, x, i));
    }
    if (call->training && !check_batch(call, elements)) {
        return false;
    }
    struct moments m = find_moments(b, x, axes, rank - 1);
    value_id y = b_mul(b, m.centred, inverse_deviation(b, m.var, op_float(call, "eps")));
    if (!finish(call, y, call->in[3], call->in[4], true)) {
        return false;
    }
    value_id mean = call->in[1], var = call->in[2];
    if (!call->training || mean == VALUE_NONE || var == VALUE_NONE) {
        return true;
    }
    value_id n = b_cast(b, ops_dim_value(b, elements), ops_dtype(b, x));
    value_id unbiased = b_mul(b, m.var, b_div(b, n, b_shift(b, n, -1)));
    call->out[1] = update_running(call, mean, m.mean);
    call->out[2] = update_running(call, var, unbiased);
    call->out_count = 3;
    return call->out[1] != VALUE_NONE && call->out[2] != VALUE_NONE;
}

bool expand_batch_norm(struct op_call *call)
{
    struct builder *b = call->b;
    if (!ops_check_rank(call, call->in[0], 2, LIMIT_RANK) || !check_vectors(call, 1, 4)) {
        return false;
    }
    value_id x = ops_wide(b, call->in[0]), mean = call->in[1], var = call->in[2];
    if ((mean == VALUE_NONE) != (var == VALUE_NONE)) {
        return fail(b->err, ERR_BLUEPRINT,
                    "'batch_norm' needs both 'running_mean' and 'running_var', or neither");
    }
    if (call->training || mean == VALUE_NONE) {
        return batch_norm_by_batch(call, x);
    }
    enum dtype dtype = ops_dtype(b, x);
    uint32_t rank = ops_rank(b, x);
    value_id inverse = inverse_deviation(b, b_cast(b, var, dtype), op_float(call, "eps"));
    value_id y = b_sub(b, x, ops_along(b, b_cast(b, mean, dtype), rank, 1));
    if (call->in[3] != VALUE_NONE) {
        inverse = b_mul(b, inverse, b_cast(b, call->in[3], dtype));
    }
    y = b_mul(b, y, ops_along(b, inverse, rank, 1));
    return finish(call, y, VALUE_NONE, call->in[4], true);
}

/* The trailing axes of x that normalized_shape or dims names; sizes are checked where dims are
 * constant. */
static bool trailing_axes(struct op_call *call, value_id x, int64_t axes[LIMIT_RANK],
                          uint32_t *count)
{
    uint32_t rank = ops_rank(call->b, x);
    int64_t shape[LIMIT_RANK], dims = 0;
    if (op_has(call, "normalized_shape")) {
        if (!ops_list(call, "normalized_shape", shape, count)) {
            return false;
        }
    } else if (ops_int_in(call, "dims", 1, LIMIT_RANK, &dims)) {
        *count = (uint32_t)dims;
    } else {
        return false;
    }
    if (*count == 0 || *count > rank) {
        return fail(call->b->err, ERR_SHAPE, "'%s' over %u dims of an operand with %u",
                    call->row->name, *count, rank);
    }
    for (uint32_t i = 0; i < *count; i++) {
        int64_t size = 0;
        axes[i] = (int64_t)(rank - *count + i);
        if (op_has(call, "normalized_shape") && ops_const_dim(call->b, x, axes[i], &size) &&
            size != shape[i]) {
            fail(call->b->err, ERR_SHAPE, "dim %lld of the operand is %lld, not %lld",
                 (long long)axes[i], (long long)size, (long long)shape[i]);
            return fail_at(call->b->err, "attribute 'normalized_shape'");
        }
    }
    return true;
}

bool expand_layer_norm(struct op_call *call)
{
    value_id x = ops_wide(call->b, call->in[0]);
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!trailing_axes(call, x, axes, &count)) {
        return false;
    }
    return finish(call, normalize(call, x, axes, count), call->in[1], call->in[2], false);
}

bool expand_rms_norm(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (!trailing_axes(call, x, axes, &count)) {
        return false;
    }
    double eps = 0;
    if (op_has(call, "eps")) {
        eps = op_float(call, "eps");
    } else if (dtype_is_float(ops_dtype(b, x))) {
        eps = 2 * dtype_unit_roundoff(ops_dtype(b, x));
    }
    value_id square = b_mean(b, b_mul(b, x, x), axes, count, true);
    value_id y = b_mul(b, x, inverse_deviation(b, square, eps));
    return finish(call, y, call->in[1], VALUE_NONE, false);
}

/* Moments over each of `groups` equal parts of axis 1, with all dims after it. */
static bool norm_by_groups(struct op_call *call, dim_id groups)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    uint32_t rank = ops_rank(b, x);
    dim_id shape[LIMIT_RANK] = {b_dim(b, x, 0), groups}, original[LIMIT_RANK];
    memcpy(original, b_node(b, x)->shape, rank * sizeof original[0]);
    dim_id rest = dim_div_exact(&b->graph->dims, original[1], groups);
    if (rest == DIM_NONE) {
        return fail(b->err, ERR_SHAPE, "'%s': the channels do not divide into the groups",
                    call->row->name);
    }
    for (uint32_t i = 2; i < rank; i++) {
        rest = b_dim_mul(b, rest, original[i]);
    }
    shape[2] = rest;
    int64_t axis = 2;
    value_id y = normalize(call, b_reshape(b, x, shape, 3), &axis, 1);
    y = b_reshape(b, y, original, rank);
    return finish(call, y, call->in[1], call->in[2], true);
}

bool expand_group_norm(struct op_call *call)
{
    int64_t groups = 0;
    return ops_check_rank(call, call->in[0], 2, LIMIT_RANK) && check_vectors(call, 1, 2) &&
           ops_int_in(call, "num_groups", 1, INT32_MAX, &groups) &&
           norm_by_groups(call, b_dim_const(call->b, groups));
}

bool expand_instance_norm(struct op_call *call)
{
    struct builder *b = call->b;
    if (!ops_check_rank(call, call->in[0], 3, LIMIT_RANK) || !check_vectors(call, 1, 2)) {
        return false;
    }
    value_id x = ops_wide(b, call->in[0]);
    int64_t axes[LIMIT_RANK];
    uint32_t rank = ops_rank(b, x);
    for (uint32_t i = 2; i < rank; i++) {
        axes[i - 2] = i;
    }
    return finish(call, normalize(call, x, axes, rank - 2), call->in[1], call->in[2], true);
}
