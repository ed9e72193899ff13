/* Into which kernels a graph is cut: what is fused, what is stored, what runs once, after load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/opt/opt.h"
#include "compiler/ops/ops.h"
#include "compiler/target/target.h"
#include "graph/build.h"
#include <cmocka.h>

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
    struct builder b;
    struct partition p;
    dim_id N; /* a symbolic batch */
};

static void begin(struct fixture *f)
{
    uint32_t name;
    memset(f, 0, sizeof *f);
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    f->b = (struct builder){.graph = &f->graph, .err = &f->err};
    assert_true(dim_declare(&f->graph.dims,
                            &(struct dim_name){.name = "N", .min = 1, .max = 512, .multiple_of = 1},
                            &name, &f->err));
    f->N = dim_named(&f->graph.dims, name);
}

/* A tensor; a dim given as 0 is N. */
static value_id tensor(struct fixture *f, bool param, const char *name, uint32_t rank,
                       const int64_t *shape)
{
    dim_id dims[LIMIT_RANK];
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = shape[i] ? dim_const(&f->graph.dims, shape[i]) : f->N;
    value_id v = param ? graph_param(&f->graph, name, DTYPE_F32, dims, rank, &f->err)
                       : graph_input(&f->graph, name, DTYPE_F32, dims, rank, &f->err);
    assert_int_not_equal(v, VALUE_NONE);
    return v;
}
#define INPUT(f, name, ...) \
    tensor(f, false, name, sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[]){__VA_ARGS__})
#define PARAM(f, name, ...) \
    tensor(f, true, name, sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[]){__VA_ARGS__})

static value_id op(struct fixture *f, const char *name, const value_id *operands, uint32_t count,
                   const struct op_value *attrs, uint32_t attr_count)
{
    value_id out[OP_MAX_OUTPUTS];
    uint32_t out_count;
    const struct op_row *row = op_find(name);
    assert_non_null(row);
    if (!op_expand(&f->b, row, &(struct op_arguments){operands, count, attrs, attr_count, false},
                   out, &out_count, &f->err))
        fail_msg("%s: %s: %s", name, f->err.place, f->err.message);
    return out[0];
}
#define OP(f, name, ...)                                                                         \
    op(f, name, (value_id[]){__VA_ARGS__}, sizeof((value_id[]){__VA_ARGS__}) / sizeof(value_id), \
       NULL, 0)

static void output(struct fixture *f, const char *name, value_id v)
{
    assert_true(graph_output(&f->graph, name, v, &f->err));
}

static void optimise_and_cut(struct fixture *f)
{
    for (uint32_t i = 0; pass_at(i); i++) {
        struct graph next;
        if (!pass_run(pass_at(i), &next, &f->arena, &f->graph,
                      &(struct pass_setting){target_at(2), true}, &f->err))
            fail_msg("%s: %s", f->err.place, f->err.message);
        f->graph = next;
    }
    partition_graph(&f->graph, &f->arena, &f->p);
}

/* Invariants of every cut: groups are in an order in which they can run; `prepare` reads parameters
 * only and writes no output; outputs are stored; inlined values have no memory; aliases have the
 * memory of a stored value or source. */
static void check_invariants(struct fixture *f)
{
    const struct graph *g = &f->graph;
    bool *needs_input = ARENA_ARRAY(&f->arena, bool, g->nodes.count);
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *n = graph_node(g, v);
        needs_input[v] = n->prim == PRIM_INPUT;
        for (uint32_t i = 0; i < n->operand_count; i++)
            needs_input[v] |= needs_input[n->operands[i]];
        uint8_t place = f->p.values[v].place;
        if (place == PLACE_STORED || place == PLACE_SOURCE)
            assert_int_equal(f->p.values[v].memory, v);
        if (place == PLACE_INLINE)
            assert_int_equal(f->p.values[v].memory, VALUE_NONE);
        if (place == PLACE_ALIAS)
            assert_true(f->p.values[f->p.values[v].memory].place == PLACE_STORED ||
                        f->p.values[f->p.values[v].memory].place == PLACE_SOURCE);
    }
    for (uint32_t i = 0; i < f->p.groups.count; i++) {
        const struct group *group = &f->p.groups.items[i];
        assert_int_equal(f->p.values[group->root].place, PLACE_STORED);
        assert_true(i == 0 || f->p.groups.items[i - 1].root < group->root);
        assert_true(group->anchor == VALUE_NONE || group->anchor <= group->root);
        assert_false(group->prepare && needs_input[group->root]);
        for (uint32_t o = 0; o < g->outputs.count; o++)
            assert_false(group->prepare && g->outputs.items[o].value == group->root);
    }
    for (uint32_t o = 0; o < g->outputs.count; o++)
        assert_int_equal(f->p.values[g->outputs.items[o].value].place, PLACE_STORED);
}

