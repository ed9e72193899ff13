/* Functions at the ends of their ranges, through the program: compiled for every level of this CPU
 * and interpreted, in f32 and f64, against their definitions in long double or exact arithmetic. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "cli_util.h"

static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4", "interpreter"};
#define LEVELS (sizeof levels / sizeof *levels)

/* Pairs of these are the inputs x and z: 0, the least and greatest numbers of both dtypes, whole
 * and broken ones, and where results overflow, vanish or are subnormal. */
static const double values[] = {
    0,           0x1p-149,  0x3p-149,
    0x1p-1074,   0x3p-1074, FLT_MIN,
    DBL_MIN,     1e-10,     0.1,
    0.5,         1,         3,
    7,           1000.1,    0x1p24,
    0x1p53,      20,        0x1.8p-127,
    87.5,        88,        88.8,
    89.4,        89.5,      96,
    103.5,       709.5,     710.2,
    711,         745,       1e20,
    3e38,        FLT_MAX,   (double)INFINITY,
    1e300,       DBL_MAX,   1 + 0x1p-20,
    0.9,         0.999999,  2.9,
    (double)NAN,
};
#define VALUES (2 * sizeof values / sizeof *values)
#define COUNT (VALUES * VALUES)

static double value_at(size_t i)
{
    return i % 2 ? -values[i / 2] : values[i / 2];
}

typedef long double definition(long double x, long double z);

static long double right_sigmoid(long double x, long double z)
{
    (void)z;
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}

static long double right_silu(long double x, long double z)
{
    return x * right_sigmoid(x, z);
}

static long double right_hardswish(long double x, long double z)
{
    (void)z;
    return x * (isnan(x) ? x : fminl(fmaxl(x + 3, 0), 6) / 6);
}

static long double right_remainder(long double x, long double z)
{
    long double m = fmodl(x, z);
    return m != 0 && (m < 0) != (z < 0) ? m + z : m;
}

/* NumPy's floor_divide; whole numbers up to 2^64 are exact. */
static long double right_floor(long double x, long double z)
{
    long double m = fmodl(x, z), q = rintl((x - m) / z);
    if (z == 0 || isnan(m))
        return z == 0 ? x / z : m;
    if (m != 0 && (m < 0) != (z < 0))
        q -= 1;
    return q == 0 ? copysignl(0, x / z) : q;
}

#define UNARY(name, expression)                           \
    static long double name(long double x, long double z) \
    {                                                     \
        (void)z;                                          \
        return expression;                                \
    }
UNARY(right_exp, expl(x))
UNARY(right_exp2, exp2l(x))
UNARY(right_erfc, erfcl(x))
UNARY(right_tanh, tanhl(x))
UNARY(right_sinh, sinhl(x))
UNARY(right_cosh, coshl(x))
UNARY(right_asinh, asinhl(x))
UNARY(right_acosh, acoshl(x))
UNARY(right_atanh, atanhl(x))

static long double right_fmod(long double x, long double z)
{
    return fmodl(x, z);
}

/* ulps: how far from the definition, in units of the last place of the result, which are never less
 * than the least subnormal number. */
struct function {
    const char *op, *attr;
    definition *right;
    bool binary;
    double ulps;
};

static const struct function composites[] = {
    {"exp", "", right_exp, false, 1},
    {"exp2", "", right_exp2, false, 1.5},
    {"erfc", "", right_erfc, false, 4},
    {"tanh", "", right_tanh, false, 3},
    {"sigmoid", "", right_sigmoid, false, 3},
    {"silu", "", right_silu, false, 400}, /* |x| times an error of e^x, which may be subnormal */
    {"hardswish", "", right_hardswish, false, 3},
    {"remainder", "", right_remainder, true, 0.5},
    {"div", "\"rounding_mode\": \"floor\"", right_floor, true, 1},
};
static const struct function onnx_ops[] = {
    {"Sinh", NULL, right_sinh, false, 5},   {"Cosh", NULL, right_cosh, false, 4},
    {"Asinh", NULL, right_asinh, false, 3}, {"Acosh", NULL, right_acosh, false, 3},
    {"Atanh", NULL, right_atanh, false, 3}, {"Mod", "fmod", right_fmod, true, 0},
};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static double rounded(bool wide, long double v)
{
    return wide ? (double)v : (double)(float)v;
}

