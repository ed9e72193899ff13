/* Activations, softmax, products. */
#include <string.h>

#include "compiler/import/onnx/onnx_bound_priv.h"

#define SELU_ALPHA 1.67326319217681884765625
#define SELU_GAMMA 1.05070102214813232421875

/* Expands one of our ops with one number as attribute. */
static bool with_number(struct onnx_call *c, const char *op, const char *name, double value)
{
    struct op_value attrs[] = {{.name = name, .kind = OP_FLOAT, .f = value}, {0}};
    return onnx_return(c, onnx_expand(c, op, c->in, 1, attrs));
}

bool onnx_leaky_relu(struct onnx_call *c)
{
    return with_number(c, "leaky_relu", "negative_slope", onnx_float(c, "alpha", 0.01));
}

bool onnx_elu(struct onnx_call *c)
{
    return with_number(c, "elu", "alpha", onnx_float(c, "alpha", 1));
}

bool onnx_celu(struct onnx_call *c)
{
    return with_number(c, "celu", "alpha", onnx_float(c, "alpha", 1));
}

bool onnx_gelu(struct onnx_call *c)
{
    struct op_value attrs[] = {
        {.name = "approximate", .kind = OP_TEXT, .text = onnx_text(c, "approximate", "none")}, {0}};
    return onnx_return(c, onnx_expand(c, "gelu", c->in, 1, attrs));
}

static value_id positive(struct builder *b, value_id x)
{
    return b_binary(b, PRIM_LT, b_const_like(b, x, 0), x);
}

bool onnx_prelu(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], slope = c->in[1];
    if (c->opset < 7 && onnx_rank(c, slope) == 1 && onnx_rank(c, x) > 2) {
        dim_id shape[LIMIT_RANK] = {b_dim(b, slope, 0)}; /* one slope for each channel */
        for (uint32_t i = 1; i + 1 < onnx_rank(c, x); i++)
            shape[i] = b_dim_const(b, 1);
        slope = b_reshape(b, slope, shape, onnx_rank(c, x) - 1);
    }
    value_id negative = b_binary(b, PRIM_LT, x, b_const_like(b, x, 0));
    return onnx_return(c, b_select(b, negative, b_mul(b, x, slope), x));
}

bool onnx_thresholded_relu(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], zero = b_const_like(b, x, 0);
    value_id above = b_binary(b, PRIM_LT, b_const_like(b, x, onnx_float(c, "alpha", 1)), x);
    return onnx_return(c, b_select(b, above, x, zero));
}

bool onnx_selu(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    double alpha = onnx_float(c, "alpha", SELU_ALPHA), gamma = onnx_float(c, "gamma", SELU_GAMMA);
    value_id below = b_scale(b, b_unary(b, PRIM_EXPM1, x), alpha);
    return onnx_return(c, b_scale(b, b_select(b, positive(b, x), x, below), gamma));
}

bool onnx_hard_sigmoid(struct onnx_call *c)
{
    struct builder *b = c->b;
    double alpha = onnx_float(c, "alpha", 0.2), beta = onnx_float(c, "beta", 0.5);
    value_id y = b_shift(b, b_scale(b, c->in[0], alpha), beta);
    return onnx_return(c, b_min_const(b, b_max_const(b, y, 0), 1));
}

bool onnx_softplus(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    /* -|x| as a select: at 0 it has the gradient that the maximum lacks. */
    value_id positive = b_binary(b, PRIM_LT, b_const_like(b, x, 0), x);
    value_id rest = b_unary(b, PRIM_LOG1P, b_exp(b, b_select(b, positive, b_neg(b, x), x)));
    return onnx_return(c, b_add(b, b_max_const(b, x, 0), rest));
}

bool onnx_shrink(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], zero = b_const_like(b, x, 0);
    double bias = onnx_float(c, "bias", 0), border = onnx_float(c, "lambd", 0.5);
    value_id below = b_binary(b, PRIM_LT, x, b_const_like(b, x, -border));
    value_id above = b_binary(b, PRIM_LT, b_const_like(b, x, border), x);
    value_id upper = b_select(b, above, b_shift(b, x, -bias), zero);
    return onnx_return(c, b_select(b, below, b_shift(b, x, bias), upper));
}

bool onnx_swish(struct onnx_call *c)
{
    value_id scaled = b_scale(c->b, c->in[0], onnx_float(c, "alpha", 1));
    return onnx_return(c, b_mul(c->b, c->in[0], onnx_expand(c, "sigmoid", &scaled, 1, NULL)));
}

/* Before opset 13 these ops flatten the operand to a matrix: the dims before axis, and those from
 * axis on. Returns the operand in that form and sets *out_axis to the axis to work along. */
