/* Bounds: native results are within them, they are not much larger than necessary, and they are
 * infinite exactly where a result is not determined. */
#include "graph/interp_test_util.h"

/* Random expressions over three inputs, from prims whose operands are in their domain often
 * enough. */
static const enum prim UNARY[] = {
    PRIM_NEG,   PRIM_ABS, PRIM_SIGN, PRIM_FLOOR, PRIM_CEIL, PRIM_ROUND, PRIM_TRUNC, PRIM_SQRT,
    PRIM_RSQRT, PRIM_EXP, PRIM_EXP2, PRIM_EXPM1, PRIM_LOG,  PRIM_LOG2,  PRIM_LOG1P, PRIM_SIN,
    PRIM_COS,   PRIM_TAN, PRIM_ATAN, PRIM_TANH,  PRIM_ERF,  PRIM_ERFC};
static const enum prim BINARY[] = {PRIM_ADD, PRIM_SUB, PRIM_MUL, PRIM_DIV,
                                   PRIM_REM, PRIM_POW, PRIM_MIN, PRIM_MAX};
static const enum prim LINES[] = {PRIM_REDUCE_SUM, PRIM_REDUCE_PROD, PRIM_REDUCE_MAX, PRIM_CUM_SUM,
                                  PRIM_CUM_PROD,   PRIM_CUM_MAX,     PRIM_ARGMAX,     PRIM_ARGSORT};
#define PICK(table, key, counter) (table)[rng_u32(key, counter) % (sizeof(table) / sizeof *(table))]

/* Every value of the expression is an output. */
static void grow(struct graph *graph, enum dtype dtype, uint64_t key, struct error *err)
{
    dim_id shape[2] = {dim_const(&graph->dims, 4), dim_const(&graph->dims, 8)};
    value_id values[16], count = 3;
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        values[i] = graph_input(graph, names[i], dtype, shape, 2, err);
    for (uint64_t c = 0; count < 12; c += 8) {
        value_id in[3] = {values[rng_u32(key, c) % count], values[rng_u32(key, c + 1) % count],
                          values[rng_u32(key, c + 2) % count]};
        uint32_t choice = rng_u32(key, c + 3) % 8;
        if (choice < 3) {
            values[count++] = graph_add(graph, PICK(UNARY, key, c + 4), in, 1, NULL, err);
        } else if (choice < 7) {
            values[count++] = graph_add(graph, PICK(BINARY, key, c + 5), in, 2, NULL, err);
        } else {
            value_id select[3] = {graph_add(graph, PRIM_LT, in, 2, NULL, err), in[0], in[2]};
            values[count++] = graph_add(graph, PRIM_SELECT, select, 3, NULL, err);
        }
    }
    struct attrs attrs = {.axis = 1, .axis_count = 1, .axes = {1}};
    value_id last = graph_add(graph, PICK(LINES, key, 999), &values[count - 1], 1, &attrs, err);
    value_id pair[2] = {values[count - 1], values[count - 2]};
    attrs = (struct attrs){.contract = 1};
    value_id product = graph_add(graph, PRIM_CONTRACT, pair, 2, &attrs, err);
    for (value_id i = 3; i < count; i++) {
        char name[8];
        snprintf(name, sizeof name, "y%u", i);
        assert_true(graph_output(graph, name, values[i], err));
    }
    if (!graph_output(graph, "last", last, err) || !graph_output(graph, "product", product, err))
        fail_msg("%s", err->message);
}

static void check_random(struct bed *bed, enum dtype dtype, uint64_t seed, int64_t *determined,
                         int64_t *total)
{
    struct graph graph;
    struct interp_tensor sources[3], reference[16], native[16];
    arena_release(&bed->arena);
    graph_init(&graph, &bed->arena);
    grow(&graph, dtype, rng_key(seed), &bed->err);
    for (uint64_t i = 0; i < 3; i++)
        sources[i] = random_of(bed, dtype, SHAPE(4, 8), seed * 3 + i);
    assert_true(interp_run(&graph, &(struct interp_options){.mode = INTERP_REFERENCE},
                           &(struct interp_arguments){NULL, sources, 3}, &bed->arena, reference,
                           &bed->err));
    assert_true(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                           &(struct interp_arguments){NULL, sources, 3}, &bed->arena, native,
                           &bed->err));
    for (uint32_t i = 0; i < graph.outputs.count; i++) {
        struct interp_difference difference;
        void *data = arena_array(&bed->arena, (size_t)native[i].count, 8);
        interp_store(&native[i], data);
        interp_compare(&reference[i], data, &difference);
        if (difference.worst_ratio > 1)
            fail_msg("%s, seed %llu, output %s: element %lld differs by %g, bound %g",
                     dtype_name(dtype), (unsigned long long)seed, graph.outputs.items[i].name,
                     (long long)difference.worst_index, difference.worst_absolute,
                     difference.worst_bound);
        *total += reference[i].count;
        *determined += reference[i].count - difference.undetermined;
    }
}

