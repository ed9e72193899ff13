/* Child processes that run in parallel.
 *
 * A job is a function that runs in a child process of its own and writes its findings to memory
 * that the caller has mapped as shared. Jobs are made by fork: a caller with other threads must not
 * hold locks that the jobs need. */
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
    /* Text in shared memory that the job keeps up to date with what it is doing. If the job dies,
     * the cause is appended ("kernels at B=8: SIGSEGV: …"). */
    char *died;
    size_t died_bytes;
};

/* Runs all jobs, at most at_once at a time, and returns when all have ended. All together may take
 * `seconds`, and each may use address_bytes of address space, in addition to what the caller has
 * mapped; a job that passes a limit dies. False only when no child can be started, or one ran out
 * of memory: ERR_NOMEM. */
bool jobs_run(const struct job_row *rows, uint32_t count, uint32_t at_once, uint32_t seconds,
              uint64_t address_bytes, struct error *err);

#endif
