#include "broken_registry.h"

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"

#define HEAD_BYTES 8192
#define SLOW_US 60000
#define TYPE "Content-Type: application/vnd.urza.package\r\n"

struct registry_shared {
    atomic_int way;
    atomic_uint alias;
    atomic_uint_fast64_t answers[WAY_COUNT], garbled, draws;
};

/* A request. */
struct asked {
    int fd;
    struct registry_shared *shared;
    const struct registry_package *package, *other;
};

static uint32_t draw(struct registry_shared *shared, uint32_t below)
{
    uint64_t at = atomic_fetch_add(&shared->draws, 1);
    return (uint32_t)(((uint64_t)rng_u32(rng_key(123), at) * below) >> 32);
}

static void send_all(int fd, const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += n;
        size -= (size_t)n;
    }
}

static void send_text(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

/* A head of success, with further lines. */
static void send_head(const struct asked *a, const char *lines)
{
    char head[1024];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nX-Kernel-Id: %s\r\nETag: \"%s\"\r\n%s\r\n",
             a->package->id, a->package->id, lines);
    send_text(a->fd, head);
}

static void send_sized(const struct asked *a, size_t said, const void *body, size_t size)
{
    char lines[128];
    snprintf(lines, sizeof lines, TYPE "Content-Length: %zu\r\n", said);
    send_head(a, lines);
    send_all(a->fd, body, size);
}

/* Ways. Each returns whether the connection stays open. */

static bool honest(const struct asked *a)
{
    send_sized(a, a->package->size, a->package->bytes, a->package->size);
    return true;
}

static bool end_at_once(const struct asked *a)
{
    (void)a;
    return false;
}

static bool cut(const struct asked *a)
{
    send_sized(a, a->package->size, a->package->bytes, draw(a->shared, (uint32_t)a->package->size));
    return false;
}

static bool reset_it(const struct asked *a)
{
    const struct linger now = {.l_onoff = 1};
    cut(a);
    setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return false;
}

static bool cut_head(const struct asked *a)
{
    static const char head[] = "HTTP/1.1 200 OK\r\n" TYPE "Content-Le";
    send_all(a->fd, head, 1 + draw(a->shared, sizeof head - 1));
    return false;
}

static bool flip(const struct asked *a)
{
    char *copy = malloc(a->package->size);
    memcpy(copy, a->package->bytes, a->package->size);
    copy[draw(a->shared, (uint32_t)a->package->size)] ^= (char)(1 << draw(a->shared, 8));
    send_sized(a, a->package->size, copy, a->package->size);
    free(copy);
    return true;
}

static bool other(const struct asked *a)
{
    send_sized(a, a->other->size, a->other->bytes, a->other->size);
    return true;
}

static bool empty(const struct asked *a)
{
    send_sized(a, 0, "", 0);
    return true;
}

static bool zeros(const struct asked *a)
{
    char *none = calloc(1, a->package->size);
    send_sized(a, a->package->size, none, a->package->size);
    free(none);
    return true;
}

static bool says_less(const struct asked *a)
{
    send_sized(a, draw(a->shared, (uint32_t)a->package->size), a->package->bytes, a->package->size);
    return true;
}

static bool huge(const struct asked *a)
{
    send_sized(a, (size_t)1 << 60, a->package->bytes, a->package->size);
    return false;
}

static bool lengths(const struct asked *a)
{
    char lines[128];
    snprintf(lines, sizeof lines, TYPE "Content-Length: %zu\r\nContent-Length: %zu\r\n",
             a->package->size, a->package->size / 2);
    send_head(a, lines);
    send_all(a->fd, a->package->bytes, a->package->size);
    return false;
}

static bool unbounded(const struct asked *a)
{
    send_head(a, TYPE "Connection: close\r\n");
    send_all(a->fd, a->package->bytes, draw(a->shared, (uint32_t)a->package->size));
    return false;
}

static bool chunks(const struct asked *a)
{
    static const char *const sizes[] = {
        "-1\r\n", "zz\r\n", "ffffffffffffffffff\r\n", "10\r\n", "\r\n", "0\r\n", "10;x=\r\n"};
    send_head(a, TYPE "Transfer-Encoding: chunked\r\n");
    send_text(a->fd, sizes[draw(a->shared, sizeof sizes / sizeof sizes[0])]);
    send_all(a->fd, a->package->bytes, 16);
    return false;
}

static bool coding(const struct asked *a)
{
    char lines[160];
    snprintf(lines, sizeof lines, TYPE "Content-Encoding: %s\r\nContent-Length: %zu\r\n",
             draw(a->shared, 2) ? "gzip" : "zstd", a->package->size);
    send_head(a, lines);
    send_all(a->fd, a->package->bytes, a->package->size);
    return true;
}

