/* Rows of a product's tile: fewer where rows are a page apart, as they share sets of L1; what is
 * read once for each result does not count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/lower/lower.h"
#include "compiler/sched/sched.h"
#include "compiler/target/target.h"
#include <cmocka.h>

/* y = x[B, depth] · w[depth, 512], and h[B, 512] added to it or not. */
static const char text[] = "graph \"\"\n"
                           "dim B 1..4096 multiple 1\n"
                           "%%1 = input \"x\" : f32[B, %d]\n"
                           "%%2 = input \"w\" : f32[%d, 512]\n"
                           "%%3 = input \"h\" : f32[B, 1024]\n"
                           "%%4 = transpose %%2 {axes [1, 0]} : f32[512, %d]\n"
                           "%%5 = contract %%1, %%4 {batch 0, contract 1} : f32[B, 512]\n"
                           "%%6 = slice %%3 {start [0, 0], step [1, 1]} : f32[B, 512]\n"
                           "%%7 = add %%5, %%6 : f32[B, 512]\n"
                           "output \"y\" %%%d\n";

static void expect(int depth, bool added, const char *step)
{
    struct arena arena;
    struct graph graph;
    struct partition partition;
    struct lowered_group *groups;
    struct schedule schedule;
    struct strbuf out;
    struct error err = {0};
    char source[1024];
    arena_init(&arena);
    strbuf_init(&out, &arena);
    snprintf(source, sizeof source, text, depth, depth, depth, added ? 7 : 5);
    if (!graph_parse(&graph, &arena, source, strlen(source), &err) ||
        !lower_graph(&graph, &arena, &partition, &groups, &err))
        fail_msg("%s: %s", err.place, err.message);
    assert_int_equal(partition.groups.count, 1);
    sched_heuristic(groups[0].nest, &(struct sched_hint){.output = true}, target_find("x86-64-v4"),
                    &schedule);
    sched_print(&schedule, &out);
    if (!strstr(out.data, step))
        fail_msg("depth %d: no '%s' in %s", depth, step, out.data);
    arena_release(&arena);
}

static void rows_that_share_sets_are_few(void **state)
{
    (void)state;
    expect(256, false, "tile i0 12;");
    expect(1024, false, "tile i0 6;");
    expect(256, true, "tile i0 12;"); /* rows of h are a page apart */
    expect(1024, true, "tile i0 6;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_share_sets_are_few),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
