/* Joining additions across a factor: what folds, what must not, and that results stay within the
 * errors of both graphs. */
#include "compiler/ops/ops.h"
#include "compiler/opt/opt_test_util.h"

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
    struct builder b;
    dim_id batch, size;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    const struct dim_name names[] = {{"B", 1, 8, 1, 0, NULL}, {"S", 5, 9, 1, 0, NULL}};
    uint32_t index;
    *f = (struct fixture){0};
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    f->b = (struct builder){&f->graph, &f->err};
    assert_true(dim_declare(&f->graph.dims, &names[0], &index, &f->err));
    f->batch = dim_named(&f->graph.dims, index);
    assert_true(dim_declare(&f->graph.dims, &names[1], &index, &f->err));
    f->size = dim_named(&f->graph.dims, index);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static dim_id number(struct fixture *f, int64_t value)
{
    return b_dim_const(&f->b, value);
}

static value_id image(struct fixture *f)
{
    dim_id shape[4] = {f->batch, number(f, 4), f->size, f->size};
    return graph_input(&f->graph, "x", DTYPE_F32, shape, 4, &f->err);
}

static value_id rows(struct fixture *f)
{
    dim_id shape[3] = {f->batch, f->size, number(f, 5)};
    return graph_input(&f->graph, "x", DTYPE_F32, shape, 3, &f->err);
}

static value_id param(struct fixture *f, const char *name, uint32_t rank, const int64_t *sizes)
{
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = number(f, sizes[i]);
    return graph_param(&f->graph, name, DTYPE_F32, shape, rank, &f->err);
}

static value_id vector(struct fixture *f, const char *name)
{
    return param(f, name, 1, (int64_t[]){6});
}

/* [6] along axis 1 of a result of rank 4, as [6, 1, 1]. */
static value_id per_channel(struct fixture *f, value_id v)
{
    return b_reshape(&f->b, v, (dim_id[]){number(f, 6), number(f, 1), number(f, 1)}, 3);
}

static value_id call(struct fixture *f, const char *op, const value_id *operands, uint32_t count,
                     const struct op_value *attrs, uint32_t attr_count)
{
    value_id out[OP_MAX_OUTPUTS];
    uint32_t out_count;
    if (!op_expand(&f->b, op_find(op),
                   &(struct op_arguments){operands, count, attrs, attr_count, false}, out,
                   &out_count, &f->err))
        fail_msg("%s: %s: %s", op, f->err.place, f->err.message);
    return out[0];
}

static value_id conv(struct fixture *f, value_id x, value_id w, value_id bias, int64_t groups)
{
    const struct op_value attrs[] = {{.name = "groups", .kind = OP_INT, .i = groups},
                                     {.name = "padding", .kind = OP_INT, .i = 1}};
    return call(f, "conv2d", (value_id[]){x, w, bias}, 3, attrs, 2);
}

/* Runs simplify and the pass, and compares results at a few sizes. */
static void fold(struct fixture *f, value_id y, struct graph *out)
{
    struct graph simple;
    if (y == VALUE_NONE || !graph_output(&f->graph, "y", y, &f->err))
        fail_msg("%s", f->err.message);
    run_pass(pass_simplify, &simple, &f->arena, &f->graph);
    run_pass(pass_fold_norms, out, &f->arena, &simple);
    for (uint64_t seed = 0; seed < 3; seed++) {
        int64_t dims[] = {1 + (int64_t)seed, 5 + (int64_t)seed};
        struct interp_tensor *a =
            run_graph(&f->graph, INTERP_REFERENCE, dims, false, seed * 9, &f->arena);
        struct interp_tensor *b =
            run_graph(out, INTERP_REFERENCE, dims, false, seed * 9, &f->arena);
        assert_int_equal(a->count, b->count);
        for (int64_t i = 0; i < a->count; i++) {
            /* Both are computed in float64, so their difference is small, and less than the
             * bounds. */
            double distance = fabs(a->cells[i].f - b->cells[i].f);
            if (!(distance <= 1e-9 * (1 + fabs(a->cells[i].f))))
                fail_msg("element %lld: %g against %g", (long long)i, a->cells[i].f, b->cells[i].f);
            assert_true(!a->bounds || distance <= a->bounds[i]);
        }
    }
}

/* The number of nodes of a prim that depend on an input. */
static uint32_t count_per_call(const struct graph *g, struct arena *arena, enum prim prim)
{
    bool *from_input = ARENA_ARRAY(arena, bool, g->nodes.count);
    uint32_t count = 0;
    for (value_id v = 1; v < g->nodes.count; v++) {
        const struct node *node = graph_node(g, v);
        from_input[v] = node->prim == PRIM_INPUT;
        for (uint32_t i = 0; i < node->operand_count; i++)
            from_input[v] |= from_input[node->operands[i]];
        count += from_input[v] && node->prim == prim;
    }
    return count;
}

