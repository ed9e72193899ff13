/* Optimizers by definition beside PyTorch 2.15, in float64. */
#include "verify/optimizers.h"

#include <math.h>
#include <stdio.h>

#include "verify/test_util.h"

enum { ELEMENTS = 3, STEPS = 4 };

static const double W[ELEMENTS] = {0.75, -1.5, 0};
static const double G[STEPS][ELEMENTS] = {
    {0.5, -0.25, 1}, {-1, 0.125, 0}, {0.25, 2, -0.75}, {0, -0.5, 0.5}};

/* w and states after the steps with these gradients:
 *     o = torch.optim.SGD([w], lr=rate, …); for g in G: w.grad = g; o.step() */
static const struct by_torch {
    double rate;
    struct step_spec spec;
    double w[ELEMENTS], states[OPTIMIZER_STATES][ELEMENTS];
} BY_TORCH[] = {
    {0.25, {.optimizer = "sgd"}, {0.8125, -1.84375, -0.1875}, {{0}}},
    {0.25,
     {.optimizer = "sgd",
      .attrs = {{"momentum", 0.75}, {"nesterov", 1}, {"weight_decay", 0.125}},
      .attr_count = 3},
     {0.6951785264536738, -1.879922403022647, -0.45436474680900574},
     {{0.07818381488323212, 0.43010714650154114, 0.23996400833129883}}},
    {0.25,
     {.optimizer = "sgd", .attrs = {{"momentum", 0.9}}, .attr_count = 1},
     {0.878875, -2.19475, -0.6285},
     {{-0.2205, 1.219, 0.554}}},
    {0.125,
     {.optimizer = "adam",
      .attrs = {{"beta1", 0.8}, {"beta2", 0.95}, {"eps", 0.25}, {"weight_decay", 0.5}},
      .attr_count = 4},
     {0.5814535869084767, -1.2887574175650047, -0.1544689446795479},
     {{0.15738567423629274, -0.19277206055727694, 0.049289433016484946},
      {0.07382271879688954, 0.210985998825509, 0.08467951732784611}}},
    {0.125,
     {.optimizer = "adamw",
      .attrs = {{"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0.5}},
      .attr_count = 4},
     {0.5465961781686107, -1.1398462711492996, -0.2101284976518618},
     {{-0.02205, 0.1219, 0.0554},
      {0.001309689249750001, 0.004323906453062504, 0.0018089404990000017}}},
    {0.0625,
     {.optimizer = "rmsprop",
      .attrs = {{"alpha", 0.9}, {"eps", 0.125}, {"weight_decay", 0.25}, {"momentum", 0.5}},
      .attr_count = 4},
     {0.6089682072823603, -1.3546725716530907, -0.16436853279869346},
     {{0.11054425992130364, 0.3579770738595946, 0.15246044600799533},
      {0.5920815181530552, -0.3592846441627977, 0.3722370571233552}}},
    {0.0625,
     {.optimizer = "rmsprop", .attrs = {{"alpha", 0.99}, {"eps", 1e-8}}, .attr_count = 2},
     {0.5474059843150179, -1.623776591706863, -0.48200370525106706},
     {{0.012845497500000011, 0.042859577500000044, 0.017771740000000015}}},
};

static void near(const char *what, double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-13 * (1 + fabs(expected))))
        TEST_FAILED("%s: %.17g, expected %.17g", what, found, expected);
}

static void definitions_are_pytorchs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof BY_TORCH / sizeof *BY_TORCH; i++) {
        const struct by_torch *row = &BY_TORCH[i];
        const struct optimizer *optimizer = optimizer_find(row->spec.optimizer);
        assert_non_null(optimizer);
        for (int k = 0; k < ELEMENTS; k++) {
            struct optimized x = {W[k], {0, 0}};
            for (int t = 0; t < STEPS; t++)
                optimizer->apply(&(struct optimizing){&row->spec, row->rate, t + 1, false}, G[t][k],
                                 &x);
            near(row->spec.optimizer, x.w, row->w[k]);
            for (int n = 0; n < OPTIMIZER_STATES; n++)
                near(row->spec.optimizer, x.state[n], row->states[n][k]);
        }
    }
}

