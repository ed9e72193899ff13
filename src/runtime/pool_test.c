#include "runtime/test_util.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct tally {
    _Atomic uint32_t done[LIMIT_THREADS];
    _Atomic uint32_t total;
};

static void count_task(void *argument, uint32_t index)
{
    struct tally *tally = argument;
    atomic_fetch_add(&tally->done[index], 1);
    atomic_fetch_add(&tally->total, 1);
}

/* When pool_run returns each task has run exactly once. */
static void run_and_check(struct pool *pool, uint32_t count)
{
    struct tally tally = {0};
    pool_run(pool, count_task, &tally, count);
    assert_int_equal(tally.total, count);
    for (uint32_t i = 0; i < LIMIT_THREADS; i++)
        assert_int_equal(tally.done[i], i < count);
}

static void runs_every_task_once(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        struct pool *pool = pool_new(threads, NULL, NULL);
        assert_non_null(pool);
        for (uint32_t round = 0; round < 3000; round++)
            run_and_check(pool, round % 7);
        run_and_check(pool, LIMIT_THREADS);
        usleep(3000); /* workers sleep now and must be woken */
        run_and_check(pool, 4);
        pool_free(pool);
    }
}

struct meeting {
    _Atomic uint32_t present;
};

static void meet_task(void *argument, uint32_t index)
{
    (void)index;
    struct meeting *meeting = argument;
    atomic_fetch_add(&meeting->present, 1);
    while (atomic_load(&meeting->present) < 3)
        sched_yield();
}

/* Finishes only if three threads run at the same time. */
static void runs_tasks_at_the_same_time(void **state)
{
    (void)state;
    struct pool *pool = pool_new(3, NULL, NULL);
    struct meeting meeting = {0};
    pool_run(pool, meet_task, &meeting, 3);
    assert_int_equal(meeting.present, 3);
    pool_free(pool);
}

static void *use_pool(void *argument)
{
    for (int round = 0; round < 500; round++)
        run_and_check(argument, 4);
    return NULL;
}

static void serves_several_callers(void **state)
{
    (void)state;
    struct pool *pool = pool_new(3, NULL, NULL);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_pool, pool), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    pool_free(pool);
}

static void nested_task(void *argument, uint32_t index)
{
    (void)index;
    run_and_check(argument, 4);
}

static void a_busy_pool_leaves_the_work_to_the_caller(void **state)
{
    (void)state;
    struct pool *pool = pool_new(2, NULL, NULL);
    pool_run(pool, nested_task, pool, 4);
    pool_free(pool);
}

static void works_in_a_child_after_fork(void **state)
{
    (void)state;
    struct pool *pool = pool_new(3, NULL, NULL);
    run_and_check(pool, 3);
    pid_t child = fork();
    if (child == 0) {
        struct tally tally = {0};
        pool_run(pool, count_task, &tally, 3);
        pool_free(pool);
        _exit(tally.total == 3 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pool_free(pool);
}

static void note_signals(void *argument)
{
    pthread_sigmask(SIG_BLOCK, NULL, argument);
}

static void one_piece_of_work_gets_a_stack(void **state)
{
    (void)state;
    sigset_t before, inside, after;
    sigemptyset(&inside);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_true(thread_run((size_t)1 << 20, note_signals, &inside));
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGTERM), 0);
    assert_int_equal(sigismember(&inside, SIGTERM), 1);
    assert_int_equal(sigismember(&after, SIGTERM), 0);
    sigemptyset(&inside);
    assert_false(thread_run((size_t)1 << 60, note_signals, &inside)); /* impossibly much stack */
    assert_int_equal(sigismember(&inside, SIGTERM), 0);
}

static void note_stack_left(void *argument)
{
    *(size_t *)argument = thread_stack_left();
}

static void knows_how_much_stack_is_left(void **state)
{
    (void)state;
    const size_t size = (size_t)1 << 20;
    size_t here = thread_stack_left(), there = 0;
    assert_true(here > size && here <= (size_t)64 << 20);
    assert_true(thread_run(size, note_stack_left, &there));
    assert_true(there > size - size / 8 && there < size);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_STACK, &before), 0);
    small = before;
    small.rlim_cur = 1 << 18;
    assert_int_equal(setrlimit(RLIMIT_STACK, &small), 0);
    size_t less = thread_stack_left();
    assert_int_equal(setrlimit(RLIMIT_STACK, &before), 0);
    assert_true(less > 0 && less < 1 << 18);
}

static void host_parallel(void *user, pool_task *task, void *argument, uint32_t count)
{
    ++*(int *)user;
    for (uint32_t i = count; i-- > 0;)
        task(argument, i);
}

static void uses_the_hosts_pool(void **state)
{
    (void)state;
    int calls = 0;
    struct pool *pool = pool_new(4, host_parallel, &calls);
    run_and_check(pool, 4);
    run_and_check(pool, 1);
    assert_int_equal(calls, 1);
    pool_free(pool);
    pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_every_task_once),
        cmocka_unit_test(runs_tasks_at_the_same_time),
        cmocka_unit_test(serves_several_callers),
        cmocka_unit_test(a_busy_pool_leaves_the_work_to_the_caller),
        cmocka_unit_test(works_in_a_child_after_fork),
        cmocka_unit_test(one_piece_of_work_gets_a_stack),
        cmocka_unit_test(knows_how_much_stack_is_left),
        cmocka_unit_test(uses_the_hosts_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
