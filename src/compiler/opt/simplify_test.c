/* Simplification: each rule on a small graph, as text; random graphs and the examples of all ops
 * give the same bits before and after. */
#include "compiler/ops/ops.h"
#include "compiler/opt/opt_test_util.h"

static const char header[] = "graph \"\"\n"
                             "dim B 1..8 multiple 1\n"
                             "%1 = input \"x\" : f32[B, 4]\n"
                             "%2 = input \"i\" : i32[B, 4]\n"
                             "%3 = input \"c\" : bool[B, 4]\n"
                             "%4 = input \"t\" : f32[2, 1, 3]\n"
                             "%5 = input \"h\" : f16[5]\n"
                             "%6 = param \"v\" : f32[4]\n"
                             "%7 = param \"w\" : f32[4]\n"
                             "%8 = input \"s\" : f32[]\n";

static const struct rule_case {
    const char *name, *before, *after; /* without the header; the last value is the output */
} cases[] = {
#define CASE(name, before, after) {name, before, after},
#include "compiler/opt/simplify_cases.def"
#undef CASE
};

static const char *after_header(const struct graph *graph, struct arena *arena)
{
    const char *text = graph_text(graph, arena);
    assert_memory_equal(text, header, strlen(header));
    return text + strlen(header);
}

static void parse_case(const struct rule_case *c, struct graph *graph, struct arena *arena)
{
    struct error err = {0};
    struct strbuf text;
    uint32_t lines = 0;
    for (const char *at = c->before; (at = strchr(at, '\n')); at++)
        lines++;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s%soutput \"y\" %%%u\n", header, c->before, 8 + lines);
    if (!graph_parse(graph, arena, text.data, text.size_bytes, &err))
        fail_msg("%s: %s: %s", c->name, err.place, err.message);
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct graph from, to;
        arena_init(&arena);
        parse_case(&cases[i], &from, &arena);
        run_pass(pass_simplify, &to, &arena, &from);
        const char *after = after_header(&to, &arena);
        if (strcmp(after, cases[i].after) != 0)
            fail_msg("%s:\n%s\nexpected:\n%s", cases[i].name, after, cases[i].after);
        for (uint64_t seed = 0; seed < 6; seed++) {
            int64_t dims[] = {1 + (int64_t)seed};
            struct interp_tensor *before =
                run_graph(&from, INTERP_NATIVE, dims, true, seed, &arena);
            expect_same_bits(before, run_graph(&to, INTERP_NATIVE, dims, true, seed, &arena),
                             cases[i].name);
        }
        arena_release(&arena);
    }
}

struct random_graph {
    struct graph graph;
    struct error err;
    struct builder b;
    VEC(value_id) values;
    uint64_t key, counter;
};

static uint32_t draw(struct random_graph *r, uint32_t bound)
{
    return rng_u32(r->key, r->counter++) % bound;
}

static value_id any_value(struct random_graph *r)
{
    return r->values.items[draw(r, r->values.count)];
}

static value_id random_const(struct random_graph *r, value_id like)
{
    static const double values[] = {0.0, -0.0, 1, -1, 2, 0.5, 3, INFINITY, -INFINITY, NAN};
    return b_const_like(&r->b, like, values[draw(r, sizeof values / sizeof *values)]);
}

static value_id random_elementwise(struct random_graph *r, value_id x)
{
    static const enum dtype dtypes[] = {DTYPE_F32,  DTYPE_F16, DTYPE_I32, DTYPE_I8,
                                        DTYPE_BOOL, DTYPE_F64, DTYPE_U32, DTYPE_U8};
    struct builder *b = &r->b;
    switch (draw(r, 6)) {
    case 0: return b_unary(b, PRIM_NEG + draw(r, PRIM_IS_NAN - PRIM_NEG + 1), x);
    case 1: return b_binary(b, PRIM_ADD + draw(r, PRIM_LE - PRIM_ADD + 1), x, any_value(r));
    case 2: return b_binary(b, PRIM_ADD + draw(r, PRIM_LE - PRIM_ADD + 1), x, random_const(r, x));
    case 3: return b_binary(b, PRIM_ADD + draw(r, PRIM_LE - PRIM_ADD + 1), random_const(r, x), x);
    case 4: return b_select(b, any_value(r), x, any_value(r));
    default: return b_cast(b, x, dtypes[draw(r, sizeof dtypes / sizeof *dtypes)]);
    }
}

static value_id random_broadcast(struct random_graph *r, value_id x)
{
    const struct node *node = b_node(&r->b, x);
    struct attrs attrs = {.axis_count = node->rank};
    dim_id one = b_dim_const(&r->b, 1);
    if (node->rank > 3)
        return x;
    for (uint32_t i = 0; i <= node->rank; i++) {
        if (draw(r, 3) == 0)
            attrs.shape[attrs.rank++] = b_dim_const(&r->b, 1 + draw(r, 3));
        if (i == node->rank)
            break;
        bool stretch = node->shape[i] == one && draw(r, 2);
        attrs.axes[i] = attrs.rank;
        attrs.shape[attrs.rank++] = stretch ? b_dim_const(&r->b, 2) : node->shape[i];
    }
    return graph_add(&r->graph, PRIM_BROADCAST, &x, 1, &attrs, &r->err);
}

