/* For tests: stores that fail by plan, over stores that work.
 *
 * Every call of a driver's commit, get, list, total, put, remove counts; the plan says which
 * fails, and how. Any number of threads, as long as the plan stands still. */
#ifndef URZA_REGISTRY_FAULTS_H
#define URZA_REGISTRY_FAULTS_H

#include <stdatomic.h>

#include "registry/blobs.h"
#include "registry/catalogue.h"

enum fault {
    FAULT_NONE,
    FAULT_ERROR, /* ERR_IO, nothing was done */
    FAULT_LOST,  /* done, and ERR_IO all the same */
    FAULT_DELAY, /* done, 50 ms late */
    FAULT_SPACE, /* ERR_SPACE, nothing was done (of what writes; reading: ERR_IO) */
    FAULT_COUNT
};

struct faults {
    enum fault fault;
    atomic_long calls; /* so far */
    long at;           /* the call that fails, from 1; 0: none */
    bool on;           /* and all that follow it, too */
};

/* Over a catalogue or store that the new one closes with itself. NULL: no memory. faults is
 * borrowed. */
struct catalogue *catalogue_faulty(struct catalogue *under, struct faults *faults);
struct blobs *blobs_faulty(struct blobs *under, struct faults *faults);

#endif
