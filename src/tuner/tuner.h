/* The tuner: chooses configs for the compiler, measures candidates and stores the results.
 *
 * include/urza/tune.h is its manual; this header has what other rooms of this tree need besides.
 * The tuner calls the compiler: it lowers, schedules and generates a kernel as a compilation does,
 * and runs it on memory that it allocates itself. */
#ifndef URZA_TUNER_TUNER_H
#define URZA_TUNER_TUNER_H

#include <stdbool.h>

#include "base/hash.h"
#include "compiler/compile.h"
#include "urza/tune.h"

struct error;

/* A chooser for compile_options that answers from the sources of this tuner, in their order;
 * borrowed. A kernel of the `prepare` entry, or one that cannot be compiled outside its graph, has
 * no record: a rule may select it by its op; otherwise it gets the heuristic's config. */
struct config_chooser tuner_chooser(urza_tuner *tuner);

/* Whether any measurement on this device is in memory or in the cache. */
bool tuner_knows_any(urza_tuner *tuner);

/* A compilation passes each kernel's record (canonical JSON, borrowed) to `see`, if the kernel has
 * one; every kernel gets its default config. */
struct recorder {
    bool (*see)(void *context, const char *record, struct error *err);
    void *context;
};
struct config_chooser recorder_chooser(struct recorder *recorder);

/* The key of a record. ERR_JSON if the text is not a record. */
bool record_key(const char *record, char out[SHA256_HEX_BYTES], struct error *err);

#endif
