/* The builder: the nodes that it adds, as text; failures are reported once and passed on. */
#include "base/error.h"
#include "base/strbuf.h"
#include "graph/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
    struct builder b;
    dim_id B, S;
    value_id x; /* f32[B, 4] */
    value_id y; /* f32[B, S, 4] */
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    uint32_t index;
    *f = (struct fixture){0};
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    f->b = (struct builder){&f->graph, &f->err};
    assert_true(
        dim_declare(&f->graph.dims, &(struct dim_name){"B", 1, 8, 1, 0, NULL}, &index, &f->err));
    f->B = dim_named(&f->graph.dims, index);
    assert_true(
        dim_declare(&f->graph.dims, &(struct dim_name){"S", 1, 8, 1, 0, NULL}, &index, &f->err));
    f->S = dim_named(&f->graph.dims, index);
    dim_id four = dim_const(&f->graph.dims, 4);
    f->x = graph_input(&f->graph, "x", DTYPE_F32, (dim_id[]){f->B, four}, 2, &f->err);
    f->y = graph_input(&f->graph, "y", DTYPE_F32, (dim_id[]){f->B, f->S, four}, 3, &f->err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_true(graph_verify(&f->graph, &f->err));
    arena_release(&f->arena);
    return 0;
}

/* The text of the graph after its two input lines must be `text`. */
static void expect_text(struct fixture *f, value_id last, const char *text)
{
    if (last == VALUE_NONE)
        fail_msg("%s", f->err.message);
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    graph_print(&f->graph, &out);
    assert_string_equal(strstr(out.data, "f32[B, S, 4]\n") + strlen("f32[B, S, 4]\n"), text);
}

static void expect_type(struct fixture *f, value_id value, enum dtype dtype, const char *shape)
{
    if (value == VALUE_NONE)
        fail_msg("%s, expected %s", f->err.message, shape);
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    const struct node *node = b_node(&f->b, value);
    for (uint32_t i = 0; i < node->rank; i++) {
        strbuf_puts(&out, i > 0 ? ", " : "");
        dim_print(&f->graph.dims, node->shape[i], &out);
    }
    assert_int_equal(node->dtype, dtype);
    assert_string_equal(out.data, shape);
}

static void expect_failure(struct fixture *f, value_id value, enum error_code code,
                           const char *message)
{
    assert_int_equal(value, VALUE_NONE);
    assert_int_equal(f->err.code, code);
    if (!strstr(f->err.message, message))
        fail_msg("'%s', expected '%s'", f->err.message, message);
    f->err = (struct error){0};
}

static void test_scale_and_shift(void **state)
{
    struct fixture *f = *state;
    expect_text(f, b_shift(&f->b, b_scale(&f->b, f->x, 0.5), -1),
                "%3 = const 0.5 : f32[]\n"
                "%4 = broadcast %3 {axes []} : f32[B, 4]\n"
                "%5 = mul %1, %4 : f32[B, 4]\n"
                "%6 = const -1 : f32[]\n"
                "%7 = broadcast %6 {axes []} : f32[B, 4]\n"
                "%8 = add %5, %7 : f32[B, 4]\n");
}

static void test_broadcasting(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    value_id column = b_unsqueeze(b, f->x, 1);
    expect_type(f, column, DTYPE_F32, "B, 1, 4");
    expect_type(f, b_add(b, column, f->y), DTYPE_F32, "B, S, 4");
    expect_type(f, b_sub(b, f->y, column), DTYPE_F32, "B, S, 4");
    value_id outer = b_binary(b, PRIM_LT, b_unsqueeze(b, f->x, 0), column);
    expect_type(f, outer, DTYPE_BOOL, "B, B, 4");
    expect_type(f, b_select(b, outer, b_const(b, DTYPE_I8, 1), b_const(b, DTYPE_I8, 2)), DTYPE_I8,
                "B, B, 4");
    assert_int_equal(b_broadcast_to(b, f->x, b_node(b, f->x)->shape, 2), f->x);
    expect_failure(f, b_add(b, f->x, f->y), ERR_SHAPE, "add: dims B and S do not broadcast");
    expect_failure(f, b_broadcast_to(b, f->y, b_node(b, f->x)->shape, 2), ERR_SHAPE, "rank 3");
    expect_failure(f, b_add(b, f->x, b_const(b, DTYPE_F64, 1)), ERR_SHAPE, "operand 1 is f64");
}

