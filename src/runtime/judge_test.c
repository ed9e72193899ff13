/* Judging calls: right results pass, also strided ones; each element that is wrong is found. */
#include "runtime/test_util.h"

#include <math.h>

#define ROWS 5
#define COUNT (ROWS * 4)

struct fixture {
    urza_module *module;
    float x[COUNT], y[COUNT], s[COUNT];
    struct test_tensor in, out[2];
};

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.module = test_load("4*B", NULL)};
    for (int i = 0; i < COUNT; i++) {
        f.x[i] = test_x(i);
        f.y[i] = test_y(i);
        f.s[i] = test_s(i);
    }
    test_tensor_init(&f.in, f.x, ROWS);
    test_tensor_init(&f.out[0], f.y, ROWS);
    test_tensor_init(&f.out[1], f.s, ROWS);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    urza_unload(((struct fixture *)*state)->module);
    return 0;
}

static int judge(struct fixture *f, urza_verdict *verdict, urza_error *err)
{
    const DLTensor outputs[2] = {f->out[0].dl, f->out[1].dl};
    return urza_judge(f->module, &f->in.dl, 1, outputs, 2, verdict, err);
}

static void right_results_pass(void **state)
{
    struct fixture *f = *state;
    urza_verdict verdict;
    urza_error err;
    must_work(judge(f, &verdict, &err), &err);
    assert_int_equal(verdict.elements, 2 * COUNT);
    assert_int_equal(verdict.undetermined, 0);
    assert_true(verdict.worst_ratio > 0 && verdict.worst_ratio <= 1);
    /* A column-major input, an output from the last row to the first. */
    float columns[COUNT], back[COUNT];
    for (int i = 0; i < COUNT; i++) {
        columns[i % 4 * ROWS + i / 4] = test_x(i);
        back[(ROWS - 1 - i / 4) * 4 + i % 4] = test_y(i);
    }
    f->in.dl.data = columns;
    f->in.dl.strides = memcpy(f->in.strides, (int64_t[]){1, ROWS}, 16);
    f->out[0].dl.data = back + (ROWS - 1) * 4;
    f->out[0].dl.strides = memcpy(f->out[0].strides, (int64_t[]){-4, 1}, 16);
    must_work(judge(f, NULL, &err), &err);
}

static void every_wrong_element_is_found(void **state)
{
    struct fixture *f = *state;
    const float wrong[] = {1.00001f, 0, -1, NAN, INFINITY};
    urza_error err;
    for (int i = 0; i < 2 * COUNT; i++)
        for (size_t w = 0; w < sizeof wrong / sizeof *wrong; w++) {
            float *at = i < COUNT ? &f->y[i] : &f->s[i - COUNT], before = *at;
            char element[32];
            snprintf(element, sizeof element, "element %d ", i % COUNT);
            *at = before * wrong[w];
            must_give(judge(f, NULL, &err), ERR_VERIFY, &err, element);
            assert_string_equal(err.place, i < COUNT ? "output 'y'" : "output 's'");
            *at = before;
        }
    must_work(judge(f, NULL, &err), &err);
}

static void refuses_tensors_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    urza_error err;
    f->out[1].shape[0] = ROWS - 1;
    must_give(judge(f, NULL, &err), ERR_INPUT, &err, "is not of the shape");
    f->out[1].shape[0] = ROWS;
    f->in.dl.dtype.bits = 64;
    must_give(judge(f, NULL, &err), ERR_INPUT, &err, "input 'x'");
    must_give(urza_judge(NULL, NULL, 0, NULL, 0, NULL, &err), ERR_USAGE, &err, "NULL");
    f->in.dl.dtype.bits = 32;
    must_give(urza_judge(f->module, &f->in.dl, 1, &f->out[0].dl, 1, NULL, &err), ERR_INPUT, &err,
              "1 outputs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(right_results_pass, setup, teardown),
        cmocka_unit_test_setup_teardown(every_wrong_element_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_tensors_that_do_not_fit, setup, teardown),
    };
    return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
