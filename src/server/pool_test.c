/* The pool: equal requests compile once, clients take turns, a full queue refuses, failures are
 * reported to all waiters, stopping leaves no waiter uncalled. Packages have no code, so a
 * compilation takes milliseconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "build/spawner.h"
#include "server/metrics.h"
#include "server/pool.h"
#include "server/shelf.h"

#include <cmocka.h>

#define WAITERS 64

struct bed {
    struct server server;
    char home[64];
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t done, ok;
    char order[WAITERS]; /* of clients, as they were called */
    struct error last;
    char kernel[SHELF_NAME_BYTES];
};

struct ticket {
    struct bed *bed;
    struct waiter waiter;
    char client;
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof *bed);
    struct error err;
    *state = bed;
    snprintf(bed->home, sizeof bed->home, "/tmp/urza-pool-XXXXXX");
    const struct registry_options options = {
        .catalogue = "memory:", .blobs = "memory:", .alone = true};
    pthread_mutex_init(&bed->lock, NULL);
    pthread_cond_init(&bed->changed, NULL);
    settings_default(&bed->server.settings);
    bed->server.settings.queue_limit = 8;
    bed->server.log_level = LOG_ERROR;
    arena_init(&bed->server.arena);
    bed->server.spawner = spawner_start(&err);
    bed->server.home = mkdtemp(bed->home);
    bed->server.metrics = metrics_new();
    bed->server.answers = shelf_new(1 << 20);
    bed->server.packages = shelf_new(1 << 20);
    return bed->server.spawner && bed->server.home &&
                   registry_open(&options, &bed->server.registry, &err)
               ? 0
               : -1;
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    char command[96];
    pool_stop(bed->server.pool, 0);
    registry_close(bed->server.registry);
    spawner_stop(bed->server.spawner);
    metrics_free(bed->server.metrics);
    shelf_free(bed->server.answers);
    shelf_free(bed->server.packages);
    arena_release(&bed->server.arena);
    snprintf(command, sizeof command, "rm -rf %s", bed->home);
    int status = system(command);
    free(bed);
    return status;
}

static void on_done(void *context, const struct outcome *outcome)
{
    struct ticket *ticket = context;
    struct bed *bed = ticket->bed;
    pthread_mutex_lock(&bed->lock);
    bed->order[bed->done++] = ticket->client;
    bed->ok += outcome->ok;
    if (!outcome->ok)
        bed->last = outcome->error;
    else
        snprintf(bed->kernel, sizeof bed->kernel, "%s", outcome->kernel);
    pthread_cond_signal(&bed->changed);
    pthread_mutex_unlock(&bed->lock);
    free(ticket);
}

static bool submit(struct bed *bed, const char *source, char client, uint32_t priority,
                   struct error *err)
{
    struct task *task = task_new();
    struct ticket *ticket = calloc(1, sizeof *ticket);
    const char name[] = {client, '\0'};
    json_t *hints = json_pack("{s:s}", "strategy", "emergency");
    assert_true(ask_hints(&bed->server.settings, hints, &task->arena, &task->ask, err));
    json_decref(hints);
    ask_bytes(arena_strdup(&task->arena, source), strlen(source), &task->arena, &task->ask);
    task->client = arena_strdup(&task->arena, name);
    task->priority = priority;
    ticket->bed = bed;
    ticket->client = client;
    ticket->waiter = (struct waiter){.done = on_done, .context = ticket};
    bool ok = pool_submit(bed->server.pool, task, &ticket->waiter, err);
    if (!ok)
        free(ticket);
    return ok;
}

/* Source number `number` of many small blueprints. */
static const char *source_of(uint32_t number, char out[300])
{
    snprintf(out, 300,
             "{\"format\":\"urza.blueprint/1\",\"inputs\":[{\"id\":\"x\",\"dtype\":\"f32\","
             "\"shape\":[%u]}],\"nodes\":[{\"id\":\"y\",\"op\":\"relu\",\"in\":[\"x\"]}],"
             "\"outputs\":[\"y\"]}",
             number + 1);
    return out;
}

