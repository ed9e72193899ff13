/* Every prim, compared with values computed by hand or by plain loops. */
#include "graph/interp_test_util.h"

#include <string.h>

static double unary(struct bed *bed, enum prim prim, enum dtype dtype, double x)
{
    struct interp_tensor t = scalar_of(bed, dtype, x);
    struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, prim, NULL, 1, &t);
    return dtype_is_float(y.dtype) ? y.cells[0].f : (double)y.cells[0].i;
}

static double binary(struct bed *bed, enum prim prim, enum dtype dtype, double a, double b)
{
    struct interp_tensor t[2] = {scalar_of(bed, dtype, a), scalar_of(bed, dtype, b)};
    struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, prim, NULL, 2, t);
    return dtype_is_float(y.dtype) ? y.cells[0].f : (double)y.cells[0].i;
}

static void test_float_unary(void **state)
{
    static const struct {
        enum prim prim;
        double x, expected;
    } rows[] = {
        {PRIM_NEG, 2, -2},
        {PRIM_ABS, -INFINITY, INFINITY},
        {PRIM_SIGN, -3, -1},
        {PRIM_SIGN, 0, 0},
        {PRIM_SIGN, NAN, NAN},
        {PRIM_FLOOR, -1.5, -2},
        {PRIM_CEIL, -1.5, -1},
        {PRIM_ROUND, 2.5, 2},
        {PRIM_ROUND, 3.5, 4},
        {PRIM_ROUND, -0.5, 0},
        {PRIM_TRUNC, -1.7, -1},
        {PRIM_SQRT, 9, 3},
        {PRIM_SQRT, -1, NAN},
        {PRIM_RSQRT, 4, 0.5},
        {PRIM_RSQRT, 0, INFINITY},
        {PRIM_EXP, 0, 1},
        {PRIM_EXP, -INFINITY, 0},
        {PRIM_EXP, 1000, INFINITY},
        {PRIM_EXP2, 10, 1024},
        {PRIM_EXPM1, 0, 0},
        {PRIM_EXPM1, 1e-20, 1e-20},
        {PRIM_LOG, 1, 0},
        {PRIM_LOG, 0, -INFINITY},
        {PRIM_LOG, -1, NAN},
        {PRIM_LOG2, 8, 3},
        {PRIM_LOG1P, 1e-20, 1e-20},
        {PRIM_LOG1P, -1, -INFINITY},
        {PRIM_SIN, 0, 0},
        {PRIM_COS, 0, 1},
        {PRIM_TAN, 0, 0},
        {PRIM_ATAN, INFINITY, M_PI_2},
        {PRIM_TANH, 100, 1},
        {PRIM_ERF, INFINITY, 1},
        {PRIM_ERFC, INFINITY, 0},
        {PRIM_ERFC, 0, 1},
        {PRIM_IS_NAN, NAN, 1},
        {PRIM_IS_NAN, INFINITY, 0},
        {PRIM_COPY, 1.25, 1.25},
        {PRIM_DETACH, -1.25, -1.25},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_same(unary(*state, rows[i].prim, DTYPE_F64, rows[i].x), rows[i].expected);
    assert_same(unary(*state, PRIM_EXP, DTYPE_F32, 1), (double)2.7182817f);
    assert_same(unary(*state, PRIM_EXP, DTYPE_F16, 1), 2.71875);
    assert_true(fabs(unary(*state, PRIM_ERF, DTYPE_F64, 0.5) - 0.5204998778130465) < 1e-15);
    assert_true(fabs(unary(*state, PRIM_TAN, DTYPE_F64, 1) - 1.5574077246549023) < 1e-15);
}

static void test_float_binary(void **state)
{
    static const struct {
        enum prim prim;
        double a, b, expected;
    } rows[] = {
        {PRIM_ADD, INFINITY, -INFINITY, NAN},
        {PRIM_SUB, 3, 5, -2},
        {PRIM_MUL, 0, INFINITY, NAN},
        {PRIM_DIV, 1, 0, INFINITY},
        {PRIM_DIV, -1, 0, -INFINITY},
        {PRIM_DIV, 0, 0, NAN},
        {PRIM_REM, 7, 3, 1},
        {PRIM_REM, -7, 3, 2},
        {PRIM_REM, 7, -3, -2},
        {PRIM_REM, -7, -3, -1},
        {PRIM_REM, 1, 0, NAN},
        {PRIM_REM, -1, INFINITY, INFINITY},
        {PRIM_REM, 0x1p1000, 7, 2}, /* 2^3 is 1 modulo 7 */
        {PRIM_REM, -0x1p1000, 7, 5},
        {PRIM_REM, 0x1p1000, -7, -5},
        {PRIM_REM, 0x1p1023, 0x3p-1074, 0x2p-1074},
        {PRIM_POW, 2, -1, 0.5},
        {PRIM_POW, -2, 3, -8},
        {PRIM_POW, -2, 0.5, NAN},
        {PRIM_POW, 0, 0, 1},
        {PRIM_MIN, 1, NAN, NAN},
        {PRIM_MIN, NAN, 1, NAN},
        {PRIM_MAX, NAN, 1, NAN},
        {PRIM_MAX, 1, NAN, NAN},
        {PRIM_MIN, 1, -2, -2},
        {PRIM_MAX, 1, -2, 1},
        {PRIM_EQ, NAN, NAN, 0},
        {PRIM_NE, NAN, NAN, 1},
        {PRIM_LT, 1, NAN, 0},
        {PRIM_LT, 1, 2, 1},
        {PRIM_LE, 2, 2, 1},
        {PRIM_EQ, 0.0, -0.0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_same(binary(*state, rows[i].prim, DTYPE_F64, rows[i].a, rows[i].b),
                    rows[i].expected);
    /* f16 rounds to even: 2049 lies between 2048 and 2050. */
    assert_same(binary(*state, PRIM_ADD, DTYPE_F16, 2048, 1), 2048);
    assert_same(binary(*state, PRIM_MUL, DTYPE_F16, 300, 300), INFINITY);
}

static void test_integers(void **state)
{
    static const struct {
        enum prim prim;
        enum dtype dtype;
        double a, b, expected;
    } rows[] = {
        {PRIM_ADD, DTYPE_I8, 127, 1, -128},
        {PRIM_ADD, DTYPE_U8, 255, 1, 0},
        {PRIM_SUB, DTYPE_U8, 0, 1, 255},
        {PRIM_MUL, DTYPE_I16, 300, 300, 24464},
        {PRIM_DIV, DTYPE_I32, -7, 2, -3},
        {PRIM_DIV, DTYPE_I32, 5, 0, 0},
        {PRIM_DIV, DTYPE_I32, -2147483648.0, -1, -2147483648.0},
        {PRIM_DIV, DTYPE_I64, -0x1p63, -1, -0x1p63},
        {PRIM_REM, DTYPE_I32, -7, 3, 2},
        {PRIM_REM, DTYPE_I32, 7, -3, -2},
        {PRIM_REM, DTYPE_I32, 7, 0, 0},
        {PRIM_REM, DTYPE_I64, -0x1p63, -1, 0},
        {PRIM_MIN, DTYPE_I8, -3, 2, -3},
        {PRIM_MAX, DTYPE_U8, 200, 2, 200},
        {PRIM_AND, DTYPE_I8, -1, 12, 12},
        {PRIM_OR, DTYPE_U8, 128, 1, 129},
        {PRIM_XOR, DTYPE_BOOL, 1, 1, 0},
        {PRIM_AND, DTYPE_BOOL, 1, 0, 0},
        {PRIM_SHL, DTYPE_I8, 1, 7, -128},
        {PRIM_SHL, DTYPE_I8, 1, 8, 0},
        {PRIM_SHL, DTYPE_I8, 1, -1, 0},
        {PRIM_SHR, DTYPE_I8, -128, 3, -16},
        {PRIM_SHR, DTYPE_I8, -128, 9, -1},
        {PRIM_SHR, DTYPE_U8, 128, 3, 16},
        {PRIM_SHR, DTYPE_U8, 128, 8, 0},
        {PRIM_SHR, DTYPE_I64, -5, 64, -1},
        {PRIM_LT, DTYPE_I32, -1, 0, 1},
        {PRIM_EQ, DTYPE_BOOL, 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_same(binary(*state, rows[i].prim, rows[i].dtype, rows[i].a, rows[i].b),
                    rows[i].expected);
    assert_same(unary(*state, PRIM_NEG, DTYPE_U8, 1), 255);
    assert_same(unary(*state, PRIM_ABS, DTYPE_I8, -128), -128);
    assert_same(unary(*state, PRIM_SIGN, DTYPE_I8, -9), -1);
    assert_same(unary(*state, PRIM_NOT, DTYPE_U8, 1), 254);
    assert_same(unary(*state, PRIM_NOT, DTYPE_BOOL, 1), 0);
    /* Above 2^53 float64 cannot represent every integer. */
    struct interp_tensor t[2] = {scalar_of(*state, DTYPE_I64, 0x1p53),
                                 scalar_of(*state, DTYPE_I64, 1)};
    for (int mode = INTERP_REFERENCE; mode <= INTERP_NATIVE; mode++) {
        struct interp_tensor y = run_prim_of(*state, (enum interp_mode)mode, PRIM_ADD, NULL, 2, t);
        assert_true(y.cells[0].i == ((int64_t)1 << 53) + 1 && !y.bounds);
    }
}

/* The upper half of u64, which neither float64 nor int64_t can hold. */
static void test_u64(void **state)
{
    static const uint64_t most = UINT64_MAX, half = (uint64_t)1 << 63;
    static const struct {
        enum prim prim;
        uint64_t a, b, expected;
    } rows[] = {
        {PRIM_ADD, UINT64_MAX, 2, 1},
        {PRIM_DIV, UINT64_MAX, 10, UINT64_MAX / 10},
        {PRIM_DIV, 5, UINT64_MAX, 0},
        {PRIM_DIV, UINT64_MAX, 0, 0},
        {PRIM_REM, UINT64_MAX, 10, UINT64_MAX % 10},
        {PRIM_REM, 5, UINT64_MAX, 5},
        {PRIM_MIN, UINT64_MAX, 1, 1},
        {PRIM_MAX, 1, UINT64_MAX, UINT64_MAX},
        {PRIM_LT, UINT64_MAX, 1, 0},
        {PRIM_LT, 1, UINT64_MAX, 1},
        {PRIM_LE, UINT64_MAX, 1, 0},
        {PRIM_SHR, UINT64_MAX, 63, 1},
        {PRIM_SHR, UINT64_MAX, 64, 0},
        {PRIM_SHR, UINT64_MAX, UINT64_MAX, 0},
        {PRIM_SHL, 1, UINT64_MAX, 0},
    };
    struct bed *bed = *state;
    struct interp_tensor t[2] = {scalar_of(bed, DTYPE_U64, 0), scalar_of(bed, DTYPE_U64, 0)};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        t[0].cells[0].i = (int64_t)rows[i].a;
        t[1].cells[0].i = (int64_t)rows[i].b;
        struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, rows[i].prim, NULL, 2, t);
        assert_true((uint64_t)y.cells[0].i == rows[i].expected);
    }
    t[0].cells[0].i = (int64_t)most;
    struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, PRIM_ABS, NULL, 1, t);
    assert_true((uint64_t)y.cells[0].i == most);
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_SIGN, NULL, 1, t);
    assert_int_equal(y.cells[0].i, 1);
    struct attrs to_f32 = {.dtype = DTYPE_F32}, to_u64 = {.dtype = DTYPE_U64};
    t[0].cells[0].i = (int64_t)(half + ((uint64_t)1 << 39) + 1); /* just above a tie of f32 */
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_CAST, &to_f32, 1, t);
    assert_same(y.cells[0].f, 0x1p63 + 0x1p40);
    struct interp_tensor x = scalar_of(bed, DTYPE_F32, 0x1p63);
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_CAST, &to_u64, 1, &x);
    assert_true((uint64_t)y.cells[0].i == half);
    struct interp_tensor list = tensor_of(bed, DTYPE_U64, SHAPE(3), VALUES(7, 0, 9));
    list.cells[1].i = -1;
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_ARGSORT, &(struct attrs){.axis = 0}, 1, &list);
    assert_ints(&y, VALUES(0, 2, 1));
    struct attrs all = {.axis_count = 1};
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_REDUCE_MIN, &all, 1, &list);
    assert_int_equal(y.cells[0].i, 7);
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_REDUCE_MAX, &all, 1, &list);
    assert_true((uint64_t)y.cells[0].i == most);
}