static void expect_groups(struct fixture *f, uint32_t prepare, uint32_t forward)
{
    uint32_t counts[2] = {0};
    struct strbuf text;
    optimise_and_cut(f);
    check_invariants(f);
    for (uint32_t i = 0; i < f->p.groups.count; i++)
        counts[f->p.groups.items[i].prepare]++;
    strbuf_init(&text, &f->arena);
    partition_print(&f->graph, &f->p, &text);
    if (counts[1] != prepare || counts[0] != forward)
        fail_msg("%u prepare and %u forward kernels, not %u and %u:\n%s", counts[1], counts[0],
                 prepare, forward, text.data);
    uint32_t lines = 0;
    for (const char *c = text.data; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, prepare + forward);
    arena_release(&f->arena);
}

static void normalisations_are_one_kernel(void **state)
{
    (void)state;
    struct fixture f;
    const int64_t last[1] = {64};
    const struct op_value shape = {
        .name = "normalized_shape", .kind = OP_INTS, .ints = last, .int_count = 1};
    const struct op_value dim = {.name = "dim", .kind = OP_INT, .i = -1};
    begin(&f);
    output(&f, "y", op(&f, "softmax", (value_id[]){INPUT(&f, "x", 0, 64)}, 1, &dim, 1));
    expect_groups(&f, 0, 1);
    begin(&f);
    output(&f, "y", op(&f, "log_softmax", (value_id[]){INPUT(&f, "x", 0, 64)}, 1, &dim, 1));
    expect_groups(&f, 0, 1);
    begin(&f);
    output(&f, "y",
           op(&f, "layer_norm",
              (value_id[]){INPUT(&f, "x", 0, 64), PARAM(&f, "w", 64), PARAM(&f, "b", 64)}, 3,
              &shape, 1));
    expect_groups(&f, 0, 1);
    begin(&f);
    output(
        &f, "y",
        op(&f, "rms_norm", (value_id[]){INPUT(&f, "x", 0, 64), PARAM(&f, "w", 64)}, 2, &shape, 1));
    expect_groups(&f, 0, 1);
}

static void an_epilogue_joins_its_product(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id y =
        OP(&f, "linear", INPUT(&f, "x", 0, 64), PARAM(&f, "w", 128, 64), PARAM(&f, "b", 128));
    output(&f, "y", OP(&f, "gelu", y));
    expect_groups(&f, 1, 1); /* the weight is packed after load */
    begin(&f);
    y = OP(&f, "linear", INPUT(&f, "x", 0, 64), PARAM(&f, "w", 128, 64));
    value_id z = OP(&f, "linear", OP(&f, "relu", y), PARAM(&f, "v", 32, 128));
    output(&f, "z", z);
    expect_groups(&f, 2, 2);
}