static value_id random_move(struct random_graph *r, value_id x)
{
    struct builder *b = &r->b;
    uint32_t rank = b_node(b, x)->rank;
    if (rank == 0)
        return random_broadcast(r, x);
    int64_t axis = draw(r, rank);
    dim_id zero = b_dim_const(b, 0), dim = b_dim(b, x, axis), zeros[LIMIT_RANK];
    for (uint32_t i = 0; i < rank; i++)
        zeros[i] = zero;
    switch (draw(r, 11)) {
    case 0: return b_swap(b, x, axis, draw(r, rank));
    case 1: return b_reverse(b, x, axis);
    case 2: return b_unsqueeze(b, x, axis);
    case 3: return b_flatten(b, x, 0, axis);
    case 4: return b_slice(b, x, axis, zero, dim, 1);
    case 5:
        return b_slice(b, x, axis, b_dim_const(b, draw(r, 2)), b_dim_const(b, 1), 1 + draw(r, 2));
    case 6: return b_pad(b, x, zeros, zeros, 1);
    case 7: return b_concat(b, (value_id[]){x, b_slice(b, x, axis, zero, zero, 1)}, 2, axis);
    case 8: return b_reduce(b, PRIM_REDUCE_SUM + draw(r, 4), x, &axis, 1, draw(r, 2));
    case 9: return b_squeeze(b, x, axis);
    default: return random_broadcast(r, x);
    }
}

static void random_graph(struct random_graph *r, struct arena *arena, uint64_t seed)
{
    struct error err = {0};
    struct strbuf name;
    *r = (struct random_graph){.key = rng_key(seed)};
    r->b = (struct builder){&r->graph, &r->err};
    assert_true(graph_parse(&r->graph, arena, header, strlen(header), &err));
    for (value_id id = 1; id < r->graph.nodes.count; id++)
        VEC_PUSH(arena, &r->values, id);
    for (int i = 0; i < 40; i++) {
        /* Mostly operands among the last values, so that chains become long. */
        uint32_t recent = r->values.count < 4 ? r->values.count : 4;
        value_id x =
            draw(r, 4) == 0 ? any_value(r) : r->values.items[r->values.count - 1 - draw(r, recent)];
        value_id y = draw(r, 2) ? random_elementwise(r, x) : random_move(r, x);
        r->err = (struct error){0};
        if (y != VALUE_NONE && b_node(&r->b, y)->rank <= 5)
            VEC_PUSH(arena, &r->values, y);
    }
    for (uint32_t i = 0; i < 4; i++) {
        strbuf_init(&name, arena);
        strbuf_printf(&name, "y%u", i);
        assert_true(
            graph_output(&r->graph, name.data, r->values.items[r->values.count - 1 - i], &err));
    }
}

static void test_random_graphs(void **state)
{
    (void)state;
    uint32_t before = 0, after = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct arena arena;
        struct random_graph r;
        struct graph live, to;
        struct error err = {0};
        arena_init(&arena);
        random_graph(&r, &arena, seed);
        assert_true(graph_copy_live(&live, &arena, &r.graph, &err));
        run_pass(pass_simplify, &to, &arena, &live);
        before += live.nodes.count;
        after += to.nodes.count;
        int64_t dims[] = {1 + (int64_t)(seed % 3)};
        struct interp_tensor *a = run_graph(&live, INTERP_NATIVE, dims, true, seed, &arena);
        struct interp_tensor *b = run_graph(&to, INTERP_NATIVE, dims, true, seed, &arena);
        for (uint32_t i = 0; i < live.outputs.count; i++)
            expect_same_bits(&a[i], &b[i], graph_text(&live, &arena));
        arena_release(&arena);
    }
    assert_true(after * 10 < before * 9);
}

static void check_example(const struct op_row *row, uint32_t index, bool symbolic)
{
    struct arena arena;
    struct graph from, to;
    struct error err = {0};
    struct op_example example;
    struct interp_tensor in[LIMIT_OPERANDS], a[OP_MAX_OUTPUTS], b[OP_MAX_OUTPUTS];
    arena_init(&arena);
    graph_init(&from, &arena);
    bool ok = op_example_build(row, &(struct op_example_request){index, 7, 3, DTYPE_F32, symbolic},
                               &from, &example, &err);
    assert_true(ok);
    run_pass(pass_simplify, &to, &arena, &from);
    for (uint32_t i = 0; i < example.operand_count; i++) {
        const struct op_example_operand *o = &example.operands[i];
        void *data = arena_array(&arena, (size_t)o->count, dtype_bytes(o->dtype));
        op_example_fill(o, 50 + i, data);
        ok &= interp_load(&in[i], &arena,
                          &(struct native_tensor){o->dtype, o->rank, o->shape, data}, &err);
    }
    ok = ok && interp_run(&from, &(struct interp_options){.mode = INTERP_NATIVE},
                          &(struct interp_arguments){example.dim_values, in, example.operand_count},
                          &arena, a, &err);
    ok = ok && interp_run(&to, &(struct interp_options){.mode = INTERP_NATIVE},
                          &(struct interp_arguments){example.dim_values, in, example.operand_count},
                          &arena, b, &err);
    if (!ok)
        fail_msg("%s: %s: %s", row->name, err.place, err.message);
    for (uint32_t i = 0; i < from.outputs.count; i++)
        expect_same_bits(&a[i], &b[i], row->name);
    arena_release(&arena);
}

static void test_examples_of_ops(void **state)
{
    (void)state;
    const struct op_row *row;
    for (uint32_t i = 0; (row = op_at(i)); i++) {
        for (uint32_t index = 0; index < op_example_count(row); index++) {
            check_example(row, index, false);
            check_example(row, index, true);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_examples_of_ops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
