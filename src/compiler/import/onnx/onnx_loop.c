/* Loop and Scan.
 *
 * Few trips are unrolled: the body is translated once per trip in a scope of its own, so that
 * folding sees constants that differ from trip to trip, and states may change their shapes. Many,
 * or a number that hangs on named dims, are a loop of the graph (graph/loops.h); inside the body of
 * one there is no other. So is a loop whose condition, or trip count, is only known when the model
 * runs: it makes at most MOST_TRIPS trips while a state says so. Rows of its trips would make a
 * result whose length hangs on values, and are refused. Few trips inside another loop are unrolled
 * all the same: a trip that is not made leaves the states as they are. */
#include <onnx.pb-c.h>
#include <string.h>

#include "compiler/import/onnx/onnx_bodies_priv.h"
#include "graph/loops.h"

#define MAX_TRIPS 1024
#define ALL_TRIPS 16384 /* most that are unrolled in a model: loops in loops multiply */
#define FEW_TRIPS 32    /* most trips that are unrolled if a loop is possible */
#define MAX_STATES 64
#define MOST_TRIPS INT32_MAX /* of a loop that ends at run time */

/* The states, which each trip passes to the next, and the rows that each trip adds to the scan
 * outputs. */
struct unrolled {
    const Onnx__GraphProto *body;
    uint32_t states, scans;
    value_id state[MAX_STATES];
    VEC(value_id) rows[OP_MAX_OUTPUTS]; /* by scan output: one value for each trip */
    uint32_t trips;
    value_id empty[OP_MAX_OUTPUTS]; /* by scan output, if there is no trip: a tensor without rows */
};

static bool prepare(struct onnx_call *c, uint32_t states, uint32_t body_extra, struct unrolled *u)
{
    const Onnx__AttributeProto *attr = onnx_attr(c, "body");
    if (!attr || !attr->g)
        return b_fail(c->b, ERR_BLUEPRINT, "attribute 'body' is no graph");
    u->body = attr->g;
    u->states = states;
    if (states > MAX_STATES || u->body->n_output < states + body_extra ||
        u->body->n_output > OP_MAX_OUTPUTS)
        return b_fail(c->b, ERR_BLUEPRINT, "the body has %zu outputs for %u states",
                      u->body->n_output, states);
    u->scans = (uint32_t)u->body->n_output - states - body_extra;
    return true;
}

/* Translates one trip. in: the body's inputs; out: its outputs. */
static bool trip(struct onnx_call *c, struct unrolled *u, const value_id *in, uint32_t count,
                 uint32_t body_extra, value_id *out)
{
    bool refused = false;
    if (u->trips == MAX_TRIPS)
        return onnx_refuse(c, "more than %d trips", MAX_TRIPS);
    if (c->o->trips == ALL_TRIPS)
        return onnx_refuse(c, "more than %d trips of all loops together that are unrolled",
                           ALL_TRIPS);
    c->o->trips++;
    if (!onnx_body(c, u->body, in, count, out, &refused))
        return false;
    if (refused)
        return onnx_refuse(c, "a node of its body cannot be read");
    for (uint32_t i = 0; i < u->states; i++)
        u->state[i] = out[body_extra + i];
    for (uint32_t i = 0; i < u->scans; i++)
        VEC_PUSH(c->o->arena, &u->rows[i], out[body_extra + u->states + i]);
    u->trips++;
    return true;
}

/* If there is no trip, the body is translated once all the same, for the types and shapes of its
 * rows; its values are not used. */
static bool no_trip(struct onnx_call *c, struct unrolled *u, const value_id *in, uint32_t count,
                    uint32_t body_extra)
{
    struct builder *b = c->b;
    struct unrolled trial = *u;
    value_id out[OP_MAX_OUTPUTS];
    if (u->scans == 0)
        return true;
    if (!trip(c, &trial, in, count, body_extra, out))
        return false;
    for (uint32_t i = 0; i < u->scans && !onnx_failed(c); i++) {
        value_id row = out[body_extra + u->states + i];
        uint32_t rank = onnx_rank(c, row);
        dim_id shape[LIMIT_RANK] = {b_dim_const(b, 0)};
        if (rank == LIMIT_RANK)
            return b_fail(b, ERR_LIMIT, "rank %u, at most %d", rank + 1, LIMIT_RANK);
        for (uint32_t d = 0; d < rank; d++)
            shape[d + 1] = b_dim(b, row, d);
        u->empty[i] = b_broadcast_to(b, b_const_like(b, row, 0), shape, rank + 1);
    }
    return !onnx_failed(c);
}

