/* RNN, GRU and LSTM.
 *
 * The products with the inputs of all steps are one contraction before the first step; each step
 * adds the product with its state. The steps are trips of a loop; up to UNROLLED steps are
 * unrolled. Where a sequence is shorter than the longest one, the state does not change any more
 * and the result is 0. */
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_failure_priv.h"
#include "graph/loops.h"

#define UNROLLED 2         /* most steps that are unrolled */
#define UNROLLED_MOST 1024 /* the same inside the body of a loop, which can contain none */

enum kind { KIND_RNN = 1, KIND_GRU = 3, KIND_LSTM = 4 }; /* the values are the numbers of gates */

typedef value_id activation_fn(struct onnx_call *c, value_id x, double alpha, double beta);

struct activation {
    activation_fn *apply;
    double alpha, beta;
};

/* One direction of a node. */
struct cell {
    struct onnx_call *c;
    enum kind kind;
    int64_t hidden;
    dim_id steps;
    bool quantized, reversed, linear_before_reset, input_forget;
    bool looped; /* the steps are a loop: values used several times in a step are stored */
    double clip; /* 0: none */
    struct activation f, g, h;
    value_id inputs;        /* of all steps: [S, B, gates*H], x·Wᵀ + bias */
    value_id weights;       /* [gates*H, H]; quantised: i32 [H, gates*H] */
    value_id scale;         /* of quantised weights: scalar or [gates*H]; or VALUE_NONE */
    value_id bias;          /* [gates*H], of the product with the state; or VALUE_NONE */
    value_id peephole;      /* [3*H]: i, o, f; or VALUE_NONE */
    value_id lengths;       /* i64 [B, 1]; or VALUE_NONE */
    value_id state, memory; /* [B, H] */
};

static value_id sigmoid(struct onnx_call *c, value_id x, double alpha, double beta)
{
    (void)alpha;
    (void)beta;
    return onnx_expand(c, "sigmoid", &x, 1, NULL);
}

static value_id tanh_of(struct onnx_call *c, value_id x, double alpha, double beta)
{
    (void)alpha;
    (void)beta;
    return b_unary(c->b, PRIM_TANH, x);
}

static value_id relu(struct onnx_call *c, value_id x, double alpha, double beta)
{
    (void)alpha;
    (void)beta;
    return b_max_const(c->b, x, 0);
}

static value_id softsign(struct onnx_call *c, value_id x, double alpha, double beta)
{
    (void)alpha;
    (void)beta;
    return onnx_expand(c, "softsign", &x, 1, NULL);
}

static value_id affine(struct onnx_call *c, value_id x, double alpha, double beta)
{
    return b_shift(c->b, b_scale(c->b, x, alpha), beta);
}

static value_id leaky_relu(struct onnx_call *c, value_id x, double alpha, double beta)
{
    (void)beta;
    value_id negative = b_binary(c->b, PRIM_LT, x, b_const_like(c->b, x, 0));
    return b_select(c->b, negative, b_scale(c->b, x, alpha), x);
}

static value_id hard_sigmoid(struct onnx_call *c, value_id x, double alpha, double beta)
{
    return b_min_const(c->b, b_max_const(c->b, affine(c, x, alpha, beta), 0), 1);
}

static value_id scaled_tanh(struct onnx_call *c, value_id x, double alpha, double beta)
{
    return b_scale(c->b, b_unary(c->b, PRIM_TANH, b_scale(c->b, x, beta)), alpha);
}

static const struct {
    const char *name;
    struct activation usual;
} activations[] = {
    {"Sigmoid", {sigmoid, 0, 0}},
    {"Tanh", {tanh_of, 0, 0}},
    {"Relu", {relu, 0, 0}},
    {"Softsign", {softsign, 0, 0}},
    {"Affine", {affine, 1, 0}},
    {"LeakyRelu", {leaky_relu, 0.01, 0}},
    {"HardSigmoid", {hard_sigmoid, 0.2, 0.5}},
    {"ScaledTanh", {scaled_tanh, 1, 1}},
};

