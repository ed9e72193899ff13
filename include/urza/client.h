/* A client of Urza's registry: asks a service (`urza serve`) to compile, fetches packages from it,
 * verifies them and stores them in a folder. C and C++. The library is urza_client, which includes
 * the runtime (run.h), so that a host can fetch, load and swap packages; it links no compiler.
 *
 * A client may be used by any number of threads at once, and reuses its connections. Everything it
 * returns belongs to the caller, is freed by the functions here, and outlives the client. Strings
 * that are passed in are read during the call only. A client must not be used in the child of a
 * fork, nor by threads that may be cancelled (pthread_cancel). No environment variable is read; a
 * signal never ends a call.
 *
 * The service is not trusted. A package, from the network or from the folder, is returned only if
 * its digests are right, a trusted key signed it, and its id is the requested one. Only for the
 * question which kernel an alias names is the service believed. The sizes of answers are limited;
 * redirects are errors.
 *
 * Functions that return int return 0 on success and the error's code otherwise; urza_error_name
 * gives its class, err may be NULL, out parameters are written on success only. An error of the
 * service has the class, place and message that the service gave. Further errors are:
 *    ConnectionError   the service cannot be reached, or did not answer in time
 *    ProtocolError     the answer is not one of such a service: another type, no JSON, a redirect
 *    OverloadedError   still 503 or 429 after the last try
 *    InvalidPackageError, SignatureError   a package that fails verification
 *    LimitExceededError   an answer that is larger than allowed
 *    UsageError           an invalid argument
 *
 * After an answer of 503 or 429 a call waits as long as the service says, and tries again. A call
 * that can be repeated safely also tries again when the connection fails, after a doubling time
 * with jitter. There are at most `tries`, and no call lasts longer than `timeout_ms`. */
#ifndef URZA_CLIENT_H
#define URZA_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "urza/run.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct urza_client urza_client;
typedef struct urza_answer urza_answer;   /* a JSON answer of the service */
typedef struct urza_package urza_package; /* bytes of a verified package */

/* Zero-initialise, then set what differs from the defaults. */
typedef struct urza_client_options {
    const char *token;      /* NULL: from token_file; both NULL: none */
    const char *token_file; /* the token is its first line, read by urza_client_open */
    const char *cache_dir;  /* folder where packages are stored, made when missing; NULL: nowhere */
    uint64_t cache_bytes;   /* above it the least recently used packages are removed; 0: 10 GiB */
    urza_trust trust;       /* default: URZA_TRUST_REQUIRE */
    const uint8_t (*trusted_keys)[32]; /* Ed25519 public keys; copied */
    uint32_t trusted_key_count;
    const char *home;    /* folder whose trusted keys are accepted too (`urza keys`); NULL: none */
    const char *ca_file; /* PEM file of the authority for the service's certificate; NULL: the
                            system's */
    uint32_t timeout_ms; /* limit on a call, including all tries; 0: 600,000 */
    uint32_t connect_timeout_ms; /* limit on making one connection; 0: 10,000 */
    uint32_t tries;              /* 0: 5 */
    uint64_t package_bytes;      /* larger packages are refused; 0: 4 GiB */
} urza_client_options;

/* url: "http://HOST:PORT" or https, optionally with a path before the service's own paths. Does not
 * connect. options NULL: the defaults. UsageError; SignatureError for files of keys that other
 * users may write; NotFoundError, IoError for files. */
int urza_client_open(const char *url, const urza_client_options *options, urza_client **out,
                     urza_error *err);
/* No call may be running. Accepts NULL. */
void urza_client_close(urza_client *client);

/* Packages. */

typedef enum urza_fetch {
    /* For an id: from the folder, without the network, if it is there. For an alias: asks which
     * kernel it names now, and transfers no bytes if that one is in the folder. */
    URZA_FETCH_DEFAULT,
    URZA_FETCH_CHECK, /* asks for ids too: a package with newer evidence or signature has the same
                         id */
    URZA_FETCH_STALE, /* as DEFAULT, but uses the folder if the service cannot be reached */
    URZA_FETCH_LOCAL, /* never uses the network; NotFoundError */
} urza_fetch;

