/* Values of expressions.
 *
 * An expression that does not depend on inner loops is emitted before them and reused inside
 * (loop-invariant code motion). Loads are not moved, because a loop may have no iteration. An
 * expression that does not vary over lanes stays scalar; an operation that mixes scalars and
 * vectors splats the scalars. */
#include "compiler/codegen/codegen_priv.h"

static uint32_t level_of(const struct emitter *e, const struct expr *x)
{
    uint32_t level = 0;
    if (x->loads)
        return e->level;
    for (uint64_t vars = x->vars; vars; vars &= vars - 1) {
        uint32_t l = e->var_level[__builtin_ctzll(vars)];
        level = l > level ? l : level;
    }
    for (uint32_t i = 0; x->locals && i < e->nest->locals.count; i++)
        if (x->locals >> i % 64 & 1 && e->locals[i].level > level)
            level = e->locals[i].level;
    return level;
}

static bool memo_valid(const struct emitter *e, const struct memo *m, const struct expr *x)
{
    if (!m->value || m->level > e->level || e->levels[m->level].serial != m->level_serial)
        return false;
    if (x->unstable && m->time < e->memory_changed)
        return false;
    for (uint32_t i = 0; x->locals && i < e->nest->locals.count; i++)
        if (x->locals >> i % 64 & 1 && m->time < e->locals[i].changed)
            return false;
    return true;
}

static struct memo *memo_at(struct emitter *e, expr_id id)
{
    if (id >= e->value_capacity) {
        uint32_t capacity = 2 * id + 64;
        struct memo *grown = ARENA_ARRAY(e->arena, struct memo, capacity);
        if (e->value_capacity)
            memcpy(grown, e->values, e->value_capacity * sizeof *grown);
        e->values = grown;
        e->value_capacity = capacity;
    }
    return &e->values[id];
}

static struct memo make_memo(struct emitter *e, LLVMValueRef value, uint32_t level)
{
    return (struct memo){
        .value = value, .level = level, .level_serial = e->levels[level].serial, .time = e->now};
}

void emit_bind(struct emitter *e, expr_id id, LLVMValueRef value)
{
    *memo_at(e, id) = make_memo(e, value, e->level);
}

/* The address base + index, added up term by term from the outer levels in, so that an inner loop
 * adds only the terms of its own variables. */
static LLVMValueRef emit_address(struct emitter *e, uint32_t buffer, expr_id index)
{
    struct nest *nest = e->nest;
    expr_id terms[64];
    uint32_t count = index_terms(nest, index, terms, 64);
    LLVMTypeRef element = type_in_memory(e, nest->buffers.items[buffer].dtype);
    LLVMValueRef pointer = e->buffers[buffer];
    if (count == 0) {
        terms[0] = index;
        count = 1;
    }
    expr_id partial = index_const(nest, 0);
    int64_t constant = 0;
    for (uint32_t level = 0; level <= e->level; level++) {
        expr_id step = index_const(nest, 0);
        for (uint32_t i = 0; i < count; i++) {
            struct expr x = *expr_at(nest, terms[i]);
            if (x.op == EXPR_CONST)
                constant = x.integer;
            else if (level_of(e, &x) == level)
                step = index_add(nest, step, terms[i]);
        }
        if (expr_at(nest, step)->op == EXPR_CONST)
            continue;
        partial = index_add(nest, partial, step);
        struct expr whole = *expr_at(nest, partial);
        uint32_t slot = (partial * 31 + buffer) % 256;
        if (e->pointers[slot].index == partial && e->pointers[slot].buffer == buffer &&
            memo_valid(e, &e->pointers[slot].memo, &whole)) {
            pointer = e->pointers[slot].memo.value;
            continue;
        }
        LLVMValueRef offset = emit_value(e, step);
        level_place(e, level);
        pointer = LLVMBuildGEP2(e->builder, element, pointer, &offset, 1, "");
        e->pointers[slot].index = partial;
        e->pointers[slot].buffer = buffer;
        e->pointers[slot].memo = make_memo(e, pointer, level);
    }
    level_place(e, e->level);
    if (constant != 0) {
        LLVMValueRef offset =
            LLVMConstInt(LLVMInt64TypeInContext(e->context), (unsigned long long)constant, 1);
        pointer = LLVMBuildGEP2(e->builder, element, pointer, &offset, 1, "");
    }
    return pointer;
}

