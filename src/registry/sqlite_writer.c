/* The writing thread. Commits that wait at the same moment share a transaction, and so a single
 * sync:
 *
 *     BEGIN IMMEDIATE
 *       SAVEPOINT one   changes of the first commit    RELEASE, or ROLLBACK TO for a conflict
 *       SAVEPOINT one   changes of the second …
 *     COMMIT            then all are answered
 *
 * Invariants:
 * 1. No request is answered as done before COMMIT has returned.
 * 2. A conflict is answered only from a transaction that was committed or changed nothing, so the
 *    record it conflicts with is really there.
 * 3. If a transaction of several requests finds no space, each is tried alone, so that one that is
 *    too large does not fail the others. Any other failure fails them all. */
#include "registry/sqlite_priv.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/catalogue_priv.h"

#define GROUP_MOST 256    /* commits in a transaction */
#define SURVEY_FIRST 1024 /* revisions before the first ANALYZE */

struct request {
    const struct change *changes;
    uint32_t count;
    bool ok, answered;
    struct error err; /* if not ok */
    pthread_cond_t answer;
    struct request *next;
};

struct sqlite_writer {
    struct sqlite_link *link; /* used by the thread only */
    int64_t revision;         /* the last one assigned; used by the thread, inside a transaction */
    int64_t next_survey;      /* the revision at which ANALYZE runs next; used by the thread */
    pthread_t thread;
    pthread_mutex_t mutex; /* protects the members below, and requests */
    pthread_cond_t work;
    struct request *first, **last; /* waiting requests, in order */
    bool stopping;
    uint64_t transactions, surveys;
};

static bool step_done(struct sqlite_writer *writer, sqlite3_stmt *statement, struct error *err)
{
    int step = sqlite3_step(statement);
    bool ok = step == SQLITE_DONE || step == SQLITE_ROW ||
              sqlite_link_fail(writer->link, "write to", err);
    sqlite_link_done(statement);
    return ok;
}

/* Looks up an id. *out_serial is 0 if there is no such record. */
static bool find(struct sqlite_writer *writer, const struct record_type *type, const char *id,
                 int64_t *out_serial, int64_t *out_revision, struct error *err)
{
    struct sql sql = {0};
    sql_add(&sql, "SELECT serial, revision FROM \"%s\" WHERE id = ?1", type->name);
    sqlite3_stmt *statement = sqlite_link_prepare(writer->link, sql.text, err);
    if (!statement)
        return false;
    sqlite3_bind_text(statement, 1, id, -1, SQLITE_STATIC);
    int step = sqlite3_step(statement);
    bool ok =
        step == SQLITE_ROW || step == SQLITE_DONE || sqlite_link_fail(writer->link, "read", err);
    *out_serial = step == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    *out_revision = step == SQLITE_ROW ? sqlite3_column_int64(statement, 1) : 0;
    sqlite_link_done(statement);
    return ok;
}

/* The next serial; if its digits become the id, one whose digits are not yet an id. */
static bool next_serial(struct sqlite_writer *writer, const struct record_type *type,
                        bool digits_are_id, int64_t *out, struct error *err)
{
    struct sql sql = {0};
    int64_t serial = 0, taken = 0, ignored;
    sql_add(&sql, "SELECT seq FROM sqlite_sequence WHERE name = '%s'", type->name);
    if (!sqlite_link_integer(writer->link, sql.text, &serial, err))
        return false;
    do {
        char digits[24];
        snprintf(digits, sizeof digits, "%lld", (long long)++serial);
        if (digits_are_id && !find(writer, type, digits, &taken, &ignored, err))
            return false;
    } while (taken != 0);
    *out = serial;
    return true;
}

static void bind_field(sqlite3_stmt *statement, int at, const void *record,
                       const struct record_field *field)
{
    if (field->type == FIELD_INTEGER)
        sqlite3_bind_int64(statement, at, *record_integer(record, field));
    else if (field->type == FIELD_REAL)
        sqlite3_bind_double(statement, at, *record_real(record, field));
    else
        sqlite3_bind_text(statement, at, *record_text(record, field), -1, SQLITE_STATIC);
}

