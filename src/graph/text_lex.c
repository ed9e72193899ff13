/* The pieces of the text form: signs, words, numbers, strings. Reading never passes the terminator
 * of the text. */
#include "graph/text_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

/* Completes a failure with the place of `at`. */
bool text_place(struct parser *p, const char *at)
{
    unsigned line = 1;
    const char *line_start = p->start;
    for (const char *c = p->start; c < at; c++) {
        if (*c == '\n') {
            line++;
            line_start = c + 1;
        }
    }
    p->err->place[0] = '\0';
    return fail_at(p->err, "line %u, column %u", line, (unsigned)(at - line_start) + 1);
}

bool text_expected(struct parser *p, const char *what)
{
    fail(p->err, ERR_PARSE, "expected %s", what);
    return text_place(p, p->at);
}

void text_skip_space(struct parser *p)
{
    while (*p->at == ' ' || *p->at == '\t')
        p->at++;
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
}

/* Takes text, which is a word or a sign, when it comes next. */
bool text_take(struct parser *p, const char *text)
{
    size_t length = strlen(text);
    text_skip_space(p);
    if (strncmp(p->at, text, length) != 0)
        return false;
    if (text[0] >= 'a' && text[0] <= 'z' && is_word_char(p->at[length]))
        return false;
    p->at += length;
    return true;
}

bool text_expect(struct parser *p, const char *text)
{
    char what[32];
    if (text_take(p, text))
        return true;
    snprintf(what, sizeof what, "'%s'", text);
    return text_expected(p, what);
}

bool text_end_line(struct parser *p)
{
    text_skip_space(p);
    if (*p->at == '#')
        p->at += strcspn(p->at, "\n");
    if (*p->at == '\n')
        p->at++;
    else if (p->at != p->end)
        return text_expected(p, "the end of the line");
    return true;
}

bool text_word(struct parser *p, char out[LIMIT_NAME + 1], const char *what)
{
    text_skip_space(p);
    size_t length = 0;
    while (is_word_char(p->at[length]))
        length++;
    if (length == 0 || length > LIMIT_NAME)
        return text_expected(p, what);
    memcpy(out, p->at, length);
    out[length] = '\0';
    p->at += length;
    return true;
}

bool text_int(struct parser *p, int64_t min, int64_t max, int64_t *out)
{
    text_skip_space(p);
    const char *c = p->at;
    bool negative = *c == '-';
    int64_t value = 0;
    bool fits = true;
    if (negative)
        c++;
    if (*c < '0' || *c > '9')
        return text_expected(p, "an integer");
    for (; *c >= '0' && *c <= '9'; c++)
        fits = fits && checked_mul_i64(value, 10, &value) &&
               checked_add_i64(value, negative ? '0' - *c : *c - '0', &value);
    if (!fits || value < min || value > max) {
        fail(p->err, ERR_PARSE, "expected an integer from %" PRId64 " to %" PRId64, min, max);
        return text_place(p, p->at);
    }
    p->at = c;
    *out = value;
    return true;
}

bool text_unsigned(struct parser *p, uint64_t *out)
{
    text_skip_space(p);
    const char *c = p->at;
    uint64_t value = 0;
    bool fits = true;
    if (*c < '0' || *c > '9')
        return text_expected(p, "an unsigned integer");
    for (; *c >= '0' && *c <= '9'; c++)
        fits = fits && !URZA_MUL_OVERFLOW(value, (uint64_t)10, &value) &&
               !URZA_ADD_OVERFLOW(value, (uint64_t)(*c - '0'), &value);
    if (!fits) {
        fail(p->err, ERR_PARSE, "expected an integer below 2^64");
        return text_place(p, p->at);
    }
    p->at = c;
    *out = value;
    return true;
}

/* The value of \uXXXX behind the u, -1 unless it is an ASCII character. */
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

bool text_string(struct parser *p, char out[LIMIT_NAME + 1])
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    size_t length = 0;
    if (!text_expect(p, "\""))
        return false;
    while (*p->at != '"') {
        int c = *p->at++;
        if (c == '\\') {
            const char *letter = *p->at ? strchr(letters, *p->at) : NULL;
            c = letter          ? meanings[letter - letters]
                : *p->at == 'u' ? unicode_escape(p->at + 1)
                                : -1;
            if (!letter && c < 0)
                return text_expected(p, "an escape");
            p->at += letter ? 1 : 5;
        } else if ((unsigned char)c < 0x20) {
            p->at--;
            return text_expected(p, "the end of the string");
        }
        if (length == LIMIT_NAME) {
            fail(p->err, ERR_LIMIT, "the string has more than %d bytes", LIMIT_NAME);
            return text_place(p, p->at);
        }
        out[length++] = (char)c;
    }
    out[length] = '\0';
    p->at++;
    return true;
}

/* Decimal text with a point would be read by the locale's rules, so strtod gets an integer and an
 * exponent. */
bool text_decimal(struct parser *p, double *out)
{
    char text[96];
    size_t length = 0, digits = 0;
    int64_t exponent = 0;
    bool point = false;
    if (*p->at == '-')
        text[length++] = *p->at++;
    for (; (*p->at >= '0' && *p->at <= '9') || (*p->at == '.' && !point); p->at++) {
        if (*p->at == '.') {
            point = true;
            continue;
        }
        if (++digits > 64)
            return text_expected(p, "at most 64 digits");
        text[length++] = *p->at;
        exponent -= point;
    }
    if (digits == 0)
        return text_expected(p, "a number");
    if (*p->at == 'e') {
        int64_t given;
        p->at++;
        if (*p->at == '+')
            p->at++;
        if (!text_int(p, -9999, 9999, &given))
            return false;
        exponent += given;
    }
    snprintf(text + length, sizeof text - length, "e%" PRId64, exponent);
    *out = strtod(text, NULL);
    return true;
}
