/* Loops through the whole compiler: their values at many numbers of trips, on all targets and in
 * the interpreter; packages that do not grow with the trips; and damage to what a plan says of
 * loops, which verification must notice. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "support/case.h"
#include "support/fault.h"
#include "verify/verify.h"

/* h = tanh(x[t] + h·w) and, as it was before the trip, added up; the rows of both. The number of
 * trips stands in the text twice. */
static const char text[] =
    "%%1 = input \"x\" : f32[%s, 8]\n"
    "%%2 = input \"h0\" : f32[8]\n"
    "%%3 = param \"w\" : f32[8, 8]\n"
    "%%4 = const 0.125 : f32[]\n"
    "%%5 = broadcast %%4 {axes []} : f32[8]\n"
    "%%6 = copy %%5 : f32[8]\n"
    "%%7 = state %%2 {loop 1, index 0} : f32[8]\n"
    "%%8 = state %%6 {loop 1, index 1} : f32[8]\n"
    "%%9 = iter {loop 1} : i64[]\n"
    "%%10 = take %%1, %%9 {axis 0} : f32[8]\n"
    "%%11 = contract %%7, %%3 {batch 0, contract 1} : f32[8]\n"
    "%%12 = add %%10, %%11 : f32[8]\n"
    "%%13 = tanh %%12 : f32[8]\n"
    "%%14 = copy %%13 : f32[8]\n"
    "%%15 = add %%8, %%7 : f32[8]\n"
    "%%16 = copy %%15 : f32[8]\n"
    "%%17 = loop %%7, %%8, %%14, %%16, %%14, %%16 {loop 1, index 0, states 2, dim [%s]} : f32[8]\n"
    "%%18 = loop %%7, %%8, %%14, %%16, %%14, %%16 {loop 1, index 1, states 2, dim [%s]} : f32[8]\n"
    "%%19 = loop %%7, %%8, %%14, %%16, %%14, %%16 {loop 1, index 2, states 2, dim [%s]}"
    " : f32[%s, 8]\n"
    "%%20 = loop %%7, %%8, %%14, %%16, %%14, %%16 {loop 1, index 3, states 2, dim [%s]}"
    " : f32[%s, 8]\n"
    "output \"h\" %%17\noutput \"sum\" %%18\noutput \"hs\" %%19\noutput \"sums\" %%20\n";

/* Sums of integers, whose quality is not judged. */
static const char sum_text[] = "graph \"sum\"\n"
                               "%1 = input \"x\" : i32[4]\n"
                               "%2 = input \"x0\" : i32[4]\n"
                               "%3 = state %2 {loop 1, index 0} : i32[4]\n"
                               "%4 = add %3, %1 : i32[4]\n"
                               "%5 = copy %4 : i32[4]\n"
                               "%6 = loop %3, %5 {loop 1, index 0, states 1, dim [100]} : i32[4]\n"
                               "output \"y\" %6\n";

/* h = tanh(x[t] + h·w) for 4096 trips; %s: what becomes of it in a trip. */
static const char late_text[] =
    "graph \"late\"\n"
    "%%1 = input \"x\" : f32[4096, 8]\n"
    "%%2 = input \"h0\" : f32[8]\n"
    "%%3 = param \"w\" : f32[8, 8]\n"
    "%%4 = state %%2 {loop 1, index 0} : f32[8]\n"
    "%%5 = iter {loop 1} : i64[]\n"
    "%%6 = take %%1, %%5 {axis 0} : f32[8]\n"
    "%%7 = contract %%4, %%3 {batch 0, contract 1} : f32[8]\n"
    "%%8 = add %%6, %%7 : f32[8]\n"
    "%%9 = tanh %%8 : f32[8]\n"
    "%%10 = const 1000 : i64[]\n"
    "%%11 = eq %%5, %%10 : bool[]\n"
    "%%12 = broadcast %%11 {axes []} : bool[8]\n"
    "%%13 = add %%9, %%6 : f32[8]\n"
    "%%14 = select %%12, %%13, %%9 : f32[8]\n"
    "%%15 = copy %s : f32[8]\n"
    "%%16 = loop %%4, %%15, %%15 {loop 1, index 0, states 1, dim [4096]} : f32[8]\n"
    "%%17 = loop %%4, %%15, %%15 {loop 1, index 1, states 1, dim [4096]} : f32[4096, 8]\n"
    "output \"h\" %%16\noutput \"hs\" %%17\n";

static uint32_t failures;

static void complain(const char *what, const char *detail)
{
    printf("%s: %s\n", what, detail);
    failures++;
}

/* trips: a number, or "T", which is then a named dim. */
static void read_graph(const char *trips, struct arena *arena, struct graph *out)
{
    struct strbuf all;
    struct error err;
    strbuf_init(&all, arena);
    strbuf_printf(&all, "graph \"loop\"\n%s",
                  trips[0] == 'T' ? "dim T 1..200 multiple 1 typical 9\n" : "");
    strbuf_printf(&all, text, trips, trips, trips, trips, trips, trips, trips);
    if (!graph_parse(out, arena, all.data, all.size_bytes, &err))
        complain(err.place, err.message);
}

