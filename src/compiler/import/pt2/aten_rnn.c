/* LSTM and GRU, unrolled: sequences must have a constant length. The parameters of a layer and
 * direction are w_ih, w_hh and, with biases, b_ih, b_hh; the gates are i, f, g, o and r, z, n. */
#include <string.h>

#include "compiler/import/pt2/pt2_priv.h"

#define MAX_STEPS 1024
#define STATES 2 /* h, and for an LSTM c */

struct rnn {
    struct aten_call *c;
    bool is_lstm, biases, bidirectional, batch_first;
    int64_t layers, steps, gates;
    value_id params[LIMIT_OPERANDS], initial[STATES];
    uint32_t param_count, state_count;
    value_id last[STATES][LIMIT_OPERANDS]; /* final states, by layer and direction */
    uint32_t last_count;
};

/* Concatenates up to MAX_STEPS values along axis 0, LIMIT_OPERANDS at a time. */
static value_id join_steps(struct builder *b, const value_id *parts, int64_t count)
{
    value_id groups[LIMIT_OPERANDS];
    uint32_t used = 0;
    for (int64_t i = 0; i < count; i += LIMIT_OPERANDS) {
        uint32_t size = count - i < LIMIT_OPERANDS ? (uint32_t)(count - i) : LIMIT_OPERANDS;
        groups[used++] = b_concat(b, parts + i, size, 0);
    }
    return used == 1 ? groups[0] : b_concat(b, groups, used, 0);
}

static value_id row(struct builder *b, value_id x, int64_t index)
{
    return b_squeeze(b, b_slice(b, x, 0, b_dim_const(b, index), b_dim_const(b, 1), 1), 0);
}

static value_id gate(struct rnn *r, value_id all, int64_t index)
{
    struct builder *b = r->c->b;
    dim_id size = dim_div_exact(&r->c->p->graph->dims, b_dim(b, all, -1), b_dim_const(b, r->gates));
    return b_slice(b, all, -1, b_dim_mul(b, size, b_dim_const(b, index)), size, 1);
}

static value_id sigmoid_gate(struct rnn *r, value_id all, int64_t index)
{
    value_id x = gate(r, all, index);
    return aten_expand(r->c, "sigmoid", &x, 1, NULL);
}

/* One step. own: the product with the step's input. Replaces the state. */
static void lstm_step(struct rnn *r, value_id own, const value_id *w, value_id state[STATES])
{
    struct builder *b = r->c->b;
    value_id all = b_add(b, own, b_contract(b, state[0], w[1], 0, 1));
    value_id in = sigmoid_gate(r, all, 0), keep = sigmoid_gate(r, all, 1);
    value_id fresh = b_unary(b, PRIM_TANH, gate(r, all, 2)), out = sigmoid_gate(r, all, 3);
    state[1] = b_add(b, b_mul(b, keep, state[1]), b_mul(b, in, fresh));
    state[0] = b_mul(b, out, b_unary(b, PRIM_TANH, state[1]));
}

static void gru_step(struct rnn *r, value_id own, const value_id *w, value_id state[STATES])
{
    struct builder *b = r->c->b;
    value_id old = b_contract(b, state[0], w[1], 0, 1);
    old = r->biases ? b_add(b, old, w[3]) : old;
    value_id both = b_add(b, own, old);
    value_id reset = sigmoid_gate(r, both, 0), keep = sigmoid_gate(r, both, 1);
    value_id fresh = b_add(b, gate(r, own, 2), b_mul(b, reset, gate(r, old, 2)));
    fresh = b_unary(b, PRIM_TANH, fresh);
    state[0] = b_add(b, fresh, b_mul(b, keep, b_sub(b, state[0], fresh)));
}

/* Runs one direction of a layer: x is [steps, batch, input], the result [steps, batch, hidden]. */
static value_id run_direction(struct rnn *r, value_id x, bool backward)
{
    struct builder *b = r->c->b;
    const value_id *w = r->params + r->last_count * (r->biases ? 4 : 2);
    value_id state[STATES] = {VALUE_NONE}, outs[MAX_STEPS];
    for (uint32_t i = 0; i < r->state_count; i++)
        state[i] = row(b, r->initial[i], r->last_count);
    value_id own = b_contract(b, x, w[0], 0, 1);
    if (r->biases)
        own = b_add(b, own, r->is_lstm ? b_add(b, w[2], w[3]) : w[2]);
    for (int64_t n = 0; n < r->steps && !aten_failed(r->c); n++) {
        int64_t at = backward ? r->steps - 1 - n : n;
        if (r->is_lstm)
            lstm_step(r, row(b, own, at), w, state);
        else
            gru_step(r, row(b, own, at), w, state);
        outs[at] = b_unsqueeze(b, state[0], 0);
    }
    if (aten_failed(r->c))
        return VALUE_NONE;
    for (uint32_t i = 0; i < r->state_count; i++)
        r->last[i][r->last_count] = b_unsqueeze(b, state[i], 0);
    r->last_count++;
    return join_steps(b, outs, r->steps);
}

