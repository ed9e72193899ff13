/* Which reductions are split, into what, and that results stay the same. */
#include "compiler/opt/opt_test_util.h"

static const char header[] = "graph \"\"\n"
                             "dim B 1..64 multiple 1\n"
                             "%1 = input \"x\" : f32[1024, 512]\n"
                             "%2 = input \"i\" : i32[8, 3, 65536]\n"
                             "%3 = input \"h\" : f16[524288]\n"
                             "%4 = input \"b\" : f32[B, 16384]\n"
                             "%5 = input \"m\" : f32[4096*B, 100]\n"
                             "%6 = input \"p\" : f32[524287]\n"
                             "%7 = param \"w\" : f32[1024, 512]\n";

static const struct {
    const char *name, *before, *after; /* without the header, with the output; after NULL: no
                                          change */
} cases[] = {
    {"all", "%8 = reduce_sum %1 {axes [0, 1]} : f32[]\n",
     "%8 = reshape %1 : f32[128, 8, 512]\n"
     "%9 = reduce_sum %8 {axes [1, 2]} : f32[128]\n"
     "%10 = copy %9 : f32[128]\n"
     "%11 = reduce_sum %10 {axes [0]} : f32[]\n"
     "output \"y\" %11\n"},
    {"columns", "%8 = reduce_max %1 {axes [0]} : f32[512]\n",
     "%8 = reshape %1 : f32[64, 16, 512]\n"
     "%9 = reduce_max %8 {axes [1]} : f32[64, 512]\n"
     "%10 = copy %9 : f32[64, 512]\n"
     "%11 = reduce_max %10 {axes [0]} : f32[512]\n"
     "output \"y\" %11\n"},
    {"the last of three axes", "%8 = reduce_sum %2 {axes [0, 2]} : i32[3]\n",
     "%8 = reshape %2 : i32[8, 3, 32, 2048]\n"
     "%9 = reduce_sum %8 {axes [0, 3]} : i32[3, 32]\n"
     "%10 = copy %9 : i32[3, 32]\n"
     "%11 = reduce_sum %10 {axes [1]} : i32[3]\n"
     "output \"y\" %11\n"},
    {"a whole axis waits", "%8 = reduce_sum %4 {axes [0, 1]} : f32[]\n",
     "%8 = reshape %4 : f32[B, 128, 128]\n"
     "%9 = reduce_sum %8 {axes [0, 2]} : f32[128]\n"
     "%10 = copy %9 : f32[128]\n"
     "%11 = reduce_sum %10 {axes [0]} : f32[]\n"
     "output \"y\" %11\n"},
    {"a known divisor", "%8 = reduce_min %5 {axes [0]} : f32[100]\n",
     "%8 = reshape %5 : f32[128, 32*B, 100]\n"
     "%9 = reduce_min %8 {axes [1]} : f32[128, 100]\n"
     "%10 = copy %9 : f32[128, 100]\n"
     "%11 = reduce_min %10 {axes [0]} : f32[100]\n"
     "output \"y\" %11\n"},
    {"rows are many", "%8 = reduce_sum %1 {axes [1]} : f32[1024]\n", NULL},
    {"half floats", "%8 = reduce_sum %3 {axes [0]} : f16[]\n", NULL},
    {"a prime number", "%8 = reduce_sum %6 {axes [0]} : f32[]\n", NULL},
    {"once after load", "%8 = reduce_sum %7 {axes [0, 1]} : f32[]\n", NULL},
    {"a softmax of few rows",
     "%8 = reshape %1 : f32[2, 262144]\n"
     "%9 = exp %8 : f32[2, 262144]\n"
     "%10 = reduce_sum %9 {axes [1]} : f32[2]\n"
     "%11 = broadcast %10 {axes [0]} : f32[2, 262144]\n"
     "%12 = div %9, %11 : f32[2, 262144]\n",
     NULL},
};
#define COUNT (sizeof cases / sizeof *cases)

static struct graph *parse(struct arena *arena, const char *nodes)
{
    struct graph *graph = ARENA_NEW(arena, struct graph);
    struct strbuf text;
    struct error err = {0};
    uint32_t lines = 0;
    for (const char *at = nodes; (at = strchr(at, '\n')); at++)
        lines++;
    strbuf_init(&text, arena);
    strbuf_printf(&text, "%s%soutput \"y\" %%%u\n", header, nodes, 7 + lines);
    if (!graph_parse(graph, arena, text.data, text.size_bytes, &err))
        fail_msg("%s: %s\n%s", err.place, err.message, text.data);
    return graph;
}

static void reductions_become_two(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        struct arena arena;
        struct graph to;
        arena_init(&arena);
        struct graph *from = parse(&arena, cases[i].before);
        run_pass(pass_split_reductions, &to, &arena, from);
        const char *after = graph_text(&to, &arena) + strlen(header);
        const char *expected =
            cases[i].after ? cases[i].after : graph_text(from, &arena) + strlen(header);
        if (strcmp(after, expected) != 0)
            fail_msg("%s:\n%s\nexpected:\n%s", cases[i].name, after, expected);
        arena_release(&arena);
    }
}

/* Integers and maxima agree exactly; sums, computed natively, are within the bounds of the
 * original's reference. */
static void results_stay(void **state)
{
    (void)state;
    const int64_t dims[] = {3};
    for (size_t i = 0; i < COUNT; i++) {
        struct arena arena;
        struct graph to;
        struct interp_difference difference;
        if (!cases[i].after)
            continue;
        arena_init(&arena);
        struct graph *from = parse(&arena, cases[i].before);
        run_pass(pass_split_reductions, &to, &arena, from);
        struct interp_tensor *a = run_graph(from, INTERP_REFERENCE, dims, false, i, &arena);
        struct interp_tensor *b = run_graph(&to, INTERP_NATIVE, dims, false, i, &arena);
        void *data = arena_array(&arena, (size_t)b->count, dtype_bytes(b->dtype));
        interp_store(b, data);
        interp_compare(a, data, &difference);
        if (!(difference.worst_ratio <= 1) || difference.undetermined > 0)
            fail_msg("%s: %g of the bound", cases[i].name, difference.worst_ratio);
        arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_become_two),
        cmocka_unit_test(results_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
