/* A service whose answers a test defines. */
#include "client/test_util.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

struct connection {
    struct service *service;
    int fd;
};

static bool wait_readable(struct service *service, int fd)
{
    while (!atomic_load(&service->stopping)) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, 20) > 0)
            return true;
    }
    return false;
}

/* Reads one request. False: the connection was closed. */
static bool hear(struct service *service, int fd, struct heard *heard)
{
    size_t size = 0, length = 0;
    char text[32], *end = NULL;
    while (!end && size < HEARD_BYTES - 1) {
        if (!wait_readable(service, fd))
            return false;
        ssize_t n = recv(fd, heard->head + size, 1, 0);
        if (n <= 0)
            return false;
        size += (size_t)n;
        heard->head[size] = '\0';
        end = strstr(heard->head, "\r\n\r\n");
    }
    heard->fd = fd;
    heard->body[0] = '\0';
    if (sscanf(heard->head, "%7s %511s", heard->method, heard->path) != 2)
        return false;
    if (heard_header(heard, "Content-Length", text, sizeof text))
        length = strtoul(text, NULL, 10);
    if (length >= HEARD_BYTES || (length > 0 && !file_read_all(fd, heard->body, length)))
        return false;
    heard->body[length] = '\0';
    heard->number = atomic_fetch_add(&service->requests, 1) + 1;
    return true;
}

static void *serve(void *context)
{
    struct connection connection = *(struct connection *)context;
    struct service *service = connection.service;
    struct heard *heard = calloc(1, sizeof *heard);
    free(context);
    while (hear(service, connection.fd, heard) && service->answer(service, heard))
        ;
    shutdown(connection.fd, SHUT_WR);
    close(connection.fd);
    free(heard);
    atomic_fetch_sub(&service->open, 1);
    return NULL;
}

static void *listen_on(void *context)
{
    struct service *service = context;
    while (wait_readable(service, service->listener)) {
        int one = 1, fd = accept(service->listener, NULL, NULL);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *connection = malloc(sizeof *connection);
        pthread_t thread;
        *connection = (struct connection){service, fd};
        atomic_fetch_add(&service->connections, 1);
        atomic_fetch_add(&service->open, 1);
        if (pthread_create(&thread, NULL, serve, connection) == 0) {
            pthread_detach(thread);
        } else {
            atomic_fetch_sub(&service->open, 1);
            free(connection);
            close(fd);
        }
    }
    return NULL;
}

void service_start(struct service *service)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    atomic_store(&service->stopping, false);
    atomic_store(&service->requests, 0);
    atomic_store(&service->connections, 0);
    service->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(service->listener >= 0);
    assert_int_equal(bind(service->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(service->listener, 64), 0);
    assert_int_equal(getsockname(service->listener, (struct sockaddr *)&address, &size), 0);
    snprintf(service->url, sizeof service->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&service->thread, NULL, listen_on, service), 0);
}

void service_stop(struct service *service)
{
    atomic_store(&service->stopping, true);
    pthread_join(service->thread, NULL);
    close(service->listener);
    while (atomic_load(&service->open) > 0)
        usleep(1000);
}

void say_bytes(int fd, const void *data, size_t size)
{
    for (const char *at = data; size > 0;) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += n;
        size -= (size_t)n;
    }
}

void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

void say_answer(int fd, const char *status, const char *headers, const char *type, const void *body,
                size_t size)
{
    char head[1024];
    snprintf(head, sizeof head, "HTTP/1.1 %s\r\n%sContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
             status, headers, type, size);
    say(fd, head);
    say_bytes(fd, body, size);
}

void say_json(int fd, const char *status, const char *json)
{
    say_answer(fd, status, "", "application/json", json, strlen(json));
}

const char *heard_header(const struct heard *heard, const char *name, char *out, size_t size)
{
    size_t length = strlen(name);
    for (const char *at = strstr(heard->head, "\r\n"); at; at = strstr(at, "\r\n")) {
        at += 2;
        if (strncasecmp(at, name, length) != 0 || at[length] != ':')
            continue;
        at += length + 1;
        at += strspn(at, " ");
        snprintf(out, size, "%.*s", (int)strcspn(at, "\r\n"), at);
        return out;
    }
    return NULL;
}

/* Folders. */

const char *folder_new(char out[64])
{
    snprintf(out, 64, "/tmp/urza-client-XXXXXX");
    assert_non_null(mkdtemp(out));
    return out;
}

/* Walks a folder recursively; removes everything if asked to. */
static unsigned walk(const char *folder, bool removes, char *last, size_t last_size)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char path[1024];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (lstat(path, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode)) {
            count += walk(path, removes, last, last_size);
            continue;
        }
        count++;
        if (last)
            snprintf(last, last_size, "%s", path);
        if (removes)
            unlink(path);
    }
    if (dir)
        closedir(dir);
    if (removes)
        rmdir(folder);
    return count;
}

unsigned folder_files(const char *folder, char *last, size_t last_size)
{
    return walk(folder, false, last, last_size);
}

void folder_remove(const char *folder)
{
    walk(folder, true, NULL, 0);
}
