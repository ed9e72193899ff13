/* The table itself: every example of every row builds and verifies, and bad attributes and operands
 * are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "base/arena.h"
#include "base/strbuf.h"
#include "compiler/ops/ops_priv.h"

#include <cmocka.h> /* last: it defines fail as a macro */

/* Builds and verifies one example; prints its error. */
static bool build_one(const struct op_row *row, uint32_t index, uint64_t seed, enum dtype dtype,
                      bool symbolic)
{
    struct arena arena;
    struct graph graph;
    struct op_example example;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    if (!op_example_build(
            row, &(struct op_example_request){index, seed, seed % 3 == 0 ? 1 : 20, dtype, symbolic},
            &graph, &example, &err)) {
        print_error("%s, example %u (%s, %s): %s: %s: %s\n", row->name, index, dtype_name(dtype),
                    symbolic ? "symbolic" : "constant", error_name(err.code), err.place,
                    err.message);
        arena_release(&arena);
        return false;
    }
    if (!graph_verify(&graph, &err)) {
        print_error("%s, example %u: %s: %s\n", row->name, index, err.place, err.message);
        arena_release(&arena);
        return false;
    }
    assert_true(example.out_count >= 1);
    assert_int_equal(graph.outputs.count, example.out_count);
    assert_int_equal(graph.inputs.count, example.operand_count);
    for (uint32_t i = 0; i < example.out_count && !symbolic; i++) {
        const struct node *node = graph_node(&graph, graph.outputs.items[i].value);
        for (uint32_t d = 0; d < node->rank; d++) {
            assert_true(dim_is_const(&graph.dims, node->shape[d], NULL));
        }
    }
    arena_release(&arena);
    return true;
}

static void test_every_example_builds(void **state)
{
    (void)state;
    int failures = 0;
    const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16};
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        uint32_t count = op_example_count(row);
        assert_true(count > 0);
        for (uint32_t index = 0; index < count; index++) {
            for (uint64_t seed = 0; seed < 8; seed++) {
                failures += !build_one(row, index, seed, dtypes[seed % 4], seed >= 4);
            }
        }
    }
    assert_int_equal(failures, 0);
}

/* A symbolic graph has the same shapes as the constant one, at the chosen sizes. */
static void test_symbolic_shapes_agree(void **state)
{
    (void)state;
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t index = 0; index < op_example_count(row); index++) {
            struct arena arena;
            struct graph graphs[2];
            struct op_example examples[2];
            struct error err = {0};
            arena_init(&arena);
            for (int symbolic = 0; symbolic < 2; symbolic++) {
                graph_init(&graphs[symbolic], &arena);
                assert_true(op_example_build(
                    row, &(struct op_example_request){index, 7, 12, DTYPE_F32, symbolic != 0},
                    &graphs[symbolic], &examples[symbolic], &err));
            }
            assert_int_equal(examples[0].out_count, examples[1].out_count);
            for (uint32_t out = 0; out < examples[0].out_count; out++) {
                const struct node *fixed =
                    graph_node(&graphs[0], graphs[0].outputs.items[out].value);
                const struct node *open =
                    graph_node(&graphs[1], graphs[1].outputs.items[out].value);
                assert_int_equal(fixed->rank, open->rank);
                assert_int_equal(fixed->dtype, open->dtype);
                for (uint32_t d = 0; d < fixed->rank; d++) {
                    int64_t a = -1, b = -2;
                    assert_true(dim_is_const(&graphs[0].dims, fixed->shape[d], &a));
                    assert_true(
                        dim_eval(&graphs[1].dims, open->shape[d], examples[1].dim_values, &b));
                    if (a != b) {
                        fail_msg("%s, example %u, output %u, dim %u: %lld, symbolic %lld",
                                 row->name, index, out, d, (long long)a, (long long)b);
                    }
                }
            }
            arena_release(&arena);
        }
    }
}

static void test_table(void **state)
{
    (void)state;
    assert_null(op_find("no_such_op"));
    assert_null(op_at(100000));
    uint32_t count = 0;
    for (const struct op_row *row = NULL; (row = op_at(count)) != NULL; count++) {
        assert_ptr_equal(op_find(row->name), row);
        assert_true(strlen(row->doc) > 0);
    }
    assert_true(count > 150);
}

