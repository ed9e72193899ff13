/* Loops and memory as machine code: vectors with remainders of every length, masks before an
 * inaccessible page, reductions over lanes, locals in loops, branches, ranges, scratch memory,
 * tables, and the image itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/codegen/codegen.h"
#include "compiler/codegen/codegen_kit_priv.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/target/target.h"
#include <cmocka.h>

#define MOST 4096
#define LENGTHS 40

static const enum dtype memory_dtypes[] = {DTYPE_F64, DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I64,
                                           DTYPE_I32, DTYPE_I16, DTYPE_I8,  DTYPE_U8,   DTYPE_U16,
                                           DTYPE_U32, DTYPE_U64, DTYPE_BOOL};
#define MEMORY_DTYPES (sizeof memory_dtypes / sizeof *memory_dtypes)

/* Small random numbers of any dtype. */
static void *random_data(struct kit *kit, enum dtype dtype, uint64_t seed)
{
    void *data = arena_array(&kit->arena, MOST, 8);
    for (int64_t i = 0; i < MOST; i++) {
        union nest_value v;
        if (dtype_is_float(dtype))
            v.f = dtype_round(dtype, 4 * rng_uniform(seed, (uint64_t)i) - 2);
        else
            v.i = dtype_wrap(dtype, (int64_t)(rng_u32(seed, (uint64_t)i) % 201) - 100);
        nest_eval_store(dtype, data, i, v);
    }
    return data;
}

static void check_lengths(struct kit *kit, const char *what, double tolerance)
{
    int64_t s[LENGTHS];
    for (int64_t i = 0; i < LENGTHS; i++)
        s[i] = i < 34 ? i : 31 + 16 * (i - 33);
    kit_check(kit, what, &(struct kit_check){.s = s, .s_count = LENGTHS, .tolerance = tolerance});
}

static void store(struct kit *kit, struct stmt *loop, uint32_t buffer, expr_id index, expr_id value,
                  expr_id guard)
{
    block_add(&kit->nest, loop ? &loop->body : &kit->nest.body,
              stmt_store(&kit->nest, buffer, index, value, guard));
}

static expr_id plus(struct kit *kit, expr_id a, int64_t b)
{
    return index_add(&kit->nest, a, index_const(&kit->nest, b));
}

static void vectors_with_every_tail(void **state)
{
    (void)state;
    for (uint32_t d = 0; d < MEMORY_DTYPES; d++) {
        for (uint32_t lanes = 2; lanes <= 32; lanes *= 4) {
            struct kit kit;
            char what[64];
            expr_id i;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            uint32_t out = kit_buffer(&kit, memory_dtypes[d], true, 1, 0, NULL);
            uint32_t back = kit_buffer(&kit, memory_dtypes[d], true, 1, 0, NULL);
            uint32_t x = kit_buffer(&kit, memory_dtypes[d], false, 1, 0,
                                    random_data(&kit, memory_dtypes[d], d));
            struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
            expr_id v = expr_load(n, x, i, EXPR_NONE);
            expr_id turned = index_sub(n, plus(&kit, kit.S, -1), i); /* stride -1: gathered and
                                                                        scattered */
            store(&kit, loop, out, i,
                  memory_dtypes[d] == DTYPE_BOOL ? expr_unary(n, EXPR_NOT, v)
                                                 : expr_binary(n, EXPR_ADD, v, v),
                  EXPR_NONE);
            store(&kit, loop, back, turned, expr_load(n, x, turned, EXPR_NONE), EXPR_NONE);
            snprintf(what, sizeof what, "%s, %u lanes", dtype_name(memory_dtypes[d]), lanes);
            check_lengths(&kit, what, 0);
            kit_release(&kit);
        }
    }
}

/* Vector stores that bypass the caches where sizes and addresses allow. Buffers start at any
 * address, so both branches are taken. */