/* Transpositions larger than what is copied at a time, with bounds. */
static void test_transpose_large(void **state)
{
    static const int64_t axes[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                      {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct bed *bed = *state;
    struct interp_tensor x = random_of(bed, DTYPE_F32, SHAPE(3, 37, 53), 1);
    int64_t stride[3] = {37 * 53, 53, 1};
    x.bounds = ARENA_ARRAY(&bed->arena, double, x.count);
    for (int64_t i = 0; i < x.count; i++)
        x.bounds[i] = (double)i;
    for (size_t a = 0; a < sizeof axes / sizeof axes[0]; a++) {
        struct attrs attrs = {.axis_count = 3};
        for (int d = 0; d < 3; d++)
            attrs.axes[d] = (uint8_t)axes[a][d];
        struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_TRANSPOSE, &attrs, 1, &x);
        assert_int_equal(y.count, x.count);
        for (int64_t i = 0; i < y.count; i++) {
            int64_t k = i % y.shape[2], j = i / y.shape[2] % y.shape[1],
                    from = k * stride[axes[a][2]] + j * stride[axes[a][1]] +
                           i / y.shape[2] / y.shape[1] * stride[axes[a][0]];
            assert_same(y.cells[i].f, x.cells[from].f);
            assert_same(y.bounds[i], x.bounds[from]);
        }
    }
}

static void test_select_and_cast(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor s[3] = {tensor_of(bed, DTYPE_BOOL, SHAPE(2), VALUES(1, 0)),
                                 tensor_of(bed, DTYPE_F32, SHAPE(2), VALUES(1, 2)),
                                 tensor_of(bed, DTYPE_F32, SHAPE(2), VALUES(3, NAN))};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SELECT, NULL, 3, s);
    assert_floats(&y, VALUES(1, NAN));
    static const struct {
        enum dtype from, to;
        double x, expected;
    } rows[] = {
        {DTYPE_F32, DTYPE_I8, 300, 127},
        {DTYPE_F32, DTYPE_U8, -3, 0},
        {DTYPE_F32, DTYPE_I32, -1.9, -1},
        {DTYPE_F64, DTYPE_I64, 1e30, 0x1p63},
        {DTYPE_F64, DTYPE_I64, -1e30, -0x1p63},
        {DTYPE_F32, DTYPE_I32, NAN, 0},
        {DTYPE_F32, DTYPE_BOOL, NAN, 1},
        {DTYPE_F32, DTYPE_BOOL, 0, 0},
        {DTYPE_I32, DTYPE_I8, 200, -56},
        {DTYPE_I32, DTYPE_U8, -1, 255},
        {DTYPE_I32, DTYPE_BOOL, 256, 1},
        {DTYPE_BOOL, DTYPE_F32, 1, 1},
        {DTYPE_I32, DTYPE_F16, 2049, 2048},
        {DTYPE_F32, DTYPE_F16, 1e6, INFINITY},
        {DTYPE_F64, DTYPE_BF16, 1.01, 1.0078125},
        /* Just above a tie of f32: two roundings would give the tie first. */
        {DTYPE_F64, DTYPE_F32, 1 + 0x1p-24 + 0x1p-50, 1 + 0x1p-23},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct interp_tensor x = scalar_of(bed, rows[i].from, rows[i].x);
        struct attrs attrs = {.dtype = rows[i].to};
        y = run_prim_of(bed, INTERP_NATIVE, PRIM_CAST, &attrs, 1, &x);
        bool is_float = dtype_is_float(rows[i].to);
        assert_same(is_float ? y.cells[0].f : (double)y.cells[0].i, rows[i].expected);
    }
    struct interp_tensor big = scalar_of(bed, DTYPE_I64, 0);
    big.cells[0].i = ((int64_t)1 << 60) + ((int64_t)1 << 36) + 1;
    struct attrs to_f32 = {.dtype = DTYPE_F32};
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_CAST, &to_f32, 1, &big);
    assert_same(y.cells[0].f, 0x1p60 + 0x1p37);
}

