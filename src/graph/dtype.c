/* The table of element types, and rounding to the narrow floats.
 *
 * f16 and bf16 are made from the bits of the float64 in one rounding. Rounding to float32 first
 * would be wrong: a value just above a tie could round to the tie, and then to the wrong side. */
#include "graph/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>

struct dtype_row {
    const char *name, *npy, *safetensors;
    size_t bytes;
    enum dtype_kind kind;
};

static const struct dtype_row ROWS[DTYPE_COUNT] = {
    [DTYPE_NONE] = {"none", "", "", 0, (enum dtype_kind)0},
#define DTYPE(id, name, bytes, kind, npy, st) [DTYPE_##id] = {name, npy, st, bytes, kind},
#include "graph/dtypes.def"
#undef DTYPE
};

/* Names that other programs use; each may have the prefix "torch.". */
static const struct {
    const char *name;
    enum dtype dtype;
} ALIASES[] = {
    {"float64", DTYPE_F64}, {"double", DTYPE_F64},    {"float32", DTYPE_F32}, {"float", DTYPE_F32},
    {"float16", DTYPE_F16}, {"half", DTYPE_F16},      {"int64", DTYPE_I64},   {"long", DTYPE_I64},
    {"int32", DTYPE_I32},   {"int", DTYPE_I32},       {"int16", DTYPE_I16},   {"short", DTYPE_I16},
    {"int8", DTYPE_I8},     {"bfloat16", DTYPE_BF16}, {"uint8", DTYPE_U8},    {"uint16", DTYPE_U16},
    {"uint32", DTYPE_U32},  {"uint64", DTYPE_U64},
};

/* An interchange format of IEEE 754 of at most 16 bits. */
struct narrow {
    int exponent_bits, fraction_bits;
};

static const struct narrow F16 = {5, 10}, BF16 = {8, 7};

static const struct dtype_row *row_of(enum dtype dtype)
{
    assert((unsigned)dtype < DTYPE_COUNT);
    return &ROWS[dtype];
}

const char *dtype_name(enum dtype dtype)
{
    return row_of(dtype)->name;
}

size_t dtype_bytes(enum dtype dtype)
{
    return row_of(dtype)->bytes;
}

enum dtype_kind dtype_kind(enum dtype dtype)
{
    return row_of(dtype)->kind;
}

const char *dtype_npy(enum dtype dtype)
{
    return row_of(dtype)->npy;
}

const char *dtype_safetensors(enum dtype dtype)
{
    return row_of(dtype)->safetensors;
}

enum dtype dtype_from_name(const char *name)
{
    if (strncmp(name, "torch.", 6) == 0)
        name += 6;
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (strcmp(name, ROWS[d].name) == 0)
            return (enum dtype)d;
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (strcmp(name, ALIASES[i].name) == 0)
            return ALIASES[i].dtype;
    return DTYPE_NONE;
}

enum dtype dtype_from_npy(const char *descr)
{
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (strcmp(descr, ROWS[d].npy) == 0)
            return (enum dtype)d;
    return DTYPE_NONE;
}

enum dtype dtype_from_safetensors(const char *name)
{
    for (int d = DTYPE_NONE + 1; d < DTYPE_COUNT; d++)
        if (strcmp(name, ROWS[d].safetensors) == 0)
            return (enum dtype)d;
    return DTYPE_NONE;
}

static uint16_t narrow_from_double(struct narrow format, double value)
{
    const int fraction_bits = format.fraction_bits, bias = (1 << (format.exponent_bits - 1)) - 1;
    const uint64_t infinity = (((uint64_t)1 << format.exponent_bits) - 1) << fraction_bits;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint64_t sign = (bits >> 63) << 15, fraction = bits & (((uint64_t)1 << 52) - 1);
    const int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t magnitude;
    if (exponent == 0x7ff) {
        magnitude = infinity;
        if (fraction != 0) /* setting the quiet bit keeps a NaN a NaN when its payload is only in
                              the bits that are cut off */
            magnitude |= fraction >> (52 - fraction_bits) | (uint64_t)1 << (fraction_bits - 1);
        return (uint16_t)(sign | magnitude);
    }
    /* A subnormal float64 is far below half the smallest narrow value: the shift makes it zero. */
    const int narrow_exponent = exponent - 1023 + bias;
    const int shift = 52 - fraction_bits + (narrow_exponent < 1 ? 1 - narrow_exponent : 0);
    if (shift > 53)
        return (uint16_t)sign;
    const uint64_t significand = fraction | (uint64_t)1 << 52;
    const uint64_t half = (uint64_t)1 << (shift - 1), rest = significand & (2 * half - 1);
    magnitude = significand >> shift;
    magnitude += rest > half || (rest == half && (magnitude & 1) != 0);
    /* The significand's leading one is added to the exponent field, and so is a carry from
     * rounding. */
    if (narrow_exponent > 1)
        magnitude += (uint64_t)(narrow_exponent - 1) << fraction_bits;
    return (uint16_t)(sign | (magnitude < infinity ? magnitude : infinity));
}

