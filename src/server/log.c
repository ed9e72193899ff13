/* Logs: one write a line, so that lines of threads do not mix. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/server_priv.h"

static const char *const names[] = {"debug", "info", "warning", "error"};

void log_line(const struct server *server, enum log_level level, const char *what, json_t *fields)
{
    if ((int)level < server->log_level) {
        json_decref(fields);
        return;
    }
    struct timespec now;
    struct tm parts;
    char stamp[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(stamp + length, sizeof stamp - length, ".%03ldZ", now.tv_nsec / 1000000);
    json_t *line =
        json_pack("{s:s, s:s, s:s}", "time", stamp, "level", names[level], "event", what);
    if (fields)
        json_object_update_missing(line, fields);
    json_decref(fields);
    char *text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(line);
    if (!text)
        return;
    size_t size = strlen(text);
    text[size] = '\n'; /* in place of the zero byte */
    ssize_t written = write(STDERR_FILENO, text, size + 1);
    (void)written; /* a log that nobody can read is no reason to stop */
    free(text);
}
