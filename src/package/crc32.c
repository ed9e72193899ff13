/* Two ways to the same sum.
 *
 * By tables, slicing by eight (Kounavis and Berry 2005): table k holds the effect of a byte that k
 * more bytes follow, so eight independent look-ups take the place of a chain of eight.
 *
 * By carry-less products, where the CPU has them (Gopal et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction", Intel 2009): the message is a polynomial, and 128 bits
 * of it that stand n bits ahead of others may be replaced by their product with x^n mod P, which is
 * shorter, added to these. Four such folds run side by side over 64 bytes; then the four are folded
 * into one, and that is reduced by Barrett's method. Constants are those of the paper for the
 * reflected polynomial. */
#include "package/package_priv.h"

#include "base/compiler.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define POLYNOMIAL 0xedb88320u /* of ISO 3309, bits reversed */

void crc32_init(struct crc32 *crc)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ ((value & 1) != 0 ? POLYNOMIAL : 0);
        crc->tables[0][i] = value;
    }
    for (uint32_t k = 1; k < 8; k++) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t value = crc->tables[k - 1][i];
            crc->tables[k][i] = (value >> 8) ^ crc->tables[0][value & 0xff];
        }
    }
    crc->products = URZA_CPU_SUPPORTS("pclmul");
}

static uint32_t add_by_tables(const struct crc32 *crc, uint32_t sum, const uint8_t *at, size_t size)
{
    const uint32_t(*t)[256] = crc->tables;
    for (; size >= 8; at += 8, size -= 8) {
        sum ^=
            (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        sum = t[7][sum & 0xff] ^ t[6][sum >> 8 & 0xff] ^ t[5][sum >> 16 & 0xff] ^ t[4][sum >> 24] ^
              t[3][at[4]] ^ t[2][at[5]] ^ t[1][at[6]] ^ t[0][at[7]];
    }
    for (; size > 0; at++, size--)
        sum = (sum >> 8) ^ t[0][(sum ^ *at) & 0xff];
    return sum;
}

#if defined(__x86_64__)

#define FOLDS 4

URZA_TARGET("pclmul") static __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

/* x moved ahead of what stands there, by as many bits as the pair of constants is made for. */
URZA_TARGET("pclmul") static __m128i fold(__m128i x, __m128i constants, __m128i there)
{
    __m128i low = _mm_clmulepi64_si128(x, constants, 0x00);
    __m128i high = _mm_clmulepi64_si128(x, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

/* 128 bits to 32. */
URZA_TARGET("pclmul") static uint32_t reduce(__m128i x, __m128i by_128)
{
    const __m128i by_64 = _mm_set_epi64x(0, 0x163cd6124), low = _mm_set_epi32(0, -1, 0, -1);
    const __m128i barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641); /* quotient, polynomial */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, by_128, 0x10));
    x = _mm_xor_si128(_mm_srli_si128(x, 4),
                      _mm_clmulepi64_si128(_mm_and_si128(x, low), by_64, 0x00));
    __m128i q = _mm_clmulepi64_si128(_mm_and_si128(x, low), barrett, 0x10);
    q = _mm_clmulepi64_si128(_mm_and_si128(q, low), barrett, 0x00);
    return (uint32_t)((uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(x, q)) >> 32);
}

/* size: a multiple of 16, at least 64. */
URZA_TARGET("pclmul")
static uint32_t add_by_products(uint32_t sum, const uint8_t *at, size_t size)
{
    const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    __m128i x[FOLDS];
    for (int i = 0; i < FOLDS; i++)
        x[i] = load(at + 16 * i);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)sum));
    at += 64;
    size -= 64;
    for (; size >= 64; at += 64, size -= 64)
        for (int i = 0; i < FOLDS; i++)
            x[i] = fold(x[i], by_512, load(at + 16 * i));
    for (int i = 1; i < FOLDS; i++)
        x[0] = fold(x[0], by_128, x[i]);
    for (; size >= 16; at += 16, size -= 16)
        x[0] = fold(x[0], by_128, load(at));
    return reduce(x[0], by_128);
}

#else

static uint32_t add_by_products(uint32_t sum, const uint8_t *at, size_t size)
{
    (void)at;
    (void)size;
    return sum;
}

#endif

uint32_t crc32_of(const struct crc32 *crc, const void *data, size_t size)
{
    const uint8_t *at = data;
    uint32_t sum = UINT32_MAX;
    if (crc->products && size >= 64) {
        size_t whole = size / 16 * 16;
        sum = add_by_products(sum, at, whole);
        at += whole;
        size -= whole;
    }
    return ~add_by_tables(crc, sum, at, size);
}