static void test_sources(void **state)
{
    struct bed *bed = *state;
    struct attrs attrs = {.dtype = DTYPE_I32, .rank = 2, .shape = {2, 3}, .axis = 1};
    struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, PRIM_IOTA, &attrs, 0, NULL);
    assert_ints(&y, VALUES(0, 1, 2, 0, 1, 2));
    attrs = (struct attrs){.dtype = DTYPE_F32, .value = 0.1};
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_CONST, &attrs, 0, NULL);
    assert_same(y.cells[0].f, (double)0.1f);
    attrs = (struct attrs){.dtype = DTYPE_U8, .integer = 200};
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_CONST, &attrs, 0, NULL);
    assert_int_equal(y.cells[0].i, 200);
    static const int16_t data[] = {-1, 7};
    attrs =
        (struct attrs){.dtype = DTYPE_I16, .rank = 1, .shape = {2}, .data = data, .data_bytes = 4};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_LITERAL, &attrs, 0, NULL);
    assert_ints(&y, VALUES(-1, 7));
    attrs = (struct attrs){.rank = 1, .shape = {17}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SIZE, &attrs, 0, NULL);
    assert_int_equal(y.cells[0].i, 17);
    struct interp_tensor seed = scalar_of(bed, DTYPE_I64, 42);
    attrs = (struct attrs){.rank = 1, .shape = {3}};
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_RANDOM, &attrs, 1, &seed);
    for (int i = 0; i < 3; i++)
        assert_int_equal(y.cells[i].i, rng_u32(rng_key(42), (uint64_t)i));
}

