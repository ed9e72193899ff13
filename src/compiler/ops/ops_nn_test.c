/* Norms, attention, activations and losses compared with direct loops from their definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "compiler/ops/ops_harness_priv.h"

#include <cmocka.h> /* last: it defines fail as a macro */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double softplus(double x)
{
    return x > 20 ? x : log1p(exp(x));
}

static double gelu(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double silu(double x)
{
    return x * sigmoid(x);
}

static double mish(double x)
{
    return x * tanh(softplus(x));
}

static double hardsigmoid(double x)
{
    return fmin(fmax(x / 6 + 0.5, 0), 1);
}

static double hardswish(double x)
{
    return x * hardsigmoid(x);
}

static double elu(double x)
{
    return x > 0 ? x : 0.5 * expm1(x);
}

static double selu(double x)
{
    return 1.0507009873554805 * (x > 0 ? x : 1.6732632423543772 * expm1(x));
}

static double celu(double x)
{
    return fmax(x, 0) + fmin(0, 2 * expm1(x / 2));
}

static double softplus_2(double x)
{
    return 2 * x > 1 ? x : log1p(exp(2 * x)) / 2;
}

static double softshrink(double x)
{
    return x > 1 ? x - 1 : x < -1 ? x + 1 : 0;
}

static double hardshrink(double x)
{
    return fabs(x) > 1 ? x : 0;
}

static double softsign(double x)
{
    return x / (1 + fabs(x));
}

static double logsigmoid(double x)
{
    return -log1p(exp(-x));
}

static double leaky_relu(double x)
{
    return x > 0 ? x : 0.2 * x;
}

static void test_activations(void **state)
{
    (void)state;
    const struct {
        const char *op, *text;
        double (*formula)(double);
    } cases[] = {
        {"sigmoid", "x<-30,30>[200]", sigmoid},
        {"softplus", "x<-30,30>[200]", softplus},
        {"softplus", "x[200] beta=2 threshold=1", softplus_2},
        {"gelu", "x<-6,6>[200]", gelu},
        {"gelu", "x<-6,6>[200] approximate=tanh", gelu_tanh},
        {"silu", "x<-20,20>[200]", silu},
        {"mish", "x<-20,20>[200]", mish},
        {"hardsigmoid", "x<-5,5>[200]", hardsigmoid},
        {"hardswish", "x<-5,5>[200]", hardswish},
        {"elu", "x[200] alpha=0.5", elu},
        {"selu", "x[200]", selu},
        {"celu", "x[200] alpha=2", celu},
        {"softshrink", "x[200] lambd=1", softshrink},
        {"hardshrink", "x[200] lambd=1", hardshrink},
        {"softsign", "x[200]", softsign},
        {"logsigmoid", "x<-20,20>[200]", logsigmoid},
        {"leaky_relu", "x[200] negative_slope=0.2", leaky_relu},
        {"tanh", "x[200]", tanh},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        op_run(&run, cases[n].op, cases[n].text);
        for (int64_t i = 0; i < 200; i++) {
            op_expect_near(cases[n].op, GET(run.out[0], i), cases[n].formula(GET(run.in[0], i)));
        }
        op_run_release(&run);
    }
}

static void test_gated(void **state)
{
    (void)state;
    struct op_run run;
    op_run(&run, "glu", "x[4,3] dim=0");
    op_expect_shape(&run.out[0], 2, (int64_t[]){2, 3});
    op_expect_near("glu", GET(run.out[0], 1, 2),
                   GET(run.in[0], 1, 2) * sigmoid(GET(run.in[0], 3, 2)));
    op_run_release(&run);
    op_run(&run, "swiglu", "gate[5] up[5]");
    op_expect_near("swiglu", GET(run.out[0], 4), silu(GET(run.in[0], 4)) * GET(run.in[1], 4));
    op_run_release(&run);
    op_run(&run, "prelu", "x[2,3,4] weight[3]");
    for (int64_t i = 0; i < 24; i++) {
        double x = op_at_flat(&run.in[0], i);
        op_expect_near("prelu", op_at_flat(&run.out[0], i),
                       x > 0 ? x : x * GET(run.in[1], i / 4 % 3));
    }
    op_run_release(&run);
    op_run(&run, "log_softmax", "x[3,4] dim=0");
    for (int64_t i = 0; i < 12; i++) {
        double sum = 0;
        for (int64_t k = 0; k < 3; k++) {
            sum += exp(GET(run.in[0], k, i % 4));
        }
        op_expect_near("log_softmax", op_at_flat(&run.out[0], i),
                       op_at_flat(&run.in[0], i) - log(sum));
    }
    op_run_release(&run);
}

static void test_dropout(void **state)
{
    (void)state;
    struct op_run run;
    int64_t kept = 0;
    op_run(&run, "dropout", "x[4000] seed:i64[] p=0.25 training");
    for (int64_t i = 0; i < 4000; i++) {
        double y = GET(run.out[0], i);
        kept += y != 0;
        op_expect_near("dropout", y, y == 0 ? 0 : GET(run.in[0], i) / 0.75);
    }
    assert_in_range(kept, 2850, 3150); /* within five standard deviations */
    op_run_release(&run);
}

/* Mean and biased variance of `count` elements, from flat index `first` on, `stride` apart. */
static void moments(const struct interp_tensor *x, int64_t first, int64_t stride, int64_t count,
                    double *mean, double *var)
{
    *mean = *var = 0;
    for (int64_t i = 0; i < count; i++) {
        *mean += op_at_flat(x, first + i * stride) / (double)count;
    }
    for (int64_t i = 0; i < count; i++) {
        *var += pow(op_at_flat(x, first + i * stride) - *mean, 2) / (double)count;
    }
}

static void test_norms(void **state)
{
    (void)state;
    struct op_run run;
    double mean, var;
    op_run(&run, "layer_norm", "x[3,4,5] weight[4,5] bias[4,5] normalized_shape=[4,5] eps=0.01");
    for (int64_t i = 0; i < 60; i++) {
        moments(&run.in[0], i / 20 * 20, 1, 20, &mean, &var);
        double expected =
            (op_at_flat(&run.in[0], i) - mean) / sqrt(var + 0.01) * op_at_flat(&run.in[1], i % 20) +
            op_at_flat(&run.in[2], i % 20);
        op_expect_near("layer_norm", op_at_flat(&run.out[0], i), expected);
    }
    op_run_release(&run);
    op_run(&run, "group_norm", "x[2,6,5] weight[6] bias[6] num_groups=3");
    for (int64_t i = 0; i < 60; i++) {
        moments(&run.in[0], i / 10 * 10, 1, 10, &mean, &var);
        int64_t channel = i / 5 % 6;
        double expected =
            (op_at_flat(&run.in[0], i) - mean) / sqrt(var + 1e-5) * GET(run.in[1], channel) +
            GET(run.in[2], channel);
        op_expect_near("group_norm", op_at_flat(&run.out[0], i), expected);
    }
    op_run_release(&run);
    op_run(&run, "instance_norm", "x[2,3,2,4] weight[3] bias[3]");
    for (int64_t i = 0; i < 48; i++) {
        moments(&run.in[0], i / 8 * 8, 1, 8, &mean, &var);
        int64_t channel = i / 8 % 3;
        double expected =
            (op_at_flat(&run.in[0], i) - mean) / sqrt(var + 1e-5) * GET(run.in[1], channel) +
            GET(run.in[2], channel);
        op_expect_near("instance_norm", op_at_flat(&run.out[0], i), expected);
    }
    op_run_release(&run);
    op_run(&run, "rms_norm", "x[3,5] weight[5] eps=0.1");
    for (int64_t i = 0; i < 15; i++) {
        double square = 0;
        for (int64_t k = 0; k < 5; k++) {
            square += pow(GET(run.in[0], i / 5, k), 2) / 5;
        }
        op_expect_near("rms_norm", op_at_flat(&run.out[0], i),
                       op_at_flat(&run.in[0], i) / sqrt(square + 0.1) * GET(run.in[1], i % 5));
    }
    op_run_release(&run);
}

static void test_batch_norm(void **state)
{
    (void)state;
    struct op_run run;
    double mean, var;
    op_run(&run, "batch_norm",
           "x[2,3,4] running_mean[3] running_var<0.5,2>[3] weight[3] bias[3] eps=0.01");
    for (int64_t i = 0; i < 24; i++) {
        int64_t c = i / 4 % 3;
        double y = (op_at_flat(&run.in[0], i) - GET(run.in[1], c)) / sqrt(GET(run.in[2], c) + 0.01);
        op_expect_near("batch_norm", op_at_flat(&run.out[0], i),
                       y * GET(run.in[3], c) + GET(run.in[4], c));
    }
    op_run_release(&run);
    op_run(&run, "batch_norm",
           "x[6,3] running_mean[3] running_var<0.5,2>[3] weight[3] bias[3] momentum=0.2 training");
    assert_int_equal(run.example.out_count, 3);
    for (int64_t i = 0; i < 18; i++) {
        int64_t c = i % 3;
        moments(&run.in[0], c, 3, 6, &mean, &var);
        double y = (op_at_flat(&run.in[0], i) - mean) / sqrt(var + 1e-5);
        op_expect_near("training", op_at_flat(&run.out[0], i),
                       y * GET(run.in[3], c) + GET(run.in[4], c));
        op_expect_near("running mean", GET(run.out[1], c), 0.8 * GET(run.in[1], c) + 0.2 * mean);
        op_expect_near("running var", GET(run.out[2], c),
                       0.8 * GET(run.in[2], c) + 0.2 * var * 6 / 5);
    }
    op_run_release(&run);
}

struct attention_case {
    const char *text;
    bool causal;
    int mask; /* 0: none, 2: [L, S], 4: [B, H or 1, L, S] */
    double scale;
};

/* One output row by definition. Groups of query heads share the heads of k and v. */
static void attention_row(const struct attention_case *c, const struct op_run *run, int64_t n,
                          int64_t h, int64_t l, double *out)
{
    const struct interp_tensor *q = &run->in[0], *k = &run->in[1], *v = &run->in[2];
    int64_t shared = h / (q->shape[1] / k->shape[1]), keys = k->shape[2], width = v->shape[3];
    double total = 0;
    memset(out, 0, (size_t)width * sizeof out[0]);
    for (int64_t s = 0; s < keys; s++) {
        double score = 0;
        for (int64_t e = 0; e < q->shape[3]; e++) {
            score += GET(*q, n, h, l, e) * GET(*k, n, shared, s, e) * c->scale;
        }
        const struct interp_tensor *mask = &run->in[3];
        if (c->mask != 0) {
            double given =
                c->mask == 2 ? GET(*mask, l, s) : GET(*mask, n, mask->shape[1] == 1 ? 0 : h, l, s);
            score += mask->dtype == DTYPE_BOOL ? (given != 0 ? 0 : -INFINITY) : given;
        }
        double e = c->causal && s > l ? 0 : exp(score);
        total += e;
        for (int64_t i = 0; i < width; i++) {
            out[i] += e * GET(*v, n, shared, s, i);
        }
    }
    for (int64_t i = 0; i < width; i++) {
        out[i] = total == 0 ? 0 : out[i] / total;
    }
}

static void test_attention(void **state)
{
    (void)state;
    const struct attention_case cases[] = {
        {"q[2,3,4,4] k[2,3,5,4] v[2,3,5,6]", false, 0, 0.5},
        {"q[2,3,5,4] k[2,3,5,4] v[2,3,5,4] is_causal=true", true, 0, 0.5},
        {"q[1,2,3,4] k[1,2,5,4] v[1,2,5,4] is_causal=true scale=0.3", true, 0, 0.3},
        {"q[2,2,6,4] k[2,2,2,4] v[2,2,2,3] attn_mask:bool[6,2]", false, 2, 0.5},
        {"q[2,2,3,4] k[2,2,5,4] v[2,2,5,4] attn_mask[2,1,3,5]", false, 4, 0.5},
        {"q[2,6,3,4] k[2,2,5,4] v[2,2,5,4] enable_gqa=true", false, 0, 0.5},
        {"q[2,6,5,4] k[2,2,5,4] v[2,2,5,3] attn_mask[2,6,5,5] enable_gqa=true is_causal=true", true,
         4, 0.5},
        {"q[2,6,5,4] k[2,3,5,4] v[2,3,5,3] attn_mask[2,1,5,5] enable_gqa=true", false, 4, 0.5},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        double row[8];
        op_run(&run, "scaled_dot_product_attention", cases[n].text);
        int64_t i[4] = {0};
        do {
            attention_row(&cases[n], &run, i[0], i[1], i[2], row);
            op_expect_near(cases[n].text, op_at_index(&run.out[0], i), row[i[3]]);
        } while (op_next_index(i, 4, run.out[0].shape));
        op_run_release(&run);
    }
}

/* The module by definition, for one batch element and all heads: x·W + b for q, k and v, attention,
 * output projection. */
static double project(const struct interp_tensor *x, const struct interp_tensor *w,
                      const struct interp_tensor *bias, int64_t n, int64_t l, int64_t row)
{
    double sum = GET(*bias, row);
    for (int64_t e = 0; e < w->shape[1]; e++) {
        sum += GET(*x, n, l, e) * GET(*w, row, e);
    }
    return sum;
}

static void test_multi_head_attention(void **state)
{
    (void)state;
    const char *texts[] = {
        "query[2,3,4] w_qkv[12,4] b_qkv[12] w_out[4,4] b_out[4] num_heads=2",
        "query[2,3,4] key[2,5,4] value[2,5,4] w_qkv[12,4] b_qkv[12] w_out[4,4] b_out[4] "
        "num_heads=2",
    };
    for (int crossed = 0; crossed < 2; crossed++) {
        struct op_run run;
        op_run(&run, "multi_head_attention", texts[crossed]);
        const struct interp_tensor *q = &run.in[0], *k = &run.in[crossed],
                                   *v = &run.in[2 * crossed];
        const struct interp_tensor *w = &run.in[1 + 2 * crossed];
        int64_t i[2] = {0};
        do {
            double mixed[4] = {0};
            for (int64_t h = 0; h < 2; h++) {
                double total = 0;
                for (int64_t s = 0; s < k->shape[1]; s++) {
                    double score = 0;
                    for (int64_t d = 2 * h; d < 2 * h + 2; d++) {
                        score += project(q, w, w + 1, i[0], i[1], d) *
                                 project(k, w, w + 1, i[0], s, 4 + d) / sqrt(2);
                    }
                    total += exp(score);
                    for (int64_t d = 2 * h; d < 2 * h + 2; d++) {
                        mixed[d] += exp(score) * project(v, w, w + 1, i[0], s, 8 + d);
                    }
                }
                mixed[2 * h] /= total;
                mixed[2 * h + 1] /= total;
            }
            for (int64_t o = 0; o < 4; o++) {
                double sum = GET(w[3], o);
                for (int64_t e = 0; e < 4; e++) {
                    sum += mixed[e] * GET(w[2], o, e);
                }
                op_expect_near("multi_head_attention", GET(run.out[0], i[0], i[1], o), sum);
            }
        } while (op_next_index(i, 2, q->shape));
        op_run_release(&run);
    }
}

static void test_rotary(void **state)
{
    (void)state;
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        struct op_run run;
        op_run(&run, "rotary_embedding",
               interleaved ? "x[2,3,8] cos[3,4] sin[3,4] interleaved=true"
                           : "x[2,3,8] cos[3,4] sin[3,4]");
        int64_t i[2] = {0};
        do {
            for (int64_t d = 0; d < 4; d++) {
                int64_t a = interleaved ? 2 * d : d, b = interleaved ? 2 * d + 1 : d + 4;
                double x = GET(run.in[0], i[0], i[1], a), y = GET(run.in[0], i[0], i[1], b);
                double c = GET(run.in[1], i[1], d), s = GET(run.in[2], i[1], d);
                op_expect_near("rotary", GET(run.out[0], i[0], i[1], a), x * c - y * s);
                op_expect_near("rotary", GET(run.out[0], i[0], i[1], b), y * c + x * s);
            }
        } while (op_next_index(i, 2, run.out[0].shape));
        op_run_release(&run);
    }
}

