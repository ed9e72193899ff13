/* Losses, computed in f32 or wider and reduced as the attribute "reduction" says. */
#include "compiler/ops/ops_priv.h"

#include <string.h>

static bool narrow(struct op_call *call, value_id loss)
{
    return op_return(call, b_cast(call->b, loss, ops_dtype(call->b, call->in[0])));
}

bool expand_mse_loss(struct op_call *call)
{
    struct builder *b = call->b;
    value_id d = b_sub(b, ops_wide(b, call->in[0]), ops_wide(b, call->in[1]));
    return narrow(call, ops_reduce_loss(call, b_mul(b, d, d)));
}

bool expand_l1_loss(struct op_call *call)
{
    struct builder *b = call->b;
    value_id d = b_sub(b, ops_wide(b, call->in[0]), ops_wide(b, call->in[1]));
    return narrow(call, ops_reduce_loss(call, b_unary(b, PRIM_ABS, d)));
}

/* d²/(2 beta) where |d| < beta, else |d| - beta/2 */
bool expand_smooth_l1_loss(struct op_call *call)
{
    struct builder *b = call->b;
    double beta = op_float(call, "beta");
    if (!(beta > 0)) {
        return ops_attr_fail(call, "beta", "%g is not above 0", beta);
    }
    value_id d = b_sub(b, ops_wide(b, call->in[0]), ops_wide(b, call->in[1]));
    value_id size = b_unary(b, PRIM_ABS, d);
    value_id inner = b_scale(b, b_mul(b, d, d), 0.5 / beta);
    value_id near = b_binary(b, PRIM_LT, size, b_const_like(b, d, beta));
    return narrow(call,
                  ops_reduce_loss(call, b_select(b, near, inner, b_shift(b, size, -beta / 2))));
}

/* (1 - t)·x + (1 + (pos_weight - 1)·t)·softplus(-x), times weight */
bool expand_binary_cross_entropy_with_logits(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    enum dtype dtype = ops_dtype(b, x);
    value_id t = b_cast(b, call->in[1], dtype);
    value_id one = b_const(b, dtype, 1);
    value_id tail = ops_softplus(b, b_neg(b, x));
    if (call->in[3] != VALUE_NONE) {
        value_id extra = b_sub(b, b_cast(b, call->in[3], dtype), one);
        tail = b_mul(b, b_add(b, one, b_mul(b, extra, t)), tail);
    }
    value_id loss = b_add(b, b_mul(b, b_sub(b, one, t), x), tail);
    if (call->in[2] != VALUE_NONE) {
        loss = b_mul(b, loss, b_cast(b, call->in[2], dtype));
    }
    return narrow(call, ops_reduce_loss(call, loss));
}

static value_id sum_all(struct builder *b, value_id x)
{
    int64_t axes[LIMIT_RANK];
    uint32_t rank = ops_rank(b, x);
    for (uint32_t i = 0; i < rank; i++) {
        axes[i] = i;
    }
    return b_reduce(b, PRIM_REDUCE_SUM, x, axes, rank, false);
}

/* Classes are along `axis` of log_p; label smoothing distributes a part of the target evenly over
 * all classes.
 */
struct cross_entropy {
    value_id log_p, target, weight; /* weight [C] or VALUE_NONE */
    int axis;
    double smoothing;
    int64_t ignore_index;
};

/* With one class index per position as target. Ignored positions count neither in the sum nor in
 * the mean.
 */
