/* Reading and writing whole files with plain system calls.
 *
 * A write goes to a temporary file beside the target, which is then renamed: a reader sees the old
 * file or the new one, never a part. The folder is synced afterwards where possible; failing to is
 * not an error, because the file is in place by then. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"

/* O_NONBLOCK: opening a pipe must not wait for its other end, since it is refused anyway. */
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
#define FOLDER_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)
#define PART_ALIGN 64
#define MAP_LEAST ((size_t)1 << 20)
#define LINKS_MAX 40 /* as many as the kernel follows */

/* Fills err from errno: it could not `verb` path. */
static bool fail_errno(struct error *err, const char *verb, const char *path)
{
    enum error_code code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND
                           : errno == ENOMEM                   ? ERR_NOMEM
                                                               : ERR_IO;
    return fail(err, code, "cannot %s '%s': %s", verb, path, strerror(errno));
}

/* As fail_errno, for writing, where a missing folder is ERR_IO and not ERR_NOT_FOUND. */
static bool fail_write(struct error *err, const char *verb, const char *path)
{
    enum error_code code = errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    return fail(err, code, "cannot %s '%s': %s", verb, path, strerror(errno));
}

/* read, repeated when a signal interrupts it. */
static ssize_t read_some(int fd, char *data, size_t size)
{
    ssize_t n;
    do
        n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n;
}

