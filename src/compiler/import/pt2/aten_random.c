/* Calls that drop elements, as a module does in training mode.
 *
 * All of them draw from one input of the graph, "seed" (i64, 0-d), which is added by the first of
 * them: call number i has the seed seed * LIMIT_NODES + i. The elements that are dropped are not
 * those that PyTorch drops. */
#include <math.h>

#include "compiler/import/pt2/pt2_training_priv.h"

/* What alpha_dropout gives dropped elements: -alpha times the scale of SELU. */
#define SELU_LOWEST 1.7580993408473766

value_id aten_seed(struct aten_call *c)
{
    struct pt2 *p = c->p;
    struct pt2_training *t = p->training;
    struct builder *b = c->b;
    if (aten_failed(c))
        return VALUE_NONE;
    if (t->seed == VALUE_NONE) {
        if (pt2_is_input(p, PT2_SEED))
            return aten_refuse(c, "an input is called '" PT2_SEED
                                  "', as the one that random numbers are drawn from");
        t->seed = graph_input(p->graph, PT2_SEED, DTYPE_I64, NULL, 0, b->err);
    }
    value_id scaled = b_mul(b, t->seed, b_const(b, DTYPE_I64, LIMIT_NODES));
    return b_add(b, scaled, b_const(b, DTYPE_I64, t->draws++));
}

value_id aten_drop(struct aten_call *c, value_id x, double rate)
{
    value_id in[] = {x, VALUE_NONE};
    struct op_value attrs[] = {{.name = "p", .kind = OP_FLOAT, .f = rate}, {0}};
    if (x == VALUE_NONE || rate == 0)
        return x;
    in[1] = aten_seed(c);
    c->training = true;
    return aten_expand(c, "dropout", in, 2, attrs);
}

/* 1 where an element is kept, else 0; in x's dtype, and of its shape or, by feature, with dims of
 * size 1 behind the second. */
static value_id kept(struct aten_call *c, value_id x, double rate, bool by_feature)
{
    struct builder *b = c->b;
    dim_id shape[LIMIT_RANK];
    uint32_t rank = aten_rank(c, x);
    enum dtype dtype = aten_type(c, x);
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = by_feature && i >= 2 ? b_dim_const(b, 1) : b_dim(b, x, i);
    value_id ones = b_broadcast_to(b, b_const(b, DTYPE_F32, 1), shape, rank);
    value_id dropped = aten_drop(c, ones, rate);
    value_id is_kept = b_binary(b, PRIM_LT, b_const_like(b, dropped, 0), dropped);
    return b_cast(b, is_kept, dtype);
}

/* x if the call drops nothing; VALUE_NONE otherwise, or after failing. */
static value_id untouched(struct aten_call *c, value_id *out_x, double *out_rate)
{
    bool train = aten_bool(c, "train", true);
    *out_x = aten_in(c, aten_has(c, "input") ? "input" : "self");
    *out_rate = aten_float(c, "p", 0.5);
    if (!(*out_rate >= 0 && *out_rate <= 1))
        return b_fail(c->b, ERR_BLUEPRINT, "a probability of %g", *out_rate), VALUE_NONE;
    return train && *out_rate > 0 ? VALUE_NONE : *out_x;
}

bool aten_dropout(struct aten_call *c)
{
    value_id x;
    double rate;
    value_id same = untouched(c, &x, &rate);
    if (aten_failed(c) || x == VALUE_NONE)
        return false;
    return aten_return(c, same != VALUE_NONE ? same : aten_drop(c, x, rate));
}

/* Drops whole channels: x * kept / (1 - p). */
bool aten_feature_dropout(struct aten_call *c)
{
    value_id x;
    double rate;
    value_id same = untouched(c, &x, &rate);
    if (aten_failed(c) || x == VALUE_NONE)
        return false;
    if (same != VALUE_NONE)
        return aten_return(c, same);
    if (aten_rank(c, x) < 2)
        return b_fail(c->b, ERR_SHAPE, "channels are dropped of a tensor of rank %u",
                      aten_rank(c, x)) != VALUE_NONE;
    value_id mask = kept(c, x, rate, true);
    return aten_return(c, b_mul(c->b, x, b_scale(c->b, mask, rate == 1 ? 0 : 1 / (1 - rate))));
}

/* Dropped elements become what SELU is at least; then a line keeps mean and variance as they are
 * for normal x. with: "feature" drops whole channels. */
bool aten_alpha_dropout(struct aten_call *c)
{
    struct builder *b = c->b;
    value_id x;
    double rate;
    value_id same = untouched(c, &x, &rate);
    if (aten_failed(c) || x == VALUE_NONE)
        return false;
    if (same != VALUE_NONE)
        return aten_return(c, same);
    if (rate == 1)
        return aten_return(c, b_scale(b, x, 0));
    value_id mask = kept(c, x, rate, c->op->with[0] != '\0');
    double slope = 1 / sqrt((SELU_LOWEST * SELU_LOWEST * rate + 1) * (1 - rate));
    value_id shift = b_shift(b, b_scale(b, b_shift(b, mask, -1), SELU_LOWEST * slope),
                             SELU_LOWEST * slope * rate);
    return aten_return(c, b_add(b, b_mul(b, x, b_scale(b, mask, slope)), shift));
}

/* bernoulli(x, p): 1 with probability p. Decomposed dropout has it. */
bool aten_bernoulli(struct aten_call *c)
{
    value_id x = aten_in(c, "self");
    double p = aten_float(c, "p", 0.5);
    if (!aten_has(c, "p"))
        return aten_refuse(c, "probabilities in a tensor");
    if (x == VALUE_NONE || aten_failed(c))
        return false;
    if (!(p >= 0 && p <= 1))
        return b_fail(c->b, ERR_BLUEPRINT, "a probability of %g", p) != VALUE_NONE;
    return aten_return(c, kept(c, x, 1 - p, false));
}