static void streamed_vectors(void **state)
{
    (void)state;
    static const uint32_t lanes[] = {16, 4, 64};
    static const int shifts[] = {0, 3, 32};
    for (uint32_t k = 0; k < MEMORY_DTYPES; k++) {
        enum dtype dtype = memory_dtypes[k];
        for (uint32_t w = 0; w < 3; w++) {
            int shift = shifts[w];
            struct kit kit;
            char what[64];
            expr_id i, j;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            uint32_t out = kit_buffer(&kit, dtype, true, 3, 32, NULL);
            uint32_t x = kit_buffer(&kit, dtype, false, 3, 0, random_data(&kit, dtype, k));
            n->buffers.items[out].stream = shift == 3
                                               ? expr_int(n, DTYPE_BOOL, 1)
                                               : expr_binary(n, EXPR_LE, index_const(n, 20), kit.S);
            struct stmt *rows = kit_loop(&kit, NULL, index_const(n, 3), 0, true, &i);
            struct stmt *loop = kit_loop(&kit, rows, kit.S, lanes[(k + w) % 3], true, &j);
            expr_id at = index_add(n, index_mul(n, i, kit.S), j);
            store(&kit, loop, out, plus(&kit, at, shift), expr_load(n, x, at, EXPR_NONE),
                  EXPR_NONE);
            snprintf(what, sizeof what, "%s, %u lanes, %d further", dtype_name(dtype),
                     lanes[(k + w) % 3], shift);
            check_lengths(&kit, what, 0);
            kit_release(&kit);
        }
    }
}

static void vectors_of_constant_extent(void **state)
{
    (void)state;
    static const int64_t extents[] = {1, 3, 7, 8, 9, 15, 16, 17, 24, 31};
    int64_t s = 0;
    for (uint32_t k = 0; k < sizeof extents / sizeof *extents; k++) {
        struct kit kit;
        expr_id i;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t out = kit_buffer(&kit, DTYPE_F32, true, 0, extents[k], NULL);
        uint32_t x =
            kit_buffer(&kit, DTYPE_F32, false, 0, extents[k], random_data(&kit, DTYPE_F32, 1));
        struct stmt *loop = kit_loop(&kit, NULL, index_const(n, extents[k]), 8, true, &i);
        expr_id v = expr_load(n, x, i, EXPR_NONE);
        store(&kit, loop, out, i, expr_binary(n, EXPR_MUL, v, v), EXPR_NONE);
        kit_check(&kit, "constant extent", &(struct kit_check){.s = &s, .s_count = 1});
        kit_release(&kit);
    }
}

/* More nested loops than lowering and schedule steps make. */
static void deep_nests(void **state)
{
    (void)state;
    int64_t s = 1;
    struct kit kit;
    expr_id i, flat;
    kit_init(&kit);
    struct nest *n = &kit.nest;
    uint32_t out = kit_buffer(&kit, DTYPE_I64, true, 0, 64, NULL);
    struct stmt *loop = NULL;
    flat = index_const(n, 0);
    for (int depth = 0; depth < 40; depth++) {
        bool wide = depth % 8 == 0;
        loop = kit_loop(&kit, loop, wide ? index_const(n, 2) : kit.S, 0, true, &i);
        if (wide)
            flat = index_add(n, index_mul(n, flat, index_const(n, 2)), i);
    }
    store(&kit, loop, out, flat, flat, EXPR_NONE);
    kit_check(&kit, "deep", &(struct kit_check){.s = &s, .s_count = 1});
    kit_release(&kit);
}

/* Shifted loads that a guard keeps inside the buffer, and stores that skip elements; scalar and in
 * vectors. */
static void guards_keep_memory_untouched(void **state)
{
    (void)state;
    for (uint32_t d = 0; d < MEMORY_DTYPES; d++) {
        for (uint32_t lanes = 0; lanes <= 16; lanes += 8) {
            struct kit kit;
            expr_id i;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            uint32_t out = kit_buffer(&kit, memory_dtypes[d], true, 1, 0, NULL);
            uint32_t x = kit_buffer(&kit, memory_dtypes[d], false, 1, 0,
                                    random_data(&kit, memory_dtypes[d], d));
            struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
            expr_id ahead = plus(&kit, i, 3), guard = expr_binary(n, EXPR_LT, ahead, kit.S);
            expr_id third = index_mod(n, i, index_const(n, 3));
            expr_id keep = expr_binary(n, EXPR_NE, third, index_const(n, 1));
            store(&kit, loop, out, i, expr_load(n, x, ahead, guard), keep);
            check_lengths(&kit, "guards", 0);
            kit_release(&kit);
        }
    }
}

