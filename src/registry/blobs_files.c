/* Objects as files in a folder:
 *
 *     PATH/ab/abcdef…            an object, named by its digest
 *     PATH/aside/abcdef….XXXXXX  an object that is being written
 *
 * Invariants:
 * 1. A file in one of the 256 folders is a complete object: it was written in "aside" and synced
 *    before it was renamed. The folder is synced before put returns.
 * 2. All folders exist, and are synced, before the store is open. They are never removed.
 * 3. A file's modification time is the time of the last put. */
#include "registry/blobs_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

#define FOLDERS 256
#define ASIDE "aside"
#define DIGITS (SHA256_HEX_BYTES - 1)
/* "ab/" or "aside/", the digest, a suffix, the terminator. */
#define NAME_BYTES (DIGITS + 16)
/* Age from which on the writer of a temporary file has certainly ended. */
#define ABANDONED_MS 3600000

struct files {
    struct blobs blobs;
    int fd; /* of the folder */
    char path[];
};

static const _Alignas(64) char nothing[64]; /* data of an empty object */

static bool fail_errno(struct files *files, const char *doing, const char *name, struct error *err)
{
    bool space = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    enum error_code code = space ? ERR_SPACE : errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    return fail(err, code, "cannot %s '%.200s/%s': %s", doing, files->path, name, strerror(errno));
}

static void name_of(const char *digest, char name[NAME_BYTES])
{
    snprintf(name, NAME_BYTES, "%.2s/%s", digest, digest);
}

static bool make_folders(struct files *files, struct error *err)
{
    char name[8] = ASIDE;
    for (int i = -1; i < FOLDERS; i++) {
        if (i >= 0)
            snprintf(name, sizeof name, "%02x", (unsigned)i);
        if (mkdirat(files->fd, name, 0700) != 0 && errno != EEXIST)
            return fail_errno(files, "make folder", name, err);
    }
    return fsync(files->fd) == 0 || fail_errno(files, "write", "", err);
}

static void files_close(struct blobs *blobs)
{
    struct files *files = (struct files *)blobs;
    if (files->fd >= 0)
        close(files->fd);
    free(files);
}

static bool files_open(const char *place, struct blobs **out, struct error *err)
{
    if (place[0] == '\0')
        return fail(err, ERR_USAGE, "'file:' names no folder");
    size_t size = strlen(place) + 1;
    struct files *files = calloc(1, sizeof *files + size);
    if (!files)
        return fail(err, ERR_NOMEM, "no memory for a store of objects");
    files->blobs.driver = &blobs_files;
    files->fd = -1;
    memcpy(files->path, place, size);
    bool ok = file_make_dirs(place, 0700, err);
    if (ok) {
        files->fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ok = files->fd >= 0 || fail_errno(files, "open", "", err);
    }
    ok = ok && make_folders(files, err);
    if (ok)
        *out = &files->blobs;
    else
        files_close(&files->blobs);
    return ok;
}

