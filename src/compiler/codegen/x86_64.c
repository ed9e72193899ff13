/* x86-64: a reference is a distance of 32 bits from its place; its addend makes up for the
 * processor counting from the end of the instruction. */
#include <elf.h>
#include <llvm-c/Target.h>
#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "compiler/codegen/architecture.h"

static void begin_process(void)
{
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
}

static const char *const options[] = {"-disable-x86-domain-reassignment", "-disable-x86-lea-opt",
                                      NULL};

static bool relocate(const struct relocations *all, size_t index, struct error *err)
{
    const struct relocation *r = &all->items[index];
    int32_t narrow = (int32_t)r->distance;
    if (r->type != R_X86_64_PC32 && r->type != R_X86_64_PLT32)
        return fail(err, ERR_COMPILE, "generated code has a relocation of type %u", r->type);
    if (narrow != r->distance)
        return fail(err, ERR_COMPILE, "generated code is too large for its references");
    memcpy(r->place, &narrow, sizeof narrow);
    return true;
}

const struct architecture architecture_x86_64 = {
    .family = "x86-64",
    .begin_process = begin_process,
    .options = options,
    .code_model = LLVMCodeModelSmall,
    .relocate = relocate,
    .stream_fence = "llvm.x86.sse.sfence",
};
