/* Loops in a walk. What moves between trips is copied here, from and to blocks that a launch cannot
 * write otherwise. In some trips launches run twice and are judged, as all launches are; in the
 * others they run once. Where a loop ends by its condition, it runs once before, unjudged, to know
 * which trip is the last. */
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "graph/loops.h"
#include "verify/walk_priv.h"

struct trips {
    int64_t most, judged;
};

/* Makes a buffer a copy of another one. */
static bool copy_buffer(struct walk *walk, uint32_t from, uint32_t to, struct outcome *outcome)
{
    struct fenced copy = {0};
    struct error err;
    const struct fenced *source = &walk->buffers[from];
    if (to == PLAN_NONE)
        return true;
    if (!walk_place(walk, &copy, source->data, source->data_bytes, &err))
        return outcome_fail(outcome, "%s", err.message);
    fenced_close(&walk->buffers[to]);
    walk->buffers[to] = copy;
    return true;
}

/* Runs a launch of a trip that is not judged, once. */
static bool pass_launch(struct walk *walk, uint32_t index, const int64_t *dims, struct arena *arena,
                        struct outcome *outcome)
{
    const struct launch_case *c = &walk->target->launches[index];
    struct run run = walk_run_of(walk, c);
    if (!walk_open_arguments(walk, c, dims, arena, outcome))
        return false;
    walk_name_stage(walk, index);
    if (!run_begin(&run, &walk->target->target->plan, c, dims, arena, outcome))
        return false;
    for (uint32_t i = 0; i < c->launch->arg_count; i++)
        run.pointers[i] = walk->buffers[c->launch->args[i]].data;
    bool ok = run_once(&run, outcome);
    for (uint32_t i = 0; i < c->graph->outputs.count; i++) {
        struct fenced *buffer = &walk->buffers[c->launch->args[c->writes[i]]];
        fenced_close(buffer);
        *buffer = run.results[i];
    }
    return ok;
}

/* Whether the loop goes on. */
static bool goes_on(const struct walk *walk, const struct plan_loop *loop)
{
    if (loop->condition == 0)
        return true;
    return walk->buffers[loop->states[loop->condition - 1].state].data[0] != 0;
}

/* Launches are judged in the first two trips, one in the middle and the last. */
static bool is_watched(int64_t trip, int64_t trips)
{
    return trip < 2 || trip == trips / 2 || trip == trips - 1;
}

static bool walk_trip(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                      bool watched, struct outcome *outcome)
{
    uint32_t first = walk->target->prepare_count + loop->first;
    struct arena arena;
    bool ok = true;
    arena_init(&arena);
    for (uint32_t i = first; watched && i < first + loop->count; i++)
        walk->judged[walk->target->launches[i].first] = false;
    for (uint32_t i = first; ok && i < first + loop->count; i++)
        ok = watched ? walk_launch(walk, i, dims, false, &arena, outcome)
                     : pass_launch(walk, i, dims, &arena, outcome);
    walk_close_kept(walk);
    arena_release(&arena);
    return ok;
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
            return outcome_fail(outcome, "%s", err.message);
    }
    return true;
}

static bool end_trip(struct walk *walk, const struct plan_loop *loop, int64_t trip,
                     struct outcome *outcome)
{
    for (uint32_t i = 0; i < loop->row_count; i++) {
        const struct fenced *row = &walk->buffers[loop->rows[i].row];
        if (row->data_bytes > 0)
            memcpy(walk->buffers[loop->rows[i].result].data + (size_t)trip * row->data_bytes,
                   row->data, row->data_bytes);
    }
    for (uint32_t i = 0; i < loop->state_count; i++) /* next may be prepared, and is open then */
        if (!copy_buffer(walk, loop->states[i].next, loop->states[i].state, outcome))
            return false;
    return true;
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

static bool set_iter(struct walk *walk, const struct plan_loop *loop, int64_t trip,
                     struct outcome *outcome)
{
    struct error err;
    if (loop->iter == PLAN_NONE)
        return true;
    fenced_close(&walk->buffers[loop->iter]);
    return walk_place(walk, &walk->buffers[loop->iter], &trip, sizeof trip, &err) ||
           outcome_fail(outcome, "%s", err.message);
}

/* Makes trips until the loop ends, at most `most`. judged: those that are expected; 0: no launch is
 * judged. *out_made: how many there were. */
static bool walk_trips(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                       const struct trips *trips, int64_t *out_made, struct outcome *outcome)
{
    int64_t trip = 0;
    for (; trip < trips->most && goes_on(walk, loop); trip++) {
        bool watched = trips->judged > 0 && is_watched(trip, trips->judged);
        if (!set_iter(walk, loop, trip, outcome) ||
            !walk_trip(walk, loop, dims, watched, outcome) || !end_trip(walk, loop, trip, outcome))
            return false;
    }
    *out_made = trip;
    return true;
}

static bool begin_loop(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                       struct arena *arena, struct outcome *outcome)
{
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!walk_open_buffer(walk, loop->states[i].from, dims, arena, outcome) ||
            !copy_buffer(walk, loop->states[i].from, loop->states[i].state, outcome))
            return false;
    return true;
}

/* Judges the launches of a loop that makes no trip on these numbers, as if it made one: they must
 * be right on any. */
static bool try_trip(struct walk *walk, const struct plan_loop *loop, const int64_t *dims,
                     struct arena *arena, struct outcome *outcome)
{
    return set_iter(walk, loop, 0, outcome) && walk_trip(walk, loop, dims, true, outcome) &&
           begin_loop(walk, loop, dims, arena, outcome);
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
            return outcome_fail(outcome, "%s", err.message);
    for (uint32_t i = 0; i < loop->state_count; i++)
        if (!copy_buffer(walk, loop->states[i].state, loop->states[i].result, outcome))
            return false;
    drop_loop(walk, loop);
    return true;
}
