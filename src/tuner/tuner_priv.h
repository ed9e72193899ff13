/* Inside the tuner: records, the table of entries, the cache file, measuring.
 *
 * A record is canonical JSON, so that equal kernels have equal bytes. All memory comes from arenas,
 * and allocation jumps out of the function (longjmp) when memory runs out; so whatever else a
 * function must release is registered with the arena (arena_own). Public functions run their work
 * in a visit (visit_priv.h), which catches the jump. */
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

/* config_json.c: {"columns":32,"rows":12}; numbers that are 0 are omitted. Reading rejects unknown
 * keys and values out of range with ERR_JSON; the error's place is the key. */
void config_print(const struct config *config, struct strbuf *out);
bool config_read(const json_t *object, struct config *out, struct error *err);
bool config_parse(const char *text, struct config *out, struct error *err);
void config_schema_print(struct strbuf *out);

/* device.c: the properties of this machine for which its measurements are valid, as canonical JSON;
 * the SHA-256 of the JSON is the fingerprint. */
struct device {
    const char *json;
    char fingerprint[SHA256_HEX_BYTES];
};
void device_ask(struct arena *arena, struct device *out);

/* invocation.c: a kernel taken out of its graph. Its own graph has an input for everything that it
 * reads from memory, and one output; the compiler's cut makes one group of it again. */
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
/* A kernel from the text of its graph (graph.h). ERR_PARSE and other errors of parsing, ERR_TARGET
 * for an unknown target, ERR_UNSUPPORTED if the cut does not make exactly one kernel of it. */
bool case_parse(const char *graph, const char *target, struct arena *arena, struct kernel_case *out,
                struct error *err);
bool invocation_of_case(const struct kernel_case *kernel, struct arena *arena,
                        struct invocation *out, struct error *err);
/* ERR_UNSUPPORTED if the kernel outside its graph would not be the same kernel. */
bool invocation_make(const struct kernel_question *question, struct arena *arena,
                     struct invocation *out, struct error *err);
/* Reads a record: ERR_JSON, ERR_PARSE or similar if it is invalid; ERR_TARGET for an unknown
 * target, ERR_UNSUPPORTED for one of another compiler version. Each of the outputs may be NULL. */
bool invocation_read(const char *json, size_t size, struct arena *arena, struct invocation *out,
                     struct kernel_case *out_case, struct error *err);

/* table.c: all entries of one device, by key. */
struct entry {
    char key[SHA256_HEX_BYTES];
    char device[SHA256_HEX_BYTES];
    const char *invocation; /* canonical JSON */
    bool measured;          /* the fields below are set */
    struct config config;
    double ns, heuristic_ns; /* median time of one run: of config, of the default config */
    int64_t at;              /* when it was measured, in seconds since 1970 */
    const char *timings;     /* canonical JSON array of {config, ns, samples, state} */
};
struct table {
    struct arena *arena;
    struct strmap by_key;
    VEC(struct entry *) entries;
};
void table_init(struct table *table, struct arena *arena);
struct entry *table_find(const struct table *table, const char *key); /* NULL: there is none */
/* Adds a copy of the entry. Of two entries with the same key the table has the measured one; of two
 * measured ones the later; of two of the same time the faster. Returns whether the table changed.
 * The order of merging does not matter. */
bool table_merge(struct table *table, const struct entry *entry);
/* {"config", "invocation", "measured"}: the JSON of an entry in urza_tuner_show and, with its
 * device, in a line of the file. */
void entry_print(const struct entry *entry, struct strbuf *out);

/* cache_text.c: entries as text, one a line, each line with its checksum:
 *   CHECKSUM urza.tuning/1 entries N
 *   CHECKSUM {"config":{…},"device":"…","invocation":{…},"measured":{…}}
 * A line is valid if its checksum is the SHA-256 of the text that follows it. */
#define CACHE_FORMAT "urza.tuning/1"
struct cache_damage {
    uint32_t lines;   /* lines skipped; an invalid first line or count is one */
    char message[96]; /* the reason for the first of them */
};
void cache_print(const struct table *table, struct strbuf *out);
/* Adds all valid entries to *into. device: a fingerprint; entries of other devices count as damage;
 * NULL: any device. False, with ERR_UNSUPPORTED, only for a newer format. */
