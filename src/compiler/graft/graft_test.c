/* Grafts in the interpreter: their values beside the formulas, rows with alpha 0 bit for bit, the
 * params of the last layer, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/graft/graft_priv.h"
#include "graph/interp.h"

#include <cmocka.h> /* last: it defines fail as a macro */

enum { ROWS = 4, WIDTH = 3, COUNT = ROWS * WIDTH };

#define HEAD "graph \"seed\"\ndim B 1..64 multiple 1\n"
#define SEED(dtype)                                         \
    HEAD "%1 = input \"x\" : " dtype "[B, 3]\n"             \
         "%2 = param \"w\" : " dtype "[3]\n"                \
         "%3 = broadcast %2 {axes [1]} : " dtype "[B, 3]\n" \
         "%4 = mul %1, %3 : " dtype "[B, 3]\noutput \"s\" %4\n"

static void make(const char *text, enum graft_blend blend, struct arena *arena, struct graph *out,
                 struct graft_spec *spec)
{
    *spec = (struct graft_spec){.blend = blend, .chunks = 1};
    struct graph from;
    struct error err = {0};
    arena_init(arena);
    if (!graph_parse(&from, arena, text, strlen(text), &err) ||
        !graft_graph(out, arena, &from, spec, &err) || !graph_verify(out, &err))
        fail_msg("%s: %s", err.place, err.message);
}

static void set(struct interp_tensor *t, struct arena *arena, const struct graph *graph,
                value_id value)
{
    const struct node *n = graph_node(graph, value);
    *t = (struct interp_tensor){.dtype = (enum dtype)n->dtype, .rank = n->rank, .count = 1};
    for (uint32_t i = 0; i < n->rank; i++) {
        int64_t dims[LIMIT_NAMED_DIMS] = {ROWS};
        assert_true(dim_eval(&graph->dims, n->shape[i], dims, &t->shape[i]));
        t->count *= t->shape[i];
    }
    t->cells = ARENA_ARRAY(arena, union cell, (size_t)t->count);
}

/* x, h and params are random; then the row's alpha is 0, ¼, ½, 1. */
static void run(const struct graph *graph, struct arena *arena, struct interp_tensor *sources,
                struct interp_tensor *y)
{
    int64_t dims[LIMIT_NAMED_DIMS] = {ROWS};
    const struct interp_arguments arguments = {dims, sources,
                                               graph->inputs.count + graph->params.count};
    const struct interp_options options = {.mode = INTERP_NATIVE};
    struct error err = {0};
    if (!interp_run(graph, &options, &arguments, arena, y, &err))
        fail_msg("%s: %s", err.place, err.message);
}

static const double alphas[ROWS] = {0, 0.25, 0.5, 1};

static double formula(enum graft_blend blend, double h, double s, double alpha, double gate)
{
    switch (blend) {
    case GRAFT_RESIDUAL: return h + alpha * s;
    case GRAFT_LERP: return alpha < 0.5 ? h + alpha * (s - h) : s - (1 - alpha) * (s - h);
    case GRAFT_MULTIPLY: return h * (1 + alpha * tanh(s - h));
    default: return h + alpha * gate * (s - h);
    }
}

static void values(void **state)
{
    (void)state;
    for (int i = 0; i < GRAFT_BLEND_COUNT; i++) {
        struct arena arena;
        struct graph graph;
        struct graft_spec spec;
        struct interp_tensor t[8], y;
        make(SEED("f64"), (enum graft_blend)i, &arena, &graph, &spec);
        uint32_t inputs = graph.inputs.count, count = inputs + graph.params.count;
        assert_int_equal(inputs, 3);
        assert_int_equal(graph.params.count, i == GRAFT_GATE ? 3 : 1);
        for (uint32_t k = 0; k < count; k++) {
            set(&t[k], &arena, &graph,
                k < inputs ? graph.inputs.items[k] : graph.params.items[k - inputs]);
            for (int64_t e = 0; e < t[k].count; e++)
                t[k].cells[e].f = k == 2 ? alphas[e] : rng_normal(rng_key(k), (uint64_t)e);
        }
        run(&graph, &arena, t, &y);
        for (int e = 0; e < COUNT; e++) {
            int row = e / WIDTH;
            double z = i == GRAFT_GATE ? t[5].cells[0].f : 0;
            for (int k = 0; i == GRAFT_GATE && k < WIDTH; k++)
                z += t[0].cells[row * WIDTH + k].f * t[4].cells[k].f;
            double s = t[0].cells[e].f * t[3].cells[e % WIDTH].f, h = t[1].cells[e].f;
            double expected = formula((enum graft_blend)i, h, s, alphas[row], 1 / (1 + exp(-z)));
            assert_true(fabs(y.cells[e].f - expected) < 1e-14);
            assert_true(alphas[row] != 0 || y.cells[e].f == h);
            assert_true(i != GRAFT_LERP || alphas[row] != 1 || y.cells[e].f == s);
        }
        arena_release(&arena);
    }
}

