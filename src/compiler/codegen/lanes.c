/* What is emitted from the stride of lanes: comparisons with lane numbers, and loads of every
 * second, third or fourth element. */
#include "compiler/codegen/codegen_priv.h"

#define MAX_STRIDE 4

static LLVMValueRef number(struct emitter *e, int64_t value)
{
    return LLVMConstInt(LLVMInt64TypeInContext(e->context), (unsigned long long)value, 1);
}

static LLVMValueRef bounded(struct emitter *e, const char *intrinsic, LLVMValueRef a,
                            LLVMValueRef b)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->context);
    return emit_intrinsic(e, intrinsic, &i64, 1, (LLVMValueRef[]){a, b}, 2);
}

/* Compares lane numbers 0, 1 … with a scalar, in 32 bits. */
static LLVMValueRef compare_numbers(struct emitter *e, LLVMIntPredicate predicate,
                                    LLVMValueRef bound)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context);
    bound = bounded(e, "llvm.smin", bound, number(e, e->lanes));
    bound = bounded(e, "llvm.smax", bound, number(e, -1));
    bound = splat(e, LLVMBuildTrunc(e->builder, bound, i32, ""), e->lanes);
    LLVMValueRef lanes = LLVMConstTrunc(lane_numbers(e), LLVMTypeOf(bound));
    return LLVMBuildICmp(e->builder, predicate, lanes, bound, "");
}

/* For a ≤ b or a < b on indices with b - a = rest + sign·variable of the vector loop: the first
 * lane (sign > 0) or the last lane (sign < 0) for which it holds, as a scalar; NULL if x has
 * another form. */
static LLVMValueRef lane_bound(struct emitter *e, const struct expr *x, uint32_t level,
                               bool *out_first)
{
    struct nest *nest = e->nest;
    int64_t sign;
    bool less = x->op == EXPR_LT;
    if ((x->op != EXPR_LE && !less) || expr_at(nest, x->operand[0])->dtype != DTYPE_I64 ||
        e->vector_var == UINT32_MAX || x->loads)
        return NULL;
    expr_id difference = index_sub(nest, x->operand[1], x->operand[0]);
    expr_id stride = index_stride(nest, difference, e->vector_var);
    if (stride == EXPR_NONE || !index_is_const(nest, stride, &sign) || sign == 0)
        return NULL;
    expr_id v = expr_var(nest, e->vector_var);
    expr_id rest = index_sub(nest, difference, index_mul(nest, stride, v));
    if (less)
        rest = index_sub(nest, rest, index_const(nest, 1));
    if (expr_varies(e, rest))
        return NULL;
    LLVMValueRef base = e->vars[e->vector_var], bound = emit_value(e, rest);
    level_place(e, level);
    *out_first = sign > 0;
    /* rest + sign·(base + lane) ≥ 0 */
    if (sign == -1)
        return LLVMBuildSub(e->builder, bound, base, "");
    if (sign == 1)
        return LLVMBuildNeg(e->builder, LLVMBuildAdd(e->builder, bound, base, ""), "");
    LLVMValueRef step = number(e, sign > 0 ? sign : -sign);
    if (sign > 0) /* lane ≥ ⌈-rest / sign⌉ - base */
        bound =
            LLVMBuildAdd(e->builder, LLVMBuildNeg(e->builder, bound, ""), number(e, sign - 1), "");
    LLVMValueRef quotient = LLVMBuildSDiv(e->builder, bound, step, "");
    LLVMValueRef back = LLVMBuildMul(e->builder, quotient, step, "");
    LLVMValueRef above = LLVMBuildICmp(e->builder, LLVMIntSGT, back, bound, "");
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->context);
    quotient = LLVMBuildSub(e->builder, quotient, LLVMBuildZExt(e->builder, above, i64, ""), "");
    return LLVMBuildSub(e->builder, quotient, base, "");
}

LLVMValueRef emit_lane_compare(struct emitter *e, const struct expr *x, uint32_t level)
{
    bool first;
    LLVMValueRef bound = lane_bound(e, x, level, &first);
    return bound ? compare_numbers(e, first ? LLVMIntSGE : LLVMIntSLE, bound) : NULL;
}

bool lane_interval(struct emitter *e, expr_id guard, struct lane_interval *out)
{
    struct expr x = *expr_at(e->nest, guard);
    bool first;
    if (x.op == EXPR_AND && x.dtype == DTYPE_BOOL)
        return lane_interval(e, x.operand[0], out) && lane_interval(e, x.operand[1], out);
    LLVMValueRef bound = lane_bound(e, &x, e->level, &first);
    if (!bound)
        return false;
    if (first)
        out->first = out->first ? bounded(e, "llvm.smax", out->first, bound) : bound;
    else
        out->last = out->last ? bounded(e, "llvm.smin", out->last, bound) : bound;
    return true;
}

/* Marks those of the elements start, start + 1 … that are between the elements of the first and the
 * last lane. */
static LLVMValueRef element_mask(struct emitter *e, const struct lane_interval *within,
                                 int64_t stride, int64_t start)
{
    LLVMValueRef mask = NULL, steps = number(e, stride), from = number(e, start);
    if (within->first) {
        LLVMValueRef least = bounded(e, "llvm.smax", within->first, number(e, 0));
        least = LLVMBuildSub(e->builder, LLVMBuildMul(e->builder, least, steps, ""), from, "");
        mask = compare_numbers(e, LLVMIntSGE, least);
    }
    if (within->last) {
        LLVMValueRef most = bounded(e, "llvm.smin", within->last, number(e, e->lanes - 1));
        most = LLVMBuildSub(e->builder, LLVMBuildMul(e->builder, most, steps, ""), from, "");
        LLVMValueRef below = compare_numbers(e, LLVMIntSLE, most);
        mask = mask ? LLVMBuildAnd(e->builder, mask, below, "") : below;
    }
    return mask;
}

LLVMValueRef emit_strided_load(struct emitter *e, LLVMValueRef pointer, enum dtype dtype,
                               int64_t stride, const struct lane_interval *within)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context), element = type_in_memory(e, dtype);
    LLVMTypeRef type = LLVMVectorType(element, e->lanes);
    int64_t lanes = e->lanes, end = (lanes - 1) * stride + 1;
    LLVMValueRef out = NULL, pick[512];
    assert(lanes <= 512 && stride >= 2 && stride <= MAX_STRIDE);
    for (int64_t part = 0; part < stride; part++) {
        int64_t start = part + 1 < stride ? part * lanes : end - lanes;
        LLVMValueRef offset = number(e, start), mask = element_mask(e, within, stride, start);
        LLVMValueRef at = LLVMBuildGEP2(e->builder, element, pointer, &offset, 1, "");
        LLVMValueRef v = emit_whole_load(e, type, at, dtype, mask);
        for (int64_t lane = 0; lane < lanes; lane++) {
            int64_t in_part = lane * stride - start;
            bool here = in_part >= 0 && in_part < lanes;
            int64_t from = here ? (out ? lanes + in_part : in_part) : lane;
            pick[lane] = LLVMConstInt(i32, (unsigned long long)from, 0);
        }
        out = LLVMBuildShuffleVector(e->builder, out ? out : v, v,
                                     LLVMConstVector(pick, (unsigned)lanes), "");
    }
    return out;
}

bool strided_lanes(struct emitter *e, expr_id index, int64_t *out_stride)
{
    expr_id stride = index_stride(e->nest, index, e->vector_var);
    return stride != EXPR_NONE && index_is_const(e->nest, stride, out_stride) && *out_stride >= 2 &&
           *out_stride <= MAX_STRIDE;
}
