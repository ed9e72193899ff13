/* Loops that end at run time, through the whole compiler: their values beside plain C for every
 * number of trips, on all targets and in the interpreter; launches, counted; calls that are
 * interrupted; and damage to what a package says of the condition, which verification must notice.
 */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "compiler/import/import.h"
#include "support/case.h"
#include "support/fault.h"
#include "urza/run.h"
#include "verify/verify.h"

#define WIDTH 8

/* h = tanh(x[t] + h·w) and its rows, while `go`, which is then t + 1 < n; at most T - 1 trips. A
 * third state is what the condition is not. */
static const char text[] =
    "graph \"while\"\n"
    "dim T 1..301 multiple 1 typical 9\n"
    "%1 = input \"x\" : f32[T, 8]\n"
    "%2 = input \"n\" : i64[]\n"
    "%3 = input \"go\" : bool[]\n"
    "%4 = input \"h0\" : f32[8]\n"
    "%5 = param \"w\" : f32[8, 8]\n"
    "%6 = state %4 {loop 1, index 0} : f32[8]\n"
    "%7 = state %3 {loop 1, index 1} : bool[]\n"
    "%8 = not %3 : bool[]\n"
    "%9 = copy %8 : bool[]\n"
    "%10 = state %9 {loop 1, index 2} : bool[]\n"
    "%11 = iter {loop 1} : i64[]\n"
    "%12 = take %1, %11 {axis 0} : f32[8]\n"
    "%13 = contract %6, %5 {batch 0, contract 1} : f32[8]\n"
    "%14 = add %12, %13 : f32[8]\n"
    "%15 = tanh %14 : f32[8]\n"
    "%16 = copy %15 : f32[8]\n"
    "%17 = const 1 : i64[]\n"
    "%18 = add %11, %17 : i64[]\n"
    "%19 = lt %18, %2 : bool[]\n"
    "%20 = copy %19 : bool[]\n"
    "%21 = not %19 : bool[]\n"
    "%22 = copy %21 : bool[]\n"
    "%23 = loop %6, %7, %10, %16, %20, %22, %16 {loop 1, index 0, states 3, dim [T - 1], while 1}"
    " : f32[8]\n"
    "%24 = loop %6, %7, %10, %16, %20, %22, %16 {loop 1, index 1, states 3, dim [T - 1], while 1}"
    " : bool[]\n"
    "%25 = loop %6, %7, %10, %16, %20, %22, %16 {loop 1, index 3, states 3, dim [T - 1], while 1}"
    " : f32[T - 1, 8]\n"
    "output \"h\" %23\noutput \"more\" %24\noutput \"hs\" %25\n";

/* Adds one to a number as long as `go`, which never changes. */
static const char endless[] =
    "graph \"endless\"\n"
    "%1 = input \"x\" : f32[]\n"
    "%2 = input \"go\" : bool[]\n"
    "%3 = state %1 {loop 1, index 0} : f32[]\n"
    "%4 = state %2 {loop 1, index 1} : bool[]\n"
    "%5 = const 1 : f32[]\n"
    "%6 = add %3, %5 : f32[]\n"
    "%7 = copy %6 : f32[]\n"
    "%8 = copy %4 : bool[]\n"
    "%9 = loop %3, %4, %7, %8 {loop 1, index 0, states 2, dim [2147483647], while 1} : f32[]\n"
    "output \"y\" %9\n";

static uint32_t failures;

static void complain(const char *what, const char *detail)
{
    printf("%s: %s\n", what, detail);
    failures++;
}

static const struct package_param *compile(const char *graph_text, const char *target,
                                           struct arena *arena, struct compile_result *out)
{
    struct graph *graph = ARENA_NEW(arena, struct graph);
    struct error err;
    const struct compile_options options = {.targets = target, .strategy = STRATEGY_FAST};
    const struct package_param *params = NULL;
    if (graph_parse(graph, arena, graph_text, strlen(graph_text), &err))
        params = case_params(graph, 5, arena, &err);
    for (size_t i = 0; params && graph->params.count > 0 && i < WIDTH * WIDTH; i++)
        ((float *)(uintptr_t)params[0].data)[i] *= 0.125F; /* errors fade from trip to trip */
    if (params &&
        compile_graph(&(struct compile_source){graph, params, NULL}, &options, arena, out, &err))
        return params;
    complain(target, err.message);
    return NULL;
}

