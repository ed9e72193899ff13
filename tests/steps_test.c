/* Does verification notice a wrong training step? Steps of a small network are packaged without
 * code, so that only their graph is judged.
 *
 *   - Right ones pass, with drawn optimizers, schedules, clipping and scales, and dtypes.
 *   - One node of the graph at a time is wrong: each that the loss does not need, gradients and the
 *     optimizer, is scaled, negated, or has 1 added. A fault must be noticed by the check of
 *     gradients or of the optimizer.
 *   - What a step says of itself is wrong: one hyperparameter at a time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#undef fail /* ours is a function */

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/ops/ops.h"
#include "compiler/step/step.h"
#include "graph/build.h"
#include "package/package.h"
#include "package/step_spec.h"
#include "urza/run.h"
#include "verify/verify.h"

#define TEST_FAILED(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))

/* tanh and a product; a frozen variance. %s: the dtype. */
static const char network[] = "graph \"network\"\n"
                              "dim B 1..64 multiple 1 typical 5\n"
                              "%%1 = input \"x\" : %1$s[B, 3]\n"
                              "%%2 = param \"w\" : %1$s[4, 3]\n"
                              "%%3 = param \"b\" : %1$s[4]\n"
                              "%%4 = param \"var\" : %1$s[4]\n"
                              "%%5 = contract %%1, %%2 {batch 0, contract 1} : %1$s[B, 4]\n"
                              "%%6 = broadcast %%3 {axes [1]} : %1$s[B, 4]\n"
                              "%%7 = add %%5, %%6 : %1$s[B, 4]\n"
                              "%%8 = tanh %%7 : %1$s[B, 4]\n"
                              "%%9 = sqrt %%4 : %1$s[4]\n"
                              "%%10 = broadcast %%9 {axes [1]} : %1$s[B, 4]\n"
                              "%%11 = div %%8, %%10 : %1$s[B, 4]\n"
                              "output \"y\" %%11\n";

struct made {
    struct graph graph;
    struct step_spec spec;
};

static void make(struct made *m, const char *dtype, const char *optimizer, struct arena *arena)
{
    char text[2048];
    struct graph block;
    struct error err = {0};
    static const char *const wrt[] = {"w", "b"};
    const struct step_request request = {
        .optimizer = optimizer, .loss = "mse_loss", .wrt = wrt, .wrt_count = 2};
    snprintf(text, sizeof text, network, dtype);
    if (!graph_parse(&block, arena, text, strlen(text), &err) ||
        !step_graph(&m->graph, arena, &block, &request, &m->spec, &err))
        TEST_FAILED("%s: %s: %s", optimizer, err.place, err.message);
}

enum said { PASSES, BY_GRADIENTS, BY_OPTIMIZER, OTHERWISE };

