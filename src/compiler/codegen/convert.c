/* Conversions. f16 and bf16 exist in memory only: loads convert to f32, stores round, and a cast to
 * them rounds but stays an f32. Conversions of bf16, and of f16 where the target has no instruction
 * for it, use integer operations, so that no library is called. */
#include "compiler/codegen/codegen_priv.h"

static LLVMTypeRef i32_like(struct emitter *e, LLVMValueRef v)
{
    return type_like(LLVMInt32TypeInContext(e->context), v);
}

static LLVMTypeRef f32_like(struct emitter *e, LLVMValueRef v)
{
    return type_like(LLVMFloatTypeInContext(e->context), v);
}

static LLVMValueRef bf16_to_f32(struct emitter *e, LLVMValueRef bits)
{
    LLVMValueRef wide = LLVMBuildZExt(e->builder, bits, i32_like(e, bits), "");
    wide = LLVMBuildShl(e->builder, wide, const_int_like(wide, 16), "");
    return LLVMBuildBitCast(e->builder, wide, f32_like(e, bits), "");
}

static LLVMValueRef is_nan(struct emitter *e, LLVMValueRef v)
{
    return LLVMBuildFCmp(e->builder, LLVMRealUNO, v, v, "");
}

/* Rounds to nearest even: adds half a unit in the last place of the upper 16 bits, less one if that
 * place is even. The result is in the upper 16 bits. */
static LLVMValueRef bf16_in_upper_bits(struct emitter *e, LLVMValueRef v)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef bits = LLVMBuildBitCast(b, v, i32_like(e, v), "");
    LLVMValueRef odd = LLVMBuildAnd(b, LLVMBuildLShr(b, bits, const_int_like(bits, 16), ""),
                                    const_int_like(bits, 1), "");
    LLVMValueRef rounded =
        LLVMBuildAdd(b, LLVMBuildAdd(b, bits, const_int_like(bits, 0x7fff), ""), odd, "");
    LLVMValueRef quiet = LLVMBuildOr(b, bits, const_int_like(bits, 0x400000), "");
    return LLVMBuildSelect(b, is_nan(e, v), quiet, rounded, "");
}

static LLVMValueRef upper_bits(struct emitter *e, LLVMValueRef bits)
{
    bits = LLVMBuildLShr(e->builder, bits, const_int_like(bits, 16), "");
    return LLVMBuildTrunc(e->builder, bits, type_like(LLVMInt16TypeInContext(e->context), bits),
                          "");
}

static LLVMValueRef round_to_bf16(struct emitter *e, LLVMValueRef v)
{
    LLVMValueRef bits = bf16_in_upper_bits(e, v);
    bits = LLVMBuildAnd(e->builder, bits, const_int_like(bits, -0x10000), "");
    return LLVMBuildBitCast(e->builder, bits, LLVMTypeOf(v), "");
}

/* Exponent and mantissa are shifted into place and scaled by 2^112, which is correct for
 * subnormals, too. */
static LLVMValueRef f16_to_f32_by_integers(struct emitter *e, LLVMValueRef bits)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef wide = LLVMBuildZExt(b, bits, i32_like(e, bits), "");
    LLVMValueRef sign = LLVMBuildShl(b, LLVMBuildAnd(b, wide, const_int_like(wide, 0x8000), ""),
                                     const_int_like(wide, 16), "");
    LLVMValueRef body = LLVMBuildShl(b, LLVMBuildAnd(b, wide, const_int_like(wide, 0x7fff), ""),
                                     const_int_like(wide, 13), "");
    LLVMValueRef scaled = LLVMBuildBitCast(b, body, f32_like(e, bits), "");
    scaled = LLVMBuildFMul(b, scaled, const_real_like(scaled, 0x1p112), "");
    LLVMValueRef out = LLVMBuildBitCast(b, scaled, i32_like(e, bits), "");
    LLVMValueRef special =
        LLVMBuildICmp(b, LLVMIntUGE, body, const_int_like(body, 0x7c00 << 13), "");
    LLVMValueRef infinite = LLVMBuildOr(b, body, const_int_like(body, 0x7f800000), "");
    out = LLVMBuildOr(b, LLVMBuildSelect(b, special, infinite, out, ""), sign, "");
    return LLVMBuildBitCast(b, out, f32_like(e, bits), "");
}

/* Normal results: the exponent is rebiased and the mantissa rounded as in bf16. Subnormal results:
 * adding 0.5 rounds at the right place. A value that rounds past the largest f16 becomes infinity,
 * because the carry runs into the exponent. */
