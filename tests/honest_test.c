/* Right packages pass verification: every example of every composite op, and random graphs.
 *
 * test-honest                      some of both, for one target by turns, and graphs that were
 *                                  refused before
 * test-honest ops [NAME]           all examples of all ops, or of one, in every float type, with
 *                                  constant and with named dims
 * test-honest graphs SEED COUNT    random graphs
 * test-honest write DIR TARGETS [EVERY]
 *                                  not verified but written to DIR as packages for targets, between
 *                                  commas, which this CPU need not have (tests/check_packages.c):
 *                                  all examples of all ops, and 500 random graphs; EVERY: every so
 *                                  manieth of both
 *
 * A graph whose package does not pass is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "support/case.h"
#include "support/op_case.h"
#include "support/random_graph.h"
#include "verify/isolate.h"
#include "verify/verify.h"

#define MAX_DIM 9
#define CASE_SECONDS 300
#define SOME_OPS 11 /* without arguments: every so manieth case of ops */
#define SOME_GRAPHS 60
#define WRITTEN_GRAPHS 500

/* Random graphs whose right packages verification once refused. */
static const uint64_t ONCE_REFUSED[] = {543, 995, 1534, 3738, 3972, 4495, 4844};

/* Small graphs of the same kinds. */
static const char *const ONCE_REFUSED_SMALL[] = {
    /* Nearly every argument overflows. */
    "graph \"overflow\"\n"
    "%1 = input \"x\" : f32[1000]\n"
    "%2 = const 1000 : f32[]\n"
    "%3 = broadcast %2 {axes []} : f32[1000]\n"
    "%4 = mul %1, %3 : f32[1000]\n"
    "%5 = exp %4 : f32[1000]\n"
    "output \"y\" %5\n",
    /* Sums that are equal whatever the arguments, and not exact: no sample decides. */
    "graph \"tie\"\n"
    "%1 = input \"x\" : f32[1000, 4]\n"
    "%2 = tanh %1 : f32[1000, 4]\n"
    "%3 = reduce_sum %2 {axes [1]} : f32[1000]\n"
    "%4 = le %3, %3 : bool[1000]\n"
    "output \"y\" %4\n",
    /* Half of the windows hold only padding: 0 against products by it. */
    "graph \"padding\"\n"
    "%1 = input \"x\" : f32[1000]\n"
    "%2 = input \"a\" : f32[2, 1000]\n"
    "%3 = reshape %1 : f32[1, 1000]\n"
    "%4 = window_sum %3 {window [size 1 stride 2 low 2 high 0 dilation 1 base 2, "
    "size 1 stride 1 low 0 high 0 dilation 1 base 1]} : f32[2, 1000]\n"
    "%5 = mul %2, %4 : f32[2, 1000]\n"
    "%6 = le %5, %4 : bool[2, 1000]\n"
    "output \"y\" %6\n",
    /* The graph behind the passes needs more for an element than the one before them. */
    "graph \"attention\"\n"
    "%1 = input \"q\" : f32[1, 4, 1024, 64]\n"
    "%2 = input \"k\" : f32[1, 4, 1024, 64]\n"
    "%3 = input \"v\" : f32[1, 4, 1024, 64]\n"
    "%4 = contract %1, %2 {batch 2, contract 1} : f32[1, 4, 1024, 1024]\n"
    "%5 = const 0.125 : f32[]\n"
    "%6 = broadcast %5 {axes []} : f32[1, 4, 1024, 1024]\n"
    "%7 = mul %4, %6 : f32[1, 4, 1024, 1024]\n"
    "%8 = iota {axis 0} : i64[1024, 1024]\n"
    "%9 = iota {axis 1} : i64[1024, 1024]\n"
    "%10 = le %9, %8 : bool[1024, 1024]\n"
    "%11 = const -inf : f32[]\n"
    "%12 = broadcast %10 {axes [2, 3]} : bool[1, 4, 1024, 1024]\n"
    "%13 = broadcast %11 {axes []} : f32[1, 4, 1024, 1024]\n"
    "%14 = select %12, %7, %13 : f32[1, 4, 1024, 1024]\n"
    "%15 = reduce_max %14 {axes [3]} : f32[1, 4, 1024]\n"
    "%16 = reshape %15 : f32[1, 4, 1024, 1]\n"
    "%17 = broadcast %16 {axes [0, 1, 2, 3]} : f32[1, 4, 1024, 1024]\n"
    "%18 = sub %14, %17 : f32[1, 4, 1024, 1024]\n"
    "%19 = exp %18 : f32[1, 4, 1024, 1024]\n"
    "%20 = reduce_sum %19 {axes [3]} : f32[1, 4, 1024]\n"
    "%21 = reshape %20 : f32[1, 4, 1024, 1]\n"
    "%22 = broadcast %21 {axes [0, 1, 2, 3]} : f32[1, 4, 1024, 1024]\n"
    "%23 = div %19, %22 : f32[1, 4, 1024, 1024]\n"
    "%24 = transpose %3 {axes [0, 1, 3, 2]} : f32[1, 4, 64, 1024]\n"
    "%25 = contract %23, %24 {batch 2, contract 1} : f32[1, 4, 1024, 64]\n"
    "output \"y\" %25\n",
};

