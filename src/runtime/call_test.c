#include "runtime/test_util.h"

#define ROWS 3
#define COUNT (ROWS * 4)

/* One module, and the tensors of a call with three rows. */
struct fixture {
    urza_module *module;
    float x[4 * COUNT], y[4 * COUNT], s[4 * COUNT];
    struct test_tensor in, out[2];
    DLTensor outputs[2];
    urza_error err;
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.module = test_load("4*B", NULL)};
    for (int i = 0; i < COUNT; i++)
        f.x[i] = test_x(i);
    test_tensor_init(&f.in, f.x, ROWS);
    test_tensor_init(&f.out[0], f.y, ROWS);
    test_tensor_init(&f.out[1], f.s, ROWS);
    f.outputs[0] = f.out[0].dl;
    f.outputs[1] = f.out[1].dl;
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
    return urza_call(f->module, &f->in.dl, 1, f->outputs, 2, NULL, &f->err);
}

static void check_dense(const float *y, const float *s)
{
    for (int i = 0; i < COUNT; i++) {
        assert_true(y[i] == test_y(i));
        assert_true(s[i] == test_s(i));
    }
}

static void computes_many_shapes(void **state)
{
    struct fixture *f = *state;
    static const int64_t rows[] = {1, 7, 7, 0, 1000, 3, 1, 7};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        test_call(f->module, rows[i]);
    urza_stats stats = test_stats(f->module);
    assert_int_equal(stats.calls, 8);
    assert_int_equal(stats.native_calls, 8);
    assert_int_equal(stats.fallback_calls, 0);
    assert_int_equal(stats.shape_misses, 5);
    assert_int_equal(stats.launches, 7 * 3);
    assert_int_equal(stats.copied_inputs, 0);
    assert_int_equal(stats.arena_bytes, 64); /* of three rows, the last new shape */
    assert_int_equal(stats.intermediate_bytes, 64);
    assert_string_equal(stats.last_fallback, "");
}

static void threads_do_not_change_the_result(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = threads};
        urza_module *module = test_load("4*B", &options);
        for (int round = 0; round < 5; round++)
            test_call(module, 40001); /* more work than the threshold, in chunks of unequal size */
        test_call(module, 2);
        urza_unload(module);
    }
}

static void host_parallel(void *user, pool_task *task, void *argument, uint32_t count)
{
    assert_int_equal(count, 3);
    ++*(int *)user;
    for (uint32_t i = count; i-- > 0;)
        task(argument, i);
}

static void the_hosts_threads_can_be_used(void **state)
{
    (void)state;
    int parallel = 0;
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED,
                                 .threads = 3,
                                 .parallel = host_parallel,
                                 .user = &parallel};
    urza_module *module = test_load("4*B", &options);
    test_call(module, 50000);
    assert_int_equal(parallel, 3);
    test_call(module, 2);
    assert_int_equal(parallel, 3);
    urza_unload(module);
}

static void strided_tensors_are_copied(void **state)
{
    struct fixture *f = *state;
    /* The input column-major, one output with gaps, the other with negative strides. */
    float columns[COUNT];
    for (int i = 0; i < COUNT; i++)
        columns[i % 4 * ROWS + i / 4] = test_x(i);
    f->in.dl.data = columns;
    f->in.dl.strides = memcpy(f->in.strides, (int64_t[]){1, ROWS}, 16);
    f->outputs[0].strides = memcpy(f->out[0].strides, (int64_t[]){8, 2}, 16);
    f->outputs[1].strides = memcpy(f->out[1].strides, (int64_t[]){-4, -1}, 16);
    f->outputs[1].byte_offset = (COUNT - 1) * sizeof(float);
    for (int i = 0; i < 4 * COUNT; i++)
        f->y[i] = f->s[i] = -7;
    for (int round = 0; round < 2; round++)
        must_work(call(f), &f->err);
    for (int i = 0; i < COUNT; i++) {
        assert_true(f->y[i / 4 * 8 + i % 4 * 2] == test_y(i));
        assert_true(f->y[i / 4 * 8 + i % 4 * 2 + 1] == -7);
        assert_true(f->s[COUNT - 1 - i] == test_s(i));
    }
    assert_int_equal(test_stats(f->module).copied_inputs, 2);
}

static void misaligned_tensors_are_copied(void **state)
{
    struct fixture *f = *state;
    f->in.dl.data = memmove((char *)f->x + 1, f->x, COUNT * sizeof(float));
    f->outputs[0].byte_offset = 3;
    must_work(call(f), &f->err);
    float y[COUNT];
    memcpy(y, (char *)f->y + 3, sizeof y);
    check_dense(y, f->s);
}

