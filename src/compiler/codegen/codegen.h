/* Code generation: scheduled nests in, one flat machine-code image out.
 *
 * The only room that knows LLVM. Loops come with their kind already decided; vectors are written
 * out here and LLVM is given only light passes. The image is a row of kernels, each code and then
 * constants, 64-aligned. It is position independent, imports nothing and needs no relocation; the
 * same nest gives the same bytes, whatever stands beside it. One call uses one LLVM context on the
 * calling thread; calls on different threads are independent. LLVM may end the process on internal
 * errors or when memory runs out: callers that must survive compile in a child process. */
#ifndef URZA_COMPILER_CODEGEN_CODEGEN_H
#define URZA_COMPILER_CODEGEN_CODEGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;
struct nest;
struct strbuf;
struct target;

struct code_image {
    const uint8_t *bytes;
    size_t size_bytes;
    uint32_t *kernel_offsets; /* entry of each nest, in the order given; urza_kernel_fn
                                 (package/plan.h) */
};

/* What to write down on the way; each may be NULL. */
struct code_dump {
    struct strbuf *llvm, *assembly;
};

/* Verified nests in, whose jammed loops are expanded here; out lives in arena. ERR_COMPILE when
 * LLVM refuses or the code would need more than its own image. */
bool codegen(struct nest *const *nests, uint32_t count, const struct target *target,
             const struct code_dump *dump, struct arena *arena, struct code_image *out,
             struct error *err);

#define CODEGEN_BACKEND "llvm 19" /* part of what decides the bytes */

#endif
