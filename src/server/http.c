/* The HTTP side: libmicrohttpd's threads read requests and send replies.
 *
 *   headers ─► begin: strictness, route, scope, size ─► body ─► dispatch ─► reply
 *                                                                 └─ suspended ─► request_finish ┘
 *
 * 1. A request belongs to the thread of its connection, but while it is suspended: then to whoever
 *    will call request_finish.
 * 2. Whatever happens, each request that began is completed once (on_completed), which frees it. */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "server/metrics.h"
#include "server/server_priv.h"
#include "server/tokens.h"

#define MEMORY_OF_CONNECTION ((size_t)32 << 10) /* headers of a request, and its reply's */
#define HEADERS_MOST 64
#define BODY_FIRST ((size_t)16 << 10)
#define STREAM_BLOCK 4096
#define TOKEN_CHARACTERS \
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

struct http {
    struct server *server;
    atomic_uint busy;
    atomic_ullong requests; /* counted for their ids */
    uint64_t id_base;
    int listen_fd;
};

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *request_query(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
}

struct query_check {
    const char *const *allowed;
    struct error *err;
    bool ok;
};

static enum MHD_Result check_query(void *context, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    struct query_check *check = context;
    (void)kind;
    for (uint32_t i = 0; check->allowed[i]; i++)
        if (strcmp(check->allowed[i], key) == 0 && value)
            return MHD_YES;
    check->ok = fail(check->err, ERR_JSON, "unknown query argument '%.60s'", key);
    return MHD_NO;
}

bool request_only_queries(const struct request *request, const char *const *allowed,
                          struct error *err)
{
    struct query_check check = {allowed, err, true};
    MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, check_query, &check);
    return check.ok;
}

json_t *request_json(struct request *request, struct error *err)
{
    json_t *value = json_read(request->body ? request->body : "", request->body_bytes, err);
    if (value && !json_is_object(value)) {
        json_decref(value);
        fail(err, ERR_JSON, "the body is not a JSON object");
        return NULL;
    }
    return value;
}

/* Strictness: what intermediaries might read in another way than we is refused. */

struct header_check {
    uint32_t count, hosts, lengths, encodings;
    const char *length;
    const char *wrong; /* NULL: nothing is */
};

static bool host_ok(const char *value)
{
    size_t length = strlen(value);
    return length > 0 && length < 256 &&
           strspn(value,
                  "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~:[]%") ==
               length;
}

static enum MHD_Result check_header(void *context, enum MHD_ValueKind kind, const char *key,
                                    const char *value)
{
    struct header_check *check = context;
    (void)kind;
    check->count++;
    if (*key == '\0' || key[strspn(key, TOKEN_CHARACTERS)] != '\0')
        check->wrong = "a header's name has characters that names cannot have";
    for (const char *at = value ? value : ""; *at != '\0'; at++)
        if (((unsigned char)*at < 0x20 && *at != '\t') || *at == 0x7f)
            check->wrong = "a header's value has control characters";
    if (strcasecmp(key, "host") == 0 && (++check->hosts > 1 || !value || !host_ok(value)))
        check->wrong = "the Host header is odd, or there are two";
    if (strcasecmp(key, "content-length") == 0) {
        check->length = value;
        if (++check->lengths > 1 || !value || *value == '\0' || strlen(value) > 18 ||
            value[strspn(value, "0123456789")] != '\0')
            check->wrong = "the Content-Length header is odd, or there are two";
    }
    if (strcasecmp(key, "transfer-encoding") == 0 &&
        (++check->encodings > 1 || !value || strcasecmp(value, "chunked") != 0))
        check->wrong = "Transfer-Encoding is something else than chunked";
    return MHD_YES;
}

