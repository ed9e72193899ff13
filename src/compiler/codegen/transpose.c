/* Stores whose addresses are consecutive from one statement to the next, but not from lane to lane,
 * as the rows of a jammed loop give them:
 *
 *   y[0 + 100·lane] = a        lanes of a, b, c, d …     stores
 *   y[1 + 100·lane] = b        a0 a1 a2 …                a0 b0 c0 d0 at y
 *   y[2 + 100·lane] = c        b0 b1 b2 …           ->   a1 b1 c1 d1 at y + 100
 *   y[3 + 100·lane] = d        c0 c1 c2 …                …
 *
 * The vectors are transposed in registers, W at a time, in log2 W rounds: each interleaves vector i
 * and vector i + W/2 to vectors 2i and 2i + 1. */
#include "compiler/codegen/codegen_priv.h"

#define MIN_RUN 4 /* fewest statements for which this is faster */
#define MAX_WIDTH 64

struct run {
    const struct stmt *first;
    uint32_t count;
    expr_id stride; /* elements from lane to lane */
};

static bool step_of_one(struct emitter *e, const struct stmt *a, const struct stmt *b)
{
    int64_t n;
    return b->kind == STMT_STORE && b->buffer == a->buffer && b->guard == EXPR_NONE &&
           index_is_const(e->nest, index_sub(e->nest, b->index, a->index), &n) && n == 1;
}

struct reads {
    uint32_t buffer;
    bool found;
};

static void find_read(struct nest *nest, expr_id id, void *context)
{
    struct reads *r = context;
    const struct expr *x = expr_at(nest, id);
    r->found |= x->op == EXPR_LOAD && x->index == r->buffer;
}

/* The stores from `at` on that form a run; count 0: none. */
static struct run run_at(struct emitter *e, const struct block *block, uint32_t at)
{
    const struct stmt *s = block->stmts.items[at];
    struct run run = {.first = s};
    int64_t n;
    uint32_t end = at + 1;
    if (e->vector_var == UINT32_MAX || s->guard != EXPR_NONE)
        return run;
    run.stride = index_stride(e->nest, s->index, e->vector_var);
    if (run.stride == EXPR_NONE || expr_varies(e, run.stride) ||
        (index_is_const(e->nest, run.stride, &n) && (n == 0 || n == 1)))
        return run;
    while (end < block->stmts.count &&
           step_of_one(e, block->stmts.items[end - 1], block->stmts.items[end]))
        end++;
    struct reads reads = {.buffer = s->buffer};
    for (uint32_t i = at; i < end; i++)
        expr_walk(e->nest, block->stmts.items[i]->value, find_read, &reads);
    run.count = reads.found || end - at < MIN_RUN ? 0 : end - at;
    return run;
}

/* Lanes start … start + width - 1 of v. */
static LLVMValueRef part(struct emitter *e, LLVMValueRef v, uint32_t start, uint32_t width)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context);
    LLVMValueRef pick[MAX_WIDTH];
    if (width == e->lanes)
        return v;
    for (uint32_t i = 0; i < width; i++)
        pick[i] = LLVMConstInt(i32, start + i, 0);
    return LLVMBuildShuffleVector(e->builder, v, v, LLVMConstVector(pick, width), "");
}

/* The lower or upper half of a and b interleaved. */
static LLVMValueRef interleave(struct emitter *e, LLVMValueRef a, LLVMValueRef b, uint32_t width,
                               bool upper)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->context);
    LLVMValueRef pick[MAX_WIDTH];
    for (uint32_t i = 0; i < width; i++)
        pick[i] = LLVMConstInt(i32, (upper ? width / 2 : 0) + i / 2 + i % 2 * width, 0);
    return LLVMBuildShuffleVector(e->builder, a, b, LLVMConstVector(pick, width), "");
}

static void transpose(struct emitter *e, LLVMValueRef *rows, uint32_t width)
{
    LLVMValueRef next[MAX_WIDTH];
    for (uint32_t round = 1; round < width; round *= 2) {
        for (uint32_t i = 0; i < width; i++)
            next[i] = interleave(e, rows[i / 2], rows[i / 2 + width / 2], width, i % 2);
        memcpy(rows, next, sizeof(LLVMValueRef) * width);
    }
}

