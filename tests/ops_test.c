/* Every example of every composite op, with constant and with named dims, in every float type. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "support/case.h"
#include "support/op_case.h"

#define MAX_DIM 9
#define SIZES 3

static void fill(const void *user, uint32_t index, const struct tensor *tensor, uint64_t seed)
{
    op_case_fill(user, index, tensor, seed);
}

static void run_example(const struct op_row *row, uint32_t index, enum dtype dtype, bool symbolic,
                        const char *target, struct tally *tally)
{
    struct arena arena;
    struct graph graph;
    struct op_example example;
    struct error err = {0};
    int64_t sizes[SIZES][LIMIT_NAMED_DIMS] = {0};
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
    if (wanted && (!ok || !op_case_bind(&graph, &err))) {
        printf("FAIL %s: no graph: %s %s\n", name, err.place, err.message);
        tally->failures++;
    } else if (wanted && (!symbolic || graph.dims.names.count > 0)) {
        for (uint32_t n = 0; n < graph.dims.names.count; n++) {
            sizes[0][n] = example.dim_values[n];
            sizes[1][n] = 1;
            sizes[2][n] = 11 + n; /* not what any vector has */
        }
        struct test_case test = {.graph = &graph,
                                 .target = target,
                                 .seed = seed,
                                 .size_count = symbolic ? SIZES : 1,
                                 .sizes = sizes,
                                 .fill = fill,
                                 .user = &example};
        tally_run(tally, &test, name);
    }
    arena_release(&arena);
}

/* test-ops [NAME|all [TARGET]]: all ops or one, on all targets by turns or on one. */
int main(int argc, char **argv)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16};
    const char *targets[CASE_TARGETS];
    uint32_t target_count = case_targets(targets), turn = 0;
    const struct op_row *row;
    struct tally tally = {0};
    if (argc > 2) {
        targets[0] = argv[2];
        target_count = 1;
    }
    for (uint32_t r = 0; (row = op_at(r)) != NULL && target_count > 0; r++) {
        if (argc > 1 && strcmp(argv[1], "all") != 0 && strcmp(argv[1], row->name) != 0)
            continue;
        for (uint32_t e = 0; e < op_example_count(row); e++)
            for (uint32_t d = 0; d < 4; d++)
                for (int symbolic = 0; symbolic < 2; symbolic++)
                    run_example(row, e, dtypes[d], symbolic != 0, targets[turn++ % target_count],
                                &tally);
        turn += r; /* so that no op meets its targets in the order of its dtypes alone */
    }
    return tally_finish(&tally, "ops");
}
