/* Statements and loops of one kernel.
 *
 *   level 0   entry: arguments, sizes, everything that depends on no loop
 *   level 1   body of the parallel loop …
 *   level n   body of the innermost open loop or branch, where statements are emitted
 *
 * Each statement of a vector loop works on a whole vector: first the full vectors, then one masked
 * vector for the remainder. A local that is declared outside such a loop and updated inside has one
 * accumulator per lane during the loop. The lanes are merged at its end, the upper half onto the
 * lower half, so the order of a sum depends on sizes only. */
#include "compiler/codegen/codegen_priv.h"

#include <stdio.h>

void level_open(struct emitter *e, LLVMBasicBlockRef block)
{
    e->levels[e->level].jump = LLVMGetBasicBlockTerminator(e->levels[e->level].block);
    assert(e->level + 1 < MAX_LEVELS && e->levels[e->level].jump);
    e->level++;
    e->levels[e->level] = (struct level){.block = block, .serial = ++e->serials};
    level_place(e, e->level);
}

void level_close(struct emitter *e)
{
    e->level--;
    e->levels[e->level].jump = NULL;
}

void level_place(struct emitter *e, uint32_t level)
{
    const struct level *l = &e->levels[level];
    if (l->jump)
        LLVMPositionBuilderBefore(e->builder, l->jump);
    else
        LLVMPositionBuilderAtEnd(e->builder, l->block);
}

LLVMBasicBlockRef level_block(struct emitter *e)
{
    return LLVMAppendBasicBlockInContext(e->context, e->function, "");
}

void level_continue(struct emitter *e, LLVMBasicBlockRef block)
{
    e->levels[e->level].block = block;
    level_place(e, e->level);
}

static LLVMValueRef const_i64(struct emitter *e, int64_t value)
{
    return LLVMConstInt(LLVMInt64TypeInContext(e->context), (unsigned long long)value, 1);
}

static LLVMValueRef entry_alloca(struct emitter *e, LLVMTypeRef type)
{
    LLVMBuilderRef b = LLVMCreateBuilderInContext(e->context);
    LLVMPositionBuilderBefore(b, e->entry_mark);
    LLVMValueRef slot = LLVMBuildAlloca(b, type, "");
    LLVMDisposeBuilder(b);
    return slot;
}

static void emit_block(struct emitter *e, const struct block *block);

/* Marks the locals that are updated anywhere in block. */
static void updated_locals(const struct block *block, bool *marks)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_UPDATE)
            marks[s->local] = true;
        updated_locals(&s->body, marks);
        updated_locals(&s->orelse, marks);
    }
}

static bool stores_inside(const struct block *block)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_STORE || stores_inside(&s->body) || stores_inside(&s->orelse))
            return true;
    }
    return false;
}

/* Inside a loop, locals that it updates are constant in its body only, not in outer levels. */
static uint32_t *enter_updates(struct emitter *e, const struct block *body, const bool *marks)
{
    uint32_t *saved = ARENA_ARRAY(e->arena, uint32_t, e->nest->locals.count + 1);
    e->now++;
    for (uint32_t i = 0; i < e->nest->locals.count; i++) {
        saved[i] = e->locals[i].level;
        if (marks[i] && e->locals[i].storage) {
            e->locals[i].level = e->level;
            e->locals[i].changed = e->now;
        }
    }
    if (stores_inside(body))
        e->memory_changed = e->now;
    return saved;
}

static void leave_updates(struct emitter *e, const struct block *body, const bool *marks,
                          const uint32_t *saved)
{
    e->now++;
    for (uint32_t i = 0; i < e->nest->locals.count; i++) {
        if (marks[i] && e->locals[i].storage) {
            e->locals[i].level = saved[i];
            e->locals[i].changed = e->now;
        }
    }
    if (stores_inside(body))
        e->memory_changed = e->now;
}

/* for (i = start; i < bound; i += step) body(i) */
struct counted {
    LLVMValueRef start, bound, step;
    bool runs; /* at least one iteration, provably */
    bool ones; /* step is 1 */
};