/* Prefetches outside of the buffer, in an inaccessible page; scalar, in vectors, gathered. */
static void a_prefetch_touches_nothing(void **state)
{
    (void)state;
    for (uint32_t lanes = 0; lanes <= 32; lanes += 16) {
        struct kit kit;
        expr_id i;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t out = kit_buffer(&kit, DTYPE_F32, true, 1, 0, NULL);
        uint32_t x = kit_buffer(&kit, DTYPE_F32, false, 1, 0, random_data(&kit, DTYPE_F32, lanes));
        struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
        expr_id far[] = {plus(&kit, i, 3), plus(&kit, i, 1 << 20), kit.S,
                         index_mul(n, i, index_const(n, 1024))};
        for (int k = 0; k < 4; k++)
            block_add(n, &loop->body, stmt_prefetch(n, x, far[k]));
        store(&kit, loop, out, i, expr_load(n, x, i, EXPR_NONE), EXPR_NONE);
        check_lengths(&kit, "prefetch", 0);
        kit_release(&kit);
    }
}

/* Stores that are consecutive from statement to statement but not from lane to lane: stored lane by
 * lane or transposed, with constant and symbolic strides, whole vectors and remainders. */
static void stores_across_lanes(void **state)
{
    (void)state;
    const uint32_t counts[] = {2, 4, 7, 14, 16, 21};
    for (uint32_t k = 0; k < 36; k++) {
        uint32_t count = counts[k % 6], lanes = (uint32_t[]){4, 16, 32}[k / 12];
        enum dtype dtype = memory_dtypes[k % MEMORY_DTYPES];
        bool symbolic = k / 6 % 2;
        struct kit kit;
        char what[64];
        expr_id i;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        int64_t pitch = count + k % 3;
        expr_id far = symbolic ? index_mul(n, kit.S, index_const(n, pitch)) : index_const(n, pitch);
        uint32_t out = symbolic ? kit_buffer(&kit, dtype, true, 15 * pitch, 22, NULL)
                                : kit_buffer(&kit, dtype, true, pitch, 0, NULL),
                 x = kit_buffer(&kit, dtype, false, 0, MOST, random_data(&kit, dtype, k));
        expr_id extent = symbolic ? index_const(n, 15) : kit.S;
        struct stmt *loop = kit_loop(&kit, NULL, extent, lanes, true, &i);
        for (uint32_t r = 0; r < count; r++)
            store(&kit, loop, out, plus(&kit, index_mul(n, i, far), r),
                  expr_load(n, x, plus(&kit, i, 40 * r), EXPR_NONE), EXPR_NONE);
        snprintf(what, sizeof what, "%u stores, %u lanes, %s", count, lanes, dtype_name(dtype));
        kit_check(&kit, what,
                  &(struct kit_check){.s = (int64_t[]){1, 2, 3, 16, 17, 33, 40},
                                      .s_count = symbolic ? 5 : 7});
        kit_release(&kit);
    }
}

static void index_arithmetic_in_vectors(void **state)
{
    (void)state;
    static int64_t order[MOST];
    for (int64_t i = 0; i < MOST; i++)
        order[i] = i ^ 1;
    for (uint32_t lanes = 0; lanes <= 16; lanes += 8) {
        struct kit kit;
        expr_id i;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t q = kit_buffer(&kit, DTYPE_I64, true, 2, 2, NULL),
                 r = kit_buffer(&kit, DTYPE_I64, true, 2, 2, NULL);
        uint32_t moved = kit_buffer(&kit, DTYPE_I64, true, 2, 2, NULL);
        uint32_t p = kit_buffer(&kit, DTYPE_I64, false, 2, 2, order);
        expr_id extent = plus(&kit, index_mul(n, kit.S, index_const(n, 2)), 2);
        struct stmt *loop = kit_loop(&kit, NULL, extent, lanes, true, &i);
        expr_id at = expr_load(n, p, i, EXPR_NONE);
        expr_id many = index_mul(n, at, index_const(n, 123456789012)), wide = plus(&kit, kit.S, 3);
        store(&kit, loop, q, i,
              index_add(n, index_div(n, plus(&kit, i, 5), index_const(n, 7)),
                        index_div(n, many, wide)),
              EXPR_NONE);
        store(&kit, loop, r, i,
              index_add(n, index_mod(n, i, wide), index_mod(n, many, index_const(n, 1000003))),
              EXPR_NONE);
        store(&kit, loop, moved, at, index_min(n, index_max(n, i, kit.S), plus(&kit, at, 20)),
              EXPR_NONE);
        check_lengths(&kit, "indices", 0);
        kit_release(&kit);
    }
}

