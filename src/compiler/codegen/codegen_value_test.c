/* Operations and conversions as machine code, scalar and in vectors, on difficult values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/codegen/codegen.h"
#include "compiler/codegen/codegen_kit_priv.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/target/target.h"
#include <cmocka.h>

static const char *const op_names[] = {
#define EXPR(id, text, n) [EXPR_##id] = text,
#include "compiler/loop/exprs.def"
#undef EXPR
};

static const enum dtype register_dtypes[] = {DTYPE_F64, DTYPE_F32, DTYPE_I64, DTYPE_I32,
                                             DTYPE_I16, DTYPE_I8,  DTYPE_U8,  DTYPE_U16,
                                             DTYPE_U32, DTYPE_U64, DTYPE_BOOL};
#define REGISTER_DTYPES (sizeof register_dtypes / sizeof *register_dtypes)

static const double float_values[] = {
    0.0,
    -0.0,
    1,
    -1,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0x1p-149,
    -0x1p-149,
    0x1p-126,
    3.25,
    -7.75,
    126.5,
    127.5,
    128,
    -128.5,
    -129,
    254.9,
    255.5,
    256,
    32767.5,
    32768,
    -32769,
    65504,
    65519.99,
    65520,
    65536,
    -65520,
    5.9e-8,
    2.9802322387695312e-8,
    2.99e-8,
    6.1e-5,
    2147483520,
    2147483648.0,
    -2147483648.0,
    -2147483904.0,
    9.2233720368547748e18,
    -9.3e18,
    1e10,
    -1e10,
    3.3e38,
    3.4e38,
    1e300,
    -1e300,
    0x3p-1074,
    1 + 0x1p-11 + 0x1p-40,
    1 + 0x1p-11,
    1 + 0x1p-8 + 0x1p-40,
    1 + 0x1p-8,
    -(1 + 0x1p-11 + 0x1p-40),
    1 + 3 * 0x1p-11 - 0x1p-40,
    0x1.ffep15,
    0x1p-25 + 0x1p-60,
    INFINITY,
    -INFINITY,
    NAN,
};
#define FLOAT_VALUES ((int64_t)(sizeof float_values / sizeof *float_values))

static const int64_t int_values[] = {
    0,
    1,
    -1,
    2,
    -2,
    7,
    -7,
    127,
    128,
    -128,
    -129,
    255,
    256,
    32767,
    32768,
    -32768,
    65519,
    65520,
    (1 << 24) + 1,
    (1 << 30) + (1 << 22),
    (1 << 30) + (1 << 22) + 1,
    -((1 << 30) + (1 << 22) + 1),
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    INT64_MIN + 1,
    ((int64_t)1 << 53) + 1,
    ((int64_t)1 << 62) + ((int64_t)1 << 54) + 1,
    ((int64_t)1 << 62) + ((int64_t)1 << 54),
};
#define INT_VALUES ((int64_t)(sizeof int_values / sizeof *int_values))

static int64_t value_count(enum dtype dtype)
{
    return dtype_is_float(dtype) ? FLOAT_VALUES : INT_VALUES;
}

static union nest_value value_at(enum dtype dtype, int64_t index)
{
    if (dtype_is_float(dtype))
        return (union nest_value){.f = float_values[index]};
    return (union nest_value){.i = dtype_wrap(dtype, int_values[index])};
}

/* Every pair of values of the dtype: first operands in a, second in b. */
static int64_t all_pairs(struct kit *kit, enum dtype dtype, void **a, void **b)
{
    int64_t n = value_count(dtype);
    *a = arena_array(&kit->arena, (size_t)(n * n), 8);
    *b = arena_array(&kit->arena, (size_t)(n * n), 8);
    for (int64_t i = 0; i < n * n; i++) {
        nest_eval_store(dtype, *a, i, value_at(dtype, i / n));
        nest_eval_store(dtype, *b, i, value_at(dtype, i % n));
    }
    return n * n;
}

static void check_values(struct kit *kit, const char *what, int64_t count)
{
    kit_check(kit, what, &(struct kit_check){.s = &count, .s_count = 1});
}

