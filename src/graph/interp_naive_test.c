/* Contractions, convolutions, windows and reductions compared with their definitions, computed term
 * by term in long double, and with the bounds that follow from these: over random shapes that fill
 * no block, special values, and operands with errors. A bound may be neither smaller than the
 * proven one, nor larger by more than a twentieth. */
#include <float.h>

#include "graph/interp_test_util.h"

#define TERMS_MOST (1 << 15)

struct term {
    double value, error;
};

/* The terms of one result. */
struct terms {
    enum prim prim;
    enum dtype dtype;
    bool padded;   /* some terms are zeros of padding */
    bool products; /* each term is a product of two numbers */
    int64_t count;
    struct term items[TERMS_MOST];
};

struct dice {
    uint64_t key, next;
};

static int64_t roll(struct dice *dice, int64_t least, int64_t most)
{
    return least + (int64_t)(rng_u32(dice->key, dice->next++) % (uint32_t)(most - least + 1));
}

static void add_term(struct terms *t, double value, double error)
{
    assert_true(t->count < TERMS_MOST);
    t->items[t->count++] = (struct term){value, error};
}

static void add_product(struct terms *t, double a, double ea, double b, double eb)
{
    double product = a * b;
    bool exact = isnan(a) || isnan(b), pole = isinf(a) || isinf(b);
    bool zero = (ea > 0 && ea >= fabs(a)) || (eb > 0 && eb >= fabs(b));
    double error = fabs(a) * eb + fabs(b) * ea + ea * eb;
    if (!(ea < INFINITY && eb < INFINITY))
        error = INFINITY;
    else if (exact || pole)
        error = !exact && zero ? INFINITY : 0;
    else if (isinf(product))
        error = INFINITY;
    add_term(t, product, error);
    t->products = true;
}

/* The smallest error bound that holds for every program that rounds to dtype; *value is the value
 * it is around. */
static double sum_bound(const struct terms *t, double *value)
{
    long double sum = 0, magnitude = 0, error = 0, n = (long double)t->count;
    double special = 0;
    bool nan = false; /* a determined NaN makes the sum NaN, whatever the other terms are */
    for (int64_t i = 0; i < t->count; i++) {
        nan |= isnan(t->items[i].value) && t->items[i].error == 0;
        error += t->items[i].error;
        if (isfinite(t->items[i].value))
            sum += t->items[i].value, magnitude += fabs(t->items[i].value);
        else
            special += t->items[i].value;
    }
    *value = special != 0 ? special : (double)sum;
    bool wide = t->dtype == DTYPE_F64;
    long double u = wide ? 2 * 0x1p-53L : 0x1p-24L + 0x1p-53L;
    long double tiny = wide ? 0x1p-1073L : 0x1p-149L;
    long double most = magnitude + error, max = wide ? DBL_MAX : FLT_MAX;
    if (nan && t->products) {
        *value = NAN;
        return t->padded ? INFINITY : 0;
    }
    if (!(error < INFINITY) || !(most <= max) || (special != 0 && t->padded))
        return INFINITY;
    if (special != 0)
        return 0;
    if (t->count == 0)
        return 0;
    long double e = error + n * u / (1 - n * u) * most + n * tiny;
    e += u * (fabsl(sum) + e) + tiny;
    return fabsl(sum) + e > max ? INFINITY : (double)e;
}

/* For a maximum; a NaN decides it. sign -1: for a minimum. */
static double max_bound(const struct terms *t, double sign, double *value)
{
    double most = -INFINITY, least = -INFINITY, error = 0;
    bool nan = false, unknown = false;
    for (int64_t i = 0; i < t->count; i++) {
        double x = sign * t->items[i].value;
        nan |= isnan(x);
        unknown |= !(t->items[i].error < INFINITY);
        most = fmax(most, x);
        least = fmax(least, x - t->items[i].error);
    }
    *value = nan ? NAN : sign * most;
    if (unknown)
        return INFINITY;
    for (int64_t i = 0; i < t->count && isfinite(*value); i++)
        if (sign * t->items[i].value + t->items[i].error >= least)
            error = fmax(error, t->items[i].error);
    return error;
}

