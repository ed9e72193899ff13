/* A graph with its loops open. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "graph/graph_priv.h"
#include "graph/loops.h"

struct opening {
    struct graph *to;
    const struct graph *from;
    value_id *copies; /* by value of from */
    struct error *err;
};

static const char *named(const struct opening *o, const char *what, uint32_t loop, uint32_t index)
{
    char name[48];
    snprintf(name, sizeof name, "%s %u.%u", what, loop, index);
    return arena_strdup(o->to->arena, name);
}

/* Declares an input in place of a value; id VALUE_NONE: in place of none. like: a value of its
 * dtype and, behind the dim `rows` where that is not DIM_NONE, its shape. */
static bool declare(struct opening *o, const char *name, value_id id, value_id like, dim_id rows)
{
    const struct node *n = graph_node(o->from, like);
    dim_id shape[LIMIT_RANK];
    uint32_t rank = 0;
    if (rows != DIM_NONE)
        shape[rank++] = dim_import(&o->to->dims, &o->from->dims, rows);
    for (uint32_t i = 0; i < n->rank && rank < LIMIT_RANK; i++)
        shape[rank++] = dim_import(&o->to->dims, &o->from->dims, n->shape[i]);
    for (uint32_t i = 0; i < rank; i++)
        if (shape[i] == DIM_NONE)
            return fail(o->err, ERR_LIMIT, "a dim cannot be represented in the copy");
    value_id input = graph_input(o->to, name, (enum dtype)n->dtype, shape, rank, o->err);
    if (id != VALUE_NONE)
        o->copies[id] = input;
    return input != VALUE_NONE;
}

static bool declare_loop(struct opening *o, const struct graph_loop *loop)
{
    struct graph *to = o->to;
    value_id iter = graph_input(to, named(o, "iter", loop->number, 0), DTYPE_I64, NULL, 0, o->err);
    if (iter == VALUE_NONE)
        return false;
    if (loop->iter != VALUE_NONE)
        o->copies[loop->iter] = iter;
    for (uint32_t i = 0; i < loop->states; i++)
        if (!declare(o, named(o, i + 1 == loop->condition ? "while" : "state", loop->number, i),
                     loop->state[i], loop->state[i], DIM_NONE) ||
            !declare(o, named(o, "last", loop->number, i), loop->results[i], loop->state[i],
                     DIM_NONE))
            return false;
    for (uint32_t i = 0; i < loop->rows; i++)
        if (!declare(o, named(o, "rows", loop->number, i), loop->results[loop->states + i],
                     loop->row[i], loop->trips))
            return false;
    return true;
}

static bool end_loop(struct opening *o, const struct graph_loop *loop)
{
    struct attrs trips = {.rank = 1};
    trips.shape[0] = dim_import(&o->to->dims, &o->from->dims, loop->trips);
    if (trips.shape[0] == DIM_NONE)
        return fail(o->err, ERR_LIMIT, "a dim cannot be represented in the copy");
    value_id size = graph_add(o->to, PRIM_SIZE, NULL, 0, &trips, o->err);
    if (size == VALUE_NONE ||
        !graph_output(o->to, named(o, "trips", loop->number, 0), size, o->err))
        return false;
    for (uint32_t i = 0; i < loop->states; i++) {
        value_id init = graph_node(o->from, loop->state[i])->operands[0];
        if (!graph_output(o->to, named(o, "init", loop->number, i), o->copies[init], o->err) ||
            !graph_output(o->to, named(o, "next", loop->number, i), o->copies[loop->next[i]],
                          o->err))
            return false;
    }
    for (uint32_t i = 0; i < loop->rows; i++)
        if (!graph_output(o->to, named(o, "row", loop->number, i), o->copies[loop->row[i]], o->err))
            return false;
    return true;
}

static bool copy_live(struct opening *o)
{
    const struct graph *from = o->from;
    bool *live = ARENA_ARRAY(o->to->arena, bool, from->nodes.count);
    graph_mark_live(from, live);
    for (value_id id = 1; id < from->nodes.count; id++)
        if (live[id] && o->copies[id] == VALUE_NONE &&
            (o->copies[id] = graph_copy_node(o->to, from, graph_node(from, id), o->copies,
                                             o->err)) == VALUE_NONE)
            return false;
    return true;
}

/* Loops in the order of their numbers: that of their nodes may change. */
static const struct graph_loop *next_loop(const struct graph_loops *loops, uint32_t after)
{
    const struct graph_loop *best = NULL;
    for (uint32_t i = 0; i < loops->items.count; i++) {
        const struct graph_loop *loop = &loops->items.items[i];
        if (loop->number > after && (!best || loop->number < best->number))
            best = loop;
    }
    return best;
}

bool graph_open_loops(struct graph *to, struct arena *arena, const struct graph *from,
                      struct error *err)
{
    struct opening o = {to, from, ARENA_ARRAY(arena, value_id, from->nodes.count), err};
    struct graph_loops loops;
    const struct graph_loop *loop = NULL;
    if (!graph_find_loops(from, arena, &loops, err) || !graph_begin_copy(to, arena, from, err))
        return false;
    for (uint32_t i = 0; i < from->inputs.count + from->params.count; i++) {
        bool input = i < from->inputs.count;
        value_id id = input ? from->inputs.items[i] : from->params.items[i - from->inputs.count];
        o.copies[id] = graph_copy_node(to, from, graph_node(from, id), o.copies, err);
        if (o.copies[id] == VALUE_NONE)
            return false;
    }
    if (!graph_copy_elements(to, from, err))
        return false;
    while ((loop = next_loop(&loops, loop ? loop->number : 0)))
        if (!declare_loop(&o, loop))
            return false;
    if (!copy_live(&o))
        return false;
    for (uint32_t i = 0; i < from->outputs.count; i++)
        if (!graph_output(to, from->outputs.items[i].name, o.copies[from->outputs.items[i].value],
                          err))
            return false;
    if (!graph_copy_updates(to, from, err))
        return false;
    while ((loop = next_loop(&loops, loop ? loop->number : 0)))
        if (!end_loop(&o, loop))
            return false;
    return true;
}
