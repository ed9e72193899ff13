/* Loops in the interpreter: the nodes of a body run in order, once in each trip.
 *
 * States have memory of their own. What they are after a trip is collected before any of them
 * changes, since a state may become another one. Where the condition of a trip is not determined,
 * the loop goes on as its value says, and none of its results are determined. */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "graph/interp_run_priv.h"

struct trips {
    struct run *run;
    const struct graph_loop *loop;
    int64_t count; /* at most */
    bool unsure;   /* a condition was not determined */
    union cell at; /* the number of the trip; copies of iter share it until the trip has ended */
    VEC(value_id) body;
    struct interp_tensor *states; /* as the trip finds them */
    struct interp_tensor *after;  /* as it leaves them */
    struct interp_tensor *rows;   /* results */
};

static bool take_tensor(struct run *run, const struct interp_tensor *like, bool bounds,
                        struct interp_tensor *out)
{
    void *memory;
    *out = *like;
    out->bounds = NULL;
    if (!take_memory(run, like->count, &memory))
        return false;
    out->cells = memory;
    if (bounds && !take_memory(run, like->count, &memory))
        return false;
    out->bounds = bounds ? memory : NULL;
    return true;
}

static void give_tensor(struct run *run, const struct interp_tensor *tensor)
{
    give_memory(run, tensor->cells);
    give_memory(run, tensor->bounds);
}

/* Copies elements to a place in another tensor; bounds of 0 where there are none. */
static void copy_elements(const struct interp_tensor *from, struct interp_tensor *to, int64_t at)
{
    if (from->count == 0)
        return;
    memcpy(to->cells + at, from->cells, (size_t)from->count * sizeof *to->cells);
    for (int64_t i = 0; to->bounds && i < from->count; i++)
        to->bounds[at + i] = from->bounds ? from->bounds[i] : 0;
}

static bool copy_tensor(struct run *run, const struct interp_tensor *from,
                        struct interp_tensor *out)
{
    if (!take_tensor(run, from, from->bounds != NULL, out))
        return false;
    copy_elements(from, out, 0);
    return true;
}

static void find_body(struct trips *t)
{
    struct run *run = t->run;
    uint32_t number = (uint32_t)(t->loop - run->loops.items.items) + 1;
    for (value_id id = 1; id < t->loop->last; id++) {
        uint8_t prim = graph_node(run->graph, id)->prim;
        if (run->loops.of[id] == number && prim != PRIM_STATE && prim != PRIM_ITER)
            VEC_PUSH(run->arena, &t->body, id);
    }
}

static bool begin(struct trips *t)
{
    struct run *run = t->run;
    const struct graph_loop *loop = t->loop;
    const struct graph *g = run->graph;
    if (!dim_eval(&g->dims, loop->trips, run->dim_values, &t->count) || t->count < 0)
        return fail(run->err, ERR_LIMIT, "loop %u: its number of trips has no value", loop->number);
    for (uint32_t i = 0; i < loop->states; i++) {
        value_id init = graph_node(g, loop->state[i])->operands[0];
        if (!bring(run, init) || !copy_tensor(run, &run->values[init].tensor, &t->states[i]))
            return false;
    }
    for (uint32_t i = 0; i < loop->rows; i++) {
        struct interp_tensor all, *row = &t->rows[i];
        if (!interp_shape(g, run->dim_values, loop->row[i], row, run->err))
            return false;
        int64_t shape[LIMIT_RANK] = {t->count};
        for (uint32_t d = 0; d < row->rank && d + 1 < LIMIT_RANK; d++)
            shape[d + 1] = row->shape[d];
        all = *row;
        all.rank++;
        memcpy(all.shape, shape, sizeof shape);
        if (!interp_count(all.dtype, all.shape, all.rank, &all.count))
            return fail(run->err, ERR_LIMIT, "loop %u: a result is larger than %lld bytes",
                        loop->number, (long long)LIMIT_TENSOR_BYTES);
        if (!take_tensor(run, &all, run->reference && all.count > 0, row))
            return false;
    }
    return true;
}

/* Zeros in the rows of trips that were not made. */
static void clear_rows(struct trips *t, int64_t made)
{
    for (uint32_t i = 0; i < t->loop->rows; i++) {
        const struct interp_tensor *all = &t->rows[i];
        size_t from = t->count > 0 ? (size_t)(all->count / t->count * made) : 0;
        size_t count = (size_t)all->count - from;
        if (count > 0)
            memset(all->cells + from, 0, count * sizeof *all->cells);
        if (count > 0 && all->bounds)
            memset(all->bounds + from, 0, count * sizeof *all->bounds);
    }
}

/* Whether the loop goes on. */
static bool goes_on(struct trips *t)
{
    if (t->loop->condition == 0)
        return true;
    const struct interp_tensor *state = &t->states[t->loop->condition - 1];
    t->unsure |= state->bounds && state->bounds[0] > 0;
    return state->cells[0].i != 0;
}

