/* Launches that run again.
 *
 * What backward reads of forward_train is alive from one to the other, and mostly makes the peak.
 * Where a cheap launch computed it, that launch may run once more, just before its result is
 * needed, into another buffer:
 *
 *      forward_train   h ─ gelu ─► a ─ product …          a ends here
 *      backward        h ─ gelu ─► a' ─ product …
 *
 * What that launch reads must be there, too: saved, or made again in turn. What saves the most
 * bytes of the peak for its cost comes first, until nothing lowers the peak. That is greedy: the
 * best choice is NP-hard. Where there is a budget, and what is cheap does not reach it, launches
 * run again whatever they cost, until the peak is within it. */
#include <math.h>
#include <string.h>

#include "compiler/plan_memory_priv.h"

#include "base/arena.h"

/* Operations and elements read, for each element of a result that is made again, at most. */
#define CHEAP 100
#define DEAR ((int64_t)1 << 40) /* the same, to keep to a budget */
#define SHARE 32 /* all that runs again costs at most one operation in so many of the step's */
#define EXCESS_POWER \
    6 /* of what is above a budget, so that few high peaks do not pay for many low ones */
#define PIECES 64 /* of very many buffers: parts of forward_train whose buffers go together */
#define CHAIN 16  /* launches that run again for one another */
#define WORTH 50  /* a peak that falls by less than one part in so many is left as it is */

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
    uint32_t at;   /* the first turn with the peak */
    double excess; /* what is above the budget, over the turns; high peaks count more */
};

static void sequence_init(const struct memory_subject *s, struct sequence *q)
{
    *q = (struct sequence){
        .turns = ARENA_ARRAY(s->arena, struct turn, 2 * (size_t)s->plan->forward.count + 1),
        .begin = ARENA_ARRAY(s->arena, uint32_t, 2 * (size_t)s->plan->buffers.count + 1),
        .end = ARENA_ARRAY(s->arena, uint32_t, 2 * (size_t)s->plan->buffers.count + 1)};
}

/* The peak of a sequence whose lifetimes are known, and what is above a budget. change: scratch,
 * one more than turns. */
static void find_peak(struct memory_subject *s, struct sequence *q, int64_t budget, int64_t *change)
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
    q->excess = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        alive += change[i];
        q->excess += alive > budget ? pow((double)(alive - budget), EXCESS_POWER) : 0;
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
    int64_t cheap;  /* what a launch that runs again may cost for each element */
    int64_t budget; /* 0: the peak alone counts */
    bool *made;     /* by buffer: backward makes it again */
    struct sequence q;
    int64_t *change;
    bool *alive, *saved; /* by buffer, of the present sequence: scratch of choose */
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
            a->q.excess = INFINITY;
            return;
        }
    find_peak(s, &a->q, a->budget, a->change);
}

/* Whether a launch of forward_train wrote the buffer, and nothing else, and costs at most `cheap`
 * for each element. */
static bool may_run_again(const struct memory_subject *s, uint32_t buffer, int64_t cheap)
{
    uint32_t launch = s->writer[buffer];
    if (s->bytes[buffer] == 0 || launch == NONE || launch >= s->first)
        return false;
    uint32_t written = s->plan->forward.items[launch].written;
    int64_t item = (int64_t)dtype_bytes((enum dtype)s->plan->buffers.items[buffer].dtype);
    return (written & (written - 1)) == 0 && s->cost[launch] / cheap <= s->bytes[buffer] / item;
}

/* Buffers to make again at once, and what that costs. */
struct wish {
    uint32_t items[CHAIN], count;
    int64_t cost;
};

/* Adds a buffer; with_reads: and what its launch reads and backward does not have, if that may be
 * made again. */
static void wish_add(const struct again *a, uint32_t buffer, bool with_reads, struct wish *out)
{
    const struct memory_subject *s = a->s;
    const struct plan_launch *launch = &s->plan->forward.items[s->writer[buffer]];
    for (uint32_t i = 0; i < out->count; i++)
        if (out->items[i] == buffer)
            return;
    if (out->count == CHAIN)
        return;
    out->items[out->count++] = buffer;
    out->cost += s->cost[s->writer[buffer]];
    for (uint32_t k = 0; with_reads && k < launch->arg_count; k++) {
        uint32_t id = launch->args[k];
        if (!launch_writes(launch, k) && !a->saved[id] && !a->made[id] &&
            may_run_again(s, id, a->cheap))
            wish_add(a, id, true, out);
    }
}

static void grant(struct again *a, const struct wish *wish, bool granted)
{
    for (uint32_t i = 0; i < wish->count; i++)
        a->made[wish->items[i]] = granted;
}

/* Fills alive and saved; returns how many are alive. */
static uint32_t look_at(struct again *a, int64_t cheap)
{
    const struct memory_subject *s = a->s;
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->plan->buffers.count; i++) {
        a->saved[i] = a->q.begin[i] != NONE && a->q.end[i] >= s->first;
        bool there = a->q.begin[i] <= a->q.at && a->q.end[i] >= a->q.at;
        a->alive[i] = a->saved[i] && (there || a->budget > 0) && may_run_again(s, i, cheap);
        count += a->alive[i];
    }
    return count;
}

