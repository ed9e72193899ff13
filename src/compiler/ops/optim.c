/* Optimizers: one step of one parameter, by PyTorch's formulas. Results are the new parameter and
 * the new states, in the order of the operands. Computed in f32 or wider; the corrections by the
 * number of the step in f64, since 1 - beta^t has few digits left in f32. */
#include "compiler/ops/ops_priv.h"

#include <math.h>
#include <string.h>

enum { W, G, LR, FIRST_STATE };

/* The operands, cast to the dtype of the computation. */
struct stepped {
    struct op_call *call;
    struct builder *b;
    enum dtype dtype;
    value_id x[LIMIT_OPERANDS];
};

/* All operands must be floats of w's shape but lr and t, which are numbers; t may be an integer. */
static bool check_types(struct op_call *call, uint32_t numbers)
{
    const struct node *w = b_node(call->b, call->in[W]);
    for (uint32_t i = 0; i < call->in_count; i++) {
        const struct node *x = b_node(call->b, call->in[i]);
        bool number = (numbers >> i & 1) != 0;
        if (call->in[i] == VALUE_NONE)
            continue;
        if (!dtype_is_float((enum dtype)x->dtype) && (!number || i == LR))
            return b_fail(call->b, ERR_SHAPE, "'%s': operand %u is %s, expected a float dtype",
                          call->row->name, i, dtype_name((enum dtype)x->dtype)) != VALUE_NONE;
        if (number && x->rank == 0)
            continue;
        if (number || x->rank != w->rank ||
            (w->rank > 0 && memcmp(x->shape, w->shape, w->rank * sizeof *w->shape) != 0))
            return b_fail(call->b, ERR_SHAPE, "'%s': operand %u must %s", call->row->name, i,
                          number ? "have no dims" : "have the parameter's shape") != VALUE_NONE;
    }
    return true;
}

/* numbers: operands without dims, as bits. */
static bool begin(struct stepped *s, struct op_call *call, uint32_t numbers)
{
    *s = (struct stepped){call, call->b, ops_dtype(call->b, call->in[W]), {VALUE_NONE}};
    if (!check_types(call, numbers))
        return false;
    if (s->dtype != DTYPE_F64)
        s->dtype = DTYPE_F32;
    for (uint32_t i = 0; i < call->in_count; i++)
        if (call->in[i] != VALUE_NONE && dtype_is_float(ops_dtype(call->b, call->in[i])))
            s->x[i] = b_cast(s->b, call->in[i], s->dtype);
    return true;
}

/* A result that takes the place of an operand. */
static bool give(struct stepped *s, uint32_t operand, value_id value)
{
    value = b_cast(s->b, value, ops_dtype(s->b, s->call->in[operand]));
    s->call->out[s->call->out_count++] = value;
    return value != VALUE_NONE;
}

/* x + share·(y - x) */
static value_id towards(struct builder *b, value_id x, value_id y, double share)
{
    return b_add(b, x, b_scale(b, b_sub(b, y, x), share));
}

/* g + weight_decay·w */
static value_id decayed_gradient(struct stepped *s)
{
    double decay = op_float(s->call, "weight_decay");
    return decay == 0 ? s->x[G] : b_add(s->b, s->x[G], b_scale(s->b, s->x[W], decay));
}

/* w - lr·weight_decay·w */
static value_id decayed_weight(struct stepped *s)
{
    double decay = op_float(s->call, "weight_decay");
    value_id factor = b_shift(s->b, b_scale(s->b, s->x[LR], -decay), 1);
    return decay == 0 ? s->x[W] : b_mul(s->b, s->x[W], factor);
}

/* 1 - beta^t, in f64 */
static value_id correction(struct builder *b, double beta, value_id t)
{
    value_id power = b_scale(b, b_cast(b, t, DTYPE_F64), log(beta));
    return b_neg(b, b_unary(b, PRIM_EXPM1, power));
}

/* 0 ≤ the attribute < 1 */
static bool is_share(struct op_call *call, const char *name)
{
    double value = op_float(call, name);
    return (value >= 0 && value < 1) ||
           ops_attr_fail(call, name, "%g is not in the range from 0 to below 1", value);
}

