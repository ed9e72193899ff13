/* Inside the tuner: records, the table of what is known, the cache file, measuring.
 *
 * A record is canonical JSON, so that equal things are equal bytes. All memory is an arena's, which
 * jumps where it runs out of it: what a function must give back besides, it hands to the arena
 * (arena_own). Who may be called from outside works in a visit, where the jump ends. */
#ifndef URZA_TUNER_TUNER_PRIV_H
#define URZA_TUNER_TUNER_PRIV_H

#include <jansson.h>
#include <pthread.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/map.h"
#include "compiler/opt/opt.h"
#include "compiler/sched/sched.h"
#include "tuner/tuner.h"

struct error;
struct strbuf;

/* config_json.c: {"columns":32,"rows":12}; what is 0 is left out. Reading refuses unknown keys and
 * values out of range with ERR_JSON, the key as place. */
void config_print(const struct config *config, struct strbuf *out);
bool config_read(const json_t *object, struct config *out, struct error *err);
bool config_parse(const char *text, struct config *out, struct error *err);
void config_schema_print(struct strbuf *out);

/* device.c: what measurements on this machine are valid for, canonical JSON; its SHA-256 is the
 * fingerprint. */
struct device {
    const char *json;
    char fingerprint[SHA256_HEX_BYTES];
};
void device_ask(struct arena *arena, struct device *out);

/* invocation.c: a kernel by itself. Its graph has an input for everything it reads from memory and
 * one output; cut by the compiler's own rules it is one group again. */
struct invocation {
    char key[SHA256_HEX_BYTES];
    const char *json, *op;
};
struct kernel_case {
    struct graph graph;
    struct partition partition;
    const struct group *group;
    const struct target *target;
    struct sched_hint hint;
};
/* A kernel from the text of its graph (graph.h). ERR_PARSE …, ERR_TARGET for an unknown target,
 * ERR_UNSUPPORTED when it is not exactly one kernel. */
bool case_parse(const char *graph, const char *target, struct arena *arena, struct kernel_case *out,
                struct error *err);
bool invocation_of_case(const struct kernel_case *kernel, struct arena *arena,
                        struct invocation *out, struct error *err);
/* ERR_UNSUPPORTED when the kernel cannot stand by itself. */
bool invocation_make(const struct kernel_question *question, struct arena *arena,
                     struct invocation *out, struct error *err);
/* Reads a record: ERR_JSON, ERR_PARSE and so on for what is none; ERR_TARGET for an unknown target,
 * ERR_UNSUPPORTED for one of another compiler version. Each out may be NULL. */
bool invocation_read(const char *json, size_t size, struct arena *arena, struct invocation *out,
                     struct kernel_case *out_case, struct error *err);

/* table.c: all that is known of a device, by key. */
struct entry {
    char key[SHA256_HEX_BYTES];
    char device[SHA256_HEX_BYTES];
    const char *invocation; /* canonical JSON */
    bool measured;          /* what follows is there */
    struct config config;
    double ns, heuristic_ns; /* medians of one run */
    int64_t at;              /* when, in seconds since 1970 */
    const char *timings;     /* canonical JSON array of {config, ns, samples, state} */
};
struct table {
    struct arena *arena;
    struct strmap by_key;
    VEC(struct entry *) entries;
};
void table_init(struct table *table, struct arena *arena);
struct entry *table_find(const struct table *table, const char *key); /* NULL: absent */
/* Adds a copy of the entry, or lets it take the place of one with the same key: a measured one
 * before one that is not, then the later, then the faster. Whether anything changed. The order of
 * merging does not matter. */
bool table_merge(struct table *table, const struct entry *entry);
/* {"config", "invocation", "measured"}: what a line of the file holds, and is shown. */
void entry_print(const struct entry *entry, struct strbuf *out);

/* cache_text.c: entries as text, a line each, with its checksum:
 *   CHECKSUM urza.tuning/1 entries N
 *   CHECKSUM {"config":{…},"device":"…","invocation":{…},"measured":{…}}
 * A line is whole when its checksum, the SHA-256 of what follows it, fits. */
#define CACHE_FORMAT "urza.tuning/1"
struct cache_damage {
    uint32_t lines;   /* that were left out; a wrong first line or count is one, too */
    char message[96]; /* what was wrong with the first of them */
};
void cache_print(const struct table *table, struct strbuf *out);
/* Adds what is whole to *into. device: a fingerprint, entries of others are damage; NULL: any.
 * False, with ERR_UNSUPPORTED, for a newer format only. */
bool cache_parse(const char *text, size_t size, const char *device, struct table *into,
                 struct cache_damage *out, struct error *err);