/* -Σ target·weight·log_softmax at position (n, l) of x [N, 5, 3], with the target as a
 * distribution. */
static double entropy(const struct op_run *run, int64_t n, int64_t l, const double *target,
                      bool weighted)
{
    double total = 0, loss = 0;
    for (int64_t c = 0; c < 5; c++) {
        total += exp(GET(run->in[0], n, c, l));
    }
    for (int64_t c = 0; c < 5; c++) {
        double weight = weighted ? GET(run->in[2], c) : 1;
        loss -= target[c] * weight * (GET(run->in[0], n, c, l) - log(total));
    }
    return loss;
}

static void test_cross_entropy(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool weighted;
        double smoothing;
        int64_t ignore;
        char reduction;
    } cases[] = {
        {"x[4,5,3] target:i64<5>[4,3]", false, 0, -100, 'm'},
        {"x[4,5,3] target:i32<5>[4,3] weight<0.1,2>[5]", true, 0, -100, 'm'},
        {"x[4,5,3] target:i64<5>[4,3] weight<0.1,2>[5] label_smoothing=0.2 ignore_index=2", true,
         0.2, 2, 'm'},
        {"x[4,5,3] target:i64<5>[4,3] label_smoothing=0.2 reduction=sum", false, 0.2, -100, 's'},
        {"x[4,5,3] target:i64<5>[4,3] ignore_index=1 reduction=none", false, 0, 1, 'n'},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        double sum = 0, weights = 0;
        op_run(&run, "cross_entropy", cases[n].text);
        int64_t i[2] = {0};
        do {
            int64_t class = (int64_t)op_at_index(&run.in[1], i);
            double target[5], loss = 0;
            for (int64_t c = 0; c < 5; c++) {
                target[c] = cases[n].smoothing / 5 + (c == class ? 1 - cases[n].smoothing : 0);
            }
            if (class != cases[n].ignore) {
                loss = entropy(&run, i[0], i[1], target, cases[n].weighted);
                weights += cases[n].weighted ? GET(run.in[2], class) : 1;
            }
            sum += loss;
            if (cases[n].reduction == 'n') {
                op_expect_near(cases[n].text, op_at_index(&run.out[0], i), loss);
            }
        } while (op_next_index(i, 2, run.in[1].shape));
        if (cases[n].reduction != 'n') {
            op_expect_near(cases[n].text, op_at_flat(&run.out[0], 0),
                           cases[n].reduction == 'm' ? sum / weights : sum);
        }
        op_run_release(&run);
    }
}

