/* Logs: each line is one write, so that lines of several threads do not mix. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/server_priv.h"

#define LINE_MOST                                                                             \
    4000 /* a pipe with any room takes so much at once; the note about lost lines is included \
          */

static const char *const names[] = {"debug", "info", "warning", "error"};

int log_level_from_name(const char *name)
{
    int level = LOG_DEBUG;
    while (level < LOG_ERROR && strcmp(names[level], name) != 0)
        level++;
    return level;
}

/* A log that cannot be written must neither stop nor delay the service: lines that do not fit into
 * a full pipe are lost, and the next line says how many. */
static void put(const char *text, size_t size)
{
    static atomic_uint lost;
    char note[64];
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) == 0) {
        atomic_fetch_add(&lost, 1);
        return;
    }
    unsigned count = atomic_exchange(&lost, 0);
    int length = snprintf(note, sizeof note, "{\"event\":\"lines lost\",\"count\":%u}\n", count);
    ssize_t written = count > 0 ? write(STDERR_FILENO, note, (size_t)length) : 0;
    written = write(STDERR_FILENO, text, size < LINE_MOST ? size : LINE_MOST);
    (void)written;
}

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
    text[size] = '\n'; /* replaces the zero byte */
    put(text, size + 1);
    free(text);
}
