/* The states of a slot beside a model of them, over random histories of a million steps: calls,
 * good and bad ones, ticks, commands, seeds that come at once, late or never, and slots that are
 * saved and restored into another one. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/rng.h"
#include "support/grafted.h"

enum { STEPS = 1000000, ROWS = 2, QUEUE = 16 };
enum { GERMINATE = 12, TRAIN = 3, BLEND = 4, HOLD = 2, EMBARGO = 2, FAULTS = 3 };
#define RATIO 0.5
#define GAIN 0.25

/* The model, from urza/layer.h and urza/governor.h. */
struct model {
    urza_slot_state state;
    uint64_t tick, since;
    double alpha, from, to;
    uint64_t ramp_begin;
    uint32_t ramp_ticks, faults, gains, seeds;
    urza_curve curve;
    double mean, variance, seen; /* of gradient norms */
    uint32_t strikes;
    urza_command queue[QUEUE];
    uint32_t waiting;
    /* Since the last tick. */
    int trial; /* 1: passed, -1: failed */
    uint32_t new_faults, norms;
    double squares;
    bool has_module;
};

/* How often each change of the state happened; and commands that did not fit. */
static uint64_t changes[9][9], refused[4], obeyed[4], explosions, restored;

static void become(struct model *m, urza_slot_state state)
{
    changes[m->state][state]++;
    m->state = state;
    m->since = m->tick;
    m->gains = 0;
    if (state == URZA_PRUNED) {
        m->alpha = 0;
        m->has_module = false;
    }
    if (state == URZA_TRAINING) {
        m->mean = m->variance = m->seen = 0;
        m->strikes = 0;
    }
}

static void ramp(struct model *m, double to, uint32_t ticks, urza_curve curve)
{
    m->from = m->alpha;
    m->to = to;
    m->ramp_begin = m->tick;
    m->ramp_ticks = ticks;
    m->curve = curve;
    become(m, URZA_BLENDING);
}

static bool explodes(struct model *m, double norm)
{
    if (m->seen >= 20 && norm > 3 * m->mean && norm > m->mean + 6 * sqrt(m->variance)) {
        if (++m->strikes < 3)
            return false;
        m->strikes = 0;
        m->mean = m->variance = m->seen = 0;
        return true;
    }
    m->strikes = 0;
    m->seen += 1;
    double share = m->seen < 50 ? 1 / m->seen : 1.0 / 50, difference = norm - m->mean;
    m->mean += share * difference;
    m->variance = (1 - share) * (m->variance + share * difference * difference);
    return false;
}

static bool active(const struct model *m)
{
    return m->state == URZA_TRAINING || m->state == URZA_BLENDING || m->state == URZA_HOLDING;
}

static bool obey(struct model *m, const urza_command *c)
{
    if (c->kind == URZA_COMMAND_BLEND && (m->state == URZA_TRAINING || m->state == URZA_HOLDING))
        ramp(m, c->target == 0 ? 1 : c->target, c->ticks ? c->ticks : BLEND, c->curve);
    else if (c->kind == URZA_COMMAND_HOLD && m->state == URZA_BLENDING)
        become(m, URZA_HOLDING);
    else if (c->kind == URZA_COMMAND_FOSSILIZE && m->state == URZA_HOLDING && m->alpha == 1)
        become(m, URZA_FOSSILIZED);
    else if (c->kind == URZA_COMMAND_PRUNE && c->ticks > 0 &&
             (m->state == URZA_BLENDING || m->state == URZA_HOLDING))
        ramp(m, 0, c->ticks, c->curve);
    else if (c->kind == URZA_COMMAND_PRUNE && (active(m) || m->state == URZA_GERMINATED))
        become(m, URZA_PRUNED);
    else
        return false;
    return true;
}

static double along(urza_curve curve, double p)
{
    if (curve == URZA_COSINE)
        return 0.5 - 0.5 * cos(3.14159265358979323846 * p);
    if (curve == URZA_SIGMOID)
        return 0.5 + 0.5 * tanh(6 * p - 3) / tanh(3); /* the logistic function is a tanh */
    return p;
}

