/* Each call that a confined process must not make is tried in a child of its own and refused; the
 * calls that it needs still work. */
#include "base/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], inside[96], outside[96]; /* outside: a file that no child may touch */
static pid_t tester;

static long try_socket(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}
static long try_unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}
static long try_socketpair(void)
{
    int pair[2];
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}
static long try_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = 80};
    return connect(0, (struct sockaddr *)&to, sizeof to);
}
static long try_exec(void)
{
    char *const words[] = {"/bin/true", NULL};
    return execve(words[0], words, NULL);
}
static long try_exec_at(void)
{
    char *const words[] = {"true", NULL};
    return syscall(SYS_execveat, AT_FDCWD, "/bin/true", words, NULL, 0);
}
static long try_read(void)
{
    return open("/etc/passwd", O_RDONLY);
}
static long try_read_process(void)
{
    return open("/proc/self/environ", O_RDONLY);
}
static long try_open_folder(void)
{
    return open("/", O_RDONLY | O_DIRECTORY);
}
static long try_open2(void)
{
    uint64_t how[3] = {O_RDONLY, 0, 0};
    return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof how);
}
static long try_write(void)
{
    return open(outside, O_WRONLY);
}
static long try_create(void)
{
    return open("/tmp/urza-confine-made", O_WRONLY | O_CREAT, 0600);
}
static long try_truncate(void)
{
    return truncate(outside, 0);
}
static long try_unlink(void)
{
    return unlink(outside);
}
static long try_rename(void)
{
    return rename(outside, "/tmp/urza-confine-moved");
}
static long try_link(void)
{
    char to[128];
    snprintf(to, sizeof to, "%s/linked", folder);
    return link(outside, to);
}
static long try_symlink(void)
{
    char to[128];
    snprintf(to, sizeof to, "%s/way", folder);
    return symlink("/etc/passwd", to);
}
static long try_mkdir(void)
{
    return mkdir("/tmp/urza-confine-folder", 0700);
}
static long try_mknod(void)
{
    char to[128];
    snprintf(to, sizeof to, "%s/pipe", folder);
    return mknod(to, S_IFIFO | 0600, 0);
}
static long try_owner(void)
{
    return chown(outside, 1, 1);
}
static long try_ptrace(void)
{
    return ptrace(PTRACE_ATTACH, tester, NULL, NULL);
}
static long try_read_memory(void)
{
    char byte;
    struct iovec own = {&byte, 1}, other = {&tester, 1};
    return process_vm_readv(tester, &own, 1, &other, 1, 0);
}
static long try_signal_file(void)
{
    return syscall(SYS_pidfd_open, tester, 0);
}
static long try_mount(void)
{
    return mount("none", "/mnt", "tmpfs", 0, NULL);
}
static long try_root(void)
{
    return chroot("/tmp");
}
static long try_unshare(void)
{
    return unshare(CLONE_NEWUSER);
}
static long try_user(void)
{
    return setuid(getuid());
}
static long try_perf(void)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr};
    return syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}
static long try_ring(void)
{
    struct io_uring_params params = {0};
    return syscall(SYS_io_uring_setup, 4, &params);
}
static long try_bpf(void)
{
    char attr[64] = {0};
    return syscall(SYS_bpf, 0, attr, sizeof attr);
}
static long try_keys(void)
{
    return syscall(SYS_keyctl, 0, -3, 1);
}
static long try_terminal(void)
{
    char byte = 'x';
    return syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, &byte) == 0 || errno != EPERM ? 0 : -1;
}
static long try_shared_memory(void)
{
    return syscall(SYS_shmget, 0, 4096, 01600);
}
static long try_session(void)
{
    return setsid();
}
static long try_namespaced_child(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return pid;
}
static long try_kill(void)
{
    return kill(tester, 0);
}
static long try_kill_child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    return pid < 0 ? -1 : kill(pid, SIGKILL);
}
static long try_thread_signal(void)
{
    return syscall(SYS_tgkill, tester, tester, 0);
}
static long try_limits_of_another(void)
{
    struct rlimit limit = {1, 1};
    return prlimit(tester, RLIMIT_CORE, &limit, NULL);
}
static long try_outliving(void)
{
    return prctl(PR_SET_PDEATHSIG, 0);
}
static long try_sibling(void)
{
    long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    return pid;
}
static long try_group(void)
{
    return setpgid(0, 0);
}
static long try_owner_of_signals(void)
{
    return fcntl(0, F_SETOWN, tester);
}
static long try_signals_of_descriptor(void)
{
    return fcntl(0, F_SETFL, O_ASYNC);
}
static long try_async(void)
{
    int on = 1;
    return syscall(SYS_ioctl, 0, 0x5452 /* FIOASYNC */, &on);
}
static long try_memory_file(void)
{
    return memfd_create("x", 0);
}
static long try_fork(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid;
}
static long try_alarm(void)
{
    return setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
}
static long try_limits(void)
{
    return setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}
