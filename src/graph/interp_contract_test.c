/* Contractions, convolutions and windows against loops written from their definitions. */
#include "graph/interp_test_util.h"

static void test_contract(void **state)
{
    /* a[2 batch, 3, 2, 4, 5], b[2 batch, 7, 4, 5]; a has more rows than one block. */
    for (int dtype = 0; dtype < 2; dtype++) {
        enum dtype d = dtype ? DTYPE_I32 : DTYPE_F64;
        struct interp_tensor t[2] = {random_of(*state, d, SHAPE(2, 3, 2, 4, 5), 1),
                                     random_of(*state, d, SHAPE(2, 37, 4, 5), 2)};
        struct attrs attrs = {.batch = 1, .contract = 2};
        struct interp_tensor y = run_prim_of(*state, INTERP_REFERENCE, PRIM_CONTRACT, &attrs, 2, t);
        assert_int_equal(y.rank, 4);
        assert_int_equal(y.count, 2 * 6 * 37);
        for (int64_t i = 0; i < y.count; i++) {
            int64_t batch = i / (6 * 37), m = i / 37 % 6, n = i % 37, whole = 0;
            double sum = 0;
            for (int64_t k = 0; k < 20; k++) {
                union cell a = t[0].cells[(batch * 6 + m) * 20 + k];
                union cell b = t[1].cells[(batch * 37 + n) * 20 + k];
                sum += dtype ? 0 : a.f * b.f;
                whole += dtype ? a.i * b.i : 0;
            }
            if (dtype)
                assert_int_equal(y.cells[i].i, whole);
            else
                assert_true(fabs(y.cells[i].f - sum) <= y.bounds[i] && y.bounds[i] < 1e-12);
        }
    }
}

static void test_contract_cases(void **state)
{
    struct bed *bed = *state;
    /* No contracted elements: zeros. Exact infinities stay determined; overflow is not
     * determined. */
    struct interp_tensor t[2] = {tensor_of(bed, DTYPE_F32, SHAPE(2, 0), NULL),
                                 tensor_of(bed, DTYPE_F32, SHAPE(1, 0), NULL)};
    struct attrs attrs = {.contract = 1};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONTRACT, &attrs, 2, t);
    assert_floats(&y, VALUES(0, 0));
    t[0] = tensor_of(bed, DTYPE_F32, SHAPE(4, 2),
                     VALUES(INFINITY, 1, NAN, 1, INFINITY, -INFINITY, 3e38, 3e38));
    t[1] = tensor_of(bed, DTYPE_F32, SHAPE(1, 2), VALUES(1, 1));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONTRACT, &attrs, 2, t);
    assert_same(y.cells[0].f, INFINITY);
    assert_same(y.cells[1].f, NAN);
    assert_same(y.cells[2].f, NAN);
    assert_same(y.bounds[0] + y.bounds[1] + y.bounds[2], 0);
    assert_true(isinf(y.bounds[3]));
    /* Errors of operands: |a|eb + |b|ea + ea·eb. */
    t[0] = with_bound(bed, tensor_of(bed, DTYPE_F32, SHAPE(1, 2), VALUES(1, -2)), 0.25);
    t[1] = with_bound(bed, tensor_of(bed, DTYPE_F32, SHAPE(1, 2), VALUES(3, 4)), 0.5);
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONTRACT, &attrs, 2, t);
    assert_true(y.cells[0].f == -5 && fabs(y.bounds[0] - (1.5 + 1.75 + 0.25)) < 1e-5);
    t[1].bounds = NULL;
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONTRACT, &attrs, 2, t);
    assert_true(fabs(y.bounds[0] - 1.75) < 1e-5);
}

/* The position in x that tap t of output o reads, or -1. */
static int64_t tap_position(const struct window *w, int64_t x, int64_t o, int64_t t)
{
    int64_t position = o * w->stride + t * w->dilation - w->low;
    if (position < 0 || position % w->base_dilation != 0 || position / w->base_dilation >= x)
        return -1;
    return position / w->base_dilation;
}

static const struct window WINDOWS[][2] = {
    {{3, 1, 0, 0, 1, 1}, {2, 1, 0, 0, 1, 1}},
    {{3, 2, 1, 2, 1, 1}, {2, 1, 0, 1, 2, 1}},
    {{2, 1, 1, 1, 2, 2}, {3, 3, 2, 2, 1, 3}},
    {{1, 1, 0, 0, 1, 1}, {4, 1, 3, 3, 1, 2}},
};
#define WINDOWS_COUNT (sizeof WINDOWS / sizeof *WINDOWS)