static bool insert(struct sqlite_writer *writer, enum record_kind kind, const struct record *record,
                   struct error *err)
{
    const struct record_type *type = record_type(kind);
    struct sql sql = {0};
    int64_t serial;
    char digits[24];
    const char *id = record->id[0] != '\0' ? record->id : digits;
    if (!next_serial(writer, type, id == digits, &serial, err))
        return false;
    snprintf(digits, sizeof digits, "%lld", (long long)serial);
    sql_add(&sql, "INSERT INTO \"%s\"(", type->name);
    sql_add_columns(&sql, type);
    sql_add(&sql, ") VALUES (?1, ?2, ?3");
    for (uint32_t i = 0; i < type->field_count; i++)
        sql_add(&sql, ", ?%u", i + 4);
    sql_add(&sql, ")");
    sqlite3_stmt *statement = sqlite_link_prepare(writer->link, sql.text, err);
    if (!statement)
        return false;
    sqlite3_bind_int64(statement, 1, serial);
    sqlite3_bind_int64(statement, 2, ++writer->revision);
    sqlite3_bind_text(statement, 3, id, -1, SQLITE_STATIC);
    for (uint32_t i = 0; i < type->field_count; i++)
        bind_field(statement, (int)i + 4, record, &type->fields[i]);
    return step_done(writer, statement, err);
}

/* Whether a column differs from the record's field. */
static bool differs(sqlite3_stmt *statement, int at, const void *record,
                    const struct record_field *field)
{
    if (field->type == FIELD_INTEGER)
        return sqlite3_column_int64(statement, at) != *record_integer(record, field);
    if (field->type == FIELD_REAL)
        return sqlite3_column_double(statement, at) != *record_real(record, field);
    const char *text = (const char *)sqlite3_column_text(statement, at);
    return !text || strcmp(text, *record_text(record, field)) != 0;
}

/* Writes only the fields that change: each changed field updates its index, and most puts change
 * one or two of twenty. */
static bool update(struct sqlite_writer *writer, enum record_kind kind, const struct record *record,
                   int64_t serial, struct error *err)
{
    const struct record_type *type = record_type(kind);
    struct sql sql = {0};
    bool changes[64];
    assert(type->field_count <= sizeof changes);
    sql_add(&sql, "SELECT ");
    sql_add_columns(&sql, type);
    sql_add(&sql, " FROM \"%s\" WHERE serial = ?1", type->name);
    sqlite3_stmt *there = sqlite_link_prepare(writer->link, sql.text, err);
    if (!there)
        return false;
    sqlite3_bind_int64(there, 1, serial);
    bool ok = sqlite3_step(there) == SQLITE_ROW || sqlite_link_fail(writer->link, "read", err);
    sql = (struct sql){0};
    sql_add(&sql, "UPDATE \"%s\" SET revision = ?2", type->name);
    for (uint32_t i = 0; ok && i < type->field_count; i++) {
        changes[i] = differs(there, (int)i + 3, record, &type->fields[i]);
        if (changes[i])
            sql_add(&sql, ", \"%s\" = ?%u", type->fields[i].name, i + 4);
    }
    sql_add(&sql, " WHERE serial = ?1");
    sqlite_link_done(there);
    sqlite3_stmt *statement = ok ? sqlite_link_prepare(writer->link, sql.text, err) : NULL;
    if (!statement)
        return false;
    sqlite3_bind_int64(statement, 1, serial);
    sqlite3_bind_int64(statement, 2, ++writer->revision);
    for (uint32_t i = 0; i < type->field_count; i++)
        if (changes[i])
            bind_field(statement, (int)i + 4, record, &type->fields[i]);
    return step_done(writer, statement, err);
}

