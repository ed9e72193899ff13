/* Rollouts of a small package: arms, rungs, and what a challenger that is wrong, slow or failing
 * does to its callers. */
#include "runtime/test_util.h"

#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "urza/rollout.h"

#define ROWS 9
#define COUNT (ROWS * 4)
#define EVENTS_MOST 16
#define CALLERS 8

struct seen {
    _Atomic uint32_t count;
    urza_rung to[EVENTS_MOST];
    char reason[EVENTS_MOST][256];
};

static void see(void *user, const urza_rollout_event *event)
{
    struct seen *seen = user;
    uint32_t at = seen->count % EVENTS_MOST; /* one rung after the other */
    seen->to[at] = event->to;
    snprintf(seen->reason[at], sizeof seen->reason[at], "%s", event->reason);
    seen->count++;
}

static urza_module *load(void)
{
    return test_load("4*B", NULL);
}

/* One whose results are wrong in the fourth digit. */
static urza_module *load_wrong(void)
{
    urza_module *module = load();
    float w[4];
    int64_t shape[1] = {4};
    urza_error err;
    DLTensor value = {.data = w, .device = {kDLCPU, 0}, .ndim = 1, .dtype = {kDLFloat, 32, 1}};
    value.shape = shape;
    for (int i = 0; i < 4; i++)
        w[i] = test_w[i] * 1.0001f;
    must_work(urza_param_set(module, "w", &value, &err), &err);
    must_work(urza_prepare(module, &err), &err);
    return module;
}

static void sleep_and_run(void *user, pool_task *task, void *argument, uint32_t count)
{
    (void)user;
    usleep(100);
    for (uint32_t i = 0; i < count; i++)
        task(argument, i);
}

static urza_module *load_slow(void)
{
    urza_load_options options = {
        .trust = URZA_TRUST_ALLOW_UNSIGNED, .threads = 2, .chunks = 2, .parallel = sleep_and_run};
    return test_load("4*B", &options);
}

static urza_module *load_interpreted(void)
{
    urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED, .target = "interpreter"};
    return test_load("4*B", &options);
}

/* The rollout alone has the modules then. */
static urza_rollout *open_with(urza_rollout_options options, urza_module *champion,
                               urza_module *challenger)
{
    urza_rollout *rollout = NULL;
    urza_error err;
    options.champion = champion;
    options.challenger = challenger;
    must_work(urza_rollout_open(&options, &rollout, &err), &err);
    urza_unload(champion);
    urza_unload(challenger);
    return rollout;
}

static void set(urza_rollout *rollout, urza_rung rung)
{
    urza_error err;
    must_work(urza_rollout_set(rollout, rung, NULL, &err), &err);
}

/* One call; whether its results are right. */
static bool call(urza_rollout *rollout, uint64_t slot, uint64_t step)
{
    float x[COUNT], y[COUNT], s[COUNT];
    struct test_tensor in, out[2];
    urza_error err;
    bool right = true;
    for (int i = 0; i < COUNT; i++)
        x[i] = test_x(i);
    test_tensor_init(&in, x, ROWS);
    test_tensor_init(&out[0], y, ROWS);
    test_tensor_init(&out[1], s, ROWS);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    must_work(urza_rollout_call(rollout, slot, step, &in.dl, 1, outputs, 2, &err), &err);
    for (int i = 0; i < COUNT; i++)
        right &= y[i] == test_y(i) && s[i] == test_s(i);
    return right;
}

static urza_rollout_stats stats_of(const urza_rollout *rollout)
{
    urza_rollout_stats stats;
    urza_rollout_stats_get(rollout, &stats);
    return stats;
}