static void attention_is_one_kernel_and_a_copy(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id q = INPUT(&f, "q", 0, 4, 32, 16), k = INPUT(&f, "k", 0, 4, 32, 16),
             v = INPUT(&f, "v", 0, 4, 32, 16);
    output(&f, "y", OP(&f, "scaled_dot_product_attention", q, k, v));
    expect_groups(&f, 0, 2);
    begin(&f); /* an output of the exponentials: they are stored */
    q = INPUT(&f, "q", 0, 4, 32, 16);
    value_id e = b_exp(&f.b, b_contract(&f.b, q, INPUT(&f, "k", 0, 4, 32, 16), 2, 1));
    output(&f, "e", e);
    output(&f, "y", b_contract(&f.b, e, INPUT(&f, "v", 0, 4, 16, 32), 2, 1));
    expect_groups(&f, 0, 4);
    begin(&f); /* scores of two products: one is stored; keys and values are copied */
    value_id s = b_contract(&f.b, INPUT(&f, "q", 0, 4, 32, 16), INPUT(&f, "k", 0, 4, 32, 16), 2, 1);
    q = INPUT(&f, "p", 0, 4, 32, 16), k = INPUT(&f, "l", 0, 4, 32, 16);
    s = b_add(&f.b, s, b_contract(&f.b, q, k, 2, 1));
    s = op(&f, "softmax", &s, 1, &(struct op_value){.name = "dim", .kind = OP_INT, .i = 3}, 1);
    output(&f, "y", b_contract(&f.b, s, INPUT(&f, "v", 0, 4, 16, 32), 2, 1));
    expect_groups(&f, 0, 5);
    begin(&f); /* weights are rounded, as queries, keys and values were before */
    q = b_cast(&f.b, INPUT(&f, "q", 0, 4, 32, 16), DTYPE_F16);
    k = b_cast(&f.b, INPUT(&f, "k", 0, 4, 32, 16), DTYPE_F16);
    v = b_cast(&f.b, INPUT(&f, "v", 0, 4, 16, 32), DTYPE_F16);
    s = b_contract(&f.b, q, k, 2, 1);
    s = op(&f, "softmax", &s, 1, &(struct op_value){.name = "dim", .kind = OP_INT, .i = 3}, 1);
    output(&f, "y", b_contract(&f.b, s, v, 2, 1));
    expect_groups(&f, 0, 4);
}

static void what_several_kernels_use_is_stored_once(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = INPUT(&f, "x", 0, 64), e = b_exp(&f.b, x);
    output(&f, "e", e); /* stored, and read by the sum */
    output(&f, "s", b_reduce(&f.b, PRIM_REDUCE_SUM, e, (int64_t[]){1}, 1, false));
    expect_groups(&f, 0, 2);
    begin(&f); /* expensive and used twice: stored; cheap and used twice: computed again */
    x = INPUT(&f, "x", 0, 64);
    value_id dear = b_exp(&f.b, x), cheap = b_neg(&f.b, x);
    output(&f, "a", b_reduce(&f.b, PRIM_REDUCE_SUM, dear, (int64_t[]){1}, 1, false));
    output(&f, "b", b_reduce(&f.b, PRIM_REDUCE_MAX, dear, (int64_t[]){0}, 1, false));
    output(&f, "c", b_reduce(&f.b, PRIM_REDUCE_SUM, cheap, (int64_t[]){1}, 1, false));
    output(&f, "d", b_reduce(&f.b, PRIM_REDUCE_MIN, cheap, (int64_t[]){0}, 1, false));
    expect_groups(&f, 0, 5);
}

static void outputs_own_their_memory(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = INPUT(&f, "x", 0, 8), w = PARAM(&f, "w", 8);
    output(&f, "same", x);
    output(&f, "again", x);
    output(&f, "param", w);
    output(&f, "constant", b_const(&f.b, DTYPE_F32, 3));
    expect_groups(&f, 0, 4);
    begin(&f); /* a view of an input, and of another output */
    x = INPUT(&f, "x", 0, 8);
    value_id y = b_exp(&f.b, x);
    output(&f, "y", y);
    output(&f, "flat", b_flatten(&f.b, y, 0, 1));
    output(&f, "x", b_flatten(&f.b, x, 0, 1));
    expect_groups(&f, 0, 3);
}

