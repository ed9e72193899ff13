/* Every way in which a child can end, the answers that come back, and that nothing is left
 * running. */
#include "base/child.h"

#include <fcntl.h>
#include <fenv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/arena.h"
#include "base/confine.h"

static const struct child_limits no_limits = {0};

/* The result of one call; the caller checks the answer. */
struct outcome {
    struct child_exit exit;
    struct child_answer answer;
    struct error err;
    struct arena arena;
};

static void run(struct outcome *o, child_body *body, void *context,
                const struct child_limits *limits)
{
    *o = (struct outcome){.err = {.code = ERR_NONE}};
    arena_init(&o->arena);
    o->exit = child_run(body, context, limits, &o->arena, &o->answer, &o->err);
}

static bool says(void *context, struct arena *arena, struct child_answer *out, struct error *err)
{
    char *large = arena_array(arena, 300000, 1);
    (void)err;
    memset(large, 'x', 300000);
    out->parts[0] = (struct child_part){context, strlen(context)};
    out->parts[2] = (struct child_part){large, 300000}; /* more than a pipe buffers */
    return true;
}

static void answers_come_back(void **state)
{
    (void)state;
    struct outcome o;
    run(&o, says, "hello", &no_limits);
    assert_int_equal(o.exit.end, CHILD_DONE);
    assert_string_equal(o.answer.parts[0].data, "hello"); /* a zero byte follows the data */
    assert_int_equal(o.answer.parts[1].size_bytes, 0);
    assert_int_equal(o.answer.parts[2].size_bytes, 300000);
    assert_true(o.answer.peak_bytes >= 300000);
    for (size_t i = 0; i < 300000; i++)
        assert_int_equal(((const char *)o.answer.parts[2].data)[i], 'x');
    for (size_t i = 0; i < CHILD_PARTS; i++)
        assert_int_equal((uintptr_t)o.answer.parts[i].data % 64, 0);
    arena_release(&o.arena);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
}

static void answers_are_bounded(void **state)
{
    (void)state;
    struct outcome o;
    run(&o, says, "hello", &(struct child_limits){.answer_bytes = 300005});
    assert_int_equal(o.exit.end, CHILD_DONE);
    arena_release(&o.arena);
    run(&o, says, "hello", &(struct child_limits){.answer_bytes = 300004});
    assert_int_equal(o.exit.end, CHILD_FAILED);
    assert_int_equal(o.err.code, ERR_LIMIT);
    arena_release(&o.arena);
    /* An arena too small for the answer: an error, even if the arena would jump elsewhere. */
    jmp_buf host;
    struct arena arena;
    struct child_answer answer;
    struct error err = {.code = ERR_NONE};
    arena_init(&arena);
    arena.limit_bytes = 1000;
    arena.oom = &host;
    assert_int_equal(setjmp(host), 0);
    assert_int_equal(child_run(says, "hello", &no_limits, &arena, &answer, &err).end, CHILD_FAILED);
    assert_int_equal(err.code, ERR_NOMEM);
    assert_ptr_equal(arena.oom, &host);
    arena_release(&arena);
}

static bool fails(void *context, struct arena *arena, struct child_answer *out, struct error *err)
{
    (void)context, (void)arena, (void)out;
    fail(err, ERR_SHAPE, "no fit");
    return fail_at(err, "node 'a'");
}

static void errors_come_back(void **state)
{
    (void)state;
    struct outcome o;
    run(&o, fails, NULL, &no_limits);
    assert_int_equal(o.exit.end, CHILD_FAILED);
    assert_int_equal(o.err.code, ERR_SHAPE);
    assert_string_equal(o.err.message, "no fit");
    assert_string_equal(o.err.place, "node 'a'");
    arena_release(&o.arena);
}

enum { EXITS = 1, KILLED, SLEEPS, SPINS, HIDES, EATS_ARENA, EATS_SAYS_SO };

static bool ends(void *context, struct arena *arena, struct child_answer *out, struct error *err)
{
    (void)out, (void)err;
    switch (*(const int *)context) {
    case EXITS: _exit(3);
    case KILLED: raise(SIGSEGV); break;
    case SLEEPS:
        for (;;)
            pause();
    case SPINS:
        for (;;)
            ;
    case HIDES: /* writes nothing more, and goes on running */
        close_range(3, 100, 0);
        for (;;)
            pause();
    case EATS_ARENA:
        for (;;)
            arena_alloc(arena, 1 << 20, 1);
    case EATS_SAYS_SO: child_no_memory();
    }
    return true;
}

