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

static void run_seed(uint64_t seed, const char *target, struct tally *tally)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    int64_t sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS] = {0};
    char name[48];
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
            .size_count = graph.dims.names.count > 0 ? RANDOM_GRAPH_SIZES : 1,
            .sizes = sizes,
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
    return tally_finish(&tally, "random graphs");
}