static void expect_per_call(struct fixture *f, const struct graph *g, uint32_t adds, uint32_t subs,
                            uint32_t muls, uint32_t divs)
{
    const struct {
        enum prim prim;
        uint32_t count;
    } expected[] = {{PRIM_ADD, adds}, {PRIM_SUB, subs}, {PRIM_MUL, muls}, {PRIM_DIV, divs}};
    for (size_t i = 0; i < 4; i++) {
        uint32_t count = count_per_call(g, &f->arena, expected[i].prim);
        if (count != expected[i].count)
            fail_msg("%u times %s, expected %u\n%s", count, prim_info(expected[i].prim)->name,
                     expected[i].count, graph_text(g, &f->arena));
    }
}

static void test_conv_and_batch_norm(void **state)
{
    for (int64_t groups = 1; groups <= 2; groups++) {
        struct fixture *f = *state;
        struct graph g;
        value_id w = param(f, "w", 4, (int64_t[]){6, 4 / groups, 3, 3});
        value_id y = conv(f, image(f), w, vector(f, "b"), groups);
        value_id var = b_shift(&f->b, b_mul(&f->b, vector(f, "r"), vector(f, "q")), 8);
        y = call(f, "batch_norm",
                 (value_id[]){y, vector(f, "mean"), var, vector(f, "gamma"), vector(f, "beta")}, 5,
                 NULL, 0);
        fold(f, call(f, "relu", &y, 1, NULL, 0), &g);
        expect_per_call(f, &g, 1, 0, 1, 0);
        assert_int_equal(count_prim(&g, PRIM_CONV), 1);
        teardown(state);
        setup(state);
    }
}

static void test_linear_and_batch_norm(void **state)
{
    struct fixture *f = *state;
    struct graph g;
    dim_id shape[2] = {f->batch, number(f, 5)};
    value_id x = graph_input(&f->graph, "x", DTYPE_F32, shape, 2, &f->err);
    value_id y =
        call(f, "linear", (value_id[]){x, param(f, "w", 2, (int64_t[]){6, 5}), vector(f, "b")}, 3,
             NULL, 0);
    value_id var = b_unary(&f->b, PRIM_EXP, vector(f, "v"));
    y = call(f, "batch_norm", (value_id[]){y, vector(f, "mean"), var, VALUE_NONE, VALUE_NONE}, 5,
             NULL, 0);
    fold(f, y, &g);
    expect_per_call(f, &g, 1, 0, 1, 0);
}

static void test_two_factors_stay(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    struct graph g;
    value_id y = b_contract(b, rows(f), param(f, "w", 2, (int64_t[]){6, 5}), 0, 1);
    y = b_add(b, b_scale(b, y, 3), vector(f, "b"));
    y = b_div(b, y, b_unary(b, PRIM_EXP, vector(f, "d")));
    fold(f, b_shift(b, y, -1), &g);
    expect_per_call(f, &g, 2, 0, 1, 1);
}

static void test_a_factor_alone_stays(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    struct graph g;
    value_id y = conv(f, image(f), param(f, "w", 4, (int64_t[]){6, 4, 3, 3}), VALUE_NONE, 1);
    fold(f, b_mul(b, per_channel(f, vector(f, "s")), y), &g);
    expect_per_call(f, &g, 0, 0, 1, 0);
}

static void test_additions_join(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    struct graph g;
    value_id y = conv(f, image(f), param(f, "w", 4, (int64_t[]){6, 4, 3, 3}), vector(f, "b"), 1);
    fold(f, b_sub(b, y, per_channel(f, vector(f, "m"))), &g);
    expect_per_call(f, &g, 1, 0, 0, 0);
}

static void test_a_bias_alone_stays(void **state)
{
    struct fixture *f = *state;
    struct graph g;
    value_id y = conv(f, image(f), param(f, "w", 4, (int64_t[]){6, 4, 3, 3}), vector(f, "b"), 1);
    fold(f, y, &g);
    expect_per_call(f, &g, 1, 0, 0, 0);
    assert_int_equal(count_prim(&g, PRIM_MUL), 0);
}

/* No rewrite if a value is used elsewhere, depends on the input, is along another axis, or has a
 * narrow dtype. */
