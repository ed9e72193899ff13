/* The rule of loops, and what makes a graph ready for it.
 *
 * A loop that makes the trips 0 … T-1 is differentiated by a loop that makes them in the order T-1
 * … 0. Its trip for t
 *
 *   computes the body again, from the states as they were before t, which the loop kept as rows;
 *   has as its states the cotangents of the states after t, at first those of the results;
 *   gets, by the rules of the body's nodes, the cotangents of the states before t: its next states;
 *   and the cotangents of what the body reads from outside.
 *
 * The last are added up from trip to trip in states, with two exceptions. Where outside values are
 * read by `take` at a place that depends on the trip, the cotangents of what was read are rows, and
 * one scatter behind the loop adds them up. Where they are an operand of products and of nothing
 * else, as weights are, the cotangents of the products and the other operands are rows, and one
 * product over all trips follows the loop: reading and writing the weights' gradient in each trip
 * would cost more than all else. */
#include "compiler/grad/grad_priv.h"

#include <string.h>

#include "base/error.h"

struct preparing {
    const struct graph_loops *loops;
    value_id *copies; /* by value of the old graph: the new one */
};

static const struct graph_loop *loop_of(const struct graph_loops *loops, uint32_t number)
{
    for (uint32_t i = 0; i < loops->items.count; i++)
        if (loops->items.items[i].number == number)
            return &loops->items.items[i];
    return NULL;
}

/* A loop node with all states as further rows. */
static value_id widen(struct graph *to, value_id copy, const struct graph *from, value_id old,
                      void *context, struct error *err)
{
    struct preparing *p = context;
    const struct node *n = graph_node(from, old);
    p->copies[old] = copy;
    if (n->prim != PRIM_LOOP || n->attrs->condition > 0)
        return copy;
    const struct graph_loop *loop = loop_of(p->loops, n->attrs->loop);
    struct node own = *graph_node(to, copy);
    struct builder b = {to, err};
    value_id operands[LIMIT_OPERANDS];
    uint32_t count = own.operand_count;
    memcpy(operands, own.operands, count * sizeof *operands);
    for (uint32_t i = 0; i < loop->states; i++) {
        value_id row = b_loop_value(&b, p->copies[loop->state[i]]);
        if (row != VALUE_NONE && count == LIMIT_OPERANDS)
            return b_fail(&b, ERR_LIMIT, "the gradient of a loop with more than %d values",
                          LIMIT_OPERANDS);
        if (row == VALUE_NONE)
            return VALUE_NONE;
        operands[count++] = row;
    }
    return graph_add(to, PRIM_LOOP, operands, count, own.attrs, err);
}

bool grad_prepare(struct graph *to, struct arena *arena, const struct graph *from,
                  struct error *err)
{
    struct graph_loops loops;
    if (!graph_find_loops(from, arena, &loops, err))
        return false;
    struct preparing p = {&loops, ARENA_ARRAY(arena, value_id, from->nodes.count)};
    return graph_rewrite(to, arena, from, widen, &p, err);
}

/* Something that the body reads from outside and whose cotangent is asked for. */
struct captured {
    value_id value;
    bool waits;   /* all that reads it can wait for the end of the loop */
    uint32_t sum; /* else the state that adds up its cotangents */
};

/* A node of the body from which an outside operand gets its cotangent behind the loop. */
struct deferred {
    value_id node;
    uint32_t outside; /* which operand */
    uint32_t row;     /* of its cotangents; */
    value_id others;  /* the other operand in all trips, where the loop has it; else */
    uint32_t others_row;
};

struct reversal {
    struct grad *grad;
    struct builder *b;
    struct graph_loop loop;
    uint32_t number;  /* of the loop in grad->loops, from 1 */
    uint32_t back;    /* the loop that runs backwards, */
    value_id trip;    /* in it: the number of the trip that is run again, */
    value_id *clones; /* and the values of the body, by value */
    VEC(struct captured) captured;
    VEC(struct deferred) deferred;
    struct grad_request request; /* of the gradient of one trip */
    value_id of[LIMIT_OPERANDS], cotangents[LIMIT_OPERANDS];
    value_id wrt[3 * LIMIT_OPERANDS], grads[3 * LIMIT_OPERANDS];
    value_id state[LIMIT_OPERANDS], next[LIMIT_OPERANDS], row[LIMIT_OPERANDS];
    value_id results[2 * LIMIT_OPERANDS];
    uint32_t states, rows;
};

static bool too_many(const struct reversal *r)
{
    return fail(r->b->err, ERR_LIMIT, "the gradient of a loop with more than %d values",
                LIMIT_OPERANDS);
}

static bool in_body(const struct reversal *r, value_id v)
{
    return r->grad->loops.of[v] == r->number;
}

