/* Element types: the rows of dtypes.def. Their numbers are stable, because they are stored in
 * packages. */
#ifndef URZA_GRAPH_DTYPE_H
#define URZA_GRAPH_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_NONE,
#define DTYPE(id, name, bytes, kind, npy, st) DTYPE_##id,
#include "graph/dtypes.def"
#undef DTYPE
    DTYPE_COUNT
};

enum dtype_kind { DTYPE_KIND_FLOAT = 1, DTYPE_KIND_INT, DTYPE_KIND_BOOL, DTYPE_KIND_UINT };

const char *dtype_name(enum dtype dtype);     /* "f32" */
enum dtype dtype_from_name(const char *name); /* also "float32", "torch.float32"; DTYPE_NONE if
                                                 unknown */
size_t dtype_bytes(enum dtype dtype); /* of one element in memory; bool is one byte, 0 or 1 */
enum dtype_kind dtype_kind(enum dtype dtype);
const char *dtype_npy(enum dtype dtype); /* NumPy's descr, "<f4" */
enum dtype dtype_from_npy(const char *descr);
const char *dtype_safetensors(enum dtype dtype); /* "F32" */
enum dtype dtype_from_safetensors(const char *name);
static inline bool dtype_is_float(enum dtype d)
{
    return dtype_kind(d) == DTYPE_KIND_FLOAT;
}
static inline bool dtype_is_int(enum dtype d)
{
    return dtype_kind(d) == DTYPE_KIND_INT || dtype_kind(d) == DTYPE_KIND_UINT;
}
static inline bool dtype_is_unsigned(enum dtype d) /* bool is, too */
{
    return dtype_kind(d) == DTYPE_KIND_UINT || dtype_kind(d) == DTYPE_KIND_BOOL;
}

/* Rounding (nearest, ties to even) between float64 and the narrow formats. */
double dtype_round(enum dtype float_dtype, double value); /* to the nearest value of float_dtype;
                                                             may give ±inf */
uint16_t f16_from_double(double value);
double f16_to_double(uint16_t bits);
uint16_t bf16_from_double(double value);
double bf16_to_double(uint16_t bits);

double dtype_unit_roundoff(enum dtype float_dtype); /* 2^-24 for f32 */
double dtype_max(enum dtype float_dtype);           /* largest finite value */
double dtype_min_normal(enum dtype float_dtype);    /* smallest normal value */
double dtype_min_subnormal(enum dtype float_dtype);

/* Integers and bool are held in an int64_t. A u64 is held as its bits, so a large one is a negative
 * int64_t: compare, bound and convert elements with the functions below only. */

/* Wraps to the width of an integer dtype (two's complement); bool: value != 0. */
int64_t dtype_wrap(enum dtype int_dtype, int64_t value);
int64_t dtype_least(enum dtype int_dtype);
int64_t dtype_greatest(enum dtype int_dtype);
/* The value of an element as a double; rounded when it has more than 53 bits. */
static inline double dtype_int_value(enum dtype int_dtype, int64_t value)
{
    return int_dtype == DTYPE_U64 ? (double)(uint64_t)value : (double)value;
}
static inline bool dtype_int_less(enum dtype int_dtype, int64_t a, int64_t b)
{
    return int_dtype == DTYPE_U64 ? (uint64_t)a < (uint64_t)b : a < b;
}
/* Casts a float to an integer dtype: truncates toward zero, saturates to the range, and maps NaN to
 * 0. */
int64_t dtype_saturate(enum dtype int_dtype, double value);

#endif
