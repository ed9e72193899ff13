/* Launches that run again.
 *
 * What backward reads of forward_train is alive from one to the other, and mostly makes the peak.
 * Where a cheap launch computed it, that launch may run once more, just before its result is
 * needed, into another buffer:
 *
 *      forward_train   h ─ gelu ─► a ─ product …          a ends here
 *      backward        h ─ gelu ─► a' ─ product …
 *
 * What saves the most bytes of the peak for its cost comes first, until nothing lowers the peak.
 * That is greedy: the best choice is NP-hard. */
#include <string.h>

#include "compiler/plan_memory_priv.h"

#include "base/arena.h"

#define CHEAP                                                                                     \
    40           /* operations and elements read, for each element of a result that is made again \
                  */
#define SHARE 32 /* all that runs again costs at most one operation in so many of the step's */
#define CHAIN 16 /* launches that run again for one another */
#define WORTH 50 /* a peak that falls by less than one part in so many is left as it is */

/* A launch that runs: for the first time, or again. */
struct turn {
    uint32_t launch;
    bool again;
};

struct sequence {
    struct turn *turns;
    uint32_t count;
    /* By buffer, then by buffer again for the other one that a launch writes when it runs again:
     * the first turn and the last one; first NONE: never. */
    uint32_t *begin, *end;
    int64_t peak;
    uint32_t at; /* the first turn with the peak */
};

static void sequence_init(const struct memory_subject *s, struct sequence *q)
{
    *q = (struct sequence){
        .turns = ARENA_ARRAY(s->arena, struct turn, 2 * (size_t)s->plan->forward.count + 1),
        .begin = ARENA_ARRAY(s->arena, uint32_t, 2 * (size_t)s->plan->buffers.count + 1),
        .end = ARENA_ARRAY(s->arena, uint32_t, 2 * (size_t)s->plan->buffers.count + 1)};
}

/* The peak of a sequence whose lifetimes are known. change: scratch, one more than turns. */
static void find_peak(struct memory_subject *s, struct sequence *q, int64_t *change)
{
    uint32_t buffers = s->plan->buffers.count;
    int64_t alive = 0;
    memset(change, 0, (q->count + 1) * sizeof *change);
    for (uint32_t i = 0; i < 2 * buffers; i++) {
        int64_t bytes = s->bytes[i < buffers ? i : i - buffers];
        if (q->begin[i] == NONE || bytes == 0)
            continue;
        change[q->begin[i]] += bytes;
        change[q->end[i] + 1] -= bytes;
    }
    q->peak = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        alive += change[i];
        if (alive > q->peak) {
            q->peak = alive;
            q->at = i;
        }
    }
    s->steps += 2 * (uint64_t)buffers + q->count;
}

static void touch(struct sequence *q, uint32_t buffer)
{
    if (q->begin[buffer] == NONE)
        q->begin[buffer] = q->count;
    q->end[buffer] = q->count;
}

/* Which buffers are made again, and the sequence with that. */
struct again {
    struct memory_subject *s;
    bool *made; /* by buffer: backward makes it again */
    struct sequence q;
    int64_t *change;
};

/* Adds the launch; where it runs in backward, behind those that make again what it reads. False:
 * the chain of these is too long. */
static bool add_turn(struct again *a, struct turn turn, uint32_t depth)
{
    const struct plan_launch *launch = &a->s->plan->forward.items[turn.launch];
    uint32_t buffers = a->s->plan->buffers.count;
    bool behind = turn.again || turn.launch >= a->s->first;
    if (depth > CHAIN)
        return false;
    for (uint32_t k = 0; behind && k < launch->arg_count; k++) {
        uint32_t id = launch->args[k];
        if (!launch_writes(launch, k) && a->made[id] && a->q.begin[buffers + id] == NONE &&
            !add_turn(a, (struct turn){a->s->writer[id], true}, depth + 1))
            return false;
    }
    for (uint32_t k = 0; k < launch->arg_count; k++) {
        uint32_t id = launch->args[k];
        bool other = launch_writes(launch, k) ? turn.again : behind && a->made[id];
        touch(&a->q, other ? buffers + id : id);
    }
    a->q.turns[a->q.count++] = turn;
    a->s->steps += launch->arg_count;
    return true;
}

/* The sequence with what is made again; its peak is INT64_MAX where a chain is too long. */
static void run_again(struct again *a)
{
    struct memory_subject *s = a->s;
    memset(a->q.begin, 0xff, 2 * (size_t)s->plan->buffers.count * sizeof *a->q.begin);
    a->q.count = 0;
    for (uint32_t i = 0; i < s->plan->forward.count; i++)
        if (!add_turn(a, (struct turn){i, false}, 0)) {
            a->q.peak = INT64_MAX;
            return;
        }
    find_peak(s, &a->q, a->change);
}

