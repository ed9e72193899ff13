/* The driver and the conversion to native memory: dims, sources, limits, dead and shared values,
 * load, store, compare. */
#include "graph/interp_test_util.h"

#include <string.h>

/* y = exp(x) + x over [B, 3], B in 0 … 8 and even; z = x; a dead value beside them. */
static void build(struct bed *bed, struct graph *graph)
{
    uint32_t name;
    graph_init(graph, &bed->arena);
    assert_true(
        dim_declare(&graph->dims, &(struct dim_name){"B", 0, 8, 2, 4, NULL}, &name, &bed->err));
    dim_id shape[2] = {dim_named(&graph->dims, name), dim_const(&graph->dims, 3)};
    value_id x = graph_input(graph, "x", DTYPE_F32, shape, 2, &bed->err);
    value_id e = graph_add(graph, PRIM_EXP, &x, 1, NULL, &bed->err);
    graph_add(graph, PRIM_SIN, &e, 1, NULL, &bed->err);
    value_id sum = graph_add(graph, PRIM_ADD, (value_id[]){e, x}, 2, NULL, &bed->err);
    assert_true(graph_output(graph, "y", sum, &bed->err));
    assert_true(graph_output(graph, "z", x, &bed->err));
}

static void test_run(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor out[2];
    build(bed, &graph);
    for (int64_t rows = 0; rows <= 8; rows += 2) {
        struct interp_tensor x = random_of(bed, DTYPE_F32, SHAPE(rows, 3), 1);
        assert_true(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                               &(struct interp_arguments){&rows, &x, 1}, &bed->arena, out,
                               &bed->err));
        assert_true(out[0].count == rows * 3 && out[0].shape[0] == rows && !out[0].bounds);
        assert_ptr_not_equal(out[1].cells, x.cells);
        for (int64_t i = 0; i < x.count; i++) {
            double e = (double)(float)exp(x.cells[i].f);
            assert_same(out[0].cells[i].f, (double)(float)(e + x.cells[i].f));
            assert_same(out[1].cells[i].f, x.cells[i].f);
        }
    }
}

static void test_refusals(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor out[2], x = random_of(bed, DTYPE_F32, SHAPE(4, 3), 1);
    build(bed, &graph);
    static const int64_t bad_dims[] = {-2, 3, 10};
    for (int i = 0; i < 3; i++) {
        assert_false(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                                &(struct interp_arguments){&bad_dims[i], &x, 1}, &bed->arena, out,
                                &bed->err));
        assert_int_equal(bed->err.code, ERR_INPUT);
    }
    struct interp_tensor bad[4] = {x, x, x, x};
    bad[0].dtype = DTYPE_F64;
    bad[1].rank = 1;
    bad[2].shape[0] = 2;
    for (int i = 0; i < 4; i++) {
        uint32_t count = i == 3 ? 2 : 1;
        bed->err.code = ERR_NONE;
        assert_false(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                                &(struct interp_arguments){(int64_t[]){4}, &bad[i], count},
                                &bed->arena, out, &bed->err));
        assert_int_equal(bed->err.code, ERR_INPUT);
    }
    /* exp, the sum, and the copy of the source, of 12 elements each; the last reuses the memory of
     * exp. */
    assert_false(interp_run(
        &graph, &(struct interp_options){.mode = INTERP_NATIVE, .memory_limit = 2 * 96 - 1},
        &(struct interp_arguments){(int64_t[]){4}, &x, 1}, &bed->arena, out, &bed->err));
    assert_int_equal(bed->err.code, ERR_LIMIT);
    assert_true(
        interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE, .memory_limit = 2 * 96},
                   &(struct interp_arguments){(int64_t[]){4}, &x, 1}, &bed->arena, out, &bed->err));
    assert_same(out[1].cells[5].f, x.cells[5].f);
}