static void automatic(struct model *m, const urza_metrics *metrics, double norm, double parameters)
{
    uint64_t age = m->tick - m->since;
    switch (m->state) {
    case URZA_GERMINATED:
        if (m->trial != 0)
            become(m, m->trial > 0 ? URZA_TRAINING : URZA_PRUNED);
        else if (age >= GERMINATE)
            become(m, URZA_PRUNED);
        break;
    case URZA_TRAINING: {
        bool enough =
            metrics->host_norm == 0 ||
            (m->norms > 0 &&
             norm / metrics->host_norm * sqrt(metrics->host_parameters / parameters) >= RATIO);
        if (age >= TRAIN && m->seen > 0 && enough)
            ramp(m, 1, BLEND, URZA_LINEAR);
        break;
    }
    case URZA_BLENDING:
        if (m->tick - m->ramp_begin >= m->ramp_ticks) {
            m->alpha = m->to;
            become(m, m->to > 0 ? URZA_HOLDING : URZA_PRUNED);
        } else
            m->alpha =
                m->from + (m->to - m->from) *
                              along(m->curve, (double)(m->tick - m->ramp_begin) / m->ramp_ticks);
        break;
    case URZA_HOLDING:
        if (metrics->gain)
            m->gains = *metrics->gain >= GAIN ? m->gains + 1 : 0;
        if (m->gains >= HOLD && m->alpha == 1)
            become(m, URZA_FOSSILIZED);
        break;
    case URZA_PRUNED: become(m, URZA_EMBARGOED); break;
    case URZA_EMBARGOED:
        if (age >= EMBARGO)
            become(m, URZA_RESETTING);
        break;
    case URZA_RESETTING: become(m, URZA_DORMANT); break;
    default: break;
    }
}

static void model_tick(struct model *m, const urza_metrics *metrics, double parameters)
{
    double norm = m->norms > 0 ? sqrt(m->squares / m->norms) : 0;
    m->tick++;
    if (active(m) && m->norms > 0 && explodes(m, norm)) {
        m->faults++;
        explosions++;
    }
    if (m->state >= URZA_GERMINATED && m->state <= URZA_FOSSILIZED)
        m->faults += m->new_faults;
    urza_slot_state before = m->state;
    uint64_t since = m->since;
    bool moved = false;
    if (active(m) && m->faults >= FAULTS) {
        become(m, URZA_PRUNED);
        moved = true;
    }
    for (uint32_t i = 0; i < m->waiting; i++) {
        bool fits = obey(m, &m->queue[i]);
        (fits ? obeyed : refused)[m->queue[i].kind]++;
        moved |= fits;
    }
    m->waiting = 0;
    if (!moved && m->state == before && m->since == since)
        automatic(m, metrics, norm, parameters);
    m->new_faults = m->norms = 0;
    m->squares = 0;
    if (m->state != URZA_GERMINATED)
        m->trial = 0;
}

struct walk {
    urza_slot *slot;
    urza_module *module;
    struct place place;
    struct model m;
    uint64_t key, counter;
    uint32_t seed; /* the newest */
    double parameters, burst;
    uint32_t burst_left;
};

static uint32_t draw(struct walk *w, uint32_t below)
{
    return (uint32_t)(((uint64_t)rng_u32(w->key, w->counter++) * below) >> 32);
}

static urza_slot *open_slot(void)
{
    const urza_slot_options options = {.name = "walk",
                                       .germinate_ticks = GERMINATE,
                                       .train_ticks = TRAIN,
                                       .blend_ticks = BLEND,
                                       .hold_ticks = HOLD,
                                       .embargo_ticks = EMBARGO,
                                       .faults_most = FAULTS,
                                       .gradient_ratio = RATIO,
                                       .gain = GAIN};
    urza_slot *slot;
    urza_error err;
    must(urza_slot_open(&options, &slot, &err), &err);
    return slot;
}

static double squares_of_gradients(const struct place *p)
{
    double sum = 0;
    for (uint32_t i = 0; i < p->params; i++)
        for (int64_t k = 0; k < place_count(&p->dparam[i]); k++)
            sum += place_get(&p->dparam[i], k) * place_get(&p->dparam[i], k);
    return sum;
}

