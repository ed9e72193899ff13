/* The system calls that the compiler, the verifier, the runtime and the C library need after the
 * fork are listed; all others are refused. Which files may be opened and which processes may be
 * signalled is left to Landlock, because filters can neither read paths nor tell children from
 * other processes. */
#include "base/compiler.h"
#include "base/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

void confine_descriptors(int keep)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) {
        if (fd == keep)
            continue;
        close(fd);
        if (null >= 0 && null != fd)
            dup2(null, fd);
    }
    if (keep > 3)
        syscall(SYS_close_range, 3, keep - 1, 0);
    syscall(SYS_close_range, keep >= 3 ? keep + 1 : 3, ~0u, 0);
}

#ifdef URZA_AUDIT_ARCH

/* Needed by every confined process. */
static const uint32_t always[] = {
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_madvise,
    SYS_mincore,
    SYS_mremap,
    SYS_brk,
    SYS_futex,
    SYS_exit,
    SYS_exit_group,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_gettid,
    SYS_getpid,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_write,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_lseek,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_restart_syscall,
    SYS_getrandom,
    SYS_sysinfo,
    SYS_getrlimit,
    SYS_getrusage,
};

/* Needed to start children that are confined further; of prctl and prlimit64 only some uses are
 * allowed. */
static const uint32_t for_processes[] = {
    SYS_wait4, SYS_getppid, SYS_seccomp,     SYS_alarm,     SYS_dup2,
    SYS_read,  SYS_poll,    SYS_close_range, SYS_setrlimit, SYS_setitimer,
};

/* Allowed where Landlock keeps signals to the process's own children. */
static const uint32_t for_signals[] = {SYS_kill, SYS_tgkill};

static const uint32_t for_memory_files[] = {SYS_memfd_create, SYS_ftruncate};

static const uint32_t for_reading[] = {
    SYS_openat, SYS_read, SYS_pread64, SYS_readlink, SYS_access, SYS_getdents64,
};

static const uint32_t for_writing[] = {
    SYS_mkdir, SYS_rename, SYS_link,      SYS_unlink,  SYS_fchmod,
    SYS_fsync, SYS_flock,  SYS_utimensat, SYS_geteuid, SYS_pwrite64,
};

#define LOAD(field) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
/* The low half of an argument, which is all that the kernel reads of an int. */
#define LOAD_ARGUMENT(index)           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
             (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)(index)))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define REFUSE(reason) RETURN(SECCOMP_RET_ERRNO | (reason))
/* Skips `over` instructions if the loaded word equals value. */
#define SKIP_IF(value, over) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, over, 0)
#define SKIP_UNLESS(value, over) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, over)
#define SKIP_UNLESS_ANY(bits, over) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, over)
#define CALLS_MOST 96
/* Clone flags that are refused: those that make a namespace, or a child of another parent. */
#define NO_CHILD                                                                               \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | \
     CLONE_NEWCGROUP | CLONE_PARENT)

struct program {
    struct sock_filter code[2 * CALLS_MOST + 64];
    uint32_t count;
};
#define ADD(program, ...) (program)->code[(program)->count++] = (struct sock_filter)__VA_ARGS__

static void allow(struct program *p, const uint32_t *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ADD(p, SKIP_UNLESS(calls[i], 1));
        ADD(p, RETURN(SECCOMP_RET_ALLOW));
    }
}

/* Allows `call` if its argument is one of the values. */
static void allow_with(struct program *p, uint32_t call, int argument, const uint32_t *values,
                       uint32_t count)
{
    ADD(p, SKIP_UNLESS(call, (uint8_t)(2 * count + 2)));
    ADD(p, LOAD_ARGUMENT(argument));
    allow(p, values, count);
    ADD(p, REFUSE(EPERM));
}

/* prlimit64 on the process itself, and prctl to die with the parent but not to undo that. */
static void allow_own_limits(struct program *p)
{
    allow_with(p, SYS_prlimit64, 0, (const uint32_t[]){0}, 1);
    ADD(p, SKIP_UNLESS(SYS_prctl, 8));
    ADD(p, LOAD_ARGUMENT(0));
    ADD(p, SKIP_UNLESS(PR_SET_NO_NEW_PRIVS, 1));
    ADD(p, RETURN(SECCOMP_RET_ALLOW));
    ADD(p, SKIP_UNLESS(PR_SET_PDEATHSIG, 3));
    ADD(p, LOAD_ARGUMENT(1));
    ADD(p, SKIP_UNLESS(SIGKILL, 1));
    ADD(p, RETURN(SECCOMP_RET_ALLOW));
    ADD(p, REFUSE(EPERM));
}

/* Clone for threads; for processes only where `processes` is set. */
static void allow_clone(struct program *p, bool processes)
{
    ADD(p, SKIP_UNLESS(SYS_clone3, 1)); /* not filtered by flags, which are in memory: ENOSYS makes
                                           the C library use clone */
    ADD(p, REFUSE(ENOSYS));
    ADD(p, SKIP_UNLESS(SYS_clone, processes ? 6 : 4));
    ADD(p, LOAD_ARGUMENT(0));
    ADD(p, SKIP_UNLESS_ANY(CLONE_THREAD, 1));
    ADD(p, RETURN(SECCOMP_RET_ALLOW));
    if (processes) {
        ADD(p, SKIP_UNLESS_ANY(NO_CHILD, 1));
        ADD(p, REFUSE(EPERM));
        ADD(p, RETURN(SECCOMP_RET_ALLOW));
    } else {
        ADD(p, REFUSE(EPERM));
    }
}

