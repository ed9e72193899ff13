/* Takes from a process what it has no use for while it works on what strangers wrote: descriptors,
 * files, system calls. All of it is for good, for its threads and its children as well.
 *
 * A refused call fails with EPERM, one outside the folders with EACCES or EXDEV. Where the system
 * has no filters (or they are of another machine) the calls stay; where it has no Landlock, a
 * process that may open files at all may open any that its user may. Signals are for its own
 * children only, which Landlock sees to from Linux 6.12 on; before that nobody may send any, and a
 * child that does not end by itself ends with its parent.
 */
#ifndef URZA_BASE_CONFINE_H
#define URZA_BASE_CONFINE_H

#include <stdbool.h>

/* Closes all descriptors but one (-1: all); standard ones lead nowhere then. */
void confine_descriptors(int keep);

struct confinement {
    bool processes;     /* may fork, wait for its children and kill them (see above) */
    bool memory_files;  /* may make files in memory, which no limit on memory counts */
    const char *closed; /* a folder whose files it may not read, though it lies in the next; NULL:
                           none. In the other folders that lead there it opens what is there now */
    const char *reads;  /* a folder whose files it may read; NULL: none */
    const char *writes; /* a folder, made before, in which it may do anything; NULL: none */
};

/* Leaves the calls for memory, threads, time and writing to descriptors that are open, and what is
 * named. No network, no programs, no other users, no tracing. */
void confine_calls(const struct confinement *confinement);

#endif
