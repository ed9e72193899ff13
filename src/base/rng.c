/* Widynski's squares: four rounds of squaring followed by swapping the halves ("middle square"),
 * started from counter × key. */
#include "base/rng.h"

#include <math.h>

#include "base/cpu.h"

uint64_t rng_key(uint64_t seed)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) | 1;
}

static uint64_t swap_halves(uint64_t x)
{
    return (x >> 32) | (x << 32);
}

uint32_t rng_u32(uint64_t key, uint64_t counter)
{
    uint64_t x = counter * key;
    uint64_t y = x;
    uint64_t z = y + key;
    x = swap_halves(x * x + y);
    x = swap_halves(x * x + z);
    x = swap_halves(x * x + y);
    return (uint32_t)((x * x + z) >> 32);
}

double rng_uniform(uint64_t key, uint64_t counter)
{
    return (double)rng_u32(key, counter) * 0x1p-32;
}

void rng_uniforms(uint64_t key, uint64_t first, size_t count, double *out)
{
    size_t done = cpu_uniforms(key, first, count, out);
    for (; done < count; done++)
        out[done] = rng_uniform(key, first + done);
}

double rng_normal(uint64_t key, uint64_t counter)
{
    double u0 = rng_uniform(key, 2 * counter);
    double u1 = rng_uniform(key, 2 * counter + 1);
    return sqrt(-2.0 * log(1.0 - u0)) * cos(2.0 * M_PI * u1);
}