bool expr_varies(const struct emitter *e, expr_id id)
{
    if (id == EXPR_NONE || e->vector_var == UINT32_MAX)
        return false;
    const struct expr *x = expr_at(e->nest, id);
    if (x->vars >> e->vector_var & 1)
        return true;
    for (uint32_t i = 0; x->locals && i < e->nest->locals.count; i++)
        if (x->locals >> i % 64 & 1 && e->locals[i].vector)
            return true;
    return false;
}

/* The active lanes for which guard holds; NULL: all. */
static LLVMValueRef mask_with(struct emitter *e, expr_id guard)
{
    LLVMValueRef mask = e->mask;
    if (guard == EXPR_NONE)
        return mask;
    LLVMValueRef g = emit_vector(e, guard);
    return mask ? LLVMBuildAnd(e->builder, mask, g, "") : g;
}

static LLVMValueRef all_lanes(struct emitter *e)
{
    return LLVMConstAllOnes(LLVMVectorType(LLVMInt1TypeInContext(e->context), e->lanes));
}

LLVMValueRef emit_first_lane(struct emitter *e, uint32_t buffer, expr_id index, expr_id stride)
{
    struct nest *nest = e->nest;
    expr_id v = expr_var(nest, e->vector_var);
    expr_id rest = index_sub(nest, index, index_mul(nest, stride, v));
    if (expr_varies(e, rest))
        return NULL;
    LLVMTypeRef element = type_in_memory(e, nest->buffers.items[buffer].dtype);
    LLVMValueRef pointer = emit_address(e, buffer, rest), base = e->vars[e->vector_var];
    if (LLVMIsConstant(base) && LLVMConstIntGetZExtValue(base) == 0)
        return pointer;
    base = LLVMBuildMul(e->builder, base, emit_value(e, stride), "");
    return LLVMBuildGEP2(e->builder, element, pointer, &base, 1, "");
}

/* Whether consecutive lanes are consecutive elements; *out_pointer is the address of lane 0
 * then. */
static bool contiguous(struct emitter *e, uint32_t buffer, expr_id index, LLVMValueRef *out_pointer)
{
    int64_t one;
    expr_id stride = index_stride(e->nest, index, e->vector_var);
    if (stride == EXPR_NONE || !index_is_const(e->nest, stride, &one) || one != 1)
        return false;
    LLVMValueRef pointer = emit_first_lane(e, buffer, index, stride);
    if (pointer)
        *out_pointer = pointer;
    return pointer != NULL;
}

static LLVMValueRef lane_pointers(struct emitter *e, uint32_t buffer, expr_id index)
{
    LLVMTypeRef element = type_in_memory(e, e->nest->buffers.items[buffer].dtype);
    LLVMValueRef offsets = emit_vector(e, index);
    return LLVMBuildGEP2(e->builder, element, e->buffers[buffer], &offsets, 1, "");
}

static LLVMValueRef alignment(struct emitter *e, enum dtype dtype)
{
    return LLVMConstInt(LLVMInt32TypeInContext(e->context), dtype_bytes(dtype), 0);
}

/* A stack slot of zeros. A false guard redirects the access to it, so that no branch is needed. */
static LLVMValueRef dummy_slot(struct emitter *e, LLVMTypeRef type)
{
    LLVMBuilderRef b = LLVMCreateBuilderInContext(e->context);
    LLVMPositionBuilderBefore(b, e->entry_mark);
    LLVMValueRef slot = LLVMBuildAlloca(b, type, "");
    LLVMBuildStore(b, LLVMConstNull(type), slot);
    LLVMDisposeBuilder(b);
    return slot;
}