/* One forward and backward call; what it must have given, by the model. */
static void call(struct walk *w)
{
    struct model *m = &w->m;
    struct place *p = &w->place;
    uint32_t kind = draw(w, 120); /* 0: a bad seed; 1: a bad host; 2: no backward pass; else good */
    double good_w = place_get(&p->param[GRAFT_W2], 2), good_h = place_get(&p->h, 1);
    bool runs = m->has_module && (active(m) || m->state == URZA_FOSSILIZED ||
                                  (m->state == URZA_GERMINATED && m->trial == 0));
    bool blends = m->state >= URZA_BLENDING && m->state <= URZA_FOSSILIZED;
    double scale = w->burst_left > 0 ? w->burst : 1 + 0.1 * draw(w, 5);
    for (int64_t i = 0; i < place_count(&p->dy); i++)
        place_set(&p->dy, i, scale * ((double)(i % 3) - 0.7));
    if (kind == 0)
        place_set(&p->param[GRAFT_W2], 2, (double)NAN);
    if (kind == 1)
        place_set(&p->h, 1, (double)NAN);
    place_clear(p);
    if (kind == 2) {
        urza_error err;
        const urza_slot_call c = place_call(p, w->counter, NULL);
        must(urza_slot_forward(w->slot, &c, NULL, &err), &err);
        assert_int_equal(place_is_host(p), !(runs && blends));
        return;
    }
    place_step(p, w->slot, w->counter, NULL);
    place_set(&p->param[GRAFT_W2], 2, good_w);
    place_set(&p->h, 1, good_h);
    /* Where alpha is 0 the seed's NaN does not reach y, but its gradients are NaN. */
    bool silent = blends && m->alpha == 0;
    assert_int_equal(place_is_host(p), !(runs && blends && (kind > 1 || (kind == 0 && silent))));
    if (runs && kind == 0) {
        m->new_faults++;
        m->trial = m->state == URZA_GERMINATED ? -1 : 0;
    }
    if (runs && kind > 2 && m->state == URZA_GERMINATED)
        m->trial = 1;
    else if (runs && kind > 2 && !silent) {
        double alpha = blends ? (double)(float)m->alpha : 1;
        m->squares += squares_of_gradients(p) / (alpha * alpha);
        m->norms++;
    }
    if (!runs || kind < 2 || m->state == URZA_GERMINATED)
        assert_true(squares_of_gradients(p) == 0);
}

static void tick(struct walk *w)
{
    const double gain = draw(w, 3) ? 0.5 : 0;
    const urza_metrics metrics = {.gain = draw(w, 20) ? NULL : &gain,
                                  .host_norm = draw(w, 2) ? 0.01 + 3 * (draw(w, 4) == 0) : 0,
                                  .host_parameters = 100};
    if (w->burst_left > 0)
        w->burst_left--;
    else if (draw(w, 60) == 0) {
        w->burst_left = 1 + draw(w, 9);
        w->burst = 1e4;
    }
    urza_slot_state got = urza_slot_tick(w->slot, &metrics);
    model_tick(&w->m, &metrics, w->parameters);
    if (got != w->m.state || fabs(urza_slot_alpha(w->slot) - w->m.alpha) > 1e-6)
        TEST_FAILED("tick %llu: %s %.9g, the model %s %.9g", (unsigned long long)w->m.tick,
                    urza_slot_state_name(got), urza_slot_alpha(w->slot),
                    urza_slot_state_name(w->m.state), w->m.alpha);
}

static void give_command(struct walk *w)
{
    static const double targets[] = {0, 1, 0.5, 0.25};
    const urza_command c = {.kind = (urza_command_kind)draw(w, 4),
                            .ticks = draw(w, 5),
                            .target = targets[draw(w, 4)],
                            .curve = (urza_curve)draw(w, 3)};
    urza_error err;
    int code = urza_slot_command(w->slot, &c, &err);
    if (w->m.waiting == QUEUE) {
        must_give(code, "LimitExceededError", &err, "commands wait");
        return;
    }
    must(code, &err);
    w->m.queue[w->m.waiting++] = c;
}

static void plant(struct walk *w)
{
    urza_error err;
    urza_module *module = draw(w, 3) ? w->module : NULL;
    int code = urza_slot_plant(w->slot, "seed", module, &w->seed, &err);
    if (w->m.state != URZA_DORMANT) {
        must_give(code, "UsageError", &err, "planted in DORMANT");
        return;
    }
    must(code, &err);
    changes[URZA_DORMANT][URZA_GERMINATED]++;
    w->m.state = URZA_GERMINATED;
    w->m.since = w->m.tick;
    w->m.faults = w->m.new_faults = w->m.norms = 0;
    w->m.squares = 0;
    w->m.trial = 0;
    w->m.has_module = module != NULL;
    assert_int_equal(w->seed, ++w->m.seeds);
}

