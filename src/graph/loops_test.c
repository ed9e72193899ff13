/* Loops: built, printed and read, interpreted, opened; refused where they contradict themselves. */
#include "graph/loops.h"

#include <string.h>

#include "base/strbuf.h"
#include "graph/build.h"
#include "graph/interp_test_util.h"
#include "graph/text.h"

#define WIDTH 3

/* a, b = b, a + b·w + x[t]; rows: a before and b after each trip. The states trade places, so one
 * that changes before the other was read would show. T - 1 trips, T in 1 … 9. */
static void build(struct bed *bed, struct graph *graph)
{
    uint32_t name;
    struct builder b = {.graph = graph, .err = &bed->err};
    value_id results[4];
    graph_init(graph, &bed->arena);
    assert_true(
        dim_declare(&graph->dims, &(struct dim_name){"T", 1, 9, 1, 4, NULL}, &name, &bed->err));
    dim_id length = dim_named(&graph->dims, name), width = dim_const(&graph->dims, WIDTH);
    dim_id trips = dim_sub(&graph->dims, length, dim_const(&graph->dims, 1));
    dim_id shape[2] = {length, width};
    value_id x = graph_input(graph, "x", DTYPE_F32, shape, 2, &bed->err);
    value_id w = graph_param(graph, "w", DTYPE_F32, &width, 1, &bed->err);
    value_id a0 = graph_input(graph, "a0", DTYPE_F32, &width, 1, &bed->err);
    value_id b0 = b_broadcast_to(&b, b_const(&b, DTYPE_F32, 0.5), &width, 1);
    uint32_t loop = b_loop_begin(&b);
    value_id before[2] = {b_state(&b, loop, 0, a0), b_state(&b, loop, 1, b0)};
    value_id row = b_take(&b, x, b_iter(&b, loop), 0);
    value_id sum = b_add(&b, b_add(&b, before[0], b_mul(&b, before[1], w)), row);
    value_id after[2] = {before[1], b_loop_value(&b, sum)};
    const struct loop_spec spec = {.loop = loop,
                                   .trips = trips,
                                   .state = before,
                                   .next = after,
                                   .states = 2,
                                   .row = (value_id[]){before[0], after[1]},
                                   .rows = 2};
    if (!b_loop_end(&b, &spec, results))
        fail_msg("%s", bed->err.message);
    for (uint32_t i = 0; i < 4; i++) {
        static const char *const names[] = {"a", "b", "as", "bs"};
        assert_true(graph_output(graph, names[i], results[i], &bed->err));
    }
    assert_true(graph_verify(graph, &bed->err));
}

static const char *text_of(struct bed *bed, const struct graph *graph)
{
    struct strbuf text;
    strbuf_init(&text, &bed->arena);
    graph_print(graph, &text);
    return text.data;
}

/* What the definition gives, in f32. */
struct expected {
    float a[WIDTH], b[WIDTH], as[9][WIDTH], bs[9][WIDTH];
};

static void compute(const struct interp_tensor *in, int64_t trips, struct expected *out)
{
    for (int i = 0; i < WIDTH; i++) {
        float a = (float)in[1].cells[i].f, b = 0.5F;
        for (int64_t t = 0; t < trips; t++) {
            float product = b * (float)in[2].cells[i].f, sum = a + product;
            out->as[t][i] = a;
            a = b;
            b = out->bs[t][i] = sum + (float)in[0].cells[t * WIDTH + i].f;
        }
        out->a[i] = a;
        out->b[i] = b;
    }
}

static void expect(const struct interp_tensor *tensor, const float *values, int64_t rows)
{
    assert_int_equal(tensor->count, rows * WIDTH);
    for (int64_t i = 0; i < tensor->count; i++)
        if (tensor->bounds)
            assert_true(fabs(tensor->cells[i].f - (double)values[i]) <= tensor->bounds[i]);
        else
            assert_same(tensor->cells[i].f, (double)values[i]);
}

