/* A training loop with slots while allocations fail, seeds break and the host gives nonsense: every
 * step of the host ends, with h or with the right blend, dy or the right gradient; and nothing
 * leaks. With --exhaustive a million faults, else fewer. */
#include "base/faults_test_util.h"

#include <math.h>

#include "base/rng.h"
#include "support/grafted.h"

static int steps = 150000;

struct loop {
    urza_runtime *runtime;
    urza_module *module;
    urza_slot *slot;
    struct place place;
    uint64_t key, counter, injected, helped, hosts;
    double p[4][64];
};

static uint32_t draw(struct loop *l, uint32_t below)
{
    return (uint32_t)(((uint64_t)rng_u32(l->key, l->counter++) * below) >> 32);
}

static double seed_at(const struct loop *l, const double *x, int k)
{
    double s = l->p[GRAFT_B2][k];
    for (int i = 0; i < GRAFT_HIDDEN; i++) {
        double t = l->p[GRAFT_B1][i];
        for (int f = 0; f < GRAFT_FEATURES; f++)
            t += l->p[GRAFT_W1][i * GRAFT_FEATURES + f] * x[f];
        s += l->p[GRAFT_W2][k * GRAFT_HIDDEN + i] * tanh(t);
    }
    return s;
}

/* y is h itself, or the blend. */
static void check_value(struct loop *l, double alpha)
{
    struct place *p = &l->place;
    if (place_is_host(p)) {
        l->hosts++;
        return;
    }
    l->helped++;
    for (int64_t row = 0; row < p->rows; row += 1 + p->rows / 3) {
        double x[GRAFT_FEATURES];
        for (int k = 0; k < GRAFT_FEATURES; k++)
            x[k] = place_get(&p->h, row * GRAFT_FEATURES + k);
        for (int k = 0; k < GRAFT_FEATURES; k++) {
            double expected = x[k] + alpha * seed_at(l, x, k);
            double got = place_get(&p->y, row * GRAFT_FEATURES + k);
            if (!(fabs(got - expected) < 1e-4 * (1 + fabs(expected))))
                TEST_FAILED("row %lld: %g, expected %g", (long long)row, got, expected);
        }
    }
}

/* The gradient by x through the seed, of Σ alpha·dy·s. */
static double through_at(const struct loop *l, const double *x, const double *dy, int f)
{
    double dx = 0;
    for (int i = 0; i < GRAFT_HIDDEN; i++) {
        double a = l->p[GRAFT_B1][i], dt = 0;
        for (int k = 0; k < GRAFT_FEATURES; k++) {
            a += l->p[GRAFT_W1][i * GRAFT_FEATURES + k] * x[k];
            dt += l->p[GRAFT_W2][k * GRAFT_HIDDEN + i] * dy[k];
        }
        dx += l->p[GRAFT_W1][i * GRAFT_FEATURES + f] * (1 - tanh(a) * tanh(a)) * dt;
    }
    return dx;
}

/* dh is dy, or has the part through the seed, too; gradients are finite. */
static void check_gradients(const struct loop *l, double alpha)
{
    const struct place *p = &l->place;
    for (uint32_t i = 0; i < p->params; i++)
        for (int64_t k = 0; k < place_count(&p->dparam[i]); k++)
            assert_true(isfinite(place_get(&p->dparam[i], k)));
    for (int64_t row = 0; row < p->rows && p->dh.data != p->dy.data; row += 1 + p->rows / 3) {
        double x[GRAFT_FEATURES], dy[GRAFT_FEATURES];
        for (int k = 0; k < GRAFT_FEATURES; k++) {
            x[k] = place_get(&p->h, row * GRAFT_FEATURES + k);
            dy[k] = place_get(&p->dy, row * GRAFT_FEATURES + k);
        }
        for (int k = 0; k < GRAFT_FEATURES; k++) {
            double expected = dy[k] + alpha * through_at(l, x, dy, k);
            double got = place_get(&p->dh, row * GRAFT_FEATURES + k);
            if (!(fabs(got - expected) < 1e-4 * (1 + fabs(expected))))
                TEST_FAILED("dh of row %lld: %g, expected %g", (long long)row, got, expected);
        }
    }
}

enum { GOOD, NO_MEMORY, NAN_PARAM, BAD_PARAM, NAN_HOST, NAN_GRADIENT, KINDS };

