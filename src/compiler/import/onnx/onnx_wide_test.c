/* Nodes on f16 and bf16 compute in f32: sums and squares do not overflow, constants keep their
 * digits, and the result is that of float64, rounded once. */
#include "compiler/import/onnx/onnx_kit_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <onnx.pb-c.h>
#include <cmocka.h>

#define COUNT 4

/* The expected element i, in float64. */
typedef double right_fn(const double *x, int i);

static double sum_of(const double *x, double power)
{
    double sum = 0;
    for (int i = 0; i < COUNT; i++)
        sum += pow(fabs(x[i]), power);
    return sum;
}

static double l1(const double *x, int i)
{
    (void)i;
    return sum_of(x, 1);
}

static double l2(const double *x, int i)
{
    (void)i;
    return sqrt(sum_of(x, 2));
}

static double sum_square(const double *x, int i)
{
    (void)i;
    return sum_of(x, 2);
}

static double mean(const double *x, int i)
{
    (void)i;
    return (x[0] + x[1] + x[2] + x[3]) / COUNT;
}

static double log_sum(const double *x, int i)
{
    (void)i;
    return log(x[0] + x[1] + x[2] + x[3]);
}

static double log_sum_exp(const double *x, int i)
{
    (void)i;
    return log(exp(x[0]) + exp(x[1]) + exp(x[2]) + exp(x[3]));
}

static double unit_length(const double *x, int i)
{
    return x[i] / sqrt(sum_of(x, 2));
}

static double softplus(const double *x, int i)
{
    return log1p(exp(x[i]));
}

static double selu(const double *x, int i)
{
    double alpha = 1.67326319217681884765625, gamma = 1.05070102214813232421875;
    return gamma * (x[i] > 0 ? x[i] : alpha * expm1(x[i]));
}

static double hard_sigmoid(const double *x, int i)
{
    return fmin(fmax(0.2 * x[i] + 0.5, 0), 1);
}

static double leaky_relu(const double *x, int i)
{
    return x[i] < 0 ? 0.01 * x[i] : x[i];
}

static double swish(const double *x, int i)
{
    return x[i] / (1 + exp(-x[i]));
}

static const struct row {
    const char *op;
    double x[COUNT];
    right_fn *right;
} rows[] = {
    {"ReduceL1", {30000, -20000, 10000, 3}, l1},
    {"ReduceL2", {300, -250, 5, 0}, l2},
    {"ReduceSumSquare", {30, -25.5, 0.5, 200}, sum_square},
    {"ReduceMean", {60000, 50000, 40000, 30000}, mean},
    {"ReduceLogSum", {60000, 50000, 40000, 30000}, log_sum},
    {"ReduceLogSumExp", {11.5, 11.25, -3, 10}, log_sum_exp},
    {"LpNormalization", {300, -250, 5, 0}, unit_length},
    {"Softplus", {0.3, -3.7, 2.2, -0.01}, softplus},
    {"Selu", {0.3, -3.7, 2.2, -0.01}, selu},
    {"HardSigmoid", {0.3, -1.7, 1.1, -0.01}, hard_sigmoid},
    {"LeakyRelu", {0.3, -3.7, 2.2, -700}, leaky_relu},
    {"Swish", {0.3, -3.7, 2.2, -0.01}, swish},
};

static void check(struct model *m, const struct row *row, enum dtype dtype)
{
    uint16_t data[COUNT];
    double x[COUNT];
    for (int i = 0; i < COUNT; i++) {
        x[i] = dtype_round(dtype, row->x[i]);
        data[i] = dtype == DTYPE_F16 ? f16_from_double(x[i]) : bf16_from_double(x[i]);
    }
    start_over(m);
    m->opset->version = 24;
    add_input(m, "x", dtype == DTYPE_F16 ? 10 : 16, (const char *const[]){"4", NULL});
    add_node(m, row->op, "x", NULL, "y");
    add_output(m, "y");
    struct interp_tensor y = run_model(m, dtype, COUNT, data);
    assert_int_equal(y.dtype, dtype);
    for (int i = 0; i < (int)y.count; i++) {
        double right = row->right(x, i), found = y.cells[i].f;
        double allowed = 1.01 * dtype_unit_roundoff(dtype) * fabs(right);
        if (!(fabs(found - right) <= allowed))
            fail_msg("%s %s [%d]: %.9g, right %.9g", row->op, dtype_name(dtype), i, found, right);
    }
}

/* x + x overflows f16, its norm does not. */
static void sums_before_a_norm_are_wide(void **state)
{
    struct model *m = *state;
    static const double x[COUNT] = {40000, -30000, 35008, 20000};
    uint16_t data[COUNT];
    char *in[] = {(char *)"x", (char *)"x", (char *)"x"};
    double square = sum_of(x, 2) / COUNT;
    Onnx__OperatorSetIdProto microsoft = *m->opset, *opsets[] = {m->opset, &microsoft};
    microsoft.domain = (char *)"com.microsoft";
    microsoft.version = 1;
    m->proto->n_opset_import = 2;
    m->proto->opset_import = opsets;
    for (int i = 0; i < COUNT; i++)
        data[i] = f16_from_double(x[i]);
    start_over(m);
    add_input(m, "x", 10, (const char *const[]){"4", NULL});
    Onnx__NodeProto *node = add_node(m, "SkipSimplifiedLayerNormalization", "x", "x", "y");
    node->domain = (char *)"com.microsoft";
    node->n_input = 3; /* the last operand is the scale */
    node->input = in;
    add_output(m, "y");
    struct interp_tensor y = run_model(m, DTYPE_F16, COUNT, data);
    for (int i = 0; i < COUNT; i++) {
        double right = x[i] / sqrt(square) * f16_to_double(data[i]);
        if (!(fabs(y.cells[i].f - right) <= 0x1.01p-11 * fabs(right)))
            fail_msg("[%d]: %.9g, right %.9g", i, y.cells[i].f, right);
    }
}

static void nodes_round_once(void **state)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        check(*state, &rows[i], DTYPE_F16);
        check(*state, &rows[i], DTYPE_BF16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nodes_round_once, begin, end),
        cmocka_unit_test_setup_teardown(sums_before_a_norm_are_wide, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
