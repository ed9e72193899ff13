/* Random programs through the whole compiler: test-random_graphs [--count N] [--seed N] [--target
 * NAME]
 *
 * Seeds run from --seed on; each is compiled for one target, by turns, or for --target. A failing
 * seed is printed with its graph; `--seed S --count 1 --target T` runs it again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "support/case.h"
#include "support/random_graph.h"

#define DEFAULT_COUNT 2000
/* Of graphs that may have an output which no arguments determine; a few of few. */
#define EXCUSED_MOST 0.04
#define EXCUSED_FEW 4

struct arguments {
    uint64_t seed, count;
    const char *target;
};

static bool read_arguments(int count, char **texts, struct arguments *out)
{
    for (int i = 1; i + 1 < count; i += 2) {
        char *end = "";
        uint64_t number = strtoull(texts[i + 1], &end, 10);
        if (strcmp(texts[i], "--target") == 0)
            out->target = texts[i + 1];
        else if (strcmp(texts[i], "--seed") == 0 && *end == '\0')
            out->seed = number;
        else if (strcmp(texts[i], "--count") == 0 && *end == '\0')
            out->count = number;
        else
            return false;
    }
    return count % 2 == 1;
}

/* Whether floats are compared, sorted or made whole: where they were rounded before, that decides,
 * and a reference cannot know it. */
static bool decides(const struct graph *graph)
{
    for (value_id v = 1; v < graph->nodes.count; v++) {
        const struct node *node = graph_node(graph, v);
        if (node->operand_count == 0 ||
            !dtype_is_float((enum dtype)graph_node(graph, node->operands[0])->dtype))
            continue;
        if (!dtype_is_float((enum dtype)node->dtype) || node->prim == PRIM_FLOOR ||
            node->prim == PRIM_CEIL || node->prim == PRIM_ROUND || node->prim == PRIM_TRUNC ||
            node->prim == PRIM_SIGN || node->prim == PRIM_REM)
            return true;
    }
    return false;
}

/* Of two thirds of the graphs that have named dims, kernels for the first size, or for a value of
 * one of its dims; others are for all sizes. NULL: none. */
static const char *specialise(const struct dim_table *dims, const int64_t *size, uint64_t seed,
                              char *out, size_t bytes)
{
    uint32_t names = dims->names.count;
    uint32_t only = seed % 3 == 1 ? (uint32_t)(seed / 3 % (names + 1)) : names;
    size_t used = 0;
    for (uint32_t i = 0; i < names && seed % 3 != 2; i++)
        if (only == names || only == i)
            used += (size_t)snprintf(out + used, bytes - used, "%s%s=%lld", used > 0 ? "," : "",
                                     dims->names.items[i].name, (long long)size[i]);
    return used > 0 ? out : NULL;
}

static void run_seed(uint64_t seed, const char *target, struct tally *tally)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    int64_t sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS] = {0};
    char name[48], special[512];
    arena_init(&arena);
    graph_init(&graph, &arena);
    snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
    bool made = seed % 7 == 3 ? random_network(&graph, seed, sizes, &err)
                              : random_graph(&graph, seed, sizes, &err);
    if (!made) {
        printf("FAIL %s: no graph: %s %s\n", name, err.place, err.message);
        tally->failures++;
    } else {
        struct test_case test = {
            .graph = &graph,
            .target = target,
            .strategy = seed % 5 == 0 ? STRATEGY_FAST : STRATEGY_STANDARD,
            .seed = seed,
            .special = seed % 4 == 0,
            .specialise =
                specialise(&graph.dims, sizes[seed / 3 % 2], seed, special, sizeof special),
            .size_count = graph.dims.names.count > 0 ? RANDOM_GRAPH_SIZES : 1,
            .sizes = sizes,
            .unchecked = decides(&graph) ? "rounded numbers are compared" : NULL,
        };
        tally_run(tally, &test, name);
    }
    arena_release(&arena);
}

int main(int argc, char **argv)
{
    struct arguments arguments = {.seed = 1, .count = DEFAULT_COUNT};
    const char *targets[CASE_TARGETS];
    uint32_t target_count = case_targets(targets);
    struct tally tally = {0};
    if (!read_arguments(argc, argv, &arguments)) {
        fprintf(stderr, "usage: %s [--count N] [--seed N] [--target NAME]\n", argv[0]);
        return 64;
    }
    for (uint64_t i = 0; i < arguments.count && target_count > 0; i++) {
        uint64_t seed = arguments.seed + i;
        run_seed(seed, arguments.target ? arguments.target : targets[seed % target_count], &tally);
    }
    bool many = tally.excused > EXCUSED_FEW + EXCUSED_MOST * tally.cases;
    if (many)
        printf("FAIL: an output of %u graphs cannot be checked, more than %g %%\n", tally.excused,
               100 * EXCUSED_MOST);
    return tally_finish(&tally, "random graphs") || many;
}
