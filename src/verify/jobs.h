/* Children that run side by side.
 *
 * A job is a function called in a child process of its own; what it finds it writes into memory
 * that the caller mapped shared. Forks: a caller with other threads must not hold locks that the
 * jobs need. */
#ifndef URZA_VERIFY_JOBS_H
#define URZA_VERIFY_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

struct job_row {
    void (*run)(void *context, uint32_t index);
    void *context;
    uint32_t index;
    /* Text in shared memory, kept up to date by the job; when the job dies, what it died of is
     * appended ("kernels at B=8: SIGSEGV: …"). */
    char *died;
    size_t died_bytes;
};

/* Runs all, at most at_once at a time, and returns when none is left. All together may take
 * seconds, each address_bytes of address space; what passes a limit dies. False only when no child
 * can be started, or one ran out of memory: ERR_NOMEM. */
bool jobs_run(const struct job_row *rows, uint32_t count, uint32_t at_once, uint32_t seconds,
              uint64_t address_bytes, struct error *err);

#endif
