/* What one family of processors has of its own in code generation; nothing else in this room asks
 * what processor it is. A new family is a driver (a file that defines one of these), its lines here
 * and in architecture.c, rows of compiler/target/targets.def and package/targets.def, and for the
 * machines themselves base/cpu_*.c, profile/peak_*.c and the macros of base/compiler.h.
 *
 * A kernel's image may lie at any address that is a multiple of 64, and is moved about by that much
 * before it is loaded: so code refers to its constants from where it stands, never by pages. */
#ifndef URZA_COMPILER_CODEGEN_ARCHITECTURE_H
#define URZA_COMPILER_CODEGEN_ARCHITECTURE_H

#include <llvm-c/TargetMachine.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* A place in an image that depends on where another one lies. */
struct relocation {
    uint8_t *place;   /* the instruction or word; the four bytes there may be changed */
    uint32_t type;    /* of ELF, for the family */
    int64_t distance; /* from place to what is meant, with the addend */
};

struct architecture {
    const char *family;          /* of targets */
    void (*begin_process)(void); /* makes LLVM know the family; once */
    const char *const *options;  /* for LLVM, ended by NULL: passes that find nothing in our code */
    LLVMCodeModel code_model;
    /* ERR_COMPILE: a type that needs work at load time, or does not reach so far. */
    bool (*relocate)(const struct relocation *relocation, struct error *err);
    /* The intrinsic that orders stores past the caches before all later ones; NULL: they are
     * ordered as any are. */
    const char *stream_fence;
};

extern const struct architecture architecture_x86_64, architecture_aarch64;

/* NULL: there is none. */
const struct architecture *architecture_find(const char *family);
/* By number; NULL behind the last. */
const struct architecture *architecture_at(size_t index);

#endif
