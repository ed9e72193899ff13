/* Loops of a plan beside those of the graph.
 *
 * A trip is right if its launches are, which are judged like all others, and if what moves between
 * trips is what the graph says. So the buffers that are copied must hold the operands of the loop
 * nodes, and values of the body must be computed by launches of the loop and by no others. */
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "graph/loops.h"
#include "verify/verify_priv.h"

struct pairing {
    const struct target_case *t;
    const struct graph *graph;
    struct arena *arena;
    struct error *err;
};

static bool bad(const struct pairing *p, const char *what)
{
    return fail(p->err, ERR_VERIFY, "%s", what);
}

/* Whether a buffer holds a value, in this shape or another. VALUE_NONE: there must be none. */
static bool holds(const struct pairing *p, uint32_t buffer, value_id value)
{
    if (buffer == PLAN_NONE || value == VALUE_NONE)
        return (buffer == PLAN_NONE) == (value == VALUE_NONE);
    value_id held = p->t->target->plan.buffers.items[buffer].value;
    while (value != held && graph_node(p->graph, value)->prim == PRIM_RESHAPE)
        value = graph_node(p->graph, value)->operands[0];
    return value == held;
}

/* Whether two expressions are the same. At the sizes that are tested others could be equal, and
 * differ at some that are not. */
static bool same_dim(const struct dim_table *x_dims, dim_id x, const struct dim_table *y_dims,
                     dim_id y, struct arena *arena)
{
    struct strbuf a, b;
    strbuf_init(&a, arena);
    strbuf_init(&b, arena);
    dim_print(x_dims, x, &a);
    dim_print(y_dims, y, &b);
    return strcmp(a.data, b.data) == 0;
}

/* Whether the passes left the trips of each loop as they are in the package's own graph. */
static bool kept_trips(const struct pairing *p, const struct graph_loops *loops)
{
    const struct graph *own = &p->t->contents->graph;
    struct graph_loops before;
    if (!graph_find_loops(own, p->arena, &before, p->err))
        return false;
    for (uint32_t i = 0; i < loops->items.count; i++) {
        const struct graph_loop *loop = &loops->items.items[i], *was = NULL;
        for (uint32_t k = 0; k < before.items.count && !was; k++)
            if (before.items.items[k].number == loop->number)
                was = &before.items.items[k];
        if (!was || !same_dim(&p->graph->dims, loop->trips, &own->dims, was->trips, p->arena)) {
            bad(p, "it makes another number of trips than that of the package's graph");
            return fail_at(p->err, "loop %u", i);
        }
    }
    return true;
}

static bool pair(const struct pairing *p, const struct plan_loop *loop,
                 const struct graph_loop *other)
{
    uint32_t row = 0;
    if (!same_dim(p->t->target->plan.dims, loop->trips, &p->graph->dims, other->trips, p->arena))
        return bad(p, "it makes another number of trips");
    if (loop->condition != other->condition)
        return bad(p, "its condition is another state");
    if (!holds(p, loop->iter, other->iter))
        return bad(p, "its iter is another value");
    if (loop->state_count != other->states)
        return bad(p, "it has another number of states");
    for (uint32_t i = 0; i < other->states; i++) {
        const struct plan_state *s = &loop->states[i];
        if (!holds(p, s->state, other->state[i]) || !holds(p, s->next, other->next[i]) ||
            !holds(p, s->from, graph_node(p->graph, other->state[i])->operands[0]) ||
            !holds(p, s->result, other->results[i]))
            return bad(p, "a state is another value");
    }
    for (uint32_t i = 0; i < other->rows; i++) {
        value_id result = other->results[other->states + i];
        if (result == VALUE_NONE)
            continue;
        if (row == loop->row_count || !holds(p, loop->rows[row].row, other->row[i]) ||
            !holds(p, loop->rows[row].result, result))
            return bad(p, "a row is another value");
        row++;
    }
    return row == loop->row_count || bad(p, "it has more rows");
}

static bool check_launches(const struct pairing *p, const struct graph_loops *loops)
{
    const struct plan *plan = &p->t->target->plan;
    for (uint32_t i = 0; i < plan->forward.count; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t a = 0; a < launch->arg_count; a++) {
            value_id value = plan->buffers.items[launch->args[a]].value;
            if (launch_writes(launch, a) && loops->of[value] != plan_loop_of(plan, i)) {
                bad(p, "it computes a value of a loop outside, or another one inside");
                return fail_at(p->err, "launch %u", i);
            }
        }
    }
    return true;
}

bool loops_check(const struct target_case *t, struct arena *arena, struct error *err)
{
    const struct pairing p = {t, &t->optimised, arena, err};
    const struct plan *plan = &t->target->plan;
    struct graph_loops loops;
    if (!graph_find_loops(p.graph, arena, &loops, err))
        return false;
    if (loops.items.count != plan->loops.count)
        return fail(err, ERR_VERIFY, "%u loops, the graph has %u", plan->loops.count,
                    loops.items.count);
    for (uint32_t i = 0; i < plan->loops.count; i++)
        if (!pair(&p, &plan->loops.items[i], &loops.items.items[i]))
            return fail_at(err, "loop %u", i);
    return kept_trips(&p, &loops) && check_launches(&p, &loops);
}
