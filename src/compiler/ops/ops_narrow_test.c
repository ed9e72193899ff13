/* Composites in f16 and bf16 compute in f32 inside: the result equals that in f64 on the same
 * operands, rounded once, and no intermediate overflows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "compiler/ops/ops_priv.h"
#include "graph/interp.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define LARGE 200 /* its square overflows in f16 */

/* Rows that consist of several operations in the operands' dtype: a product is rounded before a
 * bias is added, a quotient before it is truncated; a random draw cannot be compared. */
static const char *const several[] = {
    "linear",
    "addmm",
    "einsum",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "multi_head_attention",
    "div",
};

static bool is_several(const char *name)
{
    for (size_t i = 0; i < sizeof several / sizeof *several; i++)
        if (strcmp(several[i], name) == 0)
            return true;
    return false;
}

struct run {
    struct graph graph;
    struct op_example example;
    struct interp_tensor in[LIMIT_OPERANDS], out[OP_MAX_OUTPUTS];
};

static bool build(struct run *run, struct arena *arena, const struct op_row *row, uint32_t index,
                  enum dtype dtype, struct error *err)
{
    graph_init(&run->graph, arena);
    return op_example_build(row, &(struct op_example_request){index, 5, 9, dtype, false},
                            &run->graph, &run->example, err);
}

/* Fills the operands of the narrow run with random elements, and those of the exact run with the
 * same numbers. */
static bool fill(struct run *narrow, struct run *exact, double factor, struct arena *arena,
                 struct error *err)
{
    for (uint32_t i = 0; i < narrow->example.operand_count; i++) {
        const struct op_example_operand *o = &narrow->example.operands[i];
        struct interp_tensor *to = &narrow->in[i];
        void *data = arena_array(arena, (size_t)o->count, dtype_bytes(o->dtype));
        op_example_fill(o, 70 + i, data);
        if (!interp_load(to, arena, &(struct native_tensor){o->dtype, o->rank, o->shape, data},
                         err))
            return false;
        bool scales = dtype_is_float(o->dtype) && o->low < 0 && o->index_bound == 0;
        for (int64_t e = 0; e < to->count && scales; e++)
            to->cells[e].f = dtype_round(o->dtype, to->cells[e].f * factor);
        exact->in[i] = *to;
        exact->in[i].dtype = exact->example.operands[i].dtype;
    }
    return true;
}

static bool interpret(struct run *run, struct arena *arena, struct error *err)
{
    const struct interp_options options = {.mode = INTERP_NATIVE};
    const struct interp_arguments arguments = {run->example.dim_values, run->in,
                                               run->example.operand_count};
    return interp_run(&run->graph, &options, &arguments, arena, run->out, err);
}

/* Half a unit in the last place, a little more for rounding in f32, and a share of the largest
 * element for cancellation.
 */
static double allowed(enum dtype dtype, double right, double largest)
{
    double rounded = dtype_round(dtype, right);
    if (isinf(rounded) || isnan(right))
        return 0;
    return 1.01 * (dtype_unit_roundoff(dtype) * fabs(right) + dtype_min_subnormal(dtype) / 2) +
           0x1p-19 * largest;
}

static void compare(const char *what, const struct interp_tensor *narrow,
                    const struct interp_tensor *exact)
{
    double largest = 0;
    if (!dtype_is_float(narrow->dtype) || narrow->dtype == DTYPE_F32)
        return;
    for (int64_t i = 0; i < exact->count; i++)
        if (isfinite(dtype_round(narrow->dtype, exact->cells[i].f)))
            largest = fmax(largest, fabs(exact->cells[i].f));
    for (int64_t i = 0; i < exact->count; i++) {
        double found = narrow->cells[i].f, right = exact->cells[i].f;
        double rounded = dtype_round(narrow->dtype, right);
        bool same = found == rounded || (isnan(found) && isnan(rounded));
        if (!same && !(fabs(found - right) <= allowed(narrow->dtype, right, largest)))
            fail_msg("%s [%lld]: %.9g, right %.9g", what, (long long)i, found, right);
    }
}

static void check(const struct op_row *row, uint32_t index, enum dtype dtype, double factor)
{
    struct arena arena;
    struct run *runs;
    struct error err = {0};
    char what[96];
    snprintf(what, sizeof what, "%s example %u %s, times %g", row->name, index, dtype_name(dtype),
             factor);
    arena_init(&arena);
    runs = ARENA_ARRAY(&arena, struct run, 2);
    if (!build(&runs[0], &arena, row, index, dtype, &err) ||
        !build(&runs[1], &arena, row, index, DTYPE_F64, &err) ||
        !fill(&runs[0], &runs[1], factor, &arena, &err) || !interpret(&runs[0], &arena, &err) ||
        !interpret(&runs[1], &arena, &err))
        fail_msg("%s: %s %s", what, err.place, err.message);
    for (uint32_t i = 0; i < runs[0].graph.outputs.count; i++)
        compare(what, &runs[0].out[i], &runs[1].out[i]);
    arena_release(&arena);
}

static void test_composites_round_once(void **state)
{
    const struct op_row *row;
    (void)state;
    for (uint32_t r = 0; (row = op_at(r)) != NULL; r++)
        for (uint32_t i = 0; i < op_example_count(row) && !is_several(row->name); i++)
            for (int large = 0; large < 2; large++) {
                check(row, i, DTYPE_F16, large ? LARGE : 1);
                check(row, i, DTYPE_BF16, large ? LARGE : 1);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_composites_round_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