static value_id coerce(struct onnx_call *c, int *out_axis)
{
    struct builder *b = c->b;
    value_id x = c->in[0];
    uint32_t rank = onnx_rank(c, x);
    int64_t axis = onnx_int(c, "axis", c->opset < 13 ? 1 : -1);
    dim_id shape[2] = {b_dim_const(b, 1), b_dim_const(b, 1)};
    if (c->opset >= 13) {
        *out_axis = b_axis(b, x, axis);
        return *out_axis < 0 ? VALUE_NONE : x;
    }
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis > rank)
        return b_fail(b, ERR_SHAPE, "axis %lld for rank %u", (long long)axis, rank);
    for (uint32_t i = 0; i < rank; i++)
        shape[i >= axis] = b_dim_mul(b, shape[i >= axis], b_dim(b, x, i));
    *out_axis = 1;
    return b_reshape(b, x, shape, 2);
}

/* Reshapes y to the operand's shape. */
static bool restore(struct onnx_call *c, value_id y)
{
    const struct node *node = graph_node(c->o->graph, c->in[0]);
    return onnx_return(c, b_reshape(c->b, y, node->shape, node->rank));
}

bool onnx_softmax(struct onnx_call *c)
{
    int axis = 0;
    if (onnx_rank(c, c->in[0]) == 0)
        return onnx_refuse(c, "rank 0");
    value_id x = coerce(c, &axis);
    struct op_value attrs[] = {{.name = "dim", .kind = OP_INT, .i = axis, .f = axis}, {0}};
    value_id count = x == VALUE_NONE ? x : onnx_count(c->o, x, axis);
    if (x != VALUE_NONE)
        x = onnx_fill(c, x, axis, FILL_LEAST);
    value_id y = x == VALUE_NONE ? x : onnx_expand(c, c->op->with, &x, 1, attrs);
    if (count != VALUE_NONE)
        y = onnx_bound(c, y, axis, count, false);
    return y != VALUE_NONE && restore(c, y);
}

bool onnx_hardmax(struct onnx_call *c)
{
    struct builder *b = c->b;
    int axis = 0;
    value_id x = coerce(c, &axis);
    if (x == VALUE_NONE)
        return false;
    value_id best = graph_add(b->graph, PRIM_ARGMAX, &x, 1, &(struct attrs){.axis = axis}, b->err);
    const struct node *node = graph_node(b->graph, x);
    value_id places = b_iota(b, DTYPE_I64, node->shape, node->rank, axis);
    value_id hit = b_binary(b, PRIM_EQ, places, b_unsqueeze(b, best, axis));
    return restore(c, b_cast(b, hit, onnx_type(c, x)));
}

bool onnx_matmul(struct onnx_call *c)
{
    uint32_t left = onnx_rank(c, c->in[0]), right = onnx_rank(c, c->in[1]);
    int row = (int)left - 1, column = right > 1 ? (int)right - 2 : 0;
    /* What does not count on both sides adds 0. */
    if (left > 0 && right > 0 &&
        onnx_count(c->o, c->in[0], row) == onnx_count(c->o, c->in[1], column)) {
        c->in[0] = onnx_fill(c, c->in[0], row, FILL_ZERO);
        c->in[1] = onnx_fill(c, c->in[1], column, FILL_ZERO);
    }
    return onnx_return(c, onnx_expand(c, "matmul", c->in, 2, NULL));
}

bool onnx_gemm(struct onnx_call *c)
{
    struct builder *b = c->b;
    value_id x = c->in[0], w = c->in[1];
    double alpha = onnx_float(c, "alpha", 1), beta = onnx_float(c, "beta", 1);
    if (onnx_rank(c, x) != 2 || onnx_rank(c, w) != 2)
        return b_fail(b, ERR_SHAPE, "ranks %u and %u, expected 2", onnx_rank(c, x),
                      onnx_rank(c, w));
    if (onnx_int(c, "transA", 0) != 0)
        x = b_swap(b, x, 0, 1);
    if (onnx_int(c, "transB", 0) == 0)
        w = b_swap(b, w, 0, 1);
    value_id y = b_contract(b, x, w, 0, 1);
    if (alpha != 1)
        y = b_scale(b, y, alpha);
    if (onnx_given(c, 2) && beta != 0)
        y = b_add(b, y, beta == 1 ? c->in[2] : b_scale(b, c->in[2], beta));
    return onnx_return(c, y);
}

bool onnx_einsum(struct onnx_call *c)
{
    const char *equation = onnx_text(c, "equation", "");
    char *packed = arena_strdup(c->o->arena, equation), *to = packed;
    for (const char *at = equation; *at != '\0'; at++)
        if (*at != ' ')
            *to++ = *at;
    *to = '\0';
    struct op_value attrs[] = {{.name = "equation", .kind = OP_TEXT, .text = packed}, {0}};
    return onnx_return(c, onnx_expand(c, "einsum", c->in, c->in_count, attrs));
}

bool onnx_swiglu(struct onnx_call *c)
{
    value_id scaled = b_scale(c->b, c->in[0], onnx_float(c, "alpha", 1));
    value_id gate = b_mul(c->b, c->in[0], onnx_expand(c, "sigmoid", &scaled, 1, NULL));
    return onnx_return(c, b_mul(c->b, gate, c->in[1]));
}
