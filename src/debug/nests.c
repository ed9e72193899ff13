/* Evaluates nests, one scalar at a time, and compares them with the interpretation of their part of
 * the graph.
 *
 * A nest says which values of the graph its arguments are; it must compute the part of the graph
 * between those it reads and the one it writes. The plan is not used. Equal nests of equal parts
 * are judged once. Evaluating is slow, so a kernel is evaluated at small sizes, the smallest first,
 * as far as a budget goes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/strbuf.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/sched/sched.h"
#include "compiler/target/target.h"
#include "debug/debug_priv.h"

#define BUDGET 6e5 /* operations of the reference, for all evaluations of a kernel */
#define MOST 4e6   /* for the first evaluation, which is made even beyond BUDGET */
/* Part of the budget: sizes that cost less are evaluated on all kinds of values. */
#define CHEAP 0.1
/* Fill of results: a NaN or huge number as a float, no valid bool, an unlikely integer. */
#define UNWRITTEN 0x7f

static const struct care WHOLE = {
    .cost = 1e12, .drawn = 64, .threads = 1, .elements = POINT_ELEMENTS, .most = POINT_ELEMENTS};

static uint32_t first_same(const struct nest *nest, uint32_t argument)
{
    uint32_t i = 0;
    while (nest_argument(nest, i)->value != nest_argument(nest, argument)->value)
        i++;
    return i;
}

/* Makes the launch of a nest. A buffer's number is the index of the first argument with the same
 * value. */
static bool make_case(const struct graph *graph, const struct nest *nest, const char *label,
                      struct arena *arena, struct launch_case *out, struct error *err)
{
    uint32_t count = nest->arguments.count, read_count = 0, write_count = 0;
    value_id leaves[LIMIT_KERNEL_BUFFERS], roots[LIMIT_KERNEL_BUFFERS];
    uint32_t read_args[LIMIT_KERNEL_BUFFERS];
    struct plan_launch *launch = ARENA_NEW(arena, struct plan_launch);
    uint32_t *args = ARENA_ARRAY(arena, uint32_t, count + 1);
    *launch = (struct plan_launch){.arg_count = count, .args = args, .label = label};
    *out = (struct launch_case){
        .launch = launch, .graph = ARENA_NEW(arena, struct graph), .config = ""};
    out->reads = ARENA_ARRAY(arena, uint32_t, count + 1);
    out->writes = ARENA_ARRAY(arena, uint32_t, count + 1);
    for (uint32_t i = 0; i < count; i++) {
        const struct nest_buffer *buffer = nest_argument(nest, i);
        args[i] = first_same(nest, i);
        if (buffer->role == ROLE_OUT) {
            launch->written |= UINT32_C(1) << i;
            out->writes[write_count] = i;
            roots[write_count++] = buffer->value;
        } else if (args[i] == i) {
            read_args[read_count] = i;
            leaves[read_count++] = buffer->value;
        }
    }
    const struct graph_part part = {roots, write_count, leaves, read_count};
    if (!graph_extract(out->graph, arena, graph, &part, err))
        return fail_at(err, "kernel '%s'", label);
    for (uint32_t i = 0; i < out->graph->inputs.count; i++) {
        /* "a3": the leaf 3. */
        const char *name = graph_node(out->graph, out->graph->inputs.items[i])->attrs->name;
        out->reads[i] = read_args[strtoul(name + 1, NULL, 10)];
    }
    return true;
}

/* Whether an earlier suspect has an equal nest that must compute the same. */
static bool is_known(struct suspects *s, uint32_t index)
{
    struct strbuf text;
    struct arena arena;
    uint8_t digest[SHA256_BYTES];
    arena_init(&arena);
    strbuf_init(&text, &arena);
    nest_digest(s->items[index].nest, digest);
    strbuf_add(&text, digest, sizeof digest);
    graph_print(s->items[index].launch.graph, &text);
    sha256(text.data, text.size_bytes, s->items[index].digest);
    arena_release(&arena);
    for (uint32_t i = 0; i < index; i++)
        if (memcmp(s->items[i].digest, s->items[index].digest, SHA256_BYTES) == 0)
            return true;
    return false;
}