/* The package of a graph with what it says of itself. */
static void package(const struct graph *graph, const struct step_spec *spec, struct arena *arena,
                    struct strbuf *out)
{
    struct strbuf json;
    struct error err = {0};
    char id[KERNEL_ID_BYTES];
    json_t *document = json_object();
    json_object_set_new(document, "step", step_spec_json(spec));
    strbuf_init(&json, arena);
    strbuf_init(out, arena);
    json_write_canonical(document, &json);
    json_decref(document);
    const struct package_contents contents = {.name = "step",
                                              .compiler = "by hand",
                                              .strategy = "emergency",
                                              .graph = *graph,
                                              .blueprint_json = json.data,
                                              .blueprint_bytes = json.size_bytes,
                                              .evidence_json = "{}",
                                              .evidence_bytes = 2};
    if (!package_write(&contents, NULL, out, id, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
}

/* Verifies the package of a graph. detail: of the check that failed first, of these two. */
static enum said judge(const struct graph *graph, const struct step_spec *spec, struct arena *arena,
                       const char **detail)
{
    struct strbuf bytes;
    struct error err = {0};
    struct verify_report report;
    enum said said = PASSES;
    const struct verify_options options = {.allow_unsigned = true, .seed = 3};
    package(graph, spec, arena, &bytes);
    if (!verify_package(bytes.data, bytes.size_bytes, &options, arena, &report, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
    *detail = "";
    for (uint32_t i = 0; i < report.count; i++) {
        const struct verify_check *c = &report.checks[i];
        bool gradients = strcmp(c->name, "gradients") == 0;
        bool optimizer = strcmp(c->name, "optimizer") == 0;
        if ((gradients || optimizer) && strstr(c->detail, "not judged"))
            said = OTHERWISE;
        if (c->pass || said != PASSES)
            continue;
        *detail = c->detail;
        said = gradients ? BY_GRADIENTS : optimizer ? BY_OPTIMIZER : OTHERWISE;
        if (strstr(c->detail, "not run"))
            said = PASSES; /* the other one says why */
    }
    return report.pass ? said : said == PASSES ? OTHERWISE : said;
}

static double drawn(uint64_t key, uint32_t *at)
{
    return rng_uniform(key, (*at)++);
}

/* One in four has no value, and so that of the operation; others are drawn. */
static void draw_attr(const char *name, double least, double most, uint64_t key, uint32_t *at,
                      struct strbuf *out)
{
    if (drawn(key, at) < 0.25)
        return;
    strbuf_printf(out, "%s=%.6g, ", name, least + (most - least) * drawn(key, at));
}

static const char *draw_step(uint64_t seed, struct arena *arena)
{
    static const char *const names[] = {"sgd", "adam", "adamw", "lion", "rmsprop"};
    static const char *const attrs[][4] = {{"weight_decay", "momentum"},
                                           {"weight_decay", "beta1", "beta2", "eps"},
                                           {"weight_decay", "beta1", "beta2", "eps"},
                                           {"weight_decay", "beta1", "beta2"},
                                           {"weight_decay", "alpha", "eps", "momentum"}};
    uint64_t key = rng_key(seed);
    uint32_t at = 0, which = (uint32_t)(seed % 5);
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s(", names[which]);
    for (int i = 0; i < 4 && attrs[which][i]; i++)
        draw_attr(attrs[which][i], 0.01, 0.99, key, &at, &text);
    if (which == 0 && strstr(text.data, "momentum") && drawn(key, &at) < 0.5)
        strbuf_puts(&text, "nesterov=true, ");
    if (drawn(key, &at) < 0.5)
        strbuf_printf(&text, "clip_norm=%.6g, ", exp2(8 * drawn(key, &at) - 6));
    if (drawn(key, &at) < 0.5)
        strbuf_printf(&text, "schedule=%s, steps=%d, floor=%.3g, ",
                      drawn(key, &at) < 0.5 ? "linear" : "cosine", 30 + (int)(seed % 17),
                      drawn(key, &at));
    if (drawn(key, &at) < 0.5)
        strbuf_printf(&text, "warmup=%d, ", (int)(20 * drawn(key, &at)));
    if (drawn(key, &at) < 0.5)
        strbuf_puts(&text, drawn(key, &at) < 0.5 ? "loss_scale=dynamic, " : "loss_scale=128, ");
    text.size_bytes = strlen(text.data);
    const char *list = arena_strndup(arena, text.data, text.size_bytes - 2); /* the last comma */
    if (list[strlen(list) - 1] == names[which][strlen(names[which]) - 1])
        return names[which];
    struct strbuf closed;
    strbuf_init(&closed, arena);
    strbuf_printf(&closed, strchr(list, '=') ? "%s)" : "%s",
                  strchr(list, '=') ? list : names[which]);
    return closed.data;
}

static void right_steps_pass(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"f32", "f64", "bf16", "f16"};
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct arena arena;
        struct made m;
        const char *detail;
        arena_init(&arena);
        const char *text = draw_step(seed, &arena);
        make(&m, dtypes[seed / 5 % 4], text, &arena);
        if (judge(&m.graph, &m.spec, &arena, &detail) != PASSES)
            TEST_FAILED("%s, %s: %s", dtypes[seed / 5 % 4], text, detail);
        arena_release(&arena);
    }
}

enum way { SCALED, NEGATED, SHIFTED, WAYS };
struct plant {
    value_id node;
    enum way way;
    bool planted;
};

static value_id plant(struct graph *to, value_id copy, const struct graph *from, value_id old,
                      void *context, struct error *err)
{
    struct plant *p = context;
    struct builder b = {to, err};
    enum dtype dtype = (enum dtype)graph_node(from, old)->dtype;
    if (old != p->node)
        return copy;
    p->planted = true;
    if (dtype == DTYPE_BOOL)
        return p->way == NEGATED ? b_unary(&b, PRIM_NOT, copy) : copy;
    switch (p->way) {
    case SCALED: return dtype_is_float(dtype) ? b_scale(&b, copy, 1 + 0x1p-6) : copy;
    case NEGATED: return b_neg(&b, copy);
    default: return b_shift(&b, copy, 1);
    }
}

/* By value: whether the loss needs it. */
static const bool *needed_by_loss(const struct graph *g, struct arena *arena)
{
    bool *needed = ARENA_ARRAY(arena, bool, g->nodes.count);
    for (uint32_t i = 0; i < g->outputs.count; i++)
        if (strcmp(g->outputs.items[i].name, "loss") == 0)
            needed[g->outputs.items[i].value] = true;
    for (value_id v = g->nodes.count; v-- > 1;)
        for (uint32_t i = 0; needed[v] && i < graph_node(g, v)->operand_count; i++)
            needed[graph_node(g, v)->operands[i]] = true;
    return needed;
}

/* What makes the dynamic scale cancels, but where it overflows; and its least exponent counts only
 * where gradients are not finite at a scale of 1. Others see to these (step_test.c). */
static const bool *unseen(const struct graph *g, const bool *needed, struct arena *arena)
{
    bool *seen = ARENA_ARRAY(arena, bool, g->nodes.count);
    for (value_id v = g->nodes.count; v-- > 1;) {
        const struct node *n = graph_node(g, v);
        seen[v] |= n->prim == PRIM_EXP2 && !needed[v];
        for (uint32_t i = 0; seen[v] && i < n->operand_count; i++)
            seen[n->operands[i]] = true;
        bool of_exp2 = n->prim == PRIM_CAST && graph_node(g, n->operands[0])->prim == PRIM_EXP2;
        seen[v] |= of_exp2 || (n->prim == PRIM_CONST && n->attrs->value == -16);
    }
    return seen;
}

/* A node is noticed if it is in one of the ways; a sign that is scaled is the same sign. */
static bool notices(const struct made *m, value_id node, struct arena *arena)
{
    const char *detail;
    for (int way = 0; way < WAYS; way++) {
        struct graph *wrong = ARENA_NEW(arena, struct graph);
        struct plant p = {node, (enum way)way, false};
        struct error err = {0};
        if (!graph_rewrite(wrong, arena, &m->graph, plant, &p, &err))
            return true; /* no such graph can be built */
        assert_true(p.planted);
        enum said said = judge(wrong, &m->spec, arena, &detail);
        if (said == BY_GRADIENTS || said == BY_OPTIMIZER)
            return true;
    }
    return false;
}

static void wrong_nodes_are_noticed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "sgd(weight_decay=0.1)",
        "sgd(momentum=0.75, nesterov=true, clip_norm=0.01)",
        "adam(eps=0.01, weight_decay=0.25, schedule=cosine, steps=40, warmup=10, floor=0.1)",
        "adamw(weight_decay=0.25, loss_scale=dynamic, clip_norm=0.5, schedule=linear, steps=31)",
        "lion(weight_decay=0.5)",
        "rmsprop(momentum=0.5, eps=0.01, weight_decay=0.25)",
    };
    uint32_t missed = 0, count = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct arena arena;
        struct made m;
        arena_init(&arena);
        make(&m, "f64", texts[i], &arena);
        const bool *needed = needed_by_loss(&m.graph, &arena);
        const bool *hidden = unseen(&m.graph, needed, &arena);
        for (value_id v = 1; v < m.graph.nodes.count; v++) {
            const struct node *n = graph_node(&m.graph, v);
            if (needed[v] || hidden[v] || n->prim == PRIM_INPUT)
                continue;
            count++;
            struct arena one;
            arena_init(&one);
            if (!notices(&m, v, &one)) {
                missed++;
                print_error("%s: node %u, %s, is not noticed\n", texts[i], v,
                            prim_info((enum prim)n->prim)->name);
            }
            arena_release(&one);
        }
        arena_release(&arena);
    }
    print_message("%u nodes, %u not noticed\n", count, missed);
    assert_int_equal(missed, 0);
    assert_true(count > 200);
}

