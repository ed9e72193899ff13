/* Convolution, pooling and resizing compared with direct loops from their definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "compiler/ops/ops_harness_priv.h"

#include <cmocka.h> /* last: it defines fail as a macro */

struct conv_case {
    const char *text;
    int64_t stride[2], low[2], dilation[2], groups;
    int64_t out[2];
};

static void check_conv2d(const struct conv_case *c)
{
    struct op_run run;
    op_run(&run, "conv2d", c->text);
    const struct interp_tensor *x = &run.in[0], *w = &run.in[1];
    int64_t outputs = w->shape[0], inputs = w->shape[1];
    op_expect_shape(&run.out[0], 4, (int64_t[]){x->shape[0], outputs, c->out[0], c->out[1]});
    int64_t i[4] = {0};
    do {
        double sum = run.example.operand_count > 2 ? GET(run.in[2], i[1]) : 0;
        int64_t first = i[1] / (outputs / c->groups) * inputs, k[3] = {0};
        do {
            int64_t at[4] = {i[0], first + k[0],
                             i[2] * c->stride[0] - c->low[0] + k[1] * c->dilation[0],
                             i[3] * c->stride[1] - c->low[1] + k[2] * c->dilation[1]};
            sum += op_at_index(x, at) * GET(*w, i[1], k[0], k[1], k[2]);
        } while (op_next_index(k, 3, w->shape + 1));
        op_expect_near(c->text, op_at_index(&run.out[0], i), sum);
    } while (op_next_index(i, 4, run.out[0].shape));
    op_run_release(&run);
}

