/* When a loss explodes, and that everything is then as in the last snapshot. */
#include <math.h>

#include "base/rng.h"
#include "layer/slot_priv.h"
#include "runtime/test_util.h"
#include "urza/governor.h"

enum { COUNT = 10 };

struct training {
    float w[COUNT];
    double m[COUNT];
    int64_t step;
    int64_t shape[1];
    DLTensor tensors[3];
};

static void begin(struct training *t)
{
    *t = (struct training){.shape = {COUNT}};
    const DLTensor tensor = {.device = {.device_type = kDLCPU}, .ndim = 1, .shape = t->shape};
    for (int i = 0; i < 3; i++)
        t->tensors[i] = tensor;
    t->tensors[0].data = t->w;
    t->tensors[0].dtype = (DLDataType){kDLFloat, 32, 1};
    t->tensors[1].data = t->m;
    t->tensors[1].dtype = (DLDataType){kDLFloat, 64, 1};
    t->tensors[2].data = &t->step;
    t->tensors[2].ndim = 0;
    t->tensors[2].dtype = (DLDataType){kDLInt, 64, 1};
}

static urza_governor *open_with(struct training *t, uint32_t every)
{
    const urza_governor_options options = {t->tensors, 3, every};
    urza_governor *governor = NULL;
    urza_error err;
    must_work(urza_governor_open(&options, &governor, &err), &err);
    return governor;
}

static void step_on(struct training *t)
{
    t->step++;
    for (int i = 0; i < COUNT; i++) {
        t->w[i] += 0.5f;
        t->m[i] -= 0.25;
    }
}

static void must_be_step(const struct training *t, int64_t step)
{
    assert_int_equal(t->step, step);
    for (int i = 0; i < COUNT; i++)
        assert_true(t->w[i] == 0.5f * (float)step && t->m[i] == -0.25 * (double)step);
}

static void rolls_back(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    struct training t;
    begin(&t);
    urza_governor *governor = open_with(&t, 10);
    urza_governor_stats stats;
    for (int i = 0; i < 25; i++) {
        assert_int_equal(urza_governor_observe(governor, 1 + 0.1 * (i % 3)), 0);
        step_on(&t);
    }
    for (size_t i = 0; i < 3; i++) { /* at once, whatever came before */
        step_on(&t);
        assert_int_equal(urza_governor_observe(governor, bad[i]), 1);
        must_be_step(&t, 19); /* the 20th observation was of these weights */
    }
    /* A large loss, twice; the third time is enough. No snapshot is taken in between. */
    for (int i = 0; i < 12; i++)
        assert_int_equal(urza_governor_observe(governor, i < 10 ? 1.1 : 50), 0);
    step_on(&t);
    assert_int_equal(urza_governor_observe(governor, 50), 1);
    must_be_step(&t, 19);
    /* Twice, and then as before: nothing. */
    for (int i = 0; i < 30; i++)
        assert_int_equal(urza_governor_observe(governor, i % 3 == 0 ? 1.1 : 50), 0);
    urza_governor_stats_get(governor, &stats);
    assert_int_equal(stats.observed, 25 + 3 + 13 + 30);
    assert_int_equal(stats.rollbacks, 4);
    urza_governor_close(governor);
    assert_int_equal(urza_governor_observe(NULL, 1), 0);
    urza_governor_close(NULL);
}

/* A loss that falls, wanders, or is noisy explodes never. */
static void leaves_good_losses_alone(void **state)
{
    (void)state;
    uint64_t key = rng_key(4);
    for (int kind = 0; kind < 4; kind++) {
        struct detector d = {0};
        for (int i = 0; i < 100000; i++) {
            double noise = rng_normal(key, (uint64_t)i), p = i / 1e5;
            const double losses[] = {10 * exp(-20 * p) + 0.05 * fabs(noise), 1 + 0.3 * noise,
                                     exp(0.25 * noise), 3 + 2 * sin(40 * p) + 0.1 * noise};
            assert_false(detector_observe(&d, losses[kind]));
        }
    }
}

/* Both bounds count: 6σ where numbers are noisy, three times the mean where they are not. */
static void both_bounds(void **state)
{
    (void)state;
    static const struct {
        double noise, jump;
        bool explodes;
    } rows[] = {{0.001, 2.9, false}, {0.001, 3.1, true}, {0.9, 3.5, false}, {0.9, 8, true}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct detector d = {0};
        bool alarm = false;
        for (int i = 0; i < 200; i++)
            assert_false(detector_observe(&d, 1 + (i % 2 ? rows[r].noise : -rows[r].noise)));
        for (int i = 0; i < 3; i++)
            alarm |= detector_observe(&d, rows[r].jump);
        assert_int_equal(alarm, rows[r].explodes);
    }
}

/* Losses may be negative, and may rise for good: that is one explosion, not one for ever. */
static void levels(void **state)
{
    (void)state;
    static const struct {
        double before, after;
        int alarms;
    } rows[] = {{-10, -9.99, 0}, {-10, 5, 0}, {-10, 50, 1}, {0, 1e-3, 1}, {1, 40, 1}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        struct detector d = {0};
        int alarms = 0;
        for (int i = 0; i < 400; i++)
            alarms += detector_observe(&d, i < 100 ? rows[r].before : rows[r].after);
        assert_int_equal(alarms, rows[r].alarms);
    }
    struct detector d = {0};
    assert_true(detector_observe(&d, 1e200));
}

static void refuses(void **state)
{
    (void)state;
    struct training t;
    urza_governor *governor;
    urza_error err;
    int64_t strides[1] = {2};
    begin(&t);
    t.tensors[1].strides = strides;
    t.shape[0] = COUNT / 2;
    const urza_governor_options options = {t.tensors, 3, 0};
    must_give(urza_governor_open(&options, &governor, &err), ERR_INPUT, &err, "not dense");
    must_give(urza_governor_open(NULL, &governor, &err), ERR_USAGE, &err, "NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rolls_back), cmocka_unit_test(leaves_good_losses_alone),
        cmocka_unit_test(both_bounds), cmocka_unit_test(levels), cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
