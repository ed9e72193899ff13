/* Counts of the operations that the graph requires and that kernels do, and the bound on the
 * latter. Expected numbers are counted by hand, from the definitions of the prims and where each
 * value is needed. */
#include "compiler/lower/lower_priv.h"
#include "compiler/ops/ops.h"
#include "compiler/target/target.h"
#include "graph/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h> /* last: it defines fail as a macro */

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
    struct builder b;
    struct partition p;
    struct lowered_group *groups;
};

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    arena_init(&f->arena);
    graph_init(&f->graph, &f->arena);
    f->b = (struct builder){.graph = &f->graph, .err = &f->err};
}

static dim_id named(struct fixture *f, const char *name, int64_t min, int64_t max)
{
    uint32_t index;
    const struct dim_name row = {.name = name, .min = min, .max = max, .multiple_of = 1};
    assert_true(dim_declare(&f->graph.dims, &row, &index, &f->err));
    return dim_named(&f->graph.dims, index);
}

static dim_id number(struct fixture *f, int64_t value)
{
    return dim_const(&f->graph.dims, value);
}

static value_id source(struct fixture *f, bool param, const char *name, const dim_id *shape,
                       uint32_t rank)
{
    value_id v = param ? graph_param(&f->graph, name, DTYPE_F32, shape, rank, &f->err)
                       : graph_input(&f->graph, name, DTYPE_F32, shape, rank, &f->err);
    assert_int_not_equal(v, VALUE_NONE);
    return v;
}
#define INPUT(f, name, ...)                         \
    source(f, false, name, (dim_id[]){__VA_ARGS__}, \
           sizeof((dim_id[]){__VA_ARGS__}) / sizeof(dim_id))
#define PARAM(f, name, ...) \
    source(f, true, name, (dim_id[]){__VA_ARGS__}, sizeof((dim_id[]){__VA_ARGS__}) / sizeof(dim_id))

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

static void cut(struct fixture *f, value_id output)
{
    assert_true(graph_output(&f->graph, "y", output, &f->err));
    if (!lower_graph(&f->graph, &f->arena, &f->p, &f->groups, &f->err))
        fail_msg("%s: %s", f->err.place, f->err.message);
}

static void optimise(struct fixture *f, value_id output)
{
    assert_true(graph_output(&f->graph, "y", output, &f->err));
    for (uint32_t i = 0; pass_at(i); i++) {
        struct graph next;
        if (!pass_run(pass_at(i), &next, &f->arena, &f->graph,
                      &(struct pass_setting){target_at(2), true}, &f->err))
            fail_msg("%s: %s", f->err.place, f->err.message);
        f->graph = next;
    }
    if (!lower_graph(&f->graph, &f->arena, &f->p, &f->groups, &f->err))
        fail_msg("%s: %s", f->err.place, f->err.message);
}

static int64_t at(struct fixture *f, dim_id dim, int64_t size)
{
    int64_t sizes[LIMIT_NAMED_DIMS], value;
    for (uint32_t i = 0; i < LIMIT_NAMED_DIMS; i++)
        sizes[i] = size;
    assert_true(dim != DIM_NONE && dim_eval(&f->graph.dims, dim, sizes, &value));
    return value;
}

/* Expects these sums over all kernels, and each kernel within its bound, with every named dim of
 * this size. */
static void expect_work(struct fixture *f, int64_t size, int64_t asked, int64_t done)
{
    int64_t sum_asked = 0, sum_done = 0;
    for (uint32_t i = 0; i < f->p.groups.count; i++) {
        int64_t a = at(f, f->groups[i].asked, size), d = at(f, f->groups[i].done, size);
        assert_true(4 * d <= 5 * a);
        sum_asked += a;
        sum_done += d;
    }
    assert_int_equal(sum_asked, asked);
    assert_int_equal(sum_done, done);
}

