/* For tests: stores that inject planned faults into other stores.
 *
 * Every call of a driver's commit, get, list, total, put, remove counts; the plan says which call
 * fails, and how. Any number of threads, while the plan does not change. */
#ifndef URZA_REGISTRY_FAULTS_H
#define URZA_REGISTRY_FAULTS_H

#include <stdatomic.h>

#include "registry/blobs.h"
#include "registry/catalogue.h"

enum fault {
    FAULT_NONE,
    FAULT_ERROR, /* ERR_IO, nothing was done */
    FAULT_LOST,  /* done, but ERR_IO is returned */
    FAULT_DELAY, /* done, after 50 ms */
    FAULT_SPACE, /* ERR_SPACE, nothing was done (for calls that write; others: ERR_IO) */
    FAULT_COUNT
};

struct faults {
    enum fault fault;
    atomic_long calls; /* so far */
    long at;           /* the call that fails, from 1; 0: none */
    bool on;           /* all later calls fail, too */
};

/* Wraps a catalogue or store, which the new one closes with itself. NULL: no memory. faults is
 * borrowed. */
struct catalogue *catalogue_faulty(struct catalogue *under, struct faults *faults);
struct blobs *blobs_faulty(struct blobs *under, struct faults *faults);

#endif
