/* The folder of packages.
 *
 *   packages/kernel-….urza   verified packages; any process may read them
 *   names/URL/NAME           three lines: the kernel id of a name, the etag that came with it, the
 *                            SHA-256 of the bytes that the etag belongs to. URL is a digest.
 *
 * 1. A file is written under a temporary name and renamed: a reader sees all of it or nothing.
 * 2. The folder is not trusted: a package is verified whenever it is read, and an etag is sent only
 *    if the bytes in the folder are those that it came with. So if files are changed, removed or
 *    damaged by others at any time, the worst consequence is that a package is fetched again.
 * 3. Reading a package updates its mtime; the least recently used ones are removed first. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "client/client_priv.h"

#define PATH_BYTES 4096
#define NAME_FILE_BYTES 1024
#define FILES_MOST 65536 /* limit on files considered at once when the folder is too large */

static bool path_of(const char *folder, const char *name, const char *suffix, char out[PATH_BYTES])
{
    int length = snprintf(out, PATH_BYTES, "%s/%s%s", folder, name, suffix);
    return length > 0 && length < PATH_BYTES;
}

/* Copies the next line of *at, without its line end, and moves *at past it. */
static bool take_line(char **at, char *out, size_t out_size)
{
    char *end = strchr(*at, '\n');
    if (!end || (size_t)(end - *at) >= out_size)
        return false;
    memcpy(out, *at, (size_t)(end - *at));
    out[end - *at] = '\0';
    *at = end + 1;
    return true;
}

bool folder_name(const struct urza_client *client, const char *name, struct cached_name *out)
{
    char path[PATH_BYTES], *text;
    size_t size;
    struct error ignored;
    if (!client->names || !path_of(client->names, name, "", path) ||
        !file_read(path, NAME_FILE_BYTES, &text, &size, &ignored))
        return false;
    char *at = text;
    bool ok = take_line(&at, out->kernel_id, sizeof out->kernel_id) &&
              take_line(&at, out->etag, sizeof out->etag) &&
              take_line(&at, out->digest, sizeof out->digest) && name_is_id(out->kernel_id);
    free(text);
    return ok;
}

struct urza_package *folder_find(const struct urza_client *client, const char *id,
                                 struct error *err)
{
    char path[PATH_BYTES], found[KERNEL_ID_BYTES], *data = NULL;
    size_t size;
    if (!client->packages || !path_of(client->packages, id, ".urza", path)) {
        fail(err, ERR_NOT_FOUND, "no folder keeps packages");
        return NULL;
    }
    if (!file_read(path, client->package_bytes, &data, &size, err))
        return NULL;
    struct urza_package *package = calloc(1, sizeof *package);
    if (package)
        bytes_add(&package->bytes, data, size);
    free(data);
    bool ok = package && !package->bytes.failed;
    if (!ok)
        fail(err, ERR_NOMEM, "no memory for a package");
    ok = ok && check_package(client, package->bytes.data, size, found, err);
    if (ok && strcmp(found, id) != 0)
        ok = fail(err, ERR_PACKAGE, "it holds another kernel, %s", found);
    if (!ok) {
        fail_at(err, "%s", path);
        urza_package_free(package);
        return NULL;
    }
    memcpy(package->kernel_id, found, sizeof found);
    package->from_cache = true;
    utimensat(AT_FDCWD, path, NULL, 0);
    return package;
}

/* Room. */

struct old_file {
    char name[256];
    int64_t used_ns;
    uint64_t size_bytes;
};

static int compare_use(const void *a, const void *b)
{
    int64_t x = ((const struct old_file *)a)->used_ns, y = ((const struct old_file *)b)->used_ns;
    return x < y ? -1 : x > y;
}

/* Lists all files of the folder, and the sum of their sizes. The caller frees *out. */
static uint32_t list_files(DIR *dir, struct old_file **out, uint64_t *out_bytes)
{
    uint32_t count = 0, capacity = 0;
    *out = NULL;
    *out_bytes = 0;
    for (const struct dirent *entry; count < FILES_MOST && (entry = readdir(dir)) != NULL;) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode))
            continue;
        if (count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 64;
            struct old_file *grown = realloc(*out, capacity * sizeof **out);
            if (!grown)
                break;
            *out = grown;
        }
        struct old_file *file = &(*out)[count++];
        snprintf(file->name, sizeof file->name, "%s", entry->d_name);
        file->used_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
        file->size_bytes = (uint64_t)info.st_size;
        *out_bytes += file->size_bytes;
    }
    return count;
}

static void make_room(const struct urza_client *client)
{
    struct old_file *files;
    uint64_t bytes;
    DIR *dir = opendir(client->packages);
    if (!dir)
        return;
    uint32_t count = list_files(dir, &files, &bytes);
    if (bytes > client->cache_bytes) {
        qsort(files, count, sizeof *files, compare_use);
        for (uint32_t i = 0; i + 1 < count && bytes > client->cache_bytes; i++)
            if (unlinkat(dirfd(dir), files[i].name, 0) == 0)
                bytes -= files[i].size_bytes;
    }
    free(files);
    closedir(dir);
}

void folder_store(const struct urza_client *client, const char *name, const char *etag,
                  const struct urza_package *package)
{
    char path[PATH_BYTES], digest[SHA256_HEX_BYTES], text[NAME_FILE_BYTES];
    struct error ignored;
    if (!client->packages || !path_of(client->packages, package->kernel_id, ".urza", path) ||
        !file_write_atomic(path, package->bytes.data, package->bytes.size, 0600, &ignored))
        return;
    make_room(client);
    sha256_hex(package->bytes.data, package->bytes.size, digest);
    int length = snprintf(text, sizeof text, "%s\n%s\n%s\n", package->kernel_id, etag, digest);
    if (path_of(client->names, name, "", path))
        file_write_atomic(path, text, (size_t)length, 0600, &ignored);
}
