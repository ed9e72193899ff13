/* The search, stage by stage.
 *
 *   compile ──► package, and the sizes by which its code differs
 *   compile ──► each graph, each naive nest, each scheduled nest, judged as it is made
 *   the package: each kernel's code by itself, then the whole
 *   compile ──► where a kernel is wrong: its nest as lowered and as scheduled, on what showed it
 *   compile ──► where the scheduled nest is wrong: that nest after each step
 *
 * After the first fault is found nothing more is judged, but the compilation goes on. */
#include "debug/debug.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "compiler/opt/opt.h"
#include "compiler/sched/sched.h"
#include "compiler/target/target.h"
#include "debug/debug_priv.h"
#include "verify/verify.h"

#define TRACE_COST 1e7 /* limit on the reference of a kernel that is evaluated again */
#define SIZES_COST 2e7 /* limit on the references of all sizes of a target */

const char *fault_place_name(enum fault_place place)
{
    static const char *const names[FAULT_COUNT] = {"none", "pass", "lower", "step", "code", "plan"};
    return place < FAULT_COUNT ? names[place] : "none";
}

const char *draw_print(const struct draw *draw, const struct dim_table *dims, struct arena *arena)
{
    static const char *const names[] = {
        [FILL_NORMAL] = "random",    [FILL_SPECIAL] = "special", [FILL_FINITE] = "large",
        [FILL_EXACT] = "exact",      [FILL_SMALL] = "small",     [FILL_WIDE] = "wide",
        [FILL_PEAKS] = "peaks among"};
    struct strbuf text;
    struct size size = {.why = ""};
    char at[SIZE_BYTES];
    memcpy(size.dims, draw->dims, sizeof size.dims);
    size_print(dims, &size, at, sizeof at);
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s%s%s values", at, at[0] ? ", " : "", names[draw->fill]);
    return text.data;
}

void bisect_note(struct bisect *b, enum fault_place place, const struct target *target,
                 const char *what, const char *kernel, const char *detail)
{
    struct bisect_finding *f = &b->finding;
    if (f->place != FAULT_NONE)
        return;
    f->place = place;
    f->target = target ? target->name : NULL;
    f->what = arena_strdup(b->arena, what);
    f->kernel = arena_strdup(b->arena, kernel);
    f->detail = arena_strdup(b->arena, detail);
}

bool bisect_sizes(const struct bisect *b, const char *target, struct sizes *out, struct error *err)
{
    const struct verify_options options = {.dims = b->request->dims, .seed = b->request->seed};
    const struct package_contents *contents = b->compiled ? b->compiled : b->request->contents;
    const struct package_target *found = NULL;
    for (uint32_t i = 0; b->compiled && i < contents->target_count; i++)
        if (strcmp(contents->targets[i].name, target) == 0)
            found = &contents->targets[i];
    const struct size_wish wish = {contents, found, &options, SIZES_COST};
    return sizes_choose(&wish, b->arena, out, err);
}

/* The planted fault acts on a view before the view is judged. */
static void see(void *context, const struct compile_view *view)
{
    struct bisect *b = context;
    const struct compile_observer *fault = b->request->fault;
    struct suspects *s = &b->targets[b->target_count > 0 ? b->target_count - 1 : 0];
    if (fault)
        fault->see(fault->context, view);
    if (b->finding.place != FAULT_NONE || b->failed)
        return;
    if (view->stage == STAGE_READ) {
        probes_restart(b);
        probes_judge(b, view->target, view->graph, NULL, "read");
    } else if (view->stage == STAGE_OPTIMISE) {
        probes_judge(b, view->target, view->graph, NULL, "optimise");
    } else if (view->stage == STAGE_LOWER) {
        s = &b->targets[b->target_count++];
        b->failed = !suspects_make(b, view, s, b->err);
        if (!b->failed)
            suspects_judge_naive(b, s);
    } else if (view->stage == STAGE_SCHEDULE) {
        suspects_judge_scheduled(b, s, view->graph);
    }
}