static void test_random_graphs(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16};
    for (int d = 0; d < 4; d++) {
        int64_t determined = 0, total = 0;
        for (uint64_t seed = 0; seed < 1500; seed++)
            check_random(*state, dtypes[d], seed, &determined, &total);
        assert_true(total > 100000);
        if (determined < total / 2) /* else the test proves nothing */
            fail_msg("%s: %lld of %lld elements are determined", dtype_name(dtypes[d]),
                     (long long)determined, (long long)total);
    }
}

static struct interp_tensor chain(struct bed *bed, enum prim prim, struct interp_tensor x)
{
    return run_prim_of(bed, INTERP_REFERENCE, prim, NULL, 1, &x);
}

/* Real float arithmetic, with the math library's float functions and a different order of
 * summation. */
static void test_float_arithmetic(void **state)
{
    enum { COUNT = 4096 };
    struct bed *bed = *state;
    struct interp_tensor t[2] = {random_of(bed, DTYPE_F32, SHAPE(COUNT), 1),
                                 random_of(bed, DTYPE_F32, SHAPE(COUNT), 2)};
    struct interp_tensor e = chain(bed, PRIM_TANH, chain(bed, PRIM_EXP, t[0]));
    struct interp_tensor pair[2] = {e, t[1]};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_MUL, NULL, 2, pair);
    float native[COUNT], sum = 0;
    double looseness = 0;
    for (int i = 0; i < COUNT; i++) {
        native[i] = tanhf(expf((float)t[0].cells[i].f)) * (float)t[1].cells[i].f;
        looseness += y.bounds[i] / fabs(y.cells[i].f) / COUNT;
    }
    struct interp_difference difference;
    interp_compare(&y, native, &difference);
    assert_true(difference.worst_ratio <= 1 && difference.worst_ratio > 0.01);
    assert_int_equal(difference.undetermined, 0);
    assert_true(looseness < 1e-6); /* about ten roundings of 6e-8 */
    struct attrs attrs = {.axis_count = 1, .axes = {0}};
    struct interp_tensor total = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &y);
    for (int i = COUNT; i-- > 0;)
        sum += native[i];
    interp_compare(&total, &sum, &difference);
    assert_true(difference.worst_ratio <= 1 && difference.worst_bound < 3);
}

