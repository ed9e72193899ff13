/* Memory of training steps: after the first step of given shapes nothing is allocated, and every
 * allocation before that may fail: the call says so, nothing is written, nothing leaks, and the
 * next one works. */
#include "support/trained_small.h"

#include "base/faults_test_util.h"

static void needs_counting(void)
{
    if (FAULTS_COUNTED)
        return;
    print_message("allocations cannot be counted under a sanitizer\n");
    skip();
}

/* Tensors of `shared` with strides, so that they are staged; column 0 is the last. */
struct strided {
    DLTensor dl;
    int64_t strides[2];
    float memory[2 * ROWS * 6];
};

static void spread(struct strided *s, DLTensor *of)
{
    int64_t columns = of->shape[1];
    assert_true(of->shape[0] * columns <= ROWS * 6);
    *s = (struct strided){.dl = *of, .strides = {2 * columns, -2}};
    for (int64_t i = 0; i < of->shape[0] * columns; i++)
        s->memory[2 * (i / columns * columns + columns - 1 - i % columns)] =
            ((const float *)of->data)[i];
    s->dl.data = s->memory + 2 * (columns - 1);
    s->dl.strides = s->strides;
    *of = s->dl;
}

static void later_steps_allocate_nothing(void **state)
{
    (void)state;
    needs_counting();
    struct trained *t = &shared, strided = *t;
    struct strided x, y, gx, gw;
    DLTensor inputs[2], outputs[3], input_grads[2], param_grads[2];
    memcpy(strided.inputs = inputs, t->inputs, sizeof inputs);
    memcpy(strided.outputs = outputs, t->outputs, sizeof outputs);
    memcpy(strided.input_grads = input_grads, t->input_grads, sizeof input_grads);
    memcpy(strided.param_grads = param_grads, t->param_grads, sizeof param_grads);
    spread(&x, &inputs[X]);
    spread(&y, &outputs[Y]);
    spread(&gx, &input_grads[X]);
    spread(&gw, &param_grads[W]);
    urza_module *module = trained_load(t, &(urza_load_options){.threads = 2});
    for (int round = 0; round < 3; round++) {
        if (round > 0)
            faults_begin(FAULTS_OURS, 0, 0);
        for (uint32_t flags = 0; flags < 4; flags++) {
            urza_tape *tapes[2]; /* two are alive, from the first round on */
            urza_error err;
            must(trained_forward(t, module, true, &tapes[0], &err), &err);
            must(trained_forward(&strided, module, flags & 1, &tapes[1], &err), &err);
            for (int i = 0; i < 2; i++) {
                must(trained_backward(t, tapes[i], flags | URZA_KEEP_TAPE, &err), &err);
                must(trained_backward(&strided, tapes[i], flags, &err), &err);
            }
            for (int i = 0; i < 2; i++)
                urza_tape_release(tapes[i]);
        }
        faults_end();
        if (round > 0)
            assert_int_equal(faults.count, 0);
    }
    urza_unload(module);
}

/* Repeats load, step and unload until every allocation of the part has failed once. */
enum part { LOAD, FORWARD, BACKWARD };

static int run_part(struct trained *t, enum part part, const char *target, uint64_t fail_at)
{
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .target = target};
    urza_module *module = NULL;
    urza_tape *tape = NULL;
    urza_error err;
    int code = 0;
    size_t bytes;
    if (part == LOAD)
        faults_begin(FAULTS_OURS, fail_at, 0);
    code = urza_load_memory(t->package, t->package_bytes, &options, &module, &err);
    if (part == LOAD)
        faults_end();
    if (code != 0) {
        assert_null(module);
        assert_int_equal(faults.live, 0);
        return code;
    }
    trained_clear(t);
    void *untouched = trained_copy(t, &bytes);
    if (part == FORWARD)
        faults_begin(FAULTS_OURS, fail_at, 0);
    code = trained_forward(t, module, true, &tape, &err);
    faults_end();
    if (code != 0) {
        assert_null(tape);
        must_have(t, untouched, bytes, "without memory");
        urza_error again;
        must(trained_forward(t, module, true, &tape, &again), &again);
    }
    for (uint32_t k = t->output_count; k < t->step->outputs.count; k++)
        memset(t->results[k], 0, t->sample.outputs[k].bytes);
    untouched = trained_copy(t, &bytes);
    if (part == BACKWARD)
        faults_begin(FAULTS_OURS, fail_at, 0);
    int second = trained_backward(t, tape, URZA_KEEP_TAPE | URZA_ACCUMULATE, &err);
    faults_end();
    if (second != 0) {
        must_have(t, untouched, bytes, "without memory");
        urza_error again;
        must(trained_backward(t, tape, 0, &again), &again);
        code = second;
    }
    urza_tape_release(tape);
    urza_unload(module);
    return code;
}

static uint32_t walk(struct trained *t, enum part part, const char *target, const void *bits,
                     size_t bytes)
{
    run_part(t, part, target, 0); /* fills the caches of the libraries */
    for (uint64_t n = 1;; n++) {
        int code = run_part(t, part, target, n);
        if (code != 0 && code != ERR_NOMEM)
            TEST_FAILED("allocation %llu: %s", (unsigned long long)n, urza_error_name(code));
        if (part != LOAD || code == 0)
            must_have(t, bits, bytes, "after an allocation that failed");
        if (code == 0 && faults.count < n)
            return (uint32_t)n;
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    needs_counting();
    struct trained *t = &shared;
    static const char *const targets[] = {NULL, "interpreter"};
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        urza_module *module = trained_load(t, &(urza_load_options){.target = targets[i]});
        trained_step(t, module, 0);
        void *bits = trained_copy(t, &bytes);
        urza_unload(module);
        assert_true(walk(t, LOAD, targets[i], bits, bytes) > 100);
        assert_true(walk(t, FORWARD, targets[i], bits, bytes) > 3);
        assert_true(walk(t, BACKWARD, targets[i], bits, bytes) > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_steps_allocate_nothing),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
