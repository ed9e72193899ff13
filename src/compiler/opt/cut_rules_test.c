/* Each rule of the cut, on a graph where it decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/error.h"
#include "compiler/opt/opt.h"
#include <cmocka.h>

struct rule_case {
    enum cut_rule rule;
    enum placement place;
    value_id value;  /* the value that the rule decides */
    value_id excess; /* a value over the bound of recomputation; VALUE_NONE: none */
    const char *graph;
};

#define PIXEL "{window [size 1 stride 1 low 0 high 0 dilation 1 base 1], groups 1}"
#define DOUBLED(to, moved, from)                                      \
    "%" #moved " = reverse %" #from " {axes [0]} : f32[8]\n%" #to "=" \
    "add %" #from ", %" #moved " : f32[8]\n"

static const struct rule_case cases[] = {
    {CUT_SOURCE, PLACE_SOURCE, 1, 0,
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\noutput \"y\" %2\n"},
    {CUT_ALIAS, PLACE_ALIAS, 2, 0,
     "%1 = input \"x\" : f32[2, 4]\n%2 = reshape %1 : f32[8]\n%3 = exp %2 : f32[8]\n"
     "output \"y\" %3\n"},
    {CUT_NUMBER, PLACE_INLINE, 2, 0,
     "%1 = input \"x\" : f32[]\n%2 = const 3 : f32[]\n"
     "%3 = add %1, %2 : f32[]\n"
     "output \"y\" %3\n"},
    {CUT_EXCESS, PLACE_STORED, 2, 2,
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\n%3 = neg %2 : f32[8]\noutput \"y\" %3\n"},
    {CUT_OUTPUT, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\noutput \"y\" %2\n"},
    {CUT_KERNEL, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[8]\n"
     "%2 = cum_sum %1 {axis 0, exclusive false, reverse false} : f32[8]\n"
     "%3 = neg %2 : f32[8]\noutput \"y\" %3\n"},
    {CUT_OPERAND, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[4, 8]\n%2 = exp %1 : f32[4, 8]\n"
     "%3 = contract %2, %1 {batch 0, contract 1} : f32[4, 4]\noutput \"y\" %3\n"},
    {CUT_PREPARED, PLACE_STORED, 3, 0,
     "%1 = input \"x\" : f32[8]\n%2 = param \"w\" : f32[8]\n%3 = exp %2 : f32[8]\n"
     "%4 = mul %1, %3 : f32[8]\noutput \"y\" %4\n"},
    {CUT_INVARIANT, PLACE_STORED, 2, 0, /* read in every trip */
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\n%3 = state %1 {loop 1, index 0} : f32[8]\n"
     "%4 = add %2, %3 : f32[8]\n%5 = copy %4 : f32[8]\n"
     "%6 = loop %3, %5 {loop 1, index 0, states 1, dim [3]} : f32[8]\noutput \"y\" %6\n"},
    {CUT_ROW, PLACE_INLINE, 3, 0, /* attention */
     "%1 = input \"x\" : f32[2, 4, 4]\n%2 = contract %1, %1 {batch 1, contract 1} : f32[2, 4, 4]\n"
     "%3 = exp %2 : f32[2, 4, 4]\n%4 = contract %3, %1 {batch 1, contract 1} : f32[2, 4, 4]\n"
     "output \"y\" %4\n"},
    {CUT_TRANSPOSED, PLACE_STORED, 4, 0,
     "%1 = input \"x\" : f32[1, 2, 8]\n%2 = input \"w\" : f32[3, 2, 1]\n"
     "%3 = conv %1, %2 " PIXEL " : f32[1, 3, 8]\n"
     "%4 = transpose %3 {axes [0, 2, 1]} : f32[1, 8, 3]\n%5 = exp %4 : f32[1, 8, 3]\n"
     "%6 = neg %4 : f32[1, 8, 3]\noutput \"y\" %5\noutput \"z\" %6\n"},
    {CUT_CHEAP, PLACE_INLINE, 2, 0,
     "%1 = input \"x\" : f32[8]\n%2 = neg %1 : f32[8]\n%3 = exp %2 : f32[8]\n"
     "%4 = sin %2 : f32[8]\noutput \"y\" %3\noutput \"z\" %4\n"},
    {CUT_CHEAP, PLACE_INLINE, 12, 0, /* a view of what is stored for the products that read it */
     "%1 = input \"x\" : f32[4, 8]\n%2 = neg %1 : f32[4, 8]\n%3 = abs %2 : f32[4, 8]\n"
     "%4 = neg %3 : f32[4, 8]\n%5 = abs %4 : f32[4, 8]\n%6 = neg %5 : f32[4, 8]\n"
     "%7 = abs %6 : f32[4, 8]\n%8 = neg %7 : f32[4, 8]\n%9 = abs %8 : f32[4, 8]\n"
     "%10 = neg %9 : f32[4, 8]\n%11 = abs %10 : f32[4, 8]\n"
     "%12 = transpose %11 {axes [1, 0]} : f32[8, 4]\n"
     "%13 = contract %12, %12 {batch 0, contract 1} : f32[8, 8]\n"
     "%14 = input \"g\" : f32[3, 4]\n"
     "%15 = contract %14, %12 {batch 0, contract 1} : f32[3, 8]\n"
     "output \"y\" %13\noutput \"z\" %15\n"},
    {CUT_SCALAR, PLACE_INLINE, 3, 0,
     "%1 = input \"x\" : f32[]\n%2 = input \"v\" : f32[8]\n%3 = exp %1 : f32[]\n"
     "%4 = broadcast %3 {axes []} : f32[8]\n%5 = mul %2, %4 : f32[8]\n"
     "%6 = reduce_sum %5 {axes [0]} : f32[]\n%7 = mul %3, %6 : f32[]\n"
     "output \"y\" %5\noutput \"z\" %7\n"},
    {CUT_SHARED, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\n%3 = neg %2 : f32[8]\n"
     "%4 = sin %2 : f32[8]\noutput \"y\" %3\noutput \"z\" %4\n"},
    {CUT_ASIDE, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\n"
     "%3 = cum_sum %2 {axis 0, exclusive false, reverse false} : f32[8]\noutput \"y\" %3\n"},
    {CUT_BOUND, PLACE_STORED, 2, 0, /* at 64 indices */
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\n" DOUBLED(4, 3, 2) DOUBLED(6, 5, 4) DOUBLED(
         8, 7, 6) DOUBLED(10, 9, 8) DOUBLED(12, 11, 10) DOUBLED(14, 13, 12) "output \"y\" %14\n"},
    {CUT_AGAIN, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[4, 8]\n%2 = exp %1 : f32[4, 8]\n"
     "%3 = reduce_sum %2 {axes [1]} : f32[4]\n%4 = broadcast %3 {axes [0]} : f32[4, 8]\n"
     "%5 = sub %2, %4 : f32[4, 8]\noutput \"y\" %5\n"},
    {CUT_ANCHOR, PLACE_INLINE, 2, 0,
     "%1 = input \"x\" : f32[4, 8]\n%2 = contract %1, %1 {batch 0, contract 1} : f32[4, 4]\n"
     "%3 = exp %2 : f32[4, 4]\noutput \"y\" %3\n"},
    {CUT_APART, PLACE_STORED, 2, 0,
     "%1 = input \"x\" : f32[4, 8]\n%2 = contract %1, %1 {batch 0, contract 1} : f32[4, 4]\n"
     "%3 = reduce_sum %2 {axes [1]} : f32[4]\noutput \"y\" %3\n"},
    {CUT_REDUCTION, PLACE_INLINE, 2, 0,
     "%1 = input \"x\" : f32[4, 8]\n%2 = reduce_sum %1 {axes [1]} : f32[4]\n"
     "%3 = exp %2 : f32[4]\noutput \"y\" %3\n"},
    {CUT_REDUCED, PLACE_STORED, 2, 0, /* in a kernel with a product */
     "%1 = input \"x\" : f32[4, 8]\n%2 = reduce_sum %1 {axes [1]} : f32[4]\n"
     "%3 = contract %1, %1 {batch 0, contract 1} : f32[4, 4]\n"
     "%4 = broadcast %2 {axes [0]} : f32[4, 4]\n%5 = add %3, %4 : f32[4, 4]\noutput \"y\" %5\n"},
    {CUT_INSIDE, PLACE_INLINE, 2, 0,
     "%1 = input \"x\" : f32[8]\n%2 = exp %1 : f32[8]\n%3 = neg %2 : f32[8]\noutput \"y\" %3\n"},
};
#define CASES (sizeof cases / sizeof cases[0])

