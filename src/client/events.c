/* Splits a stream into lines, and lines into events: an empty line ends one. Lines end with LF or
 * CR LF; a CR alone, which the standard also allows as a line end, is ignored. */
#include "client/events.h"

#include <stdio.h>
#include <string.h>

static void forget(struct events *events)
{
    snprintf(events->kind, sizeof events->kind, "message");
    events->has_data = false;
    events->data_bytes = 0;
    events->data[0] = '\0';
}

void events_begin(struct events *events)
{
    events->line_bytes = 0;
    events->too_long = false;
    forget(events);
}

/* The value in a line of this field; NULL: the line has another field. */
static const char *value_of(const char *line, const char *field)
{
    size_t length = strlen(field);
    if (strncmp(line, field, length) != 0 || line[length] != ':')
        return NULL;
    return line[length + 1] == ' ' ? line + length + 2 : line + length + 1;
}

static bool add_data(struct events *events, const char *value)
{
    size_t room = EVENT_BYTES - events->data_bytes;
    int length = snprintf(events->data + events->data_bytes, room, "%s%s",
                          events->has_data ? "\n" : "", value);
    events->too_long = (size_t)length >= room;
    events->data_bytes += events->too_long ? 0 : (size_t)length;
    events->has_data = true;
    return !events->too_long;
}

static bool take_line(struct events *events)
{
    const char *value;
    events->line[events->line_bytes] = '\0';
    bool ends = events->line_bytes == 0, ok = true;
    events->line_bytes = 0;
    if (ends) {
        if (events->has_data)
            ok = events->tell(events->context, events->kind, events->data);
        forget(events);
    } else if ((value = value_of(events->line, "event")) != NULL) {
        snprintf(events->kind, sizeof events->kind, "%s", value);
    } else if ((value = value_of(events->line, "data")) != NULL) {
        ok = add_data(events, value);
    }
    return ok;
}

bool events_take(struct events *events, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '\r')
            continue;
        if (data[i] == '\n') {
            if (!take_line(events))
                return false;
        } else if (events->line_bytes == EVENT_BYTES - 1) {
            events->too_long = true;
            return false;
        } else {
            events->line[events->line_bytes++] = data[i];
        }
    }
    return true;
}
