/* data[size_bytes] is always the terminator, so capacity_bytes > size_bytes. Growing copies into
 * new arena memory and leaves the old memory valid, so bytes being added may point into the buffer
 * itself. */
#include "base/strbuf.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/decimal_priv.h"

#define FIRST_CAPACITY 64
/* A package must be aligned to be read where it is; larger texts waste nothing by it. */
#define ALIGNED_CAPACITY 4096
#define DATA_ALIGN 64

void strbuf_init(struct strbuf *buf, struct arena *arena)
{
    *buf = (struct strbuf){
        .arena = arena,
        .data = arena_alloc(arena, FIRST_CAPACITY, 1),
        .capacity_bytes = FIRST_CAPACITY,
    };
}

void strbuf_reserve(struct strbuf *buf, size_t size)
{
    size_t need;
    if (!checked_add_size(buf->size_bytes, size, &need) || !checked_add_size(need, 1, &need))
        need = SIZE_MAX; /* too much for any arena */
    if (need <= buf->capacity_bytes)
        return;
    size_t capacity = need;
    if (buf->capacity_bytes <= SIZE_MAX / 2 && capacity < 2 * buf->capacity_bytes)
        capacity = 2 * buf->capacity_bytes;
    char *data = arena_alloc(buf->arena, capacity, capacity < ALIGNED_CAPACITY ? 1 : DATA_ALIGN);
    memcpy(data, buf->data, buf->size_bytes + 1);
    buf->data = data;
    buf->capacity_bytes = capacity;
}

void strbuf_add(struct strbuf *buf, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    strbuf_reserve(buf, size);
    memcpy(buf->data + buf->size_bytes, bytes, size);
    buf->size_bytes += size;
    buf->data[buf->size_bytes] = '\0';
}

void strbuf_puts(struct strbuf *buf, const char *text)
{
    strbuf_add(buf, text, strlen(text));
}

void strbuf_printf(struct strbuf *buf, const char *fmt, ...)
{
    /* Short text is formatted once, into a local buffer, because the arguments may point into the
     * buffer being extended. */
    char text[256];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    assert(length >= 0);
    size_t size = (size_t)length;
    if (size < sizeof text) {
        strbuf_add(buf, text, size);
    } else {
        char *whole = arena_alloc(buf->arena, size + 1, 1);
        vsnprintf(whole, size + 1, fmt, again);
        strbuf_add(buf, whole, size);
    }
    va_end(again);
}

void strbuf_double(struct strbuf *buf, double value)
{
    char text[DECIMAL_TEXT_BYTES];
    if (isnan(value)) {
        strbuf_puts(buf, "nan");
    } else if (isinf(value)) {
        strbuf_puts(buf, value > 0 ? "inf" : "-inf");
    } else {
        size_t size = decimal_format(value, text);
        strbuf_add(buf, text, size);
    }
}