static void test_other_losses(void **state)
{
    (void)state;
    struct op_run run;
    op_run(&run, "cross_entropy", "x[2,5,3] target<0,1>[2,5,3] label_smoothing=0.1");
    double sum = 0;
    for (int64_t i = 0; i < 6; i++) {
        double target[5];
        for (int64_t c = 0; c < 5; c++) {
            target[c] = 0.9 * GET(run.in[1], i / 3, c, i % 3) + 0.02;
        }
        sum += entropy(&run, i / 3, i % 3, target, false);
    }
    op_expect_near("cross_entropy of a distribution", op_at_flat(&run.out[0], 0), sum / 6);
    op_run_release(&run);
    op_run(&run, "binary_cross_entropy_with_logits",
           "x<-9,9>[50] target<0,1>[50] weight<0.1,2>[50] pos_weight<0.5,2>[1] reduction=none");
    for (int64_t i = 0; i < 50; i++) {
        double p = sigmoid(GET(run.in[0], i)), t = GET(run.in[1], i);
        double loss = -GET(run.in[3], 0) * t * log(p) - (1 - t) * log1p(-p);
        op_expect_near("bce", GET(run.out[0], i), GET(run.in[2], i) * loss);
    }
    op_run_release(&run);
    const char *texts[] = {"x[40] target[40]", "x[40] target[40] reduction=sum"};
    for (int total = 0; total < 2; total++) {
        double square = 0, absolute = 0;
        op_run(&run, "mse_loss", texts[total]);
        for (int64_t i = 0; i < 40; i++) {
            square += pow(GET(run.in[0], i) - GET(run.in[1], i), 2);
            absolute += fabs(GET(run.in[0], i) - GET(run.in[1], i));
        }
        op_expect_near("mse", op_at_flat(&run.out[0], 0), total ? square : square / 40);
        op_run_release(&run);
        op_run(&run, "l1_loss", texts[total]);
        op_expect_near("l1", op_at_flat(&run.out[0], 0), total ? absolute : absolute / 40);
        op_run_release(&run);
    }
    op_run(&run, "smooth_l1_loss", "x[40] target[40] beta=0.5 reduction=none");
    for (int64_t i = 0; i < 40; i++) {
        double d = fabs(GET(run.in[0], i) - GET(run.in[1], i));
        op_expect_near("smooth_l1", GET(run.out[0], i), d < 0.5 ? d * d : d - 0.25);
    }
    op_run_release(&run);
}

