/* Slots with compiled grafts: what calls give in each state, beside formulas written out. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "support/grafted.h"

enum { ROWS = 7, COUNT = ROWS * GRAFT_FEATURES };
static const char *const blends[] = {"residual", "lerp", "multiply", "gate"};

/* A row of the blend, and the loss Σ dy·y of all rows, in double. */
static void seed_row(const double *p[], const double *x, double *s)
{
    double t[GRAFT_HIDDEN];
    for (int i = 0; i < GRAFT_HIDDEN; i++) {
        t[i] = p[GRAFT_B1][i];
        for (int k = 0; k < GRAFT_FEATURES; k++)
            t[i] += p[GRAFT_W1][i * GRAFT_FEATURES + k] * x[k];
        t[i] = tanh(t[i]);
    }
    for (int i = 0; i < GRAFT_FEATURES; i++) {
        s[i] = p[GRAFT_B2][i];
        for (int k = 0; k < GRAFT_HIDDEN; k++)
            s[i] += p[GRAFT_W2][i * GRAFT_HIDDEN + k] * t[k];
    }
}

static double blend_value(int blend, double h, double s, double alpha, double gate)
{
    switch (blend) {
    case URZA_RESIDUAL: return h + alpha * s;
    case URZA_LERP: return (1 - alpha) * h + alpha * s;
    case URZA_MULTIPLY: return h * (1 + alpha * tanh(s - h));
    default: return h + alpha * gate * (s - h);
    }
}

struct reference {
    int blend;
    const double *p[PLACE_PARAMS_MOST];
    const double *alpha; /* by row */
    const double *dy;
};

static double value_of(const struct reference *r, const double *x, const double *h, double *y)
{
    double loss = 0;
    for (int row = 0; row < ROWS; row++) {
        const double *at = x + row * GRAFT_FEATURES;
        double s[GRAFT_FEATURES], z = 0;
        seed_row((const double **)r->p, at, s);
        if (r->blend == URZA_GATE) {
            z = r->p[GRAFT_GATE_B][0];
            for (int k = 0; k < GRAFT_FEATURES; k++)
                z += r->p[GRAFT_GATE_W][k] * at[k];
        }
        for (int k = 0; k < GRAFT_FEATURES; k++) {
            int i = row * GRAFT_FEATURES + k;
            double v = blend_value(r->blend, h[i], s[k], r->alpha[row], 1 / (1 + exp(-z)));
            loss += r->dy[i] * v;
            if (y)
                y[i] = v;
        }
    }
    return loss;
}

static void near(double got, double expected, double bound, const char *what, int64_t at)
{
    if (!(fabs(got - expected) <= bound * (1 + fabs(expected))))
        TEST_FAILED("%s[%lld]: %.17g, expected %.17g", what, (long long)at, got, expected);
}

/* All values as doubles, and where they are. */
struct doubles {
    double x[COUNT], h[COUNT], dy[COUNT], alpha[ROWS], p[PLACE_PARAMS_MOST][64];
};

static void read_all(const struct place *place, struct doubles *d)
{
    for (int i = 0; i < COUNT; i++) {
        d->x[i] = d->h[i] = place_get(&place->h, i);
        d->dy[i] = place_get(&place->dy, i);
    }
    for (uint32_t k = 0; k < place->params; k++)
        for (int64_t i = 0; i < place_count(&place->param[k]); i++)
            d->p[k][i] = place_get(&place->param[k], i);
}

/* Central differences of the loss by one number. */
static double slope(const struct reference *r, struct doubles *d, double *number)
{
    const double step = 1e-5, was = *number;
    *number = was + step;
    double up = value_of(r, d->x, d->h, NULL);
    *number = was - step;
    double down = value_of(r, d->x, d->h, NULL);
    *number = was;
    return (up - down) / (2 * step);
}

static void check_gradients(const struct place *place, const struct reference *r, struct doubles *d,
                            bool through, double boost)
{
    double bound = strcmp(place->dtype, "f64") == 0 ? 1e-7 : 1e-4;
    for (int i = 0; i < COUNT; i++) {
        double expected = slope(r, d, &d->h[i]) + (through ? slope(r, d, &d->x[i]) : 0);
        near(place_get(&place->dh, i), expected, bound, "dh", i);
    }
    for (uint32_t k = 0; k < place->params; k++)
        for (int64_t i = 0; i < place_count(&place->dparam[k]); i++)
            near(place_get(&place->dparam[k], i), boost * slope(r, d, &d->p[k][i]), bound * boost,
                 urza_param_info(place->module, k)->name, i);
}