static void decide(const struct rule_case *rule_case)
{
    struct arena arena;
    struct graph graph;
    struct partition p;
    struct error err = {0};
    char text[2048];
    bool stored[64] = {false};
    arena_init(&arena);
    int size = snprintf(text, sizeof text, "graph \"\"\n%s", rule_case->graph);
    assert_true(size > 0 && (size_t)size < sizeof text);
    if (!graph_parse(&graph, &arena, text, (size_t)size, &err))
        fail_msg("%s: %s: %s", text, err.place, err.message);
    assert_true(graph.nodes.count < sizeof stored);
    stored[rule_case->excess] = rule_case->excess != VALUE_NONE;
    partition_storing(&graph, stored, &arena, &p);
    const struct placed *found = &p.values[rule_case->value];
    if (found->rule != rule_case->rule || found->place != rule_case->place)
        fail_msg("%s: %%%u is placed (%u) because %s, not because %s", text, rule_case->value,
                 found->place, cut_rule_reason((enum cut_rule)found->rule),
                 cut_rule_reason(rule_case->rule));
    arena_release(&arena);
}

static void each_rule_decides(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        decide(&cases[i]);
}

static void each_rule_has_a_case(void **state)
{
    (void)state;
    bool seen[CUT_COUNT] = {false};
    for (size_t i = 0; i < CASES; i++)
        seen[cases[i].rule] = true;
    for (int rule = CUT_NONE + 1; rule < CUT_COUNT; rule++)
        if (!seen[rule])
            fail_msg("no case for: %s", cut_rule_reason((enum cut_rule)rule));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_decides),
        cmocka_unit_test(each_rule_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
