/* The catalogue: records of a few kinds (records.def), each with an id, stored persistently. An
 * interface with three drivers: SQLite, memory (for tests), and one that injects faults into
 * another.
 *
 * A store does not know what records mean. It stores them, finds them by id, lists them by fields,
 * and changes several at once. A commit is atomic for all readers, and once it has returned true it
 * survives a power cut. A change can require that the record was not changed by others in between
 * (enum expect). Everything else (statuses, versions, leases) is built on top.
 *
 * Any number of threads. Returned records live in the caller's arena. Drivers run on the caller's
 * thread or wait for a thread of their own: calls may block on the disk. */
#ifndef URZA_REGISTRY_CATALOGUE_H
#define URZA_REGISTRY_CATALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct arena;

enum record_kind {
    RECORD_NONE,
#define RECORD(kind, doc) RECORD_##kind,
#define FIELD(kind, type, name, use, doc)
#define END(kind)
#include "registry/records.def"
#undef RECORD
#undef FIELD
#undef END
    RECORD_COUNT
};

/* The first member of every record. */
struct record {
    const char *id;   /* 1 … 200 bytes without control characters; "" when put with EXPECT_NEW: the
                         store uses the decimal digits of the serial */
    int64_t serial;   /* assigned at the first put, increasing, never reused; later puts keep it */
    int64_t revision; /* assigned by each put, increasing over all records of the store: a record
                         that is removed and put again never has an earlier revision */
};

#define RECORD_TEXT const char *
#define RECORD_LIST const char *
#define RECORD_JSON const char *
#define RECORD_INTEGER int64_t
#define RECORD_REAL double
#define RECORD(kind, doc)  \
    struct kind##_record { \
        struct record head;
#define FIELD(kind, type, name, use, doc) RECORD_##type name;
#define END(kind) \
    }             \
    ;
#include "registry/records.def"
#undef RECORD
#undef FIELD
#undef END

enum field_type { FIELD_NONE, FIELD_TEXT, FIELD_LIST, FIELD_JSON, FIELD_INTEGER, FIELD_REAL };
struct record_field {
    const char *name;
    enum field_type type;
    bool find;     /* queries may filter by it */
    bool one_of;   /* doc is the list of its values, separated by ", " */
    bool object;   /* the digest of an object that the record refers to; "" for none */
    bool known;    /* 0 means unknown */
    bool secret;   /* not shown to clients */
    size_t offset; /* offset in the record's struct */
    const char *doc;
};
struct record_type {
    const char *name; /* "kernel" */
    const char *doc;
    size_t size; /* size of the record's struct */
    const struct record_field *fields;
    uint32_t field_count;
};
const struct record_type *record_type(enum record_kind kind);
/* NULL if the kind has no field of that name. */
const struct record_field *record_field(enum record_kind kind, const char *name);
/* A new record in arena: texts are "", numbers 0. */
void *record_new(enum record_kind kind, struct arena *arena);
/* A copy of a record with all its texts. */
void *record_copy(enum record_kind kind, const void *record, struct arena *arena);
/* ERR_BUG if a text is NULL or not UTF-8, a LIST is malformed, a REAL is not a number, or the id is
 * invalid ("" is valid here); ERR_LIMIT above LIMIT_RECORD_BYTES. */
bool record_check(enum record_kind kind, const void *record, struct error *err);

enum expect {
    EXPECT_ANY,
    EXPECT_NEW, /* no record has the id */
    EXPECT_SAME /* the record in the store has this record's revision */
};
struct change {
    enum record_kind kind;
    enum expect expect;
    bool remove; /* of `record` only id (and revision) are used; removing an absent record succeeds,
                    except with EXPECT_SAME */
    const void *record; /* a struct KIND_record */
};

enum filter_op {
    FILTER_NONE,
    FILTER_IS,       /* TEXT, INTEGER */
    FILTER_IS_NOT,   /* TEXT, INTEGER */
    FILTER_HAS,      /* LIST: contains the word; matches nothing for "" or a text with a comma */
    FILTER_AT_LEAST, /* INTEGER, REAL */
    FILTER_AT_MOST   /* INTEGER, REAL */
};
struct filter {
    const char *field;
    enum filter_op op;
    const char *text; /* for TEXT, LIST */
    double number;    /* for INTEGER, REAL */
};
#define FILTERS_MOST 32

/* Records that pass all filters, by increasing serial, or by decreasing. */
struct query {
    enum record_kind kind;
    const struct filter *filters;
    uint32_t filter_count;
    bool newest_first;
    int64_t after;  /* only serials after this one in that order; 0: from the start */
    uint32_t limit; /* largest number of records, 1 … 1,000 */
};
struct records {
    void **items; /* struct KIND_record * */
    uint32_t count;
};
struct totals {
    int64_t count;
    double sum; /* of the requested field */
};

struct catalogue;

struct catalogue_driver {
    const char *name; /* as in "sqlite:PATH" */
    /* place: the URL after the colon. Creates the store if it does not exist. ERR_IO, ERR_NOMEM;
     * ERR_UNSUPPORTED for a store of a later version. */
    bool (*open)(const char *place, struct catalogue **out, struct error *err);
    void (*close)(struct catalogue *catalogue);
    /* Applies changes in order; ids may occur repeatedly. ERR_CONFLICT: an expectation did not
     * hold, nothing changed. ERR_IO: nothing changed, or everything (a store may die after the
     * commit, before the answer); a caller that must know reads again. ERR_SPACE (the disk is
     * full), ERR_BUSY (other processes keep writing), ERR_NOMEM: nothing changed. Does not fill
     * serial and revision of the given records; callers that need them read again. */
    bool (*commit)(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                   struct error *err);
    /* *out NULL: no such record. All reading members: ERR_IO; ERR_NOMEM also when the arena is out
     * of memory, whatever its oom is. */
    bool (*get)(struct catalogue *catalogue, enum record_kind kind, const char *id,
                struct arena *arena, void **out, struct error *err);
    bool (*list)(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                 struct records *out, struct error *err);
    /* Counts the records that pass the query's filters, and sums a numeric field of them (NULL:
     * none). Order, after and limit are ignored. */
    bool (*total)(struct catalogue *catalogue, const struct query *query, const char *field,
                  struct totals *out, struct error *err);
    /* Checks the integrity of the store; ERR_IO describes the damage. */
    bool (*check)(struct catalogue *catalogue, struct error *err);
};

/* The first member of a driver's own struct. */
struct catalogue {
    const struct catalogue_driver *driver;
};

/* url: "sqlite:PATH" or "memory:". ERR_USAGE for an unknown driver. */
bool catalogue_open(const char *url, struct catalogue **out, struct error *err);
void catalogue_close(struct catalogue *catalogue); /* accepts NULL */

/* As the driver's members, after checking arguments: fails as record_check; ERR_BUG for the removal
 * of a new record, and for queries by an unknown field, one that cannot be queried, or with the
 * wrong op. No changes at all are allowed. */
bool catalogue_commit(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                      struct error *err);
bool catalogue_get(struct catalogue *catalogue, enum record_kind kind, const char *id,
                   struct arena *arena, void **out, struct error *err);
bool catalogue_list(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                    struct records *out, struct error *err);
bool catalogue_total(struct catalogue *catalogue, const struct query *query, const char *field,
                     struct totals *out, struct error *err);
bool catalogue_check(struct catalogue *catalogue, struct error *err);

#endif