/* All operations of a list on one dtype, one result buffer for each, in one nest. */
static void check_operations(enum dtype dtype, const enum expr_op *ops, uint32_t op_count,
                             bool binary, uint32_t lanes)
{
    struct kit kit;
    char what[160];
    void *a, *b;
    expr_id i, out[KIT_BUFFERS];
    for (uint32_t first = 0; first < op_count; first += 4) {
        uint32_t last = first + 4 < op_count ? first + 4 : op_count;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        int64_t count = all_pairs(&kit, dtype, &a, &b);
        bool compares = ops[first] == EXPR_EQ;
        for (uint32_t o = first; o < last; o++)
            out[o - first] = kit_buffer(&kit, compares ? DTYPE_BOOL : dtype, true, 1, 0, NULL);
        uint32_t x = kit_buffer(&kit, dtype, false, 1, 0, a),
                 y = kit_buffer(&kit, dtype, false, 1, 0, b);
        struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
        expr_id vx = expr_load(n, x, i, EXPR_NONE), vy = expr_load(n, y, i, EXPR_NONE);
        for (uint32_t o = first; o < last; o++) {
            expr_id v = binary ? expr_binary(n, ops[o], vx, vy) : expr_unary(n, ops[o], vx);
            block_add(n, &loop->body, stmt_store(n, out[o - first], i, v, EXPR_NONE));
        }
        snprintf(what, sizeof what, "%s … of %s, %u lanes", op_names[ops[first]], dtype_name(dtype),
                 lanes);
        check_values(&kit, what, count);
        kit_release(&kit);
    }
}

static void operations(void **state)
{
    (void)state;
    static const enum expr_op float_unary[] = {EXPR_NEG,   EXPR_ABS,   EXPR_FLOOR, EXPR_CEIL,
                                               EXPR_ROUND, EXPR_TRUNC, EXPR_SQRT};
    static const enum expr_op arithmetic[] = {EXPR_ADD, EXPR_SUB, EXPR_MUL,
                                              EXPR_DIV, EXPR_MIN, EXPR_MAX};
    static const enum expr_op remainder[] = {EXPR_FMOD};
    static const enum expr_op bits[] = {EXPR_AND, EXPR_OR, EXPR_XOR};
    static const enum expr_op compares[] = {EXPR_EQ, EXPR_NE, EXPR_LT, EXPR_LE};
    static const enum expr_op int_unary[] = {EXPR_NEG, EXPR_ABS, EXPR_NOT};
    for (uint32_t d = 0; d < REGISTER_DTYPES; d++) {
        enum dtype dtype = register_dtypes[d];
        for (uint32_t lanes = 0; lanes <= 16; lanes += 16) {
            check_operations(dtype, compares, 4, true, lanes);
            if (dtype_is_float(dtype))
                check_operations(dtype, float_unary, 7, false, lanes);
            if (dtype == DTYPE_F64)
                check_operations(dtype, remainder, 1, true, lanes);
            if (dtype != DTYPE_BOOL)
                check_operations(dtype, arithmetic, 6, true, lanes);
            if (!dtype_is_float(dtype))
                check_operations(dtype, bits, 3, true, lanes);
            if (dtype_is_int(dtype))
                check_operations(dtype, int_unary, 3, false, lanes);
        }
    }
}

/* Shifts by every amount of the width. */
static void shifts(void **state)
{
    (void)state;
    for (uint32_t d = 2; d + 1 < REGISTER_DTYPES; d++) {
        enum dtype dtype = register_dtypes[d];
        int64_t width = 8 * (int64_t)dtype_bytes(dtype);
        for (uint32_t lanes = 0; lanes <= 8; lanes += 8) {
            struct kit kit;
            expr_id i;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            void *a = arena_array(&kit.arena, (size_t)(INT_VALUES * width), 8),
                 *b = arena_array(&kit.arena, (size_t)(INT_VALUES * width), 8);
            for (int64_t e = 0; e < INT_VALUES * width; e++) {
                nest_eval_store(dtype, a, e, value_at(dtype, e / width));
                nest_eval_store(dtype, b, e, (union nest_value){.i = e % width});
            }
            uint32_t out[3];
            for (int o = 0; o < 3; o++)
                out[o] = kit_buffer(&kit, dtype, true, 1, 0, NULL);
            uint32_t x = kit_buffer(&kit, dtype, false, 1, 0, a),
                     y = kit_buffer(&kit, dtype, false, 1, 0, b);
            struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
            for (int o = 0; o < 3; o++) {
                expr_id v =
                    expr_binary(n, (enum expr_op)(EXPR_SHL + o), expr_load(n, x, i, EXPR_NONE),
                                expr_load(n, y, i, EXPR_NONE));
                block_add(n, &loop->body, stmt_store(n, out[o], i, v, EXPR_NONE));
            }
            check_values(&kit, dtype_name(dtype), INT_VALUES * width);
            kit_release(&kit);
        }
    }
}

