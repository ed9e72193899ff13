/* APPLY: functions in expressions. A body becomes a private function of the module, which jammed
 * copies and vectors of any number of lanes share; the function for vectors calls it lane by lane.
 * Each takes a condition, the argument, and the result for the case that the condition does not
 * hold.
 *
 * A select whose first alternative is an APPLY becomes a branch around the call if it is emitted at
 * the innermost level, where the builder is at the end of a block. The block of an outer level has
 * its terminator already, so there the call is unconditional: such code runs seldom, and the
 * function itself starts with a branch. */
#include "compiler/codegen/codegen_priv.h"

#include <stdio.h>
#include <string.h>

/* A conditional branch; weights say that `yes` is rare. */
static void branch_rarely(struct emitter *e, LLVMValueRef condition, LLVMBasicBlockRef yes,
                          LLVMBasicBlockRef no)
{
    static const char kind[] = "branch_weights";
    LLVMValueRef branch = LLVMBuildCondBr(e->builder, condition, yes, no);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context);
    LLVMMetadataRef weights[3] = {LLVMMDStringInContext2(e->context, kind, strlen(kind)),
                                  LLVMValueAsMetadata(LLVMConstInt(i32, 1, 0)),
                                  LLVMValueAsMetadata(LLVMConstInt(i32, 1 << 20, 0))};
    LLVMMetadataRef node = LLVMMDNodeInContext2(e->context, weights, 3);
    LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(e->context, "prof", 4),
                    LLVMMetadataAsValue(e->context, node));
}

/* The body of f for one value, with a new emitter that has only this function. */
static void build_scalar(struct emitter *e, LLVMValueRef function, expr_id f)
{
    LLVMValueRef c = LLVMGetParam(function, 0), x = LLVMGetParam(function, 1);
    LLVMValueRef other = LLVMGetParam(function, 2);
    e->values = NULL;
    e->value_capacity = 0;
    e->vector_var = UINT32_MAX;
    e->level = 0;
    e->levels[0] = (struct level){.block = level_block(e), .serial = ++e->serials};
    level_place(e, 0);
    LLVMBasicBlockRef compute = level_block(e), leave = level_block(e);
    branch_rarely(e, c, compute, leave);
    LLVMPositionBuilderAtEnd(e->builder, leave);
    LLVMBuildRet(e->builder, other);
    level_continue(e, compute);
    emit_bind(e, expr_param(e->nest, (enum dtype)expr_at(e->nest, f)->dtype), x);
    LLVMBuildRet(e->builder, emit_value(e, f));
}

static LLVMValueRef call(struct emitter *e, expr_id f, LLVMValueRef c, LLVMValueRef x,
                         LLVMValueRef other);

/* Lane by lane, because a vector body would be much code that most programs never run. */
static void build_vector(struct emitter *e, LLVMValueRef function, expr_id f)
{
    LLVMBuilderRef b = e->builder;
    LLVMValueRef c = LLVMGetParam(function, 0), x = LLVMGetParam(function, 1);
    LLVMValueRef other = LLVMGetParam(function, 2);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context);
    LLVMValueRef lanes = LLVMConstInt(i32, LLVMGetVectorSize(LLVMTypeOf(x)), 0);
    LLVMBasicBlockRef entry = level_block(e), loop = level_block(e), leave = level_block(e);
    LLVMPositionBuilderAtEnd(b, entry);
    LLVMBuildBr(b, loop);
    LLVMPositionBuilderAtEnd(b, loop);
    LLVMValueRef lane = LLVMBuildPhi(b, i32, ""), all = LLVMBuildPhi(b, LLVMTypeOf(x), "");
    LLVMValueRef v =
        call(e, f, LLVMBuildExtractElement(b, c, lane, ""), LLVMBuildExtractElement(b, x, lane, ""),
             LLVMBuildExtractElement(b, all, lane, ""));
    LLVMValueRef changed = LLVMBuildInsertElement(b, all, v, lane, "");
    LLVMValueRef next = LLVMBuildAdd(b, lane, LLVMConstInt(i32, 1, 0), "");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntULT, next, lanes, ""), loop, leave);
    LLVMBasicBlockRef from[2] = {entry, loop};
    LLVMAddIncoming(lane, (LLVMValueRef[]){LLVMConstNull(i32), next}, from, 2);
    LLVMAddIncoming(all, (LLVMValueRef[]){other, changed}, from, 2);
    LLVMPositionBuilderAtEnd(b, leave);
    LLVMBuildRet(b, changed);
}

