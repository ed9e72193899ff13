/* Tangents where a prim has no derivative, and where infinities and zeros meet, each as a small
 * case; floats that are not rounded; loops; the driver. Differences judge all else
 * (tangent_random_test.c). */
#include "graph/tangent.h"

#include <string.h>

#include "graph/interp_test_util.h"
#include "graph/text.h"

#define INPUTS_MOST 3
#define NUMBERS_MOST 6
#define WINDOW(size, low, high) \
    "size " #size " stride 1 low " #low " high " #high " dilation 1 base 1"
#define UNARY(prim, n) \
    "%1 = input \"x\" : f64[" #n "]\n%2 = " prim " %1 : f64[" #n "]\noutput \"y\" %2\n"
#define BINARY(prim, n)                                                          \
    "%1 = input \"a\" : f64[" #n "]\n%2 = input \"b\" : f64[" #n "]\n%3 = " prim \
    " %1, %2 : f64[" #n "]\noutput \"y\" %3\n"
#define ALONG(prim, attrs, from, to)                                           \
    "%1 = input \"x\" : f64[" from "]\n%2 = " prim " %1 {" attrs "} : f64[" to \
    "]\noutput \"y\" %2\n"
#define SCATTER(mode)                                                              \
    "%1 = input \"base\" : f64[3]\n%2 = input \"index\" : i64[5]\n"                \
    "%3 = input \"updates\" : f64[5]\n%4 = scatter %1, %2, %3 {axis 0, mode " mode \
    "} : f64[3]\noutput \"y\" %4\n"
#define INF INFINITY

