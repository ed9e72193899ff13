/* Gradients of all operations, at drawn points: the identity with forward mode, and central
 * differences as a check of both. */
#include "compiler/grad/grad_test_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "compiler/ops/ops.h"

#include <cmocka.h> /* last: it defines fail as a macro */

static void draw_operand(const struct op_example_operand *o, struct interp_tensor *t, uint64_t seed,
                         struct arena *arena)
{
    struct error err = {0};
    void *native = arena_alloc(arena, (size_t)(o->count + 1) * 8, 8);
    op_example_fill(o, seed, native);
    const struct native_tensor tensor = {o->dtype, o->rank, o->shape, native};
    assert_true(interp_load(t, arena, &tensor, &err));
}

static void draw_example(struct point *p, const struct op_example *example, uint64_t seed)
{
    p->source_count = example->operand_count;
    p->sources = ARENA_ARRAY(p->arena, struct interp_tensor, p->source_count + 1);
    for (uint32_t i = 0; i < example->operand_count; i++)
        draw_operand(&example->operands[i], &p->sources[i], seed + i, p->arena);
}

/* The identity; in f64 its forward side is also compared with differences. */
static bool compare_example(const struct op_row *row, const struct op_example_request *request,
                            bool *moving, struct error *err)
{
    struct arena arena;
    struct graph graph;
    struct op_example example;
    struct sides sides = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    if (!op_example_build(row, request, &graph, &example, err))
        fail_msg("%s: %s", row->name, err->message);
    struct point p = {&arena, &graph, example.dim_values, NULL, 0, request->seed, false, NULL};
    draw_example(&p, &example, request->seed);
    bool same = grad_compare(&p, moving, err);
    /* Differences do not see through rounding to f16. */
    bool smooth = request->float_dtype == DTYPE_F64 && strcmp(row->name, "to") != 0;
    if (same && smooth && grad_backward(&p, &sides, NULL, &(struct error){0})) {
        assert_true(grad_differences(&p, &sides, err));
        double off = fabs(sides.forward - sides.backward);
        if (!(off <= 1e-5 * sides.magnitude + 1e-9)) {
            snprintf(err->message, sizeof err->message, "%.12g backward, %.12g by differences",
                     sides.backward, sides.forward);
            same = false;
        }
    }
    arena_release(&arena);
    return same;
}

static void test_every_operation(void **state)
{
    (void)state;
    static const enum dtype dtypes[] = {DTYPE_F64, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    int failures = 0, moving = 0;
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t at = 0; at < 12 * op_example_count(row); at++) {
            uint64_t seed = 1 + at % 12;
            struct error err = {0};
            struct op_example_request request = {at / 12, seed, seed % 3 == 0 ? 1 : 7,
                                                 dtypes[at % 12 < 6 ? 0 : 1 + at % 3],
                                                 seed % 2 == 0};
            bool moves = false;
            if (!compare_example(row, &request, &moves, &err)) {
                print_error("%s, example %u, seed %u, %s: %s %s\n", row->name, request.index,
                            (unsigned)seed, dtype_name(request.float_dtype), err.place,
                            err.message);
                failures++;
            }
            moving += moves;
        }
    }
    assert_int_equal(failures, 0);
    assert_true(moving > 1000);
}

/* Where the derivative jumps, each operation has the gradient of PyTorch 2.15. Operands beside x
 * are all second. */
static const struct kink {
    const char *op;
    int count;
    double second, at[4], gradient[4];
} kinks[] = {
    {"relu", 3, NAN, {-1, 0, 2}, {0, 0, 1}},
    {"relu6", 3, NAN, {0, 1, 6}, {0, 1, 0}},
    {"leaky_relu", 1, NAN, {0}, {0.01}},
    {"prelu", 1, 0.3, {0}, {0.3}},
    {"elu", 1, NAN, {0}, {1}},
    {"selu", 1, NAN, {0}, {1.7580993408473766}},
    {"celu", 1, NAN, {0}, {1}},
    {"hardswish", 2, NAN, {-3, 3}, {0, 1}},
    {"hardsigmoid", 2, NAN, {-3, 3}, {0, 0}},
    {"hardtanh", 3, NAN, {-1, 0, 1}, {0, 1, 0}},
    {"hardshrink", 2, NAN, {-0.5, 0.5}, {0, 0}},
    {"softshrink", 2, NAN, {-0.5, 0.5}, {0, 0}},
    {"softplus", 2, NAN, {20, 0}, {0.9999999979388464, 0.5}},
    {"l1_loss", 2, 0, {0, 1}, {0, 0.5}},
    {"smooth_l1_loss", 3, 0, {0, 1, -1}, {0, 1 / 3., -1 / 3.}},
    {"abs", 3, NAN, {-2, 0, 3}, {-1, 0, 1}},
};