static void test_trips(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    build(bed, &graph);
    for (int64_t length = 1; length <= 9; length++) {
        int64_t trips = length - 1;
        struct interp_tensor in[3] = {random_of(bed, DTYPE_F32, SHAPE(length, WIDTH), 1),
                                      random_of(bed, DTYPE_F32, SHAPE(WIDTH), 2),
                                      random_of(bed, DTYPE_F32, SHAPE(WIDTH), 3)};
        struct interp_tensor out[4];
        struct expected right = {0};
        compute(in, trips, &right);
        for (enum interp_mode mode = INTERP_REFERENCE; mode <= INTERP_PLAIN; mode++) {
            assert_true(interp_run(&graph, &(struct interp_options){.mode = mode},
                                   &(struct interp_arguments){&length, in, 3}, &bed->arena, out,
                                   &bed->err));
            expect(&out[0], right.a, 1);
            expect(&out[1], right.b, 1);
            expect(&out[2], right.as[0], trips);
            expect(&out[3], right.bs[0], trips);
        }
    }
}

/* Nodes of one loop may stand apart. What the body reads from outside is read by others in between,
 * whose memory must not be what the loop gave back when it ran at its first node. */
static void test_nodes_apart(void **state)
{
    struct bed *bed = *state;
    static const char text[] = "graph \"apart\"\n"
                               "%1 = input \"x\" : f32[4]\n"
                               "%2 = sin %1 : f32[4]\n"
                               "%3 = copy %1 : f32[4]\n"
                               "%4 = state %3 {loop 1, index 0} : f32[4]\n"
                               "%5 = add %4, %2 : f32[4]\n"
                               "%6 = copy %5 : f32[4]\n"
                               "%7 = copy %4 : f32[4]\n"
                               "%8 = loop %4, %6, %7 {loop 1, index 0, states 1, dim [3]} : "
                               "f32[4]\n"
                               "%9 = neg %8 : f32[4]\n"
                               "%10 = exp %9 : f32[4]\n"
                               "%11 = add %10, %2 : f32[4]\n"
                               "%12 = loop %4, %6, %7 {loop 1, index 1, states 1, dim [3]} : "
                               "f32[3, 4]\n"
                               "%13 = reduce_sum %12 {axes [0]} : f32[4]\n"
                               "%14 = add %11, %13 : f32[4]\n"
                               "output \"y\" %14\n";
    struct graph graph;
    assert_true(graph_parse(&graph, &bed->arena, text, strlen(text), &bed->err));
    struct interp_tensor in = random_of(bed, DTYPE_F32, SHAPE(4), 1), out;
    for (enum interp_mode mode = INTERP_REFERENCE; mode <= INTERP_PLAIN; mode++) {
        assert_true(interp_run(&graph, &(struct interp_options){.mode = mode},
                               &(struct interp_arguments){NULL, &in, 1}, &bed->arena, &out,
                               &bed->err));
        for (int i = 0; i < 4; i++) {
            double x = in.cells[i].f, s = sin(x), last = x + 3 * s;
            double right = exp(-last) + s + x + (x + s) + (x + 2 * s);
            assert_true(fabs(out.cells[i].f - right) <= 1e-5 * (1 + fabs(right)));
        }
    }
}

static void test_text(void **state)
{
    struct bed *bed = *state;
    struct graph graph, again, copy;
    build(bed, &graph);
    const char *text = text_of(bed, &graph);
    assert_true(graph_parse(&again, &bed->arena, text, strlen(text), &bed->err));
    assert_string_equal(text_of(bed, &again), text);
    assert_true(graph_copy_live(&copy, &bed->arena, &graph, &bed->err));
    assert_string_equal(text_of(bed, &copy), text);
    assert_int_equal(copy.loops, 1);
}

