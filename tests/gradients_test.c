/* Does verification notice wrong gradients? The training step of a small network is changed in its
 * graph, before it is compiled, so that all that is judged of kernels holds: only the check of
 * gradients can refuse it. The step as it is must pass. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "compiler/grad/grad.h"
#include "graph/build.h"
#include "package/package.h"
#include "support/case.h"
#include "verify/verify.h"

/* Its second network is attention, whose backward pass is a loop over strips of rows: from the
 * second trip on, a gradient is wrong there. */
static const char attention[] = "graph \"attention\"\n"
                                "dim S 1..512 multiple 1 typical 512\n"
                                "%1 = input \"q\" : f32[2, S, 4]\n"
                                "%2 = input \"k\" : f32[2, S, 4]\n"
                                "%3 = param \"v\" : f32[4, 4]\n"
                                "%4 = contract %1, %2 {batch 1, contract 1} : f32[2, S, S]\n"
                                "%5 = reduce_max %4 {axes [2]} : f32[2, S]\n"
                                "%6 = broadcast %5 {axes [0, 1]} : f32[2, S, S]\n"
                                "%7 = sub %4, %6 : f32[2, S, S]\n"
                                "%8 = exp %7 : f32[2, S, S]\n"
                                "%9 = reduce_sum %8 {axes [2]} : f32[2, S]\n"
                                "%10 = broadcast %9 {axes [0, 1]} : f32[2, S, S]\n"
                                "%11 = div %8, %10 : f32[2, S, S]\n"
                                "%12 = transpose %2 {axes [0, 2, 1]} : f32[2, 4, S]\n"
                                "%13 = contract %11, %12 {batch 1, contract 1} : f32[2, S, 4]\n"
                                "%14 = contract %13, %3 {batch 0, contract 1} : f32[2, S, 4]\n"
                                "output \"y\" %14\n";

static const char network[] = "graph \"network\"\n"
                              "dim B 1..64 multiple 1 typical 5\n"
                              "%1 = input \"x\" : f32[B, 6]\n"
                              "%2 = param \"w\" : f32[4, 6]\n"
                              "%3 = param \"b\" : f32[4]\n"
                              "%4 = param \"v\" : f32[4, 4]\n"
                              "%5 = contract %1, %2 {batch 0, contract 1} : f32[B, 4]\n"
                              "%6 = broadcast %3 {axes [1]} : f32[B, 4]\n"
                              "%7 = add %5, %6 : f32[B, 4]\n"
                              "%8 = tanh %7 : f32[B, 4]\n"
                              "%9 = contract %8, %4 {batch 0, contract 1} : f32[B, 4]\n"
                              "%10 = mul %9, %8 : f32[B, 4]\n"
                              "output \"y\" %10\n"
                              "output \"h\" %8\n";

/* What becomes of a gradient, or of a result. */
enum damage {
    DAMAGE_NONE,
    DAMAGE_SIGN,
    DAMAGE_ZERO,
    DAMAGE_HALF,
    DAMAGE_LITTLE, /* a millionth too large */
    DAMAGE_TRANSPOSED,
    DAMAGE_LATER, /* doubled, but only where there are more than 64 rows */
    DAMAGE_FAR,   /* doubled, but only where an input is larger than normal numbers are */
    DAMAGE_RESULT /* the first result of forward_train */
};
static const char *const damage_names[] = {"none",       "sign",  "zero", "half",  "little",
                                           "transposed", "later", "far",  "result"};

/* Twice v, if an element of x, the first input, is beyond 7. */
static value_id doubled_far(struct builder *b, value_id v)
{
    value_id size = b_unary(b, PRIM_ABS, b->graph->inputs.items[0]);
    value_id most = b_reduce(b, PRIM_REDUCE_MAX, size, (const int64_t[]){0, 1}, 2, false);
    value_id far = b_binary(b, PRIM_LT, b_const_like(b, most, 7), most);
    return b_select(b, far, b_scale(b, v, 2), v);
}

/* Twice v, if the first input has more than 64 rows. */
static value_id doubled_later(struct builder *b, value_id v)
{
    const struct node *x = b_node(b, b->graph->inputs.items[0]);
    value_id row = b_iota(b, DTYPE_I64, x->shape, x->rank, 1);
    value_id most = b_reduce(b, PRIM_REDUCE_MAX, row, (const int64_t[]){0, 1, 2}, 3, false);
    value_id more = b_binary(b, PRIM_LT, b_const(b, DTYPE_I64, 63), most);
    return b_select(b, more, b_scale(b, v, 2), v);
}

