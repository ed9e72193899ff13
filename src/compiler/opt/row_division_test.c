/* Division by reciprocals in softmax: what matches, and that results stay within the bounds. */
#include "compiler/opt/opt_test_util.h"

/* Softmax of x over an axis of [3, B, 5], or a variant that must not match. */
enum variant { PLAIN, KEPT_DIMS, HALF, NO_MAX, OTHER_AXIS, OTHER_SUM, OTHER_ROWS, VARIANTS };

static value_id spread(struct builder *b, value_id v, const dim_id *shape, int64_t axis)
{
    return b_broadcast_to(b, b_unsqueeze(b, v, axis), shape, 3);
}

static void make(struct graph *g, struct arena *arena, enum variant variant, int64_t axis)
{
    static const struct dim_name name = {"B", 1, 9, 1, 0, NULL};
    struct error err = {0};
    struct builder b = {g, &err};
    uint32_t index;
    graph_init(g, arena);
    assert_true(dim_declare(&g->dims, &name, &index, &err));
    dim_id shape[] = {dim_const(&g->dims, 3), dim_named(&g->dims, index), dim_const(&g->dims, 5)};
    bool turned = variant == OTHER_ROWS; /* the maximum of column i is subtracted in row i */
    if (turned)
        memcpy(shape, (dim_id[]){shape[2], shape[2], shape[1]}, sizeof shape);
    axis = turned ? axis % 2 : axis;
    enum dtype dtype = variant == HALF ? DTYPE_F16 : DTYPE_F32;
    value_id x = graph_input(g, "x", dtype, shape, 3, &err);
    int64_t other = variant == OTHER_AXIS ? (axis + 1) % 3 : axis;
    value_id most = b_reduce(&b, PRIM_REDUCE_MAX, x, &other, 1, false);
    value_id e =
        variant == NO_MAX ? x : b_sub(&b, x, spread(&b, most, shape, turned ? 1 - axis : other));
    e = b_exp(&b, e);
    value_id terms = variant == OTHER_SUM ? b_mul(&b, e, e) : e;
    value_id sum = b_reduce(&b, PRIM_REDUCE_SUM, terms, &axis, 1, variant == KEPT_DIMS);
    sum = variant == KEPT_DIMS ? b_broadcast_to(&b, sum, shape, 3) : spread(&b, sum, shape, axis);
    assert_true(graph_output(g, "y", b_div(&b, e, sum), &err));
}

static void softmax_divides_once(void **state)
{
    (void)state;
    for (int i = 0; i < 3 * VARIANTS; i++) {
        struct arena arena;
        struct graph from, to;
        const int64_t dims[] = {1 + i % 7};
        enum variant variant = (enum variant)(i / 3);
        arena_init(&arena);
        make(&from, &arena, variant, i % 3);
        run_pass(pass_row_division, &to, &arena, &from);
        const struct node *y = graph_node(&to, to.outputs.items[0].value);
        assert_int_equal(y->prim, variant <= KEPT_DIMS ? PRIM_MUL : PRIM_DIV);
        for (int special = 0; special < 2; special++) {
            struct interp_difference difference;
            struct interp_tensor *a =
                run_graph(&from, INTERP_REFERENCE, dims, special, (uint64_t)i, &arena);
            struct interp_tensor *b =
                run_graph(&to, INTERP_NATIVE, dims, special, (uint64_t)i, &arena);
            void *data = arena_array(&arena, (size_t)b->count, dtype_bytes(b->dtype));
            interp_store(b, data);
            interp_compare(a, data, &difference);
            if (!(difference.worst_ratio <= 1))
                fail_msg("variant %d, axis %d: %g of the bound", variant, i % 3,
                         difference.worst_ratio);
        }
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_divides_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