static void check(const struct function *f, const char *level, bool wide, long double x,
                  long double z, double got)
{
    long double right = f->right(x, z), unit;
    double nearest = rounded(wide, right);
    if (isnan(nearest) || isinf(nearest) || isinf(got) || isnan(got) || nearest == 0) {
        bool same =
            isnan(nearest) ? isnan(got) : got == nearest && !signbit(got) == !signbit(nearest);
        /* A result that rounds to 0 may be one step away. */
        same = same || (right != 0 && nearest == 0 && fabs(got) <= (wide ? 0x1p-1074 : 0x1p-149));
        if (!same)
            TEST_FAILED("%s %s(%La, %La), %s: %a, not %a", wide ? "f64" : "f32", f->op, x, z, level,
                        got, nearest);
        return;
    }
    int least = wide ? -1074 : -149, digits = wide ? 52 : 23;
    int exponent = ilogbl(right) - digits;
    unit = ldexpl(1, exponent < least ? least : exponent);
    if (fabsl((long double)got - right) > f->ulps * unit)
        TEST_FAILED("%s %s(%La, %La), %s: %a is %Lg units from %La", wide ? "f64" : "f32", f->op, x,
                    z, level, got, fabsl((long double)got - right) / unit, right);
}

static void put_inputs(struct fixture *f, bool wide)
{
    static float narrow[2][COUNT];
    static double in[2][COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        in[0][i] = value_at(i / VALUES);
        in[1][i] = value_at(i % VALUES);
        for (int k = 0; k < 2; k++)
            narrow[k][i] = (float)in[k][i];
    }
    const int64_t shape[1] = {COUNT};
    for (int k = 0; k < 2; k++)
        put_npy(f, k ? "z.npy" : "x.npy", wide ? "<f8" : "<f4", 1, shape,
                wide ? (void *)in[k] : (void *)narrow[k]);
}

/* net.urza, output y0 of the first function, y1 …, on every level. */
static void check_all(struct fixture *f, const struct function *functions, size_t count, bool wide)
{
    put_inputs(f, wide);
    for (size_t l = 0; l < LEVELS; l++) {
        struct strbuf line;
        strbuf_init(&line, &f->arena);
        strbuf_printf(&line, "run net.urza --in x=x.npy --in z=z.npy --out out --target %s",
                      levels[l]);
        if (run(f, line.data).status == 0) { /* else: not a level of this CPU */
            for (size_t k = 0; k < count; k++) {
                char name[32];
                size_t size;
                snprintf(name, sizeof name, "out/y%zu.npy", k);
                const char *bytes = get(f, name, &size);
                const size_t width = wide ? sizeof(double) : sizeof(float);
                assert_true(size > COUNT * width);
                bytes += size - COUNT * width;
                for (size_t i = 0; i < COUNT; i += functions[k].binary ? 1 : VALUES) {
                    float narrow;
                    double got;
                    memcpy(wide ? (void *)&got : (void *)&narrow, bytes + i * width, width);
                    check(&functions[k], levels[l], wide, rounded(wide, value_at(i / VALUES)),
                          rounded(wide, value_at(i % VALUES)), wide ? got : (double)narrow);
                }
            }
        } else if (strcmp(levels[l], "interpreter") == 0) {
            TEST_FAILED("the interpreter does not run");
        }
    }
}

static void test_composites(void **state)
{
    struct fixture *f = *state;
    for (int wide = 0; wide < 2; wide++) {
        struct strbuf text;
        const char *dtype = wide ? "f64" : "f32";
        strbuf_init(&text, &f->arena);
        strbuf_printf(&text, "{\"format\": \"urza.blueprint/1\", \"name\": \"n\", \"inputs\": [");
        for (int k = 0; k < 2; k++)
            strbuf_printf(&text, "%s{\"id\": \"%c\", \"dtype\": \"%s\", \"shape\": [%zu]}",
                          k ? ", " : "", k ? 'z' : 'x', dtype, COUNT);
        strbuf_printf(&text, "], \"nodes\": [");
        for (size_t k = 0; k < COUNT_OF(composites); k++)
            strbuf_printf(&text,
                          "%s{\"id\": \"y%zu\", \"op\": \"%s\", \"in\": [%s], \"attrs\": {%s}}",
                          k ? ", " : "", k, composites[k].op,
                          composites[k].binary ? "\"x\", \"z\"" : "\"x\"", composites[k].attr);
        strbuf_printf(&text, "], \"outputs\": [");
        for (size_t k = 0; k < COUNT_OF(composites); k++)
            strbuf_printf(&text, "%s\"y%zu\"", k ? ", " : "", k);
        strbuf_printf(&text, "]}");
        compile(f, text.data, "");
        check_all(f, composites, COUNT_OF(composites), wide != 0);
    }
}