/* Each number that a step says of itself, a little larger. */
static void wrong_words_are_noticed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "sgd(momentum=0.75, weight_decay=0.1, nesterov=true, clip_norm=0.01)",
        "adam(eps=0.01, weight_decay=0.25, schedule=cosine, steps=40, warmup=10, floor=0.1)",
        "adamw(eps=0.01, schedule=linear, steps=40, warmup=10, floor=0.1)",
        "lion(weight_decay=0.5)",
        "rmsprop(alpha=0.9, momentum=0.5, eps=0.01, weight_decay=0.25)",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct arena arena;
        struct made m;
        arena_init(&arena);
        make(&m, "f64", texts[i], &arena);
        double *const numbers[] = {&m.spec.clip_norm, &m.spec.warmup, &m.spec.steps, &m.spec.floor};
        uint32_t count = m.spec.attr_count + 4;
        for (uint32_t k = 0; k < count; k++) {
            double *number = k < 4 ? numbers[k] : &m.spec.attrs[k - 4].value, right = *number;
            const char *detail, *name = k < 4 ? "an option" : m.spec.attrs[k - 4].name;
            if (right == 0)
                continue;
            *number = strcmp(name, "nesterov") == 0 ? 0 : right >= 2 ? right + 3 : right * 0.99;
            enum said said = judge(&m.graph, &m.spec, &arena, &detail);
            if (said != BY_GRADIENTS && said != BY_OPTIMIZER)
                TEST_FAILED("%s: %s %g instead of %g is not noticed", texts[i], name, *number,
                            right);
            *number = right;
        }
        arena_release(&arena);
    }
}