struct candidate {
    const struct graph *graph;
    const char *target;
    uint64_t seed;
    const char *file; /* where the package goes; NULL: it is verified */
};

struct answer {
    bool compiled, passed;
    struct verify_summary summary;
    struct error err;
};

struct counts {
    uint32_t cases, failures;
    const char *folder; /* where packages are written; NULL: they are verified */
};

/* In a child. */
static void check(const void *argument, void *out)
{
    const struct candidate *c = argument;
    struct answer *answer = out;
    struct arena arena;
    struct compile_result compiled;
    struct verify_report report;
    arena_init(&arena);
    const struct package_param *params = case_params(c->graph, c->seed, &arena, &answer->err);
    struct compile_options options = {
        .targets = c->target, .strategy = STRATEGY_FAST, .plain = c->seed % 5 == 2};
    struct verify_options verify = {.seed = c->seed, .size_count = 1, .allow_unsigned = true};
    answer->compiled = params && compile_graph(&(struct compile_source){c->graph, params, NULL},
                                               &options, &arena, &compiled, &answer->err);
    if (c->file) {
        answer->passed =
            answer->compiled && file_write_atomic(c->file, compiled.package, compiled.package_bytes,
                                                  0644, &answer->err);
        return;
    }
    answer->passed = answer->compiled && verify_package(compiled.package, compiled.package_bytes,
                                                        &verify, &arena, &report, &answer->err);
    if (!answer->passed)
        return;
    verify_summarise(&report, &answer->summary);
    answer->passed = report.pass;
}

static void run(const struct graph *graph, const char *target, uint64_t seed, const char *name,
                struct counts *counts)
{
    char file[512];
    struct candidate candidate = {graph, target, seed, counts->folder ? file : NULL};
    struct answer answer = {0};
    struct error err;
    counts->cases++;
    if (counts->folder)
        snprintf(file, sizeof file, "%s/%05u.urza", counts->folder, counts->cases);
    if (!isolate(check, &candidate, &answer, sizeof answer, CASE_SECONDS, &err))
        answer.err = err;
    if (answer.passed)
        return;
    counts->failures++;
    printf("FAIL %s %s: %s %s %s %s\n", name, target, answer.summary.name, answer.summary.detail,
           answer.err.place, answer.err.message);
    if (counts->failures > 5)
        return;
    struct strbuf text;
    struct arena arena;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    graph_print(graph, &text);
    printf("%s", text.data);
    arena_release(&arena);
}

static void run_example(const struct op_row *row, uint32_t index, enum dtype dtype, bool symbolic,
                        const char *target, struct counts *counts)
{
    struct arena arena;
    struct graph graph;
    struct op_example example;
    struct error err = {0};
    char name[96];
    uint64_t seed = 31 * index + dtype;
    arena_init(&arena);
    graph_init(&graph, &arena);
    snprintf(name, sizeof name, "%s example %u %s%s", row->name, index, dtype_name(dtype),
             symbolic ? " named dims" : "");
    bool ok =
        op_example_build(row, &(struct op_example_request){index, seed, MAX_DIM, dtype, symbolic},
                         &graph, &example, &err);
    bool wanted = !ok || dtype == DTYPE_F32 || op_case_has(&example, dtype);
    if (ok && wanted && op_case_bind(&graph, &err) && (!symbolic || graph.dims.names.count > 0))
        run(&graph, target, seed, name, counts);
    arena_release(&arena);
}

