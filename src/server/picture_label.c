/* Makes untrusted text safe for XML. */
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "server/picture_priv.h"

#define REPLACEMENT 0xfffdu

/* Excludes control characters, zero-width marks that could change how the surrounding text is read,
 * and code points that are no characters. */
static bool is_printable(uint32_t c)
{
    static const uint32_t refused[][2] = {
        {0, 0x1f},          {0x7f, 0x9f},           {0xad, 0xad},     {0x61c, 0x61c},
        {0x180e, 0x180e},   {0x200b, 0x200f},       {0x2028, 0x202e}, {0x2060, 0x206f},
        {0xd800, 0xdfff},   {0xfdd0, 0xfdef},       {0xfeff, 0xfeff}, {0xfff9, 0xfffb},
        {0xe0000, 0xe0fff}, {0x110000, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (c >= refused[i][0] && c <= refused[i][1])
            return false;
    return (c & 0xfffe) != 0xfffe;
}

/* Decodes the next UTF-8 character; a byte that begins none becomes U+FFFD. */
static uint32_t next_char(const unsigned char **at, const unsigned char *end)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    uint32_t c = *(*at)++;
    if (c < 0x80)
        return is_printable(c) ? c : REPLACEMENT;
    ptrdiff_t more = c >= 0xc2 && c < 0xe0   ? 1
                     : c >= 0xe0 && c < 0xf0 ? 2
                     : c >= 0xf0 && c < 0xf5 ? 3
                                             : 0;
    if (more == 0 || end - *at < more)
        return REPLACEMENT;
    c &= 0x3fu >> more;
    for (ptrdiff_t i = 0; i < more; i++) {
        if (((*at)[i] & 0xc0) != 0x80)
            return REPLACEMENT;
        c = c << 6 | ((*at)[i] & 0x3fu);
    }
    if (c < least[more] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        return REPLACEMENT;
    *at += more;
    return is_printable(c) ? c : REPLACEMENT;
}

/* East Asian characters and pictographs take two columns. */
static uint32_t columns_of(uint32_t c)
{
    return (c >= 0x1100 && c < 0x2000) || (c >= 0x2e80 && c != REPLACEMENT) ? 2 : 1;
}

static void add_char(struct strbuf *out, uint32_t c, const unsigned char *bytes, size_t size)
{
    const char *entity = c == '&'           ? "&amp;"
                         : c == '<'         ? "&lt;"
                         : c == '>'         ? "&gt;"
                         : c == '"'         ? "&quot;"
                         : c == '\''        ? "&#39;"
                         : c == REPLACEMENT ? "\xef\xbf\xbd"
                                            : NULL;
    if (entity)
        strbuf_puts(out, entity);
    else
        strbuf_add(out, bytes, size);
}

struct label label_make(struct arena *arena, const char *text, size_t size, uint32_t columns_max)
{
    const unsigned char *start = (const unsigned char *)text, *end = start + size;
    size_t columns = 0, at = 0;
    for (const unsigned char *p = start; p < end;)
        columns += columns_of(next_char(&p, end));
    bool all = columns <= columns_max;
    size_t head = all ? columns : columns_max / 3, tail = all ? 0 : columns_max - 1 - head;
    size_t used = 0;
    bool cut = false;
    struct strbuf out;
    strbuf_init(&out, arena);
    for (const unsigned char *p = start; p < end;) {
        const unsigned char *before = p;
        uint32_t c = next_char(&p, end), wide = columns_of(c);
        if (at + wide <= head || at >= columns - tail) {
            add_char(&out, c, before, (size_t)(p - before));
            used += wide;
        } else if (!cut) {
            strbuf_puts(&out, "…");
            used++;
            cut = true;
        }
        at += wide;
    }
    return (struct label){out.data, (uint32_t)used};
}