static void build(const struct emitter *outside, LLVMValueRef function, expr_id f)
{
    struct emitter *e = ARENA_NEW(outside->arena, struct emitter);
    *e = *outside;
    e->function = function;
    e->builder = LLVMCreateBuilderInContext(e->context);
    if (is_vector(LLVMGetParam(function, 1)))
        build_vector(e, function, f);
    else
        build_scalar(e, function, f);
    LLVMDisposeBuilder(e->builder);
}

static LLVMValueRef call(struct emitter *e, expr_id f, LLVMValueRef c, LLVMValueRef x,
                         LLVMValueRef other)
{
    LLVMTypeRef value = LLVMTypeOf(x), types[3] = {LLVMTypeOf(c), value, value};
    LLVMTypeRef type = LLVMFunctionType(value, types, 3, 0);
    char name[32];
    snprintf(name, sizeof name, "apply_%u_%u", f, is_vector(x) ? LLVMGetVectorSize(value) : 1);
    LLVMValueRef function = LLVMGetNamedFunction(e->module, name);
    if (!function) {
        function = add_function(e, name, type);
        LLVMSetLinkage(function, LLVMPrivateLinkage); /* no symbol: only the kernel has one */
        build(e, function, f);
    }
    return LLVMBuildCall2(e->builder, type, function, (LLVMValueRef[]){c, x, other}, 3, "");
}

LLVMValueRef emit_apply(struct emitter *e, const struct expr *apply, uint32_t level)
{
    LLVMValueRef x = emit_value(e, apply->operand[0]);
    level_place(e, level);
    LLVMTypeRef i1 = LLVMInt1TypeInContext(e->context);
    return call(e, apply->operand[1], LLVMConstAllOnes(type_like(i1, x)), x, x);
}

bool chooses_apply(const struct emitter *e, const struct expr *x)
{
    return x->op == EXPR_SELECT && expr_at(e->nest, x->operand[1])->op == EXPR_APPLY;
}

LLVMValueRef emit_rare_choice(struct emitter *e, const struct expr *select, uint32_t level)
{
    struct expr apply = *expr_at(e->nest, select->operand[1]);
    LLVMValueRef other = emit_value(e, select->operand[2]);
    LLVMValueRef c = emit_value(e, select->operand[0]), x = emit_value(e, apply.operand[0]);
    level_place(e, level);
    LLVMValueRef shape = is_vector(c) ? c : is_vector(x) ? x : other;
    c = splat_like(e, c, shape);
    x = splat_like(e, x, shape);
    other = splat_like(e, other, shape);
    if (level < e->level)
        return call(e, apply.operand[1], c, x, other);
    LLVMBasicBlockRef before = e->levels[level].block, compute = level_block(e),
                      after = level_block(e);
    branch_rarely(e, any_lane(e, c), compute, after);
    LLVMPositionBuilderAtEnd(e->builder, compute);
    LLVMValueRef v = call(e, apply.operand[1], c, x, other);
    LLVMBuildBr(e->builder, after);
    level_continue(e, after);
    LLVMValueRef out = LLVMBuildPhi(e->builder, LLVMTypeOf(x), "");
    LLVMAddIncoming(out, (LLVMValueRef[]){other, v}, (LLVMBasicBlockRef[]){before, compute}, 2);
    return out;
}