static void prepare_depends_on_parameters_only(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f); /* exp(w) is computed once; its product with x is not */
    value_id w = PARAM(&f, "w", 64), x = INPUT(&f, "x", 0, 64);
    output(&f, "y", b_mul(&f.b, x, b_exp(&f.b, w)));
    expect_groups(&f, 1, 1);
    begin(&f); /* an output is computed in every call, even if it depends on parameters only */
    w = PARAM(&f, "w", 64);
    output(&f, "y", b_exp(&f.b, w));
    expect_groups(&f, 0, 1);
    begin(&f); /* its size depends on the input, so it is not computed before a call */
    w = PARAM(&f, "w", 1, 64);
    x = INPUT(&f, "x", 0, 64);
    value_id wide =
        b_broadcast_to(&f.b, b_exp(&f.b, w), (dim_id[]){f.N, dim_const(&f.graph.dims, 64)}, 2);
    output(&f, "y",
           b_reduce(&f.b, PRIM_REDUCE_SUM, b_add(&f.b, x, wide), (int64_t[]){0, 1}, 2, false));
    expect_groups(&f, 1, 1);
    begin(&f); /* also through a view; a value computed from numbers only is inlined */
    dim_id shape[] = {dim_const(&f.graph.dims, 8), dim_const(&f.graph.dims, 64)};
    w = PARAM(&f, "w", 64);
    x = INPUT(&f, "x", 8, 64);
    value_id column = b_iota(&f.b, DTYPE_I64, &shape[1], 1, 0);
    value_id mask = b_binary(&f.b, PRIM_LT, column, b_const_like(&f.b, column, 2));
    wide = b_broadcast_to(&f.b, b_exp(&f.b, w), shape, 2);
    output(&f, "y", b_select(&f.b, b_broadcast_to(&f.b, mask, shape, 2), b_add(&f.b, x, wide), x));
    expect_groups(&f, 1, 1);
}

static void sorts_and_scans_stand_alone(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = INPUT(&f, "x", 0, 64);
    output(
        &f, "y",
        OP(&f, "relu",
           op(&f, "cumsum", &x, 1, &(struct op_value){.name = "dim", .kind = OP_INT, .i = 1}, 1)));
    expect_groups(&f, 0, 2);
}

/* x + roll(x, 1), then rolled by 2, by 4, …: in one kernel each step would double the code. */
static void moved_sums_are_cut(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = INPUT(&f, "x", 4096);
    dim_id zero = b_dim_const(&f.b, 0);
    for (int64_t shift = 1; shift < 4096; shift *= 2) {
        dim_id few = b_dim_const(&f.b, shift), most = b_dim_const(&f.b, 4096 - shift);
        value_id parts[] = {b_slice(&f.b, x, 0, most, few, 1), b_slice(&f.b, x, 0, zero, most, 1)};
        x = b_add(&f.b, x, b_concat(&f.b, parts, 2, 0));
    }
    output(&f, "y", x);
    expect_groups(&f, 0, 3);
}

/* Many reductions over many dims, or one that is computed at many indices, would have more loops in
 * one kernel than a nest may have. */
static void reductions_are_cut_by_their_loops(void **state)
{
    (void)state;
    struct fixture f;
    int64_t inner[] = {1, 2, 3, 4, 5};
    dim_id shape[6];
    begin(&f);
    value_id x = INPUT(&f, "x", 16, 3, 3, 3, 3, 3), parts[16];
    memcpy(shape, graph_node(&f.graph, x)->shape, sizeof shape);
    for (int i = 0; i < 12; i++) {
        value_id most = b_reduce(&f.b, PRIM_REDUCE_MAX, x, inner, 5, true);
        x = b_sub(&f.b, x, b_broadcast_to(&f.b, most, shape, 6));
    }
    output(&f, "y", x);
    expect_groups(&f, 0, 6);
    begin(&f);
    x = INPUT(&f, "x", 16, 3, 3, 3, 3, 3);
    value_id sum = b_reduce(&f.b, PRIM_REDUCE_SUM, x, inner, 5, false);
    for (int i = 0; i < 16; i++)
        parts[i] = b_slice(&f.b, sum, 0, b_dim_const(&f.b, 15 - i), b_dim_const(&f.b, 1), 1);
    output(&f, "y", b_concat(&f.b, parts, 16, 0));
    expect_groups(&f, 0, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalisations_are_one_kernel),
        cmocka_unit_test(an_epilogue_joins_its_product),
        cmocka_unit_test(attention_is_one_kernel_and_a_copy),
        cmocka_unit_test(what_several_kernels_use_is_stored_once),
        cmocka_unit_test(outputs_own_their_memory),
        cmocka_unit_test(prepare_depends_on_parameters_only),
        cmocka_unit_test(sorts_and_scans_stand_alone),
        cmocka_unit_test(moved_sums_are_cut),
        cmocka_unit_test(reductions_are_cut_by_their_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
