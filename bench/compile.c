/* Compile times of blocks for one target, one core. In a warm process, medians of many: all of it,
 * with every kernel's code in the cache's memory, and with the package there. In a process of its
 * own, from its start to its end: with an empty cache folder, and again with what the first one
 * left there. With --peers the same two for torch.compile, from its call to the first result. */
#include <getopt.h>
#include <math.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench.h"
#include "compiler/cache/cache.h"
#include "compiler/compile.h"

#define RUNS 21
#define PEERS 2

extern char **environ;

static const char usage[] =
    "Usage: ./run bench compile [OPTION...]\n"
    "\n"
    "  --target NAME      default: the best of this machine\n"
    "  --filter TEXT      only blocks whose name contains TEXT\n"
    "  --peers[=all]      also torch.compile; all: with max-autotune, too, which takes minutes\n"
    "  --markdown         print the table in Markdown\n"
    "\n"
    "Times are in ms. ratio is the peer's time over that of our process, above 1 ours is faster.\n";

struct settings {
    const char *target, *filter, *once, *folder;
    uint32_t peer_count;
    bool markdown;
};

static const struct {
    const char *contestant, *heading, *title;
} peers[PEERS] = {
    {"torch-compile", "torch", "torch.compile"},
    {"torch-compile-max", "autotune", "torch.compile with max-autotune"},
};

struct input {
    const struct bench_case *test;
    char *text; /* as many spaces behind it as there are runs */
    size_t size;
};

/* Medians of one way to compile, ms. */
struct times {
    double stages[STAGE_COUNT], total, least;
    uint32_t kernels;
};

enum way { WAY_ALL, WAY_KERNELS_KEPT, WAY_PACKAGE_KEPT };

/* With a cache the first run fills it. A space more makes another blueprint of the same kernels. */
static bool measure(const struct input *input, const char *target, enum way way, struct times *out,
                    struct error *err)
{
    double stages[STAGE_COUNT][RUNS], total[RUNS];
    struct cache *cache = way == WAY_ALL ? NULL : cache_new(&(struct cache_options){0});
    struct compile_options options = {.targets = target, .strategy = STRATEGY_FAST, .cache = cache};
    bool ok = true;
    for (int run = -1; ok && run < RUNS; run++) { /* the first warms up */
        struct arena arena;
        struct compile_result result = {0};
        size_t spaces = way == WAY_KERNELS_KEPT ? (size_t)run + 1 : 0;
        arena_init(&arena);
        ok = compile_blueprint(input->text, input->size + spaces, &options, &arena, &result, err);
        for (int s = 0; run >= 0 && s < STAGE_COUNT; s++)
            stages[s][run] = result.stages_ms[s];
        if (run >= 0)
            total[run] = result.total_ms;
        out->kernels = result.kernels;
        compile_release(&options, &result);
        arena_release(&arena);
    }
    cache_free(cache);
    for (int s = 0; ok && s < STAGE_COUNT; s++)
        out->stages[s] = median(stages[s], RUNS);
    if (ok) {
        out->total = median(total, RUNS);
        out->least = total[0];
    }
    return ok;
}

/* What a process of its own does: compiles one block, with a cache in the folder. */
static int compile_once(const struct bench_case *test, const struct settings *settings)
{
    struct arena arena;
    struct error err = {0};
    struct compile_result result = {0};
    struct cache *cache = cache_new(&(struct cache_options){.folder = settings->folder});
    struct compile_options options = {
        .targets = settings->target, .strategy = STRATEGY_FAST, .cache = cache};
    arena_init(&arena);
    bool ok = compile_blueprint(test->blueprint, strlen(test->blueprint), &options, &arena, &result,
                                &err);
    compile_release(&options, &result);
    cache_free(cache);
    arena_release(&arena);
    return ok ? 0 : error_exit(err.code);
}

static void remove_folder(char *path)
{
    char program[] = "rm", flags[] = "-rf";
    char *const arguments[] = {program, flags, path, NULL};
    pid_t pid;
    if (posix_spawnp(&pid, program, NULL, NULL, arguments, environ) == 0)
        waitpid(pid, NULL, 0);
}

