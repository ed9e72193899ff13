/* A catalogue in an SQLite file. One thread writes (sqlite_writer.c); any number read, each on a
 * connection of its own from a list of idle ones, and see the commits made before their statement
 * began. The file uses write-ahead logging, so readers and the writer never wait for each other.
 * Other processes may read and write the same file. */
#include "registry/catalogue_priv.h"
#include "registry/sqlite_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"

#define IDLE_MOST 16 /* idle connections for readers */

struct store {
    struct catalogue catalogue;
    char *path;
    struct sqlite_writer *writer;
    pthread_mutex_t mutex; /* protects the members below */
    struct sqlite_link *idle;
    uint32_t idle_count;
};

/* Creates the file and its folder if they do not exist, accessible to their owner only. */
static bool make_file(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (path[0] == '\0' || (slash && slash[1] == '\0'))
        return fail(err, ERR_USAGE, "'sqlite:%.200s' names no file", path);
    char *folder = slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup(".");
    bool ok = folder || fail(err, ERR_NOMEM, "no memory for a path");
    ok = ok && file_make_dirs(folder, 0700, err);
    free(folder);
    int fd = ok ? open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600) : -1;
    if (ok && fd < 0)
        return fail(err, errno == ENOSPC || errno == EDQUOT ? ERR_SPACE : ERR_IO,
                    "cannot open catalogue '%.200s': %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

static void sqlite_close(struct catalogue *catalogue)
{
    struct store *store = (struct store *)catalogue;
    for (struct sqlite_link *link = store->idle, *next; link; link = next) {
        next = link->next;
        sqlite_link_close(link);
    }
    sqlite_writer_stop(store->writer);
    pthread_mutex_destroy(&store->mutex);
    free(store->path);
    free(store);
}

static bool sqlite_open(const char *place, struct catalogue **out, struct error *err)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return fail(err, ERR_NOMEM, "no memory for a catalogue");
    store->catalogue.driver = &catalogue_sqlite;
    pthread_mutex_init(&store->mutex, NULL);
    store->path = strdup(place);
    bool ok = store->path || fail(err, ERR_NOMEM, "no memory for a path");
    ok = ok && make_file(place, err);
    struct sqlite_link *link = ok ? sqlite_link_open(store->path, err) : NULL;
    if (link && sqlite_schema_open(link, err))
        store->writer = sqlite_writer_start(link, err);
    else
        sqlite_link_close(link);
    if (!store->writer) {
        sqlite_close(&store->catalogue);
        return false;
    }
    *out = &store->catalogue;
    return true;
}

struct sqlite_writer *catalogue_sqlite_writer(struct catalogue *catalogue)
{
    return ((struct store *)catalogue)->writer;
}

static bool sqlite_commit(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                          struct error *err)
{
    return sqlite_writer_commit(((struct store *)catalogue)->writer, changes, count, err);
}

/* A new connection for reading, made at this count of surveys. */
static struct sqlite_link *open_reader(struct store *store, uint64_t surveys, struct error *err)
{
    struct sqlite_link *link = sqlite_link_open(store->path, err);
    if (link && sqlite_link_run(link, "PRAGMA query_only = ON", err)) {
        link->surveys = surveys;
        return link;
    }
    sqlite_link_close(link);
    return NULL;
}

/* Takes a connection for reading; the thread returns it by give_back. NULL: failed. */
static struct sqlite_link *borrow(struct store *store, struct error *err)
{
    uint64_t surveys = sqlite_writer_surveys(store->writer);
    pthread_mutex_lock(&store->mutex);
    struct sqlite_link *link = store->idle;
    if (link) {
        store->idle = link->next;
        store->idle_count--;
    }
    pthread_mutex_unlock(&store->mutex);
    if (link && link->surveys == surveys)
        return link;
    sqlite_link_close(link);
    return open_reader(store, surveys, err);
}

