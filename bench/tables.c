/* The side-by-side tables: bench-tables TABLE [OPTION...]. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define PEERS 12

static const char usage[] =
    "Usage: ./run bench gemm|conv|attention|fused|blocks [OPTION...]\n"
    "\n"
    "  --threads N        threads of every contestant (default: 1)\n"
    "  --filter TEXT      only cases whose name contains TEXT\n"
    "  --variant NAME     gemm: plain, packed or dynamic (default: plain and packed)\n"
    "  --seconds S        time for each case (default: 0.3)\n"
    "  --peers[=LIST]     also those that run in a process of their own: all, or some of torch,\n"
    "                     torch-compile, torch-compile-max, onnxruntime, openvino, jax\n"
    "  --markdown         print tables in Markdown\n"
    "\n"
    "Numbers of peers are their time divided by ours: above 1, ours is faster.\n";

struct settings {
    uint32_t threads;
    double seconds;
    const char *filter, *variant, *processes;
    bool markdown;
};

struct table_kind {
    const char *name, *title;
    bool memory;
    void (*cases)(struct case_list *list, const char *variant);
    const struct peer_driver *peers[5];
};

static const struct table_kind kinds[] = {
    {"gemm",
     "Matrix products, MxNxK",
     false,
     cases_gemm,
     {&peer_onednn, &peer_openblas, &peer_blis, &peer_libxsmm}},
    {"conv",
     "Convolutions: channels x size^2, window/stride, filters, batch",
     false,
     cases_conv,
     {&peer_onednn, &peer_onednn_plain}},
    {"attention", "Attention: heads, head size, queries, keys", false, cases_attention, {NULL}},
    {"fused", "Normalisations and chains, rows x width", true, cases_fused, {&peer_onednn}},
    {"blocks", "Blocks of networks, batch", false, cases_blocks, {NULL}},
};

static const char *const processes[] = {"torch",       "torch-compile", "torch-compile-max",
                                        "onnxruntime", "openvino",      "jax"};

/* Whether a list "a,b,c" holds the name; an empty list holds all. */
static bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    if (list[0] == '\0')
        return true;
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

static uint32_t open_peer(const struct peer_driver *driver, const char *name, uint32_t threads,
                          struct peer *out)
{
    struct error err = {0};
    *out = (struct peer){.driver = driver, .name = name};
    if (driver->open(out, threads, &err)) {
        printf("- %s: %s\n", name, out->version);
        return 1;
    }
    printf("- %s is left out: %s\n", name, err.message);
    if (driver->close)
        driver->close(out);
    return 0;
}

static uint32_t open_peers(const struct table_kind *kind, const struct settings *settings,
                           struct peer *peers)
{
    uint32_t count = 0;
    for (int i = 0; i < 5 && kind->peers[i]; i++)
        count += open_peer(kind->peers[i], kind->peers[i]->name, settings->threads, &peers[count]);
    for (size_t i = 0; settings->processes && i < sizeof processes / sizeof processes[0]; i++)
        if (listed(settings->processes, processes[i]))
            count += open_peer(&peer_process, processes[i], settings->threads, &peers[count]);
    if (count > 0)
        puts("");
    return count;
}

/* Prepares a peer, runs it once and compares. */
static void admit(struct peer *peer, const struct subject *subject, struct contestant *out)
{
    struct error err = {0};
    *out = (struct contestant){.run = peer->driver->run, .verdict = VERDICT_NONE};
    out->state = peer->driver->prepare(peer, subject, &err);
    if (!out->state) {
        out->verdict = err.code == ERR_NONE ? VERDICT_NONE : VERDICT_FAILED;
        if (err.code != ERR_NONE)
            fprintf(stderr, "%s: %s: %s\n", subject->test->name, peer->name, err.message);
        return;
    }
    const float *result =
        peer->driver->run(out->state, 1) ? peer->driver->result(out->state) : NULL;
    if (!result)
        out->verdict = VERDICT_FAILED;
    else
        out->verdict = subject_agrees(subject, 0, result) ? VERDICT_TIMED : VERDICT_WRONG;
}