/* The same for loads only, so that one slot per type serves all. */
static LLVMValueRef zero_slot(struct emitter *e, LLVMTypeRef type)
{
    uint32_t i = 0, room = sizeof e->zeros / sizeof e->zeros[0];
    while (i < room && e->zeros[i].type && e->zeros[i].type != type)
        i++;
    if (i == room)
        return dummy_slot(e, type);
    if (!e->zeros[i].type) {
        e->zeros[i].type = type;
        e->zeros[i].slot = dummy_slot(e, type);
    }
    return e->zeros[i].slot;
}

/* Splits a conjunction into the conditions that are the same for all lanes and the others. */
static void split_guard(struct emitter *e, expr_id guard, expr_id *same, expr_id *other)
{
    struct expr x = guard == EXPR_NONE ? (struct expr){0} : *expr_at(e->nest, guard);
    if (guard == EXPR_NONE)
        return;
    if (x.op == EXPR_AND && x.dtype == DTYPE_BOOL) {
        split_guard(e, x.operand[0], same, other);
        split_guard(e, x.operand[1], same, other);
        return;
    }
    expr_id *part = expr_varies(e, guard) ? other : same;
    *part = *part == EXPR_NONE ? guard : expr_binary(e->nest, EXPR_AND, *part, guard);
}

LLVMValueRef emit_whole_load(struct emitter *e, LLVMTypeRef type, LLVMValueRef pointer,
                             enum dtype dtype, LLVMValueRef mask)
{
    if (!mask) {
        LLVMValueRef v = LLVMBuildLoad2(e->builder, type, pointer, "");
        LLVMSetAlignment(v, (unsigned)dtype_bytes(dtype));
        return v;
    }
    LLVMTypeRef types[2] = {type, LLVMTypeOf(pointer)};
    LLVMValueRef args[4] = {pointer, alignment(e, dtype), mask, LLVMConstNull(type)};
    return emit_intrinsic(e, "llvm.masked.load", types, 2, args, 4);
}

/* A load of each lane from its own address. */
static LLVMValueRef emit_gather(struct emitter *e, const struct expr *x, enum dtype dtype)
{
    LLVMTypeRef type = LLVMVectorType(type_in_memory(e, dtype), e->lanes);
    LLVMValueRef mask = mask_with(e, x->operand[1]);
    LLVMValueRef pointers = lane_pointers(e, x->index, x->operand[0]);
    LLVMTypeRef types[2] = {type, LLVMTypeOf(pointers)};
    LLVMValueRef args[4] = {pointers, alignment(e, dtype), mask ? mask : all_lanes(e),
                            LLVMConstNull(type)};
    return emit_intrinsic(e, "llvm.masked.gather", types, 2, args, 4);
}

/* Contiguous lanes are loaded as a vector, lanes with a small constant stride as several vectors,
 * others one by one. A condition that is the same for all lanes needs no mask: if it is false,
 * zeros are loaded from the stack instead. */
static LLVMValueRef emit_vector_load(struct emitter *e, const struct expr *x)
{
    enum dtype dtype = e->nest->buffers.items[x->index].dtype;
    LLVMTypeRef element = type_in_memory(e, dtype);
    LLVMValueRef pointer = NULL;
    int64_t stride = 1;
    expr_id same = EXPR_NONE, other = EXPR_NONE;
    struct lane_interval within = {0};
    split_guard(e, x->operand[1], &same, &other);
    bool together = contiguous(e, x->index, x->operand[0], &pointer);
    if (!together && strided_lanes(e, x->operand[0], &stride) &&
        (other == EXPR_NONE || lane_interval(e, other, &within)))
        pointer = emit_first_lane(e, x->index, x->operand[0], index_const(e->nest, stride));
    if (!pointer)
        return emit_from_memory(e, emit_gather(e, x, dtype), dtype);
    LLVMTypeRef slot = LLVMVectorType(element, e->lanes * (uint32_t)stride);
    if (same != EXPR_NONE)
        pointer = LLVMBuildSelect(e->builder, emit_value(e, same), pointer, zero_slot(e, slot), "");
    if (together)
        return emit_from_memory(e,
                                emit_whole_load(e, LLVMVectorType(element, e->lanes), pointer,
                                                dtype, mask_with(e, other)),
                                dtype);
    if (e->mask) {
        LLVMValueRef last = LLVMBuildSub(e->builder, e->left, const_int_like(e->left, 1), "");
        LLVMTypeRef i64 = LLVMTypeOf(last);
        within.last = within.last ? emit_intrinsic(e, "llvm.smin", &i64, 1,
                                                   (LLVMValueRef[]){within.last, last}, 2)
                                  : last;
    }
    return emit_from_memory(e, emit_strided_load(e, pointer, dtype, stride, &within), dtype);
}