static void wait_for(struct bed *bed, uint32_t count)
{
    pthread_mutex_lock(&bed->lock);
    while (bed->done < count)
        pthread_cond_wait(&bed->changed, &bed->lock);
    pthread_mutex_unlock(&bed->lock);
}

static void start(struct bed *bed, uint32_t slots)
{
    struct error err;
    bed->server.pool = pool_start(&bed->server, slots, &err);
    assert_non_null(bed->server.pool);
}

static double compiled(const struct bed *bed)
{
    return metrics_get(bed->server.metrics, METRIC_COMPILATIONS, "success");
}

static void equal_ones_compile_once(void **state)
{
    struct bed *bed = *state;
    struct error err;
    char text[300];
    start(bed, 2);
    for (int i = 0; i < 50; i++)
        assert_true(submit(bed, source_of(1, text), 'a', 0, &err));
    wait_for(bed, 50);
    assert_int_equal(bed->ok, 50);
    assert_true(compiled(bed) > 0.5 && compiled(bed) < 1.5);
    assert_memory_equal(bed->kernel, "kernel-", 7);
}

/* While the only slot is busy, waiting tasks of several clients are taken in turn, whichever came
 * first. */
static void clients_in_turn(void **state)
{
    struct bed *bed = *state;
    struct error err;
    char text[300];
    start(bed, 1);
    assert_true(submit(bed, source_of(0, text), 'a', 0, &err));
    for (uint32_t i = 1; i <= 5; i++)
        assert_true(submit(bed, source_of(i, text), 'a', 0, &err));
    assert_true(submit(bed, source_of(10, text), 'b', 0, &err));
    assert_true(submit(bed, source_of(11, text), 'c', 9, &err));
    wait_for(bed, 8);
    assert_int_equal(bed->ok, 8);
    const char *b = memchr(bed->order, 'b', 8), *c = memchr(bed->order, 'c', 8);
    assert_true(c && c - bed->order <= 2); /* a higher priority goes first in every second turn */
    assert_true(b && b - bed->order <= 4);
}

static void a_full_queue_refuses(void **state)
{
    struct bed *bed = *state;
    struct error err;
    char text[300];
    uint32_t taken = 0, refused = 0;
    start(bed, 1);
    for (uint32_t i = 0; i < 40; i++) {
        bool ok = submit(bed, source_of(i, text), 'a', 0, &err);
        taken += ok;
        refused += !ok;
        if (!ok)
            assert_int_equal(err.code, ERR_BUSY);
    }
    assert_true(refused > 0 && taken >= 6); /* the last quarter is left to other clients */
    wait_for(bed, taken);
    assert_int_equal(bed->ok, taken);
    assert_true(submit(bed, source_of(50, text), 'a', 0, &err)); /* then it accepts tasks again */
    wait_for(bed, taken + 1);
}

static void failures_are_told(void **state)
{
    struct bed *bed = *state;
    struct error err;
    start(bed, 1);
    for (int i = 0; i < 3; i++)
        assert_true(submit(bed, "{\"format\":\"urza.blueprint/1\",\"nodes\":[]}", 'a', 0, &err));
    wait_for(bed, 3);
    assert_int_equal(bed->ok, 0);
    assert_true(bed->last.code == ERR_JSON || bed->last.code == ERR_BLUEPRINT);
    assert_true(metrics_get(bed->server.metrics, METRIC_COMPILATIONS, "failed") > 0.5);
}

static void stopping_leaves_nobody(void **state)
{
    struct bed *bed = *state;
    struct error err;
    char text[300];
    uint32_t taken = 0;
    start(bed, 1);
    for (uint32_t i = 0; i < 8; i++)
        taken += submit(bed, source_of(i, text), 'a', 0, &err);
    pool_stop(bed->server.pool, clock_ns());
    bed->server.pool = NULL;
    assert_int_equal(bed->done, taken);
    if (bed->ok < taken)
        assert_true(bed->last.code == ERR_BUSY || bed->last.code == ERR_CANCELLED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(equal_ones_compile_once), TEST(clients_in_turn),
                                       TEST(a_full_queue_refuses), TEST(failures_are_told),
                                       TEST(stopping_leaves_nobody)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
