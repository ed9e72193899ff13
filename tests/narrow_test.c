/* f16 and bf16 have the precision of their dtype wherever they are used: random graphs of prims
 * whose results are rounded exactly, compiled, give in all bits what the interpreter gives node by
 * node. First a few by hand, whose right values are those of NumPy.
 *
 * test-narrow [--count N] [--seed N] [--target NAME]: seeds from --seed on, on all targets by turns
 * or on one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "graph/build.h"
#include "support/case.h"

#define DEFAULT_COUNT 300
#define SOURCES 4
#define VALUES 14
#define ROWS 5
#define COLUMNS 19 /* no multiple of a vector */

struct making {
    struct builder b;
    uint64_t key, counter;
    dim_id shape[2];
    value_id values[VALUES + 8]; /* floats of several dtypes, all of one shape */
    uint32_t count;
};

static uint32_t roll(struct making *m, uint32_t sides)
{
    return rng_u32(m->key, m->counter++) % sides;
}

static enum dtype dtype_at(const struct making *m, value_id x)
{
    return (enum dtype)graph_node(m->b.graph, x)->dtype;
}

/* A value of this dtype: one that is there, or another one cast. */
static value_id pick(struct making *m, enum dtype dtype)
{
    uint32_t first = roll(m, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        value_id x = m->values[(first + i) % m->count];
        if (dtype_at(m, x) == dtype)
            return x;
    }
    return b_cast(&m->b, m->values[first], dtype);
}

/* Not zero: which of two zeros a minimum is stays open. */
static value_id constant(struct making *m, value_id like)
{
    return b_const_like(&m->b, like, 0.37 * (1 + roll(m, 40)) * (roll(m, 2) ? 1 : -1));
}

static value_id unary(struct making *m, value_id x)
{
    static const uint8_t prims[] = {PRIM_NEG,  PRIM_ABS,   PRIM_SIGN,  PRIM_FLOOR, PRIM_CEIL,
                                    PRIM_SQRT, PRIM_ROUND, PRIM_TRUNC, PRIM_COPY};
    return b_unary(&m->b, (enum prim)prims[roll(m, sizeof prims)], x);
}

static value_id binary(struct making *m, value_id x)
{
    static const uint8_t prims[] = {PRIM_ADD, PRIM_ADD, PRIM_SUB, PRIM_SUB, PRIM_MUL,
                                    PRIM_MUL, PRIM_DIV, PRIM_MIN, PRIM_MAX};
    value_id y = roll(m, 3) == 0 ? constant(m, x) : pick(m, dtype_at(m, x));
    return b_binary(&m->b, (enum prim)prims[roll(m, sizeof prims)], x, y);
}

static value_id compared(struct making *m, value_id x, value_id y)
{
    static const uint8_t prims[] = {PRIM_EQ, PRIM_NE, PRIM_LT, PRIM_LE};
    return b_binary(&m->b, (enum prim)prims[roll(m, sizeof prims)], x, y);
}

static value_id chosen(struct making *m, value_id x)
{
    value_id y = pick(m, dtype_at(m, x));
    return b_select(&m->b, compared(m, x, roll(m, 2) ? y : constant(m, x)), x, y);
}

static value_id converted(struct making *m, value_id x)
{
    static const uint8_t dtypes[] = {DTYPE_F16, DTYPE_BF16, DTYPE_F32, DTYPE_F64,
                                     DTYPE_I32, DTYPE_I8,   DTYPE_I64, DTYPE_U16};
    enum dtype to = (enum dtype)dtypes[roll(m, sizeof dtypes)];
    value_id y = b_cast(&m->b, x, to);
    return dtype_is_float(to) ? y : b_cast(&m->b, y, roll(m, 2) ? DTYPE_F16 : DTYPE_BF16);
}

/* The largest of each row, beside each of its elements; + 0 leaves zeros of one sign only. */
static value_id largest(struct making *m, value_id x)
{
    int64_t axis = 1;
    x = b_add(&m->b, x, b_const_like(&m->b, x, 0));
    return b_broadcast_to(&m->b, b_reduce(&m->b, PRIM_REDUCE_MAX, x, &axis, 1, true), m->shape, 2);
}

static value_id moved(struct making *m, value_id x)
{
    struct attrs attrs = {.axis_count = 1, .axes = {(uint8_t)roll(m, 2)}};
    return graph_add(m->b.graph, PRIM_REVERSE, &x, 1, &attrs, m->b.err);
}