static void check_step(struct place *place, urza_slot *slot, int blend, bool through, bool boost)
{
    double y[COUNT], alpha = urza_slot_alpha(slot), loss;
    struct doubles d;
    struct reference r = {.blend = blend, .alpha = d.alpha, .dy = d.dy};
    for (uint32_t k = 0; k < place->params; k++)
        r.p[k] = d.p[k];
    for (int i = 0; i < ROWS; i++) {
        place_set(&place->factors, i, i % 3 == 1 ? 0 : 1);
        d.alpha[i] = i % 3 == 1 ? 0 : alpha;
    }
    read_all(place, &d);
    place_clear(place);
    place_step(place, slot, 3, &place->factors);
    assert_false(place_is_host(place));
    loss = value_of(&r, d.x, d.h, y);
    assert_true(isfinite(loss));
    for (int i = 0; i < COUNT; i++) {
        near(place_get(&place->y, i), y[i], strcmp(place->dtype, "f64") == 0 ? 1e-13 : 1e-5, "y",
             i);
        if (i / GRAFT_FEATURES % 3 == 1)
            assert_true(place_get(&place->y, i) == place_get(&place->h, i));
    }
    check_gradients(place, &r, &d, through, boost && alpha > 0 ? fmin(1 / alpha, 10) : 1);
}

/* All blends and dtypes, from planting to FOSSILIZED. */
static void blends_are_their_formulas(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        int blend = i % 4;
        const char *dtype = i / 4 % 2 ? "f64" : "f32";
        bool more = i / 8; /* through and boost */
        urza_module *module = grafted_module(dtype, blends[blend], GRAFT_PLAIN, NULL);
        urza_slot *slot = place_slot((urza_slot_options){
            .blend = (urza_blend)blend, .through = more, .boost = more, .hold_ticks = 1});
        struct place place;
        place_init(&place, module, dtype, ROWS, 5);
        place_plant(slot, module);
        urza_unload(module);
        place_reach(&place, slot, URZA_BLENDING, 10);
        assert_true(urza_slot_alpha(slot) == 0);
        for (int k = 0; k < 3; k++) {
            urza_slot_tick(slot, NULL);
            near(urza_slot_alpha(slot), (k + 1) / 4.0, 1e-7, "alpha", k);
            check_step(&place, slot, blend, more, more);
        }
        place_reach(&place, slot, URZA_HOLDING, 10);
        assert_true(urza_slot_alpha(slot) == 1);
        check_step(&place, slot, blend, true, false);
        const double gain = 1;
        assert_int_equal(urza_slot_tick(slot, &(urza_metrics){.gain = &gain}), URZA_FOSSILIZED);
        check_step(&place, slot, blend, true, false);
        urza_slot_close(slot);
    }
}

/* At alpha 1 a lerp is what the seed gives, bit for bit: as a graft of it with h = 0 and alpha 1
 * as a residual. */
static void lerp_ends_at_the_seed(void **state)
{
    (void)state;
    urza_module *lerp = grafted_module("f32", "lerp", GRAFT_PLAIN, NULL);
    urza_module *residual = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    struct place place;
    urza_error err;
    float zeros[COUNT] = {0}, ones[ROWS], y[2][COUNT];
    int64_t shape[1] = {ROWS};
    place_init(&place, lerp, "f32", ROWS, 5);
    for (int i = 0; i < ROWS; i++)
        ones[i] = 1;
    for (int i = 0; i < 2; i++) {
        DLTensor inputs[3] = {place.h, place.h, place.h}, out = place.y;
        urza_tape *tape;
        if (i == 1)
            inputs[1].data = zeros;
        inputs[2] = (DLTensor){.data = ones,
                               .device = {.device_type = kDLCPU},
                               .ndim = 1,
                               .dtype = {kDLFloat, 32, 1},
                               .shape = shape};
        out.data = y[i];
        must(urza_forward_train(i == 0 ? lerp : residual, inputs, 3, place.param, place.params,
                                &out, 1, &tape, &err),
             &err);
        urza_tape_release(tape);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    urza_unload(lerp);
    urza_unload(residual);
}

/* Until it blends, y is h's memory, also where the seed gives NaN or infinity; dh is dy's. */
static void does_not_disturb_the_host(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, 1e38};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
        urza_slot *slot = place_slot((urza_slot_options){.faults_most = 1000});
        struct place place;
        double kept[COUNT];
        place_init(&place, module, "f32", ROWS, 5);
        memcpy(kept, place.h.data, sizeof kept);
        place_step(&place, slot, 0, NULL);
        assert_true(place_is_host(&place) && place.dh.data == place.dy.data);
        place_plant(slot, module);
        place_clear(&place);
        place_step(&place, slot, 1, NULL);
        assert_true(place_is_host(&place) && place.dh.data == place.dy.data);
        assert_true(place_get(&place.dparam[0], 0) == 0);
        assert_int_equal(urza_slot_tick(slot, NULL), URZA_TRAINING);
        place_clear(&place);
        for (int row = 0; row < ROWS; row++) /* learning goes on in rows that are measured */
            place_set(&place.factors, row, 0);
        place_step(&place, slot, 2, &place.factors);
        assert_true(place_is_host(&place) && place.dh.data == place.dy.data);
        assert_true(place_get(&place.dparam[0], 0) != 0);
        for (int64_t k = 0; k < place_count(&place.param[GRAFT_W2]); k++)
            place_set(&place.param[GRAFT_W2], k, bad[i]);
        for (uint64_t step = 3; step < 6; step++) {
            place_clear(&place);
            place_step(&place, slot, step, NULL);
            assert_true(place_is_host(&place) && place.dh.data == place.dy.data);
            assert_memory_equal(kept, place.h.data, sizeof kept);
            for (uint32_t p = 0; p < place.params; p++)
                for (int64_t k = 0; k < place_count(&place.dparam[p]); k++)
                    assert_true(isfinite(place_get(&place.dparam[p], k)));
        }
        urza_slot_close(slot);
        urza_unload(module);
    }
}

