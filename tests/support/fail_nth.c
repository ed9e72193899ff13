/* For LD_PRELOAD into a program under test: one call fails, or it and some that follow, counted
 * from the start of main; only in the process that was started, not in its children.
 *
 *   URZA_FAIL=disk:N:COUNT:ERRNO:FOLDER   the N-th call that writes below FOLDER, or waits for it
 *   URZA_FAIL=memory:N:COUNT              the N-th allocation
 *   URZA_FAIL_REPORT=FILE                 at the end, how many calls there were goes there
 *
 * N 0: none fails, all are counted. */
#undef _FILE_OFFSET_BITS /* it would rename what is defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))
#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

static struct {
    atomic_bool armed;
    bool disk, memory;
    long first, last; /* calls that fail; first 0: none */
    int error;
    char folder[PATH_MAX];
    size_t folder_bytes;
    const char *report;
    atomic_long calls;
} plan;

static bool fails_now(void)
{
    long call = atomic_fetch_add(&plan.calls, 1) + 1;
    return plan.first > 0 && call >= plan.first && call <= plan.last;
}

static bool below(const char *path)
{
    return strncmp(path, plan.folder, plan.folder_bytes) == 0 &&
           (path[plan.folder_bytes] == '/' || path[plan.folder_bytes] == '\0');
}

static bool fd_below(int fd)
{
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size <= 0)
        return false;
    path[size] = '\0';
    return below(path);
}

static bool disk_fails(bool concerned)
{
    if (!concerned || !fails_now())
        return false;
    errno = plan.error;
    return true;
}

static bool fd_fails(int fd)
{
    return atomic_load(&plan.armed) && plan.disk && disk_fails(fd_below(fd));
}

static bool path_fails(int at, const char *path)
{
    return atomic_load(&plan.armed) && plan.disk &&
           disk_fails(path[0] == '/' || at == AT_FDCWD ? below(path) : fd_below(at));
}

static bool memory_fails(void)
{
    if (!atomic_load(&plan.armed) || !plan.memory || !fails_now())
        return false;
    errno = ENOMEM;
    return true;
}

/* Allocations. */

SHOWN void *malloc(size_t size)
{
    return memory_fails() ? NULL : __libc_malloc(size);
}

SHOWN void *calloc(size_t count, size_t size)
{
    return memory_fails() ? NULL : __libc_calloc(count, size);
}

SHOWN void *realloc(void *old, size_t size)
{
    return memory_fails() ? NULL : __libc_realloc(old, size);
}

SHOWN void *aligned_alloc(size_t align, size_t size)
{
    return memory_fails() ? NULL : __libc_memalign(align, size);
}

SHOWN int posix_memalign(void **out, size_t align, size_t size)
{
    void *made = memory_fails() ? NULL : __libc_memalign(align, size);
    *out = made ? made : *out;
    return made ? 0 : ENOMEM;
}

/* Calls that write. */

SHOWN ssize_t write(int fd, const void *data, size_t size)
{
    return fd_fails(fd) ? -1 : REAL("write", ssize_t(*)(int, const void *, size_t))(fd, data, size);
}

SHOWN ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return fd_fails(fd) ? -1
                        : REAL("pwrite64",
                               ssize_t(*)(int, const void *, size_t, off64_t))(fd, data, size, at);
}

SHOWN ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return pwrite64(fd, data, size, at);
}

SHOWN ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    return fd_fails(fd)
               ? -1
               : REAL("writev", ssize_t(*)(int, const struct iovec *, int))(fd, pieces, count);
}

SHOWN int fsync(int fd)
{
    return fd_fails(fd) ? -1 : REAL("fsync", int (*)(int))(fd);
}

SHOWN int fdatasync(int fd)
{
    return fd_fails(fd) ? -1 : REAL("fdatasync", int (*)(int))(fd);
}

