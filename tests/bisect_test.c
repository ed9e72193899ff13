/* The search finds planted faults where they were planted: in a graph pass, in lowering, in a
 * schedule step, in what follows the steps, in the machine code and in the plan; and in right
 * compilations it finds nothing.
 *
 * Faults are those of mutants/. A fault is planted anew in every compilation of the search, at the
 * same site, and what it damaged is what must be named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/import/import.h"
#include "compiler/opt/opt.h"
#include "compiler/sched/sched.h"
#include "debug/debug.h"
#include "mutants/mutants.h"

#include <cmocka.h>

#define BEHIND UINT32_MAX /* all steps */

struct fault {
    const char *subject, *kind;
    enum fault_place place;
    const char *pass;    /* of a fault in a pass */
    uint32_t step, site; /* of a fault in a step: behind which of the kernel's */
};

static const struct fault faults[] = {
    {"mlp", "graph-drop-bias", FAULT_PASS, "fold-norms", 0, 0},
    {"mlp", "graph-other-function", FAULT_PASS, "simplify", 0, 0},
    {"mlp", "graph-drop-clamp", FAULT_PASS, "products", 0, 0},
    {"attention", "graph-drop-scale", FAULT_PASS, "row-division", 0, 0},
    {"attention", "graph-lt-for-le", FAULT_PASS, "simplify", 0, 0},
    {"images", "graph-drop-scale", FAULT_PASS, "channels-last", 0, 0},
    {"rows", "graph-drop-function", FAULT_PASS, "split-reductions", 0, 0},
    {"mlp", "graph-drop-bias", FAULT_PASS, "own-outputs", 0, 0},
    {"attention", "read-scale-dropped", FAULT_PASS, "read", 0, 0},
    {"mlp", "graph-drop-bias", FAULT_PASS, "optimise", 0, 0},
    {"mlp", "naive-last-term", FAULT_LOWER, NULL, 0, 0},
    {"mlp", "naive-inner-stride", FAULT_LOWER, NULL, 0, 0},
    {"rows", "naive-first-term", FAULT_LOWER, NULL, 0, 1},
    {"rows", "naive-start-of-sum", FAULT_LOWER, NULL, 0, 0},
    {"images", "naive-mask-dropped", FAULT_LOWER, NULL, 0, 0},
    {"attention", "naive-outer-stride", FAULT_LOWER, NULL, 0, 2},
    {"mlp", "loops-update-twice", FAULT_STEP, NULL, 1, 0},
    {"mlp", "loops-last-term", FAULT_STEP, NULL, 2, 0},
    {"mlp", "loops-index-plus", FAULT_STEP, NULL, 3, 0},
    {"rows", "loops-last-iteration", FAULT_STEP, NULL, 0, 0},
    {"images", "loops-operand-dropped", FAULT_STEP, NULL, 1, 0},
    {"attention", "loops-min-for-max", FAULT_STEP, NULL, 2, 0},
    {"mlp", "loops-index-plus", FAULT_STEP, NULL, BEHIND, 0},
    {"rows", "loops-terms-bf16", FAULT_STEP, NULL, BEHIND, 0},
    {"images", "loops-store-next", FAULT_STEP, NULL, BEHIND, 0},
    {"mlp", "code-returns", FAULT_CODE, NULL, 0, 0},
    {"mlp", "code-second-half-dropped", FAULT_CODE, NULL, 0, 1},
    {"rows", "code-entries-swapped", FAULT_CODE, NULL, 0, 0},
    {"attention", "code-first-chunk-only", FAULT_CODE, NULL, 0, 0},
    {"images", "plan-extent-capped", FAULT_PLAN, NULL, 0, 0},
    {"mlp", "plan-half-launched", FAULT_PLAN, NULL, 0, 0},
    {"attention", "plan-args-swapped", FAULT_PLAN, NULL, 0, 0},
    {"rows", "plan-extent-less", FAULT_PLAN, NULL, 0, 0},
    {"rows", "plan-stale-temp", FAULT_PLAN, NULL, 0, 0},
    {"rows", "plan-args-swapped", FAULT_PLAN, NULL, 0, 0},
    {"mlp", "plan-not-launched", FAULT_PLAN, NULL, 0, 0},
    {"images", "plan-not-prepared", FAULT_PLAN, NULL, 0, 0},
};

