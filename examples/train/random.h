/* Random numbers without a state: each follows from a seed, a step and an index alone. So a run
 * that is resumed at a step draws what it would have drawn. The function is SplitMix64's. */
#ifndef EXAMPLES_TRAIN_RANDOM_H
#define EXAMPLES_TRAIN_RANDOM_H

#include <stdint.h>

static inline uint64_t random_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline uint64_t random_bits(uint64_t seed, uint64_t step, uint64_t index)
{
    return random_mix(random_mix(random_mix(seed) + step) + index);
}

static inline float random_unit(uint64_t bits) /* in [0, 1) */
{
    return (float)(bits >> 40) * 0x1p-24F;
}

/* Steps from here on are not trained on: their numbers are for evaluation. */
#define RANDOM_UNSEEN ((uint64_t)1 << 48)

#endif