/* Whether a buffer is saved, and its launch cheap. */
static bool may_run_again(const struct memory_subject *s, const struct sequence *q, uint32_t buffer)
{
    uint32_t launch = s->writer[buffer];
    if (s->bytes[buffer] == 0 || launch == NONE || launch >= s->first ||
        q->end[buffer] < s->first ||
        (s->plan->forward.items[launch].written & (s->plan->forward.items[launch].written - 1)) !=
            0)
        return false;
    int64_t item = (int64_t)dtype_bytes((enum dtype)s->plan->buffers.items[buffer].dtype);
    return s->cost[launch] / CHEAP <= s->bytes[buffer] / item;
}

/* The buffer that lowers the peak most for its cost; NONE: none does. a holds the present sequence,
 * and again afterwards. */
static uint32_t choose(struct again *a, int64_t left, bool *out_stopped)
{
    struct memory_subject *s = a->s;
    struct sequence now = a->q;
    uint32_t buffers = s->plan->buffers.count, best = NONE;
    double most = 0;
    bool *alive = ARENA_ARRAY(s->arena, bool, buffers + 1);
    for (uint32_t i = 0; i < buffers; i++)
        alive[i] = !a->made[i] && may_run_again(s, &now, i) && now.begin[i] <= now.at &&
                   now.end[i] >= now.at && s->cost[s->writer[i]] <= left;
    for (uint32_t i = 0; i < buffers && s->steps < STEPS_MOST; i++) {
        if (!alive[i])
            continue;
        a->made[i] = true;
        run_again(a);
        a->made[i] = false;
        double gain = a->q.peak < now.peak
                          ? (double)(now.peak - a->q.peak) / (1 + (double)s->cost[s->writer[i]])
                          : 0;
        if (gain > most) {
            most = gain;
            best = i;
        }
    }
    *out_stopped = s->steps >= STEPS_MOST;
    return best;
}

/* Makes the plan that runs the sequence. Launches that run again write and read other buffers. */
static void apply(struct again *a)
{
    struct memory_subject *s = a->s;
    struct plan *plan = s->plan;
    uint32_t buffers = plan->buffers.count, old = plan->forward.count;
    uint32_t *other = ARENA_ARRAY(s->arena, uint32_t, buffers + 1);
    struct plan_launch *launches = ARENA_ARRAY(s->arena, struct plan_launch, a->q.count + 1);
    for (uint32_t i = 0; i < a->q.count; i++) {
        struct turn turn = a->q.turns[i];
        struct plan_launch launch = plan->forward.items[turn.launch];
        uint32_t *args = ARENA_ARRAY(s->arena, uint32_t, launch.arg_count + 1);
        for (uint32_t k = 0; k < launch.arg_count; k++) {
            uint32_t id = launch.args[k];
            bool writes = launch_writes(&launch, k) && turn.again;
            if (writes) {
                other[id] = plan->buffers.count;
                VEC_PUSH(s->arena, &plan->buffers, plan->buffers.items[id]);
            }
            bool reads = !launch_writes(&launch, k) && a->made[id] &&
                         (turn.again || turn.launch >= s->first);
            args[k] = writes || reads ? other[id] : id;
        }
        launch.args = args;
        launches[i] = launch;
    }
    plan->forward.count = 0;
    for (uint32_t i = 0; i < a->q.count; i++)
        VEC_PUSH(s->arena, &plan->forward, launches[i]);
    plan->entries.items[1].count += a->q.count - old;
}

void plan_make_again(struct plan *plan, struct arena *arena)
{
    struct memory_subject s;
    if (plan->entries.count != 2 || !subject_init(&s, plan, arena))
        return;
    struct again a = {.s = &s,
                      .made = ARENA_ARRAY(arena, bool, plan->buffers.count + 1),
                      .change = ARENA_ARRAY(arena, int64_t, 2 * (size_t)plan->forward.count + 2)};
    sequence_init(&s, &a.q);
    run_again(&a);
    int64_t before = a.q.peak, left = s.all / SHARE;
    bool stopped = false;
    for (uint32_t next = 0; next != NONE && !stopped;) {
        next = choose(&a, left, &stopped);
        if (next != NONE) {
            a.made[next] = true;
            left -= s.cost[s.writer[next]];
        }
        run_again(&a);
    }
    if (a.q.peak < before - before / WORTH)
        apply(&a);
}
