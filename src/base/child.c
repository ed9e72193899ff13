/* A fork, a pipe and a wait.
 *
 * 1. The answer is written only after the body has returned, so a complete answer means that the
 *    body ran to its end. A head with the sizes of all parts is written first; the parent reads
 *    exactly the announced sizes, and refuses sizes above the limit.
 * 2. The parent enforces the time limit: it reads until a deadline, then kills the child. The
 *    child also sets an alarm for a second later, in case its parent is stopped.
 * 3. The kernel kills the child when the thread that forked it ends. The parent may have ended
 *    before the child asked for this, so the child then checks that it still has the same parent.
 */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/file.h"
#include "base/json.h"

#define NS_PER_MS UINT64_C(1000000)
#define SEND_BYTES ((size_t)16 << 20)
#define LEAST_MEMORY ((uint64_t)8 << 30)

struct head {
    uint32_t ok;
    struct error err;
    uint64_t size_bytes[CHILD_PARTS], peak_bytes;
};

uint64_t child_memory_most(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
    return bytes > LEAST_MEMORY ? bytes : LEAST_MEMORY;
}

/* Mutable and of the process, as what it is about: its end. */
static void (*last_words)(void);

void child_on_no_memory(void (*say)(void))
{
    last_words = say;
}

void child_no_memory(void)
{
    if (last_words)
        last_words();
    _exit(error_exit(ERR_NOMEM));
}

void child_defaults(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL,  SIGFPE, SIGTRAP,
                                  SIGABRT, SIGSYS, SIGALRM, SIGCHLD};
    sigset_t none;
    sigemptyset(&none);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    fesetenv(FE_DFL_ENV);
}

/* The address space in use; 0 when the system does not report it. */
static uint64_t mapped_bytes(void)
{
    char text[64];
    unsigned long long pages = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = '\0';
    if (sscanf(text, "%llu", &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Sets a resource limit, but never above the limit of the calling process. */
static void limit(int resource, uint64_t most)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0)
        return;
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > most)
        limit.rlim_cur = (rlim_t)most;
    limit.rlim_max = limit.rlim_cur;
    setrlimit(resource, &limit);
}

/* Mutable and of the process: one that is confined, or its child, cannot ask the system, and has
 * mapped at least what it had when it was limited. */
static uint64_t mapped_at_limit;

static uint64_t mapped_or_known(void)
{
    uint64_t now = mapped_bytes();
    return now > 0 ? now : mapped_at_limit;
}

void child_limit_memory(uint64_t bytes)
{
    uint64_t used = mapped_at_limit = mapped_or_known();
    if (bytes > 0 && bytes < UINT64_MAX - used && !URZA_SANITIZED)
        limit(RLIMIT_AS, used + bytes);
}

uint64_t child_memory_left(void)
{
    struct rlimit limit;
    uint64_t used = mapped_or_known();
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return limit.rlim_cur > used ? limit.rlim_cur - used : 0;
}

/* Limits processor time to what all cores together have in timeout_ms. Unlike the alarm, this limit
 * cannot be postponed by the child. */
static void limit_time(uint32_t timeout_ms)
{
    struct itimerval timer = {
        .it_value = {.tv_sec = timeout_ms / 1000 + 1, .tv_usec = timeout_ms % 1000 * 1000}};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (timeout_ms == 0)
        return;
    setitimer(ITIMER_REAL, &timer, NULL);
    limit(RLIMIT_CPU, (uint64_t)(cores > 0 ? cores : 1) * (timeout_ms / 1000 + 2));
}

static uint64_t peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss << 10 : 0;
}

/* Writes a part and gives its pages back on the way: the parent holds what it has read, and a large
 * answer would otherwise be in memory twice. It is not used again. */
static bool send_part(int fd, const struct child_part *part)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const char *at = part->data;
    for (size_t left = part->size_bytes; left > 0;) {
        size_t size = left < SEND_BYTES ? left : SEND_BYTES;
        uintptr_t begin = ((uintptr_t)at + page - 1) / page * page, end = (uintptr_t)at + size;
        if (!file_write_all(fd, at, size))
            return false;
        if (size == SEND_BYTES) /* private memory only: of a file, it would be read again */
            madvise((void *)begin, (end - begin) / page * page, MADV_DONTNEED);
        at += size;
        left -= size;
    }
    return true;
}

void child_serve(int fd, pid_t parent, child_body *body, void *context,
                 const struct child_limits *limits)
{
    static const struct head empty;
    struct arena arena;
    struct child_answer answer = {0};
    struct head head = empty;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    child_defaults();
    child_on_no_memory(NULL);
    json_end_without_memory();
    limit_time(limits->timeout_ms);
    child_limit_memory(limits->memory_bytes);
    if (limits->file_bytes > 0)
        limit(RLIMIT_FSIZE, limits->file_bytes);
    if (limits->sealed) {
        setpgid(0, 0); /* so that child_kill reaches its children; a process confined by confine.h
                          cannot leave the group */
        confine_descriptors(fd);
    }
    arena_init(&arena);
    head.ok = body(context, &arena, &answer, &head.err);
    for (size_t i = 0; head.ok && i < CHILD_PARTS; i++)
        head.size_bytes[i] = answer.parts[i].size_bytes;
    head.peak_bytes = peak_bytes();
    bool sent = file_write_all(fd, &head, sizeof head);
    for (size_t i = 0; i < CHILD_PARTS && sent; i++)
        sent = send_part(fd, &answer.parts[i]);
    _exit(sent ? 0 : 1);
}