static value_id damaged(struct builder *b, value_id v, enum damage damage)
{
    const struct node *n = b_node(b, v);
    switch (damage) {
    case DAMAGE_SIGN: return b_neg(b, v);
    case DAMAGE_ZERO: return b_broadcast_to(b, b_const_like(b, v, 0), n->shape, n->rank);
    case DAMAGE_HALF: return b_scale(b, v, 0.5);
    case DAMAGE_LITTLE: return b_scale(b, v, 1 + 0x1p-20);
    case DAMAGE_TRANSPOSED: return b_swap(b, v, 0, 1);
    case DAMAGE_LATER: return doubled_later(b, v);
    case DAMAGE_FAR: return doubled_far(b, v);
    case DAMAGE_RESULT: return b_scale(b, v, 1 + 0x1p-20);
    default: return v;
    }
}

/* Compiles the step with one output damaged, and puts it in the block's package. */
static bool make(const struct package_contents *block, const struct package_param *params,
                 const char *output, enum damage damage, struct arena *arena,
                 struct strbuf *package, struct error *err)
{
    struct graph *step = ARENA_NEW(arena, struct graph), *live = ARENA_NEW(arena, struct graph);
    struct package_contents contents = *block;
    struct compile_result result;
    struct builder b = {step, err};
    char id[KERNEL_ID_BYTES];
    const struct grad_training all = {0};
    const struct compile_options options = {.targets = target_best_here(),
                                            .strategy = STRATEGY_FAST,
                                            .first_outputs = block->graph.outputs.count};
    if (!grad_training_graph(step, arena, &block->graph, &all, err))
        return false;
    for (uint32_t i = 0; i < step->outputs.count; i++)
        if (strcmp(step->outputs.items[i].name, output) == 0)
            step->outputs.items[i].value = damaged(&b, step->outputs.items[i].value, damage);
    const struct compile_source source = {.graph = live};
    if (!graph_copy_live(live, arena, step, err) ||
        !compile_graph(&source, &options, arena, &result, err))
        return false;
    contents.params = (struct package_param *)(uintptr_t)params;
    contents.training = result.package;
    contents.training_bytes = result.package_bytes;
    strbuf_init(package, arena);
    return package_write(&contents, NULL, package, id, err);
}

static bool is_refused(const struct strbuf *package, struct arena *arena, bool *out_by_gradients)
{
    struct verify_report report;
    struct error err = {0};
    const struct verify_options options = {.allow_unsigned = true, .seed = 1};
    void *aligned = arena_alloc(arena, package->size_bytes, 64);
    memcpy(aligned, package->data, package->size_bytes);
    if (!verify_package(aligned, package->size_bytes, &options, arena, &report, &err)) {
        printf("verification: %s: %s\n", err.place, err.message);
        return true;
    }
    *out_by_gradients = false;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < report.count; i++) {
        failed += !report.checks[i].pass;
        *out_by_gradients |=
            !report.checks[i].pass && strcmp(report.checks[i].name, "training gradients") == 0;
    }
    *out_by_gradients &= failed == 1;
    return !report.pass;
}

/* Right steps whose derivatives are not finite everywhere: of the first two they are on part of the
 * numbers, and are judged there; of the third one nowhere. Then one of which large inputs leave
 * slopes that are all rounding, corners, and one whose differences are not its derivative. */
static const struct honest {
    const char *graph;
    bool judged;
} honest[] = {
    {"graph \"log\"\n%1 = input \"x\" : f32[4, 5]\n%2 = log %1 : f32[4, 5]\noutput \"y\" %2\n",
     true},
    {"graph \"root\"\n%1 = input \"x\" : f32[40]\n%2 = sqrt %1 : f32[40]\n%3 = log1p %2 : "
     "f32[40]\noutput \"y\" %3\n",
     true},
    {"graph \"nan\"\n%1 = input \"x\" : f32[4]\n%2 = sub %1, %1 : f32[4]\n%3 = div %2, %2 : "
     "f32[4]\noutput \"y\" %3\n",
     false},
    {"graph \"flat\"\n%1 = input \"x\" : f32[1]\n%2 = const 0.5 : f32[]\n"
     "%3 = broadcast %2 {axes []} : f32[1]\n%4 = mul %1, %1 : f32[1]\n"
     "%5 = mul %4, %3 : f32[1]\n%6 = tanh %5 : f32[1]\noutput \"y\" %6\n",
     true},
    {"graph \"corners\"\n%1 = input \"x\" : f32[64]\n%2 = const 6 : f32[]\n"
     "%3 = broadcast %2 {axes []} : f32[64]\n%4 = min %1, %3 : f32[64]\n"
     "%5 = neg %1 : f32[64]\n%6 = max %4, %5 : f32[64]\n%7 = abs %6 : f32[64]\n"
     "output \"y\" %7\n",
     true},
    {"graph \"detached\"\n%1 = input \"x\" : f32[4]\n%2 = detach %1 : f32[4]\n"
     "%3 = mul %2, %1 : f32[4]\noutput \"y\" %3\n",
     true},
};

