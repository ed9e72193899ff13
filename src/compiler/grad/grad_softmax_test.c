/* Softmax as a whole, and what only looks like one. Each is judged beside forward mode. Whether
 * that was all shows by the divisions of the training graph: the rules of a division and of a
 * maximum add others. */
#include "compiler/grad/grad_test_util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "graph/text.h"

#include <cmocka.h> /* last: it defines fail as a macro */

#define HEAD "graph \"t\"\n%1 = input \"x\" : f64[3, 3, 3]\n"
#define SPREAD " {axes [0, 1, 2]} : f64[3, 3, 3]\n"
#define CUBE " : f64[3, 3, 3]\n"

/* The maximum over an axis, as b_reduce keeps it, and e behind it. */
#define CENTRED(axis, shape)                                                               \
    "%2 = reduce_max %1 {axes [" axis "]} : f64[3, 3]\n%3 = reshape %2 : f64[" shape "]\n" \
    "%4 = broadcast %3" SPREAD "%5 = sub %1, %4" CUBE "%6 = exp %5" CUBE
#define DIVIDED(axis, shape)                                                               \
    "%7 = reduce_sum %6 {axes [" axis "]} : f64[3, 3]\n%8 = reshape %7 : f64[" shape "]\n" \
    "%9 = broadcast %8" SPREAD "%10 = div %6, %9" CUBE "output \"y\" %10\n"

/* The same for rows that may be -inf in all elements; `value` closes them. */
#define CLOSABLE(axis, shape, value)                                                          \
    "%2 = reduce_max %1 {axes [" axis "]} : f64[3, 3]\n%3 = reshape %2 : f64[" shape "]\n"    \
    "%4 = const " value " : f64[]\n%5 = broadcast %4 {axes []} : f64[" shape "]\n"            \
    "%6 = eq %3, %5 : bool[" shape "]\n%7 = const 0 : f64[]\n"                                \
    "%8 = broadcast %7 {axes []} : f64[" shape "]\n%9 = select %6, %8, %3 : f64[" shape "]\n" \
    "%10 = broadcast %9" SPREAD "%11 = sub %1, %10" CUBE "%12 = exp %11" CUBE
#define CLOSED(axis, shape)                                                                    \
    "%13 = reduce_sum %12 {axes [" axis "]} : f64[3, 3]\n%14 = reshape %13 : f64[" shape "]\n" \
    "%15 = const 1 : f64[]\n%16 = broadcast %15 {axes []} : f64[" shape "]\n"                  \
    "%17 = select %6, %16, %14 : f64[" shape "]\n%18 = broadcast %17" SPREAD                   \
    "%19 = div %12, %18" CUBE "output \"y\" %19\n"

#define CLOSED_BY_OTHERS                                                              \
    "%13 = reduce_sum %12 {axes [2]} : f64[3, 3]\n%14 = reshape %13 : f64[3, 1, 3]\n" \
    "%15 = const 1 : f64[]\n%16 = broadcast %15 {axes []} : f64[3, 1, 3]\n"           \
    "%17 = select %6, %16, %14 : f64[3, 1, 3]\n%18 = reshape %17 : f64[3, 3, 1]\n"    \
    "%19 = broadcast %18" SPREAD "%20 = div %12, %19" CUBE "output \"y\" %20\n"

