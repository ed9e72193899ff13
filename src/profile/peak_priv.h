/* The loops that measure a processor, with versions for each feature level, the widest first. A
 * file per family (peak_x86_64.c) or one for all others (peak_plain.c), chosen when the program is
 * built. */
#ifndef URZA_PROFILE_PEAK_PRIV_H
#define URZA_PROFILE_PEAK_PRIV_H

#include <stddef.h>
#include <stdint.h>

#define STEPS 1024           /* multiply-adds of each accumulator in one repetition */
#define PART_UNIT_BYTES 1024 /* a multiple of what one iteration of any read_fn reads */

/* Runs 12 chains of multiply-adds, which hides their latency; returns the sum so that they are not
 * optimised away. */
typedef float multiply_add_fn(void);
/* Sums `count` floats; count is a multiple of PART_UNIT_BYTES / 4, and data is aligned to
 * PART_UNIT_BYTES. */
typedef float read_fn(const float *data, size_t count);

/* As memcpy, with stores that bypass the caches; bytes is a multiple of PART_UNIT_BYTES / 2, with
 * the same alignment. */
typedef void *copy_fn(void *to, const void *from, size_t bytes);
extern copy_fn *const peak_copy_past_caches;

struct variant {
    const char *target;     /* "": runs on any */
    uint32_t lanes, chains; /* of multiply_add */
    multiply_add_fn *multiply_add;
    read_fn *read;
};
extern const struct variant peak_variants[];
extern const uint32_t peak_variant_count;

#endif
