/* The optimisers of ai.onnx.preview.training: steps of gradient descent for groups of tensors.
 *
 * Operands: the learning rate R and the number of steps T, both 0-d; then all tensors, all
 * gradients, and for each kind of state all of that kind. The results are in the same order,
 * without gradients. */
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

struct group {
    uint32_t count, states; /* number of tensors; number of kinds of state */
    value_id rate, steps;   /* steps is cast to the rate's dtype */
};

static bool begin(struct onnx_call *c, uint32_t states, struct group *out)
{
    *out = (struct group){.states = states, .rate = c->in[0]};
    out->count = (c->in_count - 2) / (2 + states);
    if (out->count * (2 + states) + 2 != c->in_count)
        return b_fail(c->b, ERR_BLUEPRINT, "%u inputs", c->in_count);
    for (uint32_t i = 2; i < c->in_count; i++)
        if (c->in[i] == VALUE_NONE)
            return b_fail(c->b, ERR_BLUEPRINT, "input %u is left out", i);
    out->steps = b_cast(c->b, c->in[1], onnx_type(c, c->in[0]));
    c->out_count = out->count * (1 + states);
    return true;
}

/* The gradient with weight decay. */
static value_id gradient(struct onnx_call *c, const struct group *g, uint32_t i)
{
    double pull = onnx_float(c, "norm_coefficient", 0);
    value_id given = c->in[2 + g->count + i];
    return pull == 0 ? given : b_add(c->b, b_scale(c->b, c->in[2 + i], pull), given);
}

static value_id state(struct onnx_call *c, const struct group *g, uint32_t kind, uint32_t i)
{
    return c->in[2 + (2 + kind) * g->count + i];
}

static value_id is_first(struct onnx_call *c, const struct group *g)
{
    return b_binary(c->b, PRIM_LE, g->steps, b_const_like(c->b, g->steps, 0));
}

bool onnx_adagrad(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct group g;
    if (!begin(c, 1, &g))
        return false;
    value_id slow = b_shift(b, b_scale(b, g.steps, onnx_float(c, "decay_factor", 0)), 1);
    value_id rate = b_div(b, g.rate, slow);
    for (uint32_t i = 0; i < g.count; i++) {
        value_id slope = gradient(c, &g, i);
        value_id squares = b_add(b, state(c, &g, 0, i), b_mul(b, slope, slope));
        value_id root = b_shift(b, b_unary(b, PRIM_SQRT, squares), onnx_float(c, "epsilon", 1e-6));
        c->out[i] = b_sub(b, c->in[2 + i], b_div(b, b_mul(b, rate, slope), root));
        c->out[g.count + i] = squares;
    }
    return !onnx_failed(c);
}

bool onnx_momentum(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct group g;
    double alpha = onnx_float(c, "alpha", 0), beta = onnx_float(c, "beta", 0);
    bool nesterov = strcmp(onnx_text(c, "mode", "standard"), "nesterov") == 0;
    if (!begin(c, 1, &g))
        return false;
    value_id one = b_const_like(b, g.steps, 1), share = b_const_like(b, g.steps, beta);
    value_id weight = b_select(b, is_first(c, &g), one, share);
    for (uint32_t i = 0; i < g.count; i++) {
        value_id slope = gradient(c, &g, i);
        value_id kept = b_scale(b, state(c, &g, 0, i), alpha);
        value_id speed = b_add(b, kept, b_mul(b, weight, slope));
        value_id way = nesterov ? b_add(b, slope, b_scale(b, speed, alpha)) : speed;
        c->out[i] = b_sub(b, c->in[2 + i], b_mul(b, g.rate, way));
        c->out[g.count + i] = speed;
    }
    return !onnx_failed(c);
}

/* 1 - factor^steps */
static value_id correction(struct onnx_call *c, const struct group *g, double factor)
{
    struct builder *b = c->b;
    value_id power = b_binary(b, PRIM_POW, b_const_like(b, g->steps, factor), g->steps);
    return b_sub(b, b_const_like(b, power, 1), power);
}

bool onnx_adam(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct group g;
    double alpha = onnx_float(c, "alpha", 0.9), beta = onnx_float(c, "beta", 0.999);
    double pull = onnx_float(c, "norm_coefficient_post", 0);
    if (!begin(c, 2, &g))
        return false;
    value_id root = b_unary(b, PRIM_SQRT, correction(c, &g, beta));
    value_id rate = b_div(b, b_mul(b, g.rate, root), correction(c, &g, alpha));
    rate = b_select(b, is_first(c, &g), g.rate, rate);
    for (uint32_t i = 0; i < g.count; i++) {
        value_id slope = gradient(c, &g, i), square = b_mul(b, slope, slope);
        value_id first =
            b_add(b, b_scale(b, state(c, &g, 0, i), alpha), b_scale(b, slope, 1 - alpha));
        value_id second =
            b_add(b, b_scale(b, state(c, &g, 1, i), beta), b_scale(b, square, 1 - beta));
        value_id size = b_shift(b, b_unary(b, PRIM_SQRT, second), onnx_float(c, "epsilon", 1e-6));
        value_id x = b_sub(b, c->in[2 + i], b_div(b, b_mul(b, rate, first), size));
        c->out[i] = pull == 0 ? x : b_scale(b, x, 1 - pull);
        c->out[g.count + i] = first;
        c->out[2 * g.count + i] = second;
    }
    return !onnx_failed(c);
}
