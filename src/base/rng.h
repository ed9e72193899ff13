/* Random numbers as a function of (seed, counter): no state, the same values on every machine.
 *
 * squares32(counter, key) is Widynski's counter-based generator (arXiv:2004.06278), with four
 * rounds; the key is made from a seed by splitmix64 and forced to be odd. The graph prim `random`
 * computes the same function. */
#ifndef URZA_BASE_RNG_H
#define URZA_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

uint64_t rng_key(uint64_t seed);                    /* splitmix64(seed) | 1 */
uint32_t rng_u32(uint64_t key, uint64_t counter);   /* squares32 */
double rng_uniform(uint64_t key, uint64_t counter); /* [0, 1), 32 bits: rng_u32 × 2^-32 */
/* Standard normal by Box–Muller from counters 2c and 2c+1: sqrt(-2 ln(1-u0)) cos(2π u1). */
double rng_normal(uint64_t key, uint64_t counter);

/* rng_uniform of the counters first, first + 1 …: the same bits, about ten times faster. */
void rng_uniforms(uint64_t key, uint64_t first, size_t count, double *out);

#endif
