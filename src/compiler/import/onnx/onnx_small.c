/* Types of at most 8 bits that the graph does not have: int2, uint2, int4, uint4, float4 and
 * float8.
 *
 * Their tensors have dtype i8 or u8, one byte for each element: an integer itself, or the bit
 * pattern (code) of a float. The small type is a property of the value's name; ops that only move
 * elements pass it on. Codes are converted to numbers by a table; numbers to codes by integer
 * arithmetic on the bits of a wider float, which rounds once. The formats, and the treatment of
 * numbers out of range, are in ONNX's "Float stored in 8 bits", "… 4 bits" and in the description
 * of Cast. */
#include <math.h>
#include <string.h>

#include "compiler/import/onnx/onnx_priv.h"

#define E8M0 24

/* A row of the table. Codes of floats exclude the sign bit. */
struct small {
    const char *name;
    enum dtype carrier;
    int bits;
    bool is_float;
    int fraction, bias;      /* number of fraction bits; exponent bias */
    uint8_t most, over, nan; /* codes of the greatest finite number, of larger numbers, of NaN */
    bool one_zero;           /* there is no -0: its code is NaN */
};

static const struct small types[] = {
    [17] = {"float8e4m3fn", DTYPE_U8, 8, true, 3, 7, 0x7e, 0x7f, 0x7f, false},
    [18] = {"float8e4m3fnuz", DTYPE_U8, 8, true, 3, 8, 0x7f, 0x80, 0x80, true},
    [19] = {"float8e5m2", DTYPE_U8, 8, true, 2, 15, 0x7b, 0x7c, 0x7e, false},
    [20] = {"float8e5m2fnuz", DTYPE_U8, 8, true, 2, 16, 0x7f, 0x80, 0x80, true},
    [21] = {"uint4", DTYPE_U8, 4, false, 0, 0, 0, 0, 0, false},
    [22] = {"int4", DTYPE_I8, 4, false, 0, 0, 0, 0, 0, false},
    [23] = {"float4e2m1", DTYPE_U8, 4, true, 1, 1, 7, 7, 8, false},
    [E8M0] = {"float8e8m0", DTYPE_U8, 8, true, 0, 127, 0xfe, 0xff, 0xff, false},
    [25] = {"uint2", DTYPE_U8, 2, false, 0, 0, 0, 0, 0, false},
    [26] = {"int2", DTYPE_I8, 2, false, 0, 0, 0, 0, 0, false},
};

bool onnx_small_find(int32_t data_type, uint8_t *out_small, enum dtype *out_carrier)
{
    bool found = data_type > 0 && data_type < (int32_t)(sizeof types / sizeof *types) &&
                 types[data_type].name;
    if (found) {
        *out_small = (uint8_t)data_type;
        *out_carrier = types[data_type].carrier;
    }
    return found;
}

const char *onnx_small_name(uint8_t small)
{
    return types[small].name;
}

bool onnx_small_is_float(uint8_t small)
{
    return types[small].is_float;
}

uint32_t onnx_small_bits(uint8_t small)
{
    return (uint32_t)types[small].bits;
}

void onnx_small_unpack(uint8_t small, const uint8_t *packed, size_t count, uint8_t *out)
{
    const struct small *t = &types[small];
    const size_t each = 8 / (size_t)t->bits;
    const unsigned mask = (1u << t->bits) - 1, half = 1u << (t->bits - 1);
    for (size_t i = 0; i < count; i++) {
        unsigned code = packed[i / each] >> (i % each * (size_t)t->bits) & mask;
        out[i] = (uint8_t)(t->carrier == DTYPE_I8 ? (code ^ half) - half : code);
    }
}

void onnx_small_range(uint8_t small, double *out_least, double *out_greatest)
{
    const struct small *t = &types[small];
    bool is_signed = t->carrier == DTYPE_I8;
    *out_least = is_signed ? -ldexp(1, t->bits - 1) : 0;
    *out_greatest = ldexp(1, t->bits - is_signed) - 1;
}

/* The number that a float's code represents. */
static double number(const struct small *t, unsigned code)
{
    unsigned magnitude = code & ((1u << (t->bits - 1)) - 1);
    unsigned exponent = magnitude >> t->fraction;
    double fraction = magnitude & ((1u << t->fraction) - 1), value;
    if (t == &types[E8M0])
        return code == t->nan ? (double)NAN : ldexp(1, (int)code - t->bias);
    if (t->one_zero && code == t->nan)
        return (double)NAN;
    if (magnitude > t->most)
        value = t->over != t->nan && magnitude == t->over ? (double)INFINITY : (double)NAN;
    else if (exponent == 0)
        value = ldexp(fraction, 1 - t->bias - t->fraction);
    else
        value = ldexp(fraction + ldexp(1, t->fraction), (int)exponent - t->bias - t->fraction);
    return code >> (t->bits - 1) ? -value : value;
}

value_id onnx_small_decode(struct onnx_call *c, value_id x, uint8_t small)
{
    const struct small *t = &types[small];
    float table[256];
    if (small == 0 || !t->is_float)
        return x;
    const int64_t count = (int64_t)1 << t->bits;
    for (int64_t i = 0; i < count; i++)
        table[i] = (float)number(t, (unsigned)i);
    return b_take(c->b, b_literal(c->b, DTYPE_F32, &count, 1, table), x, 0);
}

static value_id encode_integer(struct onnx_call *c, value_id x, const struct small *t)
{
    struct builder *b = c->b;
    value_id half = b_const(b, DTYPE_I32, ldexp(1, t->bits - 1));
    value_id mask = b_const(b, DTYPE_I32, ldexp(1, t->bits) - 1);
    x = b_binary(b, PRIM_AND, b_cast(b, x, DTYPE_I32), mask);
    if (t->carrier == DTYPE_I8)
        x = b_sub(b, b_binary(b, PRIM_XOR, x, half), half);
    return b_cast(b, x, t->carrier);
}