/* The value of a condition: 1, 0, or -1 if it is not known. */
static int truth(struct onnx_call *c, value_id condition)
{
    const struct known *known = onnx_known(c->o, condition);
    int64_t value = 0;
    if (!known->is_known || known->count != 1 || !known->dims ||
        !onnx_is_const(&c->o->graph->dims, known->dims[0], &value))
        return -1;
    return value != 0;
}

/* The inputs of a body; those from index `states` on are the states. */
struct trip_inputs {
    value_id in[MAX_STATES + 2];
    uint32_t count, states;
};

/* Translates the body of a loop of the graph; first adds the states to the inputs. */
static bool loop_body(struct onnx_call *c, struct unrolled *u, uint32_t number,
                      struct trip_inputs *inputs, value_id *out)
{
    bool refused = false;
    for (uint32_t i = 0; i < u->states; i++)
        inputs->in[inputs->states + i] = b_state(c->b, number, i, u->state[i]);
    c->o->in_loop++;
    bool ok = !onnx_failed(c) && onnx_body(c, u->body, inputs->in, inputs->count, out, &refused);
    c->o->in_loop--;
    return ok && (!refused || onnx_refuse(c, "a node of its body cannot be read"));
}

/* How a loop ends at run time, after at most so many trips; VALUE_NONE: it makes all of them. */
struct ending {
    dim_id trips;
    value_id first, next; /* 0-d bools: whether there is a trip, and whether one more */
};

static value_id both(struct builder *b, value_id x, value_id y)
{
    if (x == VALUE_NONE || y == VALUE_NONE)
        return x == VALUE_NONE ? y : x;
    return b_binary(b, PRIM_AND, x, y);
}

static bool same_shape(struct onnx_call *c, value_id a, value_id b)
{
    const struct node *x = graph_node(c->b->graph, a), *y = graph_node(c->b->graph, b);
    return x->dtype == y->dtype && x->rank == y->rank &&
           (x->rank == 0 || memcmp(x->shape, y->shape, x->rank * sizeof *x->shape) == 0);
}

static bool check_states(struct onnx_call *c, const struct unrolled *u, const value_id *state,
                         const value_id *after)
{
    for (uint32_t i = 0; i < u->states; i++) {
        const char *name = i < u->body->n_output ? u->body->output[i]->name : NULL;
        if (u->body->n_output > u->states + u->scans) /* the condition is the first output */
            name = u->body->output[i + 1]->name;
        if (!same_shape(c, state[i], after[i]))
            return onnx_refuse(c,
                               "a state whose type or shape changes from trip to trip ('%.60s'): "
                               "it keeps them in loops of more than %d trips, or that end at run "
                               "time. Let it have its final size from the start, and each trip "
                               "write its part (ScatterND)",
                               name ? name : "", FEW_TRIPS);
    }
    return true;
}

/* Ends the loop; results are states, then rows. state: as the body found them; after: its outputs
 * from the states on. */
static bool end_loop(struct onnx_call *c, const struct unrolled *u, uint32_t number,
                     const value_id *state, const value_id *after, struct ending ending)
{
    value_id states[MAX_STATES + 1], next[MAX_STATES + 1], results[OP_MAX_OUTPUTS + 1];
    struct loop_spec spec = {.loop = number,
                             .trips = ending.trips,
                             .state = states,
                             .next = next,
                             .states = u->states,
                             .row = after + u->states,
                             .rows = u->scans};
    if (!check_states(c, u, state, after))
        return false;
    memcpy(states, state, u->states * sizeof *states);
    memcpy(next, after, u->states * sizeof *next);
    if (c->o->guard != VALUE_NONE) {
        ending.first = both(c->b, c->o->guard, ending.first);
        if (ending.next == VALUE_NONE)
            ending.next = b_const(c->b, DTYPE_BOOL, 1);
    }
    if (ending.first != VALUE_NONE) {
        states[spec.states] = b_state(c->b, number, spec.states, ending.first);
        next[spec.states] = ending.next;
        spec.condition = ++spec.states;
    }
    c->out_count = u->states + u->scans;
    if (onnx_failed(c) || !b_loop_end(c->b, &spec, results))
        return false;
    memcpy(c->out, results, u->states * sizeof *c->out);
    memcpy(c->out + u->states, results + spec.states, u->scans * sizeof *c->out);
    return true;
}

