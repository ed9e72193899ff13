/* Quotients and remainders of a loop's variable, counted instead of divided.
 *
 * A loop that stands for several fused ones needs its variable divided by their extents, in each
 * iteration. Where the extents are not constant, that is a division of 64 bits each. But the
 * variable goes up by one:
 *
 *   i = start; q = start / n; r = start % n
 *   body(i, q, r)
 *   i = i + 1; r = r + 1; if (r == n) { r = 0; q = q + 1 }
 *
 * and so does q when r starts anew, so that its own quotient, by another extent, is counted the
 * same way. A counter is made when a body first asks for it; all are stepped at the loop's end. */
#include "compiler/codegen/codegen_priv.h"

static LLVMValueRef number(struct emitter *e, int64_t value)
{
    return LLVMConstInt(LLVMInt64TypeInContext(e->context), (unsigned long long)value, 1);
}

/* Whether a counter can start outside of the loop: its divisor must be known there. A constant one
 * needs no counter, because dividing by it is a product. */
static bool known_outside(const struct emitter *e, expr_id divisor, uint32_t level)
{
    const struct expr *x = expr_at(e->nest, divisor);
    if (x->op == EXPR_CONST || x->loads || x->locals)
        return false;
    for (uint64_t vars = x->vars; vars; vars &= vars - 1)
        if (e->var_level[__builtin_ctzll(vars)] >= level)
            return false;
    return true;
}

/* The level of the open loop that counts this variable; 0: there is none. */
static uint32_t level_counting(const struct emitter *e, uint32_t var)
{
    for (uint32_t level = e->level; level > 0; level--)
        if (e->levels[level].start && e->levels[level].var == var)
            return level;
    return 0;
}

static struct quotient *quotient_of(struct emitter *e, expr_id value, expr_id divisor);

/* Where a counter starts and what steps it. false: `value` is not counted by a loop. */
static bool counted_by(struct emitter *e, expr_id value, uint32_t *out_level,
                       LLVMValueRef *out_start, const struct quotient **out_below)
{
    struct expr x = *expr_at(e->nest, value);
    *out_below = NULL;
    if (x.op == EXPR_VAR) {
        *out_level = level_counting(e, x.index);
        *out_start = e->levels[*out_level].start;
        return *out_level > 0;
    }
    if (x.op != EXPR_FLOORDIV || (*out_below = quotient_of(e, x.operand[0], x.operand[1])) == NULL)
        return false;
    *out_level = (*out_below)->level;
    *out_start = (*out_below)->first;
    return true;
}

/* The counter of value / divisor, which is made if there is none; NULL: it cannot be counted. */
static struct quotient *quotient_of(struct emitter *e, expr_id value, expr_id divisor)
{
    uint32_t level;
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->context);
    LLVMValueRef start;
    const struct quotient *below;
    if (!counted_by(e, value, &level, &start, &below) || !known_outside(e, divisor, level))
        return NULL;
    LLVMValueRef by = emit_value(e, divisor);
    struct level *loop = &e->levels[level];
    struct quotient **at = &loop->quotients;
    for (; *at; at = &(*at)->next)
        if ((*at)->value == value && (*at)->divisor == divisor)
            return *at;
    struct quotient *q = *at = ARENA_NEW(e->arena, struct quotient);
    level_place(e, level - 1);
    LLVMValueRef args[2] = {by, number(e, 1)}; /* 0: the loop does not run */
    *q = (struct quotient){.value = value, .divisor = divisor, .level = level, .below = below};
    q->by = emit_intrinsic(e, "llvm.umax", &i64, 1, args, 2);
    q->first = LLVMBuildUDiv(e->builder, start, q->by, "");
    LLVMValueRef rest = LLVMBuildURem(e->builder, start, q->by, "");
    LLVMPositionBuilderBefore(e->builder, LLVMGetFirstInstruction(loop->body));
    q->quotient = LLVMBuildPhi(e->builder, i64, "");
    q->rest = LLVMBuildPhi(e->builder, i64, "");
    LLVMAddIncoming(q->quotient, &q->first, &loop->before, 1);
    LLVMAddIncoming(q->rest, &rest, &loop->before, 1);
    level_place(e, e->level);
    return q;
}

LLVMValueRef emit_counted_quotient(struct emitter *e, const struct expr *x)
{
    if (x->op != EXPR_FLOORDIV && x->op != EXPR_FLOORMOD)
        return NULL;
    const struct quotient *q = quotient_of(e, x->operand[0], x->operand[1]);
    if (!q)
        return NULL;
    return x->op == EXPR_FLOORDIV ? q->quotient : q->rest;
}

void step_quotients(struct emitter *e)
{
    struct level *loop = &e->levels[e->level];
    LLVMBuilderRef b = e->builder;
    for (struct quotient *q = loop->quotients; q; q = q->next) {
        LLVMTypeRef i64 = LLVMTypeOf(q->rest);
        LLVMValueRef up = q->below ? LLVMBuildZExt(b, q->below->anew, i64, "") : number(e, 1);
        LLVMValueRef rest = LLVMBuildAdd(b, q->rest, up, "");
        q->anew = LLVMBuildICmp(b, LLVMIntEQ, rest, q->by, "");
        LLVMValueRef more = LLVMBuildZExt(b, q->anew, i64, "");
        LLVMValueRef quotient = LLVMBuildAdd(b, q->quotient, more, "");
        rest = LLVMBuildSelect(b, q->anew, number(e, 0), rest, "");
        LLVMAddIncoming(q->quotient, &quotient, &loop->block, 1);
        LLVMAddIncoming(q->rest, &rest, &loop->block, 1);
    }
}