static struct approx_row {
    enum prim prim;
    double a, ea, b, eb; /* b NAN: a unary prim */
    double least, most;  /* range in which the bound must be */
} const ROWS[] = {
    {PRIM_ADD, 1, 0.25, 2, 0.5, 0.75, 0.7501},
    {PRIM_SUB, 1, 0.25, 2, 0.5, 0.75, 0.7501},
    {PRIM_MUL, 2, 0.25, -3, 0.5, 1.875, 1.8751},
    {PRIM_DIV, 1, 0.5, 2, 1, 1, 1.0001},
    {PRIM_DIV, 1, 0, 2, 2, INFINITY, INFINITY},
    {PRIM_DIV, 1, 0.5, 0, 0, 0, 0},
    {PRIM_DIV, 1, 1, 0, 0, INFINITY, INFINITY},
    {PRIM_REM, 5, 0.25, 3, 0, 0.25, 0.2501},
    {PRIM_REM, 6, 0.25, 3, 0, 3, 3.001},
    {PRIM_REM, 0x1p100, 0, 7, 0, 0, 0},
    {PRIM_REM, 0x1p100, 1, 7, 0, 1, 7.001},
    {PRIM_POW, 2, 0.5, 3, 0, 7.625, 7.626},
    {PRIM_POW, -2, 0.5, 2, 0, 2.25, 2.2501},
    {PRIM_POW, 0.5, 1, 2, 0, 2, 2.0001},
    {PRIM_POW, 0.5, 1, 0.5, 0, INFINITY, INFINITY},
    {PRIM_POW, 0.5, 1, -1, 0, INFINITY, INFINITY},
    {PRIM_MIN, 1, 0.5, 5, 2, 0.5, 0.5},
    {PRIM_MAX, 1, 0.5, 2, 1, 1, 1},
    {PRIM_MAX, -5, 0.5, 0, 0, 0, 0},
    {PRIM_MUL, INFINITY, 0, 2, 1, 0, 0},
    {PRIM_MUL, INFINITY, 0, 1, 2, INFINITY, INFINITY},
    {PRIM_MUL, 1e30, 0, 1e30, 0, INFINITY, INFINITY},
    {PRIM_ADD, -INFINITY, 0, 1, 1, 0, 0},
    {PRIM_ADD, INFINITY, 0, -INFINITY, 0, 0, 0},
    {PRIM_ADD, 1, INFINITY, 1, 0, INFINITY, INFINITY},
    {PRIM_LT, 1, 0.4, 2, 0.4, 0, 0},
    {PRIM_LT, 1, 0.6, 2, 0.6, INFINITY, INFINITY},
    {PRIM_EQ, 1, 0, 1, 0, 0, 0},
    {PRIM_EQ, 1, 1e-9, 1, 0, INFINITY, INFINITY},
    {PRIM_NEG, 1, 0.5, NAN, 0, 0.5, 0.5},
    {PRIM_ABS, -1, 0.5, NAN, 0, 0.5, 0.5},
    {PRIM_DETACH, -1, 0.5, NAN, 0, 0.5, 0.5},
    {PRIM_SIGN, 1, 2, NAN, 0, 2, 2},
    {PRIM_FLOOR, 1.5, 0.25, NAN, 0, 0, 0},
    {PRIM_FLOOR, 2, 0.25, NAN, 0, 1, 1},
    {PRIM_ROUND, 1.5, 0.25, NAN, 0, 1, 1},
    {PRIM_SQRT, 1, 0.5, NAN, 0, 0.292, 0.293},
    {PRIM_SQRT, 1, 2, NAN, 0, INFINITY, INFINITY},
    /* Correctly rounded prims are exact where the result is representable. */
    {PRIM_ADD, 1, 0, 2, 0, 0, 0},
    {PRIM_ADD, 1, 0, 0x1p-23, 0, 0, 0},
    {PRIM_ADD, 1, 0, 0x1p-24, 0, 0x1p-24, 0x1.1p-24},
    {PRIM_ADD, 1, 0, 0x1p-60, 0, 0x1p-24, 0x1.1p-24},
    {PRIM_SUB, 0x1p-60, 0, 1, 0, 0x1p-24, 0x1.1p-24},
    {PRIM_SUB, 3, 0, 5, 0, 0, 0},
    {PRIM_MUL, 3, 0, 5, 0, 0, 0},
    {PRIM_MUL, 0x1.000002p0, 0, 0x1.000002p0, 0, 0x1p-24, 0x1.1p-24},
    {PRIM_MUL, 0x1p-100, 0, 0x1p-49, 0, 0, 0},
    {PRIM_MUL, 0x1p-100, 0, 0x1p-50, 0, 0x1p-149, 0x1.1p-149},
    {PRIM_MUL, 0, 0, 2, 0.5, 0, 0},
    {PRIM_DIV, 6, 0, -3, 0, 0, 0},
    {PRIM_DIV, 1, 0, 3, 0, 0x1p-26, 0x1.1p-25},
    {PRIM_DIV, 0, 0, 3, 1, 0, 0},
    {PRIM_SQRT, 9, 0, NAN, 0, 0, 0},
    {PRIM_SQRT, 2, 0, NAN, 0, 0x1p-24, 0x1.8p-24},
    {PRIM_SQRT, 0, 0, NAN, 0, 0, 0},
    {PRIM_LOG, 1, 1, NAN, 0, INFINITY, INFINITY},
    {PRIM_LOG, 0, 0, NAN, 0, 0, 0},
    {PRIM_LOG1P, -0.5, 0.6, NAN, 0, INFINITY, INFINITY},
    {PRIM_RSQRT, 4, 3, NAN, 0, 0.5, 0.50001},
    {PRIM_EXP, -INFINITY, 0, NAN, 0, 0, 0x1.1p-149},
    {PRIM_EXP, -100, 0, NAN, 0, 0x1p-149, 0x1.1p-149},
    {PRIM_ERFC, 10, 0, NAN, 0, 0x1p-147, 0x1.1p-147},
    {PRIM_EXP, 0, 1, NAN, 0, 1.718, 1.719},
    {PRIM_EXP, 100, 0, NAN, 0, INFINITY, INFINITY},
    {PRIM_SIN, 1, 5, NAN, 0, 2, 2.0001},
    {PRIM_TAN, 1.5, 0.1, NAN, 0, INFINITY, INFINITY},
    {PRIM_TAN, 0, 0.5, NAN, 0, 0.546, 0.547},
    {PRIM_IS_NAN, 1, 0.5, NAN, 0, 0, 0},
};

