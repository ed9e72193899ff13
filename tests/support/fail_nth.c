/* For LD_PRELOAD into a program under test: one call fails, or it and some that follow, counted
 * from the start of main; only in the process that was started, not in its children.
 *
 *   URZA_FAIL=disk:N:COUNT:ERRNO:FOLDER   the N-th call that writes below FOLDER, or waits for it
 *   URZA_FAIL=memory:N:COUNT              the N-th allocation
 *   URZA_FAIL=memory:N:COUNT:children     the N-th allocation of each of its children, from its
 *                                         fork on, and none of its own
 *   URZA_FAIL_REPORT=FILE                 at the end, how many calls there were goes there
 *   URZA_FAIL_PLACES=FILE                 the number of the first allocation at each place, and 1
 * if the program itself asks, 0 if a library does, a line each; a place is the return addresses of
 * some frames
 *
 * N 0: none fails, all are counted. */
#undef _FILE_OFFSET_BITS /* it would rename what is defined here */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PLACES ((uint32_t)1 << 17)
#define FRAMES 6
#define OWN_FRAMES 3 /* of this file, innermost */

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
    bool children; /* they, and not the process itself */
    const char *noted;
    atomic_long calls;
} plan;

/* Shared with children, which may have closed every file. */
struct place {
    long call;
    bool ours; /* the program's itself, not a library's */
};
static struct places {
    _Atomic uint64_t seen[PLACES]; /* hashes, by open addressing; 0: free */
    atomic_uint count;
    struct place found[PLACES / 2];
} *places; /* NULL: nobody asks */
static uintptr_t program_begin, program_end;
static _Thread_local bool inside;

static void note_place(long call)
{
    void *frames[OWN_FRAMES + FRAMES];
    uint64_t hash = 1469598103934665603u, empty = 0;
    int count = backtrace(frames, OWN_FRAMES + FRAMES);
    for (int i = OWN_FRAMES; i < count; i++)
        hash = (hash ^ (uint64_t)(uintptr_t)frames[i]) * 1099511628211u;
    hash |= 1;
    uint32_t at = (uint32_t)(hash >> 40) % PLACES;
    while (places->seen[at] != 0 && places->seen[at] != hash)
        at = (at + 1) % PLACES;
    uintptr_t caller = count > OWN_FRAMES ? (uintptr_t)frames[OWN_FRAMES] : 0;
    bool ours = caller >= program_begin && caller < program_end;
    if (places->count < PLACES / 2 &&
        atomic_compare_exchange_strong(&places->seen[at], &empty, hash))
        places->found[atomic_fetch_add(&places->count, 1)] = (struct place){call, ours};
}

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
    if (!atomic_load(&plan.armed) || !plan.memory || inside)
        return false;
    if (places) {
        inside = true;
        note_place(atomic_load(&plan.calls) + 1);
        inside = false;
    }
    if (!fails_now())
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

/* In a child that was just forked. */
static void begin_child(void)
{
    atomic_store(&plan.armed, plan.children);
    atomic_store(&plan.calls, 0);
}

static FILE *file_of(const char *name)
{
    return name ? fopen(name, "w") : NULL;
}

static void report(void)
{
    bool armed = atomic_load(&plan.armed);
    stand_down();
    FILE *file = armed || plan.children ? file_of(plan.report) : NULL;
    if (file) {
        fprintf(file, "%ld\n", atomic_load(&plan.calls));
        fclose(file);
    }
    file = places ? file_of(plan.noted) : NULL;
    if (file) {
        for (uint32_t i = 0; i < places->count; i++)
            fprintf(file, "%ld %d\n", places->found[i].call, places->found[i].ours);
        fclose(file);
    }
}

static int number_of(const char *name)
{
    return strcmp(name, "ENOSPC") == 0 ? ENOSPC : strcmp(name, "EIO") == 0 ? EIO : EMFILE;
}

static void arm(const char *text)
{
    char name[16] = "", who[16] = "";
    long first = 0, count = 1;
    if (!text)
        return;
    plan.disk =
        sscanf(text, "disk:%ld:%ld:%15[A-Z]:%4095s", &first, &count, name, plan.folder) == 4;
    plan.memory = !plan.disk && sscanf(text, "memory:%ld:%ld:%15s", &first, &count, who) >= 2;
    plan.children = strcmp(who, "children") == 0;
    plan.first = first;
    plan.last = first + count - 1;
    plan.error = number_of(name);
    plan.folder_bytes = strlen(plan.folder);
    pthread_atfork(NULL, NULL, begin_child);
    atexit(report);
    atomic_store(&plan.armed, (plan.disk || plan.memory) && !plan.children);
}

/* The first object is the program. */
static int see_program(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            program_begin = (uintptr_t)(info->dlpi_addr + part->p_vaddr);
            program_end = program_begin + part->p_memsz;
        }
    }
    return 1;
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
    void *frame;
    backtrace(&frame, 1); /* loads what it needs */
    plan.noted = value_of(environment, "URZA_FAIL_PLACES");
    if (plan.noted) {
        dl_iterate_phdr(see_program, NULL);
        void *shared =
            mmap(NULL, sizeof *places, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        places = shared == MAP_FAILED ? NULL : shared;
    }
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
