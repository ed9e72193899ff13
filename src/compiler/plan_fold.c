/* Plans with loops, as plans without: each loop is one launch.
 *
 * It writes the results of the loop, and reads what the loop reads from outside. What lives in the
 * loop alone is one more buffer that it writes, as large as all that is alive at once. So the
 * search for a lower peak knows nothing of loops, moves them as a whole, and never runs one again,
 * since they write two buffers at least. */
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "compiler/plan_memory_priv.h"
#include "package/layout.h"

struct folding {
    struct folded *out;
    const struct plan *plan;
    struct arena *arena;
    int64_t dims[LIMIT_NAMED_DIMS];
    /* Of the loop at hand: */
    const struct plan_loop *loop;
    VEC(uint32_t) written, read;
};

static bool has(const uint32_t *items, uint32_t count, uint32_t buffer)
{
    for (uint32_t i = 0; i < count; i++)
        if (items[i] == buffer)
            return true;
    return false;
}

/* Whether a buffer lives in the loop alone. */
static bool is_inner(const struct folding *f, uint32_t buffer)
{
    const struct plan_buffer *b = &f->plan->buffers.items[buffer];
    return b->kind == BUFFER_TEMP && b->first_launch >= f->loop->first &&
           b->last_launch < f->loop->first + f->loop->count &&
           !has(f->written.items, f->written.count, buffer);
}

static void add_written(struct folding *f, uint32_t buffer)
{
    if (buffer != PLAN_NONE && !has(f->written.items, f->written.count, buffer))
        VEC_PUSH(f->arena, &f->written, buffer);
}

static void add_read(struct folding *f, uint32_t buffer)
{
    if (!is_inner(f, buffer) && !has(f->written.items, f->written.count, buffer) &&
        !has(f->read.items, f->read.count, buffer))
        VEC_PUSH(f->arena, &f->read, buffer);
}

static void find_args(struct folding *f)
{
    const struct plan_loop *loop = f->loop;
    const struct plan_launch *launches = &f->plan->forward.items[loop->first];
    f->written.count = f->read.count = 0;
    for (uint32_t i = 0; i < loop->state_count; i++)
        add_written(f, loop->states[i].result);
    for (uint32_t i = 0; i < loop->row_count; i++)
        add_written(f, loop->rows[i].result);
    for (uint32_t i = 0; i < loop->count; i++)
        for (uint32_t k = 0; k < launches[i].arg_count; k++)
            if (launch_writes(&launches[i], k) && !is_inner(f, launches[i].args[k]))
                add_written(f, launches[i].args[k]);
    /* What a state is after a trip, or a row, may come from outside, too: the same in all trips. */
    for (uint32_t i = 0; i < loop->state_count; i++) {
        add_read(f, loop->states[i].from);
        add_read(f, loop->states[i].next);
    }
    for (uint32_t i = 0; i < loop->row_count; i++)
        add_read(f, loop->rows[i].row);
    for (uint32_t i = 0; i < loop->count; i++)
        for (uint32_t k = 0; k < launches[i].arg_count; k++)
            add_read(f, launches[i].args[k]);
}

/* The most bytes that are alive at once of what lives in the loop alone. */
static bool inner_bytes(const struct folding *f, int64_t *out)
{
    int64_t *change = ARENA_ARRAY(f->arena, int64_t, f->loop->count + 1), alive = 0, bytes;
    for (uint32_t i = 0; i < f->plan->buffers.count; i++) {
        const struct plan_buffer *b = &f->plan->buffers.items[i];
        if (b->displaced || !is_inner(f, i))
            continue;
        if (!layout_size(f->plan, b->elements, f->dims, (int64_t)dtype_bytes((enum dtype)b->dtype),
                         &bytes))
            return false;
        change[b->first_launch - f->loop->first] += bytes;
        change[b->last_launch - f->loop->first + 1] -= bytes;
    }
    *out = 0;
    for (uint32_t i = 0; i < f->loop->count; i++) {
        alive += change[i];
        *out = alive > *out ? alive : *out;
    }
    return true;
}