/* A trip count that is a dim, or many trips. A number that no loop reaches is no limit where there
 * is a condition: exporters write it for "while". */
static bool many_trips(struct onnx_call *c, dim_id *out)
{
    uint32_t one = 0;
    int64_t count = 0;
    if (!onnx_given(c, 0) || c->o->in_loop > 0 || !onnx_known(c->o, c->in[0])->is_known ||
        !onnx_dims(c, 0, out, 1, &one) || one != 1)
        return false;
    if (!onnx_is_const(&c->o->graph->dims, *out, &count))
        return true;
    return count > FEW_TRIPS && (count < MOST_TRIPS || !onnx_given(c, 1));
}

/* A condition or trip count as a 0-d value. */
static value_id scalar(struct onnx_call *c, value_id x)
{
    return onnx_rank(c, x) == 0 ? x : b_reshape(c->b, x, NULL, 0);
}

/* What is known when the loop begins: in->count is a trip count that is not, or VALUE_NONE. */
struct limit {
    dim_id trips; /* at most */
    value_id count;
};

/* When the loop ends; now: its iter; condition: the body's output. Where the condition is known to
 * be true it says nothing. */
static bool find_ending(struct onnx_call *c, const struct limit *limit, value_id now,
                        value_id condition, struct ending *out)
{
    struct builder *b = c->b;
    *out = (struct ending){limit->trips, VALUE_NONE, VALUE_NONE};
    bool asked = onnx_given(c, 1) && !(truth(c, c->in[1]) == 1 && truth(c, condition) == 1);
    if (asked) {
        out->first = scalar(c, c->in[1]);
        out->next = scalar(c, condition);
    }
    if (limit->count != VALUE_NONE) {
        value_id count = b_cast(b, scalar(c, limit->count), DTYPE_I64),
                 one = b_const_like(b, now, 1);
        out->first = both(b, out->first, b_binary(b, PRIM_LT, b_const_like(b, now, 0), count));
        out->next = both(b, out->next, b_binary(b, PRIM_LT, b_add(b, now, one), count));
    }
    return !onnx_failed(c);
}

/* A loop of the graph. */
static bool loop_trips(struct onnx_call *c, struct unrolled *u, const struct limit *limit)
{
    value_id out[OP_MAX_OUTPUTS];
    int64_t most = 0;
    uint32_t number = b_loop_begin(c->b);
    struct trip_inputs inputs = {.count = u->states + 2, .states = 2};
    struct ending ending;
    inputs.in[0] = b_iter(c->b, number);
    inputs.in[1] = b_const(c->b, DTYPE_BOOL, 1);
    if (!loop_body(c, u, number, &inputs, out) ||
        !find_ending(c, limit, inputs.in[0], out[0], &ending))
        return false;
    if (ending.first != VALUE_NONE && u->scans > 0) {
        uint32_t open = limit->count != VALUE_NONE ? 0 : 1;
        c->unknown = open < c->node->n_input ? c->node->input[open] : "";
        return onnx_refuse(
            c,
            "how many trips there are is not known at compile time, and output %u "
            "collects a row of each: its length would hang on values. A trip count "
            "that is known, without a condition, or a state of a fixed size cures it",
            u->states);
    }
    if (ending.first == VALUE_NONE && onnx_given(c, 1) &&
        onnx_is_const(&c->o->graph->dims, limit->trips, &most) && most == MOST_TRIPS)
        return onnx_refuse(c,
                           "no trip count, and a condition that is always true: it does not end");
    return end_loop(c, u, number, inputs.in + 2, out + 1, ending);
}

