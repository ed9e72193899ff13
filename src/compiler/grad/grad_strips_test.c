/* Attention, and what only looks like it, at sizes around those of strips. Gradients are judged
 * beside forward mode. Strips show by the loop of the training graph, and by what its gradients
 * need: nothing as large as the scores. */
#include "compiler/grad/grad_test_util.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "graph/build.h"
#include "graph/tangent.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define HEADS 2
#define DEPTH 3

enum feature {
    CAUSAL = 1 << 0,      /* a mask that is made of row and key numbers */
    BIAS = 1 << 1,        /* an input [T, U] is added to scores: its gradient is as large as they */
    PADDING = 1 << 2,     /* a mask over keys, of an input [U] */
    CAPPED = 1 << 3,      /* 5·tanh(s/5) */
    POOLED = 1 << 4,      /* the mean over rows: one cotangent for all of them */
    WEIGHTS_OUT = 1 << 5, /* the weights are a result, too */
    NO_SOFTMAX = 1 << 6,  /* weights are tanh(s): nothing sums along rows */
    TWICE = 1 << 7,       /* the weights go into two products */
    LAYERS = 1 << 8,      /* the result is the query of another attention */
    SHARED = 1 << 9,      /* queries are the keys and the values */
    OTHER_AXIS = 1 << 10, /* softmax over rows, so that a row hangs on all */
    WIDE = 1 << 11,       /* as many columns as keys */
    MASKED_OUT = 1 << 12, /* only the first two rows count in the loss */
    ROWS_FIRST = 1 << 13, /* inputs are [rows, heads, columns], as projections leave them */
};

struct row {
    const char *what;
    unsigned features;
    int64_t least, rows, keys; /* 0 keys: as many as rows */
    int64_t typical;           /* 0: not declared */
    bool strips;
};

static const struct row cases[] = {
    {"attention", 0, 1, 512, 0, 0, true},
    {"causal", CAUSAL, 1, 512, 0, 0, true},
    {"a bias", BIAS, 1, 512, 0, 0, true},
    {"padding", PADDING, 1, 512, 0, 0, true},
    {"all of these", CAUSAL | BIAS | PADDING | CAPPED, 1, 512, 0, 0, true},
    {"capped scores", CAPPED, 1, 512, 0, 0, true},
    {"other keys than rows", CAUSAL | BIAS, 1, 512, 150, 0, true},
    {"the mean over rows", POOLED, 1, 512, 0, 0, true},
    {"the mean over rows, as many columns as keys", POOLED | WIDE, 1, 512, 150, 0, true},
    {"as many columns as keys", WIDE | CAUSAL, 1, 512, 150, 0, true},
    {"two layers", LAYERS | CAUSAL, 1, 512, 0, 0, true},
    {"one tensor for all", SHARED, 1, 512, 0, 0, true},
    {"rows before heads", ROWS_FIRST, 1, 512, 0, 0, true},
    {"rows before heads, two layers", ROWS_FIRST | CAUSAL | LAYERS, 1, 512, 0, 0, true},
    {"few rows in the loss", MASKED_OUT, 1, 512, 0, 0, true},
    {"129 rows", CAUSAL, 129, 129, 0, 0, true},
    {"197 rows", BIAS, 197, 197, 150, 0, true},
    {"typically 300 rows", CAUSAL | BIAS, 1, 4096, 0, 300, true},
    {"typically 65 rows", 0, 1, 4096, 0, 65, true},
    {"typically 64 rows", 0, 1, 4096, 0, 64, false},
    {"typically few rows", CAUSAL, 1, 512, 0, 16, false},
    {"rows are few", 0, 1, 128, 0, 0, false},
    {"keys are few", 0, 1, 512, 100, 0, false},
    {"perhaps no rows", 0, 0, 512, 0, 0, true},
    {"weights are a result", WEIGHTS_OUT, 1, 512, 0, 0, false},
    {"nothing sums along rows", NO_SOFTMAX, 1, 512, 0, 0, false},
    {"two products", TWICE, 1, 512, 0, 0, false},
    {"softmax over rows", OTHER_AXIS, 1, 512, 0, 0, false},
};

static const int64_t sizes[] = {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 150};

struct building {
    struct builder b;
    const struct row *row;
    dim_id rows, keys;
};

static value_id softmax(struct builder *b, value_id s, int64_t axis)
{
    value_id e = b_exp(b, b_sub(b, s, b_reduce(b, PRIM_REDUCE_MAX, s, &axis, 1, true)));
    return b_div(b, e, b_reduce(b, PRIM_REDUCE_SUM, e, &axis, 1, true));
}

static value_id input(struct building *g, const char *name, dim_id rows, dim_id columns)
{
    dim_id heads = dim_const(&g->b.graph->dims, HEADS);
    bool first = (g->row->features & ROWS_FIRST) != 0;
    const dim_id shape[] = {first ? rows : heads, first ? heads : rows, columns};
    value_id x = graph_input(g->b.graph, name, DTYPE_F64, shape, 3, g->b.err);
    return first ? b_swap(&g->b, x, 0, 1) : x;
}