/* A float type that represents x well enough to determine its code, and the integers of the same
 * width. */
struct wide {
    enum dtype real, bits;
    int fraction, bias;
};

static struct wide wide_of(enum dtype dtype)
{
    bool f64 = dtype == DTYPE_F64 || (dtype_is_int(dtype) && dtype_bytes(dtype) >= 4);
    return f64 ? (struct wide){DTYPE_F64, DTYPE_U64, 52, 1023}
               : (struct wide){DTYPE_F32, DTYPE_U32, 23, 127};
}

/* The codes of magnitudes a. From the least normal number on, the bit pattern is rounded, and a
 * carry correctly increments the exponent; below it, a is rounded to a multiple of the least
 * number. */
static value_id round_magnitude(struct onnx_call *c, value_id a, const struct wide *w,
                                const struct small *t)
{
    struct builder *b = c->b;
    const int shift = w->fraction - t->fraction;
    value_id bits = b_bitcast(b, a, w->bits), amount = b_const(b, w->bits, shift);
    value_id odd =
        b_binary(b, PRIM_AND, b_binary(b, PRIM_SHR, bits, amount), b_const(b, w->bits, 1));
    value_id sum = b_add(b, bits, b_const(b, w->bits, ldexp(1, shift - 1) - 1));
    value_id normal = b_binary(b, PRIM_SHR, b_add(b, sum, odd), amount);
    normal = b_sub(b, normal, b_const(b, w->bits, ldexp(w->bias - t->bias, t->fraction)));
    value_id tiny = b_unary(b, PRIM_ROUND, b_scale(b, a, ldexp(1, t->bias - 1 + t->fraction)));
    value_id is_tiny = b_binary(b, PRIM_LT, a, b_const(b, w->real, ldexp(1, 1 - t->bias)));
    return b_select(b, is_tiny, b_cast(b, tiny, w->bits), normal);
}

static value_id encode_float(struct onnx_call *c, value_id x, const struct small *t, bool saturate)
{
    struct builder *b = c->b;
    struct wide w = wide_of(onnx_type(c, x));
    x = b_cast(b, x, w.real);
    value_id code = round_magnitude(c, b_unary(b, PRIM_ABS, x), &w, t);
    value_id most = b_const(b, w.bits, t->most), beyond = b_const(b, w.bits, t->over);
    code = b_select(b, b_binary(b, PRIM_LT, most, code), saturate ? most : beyond, code);
    value_id sign = b_binary(b, PRIM_SHR, b_bitcast(b, x, w.bits),
                             b_const(b, w.bits, w.real == DTYPE_F64 ? 63 : 31));
    value_id zero = b_const(b, w.bits, 0);
    if (t->one_zero)
        sign = b_select(b, b_binary(b, PRIM_EQ, code, zero), zero, sign);
    sign = b_binary(b, PRIM_SHL, sign, b_const(b, w.bits, t->bits - 1));
    code = b_cast(b, b_binary(b, PRIM_OR, code, sign), DTYPE_U8);
    return b_select(b, b_unary(b, PRIM_IS_NAN, x), b_const(b, DTYPE_U8, t->nan), code);
}

/* Powers of two: the exponent, plus one if the fraction rounds up. There is no sign. */
static value_id encode_e8m0(struct onnx_call *c, value_id x, bool saturate)
{
    struct builder *b = c->b;
    const char *mode = onnx_text(c, "round_mode", "up");
    x = b_cast(b, x, DTYPE_F32);
    value_id bits = b_bitcast(b, b_unary(b, PRIM_ABS, x), DTYPE_U32);
    value_id code = b_binary(b, PRIM_SHR, bits, b_const(b, DTYPE_U32, 23)), up;
    value_id fraction = b_binary(b, PRIM_AND, bits, b_const(b, DTYPE_U32, 0x7fffff));
    value_id zero = b_const(b, DTYPE_U32, 0), half = b_const(b, DTYPE_U32, 0x400000);
    if (strcmp(mode, "up") == 0) {
        up = b_binary(b, PRIM_LT, zero, fraction);
    } else if (strcmp(mode, "nearest") == 0) { /* ties round up, except for subnormal numbers */
        value_id tie = b_binary(b, PRIM_AND, b_binary(b, PRIM_EQ, fraction, half),
                                b_binary(b, PRIM_LT, zero, code));
        up = b_binary(b, PRIM_OR, tie, b_binary(b, PRIM_LT, half, fraction));
    } else if (strcmp(mode, "down") == 0) {
        up = b_const(b, DTYPE_BOOL, 0);
    } else {
        return b_fail(b, ERR_BLUEPRINT, "round_mode '%.40s'", mode);
    }
    value_id next = b_add(b, code, b_cast(b, up, DTYPE_U32));
    next = b_binary(b, PRIM_MIN, next, b_const(b, DTYPE_U32, saturate ? 0xfe : 0xff));
    value_id special = b_binary(b, PRIM_EQ, code, b_const(b, DTYPE_U32, 0xff));
    special = b_binary(b, PRIM_OR, special, b_unary(b, PRIM_IS_NAN, x));
    return b_select(b, special, b_const(b, DTYPE_U8, 0xff), b_cast(b, next, DTYPE_U8));
}

value_id onnx_small_encode(struct onnx_call *c, value_id x, uint8_t small)
{
    const struct small *t = &types[small];
    bool saturate = onnx_int(c, "saturate", 1) != 0;
    if (!t->is_float)
        return encode_integer(c, x, t);
    return small == E8M0 ? encode_e8m0(c, x, saturate) : encode_float(c, x, t, saturate);
}