bool expand_sgd(struct op_call *call)
{
    struct stepped s;
    double momentum = op_float(call, "momentum");
    bool nesterov = op_bool(call, "nesterov");
    if (!begin(&s, call, 1u << LR))
        return false;
    if (momentum != 0 && call->in[FIRST_STATE] == VALUE_NONE)
        return ops_attr_fail(call, "momentum", "needs operand 'buf'");
    if (nesterov && momentum == 0)
        return ops_attr_fail(call, "nesterov", "needs momentum");
    value_id g = decayed_gradient(&s), buf = VALUE_NONE, move = g;
    if (momentum != 0) {
        buf = b_add(s.b, b_scale(s.b, s.x[FIRST_STATE], momentum), g);
        move = nesterov ? b_add(s.b, g, b_scale(s.b, buf, momentum)) : buf;
    }
    return give(&s, W, b_sub(s.b, s.x[W], b_mul(s.b, s.x[LR], move))) &&
           (momentum == 0 || give(&s, FIRST_STATE, buf));
}

/* m += (1 - beta1)(g - m), v += (1 - beta2)(g² - v),
 * w -= lr·m/(1 - beta1^t) / (sqrt(v/(1 - beta2^t)) + eps) */
static bool adam(struct stepped *s, value_id w, value_id g)
{
    enum { T = FIRST_STATE, M, V };
    struct builder *b = s->b;
    double beta1 = op_float(s->call, "beta1"), beta2 = op_float(s->call, "beta2");
    double eps = op_float(s->call, "eps");
    if (!is_share(s->call, "beta1") || !is_share(s->call, "beta2"))
        return false;
    value_id m = towards(b, s->x[M], g, 1 - beta1);
    value_id v = b_add(b, b_scale(b, s->x[V], beta2), b_scale(b, b_mul(b, g, g), 1 - beta2));
    value_id c1 = correction(b, beta1, s->call->in[T]);
    value_id c2 = b_unary(b, PRIM_SQRT, correction(b, beta2, s->call->in[T]));
    value_id rate = b_cast(b, b_div(b, b_cast(b, s->x[LR], DTYPE_F64), c1), s->dtype);
    value_id size = b_div(b, b_unary(b, PRIM_SQRT, v), b_cast(b, c2, s->dtype));
    value_id move = b_div(b, m, b_shift(b, size, eps));
    return give(s, W, b_sub(b, w, b_mul(b, rate, move))) && give(s, M, m) && give(s, V, v);
}

bool expand_adam(struct op_call *call)
{
    struct stepped s;
    return begin(&s, call, 1u << LR | 1u << FIRST_STATE) && adam(&s, s.x[W], decayed_gradient(&s));
}

bool expand_adamw(struct op_call *call)
{
    struct stepped s;
    return begin(&s, call, 1u << LR | 1u << FIRST_STATE) && adam(&s, decayed_weight(&s), s.x[G]);
}

/* w -= lr·sign(m + (1 - beta1)(g - m)), m += (1 - beta2)(g - m) */
bool expand_lion(struct op_call *call)
{
    enum { M = FIRST_STATE };
    struct stepped s;
    if (!begin(&s, call, 1u << LR) || !is_share(call, "beta1") || !is_share(call, "beta2"))
        return false;
    value_id m = s.x[M], g = s.x[G];
    value_id move = b_unary(s.b, PRIM_SIGN, towards(s.b, m, g, 1 - op_float(call, "beta1")));
    return give(&s, W, b_sub(s.b, decayed_weight(&s), b_mul(s.b, s.x[LR], move))) &&
           give(&s, M, towards(s.b, m, g, 1 - op_float(call, "beta2")));
}

/* v = alpha·v + (1 - alpha)g², w -= lr·g/(sqrt(v) + eps), with momentum of that fraction */
bool expand_rmsprop(struct op_call *call)
{
    enum { V = FIRST_STATE, BUF };
    struct stepped s;
    double momentum = op_float(call, "momentum"), alpha = op_float(call, "alpha");
    if (!begin(&s, call, 1u << LR) || !is_share(call, "alpha"))
        return false;
    if (momentum != 0 && call->in[BUF] == VALUE_NONE)
        return ops_attr_fail(call, "momentum", "needs operand 'buf'");
    value_id g = decayed_gradient(&s);
    value_id v = b_add(s.b, b_scale(s.b, s.x[V], alpha), b_scale(s.b, b_mul(s.b, g, g), 1 - alpha));
    value_id size = b_shift(s.b, b_unary(s.b, PRIM_SQRT, v), op_float(call, "eps"));
    value_id buf = VALUE_NONE, move = b_div(s.b, g, size);
    if (momentum != 0)
        move = buf = b_add(s.b, b_scale(s.b, s.x[BUF], momentum), move);
    return give(&s, W, b_sub(s.b, s.x[W], b_mul(s.b, s.x[LR], move))) && give(&s, V, v) &&
           (momentum == 0 || give(&s, BUF, buf));
}