static const struct row {
    const char *what, *text;
    bool whole;
} rows[] = {
    {"rows that may be closed", HEAD CLOSABLE("2", "3, 3, 1", "-inf") CLOSED("2", "3, 3, 1"), true},
    {"an axis in between that may be closed",
     HEAD CLOSABLE("1", "3, 1, 3", "-inf") CLOSED("1", "3, 1, 3"), true},
    {"rows that are closed by a number",
     HEAD CLOSABLE("2", "3, 3, 1", "0.25") CLOSED("2", "3, 3, 1"), false},
    {"rows that are closed by another axis", HEAD CLOSABLE("1", "3, 1, 3", "-inf") CLOSED_BY_OTHERS,
     false},
    {"the last axis", HEAD CENTRED("2", "3, 3, 1") DIVIDED("2", "3, 3, 1"), true},
    {"an axis in between", HEAD CENTRED("1", "3, 1, 3") DIVIDED("1", "3, 1, 3"), true},
    {"the first axis", HEAD CENTRED("0", "1, 3, 3") DIVIDED("0", "1, 3, 3"), true},
    {"two axes, broadcast at once",
     HEAD "%2 = reduce_max %1 {axes [0, 2]} : f64[3]\n%3 = broadcast %2 {axes [1]}" CUBE
          "%4 = sub %1, %3" CUBE "%5 = exp %4" CUBE "%6 = reduce_sum %5 {axes [0, 2]} : f64[3]\n"
          "%7 = broadcast %6 {axes [1]}" CUBE "%8 = div %5, %7" CUBE "output \"y\" %8\n",
     true},
    {"the exponential is a result, too",
     HEAD CENTRED("2", "3, 3, 1") DIVIDED("2", "3, 3, 1") "output \"e\" %6\n", false},
    {"a maximum over one axis, a sum over another",
     HEAD CENTRED("1", "3, 1, 3") DIVIDED("2", "3, 3, 1"), false},
    {"a sum along the other side", HEAD CENTRED("2", "3, 3, 1") DIVIDED("1", "3, 3, 1"), false},
    {"a sum that is spread along another axis, at once",
     HEAD CENTRED("2", "3, 3, 1") "%7 = reduce_sum %6 {axes [2]} : f64[3, 3]\n"
                                  "%8 = broadcast %7 {axes [0, 2]}" CUBE "%9 = div %6, %8" CUBE
                                  "output \"y\" %9\n",
     false},
    {"the sum of something else",
     HEAD CENTRED("2", "3, 3, 1") "%7 = mul %6, %1" CUBE "%8 = abs %7" CUBE
                                  "%9 = reduce_sum %8 {axes [2]} : f64[3, 3]\n"
                                  "%10 = reshape %9 : f64[3, 3, 1]\n%11 = broadcast %10" SPREAD
                                  "%12 = div %6, %11" CUBE "output \"y\" %12\n",
     false},
    {"what is subtracted has values of its own along the axis",
     "graph \"t\"\n%1 = input \"x\" : f64[3, 3]\n%2 = input \"m\" : f64[3]\n"
     "%3 = broadcast %2 {axes [1]} : f64[3, 3]\n%4 = sub %1, %3 : f64[3, 3]\n"
     "%5 = exp %4 : f64[3, 3]\n%6 = reduce_sum %5 {axes [1]} : f64[3]\n"
     "%7 = broadcast %6 {axes [0]} : f64[3, 3]\n%8 = div %5, %7 : f64[3, 3]\noutput \"y\" %8\n",
     false},
    {"what is subtracted is an input",
     "graph \"t\"\n%1 = input \"x\" : f64[3, 3]\n%2 = input \"m\" : f64[3]\n"
     "%3 = broadcast %2 {axes [0]} : f64[3, 3]\n%4 = sub %1, %3 : f64[3, 3]\n"
     "%5 = exp %4 : f64[3, 3]\n%6 = reduce_sum %5 {axes [1]} : f64[3]\n"
     "%7 = broadcast %6 {axes [0]} : f64[3, 3]\n%8 = div %5, %7 : f64[3, 3]\noutput \"y\" %8\n",
     true},
};

static uint32_t divisions(const struct graph *graph)
{
    uint32_t count = 0;
    for (value_id v = 1; v < graph->nodes.count; v++)
        count += graph_node(graph, v)->prim == PRIM_DIV;
    return count;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct graph graph, training;
        struct error err = {0};
        bool moving = false;
        arena_init(&arena);
        if (!graph_parse(&graph, &arena, rows[i].text, strlen(rows[i].text), &err))
            fail_msg("%s: %s: %s", rows[i].what, err.place, err.message);
        struct point p = {&arena, &graph, NULL, NULL, 0, 3, false, NULL};
        grad_point_init(&p);
        for (uint32_t s = 0; s < p.source_count; s++)
            for (int64_t e = 0; e < p.sources[s].count; e++)
                p.sources[s].cells[e].f = grad_drawn(rng_key(7 + s), e);
        if (!grad_compare(&p, &moving, &err))
            fail_msg("%s: %s: %s", rows[i].what, err.place, err.message);
        assert_true(moving);
        assert_true(
            grad_training_graph(&training, &arena, &graph, &(struct grad_training){0}, &err));
        bool whole = divisions(&training) == 1;
        if (whole != rows[i].whole)
            fail_msg("%s: %s", rows[i].what, whole ? "taken for a softmax" : "not recognised");
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests_name("softmax", tests, NULL, NULL);
}