/* Open, one trip is a function of what it starts from. */
static void test_open(void **state)
{
    struct bed *bed = *state;
    struct graph graph, open;
    struct interp_tensor out[11], in[10];
    int64_t length = 5;
    build(bed, &graph);
    assert_true(graph_open_loops(&open, &bed->arena, &graph, &bed->err));
    assert_true(graph_verify(&open, &bed->err));
    assert_false(graph_has_loops(&open));
    static const char *const inputs[] = {"x",         "a0",       "iter 1.0",
                                         "state 1.0", "last 1.0", "state 1.1",
                                         "last 1.1",  "rows 1.0", "rows 1.1"};
    assert_int_equal(open.inputs.count, 9);
    for (uint32_t i = 0; i < 9; i++) {
        const struct node *node = graph_node(&open, open.inputs.items[i]);
        int64_t shape[LIMIT_RANK];
        assert_string_equal(node->attrs->name, inputs[i]);
        for (uint32_t d = 0; d < node->rank; d++)
            assert_true(dim_eval(&open.dims, node->shape[d], &length, &shape[d]));
        in[i] = random_of(bed, (enum dtype)node->dtype, shape, node->rank, 1 + i);
    }
    in[2].cells[0].i = 3;
    in[9] = random_of(bed, DTYPE_F32, SHAPE(WIDTH), 20);
    assert_int_equal(open.outputs.count, 11);
    assert_true(interp_run(&open, &(struct interp_options){.mode = INTERP_NATIVE},
                           &(struct interp_arguments){&length, in, 10}, &bed->arena, out,
                           &bed->err));
    for (int i = 0; i < WIDTH; i++) {
        float product = (float)in[5].cells[i].f * (float)in[9].cells[i].f;
        float sum = (float)in[3].cells[i].f + product;
        assert_same(out[0].cells[i].f, in[4].cells[i].f);
        assert_same(out[5].cells[i].f, in[1].cells[i].f);
        assert_same(out[6].cells[i].f, in[5].cells[i].f);
        assert_same(out[7].cells[i].f, 0.5);
        assert_same(out[8].cells[i].f, (double)(sum + (float)in[0].cells[3 * WIDTH + i].f));
        assert_same(out[9].cells[i].f, in[3].cells[i].f);
    }
    assert_int_equal(out[4].cells[0].i, length - 1); /* its trips */
}

/* s doubles while c, which then becomes s < limit; the rows of s. */
static const char doubling[] =
    "graph \"\"\n"
    "dim T 0..9 multiple 1 typical 4\n"
    "%1 = input \"s\" : f32[]\n"
    "%2 = input \"c\" : bool[]\n"
    "%3 = input \"limit\" : f32[]\n"
    "%4 = copy %1 : f32[]\n"
    "%5 = state %4 {loop 1, index 0} : f32[]\n"
    "%6 = copy %2 : bool[]\n"
    "%7 = state %6 {loop 1, index 1} : bool[]\n"
    "%8 = add %5, %5 : f32[]\n"
    "%9 = copy %8 : f32[]\n"
    "%10 = lt %9, %3 : bool[]\n"
    "%11 = copy %10 : bool[]\n"
    "%12 = loop %5, %7, %9, %11, %9 {loop 1, index 0, states 2, dim [T], while 1} : f32[]\n"
    "%13 = loop %5, %7, %9, %11, %9 {loop 1, index 1, states 2, dim [T], while 1} : bool[]\n"
    "%14 = loop %5, %7, %9, %11, %9 {loop 1, index 2, states 2, dim [T], while 1} : f32[T]\n"
    "output \"s\" %12\noutput \"c\" %13\noutput \"rows\" %14\n";

static void test_condition(void **state)
{
    static const struct {
        float s, limit;
        bool c;
    } rows[] = {{1, 5, true}, {1, 5, false},  {1, 1e30F, true}, {6, 5, true},
                {0, 1, true}, {1, NAN, true}, {NAN, 5, true},   {NAN, 5, false}};
    struct bed *bed = *state;
    struct graph graph, open;
    assert_true(graph_parse(&graph, &bed->arena, doubling, strlen(doubling), &bed->err));
    assert_string_equal(text_of(bed, &graph), doubling);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (int64_t most = 0; most <= 9; most++)
            for (enum interp_mode mode = INTERP_REFERENCE; mode <= INTERP_PLAIN; mode++) {
                union cell s = {.f = (double)rows[r].s}, c = {.i = rows[r].c};
                union cell limit = {.f = (double)rows[r].limit};
                const struct interp_tensor in[3] = {
                    {.dtype = DTYPE_F32, .count = 1, .cells = &s},
                    {.dtype = DTYPE_BOOL, .count = 1, .cells = &c},
                    {.dtype = DTYPE_F32, .count = 1, .cells = &limit}};
                struct interp_tensor out[3];
                float now = rows[r].s, made[9] = {0};
                bool go = rows[r].c;
                for (int64_t t = 0; t < most && go; t++) {
                    now = made[t] = now + now;
                    go = now < rows[r].limit;
                }
                assert_true(interp_run(&graph, &(struct interp_options){.mode = mode},
                                       &(struct interp_arguments){&most, in, 3}, &bed->arena, out,
                                       &bed->err));
                assert_same(out[0].cells[0].f, (double)now);
                assert_int_equal(out[1].cells[0].i, go);
                assert_int_equal(out[2].count, most);
                for (int64_t t = 0; t < most; t++)
                    assert_same(out[2].cells[t].f, (double)made[t]);
            }
    assert_true(graph_open_loops(&open, &bed->arena, &graph, &bed->err));
    assert_string_equal(graph_node(&open, open.inputs.items[6])->attrs->name, "while 1.1");
}

