/* What slots and rollouts cost beside the kernels that they run: a call where nothing is planted,
 * a blend beside the seed alone, a tick of many slots, planting and pruning; which arm a call runs,
 * and sampled calls of a rollout in shadow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "compiler/compile.h"
#include "urza/layer.h"
#include "urza/rollout.h"

enum { ROUNDS = 31, ROWS = 256, WIDTH = 1024, PARAMS = 4, SLOTS = 10000 };

/* s = relu(x w1ᵀ + b1) w2ᵀ + b2; x is 1 MiB at 256 rows. */
#define WEIGHTS \
    "\"dtype\": \"f32\", \"shape\": [1024, 1024], \"init\": {\"kind\": \"kaiming_uniform\"}"
#define BIAS "\"dtype\": \"f32\", \"shape\": [1024], \"init\": {\"kind\": \"zeros\"}"
static const char seed_text[] =
    "{\"format\": \"urza.blueprint/1\","
    " \"dims\": {\"B\": {\"min\": 1, \"max\": 4096, \"typical\": 256}},"
    " \"inputs\": [{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [\"B\", 1024]}],"
    " \"params\": [{\"id\": \"w1\", " WEIGHTS "}, {\"id\": \"b1\", " BIAS "},"
    "  {\"id\": \"w2\", " WEIGHTS "}, {\"id\": \"b2\", " BIAS "}],"
    " \"nodes\": [{\"id\": \"a\", \"op\": \"linear\", \"in\": [\"x\", \"w1\", \"b1\"]},"
    "  {\"id\": \"r\", \"op\": \"relu\", \"in\": [\"a\"]},"
    "  {\"id\": \"s\", \"op\": \"linear\", \"in\": [\"r\", \"w2\", \"b2\"]}],"
    " \"outputs\": [\"s\"]}";

static void check(int code, const urza_error *err)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", urza_error_name(code), err->place, err->message);
    exit(1);
}

static urza_module *compile(const char *blend)
{
    struct arena arena;
    struct compile_result result;
    struct error err;
    urza_error problem;
    urza_module *module;
    const urza_load_options load = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    const struct compile_options options = {
        .strategy = STRATEGY_FAST, .targets = target_best_here(), .backward = true, .graft = blend};
    arena_init(&arena);
    if (!compile_blueprint(seed_text, sizeof seed_text - 1, &options, &arena, &result, &err)) {
        fprintf(stderr, "%s: %s\n", err.place, err.message);
        exit(1);
    }
    check(urza_load_memory(result.package, result.package_bytes, &load, &module, &problem),
          &problem);
    arena_release(&arena);
    return module;
}

static int64_t shape[2] = {ROWS, WIDTH}, square[2] = {WIDTH, WIDTH}, line[1] = {WIDTH};

