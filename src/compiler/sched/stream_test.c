/* For which results the step `stream` is taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/loop/text.h"
#include "compiler/sched/sched.h"
#include "compiler/target/target.h"
#include <cmocka.h>

/* Expects the last step of the schedule of y[i] = x[i] with i < 1024·rows (rows 0: a named dim up
 * to 2^20), "" for another one, and the printed form of the result. */
static void expect(int64_t rows, enum dtype dtype, bool output, const char *step, const char *text)
{
    struct arena arena;
    struct dim_table dims;
    struct nest n;
    struct error err = {0};
    struct strbuf out;
    uint32_t s;
    arena_init(&arena);
    dim_table_init(&dims, &arena);
    strbuf_init(&out, &arena);
    const struct dim_name name = {.name = "R", .min = 1, .max = 1 << 20, .multiple_of = 1};
    assert_true(dim_declare(&dims, &name, &s, &err));
    nest_init(&n, &arena, &dims, "copy");
    expr_id extent = rows ? index_const(&n, rows) : expr_dim(&n, dim_named(&dims, s));
    extent = index_mul(&n, extent, index_const(&n, 1024));
    struct nest_buffer buffer = {
        .name = "y", .dtype = (uint8_t)dtype, .role = ROLE_OUT, .elements = extent};
    uint32_t y = nest_buffer(&n, &buffer), var = nest_var(&n, "i0", OVER_NONE, extent);
    buffer.name = "x";
    buffer.role = ROLE_IN;
    uint32_t x = nest_buffer(&n, &buffer);
    expr_id i = expr_var(&n, var);
    struct stmt *loop = stmt_for(&n, var, true);
    block_add(&n, &loop->body, stmt_store(&n, y, i, expr_load(&n, x, i, EXPR_NONE), EXPR_NONE));
    block_add(&n, &n.body, loop);
    struct schedule schedule;
    const struct sched_hint hint = {.output = output};
    sched_heuristic(&n, &hint, target_find("x86-64-v4"), &schedule);
    sched_print(&schedule, &out);
    const char *found = strstr(out.data, "stream");
    assert_string_equal(found ? found : "", step);
    assert_true(nest_verify(&n, &err));
    nest_print(&n, &out);
    assert_true(strstr(out.data, text) != NULL);
    arena_release(&arena);
}

static void large_results_are_streamed(void **state)
{
    (void)state;
    expect(4095, DTYPE_F32, true, "", "]\n  in x");
    expect(4096, DTYPE_F32, true, "stream y 16384", "] stream if 1:bool\n");
    expect(4096, DTYPE_F32, false, "", "]\n  in x");
    expect(4096, DTYPE_F16, true, "", "]\n  in x");
    expect(8192, DTYPE_F16, true, "stream y 16384", "] stream if 1:bool\n");
    expect(16384, DTYPE_F32, false, "stream y 65536", "] stream if 1:bool\n");
    expect(0, DTYPE_F32, true, "stream y 16384", "] stream if 4194304 <= R*1024\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_results_are_streamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
