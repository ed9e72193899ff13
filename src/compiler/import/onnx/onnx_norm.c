/* Normalisations. */
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

/* Reshapes a vector over the channels (dim 1) to broadcast with an operand of the given rank. */
static value_id by_channel(struct onnx_call *c, value_id x, uint32_t rank)
{
    dim_id shape[LIMIT_RANK];
    if (rank < 2)
        return x;
    for (uint32_t i = 0; i + 1 < rank; i++)
        shape[i] = b_dim_const(c->b, 1);
    shape[0] = b_dim(c->b, x, 0);
    return b_reshape(c->b, x, shape, rank - 1);
}

struct moments {
    value_id mean, variance; /* over some axes, which are kept with size 1 */
};

/* (x - mean) / sqrt(variance + epsilon) over axes. */
static value_id standardise(struct onnx_call *c, value_id x, const int64_t *axes, uint32_t count,
                            double epsilon, struct moments *out)
{
    struct builder *b = c->b;
    value_id centred = b_centred(b, x, axes, count, &out->mean);
    out->variance = b_mean(b, b_mul(b, centred, centred), axes, count, true);
    return b_mul(b, centred, b_unary(b, PRIM_RSQRT, b_shift(b, out->variance, epsilon)));
}

/* x in f32 if its dtype is narrower. */
static value_id widen(struct onnx_call *c, value_id x)
{
    return dtype_bytes(onnx_type(c, x)) < 4 ? b_cast(c->b, x, DTYPE_F32) : x;
}

static value_id running(struct onnx_call *c, value_id old, value_id batch, double keep)
{
    struct builder *b = c->b;
    value_id mixed = b_add(b, b_scale(b, widen(c, old), keep), b_scale(b, batch, 1 - keep));
    return b_cast(b, mixed, onnx_type(c, old));
}

static bool train_batch_norm(struct onnx_call *c, double epsilon)
{
    struct builder *b = c->b;
    uint32_t rank = onnx_rank(c, c->in[0]), count = 0;
    double keep = onnx_float(c, "momentum", 0.9);
    int64_t axes[LIMIT_RANK];
    struct moments moments;
    for (uint32_t i = 0; i < rank; i++)
        if (i != 1)
            axes[count++] = i;
    value_id x = widen(c, c->in[0]), scale = by_channel(c, widen(c, c->in[1]), rank);
    value_id y = standardise(c, x, axes, count, epsilon, &moments);
    y = b_add(b, b_mul(b, y, scale), by_channel(c, widen(c, c->in[2]), rank));
    const struct node *vector = graph_node(b->graph, c->in[3]);
    value_id mean = b_reshape(b, moments.mean, vector->shape, vector->rank);
    value_id variance = b_reshape(b, moments.variance, vector->shape, vector->rank);
    c->out[0] = b_cast(b, y, onnx_type(c, c->in[0]));
    c->out[1] = running(c, c->in[3], mean, keep);
    c->out[2] = running(c, c->in[4], variance, keep);
    c->out_count = 3;
    return !onnx_failed(c);
}

bool onnx_batch_norm(struct onnx_call *c)
{
    double epsilon = onnx_float(c, "epsilon", 1e-5);
    struct op_value attrs[] = {{.name = "eps", .kind = OP_FLOAT, .f = epsilon}, {0}};
    value_id in[5] = {c->in[0], c->in[3], c->in[4], c->in[1], c->in[2]};
    bool training = onnx_int(c, "training_mode", 0) != 0;
    if (onnx_int(c, "spatial", 1) == 0 || (c->opset < 7 && onnx_int(c, "is_test", 0) == 0))
        return onnx_refuse(c, "statistics by element, or training before opset 14");
    if (onnx_rank(c, c->in[0]) < 2)
        return b_fail(c->b, ERR_SHAPE, "rank %u, expected 2 or more", onnx_rank(c, c->in[0]));
    for (uint32_t i = 1; i < 5; i++)
        if (onnx_rank(c, in[i]) != 1)
            return b_fail(c->b, ERR_SHAPE, "rank of input %u, expected 1", i);
    if (training)
        return train_batch_norm(c, epsilon);
    for (uint32_t i = 1; i < 5; i++)
        in[i] = b_cast(c->b, in[i], onnx_type(c, widen(c, c->in[0])));
    return onnx_return(c, onnx_expand(c, "batch_norm", in, 5, attrs));
}

