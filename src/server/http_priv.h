/* Inside the HTTP side: connections and the requests on them. */
#ifndef URZA_SERVER_HTTP_PRIV_H
#define URZA_SERVER_HTTP_PRIV_H

#include <microhttpd.h>

#include "server/server_priv.h"

#define NS_PER_S UINT64_C(1000000000)

/* One that is open. What is being read on it must be there in full by its deadline. */
struct connection {
    struct connection *next, **at;
    int fd;
    atomic_ullong deadline_ns; /* of clock_ns; UINT64_MAX: nothing is being read */
    atomic_bool ended;         /* nothing more comes, as was seen since the deadline was set */
    atomic_bool replying;      /* who reads a reply may have said all there is to say */
    atomic_ullong idle_ns;     /* since when no request is on it; 0: one is */
};

struct http {
    struct server *server;
    atomic_uint busy;
    atomic_ullong requests; /* counted for their ids */
    uint64_t id_base;
    int listen_fd;
    pthread_mutex_t lock; /* of connections */
    struct connection *connections;
    uint32_t connection_count;
};

/* Called with the target of each request, as it was sent, before anything else of it was read;
 * returns the request, which on_completed frees. */
void *http_on_target(void *context, const char *target, struct MHD_Connection *connection);
enum MHD_Result http_on_request(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);
/* What is being read on its connection must be there by then. */
void http_set_deadline(struct MHD_Connection *connection, uint64_t deadline_ns);
/* Its reply must have been read by then. */
void http_set_reply_deadline(struct MHD_Connection *connection, uint64_t deadline_ns);
/* How many seconds a connection may take to ask, or to read what it asked for. */
uint64_t http_patience(const struct server *server);
/* The same where nothing of a request is there yet: it may be idle for a while. */
void http_await_request(const struct server *server, struct MHD_Connection *connection);

/* Whether the target can be read in one way only: printable, well escaped, no escaped slashes and
 * zero bytes, UTF-8. */
bool head_target_ok(const char *target, struct arena *arena);
/* Looks at the head of a request: strictness, route, scope, size, type. Sets its id, route, args,
 * client and scopes. */
bool head_accept(struct request *request, const char *version, struct error *err);

#endif