static void one_step(struct loop *l)
{
    struct place *p = &l->place;
    uint32_t kind = draw(l, KINDS);
    double alpha = urza_slot_alpha(l->slot);
    p->rows = p->shape[0] = p->alpha_shape[0] = 1 + draw(l, PLACE_ROWS_MOST);
    double was_h = place_get(&p->h, 3), was_dy = place_get(&p->dy, 2);
    double was_p = place_get(&p->param[GRAFT_W2], 1);
    place_clear(p);
    if (kind == NAN_PARAM)
        place_set(&p->param[GRAFT_W2], 1, draw(l, 2) ? (double)NAN : (double)INFINITY);
    if (kind == BAD_PARAM)
        p->param[GRAFT_B2].dtype.bits = 64;
    if (kind == NAN_HOST)
        place_set(&p->h, 3, (double)NAN);
    if (kind == NAN_GRADIENT)
        place_set(&p->dy, 2, (double)NAN);
    if (draw(l, 2))
        urza_runtime_trim(l->runtime, 0);
    l->injected += kind != GOOD;
    if (kind == NO_MEMORY)
        faults_begin(FAULTS_OURS, 1 + draw(l, 8), 0);
    place_step(p, l->slot, l->counter, NULL);
    faults_end();
    place_set(&p->param[GRAFT_W2], 1, was_p);
    p->param[GRAFT_B2].dtype.bits = 32;
    place_set(&p->dy, 2, was_dy);
    if (kind != NAN_HOST && !(kind == NAN_PARAM && alpha == 0))
        check_value(l, alpha);
    place_set(&p->h, 3, was_h);
    if (kind == GOOD || kind == NO_MEMORY)
        check_gradients(l, alpha);
}

/* Seeds come and go quickly. */
static void control(struct loop *l)
{
    const urza_command c = {.kind = (urza_command_kind)draw(l, 3), .ticks = 1 + draw(l, 9)};
    urza_error err;
    if (draw(l, 2))
        faults_begin(FAULTS_OURS, 1 + draw(l, 4), 0);
    if (urza_slot_state_get(l->slot) == URZA_DORMANT)
        (void)urza_slot_plant(l->slot, "seed", l->module, NULL, &err);
    else if (draw(l, 8) == 0)
        (void)urza_slot_command(l->slot, &c, &err);
    urza_slot_tick(l->slot, NULL);
    faults_end();
}

static void every_step_of_the_host_ends(void **state)
{
    (void)state;
    static struct loop l;
    urza_error err;
    l.key = rng_key(77);
    must(urza_runtime_new(NULL, &l.runtime, &err), &err);
    l.module =
        grafted_module("f32", "residual", GRAFT_PLAIN, &(urza_load_options){.runtime = l.runtime});
    const urza_slot_options options = {
        .train_ticks = 2, .blend_ticks = 6, .embargo_ticks = 1, .faults_most = 12};
    must(urza_slot_open(&options, &l.slot, &err), &err);
    place_init(&l.place, l.module, "f32", PLACE_ROWS_MOST, 3);
    for (uint32_t i = 0; i < l.place.params; i++)
        for (int64_t k = 0; k < place_count(&l.place.param[i]); k++)
            l.p[i][k] = place_get(&l.place.param[i], k);
    for (int i = 0; i < steps; i++) {
        one_step(&l);
        if (draw(&l, 3) == 0)
            control(&l);
    }
    assert_true(l.helped > (uint64_t)steps / 20 && l.hosts > (uint64_t)steps / 20);
    print_message("%llu faults; the blend %llu times, h %llu times\n",
                  (unsigned long long)l.injected, (unsigned long long)l.helped,
                  (unsigned long long)l.hosts);
    urza_slot_close(l.slot);
    urza_unload(l.module);
    urza_runtime_release(l.runtime);
}

/* Opening, planting, saving and metrics with each allocation failing once: an error, and nothing
 * left. */
static void opening_without_memory(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    for (uint64_t n = 1; n < 20; n++) {
        urza_slot *slot = NULL;
        urza_graft_info *info = NULL;
        urza_error err;
        faults_begin(FAULTS_OURS, n, 0);
        int code = urza_slot_open(&(urza_slot_options){.name = "s"}, &slot, &err);
        if (code == 0)
            code = urza_slot_plant(slot, "seed", module, NULL, &err);
        if (code == 0)
            code = urza_graft_info_new(module, &info, &err);
        urza_graft_info_free(info);
        urza_slot_close(slot);
        int64_t live = faults.live;
        faults_end();
        if (code != 0)
            must_give(code, "OutOfMemoryError", &err, "memory");
        assert_int_equal(live, 0);
    }
    urza_unload(module);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_step_of_the_host_ends),
                                       cmocka_unit_test(opening_without_memory)};
    if (argc > 1 && strcmp(argv[1], "--exhaustive") == 0)
        steps = 1200000;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
