/* Maxima that softmax subtracts, on which its result does not hang.
 *
 *   max = reduce_max(x)            [rows…]
 *   t   = x - spread(max)          [rows…, n]
 *   e   = exp(t)
 *   y   = e / spread(sum e)        softmax, or
 *   y   = t - spread(log(sum e))   its logarithm
 *
 * Whatever is subtracted from a row, y is the same, so the cotangents of max from all paths add up
 * to 0. What the rules would give is that 0 but for roundings, and takes comparing and adding up
 * all of x. Conditions: max, t, e and the sum are used for nothing else, and all reductions are
 * over the same axes. */
#include <string.h>

#include "compiler/grad/grad_priv.h"

#define MOST_USERS 2

/* What reads a value, an operand at a time. */
struct users {
    uint32_t count;
    value_id first[MOST_USERS];
};

struct shifts {
    const struct graph *graph;
    struct users *users; /* by value */
};

static void add_user(struct shifts *s, value_id v, value_id user)
{
    struct users *u = &s->users[v];
    if (u->count < MOST_USERS)
        u->first[u->count] = user;
    u->count++;
}

/* The user of a value that has one of this prim, among `count` in all; VALUE_NONE: it has not. */
static value_id user_of(const struct shifts *s, value_id v, uint32_t count, enum prim prim)
{
    const struct users *u = &s->users[v];
    if (v == VALUE_NONE || u->count != count)
        return VALUE_NONE;
    for (uint32_t i = 0; i < count; i++)
        if (u->first[i] != VALUE_NONE && graph_node(s->graph, u->first[i])->prim == prim)
            return u->first[i];
    return VALUE_NONE;
}

bool grad_along_rows(const struct graph *g, const struct node *broadcast,
                     const struct attrs *reduce)
{
    const struct node *source = graph_node(g, broadcast->operands[0]);
    bool reduced[LIMIT_RANK] = {false}, kept = source->rank == broadcast->rank;
    uint32_t at = 0;
    for (uint32_t i = 0; i < reduce->axis_count; i++)
        reduced[reduce->axes[i]] = true;
    for (uint32_t axis = 0; axis < broadcast->rank; axis++) {
        int64_t size;
        if (reduced[axis] && !kept)
            continue;
        if (at == source->rank || broadcast->attrs->axes[at] != axis ||
            (reduced[axis] && !(dim_is_const(&g->dims, source->shape[at], &size) && size == 1)) ||
            (!reduced[axis] && source->shape[at] != broadcast->shape[axis]))
            return false;
        at++;
    }
    return at == source->rank;
}

/* The broadcast by which each row gets its element of v, which nothing else reads. */
static value_id spread(const struct shifts *s, value_id v, const struct attrs *reduce)
{
    value_id reshape = user_of(s, v, 1, PRIM_RESHAPE);
    value_id to = user_of(s, reshape != VALUE_NONE ? reshape : v, 1, PRIM_BROADCAST);
    return to != VALUE_NONE && grad_along_rows(s->graph, graph_node(s->graph, to), reduce)
               ? to
               : VALUE_NONE;
}

/* Whether v is prim(first, second). */
static bool is_binary(const struct graph *g, value_id v, value_id first, value_id second)
{
    const value_id *x = v == VALUE_NONE ? NULL : graph_node(g, v)->operands;
    return x && second != VALUE_NONE && x[0] == first && x[1] == second;
}

static bool same_axes(const struct attrs *a, const struct attrs *b)
{
    return a->axis_count == b->axis_count && memcmp(a->axes, b->axes, a->axis_count) == 0;
}

/* Whether t, which is x less a maximum over the axes, is read by softmax or its logarithm alone. */
static bool only_softmax(const struct shifts *s, value_id t, const struct attrs *axes)
{
    const struct graph *g = s->graph;
    bool alone = s->users[t].count == 1;
    value_id e = user_of(s, t, alone ? 1 : 2, PRIM_EXP);
    value_id sum = user_of(s, e, alone ? 2 : 1, PRIM_REDUCE_SUM);
    if (sum == VALUE_NONE || !same_axes(graph_node(g, sum)->attrs, axes))
        return false;
    if (alone)
        return is_binary(g, user_of(s, e, 2, PRIM_DIV), e, spread(s, sum, axes));
    value_id log = user_of(s, sum, 1, PRIM_LOG);
    return log != VALUE_NONE && is_binary(g, user_of(s, t, 2, PRIM_SUB), t, spread(s, log, axes));
}

void grad_leave_shifts(struct grad *grad, const struct grad_request *request)
{
    const struct graph *g = grad->b->graph;
    struct shifts s = {g, ARENA_ARRAY(grad->arena, struct users, grad->end)};
    for (value_id v = 1; v < grad->end; v++)
        for (uint32_t i = 0; i < graph_node(g, v)->operand_count; i++)
            add_user(&s, graph_node(g, v)->operands[i], v);
    for (uint32_t i = 0; i < request->of_count; i++)
        add_user(&s, request->of[i], VALUE_NONE);
    for (uint32_t i = 0; i < request->wrt_count; i++)
        add_user(&s, request->wrt[i], VALUE_NONE);
    for (value_id v = grad->first; v < grad->end; v++) {
        const struct node *n = graph_node(g, v);
        if (n->prim != PRIM_REDUCE_MAX)
            continue;
        value_id shift = spread(&s, v, n->attrs), t = user_of(&s, shift, 1, PRIM_SUB);
        if (is_binary(g, t, n->operands[0], shift) && only_softmax(&s, t, n->attrs))
            grad->active[shift] = false;
    }
}