static bool run_case(const struct bench_case *test, const struct settings *settings,
                     struct table *table, struct peer *peers, uint32_t peer_count)
{
    struct error err = {0};
    struct subject subject;
    struct contestant contestants[CONTESTANTS];
    struct table_row row = {.name = test->name, .contestants = contestants};
    if (!subject_open(test, settings->threads, &subject, &err)) {
        table_failure(table, test->name, &err);
        return false;
    }
    contestants[0] = (struct contestant){subject_run, &subject, .verdict = VERDICT_TIMED};
    for (uint32_t i = 0; i < peer_count; i++)
        admit(&peers[i], &subject, &contestants[i + 1]);
    row.work = subject.work;
    const struct contest_options options = {
        .seconds = settings->seconds,
        .pause = settings->threads > 1,
        .thread_time = settings->threads == 1 && !settings->processes,
    };
    bool ok =
        peak_measure("", settings->threads, row.work.bytes, options.thread_time, &row.peak, &err);
    if (ok) {
        row.rounds = contest_run(contestants, peer_count + 1, &options);
        table_row(table, &row);
    } else {
        table_failure(table, test->name, &err);
    }
    for (uint32_t i = 0; i < peer_count; i++)
        if (contestants[i + 1].state)
            peers[i].driver->release(contestants[i + 1].state);
    subject_release(&subject);
    return ok;
}

static int run_table(const struct table_kind *kind, const struct settings *settings)
{
    struct arena arena;
    struct peer peers[PEERS];
    struct table table;
    struct case_list list = {.arena = &arena};
    bool ok = true;
    arena_init(&arena);
    kind->cases(&list, settings->variant);
    printf("%s%s, %u thread%s\n\n", settings->markdown ? "### " : "", kind->title,
           settings->threads, settings->threads == 1 ? "" : "s");
    uint32_t peer_count = open_peers(kind, settings, peers);
    const struct table_options options = {.markdown = settings->markdown, .memory = kind->memory};
    table_begin(&table, &options, peers, peer_count);
    for (uint32_t i = 0; i < list.cases.count; i++) {
        const struct bench_case *test = &list.cases.items[i];
        if (!settings->filter || strstr(test->name, settings->filter))
            ok = run_case(test, settings, &table, peers, peer_count) && ok;
    }
    table_end(&table);
    for (uint32_t i = 0; i < peer_count; i++)
        peers[i].driver->close(&peers[i]);
    arena_release(&arena);
    return ok ? 0 : 1;
}

static bool parse_settings(int argc, char **argv, struct settings *out)
{
    static const struct option options[] = {
        {"threads", required_argument, NULL, 't'},
        {"filter", required_argument, NULL, 'f'},
        {"variant", required_argument, NULL, 'v'},
        {"seconds", required_argument, NULL, 's'},
        {"peers", optional_argument, NULL, 'p'},
        {"markdown", no_argument, NULL, 'm'},
        {0},
    };
    *out = (struct settings){.threads = 1, .seconds = 0.3};
    for (int letter; (letter = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (letter) {
        case 't': out->threads = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'f': out->filter = optarg; break;
        case 'v': out->variant = optarg; break;
        case 's': out->seconds = strtod(optarg, NULL); break;
        case 'p': out->processes = optarg ? optarg : ""; break;
        case 'm': out->markdown = true; break;
        default: return false;
        }
    }
    return optind == argc - 1 && out->threads > 0 && out->seconds > 0;
}

int main(int argc, char **argv)
{
    struct settings settings;
    if (parse_settings(argc, argv, &settings))
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (strcmp(argv[optind], kinds[i].name) == 0)
                return run_table(&kinds[i], &settings);
    fputs(usage, stderr);
    return 64;
}