static void check_kink(const struct kink *kink)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    struct sides sides = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    struct builder b = {&graph, &err};
    bool weight = strcmp(kink->op, "prelu") == 0, two = !isnan(kink->second);
    dim_id shape = b_dim_const(&b, kink->count), one = b_dim_const(&b, 1);
    value_id out[OP_MAX_OUTPUTS], in[2] = {graph_input(&graph, "x", DTYPE_F64, &shape, 1, &err)};
    if (two)
        in[1] = graph_input(&graph, "second", DTYPE_F64, weight ? &one : &shape, 1, &err);
    uint32_t count = 0;
    const struct op_arguments arguments = {.operands = in, .operand_count = two ? 2 : 1};
    if (!op_expand(&b, op_find(kink->op), &arguments, out, &count, &err) ||
        !graph_output(&graph, "y", out[0], &err))
        fail_msg("%s: %s %s", kink->op, err.place, err.message);
    struct point p = {&arena, &graph, NULL, NULL, 0, 1, true, NULL};
    struct interp_tensor got[2];
    bool moving = false;
    grad_point_init(&p);
    for (int i = 0; i < kink->count; i++)
        p.sources[0].cells[i].f = kink->at[i];
    for (int64_t e = 0; two && e < p.sources[1].count; e++)
        p.sources[1].cells[e].f = kink->second;
    if (!grad_compare(&p, &moving, &err) || !grad_backward(&p, &sides, got, &err))
        fail_msg("%s: %s", kink->op, err.message);
    for (int i = 0; i < kink->count; i++)
        if (!(fabs(got[0].cells[i].f - kink->gradient[i]) <= 1e-12))
            fail_msg("%s at %g: %.15g, expected %.15g", kink->op, kink->at[i], got[0].cells[i].f,
                     kink->gradient[i]);
    arena_release(&arena);
}

static void test_kinks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++)
        check_kink(&kinks[i]);
}

/* Three values of cotangent · f along the direction of one source, at x and a step to both sides.
 */
static void step_along(const struct point *p, uint32_t moving, double step, double *out_slope)
{
    double sums[3] = {0};
    struct point at = *p;
    struct error err = {0};
    at.sources = ARENA_ARRAY(p->arena, struct interp_tensor, p->source_count + 1);
    for (int side = -1; side <= 1; side++) {
        for (uint32_t s = 0; s < p->source_count; s++) {
            at.sources[s] = grad_tensor(p, p->graph, grad_source(p->graph, s));
            for (int64_t e = 0; e < at.sources[s].count; e++) {
                at.sources[s].cells[e] = p->sources[s].cells[e];
                if (s == moving)
                    at.sources[s].cells[e].f += side * step;
            }
        }
        struct interp_tensor *out =
            ARENA_ARRAY(p->arena, struct interp_tensor, p->graph->outputs.count);
        const struct interp_arguments arguments = {p->dims, at.sources, p->source_count};
        assert_true(interp_run(p->graph, &(struct interp_options){.mode = INTERP_NATIVE},
                               &arguments, p->arena, out, &err));
        for (uint32_t k = 0; k < p->graph->outputs.count; k++)
            for (int64_t e = 0; dtype_is_float(out[k].dtype) && e < out[k].count; e++)
                sums[side + 1] += out[k].cells[e].f;
    }
    out_slope[0] = (sums[1] - sums[0]) / step;
    out_slope[1] = (sums[2] - sums[1]) / step;
}

