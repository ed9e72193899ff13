/* Calls of a package where elements of inputs decide dims: k columns of x from the place p on. */
#include "runtime/test_util.h"

static const char told_graph[] = "graph \"g\"\n"
                                 "dim N 1..100 multiple 1\n"
                                 "dim p 0..3 multiple 1\n"
                                 "dim k 0..4 multiple 1 why \"the columns that there are\"\n"
                                 "%1 = input \"x\" : f32[N, 7]\n"
                                 "%2 = input \"k\" : f32[]\n"
                                 "%3 = input \"places\" : i32[2]\n"
                                 "%4 = slice %1 {start [0, p], step [1, 1]} : f32[N, k]\n"
                                 "element \"k\" 0 size 0 tells k\n"
                                 "element \"places\" 0 size 0 tells N\n"
                                 "element \"places\" 1 place 4 tells p\n"
                                 "output \"y\" %4\n";

/* In the manifest. */
static const char told_guard[] = "{\"element\":1,\"equals\":\"p\",\"guard\":\"element\","
                                 "\"input\":\"places\",\"of\":\"4\",\"rule\":\"place\"}";

#define ROWS 3
#define COLUMNS 7

struct fixture {
    urza_module *module;
    float x[ROWS * COLUMNS], k, y[ROWS * COLUMNS];
    int32_t places[4]; /* every second one is an element */
    int64_t x_shape[2], places_shape[1], places_stride[1], y_shape[8];
    DLTensor in[3], out[1];
    urza_error err;
};

static int setup(void **state)
{
    static struct fixture f;
    struct arena arena;
    struct strbuf bytes;
    struct error err;
    char id[KERNEL_ID_BYTES];
    arena_init(&arena);
    strbuf_init(&bytes, &arena);
    struct package_contents *contents = ARENA_NEW(&arena, struct package_contents);
    *contents = (struct package_contents){.name = "t",
                                          .compiler = "by hand",
                                          .strategy = "fast",
                                          .blueprint_json = "{}",
                                          .blueprint_bytes = 2,
                                          .evidence_json = "{}",
                                          .evidence_bytes = 2};
    must(graph_parse(&contents->graph, &arena, told_graph, strlen(told_graph), &err), &err);
    must(package_write(contents, NULL, &bytes, id, &err), &err);
    assert_non_null(memmem(bytes.data, bytes.size_bytes, told_guard, strlen(told_guard)));
    f = (struct fixture){.x_shape = {ROWS, COLUMNS},
                         .places_shape = {2},
                         .places_stride = {2},
                         .places = {ROWS, -7, 1, -7},
                         .k = 2};
    for (int i = 0; i < ROWS * COLUMNS; i++)
        f.x[i] = (float)i;
    const DLDevice cpu = {.device_type = kDLCPU};
    f.in[0] = (DLTensor){.data = f.x,
                         .device = cpu,
                         .ndim = 2,
                         .dtype = tensor_dtype(DTYPE_F32),
                         .shape = f.x_shape};
    f.in[1] = (DLTensor){.data = &f.k, .device = cpu, .dtype = tensor_dtype(DTYPE_F32)};
    f.in[2] = (DLTensor){.data = f.places,
                         .device = cpu,
                         .ndim = 1,
                         .dtype = tensor_dtype(DTYPE_I32),
                         .shape = f.places_shape,
                         .strides = f.places_stride};
    urza_load_options allow = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    must_work(urza_load_memory(bytes.data, bytes.size_bytes, &allow, &f.module, &f.err), &f.err);
    arena_release(&arena);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    urza_unload(f->module);
    return 0;
}

static int call(struct fixture *f)
{
    urza_result *hold = NULL;
    f->out[0] = (DLTensor){.shape = f->y_shape};
    int code = urza_call(f->module, f->in, 3, f->out, 1, &hold, &f->err);
    for (int64_t i = 0; code == 0 && i < f->y_shape[0] * f->y_shape[1]; i++)
        f->y[i] = ((const float *)f->out[0].data)[i];
    urza_result_release(hold);
    return code;
}

static void calls_at_each_value(void **state)
{
    struct fixture *f = *state;
    for (int32_t place = -9; place <= 9; place++)
        for (int32_t k = 0; k <= 4; k++) {
            int32_t first = place < -4 ? 0 : place < 0 ? place + 4 : place > 3 ? 3 : place;
            f->k = (float)k;
            f->places[2] = place;
            must_work(call(f), &f->err);
            assert_int_equal(f->y_shape[0], ROWS);
            assert_int_equal(f->y_shape[1], k);
            for (int32_t i = 0; i < ROWS * k; i++)
                assert_true(f->y[i] == (float)(i / k * COLUMNS + first + i % k));
        }
    urza_stats stats = test_stats(f->module);
    assert_int_equal(stats.calls, 19 * 5);
    assert_int_equal(stats.shape_misses, 19 * 5);
    must_work(call(f), &f->err);
    assert_int_equal(test_stats(f->module).shape_misses, 19 * 5);
}

static void refused(struct fixture *f, const char *place, const char *message)
{
    int64_t shapes[1][8];
    assert_int_equal(call(f), ERR_INPUT);
    assert_string_equal(f->err.place, place);
    if (!strstr(f->err.message, message))
        assert_string_equal(f->err.message, message);
    assert_int_equal(urza_output_shapes(f->module, f->in, 3, shapes, &f->err), ERR_INPUT);
}

static void refuses_values(void **state)
{
    struct fixture *f = *state;
    f->k = 5;
    refused(f, "input 'k'", "'k' is 5, expected 0 to 4 (the columns that there are)");
    f->k = -1;
    refused(f, "input 'k'", "'k' is -1, expected 0 to 4");
    f->k = 1.5f;
    refused(f, "input 'k'", "element 0 decides a dim");
    f->k = 4;
    f->places[0] = ROWS + 1;
    refused(f, "input 'places'", "element 0 is 4, expected 3");
    f->places[0] = ROWS;
    f->in[1].data = NULL;
    refused(f, "input 'k'", "no data");
    f->in[1].data = &f->k;
    f->places_shape[0] = 1;
    refused(f, "input 'places'", "has 1 elements, expected 2");
    f->places_shape[0] = 2;
    must_work(call(f), &f->err);
}

static void tells_shapes_without_other_data(void **state)
{
    struct fixture *f = *state;
    int64_t shapes[1][8];
    f->in[0].data = NULL;
    f->k = 3;
    must_work(urza_output_shapes(f->module, f->in, 3, shapes, &f->err), &f->err);
    assert_int_equal(shapes[0][1], 3);
}

static void fills_inputs(void **state)
{
    struct fixture *f = *state;
    static const int64_t dims[] = {ROWS, 2, 4};
    assert_false(urza_input_decides(f->module, 0));
    assert_true(urza_input_decides(f->module, 1));
    assert_true(urza_input_decides(f->module, 2));
    assert_false(urza_input_decides(f->module, 3));
    void *const data[] = {f->x, &f->k, f->places, NULL};
    for (uint32_t i = 0; i < 4; i++)
        urza_input_fill(f->module, i, dims, data[i]);
    assert_true(f->k == 4);
    assert_int_equal(f->places[0], ROWS);
    assert_int_equal(f->places[1], 2);
    assert_true(f->x[1] == 1); /* decides nothing */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(calls_at_each_value),
        TEST(refuses_values),
        TEST(tells_shapes_without_other_data),
        TEST(fills_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