/* Whatever goes wrong while it blends, the call gives h, the event says why, three times are
 * enough, and what the host gives is not the seed's fault. */
static void faults(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "lerp", GRAFT_PLAIN, NULL);
    struct place place;
    place_init(&place, module, "f32", ROWS, 5);
    static const char *const words[] = {"values are not finite", "w2", "gradients are not finite"};
    for (int kind = 0; kind < 3; kind++) {
        urza_slot *slot = place_slot((urza_slot_options){.blend = URZA_LERP, .name = "faults"});
        place_plant(slot, module);
        place_reach(&place, slot, URZA_HOLDING, 20);
        double was = place_get(&place.param[GRAFT_W2], 3);
        place_set(&place.h, 4, (double)NAN);
        place_step(&place, slot, 0, NULL);
        place_set(&place.h, 4, 0.5);
        assert_true(place_is_host(&place));
        assert_int_equal(place_events(slot, URZA_EVENT_HOST, "forward"), 1);
        for (int i = 0; i < 3; i++) {
            if (kind == 0)
                place_set(&place.param[GRAFT_W2], 3, (double)INFINITY);
            if (kind == 1)
                place.param[GRAFT_W2].ndim = 1;
            if (kind == 2) /* dy itself is finite */
                for (int k = 0; k < COUNT; k++)
                    place_set(&place.dy, k, 3e38);
            place_clear(&place);
            place_step(&place, slot, 1, NULL);
            assert_true(place_is_host(&place) == (kind < 2));
            assert_true(place.dh.data == place.dy.data);
            for (uint32_t k = 0; k < place.params; k++)
                for (int64_t e = 0; e < place_count(&place.dparam[k]); e++)
                    assert_true(place_get(&place.dparam[k], e) == 0);
            assert_int_equal(place_events(slot, URZA_EVENT_FAULT, words[kind]), 1);
            assert_int_equal(urza_slot_tick(slot, NULL), i < 2 ? URZA_HOLDING : URZA_PRUNED);
            place_set(&place.param[GRAFT_W2], 3, was);
            place.param[GRAFT_W2].ndim = 2;
        }
        for (int k = 0; k < COUNT; k++)
            place_set(&place.dy, k, 0.25);
        place_clear(&place);
        place_step(&place, slot, 2, NULL);
        assert_true(place_is_host(&place));
        for (int i = 0; i < 7; i++)
            urza_slot_tick(slot, NULL);
        assert_int_equal(urza_slot_tick(slot, NULL), URZA_DORMANT);
        urza_slot_close(slot);
    }
    urza_unload(module);
}