static urza_module *load(const struct compile_result *result, const char *target, uint32_t threads)
{
    const urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED,
                                       .threads = threads,
                                       .chunks = threads > 1 ? threads : 0,
                                       .target = target};
    urza_module *module = NULL;
    urza_error err;
    if (urza_load_memory(result->package, result->package_bytes, &options, &module, &err) != 0)
        complain(target, err.message);
    return module;
}

/* One call's arguments and results; length: T - 1. */
struct call {
    int64_t length, n;
    uint8_t go, more;
    float x[301 * WIDTH], h0[WIDTH], h[WIDTH], hs[300 * WIDTH];
};

static int run_call(urza_module *module, struct call *call, urza_error *err)
{
    static const DLDevice cpu = {.device_type = kDLCPU};
    static const DLDataType f32 = {kDLFloat, 32, 1}, i64 = {kDLInt, 64, 1}, flag = {kDLBool, 8, 1};
    int64_t first[2] = {call->length + 1, WIDTH}, rows[2] = {call->length, WIDTH};
    int64_t row[1] = {WIDTH};
    DLTensor in[4] = {{call->x, cpu, 2, f32, first, NULL, 0},
                      {&call->n, cpu, 0, i64, NULL, NULL, 0},
                      {&call->go, cpu, 0, flag, NULL, NULL, 0},
                      {call->h0, cpu, 1, f32, row, NULL, 0}};
    DLTensor out[3] = {{call->h, cpu, 1, f32, row, NULL, 0},
                       {&call->more, cpu, 0, flag, NULL, NULL, 0},
                       {call->hs, cpu, 2, f32, rows, NULL, 0}};
    return urza_call(module, in, 4, out, 3, NULL, err);
}

/* The trips by the definition; their results in float64. */
static int64_t expect(const struct call *call, const float *w, double *h, double *hs, bool *more)
{
    int64_t trip = 0;
    *more = call->go != 0;
    for (int i = 0; i < WIDTH; i++)
        h[i] = (double)call->h0[i];
    memset(hs, 0, (size_t)call->length * WIDTH * sizeof *hs);
    for (; trip < call->length && *more; trip++) {
        double next[WIDTH];
        for (int i = 0; i < WIDTH; i++) {
            double sum = (double)call->x[trip * WIDTH + i];
            for (int k = 0; k < WIDTH; k++)
                sum += h[k] * (double)w[i * WIDTH + k];
            next[i] = hs[trip * WIDTH + i] = tanh(sum);
        }
        memcpy(h, next, sizeof next);
        *more = trip + 1 < call->n;
    }
    return trip;
}

static bool near(float a, double b)
{
    return isnan(b) ? isnan(a) : fabs((double)a - b) <= 1e-4;
}

static void check_call(urza_module *module, struct call *call, const float *w, const char *target)
{
    double h[WIDTH], hs[300 * WIDTH];
    bool more, right = true;
    urza_error err;
    urza_stats before, after;
    memset(call->hs, 0x7f, sizeof call->hs);
    urza_stats_get(module, &before);
    if (run_call(module, call, &err) != 0) {
        complain(target, err.message);
        return;
    }
    urza_stats_get(module, &after);
    int64_t trips = expect(call, w, h, hs, &more);
    for (int i = 0; i < WIDTH; i++)
        right &= near(call->h[i], h[i]);
    for (int64_t i = 0; i < call->length * WIDTH; i++)
        right &= near(call->hs[i], hs[i]) && (i < trips * WIDTH || call->hs[i] == 0);
    if (!right || call->more != more) {
        char detail[96];
        snprintf(detail, sizeof detail, "wrong: T %lld, n %lld, go %d", (long long)call->length,
                 (long long)call->n, call->go);
        complain(target, detail);
    }
    /* Launches of the body run in the trips that are made, and in no other. */
    static int64_t outside, inside;
    int64_t launches = (int64_t)(after.launches - before.launches);
    if (call->length == 0)
        outside = launches;
    if (trips == 1)
        inside = launches - outside;
    if (strcmp(target, "interpreter") != 0 && call->length > 0 &&
        (launches != outside + trips * inside || inside < 1))
        complain(target, "another number of launches");
}