/* Exporters write a group norm as an instance norm of an operand reshaped to [N, groups, -1].
 * Returns it as [N, groups, C / groups, …] instead, which has the same groups but merges no dims of
 * unknown size, so the sums can read the elements in the order in which they are stored. Returns x
 * if it is not such a reshape. */
static value_id split_groups(struct onnx_call *c, value_id x)
{
    struct builder *b = c->b;
    const struct node *merged = graph_node(b->graph, x);
    dim_id shape[LIMIT_RANK];
    if (merged->prim != PRIM_RESHAPE || merged->rank != 3)
        return x;
    const struct node *from = graph_node(b->graph, merged->operands[0]);
    if (from->rank < 3 || from->rank == LIMIT_RANK || from->shape[0] != merged->shape[0])
        return x;
    dim_id each = dim_div_exact(&b->graph->dims, from->shape[1], merged->shape[1]);
    if (each == DIM_NONE)
        return x;
    shape[0] = from->shape[0];
    shape[1] = merged->shape[1];
    shape[2] = each;
    for (uint32_t i = 2; i < from->rank; i++)
        shape[i + 1] = from->shape[i];
    return b_reshape(b, merged->operands[0], shape, from->rank + 1u);
}

bool onnx_instance_norm(struct onnx_call *c)
{
    struct op_value attrs[] = {
        {.name = "eps", .kind = OP_FLOAT, .f = onnx_float(c, "epsilon", 1e-5)}, {0}};
    value_id in[3] = {split_groups(c, c->in[0]), c->in[1], c->in[2]};
    const struct node *node = graph_node(c->b->graph, c->in[0]);
    dim_id shape[LIMIT_RANK];
    memcpy(shape, node->shape, node->rank * sizeof *shape);
    uint32_t rank = node->rank; /* adding nodes invalidates node */
    value_id y = onnx_expand(c, "instance_norm", in, 3, attrs);
    return onnx_return(c, y == VALUE_NONE ? y : b_reshape(c->b, y, shape, rank));
}

bool onnx_layer_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = widen(c, c->in[0]);
    struct moments moments;
    uint32_t rank = onnx_rank(c, x), count = 0;
    int axis = b_axis(b, x, onnx_int(c, "axis", -1));
    double epsilon = onnx_float(c, "epsilon", 1e-5);
    int64_t axes[LIMIT_RANK];
    if (axis < 0)
        return false;
    for (uint32_t i = (uint32_t)axis; i < rank; i++)
        axes[count++] = i;
    value_id y = standardise(c, x, axes, count, epsilon, &moments);
    y = b_mul(b, b_cast(b, y, onnx_type(c, c->in[0])), c->in[1]);
    if (onnx_given(c, 2))
        y = b_add(b, y, c->in[2]);
    c->out[0] = y;
    c->out[1] = moments.mean;
    c->out[2] = b_unary(b, PRIM_RSQRT, b_shift(b, moments.variance, epsilon));
    c->out_count = 3;
    return !onnx_failed(c);
}

bool onnx_rms_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = widen(c, c->in[0]);
    int axis = b_axis(b, x, onnx_int(c, "axis", -1));
    int64_t axes[LIMIT_RANK];
    uint32_t count = 0;
    if (axis < 0)
        return false;
    for (uint32_t i = (uint32_t)axis; i < onnx_rank(c, x); i++)
        axes[count++] = i;
    value_id square = b_mean(b, b_mul(b, x, x), axes, count, true);
    square = b_shift(b, square, onnx_float(c, "epsilon", 1e-5));
    value_id y = b_mul(b, x, b_unary(b, PRIM_RSQRT, square));
    return onnx_return(c, b_mul(b, b_cast(b, y, onnx_type(c, c->in[0])), c->in[1]));
}

