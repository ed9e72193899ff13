/* fmod of f64, exact for every quotient.
 *
 * a| = r 2^(k + e) and |b| = m 2^e with r and m in [1, 2). While k > 0, r becomes r 2^d mod m and k
 * becomes k - d, with d small enough that no step rounds; most quotients need one step. The result
 * is r 2^e. Numbers in the loop are between 0 and 2^51, so nothing there overflows or is subnormal.
 *
 * A loop cannot be part of an expression, whose operations may be placed anywhere in a block. So
 * fmod is a private function, one for each number of lanes. */
#include "compiler/codegen/codegen_priv.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#define FRACTION 52
#define BIAS 1023
#define SUBNORMAL_SHIFT 54

/* Short names for instructions of the function that is built. */
static LLVMValueRef unary(struct emitter *e, const char *intrinsic, LLVMValueRef v)
{
    LLVMTypeRef type = LLVMTypeOf(v);
    return emit_intrinsic(e, intrinsic, &type, 1, &v, 1);
}

static LLVMValueRef mul(struct emitter *e, LLVMValueRef a, LLVMValueRef b)
{
    return LLVMBuildFMul(e->builder, a, b, "");
}

static LLVMValueRef sub(struct emitter *e, LLVMValueRef a, LLVMValueRef b)
{
    return LLVMBuildFSub(e->builder, a, b, "");
}

static LLVMValueRef compare(struct emitter *e, LLVMRealPredicate p, LLVMValueRef a, LLVMValueRef b)
{
    return LLVMBuildFCmp(e->builder, p, a, b, "");
}

static LLVMValueRef choose(struct emitter *e, LLVMValueRef c, LLVMValueRef a, LLVMValueRef b)
{
    return LLVMBuildSelect(e->builder, c, a, b, "");
}

static LLVMValueRef bits_of(struct emitter *e, LLVMValueRef v)
{
    return LLVMBuildBitCast(e->builder, v, type_like(LLVMInt64TypeInContext(e->context), v), "");
}

static LLVMValueRef real_of(struct emitter *e, LLVMValueRef v)
{
    return LLVMBuildBitCast(e->builder, v, type_like(LLVMDoubleTypeInContext(e->context), v), "");
}

/* 2^n for whole n (i64), -BIAS < n ≤ BIAS. */
static LLVMValueRef power_of_two(struct emitter *e, LLVMValueRef n)
{
    LLVMValueRef field = LLVMBuildAdd(e->builder, n, const_int_like(n, BIAS), "");
    return real_of(e, LLVMBuildShl(e->builder, field, const_int_like(n, FRACTION), ""));
}

/* v = m 2^(exponent - shift), where v is finite and above 0. */
struct parts {
    LLVMValueRef m, exponent;
    LLVMValueRef shift, tiny; /* shift is 0 unless v is subnormal, as tiny says */
};

static struct parts take_apart(struct emitter *e, LLVMValueRef v)
{
    struct parts p = {.tiny = compare(e, LLVMRealOLT, v, const_real_like(v, DBL_MIN))};
    v = choose(e, p.tiny, mul(e, v, const_real_like(v, ldexp(1, SUBNORMAL_SHIFT))), v);
    LLVMValueRef bits = bits_of(e, v);
    LLVMValueRef field = LLVMBuildLShr(e->builder, bits, const_int_like(bits, FRACTION), "");
    p.exponent = LLVMBuildSub(e->builder, field, const_int_like(bits, BIAS), "");
    p.shift = choose(e, p.tiny, const_int_like(bits, SUBNORMAL_SHIFT), const_int_like(bits, 0));
    LLVMValueRef fraction =
        LLVMBuildAnd(e->builder, bits, const_int_like(bits, ((int64_t)1 << FRACTION) - 1), "");
    p.m = real_of(
        e, LLVMBuildOr(e->builder, fraction, const_int_like(bits, (int64_t)BIAS << FRACTION), ""));
    return p;
}

/* x mod m. The quotient may be one too large, if it rounds up to a whole number; the correction is
 * exact, too. Without FMA the product is computed as a sum of two, which is why its steps are
 * shorter. */
static LLVMValueRef step(struct emitter *e, LLVMValueRef x, LLVMValueRef m)
{
    LLVMValueRef q = unary(e, "llvm.trunc", LLVMBuildFDiv(e->builder, x, m, "")), r;
    if (e->target->fma) {
        LLVMTypeRef type = LLVMTypeOf(x);
        LLVMValueRef args[3] = {LLVMBuildFNeg(e->builder, q, ""), m, x};
        r = emit_intrinsic(e, "llvm.fma", &type, 1, args, 3);
    } else {
        LLVMValueRef bits = bits_of(e, m);
        LLVMValueRef high = real_of(
            e, LLVMBuildAnd(e->builder, bits, const_int_like(bits, -((int64_t)1 << 26)), ""));
        LLVMValueRef product = mul(e, q, m), rest = sub(e, mul(e, q, high), product);
        rest = LLVMBuildFAdd(e->builder, rest, mul(e, q, sub(e, m, high)), "");
        r = sub(e, sub(e, x, product), rest);
    }
    LLVMValueRef below = compare(e, LLVMRealOLT, r, const_real_like(r, 0));
    return choose(e, below, LLVMBuildFAdd(e->builder, r, m, ""), r);
}

