/* Server-sent events (HTML Living Standard, 9.2.6), as far as streams of jobs use them: bytes in
 * any pieces in, events out. Fields other than `event` and `data` are skipped. Lines and the data
 * of an event have bounds. One thread. */
#ifndef URZA_CLIENT_EVENTS_H
#define URZA_CLIENT_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

#define EVENT_BYTES 65536 /* of a line, and of an event's data, terminators included */

struct events {
    /* Takes an event: kind is "message" where the stream names none; both borrowed. False: no more
     * of this stream. */
    bool (*tell)(void *context, const char *kind, const char *data);
    void *context;
    bool too_long; /* a bound was passed: why events_take gave up */
    bool has_data;
    size_t line_bytes, data_bytes;
    char kind[32], line[EVENT_BYTES], data[EVENT_BYTES];
};

/* For a new stream: what an earlier one left unfinished is dropped. tell and context stay. */
void events_begin(struct events *events);
/* False: tell wants no more, or too_long. */
bool events_take(struct events *events, const char *data, size_t size);

#endif