/* A tensor that is too large because of its named dim. */
static void test_tensor_limit(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor out, x = scalar_of(bed, DTYPE_F32, 1);
    uint32_t name;
    int64_t size = (int64_t)1 << 40;
    graph_init(&graph, &bed->arena);
    assert_true(
        dim_declare(&graph.dims, &(struct dim_name){"N", 1, size, 1, 0, NULL}, &name, &bed->err));
    value_id id = graph_input(&graph, "x", DTYPE_F32, NULL, 0, &bed->err);
    struct attrs attrs = {.rank = 2,
                          .shape = {dim_named(&graph.dims, name), dim_const(&graph.dims, 8)}};
    id = graph_add(&graph, PRIM_BROADCAST, &id, 1, &attrs, &bed->err);
    assert_true(graph_output(&graph, "y", id, &bed->err));
    assert_false(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                            &(struct interp_arguments){&size, &x, 1}, &bed->arena, &out,
                            &bed->err));
    assert_int_equal(bed->err.code, ERR_LIMIT);
}

static void test_memory(void **state)
{
    struct bed *bed = *state;
    static const double values[] = {0, 1, 1, 0, 1, 1};
    for (enum dtype dtype = DTYPE_F64; dtype <= DTYPE_BOOL; dtype++) {
        struct interp_tensor t = tensor_of(bed, dtype, SHAPE(2, 3), values), back;
        if (dtype == DTYPE_F16)
            t.cells[1].f = -1.5;
        if (dtype == DTYPE_I8 || dtype == DTYPE_I64)
            t.cells[1].i = -100;
        if (dtype == DTYPE_U8)
            t.cells[1].i = 200;
        char memory[64];
        interp_store(&t, memory);
        assert_true(interp_load(&back, &bed->arena,
                                &(struct native_tensor){dtype, 2, t.shape, memory}, &bed->err));
        assert_memory_equal(back.cells, t.cells, 6 * sizeof *t.cells);
        assert_true(back.count == 6 && !back.bounds);
    }
    struct interp_tensor t;
    assert_false(interp_load(
        &t, &bed->arena, &(struct native_tensor){DTYPE_F32, 9, (int64_t[9]){0}, NULL}, &bed->err));
    assert_int_equal(bed->err.code, ERR_LIMIT);
    assert_false(interp_load(
        &t, &bed->arena, &(struct native_tensor){DTYPE_F32, 1, (int64_t[]){-1}, NULL}, &bed->err));
    const struct native_tensor native = {DTYPE_F32, 2, (int64_t[]){INT64_MAX, 2}, NULL};
    assert_false(interp_load(&t, &bed->arena, &native, &bed->err));
}

static void test_compare(void **state)
{
    struct bed *bed = *state;
    struct interp_difference d;
    struct interp_tensor t =
        with_bound(bed, tensor_of(bed, DTYPE_F32, SHAPE(5), VALUES(1, 2, NAN, INFINITY, 5)), 0.5);
    t.bounds[2] = t.bounds[3] = 0;
    interp_compare(&t, (float[]){1, 2.25f, NAN, INFINITY, 5.125f}, &d);
    assert_true(d.worst_ratio == 0.5 && d.worst_absolute == 0.25 && d.worst_bound == 0.5);
    assert_true(d.worst_index == 1 && d.undetermined == 0);
    interp_compare(&t, (float[]){1, 2, 3, INFINITY, 5}, &d);
    assert_true(isinf(d.worst_ratio) && d.worst_index == 2);
    interp_compare(&t, (float[]){1, 2, NAN, -INFINITY, 5}, &d);
    assert_true(isinf(d.worst_ratio) && d.worst_index == 3);
    interp_compare(&t, (float[]){NAN, 2, NAN, INFINITY, 5}, &d);
    assert_true(isinf(d.worst_ratio) && d.worst_index == 0);
    t.bounds[0] = t.bounds[4] = INFINITY;
    interp_compare(&t, (float[]){9, 2, NAN, INFINITY, NAN}, &d);
    assert_true(d.worst_ratio == 0 && d.undetermined == 2);
    struct interp_tensor ints = tensor_of(bed, DTYPE_I64, SHAPE(2), VALUES(3, 4));
    interp_compare(&ints, (int64_t[]){3, 4}, &d);
    assert_true(d.worst_ratio == 0);
    interp_compare(&ints, (int64_t[]){3, INT64_MIN}, &d);
    assert_true(isinf(d.worst_ratio) && d.worst_absolute == 0x1p63 + 4);
    ints = with_bound(bed, ints, 2);
    interp_compare(&ints, (int64_t[]){3, 5}, &d);
    assert_true(d.worst_ratio == 0.5);
}

