/* Loops in a walk. What moves between trips is copied here, from and to blocks that a launch cannot
 * write otherwise. In some trips launches run twice and are judged, as all launches are. The trips
 * between these only make values for the next one that is judged: they run once each, into the same
 * memory, so that many trips cost little more than their kernels do. Where a loop ends by its
 * condition, it runs once before, unjudged, to know which trip is the last. */
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/loops.h"
#include "verify/walk_priv.h"

struct trips {
    int64_t most, judged; /* judged: those that are expected; 0: no launch is judged */
};

/* Makes a buffer a copy of another one, in a new block, which is writable or sealed. */
static bool copy_buffer(struct walk *walk, uint32_t from, uint32_t to, bool writable,
                        struct outcome *outcome)
{
    struct fenced copy = {0};
    struct error err;
    const struct fenced *source = &walk->buffers[from];
    if (to == PLAN_NONE)
        return true;
    if (!fenced_place(&copy, &walk->pool, source->data_bytes, FENCE_END, 0, &err))
        return outcome_error(outcome, &err);
    if (copy.data_bytes > 0)
        memcpy(copy.data, source->data, copy.data_bytes);
    fenced_close(&walk->buffers[to]);
    walk->buffers[to] = copy;
    return writable || fenced_seal(&walk->buffers[to], &err) || outcome_error(outcome, &err);
}

/* The first trip from here on in which launches are judged: the first two, one in the middle, the
 * last. */
static int64_t next_watched(int64_t trip, int64_t trips)
{
    if (trip < 2)
        return trip;
    return trip <= trips / 2 ? trips / 2 : trips - 1;
}

/* Opens the results of rows, which trips fill. */
static bool open_rows(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                      struct outcome *outcome)
{
    const struct plan *plan = &walk->target->target->plan;
    for (uint32_t i = 0; i < loop->row_count; i++) {
        const struct plan_buffer *b = &plan->buffers.items[loop->rows[i].result];
        struct fenced *result = &walk->buffers[loop->rows[i].result];
        struct error err;
        int64_t elements;
        fenced_close(result);
        if (!dim_eval(plan->dims, b->elements, dims, &elements) || elements < 0)
            return outcome_fail(outcome, "a result has no size");
        if (!fenced_place(result, &walk->pool, (size_t)elements * dtype_bytes(b->dtype), FENCE_END,
                          0, &err))
            return outcome_error(outcome, &err);
    }
    return true;
}

static void keep_rows(struct walk *walk, const struct plan_loop *loop, int64_t trip)
{
    for (uint32_t i = 0; i < loop->row_count; i++) {
        const struct fenced *row = &walk->buffers[loop->rows[i].row];
        if (row->data_bytes > 0)
            memcpy(walk->buffers[loop->rows[i].result].data + (size_t)trip * row->data_bytes,
                   row->data, row->data_bytes);
    }
}

/* Whether the loop goes on. */
static bool goes_on(const struct walk *walk, const struct plan_loop *loop)
{
    if (loop->condition == 0)
        return true;
    return walk->buffers[loop->states[loop->condition - 1].state].data[0] != 0;
}

/* Gives the launches the number of a trip. */
static bool set_iter(struct walk *walk, const struct plan_loop *loop, int64_t trip, bool writable,
                     struct outcome *outcome)
{
    struct error err;
    struct fenced *iter = loop->iter == PLAN_NONE ? NULL : &walk->buffers[loop->iter];
    if (!iter)
        return true;
    fenced_close(iter);
    if (!fenced_place(iter, &walk->pool, sizeof trip, FENCE_END, 0, &err))
        return outcome_error(outcome, &err);
    memcpy(iter->data, &trip, sizeof trip);
    return writable || fenced_seal(iter, &err) || outcome_error(outcome, &err);
}