static value_id by_class(struct op_call *call, const struct cross_entropy *c)
{
    struct builder *b = call->b;
    const char *reduction = op_text(call, "reduction");
    int64_t axis = c->axis;
    enum dtype dtype = ops_dtype(b, c->log_p);
    value_id zero = b_const(b, dtype, 0);
    value_id target = b_cast(b, c->target, DTYPE_I64);
    value_id picked = b_gather(b, c->log_p, b_unsqueeze(b, target, axis), axis);
    value_id loss = b_neg(b, b_squeeze(b, picked, axis));
    value_id ignored_class = b_const(b, DTYPE_I64, (double)c->ignore_index);
    value_id ignored = b_binary(b, PRIM_EQ, target, ignored_class);
    value_id counts = b_select(b, ignored, zero, b_const(b, dtype, 1));
    if (c->weight != VALUE_NONE) {
        value_id weight = b_take(b, c->weight, target, 0);
        loss = b_mul(b, loss, weight);
        counts = b_select(b, ignored, zero, weight);
    }
    if (c->smoothing > 0) {
        value_id even = c->log_p;
        if (c->weight != VALUE_NONE) {
            even = b_mul(b, even, ops_along(b, c->weight, ops_rank(b, even), c->axis));
        }
        even = b_neg(b, b_mean(b, even, &axis, 1, false));
        loss = b_add(b, b_scale(b, loss, 1 - c->smoothing), b_scale(b, even, c->smoothing));
    }
    loss = b_select(b, ignored, zero, loss);
    if (strcmp(reduction, "mean") == 0) {
        return b_div(b, sum_all(b, loss), sum_all(b, counts));
    }
    return ops_reduce_loss(call, loss);
}

/* With a distribution per position as target. */
static value_id by_distribution(struct op_call *call, const struct cross_entropy *c)
{
    struct builder *b = call->b;
    int64_t axis = c->axis;
    value_id target = b_cast(b, c->target, ops_dtype(b, c->log_p));
    value_id weighted = c->log_p;
    if (c->weight != VALUE_NONE) {
        weighted = b_mul(b, weighted, ops_along(b, c->weight, ops_rank(b, weighted), c->axis));
    }
    value_id product = b_mul(b, target, weighted);
    value_id loss = b_neg(b, b_reduce(b, PRIM_REDUCE_SUM, product, &axis, 1, false));
    if (c->smoothing > 0) {
        value_id even = b_neg(b, b_mean(b, weighted, &axis, 1, false));
        loss = b_add(b, b_scale(b, loss, 1 - c->smoothing), b_scale(b, even, c->smoothing));
    }
    return ops_reduce_loss(call, loss);
}

/* The class axis: 1, or 0 for a single position. */
static bool read_targets(struct op_call *call, struct cross_entropy *c)
{
    struct builder *b = call->b;
    uint32_t rank = ops_rank(b, call->in[0]);
    if (!ops_check_rank(call, call->in[0], 1, LIMIT_RANK) ||
        (call->in[2] != VALUE_NONE && !ops_check_rank(call, call->in[2], 1, 1))) {
        return false;
    }
    c->axis = rank == 1 ? 0 : 1;
    c->target = call->in[1];
    c->weight = call->in[2];
    if (dtype_is_int(ops_dtype(b, c->target)) && ops_rank(b, c->target) + 1 != rank) {
        return fail(b->err, ERR_SHAPE, "'%s': the target has %u dims, expected %u", call->row->name,
                    ops_rank(b, c->target), rank - 1);
    }
    return true;
}

bool expand_cross_entropy(struct op_call *call)
{
    struct builder *b = call->b;
    struct cross_entropy c = {.smoothing = op_float(call, "label_smoothing"),
                              .ignore_index = op_int(call, "ignore_index")};
    if (!(c.smoothing >= 0 && c.smoothing <= 1)) {
        return ops_attr_fail(call, "label_smoothing", "%g is outside 0 … 1", c.smoothing);
    }
    if (!read_targets(call, &c)) {
        return false;
    }
    c.log_p = ops_log_softmax(b, ops_wide(b, call->in[0]), c.axis);
    if (c.weight != VALUE_NONE) {
        c.weight = b_cast(b, c.weight, ops_dtype(b, c.log_p));
    }
    bool classes = dtype_is_int(ops_dtype(b, c.target));
    return narrow(call, classes ? by_class(call, &c) : by_distribution(call, &c));
}

bool expand_nll_loss(struct op_call *call)
{
    struct builder *b = call->b;
    struct cross_entropy c = {.ignore_index = op_int(call, "ignore_index")};
    if (!read_targets(call, &c)) {
        return false;
    }
    if (!dtype_is_int(ops_dtype(b, c.target))) {
        return fail(b->err, ERR_SHAPE, "'nll_loss' needs class numbers as target");
    }
    c.log_p = ops_wide(b, call->in[0]);
    if (c.weight != VALUE_NONE) {
        c.weight = b_cast(b, c.weight, ops_dtype(b, c.log_p));
    }
    return narrow(call, by_class(call, &c));
}
