/* The cache on disk.
 *
 * FOLDER/FINGERPRINT.tuning has the entries of a device. A process locks FOLDER/lock (flock) to
 * change any of these files, and replaces a file by renaming a new one. So a reader sees the old
 * file or the new one, each complete, and a process that dies leaves nothing that the next one must
 * clean up. A damaged file is saved as *.damaged, and its valid entries remain in use. */
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

bool cache_file_stamp(const struct cache_file *file, struct cache_stamp *out)
{
    struct stat info;
    if (!file->path || stat(file->path, &info) != 0)
        return false;
    *out = (struct cache_stamp){.inode = (int64_t)info.st_ino,
                                .size = (int64_t)info.st_size,
                                .mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 +
                                            info.st_mtim.tv_nsec};
    return true;
}

/* Returns the descriptor of the lock; -1 after a warning, or, without a warning and with *out_busy
 * true, if another process has the lock and wait is false. Waiting has a limit, so that a process
 * that never releases the lock does not block this one for ever. */
static int lock(const struct cache_file *file, bool wait, bool *out_busy,
                const struct warner *warner)
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
        if (errno == EWOULDBLOCK && !wait) {
            *out_busy = true;
            close(fd);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    warn(warner, "tuning cache: cannot lock '%s': %s", path, strerror(errno));
    close(fd);
    return -1;
}

enum outcome { CACHE_ABSENT, CACHE_GOOD, CACHE_DAMAGED, CACHE_NEWER, CACHE_UNREADABLE };

struct content {
    char *text; /* malloc'd; NULL: the file could not be read */
    size_t size;
};

static void free_content(void *object)
{
    struct content *content = object;
    free(content->text);
    content->text = NULL;
}

/* Reads a file into a table; *out belongs to the table's arena. */
static enum outcome read_file(const struct cache_file *file, struct table *table,
                              struct content **out, const struct warner *warner)
{
    struct error err;
    struct cache_damage found;
    const char *path = file->path;
    struct content *content = *out = ARENA_NEW(table->arena, struct content);
    arena_own(table->arena, free_content, content);
    if (!file_read(path, LIMIT_JSON_BYTES, &content->text, &content->size, &err)) {
        if (err.code == ERR_NOT_FOUND)
            return CACHE_ABSENT;
        if (err.code == ERR_NOMEM)
            arena_no_memory(table->arena);
        warn(warner, "tuning cache: %s", err.message);
        return CACHE_UNREADABLE;
    }
    if (!cache_parse(content->text, content->size, file->device, table, &found, &err)) {
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

/* A change of the file, from locking to unlocking. */
struct change {
    int lock;
    struct arena *arena; /* of the change alone */
    struct table table;  /* the valid entries of the file */
    enum outcome found;
};

static void unlock(void *object)
{
    struct change *change = object;
    if (change->lock >= 0)
        close(change->lock);
    change->lock = -1;
}

/* NULL: there is no file to change, or it cannot be changed now (*out_busy). */
static struct change *change_begin(const struct cache_file *file, struct arena *arena, bool wait,
                                   bool *out_busy, const struct warner *warner)
{
    static const struct warner quiet = {0};
    struct content *content;
    *out_busy = false;
    if (!file->path)
        return NULL;
    struct arena *own = arena_inside(arena);
    struct change *change = ARENA_NEW(own, struct change);
    change->arena = own;
    change->lock = -1;
    arena_own(own, unlock, change);
    table_init(&change->table, own);
    change->lock = lock(file, wait, out_busy, warner);
    if (change->lock >= 0)
        change->found = read_file(file, &change->table, &content, &quiet);
    if (change->lock >= 0 && change->found == CACHE_UNREADABLE)
        warn(warner, "tuning cache '%s' cannot be read, and is left as it is", file->path);
    if (change->lock < 0 || change->found == CACHE_NEWER || change->found == CACHE_UNREADABLE) {
        arena_release(own);
        return NULL;
    }
    if (change->found == CACHE_DAMAGED) {
        struct error err;
        const char *aside = join(own, file->path, ".damaged", "");
        warn(warner, "tuning cache: the damaged file is kept as '%s'", aside);
        if (!file_write_atomic(aside, content->text, content->size, 0644, &err))
            warn(warner, "tuning cache: %s", err.message);
    }
    return change;
}

static void change_end(const struct cache_file *file, struct change *change, bool write,
                       const struct warner *warner)
{
    if (write)
        write_table(file->path, &change->table, warner);
    arena_release(change->arena);
}

bool cache_file_read(const struct cache_file *file, struct table *table,
                     const struct warner *warner)
{
    struct content *content;
    struct change *change;
    bool busy;
    if (!file->path)
        return false;
    enum outcome found = read_file(file, table, &content, warner);
    free_content(content);
    /* The first process that reads a damaged file repairs it. Another one may have repaired it
     * before this one locked it, so it is written only if it is still damaged. */
    if (found == CACHE_DAMAGED &&
        (change = change_begin(file, table->arena, false, &busy, warner)) != NULL)
        change_end(file, change, change->found == CACHE_DAMAGED, warner);
    return found == CACHE_GOOD || found == CACHE_DAMAGED;
}

bool cache_file_merge(const struct cache_file *file, const struct table *changes, bool wait,
                      const struct warner *warner)
{
    bool busy = false;
    if (changes->entries.count == 0)
        return true;
    struct change *change = change_begin(file, changes->arena, wait, &busy, warner);
    if (!change)
        return !busy;
    bool changed = change->found == CACHE_DAMAGED;
    for (uint32_t i = 0; i < changes->entries.count; i++)
        changed |= table_merge(&change->table, changes->entries.items[i]);
    change_end(file, change, changed, warner);
    return true;
}

uint32_t cache_file_remove(const struct cache_file *file, struct arena *arena,
                           bool (*drop)(void *context, const struct entry *entry), void *context,
                           const struct warner *warner)
{
    struct table rest;
    uint32_t dropped = 0;
    bool busy;
    struct change *change = change_begin(file, arena, true, &busy, warner);
    if (!change)
        return 0;
    table_init(&rest, change->arena);
    for (uint32_t i = 0; i < change->table.entries.count; i++) {
        const struct entry *entry = change->table.entries.items[i];
        if (drop(context, entry))
            dropped++;
        else
            table_merge(&rest, entry);
    }
    change->table = rest;
    change_end(file, change, dropped > 0 || change->found == CACHE_DAMAGED, warner);
    return dropped;
}