static long try_read_inside(void)
{
    return open(inside, O_RDONLY);
}
static long try_write_inside(void)
{
    return open(inside, O_WRONLY);
}

/* SIGNALS: PROCESSES where the system can limit signals to children. */
enum level { SEALED, MEMORY, PROCESSES, SIGNALS, READS, WRITES, LEVELS };
#define ALL 0

/* levels: bits of those at which the attempt succeeds. */
static const struct attempt {
    const char *name;
    long (*run)(void);
    unsigned levels;
} attempts[] = {
    {"a socket", try_socket, ALL},
    {"a local socket", try_unix_socket, ALL},
    {"a pair of sockets", try_socketpair, ALL},
    {"connecting", try_connect, ALL},
    {"a program", try_exec, ALL},
    {"a program by another call", try_exec_at, ALL},
    {"reading a file", try_read, ALL},
    {"reading the environment", try_read_process, ALL},
    {"opening a folder", try_open_folder, ALL},
    {"opening by another call", try_open2, ALL},
    {"writing a file", try_write, ALL},
    {"making a file", try_create, ALL},
    {"cutting a file", try_truncate, ALL},
    {"removing a file", try_unlink, ALL},
    {"moving a file", try_rename, ALL},
    {"a second name for a file", try_link, ALL},
    {"a symbolic link", try_symlink, ALL},
    {"making a folder", try_mkdir, ALL},
    {"making a pipe", try_mknod, ALL},
    {"another owner", try_owner, ALL},
    {"tracing", try_ptrace, ALL},
    {"another's memory", try_read_memory, ALL},
    {"a descriptor of a process", try_signal_file, ALL},
    {"mounting", try_mount, ALL},
    {"another root", try_root, ALL},
    {"a namespace", try_unshare, ALL},
    {"another user", try_user, ALL},
    {"events", try_perf, ALL},
    {"a ring", try_ring, ALL},
    {"programs in the kernel", try_bpf, ALL},
    {"keys", try_keys, ALL},
    {"input to the terminal", try_terminal, ALL},
    {"shared memory", try_shared_memory, ALL},
    {"a session", try_session, ALL},
    {"a child in a namespace", try_namespaced_child, ALL},
    {"a signal", try_kill, ALL},
    {"a signal to a thread", try_thread_signal, ALL},
    {"a signal to a child", try_kill_child, 1 << SIGNALS},
    {"another's limits", try_limits_of_another, ALL},
    {"outliving the parent", try_outliving, ALL},
    {"a sibling", try_sibling, ALL},
    {"a group", try_group, ALL},
    {"signals of a descriptor to another", try_owner_of_signals, ALL},
    {"signals of a descriptor", try_signals_of_descriptor, ALL},
    {"the same by another call", try_async, ALL},
    {"a file in memory", try_memory_file, 1 << MEMORY},
    {"a child", try_fork, 1 << PROCESSES | 1 << SIGNALS},
    {"another alarm", try_alarm, 1 << PROCESSES | 1 << SIGNALS},
    {"lower limits", try_limits, 1 << PROCESSES | 1 << SIGNALS},
    {"reading in the folder", try_read_inside, 1 << READS | 1 << WRITES},
    {"writing in the folder", try_write_inside, 1 << WRITES},
};

static void confine_to(enum level level)
{
    confine_descriptors(-1);
    confine_calls(&(struct confinement){.processes = level == PROCESSES || level == SIGNALS,
                                        .memory_files = level == MEMORY,
                                        .reads = level == READS ? folder : NULL,
                                        .writes = level == WRITES ? folder : NULL});
}

/* Whether this system supports the level. */
static bool has(enum level level)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (level == PROCESSES)
        return version < 6;
    return level < SIGNALS || version >= (level == SIGNALS ? 6 : 1);
}

static void attempts_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        for (enum level level = SEALED; level < LEVELS; level++) {
            int status;
            if (!has(level))
                continue;
            pid_t pid = fork();
            if (pid == 0) {
                confine_to(level);
                _exit(attempts[i].run() >= 0                                ? 1
                      : errno == EPERM || errno == EACCES || errno == EXDEV ? 0
                                                                            : 2);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            if (!WIFEXITED(status) || WEXITSTATUS(status) != (int)(attempts[i].levels >> level & 1))
                fail_msg("%s at level %d: status %x", attempts[i].name, level, status);
        }
    }
    struct stat info;
    assert_int_equal(stat(outside, &info), 0);
    assert_int_equal(info.st_size, 5);
    assert_true(info.st_nlink == 1 && access("/tmp/urza-confine-made", F_OK) != 0);
}

