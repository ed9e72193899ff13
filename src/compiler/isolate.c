/* Compiling in a child process.
 *
 * The child gets limits on address space and processor time, compiles, and writes one message to a
 * pipe: a header, then either the error or the result's bytes. The parent reads until the pipe
 * closes or the time is over, kills what is left, and believes nothing that does not have the
 * announced size. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "compiler/compile_priv.h"

struct message {
    uint32_t ok;
    struct error err;
    struct compile_result result; /* pointers are not used; lengths follow */
    uint64_t package_bytes, dump_bytes;
};

static bool write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static void limit_child(const struct compile_options *options, uint32_t timeout_ms)
{
    rlim_t bytes = options->memory_bytes ? options->memory_bytes : (rlim_t)8 << 30;
    rlim_t seconds = timeout_ms / 1000 + 1;
    if (!URZA_SANITIZED) /* whose shadow memory is larger than any limit */
        setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
    setrlimit(RLIMIT_CPU, &(struct rlimit){seconds, seconds + 1});
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static void run_child(int fd, const char *text, size_t size, const struct compile_options *options)
{
    struct arena arena;
    struct message *m = calloc(1, sizeof *m);
    arena_init(&arena);
    if (!m)
        _exit(1);
    m->ok = compile_blueprint(text, size, options, &arena, &m->result, &m->err);
    m->package_bytes = m->ok ? m->result.package_bytes : 0;
    m->dump_bytes = m->ok && m->result.dump ? strlen(m->result.dump) : 0;
    bool sent = write_all(fd, m, sizeof *m) && write_all(fd, m->result.package, m->package_bytes) &&
                write_all(fd, m->result.dump, m->dump_bytes);
    _exit(sent ? 0 : 1);
}

/* Reads size bytes before the deadline. */
static bool read_all(int fd, void *data, size_t size, uint64_t deadline_ns)
{
    char *at = data;
    while (size > 0) {
        uint64_t now = clock_ns();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int left_ms = now < deadline_ns ? (int)((deadline_ns - now) / 1000000 + 1) : 0;
        int ready = poll(&p, 1, left_ms);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        ssize_t n = read(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool receive(int fd, uint64_t deadline_ns, struct arena *arena, struct compile_result *out,
                    bool *complete, struct error *err)
{
    struct message *m = ARENA_NEW(arena, struct message);
    *complete = false;
    if (!read_all(fd, m, sizeof *m, deadline_ns))
        return false;
    if (!m->ok) {
        *complete = true;
        *err = m->err;
        return false;
    }
    char *package = arena_alloc(arena, m->package_bytes, 64),
         *dump = arena_alloc(arena, m->dump_bytes + 1, 1);
    if (!read_all(fd, package, m->package_bytes, deadline_ns) ||
        !read_all(fd, dump, m->dump_bytes, deadline_ns))
        return false;
    *complete = true;
    m->result.package = package;
    m->result.dump = m->dump_bytes ? dump : NULL;
    m->result.held = NULL;
    m->result.warnings = NULL;
    m->result.warning_count = 0;
    *out = m->result;
    return true;
}

static bool report_death(pid_t child, bool in_time, uint32_t timeout_ms, struct error *err)
{
    int status = 0;
    if (!in_time)
        kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!in_time)
        return fail(err, ERR_COMPILER_DIED, "the compiler did not finish within %u ms", timeout_ms);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return fail(err, ERR_COMPILER_DIED, "the compiler used more than %u ms of processor time",
                    timeout_ms);
    if (WIFSIGNALED(status))
        return fail(err, ERR_COMPILER_DIED, "the compiler was killed by signal %d (%s)",
                    WTERMSIG(status), strsignal(WTERMSIG(status)));
    return fail(err, ERR_COMPILER_DIED, "the compiler exited with status %d", WEXITSTATUS(status));
}

bool compile_isolated(const char *text, size_t size, const struct compile_options *options,
                      struct arena *arena, struct compile_result *out, struct error *err)
{
    int fds[2];
    uint32_t timeout_ms = options->timeout_ms ? options->timeout_ms : 120000;
    if (kept_find(text, size, options, out))
        return true;
    if (pipe(fds) != 0)
        return fail(err, ERR_IO, "pipe: %s", strerror(errno));
    uint64_t deadline_ns = clock_ns() + (uint64_t)timeout_ms * 1000000;
    pid_t child = fork();
    if (child < 0) {
        close(fds[0]);
        close(fds[1]);
        return fail(err, ERR_IO, "fork: %s", strerror(errno));
    }
    if (child == 0) {
        close(fds[0]);
        signal(SIGPIPE, SIG_IGN);
        limit_child(options, timeout_ms);
        run_child(fds[1], text, size, options);
    }
    close(fds[1]);
    bool complete;
    bool ok = receive(fds[0], deadline_ns, arena, out, &complete, err);
    bool in_time = clock_ns() < deadline_ns;
    close(fds[0]);
    if (!complete)
        return report_death(child, in_time, timeout_ms, err);
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return ok;
}