bool cache_parse(const char *text, size_t size, const char *device, struct table *into,
                 struct cache_damage *out, struct error *err);

/* cache_file.c: one file for each device in a folder that many processes share. A change is made
 * under a lock: read the file, merge, write a new file, rename. Reading needs no lock. The only
 * failure is lack of memory, in which case the table's arena jumps: other problems become warnings,
 * and the caller continues with the entries it has. Several threads may use the same struct.
 * Waiting for the lock, the disk or a warning callback may take long, so these functions must not
 * be called with a mutex locked. */
struct cache_file {
    const char *folder, *path; /* NULL: no cache on disk */
    char device[SHA256_HEX_BYTES];
};
struct cache_stamp { /* differs if the file was replaced */
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
/* Merges the file into the table; false if it could not be read. A damaged file is repaired, unless
 * another process has the lock. */
bool cache_file_read(const struct cache_file *file, struct table *table,
                     const struct warner *warner);
/* Merges the table's entries into the file. wait: wait for the lock if another process has it;
 * otherwise return false in that case. */
bool cache_file_merge(const struct cache_file *file, const struct table *changes, bool wait,
                      const struct warner *warner);
/* Deletes from the file the entries for which drop returns true; returns their number. Waits for
 * the lock. */
uint32_t cache_file_remove(const struct cache_file *file, struct arena *arena,
                           bool (*drop)(void *context, const struct entry *entry), void *context,
                           const struct warner *warner);

/* kernel.c: a kernel with its own buffers, on which candidates are built, run and checked. */
struct bench;
/* Makes operands at dim_typical of the dims and the reference that results are compared with: the
 * interpreter's result for small kernels, for which the default config is checked too, and
 * otherwise the result of the default config. The candidates are those of sched_space; number 0 is
 * the default. ERR_TARGET if this machine cannot run the code, ERR_LIMIT if the kernel is too large
 * to be measured. The arena releases the bench; bench_free releases the memory of its candidates
 * earlier. */
bool bench_new(struct kernel_case *kernel, uint32_t candidates_max, struct arena *arena,
               struct bench **out, struct error *err);
void bench_free(struct bench *bench);
uint32_t bench_count(const struct bench *bench);
const struct config *bench_config(const struct bench *bench, uint32_t candidate);
urza_search_space bench_space(struct bench *bench);
/* Lowers the kernel again and fills the question to which a chooser answers with a config. */
bool case_question(struct kernel_case *kernel, struct arena *arena, struct nest *nest,
                   struct kernel_question *out, struct error *err);

/* tune.c: measures a kernel; *out is a measured entry whose device is not set; texts in arena. */
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

/* scope.c: rules, which take precedence over the cache. */
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
/* key "": the kernel has no record; rules may still match its op. */
const struct config *rules_find(const struct rules *rules, const char *key, const char *op);

struct scope {
    pthread_t owner;
    bool is_policy;
    urza_tune_policy policy;
    struct rules rules;
};
struct scopes {
    VEC(struct scope *) open; /* of all threads, in the order in which they were opened */
};
/* Opens a scope of this thread with a copy of those rules (NULL: none). */
struct scope *scopes_push(struct scopes *scopes, struct arena *arena, bool is_policy,
                          const struct rules *rules);
struct scope *scopes_top(const struct scopes *scopes, bool is_policy); /* the innermost one of this
                                                                          thread, or NULL */
bool scopes_pop(struct scopes *scopes, bool is_policy);
const struct config *scopes_find(const struct scopes *scopes, const char *key, const char *op);
void scopes_copy(struct scopes *to, struct arena *arena, const struct scopes *from);

/* api.c */
int tune_result(bool ok, const struct error *from, urza_error *err);
/* *out is a malloc'd copy of the text, which belongs to the caller. */
bool tune_give(const struct strbuf *text, char **out, struct error *err);

#endif