static bool remove_serial(struct sqlite_writer *writer, const struct record_type *type,
                          int64_t serial, struct error *err)
{
    struct sql sql = {0};
    sql_add(&sql, "DELETE FROM \"%s\" WHERE serial = ?1", type->name);
    sqlite3_stmt *statement = sqlite_link_prepare(writer->link, sql.text, err);
    if (!statement)
        return false;
    sqlite3_bind_int64(statement, 1, serial);
    return step_done(writer, statement, err);
}

static bool apply(struct sqlite_writer *writer, const struct change *change, struct error *err)
{
    const struct record *record = change->record;
    const struct record_type *type = record_type(change->kind);
    int64_t serial = 0, revision = 0;
    if (record->id[0] != '\0' && !find(writer, type, record->id, &serial, &revision, err))
        return false;
    if (!expectation_holds(change, revision, err))
        return false;
    if (change->remove)
        return serial == 0 || remove_serial(writer, type, serial, err);
    return serial == 0 ? insert(writer, change->kind, record, err)
                       : update(writer, change->kind, record, serial, err);
}

/* Applies all changes of a request, or none. */
static bool apply_all(struct sqlite_writer *writer, const struct request *request,
                      struct error *err)
{
    int64_t revision = writer->revision;
    if (!sqlite_link_run(writer->link, "SAVEPOINT one", err))
        return false;
    for (uint32_t i = 0; i < request->count; i++) {
        if (apply(writer, &request->changes[i], err))
            continue;
        writer->revision = revision;
        /* Failures other than a conflict end the transaction, and may have done so already. */
        struct error undone;
        if (err->code == ERR_CONFLICT &&
            (!sqlite_link_run(writer->link, "ROLLBACK TO one", &undone) ||
             !sqlite_link_run(writer->link, "RELEASE one", &undone)))
            *err = undone;
        return false;
    }
    return sqlite_link_run(writer->link, "RELEASE one", err);
}

static bool save_revision(struct sqlite_writer *writer, struct error *err)
{
    sqlite3_stmt *statement =
        sqlite_link_prepare(writer->link, "UPDATE revisions SET last = ?1", err);
    if (!statement)
        return false;
    sqlite3_bind_int64(statement, 1, writer->revision);
    return step_done(writer, statement, err);
}

/* Runs one transaction for the whole list. False: it failed with *err, whatever the requests'
 * results are. */
static bool transact(struct sqlite_writer *writer, struct request *list, struct error *err)
{
    struct sqlite_link *link = writer->link;
    bool ok = sqlite_link_run(link, "BEGIN IMMEDIATE", err) &&
              sqlite_link_integer(link, "SELECT last FROM revisions", &writer->revision, err);
    bool changed = false;
    for (struct request *request = list; ok && request; request = request->next) {
        request->ok = apply_all(writer, request, &request->err);
        changed = changed || request->ok;
        if (!request->ok && request->err.code != ERR_CONFLICT) {
            *err = request->err;
            ok = false;
        }
    }
    if (ok && changed)
        ok = save_revision(writer, err) && sqlite_link_run(link, "COMMIT", err);
    struct error ignored;
    if (!sqlite3_get_autocommit(link->db))
        (void)sqlite_link_run(link, "ROLLBACK", &ignored);
    pthread_mutex_lock(&writer->mutex);
    writer->transactions += ok && changed;
    pthread_mutex_unlock(&writer->mutex);
    return ok;
}

static void serve(struct sqlite_writer *writer, struct request *list)
{
    struct error err;
    if (transact(writer, list, &err))
        return;
    bool apart = (err.code == ERR_LIMIT || err.code == ERR_SPACE) && list->next;
    for (struct request *request = list, *next; request; request = next) {
        next = request->next;
        request->next = NULL;
        struct error reason = err;
        if (!apart || !transact(writer, request, &reason)) {
            request->ok = false;
            request->err = reason;
        }
        request->next = next;
    }
}