static bool mark_unsure(struct trips *t)
{
    struct run *run = t->run;
    const struct graph_loop *loop = t->loop;
    if (run->options->unsure)
        *run->options->unsure = true;
    for (uint32_t i = 0; run->reference && i < loop->states + loop->rows; i++) {
        struct interp_tensor *result =
            i < loop->states ? &t->states[i] : &t->rows[i - loop->states];
        void *memory = result->bounds;
        if (result->count == 0)
            continue;
        if (!memory && !take_memory(run, result->count, &memory))
            return false;
        result->bounds = memory;
        for (int64_t k = 0; k < result->count; k++)
            result->bounds[k] = INFINITY;
    }
    return true;
}

static bool is_stopped(const struct run *run)
{
    return run->options->is_stopped && run->options->is_stopped(run->options->user);
}

static bool run_trip(struct trips *t, int64_t trip)
{
    struct run *run = t->run;
    const struct graph_loop *loop = t->loop;
    t->at.i = trip;
    for (uint32_t i = 0; i < loop->states; i++)
        run->values[loop->state[i]].tensor = t->states[i];
    if (loop->iter != VALUE_NONE)
        run->values[loop->iter].tensor =
            (struct interp_tensor){.dtype = DTYPE_I64, .count = 1, .cells = &t->at};
    for (uint32_t i = 0; i < t->body.count; i++)
        if (!run_node(run, t->body.items[i]))
            return false;
    return true;
}

/* Gives back what the body's values hold. */
static void forget_body(struct trips *t, const value_id *values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct value *value = &t->run->values[values[i]];
        if (t->run->loops.of[values[i]] == 0 || !value->owned)
            continue;
        give_tensor(t->run, &value->tensor);
        value->owned = false;
    }
}

static bool end_trip(struct trips *t, int64_t trip)
{
    struct run *run = t->run;
    const struct graph_loop *loop = t->loop;
    for (uint32_t i = 0; i < loop->states; i++)
        if (!bring(run, loop->next[i]) ||
            !copy_tensor(run, &run->values[loop->next[i]].tensor, &t->after[i]))
            return false;
    for (uint32_t i = 0; i < loop->rows; i++) {
        if (!bring(run, loop->row[i]))
            return false;
        const struct interp_tensor *row = &run->values[loop->row[i]].tensor;
        copy_elements(row, &t->rows[i], trip * row->count);
    }
    for (uint32_t i = 0; i < loop->states; i++) {
        give_tensor(run, &t->states[i]);
        t->states[i] = t->after[i];
    }
    forget_body(t, loop->next, loop->states);
    forget_body(t, loop->row, loop->rows);
    return true;
}

/* Results that nothing reads are given back. */
static void end(struct trips *t)
{
    struct run *run = t->run;
    const struct graph_loop *loop = t->loop;
    for (uint32_t i = 0; i < loop->states + loop->rows; i++) {
        struct interp_tensor *result =
            i < loop->states ? &t->states[i] : &t->rows[i - loop->states];
        if (loop->results[i] == VALUE_NONE) {
            give_tensor(run, result);
            continue;
        }
        struct value *value = &run->values[loop->results[i]];
        value->tensor = *result;
        value->owned = !run->memo; /* the memo knows it by its address */
        if (run->memo)
            value->number = memo_source(run->memo, result);
    }
    for (value_id id = 1; id < loop->last; id++) {
        struct value *value = &run->values[id];
        if (value->owned && !value->output && value->last_use == loop->first) {
            give_tensor(run, &value->tensor);
            value->owned = false;
        }
    }
}

/* limit 0: there is none. */
static int64_t limited(int64_t trips, int64_t limit)
{
    return limit > 0 && limit < trips ? limit : trips;
}

bool run_trips(struct run *run, const struct graph_loop *loop)
{
    struct trips t = {.run = run,
                      .loop = loop,
                      .states = ARENA_ARRAY(run->arena, struct interp_tensor, loop->states),
                      .after = ARENA_ARRAY(run->arena, struct interp_tensor, loop->states),
                      .rows = ARENA_ARRAY(run->arena, struct interp_tensor, loop->rows)};
    find_body(&t);
    if (!begin(&t))
        return false;
    int64_t trip = 0, most = t.count;
    if (loop->condition > 0)
        most = limited(most, run->options->most_trips);
    most = limited(most, run->options->tried_trips);
    for (; trip < most && goes_on(&t); trip++)
        if (is_stopped(run))
            return fail(run->err, ERR_CANCELLED, "interrupted in trip %lld of a loop",
                        (long long)trip);
        else if (!run_trip(&t, trip) || !end_trip(&t, trip))
            return false;
    clear_rows(&t, trip);
    if (t.unsure && !mark_unsure(&t))
        return false;
    end(&t);
    return true;
}
