/* Urza's compiler as a library: compiles a blueprint or a model to a signed package with evidence.
 * C and C++. The library is urza_compiler, which includes the runtime (run.h) and the tuner.
 *
 * A compiler is a process of its own that urza_compiler_open forks; it forks another one for each
 * job. The host is not affected by a source: a job that crashes, hangs or needs too much memory is
 * an error. Open the compiler early: the new process is a copy of the host at that moment (with
 * only the calling thread), and should contain neither secrets of the host nor locks that other
 * threads hold. When the host ends, in any way, compilers and jobs end, too. The host may ignore
 * SIGCHLD, fork, limit file sizes, use any rounding mode, and cancel threads that wait in
 * urza_job_wait (in the other functions cancellation is deferred until they return).
 *
 * All functions may be called from any thread; a job belongs to the code that started it until it
 * is freed. Functions that return int return 0 on success and the error's code otherwise
 * (urza_error_name gives its class); err may be NULL. Strings and sources are copied. */
#ifndef URZA_COMPILE_H
#define URZA_COMPILE_H

#include <stddef.h>
#include <stdint.h>

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_compiler urza_compiler;
typedef struct urza_job urza_job;

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_compiler_options {
    const char *home; /* folder; its keys/signing.pem signs packages, and is made at first use (mode
                         0600). NULL: packages are unsigned */
    const char *cache_dir; /* folder for caching compiled code; NULL: no cache. Relative paths, here
                              and below, refer to the folder that is current at the call */
    uint32_t jobs_max;     /* jobs that run at one time, others wait; 0: one for each processor */
} urza_compiler_options;

/* OutOfMemoryError, IoError when no process can be started; SignatureError for a signing key that
 * others may read. options NULL: the defaults. */
int urza_compiler_open(const urza_compiler_options *options, urza_compiler **out, urza_error *err);
/* Cancels its jobs, waits for their end and ends the process. No other call on it or on its jobs
 * may be running. The results of its jobs stay valid until each job is freed. Accepts NULL. */
void urza_compiler_close(urza_compiler *compiler);

/* The public key of its signatures, for urza_load_options; returns 0 when packages are unsigned. */
int urza_compiler_key(const urza_compiler *compiler, uint8_t out[32]);

typedef struct urza_compile_options {
    const char *targets;  /* "x86-64-v4,x86-64-v3"; NULL: all for this machine's processor family */
    const char *strategy; /* "standard": verified; "fast": not verified; "emergency": no native
                             code. NULL: standard */
    const char *dims;     /* verify at these sizes only: "B=32,S=16"; NULL: at several */
    const char *folder;   /* folder of the source's relative paths; NULL: it may not name files */
    uint64_t seed;        /* for parameters without values in the source */
    uint32_t timeout_ms; /* for compiling, and again for verification, which gets half a minute more
                            to end; 0: 120,000, and 300,000 for verification */
    uint64_t memory_bytes; /* address space of each process that compiles or verifies; 0: the
                              machine's memory */
    int degrade;           /* not 0: if optimising or generating code fails, continue without; see
                              urza_job_details */
    /* Called when a step begins: "compiling", "verifying", "signing". Runs on the job's thread;
     * must not call the library. */
    void (*on_step)(void *user, const char *step);
    void *user;
} urza_compile_options;

/* Starts compiling source (JSON of a blueprint in any dialect, ONNX, or torch.export's .pt2) on a
 * thread of its own. Errors of the source are returned by urza_job_wait, UsageError for options by
 * this function. options NULL: the defaults. */
int urza_compile_start(urza_compiler *compiler, const void *source, size_t size,
                       const urza_compile_options *options, urza_job **out, urza_error *err);
/* Waits for at most timeout_s seconds (below 0: for ever). -1: the job is still running, and *err
 * is unchanged. Otherwise 0 or the code of its error, at every call. */
int urza_job_wait(urza_job *job, double timeout_s, urza_error *err);
/* Ends the job soon, with CancelledError unless it is done, whatever state its process is in. */
void urza_job_cancel(urza_job *job);
/* Cancels the job, waits for its end and frees it. Accepts NULL. */
void urza_job_free(urza_job *job);

/* The package of a job that is done, borrowed until the job is freed; NULL before, and after a
 * failure. */
const void *urza_job_package(const urza_job *job, size_t *out_size); /* for urza_load_memory */
const char *urza_job_kernel_id(const urza_job *job);
/* The package's evidence, as JSON; NULL for strategies that do not verify. */
const char *urza_job_evidence(const urza_job *job);
/* JSON, if the job is done: {"kernel_id", "strategy", "cache": "memory"|"disk"|null, "kernels",
 * "stages_ms": {"read", "optimise", "lower", "schedule", "codegen", "package", "verify"},
 * "warnings": [text], "degraded": [{"what": "graph passes"|"code", "why"}]} */
const char *urza_job_details(const urza_job *job);

/* urza_compile_start and urza_job_wait in one call; *out is set only on success. */
int urza_compile(urza_compiler *compiler, const void *source, size_t size,
                 const urza_compile_options *options, urza_job **out, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
