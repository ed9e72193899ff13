/* urza bench: how long a call takes, and which share of this machine's speed that is.
 *
 * The yardstick is measured in the same run on as many threads: multiply-adds in registers, and
 * copying a working set as large as the package's. A kernel is bound by one of the two, so the
 * larger share counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/cli_priv.h"
#include "verify/verify.h"

#define SAMPLES_MAX 1000000
#define WARM_UP_SHARE 0.1 /* of the time */

struct request {
    struct bundle_options open;
    struct text_list keys;
    const char *dims;
    double seconds;
};

struct figures {
    double p50_us, p95_us, min_us;
    double gflops, gb_per_s;
    double peak_gflops, peak_gb_per_s;
    double percent_of_peak;
    const char *bound; /* which share counts: "compute" or "memory" */
    char fallback[128];
};

static bool parse_request(struct cli *cli, int argc, char **argv, struct request *out,
                          struct error *err)
{
    char **words;
    *out = (struct request){.open = {.threads = 1, .keys = &out->keys}, .seconds = 1};
    const struct option_row rows[] = {
        {"dims", 0, OPTION_TEXT, "LIST", &out->dims, "B=32,S=16: sizes (default: typical ones)"},
        {"threads", 0, OPTION_COUNT, "N", &out->open.threads, "threads to use (default: 1)"},
        {"seconds", 0, OPTION_REAL, "S", &out->seconds, "how long to measure (default: 1)"},
        {"target", 0, OPTION_TEXT, "NAME", &out->open.target,
         "measure the code of this target, or the interpreter (default: the best here)"},
        {"key", 0, OPTION_LIST, "HEX", &out->keys, "trust this public key too"},
        {"allow-unsigned", 0, OPTION_FLAG, NULL, &out->open.allow_unsigned,
         "accept a package without a signature"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, 1, 1, &words, err))
        return false;
    out->open.path = words[0];
    return true;
}

static bool make_tensors(struct cli *cli, const struct bundle *bundle, const int64_t *dims,
                         DLTensor *inputs, DLTensor *outputs, struct error *err)
{
    const struct graph *graph = &bundle->graph;
    for (uint32_t i = 0; i < graph->inputs.count; i++) {
        const struct node *node = graph_node(graph, graph->inputs.items[i]);
        if (!tensor_make(cli, graph, graph->inputs.items[i], dims,
                         urza_input_info(bundle->module, i)->dtype, &inputs[i], err))
            return fail_at(err, "input '%s'", node->attrs->name);
        tensor_random(&inputs[i], node->dtype, node->attrs->name, 0);
    }
    for (uint32_t i = 0; i < graph->outputs.count; i++)
        if (!tensor_make(cli, graph, graph->outputs.items[i].value, dims,
                         urza_output_info(bundle->module, i)->dtype, &outputs[i], err))
            return fail_at(err, "output '%s'", graph->outputs.items[i].name);
    return true;
}