static double number_at(struct onnx_call *c, const char *name, uint32_t index, double absent)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, name);
    return attr && index < attr->n_floats ? (double)attr->floats[index] : absent;
}

/* Activation `index` of the attribute's list, or the default by its name. */
static bool find_activation(struct onnx_call *c, uint32_t index, const char *usual,
                            struct activation *out)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, "activations");
    const char *name = usual;
    if (attr && index < attr->n_strings)
        name = arena_strndup(c->o->arena, (const char *)attr->strings[index].data,
                             attr->strings[index].len);
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        if (strcmp(activations[i].name, name) != 0)
            continue;
        *out = activations[i].usual;
        out->alpha = number_at(c, "activation_alpha", index, out->alpha);
        out->beta = number_at(c, "activation_beta", index, out->beta);
        return true;
    }
    return onnx_refuse(c, "activation '%.40s'", name);
}

/* x[index]: removes the first dim. */
static value_id at(struct onnx_call *c, value_id x, int64_t index)
{
    struct builder *b = c->b;
    return b_squeeze(b, b_slice(b, x, 0, b_dim_const(b, index), b_dim_const(b, 1), 1), 0);
}

/* Gate `index` of a value whose last dim has the gates. */
static value_id gate(const struct cell *cell, value_id x, int64_t index)
{
    struct builder *b = cell->c->b;
    return b_slice(b, x, -1, b_dim_const(b, index * cell->hidden), b_dim_const(b, cell->hidden), 1);
}

static value_id clipped(const struct cell *cell, value_id x)
{
    if (cell->clip == 0)
        return x;
    return b_min_const(cell->c->b, b_max_const(cell->c->b, x, -cell->clip), cell->clip);
}

static value_id apply(const struct cell *cell, const struct activation *f, value_id x)
{
    return f->apply(cell->c, clipped(cell, x), f->alpha, f->beta);
}

/* x·W for a quantised W; x is quantised to 8 bits by its range. */
static value_id integer_product(struct onnx_call *c, value_id x, value_id weights, value_id scale)
{
    struct builder *b = c->b;
    value_id x_scale = VALUE_NONE, zero = VALUE_NONE;
    value_id whole = onnx_quantize_by_range(c, x, &x_scale, &zero);
    whole = b_sub(b, b_cast(b, whole, DTYPE_I32), b_cast(b, zero, DTYPE_I32));
    if (onnx_failed(c))
        return VALUE_NONE;
    value_id product = onnx_expand(c, "matmul", (value_id[]){whole, weights}, 2, NULL);
    return b_mul(b, b_cast(b, product, onnx_type(c, x)), b_mul(b, x_scale, scale));
}

/* state·Wᵀ + bias, for gates from … from+count. */
static value_id recur(const struct cell *cell, value_id state, int64_t from, int64_t count)
{
    struct builder *b = cell->c->b;
    dim_id start = b_dim_const(b, from * cell->hidden), size = b_dim_const(b, count * cell->hidden);
    value_id product =
        cell->scale != VALUE_NONE
            ? integer_product(cell->c, state, cell->weights, cell->scale) /* always of all gates */
            : b_contract(b, state, b_slice(b, cell->weights, 0, start, size, 1), 0, 1);
    if (cell->bias == VALUE_NONE)
        return product;
    return b_add(b, product, b_slice(b, cell->bias, 0, start, size, 1));
}

static value_id step_rnn(struct cell *cell, value_id x)
{
    return apply(cell, &cell->f, b_add(cell->c->b, x, recur(cell, cell->state, 0, 1)));
}