/* kernel: its id ("kernel-" and 64 digits) or an alias. A damaged package in the folder counts as
 * missing. Two threads may fetch the same kernel at once. */
int urza_client_fetch(urza_client *client, const char *kernel, urza_fetch mode, urza_package **out,
                      urza_error *err);
const void *urza_package_bytes(const urza_package *package, size_t *out_size); /* 64-aligned, for
                                                                       urza_load_memory */
const char *urza_package_kernel_id(const urza_package *package);
int urza_package_from_cache(const urza_package *package); /* 1: the bytes came from the folder */
void urza_package_free(urza_package *package);            /* accepts NULL */

/* The keys that the client trusts, for urza_load_options: *out_count keys, borrowed until close. */
const uint8_t (*urza_client_keys(const urza_client *client, uint32_t *out_count))[32];

/* Answers: the body as it was received, and the most used members; NULL if it has none. */

const char *urza_answer_json(const urza_answer *answer);
const char *urza_answer_kernel_id(const urza_answer *answer); /* "kernel_id" */
const char *urza_answer_job_id(const urza_answer *answer);    /* "job_id" */
void urza_answer_free(urza_answer *answer);                   /* accepts NULL */

/* Compiling. */

typedef struct urza_request {
    const void *source; /* JSON of a blueprint in any dialect, or a model (ONNX, .pt2) */
    size_t size;
    const char *hints;     /* a JSON object, "{\"optimization_level\": 2}"; NULL: none */
    const char *cache_key; /* the caller's name for this request; not for models; NULL: none */
    uint32_t priority;     /* of a job: 0 … 9, 9 is the highest */
} urza_request;

/* Compiles by POST /compile, and waits for the answer. */
int urza_client_compile(urza_client *client, const urza_request *request, urza_answer **out,
                        urza_error *err);
/* Submits a job and does not wait for it: the answer has the job's id. */
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
 * client's timeout, and reports each change of its state. If the stream breaks, the client
 * reconnects silently, unless the service stays unreachable for longer than the client's timeout.
 * on_event runs on the calling thread (NULL: not called); if it returns anything but 0 the call
 * ends with CancelledError, and the job continues. On success the job is done, and the answer (out
 * may be NULL) has its kernel id. If the job failed, its error is returned; CancelledError if it
 * was cancelled; ConnectionError after timeout_s. */
int urza_client_watch(urza_client *client, const char *job, double timeout_s,
                      int (*on_event)(void *user, const urza_job_event *event), void *user,
                      urza_answer **out, urza_error *err);
/* ConflictError if the job has already ended. */
int urza_client_cancel(urza_client *client, const char *job, urza_error *err);

/* Reporting. */

typedef struct urza_observation {
    const char *profile; /* sizes of the calls: "B=32"; NULL: not given */
    const char *host;    /* name of the host; NULL: not given */
    uint64_t calls;      /* ≥ 1 */
    double p50_us, p95_us;
    const double *sample_us; /* times of some calls, at most 1,000; for comparing versions */
    uint32_t sample_count;
} urza_observation;

/* Reports how long calls of a kernel (id or alias) took. Sent again only if the service refused it,
 * because a report that arrives twice counts twice. */
int urza_client_observe(urza_client *client, const char *kernel,
                        const urza_observation *observation, urza_error *err);

/* The rest. */

int urza_client_status(urza_client *client, urza_answer **out, urza_error *err);
/* Calls any route with a JSON answer: method "GET", "PUT", "POST", "PATCH" or "DELETE"; path with
 * its query ("/api/v1/kernels?limit=10"), already encoded; json: the body, NULL: none. POST and
 * PATCH are not repeated when the connection fails. */
int urza_client_request(urza_client *client, const char *method, const char *path, const char *json,
                        urza_answer **out, urza_error *err);

#ifdef __cplusplus
}
#endif
#endif
