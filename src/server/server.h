/* The service: takes blueprints over HTTP, compiles each once, keeps and serves packages.
 *
 *   connections ─► router ─► handlers ─► answers (memory) ─► registry (catalogue, objects)
 *                                           └─ miss ─► pool ─► build/ ─► compiler processes
 *
 * One process answers; compilers are processes of a spawner that is forked before there are threads
 * (build/spawner.h). server_run is called by a process that has none yet, and returns when it was
 * told to stop. */
#ifndef URZA_SERVER_SERVER_H
#define URZA_SERVER_SERVER_H

#include <stdbool.h>

#include "base/error.h"
#include "server/settings.h"

struct arena;

struct server_options {
    struct settings settings;
    const char *home; /* of keys; NULL: DATA/home */
    /* Called once it listens, with its URL; NULL: nobody asks. */
    void (*on_ready)(void *context, const char *url);
    void *context;
};

/* Serves until SIGTERM or SIGINT, then answers what it has read and returns within 10 s. Both stay
 * blocked: the process is to end, and a second one changes nothing. Errors of starting: ERR_USAGE
 * (settings), ERR_IO (the address, the data), ERR_UNSUPPORTED (data of a later version). Logs go to
 * standard error, a line of JSON each. */
bool server_run(const struct server_options *options, struct error *err);

/* What it answers, for docs: a row of routes.def. scope: "read" … False behind the last. */
struct endpoint {
    const char *method, *path, *scope, *doc;
};
bool server_endpoint(uint32_t index, struct endpoint *out);

/* fsck and gc of a stopped service's data: as registry_fsck and registry_tend have it, a line on
 * standard output for each fault. */
bool server_fsck(const struct settings *settings, bool repair, unsigned long *out_faults,
                 struct error *err);
bool server_gc(const struct settings *settings, struct error *err);

/* A line for the file of tokens, and the token: 43 characters. ERR_USAGE for scopes that are none.
 */
bool server_new_token(const char *name, const char *scopes, struct arena *arena,
                      const char **out_token, const char **out_line, struct error *err);

#endif