/* A value with several users that is returned twice keeps its memory. */
static void test_shared_values(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor out[3], x = random_of(bed, DTYPE_F32, SHAPE(16), 1);
    graph_init(&graph, &bed->arena);
    dim_id shape = dim_const(&graph.dims, 16);
    value_id v = graph_input(&graph, "x", DTYPE_F32, &shape, 1, &bed->err);
    value_id square = graph_add(&graph, PRIM_MUL, (value_id[]){v, v}, 2, NULL, &bed->err);
    value_id last = square;
    for (int i = 0; i < 6; i++)
        last = graph_add(&graph, PRIM_ADD, (value_id[]){last, i % 2 ? square : last}, 2, NULL,
                         &bed->err);
    assert_true(graph_output(&graph, "a", square, &bed->err));
    assert_true(graph_output(&graph, "b", last, &bed->err));
    assert_true(graph_output(&graph, "c", square, &bed->err));
    assert_true(interp_run(&graph, &(struct interp_options){.mode = INTERP_REFERENCE},
                           &(struct interp_arguments){NULL, &x, 1}, &bed->arena, out, &bed->err));
    for (int i = 0; i < 16; i++) {
        double s = x.cells[i].f * x.cells[i].f;
        assert_same(out[0].cells[i].f, s);
        assert_same(out[2].cells[i].f, s);
        assert_true(fabs(out[1].cells[i].f - 15 * s) < 1e-12);
        assert_true(out[1].bounds[i] < 15 * s * 6e-7 + 1e-40 &&
                    out[0].bounds[i] < 1e-6 * s + 1e-40);
    }
}

/* A reshape reuses the memory of an operand that nobody else needs, and of no other. */
static void test_reshape_memory(void **state)
{
    struct bed *bed = *state;
    for (int shown = 0; shown < 2; shown++) {
        struct graph graph;
        struct interp_tensor x = random_of(bed, DTYPE_F32, SHAPE(4), 3), out[2];
        struct interp_options options = {.mode = INTERP_NATIVE, .memory_limit = 4 * 8};
        graph_init(&graph, &bed->arena);
        dim_id four = dim_const(&graph.dims, 4), two = dim_const(&graph.dims, 2);
        value_id in = graph_input(&graph, "x", DTYPE_F32, &four, 1, &bed->err);
        value_id e = graph_add(&graph, PRIM_NEG, &in, 1, NULL, &bed->err);
        struct attrs attrs = {.rank = 2, .shape = {two, two}};
        value_id r = graph_add(&graph, PRIM_RESHAPE, &e, 1, &attrs, &bed->err);
        assert_true(graph_output(&graph, "r", r, &bed->err));
        if (shown)
            assert_true(graph_output(&graph, "e", e, &bed->err));
        assert_int_equal(interp_run(&graph, &options, &(struct interp_arguments){NULL, &x, 1},
                                    &bed->arena, out, &bed->err),
                         !shown);
        options.memory_limit = 0;
        assert_true(interp_run(&graph, &options, &(struct interp_arguments){NULL, &x, 1},
                               &bed->arena, out, &bed->err));
        assert_true(out[0].rank == 2 && (!shown || out[0].cells != out[1].cells));
        for (int i = 0; i < 4; i++)
            assert_same(out[0].cells[i].f, -x.cells[i].f);
    }
}

#define LAZY_PARAMS 6
#define LAZY_COUNT ((int64_t)1 << 20)

struct counted {
    struct interp_lazy lazy;
    double first;
    int loads;
};

static void load_counted(const struct interp_lazy *lazy, int64_t first, int64_t count,
                         union cell *out)
{
    struct counted *counted = (struct counted *)(uintptr_t)lazy;
    counted->loads++;
    for (int64_t i = 0; i < count; i++)
        out[i].f = counted->first + (double)(first + i);
}

