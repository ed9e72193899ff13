/* Inside the client: one exchange over HTTP, the folder of packages, and who is trusted.
 *
 *   client.c ──► fetch.c ──► folder.c     packages: the folder, else an exchange
 *       │           └──────► check.c      nothing is given out that is not verified
 *       ├──────► watch.c                  events of a job
 *       └──────► exchange.c ──► http.c    tries ──► one request, over libcurl
 *                    └────────► answer.c  JSON, and errors as the service says them
 *
 * A client does not change after it was opened, but for its idle connections. */
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

#define IDLE_MOST 16                       /* connections that wait for the next call */
#define ERROR_BODY_BYTES ((size_t)1 << 20) /* of an answer that is an error */
#define HEADER_BYTES ((size_t)64 << 10)    /* all headers of an answer */
#define NAME_BYTES 101                     /* of a kernel's id or alias, or of a job */
#define ETAG_BYTES 200

/* Bytes that grow: 64-aligned, one zero byte behind them. What does not fit into memory is noted,
 * and asked for once, at the end. Zero-initialise. */
struct bytes {
    char *data; /* NULL while there are none */
    size_t size, capacity;
    bool failed;
};
void bytes_add(struct bytes *bytes, const void *data, size_t size);
void bytes_text(struct bytes *bytes, const char *text);
void bytes_release(struct bytes *bytes);

struct urza_client {
    struct arena arena;   /* what follows up to `tries` */
    const char *url;      /* without a slash at its end */
    char *authorization;  /* the header; NULL: no token */
    const char *ca_file;  /* NULL: the system's */
    const char *packages; /* folder; NULL: nothing is kept */
    const char *names;    /* folder, of this url */
    uint64_t cache_bytes;
    size_t package_bytes;
    enum package_trust trust;
    struct trusted_keys trusted;
    uint32_t timeout_ms, connect_timeout_ms, tries;
    bool curl_ready;           /* curl_global_init was called for it */
    uint64_t random;           /* key of jitter */
    atomic_uint_fast64_t draw; /* how many times it was asked */
    pthread_mutex_t lock;
    CURL *idle[IDLE_MOST]; /* under lock: connections that nobody uses */
    uint32_t idle_count;
};

/* What a public function gives: 0, or the code of *from, which goes to *err (NULL: nowhere). */
int client_result(bool ok, const struct error *from, urza_error *err);

/* An exchange. */

struct exchange {
    /* What is asked. */
    const char *method, *path; /* path and query, already encoded */
    const char *type;          /* of the body; NULL: there is none */
    const void *body;
    size_t body_bytes;
    const char *etag;        /* If-None-Match; NULL: bytes whatever they are */
    const char *answer_type; /* that a success must have */
    size_t answer_bytes;     /* bound of the answer */
    bool repeatable;         /* may be sent again when it is not known whether it arrived */
    uint32_t silence_s;      /* an answer that stands still for so long is over; 0: never */
    uint64_t deadline_ns;    /* of clock_ns; UINT64_MAX: none */
    /* Takes a success's bytes as they come instead of `answer`; false ends the exchange. */
    bool (*take)(void *context, const char *data, size_t size);
    void *context;

    /* What came back, from the last try. */
    long status; /* 0: nothing */
    struct bytes answer;
    char answered_type[80], answered_etag[ETAG_BYTES], kernel_id[NAME_BYTES];
    long retry_after_s; /* -1: not said */
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

/* One try. False: no answer arrived, or it is none that may be looked at; *out_unsent: the request
 * cannot have arrived. An error of the service is an answer. */
bool http_try(struct urza_client *client, struct exchange *exchange, bool *out_unsent,
              struct error *err);
void http_close(struct urza_client *client); /* idle connections */

/* Tries until there is a success (2xx, or 304 where an etag was given); else *err is the service's
 * error, or what kept it from answering. Release the exchange in any case. */
bool exchange_run(struct urza_client *client, struct exchange *exchange, struct error *err);
void exchange_release(struct exchange *exchange);
uint64_t deadline_after(uint64_t ms); /* of clock_ns */
/* Sleeps before try number `attempt` (from 1) is followed by another; asked_s: what the service
 * wants, -1: nothing. False at once when that would pass the deadline. */
bool pause_before_next(struct urza_client *client, uint32_t attempt, long asked_s,
                       uint64_t deadline_ns);

/* Answers. */

/* The exchange's JSON. NULL on failure. Takes the bytes over. */
struct urza_answer *answer_new(struct exchange *exchange, struct error *err);
/* Fills *err from an answer with a status of 400 or more; false. */
bool answer_error(const struct exchange *exchange, struct error *err);
/* Fills *err from {error, message, place}; http: the status that came with it, 0: none; false. */
bool answer_fail(const json_t *value, int http, struct error *err);
/* The whole way of a call with a JSON answer: out NULL: it is not asked for. */
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
/* Verifies a package: digests, signature. */
bool check_package(const struct urza_client *client, const void *bytes, size_t size,
                   char out_id[KERNEL_ID_BYTES], struct error *err);
bool fetch_package(struct urza_client *client, const char *name, urza_fetch mode,
                   struct urza_package **out, struct error *err);

/* What the folder knows of a name (an id is one, too). */
struct kept_name {
    char kernel_id[KERNEL_ID_BYTES];
    char etag[ETAG_BYTES];
    char digest[SHA256_HEX_BYTES]; /* SHA-256 of the bytes that the etag speaks of */
};
/* False: nothing that can be used. */
bool folder_name(const struct urza_client *client, const char *name, struct kept_name *out);
/* Verified. ERR_NOT_FOUND; other errors say what is wrong with what is there. */
struct urza_package *folder_find(const struct urza_client *client, const char *id,
                                 struct error *err);
/* Keeps a package, and where it came from, if it can: a full disk is no failure. */
void folder_keep(const struct urza_client *client, const char *name, const char *etag,
                 const struct urza_package *package);

#endif
