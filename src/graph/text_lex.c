/* The tokens of the text form: punctuation, words, numbers, strings. Parsing never passes the
 * terminator of the text. */
#include "graph/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/limits.h"
#include "graph/dim.h"

bool text_open(struct text_reader *in, struct arena *arena, const char *text, size_t size,
               struct error *err)
{
    if (size > LIMIT_JSON_BYTES)
        return fail(err, ERR_LIMIT, "more than %zu bytes of text", LIMIT_JSON_BYTES);
    char *copy = arena_alloc(arena, size + 1, 1);
    if (size > 0)
        memcpy(copy, text, size);
    *in = (struct text_reader){.start = copy, .at = copy, .end = copy + size, .err = err};
    const char *zero = size > 0 ? memchr(copy, 0, size) : NULL;
    if (!zero)
        return true;
    fail(err, ERR_PARSE, "expected text, not a zero byte");
    return text_place(in, zero);
}

bool text_place(struct text_reader *in, const char *at)
{
    unsigned line = 1;
    const char *line_start = in->start;
    for (const char *c = in->start; c < at; c++) {
        if (*c == '\n') {
            line++;
            line_start = c + 1;
        }
    }
    in->err->place[0] = '\0';
    return fail_at(in->err, "line %u, column %u", line, (unsigned)(at - line_start) + 1);
}

bool text_expected(struct text_reader *in, const char *what)
{
    fail(in->err, ERR_PARSE, "expected %s", what);
    return text_place(in, in->at);
}

