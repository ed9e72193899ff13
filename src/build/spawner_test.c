/* The spawner: requests of many threads at once, all kinds of ends, owners that are killed. */
#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/file.h"
#include "build/spawner.h"

#include <cmocka.h>

static char *text_of(const char *path, size_t *size)
{
    char *text;
    struct error err;
    assert_true(file_read(path, (size_t)1 << 24, &text, size, &err));
    return text;
}

/* A blueprint with 64 MiB of parameters. */
static const char large[] =
    "{\"nodes\":[{\"id\":\"x\",\"op_type\":\"input\",\"attributes\":{\"shape\":[2,4096]}},"
    "{\"id\":\"l\",\"op_type\":\"linear\",\"attributes\":{\"in_features\":4096,"
    "\"out_features\":4096}},{\"id\":\"y\",\"op_type\":\"output\",\"attributes\":{}}],"
    "\"edges\":[{\"source\":\"x\",\"target\":\"l\"},{\"source\":\"l\",\"target\":\"y\"}]}";

/* Compiles a blueprint through the spawner under these limits; returns how the child ended. */
static struct child_exit compile(struct spawner *spawner, const struct child_limits *limits,
                                 const atomic_bool *cancelled, struct arena *arena,
                                 struct compile_result *out, struct error *err)
{
    size_t size = sizeof large - 1;
    char *text = limits ? strdup(large) : text_of("examples/mlp.json", &size);
    const struct compile_options options = {.strategy = STRATEGY_FAST, .targets = "x86-64-v2"};
    struct child_answer answer;
    struct work_order work;
    order_compile(&(struct compile_order){.source = text, .size = size, .options = &options}, arena,
                  &work);
    if (limits)
        work.limits = *limits;
    struct child_exit end = spawner_run(spawner, &work, cancelled, arena, &answer, err);
    if (end.end == CHILD_DONE)
        assert_true(compile_take_answer(&answer, out, err));
    free(text);
    return end;
}

struct asker {
    pthread_t thread;
    struct spawner *spawner;
    char id[KERNEL_ID_BYTES];
};

static void *ask(void *context)
{
    struct asker *asker = context;
    for (int i = 0; i < 3; i++) {
        struct arena arena;
        struct compile_result result;
        struct error err;
        arena_init(&arena);
        if (compile(asker->spawner, NULL, NULL, &arena, &result, &err).end == CHILD_DONE)
            memcpy(asker->id, result.kernel_id, sizeof asker->id);
        else
            asker->id[0] = '!';
        arena_release(&arena);
    }
    return NULL;
}

static void many_threads_ask(void **state)
{
    (void)state;
    enum { ASKERS = 6 };
    struct asker askers[ASKERS] = {0};
    struct error err;
    struct spawner *spawner = spawner_start(&err);
    assert_non_null(spawner);
    for (int i = 0; i < ASKERS; i++) {
        askers[i].spawner = spawner;
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
    }
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_memory_equal(askers[i].id, "kernel-", 7);
        assert_string_equal(askers[i].id, askers[0].id);
    }
    spawner_stop(spawner);
}

/* Errors, time limits, memory limits and damaged orders are reported, and the spawner still works
 * after each. */
