/* The search: measures candidates in turn until one is left or the time is over.
 *
 * 1. Trial. Each candidate, in the order given, is built, runs once to warm up and be checked, and
 *    once to be measured; one that takes more than twice the best time is excluded at once. Half of
 *    the time is for this.
 * 2. Rounds. The candidates that are left run one after the other, in alternating order, so that a
 *    disturbance affects all of them alike. After each round those that are clearly slower are
 *    excluded: if they are far behind after few samples, or, after more samples, if their lower
 *    quartile is above the upper quartile of the best.
 * 3. It ends when one candidate is left, when all that are left have been within 1 % of the best
 *    for many rounds, at samples_max, or when the time is over. The candidate with the least median
 *    wins, but candidate 0 unless that one is 1 % faster.
 *
 * Medians and quartiles are used because other programs on the machine disturb some samples, which
 * would shift means and variances. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "tuner/visit_priv.h"

#define DEFAULT_BUDGET_S 3.0
#define DEFAULT_SAMPLES 100
#define TRIAL_PART 0.5   /* fraction of the time */
#define TRIAL_SLACK 2.0  /* times the best time: excluded after one sample … */
#define WARM_SLACK 4.0   /* … or after the warm-up run alone */
#define EARLY_SAMPLES 3  /* from this number of samples on … */
#define EARLY_SLACK 1.25 /* … a median of this factor times the best is slower */
#define SURE_SAMPLES 7   /* number of samples from which quartiles are compared */
#define SETTLED_SAMPLES 25
#define CLOSE 1.01 /* ratio of medians up to which two candidates count as equal */
#define WIN 0.99   /* a winner's median is at most this factor times candidate 0's */

struct racer {
    uint32_t index; /* number of the candidate */
    bool built, alive;
    uint32_t count;
    double *samples, *sorted;
    double median, low, high;
};

struct race {
    const urza_search_space *space;
    urza_search_options options;
    urza_search_row *rows;
    struct racer *racers; /* by number of the candidate */
    uint32_t alive, tried;
    uint64_t begin_ns;
    double best; /* least median of the candidates not excluded; INFINITY: none yet */
};

static double elapsed_s(const struct race *r)
{
    return (double)(clock_ns() - r->begin_ns) * 1e-9;
}

static void show(const struct race *r)
{
    if (!r->options.on_progress)
        return;
    const struct racer *base = &r->racers[0];
    urza_tune_progress progress = {
        .op = "",
        .candidates = r->space->count,
        .tried = r->tried,
        .alive = r->alive,
        .elapsed_s = elapsed_s(r),
        .budget_s = r->options.budget_s,
        .best_ns = isfinite(r->best) ? r->best : 0,
        .baseline_ns = base->count > 0 ? base->median : 0,
    };
    r->options.on_progress(r->options.user, &progress);
}