SHOWN int ftruncate64(int fd, off64_t size)
{
    return fd_fails(fd) ? -1 : REAL("ftruncate64", int (*)(int, off64_t))(fd, size);
}

SHOWN int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

SHOWN int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
    return fd_fails(fd)
               ? -1
               : REAL("fallocate64", int (*)(int, int, off64_t, off64_t))(fd, mode, at, size);
}

/* Calls that take names. */

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    if (path_fails(at, path))
        return -1;
    return REAL("openat64", int (*)(int, const char *, int, ...))(at, path, flags, mode);
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define OPEN(name, at, ...)                    \
    SHOWN int name(__VA_ARGS__, ...)           \
    {                                          \
        va_list args;                          \
        va_start(args, flags);                 \
        mode_t mode = mode_of(flags, args);    \
        va_end(args);                          \
        return open_at(at, path, flags, mode); \
    }
OPEN(open, AT_FDCWD, const char *path, int flags)
OPEN(open64, AT_FDCWD, const char *path, int flags)
OPEN(openat, at, int at, const char *path, int flags)
OPEN(openat64, at, int at, const char *path, int flags)

SHOWN int mkdirat(int at, const char *path, mode_t mode)
{
    return path_fails(at, path)
               ? -1
               : REAL("mkdirat", int (*)(int, const char *, mode_t))(at, path, mode);
}

SHOWN int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

SHOWN int renameat(int at, const char *from, int to_at, const char *to)
{
    return path_fails(at, from) ? -1
                                : REAL("renameat", int (*)(int, const char *, int, const char *))(
                                      at, from, to_at, to);
}

SHOWN int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

SHOWN int unlinkat(int at, const char *path, int flags)
{
    return path_fails(at, path)
               ? -1
               : REAL("unlinkat", int (*)(int, const char *, int))(at, path, flags);
}

SHOWN int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

/* From main on, in this process. */

static void stand_down(void)
{
    atomic_store(&plan.armed, false);
}

static void report(void)
{
    if (!atomic_load(&plan.armed) || !plan.report)
        return;
    stand_down();
    FILE *file = fopen(plan.report, "w");
    if (!file)
        return;
    fprintf(file, "%ld\n", atomic_load(&plan.calls));
    fclose(file);
}

static int number_of(const char *name)
{
    return strcmp(name, "ENOSPC") == 0 ? ENOSPC : strcmp(name, "EIO") == 0 ? EIO : EMFILE;
}

static void arm(const char *text)
{
    char name[16] = "";
    long first = 0, count = 1;
    if (!text)
        return;
    plan.disk =
        sscanf(text, "disk:%ld:%ld:%15[A-Z]:%4095s", &first, &count, name, plan.folder) == 4;
    plan.memory = !plan.disk && sscanf(text, "memory:%ld:%ld", &first, &count) == 2;
    plan.first = first;
    plan.last = first + count - 1;
    plan.error = number_of(name);
    plan.folder_bytes = strlen(plan.folder);
    pthread_atfork(NULL, NULL, stand_down);
    atexit(report);
    atomic_store(&plan.armed, plan.disk || plan.memory);
}

static int (*real_main)(int, char **, char **);

/* The value of a variable; NULL: there is none. */
static const char *value_of(char **environment, const char *name)
{
    size_t length = strlen(name);
    for (; *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static int armed_main(int argc, char **argv, char **environment)
{
    plan.report = value_of(environment, "URZA_FAIL_REPORT");
    arm(value_of(environment, "URZA_FAIL"));
    return real_main(argc, argv, environment);
}

SHOWN int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
                            void (*init)(void), void (*fini)(void), void (*at_end)(void),
                            void *stack_end)
{
    real_main = main;
    return REAL("__libc_start_main",
                int (*)(int (*)(int, char **, char **), int, char **, void (*)(void),
                        void (*)(void), void (*)(void), void *))(armed_main, argc, argv, init, fini,
                                                                 at_end, stack_end);
}
