/* Launches, one after the other. A launch is split into contiguous chunks of its iterations; an
 * iteration computes the same in any chunk, so the result does not depend on the split. Each chunk
 * has its own scratch memory. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "runtime/runtime_priv.h"

struct split {
    struct trace *trace;
    const struct shape_launch *launch;
    void *const *buffers;
    const int64_t *dims;
    char *scratch;
    struct iterations part;
};

static void note(struct trace *trace, const struct urza_span *span)
{
    uint32_t at = atomic_fetch_add_explicit(&trace->count, 1, memory_order_relaxed);
    if (at < trace->room)
        trace->spans[at] = *span;
}

/* Only the kernel itself is timed. */
static void run_kernel(const struct split *split, char *scratch, uint32_t chunk, int64_t begin,
                       int64_t end)
{
    const struct shape_launch *launch = split->launch;
    struct cpu_fp before;
    cpu_fp_begin(&before);
    if (!split->trace->spans) {
        launch->kernel(split->buffers, split->dims, scratch, begin, end);
    } else {
        urza_span span = {.launch = launch->number, .chunk = chunk, .chunks = launch->chunks};
        span.begin_ns = clock_ns();
        launch->kernel(split->buffers, split->dims, scratch, begin, end);
        span.end_ns = clock_ns();
        span.thread = gettid();
        note(split->trace, &span);
    }
    cpu_fp_end(&before);
}

static void run_chunk(void *argument, uint32_t index)
{
    const struct split *split = argument;
    const struct shape_launch *launch = split->launch;
    int64_t each = split->part.count / launch->chunks, more = split->part.count % launch->chunks;
    int64_t begin = split->part.first + each * index + (index < more ? index : more);
    int64_t end = begin + each + (index < more);
    run_kernel(split, split->scratch + index * launch->scratch_stride, index, begin, end);
}

void launch_run(struct urza_module *module, const struct shape_launch *launch, void *const *buffers,
                const int64_t *dims, char *scratch, struct iterations part)
{
    struct split split = {&module->owner->trace, launch, buffers, dims, scratch, part};
    if (launch->chunks == 1)
        run_kernel(&split, scratch, 0, part.first, part.first + part.count);
    else
        pool_run(module->runtime->pool, run_chunk, &split, launch->chunks);
}

/* Whether anything that is wanted hangs on a launch. */
static bool is_wanted(const struct urza_module *module, const struct shape_launch *launch,
                      uint64_t wanted)
{
    const struct plan *plan = &module->target->plan;
    uint32_t forward = launch->number - module->first_launch - plan->prepare.count;
    return !module->feeds || (module->feeds[forward] & wanted) != 0;
}

/* Returns how many ran. */
static uint64_t run_launches(struct urza_module *module, struct call_context *context,
                             uint32_t begin, uint32_t end, uint64_t wanted)
{
    uint64_t ran = 0;
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    char *scratch = context->table_memory + entry->scratch_offset;
    for (uint32_t i = begin; i < end; i++) {
        const struct shape_launch *launch = &entry->launches[i];
        if (!is_wanted(module, launch, wanted))
            continue;
        launch_run(module, launch, context->table + launch->first_slot, entry->dims, scratch,
                   (struct iterations){0, launch->extent});
        ran++;
    }
    return ran;
}

/* The launches of a trip, for the slices from `slice` on that run at once. */
static void run_trip(struct urza_module *module, struct call_context *context,
                     const struct shape_loop *loop, int64_t slice)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    char *scratch = context->table_memory + entry->scratch_offset;
    int64_t count = loop->slices - slice < loop->at_once ? loop->slices - slice : loop->at_once;
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++) {
        const struct shape_launch *launch = &entry->launches[i];
        struct iterations part = {slice * launch->slice, count * launch->slice};
        if (launch->slice == 0)
            part.count = launch->extent;
        launch_run(module, launch, context->table + launch->first_slot, entry->dims, scratch, part);
    }
}

/* Copies to place `at` of what has room for several. */
static void move(void *const *table, const struct shape_move *moves, uint32_t count, int64_t at)
{
    for (uint32_t i = 0; i < count; i++)
        if (moves[i].bytes > 0 && !moves[i].turns)
            memcpy((char *)table[moves[i].to] + (size_t)at * moves[i].bytes, table[moves[i].from],
                   moves[i].bytes);
}

/* Zeros in the rows of trips that were not made. */
static void clear_rows(void *const *table, const struct shape_move *rows, uint32_t count,
                       int64_t made, int64_t trips)
{
    for (uint32_t i = 0; i < count; i++)
        if (rows[i].bytes > 0 && made < trips)
            memset((char *)table[rows[i].to] + (size_t)made * rows[i].bytes, 0,
                   (size_t)(trips - made) * rows[i].bytes);
}

/* Any byte but 0 of a bool is true. */
static bool goes_on(void *const *table, const struct shape_loop *loop)
{
    return loop->condition == PLAN_NONE || *(const unsigned char *)table[loop->condition] != 0;
}

/* Where a state that turns is written in a trip. Two places take turns; one of them is the result,
 * and the last trip's, if that is known. */
static void *next_place(void *const *table, const struct shape_loop *loop, uint32_t state,
                        int64_t trip)
{
    const struct shape_move *after = loop->moves + loop->states + loop->rows + state;
    const struct shape_move *end = after + loop->states;
    if (end->turns) /* the last trip writes the result */
        return table[(loop->most - 1 - trip) % 2 == 0 ? end->to : after->from];
    return table[trip % 2 == 0 ? after->from : after->to];
}

