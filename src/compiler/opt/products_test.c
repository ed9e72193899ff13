/* Operands that are packed: the same bits, packed where that is won back, and as bytes where few
 * rows read them; first operands that are copied for their rows to be one dim; and convolutions of
 * patches, which become products where their weights are not packed. */
#include "compiler/opt/opt_test_util.h"
#include "compiler/target/target.h"

static const struct row {
    const char *what;
    bool param;            /* weights are; else an input */
    int64_t batch, pixels; /* batch 0: a dim from 1 on; pixels: of a line, as many lines */
    int64_t channels;
    bool packed;
} rows[] = {
    {"parameters", true, 1, 2, 64, true},
    {"an input, 64 pixels", false, 1, 8, 64, true},
    {"an input, 49 pixels", false, 1, 7, 64, false},
    {"an input, twice 49 pixels", false, 2, 7, 64, true},
    {"an input, any number of images", false, 0, 8, 64, true},
    {"an input, any number of small images", false, 0, 7, 64, false},
    {"a short sum", false, 1, 8, 2, false},
};

static bool is_param_or_input(const struct graph *g, value_id v)
{
    return graph_node(g, v)->prim == PRIM_PARAM || graph_node(g, v)->prim == PRIM_INPUT;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        struct arena arena;
        struct graph graph, to, live;
        struct error err = {0};
        struct builder b = {&graph, &err};
        uint32_t name;
        arena_init(&arena);
        graph_init(&graph, &arena);
        struct dim_table *dims = &graph.dims;
        dim_declare(dims, &(struct dim_name){.name = "N", .min = 1, .max = 9, .multiple_of = 1},
                    &name, &err);
        dim_id channels = dim_const(dims, row->channels), pixels = dim_const(dims, row->pixels);
        dim_id batch = row->batch > 0 ? dim_const(dims, row->batch) : dim_named(dims, name);
        dim_id three = dim_const(dims, 3);
        const dim_id x_shape[] = {batch, channels, pixels, pixels};
        const dim_id w_shape[] = {dim_const(dims, 32), channels, three, three};
        value_id x = graph_input(&graph, "x", DTYPE_F32, x_shape, 4, &err);
        value_id w = row->param ? graph_param(&graph, "w", DTYPE_F32, w_shape, 4, &err)
                                : graph_input(&graph, "w", DTYPE_F32, w_shape, 4, &err);
        const struct window window = {3, 1, 1, 1, 1, 1}, windows[] = {window, window};
        graph_output(&graph, "y", b_conv(&b, x, w, windows, 2, 1), &err);
        if (!pass_products(&to, &arena, &graph, target_at(2), &err) || !graph_verify(&to, &err) ||
            !graph_copy_live(&live, &arena, &to, &err))
            fail_msg("%s: %s: %s", row->what, err.place, err.message);
        const struct node *conv = graph_node(&live, live.outputs.items[0].value);
        assert_int_equal(conv->prim, PRIM_CONV);
        if (is_param_or_input(&live, conv->operands[1]) == row->packed)
            fail_msg("%s: %s", row->what, row->packed ? "not packed" : "packed");
        expect_same_bits(run_graph(&graph, INTERP_REFERENCE, (int64_t[]){2}, false, 7, &arena),
                         run_graph(&live, INTERP_REFERENCE, (int64_t[]){2}, false, 7, &arena),
                         row->what);
        arena_release(&arena);
    }
}

/* y = x · w with a weight of small integers, that are cast once or twice. */
static const struct byte_row {
    const char *what;
    int64_t rows, columns; /* rows below 0: -rows or more */
    enum dtype dtype, by;  /* by: DTYPE_NONE, or what the weight is cast to before f32 */
    bool shifted;          /* less a zero point */
    bool bytes;            /* the packed copy has them as they are */
} byte_rows[] = {
    {"one row", 1, 330, DTYPE_I8, DTYPE_NONE, false, true},
    {"two rows of unsigned", 2, 330, DTYPE_U8, DTYPE_I32, false, true},
    {"a small weight", 1, 320, DTYPE_I8, DTYPE_NONE, false, false},
    {"eight rows", 8, 330, DTYPE_I8, DTYPE_NONE, false, true},
    {"nine rows", 9, 330, DTYPE_I8, DTYPE_NONE, false, false},
    {"any number of rows", -1, 330, DTYPE_I8, DTYPE_NONE, false, true},
    {"nine rows or more", -9, 330, DTYPE_I8, DTYPE_NONE, false, false},
    {"a wide type", 1, 330, DTYPE_I16, DTYPE_I32, false, false},
    {"a narrower float", 1, 330, DTYPE_I8, DTYPE_BF16, false, false},
    {"a zero point", 1, 330, DTYPE_U8, DTYPE_I32, true, true},
    {"a zero point and any rows", -1, 330, DTYPE_U8, DTYPE_I32, true, true},
};