/* What is missing is said. */
static void wrong_names_are_noticed(void **state)
{
    (void)state;
    struct arena arena;
    struct made m;
    const char *detail;
    arena_init(&arena);
    make(&m, "f32", "adam", &arena);
    const struct step_spec right = m.spec;
    const char *const names[] = {"w", "nobody"}, *const few[] = {"w"}, *const b[] = {"b"};
    m.spec.trained = names;
    assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), BY_GRADIENTS);
    assert_non_null(strstr(detail, "nobody"));
    m.spec = right; /* it is trained, and said to be frozen */
    m.spec.trained = few;
    m.spec.trained_count = 1;
    m.spec.frozen = b;
    assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), BY_GRADIENTS);
    assert_non_null(strstr(detail, "'b' is no frozen parameter"));
    m.spec = right;
    m.spec.dynamic_scale = true;
    assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), BY_GRADIENTS);
    m.spec = right; /* clipped, says the step, and gives no norm */
    m.spec.clip_norm = 1;
    assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), BY_GRADIENTS);
    m.spec = right;
    m.spec.optimizer = "adagrad"; /* nobody knows whether it is */
    assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), OTHERWISE);
    arena_release(&arena);
}

/* A block that draws numbers by the step's, and has a running statistic. */
static void steps_in_training_mode(void **state)
{
    (void)state;
    static const char text[] =
        "graph \"g\"\ndim B 1..64 multiple 1 typical 5\n%1 = input \"x\" : f64[B, 3]\n"
        "%2 = input \"seed\" : i64[]\n%3 = input \"step\" : i64[]\n%4 = param \"w\" : f64[3]\n"
        "%5 = param \"mean\" : f64[3]\n%6 = add %2, %3 : i64[]\n%7 = random %6 : i64[B, 3]\n"
        "%8 = cast %7 : f64[B, 3]\n%9 = const 2.3283064365386963e-10 : f64[]\n"
        "%10 = broadcast %9 {axes []} : f64[B, 3]\n%11 = mul %8, %10 : f64[B, 3]\n"
        "%12 = broadcast %4 {axes [1]} : f64[B, 3]\n%13 = mul %1, %12 : f64[B, 3]\n"
        "%14 = mul %13, %11 : f64[B, 3]\n%15 = reduce_sum %1 {axes [0]} : f64[3]\n"
        "%16 = add %15, %5 : f64[3]\noutput \"y\" %14\noutput \"new.mean\" %16\n";
    static const char *const texts[] = {
        "sgd(momentum=0.5, loss_scale=dynamic)", "sgd(schedule=linear, steps=30)",
        "adam(schedule=linear, steps=30, warmup=7, clip_norm=0.1)", "lion", "rmsprop"};
    static const char *const wrt[] = {"w"};
    static const struct step_running running[] = {{"mean", "new.mean"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct arena arena;
        struct graph block;
        struct made m;
        struct error err = {0};
        const char *detail;
        const struct step_request request = {.optimizer = texts[i],
                                             .loss = "mse_loss",
                                             .wrt = wrt,
                                             .wrt_count = 1,
                                             .running = running,
                                             .running_count = 1,
                                             .training = true,
                                             .reads_step = true};
        arena_init(&arena);
        if (!graph_parse(&block, &arena, text, strlen(text), &err) ||
            !step_graph(&m.graph, &arena, &block, &request, &m.spec, &err))
            TEST_FAILED("%s: %s", err.place, err.message);
        assert_true(m.spec.running_count == 1 && m.spec.frozen_count == 0 && m.spec.training);
        if (judge(&m.graph, &m.spec, &arena, &detail) != PASSES)
            TEST_FAILED("%s: %s", texts[i], detail);
        for (uint32_t o = 0; i == 0 && o < m.graph.outputs.count; o++) {
            struct graph_output *output = &m.graph.outputs.items[o];
            if (strcmp(output->name, "new.mean") != 0)
                continue;
            /* it moves in steps that are skipped, too */
            assert_int_equal(graph_node(&m.graph, output->value)->prim, PRIM_SELECT);
            output->value = graph_node(&m.graph, output->value)->operands[1];
            assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), BY_OPTIMIZER);
            assert_non_null(strstr(detail, "'mean' changes where gradients are not finite"));
        }
        arena_release(&arena);
    }
}

