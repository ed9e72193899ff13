/* For families without loops of their own: plain ones, vectorised by the C compiler. */
#include <string.h>

#include "profile/peak_priv.h"

#define CHAINS 16

static float multiply_add_plain(void)
{
    float sums[CHAINS], sum = 0;
    for (int i = 0; i < CHAINS; i++)
        sums[i] = (float)i;
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            sums[i] = sums[i] * 0.5f + 1.0f;
    for (int i = 0; i < CHAINS; i++)
        sum += sums[i];
    return sum;
}

static float read_plain(const float *data, size_t count)
{
    float sums[CHAINS] = {0}, sum = 0;
    for (size_t at = 0; at + CHAINS <= count; at += CHAINS)
#pragma GCC unroll 16
        for (size_t i = 0; i < CHAINS; i++)
            sums[i] += data[at + i];
    for (int i = 0; i < CHAINS; i++)
        sum += sums[i];
    return sum;
}

copy_fn *const peak_copy_past_caches = memcpy;

const struct variant peak_variants[] = {{"", 1, CHAINS, multiply_add_plain, read_plain}};
const uint32_t peak_variant_count = 1;
