/* Every example of every op, through the passes, the cut and lowering: the nests, run in nest_eval,
 * give the interpreter's results and access no element outside of their buffers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/loop/nest_eval.h"
#include "compiler/loop/text.h"
#include "compiler/lower/lowered.h"
#include "compiler/target/target.h"
#include "graph/build.h"
#include <cmocka.h>

static int check_example(const struct op_row *row, uint32_t index, uint64_t seed, int64_t max_dim,
                         enum dtype dtype, bool symbolic)
{
    struct lowered l;
    struct error err = {0};
    bool ok =
        lowered_build(&l, row, &(struct op_example_request){index, seed, max_dim, dtype, symbolic},
                      target_at(0), &err) &&
        lowered_evaluate(&l, &err);
    const char *wrong = ok ? lowered_check(&l) : NULL;
    for (uint32_t i = 0; ok && i < l.kernel_count; i++)
        ok = nest_verify(&l.kernels[i].nest, &err);
    if (!ok)
        wrong = err.message;
    if (wrong)
        print_error("%s, example %u, %s %s, seed %llu: %s: %s\n", row->name, index,
                    dtype_name(dtype), symbolic ? "symbolic" : "constant", (unsigned long long)seed,
                    err.place, wrong);
    lowered_release(&l);
    return wrong != NULL;
}

static void check_all(enum dtype dtype, bool symbolic, uint64_t seeds, int64_t max_dim)
{
    int failures = 0;
    const struct op_row *row;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++)
        for (uint32_t index = 0; index < op_example_count(row); index++)
            for (uint64_t seed = 0; seed < seeds; seed++)
                failures +=
                    check_example(row, index, seed, seed % 3 == 2 ? 1 : max_dim, dtype, symbolic);
    assert_int_equal(failures, 0);
}

static void constant_shapes_in_f32(void **state)
{
    (void)state;
    check_all(DTYPE_F32, false, 3, 7);
}

static void symbolic_shapes_in_f32(void **state)
{
    (void)state;
    check_all(DTYPE_F32, true, 3, 7);
}

static void constant_shapes_in_narrow_floats(void **state)
{
    (void)state;
    check_all(DTYPE_F16, false, 1, 5);
    check_all(DTYPE_BF16, false, 1, 5);
}

static void symbolic_shapes_in_f64(void **state)
{
    (void)state;
    check_all(DTYPE_F64, true, 1, 5);
}

/* The same group gives the same nest: nothing depends on addresses or on what was lowered before.
 */
static void lowering_again_gives_the_same_text(void **state)
{
    (void)state;
    const struct op_row *row;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i += 3) {
        struct lowered l;
        struct error err = {0};
        assert_true(lowered_build(&l, row, &(struct op_example_request){0, 5, 9, DTYPE_F32, true},
                                  target_at(1), &err));
        for (uint32_t k = 0; k < l.kernel_count; k++) {
            struct nest again;
            struct strbuf a, b;
            strbuf_init(&a, &l.arena);
            strbuf_init(&b, &l.arena);
            assert_true(lowered_again(&l, k, &again, &err));
            nest_print(&l.kernels[k].nest, &a);
            nest_print(&again, &b);
            assert_string_equal(a.data, b.data);
        }
        lowered_release(&l);
    }
}

/* A kernel that would read more buffers than a launch may have is cut into several. */
static void many_buffers_are_cut(void **state)
{
    (void)state;
    struct arena arena;
    struct graph g;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&g, &arena);
    struct builder b = {.graph = &g, .err = &err};
    dim_id shape[1] = {dim_const(&g.dims, 4)};
    value_id sum = VALUE_NONE;
    for (int i = 0; i < LIMIT_KERNEL_BUFFERS + 1; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        value_id x = graph_input(&g, name, DTYPE_F32, shape, 1, &err);
        sum = sum == VALUE_NONE ? x : b_add(&b, sum, x);
    }
    assert_true(graph_output(&g, "y", sum, &err));
    struct partition p;
    partition_graph(&g, &arena, &p);
    struct nest nest;
    assert_true(p.groups.count > 1);
    for (uint32_t i = 0; i < p.groups.count; i++) {
        assert_true(
            lower_group(&(struct lower_task){&g, &p, &p.groups.items[i], &arena}, &nest, &err));
        assert_true(nest.arguments.count <= LIMIT_KERNEL_BUFFERS);
    }
    arena_release(&arena);
}

