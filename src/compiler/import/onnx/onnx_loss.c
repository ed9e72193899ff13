/* Losses over classes, dim 1 of the operand, selected by a tensor of class numbers. */
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

/* Mask of the targets that are not ignored; VALUE_NONE if none is. */
static value_id counted(struct onnx_call *c, value_id target)
{
    struct builder *b = c->b;
    if (!onnx_has(c, "ignore_index"))
        return VALUE_NONE;
    double ignored = (double)onnx_int(c, "ignore_index", 0);
    return b_binary(b, PRIM_NE, target, b_const_like(b, target, ignored));
}

static value_id total(struct onnx_call *c, value_id x)
{
    int64_t axes[LIMIT_RANK];
    uint32_t rank = onnx_rank(c, x);
    for (uint32_t i = 0; i < rank; i++)
        axes[i] = i;
    return b_reduce(c->b, PRIM_REDUCE_SUM, x, axes, rank, false);
}

/* The weighted mean; without weights, the mean over the targets that are not ignored. */
static value_id mean(struct onnx_call *c, value_id loss, value_id weight)
{
    struct builder *b = c->b;
    if (weight != VALUE_NONE)
        return b_div(b, total(c, loss), total(c, weight));
    value_id count = b_cast(b, b_size(b, graph_elements(b->graph, loss)), onnx_type(c, loss));
    return b_div(b, total(c, loss), count);
}

/* -weight[target] * x[target], reduced; x has logarithms of probabilities. */
static value_id likelihood(struct onnx_call *c, value_id x, value_id weights)
{
    struct builder *b = c->b;
    const char *reduction = onnx_text(c, "reduction", "mean");
    enum dtype type = onnx_type(c, x);
    if (onnx_rank(c, x) != onnx_rank(c, c->in[1]) + 1 || onnx_rank(c, x) < 2)
        return b_fail(b, ERR_SHAPE, "ranks %u and %u", onnx_rank(c, x), onnx_rank(c, c->in[1]));
    value_id target = b_cast(b, c->in[1], DTYPE_I64), counts = counted(c, target);
    value_id picked = b_squeeze(b, b_gather(b, x, b_unsqueeze(b, target, 1), 1), 1);
    value_id loss = b_neg(b, picked), weight = VALUE_NONE, zero = b_const(b, type, 0);
    if (weights != VALUE_NONE) {
        weight = b_take(b, weights, target, 0);
        loss = b_mul(b, loss, weight);
    }
    if (counts != VALUE_NONE) {
        value_id one = b_const(b, type, 1);
        loss = b_select(b, counts, loss, zero);
        weight = b_select(b, counts, weight == VALUE_NONE ? one : weight, zero);
    }
    if (strcmp(reduction, "none") == 0)
        return loss;
    if (strcmp(reduction, "sum") == 0)
        return total(c, loss);
    return strcmp(reduction, "mean") == 0
               ? mean(c, loss, weight)
               : b_fail(b, ERR_BLUEPRINT, "reduction '%.40s'", reduction);
}

bool onnx_nll_loss(struct onnx_call *c)
{
    return onnx_return(c, likelihood(c, c->in[0], onnx_given(c, 2) ? c->in[2] : VALUE_NONE));
}

bool onnx_cross_entropy(struct onnx_call *c)
{
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = 1, .f = 1}, {0}};
    value_id logs = onnx_expand(c, "log_softmax", c->in, 1, attrs);
    c->out[0] = likelihood(c, logs, onnx_given(c, 2) ? c->in[2] : VALUE_NONE);
    c->out[1] = logs;
    c->out_count = 2;
    return !onnx_failed(c);
}