static LLVMValueRef f32_to_f16_by_integers(struct emitter *e, LLVMValueRef v)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef bits = LLVMBuildBitCast(b, v, i32_like(e, v), "");
    LLVMValueRef sign = LLVMBuildAnd(b, bits, const_int_like(bits, INT32_MIN), "");
    LLVMValueRef magnitude = LLVMBuildXor(b, bits, sign, "");
    LLVMValueRef odd = LLVMBuildAnd(b, LLVMBuildLShr(b, magnitude, const_int_like(bits, 13), ""),
                                    const_int_like(bits, 1), "");
    LLVMValueRef normal = LLVMBuildAdd(b, magnitude, const_int_like(bits, (int64_t)0xc8000fff), "");
    normal = LLVMBuildLShr(b, LLVMBuildAdd(b, normal, odd, ""), const_int_like(bits, 13), "");
    LLVMValueRef shifted = LLVMBuildBitCast(b, magnitude, f32_like(e, v), "");
    shifted = LLVMBuildFAdd(b, shifted, const_real_like(shifted, 0.5), "");
    LLVMValueRef small = LLVMBuildBitCast(b, shifted, i32_like(e, v), "");
    small = LLVMBuildSub(b, small, const_int_like(bits, 0x3f000000), "");
    LLVMValueRef is_small =
        LLVMBuildICmp(b, LLVMIntULT, magnitude, const_int_like(bits, 0x38800000), "");
    LLVMValueRef is_huge =
        LLVMBuildICmp(b, LLVMIntUGE, magnitude, const_int_like(bits, 0x47800000), "");
    LLVMValueRef huge = LLVMBuildSelect(b, is_nan(e, v), const_int_like(bits, 0x7e00),
                                        const_int_like(bits, 0x7c00), "");
    LLVMValueRef out =
        LLVMBuildSelect(b, is_small, small, LLVMBuildSelect(b, is_huge, huge, normal, ""), "");
    out = LLVMBuildOr(b, out, LLVMBuildLShr(b, sign, const_int_like(bits, 16), ""), "");
    return LLVMBuildTrunc(b, out, type_like(LLVMInt16TypeInContext(e->context), v), "");
}

/* As above, with the result as an f32: below the least normal number adding and subtracting 0.5
 * rounds, and values from 65520 on become infinity. */
static LLVMValueRef round_to_f16_by_integers(struct emitter *e, LLVMValueRef v)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef bits = LLVMBuildBitCast(b, v, i32_like(e, v), "");
    LLVMValueRef sign = LLVMBuildAnd(b, bits, const_int_like(bits, INT32_MIN), "");
    LLVMValueRef magnitude = LLVMBuildXor(b, bits, sign, "");
    LLVMValueRef odd = LLVMBuildAnd(b, LLVMBuildLShr(b, magnitude, const_int_like(bits, 13), ""),
                                    const_int_like(bits, 1), "");
    LLVMValueRef normal = LLVMBuildAdd(b, magnitude, const_int_like(bits, 0xfff), "");
    normal = LLVMBuildAnd(b, LLVMBuildAdd(b, normal, odd, ""), const_int_like(bits, -0x2000), "");
    LLVMValueRef small = LLVMBuildBitCast(b, magnitude, LLVMTypeOf(v), "");
    small = LLVMBuildFAdd(b, small, const_real_like(small, 0.5), "");
    small = LLVMBuildFSub(b, small, const_real_like(small, 0.5), "");
    LLVMValueRef is_small =
        LLVMBuildICmp(b, LLVMIntULT, magnitude, const_int_like(bits, 0x38800000), "");
    LLVMValueRef is_huge =
        LLVMBuildICmp(b, LLVMIntUGE, magnitude, const_int_like(bits, 0x477ff000), "");
    LLVMValueRef huge = LLVMBuildSelect(b, is_nan(e, v), const_int_like(bits, 0x7fc00000),
                                        const_int_like(bits, 0x7f800000), "");
    LLVMValueRef out = LLVMBuildSelect(b, is_huge, huge, normal, "");
    out = LLVMBuildSelect(b, is_small, LLVMBuildBitCast(b, small, i32_like(e, v), ""), out, "");
    return LLVMBuildBitCast(b, LLVMBuildOr(b, out, sign, ""), LLVMTypeOf(v), "");
}

/* Rounds an f32 to a narrow dtype, as f32. */
static LLVMValueRef round_to(struct emitter *e, LLVMValueRef v, enum dtype narrow)
{
    if (narrow == DTYPE_BF16)
        return round_to_bf16(e, v);
    if (!e->target->f16c)
        return round_to_f16_by_integers(e, v);
    LLVMTypeRef half = type_like(LLVMHalfTypeInContext(e->context), v);
    return LLVMBuildFPExt(e->builder, LLVMBuildFPTrunc(e->builder, v, half, ""), LLVMTypeOf(v), "");
}