/* A graph of one output: values and tangents of its inputs, the tangent of the output. */
static const struct {
    const char *name, *text;
    double values[INPUTS_MOST][NUMBERS_MOST], directions[INPUTS_MOST][NUMBERS_MOST];
    double expected[NUMBERS_MOST];
} rows[] = {
    {"abs", UNARY("abs", 4), {{0, -0.0, 2, -2}}, {{1, 1, 1, 1}}, {0, 0, 1, -1}},
    {"sign", UNARY("sign", 2), {{0, 2}}, {{1, 1}}, {0, 0}},
    {"floor", UNARY("floor", 2), {{1, 1.5}}, {{1, 1}}, {0, 0}},
    {"ceil", UNARY("ceil", 2), {{1, 1.5}}, {{1, 1}}, {0, 0}},
    {"round", UNARY("round", 2), {{1.5, 2.5}}, {{1, 1}}, {0, 0}},
    {"trunc", UNARY("trunc", 2), {{-1, 1.5}}, {{1, 1}}, {0, 0}},
    {"max",
     BINARY("max", 4),
     {{1, 2, 3, 0}, {1, 3, 2, -0.0}},
     {{1, 1, 1, 2}, {3, 5, 7, 4}},
     {2, 5, 1, 3}},
    {"min",
     BINARY("min", 4),
     {{1, 2, 3, 0}, {1, 3, 2, -0.0}},
     {{1, 1, 1, 2}, {3, 5, 7, 4}},
     {2, 1, 7, 3}},
    {"max, infinite", BINARY("max", 2), {{1, 2}, {2, 1}}, {{INF, 3}, {5, INF}}, {5, 3}},
    {"rem",
     BINARY("rem", 5),
     {{7.5, -1, 6, 6, 0.5}, {2, 3, 2, -4, 0.1}},
     {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}},
     {-2, 2, -2, 3, -3}}, /* 0.5 / 0.1 rounds up to 5 */
    {"pow in a",
     BINARY("pow", 5),
     {{0, 0, 0, -2, 2}, {0, 1, 2, 3, 0}},
     {{1, 1, 1, 1, 1}},
     {0, 1, 0, 12, 0}},
    {"pow in b",
     BINARY("pow", 4),
     {{0, 0, 2, 1}, {0, 2, 0, 5}},
     {{0}, {1, 1, 1, 1}},
     {0, 0, 0.693147180559945309417, 0}},
    {"reduce_max",
     ALONG("reduce_max", "axes [1]", "2, 3", "2"),
     {{2, 5, 5, 9, 9, 9}},
     {{1, 2, 4, 1, 2, 6}},
     {3, 3}},
    {"reduce_min",
     ALONG("reduce_min", "axes [0]", "2, 3", "3"),
     {{2, 5, 7, 2, 9, 4}},
     {{1, 2, 4, 3, 5, 6}},
     {2, 2, 6}},
    {"reduce_max of nothing", ALONG("reduce_max", "axes [1]", "2, 0", "2"), {{0}}, {{0}}, {0, 0}},
    {"reduce_prod",
     ALONG("reduce_prod", "axes [1]", "2, 3", "2"),
     {{0, 3, 5, 0, 0, 5}},
     {{1, 1, 1, 1, 1, 1}},
     {15, 0}},
    {"reduce_prod, infinite",
     ALONG("reduce_prod", "axes [0]", "3", ""),
     {{INF, 2, 3}},
     {{1, 0, 0}},
     {6}},
    {"cum_prod",
     ALONG("cum_prod", "axis 0, exclusive false, reverse false", "4", "4"),
     {{2, 0, 3, 0}},
     {{1, 1, 1, 1}},
     {1, 2, 6, 0}},
    {"cum_max",
     ALONG("cum_max", "axis 0, exclusive false, reverse false", "4", "4"),
     {{1, 2, 2, 1}},
     {{1, 2, 3, 4}},
     {1, 2, 3, 3}},
    {"cum_max, reverse",
     ALONG("cum_max", "axis 0, exclusive false, reverse true", "4", "4"),
     {{1, 2, 2, 1}},
     {{1, 2, 3, 4}},
     {2, 2, 3, 4}},
    {"cum_max, exclusive",
     ALONG("cum_max", "axis 0, exclusive true, reverse false", "4", "4"),
     {{-INF, 2, 2, 1}},
     {{1, 2, 3, 4}},
     {0, 1, 2, 3}},
    {"window_max",
     ALONG("window_max", "window [" WINDOW(3, 0, 0) "]", "4", "2"),
     {{1, 3, 3, 2}},
     {{1, 2, 3, 4}},
     {2, 2}},
    {"window_max, row-major",
     ALONG("window_max", "window [" WINDOW(2, 0, 0) ", " WINDOW(2, 0, 0) "]", "2, 2", "1, 1"),
     {{1, 2, 2, 0}},
     {{1, 2, 3, 4}},
     {2}},
    {"window_max of padding",
     ALONG("window_max", "window [" WINDOW(1, 2, 0) "]", "2", "4"),
     {{-INF, 1}},
     {{5, 7}},
     {0, 0, 5, 7}},
    {"scatter set",
     SCATTER("set"),
     {{1, 2, 3}, {1, 1, 9, 0, -1}, {5, 6, 7, 8, 9}},
     {{1, 2, 3}, {0}, {4, 5, 6, 7, 8}},
     {7, 5, 3}},
    {"scatter add",
     SCATTER("add"),
     {{1, 2, 3}, {1, 1, 9, 0, -1}, {5, 6, 7, 8, 9}},
     {{1, 2, 3}, {0}, {4, 5, 6, 7, 8}},
     {8, 11, 3}},
    {"scatter max",
     SCATTER("max"),
     {{5, 1, 3}, {0, 0, 9, 1, 2}, {5, 5, 7, 0, 4}},
     {{1, 2, 3}, {0}, {4, 7, 6, 7, 8}},
     {4, 2, 8}},
    {"scatter min",
     SCATTER("min"),
     {{5, 1, 3}, {0, 0, 9, 1, 2}, {5, 5, 7, 0, 4}},
     {{1, 2, 3}, {0}, {4, 7, 6, 7, 8}},
     {4, 7, 3}},
    {"select",
     "%1 = input \"c\" : bool[2]\n%2 = input \"a\" : f64[2]\n%3 = input \"b\" : f64[2]\n"
     "%4 = log %3 : f64[2]\n%5 = select %1, %2, %4 : f64[2]\noutput \"y\" %5\n",
     {{1, 0}, {3, 3}, {0, 2}},
     {{0}, {1, 1}, {1, 1}},
     {1, 0.5}},
    {"casts",
     "%1 = input \"x\" : f64[2]\n%2 = cast %1 : f16[2]\n"
     "%3 = cast %2 : i32[2]\n%4 = cast %3 : f16[2]\n"
     "%5 = mul %2, %4 : f16[2]\noutput \"y\" %5\n",
     {{2.75, -3.5}},
     {{1, 1}},
     {2, -3}},
    {"bitcast",
     "%1 = input \"x\" : f32[2]\n%2 = bitcast %1 : i32[2]\n"
     "%3 = bitcast %2 : f32[2]\n%4 = add %1, %3 : f32[2]\noutput \"y\" %4\n",
     {{1, 2}},
     {{1, 3}},
     {1, 3}},
    {"bitcast of floats",
     "%1 = input \"x\" : f16[1]\n%2 = bitcast %1 : bf16[1]\noutput \"y\" %2\n",
     {{1}},
     {{1}},
     {0}},
    {"infinite slopes", UNARY("log", 2), {{0, 0}}, {{0, 1}}, {0, INF}},
    {"infinite factors",
     BINARY("mul", 3),
     {{INF, INF, NAN}, {2, 2, 2}},
     {{0, 1, 0}, {0, 0, 0}},
     {0, 2, 0}},
    {"contract, infinite",
     "%1 = input \"a\" : f64[1, 3]\n%2 = input \"b\" : f64[1, 3]\n"
     "%3 = contract %1, %2 {batch 0, contract 1} : f64[1, 1]\noutput \"y\" %3\n",
     {{INF, 2, 3}, {4, -INF, 6}},
     {{1, 0, 0}, {0, 0, 5}},
     {19}},
    {"conv, infinite",
     "%1 = input \"x\" : f64[1, 1, 3]\n%2 = input \"w\" : f64[1, 1, 2]\n"
     "%3 = conv %1, %2 {window [" WINDOW(2, 0, 0) "], groups 1} : f64[1, 1, 2]\n"
                                                  "output \"y\" %3\n",
     {{1, INF, 3}, {4, INF}},
     {{0, 2, 0}, {0, 0}},
     {INF, 8}},
};