static value_id step_gru(struct cell *cell, value_id x)
{
    struct builder *b = cell->c->b;
    value_id both = recur(cell, cell->state, 0, 2), hidden;
    value_id update = apply(cell, &cell->f, b_add(b, gate(cell, x, 0), gate(cell, both, 0)));
    value_id reset = apply(cell, &cell->f, b_add(b, gate(cell, x, 1), gate(cell, both, 1)));
    if (cell->linear_before_reset)
        hidden = b_mul(b, reset, recur(cell, cell->state, 2, 1));
    else
        hidden = recur(cell, b_mul(b, reset, cell->state), 2, 1);
    value_id fresh = apply(cell, &cell->g, b_add(b, gate(cell, x, 2), hidden));
    value_id kept = b_mul(b, update, cell->state);
    return b_add(b, b_sub(b, fresh, b_mul(b, update, fresh)), kept);
}

/* Adds the peephole connection from the memory to a gate's sum. */
static value_id peep(const struct cell *cell, value_id sum, int64_t index, value_id memory)
{
    struct builder *b = cell->c->b;
    if (cell->peephole == VALUE_NONE)
        return sum;
    return b_add(b, sum, b_mul(b, gate(cell, cell->peephole, index), memory));
}

static value_id step_lstm(struct cell *cell, value_id x, value_id *out_memory)
{
    struct builder *b = cell->c->b;
    value_id sum = b_add(b, x, recur(cell, cell->state, 0, 4));
    if (cell->looped)
        sum = b_loop_value(b, sum); /* stored: one kernel computes it for all gates */
    value_id in = apply(cell, &cell->f, peep(cell, gate(cell, sum, 0), 0, cell->memory));
    value_id forget = cell->input_forget
                          ? b_shift(b, b_neg(b, in), 1)
                          : apply(cell, &cell->f, peep(cell, gate(cell, sum, 2), 2, cell->memory));
    value_id fresh = apply(cell, &cell->g, gate(cell, sum, 3));
    value_id memory = b_add(b, b_mul(b, forget, cell->memory), b_mul(b, in, fresh));
    if (cell->looped)
        memory = b_loop_value(b, memory);
    value_id out = apply(cell, &cell->f, peep(cell, gate(cell, sum, 1), 1, memory));
    *out_memory = memory;
    return b_mul(b, out, cell->h.apply(cell->c, memory, cell->h.alpha, cell->h.beta));
}

/* One step: x is the product with its input, now its number. Returns its row of Y. */
static value_id step(struct cell *cell, value_id x, value_id now)
{
    struct builder *b = cell->c->b;
    value_id memory = cell->memory, state, out;
    if (cell->kind == KIND_RNN)
        state = step_rnn(cell, x);
    else
        state = cell->kind == KIND_GRU ? step_gru(cell, x) : step_lstm(cell, x, &memory);
    out = state;
    if (cell->lengths != VALUE_NONE) {
        value_id running = b_binary(b, PRIM_LT, now, cell->lengths);
        out = b_select(b, running, state, b_const_like(b, state, 0));
        state = b_select(b, running, state, cell->state);
        if (cell->kind == KIND_LSTM)
            memory = b_select(b, running, memory, cell->memory);
    }
    cell->state = state;
    cell->memory = memory;
    return out;
}

/* Unrolls the steps. Y: [S, 1, B, H]. */
static value_id unroll(struct cell *cell, int64_t steps)
{
    value_id *outputs = ARENA_ARRAY(cell->c->o->arena, value_id, steps);
    for (int64_t i = 0; i < steps && !onnx_failed(cell->c); i++) {
        int64_t t = cell->reversed ? steps - 1 - i : i;
        outputs[t] =
            step(cell, at(cell->c, cell->inputs, t), b_const(cell->c->b, DTYPE_I64, (double)t));
    }
    return b_unsqueeze(cell->c->b, onnx_stack(cell->c, outputs, (uint32_t)steps, 0), 1);
}

/* The steps as trips of a loop; in the backward direction, inputs and rows are reversed outside the
 * loop. */
