/* Shared by the parts of the service. */
#ifndef URZA_SERVER_SERVER_PRIV_H
#define URZA_SERVER_SERVER_PRIV_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/strbuf.h"
#include "registry/registry.h"
#include "server/server.h"
#include "server/turns.h"

struct MHD_Connection;
struct MHD_Daemon;
struct MHD_Response;
struct behind;
struct feeder;
struct http;
struct metrics;
struct shares;
struct shelf;
struct pool;
struct queue;
struct spawner;
struct streams;
struct tokens;
struct workers;

enum scope { SCOPE_ANYBODY, SCOPE_READ, SCOPE_COMPILE, SCOPE_ADMIN, SCOPE_WORKER, SCOPE_COUNT };

struct server {
    struct settings settings;
    const char *home;
    uint8_t public_key[32];
    struct arena arena; /* settings, and what lives as long as the service; used only before it
                           listens */
    struct registry *registry;
    struct queue *queue;
    struct spawner *spawner;
    struct pool *pool;                /* pool.h */
    struct behind *behind;            /* behind.h */
    struct shelf *answers, *packages; /* shelf.h */
    struct shares *shares;            /* shares.h: memory for bodies */
    struct tokens *tokens;            /* tokens.h; NULL: every client may do everything */
    struct metrics *metrics;          /* metrics.h */
    struct workers *workers;
    struct feeder *feeder;   /* feeder.h */
    struct streams *streams; /* streams.h */
    struct MHD_Daemon *daemon;
    struct http *http; /* http.c */
    atomic_bool stopping;
    int64_t started_ms;
    const char *openapi; /* made at start */
    size_t openapi_bytes;
    int log_level;
};

/* Requests and replies. */

struct request;
enum body_kind { BODY_NOTHING, BODY_JSON, BODY_SOURCE };
enum source_kind { SOURCE_JSON, SOURCE_MODEL }; /* by Content-Type */

enum handled {
    HANDLED_FAILED, /* err holds the reason */
    HANDLED_DONE,   /* the reply is filled */
    HANDLED_WAITS /* another thread will call request_finish; only from NOW handlers that suspended
                     the request, and from LATER handlers */
};
typedef enum handled route_fn(struct request *request, struct error *err);

struct route {
    const char *method, *path;
    route_fn *handle;
    enum scope scope;
    bool later;
    enum body_kind body;
    const char *queries, *answers, *doc;
};
#define ROUTE(method, path, handler, scope, place, body, queries, answers, doc) route_fn handler;
#include "server/routes.def"
#undef ROUTE

const struct route *route_at(uint32_t index); /* NULL after the last */
#define ROUTE_ARGS_MOST 2
/* Finds the route of a path, with its arguments copied into arena. NULL: none. *out_methods: the
 * methods of the path, "GET, HEAD, POST"; "" if no route has the path. */
const struct route *route_find(const char *method, const char *path, struct arena *arena,
                               const char *args[ROUTE_ARGS_MOST], const char **out_methods);

#define REPLY_HEADERS_MOST 10
struct reply {
    unsigned status;
    const char *type; /* Content-Type */
    const void *data;
    size_t size;
    void (*release)(void *held); /* frees data after it was sent; NULL: data is in the request's
                                    arena or static */
    void *held;
    struct reply_header {
        const char *name, *value; /* in the arena, or static */
    } headers[REPLY_HEADERS_MOST];
    uint32_t header_count;
    /* A stream instead of data, as MHD_ContentReaderCallback; release frees its state. */
    ssize_t (*stream)(void *state, uint64_t at, char *out, size_t most);
};