static int64_t elements_of(const struct graph *graph, value_id id, int64_t *out_shape)
{
    const struct node *node = graph_node(graph, id);
    int64_t count = 1;
    for (uint32_t d = 0; d < node->rank; d++) {
        assert_true(dim_eval(&graph->dims, node->shape[d], NULL, &out_shape[d]));
        count *= out_shape[d];
    }
    return count;
}

static void parse(struct bed *bed, struct graph *graph, const char *text)
{
    char whole[1200];
    snprintf(whole, sizeof whole, "graph \"\"\n%s", text);
    if (!graph_parse(graph, &bed->arena, whole, strlen(whole), &bed->err))
        fail_msg("%s: %s in\n%s", bed->err.place, bed->err.message, whole);
}

static void test_rules(void **state)
{
    struct bed *bed = *state;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct graph graph;
        struct interp_tensor in[INPUTS_MOST];
        const double *directions[INPUTS_MOST];
        struct tangent_tensor out;
        parse(bed, &graph, rows[r].text);
        for (uint32_t i = 0; i < graph.inputs.count; i++) {
            const struct node *node = graph_node(&graph, graph.inputs.items[i]);
            int64_t shape[LIMIT_RANK];
            assert_true(elements_of(&graph, graph.inputs.items[i], shape) <= NUMBERS_MOST);
            in[i] = tensor_of(bed, (enum dtype)node->dtype, shape, node->rank, rows[r].values[i]);
            directions[i] = rows[r].directions[i];
        }
        const struct tangent_arguments arguments = {{NULL, in, graph.inputs.count}, directions};
        if (!tangent_run(&graph, &(struct interp_options){0}, &arguments, &bed->arena, &out,
                         &bed->err))
            fail_msg("%s: %s", rows[r].name, bed->err.message);
        for (int64_t i = 0; i < out.value.count; i++)
            if (out.tangent[i] != rows[r].expected[i])
                fail_msg("%s, element %lld: %.17g, expected %.17g", rows[r].name, (long long)i,
                         out.tangent[i], rows[r].expected[i]);
    }
}

/* f16, bf16 and f32 give what f64 gives; 0.1 is no number of any of them. A bitcast alone sees a
 * rounded operand. */