static bool check_headers(struct request *request, const char *version, uint64_t *out_length,
                          bool *out_chunked, struct error *err)
{
    struct header_check check = {.count = 0};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, check_header, &check);
    if (check.count > HEADERS_MOST)
        return fail(err, ERR_LIMIT, "more than %d headers", HEADERS_MOST);
    if (!check.wrong && check.hosts == 0 && strcmp(version, MHD_HTTP_VERSION_1_0) != 0)
        check.wrong = "the Host header is missing";
    if (!check.wrong && check.lengths > 0 && check.encodings > 0)
        check.wrong = "Content-Length and Transfer-Encoding exclude each other";
    if (check.wrong)
        return fail(err, ERR_JSON, "%s", check.wrong);
    *out_length = check.lengths > 0 ? strtoull(check.length, NULL, 10) : 0;
    *out_chunked = check.encodings > 0;
    return true;
}

/* Who it is. */

static bool id_ok(const char *id)
{
    size_t length = id ? strlen(id) : 0;
    return length > 0 && length <= 32 &&
           strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") == length;
}

static void name_request(struct request *request, struct http *http)
{
    const char *given = request_header(request, "X-Request-Id");
    const char *parent = request_header(request, "traceparent");
    if (id_ok(given))
        snprintf(request->id, sizeof request->id, "%s", given);
    else if (parent && strlen(parent) == 55 && parent[2] == '-' && parent[35] == '-')
        snprintf(request->id, sizeof request->id, "%.32s", parent + 3);
    else
        snprintf(request->id, sizeof request->id, "%016llx",
                 (unsigned long long)(http->id_base + HASH64_K1 * ++http->requests));
}

static void name_client(struct request *request)
{
    char text[INET6_ADDRSTRLEN] = "unknown";
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *address = info ? info->client_addr : NULL;
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text,
                  sizeof text);
    else if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, text,
                  sizeof text);
    request->client = arena_strdup(&request->arena, text);
}

static bool authorise(struct request *request, struct error *err)
{
    const struct tokens *tokens = request->server->tokens;
    enum scope needed = request->route->scope;
    request->scopes = ~0u;
    if (!tokens) {
        name_client(request);
        return true;
    }
    const char *header = request_header(request, "Authorization");
    request->scopes = 0;
    if (header && (strncasecmp(header, "Bearer ", 7) != 0 ||
                   !tokens_find(tokens, header + 7, &request->client, &request->scopes)))
        return fail(err, ERR_TOKEN, "the token is unknown");
    if (!header)
        name_client(request);
    if (needed == SCOPE_ANYBODY || (request->scopes & (1u << needed)))
        return true;
    if (!header)
        return fail(err, ERR_TOKEN, "this needs a token: Authorization: Bearer TOKEN");
    return fail(err, ERR_SCOPE, "the token '%s' does not allow this", request->client);
}

/* Content types. */

static bool type_is(const char *header, const char *type)
{
    size_t length = strlen(type);
    return strncasecmp(header, type, length) == 0 &&
           (header[length] == '\0' || header[length] == ';' || header[length] == ' ');
}

static bool check_type(struct request *request, struct error *err)
{
    static const char *const models[] = {"application/octet-stream", "application/onnx",
                                         "application/x-onnx", "application/zip"};
    const char *type = request_header(request, "Content-Type");
    request->source_kind = SOURCE_JSON;
    if (!type || type_is(type, "application/json"))
        return true;
    for (size_t i = 0; request->route->body == BODY_SOURCE && i < sizeof models / sizeof *models;
         i++)
        if (type_is(type, models[i])) {
            request->source_kind = SOURCE_MODEL;
            return true;
        }
    return fail(err, ERR_MEDIA, "'%.60s' is not read here: application/json%s", type,
                request->route->body == BODY_SOURCE ? ", or application/octet-stream for a model"
                                                    : "");
}

static bool begin(struct request *request, const char *version, struct error *err)
{
    uint64_t length = 0;
    bool chunked = false;
    const char *methods;
    uint64_t most = (uint64_t)request->server->settings.max_body_mb << 20;
    if (!check_headers(request, version, &length, &chunked, err))
        return false;
    request->route =
        route_find(request->method, request->path, &request->arena, request->args, &methods);
    if (!request->route && methods[0] != '\0') {
        reply_header(request, "Allow", methods);
        return fail(err, ERR_METHOD, "%s is not among %s", request->method, methods);
    }
    if (!request->route)
        return fail(err, ERR_NOT_FOUND, "nothing is at '%.100s'", request->path);
    if (!authorise(request, err))
        return false;
    if (request->route->body == BODY_NOTHING)
        return (length == 0 && !chunked) || fail(err, ERR_JSON, "this takes no body");
    if (length > most)
        return fail(err, ERR_LIMIT, "a body of %llu bytes; at most %llu are taken",
                    (unsigned long long)length, (unsigned long long)most);
    return check_type(request, err);
}

