/* A fork, a pipe and a wait. The answer is written in one go after the body has returned, so that a
 * full answer means a body that came to its end. The alarm of the child bounds its time. */
#include "verify/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

/* The host's handlers (a sanitizer's, say) must not turn a crash into an exit. */
static void default_signals(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS,  SIGILL, SIGFPE,
                                  SIGTRAP, SIGABRT, SIGSYS, SIGALRM};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(fd, data, size);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        data += count;
        size -= (size_t)count;
    }
    return true;
}

static size_t read_all(int fd, char *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t count = read(fd, data + done, size - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    return done;
}

static bool died(int status, uint32_t timeout_s, struct error *err)
{
    if (!WIFSIGNALED(status))
        return fail(err, ERR_VERIFY, "the process ended with status %d", WEXITSTATUS(status));
    const char *name = sigabbrev_np(WTERMSIG(status));
    if (WTERMSIG(status) == SIGALRM)
        return fail(err, ERR_VERIFY, "SIGALRM: still running after %u s", timeout_s);
    if (!name)
        return fail(err, ERR_VERIFY, "signal %d", WTERMSIG(status));
    return fail(err, ERR_VERIFY, "SIG%s: %s", name, sigdescr_np(WTERMSIG(status)));
}

bool isolate(void (*body)(const void *argument, void *out), const void *argument, void *out,
             size_t out_bytes, uint32_t timeout_s, struct error *err)
{
    int fds[2], status = 0;
    char *answer = calloc(1, out_bytes);
    if (!answer)
        return fail(err, ERR_NOMEM, "out of memory");
    if (pipe2(fds, O_CLOEXEC) != 0) {
        free(answer);
        return fail(err, ERR_IO, "cannot make a pipe: %s", strerror(errno));
    }
    pid_t child = fork();
    if (child == 0) {
        default_signals();
        alarm(timeout_s);
        body(argument, answer);
        _exit(write_all(fds[1], answer, out_bytes) ? 0 : 1);
    }
    int fork_error = errno;
    close(fds[1]);
    size_t received = child > 0 ? read_all(fds[0], answer, out_bytes) : 0;
    close(fds[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (received == out_bytes)
        memcpy(out, answer, out_bytes);
    free(answer);
    if (child < 0)
        return fail(err, ERR_NOMEM, "cannot start a process: %s", strerror(fork_error));
    return received == out_bytes || died(status, timeout_s, err);
}