/* The operations of one kernel if the graph is cut without the bound. */
static int64_t unbounded_work(struct fixture *f, value_id output, int64_t size)
{
    struct partition p;
    struct nest nest;
    uint32_t nodes = f->graph.nodes.count;
    struct kernel_work work = {.made = ARENA_ARRAY(&f->arena, bool, nodes),
                               .done = ARENA_ARRAY(&f->arena, dim_id, nodes),
                               .asked = ARENA_ARRAY(&f->arena, dim_id, nodes)};
    int64_t sum = 0;
    assert_true(graph_output(&f->graph, "z", output, &f->err));
    partition_graph(&f->graph, &f->arena, &p);
    f->graph.outputs.count = 0;
    assert_int_equal(p.groups.count, 1);
    const struct lower_task task = {&f->graph, &p, &p.groups.items[0], &f->arena};
    assert_true(lower_counted(&task, &work, &nest, &f->err));
    for (uint32_t i = 0; i < work.values.count; i++)
        sum += at(f, work.done[work.values.items[i]], size);
    return sum;
}

/* Softmax of rows of 10: maximum 1, difference 1, exponential 16, sum 1, quotient 1 per element.
 * The exponentials are kept for the row, so nothing is computed twice. */
static void softmax_is_done_once(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const struct op_value dim = {.name = "dim", .kind = OP_INT, .i = -1};
    value_id x = INPUT(&f, "x", named(&f, "N", 1, 512), number(&f, 10));
    cut(&f, op(&f, "softmax", &x, 1, &dim, 1));
    assert_int_equal(f.p.groups.count, 1);
    expect_work(&f, 7, 7 * 10 * 20, 7 * 10 * 20);
    arena_release(&f.arena);
}

/* x - mean(x), then the mean of its squares: the difference is needed for each element twice. */
static void what_a_row_needs_twice_counts_twice(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    dim_id shape[] = {named(&f, "N", 1, 512), number(&f, 10)};
    value_id x = source(&f, false, "x", shape, 2);
    value_id sum = b_reduce(&f.b, PRIM_REDUCE_SUM, x, (int64_t[]){1}, 1, true);
    value_id d = b_sub(&f.b, x, sum);
    value_id squares = b_reduce(&f.b, PRIM_REDUCE_SUM, b_mul(&f.b, d, d), (int64_t[]){1}, 1, true);
    value_id y = b_exp(&f.b, b_mul(&f.b, d, squares));
    assert_int_equal(unbounded_work(&f, y, 3), 3 * 10 * (1 + 1 + 1 + 1 + 1 + 1 + 16));
    cut(&f, y);
    assert_int_equal(f.p.groups.count, 1);
    expect_work(&f, 3, 3 * 10 * 21, 3 * 10 * 22);
    arena_release(&f.arena);
}

/* Sums of groups behind padding. Where the index of a group is a flattened one, each padded element
 * would have its own sum, of 8 elements. Stored, there are 4 sums. */
static void a_sum_behind_padding_is_stored(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    dim_id images[] = {number(&f, 2), number(&f, 4), number(&f, 4)};
    dim_id groups[] = {number(&f, 2), number(&f, 2), number(&f, 8)};
    dim_id none[] = {number(&f, 0), number(&f, 0), number(&f, 0)};
    dim_id one[] = {number(&f, 0), number(&f, 0), number(&f, 1)};
    value_id rows = b_reshape(&f.b, source(&f, false, "x", images, 3), groups, 3);
    value_id sums = b_reduce(&f.b, PRIM_REDUCE_SUM, rows, (int64_t[]){2}, 1, true);
    value_id less = b_reshape(&f.b, b_exp(&f.b, b_sub(&f.b, rows, sums)), images, 3);
    value_id y = b_pad(&f.b, less, none, one, 0);
    int64_t padded = 2 * 4 * 5;
    assert_int_equal(unbounded_work(&f, y, 1), padded * (8 + 1 + 16));
    cut(&f, y);
    assert_int_equal(f.p.groups.count, 2);
    expect_work(&f, 1, 32 + 32 * 17, 32 + padded * 17);
    arena_release(&f.arena);
}