bool suspects_make(struct bisect *b, const struct compile_view *view, struct suspects *out,
                   struct error *err)
{
    *out =
        (struct suspects){.target = view->target, .graph = view->graph, .count = view->nest_count};
    out->items = ARENA_ARRAY(b->arena, struct suspect, view->nest_count + 1);
    for (uint32_t i = 0; i < view->nest_count; i++) {
        struct suspect *s = &out->items[i];
        s->nest = view->nests[i];
        s->label = view->labels[i];
        if (!make_case(view->graph, s->nest, s->label, b->arena, &s->launch, err))
            return false;
        s->launch.seed = b->request->seed + i;
    }
    return true;
}

static bool read_memory(const struct launch_case *c, const struct draw *draw, struct arena *arena,
                        void **reads, void **arguments)
{
    const struct graph *g = c->graph;
    int64_t *extents = index_extents(g, draw->dims, arena);
    for (uint32_t i = 0; i < g->inputs.count; i++) {
        enum dtype dtype = (enum dtype)graph_node(g, g->inputs.items[i])->dtype;
        size_t bytes;
        if (!value_bytes(g, g->inputs.items[i], draw->dims, &bytes))
            return false;
        reads[i] = arena_alloc(arena, bytes, 64);
        random_fill(dtype, (int64_t)(bytes / dtype_bytes(dtype)), draw->seed + i, draw->fill,
                    extents[i], reads[i]);
        for (uint32_t a = 0; a < c->launch->arg_count; a++)
            if (c->launch->args[a] == c->reads[i])
                arguments[a] = reads[i];
    }
    return true;
}

bool nest_is_right(const struct launch_case *c, const struct nest *nest, const struct draw *draw,
                   struct outcome *outcome)
{
    const struct graph *g = c->graph;
    void *reads[LIMIT_KERNEL_BUFFERS], *writes[LIMIT_KERNEL_BUFFERS];
    void *arguments[LIMIT_KERNEL_BUFFERS] = {0};
    struct verdict verdict;
    struct error err = {0};
    struct arena arena;
    arena_init(&arena);
    bool ok = read_memory(c, draw, &arena, reads, arguments);
    for (uint32_t i = 0; ok && i < g->outputs.count; i++) {
        size_t bytes = 0;
        ok = value_bytes(g, g->outputs.items[i].value, draw->dims, &bytes);
        writes[i] = arena_alloc(&arena, bytes, 64);
        memset(writes[i], UNWRITTEN, bytes);
        arguments[c->writes[i]] = writes[i];
    }
    if (!ok)
        outcome_fail(outcome, "an argument has no size");
    else if (!nest_eval(nest, arguments, draw->dims, true, &err))
        ok = outcome_fail(outcome, "%s", err.message);
    else
        ok = judge_launch(c, &(struct launch_memory){draw->dims, reads, writes, NULL}, &WHOLE,
                          &verdict, outcome);
    arena_release(&arena);
    return ok;
}

struct measured {
    const struct size *size;
    double cost;
};

static int cheaper(const void *a, const void *b)
{
    double x = ((const struct measured *)a)->cost, y = ((const struct measured *)b)->cost;
    return (x > y) - (x < y);
}

static bool judge_at(struct bisect *b, struct suspect *s, const int64_t *dims, bool all)
{
    enum fill fills[] = {FILL_NORMAL, FILL_EXACT, FILL_SPECIAL};
    for (size_t f = 0; f < (all ? 3 : 1); f++) {
        struct draw draw = {.fill = fills[f], .seed = s->launch.seed + f};
        struct outcome outcome = {0};
        memcpy(draw.dims, dims, sizeof draw.dims);
        if (draw.fill == FILL_SPECIAL && may_skip_keys(s->launch.graph, b->arena))
            draw.fill = FILL_FINITE;
        if (nest_is_right(&s->launch, s->nest, &draw, &outcome))
            continue;
        b->draw = draw;
        bisect_note(b, FAULT_LOWER, NULL, "", s->label, outcome.detail);
        return false;
    }
    return true;
}

