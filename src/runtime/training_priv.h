/* What the two parts of a training step share (training.c, backward.c). */
#ifndef URZA_RUNTIME_TRAINING_PRIV_H
#define URZA_RUNTIME_TRAINING_PRIV_H

#include "runtime/runtime_priv.h"

/* The bit of an output in module.feeds: the last one is that of all outputs from there on. */
#define FEEDS_LAST 63
static inline uint64_t output_bit(uint32_t output)
{
    return (uint64_t)1 << (output < FEEDS_LAST ? output : FEEDS_LAST);
}

/* Runs one entry of the step, and of it what outputs in `wanted` hang on; where that is not
 * possible, all of the step in the interpreter. */
bool training_run(struct urza_module *step, struct call_context *context, const char *name,
                  uint64_t wanted, struct error *err);

#endif