static void emit_counted(struct emitter *e, const struct stmt *s, struct counted c,
                         LLVMValueRef mask)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->context);
    LLVMBasicBlockRef before = e->levels[e->level].block, body = level_block(e),
                      exit = level_block(e);
    bool *marks = ARENA_ARRAY(e->arena, bool, e->nest->locals.count + 1);
    if (c.runs)
        LLVMBuildBr(e->builder, body);
    else
        LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, c.start, c.bound, ""),
                        body, exit);
    level_open(e, body);
    LLVMValueRef i = LLVMBuildPhi(e->builder, i64, "");
    LLVMAddIncoming(i, &c.start, &before, 1);
    e->vars[s->var] = i;
    e->var_level[s->var] = e->level;
    if (c.ones) {
        struct level *l = &e->levels[e->level];
        l->var = s->var;
        l->start = c.start;
        l->before = before;
        l->body = body;
    }
    updated_locals(&s->body, marks);
    uint32_t *saved = enter_updates(e, &s->body, marks);
    LLVMValueRef outer_mask = e->mask;
    e->mask = mask ? mask : e->mask;
    emit_block(e, &s->body);
    e->mask = outer_mask;
    step_quotients(e);
    LLVMValueRef next = LLVMBuildNSWAdd(e->builder, i, c.step, "");
    LLVMBasicBlockRef last = e->levels[e->level].block;
    LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, c.bound, ""), body,
                    exit);
    LLVMAddIncoming(i, &next, &last, 1);
    level_close(e);
    leave_updates(e, &s->body, marks, saved);
    level_continue(e, exit);
}

static void emit_serial(struct emitter *e, const struct stmt *s)
{
    int64_t lo, hi;
    expr_id extent = e->nest->vars.items[s->var].extent;
    index_range(e->nest, extent, &lo, &hi);
    struct counted c = {.start = const_i64(e, 0),
                        .bound = emit_value(e, extent),
                        .step = const_i64(e, 1),
                        .runs = lo >= 1,
                        .ones = true};
    if (s->loop_kind == LOOP_PARALLEL)
        c = (struct counted){.start = e->begin, .bound = e->end, .step = c.step, .ones = true};
    emit_counted(e, s, c, NULL);
}

/* One iteration of the vector loop, from base on; lanes from `left` on are masked (NULL: none). */
static void emit_one_vector(struct emitter *e, const struct stmt *s, LLVMValueRef base,
                            LLVMValueRef left)
{
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->context), i32 = LLVMInt32TypeInContext(e->context);
    LLVMBasicBlockRef body = level_block(e), exit = level_block(e);
    if (left)
        LLVMBuildCondBr(e->builder,
                        LLVMBuildICmp(e->builder, LLVMIntSGT, left, const_i64(e, 0), ""), body,
                        exit);
    else
        LLVMBuildBr(e->builder, body);
    level_open(e, body);
    e->vars[s->var] = base;
    e->var_level[s->var] = e->level;
    if (left) {
        LLVMValueRef args[2] = {left, const_i64(e, e->lanes)};
        LLVMValueRef few = emit_intrinsic(e, "llvm.smin", &i64, 1, args, 2);
        few = splat(e, LLVMBuildTrunc(e->builder, few, i32, ""), e->lanes);
        LLVMValueRef numbers = LLVMConstTrunc(lane_numbers(e), LLVMTypeOf(few));
        e->mask = LLVMBuildICmp(e->builder, LLVMIntULT, numbers, few, "");
        e->left = left;
    }
    emit_block(e, &s->body);
    e->mask = NULL;
    LLVMBuildBr(e->builder, exit);
    level_close(e);
    level_continue(e, exit);
}

static void emit_vectors(struct emitter *e, const struct stmt *s)
{
    struct nest *nest = e->nest;
    expr_id extent = nest->vars.items[s->var].extent, lanes = index_const(nest, e->lanes);
    int64_t n = -1, lo, hi;
    index_is_const(nest, extent, &n);
    index_range(nest, extent, &lo, &hi);
    if (n == (int64_t)e->lanes) {
        emit_one_vector(e, s, const_i64(e, 0), NULL);
        return;
    }
    LLVMValueRef total = emit_value(e, extent);
    if (index_le(nest, extent, lanes)) {
        emit_one_vector(e, s, const_i64(e, 0), total);
        return;
    }
    LLVMValueRef whole = LLVMBuildAnd(e->builder, total, const_i64(e, -(int64_t)e->lanes), "");
    emit_counted(e, s,
                 (struct counted){.start = const_i64(e, 0),
                                  .bound = whole,
                                  .step = const_i64(e, e->lanes),
                                  .runs = lo >= e->lanes},
                 NULL);
    if (n >= 0 && n % e->lanes == 0)
        return;
    emit_one_vector(e, s, whole, LLVMBuildSub(e->builder, total, whole, ""));
}