/* A block may call its params what others call states. */
static void names_of_states_are_free(void **state)
{
    (void)state;
    static const char text[] = "graph \"g\"\n%1 = input \"x\" : f32[4]\n%2 = param \"w\" : f32[4]\n"
                               "%3 = param \"low.w\" : f32[4]\n%4 = param \"m.w\" : f32[4]\n"
                               "%5 = param \"grad_norm\" : f32[4]\n%6 = mul %1, %2 : f32[4]\n"
                               "%7 = mul %6, %3 : f32[4]\n%8 = add %7, %4 : f32[4]\n"
                               "%9 = add %8, %5 : f32[4]\noutput \"y\" %9\n";
    static const char *const wrt[] = {"w", "m.w"};
    struct arena arena;
    struct graph block;
    struct made m;
    struct error err = {0};
    const char *detail;
    const struct step_request request = {
        .optimizer = "sgd(momentum=0.5)", .loss = "mse_loss", .wrt = wrt, .wrt_count = 2};
    arena_init(&arena);
    if (!graph_parse(&block, &arena, text, strlen(text), &err) ||
        !step_graph(&m.graph, &arena, &block, &request, &m.spec, &err))
        TEST_FAILED("%s: %s", err.place, err.message);
    assert_int_equal(m.spec.frozen_count, 2);
    if (judge(&m.graph, &m.spec, &arena, &detail) != PASSES)
        TEST_FAILED("%s", detail);
    arena_release(&arena);
}

/* urza_step_text, and a call that is for the other kind of package. */
static void programs_can_ask(void **state)
{
    (void)state;
    struct arena arena;
    struct made m;
    struct strbuf bytes;
    urza_module *module;
    urza_tape *tape;
    urza_error err;
    arena_init(&arena);
    make(&m, "f32", "lion(weight_decay=0.5, clip_norm=2)", &arena);
    package(&m.graph, &m.spec, &arena, &bytes);
    const urza_load_options options = {.trust = URZA_TRUST_ALLOW_UNSIGNED};
    assert_int_equal(urza_load_memory(bytes.data, bytes.size_bytes, &options, &module, &err), 0);
    assert_string_equal(urza_step_text(module), "lion(beta1=0.9, beta2=0.99, weight_decay=0.5, "
                                                "clip_norm=2) of mse_loss");
    assert_int_equal(urza_forward_train(module, NULL, 0, NULL, 0, NULL, 0, &tape, &err),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "is a whole training step: urza_step runs it"));
    urza_unload(module);
    arena_release(&arena);
}

/* Each optimizer that a step may have is judged. */
static void all_optimizers_have_definitions(void **state)
{
    (void)state;
    const struct op_row *row;
    uint32_t count = 0;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        if (strncmp(row->operands, "w g lr", 6) != 0)
            continue;
        struct arena arena;
        struct made m;
        const char *detail;
        arena_init(&arena);
        make(&m, "f32", row->name, &arena);
        assert_int_equal(judge(&m.graph, &m.spec, &arena, &detail), PASSES);
        arena_release(&arena);
        count++;
    }
    assert_true(count >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_steps_pass),
        cmocka_unit_test(wrong_nodes_are_noticed),
        cmocka_unit_test(wrong_words_are_noticed),
        cmocka_unit_test(wrong_names_are_noticed),
        cmocka_unit_test(names_of_states_are_free),
        cmocka_unit_test(steps_in_training_mode),
        cmocka_unit_test(programs_can_ask),
        cmocka_unit_test(all_optimizers_have_definitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
