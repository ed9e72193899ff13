/* The service: receives blueprints over HTTP, compiles each once, stores and serves packages.
 *
 *   connections ─► router ─► handlers ─► answers (memory) ─► registry (catalogue, objects)
 *                                           └─ miss ─► pool ─► build/ ─► compiler processes
 *
 * One process serves requests; compilers run in processes of a spawner, which is forked before
 * there are threads (build/spawner.h). server_run must be called while the process has one thread,
 * and returns when it is told to stop. */
#ifndef URZA_SERVER_SERVER_H
#define URZA_SERVER_SERVER_H

#include <stdbool.h>

#include "base/error.h"
#include "server/settings.h"

struct arena;

struct server_options {
    struct settings settings;
    const char *home; /* folder with keys; NULL: DATA/home */
    /* Called once the service listens, with its URL; NULL: not called. */
    void (*on_ready)(void *context, const char *url);
    void *context;
};

/* Serves until SIGTERM or SIGINT, then answers what it has read and returns within 10 s. Both
 * signals stay blocked, since the process is expected to end, so a second one has no effect. Errors
 * of starting: ERR_USAGE (settings), ERR_IO (the address, the data), ERR_UNSUPPORTED (data of a
 * later version). Logs go to standard error, one JSON object per line. */
bool server_run(const struct server_options *options, struct error *err);

/* A route of the service, for docs: a row of routes.def. scope: "read" … False after the last. */
struct endpoint {
    const char *method, *path, *scope, *doc;
};
bool server_endpoint(uint32_t index, struct endpoint *out);

/* fsck and gc on the data of a stopped service, as registry_fsck and registry_tend; one line on
 * standard output per fault. */
bool server_fsck(const struct settings *settings, bool repair, unsigned long *out_faults,
                 struct error *err);
bool server_gc(const struct settings *settings, struct error *err);

/* Makes a token (43 characters) and its line for the file of tokens. ERR_USAGE for unknown scopes.
 */
bool server_new_token(const char *name, const char *scopes, struct arena *arena,
                      const char **out_token, const char **out_line, struct error *err);

#endif