/* A loop that ends at run time, after at most `count` trips. */
static bool trips_while(struct onnx_call *c, struct unrolled *u, int64_t count)
{
    bool known = !onnx_given(c, 0) || onnx_known(c->o, c->in[0])->is_known;
    const struct limit limit = {b_dim_const(c->b, count < MOST_TRIPS ? count : MOST_TRIPS),
                                known ? VALUE_NONE : c->in[0]};
    if (c->o->in_loop > 0)
        return onnx_refuse(
            c,
            "how many trips it makes is only known when the model runs, and it is in "
            "the body of a loop: at most %d trips, a known number, are possible there",
            FEW_TRIPS);
    memcpy(u->state, c->in + 2, u->states * sizeof *u->state);
    return loop_trips(c, u, &limit);
}

/* Trip count and first condition; no limit and true where they are left out. -1: not known. */
static bool read_count(struct onnx_call *c, int64_t *out_count, int *out_go)
{
    uint32_t one = 0;
    *out_count = INT64_MAX;
    if (!onnx_given(c, 0) && !onnx_given(c, 1))
        return onnx_refuse(c, "neither a trip count nor a condition: it does not end");
    *out_go = onnx_given(c, 1) ? truth(c, c->in[1]) : 1;
    if (onnx_given(c, 0) && !onnx_known(c->o, c->in[0])->is_known) {
        *out_go = *out_go == 0 ? 0 : -1;
        return true;
    }
    if (onnx_given(c, 0) && !onnx_const_ints(c, 0, out_count, 1, &one))
        return false;
    if (onnx_given(c, 0) && one != 1)
        return b_fail(c->b, ERR_SHAPE, "input 0 has no element");
    return true;
}

/* The trips of a loop whose number is known and small, or whose conditions are all known. *out_ends
 * is false where it turns out to be neither. */
static bool unroll(struct onnx_call *c, struct unrolled *u, int64_t count, int go, bool *out_ends)
{
    value_id in[MAX_STATES + 2], out[OP_MAX_OUTPUTS], before[MAX_STATES];
    value_id on = VALUE_NONE; /* whether the trip is made, where that is only known at run time */
    bool asked = onnx_given(c, 1), may_select = c->o->in_loop > 0 && count <= FEW_TRIPS;
    *out_ends = false;
    if (go < 0 && (!may_select || u->scans > 0 || !onnx_known(c->o, c->in[0])->is_known))
        return true;
    on = go < 0 ? scalar(c, c->in[1]) : VALUE_NONE;
    in[1] = b_const(c->b, DTYPE_BOOL, 1);
    while (go != 0 && u->trips < count) {
        if (u->trips == MAX_TRIPS && c->o->in_loop == 0 && u->scans == 0)
            return true;
        in[0] = b_const(c->b, DTYPE_I64, u->trips);
        memcpy(before, u->state, u->states * sizeof *before);
        memcpy(in + 2, u->state, u->states * sizeof *in);
        if (!trip(c, u, in, u->states + 2, 1, out))
            return false;
        if (on != VALUE_NONE && !check_states(c, u, before, u->state))
            return false;
        for (uint32_t i = 0; on != VALUE_NONE && i < u->states; i++)
            u->state[i] = b_select(c->b, on, u->state[i], before[i]);
        go = asked ? truth(c, out[0]) : 1;
        if (go < 0 && u->trips == count) /* what comes after the last trip counts for nothing */
            break;
        if (go < 0 && (!may_select || u->scans > 0))
            return true;
        if (go < 0)
            on = both(c->b, on, scalar(c, out[0]));
    }
    *out_ends = true;
    return !onnx_failed(c);
}

static bool put_states(struct onnx_call *c, const struct unrolled *u, int64_t axis)
{
    for (uint32_t i = 0; i < u->states; i++)
        c->out[i] = u->state[i];
    c->out_count = u->states;
    for (uint32_t i = 0; i < u->scans; i++)
        c->out[c->out_count++] =
            u->trips > 0 ? onnx_stack(c, u->rows[i].items, u->trips, axis) : u->empty[i];
    return !onnx_failed(c);
}

