/* Urza's tuner: which config a kernel is compiled with, and how the best one is found. C and C++.
 *
 * A config is a handful of numbers that decide how a kernel runs (rows of a register tile, blocks
 * for the caches …) and never what it computes; the last bits may differ where sums are split. An
 * invocation is what such a choice depends on: the kernel's graph, its sizes and dtypes, how it
 * reads its operands, the target and the compiler's version. Its canonical JSON (RFC 8785) is its
 * record, from which the kernel can be built again; the SHA-256 of that, in hex, is its key.
 *
 * A choice is made by the first of these that has an answer:
 *
 *   override      set for an invocation, an op or everything, until it is removed
 *   overlay       the same for the time of a scope, inner scopes before outer ones
 *   memory        what this tuner has met before
 *   persistent    what was measured on this device before, by any process
 *   policy        `heuristic`: what a rule of thumb says; `autotune`: what measuring says;
 *                 `require`: an error
 *
 * Whoever chooses learns the source. An answer of the heuristic is never kept, so that it never
 * stands in the way of a measured one.
 *
 * A tuner may be used from several threads at once. Scopes belong to the thread that opened them.
 * Measurements run one at a time. Who asks for a config waits neither for these nor for others who
 * read, write or lock the cache's files. Callbacks run on the thread that asked; they may not call
 * the tuner. Where memory runs out, a call is an OutOfMemoryError and the tuner goes on; but
 * measuring compiles, and where LLVM has no memory it ends the process.
 *
 * Functions that return int give 0 on success and the error's code otherwise; err may be NULL.
 * Texts that are given out are the caller's: urza_tune_free. Configs and records are JSON. */
#ifndef URZA_TUNE_H
#define URZA_TUNE_H

#include <stddef.h>
#include <stdint.h>

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_tuner urza_tuner;

typedef enum urza_config_source {
    URZA_CONFIG_OVERRIDE = 1,
    URZA_CONFIG_OVERLAY,
    URZA_CONFIG_MEMORY,
    URZA_CONFIG_PERSISTENT,
    URZA_CONFIG_HEURISTIC,
    URZA_CONFIG_AUTOTUNE,
    URZA_CONFIG_SOURCES
} urza_config_source;
const char *urza_config_source_name(urza_config_source source); /* "persistent" */

typedef enum urza_tune_policy {
    URZA_TUNE_HEURISTIC = 1,
    URZA_TUNE_AUTOTUNE,
    URZA_TUNE_REQUIRE /* what could be measured, and no level above knows, is a NotFoundError */
} urza_tune_policy;

/* An answer of the chain. Texts are borrowed for the call of the callback. */
typedef struct urza_tune_choice {
    const char *key;
    const char *op;     /* "contract+add+erfc" */
    const char *config; /* JSON: {"columns":32,"rows":12} */
    urza_config_source source;
} urza_tune_choice;

typedef struct urza_tune_progress {
    const char *op;
    uint32_t candidates, tried; /* of this kernel: in all, and built so far */
    uint32_t alive;             /* still in the race */
    double elapsed_s, budget_s;
    double best_ns, baseline_ns; /* of one run; 0: not measured yet */
} urza_tune_progress;

/* Zero-initialise, then set what differs from the defaults. Strings are copied. */
typedef struct urza_tuner_options {
    const char *directory;   /* of the persistent cache, made when missing; NULL: none */
    urza_tune_policy policy; /* default: URZA_TUNE_HEURISTIC */
    double budget_s;         /* for measuring one kernel; default 3 */
    double total_s;          /* for all measuring of this tuner; default: no limit */
    uint32_t candidates_max; /* configs of one kernel that may be tried; default 160 */
    int record;              /* not 0: keep every invocation that is met, to be tuned later; in the
                                cache later, when others write just now */
    void (*on_choice)(void *user, const urza_tune_choice *choice);
    /* Something is not as it should be, and is worked around: a damaged cache file, say. */
    void (*on_warning)(void *user, const char *message);
    void (*on_progress)(void *user, const urza_tune_progress *progress);
    void *user;
} urza_tuner_options;

/* options NULL: the defaults. A cache that cannot be read is empty, with a warning. */
int urza_tuner_open(const urza_tuner_options *options, urza_tuner **out, urza_error *err);
/* Writes what could not be written before. NULL is fine. */
void urza_tuner_close(urza_tuner *tuner);
void urza_tune_free(void *text); /* NULL is fine */

/* What measurements are valid for: canonical JSON of CPU, features, caches and cores. Borrowed. */
const char *urza_tuner_device(const urza_tuner *tuner);

/* match: a key, an op ("contract+add"), or "*" for everything. Of one scope or of all overrides, a
 * key counts before an op and an op before "*". config NULL removes the override. A config that is
 * not one is an InvalidRequestError, an unknown match to be removed a NotFoundError. */
int urza_tuner_override(urza_tuner *tuner, const char *match, const char *config, urza_error *err);

/* Scopes of this thread. A push may name a match and a config, both NULL for a scope that
 * urza_tuner_overlay_add fills. A pop without a push is a UsageError. */
int urza_tuner_overlay_push(urza_tuner *tuner, const char *match, const char *config,
                            urza_error *err);