/* r 2^k mod m, by a loop; the builder is behind it afterwards. */
static LLVMValueRef reduce(struct emitter *e, LLVMValueRef function, LLVMValueRef r, LLVMValueRef k,
                           LLVMValueRef m)
{
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->builder);
    LLVMBasicBlockRef loop = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->context, function, "");
    LLVMTypeRef type = LLVMTypeOf(k);
    LLVMBuildBr(e->builder, loop);
    LLVMPositionBuilderAtEnd(e->builder, loop);
    LLVMValueRef rest = LLVMBuildPhi(e->builder, LLVMTypeOf(r), "");
    LLVMValueRef left = LLVMBuildPhi(e->builder, type, "");
    LLVMValueRef most[2] = {left, const_int_like(left, e->target->fma ? 50 : 22)};
    LLVMValueRef d = emit_intrinsic(e, "llvm.smin", &type, 1, most, 2);
    LLVMValueRef next = step(e, mul(e, rest, power_of_two(e, d)), m);
    LLVMValueRef fewer = LLVMBuildSub(e->builder, left, d, "");
    LLVMValueRef more = LLVMBuildICmp(e->builder, LLVMIntNE, fewer, const_int_like(fewer, 0), "");
    LLVMBuildCondBr(e->builder, any_lane(e, more), loop, after);
    LLVMBasicBlockRef blocks[2] = {before, loop};
    LLVMAddIncoming(rest, (LLVMValueRef[]){r, next}, blocks, 2);
    LLVMAddIncoming(left, (LLVMValueRef[]){k, fewer}, blocks, 2);
    LLVMPositionBuilderAtEnd(e->builder, after);
    return next;
}

static void build(struct emitter *e, LLVMValueRef function)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef x = LLVMGetParam(function, 0), y = LLVMGetParam(function, 1);
    LLVMValueRef zero = const_real_like(x, 0), infinity = const_real_like(x, (double)INFINITY);
    LLVMValueRef size = unary(e, "llvm.fabs", x), by = unary(e, "llvm.fabs", y);
    /* false if either is a NaN */
    LLVMValueRef defined = LLVMBuildAnd(b, compare(e, LLVMRealOLT, size, infinity),
                                        compare(e, LLVMRealOGT, by, zero), "");
    LLVMValueRef divides = LLVMBuildAnd(b, defined, compare(e, LLVMRealOGE, size, by), "");
    struct parts dividend = take_apart(e, size), divisor = take_apart(e, by);
    LLVMValueRef k = LLVMBuildSub(b, LLVMBuildSub(b, dividend.exponent, dividend.shift, ""),
                                  LLVMBuildSub(b, divisor.exponent, divisor.shift, ""), "");
    k = choose(e, divides, k, const_int_like(k, 0));
    LLVMValueRef r = reduce(e, function, dividend.m, k, divisor.m);
    r = mul(e, r, power_of_two(e, divisor.exponent));
    r = choose(e, divisor.tiny, mul(e, r, const_real_like(r, ldexp(1, -SUBNORMAL_SHIFT))), r);
    r = choose(e, divides, r, size);
    r = choose(e, defined, r, const_real_like(r, (double)NAN));
    LLVMTypeRef type = LLVMTypeOf(r);
    LLVMBuildRet(b, emit_intrinsic(e, "llvm.copysign", &type, 1, (LLVMValueRef[]){r, x}, 2));
}

LLVMValueRef emit_remainder(struct emitter *e, LLVMValueRef a, LLVMValueRef b)
{
    LLVMTypeRef value = LLVMTypeOf(a);
    LLVMTypeRef type = LLVMFunctionType(value, (LLVMTypeRef[]){value, value}, 2, 0);
    char name[32];
    snprintf(name, sizeof name, "fmod_%u", is_vector(a) ? LLVMGetVectorSize(value) : 1);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, name);
    if (!function) {
        LLVMBuilderRef outside = e->builder;
        function = add_function(e, name, type);
        LLVMSetLinkage(function, LLVMPrivateLinkage); /* no symbol: only the kernel has one */
        e->builder = LLVMCreateBuilderInContext(e->context);
        LLVMPositionBuilderAtEnd(e->builder,
                                 LLVMAppendBasicBlockInContext(e->context, function, ""));
        build(e, function);
        LLVMDisposeBuilder(e->builder);
        e->builder = outside;
    }
    return LLVMBuildCall2(e->builder, type, function, (LLVMValueRef[]){a, b}, 2, "");
}