/* Merges the lanes of v: each time the upper half onto the lower half. */
static LLVMValueRef merge_lanes(struct emitter *e, enum combine combine, enum dtype dtype,
                                LLVMValueRef v)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context);
    for (uint32_t lanes = e->lanes; lanes > 1; lanes /= 2) {
        LLVMValueRef low[512], high[512];
        for (uint32_t i = 0; i < lanes / 2; i++) {
            low[i] = LLVMConstInt(i32, i, 0);
            high[i] = LLVMConstInt(i32, i + lanes / 2, 0);
        }
        LLVMValueRef a =
            LLVMBuildShuffleVector(e->builder, v, v, LLVMConstVector(low, lanes / 2), "");
        LLVMValueRef b =
            LLVMBuildShuffleVector(e->builder, v, v, LLVMConstVector(high, lanes / 2), "");
        v = emit_combine(e, combine, dtype, a, b);
    }
    return LLVMBuildExtractElement(e->builder, v, LLVMConstInt(i32, 0, 0), "");
}

static enum combine combine_of(const struct block *block, uint32_t local)
{
    for (uint32_t i = 0; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        if (s->kind == STMT_UPDATE && s->local == local)
            return (enum combine)s->combine;
        enum combine inner = combine_of(&s->body, local);
        if (inner == COMBINE_NONE)
            inner = combine_of(&s->orelse, local);
        if (inner != COMBINE_NONE)
            return inner;
    }
    return COMBINE_NONE;
}

/* Gives the float sums that a loop updates new partial sums, which start at 0. Returns the states
 * of the locals before, by local; marks says which they are. */
static struct local_state *begin_apart(struct emitter *e, const struct stmt *s, bool *marks)
{
    uint32_t count = e->nest->locals.count;
    struct local_state *outside = ARENA_ARRAY(e->arena, struct local_state, count + 1);
    updated_locals(&s->body, marks);
    e->now++;
    for (uint32_t i = 0; i < count; i++) {
        struct local_state *l = &e->locals[i];
        enum dtype dtype = e->nest->locals.items[i].dtype;
        marks[i] &=
            l->storage != NULL && dtype_is_float(dtype) && combine_of(&s->body, i) == COMBINE_SUM;
        if (!marks[i])
            continue;
        LLVMTypeRef type = type_of(e, dtype);
        type = l->vector ? LLVMVectorType(type, e->lanes) : type;
        outside[i] = *l;
        l->storage = entry_alloca(e, type);
        l->changed = e->now;
        LLVMBuildStore(e->builder, LLVMConstNull(type), l->storage);
    }
    return outside;
}

static void end_apart(struct emitter *e, const struct local_state *outside, const bool *marks)
{
    e->now++;
    for (uint32_t i = 0; i < e->nest->locals.count; i++) {
        struct local_state *l = &e->locals[i];
        enum dtype dtype = e->nest->locals.items[i].dtype;
        if (!marks[i])
            continue;
        LLVMTypeRef type = type_of(e, dtype);
        type = l->vector ? LLVMVectorType(type, e->lanes) : type;
        LLVMValueRef part = LLVMBuildLoad2(e->builder, type, l->storage, "");
        *l = outside[i];
        LLVMValueRef old = LLVMBuildLoad2(e->builder, type, l->storage, "");
        LLVMBuildStore(e->builder, emit_combine(e, COMBINE_SUM, dtype, old, part), l->storage);
        l->changed = e->now;
    }
}

static void emit_apart(struct emitter *e, const struct stmt *s)
{
    bool *marks = ARENA_ARRAY(e->arena, bool, e->nest->locals.count + 1);
    struct local_state *outside = begin_apart(e, s, marks);
    emit_serial(e, s);
    end_apart(e, outside, marks);
}

static void emit_vector_loop(struct emitter *e, const struct stmt *s)
{
    uint32_t count = e->nest->locals.count;
    bool *marks = ARENA_ARRAY(e->arena, bool, count + 1);
    struct local_state *outside = ARENA_ARRAY(e->arena, struct local_state, count + 1);
    updated_locals(&s->body, marks);
    e->lanes = s->lanes;
    e->now++;
    for (uint32_t i = 0; i < count; i++) {
        marks[i] &= e->locals[i].storage != NULL; /* those declared outside of the loop */
        if (!marks[i])
            continue;
        outside[i] = e->locals[i];
        enum dtype dtype = e->nest->locals.items[i].dtype;
        LLVMValueRef start =
            emit_value(e, combine_identity(e->nest, combine_of(&s->body, i), dtype));
        level_place(e, e->level);
        start = splat(e, start, e->lanes);
        e->locals[i].storage = entry_alloca(e, LLVMTypeOf(start));
        e->locals[i].vector = true;
        e->locals[i].changed = e->now;
        LLVMBuildStore(e->builder, start, e->locals[i].storage);
    }
    e->vector_var = s->var;
    emit_vectors(e, s);
    e->vector_var = UINT32_MAX;
    e->now++;
    for (uint32_t i = 0; i < count; i++) {
        if (!marks[i])
            continue;
        enum dtype dtype = e->nest->locals.items[i].dtype;
        enum combine combine = combine_of(&s->body, i);
        LLVMTypeRef type = type_of(e, dtype);
        LLVMValueRef v =
            LLVMBuildLoad2(e->builder, LLVMVectorType(type, e->lanes), e->locals[i].storage, "");
        v = merge_lanes(e, combine, dtype, v);
        e->locals[i] = outside[i];
        LLVMValueRef old = LLVMBuildLoad2(e->builder, type, e->locals[i].storage, "");
        LLVMBuildStore(e->builder, emit_combine(e, combine, dtype, old, v), e->locals[i].storage);
        e->locals[i].changed = e->now;
    }
}

