/* What a graft says of itself: what is read is what was written; anything else is refused. */
#include "package/graft_spec.h"

#include "base/json.h"
#include "base/strbuf.h"
#include "package/test_util.h"

static bool parse(const char *text, struct arena *arena, struct graft_spec *out, struct error *err)
{
    json_t *object = json_read(text, strlen(text), err);
    assert_non_null(object);
    bool ok = graft_spec_parse(object, arena, out, err);
    json_decref(object);
    return ok;
}

static void round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"blend\":\"residual\",\"last\":[]}",
        "{\"blend\":\"lerp\",\"last\":[\"w\"]}",
        "{\"blend\":\"multiply\",\"last\":[\"fc2.weight\",\"fc2.bias\"]}",
        "{\"blend\":\"gate\",\"last\":[]}",
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct graft_spec spec;
        struct error err = {0};
        struct strbuf out;
        must(parse(texts[i], &arena, &spec, &err), &err);
        assert_int_equal(spec.blend, i);
        strbuf_init(&out, &arena);
        json_t *object = graft_spec_json(&spec);
        json_write_canonical(object, &out);
        json_decref(object);
        assert_string_equal(out.data, texts[i]);
    }
    arena_release(&arena);
}

static void refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[]",
        "{\"last\":[]}",
        "{\"blend\":\"residual\"}",
        "{\"blend\":\"sum\",\"last\":[]}",
        "{\"blend\":1,\"last\":[]}",
        "{\"blend\":\"lerp\",\"last\":\"w\"}",
        "{\"blend\":\"lerp\",\"last\":[1]}",
        "{\"blend\":\"lerp\",\"last\":[],\"more\":1}",
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct graft_spec spec;
        struct error err = {0};
        if (parse(texts[i], &arena, &spec, &err))
            TEST_FAILED("accepted: %s", texts[i]);
        assert_int_equal(err.code, ERR_JSON);
    }
    arena_release(&arena);
}

#define INPUTS "%1 = input \"x\" : f32[B, 4]\n%2 = input \"h\" : f32[B, 4]\n"
#define SEED_1(type) "%1 = input \"seed\" : " type "\n%2 = input \"x\" : f32[B, 4]\n"
#define SEED_2(type) SEED_1(type) "%3 = input \"more\" : " type "\n"
#define TAIL_1                                                      \
    "%3 = input \"h\" : f32[B, 4]\n%4 = input \"alpha\" : f32[B]\n" \
    "%5 = add %2, %3 : f32[B, 4]\noutput \"y\" %5\n"
#define TAIL_2                                                      \
    "%4 = input \"h\" : f32[B, 4]\n%5 = input \"alpha\" : f32[B]\n" \
    "%6 = add %2, %4 : f32[B, 4]\noutput \"y\" %6\n"
#define SEEDS(type, count) SEED_##count(type) TAIL_##count
#define REST "%4 = add %1, %2 : f32[B, 4]\noutput \"y\" %4\n"

/* A package that says it is a graft must have a graft's block. */
static void belongs_to_its_block(void **state)
{
    (void)state;
    static const struct {
        const char *graph;
        bool is_graft, ok;
    } rows[] = {
        {INPUTS "%3 = input \"alpha\" : f32[B]\n" REST, true, true},
        {INPUTS "%3 = input \"a\" : f32[B]\n" REST, false, true},
        {INPUTS "%3 = input \"alpha\" : f64[B]\n" REST, false, false},
        {INPUTS "%3 = input \"alpha\" : f32[4]\n" REST, false, false},
        {"%1 = input \"x\" : i32[B, 4]\n%2 = input \"h\" : f32[B, 4]\n"
         "%3 = input \"alpha\" : f32[B]\n%4 = neg %2 : f32[B, 4]\noutput \"y\" %4\n",
         false, false},
        {INPUTS "%3 = input \"alpha\" : f32[B]\n%4 = neg %3 : f32[B]\noutput \"y\" %4\n", false,
         false},
        {SEEDS("i64[]", 1), true, true},
        {SEEDS("i64[]", 2), false, false},
        {SEEDS("i32[]", 1), false, false},
        {SEEDS("u8[]", 1), false, false},
        {SEEDS("i64[B]", 1), false, false},
    };
    static const char json[] = "{\"graft\": {\"blend\": \"lerp\", \"last\": []}}";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena arena;
        struct strbuf text;
        struct error err = {0};
        struct package_contents contents = {.blueprint_json = json,
                                            .blueprint_bytes = sizeof json - 1};
        const struct graft_spec *spec;
        arena_init(&arena);
        strbuf_init(&text, &arena);
        strbuf_printf(&text, "graph \"t\"\ndim B 1..8 multiple 1\n%s", rows[i].graph);
        must(graph_parse(&contents.graph, &arena, text.data, text.size_bytes, &err), &err);
        bool ok = graft_spec_of(&contents, &arena, &spec, &err);
        if (ok != rows[i].ok || (ok && (spec != NULL) != rows[i].is_graft))
            TEST_FAILED("row %zu: %d", i, ok);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(refused),
                                       cmocka_unit_test(belongs_to_its_block)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
