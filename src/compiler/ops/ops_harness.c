/* The test harness of the ops; see ops_harness_priv.h. */
#include "compiler/ops/ops_harness_priv.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

#include <cmocka.h> /* last: it defines fail as a macro */

void op_run(struct op_run *run, const char *op, const char *text)
{
    struct op_row row = *op_find(op);
    struct graph graph;
    struct error err = {0};
    row.examples = text;
    memset(run, 0, sizeof *run);
    arena_init(&run->arena);
    graph_init(&graph, &run->arena);
    bool ok = op_example_build(&row, &(struct op_example_request){0, 1, 1, DTYPE_F64, false},
                               &graph, &run->example, &err);
    for (uint32_t i = 0; ok && i < run->example.operand_count; i++) {
        const struct op_example_operand *operand = &run->example.operands[i];
        void *data = arena_array(&run->arena, (size_t)operand->count, dtype_bytes(operand->dtype));
        op_example_fill(operand, 100 + i, data);
        const struct native_tensor native = {operand->dtype, operand->rank, operand->shape, data};
        ok = interp_load(&run->in[i], &run->arena, &native, &err);
    }
    const struct interp_arguments arguments = {run->example.dim_values, run->in,
                                               run->example.operand_count};
    ok = ok && interp_run(&graph, &(struct interp_options){.mode = INTERP_REFERENCE}, &arguments,
                          &run->arena, run->out, &err);
    if (!ok) {
        fail_msg("%s %s: %s: %s", op, text, err.place, err.message);
    }
}

void op_run_release(struct op_run *run)
{
    arena_release(&run->arena);
}

double op_at_flat(const struct interp_tensor *tensor, int64_t flat)
{
    assert_true(flat >= 0 && flat < tensor->count);
    const union cell *cell = &tensor->cells[flat];
    return dtype_is_float(tensor->dtype) ? cell->f : (double)cell->i;
}

double op_at_index(const struct interp_tensor *tensor, const int64_t *index)
{
    int64_t flat = 0;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (index[i] < 0 || index[i] >= tensor->shape[i]) {
            return 0;
        }
        flat = flat * tensor->shape[i] + index[i];
    }
    return op_at_flat(tensor, flat);
}

void op_expect_near(const char *what, double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b))) && !(isnan(a) && isnan(b)) && a != b) {
        fail_msg("%s: %.17g, expected %.17g", what, a, b);
    }
}

void op_expect_shape(const struct interp_tensor *tensor, uint32_t rank, const int64_t *shape)
{
    assert_int_equal(tensor->rank, rank);
    for (uint32_t i = 0; i < rank; i++) {
        assert_int_equal(tensor->shape[i], shape[i]);
    }
}

bool op_next_index(int64_t *index, uint32_t rank, const int64_t *shape)
{
    for (uint32_t i = rank; i-- > 0;) {
        if (++index[i] < shape[i]) {
            return true;
        }
        index[i] = 0;
    }
    return false;
}
