/* What comes into a slot: trials, seeds that come late or never, their random numbers, their
 * modules; and what slots say of themselves. */
#include <fenv.h>
#include <math.h>
#include <stdbool.h>

#include "base/rng.h"
#include "support/grafted.h"

enum { ROWS = 7, COUNT = ROWS * GRAFT_FEATURES };

/* A trial that fails: a graft of other features, a graft that is none, NaN. */
static void trials(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_module *wide = grafted_module("f64", "residual", GRAFT_PLAIN, NULL);
    urza_module *plain = grafted_module("f32", NULL, GRAFT_PLAIN, NULL);
    urza_slot *slot = place_slot((urza_slot_options){0});
    struct place place;
    urza_error err;
    uint32_t seed;
    place_init(&place, module, "f32", ROWS, 5);
    must_give(urza_slot_plant(slot, "a", plain, NULL, &err), "UnsupportedError", &err, "no graft");
    urza_slot *lerp = place_slot((urza_slot_options){.blend = URZA_LERP});
    must_give(urza_slot_plant(lerp, "a", module, NULL, &err), "UnsupportedError", &err,
              "the graft's blend is residual, and the slot's lerp");
    urza_slot_close(lerp);
    must(urza_slot_plant(slot, "wide", wide, &seed, &err), &err);
    must_give(urza_slot_plant(slot, "b", module, NULL, &err), "UsageError", &err, "GERMINATED");
    place_step(&place, slot, 0, NULL);
    assert_true(place_is_host(&place));
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_PRUNED);
    assert_int_equal(place_events(slot, URZA_EVENT_FAULT, "dtype"), 1);
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    /* On its way, and refused; on its way, and supplied; never come. */
    must(urza_slot_plant(slot, "late", NULL, &seed, &err), &err);
    place_step(&place, slot, 0, NULL);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_GERMINATED);
    urza_slot_refuse(slot, seed, "it does not verify");
    assert_int_equal(place_events(slot, URZA_EVENT_FAULT, "it does not verify"), 1);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_PRUNED);
    must(urza_slot_supply(slot, seed, module, &err), &err); /* too late: nothing happens */
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    must(urza_slot_plant(slot, "later", NULL, &seed, &err), &err);
    must(urza_slot_supply(slot, seed - 1, module, &err), &err); /* of another seed */
    must(urza_slot_supply(slot, seed, module, &err), &err);
    place_step(&place, slot, 0, NULL);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_TRAINING);
    place_command(slot, URZA_COMMAND_PRUNE, 0, 0);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_PRUNED);
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    must(urza_slot_plant(slot, "never", NULL, &seed, &err), &err);
    for (int i = 0; i < 999; i++)
        assert_int_equal(urza_slot_tick(slot, NULL), URZA_GERMINATED);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_PRUNED);
    urza_slot_close(slot);
    urza_unload(module);
    urza_unload(wide);
    urza_unload(plain);
}

/* A step of a seed that drops elements: which ones follows from the slot's random_seed, the seed's
 * number and the step. */
static void drawn_step(struct place *place, urza_slot *slot, uint64_t step, float *y)
{
    place_clear(place);
    place_step(place, slot, step, NULL);
    memcpy(y, place->y.data, sizeof(float) * COUNT);
}

static void draws_its_own_numbers(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_DROPOUT, NULL);
    urza_slot *slot = place_slot((urza_slot_options){.random_seed = 9});
    urza_slot *other = place_slot((urza_slot_options){.random_seed = 10});
    struct place place;
    float y[5][COUNT];
    place_init(&place, module, "f32", ROWS, 5);
    place_plant(slot, module);
    place_plant(other, module);
    place_reach(&place, slot, URZA_HOLDING, 20);
    place_reach(&place, other, URZA_HOLDING, 20);
    drawn_step(&place, slot, 7, y[0]);
    drawn_step(&place, slot, 7, y[1]);
    drawn_step(&place, slot, 8, y[2]);
    drawn_step(&place, other, 7, y[3]);
    place_command(slot, URZA_COMMAND_PRUNE, 0, 0);
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_HOLDING, 20);
    drawn_step(&place, slot, 7, y[4]);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (int i = 2; i < 5; i++)
        assert_memory_not_equal(y[0], y[i], sizeof y[0]);
    urza_slot_close(slot);
    urza_slot_close(other);
    urza_unload(module);
}

static uint32_t modules_of(const urza_runtime *runtime)
{
    urza_runtime_stats stats;
    urza_runtime_stats_get(runtime, &stats);
    return stats.modules;
}

