/* Loops that run slice by slice (package/plan.h): which of them may, that results are then the same
 * bits, and that verification notices a plan which says so of one that may not. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "support/case.h"
#include "support/fault.h"

/* A state [B, 3, 20] for 5 trips; %s: what it is after a trip. Of what there is for that, %8 sums
 * along rows, %12 has the batch reversed, and %17 is 1 / (1 + trip), for all slices. */
static const char text[] =
    "graph \"loop\"\n"
    "dim B 1..9 multiple 1 typical 4\n"
    "%%1 = input \"x\" : f32[B, 3, 20]\n"
    "%%2 = const 0.5 : f32[]\n"
    "%%3 = broadcast %%2 {axes []} : f32[B, 3, 20]\n"
    "%%4 = iter {loop 1} : i64[]\n"
    "%%5 = state %%1 {loop 1, index 0} : f32[B, 3, 20]\n"
    "%%6 = mul %%5, %%1 : f32[B, 3, 20]\n"
    "%%7 = reduce_sum %%6 {axes [2]} : f32[B, 3]\n"
    "%%8 = broadcast %%7 {axes [0, 1]} : f32[B, 3, 20]\n"
    "%%9 = mul %%5, %%3 : f32[B, 3, 20]\n"
    "%%10 = add %%9, %%8 : f32[B, 3, 20]\n"
    "%%11 = tanh %%10 : f32[B, 3, 20]\n"
    "%%12 = reverse %%5 {axes [0]} : f32[B, 3, 20]\n"
    "%%13 = mul %%12, %%1 : f32[B, 3, 20]\n"
    "%%14 = cast %%4 : f32[]\n"
    "%%15 = const 1 : f32[]\n"
    "%%16 = add %%14, %%15 : f32[]\n"
    "%%17 = div %%15, %%16 : f32[]\n"
    "%%18 = broadcast %%17 {axes []} : f32[B, 3, 20]\n"
    "%%19 = mul %%11, %%18 : f32[B, 3, 20]\n"
    "%%20 = reduce_sum %%11 {axes [0]} : f32[3, 20]\n"
    "%%21 = broadcast %%20 {axes [1, 2]} : f32[B, 3, 20]\n"
    "%%22 = reduce_sum %%13 {axes [2]} : f32[B, 3]\n"
    "%%23 = broadcast %%22 {axes [0, 1]} : f32[B, 3, 20]\n"
    "%%24 = mul %%23, %%3 : f32[B, 3, 20]\n"
    "%%25 = copy %s : f32[B, 3, 20]\n"
    "%%26 = loop %%5, %%25 {loop 1, index 0, states 1, dim [5]} : f32[B, 3, 20]\n"
    "output \"y\" %%26\n";

static const struct row {
    const char *what, *next;
    bool sliced;
} rows[] = {
    {"rows of a slice", "%11", true},
    {"a number of the trip", "%19", true},
    {"rows of another slice", "%24", false},
    {"a sum over the batch", "%21", false},
};

static uint32_t failures;

static void complain(const char *what, const char *detail)
{
    printf("%s: %s\n", what, detail);
    failures++;
}

static bool compile_graph_of(const struct graph *graph, struct arena *arena,
                             struct compile_result *out, struct error *err)
{
    const char *targets[CASE_TARGETS];
    case_targets(targets);
    const struct package_param *params = case_params(graph, 5, arena, err);
    const struct compile_options options = {
        .targets = targets[0], .strategy = STRATEGY_FAST, .specialise = "B=3"};
    return params &&
           compile_graph(&(struct compile_source){graph, params, NULL}, &options, arena, out, err);
}

/* Says what the plan should not have said: that every launch may run for a slice alone. */
static void claim_slices(struct plan *plan)
{
    struct plan_loop *loop = &plan->loops.items[0];
    loop->slices = dim_named(plan->dims, 0);
    for (uint32_t i = loop->first; i < loop->first + loop->count; i++)
        plan->forward.items[i].sliced = true;
}

static void check_plan(const struct row *row, struct package_contents *contents,
                       struct arena *arena)
{
    struct plan *plan = &contents->targets[0].plan;
    const struct plan_loop *loop = &plan->loops.items[0];
    if (plan->loops.count != 1) {
        complain(row->what, "no loop");
        return;
    }
    if ((loop->slices != DIM_NONE) != row->sliced)
        complain(row->what, row->sliced ? "no slices" : "slices");
    const char *fault = case_fault(contents, arena);
    if (fault[0] != '\0')
        complain(row->what, fault);
    if (row->sliced)
        return;
    claim_slices(plan);
    if (case_fault(contents, arena)[0] == '\0')
        complain(row->what, "slices that it has not pass");
}

static void check(const struct row *row)
{
    struct compile_result result;
    struct package_contents contents;
    struct arena arena;
    struct strbuf all;
    struct error err = {0};
    arena_init(&arena);
    struct graph *graph = ARENA_NEW(&arena, struct graph);
    strbuf_init(&all, &arena);
    strbuf_printf(&all, text, row->next);
    if (!graph_parse(graph, &arena, all.data, all.size_bytes, &err) ||
        !compile_graph_of(graph, &arena, &result, &err) ||
        !package_read(result.package, result.package_bytes,
                      &(struct trust){.policy = TRUST_ALLOW_UNSIGNED}, &arena, &contents, &err))
        complain(row->what, err.message);
    else
        check_plan(row, &contents, &arena);
    arena_release(&arena);
}

int main(void)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check(&rows[i]);
    printf("%u failures\n", failures);
    return failures > 0;
}