/* An error before there is a route: Allow is kept. */
static void refuse(struct request *request, const struct error *err)
{
    struct reply before = request->reply;
    reply_error(request, err);
    for (uint32_t i = 0; i < before.header_count; i++)
        reply_header(request, before.headers[i].name, before.headers[i].value);
    request->ended = true;
}

static struct request *request_new(struct server *server, struct MHD_Connection *connection,
                                   const char *url, const char *method)
{
    struct request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->server = server;
    request->connection = connection;
    request->begin_ns = clock_ns();
    arena_init(&request->arena);
    request->path = url; /* of the connection's memory, as long as the request */
    request->method = method;
    request->client = "";
    return request;
}

/* Body. */

static bool take_body(struct request *request, const char *data, size_t size)
{
    uint64_t most = (uint64_t)request->server->settings.max_body_mb << 20;
    struct error err;
    if (request->ended)
        return request->body_bytes + size <= 2 * most; /* read on for a while: the reply follows */
    if (size > most - request->body_bytes) {
        fail(&err, ERR_LIMIT, "the body has more than %llu bytes", (unsigned long long)most);
        refuse(request, &err);
        return true;
    }
    if (request->body_bytes + size + 1 > request->body_capacity) {
        size_t capacity = request->body_capacity ? 2 * request->body_capacity : BODY_FIRST;
        while (capacity < request->body_bytes + size + 1)
            capacity *= 2;
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
    request->arena.oom = NULL; /* whoever goes on has another stack */
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

/* False: it waits, and may be another thread's already. */
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
    request->begun = true;
    if (!request->route->later)
        return handle_now(request);
    request_later(request, request->route->handle, &err);
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
    const char *parent = request_header(request, "traceparent");
    if (reply->type)
        MHD_add_response_header(response, "Content-Type", reply->type);
    MHD_add_response_header(response, "X-Request-Id", request->id);
    if (parent)
        MHD_add_response_header(response, "traceparent", parent);
    for (uint32_t i = 0; i < reply->header_count; i++)
        MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    return response;
}

static enum MHD_Result send_reply(struct request *request)
{
    struct MHD_Response *response = make_response(request);
    if (!response)
        return MHD_NO;
    enum MHD_Result sent = MHD_queue_response(request->connection, request->reply.status, response);
    MHD_destroy_response(response);
    return sent;
}

static bool has_body(const struct request *request)
{
    const char *length = request_header(request, "Content-Length");
    return request_header(request, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    struct http *http = context;
    struct request *request = *state;
    struct error err;
    if (!request) {
        request = request_new(http->server, connection, url, method);
        if (!request)
            return MHD_NO;
        *state = request;
        http->busy++;
        name_request(request, http);
        if (begin(request, version, &err))
            return MHD_YES;
        refuse(request, &err);
        /* Without a body the connection may go on: then the reply waits for the next call. */
        return has_body(request) ? send_reply(request) : MHD_YES;
    }
    uint64_t most_ns = http->server->settings.request_timeout_seconds * UINT64_C(1000000000);
    if (*size > 0) {
        bool ok = clock_ns() - request->begin_ns < most_ns && take_body(request, data, *size);
        *size = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    if (!request->begun && !request->ended && !dispatch(request))
        return MHD_YES;
    return send_reply(request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct http *http = context;
    struct request *request = *state;
    (void)connection;
    (void)code;
    if (!request)
        return;
    metrics_request(http->server->metrics, request->route ? request->route->path : "",
                    request->reply.status, (double)(clock_ns() - request->begin_ns) * 1e-9);
    if (request->reply.release)
        request->reply.release(request->reply.held);
    free(request->body);
    arena_release(&request->arena);
    free(request);
    *state = NULL;
    http->busy--;
}

/* Listening. */

static int listen_at(const struct settings *settings, struct error *err)
{
    char port[16];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    int fd = -1, yes = 1;
    snprintf(port, sizeof port, "%u", settings->port);
    int status = getaddrinfo(settings->host, port, &hints, &found);
    if (status != 0) {
        fail(err, ERR_USAGE, "host '%.100s': %s", settings->host, gai_strerror(status));
        return -1;
    }
    errno = 0;
    for (const struct addrinfo *at = found; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, 1024) == 0)
            break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd < 0)
        fail(err, ERR_IO, "cannot listen at %.100s port %u: %s", settings->host, settings->port,
             strerror(errno));
    return fd;
}

static bool read_pem(const char *path, struct arena *arena, const char **out, struct error *err)
{
    char *text;
    size_t size;
    if (!file_read(path, 1 << 20, &text, &size, err))
        return false;
    *out = arena_strndup(arena, text, size);
    explicit_bzero(text, size);
    free(text);
    return true;
}

static struct MHD_Daemon *start_daemon(struct http *http, int fd, const char *certificate,
                                       const char *key)
{
    const struct settings *settings = &http->server->settings;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = settings->workers ? settings->workers : cores > 0 ? (unsigned)cores : 1;
    bool tls = certificate != NULL;
    struct MHD_OptionItem options[] = {
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)on_completed, http},
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)settings->max_connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)settings->connection_timeout_seconds, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)MEMORY_OF_CONNECTION, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, (intptr_t)threads, NULL},
        {tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_END, 0, NULL}};
    if (threads == 1) /* the end of the list would hide what follows */
        options[6] = (struct MHD_OptionItem){MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL};
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                                MHD_USE_TURBO | (tls ? MHD_USE_TLS : 0),
                            0, NULL, NULL, on_request, http, MHD_OPTION_ARRAY, options,
                            MHD_OPTION_END);
}