/* x[2, 3, 4] over every set of axes, computed by one loop over all elements. */
static void test_reduce(void **state)
{
    static const enum prim prims[] = {PRIM_REDUCE_SUM, PRIM_REDUCE_PROD, PRIM_REDUCE_MAX,
                                      PRIM_REDUCE_MIN};
    static const double empty[] = {0, 1, -INFINITY, INFINITY};
    struct interp_tensor x = random_of(*state, DTYPE_F64, SHAPE(2, 3, 4), 5);
    for (unsigned set = 1; set < 8; set++) {
        struct attrs attrs = {0};
        int64_t stride[3] = {0}, count = 1;
        for (int d = 2; d >= 0; d--)
            if (!(set >> d & 1))
                stride[d] = count, count *= x.shape[d];
        for (uint8_t d = 0; d < 3; d++)
            if (set >> d & 1)
                attrs.axes[attrs.axis_count++] = d;
        for (int p = 0; p < 4; p++) {
            double expected[24];
            for (int64_t i = 0; i < count; i++)
                expected[i] = empty[p];
            for (int64_t i = 0; i < 24; i++) {
                double v = x.cells[i].f;
                double *r =
                    &expected[i / 12 * stride[0] + i / 4 % 3 * stride[1] + i % 4 * stride[2]];
                *r = p == 0 ? *r + v : p == 1 ? *r * v : p == 2 ? fmax(*r, v) : fmin(*r, v);
            }
            struct interp_tensor y = run_prim_of(*state, INTERP_REFERENCE, prims[p], &attrs, 1, &x);
            assert_int_equal(y.count, count);
            for (int64_t i = 0; i < count; i++)
                assert_true(fabs(y.cells[i].f - expected[i]) < 1e-14 && bound_of(&y, i) < 1e-13);
        }
    }
}