/* At x = value for all floats; ones as cotangents. */
static int check_smooth(const struct op_row *row, uint32_t index, double value, int *compared)
{
    struct arena arena;
    struct graph graph;
    struct op_example example;
    struct sides sides = {0};
    struct error err = {0};
    int failures = 0;
    arena_init(&arena);
    graph_init(&graph, &arena);
    const struct op_example_request request = {index, 1, 1, DTYPE_F64, false};
    assert_true(op_example_build(row, &request, &graph, &example, &err));
    struct point p = {&arena, &graph, example.dim_values, NULL, 0, 1, true, NULL};
    draw_example(&p, &example, 1);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; dtype_is_float(p.sources[s].dtype) && e < p.sources[s].count; e++)
            p.sources[s].cells[e].f = value;
    struct interp_tensor *got = ARENA_ARRAY(&arena, struct interp_tensor, p.source_count + 1);
    bool has = grad_backward(&p, &sides, got, &err);
    for (uint32_t s = 0; has && s < p.source_count; s++) {
        double slope[2], sum = 0;
        if (got[s].count == 0)
            continue;
        step_along(&p, s, 1e-6, slope);
        for (int64_t e = 0; e < got[s].count; e++)
            sum += got[s].cells[e].f;
        if (!(fabs(slope[0] - slope[1]) <= 1e-3 * (1 + fabs(slope[0]))))
            continue;
        ++*compared;
        if (fabs(sum - slope[0]) <= 1e-3 * (1 + fabs(slope[0])))
            continue;
        print_error("%s, example %u, operand %u, at %g: gradient %g, differences %g\n", row->name,
                    index, s, value, sum, slope[0]);
        failures++;
    }
    arena_release(&arena);
    return failures;
}

/* Differences see the steps of f16. The states of optimizers are sums of squares, whose root has no
 * slope at 0: 0 times infinity is NaN, as in PyTorch. */
static bool is_smooth(const struct op_row *row, double value)
{
    return strcmp(row->name, "to") != 0 && (value != 0 || strncmp(row->operands, "w g lr", 6) != 0);
}

/* Where formulas change from one branch to another, at 0 mostly, the gradient is right if the
 * operation is smooth there all the same. */
static void test_smooth_borders(void **state)
{
    (void)state;
    static const double values[] = {0, 1, -1, 0.5, -0.5, 2, 3, -3, 6, 20};
    int failures = 0, compared = 0;
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++)
        for (uint32_t index = 0; index < op_example_count(row); index++)
            for (size_t k = 0; k < sizeof values / sizeof *values; k++)
                if (is_smooth(row, values[k]))
                    failures += check_smooth(row, index, values[k], &compared);
    assert_int_equal(failures, 0);
    assert_true(compared > 4000);
}

/* Draws all sources and compares; the floats are in [-1, 1). */
static void expect_right(struct arena *arena, const struct graph *graph, const int64_t *dims,
                         uint64_t seed)
{
    struct point p = {arena, graph, dims, NULL, 0, seed, false, NULL};
    struct error err = {0};
    struct sides sides = {0};
    bool moving = false;
    grad_point_init(&p);
    for (uint32_t i = 0; i < p.source_count; i++)
        for (int64_t e = 0; e < p.sources[i].count; e++)
            if (dtype_is_float(p.sources[i].dtype))
                p.sources[i].cells[e].f = grad_drawn(rng_key(seed * 7 + i), e);
            else
                p.sources[i].cells[e].i = rng_u32(rng_key(seed * 7 + i), (uint64_t)e) % 5;
    if (!grad_compare(&p, &moving, &err) || !grad_backward(&p, &sides, NULL, &err) ||
        !grad_differences(&p, &sides, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, grad_text(graph, arena));
    assert_true(moving);
    if (!(fabs(sides.forward - sides.backward) <= 1e-5 * sides.magnitude + 1e-9))
        fail_msg("%.12g backward, %.12g by differences\n%s", sides.backward, sides.forward,
                 grad_text(graph, arena));
}

static void check_text(const char *text, const int64_t *dims)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    if (!graph_parse(&graph, &arena, text, strlen(text), &err))
        fail_msg("%s: %s", err.place, err.message);
    for (uint64_t seed = 1; seed < 4; seed++)
        expect_right(&arena, &graph, dims, seed);
    arena_release(&arena);
}