static void ends_are_told(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena;
    struct compile_result result;
    struct child_answer answer;
    arena_init(&arena);
    struct spawner *spawner = spawner_start(&err);
    struct work_order work;
    const struct compile_options options = {.strategy = STRATEGY_FAST};
    const struct compile_order order = {
        .source = "{\"nodes\": 3}", .size = 12, .options = &options};
    order_compile(&order, &arena, &work);
    assert_int_equal(spawner_run(spawner, &work, NULL, &arena, &answer, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_JSON);
    work.parts[0].size_bytes = 3;
    assert_int_equal(spawner_run(spawner, &work, NULL, &arena, &answer, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_BUG);
    work.kind = ORDER_KINDS;
    assert_int_equal(spawner_run(spawner, &work, NULL, &arena, &answer, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_BUG);
    const struct child_limits no_time = {.timeout_ms = 1};
    assert_int_equal(compile(spawner, &no_time, NULL, &arena, &result, &err).end, CHILD_TIMED_OUT);
    if (!URZA_SANITIZED) {
        const struct child_limits no_memory = {.memory_bytes = 1 << 20};
        assert_int_equal(compile(spawner, &no_memory, NULL, &arena, &result, &err).end,
                         CHILD_NO_MEMORY);
    }
    const struct child_limits short_answer = {.answer_bytes = 100};
    assert_int_equal(compile(spawner, &short_answer, NULL, &arena, &result, &err).end,
                     CHILD_FAILED);
    assert_int_equal(err.code, ERR_LIMIT);
    const atomic_bool cancelled = true;
    assert_int_equal(compile(spawner, NULL, &cancelled, &arena, &result, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_CANCELLED);
    assert_int_equal(compile(spawner, NULL, NULL, &arena, &result, &err).end, CHILD_DONE);
    spawner_stop(spawner);
    arena_release(&arena);
}

static void verifies(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena;
    struct compile_result result;
    struct child_answer answer;
    struct verify_summary summary;
    struct work_order work;
    const char *evidence;
    size_t size;
    arena_init(&arena);
    struct spawner *spawner = spawner_start(&err);
    assert_int_equal(compile(spawner, NULL, NULL, &arena, &result, &err).end, CHILD_DONE);
    const struct verify_options options = {.dims = "B=5", .allow_unsigned = true};
    order_verify(result.package, result.package_bytes, &options, &arena, &work);
    assert_int_equal(spawner_run(spawner, &work, NULL, &arena, &answer, &err).end, CHILD_DONE);
    assert_true(order_take_verified(&answer, &summary, &evidence, &size, &err));
    assert_true(summary.pass && summary.count > 5 && size == strlen(evidence));
    const struct verify_options wrong = {.dims = "Q=5", .allow_unsigned = true};
    order_verify(result.package, result.package_bytes, &wrong, &arena, &work);
    assert_int_equal(spawner_run(spawner, &work, NULL, &arena, &answer, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_USAGE);
    spawner_stop(spawner);
    arena_release(&arena);
}

/* The entry of a process in /proc; false when there is none. */
struct process {
    char name[32], state;
    int parent, session;
};

static bool look(const char *pid, struct process *out)
{
    char path[300], text[512];
    int group;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file)
        fclose(file);
    text[size] = '\0';
    const char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close)
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", (int)(close - open - 1), open + 1);
    return sscanf(close + 1, " %c %d %d %d", &out->state, &out->parent, &group, &out->session) == 4;
}

/* Counts the processes of a session, without zombies, or the children with a name; *out_pid: the
 * last one. */
static int count_processes(int session, int parent, const char *name, int *out_pid)
{
    DIR *folder = opendir("/proc");
    int count = 0;
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct process process;
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !look(entry->d_name, &process) ||
            process.state == 'Z' || (session > 0 && process.session != session) ||
            (parent > 0 && process.parent != parent) || (name && strcmp(process.name, name) != 0))
            continue;
        *out_pid = (int)strtol(entry->d_name, NULL, 10);
        count++;
    }
    closedir(folder);
    return count;
}

static int count_session(pid_t session)
{
    int pid;
    return count_processes(session, 0, NULL, &pid);
}

/* An owner is killed while its spawner's child works; another process that it forked keeps
 * running. */
static void nothing_outlives_a_killed_owner(void **state)
{
    (void)state;
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t owner = fork();
    if (owner == 0) {
        struct arena arena;
        struct compile_result result;
        struct error err;
        setsid();
        alarm(20); /* in case the test hangs */
        arena_init(&arena);
        struct spawner *spawner = spawner_start(&err);
        compile(spawner, NULL, NULL, &arena, &result, &err);
        if (fork() == 0) {
            sleep(3);
            _exit(0);
        }
        (void)!write(ready[1], "x", 1);
        for (;;) {
            compile(spawner, NULL, NULL, &arena, &result, &err);
            arena_release(&arena);
        }
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    usleep(50000);
    int working = count_session(owner);
    kill(owner, SIGKILL);
    assert_true(working >= 3);
    waitpid(owner, NULL, 0);
    uint64_t begin = clock_ns();
    while (count_session(owner) > 1 && clock_ns() - begin < UINT64_C(2500000000))
        usleep(50000);
    assert_int_equal(count_session(owner), 1); /* only the sleeping process */
    close(ready[0]);
    close(ready[1]);
}

/* If the spawner has died, requests fail with an error. */
static void a_dead_spawner_is_told(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena;
    struct compile_result result;
    int pid = 0;
    arena_init(&arena);
    struct spawner *spawner = spawner_start(&err);
    assert_int_equal(compile(spawner, NULL, NULL, &arena, &result, &err).end, CHILD_DONE);
    assert_int_equal(count_processes(0, getpid(), "urza-spawner", &pid), 1);
    kill(pid, SIGKILL);
    usleep(20000);
    assert_int_equal(compile(spawner, NULL, NULL, &arena, &result, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_COMPILER_DIED);
    spawner_stop(spawner);
    arena_release(&arena);
}

/* Cancelling, deadlines and stopping the spawner work while it is stopped. */
static void a_stopped_spawner_keeps_nobody(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena;
    struct compile_result result;
    int pid = 0;
    const struct child_limits short_time = {.timeout_ms = 100};
    const atomic_bool cancelled = true;
    arena_init(&arena);
    struct spawner *spawner = spawner_start(&err);
    assert_int_equal(compile(spawner, NULL, NULL, &arena, &result, &err).end, CHILD_DONE);
    assert_int_equal(count_processes(0, getpid(), "urza-spawner", &pid), 1);
    kill(pid, SIGSTOP);
    assert_int_equal(compile(spawner, &short_time, NULL, &arena, &result, &err).end,
                     CHILD_TIMED_OUT);
    for (int i = 0; i < 1000; i++) { /* more than its socket buffers */
        assert_int_equal(compile(spawner, NULL, &cancelled, &arena, &result, &err).end,
                         CHILD_FAILED);
        assert_int_equal(err.code, ERR_CANCELLED);
    }
    spawner_stop(spawner);
    assert_int_equal(count_processes(0, getpid(), "urza-spawner", &pid), 0);
    arena_release(&arena);
}

struct large_work {
    pthread_t thread;
    struct spawner *spawner;
    struct child_exit end;
    struct error err;
};

static void *do_large_work(void *context)
{
    static const struct child_limits no_limits;
    struct large_work *work = context;
    struct arena arena;
    struct compile_result result;
    arena_init(&arena);
    work->end = compile(work->spawner, &no_limits, NULL, &arena, &result, &work->err);
    arena_release(&arena);
    return NULL;
}

/* The host forks while a request is running, and the new process holds all pipes open; then the
 * child dies, or the spawner. */
static void open_pipes_keep_nobody_waiting(void **state)
{
    (void)state;
    for (int of_spawner = 0; of_spawner < 2; of_spawner++) {
        struct error err = {0};
        struct large_work work = {.spawner = spawner_start(&err)};
        int spawner = 0, child = 0;
        while (count_processes(0, getpid(), "urza-spawner", &spawner) == 0)
            usleep(100);
        assert_int_equal(pthread_create(&work.thread, NULL, do_large_work, &work), 0);
        while (count_processes(0, spawner, NULL, &child) == 0)
            usleep(100);
        pid_t heir = fork();
        if (heir == 0) {
            alarm(60);
            for (;;)
                pause();
        }
        kill(of_spawner ? spawner : child, SIGKILL);
        pthread_join(work.thread, NULL);
        assert_int_equal(work.end.end, of_spawner ? CHILD_FAILED : CHILD_SIGNAL);
        if (of_spawner)
            assert_int_equal(work.err.code, ERR_COMPILER_DIED);
        spawner_stop(work.spawner);
        kill(heir, SIGKILL);
        assert_int_equal(waitpid(heir, NULL, 0), heir);
    }
}

static void *start_spawner(void *context)
{
    struct error err;
    *(struct spawner **)context = spawner_start(&err);
    pause(); /* the spawner lives as long as this process, which has nothing else to do */
    return NULL;
}

/* Hosts with unusual settings: SIGCHLD ignored, a small stack. */
static void hosts_of_all_kinds(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    struct compile_result result;
    struct spawner *volatile spawner = NULL;
    const struct child_limits no_memory = {.memory_bytes = 1 << 20};
    pthread_attr_t small;
    pthread_t thread;
    arena_init(&arena);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32 << 10);
    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(pthread_create(&thread, &small, start_spawner, (void *)(uintptr_t)&spawner),
                     0);
    while (!spawner)
        usleep(1000);
    assert_int_equal(compile(spawner, NULL, NULL, &arena, &result, &err).end, CHILD_DONE);
    if (!URZA_SANITIZED)
        assert_int_equal(compile(spawner, &no_memory, NULL, &arena, &result, &err).end,
                         CHILD_NO_MEMORY);
    signal(SIGCHLD, SIG_DFL);
    spawner_stop(spawner);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    arena_release(&arena);
}

/* A host with a limit on file sizes gets an error, not a signal. */
static void short_files(void **state)
{
    (void)state;
    struct error err;
    struct spawner *spawner = spawner_start(&err);
    pid_t host = fork();
    if (host == 0) {
        struct arena arena;
        struct compile_result result;
        arena_init(&arena);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){16, 16});
        bool failed = compile(spawner, NULL, NULL, &arena, &result, &err).end == CHILD_FAILED;
        _exit(failed && err.code == ERR_NOMEM ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(host, &status, 0), host);
    assert_int_equal(status, 0);
    spawner_stop(spawner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_ask),
        cmocka_unit_test(ends_are_told),
        cmocka_unit_test(verifies),
        cmocka_unit_test(nothing_outlives_a_killed_owner),
        cmocka_unit_test(a_dead_spawner_is_told),
        cmocka_unit_test(a_stopped_spawner_keeps_nobody),
        cmocka_unit_test(open_pipes_keep_nobody_waiting),
        cmocka_unit_test(hosts_of_all_kinds),
        cmocka_unit_test(short_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