static void test_reduce_cases(void **state)
{
    struct bed *bed = *state;
    struct attrs attrs = {.axis_count = 1, .axes = {1}};
    struct interp_tensor none = tensor_of(bed, DTYPE_F32, SHAPE(2, 0), NULL);
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &none);
    assert_floats(&y, VALUES(0, 0));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_MAX, &attrs, 1, &none);
    assert_floats(&y, VALUES(-INFINITY, -INFINITY));
    assert_same(bound_of(&y, 0), 0);
    none.dtype = DTYPE_U8;
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_MIN, &attrs, 1, &none);
    assert_ints(&y, VALUES(255, 255));
    struct interp_tensor x = tensor_of(bed, DTYPE_I8, SHAPE(2, 2), VALUES(100, 100, -3, 5));
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_ints(&y, VALUES(-56, 2));
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_REDUCE_PROD, &attrs, 1, &x);
    assert_ints(&y, VALUES(16, -15));
    x = tensor_of(bed, DTYPE_BOOL, SHAPE(2, 2), VALUES(0, 1, 0, 0));
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_REDUCE_MAX, &attrs, 1, &x);
    assert_ints(&y, VALUES(1, 0));
    x = tensor_of(bed, DTYPE_F32, SHAPE(2, 2), VALUES(NAN, 1, INFINITY, -INFINITY));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_MAX, &attrs, 1, &x);
    assert_floats(&y, VALUES(NAN, INFINITY));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_floats(&y, VALUES(NAN, NAN));
    assert_same(bound_of(&y, 0) + bound_of(&y, 1), 0);
}