/* ACCUMULATE adds, also what is boosted; a gradient that is not wanted stays away. */
static void accumulates(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_slot *slot = place_slot((urza_slot_options){.boost = 1});
    struct place place;
    urza_slot_tape *tape;
    urza_error err;
    float once[64];
    place_init(&place, module, "f32", ROWS, 5);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_BLENDING, 10);
    urza_slot_tick(slot, NULL);
    place_step(&place, slot, 0, NULL);
    memcpy(once, place.dparam[GRAFT_W1].data, sizeof(float) * GRAFT_FEATURES * GRAFT_HIDDEN);
    const urza_slot_call call = place_call(&place, 0, NULL);
    const urza_slot_gradients gradients = {.dy = &place.dy,
                                           .dh = &place.dh,
                                           .params = place.dparam,
                                           .param_count = place.params,
                                           .flags = URZA_ACCUMULATE};
    must(urza_slot_forward(slot, &call, &tape, &err), &err);
    place.dparam[GRAFT_B1].data = NULL;
    must(urza_slot_backward(slot, tape, &gradients, &err), &err);
    for (int i = 0; i < GRAFT_FEATURES * GRAFT_HIDDEN; i++)
        near(place_get(&place.dparam[GRAFT_W1], i), 2 * (double)once[i], 1e-6, "twice", i);
    urza_slot_close(slot);
    urza_unload(module);
}

/* What is not finite only once it is added or made larger does not reach the host either. */
static void sums_that_overflow(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_slot *slot = place_slot((urza_slot_options){.through = 1, .boost = 1});
    struct place place;
    place_init(&place, module, "f32", ROWS, 5);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_BLENDING, 10);
    urza_slot_tick(slot, NULL);
    for (double size = 1e36; size < 3e38; size *= 1.1) {
        for (int64_t i = 0; i < COUNT; i++)
            place_set(&place.dy, i, size);
        place_clear(&place);
        place_step(&place, slot, 0, NULL);
        for (int64_t i = 0; i < COUNT; i++)
            assert_true(isfinite(place_get(&place.dh, i)));
        for (uint32_t p = 0; p < place.params; p++)
            for (int64_t i = 0; i < place_count(&place.dparam[p]); i++)
                assert_true(isfinite(place_get(&place.dparam[p], i)));
    }
    urza_slot_close(slot);
    urza_unload(module);
}

static void must_refuse(urza_slot *slot, const urza_slot_call *call, const char *words)
{
    urza_error err;
    must_give(urza_slot_forward(slot, call, NULL, &err), "InvalidInputError", &err, words);
}

/* h with strides, calls without a backward pass; what could not ever work is refused. */
static void tensors_of_all_kinds(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_slot *slot = place_slot((urza_slot_options){0});
    struct place place;
    urza_slot_tape *tape;
    urza_error err;
    float y[COUNT], twice[2 * COUNT];
    int64_t strides[2] = {2 * GRAFT_FEATURES, 2};
    place_init(&place, module, "f32", ROWS, 5);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_HOLDING, 20);
    place_step(&place, slot, 0, NULL);
    memcpy(y, place.y.data, sizeof y);
    place_clear(&place);
    urza_slot_call call = place_call(&place, 0, NULL);
    DLTensor strided = place.h, bad = place.y;
    for (int i = 0; i < COUNT; i++)
        twice[2 * i] = (float)place_get(&place.h, i);
    strided.data = twice;
    strided.strides = strides;
    call.h = &strided;
    must(urza_slot_forward(slot, &call, NULL, &err), &err);
    assert_memory_equal(y, place.y.data, sizeof y);
    call.y = &bad;
    bad.data = twice + 1;
    must_refuse(slot, &call, "lies between its elements");
    call.h = &place.h;
    bad.data = place.h.data;
    must_refuse(slot, &call, "shares memory");
    bad.data = NULL;
    must_refuse(slot, &call, "y has no memory");
    call.y = &place.y;
    strided.data = NULL;
    call.h = &strided;
    must_refuse(slot, &call, "h is no tensor");
    call.h = &place.h;
    call.params = NULL;
    must_give(urza_slot_forward(slot, &call, NULL, &err), "UsageError", &err, "NULL");
    call.params = place.param;
    must(urza_slot_forward(slot, &call, &tape, &err), &err);
    bad = place.dy;
    bad.ndim = 1;
    const urza_slot_gradients gradients = {.dy = &bad, .dh = &place.dh};
    must_give(urza_slot_backward(slot, tape, &gradients, &err), "InvalidInputError", &err,
              "not the shape and dtype of y");
    urza_slot_close(slot);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blends_are_their_formulas),
        cmocka_unit_test(lerp_ends_at_the_seed),
        cmocka_unit_test(does_not_disturb_the_host),
        cmocka_unit_test(faults),
        cmocka_unit_test(accumulates),
        cmocka_unit_test(sums_that_overflow),
        cmocka_unit_test(tensors_of_all_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
