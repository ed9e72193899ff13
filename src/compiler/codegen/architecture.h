/* The driver of a processor family for code generation; nothing else in this room asks for the
 * processor. A new family is a driver (a file that defines one of these), its lines here and in
 * architecture.c, rows of compiler/target/targets.def and package/targets.def, and for the machines
 * themselves base/cpu_*.c, profile/peak_*.c and the macros of base/compiler.h.
 *
 * A kernel's image may be at any address that is a multiple of 64. So references from code to
 * constants are relative to the instruction, never to a page. */
#ifndef URZA_COMPILER_CODEGEN_ARCHITECTURE_H
#define URZA_COMPILER_CODEGEN_ARCHITECTURE_H

#include <llvm-c/TargetMachine.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* A place in an image whose content depends on the distance to another place. */
struct relocation {
    uint8_t *place;   /* the instruction or word to change, of four bytes */
    uint32_t type;    /* the ELF relocation type of the family */
    int64_t distance; /* from place to the target, addend included */
};

/* All of one section of code: some say only together with another how far the target is. */
struct relocations {
    const struct relocation *items;
    size_t count;
};

struct architecture {
    const char *family;          /* as in targets */
    void (*begin_process)(void); /* registers the family with LLVM; called once */
    const char *const *options;  /* for LLVM, up to NULL: turn off passes that find nothing in our
                                    code */
    LLVMCodeModel code_model;
    /* Does the one with that index. ERR_COMPILE: the type needs work at load time, or the distance
     * is too large for it. */
    bool (*relocate)(const struct relocations *all, size_t index, struct error *err);
    /* The intrinsic that orders non-temporal stores before all later ones; NULL: they need none. */
    const char *stream_fence;
};

extern const struct architecture architecture_x86_64, architecture_aarch64, architecture_riscv64;

/* NULL: no such family. */
const struct architecture *architecture_find(const char *family);
/* By number; NULL behind the last. */
const struct architecture *architecture_at(size_t index);

#endif
