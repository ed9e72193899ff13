/* The order of launches.
 *
 * Of the launches that could run next, the first one runs that ends more bytes than it begins;
 * where there is none, the next one of the order that there was. So launches keep their neighbours,
 * whose results are still in the caches, unless that costs memory. Each entry is ordered by itself.
 * A launch that writes over an input comes behind all others that read it. */
#include <string.h>

#include "compiler/compile_priv.h"
#include "compiler/plan_memory_priv.h"

#include "base/arena.h"

struct ordering {
    struct memory_subject *s;
    uint32_t *waits;        /* by launch: what it reads that is not written yet, and what others
                               still read that it writes over */
    uint32_t *left;         /* by buffer: arguments of launches that did not run */
    uint32_t *users, *from; /* launches with a buffer as argument: users[from[b]] to from[b + 1] */
    bool *alive;            /* by buffer */
    uint32_t *ready, ready_count; /* launches that wait for nothing, ascending */
    uint32_t *order, count;
};

/* The launch that writes over an input; NONE: there is none. */
static uint32_t writes_over(const struct memory_subject *s, uint32_t buffer)
{
    uint32_t by = s->updated ? s->updated[buffer] : PLAN_NONE;
    return by == PLAN_NONE ? NONE : s->writer[by];
}

static void ordering_init(struct ordering *o, struct memory_subject *s)
{
    const struct plan *plan = s->plan;
    uint32_t launches = plan->forward.count, buffers = plan->buffers.count, args = 0;
    for (uint32_t i = 0; i < launches; i++)
        args += plan->forward.items[i].arg_count;
    *o = (struct ordering){.s = s,
                           .waits = ARENA_ARRAY(s->arena, uint32_t, launches + 1),
                           .left = ARENA_ARRAY(s->arena, uint32_t, buffers + 1),
                           .users = ARENA_ARRAY(s->arena, uint32_t, args + 1),
                           .from = ARENA_ARRAY(s->arena, uint32_t, buffers + 1),
                           .alive = ARENA_ARRAY(s->arena, bool, buffers + 1),
                           .ready = ARENA_ARRAY(s->arena, uint32_t, launches + 1),
                           .order = ARENA_ARRAY(s->arena, uint32_t, launches + 1)};
    for (uint32_t i = 0; i < launches; i++)
        for (uint32_t k = 0; k < plan->forward.items[i].arg_count; k++)
            o->from[plan->forward.items[i].args[k] + 1]++;
    for (uint32_t i = 0; i < buffers; i++)
        o->from[i + 1] += o->from[i];
    for (uint32_t i = 0; i < launches; i++) {
        const struct plan_launch *launch = &plan->forward.items[i];
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            uint32_t id = launch->args[k];
            o->users[o->from[id] + o->left[id]++] = i;
            o->waits[i] += !launch_writes(launch, k) && s->writer[id] != NONE;
            uint32_t over = writes_over(s, id);
            if (over != NONE && over != i)
                o->waits[over]++;
        }
    }
}

/* The bytes that a launch begins, less those that end with it. */
static int64_t growth(const struct ordering *o, uint32_t index)
{
    const struct plan_launch *launch = &o->s->plan->forward.items[index];
    int64_t bytes = 0;
    o->s->steps += launch->arg_count;
    for (uint32_t k = 0; k < launch->arg_count; k++) {
        uint32_t id = launch->args[k], times = 0;
        bool seen = false; /* an argument may be there twice */
        for (uint32_t j = 0; j < launch->arg_count; j++) {
            seen |= j < k && launch->args[j] == id;
            times += launch->args[j] == id;
        }
        if (seen)
            continue;
        bytes += o->alive[id] ? 0 : o->s->bytes[id];
        bytes -= o->left[id] == times ? o->s->bytes[id] : 0;
    }
    return bytes;
}

static void add_ready(struct ordering *o, uint32_t launch)
{
    uint32_t at = o->ready_count++;
    for (; at > 0 && o->ready[at - 1] > launch; at--)
        o->ready[at] = o->ready[at - 1];
    o->ready[at] = launch;
}

