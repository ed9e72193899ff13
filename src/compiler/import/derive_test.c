/* Restricting named dims: the weakest restriction is found, its reason names the node, and it is
 * part of the canonical form; if none is found, the error remains. */
#include "compiler/import/import_test_util.h"

#include "base/json.h"

struct example {
    const char *shapes, *nodes; /* shapes of inputs x and y; the result is "z" */
    const char *dims;           /* the expected dims: "H 2..65536 /1" for each, in order */
    const char *why; /* part of the reason of the first restricted dim; NULL: no dim has one */
};

#define POOL(id, in)                                              \
    "{\"id\": \"" id "\", \"op\": \"max_pool2d\", \"in\": [\"" in \
    "\"], \"attrs\": {\"kernel_size\": 2}}"
#define HALF(id, in)                                              \
    "{\"id\": \"" id "\", \"op\": \"avg_pool2d\", \"in\": [\"" in \
    "\"], \"attrs\": {\"kernel_size\": 1, \"stride\": 2}}"
#define DOUBLE(id, in)                                             \
    "{\"id\": \"" id "\", \"op\": \"interpolate\", \"in\": [\"" in \
    "\"], \"attrs\": {\"scale_factor\": 2}}"
#define ADD(id, a, b) "{\"id\": \"" id "\", \"op\": \"add\", \"in\": [\"" a "\", \"" b "\"]}"

static const struct example examples[] = {
    {"[1, 2, \"H\", \"W\"] [1]", POOL("z", "x"), "H 2..65536 /1; W 2..65536 /1",
     "at least 2: node 'z'"},
    {"[1, 2, \"H\", \"W\"] [1]", POOL("a", "x") "," POOL("b", "a") "," POOL("z", "b"),
     "H 8..65536 /1; W 8..65536 /1", "at least 8: node 'z'"},
    {"[1, 2, \"H\", 8] [1]", HALF("a", "x") "," DOUBLE("b", "a") "," ADD("z", "x", "b"),
     "H 1..65536 /2; W 1..65536 /1", "a multiple of 2: node 'z'"},
    {"[1, 2, \"H\", 8] [1]",
     HALF("a", "x") "," HALF("b", "a") "," HALF("c", "b") "," DOUBLE("d", "c") "," ADD(
         "e", "d", "b") "," DOUBLE("f", "e") "," ADD("g", "f",
                                                     "a") "," DOUBLE("h", "g") "," ADD("z", "h",
                                                                                       "x"),
     "H 1..65536 /8; W 1..65536 /1", "node 'e'"},
    {"[\"H\", 6] [1]",
     "{\"id\": \"z\", \"op\": \"reshape\", \"in\": [\"x\"], \"attrs\": {\"shape\": [-1, 4]}}",
     "H 1..65536 /2; W 1..65536 /1", "a multiple of 2: node 'z'"},
    {"[\"H\"] [\"W\"]",
     "{\"id\": \"a\", \"op\": \"concat\", \"in\": [\"y\", \"y\"], \"attrs\": {\"dim\": 0}}," ADD(
         "z", "x", "a"),
     "W 1..32768 /1", "H = 2*W: node 'z'"},
    {"[\"H\", 4] [512, 4]", ADD("z", "x", "y"), "W 1..65536 /1", NULL},
    {"[\"H\", 4] [\"W\", 4]", ADD("z", "x", "y"), "H 1..65536 /1",
     "W = H: node 'z': add: dims H and W do not broadcast; if one is 1 and repeated: --dim H=1 or "
     "--dim W=1"},
    {"[\"H\", 4] [\"W\"]", ADD("z", "x", "y"), "H 1..65536 /1", NULL},
};

static const char *document(struct arena *arena, const struct example *e)
{
    struct strbuf text;
    const char *cut = strstr(e->shapes, "] [") + 1;
    strbuf_init(&text, arena);
    strbuf_printf(
        &text,
        "{\"format\": \"urza.blueprint/1\", \"dims\": {\"H\": {}, \"W\": {}}, \"inputs\": "
        "[{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": %.*s}, {\"id\": \"y\", "
        "\"dtype\": \"f32\", \"shape\": %s}], \"nodes\": [%s], \"outputs\": [\"z\"]}",
        (int)(cut - e->shapes), e->shapes, cut, e->nodes);
    return text.data;
}

