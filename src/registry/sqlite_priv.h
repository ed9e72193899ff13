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

#define SQLITE_STATEMENTS_MOST 64 /* per connection */
#define SQLITE_BUSY_MS 10000      /* how long to wait for other processes' writing */
#define SQLITE_SQL_BYTES 4096

/* SQL being built: names from records.def and parameters, never values. Overflow is prevented by
 * assertion. */
struct sql {
    char text[SQLITE_SQL_BYTES];
    size_t size_bytes;
};
void sql_add(struct sql *sql, const char *fmt, ...) URZA_PRINTF(2, 3);
/* Appends "serial, revision, id" and all fields of the kind. */
void sql_add_columns(struct sql *sql, const struct record_type *type);

/* A connection. One thread at a time. */
struct sqlite_link {
    sqlite3 *db;
    const char *path; /* borrowed, for messages */
    struct {
        uint64_t hash, used; /* of its SQL; time of last use, in units of `uses` */
        sqlite3_stmt *statement;
    } kept[SQLITE_STATEMENTS_MOST];
    uint64_t uses;
    uint64_t surveys;         /* for a reader: the writer's count of surveys when it was opened */
    struct sqlite_link *next; /* in a list of idle ones */
};

/* The file must exist. Fails as all of these functions do: ERR_IO, ERR_SPACE, ERR_LIMIT, ERR_BUSY,
 * ERR_NOMEM. */
struct sqlite_link *sqlite_link_open(const char *path, struct error *err);
void sqlite_link_close(struct sqlite_link *link);
/* Fills *err from the connection's last error. Returns false. */
bool sqlite_link_fail(struct sqlite_link *link, const char *doing, struct error *err);
/* Runs SQL without parameters, ignoring rows. */
bool sqlite_link_run(struct sqlite_link *link, const char *sql, struct error *err);
/* The prepared statement of this SQL, ready for binding; call sqlite_link_done after its use. NULL:
 * failed. */
sqlite3_stmt *sqlite_link_prepare(struct sqlite_link *link, const char *sql, struct error *err);
void sqlite_link_done(sqlite3_stmt *statement); /* accepts NULL */
/* Reads the first column of the first row; *out is 0 if there is no row. */
bool sqlite_link_integer(struct sqlite_link *link, const char *sql, int64_t *out,
                         struct error *err);

/* Creates or migrates the tables, and enables write-ahead logging. ERR_UNSUPPORTED: a later
 * version; ERR_IO: a file of another program. */
bool sqlite_schema_open(struct sqlite_link *link, struct error *err);
/* Checks the file's integrity, and the consistency of serials and revisions. */
bool sqlite_schema_check(struct sqlite_link *link, struct error *err);

struct sqlite_writer;
/* Takes ownership of the link, also on failure. */
struct sqlite_writer *sqlite_writer_start(struct sqlite_link *link, struct error *err);
void sqlite_writer_stop(struct sqlite_writer *writer); /* accepts NULL; no commit may be waiting */
/* Returns when the changes are on the disk. Any number of threads. */
bool sqlite_writer_commit(struct sqlite_writer *writer, const struct change *changes,
                          uint32_t count, struct error *err);
/* Number of transactions that have reached the disk. */
uint64_t sqlite_writer_transactions(struct sqlite_writer *writer);
/* How often the writer has run ANALYZE: connections opened before the last time do not know its
 * results. */
uint64_t sqlite_writer_surveys(struct sqlite_writer *writer);

/* The writer of a catalogue of this driver, for tests. */
struct sqlite_writer *catalogue_sqlite_writer(struct catalogue *catalogue);

#endif
