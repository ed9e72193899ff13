/* Urza's tuner: chooses the config with which a kernel is compiled, and searches for the best one.
 * C and C++.
 *
 * A config is a set of a few numbers that decide how a kernel runs (rows of a register tile, blocks
 * for the caches …), not what it computes; the last bits may differ where sums are split. An
 * invocation is everything that the choice depends on: the kernel's graph, its sizes and dtypes,
 * how it reads its operands, the target and the compiler's version. Its canonical JSON (RFC 8785)
 * is its record, from which the kernel can be built again; the SHA-256 of the record, in hex, is
 * its key.
 *
 * The first of these sources that has an answer makes the choice:
 *
 *   override      set for an invocation, an op or everything, until it is removed
 *   overlay       the same for the time of a scope, inner scopes before outer ones
 *   memory        choices that this tuner has seen before
 *   persistent    measurements on this device, by any process
 *   policy        `heuristic`: chosen by the heuristic; `autotune`: chosen by measuring;
 *                 `require`: an error
 *
 * The source of a choice is returned with it. Answers of the heuristic are not stored, so that they
 * never take precedence over a measured one.
 *
 * A tuner may be used from several threads at once. Scopes belong to the thread that opened them.
 * Measurements run one at a time. A thread that asks for a config waits neither for these nor for
 * threads that read, write or lock the cache's files. Callbacks run on the calling thread; they
 * must not call the tuner. If memory runs out, a call fails with OutOfMemoryError and the tuner
 * stays usable; but measuring compiles, and if LLVM runs out of memory it ends the process.
 *
 * Functions that return int return 0 on success and the error's code otherwise; err may be NULL.
 * Returned texts belong to the caller, who frees them with urza_tune_free. Configs and records are
 * JSON. */
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
    URZA_TUNE_REQUIRE /* if it could be measured, and no source above has it: NotFoundError */
} urza_tune_policy;

/* A choice, with its source. Texts are borrowed during the callback. */
typedef struct urza_tune_choice {
    const char *key;
    const char *op;     /* "contract+add+erfc" */
    const char *config; /* JSON: {"columns":32,"rows":12} */
    urza_config_source source;
} urza_tune_choice;

typedef struct urza_tune_progress {
    const char *op;
    uint32_t candidates, tried; /* candidates of this kernel: in all, and built so far */
    uint32_t alive;             /* candidates that have not been excluded */
    double elapsed_s, budget_s;
    double best_ns, baseline_ns; /* time of one run, of the best candidate and of the heuristic's;
                                    0: not measured yet */
} urza_tune_progress;

/* Zero-initialise, then set what differs from the defaults. Strings are copied. */
typedef struct urza_tuner_options {
    const char *directory;   /* folder of the persistent cache, made when missing; NULL: none */
    urza_tune_policy policy; /* default: URZA_TUNE_HEURISTIC */
    double budget_s;         /* seconds for measuring one kernel; default 3 */
    double total_s;          /* seconds for all measurements of this tuner; default: no limit */
    uint32_t candidates_max; /* largest number of configs tried for one kernel; default 160 */
    int record;              /* not 0: record every invocation, to be tuned later; written to the
                                cache later if another process is writing it */
    void (*on_choice)(void *user, const urza_tune_choice *choice);
    /* Called for problems that are worked around, such as a damaged cache file. */
    void (*on_warning)(void *user, const char *message);
    void (*on_progress)(void *user, const urza_tune_progress *progress);
    void *user;
} urza_tuner_options;

/* options NULL: the defaults. An unreadable cache counts as empty, with a warning. */
int urza_tuner_open(const urza_tuner_options *options, urza_tuner **out, urza_error *err);
/* Writes what could not be written before. Accepts NULL. */
void urza_tuner_close(urza_tuner *tuner);
void urza_tune_free(void *text); /* accepts NULL */

/* The device that measurements are valid for: canonical JSON of CPU, features, caches and cores.
 * Borrowed. */
const char *urza_tuner_device(const urza_tuner *tuner);

/* match: a key, an op ("contract+add"), or "*" for everything. Within one scope, and within the
 * overrides, a key takes precedence over an op, and an op over "*". config NULL removes the
 * override. InvalidRequestError for an invalid config, NotFoundError for removing an unknown
 * match. */
int urza_tuner_override(urza_tuner *tuner, const char *match, const char *config, urza_error *err);

/* Scopes of the calling thread. A push may set a match and a config, or have both NULL for a scope
 * that urza_tuner_overlay_add fills. A pop without a push is a UsageError. */
int urza_tuner_overlay_push(urza_tuner *tuner, const char *match, const char *config,
                            urza_error *err);
int urza_tuner_overlay_add(urza_tuner *tuner, const char *match, const char *config,
                           urza_error *err);
int urza_tuner_overlay_pop(urza_tuner *tuner, urza_error *err);
int urza_tuner_policy_push(urza_tuner *tuner, urza_tune_policy policy, urza_error *err);
int urza_tuner_policy_pop(urza_tuner *tuner, urza_error *err);

