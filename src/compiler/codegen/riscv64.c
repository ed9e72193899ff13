/* RISC-V. A reference to a constant is two instructions ("RISC-V ELF psABI", relocations): AUIPC
 * adds the upper 20 bits of the distance to its own address, and a load, store or addition adds the
 * lower 12, which are signed. The relocation of the second names the first, whose distance it
 * completes. */
#include <elf.h>
#include <llvm-c/Target.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "compiler/codegen/architecture.h"

static void begin_process(void)
{
    LLVMInitializeRISCVTargetInfo();
    LLVMInitializeRISCVTarget();
    LLVMInitializeRISCVTargetMC();
    LLVMInitializeRISCVAsmPrinter();
}

/* Writes the bits of value from `low` on, as many as mask has, to the instruction from `to` on. */
static void put(uint32_t *word, uint32_t value, int low, uint32_t mask, int to)
{
    *word = (*word & ~(mask << to)) | (value >> low & mask) << to;
}

/* The one of the AUIPC at a place. */
static const struct relocation *upper_at(const struct relocations *all, const uint8_t *place)
{
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].place == place && all->items[i].type == R_RISCV_PCREL_HI20)
            return &all->items[i];
    return NULL;
}

static bool relocate(const struct relocations *all, size_t index, struct error *err)
{
    const struct relocation *r = &all->items[index], *upper = r;
    if (r->type == R_RISCV_PCREL_LO12_I || r->type == R_RISCV_PCREL_LO12_S)
        upper = upper_at(all, r->place + r->distance);
    else if (r->type != R_RISCV_PCREL_HI20 && r->type != R_RISCV_CALL_PLT)
        return fail(err, ERR_COMPILE, "generated code has a relocation of type %u", r->type);
    if (!upper)
        return fail(err, ERR_BUG, "generated code has half of a reference");
    int64_t distance = upper->distance;
    if (distance < INT32_MIN || distance > INT32_MAX - 0x800)
        return fail(err, ERR_COMPILE, "generated code is too large for its references");
    uint32_t word[2], value = (uint32_t)distance;
    memcpy(word, r->place, sizeof word[0]);
    if (r->type == R_RISCV_PCREL_LO12_I) {
        put(&word[0], value, 0, 0xfff, 20);
    } else if (r->type == R_RISCV_PCREL_LO12_S) {
        put(&word[0], value, 0, 0x1f, 7);
        put(&word[0], value, 5, 0x7f, 25);
    } else {
        put(&word[0], value + 0x800, 12, 0xfffff, 12);
    }
    memcpy(r->place, word, sizeof word[0]);
    if (r->type == R_RISCV_CALL_PLT) { /* AUIPC, and JALR behind it */
        memcpy(&word[1], r->place + 4, sizeof word[1]);
        put(&word[1], value, 0, 0xfff, 20);
        memcpy(r->place + 4, &word[1], sizeof word[1]);
    }
    return true;
}

const struct architecture architecture_riscv64 = {
    .family = "riscv64",
    .begin_process = begin_process,
    .options = (const char *const[]){NULL},
    .code_model = LLVMCodeModelMedium,
    .relocate = relocate,
};
