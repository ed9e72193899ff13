/* Takes from a process all that it does not need to process untrusted input: descriptors, files,
 * system calls. This cannot be undone, and holds for its threads and children as well.
 *
 * A refused call fails with EPERM, opening a file outside the folders with EACCES or EXDEV. Where
 * the system cannot filter system calls (or the filters are written for another architecture) all
 * calls stay allowed; where it has no Landlock, a process that may open files at all may open all
 * that its user may. Signals may be sent to own children only, which Landlock enforces from Linux
 * 6.12 on; on older systems none may be sent at all, and a child that does not end by itself ends
 * with its parent.
 */
#ifndef URZA_BASE_CONFINE_H
#define URZA_BASE_CONFINE_H

#include <stdbool.h>

/* Closes all descriptors but `keep` (-1: all); standard input, output and error then lead to
 * /dev/null. */
void confine_descriptors(int keep);

struct confinement {
    bool processes;     /* may fork, wait for its children and kill them (see above) */
    bool memory_files;  /* may create memory files, which no memory limit counts */
    const char *closed; /* a folder inside `reads` whose files it may not read; NULL: none. In the
                           folders on the path to it only the entries that exist now can be opened
                         */
    const char *reads;  /* a folder whose files it may read; NULL: none */
    const char *writes; /* an existing folder in which it may do anything; NULL: none */
};

/* Allows only the calls for memory, threads, time and writing to open descriptors, and those that
 * the confinement names. No network, no execve, no change of user, no tracing. */
void confine_calls(const struct confinement *confinement);

#endif
