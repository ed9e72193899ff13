/* A training loop with slots while allocations fail, seeds break and the host gives nonsense: every
 * step of the host ends, with h or with the right blend, dy or the right gradient; and nothing
 * leaks. With --exhaustive a million faults, else fewer. */
#include "base/faults_test_util.h"

#include "support/training_loop.h"

static int steps = 150000;

static urza_runtime *runtime;
static urza_module *module;
static uint64_t injected;

static void one_step(struct loop *l)
{
    enum loop_fault fault = loop_draw(l, LOOP_FAULTS);
    loop_begin(l, fault);
    if (loop_draw(l, 2))
        urza_runtime_trim(runtime, 0);
    injected += fault != LOOP_GOOD;
    if (fault == LOOP_NO_MEMORY)
        faults_begin(FAULTS_OURS, 1 + loop_draw(l, 8), 0);
    place_step(&l->place, l->slot, l->counter, NULL);
    faults_end();
    loop_end(l, fault);
}

/* Seeds come and go quickly. */
static void control(struct loop *l)
{
    const urza_command c = {.kind = (urza_command_kind)loop_draw(l, 3),
                            .ticks = 1 + loop_draw(l, 9)};
    urza_error err;
    if (loop_draw(l, 2))
        faults_begin(FAULTS_OURS, 1 + loop_draw(l, 4), 0);
    if (urza_slot_state_get(l->slot) == URZA_DORMANT)
        (void)urza_slot_plant(l->slot, "seed", module, NULL, &err);
    else if (loop_draw(l, 8) == 0)
        (void)urza_slot_command(l->slot, &c, &err);
    urza_slot_tick(l->slot, NULL);
    faults_end();
}

static void every_step_of_the_host_ends(void **state)
{
    (void)state;
    static struct loop l;
    urza_slot *slot;
    urza_error err;
    must(urza_runtime_new(NULL, &runtime, &err), &err);
    module =
        grafted_module("f32", "residual", GRAFT_PLAIN, &(urza_load_options){.runtime = runtime});
    const urza_slot_options options = {
        .train_ticks = 2, .blend_ticks = 6, .embargo_ticks = 1, .faults_most = 12};
    must(urza_slot_open(&options, &slot, &err), &err);
    loop_init(&l, module, slot, 77);
    for (int i = 0; i < steps; i++) {
        one_step(&l);
        if (loop_draw(&l, 3) == 0)
            control(&l);
    }
    assert_true(l.helped > (uint64_t)steps / 20 && l.hosts > (uint64_t)steps / 20);
    print_message("%llu faults; the blend %llu times, h %llu times\n", (unsigned long long)injected,
                  (unsigned long long)l.helped, (unsigned long long)l.hosts);
    urza_slot_close(slot);
    urza_unload(module);
    urza_runtime_release(runtime);
}

/* Opening, planting, saving and metrics with each allocation failing once: an error, and nothing
 * left. */
static void opening_without_memory(void **state)
{
    (void)state;
    module = grafted_module("f32", "residual", GRAFT_PLAIN, NULL);
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
