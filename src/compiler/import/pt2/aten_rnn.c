/* LSTM, GRU and RNN. The parameters of a layer and direction are w_ih, w_hh and, with biases, b_ih,
 * b_hh; the gates are i, f, g, o and r, z, n. The products with the inputs of all steps come before
 * the first one. The steps are trips of a loop (graph/loops.h); up to UNROLLED are unrolled. */
#include <string.h>

#include "compiler/import/pt2/pt2_training_priv.h"
#include "graph/loops.h"

#define UNROLLED 2 /* most steps that are unrolled, as in ONNX's reader */
#define STATES 2   /* h, and for an LSTM c */

struct rnn;
/* One step. own: the product with the step's input. Replaces the state. */
typedef void step_fn(struct rnn *r, value_id own, const value_id *w, value_id state[STATES]);

struct rnn {
    struct aten_call *c;
    step_fn *step;
    bool is_lstm, biases, bidirectional, batch_first;
    bool looped; /* the steps are a loop: values used several times in a step are stored */
    int64_t layers, gates;
    dim_id steps;
    value_id params[LIMIT_OPERANDS], initial[STATES];
    uint32_t param_count, state_count;
    value_id last[STATES][LIMIT_OPERANDS]; /* final states, by layer and direction */
    uint32_t last_count;
};

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

static value_id stored(struct rnn *r, value_id x)
{
    return r->looped ? b_loop_value(r->c->b, x) : x;
}

static void lstm_step(struct rnn *r, value_id own, const value_id *w, value_id state[STATES])
{
    struct builder *b = r->c->b;
    value_id all = stored(r, b_add(b, own, b_contract(b, state[0], w[1], 0, 1)));
    value_id in = sigmoid_gate(r, all, 0), keep = sigmoid_gate(r, all, 1);
    value_id fresh = b_unary(b, PRIM_TANH, gate(r, all, 2)), out = sigmoid_gate(r, all, 3);
    state[1] = stored(r, b_add(b, b_mul(b, keep, state[1]), b_mul(b, in, fresh)));
    state[0] = b_mul(b, out, b_unary(b, PRIM_TANH, state[1]));
}

/* The product with w_hh, and b_hh. */
static value_id recur(struct rnn *r, const value_id *w, value_id state)
{
    value_id y = b_contract(r->c->b, state, w[1], 0, 1);
    return r->biases ? b_add(r->c->b, y, w[3]) : y;
}

static void gru_step(struct rnn *r, value_id own, const value_id *w, value_id state[STATES])
{
    struct builder *b = r->c->b;
    value_id old = stored(r, recur(r, w, state[0]));
    value_id both = b_add(b, own, old);
    value_id reset = sigmoid_gate(r, both, 0), keep = sigmoid_gate(r, both, 1);
    value_id fresh = b_add(b, gate(r, own, 2), b_mul(b, reset, gate(r, old, 2)));
    fresh = b_unary(b, PRIM_TANH, fresh);
    state[0] = b_add(b, fresh, b_mul(b, keep, b_sub(b, state[0], fresh)));
}

static void tanh_step(struct rnn *r, value_id own, const value_id *w, value_id state[STATES])
{
    struct builder *b = r->c->b;
    state[0] = b_unary(b, PRIM_TANH, b_add(b, own, recur(r, w, state[0])));
}

static void relu_step(struct rnn *r, value_id own, const value_id *w, value_id state[STATES])
{
    struct builder *b = r->c->b;
    state[0] = b_max_const(b, b_add(b, own, recur(r, w, state[0])), 0);
}

/* Unrolls the steps. The result has their states, [steps, batch, hidden]. */
static value_id unroll(struct rnn *r, value_id own, const value_id *w, bool backward, int64_t steps,
                       value_id state[STATES])
{
    struct builder *b = r->c->b;
    value_id outs[UNROLLED];
    for (int64_t n = 0; n < steps && !aten_failed(r->c); n++) {
        int64_t at = backward ? steps - 1 - n : n;
        r->step(r, row(b, own, at), w, state);
        outs[at] = b_unsqueeze(b, state[0], 0);
    }
    return aten_failed(r->c) ? VALUE_NONE : b_concat(b, outs, (uint32_t)steps, 0);
}

