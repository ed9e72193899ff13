/* Turns. Each round starts with another contestant, so that none always follows the same one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "bench.h"

#define TURN_MIN_NS 2e6
#define TURN_MAX_NS 20e6
#define ROUNDS_MIN 3
#define PAUSE_NS 2000000 /* longer than idle threads of any contestant spin */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double run(struct contestant *contestant, uint64_t repetitions, bool thread_time)
{
    uint64_t begin = clock_thread_ns();
    uint64_t ns = contestant->run(contestant->state, repetitions);
    if (ns > 0 && thread_time)
        ns = clock_thread_ns() - begin;
    return (double)ns / (double)repetitions;
}

/* Time of one repetition; the first one warms up. 0 when it failed. */
static double probe(struct contestant *contestant, bool thread_time)
{
    double first = run(contestant, 1, thread_time);
    if (first <= 0 || first > TURN_MAX_NS)
        return first;
    return run(contestant, (uint64_t)(0.5e6 / first) + 1, thread_time);
}

static double take_turn(struct contestant *contestant, const struct contest_options *options)
{
    const struct timespec time = {.tv_nsec = PAUSE_NS};
    if (options->pause)
        nanosleep(&time, NULL);
    if (contestant->repetitions > 1) /* brings code and data back into the caches */
        contestant->run(contestant->state, 1);
    return run(contestant, contestant->repetitions, options->thread_time);
}

static void give_up(struct contestant *contestant)
{
    contestant->verdict = VERDICT_FAILED;
    snprintf(contestant->reason, sizeof contestant->reason, "a later run failed");
}

uint32_t contest_run(struct contestant *contestants, uint32_t count,
                     const struct contest_options *options)
{
    double each[CONTESTANTS], round_ns = 0;
    uint32_t timed = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (contestants[i].verdict != VERDICT_TIMED)
            continue;
        each[i] = probe(&contestants[i], options->thread_time);
        if (each[i] > 0) {
            timed++;
        } else {
            give_up(&contestants[i]);
        }
    }
    double turn_ns = options->seconds * 1e9 / ROUNDS_MAX / (timed ? timed : 1);
    turn_ns = fmin(fmax(turn_ns, TURN_MIN_NS), TURN_MAX_NS);
    for (uint32_t i = 0; i < count; i++) {
        if (contestants[i].verdict != VERDICT_TIMED)
            continue;
        contestants[i].repetitions = (uint64_t)(turn_ns / each[i]) + 1;
        round_ns += fmax(turn_ns, each[i]);
    }
    double wanted = fmin(fmax(options->seconds * 1e9 / round_ns, ROUNDS_MIN), ROUNDS_MAX);
    uint32_t rounds = (uint32_t)wanted;
    for (uint32_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < count; i++) {
            struct contestant *next = &contestants[(round + i) % count];
            if (next->verdict != VERDICT_TIMED)
                continue;
            next->ns[round] = take_turn(next, options);
            if (next->ns[round] <= 0)
                give_up(next);
        }
    return rounds;
}
