/* Finding the loops of a graph, and building them. */
#include "graph/loops.h"

#include "base/error.h"
#include "graph/build.h"
#include "graph/graph_priv.h"

struct search {
    const struct graph *graph;
    struct arena *arena;
    struct graph_loops *loops;
    bool *live;
    uint32_t *by_number; /* 1 + index in items; 0: none so far */
    struct error *err;
};

bool graph_has_loops(const struct graph *graph)
{
    return graph->loops > 0;
}

static bool bad(const struct search *s, value_id v, const char *what)
{
    fail(s->err, ERR_SHAPE, "%s", what);
    return fail_at(s->err, "value %%%u", v);
}

static void find_live(struct search *s)
{
    const struct graph *g = s->graph;
    for (uint32_t i = 0; i < g->outputs.count; i++)
        s->live[g->outputs.items[i].value] = true;
    for (value_id v = g->nodes.count; v-- > 1;) {
        const struct node *n = graph_node(g, v);
        for (uint32_t i = 0; s->live[v] && i < n->operand_count; i++)
            s->live[n->operands[i]] = true;
    }
}

static bool same_operands(const struct node *a, const struct node *b)
{
    if (a->operand_count != b->operand_count || a->attrs->states != b->attrs->states ||
        a->attrs->condition != b->attrs->condition || a->attrs->shape[0] != b->attrs->shape[0])
        return false;
    for (uint32_t i = 0; i < a->operand_count; i++)
        if (a->operands[i] != b->operands[i])
            return false;
    return true;
}

/* Whether a value has memory of its own: a copy, or another shape of one. */
static bool is_copy(const struct graph *g, value_id v)
{
    while (graph_node(g, v)->prim == PRIM_RESHAPE)
        v = graph_node(g, v)->operands[0];
    return graph_node(g, v)->prim == PRIM_COPY;
}

/* A loop node: the first of its number makes the loop. */
static bool add_node(struct search *s, value_id v)
{
    const struct node *n = graph_node(s->graph, v);
    uint32_t *at = &s->by_number[n->attrs->loop];
    if (*at == 0) {
        uint32_t states = n->attrs->states, rows = n->operand_count - 2 * states;
        struct graph_loop loop = {.number = n->attrs->loop,
                                  .trips = n->attrs->shape[0],
                                  .first = v,
                                  .states = states,
                                  .rows = rows,
                                  .condition = n->attrs->condition,
                                  .state = n->operands,
                                  .next = n->operands + states,
                                  .row = n->operands + 2 * states,
                                  .results = ARENA_ARRAY(s->arena, value_id, states + rows)};
        VEC_PUSH(s->arena, &s->loops->items, loop);
        *at = s->loops->items.count;
    }
    struct graph_loop *loop = &s->loops->items.items[*at - 1];
    if (!same_operands(n, graph_node(s->graph, loop->first)))
        return bad(s, v, "loop nodes of one number have different operands, trips or conditions");
    for (uint32_t i = loop->states; i < n->operand_count; i++)
        if (!is_copy(s->graph, n->operands[i]))
            return bad(s, v, "a value after a trip is no copy");
    loop->results[n->attrs->index] = v;
    loop->last = v;
    return true;
}

/* The loop that v belongs to, by its number; 0: none. */
static bool find_body(struct search *s, value_id v, uint32_t *number)
{
    const struct node *n = graph_node(s->graph, v);
    uint32_t in = n->prim == PRIM_ITER || n->prim == PRIM_STATE ? n->attrs->loop : 0;
    uint32_t own = n->prim == PRIM_LOOP ? n->attrs->loop : 0;
    for (uint32_t i = 0; i < n->operand_count; i++) {
        uint32_t of = number[n->operands[i]];
        if (of == 0 || of == own)
            continue;
        if ((in > 0 && in != of) || own > 0)
            return bad(s, v, "is in the bodies of two loops");
        if (n->prim == PRIM_STATE)
            return bad(s, v, "a loop starts from a value of its body");
        in = of;
    }
    number[v] = in;
    return true;
}

