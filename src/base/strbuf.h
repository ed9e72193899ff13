/* Text being built in an arena. Always terminated; may hold any bytes. */
#ifndef URZA_BASE_STRBUF_H
#define URZA_BASE_STRBUF_H

#include <stddef.h>

#include "base/compiler.h"

struct arena;

struct strbuf {
    struct arena *arena;
    char *data; /* never NULL after init */
    size_t size_bytes, capacity_bytes;
};

void strbuf_init(struct strbuf *buf, struct arena *arena);
/* Makes room for size more bytes, so that adding them does not move the text. */
void strbuf_reserve(struct strbuf *buf, size_t size);
void strbuf_add(struct strbuf *buf, const void *bytes, size_t size);
void strbuf_puts(struct strbuf *buf, const char *text);
void strbuf_printf(struct strbuf *buf, const char *fmt, ...) URZA_PRINTF(2, 3);
/* Appends the shortest decimal text that reads back as the same double; "nan", "inf", "-inf" for
 * the rest. */
void strbuf_double(struct strbuf *buf, double value);

#endif