/* The closed folder stays closed, and everything else in the folder can be read, new names for it
 * included. */
static void part_of_a_folder_is_closed(void **state)
{
    (void)state;
    static const char *const paths[] = {"a", "home/b", "home/keys/c", "home/keys/d/e", "keys/f"};
    static const bool opened[] = {true, true, false, false, true};
    char path[128], closed[128];
    if (!has(READS))
        return;
    snprintf(closed, sizeof closed, "%s/home/keys", folder);
    static const char *const folders[] = {"home", "home/keys", "home/keys/d", "keys"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, paths[i]);
        close(open(path, O_WRONLY | O_CREAT, 0600));
    }
    snprintf(path, sizeof path, "%s/way", folder);
    assert_int_equal(symlink(closed, path), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int wrong = 0, status;
        confine_calls(&(struct confinement){.reads = folder, .closed = closed});
        for (int i = 0; i < 5; i++) {
            snprintf(path, sizeof path, "%s/%s", folder, paths[i]);
            status = open(path, O_RDONLY);
            wrong += (status >= 0) != opened[i];
        }
        snprintf(path, sizeof path, "%s/way/c", folder);
        _exit(wrong + (open(path, O_RDONLY) >= 0));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    snprintf(path, sizeof path, "%s/way", folder);
    assert_int_equal(unlink(path), 0);
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, paths[i]);
        assert_int_equal(unlink(path), 0);
    }
    for (int i = 4; i-- > 0;) {
        snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
        assert_int_equal(rmdir(path), 0);
    }
}

static void *answer(void *context)
{
    return context;
}

/* Memory, threads, time and abort work, and so do files in the writable folder. Where signals
 * cannot be limited to children, a process cannot signal itself either, so abort falls through to
 * the trap instruction after it. */
static void work_goes_on(void **state)
{
    (void)state;
    for (enum level level = SEALED; level < LEVELS; level++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread;
            void *back = NULL;
            char path[128], moved[128];
            confine_to(level);
            char *memory =
                mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            bool ok = memory != MAP_FAILED && mprotect(memory, 4096, PROT_NONE) == 0 &&
                      pthread_create(&thread, NULL, answer, path) == 0 &&
                      pthread_join(thread, &back) == 0 && back == path && usleep(10) == 0;
            int file = level == MEMORY ? memfd_create("x", 0) : -1;
            ok = ok && (level != MEMORY || (file >= 0 && write(file, "x", 1) == 1));
            snprintf(path, sizeof path, "%s/made", folder);
            snprintf(moved, sizeof moved, "%s/moved", folder);
            if (level == WRITES) {
                int made = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
                ok = ok && made >= 0 && write(made, "x", 1) == 1 && fsync(made) == 0 &&
                     rename(path, moved) == 0 && unlink(moved) == 0;
            }
            if (ok)
                abort();
            _exit(1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        bool may_abort = level != PROCESSES && (level != SIGNALS || has(level));
        if (!WIFSIGNALED(status) || (WTERMSIG(status) != SIGABRT && may_abort))
            fail_msg("level %d: status %x", level, status);
    }
}

static void descriptors_are_closed(void **state)
{
    (void)state;
    int pair[2], status;
    assert_int_equal(pipe(pair), 0);
    for (int keep = 0; keep < 2; keep++) {
        pid_t pid = fork();
        if (pid == 0) {
            int kept = keep ? pair[1] : -1;
            confine_descriptors(kept);
            bool ok = (fcntl(pair[1], F_GETFD) >= 0) == (keep == 1) && fcntl(pair[0], F_GETFD) < 0;
            for (int fd = 0; fd < 3; fd++)
                ok = ok && fcntl(fd, F_GETFD) >= 0;
            for (int fd = 3; fd < 64; fd++)
                ok = ok && (fd == kept || fcntl(fd, F_GETFD) < 0);
            _exit(ok ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    close(pair[0]);
    close(pair[1]);
}

static int setup(void **state)
{
    (void)state;
    tester = getpid();
    snprintf(folder, sizeof folder, "/tmp/urza-confine-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(inside, sizeof inside, "%s/file", folder);
    snprintf(outside, sizeof outside, "%s-outside", folder);
    const char *const paths[] = {inside, outside};
    for (int i = 0; i < 2; i++) {
        int file = open(paths[i], O_WRONLY | O_CREAT, 0600);
        if (file < 0 || write(file, "12345", 5) != 5)
            return -1;
        close(file);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(inside) == 0 && unlink(outside) == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attempts_are_refused),
        cmocka_unit_test(part_of_a_folder_is_closed),
        cmocka_unit_test(work_goes_on),
        cmocka_unit_test(descriptors_are_closed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