static void check(const struct terms *t, const struct interp_tensor *y, int64_t at)
{
    bool is_max = t->prim == PRIM_REDUCE_MAX || t->prim == PRIM_WINDOW_MAX;
    double value, bound, got = y->cells[at].f, got_bound = bound_of(y, at);
    if (is_max || t->prim == PRIM_REDUCE_MIN)
        bound = max_bound(t, is_max ? 1 : -1, &value);
    else
        bound = sum_bound(t, &value);
    bool right;
    if (!(bound < INFINITY)) {
        right = got_bound == INFINITY;
    } else if (!isfinite(value)) {
        right = got_bound == 0 && (isnan(value) ? isnan(got) : got == value);
    } else {
        /* The f64 unit is part of every bound, so the values may differ by less than it. */
        right = got_bound >= bound * (1 - 1e-9) && got_bound <= 1.05 * bound &&
                fabs(got - value) <= (t->dtype == DTYPE_F64 ? bound : bound * 0x1p-25);
    }
    if (!right)
        fail_msg("%s %s, element %lld of %lld terms: %.17g ± %g, expected %.17g ± %g",
                 prim_info(t->prim)->name, dtype_name(t->dtype), (long long)at, (long long)t->count,
                 got, got_bound, value, bound);
}

/* Random normal numbers; depending on the dice with errors, and with special values and errors at
 * some places. */
static struct interp_tensor operand_of(struct bed *bed, struct dice *dice, enum dtype dtype,
                                       const int64_t *shape, size_t rank)
{
    static const double specials[] = {INFINITY, -INFINITY, NAN, 0, 1e308, 3e38};
    struct interp_tensor t = random_of(bed, dtype, shape, rank, rng_u32(dice->key, dice->next++));
    bool errors = roll(dice, 0, 1) == 1, special = roll(dice, 0, 3) == 0;
    if (errors) {
        t = with_bound(bed, t, 0);
        for (int64_t i = 0; i < t.count; i++)
            t.bounds[i] = fabs(t.cells[i].f) * (double)roll(dice, 0, 3) * 0x1p-20;
    }
    for (int64_t n = t.count > 0 && special ? roll(dice, 1, 4) : 0; n-- > 0;) {
        t.cells[roll(dice, 0, t.count - 1)].f = dtype_round(dtype, specials[roll(dice, 0, 5)]);
        int64_t at = roll(dice, 0, t.count - 1);
        if (errors && roll(dice, 0, 2) == 0)
            t.bounds[at] = roll(dice, 0, 1) == 0 ? INFINITY : 10;
    }
    for (int64_t i = 0; errors && i < t.count; i++)
        if (!isfinite(t.cells[i].f) && t.bounds[i] > 0)
            t.bounds[i] = INFINITY; /* an infinity is exact or not determined */
    return t;
}

/* Runs on one thread and on three, which must give the same bits. */
static struct interp_tensor run(struct bed *bed, enum prim prim, const struct attrs *attrs,
                                uint32_t count, const struct interp_tensor *in)
{
    struct interp_tensor y[2];
    struct interp_options options = {.mode = INTERP_REFERENCE};
    for (uint32_t i = 0; i < 2; i++) {
        options.threads = i == 0 ? 1 : 3;
        y[i] = run_prim_with(bed, options, prim, attrs, count, in);
    }
    size_t bytes = (size_t)y[0].count * sizeof(double);
    if (memcmp(y[0].cells, y[1].cells, bytes) != 0 ||
        (y[0].bounds && memcmp(y[0].bounds, y[1].bounds, bytes) != 0))
        fail_msg("%s: other bits on three threads", prim_info(prim)->name);
    return y[0];
}

static void begin(struct terms *t, enum prim prim, enum dtype dtype)
{
    t->prim = prim;
    t->dtype = dtype;
    t->count = 0;
    t->padded = false;
}

