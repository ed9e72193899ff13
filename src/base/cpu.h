/* The processor that this program runs on: everything that differs between processor families,
 * together with the macros of compiler.h. One driver per family (cpu_x86_64.c, cpu_aarch64.c,
 * cpu_riscv64.c), chosen when the program is built. Thread-safe; nothing allocates. */
#ifndef URZA_BASE_CPU_H
#define URZA_BASE_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const char *cpu_family(void); /* as in target names: "x86-64", "aarch64", "riscv64" */

/* Whether the processor has all features of a list (names of package/targets.def, separated by
 * single spaces), and the operating system saves the registers they need; a virtual machine may
 * disable that on a processor that has the features. False for an unknown name. */
bool cpu_has(const char *features);

/* "AuthenticAMD 25 97": vendor, family, model; no stepping, no brand name. */
void cpu_model(char *out, size_t size);

/* Makes instructions that were written to [code, code + size) visible to every core that executes
 * them. */
void cpu_sync_code(const void *code, size_t size);

/* cpu_fp_begin sets the floating-point mode of the calling thread (flush to zero, rounding, trapped
 * exceptions) to the default; cpu_fp_end restores the previous state, flags included. */
struct cpu_fp {
    uint64_t word;
    bool changed;
};
void cpu_fp_begin(struct cpu_fp *out);
void cpu_fp_end(const struct cpu_fp *before);

/* Continues the CRC-32 of ISO 3309, in *sum and not complemented, over the first bytes of data, and
 * returns how many bytes that were; the caller does the rest. 0 where the processor has no
 * instructions for it. */
size_t cpu_crc32(uint32_t *sum, const uint8_t *data, size_t size);

/* Writes rng_uniform(key, first + i) to the first elements of out[0 … count) and returns how many;
 * the caller does the rest. */
size_t cpu_uniforms(uint64_t key, uint64_t first, size_t count, double *out);

#endif