static value_id weight_of(const struct byte_row *row, struct builder *b)
{
    const uint8_t turned[2] = {1, 0};
    const dim_id shape[] = {b_dim_const(b, 400), b_dim_const(b, row->columns)};
    value_id w = graph_param(b->graph, "w", row->dtype, shape, 2, b->err);
    if (row->by != DTYPE_NONE)
        w = b_cast(b, w, row->by);
    if (row->shifted)
        w = b_binary(b, PRIM_SUB, w, b_broadcast_to(b, b_const(b, row->by, 128), shape, 2));
    return b_cast(b, b_transpose(b, w, turned), DTYPE_F32);
}

static void test_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof byte_rows / sizeof *byte_rows; i++) {
        const struct byte_row *row = &byte_rows[i];
        struct arena arena;
        struct graph graph, to, live;
        struct error err = {0};
        struct builder b = {&graph, &err};
        arena_init(&arena);
        graph_init(&graph, &arena);
        const struct dim_name range = {.name = "N", .min = -row->rows, .max = 90, .multiple_of = 1};
        uint32_t name = 0;
        if (row->rows < 0)
            assert_true(dim_declare(&graph.dims, &range, &name, &err));
        dim_id rows_dim = row->rows < 0 ? dim_named(&graph.dims, name) : b_dim_const(&b, row->rows);
        const dim_id shape[] = {rows_dim, b_dim_const(&b, 400)};
        value_id x = graph_input(&graph, "x", DTYPE_F32, shape, 2, &err);
        graph_output(&graph, "y", b_contract(&b, x, weight_of(row, &b), 0, 1), &err);
        if (!pass_products(&to, &arena, &graph, target_at(2), &err) || !graph_verify(&to, &err) ||
            !graph_copy_live(&live, &arena, &to, &err))
            fail_msg("%s: %s: %s", row->what, err.place, err.message);
        bool found = false;
        for (value_id v = 1; v < live.nodes.count; v++)
            if (graph_node(&live, v)->prim == PRIM_COPY)
                found |= graph_node(&live, v)->dtype == row->dtype;
        if (found != row->bytes)
            fail_msg("%s: %s", row->what, found ? "bytes" : "no bytes");
        expect_same_bits(run_graph(&graph, INTERP_NATIVE, (int64_t[]){11}, false, 7, &arena),
                         run_graph(&live, INTERP_NATIVE, (int64_t[]){11}, false, 7, &arena),
                         row->what);
        arena_release(&arena);
    }
}