/* Where element i of [images, channels, pixels] is in [channels, images, pixels]. */
static int channels_first(int i, int images, int channels, int pixels)
{
    int image = i / (channels * pixels), channel = i / pixels % channels;
    return (channel * images + image) * pixels + i % pixels;
}

/* x minus the sum of its group of two channels, in the shape of x: the sum is computed once per
 * group. */
static void a_group_is_reduced_once(void **state)
{
    (void)state;
    enum { IMAGES = 2, CHANNELS = 6, PIXELS = 5, GROUP = 2 * PIXELS, ALL = 60 };
    float xs[ALL], ys[ALL];
    struct arena arena;
    struct graph g;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&g, &arena);
    struct builder b = {.graph = &g, .err = &err};
    dim_id images[] = {dim_const(&g.dims, IMAGES), dim_const(&g.dims, CHANNELS),
                       dim_const(&g.dims, PIXELS)};
    dim_id groups[] = {images[0], dim_const(&g.dims, CHANNELS / 2), dim_const(&g.dims, GROUP)};
    value_id x = graph_input(&g, "x", DTYPE_F32, images, 3, &err);
    value_id rows = b_reshape(&b, x, groups, 3);
    value_id sums = b_reduce(&b, PRIM_REDUCE_SUM, rows, (int64_t[]){2}, 1, true);
    value_id y = b_reshape(&b, b_sub(&b, rows, sums), images, 3);
    assert_true(graph_output(&g, "y", y, &err));
    struct partition p;
    partition_graph(&g, &arena, &p);
    assert_int_equal(p.groups.count, 1);
    struct nest nest;
    assert_true(lower_group(&(struct lower_task){&g, &p, &p.groups.items[0], &arena}, &nest, &err));
    const struct stmt *group = nest.body.stmts.items[0]->body.stmts.items[0];
    assert_int_equal(group->kind, STMT_FOR);
    assert_int_equal(group->body.stmts.count, 3); /* the local, its loop, the reading loop */
    for (int i = 0; i < ALL; i++)
        xs[i] = (float)(i % 7);
    assert_true(nest_eval(&nest, (void *[]){ys, xs}, NULL, true, &err));
    for (int i = 0; i < ALL; i++) {
        float sum = 0;
        for (int k = 0; k < GROUP; k++)
            sum += xs[i / GROUP * GROUP + k];
        assert_true(ys[i] == xs[i] - sum);
    }
    arena_release(&arena);
}

/* exp(x) less its sum over groups of two channels, of an x that is stored channels first: neither
 * the sum nor the result, in the shape of the groups, divides an index, and exp is computed once.
 */
static void a_merged_axis_has_its_loops_back(void **state)
{
    (void)state;
    enum { IMAGES = 2, CHANNELS = 6, PIXELS = 5, GROUP = 2 * PIXELS, ALL = 60 };
    float xs[ALL], ys[ALL];
    struct arena arena;
    struct graph g;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&g, &arena);
    struct builder b = {.graph = &g, .err = &err};
    dim_id stored[] = {dim_const(&g.dims, CHANNELS), dim_const(&g.dims, IMAGES),
                       dim_const(&g.dims, PIXELS)};
    dim_id groups[] = {stored[1], dim_const(&g.dims, CHANNELS / 2), dim_const(&g.dims, GROUP)};
    value_id x = graph_input(&g, "x", DTYPE_F32, stored, 3, &err);
    value_id rows = b_reshape(&b, b_neg(&b, b_transpose(&b, x, (uint8_t[]){1, 0, 2})), groups, 3);
    value_id sums = b_reduce(&b, PRIM_REDUCE_SUM, rows, (int64_t[]){2}, 1, true);
    assert_true(graph_output(&g, "y", b_sub(&b, rows, sums), &err));
    struct partition p;
    partition_graph(&g, &arena, &p);
    assert_int_equal(p.groups.count, 1);
    struct nest nest;
    struct strbuf text;
    assert_true(lower_group(&(struct lower_task){&g, &p, &p.groups.items[0], &arena}, &nest, &err));
    strbuf_init(&text, &arena);
    nest_print(&nest, &text);
    assert_null(strstr(text.data, "floor"));
    for (int i = 0; i < ALL; i++)
        xs[i] = (float)(i % 7);
    assert_true(nest_eval(&nest, (void *[]){ys, xs}, NULL, true, &err));
    for (int i = 0; i < ALL; i++) {
        float sum = 0;
        for (int k = 0; k < GROUP; k++)
            sum -= xs[channels_first(i / GROUP * GROUP + k, IMAGES, CHANNELS, PIXELS)];
        assert_true(ys[i] == -xs[channels_first(i, IMAGES, CHANNELS, PIXELS)] - sum);
    }
    arena_release(&arena);
}

