/* One LLVM instruction, or a few, per operation of the loop IR. Operands are all scalars or all
 * vectors. */
#include "compiler/codegen/codegen_priv.h"

static LLVMValueRef unary_intrinsic(struct emitter *e, const char *name, LLVMValueRef v)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    return emit_intrinsic(e, name, &type, 1, &v, 1);
}

/* x/0 = 0 and INT_MIN/-1 = INT_MIN without trapping. */
static LLVMValueRef int_div(struct emitter *e, LLVMValueRef a, LLVMValueRef b, enum dtype dtype)
{
    LLVMBuilderRef builder = e->builder;
    LLVMValueRef zero = const_int_like(b, 0), one = const_int_like(b, 1);
    LLVMValueRef by_zero = LLVMBuildICmp(builder, LLVMIntEQ, b, zero, ""), unsafe = by_zero,
                 overflow = NULL;
    if (!dtype_is_unsigned(dtype)) {
        LLVMValueRef least =
            const_int_like(a, (int64_t)(UINT64_MAX << (8 * dtype_bytes(dtype) - 1)));
        overflow =
            LLVMBuildAnd(builder, LLVMBuildICmp(builder, LLVMIntEQ, a, least, ""),
                         LLVMBuildICmp(builder, LLVMIntEQ, b, const_int_like(b, -1), ""), "");
        unsafe = LLVMBuildOr(builder, by_zero, overflow, "");
    }
    LLVMValueRef safe = LLVMBuildSelect(builder, unsafe, one, b, "");
    LLVMValueRef q = dtype_is_unsigned(dtype) ? LLVMBuildUDiv(builder, a, safe, "")
                                              : LLVMBuildSDiv(builder, a, safe, "");
    return LLVMBuildSelect(builder, by_zero, zero, q, ""); /* INT_MIN / 1 is INT_MIN already */
}

/* Index quotients: operands are ≥ 0. A divisor that may be 0 is in a loop that does not run then,
 * so it is replaced by 1. Vectors divide in 32 bits where that suffices, because there is no 64-bit
 * vector division. */
static LLVMValueRef index_quotient(struct emitter *e, const struct expr *x, LLVMValueRef a,
                                   LLVMValueRef b, bool mod)
{
    int64_t lo, hi, blo, bhi;
    LLVMBuilderRef builder = e->builder;
    index_range(e->nest, x->operand[0], &lo, &hi);
    index_range(e->nest, x->operand[1], &blo, &bhi);
    LLVMTypeRef wide = LLVMTypeOf(a);
    bool narrow = is_vector(a) && lo >= 0 && hi <= INT32_MAX && bhi <= INT32_MAX;
    if (blo < 1) {
        LLVMTypeRef type = LLVMTypeOf(b);
        LLVMValueRef args[2] = {b, const_int_like(b, 1)};
        b = emit_intrinsic(e, "llvm.umax", &type, 1, args, 2);
    }
    if (narrow) {
        LLVMTypeRef i32 = type_like(LLVMInt32TypeInContext(e->context), a);
        a = LLVMBuildTrunc(builder, a, i32, "");
        b = LLVMBuildTrunc(builder, b, i32, "");
    }
    LLVMValueRef q = mod ? LLVMBuildURem(builder, a, b, "") : LLVMBuildUDiv(builder, a, b, "");
    return narrow ? LLVMBuildZExt(builder, q, wide, "") : q;
}

static LLVMValueRef compare(struct emitter *e, enum expr_op op, enum dtype dtype, LLVMValueRef a,
                            LLVMValueRef b)
{
    if (dtype_is_float(dtype)) {
        LLVMRealPredicate p = op == EXPR_EQ   ? LLVMRealOEQ
                              : op == EXPR_NE ? LLVMRealUNE
                              : op == EXPR_LT ? LLVMRealOLT
                                              : LLVMRealOLE;
        return LLVMBuildFCmp(e->builder, p, a, b, "");
    }
    bool is_unsigned = dtype_is_unsigned(dtype);
    LLVMIntPredicate lt = is_unsigned ? LLVMIntULT : LLVMIntSLT,
                     le = is_unsigned ? LLVMIntULE : LLVMIntSLE;
    LLVMIntPredicate p = op == EXPR_EQ   ? LLVMIntEQ
                         : op == EXPR_NE ? LLVMIntNE
                         : op == EXPR_LT ? lt
                                         : le;
    return LLVMBuildICmp(e->builder, p, a, b, "");
}