#define LOOK_MS 20 /* interval between checks whether the child has ended or was cancelled */

static bool is_over(const struct child_source *source)
{
    return (source->cancelled && atomic_load(source->cancelled)) ||
           (source->deadline_ns > 0 && clock_ns() >= source->deadline_ns);
}

/* The timeout for poll. */
static int wait_ms(const struct child_source *source)
{
    uint64_t most = source->cancelled || source->ended ? LOOK_MS : INT_MAX, now = clock_ns();
    if (source->deadline_ns == 0)
        return most == INT_MAX ? -1 : LOOK_MS;
    uint64_t left = now < source->deadline_ns ? (source->deadline_ns - now) / NS_PER_MS + 1 : 0;
    return (int)(left < most ? left : most);
}

/* Reads size bytes before the deadline. End of file on the pipe means that no more will come.
 * Another process may hold the pipe open, so source->ended is polled as well: once the child has
 * ended, everything it wrote is in the pipe. */
static bool read_in_time(const struct child_source *source, void *data, size_t size)
{
    for (char *at = data; size > 0;) {
        struct pollfd p = {.fd = source->fd, .events = POLLIN};
        if (is_over(source))
            return false;
        bool last = source->ended && source->ended(source->context);
        int ready = poll(&p, 1, last ? 0 : wait_ms(source));
        if ((ready < 0 && errno == EINTR) || (ready == 0 && !last))
            continue;
        if (ready <= 0)
            return false;
        ssize_t n = read(source->fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

/* Allocates the memory that the parts are read into. False with *err filled when there is not
 * enough. Running out of memory could make the host's arena jump out of this call, which would
 * leave the child running; so the jump target is replaced by one here. */
static bool make_room(const struct head *head, const struct child_limits *limits,
                      struct arena *arena, struct child_answer *out, struct error *err)
{
    size_t total = 0;
    jmp_buf no_memory, *outer = arena->oom;
    for (size_t i = 0; i < CHILD_PARTS; i++)
        if (!checked_add_size(total, head->size_bytes[i], &total))
            return fail(err, ERR_LIMIT, "an answer of more bytes than there can be");
    if (limits->answer_bytes > 0 && total > limits->answer_bytes)
        return fail(err, ERR_LIMIT, "an answer of %llu bytes, at most %llu are allowed",
                    (unsigned long long)total, (unsigned long long)limits->answer_bytes);
    if (setjmp(no_memory) != 0) {
        arena->oom = outer;
        return fail(err, ERR_NOMEM, "out of memory");
    }
    arena->oom = &no_memory;
    for (size_t i = 0; i < CHILD_PARTS; i++) {
        size_t size = (size_t)head->size_bytes[i]; /* announced size only: its pages are not touched
                                                      before the data comes */
        char *data = arena_raw(arena, size + 1, 64);
        data[size] = '\0';
        out->parts[i] = (struct child_part){data, size};
    }
    arena->oom = outer;
    return true;
}

/* The length in bytes of the UTF-8 character at text, which is zero-terminated; 0: invalid UTF-8,
 * or a control character where those are not allowed. */
static size_t character_bytes(const unsigned char *text, bool controls)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = text[0] < 0x80   ? 1
                   : text[0] < 0xc0 ? 0
                   : text[0] < 0xe0 ? 2
                   : text[0] < 0xf0 ? 3
                   : text[0] < 0xf8 ? 4
                                    : 0;
    uint32_t code = bytes > 1 ? text[0] & (0x7fu >> bytes) : text[0];
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3fu);
    }
    bool control = code < 0x20 || (code >= 0x7f && code < 0xa0);
    bool fine = code >= least[bytes] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return fine && (controls || !control) ? bytes : 0;
}

void child_clean(char *text, bool controls)
{
    for (char *at = text; *at != '\0';) {
        size_t bytes = character_bytes((unsigned char *)at, controls);
        if (bytes == 0)
            *at = '?';
        at += bytes > 0 ? bytes : 1;
    }
}

/* Copies an error out of the child. A child that was taken over may have sent any bytes, so they
 * are checked and cleaned. */
static void take_error(struct error *from, struct error *out)
{
    from->place[sizeof from->place - 1] = from->message[sizeof from->message - 1] = '\0';
    child_clean(from->place, true);
    child_clean(from->message, true);
    if (from->code <= ERR_NONE || from->code >= ERR_COUNT)
        from->code = ERR_BUG;
    *out = *from;
}

