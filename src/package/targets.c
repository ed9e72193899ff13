/* Feature levels against CPUID. A feature counts when the processor has it and the operating system
 * saves the registers it needs (XCR0), which a virtual machine or valgrind may deny on a processor
 * that has it. */
#include <string.h>

#include "base/compiler.h"
#include "package/package.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

struct target {
    const char *name;
    int rank;
    const char *features; /* separated by single spaces */
};

static const struct target targets[] = {
#define TARGET(name, rank, features) {name, rank, features},
#include "package/targets.def"
#undef TARGET
};

#define TARGET_COUNT ((uint32_t)(sizeof targets / sizeof targets[0]))

static const struct target *find(const char *name)
{
    for (uint32_t i = 0; i < TARGET_COUNT; i++)
        if (strcmp(targets[i].name, name) == 0)
            return &targets[i];
    return NULL;
}

int target_rank(const char *name)
{
    const struct target *target = find(name);
    return target ? target->rank : -1;
}

const char *target_name_at(uint32_t index)
{
    return index < TARGET_COUNT ? targets[index].name : NULL;
}

const char *target_features(const char *name)
{
    const struct target *target = find(name);
    return target ? target->features : NULL;
}

#if defined(__x86_64__)

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

/* What CPUID says, asked once: under a hypervisor each question is a trap of some microseconds. */
struct cpu {
    unsigned leaf1_ecx, leaf7_ebx, extended_ecx;
    unsigned state; /* registers the operating system saves; 0 where it does not say */
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

#else

struct cpu {
    int unknown;
};

static void cpu_ask(struct cpu *cpu)
{
    cpu->unknown = 1;
}

static bool has_feature(const struct cpu *cpu, const char *name, size_t size)
{
    (void)cpu;
    (void)name;
    (void)size;
    return false;
}

#endif

bool target_supported_here(const char *name)
{
    const struct target *target = find(name);
    struct cpu cpu;
    if (!target)
        return false;
    cpu_ask(&cpu);
    for (const char *at = target->features; *at != '\0';) {
        size_t size = strcspn(at, " ");
        if (!has_feature(&cpu, at, size))
            return false;
        at += size + (at[size] == ' ');
    }
    return true;
}

const char *target_best_here(void)
{
    const char *best = NULL;
    for (uint32_t i = 0; target_name_at(i); i++)
        if (target_supported_here(target_name_at(i)) &&
            (!best || target_rank(target_name_at(i)) > target_rank(best)))
            best = target_name_at(i);
    return best;
}