struct fixture {
    struct arena arena;
    struct graph graph;
    struct builder b;
    struct error err;
    bool training; /* of calls */
};

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    f->b = (struct builder){.graph = &f->graph, .err = &f->err};
}

static value_id input(struct fixture *f, const char *name, enum dtype dtype, uint32_t rank,
                      const int64_t *sizes)
{
    dim_id shape[LIMIT_RANK];
    for (uint32_t i = 0; i < rank; i++) {
        shape[i] = dim_const(&f->graph.dims, sizes[i]);
    }
    value_id value = graph_input(&f->graph, name, dtype, shape, rank, &f->err);
    assert_int_not_equal(value, VALUE_NONE);
    return value;
}

static bool call(struct fixture *f, const char *op, const value_id *operands, uint32_t count,
                 const struct op_value *attrs, uint32_t attr_count)
{
    value_id out[OP_MAX_OUTPUTS];
    uint32_t out_count = 77;
    f->err = (struct error){0};
    const struct op_arguments arguments = {operands, count, attrs, attr_count, f->training};
    bool ok = op_expand(&f->b, op_find(op), &arguments, out, &out_count, &f->err);
    assert_true(ok || out_count == 77);
    assert_true(ok == (f->err.code == ERR_NONE));
    return ok;
}

static void expect(const struct fixture *f, enum error_code code, const char *place)
{
    if (f->err.code != code || strcmp(f->err.place, place) != 0) {
        fail_msg("%s at '%s': %s", error_name(f->err.code), f->err.place, f->err.message);
    }
}

static struct op_value int_value(const char *name, int64_t i)
{
    return (struct op_value){.name = name, .kind = OP_INT, .i = i, .f = (double)i};
}

static struct op_value text_value(const char *name, const char *text)
{
    return (struct op_value){.name = name, .kind = OP_TEXT, .text = text};
}

static struct op_value float_value(const char *name, double f)
{
    return (struct op_value){.name = name, .kind = OP_FLOAT, .f = f};
}

static struct op_value ints_value(const char *name, const int64_t *ints, uint32_t count)
{
    return (struct op_value){.name = name, .kind = OP_INTS, .ints = ints, .int_count = count};
}