static void emit_local(struct emitter *e, const struct stmt *s)
{
    struct local_state *l = &e->locals[s->local];
    bool vector = e->vector_var != UINT32_MAX;
    LLVMValueRef v = vector ? emit_vector(e, s->value) : emit_value(e, s->value);
    l->vector = vector;
    l->storage = entry_alloca(e, LLVMTypeOf(v));
    l->level = e->level;
    l->changed = ++e->now;
    LLVMBuildStore(e->builder, v, l->storage);
}

static LLVMValueRef emit_updated(struct emitter *e, const struct stmt *s, LLVMValueRef old)
{
    struct expr value = *expr_at(e->nest, s->value);
    enum dtype dtype = e->nest->locals.items[s->local].dtype;
    if (s->combine == COMBINE_SUM && value.op == EXPR_MUL && dtype_is_float(dtype)) {
        struct expr fma = {.op = EXPR_FMA,
                           .dtype = value.dtype,
                           .operand = {value.operand[0], value.operand[1], 0}};
        LLVMValueRef v[3] = {emit_value(e, value.operand[0]), emit_value(e, value.operand[1]), old};
        v[0] = splat_like(e, v[0], old);
        v[1] = splat_like(e, v[1], old);
        return emit_operation(e, &fma, v);
    }
    LLVMValueRef v = splat_like(e, emit_value(e, s->value), old);
    return emit_combine(e, (enum combine)s->combine, dtype, old, v);
}

static void emit_update(struct emitter *e, const struct stmt *s)
{
    struct local_state *l = &e->locals[s->local];
    LLVMTypeRef type = type_of(e, e->nest->locals.items[s->local].dtype);
    if (l->vector)
        type = LLVMVectorType(type, e->lanes);
    LLVMValueRef old = LLVMBuildLoad2(e->builder, type, l->storage, "");
    LLVMValueRef v = emit_updated(e, s, old);
    if (e->mask && l->vector)
        v = LLVMBuildSelect(e->builder, e->mask, v, old, "");
    LLVMBuildStore(e->builder, v, l->storage);
    l->changed = ++e->now;
}

static void emit_branch(struct emitter *e, const struct block *block, LLVMBasicBlockRef start,
                        LLVMBasicBlockRef exit)
{
    level_open(e, start);
    bool *marks = ARENA_ARRAY(e->arena, bool, e->nest->locals.count + 1);
    updated_locals(block, marks);
    uint32_t *saved = enter_updates(e, block, marks);
    emit_block(e, block);
    LLVMBuildBr(e->builder, exit);
    level_close(e);
    leave_updates(e, block, marks, saved);
}

static void emit_if(struct emitter *e, const struct stmt *s)
{
    LLVMValueRef cond = emit_value(e, s->cond);
    LLVMBasicBlockRef yes = level_block(e), no = level_block(e), exit = level_block(e);
    LLVMBuildCondBr(e->builder, cond, yes, no);
    emit_branch(e, &s->body, yes, exit);
    emit_branch(e, &s->orelse, no, exit);
    level_continue(e, exit);
}

static void emit_block(struct emitter *e, const struct block *block)
{
    for (uint32_t i = 0, together; i < block->stmts.count; i++) {
        const struct stmt *s = block->stmts.items[i];
        switch ((enum stmt_kind)s->kind) {
        case STMT_FOR:
            if (s->loop_kind == LOOP_VECTOR)
                emit_vector_loop(e, s);
            else if (s->loop_kind == LOOP_APART)
                emit_apart(e, s);
            else
                emit_serial(e, s);
            break;
        case STMT_IF: emit_if(e, s); break;
        case STMT_LOCAL: emit_local(e, s); break;
        case STMT_UPDATE: emit_update(e, s); break;
        case STMT_STORE:
            if ((together = emit_transposed_stores(e, block, i)) > 0)
                i += together - 1;
            else
                emit_store(e, s);
            break;
        case STMT_PREFETCH: emit_prefetch(e, s); break;
        }
    }
}

