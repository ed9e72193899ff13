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

enum { EBX = 1, ECX = 2 };

#define STATE_NONE 0u
#define STATE_AVX 0x06u    /* XMM and the upper halves of YMM */
#define STATE_AVX512 0xe6u /* and mask registers, upper halves of ZMM, ZMM16–31 */

/* Intel SDM volume 2, CPUID; leaf 0x80000001: AMD APM volume 3, appendix E. */
static const struct feature {
    const char *name;
    unsigned leaf, word, bit, state;
} features[] = {
    {"sse3", 1, ECX, 0, STATE_NONE},        {"ssse3", 1, ECX, 9, STATE_NONE},
    {"fma", 1, ECX, 12, STATE_AVX},         {"cx16", 1, ECX, 13, STATE_NONE},
    {"sse4_1", 1, ECX, 19, STATE_NONE},     {"sse4_2", 1, ECX, 20, STATE_NONE},
    {"movbe", 1, ECX, 22, STATE_NONE},      {"popcnt", 1, ECX, 23, STATE_NONE},
    {"osxsave", 1, ECX, 27, STATE_NONE},    {"avx", 1, ECX, 28, STATE_AVX},
    {"f16c", 1, ECX, 29, STATE_AVX},        {"lzcnt", 0x80000001, ECX, 5, STATE_NONE},
    {"bmi", 7, EBX, 3, STATE_NONE},         {"avx2", 7, EBX, 5, STATE_AVX},
    {"bmi2", 7, EBX, 8, STATE_NONE},        {"avx512f", 7, EBX, 16, STATE_AVX512},
    {"avx512dq", 7, EBX, 17, STATE_AVX512}, {"avx512cd", 7, EBX, 28, STATE_AVX512},
    {"avx512bw", 7, EBX, 30, STATE_AVX512}, {"avx512vl", 7, EBX, 31, STATE_AVX512},
};

/* Register state the operating system saves; 0 where it does not say. */
static unsigned saved_state(void)
{
    unsigned a, b, c, d, low = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 27) != 0)
        URZA_XGETBV(&low);
    return low;
}

static bool has_feature(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        const struct feature *f = &features[i];
        if (strlen(f->name) != size || memcmp(f->name, name, size) != 0)
            continue;
        unsigned a, b, c, d;
        if (!__get_cpuid_count(f->leaf, 0, &a, &b, &c, &d))
            return false;
        unsigned word = f->word == EBX ? b : c;
        return (word >> f->bit & 1) != 0 &&
               (f->state == STATE_NONE || (saved_state() & f->state) == f->state);
    }
    return false;
}

#else

static bool has_feature(const char *name, size_t size)
{
    (void)name;
    (void)size;
    return false;
}

#endif

bool target_supported_here(const char *name)
{
    const struct target *target = find(name);
    if (!target)
        return false;
    for (const char *at = target->features; *at != '\0';) {
        size_t size = strcspn(at, " ");
        if (!has_feature(at, size))
            return false;
        at += size + (at[size] == ' ');
    }
    return true;
}