static const char *dims_text(const struct blueprint *b)
{
    struct strbuf text;
    strbuf_init(&text, b->graph.arena);
    for (uint32_t i = 0; i < b->graph.dims.names.count; i++) {
        const struct dim_name *d = &b->graph.dims.names.items[i];
        strbuf_printf(&text, "%s%s %lld..%lld /%lld", i > 0 ? "; " : "", d->name, (long long)d->min,
                      (long long)d->max, (long long)d->multiple_of);
    }
    return text.data;
}

static void test_derived(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct arena arena;
        arena_init(&arena);
        const struct example *e = &examples[i];
        struct blueprint b = must_read(&arena, document(&arena, e));
        assert_string_equal(dims_text(&b), e->dims);
        const char *why = NULL;
        for (uint32_t k = 0; k < b.graph.dims.names.count && !why; k++)
            why = b.graph.dims.names.items[k].why;
        if (e->why && (!why || !strstr(why, e->why)))
            TEST_FAILED("%s\nexpected: %s", why ? why : "no reason", e->why);
        assert_true(b.warnings_bytes > 0 && strstr(b.warnings, "is restricted: "));
        /* The canonical form has the restrictions, so reading it restricts nothing. */
        struct blueprint again = must_read(&arena, b.json);
        assert_string_equal(again.json, b.json);
        assert_int_equal(again.warnings_bytes, 0);
        assert_string_equal(graph_text(&again), graph_text(&b));
        arena_release(&arena);
    }
}

/* The shapes fit at every value that is left, and at no value just outside a range. */
static void test_no_value_is_lost(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    for (int stride = 1; stride < 6; stride++)
        for (int kernel = 1; kernel < 9; kernel++) {
            struct strbuf text;
            strbuf_init(&text, &arena);
            strbuf_printf(
                &text,
                "{\"format\": \"urza.blueprint/1\", \"dims\": {\"H\": {}}, \"inputs\": "
                "[{\"id\": \"x\", \"dtype\": \"f32\", \"shape\": [1, 1, \"H\", 9]}], "
                "\"nodes\": [{\"id\": \"a\", \"op\": \"max_pool2d\", \"in\": [\"x\"], "
                "\"attrs\": {\"kernel_size\": %d, \"stride\": %d}}, {\"id\": \"z\", \"op\": "
                "\"max_pool2d\", \"in\": [\"a\"], \"attrs\": {\"kernel_size\": [%d, 1], "
                "\"stride\": 1}}], \"outputs\": [\"z\"]}",
                kernel, stride, kernel);
            struct blueprint b = must_read(&arena, text.data);
            /* (H - kernel)/stride + 1 ≥ kernel */
            assert_int_equal(b.graph.dims.names.items[0].min, kernel + stride * (kernel - 1));
        }
    arena_release(&arena);
}

/* The declared range of a dim also restricts the expression that replaces it. */
static void test_range_of_an_equal_dim(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    struct blueprint b = must_read(
        &arena, "{\"format\": \"urza.blueprint/1\", \"dims\": {\"H\": {\"min\": 3, \"max\": 9}, "
                "\"V\": {\"multiple_of\": 5}, \"W\": {\"multiple_of\": 3}, \"U\": {}}, "
                "\"inputs\": [{\"id\": "
                "\"x\", \"dtype\": \"f32\", \"shape\": [\"H\"]}, {\"id\": \"y\", \"dtype\": "
                "\"f32\", \"shape\": [\"V\"]}, {\"id\": \"w\", \"dtype\": \"f32\", \"shape\": "
                "[\"W\"]}, {\"id\": \"u\", \"dtype\": \"f32\", \"shape\": [\"U\"]}], \"nodes\": "
                "[{\"id\": \"a\", \"op\": \"concat\", \"in\": [\"u\", \"u\"], \"attrs\": "
                "{\"dim\": 0}}, {\"id\": \"b\", \"op\": \"add\", \"in\": [\"x\", \"a\"]}, {\"id\": "
                "\"c\", \"op\": \"add\", \"in\": [\"y\", \"w\"]}], \"outputs\": [\"b\", \"c\"]}");
    assert_string_equal(dims_text(&b), "U 2..4 /1; V 1..65536 /15");
    arena_release(&arena);
}

