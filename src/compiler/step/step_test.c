/* Whole steps, run in float64, beside PyTorch's formulas written out: a net of one layer, whose
 * gradients are by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "compiler/step/step_test_util.h"

#include <cmocka.h> /* last: it defines fail as a macro */

enum { ROWS = STEP_DIM, IN = 3, OUT = 2, WEIGHTS = OUT * IN, PARAMS = WEIGHTS + OUT };

/* y = tanh(x wᵀ + b) */
#define NET                                                    \
    "graph \"net\"\n"                                          \
    "dim B 1..64 multiple 1\n"                                 \
    "%1 = input \"x\" : f64[B, 3]\n"                           \
    "%2 = param \"w\" : f64[2, 3]\n"                           \
    "%3 = param \"b\" : f64[2]\n"                              \
    "%4 = contract %1, %2 {batch 0, contract 1} : f64[B, 2]\n" \
    "%5 = broadcast %3 {axes [1]} : f64[B, 2]\n"               \
    "%6 = add %4, %5 : f64[B, 2]\n"                            \
    "%7 = tanh %6 : f64[B, 2]\n"                               \
    "output \"y\" %7\n"

static const double X[ROWS * IN] = {0.5, -1.25, 2, 0.75, 0.125, -0.5, 1, 1.5, -2, -0.25, 0.375, 3};
static const double TARGET[ROWS * OUT] = {0.5, -0.5, 1, 0.25, -0.75, 0, 0.125, 0.625};
static const double BEGIN[PARAMS] = {0.3, -0.2, 0.1, 0.7, 0.4, -0.6, 0.05, -0.15};

/* Of the mean of (y - target)², by hand. */
static double gradient(const double *p, double *g)
{
    double loss = 0;
    memset(g, 0, PARAMS * sizeof *g);
    for (int r = 0; r < ROWS; r++) {
        for (int o = 0; o < OUT; o++) {
            double z = p[WEIGHTS + o];
            for (int i = 0; i < IN; i++)
                z += X[r * IN + i] * p[o * IN + i];
            double y = tanh(z), d = y - TARGET[r * OUT + o];
            double dz = 2 * d / (ROWS * OUT) * (1 - y * y);
            loss += d * d / (ROWS * OUT);
            g[WEIGHTS + o] += dz;
            for (int i = 0; i < IN; i++)
                g[o * IN + i] += dz * X[r * IN + i];
        }
    }
    return loss;
}

enum kind { SGD, ADAM, ADAMW, LION, RMSPROP };

/* A request and what it says, and the memory of the optimizer by the formulas. */
struct setting {
    const char *text;
    enum kind kind;
    double lr, momentum, decay, beta1, beta2, eps;
    bool nesterov;
    double clip;
    double m[PARAMS], v[PARAMS]; /* or momentum buffer, square average */
};

/* torch.optim.SGD, _single_tensor_sgd */
static double sgd(struct setting *s, int i, double p, double g)
{
    g += s->decay * p;
    if (s->momentum != 0) {
        s->m[i] = s->momentum * s->m[i] + g; /* zeros at first: then it is g */
        g = s->nesterov ? g + s->momentum * s->m[i] : s->m[i];
    }
    return p - s->lr * g;
}

/* torch.optim.Adam and AdamW, _single_tensor_adam */
static double adam(struct setting *s, int i, double p, double g, int step)
{
    if (s->kind == ADAMW)
        p *= 1 - s->lr * s->decay;
    else
        g += s->decay * p;
    s->m[i] = s->beta1 * s->m[i] + (1 - s->beta1) * g;
    s->v[i] = s->beta2 * s->v[i] + (1 - s->beta2) * g * g;
    double bias1 = 1 - pow(s->beta1, step), bias2 = 1 - pow(s->beta2, step);
    return p - s->lr / bias1 * (s->m[i] / (sqrt(s->v[i]) / sqrt(bias2) + s->eps));
}

/* Chen et al., Symbolic Discovery of Optimization Algorithms (arXiv:2302.06675), algorithm 2 */
static double lion(struct setting *s, int i, double p, double g)
{
    double c = s->beta1 * s->m[i] + (1 - s->beta1) * g;
    double sign = c > 0 ? 1 : c < 0 ? -1 : 0;
    s->m[i] = s->beta2 * s->m[i] + (1 - s->beta2) * g;
    return p - s->lr * (sign + s->decay * p);
}