static value_id loop(struct cell *cell)
{
    struct builder *b = cell->c->b;
    uint32_t number = b_loop_begin(b), states = cell->kind == KIND_LSTM ? 2 : 1;
    value_id inputs = cell->reversed ? b_reverse(b, cell->inputs, 0) : cell->inputs;
    value_id now = b_iter(b, number), results[4], guard = cell->c->o->guard;
    value_id x = b_take(b, inputs, now, 0);
    cell->looped = true;
    value_id before[3] = {b_state(b, number, 0, cell->state)};
    cell->state = before[0];
    if (states == 2)
        cell->memory = before[1] = b_state(b, number, 1, cell->memory);
    if (cell->reversed)
        now = b_sub(b, b_size(b, dim_sub(&b->graph->dims, cell->steps, b_dim_const(b, 1))), now);
    value_id row = b_unsqueeze(b, b_loop_value(b, step(cell, x, now)), 0);
    value_id after[3] = {cell->state, cell->memory};
    struct loop_spec spec = {.loop = number,
                             .trips = cell->steps,
                             .state = before,
                             .next = after,
                             .states = states,
                             .row = &row,
                             .rows = 1};
    if (guard != VALUE_NONE) { /* no trip where the branch is not taken */
        before[states] = b_state(b, number, states, guard);
        after[states] = b_const(b, DTYPE_BOOL, 1);
        spec.condition = ++spec.states;
    }
    if (onnx_failed(cell->c) || !b_loop_end(b, &spec, results))
        return VALUE_NONE;
    cell->state = results[0];
    if (states == 2)
        cell->memory = results[1];
    return cell->reversed ? b_reverse(b, results[spec.states], 0) : results[spec.states];
}

static value_id run(struct cell *cell)
{
    int64_t steps = 0;
    bool inside = cell->c->o->in_loop > 0;
    bool known = onnx_is_const(&cell->c->b->graph->dims, cell->steps, &steps) && steps > 0;
    if (known && steps <= (inside ? UNROLLED_MOST : UNROLLED))
        return unroll(cell, steps);
    if (!inside)
        return loop(cell);
    onnx_refuse(cell->c, "more than %d steps, or a number that is not constant, in a loop's body",
                UNROLLED_MOST);
    return VALUE_NONE;
}

static bool read_activations(struct cell *cell, uint32_t direction)
{
    static const char *const usual[][3] = {
        [KIND_RNN] = {"Tanh"},
        [KIND_GRU] = {"Sigmoid", "Tanh"},
        [KIND_LSTM] = {"Sigmoid", "Tanh", "Tanh"},
    };
    struct activation *to[3] = {&cell->f, &cell->g, &cell->h};
    uint32_t count = cell->kind == KIND_RNN ? 1 : cell->kind == KIND_GRU ? 2 : 3;
    for (uint32_t i = 0; i < count; i++)
        if (!find_activation(cell->c, direction * count + i, usual[cell->kind][i], to[i]))
            return false;
    return true;
}

/* The part of an optional operand for this direction; or VALUE_NONE. */
static value_id operand(struct onnx_call *c, uint32_t index, uint32_t direction)
{
    return onnx_given(c, index) ? at(c, c->in[index], direction) : VALUE_NONE;
}

/* An initial state [B, H]: the operand, or zeros; in layout 1 the batch is the first dim. */
static value_id initial(struct cell *cell, uint32_t index, uint32_t direction, dim_id batch)
{
    struct onnx_call *c = cell->c;
    struct builder *b = c->b;
    dim_id shape[2] = {batch, b_dim_const(b, cell->hidden)};
    if (!onnx_given(c, index))
        return b_broadcast_to(b, b_const_like(b, c->in[0], 0), shape, 2);
    value_id given = c->in[index];
    return at(c, onnx_int(c, "layout", 0) != 0 ? b_swap(b, given, 0, 1) : given, direction);
}

