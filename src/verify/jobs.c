/* Forks jobs and waits for them. An alarm in the job limits its time; its exit status says how it
 * ended. */
#include "verify/jobs.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/error.h"

#define JOBS_MAX 64
#define KEPT_BYTES (32 << 20) /* the largest threshold that mallopt accepts */
#define TOP_PAD_BYTES (1 << 20)
#define GRACE_NS 3000000000u /* time that a job gets after the deadline to end by itself */

/* Keeps freed memory in the process: memory that goes back to the system costs page faults when it
 * is allocated again. */
static void keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_TOP_PAD, TOP_PAD_BYTES);
}

/* Sets up the job's process; it dies if its parent is killed. */
static void become_child(pid_t parent, uint32_t seconds, uint64_t address_bytes)
{
    child_defaults();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    child_limit_memory(address_bytes);
    alarm(seconds);
    keep_memory();
    confine_descriptors(-1);
    /* The job cannot reset its alarm. */
    confine_calls(&(struct confinement){.memory_files = true});
}

static void tell_death(const struct job_row *row, int status, uint32_t seconds)
{
    size_t used = strnlen(row->died, row->died_bytes - 1);
    char *at = row->died + used;
    size_t left = row->died_bytes - used;
    const char *colon = used > 0 ? ": " : "";
    if (WIFEXITED(status))
        snprintf(at, left, "%sthe process ended with status %d", colon, WEXITSTATUS(status));
    else if (WTERMSIG(status) == SIGALRM)
        snprintf(at, left, "%sSIGALRM: still running after %u s", colon, seconds);
    else if (sigabbrev_np(WTERMSIG(status)))
        snprintf(at, left, "%sSIG%s: %s", colon, sigabbrev_np(WTERMSIG(status)),
                 sigdescr_np(WTERMSIG(status)));
    else
        snprintf(at, left, "%ssignal %d", colon, WTERMSIG(status));
}

/* Waits for one of the children and clears its place. Alarms end them in time; a child that has
 * reset its alarm is killed here. */
static bool reap(const struct job_row *rows, pid_t *children, uint32_t count, uint32_t seconds,
                 uint64_t deadline_ns)
{
    for (;;) {
        for (uint32_t i = 0; clock_ns() > deadline_ns + GRACE_NS && i < count; i++)
            if (children[i] > 0)
                kill(children[i], SIGKILL);
        for (uint32_t i = 0; i < count; i++) {
            int status = 0;
            if (children[i] <= 0)
                continue;
            pid_t done = waitpid(children[i], &status, WNOHANG);
            if (done == children[i] && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
                tell_death(&rows[i], status, seconds);
            if (done == children[i] || (done < 0 && errno != EINTR)) {
                children[i] = 0;
                return WIFEXITED(status) && WEXITSTATUS(status) == error_exit(ERR_NOMEM);
            }
        }
        usleep(200);
    }
}

bool jobs_run(const struct job_row *rows, uint32_t count, uint32_t at_once, uint32_t seconds,
              uint64_t address_bytes, struct error *err)
{
    pid_t children[JOBS_MAX] = {0}, parent = getpid();
    uint32_t running = 0, started = 0;
    uint64_t deadline_ns = clock_ns() + (uint64_t)seconds * 1000000000u;
    bool ok = true, no_memory = false;
    while (started < count || running > 0) {
        if (started < count && running < at_once && ok) {
            uint64_t now = clock_ns();
            uint32_t left = now < deadline_ns ? (uint32_t)((deadline_ns - now) / 1000000000u) : 0;
            pid_t child = fork();
            if (child == 0) {
                become_child(parent, left + 1, address_bytes);
                rows[started].run(rows[started].context, rows[started].index);
                _exit(0);
            }
            if (child < 0)
                ok = fail(err, ERR_NOMEM, "cannot start a process: %s", strerror(errno));
            else
                children[started] = child, running++;
            started++;
        } else if (running > 0) {
            no_memory |= reap(rows, children, started, seconds, deadline_ns);
            running--;
        } else {
            break; /* no more children can be started */
        }
    }
    if (ok && no_memory)
        return fail(err, ERR_NOMEM, "a check needs more memory than it may have");
    return ok;
}