static void supply(struct walk *w)
{
    urza_error err;
    bool waits = w->m.state == URZA_GERMINATED && !w->m.has_module;
    if (draw(w, 4)) {
        must(urza_slot_supply(w->slot, w->seed, w->module, &err), &err);
        w->m.has_module |= waits;
        return;
    }
    urza_slot_refuse(w->slot, w->seed, "not today");
    if (waits) {
        w->m.trial = -1;
        w->m.new_faults++;
    }
}

/* Into another slot, which goes on in its place. */
static void move_house(struct walk *w)
{
    char text[4096], again[4096];
    urza_error err;
    assert_in_range(urza_slot_save(w->slot, text, sizeof text), 100, sizeof text - 1);
    urza_slot *other = open_slot();
    if (w->m.state >= URZA_GERMINATED && w->m.state <= URZA_FOSSILIZED) {
        must_give(urza_slot_restore(other, text, &err), "InvalidInputError", &err, "plant it");
        must(urza_slot_plant(other, "seed", w->m.has_module ? w->module : NULL, NULL, &err), &err);
    }
    must(urza_slot_restore(other, text, &err), &err);
    urza_slot_save(other, again, sizeof again);
    assert_string_equal(text, again);
    urza_slot_close(w->slot);
    w->slot = other;
    restored++;
}

static void step(struct walk *w)
{
    uint32_t kind = draw(w, 1000);
    if (kind < 480)
        call(w);
    else if (kind < 940)
        tick(w);
    else if (kind < 960)
        give_command(w);
    else if (kind < 985)
        plant(w);
    else if (kind < 998)
        supply(w);
    else
        move_house(w);
}

/* A slot that is fossilized stays so; after a while the walk begins with another one. */
static void begin_anew(struct walk *w)
{
    urza_slot_close(w->slot);
    w->slot = open_slot();
    w->m = (struct model){0};
}

static void walks_as_the_model_does(void **state)
{
    (void)state;
    static struct walk w;
    uint32_t fossil = 0;
    w.key = rng_key(20261201);
    w.module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    w.slot = open_slot();
    place_init(&w.place, w.module, "f32", ROWS, 3);
    for (uint32_t i = 0; i < w.place.params; i++)
        w.parameters += (double)place_count(&w.place.param[i]);
    for (int i = 0; i < STEPS; i++) {
        step(&w);
        fossil = w.m.state == URZA_FOSSILIZED ? fossil + 1 : 0;
        if (fossil > 200)
            begin_anew(&w);
    }
    urza_slot_close(w.slot);
    urza_unload(w.module);
    static const uint8_t legal[][2] = {
        {URZA_DORMANT, URZA_GERMINATED},  {URZA_GERMINATED, URZA_TRAINING},
        {URZA_GERMINATED, URZA_PRUNED},   {URZA_TRAINING, URZA_BLENDING},
        {URZA_TRAINING, URZA_PRUNED},     {URZA_BLENDING, URZA_HOLDING},
        {URZA_BLENDING, URZA_PRUNED},     {URZA_BLENDING, URZA_BLENDING},
        {URZA_HOLDING, URZA_BLENDING},    {URZA_HOLDING, URZA_FOSSILIZED},
        {URZA_HOLDING, URZA_PRUNED},      {URZA_PRUNED, URZA_EMBARGOED},
        {URZA_EMBARGOED, URZA_RESETTING}, {URZA_RESETTING, URZA_DORMANT},
    };
    uint64_t all = 0, of_legal = 0;
    for (size_t i = 0; i < 81; i++)
        all += changes[i / 9][i % 9];
    for (size_t i = 0; i < sizeof legal / sizeof *legal; i++) {
        uint64_t count = changes[legal[i][0]][legal[i][1]];
        of_legal += count;
        if (count < 20)
            TEST_FAILED(
                "%s to %s: only %llu times", urza_slot_state_name((urza_slot_state)legal[i][0]),
                urza_slot_state_name((urza_slot_state)legal[i][1]), (unsigned long long)count);
    }
    assert_int_equal(all, of_legal);
    for (int i = 0; i < 4; i++)
        assert_true(obeyed[i] > 20 && refused[i] > 20);
    print_message("%llu changes of the state, %llu explosions, %llu restored\n",
                  (unsigned long long)all, (unsigned long long)explosions,
                  (unsigned long long)restored);
    assert_true(explosions > 20 && restored > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(walks_as_the_model_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