static void check_contract(struct bed *bed, struct dice *dice, struct terms *t, enum dtype dtype)
{
    int64_t size[] = {roll(dice, 1, 3), roll(dice, 1, 19), roll(dice, 1, 75), roll(dice, 0, 40)};
    size[1] = roll(dice, 0, 5) == 0 ? roll(dice, 120, 140) : size[1];
    size[3] = roll(dice, 0, 3) == 0 ? roll(dice, 250, 530) : size[3];
    int64_t m = size[1], n = size[2], k = size[3];
    if (roll(dice, 0, 1) == 0)
        m = size[2], n = size[1];
    struct interp_tensor in[2] = {operand_of(bed, dice, dtype, SHAPE(size[0], m, k)),
                                  operand_of(bed, dice, dtype, SHAPE(size[0], n, k))};
    struct attrs attrs = {.batch = 1, .contract = 1};
    struct interp_tensor y = run(bed, PRIM_CONTRACT, &attrs, 2, in);
    for (int64_t i = 0; i < y.count; i++) {
        begin(t, PRIM_CONTRACT, dtype);
        int64_t a = i / n * k, b = (i / (m * n) * n + i % n) * k;
        for (int64_t j = 0; j < k; j++)
            add_product(t, in[0].cells[a + j].f, bound_of(&in[0], a + j), in[1].cells[b + j].f,
                        bound_of(&in[1], b + j));
        check(t, &y, i);
    }
}

static struct window roll_window(struct dice *dice)
{
    return (struct window){.size = roll(dice, 1, 4),
                           .stride = roll(dice, 1, 3),
                           .low = roll(dice, 0, 3),
                           .high = roll(dice, 0, 3),
                           .dilation = roll(dice, 1, 2),
                           .base_dilation = roll(dice, 0, 3) == 0 ? 2 : 1};
}

/* The position in x that tap t of output o reads, or -1. */
static int64_t tap_position(const struct window *w, int64_t x, int64_t o, int64_t t)
{
    int64_t position = o * w->stride + t * w->dilation - w->low;
    if (position < 0 || position % w->base_dilation != 0 || position / w->base_dilation >= x)
        return -1;
    return position / w->base_dilation;
}

static void check_conv(struct bed *bed, struct dice *dice, struct terms *t, enum dtype dtype)
{
    struct window w[2] = {roll_window(dice), roll_window(dice)};
    int64_t groups = roll(dice, 1, 4), per_in = roll(dice, 1, 3), per_out = roll(dice, 1, 6);
    int64_t images = roll(dice, 1, 2), height = roll(dice, 8, 12), width = roll(dice, 8, 30);
    if (roll(dice, 0, 3) == 0) /* more terms than one panel */
        groups = 1, per_in = 70;
    struct interp_tensor in[2] = {
        operand_of(bed, dice, dtype, SHAPE(images, groups * per_in, height, width)),
        operand_of(bed, dice, dtype, SHAPE(groups * per_out, per_in, w[0].size, w[1].size))};
    struct attrs attrs = {.window_count = 2, .window = {w[0], w[1]}, .groups = groups};
    struct interp_tensor y = run(bed, PRIM_CONV, &attrs, 2, in);
    for (int64_t i = 0; i < y.count; i++) {
        int64_t ow = i % y.shape[3], oh = i / y.shape[3] % y.shape[2];
        int64_t o = i / y.shape[3] / y.shape[2] % y.shape[1];
        int64_t image = i / y.shape[3] / y.shape[2] / y.shape[1];
        begin(t, PRIM_CONV, dtype);
        for (int64_t j = 0; j < per_in * w[0].size * w[1].size; j++) {
            int64_t c = j / w[1].size / w[0].size, filter = o * per_in * w[0].size * w[1].size + j;
            int64_t h = tap_position(&w[0], height, oh, j / w[1].size % w[0].size);
            int64_t v = tap_position(&w[1], width, ow, j % w[1].size);
            int64_t at = ((image * groups + o / per_out) * per_in + c) * height * width;
            bool found = h >= 0 && v >= 0;
            at += found ? h * width + v : 0;
            t->padded |= !found;
            add_product(t, found ? in[0].cells[at].f : 0, found ? bound_of(&in[0], at) : 0,
                        in[1].cells[filter].f, bound_of(&in[1], filter));
        }
        check(t, &y, i);
    }
}

