/* Inside the client: one exchange over HTTP, the folder of packages, and who is trusted.
 *
 *   client.c ──► fetch.c ──► folder.c     packages: the folder, else an exchange
 *       │           └──────► check.c      only verified packages are returned
 *       ├──────► watch.c                  events of a job
 *       └──────► exchange.c ──► http.c    tries ──► one request, over libcurl
 *                    └────────► answer.c  JSON, and errors as the service says them
 *
 * After it was opened a client does not change, except for its idle connections. */
#ifndef URZA_CLIENT_CLIENT_PRIV_H
#define URZA_CLIENT_CLIENT_PRIV_H

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/hash.h"
#include "package/package.h"
#include "urza/client.h"

#define IDLE_MOST 16                       /* idle connections */
#define ERROR_BODY_BYTES ((size_t)1 << 20) /* largest body of an error */
#define HEADER_BYTES ((size_t)64 << 10)    /* sum of an answer's headers */
#define NAME_BYTES 101                     /* of a kernel's id or alias, or of a job */
#define ETAG_BYTES 200

/* A growing byte array: 64-aligned, with one zero byte at the end. A failed allocation is recorded,
 * and checked once, at the end. Zero-initialise. */
struct bytes {
    char *data; /* NULL while there are none */
    size_t size, capacity;
    bool failed;
};
void bytes_add(struct bytes *bytes, const void *data, size_t size);
void bytes_text(struct bytes *bytes, const char *text);
void bytes_release(struct bytes *bytes);

struct urza_client {
    struct arena arena;   /* holds the members below up to `tries` */
    const char *url;      /* without a slash at its end */
    char *authorization;  /* the header; NULL: no token */
    const char *ca_file;  /* NULL: the system's */
    const char *packages; /* folder; NULL: packages are not stored */
    const char *names;    /* folder with the names of this url */
    uint64_t cache_bytes;
    size_t package_bytes;
    enum package_trust trust;
    struct trusted_keys trusted;
    uint32_t timeout_ms, connect_timeout_ms, tries;
    bool curl_ready;           /* curl_global_init was called for it */
    uint64_t random;           /* key of the random jitter */
    atomic_uint_fast64_t draw; /* counter of the random jitter */
    pthread_mutex_t lock;
    CURL *idle[IDLE_MOST]; /* connections not in use; protected by lock */
    uint32_t idle_count;
};

/* The result of a public function: 0, or the code of *from, which is copied to *err (may be
 * NULL). */
int client_result(bool ok, const struct error *from, urza_error *err);

/* An HTTP request and its answer, with retries. */

struct exchange {
    /* The request. */
    const char *method, *path; /* path and query, already encoded */
    const char *type;          /* of the body; NULL: no body */
    const void *body;
    size_t body_bytes;
    const char *etag;        /* for If-None-Match; NULL: not sent */
    const char *answer_type; /* content type that a success must have */
    size_t answer_bytes;     /* limit on the size of the answer */
    bool repeatable;         /* may be sent again if it is unknown whether it arrived */
    uint32_t silence_s;      /* gives up when no byte arrives for so long; 0: never */
    uint64_t deadline_ns;    /* of clock_ns; UINT64_MAX: none */
    /* Receives the bytes of a success instead of `answer`; false ends the exchange. */
    bool (*take)(void *context, const char *data, size_t size);
    void *context;

    /* The answer of the last try. */
    long status; /* 0: no answer */
    struct bytes answer;
    char answered_type[80], answered_etag[ETAG_BYTES], kernel_id[NAME_BYTES];
    long retry_after_s; /* -1: not given */
    size_t header_bytes;
    enum {
        BROKEN_NOT,
        BROKEN_SIZE,
        BROKEN_TYPE,
        BROKEN_HEADERS,
        BROKEN_MEMORY,
        BROKEN_TAKER
    } broken;
};

/* One try. False: no answer arrived, or an unacceptable one; *out_unsent: the request certainly did
 * not arrive. An error reported by the service counts as an answer. */
bool http_try(struct urza_client *client, struct exchange *exchange, bool *out_unsent,
              struct error *err);
void http_close(struct urza_client *client); /* idle connections */

/* Retries until there is a success (2xx, or 304 if an etag was given); otherwise *err is the
 * service's error, or the reason why there is no answer. The exchange must be released in any
 * case. */
bool exchange_run(struct urza_client *client, struct exchange *exchange, struct error *err);
void exchange_release(struct exchange *exchange);
uint64_t deadline_after(uint64_t ms); /* of clock_ns */
/* Sleeps between try number `attempt` (from 1) and the next; asked_s: the service's Retry-After,
 * -1: none. False at once if that would pass the deadline. */
bool pause_before_next(struct urza_client *client, uint32_t attempt, long asked_s,
                       uint64_t deadline_ns);

/* Answers. */

/* Makes an answer of the exchange's JSON, taking over its bytes. NULL on failure. */
struct urza_answer *answer_new(struct exchange *exchange, struct error *err);
/* Fills *err from an answer with a status of 400 or more; returns false. */
bool answer_error(const struct exchange *exchange, struct error *err);
/* Fills *err from {error, message, place}; http: the status of the answer, 0: none. Returns
 * false. */
bool answer_fail(const json_t *value, int http, struct error *err);
/* A whole call with a JSON answer. out NULL: the answer is not wanted. */
bool answer_ask(struct urza_client *client, struct exchange *exchange, struct urza_answer **out,
                struct error *err);

/* Packages. */

struct urza_package {
    struct bytes bytes;
    char kernel_id[KERNEL_ID_BYTES];
    bool from_cache;
};

bool name_is_fit(const char *name); /* letters, digits, ._-; at most NAME_BYTES - 1 */
bool name_is_id(const char *name);
/* Verifies a package: digests and signature. */
bool check_package(const struct urza_client *client, const void *bytes, size_t size,
                   char out_id[KERNEL_ID_BYTES], struct error *err);
bool fetch_package(struct urza_client *client, const char *name, urza_fetch mode,
                   uint64_t deadline_ns, struct urza_package **out, struct error *err);

/* The folder's entry for a name (ids are names, too). */
struct cached_name {
    char kernel_id[KERNEL_ID_BYTES];
    char etag[ETAG_BYTES];
    char digest[SHA256_HEX_BYTES]; /* SHA-256 of the bytes that the etag belongs to */
};
/* False: there is no valid entry. */
bool folder_name(const struct urza_client *client, const char *name, struct cached_name *out);
/* Returns a verified package. ERR_NOT_FOUND; other errors describe damage. */
struct urza_package *folder_find(const struct urza_client *client, const char *id,
                                 struct error *err);
/* Stores a package and its origin, if possible: a full disk is no failure. */
void folder_store(const struct urza_client *client, const char *name, const char *etag,
                  const struct urza_package *package);

#endif