/* Each source is loaded once, and its memory goes to the next one, and not to small values. */
static void test_lazy(void **state)
{
    struct bed *bed = *state;
    struct graph graph;
    struct counted counted[LAZY_PARAMS];
    struct interp_tensor sources[LAZY_PARAMS], out;
    value_id sum = VALUE_NONE;
    double expected = 0;
    graph_init(&graph, &bed->arena);
    dim_id shape[1] = {dim_const(&graph.dims, LAZY_COUNT)};
    for (int i = 0; i < LAZY_PARAMS; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        counted[i] = (struct counted){{load_counted}, i, 0};
        sources[i] = (struct interp_tensor){
            .dtype = DTYPE_F64, .rank = 1, .shape = {LAZY_COUNT}, .lazy = &counted[i].lazy};
        value_id w = graph_param(&graph, name, DTYPE_F64, shape, 1, &bed->err);
        value_id one =
            graph_add(&graph, PRIM_REDUCE_SUM, &w, 1, &(struct attrs){.axis_count = 1}, &bed->err);
        sum = sum == VALUE_NONE
                  ? one
                  : graph_add(&graph, PRIM_ADD, (value_id[]){sum, one}, 2, NULL, &bed->err);
        expected += (double)LAZY_COUNT * (i + (double)(LAZY_COUNT - 1) / 2);
    }
    assert_true(graph_output(&graph, "y", sum, &bed->err));
    size_t before = bed->arena.used_bytes;
    assert_true(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                           &(struct interp_arguments){NULL, sources, LAZY_PARAMS}, &bed->arena,
                           &out, &bed->err));
    assert_same(out.cells[0].f, expected);
    for (int i = 0; i < LAZY_PARAMS; i++)
        assert_int_equal(counted[i].loads, 1);
    assert_true(bed->arena.used_bytes - before < 2 * LAZY_COUNT * sizeof(union cell));
}

/* Large values and small ones by turns, none as small as those before: a buffer that held a small
 * one holds a large one again. */
static void test_buffers(void **state)
{
    enum { COUNT = 1200, PART = 400, TURNS = 20 };
    struct bed *bed = *state;
    struct graph graph;
    struct interp_tensor x = random_of(bed, DTYPE_F64, SHAPE(COUNT), 1), out;
    graph_init(&graph, &bed->arena);
    dim_id shape[1] = {dim_const(&graph.dims, COUNT)};
    struct attrs first = {.rank = 1, .step = {1}}, rest = {.rank = 1};
    first.start[0] = rest.low[0] = dim_const(&graph.dims, 0);
    value_id value = graph_input(&graph, "x", DTYPE_F64, shape, 1, &bed->err);
    value_id zero =
        graph_add(&graph, PRIM_CONST, NULL, 0, &(struct attrs){.dtype = DTYPE_F64}, &bed->err);
    for (int i = 0; i < TURNS; i++) {
        first.shape[0] = dim_const(&graph.dims, PART + 20 * i);
        rest.high[0] = dim_const(&graph.dims, COUNT - PART - 20 * i);
        value = graph_add(&graph, PRIM_SIN, &value, 1, NULL, &bed->err);
        value = graph_add(&graph, PRIM_SLICE, &value, 1, &first, &bed->err);
        value = graph_add(&graph, PRIM_SIN, &value, 1, NULL, &bed->err);
        value = graph_add(&graph, PRIM_PAD, (value_id[]){value, zero}, 2, &rest, &bed->err);
        assert_int_not_equal(value, VALUE_NONE);
    }
    assert_true(graph_output(&graph, "y", value, &bed->err));
    size_t before = bed->arena.used_bytes;
    assert_true(interp_run(&graph, &(struct interp_options){.mode = INTERP_NATIVE},
                           &(struct interp_arguments){NULL, &x, 1}, &bed->arena, &out, &bed->err));
    assert_int_equal(out.count, COUNT);
    assert_true(bed->arena.used_bytes - before < 6 * COUNT * sizeof(union cell));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lazy, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_buffers, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_run, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_reshape_memory, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_tensor_limit, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_memory, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_compare, bed_setup, bed_teardown),
        cmocka_unit_test_setup_teardown(test_shared_values, bed_setup, bed_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
