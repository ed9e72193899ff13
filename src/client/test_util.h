/* A service for tests of the client, which answers as a test wants: rightly, wrongly, or not at
 * all. It listens at a free port of the loopback address, takes each connection on a thread of its
 * own, and is there until service_stop. Failures of these helpers fail the test. */
#ifndef URZA_CLIENT_TEST_UTIL_H
#define URZA_CLIENT_TEST_UTIL_H

#include "runtime/test_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "urza/client.h"

#define HEARD_BYTES 65536

struct heard {
    int fd;          /* where the answer goes */
    unsigned number; /* of requests of the service, from 1 */
    char method[8], path[512];
    char head[HEARD_BYTES], body[HEARD_BYTES];
};

struct service {
    /* Answers a request; true: the connection stays. On a thread of the connection. */
    bool (*answer)(struct service *service, struct heard *heard);
    const void *data; /* for the answer */
    size_t size;
    const char *text, *id;
    atomic_uint requests, connections;
    char url[64];
    int listener;
    atomic_uint open; /* threads of connections */
    atomic_bool stopping;
    pthread_t thread;
};

void service_start(struct service *service); /* with answer and data set */
void service_stop(struct service *service);

/* Answers, for such functions. */
void say(int fd, const char *text); /* as it is; a connection that is gone is no failure */
void say_bytes(int fd, const void *data, size_t size);
/* A whole answer; headers: each ends with "\r\n". */
void say_answer(int fd, const char *status, const char *headers, const char *type, const void *body,
                size_t size);
void say_json(int fd, const char *status, const char *json);
/* The value of a header of the request; NULL: it has none. In the caller's buffer. */
const char *heard_header(const struct heard *heard, const char *name, char *out, size_t size);

/* Folders: a new one; the regular files below one; removing it with all of them. */
const char *folder_new(char out[64]);
unsigned folder_files(const char *folder, char *last, size_t last_size); /* regular ones */
void folder_remove(const char *folder);

#endif