/* torch.optim.RMSprop, _single_tensor_rmsprop; beta1 is its alpha */
static double rmsprop(struct setting *s, int i, double p, double g)
{
    g += s->decay * p;
    s->v[i] = s->beta1 * s->v[i] + (1 - s->beta1) * g * g;
    double move = g / (sqrt(s->v[i]) + s->eps);
    if (s->momentum != 0)
        move = s->m[i] = s->momentum * s->m[i] + move;
    return p - s->lr * move;
}

/* torch.nn.utils.clip_grad_norm_ */
static double clip(const struct setting *s, double *g)
{
    double norm = 0;
    for (int i = 0; i < PARAMS; i++)
        norm += g[i] * g[i];
    norm = sqrt(norm);
    double factor = s->clip / (norm + 1e-6);
    for (int i = 0; s->clip > 0 && factor < 1 && i < PARAMS; i++)
        g[i] *= factor;
    return norm;
}

static void near(const char *text, const char *what, double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-9 * (1 + fabs(expected))))
        fail_msg("%s: %s is %.17g, expected %.17g", text, what, found, expected);
}

static void begin(struct stepped *s, const char *text)
{
    stepped_begin(s, NET, text, "mse_loss", NULL);
    stepped_set(s, "x", X);
    stepped_set(s, "target", TARGET);
    stepped_set(s, "w", BEGIN);
    stepped_set(s, "b", BEGIN + WEIGHTS);
}

/* Elements of w, then of b, or of states of both. */
static double param_at(struct stepped *s, const char *w, const char *b, int i)
{
    return i < WEIGHTS ? stepped_get(s, w, i) : stepped_get(s, b, i - WEIGHTS);
}

static void follow(struct setting *setting, int steps)
{
    struct stepped s;
    double p[PARAMS], g[PARAMS];
    memcpy(p, BEGIN, sizeof p);
    begin(&s, setting->text);
    stepped_set(&s, "lr", &setting->lr);
    for (int step = 1; step <= steps; step++) {
        double loss = gradient(p, g), norm = clip(setting, g);
        for (int i = 0; i < PARAMS; i++)
            switch (setting->kind) {
            case SGD: p[i] = sgd(setting, i, p[i], g[i]); break;
            case ADAM:
            case ADAMW: p[i] = adam(setting, i, p[i], g[i], step); break;
            case LION: p[i] = lion(setting, i, p[i], g[i]); break;
            case RMSPROP: p[i] = rmsprop(setting, i, p[i], g[i]); break;
            }
        stepped_advance(&s);
        near(setting->text, "the loss", stepped_output(&s, "loss"), loss);
        if (setting->clip > 0)
            near(setting->text, "the norm", stepped_output(&s, "grad_norm"), norm);
        assert_true(stepped_get(&s, "step", 0) == step);
        for (int i = 0; i < PARAMS; i++) {
            near(setting->text, "a param", param_at(&s, "w", "b", i), p[i]);
            if (stepped_has(&s, "m.w"))
                near(setting->text, "m", param_at(&s, "m.w", "m.b", i), setting->m[i]);
            if (stepped_has(&s, "buf.w"))
                near(setting->text, "buf", param_at(&s, "buf.w", "buf.b", i), setting->m[i]);
            if (stepped_has(&s, "v.w"))
                near(setting->text, "v", param_at(&s, "v.w", "v.b", i), setting->v[i]);
        }
    }
    stepped_release(&s);
}