static void test_what_cannot_be_derived(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    const struct example never = {"[1, 2, 1, 8] [1]", POOL("z", "x"), "", ""};
    must_refuse(document(&arena, &never), ERR_SHAPE, "node 'z'", "window 0 reaches over");
    const struct example open = {"[\"H\", \"W\"] [1]",
                                 "{\"id\": \"z\", \"op\": \"reshape\", \"in\": [\"x\"], "
                                 "\"attrs\": {\"shape\": [-1, 8]}}",
                                 "", ""};
    must_refuse(document(&arena, &open), ERR_SHAPE, "node 'z'", "expected a multiple of 8");
    const struct example ranks = {"[\"H\", 3] [\"H\", 4]", ADD("z", "x", "y"), "", ""};
    must_refuse(document(&arena, &ranks), ERR_SHAPE, "node 'z'", "do not broadcast");
    arena_release(&arena);
}

static void test_given(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    struct dim_name *dims;
    uint32_t count;
    arena_init(&arena);
    assert_true(import_dims_parse("N=32\nbatch size=1..512\nH=32*\nW=10..99/7", &arena, &dims,
                                  &count, &err));
    assert_int_equal(count, 4);
    assert_int_equal(dims[0].min, 32);
    assert_int_equal(dims[0].max, 32);
    assert_string_equal(dims[1].name, "batch size");
    assert_int_equal(dims[1].max, 512);
    assert_int_equal(dims[2].min, 32);
    assert_int_equal(dims[2].multiple_of, 32);
    assert_int_equal(dims[3].multiple_of, 7);
    static const char *const bad[] = {"N",        "N=",    "=3",      "N=a",
                                      "N=3..2",   "N=1..", "N=0*",    "N=3*4",
                                      "N=1..9/0", "N=-1",  "N=1..9/", "N=99999999999999999999",
                                      "N=1\nN=2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(import_dims_parse(bad[i], &arena, &dims, &count, &err));
        assert_int_equal(err.code, ERR_USAGE);
    }
    arena_release(&arena);
}

/* Of dims that may be repeated only those are named that the caller can make 1, and the cure
 * works. */
static void test_dims_that_may_be_one(void **state)
{
    (void)state;
    static const struct {
        struct example e;
        const char *hint; /* NULL: none */
    } cases[] = {
        {{"[\"H\", 4] [\"W\", 4]", ADD("z", "x", "y"), "", ""}, "--dim H=1 or --dim W=1"},
        {{"[\"H\", 4] [6, 4]", ADD("z", "x", "y"), "", ""}, NULL},
        {{"[\"H\", \"W\"] [\"H\", \"H\"]",
          "{\"id\": \"z\", \"op\": \"matmul\", \"in\": [\"x\", \"y\"]}", "", ""},
         NULL}, /* summed dims are never repeated */
        {{"[\"H\", 2, 4] [\"W\", 4, 3]",
          "{\"id\": \"z\", \"op\": \"matmul\", \"in\": [\"x\", \"y\"]}", "", ""},
         "--dim H=1 or --dim W=1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        arena_init(&arena);
        const struct dim_name one = {"W", 1, 1, 1, 0, NULL};
        const char *text = document(&arena, &cases[i].e);
        struct blueprint b = must_read(&arena, text);
        if (cases[i].hint) {
            assert_non_null(strstr(b.warnings, cases[i].hint));
            b = must_read_with(&arena, text,
                               &(struct import_options){.dims = &one, .dim_count = 1});
            assert_int_equal(b.warnings_bytes, 0);
            assert_int_equal(b.graph.dims.names.items[0].max, 65536);
        } else {
            assert_null(strstr(b.warnings, "--dim"));
        }
        arena_release(&arena);
    }
}

/* Ranges that the caller gives apply to a document's dims; an unknown name is an error. */
static void test_given_are_used(void **state)
{
    (void)state;
    struct arena arena;
    struct error err = {0};
    struct blueprint b;
    arena_init(&arena);
    const char *text = document(&arena, &examples[0]);
    const struct dim_name dims[] = {{"H", 32, 64, 32, 0, NULL}, {"V", 1, 1, 1, 0, NULL}};
    struct import_options options = {.dims = dims, .dim_count = 1};
    b = must_read_with(&arena, text, &options);
    assert_string_equal(dims_text(&b), "H 32..64 /32; W 2..65536 /1");
    options.dim_count = 2;
    assert_false(blueprint_read(text, strlen(text), &options, &arena, &b, &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "'V' is no dim of this model, which has 'H', 'W'"));
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derived),
        cmocka_unit_test(test_no_value_is_lost),
        cmocka_unit_test(test_range_of_an_equal_dim),
        cmocka_unit_test(test_what_cannot_be_derived),
        cmocka_unit_test(test_dims_that_may_be_one),
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_given_are_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