static void test_constants(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    assert_int_equal(b_node(b, b_const(b, DTYPE_I64, 1e300))->attrs->integer, INT64_MAX);
    assert_int_equal(b_node(b, b_const(b, DTYPE_I64, -1e300))->attrs->integer, INT64_MIN);
    assert_int_equal(b_node(b, b_const(b, DTYPE_I64, (double)NAN))->attrs->integer, 0);
    assert_int_equal(b_node(b, b_const(b, DTYPE_I32, -2.9))->attrs->integer, -2);
    assert_true(isinf(b_node(b, b_const(b, DTYPE_F16, 1e30))->attrs->value));
    static const float data[1250] = {1, 2, 3, 4, 5, 6};
    expect_type(f, b_literal(b, DTYPE_F32, (int64_t[]){2, 3}, 2, data), DTYPE_F32, "2, 3");
    expect_type(f, b_literal(b, DTYPE_F32, (int64_t[]){0}, 1, NULL), DTYPE_F32, "0");
    expect_type(f, b_literal(b, DTYPE_F32, NULL, 0, data), DTYPE_F32, "");
    expect_failure(f, b_literal(b, DTYPE_F32, (int64_t[]){-2, -3}, 2, data), ERR_SHAPE, "negative");
    expect_failure(f, b_literal(b, DTYPE_F32, (int64_t[]){1 << 20, 1 << 20}, 2, data), ERR_LIMIT,
                   "4096");
    expect_failure(f, b_literal(b, DTYPE_U8, (int64_t[]){5000}, 1, data), ERR_LIMIT, "4096");
}

static void test_axes(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    assert_int_equal(b_axis(b, f->y, -1), 2);
    assert_int_equal(b_axis(b, f->y, -3), 0);
    assert_int_equal(b_axis(b, f->y, 3), -1);
    expect_failure(f, VALUE_NONE, ERR_SHAPE, "axis 3, expected -3 … 2 for rank 3");
    expect_type(f, b_reduce(b, PRIM_REDUCE_MAX, f->y, (int64_t[]){-1, 0}, 2, false), DTYPE_F32,
                "S");
    expect_type(f, b_reduce(b, PRIM_REDUCE_MAX, f->y, (int64_t[]){1}, 1, true), DTYPE_F32,
                "B, 1, 4");
    assert_int_equal(b_reduce(b, PRIM_REDUCE_MAX, f->y, NULL, 0, true), f->y);
    expect_failure(f, b_reduce(b, PRIM_REDUCE_MAX, f->y, (int64_t[]){1, -2}, 2, true), ERR_SHAPE,
                   "named twice");
    expect_type(f, b_swap(b, f->y, -1, 0), DTYPE_F32, "4, S, B");
    expect_type(f, b_transpose(b, f->y, (uint8_t[]){1, 2, 0}), DTYPE_F32, "S, 4, B");
    expect_type(f, b_reverse(b, f->y, -1), DTYPE_F32, "B, S, 4");
    expect_type(f, b_concat(b, (value_id[]){f->x, f->x}, 2, -2), DTYPE_F32, "2*B, 4");
    expect_failure(f, b_concat(b, NULL, 0, 0), ERR_SHAPE, "no operands");
    expect_failure(f, b_concat(b, &f->x, 1, 2), ERR_SHAPE, "axis 2");
}