/* Each output stands beside what it is compared with, so that it is stored and computed again. */
static bool make(struct graph *graph, uint64_t seed, struct error *err)
{
    static const char *const names[] = {"a", "b", "c", "d"}, *const outputs[] = {"x", "y", "z"};
    struct making m = {.b = {graph, err}, .key = rng_key(seed)};
    enum dtype main = seed % 2 ? DTYPE_F16 : DTYPE_BF16;
    m.shape[0] = dim_const(&graph->dims, ROWS);
    m.shape[1] = dim_const(&graph->dims, COLUMNS);
    for (; m.count < SOURCES; m.count++) {
        enum dtype dtype = m.count < 3 ? main : roll(&m, 2) ? DTYPE_F16 : DTYPE_F32;
        m.values[m.count] = graph_input(graph, names[m.count], dtype, m.shape, 2, err);
    }
    while (m.count < VALUES) {
        value_id x = roll(&m, 2) ? m.values[m.count - 1] : pick(&m, main), y;
        switch (roll(&m, 10)) {
        case 0: y = converted(&m, x); break;
        case 1: y = chosen(&m, x); break;
        case 2: y = roll(&m, 2) ? moved(&m, x) : largest(&m, x); break;
        case 3:
        case 4: y = unary(&m, x); break;
        default: y = binary(&m, x); break;
        }
        if (y == VALUE_NONE)
            return false;
        m.values[m.count++] = y;
    }
    for (uint32_t i = 0; i < 3; i++) {
        value_id x = m.values[m.count - 1 - i], same = roll(&m, 2) ? largest(&m, x) : moved(&m, x);
        char name[3] = {outputs[i][0], '2', '\0'};
        if (!graph_output(graph, outputs[i], x, err) ||
            !graph_output(graph, name, compared(&m, x, same), err))
            return false;
    }
    return true;
}

/* Numbers of the first dtype that are given, and what must come out. */
static const struct given {
    const char *name, *text;
    double in[2][4], out[2][4];
} givens[] = {
    {"bf16: a product is its own maximum",
     "graph \"\"\n%1 = input \"x\" : bf16[1, 3]\n%2 = input \"s\" : bf16[1, 3]\n"
     "%3 = mul %1, %2 : bf16[1, 3]\n%4 = reduce_max %3 {axes [1]} : bf16[1]\n"
     "%5 = broadcast %4 {axes [0]} : bf16[1, 3]\n%6 = eq %3, %5 : bool[1, 3]\n"
     "output \"most\" %4\noutput \"y\" %6\n",
     {{0.345703125, 0.8203125, 0.330078125}, {1.703125, 1.703125, 1.703125}},
     {{1.3984375}, {0, 1, 0}}},
    {"f16: a product is found again where its maximum is",
     "graph \"\"\n%1 = input \"x\" : f16[1, 3]\n%2 = input \"s\" : f16[1, 3]\n"
     "%3 = mul %1, %2 : f16[1, 3]\n%4 = argmax %3 {axis 1} : i64[1]\n"
     "%5 = reshape %4 : i64[1, 1]\n%6 = gather %3, %5 {axis 1} : f16[1, 1]\n"
     "%7 = broadcast %6 {axes [0, 1]} : f16[1, 3]\n%8 = eq %3, %7 : bool[1, 3]\n"
     "output \"g\" %6\noutput \"y\" %8\n",
     {{0.345703125, 0.8203125, 0.330078125}, {1.7001953125, 1.7001953125, 1.7001953125}},
     {{1.39453125}, {0, 1, 0}}},
    {"f16: a product is its rounded value",
     "graph \"\"\n%1 = input \"x\" : f16[4]\n%2 = input \"w\" : f16[4]\n%3 = const 1.7 : f16[]\n"
     "%4 = broadcast %3 {axes []} : f16[4]\n%5 = mul %1, %4 : f16[4]\n"
     "%6 = eq %5, %2 : bool[4]\n%7 = floor %5 : f16[4]\n%8 = cast %7 : i32[4]\n"
     "output \"y\" %6\noutput \"z\" %8\n",
     {{26.40625, -14.5, 87, 40.90625}, {44.90625, -24.65625, 147.875, 69.5625}},
     {{1, 1, 1, 1}, {44, -25, 147, 69}}},
    {"f16: a product overflows and loses digits",
     "graph \"\"\n%1 = input \"x\" : f32[3]\n%2 = cast %1 : f16[3]\n%3 = mul %2, %2 : f16[3]\n"
     "%4 = cast %3 : f32[3]\noutput \"y\" %4\n",
     {{300, 1e-4, 7.7}},
     {{INFINITY, 0, 59.28125}}},
};