/* Algorithm 2 of the paper, by hand: c = 0.5·0.5 + 0.5·(-1) < 0, m = 0.75·0.5 + 0.25·(-1) */
static void lion_is_the_papers(void **state)
{
    (void)state;
    const struct step_spec spec = {
        .optimizer = "lion",
        .attrs = {{"beta1", 0.5}, {"beta2", 0.75}, {"weight_decay", 0.5}},
        .attr_count = 3};
    struct optimized x = {2, {0.5, 0}};
    optimizer_find("lion")->apply(&(struct optimizing){&spec, 0.25, 1, false}, -1, &x);
    assert_true(x.w == 2 - 0.25 * (-1 + 0.5 * 2));
    assert_true(x.state[0] == 0.125);
    x = (struct optimized){2, {0, 0}}; /* a sign of nothing is 0 */
    optimizer_find("lion")->apply(&(struct optimizing){&spec, 0.25, 1, false}, 0, &x);
    assert_true(x.w == 2 - 0.25 * 0.5 * 2);
}

/* What a step from zero states with a large rate says of its gradient. */
static void gradients_are_found_again(void **state)
{
    (void)state;
    static const double gradients[] = {1, -0.3, 1e-9, -2e5, 0};
    const struct step_spec lion = {
        .optimizer = "lion", .attrs = {{"beta1", 0.9}, {"beta2", 0.99}}, .attr_count = 2};
    for (size_t i = 0; i <= sizeof BY_TORCH / sizeof *BY_TORCH; i++) {
        bool last = i == sizeof BY_TORCH / sizeof *BY_TORCH;
        const struct step_spec *spec = last ? &lion : &BY_TORCH[i].spec;
        const struct optimizer *optimizer = optimizer_find(spec->optimizer);
        const struct optimizing o = {spec, 0x1p20, 1, false};
        for (size_t k = 0; k < sizeof gradients / sizeof *gradients; k++) {
            struct optimized x = {0.75, {0, 0}};
            optimizer->apply(&o, gradients[k], &x);
            double found = optimizer->gradient(&o, 0.75, &x);
            /* what weight_decay adds is taken away again, with its roundings */
            double decay = step_spec_attr(spec, "weight_decay");
            if (!(fabs(found - gradients[k]) <= 1e-14 * (fabs(gradients[k]) * 10 + decay) + 1e-16))
                TEST_FAILED("%s: %.17g, expected %.17g", spec->optimizer, found, gradients[k]);
        }
    }
}

/* torch.nn.utils.clip_grad_norm_([3, 4], 2) gives [1.199999760000048, 1.599999680000064]. */
static void clipping_is_pytorchs(void **state)
{
    (void)state;
    const struct step_spec spec = {.clip_norm = 2}, none = {.clip_norm = 0};
    near("clip", 3 * clip_factor(&spec, 5, false), 1.199999760000048);
    near("clip", 4 * clip_factor(&spec, 5, false), 1.599999680000064);
    assert_true(clip_factor(&spec, 1.5, false) == 1);
    assert_true(clip_factor(&none, 1e9, false) == 1);
}

/* docs/training.md, at its corners */
static void schedules_are_the_manuals(void **state)
{
    (void)state;
    const struct step_spec constant = {.schedule = "constant", .warmup = 4};
    const struct step_spec linear = {.schedule = "linear", .warmup = 4, .steps = 14, .floor = 0.25};
    const struct step_spec cosine = {.schedule = "cosine", .steps = 8};
    near("warm-up", schedule_factor(&constant, 1), 0.25);
    near("warm-up", schedule_factor(&constant, 4), 1);
    near("constant", schedule_factor(&constant, 1000), 1);
    near("linear", schedule_factor(&linear, 2), 0.5);
    near("linear", schedule_factor(&linear, 5), 1);
    near("linear", schedule_factor(&linear, 10), 0.25 + 0.75 * 0.5);
    near("linear", schedule_factor(&linear, 15), 0.25);
    near("linear", schedule_factor(&linear, 99), 0.25);
    near("cosine", schedule_factor(&cosine, 1), 1);
    near("cosine", schedule_factor(&cosine, 3), (1 + sqrt(0.5)) / 2);
    near("cosine", schedule_factor(&cosine, 9), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definitions_are_pytorchs),  cmocka_unit_test(lion_is_the_papers),
        cmocka_unit_test(gradients_are_found_again), cmocka_unit_test(clipping_is_pytorchs),
        cmocka_unit_test(schedules_are_the_manuals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