static int compare_times(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Calls until the time is over and at least once; sorted microseconds in samples, which has room
 * for SAMPLES_MAX. */
static bool sample_calls(struct bundle *bundle, const DLTensor *inputs, DLTensor *outputs,
                         double seconds, double *samples, uint32_t *out_count, struct error *err)
{
    uint32_t input_count = bundle->graph.inputs.count, output_count = bundle->graph.outputs.count;
    uint64_t warm = clock_ns() + (uint64_t)(seconds * WARM_UP_SHARE * 1e9);
    uint64_t end = clock_ns() + (uint64_t)(seconds * 1e9);
    uint32_t count = 0, calls = 0;
    urza_error problem = {.code = 0};
    for (uint64_t now = clock_ns(); count == 0 || (now < end && count < SAMPLES_MAX); calls++) {
        uint64_t begin = clock_ns();
        if (urza_call(bundle->module, inputs, input_count, outputs, output_count, NULL, &problem) !=
            0)
            return bundle_fail(&problem, err);
        now = clock_ns();
        if (now >= warm && calls > 0)
            samples[count++] = (double)(now - begin) * 1e-3;
    }
    qsort(samples, count, sizeof *samples, compare_times);
    *out_count = count;
    return true;
}

static bool measure(struct cli *cli, const struct request *request, struct bundle *bundle,
                    struct figures *out, struct error *err)
{
    struct graph *graph = &bundle->graph;
    int64_t dims[LIMIT_NAMED_DIMS] = {0};
    DLTensor *inputs = ARENA_ARRAY(cli->arena, DLTensor, graph->inputs.count);
    DLTensor *outputs = ARENA_ARRAY(cli->arena, DLTensor, graph->outputs.count);
    double *samples = ARENA_ARRAY(cli->arena, double, SAMPLES_MAX);
    uint32_t count = 0, threads = request->open.threads;
    struct work work = {0};
    struct peak peak = {0};
    urza_stats stats;
    if (!dims_choose(&graph->dims, request->dims, dims, err) ||
        !work_count(graph, dims, cli->arena, &work, err) ||
        !make_tensors(cli, bundle, dims, inputs, outputs, err) ||
        !peak_measure(urza_target(bundle->module), threads, work.bytes, false, &peak, err) ||
        !sample_calls(bundle, inputs, outputs, request->seconds, samples, &count, err))
        return false;
    struct figures figures = {.p50_us = samples[count / 2],
                              .p95_us = samples[(uint64_t)count * 95 / 100],
                              .min_us = samples[0],
                              .peak_gflops = peak.flops * 1e-9,
                              .peak_gb_per_s = peak.bytes_per_s * 1e-9};
    figures.gflops = work.flops / figures.p50_us * 1e-3;
    figures.gb_per_s = work.bytes / figures.p50_us * 1e-3;
    double compute = figures.gflops / figures.peak_gflops;
    double memory = figures.gb_per_s / figures.peak_gb_per_s;
    figures.bound = compute >= memory ? "compute" : "memory";
    figures.percent_of_peak = 100 * (compute >= memory ? compute : memory);
    urza_stats_get(bundle->module, &stats);
    if (stats.fallback_calls > 0)
        snprintf(figures.fallback, sizeof figures.fallback, "%s", stats.last_fallback);
    *out = figures;
    return true;
}

static json_t *describe(const struct figures *figures, uint32_t threads)
{
    json_t *object = json_object();
    json_object_set_new(object, "p50_us", report_number(figures->p50_us));
    json_object_set_new(object, "p95_us", report_number(figures->p95_us));
    json_object_set_new(object, "min_us", report_number(figures->min_us));
    json_object_set_new(object, "threads", json_integer(threads));
    json_object_set_new(object, "gflops", report_number(figures->gflops));
    json_object_set_new(object, "gb_per_s", report_number(figures->gb_per_s));
    json_object_set_new(object, "peak_gflops", report_number(figures->peak_gflops));
    json_object_set_new(object, "peak_gb_per_s", report_number(figures->peak_gb_per_s));
    json_object_set_new(object, "percent_of_peak", report_number(figures->percent_of_peak));
    json_object_set_new(object, "bound", json_string(figures->bound));
    json_object_set_new(object, "fallback",
                        figures->fallback[0] ? report_text(figures->fallback) : json_null());
    return object;
}

static void print(const struct figures *figures, uint32_t threads)
{
    if (figures->fallback[0])
        report_lines(stderr, "urza: warning: interpreted: %s\n", figures->fallback);
    report_lines(stdout, "time     p50 %.2f us, p95 %.2f us, min %.2f us, %u thread%s\n",
                 figures->p50_us, figures->p95_us, figures->min_us, threads,
                 threads == 1 ? "" : "s");
    report_lines(stdout, "compute  %.2f GFLOP/s, this machine %.1f\n", figures->gflops,
                 figures->peak_gflops);
    report_lines(stdout, "memory   %.2f GB/s, this machine %.1f for as many bytes\n",
                 figures->gb_per_s, figures->peak_gb_per_s);
    report_lines(stdout, "share    %.1f %% of peak, by %s\n", figures->percent_of_peak,
                 figures->bound);
}

bool cmd_bench(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request;
    struct bundle bundle;
    struct figures figures = {0};
    if (!parse_request(cli, argc, argv, &request, err) ||
        !bundle_open(cli, &request.open, &bundle, err))
        return false;
    progress_begin(cli, "measuring");
    bool ok = measure(cli, &request, &bundle, &figures, err);
    progress_end(cli);
    bundle_release(&bundle);
    if (!ok)
        return false;
    if (cli->json)
        report_json(describe(&figures, request.open.threads));
    else
        print(&figures, request.open.threads);
    return true;
}