static bool is_float(const struct reversal *r, value_id v)
{
    return dtype_is_float((enum dtype)b_node(r->b, v)->dtype);
}

/* Whether an operand from outside can wait until all trips were made. */
static bool can_wait(const struct reversal *r, const struct node *n, uint32_t operand)
{
    if (n->prim == PRIM_TAKE)
        return operand == 0 && b_node(r->b, n->operands[1])->rank == 0;
    return n->prim == PRIM_CONTRACT && n->rank < LIMIT_RANK &&
           b_node(r->b, n->operands[1 - operand])->rank < LIMIT_RANK;
}

static void capture(struct reversal *r, value_id v, bool waits)
{
    if (in_body(r, v) || !r->grad->active[v])
        return;
    for (uint32_t i = 0; i < r->captured.count; i++) {
        if (r->captured.items[i].value == v) {
            r->captured.items[i].waits &= waits;
            return;
        }
    }
    VEC_PUSH(r->grad->arena, &r->captured, ((struct captured){.value = v, .waits = waits}));
}

static bool waits(const struct reversal *r, value_id v)
{
    for (uint32_t i = 0; i < r->captured.count; i++)
        if (r->captured.items[i].value == v)
            return r->captured.items[i].waits;
    return false;
}

/* Finds what is read from outside, values after a trip and rows included. */
static void find_captured(struct reversal *r)
{
    for (value_id v = 1; v < r->loop.first; v++) {
        const struct node *n = b_node(r->b, v);
        for (uint32_t i = 0; in_body(r, v) && n->prim != PRIM_STATE && i < n->operand_count; i++)
            capture(r, n->operands[i], can_wait(r, n, i));
    }
    for (uint32_t i = 0; i < r->loop.states; i++)
        capture(r, r->loop.next[i], false);
    for (uint32_t i = 0; i < r->loop.rows; i++)
        capture(r, r->loop.row[i], false);
    for (value_id v = 1; v < r->loop.first; v++) {
        const struct node *n = b_node(r->b, v);
        for (uint32_t i = 0; in_body(r, v) && n->prim != PRIM_STATE && i < n->operand_count; i++)
            if (!in_body(r, n->operands[i]) && waits(r, n->operands[i]))
                VEC_PUSH(r->grad->arena, &r->deferred,
                         ((struct deferred){.node = v, .outside = i}));
    }
}

/* A result of the loop, by its index. */
static value_id result_of(struct reversal *r, uint32_t index)
{
    const struct node *any = b_node(r->b, r->loop.first);
    struct attrs attrs = *any->attrs;
    attrs.index = index;
    return graph_add(r->b->graph, PRIM_LOOP, any->operands, any->operand_count, &attrs, r->b->err);
}

/* What the loop kept of state i, in all trips. */
static value_id kept(struct reversal *r, uint32_t state)
{
    for (uint32_t i = r->loop.rows; i-- > 0;) {
        const struct node *row = b_node(r->b, r->loop.row[i]);
        if (row->prim == PRIM_COPY && row->operands[0] == r->loop.state[state])
            return result_of(r, r->loop.states + i);
    }
    return b_fail(r->b, ERR_BUG, "the loop keeps no rows of its state %u", state);
}

/* The body again, in a trip of the loop that runs backwards. What the loop kept comes first, so
 * that all values from grad.first on are of that trip. */
static bool clone_body(struct reversal *r, struct grad *trip)
{
    value_id rows[LIMIT_OPERANDS];
    for (uint32_t i = 0; i < r->loop.states; i++)
        if ((rows[i] = grad_readable(r->b, kept(r, i), 0)) == VALUE_NONE)
            return false;
    value_id last = b_sub(r->b, b_size(r->b, r->loop.trips), b_const(r->b, DTYPE_I64, 1));
    trip->first = r->b->graph->nodes.count;
    r->trip = b_sub(r->b, last, b_iter(r->b, r->back));
    r->clones = ARENA_ARRAY(r->grad->arena, value_id, r->loop.first);
    for (value_id v = 1; v < r->loop.first && r->trip != VALUE_NONE; v++) {
        if (!in_body(r, v))
            continue;
        struct node n = *b_node(r->b, v);
        value_id operands[LIMIT_OPERANDS];
        for (uint32_t i = 0; i < n.operand_count; i++)
            operands[i] = in_body(r, n.operands[i]) ? r->clones[n.operands[i]] : n.operands[i];
        r->clones[v] = n.prim == PRIM_ITER    ? r->trip
                       : n.prim == PRIM_STATE ? b_take(r->b, rows[n.attrs->index], r->trip, 0)
                                              : graph_add(r->b->graph, (enum prim)n.prim, operands,
                                                          n.operand_count, n.attrs, r->b->err);
        if (r->clones[v] == VALUE_NONE)
            return false;
    }
    return r->trip != VALUE_NONE;
}