static void optimizers_follow_the_formulas(void **state)
{
    (void)state;
    struct setting settings[] = {
        {"sgd", SGD, .lr = 0.25},
        {"sgd()", SGD, .lr = 0.25},
        {"sgd(weight_decay=0.125)", SGD, .lr = 0.25, .decay = 0.125},
        {"sgd(momentum=0.75)", SGD, .lr = 0.25, .momentum = 0.75},
        {"sgd(momentum=0.75, nesterov=true)", SGD, .lr = 0.25, .momentum = 0.75, .nesterov = true},
        {"sgd(momentum=1, weight_decay=0.5)", SGD, .lr = 0.25, .momentum = 1, .decay = 0.5},
        {"adam", ADAM, .lr = 0.125, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        {"adam(beta1=0.5,beta2=0.75,eps=0.25,weight_decay=0.5)", ADAM, .lr = 0.125, .beta1 = 0.5,
         .beta2 = 0.75, .eps = 0.25, .decay = 0.5},
        {"adam(beta1=0, beta2=0)", ADAM, .lr = 0.125, .eps = 1e-8},
        {"adamw", ADAMW, .lr = 0.125, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .decay = 0.01},
        {"adamw(beta1=0.5, beta2=0.75, eps=0.25, weight_decay=0.5)", ADAMW, .lr = 0.125,
         .beta1 = 0.5, .beta2 = 0.75, .eps = 0.25, .decay = 0.5},
        {"adamw(weight_decay=0)", ADAMW, .lr = 0.125, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
        {"lion", LION, .lr = 0.0625, .beta1 = 0.9, .beta2 = 0.99},
        {"lion(beta1=0.25, beta2=0.5, weight_decay=0.25)", LION, .lr = 0.0625, .beta1 = 0.25,
         .beta2 = 0.5, .decay = 0.25},
        {"rmsprop", RMSPROP, .lr = 0.0625, .beta1 = 0.99, .eps = 1e-8},
        {"rmsprop(alpha=0.5, eps=0.25, momentum=0.75, weight_decay=0.25)", RMSPROP, .lr = 0.0625,
         .beta1 = 0.5, .eps = 0.25, .momentum = 0.75, .decay = 0.25},
        {"sgd(clip_norm=0.125)", SGD, .lr = 0.25, .clip = 0.125},
        {"sgd(clip_norm=1000)", SGD, .lr = 0.25, .clip = 1000},
        {"adamw(clip_norm=0.25, weight_decay=0.5)", ADAMW, .lr = 0.125, .beta1 = 0.9,
         .beta2 = 0.999, .eps = 1e-8, .decay = 0.5, .clip = 0.25},
        /* a loss scale changes nothing */
        {"sgd(momentum=0.75, loss_scale=1024)", SGD, .lr = 0.25, .momentum = 0.75},
        {"sgd(momentum=0.75, loss_scale=0.375, clip_norm=0.125)", SGD, .lr = 0.25, .momentum = 0.75,
         .clip = 0.125},
        {"adam(loss_scale=dynamic, clip_norm=0.25)", ADAM, .lr = 0.125, .beta1 = 0.9,
         .beta2 = 0.999, .eps = 1e-8, .clip = 0.25},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        follow(&settings[i], 5);
}

/* The factor of lr in step t, from what a step moves beside what it moves at a constant rate. */
static double factor_at(const char *text, int64_t t)
{
    struct stepped s;
    double g[PARAMS];
    gradient(BEGIN, g);
    begin(&s, text);
    stepped_set(&s, "lr", &(double){0.5});
    stepped_set(&s, "step", &(double){(double)(t - 1)});
    stepped_advance(&s);
    double factor = (BEGIN[0] - stepped_get(&s, "w", 0)) / (0.5 * g[0]);
    assert_true(stepped_get(&s, "step", 0) == (double)t);
    assert_true(stepped_get(&s, "lr", 0) == 0.5);
    stepped_release(&s);
    return factor;
}

static void schedules_at_their_corners(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t t;
        double factor;
    } cases[] = {
        {"sgd(schedule=constant)", 1, 1},
        {"sgd(warmup=0)", 1, 1},
        {"sgd(warmup=1)", 1, 1},
        {"sgd(warmup=1)", 9, 1},
        {"sgd(warmup=4)", 1, 0.25},
        {"sgd(warmup=4)", 3, 0.75},
        {"sgd(warmup=4)", 4, 1},
        {"sgd(warmup=4, schedule=constant)", 5, 1},
        {"sgd(schedule=linear, steps=4)", 1, 1},
        {"sgd(schedule=linear, steps=4)", 3, 0.5},
        {"sgd(schedule=linear, steps=4)", 4, 0.25},
        {"sgd(schedule=linear, steps=4)", 5, 0},
        {"sgd(schedule=linear, steps=4)", 1000000000000, 0},
        {"sgd(schedule=linear, steps=1)", 1, 1},
        {"sgd(schedule=linear, steps=2, warmup=1)", 1, 1},
        {"sgd(schedule=linear, steps=2, warmup=1)", 2, 1},
        {"sgd(schedule=linear, steps=4, floor=0.5)", 2, 0.875},
        {"sgd(schedule=linear, steps=4, floor=0.5)", 4, 0.625},
        {"sgd(schedule=linear, steps=4, floor=0.5)", 40, 0.5},
        {"sgd(schedule=linear, steps=4, floor=1)", 3, 1},
        {"sgd(schedule=cosine, steps=4)", 1, 1},
        {"sgd(schedule=cosine, steps=4)", 2, 0.85355339059327373},
        {"sgd(schedule=cosine, steps=4)", 3, 0.5},
        {"sgd(schedule=cosine, steps=4)", 4, 0.14644660940672627},
        {"sgd(schedule=cosine, steps=4)", 5, 0},
        {"sgd(schedule=cosine, steps=6, warmup=2, floor=0.25)", 1, 0.5},
        {"sgd(schedule=cosine, steps=6, warmup=2, floor=0.25)", 2, 1},
        {"sgd(schedule=cosine, steps=6, warmup=2, floor=0.25)", 4, 0.89016504294495524},
        {"sgd(schedule=cosine, steps=6, warmup=2, floor=0.25)", 6, 0.3598349570550447},
        {"sgd(schedule=cosine, steps=6, warmup=2, floor=0.25)", 7, 0.25},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        near(cases[i].text, "the factor", factor_at(cases[i].text, cases[i].t), cases[i].factor);
}

/* All inputs but "scale" and "good" are as they were. */
static void must_be_as_before(struct stepped *s, const struct interp_tensor *before)
{
    for (uint32_t i = 0; i < s->graph.inputs.count; i++) {
        const char *name = graph_node(&s->graph, s->graph.inputs.items[i])->attrs->name;
        if (strcmp(name, "scale") != 0 && strcmp(name, "good") != 0)
            assert_memory_equal(s->inputs[i].cells, before[i].cells,
                                (size_t)before[i].count * sizeof(union cell));
    }
}

static void a_dynamic_scale_skips_what_is_not_finite(void **state)
{
    (void)state;
    static const double bad[] = {(double)INFINITY, -(double)INFINITY, (double)NAN};
    static const struct {
        double scale, good, next; /* next: of the scale, after a bad step */
    } cases[] = {{0, 0, -1}, {0, 1999, -1}, {-15, 7, -16}, {-16, 7, -16}, {3, 1, 2}};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct stepped s;
            begin(&s,
                  i % 2 ? "adamw(loss_scale=dynamic, clip_norm=1)" : "adamw(loss_scale=dynamic)");
            stepped_set(&s, "lr", &(double){0.5});
            stepped_advance(&s); /* so that states are not zero */
            stepped_set(&s, "scale", &cases[i].scale);
            stepped_set(&s, "good", &cases[i].good);
            double target[ROWS * OUT];
            memcpy(target, TARGET, sizeof target);
            target[3] = bad[k];
            stepped_set(&s, "target", target);
            struct interp_tensor *before =
                ARENA_ARRAY(&s.arena, struct interp_tensor, s.graph.inputs.count);
            for (uint32_t t = 0; t < s.graph.inputs.count; t++) {
                before[t] = s.inputs[t];
                before[t].cells = arena_memdup(&s.arena, s.inputs[t].cells,
                                               (size_t)s.inputs[t].count * sizeof(union cell));
            }
            stepped_advance(&s);
            must_be_as_before(&s, before);
            assert_true(stepped_get(&s, "scale", 0) == cases[i].next);
            assert_true(stepped_get(&s, "good", 0) == 0);
            stepped_set(&s, "target", TARGET);
            stepped_advance(&s); /* the next good one is one */
            assert_true(stepped_get(&s, "step", 0) == 2);
            assert_true(stepped_get(&s, "good", 0) == 1);
            stepped_release(&s);
        }
    }
}

static void a_dynamic_scale_doubles_after_2000_good_steps(void **state)
{
    (void)state;
    struct stepped s;
    begin(&s, "sgd(loss_scale=dynamic)");
    stepped_set(&s, "good", &(double){1998});
    static const double scales[] = {0, 1, 1}, goods[] = {1999, 0, 1};
    for (int i = 0; i < 3; i++) {
        stepped_advance(&s);
        assert_true(stepped_get(&s, "scale", 0) == scales[i]);
        assert_true(stepped_get(&s, "good", 0) == goods[i]);
    }
    stepped_release(&s);
}

/* The scale is one of the cotangent: in f16 it saves gradients that would be zero. */
static void scales_keep_small_gradients(void **state)
{
    (void)state;
    static const char block[] = "graph \"g\"\n"
                                "%1 = input \"x\" : f16[2]\n"
                                "%2 = param \"w\" : f16[2]\n"
                                "%3 = mul %1, %2 : f16[2]\n"
                                "%4 = const 3.0517578125e-05 : f16[]\n"
                                "%5 = broadcast %4 {axes []} : f16[2]\n"
                                "%6 = mul %3, %5 : f16[2]\n"
                                "%7 = reduce_sum %6 {axes [0]} : f16[]\n"
                                "output \"loss\" %7\n";
    static const char *const texts[] = {"sgd", "sgd(loss_scale=1024)"};
    for (int i = 0; i < 2; i++) {
        struct stepped s;
        stepped_begin(&s, block, texts[i], NULL, NULL);
        s.mode = INTERP_NATIVE;
        /* 2^-15 x is 2^-27, which is 0 in f16 */
        stepped_set(&s, "x", (double[]){0x1p-12, 0x1p-12});
        stepped_set(&s, "w", (double[]){1, 2});
        stepped_set(&s, "lr", &(double){8});
        stepped_advance(&s);
        assert_true(stepped_get(&s, "w", 0) + stepped_get(&s, "low.w", 0) ==
                    (i == 0 ? 1 : 1 - 0x1p-24));
        stepped_release(&s);
    }
}

/* param + low.W has the same bits as a param in f32, where gradients are the same. */
static void narrow_params_have_a_master_in_f32(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"bf16", "f16"};
    static const char *const texts[] = {"sgd(momentum=0.9)", "adamw(weight_decay=0.1)", "lion",
                                        "rmsprop", "adam(clip_norm=0.5)"};
    static const double x[] = {0.5, -1.25, 2, 0.75}, w[] = {1, -0.5, 0.375, 3};
    for (int d = 0; d < 2; d++) {
        for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
            struct stepped s[2];
            for (int i = 0; i < 2; i++) { /* narrow, f32 */
                char block[512];
                const char *dtype = i == 0 ? dtypes[d] : "f32";
                snprintf(block, sizeof block,
                         "graph \"g\"\n%%1 = input \"x\" : f32[4]\n%%2 = param \"w\" : %s[4]\n"
                         "%%3 = cast %%2 : f32[4]\n%%4 = mul %%1, %%3 : f32[4]\n"
                         "%%5 = reduce_sum %%4 {axes [0]} : f32[]\noutput \"loss\" %%5\n",
                         dtype);
                if (i == 1) /* the same without a cast */
                    snprintf(block, sizeof block,
                             "graph \"g\"\n%%1 = input \"x\" : f32[4]\n%%2 = param \"w\" : f32[4]\n"
                             "%%3 = mul %%1, %%2 : f32[4]\n"
                             "%%4 = reduce_sum %%3 {axes [0]} : f32[]\noutput \"loss\" %%4\n");
                stepped_begin(&s[i], block, texts[k], "loss", NULL);
                s[i].mode = INTERP_NATIVE;
                stepped_set(&s[i], "x", x);
                stepped_set(&s[i], "w", w);
                stepped_set(&s[i], "lr", &(double){(double)0.01f});
                assert_true(stepped_has(&s[i], "low.w") == (i == 0));
            }
            bool low = false;
            for (int step = 0; step < 5; step++) {
                stepped_advance(&s[0]);
                stepped_advance(&s[1]);
                for (int i = 0; i < 4; i++) {
                    double master = stepped_get(&s[0], "w", i) + stepped_get(&s[0], "low.w", i);
                    if (master != stepped_get(&s[1], "w", i))
                        fail_msg("%s %s: %.17g, in f32 %.17g", dtypes[d], texts[k], master,
                                 stepped_get(&s[1], "w", i));
                    low |= stepped_get(&s[0], "low.w", i) != 0;
                }
            }
            assert_true(low);
            stepped_release(&s[0]);
            stepped_release(&s[1]);
        }
    }
}

