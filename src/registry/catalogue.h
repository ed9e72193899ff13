/* The catalogue: records of a few kinds (records.def), each with an id, in a store that outlives
 * the process. A contract with drivers: SQLite, memory (for tests), and one that makes another
 * fail.
 *
 * A store knows nothing of what records mean. It keeps them, finds them by id, lists them by
 * fields, and changes several at once: all of a commit or nothing of it is seen, by anybody, ever,
 * and once it returned true it outlives a power cut. What may be changed only if nobody else did it
 * since is said by the change (enum expect). Everything else, statuses, versions, leases, stands
 * above.
 *
 * Any number of threads. Records that come back live in the caller's arena. Drivers must run on the
 * caller's thread or wait for their own: calls may block for as long as a disk does. */
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

/* What every record begins with. */
struct record {
    const char *id;   /* 1 … 200 bytes without control characters; "" when put with EXPECT_NEW: the
                         store takes the serial's decimal digits */
    int64_t serial;   /* given at the first put, rising, never given again; kept by later puts */
    int64_t revision; /* given by each put, rising over all records of the store: an id that is
                         removed and put again never has an earlier revision again */
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
    bool find;     /* queries may name it */
    bool one_of;   /* doc is the list of its values, between ", " */
    bool object;   /* the digest of an object that it needs; "" for none */
    bool known;    /* 0 says that nothing is known */
    bool secret;   /* no client is shown it */
    size_t offset; /* in its record's struct */
    const char *doc;
};
struct record_type {
    const char *name; /* "kernel" */
    const char *doc;
    size_t size; /* of its struct */
    const struct record_field *fields;
    uint32_t field_count;
};
const struct record_type *record_type(enum record_kind kind);
/* NULL where the kind has no field of that name. */
const struct record_field *record_field(enum record_kind kind, const char *name);
/* An empty record in arena: texts "", numbers 0. */
void *record_new(enum record_kind kind, struct arena *arena);
/* A copy of it with all its texts. */
void *record_copy(enum record_kind kind, const void *record, struct arena *arena);
/* ERR_BUG where a text is NULL or not UTF-8, a LIST is no list, a REAL is not a number or the id is
 * none ("" is one here); ERR_LIMIT beyond LIMIT_RECORD_BYTES. */
bool record_check(enum record_kind kind, const void *record, struct error *err);

enum expect {
    EXPECT_ANY,
    EXPECT_NEW, /* no record has the id */
    EXPECT_SAME /* the record has the revision that this one has */
};
struct change {
    enum record_kind kind;
    enum expect expect;
    bool remove;        /* of record only id (and revision) are read; gone already is fine, but for
                           EXPECT_SAME */
    const void *record; /* struct KIND_record */
};

enum filter_op {
    FILTER_NONE,
    FILTER_IS,       /* TEXT, INTEGER */
    FILTER_IS_NOT,   /* TEXT, INTEGER */
    FILTER_HAS,      /* LIST: the word is in it; never for "" or with a comma */
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

/* Records that pass all filters, by rising serial, or by falling. */
struct query {
    enum record_kind kind;
    const struct filter *filters;
    uint32_t filter_count;
    bool newest_first;
    int64_t after;  /* only serials behind this one in that order; 0: from the start */
    uint32_t limit; /* at most so many; 1 … 1,000 */
};
struct records {
    void **items; /* struct KIND_record * */
    uint32_t count;
};
struct totals {
    int64_t count;
    double sum; /* of the field asked for */
};

struct catalogue;

struct catalogue_driver {
    const char *name; /* as in "sqlite:PATH" */
    /* place: what stands behind the colon. Makes what is not there yet. ERR_IO, ERR_NOMEM;
     * ERR_UNSUPPORTED for a store of a later version. */
    bool (*open)(const char *place, struct catalogue **out, struct error *err);
    void (*close)(struct catalogue *catalogue);
    /* In order; ids may occur again and again. ERR_CONFLICT: an expectation did not hold, nothing
     * changed. ERR_IO: nothing changed, or all of it (a store may die between doing and saying):
     * who must know looks again. ERR_SPACE: none is left; ERR_BUSY: other processes write without
     * end; ERR_NOMEM: nothing changed. Fills serial and revision of nothing: who needs them reads
     * again. */
    bool (*commit)(struct catalogue *catalogue, const struct change *changes, uint32_t count,
                   struct error *err);
    /* *out NULL: no such record. For all that read: ERR_IO; ERR_NOMEM also where the arena has no
     * more, whatever its oom says. */
    bool (*get)(struct catalogue *catalogue, enum record_kind kind, const char *id,
                struct arena *arena, void **out, struct error *err);
    bool (*list)(struct catalogue *catalogue, const struct query *query, struct arena *arena,
                 struct records *out, struct error *err);
    /* How many records pass the query's filters, and the sum of a field of numbers (NULL: none)
     * over them. Order, after and limit do not count. */
    bool (*total)(struct catalogue *catalogue, const struct query *query, const char *field,
                  struct totals *out, struct error *err);
    /* Looks whether what the store holds is whole; ERR_IO says what is not. */
    bool (*check)(struct catalogue *catalogue, struct error *err);
};

/* What a driver's own struct begins with. */
struct catalogue {
    const struct catalogue_driver *driver;
};

/* url: "sqlite:PATH" or "memory:". ERR_USAGE for a driver that is none. */
bool catalogue_open(const char *url, struct catalogue **out, struct error *err);
void catalogue_close(struct catalogue *catalogue); /* NULL is fine */

/* As the driver's members, with arguments checked first: what record_check refuses; ERR_BUG for a
 * removal of something new and for queries that name no field, one that is not to be found, or the
 * wrong op. No changes at all are fine. */
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