static void arms_follow_from_salt_slot_and_step(void **state)
{
    (void)state;
    static const uint64_t allow[] = {7}, block[] = {8, 9};
    const urza_rollout_options options = {
        .salt = 42, .allow = allow, .allow_count = 1, .block = block, .block_count = 2};
    urza_rollout *a = open_with(options, load(), load()), *b = open_with(options, load(), load());
    static const struct {
        urza_rung rung;
        double share;
    } rows[] = {{URZA_RUNG_OFF, 0},   {URZA_RUNG_SHADOW, 0},     {URZA_RUNG_1, 0.01},
                {URZA_RUNG_10, 0.1},  {URZA_RUNG_50, 0.5},       {URZA_RUNG_100, 1},
                {URZA_RUNG_FINAL, 1}, {URZA_RUNG_ROLLED_BACK, 0}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        set(a, rows[r].rung);
        set(b, rows[r].rung);
        uint32_t challenger = 0, moved = 0;
        for (uint64_t step = 0; step < 100000; step++) {
            uint64_t slot = 100 + step % 5;
            int arm = urza_rollout_arm(a, slot, 8 * step + step % 8);
            assert_int_equal(arm, urza_rollout_arm(b, slot, 8 * step));
            challenger += (uint32_t)arm;
            moved += arm != urza_rollout_arm(a, slot + 1, 8 * step);
        }
        assert_true(fabs(challenger / 1e5 - rows[r].share) < 0.005);
        assert_true((moved > 0) == (rows[r].share > 0 && rows[r].share < 1));
        assert_int_equal(urza_rollout_arm(a, 7, 1), rows[r].share > 0);
        assert_int_equal(urza_rollout_arm(a, 8, 1), 0);
        assert_int_equal(urza_rollout_arm(a, 9, 1), 0);
    }
    assert_int_equal(urza_rollout_arm(NULL, 1, 1), 0);
    urza_rollout_close(a);
    urza_rollout_close(b);
    urza_rollout_close(NULL);
}

static void a_faster_one_reaches_the_end(void **state)
{
    (void)state;
    struct seen seen = {0};
    const urza_rollout_options options = {
        .sample_every = 1, .pairs = 20, .on_event = see, .user = &seen};
    urza_rollout *rollout = open_with(options, load_slow(), load());
    set(rollout, URZA_RUNG_SHADOW);
    uint64_t step = 0, arms = 0;
    while (urza_rollout_tick(rollout) != URZA_RUNG_FINAL) {
        arms += (uint64_t)urza_rollout_arm(rollout, 1, step);
        assert_true(call(rollout, 1, step));
        assert_true(++step < 100000);
    }
    assert_int_equal(seen.count, 6);
    for (uint32_t i = 0; i < seen.count; i++)
        assert_int_equal(seen.to[i], URZA_RUNG_SHADOW + i);
    urza_rollout_stats before = stats_of(rollout);
    assert_true(before.judged > 0);
    assert_int_equal(before.wrong, 0);
    assert_int_equal(before.failures, 0);
    assert_int_equal(before.calls, step);
    assert_int_equal(before.arm_calls, arms);
    assert_true(call(rollout, 1, step));
    assert_int_equal(stats_of(rollout).pairs, before.pairs); /* only the challenger runs now */
    urza_rollout_close(rollout);
}

static void a_wrong_one_is_found_at_the_first_judged_call(void **state)
{
    (void)state;
    struct seen seen = {0};
    const urza_rollout_options options = {.sample_every = 3, .on_event = see, .user = &seen};
    urza_rollout *rollout = open_with(options, load(), load_wrong());
    set(rollout, URZA_RUNG_SHADOW);
    uint64_t step = 0;
    for (; urza_rollout_rung(rollout) == URZA_RUNG_SHADOW && step < 1000000; step++)
        assert_true(call(rollout, 1, step));
    assert_int_equal(urza_rollout_rung(rollout), URZA_RUNG_ROLLED_BACK);
    while (seen.count < 2) /* told by the thread that judges */
        usleep(100);
    assert_int_equal(stats_of(rollout).wrong, stats_of(rollout).judged);
    assert_non_null(strstr(seen.reason[1], "its result is wrong: output 'y': element 0 is off by"));
    assert_int_equal(urza_rollout_tick(rollout), URZA_RUNG_ROLLED_BACK);
    assert_true(call(rollout, 1, step));
    urza_rollout_close(rollout);
}