/* Runs the launches of a trip, and judges them. */
static bool judge_trip(struct walk *walk, const struct plan_loop *loop, int64_t trip,
                       const int64_t *dims, struct outcome *outcome)
{
    uint32_t first = walk->target->prepare_count + loop->first;
    struct arena arena;
    if (!set_iter(walk, loop, trip, false, outcome))
        return false;
    for (uint32_t i = first; i < first + loop->count; i++)
        walk->judged[walk->target->launches[i].first] = false;
    bool ok = true;
    arena_init(&arena);
    for (uint32_t i = first; ok && i < first + loop->count; i++)
        ok = walk_launch(walk, i, dims, false, &arena, outcome);
    walk_close_kept(walk);
    arena_release(&arena);
    return ok;
}

static bool end_trip(struct walk *walk, const struct plan_loop *loop, int64_t trip,
                     struct outcome *outcome)
{
    keep_rows(walk, loop, trip);
    for (uint32_t i = 0; i < loop->state_count; i++) /* next may be prepared, and is open then */
        if (!copy_buffer(walk, loop->states[i].next, loop->states[i].state, false, outcome))
            return false;
    return true;
}

/* Opens what trips between those that are judged write: the number of the trip, states, results.
 * runs: by launch of the body. */
static bool open_trips(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                       struct run *runs, struct arena *arena, struct outcome *outcome)
{
    uint32_t first = walk->target->prepare_count + loop->first;
    if (!set_iter(walk, loop, 0, true, outcome))
        return false;
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!copy_buffer(walk, loop->states[i].state, loop->states[i].state, true, outcome))
            return false;
    for (uint32_t i = 0; i < loop->count; i++) {
        const struct launch_case *c = &walk->target->launches[first + i];
        walk_name_stage(walk, first + i);
        if (!walk_open_arguments(walk, c, dims, arena, outcome) ||
            !run_begin(&runs[i], &walk->target->target->plan, c, dims, arena, outcome))
            return false;
        bool ok = run_place(&runs[i], outcome);
        for (uint32_t o = 0; o < c->graph->outputs.count; o++) {
            struct fenced *buffer = &walk->buffers[c->launch->args[c->writes[o]]];
            fenced_close(buffer);
            *buffer = runs[i].results[o];
        }
        if (!ok)
            return false;
    }
    for (uint32_t i = 0; i < loop->count; i++)
        for (uint32_t a = 0; a < runs[i].launch->launch->arg_count; a++)
            runs[i].pointers[a] = walk->buffers[runs[i].launch->launch->args[a]].data;
    return true;
}

/* Checks what these trips wrote, and seals it. */
static bool seal_trips(struct walk *walk, const struct plan_loop *loop, struct run *runs,
                       struct outcome *outcome)
{
    struct error err;
    bool ok = true;
    for (uint32_t i = 0; ok && i < loop->count; i++)
        ok = run_seal(&runs[i], outcome);
    for (uint32_t i = 0; ok && i < loop->state_count; i++)
        ok = fenced_seal(&walk->buffers[loop->states[i].state], &err) ||
             outcome_error(outcome, &err);
    return ok;
}

/* Makes the trips from *trip on, without judging, up to another one, or until the loop ends; then
 * *trip is the one that comes next. */
static bool pass_trips(struct walk *walk, const struct plan_loop *loop, int64_t *trip, int64_t to,
                       const int64_t *dims, struct outcome *outcome)
{
    struct arena arena;
    arena_init(&arena);
    struct run *runs = ARENA_ARRAY(&arena, struct run, loop->count);
    uint32_t first = walk->target->prepare_count + loop->first;
    for (uint32_t i = 0; i < loop->count; i++)
        runs[i] = walk_run_of(walk, &walk->target->launches[first + i], dims);
    bool ok = open_trips(walk, loop, dims, runs, &arena, outcome);
    for (; ok && *trip < to && goes_on(walk, loop); ++*trip) {
        if (loop->iter != PLAN_NONE)
            memcpy(walk->buffers[loop->iter].data, trip, sizeof *trip);
        for (uint32_t i = 0; i < loop->count; i++)
            run_in_place(&runs[i]);
        keep_rows(walk, loop, *trip);
        for (uint32_t i = 0; i < loop->state_count; i++) {
            const struct fenced *next = &walk->buffers[loop->states[i].next];
            if (next->data_bytes > 0)
                memcpy(walk->buffers[loop->states[i].state].data, next->data, next->data_bytes);
        }
    }
    ok = ok && seal_trips(walk, loop, runs, outcome);
    for (uint32_t i = 0; i < loop->count; i++)
        fenced_close(&runs[i].scratch);
    walk_close_kept(walk);
    arena_release(&arena);
    return ok;
}