static void results_are_held(void **state)
{
    struct fixture *f = *state;
    urza_result *held[3];
    float *data[3];
    f->outputs[1].data = NULL;
    f->outputs[1].ndim = 0;
    f->out[1].shape[0] = f->out[1].shape[1] = -1;
    for (int i = 0; i < 3; i++) {
        f->outputs[1].data = NULL;
        must_work(urza_call(f->module, &f->in.dl, 1, f->outputs, 2, &held[i], &f->err), &f->err);
        assert_non_null(held[i]);
        data[i] = f->outputs[1].data;
    }
    assert_int_equal(f->outputs[1].ndim, 2);
    assert_int_equal(f->outputs[1].shape[0], ROWS);
    assert_int_equal(f->outputs[1].shape[1], 4);
    assert_int_equal(f->outputs[1].dtype.bits, 32);
    assert_null(f->outputs[1].strides);
    for (int i = 0; i < 3; i++) {
        assert_int_equal((uintptr_t)data[i] % 64, 0);
        check_dense(f->y, data[i]);
    }
    assert_true(data[0] != data[1] && data[1] != data[2] && data[0] != data[2]);
    urza_result_release(held[1]);
    f->outputs[1].data = NULL;
    must_work(urza_call(f->module, &f->in.dl, 1, f->outputs, 2, &held[1], &f->err), &f->err);
    assert_ptr_equal(f->outputs[1].data, data[1]);
    for (int i = 0; i < 3; i++)
        urza_result_release(held[i]);
    urza_result_release(NULL);
    must_work(urza_call(f->module, &f->in.dl, 1, f->outputs, 2, &held[0], &f->err), &f->err);
    assert_null(held[0]); /* all outputs had memory of the caller's */
}

static void results_outlive_their_module(void **state)
{
    struct fixture *f = *state;
    urza_module *module = test_load("4*B", NULL);
    urza_result *held[3];
    float *data[3][2];
    for (int i = 0; i < 3; i++) {
        f->outputs[0].data = f->outputs[1].data = NULL;
        must_work(urza_call(module, &f->in.dl, 1, f->outputs, 2, &held[i], &f->err), &f->err);
        data[i][0] = f->outputs[0].data;
        data[i][1] = f->outputs[1].data;
    }
    urza_result_release(held[1]); /* one result is unused when the module is unloaded */
    urza_unload(module);
    check_dense(data[0][0], data[0][1]);
    urza_result_release(held[0]);
    check_dense(data[2][0], data[2][1]);
    urza_result_release(held[2]);
}

static void refuses_wrong_inputs(void **state)
{
    struct fixture *f = *state;
    DLTensor x = f->in.dl;
    must_give(urza_call(f->module, &x, 0, f->outputs, 2, NULL, &f->err), ERR_INPUT, &f->err,
              "expected 1");
    must_give(urza_call(f->module, NULL, 1, f->outputs, 2, NULL, &f->err), ERR_INPUT, &f->err,
              "expected 1");
    f->in.dl.dtype.bits = 64;
    must_give(call(f), ERR_INPUT, &f->err, "expected f32");
    assert_string_equal(f->err.place, "input 'x'");
    f->in.dl = x;
    f->in.dl.ndim = 1;
    must_give(call(f), ERR_INPUT, &f->err, "expected 2");
    f->in.dl = x;
    f->in.shape[1] = 5;
    must_give(call(f), ERR_INPUT, &f->err, "expected 4");
    f->in.shape[0] = 5000000;
    f->in.shape[1] = 4;
    must_give(call(f), ERR_INPUT, &f->err, "dim 'B' is 5000000");
    f->in.shape[0] = ROWS;
    f->in.dl.data = NULL;
    must_give(call(f), ERR_INPUT, &f->err, "no data");
    f->in.dl = x;
    must_work(call(f), &f->err);
    assert_int_equal(test_stats(f->module).fallback_calls, 0);
    assert_int_equal(urza_call(f->module, &x, 0, f->outputs, 2, NULL, NULL), ERR_INPUT);
    must_give(urza_call(NULL, &x, 1, f->outputs, 2, NULL, &f->err), ERR_USAGE, &f->err, "NULL");
    must_give(urza_prepare(NULL, &f->err), ERR_USAGE, &f->err, "NULL");
}

