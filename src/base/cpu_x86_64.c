/* x86-64. */
#include "base/cpu.h"

#include <cpuid.h>
#include <immintrin.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

const char *cpu_family(void)
{
    return "x86-64";
}

#define STATE_NONE 0u
#define STATE_AVX 0x06u    /* XMM and the upper halves of YMM */
#define STATE_AVX512 0xe6u /* and mask registers, upper halves of ZMM, ZMM16–31 */

/* Bits of ECX of leaf 1, EBX of leaf 7 and ECX of leaf 0x80000001: Intel SDM volume 2, CPUID; AMD
 * APM volume 3, appendix E. */
static const struct feature {
    const char *name;
    unsigned leaf, bit, state;
} features[] = {
    {"sse3", 1, 0, STATE_NONE},        {"ssse3", 1, 9, STATE_NONE},
    {"fma", 1, 12, STATE_AVX},         {"cx16", 1, 13, STATE_NONE},
    {"sse4_1", 1, 19, STATE_NONE},     {"sse4_2", 1, 20, STATE_NONE},
    {"movbe", 1, 22, STATE_NONE},      {"popcnt", 1, 23, STATE_NONE},
    {"osxsave", 1, 27, STATE_NONE},    {"avx", 1, 28, STATE_AVX},
    {"f16c", 1, 29, STATE_AVX},        {"lzcnt", 0x80000001, 5, STATE_NONE},
    {"bmi", 7, 3, STATE_NONE},         {"avx2", 7, 5, STATE_AVX},
    {"bmi2", 7, 8, STATE_NONE},        {"avx512f", 7, 16, STATE_AVX512},
    {"avx512dq", 7, 17, STATE_AVX512}, {"avx512cd", 7, 28, STATE_AVX512},
    {"avx512bw", 7, 30, STATE_AVX512}, {"avx512vl", 7, 31, STATE_AVX512},
};

/* The results of CPUID, asked once: under a hypervisor each CPUID is a trap that takes some
 * microseconds. */
struct cpu {
    unsigned leaf1_ecx, leaf7_ebx, extended_ecx;
    unsigned state; /* register state that the operating system saves; 0 where it is not reported */
};

static void cpu_ask(struct cpu *cpu)
{
    unsigned a, b, c, d;
    *cpu = (struct cpu){0};
    if (__get_cpuid(1, &a, &b, &c, &d))
        cpu->leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        cpu->leaf7_ebx = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        cpu->extended_ecx = c;
    if ((cpu->leaf1_ecx & 1u << 27) != 0)
        URZA_XGETBV(&cpu->state);
}

static bool has_feature(const struct cpu *cpu, const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        const struct feature *f = &features[i];
        if (strlen(f->name) != size || memcmp(f->name, name, size) != 0)
            continue;
        unsigned word = f->leaf == 1   ? cpu->leaf1_ecx
                        : f->leaf == 7 ? cpu->leaf7_ebx
                                       : cpu->extended_ecx;
        return (word >> f->bit & 1) != 0 &&
               (f->state == STATE_NONE || (cpu->state & f->state) == f->state);
    }
    return false;
}

bool cpu_has(const char *list)
{
    struct cpu cpu;
    cpu_ask(&cpu);
    while (*list != '\0') {
        size_t size = strcspn(list, " ");
        if (!has_feature(&cpu, list, size))
            return false;
        list += size + (list[size] == ' ');
    }
    return true;
}

void cpu_model(char *out, size_t size)
{
    unsigned a, b, c, d;
    char vendor[13] = "";
    if (__get_cpuid(0, &a, &b, &c, &d)) {
        memcpy(vendor, &b, 4);
        memcpy(vendor + 4, &d, 4);
        memcpy(vendor + 8, &c, 4);
    }
    if (!__get_cpuid(1, &a, &b, &c, &d))
        a = 0;
    unsigned family = a >> 8 & 15, model = a >> 4 & 15;
    if (family >= 6) /* extended model and family: Intel SDM volume 2, CPUID leaf 1 */
        model |= (a >> 16 & 15) << 4;
    if (family == 15)
        family += a >> 20 & 255;
    snprintf(out, size, "%s %u %u", vendor, family, model);
}

/* x86-64 keeps instruction caches coherent with writes, so nothing is to be done. */
void cpu_sync_code(const void *code, size_t size)
{
    (void)code;
    (void)size;
}