static LLVMValueRef emit_scalar_load(struct emitter *e, const struct expr *x)
{
    enum dtype dtype = e->nest->buffers.items[x->index].dtype;
    LLVMTypeRef type = type_in_memory(e, dtype);
    LLVMValueRef pointer = emit_address(e, x->index, x->operand[0]);
    LLVMValueRef guard = x->operand[1] != EXPR_NONE ? emit_value(e, x->operand[1]) : NULL;
    if (guard)
        pointer = LLVMBuildSelect(e->builder, guard, pointer, zero_slot(e, type), "");
    LLVMValueRef v = LLVMBuildLoad2(e->builder, type, pointer, "");
    LLVMSetAlignment(v, (unsigned)dtype_bytes(dtype));
    if (guard)
        v = LLVMBuildSelect(e->builder, guard, v, LLVMConstNull(type), "");
    return emit_from_memory(e, v, dtype);
}

static LLVMValueRef emit_load(struct emitter *e, const struct expr *x)
{
    if (expr_varies(e, x->operand[0]) || expr_varies(e, x->operand[1]))
        return emit_vector_load(e, x);
    return emit_scalar_load(e, x);
}

#define LINE_BYTES 64
#define STREAM_LEAST_BYTES 16 /* least size of a vector */

/* The condition under which vector stores of the open loop bypass the caches, as an i1 placed
 * outside of the loop: the buffer is streamed, and the first vector, and so every one, is aligned.
 * NULL: never. */
static LLVMValueRef stream_condition(struct emitter *e, const struct stmt *s, uint64_t align)
{
    struct nest *nest = e->nest;
    const struct nest_buffer *b = &nest->buffers.items[s->buffer];
    LLVMTypeRef i64 = LLVMInt64TypeInContext(e->context);
    expr_id terms[64], rest = index_sub(nest, s->index, expr_var(nest, e->vector_var));
    uint32_t count = index_terms(nest, rest, terms, 64);
    for (uint32_t i = 0; i < count; i++) {
        int64_t constant;
        if (!index_is_const(nest, terms[i], &constant))
            continue;
        if (constant * (int64_t)dtype_bytes(b->dtype) % (int64_t)align != 0)
            return NULL;
        rest = index_sub(nest, rest, terms[i]);
    }
    struct expr first = *expr_at(nest, rest);
    LLVMValueRef pointer = emit_address(e, s->buffer, rest), large = emit_value(e, b->stream);
    level_place(e, level_of(e, &first));
    LLVMValueRef low = LLVMBuildPtrToInt(e->builder, pointer, i64, "");
    low = LLVMBuildAnd(e->builder, low, LLVMConstInt(i64, align - 1, 0), "");
    low = LLVMBuildICmp(e->builder, LLVMIntEQ, low, LLVMConstNull(i64), "");
    low = LLVMBuildAnd(e->builder, low, large, "");
    level_place(e, e->level);
    return low;
}