static LLVMValueRef fma_or_two(struct emitter *e, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
    LLVMTypeRef type = LLVMTypeOf(a);
    LLVMValueRef args[3] = {a, b, c};
    if (e->target->fma)
        return emit_intrinsic(e, "llvm.fma", &type, 1, args, 3);
    return LLVMBuildFAdd(e->builder, LLVMBuildFMul(e->builder, a, b, ""), c, "");
}

static LLVMValueRef float_operation(struct emitter *e, const struct expr *x, LLVMValueRef v[3])
{
    LLVMBuilderRef b = e->builder;
    switch ((enum expr_op)x->op) {
    case EXPR_NEG: return LLVMBuildFNeg(b, v[0], "");
    case EXPR_ABS: return unary_intrinsic(e, "llvm.fabs", v[0]);
    case EXPR_FLOOR: return unary_intrinsic(e, "llvm.floor", v[0]);
    case EXPR_CEIL: return unary_intrinsic(e, "llvm.ceil", v[0]);
    case EXPR_ROUND: return unary_intrinsic(e, "llvm.roundeven", v[0]);
    case EXPR_TRUNC: return unary_intrinsic(e, "llvm.trunc", v[0]);
    case EXPR_SQRT: return unary_intrinsic(e, "llvm.sqrt", v[0]);
    case EXPR_ADD: return LLVMBuildFAdd(b, v[0], v[1], "");
    case EXPR_SUB: return LLVMBuildFSub(b, v[0], v[1], "");
    case EXPR_MUL: return LLVMBuildFMul(b, v[0], v[1], "");
    case EXPR_DIV: return LLVMBuildFDiv(b, v[0], v[1], "");
    case EXPR_FMOD: return emit_remainder(e, v[0], v[1]);
    case EXPR_MIN:
        return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOLT, v[0], v[1], ""), v[0], v[1], "");
    case EXPR_MAX:
        return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealOGT, v[0], v[1], ""), v[0], v[1], "");
    case EXPR_FMA: return fma_or_two(e, v[0], v[1], v[2]);
    default: return NULL;
    }
}

static LLVMValueRef int_min_max(struct emitter *e, const struct expr *x, LLVMValueRef v[3])
{
    LLVMValueRef less = compare(e, EXPR_LT, x->dtype, v[0], v[1]);
    return x->op == EXPR_MIN ? LLVMBuildSelect(e->builder, less, v[0], v[1], "")
                             : LLVMBuildSelect(e->builder, less, v[1], v[0], "");
}

static LLVMValueRef int_operation(struct emitter *e, const struct expr *x, LLVMValueRef v[3])
{
    LLVMBuilderRef b = e->builder;
    switch ((enum expr_op)x->op) {
    case EXPR_NEG: return LLVMBuildNeg(b, v[0], "");
    case EXPR_NOT: return LLVMBuildNot(b, v[0], "");
    case EXPR_ABS: {
        LLVMValueRef negative = LLVMBuildICmp(b, LLVMIntSLT, v[0], const_int_like(v[0], 0), "");
        return dtype_is_unsigned(x->dtype)
                   ? v[0]
                   : LLVMBuildSelect(b, negative, LLVMBuildNeg(b, v[0], ""), v[0], "");
    }
    case EXPR_ADD: return LLVMBuildAdd(b, v[0], v[1], "");
    case EXPR_SUB: return LLVMBuildSub(b, v[0], v[1], "");
    case EXPR_MUL: return LLVMBuildMul(b, v[0], v[1], "");
    case EXPR_DIV: return int_div(e, v[0], v[1], x->dtype);
    case EXPR_FLOORDIV: return index_quotient(e, x, v[0], v[1], false);
    case EXPR_FLOORMOD: return index_quotient(e, x, v[0], v[1], true);
    case EXPR_MIN:
    case EXPR_MAX: return int_min_max(e, x, v);
    case EXPR_AND: return LLVMBuildAnd(b, v[0], v[1], "");
    case EXPR_OR: return LLVMBuildOr(b, v[0], v[1], "");
    case EXPR_XOR: return LLVMBuildXor(b, v[0], v[1], "");
    case EXPR_SHL: return LLVMBuildShl(b, v[0], v[1], "");
    case EXPR_LSHR: return LLVMBuildLShr(b, v[0], v[1], "");
    case EXPR_ASHR:
        return dtype_is_unsigned(x->dtype) ? LLVMBuildLShr(b, v[0], v[1], "")
                                           : LLVMBuildAShr(b, v[0], v[1], "");
    default: return NULL;
    }
}