LLVMValueRef emit_from_memory(struct emitter *e, LLVMValueRef v, enum dtype memory)
{
    LLVMTypeRef half = type_like(LLVMHalfTypeInContext(e->context), v);
    switch (memory) {
    case DTYPE_BF16: return bf16_to_f32(e, v);
    case DTYPE_F16:
        if (!e->target->f16c)
            return f16_to_f32_by_integers(e, v);
        return LLVMBuildFPExt(e->builder, LLVMBuildBitCast(e->builder, v, half, ""), f32_like(e, v),
                              "");
    case DTYPE_BOOL: return LLVMBuildICmp(e->builder, LLVMIntNE, v, const_int_like(v, 0), "");
    default: return v;
    }
}

LLVMValueRef emit_to_memory(struct emitter *e, LLVMValueRef v, enum dtype memory, bool rounded)
{
    switch (memory) {
    case DTYPE_BF16:
        return upper_bits(e, rounded ? LLVMBuildBitCast(e->builder, v, i32_like(e, v), "")
                                     : bf16_in_upper_bits(e, v));
    case DTYPE_F16:
        if (!e->target->f16c)
            return f32_to_f16_by_integers(e, v);
        v = LLVMBuildFPTrunc(e->builder, v, type_like(LLVMHalfTypeInContext(e->context), v), "");
        return LLVMBuildBitCast(e->builder, v, type_like(LLVMInt16TypeInContext(e->context), v),
                                "");
    case DTYPE_BOOL:
        return LLVMBuildZExt(e->builder, v, type_like(LLVMInt8TypeInContext(e->context), v), "");
    default: return v;
    }
}

/* To at most 16 bits, by way of i32. LLVM converts vectors to such types element by element. The
 * bounds are numbers of the float type, so it does not matter that v is bounded before it is cut
 * to a whole number. NaN becomes 0. */
static LLVMValueRef float_to_short(struct emitter *e, LLVMValueRef v, enum dtype to)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef most = const_real_like(v, (double)dtype_greatest(to));
    LLVMValueRef least = const_real_like(v, (double)dtype_least(to)), nan = is_nan(e, v);
    v = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLT, v, most, ""), v, most, "");
    v = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, v, least, ""), v, least, "");
    LLVMValueRef wide = LLVMBuildFPToSI(b, v, i32_like(e, v), "");
    wide = LLVMBuildSelect(b, nan, const_int_like(wide, 0), wide, "");
    return LLVMBuildTrunc(b, wide, type_like(type_of(e, to), v), "");
}

/* A vector to i32. LLVM casts vectors with saturation element by element on processors without an
 * instruction for it. i32's least number is a float, and bounds v before the cast; its greatest is
 * none, so floats above it are casts without a value, and not selected. */
static LLVMValueRef floats_to_i32(struct emitter *e, LLVMValueRef v)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef least = const_real_like(v, (double)INT32_MIN), nan = is_nan(e, v);
    LLVMValueRef above = LLVMBuildFCmp(b, LLVMRealOGE, v, const_real_like(v, 0x1p31), "");
    v = LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, v, least, ""), v, least, "");
    LLVMValueRef out = LLVMBuildFPToSI(b, v, i32_like(e, v), "");
    out = LLVMBuildSelect(b, above, const_int_like(out, INT32_MAX), out, "");
    return LLVMBuildSelect(b, nan, const_int_like(out, 0), out, "");
}

static LLVMValueRef float_to_int(struct emitter *e, LLVMValueRef v, enum dtype to)
{
    if (dtype_bytes(to) <= 2)
        return float_to_short(e, v, to);
    if (to == DTYPE_I32 && is_vector(v))
        return floats_to_i32(e, v);
    LLVMTypeRef types[2] = {type_like(type_of(e, to), v), LLVMTypeOf(v)};
    return emit_intrinsic(e, dtype_is_unsigned(to) ? "llvm.fptoui.sat" : "llvm.fptosi.sat", types,
                          2, &v, 1);
}

static LLVMValueRef int_to_int(struct emitter *e, LLVMValueRef v, enum dtype from, enum dtype to)
{
    LLVMTypeRef type = type_like(type_of(e, to), v);
    if (dtype_bytes(to) < dtype_bytes(from))
        return LLVMBuildTrunc(e->builder, v, type, "");
    if (dtype_bytes(to) == dtype_bytes(from) && from != DTYPE_BOOL)
        return v;
    return dtype_is_unsigned(from) ? LLVMBuildZExt(e->builder, v, type, "")
                                   : LLVMBuildSExt(e->builder, v, type, "");
}