static void store_past_caches(struct emitter *e, LLVMValueRef v, LLVMValueRef pointer,
                              uint64_t align)
{
    LLVMValueRef store = LLVMBuildStore(e->builder, v, pointer);
    LLVMMetadataRef one =
        LLVMValueAsMetadata(LLVMConstInt(LLVMInt32TypeInContext(e->context), 1, 0));
    LLVMMetadataRef list = LLVMMDNodeInContext2(e->context, &one, 1);
    LLVMSetAlignment(store, (unsigned)align);
    LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->context, "nontemporal", 11),
                    LLVMMetadataAsValue(e->context, list));
}

/* Stores all lanes of a vector to consecutive elements. */
static void store_vector(struct emitter *e, const struct stmt *s, LLVMValueRef v,
                         LLVMValueRef pointer)
{
    uint64_t bytes = dtype_bytes(e->nest->buffers.items[s->buffer].dtype), align = e->lanes * bytes;
    align = align < LINE_BYTES ? align : LINE_BYTES;
    LLVMValueRef past = NULL;
    if (e->nest->buffers.items[s->buffer].stream != EXPR_NONE && align >= STREAM_LEAST_BYTES)
        past = stream_condition(e, s, align);
    LLVMBasicBlockRef stream = NULL, usual, exit = NULL;
    if (past) {
        stream = level_block(e);
        usual = level_block(e);
        exit = level_block(e);
        LLVMBuildCondBr(e->builder, past, stream, usual);
        LLVMPositionBuilderAtEnd(e->builder, stream);
        store_past_caches(e, v, pointer, align);
        LLVMBuildBr(e->builder, exit);
        LLVMPositionBuilderAtEnd(e->builder, usual);
    }
    LLVMSetAlignment(LLVMBuildStore(e->builder, v, pointer), (unsigned)bytes);
    if (past) {
        LLVMBuildBr(e->builder, exit);
        level_continue(e, exit);
    }
}

void emit_store(struct emitter *e, const struct stmt *s)
{
    const struct nest_buffer *b = &e->nest->buffers.items[s->buffer];
    enum dtype dtype = b->dtype;
    LLVMTypeRef type = type_in_memory(e, dtype);
    LLVMValueRef pointer, store;
    bool rounded = expr_is_rounded(e->nest, s->value, dtype);
    if (e->vector_var == UINT32_MAX) {
        LLVMValueRef v = emit_to_memory(e, emit_value(e, s->value), dtype, rounded);
        LLVMValueRef guard = s->guard != EXPR_NONE ? emit_value(e, s->guard) : NULL;
        pointer = emit_address(e, s->buffer, s->index);
        if (guard)
            pointer = LLVMBuildSelect(e->builder, guard, pointer, dummy_slot(e, type), "");
        store = LLVMBuildStore(e->builder, v, pointer);
        LLVMSetAlignment(store, (unsigned)dtype_bytes(dtype));
    } else {
        LLVMValueRef v = emit_to_memory(e, emit_vector(e, s->value), dtype, rounded);
        LLVMValueRef mask = mask_with(e, s->guard);
        bool together = contiguous(e, s->buffer, s->index, &pointer);
        if (!together)
            pointer = lane_pointers(e, s->buffer, s->index);
        if (together && !mask) {
            store_vector(e, s, v, pointer);
        } else {
            LLVMTypeRef types[2] = {LLVMTypeOf(v), LLVMTypeOf(pointer)};
            LLVMValueRef args[4] = {v, pointer, alignment(e, dtype), mask ? mask : all_lanes(e)};
            emit_intrinsic(e, together ? "llvm.masked.store" : "llvm.masked.scatter", types, 2,
                           args, 4);
        }
    }
    e->memory_changed = ++e->now;
}

/* One prefetch per cache line of the lanes; none for lanes that are not contiguous. The address may
 * be outside of the buffer, because no GEP is inbounds. */
