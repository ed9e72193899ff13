/* The cache on disk.
 *
 * FOLDER/FINGERPRINT.tuning holds a device's entries, FOLDER/lock is locked (flock) by whoever
 * changes any of them. Files are replaced by rename, so a reader sees an old or a new one, whole;
 * a process that dies leaves nothing that the next one would trip over. A damaged file is kept
 * beside, as *.damaged, and what is whole in it lives on. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

#define LOCK_TRIES 1000 /* of 10 ms each */

static const char *join(struct arena *arena, const char *a, const char *b, const char *c)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s%s%s", a, b, c);
    return text.data;
}

void cache_file_init(struct cache_file *file, struct arena *arena, const char *folder,
                     const char *fingerprint)
{
    *file = (struct cache_file){.folder = NULL};
    if (!folder)
        return;
    snprintf(file->device, sizeof file->device, "%s", fingerprint);
    file->folder = arena_strdup(arena, folder);
    file->path = join(arena, join(arena, folder, "/", fingerprint), ".tuning", "");
}

static void warn(const struct warner *warner, const char *fmt, ...) URZA_PRINTF(2, 3);
static void warn(const struct warner *warner, const char *fmt, ...)
{
    char message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    if (warner->warn)
        warner->warn(warner->context, message);
}

/* The lock's descriptor, or -1 after a warning. A process that does not let go must not hang this
 * one. */
static int lock(const struct cache_file *file, const struct warner *warner)
{
    struct error err;
    char path[4096];
    int size = snprintf(path, sizeof path, "%s/lock", file->folder);
    if (size < 0 || (size_t)size >= sizeof path || !file_make_dirs(file->folder, 0700, &err)) {
        warn(warner, "tuning cache: cannot make folder '%s'", file->folder);
        return -1;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        warn(warner, "tuning cache: cannot open '%s': %s", path, strerror(errno));
        return -1;
    }
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    warn(warner, "tuning cache: cannot lock '%s': %s", path, strerror(errno));
    close(fd);
    return -1;
}

static void unlock(int fd)
{
    close(fd);
}

enum outcome { CACHE_ABSENT, CACHE_GOOD, CACHE_DAMAGED, CACHE_NEWER, CACHE_UNREADABLE };

/* Reads a file into a table; *out_text is malloc'd and the caller's where the file could be read.
 */
static enum outcome read_file(const struct cache_file *file, struct table *table, char **out_text,
                              size_t *out_size, const struct warner *warner)
{
    struct error err;
    struct cache_damage found;
    const char *path = file->path;
    *out_text = NULL;
    if (!file_read(path, LIMIT_JSON_BYTES, out_text, out_size, &err)) {
        if (err.code == ERR_NOT_FOUND)
            return CACHE_ABSENT;
        warn(warner, "tuning cache: %s", err.message);
        return CACHE_UNREADABLE;
    }
    if (!cache_parse(*out_text, *out_size, file->device, table, &found, &err)) {
        warn(warner, "tuning cache '%s' is left alone: %s", path, err.message);
        return CACHE_NEWER;
    }
    if (found.lines == 0)
        return CACHE_GOOD;
    warn(warner, "tuning cache '%s' is damaged, %u lines are left out: %s", path, found.lines,
         found.message);
    return CACHE_DAMAGED;
}

static bool write_table(const char *path, const struct table *table, const struct warner *warner)
{
    struct strbuf text;
    struct error err;
    strbuf_init(&text, table->arena);
    cache_print(table, &text);
    if (text.size_bytes > LIMIT_JSON_BYTES) {
        warn(warner, "tuning cache '%s' would have more than %zu bytes; clear it", path,
             LIMIT_JSON_BYTES);
        return false;
    }
    if (file_write_atomic(path, text.data, text.size_bytes, 0644, &err))
        return true;
    warn(warner, "tuning cache: %s", err.message);
    return false;
}

/* A change of the file: everything between is done under the lock. */
struct change {
    int lock;
    struct arena arena;
    struct table table; /* what the file holds, the good part of it */
    enum outcome found;
};

static bool change_begin(struct cache_file *file, struct change *change,
                         const struct warner *warner)
{
    static const struct warner quiet = {0};
    char *text;
    size_t size;
    if (!file->path || file->frozen)
        return false;
    change->lock = lock(file, warner);
    if (change->lock < 0)
        return false;
    arena_init(&change->arena);
    table_init(&change->table, &change->arena);
    change->found = read_file(file, &change->table, &text, &size, &quiet);
    if (change->found == CACHE_DAMAGED) {
        struct error err;
        const char *aside = join(&change->arena, file->path, ".damaged", "");
        warn(warner, "tuning cache: the damaged file is kept as '%s'", aside);
        if (!file_write_atomic(aside, text, size, 0644, &err))
            warn(warner, "tuning cache: %s", err.message);
    }
    free(text);
    file->frozen = change->found == CACHE_NEWER;
    if (change->found == CACHE_NEWER || change->found == CACHE_UNREADABLE) {
        arena_release(&change->arena);
        unlock(change->lock);
        return false;
    }
    return true;
}

static void change_end(struct cache_file *file, struct change *change, bool write,
                       const struct warner *warner)
{
    if (write)
        write_table(file->path, &change->table, warner);
    unlock(change->lock);
    arena_release(&change->arena);
}

void cache_file_read(struct cache_file *file, struct table *table, const struct warner *warner)
{
    struct stat info;
    struct change change;
    char *text;
    size_t size;
    if (!file->path || file->frozen || stat(file->path, &info) != 0)
        return;
    int64_t mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    if (file->seen.inode == (int64_t)info.st_ino && file->seen.size == (int64_t)info.st_size &&
        file->seen.mtime_ns == mtime_ns)
        return;
    file->seen.inode = (int64_t)info.st_ino;
    file->seen.size = (int64_t)info.st_size;
    file->seen.mtime_ns = mtime_ns;
    enum outcome found = read_file(file, table, &text, &size, warner);
    free(text);
    file->frozen = found == CACHE_NEWER;
    /* Repaired by whoever meets it first; under the lock it may be whole again. */
    if (found == CACHE_DAMAGED && change_begin(file, &change, warner))
        change_end(file, &change, change.found == CACHE_DAMAGED, warner);
}

void cache_file_merge(struct cache_file *file, const struct table *changes,
                      const struct warner *warner)
{
    struct change change;
    if (changes->entries.count == 0 || !change_begin(file, &change, warner))
        return;
    bool changed = change.found == CACHE_DAMAGED;
    for (uint32_t i = 0; i < changes->entries.count; i++)
        changed |= table_merge(&change.table, changes->entries.items[i]);
    change_end(file, &change, changed, warner);
}

uint32_t cache_file_remove(struct cache_file *file,
                           bool (*drop)(void *context, const struct entry *entry), void *context,
                           const struct warner *warner)
{
    struct change change;
    struct table rest;
    uint32_t dropped = 0;
    if (!change_begin(file, &change, warner))
        return 0;
    table_init(&rest, &change.arena);
    for (uint32_t i = 0; i < change.table.entries.count; i++) {
        const struct entry *entry = change.table.entries.items[i];
        if (drop(context, entry))
            dropped++;
        else
            table_merge(&rest, entry);
    }
    change.table = rest;
    change_end(file, &change, dropped > 0 || change.found == CACHE_DAMAGED, warner);
    return dropped;
}
