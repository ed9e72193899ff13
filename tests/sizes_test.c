/* The sizes at which packages are judged (verify/sizes.h), for drawn graphs and for blueprints with
 * several dims: a thorough choice reaches every edge of kernels that a usual one reaches and has
 * all of its sizes, both have random sizes, and both keep to their budget. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/strbuf.h"
#include "compiler/compile.h"
#include "support/case.h"
#include "support/random_graph.h"
#include "verify/sizes.h"
#include "verify/verify.h"

#define DRAWN 60
#define BLUEPRINTS 24
#define BUDGET 5e6
#define RANDOM 2

struct tally_sizes {
    uint32_t packages, failures, edges, random[2];
};

static bool failed(struct tally_sizes *tally, const char *name, const char *what)
{
    printf("FAIL %s: %s\n", name, what);
    tally->failures++;
    return false;
}

/* Whether a size that is judged as usual, with the kernels for all sizes, has this value of an
 * edge. */
static bool reaches(const struct package_contents *contents, const struct sizes *sizes,
                    const struct plan_edge *edge, int64_t value)
{
    const struct dim_table *dims = &contents->graph.dims;
    int64_t at;
    for (uint32_t i = 0; i < sizes->count; i++)
        if (sizes->items[i].way == SIZE_USUAL && sizes->items[i].special == PLAN_NONE &&
            dim_eval(dims, edge->size, sizes->items[i].dims, &at) && at == value)
            return true;
    return false;
}

static bool has(const struct sizes *sizes, const struct size *size, uint32_t names)
{
    for (uint32_t i = 0; i < sizes->count; i++)
        if (sizes->items[i].way <= size->way &&
            memcmp(sizes->items[i].dims, size->dims, names * sizeof *size->dims) == 0)
            return true;
    return false;
}

/* What the sizes cost that are judged; the typical and the smallest are there in any case. */
static bool within(const struct sizes *sizes, double budget)
{
    double must = 0, others = 0;
    for (uint32_t i = 0; i < sizes->count; i++) {
        const struct size *size = &sizes->items[i];
        bool always = strncmp(size->why, "typical", 7) == 0 || strcmp(size->why, "smallest") == 0;
        if (size->way == SIZE_USUAL)
            *(always ? &must : &others) += size->cost;
    }
    return others <= fmax(budget - must, budget / 2) * (1 + 1e-9);
}

static uint32_t count_why(const struct sizes *sizes, const char *why)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < sizes->count; i++)
        count += strcmp(sizes->items[i].why, why) == 0;
    return count;
}

static bool check_edges(const struct package_contents *contents, const struct sizes *usual,
                        const struct sizes *thorough, struct tally_sizes *tally, const char *name)
{
    const struct plan *plan = &contents->targets[0].plan;
    for (uint32_t l = 0; l < plan->forward.count; l++) {
        const struct plan_code *code = &plan->forward.items[l].code;
        for (uint32_t e = 0; e < code->edge_count; e++)
            for (int64_t v = code->edges[e].at - 1; v <= code->edges[e].at + 1; v++) {
                bool reached = reaches(contents, usual, &code->edges[e], v);
                tally->edges += reached;
                if (reached && !reaches(contents, thorough, &code->edges[e], v))
                    return failed(tally, name, "a thorough choice misses an edge");
            }
    }
    return true;
}

static bool check_contents(const struct package_contents *contents, struct tally_sizes *tally,
                           const char *name, struct arena *arena)
{
    struct sizes *sizes[2];
    uint32_t names = contents->graph.dims.names.count;
    struct error err = {0};
    for (int thorough = 0; thorough < 2; thorough++) {
        const struct verify_options options = {.size_count = RANDOM, .thorough = thorough};
        double budget = thorough ? SIZES_THOROUGH * BUDGET : BUDGET;
        const struct size_wish wish = {contents, &contents->targets[0], &options, budget};
        sizes[thorough] = ARENA_NEW(arena, struct sizes);
        if (!sizes_choose(&wish, arena, sizes[thorough], &err))
            return failed(tally, name, err.message);
        if (!within(sizes[thorough], budget))
            return failed(tally, name, "the sizes cost more than the budget");
        tally->random[thorough] += count_why(sizes[thorough], "random") > 0;
    }
    for (uint32_t i = 0; i < sizes[0]->count; i++)
        if (sizes[0]->items[i].way == SIZE_USUAL && !has(sizes[1], &sizes[0]->items[i], names))
            return failed(tally, name, "a thorough choice lacks a size of a usual one");
    return check_edges(contents, sizes[0], sizes[1], tally, name);
}

/* Checks a package and the training step in it. */
static bool check_package(const struct compile_result *result, struct tally_sizes *tally,
                          const char *name, struct arena *arena)
{
    const struct trust any = {TRUST_ALLOW_UNSIGNED, NULL};
    struct package_contents *contents = ARENA_NEW(arena, struct package_contents);
    struct error err = {0};
    if (!package_read(result->package, result->package_bytes, &any, arena, contents, &err))
        return failed(tally, name, err.message);
    tally->packages++;
    return check_contents(contents, tally, name, arena) &&
           (!contents->step || check_contents(contents->step, tally, name, arena));
}