/* y[i, j] = max_k(e[i, k] w[j, k]) + Σ_k e[i, k] with e = exp(x - max x): the maximum is inside the
 * loop over j, and the sum before that loop. So the sum must not load a row that the maximum
 * stores. */
static void a_row_is_kept_where_it_begins(void **state)
{
    (void)state;
    enum { I = 2, J = 3, K = 5 };
    float xs[I * K], ws[J * K], ys[I * J];
    struct arena arena;
    struct graph g;
    struct error err = {0};
    arena_init(&arena);
    graph_init(&g, &arena);
    struct builder b = {.graph = &g, .err = &err};
    dim_id i = dim_const(&g.dims, I), j = dim_const(&g.dims, J), k = dim_const(&g.dims, K);
    value_id x = graph_input(&g, "x", DTYPE_F32, (dim_id[]){i, k}, 2, &err);
    value_id w = graph_input(&g, "w", DTYPE_F32, (dim_id[]){j, k}, 2, &err);
    value_id most = b_reduce(&b, PRIM_REDUCE_MAX, x, (int64_t[]){1}, 1, true);
    value_id e = b_exp(&b, b_sub(&b, x, b_broadcast_to(&b, most, (dim_id[]){i, k}, 2)));
    value_id sum = b_reduce(&b, PRIM_REDUCE_SUM, e, (int64_t[]){1}, 1, true);
    value_id sums = b_broadcast_to(&b, sum, (dim_id[]){i, j}, 2);
    dim_id all[] = {i, j, k};
    value_id product = b_mul(&b, b_broadcast_to(&b, b_unsqueeze(&b, e, 1), all, 3),
                             b_broadcast_to(&b, b_unsqueeze(&b, w, 0), all, 3));
    value_id best = b_reduce(&b, PRIM_REDUCE_MAX, product, (int64_t[]){2}, 1, false);
    value_id y = b_add(&b, best, sums);
    assert_true(graph_output(&g, "y", y, &err));
    struct partition p;
    partition_graph(&g, &arena, &p);
    assert_int_equal(p.groups.count, 1);
    struct nest nest;
    assert_true(lower_group(&(struct lower_task){&g, &p, &p.groups.items[0], &arena}, &nest, &err));
    for (int n = 0; n < I * K; n++)
        xs[n] = (float)(n % 4);
    for (int n = 0; n < J * K; n++)
        ws[n] = (float)(n % 3) + 1;
    void *memory[3];
    assert_int_equal(nest.arguments.count, 3);
    for (uint32_t a = 0; a < nest.arguments.count; a++) {
        value_id v = nest_argument(&nest, a)->value;
        memory[a] = v == x ? (void *)xs : v == w ? (void *)ws : (void *)ys;
    }
    assert_true(nest_eval(&nest, memory, NULL, true, &err));
    for (int n = 0; n < I * J; n++) {
        double total = 0, high = 0, largest = 0;
        for (int c = 0; c < K; c++)
            largest = fmax(largest, xs[n / J * K + c]);
        for (int c = 0; c < K; c++) {
            double value = exp(xs[n / J * K + c] - largest);
            total += value;
            high = fmax(high, value * ws[n % J * K + c]);
        }
        assert_true(fabs(ys[n] - (total + high)) < 1e-5);
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_shapes_in_f32),
        cmocka_unit_test(symbolic_shapes_in_f32),
        cmocka_unit_test(constant_shapes_in_narrow_floats),
        cmocka_unit_test(symbolic_shapes_in_f64),
        cmocka_unit_test(lowering_again_gives_the_same_text),
        cmocka_unit_test(many_buffers_are_cut),
        cmocka_unit_test(a_row_is_kept_where_it_begins),
        cmocka_unit_test(a_group_is_reduced_once),
        cmocka_unit_test(a_merged_axis_has_its_loops_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