bool http_start(struct server *server, struct error *err)
{
    const struct settings *settings = &server->settings;
    struct http *http = calloc(1, sizeof *http);
    const char *certificate = NULL, *key = NULL;
    if (!http)
        return fail(err, ERR_NOMEM, "no memory for HTTP");
    http->server = server;
    http->listen_fd = -1;
    RAND_bytes((uint8_t *)&http->id_base, sizeof http->id_base);
    bool ok = settings->tls_certificate[0] == '\0' ||
              (read_pem(settings->tls_certificate, &server->arena, &certificate, err) &&
               read_pem(settings->tls_key, &server->arena, &key, err));
    if (ok) {
        http->listen_fd = listen_at(settings, err);
        ok = http->listen_fd >= 0;
    }
    if (ok) {
        server->daemon = start_daemon(http, http->listen_fd, certificate, key);
        ok = server->daemon || fail(err, ERR_IO, "cannot start HTTP%s",
                                    certificate ? "S: are certificate and key right?" : "");
    }
    if (ok) {
        server->http = http;
        return true;
    }
    if (http->listen_fd >= 0)
        close(http->listen_fd);
    free(http);
    return false;
}

unsigned http_port(const struct server *server)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    getsockname(server->http->listen_fd, (struct sockaddr *)&address, &size);
    return ntohs(address.ss_family == AF_INET6
                     ? ((const struct sockaddr_in6 *)(const void *)&address)->sin6_port
                     : ((const struct sockaddr_in *)(const void *)&address)->sin_port);
}

uint32_t http_busy(const struct server *server)
{
    return atomic_load(&server->http->busy);
}

void http_quiesce(struct server *server)
{
    if (MHD_quiesce_daemon(server->daemon) != MHD_INVALID_SOCKET)
        shutdown(server->http->listen_fd, SHUT_RDWR);
}

void http_stop(struct server *server)
{
    if (!server->http)
        return;
    MHD_stop_daemon(server->daemon);
    close(server->http->listen_fd);
    free(server->http);
    server->http = NULL;
    server->daemon = NULL;
}