/* A border of 1 around an image, whose least size decides: exp behind it costs (n + 2)² for n². */
static void the_bound_holds_at_the_least_size(void **state)
{
    (void)state;
    for (int64_t least = 15; least <= 17; least++) {
        struct fixture f;
        begin(&f);
        dim_id n = named(&f, "N", least, 512), border[] = {number(&f, 1), number(&f, 1)};
        value_id x = INPUT(&f, "x", n, n);
        cut(&f, b_pad(&f.b, b_exp(&f.b, x), border, border, 0));
        bool stored = 4 * (least + 2) * (least + 2) > 5 * least * least;
        assert_int_equal(f.p.groups.count, stored ? 2 : 1);
        arena_release(&f.arena);
    }
}

/* Both operands of a concatenation are computed for every element of the result, unless they are
 * stored. */
static void parts_of_a_concatenation_are_stored(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    dim_id n = named(&f, "N", 1, 512), ten = number(&f, 10);
    value_id parts[] = {b_exp(&f.b, INPUT(&f, "x", n, ten)), b_exp(&f.b, INPUT(&f, "z", n, ten))};
    cut(&f, b_concat(&f.b, parts, 2, 1));
    assert_int_equal(f.p.groups.count, 3);
    expect_work(&f, 5, 5 * 20 * 16, 5 * 20 * 16);
    arena_release(&f.arena);
}

/* Operations required of one kernel count as recomputation in another. */
static void cheap_values_of_two_kernels_are_stored(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    value_id x = INPUT(&f, "x", named(&f, "N", 1, 512)), z = INPUT(&f, "z", named(&f, "M", 1, 8));
    value_id sum = b_add(&f.b, x, x);
    assert_true(graph_output(&f.graph, "p", b_exp(&f.b, sum), &f.err));
    assert_true(graph_output(&f.graph, "q", b_neg(&f.b, sum), &f.err));
    cut(&f, z);
    int64_t done = 0;
    for (uint32_t i = 0; i < f.p.groups.count; i++)
        done += at(&f, f.groups[i].done, 5);
    assert_int_equal(done, 5 * 18);
    arena_release(&f.arena);
}

static value_id conv(struct fixture *f, value_id x, const char *name, int64_t filters,
                     int64_t channels)
{
    dim_id shape[] = {number(f, filters), number(f, channels), number(f, 3), number(f, 3)};
    const int64_t ones[] = {1, 1};
    const struct op_value padding = {
        .name = "padding", .kind = OP_INTS, .ints = ones, .int_count = 2};
    value_id w = source(f, true, name, shape, 4);
    return op(f, "conv2d", (value_id[]){x, w}, 2, &padding, 1);
}

static value_id norm_and_conv(struct fixture *f, value_id x, const char *const names[3],
                              int64_t filters, int64_t channels)
{
    const struct op_value groups = {.name = "num_groups", .kind = OP_INT, .i = 4};
    dim_id shape[] = {number(f, channels)};
    value_id operands[] = {x, source(f, true, names[0], shape, 1),
                           source(f, true, names[1], shape, 1)};
    value_id norm = op(f, "group_norm", operands, 3, &groups, 1);
    return conv(f, OP(f, "silu", norm), names[2], filters, channels);
}

/* The residual block of a U-Net: twice GroupNorm, SiLU and a convolution with a border, with the
 * embedding of the time step between. The sums of a group are computed once, not for each
 * element. */
static void a_residual_block_is_bounded(void **state)
{
    (void)state;
    static const char *const names[2][3] = {{"g0", "h0", "w0"}, {"g1", "h1", "w1"}};
    struct fixture f;
    begin(&f);
    dim_id batch = named(&f, "B", 1, 64), side = number(&f, 20);
    value_id x = INPUT(&f, "x", batch, number(&f, 8), side, side);
    value_id time = OP(&f, "silu", INPUT(&f, "t", batch, number(&f, 24)));
    time = OP(&f, "linear", time, PARAM(&f, "wt", number(&f, 16), number(&f, 24)));
    value_id y = norm_and_conv(&f, x, names[0], 16, 8);
    y = b_add(&f.b, y, b_unsqueeze(&f.b, b_unsqueeze(&f.b, time, 2), 3));
    y = norm_and_conv(&f, y, names[1], 16, 16);
    optimise(&f, b_add(&f.b, y, conv(&f, x, "ws", 16, 8)));
    int64_t asked = 0, done = 0;
    for (uint32_t i = 0; i < f.p.groups.count; i++) {
        if (f.p.groups.items[i].prepare)
            continue;
        assert_true(4 * at(&f, f.groups[i].done, 1) <= 5 * at(&f, f.groups[i].asked, 1));
        asked += at(&f, f.groups[i].asked, 1);
        done += at(&f, f.groups[i].done, 1);
    }
    int64_t products = 2LL * 16 * 400 * 9 * (8 + 16 + 8) + 2LL * 16 * 24;
    int64_t others = 400LL * (8 + 16) * 32 + 400LL * 16 * 2 + 1000; /* 32: of a norm and a SiLU */
    assert_true(asked >= products && asked < products + others);
    assert_true(done >= asked && 4 * done <= 5 * asked);
    arena_release(&f.arena);
}