static void reductions_over_lanes(void **state)
{
    (void)state;
    for (uint32_t d = 0; d + 1 < MEMORY_DTYPES; d++) {
        enum dtype memory = memory_dtypes[d],
                   dtype = memory == DTYPE_F16 || memory == DTYPE_BF16 ? DTYPE_F32 : memory;
        for (uint32_t combine = COMBINE_SUM; combine <= COMBINE_MIN; combine++) {
            for (uint32_t lanes = 4; lanes <= 16; lanes *= 4) {
                struct kit kit;
                char what[64];
                expr_id r, k;
                kit_init(&kit);
                struct nest *n = &kit.nest;
                void *data = random_data(&kit, memory, d + 5);
                if (dtype_is_float(dtype) && combine >= COMBINE_MAX)
                    nest_eval_store(memory, data, 100, (union nest_value){.f = NAN});
                uint32_t out = kit_buffer(&kit, memory, true, 0, 3, NULL),
                         x = kit_buffer(&kit, memory, false, 3, 0, data);
                struct stmt *rows = kit_loop(&kit, NULL, index_const(n, 3), 0, true, &r);
                uint32_t acc = nest_local(n, "acc", dtype);
                block_add(n, &rows->body,
                          stmt_local(n, acc, combine_identity(n, (enum combine)combine, dtype)));
                struct stmt *loop = kit_loop(&kit, rows, kit.S, lanes, false, &k);
                expr_id v = expr_load(n, x, index_add(n, index_mul(n, r, kit.S), k), EXPR_NONE);
                block_add(n, &loop->body, stmt_update(n, acc, (enum combine)combine, v));
                store(&kit, rows, out, r, expr_local(n, acc), EXPR_NONE);
                snprintf(what, sizeof what, "combine %u of %s, %u lanes", combine,
                         dtype_name(memory), lanes);
                double near = dtype == DTYPE_F64 ? 1e-14 : memory == DTYPE_F32 ? 1e-5 : 1e-2;
                check_lengths(&kit, what, combine <= COMBINE_PROD ? near : 0);
                kit_release(&kit);
            }
        }
    }
}

/* Sums in a loop `apart`, and products and minima, which are not changed by it: all give the same
 * numbers, with rows in lanes, with parts in lanes, and one by one. Whole numbers add up
 * exactly. */
static void sums_in_parts(void **state)
{
    (void)state;
    float data[MOST];
    for (int64_t i = 0; i < MOST; i++)
        data[i] = (float)(rng_u32(4, (uint64_t)i) % 201) - 100;
    for (uint32_t way = 0; way < 3; way++) {
        struct kit kit;
        expr_id r, ko, ki;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t out = kit_buffer(&kit, DTYPE_F32, true, 0, 10, NULL),
                 least = kit_buffer(&kit, DTYPE_F32, true, 0, 10, NULL);
        uint32_t x = kit_buffer(&kit, DTYPE_F32, false, 10, 0, data);
        expr_id seven = index_const(n, 7), rows_count = index_const(n, 10);
        struct stmt *rows = kit_loop(&kit, NULL, rows_count, way == 1 ? 4 : 0, true, &r);
        uint32_t acc = nest_local(n, "acc", DTYPE_F32), low = nest_local(n, "low", DTYPE_F32);
        block_add(n, &rows->body, stmt_local(n, acc, expr_const(n, DTYPE_F32, 5)));
        block_add(n, &rows->body, stmt_local(n, low, expr_const(n, DTYPE_F32, 0)));
        expr_id parts = index_div(n, plus(&kit, kit.S, 6), seven);
        struct stmt *outer = kit_loop(&kit, rows, parts, 0, false, &ko);
        expr_id start = index_mul(n, ko, seven);
        expr_id left = index_min(n, seven, index_sub(n, kit.S, start));
        struct stmt *part = kit_loop(&kit, outer, left, way == 2 ? 4 : 0, false, &ki);
        if (way < 2)
            part->loop_kind = LOOP_APART;
        else
            outer->loop_kind = LOOP_APART;
        expr_id at = index_add(n, index_mul(n, r, kit.S), index_add(n, start, ki));
        expr_id v = expr_load(n, x, at, EXPR_NONE);
        block_add(n, &part->body, stmt_update(n, acc, COMBINE_SUM, v));
        block_add(n, &part->body, stmt_update(n, low, COMBINE_MIN, v));
        store(&kit, rows, out, r, expr_local(n, acc), EXPR_NONE);
        store(&kit, rows, least, r, expr_local(n, low), EXPR_NONE);
        check_lengths(&kit, "parts", 0);
        kit_release(&kit);
    }
}

