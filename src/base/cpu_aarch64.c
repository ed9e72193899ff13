/* AArch64, on Linux. */
#include "base/cpu.h"

#include <arm_acle.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#include "base/compiler.h"

const char *cpu_family(void)
{
    return "aarch64";
}

/* The bits of the kernel's auxiliary vector: Documentation/arch/arm64/elf_hwcaps.rst. "sve256" is
 * no bit there: the system decides how wide SVE's registers are for a thread, and threads inherit
 * that (Documentation/arch/arm64/sve.rst); the processor's may be wider. */
static const struct feature {
    const char *name;
    unsigned long first, second; /* bits of AT_HWCAP and AT_HWCAP2 */
    int vector_bytes;            /* of SVE; 0: any */
} features[] = {
    {"fp", HWCAP_FP, 0, 0},       {"asimd", HWCAP_ASIMD, 0, 0},
    {"crc32", HWCAP_CRC32, 0, 0}, {"sve2", HWCAP_SVE, HWCAP2_SVE2, 0},
    {"sve256", HWCAP_SVE, 0, 32},
};

static bool vectors_have(int bytes)
{
    int length = prctl(PR_SVE_GET_VL);
    return length >= 0 && (length & PR_SVE_VL_LEN_MASK) == bytes;
}

static bool has_feature(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        const struct feature *f = &features[i];
        if (strlen(f->name) == size && memcmp(f->name, name, size) == 0)
            return (getauxval(AT_HWCAP) & f->first) == f->first &&
                   (getauxval(AT_HWCAP2) & f->second) == f->second &&
                   (f->vector_bytes == 0 || vectors_have(f->vector_bytes));
    }
    return false;
}

bool cpu_has(const char *list)
{
    while (*list != '\0') {
        size_t size = strcspn(list, " ");
        if (!has_feature(list, size))
            return false;
        list += size + (list[size] == ' ');
    }
    return true;
}

/* The main identification register (MIDR), which the kernel lets programs read: vendor, part.
 * Volatile, as the condition must come first. */
void cpu_model(char *out, size_t size)
{
    uint64_t midr = 0;
    if (getauxval(AT_HWCAP) & HWCAP_CPUID)
        __asm__ volatile("mrs %0, MIDR_EL1" : "=r"(midr));
    snprintf(out, size, "arm-%u %u", (unsigned)(midr >> 24 & 0xff), (unsigned)(midr >> 4 & 0xfff));
}

void cpu_sync_code(const void *code, size_t size)
{
    char *begin = (char *)(uintptr_t)code;
    __builtin___clear_cache(begin, begin + size);
}

/* FPCR: rounding, flushing and traps are all 0 by default; FPSR: flags. */
void cpu_fp_begin(struct cpu_fp *out)
{
    uint64_t control, flags;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(flags));
    if (control != 0)
        __asm__ volatile("msr fpcr, %0" : : "r"(UINT64_C(0)));
    *out = (struct cpu_fp){control << 32 | (uint32_t)flags, control != 0};
}

void cpu_fp_end(const struct cpu_fp *before)
{
    if (before->changed)
        __asm__ volatile("msr fpcr, %0" : : "r"(before->word >> 32));
    __asm__ volatile("msr fpsr, %0" : : "r"(before->word & UINT32_MAX));
}

__attribute__((target("+crc"))) static uint32_t add_words(uint32_t sum, const uint8_t *data,
                                                          size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, data + 8 * i, sizeof word);
        sum = __crc32d(sum, word);
    }
    return sum;
}

size_t cpu_crc32(uint32_t *sum, const uint8_t *data, size_t size)
{
    if (!cpu_has("crc32"))
        return 0;
    *sum = add_words(*sum, data, size / 8);
    return size / 8 * 8;
}

size_t cpu_uniforms(uint64_t key, uint64_t first, size_t count, double *out)
{
    (void)key;
    (void)first;
    (void)count;
    (void)out;
    return 0;
}