static value_id masked(struct building *g, value_id s)
{
    struct builder *b = &g->b;
    const dim_id square[] = {g->rows, g->keys};
    if (g->row->features & CAPPED)
        s = b_scale(b, b_unary(b, PRIM_TANH, b_scale(b, s, 0.2)), 5);
    if (g->row->features & BIAS)
        s = b_add(b, s, graph_input(b->graph, "bias", DTYPE_F64, square, 2, b->err));
    if (g->row->features & PADDING)
        s = b_add(b, s, graph_input(b->graph, "padding", DTYPE_F64, &g->keys, 1, b->err));
    if (g->row->features & CAUSAL) {
        value_id key = b_iota(b, DTYPE_I64, square, 2, 1), row = b_iota(b, DTYPE_I64, square, 2, 0);
        s = b_select(b, b_binary(b, PRIM_LE, key, row), s, b_const(b, DTYPE_F64, -1e30));
    }
    return s;
}

static value_id attention(struct building *g, value_id q, value_id k, value_id v)
{
    struct builder *b = &g->b;
    unsigned f = g->row->features;
    value_id s = masked(g, b_scale(b, b_contract(b, q, k, 1, 1), 0.5)), p;
    p = f & NO_SOFTMAX ? b_unary(b, PRIM_TANH, s) : softmax(b, s, f & OTHER_AXIS ? 1 : 2);
    if (f & WEIGHTS_OUT)
        graph_output(b->graph, "weights", p, b->err);
    value_id y = b_contract(b, p, b_swap(b, v, 1, 2), 1, 1);
    return f & TWICE ? b_add(b, y, b_contract(b, p, b_swap(b, b_neg(b, b_exp(b, v)), 1, 2), 1, 1))
                     : y;
}

static void build(struct building *g)
{
    struct builder *b = &g->b;
    const struct row *row = g->row;
    uint32_t name = 0;
    dim_declare(&b->graph->dims,
                &(struct dim_name){.name = "T",
                                   .min = row->least,
                                   .max = row->rows,
                                   .multiple_of = 1,
                                   .typical = row->typical},
                &name, b->err);
    g->rows = row->least < row->rows ? dim_named(&b->graph->dims, name)
                                     : dim_const(&b->graph->dims, row->rows);
    g->keys = row->keys ? dim_const(&b->graph->dims, row->keys) : g->rows;
    dim_id depth = dim_const(&b->graph->dims, DEPTH);
    value_id q = input(g, "q", g->rows, depth), k = q, v = q;
    if (!(row->features & SHARED)) {
        k = input(g, "k", g->keys, depth);
        v = input(g, "v", g->keys, row->features & WIDE ? g->keys : depth);
    }
    value_id y = attention(g, q, k, v);
    if (row->features & LAYERS)
        y = attention(g, b_unary(b, PRIM_TANH, y), b_exp(b, k), v);
    int64_t axis = 1;
    if (row->features & POOLED)
        y = b_mean(b, y, &axis, 1, false);
    if (row->features & MASKED_OUT) {
        const struct node *n = graph_node(b->graph, y);
        value_id at = b_iota(b, DTYPE_I64, n->shape, n->rank, 1);
        y = b_select(b, b_binary(b, PRIM_LT, at, b_const(b, DTYPE_I64, 2)), y,
                     b_const(b, DTYPE_F64, 0));
    }
    graph_output(b->graph, "y", y, b->err);
    if (b->err->code != 0)
        fail_msg("%s: %s", row->what, b->err->message);
}

/* What only gradients need of a training graph that is as large as the scores; *out_loops: the
 * loops. */
static uint32_t large_values(struct arena *arena, struct graph *training, uint32_t blocks,
                             const struct building *g, uint32_t *out_loops)
{
    struct graph view = *training, gradients;
    struct error err = {0};
    view.outputs.items += blocks;
    view.outputs.count -= blocks;
    assert_true(graph_copy_live(&gradients, arena, &view, &err));
    const dim_id shape[] = {dim_const(&gradients.dims, HEADS),
                            dim_import(&gradients.dims, &g->b.graph->dims, g->rows),
                            dim_import(&gradients.dims, &g->b.graph->dims, g->keys)};
    dim_id large = dim_product(&gradients.dims, shape, 3);
    uint32_t count = 0;
    *out_loops = gradients.loops;
    for (value_id v = 1; v < gradients.nodes.count; v++)
        count +=
            graph_elements(&gradients, v) == large && graph_node(&gradients, v)->prim != PRIM_INPUT;
    return count;
}