static void only_what_is_asked_for_is_trained(void **state)
{
    (void)state;
    struct stepped s;
    double g[PARAMS];
    gradient(BEGIN, g);
    stepped_begin(&s, NET, "adam(clip_norm=100)", "mse_loss", "b");
    stepped_set(&s, "x", X);
    stepped_set(&s, "target", TARGET);
    stepped_set(&s, "w", BEGIN);
    stepped_set(&s, "b", BEGIN + WEIGHTS);
    stepped_set(&s, "lr", &(double){0.5});
    assert_true(stepped_has(&s, "w") && stepped_has(&s, "m.b") && !stepped_has(&s, "m.w"));
    stepped_advance(&s);
    near("b", "the norm", stepped_output(&s, "grad_norm"), hypot(g[WEIGHTS], g[WEIGHTS + 1]));
    for (int i = 0; i < WEIGHTS; i++)
        assert_true(stepped_get(&s, "w", i) == BEGIN[i]);
    assert_true(stepped_get(&s, "b", 0) != BEGIN[WEIGHTS]);
    stepped_release(&s);
    /* an input can be trained: a prompt, an adversarial example */
    stepped_begin(&s, NET, "sgd", "mse_loss", "x");
    stepped_set(&s, "target", TARGET);
    stepped_set(&s, "w", BEGIN);
    stepped_set(&s, "lr", &(double){0.5});
    stepped_advance(&s);
    double expected = 0;
    for (int o = 0; o < OUT; o++)
        expected += 0.5 * 2 * TARGET[o] / (ROWS * OUT) * BEGIN[(ptrdiff_t)o * IN];
    near("x", "x", stepped_get(&s, "x", 0), expected);
    stepped_release(&s);
}

