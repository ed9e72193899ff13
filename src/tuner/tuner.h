/* The tuner: chooses configs for the compiler, measures candidates, remembers.
 *
 * include/urza/tune.h is its manual; here stands what other rooms of this tree need beside it. The
 * tuner is the compiler's guest: it lowers, schedules and generates a kernel as the compiler does,
 * and runs it on memory of its own. */
#ifndef URZA_TUNER_TUNER_H
#define URZA_TUNER_TUNER_H

#include <stdbool.h>

#include "base/hash.h"
#include "compiler/compile.h"
#include "urza/tune.h"

struct error;

/* A chooser for compile_options that asks the chain of this tuner; borrowed. A kernel that runs
 * once, after loading, or cannot stand by itself has no record: rules may name it by its op, else
 * it gets the heuristic's answer. */
struct config_chooser tuner_chooser(urza_tuner *tuner);

/* Whether anything that was measured on this device is in memory or in the cache. */
bool tuner_knows_any(urza_tuner *tuner);

/* Sees the record (canonical JSON, borrowed) of each kernel that has one; every kernel gets its
 * default config. */
struct recorder {
    bool (*see)(void *context, const char *record, struct error *err);
    void *context;
};
struct config_chooser recorder_chooser(struct recorder *recorder);

/* The key of a record. ERR_JSON for what is none. */
bool record_key(const char *record, char out[SHA256_HEX_BYTES], struct error *err);

#endif
