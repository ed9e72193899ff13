/* AArch64. A reference is a bit field of an instruction ("ELF for the Arm 64-bit Architecture",
 * AAELF64). In the tiny code model it is relative to the instruction, and reaches a megabyte. */
#include <elf.h>
#include <llvm-c/Target.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "compiler/codegen/architecture.h"

static void begin_process(void)
{
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
}

/* Where a relocation type stores the distance: in `bits` bits from bit `low` of the instruction on,
 * in units of 2^scale bytes. split: the lowest two bits are elsewhere, as in ADR. */
static const struct field {
    uint32_t type;
    uint8_t bits, low, scale;
    bool split;
} fields[] = {
    {R_AARCH64_PREL32, 32, 0, 0, false},       {R_AARCH64_LD_PREL_LO19, 19, 5, 2, false},
    {R_AARCH64_ADR_PREL_LO21, 21, 5, 0, true}, {R_AARCH64_TSTBR14, 14, 5, 2, false},
    {R_AARCH64_CONDBR19, 19, 5, 2, false},     {R_AARCH64_JUMP26, 26, 0, 2, false},
    {R_AARCH64_CALL26, 26, 0, 2, false},
};

static bool reaches(const struct field *f, int64_t distance)
{
    int64_t unit = (int64_t)1 << f->scale, most = ((int64_t)1 << (f->bits - 1)) * unit;
    return distance % unit == 0 && -most <= distance && distance < most;
}

static bool relocate(const struct relocations *all, size_t index, struct error *err)
{
    const struct relocation *r = &all->items[index];
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct field *f = &fields[i];
        if (f->type != r->type)
            continue;
        if (!reaches(f, r->distance))
            return fail(err, ERR_COMPILE, "generated code is too large for its references");
        uint32_t word, value = (uint32_t)((uint64_t)r->distance >> f->scale);
        uint32_t mask = f->bits == 32 ? UINT32_MAX : (UINT32_C(1) << f->bits) - 1;
        memcpy(&word, r->place, sizeof word);
        value &= mask;
        if (f->split)
            word = (word & ~UINT32_C(0x60ffffe0)) | (value & 3) << 29 | (value >> 2) << 5;
        else
            word = (word & ~(mask << f->low)) | value << f->low;
        memcpy(r->place, &word, sizeof word);
        return true;
    }
    return fail(err, ERR_COMPILE, "generated code has a relocation of type %u", r->type);
}

const struct architecture architecture_aarch64 = {
    .family = "aarch64",
    .begin_process = begin_process,
    .options = (const char *const[]){NULL},
    .code_model = LLVMCodeModelTiny,
    .relocate = relocate,
};