/* Judges one nest at all affordable sizes. False: it is wrong. */
static bool judge(struct bisect *b, struct suspect *s, const struct sizes *sizes, bool *out_large)
{
    struct measured *by_cost = ARENA_ARRAY(b->arena, struct measured, sizes->count + 1);
    double spent = 0;
    for (uint32_t i = 0; i < sizes->count; i++)
        by_cost[i] =
            (struct measured){&sizes->items[i], graph_cost(s->launch.graph, sizes->items[i].dims)};
    qsort(by_cost, sizes->count, sizeof *by_cost, cheaper);
    *out_large = sizes->count == 0 || by_cost[0].cost > MOST;
    for (uint32_t i = 0; i < sizes->count; i++) {
        double cost = by_cost[i].cost;
        bool all = cost <= CHEAP * BUDGET;
        spent += all ? 3 * cost : cost;
        if (cost > MOST || (i > 0 && spent > BUDGET))
            return true;
        if (!judge_at(b, s, by_cost[i].size->dims, all))
            return false;
    }
    return true;
}

/* Judges all nests; the first wrong one is recorded as a fault of lowering. */
static void judge_all(struct bisect *b, struct suspects *s, bool count)
{
    struct error err = {0};
    struct sizes *sizes = ARENA_NEW(b->arena, struct sizes);
    if (!bisect_sizes(b, s->target->name, sizes, &err))
        return;
    for (uint32_t i = 0; i < s->count && b->finding.place == FAULT_NONE; i++) {
        bool too_large = false;
        if (is_known(s, i))
            continue;
        b->suspect = i;
        judge(b, &s->items[i], sizes, &too_large);
        b->finding.kernels += count;
        b->finding.too_large += count && too_large;
    }
    if (b->finding.place != FAULT_NONE && !b->finding.target)
        b->finding.target = s->target->name;
}

void suspects_judge_naive(struct bisect *b, struct suspects *s)
{
    if (b->finding.place == FAULT_NONE)
        judge_all(b, s, true);
}

/* Equal nests share machine code; code is numbered in the order of the first nest of each kind. */
static bool measure(struct bisect *b, struct suspects *s, struct error *err)
{
    uint8_t(*digests)[32] = arena_array(b->arena, s->count + 1, sizeof *digests);
    for (uint32_t i = 0; i < s->count; i++) {
        struct suspect *k = &s->items[i];
        struct plan_launch *launch = (struct plan_launch *)(uintptr_t)k->launch.launch;
        struct sched_sizes sizes;
        uint8_t digest[32];
        if (!sched_measure(k->nest, &s->graph->dims, &sizes, err))
            return false;
        nest_digest(k->nest, digest);
        for (k->code = 0; k->code < s->code_count; k->code++)
            if (memcmp(digests[k->code], digest, sizeof digest) == 0)
                break;
        if (k->code == s->code_count)
            memcpy(digests[s->code_count++], digest, sizeof digest);
        launch->code.kernel = k->code;
        launch->code.extent = sizes.extent;
        launch->code.work = sizes.work;
        launch->code.scratch_bytes = sizes.scratch_bytes;
    }
    return s->measured = true;
}

void suspects_judge_scheduled(struct bisect *b, struct suspects *s, struct graph *graph)
{
    struct error err = {0};
    s->graph = graph;
    if (b->finding.place != FAULT_NONE || !measure(b, s, &err))
        return;
    s->graph = ARENA_NEW(b->arena, struct graph);
    *s->graph = *graph; /* copied: the observed graph is on the compiler's stack */
    judge_all(b, s, false);
    if (b->finding.place == FAULT_LOWER) {
        b->finding.place = FAULT_STEP;
        b->finding.what = "schedule";
    }
}