/* A cumulative sum along each row, stored at every step; rows in lanes or one by one. */
static void locals_live_through_loops(void **state)
{
    (void)state;
    for (uint32_t lanes = 0; lanes <= 8; lanes += 4) {
        struct kit kit;
        expr_id r, k;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t out = kit_buffer(&kit, DTYPE_F32, true, 5, 0, NULL),
                 last = kit_buffer(&kit, DTYPE_F32, true, 1, 0, NULL);
        uint32_t x = kit_buffer(&kit, DTYPE_F32, false, 5, 0, random_data(&kit, DTYPE_F32, 3));
        struct stmt *rows = kit_loop(&kit, NULL, kit.S, lanes, true, &r);
        uint32_t run = nest_local(n, "run", DTYPE_F32), top = nest_local(n, "top", DTYPE_F32);
        block_add(n, &rows->body, stmt_local(n, run, expr_const(n, DTYPE_F32, 1)));
        block_add(n, &rows->body, stmt_local(n, top, expr_const(n, DTYPE_F32, -INFINITY)));
        struct stmt *scan = kit_loop(&kit, rows, index_const(n, 5), 0, false, &k);
        expr_id at = index_add(n, index_mul(n, r, index_const(n, 5)), k),
                v = expr_load(n, x, at, EXPR_NONE);
        block_add(n, &scan->body, stmt_update(n, run, COMBINE_SUM, v));
        store(&kit, scan, out, at, expr_local(n, run), EXPR_NONE);
        block_add(n, &scan->body, stmt_update(n, top, COMBINE_MAX, expr_local(n, run)));
        store(&kit, rows, last, r, expr_binary(n, EXPR_SUB, expr_local(n, run), expr_local(n, top)),
              EXPR_NONE);
        check_lengths(&kit, "scan", 0);
        kit_release(&kit);
    }
}

static void branches(void **state)
{
    (void)state;
    for (uint32_t lanes = 0; lanes <= 8; lanes += 8) {
        struct kit kit;
        expr_id r, i;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t out = kit_buffer(&kit, DTYPE_I32, true, 4, 0, NULL),
                 sums = kit_buffer(&kit, DTYPE_I32, true, 0, 4, NULL);
        uint32_t x = kit_buffer(&kit, DTYPE_I32, false, 4, 0, random_data(&kit, DTYPE_I32, 4));
        struct stmt *rows = kit_loop(&kit, NULL, index_const(n, 4), 0, true, &r);
        uint32_t sum = nest_local(n, "sum", DTYPE_I32);
        block_add(n, &rows->body, stmt_local(n, sum, expr_int(n, DTYPE_I32, 0)));
        struct stmt *choice =
            stmt_if(n, expr_binary(n, EXPR_LT, index_mul(n, r, index_const(n, 5)), kit.S));
        block_add(n, &rows->body, choice);
        struct stmt *yes = kit_loop(&kit, choice, kit.S, lanes, true, &i);
        expr_id at = index_add(n, index_mul(n, r, kit.S), i), v = expr_load(n, x, at, EXPR_NONE);
        store(&kit, yes, out, at, expr_unary(n, EXPR_NEG, v), EXPR_NONE);
        block_add(n, &choice->body,
                  stmt_update(n, sum, COMBINE_SUM, expr_cast(n, kit.S, DTYPE_I32)));
        struct stmt other = {0};
        struct stmt *no = kit_loop(&kit, &other, kit.S, 0, true, &i);
        choice->orelse = other.body;
        at = index_add(n, index_mul(n, r, kit.S), i);
        store(&kit, no, out, at, expr_load(n, x, at, EXPR_NONE), EXPR_NONE);
        block_add(n, &choice->orelse, stmt_update(n, sum, COMBINE_SUM, expr_int(n, DTYPE_I32, -7)));
        store(&kit, rows, sums, r, expr_local(n, sum), EXPR_NONE);
        check_lengths(&kit, "branches", 0);
        kit_release(&kit);
    }
}