static bool status(const struct asked *a)
{
    static const char *const lines[] = {
        "100 Continue",        "204 No Content",
        "206 Partial Content", "301 Moved",
        "304 Not Modified",    "400 Bad Request",
        "401 Unauthorized",    "404 Not Found",
        "418 I'm a teapot",    "500 Server Error",
        "502 Bad Gateway",     "999 Nothing",
        "-1 Nothing",          "",
    };
    static const char *const bodies[] = {
        "{\"error\": \"NotFoundError\", \"message\": \"no\"}",
        "{\"error\": 7, \"message\": null}",
        "{\"error\": \"NoSuchError\", \"message\": [[[[[[[[",
        "[]",
        "",
    };
    char head[256];
    const char *body = bodies[draw(a->shared, sizeof bodies / sizeof bodies[0])];
    snprintf(head, sizeof head,
             "HTTP/1.1 %s\r\nLocation: http://127.0.0.1:1/\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n\r\n%s",
             lines[draw(a->shared, sizeof lines / sizeof lines[0])], strlen(body), body);
    send_text(a->fd, head);
    return draw(a->shared, 2) != 0;
}

static bool busy(const struct asked *a)
{
    static const char *const when[] = {"0", "1", "999999999", "-3", "soon"};
    char head[256];
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n",
             draw(a->shared, 2) ? "503 Service Unavailable" : "429 Too Many Requests",
             when[draw(a->shared, sizeof when / sizeof when[0])]);
    send_text(a->fd, head);
    return true;
}

static bool type(const struct asked *a)
{
    static const char page[] = "<html>no</html>";
    char lines[128];
    snprintf(lines, sizeof lines, "Content-Type: text/html\r\nContent-Length: %zu\r\n",
             sizeof page - 1);
    send_head(a, lines);
    send_text(a->fd, page);
    return true;
}

static bool headers(const struct asked *a)
{
    send_text(a->fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 400; i++) {
        char line[256];
        snprintf(line, sizeof line, "X-Header-%d: %0200d\r\n", i, i);
        send_text(a->fd, line);
    }
    return false;
}

static bool etag(const struct asked *a)
{
    char head[1024];
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nX-Kernel-Id: %0300d\r\nETag: \"%0400d\"\r\n" TYPE
             "Content-Length: %zu\r\n\r\n",
             1, 2, a->package->size);
    send_text(a->fd, head);
    send_all(a->fd, a->package->bytes, a->package->size);
    return true;
}

static void send_noise(int fd, struct registry_shared *shared)
{
    uint32_t noise[64];
    for (size_t i = 0; i < 64; i++)
        noise[i] = draw(shared, UINT32_MAX);
    send_all(fd, noise, 1 + draw(shared, sizeof noise));
}

static bool noise(const struct asked *a)
{
    send_noise(a->fd, a->shared);
    return false;
}

static bool slow(const struct asked *a)
{
    size_t half = a->package->size / 2;
    send_sized(a, a->package->size, a->package->bytes, half);
    usleep(SLOW_US);
    send_all(a->fd, (const char *)a->package->bytes + half, a->package->size - half);
    return true;
}

static const struct {
    const char *name;
    bool (*answer)(const struct asked *a);
} ways[WAY_COUNT] = {
    [WAY_HONEST] = {"honest", honest},
    [WAY_CLOSE] = {"close", end_at_once},
    [WAY_RESET] = {"reset", reset_it},
    [WAY_CUT] = {"cut", cut},
    [WAY_CUT_HEAD] = {"cut head", cut_head},
    [WAY_FLIP] = {"flip", flip},
    [WAY_OTHER] = {"other", other},
    [WAY_EMPTY] = {"empty", empty},
    [WAY_ZEROS] = {"zeros", zeros},
    [WAY_SHORT] = {"short", says_less},
    [WAY_HUGE] = {"huge", huge},
    [WAY_LENGTHS] = {"lengths", lengths},
    [WAY_UNBOUNDED] = {"unbounded", unbounded},
    [WAY_CHUNKS] = {"chunks", chunks},
    [WAY_CODING] = {"coding", coding},
    [WAY_STATUS] = {"status", status},
    [WAY_BUSY] = {"busy", busy},
    [WAY_TYPE] = {"type", type},
    [WAY_HEADERS] = {"headers", headers},
    [WAY_ETAG] = {"etag", etag},
    [WAY_NOISE] = {"noise", noise},
    [WAY_SLOW] = {"slow", slow},
};

const char *registry_way_name(enum registry_way way)
{
    return ways[way].name;
}

/* The service. */

struct listening {
    int listener;
    bool garbled;
    struct registry_shared *shared;
    const struct registry_package *packages;
};