static const struct patches {
    const char *what;
    bool param; /* weights are; else an input */
    uint32_t count;
    int64_t size[3], groups;
    struct window windows[3];
    bool product;
} patches[] = {
    {"patches", false, 2, {12, 9}, 1, {{4, 4, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, true},
    {"with a rest", false, 2, {13, 11}, 1, {{4, 4, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, true},
    {"a line", false, 1, {23}, 1, {{5, 5, 0, 0, 1, 1}}, true},
    {"a volume",
     false,
     3,
     {5, 4, 3},
     1,
     {{2, 2, 0, 0, 1, 1}, {2, 2, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}},
     true},
    {"parameters", true, 2, {12, 9}, 1, {{4, 4, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, false},
    {"many pixels", false, 2, {32, 27}, 1, {{4, 4, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, false},
    {"groups", false, 2, {12, 9}, 2, {{4, 4, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, false},
    {"padded", false, 2, {12, 9}, 1, {{4, 4, 1, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, false},
    {"overlapping", false, 2, {12, 9}, 1, {{4, 3, 0, 0, 1, 1}, {3, 3, 0, 0, 1, 1}}, false},
    {"far apart", false, 2, {14, 9}, 1, {{4, 4, 0, 0, 2, 1}, {3, 3, 0, 0, 1, 1}}, false},
    {"spread", false, 2, {6, 9}, 1, {{4, 4, 0, 0, 1, 2}, {3, 3, 0, 0, 1, 1}}, false},
};

static void test_patches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof patches / sizeof *patches; i++) {
        const struct patches *row = &patches[i];
        struct arena arena;
        struct graph graph, to, live;
        struct error err = {0};
        struct builder b = {&graph, &err};
        uint32_t name;
        arena_init(&arena);
        graph_init(&graph, &arena);
        struct dim_table *dims = &graph.dims;
        dim_declare(dims, &(struct dim_name){.name = "N", .min = 1, .max = 9, .multiple_of = 1},
                    &name, &err);
        dim_id x_shape[LIMIT_RANK] = {dim_named(dims, name), dim_const(dims, 6)};
        dim_id w_shape[LIMIT_RANK] = {dim_const(dims, 10), dim_const(dims, 6 / row->groups)};
        for (uint32_t d = 0; d < row->count; d++) {
            x_shape[2 + d] = dim_const(dims, row->size[d]);
            w_shape[2 + d] = dim_const(dims, row->windows[d].size);
        }
        uint32_t rank = 2 + row->count;
        value_id x = graph_input(&graph, "x", DTYPE_F32, x_shape, rank, &err);
        value_id w = row->param ? graph_param(&graph, "w", DTYPE_F32, w_shape, rank, &err)
                                : graph_input(&graph, "w", DTYPE_F32, w_shape, rank, &err);
        value_id y = b_conv(&b, x, w, row->windows, row->count, row->groups);
        if (!graph_output(&graph, "y", y, &err) ||
            !pass_products(&to, &arena, &graph, target_at(2), &err) || !graph_verify(&to, &err) ||
            !graph_copy_live(&live, &arena, &to, &err))
            fail_msg("%s: %s: %s", row->what, err.place, err.message);
        if ((count_prim(&live, PRIM_CONTRACT) > 0) != row->product)
            fail_msg("%s: %s", row->what, row->product ? "no product" : "a product");
        expect_same_bits(run_graph(&graph, INTERP_REFERENCE, (int64_t[]){3}, false, 7, &arena),
                         run_graph(&live, INTERP_REFERENCE, (int64_t[]){3}, false, 7, &arena),
                         row->what);
        arena_release(&arena);
    }
}

/* y = x w^T, both inputs: whether the copy in panels is one of x. The target has panels of 16. */
static const struct side_row {
    const char *what;
    int64_t least, most, columns, depth; /* of x's rows */
    bool packs_x;
} side_rows[] = {
    {"few rows", 32, 32, 512, 512, true},
    {"many rows", 256, 256, 512, 512, false},
    {"rows that do not fill a panel", 36, 36, 512, 512, false},
    {"any rows of a small weight", 1, 256, 512, 512, false},
    {"any rows of a large weight", 1, 256, 1024, 512, true},
    {"a result of many columns", 32, 32, 512, 40, false},
};

static void test_sides(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof side_rows / sizeof *side_rows; i++) {
        const struct side_row *row = &side_rows[i];
        const struct dim_name range = {
            .name = "B", .min = row->least, .max = row->most, .multiple_of = 1};
        struct arena arena;
        struct graph graph, to, live;
        struct error err = {0};
        struct builder b = {&graph, &err};
        uint32_t name;
        arena_init(&arena);
        graph_init(&graph, &arena);
        assert_true(dim_declare(&graph.dims, &range, &name, &err));
        dim_id depth = dim_const(&graph.dims, row->depth);
        dim_id height = row->least == row->most ? dim_const(&graph.dims, row->least)
                                                : dim_named(&graph.dims, name);
        const dim_id of_x[] = {height, depth},
                     of_w[] = {dim_const(&graph.dims, row->columns), depth};
        value_id x = graph_input(&graph, "x", DTYPE_F32, of_x, 2, &err);
        value_id w = graph_input(&graph, "w", DTYPE_F32, of_w, 2, &err);
        if (!graph_output(&graph, "y", b_contract(&b, x, w, 0, 1), &err) ||
            !pass_products(&to, &arena, &graph, target_at(2), &err) || !graph_verify(&to, &err) ||
            !graph_copy_live(&live, &arena, &to, &err))
            fail_msg("%s: %s: %s", row->what, err.place, err.message);
        bool copied[2] = {false};
        for (value_id v = 1; v < live.nodes.count; v++) {
            value_id source = v;
            if (graph_node(&live, v)->prim != PRIM_COPY)
                continue;
            while (graph_node(&live, source)->operand_count > 0 &&
                   graph_node(&live, source)->prim != PRIM_CONTRACT)
                source = graph_node(&live, source)->operands[0];
            for (int k = 0; k < 2; k++)
                copied[k] |= source == live.inputs.items[k];
        }
        if (copied[0] != row->packs_x || copied[1] == row->packs_x)
            fail_msg("%s: x %d, w %d", row->what, copied[0], copied[1]);
        arena_release(&arena);
    }
}

/* y = x · w, both inputs, where the depth of x is heads of a [2, heads, 6, 8] and their features:
 * whether x is stored as it is read. */
static const struct heads_row {
    const char *what;
    int64_t heads, columns;
    bool again; /* a reshape that merges nothing comes first */
    bool stored;
} heads_rows[] = {
    {"heads", 4, 16, false, true},
    {"heads behind another reshape", 4, 16, true, true},
    {"one head", 1, 16, false, false},
    {"few columns", 4, 15, false, false},
};

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heads_rows / sizeof *heads_rows; i++) {
        const struct heads_row *row = &heads_rows[i];
        struct arena arena;
        struct graph graph, to, live;
        struct error err = {0};
        struct builder b = {&graph, &err};
        arena_init(&arena);
        graph_init(&graph, &arena);
        dim_id two = b_dim_const(&b, 2), heads = b_dim_const(&b, row->heads);
        dim_id six = b_dim_const(&b, 6), eight = b_dim_const(&b, 8);
        dim_id depth = b_dim_mul(&b, heads, eight);
        value_id x =
            graph_input(&graph, "x", DTYPE_F32, (dim_id[]){two, heads, six, eight}, 4, &err);
        value_id w = graph_input(&graph, "w", DTYPE_F32,
                                 (dim_id[]){b_dim_const(&b, row->columns), depth}, 2, &err);
        x = b_transpose(&b, x, (uint8_t[]){0, 2, 1, 3});
        if (row->again)
            x = b_reshape(&b, x, (dim_id[]){two, six, depth}, 3);
        x = b_reshape(&b, x, (dim_id[]){b_dim_const(&b, 12), depth}, 2);
        if (!graph_output(&graph, "y", b_contract(&b, x, w, 0, 1), &err) ||
            !pass_products(&to, &arena, &graph, target_at(2), &err) || !graph_verify(&to, &err) ||
            !graph_copy_live(&live, &arena, &to, &err))
            fail_msg("%s: %s: %s", row->what, err.place, err.message);
        bool stored = false;
        for (value_id v = 1; v < live.nodes.count; v++) {
            value_id source = v;
            while (graph_node(&live, source)->operand_count == 1)
                source = graph_node(&live, source)->operands[0];
            stored |= graph_node(&live, v)->prim == PRIM_COPY && source == live.inputs.items[0];
        }
        if (stored != row->stored)
            fail_msg("%s: %s", row->what, stored ? "stored" : "not stored");
        expect_same_bits(run_graph(&graph, INTERP_REFERENCE, NULL, false, 7, &arena),
                         run_graph(&live, INTERP_REFERENCE, NULL, false, 7, &arena), row->what);
        arena_release(&arena);
    }
}

/* y = x · w, where x [t, b, 20] lies in memory as [b, t, 20]. */
static const struct turned_row {
    const char *what;
    int64_t least, columns; /* least: of the dim b, from which it goes to 90 */
    bool copied;
} turned_rows[] = {
    {"any batch", 1, 70, true},
    {"a batch that fills tiles", 16, 70, false},
    {"a batch of 15 or more", 15, 70, true},
    {"few columns", 1, 63, false},
};

static void test_turned(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof turned_rows / sizeof *turned_rows; i++) {
        const struct turned_row *row = &turned_rows[i];
        const struct dim_name range = {.name = "b", .min = row->least, .max = 90, .multiple_of = 1};
        struct arena arena;
        struct graph graph, to, live;
        struct error err = {0};
        struct builder b = {&graph, &err};
        const uint8_t turned[3] = {1, 0, 2};
        uint32_t name, copies = 0;
        arena_init(&arena);
        graph_init(&graph, &arena);
        assert_true(dim_declare(&graph.dims, &range, &name, &err));
        dim_id twenty = b_dim_const(&b, 20), width = b_dim_const(&b, row->columns);
        const dim_id x_shape[] = {dim_named(&graph.dims, name), b_dim_const(&b, 7), twenty};
        const dim_id w_shape[] = {width, twenty};
        value_id x = graph_input(&graph, "x", DTYPE_F32, x_shape, 3, &err);
        value_id w = graph_input(&graph, "w", DTYPE_F32, w_shape, 2, &err);
        value_id y = b_contract(&b, b_transpose(&b, x, turned), w, 0, 1);
        graph_output(&graph, "y", y, &err);
        if (!pass_products(&to, &arena, &graph, target_at(2), &err) || !graph_verify(&to, &err) ||
            !graph_copy_live(&live, &arena, &to, &err))
            fail_msg("%s: %s: %s", row->what, err.place, err.message);
        for (value_id v = 1; v < live.nodes.count; v++) {
            const struct node *n = graph_node(&live, v);
            int64_t size = 0;
            copies += n->prim == PRIM_COPY && n->rank == 3 &&
                      dim_is_const(&live.dims, n->shape[2], &size) && size == 20;
        }
        if (copies != row->copied)
            fail_msg("%s: %u copies of x", row->what, copies);
        expect_same_bits(run_graph(&graph, INTERP_NATIVE, (int64_t[]){17}, false, 7, &arena),
                         run_graph(&live, INTERP_NATIVE, (int64_t[]){17}, false, 7, &arena),
                         row->what);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),  cmocka_unit_test(test_bytes), cmocka_unit_test(test_patches),
        cmocka_unit_test(test_sides), cmocka_unit_test(test_heads), cmocka_unit_test(test_turned)};
    return cmocka_run_group_tests_name("products", tests, NULL, NULL);
}
