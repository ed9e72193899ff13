/* Printing and parsing are inverse on random graphs; places of errors; damaged text is refused or
 * parsed, without memory errors. The random graphs also go through the verifier and
 * graph_copy_live. */
#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct dice {
    uint64_t key, counter;
};

static uint32_t roll(struct dice *dice, uint32_t sides)
{
    return rng_u32(dice->key, dice->counter++) % sides;
}

static dim_id random_dim(struct dice *dice, struct graph *graph)
{
    struct dim_table *dims = &graph->dims;
    dim_id name = dim_named(dims, roll(dice, dims->names.count));
    switch (roll(dice, 6)) {
    case 0: return name;
    case 1: return dim_mul(dims, name, dim_named(dims, roll(dice, dims->names.count)));
    case 2: return dim_floordiv(dims, name, dim_const(dims, 2 + roll(dice, 3)));
    case 3: return dim_max(dims, name, dim_const(dims, roll(dice, 9)));
    default: return dim_const(dims, roll(dice, 4));
    }
}

static struct attrs random_attrs(struct dice *dice, struct graph *graph, const struct node *like)
{
    static const uint8_t data[32] = {1, 0, 1, 1};
    static const double values[] = {0, -0.0, 0.1, -1e-300, 1e300, NAN, INFINITY, -INFINITY, 65504};
    struct attrs attrs = {
        .rank = roll(dice, 2) ? like->rank : (uint8_t)roll(dice, 4),
        .dtype = (uint8_t)(1 + roll(dice, DTYPE_COUNT - 1)),
        .value = values[roll(dice, sizeof values / sizeof *values)],
        .integer = (int64_t)roll(dice, UINT32_MAX) - INT32_MAX,
        .data = data,
        .data_bytes = roll(dice, 17),
        .axis = (int32_t)roll(dice, 3),
        .axis_count = roll(dice, 2) ? like->rank : (uint8_t)roll(dice, 3),
        .exclusive = roll(dice, 2),
        .reverse = roll(dice, 2),
        .batch = (uint8_t)roll(dice, 2),
        .contract = (uint8_t)roll(dice, 3),
        .window_count = (uint8_t)roll(dice, 3),
        .groups = 1,
        .mode = (uint8_t)(1 + roll(dice, 4)),
    };
    bool keep = roll(dice, 2);
    for (uint32_t i = 0; i < LIMIT_RANK; i++) {
        attrs.shape[i] = keep && i < like->rank ? like->shape[i] : random_dim(dice, graph);
        attrs.axes[i] = (uint8_t)(roll(dice, 4) ? i : roll(dice, 4));
        attrs.window[i] = (struct window){1 + roll(dice, 2), 1 + roll(dice, 2), roll(dice, 3),
                                          roll(dice, 3),     1 + roll(dice, 2), 1 + roll(dice, 2)};
        attrs.start[i] = dim_const(&graph->dims, roll(dice, 4) == 0);
        attrs.step[i] = 1 + roll(dice, 2);
        attrs.low[i] = random_dim(dice, graph);
        attrs.high[i] = dim_const(&graph->dims, roll(dice, 3));
    }
    return attrs;
}

/* Tries prims on random values until enough of them have fitted. */
static void random_graph(struct dice *dice, struct graph *graph, struct arena *arena)
{
    const struct dim_name names[] = {
        {"B", 1, 64, 1, 32, NULL}, {"S.len", 2, 128, 2, 0, NULL}, {"_z", 0, 8, 1, 0, NULL}};
    struct error err = {0};
    uint32_t index;
    graph_init(graph, arena);
    graph->name = "random \"graph\"\n";
    for (size_t i = 0; i < 3; i++)
        assert_true(dim_declare(&graph->dims, &names[i], &index, &err));
    dim_spell(&graph->dims, 2, "a \"z\" é");
    for (uint32_t i = 0; i < 6; i++) {
        char name[16];
        dim_id shape[4];
        uint32_t rank = roll(dice, 5);
        for (uint32_t d = 0; d < rank; d++)
            shape[d] = random_dim(dice, graph);
        snprintf(name, sizeof name, "s\t%u é", i);
        enum dtype dtype =
            roll(dice, 3) ? DTYPE_F32 : (enum dtype)(1 + roll(dice, DTYPE_COUNT - 1));
        value_id id = i % 2 ? graph_param(graph, name, dtype, shape, rank, &err)
                            : graph_input(graph, name, dtype, shape, rank, &err);
        assert_int_not_equal(id, VALUE_NONE);
    }
    for (uint32_t tries = 0; tries < 20000 && graph->nodes.count < 120; tries++) {
        enum prim prim = (enum prim)(PRIM_CONST + roll(dice, PRIM_COUNT - PRIM_CONST));
        uint32_t count =
            prim_info(prim)->operands < 0 ? 1 + roll(dice, 3) : (uint32_t)prim_info(prim)->operands;
        value_id operands[3];
        value_id first = 1 + roll(dice, graph->nodes.count - 1);
        for (uint32_t i = 0; i < 3; i++)
            operands[i] = roll(dice, 2) ? first : 1 + roll(dice, graph->nodes.count - 1);
        struct attrs attrs = random_attrs(dice, graph, graph_node(graph, operands[0]));
        graph_add(graph, prim, operands, count, &attrs, &err);
    }
    assert_true(graph->nodes.count > 40);
    for (uint32_t i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "out%u", i);
        assert_true(graph_output(graph, name, 1 + roll(dice, graph->nodes.count - 1), &err));
    }
}