static void give_back(struct store *store, struct sqlite_link *link)
{
    pthread_mutex_lock(&store->mutex);
    bool keep = store->idle_count < IDLE_MOST;
    if (keep) {
        link->next = store->idle;
        store->idle = link;
        store->idle_count++;
    }
    pthread_mutex_unlock(&store->mutex);
    if (!keep)
        sqlite_link_close(link);
}

/* A column's text, copied to arena; "" for NULL, which occurs only in a damaged file. */
static const char *text_of(sqlite3_stmt *statement, int at, struct arena *arena)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);
    return text ? arena_strdup(arena, text) : "";
}

/* The record in the statement's current row; columns as in sql_add_columns. */
static void *row_of(sqlite3_stmt *statement, enum record_kind kind, struct arena *arena)
{
    const struct record_type *type = record_type(kind);
    struct record *record = record_new(kind, arena);
    record->serial = sqlite3_column_int64(statement, 0);
    record->revision = sqlite3_column_int64(statement, 1);
    record->id = text_of(statement, 2, arena);
    for (uint32_t i = 0; i < type->field_count; i++) {
        const struct record_field *field = &type->fields[i];
        int at = (int)i + 3;
        if (field->type == FIELD_INTEGER)
            *record_integer(record, field) = sqlite3_column_int64(statement, at);
        else if (field->type == FIELD_REAL)
            *record_real(record, field) = sqlite3_column_double(statement, at);
        else
            *record_text(record, field) = text_of(statement, at, arena);
    }
    return record;
}

/* A statement whose rows are records, and the records read from it. */
struct reading {
    sqlite3_stmt *statement;
    enum record_kind kind;
    struct arena *arena;
    VEC(void *) found;
    int step; /* SQLite's last result code */
};

static void read_rows(void *context)
{
    struct reading *reading = context;
    while ((reading->step = sqlite3_step(reading->statement)) == SQLITE_ROW) {
        void *record = row_of(reading->statement, reading->kind, reading->arena);
        VEC_PUSH(reading->arena, &reading->found, record);
        /* A column's text is also NULL if SQLite had no memory for it. */
        if (sqlite3_errcode(sqlite3_db_handle(reading->statement)) == SQLITE_NOMEM) {
            reading->step = SQLITE_NOMEM;
            return;
        }
    }
}

/* Reads all rows of a bound statement. */
static bool read_all(struct sqlite_link *link, struct reading *reading, struct error *err)
{
    if (!arena_catch(reading->arena, read_rows, reading))
        return fail(err, ERR_NOMEM, "no memory for the records");
    return reading->step == SQLITE_DONE || sqlite_link_fail(link, "read", err);
}

static bool sqlite_get(struct catalogue *catalogue, enum record_kind kind, const char *id,
                       struct arena *arena, void **out, struct error *err)
{
    struct store *store = (struct store *)catalogue;
    struct sqlite_link *link = borrow(store, err);
    if (!link)
        return false;
    struct sql sql = {0};
    sql_add(&sql, "SELECT ");
    sql_add_columns(&sql, record_type(kind));
    sql_add(&sql, " FROM \"%s\" WHERE id = ?1", record_type(kind)->name);
    struct reading reading = {sqlite_link_prepare(link, sql.text, err), kind, arena, {0}, 0};
    bool ok = reading.statement != NULL;
    if (ok) {
        sqlite3_bind_text(reading.statement, 1, id, -1, SQLITE_STATIC);
        ok = read_all(link, &reading, err);
    }
    if (ok)
        *out = reading.found.count > 0 ? reading.found.items[0] : NULL;
    sqlite_link_done(reading.statement);
    give_back(store, link);
    return ok;
}

/* Appends " WHERE …" for the filters; parameter i + 1 belongs to filter i. */
static void add_filters(struct sql *sql, const struct query *query)
{
    static const char *const operators[] = {
        [FILTER_IS] = "=",
        [FILTER_IS_NOT] = "<>",
        [FILTER_AT_LEAST] = ">=",
        [FILTER_AT_MOST] = "<=",
    };
    sql_add(sql, " WHERE 1");
    for (uint32_t i = 0; i < query->filter_count; i++) {
        const struct filter *filter = &query->filters[i];
        const char *name = record_field(query->kind, filter->field)->name;
        if (filter->op == FILTER_HAS)
            sql_add(sql, " AND instr(\"%s\", ',' || ?%u || ',') > 0", name, i + 1);
        else
            sql_add(sql, " AND \"%s\" %s ?%u", name, operators[filter->op], i + 1);
    }
}

