/* What the fuzz targets share: one arena an input, bounded, so that running out of memory ends the
 * input and not the fuzzer. A target is one parser; it must neither crash nor leave a sanitizer's
 * complaint, and what it accepts must print and parse back to the same text. */
#ifndef URZA_FUZZ_FUZZ_H
#define URZA_FUZZ_FUZZ_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"

#define FUZZ_MEMORY ((size_t)1 << 29)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Calls body with an arena that is released behind it. */
static inline void fuzz_with_arena(void (*body)(struct arena *arena, const uint8_t *data,
                                                size_t size),
                                   const uint8_t *data, size_t size)
{
    static struct arena arena;
    jmp_buf oom;
    arena_init(&arena);
    arena.limit_bytes = FUZZ_MEMORY;
    arena.oom = &oom;
    if (setjmp(oom) == 0)
        body(&arena, data, size);
    arena_release(&arena);
}

/* A broken promise: the fuzzer keeps the input that shows it. */
static inline void fuzz_require(int condition)
{
    if (!condition)
        abort();
}

#endif
