#include "package/test_util.h"

struct fixture {
    struct arena arena;
    struct graph graph;
    struct error err;
};

static const char graph_text[] = "graph \"g\"\n"
                                 "dim B 1..64 multiple 1\n"
                                 "%1 = input \"x\" : f32[B, 2]\n"
                                 "%2 = param \"w\" : f32[3, 2]\n"
                                 "%3 = contract %1, %2 {batch 0, contract 1} : f32[B, 3]\n"
                                 "output \"y\" %3\n";

/* Buffers: x, y, w, packed w, and two temporaries, of which forward uses one for launches 0 to 1.
 */
static const char plan_text[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"2*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"6\",\"index\":0,\"kind\":\"param\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"32\",\"kind\":\"prepared\",\"value\":1},"
    "{\"dtype\":\"bf16\",\"elements\":\"3*B\",\"kind\":\"temp\",\"value\":1},"
    "{\"dtype\":\"u8\",\"elements\":\"1\",\"kind\":\"temp\",\"value\":1}],"
    "\"format\":\"urza.plan/2\",\"forward\":["
    "{\"args\":[4,0,3],\"asked\":\"12*B\",\"done\":\"14*B\",\"edges\":[],\"extent\":\"B\","
    "\"kernel\":1,\"label\":\"linear \\\"a\\\"\","
    "\"scratch_bytes\":\"128\",\"work\":\"6*B\",\"written\":1},"
    "{\"args\":[1,4],\"edges\":[],\"extent\":\"1\",\"kernel\":2,\"label\":\"\","
    "\"scratch_bytes\":\"0\",\"work\":\"3*B\",\"written\":1}],"
    "\"kernels\":3,\"prepare\":["
    "{\"args\":[3,2],\"edges\":[],\"extent\":\"1\",\"kernel\":0,\"label\":\"pack\","
    "\"scratch_bytes\":\"0\",\"work\":\"6\",\"written\":1}]}";

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    arena_init(&f.arena);
    must(graph_parse(&f.graph, &f.arena, graph_text, strlen(graph_text), &f.err), &f.err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_release(&f->arena);
    return 0;
}

static bool parse(struct fixture *f, const char *text, struct plan *out)
{
    return plan_parse(out, &f->arena, &f->graph.dims, text, strlen(text), &f->err);
}

static void print_of_parse_is_the_identity(void **state)
{
    struct fixture *f = *state;
    struct plan plan;
    must(parse(f, plan_text, &plan), &f->err);
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    plan_print(&plan, &out);
    assert_string_equal(out.data, plan_text);
    must(plan_check_graph(&plan, &f->graph, &f->err), &f->err);
    assert_int_equal(plan.kernel_count, 3);
    assert_string_equal(plan.forward.items[0].label, "linear \"a\"");
}

static void lifetimes(void **state)
{
    struct fixture *f = *state;
    struct plan plan;
    must(parse(f, plan_text, &plan), &f->err);
    const struct plan_buffer *used = &plan.buffers.items[4], *unused = &plan.buffers.items[5];
    assert_int_equal(used->first_launch, 0);
    assert_int_equal(used->last_launch, 1);
    assert_true(unused->first_launch > unused->last_launch);
    plan_finish(&plan); /* a second time changes nothing */
    assert_int_equal(used->first_launch, 0);
    assert_int_equal(used->last_launch, 1);
}

static void built_by_hand(void **state)
{
    struct fixture *f = *state;
    struct dim_table *dims = &f->graph.dims;
    struct plan plan = {.arena = &f->arena, .dims = dims, .kernel_count = 1};
    dim_id b = dim_named(dims, 0), one = dim_const(dims, 1), zero = dim_const(dims, 0);
    struct plan_buffer x = {.kind = BUFFER_INPUT, .dtype = DTYPE_F32, .elements = b};
    struct plan_buffer t = {.kind = BUFFER_TEMP, .dtype = DTYPE_F32, .index = 7, .elements = b};
    VEC_PUSH(&f->arena, &plan.buffers, x);
    VEC_PUSH(&f->arena, &plan.buffers, t);
    uint32_t args[] = {1, 0};
    struct plan_launch launch = {.arg_count = 2,
                                 .args = args,
                                 .written = 1,
                                 .code = {.extent = one, .work = b, .scratch_bytes = zero}};
    for (int i = 0; i < 3; i++)
        VEC_PUSH(&f->arena, &plan.forward, launch);
    plan_finish(&plan);
    assert_int_equal(plan.buffers.items[1].last_launch, 2);
    struct strbuf text, again;
    strbuf_init(&text, &f->arena);
    strbuf_init(&again, &f->arena);
    plan_print(&plan, &text);
    must(parse(f, text.data, &plan), &f->err);
    plan_print(&plan, &again);
    assert_string_equal(text.data, again.data);
}

static void refuses(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *from, *to, *text;
    } rows[] = {
        {"\"args\":[4,0,3]", "\"args\":[4,0,6]", "buffer 6 of 6"},
        {"\"args\":[4,0,3]", "\"args\":[4,0,-1]", "argument 2"},
        {"\"args\":[4,0,3]", "\"args\":[4,0,4294967296]", "argument 2"},
        {"\"args\":[4,0,3]", "\"args\":[4,0,\"3\"]", "argument 2"},
        {"\"args\":[4,0,3]", "\"args\":[4,0,5]", "buffer 5"},
        {"\"args\":[4,0,3]", "\"args\":[4,4,3]", "buffer 4"},
        {"\"args\":[4,0,3]", "\"args\":[4,1,3]", "read before it is written"},
        {"\"args\":[4,0,3]", "\"args\":[0,0,3]", "may not write"},
        {"\"args\":[4,0,3]", "\"args\":[2,0,3]", "may not write"},
        {"\"args\":[4,0,3]", "\"args\":[3,0,3]", "may not write"},
        {"\"args\":[1,4]", "\"args\":[1,5]", "forward launch 1, buffer 5"},
        {"\"args\":[3,2]", "\"args\":[2,3]", "prepare launch 0, buffer 2"},
        {"\"args\":[3,2]", "\"args\":[3,3]", "read before it is written"},
        {"\"args\":[3,2]", "\"args\":[3,0]", "may not touch"},
        {"\"args\":[3,2]", "\"args\":[4,2]", "may not touch"},
        {"\"args\":[3,2]", "\"args\":[]", "prepare launch 0"},
        {"\"written\":1", "\"written\":0", "writes nothing"},
        {"\"written\":1", "\"written\":8", "writes nothing"},
        {"\"written\":1", "\"written\":4294967296", "written"},
        {"\"kernel\":2", "\"kernel\":3", "kernel 3 of 3"},
        {"\"kernel\":2", "\"kernel\":-1", "out of range"},
        {"\"kernel\":2", "\"kernel\":1.5", "kernel"},
        {"\"elements\":\"6\"", "\"elements\":\"B\"", "named dim"},
        {"\"elements\":\"32\"", "\"elements\":\"B\"", "named dim"},
        {"\"elements\":\"32\"", "\"elements\":\"-32\"", "negative"},
        {"\"elements\":\"32\"", "\"elements\":\"C\"", "elements"},
        {"\"elements\":\"32\"", "\"elements\":\"\"", "elements"},
        {"\"elements\":\"32\"", "\"elements\":\"32 7\"", "behind"},
        {"\"elements\":\"32\"", "\"elements\":32", "elements"},
        {"\"extent\":\"1\",\"kernel\":0", "\"extent\":\"B\",\"kernel\":0", "extent"},
        {"\"work\":\"6\"", "\"work\":\"6*B\"", "work"},
        {"\"asked\":\"12*B\",", "", "asked"},
        {"\"done\":\"14*B\",", "", "done"},
        {"\"done\":\"14*B\"", "\"done\":\"-14\"", "negative"},
        {"\"asked\":\"12*B\"", "\"asked\":\"-12\"", "negative"},
        {"\"label\":\"pack\"", "\"asked\":\"1\",\"done\":\"B\",\"label\":\"pack\"", "done"},
        {"\"scratch_bytes\":\"128\"", "\"scratch_bytes\":\"-128\"", "negative"},
        {"\"kind\":\"temp\"", "\"kind\":\"stack\"", "'stack'"},
        {"\"kind\":\"temp\"", "\"index\":0,\"kind\":\"temp\"", "index"},
        {"\"index\":0,\"kind\":\"param\"", "\"kind\":\"param\"", "index"},
        {"\"dtype\":\"u8\"", "\"dtype\":\"u9\"", "'u9'"},
        {"\"dtype\":\"f32\"", "\"dtype\":\"float32\"", "'float32'"},
        {"\"label\":\"pack\",", "", "label"},
        {"\"label\":\"pack\"", "\"label\":\"pack\",\"stream\":1", "stream"},
        {"\"kernels\":3", "\"kernels\":-3", "kernels"},
        {"\"kernels\":3", "\"kernels\":3,\"backward\":[]", "backward"},
        {"urza.plan/2", "urza.plan/3", "urza.plan/2"},
        {"\"buffers\":[", "\"buffers\":[7,", "buffer 0"},
        {"}]}", "}]", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan plan;
        struct strbuf text = replace(&f->arena, plan_text, rows[i].from, rows[i].to);
        bool ok = parse(f, text.data, &plan);
        must_fail(ok, &f->err, ERR_PACKAGE, rows[i].text);
    }
    struct plan plan;
    must_fail(parse(f, "[]", &plan), &f->err, ERR_PACKAGE, "object");
    must_fail(parse(f, "", &plan), &f->err, ERR_PACKAGE, "");
}

static void limits(void **state)
{
    struct fixture *f = *state;
    struct strbuf many;
    strbuf_init(&many, &f->arena);
    strbuf_puts(&many, "\"args\":[4,0,3");
    for (int i = 3; i < LIMIT_KERNEL_BUFFERS; i++)
        strbuf_puts(&many, ",3");
    struct strbuf most = many;
    strbuf_puts(&most, "]");
    struct plan plan;
    must(parse(f, replace(&f->arena, plan_text, "\"args\":[4,0,3]", most.data).data, &plan),
         &f->err);
    strbuf_puts(&many, ",3]");
    must_fail(parse(f, replace(&f->arena, plan_text, "\"args\":[4,0,3]", many.data).data, &plan),
              &f->err, ERR_LIMIT, "arguments");

    struct strbuf buffers;
    strbuf_init(&buffers, &f->arena);
    for (int i = 0; i < LIMIT_NODES; i++)
        strbuf_puts(&buffers,
                    "{\"dtype\":\"u8\",\"elements\":\"1\",\"kind\":\"temp\",\"value\":1},");
    struct strbuf text;
    strbuf_init(&text, &f->arena);
    strbuf_printf(&text, "{\"buffers\":[%s", buffers.data);
    strbuf_puts(&text, plan_text + strlen("{\"buffers\":["));
    must_fail(parse(f, text.data, &plan), &f->err, ERR_LIMIT, "buffers");
}

/* The plan with nodes at its last launch: as many of that name, and `more` if it is not NULL. */
static struct strbuf with_nodes(struct fixture *f, int count, const char *name, const char *more)
{
    struct strbuf nodes;
    strbuf_init(&nodes, &f->arena);
    strbuf_puts(&nodes, "\"label\":\"pack\",");
    if (more)
        strbuf_printf(&nodes, "\"more_nodes\":%s,", more);
    strbuf_puts(&nodes, "\"nodes\":[");
    for (int i = 0; i < count; i++)
        strbuf_printf(&nodes, "%s\"%s\"", i > 0 ? "," : "", name);
    strbuf_puts(&nodes, "]");
    return replace(&f->arena, plan_text, "\"label\":\"pack\"", nodes.data);
}

/* Bounded, because a package may come from anywhere. */
static void nodes_of_launches(void **state)
{
    struct fixture *f = *state;
    struct plan plan;
    struct strbuf out, text = with_nodes(f, LAUNCH_NODES, "q\\n", "4294967295");
    char name[LIMIT_NAME + 2];
    must(parse(f, text.data, &plan), &f->err);
    const struct plan_launch *launch = &plan.prepare.items[0];
    assert_int_equal(plan.forward.items[0].node_count, 0);
    assert_int_equal(launch->node_count, LAUNCH_NODES);
    assert_int_equal(launch->more_nodes, UINT32_MAX);
    assert_string_equal(launch->nodes[LAUNCH_NODES - 1], "q\n");
    strbuf_init(&out, &f->arena);
    plan_print(&plan, &out);
    assert_string_equal(out.data, text.data);
    text = with_nodes(f, 2, "q\\n", NULL);
    must(parse(f, text.data, &plan), &f->err);
    strbuf_init(&out, &f->arena);
    plan_describe(&plan, &out);
    assert_non_null(strstr(out.data, "scratch 0 nodes \"q\\n\", \"q\\n\"\n"));

    static const char *const bad[][2] = {
        {"\"nodes\":[]", "nodes"},
        {"\"nodes\":\"a\"", "nodes"},
        {"\"nodes\":[\"a\",7]", "node 1"},
        {"\"nodes\":[\"\"]", "node 0"},
        {"\"more_nodes\":1", "nodes"},
        {"\"more_nodes\":1,\"nodes\":[\"a\"]", "more_nodes"},
        {"\"more_nodes\":-1,\"nodes\":[\"a\"]", "more_nodes"},
        {"\"more_nodes\":4294967296,\"nodes\":[\"a\"]", "more_nodes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char label[64];
        snprintf(label, sizeof label, "\"label\":\"pack\",%s", bad[i][0]);
        text = replace(&f->arena, plan_text, "\"label\":\"pack\"", label);
        must_fail(parse(f, text.data, &plan), &f->err, ERR_PACKAGE, bad[i][1]);
    }
    text = with_nodes(f, LAUNCH_NODES + 1, "q", NULL);
    must_fail(parse(f, text.data, &plan), &f->err, ERR_LIMIT, "nodes");
    text = with_nodes(f, LAUNCH_NODES, "q", "0");
    must_fail(parse(f, text.data, &plan), &f->err, ERR_PACKAGE, "nodes");
    memset(name, 'n', sizeof name);
    name[LIMIT_NAME + 1] = '\0';
    text = with_nodes(f, 1, name, NULL);
    must_fail(parse(f, text.data, &plan), &f->err, ERR_PACKAGE, "node 0");
    text = with_nodes(f, 1, name + 1, NULL);
    must(parse(f, text.data, &plan), &f->err);
}

static void refuses_what_the_graph_is_not(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *from, *to, *text;
    } rows[] = {
        {"\"index\":0,\"kind\":\"input\"", "\"index\":1,\"kind\":\"input\"", "no input 1"},
        {"\"index\":0,\"kind\":\"param\"", "\"index\":1,\"kind\":\"param\"", "no param 1"},
        {"\"index\":0,\"kind\":\"output\"", "\"index\":1,\"kind\":\"output\"", "no output 1"},
        {"\"elements\":\"2*B\"", "\"elements\":\"3*B\"", "input 0"},
        {"\"elements\":\"6\"", "\"elements\":\"7\"", "param 0"},
        {"\"dtype\":\"f32\"", "\"dtype\":\"i32\"", "input 0"},
        {"\"elements\":\"3*B\",\"kind\":\"temp\"",
         "\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\"", "output 0"},
        {"\"dtype\":\"bf16\",\"elements\":\"3*B\",\"kind\":\"temp\"",
         "\"dtype\":\"f32\",\"elements\":\"3*B\",\"index\":0,\"kind\":\"output\"", "two buffers"},
        {"\"args\":[1,4]", "\"args\":[4,4]", "no launch writes output 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan plan;
        struct strbuf text = replace(&f->arena, plan_text, rows[i].from, rows[i].to);
        must(parse(f, text.data, &plan), &f->err);
        bool ok = plan_check_graph(&plan, &f->graph, &f->err);
        must_fail(ok, &f->err, ERR_PACKAGE, rows[i].text);
    }
}

/* What the plan shows of a claim that an output may be written over an input. */
static void claims_of_updates(void **state)
{
    static const char graph[] = "graph \"g\"\n"
                                "%1 = input \"x\" : f32[4]\n"
                                "%2 = neg %1 : f32[4]\n"
                                "%3 = exp %1 : f32[4]\n"
                                "output \"y\" %2\noutput \"z\" %3\n"
                                "update \"x\" by \"y\"\n";
    static const char text[] =
        "{\"buffers\":["
        "{\"dtype\":\"f32\",\"elements\":\"4\",\"index\":0,\"kind\":\"input\",\"value\":1},"
        "{\"dtype\":\"f32\",\"elements\":\"4\",\"in_place\":true,\"index\":0,\"kind\":\"output\","
        "\"value\":2},"
        "{\"dtype\":\"f32\",\"elements\":\"4\",\"index\":1,\"kind\":\"output\",\"value\":3}],"
        "\"format\":\"urza.plan/2\",\"forward\":["
        "{\"args\":[2,0],\"edges\":[],\"extent\":\"1\",\"kernel\":1,\"label\":\"exp\","
        "\"scratch_bytes\":\"0\",\"work\":\"4\",\"written\":1},"
        "{\"args\":[1,0],\"edges\":[],\"extent\":\"1\",\"kernel\":0,\"label\":\"neg\","
        "\"scratch_bytes\":\"0\",\"work\":\"4\",\"written\":1}],"
        "\"kernels\":2,\"prepare\":[]}";
    struct fixture *f = *state;
    struct plan plan;
    must(graph_parse(&f->graph, &f->arena, graph, strlen(graph), &f->err), &f->err);
    must(parse(f, text, &plan), &f->err);
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    plan_print(&plan, &out);
    assert_string_equal(out.data, text);
    must(plan_check_graph(&plan, &f->graph, &f->err), &f->err);
    /* with the launches the other way round, the second reads what the first wrote over */
    struct strbuf first = replace(&f->arena, text, "[2,0]", "[9,0]");
    struct strbuf second = replace(&f->arena, first.data, "[1,0]", "[2,0]");
    struct strbuf swapped = replace(&f->arena, second.data, "[9,0]", "[1,0]");
    must(parse(f, swapped.data, &plan), &f->err);
    must_fail(plan_check_graph(&plan, &f->graph, &f->err), &f->err, ERR_PACKAGE,
              "output 0 cannot be written in place");
    /* the other output updates nothing */
    struct strbuf none = replace(&f->arena, text, "\"index\":1,\"kind\":\"output\"",
                                 "\"in_place\":true,\"index\":1,\"kind\":\"output\"");
    must(parse(f, none.data, &plan), &f->err);
    must_fail(plan_check_graph(&plan, &f->graph, &f->err), &f->err, ERR_PACKAGE,
              "output 1 cannot be written in place");
    struct strbuf input = replace(&f->arena, text, "\"index\":0,\"kind\":\"input\"",
                                  "\"in_place\":true,\"index\":0,\"kind\":\"input\"");
    must_fail(parse(f, input.data, &plan), &f->err, ERR_PACKAGE, "in_place");
}

/* The plan with these entries in the place where they are printed. */
static struct strbuf with_entries(struct fixture *f, const char *entries)
{
    struct strbuf both;
    strbuf_init(&both, &f->arena);
    strbuf_printf(&both, "\"entries\":%s,\"format\"", entries);
    return replace(&f->arena, plan_text, "\"format\"", both.data);
}

#define ENTRY(count, name) "{\"count\":" #count ",\"name\":\"" name "\"}"
#define NONE_TO_7                                                                      \
    ENTRY(0, "1")                                                                      \
    "," ENTRY(0, "2") "," ENTRY(0, "3") "," ENTRY(0, "4") "," ENTRY(0, "5") "," ENTRY( \
        0, "6") "," ENTRY(0, "7") ","

static void entries(void **state)
{
    struct fixture *f = *state;
    static const char *const good[] = {
        "[" ENTRY(2, "forward") "]",
        "[" ENTRY(1, "forward_train") "," ENTRY(1, "backward") "]",
        "[" ENTRY(0, "none") "," ENTRY(2, "a \\\"b\\\"") "," ENTRY(0, "last") "]",
        "[" NONE_TO_7 ENTRY(2, "8") "]",
    };
    struct plan plan;
    struct plan_entry found;
    must(parse(f, plan_text, &plan), &f->err);
    assert_true(plan_find_entry(&plan, "forward", &found));
    assert_int_equal(found.first, 0);
    assert_int_equal(found.count, 2);
    assert_false(plan_find_entry(&plan, "backward", &found));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct strbuf out, text = with_entries(f, good[i]);
        must(parse(f, text.data, &plan), &f->err);
        strbuf_init(&out, &f->arena);
        plan_print(&plan, &out);
        assert_string_equal(out.data, text.data);
        assert_int_equal(plan_find_entry(&plan, "forward", &found), i == 0);
    }
    must(parse(f, with_entries(f, good[1]).data, &plan), &f->err);
    assert_true(plan_find_entry(&plan, "backward", &found));
    assert_int_equal(found.first, 1);
    assert_int_equal(found.count, 1);
    assert_true(plan_find_entry(&plan, "forward_train", &found));
    assert_int_equal(found.first, 0);
}

static void refuses_entries(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[][2] = {
        {"[]", "0 entries"},
        {"{}", "entries"},
        {"[7]", "entry 0"},
        {"[" ENTRY(1, "a") "]", "1 launches belong to no entry"},
        {"[" ENTRY(3, "a") "]", "entry 0"},
        {"[" ENTRY(2, "a") "," ENTRY(1, "b") "]", "entry 1"},
        {"[" ENTRY(4294967295, "a") "," ENTRY(3, "b") "]", "more launches"},
        {"[" ENTRY(4294967296, "a") "]", "entry 0"},
        {"[" ENTRY(-1, "a") "," ENTRY(3, "b") "]", "entry 0"},
        {"[" ENTRY(1, "a") "," ENTRY(1, "a") "]", "one name"},
        {"[" ENTRY(2, "") "]", "entry 0 has no name"},
        {"[{\"count\":2}]", "name"},
        {"[{\"name\":\"a\"}]", "count"},
        {"[{\"count\":2,\"name\":7}]", "name"},
        {"[{\"count\":2,\"first\":0,\"name\":\"a\"}]", "first"},
        {"[" NONE_TO_7 ENTRY(0, "8") "," ENTRY(2, "9") "]", "9 entries"},
    };
    struct plan plan;
    char name[LIMIT_NAME + 2], text[LIMIT_NAME + 64];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        must_fail(parse(f, with_entries(f, bad[i][0]).data, &plan), &f->err, ERR_PACKAGE,
                  bad[i][1]);
    memset(name, 'n', sizeof name);
    name[LIMIT_NAME + 1] = '\0';
    snprintf(text, sizeof text, "[{\"count\":2,\"name\":\"%s\"}]", name);
    must_fail(parse(f, with_entries(f, text).data, &plan), &f->err, ERR_PACKAGE, "no name of 1");
    snprintf(text, sizeof text, "[{\"count\":2,\"name\":\"%s\"}]", name + 1);
    must(parse(f, with_entries(f, text).data, &plan), &f->err);
}

/* A loop of both launches may not be divided. */
static void entries_hold_loops(void **state)
{
    struct fixture *f = *state;
    static const char one[] = "\"loops\":[{\"count\":1,\"first\":1,\"rows\":[],\"states\":[],"
                              "\"trips\":\"2\"}],\"prepare\"";
    static const char two[] = "\"loops\":[{\"count\":2,\"first\":0,\"rows\":[],\"states\":[],"
                              "\"trips\":\"2\"}],\"prepare\"";
    struct plan plan;
    struct strbuf text = with_entries(f, "[" ENTRY(1, "a") "," ENTRY(1, "b") "]");
    must(parse(f, replace(&f->arena, text.data, "\"prepare\"", one).data, &plan), &f->err);
    must_fail(parse(f, replace(&f->arena, text.data, "\"prepare\"", two).data, &plan), &f->err,
              ERR_PACKAGE, "entry 0 ends within a loop");
    text = with_entries(f, "[" ENTRY(0, "a") "," ENTRY(2, "b") "]");
    must(parse(f, replace(&f->arena, text.data, "\"prepare\"", two).data, &plan), &f->err);
}

/* Launch 1 is a loop whose trips may be made slice by slice. */
static void loops_have_slices(void **state)
{
    struct fixture *f = *state;
    static const char loop[] = "\"kernels\":3,\"loops\":[{\"count\":1,\"first\":1,\"rows\":[],"
                               "\"slices\":\"%s\",\"states\":[],\"trips\":\"2\"}]";
    static const char scratch[] = "\"scratch_bytes\":\"0\",\"work\":\"3*B\"";
    static const char sliced[] = "\"scratch_bytes\":\"0\",\"sliced\":%s,\"work\":\"3*B\"";
    static const struct {
        const char *slices, *sliced, *fault;
    } rows[] = {
        {"B", "true", NULL},
        {"3", "true", NULL},
        {"-1", "true", "number of slices is negative"},
        {"B", "false", "'sliced' is not true"},
        {NULL, "true", "launch 1 is sliced, but its loop is not"},
    };
    struct plan plan;
    char text[256];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, sliced, rows[i].sliced);
        const char *all = replace(&f->arena, plan_text, scratch, text).data;
        snprintf(text, sizeof text, loop, rows[i].slices ? rows[i].slices : "");
        if (rows[i].slices)
            all = replace(&f->arena, all, "\"kernels\":3", text).data;
        if (rows[i].fault) {
            must_fail(parse(f, all, &plan), &f->err, ERR_PACKAGE, rows[i].fault);
            continue;
        }
        must(parse(f, all, &plan), &f->err);
        assert_true(plan.forward.items[1].sliced && !plan.forward.items[0].sliced);
        struct strbuf out;
        strbuf_init(&out, &f->arena);
        plan_print(&plan, &out);
        assert_string_equal(out.data, all);
    }
}

static void describes(void **state)
{
    struct fixture *f = *state;
    struct plan plan;
    must(parse(f, plan_text, &plan), &f->err);
    struct strbuf out;
    strbuf_init(&out, &f->arena);
    plan_describe(&plan, &out);
    assert_string_equal(out.data,
                        "prepare 0: pack kernel 0 (out prepared 3 f32[32], param 0 f32[6]) "
                        "extent 1 work 6 scratch 0\n"
                        "forward 0: linear \"a\" kernel 1 (out temp 4 bf16[3*B], input 0 f32[2*B], "
                        "prepared 3 f32[32]) extent B work 6*B asked 12*B done 14*B scratch 128\n"
                        "forward 1:  kernel 2 (out output 0 f32[3*B], temp 4 bf16[3*B]) "
                        "extent 1 work 3*B scratch 0\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(print_of_parse_is_the_identity),
        TEST(lifetimes),
        TEST(built_by_hand),
        TEST(refuses),
        TEST(limits),
        TEST(nodes_of_launches),
        TEST(refuses_what_the_graph_is_not),
        TEST(claims_of_updates),
        TEST(entries),
        TEST(refuses_entries),
        TEST(entries_hold_loops),
        TEST(loops_have_slices),
        TEST(describes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
