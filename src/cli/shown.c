/* Makes text safe for a terminal. Names, paths and messages quote untrusted text: a control
 * character in it could move the cursor, change the window's title or hide text, and one that
 * changes the direction of writing would make it look different. Such characters are printed as
 * numbers: \x1b for a byte, \u202e for a character. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/child.h"
#include "base/strbuf.h"
#include "cli/cli_priv.h"

/* Decodes the character at text and returns its length; 0 for invalid UTF-8. */
static size_t decode(const char *text, size_t size, uint32_t *out)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t lead = (uint8_t)text[0];
    size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t code = length == 1 ? lead : lead & (0x7fu >> length);
    if (length == 0 || lead > 0xf4 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        uint8_t byte = (uint8_t)text[i];
        if ((byte & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (byte & 0x3f);
    }
    *out = code;
    bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return code < least[length] || code > 0x10ffff || surrogate ? 0 : length;
}

/* Whether a character may be printed: not control characters, nor Unicode's characters that change
 * direction or break lines (marks, embeddings, overrides, isolates, separators). */
static bool is_plain(uint32_t code, bool lines)
{
    if (code < 0x20)
        return lines && (code == '\n' || code == '\t');
    return !(code >= 0x7f && code < 0xa0) && code != 0x061c && code != 0x200e && code != 0x200f &&
           !(code >= 0x2028 && code <= 0x202e) && !(code >= 0x2066 && code <= 0x2069) &&
           code != 0xfeff;
}

/* The number of bytes before the first character that must not be printed. */
static size_t plain_bytes(const char *text, size_t size, bool lines)
{
    size_t at = 0;
    for (size_t length = 1; at < size && length > 0; at += length) {
        uint32_t code = 0;
        length = decode(text + at, size - at, &code);
        length = length > 0 && is_plain(code, lines) ? length : 0;
    }
    return at;
}

/* The replacement for the character at text; returns the character's length. In JSON output, where
 * the only unescaped control characters are DEL and those beyond ASCII, the replacement is an
 * escape with the same meaning. */
static size_t escape(const char *text, size_t size, char out[16])
{
    uint32_t code = 0;
    size_t length = decode(text, size, &code);
    if (length == 0 || code < 0x20)
        snprintf(out, 16, "\\x%02x", (unsigned)(uint8_t)text[0]);
    else
        snprintf(out, 16, "\\u%04x", (unsigned)code);
    return length > 0 ? length : 1;
}

const char *report_word(struct cli *cli, const char *text)
{
    struct strbuf out;
    size_t size = strlen(text);
    strbuf_init(&out, cli->arena);
    for (size_t at = 0; at < size;) {
        size_t plain = plain_bytes(text + at, size - at, false);
        char instead[16];
        strbuf_add(&out, text + at, plain);
        at += plain;
        if (at == size)
            break;
        at += escape(text + at, size - at, instead);
        strbuf_puts(&out, instead);
    }
    return out.data;
}

static void put_shown(FILE *file, const char *text, size_t size, bool lines)
{
    for (size_t at = 0; at < size;) {
        size_t plain = plain_bytes(text + at, size - at, lines);
        char instead[16];
        fwrite(text + at, 1, plain, file);
        at += plain;
        if (at == size)
            break;
        at += escape(text + at, size - at, instead);
        fputs(instead, file);
    }
}

void report_block(FILE *file, const char *text, size_t size)
{
    put_shown(file, text, size, true);
}

void report_part(FILE *file, const char *text)
{
    put_shown(file, text, strlen(text), false);
}

void report_lines(FILE *file, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int size = vasprintf(&text, fmt, args);
    va_end(args);
    if (size < 0)
        child_no_memory();
    put_shown(file, text, (size_t)size, true);
    free(text);
}
