/* Every error of the calls of a training step: its words, and that nothing is written. */
#include <stdlib.h>

#include "support/trained_small.h"

/* One argument of the small block that is wrong, and the words that say so. */
static void refuses_forward(void **state)
{
    (void)state;
    struct trained *t = &shared;
    urza_module *module = trained_load(t, NULL);
    size_t bytes;
    trained_clear(t);
    void *untouched = trained_copy(t, &bytes);
    int64_t other[2] = {ROWS, 7}, less[2] = {ROWS - 1, 6}, many[2] = {65, 6}, apart[2] = {1, 0};
    enum { IN, PARAM, OUT };
    const struct {
        int list, index;
        int64_t *shape, *strides;
        uint8_t bits; /* of its dtype; 0: as it is */
        int32_t ndim; /* -1: as it is */
        void *data;   /* NULL: as it is */
        bool no_data;
        const char *words;
    } rows_of[] = {
        {IN, X, other, NULL, 0, -1, NULL, false, "'x'"},
        {IN, X, less, NULL, 0, -1, NULL, false, "B"},
        {IN, X, many, NULL, 0, -1, NULL, false, "B"},
        {IN, X, NULL, NULL, 16, -1, NULL, false, "has dtype f16, expected f32"},
        {IN, X, NULL, NULL, 0, 1, NULL, false, "has 1 dims, expected 2"},
        {IN, X, NULL, NULL, 0, -1, NULL, true, "has no data"},
        {IN, K, NULL, NULL, 64, -1, NULL, false, "has dtype i64, expected i32"},
        {PARAM, W, other, NULL, 0, -1, NULL, false, "'w'"},
        {PARAM, W, NULL, NULL, 64, -1, NULL, false, "has dtype f64, expected f32"},
        {PARAM, V, NULL, NULL, 0, -1, NULL, true, "has no data"},
        {OUT, Y, other, NULL, 0, -1, NULL, false, "dim 1 is 7, expected 3"},
        {OUT, Y, NULL, NULL, 64, -1, NULL, false, "another dtype"},
        {OUT, Y, NULL, NULL, 0, -1, NULL, true, "has no data"},
        {OUT, Z, NULL, apart, 0, -1, NULL, false, "the same address"},
        {OUT, Z, NULL, NULL, 0, -1, t->inputs[X].data, false, "shares memory"},
        {OUT, Z, NULL, NULL, 0, -1, t->params[W].data, false, "shares memory"},
        {OUT, Z, NULL, NULL, 0, -1, t->results[Y], false, "shares memory"},
    };
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++) {
        DLTensor *lists[] = {t->inputs, t->params, t->outputs};
        DLTensor *tensor = &lists[rows_of[i].list][rows_of[i].index], kept = *tensor;
        urza_tape *tape = NULL;
        urza_error err;
        tensor->shape = rows_of[i].shape ? rows_of[i].shape : kept.shape;
        tensor->strides = rows_of[i].strides;
        tensor->dtype.bits = rows_of[i].bits > 0 ? rows_of[i].bits : kept.dtype.bits;
        tensor->ndim = rows_of[i].ndim >= 0 ? rows_of[i].ndim : kept.ndim;
        tensor->data = rows_of[i].data ? rows_of[i].data : rows_of[i].no_data ? NULL : kept.data;
        int code = trained_forward(t, module, true, &tape, &err);
        *tensor = kept;
        must_give(code, ERR_INPUT, &err, rows_of[i].words);
        assert_null(tape);
        must_have(t, untouched, bytes, "a refused forward_train");
    }
    trained_step(t, module, 0); /* no context was lost */
    urza_unload(module);
}

