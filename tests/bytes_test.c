/* Products with weights of one byte, of few rows or of any number, which stay bytes in packed
 * copies and are widened where they are read: all results in all bits, on all targets, at sizes
 * around tiles and blocks. */
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "package/package.h"
#include "support/case.h"

static const char *const types[] = {"i8", "u8", "u8 less 131"};
static const char *const row_counts[] = {"1", "2", "7", "M"}; /* as in a shape */
static const int64_t depths[] = {5, 300, 1100}, columns[] = {67, 131, 515};

/* A recurrence whose state is cut to a byte in each trip. */
static const char loop_text[] =
    "graph \"again\"\n"
    "%1 = input \"x\" : i32[1, 400]\n"
    "%2 = param \"w\" : i8[400, 400]\n"
    "%3 = cast %2 : i32[400, 400]\n"
    "%4 = transpose %3 {axes [1, 0]} : i32[400, 400]\n"
    "%5 = state %1 {loop 1, index 0} : i32[1, 400]\n"
    "%6 = cast %5 : i8[1, 400]\n"
    "%7 = cast %6 : i32[1, 400]\n"
    "%8 = contract %7, %4 {batch 0, contract 1} : i32[1, 400]\n"
    "%9 = copy %8 : i32[1, 400]\n"
    "%10 = loop %5, %9 {loop 1, index 0, states 1, dim [3]} : i32[1, 400]\n"
    "output \"y\" %10\n";

static void print_graph(struct strbuf *out, const char *type, const char *rows, int64_t depth,
                        int64_t width)
{
    long long k = depth, n = width;
    const char *cut = strstr(type, " less ");
    int length = cut ? (int)(cut - type) : (int)strlen(type);
    strbuf_printf(out, "graph \"bytes\"\n");
    if (rows[0] == 'M')
        strbuf_printf(out, "dim M 1..4096 multiple 1\n");
    strbuf_printf(out, "%%1 = input \"x\" : u8[%s, %lld]\n", rows, k);
    strbuf_printf(out, "%%2 = param \"w\" : %.*s[%lld, %lld]\n", length, type, k, n);
    strbuf_printf(out, "%%3 = cast %%1 : i32[%s, %lld]\n", rows, k);
    strbuf_printf(out, "%%4 = cast %%2 : i32[%lld, %lld]\n", k, n);
    strbuf_printf(out, "%%5 = const %d : i32[]\n", cut ? 131 : 0);
    strbuf_printf(out, "%%6 = broadcast %%5 {axes []} : i32[%lld, %lld]\n", k, n);
    strbuf_printf(out, "%%7 = sub %%4, %%6 : i32[%lld, %lld]\n", k, n);
    strbuf_printf(out, "%%8 = transpose %%7 {axes [1, 0]} : i32[%lld, %lld]\n", n, k);
    strbuf_printf(out, "%%9 = contract %%3, %%8 {batch 0, contract 1} : i32[%s, %lld]\n", rows, n);
    strbuf_printf(out, "output \"y\" %%9\n");
}

/* rows NULL: the recurrence. */
static bool read_graph(const char *type, const char *rows, int64_t depth, int64_t width,
                       struct arena *arena, struct graph *out)
{
    struct strbuf text;
    struct error err;
    strbuf_init(&text, arena);
    if (rows)
        print_graph(&text, type, rows, depth, width);
    else
        strbuf_puts(&text, loop_text);
    if (graph_parse(out, arena, text.data, text.size_bytes, &err))
        return true;
    printf("%s: %s\n", err.place, err.message);
    return false;
}

static void check_targets(struct tally *tally, const struct graph *graph, const char *what)
{
    static const int64_t sizes[][LIMIT_NAMED_DIMS] = {{1}, {2}, {5}, {12}, {13}, {40}};
    const char *targets[CASE_TARGETS];
    uint32_t count = case_targets(targets);
    for (uint32_t t = 0; t < count; t++) {
        char name[80];
        const struct test_case test = {
            .graph = graph,
            .target = targets[t],
            .strategy = STRATEGY_FAST,
            .seed = 5 + t,
            .sizes = sizes,
            .size_count = graph->dims.names.count > 0 ? sizeof sizes / sizeof *sizes : 0};
        snprintf(name, sizeof name, "%s, %s", what, targets[t]);
        tally_run(tally, &test, name);
    }
}

static void check_values(struct tally *tally)
{
    for (int64_t at = 0; at < 4 * 3 * 3 * 3; at++) {
        const char *rows = row_counts[at % 4], *type = types[at / 36];
        int64_t depth = depths[at / 4 % 3], width = columns[at / 12 % 3];
        struct arena arena;
        struct graph graph;
        char what[60];
        snprintf(what, sizeof what, "%sx%lldx%lld of %s", rows, (long long)depth, (long long)width,
                 type);
        arena_init(&arena);
        if (read_graph(type, rows, depth, width, &arena, &graph))
            check_targets(tally, &graph, what);
        else
            tally->failures++;
        arena_release(&arena);
    }
}

static void check_recurrence(struct tally *tally)
{
    struct arena arena;
    struct graph graph;
    arena_init(&arena);
    if (read_graph("i8", NULL, 0, 0, &arena, &graph))
        check_targets(tally, &graph, "a recurrence");
    else
        tally->failures++;
    arena_release(&arena);
}

/* The bytes that a package prepares from its parameters. */
static int64_t prepared_bytes(const char *rows, struct arena *arena)
{
    static const int64_t none[LIMIT_NAMED_DIMS];
    const char *targets[CASE_TARGETS];
    struct package_contents contents;
    struct compile_result result;
    struct graph graph;
    struct error err;
    int64_t bytes = 0, elements;
    case_targets(targets);
    const struct compile_options options = {.targets = targets[0], .strategy = STRATEGY_FAST};
    const struct trust trust = {.policy = TRUST_ALLOW_UNSIGNED};
    const struct package_param *params = NULL;
    if (!read_graph("i8", rows, 256, 512, arena, &graph) ||
        !(params = case_params(&graph, 1, arena, &err)) ||
        !compile_graph(&(struct compile_source){&graph, params, NULL}, &options, arena, &result,
                       &err) ||
        !package_read(result.package, result.package_bytes, &trust, arena, &contents, &err))
        return -1;
    const struct plan *plan = &contents.targets[0].plan;
    for (uint32_t i = 0; i < plan->buffers.count; i++)
        if (plan->buffers.items[i].kind == BUFFER_PREPARED &&
            dim_eval(plan->dims, plan->buffers.items[i].elements, none, &elements))
            bytes += elements * (int64_t)dtype_bytes(plan->buffers.items[i].dtype);
    return bytes;
}

/* Few rows, or any number, read bytes; many, which compute more than they read, read f32. */
static void check_bytes(struct tally *tally)
{
    struct arena arena;
    arena_init(&arena);
    long long few = prepared_bytes("1", &arena), any = prepared_bytes("M", &arena);
    long long many = prepared_bytes("64", &arena), trips = prepared_bytes(NULL, &arena);
    if (few != 256 * 512 || any != few || many != 4 * few || trips < 400 * 400 ||
        trips > 2 * 400 * 400) {
        printf("prepared: %lld bytes for one row, %lld for any, %lld for 64, %lld in a loop\n", few,
               any, many, trips);
        tally->failures++;
    }
    arena_release(&arena);
}

int main(void)
{
    struct tally tally = {0};
    check_values(&tally);
    check_recurrence(&tally);
    check_bytes(&tally);
    return tally_finish(&tally, "products of bytes");
}