static void test_propagation(void **state)
{
    struct bed *bed = *state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        const struct approx_row *row = &ROWS[i];
        struct interp_tensor t[2] = {with_bound(bed, scalar_of(bed, DTYPE_F32, row->a), row->ea),
                                     with_bound(bed, scalar_of(bed, DTYPE_F32, row->b), row->eb)};
        struct interp_tensor y =
            run_prim_of(bed, INTERP_REFERENCE, row->prim, NULL, isnan(row->b) ? 1 : 2, t);
        double bound = bound_of(&y, 0);
        if (!(bound >= row->least && bound <= row->most))
            fail_msg("%s (row %zu): bound %g, expected %g … %g", prim_info(row->prim)->name, i,
                     bound, row->least, row->most);
    }
}

static double cast_bound(struct bed *bed, enum dtype from, enum dtype to, double x, double error)
{
    struct interp_tensor t = with_bound(bed, scalar_of(bed, from, x), error);
    struct attrs attrs = {.dtype = (uint8_t)to};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CAST, &attrs, 1, &t);
    return bound_of(&y, 0);
}

static void test_casts_and_integers(void **state)
{
    struct bed *bed = *state;
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_I32, 1.5, 0.25), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_I32, 2, 0.25), 1);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_U8, 1000, 5), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_BOOL, 1, 0.5), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_BOOL, 0.5, 1), INFINITY);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F64, 0.5, 0.125), 0.125);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 0.5, 0), 0);
    /* Narrow floats are rounded: the result is one number unless a tie is within the error. */
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 1e6, 0), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 1e6, 1e5), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 65519, 2), INFINITY);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 1 + 0x1p-20, 0), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 1 + 0x1p-20, 0x1p-14), 0);
    assert_same(cast_bound(bed, DTYPE_F32, DTYPE_F16, 1 + 0x1p-11, 0), 0);
    assert_true(fabs(cast_bound(bed, DTYPE_F32, DTYPE_F16, 1 + 0x1p-11, 0x1p-20) - 0x1p-10) <
                0x1p-50);
    assert_same(cast_bound(bed, DTYPE_I32, DTYPE_I8, 100, 20), 20);
    assert_same(cast_bound(bed, DTYPE_I32, DTYPE_I8, 100, 28), INFINITY);
    struct interp_tensor t[2] = {with_bound(bed, scalar_of(bed, DTYPE_I8, 100), 2),
                                 scalar_of(bed, DTYPE_I8, 20)};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_ADD, NULL, 2, t);
    assert_same(bound_of(&y, 0), 2);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SUB, NULL, 2, t);
    assert_same(bound_of(&y, 0), 2);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_MUL, NULL, 2, t);
    assert_same(bound_of(&y, 0), INFINITY);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_XOR, NULL, 2, t);
    assert_same(bound_of(&y, 0), INFINITY);
    /* select: the other branch is 2 away and has an error of 0.5; one that is not taken does not
     * matter. */
    struct interp_tensor s[3] = {with_bound(bed, scalar_of(bed, DTYPE_BOOL, 1), INFINITY),
                                 scalar_of(bed, DTYPE_F32, 1),
                                 with_bound(bed, scalar_of(bed, DTYPE_F32, 3), 0.5)};
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SELECT, NULL, 3, s);
    assert_true(bound_of(&y, 0) >= 2.5 && bound_of(&y, 0) < 2.5001);
    s[0].bounds = NULL;
    s[2] = with_bound(bed, s[2], INFINITY);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_SELECT, NULL, 3, s);
    assert_same(bound_of(&y, 0), 0);
}

