/* A tuner, and calls from outside that visit it.
 *
 * Who may be called from outside works in a visit. It ends wherever memory runs out, in arenas of
 * the visit and in the tuner's, and nothing stays locked or taken. The mutex guards memory: nobody
 * who has it reads or writes files, waits for their lock, measures or calls back, so that whoever
 * only wants a config need not wait for those who do. */
#ifndef URZA_TUNER_VISIT_PRIV_H
#define URZA_TUNER_VISIT_PRIV_H

#include "tuner/tuner_priv.h"

struct memory { /* what changes while a tuner lives, in an arena that is copied when it is waste */
    struct arena arena;
    size_t settled_bytes; /* what was taken of the arena after the last copying */
    struct table known;
    struct table pending;   /* of these, what is still to be written to the file … */
    uint64_t pending_count; /* … and how often that has changed */
    struct rules overrides;
    struct scopes scopes;
};
struct urza_tuner {
    pthread_mutex_t mutex;     /* of memory, disk, counts and times */
    pthread_mutex_t measuring; /* one measurement at a time; taken before mutex */
    struct arena arena;        /* of what stays as it is */
    urza_tuner_options options;
    struct device device;
    struct cache_file file;
    struct memory halves[2], *memory; /* the one of the two that counts */
    struct {                          /* what the file held when it was last read */
        struct arena arena;
        struct table table;
        struct cache_stamp seen;
    } disk;
    uint64_t clears; /* so often entries were forgotten: what was read before is out of date */
    uint64_t counts[URZA_CONFIG_SOURCES];
    double spent_s; /* on measuring */
};
/* One call from outside: its memory, and what it holds. */
struct visit {
    urza_tuner *tuner; /* NULL: the call needs none */
    struct arena arena;
    bool locked, measuring; /* which of the tuner's mutexes it has */
};
typedef bool visit_fn(struct visit *visit, void *context, struct error *err);
/* Calls body; ERR_NOMEM when memory runs out. Whatever happens, the visit's memory is given back
 * and its mutexes are let go. */
bool visit_run(urza_tuner *tuner, visit_fn *body, void *context, struct error *err);
void visit_lock(struct visit *visit); /* meanwhile tuner->memory->arena jumps as the visit's does */
void visit_unlock(struct visit *visit); /* what lies in tuner->memory may move */
void memory_init(struct memory *memory);

/* tuner.c */
struct warner tuner_warner(urza_tuner *tuner);
/* Reads the file, if it has changed since it was last read. Not locked. */
void tuner_refresh(struct visit *visit);
/* Answers for a kernel with a record, or without one (invocation NULL). */
struct asked {
    const struct invocation *invocation;
    const struct kernel_question *question;
};
bool tuner_ask(struct visit *visit, const struct asked *asked, struct config *out,
               urza_config_source *out_source, struct error *err);
/* Measures and keeps the result. */
bool tuner_measure(struct visit *visit, const struct invocation *invocation, double budget_s,
                   struct entry *out, struct error *err);
/* In memory and in the cache. wait false: in the cache later, when others change it just now. */
void tuner_keep(struct visit *visit, const struct entry *entry, bool wait);
void tuner_flush(struct visit *visit, bool wait); /* what is still to be written */

#endif
