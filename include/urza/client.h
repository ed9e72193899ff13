/* Urza's registry, from a program: asks a service (`urza serve`) to compile, fetches packages from
 * it, verifies them and keeps them in a folder. C and C++. The library is urza_client, which has
 * the runtime (run.h) as well, so that a host can fetch, load and swap; it links no compiler.
 *
 * A client may be used by any number of threads at once, and keeps its connections for the next
 * call. Everything it gives back belongs to the caller, is freed by the functions here, and
 * outlives the client. Strings that are passed in are read during the call only. Not for the child
 * of a fork, nor for threads that may be cancelled (pthread_cancel). No environment variable is
 * read; a signal never ends a call.
 *
 * What a service says is not trusted. A package is given out, from the network or from the folder,
 * only when its digests are right, a trusted key signed it, and its id is the one that was asked
 * for. Which kernel an alias names is the service's word. Answers have bounds; redirects are
 * errors.
 *
 * Functions that return int give 0 on success and the error's code otherwise; urza_error_name has
 * its class, err may be NULL, out parameters are written on success only. An error of the service
 * has the class, place and message that the service gave. Besides:
 *    ConnectionError   the service cannot be reached, or did not answer in time
 *    ProtocolError     what answers is no such service: another type, no JSON, a redirect
 *    OverloadedError   still 503 or 429 after all tries
 *    InvalidPackageError, SignatureError   a package that does not stand up to verification
 *    LimitExceededError   an answer beyond its bound
 *    UsageError           an argument
 *
 * A call that meets 503 or 429 waits as long as the service says, and tries again; so does a call
 * that can be repeated when the connection fails, after a time that doubles, with jitter. There are
 * at most `tries`, and no call lasts longer than `timeout_ms`. */
#ifndef URZA_CLIENT_H
#define URZA_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_client urza_client;
typedef struct urza_answer urza_answer;   /* JSON of the service */
typedef struct urza_package urza_package; /* bytes that were verified */

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_client_options {
    const char *token;      /* NULL: from token_file; both NULL: none */
    const char *token_file; /* its first line; read once */
    const char *cache_dir;  /* where packages are kept, made when missing; NULL: nowhere */
    uint64_t cache_bytes;   /* beyond it packages not used for longest go; 0: 10 GiB */
    urza_trust trust;       /* default: URZA_TRUST_REQUIRE */
    const uint8_t (*trusted_keys)[32]; /* Ed25519 public keys; copied */
    uint32_t trusted_key_count;
    const char *home;    /* its trusted keys count too (`urza keys`); NULL: none */
    const char *ca_file; /* PEM of who signs the service's certificate; NULL: the system's */
    uint32_t timeout_ms; /* of a call, all tries together; 0: 600,000 */
    uint32_t connect_timeout_ms; /* of one connection; 0: 10,000 */
    uint32_t tries;              /* 0: 5 */
    uint64_t package_bytes;      /* larger ones are refused; 0: 4 GiB */
} urza_client_options;

/* url: "http://HOST:PORT" or https, perhaps with a path in front of the service's own. Connects to
 * nothing. options NULL: the defaults. UsageError; SignatureError for keys that others may write;
 * NotFoundError, IoError for files. */
int urza_client_open(const char *url, const urza_client_options *options, urza_client **out,
                     urza_error *err);
/* No call may be running. NULL is fine. */
void urza_client_close(urza_client *client);

/* Packages. */

typedef enum urza_fetch {
    /* An id: from the folder, without the network, when it is there. An alias: asks which kernel it
     * is now, and moves no bytes where that is in the folder. */
    URZA_FETCH_DEFAULT,
    URZA_FETCH_CHECK, /* asks for ids too: evidence and signature may be newer, the id the same */
    URZA_FETCH_STALE, /* as default, but where the service cannot be reached: what the folder has */
    URZA_FETCH_LOCAL, /* never asks; NotFoundError */
} urza_fetch;

/* kernel: its id ("kernel-" and 64 digits) or an alias. A package in the folder that is damaged
 * counts as missing. Two threads may fetch the same one; both are right. */
