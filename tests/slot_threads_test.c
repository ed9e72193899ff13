/* Calls from several threads while one thread ticks, plants, prunes, rolls out, saves and reads
 * events; and a fork amid it. What each call gives is h itself or a blend by some alpha. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/grafted.h"

enum { THREADS = 4, ROWS = 5, TICKS = 30000 };

static urza_slot *slot;
static urza_module *module;
static atomic_bool stop;
static _Atomic uint64_t blends, hosts, wrong;

/* (y - h) / s is one number, alpha, for all elements. */
static bool is_blend(const struct place *p, const double *s)
{
    double alpha = -1;
    for (int64_t i = 0; i < ROWS * GRAFT_FEATURES; i++) {
        if (fabs(s[i]) < 0.1)
            continue;
        double at = (place_get(&p->y, i) - place_get(&p->h, i)) / s[i];
        if (alpha < 0)
            alpha = at;
        if (!(fabs(at - alpha) < 1e-4) || at < -1e-4 || at > 1 + 1e-4)
            return false;
    }
    return true;
}

/* What the seed gives: the graft's own y with alpha 1, less h. */
static void seed_values(struct place *p, double *s)
{
    DLTensor inputs[3] = {p->h, p->h, p->factors};
    urza_tape *tape;
    urza_error err;
    for (int i = 0; i < ROWS; i++)
        place_set(&p->factors, i, 1);
    must(urza_forward_train(module, inputs, 3, p->param, p->params, &p->y, 1, &tape, &err), &err);
    urza_tape_release(tape);
    for (int64_t i = 0; i < ROWS * GRAFT_FEATURES; i++)
        s[i] = place_get(&p->y, i) - place_get(&p->h, i);
}

static void *call_on(void *context)
{
    struct place *p = context;
    double s[ROWS * GRAFT_FEATURES];
    seed_values(p, s);
    for (uint64_t step = 0; !atomic_load(&stop); step++) {
        place_clear(p);
        place_step(p, slot, step, NULL);
        if (place_is_host(p))
            atomic_fetch_add(&hosts, 1);
        else if (is_blend(p, s))
            atomic_fetch_add(&blends, 1);
        else
            atomic_fetch_add(&wrong, 1);
    }
    return NULL;
}

static void fork_and_call(struct place *p)
{
    pid_t child = fork();
    if (child == 0) {
        urza_slot_event events[4];
        uint32_t count = 4;
        for (uint64_t step = 0; step < 100; step++) {
            place_clear(p);
            place_step(p, slot, step, NULL);
            urza_slot_tick(slot, NULL);
        }
        urza_slot_events(slot, events, &count);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void calls_and_control(void **state)
{
    (void)state;
    static struct place places[THREADS + 1];
    pthread_t threads[THREADS];
    urza_error err;
    const urza_slot_options options = {
        .train_ticks = 20, .blend_ticks = 50, .embargo_ticks = 1, .name = "threads"};
    module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    must(urza_slot_open(&options, &slot, &err), &err);
    urza_module *challenger = grafted_module("f32", "residual", GRAFT_REORDERED, NULL);
    urza_rollout *rollout;
    const urza_rollout_options roll = {
        .champion = module, .challenger = challenger, .sample_every = 16};
    must(urza_rollout_open(&roll, &rollout, &err), &err);
    urza_unload(challenger);
    for (int i = 0; i <= THREADS; i++)
        place_init(&places[i], module, "f32", ROWS, 9);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_on, &places[i]), 0);
    for (int i = 0; i < TICKS; i++) {
        urza_slot_state now = urza_slot_tick(slot, NULL);
        if (now == URZA_DORMANT)
            must(urza_slot_plant(slot, "seed", module, NULL, &err), &err);
        if (now == URZA_TRAINING && i % 8 == 0) {
            urza_rung rung = i % 16 ? URZA_RUNG_50 : URZA_RUNG_100;
            must(urza_rollout_set(rollout, rung, NULL, &err), &err);
            must(urza_slot_roll(slot, rollout, 1, &err), &err);
        }
        if (now == URZA_HOLDING && i % 64 == 0) {
            const urza_command c = {.kind = URZA_COMMAND_PRUNE,
                                    .ticks = (uint32_t)(i / 64 % 3 * 8)};
            must(urza_slot_command(slot, &c, &err), &err);
        }
        if (i % 16 == 0) {
            char text[4096];
            urza_slot_event events[64];
            uint32_t count = 64;
            urza_slot_save(slot, text, sizeof text);
            urza_slot_metrics(&slot, 1, text, sizeof text);
            urza_slot_events(slot, events, &count);
        }
        if (i % (TICKS / 10) == 0)
            fork_and_call(&places[THREADS]);
        usleep(i % 32 == 0);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(wrong, 0);
    assert_true(blends > 1000 && hosts > 100);
    urza_rollout_stats stats;
    urza_rollout_stats_get(rollout, &stats);
    assert_true(stats.challenger_calls > 100 && stats.judged > 0);
    assert_int_equal(stats.wrong, 0);
    urza_slot_close(slot);
    urza_rollout_close(rollout);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(calls_and_control)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
