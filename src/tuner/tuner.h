/* The tuner: chooses configs for the compiler, measures candidates, remembers.
 *
 * include/urza/tune.h is its manual; here stands what other rooms of this tree need beside it. The
 * tuner is the compiler's guest: it lowers, schedules and generates a kernel as the compiler does,
 * and runs it on memory of its own. */
#ifndef URZA_TUNER_TUNER_H
#define URZA_TUNER_TUNER_H

#include <stdbool.h>

#include "compiler/compile.h"
#include "urza/tune.h"

/* A chooser for compile_options that asks the chain of this tuner; borrowed. */
struct config_chooser tuner_chooser(urza_tuner *tuner);

#endif
