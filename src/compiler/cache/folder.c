/* The disk level: one file per value, in 256 subfolders.
 *
 * A file is written under a temporary name and renamed, without waiting for the disk. So a reader
 * sees all of it or nothing, except after a power failure, which the digest detects. The
 * modification time is the time of last use. No function reports an error: an operation that fails
 * has no effect. */
#include "compiler/cache/cache_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

#define MAGIC "urzaval1"
#define SUBFOLDERS 256
#define NAME_DIGITS (2 * SHA256_BYTES - 2)
#define PATH_BYTES (NAME_DIGITS + 16) /* "/KK/K…", a suffix and a terminator */
#define ABANDONED_S 3600              /* age at which a temporary file counts as abandoned */

_Static_assert(sizeof(struct cache_file) % 64 == 0, "values are 64-aligned");

struct cache_file *cache_file_new(size_t size)
{
    if (size > SIZE_MAX - sizeof(struct cache_file) - 63)
        return NULL;
    struct cache_file *file = aligned_alloc(64, (sizeof *file + size + 63) / 64 * 64);
    if (!file)
        return NULL;
    memset(file, 0, sizeof *file);
    file->size_bytes = size;
    return file;
}

bool folder_usable(const char *folder)
{
    struct error ignored;
    struct stat info;
    return file_make_dirs(folder, 0700, &ignored) && stat(folder, &info) == 0 &&
           info.st_uid == geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* folder/KK/K… with suffix, to be freed by the caller; NULL: no memory. */
static char *path_of(const char *folder, const uint8_t *key, const char *suffix)
{
    size_t capacity = strlen(folder) + PATH_BYTES;
    char hex[2 * SHA256_BYTES + 1], *path = malloc(capacity);
    hex_encode(key, SHA256_BYTES, hex);
    if (path)
        snprintf(path, capacity, "%s/%.2s/%s%s", folder, hex, hex + 2, suffix);
    return path;
}

static bool intact(struct cache_file *file, size_t size, const uint8_t *key)
{
    uint8_t digest[SHA256_BYTES];
    if (memcmp(file->magic, MAGIC, sizeof file->magic) != 0 || file->size_bytes != size ||
        memcmp(file->key, key, SHA256_BYTES) != 0)
        return false;
    sha256(cache_file_data(file), size, digest);
    return memcmp(digest, file->digest, SHA256_BYTES) == 0;
}

/* The file of fd; *out_damaged is set if it is not this key's value. */
static struct cache_file *read_file(int fd, const uint8_t *key, bool *out_damaged)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return NULL;
    *out_damaged = (uint64_t)info.st_size < sizeof(struct cache_file);
    if (*out_damaged)
        return NULL;
    size_t size = (size_t)info.st_size - sizeof(struct cache_file);
    struct cache_file *file = cache_file_new(size);
    if (!file)
        return NULL;
    *out_damaged = !file_read_all(fd, file, (size_t)info.st_size) || !intact(file, size, key);
    if (!*out_damaged) {
        (void)futimens(fd, NULL); /* last use is now */
        return file;
    }
    free(file);
    return NULL;
}

struct cache_file *folder_read(const char *folder, const uint8_t key[SHA256_BYTES])
{
    struct cache_file *file = NULL;
    char *path = path_of(folder, key, "");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    if (fd >= 0) {
        bool damaged = false;
        file = read_file(fd, key, &damaged);
        close(fd);
        if (damaged)
            unlink(path);
    }
    free(path);
    return file;
}

bool folder_has(const char *folder, const uint8_t key[SHA256_BYTES])
{
    char *path = path_of(folder, key, "");
    bool has = path && access(path, F_OK) == 0;
    free(path);
    return has;
}

void folder_write(const char *folder, const struct cache_file *file)
{
    struct cache_file header = *file;
    char *path = path_of(folder, file->key, ""), *temp = path_of(folder, file->key, ".XXXXXX");
    if (!path || !temp)
        goto out;
    memcpy(header.magic, MAGIC, sizeof header.magic);
    sha256(file + 1, file->size_bytes, header.digest);
    int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        char *slash = strrchr(path, '/');
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
        memcpy(temp + strlen(temp) - 6, "XXXXXX", 6);
        fd = mkostemp(temp, O_CLOEXEC);
    }
    if (fd < 0)
        goto out;
    bool ok = file_write_all(fd, &header, sizeof header) &&
              file_write_all(fd, file + 1, file->size_bytes);
    ok = close(fd) == 0 && ok;
    if (!ok || rename(temp, path) != 0)
        unlink(temp);
out:
    free(path);
    free(temp);
}

/* A file of the folder, when it is trimmed. */
struct item {
    struct timespec used;
    uint64_t size_bytes;
    uint8_t subfolder;
    char name[NAME_DIGITS + 1];
};

struct items {
    struct item *items;
    size_t count, capacity;
    uint64_t size_bytes;
};

static int compare_use(const void *a, const void *b)
{
    const struct timespec *x = &((const struct item *)a)->used;
    const struct timespec *y = &((const struct item *)b)->used;
    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static void items_add(struct items *items, const struct item *item)
{
    if (items->count == items->capacity) {
        size_t capacity = items->capacity ? 2 * items->capacity : 256;
        struct item *grown = realloc(items->items, capacity * sizeof *grown);
        if (!grown)
            return;
        items->items = grown;
        items->capacity = capacity;
    }
    items->items[items->count++] = *item;
    items->size_bytes += item->size_bytes;
}

static void list_subfolder(int folder_fd, uint8_t subfolder, struct items *items)
{
    char name[3];
    snprintf(name, sizeof name, "%02x", subfolder);
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct stat info;
        struct item item = {.subfolder = subfolder};
        if (fstatat(fd, d->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
            continue;
        if (strlen(d->d_name) != NAME_DIGITS) {
            if (strlen(d->d_name) > NAME_DIGITS && info.st_mtim.tv_sec < time(NULL) - ABANDONED_S)
                unlinkat(fd, d->d_name, 0);
            continue;
        }
        memcpy(item.name, d->d_name, sizeof item.name);
        item.used = info.st_mtim;
        item.size_bytes = (uint64_t)info.st_size;
        items_add(items, &item);
    }
    closedir(dir);
}

void folder_trim(const char *folder, uint64_t limit_bytes)
{
    struct items items = {0};
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    for (int i = 0; i < SUBFOLDERS; i++)
        list_subfolder(fd, (uint8_t)i, &items);
    if (items.size_bytes > limit_bytes) {
        qsort(items.items, items.count, sizeof *items.items, compare_use);
        for (size_t i = 0; i < items.count && items.size_bytes > limit_bytes / 4 * 3; i++) {
            char path[PATH_BYTES];
            snprintf(path, sizeof path, "%02x/%s", items.items[i].subfolder, items.items[i].name);
            unlinkat(fd, path, 0);
            items.size_bytes -= items.items[i].size_bytes;
        }
    }
    free(items.items);
    close(fd);
}