static void a_slower_one_is_found_in_100_pairs(void **state)
{
    (void)state;
    struct seen seen = {0};
    const urza_rollout_options options = {.sample_every = 1, .on_event = see, .user = &seen};
    urza_rollout *rollout = open_with(options, load(), load_slow());
    set(rollout, URZA_RUNG_50);
    for (uint64_t step = 0; step < 100; step++)
        assert_true(call(rollout, 1, step));
    assert_int_equal(urza_rollout_rung(rollout), URZA_RUNG_ROLLED_BACK);
    assert_string_equal(seen.reason[1], "it is slower");
    urza_rollout_stats stats = stats_of(rollout);
    assert_true(stats.pairs < 100 && stats.log_e > 6.9);
    urza_rollout_close(rollout);
}

static void one_that_is_interpreted_fails(void **state)
{
    (void)state;
    struct seen seen = {0};
    const urza_rollout_options options = {.sample_every = 1, .on_event = see, .user = &seen};
    urza_rollout *rollout = open_with(options, load(), load_interpreted());
    set(rollout, URZA_RUNG_100);
    for (uint64_t step = 0; step < 3; step++)
        assert_true(call(rollout, 1, step));
    assert_int_equal(urza_rollout_rung(rollout), URZA_RUNG_ROLLED_BACK);
    assert_non_null(strstr(seen.reason[1], "it fails too often"));
    assert_int_equal(stats_of(rollout).failures, 2);
    urza_rollout_close(rollout);
}

static void calls_that_are_wrong_say_so(void **state)
{
    (void)state;
    for (int rung = URZA_RUNG_SHADOW; rung <= URZA_RUNG_FINAL; rung++) {
        urza_rollout *rollout =
            open_with((urza_rollout_options){.sample_every = 2}, load(), load());
        set(rollout, (urza_rung)rung);
        for (uint64_t step = 0; step < 20; step++) {
            float x[8];
            struct test_tensor in, out[2];
            urza_error err;
            test_tensor_init(&in, x, 2);
            test_tensor_init(&out[0], x, 2); /* shares memory with the input */
            test_tensor_init(&out[1], x, 1);
            DLTensor outputs[2] = {out[0].dl, out[1].dl};
            must_give(urza_rollout_call(rollout, 1, step, &in.dl, 1, outputs, 2, &err), ERR_INPUT,
                      &err, "output 'y'");
            must_give(urza_rollout_call(rollout, 1, step, &in.dl, 2, outputs, 2, &err), ERR_INPUT,
                      &err, "2 inputs");
        }
        assert_int_equal(urza_rollout_rung(rollout), (urza_rung)rung); /* it is not the kernel's */
        urza_rollout_close(rollout);
    }
}

struct looking {
    urza_rollout *rollout;
    _Atomic uint32_t epoch; /* odd: it was rolled back */
    _Atomic bool stop;
    _Atomic uint64_t looks, late;
};

static void *look(void *argument)
{
    struct looking *l = argument;
    for (uint64_t step = 0; !l->stop; step++) {
        uint32_t before = l->epoch;
        int arm = urza_rollout_arm(l->rollout, 3, step);
        l->late += before % 2 == 1 && l->epoch == before && arm != 0;
        l->looks++;
    }
    return NULL;
}

static void wait_for_looks(struct looking *l)
{
    for (uint64_t from = l->looks; l->looks < from + 200;)
        usleep(1);
}

static void rolling_back_is_seen_by_the_next_call(void **state)
{
    (void)state;
    struct looking l = {.rollout = open_with((urza_rollout_options){0}, load(), load())};
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look, &l), 0);
    for (int round = 0; round < 200; round++) {
        set(l.rollout, URZA_RUNG_100);
        wait_for_looks(&l);
        set(l.rollout, URZA_RUNG_ROLLED_BACK);
        l.epoch++;
        wait_for_looks(&l);
        l.epoch++;
    }
    l.stop = true;
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(l.late, 0);
    urza_rollout_close(l.rollout);
}

static void *call_often(void *argument)
{
    urza_rollout *rollout = argument;
    bool right = true;
    for (uint64_t step = 0; step < 3000; step++)
        right &= call(rollout, step % 7, step);
    return right ? NULL : argument;
}