static void check_conv(struct bed *bed, const struct window *w, int64_t groups)
{
    struct interp_tensor t[2] = {
        random_of(bed, DTYPE_F64, SHAPE(2, 4, 6, 5), 1),
        random_of(bed, DTYPE_F64, SHAPE(6, 4 / groups, w[0].size, w[1].size), 2)};
    struct attrs attrs = {.window_count = 2, .window = {w[0], w[1]}, .groups = groups};
    struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONV, &attrs, 2, t);
    assert_true(y.count > 0 && y.shape[0] == 2 && y.shape[1] == 6);
    int64_t per = 4 / groups;
    for (int64_t i = 0; i < y.count; i++) {
        int64_t ow = i % y.shape[3], oh = i / y.shape[3] % y.shape[2];
        int64_t o = i / y.shape[3] / y.shape[2] % 6, n = i / y.shape[3] / y.shape[2] / 6;
        double sum = 0;
        for (int64_t c = 0; c < per; c++)
            for (int64_t a = 0; a < w[0].size; a++)
                for (int64_t b = 0; b < w[1].size; b++) {
                    int64_t h = tap_position(&w[0], 6, oh, a), v = tap_position(&w[1], 5, ow, b);
                    int64_t channel = o / (6 / groups) * per + c;
                    if (h >= 0 && v >= 0)
                        sum += t[0].cells[((n * 4 + channel) * 6 + h) * 5 + v].f *
                               t[1].cells[((o * per + c) * w[0].size + a) * w[1].size + b].f;
                }
        assert_true(fabs(y.cells[i].f - sum) <= y.bounds[i] && y.bounds[i] < 1e-12);
    }
}

static void test_conv(void **state)
{
    for (size_t i = 0; i < WINDOWS_COUNT; i++)
        for (int64_t groups = 1; groups <= 2; groups++)
            check_conv(*state, WINDOWS[i], groups);
    struct bed *bed = *state;
    struct interp_tensor t[2] = {tensor_of(bed, DTYPE_I8, SHAPE(1, 1, 3), VALUES(1, 2, 100)),
                                 tensor_of(bed, DTYPE_I8, SHAPE(1, 1, 2), VALUES(1, 2))};
    struct attrs attrs = {.window_count = 1, .window = {{2, 1, 1, 0, 1, 1}}, .groups = 1};
    struct interp_tensor y = run_prim_of(bed, INTERP_NATIVE, PRIM_CONV, &attrs, 2, t);
    assert_ints(&y, VALUES(2, 5, -54));
    /* Padding times infinity. */
    t[0] = tensor_of(bed, DTYPE_F32, SHAPE(1, 1, 2), VALUES(1, 1));
    t[1] = tensor_of(bed, DTYPE_F32, SHAPE(1, 1, 2), VALUES(INFINITY, 1));
    y = run_prim_of(bed, INTERP_REFERENCE, PRIM_CONV, &attrs, 2, t);
    assert_true(isinf(y.bounds[0]) && y.bounds[1] == 0 && y.cells[1].f == INFINITY);
}

static void test_window(void **state)
{
    struct interp_tensor x = random_of(*state, DTYPE_F64, SHAPE(3, 6, 5), 4);
    for (size_t k = 0; k < WINDOWS_COUNT; k++) {
        const struct window *w = WINDOWS[k];
        struct attrs attrs = {.window_count = 2, .window = {w[0], w[1]}};
        struct interp_tensor s =
            run_prim_of(*state, INTERP_REFERENCE, PRIM_WINDOW_SUM, &attrs, 1, &x);
        struct interp_tensor m =
            run_prim_of(*state, INTERP_REFERENCE, PRIM_WINDOW_MAX, &attrs, 1, &x);
        for (int64_t i = 0; i < s.count; i++) {
            int64_t ow = i % s.shape[2], oh = i / s.shape[2] % s.shape[1],
                    n = i / s.shape[2] / s.shape[1];
            double sum = 0, most = -INFINITY;
            for (int64_t a = 0; a < w[0].size; a++)
                for (int64_t b = 0; b < w[1].size; b++) {
                    int64_t h = tap_position(&w[0], 6, oh, a), v = tap_position(&w[1], 5, ow, b);
                    double value = h >= 0 && v >= 0 ? x.cells[(n * 6 + h) * 5 + v].f : -INFINITY;
                    sum += isfinite(value) ? value : 0;
                    most = fmax(most, value);
                }
            assert_true(fabs(s.cells[i].f - sum) <= bound_of(&s, i) && bound_of(&s, i) < 1e-12);
            assert_same(m.cells[i].f, most);
        }
        assert_null(m.bounds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contract, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_contract_cases, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_conv, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_window, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