_Static_assert(COUNT_OF(always) + COUNT_OF(for_processes) + COUNT_OF(for_signals) +
                       COUNT_OF(for_memory_files) + COUNT_OF(for_reading) + COUNT_OF(for_writing) <=
                   CALLS_MOST,
               "calls fit");

static void filter_calls(const struct confinement *c, bool signals_scoped)
{
    /* Leaves out the commands that make a descriptor send signals to a process of the caller's
     * choice. */
    static const uint32_t of_descriptors[] = {F_GETFD, F_SETFD, F_GETFL, F_ADD_SEALS};
    struct program program = {.count = 0}, *p = &program;
    ADD(p, LOAD(arch));
    ADD(p, SKIP_IF(URZA_AUDIT_ARCH, 1));
    ADD(p, REFUSE(EPERM));
    ADD(p, LOAD(nr));
    allow(p, always, COUNT_OF(always));
    if (c->processes)
        allow(p, for_processes, COUNT_OF(for_processes));
    if (c->processes && signals_scoped)
        allow(p, for_signals, COUNT_OF(for_signals));
    if (c->memory_files)
        allow(p, for_memory_files, COUNT_OF(for_memory_files));
    if (c->reads || c->writes)
        allow(p, for_reading, COUNT_OF(for_reading));
    if (c->writes)
        allow(p, for_writing, COUNT_OF(for_writing));
    allow_with(p, SYS_fcntl, 1, of_descriptors, COUNT_OF(of_descriptors));
    if (c->processes)
        allow_own_limits(p);
    else /* abort */
        allow_with(p, SYS_tgkill, 0, (const uint32_t[]){(uint32_t)getpid()}, 1);
    allow_clone(p, c->processes);
    ADD(p, REFUSE(EPERM));
    struct sock_fprog filter = {.len = (unsigned short)p->count, .filter = p->code};
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

#else

static void filter_calls(const struct confinement *c, bool signals_scoped)
{
    (void)c, (void)signals_scoped;
}

#endif

/* Constants that the headers of Debian 12 do not have. */
#define RIGHT_TRUNCATE (UINT64_C(1) << 14)
#define SCOPES (UINT64_C(1) << 0 | UINT64_C(1) << 1) /* abstract sockets, signals */
struct ruleset {
    uint64_t files, network, scoped;
};

#define RIGHTS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_WRITE                                                               \
    (RIGHTS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG)
#define RIGHTS_ALL                                                                                 \
    (RIGHTS_WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                    \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | \
     LANDLOCK_ACCESS_FS_MAKE_SYM)

static void open_folder(int ruleset, const char *folder, uint64_t rights)
{
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights};
    beneath.parent_fd = open(folder, O_PATH | O_CLOEXEC);
    if (beneath.parent_fd < 0)
        return; /* the path does not exist: nothing to allow */
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
    close(beneath.parent_fd);
}

/* Allows the entries of folder one by one, except for `closed`: Landlock rules can only add rights.
 * Both paths are free of links and of components such as "..". */
static void open_around(int ruleset, const char *folder, const char *closed)
{
    size_t length = strlen(folder);
    DIR *dir = opendir(folder);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        char path[PATH_MAX];
        struct stat info;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            snprintf(path, sizeof path, "%s%s%s", folder, folder[length - 1] == '/' ? "" : "/",
                     e->d_name) >= (int)sizeof path)
            continue;
        size_t size = strlen(path);
        bool leads = strncmp(path, closed, size) == 0;
        if (leads && closed[size] == '\0')
            continue;
        if (leads && closed[size] == '/')
            open_around(ruleset, path, closed);
        else if (S_ISDIR(info.st_mode))
            open_folder(ruleset, path, RIGHTS_READ);
        else if (S_ISREG(info.st_mode))
            open_folder(ruleset, path, LANDLOCK_ACCESS_FS_READ_FILE);
    }
    if (dir)
        closedir(dir);
}

static bool lies_in(const char *path, const char *folder)
{
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 &&
           (path[length] == '/' || path[length] == '\0' || folder[length - 1] == '/');
}

static void open_for_reading(int ruleset, const struct confinement *c)
{
    char folder[PATH_MAX], closed[PATH_MAX];
    if (!realpath(c->reads, folder))
        return;
    if (!c->closed || !realpath(c->closed, closed) || !lies_in(closed, folder))
        open_folder(ruleset, folder, RIGHTS_READ);
    else if (strcmp(closed, folder) != 0)
        open_around(ruleset, folder, closed);
}

/* Limits signals to this process and its children from now on; returns whether the system can. */
static bool limit_reach(const struct confinement *c)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    uint64_t more = version >= 3 ? RIGHT_TRUNCATE : 0;
    if (version >= 2)
        more |= LANDLOCK_ACCESS_FS_REFER; /* always refused unless granted */
    struct ruleset rules = {.files = RIGHTS_ALL | more, .scoped = SCOPES};
    if (version < 1)
        return false;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules,
                               version >= 6 ? sizeof rules : sizeof rules.files, 0);
    if (ruleset < 0)
        return false;
    if (c->reads)
        open_for_reading(ruleset, c);
    if (c->writes)
        open_folder(ruleset, c->writes, RIGHTS_WRITE | more);
    bool restricted = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    close(ruleset);
    return restricted && version >= 6;
}

void confine_calls(const struct confinement *confinement)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return;
    filter_calls(confinement, limit_reach(confinement));
}