static void many_threads_call(void **state)
{
    (void)state;
    pthread_t threads[CALLERS];
    urza_rollout *rollout = open_with((urza_rollout_options){.sample_every = 5}, load(), load());
    set(rollout, URZA_RUNG_50);
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, rollout), 0);
    for (int i = 0; i < CALLERS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    urza_rollout_stats stats = stats_of(rollout);
    assert_int_equal(stats.calls, CALLERS * 3000);
    assert_int_equal(stats.wrong, 0);
    assert_int_equal(stats.failures, 0);
    urza_rollout_close(rollout);
}

static void a_saved_one_goes_on(void **state)
{
    (void)state;
    char text[1024], again[1024], other[1024];
    urza_error err;
    urza_rollout *rollout = open_with((urza_rollout_options){.sample_every = 1}, load(), load());
    set(rollout, URZA_RUNG_10);
    for (uint64_t step = 0; step < 50; step++)
        call(rollout, 1, step);
    size_t size = urza_rollout_save(rollout, text, sizeof text);
    assert_int_equal(size, strlen(text));
    assert_int_equal(urza_rollout_save(rollout, NULL, 0), size);
    urza_rollout_stats before = stats_of(rollout);
    urza_rollout_close(rollout);
    rollout = open_with((urza_rollout_options){.saved = text}, load(), load());
    urza_rollout_save(rollout, again, sizeof again);
    assert_string_equal(again, text);
    assert_int_equal(urza_rollout_rung(rollout), before.rung);
    assert_int_equal(stats_of(rollout).pairs, before.pairs);
    assert_int_equal(stats_of(rollout).slower, before.slower);
    urza_rollout_close(rollout);
    /* Cut off, or with other numbers. */
    urza_module *module = load();
    urza_rollout_options options = {.champion = module, .challenger = module, .saved = other};
    for (size_t cut = 0; cut < size; cut++) {
        snprintf(other, sizeof other, "%.*s", (int)cut, text);
        must_give(urza_rollout_open(&options, &rollout, &err), ERR_INPUT, &err, "what was saved");
    }
    const char *numbers = text; /* behind three lines */
    for (int line = 0; line < 3; line++)
        numbers = strchr(numbers, '\n') + 1;
    static const char *const bad[] = {
        "9 0 0 0 0 0 0 0 0 0 0\n",          "4294967297 0 0 0 0 0 0 0 0 0 0\n",
        "1 0 0 1 0 0 0 0 0 0 0\n",          "1 0 1 0 0 0 0 0 0 0 0\n",
        "1 0 0 0 0 1 0 0 0 0 0\n",          "1 0 0 0 0 0 5 0 0 0 0\n",
        "1 9 0 0 0 0 5 6 0 0 0\n",          "1 0 0 0 0 0 0 0 0 0 -1\n",
        "1 2 0 0 0 0 0 0 0 0 0 \n",         "1 2 0 0 0 0 0 0 0 0 0\n0",
        "1 2  0 0 0 0 0 0 0 0 0\n",         "1 2\n0 0 0 0 0 0 0 0 0\n",
        "1 3000000000 0 0 0 0 0 0 0 0 0\n", "1 0 0 0 99999999999999999999999999 0 0 0 0 0 0\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(other, sizeof other, "%.*s%s", (int)(numbers - text), text, bad[i]);
        must_give(urza_rollout_open(&options, &rollout, &err), ERR_INPUT, &err, "damaged");
    }
    urza_unload(module);
}

