/* Activations. Each formula avoids overflow and cancellation in intermediate values: e^-|x| is used
 * instead of e^x, which may overflow even where only its inverse is needed; erfc and expm1 are used
 * where 1 - erf and e^x - 1 would cancel. */
#include "compiler/ops/ops_priv.h"

#include <math.h>
#include <string.h>

/* Casts the result to x's dtype and returns it. */
static bool narrow(struct op_call *call, value_id y)
{
    return op_return(call, b_cast(call->b, y, ops_dtype(call->b, call->in[0])));
}

static value_id zero_like(struct builder *b, value_id x)
{
    return b_const_like(b, x, 0);
}

static value_id is_positive(struct builder *b, value_id x)
{
    return b_binary(b, PRIM_LT, zero_like(b, x), x);
}

static value_id clamp(struct builder *b, value_id x, double low, double high)
{
    return b_min_const(b, b_max_const(b, x, low), high);
}

/* x where it is not positive, else 0. At 0 the gradient is 1; that of a minimum would be 0. */
static value_id not_positive(struct builder *b, value_id x)
{
    return b_select(b, is_positive(b, x), zero_like(b, x), x);
}

/* scale * (x for x > 0, else alpha * (e^x - 1)) */
static bool return_elu(struct op_call *call, double alpha, double scale)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    value_id negative = b_scale(b, b_unary(b, PRIM_EXPM1, not_positive(b, x)), alpha * scale);
    value_id positive = scale == 1 ? x : b_scale(b, x, scale);
    return narrow(call, b_select(b, is_positive(b, x), positive, negative));
}

bool expand_relu(struct op_call *call)
{
    return op_return(call, b_max_const(call->b, call->in[0], 0));
}

bool expand_relu6(struct op_call *call)
{
    return op_return(call, clamp(call->b, call->in[0], 0, 6));
}

bool expand_leaky_relu(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    value_id scaled = b_scale(b, x, op_float(call, "negative_slope"));
    return narrow(call, b_select(b, is_positive(b, x), x, scaled));
}

bool expand_prelu(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0], weight = call->in[1];
    uint32_t rank = ops_rank(b, x);
    if (!ops_check_rank(call, weight, 0, 1)) {
        return false;
    }
    if (ops_rank(b, weight) == 1 && rank > 1) {
        weight = ops_along(b, weight, rank, 1);
    }
    return op_return(call, b_select(b, is_positive(b, x), x, b_mul(b, x, weight)));
}

bool expand_elu(struct op_call *call)
{
    return return_elu(call, op_float(call, "alpha"), 1);
}

bool expand_selu(struct op_call *call)
{
    return return_elu(call, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946);
}

bool expand_celu(struct op_call *call)
{
    struct builder *b = call->b;
    double alpha = op_float(call, "alpha");
    if (alpha == 0) {
        return ops_attr_fail(call, "alpha", "is 0");
    }
    value_id x = ops_wide(b, call->in[0]);
    value_id ratio = b_div(b, not_positive(b, x), b_const_like(b, x, alpha));
    value_id negative = b_scale(b, b_unary(b, PRIM_EXPM1, ratio), alpha);
    return narrow(call, b_select(b, is_positive(b, x), x, negative));
}

bool expand_gelu(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    if (strcmp(op_text(call, "approximate"), "none") == 0) {
        value_id tail = b_unary(b, PRIM_ERFC, b_scale(b, x, -M_SQRT1_2));
        return narrow(call, b_mul(b, b_scale(b, x, 0.5), tail));
    }
    /* (1 + tanh u)/2 = sigmoid(2u) */
    value_id square = b_mul(b, x, x);
    value_id inner = b_mul(b, x, b_shift(b, b_scale(b, square, 0.044715), 1));
    return narrow(call, ops_gated(b, x, b_scale(b, inner, 2 * M_SQRT1_2 * M_2_SQRTPI)));
}

bool expand_silu(struct op_call *call)
{
    value_id x = ops_wide(call->b, call->in[0]);
    return narrow(call, ops_gated(call->b, x, x));
}

bool expand_swiglu(struct op_call *call)
{
    struct builder *b = call->b;
    value_id gate = ops_wide(b, call->in[0]);
    return narrow(call, b_mul(b, ops_gated(b, gate, gate), ops_wide(b, call->in[1])));
}