static void test_topk_gating(void **state)
{
    (void)state;
    for (int renormalize = 0; renormalize < 2; renormalize++) {
        struct op_run run;
        op_run(&run, "topk_gating",
               renormalize ? "logits[6,8] k=3" : "logits[6,8] k=3 renormalize=false");
        for (int64_t n = 0; n < 6; n++) {
            double total = 0, chosen = 0;
            for (int64_t e = 0; e < 8; e++) {
                total += exp(GET(run.in[0], n, e));
            }
            for (int64_t i = 0; i < 3; i++) {
                chosen += exp(GET(run.in[0], n, (int64_t)GET(run.out[1], n, i)));
            }
            for (int64_t i = 0; i < 3; i++) {
                int64_t expert = (int64_t)GET(run.out[1], n, i), larger = 0;
                for (int64_t e = 0; e < 8; e++) {
                    larger += GET(run.in[0], n, e) > GET(run.in[0], n, expert);
                }
                assert_int_equal(larger, i);
                op_expect_near("gate", GET(run.out[0], n, i),
                               exp(GET(run.in[0], n, expert)) / (renormalize ? chosen : total));
            }
        }
        op_run_release(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_gated),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_multi_head_attention),
        cmocka_unit_test(test_rotary),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_other_losses),
        cmocka_unit_test(test_topk_gating),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