static bool find_bodies(struct search *s)
{
    const struct graph *g = s->graph;
    uint32_t *number = s->loops->of;
    for (value_id v = 1; v < g->nodes.count; v++)
        if (s->live[v] && !find_body(s, v, number))
            return false;
    for (uint32_t i = 0; i < g->outputs.count; i++)
        if (number[g->outputs.items[i].value] > 0)
            return bad(s, g->outputs.items[i].value, "an output is in the body of a loop");
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        if (number[v] == 0)
            continue;
        number[v] = s->by_number[number[v]];
        if (number[v] == 0)
            return bad(s, v, "is in the body of a loop that has no loop node");
        struct graph_loop *loop = &s->loops->items.items[number[v] - 1];
        if (n->prim == PRIM_ITER)
            loop->iter = v;
        if (n->prim == PRIM_STATE &&
            (n->attrs->index >= loop->states || loop->state[n->attrs->index] != v))
            return bad(s, v, "is no state of its loop");
    }
    return true;
}

bool graph_find_loops(const struct graph *graph, struct arena *arena, struct graph_loops *out,
                      struct error *err)
{
    struct search s = {.graph = graph, .arena = arena, .loops = out, .err = err};
    *out = (struct graph_loops){.of = ARENA_ARRAY(arena, uint32_t, graph->nodes.count)};
    if (!graph_has_loops(graph))
        return true;
    s.live = ARENA_ARRAY(arena, bool, graph->nodes.count);
    s.by_number = ARENA_ARRAY(arena, uint32_t, graph->loops + 1);
    find_live(&s);
    for (value_id v = 1; v < graph->nodes.count; v++)
        if (s.live[v] && graph_node(graph, v)->prim == PRIM_LOOP && !add_node(&s, v))
            return false;
    return find_bodies(&s);
}

const struct graph_loop *graph_loop_from(const struct graph_loops *loops, value_id first)
{
    uint32_t low = 0, high = loops->items.count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (loops->items.items[middle].first < first)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < loops->items.count && loops->items.items[low].first == first;
    return found ? &loops->items.items[low] : NULL;
}

uint32_t b_loop_begin(struct builder *b)
{
    return ++b->graph->loops;
}

value_id b_iter(struct builder *b, uint32_t loop)
{
    const struct attrs attrs = {.loop = loop};
    return graph_add(b->graph, PRIM_ITER, NULL, 0, &attrs, b->err);
}

value_id b_state(struct builder *b, uint32_t loop, uint32_t index, value_id init)
{
    const struct attrs attrs = {.loop = loop, .index = index};
    value_id from = b_loop_value(b, init);
    return graph_add(b->graph, PRIM_STATE, &from, 1, &attrs, b->err);
}

value_id b_loop_value(struct builder *b, value_id value)
{
    if (value == VALUE_NONE || is_copy(b->graph, value))
        return value;
    return graph_add(b->graph, PRIM_COPY, &value, 1, NULL, b->err);
}

bool b_loop_end(struct builder *b, const struct loop_spec *spec, value_id *results)
{
    struct attrs attrs = {
        .loop = spec->loop, .states = spec->states, .condition = spec->condition, .rank = 1};
    value_id operands[LIMIT_OPERANDS];
    uint32_t count = 0, states = spec->states;
    attrs.shape[0] = spec->trips;
    if (2 * (uint64_t)states + spec->rows > LIMIT_OPERANDS)
        return fail(b->err, ERR_LIMIT, "a loop with more than %d values", LIMIT_OPERANDS);
    for (uint32_t i = 0; i < states; i++)
        operands[count++] = spec->state[i];
    for (uint32_t i = 0; i < states; i++)
        operands[count++] = b_loop_value(b, spec->next[i]);
    for (uint32_t i = 0; i < spec->rows; i++)
        operands[count++] = b_loop_value(b, spec->row[i]);
    for (uint32_t i = 0; i < states + spec->rows; i++) {
        attrs.index = i;
        results[i] = graph_add(b->graph, PRIM_LOOP, operands, count, &attrs, b->err);
        if (results[i] == VALUE_NONE)
            return false;
    }
    return true;
}