static void check_window(struct bed *bed, struct dice *dice, struct terms *t, enum dtype dtype)
{
    struct window w[2] = {roll_window(dice), roll_window(dice)};
    int64_t planes = roll(dice, 1, 3), height = roll(dice, 8, 20), width = roll(dice, 8, 30);
    if (roll(dice, 0, 5) == 0) { /* the whole plane, or more than the plane */
        w[0] = (struct window){height, 1, 0, 0, 1, 1};
        w[1] = (struct window){width + 1000, 1, 500, 501, 1, 1};
    }
    enum prim prim = roll(dice, 0, 1) == 0 ? PRIM_WINDOW_SUM : PRIM_WINDOW_MAX;
    struct interp_tensor x = operand_of(bed, dice, dtype, SHAPE(planes, height, width));
    struct attrs attrs = {.window_count = 2, .window = {w[0], w[1]}};
    struct interp_tensor y = run(bed, prim, &attrs, 1, &x);
    for (int64_t i = 0; i < y.count; i++) {
        int64_t ow = i % y.shape[2], oh = i / y.shape[2] % y.shape[1];
        int64_t plane = i / y.shape[2] / y.shape[1];
        begin(t, prim, dtype);
        for (int64_t j = 0; j < w[0].size * w[1].size; j++) {
            int64_t h = tap_position(&w[0], height, oh, j / w[1].size);
            int64_t v = tap_position(&w[1], width, ow, j % w[1].size);
            int64_t at = (plane * height + h) * width + v;
            if (h >= 0 && v >= 0)
                add_term(t, x.cells[at].f, bound_of(&x, at));
        }
        check(t, &y, i);
    }
}

static void check_reduce(struct bed *bed, struct dice *dice, struct terms *t, enum dtype dtype)
{
    static const enum prim prims[] = {PRIM_REDUCE_SUM, PRIM_REDUCE_MAX, PRIM_REDUCE_MIN};
    enum prim prim = prims[roll(dice, 0, 2)];
    int64_t shape[4] = {roll(dice, 1, 4), roll(dice, 1, 9), roll(dice, 1, 9), roll(dice, 1, 90)};
    struct interp_tensor x = operand_of(bed, dice, dtype, shape, 4);
    struct attrs attrs = {0};
    int64_t reduced = roll(dice, 1, 15), out_at[4], stride = 1;
    for (uint8_t d = 0; d < 4; d++)
        if (reduced >> d & 1)
            attrs.axes[attrs.axis_count++] = d;
    struct interp_tensor y = run(bed, prim, &attrs, 1, &x);
    for (int d = 4; d-- > 0;) {
        out_at[d] = reduced >> d & 1 ? 0 : stride;
        stride *= reduced >> d & 1 ? 1 : shape[d];
    }
    for (int64_t i = 0; i < y.count; i++) {
        begin(t, prim, dtype);
        for (int64_t j = 0; j < x.count; j++) {
            int64_t to = 0, rest = j;
            for (int d = 4; d-- > 0; rest /= shape[d])
                to += rest % shape[d] * out_at[d];
            if (to == i)
                add_term(t, x.cells[j].f, bound_of(&x, j));
        }
        check(t, &y, i);
    }
}

static void run_all(struct bed *bed,
                    void (*one)(struct bed *, struct dice *, struct terms *, enum dtype),
                    uint64_t count)
{
    struct terms *terms = malloc(sizeof *terms);
    for (uint64_t seed = 0; seed < count; seed++) {
        struct dice dice = {rng_key(seed), 0};
        arena_release(&bed->arena);
        one(bed, &dice, terms, seed % 2 == 0 ? DTYPE_F32 : DTYPE_F64);
    }
    free(terms);
}

