/* The queue's contract, on each kind of catalogue. */
#include <pthread.h>

#include "base/json.h"
#include "registry/queue_priv.h"
#include "registry/registry_test_util.h"

#define LIMIT 600

static struct queue *open_queue(struct fixture *f, uint32_t limit)
{
    struct queue *queue = queue_new(registry_catalogue(f->registry), limit);
    assert_non_null(queue);
    queue_set_clock(queue, fixture_clock, f);
    return queue;
}

static struct job_record wanted(const char *key, const char *client, int64_t priority)
{
    return (struct job_record){.head.id = "",
                               .state = "",
                               .key = key,
                               .client = client,
                               .request = "",
                               .hints = "{}",
                               .blueprint = "",
                               .kernel = "",
                               .stage = "",
                               .error = "",
                               .attempts = "",
                               .priority = priority,
                               .worker = "",
                               .token = ""};
}

static const struct job_record *add(struct fixture *f, struct queue *queue, const char *key,
                                    const char *client, int64_t priority)
{
    const struct job_record job = wanted(key, client, priority);
    struct job_record *added;
    bool joined;
    ASSERT_OK(f, queue_add(queue, &job, &f->arena, &added, &joined, &f->err));
    return added;
}

/* Leases one job; NULL: there is none. */
static struct job_record *lease(struct fixture *f, struct queue *queue, const char *worker)
{
    struct job_record **jobs;
    uint32_t count;
    ASSERT_OK(f, queue_lease(queue, &(struct lease_request){worker, 1, 10}, &f->arena, &jobs,
                             &count, &f->err));
    return count ? jobs[0] : NULL;
}

static const struct job_record *find(struct fixture *f, struct queue *queue, const char *job)
{
    struct job_record *found;
    ASSERT_OK(f, queue_find(queue, job, &f->arena, &found, &f->err));
    return found;
}

static void pass_ms(struct fixture *f, int64_t ms)
{
    atomic_fetch_add(&f->moved_ms, ms);
}