static struct strbuf print(const struct graph *graph, struct arena *arena)
{
    struct strbuf text;
    strbuf_init(&text, arena);
    graph_print(graph, &text);
    return text;
}

static void test_random_graphs_round_trip(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct dice dice = {.key = rng_key(seed)};
        struct arena arena;
        struct graph graph, parsed, live, again;
        struct error err = {0};
        arena_init(&arena);
        random_graph(&dice, &graph, &arena);
        assert_true(graph_verify(&graph, &err));
        struct strbuf text = print(&graph, &arena);
        if (!graph_parse(&parsed, &arena, text.data, text.size_bytes, &err))
            fail_msg("seed %d: %s: %s\n%s", (int)seed, err.place, err.message, text.data);
        assert_string_equal(print(&parsed, &arena).data, text.data);
        assert_int_equal(parsed.nodes.count, graph.nodes.count);
        assert_true(graph_verify(&parsed, &err));

        assert_true(graph_copy_live(&live, &arena, &graph, &err));
        assert_true(graph_verify(&live, &err));
        assert_true(live.nodes.count <= graph.nodes.count);
        assert_int_equal(live.inputs.count, graph.inputs.count);
        assert_int_equal(live.params.count, graph.params.count);
        assert_true(graph_copy_live(&again, &arena, &live, &err));
        assert_string_equal(print(&again, &arena).data, print(&live, &arena).data);
        arena_release(&arena);
    }
}

static void test_mutated_text_does_no_harm(void **state)
{
    (void)state;
    static const char spice[] = "%[]{}:,\"\\\n -.0123456789eE+*/()#=abBSfinu\x80\x01";
    uint32_t survived = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct dice dice = {.key = rng_key(seed)};
        struct arena arena;
        struct graph graph;
        arena_init(&arena);
        random_graph(&dice, &graph, &arena);
        struct strbuf text = print(&graph, &arena);
        for (uint32_t round = 0; round < 1000; round++) {
            struct arena scratch;
            struct graph parsed;
            struct error err = {0};
            arena_init(&scratch);
            char *copy = arena_memdup(&scratch, text.data, text.size_bytes);
            size_t size = text.size_bytes;
            uint32_t edits = 1 + roll(&dice, 3);
            for (uint32_t i = 0; i < edits && size > 0; i++) {
                uint32_t at = roll(&dice, (uint32_t)size), to = roll(&dice, (uint32_t)size);
                switch (roll(&dice, 4)) {
                case 0:
                    copy[at] = spice[roll(&dice, sizeof spice)];
                    break; /* the terminator of spice, too */
                case 1: copy[at] = copy[to]; break;
                case 2: memmove(copy + at, copy + at + 1, size - at - 1), size--; break;
                default: size = round % 8 == 0 ? at + 1 : size; break;
                }
            }
            if (graph_parse(&parsed, &scratch, copy, size, &err)) {
                survived++;
                if (!graph_verify(&parsed, &err))
                    fail_msg("%s: %s", err.place, err.message);
            } else {
                assert_true(err.code > ERR_NONE && err.message[0] != '\0');
                assert_true(strncmp(err.place, "line ", 5) == 0);
            }
            arena_release(&scratch);
        }
        arena_release(&arena);
    }
    assert_in_range(survived, 1, 3000); /* both outcomes occurred */
}