/* Quantised weights [K, gates*H], less their zero points; zero point and scale are one for the
 * direction, or one for each column. */
static value_id integer_weights(struct onnx_call *c, uint32_t index, uint32_t zero,
                                uint32_t direction)
{
    struct builder *b = c->b;
    value_id weights = b_cast(b, at(c, c->in[index], direction), DTYPE_I32);
    return b_sub(b, weights, b_cast(b, at(c, c->in[zero], direction), DTYPE_I32));
}

static bool begin(struct cell *cell, value_id x, uint32_t direction)
{
    struct onnx_call *c = cell->c;
    struct builder *b = c->b;
    int64_t gates = cell->kind, width = gates * cell->hidden;
    dim_id all = b_dim_const(b, width), zero = b_dim_const(b, 0);
    value_id bias = operand(c, 3, direction);
    if (cell->quantized) {
        cell->weights = integer_weights(c, 2, 11, direction);
        cell->scale = at(c, c->in[10], direction);
        cell->inputs =
            integer_product(c, x, integer_weights(c, 1, 9, direction), at(c, c->in[8], direction));
    } else {
        cell->weights = at(c, c->in[2], direction);
        cell->inputs = b_contract(b, x, at(c, c->in[1], direction), 0, 1);
    }
    cell->bias = VALUE_NONE;
    if (bias != VALUE_NONE && cell->kind == KIND_GRU) {
        cell->inputs = b_add(b, cell->inputs, b_slice(b, bias, 0, zero, all, 1));
        cell->bias = b_slice(b, bias, 0, all, all, 1);
    } else if (bias != VALUE_NONE) { /* both biases are added at once */
        value_id both =
            b_add(b, b_slice(b, bias, 0, zero, all, 1), b_slice(b, bias, 0, all, all, 1));
        cell->inputs = b_add(b, cell->inputs, both);
    }
    if (onnx_given(c, 4)) {
        value_id lengths = b_cast(b, c->in[4], DTYPE_I64);
        cell->lengths = b_unsqueeze(b, lengths, 1);
    }
    dim_id batch = b_dim(b, x, 1);
    cell->state = initial(cell, 5, direction, batch);
    if (cell->kind == KIND_LSTM) {
        cell->memory = initial(cell, 6, direction, batch);
        cell->peephole = operand(c, 7, direction);
    }
    return !onnx_failed(c) && read_activations(cell, direction);
}

/* Returns Y [S, D, B, H] and the last states [D, B, H]; in layout 1 the batch is the first dim. */
static bool finish(struct onnx_call *c, const value_id *y, const value_id *states,
                   const value_id *memories, uint32_t directions, enum kind kind)
{
    struct builder *b = c->b;
    c->out[0] = directions == 1 ? y[0] : b_concat(b, y, directions, 1);
    c->out[1] = onnx_stack(c, states, directions, 0);
    c->out_count = 2;
    if (kind == KIND_LSTM)
        c->out[c->out_count++] = onnx_stack(c, memories, directions, 0);
    if (onnx_failed(c) || onnx_int(c, "layout", 0) == 0)
        return !onnx_failed(c);
    c->out[0] = b_transpose(b, c->out[0], (const uint8_t[]){2, 0, 1, 3});
    for (uint32_t i = 1; i < c->out_count; i++)
        c->out[i] = b_swap(b, c->out[i], 0, 1);
    return !onnx_failed(c);
}

