/* The sweep from the last value to the first: each value whose cotangent is known and whose prim is
 * differentiable gives cotangents to its operands. All users of a value have greater ids, so its
 * cotangent is complete when the sweep comes to it. */
#include "compiler/grad/grad_priv.h"

#include "base/error.h"

static const struct {
    grad_rule *rule;
    const char *doc;
} rules[PRIM_COUNT] = {
#define GRAD(id, rule, doc) [PRIM_##id] = {grad_##rule, doc},
#include "compiler/grad/grads.def"
#undef GRAD
};

bool grad_differentiable(enum prim prim)
{
    return prim != PRIM_NONE && rules[prim].rule != grad_none;
}

const char *grad_doc(enum prim prim)
{
    return rules[prim].doc ? rules[prim].doc : "";
}

/* Not reached: such values have no active operands. */
bool grad_none(struct grad_call *call)
{
    (void)call;
    return true;
}

bool grad_give_to(struct grad *grad, value_id to, value_id cotangent)
{
    if (cotangent == VALUE_NONE)
        return false;
    if (!grad->active[to])
        return true;
    value_id *sum = &grad->cotangents[to];
    *sum = *sum == VALUE_NONE ? cotangent : b_add(grad->b, *sum, cotangent);
    return *sum != VALUE_NONE;
}

/* Which values hang on wrt. A loop node has all states, values after a trip and rows as operands,
 * so it is active where anything active enters its body and counts. */
static void find_active(struct grad *grad, const struct grad_request *request)
{
    const struct graph *g = grad->b->graph;
    for (uint32_t i = 0; i < request->wrt_count; i++)
        grad->active[request->wrt[i]] = grad->asked[request->wrt[i]] = true;
    for (value_id v = grad->first; v < grad->end; v++) {
        const struct node *n = graph_node(g, v);
        if (!dtype_is_float((enum dtype)n->dtype) || !grad_differentiable((enum prim)n->prim))
            continue;
        for (uint32_t i = 0; !grad->active[v] && i < n->operand_count; i++)
            grad->active[v] = grad->active[n->operands[i]];
    }
}

static bool hands_on(enum prim prim)
{
    return prim_is_elementwise(prim) || prim == PRIM_RESHAPE || prim == PRIM_TRANSPOSE ||
           prim == PRIM_BROADCAST || prim == PRIM_REVERSE || prim == PRIM_COPY;
}

/* Which values a select reads, or values that are made of them element by element. */
static void find_guarded(struct grad *grad)
{
    for (value_id v = grad->end; v-- > grad->first;) {
        const struct node *n = graph_node(grad->b->graph, v);
        bool guarded = n->prim == PRIM_SELECT || (grad->guarded[v] && hands_on((enum prim)n->prim));
        for (uint32_t i = 0; guarded && i < n->operand_count; i++)
            grad->guarded[n->operands[i]] = true;
    }
}

static bool sweep(struct grad *grad)
{
    struct graph *g = grad->b->graph;
    origin_id origin = g->origin;
    for (value_id v = grad->end; v-- > grad->first;) {
        bool due = graph_node(g, v)->prim == PRIM_LOOP ? grad_loop_is_due(grad, v)
                                                       : grad->cotangents[v] != VALUE_NONE;
        if (!due || !grad->active[v])
            continue;
        struct grad_call call = {grad, grad->b, *graph_node(g, v), NULL, v, grad->cotangents[v]};
        call.x = call.node.operands;
        g->origin = call.node.origin;
        bool done = rules[call.node.prim].rule(&call);
        g->origin = origin;
        if (!done)
            return false;
    }
    return true;
}

bool grad_run(struct grad *grad, const struct grad_request *request, value_id *out)
{
    grad->end = grad->b->graph->nodes.count;
    grad->active = ARENA_ARRAY(grad->arena, bool, grad->end);
    grad->asked = ARENA_ARRAY(grad->arena, bool, grad->end);
    grad->guarded = ARENA_ARRAY(grad->arena, bool, grad->end);
    grad->cotangents = ARENA_ARRAY(grad->arena, value_id, grad->end);
    find_active(grad, request);
    grad_leave_shifts(grad, request);
    find_guarded(grad);
    for (uint32_t i = 0; i < request->of_count; i++)
        if (!grad_give_to(grad, request->of[i], request->cotangents[i]))
            return false;
    if (!sweep(grad))
        return false;
    for (uint32_t i = 0; i < request->wrt_count; i++) {
        value_id sum = grad->cotangents[request->wrt[i]];
        out[i] = sum != VALUE_NONE ? sum : grad_zeros_like(grad->b, request->wrt[i]);
        if (out[i] == VALUE_NONE)
            return false;
    }
    return true;
}

bool grad_add(struct builder *b, const struct grad_request *request, struct arena *arena,
              value_id *out)
{
    struct grad grad = {.b = b, .arena = arena, .first = 1};
    value_id first = b->graph->nodes.count;
    return graph_find_loops(b->graph, arena, &grad.loops, b->err) &&
           grad_run(&grad, request, out) &&
           grad_in_strips(b, first, out, request->wrt_count, arena);
}

value_id grad_zeros_like(struct builder *b, value_id x)
{
    const struct node *n = b_node(b, x);
    return b_broadcast_to(b, b_const_like(b, x, 0), n->shape, n->rank);
}