/* Three chunks of features, each with weights of its own; a seed of one chunk says what each of
 * them gives. */
static void in_chunks(void **state)
{
    enum { CHUNKS = 3 };
    (void)state;
    for (int i = 0; i < GRAFT_BLEND_COUNT; i++) {
        struct arena arena;
        struct graph from, graph;
        struct graft_spec spec = {.blend = (enum graft_blend)i, .chunks = CHUNKS};
        struct interp_tensor t[8], y;
        struct error err;
        static const char text[] = SEED("f64");
        arena_init(&arena);
        assert_true(graph_parse(&from, &arena, text, strlen(text), &err) &&
                    graft_graph(&graph, &arena, &from, &spec, &err) && graph_verify(&graph, &err));
        assert_int_equal(spec.last_count, 1);
        assert_string_equal(spec.last[0], "w");
        uint32_t inputs = graph.inputs.count, count = inputs + graph.params.count;
        for (uint32_t k = 0; k < count; k++) {
            set(&t[k], &arena, &graph,
                k < inputs ? graph.inputs.items[k] : graph.params.items[k - inputs]);
            for (int64_t e = 0; e < t[k].count; e++)
                t[k].cells[e].f = k == 2 ? alphas[e] : rng_normal(rng_key(k), (uint64_t)e);
        }
        assert_int_equal(t[0].count, CHUNKS * COUNT);
        assert_int_equal(t[3].count, CHUNKS * WIDTH);
        run(&graph, &arena, t, &y);
        for (int e = 0; e < CHUNKS * COUNT; e++) {
            int row = e / (CHUNKS * WIDTH), feature = e % (CHUNKS * WIDTH);
            double z = i == GRAFT_GATE ? t[5].cells[0].f : 0;
            for (int k = 0; i == GRAFT_GATE && k < CHUNKS * WIDTH; k++)
                z += t[0].cells[row * CHUNKS * WIDTH + k].f * t[4].cells[k].f;
            double s = t[0].cells[e].f * t[3].cells[feature].f, h = t[1].cells[e].f;
            double expected = formula((enum graft_blend)i, h, s, alphas[row], 1 / (1 + exp(-z)));
            assert_true(fabs(y.cells[e].f - expected) < 1e-14);
        }
        arena_release(&arena);
    }
}

static void one_dim_has_no_chunks(void **state)
{
    static const char text[] = HEAD "%1 = input \"x\" : f32[B]\noutput \"s\" %1\n";
    struct arena arena;
    struct graph from, to;
    struct graft_spec spec = {.chunks = 2};
    struct error err;
    (void)state;
    arena_init(&arena);
    assert_true(graph_parse(&from, &arena, text, strlen(text), &err));
    assert_false(graft_graph(&to, &arena, &from, &spec, &err));
    assert_int_equal(err.code, ERR_BLUEPRINT);
    assert_non_null(strstr(err.message, "has one dim"));
    arena_release(&arena);
}

/* NaN and infinity of the seed stay on their side; a zero of the host keeps its sign. */
static void alpha_0_is_the_host(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    static const char *const texts[] = {SEED("f32"), SEED("bf16"), SEED("f16")};
    for (int i = 0; i < GRAFT_BLEND_COUNT * 9; i++) {
        struct arena arena;
        struct graph graph;
        struct graft_spec spec;
        struct interp_tensor t[8], y;
        make(texts[i % 3], (enum graft_blend)(i / 9), &arena, &graph, &spec);
        uint32_t inputs = graph.inputs.count;
        for (uint32_t k = 0; k < inputs + graph.params.count; k++) {
            set(&t[k], &arena, &graph,
                k < inputs ? graph.inputs.items[k] : graph.params.items[k - inputs]);
            for (int64_t e = 0; e < t[k].count; e++)
                t[k].cells[e].f = k == 2 ? 0 : k == 1 ? -0.0 : bad[i / 3 % 3];
        }
        run(&graph, &arena, t, &y);
        for (int e = 0; e < COUNT; e++)
            assert_true(y.cells[e].f == 0 && signbit(y.cells[e].f));
        arena_release(&arena);
    }
}

