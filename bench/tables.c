/* The side-by-side tables: bench-tables TABLE [OPTION...]. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bench.h"
#include "tuner/tuner.h"

#define PEERS 12
#define TUNE_SECONDS 2
#define PEAK_NS UINT64_C(4000000000)

static const char usage[] =
    "Usage: ./run bench gemm|conv|attention|fused|blocks [OPTION...]\n"
    "\n"
    "  --threads N        threads of every contestant (default: 1)\n"
    "  --filter TEXT      only cases whose name contains TEXT\n"
    "  --variant NAME     gemm: plain, packed or dynamic (default: plain and packed);\n"
    "                     conv: channels-last or nchw; blocks: b1 or b32 (default: both)\n"
    "  --seconds S        time for each case (default: 0.3)\n"
    "  --limit S          no case begins later (default: no limit)\n"
    "  --tuned[=FOLDER]   every kernel is tuned first, two seconds each; what is found is kept in\n"
    "                     FOLDER, and not measured again\n"
    "  --peers[=LIST]     also those that run in a process of their own: all, or some of torch,\n"
    "                     torch-compile, torch-compile-max, onnxruntime, openvino, jax\n"
    "  --markdown         print tables in Markdown\n"
    "\n"
    "Numbers of peers are their time divided by ours: above 1, ours is faster.\n";

struct settings {
    uint32_t threads;
    double seconds, limit_s;
    const char *filter, *variant, *processes;
    const char *tuning; /* folder; "": none; NULL: kernels are not tuned */
    bool markdown;
};

struct table_kind {
    const char *name, *title;
    const char *variant; /* NULL: it has all of its name */
    bool memory;
    void (*cases)(struct case_list *list, const char *variant);
    const struct peer_driver *peers[5];
};

