/* Streams in pieces of every size, and beyond the limits. */
#include "client/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct told {
    char text[512];
    int most; /* number of events that are accepted */
};

static bool tell(void *context, const char *kind, const char *data)
{
    struct told *told = context;
    size_t length = strlen(told->text);
    snprintf(told->text + length, sizeof told->text - length, "[%s %s]", kind, data);
    return --told->most != 0;
}

static struct events *new_events(struct told *told)
{
    struct events *events = calloc(1, sizeof *events);
    assert_non_null(events);
    events->tell = tell;
    events->context = told;
    events_begin(events);
    return events;
}

static void pieces_of_every_size(void **state)
{
    static const char stream[] =
        ": welcome\n\nevent: progress\ndata: {\"a\":1}\n\nretry: 5\ndata:x\r\ndata: y\r\n\r\n"
        "event: lonely\n\ndata\ndataset: no\ndata: \n\nevent: end\ndata: z\n\ndata: not ended";
    (void)state;
    for (size_t piece = 1; piece < sizeof stream; piece++) {
        struct told told = {.most = -1};
        struct events *events = new_events(&told);
        for (size_t at = 0; at < sizeof stream - 1; at += piece)
            assert_true(
                events_take(events, stream + at,
                            sizeof stream - 1 - at < piece ? sizeof stream - 1 - at : piece));
        assert_string_equal(told.text, "[progress {\"a\":1}][message x\ny][message ][end z]");
        free(events);
    }
}

static void what_is_not_ended_is_dropped(void **state)
{
    struct told told = {.most = -1};
    struct events *events = new_events(&told);
    (void)state;
    assert_true(events_take(events, "event: a\ndata: 1\nda", 19));
    events_begin(events);
    assert_true(events_take(events, "data: 2\n\n", 9));
    assert_string_equal(told.text, "[message 2]");
    told.most = 1;
    assert_false(events_take(events, "data: 3\n\ndata: 4\n\n", 18));
    assert_string_equal(told.text, "[message 2][message 3]");
    assert_false(events->too_long);
    free(events);
}

/* Parses a line of size bytes, or several lines of data with as many in total. */
static bool take_long(struct events *events, size_t size, size_t lines)
{
    char *line = malloc(size + 16);
    memset(line, 'x', size);
    memcpy(line, "data: ", 6);
    line[size] = '\n';
    bool ok = true;
    for (size_t i = 0; ok && i < lines; i++)
        ok = events_take(events, line, size + 1);
    free(line);
    return ok && events_take(events, "\n", 1);
}

static void bounds(void **state)
{
    struct told told = {.most = -1};
    struct events *events = new_events(&told);
    (void)state;
    assert_true(take_long(events, EVENT_BYTES - 1, 1));
    assert_false(take_long(events, EVENT_BYTES, 1));
    assert_true(events->too_long);
    events_begin(events);
    assert_true(take_long(events, EVENT_BYTES / 2, 2));
    events_begin(events);
    assert_false(take_long(events, EVENT_BYTES / 2, 3));
    assert_true(events->too_long);
    free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_every_size),
        cmocka_unit_test(what_is_not_ended_is_dropped),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