/* Checks the operands' shapes against those of the input and the hidden size. */
static bool check_shapes(struct onnx_call *c, value_id x, enum kind kind, int64_t hidden,
                         uint32_t directions)
{
    struct builder *b = c->b;
    int64_t told = onnx_int(c, "hidden_size", hidden), gates = (int64_t)kind * hidden;
    bool batch_first = onnx_int(c, "layout", 0) != 0;
    dim_id ways = b_dim_const(b, directions), size = b_dim_const(b, hidden), batch = b_dim(b, x, 1);
    if (told != hidden)
        return b_fail(b, ERR_SHAPE, "hidden_size is %lld, and R has weights of %lld",
                      (long long)told, (long long)hidden);
    const dim_id w[] = {ways, b_dim_const(b, gates), b_dim(b, x, 2)}, r[] = {ways, w[1], size},
                 bias[] = {ways, b_dim_const(b, 2 * gates)},
                 peephole[] = {ways, b_dim_const(b, 3 * hidden)},
                 state[] = {batch_first ? batch : ways, batch_first ? ways : batch, size};
    return onnx_expect_shape(c, 1, "W", w, 3) && onnx_expect_shape(c, 2, "R", r, 3) &&
           onnx_expect_shape(c, 3, "B", bias, 2) &&
           onnx_expect_shape(c, 4, "sequence_lens", &batch, 1) &&
           onnx_expect_shape(c, 5, "initial_h", state, 3) &&
           (kind != KIND_LSTM || (onnx_expect_shape(c, 6, "initial_c", state, 3) &&
                                  onnx_expect_shape(c, 7, "P", peephole, 2)));
}

static bool recurrent(struct onnx_call *c, enum kind kind, bool quantized)
{
    struct builder *b = c->b;
    const char *way = onnx_text(c, "direction", "forward");
    uint32_t directions = strcmp(way, "bidirectional") == 0 ? 2 : 1;
    value_id x = onnx_int(c, "layout", 0) != 0 ? b_swap(b, c->in[0], 0, 1) : c->in[0];
    value_id y[2], states[2], memories[2];
    int64_t hidden = 0;
    if (onnx_rank(c, x) != 3 || onnx_rank(c, c->in[1]) != 3 || onnx_rank(c, c->in[2]) != 3)
        return b_fail(b, ERR_SHAPE, "operands of another rank than 3");
    if (!onnx_is_const(&b->graph->dims, b_dim(b, c->in[2], quantized ? 1 : 2), &hidden))
        return onnx_refuse(c, "weights of a size that is not constant");
    if (!quantized && !check_shapes(c, x, kind, hidden, directions))
        return false;
    for (uint32_t d = 0; d < directions; d++) {
        struct cell cell = {.c = c,
                            .kind = kind,
                            .quantized = quantized,
                            .hidden = hidden,
                            .steps = b_dim(b, x, 0),
                            .reversed = d == 1 || strcmp(way, "reverse") == 0,
                            .linear_before_reset = onnx_int(c, "linear_before_reset", 0) != 0,
                            .input_forget = onnx_int(c, "input_forget", 0) != 0,
                            .clip = onnx_float(c, "clip", 0)};
        if (!begin(&cell, x, d))
            return false;
        y[d] = run(&cell);
        states[d] = cell.state;
        memories[d] = cell.memory;
        if (onnx_failed(c))
            return false;
    }
    return finish(c, y, states, memories, directions, kind);
}

bool onnx_rnn(struct onnx_call *c)
{
    return recurrent(c, KIND_RNN, false);
}

bool onnx_gru(struct onnx_call *c)
{
    return recurrent(c, KIND_GRU, false);
}

bool onnx_lstm(struct onnx_call *c)
{
    return recurrent(c, KIND_LSTM, false);
}

/* Quantised weights, [D, K, 4*H]; inputs and states are quantised too, each time by the range of
 * the whole operand of the product. */
bool onnx_dynamic_quantize_lstm(struct onnx_call *c)
{
    for (uint32_t i = 8; i < 12; i++)
        if (!onnx_given(c, i))
            return b_fail(c->b, ERR_BLUEPRINT, "input %u is left out", i);
    /* The range would have to ignore the rows of sequences that have ended. */
    if (onnx_given(c, 4))
        return onnx_refuse(c, "sequences of different lengths");
    return recurrent(c, KIND_LSTM, true);
}