/* A running mean of the block goes on in its step; a bad step leaves it. */
static void updates_of_the_block_stay(void **state)
{
    (void)state;
    static const char block[] =
        "graph \"g\"\n%1 = input \"x\" : f64[2]\n%2 = input \"mean\" : f64[2]\n"
        "%3 = param \"w\" : f64[2]\n%4 = sub %1, %2 : f64[2]\n%5 = mul %4, %3 : f64[2]\n"
        "%6 = reduce_sum %5 {axes [0]} : f64[]\n%7 = const 0.5 : f64[]\n"
        "%8 = broadcast %7 {axes []} : f64[2]\n%9 = mul %4, %8 : f64[2]\n"
        "%10 = add %2, %9 : f64[2]\noutput \"mean2\" %10\noutput \"loss\" %6\n"
        "update \"mean\" by \"mean2\"\n";
    static const char *const texts[] = {"sgd", "sgd(loss_scale=dynamic)"};
    for (int i = 0; i < 2; i++) {
        struct stepped s;
        struct error err = {0};
        stepped_begin(&s, block, texts[i], NULL, NULL);
        stepped_set(&s, "x", (double[]){4, 8});
        stepped_set(&s, "mean", (double[]){2, 4});
        stepped_set(&s, "w", (double[]){1, 1});
        stepped_set(&s, "lr", &(double){0.5});
        stepped_advance(&s);
        assert_true(stepped_get(&s, "mean", 0) == 3 && stepped_get(&s, "mean", 1) == 6);
        assert_true(stepped_output(&s, "mean2") == 3);
        assert_true(stepped_get(&s, "w", 0) == 0 && stepped_get(&s, "w", 1) == -1);
        stepped_set(&s, "x", (double[]){4, (double)INFINITY});
        stepped_advance(&s);
        assert_true(i == 0 ? isinf(stepped_get(&s, "mean", 1)) : stepped_get(&s, "mean", 1) == 6);
        stepped_release(&s);
        /* both would write it */
        assert_false(stepped_try(&s, block, texts[i], NULL, "mean", &err));
        assert_int_equal(err.code, ERR_BLUEPRINT);
        assert_non_null(strstr(err.message, "mean"));
        stepped_release(&s);
    }
}

