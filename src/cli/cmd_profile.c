/* urza profile: the time of a call by launch. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/strbuf.h"
#include "cli/measuring_priv.h"
#include "profile/profile.h"

#define LABEL_MOST 48 /* columns for the ops of a launch; longer ones stick out */

struct request {
    struct measuring measuring;
    const char *svg;
    bool no_peak;
};

static bool parse_request(struct cli *cli, int argc, char **argv, struct request *out,
                          struct error *err)
{
    *out = (struct request){.svg = NULL};
    const struct option_row own[] = {
        {"svg", 0, OPTION_TEXT, "FILE", &out->svg, "write a timeline over the threads"},
        {"no-peak", 0, OPTION_FLAG, NULL, &out->no_peak,
         "do not measure what this machine can do, some 0.3 s for each level of memory"},
        {0},
    };
    const struct measuring_rows rows = {"how long to call (default: 1)",
                                        "the code of this target (default: the best here)", own};
    return measuring_parse(cli, argc, argv, &rows, &out->measuring, err);
}

static bool measure(struct cli *cli, const struct request *request, struct trace_profile *out,
                    struct error *err)
{
    struct bundle bundle;
    struct profile_options options;
    if (!measuring_open(cli, &request->measuring, &bundle, &options, err))
        return false;
    options.peaks = request->no_peak ? 0 : 1;
    return profile_launches(bundle.bytes, bundle.size_bytes, &options, cli->arena, out, err) ||
           fail_at(err, "%s", request->measuring.open.path);
}

static int label_width(const struct trace_profile *p)
{
    size_t width = strlen("ops");
    for (uint32_t i = 0; i < p->launch_count; i++) {
        size_t length = strlen(p->launches[i].label);
        width = length > width ? length : width;
    }
    return (int)(width < LABEL_MOST ? width : LABEL_MOST);
}

/* Behind its ops, in a column of that width. */
static void print_nodes(struct cli *cli, const struct launch_profile *l, int width)
{
    report_lines(stdout, "%-*s", l->node_count > 0 ? width : 0, l->label);
    for (uint32_t i = 0; i < l->node_count; i++)
        report_lines(stdout, "%s%s", i > 0 ? ", " : "  ", report_word(cli, l->nodes[i]));
    if (l->more_nodes > 0)
        report_lines(stdout, " and %u more", l->more_nodes);
    report_lines(stdout, "\n");
}

static void print_launch(struct cli *cli, const struct launch_profile *l, int width)
{
    char limit[32] = "";
    double per_us = l->us > 0 ? 1e-3 / l->us : 0;
    if (l->peak.flops > 0)
        snprintf(limit, sizeof limit, "%s%.0f %% of %s", l->noise ? "over " : "", l->percent,
                 l->compute ? "compute" : "memory");
    report_lines(stdout, "%8s %10.2f %6.1f %% %9.2f %9.2f %7.2f  %-18s ",
                 l->prepare ? "prepare" : "call", l->us, 100 * l->share, l->asked * per_us,
                 l->bytes * per_us, l->asked > 0 ? l->done / l->asked : 1, limit);
    print_nodes(cli, l, width);
}

static void print(struct cli *cli, const struct trace_profile *p)
{
    int width = label_width(p);
    report_lines(stdout,
                 "%s%s%s, %u thread%s, %llu calls: %.2f us each, %.2f us of it outside kernels\n",
                 p->target, p->dims[0] ? ", " : "", p->dims, p->threads, p->threads == 1 ? "" : "s",
                 (unsigned long long)p->calls, p->call_us, p->outside_us);
    report_lines(stdout, "%8s %10s %8s %9s %9s %7s  %-18s %-*s  %s\n", "", "us", "share", "GFLOP/s",
                 "GB/s", "work", "limit", width, "ops", "nodes");
    for (uint32_t i = 0; i < p->launch_count; i++)
        print_launch(cli, &p->launches[i], width);
    report_lines(stdout, "work: operations done over those asked for; limit: share of what this "
                         "machine does on as many bytes; nodes: those of the source that it comes "
                         "from\n");
}

static bool write_svg(struct cli *cli, const char *path, const struct trace_profile *profile,
                      struct error *err)
{
    struct strbuf text;
    strbuf_init(&text, cli->arena);
    timeline_print(profile, &text);
    return file_write_atomic(path, text.data, text.size_bytes, 0644, err);
}

bool cmd_profile(struct cli *cli, int argc, char **argv, struct error *err)
{
    struct request request;
    struct trace_profile profile;
    if (!parse_request(cli, argc, argv, &request, err))
        return false;
    progress_begin(cli, "measuring");
    bool ok = measure(cli, &request, &profile, err);
    progress_end(cli);
    if (!ok || (request.svg && !write_svg(cli, request.svg, &profile, err)))
        return false;
    if (cli->json) {
        struct strbuf text;
        strbuf_init(&text, cli->arena);
        launches_print(&profile, &text);
        report_lines(stdout, "%s\n", text.data);
    } else {
        print(cli, &profile);
    }
    return true;
}