bool onnx_loop(struct onnx_call *c)
{
    struct unrolled u = {0}, again;
    value_id in[MAX_STATES + 2];
    int64_t count = 0;
    int go = 1;
    bool ends = false;
    uint32_t states = c->in_count > 2 ? c->in_count - 2 : 0;
    struct limit limit = {.count = VALUE_NONE};
    if (!prepare(c, states, 1, &u))
        return false;
    memcpy(u.state, c->in + 2, states * sizeof *u.state);
    again = u;
    if (many_trips(c, &limit.trips))
        return loop_trips(c, &u, &limit);
    if (onnx_failed(c) || !read_count(c, &count, &go))
        return false;
    /* Without a condition what the body says of it counts for nothing. */
    in[0] = b_const(c->b, DTYPE_I64, 0);
    in[1] = b_const(c->b, DTYPE_BOOL, 1);
    memcpy(in + 2, u.state, states * sizeof *in);
    if ((go == 0 || count < 1) && !no_trip(c, &u, in, states + 2, 1))
        return false;
    if (count < 1)
        go = 0;
    if (!unroll(c, &u, count, go, &ends))
        return false;
    return ends ? put_states(c, &u, 0) : trips_while(c, &again, count);
}

/* Element `index` of an attribute with one integer for each scan input or output; 0 if it is
 * absent. */
static int64_t per_scan(struct onnx_call *c, const char *name, uint32_t index)
{
    uint32_t count = 0;
    const int64_t *ints = onnx_ints(c, name, &count);
    return ints && index < count ? ints[index] : 0;
}

struct scan {
    uint32_t count, first; /* number of scan inputs; index of the first one */
    int axes[MAX_STATES];
    int64_t length; /* -1: it depends on named dims */
    dim_id trips;
};

static bool read_scan(struct onnx_call *c, struct scan *s)
{
    struct builder *b = c->b;
    int64_t count = onnx_int(c, "num_scan_inputs", 0);
    if (count < 1 || count > c->in_count || count > MAX_STATES)
        return b_fail(b, ERR_BLUEPRINT, "num_scan_inputs is %lld", (long long)count);
    s->count = (uint32_t)count;
    s->first = c->in_count - s->count;
    for (uint32_t i = 0; i < s->count; i++) {
        int64_t length = 0;
        s->axes[i] = b_axis(b, c->in[s->first + i], per_scan(c, "scan_input_axes", i));
        if (s->axes[i] < 0)
            return false;
        dim_id trips = b_dim(b, c->in[s->first + i], s->axes[i]);
        if (!onnx_is_const(&b->graph->dims, trips, &length))
            length = -1;
        if (length < 0 && c->o->in_loop > 0)
            return onnx_refuse(c, "a length that is not constant, in the body of a loop");
        if (i > 0 && trips != s->trips && !dim_needs_equal(&b->graph->dims, trips, s->trips))
            return b_fail(b, ERR_SHAPE, "scan inputs of different lengths");
        s->length = length;
        s->trips = trips;
    }
    return true;
}

/* The slice of scan input i in trip t; zeros of the same shape if there is no trip. */
static value_id scan_row(struct onnx_call *c, const struct scan *s, uint32_t i, int64_t t)
{
    struct builder *b = c->b;
    value_id x = c->in[s->first + i];
    int axis = s->axes[i];
    if (s->length == 0) {
        uint32_t rank = onnx_rank(c, x);
        dim_id shape[LIMIT_RANK];
        for (uint32_t d = 0; d + 1 < rank; d++)
            shape[d] = b_dim(b, x, d < (uint32_t)axis ? d : d + 1);
        return b_broadcast_to(b, b_const_like(b, x, 0), shape, rank - 1);
    }
    bool back = per_scan(c, "scan_input_directions", i) != 0;
    dim_id at = b_dim_const(b, back ? s->length - 1 - t : t);
    return b_squeeze(b, b_slice(b, x, axis, at, b_dim_const(b, 1), 1), axis);
}