void text_skip_space(struct text_reader *in)
{
    while (*in->at == ' ' || *in->at == '\t')
        in->at++;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

bool text_take(struct text_reader *in, const char *text)
{
    size_t length = strlen(text);
    text_skip_space(in);
    if (strncmp(in->at, text, length) != 0)
        return false;
    if (text[0] >= 'a' && text[0] <= 'z' && is_word_char(in->at[length]))
        return false;
    in->at += length;
    return true;
}

bool text_expect(struct text_reader *in, const char *text)
{
    char what[32];
    if (text_take(in, text))
        return true;
    snprintf(what, sizeof what, "'%s'", text);
    return text_expected(in, what);
}

bool text_end_line(struct text_reader *in)
{
    text_skip_space(in);
    if (*in->at == '#')
        in->at += strcspn(in->at, "\n");
    if (*in->at == '\n')
        in->at++;
    else if (in->at != in->end)
        return text_expected(in, "the end of the line");
    return true;
}

bool text_next_line(struct text_reader *in)
{
    text_skip_space(in);
    while (*in->at == '#' || *in->at == '\n') {
        if (*in->at == '#')
            in->at += strcspn(in->at, "\n");
        else
            in->at++;
        text_skip_space(in);
    }
    return in->at != in->end;
}

bool text_word(struct text_reader *in, char out[LIMIT_NAME + 1], const char *what)
{
    text_skip_space(in);
    size_t length = 0;
    while (is_word_char(in->at[length]))
        length++;
    if (length == 0 || length > LIMIT_NAME)
        return text_expected(in, what);
    memcpy(out, in->at, length);
    out[length] = '\0';
    in->at += length;
    return true;
}

bool text_int(struct text_reader *in, int64_t min, int64_t max, int64_t *out)
{
    text_skip_space(in);
    const char *c = in->at;
    bool negative = *c == '-';
    int64_t value = 0;
    bool fits = true;
    if (negative)
        c++;
    if (*c < '0' || *c > '9')
        return text_expected(in, "an integer");
    for (; *c >= '0' && *c <= '9'; c++)
        fits = fits && checked_mul_i64(value, 10, &value) &&
               checked_add_i64(value, negative ? '0' - *c : *c - '0', &value);
    if (!fits || value < min || value > max) {
        fail(in->err, ERR_PARSE, "expected an integer from %" PRId64 " to %" PRId64, min, max);
        return text_place(in, in->at);
    }
    in->at = c;
    *out = value;
    return true;
}

bool text_unsigned(struct text_reader *in, uint64_t *out)
{
    text_skip_space(in);
    const char *c = in->at;
    uint64_t value = 0;
    bool fits = true;
    if (*c < '0' || *c > '9')
        return text_expected(in, "an unsigned integer");
    for (; *c >= '0' && *c <= '9'; c++)
        fits = fits && !URZA_MUL_OVERFLOW(value, (uint64_t)10, &value) &&
               !URZA_ADD_OVERFLOW(value, (uint64_t)(*c - '0'), &value);
    if (!fits) {
        fail(in->err, ERR_PARSE, "expected an integer below 2^64");
        return text_place(in, in->at);
    }
    in->at = c;
    *out = value;
    return true;
}

/* The value of the four digits after \u, or -1 unless it is an ASCII character. */
static int unicode_escape(const char *digits)
{
    char text[5] = {0};
    for (int i = 0; i < 4; i++) {
        if (digits[i] == '\0' || !strchr("0123456789abcdefABCDEF", digits[i]))
            return -1;
        text[i] = digits[i];
    }
    long code = strtol(text, NULL, 16);
    return code > 0 && code < 0x80 ? (int)code : -1;
}

/* Bytes up to the quote that ends a string, or to the end of the text. */
static size_t string_bytes(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0' && text[length] != '"')
        length += text[length] == '\\' && text[length + 1] != '\0' ? 2 : 1;
    return length;
}

bool text_string(struct text_reader *in, struct arena *arena, const char **out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (!text_expect(in, "\""))
        return false;
    char *to = arena_alloc(arena, string_bytes(in->at) + 1, 1);
    *out = to;
    while (*in->at != '"') {
        int c = *in->at++;
        if (c == '\\') {
            const char *letter = *in->at ? strchr(letters, *in->at) : NULL;
            c = letter           ? meanings[letter - letters]
                : *in->at == 'u' ? unicode_escape(in->at + 1)
                                 : -1;
            if (!letter && c < 0)
                return text_expected(in, "an escape");
            in->at += letter ? 1 : 5;
        } else if ((unsigned char)c < 0x20) {
            in->at--;
            return text_expected(in, "the end of the string");
        }
        *to++ = (char)c;
    }
    *to = '\0';
    in->at++;
    return true;
}

/* strtod would read a decimal point by the locale's rules, so it gets an integer and an
 * exponent. */
bool text_decimal(struct text_reader *in, double *out)
{
    char text[96];
    size_t length = 0, digits = 0;
    int64_t exponent = 0;
    bool point = false;
    if (*in->at == '-')
        text[length++] = *in->at++;
    for (; (*in->at >= '0' && *in->at <= '9') || (*in->at == '.' && !point); in->at++) {
        if (*in->at == '.') {
            point = true;
            continue;
        }
        if (++digits > 64)
            return text_expected(in, "at most 64 digits");
        text[length++] = *in->at;
        exponent -= point;
    }
    if (digits == 0)
        return text_expected(in, "a number");
    if (*in->at == 'e') {
        int64_t given;
        in->at++;
        if (*in->at == '+')
            in->at++;
        if (!text_int(in, -9999, 9999, &given))
            return false;
        exponent += given;
    }
    snprintf(text + length, sizeof text - length, "e%" PRId64, exponent);
    *out = strtod(text, NULL);
    return true;
}

bool text_number(struct text_reader *in, enum dtype dtype, double *out_value, int64_t *out_integer)
{
    if (dtype == DTYPE_U64) {
        uint64_t value;
        if (!text_unsigned(in, &value))
            return false;
        *out_integer = (int64_t)value;
        return true;
    }
    if (!dtype_is_float(dtype)) {
        const char *before = in->at;
        int64_t value;
        if (!text_int(in, INT64_MIN, INT64_MAX, &value))
            return false;
        *out_integer = value;
        if (dtype_wrap(dtype, value) == value)
            return true;
        fail(in->err, ERR_PARSE, "%" PRId64 " does not fit %s", value, dtype_name(dtype));
        return text_place(in, before);
    }
    if (text_take(in, "nan"))
        *out_value = (double)NAN;
    else if (text_take(in, "inf"))
        *out_value = (double)INFINITY;
    else if (text_take(in, "-inf"))
        *out_value = -(double)INFINITY;
    else
        return text_decimal(in, out_value);
    return true;
}

bool text_hex(struct text_reader *in, struct arena *arena, size_t limit, const void **out,
              uint32_t *out_bytes)
{
    static const char hex[] = "0123456789abcdef";
    if (!text_expect(in, "0x"))
        return false;
    size_t digits = strspn(in->at, hex);
    if (digits % 2 != 0)
        return text_expected(in, "an even number of hex digits");
    if (digits / 2 > limit) {
        fail(in->err, ERR_LIMIT, "more than %zu bytes of data", limit);
        return text_place(in, in->at);
    }
    uint8_t *data = arena_alloc(arena, digits / 2, 16);
    for (size_t i = 0; i < digits; i += 2)
        data[i / 2] =
            (uint8_t)((strchr(hex, in->at[i]) - hex) << 4 | (strchr(hex, in->at[i + 1]) - hex));
    *out = data;
    *out_bytes = (uint32_t)(digits / 2);
    in->at += digits;
    return true;
}

bool text_dim(struct text_reader *in, struct dim_table *dims)
{
    char name[LIMIT_NAME + 1];
    const char *spelling = NULL;
    struct dim_name dim = {.name = name};
    uint32_t index;
    text_skip_space(in);
    const char *before = in->at;
    if (!text_word(in, name, "the name of a dim") || !text_int(in, 0, INT64_MAX, &dim.min) ||
        !text_expect(in, "..") || !text_int(in, 0, INT64_MAX, &dim.max) ||
        !text_expect(in, "multiple") || !text_int(in, 1, INT64_MAX, &dim.multiple_of))
        return false;
    if (text_take(in, "typical") && !text_int(in, 1, INT64_MAX, &dim.typical))
        return false;
    if (text_take(in, "why") && !text_string(in, dims->arena, &dim.why))
        return false;
    if (text_take(in, "spelled") && !text_string(in, dims->arena, &spelling))
        return false;
    if (!dim_declare(dims, &dim, &index, in->err))
        return text_place(in, before);
    if (spelling)
        dim_spell(dims, index, spelling);
    return text_end_line(in);
}
