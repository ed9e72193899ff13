/* Random elements as a function of (seed, index): one key for choices and integers, a second one
 * for normals. */
#include "base/rng.h"
#include "verify/sample.h"

static void store_float(enum dtype dtype, void *data, int64_t at, double value)
{
    if (dtype == DTYPE_F64)
        ((double *)data)[at] = value;
    else if (dtype == DTYPE_F32)
        ((float *)data)[at] = (float)value;
    else
        ((uint16_t *)data)[at] =
            dtype == DTYPE_F16 ? f16_from_double(value) : bf16_from_double(value);
}

static void store_int(enum dtype dtype, void *data, int64_t at, int64_t value)
{
    switch (dtype_bytes(dtype)) {
    case 8: ((int64_t *)data)[at] = value; break;
    case 4: ((int32_t *)data)[at] = (int32_t)value; break;
    case 2: ((int16_t *)data)[at] = (int16_t)value; break;
    default: ((uint8_t *)data)[at] = (uint8_t)value; break;
    }
}

static double special_value(enum dtype dtype, uint32_t random)
{
    double sign = (random & 1) != 0 ? -1.0 : 1.0;
    switch (random >> 1 & 3) {
    case 0: return sign * 0.0;
    case 1: return sign * dtype_min_subnormal(dtype) * (1 + (random >> 3 & 15));
    case 2: return sign * dtype_min_normal(dtype) * (1 + (random >> 3 & 15));
    default: return sign * (64 + (random >> 3 & 1023));
    }
}

void random_fill(enum dtype dtype, int64_t count, uint64_t seed, bool special, void *data)
{
    uint64_t key = rng_key(seed), normal_key = rng_key(~seed);
    for (int64_t i = 0; i < count; i++) {
        uint32_t random = rng_u32(key, (uint64_t)i);
        if (dtype == DTYPE_BOOL)
            store_int(dtype, data, i, random >> 31);
        else if (!dtype_is_float(dtype))
            store_int(dtype, data, i,
                      (random & 15) == 0 ? -(int64_t)(random >> 29) - 1 /* great when unsigned */
                                         : (int64_t)(random >> 29));
        else if (special && random >> 29 == 0)
            store_float(dtype, data, i, special_value(dtype, random));
        else
            store_float(dtype, data, i, rng_normal(normal_key, (uint64_t)i));
    }
}
