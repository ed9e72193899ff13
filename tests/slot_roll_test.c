/* Rollouts of another kernel for a slot's seed, while it learns, blends and holds. */
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "support/grafted.h"

enum { ROWS = 7, COUNT = ROWS * GRAFT_FEATURES, PARAMS = 4 };

struct growing {
    urza_module *module;
    urza_slot *slot, *alone; /* alone: the same without a rollout */
    urza_rollout *rollout;
    struct place place, beside;
    char back[256]; /* why it was rolled back, once it is told */
    atomic_bool told;
};

static void on_event(void *user, const urza_rollout_event *event)
{
    struct growing *g = user;
    if (event->to == URZA_RUNG_ROLLED_BACK)
        snprintf(g->back, sizeof g->back, "%s", event->reason);
    atomic_store(&g->told, event->to == URZA_RUNG_ROLLED_BACK);
}

/* The rung changes before the event is told, which may be on another thread. */
static const char *reason_of(struct growing *g)
{
    for (int i = 0; !atomic_load(&g->told); i++) {
        usleep(1000);
        if (i > 10000)
            TEST_FAILED("it was not rolled back");
    }
    return g->back;
}

static void begin(struct growing *g, enum graft_form form, urza_slot_state until)
{
    const urza_slot_options options = {.name = "roll", .train_ticks = 2, .blend_ticks = 1000};
    urza_error err;
    *g = (struct growing){.back = ""};
    g->module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_module *challenger = grafted_module("f32", "residual", form, NULL);
    place_init(&g->place, g->module, "f32", ROWS, 5);
    place_init(&g->beside, g->module, "f32", ROWS, 5);
    must(urza_slot_open(&options, &g->slot, &err), &err);
    must(urza_slot_open(&options, &g->alone, &err), &err);
    must(urza_slot_plant(g->slot, "seed", g->module, NULL, &err), &err);
    must(urza_slot_plant(g->alone, "seed", g->module, NULL, &err), &err);
    const urza_rollout_options roll = {.champion = g->module,
                                       .challenger = challenger,
                                       .sample_every = 1,
                                       .pairs = 24,
                                       .on_event = on_event,
                                       .user = g};
    must(urza_rollout_open(&roll, &g->rollout, &err), &err);
    urza_unload(challenger);
    place_reach(&g->place, g->slot, until, 2000);
    place_reach(&g->beside, g->alone, until, 2000);
    must(urza_slot_roll(g->slot, g->rollout, 3, &err), &err);
}

static void end(struct growing *g)
{
    urza_slot_close(g->slot);
    urza_slot_close(g->alone);
    urza_rollout_close(g->rollout);
    urza_unload(g->module);
}

static void near(const DLTensor *a, const DLTensor *b, const char *what)
{
    for (int64_t i = 0; i < place_count(a); i++)
        if (!(fabs(place_get(a, i) - place_get(b, i)) < 1e-5 * (1 + fabs(place_get(b, i)))))
            TEST_FAILED("%s[%d]: %g, expected %g", what, (int)i, place_get(a, i), place_get(b, i));
}

/* A step of both slots; they are the same, whichever arm ran. */
static void step(struct growing *g, uint64_t number)
{
    place_clear(&g->place);
    place_clear(&g->beside);
    place_step(&g->place, g->slot, number, NULL);
    place_step(&g->beside, g->alone, number, NULL);
    assert_int_equal(place_is_host(&g->place), place_is_host(&g->beside));
    near(&g->place.y, &g->beside.y, "y");
    near(&g->place.dh, &g->beside.dh, "dh");
    for (uint32_t i = 0; i < PARAMS; i++)
        near(&g->place.dparam[i], &g->beside.dparam[i], urza_param_info(g->module, i)->name);
    urza_slot_tick(g->slot, NULL);
    urza_slot_tick(g->alone, NULL);
}

static urza_rollout_stats stats_of(const struct growing *g)
{
    urza_rollout_stats stats;
    urza_rollout_stats_get(g->rollout, &stats);
    return stats;
}

static void set(struct growing *g, urza_rung rung)
{
    urza_error err;
    must(urza_rollout_set(g->rollout, rung, NULL, &err), &err);
}

