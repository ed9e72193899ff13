/* A tuner, and visits: calls of its public functions.
 *
 * Each public function runs its work in a visit. When memory runs out, in an arena of the visit or
 * of the tuner, the visit ends with ERR_NOMEM; it releases its memory and unlocks its mutexes. The
 * mutex guards the tuner's memory. No thread that has locked it reads or writes files, waits for
 * their lock, measures or calls back, so a thread that only asks for a config does not wait for any
 * of these. */
#ifndef URZA_TUNER_VISIT_PRIV_H
#define URZA_TUNER_VISIT_PRIV_H

#include "tuner/tuner_priv.h"

struct memory { /* what changes while a tuner is open, in an arena that is compacted by copying */
    struct arena arena;
    size_t settled_bytes; /* size of the arena after the last copying */
    struct table known;
    struct table pending;   /* the entries of `known` that are still to be written to the file … */
    uint64_t pending_count; /* … and how many times `pending` was changed */
    struct rules overrides;
    struct scopes scopes;
};
struct urza_tuner {
    pthread_mutex_t mutex;     /* guards `halves` and all fields below */
    pthread_mutex_t measuring; /* one measurement at a time; taken before mutex */
    struct arena arena;        /* of what does not change while the tuner is open */
    urza_tuner_options options;
    struct device device;
    struct cache_file file;
    struct memory halves[2], *memory; /* memory: the one of the two that is in use */
    struct {                          /* the contents of the file when it was last read */
        struct arena arena;
        struct table table;
        struct cache_stamp seen;
    } disk;
    uint64_t clears; /* number of times that entries were cleared: what was read from the file
                        before is out of date */
    uint64_t counts[URZA_CONFIG_SOURCES];
    double spent_s; /* seconds spent on measuring */
};
/* One call of a public function: its arena, and the mutexes that it has locked. */
struct visit {
    urza_tuner *tuner; /* NULL: the call is not for a tuner */
    struct arena arena;
    bool locked, measuring; /* whether it has locked tuner->mutex, tuner->measuring */
};
typedef bool visit_fn(struct visit *visit, void *context, struct error *err);
/* Calls body; ERR_NOMEM if memory runs out. In every case the visit's memory is released and its
 * mutexes are unlocked. */
bool visit_run(urza_tuner *tuner, visit_fn *body, void *context, struct error *err);
void visit_lock(struct visit *visit);   /* until visit_unlock tuner->memory->arena jumps where the
                                           visit's arena does */
void visit_unlock(struct visit *visit); /* may move the contents of tuner->memory */
void memory_init(struct memory *memory);

/* tuner.c */
struct warner tuner_warner(urza_tuner *tuner);
/* Reads the file if it has changed since it was last read. The mutex must not be locked. */
void tuner_refresh(struct visit *visit);
/* A question for the config of a kernel; invocation NULL: the kernel has no record. */
struct asked {
    const struct invocation *invocation;
    const struct kernel_question *question;
};
bool tuner_ask(struct visit *visit, const struct asked *asked, struct config *out,
               urza_config_source *out_source, struct error *err);
/* Measures the kernel and stores the result as tuner_keep does. */
bool tuner_measure(struct visit *visit, const struct invocation *invocation, double budget_s,
                   struct entry *out, struct error *err);
/* Stores the entry in memory and in the file. wait false: if another process is changing the file,
 * the entry is written to it later. */
void tuner_keep(struct visit *visit, const struct entry *entry, bool wait);
void tuner_flush(struct visit *visit, bool wait); /* writes the pending entries to the file */

#endif