static void test_what_must_not_fold(void **state)
{
    for (int which = 0; which < 6; which++) {
        struct fixture *f = *state;
        struct builder *b = &f->b;
        struct graph g;
        value_id x = image(f), w = param(f, "w", 4, (int64_t[]){6, 4, 3, 3});
        value_id s = per_channel(f, vector(f, "s"));
        if (which == 5)
            x = b_cast(b, x, DTYPE_F16), w = b_cast(b, w, DTYPE_F16), s = b_cast(b, s, DTYPE_F16);
        value_id y = conv(f, x, w, VALUE_NONE, 1), z = y;
        switch (which) {
        case 0: assert_true(graph_output(&f->graph, "used", y, &f->err)); break;
        case 1: z = b_neg(b, y); break;
        case 2: s = graph_input(&f->graph, "t", DTYPE_F32, NULL, 0, &f->err); break;
        case 3: s = b_cast(b, b_size(b, f->size), DTYPE_F32); break;
        case 4:
            s = b_reshape(b, b_broadcast_to(b, vector(f, "a"), (dim_id[]){number(f, 6)}, 1),
                          (dim_id[]){number(f, 1), number(f, 6), number(f, 1), number(f, 1)}, 4);
            s = b_mul(b, s, b_cast(b, b_iota(b, DTYPE_I64, &f->size, 1, 0), DTYPE_F32));
            break;
        }
        y = b_mul(b, y, s);
        if (which == 1)
            y = b_add(b, y, z);
        fold(f, y, &g);
        if (count_per_call(&g, &f->arena, PRIM_MUL) < 1)
            fail_msg("case %d\n%s", which, graph_text(&g, &f->arena));
        teardown(state);
        setup(state);
    }
}

static void test_difference_and_quotient_first(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    struct graph g;
    value_id y = conv(f, image(f), param(f, "w", 4, (int64_t[]){6, 4, 3, 3}), VALUE_NONE, 1);
    y = b_sub(b, y, per_channel(f, vector(f, "m")));
    y = b_div(b, y, b_unary(b, PRIM_EXP, per_channel(f, vector(f, "d"))));
    fold(f, b_sub(b, y, b_const(b, DTYPE_F32, 5)), &g);
    expect_per_call(f, &g, 1, 0, 0, 1);
}

/* Both vectors have as many elements as there are channels, but are along another axis. */
static void test_vector_along_another_axis_stays(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    struct graph g;
    dim_id shape[3] = {f->batch, number(f, 6), number(f, 5)};
    value_id x = graph_input(&f->graph, "x", DTYPE_F32, shape, 3, &f->err);
    value_id y = b_contract(b, x, param(f, "w", 2, (int64_t[]){6, 5}), 0, 1);
    fold(f, b_mul(b, y, b_unsqueeze(b, vector(f, "s"), 1)), &g);
    expect_per_call(f, &g, 0, 0, 1, 0);
}

static void test_batched_products_stay(void **state)
{
    for (uint32_t rank = 2; rank <= 3; rank++) {
        struct fixture *f = *state;
        struct builder *b = &f->b;
        struct graph g;
        dim_id shape[3] = {number(f, 6), number(f, 6), number(f, 5)};
        value_id x = graph_input(&f->graph, "x", DTYPE_F32, shape, 3, &f->err);
        value_id w = param(f, "w", rank, rank == 2 ? (int64_t[]){6, 5} : (int64_t[]){6, 6, 5});
        fold(f, b_mul(b, b_contract(b, x, w, 1, 1), vector(f, "s")), &g);
        expect_per_call(f, &g, 0, 0, 1, 0);
        teardown(state);
        setup(state);
    }
}

/* A factor whose result has two users: the chain ends where a value has several users. */
static void test_chain_ends_at_shared_value(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    struct graph g;
    value_id y = conv(f, image(f), param(f, "w", 4, (int64_t[]){6, 4, 3, 3}), vector(f, "b"), 1);
    y = b_mul(b, y, per_channel(f, vector(f, "s")));
    value_id z = b_mul(b, y, per_channel(f, vector(f, "t")));
    fold(f, b_add(b, y, z), &g);
    expect_per_call(f, &g, 2, 0, 2, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_conv_and_batch_norm),
        TEST(test_linear_and_batch_norm),
        TEST(test_two_factors_stay),
        TEST(test_a_factor_alone_stays),
        TEST(test_additions_join),
        TEST(test_a_bias_alone_stays),
        TEST(test_what_must_not_fold),
        TEST(test_difference_and_quotient_first),
        TEST(test_vector_along_another_axis_stays),
        TEST(test_batched_products_stay),
        TEST(test_chain_ends_at_shared_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
