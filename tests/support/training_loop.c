#include "training_loop.h"

#include <math.h>

#include "base/rng.h"

uint32_t loop_draw(struct loop *l, uint32_t below)
{
    return (uint32_t)(((uint64_t)rng_u32(l->key, l->counter++) * below) >> 32);
}

void loop_init(struct loop *l, urza_module *module, urza_slot *slot, uint64_t seed)
{
    l->slot = slot;
    l->key = rng_key(seed);
    place_init(&l->place, module, "f32", PLACE_ROWS_MOST, 3);
    for (uint32_t i = 0; i < l->place.params; i++)
        for (int64_t k = 0; k < place_count(&l->place.param[i]); k++)
            l->p[i][k] = place_get(&l->place.param[i], k);
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

void loop_begin(struct loop *l, enum loop_fault fault)
{
    struct place *p = &l->place;
    l->alpha = urza_slot_alpha(l->slot);
    p->rows = p->shape[0] = p->alpha_shape[0] = 1 + loop_draw(l, PLACE_ROWS_MOST);
    l->was_h = place_get(&p->h, 3);
    l->was_dy = place_get(&p->dy, 2);
    l->was_p = place_get(&p->param[GRAFT_W2], 1);
    place_clear(p);
    if (fault == LOOP_NAN_PARAM)
        place_set(&p->param[GRAFT_W2], 1, loop_draw(l, 2) ? (double)NAN : (double)INFINITY);
    if (fault == LOOP_BAD_PARAM)
        p->param[GRAFT_B2].dtype.bits = 64;
    if (fault == LOOP_NAN_HOST)
        place_set(&p->h, 3, (double)NAN);
    if (fault == LOOP_NAN_GRADIENT)
        place_set(&p->dy, 2, (double)NAN);
}

void loop_end(struct loop *l, enum loop_fault fault)
{
    struct place *p = &l->place;
    place_set(&p->param[GRAFT_W2], 1, l->was_p);
    p->param[GRAFT_B2].dtype.bits = 32;
    place_set(&p->dy, 2, l->was_dy);
    if (fault != LOOP_NAN_HOST && !(fault == LOOP_NAN_PARAM && l->alpha == 0))
        check_value(l, l->alpha);
    place_set(&p->h, 3, l->was_h);
    if (fault == LOOP_GOOD || fault == LOOP_NO_MEMORY)
        check_gradients(l, l->alpha);
}