static LLVMValueRef table_global(struct emitter *e, const struct nest_buffer *b)
{
    LLVMTypeRef i8 = LLVMInt8TypeInContext(e->context);
    LLVMTypeRef type = LLVMArrayType2(i8, b->table_bytes);
    LLVMValueRef global = LLVMAddGlobal(e->module, type, "");
    LLVMSetInitializer(global, LLVMConstStringInContext(e->context, b->table, b->table_bytes, 1));
    LLVMSetGlobalConstant(global, 1);
    LLVMSetLinkage(global, LLVMPrivateLinkage);
    LLVMSetAlignment(global, 64);
    return global;
}

/* Base pointers: those of arguments are loaded from the argument table; scratch buffers are one
 * behind the other, 64-aligned. */
static void emit_buffers(struct emitter *e)
{
    LLVMTypeRef pointer = LLVMPointerTypeInContext(e->context, 0),
                i64 = LLVMInt64TypeInContext(e->context);
    LLVMTypeRef i8 = LLVMInt8TypeInContext(e->context);
    LLVMValueRef scratch = LLVMGetParam(e->function, 2), used = const_i64(e, 0);
    for (uint32_t i = 0; i < e->nest->buffers.count; i++) {
        struct nest_buffer b = e->nest->buffers.items[i];
        if (b.role == ROLE_TABLE) {
            e->buffers[i] = table_global(e, &b);
        } else if (b.role == ROLE_SCRATCH) {
            e->buffers[i] = LLVMBuildGEP2(e->builder, i8, scratch, &used, 1, "");
            LLVMValueRef bytes = LLVMBuildMul(e->builder, emit_value(e, b.elements),
                                              const_i64(e, (int64_t)dtype_bytes(b.dtype)), "");
            bytes = LLVMBuildAnd(e->builder, LLVMBuildAdd(e->builder, bytes, const_i64(e, 63), ""),
                                 const_i64(e, -64), "");
            used = LLVMBuildAdd(e->builder, used, bytes, "");
        } else {
            LLVMValueRef at = LLVMConstInt(i64, b.argument, 0);
            LLVMValueRef slot =
                LLVMBuildGEP2(e->builder, pointer, LLVMGetParam(e->function, 0), &at, 1, "");
            e->buffers[i] = LLVMBuildLoad2(e->builder, pointer, slot, "");
        }
    }
}

/* Non-temporal stores are weakly ordered: the fence makes them visible to other threads in order
 * with other writes. */
static void fence_streams(struct emitter *e)
{
    for (uint32_t i = 0; e->architecture->stream_fence && i < e->nest->buffers.count; i++) {
        expr_id stream = e->nest->buffers.items[i].stream;
        if (stream == EXPR_NONE)
            continue;
        LLVMBasicBlockRef fence = level_block(e), exit = level_block(e);
        LLVMValueRef large = emit_value(e, stream);
        if (LLVMIsConstant(large))
            LLVMBuildBr(e->builder, fence);
        else
            LLVMBuildCondBr(e->builder, large, fence, exit);
        level_continue(e, fence);
        emit_intrinsic(e, e->architecture->stream_fence, NULL, 0, NULL, 0);
        LLVMBuildBr(e->builder, exit);
        level_continue(e, exit);
    }
}

void emit_kernel(struct emitter *e)
{
    LLVMTypeRef pointer = LLVMPointerTypeInContext(e->context, 0),
                i64 = LLVMInt64TypeInContext(e->context);
    LLVMTypeRef arguments[5] = {pointer, pointer, pointer, i64, i64};
    LLVMTypeRef type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), arguments, 5, 0);
    char name[32];
    snprintf(name, sizeof name, "kernel_%u", e->kernel);
    e->function = add_function(e, name, type);
    add_attribute(e, e->function, "nounwind", 0);
    LLVMAddAttributeAtIndex(e->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(e->context, "no-builtins", 11, "", 0));
    e->levels[0] = (struct level){.block = level_block(e), .serial = ++e->serials};
    level_place(e, 0);
    e->entry_mark = LLVMBuildAlloca(e->builder, LLVMInt8TypeInContext(e->context), "");
    e->begin = LLVMGetParam(e->function, 3);
    e->end = LLVMGetParam(e->function, 4);
    e->vector_var = UINT32_MAX;
    emit_buffers(e);
    emit_block(e, &e->nest->body);
    fence_streams(e);
    LLVMBuildRetVoid(e->builder);
}