static void run_ops(const char *only, uint32_t every, const char *const *targets,
                    uint32_t target_count, struct counts *counts)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16};
    const struct op_row *row;
    uint32_t turn = 0;
    for (uint32_t r = 0; (row = op_at(r)) != NULL; r++) {
        if (only && strcmp(only, row->name) != 0)
            continue;
        for (uint32_t e = 0; e < op_example_count(row); e++)
            for (uint32_t d = 0; d < 4; d++)
                for (int symbolic = 0; symbolic < 2; symbolic++, turn++)
                    if (turn % every == 0)
                        run_example(row, e, dtypes[d], symbolic != 0,
                                    targets[turn / every % target_count], counts);
    }
}

static void run_graphs(uint64_t seed, uint64_t count, const char *const *targets,
                       uint32_t target_count, struct counts *counts)
{
    for (uint64_t end = seed + count; seed < end; seed++) {
        struct arena arena;
        struct graph graph;
        struct error err = {0};
        int64_t sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS] = {0};
        char name[48];
        arena_init(&arena);
        graph_init(&graph, &arena);
        snprintf(name, sizeof name, "graph %llu", (unsigned long long)seed);
        if (seed % 7 == 3 ? random_network(&graph, seed, sizes, &err)
                          : random_graph(&graph, seed, sizes, &err))
            run(&graph, targets[seed % target_count], seed, name, counts);
        arena_release(&arena);
    }
}

static void run_once_refused(const char *const *targets, uint32_t target_count,
                             struct counts *counts)
{
    for (size_t i = 0; i < sizeof ONCE_REFUSED / sizeof *ONCE_REFUSED; i++)
        run_graphs(ONCE_REFUSED[i], 1, targets, target_count, counts);
    for (size_t i = 0; i < sizeof ONCE_REFUSED_SMALL / sizeof *ONCE_REFUSED_SMALL; i++) {
        const char *text = ONCE_REFUSED_SMALL[i];
        struct arena arena;
        struct graph graph;
        struct error err = {0};
        arena_init(&arena);
        if (graph_parse(&graph, &arena, text, strlen(text), &err)) {
            run(&graph, targets[i % target_count], i, "once refused", counts);
        } else {
            printf("FAIL %s\n", err.message);
            counts->failures++;
        }
        arena_release(&arena);
    }
}

int main(int argc, char **argv)
{
    const char *targets[CASE_TARGETS];
    uint32_t target_count = case_targets(targets) - 1; /* the last is the interpreter */
    bool write = argc >= 4 && strcmp(argv[1], "write") == 0;
    uint32_t every = write && argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 1;
    struct counts counts = {0};
    if (target_count == 0) {
        printf("no target for this CPU\n");
        return 77;
    }
    if (write && every > 0) {
        counts.folder = argv[2];
        run_ops(NULL, every, (const char *const *)&argv[3], 1, &counts);
        run_graphs(1, WRITTEN_GRAPHS / every, (const char *const *)&argv[3], 1, &counts);
    } else if (argc > 1 && strcmp(argv[1], "ops") == 0)
        run_ops(argc > 2 ? argv[2] : NULL, 1, targets, target_count, &counts);
    else if (argc == 4 && strcmp(argv[1], "graphs") == 0)
        run_graphs(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), targets, target_count,
                   &counts);
    else {
        run_ops(NULL, SOME_OPS, targets, target_count, &counts);
        run_graphs(1, SOME_GRAPHS, targets, target_count, &counts);
        run_once_refused(targets, target_count, &counts);
    }
    printf("%u packages %s, %u refused\n", counts.cases, write ? "written" : "verified",
           counts.failures);
    return counts.failures > 0;
}
