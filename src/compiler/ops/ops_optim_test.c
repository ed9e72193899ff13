/* Optimizers compared with direct loops from the definitions of PyTorch (torch.optim, the functions
 * called _single_tensor_…), and of the paper of Lion (arXiv:2302.06675). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "compiler/ops/ops_harness_priv.h"

#include <cmocka.h> /* last: it defines fail as a macro */

/* Operands by place: w, g, lr, then what the op says. */
#define AT(tensor, i) op_at_flat(&(tensor), i)

static void begin(struct op_run *run, const char *op, const char *text, uint32_t results)
{
    op_run(run, op, text);
    for (uint32_t i = 0; i < results; i++)
        op_expect_shape(&run->out[i], run->in[0].rank, run->in[0].shape);
}

static void test_sgd(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double momentum, decay;
        bool nesterov;
    } cases[] = {
        {"w[3,5] g[3,5] lr<0.001,1>[]", 0, 0, false},
        {"w[3,5] g[3,5] lr<0.001,1>[] weight_decay=0.3", 0, 0.3, false},
        {"w[7] g[7] lr<0.001,1>[] buf[7] momentum=0.9", 0.9, 0, false},
        {"w[7] g[7] lr<0.001,1>[] buf[7] momentum=0.9 weight_decay=0.3", 0.9, 0.3, false},
        {"w[7] g[7] lr<0.001,1>[] buf[7] momentum=0.9 weight_decay=0.3 nesterov=true", 0.9, 0.3,
         true},
        {"w[] g[] lr<0.001,1>[] buf[] momentum=1", 1, 0, false},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        bool moves = cases[n].momentum != 0;
        begin(&run, "sgd", cases[n].text, moves ? 2 : 1);
        for (int64_t i = 0; i < run.in[0].count; i++) {
            double w = AT(run.in[0], i), lr = AT(run.in[2], 0);
            double g = AT(run.in[1], i) + cases[n].decay * w;
            if (moves) {
                double buf = cases[n].momentum * AT(run.in[3], i) + g;
                op_expect_near("sgd: buf", AT(run.out[1], i), buf);
                g = cases[n].nesterov ? g + cases[n].momentum * buf : buf;
            }
            op_expect_near("sgd", AT(run.out[0], i), w - lr * g);
        }
        op_run_release(&run);
    }
}

#define ADAM(shape) "w" shape " g" shape " lr<0.001,1>[] t:i64<1,99>[] m" shape " v<0.01,4>" shape

static void test_adam(void **state)
{
    (void)state;
    static const struct {
        const char *op, *text;
        double beta1, beta2, eps, decay;
    } cases[] = {
        {"adam", ADAM("[3,5]"), 0.9, 0.999, 1e-8, 0},
        {"adam", ADAM("[7]") " weight_decay=0.3 eps=0.5", 0.9, 0.999, 0.5, 0.3},
        {"adam", ADAM("[]") " beta1=0.25 beta2=0.5", 0.25, 0.5, 1e-8, 0},
        {"adam", ADAM("[7]") " beta1=0 beta2=0", 0, 0, 1e-8, 0},
        {"adamw", ADAM("[3,5]"), 0.9, 0.999, 1e-8, 0.01},
        {"adamw", ADAM("[7]") " weight_decay=0.3 eps=0.5", 0.9, 0.999, 0.5, 0.3},
        {"adamw", ADAM("[7]") " weight_decay=0 beta1=0.25 beta2=0.5", 0.25, 0.5, 1e-8, 0},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        double beta1 = cases[n].beta1, beta2 = cases[n].beta2;
        begin(&run, cases[n].op, cases[n].text, 3);
        double lr = AT(run.in[2], 0), step = AT(run.in[3], 0);
        for (int64_t i = 0; i < run.in[0].count; i++) {
            double w = AT(run.in[0], i), g = AT(run.in[1], i);
            if (strcmp(cases[n].op, "adamw") == 0)
                w *= 1 - lr * cases[n].decay;
            else
                g += cases[n].decay * w;
            double m = beta1 * AT(run.in[4], i) + (1 - beta1) * g;
            double v = beta2 * AT(run.in[5], i) + (1 - beta2) * g * g;
            double m_hat = m / (1 - pow(beta1, step)), v_hat = v / (1 - pow(beta2, step));
            op_expect_near("adam", AT(run.out[0], i),
                           w - lr * m_hat / (sqrt(v_hat) + cases[n].eps));
            op_expect_near("adam: m", AT(run.out[1], i), m);
            op_expect_near("adam: v", AT(run.out[2], i), v);
        }
        op_run_release(&run);
    }
}