static void check_values(const char *target)
{
    static struct call call;
    static const int64_t lengths[] = {0, 1, 2, 7, 300};
    struct compile_result result;
    struct arena arena;
    arena_init(&arena);
    bool interpreted = strcmp(target, "interpreter") == 0;
    const char *targets[CASE_TARGETS];
    case_targets(targets);
    const struct package_param *params =
        compile(text, interpreted ? targets[0] : target, &arena, &result);
    for (uint32_t threads = 1; params && threads <= 2; threads++) {
        urza_module *module = load(&result, target, threads);
        for (size_t l = 0; module && l < sizeof lengths / sizeof lengths[0]; l++) {
            const int64_t ns[] = {-3, 0, 1, 2, 3, 5, lengths[l] - 1, lengths[l], INT64_MAX};
            for (size_t k = 0; k < 4 * sizeof ns / sizeof ns[0]; k++) {
                call.length = lengths[l];
                call.n = ns[k / 4];
                call.go = k % 2 == 0;
                for (int i = 0; i < 300 * WIDTH; i++)
                    call.x[i] = (float)((i * 37 + (int)k * 11) % 64) / 64 - 0.5F;
                for (int i = 0; i < WIDTH; i++)
                    call.h0[i] = (k / 2) % 2 == 0 || i != 3 ? 0.125F * (float)i : NAN;
                check_call(module, &call, params[0].data, target);
            }
        }
        urza_unload(module);
    }
    arena_release(&arena);
}

/* An If whose branches hold products: the launches that run are those of the branch that is taken,
 * and those of no branch. */
static void check_branches(void)
{
    static const char folder[] = "tests/data/onnx/node/test_ort_if_costly_true";
    static const DLDevice cpu = {.device_type = kDLCPU};
    static const DLDataType f32 = {kDLFloat, 32, 1}, flag = {kDLBool, 8, 1};
    struct import_options options = {.folder = folder};
    const struct compile_options fast = {.strategy = STRATEGY_FAST};
    struct blueprint blueprint;
    struct compile_result result;
    struct package_contents contents;
    struct arena arena;
    struct error err;
    char *bytes = NULL;
    size_t size = 0;
    arena_init(&arena);
    struct package_param *params = NULL;
    bool ok = file_read("tests/data/onnx/node/test_ort_if_costly_true/model.onnx", 1 << 20, &bytes,
                        &size, &err) &&
              onnx_read(bytes, size, &options, &arena, &blueprint, &err);
    if (ok)
        params = ARENA_ARRAY(&arena, struct package_param, blueprint.graph.params.count);
    for (uint32_t i = 0; ok && i < blueprint.graph.params.count; i++)
        ok = blueprint_param_data(&blueprint, i, NULL, &arena, &params[i], &err);
    ok = ok &&
         compile_graph(&(struct compile_source){&blueprint.graph, params, NULL}, &fast, &arena,
                       &result, &err) &&
         package_read(result.package, result.package_bytes,
                      &(struct trust){.policy = TRUST_ALLOW_UNSIGNED}, &arena, &contents, &err);
    free(bytes);
    urza_module *module = ok ? load(&result, contents.targets[0].name, 1) : NULL;
    const struct plan *plan = ok ? &contents.targets[0].plan : NULL;
    if (!ok)
        complain(folder, err.message);
    if (ok && (plan->loops.count != 2 || blueprint.graph.inputs.count != 2))
        complain(folder, "it is not two loops");
    for (uint8_t taken = 0; module && plan->loops.count == 2 && taken < 2; taken++) {
        float x[3 * WIDTH] = {1}, y[3 * WIDTH];
        int64_t shape[2] = {3, WIDTH};
        DLTensor in[2] = {{x, cpu, 2, f32, shape, NULL, 0}, {&taken, cpu, 0, flag, NULL, NULL, 0}};
        DLTensor out = {y, cpu, 2, f32, shape, NULL, 0};
        urza_stats before, after;
        urza_error problem;
        uint32_t then = plan->loops.items[0].count, otherwise = plan->loops.items[1].count;
        urza_stats_get(module, &before);
        if (urza_call(module, in, 2, &out, 1, NULL, &problem) != 0)
            complain(folder, problem.message);
        urza_stats_get(module, &after);
        uint32_t expected = plan->forward.count - (taken ? otherwise : then);
        if (after.launches - before.launches != expected || then < 1 || otherwise < 2)
            complain(folder, taken ? "then: other launches" : "else: other launches");
    }
    urza_unload(module);
    arena_release(&arena);
}