/* A slot has its seed's module from planting to pruning, a tape until it is used. */
static void gives_modules_back(void **state)
{
    (void)state;
    urza_runtime *runtime;
    urza_error err;
    must(urza_runtime_new(NULL, &runtime, &err), &err);
    urza_module *module =
        grafted_module("f32", "residual", GRAFT_PLAIN, &(urza_load_options){.runtime = runtime});
    urza_slot *slot = place_slot((urza_slot_options){0});
    urza_slot_tape *tape;
    struct place place;
    place_init(&place, module, "f32", ROWS, 5);
    place_plant(slot, module);
    urza_unload(module);
    place_reach(&place, slot, URZA_HOLDING, 20);
    assert_int_equal(modules_of(runtime), 1);
    const urza_slot_call call = place_call(&place, 0, NULL);
    must(urza_slot_forward(slot, &call, &tape, &err), &err);
    place_command(slot, URZA_COMMAND_PRUNE, 0, 0);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_PRUNED);
    assert_int_equal(modules_of(runtime), 1);
    const urza_slot_gradients gradients = {
        .dy = &place.dy, .dh = &place.dh, .params = place.dparam, .param_count = place.params};
    must(urza_slot_backward(slot, tape, &gradients, &err), &err);
    assert_true(place_get(&place.dparam[0], 0) != 0);
    assert_int_equal(modules_of(runtime), 0);
    urza_slot_close(slot);
    urza_runtime_release(runtime);
}

static void says_which_layer_is_last(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "gate", GRAFT_PLAIN, NULL);
    urza_module *plain = grafted_module("f32", NULL, GRAFT_PLAIN, NULL);
    urza_graft_info *info;
    urza_error err;
    must(urza_graft_info_new(module, &info, &err), &err);
    assert_int_equal(info->blend, URZA_GATE);
    assert_int_equal(info->last_count, 2);
    assert_string_equal(info->last[0], "w2");
    assert_string_equal(info->last[1], "b2");
    urza_graft_info_free(info);
    must_give(urza_graft_info_new(plain, &info, &err), "UnsupportedError", &err, "no graft");
    urza_unload(module);
    urza_unload(plain);
}

static void metrics_text(void **state)
{
    (void)state;
    urza_slot *a = place_slot((urza_slot_options){.name = "layer 1"}),
              *b = place_slot((urza_slot_options){.name = "two"});
    urza_slot *both[] = {a, b};
    char text[4096], little[10];
    urza_slot_tick(a, NULL);
    size_t size = urza_slot_metrics(both, 2, text, sizeof text);
    assert_int_equal(size, strlen(text));
    assert_non_null(strstr(text, "urza_slot_ticks_total{slot=\"layer 1\"} 1\n"));
    assert_non_null(strstr(text, "urza_slot_state{slot=\"two\"} 0\n"));
    assert_int_equal(urza_slot_metrics(both, 2, little, sizeof little), size);
    assert_int_equal(strlen(little), sizeof little - 1);
    urza_slot_close(a);
    urza_slot_close(b);
}

/* A tape of a seed that is gone decides nothing about the next one. */
static void old_tapes(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_slot *slot = place_slot((urza_slot_options){0});
    urza_slot_tape *tapes[4];
    struct place place;
    urza_error err;
    place_init(&place, module, "f32", ROWS, 5);
    const urza_slot_call call = place_call(&place, 0, NULL);
    const urza_slot_gradients gradients = {
        .dy = &place.dy, .dh = &place.dh, .params = place.dparam, .param_count = place.params};
    place_plant(slot, module);
    must(urza_slot_forward(slot, &call, &tapes[0], &err), &err);
    assert_non_null(tapes[0]);
    place_command(slot, URZA_COMMAND_PRUNE, 0, 0);
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    must(urza_slot_plant(slot, "late", NULL, NULL, &err), &err);
    must(urza_slot_backward(slot, tapes[0], &gradients, &err), &err);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_GERMINATED);
    place_command(slot, URZA_COMMAND_PRUNE, 0, 0);
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_TRAINING, 5);
    for (int i = 0; i < 4; i++)
        must(urza_slot_forward(slot, &call, &tapes[i], &err), &err);
    place_command(slot, URZA_COMMAND_PRUNE, 0, 0);
    for (int i = 0; i < 8; i++)
        urza_slot_tick(slot, NULL);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_TRAINING, 5);
    place_events(slot, URZA_EVENT_FAULT, "");
    for (int64_t i = 0; i < COUNT; i++)
        place_set(&place.dy, i, 3e38); /* gradients overflow */
    for (int i = 0; i < 4; i++)
        must(urza_slot_backward(slot, tapes[i], &gradients, &err), &err);
    assert_int_equal(urza_slot_tick(slot, NULL), URZA_TRAINING);
    assert_int_equal(place_events(slot, URZA_EVENT_FAULT, "backward"), 0);
    urza_slot_close(slot);
    urza_unload(module);
}