static bool read_states(struct rnn *r)
{
    struct aten_call *c = r->c;
    if (r->is_lstm)
        r->state_count = aten_tensors(c, "hx", r->initial, STATES);
    else
        r->initial[r->state_count++] = aten_in(c, "hx");
    for (uint32_t i = 0; i < r->state_count; i++)
        if (aten_rank(c, r->initial[i]) != 3)
            return aten_failed(c) || c->refused
                       ? false
                       : aten_refuse(c, "states that are not [layers, batch, hidden]");
    return r->state_count == (r->is_lstm ? 2 : 1) ||
           b_fail(c->b, ERR_BLUEPRINT, "%u states", r->state_count);
}

static bool read_rnn(struct rnn *r, value_id x)
{
    struct aten_call *c = r->c;
    r->gates = r->is_lstm ? 4 : 3;
    r->biases = aten_bool(c, "has_biases", true);
    r->bidirectional = aten_bool(c, "bidirectional", false);
    r->batch_first = aten_bool(c, "batch_first", false);
    r->layers = aten_int(c, "num_layers", 1);
    r->param_count = aten_tensors(c, "params", r->params, LIMIT_OPERANDS);
    int64_t each = (r->biases ? 4 : 2) * (r->bidirectional ? 2 : 1);
    if (aten_failed(c) || c->refused || !read_states(r))
        return false;
    if (r->layers < 1 || r->layers > LIMIT_OPERANDS || r->param_count != each * r->layers)
        return aten_refuse(c, "%u parameters: projections are not read", r->param_count);
    if (aten_rank(c, x) != 3)
        return aten_refuse(c, "a sequence without batch");
    for (uint32_t i = 0; i < r->param_count; i++)
        if (aten_rank(c, r->params[i]) < 1 || r->params[i] == VALUE_NONE)
            return b_fail(c->b, ERR_BLUEPRINT, "parameter %u is missing", i);
    if (!dim_is_const(&c->p->graph->dims, b_dim(c->b, x, r->batch_first ? 1 : 0), &r->steps) ||
        r->steps < 1 || r->steps > MAX_STEPS)
        return aten_refuse(c, "sequences whose length is not a constant of at most %d", MAX_STEPS);
    return true;
}

static bool run_rnn(struct aten_call *c, bool is_lstm)
{
    struct builder *b = c->b;
    struct rnn r = {.c = c, .is_lstm = is_lstm};
    if (aten_has(c, "batch_sizes"))
        return aten_refuse(c, "packed sequences");
    if (aten_bool(c, "train", false) && aten_float(c, "dropout", 0) > 0)
        return aten_refuse(c, "the model was exported in training mode; call .eval() first");
    value_id x = aten_in(c, "input");
    if (x == VALUE_NONE || !read_rnn(&r, x))
        return false;
    x = r.batch_first ? b_swap(b, x, 0, 1) : x;
    for (int64_t i = 0; i < r.layers && !aten_failed(c); i++) {
        value_id both[2] = {run_direction(&r, x, false), VALUE_NONE};
        if (r.bidirectional)
            both[1] = run_direction(&r, x, true);
        x = r.bidirectional ? b_concat(b, both, 2, -1) : both[0];
    }
    if (aten_failed(c))
        return false;
    c->out[0] = r.batch_first ? b_swap(b, x, 0, 1) : x;
    for (uint32_t i = 0; i < r.state_count; i++)
        c->out[1 + i] = b_concat(b, r.last[i], r.last_count, 0);
    c->out_count = 1 + r.state_count;
    return !aten_failed(c);
}

bool aten_lstm(struct aten_call *c)
{
    return run_rnn(c, true);
}

bool aten_gru(struct aten_call *c)
{
    return run_rnn(c, false);
}