static void refuses_wrong_outputs(void **state)
{
    struct fixture *f = *state;
    DLTensor y = f->outputs[0];
    must_give(urza_call(f->module, &f->in.dl, 1, f->outputs, 1, NULL, &f->err), ERR_INPUT, &f->err,
              "expected 2");
    f->out[0].shape[0] = 2;
    must_give(call(f), ERR_INPUT, &f->err, "dim 0 is 2, expected 3");
    assert_string_equal(f->err.place, "output 'y'");
    f->out[0].shape[0] = ROWS;
    f->outputs[0].dtype.code = kDLInt;
    must_give(call(f), ERR_INPUT, &f->err, "dtype");
    f->outputs[0] = y;
    f->outputs[0].ndim = 3;
    must_give(call(f), ERR_INPUT, &f->err, "3 dims");
    f->outputs[0] = y;
    f->outputs[0].data = NULL;
    must_give(call(f), ERR_INPUT, &f->err, "nothing to hold");
    f->outputs[0] = y;
    f->outputs[0].strides = memcpy(f->out[0].strides, (int64_t[]){0, 1}, 16);
    must_give(call(f), ERR_INPUT, &f->err, "same address");
    f->outputs[0] = y;
    f->outputs[0].data = f->x + COUNT - 1;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    f->outputs[0].data = f->s + 1;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    urza_result *hold = NULL;
    f->outputs[0] = y;
    f->outputs[0].data = NULL;
    f->outputs[0].shape = NULL;
    must_give(urza_call(f->module, &f->in.dl, 1, f->outputs, 2, &hold, &f->err), ERR_INPUT, &f->err,
              "no room");
    assert_null(hold);
    f->outputs[0] = y;
    must_work(call(f), &f->err);
    check_dense(f->y, f->s);
}

static void give_strides(struct fixture *f, int output, int64_t s0, int64_t s1)
{
    f->out[output].strides[0] = s0;
    f->out[output].strides[1] = s1;
    f->outputs[output].strides = f->out[output].strides;
}

static void refuses_strides_that_meet(void **state)
{
    struct fixture *f = *state;
    DLTensor y = f->outputs[0], s = f->outputs[1];
    static const int64_t bad[][2] = {{1, 1}, {4, 0}, {0, 1}, {-1, 1}, {3, 1}, {2, -2}, {2, 4}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        f->outputs[0].data = f->y + COUNT;
        give_strides(f, 0, bad[i][0], bad[i][1]);
        must_give(call(f), ERR_INPUT, &f->err, "same address");
    }
    /* A strided output that overlaps the other output, dense or strided, or an input of either
     * kind. */
    f->outputs[0] = y;
    give_strides(f, 0, 8, 2);
    f->outputs[0].data = f->s - 2;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    give_strides(f, 1, -8, 2);
    f->outputs[0].data = f->s;
    f->outputs[1].data = f->s + 16;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    f->outputs[1] = s;
    f->outputs[0].data = f->x + 11;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    f->in.dl.strides = memcpy(f->in.strides, (int64_t[]){8, 2}, 16);
    must_work(call(f), &f->err); /* in the gaps between the elements of x */
    f->outputs[0].data = f->x + 12;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    f->outputs[0] = y;
    f->outputs[0].data = f->x + 4;
    must_give(call(f), ERR_INPUT, &f->err, "shares memory");
    for (int i = 0; i < COUNT; i += 2) /* the refused calls wrote nothing */
        assert_true(f->x[i] == test_x(i));
}

/* Outputs and an input are three of the four columns of one matrix. */
static void interleaved_tensors_are_parted(void **state)
{
    struct fixture *f = *state;
    float *matrix = f->y;
    for (int i = 0; i < 4 * COUNT; i++)
        matrix[i] = i % 4 == 0 ? test_x(i / 4) : -7;
    f->in.dl.data = matrix;
    f->in.dl.strides = memcpy(f->in.strides, (int64_t[]){16, 4}, 16);
    give_strides(f, 0, 16, 4);
    give_strides(f, 1, 16, 4);
    f->outputs[0].data = matrix + 1;
    f->outputs[1].data = matrix + 2;
    must_work(call(f), &f->err);
    for (int i = 0; i < COUNT; i++) {
        assert_true(matrix[4 * i] == test_x(i));
        assert_true(matrix[4 * i + 1] == test_y(i));
        assert_true(matrix[4 * i + 2] == test_s(i));
        assert_true(matrix[4 * i + 3] == -7);
    }
}