/* Through the form in memory, which differs from that in registers for narrow floats and bool. */
static LLVMValueRef bitcast(struct emitter *e, LLVMValueRef v, enum dtype from, enum dtype to)
{
    v = emit_to_memory(e, v, from, true);
    v = LLVMBuildBitCast(e->builder, v, type_like(type_in_memory(e, to), v), "");
    return emit_from_memory(e, v, to);
}

LLVMValueRef emit_operation(struct emitter *e, const struct expr *x, LLVMValueRef v[3])
{
    enum dtype from = expr_at(e->nest, x->operand[0])->dtype;
    LLVMTypeRef to = type_like(type_of(e, x->dtype), v[0]);
    switch ((enum expr_op)x->op) {
    case EXPR_CAST: return emit_cast(e, v[0], from, x->dtype);
    case EXPR_CONVERT: return LLVMBuildFPToSI(e->builder, v[0], to, "");
    case EXPR_BITCAST: return bitcast(e, v[0], from, x->dtype);
    case EXPR_SELECT: return LLVMBuildSelect(e->builder, v[0], v[1], v[2], "");
    case EXPR_EQ:
    case EXPR_NE:
    case EXPR_LT:
    case EXPR_LE: return compare(e, (enum expr_op)x->op, from, v[0], v[1]);
    default: break;
    }
    LLVMValueRef out = dtype_is_float(x->dtype) ? float_operation(e, x, v) : int_operation(e, x, v);
    assert(out && "every operation is emitted");
    return out;
}

/* A NaN in either operand wins. LLVM turns the first select into one min or max instruction. */
static LLVMValueRef float_extreme(struct emitter *e, LLVMRealPredicate better, LLVMValueRef a,
                                  LLVMValueRef b)
{
    LLVMValueRef m =
        LLVMBuildSelect(e->builder, LLVMBuildFCmp(e->builder, better, a, b, ""), a, b, "");
    return LLVMBuildSelect(e->builder, LLVMBuildFCmp(e->builder, LLVMRealUNO, a, a, ""), a, m, "");
}

LLVMValueRef emit_combine(struct emitter *e, enum combine combine, enum dtype dtype, LLVMValueRef a,
                          LLVMValueRef b)
{
    bool is_float = dtype_is_float(dtype);
    switch (combine) {
    case COMBINE_SUM:
        return is_float ? LLVMBuildFAdd(e->builder, a, b, "") : LLVMBuildAdd(e->builder, a, b, "");
    case COMBINE_PROD:
        return is_float ? LLVMBuildFMul(e->builder, a, b, "") : LLVMBuildMul(e->builder, a, b, "");
    case COMBINE_MAX:
        if (is_float)
            return float_extreme(e, LLVMRealOGT, a, b);
        return LLVMBuildSelect(e->builder, compare(e, EXPR_LT, dtype, a, b), b, a, "");
    case COMBINE_MIN:
        if (is_float)
            return float_extreme(e, LLVMRealOLT, a, b);
        return LLVMBuildSelect(e->builder, compare(e, EXPR_LT, dtype, a, b), a, b, "");
    case COMBINE_NONE: break;
    }
    return b;
}