static void fill_given(const void *user, uint32_t index, const struct tensor *tensor, uint64_t seed)
{
    const struct given *given = user;
    union cell cells[4];
    (void)seed;
    for (int64_t i = 0; i < tensor->count; i++)
        cells[i].f = given->in[index][i];
    interp_store(
        &(struct interp_tensor){.dtype = tensor->dtype, .count = tensor->count, .cells = cells},
        tensor->data);
}

/* The interpreter gives what is right; that compiled code gives the same is checked by the case. */
static bool interpreted_right(const struct given *given, const struct graph *graph,
                              struct arena *arena, struct error *err)
{
    struct interp_tensor in[2], out[2];
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        struct tensor tensor = {.dtype = (enum dtype)node->dtype, .rank = node->rank, .count = 1};
        for (uint32_t d = 0; d < node->rank; d++) {
            dim_is_const(&graph->dims, node->shape[d], &tensor.shape[d]);
            tensor.count *= tensor.shape[d];
        }
        tensor.data = ARENA_ARRAY(arena, double, tensor.count);
        fill_given(given, i, &tensor, 0);
        const struct native_tensor native = {tensor.dtype, tensor.rank, tensor.shape, tensor.data};
        if (!interp_load(&in[i], arena, &native, err))
            return false;
    }
    const struct interp_options options = {.mode = INTERP_NATIVE};
    if (!interp_run(graph, &options, &(struct interp_arguments){NULL, in, graph->inputs.count},
                    arena, out, err))
        return false;
    for (uint32_t o = 0; o < graph->outputs.count; o++) {
        for (int64_t i = 0; i < out[o].count; i++) {
            union cell cell = out[o].cells[i];
            double value = dtype_is_float(out[o].dtype) ? cell.f : (double)cell.i;
            if (value != given->out[o][i])
                return fail(err, ERR_VERIFY, "output %u [%lld] is %g, not %g", o, (long long)i,
                            value, given->out[o][i]);
        }
    }
    return true;
}

static void run_given(const struct given *given, const char *target, struct tally *tally)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    if (!graph_parse(&graph, &arena, given->text, strlen(given->text), &err) ||
        !interpreted_right(given, &graph, &arena, &err)) {
        printf("FAIL %s: %s %s\n", given->name, err.place, err.message);
        tally->failures++;
    } else {
        struct test_case test = {
            .graph = &graph, .target = target, .exact = true, .fill = fill_given, .user = given};
        tally_run(tally, &test, given->name);
    }
    arena_release(&arena);
}

static void run_seed(uint64_t seed, const char *target, struct tally *tally)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    char name[48];
    arena_init(&arena);
    graph_init(&graph, &arena);
    snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
    if (!make(&graph, seed, &err)) {
        printf("FAIL %s: no graph: %s %s\n", name, err.place, err.message);
        tally->failures++;
    } else {
        struct test_case test = {.graph = &graph,
                                 .target = target,
                                 .strategy = seed % 4 ? STRATEGY_FAST : STRATEGY_STANDARD,
                                 .seed = seed,
                                 .special = seed % 3 == 0,
                                 .exact = true};
        tally_run(tally, &test, name);
    }
    arena_release(&arena);
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, count = DEFAULT_COUNT;
    const char *targets[CASE_TARGETS], *target = NULL;
    uint32_t target_count = case_targets(targets);
    struct tally tally = {0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--target") == 0)
            target = argv[i + 1];
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else
            count = strtoull(argv[i + 1], NULL, 10);
    }
    for (size_t i = 0; i < sizeof givens / sizeof *givens; i++)
        for (uint32_t t = 0; t < target_count; t++)
            run_given(&givens[i], targets[t], &tally);
    for (uint64_t i = 0; i < count; i++)
        run_seed(seed + i, target ? target : targets[(seed + i) / 2 % target_count], &tally);
    return tally_finish(&tally, "narrow floats");
}