/* What a run of stores writes, and where: `values` by statement; lane i of each goes i·stride
 * elements behind `base`, plus the number of the statement. */
struct stores {
    LLVMValueRef *values, base, stride;
    enum dtype dtype;
    uint32_t width; /* of the square blocks that are transposed, in lanes */
};

/* Stores the first count elements of v, if the lane of the loop that they belong to is active. */
static void store_row(struct emitter *e, const struct stores *s, LLVMValueRef v,
                      LLVMValueRef pointer, uint32_t count, uint32_t lane)
{
    LLVMTypeRef i1 = LLVMInt1TypeInContext(e->context), i32 = LLVMInt32TypeInContext(e->context);
    unsigned bytes = (unsigned)dtype_bytes(s->dtype);
    LLVMValueRef bits[MAX_WIDTH];
    if (!e->mask && count == s->width) {
        LLVMSetAlignment(LLVMBuildStore(e->builder, v, pointer), bytes);
        return;
    }
    for (uint32_t i = 0; i < s->width; i++)
        bits[i] = LLVMConstInt(i1, i < count, 0);
    LLVMValueRef mask = LLVMConstVector(bits, s->width);
    if (e->mask) {
        LLVMValueRef active =
            LLVMBuildExtractElement(e->builder, e->mask, LLVMConstInt(i32, lane, 0), "");
        mask = LLVMBuildAnd(e->builder, mask, splat(e, active, s->width), "");
    }
    LLVMTypeRef types[2] = {LLVMTypeOf(v), LLVMTypeOf(pointer)};
    LLVMValueRef args[4] = {v, pointer, LLVMConstInt(i32, bytes, 0), mask};
    emit_intrinsic(e, "llvm.masked.store", types, 2, args, 4);
}

/* Stores statements [from, from + count) of the run, count ≤ width. */
static void store_part(struct emitter *e, const struct stores *s, uint32_t from, uint32_t count)
{
    LLVMTypeRef element = type_in_memory(e, s->dtype);
    LLVMValueRef rows[MAX_WIDTH];
    for (uint32_t start = 0; start < e->lanes; start += s->width) {
        for (uint32_t i = 0; i < s->width; i++)
            rows[i] = i < count ? part(e, s->values[from + i], start, s->width)
                                : LLVMGetPoison(LLVMVectorType(element, s->width));
        transpose(e, rows, s->width);
        for (uint32_t i = 0; i < s->width; i++) {
            LLVMValueRef offset =
                LLVMBuildMul(e->builder, s->stride, const_int_like(s->stride, start + i), "");
            offset = LLVMBuildAdd(e->builder, offset, const_int_like(s->stride, from), "");
            LLVMValueRef at = LLVMBuildGEP2(e->builder, element, s->base, &offset, 1, "");
            store_row(e, s, rows[i], at, count, start + i);
        }
    }
}

uint32_t emit_transposed_stores(struct emitter *e, const struct block *block, uint32_t at)
{
    struct run run = run_at(e, block, at);
    if (run.count == 0)
        return 0;
    enum dtype dtype = e->nest->buffers.items[run.first->buffer].dtype;
    struct stores stores = {.values = ARENA_ARRAY(e->arena, LLVMValueRef, run.count),
                            .base =
                                emit_first_lane(e, run.first->buffer, run.first->index, run.stride),
                            .dtype = dtype,
                            .width = e->lanes < e->target->lanes ? e->lanes : e->target->lanes};
    if (!stores.base)
        return 0;
    for (uint32_t i = 0; i < run.count; i++) {
        expr_id value = block->stmts.items[at + i]->value;
        stores.values[i] =
            emit_to_memory(e, emit_vector(e, value), dtype, expr_is_rounded(e->nest, value, dtype));
    }
    stores.stride = emit_value(e, run.stride);
    assert(stores.width <= MAX_WIDTH);
    for (uint32_t from = 0; from < run.count; from += stores.width) {
        uint32_t left = run.count - from;
        store_part(e, &stores, from, left < stores.width ? left : stores.width);
    }
    e->memory_changed = ++e->now;
    return run.count;
}