/* A recurrent layer: x by take at the trip, weights by a product, a bias and a gain otherwise; its
 * rows and its last state are outputs. */
static void test_recurrence(void **state)
{
    (void)state;
    static const char text[] =
        "graph \"rnn\"\n"
        "dim T 1..64 multiple 1 typical 4\n"
        "%1 = input \"x\" : f64[T, 2, 3]\n"
        "%2 = input \"h0\" : f64[2, 3]\n"
        "%3 = param \"w\" : f64[3, 3]\n"
        "%4 = param \"gain\" : f64[2, 3]\n"
        "%5 = copy %2 : f64[2, 3]\n"
        "%6 = state %5 {loop 1, index 0} : f64[2, 3]\n"
        "%7 = iter {loop 1} : i64[]\n"
        "%8 = take %1, %7 {axis 0} : f64[2, 3]\n"
        "%9 = contract %6, %3 {batch 0, contract 1} : f64[2, 3]\n"
        "%10 = add %8, %9 : f64[2, 3]\n"
        "%11 = tanh %10 : f64[2, 3]\n"
        "%12 = mul %11, %4 : f64[2, 3]\n"
        "%13 = copy %12 : f64[2, 3]\n"
        "%14 = loop %6, %13, %13 {loop 1, index 0, states 1, dim [T]} : f64[2, 3]\n"
        "%15 = loop %6, %13, %13 {loop 1, index 1, states 1, dim [T]} : f64[T, 2, 3]\n"
        "output \"y\" %15\n"
        "output \"h\" %14\n";
    for (int64_t steps = 1; steps < 6; steps++)
        check_text(text, &steps);
}

/* Two states, one of which only counts, an index that runs back, the weights first in the product
 * and used elsewhere too, a next state that is the same in each trip, and a batch of products. */
static void test_loop_of_many_kinds(void **state)
{
    (void)state;
    static const char text[] = "graph \"many\"\n"
                               "%1 = input \"x\" : f64[2, 4, 3]\n"
                               "%2 = param \"w\" : f64[5, 3, 3]\n"
                               "%3 = param \"v\" : f64[5, 2, 3]\n"
                               "%4 = copy %3 : f64[5, 2, 3]\n"
                               "%5 = const 0 : i64[]\n"
                               "%6 = copy %5 : i64[]\n"
                               "%7 = state %4 {loop 1, index 0} : f64[5, 2, 3]\n"
                               "%8 = state %6 {loop 1, index 1} : i64[]\n"
                               "%9 = state %4 {loop 1, index 2} : f64[5, 2, 3]\n"
                               "%10 = iter {loop 1} : i64[]\n"
                               "%11 = const 3 : i64[]\n"
                               "%12 = sub %11, %10 : i64[]\n"
                               "%13 = take %1, %12 {axis 1} : f64[2, 3]\n"
                               "%14 = contract %2, %7 {batch 1, contract 1} : f64[5, 3, 2]\n"
                               "%15 = transpose %14 {axes [0, 2, 1]} : f64[5, 2, 3]\n"
                               "%16 = sin %15 : f64[5, 2, 3]\n"
                               "%17 = broadcast %13 {axes [1, 2]} : f64[5, 2, 3]\n"
                               "%18 = mul %16, %17 : f64[5, 2, 3]\n"
                               "%19 = add %18, %9 : f64[5, 2, 3]\n"
                               "%20 = take %2, %8 {axis 0} : f64[3, 3]\n"
                               "%21 = reduce_sum %20 {axes [0]} : f64[3]\n"
                               "%22 = broadcast %21 {axes [2]} : f64[5, 2, 3]\n"
                               "%23 = add %19, %22 : f64[5, 2, 3]\n"
                               "%24 = copy %23 : f64[5, 2, 3]\n"
                               "%25 = const 1 : i64[]\n"
                               "%26 = add %8, %25 : i64[]\n"
                               "%27 = copy %26 : i64[]\n"
                               "%28 = mul %3, %3 : f64[5, 2, 3]\n"
                               "%29 = copy %28 : f64[5, 2, 3]\n"
                               "%30 = copy %18 : f64[5, 2, 3]\n"
                               "%31 = loop %7, %8, %9, %24, %27, %29, %30 "
                               "{loop 1, index 0, states 3, dim [4]} : f64[5, 2, 3]\n"
                               "%32 = loop %7, %8, %9, %24, %27, %29, %30 "
                               "{loop 1, index 2, states 3, dim [4]} : f64[5, 2, 3]\n"
                               "%33 = loop %7, %8, %9, %24, %27, %29, %30 "
                               "{loop 1, index 3, states 3, dim [4]} : f64[4, 5, 2, 3]\n"
                               "%34 = mul %32, %31 : f64[5, 2, 3]\n"
                               "output \"y\" %34\n"
                               "output \"rows\" %33\n";
    check_text(text, NULL);
}