/* A slot that is restored, or that applies what another rank decided, before its module comes. */
static void modules_that_come_late(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    for (int applies = 0; applies < 2; applies++) {
        urza_slot *slot = place_slot((urza_slot_options){0});
        urza_slot *other = place_slot((urza_slot_options){0});
        struct place place;
        urza_error err;
        uint32_t seed;
        char text[4096];
        place_init(&place, module, "f32", ROWS, 5);
        place_plant(slot, module);
        place_reach(&place, slot, URZA_HOLDING, 20);
        must(urza_slot_plant(other, "seed", NULL, &seed, &err), &err);
        urza_slot_save(slot, text, sizeof text);
        must((applies ? urza_slot_apply : urza_slot_restore)(other, text, &err), &err);
        place_step(&place, other, 0, NULL);
        assert_true(place_is_host(&place));
        assert_int_equal(place_events(other, URZA_EVENT_FAULT, "not there yet"), 1);
        must(urza_slot_supply(other, seed, module, &err), &err);
        place_clear(&place);
        place_step(&place, other, 0, NULL);
        assert_false(place_is_host(&place));
        urza_slot_close(slot);
        urza_slot_close(other);
    }
    urza_unload(module);
}

/* Values, gradients and alpha do not hang on the host's mode, and its flags stay. */
static void floating_point_modes(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    urza_module *module = grafted_module("f32", "lerp", GRAFT_PLAIN, NULL);
    float first[3][COUNT];
    double alpha = 0;
    for (int m = 0; m < 4; m++) {
        urza_slot *slot = place_slot((urza_slot_options){
            .blend = URZA_LERP, .through = 1, .boost = 1, .blend_ticks = 7, .curve = URZA_SIGMOID});
        struct place place;
        place_init(&place, module, "f32", ROWS, 5);
        place_plant(slot, module);
        place_reach(&place, slot, URZA_BLENDING, 10);
        fesetround(modes[m]);
        feclearexcept(FE_ALL_EXCEPT);
        urza_slot_tick(slot, NULL);
        place_step(&place, slot, 0, NULL);
        int flags = fetestexcept(FE_ALL_EXCEPT), mode = fegetround();
        fesetround(FE_TONEAREST);
        assert_int_equal(flags, 0);
        assert_int_equal(mode, modes[m]);
        const void *got[] = {place.y.data, place.dh.data, place.dparam[GRAFT_W1].data};
        for (int i = 0; i < 3; i++) {
            size_t size = sizeof(float) * (i < 2 ? COUNT : GRAFT_FEATURES * GRAFT_HIDDEN);
            if (m == 0)
                memcpy(first[i], got[i], size);
            assert_memory_equal(first[i], got[i], size);
        }
        alpha = m == 0 ? urza_slot_alpha(slot) : alpha;
        assert_true(urza_slot_alpha(slot) == alpha && alpha > 0);
        urza_slot_close(slot);
    }
    urza_unload(module);
}

/* Text that no slot has written is refused, or leaves a slot that goes on. */
static void damaged_texts(void **state)
{
    (void)state;
    urza_module *module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
    urza_slot *slot = place_slot((urza_slot_options){0});
    struct place place;
    urza_error err;
    char text[4096], bad[4096], again[4096];
    uint32_t accepted = 0;
    place_init(&place, module, "f32", ROWS, 5);
    place_plant(slot, module);
    place_reach(&place, slot, URZA_BLENDING, 10);
    const urza_command prune = {.kind = URZA_COMMAND_PRUNE, .ticks = 2, .target = 2};
    must(urza_slot_command(slot, &prune, &err), &err);
    size_t size = urza_slot_save(slot, text, sizeof text);
    must(urza_slot_restore(slot, text, &err), &err);
    for (size_t i = 0; i < size; i++) {
        memcpy(bad, text, i);
        bad[i] = '\0';
        must_give(urza_slot_restore(slot, bad, &err), "InvalidInputError", &err, "");
    }
    for (uint64_t i = 0; i < 100000; i++) {
        memcpy(bad, text, size + 1);
        for (uint64_t k = 0; k <= i % 3; k++)
            bad[rng_u32(7, 9 * i + 3 * k) % size] =
                "0123456789abcdef=\n"[rng_u32(7, 9 * i + 3 * k + 1) % 18];
        if (urza_slot_restore(slot, bad, &err) != 0)
            continue;
        accepted++;
        urza_slot_save(slot, again, sizeof again);
        must(urza_slot_restore(slot, again, &err), &err);
        urza_slot_tick(slot, NULL);
        assert_true(urza_slot_alpha(slot) >= 0 && urza_slot_alpha(slot) <= 1);
        urza_slot_close(slot);
        slot = place_slot((urza_slot_options){0});
        place_plant(slot, module);
    }
    assert_true(accepted > 100);
    urza_slot_close(slot);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trials),
        cmocka_unit_test(draws_its_own_numbers),
        cmocka_unit_test(gives_modules_back),
        cmocka_unit_test(says_which_layer_is_last),
        cmocka_unit_test(metrics_text),
        cmocka_unit_test(old_tapes),
        cmocka_unit_test(modules_that_come_late),
        cmocka_unit_test(floating_point_modes),
        cmocka_unit_test(damaged_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
