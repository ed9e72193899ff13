/* The HTTP side: libmicrohttpd's threads read requests and send replies.
 *
 *   target ─► head (http_head.c) ─► body ─► dispatch ─► reply
 *                                              └─ suspended ─► request_finish ┘
 *
 * 1. A request belongs to the thread of its connection; while it is suspended, to the thread that
 *    will call request_finish.
 * 2. Each request that began is completed exactly once (on_completed), which frees it. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "server/http_priv.h"
#include "server/metrics.h"
#include "server/shares.h"

/* After an error up to so many times the largest allowed body is read and dropped. */
#define DROPPED_BODIES 4
#define BODY_FIRST ((size_t)16 << 10)
#define BODY_WEIGHT 4    /* memory per byte of a body: it is parsed, printed and copied */
#define REPLY_RATE 32768 /* bytes per second: slower readers are disconnected */
#define STREAM_BLOCK 4096

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *request_query(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct query_check {
    const struct request *request;
    const char *allowed;
    struct error *err;
    bool ok;
};

static bool has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    const char *at = length > 0 ? strstr(words, word) : NULL;
    while (at && !((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')))
        at = strstr(at + 1, word);
    return at != NULL;
}

static enum MHD_Result check_query(void *context, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    struct query_check *check = context;
    (void)kind;
    if (value && has_word(check->allowed, key)) {
        check->ok = request_query(check->request, key) == value ||
                    fail(check->err, ERR_JSON, "query argument '%.60s' stands there twice", key);
        return check->ok ? MHD_YES : MHD_NO;
    }
    if (check->allowed[0] == '\0')
        check->ok = fail(check->err, ERR_JSON, "unknown query argument '%.60s': none is", key);
    else
        check->ok =
            fail(check->err, ERR_JSON, "unknown query argument '%.60s': these are known: %s", key,
                 check->allowed);
    return MHD_NO;
}

bool request_only_queries(const struct request *request, const char *allowed, struct error *err)
{
    struct query_check check = {request, allowed, err, true};
    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, check_query, &check);
    return check.ok;
}

json_t *request_json(struct request *request, struct error *err)
{
    if (json_count(request->body, request->body_bytes) > LIMIT_REQUEST_VALUES) {
        fail(err, ERR_LIMIT, "more than %zu JSON values in one request", LIMIT_REQUEST_VALUES);
        return NULL;
    }
    json_t *value = json_read(request->body ? request->body : "", request->body_bytes, err);
    if (value && !json_is_object(value)) {
        json_decref(value);
        fail(err, ERR_JSON, "the body is not a JSON object");
        return NULL;
    }
    request_drop_json(request);
    request->json = value;
    return value;
}

void request_drop_json(struct request *request)
{
    json_decref(request->json);
    request->json = NULL;
}

/* Replies with an error before a route is known; keeps the Allow header. */
static void refuse(struct request *request, const struct error *err)
{
    struct reply before = request->reply;
    reply_error(request, err);
    for (uint32_t i = 0; i < before.header_count; i++)
        reply_header(request, before.headers[i].name, before.headers[i].value);
    request->ended = true;
}

static bool check_target(struct request *request, const char *target)
{
    jmp_buf no_memory;
    if (setjmp(no_memory) != 0) {
        request->arena.oom = NULL;
        return false;
    }
    request->arena.oom = &no_memory;
    bool ok = head_target_ok(target, &request->arena);
    request->arena.oom = NULL;
    return ok;
}

void *http_on_target(void *context, const char *target, struct MHD_Connection *connection)
{
    struct http *http = context;
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->server = http->server;
    request->connection = connection;
    request->begin_ns = clock_ns();
    request->client = "";
    request->target_end = target + strlen(target);
    arena_init(&request->arena);
    request->target_wrong = !check_target(request, target);
    http_set_deadline(connection, request->begin_ns +
                                      http->server->settings.request_timeout_seconds * NS_PER_S);
    return request;
}

/* Processes the complete head. The arena may run out of memory, so this is done under a guard. */
static bool begin(struct request *request, const char *version, struct error *err)
{
    jmp_buf no_memory;
    if (setjmp(no_memory) != 0) {
        request->arena.oom = NULL;
        return fail(err, ERR_NOMEM, "no memory for this request");
    }
    request->arena.oom = &no_memory;
    bool ok = head_accept(request, version, err);
    request->arena.oom = NULL;
    return ok;
}

/* Body. */

static bool take_body(struct request *request, const char *data, size_t size)
{
    uint64_t most = (uint64_t)request->server->settings.max_body_mb << 20;
    struct error err;
    if (request->ended) { /* the error reply follows after the body: a client that still writes may
                             not read it earlier */
        request->dropped_bytes += size;
        return request->dropped_bytes <= DROPPED_BODIES * most;
    }
    if (size > most - request->body_bytes) {
        fail(&err, ERR_LIMIT, "the body has more than %llu bytes", (unsigned long long)most);
        refuse(request, &err);
        return true;
    }
    if (request->body_bytes + size + 1 > request->body_capacity) {
        size_t capacity = request->body_capacity ? 2 * request->body_capacity : BODY_FIRST;
        while (capacity < request->body_bytes + size + 1)
            capacity *= 2;
        uint64_t more = (uint64_t)(capacity - request->body_capacity) * BODY_WEIGHT;
        if (!shares_take(request->server->shares, request->client, more, &err)) {
            metrics_add(request->server->metrics, METRIC_REFUSED, "memory", 1);
            refuse(request, &err);
            return true;
        }
        request->share_bytes += more;
        char *grown = realloc(request->body, capacity);
        if (!grown) {
            fail(&err, ERR_NOMEM, "no memory for the body");
            refuse(request, &err);
            return true;
        }
        request->body = grown;
        request->body_capacity = capacity;
    }
    memcpy(request->body + request->body_bytes, data, size);
    request->body_bytes += size;
    request->body[request->body_bytes] = '\0';
    return true;
}

/* Dispatch. */

void request_wait(struct request *request)
{
    request->arena.oom = NULL; /* the jump target is on this thread's stack, and another thread goes
                                  on */
    if (request->suspended)
        return;
    request->suspended = true;
    MHD_suspend_connection(request->connection);
}

void request_finish(struct request *request)
{
    request->ended = true;
    MHD_resume_connection(request->connection);
}

bool request_gone(const struct request *request)
{
    char byte;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info && recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* False: the request waits, and another thread may already have it. */
static bool handle_now(struct request *request)
{
    struct error err;
    jmp_buf no_memory;
    enum handled handled = HANDLED_FAILED;
    if (setjmp(no_memory) != 0) {
        fail(&err, ERR_NOMEM, "no memory for this request");
        handled = HANDLED_FAILED;
    } else {
        request->arena.oom = &no_memory;
        handled = request->route->handle(request, &err);
        if (handled == HANDLED_WAITS)
            return false;
    }
    request->arena.oom = NULL;
    if (handled == HANDLED_FAILED)
        refuse(request, &err);
    request->ended = true;
    return true;
}

static bool dispatch(struct request *request)
{
    struct error err;
    const struct route *route = request->route;
    request->begun = true;
    if (route->queries[0] != '*' && !request_only_queries(request, route->queries, &err)) {
        refuse(request, &err);
        return true;
    }
    if (!route->later)
        return handle_now(request);
    request_later(request, route->handle, &err);
    return false;
}

static struct MHD_Response *make_response(const struct request *request)
{
    const struct reply *reply = &request->reply;
    struct MHD_Response *response =
        reply->stream ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                          reply->stream, reply->held, NULL)
                      : MHD_create_response_from_buffer(reply->size, (void *)(uintptr_t)reply->data,
                                                        MHD_RESPMEM_PERSISTENT);
    if (!response)
        return NULL;
    if (reply->type)
        MHD_add_response_header(response, "Content-Type", reply->type);
    MHD_add_response_header(response, "X-Request-Id", request->id);
    if (request->traceparent)
        MHD_add_response_header(response, "traceparent", request->traceparent);
    for (uint32_t i = 0; i < reply->header_count; i++)
        MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    return response;
}

static enum MHD_Result send_reply(struct request *request)
{
    struct MHD_Response *response = make_response(request);
    uint64_t seconds = http_patience(request->server) + request->reply.size / REPLY_RATE;
    http_set_reply_deadline(request->connection,
                            request->reply.stream ? UINT64_MAX : clock_ns() + seconds * NS_PER_S);
    if (!response)
        return MHD_NO;
    enum MHD_Result sent = MHD_queue_response(request->connection, request->reply.status, response);
    MHD_destroy_response(response);
    return sent;
}

/* Whether an error reply waits until the body was read, so that a client that is still writing sees
 * it.
 */
static bool can_read_on(const struct request *request)
{
    const char *length = request_header(request, "Content-Length");
    uint64_t most = (uint64_t)request->server->settings.max_body_mb << 20;
    /* A body is announced that the route does not have. */
    bool none = request->route && request->route->body == BODY_NOTHING;
    return !request->framing_wrong && !none && !request_header(request, "Expect") &&
           (!length || strtoull(length, NULL, 10) <= DROPPED_BODIES * most);
}

enum MHD_Result http_on_request(void *context, struct MHD_Connection *connection, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **state)
{
    struct http *http = context;
    struct request *request = *state;
    struct error err;
    if (!request)
        return MHD_NO; /* there was no memory for the request */
    if (!request->headed) {
        request->headed = true;
        request->path = url; /* in the connection's memory, valid as long as the request */
        request->method = method;
        http->busy++;
        if (begin(request, version, &err))
            return MHD_YES;
        refuse(request, &err);
        return can_read_on(request) ? MHD_YES : send_reply(request);
    }
    if (*size > 0) {
        bool ok = take_body(request, data, *size);
        *size = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    http_set_deadline(connection, UINT64_MAX);
    if (!request->begun && !request->ended && !dispatch(request))
        return MHD_YES;
    return send_reply(request);
}

static void note_request(const struct request *request)
{
    double seconds = (double)(clock_ns() - request->begin_ns) * 1e-9;
    metrics_request(request->server->metrics, request->route, request->reply.status, seconds);
    if (request->server->log_level <= LOG_DEBUG)
        log_line(request->server, LOG_DEBUG, "request",
                 json_pack("{s:s, s:s, s:s, s:i, s:f, s:s}", "request_id", request->id, "method",
                           request->method, "path", request->path, "status",
                           (int)request->reply.status, "ms", seconds * 1e3, "client",
                           request->client));
}

void http_on_completed(void *context, struct MHD_Connection *connection, void **state,
                       enum MHD_RequestTerminationCode code)
{
    struct http *http = context;
    struct request *request = *state;
    if (code != MHD_REQUEST_TERMINATED_WITH_ERROR)
        http_await_request(http->server, connection);
    if (!request)
        return;
    if (request->headed)
        note_request(request);
    if (request->reply.release)
        request->reply.release(request->reply.held);
    http->busy -= request->headed;
    request_drop_json(request);
    shares_give(http->server->shares, request->client, request->share_bytes);
    free(request->body);
    arena_release(&request->arena);
    free(request);
    *state = NULL;
}
