/* How exact compiled code is where a formula that is right can err much, against float64.
 *
 * Long sums: n terms that are added one after another err by up to n·u of their sum (u: half of the
 * last bit); equal terms come near to it, because within a power of two each addition rounds the
 * same way. Here the error must stay below a number of roundings that does not depend on n: NumPy's
 * pairwise sum adds 16 terms in a row, then halves onto halves, and errs by up to 4u on such terms,
 * up to a million of them; these sums may err four times as much. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "compiler/compile.h"
#include "urza/run.h"

#include <cmocka.h>

#define MOST_ROUNDINGS 16
#define TARGETS 3

static const char *const targets[TARGETS] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};

/* A blueprint of inputs and one output, all f32, and its tensors. */
struct trial {
    const char *text;
    struct tensor {
        uint32_t rank;
        int64_t shape[4];
        float *data;
    } in[4], out;
    uint32_t in_count;
};

static DLTensor tensor_of(struct tensor *t)
{
    return (DLTensor){.data = t->data,
                      .device = {kDLCPU, 0},
                      .ndim = (int32_t)t->rank,
                      .dtype = {kDLFloat, 32, 1},
                      .shape = t->shape};
}

/* False where this CPU lacks the target. */
static bool run_tensors(const char *text, const char *target, DLTensor *in, uint32_t in_count,
                        DLTensor *out, struct arena *arena)
{
    struct error err = {0};
    struct compile_options options = {.targets = target, .strategy = STRATEGY_STANDARD};
    struct compile_result result = {0};
    urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 1, .target = target};
    urza_module *module = NULL;
    urza_error failure = {0};
    if (!target_supported_here(target))
        return false;
    if (!compile_blueprint(text, strlen(text), &options, arena, &result, &err))
        fail_msg("%s: %s: %s", text, err.place, err.message);
    if (urza_load_memory(result.package, result.package_bytes, &load, &module, &failure) != 0 ||
        urza_call(module, in, in_count, out, 1, NULL, &failure) != 0)
        fail_msg("%s on %s: %s: %s", text, target, failure.place, failure.message);
    urza_unload(module);
    return true;
}

static bool run_on(struct trial *trial, const char *target, struct arena *arena)
{
    DLTensor in[4], out = tensor_of(&trial->out);
    for (uint32_t i = 0; i < trial->in_count; i++)
        in[i] = tensor_of(&trial->in[i]);
    return run_tensors(trial->text, target, in, trial->in_count, &out, arena);
}

static float *floats(struct arena *arena, int64_t count)
{
    return ARENA_ARRAY(arena, float, (size_t)count);
}

#define ONE(dims, x, op, attrs)                                                           \
    "{\"format\": \"urza.blueprint/1\", \"name\": \"t\", " dims                           \
    "\"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": " x "}], "               \
    "\"nodes\": [{\"id\": \"y\", \"op\": \"" op "\", \"in\": [\"x\"], \"attrs\": {" attrs \
    "}}], \"outputs\": [\"y\"]}"
#define N_DIM "\"dims\": {\"N\": {\"min\": 1, \"max\": 2000000}}, "

/* Sums of x[a, n, b, m] over n and m, by whatever names its dims go; running: all sums on the way,
 * along n alone. */