/* Small weights keep the bounds of many trips finite. */
static void fill(const void *user, uint32_t index, const struct tensor *tensor, uint64_t seed)
{
    (void)user;
    (void)index;
    for (int64_t i = 0; i < tensor->count; i++)
        ((float *)tensor->data)[i] =
            (float)((double)((seed * 7 + (uint64_t)i * 13) % 31) / 64 - 0.25);
}

static void check_values(void)
{
    static const int64_t sizes[][LIMIT_NAMED_DIMS] = {{1}, {2}, {3}, {7}, {20}};
    const char *targets[CASE_TARGETS];
    uint32_t count = case_targets(targets);
    struct arena arena;
    struct graph graph;
    arena_init(&arena);
    read_graph("T", &arena, &graph);
    for (uint32_t i = 0; i < 2 * count; i++) {
        struct case_result result;
        struct error err;
        const struct test_case test = {.graph = &graph,
                                       .target = targets[i % count],
                                       .strategy = STRATEGY_FAST,
                                       .specialise = i < count ? NULL : "T=7",
                                       .seed = 3,
                                       .size_count = sizeof sizes / sizeof sizes[0],
                                       .sizes = sizes,
                                       .fill = fill,
                                       .unchecked = "bounds grow with the trips"};
        if (!case_check(&test, &result, &err))
            complain(test.target, err.message);
        if (result.elements == 0)
            complain(test.target, "nothing was compared");
    }
    arena_release(&arena);
}

static bool compile_graph_of(const struct graph *graph, struct arena *arena,
                             struct compile_result *out)
{
    const char *targets[CASE_TARGETS];
    struct error err;
    case_targets(targets);
    const struct package_param *params = case_params(graph, 5, arena, &err);
    const struct compile_options options = {.targets = targets[0],
                                            .strategy = STRATEGY_FAST,
                                            .specialise =
                                                graph->dims.names.count > 0 ? "T=11" : NULL};
    if (params &&
        compile_graph(&(struct compile_source){graph, params, NULL}, &options, arena, out, &err))
        return true;
    complain("compilation", err.message);
    return false;
}

static bool compile(const char *trips, struct arena *arena, struct compile_result *out)
{
    struct graph *graph = ARENA_NEW(arena, struct graph);
    read_graph(trips, arena, graph);
    return compile_graph_of(graph, arena, out);
}

static void check_growth(void)
{
    struct compile_result few, many;
    struct arena arena;
    arena_init(&arena);
    if (compile("16", &arena, &few) && compile("4096", &arena, &many)) {
        char detail[80];
        snprintf(detail, sizeof detail, "%zu and %zu bytes, %u and %u kernels", few.package_bytes,
                 many.package_bytes, few.kernels, many.kernels);
        if (few.kernels != many.kernels || many.package_bytes > few.package_bytes + 256)
            complain("16 and 4096 trips", detail);
    }
    arena_release(&arena);
}

/* Damage to a loop of a plan; each is a plan that plan_parse takes. */
static void fewer_trips(struct plan *plan, struct plan_loop *loop)
{
    loop->trips = dim_sub(plan->dims, loop->trips, dim_const(plan->dims, 1));
    loop->row_count = 0;
}

static void other_start(struct plan *plan, struct plan_loop *loop)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    (void)plan;
    states[1].from = states[0].from;
}

static void states_mixed_up(struct plan *plan, struct plan_loop *loop)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    uint32_t next = states[0].next;
    (void)plan;
    states[0].next = states[1].next;
    states[1].next = next;
}

static void results_mixed_up(struct plan *plan, struct plan_loop *loop)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    uint32_t result = states[0].result;
    (void)plan;
    states[0].result = states[1].result;
    states[1].result = result;
}

static void same_rows(struct plan *plan, struct plan_loop *loop)
{
    struct plan_row *rows = (struct plan_row *)(uintptr_t)loop->rows;
    (void)plan;
    rows[1].row = rows[0].row;
}

static void state_stands_still(struct plan *plan, struct plan_loop *loop)
{
    struct plan_state *states = (struct plan_state *)(uintptr_t)loop->states;
    (void)plan;
    states[0].next = states[0].state;
}

static void no_iter(struct plan *plan, struct plan_loop *loop)
{
    (void)plan;
    loop->iter = loop->states[0].state;
}

static void launch_outside(struct plan *plan, struct plan_loop *loop)
{
    (void)plan;
    loop->count--;
}

static void no_loop(struct plan *plan, struct plan_loop *loop)
{
    (void)loop;
    plan->loops.count = 0;
}

static const struct damage {
    const char *name, *fault; /* fault: part of what verification says */
    void (*plant)(struct plan *plan, struct plan_loop *loop);
} damages[] = {
    {"a trip less", "no launch writes output", fewer_trips},
    {"another start", "a state is another value", other_start},
    {"states mixed up", "a state is another value", states_mixed_up},
    {"results mixed up", "a state is another value", results_mixed_up},
    {"rows of another value", "a row is another value", same_rows},
    {"a state that stands still", "a state is another value", state_stands_still},
    {"iter is a state", "iter is no buffer", no_iter},
    {"a launch outside", "has no value after a trip", launch_outside},
    {"no loop", "no launch writes output", no_loop},
};