struct request {
    struct server *server;
    struct MHD_Connection *connection;
    const struct route *route;
    const char *method, *path;
    const char *args[ROUTE_ARGS_MOST];
    struct arena arena;
    json_t *json; /* set by request_json */
    char *body;
    size_t body_bytes, body_capacity, dropped_bytes;
    uint64_t share_bytes; /* taken from `shares` for the body */
    enum source_kind source_kind;
    const char *client;       /* the token's name, or the client's address */
    unsigned scopes;          /* one bit per scope */
    char id[33];              /* id of the request: the client's, or a random one */
    const char *traceparent;  /* as it was sent, if valid; NULL */
    const char *blueprint_id; /* id of the blueprint concerned; NULL */
    uint64_t begin_ns;
    const char *target_end; /* in the connection's memory: where the target ended before it was
                               parsed */
    bool target_wrong, framing_wrong;
    bool headed; /* the head is complete */
    bool begun, ended, suspended;
    struct reply reply;
    void *context;    /* for the code that continues the request */
    route_fn *then;   /* the function that a worker thread calls */
    struct turn turn; /* place in the workers' queue */
};

const char *request_header(const struct request *request, const char *name); /* NULL: none */
const char *request_query(const struct request *request, const char *name);  /* NULL: none */
/* ERR_JSON for a query argument that is not in the list, which is separated by spaces. */
bool request_only_queries(const struct request *request, const char *allowed, struct error *err);
/* The body as an object, which the request owns. Handlers may be left by a jump when memory runs
 * out, so they cannot free it. A handler that waits for long may drop it before. */
json_t *request_json(struct request *request, struct error *err);
void request_drop_json(struct request *request);
/* To be called before a handler passes its request to another thread and returns HANDLED_WAITS:
 * suspends the connection, unless it is suspended. request_finish, on any thread, resumes it. From
 * then on the request's arena has no jump target (oom is NULL). */
void request_wait(struct request *request);
/* To be called when the reply is filled. */
void request_finish(struct request *request);
/* Whether the client of a waiting request has closed its connection, so that nobody will read the
 * reply. */
bool request_gone(const struct request *request);

/* Continues a waiting request: fill fills its reply, as a handler would; afterwards, or if memory
 * runs out, the request is finished. */
void request_complete(struct request *request, route_fn *fill, void *context);
/* For NOW handlers: lets a worker thread, which may block, call `then`. */
enum handled request_later(struct request *request, route_fn *then, struct error *err);

/* Fills the reply; releases value. */
enum handled reply_json(struct request *request, unsigned status, json_t *value);
/* text: in the arena, or static. */
enum handled reply_text(struct request *request, unsigned status, const char *type,
                        const char *text, size_t size);
void reply_header(struct request *request, const char *name, const char *value);
/* Converts a list of the catalogue, ",a,b,", to an array. */
json_t *list_value(const char *list);
/* Replies {error, message, place?, blueprint_id, request_id}, with the status of the error's
 * class. */
void reply_error(struct request *request, const struct error *err);
/* The same as a JSON value, for one of several items. */
json_t *error_value(const struct error *err, const char *blueprint_id);

/* Worker threads, for handlers that may block. */
struct workers *workers_start(uint32_t count, struct error *err);
/* ERR_BUSY: too many requests wait already. */
bool workers_add(struct workers *workers, struct request *request, struct error *err);
void workers_stop(struct workers *workers); /* finishes waiting requests first; accepts no more */
void workers_free(struct workers *workers); /* frees stopped workers that are no longer used */

/* Listening. */
bool http_start(struct server *server, struct error *err);
unsigned http_port(const struct server *server);
void http_quiesce(struct server *server);        /* accepts no new connections */
void http_stop(struct server *server);           /* no request may be suspended */
uint32_t http_busy(const struct server *server); /* number of requests in progress */
void http_close_late(struct server *server); /* closes connections past their deadline; to be called
                                                each second */

/* Writes a log line as JSON to standard error. fields: a jansson object, which is released; NULL:
 * none. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
int log_level_from_name(const char *name); /* LOG_ERROR for unknown names */
void log_line(const struct server *server, enum log_level level, const char *what, json_t *fields);

#endif