static void plant_pass(void *context, const struct compile_view *view)
{
    struct bisect *b = context;
    const struct compile_observer *fault = b->request->fault;
    if (fault && fault->pass)
        fault->pass(fault->context, view);
}

static void see_pass(void *context, const struct compile_view *view)
{
    struct bisect *b = context;
    plant_pass(b, view);
    probes_judge(b, view->target, view->graph, view->pass, view->pass->name);
}

static void plant_step(void *context, const struct compile_view *view)
{
    struct bisect *b = context;
    const struct compile_observer *fault = b->request->fault;
    if (fault && fault->step)
        fault->step(fault->context, view);
}

static bool compile(struct bisect *b, const struct compile_observer *observer,
                    struct compile_result *out, struct error *err)
{
    const struct package_contents *contents = b->request->contents;
    const struct compile_options options = {.targets = b->request->targets,
                                            .strategy = STRATEGY_STANDARD,
                                            .observer = observer,
                                            .cache = b->cache};
    return compile_graph(&(struct compile_source){&contents->graph, contents->params, NULL},
                         &options, b->arena, out, err);
}

/* Compiles one kernel again and judges its nest on the arguments that showed the fault: as lowered,
 * after each step, and as scheduled. */
struct tracing {
    struct bisect *b;
    const struct suspects *suspects;
    bool steps; /* also after each step, not only before and after all of them */
    bool found;
};

static bool is_wrong(struct tracing *t, const struct compile_view *view)
{
    struct bisect *b = t->b;
    const struct suspect *s = &t->suspects->items[b->suspect];
    struct outcome outcome = {0};
    if (t->found || view->target != t->suspects->target ||
        nest_is_right(&s->launch, view->nests[b->suspect], &b->draw, &outcome))
        return false;
    b->finding.detail = arena_strdup(b->arena, outcome.detail);
    return t->found = true;
}

static void trace_stage(void *context, const struct compile_view *view)
{
    struct tracing *t = context;
    struct bisect_finding *f = &t->b->finding;
    const struct compile_observer *fault = t->b->request->fault;
    if (fault)
        fault->see(fault->context, view);
    if (t->steps || (view->stage != STAGE_LOWER && view->stage != STAGE_SCHEDULE) ||
        !is_wrong(t, view))
        return;
    f->place = view->stage == STAGE_LOWER ? FAULT_LOWER : FAULT_STEP;
    f->what = view->stage == STAGE_LOWER ? "" : "schedule";
}

static void trace_pass(void *context, const struct compile_view *view)
{
    struct tracing *t = context;
    plant_pass(t->b, view);
}

static void trace_step(void *context, const struct compile_view *view)
{
    struct tracing *t = context;
    struct schedule one = {0};
    struct strbuf text;
    plant_step(t->b, view);
    if (!t->steps || view->kernel != t->b->suspect || !is_wrong(t, view))
        return;
    strbuf_init(&text, t->b->arena);
    VEC_PUSH(t->b->arena, &one.steps, *view->step);
    sched_print(&one, &text);
    t->b->finding.what = text.data;
}

static void trace(struct bisect *b, bool steps)
{
    struct tracing tracing = {.b = b, .steps = steps};
    const struct compile_observer observer = {trace_stage, &tracing, trace_pass, trace_step};
    struct compile_result result;
    struct error err = {0};
    for (uint32_t i = 0; i < b->target_count; i++)
        if (strcmp(b->targets[i].target->name, b->finding.target) == 0)
            tracing.suspects = &b->targets[i];
    const struct graph *part = tracing.suspects->items[b->suspect].launch.graph;
    if (graph_cost(part, b->draw.dims) <= TRACE_COST)
        compile(b, &observer, &result, &err); /* a finding counts, even if compiling fails */
}

/* Wrong code may come from a wrong nest, at sizes at which nests were not evaluated. */
static void trace_kernel(struct bisect *b)
{
    if (b->finding.kernel[0] == 0)
        return;
    if (b->finding.place == FAULT_CODE)
        trace(b, false);
    if (b->finding.place == FAULT_STEP)
        trace(b, true);
}

