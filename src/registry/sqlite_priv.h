/* The parts of the SQLite driver: a connection with its prepared statements, the schema, and the
 * thread that writes. */
#ifndef URZA_REGISTRY_SQLITE_PRIV_H
#define URZA_REGISTRY_SQLITE_PRIV_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/error.h"
#include "registry/catalogue.h"

#define SQLITE_STATEMENTS_MOST 64 /* kept prepared by one connection */
#define SQLITE_BUSY_MS 10000      /* how long other processes' writing is waited for */
#define SQLITE_SQL_BYTES 4096

/* SQL under construction: names from records.def and parameters, never a value. Its end is kept in
 * bounds by assertion. */
struct sql {
    char text[SQLITE_SQL_BYTES];
    size_t size_bytes;
};
void sql_add(struct sql *sql, const char *fmt, ...) URZA_PRINTF(2, 3);
/* "serial, revision, id" and all fields of the kind. */
void sql_add_columns(struct sql *sql, const struct record_type *type);

/* A connection. One thread at a time. */
struct sqlite_link {
    sqlite3 *db;
    const char *path; /* borrowed, for messages */
    struct {
        uint64_t hash, used; /* of its SQL; when it was used last, in `uses` */
        sqlite3_stmt *statement;
    } kept[SQLITE_STATEMENTS_MOST];
    uint64_t uses;
    uint64_t surveys;         /* of a reader's: the writer's when it was opened */
    struct sqlite_link *next; /* in a list of idle ones */
};

/* The file must be there. Fails as all of these do: ERR_IO, ERR_LIMIT, ERR_BUSY, ERR_NOMEM. */
struct sqlite_link *sqlite_link_open(const char *path, struct error *err);
void sqlite_link_close(struct sqlite_link *link);
/* Fills *err from what the connection says of its last call. Returns false. */
bool sqlite_link_fail(struct sqlite_link *link, const char *doing, struct error *err);
/* Runs SQL without parameters, whose rows do not matter. */
bool sqlite_link_run(struct sqlite_link *link, const char *sql, struct error *err);
/* The statement of this SQL, ready to be bound; sqlite_link_done after its use. NULL: failed. */
sqlite3_stmt *sqlite_link_prepare(struct sqlite_link *link, const char *sql, struct error *err);
void sqlite_link_done(sqlite3_stmt *statement); /* NULL is fine */
/* The first column of the first row; *out is 0 where there is no row. */
bool sqlite_link_integer(struct sqlite_link *link, const char *sql, int64_t *out,
                         struct error *err);

/* Makes or migrates the tables, and sets up writing ahead. ERR_UNSUPPORTED: of a later version;
 * ERR_IO: of another program. */
bool sqlite_schema_open(struct sqlite_link *link, struct error *err);
/* Whether what is in the file is whole and its serials and revisions are what they must be. */
bool sqlite_schema_check(struct sqlite_link *link, struct error *err);

struct sqlite_writer;
/* Takes the link, also when it fails. */
struct sqlite_writer *sqlite_writer_start(struct sqlite_link *link, struct error *err);
void sqlite_writer_stop(struct sqlite_writer *writer); /* NULL is fine; nothing may be waiting */
/* Waits until the changes are on the disk. Any number of threads. */
bool sqlite_writer_commit(struct sqlite_writer *writer, const struct change *changes,
                          uint32_t count, struct error *err);
/* Transactions that reached the disk so far. */
uint64_t sqlite_writer_transactions(struct sqlite_writer *writer);
/* How often it looked into the indexes: a connection that is older than the last time does not know
 * what was found. */
uint64_t sqlite_writer_surveys(struct sqlite_writer *writer);

/* The writer of a catalogue of this driver, for its test. */
struct sqlite_writer *catalogue_sqlite_writer(struct catalogue *catalogue);

#endif