void emit_prefetch(struct emitter *e, const struct stmt *s)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context), i8 = LLVMInt8TypeInContext(e->context);
    enum dtype dtype = e->nest->buffers.items[s->buffer].dtype;
    uint64_t bytes = dtype_bytes(dtype);
    LLVMValueRef pointer;
    if (!expr_varies(e, s->index))
        pointer = emit_address(e, s->buffer, s->index);
    else if (contiguous(e, s->buffer, s->index, &pointer))
        bytes *= e->lanes;
    else
        return;
    LLVMTypeRef type = LLVMTypeOf(pointer);
    for (uint64_t at = 0; at < bytes; at += LINE_BYTES) {
        LLVMValueRef offset = LLVMConstInt(LLVMInt64TypeInContext(e->context), at, 0);
        LLVMValueRef args[4] = {LLVMBuildGEP2(e->builder, i8, pointer, &offset, 1, ""),
                                LLVMConstInt(i32, 0, 0), LLVMConstInt(i32, 3, 0),
                                LLVMConstInt(i32, 1, 0)}; /* read, into L1, data */
        emit_intrinsic(e, "llvm.prefetch", &type, 1, args, 4);
    }
}

LLVMValueRef emit_vector(struct emitter *e, expr_id id)
{
    LLVMValueRef v = emit_value(e, id);
    return is_vector(v) || e->vector_var == UINT32_MAX ? v : splat(e, v, e->lanes);
}

static LLVMValueRef emit_var(struct emitter *e, const struct expr *x)
{
    LLVMValueRef base = e->vars[x->index];
    if (x->index != e->vector_var)
        return base;
    return LLVMBuildAdd(e->builder, splat(e, base, e->lanes), lane_numbers(e), "");
}

static LLVMValueRef emit_leaf(struct emitter *e, const struct expr *x)
{
    LLVMTypeRef type = type_of(e, x->dtype), i64 = LLVMInt64TypeInContext(e->context);
    switch ((enum expr_op)x->op) {
    case EXPR_CONST:
        return dtype_is_float(x->dtype) ? LLVMConstReal(type, x->value)
                                        : LLVMConstInt(type, (unsigned long long)x->integer, 1);
    case EXPR_VAR: return emit_var(e, x);
    case EXPR_DIM: {
        LLVMValueRef at = LLVMConstInt(i64, x->index, 0);
        LLVMValueRef pointer =
            LLVMBuildGEP2(e->builder, i64, LLVMGetParam(e->function, 1), &at, 1, "");
        return LLVMBuildLoad2(e->builder, i64, pointer, "");
    }
    case EXPR_LOCAL: {
        const struct local_state *l = &e->locals[x->index];
        return LLVMBuildLoad2(e->builder, l->vector ? LLVMVectorType(type, e->lanes) : type,
                              l->storage, "");
    }
    default: return NULL;
    }
}

LLVMValueRef emit_value(struct emitter *e, expr_id id)
{
    struct expr x = *expr_at(e->nest, id);
    struct memo *m = memo_at(e, id);
    LLVMValueRef out, v[3] = {0}, shape = NULL;
    if (memo_valid(e, m, &x))
        return m->value;
    uint32_t level = level_of(e, &x);
    if (x.op == EXPR_LOAD) {
        out = emit_load(e, &x);
    } else if (chooses_apply(e, &x)) {
        out = emit_rare_choice(e, &x, level);
    } else if (x.op == EXPR_APPLY) {
        out = emit_apply(e, &x, level);
    } else if (x.operand[0] == EXPR_NONE) {
        level_place(e, level);
        out = emit_leaf(e, &x);
    } else if ((out = emit_counted_quotient(e, &x)) == NULL &&
               (out = emit_lane_compare(e, &x, level)) == NULL) {
        for (int i = 0; i < 3 && x.operand[i] != EXPR_NONE; i++) {
            v[i] = emit_value(e, x.operand[i]);
            shape = !shape || is_vector(v[i]) ? v[i] : shape;
        }
        level_place(e, level);
        for (int i = 0; i < 3 && v[i]; i++)
            v[i] = splat_like(e, v[i], shape);
        out = emit_operation(e, &x, v);
    }
    level_place(e, e->level);
    *memo_at(e, id) = make_memo(e, out, level);
    return out;
}