/* Closes temporaries that nothing behind the loop reads or writes. */
static void drop_loop(struct walk *walk, const struct plan_loop *loop)
{
    const struct plan *plan = &walk->target->target->plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++) {
        const struct plan_buffer *buffer = &plan->buffers.items[i];
        if (buffer->kind == BUFFER_TEMP && buffer->last_launch >= loop->first &&
            buffer->last_launch < loop->first + loop->count)
            fenced_close(&walk->buffers[i]);
    }
}

/* Makes trips until the loop ends. *out_made: how many there were. */
static bool walk_trips(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                       const struct trips *trips, int64_t *out_made, struct outcome *outcome)
{
    int64_t trip = 0;
    while (trip < trips->most && goes_on(walk, loop)) {
        int64_t watched = trips->judged > 0 ? next_watched(trip, trips->judged) : trips->most;
        if (watched > trip) {
            if (!pass_trips(walk, loop, &trip, watched, dims, outcome))
                return false;
        } else if (!judge_trip(walk, loop, trip, dims, outcome) ||
                   !end_trip(walk, loop, trip, outcome)) {
            return false;
        } else {
            trip++;
        }
    }
    *out_made = trip;
    return true;
}

static bool begin_loop(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                       struct arena *arena, struct outcome *outcome)
{
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!walk_open_buffer(walk, loop->states[i].from, dims, arena, outcome) ||
            !copy_buffer(walk, loop->states[i].from, loop->states[i].state, false, outcome))
            return false;
    return true;
}

/* Judges the launches of a loop that makes no trip on these numbers, as if it made one: they must
 * be right on any. */
static bool try_trip(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                     struct arena *arena, struct outcome *outcome)
{
    return judge_trip(walk, loop, 0, dims, outcome) && begin_loop(walk, loop, dims, arena, outcome);
}

/* Zeros in the rows of trips that were not made, and in all of them where there were none. */
static void clear_rows(struct walk *walk, const struct plan_loop *loop, int64_t made, int64_t trips)
{
    for (uint32_t i = 0; i < loop->row_count && made < trips; i++) {
        const struct fenced *result = &walk->buffers[loop->rows[i].result];
        size_t each = result->data_bytes / (size_t)trips;
        if (each > 0)
            memset(result->data + each * (size_t)made, 0, each * (size_t)(trips - made));
    }
}

bool walk_loop(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
               struct arena *arena, struct outcome *outcome)
{
    struct error err;
    int64_t count, made;
    if (!dim_eval(walk->target->target->plan.dims, loop->trips, dims, &count) || count < 0)
        return outcome_fail(outcome, "a loop's trips have no number");
    struct trips trips = {.most = count, .judged = count};
    if (!begin_loop(walk, loop, dims, arena, outcome) || !open_rows(walk, loop, dims, outcome))
        return false;
    if (loop->condition > 0) { /* how many there are, and from the start again */
        trips.most = count < LOOP_TRIED_TRIPS ? count : LOOP_TRIED_TRIPS;
        trips.judged = 0;
        if (!walk_trips(walk, loop, dims, &trips, &trips.judged, outcome) ||
            !begin_loop(walk, loop, dims, arena, outcome))
            return false;
    }
    if (trips.judged == 0 && count > 0 && !try_trip(walk, loop, dims, arena, outcome))
        return false;
    if (!walk_trips(walk, loop, dims, &trips, &made, outcome))
        return false;
    clear_rows(walk, loop, made, count);
    for (uint32_t i = 0; i < loop->row_count; i++)
        if (!fenced_seal(&walk->buffers[loop->rows[i].result], &err))
            return outcome_error(outcome, &err);
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!copy_buffer(walk, loop->states[i].state, loop->states[i].result, false, outcome))
            return false;
    drop_loop(walk, loop);
    return true;
}