/* As many batch dims as there can be. */
static void test_product_of_most_dims(void **state)
{
    (void)state;
    static const char text[] =
        "graph \"most\"\n"
        "%1 = input \"a\" : f64[1, 2, 1, 2, 1, 1, 2, 3]\n"
        "%2 = input \"b\" : f64[1, 2, 1, 2, 1, 1, 2, 3]\n"
        "%3 = contract %1, %2 {batch 7, contract 1} : f64[1, 2, 1, 2, 1, 1, 2]\n"
        "%4 = contract %1, %2 {batch 6, contract 1} : f64[1, 2, 1, 2, 1, 1, 2, 2]\n"
        "output \"y\" %3\noutput \"z\" %4\n";
    check_text(text, NULL);
}

static void expect_refused(const char *text, const struct grad_training *training, const char *what)
{
    struct arena arena;
    struct graph graph, out;
    struct error err = {0};
    arena_init(&arena);
    if (!graph_parse(&graph, &arena, text, strlen(text), &err))
        fail_msg("%s: %s", err.place, err.message);
    assert_false(grad_training_graph(&out, &arena, &graph, training, &err));
    assert_non_null(strstr(err.message, what));
    arena_release(&arena);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char text[] = "graph \"g\"\n"
                               "%1 = input \"x\" : f32[3]\n"
                               "%2 = input \"i\" : i64[3]\n"
                               "%3 = floor %1 : f32[3]\n"
                               "output \"y\" %3\n";
    const char *x = "x", *i = "i", *z = "z", *twice[] = {"x", "x"};
    expect_refused(text, &(struct grad_training){.wrt = &x, .wrt_count = 1}, "no output hangs");
    expect_refused(text, &(struct grad_training){.wrt = &i, .wrt_count = 1}, "only floats");
    expect_refused(text, &(struct grad_training){.wrt = &z, .wrt_count = 1},
                   "no input or parameter is called 'z'");
    expect_refused(text, &(struct grad_training){.wrt = twice, .wrt_count = 2}, "twice");
    static const char loop[] =
        "graph \"g\"\n"
        "%1 = input \"x\" : f32[]\n"
        "%2 = const 1 : bool[]\n"
        "%3 = copy %1 : f32[]\n"
        "%4 = copy %2 : bool[]\n"
        "%5 = state %3 {loop 1, index 0} : f32[]\n"
        "%6 = state %4 {loop 1, index 1} : bool[]\n"
        "%7 = sin %5 : f32[]\n"
        "%8 = copy %7 : f32[]\n"
        "%9 = lt %7, %5 : bool[]\n"
        "%10 = copy %9 : bool[]\n"
        "%11 = loop %5, %6, %8, %10 {loop 1, index 0, states 2, dim [9], while 1} : f32[]\n"
        "output \"y\" %11\n";
    expect_refused(loop, &(struct grad_training){0}, "ends by a condition");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operation),
        cmocka_unit_test(test_kinks),
        cmocka_unit_test(test_smooth_borders),
        cmocka_unit_test(test_recurrence),
        cmocka_unit_test(test_product_of_most_dims),
        cmocka_unit_test(test_loop_of_many_kinds),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