static void parallel_ranges_cover_the_whole(void **state)
{
    (void)state;
    for (int64_t pieces = 1; pieces <= 7; pieces += 3) {
        struct kit kit;
        expr_id p, i;
        int64_t s = 23;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        uint32_t out = kit_buffer(&kit, DTYPE_F32, true, 9, 0, NULL);
        uint32_t x = kit_buffer(&kit, DTYPE_F32, false, 9, 0, random_data(&kit, DTYPE_F32, 8));
        struct stmt *outer = kit_loop(&kit, NULL, kit.S, 0, true, &p);
        outer->loop_kind = LOOP_PARALLEL;
        struct stmt *inner = kit_loop(&kit, outer, index_const(n, 9), 4, true, &i);
        expr_id at = index_add(n, index_mul(n, p, index_const(n, 9)), i),
                v = expr_load(n, x, at, EXPR_NONE);
        store(&kit, inner, out, at, expr_binary(n, EXPR_MUL, v, v), EXPR_NONE);
        kit_check(&kit, "parallel",
                  &(struct kit_check){.s = &s, .s_count = 1, .extent = s, .pieces = pieces});
        kit_release(&kit);
    }
}

static void scratch_and_tables(void **state)
{
    (void)state;
    static const float table[5] = {1, -2, 3.5f, 0, 1e6f};
    static const int8_t bytes[3] = {-1, 0, 127};
    struct kit kit;
    expr_id i;
    kit_init(&kit);
    struct nest *n = &kit.nest;
    uint32_t out = kit_buffer(&kit, DTYPE_F32, true, 1, 0, NULL),
             small = kit_buffer(&kit, DTYPE_I8, true, 1, 0, NULL);
    uint32_t x = kit_buffer(&kit, DTYPE_F32, false, 1, 0, random_data(&kit, DTYPE_F32, 2));
    uint32_t odd = nest_buffer(n, &(struct nest_buffer){.name = "odd",
                                                        .dtype = DTYPE_I8,
                                                        .role = ROLE_SCRATCH,
                                                        .elements = index_const(n, 3)});
    uint32_t whole = nest_buffer(
        n, &(struct nest_buffer){
               .name = "whole", .dtype = DTYPE_F32, .role = ROLE_SCRATCH, .elements = kit.S});
    uint32_t t = nest_buffer(n, &(struct nest_buffer){.name = "t",
                                                      .dtype = DTYPE_F32,
                                                      .role = ROLE_TABLE,
                                                      .elements = index_const(n, 5),
                                                      .table = table,
                                                      .table_bytes = sizeof table});
    uint32_t u = nest_buffer(n, &(struct nest_buffer){.name = "u",
                                                      .dtype = DTYPE_I8,
                                                      .role = ROLE_TABLE,
                                                      .elements = index_const(n, 3),
                                                      .table = bytes,
                                                      .table_bytes = sizeof bytes});
    struct stmt *first = kit_loop(&kit, NULL, index_const(n, 3), 0, true, &i);
    store(&kit, first, odd, i, expr_load(n, u, i, EXPR_NONE), EXPR_NONE);
    struct stmt *second = kit_loop(&kit, NULL, kit.S, 8, true, &i);
    expr_id five = expr_load(n, t, index_mod(n, i, index_const(n, 5)), EXPR_NONE);
    store(&kit, second, whole, i, expr_binary(n, EXPR_ADD, expr_load(n, x, i, EXPR_NONE), five),
          EXPR_NONE);
    struct stmt *third = kit_loop(&kit, NULL, kit.S, 8, true, &i);
    store(&kit, third, out, i,
          expr_load(n, whole, index_sub(n, plus(&kit, kit.S, -1), i), EXPR_NONE), EXPR_NONE);
    store(&kit, third, small, i, expr_load(n, odd, index_mod(n, i, index_const(n, 3)), EXPR_NONE),
          EXPR_NONE);
    int64_t s[] = {0, 1, 7, 8, 9, 100};
    kit_check(&kit, "scratch",
              &(struct kit_check){.s = s, .s_count = 6, .scratch_bytes = 64 + 448});
    kit_release(&kit);
}

