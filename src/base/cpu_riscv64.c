/* RISC-V with 64-bit registers, on Linux. */
#include "base/cpu.h"

#include <stdio.h>
#include <string.h>
#include <sys/hwprobe.h>
#include <sys/prctl.h>

#include "base/compiler.h"

const char *cpu_family(void)
{
    return "riscv64";
}

/* Bits of the key IMA_EXT_0 of riscv_hwprobe (Documentation/arch/riscv/hwprobe.rst). "vlen…" is no
 * bit there: a register says how wide vector registers are. More than asked for will do, as code
 * for a width says at every vector instruction how many elements it means. */
static const struct feature {
    const char *name;
    uint64_t bits;
    unsigned long vector_bytes; /* at least; 0: any */
} features[] = {
    {"fd", RISCV_HWPROBE_IMA_FD, 0},      {"c", RISCV_HWPROBE_IMA_C, 0},
    {"v", RISCV_HWPROBE_IMA_V, 0},        {"zba", RISCV_HWPROBE_EXT_ZBA, 0},
    {"zbb", RISCV_HWPROBE_EXT_ZBB, 0},    {"zbs", RISCV_HWPROBE_EXT_ZBS, 0},
    {"vlen128", RISCV_HWPROBE_IMA_V, 16}, {"vlen256", RISCV_HWPROBE_IMA_V, 32},
};

/* What all of the machine's cores have; 0 where the system does not say (Linux before 6.4). */
static uint64_t probe(int64_t key)
{
    struct riscv_hwprobe pair = {.key = key};
    return __riscv_hwprobe(&pair, 1, 0, NULL, 0) == 0 && pair.key == key ? pair.value : 0;
}

/* The system can forbid vectors to a process, whatever the processor has; a system that cannot
 * refuses the question (Documentation/arch/riscv/vector.rst). */
static bool vectors_allowed(void)
{
    int control = prctl(PR_RISCV_V_GET_CONTROL);
    return control < 0 || (control & PR_RISCV_V_VSTATE_CTRL_CUR_MASK) != PR_RISCV_V_VSTATE_CTRL_OFF;
}

/* vlenb, by its number: assemblers know the name only where they may use vectors. Volatile, because
 * a compiler may execute other assembly earlier than asked, where there are no vectors. */
static unsigned long vector_bytes(void)
{
    unsigned long bytes;
    __asm__ volatile("csrr %0, 0xc22" : "=r"(bytes));
    return bytes;
}

static bool has_feature(uint64_t bits, const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        const struct feature *f = &features[i];
        if (strlen(f->name) == size && memcmp(f->name, name, size) == 0)
            return (bits & f->bits) == f->bits &&
                   (!(f->bits & RISCV_HWPROBE_IMA_V) || vectors_allowed()) &&
                   (f->vector_bytes == 0 || vector_bytes() >= f->vector_bytes);
    }
    return false;
}

bool cpu_has(const char *list)
{
    uint64_t bits = probe(RISCV_HWPROBE_KEY_IMA_EXT_0);
    while (*list != '\0') {
        size_t size = strcspn(list, " ");
        if (!has_feature(bits, list, size))
            return false;
        list += size + (list[size] == ' ');
    }
    return true;
}

void cpu_model(char *out, size_t size)
{
    snprintf(out, size, "riscv-%llu %llu", (unsigned long long)probe(RISCV_HWPROBE_KEY_MVENDORID),
             (unsigned long long)probe(RISCV_HWPROBE_KEY_MARCHID));
}

/* Fences only the core that executes it; the system has a call for all cores of a process, which
 * the C library makes here. */
void cpu_sync_code(const void *code, size_t size)
{
    char *begin = (char *)(uintptr_t)code;
    __builtin___clear_cache(begin, begin + size);
}

/* fcsr: the rounding mode in bits 5 to 7, to nearest even if 0, and below it the flags. Nothing
 * flushes to zero, and nothing traps. */
#define FLAG_BITS 5

void cpu_fp_begin(struct cpu_fp *out)
{
    uint64_t word;
    __asm__ volatile("frcsr %0" : "=r"(word));
    *out = (struct cpu_fp){word, word >> FLAG_BITS != 0};
    if (out->changed)
        __asm__ volatile("fsrm zero");
}

void cpu_fp_end(const struct cpu_fp *before)
{
    __asm__ volatile("fscsr %0" : : "r"(before->word));
}

size_t cpu_crc32(uint32_t *sum, const uint8_t *data, size_t size)
{
    (void)sum;
    (void)data;
    (void)size;
    return 0;
}

size_t cpu_uniforms(uint64_t key, uint64_t first, size_t count, double *out)
{
    (void)key;
    (void)first;
    (void)count;
    (void)out;
    return 0;
}
