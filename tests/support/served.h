/* A registry of its own for a test: `urza serve` on a free port of the loopback address, with its
 * data in a new folder. It ends with the thread that started it, whatever becomes of the test.
 * Failures of these helpers fail the test. */
#ifndef URZA_TESTS_SUPPORT_SERVED_H
#define URZA_TESTS_SUPPORT_SERVED_H

#include <stdint.h>
#include <sys/types.h>

struct served {
    pid_t pid; /* 0: it does not run */
    int port;
    char folder[64]; /* data/, home/ and whatever the test puts there */
    char url[64];
};

/* A folder is made unless there is one; port: 0 until it ran, then the same again. option, value:
 * one more of serve; NULL: none. */
void served_start(struct served *served, const char *build, const char *option, const char *value);
void served_stop(struct served *served);   /* as SIGTERM ends it */
void served_remove(struct served *served); /* its folder; stops it first */
/* The key that signs its packages, from /status of a client with the token (NULL: none). */
void served_key(const struct served *served, const char *token, uint8_t out[32]);

#endif