/* Chooses a config for a recorded invocation. *config belongs to the caller; source may be NULL. */
int urza_tuner_choose(urza_tuner *tuner, const char *invocation, char **config,
                      urza_config_source *source, urza_error *err);

/* Measures one recorded invocation, even if it was measured before, and stores the result in memory
 * and in the cache. budget_s 0: the tuner's. *entry, if not NULL: the result, as from
 * urza_tuner_show. TargetError if this machine cannot run its code. */
int urza_tuner_tune(urza_tuner *tuner, const char *invocation, double budget_s, char **entry,
                    urza_error *err);
/* Measures all recorded invocations that were not measured yet and that this machine can run;
 * budget_s is divided among them (0: the tuner's budget for each). Failures are skipped with a
 * warning. */
int urza_tuner_tune_recorded(urza_tuner *tuner, double budget_s, uint32_t *tuned, urza_error *err);

/* All entries: a JSON array, ordered by op and key, of {"key", "op", "result", "operands",
 * "target"} and, if measured, {"config", "ns", "heuristic_ns", "at"}. */
int urza_tuner_list(urza_tuner *tuner, char **list, urza_error *err);
/* One entry in full: {"invocation", "config", "measured": {"ns", "heuristic_ns", "at", "timings":
 * [{"config", "ns", "samples", "state"} …]}}. key: the whole key, or a unique prefix.
 */
int urza_tuner_show(urza_tuner *tuner, const char *key, char **entry, urza_error *err);
/* Export all entries as the text of a cache file, and import such a text: entries are merged, and a
 * later measurement replaces an earlier one. Measurements on other devices are stored for those.
 * Importing is strict: one damaged line makes it fail. */
int urza_tuner_export(urza_tuner *tuner, char **text, urza_error *err);
int urza_tuner_import(urza_tuner *tuner, const char *text, size_t size, uint32_t *entries,
                      urza_error *err);
/* Deletes entries of this device, in memory and in the cache: match is a key (or a prefix), an op,
 * or "*". */
int urza_tuner_clear(urza_tuner *tuner, const char *match, uint32_t *entries, urza_error *err);

/* How many choices each source made since the tuner was opened; [0] is not used. */
void urza_tuner_counts(urza_tuner *tuner, uint64_t counts[URZA_CONFIG_SOURCES]);

/* The keys of a config: a JSON array of {"key", "most", "doc"}. Values are 0 (the kernel has no
 * such choice, or does not use it) … most; a missing key counts as 0. */
int urza_config_schema(char **schema, urza_error *err);

/* The search alone, for the caller's own kernels and choices. Candidates are the numbers below
 * count; 0 is the one used without tuning, and the others should be ordered by how promising they
 * are, since the time may not suffice for all. */
typedef struct urza_search_space {
    uint32_t count;
    void *user;
    /* Makes a candidate ready to run; may be NULL. Not 0: it cannot be built, and is excluded. */
    int (*build)(void *user, uint32_t candidate);
    /* Runs a candidate once and returns the time, in any unit; below 0: it failed, and is
     * excluded. */
    double (*run)(void *user, uint32_t candidate);
    /* Called after a candidate's first run. Not 0: the result is wrong, and it is excluded. May be
     * NULL. */
    int (*check)(void *user, uint32_t candidate);
    /* Called once for each candidate that was built, when it will not be run again; may be NULL. */
    void (*discard)(void *user, uint32_t candidate);
} urza_search_space;

typedef enum urza_search_state {
    URZA_SEARCH_UNTRIED,  /* the time was over before */
    URZA_SEARCH_LEFT_OUT, /* excluded: not built, the same as another, or failed */
    URZA_SEARCH_WRONG,
    URZA_SEARCH_SLOWER, /* clearly slower than another */
    URZA_SEARCH_CLOSE,  /* not clearly slower; measured to the end */
    URZA_SEARCH_BEST
} urza_search_state;
const char *urza_search_state_name(urza_search_state state); /* "slower" */

typedef struct urza_search_row {
    urza_search_state state;
    uint32_t samples;         /* measured runs, without the first */
    double median, low, high; /* of the samples; low and high: quartiles */
} urza_search_row;

typedef struct urza_search_options {
    double budget_s;      /* default 3; candidate 0 is measured even if it takes longer */
    uint32_t samples_max; /* limit for one candidate; default 100 */
    void (*on_progress)(void *user, const urza_tune_progress *progress); /* op is "" */
    void *user;
} urza_search_options;

/* Candidates are run in turn; those that are clearly slower drop out. The search ends when the rest
 * do not differ significantly, or the time is over. A candidate other than 0 wins only if its
 * median is at least 1 % lower. rows: one for each candidate; *best: the winner. NotFoundError if
 * no candidate runs. options NULL: the defaults. */
int urza_search(const urza_search_space *space, const urza_search_options *options,
                urza_search_row *rows, uint32_t *best, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