static void a_job_is_done(void **state)
{
    struct fixture *f = *state;
    struct queue *queue = open_queue(f, LIMIT);
    uint64_t queued, leased;
    bool cancel = true;
    const struct job_record *added = add(f, queue, "key", "client", 3);
    assert_string_equal(added->state, "QUEUED");
    struct job_record *job = lease(f, queue, "worker");
    assert_string_equal(job->head.id, added->head.id);
    assert_string_equal(job->state, "LEASED");
    assert_int_equal(strlen(job->token), 32);
    assert_null(lease(f, queue, "worker"));
    ASSERT_OK(f, queue_depth(queue, &queued, &leased, &f->err));
    assert_int_equal(queued, 0);
    assert_int_equal(leased, 1);
    pass_ms(f, 8000); /* of 10,000 */
    ASSERT_OK(f, queue_heartbeat(queue, job->head.id, job->token, "verifying", &cancel, &f->err));
    assert_false(cancel);
    pass_ms(f, 8000);
    assert_string_equal(find(f, queue, job->head.id)->stage, "verifying");
    ASSERT_FAILS(f, ERR_CONFLICT, queue_complete(queue, job->head.id, "other", "k", &f->err));
    ASSERT_OK(f, queue_complete(queue, job->head.id, job->token, "kernel-1", &f->err));
    ASSERT_OK(f, queue_complete(queue, job->head.id, job->token, "kernel-1", &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT, queue_complete(queue, job->head.id, job->token, "k", &f->err));
    assert_string_equal(find(f, queue, job->head.id)->state, "DONE");
    assert_string_equal(find(f, queue, job->head.id)->kernel, "kernel-1");
    ASSERT_FAILS(f, ERR_NOT_FOUND, queue_complete(queue, "nobody's", "t", "k", &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT, queue_cancel(queue, job->head.id, "client", &f->err));
    assert_string_not_equal(add(f, queue, "key", "client", 3)->head.id, job->head.id);
    queue_free(queue);
}

static void equal_keys_join(void **state)
{
    struct fixture *f = *state;
    struct queue *queue = open_queue(f, 2);
    const struct job_record *first = add(f, queue, "key", "a", 3);
    struct job_record job = wanted("key", "b", 7), *joined;
    bool did;
    ASSERT_OK(f, queue_add(queue, &job, &f->arena, &joined, &did, &f->err));
    assert_true(did);
    assert_string_equal(joined->head.id, first->head.id);
    assert_int_equal(joined->priority, 7);
    job.priority = 5;
    ASSERT_OK(f, queue_add(queue, &job, &f->arena, &joined, &did, &f->err));
    assert_int_equal(joined->priority, 7);
    lease(f, queue, "worker");
    assert_string_equal(add(f, queue, "key", "a", 9)->head.id, first->head.id);
    assert_string_not_equal(add(f, queue, "", "a", 0)->head.id, first->head.id);
    add(f, queue, "", "a", 0);
    job.key = "another";
    ASSERT_FAILS(f, ERR_BUSY, queue_add(queue, &job, &f->arena, &joined, &did, &f->err));
    lease(f, queue, "worker");
    job.priority = 77;
    ASSERT_OK(f, queue_add(queue, &job, &f->arena, &joined, &did, &f->err));
    assert_false(did);
    assert_int_equal(joined->priority, 9);
    queue_free(queue);
}

/* One client has hundreds of jobs, thirteen others a few: each is served in each round. */
static void clients_are_served_in_turn(void **state)
{
    struct fixture *f = *state;
    struct queue *queue = open_queue(f, 10000);
    char name[16];
    for (int i = 0; i < 450; i++)
        add(f, queue, "", "flood", 4);
    for (int i = 0; i < 26; i++) {
        snprintf(name, sizeof name, "client %d", i % 13);
        add(f, queue, "", name, 4);
    }
    for (int round = 0; round < 2; round++) {
        int served[14] = {0};
        int64_t serial = 0;
        for (int i = 0; i < 14; i++) {
            const struct job_record *job = lease(f, queue, "worker");
            int client =
                strcmp(job->client, "flood") == 0 ? 13 : (int)strtol(job->client + 7, NULL, 10);
            served[client]++;
            serial = client == 13 ? job->head.serial : serial;
        }
        for (int i = 0; i < 14; i++)
            assert_int_equal(served[i], 1);
        assert_int_equal(serial, round + 1); /* oldest first */
    }
    const struct job_record *first = add(f, queue, "", "late", 5);
    assert_string_equal(lease(f, queue, "worker")->head.id, first->head.id);
    queue_free(queue);
}

static void one_call_leases_many(void **state)
{
    struct fixture *f = *state;
    struct queue *queue = open_queue(f, LIMIT);
    struct job_record **jobs;
    uint32_t count;
    for (int i = 0; i < 30; i++)
        add(f, queue, "", i < 25 ? "a" : "b", i % 2);
    ASSERT_OK(f, queue_lease(queue, &(struct lease_request){"w", 0, 10}, &f->arena, &jobs, &count,
                             &f->err));
    assert_int_equal(count, 0);
    ASSERT_OK(f, queue_lease(queue, &(struct lease_request){"w", 20, 1}, &f->arena, &jobs, &count,
                             &f->err));
    assert_int_equal(count, 20);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(jobs[i]->priority, i < 15);
    assert_string_not_equal(jobs[0]->client, jobs[1]->client);
    assert_int_equal(jobs[0]->lease_ms, 5000);
    ASSERT_OK(f, queue_lease(queue, &(struct lease_request){"w", 20, 10000}, &f->arena, &jobs,
                             &count, &f->err));
    assert_int_equal(count, 10);
    assert_int_equal(jobs[0]->lease_ms, 600000);
    ASSERT_OK(f, queue_take_back(queue, "w", &f->err));
    ASSERT_OK(f, queue_lease(queue, &(struct lease_request){"w", 100, 10}, &f->arena, &jobs, &count,
                             &f->err));
    assert_int_equal(count, 30);
    assert_non_null(strstr(jobs[29]->attempts, "\"worker\":\"w\",\"reason\":\"crash\""));
    queue_free(queue);
}

static void a_late_worker_has_lost_the_job(void **state)
{
    struct fixture *f = *state;
    struct queue *queue = open_queue(f, LIMIT);
    bool cancel;
    add(f, queue, "key", "client", 0);
    const struct job_record *job = lease(f, queue, "slow"), *again;
    pass_ms(f, 10000);
    ASSERT_FAILS(f, ERR_CONFLICT, queue_complete(queue, job->head.id, job->token, "k", &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT,
                 queue_heartbeat(queue, job->head.id, job->token, "", &cancel, &f->err));
    again = lease(f, queue, "other");
    assert_string_equal(again->head.id, job->head.id);
    assert_string_not_equal(again->token, job->token);
    assert_non_null(strstr(again->attempts, "\"worker\":\"slow\",\"reason\":\"lease\""));
    ASSERT_FAILS(f, ERR_CONFLICT, queue_complete(queue, job->head.id, job->token, "k", &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT,
                 queue_fail(queue, job->head.id, job->token, JOB_FAILURE_CRASH, "", &f->err));
    ASSERT_OK(f, queue_complete(queue, again->head.id, again->token, "k", &f->err));
    queue_free(queue);
}

/* Repeats deaths on these workers (one letter each) until the job is poison; returns how many it
 * took. */
static size_t deaths_until_poison(struct fixture *f, const char *workers)
{
    struct queue *queue = open_queue(f, LIMIT);
    const char *id = add(f, queue, workers, "client", 0)->head.id;
    static const enum job_failure deaths[] = {JOB_FAILURE_TIMEOUT, JOB_FAILURE_MEMORY,
                                              JOB_FAILURE_CRASH};
    size_t count = 0;
    struct job_record *job;
    json_t *attempts;
    for (; strcmp(find(f, queue, id)->state, "POISON") != 0; count++) {
        assert_int_not_equal(workers[count], '\0');
        job = lease(f, queue, (const char[]){workers[count], '\0'});
        if (count % 4 == 3)
            pass_ms(f, 10001);
        else
            ASSERT_OK(f,
                      queue_fail(queue, id, job->token, deaths[count % 3], "{\"a\":1}", &f->err));
        const struct job_record *reaped = count % 4 == 3 ? lease(f, queue, "reaper") : NULL;
        assert_true(!reaped || workers[count + 1] != '\0');
        if (reaped)
            ASSERT_OK(f, queue_fail(queue, id, reaped->token, JOB_FAILURE_DRAINED, "", &f->err));
    }
    attempts =
        json_read(find(f, queue, id)->attempts, strlen(find(f, queue, id)->attempts), &f->err);
    assert_int_equal(json_array_size(attempts), count);
    json_decref(attempts);
    assert_null(lease(f, queue, "worker"));
    ASSERT_OK(f, queue_release(queue, id, &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT, queue_release(queue, id, &f->err));
    assert_string_equal(find(f, queue, id)->attempts, "");
    job = lease(f, queue, "worker");
    ASSERT_OK(f, queue_complete(queue, id, job->token, "k", &f->err));
    queue_free(queue);
    return count;
}

static void deaths_are_poison(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(deaths_until_poison(f, "aaaaaa"), 5);
    assert_int_equal(deaths_until_poison(f, "aab"), 3);
    assert_int_equal(deaths_until_poison(f, "abc"), 3);
    assert_int_equal(deaths_until_poison(f, "aaab"), 4);
}

static void other_ends(void **state)
{
    struct fixture *f = *state;
    struct queue *queue = open_queue(f, LIMIT);
    bool cancel = false;
    add(f, queue, "key", "client", 0);
    struct job_record *job = lease(f, queue, "a\"b\n");
    for (int i = 0; i < 10; i++) {
        ASSERT_OK(f, queue_fail(queue, job->head.id, job->token, JOB_FAILURE_DRAINED, "", &f->err));
        assert_string_equal(find(f, queue, job->head.id)->attempts, "");
        job = lease(f, queue, "a\"b\n");
    }
    ASSERT_OK(f, queue_fail(queue, job->head.id, job->token, JOB_FAILURE_COMPILE,
                            "{\"error\":\"ShapeError\"}", &f->err));
    ASSERT_OK(f, queue_fail(queue, job->head.id, job->token, JOB_FAILURE_COMPILE, "", &f->err));
    assert_string_equal(find(f, queue, job->head.id)->state, "FAILED");
    assert_string_equal(find(f, queue, job->head.id)->error, "{\"error\":\"ShapeError\"}");
    ASSERT_FAILS(f, ERR_CONFLICT, queue_release(queue, job->head.id, &f->err));
    ASSERT_FAILS(f, ERR_NOT_FOUND, queue_release(queue, "x", &f->err));

    add(f, queue, "key", "client", 0);
    job = lease(f, queue, "worker");
    ASSERT_OK(f, queue_cancel(queue, job->head.id, "cli\"ent", &f->err));
    ASSERT_OK(f, queue_heartbeat(queue, job->head.id, job->token, "", &cancel, &f->err));
    assert_true(cancel);
    ASSERT_FAILS(f, ERR_CONFLICT,
                 queue_heartbeat(queue, job->head.id, "token", "", &cancel, &f->err));
    ASSERT_FAILS(f, ERR_CONFLICT, queue_complete(queue, job->head.id, job->token, "k", &f->err));
    assert_string_equal(find(f, queue, job->head.id)->state, "CANCELLED");
    ASSERT_OK(f, queue_cancel(queue, add(f, queue, "key", "client", 0)->head.id, "", &f->err));
    assert_null(lease(f, queue, "worker"));
    for (int i = 1; i < JOB_FAILURE_COUNT; i++)
        assert_int_equal(job_failure_from_name(job_failure_name((enum job_failure)i)), i);
    assert_int_equal(job_failure_from_name("sloth"), JOB_FAILURE_NONE);
    assert_int_equal(job_failure_from_name(""), JOB_FAILURE_NONE);
    queue_free(queue);
}

#define THREADS 8
#define JOBS 500

struct crew {
    struct queue *queue;
    atomic_int done[JOBS], failures, added;
};

static void *add_jobs(void *context)
{
    struct crew *crew = context;
    struct error err;
    char key[32];
    int next;
    while ((next = atomic_fetch_add(&crew->added, 1) / 2) < JOBS) { /* each job is added twice */
        struct arena arena;
        struct job_record *added;
        bool joined;
        arena_init(&arena);
        snprintf(key, sizeof key, "key %d", next);
        const struct job_record job = wanted(key, next % 3 ? "a" : "b", next % 10);
        if (!queue_add(crew->queue, &job, &arena, &added, &joined, &err))
            atomic_fetch_add(&crew->failures, 1);
        arena_release(&arena);
    }
    return NULL;
}

static void *do_jobs(void *context)
{
    struct crew *crew = context;
    struct error err;
    uint32_t count = 1;
    while (count > 0) {
        struct arena arena;
        struct job_record **jobs;
        arena_init(&arena);
        if (!queue_lease(crew->queue, &(struct lease_request){"worker", 3, 600}, &arena, &jobs,
                         &count, &err)) {
            atomic_fetch_add(&crew->failures, 1);
            count = 0;
        }
        for (uint32_t i = 0; i < count; i++) {
            atomic_fetch_add(&crew->done[strtol(jobs[i]->key + 4, NULL, 10)], 1);
            if (!queue_complete(crew->queue, jobs[i]->head.id, jobs[i]->token, "k", &err))
                atomic_fetch_add(&crew->failures, 1);
        }
        arena_release(&arena);
    }
    return NULL;
}

static void run_threads(struct crew *crew, void *(*body)(void *))
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, crew), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crew->failures, 0);
}

static void each_job_is_done_once(void **state)
{
    struct fixture *f = *state;
    static struct crew crew;
    memset(&crew, 0, sizeof crew);
    crew.queue = open_queue(f, JOBS);
    run_threads(&crew, add_jobs);
    assert_int_equal(fixture_count(f, RECORD_job, NULL, NULL), JOBS);
    run_threads(&crew, do_jobs);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(crew.done[i], 1);
    assert_int_equal(fixture_count(f, RECORD_job, "state", "DONE"), JOBS);
    queue_free(crew.queue);
}

/* Two queues on one catalogue, as two processes have them. */
static void two_queues_share_a_catalogue(void **state)
{
    struct fixture *f = *state;
    static struct crew crews[2];
    pthread_t threads[2 * THREADS];
    memset(crews, 0, sizeof crews);
    for (int i = 0; i < 2; i++)
        crews[i].queue = open_queue(f, 2 * JOBS);
    for (int phase = 0; phase < 2; phase++) {
        for (int i = 0; i < 2 * THREADS; i++)
            assert_int_equal(
                pthread_create(&threads[i], NULL, phase ? do_jobs : add_jobs, &crews[i % 2]), 0);
        for (int i = 0; i < 2 * THREADS; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(fixture_count(f, RECORD_job, NULL, NULL), JOBS);
    }
    assert_int_equal(crews[0].failures + crews[1].failures, 0);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(crews[0].done[i] + crews[1].done[i], 1);
    for (int i = 0; i < 2; i++)
        queue_free(crews[i].queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_STORES(a_job_is_done),
        OVER_STORES(equal_keys_join),
        OVER_STORES(clients_are_served_in_turn),
        OVER_STORES(one_call_leases_many),
        OVER_STORES(a_late_worker_has_lost_the_job),
        OVER_STORES(deaths_are_poison),
        OVER_STORES(other_ends),
        OVER_STORES(each_job_is_done_once),
        OVER_STORES(two_queues_share_a_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