static const char *numbered(struct fixture *f, const char *name, int number)
{
    char text[16];
    snprintf(text, sizeof text, "%s%d", name, number);
    return arena_strdup(&f->arena, text);
}

static value_id linear(struct fixture *f, value_id x, int layer)
{
    dim_id k = number(f, 32), w[] = {k, k}, b[] = {k};
    value_id operands[] = {x, source(f, true, numbered(f, "w", layer), w, 2),
                           source(f, true, numbered(f, "b", layer), b, 1)};
    return op(f, "linear", operands, 3, NULL, 0);
}

/* Layers one behind the other, each added to what it reads. */
static value_id deep(struct fixture *f, value_id x, int layers)
{
    for (int i = 0; i < layers; i++)
        x = b_add(&f->b, x, linear(f, OP(f, "layer_norm", x), i));
    return x;
}

/* Layers side by side, step by step: the values of each lie far apart. */
static value_id broad(struct fixture *f, value_id x, int layers)
{
    value_id *parts = ARENA_ARRAY(&f->arena, value_id, layers);
    for (int i = 0; i < layers; i++)
        parts[i] = linear(f, x, i);
    for (int i = 0; i < layers; i++)
        parts[i] = OP(f, "gelu", parts[i]);
    for (int i = 1; i < layers; i++)
        parts[0] = b_add(&f->b, parts[0], parts[i]);
    return parts[0];
}

/* Attention of each layer with itself. */
static value_id attentive(struct fixture *f, value_id x, int layers)
{
    for (int i = 0; i < layers; i++)
        x = OP(f, "scaled_dot_product_attention", x, x, linear(f, x, i));
    return x;
}

/* Bytes that cutting and lowering take. */
static size_t bytes_for(value_id make(struct fixture *f, value_id x, int layers), int layers)
{
    struct fixture f;
    begin(&f);
    value_id y =
        make(&f, INPUT(&f, "x", named(&f, "B", 1, 64), number(&f, 8), number(&f, 32)), layers);
    size_t before = f.arena.used_bytes;
    cut(&f, y);
    size_t bytes = f.arena.used_bytes - before;
    arena_release(&f.arena);
    return bytes;
}

/* Tables double, so a graph of 8 times as many nodes may need a little more than 8 times the
 * memory; if each kernel cost something for each node, or each layer a round of the cut, it would
 * be near 64 times. */
static void memory_grows_with_the_graph(void **state)
{
    (void)state;
    assert_true(bytes_for(deep, 400) < 10 * bytes_for(deep, 50));
    assert_true(bytes_for(broad, 400) < 10 * bytes_for(broad, 50));
    assert_true(bytes_for(attentive, 400) < 10 * bytes_for(attentive, 50));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_is_done_once),
        cmocka_unit_test(what_a_row_needs_twice_counts_twice),
        cmocka_unit_test(a_sum_behind_padding_is_stored),
        cmocka_unit_test(the_bound_holds_at_the_least_size),
        cmocka_unit_test(parts_of_a_concatenation_are_stored),
        cmocka_unit_test(cheap_values_of_two_kernels_are_stored),
        cmocka_unit_test(a_residual_block_is_bounded),
        cmocka_unit_test(memory_grows_with_the_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