/* cache_file.c: one file for each device in a folder that many processes share. A change is made
 * under a lock: read, merge, write beside, rename. Readers need no lock. Nothing here fails but for
 * lack of memory, where the table's arena jumps: what goes wrong is a warning, and the caller goes
 * on with what it has. Several threads may use the same struct; a lock, a disk or a warning may
 * keep them long, so not while they hold a mutex. */
struct cache_file {
    const char *folder, *path; /* NULL: there is none */
    char device[SHA256_HEX_BYTES];
};
struct cache_stamp { /* another one where the file was replaced */
    int64_t inode, size, mtime_ns;
};
typedef void warn_fn(void *context, const char *message);
struct warner {
    warn_fn *warn;
    void *context;
};
void cache_file_init(struct cache_file *file, struct arena *arena, const char *folder,
                     const char *fingerprint);
bool cache_file_stamp(const struct cache_file *file, struct cache_stamp *out); /* false: no file */
/* Merges the file into the table; false when nothing could be read. A damaged file is repaired,
 * unless somebody changes it just now. */
bool cache_file_read(const struct cache_file *file, struct table *table,
                     const struct warner *warner);
/* Merges the table's entries into the file. wait: until others let go of the lock; else false when
 * they do not at once. */
bool cache_file_merge(const struct cache_file *file, const struct table *changes, bool wait,
                      const struct warner *warner);
/* Takes the entries that drop agrees to out of the file; their number. Waits for the lock. */
uint32_t cache_file_remove(const struct cache_file *file, struct arena *arena,
                           bool (*drop)(void *context, const struct entry *entry), void *context,
                           const struct warner *warner);

/* kernel.c: a kernel on memory of its own, so that candidates can be built, run and checked. */
struct bench;
/* Makes operands at dim_typical of the dims and runs the default config, whose result is the
 * reference (for small kernels the interpreter's is, and the default is checked, too). The
 * candidates are those of sched_space; number 0 is the default. ERR_TARGET when this machine cannot
 * run the code, ERR_LIMIT when it is too large to be measured. The bench is the arena's;
 * bench_free gives back earlier what its candidates took. */
bool bench_new(struct kernel_case *kernel, uint32_t candidates_max, struct arena *arena,
               struct bench **out, struct error *err);
void bench_free(struct bench *bench);
uint32_t bench_count(const struct bench *bench);
const struct config *bench_config(const struct bench *bench, uint32_t candidate);
urza_search_space bench_space(struct bench *bench);
/* Lowers the kernel afresh, for asking its default config. */
bool case_question(struct kernel_case *kernel, struct arena *arena, struct nest *nest,
                   struct kernel_question *out, struct error *err);

/* tune.c: measures a kernel; *out is a measured entry of no device yet, texts in arena. */
struct tune_limits {
    double budget_s;
    uint32_t candidates_max;
    void (*on_progress)(void *user, const urza_tune_progress *progress);
    void *user;
};
bool tune_case(struct kernel_case *kernel, const struct invocation *invocation,
               const struct tune_limits *limits, struct arena *arena, struct entry *out,
               struct error *err);

/* search.c */
bool search(const urza_search_space *space, const urza_search_options *options,
            urza_search_row *rows, uint32_t *best, struct arena *arena, struct error *err);

/* scope.c: what overrides the cache, for a match. */
struct rule {
    const char *match; /* a key, an op, or "*" */
    struct config config;
};
struct rules {
    VEC(struct rule) rules;
};
void rules_set(struct rules *rules, struct arena *arena, const char *match,
               const struct config *config);
void rules_copy(struct rules *to, struct arena *arena, const struct rules *from);
bool rules_remove(struct rules *rules, const char *match);
/* key "": the kernel has no record. */
const struct config *rules_find(const struct rules *rules, const char *key, const char *op);

struct scope {
    pthread_t owner;
    bool is_policy;
    urza_tune_policy policy;
    struct rules rules;
};
struct scopes {
    VEC(struct scope *) open; /* of all threads, in the order of opening */
};
/* A scope of this thread with a copy of those rules (NULL: none). */
struct scope *scopes_push(struct scopes *scopes, struct arena *arena, bool is_policy,
                          const struct rules *rules);
struct scope *scopes_top(const struct scopes *scopes, bool is_policy); /* of this thread, or NULL */
bool scopes_pop(struct scopes *scopes, bool is_policy);
const struct config *scopes_find(const struct scopes *scopes, const char *key, const char *op);
void scopes_copy(struct scopes *to, struct arena *arena, const struct scopes *from);

/* api.c */
int tune_result(bool ok, const struct error *from, urza_error *err);
/* A malloc'd copy for the caller. */
bool tune_give(const struct strbuf *text, char **out, struct error *err);

#endif
