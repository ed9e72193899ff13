/* What the parts of the service share. */
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
    struct arena arena; /* settings and what lives as long; only before it listens */
    struct registry *registry;
    struct queue *queue;
    struct spawner *spawner;
    struct pool *pool;                /* pool.h */
    struct behind *behind;            /* behind.h */
    struct shelf *answers, *packages; /* shelf.h */
    struct shares *shares;            /* shares.h: of memory for bodies */
    struct tokens *tokens;            /* tokens.h; NULL: everybody may do everything */
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
    HANDLED_FAILED, /* err says why */
    HANDLED_DONE,   /* the reply stands */
    HANDLED_WAITS   /* somebody else calls request_finish; only from NOW-handlers that suspended
                       it, and LATER-handlers */
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

const struct route *route_at(uint32_t index); /* NULL behind the last */
#define ROUTE_ARGS_MOST 2
/* The route of a path, its arguments copied into arena. NULL: none. *out_methods: what the path
 * allows, "GET, HEAD, POST"; "" where no route has it. */
const struct route *route_find(const char *method, const char *path, struct arena *arena,
                               const char *args[ROUTE_ARGS_MOST], const char **out_methods);

#define REPLY_HEADERS_MOST 10
struct reply {
    unsigned status;
    const char *type; /* Content-Type */
    const void *data;
    size_t size;
    void (*release)(void *held); /* of data, once it was sent; NULL: it lies in the request's arena
                                    or is static */
    void *held;
    struct reply_header {
        const char *name, *value; /* in the arena, or static */
    } headers[REPLY_HEADERS_MOST];
    uint32_t header_count;
    /* A stream instead of data: as MHD_ContentReaderCallback; state is given back by release. */
    ssize_t (*stream)(void *state, uint64_t at, char *out, size_t most);
};

struct request {
    struct server *server;
    struct MHD_Connection *connection;
    const struct route *route;
    const char *method, *path;
    const char *args[ROUTE_ARGS_MOST];
    struct arena arena;
    json_t *json; /* request_json */
    char *body;
    size_t body_bytes, body_capacity, dropped_bytes;
    uint64_t share_bytes; /* taken of shares.h for the body */
    enum source_kind source_kind;
    const char *client;       /* the token's name, or the address */
    unsigned scopes;          /* a bit each */
    char id[33];              /* of the request: given by the client, or drawn */
    const char *traceparent;  /* as it was sent, if it is one; NULL */
    const char *blueprint_id; /* of the blueprint it is about; NULL */
    uint64_t begin_ns;
    const char *target_end; /* in the connection's memory, where it ended before it was read */
    bool target_wrong, framing_wrong;
    bool headed; /* its head is there */
    bool begun, ended, suspended;
    struct reply reply;
    void *context;    /* of whoever goes on with it */
    route_fn *then;   /* what a worker calls */
    struct turn turn; /* of the workers */
};

const char *request_header(const struct request *request, const char *name); /* NULL: none */
const char *request_query(const struct request *request, const char *name);  /* NULL: none */
/* Fails with ERR_JSON for a query argument that is none of these, between spaces. */
bool request_only_queries(const struct request *request, const char *allowed, struct error *err);
/* The body as an object. It is the request's, and is gone with it: memory that runs out leaves
 * handlers by a jump. Who waits for long drops it before. */
json_t *request_json(struct request *request, struct error *err);
void request_drop_json(struct request *request);
/* Before a handler hands its request to another thread and returns HANDLED_WAITS: suspends the
 * connection if it is not. request_finish, on any thread, goes on with it. The request's arena is
 * unguarded from then on (oom is NULL). */
void request_wait(struct request *request);
/* The reply stands. */
void request_finish(struct request *request);
/* Whether nobody will read the reply of a request that waits: its client closed the connection. */
bool request_gone(const struct request *request);

/* For who goes on with a request that waited: fill fills its reply, as a handler would; then, or
 * where memory runs out, it is finished. */
void request_complete(struct request *request, route_fn *fill, void *context);
/* From a NOW-handler: the rest of the work is done by `then`, on a thread that may wait. */
enum handled request_later(struct request *request, route_fn *then, struct error *err);

/* Fills the reply; value is released. */
enum handled reply_json(struct request *request, unsigned status, json_t *value);
/* text: in the arena, or static. */
enum handled reply_text(struct request *request, unsigned status, const char *type,
                        const char *text, size_t size);
void reply_header(struct request *request, const char *name, const char *value);
/* A list of the catalogue, ",a,b,", as an array. */
json_t *list_value(const char *list);
/* As {error, message, place?, blueprint_id, request_id}, with the class's status. */
void reply_error(struct request *request, const struct error *err);
/* The same as a value, for one among several. */
json_t *error_value(const struct error *err, const char *blueprint_id);

/* Work threads, for handlers that may wait. */
struct workers *workers_start(uint32_t count, struct error *err);
/* ERR_BUSY: too much waits already. */
bool workers_add(struct workers *workers, struct request *request, struct error *err);
void workers_stop(struct workers *workers); /* ends what waits first; takes no more */
void workers_free(struct workers *workers); /* stopped ones, that nobody asks any more */

/* Listening. */
bool http_start(struct server *server, struct error *err);
unsigned http_port(const struct server *server);
void http_quiesce(struct server *server);        /* no new connections */
void http_stop(struct server *server);           /* nothing may be suspended */
uint32_t http_busy(const struct server *server); /* requests under way */
void http_close_late(struct server *server);     /* connections, to be called each second */

/* Logs: a line of JSON on standard error. fields: a jansson object, released; NULL: none. */
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
int log_level_from_name(const char *name); /* LOG_ERROR for what is none */
void log_line(const struct server *server, enum log_level level, const char *what, json_t *fields);

#endif
