#include "package/test_util.h"

struct fixture {
    struct arena arena;
    struct dim_table dims;
    struct error err;
};

/* Launch 0 has kernels of its own in both specialisations, launch 1 in the second. */
static const char plan_text[] =
    "{\"buffers\":["
    "{\"dtype\":\"f32\",\"elements\":\"S*B\",\"index\":0,\"kind\":\"input\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"S*B\",\"index\":0,\"kind\":\"output\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"S*B\",\"kind\":\"temp\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"6\",\"index\":0,\"kind\":\"param\",\"value\":1},"
    "{\"dtype\":\"f32\",\"elements\":\"32\",\"kind\":\"prepared\",\"value\":1}],"
    "\"format\":\"urza.plan/2\",\"forward\":["
    "{\"args\":[2,0,4],\"edges\":[],\"extent\":\"B\",\"kernel\":1,\"label\":\"a\","
    "\"scratch_bytes\":\"128\",\"variants\":["
    "{\"edges\":[],\"extent\":\"7\",\"kernel\":3,\"scratch_bytes\":\"64\",\"special\":0,"
    "\"work\":\"70\"},"
    "{\"edges\":[{\"at\":4,\"size\":\"S\"}],\"extent\":\"S\",\"kernel\":4,\"scratch_bytes\":\"0\","
    "\"special\":1,\"work\":\"2*S\"}],\"work\":\"6*B\",\"written\":1},"
    "{\"args\":[1,2],\"edges\":[],\"extent\":\"1\",\"kernel\":2,\"label\":\"b\","
    "\"scratch_bytes\":\"0\",\"variants\":["
    "{\"edges\":[],\"extent\":\"2\",\"kernel\":5,\"scratch_bytes\":\"0\",\"special\":1,"
    "\"work\":\"3\"}],\"work\":\"3*B\",\"written\":1}],"
    "\"kernels\":6,\"prepare\":["
    "{\"args\":[4,3],\"edges\":[],\"extent\":\"1\",\"kernel\":0,\"label\":\"pack\","
    "\"scratch_bytes\":\"0\",\"work\":\"6\",\"written\":1}],"
    "\"specials\":[{\"B\":2,\"S\":128},{\"B\":2}]}";

static int setup(void **state)
{
    static const struct dim_name names[] = {{"S", 2, 2048, 2, 0, NULL}, {"B", 1, 64, 1, 0, NULL}};
    static struct fixture f;
    uint32_t index;
    f = (struct fixture){0};
    arena_init(&f.arena);
    dim_table_init(&f.dims, &f.arena);
    for (int i = 0; i < 2; i++)
        must(dim_declare(&f.dims, &names[i], &index, &f.err), &f.err);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    arena_release(&((struct fixture *)*state)->arena);
    return 0;
}

static bool parse(struct fixture *f, const char *text, struct plan *out)
{
    return plan_parse(out, &f->arena, &f->dims, text, strlen(text), &f->err);
}

static void print_of_parse_is_the_identity(void **state)
{
    struct fixture *f = *state;
    struct plan plan;
    struct strbuf out;
    must(parse(f, plan_text, &plan), &f->err);
    strbuf_init(&out, &f->arena);
    plan_print(&plan, &out);
    assert_string_equal(out.data, plan_text);
    strbuf_init(&out, &f->arena);
    plan_describe(&plan, &out);
    assert_non_null(
        strstr(out.data, "scratch 128\n  at S=128 B=2: kernel 3 extent 7 work 70 scratch 64\n"
                         "  at B=2: kernel 4 extent S work 2*S scratch 0\nforward 1: b kernel 2"));
}

/* Sizes are S, B: the order in which the dims were declared. */
static void the_first_that_fits_is_taken(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t dims[2];
        uint32_t special, kernels[2];
    } rows[] = {
        {{128, 2}, 0, {3, 2}},         {{126, 2}, 1, {4, 5}},         {{2048, 2}, 1, {4, 5}},
        {{128, 3}, PLAN_NONE, {1, 2}}, {{2, 128}, PLAN_NONE, {1, 2}},
    };
    struct plan plan;
    must(parse(f, plan_text, &plan), &f->err);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t special = plan_special_at(&plan, rows[i].dims);
        assert_int_equal(special, rows[i].special);
        for (uint32_t k = 0; k < 2; k++) {
            const struct plan_launch *launch = &plan.forward.items[k];
            assert_int_equal(plan_code_of(launch, special)->kernel, rows[i].kernels[k]);
            assert_ptr_equal(plan_code_at(&plan, launch, rows[i].dims),
                             plan_code_of(launch, special));
        }
    }
    assert_int_equal(plan_special_count(&plan, 0), 1);
    assert_int_equal(plan_special_count(&plan, 1), 2);
}