static void test_not_rounded(void **state)
{
    static const char *const dtypes[] = {"f16", "bf16", "f32"};
    struct bed *bed = *state;
    for (int d = 0; d < 3; d++) {
        char text[500];
        struct graph graph;
        struct interp_tensor x;
        struct tangent_tensor out[2];
        const double direction = 1, *directions[] = {&direction};
        const char *t = dtypes[d];
        snprintf(text, sizeof text,
                 "%%1 = input \"x\" : %s[1]\n%%2 = exp %%1 : %s[1]\n%%3 = mul %%2, %%2 : %s[1]\n"
                 "%%4 = reduce_sum %%3 {axes [0]} : %s[]\n%%5 = cast %%4 : f64[]\n"
                 "%%6 = bitcast %%1 : %s[1]\noutput \"y\" %%5\noutput \"bits\" %%6\n",
                 t, t, t, t, d == 2 ? "i32" : "i16");
        parse(bed, &graph, text);
        enum dtype dtype = dtype_from_name(t);
        x = tensor_of(bed, dtype, SHAPE(1), NULL);
        x.cells[0].f = 0.1;
        const struct tangent_arguments arguments = {{NULL, &x, 1}, directions};
        assert_true(tangent_run(&graph, &(struct interp_options){0}, &arguments, &bed->arena, out,
                                &bed->err));
        assert_same(out[0].value.cells[0].f, exp(0.1) * exp(0.1));
        assert_same(out[0].tangent[0], 2 * exp(0.1) * exp(0.1));
        assert_int_equal(out[0].value.dtype, DTYPE_F64);
        assert_null(out[1].tangent);
        float single = 0.1F;
        int32_t bits;
        memcpy(&bits, &single, sizeof bits);
        static const int64_t halves[] = {0x2e66, 0x3dcd};
        assert_int_equal(out[1].value.cells[0].i, d == 2 ? bits : halves[d]);
    }
}

/* a, b = b, a·w + x[t] while b < limit; the rows of b and of t. */
static const char LOOP[] =
    "dim T 0..9 multiple 1 typical 4\n"
    "%1 = input \"x\" : f32[9]\n%2 = input \"w\" : f32[]\n%3 = input \"limit\" : f32[]\n"
    "%4 = const 1 : f32[]\n%5 = copy %2 : f32[]\n%6 = const 1 : bool[]\n%7 = copy %6 : bool[]\n"
    "%8 = copy %4 : f32[]\n%9 = state %8 {loop 1, index 0} : f32[]\n"
    "%10 = state %5 {loop 1, index 1} : f32[]\n%11 = state %7 {loop 1, index 2} : bool[]\n"
    "%12 = iter {loop 1} : i64[]\n%13 = take %1, %12 {axis 0} : f32[]\n"
    "%14 = mul %9, %2 : f32[]\n%15 = add %14, %13 : f32[]\n%16 = copy %10 : f32[]\n"
    "%17 = copy %15 : f32[]\n%18 = lt %10, %3 : bool[]\n%19 = copy %18 : bool[]\n"
    "%20 = copy %12 : i64[]\n"
    "%21 = loop %9, %10, %11, %16, %17, %19, %17, %20 {loop 1, index 0, states 3, dim [T], while 2}"
    " : f32[]\n"
    "%22 = loop %9, %10, %11, %16, %17, %19, %17, %20 {loop 1, index 1, states 3, dim [T], while 2}"
    " : f32[]\n"
    "%23 = loop %9, %10, %11, %16, %17, %19, %17, %20 {loop 1, index 3, states 3, dim [T], while 2}"
    " : f32[T]\n"
    "%24 = loop %9, %10, %11, %16, %17, %19, %17, %20 {loop 1, index 4, states 3, dim [T], while 2}"
    " : i64[T]\n"
    "output \"a\" %21\noutput \"b\" %22\noutput \"rows\" %23\noutput \"trips\" %24\n";

/* The same with a value and its tangent in C. */
static void test_loop(void **state)
{
    struct bed *bed = *state;
    static const double x[9] = {0.5, -1, 2, 0.25, 3, 1, -2, 0.5, 1},
                        dx[9] = {1, 2, -1, 0.5, 1, 3, 1, -1, 2};
    const double w = 1.5, dw = 0.75;
    struct graph graph;
    parse(bed, &graph, LOOP);
    for (int64_t length = 0; length <= 9; length++)
        for (double limit = -10; limit <= 12; limit += 2)
            for (int64_t most = 0; most <= 3; most += 3) {
                double a = 1, da = 0, b = w, db = dw, row[9] = {0}, drow[9] = {0};
                int64_t trips = most > 0 && most < length ? most : length, t = 0;
                for (bool go = true; go && t < trips; t++) {
                    double next = a * w + x[t], dnext = da * w + a * dw + dx[t];
                    go = b < limit;
                    a = b, da = db, b = row[t] = next, db = drow[t] = dnext;
                }
                const struct interp_tensor in[3] = {tensor_of(bed, DTYPE_F32, SHAPE(9), x),
                                                    scalar_of(bed, DTYPE_F32, w),
                                                    scalar_of(bed, DTYPE_F32, limit)};
                const double *directions[3] = {dx, &dw, NULL};
                const struct tangent_arguments arguments = {{&length, in, 3}, directions};
                struct tangent_tensor out[4];
                assert_true(tangent_run(&graph, &(struct interp_options){.most_trips = most},
                                        &arguments, &bed->arena, out, &bed->err));
                assert_same(out[0].value.cells[0].f, a);
                assert_same(out[0].tangent[0], da);
                assert_same(out[1].value.cells[0].f, b);
                assert_same(out[1].tangent[0], db);
                for (int64_t i = 0; i < length; i++) {
                    assert_same(out[2].value.cells[i].f, row[i]);
                    assert_same(out[2].tangent[i], drow[i]);
                    assert_int_equal(out[3].value.cells[i].i, i < t ? i : 0);
                }
                assert_null(out[3].tangent);
            }
}