static void refuses_other_counts(void **state)
{
    (void)state;
    struct trained *t = &shared;
    urza_module *module = trained_load(t, NULL);
    size_t bytes;
    trained_clear(t);
    void *untouched = trained_copy(t, &bytes);
    urza_error err;
    urza_tape *tape = NULL;
    const DLTensor *in = t->inputs, *params = t->params;
    DLTensor *out = t->outputs;
    must_give(urza_forward_train(NULL, in, 2, params, 2, out, 3, &tape, &err), ERR_USAGE, &err,
              "NULL");
    must_give(urza_forward_train(module, NULL, 2, params, 2, out, 3, &tape, &err), ERR_USAGE, &err,
              "NULL");
    must_give(urza_forward_train(module, in, 2, NULL, 2, out, 3, &tape, &err), ERR_USAGE, &err,
              "NULL");
    must_give(urza_forward_train(module, in, 2, params, 2, NULL, 3, &tape, &err), ERR_USAGE, &err,
              "NULL");
    must_give(urza_forward_train(module, in, 2, params, 2, out, 3, NULL, &err), ERR_USAGE, &err,
              "NULL");
    must_give(urza_forward_train(module, in, 3, params, 2, out, 3, &tape, &err), ERR_INPUT, &err,
              "3 inputs are given, expected 2");
    must_give(urza_forward_train(module, in, 2, params, 1, out, 3, &tape, &err), ERR_INPUT, &err,
              "1 params are given, expected 2");
    must_give(urza_forward_train(module, in, 2, params, 2, out, 2, &tape, &err), ERR_INPUT, &err,
              "2 outputs are given, expected 3");
    must_give(urza_forward_train(module, NULL, 0, params, 2, out, 3, &tape, &err), ERR_INPUT, &err,
              "0 inputs are given");
    assert_null(tape);
    must_have(t, untouched, bytes, "a refused forward_train");
    trained_step(t, module, 0); /* no context was lost */
    urza_unload(module);
}

static void refuses_backward(void **state)
{
    (void)state;
    struct trained *t = &shared;
    urza_module *module = trained_load(t, NULL);
    size_t bytes;
    trained_clear(t);
    urza_tape *tape = begin(t, module);
    for (uint32_t k = t->output_count; k < t->step->outputs.count; k++)
        memset(t->results[k], 0x77, t->sample.outputs[k].bytes);
    void *untouched = trained_copy(t, &bytes);
    int64_t other[2] = {ROWS, 7}, less[2] = {ROWS - 1, 6}, apart[2] = {1, 0};
    static int32_t integers[ROWS];
    enum { COTANGENT, INPUT, PARAM };
    const struct {
        int list, index;
        int64_t *shape, *strides;
        uint8_t bits;
        int32_t ndim;
        void *data;
        const char *words;
    } rows_of[] = {
        {COTANGENT, Y, other, NULL, 0, -1, NULL, "another type or shape than its output"},
        {COTANGENT, Z, less, NULL, 0, -1, NULL, "cotangent of 'z'"},
        {COTANGENT, Z, NULL, NULL, 16, -1, NULL, "another type or shape than its output"},
        {COTANGENT, Z, NULL, NULL, 0, 1, NULL, "another type or shape than its output"},
        {COTANGENT, Z, NULL, NULL, 0, 9, NULL, "has 9 dims"},
        {COTANGENT, Z, NULL, NULL, 7, -1, NULL, "DLPack type"},
        {INPUT, X, other, NULL, 0, -1, NULL, "dim 1 is 7, expected 6"},
        {INPUT, X, less, NULL, 0, -1, NULL, "grad.x"},
        {INPUT, X, NULL, NULL, 64, -1, NULL, "another dtype"},
        {INPUT, X, NULL, NULL, 0, 1, NULL, "has 1 dims, expected 2"},
        {INPUT, X, NULL, apart, 0, -1, NULL, "the same address"},
        {INPUT, K, NULL, NULL, 0, -1, integers, "the package has no gradient by 'k'"},
        {INPUT, X, NULL, NULL, 0, -1, t->inputs[X].data, "shares memory"},
        {INPUT, X, NULL, NULL, 0, -1, t->results[Z], "shares memory"},
        {INPUT, X, NULL, NULL, 0, -1, t->cotangents[Z].data, "shares memory"},
        {PARAM, W, NULL, NULL, 0, -1, t->params[W].data, "shares memory"},
        {PARAM, W, NULL, NULL, 0, -1, t->input_grads[X].data, "shares memory"},
        {PARAM, V, NULL, NULL, 0, -1, t->param_grads[W].data, "shares memory"},
    };
    urza_error err;
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++) {
        DLTensor *lists[] = {t->cotangents, t->input_grads, t->param_grads};
        DLTensor *tensor = &lists[rows_of[i].list][rows_of[i].index], kept = *tensor;
        tensor->shape = rows_of[i].shape ? rows_of[i].shape : kept.shape;
        tensor->strides = rows_of[i].strides;
        tensor->dtype.bits = rows_of[i].bits > 0 ? rows_of[i].bits : kept.dtype.bits;
        tensor->ndim = rows_of[i].ndim >= 0 ? rows_of[i].ndim : kept.ndim;
        tensor->data = rows_of[i].data ? rows_of[i].data : kept.data;
        int code = trained_backward(t, tape, URZA_KEEP_TAPE, &err);
        *tensor = kept;
        must_give(code, ERR_INPUT, &err, rows_of[i].words);
        must_have(t, untouched, bytes, "a refused backward");
    }
    must(trained_backward(t, tape, 0, &err), &err); /* the tape was kept */
    urza_tape_release(tape);
    urza_unload(module);
}

