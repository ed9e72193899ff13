/* Size arithmetic on untrusted input: each function returns false, and leaves *out unchanged, when
 * the exact result does not fit. */
#ifndef URZA_BASE_CHECKED_H
#define URZA_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

static inline bool checked_add_i64(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    return !URZA_ADD_OVERFLOW(a, b, &r) && (*out = r, true);
}

static inline bool checked_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    int64_t r;
    return !URZA_MUL_OVERFLOW(a, b, &r) && (*out = r, true);
}

static inline bool checked_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    return !URZA_ADD_OVERFLOW(a, b, &r) && (*out = r, true);
}

static inline bool checked_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    return !URZA_MUL_OVERFLOW(a, b, &r) && (*out = r, true);
}

#endif