bool expand_glu(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    int axis = ops_axis(call, "dim", x);
    if (axis < 0) {
        return false;
    }
    dim_id half = dim_div_exact(&b->graph->dims, b_dim(b, x, axis), b_dim_const(b, 2));
    if (half == DIM_NONE) {
        return fail(b->err, ERR_SHAPE, "'glu' halves dim %d, which is not even", axis);
    }
    value_id first = ops_head(b, x, axis, b_dim_const(b, 0), half);
    value_id second = ops_head(b, x, axis, half, half);
    return narrow(call, b_mul(b, first, ops_sigmoid(b, second)));
}

bool expand_mish(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    return narrow(call, b_mul(b, x, b_unary(b, PRIM_TANH, ops_softplus(b, x))));
}

static value_id hard_gate(struct builder *b, value_id x)
{
    return b_div(b, clamp(b, b_shift(b, x, 3), 0, 6), b_const_like(b, x, 6));
}

bool expand_hardswish(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    return narrow(call, b_mul(b, x, hard_gate(b, x)));
}

bool expand_hardsigmoid(struct op_call *call)
{
    struct builder *b = call->b;
    return narrow(call, hard_gate(b, ops_wide(b, call->in[0])));
}

bool expand_hardtanh(struct op_call *call)
{
    double low = op_float(call, "min_val"), high = op_float(call, "max_val");
    return op_return(call, clamp(call->b, call->in[0], low, high));
}

bool expand_hardshrink(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = call->in[0];
    value_id lambda = b_const_like(b, x, op_float(call, "lambd"));
    value_id small = b_binary(b, PRIM_LE, b_unary(b, PRIM_ABS, x), lambda);
    return op_return(call, b_select(b, small, zero_like(b, x), x));
}

/* The select is for the gradient: at the borders it is 0. */
bool expand_softshrink(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    double lambda = op_float(call, "lambd");
    value_id moved = b_sub(b, x, clamp(b, x, -lambda, lambda));
    value_id small = b_binary(b, PRIM_LE, b_unary(b, PRIM_ABS, x), b_const_like(b, x, lambda));
    return narrow(call, b_select(b, small, zero_like(b, x), moved));
}

bool expand_softplus(struct op_call *call)
{
    struct builder *b = call->b;
    double beta = op_float(call, "beta");
    if (beta == 0) {
        return ops_attr_fail(call, "beta", "is 0");
    }
    value_id x = ops_wide(b, call->in[0]);
    value_id scaled = beta == 1 ? x : b_scale(b, x, beta);
    value_id soft = ops_softplus(b, scaled);
    soft = beta == 1 ? soft : b_div(b, soft, b_const_like(b, x, beta));
    value_id threshold = b_const_like(b, x, op_float(call, "threshold"));
    return narrow(call, b_select(b, b_binary(b, PRIM_LT, threshold, scaled), x, soft));
}

bool expand_softsign(struct op_call *call)
{
    struct builder *b = call->b;
    value_id x = ops_wide(b, call->in[0]);
    return narrow(call, b_div(b, x, b_shift(b, b_unary(b, PRIM_ABS, x), 1)));
}

bool expand_sigmoid(struct op_call *call)
{
    return narrow(call, ops_sigmoid(call->b, ops_wide(call->b, call->in[0])));
}

bool expand_logsigmoid(struct op_call *call)
{
    struct builder *b = call->b;
    return narrow(call, b_neg(b, ops_softplus(b, b_neg(b, ops_wide(b, call->in[0])))));
}

bool expand_tanh(struct op_call *call)
{
    return op_return(call, b_unary(call->b, PRIM_TANH, call->in[0]));
}

bool expand_softmax(struct op_call *call)
{
    value_id x = ops_wide(call->b, call->in[0]);
    int axis = ops_axis(call, "dim", x);
    return axis >= 0 && narrow(call, ops_softmax(call->b, x, axis));
}

bool expand_softmin(struct op_call *call)
{
    value_id x = b_neg(call->b, ops_wide(call->b, call->in[0]));
    int axis = ops_axis(call, "dim", x);
    return axis >= 0 && narrow(call, ops_softmax(call->b, x, axis));
}

bool expand_log_softmax(struct op_call *call)
{
    value_id x = ops_wide(call->b, call->in[0]);
    int axis = ops_axis(call, "dim", x);
    return axis >= 0 && narrow(call, ops_log_softmax(call->b, x, axis));
}

bool expand_dropout(struct op_call *call)
{
    return op_return(call, ops_dropout(call, call->in[0], op_float(call, "p"), call->in[1]));
}