static void test_contract(void **state)
{
    run_all(*state, check_contract, 150);
}

static void test_conv(void **state)
{
    run_all(*state, check_conv, 150);
}

static void test_window(void **state)
{
    run_all(*state, check_window, 150);
}

static void test_reduce(void **state)
{
    run_all(*state, check_reduce, 150);
}

/* A sum of so many terms that γ differs from n·u: the bound is exactly n·u / (1 - n·u). */
static void test_long_sums(void **state)
{
    struct bed *bed = *state;
    struct attrs attrs = {.axis_count = 1, .axes = {1}};
    const double u = 0x1p-24 + 0x1p-53;
    static const int64_t sizes[] = {1 << 20, 1 << 22, 1 << 24};
    for (int i = 0; i < 3; i++) {
        arena_release(&bed->arena);
        struct interp_tensor x = tensor_of(bed, DTYPE_F32, SHAPE(1, sizes[i]), NULL);
        for (int64_t k = 0; k < x.count; k++)
            x.cells[k].f = (double)0.1f;
        struct interp_tensor y = run_prim_of(bed, INTERP_REFERENCE, PRIM_REDUCE_SUM, &attrs, 1, &x);
        double nu = (double)sizes[i] * u, least = nu < 1 ? nu / (1 - nu) * y.cells[0].f : INFINITY;
        assert_true(fabs(y.cells[0].f - (double)sizes[i] * (double)0.1f) < 1e-9 * (double)sizes[i]);
        if (!(y.bounds[0] >= least && y.bounds[0] <= 1.05 * least))
            fail_msg("%lld terms: bound %g, expected %g", (long long)sizes[i], y.bounds[0], least);
    }
}

/* Elementwise prims: the largest distance of the result from the one at the interval's centre, for
 * operands within their intervals; for functions that are monotone there, the maximum is at the
 * ends. */
struct elementwise {
    enum prim prim;
    long double (*unary)(long double);
    long double (*binary)(long double, long double);
    bool tight; /* the ends give the whole bound, not only a part */
};

static long double add(long double a, long double b)
{
    return a + b;
}

static long double subtract(long double a, long double b)
{
    return a - b;
}

static long double multiply(long double a, long double b)
{
    return a * b;
}

static long double divide(long double a, long double b)
{
    return a / b;
}

static const struct elementwise elementwise[] = {
    {PRIM_EXP, expl, NULL, true},     {PRIM_EXP2, exp2l, NULL, true},
    {PRIM_EXPM1, expm1l, NULL, true}, {PRIM_LOG, logl, NULL, true},
    {PRIM_LOG2, log2l, NULL, true},   {PRIM_LOG1P, log1pl, NULL, true},
    {PRIM_SIN, sinl, NULL, false},    {PRIM_COS, cosl, NULL, false},
    {PRIM_TAN, tanl, NULL, true},     {PRIM_ATAN, atanl, NULL, true},
    {PRIM_TANH, tanhl, NULL, true},   {PRIM_ERF, erfl, NULL, true},
    {PRIM_ERFC, erfcl, NULL, true},   {PRIM_SQRT, sqrtl, NULL, true},
    {PRIM_NEG, NULL, NULL, false},    {PRIM_ADD, NULL, add, true},
    {PRIM_SUB, NULL, subtract, true}, {PRIM_MUL, NULL, multiply, true},
    {PRIM_DIV, NULL, divide, true},   {PRIM_MAX, NULL, fmaxl, false},
    {PRIM_MIN, NULL, fminl, false},   {PRIM_POW, NULL, powl, true},
};

static long double result(const struct elementwise *row, long double a, long double b)
{
    return row->unary ? row->unary(a) : row->binary ? row->binary(a, b) : -a;
}