/* Steps until the results of so many samples were judged. */
static void until_judged(struct growing *g, uint64_t count)
{
    for (uint64_t i = 0; stats_of(g).judged < count && stats_of(g).rung != URZA_RUNG_ROLLED_BACK;
         i++) {
        step(g, i);
        usleep(i % 8 == 0 ? 1000 : 0);
        if (i > 20000)
            TEST_FAILED("judged %llu", (unsigned long long)stats_of(g).judged);
    }
}

/* Every rung, in states that learn, blend and hold: the host sees no difference. */
static void a_good_one(void **state)
{
    (void)state;
    static const urza_slot_state states[] = {URZA_TRAINING, URZA_BLENDING, URZA_HOLDING};
    static const urza_rung rungs[] = {URZA_RUNG_SHADOW, URZA_RUNG_50, URZA_RUNG_100,
                                      URZA_RUNG_FINAL};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        static struct growing g;
        begin(&g, GRAFT_REORDERED, states[i]);
        for (size_t r = 0; r < sizeof rungs / sizeof *rungs; r++) {
            set(&g, rungs[r]);
            if (rungs[r] == URZA_RUNG_FINAL)
                for (uint64_t k = 0; k < 20; k++)
                    step(&g, k);
            else
                until_judged(&g, stats_of(&g).judged + 10);
            if (stats_of(&g).rung == URZA_RUNG_ROLLED_BACK && !strstr(reason_of(&g), "slower"))
                TEST_FAILED("%s", g.back);
        }
        assert_int_equal(stats_of(&g).wrong, 0);
        assert_int_equal(stats_of(&g).failures, 0);
        assert_true(stats_of(&g).challenger_calls > 20);
        end(&g);
    }
}

/* Right values with wrong gradients: only a judged step shows it. */
static void wrong_gradients(void **state)
{
    (void)state;
    static struct growing g;
    begin(&g, GRAFT_DETACHED, URZA_BLENDING);
    for (int i = 0; i < 3; i++) { /* at alpha 0 all gradients are 0 */
        urza_slot_tick(g.slot, NULL);
        urza_slot_tick(g.alone, NULL);
    }
    set(&g, URZA_RUNG_SHADOW);
    until_judged(&g, 100000);
    assert_int_equal(stats_of(&g).rung, URZA_RUNG_ROLLED_BACK);
    if (!strstr(reason_of(&g), "wrong") || !strstr(g.back, "grad."))
        TEST_FAILED("%s", g.back);
    step(&g, 0);
    end(&g);
}

/* What fails is run by the champion, and is not the seed's fault. */
static void failing(void **state)
{
    (void)state;
    static struct growing g;
    begin(&g, GRAFT_NAN, URZA_HOLDING);
    set(&g, URZA_RUNG_FINAL); /* which samples nothing */
    for (uint64_t i = 0; i < 60; i++)
        step(&g, i);
    assert_int_equal(urza_slot_state_get(g.slot), URZA_HOLDING);
    assert_int_equal(stats_of(&g).rung, URZA_RUNG_ROLLED_BACK);
    assert_true(strstr(reason_of(&g), "fails too often") && strstr(g.back, "not finite"));
    end(&g);
}

static void refused(void **state)
{
    (void)state;
    static struct growing g;
    urza_error err;
    begin(&g, GRAFT_REORDERED, URZA_TRAINING);
    urza_module *plain = grafted_module("f32", NULL, GRAFT_PLAIN, NULL);
    urza_module *lerp = grafted_module("f32", "lerp", GRAFT_PLAIN, NULL);
    const struct {
        urza_module *champion, *challenger;
        const char *name, *words;
    } rows[] = {
        {lerp, g.module, "InvalidInputError", "champion is not the seed's kernel"},
        {g.module, lerp, "UnsupportedError", "the graft's blend is lerp"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        urza_rollout *rollout;
        const urza_rollout_options options = {.champion = rows[i].champion,
                                              .challenger = rows[i].challenger};
        must(urza_rollout_open(&options, &rollout, &err), &err);
        must_give(urza_slot_roll(g.slot, rollout, 0, &err), rows[i].name, &err, rows[i].words);
        urza_rollout_close(rollout);
    }
    must(urza_slot_roll(g.slot, NULL, 0, &err), &err);
    step(&g, 0);
    assert_int_equal(stats_of(&g).calls, 0);
    urza_unload(plain);
    urza_unload(lerp);
    end(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one),
        cmocka_unit_test(wrong_gradients),
        cmocka_unit_test(failing),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