#define X HEAD "%1 = input \"x\" : f32[B, 3]\n"
#define W "%2 = param \"w\" : f32[3, 3]\n%3 = param \"b\" : f32[3]\n%4 = param \"v\" : f32[3, 3]\n"
#define FC                                                     \
    "%5 = contract %1, %2 {batch 0, contract 1} : f32[B, 3]\n" \
    "%6 = tanh %5 : f32[B, 3]\n"                               \
    "%7 = contract %6, %4 {batch 0, contract 1} : f32[B, 3]\n"

static void last_layers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *last; /* names with spaces */
    } rows[] = {
        {X W FC "output \"s\" %7\n", "v"},
        {X W FC "%8 = broadcast %3 {axes [1]} : f32[B, 3]\n%9 = add %7, %8 : f32[B, 3]\n"
                "output \"s\" %9\n",
         "v b"},
        {X W FC "output \"s\" %6\n", "w"},
        {X W FC "%8 = add %7, %1 : f32[B, 3]\noutput \"s\" %8\n", ""},
        {X W FC "%8 = exp %7 : f32[B, 3]\noutput \"s\" %8\n", ""},
        {X W FC "%8 = mul %7, %1 : f32[B, 3]\noutput \"s\" %8\n", "v"},
        {X "output \"s\" %1\n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct graph graph;
        struct graft_spec spec;
        make(rows[i].text, GRAFT_RESIDUAL, &arena, &graph, &spec);
        struct strbuf got;
        strbuf_init(&got, &arena);
        for (uint32_t k = 0; k < spec.last_count; k++)
            strbuf_printf(&got, "%s%s", k > 0 ? " " : "", spec.last[k]);
        assert_string_equal(spec.last_count > 0 ? got.data : "", rows[i].last);
        arena_release(&arena);
    }
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
        enum graft_blend blend;
    } rows[] = {
        {HEAD "%1 = input \"x\" : f32[B, 3]\n%2 = input \"z\" : f32[B, 3]\n"
              "%3 = add %1, %2 : f32[B, 3]\noutput \"s\" %3\n",
         "there are 'x' and 'z'", GRAFT_RESIDUAL},
        {HEAD "%1 = input \"x\" : i64[B, 3]\noutput \"s\" %1\n", "cannot have 'x'", GRAFT_LERP},
        {HEAD "%1 = input \"x\" : f32[B, 3]\n%2 = neg %1 : f32[B, 3]\n"
              "output \"s\" %1\noutput \"t\" %2\n",
         "this block 2", GRAFT_LERP},
        {HEAD "%1 = input \"x\" : f32[B, 3]\n%2 = reduce_sum %1 {axes [1]} : f32[B]\n"
              "output \"s\" %2\n",
         "'s' and 'x' differ", GRAFT_LERP},
        {HEAD "%1 = input \"alpha\" : f32[B, 3]\noutput \"s\" %1\n", "alpha", GRAFT_LERP},
        {HEAD "%1 = input \"x\" : f32[B]\noutput \"s\" %1\n", "fixed number of features",
         GRAFT_GATE},
        {HEAD "%1 = input \"x\" : f32[3, B]\noutput \"s\" %1\n", "fixed number of features",
         GRAFT_GATE},
        {"graph \"seed\"\n%1 = input \"x\" : f32[]\noutput \"s\" %1\n", "at least one dim",
         GRAFT_LERP},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct graph from, to;
        struct graft_spec spec = {.blend = rows[i].blend, .chunks = 1};
        struct error err = {0};
        arena_init(&arena);
        if (!graph_parse(&from, &arena, rows[i].text, strlen(rows[i].text), &err))
            fail_msg("%s: %s", err.place, err.message);
        assert_false(graft_graph(&to, &arena, &from, &spec, &err));
        assert_int_equal(err.code, ERR_BLUEPRINT);
        if (!strstr(err.message, rows[i].words))
            fail_msg("%s", err.message);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(in_chunks),
        cmocka_unit_test(one_dim_has_no_chunks),
        cmocka_unit_test(alpha_0_is_the_host),
        cmocka_unit_test(last_layers),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