static void check_damage(void)
{
    struct compile_result result;
    struct arena arena;
    struct error err;
    arena_init(&arena);
    bool ok = compile("T", &arena, &result);
    for (size_t i = 0; ok && i <= sizeof damages / sizeof damages[0]; i++) {
        const struct damage *damage = i > 0 ? &damages[i - 1] : NULL;
        struct package_contents contents;
        void *bytes = arena_alloc(&arena, result.package_bytes, 64);
        memcpy(bytes, result.package, result.package_bytes);
        if (!package_read(bytes, result.package_bytes,
                          &(struct trust){.policy = TRUST_ALLOW_UNSIGNED}, &arena, &contents,
                          &err)) {
            complain("the package", err.message);
            break;
        }
        struct plan *plan = &contents.targets[0].plan;
        if (plan->loops.count != 1 || plan->loops.items[0].row_count != 2) {
            complain("the plan", "it has no loop of two rows");
            break;
        }
        if (damage)
            damage->plant(plan, &plan->loops.items[0]);
        const char *fault = case_fault(&contents, &arena);
        if (!damage && fault[0] != '\0')
            complain("undamaged", fault);
        if (damage && !strstr(fault, damage->fault))
            complain(damage->name, fault[0] != '\0' ? fault : "passes");
    }
    arena_release(&arena);
}

/* Plan and optimised graph agree on the trips, but not with the package's own graph. */
static void check_trips(void)
{
    struct compile_result result;
    struct package_contents contents;
    struct arena arena;
    struct error err;
    arena_init(&arena);
    struct graph *graph = ARENA_NEW(&arena, struct graph);
    if (!graph_parse(graph, &arena, sum_text, strlen(sum_text), &err) ||
        !compile_graph_of(graph, &arena, &result) ||
        !package_read(result.package, result.package_bytes,
                      &(struct trust){.policy = TRUST_ALLOW_UNSIGNED}, &arena, &contents, &err)) {
        complain("the sum", err.message);
    } else {
        static const char from[] = "dim [100]", to[] = "dim [001]";
        struct package_target *target = &contents.targets[0];
        char *optimised = arena_strndup(&arena, target->optimised, target->optimised_bytes);
        char *at = strstr(optimised, from);
        const char *fault = case_fault(&contents, &arena);
        if (!at || fault[0] != '\0')
            complain("the sum, undamaged", fault);
        else
            memcpy(at, to, strlen(to));
        target->optimised = optimised;
        target->plan.loops.items[0].trips = dim_const(target->plan.dims, 1);
        fault = case_fault(&contents, &arena);
        if (!strstr(fault, "another number of trips"))
            complain("1 trip for 100", fault[0] != '\0' ? fault : "passes");
    }
    arena_release(&arena);
}

static bool read_late(const char *next, struct arena *arena, struct graph *out)
{
    struct strbuf all;
    struct error err;
    strbuf_init(&all, arena);
    strbuf_printf(&all, late_text, next);
    if (graph_parse(out, arena, all.data, all.size_bytes, &err))
        return true;
    complain(err.place, err.message);
    return false;
}

/* Kernels, plan and optimised graph are those of a loop that is wrong in trip 1000 only. Launches
 * are judged in four trips, none of them that one, and passes on trips that are drawn: it is found
 * by the call of the whole. */
static void check_late_damage(void)
{
    struct arena arena;
    arena_init(&arena);
    struct graph *right = ARENA_NEW(&arena, struct graph), *wrong = ARENA_NEW(&arena, struct graph);
    bool ok = read_late("%9", &arena, right) && read_late("%14", &arena, wrong);
    for (int damaged = 0; ok && damaged < 2; damaged++) {
        struct compile_result result;
        struct package_contents contents;
        struct error err = {0};
        ok = compile_graph_of(damaged ? wrong : right, &arena, &result) &&
             package_read(result.package, result.package_bytes,
                          &(struct trust){.policy = TRUST_ALLOW_UNSIGNED}, &arena, &contents, &err);
        if (!ok) {
            complain("the late loop", err.message);
            break;
        }
        struct graph own = contents.graph; /* the plan goes on with its own dims */
        contents.targets[0].plan.dims = &own.dims;
        contents.graph = *right;
        const char *fault = case_fault(&contents, &arena);
        if (damaged ? !strstr(fault, "times those of a plain loop") : fault[0] != '\0')
            complain(damaged ? "wrong in trip 1000" : "right in trip 1000",
                     fault[0] != '\0' ? fault : "passes");
    }
    arena_release(&arena);
}

int main(void)
{
    check_values();
    check_late_damage();
    check_growth();
    check_damage();
    check_trips();
    printf("%u failures\n", failures);
    return failures > 0;
}
