/* The tables, from the rows of records.def:
 *
 *     "KIND"     serial INTEGER PRIMARY KEY AUTOINCREMENT, revision, id UNIQUE, one column per
 *                field; an index for each field that listings may ask for
 *     revisions  one row: the last revision that was assigned
 *
 * Migration adds missing tables, columns and indexes in one transaction. Any other change of the
 * tables needs a new version and a migration step here. */
#include "registry/sqlite_priv.h"

#include <string.h>
#include <time.h>

#define VERSION 1
#define APPLICATION 0x55727a61 /* "Urza" */

static const char *const types[] = {
    [FIELD_TEXT] = "TEXT NOT NULL DEFAULT ''", [FIELD_LIST] = "TEXT NOT NULL DEFAULT ''",
    [FIELD_JSON] = "TEXT NOT NULL DEFAULT ''", [FIELD_INTEGER] = "INTEGER NOT NULL DEFAULT 0",
    [FIELD_REAL] = "REAL NOT NULL DEFAULT 0",
};

static bool run_sql(struct sqlite_link *link, const struct sql *sql, struct error *err)
{
    return sqlite_link_run(link, sql->text, err);
}

/* Refuses files of other programs. An empty file is accepted. */
static bool check_owner(struct sqlite_link *link, struct error *err)
{
    int64_t application, version, things;
    if (!sqlite_link_integer(link, "PRAGMA application_id", &application, err) ||
        !sqlite_link_integer(link, "PRAGMA user_version", &version, err) ||
        !sqlite_link_integer(link, "SELECT count(*) FROM sqlite_schema", &things, err))
        return false;
    bool fresh = application == 0 && version == 0 && things == 0;
    if (!fresh && application != APPLICATION)
        return fail(err, ERR_IO, "'%.200s' is a database of another program, not a catalogue",
                    link->path);
    if (version > VERSION)
        return fail(err, ERR_UNSUPPORTED,
                    "catalogue '%.200s' has version %lld; this program knows versions up to %d",
                    link->path, (long long)version, VERSION);
    return true;
}

static bool add_missing_columns(struct sqlite_link *link, const struct record_type *type,
                                struct error *err)
{
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct record_field *field = &type->fields[i];
        struct sql sql = {0};
        int64_t there;
        sql_add(&sql, "SELECT count(*) FROM pragma_table_info('%s') WHERE name = '%s'", type->name,
                field->name);
        if (!sqlite_link_integer(link, sql.text, &there, err))
            return false;
        sql = (struct sql){0};
        sql_add(&sql, "ALTER TABLE \"%s\" ADD COLUMN \"%s\" %s", type->name, field->name,
                types[field->type]);
        if (!there && !run_sql(link, &sql, err))
            return false;
    }
    return true;
}

/* LIST fields get no index, since it could not find single words. */
static bool add_indexes(struct sqlite_link *link, const struct record_type *type, struct error *err)
{
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct record_field *field = &type->fields[i];
        struct sql sql = {0};
        sql_add(&sql, "CREATE INDEX IF NOT EXISTS \"%s_%s\" ON \"%s\"(\"%s\")", type->name,
                field->name, type->name, field->name);
        if (field->find && field->type != FIELD_LIST && !run_sql(link, &sql, err))
            return false;
    }
    return true;
}

static bool migrate_kind(struct sqlite_link *link, const struct record_type *type,
                         struct error *err)
{
    struct sql sql = {0};
    sql_add(&sql,
            "CREATE TABLE IF NOT EXISTS \"%s\"(serial INTEGER PRIMARY KEY AUTOINCREMENT, "
            "revision INTEGER NOT NULL, id TEXT NOT NULL UNIQUE",
            type->name);
    for (uint32_t i = 0; i < type->field_count; i++)
        sql_add(&sql, ", \"%s\" %s", type->fields[i].name, types[type->fields[i].type]);
    sql_add(&sql, ")");
    return run_sql(link, &sql, err) && add_missing_columns(link, type, err) &&
           add_indexes(link, type, err);
}

static bool migrate(struct sqlite_link *link, struct error *err)
{
    struct sql owner = {0}, version = {0};
    sql_add(&owner, "PRAGMA application_id = %d", APPLICATION);
    sql_add(&version, "PRAGMA user_version = %d", VERSION);
    if (!check_owner(link, err))
        return false;
    for (int kind = RECORD_NONE + 1; kind < RECORD_COUNT; kind++)
        if (!migrate_kind(link, record_type((enum record_kind)kind), err))
            return false;
    return sqlite_link_run(link, "CREATE TABLE IF NOT EXISTS revisions(last INTEGER NOT NULL)",
                           err) &&
           sqlite_link_run(link,
                           "INSERT INTO revisions SELECT 0 WHERE NOT EXISTS "
                           "(SELECT * FROM revisions)",
                           err) &&
           run_sql(link, &owner, err) && run_sql(link, &version, err);
}

