/* Code generation: from scheduled nests to one flat image of machine code.
 *
 * The only room that includes LLVM. Loops come with their kind decided; vectors are emitted
 * explicitly, and LLVM runs only light passes. The image is a sequence of kernels, 64-aligned, each
 * with its code and then its constants. It is position independent, imports nothing and has no
 * relocations left. The same nest gives the same bytes, whichever kernels are beside it.
 *
 * One call uses the threads that it may; calls on different threads are independent.
 * The first call sets options of LLVM for the whole process. LLVM may end the process on internal
 * errors or out of memory: a caller that must survive that compiles in a child process. */
#ifndef URZA_COMPILER_CODEGEN_CODEGEN_H
#define URZA_COMPILER_CODEGEN_CODEGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct cache;
struct board;
struct error;
struct nest;
struct strbuf;
struct target;

struct code_image {
    const uint8_t *bytes;
    size_t size_bytes;
    uint32_t *kernel_offsets; /* entry point of each nest, in the order given; a urza_kernel_fn
                                 (package/plan.h) */
    uint32_t generated, memory_hits, disk_hits; /* kernels, by the source of their code */
};

/* All may be NULL. */
struct code_options {
    struct strbuf *llvm, *assembly; /* receive the text of every kernel; the cache is not used
                                       then */
    struct cache *cache;            /* of kernels; NULL: none */
    const uint8_t (*digests)[32];   /* by nest: its nest_digest; with a cache */
    const bool *prepare; /* by nest: it runs once, after load, so it is compiled fast and not
                          optimised */
    struct board *board; /* gets which nest is generated; NULL: nobody asks */
    bool trust;          /* skip LLVM's verifier of the emitted IR */
    uint32_t threads;    /* at most so many at a time; 0: one. The bytes are the same */
};

/* The input of code generation. */
struct code_request {
    struct nest *const *nests; /* verified; codegen expands their jammed loops */
    uint32_t count;
    const struct target *target;
    const struct code_options *options; /* NULL: none */
};
/* *out is in the arena. ERR_COMPILE when LLVM refuses, or when the code would refer to anything
 * outside of its image. */
bool codegen(const struct code_request *request, struct arena *arena, struct code_image *out,
             struct error *err);

/* For the whole process: when LLVM finds no memory, *handler is called, which must not return. The
 * pointer must stay valid. For child processes. */
typedef void codegen_handler(void);
void codegen_on_no_memory(codegen_handler *const *handler);

#define CODEGEN_BACKEND "llvm 19" /* the generator's name, and … */
/* … its full version ("19.1.7"), known at run time; both decide the bytes of code. */
#define CODEGEN_VERSION_BYTES 36
void codegen_version(char out[CODEGEN_VERSION_BYTES]);

#endif