static void casts_between_all_dtypes(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < REGISTER_DTYPES; from++) {
        for (uint32_t to = DTYPE_F64; to < DTYPE_COUNT; to++) {
            for (uint32_t lanes = 0; lanes <= 16; lanes += 16) {
                struct kit kit;
                char what[80];
                void *a, *b;
                expr_id i;
                kit_init(&kit);
                struct nest *n = &kit.nest;
                int64_t count = all_pairs(&kit, register_dtypes[from], &a, &b) /
                                value_count(register_dtypes[from]);
                uint32_t out = kit_buffer(&kit, (enum dtype)to, true, 1, 0, NULL);
                uint32_t x = kit_buffer(&kit, register_dtypes[from], false, 1, 0, b);
                struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
                expr_id v = expr_cast(n, expr_load(n, x, i, EXPR_NONE), (enum dtype)to);
                block_add(n, &loop->body, stmt_store(n, out, i, v, EXPR_NONE));
                snprintf(what, sizeof what, "cast %s to %s, %u lanes",
                         dtype_name(register_dtypes[from]), dtype_name((enum dtype)to), lanes);
                check_values(&kit, what, count);
                kit_release(&kit);
            }
        }
    }
}

/* LLVM has ways of casting vectors one element after the other, which take ten times the code. */
static void casts_to_integers_are_vectors(void **state)
{
    (void)state;
    static const enum dtype to[] = {DTYPE_I8, DTYPE_U8, DTYPE_I16, DTYPE_U16, DTYPE_I32};
    for (uint32_t t = 0; target_at(t); t++) {
        for (size_t k = 0; k < sizeof to / sizeof *to; k++) {
            struct kit kit;
            struct code_image image;
            struct error err = {0};
            expr_id i;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            uint32_t out = kit_buffer(&kit, to[k], true, 1, 0, NULL);
            uint32_t x = kit_buffer(&kit, DTYPE_F32, false, 1, 0, NULL);
            struct stmt *loop = kit_loop(&kit, NULL, index_const(n, 1600), 16, true, &i);
            expr_id v = expr_cast(n, expr_load(n, x, i, EXPR_NONE), to[k]);
            block_add(n, &loop->body, stmt_store(n, out, i, v, EXPR_NONE));
            assert_true(codegen(&(struct code_request){&n, 1, target_at(t), NULL}, &kit.arena,
                                &image, &err));
            if (image.size_bytes > 320)
                print_error("%s to %s: %zu bytes\n", target_at(t)->name, dtype_name(to[k]),
                            image.size_bytes);
            assert_in_range(image.size_bytes, 32, 320);
            kit_release(&kit);
        }
    }
}

