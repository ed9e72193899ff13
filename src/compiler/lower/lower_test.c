/* Every example of every op, through the passes, the cut and lowering: the nests, run scalar by
 * scalar, give what the interpreter says the graph means, and touch no element outside their
 * buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/lower/lowered.h"
#include "compiler/target/target.h"
#include "graph/build.h"
#include <cmocka.h>

static int check_example(const struct op_row *row, uint32_t index, uint64_t seed, int64_t max_dim,
                         enum dtype dtype, bool symbolic)
{
    struct lowered l;
    struct error err = {0};
    bool ok = lowered_build(&l, row, index, seed, max_dim, dtype, symbolic, target_at(0), &err) &&
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
        assert_true(lowered_build(&l, row, 0, 5, 9, DTYPE_F32, true, target_at(1), &err));
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

/* A kernel that reads more buffers than a launch may have is refused by name. */
static void too_many_buffers_are_refused(void **state)
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
    value_id *args;
    uint32_t count;
    bool refused = false;
    for (uint32_t i = 0; i < p.groups.count && !refused; i++)
        refused = !lower_group(&g, &p, &p.groups.items[i], &arena, &nest, &args, &count, &err);
    assert_true(refused);
    assert_int_equal(err.code, ERR_LIMIT);
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
        cmocka_unit_test(too_many_buffers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