/* A nest whose code depends on number: out = f16(x × (number + 0.1)), in vectors of 8 << number. */
static struct nest *scaling(struct kit *kit, uint32_t number)
{
    expr_id i;
    kit_init(kit);
    uint32_t out = kit_buffer(kit, DTYPE_F16, true, 1, 0, NULL),
             x = kit_buffer(kit, DTYPE_F32, false, 1, 0, NULL);
    struct stmt *loop = kit_loop(kit, NULL, kit->S, 8u << number, true, &i);
    expr_id v = expr_load(&kit->nest, x, i, EXPR_NONE);
    v = expr_binary(&kit->nest, EXPR_MUL, v, expr_const(&kit->nest, DTYPE_F32, 0.1 + number));
    store(kit, loop, out, i, v, EXPR_NONE);
    return &kit->nest;
}

/* The same nests give the same bytes, whichever kernels are beside them, on any number of threads.
 */
static void emission_is_deterministic(void **state)
{
    (void)state;
    for (uint32_t t = 0; target_at(t); t++) {
        struct kit kits[9];
        struct nest *nests[9];
        struct code_image images[2], alone;
        static const struct code_options rounds[2] = {{.threads = 1}, {.threads = 4}};
        struct error err = {0};
        for (uint32_t k = 0; k < 9; k++)
            nests[k] = scaling(&kits[k], k % 3);
        for (uint32_t round = 0; round < 2; round++)
            assert_true(
                codegen(&(struct code_request){nests + 3 * round, 3, target_at(t), &rounds[round]},
                        &kits[0].arena, &images[round], &err));
        assert_int_equal(images[0].size_bytes, images[1].size_bytes);
        assert_memory_equal(images[0].bytes, images[1].bytes, images[0].size_bytes);
        assert_memory_equal(images[0].kernel_offsets, images[1].kernel_offsets,
                            3 * sizeof(uint32_t));
        for (uint32_t k = 0; k < 3; k++) {
            uint32_t at = images[0].kernel_offsets[k];
            assert_int_equal(at % 64, 0);
            assert_true(codegen(&(struct code_request){nests + 6 + k, 1, target_at(t), NULL},
                                &kits[0].arena, &alone, &err));
            assert_int_equal(alone.kernel_offsets[0], 0);
            assert_true(at + alone.size_bytes <= images[0].size_bytes);
            assert_memory_equal(alone.bytes, images[0].bytes + at, alone.size_bytes);
        }
        for (uint32_t k = 0; k < 9; k++)
            kit_release(&kits[k]);
    }
}

/* Where LLVM is not told how wide registers are, eight lanes are two vectors of four. */
static void registers_as_wide_as_the_row_says(void **state)
{
    (void)state;
    static const struct {
        const char *target, *has, *has_not;
    } cases[] = {{"aarch64-sve2-256", "fmul\tz", ".4s"},
                 {"aarch64-v8", ".4s", "\tz"},
                 {"riscv64-v-256", "vsetivli\tzero, 8, e32, m1,", "e32, m2"},
                 {"riscv64-v-128", "vsetivli\tzero, 8, e32, m2,", "e32, m1,"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kit kit;
        struct nest *nest = scaling(&kit, 0);
        struct strbuf text;
        struct code_image image;
        struct error err = {0};
        strbuf_init(&text, &kit.arena);
        const struct code_options options = {.assembly = &text};
        assert_true(
            codegen(&(struct code_request){&nest, 1, target_find(cases[i].target), &options},
                    &kit.arena, &image, &err));
        assert_non_null(strstr(text.data, cases[i].has));
        assert_null(strstr(text.data, cases[i].has_not));
        kit_release(&kit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_with_every_tail),
        cmocka_unit_test(streamed_vectors),
        cmocka_unit_test(vectors_of_constant_extent),
        cmocka_unit_test(deep_nests),
        cmocka_unit_test(guards_keep_memory_untouched),
        cmocka_unit_test(a_prefetch_touches_nothing),
        cmocka_unit_test(stores_across_lanes),
        cmocka_unit_test(index_arithmetic_in_vectors),
        cmocka_unit_test(reductions_over_lanes),
        cmocka_unit_test(sums_in_parts),
        cmocka_unit_test(locals_live_through_loops),
        cmocka_unit_test(branches),
        cmocka_unit_test(parallel_ranges_cover_the_whole),
        cmocka_unit_test(scratch_and_tables),
        cmocka_unit_test(emission_is_deterministic),
        cmocka_unit_test(registers_as_wide_as_the_row_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
