/* Maxima that softmax subtracts: which are left out of the backward pass, which only look so; and
 * that all gradients are right, by the identity with forward mode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"
#include "compiler/grad/grad_test_util.h"

#include <cmocka.h> /* last: it defines fail as a macro */

/* x - max(x) as %5, its exponential as %6 and the sum of that as %7; ends follow. */
#define CENTRED                                     \
    "graph \"g\"\n"                                 \
    "%1 = input \"x\" : f64[4, 4]\n"                \
    "%2 = reduce_max %1 {axes [1]} : f64[4]\n"      \
    "%3 = reshape %2 : f64[4, 1]\n"                 \
    "%4 = broadcast %3 {axes [0, 1]} : f64[4, 4]\n" \
    "%5 = sub %1, %4 : f64[4, 4]\n"                 \
    "%6 = exp %5 : f64[4, 4]\n"                     \
    "%7 = reduce_sum %6 {axes [1]} : f64[4]\n"

static const struct {
    const char *what;
    bool left_out;
    const char *text;
} cases[] = {
    {"softmax", true,
     CENTRED "%8 = reshape %7 : f64[4, 1]\n"
             "%9 = broadcast %8 {axes [0, 1]} : f64[4, 4]\n"
             "%10 = div %6, %9 : f64[4, 4]\n"
             "output \"y\" %10\n"},
    {"softmax of the first axis", true,
     "graph \"g\"\n"
     "%1 = input \"x\" : f64[4, 4]\n"
     "%2 = reduce_max %1 {axes [0]} : f64[4]\n"
     "%3 = broadcast %2 {axes [1]} : f64[4, 4]\n"
     "%4 = sub %1, %3 : f64[4, 4]\n"
     "%5 = exp %4 : f64[4, 4]\n"
     "%6 = reduce_sum %5 {axes [0]} : f64[4]\n"
     "%7 = broadcast %6 {axes [1]} : f64[4, 4]\n"
     "%8 = div %5, %7 : f64[4, 4]\n"
     "output \"y\" %8\n"},
    {"its logarithm", true,
     CENTRED "%8 = log %7 : f64[4]\n"
             "%9 = broadcast %8 {axes [0]} : f64[4, 4]\n"
             "%10 = sub %5, %9 : f64[4, 4]\n"
             "output \"y\" %10\n"},
    {"the maximum is a result too", false,
     CENTRED "%8 = broadcast %7 {axes [0]} : f64[4, 4]\n"
             "%9 = div %6, %8 : f64[4, 4]\n"
             "output \"y\" %9\n"
             "output \"max\" %2\n"},
    {"the sum is a result too", false,
     CENTRED "%8 = broadcast %7 {axes [0]} : f64[4, 4]\n"
             "%9 = div %6, %8 : f64[4, 4]\n"
             "output \"y\" %9\n"
             "output \"sum\" %7\n"},
    {"the exponential is a result too", false,
     CENTRED "%8 = broadcast %7 {axes [0]} : f64[4, 4]\n"
             "%9 = div %6, %8 : f64[4, 4]\n"
             "output \"y\" %9\n"
             "output \"e\" %6\n"},
    {"the exponential alone", false, CENTRED "output \"e\" %6\n"},
    {"sums of rows are spread over columns", false,
     CENTRED "%8 = broadcast %7 {axes [1]} : f64[4, 4]\n"
             "%9 = div %6, %8 : f64[4, 4]\n"
             "output \"y\" %9\n"},
    {"the sum over the exponential, and not the other way", false,
     CENTRED "%8 = broadcast %7 {axes [0]} : f64[4, 4]\n"
             "%9 = div %8, %6 : f64[4, 4]\n"
             "%10 = mul %9, %6 : f64[4, 4]\n"
             "output \"y\" %10\n"},
    {"maxima of rows are spread over columns", false,
     "graph \"g\"\n"
     "%1 = input \"x\" : f64[4, 4]\n"
     "%2 = reduce_max %1 {axes [1]} : f64[4]\n"
     "%3 = broadcast %2 {axes [1]} : f64[4, 4]\n"
     "%4 = sub %1, %3 : f64[4, 4]\n"
     "%5 = exp %4 : f64[4, 4]\n"
     "%6 = reduce_sum %5 {axes [1]} : f64[4]\n"
     "%7 = broadcast %6 {axes [0]} : f64[4, 4]\n"
     "%8 = div %5, %7 : f64[4, 4]\n"
     "output \"y\" %8\n"},
    {"the sum is over another axis", false,
     "graph \"g\"\n"
     "%1 = input \"x\" : f64[4, 4]\n"
     "%2 = reduce_max %1 {axes [1]} : f64[4]\n"
     "%3 = broadcast %2 {axes [0]} : f64[4, 4]\n"
     "%4 = sub %1, %3 : f64[4, 4]\n"
     "%5 = exp %4 : f64[4, 4]\n"
     "%6 = reduce_sum %5 {axes [0]} : f64[4]\n"
     "%7 = broadcast %6 {axes [1]} : f64[4, 4]\n"
     "%8 = div %5, %7 : f64[4, 4]\n"
     "output \"y\" %8\n"},
};

/* Whether the backward pass looks for elements that are equal to the maximum. */
static bool compares(const struct graph *graph, struct arena *arena)
{
    struct graph step, live;
    struct error err = {0};
    bool found = false;
    assert_true(grad_training_graph(&step, arena, graph, &(struct grad_training){0}, &err));
    assert_true(graph_copy_live(&live, arena, &step, &err));
    for (value_id v = 1; v < live.nodes.count; v++)
        found |= graph_node(&live, v)->prim == PRIM_EQ;
    return found;
}

static void test_maxima(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct graph graph;
        struct error err = {0};
        bool moving = false;
        arena_init(&arena);
        if (!graph_parse(&graph, &arena, cases[i].text, strlen(cases[i].text), &err))
            fail_msg("%s: %s: %s", cases[i].what, err.place, err.message);
        if (compares(&graph, &arena) == cases[i].left_out)
            fail_msg("%s: the maximum is %sleft out", cases[i].what,
                     cases[i].left_out ? "not " : "");
        struct point p = {&arena, &graph, NULL, NULL, 0, i + 1, false, NULL};
        grad_point_init(&p);
        for (int64_t e = 0; e < p.sources[0].count; e++)
            p.sources[0].cells[e].f = 3 * grad_drawn(rng_key(i), e);
        if (!grad_compare(&p, &moving, &err))
            fail_msg("%s: %s", cases[i].what, err.message);
        assert_true(moving);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_maxima)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