static void bits_and_quick_conversions(void **state)
{
    (void)state;
    static const float f32[] = {0,     -0.0f, 1,         -1.75f,    1e9f,
                                -1e9f, 3.99f, 123456.7f, 0x1p-149f, -0x1p30f};
    static const double f64[] = {0,     -0.0, 1,        -1.75,     1e18,
                                 -1e18, 3.99, 123456.7, 0x1p-1074, -0x1p62};
    int64_t count = 10;
    for (uint32_t lanes = 0; lanes <= 8; lanes += 4) {
        for (int wide = 0; wide < 2; wide++) {
            struct kit kit;
            expr_id i;
            enum dtype real = wide ? DTYPE_F64 : DTYPE_F32, integer = wide ? DTYPE_I64 : DTYPE_I32;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            uint32_t a = kit_buffer(&kit, integer, true, 1, 0, NULL),
                     b = kit_buffer(&kit, integer, true, 1, 0, NULL);
            uint32_t c = kit_buffer(&kit, real, true, 1, 0, NULL);
            uint32_t x =
                kit_buffer(&kit, real, false, 1, 0, wide ? (const void *)f64 : (const void *)f32);
            struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
            expr_id v = expr_load(n, x, i, EXPR_NONE), bits = expr_bitcast(n, v, integer);
            expr_id cleared = expr_binary(n, EXPR_AND, bits, expr_int(n, integer, ~(int64_t)0xff));
            block_add(n, &loop->body, stmt_store(n, a, i, expr_convert(n, v, integer), EXPR_NONE));
            block_add(n, &loop->body, stmt_store(n, b, i, bits, EXPR_NONE));
            block_add(n, &loop->body,
                      stmt_store(n, c, i, expr_bitcast(n, cleared, real), EXPR_NONE));
            check_values(&kit, "bitcast", count);
            kit_release(&kit);
        }
    }
}

static void multiply_add_and_select(void **state)
{
    (void)state;
    for (uint32_t lanes = 0; lanes <= 16; lanes += 16) {
        for (int wide = 0; wide < 2; wide++) {
            struct kit kit;
            void *a, *b;
            expr_id i;
            enum dtype dtype = wide ? DTYPE_F64 : DTYPE_F32;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            int64_t count = all_pairs(&kit, dtype, &a, &b);
            uint32_t out = kit_buffer(&kit, dtype, true, 1, 0, NULL),
                     chosen = kit_buffer(&kit, dtype, true, 1, 0, NULL);
            uint32_t x = kit_buffer(&kit, dtype, false, 1, 0, a),
                     y = kit_buffer(&kit, dtype, false, 1, 0, b);
            struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
            expr_id vx = expr_load(n, x, i, EXPR_NONE), vy = expr_load(n, y, i, EXPR_NONE);
            expr_id third = expr_const(n, dtype, 1.0 / 3);
            block_add(n, &loop->body, stmt_store(n, out, i, expr_fma(n, vx, third, vy), EXPR_NONE));
            expr_id v = expr_select(n, expr_binary(n, EXPR_LT, vx, vy), vx, third);
            block_add(n, &loop->body, stmt_store(n, chosen, i, v, EXPR_NONE));
            check_values(&kit, "fma", count);
            kit_release(&kit);
        }
    }
}

/* APPLY in a select and alone, of a value that varies over lanes and of one that an outer loop
 * holds. */
static void functions_in_expressions(void **state)
{
    (void)state;
    for (uint32_t lanes = 0; lanes <= 16; lanes += 8) {
        struct kit kit;
        void *a, *b;
        expr_id i, j, five;
        kit_init(&kit);
        struct nest *n = &kit.nest;
        int64_t count = all_pairs(&kit, DTYPE_F64, &a, &b);
        uint32_t chosen = kit_buffer(&kit, DTYPE_F64, true, 1, 0, NULL),
                 alone = kit_buffer(&kit, DTYPE_F64, true, 1, 0, NULL),
                 outer = kit_buffer(&kit, DTYPE_F64, true, 5, 0, NULL);
        uint32_t x = kit_buffer(&kit, DTYPE_F64, false, 1, 0, a),
                 y = kit_buffer(&kit, DTYPE_F64, false, 1, 0, b);
        five = index_const(n, 5);
        expr_id param = expr_param(n, DTYPE_F64);
        expr_id f = expr_fma(n, param, param, expr_const(n, DTYPE_F64, 1.0 / 3));
        struct stmt *loop = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
        expr_id vx = expr_load(n, x, i, EXPR_NONE), vy = expr_load(n, y, i, EXPR_NONE);
        expr_id v = expr_select(n, expr_binary(n, EXPR_LT, vx, vy), expr_apply(n, vx, f), vy);
        block_add(n, &loop->body, stmt_store(n, chosen, i, v, EXPR_NONE));
        v = expr_apply(n, vy, f);
        block_add(n, &loop->body, stmt_store(n, alone, i, v, EXPR_NONE));
        struct stmt *rows = kit_loop(&kit, NULL, kit.S, 0, true, &i);
        expr_id row = expr_cast(n, i, DTYPE_F64), limit = expr_const(n, DTYPE_F64, 100);
        v = expr_select(n, expr_binary(n, EXPR_LT, limit, row), expr_apply(n, row, f), row);
        loop = kit_loop(&kit, rows, five, lanes, true, &j);
        i = index_add(n, index_mul(n, i, five), j);
        v = expr_binary(n, EXPR_ADD, v, expr_cast(n, j, DTYPE_F64));
        block_add(n, &loop->body, stmt_store(n, outer, i, v, EXPR_NONE));
        check_values(&kit, "functions", count);
        kit_release(&kit);
    }
}