/* Syncs the folder of an object, after it was renamed there or removed. */
static bool sync_folder(struct files *files, const char *digest, struct error *err)
{
    char name[3] = {digest[0], digest[1], '\0'};
    int fd = openat(files->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = (fd >= 0 && fsync(fd) == 0) || fail_errno(files, "write", name, err);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Maps an open file. Does not close it. */
static bool map(int fd, struct blob *out)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return false;
    *out = (struct blob){.data = nothing, .size_bytes = (size_t)info.st_size};
    if (info.st_size == 0)
        return true;
    void *data = mmap(NULL, out->size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return false;
    out->data = data;
    return true;
}

static void unmap(struct blob *blob)
{
    if (blob->size_bytes > 0)
        munmap((void *)blob->data, blob->size_bytes);
}

/* Whether the object exists and is intact, in which case its put time was updated. False also after
 * a failure; the object is then written again. */
static bool put_again(struct files *files, const char *digest, const void *data, size_t size)
{
    char name[NAME_BYTES];
    struct blob there;
    struct stat info;
    name_of(digest, name);
    int fd = openat(files->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool ok = map(fd, &there);
    if (ok) {
        ok = there.size_bytes == size && (size == 0 || memcmp(there.data, data, size) == 0);
        unmap(&there);
    }
    ok = ok && futimens(fd, NULL) == 0 && fsync(fd) == 0;
    ok = ok && fstat(fd, &info) == 0 && info.st_nlink > 0; /* not removed meanwhile */
    close(fd);
    return ok;
}

/* Makes a temporary file with a unique name. -1 with errno. */
static int open_aside(struct files *files, const char *digest, char name[NAME_BYTES])
{
    for (uint32_t attempt = 0; attempt < 100; attempt++) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t mixed = hash64_mix((uint64_t)now.tv_nsec << 32 | attempt, (uint64_t)getpid());
        mixed = hash64_mix(mixed, (uint64_t)(uintptr_t)name);
        snprintf(name, NAME_BYTES, ASIDE "/%s.%06x", digest, (unsigned)(mixed & 0xffffff));
        int fd = openat(files->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static bool files_put(struct blobs *blobs, const char *digest, const void *data, size_t size,
                      struct error *err)
{
    struct files *files = (struct files *)blobs;
    char name[NAME_BYTES], aside[NAME_BYTES];
    name_of(digest, name);
    if (put_again(files, digest, data, size))
        return sync_folder(files, digest, err);
    int fd = open_aside(files, digest, aside);
    if (fd < 0)
        return fail_errno(files, "create", aside, err);
    bool ok = (file_write_all(fd, data, size) && fsync(fd) == 0) ||
              fail_errno(files, "write", aside, err);
    if (close(fd) != 0 && ok)
        ok = fail_errno(files, "write", aside, err);
    if (ok && renameat(files->fd, aside, files->fd, name) != 0)
        ok = fail_errno(files, "name", name, err);
    if (!ok)
        unlinkat(files->fd, aside, 0);
    return ok && sync_folder(files, digest, err);
}

static bool files_get(struct blobs *blobs, const char *digest, struct blob *out, struct error *err)
{
    struct files *files = (struct files *)blobs;
    char name[NAME_BYTES];
    name_of(digest, name);
    int fd = openat(files->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return fail(err, ERR_NOT_FOUND, "there is no object %s", digest);
    if (fd < 0)
        return fail_errno(files, "open", name, err);
    struct blob blob;
    bool ok = map(fd, &blob) || fail_errno(files, "read", name, err);
    close(fd);
    if (ok)
        *out = blob;
    return ok;
}

static void files_release(struct blobs *blobs, struct blob *blob)
{
    (void)blobs;
    unmap(blob);
}

static bool files_remove(struct blobs *blobs, const char *digest, struct error *err)
{
    struct files *files = (struct files *)blobs;
    char name[NAME_BYTES];
    name_of(digest, name);
    if (unlinkat(files->fd, name, 0) == 0 || errno == ENOENT)
        return true;
    return fail_errno(files, "remove", name, err);
}

/* Called for each regular file of a folder; false ends the walk. */
typedef bool walk_visit(void *context, int folder_fd, const char *name, const struct stat *info);

static int64_t changed_ms(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000 + info->st_mtim.tv_nsec / 1000000;
}

/* *out_more: visit did not end the walk. */
static bool walk(struct files *files, const char *name, walk_visit *visit, void *context,
                 bool *out_more, struct error *err)
{
    int fd = openat(files->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        fail_errno(files, "list", name, err);
        if (fd >= 0)
            close(fd);
        return false;
    }
    *out_more = true;
    const struct dirent *entry = NULL;
    while (*out_more && (errno = 0, entry = readdir(dir)) != NULL) {
        struct stat info;
        if (fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode))
            *out_more = visit(context, fd, entry->d_name, &info);
    }
    bool ok = !*out_more || errno == 0 || fail_errno(files, "list", name, err);
    closedir(dir);
    return ok;
}

static bool remove_abandoned(void *context, int folder_fd, const char *name,
                             const struct stat *info)
{
    const int64_t *now_ms = context;
    if (*now_ms - changed_ms(info) > ABANDONED_MS)
        unlinkat(folder_fd, name, 0);
    return true;
}

struct listing {
    blobs_visit *visit;
    void *context;
};

static bool visit_object(void *context, int folder_fd, const char *name, const struct stat *info)
{
    const struct listing *listing = context;
    uint8_t bytes[SHA256_BYTES];
    (void)folder_fd;
    if (hex_decode(name, bytes, SHA256_BYTES) == 0)
        return true; /* not a file of this store */
    return listing->visit(listing->context, name, (uint64_t)info->st_size, changed_ms(info));
}

static bool files_list(struct blobs *blobs, blobs_visit *visit, void *context, struct error *err)
{
    struct files *files = (struct files *)blobs;
    struct listing listing = {visit, context};
    int64_t now_ms = blobs_now_ms();
    bool more, ok = walk(files, ASIDE, remove_abandoned, &now_ms, &more, err);
    for (unsigned i = 0; ok && more && i < FOLDERS; i++) {
        char name[8];
        snprintf(name, sizeof name, "%02x", i);
        ok = walk(files, name, visit_object, &listing, &more, err);
    }
    return ok;
}

const struct blobs_driver blobs_files = {
    .name = "file",
    .open = files_open,
    .close = files_close,
    .put = files_put,
    .get = files_get,
    .release = files_release,
    .remove = files_remove,
    .list = files_list,
};
