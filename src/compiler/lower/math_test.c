/* Elementary functions compared with libm of a wider type, in an evaluator of loop expressions with
 * exactly the meaning of exprs.def, with FMA rounded once and rounded twice.
 *
 * By default on samples and all special values; with --exhaustive [name]… on every f32, for the
 * unary functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "compiler/lower/math.h"
#include "compiler/lower/math_eval.h"
#include <cmocka.h>

/* The functions. f64_bound is the table in math.h; low and high: where f64 samples lie. */
static double rsqrt_f64(double x)
{
    return 1 / sqrt(x);
}

static long double rsqrt_wide(long double x)
{
    return 1 / sqrtl(x);
}

struct function {
    const char *name;
    enum prim prim;
    double bound, f64_bound, low, high;
    double (*reference)(double x);
    long double (*wide)(long double x);
};

#define PRIM(id, name, n, rule, attrs, ulp, doc) [PRIM_##id] = ulp,
static const double prim_bounds[] = {
#include "graph/prims.def"
};
#undef PRIM

#define FUNCTION(id, f64_bound, low, high, ref) \
    {#ref, PRIM_##id, 0, f64_bound, low, high, ref, ref##l}
static const struct function functions[] = {
    FUNCTION(EXP, 1, -746, 709.7, exp),
    FUNCTION(EXP2, 1.5, -1076, 1023.9, exp2),
    FUNCTION(EXPM1, 2, -40, 709.7, expm1),
    FUNCTION(LOG, 1, 0, 10, log),
    FUNCTION(LOG2, 2, 0, 10, log2),
    FUNCTION(LOG1P, 1.5, -1, 10, log1p),
    FUNCTION(SIN, 3, -0x1p29, 0x1p29, sin),
    FUNCTION(COS, 3, -0x1p29, 0x1p29, cos),
    FUNCTION(TAN, 4, -0x1p29, 0x1p29, tan),
    FUNCTION(ATAN, 2, -10, 10, atan),
    FUNCTION(TANH, 3, -20, 20, tanh),
    FUNCTION(ERF, 2, -6, 6, erf),
    FUNCTION(ERFC, 4, -6, 27.5, erfc),
    {"rsqrt", PRIM_RSQRT, 0, 1.5, 0, 10, rsqrt_f64, rsqrt_wide},
};
#define FUNCTION_COUNT (sizeof functions / sizeof functions[0])

/* The error in units of the last place of `exact` for f32 results; the unit is at least the least
 * subnormal number. Infinity counts as 2^128. */
static double ulp_f32(float result, double exact)
{
    if (isnan(exact) || isnan(result))
        return isnan(exact) && isnan(result) ? 0 : INFINITY;
    double magnitude = fabs(exact);
    if (magnitude < (double)FLT_MIN)
        return fabs((double)result - exact) * 0x1p149;
    if (isinf((float)exact))
        exact = copysign(0x1p128, exact);
    if (isinf(result) || isinf((float)exact)) {
        double wide = isinf(result) ? copysign(0x1p128, (double)result) : (double)result;
        return fabs(wide - exact) * 0x1p-104;
    }
    uint64_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    bits = (bits >> 52 << 52) - ((uint64_t)23 << 52);
    double unit;
    memcpy(&unit, &bits, sizeof unit);
    return fabs((double)result - exact) / unit;
}

static double ulp_f64(double result, long double exact)
{
    if (isnan(exact) || isnan(result))
        return isnan(exact) && isnan(result) ? 0 : INFINITY;
    if (fabsl(exact) < (long double)DBL_MIN)
        return (double)(fabsl((long double)result - exact) * 0x1p1074L);
    if (isinf((double)exact) || isinf(result))
        return isinf((double)exact) && isinf(result) && (exact > 0) == (result > 0) ? 0 : INFINITY;
    return (double)ldexpl(fabsl((long double)result - exact), 52 - ilogbl(exact));
}

struct built {
    struct arena arena;
    struct dim_table dims;
    struct nest nest;
    struct program program;
};

static struct built *build(enum prim prim, enum dtype dtype)
{
    struct built *b = calloc(1, sizeof *b);
    assert_non_null(b);
    arena_init(&b->arena);
    dim_table_init(&b->dims, &b->arena);
    nest_init(&b->nest, &b->arena, &b->dims, "math");
    expr_id x = expr_local(&b->nest, nest_local(&b->nest, "x", dtype));
    expr_id y = expr_local(&b->nest, nest_local(&b->nest, "y", dtype));
    expr_id e = prim == PRIM_POW ? math_pow(&b->nest, x, y) : math_unary(&b->nest, prim, x);
    assert_int_equal(expr_at(&b->nest, e)->dtype, dtype);
    program_init(&b->program, &b->nest, e);
    return b;
}

static void built_free(struct built *b)
{
    arena_release(&b->arena);
    free(b);
}

/* The greatest error so far, and its arguments. */
struct worst {
    double ulp[2]; /* without FMA, with FMA */
    double x[2], y[2];
};

static void worst_note(struct worst *w, bool fused, double ulp, double x, double y)
{
    if (ulp > w->ulp[fused]) {
        w->ulp[fused] = ulp;
        w->x[fused] = x;
        w->y[fused] = y;
    }
}

static void worst_report(const char *name, const char *dtype, double bound, const struct worst *w)
{
    print_message("%-6s %s  max ulp %.3f, with fma %.3f (bound %.1f) at %a %a, %a %a\n", name,
                  dtype, w->ulp[0], w->ulp[1], bound, w->x[0], w->y[0], w->x[1], w->y[1]);
}

static void check_f32(const struct program *p, const struct function *f,
                      union value_block *registers, const union value_block *x, struct worst *w)
{
    double exact[BLOCK];
    for (uint32_t i = 0; i < BLOCK; i++)
        exact[i] = f->reference((double)x->f32[i]);
    for (int fused = 0; fused < 2; fused++) {
        const union value_block *r = program_run(p, registers, x, x, fused != 0);
        for (uint32_t i = 0; i < BLOCK; i++)
            worst_note(w, fused != 0, ulp_f32(r->f32[i], exact[i]), (double)x->f32[i], 0);
    }
}

static const double specials[] = {
    0,         0x1p-149,
    0x1p-140,  0x1p-127,
    0x1p-126,  0x1.8p-126,
    0x1p-100,  0x1p-30,
    0x1p-25,   0x1p-24,
    0x1p-23,   0x1p-12,
    0.25,      0.34657,
    0.3466,    0.41421,
    0.41422,   0.5,
    0.70710,   0.70711,
    0.785398,  0.927,
    0.9999999, 1,
    1.0000001, 1.4142135,
    1.4142137, 1.5,
    1.570796,  2,
    2.41421,   2.5,
    3,         3.141593,
    4,         5,
    9.2,       9.19,
    9.6,       10,
    10.05,     10.06,
    22,        26.5,
    27.2,      27.3,
    87.33654,  87.33655,
    88.72283,  88.72284,
    89,        96,
    103.9,     104,
    744.4,     745.13,
    126,       127,
    128,       149,
    150,       8388607,
    8388608,   16777215,
    16777216,  16777217,
    0x1p31,    0x1p43,
    0x1.8p43,  0x1p63,
    0x1p86,    0x1.8p86,
    0x1p126,   0x1.fffffep126,
    0x1p127,   0x1.fffffep127,
    INFINITY,  NAN,
};
#define SPECIAL_COUNT (sizeof specials / sizeof specials[0])

static double special(size_t i)
{
    double v = specials[i / 2 % SPECIAL_COUNT];
    return i % 2 ? -v : v;
}

/* Special values, then every float around them, then samples of all bit patterns. */
static void test_unary_f32(void **state)
{
    (void)state;
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x;
    assert_non_null(registers);
    for (size_t k = 0; k < FUNCTION_COUNT; k++) {
        const struct function *f = &functions[k];
        struct built *b = build(f->prim, DTYPE_F32);
        struct worst w = {0};
        for (size_t at = 0; at < 2 * SPECIAL_COUNT; at++) {
            for (uint32_t i = 0; i < BLOCK; i++) {
                x.f32[i] = (float)special(at);
                if (!isnan(x.f32[i]))
                    x.i32[i] = (int32_t)((uint32_t)x.i32[i] + i - BLOCK / 2);
            }
            check_f32(&b->program, f, registers, &x, &w);
        }
        uint32_t pattern = 0x9e3779b9;
        for (uint32_t at = 0; at < 1u << 20; at += BLOCK) {
            for (uint32_t i = 0; i < BLOCK; i++, pattern += 0x9e3779b9)
                x.i32[i] = (int32_t)pattern;
            check_f32(&b->program, f, registers, &x, &w);
        }
        worst_report(f->name, "f32", prim_bounds[f->prim], &w);
        assert_true(w.ulp[0] <= prim_bounds[f->prim] && w.ulp[1] <= prim_bounds[f->prim]);
        built_free(b);
    }
    free(registers);
}

static double unit(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-53;
}

static void check_f64(const struct program *p, const struct function *f,
                      union value_block *registers, const union value_block *x, struct worst *w)
{
    long double exact[BLOCK];
    for (uint32_t i = 0; i < BLOCK; i++)
        exact[i] = f->wide((long double)x->f64[i]);
    for (int fused = 0; fused < 2; fused++) {
        const union value_block *r = program_run(p, registers, x, x, fused != 0);
        for (uint32_t i = 0; i < BLOCK; i++)
            worst_note(w, fused != 0, ulp_f64(r->f64[i], exact[i]), x->f64[i], 0);
    }
}

/* Samples that are uniform over the function's range, and samples with uniform exponents within
 * it. */
static void test_unary_f64(void **state)
{
    (void)state;
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x;
    assert_non_null(registers);
    uint64_t seed = 1;
    for (size_t k = 0; k < FUNCTION_COUNT; k++) {
        const struct function *f = &functions[k];
        struct built *b = build(f->prim, DTYPE_F64);
        struct worst w = {0};
        for (uint32_t at = 0; at < 1u << 17; at += BLOCK) {
            for (uint32_t i = 0; i < BLOCK; i++) {
                double u = unit(&seed), v = f->low + (f->high - f->low) * unit(&seed);
                if (i % 4 == 1) /* near 0, some of them subnormal */
                    v *= exp2((i % 8 == 1 ? -60 : -1070) * u);
                else if (i % 4 == 2) /* near 1 */
                    v = 1 + (u - 0.5) * exp2(-40 * unit(&seed));
                else if (i % 4 == 3) /* where most arguments are */
                    v = fmin(f->high, fmax(f->low, 8 * (u - 0.5)));
                x.f64[i] = v;
            }
            check_f64(&b->program, f, registers, &x, &w);
        }
        worst_report(f->name, "f64", f->f64_bound, &w);
        assert_true(w.ulp[0] <= f->f64_bound && w.ulp[1] <= f->f64_bound);
        assert_true(f->f64_bound <= prim_ulp(f->prim, DTYPE_F64)); /* the bound of verification */
        built_free(b);
    }
    free(registers);
}

static void assert_same(double result, double expected, const char *name, double x, double y)
{
    bool same = isnan(expected) ? isnan(result)
                                : result == expected && !signbit(result) == !signbit(expected);
    if (!same)
        fail_msg("%s(%a, %a) is %a, not %a", name, x, y, result, expected);
}

/* Signed zeros, infinities, NaN and domain errors give what C99 says, in both dtypes. */
static void test_special_values(void **state)
{
    (void)state;
    static const double points[BLOCK] = {0.0, -0.0, INFINITY, -INFINITY, NAN, -1, 1, -2, -0x1p-140};
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x;
    assert_non_null(registers);
    for (size_t k = 0; k < FUNCTION_COUNT; k++) {
        for (int wide = 0; wide < 2; wide++) {
            struct built *b = build(functions[k].prim, wide ? DTYPE_F64 : DTYPE_F32);
            for (uint32_t i = 0; i < BLOCK; i++)
                if (wide)
                    x.f64[i] = points[i];
                else
                    x.f32[i] = (float)points[i];
            const union value_block *r = program_run(&b->program, registers, &x, &x, wide != 0);
            for (uint32_t i = 0; i < 9; i++) {
                double expected = functions[k].reference(points[i]);
                double result = wide ? r->f64[i] : (double)r->f32[i];
                if (isnan(expected) || isinf(expected) || expected == 0)
                    assert_same(result, expected, functions[k].name, points[i], 0);
            }
            built_free(b);
        }
    }
    free(registers);
}

/* Every pair of special values, with small integers and halves among them. */
static void test_pow_special_values(void **state)
{
    (void)state;
    static const double values[] = {
        0,   -0.0, INFINITY, -INFINITY, NAN,       1,      -1,      2,       -2,    3,  -3,
        0.5, -0.5, 1.5,      -1.5,      0.75,      -0.75,  0x1p24,  -0x1p24, 5,     -5, 127,
        128, 129,  -126,     16777215,  -16777215, 0x1p30, -0x1p30, 1e20,    -1e20,
    };
    enum { COUNT = sizeof values / sizeof values[0] };
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x, y;
    assert_non_null(registers);
    for (int mode = 0; mode < 4; mode++) {
        bool wide = mode >= 2, fused = mode % 2 != 0;
        struct built *b = build(PRIM_POW, wide ? DTYPE_F64 : DTYPE_F32);
        for (uint32_t row = 0; row < COUNT; row++) {
            for (uint32_t i = 0; i < BLOCK; i++) {
                double v = values[i % COUNT];
                x.f64[i] = values[row];
                y.f64[i] = v;
            }
            for (uint32_t i = 0; !wide && i < BLOCK; i++) {
                x.f32[i] = (float)values[row];
                y.f32[i] = (float)values[i % COUNT];
            }
            const union value_block *r = program_run(&b->program, registers, &x, &y, fused);
            for (uint32_t i = 0; i < COUNT; i++) {
                double expected = pow(values[row], values[i]);
                double result = wide ? r->f64[i] : (double)r->f32[i];
                double error = wide ? ulp_f64(result, powl(values[row], values[i]))
                                    : ulp_f32(r->f32[i], expected);
                if (isnan(expected) || isinf(expected) || expected == 0 || fabs(expected) == 1)
                    assert_same(result, expected, "pow", values[row], values[i]);
                else if (error > prim_bounds[PRIM_POW])
                    fail_msg("pow(%a, %a) is %a", values[row], values[i], result);
            }
        }
        built_free(b);
    }
    free(registers);
}

/* Samples of pow: bases over all exponents and near 1; powers for which most results are finite. */
static double pow_sample(uint64_t *seed, double exponents, double *out_y)
{
    double u = unit(seed);
    double x = exp2((2 * unit(seed) - 1) * exponents * (u < 0.3 ? 1 : u < 0.6 ? 0.01 : 1e-5));
    double y = (2 * unit(seed) - 1) * exponents / fmax(fabs(log2(x)), 1e-9);
    *out_y = u < 0.15 ? rint(y) : y;
    return u < 0.1 ? -x : x;
}

static void test_pow(void **state)
{
    (void)state;
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x, y;
    assert_non_null(registers);
    uint64_t seed = 7;
    for (int wide = 0; wide < 2; wide++) {
        struct built *b = build(PRIM_POW, wide ? DTYPE_F64 : DTYPE_F32);
        struct worst w = {0};
        for (uint32_t at = 0; at < (wide ? 1u << 17 : 1u << 20); at += BLOCK) {
            for (uint32_t i = 0; i < BLOCK; i++) {
                double py, px = pow_sample(&seed, wide ? 1078 : 152, &py);
                if (wide) {
                    x.f64[i] = px;
                    y.f64[i] = py;
                } else {
                    x.f32[i] = (float)px;
                    y.f32[i] = (float)py;
                }
            }
            for (int fused = 0; fused < 2; fused++) {
                const union value_block *r =
                    program_run(&b->program, registers, &x, &y, fused != 0);
                for (uint32_t i = 0; i < BLOCK; i++) {
                    double px = wide ? x.f64[i] : (double)x.f32[i];
                    double py = wide ? y.f64[i] : (double)y.f32[i];
                    double ulp =
                        wide ? ulp_f64(r->f64[i], powl(px, py)) : ulp_f32(r->f32[i], pow(px, py));
                    worst_note(&w, fused != 0, ulp, px, py);
                }
            }
        }
        double bound = wide ? 1 : prim_bounds[PRIM_POW];
        worst_report("pow", wide ? "f64" : "f32", bound, &w);
        assert_true(w.ulp[0] <= bound && w.ulp[1] <= bound);
        built_free(b);
    }
    free(registers);
}

/* The f64 that are nearest to multiples of π/2 for their exponents, found by continued fractions;
 * they are the hardest arguments. The first leaves 2^-60.9. */
static const double hard_angles[] = {
    0x1.6ac5b262ca1ffp849, 0x1.6ac5b262ca1ffp850, 0x1.504cac51f1eafp131, 0x1.6ac5b262ca1ffp851,
    0x1.e009c53148be1p991, 0x1.4c96c11134d36p577, 0x1.cfe482285f8edp860, 0x1.db41f3cb71d7bp680,
    0x1.e7e44a78ac18cp197, 0x1.c45cd11154dfdp295, 0x1.504cac51f1eafp132, 0x1.83009e2e9e2ebp614,
    0x1.b2196364d750bp253, 0x1.6ac5b262ca1ffp852, 0x1.e009c53148be1p992, 0x1.69eab0985179bp246,
};
#define HARD_COUNT (sizeof hard_angles / sizeof hard_angles[0])

/* One of: a hard angle, a neighbour or a small multiple of it; a number nearest to a multiple of
 * π/2; any f64 from about the end of small angles on, uniform in its exponent. */
static double huge_angle(uint64_t *seed, uint32_t i)
{
    double u = unit(seed), v;
    if (i % 4 == 0)
        v = hard_angles[i / 4 % HARD_COUNT] * (1 + rint(2 * u) * 0x1p-52) *
            rint(1 + 2 * unit(seed));
    else if (i % 4 == 1)
        v = (double)((long double)rint(u * exp2(62 * unit(seed))) * 1.57079632679489661923132L);
    else
        v = ldexp(1 + u, 27 + (int)(unit(seed) * 997));
    return i / 8 % 2 ? -v : v;
}

static void test_huge_f64_angles(void **state)
{
    (void)state;
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x;
    assert_non_null(registers);
    uint64_t seed = 3;
    for (size_t k = 0; k < FUNCTION_COUNT; k++) {
        const struct function *f = &functions[k];
        if (f->prim != PRIM_SIN && f->prim != PRIM_COS && f->prim != PRIM_TAN)
            continue;
        struct built *b = build(f->prim, DTYPE_F64);
        struct worst w = {0};
        for (uint32_t at = 0; at < 1u << 17; at += BLOCK) {
            for (uint32_t i = 0; i < BLOCK; i++)
                x.f64[i] = huge_angle(&seed, at + i);
            check_f64(&b->program, f, registers, &x, &w);
        }
        worst_report(f->name, "f64, huge", f->f64_bound, &w);
        assert_true(w.ulp[0] <= f->f64_bound && w.ulp[1] <= f->f64_bound);
        built_free(b);
    }
    free(registers);
}

/* One half of all bit patterns of f32. */
struct half {
    const struct program *program;
    const struct function *function;
    uint32_t first;
    struct worst worst;
};

static void *run_half(void *opaque)
{
    struct half *h = opaque;
    union value_block *registers = calloc(MAX_REGISTERS, sizeof *registers), x;
    if (registers == NULL)
        return NULL;
    for (uint64_t at = 0; at < (uint64_t)1 << 31; at += BLOCK) {
        for (uint32_t i = 0; i < BLOCK; i++)
            x.i32[i] = (int32_t)(h->first + (uint32_t)at + i);
        check_f32(h->program, h->function, registers, &x, &h->worst);
    }
    free(registers);
    return h;
}

static bool run_exhaustive(const struct function *f)
{
    struct built *b = build(f->prim, DTYPE_F32);
    struct half halves[2] = {{&b->program, f, 0, {{0}, {0}, {0}}},
                             {&b->program, f, 0x80000000u, {{0}, {0}, {0}}}};
    pthread_t thread;
    bool ran = pthread_create(&thread, NULL, run_half, &halves[0]) == 0;
    ran = run_half(&halves[1]) != NULL && ran;
    if (ran)
        pthread_join(thread, NULL);
    double bound = prim_bounds[f->prim];
    for (int i = 0; i < 2; i++) {
        worst_report(f->name, i ? "f32 < 0" : "f32 > 0", bound, &halves[i].worst);
        ran = ran && halves[i].worst.ulp[0] <= bound && halves[i].worst.ulp[1] <= bound;
    }
    built_free(b);
    return ran;
}

static int exhaustive(int count, char **names)
{
    int status = 0;
    for (size_t k = 0; k < FUNCTION_COUNT; k++) {
        bool wanted = count == 0;
        for (int i = 0; i < count; i++)
            wanted = wanted || strcmp(names[i], functions[k].name) == 0;
        if (wanted && !run_exhaustive(&functions[k]))
            status = 1;
        fflush(stdout);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--exhaustive") == 0)
        return exhaustive(argc - 2, argv + 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary_f32),
        cmocka_unit_test(test_unary_f64),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_pow_special_values),
        cmocka_unit_test(test_pow),
        cmocka_unit_test(test_huge_f64_angles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
