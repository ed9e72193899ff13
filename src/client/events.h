/* Parses server-sent events (HTML Living Standard, 9.2.6), as far as streams of jobs use them, from
 * bytes in pieces of any size. Fields other than `event` and `data` are skipped. Lines and the data
 * of an event have bounds. One thread. */
#ifndef URZA_CLIENT_EVENTS_H
#define URZA_CLIENT_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

#define EVENT_BYTES 65536 /* of a line, and of an event's data, terminators included */

struct events {
    /* Called for each event: kind is "message" if the stream names none; both are borrowed. False:
     * end parsing. */
    bool (*tell)(void *context, const char *kind, const char *data);
    void *context;
    bool too_long; /* a bound was exceeded, so events_take returned false */
    bool has_data;
    size_t line_bytes, data_bytes;
    char kind[32], line[EVENT_BYTES], data[EVENT_BYTES];
};

/* Prepares for a new stream, dropping an unfinished event. tell and context are kept. */
void events_begin(struct events *events);
/* False: tell returned false, or too_long. */
bool events_take(struct events *events, const char *data, size_t size);

#endif
