/* Rolls a package out in the place of another one, under load, and tells what became of it.
 * Usage: rollout CHAMPION CHALLENGER KEY, packages of mlp.json or of something with its shapes. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "urza/rollout.h"

#define ROWS 16
#define THREADS 2
#define CALLS_MOST 60000 /* of all threads; then it has not been decided */

static struct {
    urza_rollout *rollout;
    _Atomic uint64_t step;
    _Atomic int done;
} load;

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

static void see(void *user, const urza_rollout_event *event)
{
    (void)user;
    printf("%s -> %s: %s\n", urza_rung_name(event->from), urza_rung_name(event->to), event->reason);
}

/* Calls as a network would, and knows nothing of what is rolled out. */
static void *work(void *slot)
{
    static _Thread_local float x[ROWS * 784], y[ROWS * 10];
    int64_t x_shape[] = {ROWS, 784}, y_shape[] = {ROWS, 10};
    DLTensor in = {.data = x, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    DLTensor out = {.data = y, .device = {kDLCPU, 0}, .ndim = 2, .dtype = {kDLFloat, 32, 1}};
    in.shape = x_shape;
    out.shape = y_shape;
    while (!load.done) {
        uint64_t step = load.step++;
        urza_error err;
        for (int i = 0; i < ROWS * 784; i++)
            x[i] = (float)((step + (uint64_t)i * 7) % 13) / 13;
        check(urza_rollout_call(load.rollout, *(uint64_t *)slot, step, &in, 1, &out, 1, &err),
              &err);
    }
    return NULL;
}

/* Until it is decided. Whoever operates it skips two rungs here, which would take long. */
static void lead(urza_rollout *rollout)
{
    urza_error err;
    check(urza_rollout_set(rollout, URZA_RUNG_SHADOW, "it begins", &err), &err);
    for (urza_rung rung = URZA_RUNG_SHADOW;
         rung != URZA_RUNG_FINAL && rung != URZA_RUNG_ROLLED_BACK && load.step < CALLS_MOST;
         rung = urza_rollout_tick(rollout))
        if (rung == URZA_RUNG_1)
            check(urza_rollout_set(rollout, URZA_RUNG_50, "no time to lose", &err), &err);
}

int main(int argc, char **argv)
{
    uint8_t key[1][32];
    urza_load_options options = {.trusted_keys = key, .trusted_key_count = 1};
    urza_rollout_options rollout = {.salt = 1, .sample_every = 10, .pairs = 200, .on_event = see};
    urza_rollout_stats stats;
    urza_error err;
    pthread_t threads[THREADS];
    uint64_t slots[THREADS];
    if (argc != 4 || strlen(argv[3]) != 64)
        return 64;
    for (int i = 0; i < 32; i++)
        sscanf(argv[3] + 2 * i, "%2hhx", &key[0][i]);
    check(urza_runtime_new(NULL, &options.runtime, &err), &err);
    check(urza_load(argv[1], &options, &rollout.champion, &err), &err);
    check(urza_load(argv[2], &options, &rollout.challenger, &err), &err);
    check(urza_rollout_open(&rollout, &load.rollout, &err), &err);

    for (uint64_t i = 0; i < THREADS; i++) {
        slots[i] = i;
        if (pthread_create(&threads[i], NULL, work, &slots[i]) != 0)
            return 1;
    }
    lead(load.rollout);
    load.done = 1;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    urza_rollout_stats_get(load.rollout, &stats);
    printf("%s after %llu calls: %llu pairs, %llu slower, %llu results judged, %llu wrong\n",
           urza_rung_name(stats.rung), (unsigned long long)stats.calls,
           (unsigned long long)stats.pairs, (unsigned long long)stats.slower,
           (unsigned long long)stats.judged, (unsigned long long)stats.wrong);
    urza_rollout_close(load.rollout);
    urza_unload(rollout.champion);
    urza_unload(rollout.challenger);
    urza_runtime_release(options.runtime);
    return 0;
}
