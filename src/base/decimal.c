/* Formats with 1 to 17 digits until the text reads back as the same double. printf rounds to the
 * nearest decimal of a given length, so that decimal is tried first. At a power of two the distance
 * to the next double above is twice that to the next one below, so the next decimal up may read
 * back although the nearest one, below, does not (2^-44 is the standard example); there the next
 * decimal up is tried, too. */
#include "base/decimal_priv.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX 17

/* value = 0.DIGITS × 10^point, the first digit not zero. */
struct decimal {
    char digits[DIGITS_MAX + 1];
    int count;
    int point;
};

static bool reads_back(const struct decimal *d, double value)
{
    /* An integer and an exponent: without a decimal point the locale cannot change how the text is
     * read. */
    char text[48];
    snprintf(text, sizeof text, "%se%d", d->digits, d->point - d->count);
    return strtod(text, NULL) == value;
}

/* Rounds a positive value to `count` digits. */
static void round_to(double value, int count, struct decimal *out)
{
    char text[64];
    snprintf(text, sizeof text, "%.*e", count - 1, value);
    const char *exponent = strchr(text, 'e');
    out->count = 0;
    for (const char *p = text; p < exponent && out->count < count; p++)
        if (*p >= '0' && *p <= '9')
            out->digits[out->count++] = *p;
    out->digits[out->count] = '\0';
    out->point = (int)strtol(exponent + 1, NULL, 10) + 1;
}

/* The next larger decimal of the same length. False for 99…9: its successor has fewer digits, and
 * shorter texts were tried before. */
static bool step_up(struct decimal *d)
{
    int i = d->count - 1;
    while (i >= 0 && d->digits[i] == '9')
        d->digits[i--] = '0';
    if (i < 0)
        return false;
    d->digits[i]++;
    return true;
}

static void shortest(double value, struct decimal *out)
{
    int exponent;
    bool power_of_two = frexp(value, &exponent) == 0.5;
    for (int count = 1; count <= DIGITS_MAX; count++) {
        round_to(value, count, out);
        if (reads_back(out, value))
            return;
        struct decimal up = *out;
        if (power_of_two && step_up(&up) && reads_back(&up, value)) {
            *out = up;
            return;
        }
    }
    assert(!"17 digits always read back");
}

size_t decimal_format(double value, char out[DECIMAL_TEXT_BYTES])
{
    assert(isfinite(value));
    const char *sign = signbit(value) ? "-" : "";
    int n;
    if (value == 0) {
        n = snprintf(out, DECIMAL_TEXT_BYTES, "%s0", sign);
        return (size_t)n;
    }
    struct decimal d;
    shortest(fabs(value), &d);
    if (d.count <= d.point && d.point <= 21) {
        n = snprintf(out, DECIMAL_TEXT_BYTES, "%s%s%.*s", sign, d.digits, d.point - d.count,
                     "000000000000000000000");
    } else if (0 < d.point && d.point <= 21) {
        n = snprintf(out, DECIMAL_TEXT_BYTES, "%s%.*s.%s", sign, d.point, d.digits,
                     d.digits + d.point);
    } else if (-6 < d.point && d.point <= 0) {
        n = snprintf(out, DECIMAL_TEXT_BYTES, "%s0.%.*s%s", sign, -d.point, "000000", d.digits);
    } else {
        n = snprintf(out, DECIMAL_TEXT_BYTES, "%s%c%s%se%+d", sign, d.digits[0],
                     d.count > 1 ? "." : "", d.digits + 1, d.point - 1);
    }
    assert(n > 0 && n < DECIMAL_TEXT_BYTES);
    return (size_t)n;
}
