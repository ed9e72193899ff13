/* Watches a training's loss, and takes weights and optimizer state back to the last snapshot where
 * it explodes. C and C++; part of liburza_runtime. Threads: one at a time for each governor.
 *
 * A number explodes where it is not finite, or 1e150 and more; or, once 20 others have come, where
 * it is greater than both mean + 6σ and mean + 2·|mean| of those before, three times in a row. Mean
 * and σ are of the numbers that were not so great, of which each newer one counts 1/50 (the first
 * ones alike). After such an explosion it begins to learn anew, so a level that has risen for good
 * is one explosion. */
#ifndef URZA_GOVERNOR_H
#define URZA_GOVERNOR_H

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_governor urza_governor;

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_governor_options {
    const DLTensor *tensors; /* weights and optimizer state, dense, of any dtype. The list is
                                copied; the memory stays the host's, at its place */
    uint32_t count;
    uint32_t snapshot_every; /* observations; 0: 100 */
} urza_governor_options;

/* Takes the first snapshot. */
int urza_governor_open(const urza_governor_options *options, urza_governor **out, urza_error *err);
void urza_governor_close(urza_governor *governor); /* accepts NULL */
/* Before each step of the optimizer, with the loss that it is about to lower. 1: it exploded, and
 * the tensors hold the last snapshot again, so leave this step out. 0: go on. */
int urza_governor_observe(urza_governor *governor, double loss);

typedef struct urza_governor_stats {
    uint64_t observed, snapshots, rollbacks;
} urza_governor_stats;
void urza_governor_stats_get(const urza_governor *governor, urza_governor_stats *out);

#ifdef __cplusplus
}
#endif
#endif
