#include "verify/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "verify/test_util.h"

#define JOBS 4

struct shared {
    char died[JOBS][120];
    int ends[JOBS]; /* -1: never; -2: allocates until memory runs out */
    pid_t pids[JOBS];
};

static void end_as_told(void *context, uint32_t index)
{
    struct shared *shared = context;
    shared->pids[index] = getpid();
    snprintf(shared->died[index], sizeof shared->died[index], "job %u", index);
    if (shared->ends[index] == -2)
        for (size_t i = 0; i < 1024; i++) {
            char *more = malloc((size_t)64 << 20);
            if (!more)
                abort();
            more[i] = 1;
        }
    while (shared->ends[index] < 0)
        usleep(1000);
    _exit(shared->ends[index]);
}

static void jobs_end_or_die(void **state)
{
    (void)state;
    struct error err;
    struct job_row rows[JOBS];
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    const int ends[JOBS] = {0, 3, URZA_SANITIZED ? 0 : -2, -1};
    memcpy(shared->ends, ends, sizeof ends);
    for (uint32_t i = 0; i < JOBS; i++)
        rows[i] = (struct job_row){.run = end_as_told,
                                   .context = shared,
                                   .index = i,
                                   .died = shared->died[i],
                                   .died_bytes = sizeof shared->died[i]};
    must(jobs_run(rows, 3, 2, 300, URZA_SANITIZED ? 0 : (uint64_t)2 << 30, &err), &err);
    must(jobs_run(rows + 3, 1, 2, 1, 0, &err), &err);
    assert_string_equal(shared->died[0], "job 0"); /* its own text, with nothing appended */
    assert_non_null(strstr(shared->died[1], "job 1: the process ended with status 3"));
    assert_non_null(strstr(shared->died[3], "job 3: SIGALRM: still running after 1 s"));
    if (!URZA_SANITIZED)
        assert_non_null(strstr(shared->died[2], "job 2: SIGABRT"));
    for (uint32_t i = 0; i < JOBS; i++)
        assert_int_not_equal(shared->pids[i], getpid());
    munmap(shared, sizeof *shared);
}

static void take_memory(void *context, uint32_t index)
{
    bool *taken = context;
    char *more = malloc((size_t)256 << 20);
    (void)index;
    *taken = more != NULL;
    _exit(0);
}

/* What the caller has mapped is not counted: a model and its package may be larger than the
 * limit. */
static void limits_count_from_the_caller(void **state)
{
    (void)state;
    const size_t held = (size_t)3 << 30;
    struct error err;
    char died[120] = "";
    bool *taken =
        mmap(NULL, sizeof *taken, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    void *hold = mmap(NULL, held, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(taken != MAP_FAILED && hold != MAP_FAILED);
    const struct job_row row = {
        .run = take_memory, .context = taken, .died = died, .died_bytes = sizeof died};
    must(jobs_run(&row, 1, 1, 300, (uint64_t)1 << 30, &err), &err);
    assert_true(*taken);
    munmap(hold, held);
    munmap(taken, sizeof *taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(jobs_end_or_die),
                                       cmocka_unit_test(limits_count_from_the_caller)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