/* How many launches must run again before a buffer is there again. */
static uint32_t chain_of(const struct again *a, const uint32_t *chain, uint32_t buffer)
{
    const struct plan_launch *launch = &a->s->plan->forward.items[a->s->writer[buffer]];
    uint32_t most = 0;
    for (uint32_t k = 0; k < launch->arg_count; k++) {
        uint32_t id = launch->args[k];
        if (!launch_writes(launch, k) && a->made[id] && chain[id] > most)
            most = chain[id];
    }
    return most + 1;
}

/* Of many buffers: those that begin in one of PIECES parts of the forward pass, all at once, part
 * by part; a part counts if it lowers the peak. a holds the present sequence, and again afterwards.
 * chain: by buffer that is made again, as above. */
static void grant_pieces(struct again *a, int64_t cheap, uint32_t *chain, int64_t *left)
{
    const struct memory_subject *s = a->s;
    uint32_t *chosen = ARENA_ARRAY(s->arena, uint32_t, s->plan->buffers.count + 1);
    for (uint32_t piece = 0; piece < PIECES; piece++) {
        int64_t peak = a->q.peak, cost = 0;
        uint32_t count = 0;
        look_at(a, cheap);
        for (uint32_t i = 0; i < s->plan->buffers.count; i++) {
            if (!a->alive[i] || (uint64_t)a->q.begin[i] * PIECES / s->first != piece ||
                cost + s->cost[s->writer[i]] > *left ||
                (chain[i] = chain_of(a, chain, i)) > CHAIN / 4)
                continue;
            cost += s->cost[s->writer[i]];
            chosen[count++] = i;
            a->made[i] = true;
        }
        if (count == 0)
            continue;
        run_again(a);
        bool lower = a->q.peak < peak;
        for (uint32_t i = 0; i < count && !lower; i++)
            a->made[chosen[i]] = false;
        if (!lower)
            run_again(a);
        *left -= lower ? cost : 0;
    }
}

/* What is to fall: the peak; with a budget, what is above it, since the same peak may be in several
 * places. */
static double measure(const struct again *a)
{
    return a->budget > 0 ? a->q.excess : (double)a->q.peak;
}

/* The wish that lowers the measure most for its cost; false: none does. a holds the present
 * sequence. */
static bool choose(struct again *a, int64_t left, struct wish *out)
{
    struct memory_subject *s = a->s;
    uint32_t buffers = s->plan->buffers.count;
    double most = 0, now = measure(a);
    look_at(a, a->cheap);
    for (uint32_t i = 0; i < 2 * buffers && s->steps < STEPS_MOST; i++) {
        struct wish wish = {.count = 0};
        if (!a->alive[i / 2])
            continue;
        wish_add(a, i / 2, i % 2 > 0, &wish);
        if (wish.cost > left || (i % 2 > 0 && wish.count == 1))
            continue;
        grant(a, &wish, true);
        run_again(a);
        grant(a, &wish, false);
        double gain = (now - measure(a)) / (1 + (double)wish.cost);
        if (gain > most) {
            most = gain;
            *out = wish;
        }
    }
    return most > 0;
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

/* One wish after the other, while one helps. */
static void grant_wishes(struct again *a, int64_t *left)
{
    struct wish wish;
    while (measure(a) > 0 && choose(a, *left, &wish)) {
        grant(a, &wish, true);
        *left -= wish.cost;
        run_again(a);
    }
}

/* A search among launches that cost at most so much for each element, until the peak is within the
 * budget; 0: for the lowest peak. */
struct search {
    int64_t least, most; /* of many buffers: the cheapest first, then four times as much, and so on
                          */
    int64_t budget;
    int64_t left; /* operations for what runs again */
};

/* chain: of many buffers, as in grant_pieces; else NULL. a holds the present sequence, and again
 * afterwards. */
static void search(struct again *a, struct search how, uint32_t *chain)
{
    for (int64_t cheap = how.least; chain && cheap <= how.most && a->q.peak > how.budget;
         cheap *= 4)
        grant_pieces(a, cheap, chain, &how.left);
    if (chain)
        return;
    a->cheap = how.most;
    if (how.budget > 0) {
        a->budget = how.budget;
        run_again(a);
    }
    grant_wishes(a, &how.left);
    run_again(a);
}

void plan_make_again(struct plan *plan, int64_t budget, struct arena *arena)
{
    struct memory_subject s;
    if (plan->entries.count != 2 || !subject_init(&s, plan, arena))
        return;
    struct again a = {.s = &s,
                      .made = ARENA_ARRAY(arena, bool, plan->buffers.count + 1),
                      .alive = ARENA_ARRAY(arena, bool, plan->buffers.count + 1),
                      .saved = ARENA_ARRAY(arena, bool, plan->buffers.count + 1),
                      .change = ARENA_ARRAY(arena, int64_t, 2 * (size_t)plan->forward.count + 2)};
    sequence_init(&s, &a.q);
    run_again(&a);
    int64_t before = a.q.peak;
    /* One after the other, each takes as many trials as there are. */
    uint64_t trials = look_at(&a, CHEAP), steps = s.steps;
    bool many = trials * trials * steps > STEPS_MOST;
    uint32_t *chain = many ? ARENA_ARRAY(arena, uint32_t, plan->buffers.count + 1) : NULL;
    search(&a, (struct search){CHEAP / 16, CHEAP, 0, s.all / SHARE}, chain);
    if (budget > 0)
        search(&a, (struct search){CHEAP, DEAR, budget, INT64_MAX}, chain);
    if (a.q.peak < before - (budget > 0 ? 0 : before / WORTH))
        apply(&a);
}