/* A native program computes f16 and bf16 in f32 or wider and rounds once: only results next to a
 * tie are not determined. */
static void test_narrow(void **state)
{
    enum { COUNT = 4096 };
    static const enum prim exact[] = {PRIM_ADD, PRIM_SUB, PRIM_MUL, PRIM_DIV};
    static const enum prim near[] = {PRIM_EXP, PRIM_TANH, PRIM_ERF, PRIM_ATAN};
    struct attrs attrs = {.axis_count = 1, .axes = {1}};
    struct bed *bed = *state;
    for (int d = 0; d < 2; d++) {
        enum dtype dtype = d ? DTYPE_BF16 : DTYPE_F16;
        struct interp_tensor t[2] = {random_of(bed, dtype, SHAPE(COUNT), 5),
                                     random_of(bed, dtype, SHAPE(COUNT), 6)};
        for (size_t p = 0; p < sizeof exact / sizeof *exact; p++) {
            struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, exact[p], NULL, 2, t);
            assert_null(y.bounds);
        }
        for (size_t p = 0; p < sizeof near / sizeof *near; p++) {
            struct interp_tensor y = chain(bed, near[p], t[0]);
            int64_t open = 0;
            for (int64_t i = 0; i < COUNT; i++)
                open += bound_of(&y, i) > 0;
            assert_true(open < COUNT / 100);
        }
        struct interp_tensor x = random_of(bed, dtype, SHAPE(COUNT / 8, 8), 7);
        struct interp_tensor s = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
        int64_t open = 0;
        for (int64_t i = 0; i < s.count; i++)
            open += bound_of(&s, i) > 0;
        assert_true(open < s.count / 5); /* sums of numbers with few digits are often ties */
    }
}

static void test_folds(void **state)
{
    struct bed *bed = *state;
    struct attrs attrs = {.axis_count = 1, .axes = {1}};
    struct interp_tensor x = tensor_of(
        bed, DTYPE_F32, SHAPE(5, 3),
        VALUES(1e30, 1e30, 1e-30, 1e-30, 1e-30, 1e30, INFINITY, 0, 2, 2, 3, 4, 3e38, 3e38, -3e38));
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_PROD, &attrs, 1, &x);
    assert_same(y.bounds[0], INFINITY);                      /* one order overflows */
    assert_true(y.bounds[1] > 1e-17 && y.bounds[1] < 1e-13); /* one order underflows */
    assert_true(isnan(y.cells[2].f) && y.bounds[2] == 0);
    assert_true(y.cells[3].f == 24 && y.bounds[3] < 1e-4);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_same(y.bounds[4], INFINITY);
    x = tensor_of(bed, DTYPE_F32, SHAPE(1, 2), VALUES(2, 3));
    x = with_bound(bed, x, 0.5);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_PROD, &attrs, 1, &x);
    assert_true(fabs(y.bounds[0] - 2.75) < 1e-4);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_true(fabs(y.bounds[0] - 1) < 1e-4);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_MAX, &attrs, 1, &x);
    assert_same(y.bounds[0], 0.5);
}

/* A row's bound depends neither on the other rows of the tensor nor on the code path that they
 * cause. Sums of zeros are exact in every precision. */
static void test_sums_beside_others(void **state)
{
    struct bed *bed = *state;
    struct attrs attrs = {.axis_count = 1, .axes = {1}};
    double most = 0x1p1023, e = 0x1p-149;
    struct interp_tensor x =
        tensor_of(bed, DTYPE_F64, SHAPE(2, 2), VALUES(most, most, most, 0)); /* one overflows */
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_same(y.bounds[0], INFINITY);
    assert_same(y.bounds[1], 0);
    x = tensor_of(bed, DTYPE_F32, SHAPE(2, 2), VALUES(0, 0, 0.1, 1));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    double alone = y.bounds[0];
    assert_true(alone >= 2 * e && alone <= 4 * e);
    x.cells[3].f = INFINITY;
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_same(y.bounds[0], alone);
    x = tensor_of(bed, DTYPE_F32, SHAPE(2, 2), NULL);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
    assert_same(bound_of(&y, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random_graphs, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_float_arithmetic, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_propagation, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_casts_and_integers, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_narrow, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_folds, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_sums_beside_others, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