static void test_attribute_errors(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = input(&f, "x", DTYPE_F32, 2, (int64_t[]){4, 6});
    struct op_value unknown = int_value("colour", 3);
    assert_false(call(&f, "softmax", &x, 1, &unknown, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'colour'");
    struct op_value twice[2] = {int_value("dim", 0), int_value("dim", 0)};
    assert_false(call(&f, "softmax", &x, 1, twice, 2));
    expect(&f, ERR_BLUEPRINT, "attribute 'dim'");
    assert_false(call(&f, "topk", &x, 1, NULL, 0));
    expect(&f, ERR_BLUEPRINT, "attribute 'k'");
    struct op_value text = text_value("dim", "1");
    assert_false(call(&f, "softmax", &x, 1, &text, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'dim'");
    struct op_value fraction = float_value("dim", 1);
    assert_false(call(&f, "softmax", &x, 1, &fraction, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'dim'");
    struct op_value choice = text_value("approximate", "tan");
    assert_false(call(&f, "gelu", &x, 1, &choice, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'approximate'");
    struct op_value number = int_value("approximate", 1);
    assert_false(call(&f, "gelu", &x, 1, &number, 1));
    struct op_value flag = int_value("keepdim", 1);
    assert_false(call(&f, "sum", &x, 1, &flag, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'keepdim'");
    struct op_value none = int_value("x", 1);
    assert_false(call(&f, "relu", &x, 1, &none, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'x'");
    struct op_value axis = int_value("dim", 2);
    assert_false(call(&f, "softmax", &x, 1, &axis, 1));
    expect(&f, ERR_SHAPE, "attribute 'dim'");
    struct op_value same_axes = ints_value("dim", (int64_t[]){0, -2}, 2);
    assert_false(call(&f, "sum", &x, 1, &same_axes, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'dim'");
    struct op_value whole = int_value("negative_slope", 2);
    assert_true(call(&f, "leaky_relu", &x, 1, &whole, 1));
    arena_release(&f.arena);
}

static void test_operand_errors(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = input(&f, "x", DTYPE_F32, 2, (int64_t[]){4, 6});
    value_id w = input(&f, "w", DTYPE_F32, 2, (int64_t[]){3, 6});
    value_id narrow = input(&f, "narrow", DTYPE_F32, 2, (int64_t[]){3, 5});
    value_id many[LIMIT_OPERANDS + 1];
    for (size_t i = 0; i < LIMIT_OPERANDS + 1; i++) {
        many[i] = x;
    }
    assert_false(call(&f, "linear", many, 1, NULL, 0));
    expect(&f, ERR_BLUEPRINT, "");
    assert_false(call(&f, "linear", many, 0, NULL, 0));
    assert_false(call(&f, "linear", many, 4, NULL, 0));
    expect(&f, ERR_BLUEPRINT, "");
    assert_false(call(&f, "concat", many, 0, NULL, 0));
    assert_false(call(&f, "concat", many, LIMIT_OPERANDS + 1, NULL, 0));
    expect(&f, ERR_LIMIT, "");
    assert_true(call(&f, "concat", many, LIMIT_OPERANDS, NULL, 0));
    assert_false(call(&f, "concat", (value_id[]){x, VALUE_NONE}, 2, NULL, 0));
    expect(&f, ERR_BLUEPRINT, "");
    assert_false(call(&f, "linear", (value_id[]){VALUE_NONE, w}, 2, NULL, 0));
    assert_true(call(&f, "linear", (value_id[]){x, w, VALUE_NONE}, 3, NULL, 0));
    assert_false(call(&f, "linear", (value_id[]){x, narrow}, 2, NULL, 0));
    expect(&f, ERR_SHAPE, "");
    arena_release(&f.arena);
}

/* With probability 1, and without a seed in training. */
static void check_dropout(struct fixture *f, value_id x)
{
    const struct op_value above = float_value("p", 1.5);
    f->training = true;
    assert_false(call(f, "dropout", &x, 1, &above, 1));
    assert_false(call(f, "dropout", &x, 1, NULL, 0));
    f->training = false;
    assert_true(call(f, "dropout", &x, 1, NULL, 0));
}

/* Calls that fit the schema but must fail in the expansion, with an error code and no crash. */
static void test_expansion_errors(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = input(&f, "x", DTYPE_F32, 2, (int64_t[]){4, 6});
    value_id image = input(&f, "image", DTYPE_F32, 4, (int64_t[]){1, 5, 7, 7});
    value_id kernel = input(&f, "kernel", DTYPE_F32, 4, (int64_t[]){4, 5, 3, 3});
    value_id whole = input(&f, "whole", DTYPE_I32, 1, (int64_t[]){4});
    struct op_value attr[2];
    const char *equations[] = {"ij,jk->ik", "ijk->i", "ij->k", "ij->ii", "i1->i",     "ij-",
                               "ij->i,j",   "",       "i",     "....->", "ij->ij...k"};
    for (size_t i = 0; i < sizeof equations / sizeof equations[0]; i++) {
        attr[0] = text_value("equation", equations[i]);
        assert_false(call(&f, "einsum", &x, 1, attr, 1));
        expect(&f, ERR_BLUEPRINT, "attribute 'equation'");
    }
    check_dropout(&f, x);
    attr[0] = int_value("k", 7);
    assert_false(call(&f, "topk", &x, 1, attr, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'k'");
    attr[0] = ints_value("stride", (int64_t[]){1, 2, 3}, 3);
    assert_false(call(&f, "conv2d", (value_id[]){image, kernel}, 2, attr, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'stride'");
    attr[0] = int_value("stride", 0);
    assert_false(call(&f, "conv2d", (value_id[]){image, kernel}, 2, attr, 1));
    attr[0] = int_value("dilation", INT64_MAX);
    assert_false(call(&f, "conv2d", (value_id[]){image, kernel}, 2, attr, 1));
    attr[0] = int_value("groups", 2);
    assert_false(call(&f, "conv2d", (value_id[]){image, kernel}, 2, attr, 1));
    attr[0] = text_value("padding", "same");
    attr[1] = int_value("stride", 2);
    assert_false(call(&f, "conv2d", (value_id[]){image, kernel}, 2, attr, 2));
    expect(&f, ERR_BLUEPRINT, "attribute 'padding'");
    assert_false(call(&f, "conv2d", (value_id[]){x, kernel}, 2, NULL, 0));
    expect(&f, ERR_SHAPE, "");
    attr[0] = int_value("kernel_size", 2);
    attr[1] = int_value("padding", 2);
    assert_false(call(&f, "max_pool2d", &image, 1, attr, 2));
    expect(&f, ERR_BLUEPRINT, "attribute 'padding'");
    attr[0] = ints_value("shape", (int64_t[]){-1, -1}, 2);
    assert_false(call(&f, "reshape", &x, 1, attr, 1));
    attr[0] = ints_value("shape", (int64_t[]){5, 5}, 2);
    assert_false(call(&f, "reshape", &x, 1, attr, 1));
    attr[0] = ints_value("shape", (int64_t[]){1, 1, 1, 1, 1, 1, 1, 4, 6}, 9);
    assert_false(call(&f, "reshape", &x, 1, attr, 1));
    attr[0] = int_value("upscale_factor", 2);
    assert_false(call(&f, "pixel_shuffle", &image, 1, attr, 1));
    expect(&f, ERR_SHAPE, "");
    attr[0] = int_value("num_groups", 3);
    assert_false(call(&f, "group_norm", &image, 1, attr, 1));
    attr[0] = text_value("mode", "bilinear");
    assert_false(call(&f, "interpolate", &image, 1, attr, 1));
    assert_false(call(&f, "sigmoid", &whole, 1, NULL, 0));
    expect(&f, ERR_SHAPE, "");
    attr[0] = text_value("dtype", "f31");
    assert_false(call(&f, "to", &x, 1, attr, 1));
    expect(&f, ERR_BLUEPRINT, "attribute 'dtype'");
    attr[0] = ints_value("split_size", (int64_t[]){1, 2}, 2);
    assert_false(call(&f, "split", &x, 1, attr, 1));
    attr[0] = int_value("normalized_shape", 5);
    assert_false(call(&f, "layer_norm", &x, 1, attr, 1));
    expect(&f, ERR_SHAPE, "attribute 'normalized_shape'");
    attr[0] = ints_value("pad", (int64_t[]){1, 2, 3}, 3);
    assert_false(call(&f, "pad", &x, 1, attr, 1));
    arena_release(&f.arena);
}

/* 0-d operands and dims of 0 fail or work, but never crash: every op with one operand and default
 * attributes. */
static void test_odd_shapes(void **state)
{
    (void)state;
    const int64_t shapes[][5] = {
        {0, 0, 0, 0, 0}, {0, 4, 6, 8, 8}, {2, 0, 0, 0, 0}, {4, 4, 0, 4, 4}};
    const struct op_row *row = NULL;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        for (uint32_t rank = 0; rank <= 5; rank++) {
            for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
                struct fixture f;
                begin(&f);
                value_id x = input(&f, "x", DTYPE_F32, rank, shapes[s]);
                value_id operands[4] = {x, x, x, x};
                uint32_t count = 0;
                const char *schema = row->operands;
                struct op_operand_schema operand;
                while (ops_next_operand(&schema, &operand) && count < 4) {
                    count++;
                }
                struct op_attr_schema attr;
                struct op_value values[OP_MAX_ATTRS];
                uint32_t value_count = 0;
                const char *attrs = row->attrs;
                while (ops_next_attr(&attrs, &attr)) {
                    if (attr.initial == NULL) {
                        char *name = arena_strndup(&f.arena, attr.name, (size_t)attr.name_size);
                        values[value_count++] = strncmp(attr.types, "text", 4) == 0
                                                    ? text_value(name, "...->...")
                                                    : int_value(name, 1);
                    }
                }
                call(&f, row->name, operands, count, values, value_count);
                assert_true(graph_verify(&f.graph, &f.err));
                arena_release(&f.arena);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_every_example_builds),
        cmocka_unit_test(test_symbolic_shapes_agree),
        cmocka_unit_test(test_attribute_errors),
        cmocka_unit_test(test_operand_errors),
        cmocka_unit_test(test_expansion_errors),
        cmocka_unit_test(test_odd_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