int urza_tuner_overlay_add(urza_tuner *tuner, const char *match, const char *config,
                           urza_error *err);
int urza_tuner_overlay_pop(urza_tuner *tuner, urza_error *err);
int urza_tuner_policy_push(urza_tuner *tuner, urza_tune_policy policy, urza_error *err);
int urza_tuner_policy_pop(urza_tuner *tuner, urza_error *err);

/* Asks the chain for a recorded invocation. *config: the caller's; source may be NULL. */
int urza_tuner_choose(urza_tuner *tuner, const char *invocation, char **config,
                      urza_config_source *source, urza_error *err);

/* Measures one recorded invocation, known or not, and keeps the result in memory and in the cache.
 * budget_s 0: the tuner's. *entry, if given: the result as urza_tuner_show has it. TargetError when
 * this machine cannot run its code. */
int urza_tuner_tune(urza_tuner *tuner, const char *invocation, double budget_s, char **entry,
                    urza_error *err);
/* All recorded ones that were not measured yet and that this machine can run; the time is divided
 * among them (0: the tuner's budget for each). What fails is skipped with a warning. */
int urza_tuner_tune_recorded(urza_tuner *tuner, double budget_s, uint32_t *tuned, urza_error *err);

/* Everything known: a JSON array, by op and key, of {"key", "op", "result", "operands", "target"},
 * and, where it was measured, {"config", "ns", "heuristic_ns", "at"}. */
int urza_tuner_list(urza_tuner *tuner, char **list, urza_error *err);
/* One entry in full: {"invocation", "config", "measured": {"ns", "heuristic_ns", "at", "timings":
 * [{"config", "ns", "samples", "state"} …]}}. key: the whole key or a beginning that only it has.
 */
int urza_tuner_show(urza_tuner *tuner, const char *key, char **entry, urza_error *err);
/* All entries as the text of a cache file, and back: entries are merged, a later measurement before
 * an earlier one. What was measured on another device is kept for that device. Importing is strict:
 * one damaged line refuses the text. */
int urza_tuner_export(urza_tuner *tuner, char **text, urza_error *err);
int urza_tuner_import(urza_tuner *tuner, const char *text, size_t size, uint32_t *entries,
                      urza_error *err);
/* Forgets entries of this device, in memory and in the cache: one key (or its beginning), an op, or
 * "*". */
int urza_tuner_clear(urza_tuner *tuner, const char *match, uint32_t *entries, urza_error *err);

/* How often each source answered since the tuner was opened; [0] is not used. */
void urza_tuner_counts(urza_tuner *tuner, uint64_t counts[URZA_CONFIG_SOURCES]);

/* The keys of a config: a JSON array of {"key", "most", "doc"}. Values run from 0 (the kernel has
 * no such choice, or does without) to most; a key that is missing is 0. */
int urza_config_schema(char **schema, urza_error *err);

/* The search by itself, for kernels and choices of one's own. Candidates are numbers below count;
 * 0 is what would be used without tuning, and the others should come in the order of how promising
 * they are, for not all may be reached in time. */
typedef struct urza_search_space {
    uint32_t count;
    void *user;
    /* Makes a candidate ready to run; may be NULL. Not 0: it cannot be built, and is left out. */
    int (*build)(void *user, uint32_t candidate);
    /* Runs it once and returns the time, in any unit; below 0: it failed, and is left out. */
    double (*run)(void *user, uint32_t candidate);
    /* After its first run: not 0: the result is wrong, and it is left out. May be NULL. */
    int (*check)(void *user, uint32_t candidate);
    /* It will not be run again; may be NULL. Called once for each that was built. */
    void (*discard)(void *user, uint32_t candidate);
} urza_search_space;

typedef enum urza_search_state {
    URZA_SEARCH_UNTRIED,  /* the time was over */
    URZA_SEARCH_LEFT_OUT, /* not built, the same as another, or it did not run */
    URZA_SEARCH_WRONG,
    URZA_SEARCH_SLOWER, /* clearly slower than another */
    URZA_SEARCH_CLOSE,  /* in the race to the end */
    URZA_SEARCH_BEST
} urza_search_state;
const char *urza_search_state_name(urza_search_state state); /* "slower" */

typedef struct urza_search_row {
    urza_search_state state;
    uint32_t samples;         /* measured runs, the first one not counted */
    double median, low, high; /* of the samples; low and high: quartiles */
} urza_search_row;

typedef struct urza_search_options {
    double budget_s;      /* default 3; candidate 0 is measured whatever it takes */
    uint32_t samples_max; /* of one candidate; default 100 */
    void (*on_progress)(void *user, const urza_tune_progress *progress); /* op is "" */
    void *user;
} urza_search_options;

/* Candidates run in turns; those that are clearly slower drop out; it ends when the rest cannot be
 * told apart, or the time is over. Another candidate than 0 wins only when its median is at least
 * 1 % lower. rows: one for each candidate; *best: the winner. NotFoundError when candidate 0 does
 * not run and no other does. options NULL: the defaults. */
int urza_search(const urza_search_space *space, const urza_search_options *options,
                urza_search_row *rows, uint32_t *best, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
