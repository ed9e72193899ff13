/* The processor that this program runs on: all that differs from family to family, beside the
 * macros of compiler.h. One driver a family (cpu_x86_64.c, cpu_aarch64.c), chosen when the program
 * is built. Thread-safe; nothing allocates. */
#ifndef URZA_BASE_CPU_H
#define URZA_BASE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const char *cpu_family(void); /* of targets: "x86-64", "aarch64" */

/* Whether the processor has all features of a list with single spaces, named as in
 * package/targets.def, and the operating system saves the registers they need, which a virtual
 * machine may deny on a processor that has them. False for an unknown name. */
bool cpu_has(const char *features);

/* "AuthenticAMD 25 97": vendor, family, model; no stepping, no brand name. */
void cpu_model(char *out, size_t size);

/* Instructions that were written to [code, code + size) are now seen by whoever executes them. */
void cpu_sync_code(const void *code, size_t size);

/* The mode of floating point (flush to zero, rounding, exceptions that are signals) becomes the
 * default of the calling thread; end brings back what was there, flags included. */
struct cpu_fp {
    uint64_t word;
    bool changed;
};
void cpu_fp_begin(struct cpu_fp *out);
void cpu_fp_end(const struct cpu_fp *before);

/* The CRC-32 of ISO 3309, not complemented, goes on over the first bytes of data: *sum. Returns
 * over how many; the caller does the others. 0 where the processor has nothing for it. */
size_t cpu_crc32(uint32_t *sum, const uint8_t *data, size_t size);

/* rng_uniform(key, first + i) to the first of out[0 … count): how many; the caller does the
 * others. */
size_t cpu_uniforms(uint64_t key, uint64_t first, size_t count, double *out);

#endif