/* A call in a thread of its own that does not end by itself. */
struct stuck {
    urza_module *module;
    int code, state;
    _Atomic bool ended;
};

static void *call_endless(void *argument)
{
    static const DLDevice cpu = {.device_type = kDLCPU};
    static const DLDataType f32 = {kDLFloat, 32, 1}, flag = {kDLBool, 8, 1};
    struct stuck *stuck = argument;
    float x = 1, y = 0;
    uint8_t go = 1;
    DLTensor in[2] = {{&x, cpu, 0, f32, NULL, NULL, 0}, {&go, cpu, 0, flag, NULL, NULL, 0}};
    DLTensor out = {&y, cpu, 0, f32, NULL, NULL, 0};
    urza_error err;
    pthread_cancel(pthread_self());
    stuck->code = urza_call(stuck->module, in, 2, &out, 1, NULL, &err);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &stuck->state);
    atomic_store(&stuck->ended, true);
    return NULL;
}

static void check_interrupt(const char *target, uint32_t threads)
{
    const char *targets[CASE_TARGETS];
    struct compile_result result;
    struct arena arena;
    pthread_t thread;
    arena_init(&arena);
    case_targets(targets);
    if (!compile(endless, targets[0], &arena, &result))
        return;
    struct stuck stuck = {.module = load(&result, target, threads)};
    if (stuck.module && pthread_create(&thread, NULL, call_endless, &stuck) == 0) {
        const struct timespec while_it_runs = {.tv_nsec = 20000000};
        nanosleep(&while_it_runs, NULL);
        if (atomic_load(&stuck.ended))
            complain(target, "a call that does not end has ended");
        while (!atomic_load(&stuck.ended)) { /* the first may come before the call begins */
            urza_interrupt(stuck.module);
            nanosleep(&while_it_runs, NULL);
        }
        pthread_join(thread, NULL);
        if (stuck.code != ERR_CANCELLED)
            complain(target, "the interrupted call has another result");
    }
    urza_interrupt(NULL);
    urza_unload(stuck.module);
    arena_release(&arena);
}

/* Damage to the condition; each is a plan that plan_parse takes, or another graph. */
static void ignored(struct package_target *target, struct plan_loop *loop, struct arena *arena)
{
    (void)target;
    (void)arena;
    loop->condition = 0;
}

static void another_state(struct package_target *target, struct plan_loop *loop,
                          struct arena *arena)
{
    (void)target;
    (void)arena;
    loop->condition = 3;
}

static void no_bool(struct package_target *target, struct plan_loop *loop, struct arena *arena)
{
    (void)target;
    (void)arena;
    loop->condition = 1;
}

static void inverted(struct package_target *target, struct plan_loop *loop, struct arena *arena)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    struct plan_state state = states[1];
    (void)target;
    (void)arena;
    states[1] = states[2];
    states[2] = state;
}

/* The first look is at something else, as where the condition is looked at behind the trip. */
static void looked_at_late(struct package_target *target, struct plan_loop *loop,
                           struct arena *arena)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    (void)target;
    (void)arena;
    states[1].from = states[2].from;
}