/* Before opset 21 scale and bias are by group; since then by channel. */
bool onnx_group_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    int64_t groups = onnx_int(c, c->op->with, 0);
    value_id x = widen(c, c->in[0]);
    struct moments moments;
    const struct node *node = graph_node(b->graph, c->in[0]);
    dim_id shape[LIMIT_RANK], whole[LIMIT_RANK];
    uint32_t rank = node->rank;
    int64_t axes[LIMIT_RANK];
    if (groups < 1 || rank < 2 || rank == LIMIT_RANK)
        return b_fail(b, ERR_SHAPE, "%lld groups, rank %u", (long long)groups, rank);
    memcpy(whole, node->shape, rank * sizeof *whole);
    shape[0] = whole[0];
    shape[1] = b_dim_const(b, groups);
    shape[2] = dim_div_exact(&b->graph->dims, whole[1], shape[1]);
    if (shape[2] == DIM_NONE)
        return b_fail(b, ERR_SHAPE, "the channels do not divide into %lld groups",
                      (long long)groups);
    for (uint32_t i = 2; i <= rank; i++) {
        shape[i + 1 < LIMIT_RANK ? i + 1 : i] = i < rank ? whole[i] : shape[i];
        axes[i - 2] = i;
    }
    value_id y = standardise(c, b_reshape(b, x, shape, rank + 1), axes, rank - 1,
                             onnx_float(c, "epsilon", 1e-5), &moments);
    y = b_cast(b, y, onnx_type(c, c->in[0]));
    bool by_group = c->opset < 21;
    if (!by_group)
        y = b_reshape(b, y, whole, rank);
    uint32_t own = by_group ? rank + 1 : rank;
    y = b_add(b, b_mul(b, y, by_channel(c, c->in[1], own)), by_channel(c, c->in[2], own));
    return onnx_return(c, b_reshape(b, y, whole, rank));
}

bool onnx_mvn(struct onnx_call *c)
{
    static const int64_t usual[] = {0, 2, 3};
    uint32_t count = 3;
    const int64_t *axes = onnx_has(c, "axes") ? onnx_ints(c, "axes", &count) : usual;
    struct moments moments;
    if (!axes || count > LIMIT_RANK)
        return b_fail(c->b, ERR_SHAPE, "%u axes", count);
    return onnx_return(c, standardise(c, c->in[0], axes, count, 1e-9, &moments));
}

bool onnx_lp_norm(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], norm;
    int64_t axis = onnx_int(c, "axis", -1), p = onnx_int(c, "p", 2);
    if (p == 1)
        norm = b_reduce(b, PRIM_REDUCE_SUM, b_unary(b, PRIM_ABS, x), &axis, 1, true);
    else if (p == 2)
        norm = b_unary(b, PRIM_SQRT, b_reduce(b, PRIM_REDUCE_SUM, b_mul(b, x, x), &axis, 1, true));
    else
        return b_fail(b, ERR_BLUEPRINT, "p is %lld", (long long)p);
    value_id none = b_binary(b, PRIM_EQ, norm, b_const_like(b, norm, 0));
    return onnx_return(c, b_div(b, x, b_select(b, none, b_const_like(b, norm, 1), norm)));
}

bool onnx_lrn(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    int64_t size = onnx_int(c, "size", 0);
    uint32_t rank = onnx_rank(c, x);
    if (size < 1 || size > 65536 || rank < 2)
        return b_fail(b, ERR_SHAPE, "size %lld, rank %u", (long long)size, rank);
    struct window windows[LIMIT_RANK];
    for (uint32_t i = 1; i < rank; i++)
        windows[i - 1] = (struct window){1, 1, 0, 0, 1, 1};
    windows[0].size = size;
    windows[0].low = (size - 1) / 2;
    windows[0].high = size - 1 - windows[0].low;
    value_id sum = b_window(b, PRIM_WINDOW_SUM, b_mul(b, x, x), windows, rank - 1);
    double alpha = onnx_float(c, "alpha", 0.0001) / (double)size;
    value_id base = b_shift(b, b_scale(b, sum, alpha), onnx_float(c, "bias", 1));
    value_id power = b_const_like(b, x, -onnx_float(c, "beta", 0.75));
    return onnx_return(c, b_mul(b, x, b_binary(b, PRIM_POW, base, power)));
}
