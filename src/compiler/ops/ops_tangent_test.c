/* Tangents of all examples of all ops in f64, beside differences (graph/tangent_test_util.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "compiler/ops/ops.h"
#include "graph/tangent_test_util.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define SEEDS 6
#define DIM_MOST 6

/* Rows whose results are steps, or hang on no float. */
static const char *const flat[] = {"one_hot", "sign", "floor", "ceil", "round", "trunc"};

static bool is_flat(const char *name)
{
    for (size_t i = 0; i < sizeof flat / sizeof *flat; i++)
        if (strcmp(flat[i], name) == 0)
            return true;
    return false;
}

static void check_example(const struct op_row *row, const struct op_example_request *request,
                          struct tangent_tally *tally)
{
    struct arena arena;
    struct graph graph;
    struct op_example example = {0};
    struct interp_tensor in[LIMIT_OPERANDS];
    struct tangent_tally tallies[OP_MAX_OUTPUTS] = {0};
    struct error err = {0};
    arena_init(&arena);
    graph_init(&graph, &arena);
    bool ok = op_example_build(row, request, &graph, &example, &err);
    for (uint32_t i = 0; ok && i < example.operand_count; i++) {
        const struct op_example_operand *operand = &example.operands[i];
        void *data = arena_array(&arena, (size_t)operand->count, 8);
        op_example_fill(operand, 10 * request->seed + i, data);
        const struct native_tensor native = {operand->dtype, operand->rank, operand->shape, data};
        ok = interp_load(&in[i], &arena, &native, &err);
    }
    const struct interp_arguments point = {example.dim_values, in, example.operand_count};
    if (!ok || !tangent_compare(&graph, &point, request->seed, &arena, tallies, &err))
        fail_msg("%s, example %u, seed %llu: %s: %s", row->name, request->index,
                 (unsigned long long)request->seed, err.place, err.message);
    for (uint32_t o = 0; o < example.out_count; o++) {
        tally->elements += tallies[o].elements;
        tally->sharp += tallies[o].sharp;
        tally->moving += tallies[o].moving;
    }
    arena_release(&arena);
}

static void test_ops(void **state)
{
    const struct op_row *row = NULL;
    int64_t all = 0;
    (void)state;
    for (uint32_t i = 0; (row = op_at(i)) != NULL; i++) {
        if (strcmp(row->name, "detach") == 0) /* its tangent is not that of its value */
            continue;
        struct tangent_tally tally = {0};
        for (uint32_t index = 0; index < op_example_count(row); index++)
            for (uint64_t seed = 1; seed <= SEEDS; seed++)
                check_example(row,
                              &(struct op_example_request){index, seed, DIM_MOST, DTYPE_F64, false},
                              &tally);
        if (10 * tally.sharp < 8 * tally.elements ||
            (tally.elements > 0 && (tally.moving == 0) != is_flat(row->name)))
            fail_msg("%s: of %lld elements %lld were compared, %lld with a tangent", row->name,
                     (long long)tally.elements, (long long)tally.sharp, (long long)tally.moving);
        all += tally.moving;
    }
    print_message("%lld elements with a tangent\n", (long long)all);
    assert_true(all > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