static void never_changes(struct package_target *target, struct plan_loop *loop,
                          struct arena *arena)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    (void)target;
    (void)arena;
    states[1].next = states[1].state;
}

static void rows_left_out(struct package_target *target, struct plan_loop *loop,
                          struct arena *arena)
{
    (void)target;
    (void)arena;
    loop->row_count = 0;
}

/* The graph of the target says something else than the package's. */
static void replace(struct package_target *target, struct arena *arena, const char *from,
                    const char *to)
{
    struct strbuf changed;
    const char *at, *rest = target->optimised, *end = rest + target->optimised_bytes;
    strbuf_init(&changed, arena);
    while ((at = memmem(rest, (size_t)(end - rest), from, strlen(from)))) {
        strbuf_add(&changed, rest, (size_t)(at - rest));
        strbuf_puts(&changed, to);
        rest = at + strlen(from);
    }
    strbuf_add(&changed, rest, (size_t)(end - rest));
    target->optimised = changed.data;
    target->optimised_bytes = changed.size_bytes;
}

static void one_trip_more(struct package_target *target, struct plan_loop *loop,
                          struct arena *arena)
{
    (void)loop;
    replace(target, arena, " = lt ", " = le ");
}

static void other_graph(struct package_target *target, struct plan_loop *loop, struct arena *arena)
{
    loop->condition = 3;
    replace(target, arena, "while 1", "while 2");
}

static const struct damage {
    const char *name, *fault; /* fault: part of what verification says */
    void (*plant)(struct package_target *target, struct plan_loop *loop, struct arena *arena);
} damages[] = {
    {"a condition that is ignored", "its condition is another state", ignored},
    {"the condition is another state", "its condition is another state", another_state},
    {"a condition that is no bool", "the state is no buffer of one bool", no_bool},
    {"a condition that is inverted", "a state is another value", inverted},
    {"a condition that is looked at late", "a state is another value", looked_at_late},
    {"a condition that never changes", "a state is another value", never_changes},
    {"rows that nobody clears", "no launch writes output", rows_left_out},
    {"a trip more", "", one_trip_more},
    {"another condition in graph and plan", "its loops are not the package's", other_graph},
};

static void check_damage(void)
{
    const char *targets[CASE_TARGETS];
    struct compile_result result;
    struct arena arena;
    struct error err;
    arena_init(&arena);
    case_targets(targets);
    bool ok = compile(text, targets[0], &arena, &result) != NULL;
    for (size_t i = 0; ok && i <= sizeof damages / sizeof damages[0]; i++) {
        const struct damage *damage = i > 0 ? &damages[i - 1] : NULL;
        const struct trust trust = {.policy = TRUST_ALLOW_UNSIGNED};
        struct package_contents contents;
        void *bytes = arena_alloc(&arena, result.package_bytes, 64);
        memcpy(bytes, result.package, result.package_bytes);
        if (!package_read(bytes, result.package_bytes, &trust, &arena, &contents, &err)) {
            complain("the package", err.message);
            break;
        }
        struct package_target *target = &contents.targets[0];
        if (target->plan.loops.count != 1 || target->plan.loops.items[0].condition != 2) {
            complain("the plan", "it has no loop that ends by its second state");
            break;
        }
        if (damage)
            damage->plant(target, &target->plan.loops.items[0], &arena);
        const char *fault = case_fault(&contents, &arena);
        if (!damage && fault[0] != '\0')
            complain("undamaged", fault);
        if (damage && (fault[0] == '\0' || !strstr(fault, damage->fault)))
            complain(damage->name, fault[0] != '\0' ? fault : "passes");
    }
    arena_release(&arena);
}

int main(void)
{
    const char *targets[CASE_TARGETS];
    uint32_t count = case_targets(targets);
    for (uint32_t i = 0; i < count; i++)
        check_values(targets[i]);
    check_interrupt(targets[0], 1);
    check_interrupt(targets[0], 2);
    check_interrupt("interpreter", 1);
    check_damage();
    check_branches();
    printf("%u failures\n", failures);
    return failures > 0;
}