static double narrow_to_double(struct narrow format, uint16_t bits)
{
    const int fraction_bits = format.fraction_bits, bias = (1 << (format.exponent_bits - 1)) - 1;
    const int top = (1 << format.exponent_bits) - 1;
    const int exponent = bits >> fraction_bits & top, fraction = bits & ((1 << fraction_bits) - 1);
    const bool negative = bits >> 15 != 0;
    if (exponent == top) {
        uint64_t wide = (uint64_t)negative << 63 | (uint64_t)0x7ff << 52 |
                        (uint64_t)fraction << (52 - fraction_bits);
        double value;
        memcpy(&value, &wide, sizeof value);
        return value;
    }
    double value = exponent == 0
                       ? ldexp(fraction, 1 - bias - fraction_bits)
                       : ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
    return negative ? -value : value;
}

uint16_t f16_from_double(double value)
{
    return narrow_from_double(F16, value);
}

double f16_to_double(uint16_t bits)
{
    return narrow_to_double(F16, bits);
}

uint16_t bf16_from_double(double value)
{
    return narrow_from_double(BF16, value);
}

double bf16_to_double(uint16_t bits)
{
    return narrow_to_double(BF16, bits);
}

double dtype_round(enum dtype float_dtype, double value)
{
    switch ((int)float_dtype) {
    case DTYPE_F64: return value;
    case DTYPE_F32: return (double)(float)value;
    case DTYPE_F16: return f16_to_double(f16_from_double(value));
    case DTYPE_BF16: return bf16_to_double(bf16_from_double(value));
    }
    assert(!"a float dtype");
    return value;
}

/* Precision counts the leading bit; the exponents are those of the smallest normal and of the
 * largest value.
 */
struct float_facts {
    int precision, min_exponent, max_exponent;
};

static struct float_facts float_facts(enum dtype dtype)
{
    switch ((int)dtype) {
    case DTYPE_F64: return (struct float_facts){53, -1022, 1023};
    case DTYPE_F32: return (struct float_facts){24, -126, 127};
    case DTYPE_F16: return (struct float_facts){11, -14, 15};
    case DTYPE_BF16: return (struct float_facts){8, -126, 127};
    }
    assert(!"a float dtype");
    return (struct float_facts){0};
}

double dtype_unit_roundoff(enum dtype float_dtype)
{
    return ldexp(1, -float_facts(float_dtype).precision);
}

double dtype_max(enum dtype float_dtype)
{
    struct float_facts facts = float_facts(float_dtype);
    return ldexp(2 - ldexp(1, 1 - facts.precision), facts.max_exponent);
}

double dtype_min_normal(enum dtype float_dtype)
{
    return ldexp(1, float_facts(float_dtype).min_exponent);
}

double dtype_min_subnormal(enum dtype float_dtype)
{
    struct float_facts facts = float_facts(float_dtype);
    return ldexp(1, facts.min_exponent - facts.precision + 1);
}

int64_t dtype_wrap(enum dtype int_dtype, int64_t value)
{
    switch ((int)int_dtype) {
    case DTYPE_I64: return value;
    case DTYPE_I32: return (int32_t)value;
    case DTYPE_I16: return (int16_t)value;
    case DTYPE_I8: return (int8_t)value;
    case DTYPE_U8: return (uint8_t)value;
    case DTYPE_U16: return (uint16_t)value;
    case DTYPE_U32: return (uint32_t)value;
    case DTYPE_U64: return value;
    case DTYPE_BOOL: return value != 0;
    }
    assert(!"an integer dtype");
    return value;
}

int64_t dtype_least(enum dtype int_dtype)
{
    return dtype_is_unsigned(int_dtype) ? 0 : INT64_MIN >> (64 - 8 * dtype_bytes(int_dtype));
}

int64_t dtype_greatest(enum dtype int_dtype)
{
    if (int_dtype == DTYPE_BOOL)
        return 1;
    bool is_signed = !dtype_is_unsigned(int_dtype);
    return (int64_t)(UINT64_MAX >> (64 - 8 * dtype_bytes(int_dtype) + is_signed));
}

int64_t dtype_saturate(enum dtype int_dtype, double value)
{
    int64_t least = dtype_least(int_dtype), greatest = dtype_greatest(int_dtype);
    if (isnan(value))
        return 0;
    value = trunc(value);
    if (value <= dtype_int_value(int_dtype, least))
        return least;
    /* The largest 64-bit value is rounded up as a double, to the first value that does not fit;
     * hence >=. */
    if (value >= dtype_int_value(int_dtype, greatest))
        return greatest;
    return int_dtype == DTYPE_U64 ? (int64_t)(uint64_t)value : (int64_t)value;
}