/* Plants a fault in each compilation, and remembers where it was. */
struct planter {
    const struct fault *fault;
    const struct kind *kind;
    uint32_t steps[256]; /* taken, by kernel, in this compilation */
    bool planted;        /* in this compilation */
    bool ever;
    char kernel[160], step[160];
};

static void plant_graph(struct planter *p, const struct compile_view *view)
{
    struct mutation m = {.site = p->fault->site};
    struct error err = {0};
    graph_damage(view->graph, p->kind, &m, view->arena, &err);
    p->ever |= m.done;
}

static void plant_nest(struct planter *p, const struct compile_view *view, uint32_t kernel,
                       struct mutation *m)
{
    if (p->planted)
        return;
    nest_damage(view->nests[kernel], p->kind, m);
    if (!m->done)
        return;
    p->planted = p->ever = true;
    snprintf(p->kernel, sizeof p->kernel, "%s", view->labels[kernel]);
    snprintf(p->step, sizeof p->step, "schedule");
    if (!view->step)
        return;
    struct strbuf text;
    struct schedule one = {0};
    strbuf_init(&text, view->arena);
    VEC_PUSH(view->arena, &one.steps, *view->step);
    sched_print(&one, &text);
    snprintf(p->step, sizeof p->step, "%s", text.data);
}

static void plant_see(void *context, const struct compile_view *view)
{
    struct planter *p = context;
    const struct fault *f = p->fault;
    const char *pass = f->pass ? f->pass : "";
    struct mutation m = {.site = f->site};
    if (view->stage == STAGE_READ) {
        p->planted = false;
        memset(p->steps, 0, sizeof p->steps);
    }
    if ((view->stage == STAGE_READ && strcmp(pass, "read") == 0) ||
        (view->stage == STAGE_OPTIMISE && strcmp(pass, "optimise") == 0))
        plant_graph(p, view);
    bool naive = view->stage == STAGE_LOWER && f->place == FAULT_LOWER;
    bool behind = view->stage == STAGE_SCHEDULE && f->place == FAULT_STEP && f->step == BEHIND;
    for (uint32_t i = 0; (naive || behind) && i < view->nest_count; i++)
        plant_nest(p, view, i, &m);
}

static void plant_pass(void *context, const struct compile_view *view)
{
    struct planter *p = context;
    if (p->fault->pass && strcmp(p->fault->pass, view->pass->name) == 0)
        plant_graph(p, view);
}

static void plant_step(void *context, const struct compile_view *view)
{
    struct planter *p = context;
    const struct fault *f = p->fault;
    struct mutation m = {.site = f->site};
    if (f->place == FAULT_STEP && view->kernel < 256 && p->steps[view->kernel]++ == f->step)
        plant_nest(p, view, view->kernel, &m);
}

static const struct kind *find_kind(const char *name)
{
    for (uint32_t i = 0; kind_at(i); i++)
        if (strcmp(kind_at(i)->name, name) == 0)
            return kind_at(i);
    fail_msg("no kind '%s'", name);
    return NULL;
}

#define SUBJECTS 4
struct bench {
    struct signing_key key;
    struct subject subjects[SUBJECTS];
};
static const char *const subject_paths[SUBJECTS][2] = {
    {"mlp", "examples/mlp.json"},
    {"rows", "tests/mutants/subjects/rows.json"},
    {"attention", "tests/mutants/subjects/attention.json"},
    {"images", "tests/mutants/subjects/images.json"},
};