enum child_end child_receive(const struct child_source *source, const struct child_limits *limits,
                             struct arena *arena, struct child_answer *out_answer,
                             struct error *err)
{
    struct head head;
    struct child_answer answer;
    if (!read_in_time(source, &head, sizeof head))
        return CHILD_NONE;
    if (!head.ok) {
        take_error(&head.err, err);
        return CHILD_FAILED;
    }
    if (!make_room(&head, limits, arena, &answer, err))
        return CHILD_FAILED;
    for (size_t i = 0; i < CHILD_PARTS; i++)
        if (!read_in_time(source, (void *)(uintptr_t)answer.parts[i].data,
                          answer.parts[i].size_bytes))
            return CHILD_NONE;
    answer.peak_bytes = head.peak_bytes;
    *out_answer = answer;
    return CHILD_DONE;
}

bool child_ended(pid_t pid)
{
    siginfo_t info = {.si_pid = 0};
    int found;
    do
        found = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
    while (found < 0 && errno == EINTR);
    return found < 0 || info.si_pid == pid;
}

void child_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    kill(-pid, SIGKILL); /* the whole process group: it may have children */
}

/* Waits for the child's end and kills the processes that it left in its group. */
static struct child_exit wait_for(pid_t pid)
{
    siginfo_t info;
    int status = 0;
    pid_t found;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        continue;
    child_kill(pid);
    while ((found = waitpid(pid, &status, 0)) < 0 && errno == EINTR)
        continue;
    return found == pid ? child_exit_of(status) : (struct child_exit){CHILD_LOST, 0};
}

struct child_exit child_exit_of(int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        return (struct child_exit){CHILD_TIMED_OUT, 0};
    if (WIFSIGNALED(status))
        return (struct child_exit){CHILD_SIGNAL, WTERMSIG(status)};
    if (WEXITSTATUS(status) == error_exit(ERR_NOMEM))
        return (struct child_exit){CHILD_NO_MEMORY, 0};
    return (struct child_exit){CHILD_STATUS, WEXITSTATUS(status)};
}

/* Waits until the deadline for a child that has closed its end of the pipe: it is about to end, or
 * hangs. */
static bool ends_in_time(pid_t pid, uint64_t deadline_ns)
{
    while (!child_ended(pid)) {
        if (deadline_ns > 0 && clock_ns() >= deadline_ns)
            return false;
        usleep(200);
    }
    return true;
}

static bool has_ended(void *context)
{
    return child_ended(*(const pid_t *)context);
}

struct child_exit child_run(child_body *body, void *context, const struct child_limits *limits,
                            struct arena *arena, struct child_answer *out_answer, struct error *err)
{
    int fds[2];
    uint64_t deadline_ns = 0;
    pid_t self = getpid();
    if (pipe2(fds, O_CLOEXEC) != 0) {
        fail(err, ERR_IO, "cannot make a pipe: %s", strerror(errno));
        return (struct child_exit){CHILD_FAILED, 0};
    }
    if (limits->timeout_ms > 0)
        deadline_ns = clock_ns() + limits->timeout_ms * NS_PER_MS;
    pid_t pid = fork();
    int reason = errno;
    if (pid == 0) {
        close(fds[0]);
        child_serve(fds[1], self, body, context, limits);
    }
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        fail(err, ERR_NOMEM, "cannot start a process: %s", strerror(reason));
        return (struct child_exit){CHILD_FAILED, 0};
    }
    const struct child_source source = {
        .fd = fds[0], .deadline_ns = deadline_ns, .ended = has_ended, .context = &pid};
    struct child_exit end = {child_receive(&source, limits, arena, out_answer, err), 0};
    close(fds[0]);
    bool late = end.end == CHILD_NONE && !ends_in_time(pid, deadline_ns);
    if (end.end != CHILD_NONE || late)
        child_kill(pid); /* the answer is complete; no process of the child may outlive this call */
    struct child_exit own = wait_for(pid);
    if (late)
        return (struct child_exit){CHILD_TIMED_OUT, 0};
    return end.end == CHILD_NONE ? own : end;
}

bool child_fail(struct child_exit end, const struct child_limits *limits, const char *who,
                enum error_code code, struct error *err)
{
    switch (end.end) {
    case CHILD_NONE:
    case CHILD_DONE: break;
    case CHILD_FAILED: return false;
    case CHILD_TIMED_OUT:
        return fail(err, code, "%s did not finish within %u ms", who, limits->timeout_ms);
    case CHILD_NO_MEMORY:
        if (limits->memory_bytes == 0)
            return fail(err, ERR_NOMEM, "%s ran out of memory", who);
        return fail(err, ERR_NOMEM, "%s ran out of memory: it may take %llu MiB", who,
                    (unsigned long long)(limits->memory_bytes >> 20));
    case CHILD_SIGNAL:
        return fail(err, code, "%s was killed by signal %d (%s)", who, end.number,
                    strsignal(end.number));
    case CHILD_LOST:
        return fail(err, code, "%s ended, and the program's own handling of SIGCHLD hides how",
                    who);
    case CHILD_STATUS: return fail(err, code, "%s exited with status %d", who, end.number);
    }
    return fail(err, ERR_BUG, "%s came to its end", who);
}