static dim_id operations(const struct folding *f)
{
    struct dim_table *dims = f->plan->dims;
    dim_id sum = dim_const(dims, 0);
    for (uint32_t i = f->loop->first; i < f->loop->first + f->loop->count; i++)
        sum = dim_add(dims, sum, f->plan->forward.items[i].asked);
    return dim_mul(dims, sum, f->loop->trips);
}

/* Adds the launch that stands for loop `index`. */
static bool add_loop(struct folding *f, uint32_t index)
{
    struct plan *to = &f->out->plan;
    int64_t bytes;
    f->loop = &f->plan->loops.items[index];
    find_args(f);
    if (!inner_bytes(f, &bytes))
        return false;
    add_written(f, to->buffers.count);
    VEC_PUSH(f->arena, &to->buffers,
             ((struct plan_buffer){
                 .kind = BUFFER_TEMP, .dtype = DTYPE_U8, .elements = dim_const(to->dims, bytes)}));
    uint32_t count = f->written.count + f->read.count;
    uint32_t *args = ARENA_ARRAY(f->arena, uint32_t, count + 1);
    memcpy(args, f->written.items, f->written.count * sizeof *args);
    if (f->read.count > 0)
        memcpy(args + f->written.count, f->read.items, f->read.count * sizeof *args);
    f->out->args[index] = args;
    const struct plan_launch launch = {.code.kernel = to->kernel_count + index,
                                       .arg_count = count,
                                       .args = args,
                                       .written = (uint32_t)(((uint64_t)1 << f->written.count) - 1),
                                       .asked = operations(f)};
    VEC_PUSH(f->arena, &to->forward, launch);
    return f->written.count <= 32 && launch.asked != DIM_NONE;
}

static bool add_launches(struct folding *f)
{
    const struct plan *from = f->plan;
    struct plan *to = &f->out->plan;
    uint32_t next = 0, entry = 0;
    for (uint32_t i = 0; i <= from->forward.count;) {
        while (entry < from->entries.count && from->entries.items[entry].first <= i) {
            to->entries.items[entry].first = to->forward.count;
            if (entry > 0)
                to->entries.items[entry - 1].count =
                    to->forward.count - to->entries.items[entry - 1].first;
            entry++;
        }
        if (i == from->forward.count)
            break;
        if (next < from->loops.count && from->loops.items[next].first == i) {
            i += from->loops.items[next].count;
            if (!add_loop(f, next++))
                return false;
            continue;
        }
        VEC_PUSH(f->arena, &to->forward, from->forward.items[i]);
        i++;
    }
    if (entry > 0)
        to->entries.items[entry - 1].count = to->forward.count - to->entries.items[entry - 1].first;
    return true;
}

bool plan_fold(struct folded *out, struct plan *plan, const uint32_t *updated, struct arena *arena)
{
    uint32_t buffers = plan->buffers.count;
    struct folding f = {.out = out, .plan = plan, .arena = arena};
    plan_finish(plan);
    *out = (struct folded){
        .of = plan,
        .plan = {.arena = arena, .dims = plan->dims, .kernel_count = plan->kernel_count},
        .args = ARENA_ARRAY(arena, const uint32_t *, plan->loops.count + 1)};
    for (uint32_t i = 0; i < buffers; i++)
        VEC_PUSH(arena, &out->plan.buffers, plan->buffers.items[i]);
    for (uint32_t i = 0; i < plan->entries.count; i++)
        VEC_PUSH(arena, &out->plan.entries, plan->entries.items[i]);
    for (uint32_t i = 0; i < plan->dims->names.count; i++)
        f.dims[i] = dim_typical(&plan->dims->names.items[i]);
    if (!add_launches(&f))
        return false;
    if (updated) {
        uint32_t *longer = ARENA_ARRAY(arena, uint32_t, out->plan.buffers.count + 1);
        memset(longer, 0xff, out->plan.buffers.count * sizeof *longer);
        memcpy(longer, updated, buffers * sizeof *longer);
        out->updated = longer;
    }
    return true;
}

