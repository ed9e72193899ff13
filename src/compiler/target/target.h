/* The capabilities of targets, as data: the rows of targets.def. A new CPU family is a new row. */
#ifndef URZA_COMPILER_TARGET_TARGET_H
#define URZA_COMPILER_TARGET_TARGET_H

#include <stdbool.h>
#include <stdint.h>

struct target {
    const char *name;   /* as in packages: "x86-64-v4" */
    const char *family; /* of processors: "x86-64" */
    const char *triple;
    const char *cpu;             /* LLVM's name of the feature level */
    const char *features;        /* LLVM's feature string, beyond cpu */
    uint32_t lanes;              /* 32-bit lanes of a vector register */
    uint32_t registers;          /* vector registers */
    uint32_t vscale;             /* LLVM's, of vectors whose width is the machine's: a whole number
                                    of 128 bits. 0: the features say how wide they are */
    bool fma, f16c;              /* fused multiply-add; half conversions */
    uint32_t l1_bytes, l2_bytes; /* typical for the level; heuristics only */
};

const struct target *target_find(const char *name); /* NULL if there is none */
const struct target *target_at(uint32_t index);     /* NULL behind the last; ascending capability */

#endif
