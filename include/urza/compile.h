/* Urza's compiler as a library: a blueprint or a model in, a signed package with its evidence out.
 * C and C++. The library is urza_compiler, which has the runtime (run.h) and the tuner as well.
 *
 * A compiler is a process of its own that urza_compiler_open forks; it forks one more for each job.
 * Whatever a source does there, the host goes on: a job that crashes, hangs or wants too much
 * memory is an error. Open it early: the new process is a copy of the host as it is at that moment
 * (from the thread that opens it), and best has neither the host's secrets nor locks that other
 * threads hold in the middle of something. When the host ends, in any way, so do compilers and
 * jobs. The host may ignore SIGCHLD, fork, limit the size of files, round as it likes and cancel
 * threads that wait in urza_job_wait (in the other functions that is put off until they return).
 *
 * Everything may be called from any thread; a job belongs to who started it until it is freed.
 * Functions that return int give 0 on success and the error's code otherwise (errors.def: the class
 * is urza_error_name of it); err may be NULL. Strings and sources are copied. */
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
    const char *home;      /* its keys/signing.pem signs packages, made at first use (mode 0600);
                              NULL: packages are unsigned */
    const char *cache_dir; /* where compiled code is kept and found again; NULL: nowhere. Relative
                              paths, here and below, start in the folder that is current then */
    uint32_t jobs_max;     /* that run at one time, others wait; 0: one for each processor */
} urza_compiler_options;

/* OutOfMemoryError, IoError when no process can be started; SignatureError for a key that others
 * may read. options NULL: the defaults. */
int urza_compiler_open(const urza_compiler_options *options, urza_compiler **out, urza_error *err);
/* Cancels its jobs, waits for their end and ends the process. No other call on it or on its jobs
 * may be under way; what these jobs were is still there, until each is freed. NULL is fine. */
void urza_compiler_close(urza_compiler *compiler);

/* The public key with which it signs, for urza_load_options; 0 when packages are unsigned. */
int urza_compiler_key(const urza_compiler *compiler, uint8_t out[32]);

typedef struct urza_compile_options {
    const char *targets;  /* "x86-64-v4,x86-64-v3"; NULL: all for the family of this machine */
    const char *strategy; /* "standard": verified; "fast": not verified; "emergency": no code. NULL:
                             standard */
    const char *dims;     /* "B=32,S=16": verify at these sizes; NULL: at several */
    const char *folder;   /* where relative paths of the source start; NULL: it may name no files */
    uint64_t seed;        /* of parameters that the source gives no values */
    uint32_t timeout_ms;  /* of compiling, and of verification behind it, which is given half a
                             minute  more to end; 0: 120,000, and 300,000 for verification */
    uint64_t memory_bytes; /* of address space for the process that compiles and for each that
                              verifies; 0: 8 GiB, and the machine's memory */
    int degrade;           /* not 0: where optimising or generating code fails, do without; see
                              urza_job_details */
    /* A step begins: "compiling", "verifying", "signing". On the job's thread; may not call the
     * library. */
    void (*on_step)(void *user, const char *step);
    void *user;
} urza_compile_options;

/* Starts compiling source (JSON of a blueprint in any dialect, ONNX, or torch.export's .pt2) on a
 * thread of its own. Errors of the source come with urza_job_wait. UsageError for options. options
 * NULL: the defaults. */
int urza_compile_start(urza_compiler *compiler, const void *source, size_t size,
                       const urza_compile_options *options, urza_job **out, urza_error *err);
/* Waits for at most timeout_s seconds (below 0: for ever). -1: it is still running; *err is left
 * alone. Otherwise 0, or the code of its failure, each time it is asked. */
int urza_job_wait(urza_job *job, double timeout_s, urza_error *err);
/* Ends it soon, as CancelledError unless it was done; whatever state its process is in. */
void urza_job_cancel(urza_job *job);
/* Cancels it, waits for its end and gives back what it holds. NULL is fine. */
void urza_job_free(urza_job *job);

/* Of a job that was done: borrowed until it is freed; NULL before and after a failure. */
const void *urza_job_package(const urza_job *job, size_t *out_size); /* for urza_load_memory */
const char *urza_job_kernel_id(const urza_job *job);
/* JSON as in the package; NULL for strategies that do not verify. */
const char *urza_job_evidence(const urza_job *job);
/* JSON: {"kernel_id", "strategy", "cache": "memory"|"disk"|null, "kernels", "stages_ms": {"read",
 * "optimise", "lower", "schedule", "codegen", "package", "verify"}, "warnings": [text], "degraded":
 * [{"what": "graph passes"|"code", "why"}]} */
const char *urza_job_details(const urza_job *job);

/* urza_compile_start and urza_job_wait in one; *out is set only on success. */
int urza_compile(urza_compiler *compiler, const void *source, size_t size,
                 const urza_compile_options *options, urza_job **out, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