/* Reading MXCSR takes a nanosecond and writing it a few, but the first read after it has changed,
 * by a write or by a flag being raised, takes some seventy. So the usual value (default mode,
 * inexact flag already set) is left alone and only compared after the work; for any other value the
 * register is written before and after and not read again. Flags are restored with the rest. */
#define CONTROL 0xffc0u /* denormals-are-zero, exception masks, rounding, flush-to-zero */
#define DEFAULT 0x1f80u /* all exceptions masked, round to nearest */
#define INEXACT 0x0020u /* the flag that most floating-point work raises */

void cpu_fp_begin(struct cpu_fp *out)
{
    uint32_t word = URZA_MXCSR_GET();
    bool usual = (word & (CONTROL | INEXACT)) == (DEFAULT | INEXACT);
    if (!usual)
        URZA_MXCSR_SET((word & ~CONTROL) | DEFAULT);
    *out = (struct cpu_fp){word, !usual};
}

void cpu_fp_end(const struct cpu_fp *before)
{
    if (before->changed || URZA_MXCSR_GET() != before->word)
        URZA_MXCSR_SET((uint32_t)before->word);
}

/* CRC by carry-less products (Gopal et al., "Fast CRC Computation for Generic Polynomials Using
 * PCLMULQDQ Instruction", Intel 2009): the message is a polynomial over GF(2). 128 bits that stand
 * n bits ahead of others may be replaced by their product with x^n mod P, which is shorter, added
 * to those others: one fold. Four folds run side by side over 64 bytes; then the four are folded
 * into one, which is reduced by Barrett's method. The constants are those of the paper for the
 * reflected polynomial. */
#define FOLDS 4

URZA_TARGET("pclmul") static __m128i load(const uint8_t *at)
{
    return _mm_loadu_si128((const __m128i *)(const void *)at);
}

/* Folds x onto `there`; the pair of constants decides by how many bits x moves. */
URZA_TARGET("pclmul") static __m128i fold(__m128i x, __m128i constants, __m128i there)
{
    __m128i low = _mm_clmulepi64_si128(x, constants, 0x00);
    __m128i high = _mm_clmulepi64_si128(x, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

/* Reduces 128 bits to the CRC's 32. */
URZA_TARGET("pclmul") static uint32_t reduce(__m128i x, __m128i by_128)
{
    const __m128i by_64 = _mm_set_epi64x(0, 0x163cd6124), low = _mm_set_epi32(0, -1, 0, -1);
    const __m128i barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641); /* x^64 / P, and P */
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

size_t cpu_crc32(uint32_t *sum, const uint8_t *data, size_t size)
{
    size_t whole = size / 16 * 16;
    if (size < 64 || !__builtin_cpu_supports("pclmul"))
        return 0;
    *sum = add_by_products(*sum, data, whole);
    return whole;
}

#define LANES 8

/* Eight values of rng_u32 at a time, as doubles; returns how many were written. */
URZA_TARGET("avx512f,avx512dq")
static size_t uniforms_avx512(uint64_t key, uint64_t first, size_t count, double *out)
{
    const __m512i keys = _mm512_set1_epi64((long long)key);
    __m512i counter = _mm512_add_epi64(_mm512_set1_epi64((long long)first),
                                       _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    size_t done = 0;
    for (; done + LANES <= count; done += LANES) {
        __m512i y = _mm512_mullo_epi64(counter, keys), z = _mm512_add_epi64(y, keys), x = y;
        x = _mm512_rol_epi64(_mm512_add_epi64(_mm512_mullo_epi64(x, x), y), 32);
        x = _mm512_rol_epi64(_mm512_add_epi64(_mm512_mullo_epi64(x, x), z), 32);
        x = _mm512_rol_epi64(_mm512_add_epi64(_mm512_mullo_epi64(x, x), y), 32);
        x = _mm512_srli_epi64(_mm512_add_epi64(_mm512_mullo_epi64(x, x), z), 32);
        _mm512_storeu_pd(out + done, _mm512_mul_pd(_mm512_cvtepu64_pd(x), _mm512_set1_pd(0x1p-32)));
        counter = _mm512_add_epi64(counter, _mm512_set1_epi64(LANES));
    }
    return done;
}

size_t cpu_uniforms(uint64_t key, uint64_t first, size_t count, double *out)
{
    return __builtin_cpu_supports("avx512dq") ? uniforms_avx512(key, first, count, out) : 0;
}