static value_id cloned(const struct reversal *r, value_id v)
{
    return in_body(r, v) ? r->clones[v] : v;
}

/* A state of the loop that runs backwards; init NONE: zeros like `like`. */
static bool add_state(struct reversal *r, value_id init, value_id like)
{
    init = init == VALUE_NONE ? grad_zeros_like(r->b, like) : init;
    if (r->states == LIMIT_OPERANDS / 2)
        return too_many(r);
    if (init == VALUE_NONE)
        return false;
    r->state[r->states] = b_state(r->b, r->back, r->states, init);
    return r->state[r->states++] != VALUE_NONE;
}

static bool add_row(struct reversal *r, value_id row, uint32_t *out_row)
{
    if (r->rows == LIMIT_OPERANDS)
        return too_many(r);
    *out_row = r->rows;
    r->row[r->rows++] = row;
    return row != VALUE_NONE;
}

/* The cotangent of a result; NONE: nothing reads it, or nothing that counts. */
static value_id of_result(const struct reversal *r, uint32_t index)
{
    value_id result = r->loop.results[index];
    return result == VALUE_NONE || result >= r->grad->end ? VALUE_NONE
                                                          : r->grad->cotangents[result];
}

static bool ask(struct reversal *r, value_id of, value_id cotangent)
{
    if (r->request.of_count == LIMIT_OPERANDS)
        return too_many(r);
    r->of[r->request.of_count] = of;
    r->cotangents[r->request.of_count++] = cotangent;
    return cotangent != VALUE_NONE;
}

/* Sums of many trips are in f32 or wider, where small terms do not get lost. */
static value_id wide_zeros(struct builder *b, value_id like)
{
    bool f64 = b_node(b, like)->dtype == DTYPE_F64;
    return b_cast(b, grad_zeros_like(b, like), f64 ? DTYPE_F64 : DTYPE_F32);
}

/* States: of each float state of the loop the cotangent, and the sums of what is captured. Then
 * what a trip has cotangents of, and what it wants them of: the states before it, what is captured,
 * and the nodes of which the rest waits, in this order. */
static bool ask_trip(struct reversal *r)
{
    for (uint32_t i = 0; i < r->loop.states; i++) {
        if (!is_float(r, r->loop.state[i]))
            continue;
        r->wrt[r->request.wrt_count++] = r->clones[r->loop.state[i]];
        if (!add_state(r, of_result(r, i), r->loop.state[i]) ||
            !ask(r, cloned(r, r->loop.next[i]), r->state[r->states - 1]))
            return false;
    }
    for (uint32_t i = 0; i < r->loop.rows; i++) {
        value_id rows = of_result(r, r->loop.states + i);
        if (rows != VALUE_NONE && !ask(r, cloned(r, r->loop.row[i]),
                                       b_take(r->b, grad_readable(r->b, rows, 0), r->trip, 0)))
            return false;
    }
    for (uint32_t i = 0; i < r->captured.count; i++) {
        struct captured *c = &r->captured.items[i];
        if (c->waits)
            continue;
        c->sum = r->states;
        if (!add_state(r, wide_zeros(r->b, c->value), c->value))
            return false;
        r->wrt[r->request.wrt_count++] = c->value;
    }
    for (uint32_t i = 0; i < r->deferred.count; i++) {
        if (r->request.wrt_count == 3 * LIMIT_OPERANDS)
            return too_many(r);
        r->wrt[r->request.wrt_count++] = r->clones[r->deferred.items[i].node];
    }
    return true;
}

/* The other operand of a node that waits: it is a row, unless the loop kept it as a state. */
static bool keep_other(struct reversal *r, struct deferred *d)
{
    value_id other = b_node(r->b, d->node)->operands[1 - d->outside];
    const struct node *n = b_node(r->b, other);
    if (in_body(r, other) && n->prim == PRIM_STATE) {
        d->others = b_reverse(r->b, kept(r, n->attrs->index), 0);
        return d->others != VALUE_NONE;
    }
    return add_row(r, cloned(r, other), &d->others_row);
}

/* What the states are after a trip, and the rows. */
static bool end_trip(struct reversal *r)
{
    uint32_t at = 0, state = 0;
    for (uint32_t i = 0; i < r->loop.states; i++)
        if (is_float(r, r->loop.state[i]))
            r->next[state++] = r->grads[at++];
    for (uint32_t i = 0; i < r->captured.count; i++) {
        if (r->captured.items[i].waits)
            continue;
        enum dtype wide = (enum dtype)b_node(r->b, r->state[state])->dtype;
        r->next[state] = b_add(r->b, r->state[state], b_cast(r->b, r->grads[at++], wide));
        if (r->next[state++] == VALUE_NONE)
            return false;
    }
    for (uint32_t i = 0; i < r->deferred.count; i++)
        if (!add_row(r, r->grads[at++], &r->deferred.items[i].row) ||
            !keep_other(r, &r->deferred.items[i]))
            return false;
    const struct loop_spec spec = {.loop = r->back,
                                   .trips = r->loop.trips,
                                   .state = r->state,
                                   .next = r->next,
                                   .row = r->row,
                                   .states = r->states,
                                   .rows = r->rows};
    return b_loop_end(r->b, &spec, r->results);
}

