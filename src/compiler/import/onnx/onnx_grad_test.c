/* Gradients of operations of ONNX at 0, where formulas change branches. */
#include "compiler/import/onnx/onnx_kit_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <onnx.pb-c.h>

#include "compiler/grad/grad.h"
#include <cmocka.h>

/* Derivatives at 0, by hand; where the operation has none, PyTorch's. */
static const struct {
    const char *op;
    double slope;
} ops[] = {
    {"Relu", 0},        {"Sigmoid", 0.25},
    {"Softplus", 0.5},  {"Softsign", 1},
    {"Elu", 1},         {"Selu", 1.75809934084737},
    {"Celu", 1},        {"Mish", 0.6},
    {"Tanh", 1},        {"Erf", 1.12837916709551},
    {"Gelu", 0.5},      {"Sinh", 1},
    {"Asinh", 1},       {"Cosh", 0},
    {"Atanh", 1},       {"Asin", 1},
    {"Acos", -1},       {"Atan", 1},
    {"HardSwish", 0.5}, {"HardSigmoid", 0.2},
};

static void gradients_at_zero(void **state)
{
    struct model *m = *state;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        struct graph training;
        start_over(m);
        add_input(m, "x", 1, (const char *const[]){"1", NULL});
        add_node(m, ops[i].op, "x", NULL, "y");
        add_output(m, "y");
        m->opset->version = 20;
        if (!read_model(m))
            fail_msg("%s: %s", ops[i].op, m->err.message);
        if (!grad_training_graph(&training, &m->arena, &m->blueprint.graph,
                                 &(struct grad_training){0}, &m->err))
            fail_msg("%s: %s", ops[i].op, m->err.message);
        union cell x = {.f = 0}, one = {.f = 1};
        const struct interp_tensor sources[] = {
            {.dtype = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .cells = &x},
            {.dtype = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .cells = &one}};
        struct interp_tensor out[2];
        assert_true(interp_run(&training, &(struct interp_options){.mode = INTERP_NATIVE},
                               &(struct interp_arguments){NULL, sources, 2}, &m->arena, out,
                               &m->err));
        double got = out[1].cells[0].f;
        if (!(fabs(got - ops[i].slope) <= 1e-6))
            fail_msg("%s: %.9g, expected %.9g", ops[i].op, got, ops[i].slope);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(gradients_at_zero, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
