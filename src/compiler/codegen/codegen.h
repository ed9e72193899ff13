/* Code generation: scheduled nests in, one flat machine-code image out.
 *
 * The only room that knows LLVM. Loops come with their kind already decided; vectors are written
 * out here and LLVM is given only light passes. The image is a row of kernels, each code and then
 * constants, 64-aligned. It is position independent, imports nothing and needs no relocation; the
 * same nest gives the same bytes, whatever stands beside it. One call uses one LLVM context on the
 * calling thread; calls on different threads are independent. The first call sets options of LLVM
 * for the whole process. LLVM may end the process on internal errors or when memory runs out:
 * callers that must survive compile in a child process. */
#ifndef URZA_COMPILER_CODEGEN_CODEGEN_H
#define URZA_COMPILER_CODEGEN_CODEGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct cache;
struct error;
struct nest;
struct strbuf;
struct target;

struct code_image {
    const uint8_t *bytes;
    size_t size_bytes;
    uint32_t *kernel_offsets; /* entry of each nest, in the order given; urza_kernel_fn
                                 (package/plan.h) */
    uint32_t generated, memory_hits, disk_hits; /* kernels, by where their code comes from */
};

/* All may be NULL. */
struct code_options {
    struct strbuf *llvm, *assembly; /* receive the text of every kernel; no cache then */
    struct cache *cache;            /* where kernels may be found, and are kept … */
    const uint8_t (*digests)[32];   /* … by nest_digest of each nest */
    const bool *once; /* by nest: it runs once after load, so it is generated in haste */
    bool trust;       /* LLVM's verifier is not asked whether what we made is well-formed */
};

/* What code is to be generated of. */
struct code_request {
    struct nest *const *nests; /* verified; their jammed loops are expanded */
    uint32_t count;
    const struct target *target;
    const struct code_options *options; /* NULL: none */
};
/* out lives in arena. ERR_COMPILE when LLVM refuses or the code would need more than its own image.
 */
bool codegen(const struct code_request *request, struct arena *arena, struct code_image *out,
             struct error *err);

/* For the whole process: *handler, which must stay where it is and not return, is called where LLVM
 * needs memory that there is not. For child processes. */
typedef void codegen_handler(void);
void codegen_on_no_memory(codegen_handler *const *handler);

#define CODEGEN_BACKEND "llvm 19" /* part of what decides the bytes … */
/* … and its version to the last digit, "19.1.7", which is known when the library is there. */
#define CODEGEN_VERSION_BYTES 36
void codegen_version(char out[CODEGEN_VERSION_BYTES]);

#endif
