/* A service for tests of the client, with answers that a test defines: correct, wrong, or none. It
 * listens on a free port of the loopback address, handles each connection on a thread of its own,
 * and runs until service_stop. Failures of these helpers fail the test. */
#ifndef URZA_CLIENT_TEST_UTIL_H
#define URZA_CLIENT_TEST_UTIL_H

#include "runtime/test_util.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "urza/client.h"

#define HEARD_BYTES 65536

struct heard {
    int fd;          /* to write the answer to */
    unsigned number; /* counts the requests of the service, from 1 */
    char method[8], path[512];
    char head[HEARD_BYTES], body[HEARD_BYTES];
};

struct service {
    /* Answers a request; true: the connection stays open. Runs on the connection's thread. */
    bool (*answer)(struct service *service, struct heard *heard);
    const void *data; /* for `answer` */
    size_t size;
    const char *text, *id;
    atomic_uint requests, connections;
    char url[64];
    int listener;
    atomic_uint open; /* number of connection threads */
    atomic_bool stopping;
    pthread_t thread;
};

void service_start(struct service *service); /* answer and data must be set */
void service_stop(struct service *service);

/* Helpers for `answer` functions. */
void say(int fd, const char *text); /* sends text as it is; a closed connection is no failure */
void say_bytes(int fd, const void *data, size_t size);
/* Sends a complete answer; headers: each ends with "\r\n". */
void say_answer(int fd, const char *status, const char *headers, const char *type, const void *body,
                size_t size);
void say_json(int fd, const char *status, const char *json);
/* Copies the value of a request's header to out; NULL: it has none. */
const char *heard_header(const struct heard *heard, const char *name, char *out, size_t size);

/* Folders: make a new one; count and name the regular files below it; remove it recursively. */
const char *folder_new(char out[64]);
unsigned folder_files(const char *folder, char *last, size_t last_size); /* regular ones */
void folder_remove(const char *folder);

#endif