static void refuses(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *from, *to, *text;
    } rows[] = {
        {"{\"B\":2}", "{}", "names no dim"},
        {"{\"B\":2}", "{\"C\":2}", "no dim is called 'C'"},
        {"{\"B\":2}", "{\"B\":0}", "'B' is never 0"},
        {"{\"B\":2}", "{\"B\":65}", "'B' is never 65"},
        {"{\"B\":2}", "{\"S\":7}", "'S' is never 7"},
        {"{\"B\":2}", "{\"B\":-1}", "'B' is no size"},
        {"{\"B\":2}", "{\"B\":-9223372036854775808}", "'B' is no size"},
        {"{\"B\":2}", "{\"B\":\"2\"}", "'B' is no size"},
        {"{\"B\":2}", "{\"B\":2.5}", "'B' is no size"},
        {"{\"B\":2}", "[2]", "is no object"},
        {"{\"B\":2}", "{\"B\":2,\"S\":128}", "specialisation 0 has all of its sizes"},
        {"[{\"B\":2,\"S\":128},{\"B\":2}]", "[{\"B\":2},{\"B\":2,\"S\":128}]",
         "specialisation 0 has all of its sizes"},
        {"[{\"B\":2,\"S\":128},{\"B\":2}]", "[{\"B\":2}]", "specialisation 1 of 1"},
        {"[{\"B\":2,\"S\":128},{\"B\":2}]", "[]", "0 specialisations"},
        {"[{\"B\":2,\"S\":128},{\"B\":2}]", "{}", "specials"},
        {"\"special\":0", "\"special\":2", "specialisation 2 of 2"},
        {"\"special\":0", "\"special\":1", "does not follow"},
        {"\"special\":0", "\"special\":-1", "out of range"},
        {"\"special\":0,", "", "special"},
        {"\"special\":0", "\"special\":0,\"when\":1", "when"},
        {"\"kernel\":3", "\"kernel\":6", "kernel 6 of 6"},
        {"\"extent\":\"7\"", "\"extent\":\"-7\"", "extent is negative"},
        {"\"extent\":\"7\"", "\"extent\":\"C\"", "extent"},
        {"\"scratch_bytes\":\"64\"", "\"scratch_bytes\":\"-64\"", "scratch_bytes is negative"},
        {"\"work\":\"70\"", "\"work\":\"-70\"", "work is negative"},
        {"{\"at\":4,\"size\":\"S\"}", "{\"at\":0,\"size\":\"S\"}", "edge 0 is not above 0"},
        {"\"label\":\"pack\",\"scratch_bytes\":\"0\"",
         "\"label\":\"pack\",\"scratch_bytes\":\"0\",\"variants\":[{\"edges\":[],\"extent\":\"1\","
         "\"kernel\":3,\"scratch_bytes\":\"0\",\"special\":0,\"work\":\"1\"}]",
         "prepare launch has variants"},
        {"\"label\":\"pack\",\"scratch_bytes\":\"0\"",
         "\"label\":\"pack\",\"scratch_bytes\":\"0\",\"variants\":[]", "0 variants"},
        {"\"label\":\"pack\",\"scratch_bytes\":\"0\"",
         "\"label\":\"pack\",\"scratch_bytes\":\"0\",\"variants\":7", "variants"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct plan plan;
        struct strbuf text = replace(&f->arena, plan_text, rows[i].from, rows[i].to);
        must_fail(parse(f, text.data, &plan), &f->err, ERR_PACKAGE, rows[i].text);
    }
    struct plan plan; /* one that has some sizes of another covers nothing */
    struct strbuf text = replace(&f->arena, plan_text, "{\"B\":2,\"S\":128}", "{\"S\":128}");
    must(parse(f, text.data, &plan), &f->err);
}

static void limits(void **state)
{
    struct fixture *f = *state;
    for (int count = LIMIT_SPECIALS; count <= LIMIT_SPECIALS + 1; count++) {
        struct plan plan;
        struct strbuf list;
        strbuf_init(&list, &f->arena);
        strbuf_puts(&list, "[{\"B\":2,\"S\":128},{\"B\":2}");
        for (int i = 2; i < count; i++)
            strbuf_printf(&list, ",{\"B\":%d}", i + 1);
        strbuf_puts(&list, "]");
        struct strbuf text =
            replace(&f->arena, plan_text, "[{\"B\":2,\"S\":128},{\"B\":2}]", list.data);
        if (count <= LIMIT_SPECIALS)
            must(parse(f, text.data, &plan), &f->err);
        else
            must_fail(parse(f, text.data, &plan), &f->err, ERR_PACKAGE, "17 specialisations");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(print_of_parse_is_the_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_that_fits_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