static void bind_filters(sqlite3_stmt *statement, const struct query *query)
{
    for (uint32_t i = 0; i < query->filter_count; i++) {
        const struct filter *filter = &query->filters[i];
        int at = (int)i + 1;
        if (field_is_text(record_field(query->kind, filter->field)))
            sqlite3_bind_text(statement, at, filter->text, -1, SQLITE_STATIC);
        else
            sqlite3_bind_double(statement, at, filter->number);
    }
}

static bool sqlite_list(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                        struct records *out, struct error *err)
{
    struct store *store = (struct store *)catalogue;
    struct sqlite_link *link = borrow(store, err);
    if (!link)
        return false;
    struct sql sql = {0};
    int next = (int)query->filter_count + 1;
    sql_add(&sql, "SELECT ");
    sql_add_columns(&sql, record_type(query->kind));
    sql_add(&sql, " FROM \"%s\"", record_type(query->kind)->name);
    add_filters(&sql, query);
    if (query->after != 0)
        sql_add(&sql, " AND serial %s ?%d", query->newest_first ? "<" : ">", next + 1);
    sql_add(&sql, " ORDER BY serial%s LIMIT ?%d", query->newest_first ? " DESC" : "", next);
    struct reading reading = {sqlite_link_prepare(link, sql.text, err), query->kind, arena, {0}, 0};
    bool ok = reading.statement != NULL;
    if (ok) {
        bind_filters(reading.statement, query);
        sqlite3_bind_int64(reading.statement, next, query->limit);
        if (query->after != 0)
            sqlite3_bind_int64(reading.statement, next + 1, query->after);
        ok = read_all(link, &reading, err);
    }
    if (ok)
        *out = (struct records){reading.found.items, reading.found.count};
    sqlite_link_done(reading.statement);
    give_back(store, link);
    return ok;
}

static bool sqlite_total(struct catalogue *catalogue, const struct query *query, const char *field,
                         struct totals *out, struct error *err)
{
    struct store *store = (struct store *)catalogue;
    struct sqlite_link *link = borrow(store, err);
    if (!link)
        return false;
    struct sql sql = {0};
    sql_add(&sql, "SELECT count(*), ");
    if (field)
        sql_add(&sql, "total(\"%s\")", record_field(query->kind, field)->name);
    else
        sql_add(&sql, "0");
    sql_add(&sql, " FROM \"%s\"", record_type(query->kind)->name);
    add_filters(&sql, query);
    sqlite3_stmt *statement = sqlite_link_prepare(link, sql.text, err);
    bool ok = statement != NULL;
    if (ok) {
        bind_filters(statement, query);
        ok = sqlite3_step(statement) == SQLITE_ROW || sqlite_link_fail(link, "read", err);
    }
    if (ok)
        *out = (struct totals){sqlite3_column_int64(statement, 0),
                               sqlite3_column_double(statement, 1)};
    sqlite_link_done(statement);
    give_back(store, link);
    return ok;
}

static bool sqlite_check(struct catalogue *catalogue, struct error *err)
{
    struct store *store = (struct store *)catalogue;
    struct sqlite_link *link = borrow(store, err);
    if (!link)
        return false;
    bool ok = sqlite_schema_check(link, err);
    give_back(store, link);
    return ok;
}

const struct catalogue_driver catalogue_sqlite = {
    .name = "sqlite",
    .open = sqlite_open,
    .close = sqlite_close,
    .commit = sqlite_commit,
    .get = sqlite_get,
    .list = sqlite_list,
    .total = sqlite_total,
    .check = sqlite_check,
};