/* Moves the first dim of x behind `before` others. */
static value_id trips_at(struct builder *b, value_id x, uint32_t before)
{
    if (x == VALUE_NONE)
        return VALUE_NONE;
    uint8_t order[LIMIT_RANK];
    for (uint32_t d = 0; d < b_node(b, x)->rank; d++)
        order[d] = (uint8_t)(d < before ? d + 1 : d == before ? 0 : d);
    return b_transpose(b, x, order);
}

/* The cotangent that the outside operand of a node gets from all trips. */
static value_id of_outside(struct reversal *r, const struct deferred *d)
{
    struct builder *b = r->b;
    const struct node n = *b_node(b, d->node);
    value_id outside = n.operands[d->outside], g = r->results[r->states + d->row];
    value_id others = d->others != VALUE_NONE ? d->others : r->results[r->states + d->others_row];
    uint32_t batch = n.attrs->batch, contract = n.attrs->contract;
    if (n.prim == PRIM_TAKE) {
        uint32_t axis = (uint32_t)n.attrs->axis;
        value_id moved = trips_at(b, g, axis);
        bool in_order =
            cloned(r, n.operands[1]) == r->trip && b_dim(b, outside, axis) == r->loop.trips;
        return in_order ? b_reverse(b, moved, axis)
                        : grad_take_data(b, outside, others, moved, axis);
    }
    uint32_t rows = b_node(b, n.operands[0])->rank - batch - contract;
    struct grad_product product = {batch, contract,
                                   trips_at(b, g, d->outside == 0 ? batch + rows : batch),
                                   trips_at(b, others, batch)};
    return d->outside == 0 ? grad_product_first(b, &product) : grad_product_second(b, &product);
}

/* What the values before the loop get. */
static bool give_all(struct reversal *r)
{
    uint32_t state = 0;
    for (uint32_t i = 0; i < r->loop.states; i++) {
        value_id from = b_node(r->b, r->loop.state[i])->operands[0];
        if (is_float(r, r->loop.state[i]) && !grad_give_to(r->grad, from, r->results[state++]))
            return false;
    }
    for (uint32_t i = 0; i < r->captured.count; i++) {
        const struct captured *c = &r->captured.items[i];
        if (c->waits)
            continue;
        enum dtype dtype = (enum dtype)b_node(r->b, c->value)->dtype;
        if (!grad_give_to(r->grad, c->value, b_cast(r->b, r->results[c->sum], dtype)))
            return false;
    }
    for (uint32_t i = 0; i < r->deferred.count; i++) {
        const struct deferred *d = &r->deferred.items[i];
        value_id outside = b_node(r->b, d->node)->operands[d->outside];
        if (!grad_give_to(r->grad, outside, of_outside(r, d)))
            return false;
    }
    return true;
}

bool grad_loop_is_due(const struct grad *grad, value_id v)
{
    const struct graph_loop *loop = graph_loop_from(&grad->loops, v);
    for (uint32_t i = 0; loop && i < loop->states + loop->rows; i++)
        if (loop->results[i] != VALUE_NONE && grad->cotangents[loop->results[i]] != VALUE_NONE)
            return true;
    return false;
}

bool grad_loop(struct grad_call *c)
{
    struct grad *grad = c->grad;
    const struct graph_loop *loop = loop_of(&grad->loops, c->node.attrs->loop);
    if (loop->condition > 0)
        return fail(c->b->err, ERR_BLUEPRINT,
                    "a loop that ends by a condition at run time has no gradient");
    struct reversal *r = ARENA_ARRAY(grad->arena, struct reversal, 1);
    *r = (struct reversal){.grad = grad, .b = c->b, .loop = *loop};
    r->number = (uint32_t)(loop - grad->loops.items.items) + 1;
    r->back = b_loop_begin(c->b);
    r->request.of = r->of;
    r->request.cotangents = r->cotangents;
    r->request.wrt = r->wrt;
    struct grad trip = {.b = c->b, .arena = grad->arena, .in_body = true};
    find_captured(r);
    return clone_body(r, &trip) && ask_trip(r) && grad_run(&trip, &r->request, r->grads) &&
           end_trip(r) && give_all(r);
}

bool grad_state(struct grad_call *c)
{
    (void)c; /* the rule of loops speaks for their bodies */
    return true;
}