int urza_client_fetch(urza_client *client, const char *kernel, urza_fetch mode, urza_package **out,
                      urza_error *err);
const void *urza_package_bytes(const urza_package *package, size_t *out_size); /* 64-aligned, for
                                                                       urza_load_memory */
const char *urza_package_kernel_id(const urza_package *package);
int urza_package_from_cache(const urza_package *package); /* 1: its bytes lay in the folder */
void urza_package_free(urza_package *package);            /* NULL is fine */

/* The keys that count, for urza_load_options: borrowed until close; *out_count of them. */
const uint8_t (*urza_client_keys(const urza_client *client, uint32_t *out_count))[32];

/* Answers: the body as it came, and what callers ask of it most; NULL where it has none. */

const char *urza_answer_json(const urza_answer *answer);
const char *urza_answer_kernel_id(const urza_answer *answer); /* "kernel_id" */
const char *urza_answer_job_id(const urza_answer *answer);    /* "job_id" */
void urza_answer_free(urza_answer *answer);                   /* NULL is fine */

/* Compiling. */

typedef struct urza_request {
    const void *source; /* JSON of a blueprint in any dialect, or a model (ONNX, .pt2) */
    size_t size;
    const char *hints;     /* a JSON object, "{\"optimization_level\": 2}"; NULL: none */
    const char *cache_key; /* a name for what is asked; not for models; NULL: none */
    uint32_t priority;     /* of a job: 0 … 9, 9 first */
} urza_request;

/* Waits for the answer of POST /compile. */
int urza_client_compile(urza_client *client, const urza_request *request, urza_answer **out,
                        urza_error *err);
/* Asks for a job and does not wait for it: the answer has its id. */
int urza_client_submit(urza_client *client, const urza_request *request, urza_answer **out,
                       urza_error *err);
/* Compiles the blueprint of a kernel (id or alias) again, with other hints. */
int urza_client_optimize(urza_client *client, const char *kernel, const char *hints,
                         urza_answer **out, urza_error *err);

typedef struct urza_job_event {
    const char *kind; /* "progress", "end" */
    const char *json; /* {"state", "stage", "kernel_id"}; borrowed for the call of the callback */
} urza_job_event;

/* Waits for the end of a job, for at most timeout_s seconds (below 0: for ever) instead of the
 * client's timeout, and tells each change of it. A stream that breaks is taken up again, in
 * silence, unless the service stays away for longer than the client's timeout. on_event runs on the
 * calling thread (NULL: nobody); when it returns anything but 0 the call ends with CancelledError,
 * and the job goes on. Success: the job is done, the answer (out may be NULL) has its kernel id.
 * The error of a job that failed; CancelledError of one that was cancelled; ConnectionError when
 * the time is over. */
int urza_client_watch(urza_client *client, const char *job, double timeout_s,
                      int (*on_event)(void *user, const urza_job_event *event), void *user,
                      urza_answer **out, urza_error *err);
/* ConflictError when it is over already. */
int urza_client_cancel(urza_client *client, const char *job, urza_error *err);

/* Reporting. */

typedef struct urza_observation {
    const char *profile; /* sizes of the calls: "B=32"; NULL: not said */
    const char *host;    /* NULL: not said */
    uint64_t calls;      /* ≥ 1 */
    double p50_us, p95_us;
    const double *sample_us; /* times of some calls, at most 1,000; for comparing versions */
    uint32_t sample_count;
} urza_observation;

/* How long calls of a kernel (id or alias) took. Sent again only where the service refused it, as a
 * report that arrives twice counts twice. */
int urza_client_observe(urza_client *client, const char *kernel,
                        const urza_observation *observation, urza_error *err);

/* The rest. */

int urza_client_status(urza_client *client, urza_answer **out, urza_error *err);
/* Any route whose answer is JSON: method "GET", "PUT", "POST", "PATCH" or "DELETE", path with its
 * query ("/api/v1/kernels?limit=10"), already encoded; json: the body, NULL: none. POST and PATCH
 * are not repeated when the connection fails. */
int urza_client_request(urza_client *client, const char *method, const char *path, const char *json,
                        urza_answer **out, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