/* Converts every pattern of a narrow float to f32; rounds every narrow value, the ties between
 * neighbours and their neighbours, into memory and in registers, and rounded values again into
 * memory. */
static void narrow_floats_exhaustively(void **state)
{
    (void)state;
    static uint16_t patterns[1 << 16];
    static float singles[4 << 16];
    for (int bf = 0; bf < 2; bf++) {
        enum dtype dtype = bf ? DTYPE_BF16 : DTYPE_F16;
        for (uint32_t p = 0; p < 1 << 16; p++) {
            patterns[p] = (uint16_t)p;
            double low = nest_eval_load(dtype, patterns, p).f;
            uint16_t next_bits = (uint16_t)(p + 1);
            double high = nest_eval_load(dtype, &next_bits, 0).f;
            float middle = isfinite(low) && isfinite(high) ? (float)((low + high) / 2) : (float)low;
            singles[4 * p] = (float)low;
            singles[4 * p + 1] = middle;
            singles[4 * p + 2] = nextafterf(middle, INFINITY);
            singles[4 * p + 3] = nextafterf(middle, -INFINITY);
        }
        for (uint32_t lanes = 0; lanes <= 16; lanes += 16) {
            struct kit kit;
            expr_id i;
            kit_init(&kit);
            struct nest *n = &kit.nest;
            uint32_t narrow = kit_buffer(&kit, dtype, true, 4, 0, NULL),
                     wide = kit_buffer(&kit, DTYPE_F32, true, 1, 0, NULL),
                     rounded = kit_buffer(&kit, DTYPE_F32, true, 4, 0, NULL),
                     again = kit_buffer(&kit, dtype, true, 4, 0, NULL);
            uint32_t x = kit_buffer(&kit, dtype, false, 1, 0, patterns),
                     y = kit_buffer(&kit, DTYPE_F32, false, 4, 0, singles);
            struct stmt *widen = kit_loop(&kit, NULL, kit.S, lanes, true, &i);
            block_add(n, &widen->body,
                      stmt_store(n, wide, i, expr_load(n, x, i, EXPR_NONE), EXPR_NONE));
            struct stmt *round =
                kit_loop(&kit, NULL, index_mul(n, kit.S, index_const(n, 4)), lanes, true, &i);
            expr_id v = expr_load(n, y, i, EXPR_NONE), r = expr_round(n, v, dtype);
            block_add(n, &round->body, stmt_store(n, narrow, i, v, EXPR_NONE));
            block_add(n, &round->body, stmt_store(n, rounded, i, r, EXPR_NONE));
            block_add(n, &round->body,
                      stmt_store(n, again, i, expr_unary(n, EXPR_NEG, r), EXPR_NONE));
            check_values(&kit, dtype_name(dtype), 1 << 16);
            kit_release(&kit);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations),
        cmocka_unit_test(shifts),
        cmocka_unit_test(casts_between_all_dtypes),
        cmocka_unit_test(casts_to_integers_are_vectors),
        cmocka_unit_test(bits_and_quick_conversions),
        cmocka_unit_test(multiply_add_and_select),
        cmocka_unit_test(functions_in_expressions),
        cmocka_unit_test(narrow_floats_exhaustively),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