/* The number of the trip, and in shape [1], as states and rows. */
static void test_numbers(void **state)
{
    static const char text[] =
        "graph \"\"\n%1 = const -1 : i64[]\n%2 = copy %1 : i64[]\n"
        "%3 = state %2 {loop 1, index 0} : i64[]\n%4 = iter {loop 1} : i64[]\n"
        "%5 = copy %4 : i64[]\n%6 = reshape %5 : i64[1]\n%7 = copy %6 : i64[1]\n"
        "%8 = loop %3, %5, %5, %7 {loop 1, index 0, states 1, dim [4]} : i64[]\n"
        "%9 = loop %3, %5, %5, %7 {loop 1, index 1, states 1, dim [4]} : i64[4]\n"
        "%10 = loop %3, %5, %5, %7 {loop 1, index 2, states 1, dim [4]} : i64[4, 1]\n"
        "output \"last\" %8\noutput \"rows\" %9\noutput \"columns\" %10\n";
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor out[3];
    if (!graph_parse(&graph, &bed->arena, text, strlen(text), &bed->err))
        fail_msg("%s: %s", bed->err.place, bed->err.message);
    for (enum interp_mode mode = INTERP_REFERENCE; mode <= INTERP_PLAIN; mode++) {
        assert_true(interp_run(&graph, &(struct interp_options){.mode = mode},
                               &(struct interp_arguments){0}, &bed->arena, out, &bed->err));
        assert_int_equal(out[0].cells[0].i, 3);
        assert_ints(&out[1], VALUES(0, 1, 2, 3));
        assert_ints(&out[2], VALUES(0, 1, 2, 3));
    }
}

/* Where rounding may decide the end, nothing that the loop gives is determined. A limit of trips
 * counts as if the graph said it. */
static void test_unsure(void **state)
{
    static const char text[] =
        "graph \"\"\n%1 = input \"x\" : f32[]\n%2 = copy %1 : f32[]\n"
        "%3 = state %2 {loop 1, index 0} : f32[]\n%4 = const 1 : bool[]\n%5 = copy %4 : bool[]\n"
        "%6 = state %5 {loop 1, index 1} : bool[]\n%7 = exp %3 : f32[]\n%8 = log %7 : f32[]\n"
        "%9 = copy %8 : f32[]\n%10 = le %9, %1 : bool[]\n%11 = copy %10 : bool[]\n"
        "%12 = loop %3, %6, %9, %11 {loop 1, index 0, states 2, dim [2147483647], while 1} : f32[]"
        "\noutput \"y\" %12\n";
    struct bed *bed = *state;
    struct graph graph;
    union cell x = {.f = 1.25};
    const struct interp_tensor in = {.dtype = DTYPE_F32, .count = 1, .cells = &x};
    struct interp_tensor out;
    for (int64_t most = 1; most <= 3; most++) {
        bool unsure = false;
        assert_true(graph_parse(&graph, &bed->arena, text, strlen(text), &bed->err));
        assert_true(interp_run(&graph,
                               &(struct interp_options){
                                   .mode = INTERP_REFERENCE, .most_trips = most, .unsure = &unsure},
                               &(struct interp_arguments){NULL, &in, 1}, &bed->arena, &out,
                               &bed->err));
        assert_int_equal(unsure, most > 1);
        assert_int_equal(out.bounds[0] < INFINITY, most == 1);
    }
}

