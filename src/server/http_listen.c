/* Listening, and open connections: those that take too long to send a request are closed, even if
 * they keep sending bytes. */
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/entropy.h"
#include "base/file.h"
#include "server/http_priv.h"

/* For the headers of a request and of its reply. */
#define MEMORY_OF_CONNECTION ((size_t)32 << 10)
#define OTHER_FILES 256 /* descriptors that are not connections */
#define CROWDED_PART 4  /* idle connections are closed when less than this part is free */
#define TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* Connections. */

static void open_connection(struct http *http, struct MHD_Connection *handle, void **socket_context)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *connection = calloc(1, sizeof *connection);
    *socket_context = connection;
    if (!connection || !info) /* it gets the timeout of idle connections only */
        return;
    connection->fd = info->connect_fd;
    pthread_mutex_lock(&http->lock);
    connection->next = http->connections;
    connection->at = &http->connections;
    if (connection->next)
        connection->next->at = &connection->next;
    http->connections = connection;
    http->connection_count++;
    pthread_mutex_unlock(&http->lock);
    http_await_request(http->server, handle);
}

static void close_connection(struct http *http, struct connection *connection)
{
    if (!connection)
        return;
    pthread_mutex_lock(&http->lock);
    if (connection->at) {
        *connection->at = connection->next;
        http->connection_count--;
    }
    if (connection->at && connection->next)
        connection->next->at = connection->at;
    pthread_mutex_unlock(&http->lock);
    free(connection);
}

static void on_connection(void *context, struct MHD_Connection *handle, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        open_connection(context, handle, socket_context);
    else /* the descriptor is closed afterwards */
        close_connection(context, *socket_context);
}

static struct connection *find_connection(struct MHD_Connection *handle)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

void http_set_deadline(struct MHD_Connection *handle, uint64_t deadline_ns)
{
    struct connection *connection = find_connection(handle);
    if (!connection)
        return;
    atomic_store(&connection->deadline_ns, deadline_ns);
    atomic_store(&connection->ended, false);
    atomic_store(&connection->replying, false);
    atomic_store(&connection->idle_ns, 0);
}

void http_set_reply_deadline(struct MHD_Connection *handle, uint64_t deadline_ns)
{
    struct connection *connection = find_connection(handle);
    if (!connection)
        return;
    atomic_store(&connection->replying, true);
    atomic_store(&connection->deadline_ns, deadline_ns);
}

uint64_t http_patience(const struct server *server)
{
    const struct settings *settings = &server->settings;
    return (uint64_t)settings->connection_timeout_seconds + settings->request_timeout_seconds;
}

void http_await_request(const struct server *server, struct MHD_Connection *handle)
{
    struct connection *connection = find_connection(handle);
    uint64_t now = clock_ns();
    http_set_deadline(handle, now + http_patience(server) * NS_PER_S);
    if (connection)
        atomic_store(&connection->idle_ns, now);
}

/* Whether a client has closed its end before sending a whole request. The library uses
 * edge-triggered readiness, and misses an end of file that arrives together with the last bytes. It
 * may still be processing bytes it has read, so the end of file counts only when it is seen a
 * second time. */
static bool is_abandoned(struct connection *connection)
{
    char byte;
    return !atomic_load(&connection->replying) &&
           recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0 &&
           atomic_exchange(&connection->ended, true);
}

void http_close_late(struct server *server)
{
    struct http *http = server->http;
    uint64_t now = clock_ns();
    pthread_mutex_lock(&http->lock);
    uint32_t most = server->settings.max_connections;
    bool crowded = http->connection_count > most - most / CROWDED_PART;
    for (struct connection *at = http->connections; at; at = at->next) {
        uint64_t deadline_ns = atomic_load(&at->deadline_ns), idle_ns = atomic_load(&at->idle_ns);
        bool idle = idle_ns != 0 && idle_ns + NS_PER_S < now;
        if (deadline_ns != UINT64_MAX &&
            (deadline_ns < now || (crowded && idle) || is_abandoned(at)))
            shutdown(at->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&http->lock);
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

static bool is_ours(const char *path, struct error *err)
{
    struct stat info;
    return stat(path, &info) != 0 || file_is_ours(&info, path, err);
}

/* Raises the limit on descriptors to what connections need, or lowers the number of connections
 * where the system does not allow it. */
static void allow_files(struct settings *settings)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)settings->max_connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
        return;
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t others = limit.rlim_cur / 2 < OTHER_FILES ? limit.rlim_cur / 2 : OTHER_FILES;
    if (limit.rlim_cur - others < settings->max_connections)
        settings->max_connections = (uint32_t)(limit.rlim_cur - others);
}

static struct MHD_Daemon *start_daemon(struct http *http, int fd, const char *certificate,
                                       const char *key)
{
    const struct settings *settings = &http->server->settings;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = settings->workers ? settings->workers : cores > 0 ? (unsigned)cores : 1;
    bool tls = certificate != NULL;
    struct MHD_OptionItem options[16] = {
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)http_on_target, http},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)http_on_completed, http},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)on_connection, http},
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)settings->max_connections, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)settings->connection_timeout_seconds, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, (intptr_t)MEMORY_OF_CONNECTION, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL}};
    const struct MHD_OptionItem of_tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_VERSIONS}};
    size_t count = 8;
    if (threads > 1)
        options[count++] =
            (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL};
    for (size_t i = 0; tls && i < sizeof of_tls / sizeof of_tls[0]; i++)
        options[count++] = of_tls[i];
    options[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                                MHD_USE_TURBO | (tls ? MHD_USE_TLS : 0),
                            0, NULL, NULL, http_on_request, http, MHD_OPTION_ARRAY, options,
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
    pthread_mutex_init(&http->lock, NULL);
    bool ok = entropy_fill(&http->id_base, sizeof http->id_base, err);
    ok = ok && (settings->tls_certificate[0] == '\0' ||
                (is_ours(settings->tls_key, err) &&
                 read_pem(settings->tls_certificate, &server->arena, &certificate, err) &&
                 read_pem(settings->tls_key, &server->arena, &key, err)));
    if (ok) {
        http->listen_fd = listen_at(settings, err);
        ok = http->listen_fd >= 0;
    }
    if (ok) {
        server->http = http;
        allow_files(&server->settings);
        server->daemon = start_daemon(http, http->listen_fd, certificate, key);
        ok = server->daemon || fail(err, ERR_IO, "cannot start HTTP%s",
                                    certificate ? "S: are certificate and key right?" : "");
    }
    if (ok)
        return true;
    server->http = NULL;
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
    pthread_mutex_destroy(&server->http->lock);
    free(server->http);
    server->http = NULL;
    server->daemon = NULL;
}