bool file_read_all(int fd, void *data, size_t size)
{
    for (char *at = data; size > 0;) {
        ssize_t n = read_some(fd, at, size);
        if (n == 0)
            errno = 0;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

bool file_write_all(int fd, const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
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

/* SIGXFSZ is sent to the thread that writes, so that thread blocks it and then takes it back. A
 * SIGXFSZ that was pending before stays pending. */
bool file_write_quietly(int fd, const void *data, size_t size)
{
    static const struct timespec at_once;
    sigset_t too_large, before, waiting;
    sigemptyset(&too_large);
    sigaddset(&too_large, SIGXFSZ);
    if (pthread_sigmask(SIG_BLOCK, &too_large, &before) != 0)
        return false;
    bool waited = sigpending(&waiting) != 0 || sigismember(&waiting, SIGXFSZ) == 1;
    bool ok = file_write_all(fd, data, size);
    int reason = errno;
    if (!ok && reason == EFBIG && !waited)
        while (sigtimedwait(&too_large, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return ok;
}

/* Reads fd to its end. `expected` is only a first guess at the size: the file may grow or shrink
 * meanwhile, and files of /proc report size 0. NULL with *err filled on failure. */
static char *read_to_end(int fd, const char *path, size_t expected, size_t limit, size_t *out_size,
                         struct error *err)
{
    size_t capacity = expected + 2, size = 0; /* one byte to detect the end, one for the terminator
                                               */
    char *data = malloc(capacity);
    if (!data) {
        fail(err, ERR_NOMEM, "no memory for the %zu bytes of '%s'", expected, path);
        return NULL;
    }
    for (;;) {
        ssize_t n = read_some(fd, data + size, capacity - 1 - size);
        if (n < 0) {
            fail_errno(err, "read", path);
            break;
        }
        if (n == 0) {
            data[size] = '\0';
            *out_size = size;
            return data;
        }
        size += (size_t)n;
        if (size > limit) {
            fail(err, ERR_LIMIT, "'%s' is larger than %zu bytes", path, limit);
            break;
        }
        if (size < capacity - 1)
            continue;
        char *grown = capacity <= SIZE_MAX / 2 ? realloc(data, 2 * capacity) : NULL;
        if (!grown) {
            fail(err, ERR_NOMEM, "no memory for more than %zu bytes of '%s'", size, path);
            break;
        }
        data = grown;
        capacity *= 2;
    }
    free(data);
    return NULL;
}

/* Returns fd if it is a regular file; otherwise closes it and returns -1. */
static int only_regular(int fd, const char *path, struct error *err)
{
    struct stat info;
    bool ok = fstat(fd, &info) == 0;
    if (!ok)
        fail_errno(err, "inspect", path);
    else if (!S_ISREG(info.st_mode))
        ok = fail(err, ERR_IO, "'%s' is not a regular file", path);
    if (ok)
        return fd;
    close(fd);
    return -1;
}

int file_open(const char *path, struct error *err)
{
    int fd = open(path, OPEN_FLAGS);
    if (fd < 0) {
        fail_errno(err, "open", path);
        return -1;
    }
    return only_regular(fd, path, err);
}

/* Leaves errno unchanged. */
static bool is_link(int folder_fd, const char *name)
{
    struct stat info;
    int reason = errno;
    bool found = fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    errno = reason;
    return found && S_ISLNK(info.st_mode);
}

/* Replaces openat2 on systems without it; follows no links at all. -1 with errno, EXDEV for a path
 * that leaves the folder. Does not close folder_fd. */
static int open_parts(int folder_fd, const char *path)
{
    int at = folder_fd, fd = -1;
    errno = EXDEV;
    if (*path == '/')
        return -1;
    for (const char *part = path; *part != '\0';) {
        char name[NAME_MAX + 1];
        size_t length = strcspn(part, "/");
        const char *next = part + length + strspn(part + length, "/");
        bool last = *next == '\0';
        if (length > NAME_MAX) {
            errno = ENAMETOOLONG;
            break;
        }
        memcpy(name, part, length);
        name[length] = '\0';
        if (strcmp(name, "..") == 0) {
            errno = EXDEV;
            break;
        }
        fd = openat(at, name, last ? OPEN_FLAGS | O_NOFOLLOW : FOLDER_FLAGS | O_NOFOLLOW);
        int reason = fd < 0 && is_link(at, name) ? EXDEV : errno;
        if (at != folder_fd)
            close(at);
        errno = reason;
        if (fd < 0 || last)
            return fd;
        at = fd;
        part = next;
    }
    if (at != folder_fd)
        close(at);
    return -1;
}

static int open_beneath(int folder_fd, const char *path)
{
#ifdef SYS_openat2
    struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int attempt = 0; attempt < 16; attempt++) {
        int fd = (int)syscall(SYS_openat2, folder_fd, path, &how, sizeof how);
        if (fd >= 0)
            return fd;
        if (errno == ENOSYS || errno == EPERM)
            break;
        if (errno != EAGAIN) /* a folder was renamed meanwhile: try again */
            return -1;
    }
#endif
    return open_parts(folder_fd, path);
}

/* Refuses keys and certificates (PEM files): whoever chooses the file names of a source must not be
 * able to read them, and their bytes would be visible in what is made from the data. */
static int not_armoured(int fd, const char *path, struct error *err)
{
    static const char armour[] = "-----BEGIN ";
    char head[sizeof armour - 1];
    if (fd < 0 || pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head, armour, sizeof head) != 0)
        return fd;
    close(fd);
    fail(err, ERR_BLUEPRINT, "'%.200s' holds a key or certificate, and no data", path);
    return -1;
}

int file_open_below(const char *folder, const char *path, struct error *err)
{
    int folder_fd = open(folder, FOLDER_FLAGS);
    if (folder_fd < 0) {
        fail_errno(err, "open", folder);
        return -1;
    }
    int fd = open_beneath(folder_fd, path);
    int reason = errno;
    close(folder_fd);
    errno = reason;
    if (fd >= 0)
        return not_armoured(only_regular(fd, path, err), path, err);
    if (reason == EXDEV)
        fail(err, ERR_BLUEPRINT, "'%.200s' leads out of the folder '%.200s'", path, folder);
    else
        fail_errno(err, "open", path);
    return -1;
}

bool file_read_open(int fd, const char *name, size_t limit, char **out_data, size_t *out_size,
                    struct error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail_errno(err, "inspect", name);
    if ((uintmax_t)info.st_size > limit)
        return fail(err, ERR_LIMIT, "'%s' has %jd bytes, at most %zu are allowed", name,
                    (intmax_t)info.st_size, limit);
    char *data = read_to_end(fd, name, (size_t)info.st_size, limit, out_size, err);
    if (data)
        *out_data = data;
    return data != NULL;
}

bool file_read(const char *path, size_t limit, char **out_data, size_t *out_size, struct error *err)
{
    int fd = file_open(path, err);
    if (fd < 0)
        return false;
    bool ok = file_read_open(fd, path, limit, out_data, out_size, err);
    close(fd);
    return ok;
}

bool file_peek(const char *path, void *data, size_t size, size_t *out_size, struct error *err)
{
    int fd = file_open(path, err);
    if (fd < 0)
        return false;
    ssize_t n = read_some(fd, data, size);
    bool ok = n >= 0 || fail_errno(err, "read", path);
    close(fd);
    if (ok)
        *out_size = (size_t)n;
    return ok;
}

/* The length of the folder part of a path, with its last slash. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

void file_sync_folder_of(const char *path)
{
    char folder[PATH_MAX] = ".";
    size_t length = folder_length(path);
    if (length >= sizeof folder)
        return; /* no such folder can be opened */
    if (length > 0) {
        memcpy(folder, path, length);
        folder[length] = '\0';
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

/* The path after following symbolic links, in memory that the caller frees; the file it names need
 * not exist. NULL with errno. */
static char *follow_links(const char *path)
{
    char *at = strdup(path);
    for (int links = 0; at; links++) {
        char target[PATH_MAX];
        ssize_t size = readlink(at, target, sizeof target);
        if (size < 0)
            return at;
        size_t folder = target[0] == '/' ? 0 : folder_length(at);
        char *next = malloc(folder + (size_t)size + 1);
        if (next) {
            memcpy(next, at, folder);
            memcpy(next + folder, target, (size_t)size);
            next[folder + (size_t)size] = '\0';
        }
        free(at);
        at = next;
        if (links == LINKS_MAX || (size_t)size == sizeof target) {
            free(at);
            errno = ELOOP;
            return NULL;
        }
    }
    return at;
}

static bool write_in_place(const char *path, const void *data, size_t size, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return fail_write(err, "open", path);
    bool ok = file_write_all(fd, data, size) || fail_write(err, "write", path);
    if (close(fd) != 0 && ok)
        ok = fail_write(err, "write", path);
    return ok;
}

static bool replace_file(const char *path, const void *data, size_t size, unsigned mode,
                         struct error *err)
{
    static const char suffix[] = ".XXXXXX";
    size_t length = strlen(path);
    char *temp = malloc(length + sizeof suffix);
    if (!temp)
        return fail(err, ERR_NOMEM, "cannot write '%s': no memory", path);
    memcpy(temp, path, length);
    memcpy(temp + length, suffix, sizeof suffix);

    bool ok = false;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        fail_write(err, "create a file beside", path);
        goto out;
    }
    ok = file_write_all(fd, data, size) && fchmod(fd, (mode_t)mode) == 0 && fsync(fd) == 0;
    if (!ok)
        fail_write(err, "write", path);
    /* Not retried, since close must be called once only; but its error counts, as a network file
     * system may report late write errors there. */
    if (close(fd) != 0 && ok)
        ok = fail_write(err, "write", path);
    if (ok && rename(temp, path) != 0)
        ok = fail_write(err, "replace", path);
    if (ok)
        file_sync_folder_of(path);
    else
        unlink(temp);
out:
    free(temp);
    return ok;
}

bool file_write_atomic(const char *path, const void *data, size_t size, unsigned mode,
                       struct error *err)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        return write_in_place(path, data, size, err);
    char *target = follow_links(path);
    if (!target)
        return fail_write(err, "write", path);
    bool ok = replace_file(target, data, size, mode, err);
    free(target);
    return ok;
}

/* Makes one folder. An existing folder is success, whatever error mkdir reports. */
static bool make_dir(const char *path, unsigned mode, struct error *err)
{
    if (mkdir(path, (mode_t)mode) == 0) {
        file_sync_folder_of(path);
        return true;
    }
    int reason = errno;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return true;
    errno = reason;
    return fail_write(err, "make folder", path);
}

bool file_make_dirs(const char *path, unsigned mode, struct error *err)
{
    char *prefix = strdup(path);
    if (!prefix)
        return fail(err, ERR_NOMEM, "cannot make folder '%s': no memory", path);
    bool ok = true;
    for (char *at = prefix; ok && *at != '\0'; at++) {
        if (*at != '/' || at == prefix || at[-1] == '/')
            continue;
        *at = '\0';
        ok = make_dir(prefix, mode, err);
        *at = '/';
    }
    ok = ok && make_dir(prefix, mode, err);
    free(prefix);
    return ok;
}

bool file_is_ours(const struct stat *info, const char *path, struct error *err)
{
    if (info->st_uid != geteuid() && info->st_uid != 0)
        return fail(err, ERR_SIGNATURE,
                    "'%s' belongs to another user (%ju), who decides what it says; chown it", path,
                    (uintmax_t)info->st_uid);
    if ((info->st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fail(err, ERR_SIGNATURE, "others may write to '%s'; chmod go-w it", path);
    return true;
}

struct mapping {
    void *begin;
    size_t size_bytes;
};

static void unmap(void *object)
{
    struct mapping *mapping = object;
    if (mapping->begin)
        munmap(mapping->begin, mapping->size_bytes);
}

/* NULL where the bytes are few, or do not lie where a mapping would be aligned, or cannot be
 * mapped. */
static void *map_part(int fd, struct file_range range, struct arena *arena)
{
    uint64_t before = range.offset % (uint64_t)sysconf(_SC_PAGESIZE);
    if (range.size_bytes < MAP_LEAST || range.offset % PART_ALIGN != 0)
        return NULL;
    struct mapping *mapping = ARENA_NEW(arena, struct mapping);
    mapping->size_bytes = range.size_bytes + (size_t)before;
    arena_own(arena, unmap, mapping); /* before there is anything to give back */
    void *begin = mmap(NULL, mapping->size_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_NORESERVE, fd, (off_t)(range.offset - before));
    mapping->begin = begin == MAP_FAILED ? NULL : begin;
    return mapping->begin ? (char *)begin + before : NULL;
}

bool file_part(int fd, const char *name, struct file_range range, struct arena *arena, void **out,
               struct error *err)
{
    struct stat info;
    size_t done = 0;
    if (fstat(fd, &info) != 0)
        return fail_errno(err, "inspect", name);
    if ((uint64_t)info.st_size < range.offset ||
        (uint64_t)info.st_size - range.offset < range.size_bytes)
        return fail(err, ERR_PARSE, "'%.200s' ends before byte %" PRIu64, name,
                    range.offset + range.size_bytes);
    void *mapped = map_part(fd, range, arena);
    char *data = mapped ? mapped : arena_raw(arena, range.size_bytes, PART_ALIGN);
    while (!mapped && done < range.size_bytes) {
        ssize_t n = pread(fd, data + done, range.size_bytes - done, (off_t)(range.offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(err, ERR_IO, "cannot read '%.200s'", name);
        done += (size_t)n;
    }
    *out = data;
    return true;
}
