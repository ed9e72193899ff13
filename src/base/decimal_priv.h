/* The shortest decimal text of a double, as ECMAScript's Number::toString writes it (ECMA-262,
 * 6.1.6.1.20), which RFC 8785 prescribes: the fewest digits that read back as the same double, and
 * of those texts the nearest to it. Does not depend on the locale. Any thread may call. */
#ifndef URZA_BASE_DECIMAL_PRIV_H
#define URZA_BASE_DECIMAL_PRIV_H

#include <stddef.h>

#define DECIMAL_TEXT_BYTES 32 /* "-0.0000012345678901234567" and the terminator, rounded up */

/* Writes a finite value, terminated; returns the length. Negative zero is "-0", not ECMAScript's
 * "0". */
size_t decimal_format(double value, char out[DECIMAL_TEXT_BYTES]);

#endif
