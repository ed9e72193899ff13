/* The properties of graphs: each check is exact, a pass that violates one is caught, and each pass
 * of the pipeline gets what it needs from the passes before it. */
#include "compiler/opt/opt_test_util.h"

static struct graph read(struct arena *arena, const char *nodes)
{
    struct graph graph;
    struct error err = {0};
    struct strbuf text;
    strbuf_init(&text, arena);
    strbuf_puts(&text, "graph \"\"\n");
    strbuf_puts(&text, nodes);
    if (!graph_parse(&graph, arena, text.data, text.size_bytes, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, nodes);
    return graph;
}

#define X "%1 = input \"x\" : f32[2, 3]\n"

/* The only property that does not hold, and the value that violates it. */
static void each_check_is_exact(void **state)
{
    (void)state;
    static const struct {
        const char *nodes;
        enum property property; /* PROPERTY_COUNT: all hold */
        value_id where;
    } cases[] = {
        {X "%2 = neg %1 : f32[2, 3]\noutput \"y\" %2\n", PROPERTY_COUNT, 0},
        {X "%2 = param \"p\" : f32[1]\n%3 = neg %1 : f32[2, 3]\noutput \"y\" %3\n", PROPERTY_COUNT,
         0},
        {X "%2 = neg %1 : f32[2, 3]\n%3 = neg %2 : f32[2, 3]\noutput \"y\" %2\n", PROPERTY_LIVE, 3},
        {X "%2 = reshape %1 : f32[6]\n%3 = reshape %2 : f32[3, 2]\noutput \"y\" %3\n",
         PROPERTY_JOINED, 3},
        {X "%2 = reshape %1 : f32[6]\n%3 = reverse %2 {axes [0]} : f32[6]\n"
           "%4 = reshape %3 : f32[3, 2]\noutput \"y\" %4\n",
         PROPERTY_COUNT, 0},
        {X "%2 = transpose %1 {axes [1, 0]} : f32[3, 2]\n"
           "%3 = transpose %2 {axes [1, 0]} : f32[2, 3]\n%4 = neg %3 : f32[2, 3]\n"
           "output \"y\" %4\n",
         PROPERTY_JOINED, 3},
        {X "output \"y\" %1\n", PROPERTY_OWNED, 1},
        {X "%2 = neg %1 : f32[2, 3]\noutput \"y\" %2\noutput \"z\" %2\n", PROPERTY_OWNED, 2},
        {"%1 = param \"p\" : f32[2]\n%2 = neg %1 : f32[2]\noutput \"y\" %2\n", PROPERTY_OWNED, 2},
        {"%1 = param \"p\" : f32[2]\n%2 = copy %1 : f32[2]\noutput \"y\" %2\n", PROPERTY_COUNT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        arena_init(&arena);
        struct graph graph = read(&arena, cases[i].nodes);
        for (int p = 0; p < PROPERTY_COUNT; p++) {
            value_id where = VALUE_NONE;
            bool holds = property_holds((enum property)p, &graph, &arena, &where);
            if (holds != (p != (int)cases[i].property) || (!holds && where != cases[i].where))
                fail_msg("case %zu: '%s' %s, of %%%u", i, property_name((enum property)p),
                         holds ? "holds" : "does not hold", where);
        }
        arena_release(&arena);
    }
}

/* A pass that reshapes the first output twice, and leaves a dead value. */
static bool spoil(struct graph *to, struct arena *arena, const struct graph *from,
                  const struct target *target, struct error *err)
{
    struct attrs flat = {.rank = 1}, square = {.rank = 2};
    (void)target;
    if (!graph_copy_live(to, arena, from, err))
        return false;
    flat.shape[0] = dim_const(&to->dims, 6);
    square.shape[0] = dim_const(&to->dims, 3);
    square.shape[1] = dim_const(&to->dims, 2);
    value_id v = to->outputs.items[0].value;
    v = graph_add(to, PRIM_RESHAPE, &v, 1, &flat, err);
    v = graph_add(to, PRIM_RESHAPE, &v, 1, &square, err);
    to->outputs.items[0].value = v;
    return v != VALUE_NONE && graph_add(to, PRIM_NEG, &v, 1, NULL, err) != VALUE_NONE;
}

static void expect_caught(const char *nodes, struct pass_row row, const char *message)
{
    struct arena arena;
    struct graph to;
    struct error err = {0};
    arena_init(&arena);
    struct graph graph = read(&arena, nodes);
    row.name = "spoil";
    row.run = spoil;
    assert_true(pass_run(&row, &to, &arena, &graph, &(struct pass_setting){NULL, false},
                         &err)); /* no check, no error */
    bool ok = pass_run(&row, &to, &arena, &graph, &(struct pass_setting){NULL, true}, &err);
    if (!message && !ok)
        fail_msg("%s: %s", err.place, err.message);
    if (message && (ok || err.code != ERR_BUG || strcmp(err.place, "pass 'spoil'") != 0 ||
                    !strstr(err.message, message)))
        fail_msg("'%s', not '%s', %s", err.message, message, err.place);
    arena_release(&arena);
}

static void a_pass_that_breaks_a_property_is_caught(void **state)
{
    (void)state;
    static const char fine[] = X "%2 = neg %1 : f32[2, 3]\noutput \"y\" %2\n",
                      dead[] = X "%2 = neg %1 : f32[2, 3]\n%3 = abs %1 : f32[2, 3]\n"
                                 "output \"y\" %2\n";
    const uint32_t live = 1u << PROPERTY_LIVE, joined = 1u << PROPERTY_JOINED;
    expect_caught(fine, (struct pass_row){.needs = live | joined}, NULL);
    expect_caught(fine, (struct pass_row){.keeps = live}, "it keeps 'live'");
    expect_caught(dead, (struct pass_row){.keeps = live}, NULL); /* it did not hold before, so it
                                                                    need not hold after */
    expect_caught(dead, (struct pass_row){.gives = live}, "it gives 'live'");
    expect_caught(dead, (struct pass_row){.needs = live}, "it needs 'live'");
    expect_caught(fine, (struct pass_row){.gives = joined}, "does not hold of %4");
    expect_caught(fine, (struct pass_row){.keeps = joined}, "it keeps 'joined'");
}

/* For any graph; with all passes, and with those that are needed. */
static void the_pipeline_gives_what_its_passes_need(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        uint32_t held = 0;
        for (uint32_t i = 0; pass_at(i); i++) {
            const struct pass_row *pass = pass_at(i);
            if (!all && !pass->needed)
                continue;
            if (pass->needs & ~held)
                fail_msg("'%s' needs what nothing before it leaves", pass->name);
            held = (held & pass->keeps) | pass->gives;
        }
        assert_true(held >> PROPERTY_OWNED & 1); /* which the cut needs */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_check_is_exact),
        cmocka_unit_test(a_pass_that_breaks_a_property_is_caught),
        cmocka_unit_test(the_pipeline_gives_what_its_passes_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