static const struct sum {
    const char *text;
    uint32_t rank, out_rank;
    int64_t shape[4], out_shape[4];
    int64_t a, n, b, m;
    double scale; /* the result is the sum times this */
    bool running;
} sums[] = {
    {ONE("", "[2000]", "sum", ""), 1, 0, {2000}, {0}, 1, 1, 1, 2000, 1, false},
    {ONE("", "[25000]", "sum", ""), 1, 0, {25000}, {0}, 1, 1, 1, 25000, 1, false},
    {ONE("", "[1000003]", "sum", ""), 1, 0, {1000003}, {0}, 1, 1, 1, 1000003, 1, false},
    {ONE(N_DIM, "[\"N\"]", "sum", ""), 1, 0, {25000}, {0}, 1, 1, 1, 25000, 1, false},
    {ONE("", "[3, 25000]", "sum", "\"dim\": [1]"), 2, 1, {3, 25000}, {3}, 3, 1, 1, 25000, 1, false},
    {ONE("", "[25000, 24]", "sum", "\"dim\": [0]"),
     2,
     1,
     {25000, 24},
     {24},
     1,
     25000,
     24,
     1,
     1,
     false},
    {ONE(N_DIM, "[\"N\", 3]", "sum", "\"dim\": [0]"),
     2,
     1,
     {300000, 3},
     {3},
     1,
     300000,
     3,
     1,
     1,
     false},
    {ONE("", "[40, 5, 28, 28]", "sum", "\"dim\": [0, 2, 3]"),
     4,
     1,
     {40, 5, 28, 28},
     {5},
     1,
     40,
     5,
     784,
     1,
     false},
    {ONE("", "[2, 3, 8192]", "avg_pool1d", "\"kernel_size\": [8192]"),
     3,
     3,
     {2, 3, 8192},
     {2, 3, 1},
     6,
     1,
     1,
     8192,
     1.0 / 8192,
     false},
    {ONE("", "[1, 20000]", "cumsum", "\"dim\": 1"),
     2,
     2,
     {1, 20000},
     {1, 20000},
     1,
     20000,
     1,
     1,
     1,
     true},
    {ONE(N_DIM, "[3, \"N\"]", "cumsum", "\"dim\": 1"),
     2,
     2,
     {3, 100000},
     {3, 100000},
     3,
     100000,
     1,
     1,
     1,
     true},
    {ONE("", "[5000, 9]", "cumsum", "\"dim\": 0"),
     2,
     2,
     {5000, 9},
     {5000, 9},
     1,
     5000,
     9,
     1,
     1,
     true},
};

/* The k-th term of a kind: two kinds of equal ones, then random ones. */
static float term(int kind, uint64_t k)
{
    return kind == 0 ? 0.1f : kind == 1 ? 7.0f / 3 : (float)rng_uniform(12, k);
}

/* Results and their terms' magnitudes in float64. */
static void add_up(const struct sum *s, const float *x, double *right)
{
    for (int64_t a = 0; a < s->a; a++)
        for (int64_t b = 0; b < s->b; b++) {
            double sum = 0;
            for (int64_t n = 0; n < s->n; n++) {
                for (int64_t m = 0; m < s->m; m++)
                    sum += (double)x[((a * s->n + n) * s->b + b) * s->m + m];
                if (s->running)
                    right[(a * s->n + n) * s->b + b] = sum;
            }
            if (!s->running)
                right[a * s->b + b] = sum * s->scale;
        }
}

static void check_sum(const struct sum *s, const char *target)
{
    struct arena arena;
    arena_init(&arena);
    int64_t count = s->a * s->n * s->b * s->m, results = s->a * s->b * (s->running ? s->n : 1);
    struct trial trial = {.text = s->text, .in_count = 1};
    trial.in[0] = (struct tensor){.rank = s->rank, .data = floats(&arena, count)};
    trial.out = (struct tensor){.rank = s->out_rank, .data = floats(&arena, results)};
    memcpy(trial.in[0].shape, s->shape, sizeof s->shape);
    memcpy(trial.out.shape, s->out_shape, sizeof s->out_shape);
    double *right = ARENA_ARRAY(&arena, double, (size_t)results);
    for (int kind = 0; kind < 3; kind++) {
        for (int64_t k = 0; k < count; k++)
            trial.in[0].data[k] = term(kind, (uint64_t)k);
        if (!run_on(&trial, target, &arena))
            break;
        add_up(s, trial.in[0].data, right);
        for (int64_t k = 0; k < results; k++) {
            double error = fabs((double)trial.out.data[k] - right[k]);
            if (!(error <= MOST_ROUNDINGS * 0x1p-24 * right[k]))
                fail_msg("%s on %s, terms %d: [%lld] is off by %.1f roundings", s->text, target,
                         kind, (long long)k, error / right[k] * 0x1p24);
        }
    }
    arena_release(&arena);
}

static void long_sums(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < sizeof sums / sizeof *sums; i++)
        for (uint32_t t = 0; t < TARGETS; t++)
            check_sum(&sums[i], targets[t]);
}

/* Rows of equal elements, less their mean, are 0: normalised, they stay it, however large they are.
 */