static bool is_stopped(const void *user)
{
    return user != NULL;
}

static void test_driver(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor x = random_of(bed, DTYPE_F64, SHAPE(4), 1);
    const struct interp_tensor in[3] = {x, x, random_of(bed, DTYPE_I64, SHAPE(4), 2)};
    struct tangent_tensor out[5];
    const double direction[4] = {1, 2, 3, 4}, *directions[3] = {direction, NULL, direction};
    parse(bed, &graph,
          "%1 = input \"x\" : f64[4]\n%2 = input \"z\" : f64[4]\n%3 = input \"i\" : i64[4]\n"
          "%4 = exp %2 : f64[4]\n%5 = argsort %1 {axis 0, reverse false} : i64[4]\n"
          "%6 = sin %1 : f64[4]\n%7 = cos %6 : f64[4]\noutput \"x\" %1\noutput \"exp\" %4\n"
          "output \"order\" %5\noutput \"y\" %7\noutput \"i\" %3\n");
    struct tangent_arguments arguments = {{NULL, in, 3}, directions};
    /* Alive at the end: copies of x, its direction and i, exp and zeros, the order, and y with its
     * tangent: 8 arrays of 32 bytes. The memory of the sine and its tangent is x's in the end. */
    for (size_t limit = 8 * 32 - 1; limit <= 8 * 32; limit++) {
        bool ok = tangent_run(&graph, &(struct interp_options){.memory_limit = limit}, &arguments,
                              &bed->arena, out, &bed->err);
        assert_int_equal(ok, limit == 8 * 32);
        if (!ok)
            assert_int_equal(bed->err.code, ERR_LIMIT);
        bed->err = (struct error){.code = ERR_NONE};
    }
    assert_null(out[4].tangent);
    assert_null(out[2].tangent);
    for (int i = 0; i < 4; i++) {
        double s = sin(x.cells[i].f);
        assert_same(out[0].tangent[i], direction[i]);
        assert_same(out[0].value.cells[i].f, x.cells[i].f);
        assert_same(out[1].tangent[i], 0);
        assert_same(out[3].tangent[i], -sin(s) * (cos(x.cells[i].f) * direction[i]));
        assert_null(out[i].value.bounds);
    }
    assert_true(out[0].tangent != direction && out[0].value.cells != x.cells);
    arguments.point.source_count = 1;
    assert_false(
        tangent_run(&graph, &(struct interp_options){0}, &arguments, &bed->arena, out, &bed->err));
    assert_int_equal(bed->err.code, ERR_INPUT);
    bed->err = (struct error){.code = ERR_NONE};
    parse(bed, &graph, LOOP);
    const struct interp_tensor of_loop[3] = {tensor_of(bed, DTYPE_F32, SHAPE(9), NULL),
                                             scalar_of(bed, DTYPE_F32, 1),
                                             scalar_of(bed, DTYPE_F32, 1)};
    const double *const none[3] = {NULL, NULL, NULL};
    const int64_t length = 4;
    arguments = (struct tangent_arguments){{&length, of_loop, 3}, none};
    assert_false(tangent_run(&graph,
                             &(struct interp_options){.is_stopped = is_stopped, .user = bed},
                             &arguments, &bed->arena, out, &bed->err));
    assert_int_equal(bed->err.code, ERR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rules, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_not_rounded, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_loop, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_driver, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