/* The slice of scan input i in a trip of a loop: row `now`, counted along the scan axis. */
static value_id loop_row(struct onnx_call *c, const struct scan *s, uint32_t i, value_id now)
{
    struct builder *b = c->b;
    value_id x = c->in[s->first + i];
    uint8_t axes[LIMIT_RANK] = {(uint8_t)s->axes[i]};
    for (uint32_t d = 0, to = 1; d < onnx_rank(c, x); d++)
        if (d != (uint32_t)s->axes[i])
            axes[to++] = (uint8_t)d;
    if (per_scan(c, "scan_input_directions", i) != 0)
        x = b_reverse(b, x, s->axes[i]);
    return b_take(b, s->axes[i] == 0 ? x : b_transpose(b, x, axes), now, 0);
}

static bool scan_trips(struct onnx_call *c, struct unrolled *u, const struct scan *s)
{
    value_id out[OP_MAX_OUTPUTS];
    uint32_t number = b_loop_begin(c->b);
    struct trip_inputs inputs = {.count = c->in_count};
    value_id now = b_iter(c->b, number);
    for (uint32_t i = 0; i < s->count; i++)
        inputs.in[s->first + i] = loop_row(c, s, i, now);
    return loop_body(c, u, number, &inputs, out) &&
           end_loop(c, u, number, inputs.in, out,
                    (struct ending){s->trips, VALUE_NONE, VALUE_NONE});
}

static bool scan(struct onnx_call *c);

/* In opset 8 the first input is a list of lengths, and all tensors begin with a batch dim. */
static bool scan_batch(struct onnx_call *c)
{
    struct builder *b = c->b;
    dim_id one = b_dim_const(b, 1);
    if (onnx_given(c, 0) || onnx_has(c, "directions"))
        return onnx_refuse(c, "lengths or directions, before opset 9");
    for (uint32_t i = 1; i < c->in_count; i++) {
        if (onnx_rank(c, c->in[i]) == 0 || b_dim(b, c->in[i], 0) != one)
            return onnx_refuse(c, "batches of more than 1, before opset 9");
        c->in[i - 1] = b_squeeze(b, c->in[i], 0);
    }
    c->in_count -= c->in_count > 0;
    if (onnx_failed(c) || !scan(c))
        return false;
    for (uint32_t i = 0; i < c->out_count; i++)
        c->out[i] = b_unsqueeze(b, c->out[i], 0);
    return !onnx_failed(c);
}

bool onnx_scan(struct onnx_call *c)
{
    return c->opset < 9 ? scan_batch(c) : scan(c);
}

static bool scan(struct onnx_call *c)
{
    struct builder *b = c->b;
    struct unrolled u = {0};
    struct scan s = {0};
    value_id in[MAX_STATES], out[OP_MAX_OUTPUTS];
    if (!read_scan(c, &s) || !prepare(c, s.first, 0, &u))
        return false;
    memcpy(u.state, c->in, s.first * sizeof *u.state);
    bool looped = s.length < 0 || (s.length > FEW_TRIPS && c->o->in_loop == 0);
    if (looped && !scan_trips(c, &u, &s))
        return false;
    for (int64_t t = 0; !looped && (t < s.length || t == 0); t++) {
        memcpy(in, u.state, s.first * sizeof *in);
        for (uint32_t i = 0; i < s.count; i++)
            in[s.first + i] = scan_row(c, &s, i, t);
        if (onnx_failed(c) || !(s.length > 0 ? trip(c, &u, in, c->in_count, 0, out)
                                             : no_trip(c, &u, in, c->in_count, 0)))
            return false;
    }
    if (!looped && !put_states(c, &u, 0))
        return false;
    for (uint32_t i = 0; i < u.scans; i++) {
        value_id *y = &c->out[u.states + i];
        int64_t axis = per_scan(c, "scan_output_axes", i);
        if (per_scan(c, "scan_output_directions", i) != 0)
            *y = b_reverse(b, *y, 0);
        if (axis != 0)
            *y = onnx_move_first(c, *y, axis);
    }
    return !onnx_failed(c);
}