static void equal_rows(void **state)
{
    static const char *const norms[] = {
        ONE("", "[8, 1000]", "layer_norm", ""),
        ONE("", "[8, 1000]", "var", "\"dim\": [1], \"keepdim\": true"),
        ONE("", "[8, 1000]", "std", "\"dim\": [1], \"keepdim\": true"),
        ONE("", "[8, 10, 100]", "group_norm", "\"num_groups\": 1"),
        ONE("", "[8, 1, 1000]", "instance_norm", ""),
        ONE("", "[1000, 8]", "batch_norm", ""),
        ONE("\"dims\": {\"N\": {\"min\": 1, \"max\": 9999}}, ", "[8, \"N\"]", "layer_norm",
            "\"dims\": 1"),
    };
    static const float values[8] = {33333.3f, 0.1f, -7e5f, 1e30f, 1.0f / 3, 3e-39f, 1e9f, 123.456f};
    (void)state;
    for (uint32_t i = 0; i < 7 * TARGETS; i++) {
        uint32_t norm = i % 7;
        struct arena arena;
        arena_init(&arena);
        struct trial trial = {.text = norms[norm], .in_count = 1};
        struct tensor t = {.rank = 2, .shape = {8, 1000}, .data = floats(&arena, 8000)};
        if (norm == 3 || norm == 4)
            t = (struct tensor){3, {8, norm == 3 ? 10 : 1, norm == 3 ? 100 : 1000}, t.data};
        if (norm == 5)
            t = (struct tensor){2, {1000, 8}, t.data};
        for (int64_t k = 0; k < 8000; k++)
            t.data[k] = values[norm == 5 ? k % 8 : k / 1000];
        trial.in[0] = trial.out = t;
        trial.out.data = floats(&arena, 8000);
        int64_t results = norm == 1 || norm == 2 ? 8 : 8000;
        if (results == 8)
            trial.out.shape[1] = 1;
        if (run_on(&trial, targets[i / 7], &arena))
            for (int64_t k = 0; k < results; k++)
                if (trial.out.data[k] != 0)
                    fail_msg("%s on %s: [%lld] is %g", norms[norm], targets[i / 7], (long long)k,
                             (double)trial.out.data[k]);
        arena_release(&arena);
    }
}

#define INPUT(name, shape) "{\"id\": \"" name "\", \"dtype\": \"f32\", \"shape\": " shape "}"
#define DOCUMENT(inputs, nodes)                                                \
    "{\"format\": \"urza.blueprint/1\", \"name\": \"t\", \"inputs\": [" inputs \
    "], \"nodes\": [" nodes "], \"outputs\": [\"y\"]}"

/* Means of values near the largest or the least normal number, by weights that add up to 1. */
static void weights_of_extremes(void **state)
{
    static const float values[3] = {3e37f, -3.3e38f, 1.5e-38f};
    static const char text[] = DOCUMENT(INPUT("q", "[1, 1, 9, 8]") ", " INPUT(
                                            "k", "[1, 1, 64, 8]") ", " INPUT("v", "[1, 1, 64, 16]"),
                                        "{\"id\": \"y\", \"op\": \"scaled_dot_product_attention\", "
                                        "\"in\": [\"q\", \"k\", \"v\"]}");
    (void)state;
    for (uint32_t i = 0; i < 3 * TARGETS; i++) {
        struct arena arena;
        arena_init(&arena);
        struct trial trial = {.text = text, .in_count = 3};
        trial.in[0] = (struct tensor){4, {1, 1, 9, 8}, floats(&arena, 72)};
        trial.in[1] = (struct tensor){4, {1, 1, 64, 8}, floats(&arena, 512)};
        trial.in[2] = (struct tensor){4, {1, 1, 64, 16}, floats(&arena, 1024)};
        trial.out = (struct tensor){4, {1, 1, 9, 16}, floats(&arena, 144)};
        for (int64_t k = 0; k < 1024; k++)
            trial.in[2].data[k] = values[i % 3];
        double bound = 1e-5 * fabs((double)values[i % 3]);
        if (run_on(&trial, targets[i / 3], &arena))
            for (int64_t k = 0; k < 144; k++)
                if (!(fabs((double)trial.out.data[k] - (double)values[i % 3]) <= bound))
                    fail_msg("%s: [%lld] is %g", targets[i / 3], (long long)k,
                             (double)trial.out.data[k]);
        arena_release(&arena);
    }
}

#define FILLED(name, shape, value)                                 \
    "{\"id\": \"" name "\", \"dtype\": \"f32\", \"shape\": " shape \
    ", \"init\": {\"kind\": \"constant\", \"value\": " value "}}"