static DLTensor tensor(int32_t rank, int64_t *dims, uint64_t seed)
{
    size_t count = 1;
    for (int32_t i = 0; i < rank; i++)
        count *= (size_t)dims[i];
    float *data = aligned_alloc(64, count * sizeof *data);
    if (!data)
        exit(1);
    for (size_t i = 0; i < count; i++)
        data[i] = (float)(0.05 * (rng_uniform(rng_key(seed), i) - 0.5));
    return (DLTensor){.data = data,
                      .device = {.device_type = kDLCPU},
                      .ndim = rank,
                      .dtype = {kDLFloat, 32, 1},
                      .shape = dims};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

struct tensors {
    DLTensor h, y, dy, dh, params[PARAMS], gradients[PARAMS];
};

static void make_tensors(struct tensors *t)
{
    t->h = tensor(2, shape, 1);
    t->y = tensor(2, shape, 2);
    t->dy = tensor(2, shape, 3);
    t->dh = tensor(2, shape, 4);
    for (uint32_t i = 0; i < PARAMS; i++) {
        t->params[i] = i % 2 ? tensor(1, line, 10 + i) : tensor(2, square, 10 + i);
        t->gradients[i] = i % 2 ? tensor(1, line, 20 + i) : tensor(2, square, 20 + i);
    }
}

/* Nanoseconds of a step of the seed alone, with gradients by its parameters and its input. */
static double seed_ns(urza_module *module, struct tensors *t, bool backward)
{
    urza_error err;
    urza_tape *tape;
    uint64_t start = clock_ns();
    check(urza_forward_train(module, &t->h, 1, t->params, PARAMS, &t->y, 1, &tape, &err), &err);
    const urza_gradients gradients = {.cotangents = &t->dy,
                                      .cotangent_count = 1,
                                      .inputs = &t->dh,
                                      .input_count = 1,
                                      .params = t->gradients,
                                      .param_count = PARAMS};
    if (backward)
        check(urza_backward(tape, &gradients, &err), &err);
    urza_tape_release(tape);
    return (double)(clock_ns() - start);
}

static double slot_ns(urza_slot *slot, struct tensors *t, bool backward)
{
    urza_error err;
    urza_slot_tape *tape;
    DLTensor y = t->y, dh = t->dh;
    const urza_slot_call call = {.h = &t->h, .params = t->params, .param_count = PARAMS, .y = &y};
    const urza_slot_gradients gradients = {
        .dy = &t->dy, .dh = &dh, .params = t->gradients, .param_count = PARAMS};
    uint64_t start = clock_ns();
    check(urza_slot_forward(slot, &call, &tape, &err), &err);
    if (backward)
        check(urza_slot_backward(slot, tape, &gradients, &err), &err);
    else
        urza_slot_tape_release(tape);
    return (double)(clock_ns() - start);
}

static urza_slot *grown(urza_module *module, urza_blend blend, urza_slot_state until,
                        struct tensors *t)
{
    const urza_slot_options options = {
        .blend = blend, .through = 1, .train_ticks = 1, .blend_ticks = 1000000};
    urza_slot *slot;
    urza_error err;
    check(urza_slot_open(&options, &slot, &err), &err);
    check(urza_slot_plant(slot, "seed", module, NULL, &err), &err);
    for (int i = 0; i < 100 && urza_slot_state_get(slot) != until; i++) {
        slot_ns(slot, t, true);
        urza_slot_tick(slot, NULL);
    }
    urza_slot_tick(slot, NULL); /* alpha is no longer 0 */
    return slot;
}

static void bench_blends(struct tensors *t)
{
    static const char *const names[] = {"residual", "lerp", "multiply"};
    urza_module *alone = compile(NULL);
    printf("%-10s %12s %12s\n", "blend", "forward", "and backward");
    for (int blend = 0; blend < 3; blend++) {
        urza_module *module = compile(names[blend]);
        urza_slot *slot = grown(module, (urza_blend)blend, URZA_BLENDING, t);
        double ratios[2][ROUNDS];
        for (int i = 0; i < 2 * ROUNDS; i++) {
            double a = seed_ns(alone, t, i % 2), b = slot_ns(slot, t, i % 2);
            ratios[i % 2][i / 2] = b / a;
        }
        printf("%-10s %12.3f %12.3f   of the seed alone\n", names[blend], median(ratios[0], ROUNDS),
               median(ratios[1], ROUNDS));
        urza_slot_close(slot);
        urza_unload(module);
    }
    urza_unload(alone);
}

static void bench_small(struct tensors *t)
{
    static urza_slot *slots[SLOTS];
    double dormant[ROUNDS], ticks[ROUNDS], plants[ROUNDS], prunes[ROUNDS];
    urza_module *module = compile("residual");
    urza_error err;
    for (int i = 0; i < SLOTS; i++)
        check(urza_slot_open(NULL, &slots[i], &err), &err);
    for (int r = 0; r < ROUNDS; r++) {
        DLTensor y = t->y;
        const urza_slot_call call = {
            .h = &t->h, .params = t->params, .param_count = PARAMS, .y = &y};
        uint64_t start = clock_ns();
        for (int i = 0; i < 100000; i++)
            check(urza_slot_forward(slots[0], &call, NULL, &err), &err);
        dormant[r] = (double)(clock_ns() - start) / 1e5;
        start = clock_ns();
        for (int i = 0; i < SLOTS; i++)
            urza_slot_tick(slots[i], NULL);
        ticks[r] = (double)(clock_ns() - start) / 1e6;
        const urza_command prune = {.kind = URZA_COMMAND_PRUNE};
        start = clock_ns();
        check(urza_slot_plant(slots[1], "seed", module, NULL, &err), &err);
        plants[r] = (double)(clock_ns() - start) / 1e3;
        check(urza_slot_command(slots[1], &prune, &err), &err);
        start = clock_ns();
        urza_slot_tick(slots[1], NULL);
        prunes[r] = (double)(clock_ns() - start) / 1e3;
        for (int i = 0; i < 20; i++)
            urza_slot_tick(slots[1], NULL);
    }
    printf("dormant call %.1f ns, tick of %d slots %.3f ms, planting %.2f us, pruning %.2f us\n",
           median(dormant, ROUNDS), SLOTS, median(ticks, ROUNDS), median(plants, ROUNDS),
           median(prunes, ROUNDS));
    for (int i = 0; i < SLOTS; i++)
        urza_slot_close(slots[i]);
    urza_unload(module);
}

/* Both arms are the same block; calls come one after the other. */
static void bench_rollout(struct tensors *t)
{
    urza_module *a = compile(NULL), *b = compile(NULL);
    urza_rollout *rollout;
    urza_error err;
    const urza_rollout_options options = {.champion = a, .challenger = b, .salt = 1};
    double arms[ROUNDS], ratios[ROUNDS];
    int64_t sum = 0;
    check(urza_rollout_open(&options, &rollout, &err), &err);
    check(urza_rollout_set(rollout, URZA_RUNG_10, NULL, &err), &err);
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t start = clock_ns();
        for (uint64_t i = 0; i < 1000000; i++)
            sum += urza_rollout_arm(rollout, i, i);
        arms[r] = (double)(clock_ns() - start) / 1e6;
    }
    check(urza_rollout_set(rollout, URZA_RUNG_SHADOW, NULL, &err), &err);
    int64_t rows[2] = {16, WIDTH};
    DLTensor h = t->h, y = t->y;
    h.shape = y.shape = rows;
    for (int r = 0; r < ROUNDS; r++) {
        uint64_t start = clock_ns();
        for (int i = 0; i < 200; i++)
            check(urza_call(a, &h, 1, &y, 1, NULL, &err), &err);
        uint64_t middle = clock_ns();
        for (uint64_t i = 0; i < 200; i++)
            check(urza_rollout_call(rollout, 1, (uint64_t)r * 200 + i, &h, 1, &y, 1, &err), &err);
        ratios[r] = (double)(clock_ns() - middle) / (double)(middle - start);
    }
    printf("which arm %.1f ns (%.1f %% of them the challenger); shadow %.3f of the call alone\n",
           median(arms, ROUNDS), (double)sum / ROUNDS / 1e4, median(ratios, ROUNDS));
    urza_rollout_close(rollout);
    urza_unload(a);
    urza_unload(b);
}

int main(void)
{
    struct tensors t;
    make_tensors(&t);
    bench_small(&t);
    bench_rollout(&t);
    bench_blends(&t);
    return 0;
}