/* What the loss does not depend on stays as it is, without a state or an update. */
static void params_that_the_loss_does_not_need(void **state)
{
    (void)state;
    struct stepped s;
    stepped_begin(&s,
                  "graph \"g\"\n%1 = param \"w\" : f64[]\n%2 = param \"v\" : f64[]\n"
                  "output \"loss\" %1\noutput \"y\" %2\n",
                  "sgd(weight_decay=0.5)", NULL, NULL);
    stepped_set(&s, "w", &(double){1});
    stepped_set(&s, "v", &(double){2});
    stepped_set(&s, "lr", &(double){0.5});
    stepped_advance(&s);
    assert_true(stepped_get(&s, "w", 0) == 1 - 0.5 * (1 + 0.5));
    assert_true(stepped_get(&s, "v", 0) == 2);
    assert_int_equal(s.graph.updates.count, 2); /* of w and step */
    stepped_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimizers_follow_the_formulas),
        cmocka_unit_test(schedules_at_their_corners),
        cmocka_unit_test(a_dynamic_scale_skips_what_is_not_finite),
        cmocka_unit_test(a_dynamic_scale_doubles_after_2000_good_steps),
        cmocka_unit_test(scales_keep_small_gradients),
        cmocka_unit_test(narrow_params_have_a_master_in_f32),
        cmocka_unit_test(only_what_is_asked_for_is_trained),
        cmocka_unit_test(updates_of_the_block_stay),
        cmocka_unit_test(params_that_the_loss_does_not_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