/* ms of one process; below 0: it failed. */
static double process_ms(const struct bench_case *test, const char *target, const char *folder)
{
    char words[7][160];
    const char *const given[7] = {"bench-compile", "--once",   test->name, "--target",
                                  target,          "--folder", folder};
    char *arguments[8] = {NULL};
    uint64_t begin = clock_ns();
    pid_t pid;
    int status;
    for (int i = 0; i < 7; i++) {
        snprintf(words[i], sizeof words[i], "%s", given[i]);
        arguments[i] = words[i];
    }
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0)
        return -1;
    return (double)(clock_ns() - begin) * 1e-6;
}

/* From nothing and again; ours where name is NULL. Negative where it failed, with the reason. */
static void processes_ms(const struct bench_case *test, const struct settings *settings,
                         const char *name, double out_ms[2], struct error *err)
{
    char folder[] = "/tmp/urza-bench-XXXXXX";
    struct subject subject;
    out_ms[0] = out_ms[1] = -1;
    if (!mkdtemp(folder)) {
        fail(err, ERR_IO, "no temporary folder");
        return;
    }
    if (!name) {
        for (int i = 0; i < 2; i++)
            out_ms[i] = process_ms(test, settings->target, folder);
        if (out_ms[0] < 0 || out_ms[1] < 0)
            fail(err, ERR_COMPILE, "the process failed");
    } else if (subject_open(test, 1, NULL, &subject, err)) {
        setenv("TORCHINDUCTOR_CACHE_DIR", folder, 1);
        if (peer_process_compile(name, 1, &subject, &out_ms[0], err))
            peer_process_compile(name, 1, &subject, &out_ms[1], err);
        unsetenv("TORCHINDUCTOR_CACHE_DIR");
        subject_release(&subject);
    }
    remove_folder(folder);
}

/* What is known of all ratios of a column. */
struct summary {
    double log_sum, worst;
    uint32_t count;
};

static void cell(const struct settings *settings, const char *format, ...) URZA_PRINTF(2, 3);

