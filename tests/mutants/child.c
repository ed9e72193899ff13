/* A child that may start children: all are of one process group, which ends with it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "mutants.h"

#define CHILD_BYTES ((rlim_t)12 << 30)

static void run_body(child_body *body, const void *argument, int fd)
{
    struct arena arena;
    struct strbuf out;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    if (!URZA_SANITIZED)
        setrlimit(RLIMIT_AS, &(struct rlimit){CHILD_BYTES, CHILD_BYTES});
    if (!freopen("/dev/null", "w", stderr)) /* asserts of a compiler that works on nonsense */
        _exit(1);
    arena_init(&arena);
    strbuf_init(&out, &arena);
    body(argument, &arena, &out);
    uint64_t size = out.size_bytes;
    bool sent = write(fd, &size, sizeof size) == (ssize_t)sizeof size;
    for (size_t done = 0; sent && done < size;) {
        ssize_t count = write(fd, out.data + done, size - done);
        sent = count > 0 || (count < 0 && errno == EINTR);
        done += count > 0 ? (size_t)count : 0;
    }
    _exit(sent ? 0 : 1);
}

/* Reads until the pipe is closed; false when the time is over. */
static bool read_all(int fd, uint64_t deadline_ns, struct strbuf *out)
{
    char block[1 << 16];
    for (;;) {
        uint64_t now = clock_ns();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int left_ms = now < deadline_ns ? (int)((deadline_ns - now) / 1000000 + 1) : 0;
        int ready = poll(&p, 1, left_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        ssize_t count = read(fd, block, sizeof block);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count == 0;
        strbuf_add(out, block, (size_t)count);
    }
}

bool spawn_run(child_body *body, const void *argument, uint32_t timeout_s, struct arena *arena,
               struct strbuf *out, struct error *err)
{
    int fds[2], status = 0;
    uint64_t size = 0;
    struct strbuf answer;
    strbuf_init(&answer, arena);
    fflush(stdout);
    if (pipe(fds) != 0)
        return fail(err, ERR_IO, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        run_body(body, argument, fds[1]);
    }
    close(fds[1]);
    bool in_time =
        child > 0 && read_all(fds[0], clock_ns() + (uint64_t)timeout_s * 1000000000, &answer);
    close(fds[0]);
    if (child < 0)
        return fail(err, ERR_IO, "cannot start a process");
    setpgid(child, child); /* it may not have come to that itself */
    kill(-child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (answer.size_bytes >= sizeof size)
        memcpy(&size, answer.data, sizeof size);
    if (answer.size_bytes >= sizeof size && answer.size_bytes - sizeof size == size) {
        strbuf_init(out, arena);
        strbuf_add(out, answer.data + sizeof size, size);
        return true;
    }
    if (!in_time)
        return fail(err, ERR_LIMIT, "still running after %u s", timeout_s);
    if (WIFSIGNALED(status))
        return fail(err, ERR_VERIFY, "died: %s", strsignal(WTERMSIG(status)));
    return fail(err, ERR_VERIFY, "ended with status %d", WEXITSTATUS(status));
}