/* The few fields of ONNX's schema that these models need, as protobuf writes them. */
static void put_varint(struct strbuf *to, uint64_t v)
{
    for (; v > 127; v >>= 7)
        strbuf_add(to, &(uint8_t){(uint8_t)(v | 128)}, 1);
    strbuf_add(to, &(uint8_t){(uint8_t)v}, 1);
}

static void put_number(struct strbuf *to, uint32_t field, uint64_t v)
{
    put_varint(to, field << 3);
    put_varint(to, v);
}

static void put_bytes(struct strbuf *to, uint32_t field, const void *data, size_t size)
{
    put_varint(to, field << 3 | 2);
    put_varint(to, size);
    strbuf_add(to, data, size);
}

static void put_text(struct strbuf *to, uint32_t field, const char *text)
{
    put_bytes(to, field, text, strlen(text));
}

static void put_value(struct fixture *f, struct strbuf *graph, uint32_t field, const char *name,
                      bool wide)
{
    struct strbuf parts[5]; /* value, type, tensor, shape, dim: each within the one before */
    for (int i = 0; i < 5; i++)
        strbuf_init(&parts[i], &f->arena);
    put_number(&parts[4], 1, COUNT);
    put_bytes(&parts[3], 1, parts[4].data, parts[4].size_bytes);
    put_number(&parts[2], 1, wide ? 11 : 1);
    put_bytes(&parts[2], 2, parts[3].data, parts[3].size_bytes);
    put_bytes(&parts[1], 1, parts[2].data, parts[2].size_bytes);
    put_text(&parts[0], 1, name);
    put_bytes(&parts[0], 2, parts[1].data, parts[1].size_bytes);
    put_bytes(graph, field, parts[0].data, parts[0].size_bytes);
}

static void put_node(struct fixture *f, struct strbuf *graph, const struct function *function,
                     const char *out)
{
    struct strbuf node, attr;
    strbuf_init(&node, &f->arena);
    strbuf_init(&attr, &f->arena);
    put_text(&node, 1, "x");
    if (function->binary)
        put_text(&node, 1, "z");
    put_text(&node, 2, out);
    put_text(&node, 4, function->op);
    if (function->attr) {
        put_text(&attr, 1, function->attr);
        put_number(&attr, 3, 1);
        put_number(&attr, 20, 2); /* an integer */
        put_bytes(&node, 5, attr.data, attr.size_bytes);
    }
    put_bytes(graph, 1, node.data, node.size_bytes);
}

static void test_onnx(void **state)
{
    struct fixture *f = *state;
    for (int wide = 0; wide < 2; wide++) {
        struct strbuf model, graph, opset;
        strbuf_init(&model, &f->arena);
        strbuf_init(&graph, &f->arena);
        strbuf_init(&opset, &f->arena);
        put_text(&graph, 2, "g");
        put_value(f, &graph, 11, "x", wide != 0);
        put_value(f, &graph, 11, "z", wide != 0);
        for (size_t k = 0; k < COUNT_OF(onnx_ops); k++) {
            char name[8];
            snprintf(name, sizeof name, "y%zu", k);
            put_node(f, &graph, &onnx_ops[k], name);
            put_value(f, &graph, 12, name, wide != 0);
        }
        put_number(&opset, 2, 13);
        put_number(&model, 1, 8);
        put_bytes(&model, 7, graph.data, graph.size_bytes);
        put_bytes(&model, 8, opset.data, opset.size_bytes);
        put(f, "model.onnx", model.data, model.size_bytes);
        expect(f, ERR_NONE, "compile model.onnx -o net.urza");
        check_all(f, onnx_ops, COUNT_OF(onnx_ops), wide != 0);
    }
}

int main(void)
{
    char *build = getenv("URZA_BUILD_DIR");
    const struct CMUnitTest tests[] = {
        CLI_TEST(test_composites, build),
        CLI_TEST(test_onnx, build),
    };
    return cmocka_run_group_tests_name("cli-numbers", tests, NULL, NULL);
}