/* One attempt to enable write-ahead logging; ERR_BUSY: another connection holds a lock. */
static bool try_write_ahead(struct sqlite_link *link, struct error *err)
{
    sqlite3_stmt *statement = sqlite_link_prepare(link, "PRAGMA journal_mode = WAL", err);
    if (!statement)
        return false;
    bool ok = sqlite3_step(statement) == SQLITE_ROW || sqlite_link_fail(link, "set up", err);
    const char *mode = ok ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (ok && (!mode || strcmp(mode, "wal") != 0))
        ok = fail(err, ERR_IO, "catalogue '%.200s' lies where SQLite cannot write ahead",
                  link->path);
    sqlite_link_done(statement);
    return ok;
}

/* Retries, since SQLite does not wait for the lock that this takes: two processes that create a
 * catalogue at the same time may collide. */
static bool write_ahead(struct sqlite_link *link, struct error *err)
{
    struct error reason = {.code = ERR_NONE};
    for (int waited_ms = 0; waited_ms < SQLITE_BUSY_MS; waited_ms += 10) {
        if (try_write_ahead(link, &reason))
            return true;
        if (reason.code != ERR_BUSY)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    *err = reason;
    return false;
}

bool sqlite_schema_open(struct sqlite_link *link, struct error *err)
{
    if (!check_owner(link, err) || !write_ahead(link, err) ||
        !sqlite_link_run(link, "PRAGMA synchronous = FULL", err) ||
        !sqlite_link_run(link, "PRAGMA journal_size_limit = 67108864", err) ||
        !sqlite_link_run(link, "BEGIN IMMEDIATE", err))
        return false;
    if (migrate(link, err) && sqlite_link_run(link, "COMMIT", err))
        return true;
    struct error ignored;
    if (!sqlite3_get_autocommit(link->db))
        (void)sqlite_link_run(link, "ROLLBACK", &ignored);
    return false;
}

/* Runs PRAGMA quick_check, which returns "ok", or a row for each fault. */
static bool check_pages(struct sqlite_link *link, struct error *err)
{
    sqlite3_stmt *statement = sqlite_link_prepare(link, "PRAGMA quick_check(1)", err);
    if (!statement)
        return false;
    const char *said = sqlite3_step(statement) == SQLITE_ROW
                           ? (const char *)sqlite3_column_text(statement, 0)
                           : NULL;
    bool ok = true;
    if (!said)
        ok = sqlite_link_fail(link, "check", err);
    else if (strcmp(said, "ok") != 0)
        ok = fail(err, ERR_IO, "catalogue '%.200s' is damaged: %s", link->path, said);
    sqlite_link_done(statement);
    return ok;
}

static bool check_kind(struct sqlite_link *link, const struct record_type *type, struct error *err)
{
    struct sql sql = {0};
    int64_t wrong;
    sql_add(&sql,
            "SELECT count(*) FROM \"%s\" WHERE serial <= 0 OR revision <= 0 OR id = '' OR "
            "serial > ifnull((SELECT seq FROM sqlite_sequence WHERE name = '%s'), 0) OR "
            "revision > ifnull((SELECT max(last) FROM revisions), 0)",
            type->name, type->name);
    if (!sqlite_link_integer(link, sql.text, &wrong, err))
        return false;
    if (wrong)
        return fail(err, ERR_IO,
                    "catalogue '%.200s' is damaged: %lld records of kind %s have a wrong id, "
                    "serial or revision",
                    link->path, (long long)wrong, type->name);
    sql = (struct sql){0};
    sql_add(&sql, "SELECT count(*) - count(DISTINCT revision) FROM \"%s\"", type->name);
    if (!sqlite_link_integer(link, sql.text, &wrong, err))
        return false;
    return !wrong ||
           fail(err, ERR_IO, "catalogue '%.200s' is damaged: records of kind %s share revisions",
                link->path, type->name);
}

bool sqlite_schema_check(struct sqlite_link *link, struct error *err)
{
    if (!sqlite_link_run(link, "BEGIN", err))
        return false;
    bool ok = check_pages(link, err);
    for (int kind = RECORD_NONE + 1; ok && kind < RECORD_COUNT; kind++)
        ok = check_kind(link, record_type((enum record_kind)kind), err);
    struct error ignored;
    (void)sqlite_link_run(link, "ROLLBACK", &ignored);
    return ok;
}