static void test_scan(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor x = tensor_of(bed, DTYPE_F64, SHAPE(2, 3), VALUES(1, 2, 3, 4, 6, 5));
    static const struct {
        enum prim prim;
        int axis;
        bool exclusive, reverse;
        double expected[6];
    } rows[] = {
        {PRIM_CUM_SUM, 1, false, false, {1, 3, 6, 4, 10, 15}},
        {PRIM_CUM_SUM, 1, true, false, {0, 1, 3, 0, 4, 10}},
        {PRIM_CUM_SUM, 1, true, true, {5, 3, 0, 11, 5, 0}},
        {PRIM_CUM_SUM, 0, false, true, {5, 8, 8, 4, 6, 5}},
        {PRIM_CUM_PROD, 1, false, true, {6, 6, 3, 120, 30, 5}},
        {PRIM_CUM_PROD, 0, true, false, {1, 1, 1, 1, 2, 3}},
        {PRIM_CUM_MAX, 1, false, false, {1, 2, 3, 4, 6, 6}},
        {PRIM_CUM_MAX, 1, true, false, {-INFINITY, 1, 2, -INFINITY, 4, 6}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct attrs attrs = {
            .axis = rows[i].axis, .exclusive = rows[i].exclusive, .reverse = rows[i].reverse};
        struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, rows[i].prim, &attrs, 1, &x);
        assert_floats(&y, rows[i].expected);
    }
}