static void test_written_form(void **state)
{
    (void)state;
    static const char text[] = "graph \"mlp \\\"a\\\\b\\\"\\n\\u0001\"\n"
                               "dim B 1..65536 multiple 1 typical 32\n"
                               "%1 = input \"x\" : f32[B, 784]\n"
                               "%2 = param \"w\" : f32[256, 784]\n"
                               "%3 = contract %1, %2 {batch 0, contract 1} : f32[B, 256]\n"
                               "%4 = const 0 : f32[]\n"
                               "%5 = broadcast %4 {axes []} : f32[B, 256]\n"
                               "%6 = max %3, %5 : f32[B, 256]\n"
                               "%7 = literal 0x01ff : u8[2]\n"
                               "%8 = const -3 : i64[]\n"
                               "%9 = const -inf : f64[]\n"
                               "%10 = const 0.10000000149011612 : f32[]\n"
                               "%11 = const 18446744073709551615 : u64[]\n"
                               "%12 = input \"h\" : f32[B, 256]\n"
                               "output \"y\" %6\n"
                               "output \"again\" %6\n"
                               "update \"h\" by \"again\"\n";
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    assert_true(graph_parse(&graph, &arena, text, sizeof text - 1, &err));
    assert_string_equal(graph.name, "mlp \"a\\b\"\n\x01");
    assert_int_equal(graph_node(&graph, 8)->attrs->integer, -3);
    assert_true(graph_node(&graph, 10)->attrs->value == (double)0.1f);
    assert_int_equal(graph_node(&graph, 11)->attrs->integer, -1);
    assert_string_equal(print(&graph, &arena).data, text);
    struct strbuf dot;
    strbuf_init(&dot, &arena);
    graph_print_dot(&graph, &dot);
    assert_non_null(strstr(dot.data, "digraph \"mlp \\\"a\\\\b\\\""));
    assert_non_null(strstr(dot.data, "v3 [shape=box, label=\"%3 contract {batch 0, contract 1}\\n"
                                     "f32[B, 256]\"];"));
    assert_non_null(strstr(dot.data, "v2 -> v3 [headlabel=\"1\"];"));
    assert_non_null(strstr(dot.data, "label=\"%1 input \\\"x\\\"\\nf32[B, 784]\""));
    assert_non_null(strstr(dot.data, "v6 -> o0;"));
    arena_release(&arena);
}

static void test_lenient_where_it_is_harmless(void **state)
{
    (void)state;
    static const char text[] = "\n# a comment\n graph\t\"\"  # another\n\n"
                               "%1=input\"\\u0041\\/\":f32[ 2 ,3 ]\n"
                               "  output \"y\" %1 # end";
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    assert_true(graph_parse(&graph, &arena, text, sizeof text - 1, &err));
    assert_string_equal(print(&graph, &arena).data, "graph \"\"\n%1 = input \"A/\" : f32[2, 3]\n"
                                                    "output \"y\" %1\n");
    arena_release(&arena);
}

#define TWO \
    "graph \"\"\n%1 = input \"x\" : f32[]\n%2 = broadcast %1 {axes []} : f32[2]\noutput \"y\" %2\n"