/* The package that is judged: the given one, or the one that was compiled. */
struct whole {
    const void *bytes;
    size_t size;
    const struct package_contents *contents;
};

static bool judge_package(struct bisect *b, const struct whole *whole, struct error *err)
{
    const struct verify_options options = {.seed = b->request->seed,
                                           .dims = b->request->dims,
                                           .size_count = 1,
                                           .allow_unsigned = true,
                                           .trusted = b->request->trusted};
    struct verify_report report;
    for (uint32_t i = 0; i < b->target_count && b->finding.place == FAULT_NONE; i++)
        if (!code_judge(b, &b->targets[i], whole->contents, err))
            return false;
    if (b->finding.place != FAULT_NONE || whole->contents->target_count == 0)
        return true;
    if (!verify_package(whole->bytes, whole->size, &options, b->arena, &report, err))
        return false;
    for (uint32_t i = 0; i < report.count; i++) {
        const struct verify_check *check = &report.checks[i];
        const char *target = strrchr(check->name, ' ');
        if (check->pass || b->finding.place != FAULT_NONE)
            continue;
        bool kernels = strncmp(check->name, "kernels", 7) == 0 && !b->code_judged;
        bisect_note(b, kernels ? FAULT_CODE : FAULT_PLAN, target ? target_find(target + 1) : NULL,
                    check->name, "", check->detail);
        b->finding.sample = "";
    }
    return true;
}

/* The first compilation: its package holds the sizes at which code differs. */
static bool compile_first(struct bisect *b, struct whole *whole, struct error *err)
{
    const struct trusted_keys none = {.count = 0};
    struct compile_result result;
    const struct trust trust = {TRUST_ALLOW_UNSIGNED, &none};
    struct package_contents *contents = ARENA_NEW(b->arena, struct package_contents);
    if (!compile(b, b->request->fault, &result, err))
        return false;
    void *bytes = arena_alloc(b->arena, result.package_bytes, 64);
    memcpy(bytes, result.package, result.package_bytes);
    if (!package_read(bytes, result.package_bytes, &trust, b->arena, contents, err))
        return false;
    b->compiled = contents;
    *whole = (struct whole){bytes, result.package_bytes, contents};
    if (b->request->package)
        *whole =
            (struct whole){b->request->package, b->request->package_bytes, b->request->contents};
    return true;
}

static bool search(struct bisect *b, struct error *err)
{
    const struct compile_observer observer = {see, b, see_pass, plant_step};
    struct compile_result result;
    struct whole whole = {0};
    struct error why = {0};
    if (!probes_make(b, err))
        return false;
    bool compiles = compile_first(b, &whole, err);
    bool judged = compile(b, &observer, &result, &why) && !b->failed;
    if (b->finding.place == FAULT_NONE && !compiles)
        return false;
    if (b->finding.place == FAULT_NONE && !judged) {
        *err = why;
        return false;
    }
    if (b->finding.place == FAULT_NONE && !judge_package(b, &whole, err))
        return false;
    trace_kernel(b);
    return true;
}

bool bisect_package(const struct bisect_request *request, struct arena *arena,
                    struct bisect_finding *out, struct error *err)
{
    struct error why = {0};
    struct bisect *b = ARENA_NEW(arena, struct bisect);
    *b = (struct bisect){.request = request,
                         .arena = arena,
                         .finding = {.what = "", .kernel = "", .detail = "", .sample = NULL},
                         .err = &why};
    b->cache = cache_new(&(struct cache_options){0});
    bool ok = search(b, err);
    if (ok && b->finding.place != FAULT_NONE && !b->finding.sample) {
        b->finding.sample = draw_print(&b->draw, &request->contents->graph.dims, arena);
        bisect_shrink(b);
    }
    cache_free(b->cache);
    if (!ok)
        return false;
    b->finding.target = b->finding.target ? b->finding.target : "";
    b->finding.sample = b->finding.sample ? b->finding.sample : "";
    *out = b->finding;
    return true;
}