/* A limit for trying holds for loops without a condition too: states are what they were by then,
 * rows of trips that were not made are 0. */
static void test_tried(void **state)
{
    static const char text[] =
        "graph \"\"\n%1 = input \"x\" : i32[]\n"
        "%2 = state %1 {loop 1, index 0} : i32[]\n"
        "%3 = add %2, %2 : i32[]\n%4 = copy %3 : i32[]\n"
        "%5 = loop %2, %4, %4 {loop 1, index 0, states 1, dim [4]} : i32[]\n"
        "%6 = loop %2, %4, %4 {loop 1, index 1, states 1, dim [4]} : i32[4]\n"
        "output \"y\" %5\noutput \"ys\" %6\n";
    struct bed *bed = *state;
    struct graph graph;
    union cell x = {.i = 3};
    const struct interp_tensor in = {.dtype = DTYPE_I32, .count = 1, .cells = &x};
    assert_true(graph_parse(&graph, &bed->arena, text, strlen(text), &bed->err));
    for (int64_t tried = 0; tried <= 5; tried++) {
        struct interp_tensor out[2];
        int64_t made = tried > 0 && tried < 4 ? tried : 4;
        assert_true(interp_run(
            &graph,
            &(struct interp_options){.mode = INTERP_NATIVE, .most_trips = 1, .tried_trips = tried},
            &(struct interp_arguments){NULL, &in, 1}, &bed->arena, out, &bed->err));
        assert_int_equal(out[0].cells[0].i, 3 << made);
        for (int64_t t = 0; t < 4; t++)
            assert_int_equal(out[1].cells[t].i, t < made ? 6 << t : 0);
    }
}

static bool is_stopped(const void *user)
{
    int *left = (int *)(uintptr_t)user;
    return --*left == 0;
}

static void test_stopped(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    union cell cells[3] = {{.f = 1}, {.i = 1}, {.f = (double)INFINITY}};
    int64_t most = 9;
    const struct interp_tensor in[3] = {{.dtype = DTYPE_F32, .count = 1, .cells = &cells[0]},
                                        {.dtype = DTYPE_BOOL, .count = 1, .cells = &cells[1]},
                                        {.dtype = DTYPE_F32, .count = 1, .cells = &cells[2]}};
    assert_true(graph_parse(&graph, &bed->arena, doubling, strlen(doubling), &bed->err));
    for (int left = 1; left <= 10; left++) {
        int count = left;
        struct interp_tensor out[3];
        const struct interp_options options = {
            .mode = INTERP_NATIVE, .is_stopped = is_stopped, .user = &count};
        bool ok = interp_run(&graph, &options, &(struct interp_arguments){&most, in, 3},
                             &bed->arena, out, &bed->err);
        assert_int_equal(ok, left == 10);
        if (!ok)
            assert_int_equal(bed->err.code, ERR_CANCELLED);
        bed->err = (struct error){.code = ERR_NONE};
    }
}