static void ends_are_told_apart(void **state)
{
    (void)state;
    static const struct row {
        int how;
        struct child_limits limits;
        struct child_exit exit;
        enum error_code code;
        const char *message;
    } rows[] = {
        {EXITS, {0}, {CHILD_STATUS, 3}, ERR_VERIFY, "the body exited with status 3"},
        {KILLED, {0}, {CHILD_SIGNAL, SIGSEGV}, ERR_VERIFY, "the body was killed by signal 11 "},
        {SLEEPS,
         {.timeout_ms = 50},
         {CHILD_TIMED_OUT, 0},
         ERR_VERIFY,
         "the body did not finish within 50 ms"},
        {SPINS,
         {.timeout_ms = 50},
         {CHILD_TIMED_OUT, 0},
         ERR_VERIFY,
         "the body did not finish within 50 ms"},
        {HIDES,
         {.timeout_ms = 50},
         {CHILD_TIMED_OUT, 0},
         ERR_VERIFY,
         "the body did not finish within 50 ms"},
        {EATS_ARENA,
         {.memory_bytes = 64 << 20},
         {CHILD_NO_MEMORY, 0},
         ERR_NOMEM,
         "the body ran out of memory: it may take 64 MiB"},
        {EATS_SAYS_SO, {0}, {CHILD_NO_MEMORY, 0}, ERR_NOMEM, "the body ran out of memory"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome o;
        int how = rows[i].how;
        if (how == EATS_ARENA && URZA_SANITIZED)
            continue;
        run(&o, ends, &how, &rows[i].limits);
        assert_int_equal(o.exit.end, rows[i].exit.end);
        assert_int_equal(o.exit.number, rows[i].exit.number);
        assert_false(child_fail(o.exit, &rows[i].limits, "the body", ERR_VERIFY, &o.err));
        assert_int_equal(o.err.code, rows[i].code);
        assert_ptr_equal(strstr(o.err.message, rows[i].message), o.err.message);
        arena_release(&o.arena);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
}

/* The caller's own resource limits also hold for the child. */
static void outer_limits_hold(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct outcome o;
        int how = EATS_ARENA;
        setrlimit(RLIMIT_AS, &(struct rlimit){(rlim_t)256 << 20, (rlim_t)256 << 20});
        run(&o, ends, &how, &(struct child_limits){.memory_bytes = (uint64_t)1 << 40});
        _exit(o.exit.end == CHILD_NO_MEMORY ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(URZA_SANITIZED || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

/* Signals through a pipe that it has begun, holds the pipe open, and never ends. */
static bool tells_and_stays(void *context, struct arena *arena, struct child_answer *out,
                            struct error *err)
{
    const int *fd = context;
    (void)arena, (void)out, (void)err;
    if (write(*fd, "x", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static void nothing_outlives_a_killed_parent(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    assert_int_equal(pipe(fds), 0);
    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0) {
        struct outcome o;
        close(fds[0]);
        run(&o, tells_and_stays, &fds[1], &no_limits);
        _exit(0);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    assert_int_equal(read(fds[0], &byte, 1), 0); /* end of file: no process has the pipe open any
                                                    more */
    close(fds[0]);
}

static bool fails_with_text(void *context, struct arena *arena, struct child_answer *out,
                            struct error *err)
{
    (void)arena, (void)out;
    return fail(err, ERR_SHAPE, "%s", (const char *)context);
}

static void texts_are_cleaned(void **state)
{
    (void)state;
    static const struct row {
        const char *said, *heard;
    } rows[] = {
        {"plain", "plain"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff\xfe\x1b[31mred\x1b]0;title\a\x7f", "??\x1b[31mred\x1b]0;title\a\x7f"},
        {"\xc2\x9b"
         "1m",
         "\xc2\x9b"
         "1m"},                                        /* a control character of two bytes */
        {"\xc0\xaf \xe0\x80\xaf", "?? ???"},           /* longer than need be */
        {"\xed\xa0\x80 \xf4\x90\x80\x80", "??? ????"}, /* half a pair; beyond the last */
        {"cut \xe2\x82", "cut ??"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome o;
        run(&o, fails_with_text, (void *)(uintptr_t)rows[i].said, &no_limits);
        assert_int_equal(o.exit.end, CHILD_FAILED);
        assert_string_equal(o.err.message, rows[i].heard);
        child_clean(o.err.message, false);
        for (const char *at = o.err.message; *at != '\0'; at++)
            assert_true((unsigned char)*at >= 0x20 && *at != 0x7f &&
                        !((unsigned char)at[0] == 0xc2 && (unsigned char)at[1] < 0xa0));
        arena_release(&o.arena);
    }
}

static bool tells_rounding(void *context, struct arena *arena, struct child_answer *out,
                           struct error *err)
{
    volatile double one = 1, tiny = 1e-300;
    int *mode = arena_alloc(arena, sizeof *mode, 8);
    (void)context, (void)err;
    *mode = fegetround() == FE_TONEAREST && one + tiny == 1 && one / 3 > 0;
    out->parts[0] = (struct child_part){mode, sizeof *mode};
    return true;
}

static void rounding_is_not_inherited(void **state)
{
    (void)state;
    struct outcome o;
    fesetround(FE_UPWARD);
    run(&o, tells_rounding, NULL, &no_limits);
    fesetround(FE_TONEAREST);
    assert_int_equal(o.exit.end, CHILD_DONE);
    assert_int_equal(*(const int *)o.answer.parts[0].data, 1);
    arena_release(&o.arena);
}

/* Answers still come back; where the exit status is lost, the end is CHILD_LOST. */
static void the_host_ignores_sigchld(void **state)
{
    (void)state;
    struct outcome o;
    int how = EXITS;
    signal(SIGCHLD, SIG_IGN);
    run(&o, says, "hello", &no_limits);
    assert_int_equal(o.exit.end, CHILD_DONE);
    arena_release(&o.arena);
    run(&o, ends, &how, &no_limits);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(o.exit.end, CHILD_LOST);
    assert_false(child_fail(o.exit, &no_limits, "the body", ERR_VERIFY, &o.err));
    assert_int_equal(o.err.code, ERR_VERIFY);
    arena_release(&o.arena);
}

static int held[2]; /* a pipe of the test */

/* Forks a process that holds all descriptors open, as another thread of a host might, and dies. */
static bool leaves_an_heir(void *context, struct arena *arena, struct child_answer *out,
                           struct error *err)
{
    (void)context, (void)arena, (void)out, (void)err;
    if (fork() == 0) {
        close(held[0]);
        close_range(0, 2, 0);
        alarm(3);
        for (;;)
            pause();
    }
    _exit(4);
}

static void an_open_pipe_keeps_nobody_waiting(void **state)
{
    (void)state;
    struct outcome o;
    char byte;
    run(&o, leaves_an_heir, NULL, &no_limits);
    assert_int_equal(o.exit.end, CHILD_STATUS);
    assert_int_equal(o.exit.number, 4);
    arena_release(&o.arena);
    /* A sealed child leaves no such process: only the test has this end of the pipe open. */
    assert_int_equal(pipe(held), 0);
    run(&o, leaves_an_heir, NULL, &(struct child_limits){.sealed = true});
    close(held[1]);
    assert_int_equal(read(held[0], &byte, 1), 0);
    close(held[0]);
    arena_release(&o.arena);
}

static bool tells_limits(void *context, struct arena *arena, struct child_answer *out,
                         struct error *err)
{
    struct rlimit *limits = arena_array(arena, 3, sizeof *limits);
    (void)context, (void)err;
    getrlimit(RLIMIT_CPU, &limits[0]);
    getrlimit(RLIMIT_FSIZE, &limits[1]);
    getrlimit(RLIMIT_AS, &limits[2]);
    out->parts[0] = (struct child_part){limits, 3 * sizeof *limits};
    return true;
}

static void limits_cannot_be_put_off(void **state)
{
    (void)state;
    struct outcome o;
    run(&o, tells_limits, NULL,
        &(struct child_limits){.timeout_ms = 5000, .file_bytes = 1000, .memory_bytes = UINT64_MAX});
    assert_int_equal(o.exit.end, CHILD_DONE);
    const struct rlimit *limits = o.answer.parts[0].data;
    assert_true(limits[0].rlim_max >= 7 && limits[0].rlim_max <= 7 * 4096);
    assert_int_equal(limits[1].rlim_max, 1000);
    assert_int_equal(limits[2].rlim_max, RLIM_INFINITY); /* a limit above the largest possible one
                                                            means no limit */
    arena_release(&o.arena);
}

#define TOLD_BYTES ((uint64_t)1 << 30)

/* What is left, and what the limit is when it is set again to as much more as there was. */
static bool tells_memory(void *context, struct arena *arena, struct child_answer *out,
                         struct error *err)
{
    uint64_t *told = arena_array(arena, 2, sizeof *told);
    struct rlimit before, after;
    (void)err;
    if (context)
        confine_calls(&(struct confinement){.memory_files = true});
    getrlimit(RLIMIT_AS, &before);
    told[0] = child_memory_left();
    child_limit_memory(TOLD_BYTES / 2);
    getrlimit(RLIMIT_AS, &after);
    told[1] = before.rlim_cur - after.rlim_cur;
    out->parts[0] = (struct child_part){told, 2 * sizeof *told};
    return true;
}

/* Confined processes, which cannot ask how much they have mapped, count it, too. */
static void memory_is_counted_from_what_is_mapped(void **state)
{
    (void)state;
    static char confined[1];
    for (int i = 0; i < 2; i++) {
        struct outcome o;
        run(&o, tells_memory, i == 0 ? NULL : confined,
            &(struct child_limits){.memory_bytes = TOLD_BYTES});
        assert_int_equal(o.exit.end, CHILD_DONE);
        const uint64_t *told = o.answer.parts[0].data;
        if (told[0] != UINT64_MAX) { /* under a sanitizer there is no limit */
            assert_true(told[0] <= TOLD_BYTES && told[0] > TOLD_BYTES - (8 << 20));
            assert_true(told[1] <= TOLD_BYTES / 2 && told[1] > TOLD_BYTES / 2 - (8 << 20));
        }
        arena_release(&o.arena);
    }
    assert_true(child_memory_left() > TOLD_BYTES);
}

static bool says_much(void *context, struct arena *arena, struct child_answer *out,
                      struct error *err)
{
    (void)context, (void)arena, (void)err;
    static char large[1 << 20];
    out->parts[0] = (struct child_part){large, sizeof large};
    return true;
}

/* Cancelling works although data is already waiting in the pipe. */
static void cancelling_holds_while_data_comes(void **state)
{
    (void)state;
    int fds[2];
    struct arena arena;
    struct child_answer answer;
    struct error err;
    const atomic_bool cancelled = true;
    arena_init(&arena);
    assert_int_equal(pipe(fds), 0);
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        child_serve(fds[1], self, says_much, NULL, &no_limits);
    close(fds[1]);
    usleep(20000);
    assert_int_equal(child_receive(&(struct child_source){.fd = fds[0], .cancelled = &cancelled},
                                   &no_limits, &arena, &answer, &err),
                     CHILD_NONE);
    assert_int_equal(child_receive(&(struct child_source){.fd = fds[0], .deadline_ns = 1},
                                   &no_limits, &arena, &answer, &err),
                     CHILD_NONE);
    close(fds[0]);
    child_kill(pid);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    arena_release(&arena);
}

int main(void)
{
    alarm(60); /* a test that hangs fails */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_back),
        cmocka_unit_test(answers_are_bounded),
        cmocka_unit_test(errors_come_back),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(outer_limits_hold),
        cmocka_unit_test(nothing_outlives_a_killed_parent),
        cmocka_unit_test(texts_are_cleaned),
        cmocka_unit_test(rounding_is_not_inherited),
        cmocka_unit_test(the_host_ignores_sigchld),
        cmocka_unit_test(an_open_pipe_keeps_nobody_waiting),
        cmocka_unit_test(limits_cannot_be_put_off),
        cmocka_unit_test(memory_is_counted_from_what_is_mapped),
        cmocka_unit_test(cancelling_holds_while_data_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