struct connection {
    const struct listening *listening;
    int fd;
};

/* Reads one request; false: the connection has ended. */
static bool hear(int fd, char *head)
{
    size_t size = 0;
    while (size < HEAD_BYTES - 1) {
        ssize_t n = recv(fd, head + size, HEAD_BYTES - 1 - size, 0);
        if (n <= 0)
            return false;
        size += (size_t)n;
        head[size] = '\0';
        if (strstr(head, "\r\n\r\n")) /* nobody sends a body, or the next request before this */
            return true;
    }
    return false;
}

static bool answer(const struct listening *l, int fd, const char *head)
{
    const struct registry_package *packages = l->packages;
    uint32_t which = atomic_load(&l->shared->alias) % REGISTRY_PACKAGES;
    for (uint32_t i = 0; i < REGISTRY_PACKAGES; i++)
        if (strstr(head, packages[i].id) && strstr(head, packages[i].id) < strchr(head, '\r'))
            which = i;
    const struct asked asked = {.fd = fd,
                                .shared = l->shared,
                                .package = &packages[which],
                                .other = &packages[(which + 1) % REGISTRY_PACKAGES]};
    int way = atomic_load(&l->shared->way);
    atomic_fetch_add(&l->shared->answers[way], 1);
    return ways[way].answer(&asked);
}

/* What is no TLS: an alert, the beginning of a record, noise, plain HTTP, nothing. */
static void garble(const struct listening *l, int fd)
{
    static const char alert[] = {21, 3, 3, 0, 2, 2, 40}, record[] = {22, 3, 3, 0x40, 0, 2, 0};
    char hello[64];
    uint32_t which = draw(l->shared, 6);
    atomic_fetch_add(&l->shared->garbled, 1);
    if (which > 0 && recv(fd, hello, sizeof hello, 0) <= 0)
        return;
    if (which == 1)
        send_all(fd, alert, sizeof alert);
    if (which == 2)
        send_all(fd, record, sizeof record);
    if (which == 3)
        send_noise(fd, l->shared);
    if (which == 4)
        send_text(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

static void *serve(void *context)
{
    struct connection connection = *(struct connection *)context;
    char head[HEAD_BYTES];
    free(context);
    if (connection.listening->garbled)
        garble(connection.listening, connection.fd);
    else
        while (hear(connection.fd, head) && answer(connection.listening, connection.fd, head))
            ;
    close(connection.fd);
    return NULL;
}

static void *listen_on(void *context)
{
    struct listening *l = context;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int one = 1, fd = accept(l->listener, NULL, NULL);
        struct connection *connection = fd >= 0 ? malloc(sizeof *connection) : NULL;
        if (!connection)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        *connection = (struct connection){l, fd};
        if (pthread_create(&thread, &attr, serve, connection) != 0) {
            free(connection);
            close(fd);
        }
    }
    return NULL;
}

static int listen_somewhere(const char *scheme, char url[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(url, 64, "%s://127.0.0.1:%d", scheme, ntohs(address.sin_port));
    return fd;
}

void registry_start(struct registry *registry, const struct registry_package *packages)
{
    int plain = listen_somewhere("http", registry->url);
    int garbled = listen_somewhere("https", registry->garbled_url);
    close(listen_somewhere("http", registry->closed_url));
    registry->shared = mmap(NULL, sizeof *registry->shared, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(registry->shared != MAP_FAILED);
    registry->pid = fork();
    assert_true(registry->pid >= 0);
    if (registry->pid == 0) {
        pthread_t thread;
        struct listening first = {plain, false, registry->shared, packages};
        struct listening second = {garbled, true, registry->shared, packages};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (pthread_create(&thread, NULL, listen_on, &second) == 0)
            listen_on(&first);
        _exit(1);
    }
    close(plain);
    close(garbled);
}

void registry_say(struct registry *registry, enum registry_way way, uint32_t alias)
{
    atomic_store(&registry->shared->way, way);
    atomic_store(&registry->shared->alias, alias);
}

uint64_t registry_faults(const struct registry *registry)
{
    uint64_t sum = atomic_load(&registry->shared->garbled);
    for (int way = WAY_HONEST + 1; way < WAY_COUNT; way++)
        sum += atomic_load(&registry->shared->answers[way]);
    return sum;
}

uint64_t registry_answers(const struct registry *registry, enum registry_way way)
{
    return atomic_load(&registry->shared->answers[way]);
}

void registry_stop(struct registry *registry)
{
    int status;
    assert_int_equal(waitpid(registry->pid, &status, WNOHANG), 0);
    kill(registry->pid, SIGKILL);
    assert_int_equal(waitpid(registry->pid, &status, 0), registry->pid);
    munmap(registry->shared, sizeof *registry->shared);
}
