/* x86-64: vectors of one, two and four times 128 bits. */
#include <immintrin.h>

#include "base/compiler.h"
#include "profile/peak_priv.h"

#define CHAINS 12
#define READ_CHAINS 8

URZA_TARGET("avx512f") static float multiply_add_avx512(void)
{
    __m512 sums[CHAINS], factor = _mm512_set1_ps(0.5f), term = _mm512_set1_ps(1.0f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm512_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm512_fmadd_ps(sums[i], factor, term);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm512_add_ps(sums[0], sums[i]);
    return _mm512_cvtss_f32(sums[0]);
}

URZA_TARGET("avx512f") static float read_avx512(const float *data, size_t count)
{
    __m512 sums[READ_CHAINS], sum = _mm512_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sums[i] = sum;
    for (size_t at = 0; at + 16 * READ_CHAINS <= count; at += 16 * READ_CHAINS)
#pragma GCC unroll 8
        for (int i = 0; i < READ_CHAINS; i++)
            sums[i] = _mm512_add_ps(sums[i], _mm512_load_ps(data + at + 16 * i));
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sum = _mm512_add_ps(sum, sums[i]);
    return _mm512_cvtss_f32(sum);
}

URZA_TARGET("avx2,fma") static float multiply_add_avx2(void)
{
    __m256 sums[CHAINS], factor = _mm256_set1_ps(0.5f), term = _mm256_set1_ps(1.0f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm256_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm256_fmadd_ps(sums[i], factor, term);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm256_add_ps(sums[0], sums[i]);
    return _mm256_cvtss_f32(sums[0]);
}

URZA_TARGET("avx2") static float read_avx2(const float *data, size_t count)
{
    __m256 sums[READ_CHAINS], sum = _mm256_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sums[i] = sum;
    for (size_t at = 0; at + 8 * READ_CHAINS <= count; at += 8 * READ_CHAINS)
#pragma GCC unroll 8
        for (int i = 0; i < READ_CHAINS; i++)
            sums[i] = _mm256_add_ps(sums[i], _mm256_load_ps(data + at + 8 * i));
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sum = _mm256_add_ps(sum, sums[i]);
    return _mm256_cvtss_f32(sum);
}

static float multiply_add_sse(void)
{
    __m128 sums[CHAINS], factor = _mm_set1_ps(0.5f), term = _mm_set1_ps(1.0f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        sums[i] = _mm_set1_ps((float)i);
    for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            sums[i] = _mm_add_ps(_mm_mul_ps(sums[i], factor), term);
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        sums[0] = _mm_add_ps(sums[0], sums[i]);
    return _mm_cvtss_f32(sums[0]);
}

static float read_sse(const float *data, size_t count)
{
    __m128 sums[READ_CHAINS], sum = _mm_setzero_ps();
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sums[i] = sum;
    for (size_t at = 0; at + 4 * READ_CHAINS <= count; at += 4 * READ_CHAINS)
#pragma GCC unroll 8
        for (int i = 0; i < READ_CHAINS; i++)
            sums[i] = _mm_add_ps(sums[i], _mm_load_ps(data + at + 4 * i));
#pragma GCC unroll 8
    for (int i = 0; i < READ_CHAINS; i++)
        sum = _mm_add_ps(sum, sums[i]);
    return _mm_cvtss_f32(sum);
}

/* The C library also has such copies, but does not use them from every size on where they pay, and
 * does not copy in order. */
static void *copy_streaming(void *to, const void *from, size_t bytes)
{
    float *out = to;
    const float *in = from;
    for (size_t at = 0; at < bytes / sizeof(float); at += 16)
#pragma GCC unroll 4
        for (size_t i = 0; i < 16; i += 4)
            _mm_stream_ps(out + at + i, _mm_load_ps(in + at + i));
    _mm_sfence();
    return to;
}

copy_fn *const peak_copy_past_caches = copy_streaming;

const struct variant peak_variants[] = {
    {"x86-64-v4", 16, CHAINS, multiply_add_avx512, read_avx512},
    {"x86-64-v3", 8, CHAINS, multiply_add_avx2, read_avx2},
    {"x86-64-v2", 4, CHAINS, multiply_add_sse, read_sse},
};
const uint32_t peak_variant_count = sizeof peak_variants / sizeof peak_variants[0];