/* Runs a launch. Those of its entry, below `end`, that waited for it alone become ready. */
static void run(struct ordering *o, uint32_t index, uint32_t end)
{
    const struct plan_launch *launch = &o->s->plan->forward.items[index];
    o->order[o->count++] = index;
    for (uint32_t k = 0; k < launch->arg_count; k++) {
        uint32_t id = launch->args[k];
        o->alive[id] = --o->left[id] > 0;
        uint32_t over = writes_over(o->s, id);
        if (over != NONE && over != index && --o->waits[over] == 0 && over < end)
            add_ready(o, over);
        if (!launch_writes(launch, k))
            continue;
        for (uint32_t i = o->from[id]; i < o->from[id + 1]; i++) {
            uint32_t user = o->users[i];
            if (user != index && --o->waits[user] == 0 && user < end)
                add_ready(o, user);
        }
    }
}

/* The launches of an entry; false: some wait for one another, or it takes too long. */
static bool run_entry(struct ordering *o, uint32_t first, uint32_t end)
{
    o->ready_count = 0;
    for (uint32_t i = first; i < end; i++)
        if (o->waits[i] == 0)
            add_ready(o, i);
    while (o->ready_count > 0 && o->s->steps < STEPS_MOST) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < o->ready_count; i++)
            if (growth(o, o->ready[i]) < 0) {
                at = i;
                break;
            }
        uint32_t next = o->ready[at];
        o->ready_count--;
        memmove(&o->ready[at], &o->ready[at + 1], (o->ready_count - at) * sizeof *o->ready);
        run(o, next, end);
    }
    return o->count == end;
}

/* The most bytes that are alive in one launch; order NULL: in that of the plan. */
static int64_t peak(const struct memory_subject *s, const uint32_t *order)
{
    const struct plan *plan = s->plan;
    uint32_t launches = plan->forward.count, buffers = plan->buffers.count;
    uint32_t *end = ARENA_ARRAY(s->arena, uint32_t, buffers + 1);
    bool *alive = ARENA_ARRAY(s->arena, bool, buffers + 1);
    int64_t now = 0, most = 0;
    for (uint32_t i = 0; i < launches; i++) {
        const struct plan_launch *launch = &plan->forward.items[order ? order[i] : i];
        for (uint32_t k = 0; k < launch->arg_count; k++)
            end[launch->args[k]] = i;
    }
    for (uint32_t i = 0; i < launches; i++) {
        const struct plan_launch *launch = &plan->forward.items[order ? order[i] : i];
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            uint32_t id = launch->args[k];
            now += alive[id] ? 0 : s->bytes[id];
            alive[id] = true;
        }
        most = now > most ? now : most;
        for (uint32_t k = 0; k < launch->arg_count; k++) {
            uint32_t id = launch->args[k];
            now -= alive[id] && end[id] == i ? s->bytes[id] : 0;
            alive[id] = end[id] != i;
        }
    }
    return most;
}

int64_t plan_order_peak(struct plan *plan, struct arena *arena)
{
    struct memory_subject s;
    return subject_init(&s, plan, arena) ? peak(&s, NULL) : -1;
}

void plan_order(struct plan *plan, const uint32_t *updated, struct arena *arena)
{
    struct memory_subject s;
    struct ordering o;
    if (!subject_init(&s, plan, arena))
        return;
    s.updated = updated;
    ordering_init(&o, &s);
    if (!run_entry(&o, 0, s.first) || !run_entry(&o, s.first, plan->forward.count) ||
        peak(&s, o.order) >= peak(&s, NULL))
        return;
    struct plan_launch *launches = ARENA_ARRAY(arena, struct plan_launch, plan->forward.count + 1);
    for (uint32_t i = 0; i < plan->forward.count; i++)
        launches[i] = plan->forward.items[o.order[i]];
    memcpy(plan->forward.items, launches, plan->forward.count * sizeof *launches);
}