static void check_drawn(uint64_t seed, struct tally_sizes *tally)
{
    struct arena arena;
    struct graph graph;
    struct error err = {0};
    struct compile_result result;
    int64_t sizes[RANDOM_GRAPH_SIZES][LIMIT_NAMED_DIMS] = {0};
    char name[48];
    arena_init(&arena);
    graph_init(&graph, &arena);
    snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
    const struct compile_options options = {.strategy = STRATEGY_FAST,
                                            .targets = target_best_here()};
    struct compile_source source = {.graph = &graph};
    if (!random_graph(&graph, seed, sizes, &err) ||
        !(source.params = case_params(&graph, seed, &arena, &err)) ||
        !compile_graph(&source, &options, &arena, &result, &err))
        failed(tally, name, err.message);
    else if (graph.dims.names.count > 0)
        check_package(&result, tally, name, &arena);
    arena_release(&arena);
}

/* Two layers over up to four dims, of a drawn width, with a training step. */
static void print_blueprint(uint64_t seed, struct strbuf *out)
{
    static const char *const names[] = {"B", "S", "T", "U"};
    static const int most[] = {64, 1000, 2000, 65536}, widths[] = {8, 24, 64, 256};
    uint32_t dims = 1 + (uint32_t)(seed % 4), at = 0;
    strbuf_printf(out, "{\"format\":\"urza.blueprint/1\",\"name\":\"drawn\",\"dims\":{");
    for (uint32_t i = 0; i < dims; i++) {
        int min = 1 + (int)(rng_u32(seed, at++) % 2);
        strbuf_printf(out, "%s\"%s\":{\"min\":%d,\"max\":%d,\"typical\":%d}", i > 0 ? "," : "",
                      names[i], min, most[rng_u32(seed, at++) % 4], min + 3);
    }
    int width = widths[rng_u32(seed, at++) % 4], hidden = 2 * widths[rng_u32(seed, at++) % 4];
    strbuf_printf(out, "},\"inputs\":[{\"id\":\"x\",\"dtype\":\"f32\",\"shape\":[");
    for (uint32_t i = 0; i < dims; i++)
        strbuf_printf(out, "\"%s\",", names[i]);
    strbuf_printf(out,
                  "%d]}],\"params\":["
                  "{\"id\":\"a\",\"dtype\":\"f32\",\"shape\":[%d,%d],\"init\":{\"kind\":"
                  "\"kaiming_uniform\",\"seed\":1}},"
                  "{\"id\":\"b\",\"dtype\":\"f32\",\"shape\":[%d,%d],\"init\":{\"kind\":"
                  "\"kaiming_uniform\",\"seed\":2}}],"
                  "\"nodes\":[{\"id\":\"h\",\"op\":\"linear\",\"in\":[\"x\",\"a\"]},"
                  "{\"id\":\"g\",\"op\":\"relu\",\"in\":[\"h\"]},"
                  "{\"id\":\"y\",\"op\":\"linear\",\"in\":[\"g\",\"b\"]}],"
                  "\"outputs\":[{\"name\":\"y\",\"value\":\"y\"}]}",
                  width, hidden, width, width, hidden);
}

static void check_blueprint(uint64_t seed, struct tally_sizes *tally)
{
    struct arena arena;
    struct error err = {0};
    struct compile_result result;
    struct strbuf text;
    char name[48];
    arena_init(&arena);
    strbuf_init(&text, &arena);
    print_blueprint(seed, &text);
    snprintf(name, sizeof name, "blueprint %llu", (unsigned long long)seed);
    const struct compile_options options = {
        .strategy = STRATEGY_STANDARD, .targets = target_best_here(), .backward = seed % 2 == 0};
    if (!compile_blueprint(text.data, text.size_bytes, &options, &arena, &result, &err)) {
        failed(tally, name, err.message);
        printf("%s\n", text.data);
    } else {
        check_package(&result, tally, name, &arena);
    }
    arena_release(&arena);
}

int main(void)
{
    struct tally_sizes tally = {0};
    if (!target_best_here())
        return 77;
    for (uint64_t seed = 1; seed <= DRAWN; seed++)
        check_drawn(seed, &tally);
    for (uint64_t seed = 1; seed <= BLUEPRINTS; seed++)
        check_blueprint(seed, &tally);
    printf("sizes: %u packages, %u edges reached, random sizes in %u and %u choices\n",
           tally.packages, tally.edges, tally.random[0], tally.random[1]);
    /* Some packages are so expensive that no random size is affordable, but few. */
    if (tally.edges < 100 || tally.random[0] * 10 < tally.packages * 9 ||
        tally.random[1] < tally.random[0]) {
        printf("FAIL: too few edges or random sizes\n");
        return 1;
    }
    return tally.failures > 0;
}
