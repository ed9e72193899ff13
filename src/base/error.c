/* Errors are plain values of fixed size.
 *
 * Invariants:
 * 1. place and message are always terminated, and cutting never splits a UTF-8 sequence, so
 *    that an error can be put into JSON as it is.
 * 2. Text is formatted in a local buffer first, because arguments may point into the error
 * itself. */
#include "base/error.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct error_row {
    const char *name, *text;
    int http, exit;
    bool retryable;
};

static const struct error_row rows[ERR_COUNT] = {
#define ERROR(code, name, http, exit, retryable, text) [code] = {name, text, http, exit, retryable},
#include "base/errors.def"
#undef ERROR
};

/* The largest length ≤ length that does not end inside a UTF-8 sequence. */
static size_t whole_utf8(const char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && length - start < 3 && ((uint8_t)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return length;
    uint8_t lead = (uint8_t)text[start - 1];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return length - (start - 1) < need ? start - 1 : length;
}

/* Formats into text, which has size bytes, cutting what does not fit. Returns the length. */
static size_t format_cut(char *text, size_t size, const char *fmt, va_list args)
{
    int wanted = vsnprintf(text, size, fmt, args);
    if (wanted < 0)
        wanted = 0;
    size_t length = (size_t)wanted;
    if (length >= size)
        length = whole_utf8(text, size - 1);
    text[length] = '\0';
    return length;
}

bool fail_v(struct error *err, enum error_code code, const char *fmt, va_list args)
{
    assert(code > ERR_NONE && code < ERR_COUNT);
    char text[sizeof err->message];
    size_t length = format_cut(text, sizeof text, fmt, args);
    err->code = code;
    err->place[0] = '\0';
    memcpy(err->message, text, length + 1);
    return false;
}

bool fail(struct error *err, enum error_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fail_v(err, code, fmt, args);
    va_end(args);
    return false;
}

bool fail_at(struct error *err, const char *fmt, ...)
{
    char text[2 * sizeof err->place + 2];
    va_list args;
    va_start(args, fmt);
    size_t length = format_cut(text, sizeof err->place, fmt, args);
    va_end(args);
    if (length > 0 && err->place[0] != '\0') {
        memcpy(text + length, ", ", 2);
        length += 2;
    }
    size_t old = strlen(err->place);
    memcpy(text + length, err->place, old);
    length += old;
    if (length >= sizeof err->place)
        length = whole_utf8(text, sizeof err->place - 1);
    memcpy(err->place, text, length);
    err->place[length] = '\0';
    return false;
}

static const struct error_row *row_of(enum error_code code)
{
    assert(code < ERR_COUNT);
    return &rows[code];
}

const char *error_name(enum error_code code)
{
    return row_of(code)->name;
}

const char *error_text(enum error_code code)
{
    return row_of(code)->text;
}

int error_http(enum error_code code)
{
    return row_of(code)->http;
}

int error_exit(enum error_code code)
{
    return row_of(code)->exit;
}

enum error_code error_of_exit(int status)
{
    for (int code = ERR_NONE + 1; code < ERR_COUNT; code++)
        if (rows[code].exit == status)
            return (enum error_code)code;
    return ERR_NONE;
}

bool error_retryable(enum error_code code)
{
    return row_of(code)->retryable;
}