static void test_order(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor x =
        tensor_of(bed, DTYPE_F32, SHAPE(2, 5), VALUES(3, 1, 3, 1, 2, 0, NAN, -1, NAN, INFINITY));
    struct attrs attrs = {.axis = 1};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGMAX, &attrs, 1, &x);
    assert_ints(&y, VALUES(0, 1));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGMIN, &attrs, 1, &x);
    assert_ints(&y, VALUES(1, 1));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGSORT, &attrs, 1, &x);
    assert_ints(&y, VALUES(1, 3, 4, 0, 2, 2, 0, 4, 1, 3));
    attrs.reverse = true;
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGSORT, &attrs, 1, &x);
    assert_ints(&y, VALUES(0, 2, 4, 1, 3, 1, 3, 4, 0, 2));
    assert_null(y.bounds);
    /* Elements 1, 1.5 and 4 with an error of 0.3 each: the first two may change places. */
    x = with_bound(bed, tensor_of(bed, DTYPE_F32, SHAPE(3), VALUES(1.5, 4, 1)), 0.3);
    attrs = (struct attrs){.axis = 0};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGSORT, &attrs, 1, &x);
    assert_ints(&y, VALUES(2, 0, 1));
    assert_true(isinf(y.bounds[0]) && isinf(y.bounds[1]) && y.bounds[2] == 0);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGMAX, &attrs, 1, &x);
    assert_true(y.cells[0].i == 1 && bound_of(&y, 0) == 0);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGMIN, &attrs, 1, &x);
    assert_true(y.cells[0].i == 2 && isinf(bound_of(&y, 0)));
    /* A large error at the end reaches all elements; a long line is sorted and compared with the
     * definition. */
    x.bounds[0] = x.bounds[2] = 0;
    x.bounds[1] = 10;
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ARGSORT, &attrs, 1, &x);
    assert_true(isinf(y.bounds[0]) && isinf(y.bounds[1]) && isinf(y.bounds[2]));
    x = random_of(bed, DTYPE_I32, SHAPE(100), 3);
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_ARGSORT, &attrs, 1, &x);
    for (int i = 1; i < 100; i++) {
        int64_t p = y.cells[i - 1].i, q = y.cells[i].i;
        assert_true(x.cells[p].i < x.cells[q].i || (x.cells[p].i == x.cells[q].i && p < q));
    }
}

static void test_views(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor x = tensor_of(bed, DTYPE_F32, SHAPE(2, 3), VALUES(0, 1, 2, 3, 4, 5));
    struct interp_tensor two[2] = {x, scalar_of(bed, DTYPE_F32, 9)};
    struct attrs attrs = {.rank = 1, .shape = {6}};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_RESHAPE, &attrs, 1, &x);
    assert_floats(&y, VALUES(0, 1, 2, 3, 4, 5));
    attrs = (struct attrs){.axis_count = 2, .axes = {1, 0}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_TRANSPOSE, &attrs, 1, &x);
    assert_floats(&y, VALUES(0, 3, 1, 4, 2, 5));
    attrs = (struct attrs){.rank = 3, .shape = {2, 2, 3}, .axis_count = 2, .axes = {0, 2}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_BROADCAST, &attrs, 1, &x);
    assert_floats(&y, VALUES(0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5));
    attrs = (struct attrs){.rank = 2, .shape = {1, 2}, .start = {1, 0}, .step = {1, 2}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SLICE, &attrs, 1, &x);
    assert_floats(&y, VALUES(3, 5));
    attrs = (struct attrs){.rank = 2, .low = {0, 1}, .high = {1, 0}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_PAD, &attrs, 2, two);
    assert_floats(&y, VALUES(9, 0, 1, 2, 9, 3, 4, 5, 9, 9, 9, 9));
    attrs = (struct attrs){.axis_count = 2, .axes = {0, 1}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REVERSE, &attrs, 1, &x);
    assert_floats(&y, VALUES(5, 4, 3, 2, 1, 0));
    attrs = (struct attrs){.axis_count = 1, .axes = {1}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REVERSE, &attrs, 1, &x);
    assert_floats(&y, VALUES(2, 1, 0, 5, 4, 3));
    two[1] = tensor_of(bed, DTYPE_F32, SHAPE(2, 1), VALUES(7, 8));
    attrs = (struct attrs){.axis = 1};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONCAT, &attrs, 2, two);
    assert_floats(&y, VALUES(0, 1, 2, 7, 3, 4, 5, 8));
    /* Moves of tensors without elements. */
    x = tensor_of(bed, DTYPE_F32, SHAPE(0, 3), NULL);
    attrs = (struct attrs){.axis_count = 2, .axes = {1, 0}};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_TRANSPOSE, &attrs, 1, &x);
    assert_true(y.count == 0 && y.shape[0] == 3 && y.shape[1] == 0);
}

