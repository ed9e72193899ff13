/* Reading and writing whole files with plain system calls.
 *
 * A write goes to a temporary file beside the target, which rename puts in place: a reader sees the
 * old file or the new one, never a part. The folder is synced afterwards as well as it can be: a
 * file system that does not sync folders is no failure, the file is in place by then. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

/* Reports the current errno as what happened while trying to `verb` path. */
static bool fail_errno(struct error *err, const char *verb, const char *path)
{
    enum error_code code = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
    return fail(err, code, "cannot %s '%s': %s", verb, path, strerror(errno));
}

/* The writing half never looks for anything: a missing folder is ERR_IO there. */
static bool fail_write(struct error *err, const char *verb, const char *path)
{
    return fail(err, ERR_IO, "cannot %s '%s': %s", verb, path, strerror(errno));
}

/* read that goes on after a signal. */
static ssize_t read_some(int fd, char *data, size_t size)
{
    ssize_t n;
    do
        n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n;
        size -= (size_t)n;
    }
    return true;
}

/* Reads fd to its end. The expected size is a first guess only: the file may grow or shrink
 * meanwhile, and the files of /proc claim to be empty. */
static bool read_to_end(int fd, const char *path, size_t expected, size_t limit, char **out_data,
                        size_t *out_size, struct error *err)
{
    size_t capacity = expected + 2, size = 0; /* one to see the end, one for the terminator */
    char *data = malloc(capacity);
    if (!data)
        return fail(err, ERR_NOMEM, "no memory for the %zu bytes of '%s'", expected, path);
    for (;;) {
        ssize_t n = read_some(fd, data + size, capacity - 1 - size);
        if (n < 0) {
            fail_errno(err, "read", path);
            break;
        }
        if (n == 0) {
            data[size] = '\0';
            *out_data = data;
            *out_size = size;
            return true;
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
    return false;
}

bool file_read(const char *path, size_t limit, char **out_data, size_t *out_size, struct error *err)
{
    /* O_NONBLOCK: opening a pipe must not wait for its other end before it is refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, "open", path);
    struct stat info;
    bool ok;
    if (fstat(fd, &info) != 0)
        ok = fail_errno(err, "inspect", path);
    else if (!S_ISREG(info.st_mode))
        ok = fail(err, ERR_IO, "'%s' is not a regular file", path);
    else if ((uintmax_t)info.st_size > limit)
        ok = fail(err, ERR_LIMIT, "'%s' has %jd bytes, at most %zu are allowed", path,
                  (intmax_t)info.st_size, limit);
    else
        ok = read_to_end(fd, path, (size_t)info.st_size, limit, out_data, out_size, err);
    close(fd);
    return ok;
}

static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = !slash          ? strdup(".")
                   : slash == path ? strdup("/")
                                   : strndup(path, (size_t)(slash - path));
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(folder);
}

bool file_write_atomic(const char *path, const void *data, size_t size, unsigned mode,
                       struct error *err)
{
    static const char suffix[] = ".XXXXXX";
    size_t length = strlen(path);
    char *temp = malloc(length + sizeof suffix);
    if (!temp)
        return fail(err, ERR_IO, "cannot write '%s': no memory", path);
    memcpy(temp, path, length);
    memcpy(temp + length, suffix, sizeof suffix);

    bool ok = false;
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) {
        fail_write(err, "create a file beside", path);
        goto out;
    }
    ok = write_all(fd, data, size) && fchmod(fd, (mode_t)mode) == 0 && fsync(fd) == 0;
    if (!ok)
        fail_write(err, "write", path);
    /* Closed once only, but an error of close (late ones of a network file system) counts. */
    if (close(fd) != 0 && ok)
        ok = fail_write(err, "write", path);
    if (ok && rename(temp, path) != 0)
        ok = fail_write(err, "replace", path);
    if (ok)
        sync_folder_of(path);
    else
        unlink(temp);
out:
    free(temp);
    return ok;
}

/* Makes one folder; fine when it is there, whatever reason mkdir gives for not making it. */
static bool make_dir(const char *path, unsigned mode, struct error *err)
{
    if (mkdir(path, (mode_t)mode) == 0)
        return true;
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
        return fail(err, ERR_IO, "cannot make folder '%s': no memory", path);
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