static bool in_f32(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

/* f64 to f32 before another rounding, by rounding to odd: an inexact result gets an odd last bit,
 * so the second rounding is as if it were the only one. */
static LLVMValueRef f64_to_odd_f32(struct emitter *e, LLVMValueRef v)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef near = LLVMBuildFPTrunc(b, v, f32_like(e, v), "");
    LLVMValueRef back = LLVMBuildFPExt(b, near, LLVMTypeOf(v), ""), size[2] = {back, v};
    LLVMTypeRef type = LLVMTypeOf(v);
    for (int i = 0; i < 2; i++)
        size[i] = emit_intrinsic(e, "llvm.fabs", &type, 1, &size[i], 1);
    LLVMValueRef above = LLVMBuildFCmp(b, LLVMRealOGT, size[0], size[1], "");
    LLVMValueRef bits = LLVMBuildBitCast(b, near, i32_like(e, v), "");
    LLVMValueRef odd = LLVMBuildSub(b, bits, LLVMBuildZExt(b, above, i32_like(e, v), ""), "");
    odd = LLVMBuildOr(b, odd, const_int_like(odd, 1), "");
    LLVMValueRef inexact = LLVMBuildFCmp(b, LLVMRealONE, back, v, "");
    return LLVMBuildBitCast(b, LLVMBuildSelect(b, inexact, odd, bits, ""), f32_like(e, v), "");
}

/* i64 or u64 to f64, also rounded to odd: the bits that do not fit become one sticky bit. */
static LLVMValueRef wide_to_odd_f64(struct emitter *e, LLVMValueRef v, bool is_unsigned)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef moved =
        is_unsigned ? v : LLVMBuildAdd(b, v, const_int_like(v, (int64_t)1 << 53), "");
    LLVMValueRef fits = LLVMBuildICmp(b, LLVMIntULE, moved,
                                      const_int_like(v, (int64_t)1 << (is_unsigned ? 53 : 54)), "");
    LLVMValueRef rest = LLVMBuildAnd(b, v, const_int_like(v, 0xfff), "");
    LLVMValueRef any = LLVMBuildICmp(b, LLVMIntNE, rest, const_int_like(v, 0), "");
    LLVMValueRef mark = LLVMBuildSelect(b, any, const_int_like(v, 0x800), const_int_like(v, 0), "");
    LLVMValueRef odd = LLVMBuildOr(b, LLVMBuildAnd(b, v, const_int_like(v, -0x1000), ""), mark, "");
    LLVMTypeRef f64 = type_like(LLVMDoubleTypeInContext(e->context), v);
    v = LLVMBuildSelect(b, fits, v, odd, "");
    return is_unsigned ? LLVMBuildUIToFP(b, v, f64, "") : LLVMBuildSIToFP(b, v, f64, "");
}

LLVMValueRef emit_cast(struct emitter *e, LLVMValueRef v, enum dtype from, enum dtype to)
{
    if (to == DTYPE_BOOL && dtype_is_float(from))
        return LLVMBuildFCmp(e->builder, LLVMRealUNE, v, const_real_like(v, 0), "");
    if (to == DTYPE_BOOL)
        return LLVMBuildICmp(e->builder, LLVMIntNE, v, const_int_like(v, 0), "");
    if (dtype_is_float(from) && dtype_is_float(to)) {
        if (from == DTYPE_F64 && (to == DTYPE_F16 || to == DTYPE_BF16))
            v = f64_to_odd_f32(e, v);
        else if (from == DTYPE_F64 && to == DTYPE_F32)
            v = LLVMBuildFPTrunc(e->builder, v, f32_like(e, v), "");
        if (in_f32(from) && to == DTYPE_F64)
            v = LLVMBuildFPExt(e->builder, v, type_like(type_of(e, to), v), "");
        if (to == DTYPE_F16 || to == DTYPE_BF16)
            v = round_to(e, v, to);
        return v;
    }
    if (dtype_is_float(from))
        return float_to_int(e, v, to);
    if (!dtype_is_float(to))
        return int_to_int(e, v, from, to);
    if (dtype_bytes(from) >= 4 && (to == DTYPE_F16 || to == DTYPE_BF16)) {
        v = wide_to_odd_f64(e, int_to_int(e, v, from, DTYPE_I64), from == DTYPE_U64);
        return emit_cast(e, v, DTYPE_F64, to);
    }
    LLVMTypeRef type = type_like(type_of(e, to), v);
    v = dtype_is_unsigned(from) ? LLVMBuildUIToFP(e->builder, v, type, "")
                                : LLVMBuildSIToFP(e->builder, v, type, "");
    return to == DTYPE_F16 || to == DTYPE_BF16 ? emit_cast(e, v, DTYPE_F32, to) : v;
}