static void check_element(const struct elementwise *row, const struct interp_tensor *in,
                          const struct interp_tensor *y, int64_t i)
{
    double a = in[0].cells[i].f, ea = bound_of(&in[0], i), b = in[1].cells[i].f;
    double eb = row->binary ? bound_of(&in[1], i) : 0, ulp = prim_ulp(row->prim, y->dtype);
    long double middle = result(row, a, b), away = 0;
    for (int corner = 0; corner < 4; corner++)
        away = fmaxl(away, fabsl(result(row, corner & 1 ? (long double)a + ea : (long double)a - ea,
                                        corner & 2 ? (long double)b + eb : (long double)b - eb) -
                                 middle));
    if (bound_of(y, i) == INFINITY) { /* a pole or the end of the domain is within the error */
        if (row->prim != PRIM_TAN && ea <= fabs(a) / 64 && eb <= fabs(b) / 64 &&
            fabsl(middle) < 1e30L)
            fail_msg("%s(%.17g ± %g, %.17g ± %g) is not determined", prim_info(row->prim)->name, a,
                     ea, b, eb);
        return;
    }
    long double unit = dtype_unit_roundoff(y->dtype) + 0x1p-53L;
    long double local = (ulp < 0.5 ? 0 : 2 * ulp * unit) * (fabsl(middle) + away);
    /* In f64 the rounding of the bound's own computation is part of it. */
    long double most = 1.05L * (away + local) + 2 * dtype_min_normal(y->dtype) +
                       (y->dtype == DTYPE_F64 ? 4 * unit * fabsl(middle) : 0);
    /* Correctly rounded prims are exact where the result is representable. */
    bool number = fabsl(dtype_round(y->dtype, (double)middle) - middle) <= 0x1p-60L * fabsl(middle);
    long double least = number && ulp <= 0.5 ? away : away + local;
    bool right = bound_of(y, i) >= (double)least * (1 - 1e-9) &&
                 (!row->tight || bound_of(y, i) <= (double)most) &&
                 fabsl(y->cells[i].f - middle) <= 4 * 0x1p-53L * fabsl(middle) + 0x1p-1074L;
    if (!right)
        fail_msg("%s(%.17g ± %g, %.17g ± %g): %.17g ± %g, expected ± %Lg + %Lg",
                 prim_info(row->prim)->name, a, ea, b, eb, y->cells[i].f, bound_of(y, i), away,
                 local);
}

static void test_elementwise(void **state)
{
    struct bed *bed = *state;
    for (size_t k = 0; k < 4 * sizeof elementwise / sizeof *elementwise; k++) {
        const struct elementwise *row = &elementwise[k / 4];
        enum dtype dtype = k % 2 == 0 ? DTYPE_F32 : DTYPE_F64;
        bool positive = row->prim == PRIM_LOG || row->prim == PRIM_LOG2 ||
                        row->prim == PRIM_LOG1P || row->prim == PRIM_SQRT || row->prim == PRIM_POW;
        struct dice dice = {rng_key(k), 0};
        struct interp_tensor in[2];
        arena_release(&bed->arena);
        for (uint64_t i = 0; i < 2; i++) {
            in[i] = with_bound(bed, random_of(bed, dtype, SHAPE(5000), 2 * k + i), 0);
            for (int64_t n = 0; n < in[i].count; n++) {
                double scale = ldexp(1, (int)roll(&dice, -12, 3)), *x = &in[i].cells[n].f;
                *x = dtype_round(dtype, (positive && i == 0 ? fabs(*x) : *x) * scale);
                if (k % 4 < 2)
                    in[i].bounds[n] = fabs(*x) * ldexp(1, (int)roll(&dice, -24, 0));
            }
        }
        struct interp_tensor y = run(bed, row->prim, NULL, row->binary ? 2 : 1, in);
        for (int64_t n = 0; n < y.count; n++)
            check_element(row, in, &y, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contract, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_conv, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_window, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_reduce, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_elementwise, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_long_sums, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