static void refuses_what_makes_no_sense(void **state)
{
    (void)state;
    urza_error err;
    urza_rollout *rollout = NULL;
    urza_module *module = load();
    must_give(urza_rollout_open(NULL, &rollout, &err), ERR_USAGE, &err, "a champion");
    urza_rollout_options options = {.champion = module};
    must_give(urza_rollout_open(&options, &rollout, &err), ERR_USAGE, &err, "a challenger");
    options.challenger = module;
    options.allow_count = 1;
    must_give(urza_rollout_open(&options, &rollout, &err), ERR_USAGE, &err, "not given");
    assert_null(rollout);
    must_give(urza_rollout_call(NULL, 1, 1, NULL, 0, NULL, 0, &err), ERR_USAGE, &err, "NULL");
    must_give(urza_rollout_set(NULL, URZA_RUNG_1, NULL, &err), ERR_USAGE, &err, "NULL");
    options.allow_count = 0;
    must_work(urza_rollout_open(&options, &rollout, &err), &err);
    must_give(urza_rollout_set(rollout, (urza_rung)99, NULL, &err), ERR_USAGE, &err, "no rung");
    set(rollout, URZA_RUNG_100);
    for (uint64_t step = 0; step < 1000; step++) /* sampled or not */
        must_give(urza_rollout_call(rollout, 1, step, NULL, 1, NULL, 2, &err), ERR_INPUT, &err,
                  "0 inputs");
    assert_string_equal(urza_rung_name(URZA_RUNG_10), "10 %");
    assert_string_equal(urza_rung_name((urza_rung)99), "unknown");
    urza_rollout_close(rollout);
    urza_unload(module);
}

/* Both arms are the same module, and outputs have gaps: where they lie is no difference. */
static void equal_arms_are_no_alarm(void **state)
{
    (void)state;
    static float x[4096 * 4], y[4096 * 8], sums[4096 * 8];
    for (uint64_t salt = 0; salt < 4; salt++) {
        urza_module *module = load();
        urza_retain(module);
        urza_rollout *rollout =
            open_with((urza_rollout_options){.sample_every = 1, .salt = salt}, module, module);
        set(rollout, salt % 2 ? URZA_RUNG_100 : URZA_RUNG_SHADOW);
        struct test_tensor in, out[2];
        urza_error err;
        test_tensor_init(&in, x, 4096);
        test_tensor_init(&out[0], y, 4096);
        test_tensor_init(&out[1], sums, 4096);
        DLTensor outputs[2] = {out[0].dl, out[1].dl};
        for (int o = 0; o < 2; o++)
            outputs[o].strides = memcpy(out[o].strides, (int64_t[]){8, 2}, 16);
        for (int i = 0; i < 4096 * 4; i++)
            x[i] = test_x(i);
        for (uint64_t step = 0; step < 300; step++)
            must_work(urza_rollout_call(rollout, 1, step, &in.dl, 1, outputs, 2, &err), &err);
        for (int i = 0; i < 4096 * 4; i++)
            assert_true(y[2 * i] == test_y(i) && sums[2 * i] == test_s(i));
        assert_true(urza_rollout_rung(rollout) != URZA_RUNG_ROLLED_BACK);
        urza_rollout_close(rollout);
    }
}

/* Calls that nobody samples are counted, too, where the challenger has no native code. */
static void interpreting_is_a_failure_without_a_sample(void **state)
{
    (void)state;
    const urza_rollout_options rarely = {.sample_every = UINT32_MAX};
    urza_rollout *rollout = open_with(rarely, load(), load_interpreted());
    set(rollout, URZA_RUNG_100);
    for (uint64_t step = 0; step < 3; step++)
        assert_true(call(rollout, 1, step));
    assert_int_equal(urza_rollout_rung(rollout), URZA_RUNG_ROLLED_BACK);
    urza_rollout_close(rollout);
    rollout = open_with(rarely, load_interpreted(), load_interpreted());
    set(rollout, URZA_RUNG_100);
    for (uint64_t step = 0; step < 20; step++)
        assert_true(call(rollout, 1, step));
    assert_int_equal(stats_of(rollout).failures, 0);
    urza_rollout_close(rollout);
}