static void leave(struct race *r, struct racer *c, urza_search_state state)
{
    r->rows[c->index].state = state;
    if (c->alive)
        r->alive--;
    c->alive = false;
    if (c->built && r->space->discard)
        r->space->discard(r->space->user, c->index);
    c->built = false;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Takes one sample. False: the run failed, and the candidate is excluded. */
static bool measure(struct race *r, struct racer *c)
{
    double time = r->space->run(r->space->user, c->index);
    if (!(time >= 0)) {
        leave(r, c, URZA_SEARCH_LEFT_OUT);
        return false;
    }
    c->samples[c->count++] = time;
    memcpy(c->sorted, c->samples, c->count * sizeof c->samples[0]);
    qsort(c->sorted, c->count, sizeof c->sorted[0], compare_doubles);
    c->median = (c->sorted[(c->count - 1) / 2] + c->sorted[c->count / 2]) / 2;
    c->low = c->sorted[c->count / 4];
    c->high = c->sorted[c->count - 1 - c->count / 4];
    return true;
}

static void find_best(struct race *r)
{
    r->best = INFINITY;
    for (uint32_t i = 0; i < r->space->count; i++)
        if (r->racers[i].alive && r->racers[i].median < r->best)
            r->best = r->racers[i].median;
}

static void try_one(struct race *r, struct racer *c)
{
    const urza_search_space *space = r->space;
    if (space->build && space->build(space->user, c->index) != 0) {
        r->rows[c->index].state = URZA_SEARCH_LEFT_OUT;
        return;
    }
    c->built = c->alive = true;
    r->alive++;
    double warm = space->run(space->user, c->index);
    if (!(warm >= 0))
        leave(r, c, URZA_SEARCH_LEFT_OUT);
    else if (space->check && space->check(space->user, c->index) != 0)
        leave(r, c, URZA_SEARCH_WRONG);
    else if (warm > WARM_SLACK * r->best)
        leave(r, c, URZA_SEARCH_SLOWER);
    else if (measure(r, c) && c->median > TRIAL_SLACK * r->best)
        leave(r, c, URZA_SEARCH_SLOWER);
    else if (c->alive && c->median < r->best)
        r->best = c->median;
}

static void trial(struct race *r)
{
    for (uint32_t i = 0; i < r->space->count; i++) {
        if (i > 0 && elapsed_s(r) > TRIAL_PART * r->options.budget_s)
            break;
        try_one(r, &r->racers[i]);
        r->tried++;
        show(r);
    }
}

/* Candidate 0 is never excluded: the winner is reported relative to it. */
static void drop_slower(struct race *r)
{
    const struct racer *best = NULL;
    for (uint32_t i = 0; i < r->space->count; i++)
        if (r->racers[i].alive && (!best || r->racers[i].median < best->median))
            best = &r->racers[i];
    if (!best)
        return;
    for (uint32_t i = 1; i < r->space->count; i++) {
        struct racer *c = &r->racers[i];
        bool far = c->count >= EARLY_SAMPLES && c->median > EARLY_SLACK * best->median;
        bool sure = c->count >= SURE_SAMPLES && c->low > best->high;
        if (c->alive && c != best && (far || sure))
            leave(r, c, URZA_SEARCH_SLOWER);
    }
}

static bool settled(const struct race *r, uint32_t samples)
{
    for (uint32_t i = 1; i < r->space->count; i++)
        if (r->racers[i].alive && r->racers[i].median > CLOSE * r->best)
            return false;
    return r->alive <= 1 || samples >= SETTLED_SAMPLES;
}

/* One round; false if the time was over before its end. */
static bool run_round(struct race *r, uint32_t round)
{
    uint32_t count = r->space->count;
    for (uint32_t i = 0; i < count; i++) {
        struct racer *c = &r->racers[round % 2 == 0 ? count - 1 - i : i];
        if (!c->alive)
            continue;
        if (elapsed_s(r) > r->options.budget_s)
            return false;
        measure(r, c);
    }
    return true;
}

static void rounds(struct race *r)
{
    for (uint32_t samples = 1; samples < r->options.samples_max; samples++) {
        if (r->alive <= 1 || !run_round(r, samples))
            break;
        drop_slower(r);
        find_best(r);
        show(r);
        if (settled(r, samples + 1))
            break;
    }
}

/* Chooses the winner among the candidates that are left. If the last round was not finished, some
 * have one sample less than others. */
static bool decide(struct race *r, uint32_t *best, struct error *err)
{
    uint32_t winner = UINT32_MAX;
    for (uint32_t i = 0; i < r->space->count; i++) {
        struct racer *c = &r->racers[i];
        if (c->alive && (winner == UINT32_MAX || c->median < r->racers[winner].median))
            winner = i;
    }
    if (winner == UINT32_MAX)
        return fail(err, ERR_NOT_FOUND, "no candidate runs and gives the right result");
    if (r->racers[0].alive && r->racers[winner].median > WIN * r->racers[0].median)
        winner = 0;
    for (uint32_t i = 0; i < r->space->count; i++) {
        struct racer *c = &r->racers[i];
        r->rows[i].samples = c->count;
        r->rows[i].median = c->median;
        r->rows[i].low = c->low;
        r->rows[i].high = c->high;
        if (c->alive)
            leave(r, c, i == winner ? URZA_SEARCH_BEST : URZA_SEARCH_CLOSE);
    }
    *best = winner;
    return true;
}

bool search(const urza_search_space *space, const urza_search_options *options,
            urza_search_row *rows, uint32_t *best, struct arena *arena, struct error *err)
{
    struct race r = {.space = space, .rows = rows, .begin_ns = clock_ns(), .best = INFINITY};
    if (space->count == 0 || !space->run)
        return fail(err, ERR_USAGE, "nothing to search");
    if (options)
        r.options = *options;
    if (!(r.options.budget_s > 0))
        r.options.budget_s = DEFAULT_BUDGET_S;
    if (r.options.samples_max == 0)
        r.options.samples_max = DEFAULT_SAMPLES;
    r.racers = ARENA_ARRAY(arena, struct racer, space->count);
    memset(rows, 0, space->count * sizeof rows[0]);
    for (uint32_t i = 0; i < space->count; i++) {
        r.racers[i].index = i;
        r.racers[i].samples = ARENA_ARRAY(arena, double, r.options.samples_max);
        r.racers[i].sorted = ARENA_ARRAY(arena, double, r.options.samples_max);
    }
    trial(&r);
    rounds(&r);
    return decide(&r, best, err);
}

struct wish {
    const urza_search_space *space;
    const urza_search_options *options;
    urza_search_row *rows;
    uint32_t *best;
};

static bool search_visit(struct visit *visit, void *context, struct error *err)
{
    const struct wish *wish = context;
    return search(wish->space, wish->options, wish->rows, wish->best, &visit->arena, err);
}

URZA_EXPORT int urza_search(const urza_search_space *space, const urza_search_options *options,
                            urza_search_row *rows, uint32_t *best, urza_error *err)
{
    struct error e;
    struct wish wish = {space, options, rows, best};
    return tune_result(visit_run(NULL, search_visit, &wish, &e), &e, err);
}

URZA_EXPORT const char *urza_search_state_name(urza_search_state state)
{
    static const char *const names[] = {"untried", "left out", "wrong", "slower", "close", "best"};
    return (unsigned)state < sizeof names / sizeof names[0] ? names[state] : "";
}