static bool passes(const struct honest *h, struct arena *arena)
{
    struct graph graph;
    struct compile_result result;
    struct verify_report report;
    struct error err = {0};
    const struct compile_options options = {
        .targets = target_best_here(), .strategy = STRATEGY_FAST, .backward = true};
    const struct verify_options judge = {.allow_unsigned = true, .seed = 1};
    const struct compile_source source = {.graph = &graph};
    bool found = false;
    if (!graph_parse(&graph, arena, h->graph, strlen(h->graph), &err) ||
        !compile_graph(&source, &options, arena, &result, &err) ||
        !verify_package(result.package, result.package_bytes, &judge, arena, &report, &err)) {
        printf("%s: %s\n", err.place, err.message);
        return false;
    }
    for (uint32_t i = 0; i < report.count; i++)
        if (strcmp(report.checks[i].name, "training gradients") == 0)
            found = (strncmp(report.checks[i].detail, "not judged", 10) != 0) == h->judged;
    return report.pass && found;
}

/* Whether a step with this damage is judged as it should be. */
static bool is_right(const struct package_contents *block, const struct package_param *params,
                     const char *output, enum damage damage, struct arena *arena)
{
    struct strbuf package;
    struct error err = {0};
    bool by_gradients = false;
    if (!make(block, params, output, damage, arena, &package, &err)) {
        printf("%s of %s: %s: %s\n", damage_names[damage], output, err.place, err.message);
        return false;
    }
    bool refused = is_refused(&package, arena, &by_gradients);
    if (refused == (damage != DAMAGE_NONE) && (!refused || by_gradients))
        return true;
    printf("%s of %s: %s\n", damage_names[damage], output,
           refused ? "refused, but not by the check of gradients alone" : "passes");
    return false;
}

struct planted {
    const char *output;
    enum damage damage;
};
static const struct planted in_network[] = {
    {"grad.x", DAMAGE_NONE},   {"grad.x", DAMAGE_SIGN},   {"grad.w", DAMAGE_SIGN},
    {"grad.b", DAMAGE_SIGN},   {"grad.v", DAMAGE_SIGN},   {"grad.x", DAMAGE_ZERO},
    {"grad.w", DAMAGE_ZERO},   {"grad.b", DAMAGE_ZERO},   {"grad.v", DAMAGE_ZERO},
    {"grad.x", DAMAGE_HALF},   {"grad.w", DAMAGE_HALF},   {"grad.b", DAMAGE_HALF},
    {"grad.v", DAMAGE_HALF},   {"grad.x", DAMAGE_LITTLE}, {"grad.w", DAMAGE_LITTLE},
    {"grad.b", DAMAGE_LITTLE}, {"grad.v", DAMAGE_LITTLE}, {"grad.v", DAMAGE_TRANSPOSED},
    {"grad.v", DAMAGE_FAR},    {"y", DAMAGE_RESULT},
};
static const struct planted in_attention[] = {
    {"grad.q", DAMAGE_NONE},
    {"grad.q", DAMAGE_LATER},
    {"grad.k", DAMAGE_LATER},
    {"grad.v", DAMAGE_LATER},
};
static const struct {
    const char *graph;
    const struct planted *planted;
    uint32_t count;
} networks[] = {{network, in_network, sizeof in_network / sizeof *in_network},
                {attention, in_attention, sizeof in_attention / sizeof *in_attention}};

/* Compiles a network and judges it with each of its faults; returns how many are judged wrongly. */
static uint32_t judge_network(uint32_t which, struct arena *arena)
{
    const char *text = networks[which].graph;
    struct error err = {0};
    struct compile_result result;
    struct package_contents *block = ARENA_NEW(arena, struct package_contents);
    struct graph graph;
    const struct trust trust = {.policy = TRUST_ALLOW_UNSIGNED};
    const struct compile_options options = {.targets = target_best_here(),
                                            .strategy = STRATEGY_FAST};
    const struct package_param *params = NULL;
    if (graph_parse(&graph, arena, text, strlen(text), &err))
        params = case_params(&graph, 5, arena, &err);
    const struct compile_source source = {.graph = &graph, .params = params};
    if (!params || !compile_graph(&source, &options, arena, &result, &err) ||
        !package_read(result.package, result.package_bytes, &trust, arena, block, &err)) {
        printf("%s: %s\n", err.place, err.message);
        return networks[which].count;
    }
    uint32_t failures = 0;
    for (uint32_t i = 0; i < networks[which].count; i++) {
        const struct planted *planted = &networks[which].planted[i];
        failures += !is_right(block, params, planted->output, planted->damage, arena);
    }
    return failures;
}

int main(void)
{
    struct arena arena;
    uint32_t failures = 0, count = 0;
    arena_init(&arena);
    for (uint32_t n = 0; n < sizeof networks / sizeof *networks; n++) {
        count += networks[n].count;
        failures += judge_network(n, &arena);
    }
    for (size_t i = 0; i < sizeof honest / sizeof *honest; i++, count++)
        if (!passes(&honest[i], &arena)) {
            printf("refused, or judged otherwise than it should be: %s", honest[i].graph);
            failures++;
        }
    printf("%u training steps, %u judged wrongly\n", count, failures);
    arena_release(&arena);
    return failures > 0;
}