/* The steps as trips of a loop; backward, what they read and what they make is reversed outside. */
static value_id loop(struct rnn *r, value_id own, const value_id *w, bool backward,
                     value_id state[STATES])
{
    struct builder *b = r->c->b;
    uint32_t number = b_loop_begin(b);
    value_id before[STATES], results[STATES + 1];
    value_id x = b_take(b, backward ? b_reverse(b, own, 0) : own, b_iter(b, number), 0);
    for (uint32_t i = 0; i < r->state_count; i++)
        state[i] = before[i] = b_state(b, number, i, state[i]);
    r->looped = true;
    r->step(r, x, w, state);
    r->looped = false;
    if (aten_failed(r->c))
        return VALUE_NONE;
    value_id out = b_loop_value(b, state[0]);
    const struct loop_spec spec = {.loop = number,
                                   .trips = r->steps,
                                   .state = before,
                                   .next = state,
                                   .states = r->state_count,
                                   .row = &out,
                                   .rows = 1};
    if (aten_failed(r->c) || !b_loop_end(b, &spec, results))
        return VALUE_NONE;
    memcpy(state, results, r->state_count * sizeof *state);
    return backward ? b_reverse(b, results[r->state_count], 0) : results[r->state_count];
}

/* Runs one direction of a layer: x is [steps, batch, input], the result [steps, batch, hidden]. */
static value_id run_direction(struct rnn *r, value_id x, bool backward)
{
    struct builder *b = r->c->b;
    const value_id *w = r->params + r->last_count * (r->biases ? 4 : 2);
    value_id state[STATES] = {VALUE_NONE};
    int64_t steps = 0;
    for (uint32_t i = 0; i < r->state_count; i++)
        state[i] = row(b, r->initial[i], r->last_count);
    value_id own = b_contract(b, x, w[0], 0, 1);
    if (r->biases)
        own = b_add(b, own, r->is_lstm ? b_add(b, w[2], w[3]) : w[2]);
    if (aten_failed(r->c))
        return VALUE_NONE;
    bool few =
        dim_is_const(&r->c->p->graph->dims, r->steps, &steps) && steps > 0 && steps <= UNROLLED;
    value_id y = few ? unroll(r, own, w, backward, steps, state) : loop(r, own, w, backward, state);
    if (aten_failed(r->c))
        return VALUE_NONE;
    for (uint32_t i = 0; i < r->state_count; i++)
        r->last[i][r->last_count] = b_unsqueeze(b, state[i], 0);
    r->last_count++;
    return y;
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
    r->steps = b_dim(c->b, x, r->batch_first ? 1 : 0);
    return true;
}

static bool run_rnn(struct aten_call *c, step_fn *step, int64_t gates)
{
    struct builder *b = c->b;
    struct rnn r = {.c = c, .step = step, .is_lstm = step == lstm_step, .gates = gates};
    if (aten_has(c, "batch_sizes"))
        return aten_refuse(c, "packed sequences");
    double rate = aten_bool(c, "train", false) ? aten_float(c, "dropout", 0) : 0;
    value_id x = aten_in(c, "input");
    if (x == VALUE_NONE || !read_rnn(&r, x))
        return false;
    x = r.batch_first ? b_swap(b, x, 0, 1) : x;
    for (int64_t i = 0; i < r.layers && !aten_failed(c); i++) {
        value_id both[2] = {run_direction(&r, x, false), VALUE_NONE};
        if (r.bidirectional)
            both[1] = run_direction(&r, x, true);
        x = r.bidirectional ? b_concat(b, both, 2, -1) : both[0];
        if (i + 1 < r.layers)
            x = aten_drop(c, x, rate);
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
    return run_rnn(c, lstm_step, 4);
}

bool aten_gru(struct aten_call *c)
{
    return run_rnn(c, gru_step, 3);
}

bool aten_rnn_tanh(struct aten_call *c)
{
    return run_rnn(c, tanh_step, 1);
}

bool aten_rnn_relu(struct aten_call *c)
{
    return run_rnn(c, relu_step, 1);
}