static void test_error_places(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place, *message;
        enum error_code code;
    } cases[] = {
        {"", "line 1, column 1", "expected 'graph'", ERR_PARSE},
        {"graph", "line 1, column 6", "expected '\"'", ERR_PARSE},
        {"graph \"a", "line 1, column 9", "end of the string", ERR_PARSE},
        {"graph \"\\x\"", "line 1, column 9", "an escape", ERR_PARSE},
        {"graph \"\\u00e9\"", "line 1, column 9", "an escape", ERR_PARSE},
        {"graph \"\\u00", "line 1, column 9", "an escape", ERR_PARSE},
        {"graph \"\" x", "line 1, column 10", "end of the line", ERR_PARSE},
        {"graph \"\"\nfoo", "line 2, column 1", "the next dim, node, element, output or",
         ERR_PARSE},
        {"graph \"\"\ndim B 1..2", "line 2, column 11", "'multiple'", ERR_PARSE},
        {"graph \"\"\ndim B 3..2 multiple 1", "line 2, column 5", "", ERR_BLUEPRINT},
        {"graph \"\"\ndim B 1..99999999999999999999 multiple 1", "line 2, column 10",
         "an integer from", ERR_PARSE},
        {"graph \"\"\n%2 = const 1 : f32[]", "line 2, column 2", "from 1 to 1", ERR_PARSE},
        {"graph \"\"\n%1 = konst 1 : f32[]", "line 2, column 6", "a prim", ERR_PARSE},
        {"graph \"\"\n%1 = const 1 : float32[]", "line 2, column 16", "a dtype", ERR_PARSE},
        {"graph \"\"\n%1 = const 1x : f32[]", "line 2, column 13", "end of the number", ERR_PARSE},
        {"graph \"\"\n%1 = const x : f32[]", "line 2, column 12", "a number", ERR_PARSE},
        {"graph \"\"\n%1 = const -1 : u64[]", "line 2, column 12", "unsigned", ERR_PARSE},
        {"graph \"\"\n%1 = const 18446744073709551616 : u64[]", "line 2, column 12", "2^64",
         ERR_PARSE},
        {"graph \"\"\n%1 = const 1 : f32[Q]", "line 2, column 20", "", ERR_BLUEPRINT},
        {"graph \"\"\n%1 = const 1 : f32[]\n%2 = const 1 : f32[]", "line 3, column 1",
         "the same as %1", ERR_PARSE},
        {"graph \"\"\n%1 = neg %1 : f32[]", "line 2, column 11", "an integer from 1 to 0",
         ERR_PARSE},
        {"graph \"\"\n%1 = const 1 : f32[]\n%2 = exp %1 : f32[1]", "line 3, column 15",
         "expected the type f32[]", ERR_PARSE},
        {"graph \"\"\n%1 = const 1 : i8[]\n%2 = exp %1 : i8[]", "line 3, column 1",
         "expected a float dtype", ERR_SHAPE},
        {"graph \"\"\n%1 = literal 0x0 : u8[1]", "line 2, column 16", "an even number", ERR_PARSE},
        {"graph \"\"\n%1 = iota {axes 0} : i64[1]", "line 2, column 12", "'axis'", ERR_PARSE},
        {"graph \"\"\n%1 = iota {axis 0} : i64[1, 1, 1, 1, 1, 1, 1, 1, 1]", "line 2, column 50",
         "more than 8 dims", ERR_LIMIT},
        {"graph \"\"\n%1 = const 1 : f32[]\noutput \"y\" %2", "line 3, column 13", "", ERR_PARSE},
        {"graph \"\"\n%1 = const 1 : f32[]\noutput \"y\" %1\noutput \"y\" %1", "line 4, column 8",
         "taken", ERR_BLUEPRINT},
        {"graph \"\"\n%1 = const 1 : f32[]\noutput \"y\" %1\n%2 = const 2 : f32[]",
         "line 4, column 1", "the next", ERR_PARSE},
        {TWO "update \"x\" by \"y\"", "line 5, column 8", "another type", ERR_BLUEPRINT},
        {TWO "update \"x\" by \"q\"", "line 5, column 8", "no output", ERR_BLUEPRINT},
        {TWO "update \"q\" by \"y\"", "line 5, column 8", "no input", ERR_BLUEPRINT},
        {TWO "update \"x\" \"y\"", "line 5, column 12", "'by'", ERR_PARSE},
        {TWO "output \"z\" %1\nupdate \"x\" by \"z\"\nupdate \"x\" by \"z\"", "line 7, column 8",
         "two updates of input 'x'", ERR_BLUEPRINT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena arena;
        struct graph graph;
        struct error err = {0};
        arena_init(&arena);
        assert_false(graph_parse(&graph, &arena, cases[i].text, strlen(cases[i].text), &err));
        if (err.code != cases[i].code || strcmp(err.place, cases[i].place) != 0 ||
            !strstr(err.message, cases[i].message))
            fail_msg("case %zu: %d, %s: %s", i, err.code, err.place, err.message);
        arena_release(&arena);
    }
}

static void test_zero_bytes_and_size(void **state)
{
    (void)state;
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    arena_init(&arena);
    assert_false(graph_parse(&graph, &arena, "graph \"\"\n\0", 10, &err));
    assert_string_equal(err.place, "line 2, column 1");
    assert_false(graph_parse(&graph, &arena, "", LIMIT_JSON_BYTES + 1, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_round_trip),
        cmocka_unit_test(test_mutated_text_does_no_harm),
        cmocka_unit_test(test_written_form),
        cmocka_unit_test(test_lenient_where_it_is_harmless),
        cmocka_unit_test(test_error_places),
        cmocka_unit_test(test_zero_bytes_and_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