static void refuses_other_counts_of_gradients(void **state)
{
    (void)state;
    struct trained *t = &shared;
    urza_module *module = trained_load(t, NULL);
    size_t bytes;
    trained_clear(t);
    urza_tape *tape = begin(t, module);
    void *untouched = trained_copy(t, &bytes);
    urza_error err;
    const urza_gradients all = {t->cotangents,  3, t->input_grads, 2,
                                t->param_grads, 2, URZA_KEEP_TAPE};
    urza_gradients wrong = all;
    must_give(urza_backward(NULL, &all, &err), ERR_USAGE, &err, "NULL");
    must_give(urza_backward(tape, NULL, &err), ERR_USAGE, &err, "NULL");
    wrong.cotangent_count = 2;
    must_give(urza_backward(tape, &wrong, &err), ERR_INPUT, &err, "2 cotangents are given");
    wrong = all;
    wrong.input_count = 3;
    must_give(urza_backward(tape, &wrong, &err), ERR_INPUT, &err, "3 gradients of inputs are");
    wrong = all;
    wrong.param_count = 0;
    must_give(urza_backward(tape, &wrong, &err), ERR_INPUT, &err, "0 gradients of params are");
    must_have(t, untouched, bytes, "a refused backward");
    must(urza_backward(tape, &all, &err), &err); /* the tape was kept */
    urza_tape_release(tape);
    urza_unload(module);
}

/* A package that was compiled without: here the step itself. */
static void refuses_other_packages(void **state)
{
    (void)state;
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    urza_module *module = NULL;
    urza_tape *tape = NULL;
    urza_error err;
    must(urza_load_memory(shared.contents.training, shared.contents.training_bytes, &options,
                          &module, &err),
         &err);
    assert_int_equal(urza_has_backward(module), 0);
    assert_int_equal(urza_has_gradient(module, "x"), 0);
    must_give(trained_forward(&shared, module, true, &tape, &err), ERR_UNSUPPORTED, &err,
              "compile it with --backward");
    assert_null(tape);
    urza_unload(module);
}

/* A block with a backward pass is no whole step. */
static void is_no_step(void **state)
{
    (void)state;
    urza_module *module = trained_load(&shared, NULL);
    urza_error err;
    assert_null(urza_step_text(module));
    assert_null(urza_step_text(NULL));
    assert_int_equal(urza_step(module, shared.inputs, 2, NULL, 0, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "urza_forward_train and urza_backward run its two parts"));
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_no_step),
        cmocka_unit_test(refuses_forward),
        cmocka_unit_test(refuses_other_counts),
        cmocka_unit_test(refuses_backward),
        cmocka_unit_test(refuses_other_counts_of_gradients),
        cmocka_unit_test(refuses_other_packages),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