static void test_lion(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double beta1, beta2, decay;
    } cases[] = {
        {"w[3,5] g[3,5] lr<0.001,1>[] m[3,5]", 0.9, 0.99, 0},
        {"w[7] g[7] lr<0.001,1>[] m[7] beta1=0.25 beta2=0.5 weight_decay=0.3", 0.25, 0.5, 0.3},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        begin(&run, "lion", cases[n].text, 2);
        double lr = AT(run.in[2], 0);
        for (int64_t i = 0; i < run.in[0].count; i++) {
            double w = AT(run.in[0], i), g = AT(run.in[1], i), m = AT(run.in[3], i);
            double c = cases[n].beta1 * m + (1 - cases[n].beta1) * g;
            double sign = c > 0 ? 1 : c < 0 ? -1 : 0;
            op_expect_near("lion", AT(run.out[0], i), w - lr * (sign + cases[n].decay * w));
            op_expect_near("lion: m", AT(run.out[1], i),
                           cases[n].beta2 * m + (1 - cases[n].beta2) * g);
        }
        op_run_release(&run);
    }
}

static void test_rmsprop(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double alpha, eps, momentum, decay;
    } cases[] = {
        {"w[3,5] g[3,5] lr<0.001,1>[] v<0.01,4>[3,5]", 0.99, 1e-8, 0, 0},
        {"w[7] g[7] lr<0.001,1>[] v<0.01,4>[7] alpha=0.5 eps=0.5 weight_decay=0.3", 0.5, 0.5, 0,
         0.3},
        {"w[7] g[7] lr<0.001,1>[] v<0.01,4>[7] buf[7] momentum=0.9 weight_decay=0.3", 0.99, 1e-8,
         0.9, 0.3},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        double alpha = cases[n].alpha, momentum = cases[n].momentum;
        begin(&run, "rmsprop", cases[n].text, momentum != 0 ? 3 : 2);
        double lr = AT(run.in[2], 0);
        for (int64_t i = 0; i < run.in[0].count; i++) {
            double w = AT(run.in[0], i), g = AT(run.in[1], i) + cases[n].decay * w;
            double v = alpha * AT(run.in[3], i) + (1 - alpha) * g * g;
            double move = g / (sqrt(v) + cases[n].eps);
            if (momentum != 0) {
                move += momentum * AT(run.in[4], i);
                op_expect_near("rmsprop: buf", AT(run.out[2], i), move);
            }
            op_expect_near("rmsprop", AT(run.out[0], i), w - lr * move);
            op_expect_near("rmsprop: v", AT(run.out[1], i), v);
        }
        op_run_release(&run);
    }
}

/* Shapes and types of operands, each with the words of its refusal. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *op;
        uint32_t ranks[6], count; /* [2] or [] */
        uint32_t integer;         /* the operand of i64 */
        const char *words;
    } cases[] = {
        {"sgd", {1, 0, 0}, 3, 9, "operand 1 must have the parameter's shape"},
        {"sgd", {1, 1, 1}, 3, 9, "operand 2 must have no dims"},
        {"sgd", {1, 1}, 2, 9, "needs operand 'lr'"},
        {"adam", {1, 1, 0, 1, 1, 1}, 6, 3, "operand 3 must have no dims"},
        {"adamw", {1, 1, 0, 0, 1, 0}, 6, 3, "operand 5 must have the parameter's shape"},
        {"lion", {1, 1, 0, 0}, 4, 9, "operand 3 must have the parameter's shape"},
        {"rmsprop", {0, 0, 0, 1}, 4, 9, "operand 3 must have the parameter's shape"},
        {"sgd", {1, 1, 0}, 3, 0, "operand 0 is i64"},
        {"sgd", {1, 1, 0}, 3, 1, "operand 1 is i64"},
        {"sgd", {1, 1, 0}, 3, 2, "operand 2 is i64"},
        {"adam", {1, 1, 0, 0, 1, 1}, 6, 4, "operand 4 is i64"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct arena arena;
        struct graph graph;
        struct error err = {0};
        struct builder b = {&graph, &err};
        value_id operands[6], out[OP_MAX_OUTPUTS];
        uint32_t count;
        arena_init(&arena);
        graph_init(&graph, &arena);
        dim_id two = dim_const(&graph.dims, 2);
        for (uint32_t i = 0; i < cases[n].count; i++)
            operands[i] = graph_input(&graph, (const char[]){(char)('a' + i), '\0'},
                                      i == cases[n].integer ? DTYPE_I64 : DTYPE_F32, &two,
                                      cases[n].ranks[i], &err);
        const struct op_arguments arguments = {operands, cases[n].count, NULL, 0, true};
        if (op_expand(&b, op_find(cases[n].op), &arguments, out, &count, &err))
            fail_msg("%s is no error: %s", cases[n].op, cases[n].words);
        if (!strstr(err.message, cases[n].words))
            fail_msg("%s: %s, expected %s", cases[n].op, err.message, cases[n].words);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgd),      cmocka_unit_test(test_adam),
        cmocka_unit_test(test_lion),     cmocka_unit_test(test_rmsprop),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