static int open_subjects(void **state)
{
    struct bench *bench = calloc(1, sizeof *bench);
    char folder[] = "/tmp/urza-bisect-XXXXXX", path[64];
    struct error err = {0};
    assert_non_null(mkdtemp(folder));
    assert_true(keys_open(folder, &bench->key, &err));
    snprintf(path, sizeof path, "%s/keys/signing.pem", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/keys", folder);
    rmdir(path);
    rmdir(folder);
    for (uint32_t i = 0; i < SUBJECTS; i++) {
        bench->subjects[i].timeout_s = 60;
        if (!subject_open(&bench->subjects[i], subject_paths[i][0], subject_paths[i][1],
                          target_best_here(), &bench->key, &err))
            fail_msg("%s: %s: %s", subject_paths[i][1], err.place, err.message);
    }
    *state = bench;
    return 0;
}

static int close_subjects(void **state)
{
    struct bench *bench = *state;
    for (uint32_t i = 0; i < SUBJECTS; i++)
        subject_close(&bench->subjects[i]);
    free(bench);
    return 0;
}

/* The package with the fault, for those that are planted in packages. */
static void plant_package(const struct subject *s, struct planter *p, struct arena *arena,
                          struct bisect_request *request)
{
    struct mutation m = {.site = p->fault->site};
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    struct error err = {0};
    struct strbuf bytes;
    const struct trust trust = {TRUST_REQUIRE, request->trusted};
    strbuf_init(&bytes, arena);
    if (!plant(s, p->kind, &m, arena, &bytes, &err))
        fail_msg("%s of %s: %s", p->fault->kind, s->name, err.message);
    void *copy = arena_alloc(arena, bytes.size_bytes, 64);
    memcpy(copy, bytes.data, bytes.size_bytes);
    if (!package_read(copy, bytes.size_bytes, &trust, arena, contents, &err))
        fail_msg("%s of %s: %s: %s", p->fault->kind, s->name, err.place, err.message);
    request->package = copy;
    request->package_bytes = bytes.size_bytes;
    request->contents = contents;
    p->ever = true;
}

static bool is_found(const struct planter *p, const struct bisect_finding *f)
{
    const char *pass = p->fault->pass;
    return f->place == p->fault->place && (!pass || strcmp(f->what, pass) == 0) &&
           (!p->kernel[0] || strcmp(f->kernel, p->kernel) == 0) &&
           (!p->step[0] || p->fault->place != FAULT_STEP || strcmp(f->what, p->step) == 0);
}

static void check_fault(const struct subject *s, const struct fault *fault, uint32_t *failed)
{
    struct arena arena;
    struct error err = {0};
    struct bisect_finding finding = {.what = ""};
    struct planter planter = {.fault = fault, .kind = find_kind(fault->kind)};
    const struct compile_observer observer = {plant_see, &planter, plant_pass, plant_step};
    const struct trusted_keys trusted = {(const uint8_t(*)[32]) & s->key.public_key, 1};
    struct bisect_request request = {.contents = &s->contents,
                                     .trusted = &trusted,
                                     .targets = target_best_here(),
                                     .seed = 3,
                                     .no_blueprint = fault->place > FAULT_PASS,
                                     .fault = &observer};
    arena_init(&arena);
    if (fault->place >= FAULT_CODE)
        plant_package(s, &planter, &arena, &request);
    bool ok = bisect_package(&request, &arena, &finding, &err);
    if (!ok || !planter.ever || !is_found(&planter, &finding)) {
        ++*failed;
        print_message("%s of %s in %s %s %s: %s\n", fault->kind, s->name,
                      fault_place_name(fault->place), fault->pass ? fault->pass : planter.step,
                      planter.kernel, planter.ever ? "not found there" : "has no site");
        if (ok)
            print_message("    found: %s '%s' of '%s': %s (%s)\n", fault_place_name(finding.place),
                          finding.what, finding.kernel, finding.detail, finding.sample);
        else
            print_message("    fails: %s: %s\n", err.place, err.message);
    }
    arena_release(&arena);
}

static void faults_are_found_where_they_were_planted(void **state)
{
    const struct bench *bench = *state;
    uint32_t failed = 0;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        for (uint32_t k = 0; k < SUBJECTS; k++)
            if (strcmp(bench->subjects[k].name, faults[i].subject) == 0)
                check_fault(&bench->subjects[k], &faults[i], &failed);
    assert_int_equal(failed, 0);
}

/* A package whose kernels are others than those compiled now, as one of another version: the
 * validator's kernel check speaks for its code. */
static void code_of_other_kernels_is_judged(void **state)
{
    const struct bench *bench = *state;
    static const struct fault fault = {"mlp", "code-returns", FAULT_CODE, NULL, 0, 0};
    struct subject other = bench->subjects[0];
    struct compile_options options = other.options;
    struct compile_result result;
    struct arena arena;
    struct error err = {0};
    uint32_t failed = 0;
    arena_init(&arena);
    options.plain = true;
    assert_true(compile_graph(&(struct compile_source){&other.graph, other.params, other.json},
                              &options, &arena, &result, &err));
    void *copy = arena_alloc(&arena, result.package_bytes, 64);
    memcpy(copy, result.package, result.package_bytes);
    other.package = copy;
    other.package_bytes = result.package_bytes;
    check_fault(&other, &fault, &failed);
    assert_int_equal(failed, 0);
    arena_release(&arena);
}

/* The small blueprint is read, and fails by itself. */
static void a_small_blueprint_fails_too(void **state)
{
    const struct bench *bench = *state;
    static const struct fault rows[] = {
        {"mlp", "graph-drop-clamp", FAULT_PASS, "products", 0, 0},
        {"mlp", "naive-last-term", FAULT_LOWER, NULL, 0, 0},
        {"mlp", "loops-last-term", FAULT_STEP, NULL, 2, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena;
        struct error err = {0};
        struct bisect_finding finding;
        struct planter planter = {.fault = &rows[i], .kind = find_kind(rows[i].kind)};
        const struct compile_observer observer = {plant_see, &planter, plant_pass, plant_step};
        const struct subject *s = &bench->subjects[0];
        const struct bisect_request request = {
            .contents = &s->contents, .targets = target_best_here(), .fault = &observer};
        struct import_options import = {0};
        struct blueprint blueprint;
        arena_init(&arena);
        assert_true(bisect_package(&request, &arena, &finding, &err));
        assert_int_equal(finding.place, rows[i].place);
        assert_non_null(finding.blueprint);
        assert_true(finding.again);
        assert_true(blueprint_read(finding.blueprint, strlen(finding.blueprint), &import, &arena,
                                   &blueprint, &err));
        assert_true(blueprint.graph.nodes.count < s->contents.graph.nodes.count);
        arena_release(&arena);
    }
}

static void nothing_is_found_in_examples(void **state)
{
    static const char *const names[] = {"attention_arch",
                                        "conv_arch",
                                        "custom_graph",
                                        "gated_mlp_rmsnorm",
                                        "mlp",
                                        "mobilenet_inverted_residual",
                                        "resnet_bottleneck",
                                        "transformer_block"};
    const struct bench *bench = *state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct subject *s = calloc(1, sizeof *s);
        struct arena arena;
        struct error err = {0};
        struct bisect_finding finding = {.what = ""};
        char path[128];
        snprintf(path, sizeof path, "examples/%s.json", names[i]);
        arena_init(&arena);
        s->timeout_s = 60;
        if (!subject_open(s, names[i], path, target_best_here(), &bench->key, &err))
            fail_msg("%s: %s: %s", path, err.place, err.message);
        const struct bisect_request request = {.contents = &s->contents,
                                               .targets = target_best_here()};
        if (!bisect_package(&request, &arena, &finding, &err))
            fail_msg("%s: %s: %s", path, err.place, err.message);
        if (finding.place != FAULT_NONE)
            fail_msg("%s: %s '%s' of '%s': %s", path, fault_place_name(finding.place), finding.what,
                     finding.kernel, finding.detail);
        assert_true(finding.passes > 0 && finding.kernels > finding.too_large);
        arena_release(&arena);
        subject_close(s);
        free(s);
    }
}

int main(void)
{
    if (!target_best_here()) {
        print_message("skipped: no target for this machine\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_found_where_they_were_planted),
        cmocka_unit_test(code_of_other_kernels_is_judged),
        cmocka_unit_test(a_small_blueprint_fails_too),
        cmocka_unit_test(nothing_is_found_in_examples),
    };
    return cmocka_run_group_tests(tests, open_subjects, close_subjects);
}