#define FACTOR(w, s)                                                                          \
    DOCUMENT(INPUT("x", "[2, 8]") "], \"params\": [" FILLED("w", "[4, 8]", w) ", " FILLED(    \
                 "s", "[4]", s) ", " FILLED("m", "[4]", "1") ", " FILLED("v", "[4]", "1"),    \
             "{\"id\": \"h\", \"op\": \"linear\", \"in\": [\"x\", \"w\"]}, "                  \
             "{\"id\": \"y\", \"op\": \"batch_norm\", \"in\": [\"h\", \"m\", \"v\", \"s\"], " \
             "\"attrs\": {\"eps\": 0}}")

/* (8·x·w - 1)·s, where s·w would overflow or be 0. */
static void factors_of_extremes(void **state)
{
    static const struct {
        const char *text;
        float x;
        double y;
    } cases[2] = {{FACTOR("1e30", "1e30"), 1e-30f, 7e30}, {FACTOR("1e-30", "1e-20"), 1e30f, 7e-20}};
    (void)state;
    for (uint32_t i = 0; i < 2 * TARGETS; i++) {
        struct arena arena;
        arena_init(&arena);
        struct trial trial = {.text = cases[i % 2].text, .in_count = 1};
        trial.in[0] = (struct tensor){2, {2, 8}, floats(&arena, 16)};
        trial.out = (struct tensor){2, {2, 4}, floats(&arena, 8)};
        for (int64_t k = 0; k < 16; k++)
            trial.in[0].data[k] = cases[i % 2].x;
        double y = cases[i % 2].y;
        if (run_on(&trial, targets[i / 2], &arena))
            for (int64_t k = 0; k < 8; k++)
                if (!(fabs((double)trial.out.data[k] - y) <= 1e-5 * y))
                    fail_msg("%s, case %u: [%lld] is %g", targets[i / 2], i % 2, (long long)k,
                             (double)trial.out.data[k]);
        arena_release(&arena);
    }
}

#define ANGLE(op)                                                                        \
    "{\"format\": \"urza.blueprint/1\", \"name\": \"t\", \"inputs\": [{\"id\": \"x\", "  \
    "\"dtype\": \"f64\", \"shape\": [4099]}], \"nodes\": [{\"id\": \"y\", \"op\": \"" op \
    "\", \"in\": [\"x\"]}], \"outputs\": [\"y\"]}"

/* f64 angles however large, in one vector with small ones, against libm's of long double: within 4
 * ULP and half a one of its rounding. The first lies next to a multiple of π/2 as no other does. */
static void huge_angles(void **state)
{
    static const struct {
        const char *text;
        long double (*right)(long double x);
    } rows[] = {{ANGLE("sin"), sinl}, {ANGLE("cos"), cosl}, {ANGLE("tan"), tanl}};
    enum { COUNT = 4099 };
    double x[COUNT], y[COUNT];
    int64_t shape = COUNT;
    (void)state;
    for (uint32_t k = 0; k < COUNT; k++) {
        double size = k % 3 ? ldexp(1 + rng_uniform(5, k), (int)(k % 2098) - 1074) : k;
        x[k] = k % 7 < 3 ? -size : size;
    }
    x[0] = 0x1.6ac5b262ca1ffp849;
    x[1] = -0x1.6ac5b262ca1ffp849;
    x[2] = (double)INFINITY;
    x[3] = (double)NAN;
    x[4] = 0x1p29;
    for (uint32_t i = 0; i < 3 * TARGETS; i++) {
        struct arena arena;
        arena_init(&arena);
        DLTensor in = {.data = x,
                       .device = {kDLCPU, 0},
                       .ndim = 1,
                       .dtype = {kDLFloat, 64, 1},
                       .shape = &shape};
        DLTensor out = in;
        out.data = y;
        if (run_tensors(rows[i % 3].text, targets[i / 3], &in, 1, &out, &arena))
            for (uint32_t k = 0; k < COUNT; k++) {
                double right = (double)rows[i % 3].right((long double)x[k]),
                       next = nextafter(fabs(right), INFINITY);
                if (isnan(right) ? !isnan(y[k])
                                 : !(fabs(y[k] - right) <= 4.5 * (next - fabs(right))))
                    fail_msg("%s, %s: of %a %a, not %a", targets[i / 3], rows[i % 3].text, x[k],
                             y[k], right);
            }
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_sums),           cmocka_unit_test(equal_rows),
        cmocka_unit_test(weights_of_extremes), cmocka_unit_test(factors_of_extremes),
        cmocka_unit_test(huge_angles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
