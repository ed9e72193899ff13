/* A connection to an SQLite file, with a cache of prepared statements. */
#include "registry/sqlite_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

void sql_add(struct sql *sql, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    size_t room = sizeof sql->text - sql->size_bytes;
    int size = vsnprintf(sql->text + sql->size_bytes, room, fmt, args);
    va_end(args);
    assert(size >= 0 && (size_t)size < room);
    sql->size_bytes += (size_t)size;
}

void sql_add_columns(struct sql *sql, const struct record_type *type)
{
    sql_add(sql, "serial, revision, id");
    for (uint32_t i = 0; i < type->field_count; i++)
        sql_add(sql, ", \"%s\"", type->fields[i].name);
}

/* Whether a write found no space: mostly SQLITE_FULL in Debian's SQLite, but other codes for the
 * shared-memory file and for quotas. */
static bool out_of_space(sqlite3 *db, int code)
{
    int reason = sqlite3_system_errno(db);
    return code == SQLITE_FULL ||
           (code == SQLITE_IOERR && (reason == ENOSPC || reason == EDQUOT || reason == EFBIG));
}

static enum error_code class_of(sqlite3 *db)
{
    int code = sqlite3_errcode(db) & 0xff;
    if (code == SQLITE_NOMEM || sqlite3_extended_errcode(db) == SQLITE_IOERR_NOMEM)
        return ERR_NOMEM;
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        return ERR_BUSY;
    if (out_of_space(db, code))
        return ERR_SPACE;
    if (code == SQLITE_TOOBIG)
        return ERR_LIMIT;
    return ERR_IO;
}

bool sqlite_link_fail(struct sqlite_link *link, const char *doing, struct error *err)
{
    return fail(err, class_of(link->db), "cannot %s catalogue '%.200s': %s", doing, link->path,
                sqlite3_errmsg(link->db));
}

struct sqlite_link *sqlite_link_open(const char *path, struct error *err)
{
    /* A name that SQLite treats specially, such as ":memory:", is turned into a path. */
    size_t size = strlen(path) + sizeof "./";
    char *plain = malloc(size);
    struct sqlite_link *link = calloc(1, sizeof *link);
    bool ok = plain && link;
    if (!ok) {
        fail(err, ERR_NOMEM, "no memory for a connection to '%.200s'", path);
        goto out;
    }
    snprintf(plain, size, "%s%s", path[0] == '/' ? "" : "./", path);
    link->path = path;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    ok = sqlite3_open_v2(plain, &link->db, flags, NULL) == SQLITE_OK;
    if (!ok && link->db)
        sqlite_link_fail(link, "open", err);
    else if (!ok)
        fail(err, ERR_NOMEM, "no memory for a connection to '%.200s'", path);
    if (ok) {
        sqlite3_busy_timeout(link->db, SQLITE_BUSY_MS);
        sqlite3_db_config(link->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(link->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        ok = sqlite_link_run(link, "PRAGMA cell_size_check=ON", err);
    }
out:
    free(plain);
    if (ok)
        return link;
    sqlite_link_close(link);
    return NULL;
}

void sqlite_link_close(struct sqlite_link *link)
{
    if (!link)
        return;
    for (size_t i = 0; i < SQLITE_STATEMENTS_MOST; i++)
        sqlite3_finalize(link->kept[i].statement);
    sqlite3_close(link->db);
    free(link);
}

sqlite3_stmt *sqlite_link_prepare(struct sqlite_link *link, const char *sql, struct error *err)
{
    uint64_t hash = hash64(sql, strlen(sql), 0);
    size_t at = 0;
    for (size_t i = 0; i < SQLITE_STATEMENTS_MOST; i++) {
        sqlite3_stmt *kept = link->kept[i].statement;
        if (kept && link->kept[i].hash == hash && strcmp(sqlite3_sql(kept), sql) == 0) {
            link->kept[i].used = ++link->uses;
            return kept;
        }
        if (link->kept[i].used < link->kept[at].used)
            at = i;
    }
    sqlite3_stmt *made = NULL;
    if (sqlite3_prepare_v3(link->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &made, NULL) !=
        SQLITE_OK) {
        sqlite_link_fail(link, "use", err);
        return NULL;
    }
    sqlite3_finalize(link->kept[at].statement);
    link->kept[at].statement = made;
    link->kept[at].hash = hash;
    link->kept[at].used = ++link->uses;
    return made;
}

void sqlite_link_done(sqlite3_stmt *statement)
{
    if (!statement)
        return;
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

bool sqlite_link_integer(struct sqlite_link *link, const char *sql, int64_t *out, struct error *err)
{
    sqlite3_stmt *statement = sqlite_link_prepare(link, sql, err);
    if (!statement)
        return false;
    int step = sqlite3_step(statement);
    bool ok = step == SQLITE_ROW || step == SQLITE_DONE || sqlite_link_fail(link, "read", err);
    if (ok)
        *out = step == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite_link_done(statement);
    return ok;
}

bool sqlite_link_run(struct sqlite_link *link, const char *sql, struct error *err)
{
    int64_t ignored;
    return sqlite_link_integer(link, sql, &ignored, err);
}