/* The child has no thread that judges: nothing goes on there. */
static void nothing_is_promoted_unjudged(void **state)
{
    (void)state;
    urza_rollout *rollout =
        open_with((urza_rollout_options){.sample_every = 1, .pairs = 5}, load_slow(), load_wrong());
    set(rollout, URZA_RUNG_SHADOW);
    pid_t child = fork();
    if (child == 0) {
        for (uint64_t step = 0; step < 200; step++) {
            call(rollout, 1, step);
            if (urza_rollout_tick(rollout) != URZA_RUNG_SHADOW)
                _exit(1);
        }
        _exit(stats_of(rollout).pairs != 200);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    urza_rollout_close(rollout);
}

static void the_last_rung_can_be_left(void **state)
{
    (void)state;
    urza_rollout *rollout =
        open_with((urza_rollout_options){.sample_every = 1}, load(), load_interpreted());
    set(rollout, URZA_RUNG_FINAL);
    for (uint64_t step = 0; step < 3; step++)
        assert_true(call(rollout, 1, step));
    assert_int_equal(urza_rollout_rung(rollout), URZA_RUNG_ROLLED_BACK);
    urza_rollout_close(rollout);
}

/* With all exceptions trapped, and none of their flags set afterwards. */
static void traps_are_not_met(void **state)
{
    (void)state;
    urza_rollout *rollout = open_with((urza_rollout_options){.sample_every = 1}, load(), load());
    set(rollout, URZA_RUNG_50);
    feclearexcept(FE_ALL_EXCEPT);
    feenableexcept(FE_ALL_EXCEPT);
    float x[4] = {0.1f, 0.7f, 3, 1e-3f}, y[4], sums[4];
    struct test_tensor in, out[2];
    int failures = 0;
    test_tensor_init(&in, x, 1);
    test_tensor_init(&out[0], y, 1);
    test_tensor_init(&out[1], sums, 1);
    DLTensor outputs[2] = {out[0].dl, out[1].dl};
    for (uint64_t step = 0; step < 50; step++)
        failures += urza_rollout_call(rollout, 1, step, &in.dl, 1, outputs, 2, NULL) != 0;
    urza_rollout_tick(rollout);
    urza_rollout_stats stats = stats_of(rollout);
    fedisableexcept(FE_ALL_EXCEPT);
    assert_int_equal(fetestexcept(FE_ALL_EXCEPT), 0);
    assert_int_equal(failures, 0);
    assert_int_equal(stats.pairs, 50);
    urza_rollout_close(rollout);
}

/* States that are saved while others call can be opened. */
static void saves_while_others_call(void **state)
{
    (void)state;
    pthread_t threads[3];
    urza_error err;
    urza_module *module = load();
    urza_retain(module);
    urza_rollout *rollout =
        open_with((urza_rollout_options){.sample_every = 1}, module, urza_retain(module));
    set(rollout, URZA_RUNG_50);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, rollout), 0);
    for (int i = 0; i < 2000; i++) {
        char text[1024];
        urza_rollout *again;
        if (i % 10 == 0)
            set(rollout, i % 20 ? URZA_RUNG_50 : URZA_RUNG_10);
        urza_rollout_save(rollout, text, sizeof text);
        const urza_rollout_options options = {
            .champion = module, .challenger = module, .saved = text};
        must_work(urza_rollout_open(&options, &again, &err), &err);
        urza_rollout_close(again);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    urza_rollout_close(rollout);
    urza_unload(module);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arms_follow_from_salt_slot_and_step),
        cmocka_unit_test(a_faster_one_reaches_the_end),
        cmocka_unit_test(a_wrong_one_is_found_at_the_first_judged_call),
        cmocka_unit_test(a_slower_one_is_found_in_100_pairs),
        cmocka_unit_test(one_that_is_interpreted_fails),
        cmocka_unit_test(calls_that_are_wrong_say_so),
        cmocka_unit_test(rolling_back_is_seen_by_the_next_call),
        cmocka_unit_test(many_threads_call),
        cmocka_unit_test(a_saved_one_goes_on),
        cmocka_unit_test(equal_arms_are_no_alarm),
        cmocka_unit_test(interpreting_is_a_failure_without_a_sample),
        cmocka_unit_test(nothing_is_promoted_unjudged),
        cmocka_unit_test(the_last_rung_can_be_left),
        cmocka_unit_test(traps_are_not_met),
        cmocka_unit_test(saves_while_others_call),
        cmocka_unit_test(refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests_name("rollout", tests, NULL, NULL);
}
