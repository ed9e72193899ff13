/* Inside the HTTP side: connections and their requests. */
#ifndef URZA_SERVER_HTTP_PRIV_H
#define URZA_SERVER_HTTP_PRIV_H

#include <microhttpd.h>

#include "server/server_priv.h"

#define NS_PER_S UINT64_C(1000000000)

/* An open connection. What is being read from it must be complete by its deadline. */
struct connection {
    struct connection *next, **at;
    int fd;
    atomic_ullong deadline_ns; /* in clock_ns; UINT64_MAX: nothing is being read */
    atomic_bool ended;         /* end of file was seen since the deadline was set */
    atomic_bool replying;      /* a client that reads a reply may have closed its sending end */
    atomic_ullong idle_ns;     /* when the last request ended; 0: a request is in progress */
};

struct http {
    struct server *server;
    atomic_uint busy;
    atomic_ullong requests; /* counted to make their ids */
    uint64_t id_base;
    int listen_fd;
    pthread_mutex_t lock; /* protects the list of connections */
    struct connection *connections;
    uint32_t connection_count;
};

/* Called with the target of each request, as it was sent, before the rest of the head is read;
 * returns the request, which on_completed frees. */
void *http_on_target(void *context, const char *target, struct MHD_Connection *connection);
enum MHD_Result http_on_request(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **state);
void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code);
/* The request being read on this connection must be complete by then. */
void http_set_deadline(struct MHD_Connection *connection, uint64_t deadline_ns);
/* The client must have read the reply by then. */
void http_set_reply_deadline(struct MHD_Connection *connection, uint64_t deadline_ns);
/* How many seconds a client may take to send a request, or to read a reply. */
uint64_t http_patience(const struct server *server);
/* Sets the deadline for the next request on a connection, which may be idle for a while. */
void http_await_request(const struct server *server, struct MHD_Connection *connection);

/* Whether the target has one interpretation only: printable, correctly escaped, without escaped
 * slashes and zero bytes, UTF-8. */
bool head_target_ok(const char *target, struct arena *arena);
/* Checks the head of a request: strictness, route, scope, size, type. Sets its id, route, args,
 * client and scopes. */
bool head_accept(struct request *request, const char *version, struct error *err);

#endif