static const struct table_kind kinds[] = {
    {"gemm",
     "Matrix products, MxNxK",
     NULL,
     false,
     cases_gemm,
     {&peer_onednn, &peer_openblas, &peer_blis, &peer_libxsmm}},
    {"conv",
     "Convolutions, channels last: channels x size^2, window/stride, filters, batch",
     "channels-last",
     false,
     cases_conv,
     {&peer_onednn, &peer_onednn_plain}},
    {"conv",
     "Convolutions, NCHW: channels x size^2, window/stride, filters, batch",
     "nchw",
     false,
     cases_conv,
     {&peer_onednn_plain}},
    {"attention",
     "Attention: heads, head size, queries, keys",
     NULL,
     false,
     cases_attention,
     {NULL}},
    {"fused", "Normalisations and chains, rows x width", NULL, true, cases_fused, {&peer_onednn}},
    {"blocks", "Blocks of networks, batch", NULL, false, cases_blocks, {NULL}},
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

static void reject(struct contestant *contestant, const char *reason)
{
    contestant->verdict = VERDICT_FAILED;
    snprintf(contestant->reason, sizeof contestant->reason, "%s", reason);
}

/* Prepares a peer, runs it once and compares. */
static void admit(struct peer *peer, const struct subject *subject, struct contestant *out)
{
    struct error err = {0};
    *out = (struct contestant){.run = peer->driver->run, .verdict = VERDICT_NONE};
    out->state = peer->driver->prepare(peer, subject, &err);
    if (!out->state) {
        if (err.code != ERR_NONE)
            reject(out, err.message);
        return;
    }
    const float *result =
        peer->driver->run(out->state, 1) ? peer->driver->result(out->state) : NULL;
    if (!result)
        reject(out, "it does not run");
    else
        out->verdict = subject_agrees(subject, 0, result) ? VERDICT_TIMED : VERDICT_WRONG;
}

struct run {
    const struct settings *settings;
    struct table *table;
    const struct config_chooser *chooser;
    struct peer *peers;
    uint32_t peer_count;
    bool memory;
    struct peak peak;
    uint64_t peak_ns; /* when it was measured; 0: not yet */
};

/* Multiply-adds are measured again from time to time; how fast memory is depends on the case. */
static bool measure_peak(struct run *run, double bytes, bool thread_time, struct error *err)
{
    if (!run->memory && run->peak_ns > 0 && clock_ns() - run->peak_ns < PEAK_NS)
        return true;
    run->peak_ns = clock_ns();
    return peak_measure("", run->settings->threads, bytes, thread_time, &run->peak, err);
}

static bool run_case(struct run *run, const struct bench_case *test)
{
    const struct settings *settings = run->settings;
    struct error err = {0};
    struct subject subject;
    struct contestant contestants[CONTESTANTS];
    struct table_row row = {.name = test->name, .contestants = contestants};
    if (!subject_open(test, settings->threads, run->chooser, &subject, &err)) {
        table_failure(run->table, test->name, &err);
        return false;
    }
    contestants[0] = (struct contestant){subject_run, &subject, .verdict = VERDICT_TIMED};
    for (uint32_t i = 0; i < run->peer_count; i++)
        admit(&run->peers[i], &subject, &contestants[i + 1]);
    row.work = subject.work;
    const struct contest_options options = {
        .seconds = settings->seconds,
        .pause = settings->threads > 1,
        .thread_time = settings->threads == 1 && !settings->processes,
    };
    bool ok = measure_peak(run, row.work.bytes, options.thread_time, &err);
    if (ok) {
        row.peak = run->peak;
        row.rounds = contest_run(contestants, run->peer_count + 1, &options);
        table_row(run->table, &row);
    } else {
        table_failure(run->table, test->name, &err);
    }
    for (uint32_t i = 0; i < run->peer_count; i++)
        if (contestants[i + 1].state)
            run->peers[i].driver->release(contestants[i + 1].state);
    subject_release(&subject);
    return ok;
}

static bool run_cases(struct run *run, const struct case_list *list)
{
    const struct settings *settings = run->settings;
    uint64_t begin = clock_ns();
    uint32_t left_out = 0;
    bool ok = true;
    for (uint32_t i = 0; i < list->cases.count; i++) {
        const struct bench_case *test = &list->cases.items[i];
        if (settings->filter && !strstr(test->name, settings->filter))
            continue;
        if (settings->limit_s > 0 && (double)(clock_ns() - begin) * 1e-9 > settings->limit_s)
            left_out++;
        else
            ok = run_case(run, test) && ok;
    }
    if (left_out > 0)
        table_note(run->table, "left out after %g s: the last %u cases", settings->limit_s,
                   left_out);
    return ok;
}

static bool open_tuner(const char *folder, urza_tuner **out)
{
    urza_error problem;
    urza_tuner_options options = {.directory = folder[0] ? folder : NULL,
                                  .policy = URZA_TUNE_AUTOTUNE,
                                  .budget_s = TUNE_SECONDS};
    if (urza_tuner_open(&options, out, &problem) == 0)
        return true;
    fprintf(stderr, "%s: %s\n", problem.place, problem.message);
    return false;
}

static int run_table(const struct table_kind *kind, const struct settings *settings)
{
    struct arena arena;
    struct peer peers[PEERS];
    struct table table;
    struct case_list list = {.arena = &arena};
    struct config_chooser chooser;
    struct run run = {
        .settings = settings, .table = &table, .peers = peers, .memory = kind->memory};
    urza_tuner *tuner = NULL;
    if (settings->tuning && !open_tuner(settings->tuning, &tuner))
        return 1;
    chooser = tuner_chooser(tuner);
    run.chooser = tuner ? &chooser : NULL;
    arena_init(&arena);
    kind->cases(&list, kind->variant ? kind->variant : settings->variant);
    printf("%s%s%s, %u thread%s\n\n", settings->markdown ? "### " : "", kind->title,
           tuner ? ", tuned" : "", settings->threads, settings->threads == 1 ? "" : "s");
    run.peer_count = open_peers(kind, settings, peers);
    const struct table_options options = {
        .arena = &arena, .markdown = settings->markdown, .memory = kind->memory};
    table_begin(&table, &options, peers, run.peer_count);
    bool ok = run_cases(&run, &list);
    table_end(&table);
    for (uint32_t i = 0; i < run.peer_count; i++)
        peers[i].driver->close(&peers[i]);
    urza_tuner_close(tuner);
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
        {"limit", required_argument, NULL, 'l'},
        {"tuned", optional_argument, NULL, 'u'},
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
        case 'l': out->limit_s = strtod(optarg, NULL); break;
        case 'u': out->tuning = optarg ? optarg : ""; break;
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
    int status = -1;
    bool known = parse_settings(argc, argv, &settings);
    for (size_t i = 0; known && i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct table_kind *kind = &kinds[i];
        bool asked = !kind->variant || !settings.variant || listed(settings.variant, kind->variant);
        if (asked && strcmp(argv[optind], kind->name) == 0)
            status = run_table(kind, &settings) != 0 || status > 0;
    }
    if (status < 0)
        fputs(usage, stderr);
    return status < 0 ? 64 : status;
}