/* Transposes of what a loop makes: it makes that in the order in which it is read. */
static uint32_t transposed_results(const struct graph *g)
{
    uint32_t count = 0;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        bool moves = false;
        for (uint32_t i = 0; n->prim == PRIM_TRANSPOSE && i < n->rank; i++)
            moves |= n->attrs->axes[i] != i;
        count += moves && graph_node(g, n->operands[0])->prim == PRIM_LOOP;
    }
    return count;
}

static void compare(struct arena *arena, const struct building *g, int64_t size)
{
    struct error err = {0};
    bool moving = false;
    struct point p = {arena, g->b.graph, &size, NULL, 0, (uint64_t)size, false, NULL};
    grad_point_init(&p);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < p.sources[s].count; e++)
            p.sources[s].cells[e].f = 3 * grad_drawn(rng_key(7 + s), e);
    if (!grad_compare(&p, &moving, &err))
        fail_msg("%s, T = %d: %s: %s", g->row->what, (int)size, err.place, err.message);
    if (size > 1)
        assert_true(moving);
}

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct graph graph, training;
        struct error err = {0};
        struct building g = {.b = {&graph, &err}, .row = &cases[i]};
        uint32_t loops;
        arena_init(&arena);
        graph_init(&graph, &arena);
        build(&g);
        if (!grad_training_graph(&training, &arena, &graph, &(struct grad_training){0}, &err) ||
            !graph_verify(&training, &err))
            fail_msg("%s: %s: %s", cases[i].what, err.place, err.message);
        uint32_t large = large_values(&arena, &training, graph.outputs.count, &g, &loops);
        /* Of two layers the first one's result is needed, and as many columns as keys are large. */
        bool judged = cases[i].strips && !(cases[i].features & (WIDE | LAYERS));
        if ((loops > 0) != cases[i].strips || (judged && large > 0))
            fail_msg("%s: %u loops, %u large values", cases[i].what, loops, large);
        if ((cases[i].features & ROWS_FIRST) && !(cases[i].features & LAYERS))
            assert_int_equal(transposed_results(&training), 0);
        if (cases[i].features & LAYERS)
            assert_int_equal(loops, 2);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            if (sizes[k] >= cases[i].least && sizes[k] <= cases[i].rows)
                compare(&arena, &g, sizes[k]);
        if (cases[i].least == cases[i].rows)
            compare(&arena, &g, cases[i].rows);
        arena_release(&arena);
    }
}

/* The gradients of attention, by a cotangent that is an input, or the queries themselves, which
 * the loop reads in all rows of a strip. */
static struct tangent_tensor *gradients(struct arena *arena, bool by_input, int64_t size)
{
    static const struct row row = {"the cotangent is the query", 0, 1, 512, 0, 0, true};
    struct graph *graph = ARENA_NEW(arena, struct graph);
    struct error err = {0};
    struct building g = {.b = {graph, &err}, .row = &row};
    graph_init(graph, arena);
    build(&g);
    value_id y = graph->outputs.items[0].value, q = graph->inputs.items[0], grads[3];
    value_id cotangent = by_input ? input(&g, "c", g.rows, dim_const(&graph->dims, DEPTH)) : q;
    const struct grad_request request = {&y, &cotangent, 1, graph->inputs.items, 3};
    assert_true(grad_add(&g.b, &request, arena, grads));
    graph->outputs.count = 0;
    for (uint32_t i = 0; i < 3; i++)
        assert_true(graph_output(graph, (const char *[]){"q", "k", "v"}[i], grads[i], &err));
    struct graph *live = ARENA_NEW(arena, struct graph);
    assert_true(graph_copy_live(live, arena, graph, &err));
    assert_int_equal(live->loops, 1);
    struct point p = {arena, live, &size, NULL, 0, 1, false, NULL};
    grad_point_init(&p);
    for (uint32_t s = 0; s < p.source_count; s++)
        for (int64_t e = 0; e < p.sources[s].count; e++)
            p.sources[s].cells[e].f = grad_drawn(rng_key(s % 3), e); /* the fourth is the first */
    struct tangent_tensor *out = ARENA_ARRAY(arena, struct tangent_tensor, 3);
    const double **none = ARENA_ARRAY(arena, const double *, p.source_count);
    const struct tangent_arguments arguments = {{&size, p.sources, p.source_count}, none};
    assert_true(
        tangent_run(live, &(struct interp_options){.threads = 1}, &arguments, arena, out, &err));
    return out;
}

static void test_cotangent_is_query(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct arena arena;
        arena_init(&arena);
        const struct tangent_tensor *a = gradients(&arena, false, sizes[k]),
                                    *b = gradients(&arena, true, sizes[k]);
        for (uint32_t i = 0; i < 3; i++)
            for (int64_t e = 0; e < a[i].value.count; e++)
                assert_true(fabs(a[i].value.cells[e].f - b[i].value.cells[e].f) < 1e-12);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases),
                                       cmocka_unit_test(test_cotangent_is_query)};
    return cmocka_run_group_tests_name("strips", tests, NULL, NULL);
}