static void test_refusals(void **state)
{
    static const struct {
        const char *body, *message;
    } rows[] = {
        {"%2 = state %1 {loop 1, index 0} : f32[3]\n%3 = copy %2 : f32[3]\noutput \"y\" %3\n",
         "an output is in the body of a loop"},
        {"%2 = iter {loop 1} : i64[]\n%3 = iter {loop 2} : i64[]\n%4 = add %2, %3 : i64[]\n"
         "%5 = copy %4 : i64[]\n%6 = loop %5 {loop 1, index 0, states 0, dim [2]} : i64[2]\n"
         "output \"y\" %6\n",
         "is in the bodies of two loops"},
        {"%2 = iter {loop 1} : i64[]\n%3 = loop %2 {loop 1, index 0, states 0, dim [2]} : i64[2]\n"
         "output \"y\" %3\n",
         "a value after a trip is no copy"},
        {"%2 = state %1 {loop 1, index 0} : f32[3]\n%3 = copy %2 : f32[3]\n"
         "%4 = loop %2, %3 {loop 1, index 0, states 1, dim [2]} : f32[3]\n"
         "%5 = loop %2, %3 {loop 1, index 0, states 1, dim [3]} : f32[3]\n"
         "%6 = add %4, %5 : f32[3]\noutput \"y\" %6\n",
         "loop nodes of one number have different operands, trips or conditions"},
        {"%2 = iter {loop 1} : i64[]\n%3 = copy %2 : i64[]\n"
         "%4 = loop %3 {loop 1, index 0, states 0, dim [2]} : i64[2]\n"
         "%5 = state %1 {loop 1, index 5} : f32[3]\n%6 = copy %5 : f32[3]\n"
         "%7 = loop %6 {loop 2, index 0, states 0, dim [2]} : f32[2, 3]\n"
         "output \"y\" %4\noutput \"z\" %7\n",
         "is in the bodies of two loops"},
        {"%2 = const 1 : bool[]\n%3 = copy %2 : bool[]\n"
         "%4 = state %3 {loop 1, index 0} : bool[]\n%5 = state %3 {loop 1, index 1} : bool[]\n"
         "%6 = copy %5 : bool[]\n%7 = copy %4 : bool[]\n"
         "%8 = loop %4, %5, %6, %7 {loop 1, index 0, states 2, dim [2], while 0} : bool[]\n"
         "%9 = loop %4, %5, %6, %7 {loop 1, index 1, states 2, dim [2], while 1} : bool[]\n"
         "output \"y\" %8\noutput \"z\" %9\n",
         "loop nodes of one number have different operands, trips or conditions"},
    };
    struct bed *bed = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct graph graph;
        struct strbuf text;
        strbuf_init(&text, &bed->arena);
        strbuf_printf(&text, "graph \"\"\n%%1 = input \"x\" : f32[3]\n%s", rows[i].body);
        assert_false(graph_parse(&graph, &bed->arena, text.data, text.size_bytes, &bed->err));
        assert_int_equal(bed->err.code, ERR_SHAPE);
        assert_string_equal(bed->err.message, rows[i].message);
        bed->err = (struct error){.code = ERR_NONE};
    }
}

static void test_shapes(void **state)
{
    static const char *const rows[] = {
        "%2 = iter {loop 0} : i64[]\n",
        "%2 = state %1 {loop 1, index 0} : f32[4]\n",
        "%2 = loop %1, %1 {loop 1, index 0, states 1, dim [2]} : f32[3]\n",
        "%2 = loop %1 {loop 1, index 1, states 0, dim [2]} : f32[2, 3]\n",
        "%2 = loop %1 {loop 1, index 0, states 1, dim [2]} : f32[3]\n",
        "%2 = loop %1 {loop 1, index 0, states 0, dim [2, 2]} : f32[2, 3]\n",
        "%2 = copy %1 : f32[3]\n%3 = state %1 {loop 1, index 1} : f32[3]\n"
        "%4 = loop %3, %2 {loop 1, index 0, states 1, dim [2]} : f32[3]\n",
        "%2 = state %1 {loop 1, index 0} : f32[3]\n%3 = copy %2 : f32[3]\n"
        "%4 = loop %2, %3 {loop 1, index 0, states 1, dim [2], while 0} : f32[3]\n",
        "%2 = const 1 : bool[]\n%3 = copy %2 : bool[]\n%4 = state %3 {loop 1, index 0} : bool[]\n"
        "%5 = copy %4 : bool[]\n"
        "%6 = loop %4, %5 {loop 1, index 0, states 1, dim [2], while 1} : bool[]\n",
    };
    struct bed *bed = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct graph graph;
        struct strbuf text;
        strbuf_init(&text, &bed->arena);
        strbuf_printf(&text, "graph \"\"\n%%1 = input \"x\" : f32[3]\n%s", rows[i]);
        assert_false(graph_parse(&graph, &bed->arena, text.data, text.size_bytes, &bed->err));
        bed->err = (struct error){.code = ERR_NONE};
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_trips, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_nodes_apart, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_text, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_open, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_condition, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_numbers, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_unsure, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_tried, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_stopped, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_shapes, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
