/* Selection of the largest elements: topk, and the gate of a mixture of experts, which uses it. */
#include "compiler/ops/ops_priv.h"

/* Values and indices of the k largest (or smallest) elements along axis, sorted, stable. */
static bool top_k(struct op_call *call, value_id x, int axis, bool largest, value_id *out_values,
                  value_id *out_indices)
{
    struct builder *b = call->b;
    int64_t k = 0, size = 0;
    if (!ops_int_in(call, "k", 0, LIMIT_DIM_VALUE, &k)) {
        return false;
    }
    if (ops_const_dim(b, x, axis, &size) && k > size) {
        return ops_attr_fail(call, "k", "%lld of %lld elements", (long long)k, (long long)size);
    }
    value_id order = ops_argsort(b, x, axis, largest);
    *out_indices = ops_head(b, order, axis, b_dim_const(b, 0), b_dim_const(b, k));
    *out_values = b_gather(b, x, *out_indices, axis);
    return *out_values != VALUE_NONE;
}

bool expand_topk(struct op_call *call)
{
    int axis = ops_axis(call, "dim", call->in[0]);
    call->out_count = 2;
    return axis >= 0 &&
           top_k(call, call->in[0], axis, op_bool(call, "largest"), &call->out[0], &call->out[1]);
}

bool expand_top_k(struct op_call *call)
{
    return expand_topk(call);
}

bool expand_topk_gating(struct op_call *call)
{
    struct builder *b = call->b;
    value_id logits = call->in[0], weights = VALUE_NONE, indices = VALUE_NONE;
    int axis = b_axis(b, logits, -1);
    if (axis < 0) {
        return false;
    }
    /* The softmax over the selected logits equals the full softmax, selected and divided by its
     * sum. */
    bool renormalize = op_bool(call, "renormalize");
    value_id x = ops_wide(b, logits);
    x = renormalize ? x : ops_softmax(b, x, axis);
    if (x == VALUE_NONE || !top_k(call, x, axis, true, &weights, &indices)) {
        return false;
    }
    weights = renormalize ? ops_softmax(b, weights, axis) : weights;
    call->out[0] = b_cast(b, weights, ops_dtype(b, logits));
    call->out[1] = indices;
    call->out_count = 2;
    return call->out[0] != VALUE_NONE;
}