static void test_size(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    value_id size = b_size(b, b_dim_mul(b, f->B, f->S));
    expect_text(f, size, "%3 = size {dim [B*S]} : i64[]\n");
    assert_int_equal(b_size(b, b_dim_const(b, 7)), b_const(b, DTYPE_I64, 7));
    assert_int_equal(b_size(b, b_dim_mul(b, f->B, f->S)), size);
    expect_failure(f, b_size(b, b_dim_sub(b, f->B, f->S)), ERR_SHAPE, "size: B - S, expected");
    expect_failure(f, b_size(b, DIM_NONE), ERR_LIMIT, "a dim cannot be represented");
}

static void test_mean(void **state)
{
    struct fixture *f = *state;
    expect_text(f, b_mean(&f->b, f->y, (int64_t[]){1, 2}, 2, false),
                "%3 = reduce_sum %2 {axes [1, 2]} : f32[B]\n"
                "%4 = size {dim [4*S]} : i64[]\n"
                "%5 = cast %4 : f32[]\n"
                "%6 = broadcast %5 {axes []} : f32[B]\n"
                "%7 = div %3, %6 : f32[B]\n");
    struct builder *b = &f->b;
    value_id narrow = b_cast(b, f->x, DTYPE_F16);
    expect_type(f, b_mean(b, narrow, (int64_t[]){-1}, 1, true), DTYPE_F16, "B, 1");
    assert_int_equal(b_mean(b, narrow, NULL, 0, true), narrow);
    expect_failure(f, b_mean(b, b_cast(b, f->x, DTYPE_I32), (int64_t[]){0}, 1, true), ERR_SHAPE,
                   "mean: operand 0 is i32");
    expect_failure(f, b_mean(b, f->x, (int64_t[]){5}, 1, true), ERR_SHAPE, "axis 5");
}

static void test_reshaping(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    dim_id two = b_dim_const(b, 2);
    dim_id shape[3] = {f->S, DIM_NONE, two};
    expect_type(f, b_reshape_infer(b, f->y, shape, 3, 1), DTYPE_F32, "S, 2*B, 2");
    shape[0] = b_dim_const(b, 3);
    expect_failure(f, b_reshape_infer(b, f->y, shape, 3, 1), ERR_SHAPE, "expected a multiple of 6");
    shape[0] = b_dim_const(b, 0);
    expect_failure(f, b_reshape_infer(b, f->y, shape, 3, 1), ERR_SHAPE, "expected a multiple of 0");
    expect_failure(f, b_reshape_infer(b, f->y, shape, 3, 3), ERR_SHAPE, "dim 3 is to be inferred");
    assert_int_equal(b_reshape(b, f->x, b_node(b, f->x)->shape, 2), f->x);
    expect_type(f, b_flatten(b, f->y, 1, -1), DTYPE_F32, "B, 4*S");
    expect_type(f, b_flatten(b, f->y, 0, 1), DTYPE_F32, "B*S, 4");
    expect_failure(f, b_flatten(b, f->y, 2, 1), ERR_SHAPE, "first ≤ last");
    value_id more = b_unsqueeze(b, f->x, -1);
    expect_type(f, more, DTYPE_F32, "B, 4, 1");
    expect_type(f, b_squeeze(b, more, -1), DTYPE_F32, "B, 4");
    expect_failure(f, b_squeeze(b, f->x, 0), ERR_SHAPE, "dim 0 of operand 0 is B, expected 1");
    expect_failure(f, b_unsqueeze(b, f->x, 3), ERR_SHAPE, "axis 3");
    for (int i = 0; i < 6; i++)
        more = b_unsqueeze(b, i == 0 ? f->x : more, 0);
    expect_failure(f, b_unsqueeze(b, more, 0), ERR_LIMIT, "rank 9");
}