static void test_conv2d(void **state)
{
    (void)state;
    const struct conv_case cases[] = {
        {"x[2,3,5,6] w[4,3,3,2] b[4]", {1, 1}, {0, 0}, {1, 1}, 1, {3, 5}},
        {"x[2,4,9,8] w[6,2,3,2] b[6] stride=[2,1] padding=[1,2] dilation=[2,3] groups=2",
         {2, 1},
         {1, 2},
         {2, 3},
         2,
         {4, 9}},
        {"x[1,4,5,5] w[4,1,3,3] padding=1 groups=4 stride=2", {2, 2}, {1, 1}, {1, 1}, 4, {3, 3}},
        {"x[1,2,5,6] w[3,2,2,4] padding=same", {1, 1}, {0, 1}, {1, 1}, 1, {5, 6}},
        {"x[1,2,4,4] w[3,2,3,3] padding=[0,1,2,0]", {1, 1}, {0, 1}, {1, 1}, 1, {4, 3}},
        {"x[1,2,4,4] w[3,2,1,1] padding=valid stride=3", {3, 3}, {0, 0}, {1, 1}, 1, {2, 2}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_conv2d(&cases[i]);
    }
}

static void test_conv1d_unbatched_and_conv3d(void **state)
{
    (void)state;
    struct op_run run;
    op_run(&run, "conv1d", "x[2,7] w[3,2,3] stride=2");
    op_expect_shape(&run.out[0], 2, (int64_t[]){3, 3});
    for (int64_t o = 0; o < 3; o++) {
        for (int64_t i = 0; i < 3; i++) {
            double sum = 0;
            for (int64_t k = 0; k < 6; k++) {
                sum += GET(run.in[0], k / 3, 2 * i + k % 3) * GET(run.in[1], o, k / 3, k % 3);
            }
            op_expect_near("conv1d", GET(run.out[0], o, i), sum);
        }
    }
    op_run_release(&run);
    op_run(&run, "conv3d", "x[1,2,3,4,5] w[2,2,2,3,2] padding=1");
    int64_t i[5] = {0};
    do {
        double sum = 0;
        int64_t k[4] = {0};
        do {
            sum += GET(run.in[0], 0, k[0], i[2] + k[1] - 1, i[3] + k[2] - 1, i[4] + k[3] - 1) *
                   GET(run.in[1], i[1], k[0], k[1], k[2], k[3]);
        } while (op_next_index(k, 4, run.in[1].shape + 1));
        op_expect_near("conv3d", op_at_index(&run.out[0], i), sum);
    } while (op_next_index(i, 5, run.out[0].shape));
    op_expect_shape(&run.out[0], 5, (int64_t[]){1, 2, 4, 4, 6});
    op_run_release(&run);
}

/* By definition: every input element is added to the outputs that it contributes to. */
static void check_conv_transpose2d(const struct conv_case *c)
{
    struct op_run run;
    op_run(&run, "conv_transpose2d", c->text);
    const struct interp_tensor *x = &run.in[0], *w = &run.in[1], *y = &run.out[0];
    int64_t per_group = w->shape[1], group_inputs = w->shape[0] / c->groups;
    op_expect_shape(y, 4, (int64_t[]){x->shape[0], per_group * c->groups, c->out[0], c->out[1]});
    double *sum = ARENA_ARRAY(&run.arena, double, y->count);
    int64_t i[4] = {0};
    do {
        int64_t k[3] = {0};
        do {
            int64_t channel = i[1] / group_inputs * per_group + k[0];
            int64_t row = i[2] * c->stride[0] - c->low[0] + k[1] * c->dilation[0];
            int64_t column = i[3] * c->stride[1] - c->low[1] + k[2] * c->dilation[1];
            if (row >= 0 && row < c->out[0] && column >= 0 && column < c->out[1]) {
                sum[((i[0] * y->shape[1] + channel) * c->out[0] + row) * c->out[1] + column] +=
                    op_at_index(x, i) * GET(*w, i[1], k[0], k[1], k[2]);
            }
        } while (op_next_index(k, 3, w->shape + 1));
    } while (op_next_index(i, 4, x->shape));
    for (int64_t at = 0; at < y->count; at++) {
        int64_t channel = at / (c->out[0] * c->out[1]) % y->shape[1];
        double bias = run.example.operand_count > 2 ? GET(run.in[2], channel) : 0;
        op_expect_near(c->text, op_at_flat(y, at), sum[at] + bias);
    }
    op_run_release(&run);
}

static void test_conv_transpose2d(void **state)
{
    (void)state;
    const struct conv_case cases[] = {
        {"x[2,3,4,5] w[3,2,3,2] b[2]", {1, 1}, {0, 0}, {1, 1}, 1, {6, 6}},
        {"x[1,4,3,4] w[4,3,3,2] b[6] stride=[2,3] padding=1 output_padding=[1,2] groups=2 "
         "dilation=[2,1]",
         {2, 3},
         {1, 1},
         {2, 1},
         2,
         {8, 11}},
        {"x[1,2,5,6] w[2,3,1,2] stride=2 padding=[1,2]", {2, 2}, {1, 2}, {1, 1}, 1, {7, 8}},
        {"x[2,3,4,5] w[3,4,2,2] b[4] stride=2", {2, 2}, {0, 0}, {1, 1}, 1, {8, 10}},
        {"x[2,4,3,5] w[4,3,4,6] b[6] stride=[2,3] padding=1 groups=2",
         {2, 3},
         {1, 1},
         {1, 1},
         2,
         {6, 16}},
        {"x[1,2,3,4] w[2,3,4,3] stride=[2,1] padding=[0,1] output_padding=[1,0]",
         {2, 1},
         {0, 1},
         {1, 1},
         1,
         {9, 4}},
        {"x[2,4,3,4] w[4,3,3,3] b[6] stride=2 padding=1 output_padding=1 groups=2",
         {2, 2},
         {1, 1},
         {1, 1},
         2,
         {6, 8}},
        {"x[1,2,3,4] w[2,3,5,4] stride=3", {3, 3}, {0, 0}, {1, 1}, 1, {11, 13}},
        {"x[1,2,3,4] w[2,3,2,1] stride=[3,4] padding=[1,0]", {3, 4}, {1, 0}, {1, 1}, 1, {6, 13}},
        {"x[1,2,3,4] w[2,3,2,1] stride=5", {5, 5}, {0, 0}, {1, 1}, 1, {12, 16}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_conv_transpose2d(&cases[i]);
    }
}

struct pool_case {
    const char *op, *text;
    int64_t size, stride, pad, dilation, out;
    bool include_pad;
};

/* One axis by PyTorch's definition, with the divisor clipped to the padded input. */
static double pool_at(const struct pool_case *c, const struct interp_tensor *x, int64_t channel,
                      int64_t i, bool mean)
{
    int64_t n = x->shape[1], start = i * c->stride - c->pad, inside = 0;
    double sum = 0, max = -INFINITY;
    for (int64_t k = 0; k < c->size; k++) {
        int64_t at = start + k * c->dilation;
        if (at >= 0 && at < n) {
            double value = GET(*x, channel, at);
            sum += value;
            max = value > max ? value : max;
            inside++;
        }
    }
    int64_t end = start + c->size < n + c->pad ? start + c->size : n + c->pad;
    return mean ? sum / (double)(c->include_pad ? end - start : inside) : max;
}

static void test_pool1d(void **state)
{
    (void)state;
    const struct pool_case cases[] = {
        {"max_pool1d", "x[3,8] kernel_size=3", 3, 3, 0, 1, 2, true},
        {"max_pool1d", "x[3,8] kernel_size=3 ceil_mode=true", 3, 3, 0, 1, 3, true},
        {"max_pool1d", "x[3,7] kernel_size=3 stride=2 padding=1 dilation=2 ceil_mode=true", 3, 2, 1,
         2, 3, true},
        /* the third window would start after the data */
        {"max_pool1d", "x[3,6] kernel_size=2 stride=3 ceil_mode=true", 2, 3, 0, 1, 2, true},
        {"max_pool1d", "x[3,7] kernel_size=2 stride=3 ceil_mode=true", 2, 3, 0, 1, 3, true},
        {"max_pool1d", "x[3,2] kernel_size=5 padding=2 stride=1", 5, 1, 2, 1, 2, true},
        {"avg_pool1d", "x[3,8] kernel_size=3 stride=2", 3, 2, 0, 1, 3, true},
        {"avg_pool1d", "x[3,8] kernel_size=3 stride=2 padding=1", 3, 2, 1, 1, 4, true},
        {"avg_pool1d", "x[3,8] kernel_size=3 stride=2 padding=1 count_include_pad=false", 3, 2, 1,
         1, 4, false},
        {"avg_pool1d", "x[3,7] kernel_size=3 stride=3 padding=1 ceil_mode=true", 3, 3, 1, 1, 3,
         true},
        {"avg_pool1d", "x[3,8] kernel_size=4 stride=3 padding=1 ceil_mode=true", 4, 3, 1, 1, 3,
         true},
        {"avg_pool1d",
         "x[3,9] kernel_size=4 stride=3 padding=1 ceil_mode=true count_include_pad=false", 4, 3, 1,
         1, 4, false},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        const struct pool_case *c = &cases[n];
        struct op_run run;
        op_run(&run, c->op, c->text);
        op_expect_shape(&run.out[0], 2, (int64_t[]){3, c->out});
        for (int64_t channel = 0; channel < 3; channel++) {
            for (int64_t i = 0; i < c->out; i++) {
                double expected = pool_at(c, &run.in[0], channel, i, c->op[0] == 'a');
                op_expect_near(c->text, GET(run.out[0], channel, i), expected);
            }
        }
        op_run_release(&run);
    }
}

static void test_pool2d(void **state)
{
    (void)state;
    struct op_run run;
    op_run(&run, "avg_pool2d", "x[1,2,5,6] kernel_size=[2,3] stride=[2,1] divisor_override=5");
    op_expect_shape(&run.out[0], 4, (int64_t[]){1, 2, 2, 4});
    int64_t i[4] = {0};
    do {
        double sum = 0;
        for (int64_t k = 0; k < 6; k++) {
            sum += GET(run.in[0], 0, i[1], 2 * i[2] + k / 3, i[3] + k % 3);
        }
        op_expect_near("avg_pool2d", op_at_index(&run.out[0], i), sum / 5);
    } while (op_next_index(i, 4, run.out[0].shape));
    op_run_release(&run);
}

static void test_adaptive_pool(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{7, 3}, {12, 4}, {5, 1}, {3, 7}, {10, 10}, {64, 63}};
    for (size_t n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
        for (int mean = 0; mean < 2; mean++) {
            int64_t in = sizes[n][0], out = sizes[n][1];
            char text[64];
            struct op_run run;
            snprintf(text, sizeof text, "x[2,%lld] output_size=%lld", (long long)in,
                     (long long)out);
            op_run(&run, mean ? "adaptive_avg_pool1d" : "adaptive_max_pool1d", text);
            for (int64_t i = 0; i < out; i++) {
                int64_t from = i * in / out, to = ((i + 1) * in + out - 1) / out;
                double sum = 0, max = -INFINITY;
                for (int64_t k = from; k < to; k++) {
                    sum += GET(run.in[0], 1, k);
                    max = fmax(max, GET(run.in[0], 1, k));
                }
                op_expect_near(text, GET(run.out[0], 1, i), mean ? sum / (double)(to - from) : max);
            }
            op_run_release(&run);
        }
    }
}

static double source(double i, double in, double out, bool align_corners)
{
    double at =
        align_corners ? (out > 1 ? i * (in - 1) / (out - 1) : 0) : (i + 0.5) * in / out - 0.5;
    return at > 0 ? at : 0;
}

static double bilinear(const struct interp_tensor *x, int64_t channel, double row, double column)
{
    int64_t h = x->shape[2], w = x->shape[3], r = (int64_t)row, c = (int64_t)column;
    int64_t r1 = r + 1 < h ? r + 1 : h - 1, c1 = c + 1 < w ? c + 1 : w - 1;
    double u = row - (double)r, v = column - (double)c;
    return (1 - u) * ((1 - v) * GET(*x, 0, channel, r, c) + v * GET(*x, 0, channel, r, c1)) +
           u * ((1 - v) * GET(*x, 0, channel, r1, c) + v * GET(*x, 0, channel, r1, c1));
}

static void test_interpolate(void **state)
{
    (void)state;
    const struct {
        const char *text;
        double in[2], out[2]; /* the scale is in / out */
        bool align_corners, nearest;
        double offset; /* in nearest mode */
    } cases[] = {
        {"x[1,2,4,5] size=[7,3] mode=bilinear", {4, 5}, {7, 3}, false, false, 0},
        {"x[1,2,4,5] size=[7,3] mode=bilinear align_corners=true", {4, 5}, {7, 3}, true, false, 0},
        {"x[1,2,4,5] size=[1,9] mode=bilinear align_corners=true", {4, 5}, {1, 9}, true, false, 0},
        {"x[1,2,1,5] scale_factor=2 mode=bilinear", {1, 5}, {2, 10}, false, false, 0},
        {"x[1,2,5,5] scale_factor=1.5 mode=bilinear", {2, 2}, {3, 3}, false, false, 0},
        {"x[1,2,4,5] size=[7,3]", {4, 5}, {7, 3}, false, true, 0},
        {"x[1,2,4,5] size=[8,15]", {4, 5}, {8, 15}, false, true, 0},
        {"x[1,2,4,5] scale_factor=3 mode=nearest", {1, 1}, {3, 3}, false, true, 0},
        {"x[1,2,6,7] scale_factor=0.5 mode=nearest", {2, 2}, {1, 1}, false, true, 0},
        {"x[1,2,4,5] size=[7,3] mode=nearest-exact", {4, 5}, {7, 3}, false, true, 0.5},
    };
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct op_run run;
        op_run(&run, "interpolate", cases[n].text);
        int64_t i[4] = {0};
        do {
            double at[2];
            for (int d = 0; d < 2; d++) {
                double in = cases[n].in[d], out = cases[n].out[d], place = (double)i[2 + d];
                /* nudged, so that rounding cannot move exact quotients below a whole number */
                at[d] = cases[n].nearest ? floor((place + cases[n].offset) * in / out + 1e-9)
                                         : source(place, in, out, cases[n].align_corners);
            }
            op_expect_near(cases[n].text, op_at_index(&run.out[0], i),
                           bilinear(&run.in[0], i[1], at[0], at[1]));
        } while (op_next_index(i, 4, run.out[0].shape));
        op_run_release(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv2d),           cmocka_unit_test(test_conv1d_unbatched_and_conv3d),
        cmocka_unit_test(test_conv_transpose2d), cmocka_unit_test(test_pool1d),
        cmocka_unit_test(test_pool2d),           cmocka_unit_test(test_adaptive_pool),
        cmocka_unit_test(test_interpolate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