/* Takes the waiting requests as a list; NULL: stopping, and none is left. The lock is held. */
static struct request *take(struct sqlite_writer *writer)
{
    while (!writer->first && !writer->stopping)
        pthread_cond_wait(&writer->work, &writer->mutex);
    struct request *list = writer->first, *end = list;
    for (int count = 1; end && end->next && count < GROUP_MOST; count++)
        end = end->next;
    writer->first = end ? end->next : NULL;
    if (!writer->first)
        writer->last = &writer->first;
    if (end)
        end->next = NULL;
    return list;
}

/* Runs ANALYZE, which samples how selective each index is. Without it SQLite may choose any usable
 * index, such as that of a status which all records have. Repeated whenever the number of revisions
 * has doubled. */
static void survey(struct sqlite_writer *writer)
{
    struct error ignored;
    if (writer->revision < writer->next_survey)
        return;
    writer->next_survey = 2 * writer->revision;
    if (!sqlite_link_run(writer->link, "PRAGMA analysis_limit = 400", &ignored) ||
        !sqlite_link_run(writer->link, "ANALYZE", &ignored))
        return;
    pthread_mutex_lock(&writer->mutex);
    writer->surveys++;
    pthread_mutex_unlock(&writer->mutex);
}

static void *writer_main(void *context)
{
    struct sqlite_writer *writer = context;
    pthread_mutex_lock(&writer->mutex);
    for (struct request *list; (list = take(writer)) != NULL;) {
        pthread_mutex_unlock(&writer->mutex);
        serve(writer, list);
        pthread_mutex_lock(&writer->mutex);
        for (struct request *request = list; request; request = request->next) {
            request->answered = true; /* its owner continues when the lock is released */
            pthread_cond_signal(&request->answer);
        }
        pthread_mutex_unlock(&writer->mutex);
        survey(writer);
        pthread_mutex_lock(&writer->mutex);
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

struct sqlite_writer *sqlite_writer_start(struct sqlite_link *link, struct error *err)
{
    struct sqlite_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        sqlite_link_close(link);
        fail(err, ERR_NOMEM, "no memory for a thread that writes");
        return NULL;
    }
    writer->link = link;
    writer->last = &writer->first;
    writer->next_survey = SURVEY_FIRST;
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_cond_init(&writer->work, NULL);
    if (pthread_create(&writer->thread, NULL, writer_main, writer) == 0)
        return writer;
    fail(err, ERR_NOMEM, "no thread to write catalogue '%.200s'", link->path);
    pthread_cond_destroy(&writer->work);
    pthread_mutex_destroy(&writer->mutex);
    sqlite_link_close(link);
    free(writer);
    return NULL;
}

void sqlite_writer_stop(struct sqlite_writer *writer)
{
    if (!writer)
        return;
    pthread_mutex_lock(&writer->mutex);
    writer->stopping = true;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->work);
    pthread_mutex_destroy(&writer->mutex);
    sqlite_link_close(writer->link);
    free(writer);
}

bool sqlite_writer_commit(struct sqlite_writer *writer, const struct change *changes,
                          uint32_t count, struct error *err)
{
    struct request request = {.changes = changes, .count = count};
    pthread_cond_init(&request.answer, NULL);
    pthread_mutex_lock(&writer->mutex);
    *writer->last = &request;
    writer->last = &request.next;
    pthread_cond_signal(&writer->work);
    while (!request.answered)
        pthread_cond_wait(&request.answer, &writer->mutex);
    pthread_mutex_unlock(&writer->mutex);
    pthread_cond_destroy(&request.answer);
    if (!request.ok)
        *err = request.err;
    return request.ok;
}

uint64_t sqlite_writer_transactions(struct sqlite_writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    uint64_t transactions = writer->transactions;
    pthread_mutex_unlock(&writer->mutex);
    return transactions;
}

uint64_t sqlite_writer_surveys(struct sqlite_writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    uint64_t surveys = writer->surveys;
    pthread_mutex_unlock(&writer->mutex);
    return surveys;
}