/* What a buffer of the loop is once the launch that stands for it has other arguments. */
static uint32_t renamed(const uint32_t *before, const struct plan_launch *after, uint32_t buffer)
{
    for (uint32_t i = 0; i < after->arg_count; i++)
        if (before[i] == buffer)
            return after->args[i];
    return buffer;
}

/* Adds a loop's launches, and the loop behind others. */
static void unfold_loop(struct folded *f, struct plan *to, const struct plan_launch *launch)
{
    struct arena *arena = to->arena;
    uint32_t index = launch->code.kernel - to->kernel_count;
    const uint32_t *before = f->args[index];
    struct plan_loop loop = f->of->loops.items[index];
    struct plan_state *states = arena_memdup(arena, loop.states, loop.state_count * sizeof *states);
    struct plan_row *rows = arena_memdup(arena, loop.rows, loop.row_count * sizeof *rows);
    for (uint32_t i = 0; i < loop.state_count; i++) {
        states[i].from = renamed(before, launch, states[i].from);
        states[i].next = renamed(before, launch, states[i].next);
    }
    for (uint32_t i = 0; i < loop.row_count; i++)
        rows[i].row = renamed(before, launch, rows[i].row);
    uint32_t first = to->forward.count;
    for (uint32_t i = 0; i < loop.count; i++) {
        struct plan_launch own = f->of->forward.items[loop.first + i];
        uint32_t *args = arena_memdup(arena, own.args, own.arg_count * sizeof *args);
        for (uint32_t k = 0; k < own.arg_count; k++)
            args[k] = renamed(before, launch, args[k]);
        own.args = args;
        VEC_PUSH(arena, &to->forward, own);
    }
    loop.first = first;
    loop.states = states;
    loop.rows = rows;
    VEC_PUSH(arena, &to->loops, loop);
}

/* Buffers that stand for loops go, and those that were added since then move up. */
static void drop_buffers(struct folded *f, struct plan *to)
{
    uint32_t old = f->of->buffers.count, loops = f->of->loops.count;
    for (uint32_t i = 0; i < old; i++)
        VEC_PUSH(to->arena, &to->buffers, f->of->buffers.items[i]);
    for (uint32_t i = old + loops; i < f->plan.buffers.count; i++)
        VEC_PUSH(to->arena, &to->buffers, f->plan.buffers.items[i]);
    for (uint32_t i = 0; i < f->plan.forward.count; i++) {
        struct plan_launch *launch = &f->plan.forward.items[i];
        uint32_t *args = arena_memdup(to->arena, launch->args, launch->arg_count * sizeof *args);
        for (uint32_t k = 0; k < launch->arg_count; k++)
            args[k] -= args[k] >= old + loops ? loops : 0;
        launch->args = args;
    }
}

void plan_unfold(struct folded *f)
{
    struct plan *of = f->of, to = *of;
    memset(&to.buffers, 0, sizeof to.buffers);
    memset(&to.forward, 0, sizeof to.forward);
    memset(&to.loops, 0, sizeof to.loops);
    drop_buffers(f, &to);
    uint32_t entry = 0;
    for (uint32_t i = 0; i <= f->plan.forward.count; i++) {
        while (entry < of->entries.count && f->plan.entries.items[entry].first <= i) {
            to.entries.items[entry].first = to.forward.count;
            entry++;
        }
        if (i == f->plan.forward.count)
            break;
        const struct plan_launch *launch = &f->plan.forward.items[i];
        if (launch->code.kernel >= to.kernel_count)
            unfold_loop(f, &to, launch);
        else
            VEC_PUSH(to.arena, &to.forward, *launch);
    }
    for (uint32_t i = 0; i < of->entries.count; i++) {
        uint32_t end = i + 1 < of->entries.count ? to.entries.items[i + 1].first : to.forward.count;
        to.entries.items[i].count = end - to.entries.items[i].first;
    }
    *of = to;
}