static void test_indexing(void **state)
{
    struct bed *bed = *state;
    struct interp_tensor t[3] = {tensor_of(bed, DTYPE_F32, SHAPE(2, 3), VALUES(0, 1, 2, 3, 4, 5)),
                                 tensor_of(bed, DTYPE_I32, SHAPE(2), VALUES(9, -4))};
    struct attrs attrs = {.axis = 1};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_TAKE, &attrs, 2, t);
    assert_floats(&y, VALUES(2, 0, 5, 3));
    attrs.axis = 0;
    t[1] = scalar_of(bed, DTYPE_I32, 1);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_TAKE, &attrs, 2, t);
    assert_true(y.rank == 1);
    assert_floats(&y, VALUES(3, 4, 5));
    attrs.axis = 1;
    t[1] = tensor_of(bed, DTYPE_I64, SHAPE(2, 2), VALUES(2, 0, 7, 1));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_GATHER, &attrs, 2, t);
    assert_floats(&y, VALUES(2, 0, 5, 4));
    t[1].bounds = with_bound(bed, t[1], 0).bounds;
    t[1].bounds[3] = 1;
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_GATHER, &attrs, 2, t);
    assert_true(y.bounds[0] == 0 && isinf(y.bounds[3]));
    t[1] = tensor_of(bed, DTYPE_I64, SHAPE(2, 2), VALUES(2, 2, 7, 1));
    t[2] = tensor_of(bed, DTYPE_F32, SHAPE(2, 2), VALUES(10, 20, 30, -40));
    static const double expected[][6] = {[SCATTER_SET] = {0, 1, 20, 3, -40, 5},
                                         [SCATTER_ADD] = {0, 1, 32, 3, -36, 5},
                                         [SCATTER_MAX] = {0, 1, 20, 3, 4, 5},
                                         [SCATTER_MIN] = {0, 1, 2, 3, -40, 5}};
    for (uint8_t mode = SCATTER_SET; mode <= SCATTER_MIN; mode++) {
        attrs.mode = mode;
        y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SCATTER, &attrs, 3, t);
        assert_floats(&y, expected[mode]);
        assert_true(bound_of(&y, 0) == 0 && bound_of(&y, 2) < 1e-5);
        struct interp_tensor ints[3] = {
            tensor_of(bed, DTYPE_I8, SHAPE(2, 3), VALUES(0, 1, 2, 3, 4, 5)), t[1],
            tensor_of(bed, DTYPE_I8, SHAPE(2, 2), VALUES(10, 20, 30, -40))};
        y = run_prim_of(bed, INTERP_NATIVE, PRIM_SCATTER, &attrs, 3, ints);
        assert_ints(&y, expected[mode]);
    }
    attrs.axis = 0; /* indices far outside, times the stride, would pass 64 bits */
    t[1].cells[0].i = INT64_MAX, t[1].cells[1].i = INT64_MIN;
    y = run_prim_of(bed, INTERP_NATIVE, PRIM_SCATTER, &attrs, 3, t);
    assert_floats(&y, VALUES(0, 1, 2, 3, -40, 5));
    attrs.axis = 1;
    t[1] = with_bound(bed, t[1], 1);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SCATTER, &attrs, 3, t);
    for (int i = 0; i < 6; i++)
        assert_true(isinf(y.bounds[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_float_unary, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_float_binary, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_integers, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_u64, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_transpose_large, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_select_and_cast, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_sources, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_reduce, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_reduce_cases, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_scan, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_order, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_views, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_indexing, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