/* Where it is read in a trip: behind the last one, its last value. */
static void *state_place(void *const *table, const struct shape_loop *loop, uint32_t state,
                         int64_t trip)
{
    return trip == 0 ? table[loop->moves[state].from] : next_place(table, loop, state, trip - 1);
}

/* Points arguments to where they lie in a trip. */
static void turn(void **table, const struct shape_loop *loop, int64_t trip)
{
    const struct shape_move *rows = loop->moves + loop->states;
    for (uint32_t i = 0; i < loop->turns->count; i++) {
        const struct loop_turn *item = &loop->turns->items[i];
        const struct shape_move *row = &rows[item->what == TURN_ROW ? item->index : 0];
        table[item->slot] = item->what == TURN_STATE ? state_place(table, loop, item->index, trip)
                            : item->what == TURN_NEXT
                                ? next_place(table, loop, item->index, trip)
                                : (char *)table[row->to] + (size_t)trip * row->bytes;
    }
}

/* Results of states, once so many trips were made. */
static void finish_states(void *const *table, const struct shape_loop *loop, int64_t trips)
{
    const struct shape_move *start = loop->moves;
    const struct shape_move *end = start + 2 * loop->states + loop->rows;
    for (uint32_t i = 0; i < loop->states; i++)
        if (end[i].bytes > 0 && (!end[i].turns || trips == 0))
            memcpy(table[end[i].to],
                   start[i].turns ? state_place(table, loop, i, trips) : table[end[i].from],
                   end[i].bytes);
}

/* All trips, for the slices from `slice` on that run at once. Returns how many; -1: the call
 * was interrupted. */
static int64_t run_slices(struct urza_module *module, struct call_context *context,
                          const struct shape_loop *loop, int64_t slice)
{
    void **table = context->table;
    const struct shape_move *rows = loop->moves + loop->states, *after = rows + loop->rows;
    int64_t trip = 0;
    for (; trip < loop->most && goes_on(table, loop); trip++) {
        if (is_interrupted(module, context))
            return -1;
        if (loop->iter != PLAN_NONE)
            memcpy(table[loop->iter], &trip, sizeof trip);
        turn(table, loop, trip);
        run_trip(module, context, loop, slice);
        move(table, rows, loop->rows, trip);
        move(table, after, loop->states, 0);
    }
    return trip;
}

/* False when the call was interrupted. Adds the launches that ran to *ran. Where slices do not
 * all run at once, moves copy nothing (slices_choose). */
static bool run_loop(struct urza_module *module, struct call_context *context,
                     const struct shape_loop *loop, uint64_t *ran)
{
    void **table = context->table;
    const struct shape_move *rows = loop->moves + loop->states;
    int64_t trip = 0;
    move(table, loop->moves, loop->states, 0);
    for (int64_t slice = 0; slice < loop->slices; slice += loop->at_once) {
        trip = run_slices(module, context, loop, slice);
        if (trip < 0)
            return false;
        *ran += (uint64_t)trip * loop->count;
    }
    clear_rows(table, rows, loop->rows, trip, loop->trips);
    finish_states(table, loop, trip);
    return true;
}

bool execute_part(struct urza_module *module, struct call_context *context, const struct part *part,
                  struct error *err)
{
    const struct shape_entry *entry = atomic_load_explicit(&context->entry, memory_order_relaxed);
    const struct plan *plan = &module->target->plan;
    uint64_t ran = 0;
    uint32_t next = entry->before[part->first], end = entry->before[part->first + part->count];
    for (uint32_t i = 0; i < module->patch_count; i++)
        context->table[module->patches[i].slot] = context->data[module->patches[i].tensor];
    for (uint32_t i = 0; i < entry->loop_count; i++) {
        const struct shape_loop *loop = &entry->loops[i];
        uint32_t first = plan->loops.items[i].first;
        if (first < part->first || first >= part->first + part->count)
            continue;
        ran += run_launches(module, context, next, loop->first, part->wanted);
        bool wanted = !module->feeds || (module->feeds[first] & part->wanted) != 0;
        if (wanted && !run_loop(module, context, loop, &ran))
            return fail(err, ERR_CANCELLED, "interrupted in a loop");
        next = loop->first + loop->count;
    }
    ran += run_launches(module, context, next, end, part->wanted);
    stat_add(&context->stats.launches, ran);
    return true;
}

bool execute(struct urza_module *module, struct call_context *context, struct error *err)
{
    const struct part all = {0, module->target->plan.forward.count, UINT64_MAX};
    return execute_part(module, context, &all, err);
}

bool is_interrupted(const struct urza_module *module, const struct call_context *context)
{
    return atomic_load_explicit(&module->interrupts, memory_order_relaxed) != context->interrupts;
}

URZA_EXPORT void urza_interrupt(urza_module *module)
{
    if (!module)
        return;
    atomic_fetch_add(&module->interrupts, 1);
    if (module->step)
        atomic_fetch_add(&module->step->interrupts, 1);
}

URZA_EXPORT int urza_trace_begin(urza_module *module, urza_span *spans, uint32_t room,
                                 urza_error *err)
{
    struct error e;
    if (!module || !spans)
        return public_result(fail(&e, ERR_USAGE, "an argument is NULL"), &e, err);
    if (module->trace.spans)
        return public_result(fail(&e, ERR_USAGE, "the module is traced already"), &e, err);
    module->trace.room = room;
    atomic_store(&module->trace.count, 0);
    module->trace.spans = spans;
    return public_result(true, &e, err);
}

URZA_EXPORT uint32_t urza_trace_end(urza_module *module)
{
    if (!module || !module->trace.spans)
        return 0;
    module->trace.spans = NULL;
    return atomic_load(&module->trace.count);
}