static void test_moving_and_windows(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    dim_id zero = b_dim_const(b, 0), one = b_dim_const(b, 1), three = b_dim_const(b, 3);
    expect_type(f, b_slice(b, f->x, -1, one, three, 1), DTYPE_F32, "B, 3");
    expect_failure(f, b_slice(b, f->x, -1, one, three, 2), ERR_SHAPE,
                   "do not end inside dim 1, which has 4");
    expect_type(f, b_pad(b, f->x, (dim_id[]){zero, one}, (dim_id[]){three, f->S}, 0), DTYPE_F32,
                "B + 3, S + 5");
    value_id index = b_iota(b, DTYPE_I64, (dim_id[]){three, b_dim(b, f->x, 1)}, 2, -1);
    expect_type(f, index, DTYPE_I64, "3, 4");
    expect_failure(f, b_iota(b, DTYPE_I64, &one, 1, 1), ERR_SHAPE, "axis 1");
    expect_type(f, b_take(b, f->x, index, 0), DTYPE_F32, "3, 4, 4");
    value_id wide = b_iota(b, DTYPE_F32, (dim_id[]){three, b_dim_const(b, 8)}, 2, 0);
    expect_type(f, b_gather(b, wide, index, 1), DTYPE_F32, "3, 4");
    expect_type(f, b_contract(b, f->y, f->y, 1, 1), DTYPE_F32, "B, S, S");
    expect_failure(f, b_contract(b, f->y, f->y, 256, 1), ERR_LIMIT, "rank 256");
    struct window window = {.size = 2, .stride = 2, .dilation = 1, .base_dilation = 1};
    expect_type(f, b_window(b, PRIM_WINDOW_MAX, f->x, &window, 1), DTYPE_F32, "B, 2");
    value_id image = b_swap(b, f->y, 1, 2);
    value_id w =
        b_iota(b, DTYPE_F32, (dim_id[]){three, b_dim_const(b, 4), b_dim_const(b, 2)}, 3, 0);
    window.low = 1;
    expect_type(f, b_conv(b, image, w, &window, 1, 1), DTYPE_F32, "B, 3, (S + 1)//2");
    expect_failure(f, b_conv(b, image, w, &window, 9, 1), ERR_LIMIT, "rank 9");
}

static void test_failures_pass_through(void **state)
{
    struct fixture *f = *state;
    struct builder *b = &f->b;
    value_id none = b_fail(b, ERR_UNSUPPORTED, "no %s", "way");
    dim_id dim = b_dim(b, none, 0), shape[1] = {dim};
    uint32_t count = f->graph.nodes.count;
    none = b_exp(b, b_neg(b, b_max_const(b, b_min_const(b, b_div(b, f->x, none), 1), 0)));
    none = b_select(b, f->x, none, b_mean(b, none, shape[0] ? NULL : (int64_t[]){0}, 1, true));
    none = b_reshape(b, b_squeeze(b, b_flatten(b, none, 0, 1), 7), shape, 1);
    assert_int_equal(b_reshape(b, f->x, shape, 1), VALUE_NONE);
    assert_int_equal(b_iota(b, DTYPE_I64, shape, 1, 0), VALUE_NONE);
    assert_int_equal(b_slice(b, f->x, 0, dim, b_dim_mul(b, dim, f->B), 1), VALUE_NONE);
    assert_int_equal(b_concat(b, (value_id[]){f->x, none}, 2, 9), VALUE_NONE);
    assert_int_equal(b_gather(b, f->x, none, 0), VALUE_NONE);
    assert_int_equal(b_contract(b, none, f->x, 0, 1), VALUE_NONE);
    assert_int_equal(b_const_like(b, none, 1), VALUE_NONE);
    assert_int_equal(f->graph.nodes.count, count);
    expect_failure(f, none, ERR_UNSUPPORTED, "no way");
    dim_id huge = b_dim_const(b, INT64_MAX);
    expect_failure(f, b_dim_mul(b, huge, huge), ERR_LIMIT, "cannot be represented");
    dim_id sum = b_dim_sub(b, b_dim_add(b, f->B, f->S), f->S);
    assert_int_equal(sum, f->B);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_scale_and_shift),
        TEST(test_broadcasting),
        TEST(test_constants),
        TEST(test_axes),
        TEST(test_size),
        TEST(test_mean),
        TEST(test_reshaping),
        TEST(test_moving_and_windows),
        TEST(test_failures_pass_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