static void tells_output_shapes(void **state)
{
    struct fixture *f = *state;
    int64_t shapes[2][8] = {{0}};
    f->in.dl.data = NULL;
    must_work(urza_output_shapes(f->module, &f->in.dl, 1, shapes, &f->err), &f->err);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(shapes[i][0], ROWS);
        assert_int_equal(shapes[i][1], 4);
    }
    f->in.shape[1] = 3;
    must_give(urza_output_shapes(f->module, &f->in.dl, 1, shapes, &f->err), ERR_INPUT, &f->err,
              "input 'x'");
}

static void params_change_at_prepare(void **state)
{
    struct fixture *f = *state;
    float w[8] = {1, 0, 2, 0, 3, 0, 4, 0}; /* only every second element is used */
    struct test_tensor given;
    test_tensor_init(&given, w, 4);
    given.dl.ndim = 1;
    given.strides[0] = 2;
    given.dl.strides = given.strides;
    must_work(urza_param_set(f->module, "w", &given.dl, &f->err), &f->err);
    must_work(call(f), &f->err);
    check_dense(f->y, f->s); /* results with the old params */
    must_work(urza_prepare(f->module, &f->err), &f->err);
    must_work(call(f), &f->err);
    for (int i = 0; i < COUNT; i++)
        assert_true(f->y[i] == test_x(i) + (w[i % 4 * 2] + w[i % 4 * 2]) + test_x(i));

    must_give(urza_param_set(f->module, "v", &given.dl, &f->err), ERR_NOT_FOUND, &f->err, "'v'");
    must_give(urza_param_set(f->module, NULL, &given.dl, &f->err), ERR_USAGE, &f->err, "NULL");
    given.shape[0] = 3;
    must_give(urza_param_set(f->module, "w", &given.dl, &f->err), ERR_INPUT, &f->err, "expected 4");
    given.dl.ndim = 2;
    must_give(urza_param_set(f->module, "w", &given.dl, &f->err), ERR_INPUT, &f->err, "2 dims");
    given.dl.dtype.code = kDLInt;
    must_give(urza_param_set(f->module, "w", &given.dl, &f->err), ERR_INPUT, &f->err, "i32");
}

static void describes_itself(void **state)
{
    struct fixture *f = *state;
    const urza_tensor_info *x = urza_input_info(f->module, 0), *w = urza_param_info(f->module, 0);
    assert_int_equal(urza_input_count(f->module), 1);
    assert_int_equal(urza_output_count(f->module), 2);
    assert_int_equal(urza_param_count(f->module), 1);
    assert_string_equal(x->name, "x");
    assert_int_equal(x->rank, 2);
    assert_int_equal(x->shape[0], -1);
    assert_int_equal(x->shape[1], 4);
    assert_string_equal(x->dim_text[0], "B");
    assert_string_equal(x->dim_text[1], "4");
    assert_string_equal(w->name, "w");
    assert_string_equal(urza_output_info(f->module, 1)->name, "s");
    assert_null(urza_input_info(f->module, 1));
    assert_null(urza_output_info(f->module, 2));
    assert_null(urza_param_info(f->module, 1));
    assert_null(urza_dim(f->module, 1));
    assert_int_equal(urza_dim_count(f->module), 1);
    assert_string_equal(urza_dim(f->module, 0)->name, "B");
    assert_int_equal(urza_dim(f->module, 0)->max, 4194304);
    assert_int_equal(urza_dim(f->module, 0)->typical, 8);
    int64_t shape[8], dims[] = {12};
    must_work(urza_input_shape(f->module, 0, dims, shape, &f->err), &f->err);
    assert_int_equal(shape[0], 12);
    assert_int_equal(shape[1], 4);
    must_give(urza_input_shape(f->module, 1, dims, shape, &f->err), ERR_USAGE, &f->err, "1 of 1");
    assert_string_equal(urza_target(f->module), "x86-64-v2");
    assert_memory_equal(urza_kernel_id(f->module), "kernel-", 7);
    assert_string_equal(urza_error_name(ERR_INPUT), "InvalidInputError");
    assert_string_equal(urza_error_name(-1), "UnknownError");
    assert_true(strlen(urza_version()) > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(computes_many_shapes),           TEST(threads_do_not_change_the_result),
        TEST(the_hosts_threads_can_be_used),  TEST(strided_tensors_are_copied),
        TEST(misaligned_tensors_are_copied),  TEST(results_are_held),
        TEST(results_outlive_their_module),   TEST(refuses_wrong_inputs),
        TEST(refuses_wrong_outputs),          TEST(refuses_strides_that_meet),
        TEST(interleaved_tensors_are_parted), TEST(tells_output_shapes),
        TEST(params_change_at_prepare),       TEST(describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