static void cell(const struct settings *settings, const char *format, ...)
{
    char text[64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    printf(settings->markdown ? " %s |" : " %9s", text);
}

static void name_cell(const struct settings *settings, const char *name)
{
    printf(settings->markdown ? "| %s |" : "%-28s", name);
}

static void print_peer(const struct settings *settings, const double ours[2],
                       const double theirs[2], struct summary *summaries)
{
    for (int i = 0; i < 2; i++) {
        if (theirs[i] < 0) {
            cell(settings, "failed");
            cell(settings, "%s", "");
            continue;
        }
        double ratio = theirs[i] / ours[i];
        cell(settings, "%.0f", theirs[i]);
        cell(settings, "%.1f", ratio);
        summaries[i].log_sum += log(ratio);
        if (summaries[i].count++ == 0 || ratio < summaries[i].worst)
            summaries[i].worst = ratio;
    }
}

static bool bench(const struct bench_case *test, const struct settings *settings,
                  struct summary summaries[PEERS][2], struct error *err)
{
    struct input input = {.test = test, .size = strlen(test->blueprint)};
    struct times all, kernels, package;
    double ours[2], theirs[2];
    input.text = malloc(input.size + RUNS);
    if (!input.text)
        return fail(err, ERR_NOMEM, "no memory for '%s'", test->name);
    memcpy(input.text, test->blueprint, input.size);
    memset(input.text + input.size, ' ', RUNS);
    bool ok = measure(&input, settings->target, WAY_ALL, &all, err) &&
              measure(&input, settings->target, WAY_KERNELS_KEPT, &kernels, err) &&
              measure(&input, settings->target, WAY_PACKAGE_KEPT, &package, err);
    free(input.text);
    if (!ok)
        return fail_at(err, "%s", test->name);
    processes_ms(test, settings, NULL, ours, err);
    if (ours[1] < 0)
        return fail_at(err, "%s", test->name);
    name_cell(settings, test->name);
    cell(settings, "%u", all.kernels);
    for (int s = 0; s < STAGE_COUNT; s++)
        cell(settings, "%.2f", all.stages[s]);
    cell(settings, "%.2f", all.total);
    cell(settings, "%.2f", all.least);
    cell(settings, "%.2f", kernels.total);
    cell(settings, "%.3f", package.total);
    cell(settings, "%.1f", ours[0]);
    cell(settings, "%.1f", ours[1]);
    for (uint32_t i = 0; i < settings->peer_count; i++) {
        struct error problem = {0};
        processes_ms(test, settings, peers[i].contestant, theirs, &problem);
        if (problem.code != ERR_NONE)
            fprintf(stderr, "%s: %s: %s\n", test->name, peers[i].contestant, problem.message);
        print_peer(settings, ours, theirs, summaries[i]);
    }
    puts("");
    fflush(stdout);
    return true;
}

static void print_head(const struct settings *settings)
{
    const char *const ours[] = {"total", "least", "kernels", "package", "process", "again"};
    uint32_t columns = 1 + STAGE_COUNT + 6 + 4 * settings->peer_count;
    printf("%sCompile times, ms, %s\n\n", settings->markdown ? "### " : "", settings->target);
    printf(
        "Median of %d in a warm process, by stage, in all, and the least; kernels, package: their\n"
        "code, or all of it, is in the cache's memory; process, again: a process of its own from\n"
        "start to end, with an empty cache, and with what it left on disk.",
        RUNS);
    for (uint32_t i = 0; i < settings->peer_count; i++)
        printf(" %s: %s in a\nprocess of its own, from the call to the first result, with an empty "
               "cache, and again; ratio:\nits time over that of our process.",
               peers[i].heading, peers[i].title);
    puts("\n");
    name_cell(settings, "block");
    cell(settings, "kernels");
    for (int s = 0; s < STAGE_COUNT; s++)
        cell(settings, "%s", stage_name((enum stage)s));
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        cell(settings, "%s", ours[i]);
    for (uint32_t i = 0; i < settings->peer_count; i++) {
        cell(settings, "%s", peers[i].heading);
        cell(settings, "ratio");
        cell(settings, "again");
        cell(settings, "ratio");
    }
    puts("");
    for (uint32_t i = 0; settings->markdown && i <= columns; i++)
        printf(i == 0 ? "| --- |" : i < columns ? " ---: |" : " ---: |\n");
}

static void print_summary(const struct settings *settings, struct summary summaries[PEERS][2])
{
    puts("");
    for (uint32_t i = 0; i < settings->peer_count; i++)
        for (int way = 0; way < 2; way++) {
            const struct summary *one = &summaries[i][way];
            if (one->count > 0)
                printf("%s%s over ours: geometric mean %.1f, worst %.1f of %u\n\n", peers[i].title,
                       way == 0 ? "" : " again", exp(one->log_sum / one->count), one->worst,
                       one->count);
        }
}

static bool parse_settings(int argc, char **argv, struct settings *out)
{
    static const struct option options[] = {
        {"target", required_argument, NULL, 't'},
        {"filter", required_argument, NULL, 'f'},
        {"peers", optional_argument, NULL, 'p'},
        {"markdown", no_argument, NULL, 'm'},
        {"once", required_argument, NULL, 'o'},
        {"folder", required_argument, NULL, 'd'},
        {0},
    };
    *out = (struct settings){.target = target_best_here()};
    for (int letter; (letter = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (letter) {
        case 't': out->target = optarg; break;
        case 'f': out->filter = optarg; break;
        case 'p': out->peer_count = optarg && strcmp(optarg, "all") == 0 ? PEERS : 1; break;
        case 'm': out->markdown = true; break;
        case 'o': out->once = optarg; break;
        case 'd': out->folder = optarg; break;
        default: return false;
        }
    }
    return optind == argc && out->target;
}

int main(int argc, char **argv)
{
    struct settings settings;
    struct summary summaries[PEERS][2] = {0};
    struct arena arena;
    struct error err = {0};
    struct case_list list = {.arena = &arena};
    if (!parse_settings(argc, argv, &settings)) {
        fputs(usage, stderr);
        return 64;
    }
    arena_init(&arena);
    cases_blocks(&list, "b1");
    for (uint32_t i = 0; settings.once && i < list.cases.count; i++)
        if (strcmp(list.cases.items[i].name, settings.once) == 0)
            return compile_once(&list.cases.items[i], &settings);
    print_head(&settings);
    for (uint32_t i = 0; i < list.cases.count; i++) {
        const struct bench_case *test = &list.cases.items[i];
        if (settings.filter && !strstr(test->name, settings.filter))
            continue;
        if (!bench(test, &settings, summaries, &err)) {
            fprintf(stderr, "%s: %s\n", err.place, err.message);
            return error_exit(err.code);
        }
    }
    print_summary(&settings, summaries);
    arena_release(&arena);
    return 0;
}
